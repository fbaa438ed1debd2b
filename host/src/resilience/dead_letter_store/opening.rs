//! Opens the database so that nothing in it can keep the host from starting.
//!
//! sled 0.34.7 writes a snapshot to `snap.<n>.generating` while it opens and renames it. A process that is
//! killed in between leaves a torn file that the next `open` takes for the newest snapshot and refuses,
//! for ever. Such files are removed first; the rename is what counts. `open` can also hang or panic on
//! damaged files, so it runs on a thread of its own, and a database that it refuses is put aside whole.

use super::envelope::unseal;
use super::{DeadLetterStoreConfig, Entry, EnvelopeFault, PAYLOAD_BYTES_LIMIT, StoreError};
use crate::resilience::{DeadLetter, Disk, DiskError, LetterId};
use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

pub(super) const DATABASE: &str = "db";
pub(super) const PAYLOADS: &str = "payloads";
pub(super) const TEMPORARY_SUFFIX: &str = ".tmp";

/// An open database and what is in it.
pub(super) struct Opening {
    pub db: sled::Db,
    pub letters: sled::Tree,
    pub entries: BTreeMap<LetterId, Entry>,
    /// Letters that did not verify; their values are kept in a tree of their own.
    pub damaged: Vec<String>,
}

enum Failure {
    /// The files are damaged; they will be tomorrow.
    Damaged(String),
    /// Something else, that may pass.
    Other(StoreError),
}

impl From<sled::Error> for Failure {
    fn from(error: sled::Error) -> Self {
        match &error {
            sled::Error::Io(io) => match io.kind() {
                ErrorKind::UnexpectedEof | ErrorKind::InvalidData | ErrorKind::InvalidInput => {
                    Self::Damaged(error.to_string())
                }
                _ => Self::Other(StoreError::from(error)),
            },
            _ => Self::Damaged(error.to_string()),
        }
    }
}

impl From<DiskError> for Failure {
    fn from(error: DiskError) -> Self {
        Self::Other(error.into())
    }
}

/// Opens the database in `dir`, or puts it aside and opens an empty one. Says where it was put.
pub(super) fn open(
    dir: &Path,
    config: &DeadLetterStoreConfig,
    disk: &Arc<dyn Disk>,
) -> Result<(Opening, Option<PathBuf>), StoreError> {
    disk.create_dir(&dir.join(PAYLOADS))?;
    match attempt(dir, config, disk) {
        Ok(opening) => Ok((opening, None)),
        Err(Failure::Other(error)) => Err(error),
        Err(Failure::Damaged(reason)) => {
            let aside = set_aside(dir, &**disk)?;
            tracing::error!(reason, path = %aside.display(), "the dead-letter database is damaged and was set aside");
            disk.create_dir(&dir.join(PAYLOADS))?;
            match attempt(dir, config, disk) {
                Ok(opening) => Ok((opening, Some(aside))),
                Err(Failure::Other(error)) => Err(error),
                Err(Failure::Damaged(reason)) => Err(StoreError::Database(reason)),
            }
        }
    }
}

fn attempt(dir: &Path, config: &DeadLetterStoreConfig, disk: &Arc<dyn Disk>) -> Result<Opening, Failure> {
    let path = dir.join(DATABASE);
    disk.create_dir(&path)?;
    for name in disk.list(&path)? {
        if name.starts_with("snap.") && name.ends_with(".generating") {
            disk.remove(&path.join(name))?;
        }
    }
    let sled = sled::Config::new()
        .path(&path)
        .cache_capacity(u64::from(config.cache_bytes_max))
        .flush_every_ms(Some(u64::from(config.flush_interval_ms.get())));
    let (dir, disk) = (dir.to_owned(), Arc::clone(disk));
    let (sender, receiver) = channel();
    // Not joined: a thread that hangs in `open` cannot be helped, and nothing waits for it.
    thread::Builder::new()
        .name("dead-letters".to_owned())
        .spawn(move || {
            let opened = catch_unwind(AssertUnwindSafe(|| open_and_load(&sled, &dir, &*disk)));
            let _ = sender.send(opened);
        })
        .map_err(|e| Failure::Other(StoreError::Thread(e.to_string())))?;
    match receiver.recv_timeout(Duration::from_millis(u64::from(config.open_timeout_ms))) {
        Ok(Ok(result)) => result,
        Ok(Err(panic)) => Err(Failure::Damaged(panic_text(&*panic))),
        Err(RecvTimeoutError::Timeout) => {
            Err(Failure::Other(StoreError::OpenTimeout { path, timeout_ms: config.open_timeout_ms }))
        }
        Err(RecvTimeoutError::Disconnected) => {
            Err(Failure::Other(StoreError::Thread("it ended without a result".to_owned())))
        }
    }
}

fn open_and_load(sled: &sled::Config, dir: &Path, disk: &dyn Disk) -> Result<Opening, Failure> {
    let db = sled.open()?;
    let letters = db.open_tree("letters")?;
    let quarantine = db.open_tree("damaged")?;
    let mut opening = Opening { db, letters, entries: BTreeMap::new(), damaged: Vec::new() };
    let mut bad = Vec::new();
    for item in &opening.letters {
        let (key, value) = item?;
        match read_letter(&key, &value, dir, disk)? {
            Ok(letter) => {
                let entry = Entry::of(&letter);
                opening.entries.insert(letter.id, entry);
            }
            Err(fault) => {
                let id = String::from_utf8_lossy(&key).into_owned();
                tracing::error!(letter = id, %fault, "a dead letter is damaged and was set aside");
                opening.damaged.push(id);
                bad.push((key, value));
            }
        }
    }
    for (key, value) in bad {
        set_content_aside(&value, dir, disk)?;
        let unique = opening.db.generate_id()?.to_be_bytes();
        quarantine.insert([&key[..], b"#", &unique].concat(), value)?;
        opening.letters.remove(key)?;
    }
    remove_unused_files(&opening, dir, disk)?;
    Ok(opening)
}

/// Verifies one value of the database, with the file that it may refer to.
pub(super) fn read_letter(
    key: &[u8],
    value: &[u8],
    dir: &Path,
    disk: &dyn Disk,
) -> Result<Result<DeadLetter, EnvelopeFault>, DiskError> {
    let content =
        unseal(value, |file| match disk.read(&dir.join(PAYLOADS).join(file), PAYLOAD_BYTES_LIMIT) {
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

/// A damaged file must not stand where the same content will be written again.
fn set_content_aside(value: &[u8], dir: &Path, disk: &dyn Disk) -> Result<(), DiskError> {
    let Some(file) = super::envelope::file_of(value) else { return Ok(()) };
    let payloads = dir.join(PAYLOADS);
    let names = disk.list(&payloads)?;
    if names.contains(&file) {
        let free = free_name(&file, &names);
        disk.rename(&payloads.join(file), &payloads.join(free))?;
        disk.sync_dir(&payloads)?;
    }
    Ok(())
}

/// A crash between two steps of a change can leave a file that no letter refers to.
fn remove_unused_files(opening: &Opening, dir: &Path, disk: &dyn Disk) -> Result<(), Failure> {
    let mut used = BTreeSet::new();
    for value in opening.letters.iter().values() {
        used.extend(super::envelope::file_of(&value?));
    }
    let payloads = dir.join(PAYLOADS);
    for name in disk.list(&payloads)? {
        let ours = name.len() == 64 && name.bytes().all(|b| b.is_ascii_hexdigit());
        if name.ends_with(TEMPORARY_SUFFIX) || (ours && !used.contains(&name)) {
            disk.remove(&payloads.join(name))?;
        }
    }
    Ok(())
}

fn set_aside(dir: &Path, disk: &dyn Disk) -> Result<PathBuf, DiskError> {
    let names = disk.list(dir)?;
    let aside = dir.join(free_name(DATABASE, &names));
    disk.rename(&dir.join(DATABASE), &aside)?;
    disk.rename(&dir.join(PAYLOADS), &dir.join(free_name(PAYLOADS, &names)))?;
    disk.sync_dir(dir)?;
    Ok(aside)
}

fn free_name(name: &str, taken: &[String]) -> String {
    let free = (1_u64..).map(|n| format!("{name}.corrupt-{n}")).find(|free| !taken.contains(free));
    free.unwrap_or_default()
}

pub(super) fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
    format!("sled panicked: {}", text.unwrap_or("without a message"))
}
