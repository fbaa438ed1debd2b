//! A disk in memory that can lose its power: what was not synced is there afterwards, or in part, or not at all.

use super::{Disk, DiskError, DiskFile, DiskOperation};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A change of names that no sync has made durable.
#[derive(Clone, Debug)]
enum Renamed {
    Made(PathBuf, u64),
    Moved(PathBuf, PathBuf, u64),
    Gone(PathBuf),
}

impl Renamed {
    fn path(&self) -> &Path {
        match self {
            Self::Made(path, _) | Self::Moved(path, ..) | Self::Gone(path) => path,
        }
    }

    fn apply(&self, names: &mut BTreeMap<PathBuf, u64>) {
        match self {
            Self::Made(path, file) => {
                names.insert(path.clone(), *file);
            }
            Self::Moved(from, to, file) => {
                names.remove(from);
                names.insert(to.clone(), *file);
            }
            Self::Gone(path) => {
                names.remove(path);
            }
        }
    }
}

#[derive(Clone, Debug, Default)]
struct Content {
    /// As programs see it.
    seen: Vec<u8>,
    /// As it is after the power was lost.
    durable: Vec<u8>,
    /// Writes that no sync has made durable.
    pending: Vec<(u64, Vec<u8>)>,
}

/// Everything on the disk, to be put back later.
#[derive(Clone, Debug, Default)]
pub(crate) struct Image {
    dirs: BTreeSet<PathBuf>,
    files: BTreeMap<u64, Content>,
    names: BTreeMap<PathBuf, u64>,
    durable_names: BTreeMap<PathBuf, u64>,
    renamed: Vec<Renamed>,
    next: u64,
}

/// A disk in memory. Directories are durable as soon as they are made.
#[derive(Clone, Debug, Default)]
pub struct MemoryDisk(Arc<Mutex<Image>>);

struct MemoryFile {
    disk: MemoryDisk,
    path: PathBuf,
    file: u64,
}

fn write(bytes: &mut Vec<u8>, offset: u64, new: &[u8]) {
    let at = usize::try_from(offset).unwrap();
    if bytes.len() < at + new.len() {
        bytes.resize(at + new.len(), 0);
    }
    bytes[at..at + new.len()].copy_from_slice(new);
}

fn missing(operation: DiskOperation, path: &Path) -> DiskError {
    DiskError::new(operation, path, &io::Error::from(ErrorKind::NotFound))
}

impl MemoryDisk {
    fn image(&self) -> MutexGuard<'_, Image> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A copy of everything.
    pub(crate) fn copy(&self) -> Image {
        self.image().clone()
    }

    /// Puts a copy back.
    pub(crate) fn restore(&self, copy: &Image) {
        *self.image() = copy.clone();
    }

    /// The names of all files with their bytes, as programs see them.
    pub fn files(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let image = self.image();
        image.names.iter().map(|(path, file)| (path.clone(), image.files[file].seen.clone())).collect()
    }

    /// Changes the bytes of a file that is durable, behind everybody's back.
    pub fn damage(&self, path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
        let mut image = self.image();
        let file = image.names[path];
        let content = image.files.get_mut(&file).unwrap();
        change(&mut content.seen);
        content.durable.clone_from(&content.seen);
    }

    /// Removes a file behind everybody's back.
    pub fn remove_durably(&self, path: &Path) {
        let mut image = self.image();
        image.renamed.retain(
            |renamed| !matches!(renamed, Renamed::Made(to, _) | Renamed::Moved(_, to, _) if to == path),
        );
        image.names.remove(path);
        image.durable_names.remove(path);
    }

    /// The power goes, and with it all that was not synced.
    pub fn lose_all(&self) {
        self.lose_power(|bound| u64::from(bound == 2));
    }

    /// The power goes: each write and each change of a name that was not synced has happened, or it has not, and a
    /// write may have happened up to some byte. `below(n)` decides with a number below `n`.
    pub fn lose_power(&self, mut below: impl FnMut(u64) -> u64) {
        let mut image = self.image();
        for renamed in std::mem::take(&mut image.renamed) {
            if below(2) == 0 {
                renamed.apply(&mut image.durable_names);
            }
        }
        image.names = image.durable_names.clone();
        let kept: BTreeSet<u64> = image.names.values().copied().collect();
        image.files.retain(|file, _| kept.contains(file));
        for content in image.files.values_mut() {
            for (offset, bytes) in std::mem::take(&mut content.pending) {
                let whole = bytes.len() as u64;
                let written = match below(3) {
                    0 => 0,
                    1 => whole,
                    _ => below(whole + 1),
                };
                write(&mut content.durable, offset, &bytes[..usize::try_from(written).unwrap()]);
            }
            content.seen.clone_from(&content.durable);
        }
    }
}

impl DiskFile for MemoryFile {
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> Result<(), DiskError> {
        let mut image = self.disk.image();
        // As on a real disk, a file that lost its name is there as long as it is open.
        let content = image.files.entry(self.file).or_default();
        write(&mut content.seen, offset, bytes);
        content.pending.push((offset, bytes.to_vec()));
        Ok(())
    }

    fn sync_data(&mut self) -> Result<(), DiskError> {
        let mut image = self.disk.image();
        let content =
            image.files.get_mut(&self.file).ok_or_else(|| missing(DiskOperation::SyncData, &self.path))?;
        for (offset, bytes) in std::mem::take(&mut content.pending) {
            write(&mut content.durable, offset, &bytes);
        }
        Ok(())
    }
}

impl Disk for MemoryDisk {
    fn create_dir(&self, path: &Path) -> Result<(), DiskError> {
        self.image().dirs.insert(path.to_owned());
        Ok(())
    }

    fn create_new(&self, path: &Path) -> Result<Box<dyn DiskFile>, DiskError> {
        let mut image = self.image();
        if image.names.contains_key(path) {
            let exists = io::Error::from(ErrorKind::AlreadyExists);
            return Err(DiskError::new(DiskOperation::CreateNew, path, &exists));
        }
        let file = image.next;
        image.next += 1;
        image.files.insert(file, Content::default());
        image.names.insert(path.to_owned(), file);
        image.renamed.push(Renamed::Made(path.to_owned(), file));
        Ok(Box::new(MemoryFile { disk: self.clone(), path: path.to_owned(), file }))
    }

    fn open(&self, path: &Path) -> Result<Box<dyn DiskFile>, DiskError> {
        let file = self.image().names.get(path).copied();
        let file = file.ok_or_else(|| missing(DiskOperation::Open, path))?;
        Ok(Box::new(MemoryFile { disk: self.clone(), path: path.to_owned(), file }))
    }

    fn read(&self, path: &Path, bytes_max: u64) -> Result<Vec<u8>, DiskError> {
        let image = self.image();
        let file = image.names.get(path).ok_or_else(|| missing(DiskOperation::Read, path))?;
        let bytes = &image.files[file].seen;
        if bytes.len() as u64 > bytes_max {
            let large = io::Error::from(ErrorKind::FileTooLarge);
            return Err(DiskError::new(DiskOperation::Read, path, &large));
        }
        Ok(bytes.clone())
    }

    fn list(&self, dir: &Path) -> Result<Vec<String>, DiskError> {
        let image = self.image();
        if !image.dirs.contains(dir) {
            return Err(missing(DiskOperation::List, dir));
        }
        let inside = image.names.keys().filter(|path| path.parent() == Some(dir));
        Ok(inside.filter_map(|path| Some(path.file_name()?.to_str()?.to_owned())).collect())
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<(), DiskError> {
        let mut image = self.image();
        let file = image.names.get(from).copied().ok_or_else(|| missing(DiskOperation::Rename, from))?;
        let moved = Renamed::Moved(from.to_owned(), to.to_owned(), file);
        moved.apply(&mut image.names);
        image.renamed.push(moved);
        Ok(())
    }

    fn remove(&self, path: &Path) -> Result<(), DiskError> {
        let mut image = self.image();
        image.names.remove(path).ok_or_else(|| missing(DiskOperation::Remove, path))?;
        image.renamed.push(Renamed::Gone(path.to_owned()));
        Ok(())
    }

    fn sync_dir(&self, dir: &Path) -> Result<(), DiskError> {
        let mut image = self.image();
        let (inside, others) = std::mem::take(&mut image.renamed)
            .into_iter()
            .partition(|renamed| renamed.path().parent() == Some(dir));
        image.renamed = others;
        let inside: Vec<Renamed> = inside;
        inside.iter().for_each(|renamed| renamed.apply(&mut image.durable_names));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIR: &str = "/d";

    fn disk() -> MemoryDisk {
        let disk = MemoryDisk::default();
        disk.create_dir(Path::new(DIR)).unwrap();
        disk
    }

    fn at(name: &str) -> PathBuf {
        Path::new(DIR).join(name)
    }

    #[test]
    fn only_what_was_synced_is_sure_to_be_there() {
        for decides in 0..3 {
            let disk = disk();
            let mut file = disk.create_new(&at("a")).unwrap();
            file.write_at(0, b"synced").unwrap();
            file.sync_data().unwrap();
            disk.sync_dir(Path::new(DIR)).unwrap();
            file.write_at(0, b"others").unwrap();
            disk.create_new(&at("b")).unwrap();
            disk.rename(&at("a"), &at("c")).unwrap();
            assert_eq!(
                (disk.read(&at("c"), 6).unwrap(), disk.list(Path::new(DIR)).unwrap().len()),
                (b"others".to_vec(), 2)
            );
            disk.lose_power(|bound| decides % bound);
            let content = [b"synced", b"others", b"otnced"][usize::try_from(decides).unwrap()];
            let expected = match decides {
                1 => vec![(at("a"), content.to_vec())],
                _ => vec![(at("b"), Vec::new()), (at("c"), content.to_vec())],
            };
            assert_eq!(disk.files(), expected.into_iter().collect());
        }
    }

    #[test]
    fn all_that_was_not_synced_can_be_lost() {
        let disk = disk();
        let mut file = disk.create_new(&at("a")).unwrap();
        disk.sync_dir(Path::new(DIR)).unwrap();
        file.write_at(0, b"x").unwrap();
        disk.rename(&at("a"), &at("b")).unwrap();
        disk.lose_all();
        assert_eq!(disk.files(), [(at("a"), Vec::new())].into());
    }

    #[test]
    fn a_copy_is_put_back_as_it_was() {
        let disk = disk();
        disk.create_new(&at("a")).unwrap().write_at(2, b"x").unwrap();
        let copy = disk.copy();
        disk.damage(&at("a"), |bytes| bytes[2] ^= 1);
        disk.remove(&at("a")).unwrap();
        disk.restore(&copy);
        assert_eq!(disk.read(&at("a"), 3).unwrap(), b"\0\0x");
        assert_eq!(disk.read(&at("a"), 2).unwrap_err().kind, ErrorKind::FileTooLarge);
        assert_eq!(disk.read(&at("b"), 2).unwrap_err().kind, ErrorKind::NotFound);
    }
}
