//! What a checkpoint holds.

use super::succession::Succession;
use super::{CoreConfig, RecoverError};
use crate::market::{BarBuilder, InstrumentId, PriceTicks, UnixNanos};
use crate::orders::{AgentName, Books, Digest, Fed, Ledger, StrategyEvent, packed};
use crate::plugin::{Memory, Services, Setting, StateSnapshot};
use crate::resilience::{DegradationState, Failure};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// What a checkpoint holds. Maps are sorted and money is text, so equal states are equal bytes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// Version of this layout.
    pub version: u32,
    /// Whose state.
    pub agent: AgentName,
    /// The incarnation it ran under.
    pub incarnation: u32,
    /// The component that ran last.
    pub plugin: Digest,
    /// Symbols in the order of their instrument ids.
    pub symbols: Vec<String>,
    /// Number of the last record that the state contains.
    pub number: u64,
    /// Number of the last call into the strategy.
    pub call: u64,
    /// Number of the venue's last change seen.
    pub cursor: u64,
    /// Closing orders the host has made.
    pub host_orders: u64,
    /// Whether the strategy was not running. Of a state that an older host wrote it says that the strategy was
    /// halted, which ended with that run.
    pub halted: bool,
    /// Cash and positions.
    pub books: Books,
    /// What the strategy keeps with the host.
    pub memory: Memory,
    /// Intents and orders.
    pub ledger: Ledger,
    /// Modes, with the peak of equity.
    pub modes: DegradationState,
    /// The strategy's own state.
    pub strategy: Option<StateSnapshot>,
    /// Number of the last call that is in the strategy's own state; zero without one.
    #[serde(default)]
    pub saved_at: u64,
    /// The highest order number that the strategy has used.
    #[serde(default)]
    pub last_order: u64,
    /// Time as the strategy was told it last.
    #[serde(default)]
    pub now: UnixNanos,
    /// Calls in this state that were not durable in the journal when it was taken: a start from an older
    /// state needs them there.
    #[serde(default, with = "packed")]
    pub unjournaled: Vec<Fed>,
    /// News of orders that came when the strategy was not called any more; it is told at the next start.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub untold: Vec<(InstrumentId, StrategyEvent)>,
    /// Prices in the books that came with no call, and not before the last one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub marked: Vec<(InstrumentId, PriceTicks)>,
    /// Digest of what the strategy was initialised with.
    #[serde(default)]
    pub terms: Option<Digest>,
    /// The bars that were being built.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub bars: Vec<BarBuilder>,
    /// The settings of the component that ran.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settings: Option<Vec<Setting>>,
    /// Digest of what the configuration named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub configured: Option<Digest>,
    /// What it runs and ran before.
    #[serde(default)]
    pub succession: Succession,
    /// When the strategy failed within the window, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub strikes: Vec<UnixNanos>,
    /// Why the strategy is quarantined, if it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quarantine: Option<Failure>,
}

impl State {
    /// Layout written by this host.
    pub const VERSION: u32 = 1;

    /// The state that a checkpoint's payload holds.
    ///
    /// # Errors
    /// When the bytes are no state of this version.
    pub fn decode(agent: &AgentName, payload: &[u8]) -> Result<Self, RecoverError> {
        let undecodable = |reason: String| RecoverError::Undecodable { agent: agent.clone(), reason };
        let state: Self = ciborium::from_reader(payload).map_err(|error| undecodable(error.to_string()))?;
        if state.version != Self::VERSION {
            return Err(undecodable(format!("layout {} instead of {}", state.version, Self::VERSION)));
        }
        Ok(state)
    }

    pub(super) fn first_run(config: &CoreConfig) -> Self {
        let instruments = &config.instruments;
        Self {
            version: Self::VERSION,
            agent: config.name.clone(),
            incarnation: config.incarnation,
            plugin: config.plugin,
            symbols: instruments.iter().map(|(_, instrument)| instrument.symbol.clone()).collect(),
            number: 0,
            call: 0,
            cursor: 0,
            host_orders: 0,
            halted: false,
            books: Books::new(config.cash, instruments.len()),
            memory: Services::new(Books::default(), Arc::clone(instruments), config.seed).memory().clone(),
            ledger: Ledger::default(),
            modes: DegradationState::default(),
            strategy: None,
            saved_at: 0,
            last_order: 0,
            now: UnixNanos(0),
            unjournaled: Vec::new(),
            untold: Vec::new(),
            marked: Vec::new(),
            terms: Some(config.terms()),
            bars: Vec::new(),
            settings: None,
            configured: None,
            succession: Succession::default(),
            strikes: Vec::new(),
            quarantine: None,
        }
    }

    pub(super) fn check_belongs(&self, config: &CoreConfig) -> Result<(), RecoverError> {
        if self.agent != config.name {
            return Err(mismatch(config, "the agent", self.agent.to_string(), config.name.to_string()));
        }
        check_belongs(config, self.incarnation, &self.symbols)
    }
}

fn mismatch(config: &CoreConfig, what: &'static str, found: String, configured: String) -> RecoverError {
    RecoverError::Mismatch { agent: config.name.clone(), what, found, configured }
}

/// Instrument ids are positions, so another order of symbols would book fills on the wrong instrument; a
/// lower incarnation would use old keys again.
pub(super) fn check_belongs(
    config: &CoreConfig,
    incarnation: u32,
    symbols: &[String],
) -> Result<(), RecoverError> {
    let configured: Vec<_> =
        config.instruments.iter().map(|(_, instrument)| instrument.symbol.as_str()).collect();
    if symbols != configured {
        return Err(mismatch(config, "the list of instruments", symbols.join(","), configured.join(",")));
    }
    if incarnation > config.incarnation {
        let (found, configured) = (incarnation.to_string(), config.incarnation.to_string());
        return Err(mismatch(config, "the incarnation", found, configured));
    }
    Ok(())
}
