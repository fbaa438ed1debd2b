//! The one place of the live shell that reads clocks.

use crate::market::{MonoNanos, Now, UnixNanos};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// The system's clocks, monotonic from the start of the host.
#[derive(Clone, Copy, Debug)]
pub struct SystemClock {
    start: Instant,
}

impl SystemClock {
    /// A clock that starts now.
    #[expect(clippy::disallowed_methods, reason = "the live shell is where time comes from")]
    pub fn start() -> Self {
        Self { start: Instant::now() }
    }

    /// Both clocks at this moment.
    #[expect(clippy::disallowed_methods, reason = "the live shell is where time comes from")]
    pub fn now(&self) -> Now {
        let nanos = |duration: Duration| u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Now { mono: MonoNanos(nanos(self.start.elapsed())), wall: UnixNanos(nanos(wall)) }
    }

    /// The moment of the operating system's clock that a core's moment stands for.
    pub fn instant(&self, at: MonoNanos) -> Instant {
        self.start.checked_add(Duration::from_nanos(at.0)).unwrap_or(self.start)
    }
}
