//! A journal in a directory of this machine: what its users hold.

use super::reader::{JournalSummary, SEGMENT_BYTES_LIMIT, segment_path};
use super::segment::{HEADER_BYTES, RECORD_OVERHEAD_BYTES};
use super::writer::Writer;
use super::{Journal, JournalConfig, JournalError, NewRecord, Visit};
use crate::resilience::{DirLock, Disk, DiskError};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};
use std::thread::{self, JoinHandle};

/// Records on their way to the writer, which follow each other.
pub(super) type Job = Vec<NewRecord>;

/// What the handle and the writer's thread share.
pub(super) struct Shared {
    /// The first error, which is final: after a failed write or sync nobody can know what is on the disk,
    /// and a second sync would report success for pages that the system has thrown away.
    failed: OnceLock<JournalError>,
    /// First sequence number of each segment.
    segments: Mutex<BTreeSet<u64>>,
}

impl Shared {
    pub fn new(segments: BTreeSet<u64>) -> Self {
        Self { failed: OnceLock::new(), segments: Mutex::new(segments) }
    }

    pub fn failure(&self) -> Option<&JournalError> {
        self.failed.get()
    }

    pub fn fail(&self, error: DiskError) {
        tracing::error!(%error, "the journal has failed and takes no more records");
        let _ = self.failed.set(JournalError::Failed(error));
    }

    pub fn segments(&self) -> MutexGuard<'_, BTreeSet<u64>> {
        lock(&self.segments)
    }
}

/// A journal in a directory of this machine.
pub struct FileJournal {
    dir: PathBuf,
    disk: Arc<dyn Disk>,
    config: JournalConfig,
    shared: Arc<Shared>,
    sender: RwLock<Option<SyncSender<Job>>>,
    writer: Mutex<Option<JoinHandle<()>>>,
    /// The first failure of a compaction, which is the last attempt of this run.
    compaction_failed: OnceLock<DiskError>,
    _lock: Arc<DirLock>,
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
        let (journal, summary, writer, jobs) = Self::open_parts(dir, config, disk, visit)?;
        let thread = thread::Builder::new().name("journal".to_owned());
        let handle =
            thread.spawn(move || writer.run(&jobs)).map_err(|e| JournalError::Thread(e.to_string()))?;
        *lock(&journal.writer) = Some(handle);
        Ok((journal, summary))
    }

    /// A journal without a thread: whoever drives the simulation writes what is queued.
    #[cfg(test)]
    pub(crate) fn open_stepwise(
        dir: &Path,
        config: JournalConfig,
        disk: Arc<dyn Disk>,
        visit: Visit<'_>,
    ) -> Result<(Self, JournalSummary, impl FnMut() + use<>), JournalError> {
        let (journal, summary, mut writer, jobs) = Self::open_parts(dir, config, disk, visit)?;
        Ok((journal, summary, move || writer.step(&jobs)))
    }

    fn open_parts(
        dir: &Path,
        config: JournalConfig,
        disk: Arc<dyn Disk>,
        visit: Visit<'_>,
    ) -> Result<(Self, JournalSummary, Writer, Receiver<Job>), JournalError> {
        check_config(&config)?;
        disk.create_dir(dir)?;
        let lock = Arc::new(DirLock::acquire(dir)?);
        let (writer, summary) = Writer::open(dir, &config, Arc::clone(&disk), Arc::clone(&lock), visit)?;
        let capacity = usize::try_from(config.queue_records_max.get()).unwrap_or(usize::MAX);
        let (sender, jobs) = sync_channel(capacity);
        let journal = Self {
            dir: dir.to_owned(),
            disk,
            config,
            shared: writer.shared(),
            sender: RwLock::new(Some(sender)),
            writer: Mutex::new(None),
            compaction_failed: OnceLock::new(),
            _lock: lock,
        };
        Ok((journal, summary, writer, jobs))
    }

    /// Why nothing can be written any more, if so.
    pub fn failure(&self) -> Option<&JournalError> {
        self.shared.failure()
    }

    /// How many segments there are, and the first record in them.
    pub fn extent(&self) -> (u64, u64) {
        let segments = self.shared.segments();
        (u64::try_from(segments.len()).unwrap_or(u64::MAX), segments.first().copied().unwrap_or(0))
    }

    /// How many segments hold only records below `below_seq` and may go, the newest
    /// [`JournalConfig::segments_kept_min`] excepted; zero when compaction is off.
    pub fn compactable(&self, below_seq: u64) -> usize {
        if !self.config.compact {
            return 0;
        }
        let segments = self.shared.segments();
        let kept_min = usize::try_from(self.config.segments_kept_min.get()).unwrap_or(usize::MAX);
        // A segment ends where the next one begins.
        let ends = segments.iter().skip(1);
        ends.take_while(|end| **end <= below_seq).count().min(segments.len().saturating_sub(kept_min))
    }

    /// Removes the segments of [`FileJournal::compactable`], oldest first, and returns how many. Safe only below
    /// the oldest checkpoint that is kept and verified.
    ///
    /// # Errors
    /// When the disk fails. What is left is still a whole journal, which goes on taking records; it is not
    /// compacted again before the next start, because nobody knows which names the disk still holds.
    pub fn compact(&self, below_seq: u64) -> Result<usize, JournalError> {
        if let Some(error) = self.compaction_failed.get() {
            return Err(error.clone().into());
        }
        let mut removed = 0;
        while self.compactable(below_seq) > 0 {
            // The lock is not held during the removal: the writer would wait for the disk.
            let Some(first) = self.shared.segments().pop_first() else { break };
            if let Err(error) = self.remove(first) {
                let _ = self.compaction_failed.set(error.clone());
                return Err(error.into());
            }
            removed += 1;
        }
        Ok(removed)
    }

    /// The name is gone for good before the next one goes: a loss of power that kept an older segment and lost
    /// a newer one would leave a hole.
    fn remove(&self, first_seq: u64) -> Result<(), DiskError> {
        self.disk.remove(&segment_path(&self.dir, first_seq))?;
        self.disk.sync_dir(&self.dir)
    }

    /// Takes no more records, waits until those queued are durable, and ends the writer. Dropping
    /// the journal does the same without saying how it went; only that lets another host have it.
    ///
    /// # Errors
    /// When the journal has failed.
    pub fn close(&self) -> Result<(), JournalError> {
        drop(self.sender.write().unwrap_or_else(PoisonError::into_inner).take());
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
    fn append_all(&self, records: Vec<NewRecord>) -> Result<(), JournalError> {
        let bytes_max = self.config.record_bytes_max;
        let bytes = records.iter().map(|record| record.payload.len() as u64).max().unwrap_or(0);
        if bytes > u64::from(bytes_max) {
            return Err(JournalError::RecordTooLarge { bytes, bytes_max });
        }
        if let Some(error) = self.failure() {
            return Err(error.clone());
        }
        // The lock is not held while waiting for room: closing would wait for that too.
        let sender = self.sender.read().unwrap_or_else(PoisonError::into_inner).clone();
        let sender = sender.ok_or(JournalError::Closed)?;
        sender.send(records).map_err(|_| JournalError::Closed)
    }
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

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
