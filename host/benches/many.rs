//! Many strategies in one process: what each costs in memory, and how many ticks they take together.
//!
//! `cargo bench -p ringfence --bench many`. Each strategy is an instance of `ema-cross` on a thread of its own,
//! with a host's books and services around it, as an agent has it. Every row is a process of its own, so that
//! one does not profit from what another has left behind.

#![expect(clippy::unwrap_used, reason = "a benchmark that cannot run has nothing to say")]
#![expect(clippy::print_stdout, reason = "it prints a table")]
#![expect(clippy::disallowed_methods, reason = "a benchmark measures time")]

use ringfence::market::{
    Instrument, InstrumentKind, Instruments, Lots, Marks, Money, PriceTicks, Tick, UnixNanos,
};
use ringfence::orders::{Books, Mode, OrderId};
use ringfence::plugin::{
    Compiler, Plugin, Sandbox, SandboxConfig, SandboxLimits, Services, Session, Setting, SettingValue,
    Strategy as _, TickContext,
};
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Barrier};
use std::time::Instant;

/// Set to the number of strategies in the process that measures.
const STRATEGIES: &str = "RINGFENCE_BENCH_STRATEGIES";
/// Ticks of all strategies together, so that every row takes about as long.
const TICKS: u64 = 1_000_000;

fn main() {
    if let Ok(strategies) = std::env::var(STRATEGIES) {
        measure(strategies.parse().unwrap());
        return;
    }
    println!(
        "| strategies | ticks a second | resident, whole process | a strategy | linear memory that it has |"
    );
    println!("|---|---|---|---|---|");
    for strategies in ["1", "100", "1000"] {
        let child =
            Command::new(std::env::current_exe().unwrap()).env(STRATEGIES, strategies).output().unwrap();
        assert!(child.status.success(), "{}", String::from_utf8_lossy(&child.stderr));
        print!("{}", String::from_utf8_lossy(&child.stdout));
    }
}

/// Resident memory of this process.
fn resident_bytes() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4_096
}

fn instruments() -> Instruments {
    Instruments::new(vec![Instrument {
        symbol: "X".into(),
        venue: "bench".into(),
        kind: InstrumentKind::Spot,
        quote_currency: "USD".into(),
        multiplier: "1".parse().unwrap(),
        tick_size: "0.01".parse().unwrap(),
        lot_size: "1".parse().unwrap(),
        min_lots: Lots(1),
        max_lots: Lots(1_000),
    }])
    .unwrap()
}

fn tick(seq: u64) -> Tick {
    // Prices that rise and fall, so that averages cross.
    let wave = (seq % 60).cast_signed() - 30;
    Tick {
        seq,
        event_time: UnixNanos(seq * 1_000_000),
        last_price: PriceTicks(100_000 + wave.abs() * 50),
        last_size: Lots(1),
        marks: Marks::TRADE,
        ..Tick::default()
    }
}

/// One agent's worth of host around a strategy: told of its session, then ticks when all are ready.
fn trade(plugin: &Plugin, ready: &Barrier, measured: &Barrier, ticks: u64) -> usize {
    let mut strategy = plugin.instantiate().unwrap();
    let setting = |key: &str, value| Setting { key: key.into(), value: SettingValue::Integer(value) };
    let session = Session {
        run_id: 1,
        seed: 1,
        now: UnixNanos(0),
        next_order_id: OrderId(1),
        instruments: instruments(),
        settings: vec![setting("fast", 10), setting("slow", 20), setting("quantity", 20)],
        live: false,
    };
    let books = Books::new(Money::new(100_000.into()), 1);
    let mut services = Box::new(Services::new(books, Arc::new(instruments()), 1));
    strategy.init(&session, &mut services).unwrap();
    let mut intents = Vec::with_capacity(64);
    let mut on_tick = |seq| {
        let tick = tick(seq);
        let context = TickContext {
            now: tick.event_time,
            position: Lots(0),
            open_orders: 0,
            intents_left: 64,
            mode: Mode::Full,
        };
        intents.clear();
        strategy.on_tick(&tick, &context, &mut services, &mut intents).unwrap();
        services.commit();
    };
    (1..=100).for_each(&mut on_tick);
    ready.wait();
    measured.wait();
    (101..=100 + ticks).for_each(on_tick);
    strategy.memory_bytes()
}

fn measure(strategies: u64) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/components/ema-cross.wasm");
    assert!(file.is_file(), "{} is missing: run `make components`", file.display());
    let config = SandboxConfig { compiler: Compiler::InProcess, ..SandboxConfig::default() };
    let stack = config.thread_stack_bytes();
    let sandbox = Sandbox::new(config).unwrap();
    // A wall clock ends what a thousand threads on two cores wait for.
    let limits = SandboxLimits { deadline_ms: 600_000, ..SandboxLimits::default() };
    let plugin = sandbox.load_file(&file, None, &limits).unwrap();
    let parties = usize::try_from(strategies).unwrap() + 1;
    let (ready, measured) = (Arc::new(Barrier::new(parties)), Arc::new(Barrier::new(parties)));
    let before = resident_bytes();
    let threads: Vec<_> = (0..strategies)
        .map(|_| {
            let (plugin, ready, measured) = (plugin.clone(), Arc::clone(&ready), Arc::clone(&measured));
            std::thread::Builder::new()
                .stack_size(stack)
                .spawn(move || trade(&plugin, &ready, &measured, TICKS / strategies))
                .unwrap()
        })
        .collect();
    ready.wait();
    let resident = resident_bytes();
    let started = Instant::now();
    measured.wait();
    let memories: Vec<usize> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
    let seconds = started.elapsed().as_secs_f64();
    let kib = |bytes: u64| bytes as f64 / 1_024.0;
    println!(
        "| {strategies} | {:.0} | {:.1} MiB | {:.0} KiB | {:.0} KiB |",
        TICKS as f64 / seconds,
        kib(resident) / 1_024.0,
        kib(resident.saturating_sub(before)) / strategies as f64,
        kib(memories[0] as u64)
    );
}
