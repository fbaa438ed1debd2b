//! RetryKind budget: bounds what all intents of a venue together may repeat.
//!
//! Backoff slows each intent down, but a thousand of them slowed down are still a storm. The costs are those
//! of the token bucket that the AWS SDKs share among the calls of one client.

use crate::market::MonoNanos;
use serde::{Deserialize, Serialize};
use std::num::NonZeroU64;
use std::time::Duration;

/// Size and prices of a retry budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BudgetConfig {
    /// Most tokens. Default 100: twenty retries at once.
    pub tokens_max: u32,
    /// Price of a retry; more than `tokens_max` means `tokens_max`. Default 5: in the long run one retry for
    /// five successes.
    pub retry_cost: u32,
    /// Price of a retry after a timeout, bounded likewise. Default 10: a venue that is slow is hurt most by
    /// being asked again.
    pub timeout_retry_cost: u32,
    /// What a success gives back. Default 1.
    pub success_refill: u32,
    /// Time that gives one token back. Default 1 000: when every intent waits for a retry there is no success
    /// to refill from, and without this none would ever be sent again.
    pub refill_interval_ms: NonZeroU64,
}

impl Default for BudgetConfig {
    fn default() -> Self {
        Self {
            tokens_max: 100,
            retry_cost: 5,
            timeout_retry_cost: 10,
            success_refill: 1,
            refill_interval_ms: const { NonZeroU64::new(1_000).unwrap() },
        }
    }
}

/// Which attempt of its intent a call is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RetryKind {
    /// The first, which costs nothing.
    First,
    /// A later one.
    Again,
    /// A later one, after an attempt that timed out.
    AfterTimeout,
}

/// The tokens that are left for retries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryBudget {
    config: BudgetConfig,
    tokens: u32,
    refilled_at: MonoNanos,
}

impl RetryBudget {
    /// A full budget.
    pub fn new(config: BudgetConfig) -> Self {
        Self { config, tokens: config.tokens_max, refilled_at: MonoNanos(0) }
    }

    /// The tokens left.
    pub fn tokens(&self) -> u32 {
        self.tokens
    }

    /// Whether the budget bears this attempt; nothing is taken.
    ///
    /// # Errors
    /// The moment at which time alone will have refilled enough.
    pub fn check(&mut self, retry: RetryKind, now: MonoNanos) -> Result<(), MonoNanos> {
        self.refill(now);
        match self.cost(retry).checked_sub(self.tokens) {
            None | Some(0) => Ok(()),
            Some(missing) => {
                let wait_ms = self.config.refill_interval_ms.get().saturating_mul(u64::from(missing));
                Err(self.refilled_at.after(Duration::from_millis(wait_ms)))
            }
        }
    }

    /// Pays for this attempt. Call [`RetryBudget::check`] first; what is missing is not owed.
    pub fn take(&mut self, retry: RetryKind) {
        self.tokens = self.tokens.saturating_sub(self.cost(retry));
    }

    /// Takes note of a success.
    pub fn succeeded(&mut self) {
        self.add(self.config.success_refill);
    }

    fn cost(&self, retry: RetryKind) -> u32 {
        let cost = match retry {
            RetryKind::First => 0,
            RetryKind::Again => self.config.retry_cost,
            RetryKind::AfterTimeout => self.config.timeout_retry_cost,
        };
        cost.min(self.config.tokens_max)
    }

    fn add(&mut self, tokens: u32) {
        self.tokens = self.tokens.saturating_add(tokens).min(self.config.tokens_max);
    }

    fn refill(&mut self, now: MonoNanos) {
        let interval = self.config.refill_interval_ms.get().saturating_mul(1_000_000);
        let intervals = now.0.saturating_sub(self.refilled_at.0) / interval;
        self.add(u32::try_from(intervals).unwrap_or(u32::MAX));
        // What is left of the running interval is kept.
        self.refilled_at = MonoNanos(self.refilled_at.0 + intervals * interval);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND: u64 = 1_000_000_000;

    fn spend(budget: &mut RetryBudget, retry: RetryKind, now: MonoNanos) -> Result<(), MonoNanos> {
        budget.check(retry, now)?;
        budget.take(retry);
        Ok(())
    }

    #[test]
    fn twenty_retries_empty_it_and_first_attempts_stay_free() {
        let mut budget = RetryBudget::new(BudgetConfig::default());
        let retries =
            (0..100).take_while(|_| spend(&mut budget, RetryKind::Again, MonoNanos(0)).is_ok()).count();
        assert_eq!(retries, 20);
        assert_eq!(spend(&mut budget, RetryKind::First, MonoNanos(0)), Ok(()));
    }

    #[test]
    fn a_retry_after_a_timeout_costs_twice() {
        let mut budget = RetryBudget::new(BudgetConfig::default());
        spend(&mut budget, RetryKind::AfterTimeout, MonoNanos(0)).unwrap();
        assert_eq!(budget.tokens(), 90);
    }

    #[test]
    fn successes_refill_it_up_to_its_size() {
        let mut budget = RetryBudget::new(BudgetConfig::default());
        spend(&mut budget, RetryKind::Again, MonoNanos(0)).unwrap();
        (0..10).for_each(|_| budget.succeeded());
        assert_eq!(budget.tokens(), 100);
    }

    #[test]
    fn an_empty_budget_says_when_it_bears_a_retry_and_then_does() {
        let mut budget = RetryBudget::new(BudgetConfig::default());
        while spend(&mut budget, RetryKind::Again, MonoNanos(SECOND / 2)).is_ok() {}
        let at = budget.check(RetryKind::Again, MonoNanos(SECOND / 2)).unwrap_err();
        assert_eq!(at, MonoNanos(5 * SECOND));
        assert!(budget.check(RetryKind::Again, MonoNanos(at.0 - 1)).is_err());
        assert_eq!(budget.check(RetryKind::Again, at), Ok(()));
    }

    #[test]
    fn a_price_above_the_size_can_still_be_paid() {
        let config = BudgetConfig { tokens_max: 3, ..BudgetConfig::default() };
        assert_eq!(spend(&mut RetryBudget::new(config), RetryKind::Again, MonoNanos(0)), Ok(()));
    }

    proptest! {
        #[test]
        fn retries_never_exceed_what_size_successes_and_time_pay_for(
            steps in prop::collection::vec((0_u8..3, 0..3 * SECOND), 1..200),
        ) {
            let (mut budget, mut now, mut paid, mut refilled) =
                (RetryBudget::new(BudgetConfig::default()), MonoNanos(0), 0, 0);
            for (kind, passed) in steps {
                now = MonoNanos(now.0 + passed);
                match kind {
                    0 => {
                        budget.succeeded();
                        refilled += 1;
                    }
                    kind => {
                        let (retry, cost) =
                            if kind == 1 { (RetryKind::Again, 5) } else { (RetryKind::AfterTimeout, 10) };
                        match spend(&mut budget, retry, now) {
                            Ok(()) => paid += cost,
                            Err(at) => prop_assert!(at > now),
                        }
                    }
                }
                prop_assert!(budget.tokens() <= 100);
                prop_assert!(paid <= 100 + refilled + now.0 / SECOND);
            }
        }
    }
}
