//! The body of a reply of a venue, of either kind.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    ringfence::venue::http::fuzzing::reply(bytes);
    ringfence::venue::purpleflea::fuzzing::reply(bytes);
});
