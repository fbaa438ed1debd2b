//! The one writer of a journal: a thread that commits everything queued with a single sync.

use super::reader::{
    FIRST_SEQ, JournalSummary, LastSegment, SEGMENT_BYTES_LIMIT, Scan, TEMPORARY_SUFFIX, scan, segment_path,
};
use super::segment::{
    Chain, GENESIS, HEADER_BYTES, Header, MARK_OFFSET, RECORD_OVERHEAD_BYTES, encode_record, used_bytes,
};
use super::{Done, Journal, JournalConfig, JournalError, Visit};
use crate::resilience::{DirLock, Disk, DiskError, DiskFile};
use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::{self, JoinHandle};

/// Zeros are written in pieces of this size.
static ZEROS: [u8; 64 * 1024] = [0; 64 * 1024];

struct Job {
    payload: Vec<u8>,
    done: Done,
}

/// What the handle and the writer's thread share.
struct Shared {
    /// The first error, which is final: after a failed write or sync nobody can know what is on the disk,
    /// and a second sync would report success for pages that the system has thrown away.
    failed: OnceLock<JournalError>,
    /// First sequence number of each segment.
    segments: Mutex<BTreeSet<u64>>,
}

/// A journal in a directory of this machine.
pub struct FileJournal {
    dir: PathBuf,
    disk: Arc<dyn Disk>,
    config: JournalConfig,
    shared: Arc<Shared>,
    sender: Mutex<Option<SyncSender<Job>>>,
    writer: Mutex<Option<JoinHandle<()>>>,
    _lock: DirLock,
}

struct Writer {
    dir: PathBuf,
    disk: Arc<dyn Disk>,
    config: JournalConfig,
    shared: Arc<Shared>,
    segment: Segment,
    next_seq: u64,
    chain: Chain,
    /// Everything up to here is durable.
    synced: u64,
    /// Records that are not written yet.
    buffer: Vec<u8>,
    waiting: Vec<(u64, Done)>,
}

/// The segment that is being written.
struct Segment {
    file: Box<dyn DiskFile>,
    header: Header,
    bytes: u64,
    /// Where the buffer belongs.
    offset: u64,
}

impl FileJournal {
    /// Opens or creates the journal in `dir`, verifies all of it and shows every record to `visit`,
    /// oldest first. A torn tail is set aside and cut. When this returns, everything shown is durable.
    ///
    /// # Errors
    /// When another host has the journal, the disk fails, a record is corrupt or missing, or `visit`
    /// refuses one. A corrupt journal is left exactly as it is.
    pub fn open(
        dir: &Path,
        config: JournalConfig,
        disk: Arc<dyn Disk>,
        visit: Visit<'_>,
    ) -> Result<(Self, JournalSummary), JournalError> {
        check_config(&config)?;
        disk.create_dir(dir)?;
        let lock = DirLock::acquire(dir)?;
        let (writer, summary) = Writer::open(dir, &config, Arc::clone(&disk), visit)?;
        let shared = Arc::clone(&writer.shared);
        let capacity = usize::try_from(config.queue_records_max.get()).unwrap_or(usize::MAX);
        let (sender, receiver) = sync_channel(capacity);
        let thread = thread::Builder::new().name("journal".to_owned());
        let handle =
            thread.spawn(move || writer.run(&receiver)).map_err(|e| JournalError::Thread(e.to_string()))?;
        let journal = Self {
            dir: dir.to_owned(),
            disk,
            config,
            shared,
            sender: Mutex::new(Some(sender)),
            writer: Mutex::new(Some(handle)),
            _lock: lock,
        };
        Ok((journal, summary))
    }

    /// Why nothing can be written any more, if so.
    pub fn failure(&self) -> Option<&JournalError> {
        self.shared.failed.get()
    }

    /// Removes the segments that hold only records below `below_seq`, oldest first, and returns how many.
    /// Safe only below the oldest checkpoint that is kept and verified. The newest segment always stays.
    ///
    /// # Errors
    /// When the disk fails. What is left is still a whole journal.
    pub fn compact(&self, below_seq: u64) -> Result<usize, JournalError> {
        // Taken out of the list first, so that neither the writer nor a second compaction waits for the disk.
        let doomed: Vec<u64> = {
            let mut segments = lock(&self.shared.segments);
            // A segment ends where the next one begins.
            let ends = segments.iter().skip(1);
            let count = ends.take_while(|end| **end <= below_seq).count();
            let doomed: Vec<u64> = segments.iter().take(count).copied().collect();
            segments.retain(|first| !doomed.contains(first));
            doomed
        };
        for (removed, first) in doomed.iter().enumerate() {
            if let Err(error) = self.disk.remove(&segment_path(&self.dir, *first)) {
                lock(&self.shared.segments).extend(doomed.iter().skip(removed));
                return Err(error.into());
            }
        }
        if !doomed.is_empty() {
            self.disk.sync_dir(&self.dir)?;
        }
        Ok(doomed.len())
    }

    /// Takes no more records, waits until those queued are durable, and ends the writer. Dropping the
    /// journal does the same without saying how it went; only that lets another host have it.
    ///
    /// # Errors
    /// When the journal has failed.
    pub fn close(&self) -> Result<(), JournalError> {
        drop(lock(&self.sender).take());
        let handle = lock(&self.writer).take();
        // The last handle may be dropped by an answer, that is, by the writer itself.
        if let Some(handle) = handle.filter(|handle| handle.thread().id() != thread::current().id()) {
            let _ = handle.join();
        }
        self.failure().cloned().map_or(Ok(()), Err)
    }
}

impl Drop for FileJournal {
    fn drop(&mut self) {
        let _ = self.close();
    }
}

impl Journal for FileJournal {
    fn append(&self, payload: Vec<u8>, done: Done) -> Result<(), JournalError> {
        let bytes_max = self.config.record_bytes_max;
        if payload.len() as u64 > u64::from(bytes_max) {
            return Err(JournalError::RecordTooLarge { bytes: payload.len() as u64, bytes_max });
        }
        if let Some(error) = self.failure() {
            return Err(error.clone());
        }
        // The lock is not held while waiting: another agent's record would wait for it as well.
        let sender = lock(&self.sender).clone().ok_or(JournalError::Closed)?;
        sender.send(Job { payload, done }).map_err(|_| JournalError::Closed)
    }
}

impl Writer {
    fn open(
        dir: &Path,
        config: &JournalConfig,
        disk: Arc<dyn Disk>,
        visit: Visit<'_>,
    ) -> Result<(Self, JournalSummary), JournalError> {
        let Scan { mut summary, segments, last } = scan(dir, &*disk, visit)?;
        for name in disk.list(dir)?.iter().filter(|name| name.ends_with(TEMPORARY_SUFFIX)) {
            disk.remove(&dir.join(name))?;
        }
        let mut segments: BTreeSet<u64> = segments.into_iter().collect();
        let (segment, chain) = match last {
            Some(last) => (resume(dir, &*disk, &last, &mut summary)?, last.chain),
            None => {
                // The directory itself may be as new as its first file.
                disk.sync_dir(dir.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new(".")))?;
                let header = Header { first_seq: FIRST_SEQ, chain: GENESIS };
                segments.insert(FIRST_SEQ);
                (create(dir, &*disk, header, config)?, GENESIS)
            }
        };
        let shared = Shared { failed: OnceLock::new(), segments: Mutex::new(segments) };
        let writer = Self {
            dir: dir.to_owned(),
            disk,
            config: config.clone(),
            shared: Arc::new(shared),
            segment,
            next_seq: summary.next_seq,
            chain,
            synced: summary.next_seq - 1,
            buffer: Vec::new(),
            waiting: Vec::new(),
        };
        Ok((writer, summary))
    }

    fn run(mut self, jobs: &Receiver<Job>) {
        let group_max = usize::try_from(self.config.group_records_max.get()).unwrap_or(usize::MAX);
        while let Ok(first) = jobs.recv() {
            self.stage(first);
            for job in jobs.try_iter().take(group_max - 1) {
                self.stage(job);
            }
            self.commit();
        }
        if self.shared.failed.get().is_none() {
            // From now on, damage to any record is known to be damage. A failure costs only that.
            let _ = self.segment.mark(self.synced);
        }
    }

    /// Puts a record into the buffer, which is committed first when the segment has no room left.
    fn stage(&mut self, Job { payload, done }: Job) {
        let end = self.segment.offset + (self.buffer.len() + RECORD_OVERHEAD_BYTES + payload.len()) as u64;
        if end > self.segment.bytes {
            self.commit();
            if self.shared.failed.get().is_none()
                && let Err(error) = self.roll()
            {
                self.fail(error);
            }
        }
        if let Some(error) = self.shared.failed.get() {
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
            Err(error) => self.fail(error),
        }
        self.buffer.clear();
        let failed = self.shared.failed.get();
        for (seq, done) in self.waiting.drain(..) {
            answer(done, failed.cloned().map_or(Ok(seq), Err));
        }
    }

    fn roll(&mut self) -> Result<(), DiskError> {
        let header = Header { first_seq: self.next_seq, chain: self.chain };
        self.segment = create(&self.dir, &*self.disk, header, &self.config)?;
        lock(&self.shared.segments).insert(header.first_seq);
        Ok(())
    }

    fn fail(&self, error: DiskError) {
        tracing::error!(%error, "the journal has failed and takes no more records");
        let _ = self.shared.failed.set(JournalError::Failed(error));
    }
}

impl Segment {
    fn append(&mut self, records: &[u8]) -> Result<(), DiskError> {
        self.file.write_at(self.offset, records)?;
        self.file.sync_data()?;
        self.offset += records.len() as u64;
        Ok(())
    }

    fn mark(&mut self, synced: u64) -> Result<(), DiskError> {
        self.file.write_at(MARK_OFFSET as u64, &self.header.mark(synced))?;
        self.file.sync_data()
    }
}

/// Makes a segment full of zeros. It gets its name when it is complete, so that a segment with a bad
/// header is always corruption and never a crash.
fn create(dir: &Path, disk: &dyn Disk, header: Header, config: &JournalConfig) -> Result<Segment, DiskError> {
    let path = segment_path(dir, header.first_seq);
    let temporary = dir.join(format!("{:020}{TEMPORARY_SUFFIX}", header.first_seq));
    let mut file = disk.create_new(&temporary)?;
    file.write_at(0, &header.encode())?;
    let bytes = u64::from(config.segment_bytes_max);
    write_zeros(&mut *file, HEADER_BYTES as u64, bytes)?;
    file.sync_data()?;
    disk.rename(&temporary, &path)?;
    disk.sync_dir(dir)?;
    Ok(Segment { file: disk.open(&path)?, header, bytes, offset: HEADER_BYTES as u64 })
}

/// Goes on with the last segment of a journal.
fn resume(
    dir: &Path,
    disk: &dyn Disk,
    last: &LastSegment,
    summary: &mut JournalSummary,
) -> Result<Segment, JournalError> {
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
    let mut segment = Segment { file, header: last.header, bytes, offset };
    segment.mark(summary.next_seq - 1)?;
    Ok(segment)
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

fn check_config(config: &JournalConfig) -> Result<(), JournalError> {
    let &JournalConfig { segment_bytes_max, record_bytes_max, .. } = config;
    let needed = u64::from(record_bytes_max) + (HEADER_BYTES + RECORD_OVERHEAD_BYTES) as u64;
    let limit = SEGMENT_BYTES_LIMIT;
    if (needed..=limit).contains(&u64::from(segment_bytes_max)) {
        Ok(())
    } else {
        Err(JournalError::Config { segment_bytes_max, record_bytes_max, needed, limit })
    }
}

/// A caller's panic is the caller's: the record is durable and the others still wait.
fn answer(done: Done, result: Result<u64, JournalError>) {
    let _ = catch_unwind(AssertUnwindSafe(|| done(result)));
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
