//! The journal: what was decided, sent and heard, durable before anybody acts on it.
//!
//! A directory of append-only segments `<first seq>.wal`, written by one thread that commits everything
//! queued with a single sync; another makes the next segment before it is needed. What a record means is not its business: a payload is bytes.
//!
//! Crash model: a record whose [`Done`] was called with `Ok` survives the death of the process, of the
//! system and of the power. A record nobody was told about may survive or not, but never in part: a torn
//! tail is cut when the journal is opened, and kept in a file of its own. A record that was promised and
//! is damaged or missing is corruption: the journal is refused and left exactly as it is.

mod ahead;
mod file_journal;
mod files;
#[cfg(any(fuzzing, test))]
pub mod fuzzing;
mod reader;
mod segment;
#[cfg(test)]
mod tests;
mod writer;

pub use file_journal::FileJournal;
pub use reader::{JournalSummary, TornTail, read, verify};

use crate::orders::AgentName;
use crate::resilience::{Class, Classified, DiskError, Failure, LockError};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::path::PathBuf;
use thiserror::Error;

/// Called once when a record is durable, with its sequence number, or when it will never be.
///
/// It runs on the writer's thread, between two groups: hand the answer over and return.
pub type Done = Box<dyn FnOnce(Result<u64, JournalError>) + Send>;

/// Is shown each record of a journal, oldest first: its sequence number and payload.
pub type Visit<'a> = &'a mut dyn FnMut(u64, &[u8]) -> Result<(), Failure>;

/// Something that makes records durable, in the order in which they were given.
pub trait Journal: Send + Sync {
    /// Queues a record; waits while the queue is full, because a record that is left out while later ones
    /// are written would be a hole in the agent's story. `done` is called when it is durable; records become
    /// durable in the order in which they were queued, and so are their answers.
    ///
    /// # Errors
    /// When the record is too large, the journal is closed, or it has failed. Then `done` is dropped without
    /// being called and nothing was written, and nothing of the same agent must be queued after it.
    fn append(&self, payload: Vec<u8>, done: Done) -> Result<(), JournalError> {
        self.append_all(vec![NewRecord { payload, done }])
    }

    /// Queues records that follow each other and share one sync, as far as a group and a segment have room.
    ///
    /// # Errors
    /// As [`Journal::append`]; when one of them is too large, none is written.
    fn append_all(&self, records: Vec<NewRecord>) -> Result<(), JournalError>;
}

/// A record on its way into the journal.
pub struct NewRecord {
    /// What it says.
    pub payload: Vec<u8>,
    /// Called when it is durable.
    pub done: Done,
}

/// Limits of the journal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct JournalConfig {
    /// Size of one segment, which is written full of zeros before it is used: syncing a file that does
    /// not grow is 1.5 to 1.7 times faster. Default 16 MiB: written in tens of milliseconds, read in
    /// less, and small enough that compaction frees space in useful steps.
    pub segment_bytes_max: u32,
    /// Largest payload. Default 1 MiB: a tick's record holds at most 256 KiB of state and its intents.
    pub record_bytes_max: u32,
    /// Records that may wait to be written; those of one step of an agent count as one. Default 1,024: more than 64 agents can have unanswered; beyond
    /// it the disk does not keep up and the agents wait for it.
    pub queue_records_max: NonZeroU32,
    /// Records that share one sync. Default 256: beyond that the sync is no longer what costs.
    pub group_records_max: NonZeroU32,
    /// Whether segments go that no checkpoint needs any more. Default on: a journal that only grows fills the
    /// disk in the end, and a full disk stops every agent, while what goes is contained in every checkpoint
    /// that is kept. Turn it off, or copy segments in time, to keep all records for an audit.
    pub compact: bool,
    /// Segments that stay even if nothing needs them. Default 4: the last orders, some 64 MiB of them, can be
    /// looked up with `ringfence journal dump`.
    pub segments_kept_min: NonZeroU32,
    /// Agents that are gone for good. An agent that the configuration does not name keeps the journal from its
    /// oldest checkpoint on, because it may come back; one that is named here does not.
    pub retired_agents: BTreeSet<AgentName>,
}

impl Default for JournalConfig {
    fn default() -> Self {
        const QUEUE: NonZeroU32 = NonZeroU32::new(1_024).unwrap();
        const GROUP: NonZeroU32 = NonZeroU32::new(256).unwrap();
        const KEPT: NonZeroU32 = NonZeroU32::new(4).unwrap();
        Self {
            segment_bytes_max: 16 * 1024 * 1024,
            record_bytes_max: 1024 * 1024,
            queue_records_max: QUEUE,
            group_records_max: GROUP,
            compact: true,
            segments_kept_min: KEPT,
            retired_agents: BTreeSet::new(),
        }
    }
}

/// Why the journal cannot be opened, read or written.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum JournalError {
    /// The limits contradict each other.
    #[error(
        "journal: expected segment_bytes_max between {needed} (record_bytes_max {record_bytes_max} and \
         headers) and {limit}, found {segment_bytes_max}"
    )]
    Config {
        /// The configured size of a segment.
        segment_bytes_max: u32,
        /// The configured size of a record.
        record_bytes_max: u32,
        /// Smallest segment that can hold such a record.
        needed: u64,
        /// Largest segment that is ever read.
        limit: u64,
    },
    /// Another host has this journal, or it cannot be locked.
    #[error("journal: {0}")]
    Lock(#[from] LockError),
    /// The disk failed while the journal was opened, read or compacted.
    #[error("journal: {0}")]
    Disk(#[from] DiskError),
    /// A record that was promised is damaged or missing. Nothing was changed.
    #[error(
        "journal is corrupt: expected record {seq} at byte {offset} of {}, found {found}; the file is \
         left as it is: restore it from a copy, or reconcile with the venue and start a new incarnation",
        segment.display()
    )]
    Corrupt {
        /// Which segment.
        segment: PathBuf,
        /// Where in it.
        offset: u64,
        /// The record that should be there; zero when the segment's header does not say.
        seq: u64,
        /// What was found.
        found: String,
    },
    /// The caller could not accept a record that it was shown.
    #[error("journal: record {seq} at byte {offset} of {}: {failure}", segment.display())]
    Refused {
        /// Which segment.
        segment: PathBuf,
        /// Where in it.
        offset: u64,
        /// Which record.
        seq: u64,
        /// The caller's reason.
        failure: Failure,
    },
    /// A payload is too large.
    #[error("journal: expected a record of at most {bytes_max} bytes, found {bytes}")]
    RecordTooLarge {
        /// Its size.
        bytes: u64,
        /// The limit.
        bytes_max: u32,
    },
    /// The journal has been closed.
    #[error("journal: it is closed and takes no more records")]
    Closed,
    /// A write or sync failed. Nothing is written any more: what reached the disk can be known only by
    /// opening the journal again.
    #[error("journal stopped for good: {0}; restart the host once the disk is well")]
    Failed(DiskError),
    /// The writer's thread could not be started.
    #[error("journal: cannot start its writer: {0}")]
    Thread(String),
}

impl Classified for JournalError {
    fn class(&self) -> Class {
        match self {
            Self::Config { .. } | Self::RecordTooLarge { .. } => Class::Logic,
            Self::Corrupt { .. } => Class::State,
            Self::Refused { failure, .. } => failure.class,
            Self::Lock(_) | Self::Disk(_) | Self::Closed | Self::Failed(_) | Self::Thread(_) => {
                Class::Resource
            }
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Config { .. } => "journal_config",
            Self::Lock(error) => error.code(),
            Self::Disk(error) => error.code(),
            Self::Corrupt { .. } => "journal_corrupt",
            Self::Refused { .. } => "journal_record_refused",
            Self::RecordTooLarge { .. } => "journal_record_too_large",
            Self::Closed => "journal_closed",
            Self::Failed(_) => "journal_failed",
            Self::Thread(_) => "journal_thread",
        }
    }
}
