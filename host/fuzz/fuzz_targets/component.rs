//! A stranger's component, up to the point where it would be compiled.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringfence::plugin::{Compiler, Sandbox, SandboxConfig, Terms};
use std::sync::LazyLock;

static SANDBOX: LazyLock<Sandbox> = LazyLock::new(|| {
    let config = SandboxConfig { compiler: Compiler::InProcess, ..SandboxConfig::default() };
    Sandbox::new(config).expect("the sandbox starts on the machine that fuzzes")
});

fuzz_target!(|bytes: &[u8]| {
    let seen = SANDBOX.preflight(bytes, &Terms::default());
    for finding in &seen.findings {
        let words = finding.to_string();
        assert!(words.len() < 4_096 && !words.contains('\u{1b}'), "{words}");
    }
});
