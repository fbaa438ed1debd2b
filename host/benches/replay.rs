//! The demo's bars through the core, from a bare loop to the live host over HTTP.
//!
//! `cargo bench -p ringfence --bench replay`; every row is one replay of the same 5,105 bars with the same
//! crossings, so the ratios say what each layer costs: the core around a native strategy, the sandbox in
//! place of it, and then disk, network and threads.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a benchmark that cannot run has nothing to say")]

use divan::{Bencher, black_box, counter::ItemsCount};
use ringfence::agent::core::{
    Core, CoreConfig, CoreLimits, Effect, Event, FailAction, Parts, Supervision, TimeSource,
};
use ringfence::agent::live::Host;
use ringfence::config::Config;
use ringfence::market::{
    CheckConfig, CsvFeed, FeedConfig, InstrumentId, Instruments, Money, MonoNanos, Now, OffStep, Tick,
    UnixNanos,
};
use ringfence::orders::{
    Digest, NewOrder, OrderId, OrderIntent, OrderKind, OrderOptions, RiskLimits, Side, StrategyEvent,
    TimeInForce,
};
use ringfence::plugin::{
    CallError, Compiler, Metadata, Sandbox, SandboxConfig, SandboxLimits, Services, Session, Setting,
    SettingValue, Strategy, TickContext,
};
use ringfence::resilience::{DegradationConfig, Gate, GateConfig, LimiterConfig, RetryConfig, SharedGate};
use ringfence::venue::http::{HttpDialect, HttpVenueConfig};
use ringfence::venue::paper::{PaperAccount, PaperConfig, PaperVenue};
use ringfence::venue::{KeySource, OrderChange, OrderUpdate, Outcome, Reply, RequestKind};
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

fn main() {
    divan::main();
}

const BARS: &[u8] = include_bytes!("../data/sp500-2000.csv");

fn configuration() -> String {
    include_str!("../src/cli/demo.toml")
        .replace("@SEED@", "7")
        .replace("@COMPONENTS@", &components().display().to_string())
}

fn components() -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/components");
    path.canonicalize().unwrap_or_else(|_| panic!("{} is missing: run `make components`", path.display()))
}

fn instruments() -> Instruments {
    Instruments::new(Config::parse(&configuration(), Path::new("demo.toml")).unwrap().instrument).unwrap()
}

fn ticks() -> Vec<Tick> {
    let instruments = instruments();
    let format = FeedConfig { off_step: OffStep::RoundHalfEven, ..FeedConfig::default() };
    let instrument = instruments.get(InstrumentId(0)).unwrap();
    let feed = CsvFeed::new(BARS, "bars".into(), instrument, InstrumentId(0), &format).unwrap();
    feed.map(|sample| sample.unwrap().tick).collect()
}

/// The crossings of the 10/20 averages, without anything around them.
#[derive(Clone, Copy, Default)]
struct Averages {
    count: u64,
    fast: f64,
    slow: f64,
    above: bool,
}

impl Averages {
    fn crossing(&mut self, price: f64) -> Option<Side> {
        let average = |n: f64, before: f64| {
            let weight = 2.0 / (n + 1.0);
            weight * price + (1.0 - weight) * before
        };
        if self.count == 0 {
            (self.fast, self.slow) = (price, price);
        } else {
            (self.fast, self.slow) = (average(10.0, self.fast), average(20.0, self.slow));
        }
        self.count += 1;
        let above = self.fast > self.slow;
        let crossed = self.count >= 20 && above != self.above;
        self.above = above;
        crossed.then_some(if above { Side::Buy } else { Side::Sell })
    }
}

#[derive(Default)]
struct Native {
    averages: Averages,
    next: u64,
    metadata: Metadata,
}

impl Strategy for Native {
    fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    fn init(&mut self, session: &Session, _: &mut Box<Services>) -> Result<(), CallError> {
        self.next = session.next_order_id.0;
        Ok(())
    }

    fn on_tick(
        &mut self,
        tick: &Tick,
        _: &TickContext,
        _: &mut Box<Services>,
        intents: &mut Vec<OrderIntent>,
    ) -> Result<(), CallError> {
        if let Some(side) = self.averages.crossing(tick.last_price.0 as f64 * 0.01) {
            intents.push(OrderIntent::Submit(NewOrder {
                id: OrderId(self.next),
                instrument: tick.instrument,
                side,
                quantity: ringfence::market::Lots(20),
                kind: OrderKind::Market,
                tif: TimeInForce::Ioc,
                options: OrderOptions::default(),
                tag: 0,
            }));
            self.next += 1;
        }
        Ok(())
    }

    fn on_event(
        &mut self,
        _: &StrategyEvent,
        _: &TickContext,
        _: &mut Box<Services>,
        _: &mut Vec<OrderIntent>,
    ) -> Result<(), CallError> {
        Ok(())
    }
}

/// One replay through the core: records are durable at once, orders are filled at the last price at once.
fn through_core(strategy: Box<dyn Strategy>, ticks: &[Tick], record_inputs: bool) -> u64 {
    let instruments = Arc::new(instruments());
    let many = NonZeroU32::new(1_000_000).unwrap();
    let setting = |key: &str, value| Setting { key: key.into(), value: SettingValue::Integer(value) };
    let config = CoreConfig {
        name: "bench".parse().unwrap(),
        incarnation: 1,
        plugin: Digest::of(b"bench"),
        configured: None,
        instruments,
        settings: vec![setting("fast", 10), setting("slow", 20), setting("quantity", 20)],
        cash: Money::new(1_000_000.into()),
        seed: 1,
        run_id: 1,
        live: false,
        time: TimeSource::Data,
        record_inputs,
        risk: RiskLimits { orders_per_second_max: many, ..RiskLimits::default() },
        retry: RetryConfig::default(),
        degradation: DegradationConfig::default(),
        limits: CoreLimits { checkpoint_interval_ms: u64::MAX, ..CoreLimits::default() },
        on_halt: FailAction::Hold,
        supervision: Supervision::default(),
        on_stop: FailAction::Hold,
    };
    let limiter = LimiterConfig { calls_per_second: many, burst_calls: many };
    let gate = SharedGate::new(Gate::new(GateConfig { limiter, ..GateConfig::default() }, 1));
    let parts = Parts {
        strategy,
        dialect: Arc::new(HttpDialect::new(HttpVenueConfig::default().profile())),
        gate: Box::new(gate),
        check: CheckConfig::default().recorded(),
    };
    let at = |tick: &Tick| Now { mono: MonoNanos(tick.seq * 1_000_000), wall: tick.event_time };
    let mut now = Now::default();
    let mut core = Core::recover(config, parts, None, &[], now).unwrap();
    let (mut effects, mut sequence) = (Vec::new(), 0);
    core.start(now, &mut effects);
    for tick in ticks {
        now = at(tick);
        core.step(now, Event::Sample(Ok(*tick)), &mut effects);
        while let Some(effect) = effects.pop() {
            let event = match effect {
                Effect::Journal(entry) => Event::Journaled(entry.number),
                Effect::Send { request, attempt } if request.kind == RequestKind::Place => {
                    sequence += 1;
                    let change = OrderChange::Filled {
                        quantity: ringfence::market::Lots(20),
                        price: tick.last_price,
                        leaves: ringfence::market::Lots::ZERO,
                        fee: Money::ZERO,
                        maker: false,
                    };
                    let updates = vec![OrderUpdate { sequence, key: request.key, change, venue_id: None }];
                    let outcome = Outcome::Done { updates };
                    let reply = Reply { outcome, latency: Duration::ZERO, retry_after: None };
                    Event::Replied { key: request.key, attempt, reply }
                }
                Effect::Checkpoint(_) => Event::Checkpointed(Ok(())),
                _ => continue,
            };
            core.step(now, event, &mut effects);
        }
    }
    let stats = core.stats();
    assert!(stats.fills > 100 && stats.fills == stats.orders, "{stats:?}");
    stats.fills
}

#[divan::bench(sample_count = 20)]
fn bare_loop(bencher: Bencher<'_, '_>) {
    let ticks = ticks();
    bencher.counter(ItemsCount::new(ticks.len())).bench(|| {
        let mut averages = Averages::default();
        black_box(&ticks).iter().filter_map(|tick| averages.crossing(tick.last_price.0 as f64 * 0.01)).count()
    });
}

/// Without and with the record of what the strategy was called with, as in a backtest and live.
#[divan::bench(sample_count = 20, args = [false, true])]
fn core_native(bencher: Bencher<'_, '_>, record_inputs: bool) {
    let ticks = ticks();
    bencher
        .counter(ItemsCount::new(ticks.len()))
        .with_inputs(|| Box::new(Native::default()))
        .bench_values(|strategy| through_core(strategy, &ticks, record_inputs));
}

#[divan::bench(sample_count = 20, args = [false, true])]
fn core_sandboxed(bencher: Bencher<'_, '_>, record_inputs: bool) {
    let ticks = ticks();
    let sandbox =
        Sandbox::new(SandboxConfig { compiler: Compiler::InProcess, ..SandboxConfig::default() }).unwrap();
    let file = components().join("ema-cross.wasm");
    let plugin = sandbox.load_file(&file, None, &SandboxLimits::default()).unwrap();
    bencher
        .counter(ItemsCount::new(ticks.len()))
        .with_inputs(|| Box::new(plugin.instantiate().unwrap()))
        .bench_values(|strategy| through_core(strategy, &ticks, record_inputs));
}

/// The demo's three agents in a calm sea: files, fsync, HTTP, threads; the feed waits for every order.
#[divan::bench(sample_count = 3, sample_size = 1)]
fn live_demo(bencher: Bencher<'_, '_>) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    bencher.counter(ItemsCount::new(ticks().len())).bench(|| {
        let dir = tempfile::TempDir::new().unwrap();
        std::fs::write(dir.path().join("sp500-2000.csv"), BARS).unwrap();
        let account = |name: &str| {
            let file = dir.path().join(format!("{name}.key"));
            std::fs::write(&file, format!("{name}-key")).unwrap();
            PaperAccount { name: name.into(), key: KeySource::File(file), ..PaperAccount::default() }
        };
        let paper = PaperConfig {
            port: 0,
            accounts: ["ema", "reversion", "faulty"].map(account).into(),
            instruments: Config::parse(&configuration(), Path::new("demo.toml")).unwrap().instrument,
            ..PaperConfig::default()
        };
        let venue = runtime.block_on(PaperVenue::start(paper)).unwrap();
        let text =
            configuration().replace("@PROXY@", &venue.base_url()).replace("@VENUE@", &venue.base_url());
        let config = Config::parse(&text, &dir.path().join("demo.toml")).unwrap();
        let report = Host::start(&config, &[]).unwrap().join();
        runtime.block_on(venue.shutdown());
        assert_eq!(UnixNanos(report.samples), UnixNanos(5_105));
        report.samples
    });
}
