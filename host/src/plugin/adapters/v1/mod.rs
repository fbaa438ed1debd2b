//! Version 1 of the contract.

mod bindings;
mod convert;
mod host;

use self::bindings::COMPONENT_TYPE;
use self::bindings::exports::ringfence::strategy as exports;
use self::bindings::ringfence::strategy as imports;
use self::bindings::ringfence::strategy::types as wit;
use self::convert::ConvertError;
use super::{Adapter, Guest, Linked};
use crate::market::{Bar, Tick};
use crate::orders::StrategyEvent;
use crate::plugin::contract::{Contract, Exported};
use crate::plugin::grants::{Grant, Grants};
use crate::plugin::instance::{BatchOutcome, Call, Intents};
use crate::plugin::metadata::MetadataError;
use crate::plugin::store::StoreData;
use crate::plugin::trap::LimitHit;
use crate::plugin::{CallError, Fault, Metadata, Session, StateSnapshot, TickContext};
use wasmtime::Store;
use wasmtime::component::{HasSelf, InstancePre, Linker};

/// The adapter.
pub(in crate::plugin) struct V1(Contract);

impl V1 {
    pub fn new() -> Result<Self, String> {
        Contract::decode(COMPONENT_TYPE).map(Self)
    }
}

impl Adapter for V1 {
    fn contract(&self) -> &Contract {
        &self.0
    }

    fn link_imports(&self, grants: &Grants, linker: &mut Linker<StoreData>) -> wasmtime::Result<()> {
        imports::types::add_to_linker::<_, HasSelf<_>>(linker, own)?;
        grants.iter().try_for_each(|grant| link_grant(grant, linker))
    }

    fn link(&self, pre: InstancePre<StoreData>, exported: Exported) -> wasmtime::Result<Box<dyn Linked>> {
        let Exported { state, bars, batch } = exported;
        Ok(Box::new(Component {
            strategy: exports::strategy::GuestIndices::new(&pre)?,
            state: state.then(|| exports::state::GuestIndices::new(&pre)).transpose()?,
            bars: bars.then(|| exports::bars::GuestIndices::new(&pre)).transpose()?,
            batch: batch.then(|| exports::batch::GuestIndices::new(&pre)).transpose()?,
            pre,
        }))
    }
}

/// The store itself answers every import.
fn own(data: &mut StoreData) -> &mut StoreData {
    data
}

/// The interface of this version that a grant opens.
fn link_grant(grant: Grant, linker: &mut Linker<StoreData>) -> wasmtime::Result<()> {
    match grant {
        Grant::Log => imports::log::add_to_linker::<_, HasSelf<_>>(linker, own),
        Grant::Metrics => imports::metrics::add_to_linker::<_, HasSelf<_>>(linker, own),
        Grant::Clock => imports::clock::add_to_linker::<_, HasSelf<_>>(linker, own),
        Grant::Random => imports::random::add_to_linker::<_, HasSelf<_>>(linker, own),
        Grant::Account => imports::account::add_to_linker::<_, HasSelf<_>>(linker, own),
        Grant::Kv => imports::kv::add_to_linker::<_, HasSelf<_>>(linker, own),
    }
}

/// Where the exports are.
struct Component {
    pre: InstancePre<StoreData>,
    strategy: exports::strategy::GuestIndices,
    state: Option<exports::state::GuestIndices>,
    bars: Option<exports::bars::GuestIndices>,
    batch: Option<exports::batch::GuestIndices>,
}

impl Linked for Component {
    fn instantiate(&self, store: &mut Store<StoreData>) -> wasmtime::Result<Box<dyn Guest>> {
        let instance = self.pre.instantiate(&mut *store)?;
        Ok(Box::new(Exports {
            strategy: self.strategy.load(&mut *store, &instance)?,
            state: self.state.as_ref().map(|it| it.load(&mut *store, &instance)).transpose()?,
            bars: self.bars.as_ref().map(|it| it.load(&mut *store, &instance)).transpose()?,
            batch: self.batch.as_ref().map(|it| it.load(&mut *store, &instance)).transpose()?,
        }))
    }
}

/// The typed exports of one instance.
struct Exports {
    strategy: exports::strategy::Guest,
    state: Option<exports::state::Guest>,
    bars: Option<exports::bars::Guest>,
    batch: Option<exports::batch::Guest>,
}

impl From<ConvertError> for CallError {
    fn from(error: ConvertError) -> Self {
        Self::Refused(error.to_string())
    }
}

/// Hands over what a call returned, if it is not more than it may be; a fault is an answer as well.
///
/// It works on the answer where it lies: each move of a value that has just been written costs the
/// processor a stalled load, and three of them were a tenth of a tick.
#[inline]
fn take(
    answer: &Result<Vec<wit::OrderIntent>, wit::Fault>,
    intents: Intents<'_>,
) -> wasmtime::Result<Option<Fault>> {
    match answer {
        Ok(returned) => take_all(returned, intents).map(|()| None),
        Err(fault) => Ok(Some(convert::fault(fault.clone()))),
    }
}

#[inline]
fn take_all(returned: &[wit::OrderIntent], Intents { max, list }: Intents<'_>) -> wasmtime::Result<()> {
    if !u32::try_from(returned.len()).is_ok_and(|count| count <= max) {
        return Err(LimitHit::Intents { returned: returned.len(), max }.into());
    }
    list.extend(returned.iter().map(convert::intent));
    Ok(())
}

/// A fault is an error to the caller and not to the engine: the instance lives on.
#[inline]
fn answered(fault: Option<Fault>) -> Result<(), CallError> {
    fault.map_or(Ok(()), |fault| Err(fault.into()))
}

impl Guest for Exports {
    fn describe(&self, call: Call<'_>) -> Result<Result<Metadata, MetadataError>, CallError> {
        let told = call.enter(|store| self.strategy.call_describe(store))?;
        Ok(convert::metadata(told, self.bars.is_some()))
    }

    fn init(&self, call: Call<'_>, session: &Session) -> Result<(), CallError> {
        let told = convert::session(session)?;
        let answer = call.enter(|store| self.strategy.call_init(store, &told))?;
        Ok(answer.map_err(convert::fault)?)
    }

    fn on_tick(
        &self,
        call: Call<'_>,
        tick: &Tick,
        context: &TickContext,
        intents: Intents<'_>,
    ) -> Result<(), CallError> {
        let (tick, told) = (convert::tick(tick), convert::context(context));
        answered(call.enter(|store| take(&self.strategy.call_strategy_tick(store, tick, told)?, intents))?)
    }

    fn on_event(
        &self,
        call: Call<'_>,
        event: &StrategyEvent,
        context: &TickContext,
        intents: Intents<'_>,
    ) -> Result<(), CallError> {
        let (event, told) = (convert::event(event)?, convert::context(context));
        answered(call.enter(|store| take(&self.strategy.call_on_event(store, &event, told)?, intents))?)
    }

    fn on_bar(
        &self,
        call: Call<'_>,
        bar: &Bar,
        context: &TickContext,
        intents: Intents<'_>,
    ) -> Result<(), CallError> {
        let Some(bars) = &self.bars else { return Ok(()) };
        let (bar, told) = (convert::bar(bar), convert::context(context));
        answered(call.enter(|store| take(&bars.call_on_bar(store, bar, told)?, intents))?)
    }

    fn run_batch(
        &self,
        call: Call<'_>,
        rows: &[i64],
        count: u32,
        context: &TickContext,
        intents: Intents<'_>,
    ) -> Result<BatchOutcome, CallError> {
        let Some(batch) = &self.batch else {
            return Err(CallError::Refused("the component does not export the interface batch".into()));
        };
        let told = convert::context(context);
        call.enter(|store| {
            let outcome = batch.call_run(store, rows, told)?;
            let consumed = outcome.consumed;
            if !(1..=count).contains(&consumed) {
                return Err(LimitHit::Rows { consumed, given: count }.into());
            }
            take_all(&outcome.intents, intents)?;
            Ok(BatchOutcome { consumed, fault: outcome.fault.map(convert::fault) })
        })
    }

    fn save(&self, call: Call<'_>, announced: u32) -> Result<Option<StateSnapshot>, CallError> {
        let Some(state) = &self.state else { return Ok(None) };
        let answer = call.enter(|store| {
            let answer = state.call_save(store)?;
            match &answer {
                // A state that no instance of this component would load again is worse than none.
                Ok(snapshot) if snapshot.schema != announced => {
                    Err(LimitHit::Schema { found: snapshot.schema, announced }.into())
                }
                _ => Ok(answer),
            }
        })?;
        Ok(Some(convert::snapshot_in(answer.map_err(convert::fault)?)))
    }

    fn load(&self, call: Call<'_>, state: &StateSnapshot) -> Result<(), CallError> {
        let Some(guest) = &self.state else { return Ok(()) };
        let told = convert::snapshot_out(state);
        let answer = call.enter(|store| guest.call_load(store, &told))?;
        Ok(answer.map_err(convert::fault)?)
    }

    fn stop(&self, call: Call<'_>, intents: Intents<'_>) -> Result<(), CallError> {
        call.enter(|store| take_all(&self.strategy.call_stop(store)?, intents))
    }
}
