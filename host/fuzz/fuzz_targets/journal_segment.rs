//! A segment of the journal that somebody else has written.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| ringfence::orders::journal::fuzzing::segment(bytes));
