//! One running component: its store, the exports of its version, and the way into it.
//!
//! Every entry arms the budget first, and an entry that the engine ends is the last one: the store of a
//! component that trapped is in no state that anybody defined.

use super::adapters::{Guest, Linked};
use super::component::Plugin;
use super::engine::{Pulse, Sandbox, Stale};
use super::limits::{Budget, SandboxLimits};
use super::metadata::MetadataError;
use super::rows::ROW_FIELDS;
use super::store::{HostCalls, StoreData};
use super::trap::triage;
use super::{CallError, Fault, Metadata, Services, Session, StateSnapshot, Strategy, TickContext};
use crate::market::{Bar, Tick};
use crate::orders::{OrderIntent, StrategyEvent};
use std::fmt;
use std::mem;
use wasmtime::Store;
use wasmtime_wasi::filesystem::WasiFilesystemCtx;

/// A store and the one instance in it.
pub(super) struct Instance {
    entry: Entry,
    guest: Box<dyn Guest>,
}

/// One entry into a component: its store, what the core lends it, and its budget.
pub(super) struct Call<'a> {
    entry: &'a mut Entry,
    services: &'a mut Box<Services>,
    budget: Budget,
}

/// Where the intents of a call go, and how many there may be.
pub(super) struct Intents<'a> {
    pub max: u32,
    pub list: &'a mut Vec<OrderIntent>,
}

/// The store, and what decides whether it may be entered.
struct Entry {
    store: Store<StoreData>,
    sandbox: Sandbox,
    pulse: Pulse,
    fuel_used: u64,
    dead: bool,
}

impl From<Stale> for CallError {
    fn from(stale: Stale) -> Self {
        Self::Refused(format!(
            "the thread that enforces deadlines was last seen {} ms ago, so nothing would end a call",
            stale.age.as_millis()
        ))
    }
}

impl Entry {
    fn new(sandbox: &Sandbox, limits: &SandboxLimits, files: &WasiFilesystemCtx) -> Self {
        let mut store = Store::new(sandbox.engine(), StoreData::new(limits, files));
        store.limiter(|data| &mut data.limiter);
        store.set_max_component_handles(usize::try_from(limits.handles_max).unwrap_or(usize::MAX));
        store.epoch_deadline_trap();
        Self { store, sandbox: sandbox.clone(), pulse: Pulse::default(), fuel_used: 0, dead: false }
    }

    /// Enters the component with a full budget and nothing lent.
    #[inline]
    fn enter<R>(
        &mut self,
        budget: Budget,
        call: impl FnOnce(&mut Store<StoreData>) -> wasmtime::Result<R>,
    ) -> Result<R, CallError> {
        if self.dead {
            return Err(CallError::Dead);
        }
        self.sandbox.heartbeat().check(&mut self.pulse)?;
        // Fails only when the engine does not meter fuel, and then nothing may run.
        self.store.set_fuel(budget.fuel).map_err(|error| CallError::Refused(error.to_string()))?;
        self.store.set_hostcall_fuel(budget.bytes_returned);
        self.store.data_mut().host_calls = HostCalls::new(budget.host_calls);
        // Last, because the epoch moves on by itself.
        self.store.set_epoch_deadline(budget.epoch_ticks);
        let result = call(&mut self.store);
        self.fuel_used = budget.fuel.saturating_sub(self.store.get_fuel().unwrap_or(0));
        result.map_err(|error| {
            self.dead = true;
            triage(&error)
        })
    }

    /// Enters the component with the core's services in the store, and hands them back whatever happens.
    #[inline]
    fn lend<R>(
        &mut self,
        services: &mut Box<Services>,
        budget: Budget,
        call: impl FnOnce(&mut Store<StoreData>) -> wasmtime::Result<R>,
    ) -> Result<R, CallError> {
        mem::swap(&mut self.store.data_mut().services, services);
        let result = self.enter(budget, call);
        self.store.data_mut().finish_call();
        mem::swap(&mut self.store.data_mut().services, services);
        result
    }
}

/// What a call that ended in a trap logged last, for calls whose log nobody reads.
fn with_last_words(error: CallError, services: &Services) -> CallError {
    match (error, services.telemetry.lines.last()) {
        (CallError::Trap { kind, detail }, Some(line)) => {
            CallError::Trap { kind, detail: format!("{detail}; its last words: {}", line.text) }
        }
        (error, _) => error,
    }
}

impl Call<'_> {
    /// Enters the component with the core's services in the store.
    #[inline]
    pub fn enter<R>(
        self,
        call: impl FnOnce(&mut Store<StoreData>) -> wasmtime::Result<R>,
    ) -> Result<R, CallError> {
        self.entry.lend(self.services, self.budget, call)
    }
}

impl Instance {
    /// A fresh instance in a fresh store.
    pub fn new(
        sandbox: &Sandbox,
        limits: &SandboxLimits,
        files: &WasiFilesystemCtx,
        linked: &dyn Linked,
    ) -> Result<Self, CallError> {
        let mut entry = Entry::new(sandbox, limits, files);
        let guest = entry.enter(sandbox.setup_budget(limits), |store| linked.instantiate(store)).map_err(
            |error| {
                let data = entry.store.data_mut();
                data.finish_call();
                with_last_words(error, &data.services)
            },
        )?;
        // Start code may have talked to services that nobody lent.
        *entry.store.data_mut().services = Services::vacant();
        Ok(Self { entry, guest })
    }

    /// What the component says about itself. Takes the instance: it is thrown away afterwards.
    pub fn describe(mut self, budget: Budget) -> Result<Result<Metadata, MetadataError>, CallError> {
        let mut services = Box::new(Services::vacant());
        let told = self.guest.describe(Call { entry: &mut self.entry, services: &mut services, budget });
        told.map_err(|error| with_last_words(error, &services))
    }

    #[inline]
    fn call<'a>(&'a mut self, services: &'a mut Box<Services>, budget: Budget) -> (&'a dyn Guest, Call<'a>) {
        (&*self.guest, Call { entry: &mut self.entry, services, budget })
    }
}

/// A strategy that runs as a component.
pub struct ComponentStrategy {
    plugin: Plugin,
    instance: Instance,
    call_budget: Budget,
    setup_budget: Budget,
    intents_max: u32,
}

impl ComponentStrategy {
    pub(super) fn new(plugin: Plugin, instance: Instance) -> Self {
        let (sandbox, limits) = (plugin.sandbox(), plugin.limits());
        Self {
            call_budget: sandbox.call_budget(limits),
            setup_budget: sandbox.setup_budget(limits),
            intents_max: limits.intents_per_call_max,
            instance,
            plugin,
        }
    }

    /// The component that it is an instance of.
    pub fn plugin(&self) -> &Plugin {
        &self.plugin
    }

    /// Linear memory in use, over all memories.
    pub fn memory_bytes(&self) -> usize {
        self.instance.entry.store.data().limiter.memory_bytes()
    }

    /// Whether a trap ended it.
    pub fn is_dead(&self) -> bool {
        self.instance.entry.dead
    }

    /// Many ticks in one crossing, for the lab: `rows` holds [`super::batch_row`]s one after another. Stops
    /// after the first row that does more than look on, and says how many rows were consumed. The budget is
    /// that of as many single calls.
    ///
    /// # Errors
    /// See [`CallError`]; refused when the component has no batch, or the rows are not whole ticks.
    pub fn run_batch(
        &mut self,
        rows: &[i64],
        context: &TickContext,
        services: &mut Box<Services>,
        intents: &mut Vec<OrderIntent>,
    ) -> Result<BatchOutcome, CallError> {
        let count =
            u32::try_from(rows.len() / ROW_FIELDS).ok().filter(|_| rows.len().is_multiple_of(ROW_FIELDS));
        let Some(count) = count else {
            let detail = format!("{} numbers are not whole rows of {ROW_FIELDS}", rows.len());
            return Err(CallError::Refused(detail));
        };
        if count == 0 {
            return Ok(BatchOutcome::default());
        }
        let intents = Intents { max: self.intents_max.min(context.intents_left), list: intents };
        let (guest, call) = self.instance.call(services, self.call_budget.times(count));
        guest.run_batch(call, rows, count, context, intents)
    }
}

/// What came of a batch. Intents, or the fault, are those of the last row consumed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BatchOutcome {
    /// How many rows ran.
    pub consumed: u32,
    /// What the last of them reported instead of intents.
    pub fault: Option<Fault>,
}

impl Strategy for ComponentStrategy {
    fn metadata(&self) -> &Metadata {
        self.plugin.metadata()
    }

    fn init(&mut self, session: &Session, services: &mut Box<Services>) -> Result<(), CallError> {
        let (guest, call) = self.instance.call(services, self.setup_budget);
        guest.init(call, session)
    }

    fn on_tick(
        &mut self,
        tick: &Tick,
        context: &TickContext,
        services: &mut Box<Services>,
        intents: &mut Vec<OrderIntent>,
    ) -> Result<(), CallError> {
        let intents = Intents { max: self.intents_max.min(context.intents_left), list: intents };
        let (guest, call) = self.instance.call(services, self.call_budget);
        guest.on_tick(call, tick, context, intents)
    }

    fn on_event(
        &mut self,
        event: &StrategyEvent,
        context: &TickContext,
        services: &mut Box<Services>,
        intents: &mut Vec<OrderIntent>,
    ) -> Result<(), CallError> {
        let intents = Intents { max: self.intents_max.min(context.intents_left), list: intents };
        let (guest, call) = self.instance.call(services, self.call_budget);
        guest.on_event(call, event, context, intents)
    }

    fn on_bar(
        &mut self,
        bar: &Bar,
        context: &TickContext,
        services: &mut Box<Services>,
        intents: &mut Vec<OrderIntent>,
    ) -> Result<(), CallError> {
        let intents = Intents { max: self.intents_max.min(context.intents_left), list: intents };
        let (guest, call) = self.instance.call(services, self.call_budget);
        guest.on_bar(call, bar, context, intents)
    }

    fn keeps_state(&self) -> bool {
        self.plugin.has_state()
    }

    fn save(&mut self, services: &mut Box<Services>) -> Result<Option<StateSnapshot>, CallError> {
        let bytes_returned = self.plugin.limits().state_bytes_max;
        let announced = self.plugin.metadata().state_schema;
        let (guest, call) = self.instance.call(services, Budget { bytes_returned, ..self.setup_budget });
        guest.save(call, announced)
    }

    fn load(&mut self, state: &StateSnapshot, services: &mut Box<Services>) -> Result<(), CallError> {
        if !self.plugin.has_state() {
            return Ok(());
        }
        let Metadata { oldest_loadable_state: oldest, state_schema: newest, .. } = self.plugin.metadata();
        if !(oldest..=newest).contains(&&state.schema) {
            let found = state.schema;
            let words =
                format!("the state has schema {found}, the component loads schemas {oldest} to {newest}");
            return Err(Fault::IncompatibleState(words).into());
        }
        let (guest, call) = self.instance.call(services, self.setup_budget);
        guest.load(call, state)
    }

    fn stop(
        &mut self,
        services: &mut Box<Services>,
        intents: &mut Vec<OrderIntent>,
    ) -> Result<(), CallError> {
        let intents = Intents { max: self.intents_max, list: intents };
        let (guest, call) = self.instance.call(services, self.setup_budget);
        guest.stop(call, intents)
    }

    fn fuel_used(&self) -> Option<u64> {
        Some(self.instance.entry.fuel_used)
    }
}

impl fmt::Debug for ComponentStrategy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ComponentStrategy({:?}, dead: {})", self.plugin, self.is_dead())
    }
}
