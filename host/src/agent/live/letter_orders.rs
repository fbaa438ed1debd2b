//! What an operator orders about dead letters, whether a host runs or not.
//!
//! An order is a change of the letter first, which is a compare-and-swap and durable, and then a word to the
//! agent. Whatever comes in between, the next start finds the order on the letter.

use crate::agent::core::Operator;
use crate::market::UnixNanos;
use crate::resilience::{
    Class, Classified, DeadLetter, DeadLetterStore, LetterId, LetterKind, LetterRefusal, LetterStatus,
    StoreError,
};
use thiserror::Error;

/// An operator's order about one dead letter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LetterOrder {
    /// Send it again under its old key.
    Replay {
        /// Although it may have been executed.
        ambiguous: bool,
    },
    /// Make a new intent with the same terms.
    Reissue {
        /// Why.
        note: String,
        /// Whether the operator states that the venue has never executed it.
        not_executed: bool,
    },
    /// Close it.
    Resolve {
        /// What was found and done.
        note: String,
    },
}

/// Why an order about a letter is not taken. Nothing has changed then.
#[derive(Debug, Error)]
pub enum LetterOrderError {
    /// There is no such letter.
    #[error("there is no dead letter {0}; see ringfence dlq list --all")]
    Unknown(String),
    /// What was given is no letter's name.
    #[error(transparent)]
    Name(LetterRefusal),
    /// It is no intent.
    #[error("{0} is a failed call into a strategy, not an intent: nothing of it can be sent; resolve it")]
    NotAnIntent(LetterId),
    /// It may have been executed, and the order does not say that this is known.
    #[error(
        "{0} may have been executed; ask the venue first, then replay it with --ambiguous (the key stays the same) \
         or resolve it"
    )]
    Ambiguous(LetterId),
    /// The store refuses.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Classified for LetterOrderError {
    fn class(&self) -> Class {
        match self {
            Self::Unknown(_) | Self::Name(_) | Self::NotAnIntent(_) | Self::Ambiguous(_) => Class::Data,
            Self::Store(error) => error.class(),
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Unknown(_) => "letter_unknown",
            Self::Name(_) => "letter_id",
            Self::NotAnIntent(_) => "call_not_replayable",
            Self::Ambiguous(_) => "letter_ambiguous",
            Self::Store(error) => error.code(),
        }
    }
}

impl LetterOrder {
    /// What is ordered, for a log.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Replay { .. } => "replay",
            Self::Reissue { .. } => "reissue",
            Self::Resolve { .. } => "resolve",
        }
    }

    /// Writes the order onto the letter, where an agent finds it, now or at its next start.
    ///
    /// # Errors
    /// When there is no such letter, it does not allow it, or the store has failed.
    pub fn give(
        &self,
        letters: &DeadLetterStore,
        id: &str,
        now: UnixNanos,
    ) -> Result<DeadLetter, LetterOrderError> {
        let letter = find_letter(letters, id)?;
        match self {
            Self::Replay { .. } | Self::Reissue { .. } if letter.kind != LetterKind::Intent => {
                Err(LetterOrderError::NotAnIntent(letter.id))
            }
            Self::Replay { ambiguous } if letter.ambiguous && !ambiguous => {
                Err(LetterOrderError::Ambiguous(letter.id))
            }
            Self::Replay { .. } => Ok(letters.requeue(&letter.id, letter.replay)?),
            Self::Reissue { note, not_executed } => {
                Ok(letters.reissue(&letter.id, letter.replay, note, *not_executed)?)
            }
            Self::Resolve { note } => Ok(letters.resolve(&letter.id, note, now)?),
        }
    }
}

/// The letter of this name.
///
/// # Errors
/// When there is none, the name cannot be one, or the store has failed.
pub fn find_letter(letters: &DeadLetterStore, id: &str) -> Result<DeadLetter, LetterOrderError> {
    let name: LetterId = id.parse().map_err(LetterOrderError::Name)?;
    letters.get(&name)?.ok_or_else(|| LetterOrderError::Unknown(id.to_owned()))
}

/// What the agent has to hear about a letter. Nothing when no order is on it, or it is about no intent.
pub(super) fn word_about(letter: &DeadLetter) -> Option<Operator> {
    let key = letter.id.as_str().parse().ok()?;
    let replay = letter.replay;
    Some(match &letter.status {
        LetterStatus::Dead | LetterStatus::Reissued { .. } => return None,
        LetterStatus::Requeued => Operator::Replay { key, replay },
        LetterStatus::Reissuing { note, not_executed } => {
            Operator::Reissue { key, replay, note: note.clone(), not_executed: *not_executed }
        }
        LetterStatus::Resolved { note, .. } => Operator::Resolve { key, note: note.clone() },
    })
}
