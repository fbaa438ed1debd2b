//! Keeps dead letters in sled, as an index that the journal can always rebuild.
//!
//! The directory holds `LOCK`, the database `db`, and in `payloads` the letters that are too large for it.
//! Crash model: a change that has returned survives a loss of power, since the database's file is synced
//! by our own handle (sled's `flush` starts the writing and does not wait for the disk). Damage is found,
//! never returned and never deleted. It may cost letters, though: whoever opens the store puts every
//! letter of the journal again, which changes nothing for those that are there.

mod envelope;
mod opening;
#[cfg(test)]
mod tests;

pub use envelope::EnvelopeFault;

use super::{
    Class, Classified, DeadLetter, DirLock, Disk, DiskError, DiskOperation, LetterCounts, LetterError,
    LetterId, LetterRefusal, LetterState, LockError,
};
use crate::market::UnixNanos;
use envelope::{Sealed, file_of, seal};
use opening::{DATABASE, Opening, PAYLOADS, TEMPORARY_SUFFIX, panic_text, read_letter};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::File;
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
}

impl Default for DeadLetterStoreConfig {
    fn default() -> Self {
        const FLUSH: NonZeroU32 = NonZeroU32::new(200).unwrap();
        Self {
            cache_bytes_max: 16 * 1024 * 1024,
            flush_interval_ms: FLUSH,
            open_timeout_ms: 30_000,
            letter_bytes_max: 1024 * 1024,
        }
    }
}

/// In what state the store was found.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub enum Opened {
    /// Every letter verifies.
    Clean,
    /// These letters did not verify and were set aside inside the database.
    Damaged {
        /// Their names, as far as they can be read.
        letters: Vec<String>,
    },
    /// The database could not be opened. It was renamed, and an empty one took its place.
    Rebuilt {
        /// Its name now.
        set_aside: PathBuf,
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
    /// The database reports that the disk failed.
    #[error("dead letters: the database cannot reach the disk: {0}; restart the host once the disk is well")]
    Io(String),
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

impl From<sled::Error> for StoreError {
    fn from(error: sled::Error) -> Self {
        match error {
            sled::Error::Io(io) => Self::Io(io.to_string()),
            other => Self::Database(other.to_string()),
        }
    }
}

impl Classified for StoreError {
    fn class(&self) -> Class {
        match self {
            Self::Lock(_) | Self::Disk(_) | Self::Io(_) | Self::OpenTimeout { .. } | Self::Thread(_) => {
                Class::Resource
            }
            Self::Database(_) | Self::Letter { .. } => Class::State,
            Self::NotFound(_) | Self::Refused(_) | Self::Encode { .. } | Self::TooLarge { .. } => {
                Class::Logic
            }
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Lock(error) => error.code(),
            Self::Disk(error) => error.code(),
            Self::Io(_) => "dead_letters_io",
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
        matches!(self, Self::Disk(_) | Self::Io(_) | Self::Database(_))
    }
}

/// What is needed to count and to sort without reading letters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    state: LetterState,
    ambiguous: bool,
    first_at: UnixNanos,
}

impl Entry {
    fn of(letter: &DeadLetter) -> Self {
        Self { state: letter.status.state(), ambiguous: letter.ambiguous, first_at: letter.first_at }
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
    entries: Mutex<BTreeMap<LetterId, Entry>>,
    failed: OnceLock<StoreError>,
    _lock: DirLock,
}

struct Database {
    db: sled::Db,
    letters: sled::Tree,
    /// Our own handle on the database's file: syncing any handle syncs the file.
    file: File,
    path: PathBuf,
}

impl DeadLetterStore {
    /// Opens or creates the store in `dir`.
    ///
    /// # Errors
    /// When another host has it, the disk fails, or opening takes too long. A damaged database is no
    /// error: it is set aside and reported.
    pub fn open(
        dir: &Path,
        config: DeadLetterStoreConfig,
        disk: Arc<dyn Disk>,
    ) -> Result<(Self, Opened), StoreError> {
        disk.create_dir(dir)?;
        let lock = DirLock::acquire(dir)?;
        let (Opening { db, letters, entries, damaged }, aside) = opening::open(dir, &config, &disk)?;
        let path = dir.join(DATABASE).join("db");
        let file = File::open(&path).map_err(|e| DiskError::new(DiskOperation::Open, &path, &e))?;
        let store = Self {
            dir: dir.to_owned(),
            config,
            disk,
            database: Some(Database { db, letters, file, path }),
            entries: Mutex::new(entries),
            failed: OnceLock::new(),
            _lock: lock,
        };
        store.guarded(|store| {
            store.sync()?;
            // The database's files may be as new as the directory.
            store.disk.sync_dir(&store.dir.join(DATABASE))?;
            Ok(store.disk.sync_dir(&store.dir)?)
        })?;
        let opened = match aside {
            Some(set_aside) => Opened::Rebuilt { set_aside },
            None if damaged.is_empty() => Opened::Clean,
            None => Opened::Damaged { letters: damaged },
        };
        Ok((store, opened))
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
            let mut entries = store.entries();
            if entries.contains_key(&letter.id) {
                return Ok(false);
            }
            store.replace(letter, None)?;
            entries.insert(letter.id.clone(), Entry::of(letter));
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
            let entries = store.entries();
            let wanted = entries.iter().filter(|(_, entry)| state.is_none_or(|state| state == entry.state));
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
        for entry in self.entries().values() {
            match entry.state {
                LetterState::Dead => counts.dead += 1,
                LetterState::Requeued => counts.requeued += 1,
                LetterState::Resolved => {
                    counts.resolved += 1;
                    continue;
                }
            }
            counts.ambiguous += u64::from(entry.ambiguous);
            counts.oldest = Some(counts.oldest.map_or(entry.first_at, |oldest| oldest.min(entry.first_at)));
        }
        counts
    }

    fn change(
        &self,
        id: &LetterId,
        change: impl FnOnce(&mut DeadLetter) -> Result<(), LetterRefusal>,
    ) -> Result<DeadLetter, StoreError> {
        self.guarded(|store| {
            let mut entries = store.entries();
            let (mut letter, old) = store.read(id)?.ok_or_else(|| StoreError::NotFound(id.clone()))?;
            change(&mut letter)?;
            store.replace(&letter, Some(&old))?;
            entries.insert(id.clone(), Entry::of(&letter));
            Ok(letter)
        })
    }

    fn read(&self, id: &LetterId) -> Result<Option<(DeadLetter, sled::IVec)>, StoreError> {
        let key = id.as_str().as_bytes();
        let Some(value) = self.database()?.letters.get(key)? else { return Ok(None) };
        match read_letter(key, &value, &self.dir, &*self.disk)? {
            Ok(letter) => Ok(Some((letter, value))),
            Err(fault) => Err(StoreError::Letter { id: id.clone(), fault }),
        }
    }

    /// Stores a letter in place of `old`, durably. The file that only the old value needed goes last.
    fn replace(&self, letter: &DeadLetter, old: Option<&sled::IVec>) -> Result<(), StoreError> {
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
        let Sealed { value, file } = seal(&content);
        if let Some(file) = &file {
            self.write_file(file, &content)?;
        }
        let swapped = self.database()?.letters.compare_and_swap(letter.id.as_str(), old, Some(value))?;
        if swapped.is_err() {
            return Err(StoreError::Database(format!("letter {} changed behind our back", letter.id)));
        }
        self.sync()?;
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

    fn sync(&self) -> Result<(), StoreError> {
        let database = self.database()?;
        database.db.flush()?;
        let synced = database.file.sync_data();
        Ok(synced.map_err(|e| DiskError::new(DiskOperation::SyncData, &database.path, &e))?)
    }

    fn database(&self) -> Result<&Database, StoreError> {
        self.database.as_ref().ok_or_else(|| StoreError::Database("it is closed".to_owned()))
    }

    fn entries(&self) -> MutexGuard<'_, BTreeMap<LetterId, Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs one piece of work unless the store has failed; a panic of the database is a failure too.
    fn guarded<T>(&self, work: impl FnOnce(&Self) -> Result<T, StoreError>) -> Result<T, StoreError> {
        if let Some(error) = self.failed.get() {
            return Err(error.clone());
        }
        let done = catch_unwind(AssertUnwindSafe(|| work(self)));
        let result = done.unwrap_or_else(|panic| Err(StoreError::Database(panic_text(&*panic))));
        if let Err(error) = &result
            && error.is_final()
        {
            tracing::error!(%error, "the dead-letter store has failed");
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
