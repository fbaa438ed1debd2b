//! Why a host cannot start.

use super::components::ComponentStoreError;
use super::settings::SettingError;
use crate::agent::core::RecoverError;
use crate::market::{FeedError, InstrumentError};
use crate::orders::journal::JournalError;
use crate::orders::{AgentName, Digest};
use crate::plugin::{PluginError, SandboxError, SettingsError};
use crate::resilience::{CheckpointError, Class, Classified, LockError, StoreError};
use crate::venue::VenueSetupError;
use std::path::PathBuf;
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
        "agent {agent}: no checkpoint verifies ({count} were set aside) and the journal, which starts with record {start}, \
         does not reach back to the agent's first one; restore a checkpoint or the journal; to start anew, settle with \
         the venue what is open, move the agent's checkpoints away and raise its incarnation"
    )]
    NoState { agent: AgentName, count: usize, start: u64 },
    #[error(
        "agent {agent}: the newest checkpoint that verifies needs the journal from record {needed} on, and it starts \
         with {start}; restore a newer checkpoint or the older segments; to start anew, settle with the venue what is \
         open and raise the agent's incarnation"
    )]
    JournalStart { agent: AgentName, needed: u64, start: u64 },
    #[error(
        "agent {agent}: the checkpoint contains record {checkpoint} and the journal ends with {journal}; it is an \
         older copy: restore the newest one, because what was sent since is not in it"
    )]
    JournalBehind { agent: AgentName, checkpoint: u64, journal: u64 },
    #[error("{flag} {agent}: the configuration has no such agent")]
    NoSuchAgent { flag: &'static str, agent: AgentName },
    #[error(transparent)]
    Lock(#[from] LockError),
    #[error(transparent)]
    DeadLetters(#[from] StoreError),
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
    #[error("agent {agent}: {source}")]
    Plugin { agent: AgentName, source: PluginError },
    #[error(
        "agent {agent}: component {digest} was swapped in and has to go on, and is not to be had: {source}; put the \
         component there again, or change what the configuration names for the agent, which then wins"
    )]
    SwappedIn { agent: AgentName, digest: Digest, source: Box<ComponentError> },
    #[error(transparent)]
    Components(#[from] ComponentStoreError),
    #[error("agent {agent}: {source}")]
    Setting { agent: AgentName, source: SettingError },
    #[error("agent {agent}: {source}")]
    Settings { agent: AgentName, source: SettingsError },
    #[error(transparent)]
    Unpinned(#[from] Box<Unpinned>),
    #[error("agent {agent}: the strategy {reason}")]
    Needs { agent: AgentName, reason: String },
    #[error(transparent)]
    Instrument(#[from] InstrumentError),
    #[error("venue {venue}: {reason}")]
    NotTradeable { venue: String, reason: String },
    #[error(transparent)]
    Venue(#[from] VenueSetupError),
    #[error(transparent)]
    Feed(#[from] FeedError),
    #[error(transparent)]
    Recover(#[from] RecoverError),
}

/// A component that nobody has pinned, where real money may be at stake.
#[derive(Debug, Error)]
#[error(
    "agent {agent}: venue {venue} at {host} is not on this machine, so real money may be at stake, and the component is \
     not pinned: look at it with `ringfence inspect {component}`, and add to the agent\n  sha256 = \"{digest}\"",
    component = component.display()
)]
pub struct Unpinned {
    /// Which agent.
    pub agent: AgentName,
    /// Where it trades.
    pub venue: String,
    /// Where that is.
    pub host: String,
    /// The component's file.
    pub component: PathBuf,
    /// The digest of the component that lies there now.
    pub digest: Digest,
}

impl Classified for Unpinned {
    fn class(&self) -> Class {
        Class::Data
    }

    fn code(&self) -> &'static str {
        "plugin_unpinned"
    }
}

/// Why an agent does not get a component.
#[derive(Debug, Error)]
pub enum ComponentError {
    /// It is not taken by anybody's sandbox.
    #[error(transparent)]
    Plugin(#[from] PluginError),
    /// Nobody has said that it is the one.
    #[error(transparent)]
    Unpinned(#[from] Box<Unpinned>),
}

impl Classified for ComponentError {
    fn class(&self) -> Class {
        match self {
            Self::Plugin(error) => error.class(),
            Self::Unpinned(error) => error.class(),
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Plugin(error) => error.code(),
            Self::Unpinned(error) => error.code(),
        }
    }
}

impl Classified for StartError {
    fn class(&self) -> Class {
        match self {
            Self::System { .. } => Class::Resource,
            Self::Journal(error) => error.class(),
            Self::Checkpoint(error) => error.class(),
            Self::NoState { .. }
            | Self::JournalStart { .. }
            | Self::JournalBehind { .. }
            | Self::NotTradeable { .. } => Class::State,
            Self::NoSuchAgent { .. } => Class::Data,
            Self::Lock(error) => error.class(),
            Self::DeadLetters(error) => error.class(),
            Self::Sandbox(error) => error.class(),
            Self::Plugin { source, .. } => source.class(),
            Self::SwappedIn { source, .. } => source.class(),
            Self::Components(error) => error.class(),
            Self::Setting { .. } | Self::Needs { .. } | Self::Instrument(_) => Class::Data,
            Self::Settings { source, .. } => source.class(),
            Self::Unpinned(error) => error.class(),
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
            Self::JournalStart { .. } => "journal_start",
            Self::JournalBehind { .. } => "journal_behind",
            Self::NoSuchAgent { .. } => "no_such_agent",
            Self::Lock(error) => error.code(),
            Self::DeadLetters(error) => error.code(),
            Self::Sandbox(error) => error.code(),
            Self::Plugin { source, .. } => source.code(),
            Self::SwappedIn { source, .. } => source.code(),
            Self::Components(error) => error.code(),
            Self::Setting { .. } => "setting",
            Self::Settings { source, .. } => source.code(),
            Self::Unpinned(error) => error.code(),
            Self::Needs { .. } => "strategy_needs",
            Self::Instrument(_) => "instrument",
            Self::NotTradeable { .. } => "account_not_tradeable",
            Self::Venue(error) => error.code(),
            Self::Feed(error) => error.code(),
            Self::Recover(error) => error.code(),
        }
    }
}

pub(super) fn system(what: &str, error: &std::io::Error) -> StartError {
    StartError::System { what: format!("cannot {what}"), reason: error.to_string() }
}
