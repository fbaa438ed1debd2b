//! What is ordered about a component, and why it is not done.

use super::super::settings::SettingError;
use crate::orders::{AgentName, Digest};
use crate::resilience::{Class, Classified};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::path::PathBuf;
use thiserror::Error;

/// An order to let another component take over.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SwapOrder {
    /// Its file, which the host can read; absolute, since the host has a folder of its own.
    pub component: PathBuf,
    /// The digest that it must have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<Digest>,
    /// All of its settings; without them those that are in force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settings: Option<Map<String, Value>>,
    /// Settings in which it differs from these.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub set: Map<String, Value>,
    /// Ticks for which it runs beside the strategy first; otherwise as configured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shadow_ticks: Option<u64>,
    /// Ticks in which the component before comes back by itself when it fails; otherwise as configured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probation_ticks: Option<u64>,
    /// Begin without the state of the component before.
    #[serde(default)]
    pub fresh: bool,
    /// Why, for the journal and the log.
    #[serde(default)]
    pub note: String,
}

/// Why a swap or a rollback does not begin. Nothing has changed then.
#[derive(Debug, Error)]
pub enum SwapError {
    /// There is no such agent.
    #[error("there is no agent number {index}")]
    NoSuchAgent {
        /// Its position in the configuration.
        index: usize,
    },
    /// Another one has not ended.
    #[error(
        "agent {agent}: swap {number} is under way ({stage}); wait for its end, or give it up with ringfence rollback {agent}"
    )]
    UnderWay {
        /// Which agent.
        agent: AgentName,
        /// The other one.
        number: u64,
        /// How far it has come.
        stage: &'static str,
    },
    /// The configuration pins a component, or real money may be at stake, so that the order has to pin its own.
    #[error(
        "agent {agent}: {why}, so a swap has to name the digest of the new one: look at it with ringfence inspect, and \
         give --sha256 {digest}"
    )]
    Unpinned {
        /// Which agent.
        agent: AgentName,
        /// Why it has to be pinned.
        why: &'static str,
        /// The digest of what lies there now, or what stands for it when that cannot be read.
        digest: String,
    },
    /// The path could mean another file to the host than to whoever wrote it.
    #[error("agent {agent}: expected an absolute path of a component, found {found}")]
    Relative {
        /// Which agent.
        agent: AgentName,
        /// What was given.
        found: String,
    },
    /// More than is allowed.
    #[error("agent {agent}: {what} {found} is above {max} (limit {limit}); give less, or raise the limit")]
    TooMany {
        /// Which agent.
        agent: AgentName,
        /// Of what.
        what: &'static str,
        /// How many.
        found: u64,
        /// The cap.
        max: u64,
        /// Its name.
        limit: &'static str,
    },
    /// A setting cannot be one.
    #[error("agent {agent}: {source}")]
    Setting {
        /// Which agent.
        agent: AgentName,
        /// Why.
        source: SettingError,
    },
    /// Nothing ran before, or nothing is known of it.
    #[error("agent {agent}: nothing is known of a component that ran before; swap to the one that you want")]
    NothingBefore {
        /// Which agent.
        agent: AgentName,
    },
    /// The agent has finished.
    #[error("agent {agent} has finished; start the host again")]
    Stopped {
        /// Which agent.
        agent: AgentName,
    },
    /// The system gives no thread.
    #[error("agent {agent}: no thread to vet the component on: {reason}; try again")]
    Thread {
        /// Which agent.
        agent: AgentName,
        /// What the system says.
        reason: String,
    },
}

impl Classified for SwapError {
    fn class(&self) -> Class {
        match self {
            Self::UnderWay { .. }
            | Self::Unpinned { .. }
            | Self::NothingBefore { .. }
            | Self::Stopped { .. } => Class::State,
            Self::NoSuchAgent { .. }
            | Self::Relative { .. }
            | Self::TooMany { .. }
            | Self::Setting { .. } => Class::Data,
            Self::Thread { .. } => Class::Resource,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::NoSuchAgent { .. } => "no_such_agent",
            Self::UnderWay { .. } => "swap_under_way",
            Self::Unpinned { .. } => "swap_unpinned",
            Self::Relative { .. } => "swap_path",
            Self::TooMany { .. } => "swap_limit",
            Self::Setting { .. } => "setting",
            Self::NothingBefore { .. } => "nothing_before",
            Self::Stopped { .. } => "agent_stopped",
            Self::Thread { .. } => "swap_thread",
        }
    }
}
