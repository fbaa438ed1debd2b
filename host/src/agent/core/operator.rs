//! What an operator orders.

use super::{Core, Effect, Letter, Life, Operator};
use crate::market::{InstrumentId, Now};
use crate::orders::{IntentKey, IntentState, Record, StrategyEvent};
use crate::resilience::{Class, Failure, Phase};

impl Core {
    pub(super) fn on_operator(&mut self, now: Now, order: Operator, out: &mut Vec<Effect>) {
        match order {
            // What is being written about it, an earlier order or the venue's word, comes first.
            Operator::Replay { key, .. } | Operator::Reissue { key, .. } | Operator::Resolve { key, .. }
                if self.has_pending_news(key) =>
            {
                self.hold(now, order, out);
            }
            // A new intent takes effect at once, so that a start can fold it: nothing else is under way then.
            Operator::Reissue { .. } if self.is_writing() => self.hold(now, order, out),
            Operator::Replay { .. } => self.replay(now, order, out),
            Operator::Reissue { .. } => self.reissue(now, order, out),
            Operator::Resolve { key, ref note } => {
                let state = self.ledger.intent(&key).map(|intent| &intent.state);
                if matches!(state, Some(IntentState::DeadLettered { .. })) {
                    self.journal(now, Record::Resolved { key, note: note.clone() }, out);
                } else if !self.close_letter(key, out) {
                    self.tell_operator(&order, self.whereabouts(key), out);
                }
            }
            Operator::Floor(mode) => self.floor = mode,
            Operator::Release => self.release(now, out),
            Operator::AdoptPositions => self.reconcile.adopt(now.mono),
            Operator::DropVanished => self.drops_vanished = true,
            Operator::Say(words) => {
                self.tell(now, InstrumentId(0), &StrategyEvent::Operator(words), out);
            }
            Operator::ReleaseStrategy { note } => self.release_strategy(now, note, out),
            Operator::Rollback { number, note } => self.roll_back(now, number, note, out),
            Operator::AbandonSwap { number, note } => self.abandon_swap(number, &note, out),
        }
    }

    fn release(&mut self, now: Now, out: &mut Vec<Effect>) {
        let peak = self.modes.peak();
        self.modes.reset_peak();
        self.peak_was(peak);
        if let Some(change) = self.modes.release() {
            self.stats.mode_changes += 1;
            self.dirty = true;
            if self.life == Life::Running {
                self.wind_down = None;
            }
            let (from, to, cause) = (change.from, change.to, change.cause);
            self.journal(now, Record::ModeChanged { from, to, cause }, out);
        }
    }

    /// Looks at an order again later. A person gives one after the other; a script that gives more at once
    /// than are kept is told which were not done.
    pub(super) fn hold(&mut self, now: Now, order: Operator, out: &mut Vec<Effect>) {
        if self.held.contains(&order) {
            return;
        }
        let max = self.config.limits.operator_orders_held_max;
        if u32::try_from(self.held.len()).is_ok_and(|held| held < max) {
            self.held.push_back(order);
            return;
        }
        let text = format!("{max} orders wait already (limit operator_orders_held_max)");
        let failure = Failure::new(Class::Resource, "operator_orders_held", Phase::NotSent, text);
        self.refuse(now, &order, failure, out);
    }

    /// Carries out what has waited and need not wait any more.
    pub(super) fn take_up_held(&mut self, now: Now, out: &mut Vec<Effect>) {
        for _ in 0..self.held.len() {
            let Some(order) = self.held.pop_front() else { break };
            self.on_operator(now, order, out);
        }
    }

    /// The agent has stopped: what has waited is not done any more. Nothing can be journaled, so that an
    /// order about a letter stands.
    pub(super) fn refuse_held(&mut self, out: &mut Vec<Effect>) {
        for order in std::mem::take(&mut self.held) {
            self.tell_operator(&order, "the agent stopped before it, and the next start takes it up", out);
        }
    }

    /// Refuses an order to send a letter again, as it is or as a new intent: the letter is dead again, with
    /// the reason, once that is durable. Any other order is only answered.
    pub(super) fn refuse(&mut self, now: Now, order: &Operator, failure: Failure, out: &mut Vec<Effect>) {
        let ordered = match *order {
            Operator::Replay { key, replay } | Operator::Reissue { key, replay, .. } => Some((key, replay)),
            _ => None,
        };
        self.tell_operator(order, &failure.to_string(), out);
        let Some((key, replay)) = ordered else { return };
        match self.ledger.intent(&key).map(|intent| &intent.state) {
            Some(IntentState::DeadLettered { .. }) if !self.has_pending_news(key) => {
                self.journal(now, Record::ReplayRefused { key, replay, failure }, out);
            }
            None => out.push(Effect::Letter(Letter::Refused { key, replay, failure })),
            // What is being written, or what becomes of it, answers the index too.
            Some(_) => {}
        }
    }

    /// Says that an order was not carried out.
    pub(super) fn tell_operator(&self, order: &Operator, why: &str, out: &mut Vec<Effect>) {
        let (what, key) = match order {
            Operator::ReleaseStrategy { .. } => {
                let text = format!(
                    "agent {}: the order to start the strategy again was not carried out: {why}",
                    self.config.name
                );
                self.alert(Class::State, "operator_order_refused", text, out);
                return;
            }
            Operator::Replay { key, .. } => ("replay", key),
            Operator::Reissue { key, .. } => ("re-issue", key),
            Operator::Resolve { key, .. } => ("resolve", key),
            Operator::Floor(_)
            | Operator::Release
            | Operator::AdoptPositions
            | Operator::DropVanished
            | Operator::Say(_)
            | Operator::Rollback { .. }
            | Operator::AbandonSwap { .. } => return,
        };
        let text = format!(
            "agent {}: the order to {what} intent {key} was not carried out: {why}; look at the letter again",
            self.config.name
        );
        self.alert(Class::State, "operator_order_refused", text, out);
    }

    /// An order about an intent that is no dead letter: its verdict came meanwhile, the host died before the
    /// index heard of it, or there is no such intent.
    pub(super) fn answer_late_order(&mut self, now: Now, order: &Operator, out: &mut Vec<Effect>) {
        let (Operator::Replay { key, .. } | Operator::Reissue { key, .. } | Operator::Resolve { key, .. }) =
            *order
        else {
            return;
        };
        if !self.close_letter(key, out) {
            let why = self.whereabouts(key);
            let failure = Failure::new(Class::State, "not_a_dead_letter", Phase::NotSent, why);
            self.refuse(now, order, failure, out);
        }
    }

    fn whereabouts(&self, key: IntentKey) -> &'static str {
        match self.ledger.intent(&key).map(|intent| intent.state.is_terminal()) {
            None => "the agent knows no such intent",
            Some(true) => "it is decided",
            Some(false) => "it is not a dead letter any more, the host is at it",
        }
    }

    /// Tells the index what became of an intent that an operator sent again.
    pub(super) fn answer_letter(&self, key: IntentKey, out: &mut Vec<Effect>) {
        if self.ledger.intent(&key).is_some_and(|intent| intent.replay > 0) {
            self.close_letter(key, out);
        }
    }

    /// Tells the index what became of an intent, when that is known. Whether it is.
    pub(super) fn close_letter(&self, key: IntentKey, out: &mut Vec<Effect>) -> bool {
        let Some(intent) = self.ledger.intent(&key) else { return false };
        let letter = match intent.verdict() {
            Some(note) => Letter::Resolved { key, note },
            None if intent.state == IntentState::Resolved => {
                Letter::Intent { key, intent: Box::new(intent.clone()) }
            }
            None => return false,
        };
        out.push(Effect::Letter(letter));
        true
    }
}
