//! The open database: how it is changed, and what its errors mean.

use super::StoreError;
use super::seal::{MARK_KEY, Mark, Seal, Tally};
use crate::resilience::{Disk, DiskError, DiskOperation};
use std::any::Any;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

/// sled, and what it takes to make its changes durable.
pub(super) struct Database {
    db: sled::Db,
    pub letters: sled::Tree,
    /// Our own handle on the database's file: syncing any handle syncs the file.
    file: File,
    /// The directory.
    path: PathBuf,
}

/// What the database holds, and the file that says so. Only its owner changes the database.
pub(super) struct Sealing {
    pub seal: Seal,
    pub mark: Mark,
}

impl Database {
    pub fn new(db: sled::Db, letters: sled::Tree, path: PathBuf) -> Result<Self, StoreError> {
        let name = path.join("db");
        let file = File::open(&name).map_err(|e| DiskError::new(DiskOperation::Open, &name, &e))?;
        Ok(Self { db, letters, file, path })
    }

    /// Makes one change, durably and as a whole: after a kill the database has all of it or nothing.
    pub fn commit(
        &self,
        sealing: &mut Sealing,
        mut batch: sled::Batch,
        (tally, incomplete): (Tally, bool),
        disk: &dyn Disk,
    ) -> Result<(), StoreError> {
        let mark = Mark { change: sealing.mark.change.saturating_add(1), tally, incomplete };
        sealing.seal.announce(&mark, disk)?;
        batch.insert(MARK_KEY, mark.encode(true).as_slice());
        self.letters.apply_batch(batch).map_err(|e| self.failed(&e))?;
        self.sync()?;
        sealing.mark = mark;
        sealing.seal.settle(&mark, disk)
    }

    /// Waits until everything is on the disk: sled's `flush` starts the writing and does not wait for it.
    pub fn sync(&self) -> Result<(), StoreError> {
        self.db.flush().map_err(|e| self.failed(&e))?;
        let synced = self.file.sync_data();
        Ok(synced.map_err(|e| DiskError::new(DiskOperation::SyncData, &self.path.join("db"), &e))?)
    }

    /// How large its file is; zero when the system does not say.
    pub fn bytes_on_disk(&self) -> u64 {
        self.file.metadata().map_or(0, |metadata| metadata.len())
    }

    pub fn get(&self, key: &[u8]) -> Result<Option<sled::IVec>, StoreError> {
        self.letters.get(key).map_err(|e| self.failed(&e))
    }

    fn failed(&self, error: &sled::Error) -> StoreError {
        store_error(&self.path, error)
    }
}

/// What an error of sled means to whoever has to do something about it.
pub(super) fn store_error(path: &Path, error: &sled::Error) -> StoreError {
    match error {
        sled::Error::Io(io) => match os_error_in(&io.to_string()) {
            // sled hands on a copy of its first error, whose words are Rust's and not the system's.
            Some(plain) => disk_error(path, &plain).into(),
            None => disk_error(path, io).into(),
        },
        other => StoreError::Database(other.to_string()),
    }
}

/// A panic inside sled, which has met an error that it does not handle.
pub(super) fn panicked(path: &Path, panic: &(dyn Any + Send)) -> StoreError {
    let text = panic_text(panic);
    match os_error_in(&text) {
        Some(error) => disk_error(path, &error).into(),
        None => StoreError::Database(text),
    }
}

/// sled does not say what it was doing.
fn disk_error(path: &Path, error: &io::Error) -> DiskError {
    DiskError::new(DiskOperation::ReadOrWrite, path, error)
}

/// The error of the system that Rust printed for programmers, if there is one in a text.
pub(super) fn os_error_in(text: &str) -> Option<io::Error> {
    let (_, rest) = text.split_once("Os { code: ")?;
    let (code, _) = rest.split_once(',')?;
    Some(io::Error::from_raw_os_error(code.parse().ok()?))
}

pub(super) fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
    format!("sled panicked: {}", text.unwrap_or("without a message"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resilience::Classified;

    #[test]
    fn a_full_disk_under_the_database_is_told_like_any_other_with_its_place() {
        let first = sled::Error::Io(io::Error::from_raw_os_error(28));
        // sled keeps its first error and answers every later call with a copy of a copy.
        for error in [first.clone().clone(), first.clone(), first] {
            let told = store_error(Path::new("/data/dead-letters/db"), &error);
            assert_eq!(told.code(), "disk_full");
            assert_eq!(
                told.to_string(),
                "dead letters: cannot read or write /data/dead-letters/db: No space left on device (os error 28); \
                 free some space and restart"
            );
        }
    }
}
