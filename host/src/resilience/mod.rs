//! What happens when something fails: one policy a module, each a pure state machine that takes `now`.
//!
//! * [`Breaker`], [`Limiter`] and [`RetryBudget`] decide whether a call may be made; [`Gate`] joins them for
//!   one venue.
//! * [`RetryConfig`] decides when an intent is tried again, and when it is given up.
//! * [`Degradation`] decides how much an agent may do at all.
//!
//! None of them reads a clock or a random source: both are given, so that a replay decides the same.

mod breaker;
mod budget;
mod degradation;
mod failure;
mod gate;
mod limiter;
mod mode;
mod permille;
mod retry;
mod retry_after;

pub use breaker::{
    Breaker, BreakerConfig, BreakerState, BreakerStats, Permit, Refused, RefusedBecause, Traffic, Transition,
    Verdict, verdict_of, verdict_of_status,
};
pub use budget::{BudgetConfig, Retry, RetryBudget};
pub use degradation::{
    BandError, Cause, Degradation, DegradationConfig, DegradationState, DrawdownBand, FlowError, ModeChange,
    Signals,
};
pub use failure::{Class, Classified, Failure, Phase};
pub use gate::{Gate, GateConfig, GateStats, Refusal, RefusalReason};
pub use limiter::{Limiter, LimiterConfig};
pub use mode::Mode;
pub use permille::{Permille, PermilleError};
pub use retry::{Attempts, Decision, Exhausted, RetryConfig, full_jitter, never_retried};
pub use retry_after::{RETRY_AFTER_MAX, parse_retry_after};
