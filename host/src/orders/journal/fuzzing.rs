//! A segment that somebody else has written, for the fuzz target in `host/fuzz`.

use super::segment::{End, Walk};

/// Walks over a segment to its end: what is read lies inside it, and a torn end behind what was read.
pub fn segment(bytes: &[u8]) {
    let Ok(mut walk) = Walk::new(bytes) else { return };
    let mut last = walk.header().first_seq.wrapping_sub(1);
    while let Some(record) = walk.next_record() {
        assert_eq!(record.seq, last.wrapping_add(1));
        last = record.seq;
    }
    assert!(walk.offset() <= bytes.len());
    for has_successor in [false, true] {
        if let End::Torn { offset } = walk.end(has_successor) {
            assert!(!has_successor && offset == walk.offset() as u64);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn no_bytes_break_the_walk(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
            segment(&bytes);
        }
    }
}
