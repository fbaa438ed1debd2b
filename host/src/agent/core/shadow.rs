//! A candidate beside the strategy that runs: it is given every call that the strategy is given, with services
//! of its own, and what it wants is compared and thrown away.

use super::kept::call_once;
use super::switching::refusal;
use super::{
    Candidate, Core, Effect, Shadow, ShadowAnswer, ShadowDifference, ShadowReport, SwapEvent, SwapNews,
    SwapStage,
};
use crate::market::Now;
use crate::orders::{Fed, FedInput, OrderIntent};
use crate::plugin::{CallError, Services, Strategy, Telemetry};
use crate::resilience::{Class, Failure};

/// A candidate that is called and not obeyed.
pub(super) struct ShadowRun {
    /// What takes over afterwards.
    candidate: Candidate,
    strategy: Box<dyn Strategy>,
    services: Box<Services>,
    ticks_left: u64,
    report: ShadowReport,
    /// Set when it is not called any more, and why it must not take over.
    ended: Option<Result<(), Failure>>,
}

impl ShadowRun {
    pub(super) fn stage(&self) -> SwapStage {
        SwapStage::Shadowing {
            number: self.candidate.number,
            plugin: self.candidate.plugin,
            ticks_left: self.ticks_left,
            report: self.report.clone(),
        }
    }

    pub(super) const fn is_called(&self) -> bool {
        self.ended.is_none()
    }

    pub(super) const fn number(&self) -> u64 {
        self.candidate.number
    }

    fn compare(&mut self, call: u64, running: ShadowAnswer, candidate: ShadowAnswer) -> bool {
        let count = |answer: &ShadowAnswer| match answer {
            ShadowAnswer::Wanted(intents) => intents.len() as u64,
            ShadowAnswer::Failed(_) => 0,
        };
        self.report.calls += 1;
        self.report.intents_running += count(&running);
        self.report.intents_candidate += count(&candidate);
        let differs = match (&running, &candidate) {
            (ShadowAnswer::Failed(_), ShadowAnswer::Failed(_)) => false,
            (running, candidate) => running != candidate,
        };
        if differs {
            self.report.differing += 1;
            self.report.first.get_or_insert(ShadowDifference { call, running, candidate });
        }
        differs
    }
}

impl Core {
    pub(super) fn begin_shadow(
        &mut self,
        now: Now,
        candidate: Candidate,
        shadow: Shadow,
        out: &mut Vec<Effect>,
    ) -> Result<(), Failure> {
        if !self.strategy.is_running() {
            let text = "no strategy runs that the candidate could be compared with; swap without a shadow";
            return Err(refusal(Class::State, "swap_not_running", text));
        }
        if self.bars_for(&*shadow.strategy) != self.bars.kept() {
            // Calls are given to both alike, and neither may be given bars that it did not ask for.
            let text = "the candidate needs other bars than the strategy that runs, so that the two cannot be given \
                        the same calls; swap without a shadow";
            return Err(refusal(Class::Logic, "swap_other_bars", text));
        }
        let state = self.hand_over(now, &candidate, out)?;
        let Shadow { mut strategy, ticks } = shadow;
        let mut services = self.scratch();
        // It has a log and metrics of its own, which nobody reads.
        std::mem::swap(&mut services.telemetry, &mut self.services.telemetry);
        services.telemetry = Telemetry::default();
        let next_order = self.next_order();
        let whose = (candidate.plugin, candidate.settings.as_slice());
        self.prepare_candidate(&mut *strategy, whose, state.as_ref(), next_order, &mut services)?;
        out.push(Effect::Swap(SwapNews { number: candidate.number, event: SwapEvent::Shadowing }));
        let (ticks_left, report) = (ticks.get(), ShadowReport::default());
        self.shadow =
            Some(Box::new(ShadowRun { candidate, strategy, services, ticks_left, report, ended: None }));
        Ok(())
    }

    /// Gives the candidate the call that the strategy was given, with the books as that saw them.
    pub(super) fn shadow_call(&mut self, fed: &Fed, result: Result<&[OrderIntent], &CallError>) {
        let Some(shadow) = self.shadow.as_mut().filter(|shadow| shadow.is_called()) else { return };
        shadow.services.books.clone_from(&self.services.books);
        let answer = call_once(&mut *shadow.strategy, fed, &mut shadow.services);
        let candidate = match answer {
            Ok(intents) => {
                shadow.services.commit();
                ShadowAnswer::Wanted(intents)
            }
            Err(error) => {
                shadow.services.abort();
                if let CallError::Trap { .. } | CallError::Dead = error {
                    let text = format!(
                        "the candidate failed in call {} beside the strategy: {error}; correct it and bring it again",
                        fed.call
                    );
                    shadow.ended = Some(Err(refusal(Class::Logic, "swap_shadow_failed", text)));
                }
                ShadowAnswer::Failed(error.to_string())
            }
        };
        shadow.services.telemetry.forget();
        let running = match result {
            Ok(intents) => ShadowAnswer::Wanted(intents.to_vec()),
            Err(error) => ShadowAnswer::Failed(error.to_string()),
        };
        self.stats.shadow_calls += 1;
        if shadow.compare(fed.call, running, candidate) {
            self.stats.shadow_differences += 1;
        }
        if let FedInput::Tick(_) = fed.input {
            shadow.report.ticks += 1;
            shadow.ticks_left = shadow.ticks_left.saturating_sub(1);
            if shadow.ticks_left == 0 {
                shadow.ended.get_or_insert(Ok(()));
            }
        }
    }

    /// Ends the shadow when its time is over: the candidate takes over, between two calls.
    pub(super) fn progress_shadow(&mut self, now: Now, out: &mut Vec<Effect>) {
        let Some(shadow) = self.shadow.take_if(|shadow| !shadow.is_called()) else { return };
        let ShadowRun { candidate, report, ended, .. } = *shadow;
        let number = candidate.number;
        out.push(Effect::Swap(SwapNews { number, event: SwapEvent::Shadowed(report) }));
        let outcome = match ended {
            Some(Err(failure)) => Err(failure),
            _ => self.check_still_open().and_then(|()| self.switch(now, candidate, out)),
        };
        if let Err(failure) = outcome {
            self.refuse_swap(number, failure, out);
        }
    }

    fn check_still_open(&self) -> Result<(), Failure> {
        if self.life != super::Life::Running || self.health.journal_failed {
            return Err(refusal(
                Class::State,
                "swap_agent_stops",
                "the agent stops; start it with the component",
            ));
        }
        Ok(())
    }

    /// The strategy failed beside the candidate.
    pub(super) fn end_shadow(&mut self, failure: &Failure, out: &mut Vec<Effect>) {
        let text = format!(
            "the running strategy failed meanwhile: {}; bring the candidate again without a shadow, it then begins \
             with the last state that was saved",
            failure.message
        );
        self.give_up_shadow(refusal(Class::Logic, "swap_running_failed", text), out);
    }

    pub(super) fn give_up_shadow(&mut self, failure: Failure, out: &mut Vec<Effect>) {
        let Some(shadow) = self.shadow.take() else { return };
        let number = shadow.candidate.number;
        out.push(Effect::Swap(SwapNews { number, event: SwapEvent::Shadowed(shadow.report) }));
        self.refuse_swap(number, failure, out);
    }

    pub(super) fn abandon_swap(&mut self, number: u64, note: &str, out: &mut Vec<Effect>) {
        let text = format!("it was abandoned: {note}");
        match &self.shadow {
            Some(shadow) if shadow.number() == number => {
                self.give_up_shadow(refusal(Class::State, "swap_abandoned", text), out);
            }
            _ => {
                let text = "there is no such swap that is not made yet; roll back one that is";
                self.refuse_swap(number, refusal(Class::State, "no_such_swap", text), out);
            }
        }
    }
}
