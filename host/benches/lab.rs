//! The lab against a native loop: the same averages, the same million of ticks of a seeded random walk.
//!
//! `cargo bench -p ringfence --bench lab`. A row is the whole lab: sandbox, core, risk gate, matching and accounting.
//! *quiet* is a walk in which the averages of 12 and 26 prices never cross after the first time, so that nothing is
//! ordered; in *orders* every crossing is a market order that is filled and booked. Data is parsed before, as it is for
//! the loop.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a benchmark that cannot run has nothing to say")]

use divan::{Bencher, black_box, counter::ItemsCount};
use ringfence::lab::{DataFile, Dataset, Lab, LabConfig, Metered, Outcome, Sweep};
use ringfence::market::{
    FeedConfig, Instrument, InstrumentId, InstrumentKind, Instruments, Lots, Marks, Money, PriceTicks,
    Sample, Tick, UnixNanos,
};
use ringfence::orders::RiskLimits;
use ringfence::plugin::{Plugin, Sandbox, SandboxConfig, SandboxLimits, Setting, SettingValue};
use rust_decimal::Decimal;
use std::fmt::Write as _;
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::Path;
use std::sync::{Arc, LazyLock};

fn main() {
    divan::main();
}

const TICKS: usize = 1_000_000;

static EMA: LazyLock<Plugin> = LazyLock::new(|| {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/components/ema-cross.wasm");
    let sandbox = Sandbox::new(SandboxConfig::default()).unwrap();
    sandbox
        .load_file(&path, None, &SandboxLimits::default())
        .unwrap_or_else(|error| panic!("{error}: run `make components`"))
});
static ORDERS: LazyLock<Vec<Sample>> = LazyLock::new(|| walk(0));
/// Up by more than the walk's own steps: the fast average stays above the slow one.
static QUIET: LazyLock<Vec<Sample>> = LazyLock::new(|| walk(60));

/// A trade a second.
fn walk(drift: i64) -> Vec<Sample> {
    let (mut noise, mut price) = (1_u64, 10_000_000_i64);
    let row = |row: u64| {
        noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        price = (price + (noise >> 40) as i64 % 101 - 50 + drift).max(1_000);
        let tick = Tick {
            instrument: InstrumentId(0),
            seq: row,
            event_time: UnixNanos(1_700_000_000_000_000_000 + row * 1_000_000_000),
            last_price: PriceTicks(price),
            last_size: Lots(5),
            volume: Lots(5),
            marks: Marks::TRADE,
            ..Tick::default()
        };
        Sample { tick, bar: None }
    };
    (0..TICKS as u64).map(row).collect()
}

fn config(batch: bool) -> LabConfig {
    let table = vec![Instrument {
        symbol: "WALK".into(),
        venue: "lab".into(),
        kind: InstrumentKind::Spot,
        quote_currency: "USD".into(),
        multiplier: Decimal::ONE,
        tick_size: Decimal::new(1, 2),
        lot_size: Decimal::ONE,
        min_lots: Lots(1),
        max_lots: Lots(1_000_000),
    }];
    let setting = |key: &str, value| Setting { key: key.into(), value: SettingValue::Integer(value) };
    let large = Decimal::from(1_000_000_000);
    LabConfig {
        settings: vec![setting("fast", 12), setting("slow", 26), setting("quantity", 1)],
        risk: RiskLimits { orders_per_second_max: NonZeroU32::new(1_000).unwrap(), ..RiskLimits::default() },
        batch,
        ..LabConfig::new(Arc::new(Instruments::new(table).unwrap()), Money::new(large))
    }
}

fn lab(samples: &[Sample], batch: bool) -> (u64, u64) {
    let (strategy, meter) = Metered::new(EMA.instantiate().unwrap());
    let mut lab = Lab::new(config(batch), Box::new(strategy), meter, EMA.digest());
    for window in samples.chunks(1_024) {
        lab.samples(window).unwrap();
        lab.take_intents();
        lab.take_executions();
    }
    assert!(!lab.is_void());
    let summary = lab.finish();
    assert!(summary.books_match && summary.stopped_at.is_none() && summary.refused.is_empty(), "{summary:?}");
    (summary.events, summary.stats.fills)
}

fn bench(bencher: Bencher<'_, '_>, samples: &[Sample], batch: bool) {
    let (events, _) = lab(samples, batch);
    bencher.counter(ItemsCount::new(events)).bench_local(|| black_box(lab(samples, batch)));
}

#[divan::bench(sample_count = 5, sample_size = 1)]
fn a_native_loop(bencher: Bencher<'_, '_>) {
    let prices = &*ORDERS;
    bencher.counter(ItemsCount::new(prices.len())).bench_local(|| {
        let (mut count, mut fast, mut slow, mut is_above, mut crossings) = (0_u64, 0.0, 0.0, false, 0_u64);
        for Sample { tick, .. } in prices {
            let price = tick.last_price.0 as f64 * 0.01;
            if count == 0 {
                (fast, slow) = (price, price);
            } else {
                fast = 2.0 / 13.0 * price + 11.0 / 13.0 * fast;
                slow = 2.0 / 27.0 * price + 25.0 / 27.0 * slow;
            }
            count += 1;
            let above = fast > slow;
            crossings += u64::from(count >= 26 && above != is_above);
            is_above = above;
        }
        black_box(crossings)
    });
}

#[divan::bench(sample_count = 5, sample_size = 1)]
fn many_ticks_a_call_nothing_ordered(bencher: Bencher<'_, '_>) {
    assert!(lab(&QUIET, true).1 <= 1);
    bench(bencher, &QUIET, true);
}

#[divan::bench(sample_count = 5, sample_size = 1)]
fn many_ticks_a_call_with_orders(bencher: Bencher<'_, '_>) {
    let (events, fills) = lab(&ORDERS, true);
    assert!(fills > events / 100);
    bench(bencher, &ORDERS, true);
}

#[divan::bench(sample_count = 5, sample_size = 1)]
fn one_tick_a_call_nothing_ordered(bencher: Bencher<'_, '_>) {
    bench(bencher, &QUIET, false);
}

#[divan::bench(sample_count = 5, sample_size = 1)]
fn one_tick_a_call_with_orders(bencher: Bencher<'_, '_>) {
    bench(bencher, &ORDERS, false);
}

/// Sixteen runs over a file of trades, read once: on one thread, and on as many as there are cores.
#[divan::bench(sample_count = 5, sample_size = 1, args = [1, 0])]
fn a_sweep_of_sixteen(bencher: Bencher<'_, '_>, threads: usize) {
    const ROWS: usize = 200_000;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("WALK.csv");
    let mut text = String::from("timestamp,price,quantity\n");
    for Sample { tick, .. } in ORDERS.iter().take(ROWS) {
        let (at, price) = (tick.event_time.0 / 1_000_000, tick.last_price.0);
        writeln!(text, "{at},{}.{:02},5", price / 100, price % 100).unwrap();
    }
    std::fs::write(&path, text).unwrap();
    let base = config(true);
    let table: Vec<Instrument> = base.instruments.iter().map(|(_, instrument)| instrument.clone()).collect();
    let file = DataFile { path, symbol: None };
    let data = Dataset::prepare(&[file], &table, &FeedConfig::default()).unwrap();
    let configs: Vec<LabConfig> = (0..16).map(|run| LabConfig { seed: run, ..base.clone() }).collect();
    let jobs = match threads {
        0 => std::thread::available_parallelism().unwrap(),
        threads => NonZeroUsize::new(threads).unwrap(),
    };
    let sweep = Sweep { data: &data, plugin: &EMA, jobs };
    bencher.counter(ItemsCount::new(16 * ROWS)).bench_local(|| {
        let outcomes = sweep.run(&configs, &mut |_| {}).unwrap();
        assert_eq!(outcomes.len(), 16);
        assert!(
            outcomes.iter().all(|outcome| matches!(outcome, Outcome::Done(done) if done.stats.fills > 100))
        );
    });
}
