//! The bytes of a Parquet file, counted, and never more at once than a page may have.

use bytes::Bytes;
use parquet::errors::{ParquetError, Result};
use parquet::file::reader::{ChunkReader, Length};
use std::fs::File;
use std::io::{self, BufReader, Read as _, Seek as _, SeekFrom};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Longest page or footer. Writers make pages of a megabyte; a footer of this size describes a hundred thousand
/// row groups.
const PART_BYTES_MAX: usize = 64 * 1_024 * 1_024;

/// The file, and how much of it was read.
pub(super) struct Counted {
    file: File,
    total: u64,
    taken: Arc<AtomicU64>,
}

impl Counted {
    pub fn new(file: File, total: u64, taken: Arc<AtomicU64>) -> Self {
        Self { file, total, taken }
    }
}

impl Length for Counted {
    fn len(&self) -> u64 {
        self.total
    }
}

impl ChunkReader for Counted {
    type T = BufReader<File>;

    fn get_read(&self, start: u64) -> Result<Self::T> {
        self.file.get_read(start)
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes> {
        let end = start.saturating_add(length as u64);
        if length > PART_BYTES_MAX || end > self.total {
            return Err(ParquetError::General(format!(
                "a part of {length} bytes at {start} of a file of {}, expected at most {PART_BYTES_MAX} bytes within it",
                self.total
            )));
        }
        self.taken.fetch_add(length as u64, Ordering::Relaxed);
        self.file.get_bytes(start, length)
    }
}

/// Whether the first bytes are those of a Parquet file. A pipe, which cannot be read twice, is none.
pub(super) fn is_parquet(mut file: &File) -> io::Result<bool> {
    if !file.metadata()?.is_file() {
        return Ok(false);
    }
    let mut magic = [0_u8; 4];
    let known = match file.read_exact(&mut magic) {
        Ok(()) => magic == *b"PAR1",
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => false,
        Err(error) => return Err(error),
    };
    file.seek(SeekFrom::Start(0))?;
    Ok(known)
}
