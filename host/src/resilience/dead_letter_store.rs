//! Keeps dead letters in sled, as an index that the journal can always rebuild.
//!
//! The directory holds `LOCK`, the database `db`, the `seal` that says what must be in it, and in `payloads`
//! the letters that are too large for it.
//!
//! Crash model: a change that has returned survives a loss of power, since the database's file is synced
//! by our own handle (sled's `flush` starts the writing and does not wait for the disk). Damage is found,
//! never returned and never deleted: a database that lacks a change is set aside, and what can be read of it
//! begins a new one. What could not be read is gone from here; a host puts every letter of the journal again.

mod database;
mod envelope;
mod opening;
mod prune;
mod seal;
#[cfg(test)]
mod tests;

pub use envelope::EnvelopeFault;

use super::{
    Class, Classified, DeadLetter, DirLock, Disk, DiskError, LetterAlert, LetterAlertConfig, LetterCounts,
    LetterError, LetterId, LetterRefusal, LetterState, LetterStatus, LockError, database_alert,
    letter_alerts,
};
use crate::market::UnixNanos;
use database::{Database, Sealing};
use envelope::{Wrapped, file_of, wrap};
use opening::{DATABASE, Opening, PAYLOADS, Purpose, TEMPORARY_SUFFIX, read_letter};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use thiserror::Error;

/// No letter of any configuration is larger.
const PAYLOAD_BYTES_LIMIT: u64 = 64 * 1024 * 1024;

/// Limits of the store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DeadLetterStoreConfig {
    /// Memory that the database may use. Default 16 MiB; its own default is 1 GiB, and letters are few.
    pub cache_bytes_max: u32,
    /// How often the database writes by itself. Default 200 ms; it also collects its garbage then, so
    /// that it has to happen although every change is flushed at once.
    pub flush_interval_ms: NonZeroU32,
    /// How long opening may take. Default 30,000 ms: far above what any healthy database needs.
    pub open_timeout_ms: u32,
    /// Largest letter. Default 1 MiB: a request body and 64 failures take a tenth of it.
    pub letter_bytes_max: u32,
    /// How long a letter is kept that is done with. Default 2,592,000, thirty days: long enough to answer for what
    /// was decided about it; the journal's own word is gone sooner.
    pub letter_closed_age_s: u64,
}

impl Default for DeadLetterStoreConfig {
    fn default() -> Self {
        const FLUSH: NonZeroU32 = NonZeroU32::new(200).unwrap();
        Self {
            cache_bytes_max: 16 * 1024 * 1024,
            flush_interval_ms: FLUSH,
            open_timeout_ms: 30_000,
            letter_bytes_max: 1024 * 1024,
            letter_closed_age_s: 30 * 24 * 3_600,
        }
    }
}

/// In what state the store was found.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub enum Opened {
    /// It holds what its seal says, and every letter verifies.
    Clean,
    /// It did not. The database was renamed, and one with what can be read of it took its place.
    Rebuilt {
        /// Its name now.
        set_aside: PathBuf,
        /// What was wrong with it.
        reason: String,
        /// Letters that could be read, and are in the new one.
        kept: u64,
        /// The names of letters that could not, as far as even those can be read.
        unreadable: Vec<String>,
    },
}

/// Why the store cannot be opened, read or changed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum StoreError {
    /// Another host has the store, or it cannot be locked.
    #[error("dead letters: {0}")]
    Lock(#[from] LockError),
    /// The disk failed.
    #[error("dead letters: {0}")]
    Disk(#[from] DiskError),
    /// The database lost letters, and whoever asked cannot give them back.
    #[error(
        "dead letters: the database {} is damaged: {reason}; nothing is shown or changed, since letters may be \
         missing; start the host, which sets the database aside and brings every letter back from what can be read \
         of it and from the journal",
        path.display()
    )]
    Damaged {
        /// The database.
        path: PathBuf,
        /// What was expected and what was found.
        reason: String,
    },
    /// The database is damaged, or has a fault of its own.
    #[error("dead letters: the database failed: {0}; restart the host to set it aside and rebuild it")]
    Database(String),
    /// Opening did not come to an end.
    #[error(
        "dead letters: opening {} took longer than {timeout_ms} ms; restart the host, or move the directory \
         away to have it rebuilt from the journal",
        path.display()
    )]
    OpenTimeout {
        /// The database.
        path: PathBuf,
        /// The limit.
        timeout_ms: u32,
    },
    /// A thread could not be started.
    #[error("dead letters: cannot run the thread that opens the database: {0}")]
    Thread(String),
    /// One letter is not what was stored.
    #[error("dead letter {id} is damaged: {fault}; restart the host to set it aside and rebuild it")]
    Letter {
        /// Which letter.
        id: LetterId,
        /// What is wrong.
        fault: EnvelopeFault,
    },
    /// There is no such letter.
    #[error("there is no dead letter {0}; list them to see which there are")]
    NotFound(LetterId),
    /// The letter does not allow it.
    #[error(transparent)]
    Refused(#[from] LetterRefusal),
    /// A letter cannot be written as CBOR, which is a fault of this program.
    #[error("dead letter {id} cannot be encoded: {message}; please report this")]
    Encode {
        /// Which letter.
        id: LetterId,
        /// The encoder's words.
        message: String,
    },
    /// A letter is too large.
    #[error("dead letter {id}: expected at most {bytes_max} bytes, found {bytes}")]
    TooLarge {
        /// Which letter.
        id: LetterId,
        /// Its size.
        bytes: u64,
        /// The limit.
        bytes_max: u64,
    },
}

impl Classified for StoreError {
    fn class(&self) -> Class {
        match self {
            Self::Lock(_) | Self::Disk(_) | Self::OpenTimeout { .. } | Self::Thread(_) => Class::Resource,
            Self::Damaged { .. } | Self::Database(_) | Self::Letter { .. } => Class::State,
            Self::NotFound(_) | Self::Refused(_) | Self::Encode { .. } | Self::TooLarge { .. } => {
                Class::Logic
            }
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Lock(error) => error.code(),
            Self::Disk(error) => error.code(),
            Self::Damaged { .. } => "dead_letters_damaged",
            Self::Database(_) => "dead_letters_database",
            Self::OpenTimeout { .. } => "dead_letters_open_timeout",
            Self::Thread(_) => "dead_letters_thread",
            Self::Letter { .. } => "dead_letter_damaged",
            Self::NotFound(_) => "dead_letter_not_found",
            Self::Refused(refusal) => refusal.code(),
            Self::Encode { .. } => "dead_letter_encode",
            Self::TooLarge { .. } => "dead_letter_too_large",
        }
    }
}

impl StoreError {
    /// Whether nothing that the store says can be trusted after it.
    fn is_final(&self) -> bool {
        matches!(self, Self::Disk(_) | Self::Database(_))
    }
}

/// What is needed to count and to sort without reading letters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    state: LetterState,
    ambiguous: bool,
    first_at: UnixNanos,
    last_at: UnixNanos,
    closed_at: Option<UnixNanos>,
    /// What it takes in the database.
    bytes: u64,
}

impl Entry {
    fn of(letter: &DeadLetter, value: &[u8]) -> Self {
        let closed_at = match letter.status {
            LetterStatus::Resolved { at, .. } | LetterStatus::Reissued { at, .. } => Some(at),
            LetterStatus::Dead | LetterStatus::Requeued | LetterStatus::Reissuing { .. } => None,
        };
        Self {
            closed_at,
            bytes: (letter.id.as_str().len() as u64).saturating_add(value.len() as u64),
            state: letter.status.state(),
            ambiguous: letter.ambiguous,
            first_at: letter.first_at,
            last_at: letter.last_at,
        }
    }
}

/// Dead letters on the disk. Its calls wait for the disk; an async caller makes them on a thread.
pub struct DeadLetterStore {
    dir: PathBuf,
    config: DeadLetterStoreConfig,
    disk: Arc<dyn Disk>,
    /// `None` only while it is being dropped.
    database: Option<Database>,
    /// Holding it is the right to change anything.
    index: Mutex<Index>,
    failed: OnceLock<StoreError>,
    _lock: DirLock,
}

struct Index {
    entries: BTreeMap<LetterId, Entry>,
    sealing: Sealing,
}

impl DeadLetterStore {
    /// Opens or creates the store in `dir`, for a host: one that lost letters is rebuilt, and
    /// [incomplete](Self::is_complete) until the journal has given them back.
    ///
    /// # Errors
    /// When another host has it, the disk fails, or opening takes too long. A damaged database is no
    /// error: it is set aside and reported.
    pub fn open(
        dir: &Path,
        config: DeadLetterStoreConfig,
        disk: Arc<dyn Disk>,
    ) -> Result<(Self, Opened), StoreError> {
        Self::open_for(Purpose::Repair, dir, config, disk)
    }

    /// Opens the store for an operator, who has no journal at hand: nothing is repaired.
    ///
    /// # Errors
    /// As [`DeadLetterStore::open`], and when the database is damaged or incomplete.
    pub fn open_whole(
        dir: &Path,
        config: DeadLetterStoreConfig,
        disk: Arc<dyn Disk>,
    ) -> Result<Self, StoreError> {
        Self::open_for(Purpose::Look, dir, config, disk).map(|(store, _)| store)
    }

    fn open_for(
        purpose: Purpose,
        dir: &Path,
        config: DeadLetterStoreConfig,
        disk: Arc<dyn Disk>,
    ) -> Result<(Self, Opened), StoreError> {
        disk.create_dir(dir)?;
        let lock = DirLock::acquire(dir)?;
        let opening = catch_unwind(AssertUnwindSafe(|| opening::open(dir, &config, &disk, purpose)));
        let opening = opening.unwrap_or_else(|panic| Err(database::panicked(&dir.join(DATABASE), &*panic)));
        let Opening { database, sealing, entries, opened } = opening?;
        let store = Self {
            dir: dir.to_owned(),
            config,
            disk,
            database: Some(database),
            index: Mutex::new(Index { entries, sealing }),
            failed: OnceLock::new(),
            _lock: lock,
        };
        Ok((store, opened))
    }

    /// Whether every letter that was ever kept is there, as far as anybody knows.
    pub fn is_complete(&self) -> bool {
        !self.index().sealing.mark.incomplete
    }

    /// Takes note that every letter of the journal has been [restored](Self::restore) since the store was
    /// rebuilt.
    ///
    /// # Errors
    /// When the store has failed.
    pub fn set_complete(&self) -> Result<(), StoreError> {
        self.guarded(|store| {
            let sealing = &mut store.index().sealing;
            if !sealing.mark.incomplete {
                return Ok(());
            }
            let tally = sealing.mark.tally;
            store.database()?.commit(sealing, sled::Batch::default(), (tally, false), &*store.disk)
        })
    }

    /// The error after which nothing here is read or changed any more, until the host is restarted.
    pub fn failure(&self) -> Option<&StoreError> {
        self.failed.get()
    }

    /// Keeps a letter, unless there is one of that name. Says whether it was new.
    ///
    /// # Errors
    /// When the letter is too large or the store has failed.
    pub fn put_if_absent(&self, letter: &DeadLetter) -> Result<bool, StoreError> {
        self.guarded(|store| {
            let index = &mut *store.index();
            if index.entries.contains_key(&letter.id) {
                return Ok(false);
            }
            store.replace(index, letter, None)?;
            Ok(true)
        })
    }

    /// Adds a failure, which makes the letter dead again; see [`DeadLetter::append_error`].
    ///
    /// # Errors
    /// When there is no such letter, it is resolved, or the store has failed.
    pub fn append_error(
        &self,
        id: &LetterId,
        error: LetterError,
        attempts: u32,
        ambiguous: bool,
    ) -> Result<DeadLetter, StoreError> {
        self.change(id, |letter| letter.append_error(error, attempts, ambiguous))
    }

    /// Starts a replay of a letter that is still as the operator saw it; see [`DeadLetter::requeue`].
    ///
    /// # Errors
    /// When there is no such letter, it has changed, it cannot be replayed, or the store has failed.
    pub fn requeue(&self, id: &LetterId, expected_replay: u32) -> Result<DeadLetter, StoreError> {
        self.change(id, |letter| letter.requeue(expected_replay))
    }

    /// Orders a new intent in place of a letter that is still as the operator saw it; see
    /// [`DeadLetter::reissue`].
    ///
    /// # Errors
    /// When there is no such letter, it has changed, it cannot be issued again, or the store has failed.
    pub fn reissue(
        &self,
        id: &LetterId,
        expected_replay: u32,
        note: &str,
        not_executed: bool,
    ) -> Result<DeadLetter, StoreError> {
        self.change(id, |letter| letter.reissue(expected_replay, note, not_executed))
    }

    /// Answers an operator's order that was refused; see [`DeadLetter::refuse`].
    ///
    /// # Errors
    /// When there is no such letter, or the store has failed.
    pub fn refuse(&self, id: &LetterId, replay: u32, error: LetterError) -> Result<DeadLetter, StoreError> {
        self.change(id, |letter| {
            letter.refuse(replay, error);
            Ok(())
        })
    }

    /// Takes in what the journal knows of a letter, when the index has no such letter or has missed
    /// something; see [`DeadLetter::supersedes`]. Says whether anything changed.
    ///
    /// # Errors
    /// When the letter is too large or the store has failed.
    pub fn restore(&self, letter: &DeadLetter) -> Result<bool, StoreError> {
        self.guarded(|store| {
            let index = &mut *store.index();
            let old = match store.read(&letter.id)? {
                Some((known, _)) if !letter.supersedes(&known) => return Ok(false),
                Some((_, old)) => Some(old),
                None => None,
            };
            store.replace(index, letter, old.as_ref())?;
            Ok(true)
        })
    }

    /// Ends a letter; see [`DeadLetter::resolve`].
    ///
    /// # Errors
    /// When there is no such letter, no note, it is resolved already, or the store has failed.
    pub fn resolve(&self, id: &LetterId, note: &str, at: UnixNanos) -> Result<DeadLetter, StoreError> {
        self.change(id, |letter| letter.resolve(note, at))
    }

    /// One letter.
    ///
    /// # Errors
    /// When it is damaged or the store has failed.
    pub fn get(&self, id: &LetterId) -> Result<Option<DeadLetter>, StoreError> {
        self.guarded(|store| Ok(store.read(id)?.map(|(letter, _)| letter)))
    }

    /// Letters in a state, or all, oldest first, at most `limit`.
    ///
    /// # Errors
    /// When one of them is damaged or the store has failed.
    pub fn list(&self, state: Option<LetterState>, limit: usize) -> Result<Vec<DeadLetter>, StoreError> {
        self.guarded(|store| {
            let index = store.index();
            let wanted =
                index.entries.iter().filter(|(_, entry)| state.is_none_or(|state| state == entry.state));
            let mut wanted: Vec<(UnixNanos, &LetterId)> =
                wanted.map(|(id, entry)| (entry.first_at, id)).collect();
            wanted.sort();
            let letters = wanted.into_iter().take(limit).filter_map(|(_, id)| store.read(id).transpose());
            letters.map(|read| read.map(|(letter, _)| letter)).collect()
        })
    }

    /// How many there are. Reads nothing from the disk.
    pub fn counts(&self) -> LetterCounts {
        let mut counts = LetterCounts::default();
        for entry in self.index().entries.values() {
            match entry.state {
                LetterState::Dead => counts.dead += 1,
                LetterState::Requeued | LetterState::Reissuing => counts.requeued += 1,
                LetterState::Resolved | LetterState::Reissued => {
                    counts.resolved += 1;
                    continue;
                }
            }
            counts.ambiguous += u64::from(entry.ambiguous);
            counts.oldest = Some(counts.oldest.map_or(entry.first_at, |oldest| oldest.min(entry.first_at)));
        }
        counts
    }

    /// What there is to be alarmed about now, the worst first. Asks the disk only how large the database is.
    pub fn alerts(&self, now: UnixNanos, config: &LetterAlertConfig) -> Vec<LetterAlert> {
        let since = config.growth_since(now);
        let grown = |entry: &&Entry| entry.state == LetterState::Dead && entry.last_at >= since;
        let grown = self.index().entries.values().filter(grown).count();
        let mut alerts = letter_alerts(&self.counts(), u64::try_from(grown).unwrap_or(u64::MAX), now, config);
        let live_bytes = self.index().entries.values().map(|entry| entry.bytes).sum();
        let disk_bytes = self.database.as_ref().map_or(0, Database::bytes_on_disk);
        alerts.extend(database_alert(disk_bytes, live_bytes, config));
        alerts
    }

    fn change(
        &self,
        id: &LetterId,
        change: impl FnOnce(&mut DeadLetter) -> Result<(), LetterRefusal>,
    ) -> Result<DeadLetter, StoreError> {
        self.guarded(|store| {
            let index = &mut *store.index();
            let (mut letter, old) = store.read(id)?.ok_or_else(|| StoreError::NotFound(id.clone()))?;
            change(&mut letter)?;
            store.replace(index, &letter, Some(&old))?;
            Ok(letter)
        })
    }

    fn read(&self, id: &LetterId) -> Result<Option<(DeadLetter, sled::IVec)>, StoreError> {
        let key = id.as_str().as_bytes();
        let Some(value) = self.database()?.get(key)? else { return Ok(None) };
        match read_letter(key, &value, &self.dir, &*self.disk)? {
            Ok(letter) => Ok(Some((letter, value))),
            Err(fault) => Err(StoreError::Letter { id: id.clone(), fault }),
        }
    }

    /// Stores a letter in place of `old`, durably. The file that only the old value needed goes last.
    fn replace(
        &self,
        index: &mut Index,
        letter: &DeadLetter,
        old: Option<&sled::IVec>,
    ) -> Result<(), StoreError> {
        let mut content = Vec::new();
        ciborium::into_writer(letter, &mut content)
            .map_err(|e| StoreError::Encode { id: letter.id.clone(), message: e.to_string() })?;
        let (bytes, bytes_max) = (content.len() as u64, u64::from(self.config.letter_bytes_max));
        // A letter that has been kept must be able to take its errors, whatever the limit is now.
        let bytes_max =
            if old.is_some() { PAYLOAD_BYTES_LIMIT } else { bytes_max.min(PAYLOAD_BYTES_LIMIT / 2) };
        if bytes > bytes_max {
            return Err(StoreError::TooLarge { id: letter.id.clone(), bytes, bytes_max });
        }
        let Wrapped { value, file } = wrap(&content);
        if let Some(file) = &file {
            self.write_file(file, &content)?;
        }
        let key = letter.id.as_str().as_bytes();
        let sealing = &mut index.sealing;
        let mut tally = sealing.mark.tally;
        if let Some(old) = old {
            tally.remove(key, old);
        }
        tally.add(key, &value);
        let entry = Entry::of(letter, &value);
        let mut batch = sled::Batch::default();
        batch.insert(key, value);
        let incomplete = sealing.mark.incomplete;
        self.database()?.commit(sealing, batch, (tally, incomplete), &*self.disk)?;
        index.entries.insert(letter.id.clone(), entry);
        match old.and_then(|old| file_of(old)).filter(|old| Some(old) != file.as_ref()) {
            Some(unused) => Ok(self.disk.remove(&self.dir.join(PAYLOADS).join(unused))?),
            None => Ok(()),
        }
    }

    /// Content decides the name, so that a file which is there already is the right one.
    fn write_file(&self, name: &str, content: &[u8]) -> Result<(), StoreError> {
        let payloads = self.dir.join(PAYLOADS);
        if self.disk.list(&payloads)?.iter().any(|existing| existing == name) {
            return Ok(());
        }
        let temporary = payloads.join(format!("{name}{TEMPORARY_SUFFIX}"));
        let mut file = self.disk.create_new(&temporary)?;
        file.write_at(0, content)?;
        file.sync_data()?;
        self.disk.rename(&temporary, &payloads.join(name))?;
        Ok(self.disk.sync_dir(&payloads)?)
    }

    fn database(&self) -> Result<&Database, StoreError> {
        self.database.as_ref().ok_or_else(|| StoreError::Database("it is closed".to_owned()))
    }

    fn index(&self) -> MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs one piece of work unless the store has failed; a panic of the database is a failure too.
    fn guarded<T>(&self, work: impl FnOnce(&Self) -> Result<T, StoreError>) -> Result<T, StoreError> {
        if let Some(error) = self.failed.get() {
            return Err(error.clone());
        }
        let done = catch_unwind(AssertUnwindSafe(|| work(self)));
        let result = done.unwrap_or_else(|panic| Err(database::panicked(&self.dir.join(DATABASE), &*panic)));
        if let Err(error) = &result
            && error.is_final()
        {
            tracing::error!(class = %error.class(), code = error.code(), "the dead-letter store has failed: {error}");
            let _ = self.failed.set(error.clone());
        }
        result
    }
}

impl Drop for DeadLetterStore {
    fn drop(&mut self) {
        // The database panics when the disk fails while it is dropped.
        let database = self.database.take();
        let _ = catch_unwind(AssertUnwindSafe(|| drop(database)));
    }
}
