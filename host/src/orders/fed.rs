//! What a strategy was called with, as the journal keeps it.
//!
//! In files a list of calls is packed: every number is written as its difference to the call before it, so
//! that a tick takes a few bytes. In JSON, for people, the calls are spelled out.

mod pack;
#[cfg(test)]
mod tests;

use super::{Digest, OrderIntent, StrategyEvent};
use crate::market::{Bar, InstrumentId, PriceTicks, Tick};
use crate::plugin::TickContext;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::num::NonZeroU64;

/// One call into a strategy: everything that it was told, and what it answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Fed {
    /// Number of the call.
    pub call: u64,
    /// Which records the books had followed.
    pub seen: Seen,
    /// Prices that came since the last call and with no call: timers that a tick makes due and bars that it completes
    /// are told before the tick and see its price in the books, and the prices of the ticks that came while nothing
    /// was called are in them, too. One for an instrument.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub marked: Vec<(InstrumentId, PriceTicks)>,
    /// The context of the call.
    pub context: TickContext,
    /// What it was called with.
    pub input: FedInput,
    /// What came of it.
    pub answer: Answer,
    /// Fuel that it used, where it is metered: the same call uses the same on every machine. Older records do
    /// not say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fuel: Option<NonZeroU64>,
}

/// How far the books had followed the agent's records at a moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Seen {
    /// Number of the last record that was acted on, or is being acted on.
    pub record: u64,
    /// How many of its order changes: a strategy hears of each before the next is booked.
    pub changes: u32,
}

/// What a strategy was called with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FedInput {
    /// A market update.
    Tick(Tick),
    /// A complete bar.
    Bar(Bar),
    /// News.
    Event(StrategyEvent),
}

/// What came of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// It wanted nothing.
    Quiet,
    /// It wanted something: the digest of its intents, see [`intents_digest`].
    Wanted(Digest),
    /// It explained why it could not. What it changed in its own memory stays.
    Fault,
    /// The sandbox did not make the call.
    Refused,
    /// The call failed, and the strategy was halted.
    Failed,
}

/// Digest of what a call returned, before the host has judged any of it.
pub fn intents_digest(intents: &[OrderIntent]) -> Digest {
    let mut bytes = Vec::with_capacity(64);
    // Writing to memory cannot fail, and every type in here is representable.
    let _ = ciborium::into_writer(intents, &mut bytes);
    Digest::of(&bytes)
}

/// For `serde(with)`: packed bytes in binary formats, a list of calls in JSON.
pub(crate) mod packed {
    use super::{Deserialize, Deserializer, Fed, Serialize, Serializer, pack};
    use serde::de::Error;

    pub fn serialize<S: Serializer>(calls: &[Fed], serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            calls.serialize(serializer)
        } else {
            serializer.serialize_bytes(&pack::pack(calls))
        }
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Fed>, D::Error> {
        let bytes = serde_bytes::ByteBuf::deserialize(deserializer)?;
        pack::unpack(&bytes).map_err(D::Error::custom)
    }
}
