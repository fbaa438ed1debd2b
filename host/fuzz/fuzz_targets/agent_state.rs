//! The payload of a checkpoint whose checksum is right, and of the letter of a failed call.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringfence::agent::core::{Stretch, LastRun, State};

fuzz_target!(|bytes: &[u8]| {
    let name = "agent".parse().expect("a name");
    if let Ok(state) = State::decode(&name, bytes) {
        let _ = LastRun::of(Some(&state), &[]);
    }
    if let Ok(call) = Stretch::decode(bytes) {
        let _ = call.failed();
    }
});
