//! Segments as files: made, made ahead of need, gone on with after a start, and never trusted before they are synced.

use super::reader::{JournalSummary, LastSegment, TEMPORARY_SUFFIX, segment_path};
use super::segment::{HEADER_BYTES, Header, MARK_OFFSET, used_bytes};
use super::{JournalConfig, JournalError};
use crate::resilience::{BLOCK_BYTES, Disk, DiskError, DiskFile};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Zeros are written in pieces of this size.
static ZEROS: [u8; 64 * 1024] = [0; 64 * 1024];

/// The segment that is being written.
pub(super) struct Segment {
    file: Box<dyn DiskFile>,
    pub header: Header,
    pub bytes: u64,
    /// Where the next records belong.
    pub offset: u64,
    /// What is in the last block already. It is written again with what follows, since a disk takes whole blocks.
    tail: Vec<u8>,
}

/// A file full of zeros that becomes a segment once it is known which: complete and durable, but for the
/// header and the name.
pub(super) struct Spare {
    file: Box<dyn DiskFile>,
    path: PathBuf,
    bytes: u64,
}

impl Segment {
    /// Makes records durable.
    pub fn append(&mut self, records: &[u8]) -> Result<(), DiskError> {
        let at = self.offset - self.tail.len() as u64;
        self.tail.extend_from_slice(records);
        let used = self.tail.len();
        let room = usize::try_from(self.bytes - at).unwrap_or(usize::MAX);
        self.tail.resize(used.next_multiple_of(BLOCK_BYTES).min(room).max(used), 0);
        self.file.write_durable(at, &self.tail)?;
        self.tail.truncate(used);
        self.tail.drain(..used - used % BLOCK_BYTES);
        self.offset += records.len() as u64;
        Ok(())
    }

    /// Says in the header that everything up to `synced` is durable.
    pub fn mark(&mut self, synced: u64) -> Result<(), DiskError> {
        self.file.write_durable(MARK_OFFSET as u64, &self.header.mark(synced))
    }

    /// Makes a segment. It gets its name when it is complete, so that a segment with a bad header is always
    /// corruption and never a crash.
    pub fn create(
        dir: &Path,
        disk: &dyn Disk,
        header: Header,
        config: &JournalConfig,
    ) -> Result<Self, DiskError> {
        let temporary = dir.join(format!("{:020}{TEMPORARY_SUFFIX}", header.first_seq));
        Spare::fill(disk, temporary, u64::from(config.segment_bytes_max), u64::MAX)?.name(dir, disk, header)
    }

    /// Goes on with the last segment of a journal.
    pub fn resume(
        dir: &Path,
        disk: &dyn Disk,
        last: &LastSegment,
        summary: &mut JournalSummary,
    ) -> Result<Self, JournalError> {
        let path = segment_path(dir, last.header.first_seq);
        let mut file = disk.open(&path)?;
        let (bytes, offset) = (last.bytes.len() as u64, last.offset as u64);
        if let Some(torn) = &mut summary.torn {
            let tail = last.bytes.get(last.offset..used_bytes(&last.bytes)).unwrap_or_default();
            torn.set_aside = Some(set_aside(dir, disk, last.header.first_seq, tail)?);
            write_zeros(&mut *file, offset, bytes)?;
        }
        // Records of the last run may be in the system's memory only, even marked clean by a sync that
        // failed. Writing the same bytes once more is what makes the next sync mean something.
        file.write_at(0, last.bytes.get(..last.offset).unwrap_or_default())?;
        file.sync_data()?;
        let tail = last.bytes.get(last.offset - last.offset % BLOCK_BYTES..last.offset).unwrap_or_default();
        let mut segment = Self { file, header: last.header, bytes, offset, tail: tail.to_owned() };
        segment.mark(summary.next_seq - 1)?;
        Ok(segment)
    }
}

impl Spare {
    /// Synced pieces of this size: a commit that meets one waits for a piece, not for a segment.
    const PIECE_BYTES: u64 = 1024 * 1024;

    /// Makes the file that follows the segment which begins with `first_seq`, beside the writer.
    pub fn prepare(dir: &Path, disk: &dyn Disk, first_seq: u64, bytes: u64) -> Result<Self, DiskError> {
        let path = dir.join(format!("after-{first_seq:020}{TEMPORARY_SUFFIX}"));
        let filled = Self::fill(disk, path.clone(), bytes, Self::PIECE_BYTES);
        if filled.is_err() {
            // Only tidiness: the next start removes what is left.
            let _ = disk.remove(&path);
        }
        filled
    }

    fn fill(disk: &dyn Disk, path: PathBuf, bytes: u64, piece_bytes: u64) -> Result<Self, DiskError> {
        let mut file = disk.create_new(&path)?;
        let mut from = 0;
        while from < bytes {
            let to = bytes.min(from.saturating_add(piece_bytes));
            write_zeros(&mut *file, from, to)?;
            file.sync_data()?;
            from = to;
        }
        Ok(Self { file, path, bytes })
    }

    /// Gives the file its header, which has to be durable before the name is, and then the name.
    pub fn name(mut self, dir: &Path, disk: &dyn Disk, header: Header) -> Result<Segment, DiskError> {
        self.file.write_durable(0, &header.encode())?;
        let path = segment_path(dir, header.first_seq);
        disk.rename(&self.path, &path)?;
        disk.sync_dir(dir)?;
        // Opened anew, so that an error names the file as it is called now.
        let file = disk.open(&path)?;
        Ok(Segment { file, header, bytes: self.bytes, offset: HEADER_BYTES as u64, tail: Vec::new() })
    }

    /// Removes a file that was not needed; if that fails, the next start does it.
    pub fn discard(self, disk: &dyn Disk) {
        let _ = disk.remove(&self.path);
    }
}

fn set_aside(dir: &Path, disk: &dyn Disk, first_seq: u64, tail: &[u8]) -> Result<PathBuf, DiskError> {
    let names: BTreeSet<String> = disk.list(dir)?.into_iter().collect();
    let free = (1_u64..).map(|n| format!("{first_seq:020}.torn-{n}")).find(|name| !names.contains(name));
    let path = dir.join(free.unwrap_or_default());
    let mut file = disk.create_new(&path)?;
    file.write_at(0, tail)?;
    file.sync_data()?;
    disk.sync_dir(dir)?;
    Ok(path)
}

fn write_zeros(file: &mut dyn DiskFile, from: u64, to: u64) -> Result<(), DiskError> {
    let mut offset = from;
    while offset < to {
        let length = usize::try_from(to - offset).unwrap_or(usize::MAX).min(ZEROS.len());
        file.write_at(offset, &ZEROS[..length])?;
        offset += length as u64;
    }
    Ok(())
}
