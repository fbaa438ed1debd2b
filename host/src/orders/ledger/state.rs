//! One intent that was to be sent, and where it stands.

use super::Ledger;
use crate::market::UnixNanos;
use crate::orders::record::{Action, ExpiredBecause};
use crate::resilience::{Failure, Mode};
use crate::venue::Request;
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
    /// Never sent, because the mode only observed.
    Suppressed(Mode),
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
            Self::Suppressed(_) => "suppressed",
            Self::Expired(_) => "expired",
        }
    }
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
    /// How often an operator sent it again.
    pub replay: u32,
    /// When it was decided.
    pub decided_at: UnixNanos,
    /// When its last attempt began.
    pub last_at: UnixNanos,
    /// Whether some attempt may have been executed. Cleared only by the venue's own denial
    /// ([`ExpiredBecause::NeverArrived`]): no later attempt that did nothing says anything about an earlier
    /// one, and `errors` is a bounded list that may have dropped it.
    pub maybe_executed: bool,
    /// What failed, at most [`Ledger::ERRORS_PER_INTENT_MAX`]: the first half and the last half.
    pub errors: Vec<FailedAttempt>,
}

impl Intent {
    /// Its place among all decisions of the agent: the call, and the index within it.
    pub fn slot(&self) -> (u64, u32) {
        (self.call, self.index)
    }

    /// Whether an attempt may have been executed: then only the venue can say, and the intent must never
    /// be dropped as unsent.
    pub fn maybe_executed(&self) -> bool {
        self.maybe_executed
    }

    pub(super) fn note(&mut self, at: UnixNanos, failure: &Failure) {
        const HALF: usize = Ledger::ERRORS_PER_INTENT_MAX / 2;
        if self.errors.len() >= Ledger::ERRORS_PER_INTENT_MAX {
            self.errors.remove(HALF);
        }
        self.errors.push(FailedAttempt { at, failure: failure.clone() });
    }
}
