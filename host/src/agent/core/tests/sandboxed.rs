//! A real component in the sandbox, as `make components` builds it.

use crate::orders::Digest;
use crate::plugin::{Plugin, Sandbox, SandboxConfig, SandboxLimits, Setting, SettingValue, Strategy};
use std::path::Path;
use std::sync::LazyLock;

static EMA_CROSS: LazyLock<Plugin> = LazyLock::new(|| {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/components/ema-cross.wasm");
    let bytes = std::fs::read(&path)
        .unwrap_or_else(|error| panic!("{}: {error}; build it with `make components`", path.display()));
    // Fuel decides alone, which is the same on any machine.
    let limits =
        SandboxLimits { deadline_ms: 600_000, setup_deadline_ms: 600_000, ..SandboxLimits::default() };
    Sandbox::new(SandboxConfig::default()).unwrap().load(&bytes, "ema-cross", None, &limits).unwrap()
});

pub(super) fn digest() -> Digest {
    EMA_CROSS.digest()
}

pub(super) fn instance() -> Box<dyn Strategy> {
    Box::new(EMA_CROSS.instantiate().unwrap())
}

/// With averages short enough to cross every few ticks.
pub(super) fn settings() -> Vec<Setting> {
    let setting = |key: &str, value| Setting { key: key.into(), value: SettingValue::Integer(value) };
    vec![setting("fast", 1), setting("slow", 2), setting("quantity", 3)]
}
