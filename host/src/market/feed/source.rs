//! Where the bytes of a data file come from: the file itself, or what is packed in it.
//!
//! How a file is packed is read from its first bytes, not from its name. Nothing is unpacked to disk.

use super::FeedError;
use flate2::Crc;
use flate2::read::{DeflateDecoder, MultiGzDecoder};
use rawzip::{CompressionMethod, RECOMMENDED_BUFFER_SIZE, ZipArchive};
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes of packed data that are read at a time.
const PACKED_BUFFER_BYTES: usize = 64 * 1_024;

/// The bytes of one data file, unpacked on the way.
pub(super) struct Source {
    bytes: Box<dyn Read + Send>,
    taken: Arc<AtomicU64>,
    total: Option<u64>,
}

impl std::fmt::Debug for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Source")
            .field("taken", &self.taken)
            .field("total", &self.total)
            .finish_non_exhaustive()
    }
}

impl Source {
    /// Opens a file, packed by gzip or as the one file in a zip archive, or not packed at all.
    pub fn open(path: &Path, name: &Arc<str>) -> Result<Self, FeedError> {
        let failed = |cause: io::Error| FeedError::Open { source_name: Arc::clone(name), cause };
        let mut file = File::open(path).map_err(failed)?;
        let is_file = file.metadata().ok().filter(std::fs::Metadata::is_file);
        let total = is_file.as_ref().map(std::fs::Metadata::len);
        let taken = Arc::new(AtomicU64::new(0));
        let count = |inner| Counted { inner, taken: Arc::clone(&taken) };
        let mut magic = [0_u8; 4];
        // A pipe cannot be looked into and read again from its beginning.
        let known = is_file.is_some() && file.read_exact(&mut magic).is_ok();
        if is_file.is_some() {
            file.seek(SeekFrom::Start(0)).map_err(failed)?;
        }
        let bytes: Box<dyn Read + Send> = match magic {
            [0x1f, 0x8b, ..] if known => {
                let packed = BufReader::with_capacity(PACKED_BUFFER_BYTES, count(file));
                Box::new(MultiGzDecoder::new(packed))
            }
            [b'P', b'K', 3, 4] if known => {
                let member = Member::find(&file, name)?;
                file.seek(SeekFrom::Start(member.start)).map_err(failed)?;
                let packed =
                    BufReader::with_capacity(PACKED_BUFFER_BYTES, count(file)).take(member.packed_bytes);
                match member.method {
                    CompressionMethod::Store => Box::new(Checked::new(packed, member.crc32)),
                    _ => Box::new(Checked::new(DeflateDecoder::new(packed), member.crc32)),
                }
            }
            [b'P', b'K', 5, 6] if known => return Err(archive(name, "there is no file in the archive")),
            _ => Box::new(count(file)),
        };
        Ok(Self { bytes, taken, total })
    }

    /// Bytes of the file read so far, as they lie on the disk.
    pub fn taken(&self) -> u64 {
        self.taken.load(Ordering::Relaxed)
    }

    /// Length of the file when it was opened; `None` for a pipe.
    pub const fn total(&self) -> Option<u64> {
        self.total
    }
}

impl Read for Source {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        self.bytes.read(out)
    }
}

/// Counts what is read.
struct Counted {
    inner: File,
    taken: Arc<AtomicU64>,
}

impl Read for Counted {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(out)?;
        self.taken.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}

/// Where the one file of an archive lies.
struct Member {
    start: u64,
    packed_bytes: u64,
    method: CompressionMethod,
    crc32: u32,
}

impl Member {
    fn find(file: &File, name: &Arc<str>) -> Result<Self, FeedError> {
        let wrong = |error: rawzip::Error| archive(name, format!("the archive cannot be read: {error}"));
        let file =
            file.try_clone().map_err(|cause| FeedError::Open { source_name: Arc::clone(name), cause })?;
        let mut buffer = vec![0; RECOMMENDED_BUFFER_SIZE];
        let found = ZipArchive::from_file(file, &mut buffer).map_err(wrong)?;
        let mut entries = found.entries(&mut buffer);
        let mut member = None;
        while let Some(entry) = entries.next_entry().map_err(wrong)? {
            if entry.is_dir() {
                continue;
            }
            if member.is_some() {
                let text =
                    "there is more than one file in the archive; unpack it and name the one that is meant";
                return Err(archive(name, text));
            }
            let method = entry.compression_method();
            if !matches!(method, CompressionMethod::Store | CompressionMethod::Deflate) {
                return Err(archive(
                    name,
                    format!("the archive is packed by {method:?}, which is not read here"),
                ));
            }
            member = Some((entry.wayfinder(), method, entry.crc32()));
        }
        let (place, method, crc32) =
            member.ok_or_else(|| archive(name, "there is no file in the archive"))?;
        let (start, end) = found.get_entry(place).map_err(wrong)?.compressed_data_range();
        Ok(Self { start, packed_bytes: end.saturating_sub(start), method, crc32 })
    }
}

fn archive(name: &Arc<str>, reason: impl Into<String>) -> FeedError {
    FeedError::Archive { source_name: Arc::clone(name), reason: reason.into() }
}

/// Holds the bytes of an archive's member to its checksum, at their end.
struct Checked<R> {
    inner: R,
    crc: Crc,
    expected: u32,
}

impl<R: Read> Checked<R> {
    fn new(inner: R, expected: u32) -> Self {
        Self { inner, crc: Crc::new(), expected }
    }
}

impl<R: Read> Read for Checked<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(out)?;
        self.crc.update(out.get(..count).unwrap_or_default());
        if count == 0 && !out.is_empty() && self.crc.sum() != self.expected {
            let text = "the unpacked bytes do not have the checksum that the archive names";
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        Ok(count)
    }
}
