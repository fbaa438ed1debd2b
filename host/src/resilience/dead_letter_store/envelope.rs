//! The wrapping of every value in the database, since the database does not verify what it hands out.
//!
//! `version u8 | place u8 | length u32 | crc32c u32 | SHA-256 of the content | content, if it is inline`
//!
//! A value above 4 KiB would lead sled 0.34.7 to files that it never syncs; such content lies in a file
//! of our own, named by its digest.

use sha2::{Digest as _, Sha256};
use thiserror::Error;

const VERSION: u8 = 1;
const INLINE: u8 = 0;
const IN_FILE: u8 = 1;
/// Version, place and length: what the checksum covers beside the content.
const PREFIX_BYTES: usize = 1 + 1 + 4;
const HEADER_BYTES: usize = PREFIX_BYTES + 4 + 32;
/// Key and value together stay below 4 KiB.
pub(super) const VALUE_BYTES_MAX: usize = 4_096 - 64;

/// Why a value is not what was stored.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum EnvelopeFault {
    /// The wrapping itself is cut off, of another version, or says what cannot be.
    #[error("expected an envelope of version {VERSION}, found {0}")]
    Header(&'static str),
    /// The content is longer or shorter than it says.
    #[error("expected {expected} bytes, found {found}")]
    Length {
        /// What it says.
        expected: u64,
        /// How long it is.
        found: u64,
    },
    /// Some byte is not what was stored.
    #[error("its checksum is wrong")]
    Sum,
    /// The file with the content is gone or too large.
    #[error("expected its content in the file {0}, found none that can be read")]
    Missing(String),
    /// The content is whole and is not a letter.
    #[error("its content is not a letter: {0}")]
    Content(String),
}

/// A wrapped value.
pub(super) struct Wrapped {
    pub value: Vec<u8>,
    /// Name of the file that has to hold the content before the value is stored.
    pub file: Option<String>,
}

pub(super) fn wrap(content: &[u8]) -> Wrapped {
    let inline = HEADER_BYTES + content.len() <= VALUE_BYTES_MAX;
    let sum: [u8; 32] = Sha256::digest(content).into();
    let mut value = vec![VERSION, if inline { INLINE } else { IN_FILE }];
    // The store has checked that the length fits.
    value.extend_from_slice(&u32::try_from(content.len()).unwrap_or(u32::MAX).to_le_bytes());
    let crc = crc32c::crc32c_append(crc32c::crc32c(&value), content);
    value.extend_from_slice(&crc.to_le_bytes());
    value.extend_from_slice(&sum);
    if inline {
        value.extend_from_slice(content);
    }
    Wrapped { value, file: (!inline).then(|| name(&sum)) }
}

/// The file that a value refers to, if its header can be read.
pub(super) fn file_of(value: &[u8]) -> Option<String> {
    let (prefix, rest) = value.split_first_chunk::<PREFIX_BYTES>()?;
    let sum = rest.get(4..)?.first_chunk::<32>()?;
    (prefix[..2] == [VERSION, IN_FILE]).then(|| name(sum))
}

/// Verifies a value. `read` fetches the content of a file, if there is such a file.
pub(super) fn verify<E>(
    value: &[u8],
    read: impl FnOnce(&str) -> Result<Option<Vec<u8>>, E>,
) -> Result<Result<Vec<u8>, EnvelopeFault>, E> {
    let Some((header, inline)) = value.split_first_chunk::<HEADER_BYTES>() else {
        return Ok(Err(EnvelopeFault::Header("one that is cut off")));
    };
    let content = match (header[0], header[1]) {
        (VERSION, INLINE) => inline.to_vec(),
        (VERSION, IN_FILE) if inline.is_empty() => {
            let file = file_of(value).unwrap_or_default();
            match read(&file)? {
                Some(content) => content,
                None => return Ok(Err(EnvelopeFault::Missing(file))),
            }
        }
        (VERSION, _) => return Ok(Err(EnvelopeFault::Header("a place that does not exist"))),
        _ => return Ok(Err(EnvelopeFault::Header("another version"))),
    };
    Ok(check(header, content))
}

fn check(header: &[u8; HEADER_BYTES], content: Vec<u8>) -> Result<Vec<u8>, EnvelopeFault> {
    let (prefix, sums) = header.split_at(PREFIX_BYTES);
    let (crc, sum) = sums.split_at(4);
    let found = content.len() as u64;
    match prefix.last_chunk::<4>().map(|length| u64::from(u32::from_le_bytes(*length))) {
        Some(expected) if expected != found => return Err(EnvelopeFault::Length { expected, found }),
        _ => {}
    }
    let computed = crc32c::crc32c_append(crc32c::crc32c(prefix), &content);
    if computed.to_le_bytes() != *crc || *Sha256::digest(&content) != *sum {
        return Err(EnvelopeFault::Sum);
    }
    Ok(content)
}

fn name(sum: &[u8; 32]) -> String {
    data_encoding::HEXLOWER.encode(sum)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::convert::Infallible;

    fn open(value: &[u8], file: Option<&[u8]>) -> Result<Vec<u8>, EnvelopeFault> {
        let Ok(result) = verify(value, |_| Ok::<_, Infallible>(file.map(<[u8]>::to_vec)));
        result
    }

    #[test]
    fn every_flipped_bit_of_a_value_or_its_file_is_detected() {
        for content in [vec![1, 2, 3], vec![5; 5_000]] {
            let Wrapped { value, file } = wrap(&content);
            let file = file.map(|_| content.clone());
            assert_eq!(open(&value, file.as_deref()), Ok(content));
            for at in 0..value.len() * 8 {
                let mut bad = value.clone();
                bad[at / 8] ^= 1 << (at % 8);
                assert!(open(&bad, file.as_deref()).is_err(), "bit {at}");
            }
            for at in (0..file.as_ref().map_or(0, Vec::len) * 8).step_by(97) {
                let mut bad = file.clone().unwrap();
                bad[at / 8] ^= 1 << (at % 8);
                assert!(open(&value, Some(&bad)).is_err(), "bit {at} of the file");
            }
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_are_never_a_value_and_never_a_panic(
            bytes in proptest::collection::vec(any::<u8>(), 0..200),
            place in 0_u8..3,
        ) {
            prop_assert!(open(&bytes, None).is_err());
            let _ = file_of(&bytes);
            let bytes = [&[VERSION, place], bytes.as_slice()].concat();
            prop_assert!(open(&bytes, Some(&bytes)).is_err());
        }

        #[test]
        fn whatever_is_wrapped_verifies(content in proptest::collection::vec(any::<u8>(), 0..6_000)) {
            let Wrapped { value, file } = wrap(&content);
            prop_assert!(value.len() <= VALUE_BYTES_MAX);
            prop_assert_eq!(file_of(&value), file.clone());
            prop_assert_eq!(open(&value, file.map(|_| content.as_slice())), Ok(content));
        }
    }
}
