//! How long an intent may still be sent.
//!
//! Within a run the time is measured by the monotonic clock. What had passed when the run began is measured by
//! the wall clock, from the moment at which the intent was decided, or at which an operator last sent it
//! again: the host may have been away for hours, and the market that the intent was meant for is gone then.
//! A wall clock that was set back gives it its whole time once more and never more than that.
//!
//! Past its deadline an intent that provably never left is dropped. One that may have been executed is only
//! asked about. The same key once more would also be a way of asking where the venue remembers keys, but it
//! executes an intent that never arrived, and so it is one only until the deadline. That holds for the closing
//! orders of the host too: while it still winds the agent down, it makes new ones from the position as it is
//! now. A cancel has its time anew in every run: it takes risk away, whenever it comes.

use super::Core;
use crate::market::{MonoNanos, Now};
use crate::orders::{Action, IntentKey};
use crate::resilience::RetryConfig;
use std::time::Duration;

impl Core {
    /// Takes up an intent of an earlier run.
    pub(super) fn take_up(&mut self, now: Now, key: IntentKey) {
        self.due.insert(key, now.mono);
        self.first_due.insert(key, now.mono);
        let ages = self.ledger.intent(&key).filter(|intent| !matches!(intent.action, Action::Cancel(_)));
        if let Some(intent) = ages {
            self.spent.insert(key, now.wall.since(intent.wanted_at()));
        }
    }

    /// When an intent is not sent any more.
    pub(super) fn deadline(&self, key: IntentKey, now: Now) -> MonoNanos {
        let first = self.first_due.get(&key).copied().unwrap_or(now.mono);
        first.after(Duration::from_millis(self.retries_of(key).deadline_ms))
    }

    /// The limits of an intent's attempts in this run.
    pub(super) fn retries_of(&self, key: IntentKey) -> RetryConfig {
        let spent = self.spent.get(&key).copied().unwrap_or_default();
        let spent_ms = u64::try_from(spent.as_millis()).unwrap_or(u64::MAX);
        let retry = self.config.retry;
        RetryConfig { deadline_ms: retry.deadline_ms.saturating_sub(spent_ms), ..retry }
    }
}
