//! Showing a strategy many updates ahead of the core, where that comes to the same as one by one.

use super::{Lab, State, is_holding};
use crate::agent::core::RecoverError;
use crate::market::{MonoNanos, Now, PriceTicks, Sample};
use crate::plugin::{Services, TickContext, batch_row};

impl Lab {
    /// Shows market updates, as many of them in one crossing as comes to the same as one by one.
    ///
    /// # Errors
    /// When the strategy does not start.
    pub fn samples(&mut self, samples: &[Sample]) -> Result<(), RecoverError> {
        let mut rest = samples;
        while let Some(first) = rest.first() {
            let quiet = self.run_ahead(rest);
            rest = rest.get(quiet..).unwrap_or_default();
            if quiet == 0 {
                self.sample(first)?;
                rest = rest.get(1..).unwrap_or_default();
            }
        }
        Ok(())
    }

    /// Whether a batch may not have been the same as one call each: the run is void, and has to be made again with
    /// `LabConfig::batch` off. It happens when a strategy traps, or uses more than its budget, in a batch.
    pub fn is_void(&self) -> bool {
        self.meter.is_inexact()
    }

    /// Shows the strategy updates ahead of the core, and passes the core those that it has not answered. Returns how
    /// many; the answer to the next one waits for the ordinary step.
    fn run_ahead(&mut self, samples: &[Sample]) -> usize {
        let Some(wanted) = self.batch.wanted() else { return 0 };
        let (State::Running(core), true) = (&mut self.state, self.venue.is_quiet()) else { return 0 };
        let Some(first) = samples.first() else { return 0 };
        let instrument = first.tick.instrument;
        let Some(context) = core.idle_context(instrument) else { return 0 };
        let mut check = core.market_check().clone();
        let mut at = self.now.wall;
        let (mut low, mut high) = (PriceTicks(i64::MAX), PriceTicks(0));
        self.batch.rows.clear();
        let mut count = 0;
        for Sample { tick, .. } in samples.iter().take(wanted) {
            let moves_on = tick.instrument == instrument && tick.event_time >= at;
            if !moves_on || tick.event_time.0 >= self.performance.wants_at() {
                break;
            }
            let now = Now {
                mono: MonoNanos(tick.event_time.0.saturating_sub(self.began.0)),
                wall: tick.event_time,
            };
            let (Ok(()), Some(price)) = (check.admit(now, tick), tick.mark_price()) else { break };
            at = tick.event_time;
            (low, high) = (low.min(price), high.max(price));
            self.batch.rows.extend_from_slice(&batch_row(tick));
            count += 1;
        }
        if count < wanted.min(Batch::LEAST) || !core.stays_full(instrument, low, high) {
            self.batch.skip();
            return 0;
        }
        let context = TickContext { now: first.tick.event_time.max(core.market_now()), ..context };
        let tick_at = |index: usize| samples.get(index).map(|sample| sample.tick);
        let (quiet, answered) =
            self.meter.run_batch(&self.batch.rows, &context, &mut self.batch.services, tick_at);
        self.batch.answered = answered;
        self.batch.took(quiet, count);
        let said = std::mem::take(&mut self.batch.services.telemetry.lines);
        self.batch.services.telemetry.forget();
        let Some(shown) = samples.get(..quiet).filter(|shown| !shown.is_empty()) else {
            self.hear(&said);
            return 0;
        };
        // The check stands where the last of them left it.
        let check = if quiet == count { Some(check) } else { None };
        let check = check.unwrap_or_else(|| {
            let mut check = core.market_check().clone();
            for Sample { tick, .. } in shown {
                let _ = check.admit(Now { mono: MonoNanos(0), wall: tick.event_time }, tick);
            }
            check
        });
        for Sample { tick, .. } in shown {
            self.venue.show_quiet(tick);
        }
        let held = !context.position.is_zero() || is_holding(&self.venue, &self.config.instruments);
        let last = shown.last().map_or(at, |sample| sample.tick.event_time);
        self.performance.pass(last, held);
        let now = Now { mono: MonoNanos(last.0.saturating_sub(self.began.0)), wall: last };
        core.pass(now, shown.iter().map(|sample| sample.tick), check);
        self.now = now;
        self.event += shown.len() as u64;
        self.hear(&said);
        quiet
    }
}

/// How many updates are shown at once.
pub(super) struct Batch {
    allowed: bool,
    rows: Vec<i64>,
    /// What a strategy that asks for nothing is lent.
    services: Box<Services>,
    /// How many are offered next: twice what the last batch took, since what is not taken is offered again.
    offer: usize,
    /// Whether the next update has been answered already.
    answered: bool,
    /// Updates until the next one that is shown by itself, so that its own fuel is known.
    until_single: usize,
}

impl Batch {
    /// A crossing costs little per update from here on; rows beyond do not fit the nearest cache.
    const MOST: usize = 1_024;
    /// A crossing for fewer costs more than it saves.
    const LEAST: usize = 3;
    /// One in so many is shown by itself.
    const SINGLE_EVERY: usize = 509;

    pub(super) fn new(allowed: bool) -> Self {
        Self {
            allowed,
            rows: Vec::new(),
            services: Box::new(Services::vacant()),
            offer: 16,
            answered: false,
            until_single: 0,
        }
    }

    /// How many may be shown now; `None` when the next is shown by itself.
    fn wanted(&mut self) -> Option<usize> {
        if !self.allowed || std::mem::take(&mut self.answered) {
            return None;
        }
        if self.until_single == 0 {
            self.until_single = Self::SINGLE_EVERY;
            return None;
        }
        Some(self.offer.min(Self::MOST))
    }

    fn took(&mut self, quiet: usize, shown: usize) {
        self.until_single = self.until_single.saturating_sub(quiet);
        self.offer = if quiet == shown { self.offer * 2 } else { quiet.next_power_of_two() * 2 };
        self.offer = self.offer.clamp(8, Self::MOST);
    }

    fn skip(&mut self) {
        self.until_single = self.until_single.saturating_sub(1);
    }
}
