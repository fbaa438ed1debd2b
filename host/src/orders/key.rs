//! The identity of an intent: the slot it came from, never what it says.
//!
//! Two equal orders in one call differ by their index and both execute; the same call run again yields
//! the same keys and executes nothing twice. A key names neither payload, attempt, host nor time,
//! because each of those can change between two tries at the same intent.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest as _, Sha256};
use std::fmt;
use std::str::FromStr;
use thiserror::Error;

/// A SHA-256 digest, written in lower-case hexadecimal.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; 32]);

/// The name of an agent: 1 to 64 characters of `a-z 0-9 - _`, so that it is safe in paths, metrics and URLs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct AgentName(String);

/// Where an intent comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot<'a> {
    /// Which agent.
    pub agent: &'a AgentName,
    /// Raised by an operator when the agent's memory was lost, so that old slots are never used again.
    pub incarnation: u32,
    /// The component that decided.
    pub plugin: Digest,
    /// Number of the call into the strategy, strictly increasing within an incarnation.
    pub call: u64,
    /// Position among the intents of that call.
    pub index: u32,
}

/// The idempotency key of an intent: 20 bytes, written as 32 characters of base 32, short enough for any
/// venue's client order id.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct IntentKey([u8; 20]);

impl IntentKey {
    /// The bytes as numbers that compare like them: two keys nearly always differ in the first, and a comparison of
    /// twenty bytes is a call.
    const fn in_order(&self) -> (u64, u64, u32) {
        let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r, s, t] = self.0;
        (
            u64::from_be_bytes([a, b, c, d, e, f, g, h]),
            u64::from_be_bytes([i, j, k, l, m, n, o, p]),
            u32::from_be_bytes([q, r, s, t]),
        )
    }
}

impl Ord for IntentKey {
    #[inline]
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.in_order().cmp(&other.in_order())
    }
}

impl PartialOrd for IntentKey {
    #[inline]
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

/// Text that is not a digest, key or agent name.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum KeyError {
    /// Not 64 hexadecimal digits.
    #[error("expected a SHA-256 digest of 64 hexadecimal digits, found \"{0}\"")]
    Digest(String),
    /// Not 32 characters of base 32.
    #[error("expected an intent key of 32 characters a-z and 2-7, found \"{0}\"")]
    Key(String),
    /// Not an agent name.
    #[error("expected an agent name of 1 to 64 characters a-z, 0-9, - and _, found \"{0}\"")]
    AgentName(String),
}

impl Digest {
    /// The digest of some bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// The digest with these bytes.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl Slot<'_> {
    /// The key of the intent in this slot.
    pub fn key(&self) -> IntentKey {
        let mut hash = Sha256::new();
        hash.update(b"host/intent/v1\0");
        // The name cannot hold a zero byte, so the fields cannot run into each other.
        hash.update(self.agent.as_str().as_bytes());
        hash.update([0]);
        hash.update(self.incarnation.to_be_bytes());
        hash.update(self.plugin.as_bytes());
        hash.update(self.call.to_be_bytes());
        hash.update(self.index.to_be_bytes());
        let digest: [u8; 32] = hash.finalize().into();
        let mut key = [0; 20];
        key.copy_from_slice(&digest[..20]);
        IntentKey(key)
    }
}

impl IntentKey {
    /// The key with these bytes.
    pub const fn from_bytes(bytes: [u8; 20]) -> Self {
        Self(bytes)
    }

    /// The bytes.
    pub const fn as_bytes(&self) -> &[u8; 20] {
        &self.0
    }
}

impl AgentName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn base32() -> data_encoding::Encoding {
    data_encoding::BASE32_NOPAD_NOCASE
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Digest {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        let bytes = data_encoding::HEXLOWER_PERMISSIVE.decode(text.as_bytes()).ok();
        let bytes = bytes.and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
        bytes.map(Self).ok_or_else(|| KeyError::Digest(excerpt(text)))
    }
}

impl fmt::Display for IntentKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&base32().encode(&self.0).to_ascii_lowercase())
    }
}

impl fmt::Debug for IntentKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for IntentKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        let bytes = base32().decode(text.as_bytes()).ok();
        let bytes = bytes.and_then(|bytes| <[u8; 20]>::try_from(bytes).ok());
        bytes.map(Self).ok_or_else(|| KeyError::Key(excerpt(text)))
    }
}

impl TryFrom<String> for AgentName {
    type Error = KeyError;

    fn try_from(name: String) -> Result<Self, KeyError> {
        let allowed = |c: u8| matches!(c, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_');
        if (1..=64).contains(&name.len()) && name.bytes().all(allowed) {
            Ok(Self(name))
        } else {
            Err(KeyError::AgentName(excerpt(&name)))
        }
    }
}

impl FromStr for AgentName {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        Self::try_from(text.to_owned())
    }
}

impl From<AgentName> for String {
    fn from(name: AgentName) -> Self {
        name.0
    }
}

impl fmt::Display for AgentName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn excerpt(text: &str) -> String {
    text.chars().take(80).collect()
}

macro_rules! serde_as_text {
    ($($name:ty),*) => {$(
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }
    )*};
}
serde_as_text!(Digest, IntentKey);

#[cfg(test)]
mod tests {
    use super::*;

    fn slot(agent: &AgentName) -> Slot<'_> {
        Slot { agent, incarnation: 1, plugin: Digest::of(b"plugin"), call: 7, index: 0 }
    }

    #[test]
    fn every_part_of_the_slot_changes_the_key() {
        let (a, b) = ("a".parse().unwrap(), "b".parse().unwrap());
        let base = slot(&a);
        let others = [
            slot(&b),
            Slot { incarnation: 2, ..base },
            Slot { plugin: Digest::of(b"other"), ..base },
            Slot { call: 8, ..base },
            Slot { index: 1, ..base },
        ];
        for other in others {
            assert_ne!(base.key(), other.key(), "{other:?}");
        }
        assert_eq!(base.key(), slot(&a).key());
    }

    #[test]
    fn keys_are_in_the_order_of_their_bytes() {
        let mut bytes = [[7_u8; 20]; 41];
        for (index, key) in bytes.iter_mut().skip(1).enumerate() {
            key[index / 2] = if index % 2 == 0 { 6 } else { 200 };
        }
        for (a, b) in bytes.iter().flat_map(|a| bytes.iter().map(move |b| (*a, *b))) {
            assert_eq!(IntentKey(a).cmp(&IntentKey(b)), a.cmp(&b), "{a:?} {b:?}");
        }
    }

    #[test]
    fn a_key_is_frozen() {
        let agent = "ema".parse().unwrap();
        // A change of this text would make every intent in flight during an upgrade execute twice.
        let key = slot(&agent).key();
        assert_eq!(key.to_string(), "xgx5owgyijfnmkgccvqfddtpcdm7jokq");
        assert_eq!(key.to_string().parse(), Ok(key));
    }

    #[test]
    fn texts_that_are_no_keys_are_refused_with_what_was_found() {
        assert_eq!("xyz".parse::<IntentKey>(), Err(KeyError::Key("xyz".into())));
        assert_eq!("12".parse::<Digest>(), Err(KeyError::Digest("12".into())));
        assert_eq!("Bad Name".parse::<AgentName>(), Err(KeyError::AgentName("Bad Name".into())));
    }
}
