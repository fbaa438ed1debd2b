//! The strategy's life: it runs, fails, waits, is started again, and at some point not any more.
//!
//! ```text
//!   Running ──failure──► Backoff ──time──► Starting ──instance──► Running
//!      │ ▲                  │                  │ does not start
//!      │ └─ Switching       └──── strikes ─────┴──────────────► Quarantined ──operator──► Starting
//!      └──── swap ──┘
//! ```
//!
//! A failure is a strike. The instance is dropped with everything that the call wanted, because a store that
//! trapped is in no state that anybody defined; the next one is brought to where the last good call left it.

use super::bars::Bars;
use super::kept::{Again, FeedError, Kept, Terms};
use super::switching::Switch;
use super::{
    Alert, Core, Effect, Instance, Letter, Life, Operator, Status, StrategyStatus, Stretch, SwapStage,
};
use crate::market::{MonoNanos, Now, UnixNanos};
use crate::orders::{Fed, Record};
use crate::plugin::{CallError, Strategy};
use crate::resilience::{Class, Classified, Failure, Mode, Phase};
use std::time::Duration;

/// What the strategy is doing.
pub(super) enum Lifecycle {
    /// It is called.
    Running(Box<dyn Strategy>),
    /// Another one takes over as soon as that is durable. Nothing is called.
    Switching(Box<Switch>),
    /// It failed, and a new instance is made later.
    Backoff { until: MonoNanos, failure: Failure },
    /// A new instance was asked for.
    Starting { number: u64 },
    /// It is not started again before an operator says so.
    Quarantined { failure: Failure },
}

impl Lifecycle {
    /// The instance that is called.
    pub(super) fn running(&mut self) -> Option<&mut Box<dyn Strategy>> {
        match self {
            Self::Running(strategy) => Some(strategy),
            _ => None,
        }
    }

    /// The same, to look at.
    pub(super) fn instance(&self) -> Option<&dyn Strategy> {
        match self {
            Self::Running(strategy) => Some(&**strategy),
            _ => None,
        }
    }

    pub(super) const fn is_running(&self) -> bool {
        matches!(self, Self::Running(_))
    }

    pub(super) const fn is_switching(&self) -> bool {
        matches!(self, Self::Switching(_))
    }

    /// Whether there is no strategy that could be called, now or when a record is durable.
    pub(super) const fn is_down(&self) -> bool {
        !self.is_running() && !self.is_switching()
    }

    /// When a new instance is made.
    pub(super) const fn wake(&self) -> Option<MonoNanos> {
        match self {
            Self::Backoff { until, .. } => Some(*until),
            _ => None,
        }
    }
}

/// When the strategy failed, within a window.
#[derive(Debug, Default)]
pub(super) struct Strikes(Vec<UnixNanos>);

impl Strikes {
    pub(super) const fn of_checkpoint(strikes: Vec<UnixNanos>) -> Self {
        Self(strikes)
    }

    pub(super) fn list(&self) -> Vec<UnixNanos> {
        self.0.clone()
    }

    /// Counts one, and says how many there are within the window. No more than `max` are remembered.
    pub(super) fn add(&mut self, at: UnixNanos, window: Duration, max: u32) -> u32 {
        self.0.push(at);
        self.0.retain(|strike| at.since(*strike) < window);
        let surplus = self.0.len().saturating_sub(usize::try_from(max).unwrap_or(usize::MAX));
        self.0.drain(..surplus);
        u32::try_from(self.0.len()).unwrap_or(u32::MAX)
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}

impl Core {
    /// The strategy failed: its instance is dropped, and what the call wanted is gone; none of it was sent.
    /// `failing` is the call, when it was one that is recorded.
    pub(super) fn strike(&mut self, now: Now, failure: Failure, failing: Option<Fed>, out: &mut Vec<Effect>) {
        let letter = self.failed_call(failing.as_ref());
        self.record_failure(failing.as_ref());
        let before = std::mem::replace(
            &mut self.strategy,
            Lifecycle::Backoff { until: now.mono, failure: failure.clone() },
        );
        drop(before);
        self.stats.dead_letters += 1;
        self.stats.strikes += 1;
        self.faults_in_a_row = 0;
        self.dirty = true;
        let call = self.call;
        self.journal(now, Record::CallFailed { call, failure: failure.clone(), halted: true }, out);
        out.push(Effect::Letter(Letter::Call { call, failure: failure.clone(), input: letter }));
        self.end_shadow(&failure, out);
        if self.probation.is_some() {
            self.fail_probation(now, &failure, failing, out);
            return;
        }
        let strikes = self.count_strike(now.wall);
        let text = format!(
            "agent {}: call {call} failed, its intents were discarded and its instance dropped (strike {strikes} of {}): \
             {}; see the dead letter",
            self.config.name, self.config.supervision.strikes_max, failure.message
        );
        self.alert(failure.class, &failure.code, text, out);
        self.begin_wind_down(self.config.on_halt);
        if strikes >= self.config.supervision.strikes_max.get() {
            self.quarantine(now, failure, out);
        } else {
            let until = now.mono.after(self.config.supervision.backoff(strikes));
            self.strategy = Lifecycle::Backoff { until, failure };
        }
    }

    pub(super) fn count_strike(&mut self, at: UnixNanos) -> u32 {
        let supervision = self.config.supervision;
        let window = Duration::from_secs(supervision.strike_window_s);
        self.strikes.add(at, window, supervision.strikes_max.get())
    }

    /// What a dead letter says of a call that failed just now.
    fn failed_call(&self, failed: Option<&Fed>) -> Vec<u8> {
        let kept = match self.config.record_inputs {
            true => self.kept.newest(self.config.limits.letter_calls_max, &self.services.books),
            false => self.kept_of_now(),
        };
        let whose = (self.config.name.clone(), self.config.plugin);
        Stretch::new(whose, &self.terms(), kept, failed.cloned()).encode()
    }

    pub(super) fn terms(&self) -> Terms<'_> {
        Terms {
            run_id: self.config.run_id,
            seed: self.config.seed,
            live: self.config.live,
            settings: &self.config.settings,
            instruments: &self.config.instruments,
            limits: self.config.limits.services,
        }
    }

    /// The strategy is not started again before an operator says so.
    pub(super) fn quarantine(&mut self, now: Now, failure: Failure, out: &mut Vec<Effect>) {
        self.stats.quarantines += 1;
        let memory = self.services.memory().clone();
        self.journal(now, Record::Quarantined { failure: failure.clone(), memory }, out);
        let text = format!(
            "agent {}: the strategy is quarantined and only observed: {}; see its dead letters, then release it, or \
             swap a repaired component in",
            self.config.name, failure.message
        );
        self.alert(failure.class, "strategy_quarantined", text, out);
        self.strategy = Lifecycle::Quarantined { failure };
    }

    /// A person who starts the host again is told that this does not start the strategy.
    pub(super) fn tell_quarantined(&self, out: &mut Vec<Effect>) {
        let Lifecycle::Quarantined { failure } = &self.strategy else { return };
        let text = format!(
            "agent {}: the strategy is quarantined: {}; it stays so until it is released, or another component is \
             swapped in",
            self.config.name, failure.message
        );
        self.alert(failure.class, "strategy_quarantined", text, out);
    }

    /// Asks for a new instance when it is time.
    pub(super) fn progress_lifecycle(&mut self, now: Now, out: &mut Vec<Effect>) {
        if self.restart_due().is_some_and(|due| now.mono >= due) {
            self.ask_for_instance(out);
        }
    }

    /// When a new instance is asked for.
    pub(super) fn restart_due(&self) -> Option<MonoNanos> {
        self.strategy.wake().filter(|_| self.may_start())
    }

    fn may_start(&self) -> bool {
        self.life == Life::Running && self.modes.mode() != Mode::Shutdown && !self.health.journal_failed
    }

    fn ask_for_instance(&mut self, out: &mut Vec<Effect>) {
        self.question += 1;
        let number = self.question;
        self.strategy = Lifecycle::Starting { number };
        out.push(Effect::Instance { number, plugin: self.config.plugin });
    }

    pub(super) fn on_instance(
        &mut self,
        now: Now,
        number: u64,
        outcome: Result<Instance, Failure>,
        out: &mut Vec<Effect>,
    ) {
        if !matches!(self.strategy, Lifecycle::Starting { number: asked } if asked == number) {
            return;
        }
        if self.health.journal_failed {
            return;
        }
        match outcome {
            Ok(Instance(strategy)) => self.start_again(now, strategy, out),
            Err(failure) => self.fail_to_start(now, failure, out),
        }
    }

    /// It could not be called, so that nothing else is wrong with any call; the failure has a number of its own.
    fn fail_to_start(&mut self, now: Now, failure: Failure, out: &mut Vec<Effect>) {
        self.call += 1;
        self.strike(now, failure, None, out);
    }

    /// Brings a fresh instance to where the last good call left the one before, and runs it.
    fn start_again(&mut self, now: Now, mut strategy: Box<dyn Strategy>, out: &mut Vec<Effect>) {
        if !self.config.record_inputs {
            self.kept = self.kept_of_now();
        }
        let exact = self.kept.is_exact();
        let next_order = if exact { self.kept.next_order } else { self.next_order() };
        let mut telemetry = std::mem::take(&mut self.services.telemetry);
        let start = (next_order, if exact { Again::Same } else { Again::Good });
        let revived = self.kept.revive(&mut *strategy, &self.terms(), start, &mut telemetry);
        self.services.telemetry = telemetry;
        match revived {
            Ok((services, fed)) => {
                if exact && services.memory() != self.services.memory() {
                    let Alert { class, code, text } = self.memory_differs(self.call);
                    self.alert(class, &code, text, out);
                }
                self.stats.refed += fed.calls;
                self.last_order = self.last_order.max(fed.last_order);
                self.run_again(now, strategy, out);
            }
            Err(error @ FeedError::Start(CallError::Fault(_))) => {
                let failure =
                    Failure::new(Class::Logic, "strategy_refuses_start", Phase::NotSent, error.explain());
                self.give_up_start(now, failure, None, out);
            }
            Err(FeedError::Differs { fed, found }) => {
                let error = FeedError::Differs { fed: fed.clone(), found };
                let failure = Failure::new(Class::Logic, "replay_diverged", Phase::NotSent, error.explain());
                self.give_up_start(now, failure, Some(*fed), out);
            }
            Err(error @ (FeedError::Start(_) | FeedError::Call { .. })) => {
                let cause = match &error {
                    FeedError::Start(cause) | FeedError::Call { error: cause, .. } => cause,
                    FeedError::Differs { .. } => &CallError::Dead,
                };
                let failure = Failure::new(cause.class(), cause.code(), Phase::NotSent, error.explain());
                self.stats.traps += 1;
                self.fail_to_start(now, failure, out);
            }
        }
    }

    fn run_again(&mut self, now: Now, strategy: Box<dyn Strategy>, out: &mut Vec<Effect>) {
        self.bars = Bars::of_record(self.bars_for(&*strategy), self.config.instruments.len());
        self.strategy = Lifecycle::Running(strategy);
        self.stats.restarts += 1;
        self.faults_in_a_row = 0;
        self.dirty = true;
        let forgot = self.kept.dropped;
        self.journal_peak(now, out);
        self.journal(now, Record::Restarted { forgot, next_order: self.next_order() }, out);
        let text = format!(
            "agent {}: the strategy runs again, after {} calls since its last saved state{}",
            self.config.name,
            self.kept.len(),
            if forgot > 0 { format!("; it does not remember {forgot} calls") } else { String::new() }
        );
        self.alert(Class::Logic, "strategy_restarted", text, out);
        self.tell_untold(now, out);
    }

    /// A strategy that says no to its start, or is not the one that it was, will not become another one by
    /// being asked again.
    pub(super) fn give_up_start(
        &mut self,
        now: Now,
        failure: Failure,
        fed: Option<Fed>,
        out: &mut Vec<Effect>,
    ) {
        self.call += 1;
        // The calls since its last state are what it cannot be brought through.
        self.give_up_strategy(now, failure, fed, out);
        self.kept.forget_all();
    }

    /// The strategy is dropped for good: whatever it would do next must not be done.
    pub(super) fn give_up_strategy(
        &mut self,
        now: Now,
        failure: Failure,
        fed: Option<Fed>,
        out: &mut Vec<Effect>,
    ) {
        self.stats.dead_letters += 1;
        self.stats.strikes += 1;
        let call = self.call;
        let input = self.failed_call(fed.as_ref());
        self.journal(now, Record::CallFailed { call, failure: failure.clone(), halted: true }, out);
        self.count_strike(now.wall);
        let text = format!("agent {}: {}; nothing was sent", self.config.name, failure.message);
        self.alert(failure.class, &failure.code, text, out);
        out.push(Effect::Letter(Letter::Call { call, failure: failure.clone(), input }));
        self.end_shadow(&failure, out);
        self.commit_swap(out);
        self.begin_wind_down(self.config.on_halt);
        self.quarantine(now, failure, out);
    }

    /// An operator starts the strategy again.
    pub(super) fn release_strategy(&mut self, now: Now, note: String, out: &mut Vec<Effect>) {
        let why = match self.strategy {
            _ if note.trim().is_empty() => "it says not why; give a note",
            _ if !self.may_start() => "the agent stops, or is shut down; release that first",
            Lifecycle::Backoff { .. } | Lifecycle::Quarantined { .. } => {
                self.strikes.clear();
                self.dirty = true;
                self.journal(now, Record::Released { note }, out);
                self.ask_for_instance(out);
                return;
            }
            Lifecycle::Starting { .. } => "it is being started already",
            Lifecycle::Running(_) | Lifecycle::Switching(_) => "it runs",
        };
        self.tell_operator(&Operator::ReleaseStrategy { note }, why, out);
    }

    /// Which component runs, and how that goes.
    pub fn status(&self) -> Status {
        let strategy = match &self.strategy {
            Lifecycle::Running(_) | Lifecycle::Switching(_) => StrategyStatus::Running,
            Lifecycle::Backoff { until, failure } => {
                StrategyStatus::Backoff { until: *until, failure: failure.clone() }
            }
            Lifecycle::Starting { .. } => StrategyStatus::Starting,
            Lifecycle::Quarantined { failure } => StrategyStatus::Quarantined { failure: failure.clone() },
        };
        Status {
            plugin: self.config.plugin,
            settings: self.config.settings.clone(),
            strategy,
            strikes: u32::try_from(self.strikes.0.len()).unwrap_or(u32::MAX),
            swap: self.swap_stage(),
        }
    }

    /// First order number that no strategy of this agent has used.
    pub(super) fn next_order(&self) -> u64 {
        let known = self.ledger.last_strategy_order().map_or(0, |id| id.0);
        self.last_order.max(known).saturating_add(1)
    }

    /// Where calls are not recorded, a new instance has the last saved state and nothing else.
    fn kept_of_now(&self) -> Kept {
        let (memory, books) = (self.services.memory().clone(), self.services.books.clone());
        let start = (self.market_now, self.next_order());
        let mut kept = Kept::new(start, self.saved.clone(), memory, books);
        kept.dropped = self.call.saturating_sub(self.saved_at);
        kept
    }

    /// Hands over the calls since the last saved state to whoever records them.
    pub(super) fn end_stretch(&mut self) {
        if self.config.record_inputs && self.kept.len() > 0 {
            let whose = (self.config.name.clone(), self.config.plugin);
            let now = self.kept_of_now();
            let kept = std::mem::replace(&mut self.kept, now);
            let stretch = Stretch::new(whose, &self.terms(), kept, None).continuing(self.continues);
            self.recorded.push(stretch);
            self.continues = true;
        }
    }

    /// The same with the call that has just failed; the calls are kept, since the next instance needs them.
    fn record_failure(&mut self, failing: Option<&Fed>) {
        if self.config.record_inputs {
            let whose = (self.config.name.clone(), self.config.plugin);
            let stretch = Stretch::new(whose, &self.terms(), self.kept.clone(), failing.cloned());
            self.recorded.push(stretch.continuing(self.continues));
            // The next instance begins where this stretch began.
            self.continues = false;
        }
    }

    pub(super) fn tell_recorded(&mut self, out: &mut Vec<Effect>) {
        out.extend(self.recorded.drain(..).map(|stretch| Effect::Recorded(Box::new(stretch))));
    }

    /// The strategy has just saved its state: a new instance starts from here.
    pub(super) fn keep_from_here(&mut self, began: UnixNanos, next_order: u64) {
        self.end_stretch();
        let (memory, books) = (self.services.memory().clone(), self.services.books.clone());
        self.kept = Kept::new((began, next_order), self.saved.clone(), memory, books);
    }
}

impl Core {
    fn swap_stage(&self) -> SwapStage {
        if let Lifecycle::Switching(switch) = &self.strategy {
            return SwapStage::Switching { number: switch.swap.request, plugin: switch.swap.to };
        }
        if let Some(shadow) = &self.shadow {
            return shadow.stage();
        }
        self.probation.as_ref().map_or(SwapStage::None, |probation| probation.stage())
    }
}
