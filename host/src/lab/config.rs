//! What a run is configured with.

use super::exchange::Model;
use crate::agent::core::{CoreConfig, CoreLimits, FailAction, Supervision, TimeSource};
use crate::market::{CheckConfig, Instruments, Money};
use crate::orders::{AgentName, Digest, RiskLimits};
use crate::plugin::Setting;
use crate::resilience::{DegradationConfig, RetryConfig};
use std::num::NonZeroU32;
use std::sync::Arc;

/// What a run is made of, besides the strategy and the data.
#[derive(Clone, Debug)]
pub struct LabConfig {
    /// What may be traded.
    pub instruments: Arc<Instruments>,
    /// Settings of the strategy.
    pub settings: Vec<Setting>,
    /// Cash at the start.
    pub cash: Money,
    /// Seed of the strategy's random numbers.
    pub seed: u64,
    /// The risk gate, as live.
    pub risk: RiskLimits,
    /// Modes, as live.
    pub degradation: DegradationConfig,
    /// Limits of the core, as live. The interval of checkpoints has no meaning here.
    pub limits: CoreLimits,
    /// Data checks, as live; the wall clock says nothing about recorded data.
    pub market: CheckConfig,
    /// What happens when the strategy is halted.
    pub on_halt: FailAction,
    /// The exchange.
    pub model: Model,
    /// Whether points for a report are kept. Every update is then shown by itself.
    pub charts: bool,
    /// Whether many updates may be shown in one crossing, where that comes to the same.
    pub batch: bool,
}

impl LabConfig {
    /// The defaults of a live agent, for these instruments and this much cash.
    pub fn new(instruments: Arc<Instruments>, cash: Money) -> Self {
        Self {
            instruments,
            settings: Vec::new(),
            cash,
            seed: 0,
            risk: RiskLimits::default(),
            degradation: DegradationConfig::default(),
            limits: CoreLimits::default(),
            market: CheckConfig::default(),
            on_halt: FailAction::default(),
            model: Model::default(),
            charts: false,
            batch: true,
        }
    }

    pub(super) fn core(&self, plugin: Digest, name: AgentName) -> CoreConfig {
        CoreConfig {
            name,
            incarnation: 1,
            plugin,
            configured: None,
            instruments: Arc::clone(&self.instruments),
            settings: self.settings.clone(),
            cash: self.cash,
            seed: self.seed,
            run_id: self.seed,
            live: false,
            time: TimeSource::Data,
            record_inputs: false,
            risk: self.risk.clone(),
            retry: RetryConfig::default(),
            degradation: self.degradation,
            // A failure is a finding: what a new instance would have done after it says nothing about the strategy.
            supervision: Supervision { strikes_max: NonZeroU32::MIN, ..Supervision::default() },
            limits: self.limits.clone(),
            on_halt: self.on_halt,
            // The end of the data is no reason to trade: what is held is valued at its last price.
            on_stop: FailAction::Hold,
        }
    }
}
