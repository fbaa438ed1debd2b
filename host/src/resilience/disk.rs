//! The disk, behind a trait small enough that a test can fail each of its operations in turn.
//!
//! Every method is one step that can fail by itself, so that "the N-th operation fails, for every N"
//! covers each way in which a disk can let its two users down: the journal and the checkpoints.

#[cfg(target_os = "linux")]
mod direct;
mod fault;
#[cfg(test)]
mod memory;

pub use fault::{Fault, FaultDisk, FaultKind};
#[cfg(test)]
pub use memory::MemoryDisk;

use super::{Class, Classified};
use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use thiserror::Error;

/// One step on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DiskOperation {
    /// Make a directory and its parents.
    CreateDir,
    /// Make a file that must not exist yet.
    CreateNew,
    /// Open an existing file for writing.
    Open,
    /// Write bytes at an offset.
    Write,
    /// Make a file's content durable.
    SyncData,
    /// Make the names in a directory durable.
    SyncDir,
    /// Give a file another name.
    Rename,
    /// Delete a file.
    Remove,
    /// Read a whole file.
    Read,
    /// List the names in a directory.
    List,
    /// Read or write: somebody else's code did it and does not say which.
    ReadOrWrite,
}

impl fmt::Display for DiskOperation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::CreateDir => "create directory",
            Self::CreateNew => "create",
            Self::Open => "open",
            Self::Write => "write",
            Self::SyncData => "sync",
            Self::SyncDir => "sync directory",
            Self::Rename => "rename",
            Self::Remove => "remove",
            Self::Read => "read",
            Self::List => "list",
            Self::ReadOrWrite => "read or write",
        })
    }
}

/// A step on the disk that failed. It can be cloned, because one failed sync is the answer to every
/// record that waited for it.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("cannot {operation} {}: {message}{}", path.display(), advice(*kind))]
pub struct DiskError {
    /// Which step.
    pub operation: DiskOperation,
    /// On which file or directory.
    pub path: PathBuf,
    /// What kind of error the system reported.
    pub kind: ErrorKind,
    /// The system's words.
    pub message: String,
}

fn advice(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => "; free some space and restart",
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
            "; let the user that runs the host write here"
        }
        _ => "",
    }
}

impl DiskError {
    /// Says where an I/O error happened.
    pub fn new(operation: DiskOperation, path: &Path, error: &io::Error) -> Self {
        Self { operation, path: path.to_owned(), kind: error.kind(), message: error.to_string() }
    }
}

impl Classified for DiskError {
    fn class(&self) -> Class {
        Class::Resource
    }

    fn code(&self) -> &'static str {
        match (self.kind, self.operation) {
            (ErrorKind::StorageFull | ErrorKind::QuotaExceeded, _) => "disk_full",
            (_, DiskOperation::SyncData | DiskOperation::SyncDir) => "disk_sync",
            _ => "disk_io",
        }
    }
}

/// What a disk writes at once. Every file system in use has blocks of this size or a divisor of it.
pub const BLOCK_BYTES: usize = 4_096;

/// A file that is being written.
pub trait DiskFile: Send {
    /// Writes all bytes at an offset.
    ///
    /// # Errors
    /// When the disk refuses; any part of the bytes may have been written.
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> Result<(), DiskError>;

    /// Makes the content durable: it survives a loss of power once this has returned.
    ///
    /// # Errors
    /// When the disk refuses. Nobody can know then what was written: the system drops the pages that it
    /// could not write and reports success the next time, so this must never be tried again.
    fn sync_data(&mut self) -> Result<(), DiskError>;

    /// Writes all bytes at an offset and makes them durable, and nothing else that was written to the file
    /// before. Fastest when offset and length are multiples of [`BLOCK_BYTES`].
    ///
    /// # Errors
    /// As [`DiskFile::write_at`] and [`DiskFile::sync_data`].
    fn write_durable(&mut self, offset: u64, bytes: &[u8]) -> Result<(), DiskError> {
        self.write_at(offset, bytes)?;
        self.sync_data()
    }
}

/// A disk.
pub trait Disk: Send + Sync {
    /// Makes a directory and its parents, and their names durable; one that exists is left as it is.
    ///
    /// # Errors
    /// When the disk refuses.
    fn create_dir(&self, path: &Path) -> Result<(), DiskError>;

    /// Makes a file that must not exist yet.
    ///
    /// # Errors
    /// When it exists or the disk refuses.
    fn create_new(&self, path: &Path) -> Result<Box<dyn DiskFile>, DiskError>;

    /// Opens an existing file for writing and changes nothing in it.
    ///
    /// # Errors
    /// When there is none or the disk refuses.
    fn open(&self, path: &Path) -> Result<Box<dyn DiskFile>, DiskError>;

    /// Reads a whole file of at most `bytes_max` bytes.
    ///
    /// # Errors
    /// When there is none, the disk refuses, or the file is larger ([`ErrorKind::FileTooLarge`]).
    fn read(&self, path: &Path, bytes_max: u64) -> Result<Vec<u8>, DiskError>;

    /// The names of the files in a directory, sorted. A directory that does not exist is an error.
    ///
    /// # Errors
    /// When the disk refuses.
    fn list(&self, dir: &Path) -> Result<Vec<String>, DiskError>;

    /// Gives a file another name in the same directory; atomic, and durable only after [`Disk::sync_dir`].
    ///
    /// # Errors
    /// When the disk refuses.
    fn rename(&self, from: &Path, to: &Path) -> Result<(), DiskError>;

    /// Deletes a file.
    ///
    /// # Errors
    /// When the disk refuses.
    fn remove(&self, path: &Path) -> Result<(), DiskError>;

    /// Makes the names in a directory durable.
    ///
    /// # Errors
    /// When the disk refuses.
    fn sync_dir(&self, dir: &Path) -> Result<(), DiskError>;
}

/// The machine's own disk.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealDisk;

struct RealFile {
    path: PathBuf,
    file: File,
    /// The same file past the system's page cache, where the file system can do that.
    #[cfg(target_os = "linux")]
    direct: Option<direct::DirectFile>,
}

impl DiskFile for RealFile {
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> Result<(), DiskError> {
        let written = self.file.write_all_at(bytes, offset);
        written.map_err(|e| DiskError::new(DiskOperation::Write, &self.path, &e))
    }

    fn sync_data(&mut self) -> Result<(), DiskError> {
        self.file.sync_data().map_err(|e| DiskError::new(DiskOperation::SyncData, &self.path, &e))
    }

    #[cfg(target_os = "linux")]
    fn write_durable(&mut self, offset: u64, bytes: &[u8]) -> Result<(), DiskError> {
        if let Some(open) = &mut self.direct
            && open.takes(offset, bytes)
        {
            match open.write(offset, bytes) {
                // The file system does not do it after all; everything is written again below.
                Err(error) if error.kind() == ErrorKind::InvalidInput => self.direct = None,
                written => {
                    return written.map_err(|e| DiskError::new(DiskOperation::SyncData, &self.path, &e));
                }
            }
        }
        self.write_at(offset, bytes)?;
        self.sync_data()
    }
}

impl RealDisk {
    fn file(
        operation: DiskOperation,
        options: &OpenOptions,
        path: &Path,
    ) -> Result<Box<dyn DiskFile>, DiskError> {
        let file = options.open(path).map_err(|e| DiskError::new(operation, path, &e))?;
        Ok(Box::new(RealFile {
            path: path.to_owned(),
            file,
            // Only a file that keeps its name: this one is found by its name.
            #[cfg(target_os = "linux")]
            direct: (operation == DiskOperation::Open).then(|| direct::DirectFile::open(path)).flatten(),
        }))
    }
}

impl Disk for RealDisk {
    fn create_dir(&self, path: &Path) -> Result<(), DiskError> {
        let missing: Vec<&Path> =
            path.ancestors().take_while(|dir| !dir.as_os_str().is_empty() && !dir.exists()).collect();
        fs::create_dir_all(path).map_err(|e| DiskError::new(DiskOperation::CreateDir, path, &e))?;
        let folders = missing.iter().filter_map(|dir| dir.parent());
        let here = |folder: &Path| folder.as_os_str().is_empty();
        folders.into_iter().try_for_each(|dir| self.sync_dir(if here(dir) { Path::new(".") } else { dir }))
    }

    fn create_new(&self, path: &Path) -> Result<Box<dyn DiskFile>, DiskError> {
        Self::file(DiskOperation::CreateNew, OpenOptions::new().write(true).create_new(true), path)
    }

    fn open(&self, path: &Path) -> Result<Box<dyn DiskFile>, DiskError> {
        Self::file(DiskOperation::Open, OpenOptions::new().write(true), path)
    }

    fn read(&self, path: &Path, bytes_max: u64) -> Result<Vec<u8>, DiskError> {
        let read = || {
            let file = File::open(path)?;
            let length = file.metadata()?.len();
            // One byte more than allowed, since a file may grow between the two calls.
            let mut bytes = Vec::with_capacity(usize::try_from(length.min(bytes_max)).unwrap_or(0));
            file.take(bytes_max.saturating_add(1)).read_to_end(&mut bytes)?;
            if bytes.len() as u64 > bytes_max {
                let found = length.max(bytes.len() as u64);
                let message = format!("expected at most {bytes_max} bytes, found {found}");
                return Err(io::Error::new(ErrorKind::FileTooLarge, message));
            }
            Ok(bytes)
        };
        read().map_err(|e| DiskError::new(DiskOperation::Read, path, &e))
    }

    fn list(&self, dir: &Path) -> Result<Vec<String>, DiskError> {
        let list = || {
            let mut names = Vec::new();
            for entry in fs::read_dir(dir)? {
                // A name that is not UTF-8 is none of ours.
                if let Ok(name) = entry?.file_name().into_string() {
                    names.push(name);
                }
            }
            names.sort();
            Ok(names)
        };
        list().map_err(|e| DiskError::new(DiskOperation::List, dir, &e))
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<(), DiskError> {
        fs::rename(from, to).map_err(|e| DiskError::new(DiskOperation::Rename, from, &e))
    }

    fn remove(&self, path: &Path) -> Result<(), DiskError> {
        fs::remove_file(path).map_err(|e| DiskError::new(DiskOperation::Remove, path, &e))
    }

    fn sync_dir(&self, dir: &Path) -> Result<(), DiskError> {
        let sync = || File::open(dir)?.sync_all();
        sync().map_err(|e| DiskError::new(DiskOperation::SyncDir, dir, &e))
    }
}

/// The exclusive right to a directory, held until it is dropped or the process ends, however it ends.
#[derive(Debug)]
pub struct DirLock {
    file: File,
}

/// Why a directory cannot be locked.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum LockError {
    /// Somebody else has it.
    #[error("{} is in use by another process; stop the other host or choose another directory", .0.display())]
    InUse(PathBuf),
    /// The lock file cannot be opened or locked.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

impl Classified for LockError {
    fn class(&self) -> Class {
        Class::Resource
    }

    fn code(&self) -> &'static str {
        match self {
            Self::InUse(_) => "directory_in_use",
            Self::Disk(error) => error.code(),
        }
    }
}

impl DirLock {
    /// The name of the lock file.
    pub const FILE: &str = "LOCK";

    /// Takes the lock of a directory that exists.
    ///
    /// # Errors
    /// When somebody else has it or the file cannot be opened.
    pub fn acquire(dir: &Path) -> Result<Self, LockError> {
        let path = dir.join(Self::FILE);
        let at = |e: &io::Error| DiskError::new(DiskOperation::Open, &path, e);
        let options = OpenOptions::new().write(true).create(true).truncate(false).open(&path);
        let file = options.map_err(|e| at(&e))?;
        match file.try_lock() {
            Ok(()) => Ok(Self { file }),
            Err(fs::TryLockError::WouldBlock) => Err(LockError::InUse(dir.to_owned())),
            Err(fs::TryLockError::Error(e)) => Err(at(&e).into()),
        }
    }
}

impl Drop for DirLock {
    /// Closing would do, unless a child between its fork and its exec still has the file.
    fn drop(&mut self) {
        let _ = self.file.unlock();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_above_the_limit_is_not_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("large");
        RealDisk.create_new(&path).unwrap().write_at(0, &[7; 100]).unwrap();
        assert_eq!(RealDisk.read(&path, 100).unwrap().len(), 100);
        assert_eq!(RealDisk.read(&path, 99).unwrap_err().kind, ErrorKind::FileTooLarge);
    }

    #[test]
    fn a_locked_directory_is_refused_until_the_lock_is_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let lock = DirLock::acquire(dir.path()).unwrap();
        assert_eq!(DirLock::acquire(dir.path()).unwrap_err(), LockError::InUse(dir.path().to_owned()));
        drop(lock);
        DirLock::acquire(dir.path()).unwrap();
    }
}
