//! One component in the place of another, as the journal keeps it.

use super::{Digest, OrderId};
use crate::market::{BarBuilder, InstrumentId, UnixNanos};
use crate::plugin::{Memory, Setting, StateSnapshot};
use serde::{Deserialize, Serialize};

/// Everything that a start needs in order to run the component that took over, from the moment at which it did.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Swap {
    /// The component before.
    pub from: Digest,
    /// The component now.
    pub to: Digest,
    /// Its settings.
    pub settings: Vec<Setting>,
    /// Digest of what it was initialised with.
    pub terms: Digest,
    /// Number of the last call before the switch.
    pub call: u64,
    /// The moment that it was told at its start.
    pub now: UnixNanos,
    /// First order number that had not been used.
    pub next_order: u64,
    /// The state that it was given; none when it began without.
    pub state: Option<StateSnapshot>,
    /// How many of the calls before the switch the instance remembers that one with this state does not.
    #[serde(default)]
    pub forgot: u64,
    /// What the strategy keeps with the host, as the first call found it.
    pub memory: Memory,
    /// Orders that it wanted when it was given calls again that another component had been given: none was sent,
    /// and it is told so.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub suppressed: Vec<(InstrumentId, OrderId)>,
    /// The bars that are built for it, as far as they are.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub bars: Vec<BarBuilder>,
    /// Why.
    pub reason: SwapReason,
    /// Number of the request.
    pub request: u64,
    /// The operator's words, or how the component before failed.
    pub note: String,
}

/// Why a component took the place of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SwapReason {
    /// An operator wanted it.
    Operator,
    /// The watched file changed.
    File,
    /// An operator wanted the component back that ran before.
    Rollback,
    /// It failed in its probation, and the one before it came back.
    ProbationFailed,
}
