//! The files of a recording.
//!
//! ```text
//!   "RFREC1\n\0"  then blocks:  length u32 │ crc32c u32 │ lost u32 │ deflated CBOR of a stretch
//! ```
//!
//! Numbers are little-endian; the checksum covers what follows it. `lost` counts the stretches that came before the
//! block and were not written. A file may end anywhere: its writer may have been killed.

use crate::agent::core::{Stretch, StretchError};
use crate::resilience::{Class, Classified};
use flate2::Compression;
use flate2::read::DeflateDecoder;
use flate2::write::DeflateEncoder;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use thiserror::Error;

const MAGIC: &[u8; 8] = b"RFREC1\n\0";
const HEAD_BYTES: usize = 8;
const LOST_BYTES: usize = 4;
/// Bytes of one stretch, unpacked: its calls are limited by `calls_kept_max`, its state by `state_bytes_max`.
const STRETCH_BYTES_MAX: u64 = 256 * 1_024 * 1_024;
/// Bytes of a file: more than any configuration should ask for.
const FILE_BYTES_MAX: u64 = 2 * 1_024 * 1_024 * 1_024;
const EXTENSION: &str = "rec";
const SEALED: &str = "trap";

/// One stretch of a file.
#[derive(Debug)]
pub struct Block {
    /// Stretches before it that were not written.
    pub lost: u32,
    /// The calls.
    pub stretch: Stretch,
}

/// A file of a recording.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RecordingFile {
    /// Its place in the order of an agent's files.
    pub number: u64,
    /// Whether a call that failed has sealed it.
    pub sealed: bool,
    /// Where it is.
    pub path: PathBuf,
}

/// Why a recording cannot be read.
#[derive(Debug, Error)]
pub enum RecordingError {
    /// The system says no.
    #[error("{}: {reason}", path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// It is something else.
    #[error("{} is no recording: expected its first bytes to be \"RFREC1\"; give a file or a folder below data_dir/recordings", path.display())]
    Foreign {
        /// Which file.
        path: PathBuf,
    },
    /// A block is not what its checksum says; nothing behind it can be trusted to be a block.
    #[error("the block at byte {offset} is damaged ({found}); what comes before it is good")]
    Damaged {
        /// Where.
        offset: usize,
        /// What was found.
        found: String,
    },
}

impl Classified for RecordingError {
    fn class(&self) -> Class {
        match self {
            Self::Io { .. } => Class::Resource,
            Self::Foreign { .. } => Class::Data,
            Self::Damaged { .. } => Class::State,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Io { .. } => "recording_io",
            Self::Foreign { .. } => "recording_foreign",
            Self::Damaged { .. } => "recording_damaged",
        }
    }
}

/// The first bytes of a file.
pub(super) const fn head() -> &'static [u8] {
    MAGIC
}

/// A stretch as a block.
pub(super) fn encode(stretch: &Stretch, lost: u32) -> Option<Vec<u8>> {
    let mut packed = DeflateEncoder::new(Vec::new(), Compression::fast());
    packed.write_all(&stretch.encode()).ok()?;
    let packed = packed.finish().ok()?;
    let mut body = Vec::with_capacity(HEAD_BYTES + LOST_BYTES + packed.len());
    body.extend(u32::try_from(LOST_BYTES + packed.len()).ok()?.to_le_bytes());
    body.extend([0; 4]);
    body.extend(lost.to_le_bytes());
    body.extend(packed);
    let sum = crc32c::crc32c(body.get(HEAD_BYTES..)?);
    body.get_mut(4..HEAD_BYTES)?.copy_from_slice(&sum.to_le_bytes());
    Some(body)
}

impl RecordingFile {
    pub(super) fn new(dir: &Path, number: u64, sealed: bool) -> Self {
        let name = match sealed {
            true => format!("{number:012}.{SEALED}.{EXTENSION}"),
            false => format!("{number:012}.{EXTENSION}"),
        };
        Self { number, sealed, path: dir.join(name) }
    }

    /// The files of a folder, oldest first. Anything else in it is not looked at.
    ///
    /// # Errors
    /// When the folder cannot be listed.
    pub fn list(dir: &Path) -> Result<Vec<Self>, RecordingError> {
        let failed =
            |error: std::io::Error| RecordingError::Io { path: dir.to_owned(), reason: error.to_string() };
        let mut files = Vec::new();
        for entry in std::fs::read_dir(dir).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            files.extend(Self::named(path));
        }
        files.sort();
        Ok(files)
    }

    /// The file with this name, if it is one of a recording.
    pub fn named(path: PathBuf) -> Option<Self> {
        let name = path.file_name()?.to_str()?.strip_suffix(EXTENSION)?.strip_suffix('.')?;
        let (number, sealed) = match name.strip_suffix(SEALED).and_then(|name| name.strip_suffix('.')) {
            Some(number) => (number, true),
            None => (name, false),
        };
        let number = number.parse().ok()?;
        Some(Self { number, sealed, path })
    }

    /// Reads the blocks of a file up to its end, or to what is damaged.
    ///
    /// # Errors
    /// When the file cannot be read or is no recording.
    pub fn read(path: &Path) -> Result<(Vec<Block>, Option<RecordingError>), RecordingError> {
        let io = |reason: String| RecordingError::Io { path: path.to_owned(), reason };
        let length = std::fs::metadata(path).map_err(|error| io(error.to_string()))?.len();
        if length > FILE_BYTES_MAX {
            return Err(io(format!("{length} bytes, a recording has at most {FILE_BYTES_MAX}")));
        }
        let bytes = std::fs::read(path).map_err(|error| io(error.to_string()))?;
        match Self::decode(&bytes) {
            Some(read) => Ok(read),
            None => Err(RecordingError::Foreign { path: path.to_owned() }),
        }
    }

    /// Reads the bytes of a file; `None` when they are no recording.
    pub fn decode(bytes: &[u8]) -> Option<(Vec<Block>, Option<RecordingError>)> {
        let mut rest = bytes.strip_prefix(MAGIC)?;
        let mut blocks = Vec::new();
        while !rest.is_empty() {
            let offset = bytes.len() - rest.len();
            let damaged = |found: &str| RecordingError::Damaged { offset, found: found.to_owned() };
            match next(rest) {
                Ok((block, after)) => {
                    blocks.push(block);
                    rest = after;
                }
                // What was being written when its writer ended is no damage.
                Err(Bad::Cut) => break,
                Err(Bad::Sum) => return Some((blocks, Some(damaged("its checksum is another")))),
                Err(Bad::Content(found)) => return Some((blocks, Some(damaged(&found)))),
            }
        }
        Some((blocks, None))
    }
}

enum Bad {
    Cut,
    Sum,
    Content(String),
}

fn next(bytes: &[u8]) -> Result<(Block, &[u8]), Bad> {
    let (length, rest) = bytes.split_first_chunk::<4>().ok_or(Bad::Cut)?;
    let (sum, rest) = rest.split_first_chunk::<4>().ok_or(Bad::Cut)?;
    let length = usize::try_from(u32::from_le_bytes(*length)).map_err(|_| Bad::Cut)?;
    let (body, after) = rest.split_at_checked(length).ok_or(Bad::Cut)?;
    if crc32c::crc32c(body) != u32::from_le_bytes(*sum) {
        return Err(Bad::Sum);
    }
    let (lost, packed) = body.split_first_chunk::<LOST_BYTES>().ok_or(Bad::Sum)?;
    let mut plain = Vec::new();
    let read = DeflateDecoder::new(packed).take(STRETCH_BYTES_MAX).read_to_end(&mut plain);
    read.map_err(|error| Bad::Content(error.to_string()))?;
    let stretch = Stretch::decode(&plain).map_err(|error: StretchError| Bad::Content(error.to_string()))?;
    Ok((Block { lost: u32::from_le_bytes(*lost), stretch }, after))
}
