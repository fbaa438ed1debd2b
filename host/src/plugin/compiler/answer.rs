//! What the compiler writes to its standard output: one answer, and which question it belongs to.

use super::super::compiled::EngineHash;
use crate::orders::Digest;
use thiserror::Error;

/// First bytes of an answer; the number is that of the layout.
const MAGIC: [u8; 8] = *b"RFCOMP1\n";
/// Magic, kind, hash of the engine, digest of the component, length.
pub(super) const HEADER_BYTES: usize = 8 + 1 + 32 + 32 + 8;
/// The longest refusal that is written.
const REFUSAL_BYTES_MAX: usize = 4_096;

/// What came of a compilation.
#[derive(Debug, PartialEq, Eq)]
pub(in super::super) enum Answer {
    /// Machine code.
    Code(Vec<u8>),
    /// Why the component is not valid.
    Refusal(String),
}

/// Why bytes are not the answer that was waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(in super::super) enum AnswerError {
    #[error("what it wrote is no answer")]
    NoAnswer,
    #[error("its answer breaks off")]
    Truncated,
    #[error("its engine is another one")]
    OtherEngine,
    #[error("it compiled something else")]
    OtherComponent,
}

impl Answer {
    /// The bytes of an answer, in two parts.
    pub fn encode<'a>(
        outcome: Result<&'a [u8], &'a str>,
        engine: EngineHash,
        component: Digest,
    ) -> (Vec<u8>, &'a [u8]) {
        let (kind, payload) = match outcome {
            Ok(code) => (0, code),
            Err(why) => (1, why.as_bytes().get(..REFUSAL_BYTES_MAX).unwrap_or(why.as_bytes())),
        };
        let length = u64::try_from(payload.len()).unwrap_or(u64::MAX).to_le_bytes();
        let header = [&MAGIC, &[kind][..], &engine.0, component.as_bytes(), &length].concat();
        (header, payload)
    }

    /// Takes an answer apart. It belongs to this engine and this component, or it is none.
    pub fn decode(mut bytes: Vec<u8>, engine: EngineHash, component: Digest) -> Result<Self, AnswerError> {
        if !bytes.starts_with(&MAGIC) {
            return Err(AnswerError::NoAnswer);
        }
        let (header, payload) = bytes.split_at_checked(HEADER_BYTES).ok_or(AnswerError::Truncated)?;
        if header.get(9..41) != Some(engine.0.as_slice()) {
            return Err(AnswerError::OtherEngine);
        }
        if header.get(41..73) != Some(component.as_bytes().as_slice()) {
            return Err(AnswerError::OtherComponent);
        }
        let told = header.last_chunk().map_or(0, |length| u64::from_le_bytes(*length));
        match u64::try_from(payload.len()).map(|length| length.cmp(&told)) {
            Ok(std::cmp::Ordering::Equal) => {}
            Ok(std::cmp::Ordering::Less) => return Err(AnswerError::Truncated),
            _ => return Err(AnswerError::NoAnswer),
        }
        match header.get(8) {
            Some(0) => {
                // In place: the code is the larger part by far.
                bytes.drain(..HEADER_BYTES);
                Ok(Self::Code(bytes))
            }
            Some(1) => Ok(Self::Refusal(String::from_utf8_lossy(payload).into_owned())),
            _ => Err(AnswerError::NoAnswer),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ENGINE: EngineHash = EngineHash([5; 32]);

    fn component() -> Digest {
        Digest::of(b"component")
    }

    fn encoded(outcome: Result<&[u8], &str>) -> Vec<u8> {
        let (header, payload) = Answer::encode(outcome, ENGINE, component());
        [&header, payload].concat()
    }

    #[test]
    fn answers_come_back_as_they_were_given() {
        let code = Answer::decode(encoded(Ok(b"code")), ENGINE, component());
        assert_eq!(code, Ok(Answer::Code(b"code".to_vec())));
        let refusal = Answer::decode(encoded(Err("not valid")), ENGINE, component());
        assert_eq!(refusal, Ok(Answer::Refusal("not valid".into())));
        let long = "ä".repeat(REFUSAL_BYTES_MAX);
        assert!(matches!(Answer::decode(encoded(Err(&long)), ENGINE, component()), Ok(Answer::Refusal(_))));
    }

    #[test]
    fn an_answer_to_another_question_is_none() {
        let other = Digest::of(b"other");
        assert_eq!(Answer::decode(encoded(Ok(b"c")), ENGINE, other), Err(AnswerError::OtherComponent));
        let newer = EngineHash([6; 32]);
        assert_eq!(Answer::decode(encoded(Ok(b"c")), newer, component()), Err(AnswerError::OtherEngine));
    }

    #[test]
    fn an_answer_that_breaks_off_or_goes_on_is_none() {
        let good = encoded(Ok(b"code"));
        for length in 0..good.len() {
            assert!(Answer::decode(good[..length].to_vec(), ENGINE, component()).is_err(), "{length}");
        }
        let more = [good.as_slice(), b"x"].concat();
        assert_eq!(Answer::decode(more, ENGINE, component()), Err(AnswerError::NoAnswer));
    }

    proptest! {
        #[test]
        fn no_bytes_make_decoding_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..200), header in any::<bool>()) {
            if header {
                bytes.splice(0..0, MAGIC);
            }
            prop_assert!(Answer::decode(bytes, ENGINE, component()).is_err());
        }
    }
}
