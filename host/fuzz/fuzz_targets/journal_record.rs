//! The payload of a record whose checksum is right.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringfence::orders::Entry;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(entry) = Entry::decode(1, bytes) {
        let again = entry.encode().expect("what was read can be written");
        assert_eq!(Entry::decode(1, &again).ok(), Some(entry));
    }
});
