//! Changes of orders in the books, from the decision until it is known what became of them.

use super::Core;
use crate::orders::{Action, IntentKey, IntentState};

impl Core {
    /// What is known of an intent has changed: if it is a change of an order, the books count it for as long as the
    /// venue may still make it. Before the changes of orders that come with it are booked. Also used when the
    /// journal is folded.
    pub(super) fn settle_claim(&mut self, key: IntentKey) {
        let Some(intent) = self.ledger.intent(&key) else { return };
        let Action::Amend(amend) = intent.action else { return };
        let books = &mut self.services.books;
        match intent.state {
            IntentState::Intended
            | IntentState::Submitting
            | IntentState::Ambiguous
            | IntentState::DeadLettered { ambiguous: true } => books.claim(key, &amend),
            // The order's new terms are told by the changes that come with the answer, or later.
            IntentState::Acknowledged => books.confirm(&key),
            IntentState::Rejected
            | IntentState::DeadLettered { ambiguous: false }
            | IntentState::Resolved
            | IntentState::Expired(_) => books.release(&key),
        }
        self.books_moved();
    }
}
