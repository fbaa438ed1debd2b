//! Retry: when the next attempt may start, or that there is none.
//!
//! Full jitter as in Marc Brooker, "Exponential Backoff And Jitter" (AWS Architecture Blog, 2015): a delay
//! drawn from zero to the doubled bound spreads clients better than a bound with a little noise.

use super::{Class, Classified};
use crate::market::MonoNanos;
use crate::random::SplitMix64;
use serde::{Deserialize, Serialize};
use std::num::NonZeroU32;
use std::time::Duration;
use thiserror::Error;

/// Limits of the attempts for one intent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RetryConfig {
    /// Bound of the delay after the first failed attempt. Default 1 000: a venue that restarts a worker is
    /// back by then.
    pub base_ms: u64,
    /// Largest bound of the delay. Default 60 000: as long as the breaker stays open at first. A Retry-After
    /// or a breaker may ask for more.
    pub cap_ms: u64,
    /// Attempts, the first included. Default 5: bounds of 1, 2, 4 and 8 s between them.
    pub attempts_max: NonZeroU32,
    /// Time from the first moment an attempt was wanted to the end of the last. Default 300 000: room for two
    /// openings of the breaker; an order older than that is for a person to decide.
    pub deadline_ms: u64,
    /// What must be left before the deadline for an attempt to be worth starting. Default 1 000: an answer
    /// takes about that long on a bad day.
    pub attempt_ms_min: u64,
}

impl Default for RetryConfig {
    fn default() -> Self {
        Self {
            base_ms: 1_000,
            cap_ms: 60_000,
            attempts_max: const { NonZeroU32::new(5).unwrap() },
            deadline_ms: 300_000,
            attempt_ms_min: 1_000,
        }
    }
}

/// How far the attempts for one intent have come, by the clock of this run of the host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attempts {
    /// Attempts in which bytes may have left. A refusal by the breaker, the limiter or the budget is none.
    pub made: u32,
    /// When the first attempt was wanted.
    pub first_at: MonoNanos,
    /// What the venue asked for with its last answer.
    pub retry_after: Option<Duration>,
    /// What the breaker, the limiter or the budget asked for with a refusal.
    pub not_before: Option<MonoNanos>,
}

/// What to do next about an intent that is not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum RetryDecision {
    /// Make an attempt at this moment, not before.
    At(MonoNanos),
    /// Make none; it goes to the dead letters.
    Exhausted(Exhausted),
}

/// Why there is no further attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Exhausted {
    /// All attempts have been made.
    #[error(
        "all attempts were made without a definite answer; ask the venue, then replay or resolve the dead letter"
    )]
    AttemptsSpent,
    /// The next one could not end before the deadline.
    #[error("the next attempt would start too late for the deadline; replay or resolve the dead letter")]
    Deadline,
}

impl Classified for Exhausted {
    fn class(&self) -> Class {
        Class::Network
    }

    fn code(&self) -> &'static str {
        match self {
            Self::AttemptsSpent => "retry_attempts_spent",
            Self::Deadline => "retry_deadline",
        }
    }
}

/// Whether a status is an answer that no repetition changes.
pub const fn never_retried(status: u16) -> bool {
    matches!(status, 400 | 401 | 403 | 404 | 422)
}

/// A random delay after so many failed attempts, uniform from zero to `min(cap, base * 2^(failed - 1))`; zero
/// when none has failed.
pub fn full_jitter(config: &RetryConfig, failed_attempts: u32, random: &mut SplitMix64) -> Duration {
    let Some(doublings) = failed_attempts.checked_sub(1) else { return Duration::ZERO };
    let bound_ms = config.base_ms.saturating_mul(1 << doublings.min(63)).min(config.cap_ms);
    let bound_nanos = bound_ms.saturating_mul(1_000_000);
    Duration::from_nanos(random.below(bound_nanos.saturating_add(1)))
}

impl RetryConfig {
    /// Decides about the next attempt. It starts after the jittered delay, after what the venue asked for, in
    /// full, and after what a refusal asked for, whichever is last; and it is given up now rather than after
    /// a wait that leaves it no time.
    pub fn decide(&self, attempts: &Attempts, now: MonoNanos, random: &mut SplitMix64) -> RetryDecision {
        if attempts.made >= self.attempts_max.get() {
            return RetryDecision::Exhausted(Exhausted::AttemptsSpent);
        }
        let delay = full_jitter(self, attempts.made, random);
        let wait = delay.max(attempts.retry_after.unwrap_or_default());
        let at = now.after(wait).max(attempts.not_before.unwrap_or_default());
        let deadline = attempts.first_at.after(Duration::from_millis(self.deadline_ms));
        if at.after(Duration::from_millis(self.attempt_ms_min)) > deadline {
            return RetryDecision::Exhausted(Exhausted::Deadline);
        }
        RetryDecision::At(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND: u64 = 1_000_000_000;

    fn made(made: u32) -> Attempts {
        Attempts { made, ..Attempts::default() }
    }

    fn decide(attempts: Attempts, now: MonoNanos) -> RetryDecision {
        RetryConfig::default().decide(&attempts, now, &mut SplitMix64(7))
    }

    #[test]
    fn delays_fill_the_whole_range_from_zero_to_the_doubled_bound() {
        let (config, mut random) = (RetryConfig::default(), SplitMix64(1));
        for (failed, bound_ms) in
            [(1, 1_000), (2, 2_000), (3, 4_000), (4, 8_000), (7, 60_000), (1_000, 60_000)]
        {
            let bound = Duration::from_millis(bound_ms);
            let delays: Vec<_> = (0..2_000).map(|_| full_jitter(&config, failed, &mut random)).collect();
            let (least, most) = (delays.iter().min().unwrap(), delays.iter().max().unwrap());
            assert!(*most <= bound && *most > bound * 9 / 10, "{failed}: {most:?}");
            assert!(*least < bound / 10, "{failed}: {least:?}");
        }
    }

    #[test]
    fn the_first_attempt_waits_for_nothing() {
        assert_eq!(decide(made(0), MonoNanos(5)), RetryDecision::At(MonoNanos(5)));
    }

    #[test]
    fn the_last_attempt_is_the_fifth() {
        assert!(matches!(decide(made(4), MonoNanos(0)), RetryDecision::At(_)));
        assert_eq!(decide(made(5), MonoNanos(0)), RetryDecision::Exhausted(Exhausted::AttemptsSpent));
    }

    #[test]
    fn retry_after_is_obeyed_in_full_beyond_the_cap() {
        let attempts = Attempts { retry_after: Some(Duration::from_secs(120)), ..made(1) };
        assert_eq!(decide(attempts, MonoNanos(SECOND)), RetryDecision::At(MonoNanos(121 * SECOND)));
    }

    #[test]
    fn a_wait_past_the_deadline_ends_at_once() {
        let attempts = Attempts { retry_after: Some(Duration::from_secs(299)), ..made(1) };
        assert_eq!(decide(attempts, MonoNanos(0)), RetryDecision::At(MonoNanos(299 * SECOND)));
        assert_eq!(decide(attempts, MonoNanos(1)), RetryDecision::Exhausted(Exhausted::Deadline));
    }

    #[test]
    fn a_refusal_moves_the_attempt_and_does_not_count_as_one() {
        let attempts = Attempts { not_before: Some(MonoNanos(66 * SECOND)), ..made(0) };
        assert_eq!(decide(attempts, MonoNanos(0)), RetryDecision::At(MonoNanos(66 * SECOND)));
    }

    #[test]
    fn definite_answers_are_never_retried() {
        let never: Vec<u16> = (100..600).filter(|status| never_retried(*status)).collect();
        assert_eq!(never, [400, 401, 403, 404, 422]);
    }

    proptest! {
        #[test]
        fn an_attempt_is_never_early_and_never_late(
            (base_ms, cap_ms, deadline_ms, attempt_ms_min) in any::<(u64, u64, u64, u64)>(),
            made in 0_u32..10, first in any::<u64>(), passed in any::<u64>(), seed in any::<u64>(),
            after_s in prop::option::of(0_u64..=86_400), not_before in prop::option::of(any::<u64>()),
        ) {
            let config = RetryConfig { base_ms, cap_ms, deadline_ms, attempt_ms_min, ..RetryConfig::default() };
            let attempts = Attempts {
                made,
                first_at: MonoNanos(first),
                retry_after: after_s.map(Duration::from_secs),
                not_before: not_before.map(MonoNanos),
            };
            let now = MonoNanos(first.saturating_add(passed));
            let decision = config.decide(&attempts, now, &mut SplitMix64(seed));
            if let RetryDecision::At(at) = decision {
                prop_assert!(made < 5);
                prop_assert!(at >= now.after(attempts.retry_after.unwrap_or_default()));
                prop_assert!(at >= attempts.not_before.unwrap_or_default());
                let latest = now
                    .after(Duration::from_millis(cap_ms).max(attempts.retry_after.unwrap_or_default()))
                    .max(attempts.not_before.unwrap_or_default());
                prop_assert!(at <= latest);
                prop_assert!(at <= attempts.first_at.after(Duration::from_millis(deadline_ms)));
            }
        }
    }
}
