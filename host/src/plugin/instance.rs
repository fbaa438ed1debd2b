//! One running component: its store, its typed exports, and the way into it.
//!
//! Every entry arms the budget first, and an entry that the engine ends is the last one: the store of a
//! component that trapped is in no state that anybody defined.

use super::bindings::exports::ringfence::strategy as exports;
use super::bindings::ringfence::strategy::types as wit;
use super::component::Plugin;
use super::convert::{self, ConvertError, ROW_FIELDS};
use super::engine::{Pulse, Sandbox, Stale};
use super::host::{HostCalls, StoreData};
use super::limits::{Budget, SandboxLimits};
use super::trap::{LimitHit, triage};
use super::{CallError, Fault, Metadata, Services, Session, StateSnapshot, Strategy, TickContext};
use crate::market::{Bar, Tick};
use crate::orders::{OrderIntent, StrategyEvent};
use std::fmt;
use std::mem;
use wasmtime::Store;
use wasmtime::component::InstancePre;

/// Where the exports are, resolved once per plugin.
pub(super) struct Indices {
    pub strategy: exports::strategy::GuestIndices,
    pub state: Option<exports::state::GuestIndices>,
    pub bars: Option<exports::bars::GuestIndices>,
    pub batch: Option<exports::batch::GuestIndices>,
}

/// A store and the typed exports of the one instance in it.
pub(super) struct Exports {
    entry: Entry,
    strategy: exports::strategy::Guest,
    state: Option<exports::state::Guest>,
    bars: Option<exports::bars::Guest>,
    batch: Option<exports::batch::Guest>,
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

impl From<ConvertError> for CallError {
    fn from(error: ConvertError) -> Self {
        Self::Refused(error.to_string())
    }
}

impl Entry {
    fn new(sandbox: &Sandbox, limits: &SandboxLimits) -> Self {
        let mut store = Store::new(sandbox.engine(), StoreData::new(limits));
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
        mem::swap(&mut self.store.data_mut().services, services);
        result
    }
}

impl Exports {
    /// A fresh instance in a fresh store.
    pub fn instantiate(
        sandbox: &Sandbox,
        limits: &SandboxLimits,
        pre: &InstancePre<StoreData>,
        indices: &Indices,
    ) -> Result<Self, CallError> {
        let mut entry = Entry::new(sandbox, limits);
        let (strategy, state, bars, batch) = entry.enter(sandbox.setup_budget(limits), |store| {
            let instance = pre.instantiate(&mut *store)?;
            let strategy = indices.strategy.load(&mut *store, &instance)?;
            let state = indices.state.as_ref().map(|it| it.load(&mut *store, &instance)).transpose()?;
            let bars = indices.bars.as_ref().map(|it| it.load(&mut *store, &instance)).transpose()?;
            let batch = indices.batch.as_ref().map(|it| it.load(&mut *store, &instance)).transpose()?;
            Ok((strategy, state, bars, batch))
        })?;
        // Start code may have talked to services that nobody lent.
        *entry.store.data_mut().services = Services::vacant();
        Ok(Self { entry, strategy, state, bars, batch })
    }

    /// What the component says about itself. Takes the instance: it is thrown away afterwards.
    pub fn describe(mut self, budget: Budget) -> Result<wit::Metadata, CallError> {
        self.entry.enter(budget, |store| self.strategy.call_describe(store))
    }
}

/// A strategy that runs as a component.
pub struct ComponentStrategy {
    plugin: Plugin,
    exports: Exports,
    call_budget: Budget,
    setup_budget: Budget,
    intents_max: u32,
}

impl ComponentStrategy {
    pub(super) fn new(plugin: Plugin, exports: Exports) -> Self {
        let (sandbox, limits) = (plugin.sandbox(), plugin.limits());
        Self {
            call_budget: sandbox.call_budget(limits),
            setup_budget: sandbox.setup_budget(limits),
            intents_max: limits.intents_per_call_max,
            exports,
            plugin,
        }
    }

    /// The component that it is an instance of.
    pub fn plugin(&self) -> &Plugin {
        &self.plugin
    }

    /// Linear memory in use, over all memories.
    pub fn memory_bytes(&self) -> usize {
        self.exports.entry.store.data().limiter.memory_bytes()
    }

    /// Whether a trap ended it.
    pub fn is_dead(&self) -> bool {
        self.exports.entry.dead
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
        let Exports { entry, batch, .. } = &mut self.exports;
        let Some(batch) = batch else {
            return Err(CallError::Refused("the component does not export the interface batch".into()));
        };
        let count =
            u32::try_from(rows.len() / ROW_FIELDS).ok().filter(|_| rows.len().is_multiple_of(ROW_FIELDS));
        let Some(count) = count else {
            let detail = format!("{} numbers are not whole rows of {ROW_FIELDS}", rows.len());
            return Err(CallError::Refused(detail));
        };
        if count == 0 {
            return Ok(BatchOutcome::default());
        }
        let told = convert::context(context);
        let max = self.intents_max.min(context.intents_left);
        let answer = entry.lend(services, self.call_budget.times(count), |store| {
            let outcome = batch.call_run(store, rows, told)?;
            let consumed = outcome.consumed;
            if !(1..=count).contains(&consumed) {
                return Err(LimitHit::Rows { consumed, given: count }.into());
            }
            take_all(&outcome.intents, max, intents)?;
            Ok(BatchOutcome { consumed, fault: outcome.fault.map(convert::fault) })
        })?;
        Ok(answer)
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

/// Hands over what a call returned, if it is not more than it may be; a fault is an answer as well.
///
/// It works on the answer where it lies: each move of a value that has just been written costs the
/// processor a stalled load, and three of them were a tenth of a tick.
#[inline]
fn take(
    answer: &Result<Vec<wit::OrderIntent>, wit::Fault>,
    max: u32,
    intents: &mut Vec<OrderIntent>,
) -> wasmtime::Result<Option<Fault>> {
    match answer {
        Ok(returned) => take_all(returned, max, intents).map(|()| None),
        Err(fault) => Ok(Some(convert::fault(fault.clone()))),
    }
}

#[inline]
fn take_all(returned: &[wit::OrderIntent], max: u32, intents: &mut Vec<OrderIntent>) -> wasmtime::Result<()> {
    if !u32::try_from(returned.len()).is_ok_and(|count| count <= max) {
        return Err(LimitHit::Intents { returned: returned.len(), max }.into());
    }
    intents.extend(returned.iter().map(convert::intent));
    Ok(())
}

/// A fault is an error to the caller and not to the engine: the instance lives on.
#[inline]
fn answered(fault: Option<Fault>) -> Result<(), CallError> {
    fault.map_or(Ok(()), |fault| Err(fault.into()))
}

impl Strategy for ComponentStrategy {
    fn metadata(&self) -> &Metadata {
        self.plugin.metadata()
    }

    fn init(&mut self, session: &Session, services: &mut Box<Services>) -> Result<(), CallError> {
        let told = convert::session(session)?;
        let Exports { entry, strategy, .. } = &mut self.exports;
        let answer = entry.lend(services, self.setup_budget, |store| strategy.call_init(store, &told))?;
        Ok(answer.map_err(convert::fault)?)
    }

    fn on_tick(
        &mut self,
        tick: &Tick,
        context: &TickContext,
        services: &mut Box<Services>,
        intents: &mut Vec<OrderIntent>,
    ) -> Result<(), CallError> {
        let (tick, told) = (convert::tick(tick), convert::context(context));
        let max = self.intents_max.min(context.intents_left);
        let Exports { entry, strategy, .. } = &mut self.exports;
        answered(entry.lend(services, self.call_budget, |store| {
            take(&strategy.call_strategy_tick(store, tick, told)?, max, intents)
        })?)
    }

    fn on_event(
        &mut self,
        event: &StrategyEvent,
        context: &TickContext,
        services: &mut Box<Services>,
        intents: &mut Vec<OrderIntent>,
    ) -> Result<(), CallError> {
        let (event, told) = (convert::event(event)?, convert::context(context));
        let max = self.intents_max.min(context.intents_left);
        let Exports { entry, strategy, .. } = &mut self.exports;
        answered(entry.lend(services, self.call_budget, |store| {
            take(&strategy.call_on_event(store, &event, told)?, max, intents)
        })?)
    }

    fn on_bar(
        &mut self,
        bar: &Bar,
        context: &TickContext,
        services: &mut Box<Services>,
        intents: &mut Vec<OrderIntent>,
    ) -> Result<(), CallError> {
        let (bar, told) = (convert::bar(bar), convert::context(context));
        let Exports { entry, bars, .. } = &mut self.exports;
        let Some(bars) = bars else { return Ok(()) };
        let max = self.intents_max.min(context.intents_left);
        answered(entry.lend(services, self.call_budget, |store| {
            take(&bars.call_on_bar(store, bar, told)?, max, intents)
        })?)
    }

    fn save(&mut self, services: &mut Box<Services>) -> Result<Option<StateSnapshot>, CallError> {
        let state_bytes_max = self.plugin.limits().state_bytes_max;
        let Exports { entry, state, .. } = &mut self.exports;
        let Some(state) = state else { return Ok(None) };
        let budget = Budget { bytes_returned: state_bytes_max, ..self.setup_budget };
        let answer = entry.lend(services, budget, |store| state.call_save(store))?;
        Ok(Some(convert::snapshot_in(answer.map_err(convert::fault)?)))
    }

    fn load(&mut self, state: &StateSnapshot, services: &mut Box<Services>) -> Result<(), CallError> {
        let Exports { entry, state: guest, .. } = &mut self.exports;
        let Some(guest) = guest else { return Ok(()) };
        let told = convert::snapshot_out(state);
        let answer = entry.lend(services, self.setup_budget, |store| guest.call_load(store, &told))?;
        Ok(answer.map_err(convert::fault)?)
    }

    fn stop(
        &mut self,
        services: &mut Box<Services>,
        intents: &mut Vec<OrderIntent>,
    ) -> Result<(), CallError> {
        let max = self.intents_max;
        let Exports { entry, strategy, .. } = &mut self.exports;
        entry.lend(services, self.setup_budget, |store| take_all(&strategy.call_stop(store)?, max, intents))
    }

    fn fuel_used(&self) -> Option<u64> {
        Some(self.exports.entry.fuel_used)
    }
}

impl fmt::Debug for ComponentStrategy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ComponentStrategy({:?}, dead: {})", self.plugin, self.is_dead())
    }
}
