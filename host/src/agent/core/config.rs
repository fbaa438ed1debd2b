//! What the core of one agent is configured with.

use crate::market::{Instruments, Money};
use crate::orders::{AgentName, Digest, RiskLimits};
use crate::plugin::Setting;
use crate::resilience::{DegradationConfig, RetryConfig};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// What happens to an agent's orders and positions when its strategy is halted or the agent stops.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FailAction {
    /// Nothing: orders rest, positions stay.
    Hold,
    /// Cancel working orders. The default: an order that nobody watches is a risk, a position may be a plan.
    #[default]
    Cancel,
    /// Cancel working orders and close positions at the market.
    Flatten,
}

/// Which clock a strategy is told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TimeSource {
    /// The wall clock: for data that happens now.
    #[default]
    Wall,
    /// The stamps of the data: for recorded data, whatever the speed of its replay.
    Data,
}

/// Limits of the core itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CoreLimits {
    /// Intents that one call may return. 64 lets a strategy replace a whole ladder of quotes at once.
    pub intents_per_call_max: u32,
    /// Calls with intents that may follow from one piece of news: the call that hears it, the calls that hear
    /// what became of its intents on the spot, and so on. 256 is four answers to every intent of the largest
    /// call; a strategy that goes beyond answers every refusal with another refused order, and would fill
    /// the journal for ever.
    pub calls_per_event_max: u32,
    /// Explained refusals in a row after which a strategy is halted: it is not going to recover.
    pub faults_in_a_row_max: u32,
    /// Age of the newest checkpoint at which another is written although nothing changed.
    pub checkpoint_interval_ms: u64,
    /// How long a stopping agent waits for its open intents before it leaves them to the next start.
    pub drain_ms_max: u64,
    /// How far apart two denials of the venue must be to count as proof that an intent never arrived.
    /// Default 2,000: a venue may be eventually consistent, and answer reads from a copy that is this far
    /// behind its orders.
    pub settle_ms: u64,
    /// Time between two rounds of cancels or closing orders while an agent is wound down. Default 2,000:
    /// longer than the interval at which a venue without a stream is asked for its updates.
    pub closing_round_ms: u64,
    /// Questions about one intent in a row before it becomes a dead letter. Default 8: with the default
    /// delays of the retries that bridges an outage of about a minute, and a proof takes at most three.
    pub queries_max: u32,
    /// Bytes of saved strategy state that a checkpoint takes.
    pub state_bytes_max: usize,
}

impl Default for CoreLimits {
    fn default() -> Self {
        Self {
            intents_per_call_max: 64,
            calls_per_event_max: 256,
            faults_in_a_row_max: 10,
            checkpoint_interval_ms: 30_000,
            drain_ms_max: 30_000,
            settle_ms: 2_000,
            closing_round_ms: 2_000,
            queries_max: 8,
            state_bytes_max: 1 << 20,
        }
    }
}

/// Everything that decides what the core of one agent does, besides the events it is given.
#[derive(Clone, Debug)]
pub struct CoreConfig {
    /// Its name; part of every key.
    pub name: AgentName,
    /// Raised by an operator when the agent's memory was lost; part of every key.
    pub incarnation: u32,
    /// Digest of the component; part of every key.
    pub plugin: Digest,
    /// What it may trade.
    pub instruments: Arc<Instruments>,
    /// Settings of the strategy.
    pub settings: Vec<Setting>,
    /// Cash when it runs for the first time.
    pub cash: Money,
    /// Seed of the strategy's random numbers and of the retry jitter.
    pub seed: u64,
    /// Number of the run, told to the strategy.
    pub run_id: u64,
    /// Whether orders go to a venue, told to the strategy.
    pub live: bool,
    /// Which clock is "now" for the strategy.
    pub time: TimeSource,
    /// The risk gate.
    pub risk: RiskLimits,
    /// Retries.
    pub retry: RetryConfig,
    /// Modes.
    pub degradation: DegradationConfig,
    /// Limits of the core itself.
    pub limits: CoreLimits,
    /// When the strategy is halted.
    pub on_halt: FailAction,
    /// When the agent stops in order.
    pub on_stop: FailAction,
}
