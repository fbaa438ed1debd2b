//! What lets an intent be sent again that may have been executed, at a venue that remembers no keys.

use super::{Intent, IntentState, Ledger, LedgerError};
use crate::market::UnixNanos;
use crate::orders::IntentKey;
use crate::orders::record::{ExpiredBecause, Proof};
use crate::resilience::{Class, Failure, Phase};

/// Code of the note that a denial leaves with its intent.
const DENIED: &str = "denied";

impl Ledger {
    /// An ambiguous intent may be sent again. The errors before stay with it, and a note follows them.
    ///
    /// # Errors
    /// When it is unknown or not ambiguous.
    pub fn deny(&mut self, at: UnixNanos, key: IntentKey, proof: Proof) -> Result<(), LedgerError> {
        let intent = self.open_intent(key, "denied")?;
        if intent.state != IntentState::Ambiguous {
            return Err(LedgerError::Transition { key, state: intent.state.name(), wanted: "denied" });
        }
        let (code, words) = match proof {
            Proof::DeniedTwice => (DENIED, "the venue was asked twice and has never had it"),
            Proof::Replayed => ("replayed", "an operator sends it again, the account shows no trace of it"),
        };
        intent.note(at, &Failure::new(Class::State, code, Phase::NotSent, words));
        intent.state = IntentState::Intended;
        // An operator's order is no evidence: what was in doubt stays so.
        intent.maybe_executed &= proof != Proof::DeniedTwice;
        Ok(())
    }
}

impl Intent {
    /// Whether the venue has denied it, twice, and nothing was sent since.
    pub fn is_denied(&self) -> bool {
        let last = || self.errors.last().is_some_and(|error| error.failure.code == DENIED);
        match self.state {
            IntentState::Expired(ExpiredBecause::NeverArrived) => true,
            IntentState::Intended => last(),
            _ => false,
        }
    }
}
