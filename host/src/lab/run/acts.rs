//! What befalls an agent besides the market.

use super::{Lab, State};
use crate::agent::core::{Candidate, Event, Operator};
use crate::lab::{Guest, Meter, Metered};
use crate::orders::{Mode, SwapReason};
use crate::resilience::{Class, Failure, Phase};

impl Lab {
    /// Lets the agent do no more than this until another floor is set.
    pub fn floor(&mut self, mode: Mode) {
        self.step(Event::Operator(Operator::Floor(mode)));
    }

    /// Says something to the strategy.
    pub fn say(&mut self, words: &str) {
        self.step(Event::Operator(Operator::Say(words.to_owned())));
    }

    /// Lets the exchange refuse this many of the orders that come next.
    pub const fn refuse_next(&mut self, count: u32) {
        self.venue.refuse_next(count);
    }

    /// Puts a fresh instance of the same component in the place of the one that runs, with its state or without it.
    /// Nothing happens before the first update.
    ///
    /// # Errors
    /// Why the one that runs still does.
    pub fn replace<G: Guest + 'static>(
        &mut self,
        (strategy, meter): (Metered<G>, Meter),
        fresh: bool,
    ) -> Result<(), Failure> {
        let State::Running(core) = &self.state else { return Ok(()) };
        let number = core.stats().swaps + core.stats().swaps_refused + 1;
        let candidate = Candidate {
            number,
            strategy: Box::new(strategy),
            plugin: self.plugin,
            settings: self.config.settings.clone(),
            shadow: None,
            probation_ticks: 0,
            standby: None,
            fresh,
            reason: SwapReason::Operator,
            note: String::new(),
        };
        self.swap_refused = None;
        self.step(Event::Swap(Box::new(candidate)));
        match self.swap_refused.take() {
            Some(failure) => Err(failure),
            None if self
                .core()
                .is_some_and(|core| core.stats().swaps + core.stats().swaps_refused >= number) =>
            {
                self.meter = meter;
                Ok(())
            }
            None => {
                let text = "the switch waits for something that the lab does not give";
                Err(Failure::new(Class::Logic, "lab_swap", Phase::NotSent, text))
            }
        }
    }

    /// The last call that failed, if one did since this was asked last.
    pub fn take_failed_call(&mut self) -> Option<Failure> {
        self.failed_call.take()
    }
}
