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
pub mod checkpoint;
mod dead_letter;
mod dead_letter_store;
mod degradation;
mod disk;
mod failure;
mod gate;
mod limit;
mod limiter;
mod mode;
mod permille;
mod retry;
mod retry_after;
mod shared;

pub use breaker::{
    Breaker, BreakerConfig, BreakerState, BreakerStats, Permit, Refused, RefusedBecause, Traffic, Transition,
    Verdict, verdict_of, verdict_of_status,
};
pub use budget::{BudgetConfig, RetryBudget, RetryKind};
pub use checkpoint::{
    Checkpoint, CheckpointConfig, CheckpointError, CheckpointFault, CheckpointHeader, CheckpointPoint,
    CheckpointStore, Loaded, SetAside, Verified,
};
pub use dead_letter::{
    DeadLetter, LetterAlert, LetterAlertConfig, LetterCounts, LetterError, LetterId, LetterKind,
    LetterRefusal, LetterState, LetterStatus, LetterWatch, NewLetter, database_alert, letter_alerts,
};
pub use dead_letter_store::{DeadLetterStore, DeadLetterStoreConfig, EnvelopeFault, Opened, StoreError};
pub use degradation::{
    BandError, Degradation, DegradationConfig, DegradationState, DrawdownBand, FlowError, ModeCause,
    ModeChange, Signals,
};
#[cfg(test)]
pub use disk::MemoryDisk;
pub use disk::{
    BLOCK_BYTES, DirLock, Disk, DiskError, DiskFile, DiskOperation, Fault, FaultDisk, FaultKind, LockError,
    RealDisk,
};
pub use failure::{Class, Classified, Failure, Phase};
pub use gate::{Gate, GateConfig, GateStats, Refusal, RefusalReason};
pub use limit::LimitFault;
pub use limiter::{Limiter, LimiterConfig};
pub use mode::Mode;
pub use permille::{Permille, PermilleError};
pub use retry::{Attempts, Exhausted, RetryConfig, RetryDecision, full_jitter, never_retried};
pub use retry_after::{RETRY_AFTER_MAX, parse_retry_after};
pub use shared::{Admission, SharedGate};
