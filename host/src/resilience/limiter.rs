//! Rate limiter: keeps us under what a venue takes, and silent while it asks for silence.
//!
//! The algorithm is governor's GCRA. Its clock is the time that we are given, so that a replay decides the
//! same.

use crate::market::MonoNanos;
use governor::clock::{Clock, Reference};
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};
use serde::{Deserialize, Serialize};
use std::cell::Cell;
use std::num::NonZeroU32;

/// How much may be sent. Zero does not deserialise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LimiterConfig {
    /// Calls a second in the long run. Default 10: what venues without a published limit commonly bear.
    pub calls_per_second: NonZeroU32,
    /// Calls at once after a pause. Default 10: one second's worth.
    pub burst_calls: NonZeroU32,
}

impl Default for LimiterConfig {
    fn default() -> Self {
        const TEN: NonZeroU32 = NonZeroU32::new(10).unwrap();
        Self { calls_per_second: TEN, burst_calls: TEN }
    }
}

/// The clock that governor reads: it stands where [`Limiter::admit`] put it.
#[derive(Debug, Default)]
struct GivenClock(Cell<u64>);

impl GivenClock {
    /// Governor adds to the time without checking for overflow. 292 years leave room for any burst.
    const NANOS_MAX: u64 = u64::MAX / 2;

    fn set(&self, now: MonoNanos) {
        self.0.set(now.0.min(Self::NANOS_MAX));
    }
}

impl Clock for GivenClock {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        Nanos::new(self.0.get())
    }
}

/// A rate limiter for all calls to one venue.
#[derive(Debug)]
pub struct Limiter {
    gcra: RateLimiter<NotKeyed, InMemoryState, GivenClock, NoOpMiddleware<Nanos>>,
    paused_until: MonoNanos,
}

impl Limiter {
    /// A limiter with its whole burst available.
    pub fn new(config: LimiterConfig) -> Self {
        let quota = Quota::per_second(config.calls_per_second).allow_burst(config.burst_calls);
        let gcra = RateLimiter::direct_with_clock(quota, GivenClock::default());
        Self { gcra, paused_until: MonoNanos(0) }
    }

    /// Takes one call from the limit.
    ///
    /// # Errors
    /// The earliest moment at which a call can pass; nothing is taken.
    pub fn admit(&mut self, now: MonoNanos) -> Result<(), MonoNanos> {
        if now < self.paused_until {
            return Err(self.paused_until);
        }
        self.gcra.clock().set(now);
        self.gcra.check().map_err(|refused| {
            let wait = refused.earliest_possible().duration_since(self.gcra.clock().now());
            MonoNanos(now.0.saturating_add(wait.as_u64()))
        })
    }

    /// Lets nothing pass before this moment; an earlier pause that is longer stays.
    pub fn pause_until(&mut self, until: MonoNanos) {
        self.paused_until = self.paused_until.max(until);
    }

    /// The end of the longest pause that was asked for.
    pub fn paused_until(&self) -> MonoNanos {
        self.paused_until
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND: u64 = 1_000_000_000;

    fn limiter(calls_per_second: u32, burst_calls: u32) -> Limiter {
        Limiter::new(LimiterConfig {
            calls_per_second: NonZeroU32::new(calls_per_second).unwrap(),
            burst_calls: NonZeroU32::new(burst_calls).unwrap(),
        })
    }

    #[test]
    fn the_burst_passes_at_once_and_then_the_rate_rules() {
        let mut limiter = limiter(10, 3);
        let now = MonoNanos(5 * SECOND);
        assert!((0..3).all(|_| limiter.admit(now).is_ok()));
        let retry_at = limiter.admit(now).unwrap_err();
        assert_eq!(retry_at, MonoNanos(5 * SECOND + SECOND / 10));
        assert!(limiter.admit(MonoNanos(retry_at.0 - 1)).is_err());
        assert_eq!(limiter.admit(retry_at), Ok(()));
        assert!(limiter.admit(retry_at).is_err());
    }

    #[test]
    fn a_pause_holds_everything_and_a_shorter_one_does_not_end_it() {
        let mut limiter = limiter(10, 3);
        limiter.pause_until(MonoNanos(60 * SECOND));
        limiter.pause_until(MonoNanos(SECOND));
        assert_eq!(limiter.admit(MonoNanos(60 * SECOND - 1)), Err(MonoNanos(60 * SECOND)));
        assert_eq!(limiter.admit(MonoNanos(60 * SECOND)), Ok(()));
    }

    #[test]
    fn a_limit_of_zero_is_no_config() {
        assert!(toml::from_str::<LimiterConfig>("calls_per_second = 0").is_err());
        assert!(toml::from_str::<LimiterConfig>("calls_per_minute = 1").is_err());
    }

    #[test]
    fn the_widest_limits_at_the_end_of_time_do_not_overflow() {
        let mut limiter = limiter(1, u32::MAX);
        for now in [0, u64::MAX - 1, u64::MAX, 0] {
            let _ = limiter.admit(MonoNanos(now));
        }
    }

    proptest! {
        #[test]
        fn no_window_admits_more_than_burst_and_rate(
            calls_per_second in 1_u32..1_000, burst in 1_u32..50,
            steps in prop::collection::vec(0_u64..SECOND / 4, 1..200),
        ) {
            let mut limiter = limiter(calls_per_second, burst);
            let interval = SECOND / u64::from(calls_per_second);
            let mut now = MonoNanos(0);
            let mut admitted: Vec<u64> = Vec::new();
            for step in steps {
                now = MonoNanos(now.0 + step);
                match limiter.admit(now) {
                    Ok(()) => admitted.push(now.0),
                    Err(retry_at) => prop_assert!(retry_at > now),
                }
            }
            for (position, from) in admitted.iter().enumerate() {
                for (count, to) in (1_u64..).zip(&admitted[position..]) {
                    prop_assert!(count <= u64::from(burst) + (to - from) / interval);
                }
            }
        }
    }
}
