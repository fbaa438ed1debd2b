//! The same strategy in each language: size, time to compile, time and fuel of a call, memory of an instance.
//!
//! `cargo bench -p ringfence --bench languages`, after `make components`. Facts that are no durations come first.

#![expect(clippy::unwrap_used, reason = "a benchmark that cannot run has nothing to say")]

use divan::{Bencher, black_box};
use ringfence::market::{Instrument, InstrumentKind, Instruments, Lots, Marks, PriceTicks, Tick, UnixNanos};
use ringfence::orders::{Books, Mode, OrderId};
use ringfence::plugin::{
    Compiler, ComponentStrategy, Plugin, Profile, Sandbox, SandboxConfig, SandboxLimits, Services, Session,
    Strategy, TickContext, WasiGrant,
};
use std::path::Path;
use std::sync::{Arc, LazyLock};

static SANDBOX: LazyLock<Sandbox> = LazyLock::new(|| {
    Sandbox::new(SandboxConfig { compiler: Compiler::InProcess, ..SandboxConfig::default() }).unwrap()
});

/// In the order of their weight.
const NAMES: [&str; 6] =
    ["ema-cross", "ema-cross-c", "ema-cross-js", "wasi-js", "ema-cross-python", "wasi-python"];

/// Compiled once each: a component in Python takes many seconds.
static PLUGINS: LazyLock<Vec<Plugin>> = LazyLock::new(|| NAMES.map(load).into());

fn load(name: &str) -> Plugin {
    let wasi = if name.starts_with("wasi") { WasiGrant::Virtual } else { WasiGrant::None };
    let native = matches!(name, "ema-cross" | "ema-cross-c");
    let profile = if native { Profile::Native } else { Profile::Managed };
    let limits =
        SandboxLimits { wasi, setup_deadline_ms: 60_000, deadline_ms: 60_000, ..SandboxLimits::of(profile) };
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/components").join(format!("{name}.wasm"));
    SANDBOX.load_file(&path, None, &limits).unwrap()
}

fn plugin(name: &str) -> &'static Plugin {
    let position = NAMES.iter().position(|known| *known == name).unwrap();
    PLUGINS.get(position).unwrap()
}

fn main() {
    for name in NAMES {
        let (mut strategy, mut services) = started(name);
        // Averages have settled, and nothing crosses at a price that stays.
        for _ in 0..100 {
            tick(&mut strategy, &mut services);
        }
        let (fuel, memory) = (strategy.fuel_used().unwrap_or(0), strategy.memory_bytes() >> 10);
        eprintln!("{name}: {} bytes, {fuel} fuel a tick, {memory} KiB of memory", plugin(name).size_bytes());
    }
    divan::main();
}

fn started(name: &str) -> (ComponentStrategy, Box<Services>) {
    let instruments = Instruments::new(vec![Instrument {
        symbol: "BTCUSDT".into(),
        venue: "bench".into(),
        kind: InstrumentKind::Spot,
        quote_currency: "USDT".into(),
        multiplier: "1".parse().unwrap(),
        tick_size: "0.01".parse().unwrap(),
        lot_size: "0.00001".parse().unwrap(),
        min_lots: Lots(1),
        max_lots: Lots(1_000),
    }])
    .unwrap();
    let mut services = Box::new(Services::new(Books::default(), Arc::new(instruments.clone()), 1));
    let mut strategy = plugin(name).instantiate().unwrap();
    let session = Session {
        run_id: 1,
        seed: 1,
        now: UnixNanos(0),
        next_order_id: OrderId(1),
        instruments,
        settings: Vec::new(),
        live: false,
    };
    strategy.init(&session, &mut services).unwrap();
    (strategy, services)
}

fn tick(strategy: &mut ComponentStrategy, services: &mut Box<Services>) -> usize {
    let now = UnixNanos(1_723_161_600_000_000_000);
    let tick = Tick {
        event_time: now,
        last_price: PriceTicks(6_000_005),
        last_size: Lots(1),
        marks: Marks::TRADE,
        ..Tick::default()
    };
    let context = TickContext { now, position: Lots(0), open_orders: 0, intents_left: 64, mode: Mode::Full };
    let mut intents = Vec::new();
    strategy.on_tick(black_box(&tick), black_box(&context), services, &mut intents).unwrap();
    intents.len()
}

/// One tick that orders nothing.
#[divan::bench(args = NAMES, sample_size = 200)]
fn on_tick(bencher: Bencher<'_, '_>, name: &str) {
    let (mut strategy, mut services) = started(name);
    bencher.bench_local(|| tick(&mut strategy, &mut services));
}

/// A fresh instance of a component that is compiled.
#[divan::bench(args = NAMES, sample_count = 20, sample_size = 1)]
fn instantiate(bencher: Bencher<'_, '_>, name: &str) {
    let plugin = plugin(name);
    bencher.bench_local(|| plugin.instantiate().unwrap());
}

/// From the file to a plugin: preflight, compilation, describe.
#[divan::bench(args = NAMES, sample_count = 2, sample_size = 1)]
fn compile(bencher: Bencher<'_, '_>, name: &str) {
    bencher.bench_local(|| load(name));
}
