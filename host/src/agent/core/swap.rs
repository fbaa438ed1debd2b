//! Exchanging the component of a running agent: what the shell brings, and what it is told.

use crate::orders::{Digest, OrderIntent, SwapReason};
use crate::plugin::{Setting, Strategy};
use crate::resilience::Failure;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::num::NonZeroU64;

/// A component that is to take the place of the one that runs. Every instance is fresh: compiled, instantiated,
/// and not initialised.
pub struct Candidate {
    /// Number of the request, unique within a run; every answer names it.
    pub number: u64,
    /// The instance that takes over.
    pub strategy: Box<dyn Strategy>,
    /// Digest of its component.
    pub plugin: Digest,
    /// Its settings; they need not be those of the configuration.
    pub settings: Vec<Setting>,
    /// An instance that runs beside the old one first.
    pub shadow: Option<Shadow>,
    /// Ticks after the switch in which the old component comes back by itself when this one fails; zero for none.
    pub probation_ticks: u64,
    /// Another instance of the component that runs now, for that. Needed when `probation_ticks` is above zero.
    pub standby: Option<Box<dyn Strategy>>,
    /// Begin without state, whatever the old one keeps.
    pub fresh: bool,
    /// Why this happens.
    pub reason: SwapReason,
    /// The operator's words.
    pub note: String,
}

/// An instance that is called with everything that the running one is called with, and that is not obeyed.
pub struct Shadow {
    /// A second instance of the candidate's component.
    pub strategy: Box<dyn Strategy>,
    /// For how many ticks.
    pub ticks: NonZeroU64,
}

impl fmt::Debug for Candidate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Candidate")
            .field("number", &self.number)
            .field("plugin", &self.plugin)
            .field("shadow_ticks", &self.shadow.as_ref().map(|shadow| shadow.ticks))
            .field("probation_ticks", &self.probation_ticks)
            .field("fresh", &self.fresh)
            .field("reason", &self.reason)
            .finish_non_exhaustive()
    }
}

/// News of a swap. The last one about a request is `Refused`, `Committed` or `Returned`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SwapNews {
    /// The request that it is about.
    pub number: u64,
    /// What happened.
    pub event: SwapEvent,
}

/// What became of a swap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SwapEvent {
    /// The candidate is called beside the running component from now on.
    Shadowing,
    /// The shadow has ended; the switch follows, or a refusal.
    Shadowed(ShadowReport),
    /// The switch is durable: calls after `call` go to the new component.
    Switched {
        /// The component before.
        from: Digest,
        /// The component now.
        to: Digest,
        /// Number of the last call before it.
        call: u64,
        /// Ticks of probation that follow.
        probation_ticks: u64,
        /// How long the agent called nothing: from saving the state of the one to its record being durable.
        paused_us: u64,
    },
    /// Nothing was changed, and why.
    Refused(Failure),
    /// The component before is back, durably.
    Returned {
        /// The component that left.
        from: Digest,
        /// The component that is back.
        to: Digest,
        /// Why.
        reason: SwapReason,
        /// In words: how the other failed, or the operator's note.
        note: String,
        /// Calls since the switch that it was given again.
        fed: u64,
    },
    /// The probation is over, and the component before is dropped.
    Committed {
        /// The component that stays.
        plugin: Digest,
    },
}

/// What a candidate did beside the running component.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShadowReport {
    /// Ticks that both were given.
    pub ticks: u64,
    /// Calls that both were given, ticks among them.
    pub calls: u64,
    /// Calls after which they wanted different things, or only one of them failed.
    pub differing: u64,
    /// Intents of the running component.
    pub intents_running: u64,
    /// Intents of the candidate; none was judged or sent.
    pub intents_candidate: u64,
    /// The first difference.
    pub first: Option<ShadowDifference>,
}

/// One call to which two components answered differently.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShadowDifference {
    /// Number of the call.
    pub call: u64,
    /// What the running component answered.
    pub running: ShadowAnswer,
    /// What the candidate answered.
    pub candidate: ShadowAnswer,
}

/// What one side answered to a call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ShadowAnswer {
    /// What it wanted.
    Wanted(Vec<OrderIntent>),
    /// Why it wanted nothing, in words.
    Failed(String),
}
