mod appending;
mod compaction;
mod corruption;
mod faults;
mod rolling;
mod torn;

use super::segment::{
    End, GENESIS, HEADER_BYTES, Header, MARK_BYTES, MARK_OFFSET, RECORD_OVERHEAD_BYTES, Walk, encode_record,
};
use super::*;
use crate::resilience::{
    Disk, DiskError, DiskFile, DiskOperation, Fault, FaultDisk, FaultKind, MemoryDisk, Phase, RealDisk,
};
use proptest::prelude::*;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};

type Answer = Receiver<Result<u64, JournalError>>;
type Records = Vec<(u64, Vec<u8>)>;

/// Segments that hold a handful of records, so that a few appends roll over.
fn small() -> JournalConfig {
    JournalConfig {
        segment_bytes_max: u32::try_from(HEADER_BYTES).unwrap() + 256,
        record_bytes_max: 64,
        ..JournalConfig::default()
    }
}

/// One segment with room for everything.
fn roomy() -> JournalConfig {
    JournalConfig { segment_bytes_max: 16_384, record_bytes_max: 1_024, ..JournalConfig::default() }
}

fn open_on(
    dir: &Path,
    config: JournalConfig,
    disk: Arc<dyn Disk>,
) -> Result<(FileJournal, JournalSummary, Records), JournalError> {
    let mut records = Vec::new();
    let (journal, summary) = FileJournal::open(dir, config, disk, &mut |seq, payload| {
        records.push((seq, payload.to_vec()));
        Ok(())
    })?;
    Ok((journal, summary, records))
}

fn open(dir: &Path, config: JournalConfig) -> Result<(FileJournal, JournalSummary, Records), JournalError> {
    open_on(dir, config, Arc::new(RealDisk))
}

fn queue(journal: &FileJournal, payload: &[u8]) -> Result<Answer, JournalError> {
    let (sender, receiver) = channel();
    journal.append(payload.to_vec(), Box::new(move |result| sender.send(result).unwrap_or(())))?;
    Ok(receiver)
}

fn append(journal: &FileJournal, payload: &[u8]) -> Result<u64, JournalError> {
    queue(journal, payload)?.recv().unwrap()
}

fn payload(n: u64) -> Vec<u8> {
    format!("record {n}").into_bytes()
}

fn expected(count: u64) -> Records {
    (1..=count).map(|n| (n, payload(n))).collect()
}

/// A journal of `count` records, each durable before the next was queued, closed in good order.
fn closed(dir: &Path, config: JournalConfig, count: u64) {
    let (journal, ..) = open(dir, config).unwrap();
    for n in 1..=count {
        assert_eq!(append(&journal, &payload(n)), Ok(n));
    }
    journal.close().unwrap();
}

/// The same as a dead process leaves it: everything written, nothing closed.
fn killed(dir: &Path, config: JournalConfig, count: u64) {
    let living = tempfile::tempdir().unwrap();
    let (journal, ..) = open(living.path(), config).unwrap();
    for n in 1..=count {
        assert_eq!(append(&journal, &payload(n)), Ok(n));
    }
    for (name, bytes) in files(living.path()) {
        fs::write(dir.join(name), bytes).unwrap();
    }
}

fn files(dir: &Path) -> Vec<(String, Vec<u8>)> {
    let names = RealDisk.list(dir).unwrap();
    names.into_iter().map(|name| (name.clone(), fs::read(dir.join(name)).unwrap())).collect()
}

fn first_segment(dir: &Path) -> PathBuf {
    dir.join(format!("{:020}.wal", 1))
}

fn record_bytes(n: u64) -> usize {
    RECORD_OVERHEAD_BYTES + payload(n).len()
}

/// Offset of record `n` in a journal whose first segment holds it.
fn record_offset(n: u64) -> usize {
    HEADER_BYTES + (1..n).map(record_bytes).sum::<usize>()
}
