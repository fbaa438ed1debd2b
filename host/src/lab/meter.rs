//! What a strategy uses of its budget, and the way to show it many updates at once: a strategy around the strategy.
//!
//! The core calls it as any other. When the lab has shown it updates ahead of the core, the answer to the last of them
//! waits here until the core comes to that update, so that everything that follows from an intent takes the core's own
//! way.

use crate::market::{Bar, Tick};
use crate::orders::{OrderIntent, StrategyEvent};
use crate::plugin::{
    BatchOutcome, CallError, ComponentStrategy, Fault, Metadata, Services, Session, StateSnapshot, Strategy,
    TickContext,
};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What was used so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Calls into the strategy, of every kind.
    pub calls: u64,
    /// Most linear memory in use after a call.
    pub memory_peak_bytes: u64,
    fuel: Fuel,
}

/// How many calls used how much fuel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Fuel {
    calls: BTreeMap<u64, u64>,
    metered: u64,
    most: u64,
    /// Trailing binary digits that are not told apart, so that the table stays small.
    blurred_bits: u32,
    last: u64,
    last_calls: u64,
}

impl Fuel {
    /// Different amounts that are told apart. A strategy of hand-written code has dozens.
    const AMOUNTS_MAX: usize = 8_192;

    #[inline]
    fn note(&mut self, fuel: u64) {
        self.metered += 1;
        self.most = self.most.max(fuel);
        let blurred = fuel >> self.blurred_bits << self.blurred_bits;
        // Most calls use what the one before has used.
        if blurred == self.last {
            self.last_calls += 1;
        } else {
            self.flush();
            (self.last, self.last_calls) = (blurred, 1);
        }
    }

    fn flush(&mut self) {
        if self.last_calls == 0 {
            return;
        }
        *self.calls.entry(self.last).or_default() += std::mem::take(&mut self.last_calls);
        while self.calls.len() > Self::AMOUNTS_MAX {
            self.blurred_bits += 1;
            let mut coarser: BTreeMap<u64, u64> = BTreeMap::new();
            for (fuel, calls) in std::mem::take(&mut self.calls) {
                *coarser.entry(fuel >> self.blurred_bits << self.blurred_bits).or_default() += calls;
            }
            self.calls = coarser;
        }
    }

    /// The least amount that this share of the calls, in thousandths, did not exceed.
    fn at_permille(&mut self, permille: u64) -> Option<u64> {
        self.flush();
        let total: u64 = self.calls.values().sum();
        let wanted = (total * permille).div_ceil(1_000).max(1);
        let mut seen = 0;
        self.calls.iter().find_map(|(fuel, calls)| {
            seen += calls;
            (seen >= wanted).then_some(*fuel)
        })
    }
}

impl Usage {
    /// Fuel that half of the calls did not exceed; `None` where nothing is metered.
    pub fn fuel_p50(&mut self) -> Option<u64> {
        self.fuel.at_permille(500)
    }

    /// Fuel that 99 of 100 calls did not exceed.
    pub fn fuel_p99(&mut self) -> Option<u64> {
        self.fuel.at_permille(990)
    }

    /// Fuel of the most expensive call.
    pub const fn fuel_max(&self) -> u64 {
        self.fuel.most
    }

    /// Calls whose own fuel is known: those that were made one by one.
    pub const fn fuel_calls(&self) -> u64 {
        self.fuel.metered
    }
}

/// A strategy that the lab can run.
pub trait Guest: Strategy {
    /// Linear memory in use; `None` for native code.
    fn footprint_bytes(&self) -> Option<usize> {
        None
    }

    /// Whether many updates in one crossing come to the same as one call each, and the fuel that one call may use.
    /// It must not ask for anything that changes between two of them: books, time, or what it has stored.
    fn batch_fuel_cap(&self) -> Option<u64> {
        None
    }

    /// Many updates in one crossing, see [`ComponentStrategy::run_batch`].
    ///
    /// # Errors
    /// See [`CallError`].
    fn run_batch(
        &mut self,
        rows: &[i64],
        context: &TickContext,
        services: &mut Box<Services>,
        intents: &mut Vec<OrderIntent>,
    ) -> Result<BatchOutcome, CallError> {
        let _ = (rows, context, services, intents);
        Err(CallError::Refused("the strategy takes one update at a time".into()))
    }
}

impl Guest for ComponentStrategy {
    fn footprint_bytes(&self) -> Option<usize> {
        Some(self.memory_bytes())
    }

    fn batch_fuel_cap(&self) -> Option<u64> {
        const HARMLESS: [&str; 3] =
            ["ringfence:strategy/types@", "ringfence:strategy/log@", "ringfence:strategy/metrics@"];
        let plugin = self.plugin();
        let harmless = |import: &String| HARMLESS.iter().any(|known| import.starts_with(known));
        let fits = plugin.has_batch() && plugin.imports().iter().all(harmless);
        fits.then_some(plugin.limits().fuel_per_call)
    }

    fn run_batch(
        &mut self,
        rows: &[i64],
        context: &TickContext,
        services: &mut Box<Services>,
        intents: &mut Vec<OrderIntent>,
    ) -> Result<BatchOutcome, CallError> {
        ComponentStrategy::run_batch(self, rows, context, services, intents)
    }
}

/// What the strategy has answered to the last update of a batch, until the core asks for it.
#[derive(Debug)]
struct Answer {
    tick: Tick,
    intents: Vec<OrderIntent>,
    fault: Option<Fault>,
}

/// A strategy, what it has used, and what it has answered ahead of the core.
struct Shared<G: ?Sized> {
    usage: Usage,
    answer: Option<Answer>,
    /// Fuel of the last call, or of the whole batch.
    last_fuel: Option<u64>,
    /// Set when a batch may not have been the same as one call each.
    inexact: bool,
    guest: G,
}

impl<G: Guest + ?Sized> Shared<G> {
    #[inline]
    fn note(&mut self) {
        self.usage.calls += 1;
        self.last_fuel = self.guest.fuel_used();
        if let Some(fuel) = self.last_fuel {
            self.usage.fuel.note(fuel);
        }
        self.note_memory();
    }

    #[inline]
    fn note_memory(&mut self) {
        let bytes = self.guest.footprint_bytes().and_then(|bytes| u64::try_from(bytes).ok()).unwrap_or(0);
        self.usage.memory_peak_bytes = self.usage.memory_peak_bytes.max(bytes);
    }
}

fn lock<G: ?Sized>(shared: &Mutex<Shared<G>>) -> MutexGuard<'_, Shared<G>> {
    // One thread runs a lab, and what is counted is never left half changed.
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The lab's own hold on a strategy that the core has: what it has used, also when the core has thrown it away, and
/// the way to show it many updates at once.
#[derive(Clone)]
pub struct Meter(Arc<Mutex<Shared<dyn Guest>>>);

impl Meter {
    /// What was used so far.
    pub fn usage(&self) -> Usage {
        lock(&self.0).usage.clone()
    }

    /// Whether the strategy takes many updates at once.
    pub(super) fn takes_batches(&self) -> bool {
        lock(&self.0).guest.batch_fuel_cap().is_some()
    }

    /// Whether a batch may not have been the same as one call each, so that the run has to be made again without.
    pub(super) fn is_inexact(&self) -> bool {
        lock(&self.0).inexact
    }

    /// Shows the strategy many updates. Returns how many it has taken note of without a word, and whether it has
    /// answered the one after them: its answer then waits for the core. `tick_at` finds an update again.
    pub(super) fn run_batch(
        &self,
        rows: &[i64],
        context: &TickContext,
        services: &mut Box<Services>,
        tick_at: impl Fn(usize) -> Option<Tick>,
    ) -> (usize, bool) {
        let shared = &mut *lock(&self.0);
        let mut intents = Vec::new();
        let outcome = shared.guest.run_batch(rows, context, services, &mut intents);
        let fuel = shared.guest.fuel_used();
        shared.note_memory();
        let Ok(BatchOutcome { consumed, fault }) = outcome else {
            // Which of them it was nobody knows.
            shared.inexact = true;
            return (0, false);
        };
        // As long as all of them together kept to the budget of one, so did each.
        let cap = shared.guest.batch_fuel_cap();
        shared.inexact |= fuel.zip(cap).is_some_and(|(fuel, cap)| fuel > cap);
        let consumed = usize::try_from(consumed).unwrap_or(0);
        shared.usage.calls += consumed as u64;
        if intents.is_empty() && fault.is_none() {
            return (consumed, false);
        }
        let quiet = consumed.saturating_sub(1);
        shared.last_fuel = fuel;
        shared.answer = tick_at(quiet).map(|tick| Answer { tick, intents, fault });
        shared.inexact |= shared.answer.is_none();
        (quiet, true)
    }
}

/// A strategy whose use is counted, as the core has it.
pub struct Metered<G> {
    metadata: Metadata,
    shared: Arc<Mutex<Shared<G>>>,
}

impl<G: Guest + 'static> Metered<G> {
    /// Counts what `guest` uses.
    pub fn new(guest: G) -> (Self, Meter) {
        let metadata = guest.metadata().clone();
        let shared = Shared { usage: Usage::default(), answer: None, last_fuel: None, inexact: false, guest };
        let shared = Arc::new(Mutex::new(shared));
        let meter = Meter(Arc::clone(&shared) as Arc<Mutex<Shared<dyn Guest>>>);
        (Self { metadata, shared }, meter)
    }
}

impl<G: Guest> Strategy for Metered<G> {
    fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    fn keeps_state(&self) -> bool {
        lock(&self.shared).guest.keeps_state()
    }

    fn init(&mut self, session: &Session, services: &mut Box<Services>) -> Result<(), CallError> {
        let shared = &mut *lock(&self.shared);
        let result = shared.guest.init(session, services);
        // A call of the setup budget; it would blur what a tick costs.
        shared.note_memory();
        result
    }

    #[inline]
    fn on_tick(
        &mut self,
        tick: &Tick,
        context: &TickContext,
        services: &mut Box<Services>,
        intents: &mut Vec<OrderIntent>,
    ) -> Result<(), CallError> {
        let shared = &mut *lock(&self.shared);
        if let Some(answer) = shared.answer.take() {
            shared.inexact |= answer.tick != *tick;
            intents.extend(answer.intents);
            return answer.fault.map_or(Ok(()), |fault| Err(fault.into()));
        }
        let result = shared.guest.on_tick(tick, context, services, intents);
        shared.note();
        result
    }

    fn on_event(
        &mut self,
        event: &StrategyEvent,
        context: &TickContext,
        services: &mut Box<Services>,
        intents: &mut Vec<OrderIntent>,
    ) -> Result<(), CallError> {
        let shared = &mut *lock(&self.shared);
        let result = shared.guest.on_event(event, context, services, intents);
        shared.note();
        result
    }

    fn on_bar(
        &mut self,
        bar: &Bar,
        context: &TickContext,
        services: &mut Box<Services>,
        intents: &mut Vec<OrderIntent>,
    ) -> Result<(), CallError> {
        let shared = &mut *lock(&self.shared);
        let result = shared.guest.on_bar(bar, context, services, intents);
        shared.note();
        result
    }

    fn save(&mut self, services: &mut Box<Services>) -> Result<Option<StateSnapshot>, CallError> {
        lock(&self.shared).guest.save(services)
    }

    fn load(&mut self, state: &StateSnapshot, services: &mut Box<Services>) -> Result<(), CallError> {
        lock(&self.shared).guest.load(state, services)
    }

    fn stop(
        &mut self,
        services: &mut Box<Services>,
        intents: &mut Vec<OrderIntent>,
    ) -> Result<(), CallError> {
        lock(&self.shared).guest.stop(services, intents)
    }

    fn fuel_used(&self) -> Option<u64> {
        lock(&self.shared).last_fuel
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn percentiles_are_amounts_that_were_used() {
        let mut fuel = Fuel::default();
        assert_eq!(fuel.at_permille(500), None);
        (1..=100).for_each(|amount| fuel.note(amount));
        assert_eq!((fuel.at_permille(500), fuel.at_permille(990)), (Some(50), Some(99)));
        (0..10_000).for_each(|_| fuel.note(7));
        assert_eq!((fuel.at_permille(500), fuel.at_permille(990), fuel.most), (Some(7), Some(7), 100));
    }

    proptest! {
        #[test]
        fn a_table_of_many_amounts_stays_small_and_near(amounts in prop::collection::vec(1_u64..1 << 40, 1..300)) {
            let mut fuel = Fuel::default();
            for repeat in 0..100_u64 {
                amounts.iter().for_each(|amount| fuel.note(amount + repeat * 7));
            }
            let found = fuel.at_permille(500).unwrap();
            prop_assert!(fuel.calls.len() <= Fuel::AMOUNTS_MAX);
            let mut sorted: Vec<u64> =
                (0..100_u64).flat_map(|repeat| amounts.iter().map(move |amount| amount + repeat * 7)).collect();
            sorted.sort_unstable();
            let exact = sorted[(sorted.len() * 500).div_ceil(1_000).max(1) - 1];
            prop_assert!(found <= exact && exact - found < 1 << fuel.blurred_bits.max(1), "{found} for {exact}");
        }
    }
}
