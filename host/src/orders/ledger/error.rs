//! Records that do not follow from a state.

use crate::orders::IntentKey;
use crate::resilience::{Class, Classified};
use thiserror::Error;

/// A record that does not follow from the state: the journal and the state do not belong together.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum LedgerError {
    /// No such intent.
    #[error(
        "the journal speaks of intent {0}, which was never decided; the journal is incomplete, verify it"
    )]
    UnknownIntent(IntentKey),
    /// Not possible in this state.
    #[error(
        "intent {key} is {state} and cannot become {wanted}; stop the agent and reconcile with the venue"
    )]
    Transition {
        /// Which intent.
        key: IntentKey,
        /// Where it stands.
        state: &'static str,
        /// What the record says.
        wanted: &'static str,
    },
    /// The same slot decided twice with different content.
    #[error("intent {0} was decided before with another content: the strategy is not deterministic")]
    SlotReused(IntentKey),
}

impl Classified for LedgerError {
    fn class(&self) -> Class {
        match self {
            Self::SlotReused(_) => Class::Logic,
            Self::UnknownIntent(_) | Self::Transition { .. } => Class::State,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::UnknownIntent(_) => "ledger_unknown_intent",
            Self::Transition { .. } => "ledger_transition",
            Self::SlotReused(_) => "slot_reused",
        }
    }
}
