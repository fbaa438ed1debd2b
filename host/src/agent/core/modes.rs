//! Modes, winding down, checkpoints and the end of an agent.

use super::{Core, Effect, FailAction, Letter, Life, Snapshot};
use crate::market::{InstrumentId, Lots, MonoNanos, Now};
use crate::orders::{
    Action, IntentState, Ledger, Mode, NewOrder, OrderId, OrderKind, OrderOptions, Record, Side, TimeInForce,
};
use crate::resilience::{Class, Classified, Failure, Signals};
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
        let signals = Signals {
            equity: self.equity(),
            write_breaker_open: self.gate.write_open(),
            feed_age: self.last_sample.map(|at| now.mono.since(at)),
            index_failed: self.health.index_failed,
            journal_failed: self.health.journal_failed,
            venue_auth_failed: self.health.venue_refuses_key,
            unresolved_orders: self.ledger.has_unresolved(),
            strategy_halted: self.strategy.is_none(),
            operator_floor: self.floor,
        };
        let change = self.modes.evaluate(now.mono, &signals);
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
        self.alert(Class::State, change.cause.code(), text, out);
        if change.to == Mode::Shutdown {
            self.begin_wind_down(FailAction::Flatten);
        }
        if !self.health.journal_failed {
            let (from, to, cause) = (change.from, change.to, change.cause);
            self.journal(now, Record::ModeChanged { from, to, cause }, out);
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
    /// not hold up the closing of positions that are certain.
    pub(super) fn progress_wind_down(&mut self, now: Now, out: &mut Vec<Effect>) {
        let Some(mut wind_down) = self.wind_down.filter(|wind_down| !wind_down.done) else { return };
        if self.health.journal_failed {
            return;
        }
        let working = self.services.books.working().keys().copied();
        let working: BTreeSet<OrderId> = working.filter(|id| !self.is_doubtful(*id)).collect();
        let is_closing = |id: &OrderId| id.0 >= Ledger::HOST_ORDERS_FROM;
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
        let held = self.services.books.holdings().filter(|(_, holding)| !holding.quantity.is_zero()).count();
        if held == 0 || !wind_down.flatten {
            // An order that is still asked about may turn out to work, and is cancelled then.
            let asked_about = |id: &OrderId| {
                let placing = self.ledger.order(*id).and_then(|order| self.ledger.intent(&order.key));
                placing.is_some_and(|placing| !placing.state.is_terminal())
            };
            if self.services.books.working().keys().any(asked_about) {
                return;
            }
            wind_down.done = true;
            if !working.is_empty() {
                let text = format!(
                    "agent {}: {} orders could not be cancelled after {ROUNDS_MAX} rounds; cancel them at the venue",
                    self.config.name,
                    working.len()
                );
                self.alert(Class::Api, "cancel_failed", text, out);
            }
        } else if wind_down.close_rounds_left == 0 {
            wind_down.done = true;
            let text = format!(
                "agent {}: {held} positions could not be closed after {ROUNDS_MAX} rounds; close them at the venue",
                self.config.name,
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

    /// Whether nobody knows if the venue has this order, so that neither a cancel nor waiting ends it.
    fn is_doubtful(&self, id: OrderId) -> bool {
        let placing = self.ledger.order(id).and_then(|order| self.ledger.intent(&order.key));
        placing.is_some_and(|placing| {
            let waits = matches!(placing.state, IntentState::Ambiguous) && !placing.by_host;
            waits || matches!(placing.state, IntentState::DeadLettered { .. })
        })
    }

    fn closing_orders(&mut self) -> Vec<Action> {
        let held: Vec<(InstrumentId, Lots)> = self
            .services
            .books
            .holdings()
            .filter(|(_, holding)| !holding.quantity.is_zero())
            .map(|(id, holding)| (id, holding.quantity))
            .collect();
        let mut actions = Vec::with_capacity(held.len());
        for (instrument, quantity) in held {
            let largest = self.config.instruments.get(instrument).map_or(Lots(1), |terms| terms.max_lots);
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

    fn round_pause(&self) -> Duration {
        Duration::from_millis(self.config.limits.closing_round_ms)
    }

    /// A checkpoint is taken when everything in the state is durable, so that its record number says
    /// exactly which records it contains.
    pub(super) fn maybe_checkpoint(&mut self, now: Now, out: &mut Vec<Effect>) {
        if self.checkpoint_in_flight || !self.undurable.is_empty() || self.health.journal_failed {
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
        self.ledger.prune(now.wall);
        self.save_strategy(now, out);
        if !self.undurable.is_empty() {
            // It was halted just now. That has to be durable before a state contains it.
            return;
        }
        match self.snapshot() {
            Ok(payload) => {
                self.dirty = false;
                self.checkpoint_in_flight = true;
                self.checkpointed_at = Some(now.mono);
                out.push(Effect::Checkpoint(Snapshot { call: self.call, number: self.number, payload }));
            }
            Err(reason) => self.alert(Class::State, "checkpoint_encode", reason, out),
        }
    }

    /// Asks the strategy for its state. One that traps here is halted like in any other call.
    fn save_strategy(&mut self, now: Now, out: &mut Vec<Effect>) {
        let Some(strategy) = self.strategy.as_mut() else { return };
        match strategy.save(&mut self.services) {
            Ok(Some(state)) if state.data.len() <= self.config.limits.state_bytes_max => {
                self.saved = Some(state);
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
                self.halt(now, error_failure(&error), Vec::new(), out);
            }
        }
    }

    pub(super) fn on_checkpointed(&mut self, outcome: Result<(), Failure>, out: &mut Vec<Effect>) {
        self.checkpoint_in_flight = false;
        match outcome {
            Ok(()) => self.stats.checkpoints += 1,
            Err(failure) => {
                // The journal still holds everything, so the agent goes on; the next change tries again, or
                // the interval. Not this step: a full disk would be written to without a pause.
                let text =
                    format!("agent {}: {failure}; the journal still holds everything", self.config.name);
                self.alert(failure.class, "checkpoint_failed", text, out);
            }
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
        if let Some(strategy) = self.strategy.as_mut() {
            // Its last words are heard; what it still wants to trade is the operator's choice, `on_stop`.
            let mut ignored = Vec::new();
            if let Err(error) = strategy.stop(&mut self.services, &mut ignored) {
                self.services.abort();
                self.call += 1;
                self.halt(now, error_failure(&error), Vec::new(), out);
            }
        }
        if !self.services.telemetry.lines.is_empty() {
            out.push(Effect::Said(std::mem::take(&mut self.services.telemetry.lines)));
        }
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
        let wound_down = self.wind_down.is_none_or(|wind_down| wind_down.done);
        let settled = wound_down && self.ledger.open_count() == 0 && self.flying.is_empty();
        if !self.undurable.is_empty() || self.checkpoint_in_flight || !(settled || now.mono >= until) {
            return;
        }
        if !settled {
            let open = self.ledger.open_count();
            let text = format!(
                "agent {}: stopped with {open} open intents; the next start takes them up again",
                self.config.name
            );
            self.alert(Class::State, "stopped_with_open_intents", text, out);
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

    /// The strategy is not called again. Its intents of the failed call are gone, none was sent.
    pub(super) fn halt(&mut self, now: Now, failure: Failure, input: Vec<u8>, out: &mut Vec<Effect>) {
        self.strategy = None;
        self.stats.dead_letters += 1;
        self.journal(
            now,
            Record::CallFailed { call: self.call, failure: failure.clone(), halted: true },
            out,
        );
        let text = format!(
            "agent {}: call {} failed, its intents were discarded and the strategy is halted: {}; see the dead \
             letter, then start the agent with a repaired component",
            self.config.name, self.call, failure.message
        );
        self.alert(Class::Logic, &failure.code, text, out);
        out.push(Effect::Letter(Letter::Call { call: self.call, failure, input }));
        self.begin_wind_down(self.config.on_halt);
    }
}

pub(super) fn error_failure(error: &crate::plugin::CallError) -> Failure {
    Failure::new(Class::Logic, error.code(), crate::resilience::Phase::NotSent, error.to_string())
}
