//! Runs one strategy, in the sandbox and in the test harness alike.

use crate::services::call;
use crate::{
    Bar, Context, Event, Fault, Instrument, Intent, Intents, OrderId, Session, SettingValue, Settings,
    Strategy, Tick, UnixNanos,
};

/// One instance: nothing until `init`, then a strategy and the number of its next order.
#[derive(Debug)]
pub struct Runner<S> {
    strategy: Option<S>,
    next_order_id: OrderId,
}

/// What the host says in `init`.
#[derive(Clone, Debug)]
pub struct Opening {
    /// Number of this run.
    pub run_id: u64,
    /// Seed of the random numbers.
    pub seed: u64,
    /// Time at the start.
    pub now: UnixNanos,
    /// First order number that has not been used.
    pub next_order_id: OrderId,
    /// What may be traded.
    pub instruments: Vec<Instrument>,
    /// The settings as configured.
    pub settings: Vec<(String, SettingValue)>,
    /// Whether orders go to a venue.
    pub live: bool,
}

/// What became of a batch of ticks; the intents, or the fault, are those of the last row that ran.
#[derive(Debug, PartialEq)]
pub struct Outcome {
    /// Rows that ran.
    pub consumed: usize,
    /// Intents of the last of them.
    pub intents: Vec<Intent>,
    /// Why the last of them failed.
    pub fault: Option<Fault>,
}

impl<S: Strategy> Runner<S> {
    /// An instance before `init`.
    pub const fn new() -> Self {
        Self { strategy: None, next_order_id: OrderId(0) }
    }

    /// Starts a session; an earlier one is forgotten.
    pub fn init(&mut self, opening: Opening) -> Result<(), Fault> {
        call::begin(opening.now);
        let settings = Settings::check(S::describe().settings, opening.settings)?;
        self.next_order_id = opening.next_order_id;
        self.strategy = Some(S::init(&Session {
            run_id: opening.run_id,
            seed: opening.seed,
            now: opening.now,
            instruments: opening.instruments,
            settings,
            live: opening.live,
        })?);
        Ok(())
    }

    /// One market update.
    #[inline]
    pub fn tick(&mut self, tick: &Tick, context: &Context) -> Result<Vec<Intent>, Fault> {
        self.call(context, |strategy, intents| strategy.on_tick(tick, context, intents))
    }

    /// Ticks row after row, as far as nothing happens that the host has to see before the next one.
    pub fn batch(&mut self, rows: &[i64], context: &Context) -> Outcome {
        let mut consumed = 0;
        let (rows, rest) = rows.as_chunks::<{ Tick::FIELDS }>();
        if !rest.is_empty() {
            let words = format!("expected rows of {} numbers, found {} left over", Tick::FIELDS, rest.len());
            return Outcome { consumed, intents: Vec::new(), fault: Some(Fault::Internal(words)) };
        }
        for row in rows {
            let tick = Tick::from_row(row);
            let result = self.tick(&tick, &Context { now: tick.event_time, ..*context });
            consumed += 1;
            match result {
                Ok(intents) if intents.is_empty() && !call::wrote() => {}
                Ok(intents) => return Outcome { consumed, intents, fault: None },
                Err(fault) => return Outcome { consumed, intents: Vec::new(), fault: Some(fault) },
            }
        }
        Outcome { consumed, intents: Vec::new(), fault: None }
    }

    /// News.
    pub fn event(&mut self, event: &Event, context: &Context) -> Result<Vec<Intent>, Fault> {
        self.call(context, |strategy, intents| strategy.on_event(event, context, intents))
    }

    /// One bar.
    pub fn bar(&mut self, bar: &Bar, context: &Context) -> Result<Vec<Intent>, Fault> {
        self.call(context, |strategy, intents| strategy.on_bar(bar, context, intents))
    }

    /// The layout and bytes of the strategy's memory.
    pub fn save(&self) -> Result<(u32, Vec<u8>), Fault> {
        let strategy = self.strategy.as_ref().ok_or(Fault::NotReady)?;
        match S::describe().state {
            Some(schemas) => Ok((*schemas.end(), strategy.save()?)),
            None => Ok((0, Vec::new())),
        }
    }

    /// Takes over memory that an earlier instance saved.
    pub fn load(&mut self, schema: u32, data: &[u8]) -> Result<(), Fault> {
        let strategy = self.strategy.as_mut().ok_or(Fault::NotReady)?;
        match S::describe().state {
            Some(schemas) if schemas.contains(&schema) => strategy.load(schema, data),
            Some(schemas) => Err(Fault::IncompatibleState(format!(
                "{} loads state of schema {} to {}, found {schema}",
                S::describe().name,
                schemas.start(),
                schemas.end()
            ))),
            None if data.is_empty() => Ok(()),
            None => Err(Fault::IncompatibleState(format!(
                "{} keeps no state, found {} bytes of schema {schema}",
                S::describe().name,
                data.len()
            ))),
        }
    }

    /// Last words.
    pub fn stop(&mut self) -> Vec<Intent> {
        let mut intents = Intents::new(u32::MAX, &mut self.next_order_id);
        if let Some(strategy) = &mut self.strategy {
            strategy.stop(&mut intents);
        }
        intents.into_list()
    }

    #[inline]
    fn call(
        &mut self,
        context: &Context,
        run: impl FnOnce(&mut S, &mut Intents) -> Result<(), Fault>,
    ) -> Result<Vec<Intent>, Fault> {
        let strategy = self.strategy.as_mut().ok_or(Fault::NotReady)?;
        call::begin(context.now);
        let next_order_id = self.next_order_id;
        let mut intents = Intents::new(context.intents_left, &mut self.next_order_id);
        match run(strategy, &mut intents) {
            Ok(()) => Ok(intents.into_list()),
            Err(fault) => {
                // The host never hears of those orders: a new instance counts on from what it has heard of.
                self.next_order_id = next_order_id;
                Err(fault)
            }
        }
    }
}

impl<S: Strategy> Default for Runner<S> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
#[path = "runner_tests.rs"]
mod tests;
