//! Reads a journal from end to end, one segment in memory at a time, and changes nothing.

use super::segment::{Chain, Damage, End, GENESIS, Header, Walk, used_bytes};
use super::{JournalError, Visit};
use crate::resilience::Disk;
use std::path::{Path, PathBuf};

/// No segment may be larger, whatever the configuration was when it was written.
pub(super) const SEGMENT_BYTES_LIMIT: u64 = 256 * 1024 * 1024;

/// Sequence number of the first record of a journal. Zero stands for "before all records".
pub(super) const FIRST_SEQ: u64 = 1;

const SUFFIX: &str = ".wal";
/// A segment that is not yet complete.
pub(super) const TEMPORARY_SUFFIX: &str = ".wal.tmp";

/// What a journal holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JournalSummary {
    /// Segments found. Zero means that there never was a journal here, or that somebody took it away.
    pub segments: usize,
    /// The oldest record that compaction left; equals `next_seq` when there is none.
    pub first_seq: u64,
    /// The number that the next record gets. What lies between the two is all there, and verified.
    pub next_seq: u64,
    /// A write that a crash cut short.
    pub torn: Option<TornTail>,
    /// Whether a mark, which says how far a segment is known to be durable, cannot be read. No record is
    /// lost by that, but the disk changed something by itself.
    pub mark_damaged: bool,
}

/// What is left of a write that a crash cut short. Nobody was ever told that it was durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TornTail {
    /// Which segment.
    pub segment: PathBuf,
    /// Where it begins.
    pub offset: u64,
    /// The number that its first record would have had.
    pub seq: u64,
    /// How long it is.
    pub bytes: u64,
    /// Where the bytes were put before they were cut; `None` when nothing was cut because this was a
    /// mere reading.
    pub set_aside: Option<PathBuf>,
}

/// The last segment, for the writer to go on with.
pub(super) struct LastSegment {
    pub header: Header,
    pub bytes: Vec<u8>,
    /// Where the next record belongs.
    pub offset: usize,
    pub chain: Chain,
}

pub(super) struct Scan {
    pub summary: JournalSummary,
    /// First sequence number of each segment, ascending.
    pub segments: Vec<u64>,
    pub last: Option<LastSegment>,
}

pub(super) fn segment_path(dir: &Path, first_seq: u64) -> PathBuf {
    dir.join(format!("{first_seq:020}{SUFFIX}"))
}

/// Reads and verifies a whole journal, showing each record to `visit` as it goes. A record may be shown
/// before a later one turns out to be corrupt: whoever folds them throws the result away on an error.
///
/// # Errors
/// When the directory cannot be read, the journal is corrupt, or `visit` refuses a record.
pub fn read(dir: &Path, disk: &dyn Disk, visit: Visit<'_>) -> Result<JournalSummary, JournalError> {
    scan(dir, disk, visit).map(|scan| scan.summary)
}

/// Verifies a whole journal.
///
/// # Errors
/// When the directory cannot be read or the journal is corrupt.
pub fn verify(dir: &Path, disk: &dyn Disk) -> Result<JournalSummary, JournalError> {
    read(dir, disk, &mut |_, _| Ok(()))
}

pub(super) fn scan(dir: &Path, disk: &dyn Disk, visit: Visit<'_>) -> Result<Scan, JournalError> {
    let segments: Vec<u64> = disk.list(dir)?.iter().filter_map(|name| first_seq_of(name)).collect();
    let first_seq = segments.first().copied().unwrap_or(FIRST_SEQ);
    let summary = JournalSummary {
        segments: segments.len(),
        first_seq,
        next_seq: first_seq,
        torn: None,
        mark_damaged: false,
    };
    let mut scan = Scan { summary, segments, last: None };
    for (index, &first_seq) in scan.segments.iter().enumerate() {
        let path = segment_path(dir, first_seq);
        let bytes = disk.read(&path, SEGMENT_BYTES_LIMIT)?;
        let mut walk = Walk::new(&bytes).map_err(|damage| corrupt(&path, damage))?;
        check_link(&scan, dir, &path, first_seq, walk.header())?;
        loop {
            let offset = walk.offset() as u64;
            let Some(record) = walk.next_record() else { break };
            visit(record.seq, record.payload).map_err(|failure| JournalError::Refused {
                segment: path.clone(),
                offset,
                seq: record.seq,
                failure,
            })?;
        }
        match walk.end(index + 1 < scan.segments.len()) {
            End::Clean => {}
            End::Corrupt(damage) => return Err(corrupt(&path, damage)),
            End::Torn { offset } => {
                let bytes = (used_bytes(&bytes) as u64).saturating_sub(offset);
                let seq = walk.next_seq();
                scan.summary.torn = Some(TornTail { segment: path, offset, seq, bytes, set_aside: None });
            }
        }
        scan.summary.next_seq = walk.next_seq();
        scan.summary.mark_damaged |= walk.mark_damaged();
        let (header, offset, chain) = (walk.header(), walk.offset(), walk.chain());
        scan.last = Some(LastSegment { header, bytes, offset, chain });
    }
    Ok(scan)
}

/// A segment has to begin where the one before it ended. Before the first one there may be others that
/// were compacted away; only a journal that begins at the beginning has to begin with nothing.
fn check_link(
    before: &Scan,
    dir: &Path,
    path: &Path,
    first_seq: u64,
    header: Header,
) -> Result<(), JournalError> {
    let at_start = |seq, found| corrupt(path, Damage { offset: 0, seq, found });
    if header.first_seq != first_seq {
        return Err(at_start(first_seq, "a segment that belongs under another name"));
    }
    let chain = match &before.last {
        Some(last) => last.chain,
        None if first_seq == FIRST_SEQ => GENESIS,
        None => return Ok(()),
    };
    let expected = before.summary.next_seq;
    if first_seq > expected {
        let missing = segment_path(dir, expected);
        return Err(corrupt(&missing, Damage { offset: 0, seq: expected, found: "no such segment" }));
    }
    if first_seq < expected || header.chain != chain {
        return Err(at_start(first_seq, "a segment that does not follow the one before it"));
    }
    Ok(())
}

fn corrupt(segment: &Path, damage: Damage) -> JournalError {
    JournalError::Corrupt {
        segment: segment.to_owned(),
        offset: damage.offset,
        seq: damage.seq,
        found: damage.found.to_owned(),
    }
}

fn first_seq_of(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(SUFFIX)?;
    let canonical = digits.len() == 20 && digits.bytes().all(|b| b.is_ascii_digit());
    canonical.then(|| digits.parse().ok()).flatten()
}
