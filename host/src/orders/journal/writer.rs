//! The one writer of a journal: a thread that commits everything queued with a single sync.

use super::ahead::Ahead;
use super::file_journal::{Job, Shared};
use super::files::Segment;
use super::reader::{FIRST_SEQ, JournalSummary, Scan, TEMPORARY_SUFFIX, scan};
use super::segment::{Chain, GENESIS, Header, RECORD_OVERHEAD_BYTES, encode_record};
use super::{Done, JournalConfig, JournalError, NewRecord, Visit};
use crate::resilience::{DirLock, Disk, DiskError};
use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::Receiver;

pub(super) struct Writer {
    dir: PathBuf,
    disk: Arc<dyn Disk>,
    config: JournalConfig,
    shared: Arc<Shared>,
    segment: Segment,
    ahead: Ahead,
    next_seq: u64,
    chain: Chain,
    /// Everything up to here is durable.
    synced: u64,
    /// Records that are not written yet.
    buffer: Vec<u8>,
    waiting: Vec<(u64, Done)>,
    /// Nobody else may have the directory while this thread can still write to it.
    _lock: Arc<DirLock>,
}

impl Writer {
    pub fn open(
        dir: &Path,
        config: &JournalConfig,
        disk: Arc<dyn Disk>,
        lock: Arc<DirLock>,
        visit: Visit<'_>,
    ) -> Result<(Self, JournalSummary), JournalError> {
        let Scan { mut summary, segments, last } = scan(dir, &*disk, visit)?;
        for name in disk.list(dir)?.iter().filter(|name| name.ends_with(TEMPORARY_SUFFIX)) {
            disk.remove(&dir.join(name))?;
        }
        let mut segments: BTreeSet<u64> = segments.into_iter().collect();
        // A host may have died, or its disk failed, between giving a segment or the directory its name and making the
        // name durable. Whatever is written from now on would go with it.
        disk.sync_dir(dir)?;
        disk.sync_dir(dir.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new(".")))?;
        let (segment, chain) = match last {
            Some(last) => (Segment::resume(dir, &*disk, &last, &mut summary)?, last.chain),
            None => {
                let header = Header { first_seq: FIRST_SEQ, chain: GENESIS };
                segments.insert(FIRST_SEQ);
                (Segment::create(dir, &*disk, header, config)?, GENESIS)
            }
        };
        let writer = Self {
            dir: dir.to_owned(),
            disk,
            config: config.clone(),
            shared: Arc::new(Shared::new(segments)),
            segment,
            ahead: Ahead::default(),
            next_seq: summary.next_seq,
            chain,
            synced: summary.next_seq - 1,
            buffer: Vec::new(),
            waiting: Vec::new(),
            _lock: lock,
        };
        Ok((writer, summary))
    }

    pub fn shared(&self) -> Arc<Shared> {
        Arc::clone(&self.shared)
    }

    pub fn run(mut self, jobs: &Receiver<Job>) {
        while let Ok(first) = jobs.recv() {
            self.write_group(first, jobs);
        }
        if let Some(spare) = self.ahead.take() {
            spare.discard(&*self.disk);
        }
        if self.shared.failure().is_none() {
            // From now on, damage to any record is known to be damage. A failure costs only that.
            let _ = self.segment.mark(self.synced);
        }
    }

    /// Makes durable what is queued, as far as a group has room.
    fn write_group(&mut self, first: Job, jobs: &Receiver<Job>) {
        let group_max = usize::try_from(self.config.group_records_max.get()).unwrap_or(usize::MAX);
        let mut staged = self.stage_all(first);
        while staged < group_max
            && let Ok(job) = jobs.try_recv()
        {
            staged += self.stage_all(job);
        }
        self.commit();
        self.look_ahead();
    }

    /// What the thread does with the next job, and with the file that it has made beside it.
    #[cfg(test)]
    pub fn step(&mut self, jobs: &Receiver<Job>) {
        if let Ok(first) = jobs.try_recv() {
            self.write_group(first, jobs);
            self.ahead.settle();
        }
    }

    fn stage_all(&mut self, job: Job) -> usize {
        let count = job.len();
        job.into_iter().for_each(|record| self.stage(record));
        count
    }

    /// Puts a record into the buffer, which is committed first when the segment has no room left.
    fn stage(&mut self, NewRecord { payload, done }: NewRecord) {
        let end = self.segment.offset + (self.buffer.len() + RECORD_OVERHEAD_BYTES + payload.len()) as u64;
        if end > self.segment.bytes {
            self.commit();
            if self.shared.failure().is_none()
                && let Err(error) = self.roll()
            {
                self.shared.fail(error);
            }
        }
        if let Some(error) = self.shared.failure() {
            answer(done, Err(error.clone()));
            return;
        }
        let seq = self.next_seq;
        let checksum = self.segment.header.checksum();
        self.chain = encode_record(&mut self.buffer, checksum, &self.chain, seq, self.synced, &payload);
        self.next_seq += 1;
        self.waiting.push((seq, done));
    }

    /// Makes the buffer durable and answers everybody who waits for it, in order.
    fn commit(&mut self) {
        if self.waiting.is_empty() {
            return;
        }
        match self.segment.append(&self.buffer) {
            Ok(()) => self.synced = self.next_seq - 1,
            Err(error) => self.shared.fail(error),
        }
        self.buffer.clear();
        let failed = self.shared.failure();
        for (seq, done) in self.waiting.drain(..) {
            answer(done, failed.cloned().map_or(Ok(seq), Err));
        }
    }

    /// Has the next segment made once this one is half full: early enough for a slow disk, and a host that
    /// writes little never makes one for nothing.
    fn look_ahead(&mut self) {
        if self.segment.offset > self.segment.bytes / 2 && self.shared.failure().is_none() {
            let bytes = u64::from(self.config.segment_bytes_max);
            self.ahead.begin(&self.dir, &self.disk, self.segment.header.first_seq, bytes);
        }
    }

    fn roll(&mut self) -> Result<(), DiskError> {
        let header = Header { first_seq: self.next_seq, chain: self.chain };
        self.segment = match self.ahead.take() {
            Some(spare) => spare.name(&self.dir, &*self.disk, header)?,
            None => Segment::create(&self.dir, &*self.disk, header, &self.config)?,
        };
        self.shared.segments().insert(header.first_seq);
        Ok(())
    }
}

/// A caller's panic is the caller's: the record is durable and the others still wait.
fn answer(done: Done, result: Result<u64, JournalError>) {
    let _ = catch_unwind(AssertUnwindSafe(|| done(result)));
}
