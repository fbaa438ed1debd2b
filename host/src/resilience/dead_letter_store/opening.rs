//! Opens the database so that nothing in it can keep the host from starting, and nothing is lost unseen.
//!
//! sled 0.34.7 writes a snapshot to `snap.<n>.generating` while it opens and renames it. A process that is
//! killed in between leaves a torn file that the next `open` takes for the newest snapshot and refuses,
//! for ever. Such files are removed first; the rename is what counts. `open` can also hang or panic on
//! damaged files, so it runs on a thread of its own.
//!
//! A database that sled refuses, that lacks what its seal promises, or that holds a letter which does not
//! verify is never written to again: sled appends behind what it could not read, and finds nothing of it the
//! next time. It is put aside whole, and what can be read of it begins a new one.

use super::database::{Database, Sealing, os_error_in, panic_text, store_error};
use super::envelope::{file_of, verify};
use super::seal::{MARK_KEY, Mark, Said, Seal, Tally, Verdict};
use super::{DeadLetterStoreConfig, Entry, EnvelopeFault, Opened, PAYLOAD_BYTES_LIMIT, StoreError};
use crate::resilience::{DeadLetter, Disk, DiskError, DiskOperation, LetterId};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::ErrorKind;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

pub(super) const DATABASE: &str = "db";
pub(super) const PAYLOADS: &str = "payloads";
pub(super) const TEMPORARY_SUFFIX: &str = ".tmp";
/// A new database that is being filled; it takes the place of the damaged one when it is complete.
const REBUILDING: &str = "db.rebuilding";

/// Who opens the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// A host, which has the journal to fill up what was lost.
    Repair,
    /// An operator's command, which must not pass off what is left as everything.
    Look,
}

/// An open database and what is in it.
pub(super) struct Opening {
    pub database: Database,
    pub sealing: Sealing,
    pub entries: BTreeMap<LetterId, Entry>,
    pub opened: Opened,
}

/// Where, how and for whom.
struct Place<'a> {
    dir: &'a Path,
    config: &'a DeadLetterStoreConfig,
    disk: &'a Arc<dyn Disk>,
}

/// What sled made of the files.
struct Loaded {
    db: sled::Db,
    letters: sled::Tree,
    /// The mark that was stored with the last change.
    stored: Option<Mark>,
    found: Tally,
    entries: BTreeMap<LetterId, Entry>,
    /// Letters that do not verify.
    bad: Vec<String>,
}

enum Failure {
    /// The files are damaged; they will be tomorrow.
    Damaged(String),
    /// Something else, that may pass.
    Other(StoreError),
}

impl Failure {
    fn of(path: &Path, error: &sled::Error) -> Self {
        match error {
            sled::Error::Io(io) => match io.kind() {
                ErrorKind::UnexpectedEof
                | ErrorKind::InvalidData
                | ErrorKind::InvalidInput
                | ErrorKind::NotFound => Self::Damaged(error.to_string()),
                _ => Self::Other(store_error(path, error)),
            },
            _ => Self::Damaged(error.to_string()),
        }
    }

    fn of_panic(path: &Path, text: String) -> Self {
        match os_error_in(&text).map(|error| Self::of(path, &sled::Error::Io(error))) {
            Some(Self::Other(error)) => Self::Other(error),
            // A full disk is no reason to put a healthy database aside; anything else is.
            Some(Self::Damaged(_)) | None => Self::Damaged(text),
        }
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::Other(error)
    }
}

impl From<DiskError> for Failure {
    fn from(error: DiskError) -> Self {
        Self::Other(error.into())
    }
}

/// Opens the database in `dir`; for a host it is rebuilt when it is damaged.
pub(super) fn open(
    dir: &Path,
    config: &DeadLetterStoreConfig,
    disk: &Arc<dyn Disk>,
    purpose: Purpose,
) -> Result<Opening, StoreError> {
    let place = Place { dir, config, disk };
    disk.create_dir(&dir.join(PAYLOADS))?;
    place.finish_rebuilding()?;
    let said = Seal::read(dir, &**disk)?;
    if said.bad > 0 {
        tracing::warn!(
            class = "state",
            code = "dead_letters_seal_torn",
            "{} of 2 slots of the seal of {} are torn or damaged",
            said.bad,
            dir.display()
        );
    }
    let (reason, loaded) = match place.load(DATABASE) {
        Err(Failure::Other(error)) => return Err(error),
        Err(Failure::Damaged(reason)) => (reason, None),
        Ok(loaded) => match place.judge(&said, loaded)? {
            Ok((loaded, _)) if purpose == Purpose::Look && loaded.stored.is_some_and(|m| m.incomplete) => {
                let reason =
                    "it was rebuilt, and the journal has not given back yet what was lost".to_owned();
                return Err(StoreError::Damaged { path: dir.join(DATABASE), reason });
            }
            Ok((loaded, mark)) => return place.take(loaded, mark, &said, Opened::Clean),
            Err((loaded, reason)) => (reason, Some(loaded)),
        },
    };
    if purpose == Purpose::Look {
        return Err(StoreError::Damaged { path: dir.join(DATABASE), reason });
    }
    let opened = place.rebuild(&said, loaded, reason)?;
    let said = Seal::read(dir, &**disk)?;
    match place.load(DATABASE) {
        Ok(loaded) => match place.judge(&said, loaded)? {
            Ok((loaded, mark)) => place.take(loaded, mark, &said, opened),
            Err((_, reason)) => Err(StoreError::Database(reason)),
        },
        Err(Failure::Other(error)) => Err(error),
        Err(Failure::Damaged(reason)) => Err(StoreError::Database(reason)),
    }
}

impl Place<'_> {
    /// What is in the database, when that is all; or why it is not.
    #[expect(clippy::type_complexity, reason = "a disk that fails, or a database with or without a fault")]
    fn judge(
        &self,
        said: &Said,
        loaded: Loaded,
    ) -> Result<Result<(Loaded, Mark), (Loaded, String)>, StoreError> {
        if !loaded.bad.is_empty() {
            let reason = format!("expected letters that verify, found {} that do not", loaded.bad.len());
            return Ok(Err((loaded, reason)));
        }
        match said.judge(loaded.stored.as_ref(), &loaded.found) {
            Verdict::Whole(mark) => Ok(Ok((loaded, mark))),
            Verdict::Lost(reason) => Ok(Err((loaded, reason))),
            Verdict::Unsealed => self.adopt(loaded).map(Ok),
        }
    }

    /// Seals the letters of a host that knew no seal. What it may have lost before nobody can tell.
    fn adopt(&self, mut loaded: Loaded) -> Result<(Loaded, Mark), StoreError> {
        let database = Database::new(loaded.db.clone(), loaded.letters.clone(), self.dir.join(DATABASE))?;
        let mut sealing = Sealing { seal: Seal::at(self.dir), mark: Mark::default() };
        database.commit(&mut sealing, sled::Batch::default(), (loaded.found, false), &**self.disk)?;
        tracing::warn!(
            class = "state",
            code = "dead_letters_sealed",
            "{} dead letters in {} had no seal and were taken over as they are; from now on losses are noticed",
            loaded.found.letters,
            self.dir.display()
        );
        loaded.stored = Some(sealing.mark);
        Ok((loaded, sealing.mark))
    }

    fn take(&self, loaded: Loaded, mark: Mark, said: &Said, opened: Opened) -> Result<Opening, StoreError> {
        self.tidy_payloads(&loaded.letters, None)?;
        let database = Database::new(loaded.db, loaded.letters, self.dir.join(DATABASE))?;
        database.sync()?;
        // The database's files may be as new as the directory.
        self.disk.sync_dir(&self.dir.join(DATABASE))?;
        self.disk.sync_dir(self.dir)?;
        let mut sealing = Sealing { seal: Seal::at(self.dir), mark };
        if said.lacks(&mark) {
            sealing.seal.settle(&mark, &**self.disk)?;
        }
        Ok(Opening { database, sealing, entries: loaded.entries, opened })
    }

    /// Puts the database aside and a new one with every letter that can be read in its place. Whenever it is
    /// killed, the next start finds either the damaged database or a complete new one.
    fn rebuild(&self, said: &Said, loaded: Option<Loaded>, reason: String) -> Result<Opened, StoreError> {
        let stored = loaded.as_ref().and_then(|loaded| loaded.stored);
        let unreadable = loaded.as_ref().map(|loaded| loaded.bad.clone()).unwrap_or_default();
        let mut kept = Vec::new();
        for item in loaded.iter().flat_map(|loaded| loaded.letters.iter()) {
            // What cannot be read twice was never readable.
            let Ok((key, value)) = item else { continue };
            if read_letter(&key, &value, self.dir, &**self.disk)?.is_ok() {
                kept.push((key, value));
            }
        }
        let mut tally = Tally::default();
        kept.iter().for_each(|(key, value)| tally.add(key, value));
        let mark = Mark { change: said.unused_change(stored.as_ref()), tally, incomplete: true };
        // sled panics when the disk fails while it is dropped.
        let _ = catch_unwind(AssertUnwindSafe(|| drop(loaded)));

        let names = self.disk.list(self.dir)?;
        let fresh = self.dir.join(REBUILDING);
        if names.iter().any(|name| name == REBUILDING) {
            self.disk.rename(&fresh, &self.dir.join(free_name(REBUILDING, &names)))?;
        }
        let built = self.load(REBUILDING).and_then(|new| {
            let insert = |key: &[u8], value: &[u8]| new.letters.insert(key, value);
            let filled = kept.iter().try_for_each(|(key, value)| insert(key, value).map(drop));
            let filled = filled.and_then(|()| insert(MARK_KEY, &mark.encode(true)));
            filled.map_err(|e| Failure::of(&fresh, &e))?;
            self.tidy_payloads(&new.letters, Some(".corrupt"))?;
            Ok(Database::new(new.db, new.letters, fresh.clone())?.sync()?)
        });
        match built {
            Ok(()) => {}
            Err(Failure::Other(error)) => return Err(error),
            Err(Failure::Damaged(reason)) => return Err(StoreError::Database(reason)),
        }
        self.disk.sync_dir(&fresh)?;
        Seal::at(self.dir).announce(&mark, &**self.disk)?;
        let set_aside = self.dir.join(free_name(DATABASE, &names));
        self.disk.rename(&self.dir.join(DATABASE), &set_aside)?;
        self.finish_rebuilding()?;
        Ok(Opened::Rebuilt { set_aside, reason, kept: tally.letters, unreadable })
    }

    fn finish_rebuilding(&self) -> Result<(), DiskError> {
        let names = self.disk.list(self.dir)?;
        let has = |wanted: &str| names.iter().any(|name| name == wanted);
        if has(REBUILDING) && !has(DATABASE) {
            self.disk.rename(&self.dir.join(REBUILDING), &self.dir.join(DATABASE))?;
            self.disk.sync_dir(self.dir)?;
        }
        Ok(())
    }

    fn load(&self, name: &str) -> Result<Loaded, Failure> {
        let path = self.dir.join(name);
        self.disk.create_dir(&path)?;
        for name in self.disk.list(&path)? {
            if name.starts_with("snap.") && name.ends_with(".generating") {
                self.disk.remove(&path.join(name))?;
            }
        }
        let sled = sled::Config::new()
            .path(&path)
            .cache_capacity(u64::from(self.config.cache_bytes_max))
            .flush_every_ms(Some(u64::from(self.config.flush_interval_ms.get())));
        let (dir, disk, at) = (self.dir.to_owned(), Arc::clone(self.disk), path.clone());
        let (sender, receiver) = channel();
        // Not joined: a thread that hangs in `open` cannot be helped, and nothing waits for it.
        thread::Builder::new()
            .name("dead-letters".to_owned())
            .spawn(move || {
                let opened = catch_unwind(AssertUnwindSafe(|| read_all(&sled, &at, &dir, &*disk)));
                let _ = sender.send(opened);
            })
            .map_err(|e| Failure::Other(StoreError::Thread(e.to_string())))?;
        match receiver.recv_timeout(Duration::from_millis(u64::from(self.config.open_timeout_ms))) {
            Ok(Ok(result)) => result,
            Ok(Err(panic)) => Err(Failure::of_panic(&path, panic_text(&*panic))),
            Err(RecvTimeoutError::Timeout) => {
                Err(Failure::Other(StoreError::OpenTimeout { path, timeout_ms: self.config.open_timeout_ms }))
            }
            Err(RecvTimeoutError::Disconnected) => {
                Err(Failure::Other(StoreError::Thread("it ended without a result".to_owned())))
            }
        }
    }

    /// A crash between two steps of a change can leave a file that no letter refers to. It is removed, or kept
    /// under another name when it may be evidence: a damaged file must not stand where the same content will
    /// be written again.
    fn tidy_payloads(&self, letters: &sled::Tree, kept_as: Option<&str>) -> Result<(), StoreError> {
        let mut used = BTreeSet::new();
        for item in letters {
            let (key, value) = item.map_err(|e| store_error(&self.dir.join(DATABASE), &e))?;
            if &*key != MARK_KEY {
                used.extend(file_of(&value));
            }
        }
        let payloads = self.dir.join(PAYLOADS);
        let names = self.disk.list(&payloads)?;
        for name in &names {
            let ours = name.len() == 64 && name.bytes().all(|b| b.is_ascii_hexdigit());
            match kept_as {
                Some(_) if ours && !used.contains(name) => {
                    self.disk.rename(&payloads.join(name), &payloads.join(free_name(name, &names)))?;
                }
                None if name.ends_with(TEMPORARY_SUFFIX) || (ours && !used.contains(name)) => {
                    self.disk.remove(&payloads.join(name))?;
                }
                _ => {}
            }
        }
        Ok(self.disk.sync_dir(&payloads)?)
    }
}

fn read_all(sled: &sled::Config, path: &Path, dir: &Path, disk: &dyn Disk) -> Result<Loaded, Failure> {
    let failed = |error: sled::Error| Failure::of(path, &error);
    let db = open_sled(sled, path)?;
    let letters = db.open_tree("letters").map_err(failed)?;
    let (mut stored, mut found) = (None, Tally::default());
    let (mut entries, mut bad) = (BTreeMap::new(), Vec::new());
    for item in &letters {
        let (key, value) = item.map_err(failed)?;
        if &*key == MARK_KEY {
            let mark = Mark::decode(&value).map(|(mark, _)| mark);
            stored = Some(mark.ok_or_else(|| Failure::Damaged("its own mark does not verify".to_owned()))?);
            continue;
        }
        found.add(&key, &value);
        match read_letter(&key, &value, dir, disk)? {
            Ok(letter) => {
                let entry = Entry::of(&letter, &value);
                entries.insert(letter.id, entry);
            }
            Err(fault) => {
                let id = String::from_utf8_lossy(&key).into_owned();
                tracing::error!(letter = id, %fault, "a dead letter is damaged");
                bad.push(id);
            }
        }
    }
    Ok(Loaded { db, letters, stored, found, entries, bad })
}

/// Opens sled once nobody else has its file. This directory is ours, so whoever has it is on its way out: a
/// thread of the store that this process closed a moment ago (sled's own outlive its handle), or a child
/// between its fork and its exec.
fn open_sled(sled: &sled::Config, path: &Path) -> Result<sled::Db, Failure> {
    let name = path.join("db");
    loop {
        match File::open(&name) {
            Ok(file) => {
                let free = file.lock().and_then(|()| file.unlock());
                free.map_err(|e| DiskError::new(DiskOperation::Open, &name, &e))?;
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(DiskError::new(DiskOperation::Open, &name, &error).into()),
        }
        match sled.open().map_err(|error| Failure::of(path, &error)) {
            Err(Failure::Other(StoreError::Disk(error))) if error.kind == ErrorKind::WouldBlock => {}
            opened => return opened,
        }
    }
}

/// Verifies one value of the database, with the file that it may refer to.
pub(super) fn read_letter(
    key: &[u8],
    value: &[u8],
    dir: &Path,
    disk: &dyn Disk,
) -> Result<Result<DeadLetter, EnvelopeFault>, DiskError> {
    let content =
        verify(value, |file| match disk.read(&dir.join(PAYLOADS).join(file), PAYLOAD_BYTES_LIMIT) {
            Ok(content) => Ok(Some(content)),
            Err(error) if matches!(error.kind, ErrorKind::NotFound | ErrorKind::FileTooLarge) => Ok(None),
            Err(error) => Err(error),
        })?;
    Ok(content.and_then(|content| {
        let letter: DeadLetter =
            ciborium::from_reader(content.as_slice()).map_err(|e| EnvelopeFault::Content(e.to_string()))?;
        if letter.id.as_str().as_bytes() == key {
            Ok(letter)
        } else {
            Err(EnvelopeFault::Content(format!("it is letter {}", letter.id)))
        }
    }))
}

fn free_name(name: &str, taken: &[String]) -> String {
    let free = (1_u64..).map(|n| format!("{name}.corrupt-{n}")).find(|free| !taken.contains(free));
    free.unwrap_or_default()
}
