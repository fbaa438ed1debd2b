//! The components that run and that ran before, by their digests, so that a restart runs what the journal says and a
//! rollback finds what was there, whatever became of the files that they came from.
//!
//! A file's name is the digest of its content, and it has that name only when it is whole and durable. Content is
//! checked whenever it is read, and never changed.

use crate::orders::Digest;
use crate::resilience::{Class, Classified, Disk, DiskError};
use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use thiserror::Error;

/// The folder below `data_dir`.
const FOLDER: &str = "components";
const EXTENSION: &str = ".wasm";
/// The name of what is not whole yet.
const UNNAMED: &str = ".new";

/// Why a component cannot be kept.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ComponentStoreError {
    /// The disk failed.
    #[error("components: {0}")]
    Disk(#[from] DiskError),
    /// The file is another one than was looked at.
    #[error("{} changed while it was read: expected {expected}, found {found}; try again when it is whole", path.display())]
    Changed {
        /// Which file.
        path: PathBuf,
        /// The digest of what was looked at.
        expected: Digest,
        /// The digest of what is there.
        found: Digest,
    },
}

impl Classified for ComponentStoreError {
    fn class(&self) -> Class {
        match self {
            Self::Disk(error) => error.class(),
            Self::Changed { .. } => Class::Data,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Disk(error) => error.code(),
            Self::Changed { .. } => "component_changed",
        }
    }
}

/// A folder of components.
pub(super) struct ComponentStore {
    dir: PathBuf,
    disk: Arc<dyn Disk>,
}

impl ComponentStore {
    /// The one below a data folder. Nothing is touched before something is kept.
    pub fn new(data_dir: &Path, disk: Arc<dyn Disk>) -> Self {
        Self { dir: data_dir.join(FOLDER), disk }
    }

    /// Whether anything has been kept below a data folder.
    pub fn exists(data_dir: &Path) -> bool {
        data_dir.join(FOLDER).is_dir()
    }

    /// Where a component is, if it is there.
    pub fn path(&self, digest: Digest) -> PathBuf {
        self.dir.join(format!("{digest}{EXTENSION}"))
    }

    /// Keeps the component that a file holds. Durable when this returns.
    ///
    /// # Errors
    /// When the file does not hold it any more, or the disk fails.
    pub fn keep(&self, file: &Path, digest: Digest, bytes_max: u64) -> Result<(), ComponentStoreError> {
        let path = self.path(digest);
        match self.disk.read(&path, bytes_max) {
            // Whoever gave it its name may not have lived to make that durable.
            Ok(bytes) if Digest::of(&bytes) == digest => return self.settle_names(),
            // What has rotted is no component of this name: a good one takes its place.
            Ok(_) => {}
            Err(error) if matches!(error.kind, ErrorKind::NotFound | ErrorKind::FileTooLarge) => {}
            Err(error) => return Err(error.into()),
        }
        let bytes = self.disk.read(file, bytes_max)?;
        let found = Digest::of(&bytes);
        if found != digest {
            return Err(ComponentStoreError::Changed { path: file.to_owned(), expected: digest, found });
        }
        self.disk.create_dir(&self.dir)?;
        let unnamed = self.dir.join(format!("{digest}{UNNAMED}"));
        // Of a host that died in the middle of this.
        if let Err(error) = self.disk.remove(&unnamed)
            && error.kind != ErrorKind::NotFound
        {
            return Err(error.into());
        }
        let mut written = self.disk.create_new(&unnamed)?;
        written.write_at(0, &bytes)?;
        written.sync_data()?;
        drop(written);
        self.disk.rename(&unnamed, &path)?;
        self.settle_names()
    }

    /// Makes the names in the folder durable, and the folder's own, which is new the first time.
    fn settle_names(&self) -> Result<(), ComponentStoreError> {
        self.disk.sync_dir(&self.dir)?;
        Ok(self.disk.sync_dir(self.dir.parent().unwrap_or(&self.dir))?)
    }

    /// Removes every component but these, and what was left half-written. Returns how many.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn prune(&self, named: &BTreeSet<Digest>) -> Result<usize, ComponentStoreError> {
        let names = match self.disk.list(&self.dir) {
            Ok(names) => names,
            Err(error) if error.kind == ErrorKind::NotFound => return Ok(0),
            Err(error) => return Err(error.into()),
        };
        let goes = |name: &&String| {
            let of = |end: &str| name.strip_suffix(end).and_then(|digest| digest.parse::<Digest>().ok());
            // A file that is not ours stays.
            of(UNNAMED).is_some() || of(EXTENSION).is_some_and(|digest| !named.contains(&digest))
        };
        let mut removed = 0;
        for name in names.iter().filter(goes) {
            self.disk.remove(&self.dir.join(name))?;
            removed += 1;
        }
        Ok(removed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resilience::{Fault, FaultDisk, FaultKind, MemoryDisk, RealDisk};

    const MAX: u64 = 1_000;

    fn rig() -> (tempfile::TempDir, PathBuf, Digest) {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a.wasm");
        std::fs::write(&file, b"a component").unwrap();
        (dir, file, Digest::of(b"a component"))
    }

    fn store(dir: &tempfile::TempDir) -> ComponentStore {
        ComponentStore::new(dir.path(), Arc::new(RealDisk))
    }

    #[test]
    fn a_component_outlives_the_file_that_it_came_from() {
        let (dir, file, digest) = rig();
        let store = store(&dir);
        store.keep(&file, digest, MAX).unwrap();
        std::fs::write(&file, b"another one").unwrap();
        store.keep(&file, digest, MAX).unwrap();
        assert_eq!(std::fs::read(store.path(digest)).unwrap(), b"a component");
    }

    #[test]
    fn another_content_than_was_looked_at_is_not_kept() {
        let (dir, file, digest) = rig();
        std::fs::write(&file, b"another one").unwrap();
        let error = store(&dir).keep(&file, digest, MAX).unwrap_err();
        assert_eq!(error.code(), "component_changed");
        assert!(!store(&dir).path(digest).exists());
    }

    #[test]
    fn one_that_has_rotted_is_replaced_by_a_good_one() {
        let (dir, file, digest) = rig();
        let store = store(&dir);
        store.keep(&file, digest, MAX).unwrap();
        std::fs::write(store.path(digest), b"rot").unwrap();
        store.keep(&file, digest, MAX).unwrap();
        assert_eq!(std::fs::read(store.path(digest)).unwrap(), b"a component");
    }

    #[test]
    fn only_what_nobody_names_is_removed() {
        let (dir, file, digest) = rig();
        let store = store(&dir);
        assert_eq!(store.prune(&BTreeSet::new()), Ok(0), "before anything was kept");
        store.keep(&file, digest, MAX).unwrap();
        std::fs::write(store.dir.join(format!("{digest}{UNNAMED}")), b"half").unwrap();
        std::fs::write(store.dir.join("notes.txt"), b"of a person").unwrap();
        assert_eq!(store.prune(&BTreeSet::from([digest])), Ok(1));
        assert!(store.path(digest).exists());
        assert_eq!(store.prune(&BTreeSet::from([Digest::of(b"x")])), Ok(1));
        assert_eq!(std::fs::read_dir(&store.dir).unwrap().count(), 1, "a person's file stays");
    }

    #[test]
    fn a_disk_that_fails_at_any_step_leaves_the_whole_component_or_none() {
        let mut steps = 0;
        loop {
            let (dir, file, digest) = rig();
            let fault = Fault { operation: steps, kind: FaultKind::Io, lasting: true };
            let disk = FaultDisk::new(Arc::new(RealDisk), Some(fault));
            let store = ComponentStore::new(dir.path(), Arc::new(disk));
            let kept = store.keep(&file, digest, MAX);
            if let Ok(bytes) = std::fs::read(store.path(digest)) {
                assert_eq!(bytes, b"a component", "step {steps}");
            }
            if kept.is_ok() {
                break;
            }
            // The next host gets on with it.
            let again = ComponentStore::new(dir.path(), Arc::new(RealDisk));
            again.keep(&file, digest, MAX).unwrap();
            steps += 1;
        }
        assert!(steps > 5, "only {steps} steps failed");
    }

    #[test]
    fn what_was_kept_outlives_a_loss_of_power_even_if_an_earlier_try_had_failed() {
        for operation in 0..12 {
            let (dir, file, digest) = rig();
            let memory = MemoryDisk::default();
            memory.create_dir(dir.path()).unwrap();
            let mut copy = memory.create_new(&file).unwrap();
            copy.write_at(0, b"a component").unwrap();
            copy.sync_data().unwrap();
            memory.sync_dir(dir.path()).unwrap();
            let fault = Fault { operation, kind: FaultKind::Io, lasting: true };
            let failing = FaultDisk::new(Arc::new(memory.clone()), Some(fault));
            let _ = ComponentStore::new(dir.path(), Arc::new(failing)).keep(&file, digest, MAX);
            let store = ComponentStore::new(dir.path(), Arc::new(memory.clone()));
            store.keep(&file, digest, MAX).unwrap();
            memory.lose_all();
            assert_eq!(
                memory.read(&store.path(digest), MAX).unwrap(),
                b"a component",
                "operation {operation}"
            );
        }
    }
}
