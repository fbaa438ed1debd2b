//! What an operator orders.

use super::{Core, Effect, Letter, Life, Operator};
use crate::market::{InstrumentId, Now};
use crate::orders::{IntentKey, IntentState, Record, StrategyEvent};
use crate::resilience::Class;

/// Orders that wait for records about their intents. A person gives one after the other; a script that
/// gives more at once is told which were not done.
const HELD_MAX: usize = 64;

impl Core {
    pub(super) fn on_operator(&mut self, now: Now, order: Operator, out: &mut Vec<Effect>) {
        match &order {
            // What is being written about it, an earlier order or the venue's word, comes first.
            Operator::Replay { key, .. } | Operator::Resolve { key, .. } if self.has_pending_news(*key) => {
                self.hold(order, out);
            }
            Operator::Replay { key, replay } => self.replay(now, *key, *replay, out),
            Operator::Resolve { key, note } => {
                let state = self.ledger.intent(key).map(|intent| &intent.state);
                if matches!(state, Some(IntentState::DeadLettered { .. })) {
                    self.journal(now, Record::Resolved { key: *key, note: note.clone() }, out);
                } else if !self.close_letter(*key, out) {
                    self.refuse(&order, self.whereabouts(*key), out);
                }
            }
            Operator::Floor(mode) => self.floor = *mode,
            Operator::Release => self.release(now, out),
            Operator::Say(words) => {
                let event = StrategyEvent::Operator(words.clone());
                self.tell(now, InstrumentId(0), &event, out);
            }
        }
    }

    fn replay(&mut self, now: Now, key: IntentKey, replay: u32, out: &mut Vec<Effect>) {
        let known = self.ledger.intent(&key).map(|intent| (&intent.state, intent.replay));
        match known {
            // Done before: a second click, or a start that finds the order still in the index.
            Some((state, done)) if replay <= done && !is_decided(state) => {}
            Some((IntentState::DeadLettered { .. }, _)) => {
                self.journal(now, Record::Requeued { key, replay }, out);
            }
            _ => {
                // Its verdict came meanwhile, or the host died before the index heard of it.
                if !self.close_letter(key, out) {
                    self.refuse(&Operator::Replay { key, replay }, self.whereabouts(key), out);
                }
            }
        }
    }

    fn release(&mut self, now: Now, out: &mut Vec<Effect>) {
        self.modes.reset_peak();
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

    fn hold(&mut self, order: Operator, out: &mut Vec<Effect>) {
        if self.held.contains(&order) {
            return;
        }
        if self.held.len() >= HELD_MAX {
            self.refuse(&order, "too many orders wait for the disk", out);
            return;
        }
        self.held.push_back(order);
    }

    /// Carries out what has waited for a record that is durable now.
    pub(super) fn take_up_held(&mut self, now: Now, out: &mut Vec<Effect>) {
        for order in std::mem::take(&mut self.held) {
            self.on_operator(now, order, out);
        }
    }

    /// The agent stops: what has waited is not done any more.
    pub(super) fn refuse_held(&mut self, out: &mut Vec<Effect>) {
        for order in std::mem::take(&mut self.held) {
            self.refuse(&order, "the agent stopped before it", out);
        }
    }

    fn refuse(&self, order: &Operator, why: &str, out: &mut Vec<Effect>) {
        let (what, key) = match order {
            Operator::Replay { key, .. } => ("replay", key),
            Operator::Resolve { key, .. } => ("resolve", key),
            Operator::Floor(_) | Operator::Release | Operator::Say(_) => return,
        };
        let text = format!(
            "agent {}: the order to {what} intent {key} was not carried out: {why}; look at the letter again",
            self.config.name
        );
        self.alert(Class::State, "operator_order_refused", text, out);
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
    fn close_letter(&self, key: IntentKey, out: &mut Vec<Effect>) -> bool {
        let Some(intent) = self.ledger.intent(&key) else { return false };
        let note = match &intent.state {
            IntentState::Acknowledged => "the venue has executed it".to_owned(),
            IntentState::Rejected => match intent.errors.last() {
                Some(error) => format!("the venue refused it: {}", error.failure),
                None => "the venue refused it".to_owned(),
            },
            IntentState::Expired(why) => format!("it was dropped: {}", why.explain()),
            IntentState::Resolved => "an operator closed it".to_owned(),
            IntentState::Intended
            | IntentState::Submitting
            | IntentState::Ambiguous
            | IntentState::DeadLettered { .. }
            | IntentState::Suppressed(_) => return false,
        };
        let note = match intent.replay {
            0 => note,
            replay => format!("replay {replay}: {note}"),
        };
        out.push(Effect::Letter(Letter::Resolved { key, note }));
        true
    }
}

/// Whether it is known what became of it.
const fn is_decided(state: &IntentState) -> bool {
    state.is_terminal() && !matches!(state, IntentState::DeadLettered { .. })
}
