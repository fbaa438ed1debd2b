//! A session of vetting that somebody else has written.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringfence::lab::vet::Session;

fuzz_target!(|text: &str| {
    if let Ok(session) = Session::decode(text) {
        let again = Session::decode(&session.encode()).expect("what was read can be written");
        assert_eq!(again.steps.len(), session.steps.len());
    }
});
