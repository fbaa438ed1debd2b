//! A stretch of calls into a strategy with all that is needed to make them again, offline: what a recording consists
//! of, and what the dead letter of a failed call holds.

use super::kept::{Again, FeedError, Kept, Terms, call_once};
use crate::market::{Instrument, InstrumentError, Instruments};
use crate::orders::{AgentName, Digest, Fed, OrderIntent, packed};
use crate::plugin::{CallError, ServiceLimits, Setting, Strategy, Telemetry};
use crate::resilience::{Class, Classified};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use thiserror::Error;

/// Calls, the strategy as it was before them, and the call that ended them when one failed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Stretch {
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
    /// Whether they were made on the instance of the stretch before.
    #[serde(default)]
    continues: bool,
    /// What it might keep and say.
    #[serde(default)]
    limits: ServiceLimits,
    kept: Kept,
    /// The call; none when the strategy failed while it saved its state, stopped or started.
    #[serde(with = "packed")]
    failed: Vec<Fed>,
}

/// Why calls cannot be made again.
#[derive(Debug, Error)]
pub enum StretchError {
    /// The bytes are no stretch of this version.
    #[error("expected recorded calls in layout {expected}, found {found}; use the host that wrote them", expected = Stretch::VERSION)]
    Undecodable {
        /// What was found.
        found: String,
    },
    /// The instruments in it contradict each other.
    #[error("the recorded instruments: {0}")]
    Instruments(#[from] InstrumentError),
    /// The strategy does not come to the call: it fails before it, or is another one than it was.
    #[error("the strategy does not come to the failed call: {0}")]
    Before(String),
}

impl Classified for StretchError {
    fn class(&self) -> Class {
        match self {
            Self::Before(_) => Class::Logic,
            _ => Class::State,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Undecodable { .. } => "calls_undecodable",
            Self::Instruments(_) => "calls_instruments",
            Self::Before(_) => "calls_before",
        }
    }
}

/// How calls are made again.
#[derive(Clone, Copy, Debug)]
pub struct Retrace {
    /// Calls up to this number have been counted before.
    pub after: u64,
    /// Whether an instance has to want what was wanted.
    pub exact: bool,
    /// And to use the fuel that was used, as the same component does.
    pub fuel: bool,
}

/// What came of calls that were made again.
#[derive(Debug, Default)]
pub struct Retraced {
    /// How many were made.
    pub calls: u64,
    /// Intents that they wanted.
    pub intents: Vec<(u64, OrderIntent)>,
    /// Fuel that they used, where it is metered.
    pub fuel: u64,
    /// Calls that failed as they had failed.
    pub failed: Vec<(u64, String)>,
    /// The first call that gave something else than it gave.
    pub difference: Option<RetracedDifference>,
}

/// A call that gave something else than it gave.
#[derive(Debug)]
pub struct RetracedDifference {
    /// The call as it was.
    pub fed: Fed,
    /// What it gives now; or how it fails.
    pub found: Result<Vec<OrderIntent>, CallError>,
    /// Fuel that it uses now.
    pub fuel: Option<u64>,
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

impl Stretch {
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
            continues: false,
            kept,
            failed: failed.into_iter().collect(),
        }
    }

    pub(super) fn continuing(self, continues: bool) -> Self {
        Self { continues, ..self }
    }

    /// The bytes that [`Stretch::decode`] reads.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(4_096);
        // Writing to memory cannot fail, and every type in here is representable.
        let _ = ciborium::into_writer(self, &mut bytes);
        bytes
    }

    /// The calls that a letter's payload or a block of a recording holds.
    ///
    /// # Errors
    /// When the bytes are none of this version.
    pub fn decode(payload: &[u8]) -> Result<Self, StretchError> {
        let undecodable = |found: String| StretchError::Undecodable { found };
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

    /// How many calls there are, the failed one among them.
    pub fn calls(&self) -> u64 {
        (self.kept.len() + self.failed.len()) as u64
    }

    /// Calls that belong before the first one here and are not here.
    pub const fn left_out(&self) -> u64 {
        self.kept.dropped
    }

    /// Number of the last call; zero without any.
    pub fn last_call(&self) -> u64 {
        self.failed.first().map_or_else(|| self.kept.last_call(), |failed| failed.call)
    }

    /// Whether the calls were made on the instance that made those of the stretch before: what it remembers besides
    /// its state is known to that one only.
    pub const fn continues(&self) -> bool {
        self.continues
    }

    /// Brings a fresh instance to the first call.
    ///
    /// # Errors
    /// When it does not start from the state that is kept.
    pub fn start(&self, strategy: &mut dyn Strategy) -> Result<(), StretchError> {
        let instruments = Arc::new(Instruments::new(self.instruments.clone())?);
        let started = self.kept.begin(strategy, &self.terms(&instruments));
        started.map_err(|error| StretchError::Before(format!("it does not start: {error}")))
    }

    /// Makes every call again on an instance that has come to the first, and holds it to what it did.
    ///
    /// # Errors
    /// When the instruments contradict each other.
    pub fn retrace(&self, strategy: &mut dyn Strategy, how: Retrace) -> Result<Retraced, StretchError> {
        let instruments = Arc::new(Instruments::new(self.instruments.clone())?);
        // Without the calls before them the strategy is not what it was, and cannot be held to anything.
        let how = Retrace { exact: how.exact && self.kept.is_exact(), ..how };
        Ok(self.kept.retrace(strategy, &self.terms(&instruments), self.failed.first(), how))
    }

    fn terms<'a>(&'a self, instruments: &'a Arc<Instruments>) -> Terms<'a> {
        Terms {
            run_id: self.run_id,
            seed: self.seed,
            live: self.live,
            settings: &self.settings,
            instruments,
            limits: self.limits,
        }
    }

    /// Brings a fresh instance to the call that failed, and makes it.
    ///
    /// # Errors
    /// When the instance does not come to it.
    pub fn replay(&self, strategy: &mut dyn Strategy) -> Result<Replayed, StretchError> {
        let instruments = Arc::new(Instruments::new(self.instruments.clone())?);
        let terms = self.terms(&instruments);
        let again = if self.kept.is_exact() { Again::Same } else { Again::Good };
        let start = (self.kept.next_order, again);
        let revived = self.kept.revive(strategy, &terms, start, &mut Telemetry::default());
        let (mut services, fed) =
            revived.map_err(|error: FeedError| StretchError::Before(error.explain()))?;
        let outcome = self.failed.first().map(|failed| call_once(strategy, failed, &mut services));
        Ok(Replayed {
            before: fed.calls,
            left_out: self.kept.dropped,
            outcome,
            fuel: self.failed.first().and_then(|_| strategy.fuel_used()),
        })
    }
}
