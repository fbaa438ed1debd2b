//! Modes, winding down, checkpoints and the end of an agent.

use super::lifecycle::Lifecycle;
use super::switching::refusal;
use super::{Core, Effect, FailAction, Life, Snapshot};
use crate::market::{InstrumentId, Lots, Money, MonoNanos, Now};
use crate::orders::{
    Action, Holding, IntentState, Ledger, Mode, NewOrder, OrderId, OrderKind, OrderOptions, Record, Side,
    TimeInForce,
};
use crate::resilience::{Class, Classified, Failure, ModeCause, Phase, Signals};
use std::collections::BTreeSet;
use std::time::Duration;

/// Closing what an agent leaves behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct WindDown {
    /// Whether positions are closed after the orders are cancelled.
    flatten: bool,
    /// Rounds of cancels left; a venue that refuses them for ever must not be asked for ever.
    cancel_rounds_left: u32,
    /// Rounds of closing orders left, likewise.
    close_rounds_left: u32,
    /// When the next round may begin: the venue's report of the last one takes a moment.
    next_round_at: MonoNanos,
    done: bool,
}

/// Rounds of cancels, and of closing orders. With `closing_round_ms` between them that is as long as a venue's
/// hiccup and shorter than a drain.
const ROUNDS_MAX: u32 = 5;
/// Closing orders for one position in one round; a position above this many of the venue's largest orders
/// takes more rounds.
const CLOSES_PER_POSITION_MAX: usize = 16;

impl Core {
    pub(super) fn evaluate_mode(&mut self, now: Now, out: &mut Vec<Effect>) {
        let signals = self.signals(now);
        let peak = self.modes.peak();
        let change = self.modes.evaluate(now.mono, &signals);
        self.peak_was(peak);
        self.max_drawdown = self.max_drawdown.max(self.modes.drawdown());
        let Some(change) = change else { return };
        self.stats.mode_changes += 1;
        self.dirty = true;
        let text = format!(
            "agent {}: mode {} -> {} because of {}",
            self.config.name,
            change.from,
            change.to,
            change.cause.code()
        );
        if change.cause != ModeCause::Reconciled {
            self.alert(Class::State, change.cause.code(), text, out);
        }
        if change.to == Mode::Shutdown {
            self.begin_wind_down(FailAction::Flatten);
        } else if change.to < Mode::Observation && self.life == Life::Running {
            // The strategy trades again, and what a failure left to close is its own again.
            self.wind_down = None;
        }
        if !self.health.journal_failed {
            let (from, to, cause) = (change.from, change.to, change.cause);
            self.journal(now, Record::ModeChanged { from, to, cause }, out);
        }
    }

    /// What speaks for or against trading now.
    pub(super) fn signals(&self, now: Now) -> Signals {
        Signals {
            equity: self.equity(),
            write_breaker_open: self.gate.write_open(),
            feed_age: self.last_sample.map(|at| now.mono.since(at)),
            index_failed: self.health.index_failed,
            journal_failed: self.health.journal_failed,
            checkpoints_failed: self.health.checkpoint_failures
                >= self.config.limits.checkpoint_failures_max.get(),
            venue_auth_failed: self.health.venue_refuses_key,
            unresolved_orders: self.is_in_doubt(),
            unreconciled: self.reconcile.holds(),
            strategy_halted: self.strategy.is_down(),
            operator_floor: self.floor,
        }
    }

    /// Takes note of equity where no mode is decided.
    pub(super) fn observe_equity(&mut self) {
        let peak = self.modes.peak();
        self.modes.observe(self.equity());
        self.peak_was(peak);
        self.max_drawdown = self.max_drawdown.max(self.modes.drawdown());
    }

    /// Takes note when the peak has moved from this by a price that no journaled call brings.
    pub(super) fn peak_was(&mut self, peak: Option<Money>) {
        self.peak_unjournaled |= !self.strategy.is_running() && self.modes.peak() != peak;
    }

    /// Journals the peak of equity when a fold of the journal would find another one.
    pub(super) fn journal_peak(&mut self, now: Now, out: &mut Vec<Effect>) {
        if std::mem::take(&mut self.peak_unjournaled) {
            let peak = self.modes.peak();
            self.journal(now, Record::Valued { peak }, out);
        }
    }

    pub(super) fn begin_wind_down(&mut self, action: FailAction) {
        let flatten = match action {
            FailAction::Hold => return,
            FailAction::Cancel => false,
            FailAction::Flatten => true,
        };
        let before = self.wind_down.is_some_and(|wind_down| wind_down.flatten);
        self.wind_down = Some(WindDown {
            flatten: flatten || before,
            cancel_rounds_left: ROUNDS_MAX,
            close_rounds_left: ROUNDS_MAX,
            next_round_at: MonoNanos(0),
            done: false,
        });
    }

    /// First every working order is cancelled; when none works any more, or cancelling has been tried
    /// often enough, positions are closed. An order of which nobody knows whether the venue has it does
    /// not hold up the closing of what is certain, and what it leaves in doubt is not tried: the gate would
    /// refuse it in every round.
    pub(super) fn progress_wind_down(&mut self, now: Now, out: &mut Vec<Effect>) {
        let Some(mut wind_down) = self.wind_down.filter(|wind_down| !wind_down.done) else { return };
        // Orders and positions as they were when the host died would be the wrong ones to close.
        if self.health.journal_failed || !self.is_ready() {
            return;
        }
        let working = self.services.books.working().keys().copied();
        let working: BTreeSet<OrderId> = working.filter(|id| !self.is_doubtful(*id)).collect();
        let is_closing = |id: &OrderId| {
            let placing = self.ledger.order(*id).and_then(|order| self.ledger.intent(&order.key));
            placing.is_some_and(|placing| placing.by_host)
        };
        if working.iter().any(is_closing) || (!working.is_empty() && wind_down.cancel_rounds_left > 0) {
            if now.mono < wind_down.next_round_at {
                return;
            }
            let asked: BTreeSet<OrderId> = self
                .ledger
                .open()
                .filter_map(|key| self.ledger.intent(&key))
                .filter(|intent| matches!(intent.action, Action::Cancel(_)))
                .map(|intent| intent.action.order())
                .collect();
            let cancels: Vec<Action> = working
                .iter()
                .filter(|id| !asked.contains(*id) && !is_closing(id))
                .map(|id| Action::Cancel(*id))
                .collect();
            if !cancels.is_empty() && wind_down.cancel_rounds_left > 0 {
                wind_down.cancel_rounds_left -= 1;
                wind_down.next_round_at = now.mono.after(self.round_pause());
                self.wind_down = Some(wind_down);
                self.decide_by_host(now, "cancel what still works", &cancels, out);
            }
            return;
        }
        let certain = self.certain_holdings().len();
        let doubted = if wind_down.flatten { self.doubted_instruments() } else { BTreeSet::new() };
        if certain == 0 && !doubted.is_empty() {
            self.warn_of_doubt(&doubted, out);
            if self.ledger.open_count() > 0 || !matches!(self.life, Life::Draining { .. }) {
                return;
            }
            // Only an operator can end the doubt, and an agent that stops does not hear one any more.
            wind_down.done = true;
            self.tell_uncancelled(working.len(), out);
            self.tell_doubt(&doubted, out);
        } else if certain == 0 || !wind_down.flatten {
            // An order that is still asked about may turn out to work, and is cancelled then.
            let asked_about = |id: &OrderId| {
                let placing = self.ledger.order(*id).and_then(|order| self.ledger.intent(&order.key));
                placing.is_some_and(|placing| !placing.state.is_terminal())
            };
            if self.services.books.working().keys().any(asked_about) {
                return;
            }
            wind_down.done = true;
            self.tell_uncancelled(working.len(), out);
        } else if wind_down.close_rounds_left == 0 {
            wind_down.done = true;
            let why = self.closing_refused.as_ref().map(|why| format!(" (refused: {why})"));
            let text = format!(
                "agent {}: what is left after {ROUNDS_MAX} rounds of closing orders is {}{}; close it at the venue",
                self.config.name,
                self.left(),
                why.unwrap_or_default(),
            );
            self.alert(Class::Api, "flatten_failed", text, out);
        } else if now.mono >= wind_down.next_round_at || wind_down.close_rounds_left == ROUNDS_MAX {
            wind_down.close_rounds_left -= 1;
            wind_down.next_round_at = now.mono.after(self.round_pause());
            let closes = self.closing_orders();
            self.wind_down = Some(wind_down);
            self.decide_by_host(now, "close what is held", &closes, out);
            return;
        }
        self.wind_down = Some(wind_down);
    }

    fn tell_uncancelled(&self, orders: usize, out: &mut Vec<Effect>) {
        if orders > 0 {
            let text = format!(
                "agent {}: {orders} orders could not be cancelled after {ROUNDS_MAX} rounds; cancel them at the venue",
                self.config.name
            );
            self.alert(Class::Api, "cancel_failed", text, out);
        }
    }

    /// Whether nobody knows if the venue has this order, so that neither a cancel nor waiting ends it.
    pub(super) fn is_doubtful(&self, id: OrderId) -> bool {
        let placing = self.ledger.order(id).and_then(|order| self.ledger.intent(&order.key));
        placing.is_some_and(|placing| {
            let waits = matches!(placing.state, IntentState::Ambiguous) && !placing.by_host;
            waits || matches!(placing.state, IntentState::DeadLettered { .. })
        })
    }

    fn closing_orders(&mut self) -> Vec<Action> {
        let held = self.certain_holdings();
        let mut actions = Vec::with_capacity(held.len());
        for (instrument, quantity) in held {
            let largest = match self.config.instruments.get(instrument) {
                _ if self.dialect.closes_whole() => quantity.abs(),
                terms => terms.map_or(Lots(1), |terms| terms.max_lots),
            };
            let mut left = quantity.abs();
            for _ in 0..CLOSES_PER_POSITION_MAX {
                let part = left.min(largest);
                if part <= Lots::ZERO {
                    break;
                }
                left = Lots(left.0.saturating_sub(part.0));
                let id = OrderId(Ledger::HOST_ORDERS_FROM + self.host_orders);
                self.host_orders += 1;
                actions.push(Action::Submit(NewOrder {
                    id,
                    instrument,
                    side: if quantity.0 > 0 { Side::Sell } else { Side::Buy },
                    quantity: part,
                    kind: OrderKind::Market,
                    tif: TimeInForce::Ioc,
                    options: OrderOptions { post_only: false, reduce_only: true },
                    tag: 0,
                }));
            }
        }
        actions
    }

    /// What is held, in words.
    fn left(&self) -> String {
        let held = self.services.books.holdings().filter(|(_, held)| !held.quantity.is_zero());
        let word = |(id, held): (InstrumentId, &Holding)| {
            let symbol = self
                .config
                .instruments
                .get(id)
                .map_or("an unknown instrument", |terms| terms.symbol.as_str());
            format!("{} lots of {symbol}", held.quantity)
        };
        let words: Vec<String> = held.map(word).collect();
        if words.is_empty() { "nothing".into() } else { words.join(", ") }
    }

    fn round_pause(&self) -> Duration {
        Duration::from_millis(self.config.limits.closing_round_ms)
    }

    /// A checkpoint is taken when everything in the state is durable, so that its record number says
    /// exactly which records it contains. Calls that are not durable yet are in the state themselves: a
    /// strategy that is always called must not hold up its checkpoints.
    pub(super) fn maybe_checkpoint(&mut self, now: Now, out: &mut Vec<Effect>) {
        if self.checkpoint_in_flight || !self.all_applied() || self.health.journal_failed {
            return;
        }
        if !self.may_checkpoint() {
            return;
        }
        let interval = Duration::from_millis(self.config.limits.checkpoint_interval_ms);
        let due = match self.checkpointed_at {
            Some(at) => now.mono.since(at) >= interval,
            None => true,
        };
        if !self.dirty && !due {
            return;
        }
        if self.prune_ledger(now) {
            self.tell_forgotten(out);
        }
        self.save_strategy(now, out);
        self.journal_peak(now, out);
        if !self.all_applied() {
            // It was halted just now, or the peak moved meanwhile. That has to be durable before a state contains it.
            return;
        }
        match self.snapshot() {
            Ok(payload) => {
                self.dirty = false;
                self.checkpoint_in_flight = true;
                self.checkpointed_at = Some(now.mono);
                let (call, number) = (self.call, self.applied_number());
                let plugin = self.config.plugin;
                out.push(Effect::Checkpoint(Snapshot { call, number, plugin, payload }));
            }
            Err(reason) => {
                self.dirty = false;
                self.checkpointed_at = Some(now.mono);
                let failure = Failure::new(Class::State, "checkpoint_encode", Phase::NotSent, reason);
                self.checkpoint_failed(&failure, out);
            }
        }
    }

    /// A state between two instances would hold the last saved one and not the calls since, which the next one is
    /// given. That does not last.
    fn may_checkpoint(&self) -> bool {
        let lasts = matches!(self.strategy, Lifecycle::Running(_) | Lifecycle::Quarantined { .. });
        lasts || self.life == Life::Finishing
    }

    /// The journal still holds everything, so the agent goes on; the next change tries again, or the interval.
    /// Not this step: a full disk would be written to without a pause. A person is told once, and the mode
    /// tells the rest.
    fn checkpoint_failed(&mut self, failure: &Failure, out: &mut Vec<Effect>) {
        let before = self.health.checkpoint_failures;
        self.health.checkpoint_failures = before.saturating_add(1);
        if before == 0 {
            let text = format!("agent {}: {failure}; the journal still holds everything", self.config.name);
            self.alert(failure.class, "checkpoint_failed", text, out);
        }
    }

    /// Asks the strategy for its state. One that traps here has failed like in any other call.
    fn save_strategy(&mut self, now: Now, out: &mut Vec<Effect>) {
        let Some(strategy) = self.strategy.running() else { return };
        match strategy.save(&mut self.services) {
            Ok(Some(state)) if state.data.len() <= self.config.limits.state_bytes_max => {
                self.saved = Some(state);
                self.saved_at = self.call;
                if self.config.record_inputs {
                    self.keep_from_here(self.told, self.next_order());
                }
            }
            Ok(Some(state)) => {
                let (found, max) = (state.data.len(), self.config.limits.state_bytes_max);
                let text = format!(
                    "agent {}: the strategy's state is {found} bytes, at most {max} are kept; its last smaller one stays",
                    self.config.name
                );
                self.alert(Class::Logic, "state_too_large", text, out);
            }
            Ok(None) => {}
            Err(error) => {
                self.services.abort();
                self.call += 1;
                self.stats.traps += 1;
                self.strike(now, error_failure(&error), None, out);
            }
        }
    }

    pub(super) fn on_checkpointed(&mut self, outcome: Result<(), Failure>, out: &mut Vec<Effect>) {
        self.checkpoint_in_flight = false;
        match outcome {
            Ok(()) => {
                self.stats.checkpoints += 1;
                let failures = std::mem::take(&mut self.health.checkpoint_failures);
                if failures > 0 {
                    let text = format!(
                        "agent {}: a checkpoint was written again after {failures} failures",
                        self.config.name
                    );
                    self.alert(Class::State, "checkpoint_recovered", text, out);
                }
            }
            Err(failure) => self.checkpoint_failed(&failure, out),
        }
        if self.life == Life::Finishing && self.undurable.is_empty() && !self.dirty {
            self.stop_now(out);
        }
    }

    pub(super) fn on_stop(&mut self, now: Now, out: &mut Vec<Effect>) {
        if self.life != Life::Running {
            return;
        }
        let until = now.mono.after(Duration::from_millis(self.config.limits.drain_ms_max));
        self.life = Life::Draining { until };
        let stops = refusal(Class::State, "swap_agent_stops", "the agent stopped meanwhile");
        self.give_up_shadow(stops, out);
        self.commit_swap(out);
        if let Some(strategy) = self.strategy.running() {
            // Its last words are heard; what it still wants to trade is the operator's choice, `on_stop`.
            let mut ignored = Vec::new();
            if let Err(error) = strategy.stop(&mut self.services, &mut ignored) {
                self.services.abort();
                self.call += 1;
                self.stats.traps += 1;
                self.strike(now, error_failure(&error), None, out);
            }
        }
        self.listen(now, out);
        self.begin_wind_down(self.config.on_stop);
    }

    pub(super) fn maybe_finish(&mut self, now: Now, out: &mut Vec<Effect>) {
        if self.health.journal_failed {
            // Nothing can be made durable any more; what is on the disk is the truth.
            self.stop_now(out);
            return;
        }
        let shut_down = self.modes.mode() == Mode::Shutdown;
        if shut_down && self.life == Life::Running {
            let until = now.mono.after(Duration::from_millis(self.config.limits.drain_ms_max));
            self.life = Life::Draining { until };
        }
        let Life::Draining { until } = self.life else { return };
        self.journal_calls(now, out);
        let wound_down = self.wind_down.is_none_or(|wind_down| wind_down.done);
        let settled = wound_down && self.ledger.open_count() == 0 && self.flying.is_empty();
        if !self.undurable.is_empty() || self.checkpoint_in_flight || !(settled || now.mono >= until) {
            return;
        }
        if !settled {
            let (name, open) = (&self.config.name, self.ledger.open_count());
            let (code, text) = match open {
                0 => {
                    let left = self.left();
                    let text = format!(
                        "agent {name}: stopped before its positions could be closed; the books still have {left}"
                    );
                    ("flatten_failed", text)
                }
                _ => (
                    "stopped_with_open_intents",
                    format!(
                        "agent {name}: stopped with {open} open intents; the next start takes them up again"
                    ),
                ),
            };
            self.alert(Class::State, code, text, out);
        }
        self.life = Life::Finishing;
        self.dirty = true;
        self.maybe_checkpoint(now, out);
        if !self.undurable.is_empty() {
            self.life = Life::Draining { until };
        } else if !self.checkpoint_in_flight {
            self.stop_now(out);
        }
    }

    fn stop_now(&mut self, out: &mut Vec<Effect>) {
        if self.life != Life::Stopped {
            self.refuse_held(out);
            self.life = Life::Stopped;
            out.push(Effect::Stopped);
        }
    }
}

pub(super) fn error_failure(error: &crate::plugin::CallError) -> Failure {
    Failure::new(Class::Logic, error.code(), Phase::NotSent, error.to_string())
}
