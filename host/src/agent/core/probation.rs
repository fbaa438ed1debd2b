//! The time after a switch in which the component before comes back by itself when the new one fails.
//!
//! It comes back with the state that it had at the switch, and is given the calls since then again: also the one
//! that the other failed on, so that it has seen every tick. What it wants meanwhile is not sent, because
//! the other has decided those calls; it is told so.

use super::kept::{Again, FedAgain, FeedError, Kept, Terms};
use super::lifecycle::Lifecycle;
use super::switching::{Switch, encoded_bytes, refusal};
use super::{Core, Effect, SwapStage};
use crate::market::Now;
use crate::orders::{Digest, Fed, Swap, SwapReason};
use crate::plugin::{CallError, Memory, Services, Setting, StateSnapshot, Strategy};
use crate::resilience::{Class, Failure};

/// Orders of which a component that comes back is told that they were not sent. More than a ladder of quotes for
/// each of a thousand calls is nothing that it waits for.
const SUPPRESSED_TOLD_MAX: usize = 4_096;

/// What can come back, and for how long.
pub(super) struct Probation {
    number: u64,
    from: Digest,
    settings: Vec<Setting>,
    pub(super) ticks_left: u64,
    /// The instance that ran. It is not called; it has its last words when the probation is over.
    old: Box<dyn Strategy>,
    /// A fresh one of the same component. It can be told from which number its orders count, the old one cannot;
    /// none for a component without a state to bring it to where it was.
    standby: Option<Box<dyn Strategy>>,
    /// The moment of the switch, and the calls since.
    kept: Kept,
}

/// A component that is ready to come back.
struct Back {
    strategy: Box<dyn Strategy>,
    state: Option<StateSnapshot>,
    memory: Memory,
    again: FedAgain,
}

impl Probation {
    pub(super) const fn stage(&self) -> SwapStage {
        SwapStage::Probation { number: self.number, from: self.from, ticks_left: self.ticks_left }
    }
}

impl Core {
    pub(super) fn probation(
        &self,
        number: u64,
        ticks_left: u64,
        (old, standby): (Box<dyn Strategy>, Option<Box<dyn Strategy>>),
        kept: Kept,
    ) -> Probation {
        let (from, settings) = (self.config.plugin, self.config.settings.clone());
        Probation { number, from, settings, ticks_left, old, standby, kept }
    }

    /// Keeps a call for the component that may come back.
    pub(super) fn keep_for_probation(&mut self, call: &Fed) {
        if let Some(probation) = self.probation.as_mut() {
            probation.kept.push(call.clone(), &self.services.books, usize::MAX);
        }
    }

    pub(super) fn probation_books_moved(&mut self) {
        if let Some(probation) = self.probation.as_mut() {
            probation.kept.books_moved();
        }
    }

    /// One tick of the probation has gone well.
    pub(super) fn count_probation(&mut self, out: &mut Vec<Effect>) {
        let most = self.config.limits.calls_kept_max;
        let Some(probation) = self.probation.as_mut() else { return };
        probation.ticks_left = probation.ticks_left.saturating_sub(1);
        if probation.ticks_left == 0 || probation.kept.len() >= most {
            self.commit_swap(out);
        }
    }

    /// The component that runs stays, and the one before is dropped.
    pub(super) fn commit_swap(&mut self, out: &mut Vec<Effect>) {
        let Some(probation) = self.probation.take() else { return };
        self.tell_committed(probation.number, self.config.plugin, out);
        self.say_goodbye(probation.old);
    }

    /// The component in its probation failed, in this call.
    pub(super) fn fail_probation(
        &mut self,
        now: Now,
        failure: &Failure,
        failing: Option<Fed>,
        out: &mut Vec<Effect>,
    ) {
        if let Some(failing) = failing
            && !self.config.record_inputs
        {
            // Nothing else is recorded; this one is at hand.
            self.keep_for_probation(&failing);
        }
        let note = format!("{}: {}", failure.code, failure.message);
        let text = format!(
            "agent {}: the component in its probation failed in call {}, and the one before comes back: {}",
            self.config.name, self.call, failure.message
        );
        self.alert(failure.class, "probation_failed", text, out);
        self.come_back(now, SwapReason::ProbationFailed, note, out);
    }

    pub(super) fn roll_back(&mut self, now: Now, number: u64, note: String, out: &mut Vec<Effect>) {
        if self.probation.is_none() || !self.strategy.is_running() || self.health.journal_failed {
            let text = "no component is in its probation; swap the one before in again";
            self.refuse_swap(number, refusal(Class::State, "no_probation", text), out);
            return;
        }
        self.come_back(now, SwapReason::Rollback, note, out);
    }

    /// Brings the component before back to where the calls since the switch would have brought it.
    fn come_back(&mut self, now: Now, reason: SwapReason, note: String, out: &mut Vec<Effect>) {
        let Some(probation) = self.probation.take() else { return };
        let Probation { number, from, settings, old, standby, kept, .. } = probation;
        let calls = kept.len() as u64;
        let is_warm = standby.is_none();
        let next_order = self.next_order();
        let revived = self.revive_old(&kept, &settings, (old, standby), next_order);
        let (next, state, memory, again) = match revived {
            Ok(Back { strategy, state, memory, again }) => (Ok(strategy), state, memory, again),
            Err(error) => {
                let text = format!("the component that came back {}", error.explain());
                let failure = refusal(Class::Logic, "return_failed", text);
                (Err(failure), kept.state.clone(), kept.memory.clone(), FedAgain::default())
            }
        };
        // One that keeps a state and could not save it is found by a start as it was at the switch.
        let unsaved = state.is_none() && !is_warm;
        let state = if unsaved { kept.state.clone() } else { state };
        let forgot = match &next {
            Ok(_) if is_warm => self.call,
            Ok(_) if !unsaved => 0,
            _ => calls,
        };
        self.stats.refed += again.calls;
        self.last_order = self.last_order.max(again.last_order);
        let orders = again.orders.iter().take(SUPPRESSED_TOLD_MAX);
        let mut swap = Swap {
            from: self.config.plugin,
            to: from,
            terms: self.config.terms_with(&settings),
            settings,
            call: self.call,
            now: self.market_now,
            next_order: self.next_order(),
            state,
            forgot,
            memory,
            suppressed: orders.map(|order| (order.instrument, order.id)).collect(),
            bars: match &next {
                Ok(strategy) => self.bars_for(&**strategy),
                Err(_) => self.bars.kept().to_vec(),
            },
            reason,
            request: number,
            note,
        };
        if encoded_bytes(&swap) > self.config.limits.swap_record_bytes_max {
            // It has to come back all the same: a start finds the state of the switch.
            (swap.state, swap.forgot) = (kept.state, calls);
            swap.suppressed.clear();
        }
        let fed = Some(again.calls);
        let leaving = match std::mem::replace(&mut self.strategy, Lifecycle::Starting { number: 0 }) {
            Lifecycle::Running(leaving) => Some(leaving),
            _ => None,
        };
        self.write_switch(
            now,
            Switch { swap, next, news: Vec::new(), probation: None, leaving, fed, since: now.mono },
            out,
        );
    }

    fn revive_old(
        &mut self,
        kept: &Kept,
        settings: &[Setting],
        (old, standby): (Box<dyn Strategy>, Option<Box<dyn Strategy>>),
        next_order: u64,
    ) -> Result<Back, FeedError> {
        let mut telemetry = std::mem::take(&mut self.services.telemetry);
        let terms = Terms { settings, ..self.terms() };
        let revived = match standby {
            Some(mut standby) => kept
                .revive(&mut *standby, &terms, (next_order, Again::All), &mut telemetry)
                .and_then(|revived| save(standby, revived)),
            None => {
                let mut warm = old;
                let mut services = kept.services(&self.config.instruments, self.config.limits.services);
                kept.feed(&mut *warm, Again::All, &mut services)
                    .and_then(|again| save(warm, (services, again)))
            }
        };
        self.services.telemetry = telemetry;
        revived
    }
}

fn save(
    mut strategy: Box<dyn Strategy>,
    (mut services, again): (Box<Services>, FedAgain),
) -> Result<Back, FeedError> {
    let memory = services.memory().clone();
    let state = match strategy.save(&mut services) {
        Ok(state) => state,
        Err(error @ (CallError::Trap { .. } | CallError::Dead)) => return Err(FeedError::Start(error)),
        Err(CallError::Fault(_) | CallError::Refused(_)) => None,
    };
    Ok(Back { strategy, state, memory, again })
}
