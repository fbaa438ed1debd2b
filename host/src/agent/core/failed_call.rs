//! What a dead letter of a failed call holds: enough to make the call again, offline.

use super::kept::{Again, FeedError, Kept, Terms, call_once};
use crate::market::{Instrument, InstrumentError, Instruments};
use crate::orders::{AgentName, Digest, Fed, OrderIntent, packed};
use crate::plugin::{CallError, ServiceLimits, Setting, Strategy, Telemetry};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use thiserror::Error;

/// A call that failed, and the strategy as it was before it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct FailedCall {
    version: u32,
    /// Whose call.
    pub agent: AgentName,
    /// The component.
    pub plugin: Digest,
    /// Its settings.
    pub settings: Vec<Setting>,
    run_id: u64,
    seed: u64,
    live: bool,
    instruments: Vec<Instrument>,
    /// What it might keep and say.
    #[serde(default)]
    limits: ServiceLimits,
    kept: Kept,
    /// The call; none when the strategy failed while it saved its state, stopped or started.
    #[serde(with = "packed")]
    failed: Vec<Fed>,
}

/// Why a failed call cannot be made again.
#[derive(Debug, Error)]
pub enum FailedCallError {
    /// The bytes are no failed call of this version.
    #[error("expected a failed call in layout {expected}, found {found}; use the host that wrote the letter", expected = FailedCall::VERSION)]
    Undecodable {
        /// What was found.
        found: String,
    },
    /// The instruments in it contradict each other.
    #[error("the letter's instruments: {0}")]
    Instruments(#[from] InstrumentError),
    /// The strategy does not come to the call: it fails before it, or is another one than it was.
    #[error("the strategy does not come to the failed call: {0}")]
    Before(String),
}

/// What came of a failed call that was made again.
#[derive(Debug)]
pub struct Replayed {
    /// Calls that were made before it, since the last saved state.
    pub before: u64,
    /// Calls between that state and those that are not in the letter. Unless it is zero, the strategy is not in the
    /// state in which it failed.
    pub left_out: u64,
    /// What the call gave; `None` when no call failed, but a start, a save or a stop.
    pub outcome: Option<Result<Vec<OrderIntent>, CallError>>,
    /// Fuel that it used, where it is metered.
    pub fuel: Option<u64>,
}

impl FailedCall {
    /// Layout written by this host.
    pub const VERSION: u32 = 1;

    pub(super) fn new(
        (agent, plugin): (AgentName, Digest),
        terms: &Terms<'_>,
        kept: Kept,
        failed: Option<Fed>,
    ) -> Self {
        Self {
            version: Self::VERSION,
            agent,
            plugin,
            settings: terms.settings.to_vec(),
            run_id: terms.run_id,
            seed: terms.seed,
            live: terms.live,
            instruments: terms.instruments.iter().map(|(_, instrument)| instrument.clone()).collect(),
            limits: terms.limits,
            kept,
            failed: failed.into_iter().collect(),
        }
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(4_096);
        // Writing to memory cannot fail, and every type in here is representable.
        let _ = ciborium::into_writer(self, &mut bytes);
        bytes
    }

    /// The failed call that a letter's payload holds.
    ///
    /// # Errors
    /// When the bytes are none of this version.
    pub fn decode(payload: &[u8]) -> Result<Self, FailedCallError> {
        let undecodable = |found: String| FailedCallError::Undecodable { found };
        let call: Self = ciborium::from_reader(payload).map_err(|error| undecodable(error.to_string()))?;
        if call.version != Self::VERSION {
            return Err(undecodable(format!("layout {}", call.version)));
        }
        Ok(call)
    }

    /// The call that failed.
    pub fn failed(&self) -> Option<&Fed> {
        self.failed.first()
    }

    /// Brings a fresh instance to the call, and makes it.
    ///
    /// # Errors
    /// When the instance does not come to it.
    pub fn replay(&self, strategy: &mut dyn Strategy) -> Result<Replayed, FailedCallError> {
        let instruments = Arc::new(Instruments::new(self.instruments.clone())?);
        let terms = Terms {
            run_id: self.run_id,
            seed: self.seed,
            live: self.live,
            settings: &self.settings,
            instruments: &instruments,
            limits: self.limits,
        };
        let again = if self.kept.dropped == 0 { Again::Same } else { Again::Good };
        let start = (self.kept.next_order, again);
        let revived = self.kept.revive(strategy, &terms, start, &mut Telemetry::default());
        let (mut services, fed) =
            revived.map_err(|error: FeedError| FailedCallError::Before(error.explain()))?;
        let outcome = self.failed.first().map(|failed| call_once(strategy, failed, &mut services));
        Ok(Replayed {
            before: fed.calls,
            left_out: self.kept.dropped,
            outcome,
            fuel: self.failed.first().and_then(|_| strategy.fuel_used()),
        })
    }
}
