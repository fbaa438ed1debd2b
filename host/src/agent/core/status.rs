//! What an agent's strategy is doing, for people and metrics.

use super::swap::ShadowReport;
use crate::market::MonoNanos;
use crate::orders::Digest;
use crate::plugin::Setting;
use crate::resilience::Failure;

/// Which component an agent runs, and how that goes.
#[derive(Clone, Debug, PartialEq)]
pub struct Status {
    /// The component.
    pub plugin: Digest,
    /// Its settings.
    pub settings: Vec<Setting>,
    /// What it is doing.
    pub strategy: StrategyStatus,
    /// Its strikes within the window.
    pub strikes: u32,
    /// The swap under way.
    pub swap: SwapStage,
}

/// What a strategy is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StrategyStatus {
    /// It is called.
    Running,
    /// It failed, and waits for a new instance.
    Backoff {
        /// Until this moment.
        until: MonoNanos,
        /// How it failed.
        failure: Failure,
    },
    /// A new instance was asked for with [`super::Effect::Instance`].
    Starting,
    /// It is not started again before an operator says so.
    Quarantined {
        /// Why.
        failure: Failure,
    },
}

impl StrategyStatus {
    /// A stable name used in logs, metrics and files.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Backoff { .. } => "backoff",
            Self::Starting => "starting",
            Self::Quarantined { .. } => "quarantined",
        }
    }
}

/// How far a swap has come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum SwapStage {
    /// There is none.
    #[default]
    None,
    /// A candidate runs beside the strategy.
    Shadowing {
        /// The request.
        number: u64,
        /// The candidate's component.
        plugin: Digest,
        /// Ticks that are left.
        ticks_left: u64,
        /// The difference so far.
        report: ShadowReport,
    },
    /// The switch is being made durable; no strategy is called.
    Switching {
        /// The request.
        number: u64,
        /// The component that takes over.
        plugin: Digest,
    },
    /// The component before can come back.
    Probation {
        /// The request.
        number: u64,
        /// The component before.
        from: Digest,
        /// Ticks that are left.
        ticks_left: u64,
    },
}
