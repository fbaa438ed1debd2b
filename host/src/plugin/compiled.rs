//! Machine code of a component: how it comes to be trusted, how it is sealed for the disk, and the one place
//! where it becomes part of this process.

use super::compiler::Answer;
use crate::orders::Digest;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest as _, Sha256};
use std::fmt;
use std::hash::{Hash, Hasher};
use thiserror::Error;
use wasmtime::Engine;
use wasmtime::component::Component;

/// What an engine compiles for: its version, its flags and the processor. Machine code of another one is not
/// taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct EngineHash(pub [u8; 32]);

impl EngineHash {
    pub fn of(engine: &Engine) -> Self {
        /// Feeds what the engine hashes into SHA-256: the standard hasher has 64 bits and no promise to keep them.
        struct Feed(Sha256);
        impl Hasher for Feed {
            fn write(&mut self, bytes: &[u8]) {
                self.0.update(bytes);
            }
            fn finish(&self) -> u64 {
                0
            }
        }
        let mut feed = Feed(Sha256::new());
        engine.precompile_compatibility_hash().hash(&mut feed);
        Self(feed.0.finalize().into())
    }
}

impl fmt::Display for EngineHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// What a sealed file says it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Label {
    /// The component that was compiled.
    pub component: Digest,
    /// The engine that it was compiled for.
    pub engine: EngineHash,
}

/// The key under which machine code is sealed. It never leaves its folder and this process.
pub(super) struct SealKey([u8; Self::BYTES]);

impl SealKey {
    pub const BYTES: usize = 32;

    pub fn new(bytes: [u8; Self::BYTES]) -> Self {
        Self(bytes)
    }

    /// `None` never happens: HMAC takes keys of every length.
    fn mac(&self, parts: &[&[u8]]) -> Option<Hmac<Sha256>> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).ok()?;
        parts.iter().for_each(|part| mac.update(part));
        Some(mac)
    }
}

impl fmt::Debug for SealKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SealKey")
    }
}

/// Why sealed machine code is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(super) enum SealError {
    #[error("it breaks off")]
    Truncated,
    #[error("it is no file of this cache, or of another version of it")]
    Foreign,
    #[error("its seal does not fit: it was changed, or sealed under another key")]
    Seal,
    #[error("it is machine code of another component")]
    OtherComponent,
    #[error("it was compiled for another engine or processor")]
    OtherEngine,
}

/// First bytes of a sealed file; the number is that of the layout.
const MAGIC: [u8; 8] = *b"RFCODE1\n";
const HEADER_BYTES: usize = 8 + 32 + 32 + 8;
const MAC_BYTES: usize = 32;
/// What sealing adds to the code.
pub(super) const SEAL_BYTES: u64 = (HEADER_BYTES + MAC_BYTES) as u64;

fn header(label: &Label, code_bytes: usize) -> [u8; HEADER_BYTES] {
    let mut header = [0; HEADER_BYTES];
    let length = u64::try_from(code_bytes).unwrap_or(u64::MAX).to_le_bytes();
    let fields = MAGIC.iter().chain(label.component.as_bytes()).chain(&label.engine.0).chain(&length);
    header.iter_mut().zip(fields).for_each(|(to, from)| *to = *from);
    header
}

/// The code in a sealed file, when its seal fits and it is what it should be.
///
/// Layout: magic (8), digest of the component (32), hash of the engine (32), length of the code (8, little
/// endian), the code, HMAC-SHA-256 over everything before it (32).
pub(super) fn unseal<'a>(key: &SealKey, sealed: &'a [u8], expected: &Label) -> Result<&'a [u8], SealError> {
    let (head, rest) = sealed.split_at_checked(HEADER_BYTES).ok_or(SealError::Truncated)?;
    if !head.starts_with(&MAGIC) {
        return Err(SealError::Foreign);
    }
    let code_bytes = rest.len().checked_sub(MAC_BYTES).ok_or(SealError::Truncated)?;
    let (code, tag) = rest.split_at_checked(code_bytes).ok_or(SealError::Truncated)?;
    let mac = key.mac(&[head, code]).ok_or(SealError::Seal)?;
    // Compares in constant time.
    mac.verify_slice(tag).map_err(|_| {
        let told = head.last_chunk().map_or(0, |length| u64::from_le_bytes(*length));
        if u64::try_from(code_bytes).is_ok_and(|bytes| bytes < told) {
            SealError::Truncated
        } else {
            SealError::Seal
        }
    })?;
    let [component, engine] = [head.get(8..40), head.get(40..72)];
    if component != Some(expected.component.as_bytes().as_slice()) {
        return Err(SealError::OtherComponent);
    }
    if engine != Some(expected.engine.0.as_slice()) {
        return Err(SealError::OtherEngine);
    }
    Ok(code)
}

/// Machine code that a compiler of ours has made. There are three ways to one, and none takes bytes that a
/// stranger could have written: compiling here, the answer of the compiler that this process started, and a
/// seal that fits.
pub(super) struct Artifact(Vec<u8>);

impl fmt::Debug for Artifact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Artifact({} bytes)", self.0.len())
    }
}

impl Artifact {
    /// Compiles in this process.
    pub fn compile(engine: &Engine, component: &[u8]) -> wasmtime::Result<Self> {
        engine.precompile_component(component).map(Self)
    }

    /// What the compiler answered that this process started, over a pipe that nobody else holds.
    pub fn answered(answer: Answer) -> Result<Self, String> {
        match answer {
            Answer::Code(code) => Ok(Self(code)),
            Answer::Refusal(why) => Err(why),
        }
    }

    /// What a file of the cache holds, when its seal fits.
    pub fn unseal(key: &SealKey, sealed: &[u8], expected: &Label) -> Result<Self, SealError> {
        unseal(key, sealed, expected).map(|code| Self(code.to_vec()))
    }

    /// The bytes for a file of the cache.
    pub fn seal(&self, key: &SealKey, label: &Label) -> Option<Vec<u8>> {
        let header = header(label, self.0.len());
        let tag = key.mac(&[&header, &self.0])?.finalize().into_bytes();
        Some([&header, self.0.as_slice(), &tag].concat())
    }

    /// Size of the code.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Makes the code part of this process.
    ///
    /// # Errors
    /// When the engine finds that the code was not made for it.
    #[expect(
        unsafe_code,
        reason = "deserialising trusts the bytes, and these are the compiler's own: an `Artifact` is made only of \
                  what an engine with the same flags has just compiled, here or in the child that answered over its \
                  pipe, or of a file whose HMAC fits over these very bytes, in memory and not read again, under a \
                  key that only this user can read"
    )]
    pub fn load(&self, engine: &Engine) -> wasmtime::Result<Component> {
        // SAFETY: the bytes are the unmodified output of `Engine::precompile_component`, for the reason above.
        // That they were made by this version, for these flags and this processor, wasmtime checks by itself.
        unsafe { Component::deserialize(engine, &self.0) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn key() -> SealKey {
        SealKey::new([7; 32])
    }

    fn label() -> Label {
        Label { component: Digest::of(b"component"), engine: EngineHash([3; 32]) }
    }

    fn sealed() -> Vec<u8> {
        Artifact(b"machine code".to_vec()).seal(&key(), &label()).unwrap()
    }

    #[test]
    fn what_was_sealed_comes_back() {
        assert_eq!(unseal(&key(), &sealed(), &label()), Ok(b"machine code".as_slice()));
        assert_eq!(sealed().len() as u64, 12 + SEAL_BYTES);
    }

    #[test]
    fn a_change_of_any_bit_is_noticed() {
        let good = sealed();
        for at in 0..good.len() {
            for bit in 0..8 {
                let mut bad = good.clone();
                bad[at] ^= 1 << bit;
                assert!(unseal(&key(), &bad, &label()).is_err(), "byte {at}, bit {bit}");
            }
        }
    }

    #[test]
    fn a_file_that_breaks_off_anywhere_is_noticed() {
        let good = sealed();
        for length in 0..good.len() {
            assert!(unseal(&key(), &good[..length], &label()).is_err(), "{length} bytes");
        }
        assert_eq!(unseal(&key(), &good[..good.len() - 1], &label()), Err(SealError::Truncated));
        let longer = [good.as_slice(), b"x"].concat();
        assert_eq!(unseal(&key(), &longer, &label()), Err(SealError::Seal));
    }

    #[test]
    fn another_key_component_or_engine_is_noticed() {
        let sealed = sealed();
        assert_eq!(unseal(&SealKey::new([8; 32]), &sealed, &label()), Err(SealError::Seal));
        let other = Label { component: Digest::of(b"other"), ..label() };
        assert_eq!(unseal(&key(), &sealed, &other), Err(SealError::OtherComponent));
        let newer = Label { engine: EngineHash([4; 32]), ..label() };
        assert_eq!(unseal(&key(), &sealed, &newer), Err(SealError::OtherEngine));
    }

    #[test]
    fn the_same_flags_hash_alike_and_others_do_not() {
        let engine = |fuel: bool| Engine::new(wasmtime::Config::new().consume_fuel(fuel)).unwrap();
        assert_eq!(EngineHash::of(&engine(true)), EngineHash::of(&engine(true)));
        assert_ne!(EngineHash::of(&engine(true)), EngineHash::of(&engine(false)));
    }

    #[test]
    fn a_key_is_not_shown() {
        assert_eq!(format!("{:?}", key()), "SealKey");
    }

    proptest! {
        #[test]
        fn no_bytes_are_taken_and_none_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), header in any::<bool>()) {
            let mut bytes = bytes;
            if header {
                bytes.splice(0..0, MAGIC);
            }
            prop_assert!(unseal(&key(), &bytes, &label()).is_err());
        }
    }
}
