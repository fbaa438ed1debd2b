//! A file of the compile cache that somebody else has written.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| ringfence::plugin::fuzzing::cache_file(bytes));
