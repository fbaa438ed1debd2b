//! Decoders of outside bytes that are not public, for the fuzz targets in `host/fuzz`.

use super::compiled::{EngineHash, Label, SealKey, unseal};
use super::compiler::Answer;
use crate::orders::Digest;

const ENGINE: EngineHash = EngineHash([1; 32]);

/// A file of the compile cache: nobody who does not have the key makes one that is taken.
pub fn cache_file(bytes: &[u8]) {
    let label = Label { component: Digest::of(b"component"), engine: ENGINE };
    assert!(unseal(&SealKey::new([2; 32]), bytes, &label).is_err());
}

/// What the compiler's process answers: machine code comes back as it was.
pub fn compiler_answer(bytes: &[u8]) {
    let component = Digest::of(b"component");
    if let Ok(Answer::Code(code)) = Answer::decode(bytes.to_vec(), ENGINE, component) {
        let (header, payload) = Answer::encode(Ok(&code), ENGINE, component);
        assert_eq!([&header, payload].concat(), bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_targets_take_what_is_good_and_what_is_not() {
        let (header, code) = Answer::encode(Ok(b"code"), ENGINE, Digest::of(b"component"));
        compiler_answer(&[&header, code].concat());
        for bytes in [&b""[..], b"RFCODE1\n", b"RFCOMP1\n", &[0; 200]] {
            cache_file(bytes);
            compiler_answer(bytes);
        }
    }
}
