//! Taking `ema-cross` in: cold with the compiler's process, from the cache, from memory.
//!
//! `cargo bench -p ringfence --bench intake`; the cache lies below `target/`, on the disk that the build is on.

#![expect(clippy::unwrap_used, reason = "a benchmark that cannot run has nothing to say")]

use divan::Bencher;
use ringfence::market::{Instrument, InstrumentKind, Instruments, Lots, Marks, PriceTicks, Tick, UnixNanos};
use ringfence::orders::{Books, Mode, OrderId};
use ringfence::plugin::{
    CacheConfig, ChildCompiler, CompiledFrom, Compiler, Plugin, Sandbox, SandboxConfig, SandboxLimits,
    Services, Session, Setting, SettingValue, Strategy, Terms, TickContext,
};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use tempfile::TempDir;

fn main() {
    divan::main();
}

fn target() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../target")
}

fn component() -> Vec<u8> {
    std::fs::read(target().join("components/ema-cross.wasm")).unwrap()
}

fn child() -> Compiler {
    let program = Some(env!("CARGO_BIN_EXE_ringfence").into());
    Compiler::Child(ChildCompiler { program, ..ChildCompiler::default() })
}

fn sandbox(compiler: Compiler, cache: Option<&Path>) -> Sandbox {
    let cache = cache.map(|dir| CacheConfig { dir: dir.join("compiled"), ..CacheConfig::default() });
    Sandbox::new(SandboxConfig { compiler, cache, ..SandboxConfig::default() }).unwrap()
}

fn load(sandbox: &Sandbox, bytes: &[u8], from: CompiledFrom) -> Plugin {
    let plugin = sandbox.load(bytes, "bench", None, &SandboxLimits::default()).unwrap();
    assert_eq!(plugin.compiled_from(), from);
    plugin
}

fn first_tick(plugin: &Plugin) {
    let instrument = Instrument {
        symbol: "X".into(),
        venue: "bench".into(),
        kind: InstrumentKind::Spot,
        quote_currency: "USD".into(),
        multiplier: "1".parse().unwrap(),
        tick_size: "0.01".parse().unwrap(),
        lot_size: "1".parse().unwrap(),
        min_lots: Lots(1),
        max_lots: Lots(1_000),
    };
    let instruments = Instruments::new(vec![instrument]).unwrap();
    let mut services = Box::new(Services::new(Books::default(), Arc::new(instruments.clone()), 1));
    let number = |key: &str, value| Setting { key: key.into(), value: SettingValue::Integer(value) };
    let settings = vec![number("fast", 10), number("slow", 20), number("quantity", 1)];
    plugin.check_settings(&settings).unwrap();
    let session = Session {
        run_id: 1,
        seed: 1,
        now: UnixNanos(0),
        next_order_id: OrderId(1),
        instruments,
        settings,
        live: false,
    };
    let mut strategy = plugin.instantiate().unwrap();
    strategy.init(&session, &mut services).unwrap();
    let tick =
        Tick { last_price: PriceTicks(100), last_size: Lots(1), marks: Marks::TRADE, ..Tick::default() };
    let context = TickContext {
        now: UnixNanos(1),
        position: Lots(0),
        open_orders: 0,
        intents_left: 16,
        mode: Mode::Full,
    };
    strategy.on_tick(&tick, &context, &mut services, &mut Vec::new()).unwrap();
}

/// From bytes to the first tick with nothing prepared: the compiler's process is started, compiles and ends.
#[divan::bench(sample_count = 30, sample_size = 1)]
fn cold_load_to_first_tick(bencher: Bencher<'_, '_>) {
    let (sandbox, bytes) = (sandbox(child(), None), component());
    bencher.bench_local(|| first_tick(&load(&sandbox, &bytes, CompiledFrom::Compiler)));
}

/// The same, compiled in this process.
#[divan::bench(sample_count = 30, sample_size = 1)]
fn cold_load_to_first_tick_in_process(bencher: Bencher<'_, '_>) {
    let (sandbox, bytes) = (sandbox(Compiler::InProcess, None), component());
    bencher.bench_local(|| first_tick(&load(&sandbox, &bytes, CompiledFrom::Compiler)));
}

/// The program itself, started and ended without anything to do: the least that a process costs.
#[divan::bench(sample_count = 30, sample_size = 1)]
fn a_process(bencher: Bencher<'_, '_>) {
    bencher.bench_local(|| {
        let mut program = Command::new(env!("CARGO_BIN_EXE_ringfence"));
        assert!(program.arg("--version").stdout(Stdio::null()).status().unwrap().success());
    });
}

/// From bytes to a plugin whose code the cache has: everything but the compiler.
#[divan::bench(sample_count = 200, sample_size = 1)]
fn load_from_cache(bencher: Bencher<'_, '_>) {
    let dir = TempDir::new_in(target()).unwrap();
    let (sandbox, bytes) = (sandbox(child(), Some(dir.path())), component());
    drop(load(&sandbox, &bytes, CompiledFrom::Compiler));
    bencher.bench_local(|| load(&sandbox, &bytes, CompiledFrom::Cache));
}

/// From bytes to a plugin whose code another agent has.
#[divan::bench(sample_count = 200, sample_size = 1)]
fn load_from_memory(bencher: Bencher<'_, '_>) {
    let (sandbox, bytes) = (sandbox(Compiler::InProcess, None), component());
    let _other = load(&sandbox, &bytes, CompiledFrom::Compiler);
    bencher.bench_local(|| load(&sandbox, &bytes, CompiledFrom::Memory));
}

/// The look at the bytes alone: hash, walk, contract.
#[divan::bench(sample_count = 200, sample_size = 1)]
fn preflight(bencher: Bencher<'_, '_>) {
    let (sandbox, bytes, terms) = (sandbox(Compiler::InProcess, None), component(), Terms::default());
    bencher.bench_local(|| {
        let seen = sandbox.preflight(&bytes, &terms);
        assert!(seen.findings.is_empty());
        seen
    });
}

/// A fresh instance of a component whose code came from the cache.
#[divan::bench(sample_count = 200, sample_size = 20)]
fn instantiate_from_cache(bencher: Bencher<'_, '_>) {
    let dir = TempDir::new_in(target()).unwrap();
    let bytes = component();
    drop(load(&sandbox(child(), Some(dir.path())), &bytes, CompiledFrom::Compiler));
    let plugin = load(&sandbox(child(), Some(dir.path())), &bytes, CompiledFrom::Cache);
    bencher.bench_local(|| plugin.instantiate().unwrap());
}
