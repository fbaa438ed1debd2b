//! The time that a paper venue lives in.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// A clock in milliseconds since 1970. Copies share their time, and whoever has one can move it forward.
#[derive(Clone, Debug)]
pub struct PaperClock {
    start: Start,
    ahead_ms: Arc<AtomicU64>,
}

#[derive(Clone, Copy, Debug)]
enum Start {
    System,
    At(u64),
}

impl PaperClock {
    /// The system's clock.
    pub fn system() -> Self {
        Self { start: Start::System, ahead_ms: Arc::default() }
    }

    /// A clock that stands still unless it is moved.
    pub fn stopped_at(unix_ms: u64) -> Self {
        Self { start: Start::At(unix_ms), ahead_ms: Arc::default() }
    }

    /// Moves the clock forward. What falls due is done at the next request, or at once through
    /// [`super::FleaHandle::advance_ms`].
    pub fn advance_ms(&self, ms: u64) {
        // An error means that the time is at its end already.
        let _ = self.ahead_ms.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |now| now.checked_add(ms));
    }

    /// Whether it moves by itself.
    pub(super) fn runs(&self) -> bool {
        matches!(self.start, Start::System)
    }

    #[expect(clippy::disallowed_methods, reason = "a venue of its own process has the system's time")]
    pub(super) fn now_ms(&self) -> u64 {
        let start = match self.start {
            Start::At(ms) => ms,
            Start::System => {
                let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
            }
        };
        start.saturating_add(self.ahead_ms.load(Ordering::SeqCst))
    }
}
