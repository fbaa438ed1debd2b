//! Durable writes of whole blocks with one call into the system, past its page cache.
//!
//! A write and a sync of its own cost two calls, a copy into the cache and a search for what is dirty; on the
//! machine of `docs/benchmarks.md` a whole block that goes straight to the disk takes a quarter less.

use super::BLOCK_BYTES;
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

/// A file whose whole blocks are written straight to the disk, and are durable when a write returns.
pub(super) struct DirectFile {
    file: File,
    /// Holds the bytes at an address that the disk can take them from.
    aligned: Vec<u8>,
}

impl DirectFile {
    /// `None` when the file system does not do it.
    pub fn open(path: &Path) -> Option<Self> {
        let flags = libc::O_DIRECT | libc::O_DSYNC;
        let file = OpenOptions::new().write(true).custom_flags(flags).open(path).ok()?;
        Some(Self { file, aligned: Vec::new() })
    }

    /// Whether these are whole blocks.
    pub fn takes(&self, offset: u64, bytes: &[u8]) -> bool {
        offset.is_multiple_of(BLOCK_BYTES as u64) && bytes.len().is_multiple_of(BLOCK_BYTES)
    }

    pub fn write(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        if self.aligned.len() < bytes.len() + BLOCK_BYTES {
            self.aligned = vec![0; bytes.len() + BLOCK_BYTES];
        }
        let start = self.aligned.as_ptr().align_offset(BLOCK_BYTES);
        let Some(room) = self.aligned.get_mut(start..).and_then(|rest| rest.get_mut(..bytes.len())) else {
            return Err(io::Error::from(ErrorKind::InvalidInput));
        };
        room.copy_from_slice(bytes);
        self.file.write_all_at(room, offset)
    }
}
