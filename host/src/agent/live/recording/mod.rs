//! Recordings: what each agent's strategy was called with and what it answered, for as long as there is room.
//!
//! The core hands over a [`Stretch`](crate::agent::core::Stretch) whenever the strategy has saved its state: the state
//! at its start, and the calls since. So every stretch can be made again by itself. They are packed and appended to
//! files of `data_dir/recordings/AGENT`, of which the oldest goes when there are too many. A call that fails seals its
//! file, which then stays. Nothing waits for a recording, and no failure of one touches trading.

mod file;
mod recorder;

pub use file::{Block, RecordingError, RecordingFile};
pub(super) use recorder::{Recorder, RecorderHandle};

use serde::Deserialize;
use std::num::{NonZeroU32, NonZeroU64};

/// What is recorded.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RecordingConfig {
    /// Whether anything is. Default true: a few bytes a tick, and the answer to why it did that.
    pub enabled: bool,
    /// Bytes of a file after which the next one begins. Default 8 MiB: some hundred thousand ticks.
    pub file_bytes_max: NonZeroU64,
    /// Files of an agent, the one that is written among them. Default 8.
    pub files_max: NonZeroU32,
    /// Files of an agent that were sealed by a call that failed. Default 8.
    pub trap_files_max: NonZeroU32,
}

impl Default for RecordingConfig {
    fn default() -> Self {
        let eight = NonZeroU32::MIN.saturating_add(7);
        Self {
            enabled: true,
            file_bytes_max: NonZeroU64::MIN.saturating_add(8 * 1_024 * 1_024 - 1),
            files_max: eight,
            trap_files_max: eight,
        }
    }
}
