//! Memory that survives a hot swap and a restart, as bytes.
//!
//! Numbers are written little-endian and f64 by their bits, so that a restored strategy goes on exactly
//! where the saved one stood.

use crate::Fault;

/// Writes a strategy's memory.
#[derive(Clone, Debug, Default)]
pub struct StateWriter(Vec<u8>);

/// Reads what a [`StateWriter`] wrote, in the same order.
#[derive(Clone, Debug)]
pub struct StateReader<'a> {
    rest: &'a [u8],
    length: usize,
}

macro_rules! numbers {
    ($($name:ident),*) => {
        impl StateWriter {
            $(
                #[doc = concat!("Writes one ", stringify!($name), ".")]
                pub fn $name(&mut self, value: $name) -> &mut Self {
                    self.0.extend_from_slice(&value.to_le_bytes());
                    self
                }
            )*
        }

        impl StateReader<'_> {
            $(
                #[doc = concat!("Reads one ", stringify!($name), ".\n\n# Errors\nWhen the bytes end before it.")]
                pub fn $name(&mut self) -> Result<$name, Fault> {
                    self.take().map($name::from_le_bytes)
                }
            )*
        }
    };
}
numbers!(u8, u32, u64, i64, f64);

impl StateWriter {
    /// Nothing written yet.
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// Writes one truth value.
    pub fn bool(&mut self, value: bool) -> &mut Self {
        self.u8(value.into())
    }

    /// The bytes, for [`crate::Strategy::save`].
    pub fn finish(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.0)
    }
}

impl<'a> StateReader<'a> {
    /// Starts at the first byte.
    pub const fn new(data: &'a [u8]) -> Self {
        Self { rest: data, length: data.len() }
    }

    /// Reads one truth value.
    ///
    /// # Errors
    /// When the bytes end before it, or it is neither 0 nor 1.
    pub fn bool(&mut self) -> Result<bool, Fault> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            other => Err(self.incompatible(&format!("a truth value of 0 or 1, found {other}"))),
        }
    }

    /// Reads a count of things that take at least `bytes_each` bytes, so that a damaged count cannot
    /// ask for more memory than the state has bytes.
    ///
    /// # Errors
    /// When the bytes end before it, or could not hold that many.
    pub fn count(&mut self, bytes_each: usize) -> Result<usize, Fault> {
        let count = self.u32()? as usize;
        if count.saturating_mul(bytes_each) > self.rest.len() {
            let left = self.rest.len();
            return Err(
                self.incompatible(&format!("{count} items of {bytes_each} bytes, found {left} bytes"))
            );
        }
        Ok(count)
    }

    /// Checks that nothing is left.
    ///
    /// # Errors
    /// When there are more bytes.
    pub fn finish(self) -> Result<(), Fault> {
        if self.rest.is_empty() {
            return Ok(());
        }
        Err(self.incompatible(&format!("the end, found {} more bytes", self.rest.len())))
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], Fault> {
        let Some((bytes, rest)) = self.rest.split_first_chunk() else {
            return Err(self.incompatible(&format!("{N} bytes, found {}", self.rest.len())));
        };
        self.rest = rest;
        Ok(*bytes)
    }

    fn incompatible(&self, what: &str) -> Fault {
        let at = self.length - self.rest.len();
        Fault::IncompatibleState(format!("byte {at} of {}: expected {what}", self.length))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_was_written_is_read_back_to_the_bit(a: u64, b: i64, bits: u64, c: bool, d: u32) {
            let mut writer = StateWriter::new();
            let bytes = writer.u64(a).i64(b).f64(f64::from_bits(bits)).bool(c).u32(d).finish();
            let mut reader = StateReader::new(&bytes);
            prop_assert_eq!(reader.u64().unwrap(), a);
            prop_assert_eq!(reader.i64().unwrap(), b);
            prop_assert_eq!(reader.f64().unwrap().to_bits(), bits);
            prop_assert_eq!(reader.bool().unwrap(), c);
            prop_assert_eq!(reader.u32().unwrap(), d);
            reader.finish().unwrap();
        }

        #[test]
        fn any_bytes_are_read_or_refused_without_a_panic(data: Vec<u8>) {
            let mut reader = StateReader::new(&data);
            let _ = (reader.bool(), reader.count(8), reader.f64(), reader.finish());
        }
    }

    #[test]
    fn a_refusal_says_where_and_what() {
        let mut reader = StateReader::new(&[1, 2, 3]);
        reader.u8().unwrap();
        let fault = reader.u64().unwrap_err();
        assert_eq!(fault, Fault::IncompatibleState("byte 1 of 3: expected 8 bytes, found 2".into()));
        let fault = reader.finish().unwrap_err();
        assert_eq!(
            fault,
            Fault::IncompatibleState("byte 1 of 3: expected the end, found 2 more bytes".into())
        );
    }

    #[test]
    fn a_count_larger_than_the_state_is_refused() {
        let bytes = StateWriter::new().u32(u32::MAX).u64(0).finish();
        assert!(StateReader::new(&bytes).count(8).is_err());
    }
}
