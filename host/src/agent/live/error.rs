//! Why a host cannot start.

use crate::agent::core::RecoverError;
use crate::market::{FeedError, InstrumentError};
use crate::orders::AgentName;
use crate::orders::journal::JournalError;
use crate::plugin::{PluginError, SandboxError};
use crate::resilience::{CheckpointError, Class, Classified, LockError, StoreError};
use crate::venue::http::HttpVenueError;
use thiserror::Error;

/// Why a host cannot start. Nothing has been sent then.
#[derive(Debug, Error)]
#[expect(missing_docs, reason = "each case carries an error that describes itself")]
pub enum StartError {
    #[error("{what}: {reason}; make room, or choose another data_dir")]
    System { what: String, reason: String },
    #[error(transparent)]
    Journal(#[from] JournalError),
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    #[error(
        "agent {agent}: no checkpoint verifies ({count} were set aside) and the journal does not reach back to its \
         first record; restore a checkpoint or the journal; to start anew, move both away and raise the agent's incarnation"
    )]
    NoState { agent: AgentName, count: usize },
    #[error(
        "agent {agent}: the checkpoint contains record {checkpoint} and the journal ends with {journal}; it is an \
         older copy: restore the newest one, because what was sent since is not in it"
    )]
    JournalBehind { agent: AgentName, checkpoint: u64, journal: u64 },
    #[error("--release {0}: the configuration has no such agent")]
    NoSuchAgent(AgentName),
    #[error(transparent)]
    Lock(#[from] LockError),
    #[error(transparent)]
    DeadLetters(#[from] StoreError),
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
    #[error("agent {agent}: {source}")]
    Plugin { agent: AgentName, source: PluginError },
    #[error("agent {agent}: setting \"{key}\": {reason}")]
    Setting { agent: AgentName, key: String, reason: String },
    #[error("agent {agent}: the strategy {reason}")]
    Needs { agent: AgentName, reason: String },
    #[error(transparent)]
    Instrument(#[from] InstrumentError),
    #[error(transparent)]
    Venue(#[from] HttpVenueError),
    #[error(transparent)]
    Feed(#[from] FeedError),
    #[error(transparent)]
    Recover(#[from] RecoverError),
}

impl Classified for StartError {
    fn class(&self) -> Class {
        match self {
            Self::System { .. } => Class::Resource,
            Self::Journal(error) => error.class(),
            Self::Checkpoint(error) => error.class(),
            Self::NoState { .. } | Self::JournalBehind { .. } => Class::State,
            Self::NoSuchAgent(_) => Class::Data,
            Self::Lock(error) => error.class(),
            Self::DeadLetters(error) => error.class(),
            Self::Sandbox(error) => error.class(),
            Self::Plugin { source, .. } => source.class(),
            Self::Setting { .. } | Self::Needs { .. } | Self::Instrument(_) => Class::Data,
            Self::Venue(error) => error.class(),
            Self::Feed(error) => error.class(),
            Self::Recover(error) => error.class(),
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::System { .. } => "system",
            Self::Journal(error) => error.code(),
            Self::Checkpoint(error) => error.code(),
            Self::NoState { .. } => "no_state",
            Self::JournalBehind { .. } => "journal_behind",
            Self::NoSuchAgent(_) => "no_such_agent",
            Self::Lock(error) => error.code(),
            Self::DeadLetters(error) => error.code(),
            Self::Sandbox(error) => error.code(),
            Self::Plugin { source, .. } => source.code(),
            Self::Setting { .. } => "setting",
            Self::Needs { .. } => "strategy_needs",
            Self::Instrument(_) => "instrument",
            Self::Venue(error) => error.code(),
            Self::Feed(error) => error.code(),
            Self::Recover(error) => error.code(),
        }
    }
}

pub(super) fn system(what: &str, error: &std::io::Error) -> StartError {
    StartError::System { what: format!("cannot {what}"), reason: error.to_string() }
}
