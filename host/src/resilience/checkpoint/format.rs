//! The bytes of a checkpoint file. No I/O here.
//!
//! ```text
//! ckpt-<generation:020>.ck =
//!   magic 8 | version u32 | generation u64 | tick u64 | journal seq u64 | incarnation u32 | plugin 32 |
//!   agent length u8 | agent | payload length u64 | payload | SHA-256 of all previous bytes
//! ```
//!
//! Numbers are little-endian.

use super::{Checkpoint, CheckpointFault, CheckpointHeader, CheckpointPoint};
use sha2::{Digest as _, Sha256};

pub(super) const MAGIC: [u8; 8] = *b"RINGFCKP";
pub(super) const VERSION: u32 = 1;
const SUM_BYTES: usize = 32;
const FIXED_BYTES: usize = 8 + 4 + 8 + 8 + 8 + 4 + 32 + 1;

pub(super) fn encode(header: &CheckpointHeader, payload: &[u8]) -> Vec<u8> {
    let CheckpointHeader { generation, agent, point } = header;
    let mut bytes = Vec::with_capacity(FIXED_BYTES + agent.len() + 8 + payload.len() + SUM_BYTES);
    bytes.extend_from_slice(&MAGIC);
    bytes.extend_from_slice(&VERSION.to_le_bytes());
    bytes.extend_from_slice(&generation.to_le_bytes());
    bytes.extend_from_slice(&point.tick.to_le_bytes());
    bytes.extend_from_slice(&point.journal_seq.to_le_bytes());
    bytes.extend_from_slice(&point.incarnation.to_le_bytes());
    bytes.extend_from_slice(&point.plugin);
    // `CheckpointStore::open` has checked the length.
    bytes.push(u8::try_from(agent.len()).unwrap_or(u8::MAX));
    bytes.extend_from_slice(agent.as_bytes());
    bytes.extend_from_slice(&(payload.len() as u64).to_le_bytes());
    bytes.extend_from_slice(payload);
    let sum = Sha256::digest(&bytes);
    bytes.extend_from_slice(&sum);
    bytes
}

pub(super) fn decode(bytes: &[u8]) -> Result<Checkpoint, CheckpointFault> {
    let length =
        |expected: usize| CheckpointFault::Length { expected: expected as u64, found: bytes.len() as u64 };
    // What the file is comes first: "not a checkpoint" helps more than "the sum is wrong".
    let least = FIXED_BYTES + 8 + SUM_BYTES;
    if bytes.get(..MAGIC.len()).is_some_and(|magic| *magic != MAGIC) {
        return Err(CheckpointFault::Magic);
    }
    let (content, sum) = match bytes.len().checked_sub(SUM_BYTES) {
        Some(end) if bytes.len() >= least => bytes.split_at(end),
        _ => return Err(length(least)),
    };
    let mut fields = Fields { rest: content.get(MAGIC.len()..).unwrap_or_default() };
    let parsed = fields.parse();
    if let Some(version) = parsed.as_ref().map(|p| p.version).filter(|version| *version != VERSION) {
        return Err(CheckpointFault::Version(version));
    }
    let computed = Sha256::digest(content);
    if *computed != *sum {
        return Err(CheckpointFault::Sum { expected: hex(sum), found: hex(&computed) });
    }
    let parsed = parsed.ok_or_else(|| length(least))?;
    if parsed.payload_bytes != fields.rest.len() as u64 {
        let before = bytes.len() - fields.rest.len();
        return Err(CheckpointFault::Length {
            expected: parsed.payload_bytes.saturating_add(before as u64),
            found: bytes.len() as u64,
        });
    }
    let agent = std::str::from_utf8(parsed.agent).map_err(|_| CheckpointFault::AgentText)?.to_owned();
    let header = CheckpointHeader { generation: parsed.generation, agent, point: parsed.point };
    Ok(Checkpoint { header, payload: fields.rest.to_vec() })
}

struct Fields<'a> {
    rest: &'a [u8],
}

struct Parsed<'a> {
    version: u32,
    generation: u64,
    point: CheckpointPoint,
    agent: &'a [u8],
    payload_bytes: u64,
}

impl<'a> Fields<'a> {
    fn parse(&mut self) -> Option<Parsed<'a>> {
        let version = u32::from_le_bytes(self.array()?);
        let generation = u64::from_le_bytes(self.array()?);
        let point = CheckpointPoint {
            tick: u64::from_le_bytes(self.array()?),
            journal_seq: u64::from_le_bytes(self.array()?),
            incarnation: u32::from_le_bytes(self.array()?),
            plugin: self.array()?,
        };
        let [agent_length] = self.array()?;
        let (agent, rest) = self.rest.split_at_checked(usize::from(agent_length))?;
        self.rest = rest;
        let payload_bytes = u64::from_le_bytes(self.array()?);
        Some(Parsed { version, generation, point, agent, payload_bytes })
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (array, rest) = self.rest.split_first_chunk::<N>()?;
        self.rest = rest;
        Some(*array)
    }
}

fn hex(bytes: &[u8]) -> String {
    data_encoding::HEXLOWER.encode(bytes)
}
