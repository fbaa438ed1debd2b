//! A disk that fails when it is told to.

use super::{Disk, DiskError, DiskFile, DiskOperation};
use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How a [`FaultDisk`] fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// The operation does nothing and reports a device error.
    Io,
    /// The operation does nothing and reports that the disk is full.
    Full,
    /// A write stores its first half and then reports that the disk is full; any other operation fails
    /// as with [`FaultKind::Io`].
    ShortWrite,
}

/// When and how a [`FaultDisk`] fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Number of the operation that fails, from zero.
    pub operation: u64,
    /// How it fails.
    pub kind: FaultKind,
    /// Whether all later operations fail too, as on a disk that is gone; otherwise they succeed.
    pub lasting: bool,
}

#[derive(Debug, Default)]
struct FaultState {
    next: u64,
    fault: Option<Fault>,
    log: VecDeque<(DiskOperation, PathBuf)>,
}

impl FaultState {
    fn count(&mut self, operation: DiskOperation, path: &Path) -> Option<FaultKind> {
        let number = self.next;
        self.next += 1;
        if self.log.len() >= FaultDisk::LOG_MAX {
            self.log.pop_front();
        }
        self.log.push_back((operation, path.to_owned()));
        let fault = self.fault?;
        let fails = number == fault.operation || (fault.lasting && number > fault.operation);
        fails.then_some(fault.kind)
    }
}

/// A disk for tests and the simulation: counts the operations on another disk and fails the one it is told to.
#[derive(Clone)]
pub struct FaultDisk {
    inner: Arc<dyn Disk>,
    state: Arc<Mutex<FaultState>>,
}

struct FaultFile {
    inner: Box<dyn DiskFile>,
    path: PathBuf,
    disk: FaultDisk,
}

impl FaultDisk {
    /// Operations that the log remembers.
    pub const LOG_MAX: usize = 4_096;

    /// A disk that fails as told, or never.
    pub fn new(inner: Arc<dyn Disk>, fault: Option<Fault>) -> Self {
        Self { inner, state: Arc::new(Mutex::new(FaultState { fault, ..FaultState::default() })) }
    }

    /// Changes when and how it fails; the count of operations goes on.
    pub fn set_fault(&self, fault: Option<Fault>) {
        self.state().fault = fault;
    }

    /// Operations so far, the failed ones included.
    pub fn operations(&self) -> u64 {
        self.state().next
    }

    /// The last [`FaultDisk::LOG_MAX`] operations, oldest first.
    pub fn log(&self) -> Vec<(DiskOperation, PathBuf)> {
        self.state().log.iter().cloned().collect()
    }

    fn state(&self) -> MutexGuard<'_, FaultState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn check(&self, operation: DiskOperation, path: &Path) -> Result<(), DiskError> {
        let kind = self.state().count(operation, path);
        kind.map_or(Ok(()), |kind| Err(Self::error(kind, operation, path)))
    }

    fn error(kind: FaultKind, operation: DiskOperation, path: &Path) -> DiskError {
        let error = match kind {
            FaultKind::Full => io::Error::new(ErrorKind::StorageFull, "no space left on device (injected)"),
            FaultKind::ShortWrite if operation == DiskOperation::Write => {
                io::Error::new(ErrorKind::StorageFull, "wrote only a part (injected)")
            }
            FaultKind::Io | FaultKind::ShortWrite => io::Error::other("device error (injected)"),
        };
        DiskError::new(operation, path, &error)
    }

    fn wrap(&self, path: &Path, inner: Box<dyn DiskFile>) -> Box<dyn DiskFile> {
        Box::new(FaultFile { inner, path: path.to_owned(), disk: self.clone() })
    }
}

impl DiskFile for FaultFile {
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> Result<(), DiskError> {
        let kind = self.disk.state().count(DiskOperation::Write, &self.path);
        let Some(kind) = kind else { return self.inner.write_at(offset, bytes) };
        if kind == FaultKind::ShortWrite {
            self.inner.write_at(offset, bytes.get(..bytes.len() / 2).unwrap_or_default())?;
        }
        Err(FaultDisk::error(kind, DiskOperation::Write, &self.path))
    }

    fn sync_data(&mut self) -> Result<(), DiskError> {
        self.disk.check(DiskOperation::SyncData, &self.path)?;
        self.inner.sync_data()
    }
}

impl Disk for FaultDisk {
    fn create_dir(&self, path: &Path) -> Result<(), DiskError> {
        self.check(DiskOperation::CreateDir, path)?;
        self.inner.create_dir(path)
    }

    fn create_new(&self, path: &Path) -> Result<Box<dyn DiskFile>, DiskError> {
        self.check(DiskOperation::CreateNew, path)?;
        Ok(self.wrap(path, self.inner.create_new(path)?))
    }

    fn open(&self, path: &Path) -> Result<Box<dyn DiskFile>, DiskError> {
        self.check(DiskOperation::Open, path)?;
        Ok(self.wrap(path, self.inner.open(path)?))
    }

    fn read(&self, path: &Path, bytes_max: u64) -> Result<Vec<u8>, DiskError> {
        self.check(DiskOperation::Read, path)?;
        self.inner.read(path, bytes_max)
    }

    fn list(&self, dir: &Path) -> Result<Vec<String>, DiskError> {
        self.check(DiskOperation::List, dir)?;
        self.inner.list(dir)
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<(), DiskError> {
        self.check(DiskOperation::Rename, from)?;
        self.inner.rename(from, to)
    }

    fn remove(&self, path: &Path) -> Result<(), DiskError> {
        self.check(DiskOperation::Remove, path)?;
        self.inner.remove(path)
    }

    fn sync_dir(&self, dir: &Path) -> Result<(), DiskError> {
        self.check(DiskOperation::SyncDir, dir)?;
        self.inner.sync_dir(dir)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resilience::{Class, Classified, RealDisk};

    #[test]
    fn the_chosen_operation_fails_and_a_short_write_leaves_half() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let fault = Fault { operation: 1, kind: FaultKind::ShortWrite, lasting: false };
        let disk = FaultDisk::new(Arc::new(RealDisk), Some(fault));
        let mut file = disk.create_new(&path).unwrap();
        let error = file.write_at(0, b"abcd").unwrap_err();
        assert_eq!((error.class(), error.code()), (Class::Resource, "disk_full"));
        assert_eq!(disk.read(&path, 10).unwrap(), b"ab");
        assert_eq!(disk.operations(), 3);
    }
}
