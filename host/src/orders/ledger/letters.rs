//! Dead letters as the journal knows them: given up on, sent again, issued again, closed.

use super::{Intent, IntentState, Ledger, LedgerError, LetterMark};
use crate::market::UnixNanos;
use crate::orders::{IntentKey, Reissue};
use crate::resilience::Failure;

impl Ledger {
    /// An intent is given up on.
    ///
    /// # Errors
    /// When it is unknown or closed.
    pub fn dead_letter(
        &mut self,
        at: UnixNanos,
        key: IntentKey,
        failure: &Failure,
    ) -> Result<(), LedgerError> {
        let intent = self.open_intent(key, "dead-lettered")?;
        let ambiguous = intent.maybe_executed();
        intent.state = IntentState::DeadLettered { ambiguous };
        intent.letter.get_or_insert(LetterMark::GivenUp);
        // The failure is usually that of the last attempt, which is noted already.
        if intent.errors.last().is_none_or(|last| last.failure != *failure) {
            intent.note(at, failure);
        }
        self.settle(key);
        // While it may have been executed the order stays open: its fills may still come.
        if !ambiguous {
            self.close_placed(at, key);
        }
        Ok(())
    }

    /// An operator sends a dead letter again, under its old key.
    ///
    /// # Errors
    /// When it is unknown or not a dead letter.
    pub fn requeue(&mut self, at: UnixNanos, key: IntentKey, replay: u32) -> Result<(), LedgerError> {
        let intent = self.dead_intent(key, "requeued")?;
        let ambiguous = intent.state == IntentState::DeadLettered { ambiguous: true };
        intent.state = if ambiguous { IntentState::Ambiguous } else { IntentState::Intended };
        intent.attempts = 0;
        intent.replay = replay;
        intent.requeued_at = Some(at);
        self.settle(key);
        if let Some(order) = self.placed_by(key) {
            order.closed_at = None;
        }
        Ok(())
    }

    /// An operator's order to send a dead letter again was refused; it stays one.
    ///
    /// # Errors
    /// When it is unknown or not a dead letter.
    pub fn refuse_replay(
        &mut self,
        at: UnixNanos,
        key: IntentKey,
        replay: u32,
        failure: &Failure,
    ) -> Result<(), LedgerError> {
        let intent = self.dead_intent(key, "refused again")?;
        intent.replay = replay;
        intent.note(at, failure);
        Ok(())
    }

    /// A new intent takes the place of a dead letter.
    ///
    /// # Errors
    /// When there is no such dead letter, or the new intent's slot has been used.
    pub fn reissue(&mut self, at: UnixNanos, reissue: &Reissue) -> Result<(), LedgerError> {
        let Reissue { parent, replay, note, call, key, action, request } = reissue;
        if self.intents.contains_key(key) || self.tombstones.holds_key(key) {
            return Err(LedgerError::SlotReused(*key));
        }
        let intent = self.dead_intent(*parent, "issued again")?;
        let by_host = intent.by_host;
        intent.replay = *replay;
        intent.letter = Some(LetterMark::Reissued { note: note.clone(), at, child: *key });
        self.close_letter(at, *parent);
        self.insert(at, (*key, *action, request), (*call, 0), by_host);
        if let Some(child) = self.intents.get_mut(key) {
            child.parent = Some(*parent);
        }
        Ok(())
    }

    /// An operator closes a dead letter.
    ///
    /// # Errors
    /// When it is unknown or not a dead letter.
    pub fn resolve(&mut self, at: UnixNanos, key: IntentKey, note: &str) -> Result<(), LedgerError> {
        let intent = self.dead_intent(key, "resolved")?;
        intent.letter = Some(LetterMark::Resolved { note: note.to_owned(), at });
        self.close_letter(at, key);
        Ok(())
    }

    fn dead_intent(&mut self, key: IntentKey, wanted: &'static str) -> Result<&mut Intent, LedgerError> {
        let intent = self.intents.get_mut(&key).ok_or(LedgerError::UnknownIntent(key))?;
        match intent.state {
            IntentState::DeadLettered { .. } => Ok(intent),
            _ => Err(LedgerError::Transition { key, state: intent.state.name(), wanted }),
        }
    }

    fn close_letter(&mut self, at: UnixNanos, key: IntentKey) {
        if let Some(intent) = self.intents.get_mut(&key) {
            intent.state = IntentState::Resolved;
        }
        self.settle(key);
        self.close_placed(at, key);
    }
}
