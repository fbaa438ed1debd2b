//! A configuration.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringfence::config::Config;
use std::path::Path;

fuzz_target!(|text: &str| {
    let _ = Config::parse(text, Path::new("host.toml"));
});
