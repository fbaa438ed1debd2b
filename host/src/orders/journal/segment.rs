//! What one segment of the journal looks like, and how its bytes are judged. No I/O here.
//!
//! ```text
//! segment = header (4096 bytes) | record* | zeros
//! header  = magic 8 | version u32 | first seq u64 | chain 32 | crc32c u32 | mark | zeros
//! mark    = seq u64 | crc32c u32, or all zeros
//! record  = len u32 | crc32c u32 | version u8 | seq u64 | synced u64 | chain 32 | payload
//! ```
//!
//! Numbers are little-endian. `len` counts what follows the checksum. The checksum of a record covers
//! its length too and continues that of the segment's header, so that a record which strayed here from
//! another segment does not pass. `chain` is the SHA-256 of the previous record's chain and this record's
//! bytes without checksum and chain; the header of a segment repeats the chain of the record before it.
//!
//! A bad record is either a *torn* write that nobody was told about, or *corruption* of something that
//! was promised. What tells them apart is evidence: the mark in the header and `synced` in every record
//! say up to which sequence number everything was known to be durable when they were written. Only
//! behind that line can a bad record be torn. (A crash may tear one record of a group that was being
//! written and leave a later one of the same group whole, since a disk writes pages in any order; mere
//! "something valid follows" would call this corruption.)

use sha2::{Digest as _, Sha256};

/// Links a record to everything before it.
pub(super) type Chain = [u8; 32];

/// The chain before the first record.
pub(super) const GENESIS: Chain = [0; 32];

/// The header has a page of its own: the mark in it is rewritten in place, and a page that was torn
/// by that must not take a record with it.
pub(super) const HEADER_BYTES: usize = 4_096;

/// No journal gets here by counting; a header that says more is not believed, so that counting on from
/// it cannot overflow.
const SEQ_MAX: u64 = u64::MAX / 2;

const MAGIC: [u8; 8] = *b"RINGFWAL";
const SEGMENT_VERSION: u32 = 1;
const RECORD_VERSION: u8 = 1;
/// Magic, version, first seq and chain: what the header's checksum covers.
const HEADER_FIELDS_BYTES: usize = 8 + 4 + 8 + 32;
pub(super) const MARK_OFFSET: usize = HEADER_FIELDS_BYTES + 4;
pub(super) const MARK_BYTES: usize = 8 + 4;
/// Length and checksum.
const PREFIX_BYTES: usize = 4 + 4;
/// Version, seq, synced and chain.
const FIELDS_BYTES: usize = 1 + 8 + 8 + 32;
/// What a record takes beside its payload.
pub(super) const RECORD_OVERHEAD_BYTES: usize = PREFIX_BYTES + FIELDS_BYTES;

/// The part of a header that records depend on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// Sequence number of the first record, whether or not it is there yet.
    pub first_seq: u64,
    /// Chain of the record before it.
    pub chain: Chain,
}

/// What a bad segment shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Damage {
    /// Where in the segment.
    pub offset: u64,
    /// Sequence number of the record that should be there.
    pub seq: u64,
    /// What was found.
    pub found: &'static str,
}

/// A record in a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Record<'a> {
    pub seq: u64,
    pub payload: &'a [u8],
}

/// How the records of a segment end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// Zeros only, or no byte at all.
    Clean,
    /// A write that did not finish. From this offset on nothing was ever promised.
    Torn { offset: u64 },
    /// Something that was promised is not there any more.
    Corrupt(Damage),
}

impl Header {
    pub(super) fn encode(self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        let mut fields = Vec::with_capacity(MARK_OFFSET);
        fields.extend_from_slice(&MAGIC);
        fields.extend_from_slice(&SEGMENT_VERSION.to_le_bytes());
        fields.extend_from_slice(&self.first_seq.to_le_bytes());
        fields.extend_from_slice(&self.chain);
        fields.extend_from_slice(&self.checksum().to_le_bytes());
        bytes[..MARK_OFFSET].copy_from_slice(&fields);
        bytes
    }

    /// Checksum of the header, from which those of its records continue.
    pub(super) fn checksum(&self) -> u32 {
        let crc = crc32c::crc32c(&MAGIC);
        let crc = crc32c::crc32c_append(crc, &SEGMENT_VERSION.to_le_bytes());
        let crc = crc32c::crc32c_append(crc, &self.first_seq.to_le_bytes());
        crc32c::crc32c_append(crc, &self.chain)
    }

    /// The mark that everything up to `seq` is durable, for [`MARK_OFFSET`].
    pub(super) fn mark(&self, seq: u64) -> [u8; MARK_BYTES] {
        let mut mark = [0; MARK_BYTES];
        let crc = crc32c::crc32c_append(self.checksum(), &seq.to_le_bytes());
        mark[..8].copy_from_slice(&seq.to_le_bytes());
        mark[8..].copy_from_slice(&crc.to_le_bytes());
        mark
    }

    /// Reads the header and its mark; a mark that is damaged is `None`.
    fn decode(bytes: &[u8]) -> Result<(Self, Option<u64>), &'static str> {
        let header = bytes.get(..HEADER_BYTES).ok_or("a header that is cut off")?;
        if header.get(..8) != Some(&MAGIC) {
            return Err("no segment of a journal");
        }
        let version = u32_at(header, 8).ok_or("a header that is cut off")?;
        let first_seq = u64_at(header, 12).ok_or("a header that is cut off")?;
        let chain = chain_at(header, 20).ok_or("a header that is cut off")?;
        let parsed = Self { first_seq, chain };
        let crc = header.get(..HEADER_FIELDS_BYTES).map(crc32c::crc32c);
        if u32_at(header, HEADER_FIELDS_BYTES) != crc {
            return Err("a header whose checksum is wrong");
        }
        if version != SEGMENT_VERSION {
            return Err("a segment of a version that this host does not know");
        }
        if first_seq == 0 || first_seq > SEQ_MAX {
            return Err("a header whose sequence number is out of range");
        }
        let (mark, rest) = header.split_at(MARK_OFFSET).1.split_at(MARK_BYTES);
        if !is_zero(rest) {
            return Err("a header with bytes where zeros belong");
        }
        if is_zero(mark) {
            return Ok((parsed, Some(0)));
        }
        Ok((parsed, u64_at(mark, 0).filter(|seq| parsed.mark(*seq) == mark)))
    }
}

/// Appends the record after `chain` to a buffer and returns its own chain. The caller has checked that
/// the payload's length fits 32 bits.
pub(super) fn encode_record(
    buffer: &mut Vec<u8>,
    header_checksum: u32,
    chain: &Chain,
    seq: u64,
    synced: u64,
    payload: &[u8],
) -> Chain {
    let len = u32::try_from(FIELDS_BYTES + payload.len()).unwrap_or(u32::MAX);
    let own = link(chain, len, RECORD_VERSION, seq, synced, payload);
    buffer.reserve(RECORD_OVERHEAD_BYTES + payload.len());
    buffer.extend_from_slice(&len.to_le_bytes());
    let crc_at = buffer.len();
    buffer.extend_from_slice(&[0; 4]);
    buffer.push(RECORD_VERSION);
    buffer.extend_from_slice(&seq.to_le_bytes());
    buffer.extend_from_slice(&synced.to_le_bytes());
    buffer.extend_from_slice(&own);
    buffer.extend_from_slice(payload);
    let crc = record_checksum(header_checksum, len, &buffer[crc_at + 4..]);
    buffer[crc_at..crc_at + 4].copy_from_slice(&crc.to_le_bytes());
    own
}

fn record_checksum(header_checksum: u32, len: u32, body: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c_append(header_checksum, &len.to_le_bytes()), body)
}

fn link(chain: &Chain, len: u32, version: u8, seq: u64, synced: u64, payload: &[u8]) -> Chain {
    let mut hash = Sha256::new();
    hash.update(chain);
    hash.update(len.to_le_bytes());
    hash.update([version]);
    hash.update(seq.to_le_bytes());
    hash.update(synced.to_le_bytes());
    hash.update(payload);
    hash.finalize().into()
}

/// A record whose checksum is right, wherever it stands.
struct Raw<'a> {
    version: u8,
    seq: u64,
    synced: u64,
    chain: Chain,
    payload: &'a [u8],
}

fn raw_at(bytes: &[u8], offset: usize, header_checksum: u32) -> Option<Raw<'_>> {
    let len = u32_at(bytes, offset)?;
    let body_at = offset.checked_add(PREFIX_BYTES)?;
    let body = bytes.get(body_at..body_at.checked_add(usize::try_from(len).ok()?)?)?;
    let payload = body.get(FIELDS_BYTES..)?;
    if u32_at(bytes, offset + 4)? != record_checksum(header_checksum, len, body) {
        return None;
    }
    let (version, seq, synced) = (*body.first()?, u64_at(body, 1)?, u64_at(body, 9)?);
    Some(Raw { version, seq, synced, chain: chain_at(body, 17)?, payload })
}

/// Walks over the records of one segment.
pub(super) struct Walk<'a> {
    bytes: &'a [u8],
    header: Header,
    offset: usize,
    next_seq: u64,
    chain: Chain,
    mark_damaged: bool,
    /// Highest sequence number that the mark and the records seen so far prove durable.
    proven: u64,
}

impl<'a> Walk<'a> {
    /// Reads the header of a segment.
    pub(super) fn new(bytes: &'a [u8]) -> Result<Self, Damage> {
        let (header, mark) = Header::decode(bytes).map_err(|found| Damage { offset: 0, seq: 0, found })?;
        Ok(Self {
            bytes,
            header,
            offset: HEADER_BYTES,
            next_seq: header.first_seq,
            chain: header.chain,
            mark_damaged: mark.is_none(),
            proven: mark.unwrap_or(0),
        })
    }

    pub(super) fn header(&self) -> Header {
        self.header
    }

    /// Whether the mark cannot be read. Records still prove what came before them, so that only the last
    /// ones lose their witness: refusing the journal for that would cost more than it saves.
    pub(super) fn mark_damaged(&self) -> bool {
        self.mark_damaged
    }

    /// Where the next record belongs.
    pub(super) fn offset(&self) -> usize {
        self.offset
    }

    /// Sequence number of the next record.
    pub(super) fn next_seq(&self) -> u64 {
        self.next_seq
    }

    /// Chain of the last record.
    pub(super) fn chain(&self) -> Chain {
        self.chain
    }

    /// The next record that is valid in every respect.
    pub(super) fn next_record(&mut self) -> Option<Record<'a>> {
        let raw = raw_at(self.bytes, self.offset, self.header.checksum())?;
        let len = u32::try_from(FIELDS_BYTES + raw.payload.len()).ok()?;
        let chain = link(&self.chain, len, raw.version, raw.seq, raw.synced, raw.payload);
        let follows = raw.seq == self.next_seq && raw.synced < raw.seq && chain == raw.chain;
        if raw.version != RECORD_VERSION || !follows {
            return None;
        }
        self.next_seq = self.next_seq.checked_add(1)?;
        self.offset += RECORD_OVERHEAD_BYTES + raw.payload.len();
        self.chain = chain;
        self.proven = self.proven.max(raw.synced);
        Some(Record { seq: raw.seq, payload: raw.payload })
    }

    /// How the segment ends, once [`Walk::next_record`] has nothing more. A segment that has a
    /// successor was complete before the successor was made, so nothing in it can be torn.
    pub(super) fn end(&self, has_successor: bool) -> End {
        let corrupt = |found| End::Corrupt(Damage { offset: self.offset as u64, seq: self.next_seq, found });
        let rest = self.bytes.get(self.offset..).unwrap_or_default();
        if is_zero(rest) {
            let promised = self.proven >= self.next_seq;
            return if promised { corrupt("nothing, where a durable record was") } else { End::Clean };
        }
        match raw_at(self.bytes, self.offset, self.header.checksum()) {
            Some(raw) if raw.version != RECORD_VERSION => {
                return corrupt("a record of a version that this host does not know");
            }
            // A torn write does not have a right checksum.
            Some(_) => return corrupt("a record that does not follow the one before it"),
            None => {}
        }
        if has_successor || self.proven.max(self.synced_by_later_records()) >= self.next_seq {
            corrupt("a bad record, where a durable one was")
        } else {
            End::Torn { offset: self.offset as u64 }
        }
    }

    /// What records behind a bad one prove. They are found by trying every offset, since the bad one's
    /// length cannot be trusted; the sequence number is compared first, so that only real candidates
    /// cost a checksum.
    fn synced_by_later_records(&self) -> u64 {
        let rest = self.bytes.len().saturating_sub(self.offset);
        let seq_max = self.next_seq.saturating_add((rest / RECORD_OVERHEAD_BYTES) as u64);
        let checksum = self.header.checksum();
        let mut synced = 0;
        for offset in self.offset..self.bytes.len().saturating_sub(RECORD_OVERHEAD_BYTES - 1) {
            let plausible = u64_at(self.bytes, offset + PREFIX_BYTES + 1)
                .is_some_and(|seq| (self.next_seq..=seq_max).contains(&seq));
            if plausible && let Some(raw) = raw_at(self.bytes, offset, checksum) {
                synced = synced.max(raw.synced);
            }
        }
        synced
    }
}

/// Length of the bytes without the zeros at their end.
pub(super) fn used_bytes(bytes: &[u8]) -> usize {
    bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1)
}

fn is_zero(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte == 0)
}

fn u32_at(bytes: &[u8], offset: usize) -> Option<u32> {
    let bytes = bytes.get(offset..offset.checked_add(4)?)?;
    Some(u32::from_le_bytes(bytes.try_into().ok()?))
}

fn u64_at(bytes: &[u8], offset: usize) -> Option<u64> {
    let bytes = bytes.get(offset..offset.checked_add(8)?)?;
    Some(u64::from_le_bytes(bytes.try_into().ok()?))
}

fn chain_at(bytes: &[u8], offset: usize) -> Option<Chain> {
    bytes.get(offset..offset.checked_add(32)?)?.try_into().ok()
}
