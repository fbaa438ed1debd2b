//! The private folder: opened without following a link, checked to be ours alone, and then used through its
//! handle, so that what was checked is what is used.

use super::super::compiled::SealKey;
use rustix::fs::{
    AtFlags, Dir, FileType, Mode, OFlags, Stat, Timespec, Timestamps, UTIME_NOW, fstat, fstatvfs, fsync,
    futimens, linkat, mkdir, open, openat, renameat, statat, unlinkat,
};
use rustix::io::Errno;
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use thiserror::Error;

/// The file that holds the key.
const KEY: &str = "key";
/// What every file of machine code ends with.
const ENDING: &str = ".code";
/// What a file begins with that is being written.
const BEGINNING: &str = "new-";
/// A file that has been written for this long belongs to a process that died.
const ABANDONED_S: i64 = 3_600;

/// Why the folder cannot be used.
#[derive(Debug, Error)]
pub(in super::super) enum FolderError {
    #[error("{path}: cannot {what}: {source}", path = path.display())]
    Io { path: PathBuf, what: &'static str, source: io::Error },
    #[error(
        "{path}: {problem}; compiled components are kept only where this user alone can write: remove it, it is \
         made anew",
        path = path.display()
    )]
    NotPrivate { path: PathBuf, problem: String },
}

/// The folder, open.
pub(super) struct Folder {
    path: PathBuf,
    fd: OwnedFd,
    owner: u32,
}

impl Folder {
    /// Opens the folder; `None` when there is none.
    pub fn open(path: &Path) -> Result<Option<Self>, FolderError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let failed = |what, source: io::Error| FolderError::Io { path: path.to_owned(), what, source };
        let fd = match open(path, flags, Mode::empty()) {
            Ok(fd) => fd,
            Err(Errno::NOENT) => return Ok(None),
            Err(Errno::LOOP | Errno::NOTDIR) => {
                let problem = "it is a link or no folder".into();
                return Err(FolderError::NotPrivate { path: path.to_owned(), problem });
            }
            Err(errno) => return Err(failed("open the folder", errno.into())),
        };
        let stat = fstat(&fd).map_err(|errno| failed("look at the folder", errno.into()))?;
        let owner = own_user().map_err(|source| failed("find out whose process this is", source))?;
        let folder = Self { path: path.to_owned(), fd, owner };
        folder.check(path, &stat)?;
        Ok(Some(folder))
    }

    /// Opens the folder, and makes it first when there is none; `None` when there is nothing to make it in.
    pub fn create(path: &Path) -> Result<Option<Self>, FolderError> {
        match mkdir(path, Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => Self::open(path),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => {
                Err(FolderError::Io { path: path.to_owned(), what: "make the folder", source: errno.into() })
            }
        }
    }

    /// Space that is left on its disk.
    pub fn free_bytes(&self) -> Result<u64, FolderError> {
        let disk = fstatvfs(&self.fd).map_err(self.failed("", "look at the disk"))?;
        Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
    }

    /// Ours, and nobody else may read or write it.
    fn check(&self, path: &Path, stat: &Stat) -> Result<(), FolderError> {
        let wrong = |problem: String| FolderError::NotPrivate { path: path.to_owned(), problem };
        if stat.st_uid != self.owner {
            return Err(wrong(format!("it belongs to user {}, this is user {}", stat.st_uid, self.owner)));
        }
        let others = stat.st_mode & 0o077;
        if others != 0 {
            return Err(wrong(format!("its mode is {:o}, others can get at it", stat.st_mode & 0o777)));
        }
        Ok(())
    }

    fn failed(&self, name: &str, what: &'static str) -> impl FnOnce(Errno) -> FolderError {
        let path = self.path.join(name);
        move |errno| FolderError::Io { path, what, source: errno.into() }
    }

    /// Reads a whole file of the folder; `None` when there is none.
    pub fn read(&self, name: &str, bytes_max: u64) -> Result<Option<Vec<u8>>, FolderError> {
        // A pipe that somebody put there must not be waited for.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let path = || self.path.join(name);
        let fd = match openat(&self.fd, name, flags, Mode::empty()) {
            Ok(fd) => fd,
            Err(Errno::NOENT) => return Ok(None),
            Err(Errno::LOOP) => {
                return Err(FolderError::NotPrivate { path: path(), problem: "it is a link".into() });
            }
            Err(errno) => return Err(self.failed(name, "open it")(errno)),
        };
        let stat = fstat(&fd).map_err(self.failed(name, "look at it"))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(FolderError::NotPrivate { path: path(), problem: "it is no file".into() });
        }
        self.check(&path(), &stat)?;
        let length = u64::try_from(stat.st_size).unwrap_or(u64::MAX);
        if length > bytes_max {
            let problem = format!("it has {length} bytes, more than {bytes_max}");
            return Err(FolderError::NotPrivate { path: path(), problem });
        }
        let mut bytes = Vec::with_capacity(usize::try_from(length).unwrap_or(0));
        let read = File::from(fd).take(bytes_max).read_to_end(&mut bytes);
        read.map_err(|source| FolderError::Io { path: path(), what: "read it", source })?;
        Ok(Some(bytes))
    }

    /// Writes a whole file: to another name, to the disk, and then under its own.
    pub fn write(&self, name: &str, bytes: &[u8]) -> Result<(), FolderError> {
        let new = self.write_new(bytes)?;
        let renamed = renameat(&self.fd, new.as_str(), &self.fd, name);
        renamed.map_err(self.failed(name, "rename it"))?;
        fsync(&self.fd).map_err(self.failed(name, "sync the folder"))
    }

    fn write_new(&self, bytes: &[u8]) -> Result<String, FolderError> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let mut random = [0; 8];
        getrandom::fill(&mut random).map_err(|error| FolderError::Io {
            path: self.path.clone(),
            what: "draw random numbers",
            source: io::Error::other(error.to_string()),
        })?;
        let new = format!("{BEGINNING}{}-{count}-{:016x}", std::process::id(), u64::from_le_bytes(random));
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = openat(&self.fd, new.as_str(), flags, Mode::RUSR | Mode::WUSR)
            .map_err(self.failed(&new, "make it"))?;
        let mut file = File::from(fd);
        let written = file.write_all(bytes).and_then(|()| file.sync_all());
        if let Err(source) = written {
            // Best effort: a disk that is full wants its space back.
            let _ = unlinkat(&self.fd, new.as_str(), AtFlags::empty());
            return Err(FolderError::Io { path: self.path.join(&new), what: "write it", source });
        }
        Ok(new)
    }

    /// The key, when there is one.
    pub fn key(&self) -> Result<Option<SealKey>, FolderError> {
        let Some(bytes) = self.read(KEY, SealKey::BYTES as u64)? else { return Ok(None) };
        match <[u8; SealKey::BYTES]>::try_from(bytes.as_slice()) {
            Ok(key) => Ok(Some(SealKey::new(key))),
            Err(_) => {
                let problem = format!("a key has {} bytes, this has {}", SealKey::BYTES, bytes.len());
                Err(FolderError::NotPrivate { path: self.path.join(KEY), problem })
            }
        }
    }

    /// The key, drawn first when there is none. Of two hosts that draw one at once, both use the first.
    pub fn key_or_new(&self) -> Result<SealKey, FolderError> {
        if let Some(key) = self.key()? {
            return Ok(key);
        }
        let mut bytes = [0; SealKey::BYTES];
        getrandom::fill(&mut bytes).map_err(|error| FolderError::Io {
            path: self.path.join(KEY),
            what: "draw a key",
            source: io::Error::other(error.to_string()),
        })?;
        let new = self.write_new(&bytes)?;
        // Unlike a rename, a link never replaces what is there.
        let linked = linkat(&self.fd, new.as_str(), &self.fd, KEY, AtFlags::empty());
        let removed = unlinkat(&self.fd, new.as_str(), AtFlags::empty());
        if let Err(errno) = linked
            && errno != Errno::EXIST
        {
            return Err(self.failed(KEY, "keep the key")(errno));
        }
        removed.map_err(self.failed(&new, "remove it"))?;
        fsync(&self.fd).map_err(self.failed(KEY, "sync the folder"))?;
        let gone = FolderError::Io {
            path: self.path.join(KEY),
            what: "find the key again",
            source: io::ErrorKind::NotFound.into(),
        };
        self.key()?.ok_or(gone)
    }

    /// Notes that a file was used. Best effort: at worst it is deleted too early.
    pub fn touch(&self, name: &str) {
        let now = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        if let Ok(fd) = openat(&self.fd, name, flags, Mode::empty()) {
            let _ = futimens(&fd, &Timestamps { last_access: now, last_modification: now });
        }
    }

    /// Deletes the files that were used longest ago until the rest fits, and what dead processes left behind.
    pub fn shrink(&self, bytes_max: u64, entries_max: u32) -> Result<(), FolderError> {
        let listed = Dir::read_from(&self.fd).map_err(self.failed("", "list the folder"))?;
        let mut files = Vec::new();
        let mut begun = Vec::new();
        for entry in listed {
            let entry = entry.map_err(self.failed("", "list the folder"))?;
            let Ok(name) = entry.file_name().to_str() else { continue };
            // One that is gone by now was deleted by another host.
            let Ok(stat) = statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW) else { continue };
            let used = (stat.st_mtime, stat.st_mtime_nsec);
            if name.ends_with(ENDING) {
                files.push((used, u64::try_from(stat.st_size).unwrap_or(0), name.to_owned()));
            } else if name.starts_with(BEGINNING) {
                begun.push((used, name.to_owned()));
            }
        }
        files.sort();
        let newest = files.last().map_or(0, |((seconds, _), ..)| *seconds);
        begun.retain(|((seconds, _), _)| newest.saturating_sub(*seconds) > ABANDONED_S);
        let mut bytes: u64 = files.iter().map(|(_, bytes, _)| bytes).sum();
        let mut count = files.len();
        let entries_max = usize::try_from(entries_max).unwrap_or(usize::MAX);
        let old = files.into_iter().map_while(|(_, size, name)| {
            let over = bytes > bytes_max || count > entries_max;
            (bytes, count) = (bytes.saturating_sub(size), count.saturating_sub(1));
            over.then_some(name)
        });
        for name in old.chain(begun.into_iter().map(|(_, name)| name)) {
            match unlinkat(&self.fd, name.as_str(), AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(errno) => return Err(self.failed(&name, "delete it")(errno)),
            }
        }
        Ok(())
    }
}

/// The user that this process acts as: what a pipe of its own belongs to.
fn own_user() -> io::Result<u32> {
    let (reader, _writer) = io::pipe()?;
    Ok(fstat(&reader)?.st_uid)
}
