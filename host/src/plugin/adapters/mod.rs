//! Versions of the contract: one adapter per major version, behind one trait.
//!
//! An adapter alone knows the types of its version. It turns what the core says into them and what the
//! component answers out of them; everything else in this folder speaks the host's own model. Which adapter
//! a component gets is decided by the names of its exports. Another major version is another folder beside
//! `v1` and one line in [`Adapters::all`].

pub(super) mod v1;

use super::contract::{Contract, Exported, Mismatch};
use super::grants::Grants;
use super::instance::{BatchOutcome, Call, Intents};
use super::metadata::MetadataError;
use super::scan::Scan;
use super::store::StoreData;
use super::{CallError, Metadata, Session, StateSnapshot, TickContext, WasiGrant};
use crate::market::{Bar, Tick};
use crate::orders::StrategyEvent;
use std::sync::Arc;
use wasmtime::Store;
use wasmtime::component::{InstancePre, Linker};

/// One major version of the contract.
pub(super) trait Adapter: Send + Sync {
    /// What the version says, and how a component differs from it.
    fn contract(&self) -> &Contract;

    /// Offers the imports of this version that are granted and no other, so that one that slipped through the check
    /// finds nothing.
    fn link_imports(&self, grants: &Grants, linker: &mut Linker<StoreData>) -> wasmtime::Result<()>;

    /// Resolves the exports of a component that fits, so that neither an instance nor a call looks up a name.
    fn link(&self, pre: InstancePre<StoreData>, exported: Exported) -> wasmtime::Result<Box<dyn Linked>>;
}

/// A component with its imports and exports resolved.
pub(super) trait Linked: Send + Sync {
    /// A fresh instance in a store whose budget is armed: start code runs.
    fn instantiate(&self, store: &mut Store<StoreData>) -> wasmtime::Result<Box<dyn Guest>>;
}

/// The exports of one instance. What it cannot be told is refused before the instance is entered.
///
/// The calls mean what those of [`super::Strategy`] of the same names mean.
pub(super) trait Guest: Send {
    fn describe(&self, call: Call<'_>) -> Result<Result<Metadata, MetadataError>, CallError>;

    fn init(&self, call: Call<'_>, session: &Session) -> Result<(), CallError>;

    fn on_tick(
        &self,
        call: Call<'_>,
        tick: &Tick,
        context: &TickContext,
        intents: Intents<'_>,
    ) -> Result<(), CallError>;

    fn on_event(
        &self,
        call: Call<'_>,
        event: &StrategyEvent,
        context: &TickContext,
        intents: Intents<'_>,
    ) -> Result<(), CallError>;

    fn on_bar(
        &self,
        call: Call<'_>,
        bar: &Bar,
        context: &TickContext,
        intents: Intents<'_>,
    ) -> Result<(), CallError>;

    /// Rows of [`super::batch_row`], `count` of them and at least one.
    fn run_batch(
        &self,
        call: Call<'_>,
        rows: &[i64],
        count: u32,
        context: &TickContext,
        intents: Intents<'_>,
    ) -> Result<BatchOutcome, CallError>;

    /// `announced` is the schema that the component's metadata names.
    fn save(&self, call: Call<'_>, announced: u32) -> Result<Option<StateSnapshot>, CallError>;

    fn load(&self, call: Call<'_>, state: &StateSnapshot) -> Result<(), CallError>;

    fn stop(&self, call: Call<'_>, intents: Intents<'_>) -> Result<(), CallError>;
}

/// The versions that a host takes, newest first.
pub(super) struct Adapters(Vec<Arc<dyn Adapter>>);

impl Adapters {
    /// Every version that there is.
    ///
    /// # Errors
    /// When an embedded text is no contract, which only a broken build can cause.
    pub fn all() -> Result<Self, String> {
        Ok(Self::of(vec![Box::new(v1::V1::new()?)]))
    }

    /// These versions.
    pub fn of(mut adapters: Vec<Box<dyn Adapter>>) -> Self {
        adapters.sort_by_key(|adapter| std::cmp::Reverse(adapter.contract().major()));
        Self(adapters.into_iter().map(Arc::from).collect())
    }

    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = &dyn Adapter> {
        self.0.iter().map(|adapter| &**adapter)
    }

    /// The adapter of the newest version that a component exports a strategy of, and what else it exports.
    ///
    /// # Errors
    /// Every difference from that version; from all versions, when it is written against none of them.
    pub fn choose(
        &self,
        scan: &Scan,
        wasi: WasiGrant,
    ) -> Result<(Arc<dyn Adapter>, Exported), Vec<Mismatch>> {
        let meant = self.0.iter().find(|adapter| adapter.contract().is_meant_by(scan));
        if let Some(adapter) = meant {
            return adapter.contract().check(scan, wasi).map(|exported| (Arc::clone(adapter), exported));
        }
        let mut mismatches = Vec::new();
        for adapter in &self.0 {
            let found = adapter.contract().check(scan, wasi).err().unwrap_or_default();
            // What is foreign to one version is foreign to the others, and said once.
            mismatches
                .extend(found.into_iter().filter(|found| !mismatches.contains(found)).collect::<Vec<_>>());
        }
        Err(mismatches)
    }
}
