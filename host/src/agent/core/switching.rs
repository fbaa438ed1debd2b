//! The switch from one component to another, between two calls.
//!
//! The old one saves, the new one is initialised and loads, and both are written into one record. Until that
//! is durable nothing is called: samples stay with the shell, and news of orders waits here. A host that dies
//! before it finds the old one in the journal, and one that dies after it the new one.

use super::bars::Bars;
use super::kept::{Kept, Terms};
use super::lifecycle::Lifecycle;
use super::probation::Probation;
use super::{Candidate, Core, Effect, Life, SwapEvent, SwapNews};
use crate::market::{BarBuilder, InstrumentId, MonoNanos, Now};
use crate::orders::{Digest, Record, StrategyEvent, Swap};
use crate::plugin::{CallError, Memory, Services, Setting, StateSnapshot, Strategy};
use crate::resilience::{Class, Failure, Phase};

/// Order numbers that are left to a component which may come back as it is: it counts on where it stopped.
const NUMBERS_LEFT: u64 = 1 << 32;

/// A switch on its way to the disk.
pub(super) struct Switch {
    /// What is being written.
    pub(super) swap: Swap,
    /// The instance that takes over; or why there is none, and one has to be made.
    pub(super) next: Result<Box<dyn Strategy>, Failure>,
    /// What the strategy that takes over would have heard meanwhile.
    pub(super) news: Vec<(InstrumentId, StrategyEvent)>,
    /// What can come back.
    pub(super) probation: Option<Probation>,
    /// The component that leaves for good.
    pub(super) leaving: Option<Box<dyn Strategy>>,
    /// Calls that were made again, when it comes back.
    pub(super) fed: Option<u64>,
    /// When the agent ceased to call anything.
    pub(super) since: MonoNanos,
}

/// A candidate that is ready to take over.
struct Prepared {
    memory: Memory,
    next_order: u64,
}

pub(super) fn refusal(class: Class, code: &'static str, text: impl Into<String>) -> Failure {
    Failure::new(class, code, Phase::NotSent, text)
}

impl Core {
    /// Whether the shell may hand over samples. While a switch is being made durable it keeps them, so that none
    /// is lost and none is seen twice; one that comes all the same is dropped and counted.
    pub fn wants_samples(&self) -> bool {
        !self.strategy.is_switching()
    }

    pub(super) fn on_swap(&mut self, now: Now, mut candidate: Candidate, out: &mut Vec<Effect>) {
        let number = candidate.number;
        let begun = self.check_swap(&candidate).and_then(|()| match candidate.shadow.take() {
            Some(shadow) => self.begin_shadow(now, candidate, shadow, out),
            None => self.switch(now, candidate, out),
        });
        if let Err(failure) = begun {
            self.refuse_swap(number, failure, out);
        }
    }

    pub(super) fn refuse_swap(&mut self, number: u64, failure: Failure, out: &mut Vec<Effect>) {
        self.stats.swaps_refused += 1;
        out.push(Effect::Swap(SwapNews { number, event: SwapEvent::Refused(failure) }));
    }

    fn check_swap(&self, candidate: &Candidate) -> Result<(), Failure> {
        let limits = &self.config.limits;
        if self.life != Life::Running || self.health.journal_failed {
            return Err(refusal(
                Class::State,
                "swap_agent_stops",
                "the agent stops; start it with the component",
            ));
        }
        let busy = match (&self.strategy, &self.shadow, &self.probation) {
            (Lifecycle::Switching(_), ..) => Some("another switch is being written; try again"),
            (_, Some(_), _) => Some("another candidate runs beside the strategy; wait, or abandon that swap"),
            (.., Some(_)) => {
                Some("the component that runs is in its probation; wait for its end, or roll back")
            }
            _ => None,
        };
        if let Some(text) = busy {
            return Err(refusal(Class::State, "swap_busy", text));
        }
        let shadow_ticks = candidate.shadow.as_ref().map_or(0, |shadow| shadow.ticks.get());
        for (found, max, limit) in [
            (shadow_ticks, limits.shadow_ticks_max, "shadow_ticks_max"),
            (candidate.probation_ticks, limits.probation_ticks_max, "probation_ticks_max"),
        ] {
            if found > max {
                let text = format!("{found} ticks were asked for, {max} are allowed (limit {limit})");
                return Err(refusal(Class::State, "swap_limits", text));
            }
        }
        Ok(())
    }

    /// What the candidate begins with: the state of the strategy that runs, or the last one of a strategy that
    /// does not.
    pub(super) fn hand_over(
        &mut self,
        now: Now,
        candidate: &Candidate,
        out: &mut Vec<Effect>,
    ) -> Result<Option<StateSnapshot>, Failure> {
        if candidate.fresh {
            return Ok(None);
        }
        let state = self.last_state(now, out)?;
        self.check_state(candidate, state.as_ref())?;
        Ok(state)
    }

    /// The state of the strategy that runs now, or the last one of a strategy that does not run.
    fn last_state(&mut self, now: Now, out: &mut Vec<Effect>) -> Result<Option<StateSnapshot>, Failure> {
        match &mut self.strategy {
            Lifecycle::Running(strategy) => match strategy.save(&mut self.services) {
                Ok(state) => {
                    self.services.abort();
                    Ok(state)
                }
                Err(error @ (CallError::Fault(_) | CallError::Refused(_))) => {
                    self.services.abort();
                    let text = format!(
                        "the running strategy cannot save its state now: {error}; try again, or swap with the option \
                         fresh and without a probation"
                    );
                    Err(refusal(Class::Logic, "swap_save_refused", text))
                }
                Err(error) => {
                    self.services.abort();
                    self.call += 1;
                    self.stats.traps += 1;
                    self.strike(now, super::modes::error_failure(&error), None, out);
                    let text = format!(
                        "the running strategy failed while it saved its state: {error}; bring the candidate again, it \
                         then begins with the last state that was saved"
                    );
                    Err(refusal(Class::Logic, "swap_running_failed", text))
                }
            },
            _ => Ok(self.saved.clone()),
        }
    }

    fn check_state(&self, candidate: &Candidate, state: Option<&StateSnapshot>) -> Result<(), Failure> {
        let metadata = candidate.strategy.metadata();
        match (state, candidate.strategy.keeps_state()) {
            (None, false) => Ok(()),
            (None, true) => Err(refusal(
                Class::State,
                "swap_no_state",
                "the strategy has no state that the candidate could go on with; swap with the option fresh to let it \
                 begin anew",
            )),
            (Some(_), false) => Err(refusal(
                Class::State,
                "swap_state_lost",
                "the strategy has a state and the candidate exports no interface state to load it; swap with the \
                 option fresh to give it up",
            )),
            (Some(state), true) => {
                let (oldest, newest) = (metadata.oldest_loadable_state, metadata.state_schema);
                if !(oldest..=newest).contains(&state.schema) {
                    let text = format!(
                        "the state has schema {}, the candidate loads {oldest} to {newest}; give it an \
                         oldest-loadable-state that covers it, or swap with the option fresh",
                        state.schema
                    );
                    return Err(refusal(Class::State, "swap_schema", text));
                }
                Ok(())
            }
        }
    }

    /// Initialises an instance and gives it a state, with services that are its own. What it logs is said.
    pub(super) fn prepare_candidate(
        &mut self,
        strategy: &mut dyn Strategy,
        candidate: (Digest, &[Setting]),
        state: Option<&StateSnapshot>,
        next_order: u64,
        services: &mut Box<Services>,
    ) -> Result<(), Failure> {
        let (plugin, settings) = candidate;
        services.now = self.market_now;
        let terms = Terms { settings, ..self.terms() };
        let session = terms.session(self.market_now, next_order);
        let failed = |step: &str, code: &'static str, error: &CallError| {
            let text =
                format!("the candidate {step}: {error}; correct it or its settings and bring it again");
            refusal(Class::Logic, code, text)
        };
        strategy
            .init(&session, services)
            .map_err(|error| failed("does not start", "swap_init_failed", &error))?;
        if let Some(state) = state {
            strategy
                .load(state, services)
                .map_err(|error| failed("does not load the state", "swap_load_failed", &error))?;
        }
        if plugin == self.config.plugin {
            // As at any start of the same component: what it keeps with the host is there already.
            services.abort();
        } else {
            services.commit();
        }
        Ok(())
    }

    /// Switches to a candidate: from here on nothing is called before that is durable.
    pub(super) fn switch(
        &mut self,
        now: Now,
        mut candidate: Candidate,
        out: &mut Vec<Effect>,
    ) -> Result<(), Failure> {
        let state = self.hand_over(now, &candidate, out)?;
        let keeps = self.strategy.running().is_none_or(|strategy| strategy.keeps_state());
        let probation_ticks = if self.strategy.is_running() { candidate.probation_ticks } else { 0 };
        if probation_ticks > 0 && keeps && candidate.standby.is_none() {
            let text = "a probation needs an instance of the running component that can come back";
            return Err(refusal(Class::Logic, "swap_no_standby", text));
        }
        // What would come back goes on from here, whatever the candidate begins with.
        let back = match candidate.fresh && probation_ticks > 0 && keeps {
            true => self.last_state(now, out)?,
            false => state.clone(),
        };
        let mut next_order = self.next_order();
        if probation_ticks > 0 && !keeps {
            next_order = next_order.saturating_add(NUMBERS_LEFT);
        }
        let mut services = self.scratch();
        let prepared = self.prepare_candidate(
            &mut *candidate.strategy,
            (candidate.plugin, &candidate.settings),
            state.as_ref(),
            next_order,
            &mut services,
        );
        let memory = services.memory().clone();
        self.take_back(services, out);
        prepared?;
        let swap = self.record_of(&candidate, state, Prepared { memory, next_order })?;
        let old = match std::mem::replace(&mut self.strategy, Lifecycle::Starting { number: 0 }) {
            Lifecycle::Running(old) => Some(old),
            _ => None,
        };
        let (probation, leaving) = match old {
            Some(old) if probation_ticks > 0 => {
                let standby = candidate.standby.take().filter(|_| keeps);
                let kept = Kept::new(
                    (self.market_now, next_order),
                    back,
                    self.services.memory().clone(),
                    self.services.books.clone(),
                );
                (Some(self.probation(candidate.number, probation_ticks, (old, standby), kept)), None)
            }
            old => (None, old),
        };
        let next = Ok(candidate.strategy);
        self.write_switch(
            now,
            Switch { swap, next, news: Vec::new(), probation, leaving, fed: None, since: now.mono },
            out,
        );
        Ok(())
    }

    fn record_of(
        &self,
        candidate: &Candidate,
        state: Option<StateSnapshot>,
        Prepared { memory, next_order }: Prepared,
    ) -> Result<Swap, Failure> {
        let swap = Swap {
            from: self.config.plugin,
            to: candidate.plugin,
            terms: self.config.terms_with(&candidate.settings),
            settings: candidate.settings.clone(),
            call: self.call,
            now: self.market_now,
            next_order,
            state,
            forgot: 0,
            memory,
            suppressed: Vec::new(),
            bars: self.bars_for(&*candidate.strategy),
            reason: candidate.reason,
            request: candidate.number,
            note: candidate.note.clone(),
        };
        let (bytes, max) = (encoded_bytes(&swap), self.config.limits.swap_record_bytes_max);
        if bytes > max {
            let text = format!(
                "the state, the settings and what the strategy keeps with the host are {bytes} bytes, {max} fit into \
                 a record (limit swap_record_bytes_max); make the state smaller, or swap with the option fresh"
            );
            return Err(refusal(Class::Resource, "swap_state_too_large", text));
        }
        Ok(swap)
    }

    /// Writes a switch. What happens to it when it is durable is [`Core::complete_switch`].
    pub(super) fn write_switch(&mut self, now: Now, switch: Switch, out: &mut Vec<Effect>) {
        let record = Record::Swapped(Box::new(switch.swap.clone()));
        self.strategy = Lifecycle::Switching(Box::new(switch));
        self.journal_peak(now, out);
        self.journal(now, record, out);
    }

    /// The switch is durable: the one that took over is called from now on.
    pub(super) fn complete_switch(&mut self, now: Now, out: &mut Vec<Effect>) {
        let before = std::mem::replace(&mut self.strategy, Lifecycle::Starting { number: 0 });
        let Lifecycle::Switching(switch) = before else {
            self.strategy = before;
            return;
        };
        let Switch { swap, next, news, probation, leaving, fed, since } = *switch;
        self.adopt_swap(&swap);
        let event = match fed {
            None => SwapEvent::Switched {
                from: swap.from,
                to: swap.to,
                call: swap.call,
                probation_ticks: probation.as_ref().map_or(0, |probation| probation.ticks_left),
                paused_us: u64::try_from(now.mono.since(since).as_micros()).unwrap_or(u64::MAX),
            },
            Some(fed) => SwapEvent::Returned {
                from: swap.from,
                to: swap.to,
                reason: swap.reason,
                note: swap.note.clone(),
                fed,
            },
        };
        match fed {
            None => self.stats.swaps += 1,
            Some(_) => self.stats.rollbacks += 1,
        }
        out.push(Effect::Swap(SwapNews { number: swap.request, event }));
        if fed.is_none() && probation.is_none() {
            self.tell_committed(swap.request, swap.to, out);
        }
        self.probation = probation;
        if let Some(leaving) = leaving {
            self.say_goodbye(leaving);
        }
        for (instrument, event) in suppressed_news(&swap) {
            self.untold.add(self.seen.record, instrument, event);
        }
        for (instrument, event) in news {
            self.untold.add(self.seen.record, instrument, event);
        }
        if self.life != Life::Running {
            self.commit_swap(out);
        }
        match next {
            Ok(strategy) => {
                self.strategy = Lifecycle::Running(strategy);
                self.tell_untold(now, out);
            }
            Err(failure) => {
                self.call += 1;
                self.strike(now, failure, None, out);
            }
        }
    }

    /// The bars that are built for a component that takes over.
    pub(super) fn bars_for(&self, strategy: &dyn Strategy) -> Vec<BarBuilder> {
        self.bars.for_another(&strategy.metadata().needs, self.config.instruments.len())
    }

    /// What a record of a switch says of the agent; also when the journal is folded.
    pub(super) fn adopt_swap(&mut self, swap: &Swap) {
        // What was called until now was called on the component before.
        self.end_stretch();
        self.continues = false;
        self.config.plugin = swap.to;
        self.config.settings.clone_from(&swap.settings);
        self.succession.take_swap(swap);
        self.take_over(swap);
    }

    /// The same without what the configuration says.
    pub(super) fn take_over(&mut self, swap: &Swap) {
        self.services.adopt(&swap.memory);
        self.bars = Bars::of_record(swap.bars.clone(), self.config.instruments.len());
        self.call = self.call.max(swap.call);
        (self.began, self.told) = (swap.now, swap.now);
        self.last_order = self.last_order.max(swap.next_order.saturating_sub(1));
        self.saved.clone_from(&swap.state);
        self.saved_at = swap.call.saturating_sub(swap.forgot);
        self.forgot = swap.forgot;
        self.strikes.clear();
        self.faults_in_a_row = 0;
        self.dirty = true;
        self.keep_from_here(swap.now, swap.next_order);
        self.kept.dropped = swap.forgot;
    }

    pub(super) fn tell_committed(&mut self, number: u64, plugin: Digest, out: &mut Vec<Effect>) {
        out.push(Effect::Swap(SwapNews { number, event: SwapEvent::Committed { plugin } }));
    }

    /// Last words of a component that is gone for good; what it still wants is dropped.
    pub(super) fn say_goodbye(&mut self, mut leaving: Box<dyn Strategy>) {
        let mut services = self.scratch();
        let mut ignored = Vec::new();
        // Whether it ends well changes nothing any more.
        let _ = leaving.stop(&mut services, &mut ignored);
        services.telemetry.forget();
        std::mem::swap(&mut self.services.telemetry, &mut services.telemetry);
    }

    /// Services with the books and the memory of now, and with the agent's own log and metrics.
    pub(super) fn scratch(&mut self) -> Box<Services> {
        let (books, memory) = (self.services.books.clone(), self.services.memory().clone());
        let mut services = Services::restore(books, memory, self.config.instruments.clone())
            .with_limits(self.config.limits.services);
        services.now = self.market_now;
        std::mem::swap(&mut services.telemetry, &mut self.services.telemetry);
        Box::new(services)
    }

    fn take_back(&mut self, mut services: Box<Services>, out: &mut Vec<Effect>) {
        std::mem::swap(&mut services.telemetry, &mut self.services.telemetry);
        if !self.services.telemetry.lines.is_empty() {
            out.push(Effect::Said(std::mem::take(&mut self.services.telemetry.lines)));
        }
    }
}

/// What the component that came back is told of orders that it wanted while another one ran.
pub(super) fn suppressed_news(swap: &Swap) -> Vec<(InstrumentId, StrategyEvent)> {
    let reason = crate::orders::RejectReason::Mode;
    let detail = || "not sent: another component ran when this was wanted".to_owned();
    let news = |(instrument, order): &(InstrumentId, crate::orders::OrderId)| {
        (*instrument, StrategyEvent::Rejected { order: *order, reason, detail: detail() })
    };
    swap.suppressed.iter().map(news).collect()
}

pub(super) fn encoded_bytes(swap: &Swap) -> usize {
    let mut bytes = Vec::new();
    // Writing to memory cannot fail, and every type in here is representable.
    let _ = ciborium::into_writer(swap, &mut bytes);
    bytes.len()
}
