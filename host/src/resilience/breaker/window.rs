//! The last calls of a closed breaker.

use super::BreakerConfig;
use crate::market::MonoNanos;
use std::collections::VecDeque;
use std::time::Duration;

#[derive(Debug)]
struct Call {
    at: MonoNanos,
    failed: bool,
    slow: bool,
}

/// The last calls, bounded by number and by age.
#[derive(Debug)]
pub(super) struct Window {
    calls: VecDeque<Call>,
    failures_in_row: u32,
}

impl Window {
    pub(super) fn new(config: &BreakerConfig) -> Self {
        let calls = VecDeque::with_capacity(usize::from(config.window_calls_max.get()));
        Self { calls, failures_in_row: 0 }
    }

    /// Takes one call, and says whether the breaker must open.
    pub(super) fn record(
        &mut self,
        config: &BreakerConfig,
        now: MonoNanos,
        failed: bool,
        slow: bool,
    ) -> bool {
        self.failures_in_row = if failed { self.failures_in_row.saturating_add(1) } else { 0 };
        let calls_max = usize::from(config.window_calls_max.get());
        let age_max = Duration::from_millis(config.window_ms.get());
        while self.calls.len() >= calls_max || self.calls.front().is_some_and(|c| now.since(c.at) > age_max) {
            self.calls.pop_front();
        }
        self.calls.push_back(Call { at: now, failed, slow });

        let count = |of: fn(&Call) -> bool| self.calls.iter().filter(|call| of(call)).count() as u64;
        let calls = self.calls.len() as u64;
        let calls_min = u64::from(config.calls_min.min(config.window_calls_max).get());
        let share_reached = || {
            config.failure_share_permille.is_reached_by(count(|call| call.failed), calls)
                || config.slow_share_permille.is_reached_by(count(|call| call.slow), calls)
        };
        self.failures_in_row >= config.failures_in_row.get() || (calls >= calls_min && share_reached())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn second(n: u64) -> MonoNanos {
        MonoNanos(n * 1_000_000_000)
    }

    #[test]
    fn a_call_that_is_too_old_no_longer_counts() {
        let config = BreakerConfig::default();
        let mut window = Window::new(&config);
        for n in 0..4 {
            assert!(!window.record(&config, second(n), true, false));
        }
        // Old failures would make four of eight; they have left the window.
        for n in 0..8 {
            assert!(!window.record(&config, second(100 + n), false, false));
        }
        assert_eq!(window.calls.len(), 8);
    }

    #[test]
    fn the_window_never_holds_more_than_its_bound() {
        let config = BreakerConfig::default();
        let mut window = Window::new(&config);
        for _ in 0..1_000 {
            window.record(&config, second(1), false, false);
        }
        assert_eq!(window.calls.len(), 64);
        assert!(window.calls.capacity() < 128);
    }
}
