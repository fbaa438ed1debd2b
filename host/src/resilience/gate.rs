//! The gate of one venue: breakers, rate limit and retry budget, asked in one place and in one order.
//!
//! The breaker is asked first and the limiter last, so that a call which the breaker or the budget refuses
//! takes nothing from the rate limit. A refusal is not an attempt: nothing was sent.

#[cfg(test)]
mod tests;

use super::{
    Breaker, BreakerConfig, BreakerState, BreakerStats, BudgetConfig, Class, Classified, Limiter,
    LimiterConfig, Permit, Refused, RetryBudget, RetryKind, Traffic, Transition, Verdict,
};
use crate::market::MonoNanos;
use crate::random::SplitMix64;
use serde::{Deserialize, Serialize};
use std::time::Duration;
use thiserror::Error;

/// Limits of all calls to one venue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GateConfig {
    /// Breaker of the calls that change something.
    pub write: BreakerConfig,
    /// Breaker of the calls that change nothing. Apart from the other: a venue often still answers questions
    /// when it no longer takes orders, and the answers are needed most then.
    pub read: BreakerConfig,
    /// Rate limit of both together, since venues count both.
    pub limiter: LimiterConfig,
    /// Retries of the calls that change something.
    pub budget: BudgetConfig,
}

/// Why the gate refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RefusalReason {
    /// The breaker is not closed.
    BreakerOpen,
    /// The rate limit is reached, or the venue asked for a pause.
    RateLimited,
    /// Too many retries.
    BudgetSpent,
}

/// A refusal: nothing was sent, and no attempt was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the gate refuses the call ({}), ask again at {} ns of the host's clock", self.code(), retry_at.0)]
pub struct Refusal {
    /// Not worth asking before.
    pub retry_at: MonoNanos,
    /// Why.
    pub reason: RefusalReason,
}

impl Classified for Refusal {
    fn class(&self) -> Class {
        match self.reason {
            RefusalReason::BreakerOpen => Class::Network,
            RefusalReason::RateLimited | RefusalReason::BudgetSpent => Class::Resource,
        }
    }

    fn code(&self) -> &'static str {
        match self.reason {
            RefusalReason::BreakerOpen => "breaker_open",
            RefusalReason::RateLimited => "rate_limited",
            RefusalReason::BudgetSpent => "retry_budget_spent",
        }
    }
}

impl From<Refused> for Refusal {
    fn from(refused: Refused) -> Self {
        Self { retry_at: refused.retry_at, reason: RefusalReason::BreakerOpen }
    }
}

/// What a gate has counted since it was made, and where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct GateStats {
    /// State of the write breaker.
    pub write_state: BreakerState,
    /// Counts of the write breaker; its probe is one of the calls.
    pub write: BreakerStats,
    /// State of the read breaker.
    pub read_state: BreakerState,
    /// Counts of the read breaker.
    pub read: BreakerStats,
    /// Calls refused by the rate limit or a pause.
    pub rate_limited: u64,
    /// Retries refused by the budget.
    pub budget_refused: u64,
    /// Tokens left for retries.
    pub budget_tokens: u32,
}

/// Everything that stands between the host and one venue.
#[derive(Debug)]
pub struct Gate {
    write: Breaker,
    read: Breaker,
    limiter: Limiter,
    budget: RetryBudget,
    random: SplitMix64,
    /// When the limiter will bear the probe that it refused.
    probe_not_before: MonoNanos,
    rate_limited: u64,
    budget_refused: u64,
}

impl Gate {
    /// An open gate. The seed decides the jitter of the open times.
    pub fn new(config: GateConfig, seed: u64) -> Self {
        Self {
            write: Breaker::new(config.write, Traffic::Write),
            read: Breaker::new(config.read, Traffic::Read),
            limiter: Limiter::new(config.limiter),
            budget: RetryBudget::new(config.budget),
            random: SplitMix64(seed),
            probe_not_before: MonoNanos(0),
            rate_limited: 0,
            budget_refused: 0,
        }
    }

    /// Asks for leave to make one call that changes something.
    ///
    /// # Errors
    /// A [`Refusal`]: wait until its `retry_at` without counting an attempt.
    pub fn admit_write(&mut self, now: MonoNanos, retry: RetryKind) -> Result<Permit, Refusal> {
        let permit = self.write.admit(now, &mut self.random)?;
        let paid = self.pay(now, retry);
        self.permit_if(permit, paid)
    }

    /// Asks for leave to make one call that changes nothing.
    ///
    /// # Errors
    /// A [`Refusal`]: wait until its `retry_at` without counting an attempt.
    pub fn admit_read(&mut self, now: MonoNanos) -> Result<Permit, Refusal> {
        let permit = self.read.admit(now, &mut self.random)?;
        let paid = self.pay(now, RetryKind::First);
        self.permit_if(permit, paid)
    }

    /// The permit for the one safe read that finds out whether the venue takes orders again. `None` when
    /// there is no need for it, when it is under way, or when the rate limit does not bear it yet
    /// ([`Gate::next_wake`] then says when).
    pub fn take_probe(&mut self, now: MonoNanos) -> Option<Permit> {
        if !self.write.probe_due(now) {
            return None;
        }
        if let Err(refusal) = self.pay(now, RetryKind::First) {
            self.probe_not_before = refusal.retry_at;
            return None;
        }
        self.write.take_probe(now, &mut self.random)
    }

    /// Takes the verdict on one call. A venue that fails or throttles and says how long it wants to be left
    /// alone is left alone that long by all calls.
    pub fn report(
        &mut self,
        permit: Permit,
        verdict: Verdict,
        latency: Duration,
        retry_after: Option<Duration>,
        now: MonoNanos,
    ) -> Option<Transition> {
        if let (Some(wait), Verdict::Failure | Verdict::Excluded) = (retry_after, verdict) {
            self.limiter.pause_until(now.after(wait));
        }
        if (permit.traffic(), verdict) == (Traffic::Write, Verdict::Success) {
            self.budget.succeeded();
        }
        let random = &mut self.random;
        let breaker = match permit.traffic() {
            Traffic::Write => &mut self.write,
            Traffic::Read => &mut self.read,
        };
        breaker.report(permit, verdict, latency, retry_after, now, random)
    }

    /// Gives a permit back because nothing was sent. What the rate limit gave is not returned.
    pub fn cancel(&mut self, permit: Permit) {
        match permit.traffic() {
            Traffic::Write => self.write.cancel(permit),
            Traffic::Read => self.read.cancel(permit),
        }
    }

    /// Applies what time alone changes, one change a call: call it until it returns `None` when
    /// [`Gate::next_wake`] has come. The other methods apply the same by themselves, but then nobody gets the
    /// record.
    pub fn advance(&mut self, now: MonoNanos) -> Option<Transition> {
        self.write.advance(now, &mut self.random).or_else(|| self.read.advance(now, &mut self.random))
    }

    /// Refuses all writes until [`Gate::release_writes`], at the operator's word.
    pub fn force_open_writes(&mut self, now: MonoNanos) -> Option<Transition> {
        self.write.force_open(now)
    }

    /// Takes back [`Gate::force_open_writes`]: a probe then decides.
    pub fn release_writes(&mut self, now: MonoNanos) -> Option<Transition> {
        self.write.release(now)
    }

    /// Whether the write breaker refuses ordinary calls: anything but closed, since a venue that is being
    /// probed takes no order yet. Time alone never closes a breaker, so this holds at any moment.
    pub fn write_open(&self) -> bool {
        !self.write.is_closed()
    }

    /// When to call [`Gate::advance`] and [`Gate::take_probe`] next: now, or a moment to come, or never as
    /// things stand.
    pub fn next_wake(&self, now: MonoNanos) -> Option<MonoNanos> {
        let mut write = self.write.wake_at();
        if self.write.probe_due(now) {
            write = write.map(|at| at.max(self.probe_not_before));
        }
        write.into_iter().chain(self.read.wake_at()).min().map(|at| at.max(now))
    }

    /// What has been counted, and where the breakers stand.
    pub fn stats(&self, now: MonoNanos) -> GateStats {
        GateStats {
            write_state: self.write.state(now),
            write: self.write.stats(),
            read_state: self.read.state(now),
            read: self.read.stats(),
            rate_limited: self.rate_limited,
            budget_refused: self.budget_refused,
            budget_tokens: self.budget.tokens(),
        }
    }

    /// Takes what a call costs from budget and limiter: from both or from none.
    fn pay(&mut self, now: MonoNanos, retry: RetryKind) -> Result<(), Refusal> {
        self.budget.check(retry, now).map_err(|retry_at| {
            self.budget_refused += 1;
            Refusal { retry_at, reason: RefusalReason::BudgetSpent }
        })?;
        self.limiter.admit(now).map_err(|retry_at| {
            self.rate_limited += 1;
            Refusal { retry_at, reason: RefusalReason::RateLimited }
        })?;
        self.budget.take(retry);
        Ok(())
    }

    fn permit_if(&mut self, permit: Permit, paid: Result<(), Refusal>) -> Result<Permit, Refusal> {
        match paid {
            Ok(()) => Ok(permit),
            Err(refusal) => {
                // It may be the one probe of the read breaker.
                self.cancel(permit);
                Err(refusal)
            }
        }
    }
}
