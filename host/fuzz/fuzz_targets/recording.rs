//! A file of a recording, and its blocks with checksums that are right.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringfence::agent::live::recording::RecordingFile;

fuzz_target!(|bytes: &[u8]| {
    let _ = RecordingFile::decode(bytes);
});
