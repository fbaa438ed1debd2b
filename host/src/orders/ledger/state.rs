//! One intent that was to be sent, and where it stands.

use super::Ledger;
use crate::market::UnixNanos;
use crate::orders::IntentKey;
use crate::orders::record::{Action, ExpiredBecause};
use crate::resilience::Failure;
use crate::venue::{Baseline, Request};
use serde::{Deserialize, Serialize};

/// Where an intent stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum IntentState {
    /// Decided; nothing has been sent since the last proof that nothing was done.
    Intended,
    /// An attempt is under way, or was when the host died.
    Submitting,
    /// The last attempt left the outcome unknown.
    Ambiguous,
    /// The venue did what was asked.
    Acknowledged,
    /// The venue said no.
    Rejected,
    /// Given up; an operator decides. `ambiguous` says that it may have been executed.
    DeadLettered {
        /// Whether it may have been executed.
        ambiguous: bool,
    },
    /// An operator closed it.
    Resolved,
    /// Dropped: it was not executed, or there was nothing left that it could do.
    Expired(ExpiredBecause),
}

impl IntentState {
    /// Whether nothing more will happen to it.
    pub const fn is_terminal(&self) -> bool {
        !matches!(self, Self::Intended | Self::Submitting | Self::Ambiguous)
    }

    pub(super) const fn name(&self) -> &'static str {
        match self {
            Self::Intended => "intended",
            Self::Submitting => "submitting",
            Self::Ambiguous => "ambiguous",
            Self::Acknowledged => "acknowledged",
            Self::Rejected => "rejected",
            Self::DeadLettered { .. } => "dead-lettered",
            Self::Resolved => "resolved",
            Self::Expired(_) => "expired",
        }
    }
}

/// What became of an intent as a dead letter. With the intent's state it is all that the index of dead
/// letters says, so that the index can be rebuilt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LetterMark {
    /// It was given up on. Its state says whether it still is.
    GivenUp,
    /// An operator closed it.
    Resolved {
        /// The operator's words.
        note: String,
        /// When.
        at: UnixNanos,
    },
    /// A new intent took its place.
    Reissued {
        /// The operator's words.
        note: String,
        /// When.
        at: UnixNanos,
        /// The new intent.
        child: IntentKey,
    },
}

/// One failed attempt, as it is kept for a dead letter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailedAttempt {
    /// When.
    pub at: UnixNanos,
    /// What failed.
    pub failure: Failure,
}

/// One intent that was to be sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intent {
    /// What it does.
    pub action: Action,
    /// Number of the call that decided it.
    pub call: u64,
    /// Its index within that decision.
    pub index: u32,
    /// Whether the host itself wanted it.
    pub by_host: bool,
    /// The exact bytes to send.
    pub request: Request,
    /// Where it stands.
    pub state: IntentState,
    /// Attempts since it was decided or requeued.
    pub attempts: u32,
    /// Attempts altogether.
    pub attempts_total: u32,
    /// Number of the last order of an operator to send it again that was carried out or refused.
    pub replay: u32,
    /// When it was decided.
    pub decided_at: UnixNanos,
    /// When its last attempt began.
    pub last_at: UnixNanos,
    /// What the account showed before its last attempt, where the venue needs it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub baseline: Option<Baseline>,
    /// Whether some attempt may have been executed. Cleared only by the venue's own denial
    /// ([`ExpiredBecause::NeverArrived`], [`Proof::DeniedTwice`](crate::orders::Proof::DeniedTwice)): no later attempt that did nothing says anything about an earlier
    /// one, and `errors` is a bounded list that may have dropped it.
    pub maybe_executed: bool,
    /// What failed, at most [`Ledger::ERRORS_PER_INTENT_MAX`]: the first half and the last half.
    pub errors: Vec<FailedAttempt>,
    /// Errors in the middle that were dropped.
    #[serde(default)]
    pub errors_dropped: u32,
    /// What became of it as a dead letter, if it ever was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub letter: Option<LetterMark>,
    /// The dead letter in whose place it was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<IntentKey>,
    /// When an operator last sent it again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requeued_at: Option<UnixNanos>,
}

impl Intent {
    /// Its place among all decisions of the agent: the call, and the index within it.
    pub fn slot(&self) -> (u64, u32) {
        (self.call, self.index)
    }

    /// When it was last wanted: decided, or sent again by an operator.
    pub fn wanted_at(&self) -> UnixNanos {
        self.requeued_at.unwrap_or(self.decided_at)
    }

    /// Whether an attempt may have been executed: then only the venue can say, and the intent must never
    /// be dropped as unsent.
    pub fn maybe_executed(&self) -> bool {
        self.maybe_executed
    }

    /// The intent that took its place.
    pub fn child(&self) -> Option<IntentKey> {
        match self.letter {
            Some(LetterMark::Reissued { child, .. }) => Some(child),
            _ => None,
        }
    }

    /// What became of it, in words, when that is known and no operator has closed it.
    pub fn verdict(&self) -> Option<String> {
        let verdict = match &self.state {
            IntentState::Acknowledged => "the venue has executed it".to_owned(),
            IntentState::Rejected => match self.errors.last() {
                Some(error) => format!("the venue refused it: {}", error.failure),
                None => "the venue refused it".to_owned(),
            },
            IntentState::Expired(why) => format!("it was dropped: {}", why.explain()),
            IntentState::Intended
            | IntentState::Submitting
            | IntentState::Ambiguous
            | IntentState::DeadLettered { .. }
            | IntentState::Resolved => return None,
        };
        Some(match self.replay {
            0 => verdict,
            replay => format!("replay {replay}: {verdict}"),
        })
    }

    pub(super) fn note(&mut self, at: UnixNanos, failure: &Failure) {
        const HALF: usize = Ledger::ERRORS_PER_INTENT_MAX / 2;
        if self.errors.len() >= Ledger::ERRORS_PER_INTENT_MAX {
            self.errors.remove(HALF);
            self.errors_dropped = self.errors_dropped.saturating_add(1);
        }
        self.errors.push(FailedAttempt { at, failure: failure.clone() });
    }
}
