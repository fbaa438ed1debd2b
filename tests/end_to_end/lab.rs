//! The lab: the same intents as everywhere else, whatever runs the strategy and however fast.

use super::components::recorded;
use super::setup::{Plan, Rig, component, facts, ringfence, text};
use proptest::prelude::*;
use ringfence::agent::core::{CoreLimits, FailAction, Retrace};
use ringfence::agent::live::recording::{Block, RecordingFile};
use ringfence::lab::exchange::{Liquidity, Model, Queue};
use ringfence::lab::{DataFile, Dataset, Guest, IntentDigest, Lab, LabConfig, Metered, Summary};
use ringfence::market::{
    FeedConfig, Instrument, InstrumentId, InstrumentKind, Instruments, Lots, Marks, Money, PriceTicks,
    Sample, Tick, UnixNanos,
};
use ringfence::orders::{
    Action, Digest, Entry, FedInput, NewOrder, OrderId, OrderIntent, OrderKind, OrderOptions, Origin, Record,
    RiskLimits, Side, StrategyEvent, TimeInForce, journal,
};
use ringfence::plugin::{
    CallError, Metadata, Plugin, Sandbox, SandboxConfig, SandboxLimits, Services, Session, Setting,
    SettingValue, Strategy, TickContext,
};
use ringfence::resilience::RealDisk;
use rust_decimal::Decimal;
use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

/// One engine for all tests of this file: a component is compiled once.
static SANDBOX: LazyLock<Sandbox> = LazyLock::new(|| Sandbox::new(SandboxConfig::default()).unwrap());
static EMA: LazyLock<Plugin> = LazyLock::new(|| plugin("ema-cross"));
static REVERSION: LazyLock<Plugin> = LazyLock::new(|| plugin("mean-reversion"));

fn plugin(name: &str) -> Plugin {
    SANDBOX.load_file(&component(name), None, &SandboxLimits::default()).unwrap()
}

/// The crossings of two averages, in native Rust.
struct Native {
    lengths: [f64; 2],
    count: u64,
    averages: [f64; 2],
    above: bool,
    next: u64,
    metadata: Metadata,
}

impl Native {
    fn new(fast: u32, slow: u32) -> Self {
        let lengths = [fast.into(), slow.into()];
        Self { lengths, count: 0, averages: [0.0; 2], above: false, next: 0, metadata: Metadata::default() }
    }
}

impl Guest for Native {}

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
        let price = match tick.last_price.0 {
            0 => f64::midpoint(tick.bid_price.0 as f64 * 0.01, tick.ask_price.0 as f64 * 0.01),
            last => last as f64 * 0.01,
        };
        for (average, length) in self.averages.iter_mut().zip(self.lengths) {
            let weight = 2.0 / (length + 1.0);
            *average = if self.count == 0 { price } else { weight * price + (1.0 - weight) * *average };
        }
        self.count += 1;
        let above = self.averages[0] > self.averages[1];
        if self.count >= self.lengths[1] as u64 && above != self.above {
            intents.push(OrderIntent::Submit(NewOrder {
                id: OrderId(self.next),
                instrument: tick.instrument,
                side: if above { Side::Buy } else { Side::Sell },
                quantity: Lots(3),
                kind: OrderKind::Market,
                tif: TimeInForce::Ioc,
                options: OrderOptions::default(),
                tag: 0,
            }));
            self.next += 1;
        }
        self.above = above;
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

fn instrument(symbol: &str) -> Instrument {
    Instrument {
        symbol: symbol.into(),
        venue: "lab".into(),
        kind: InstrumentKind::Spot,
        quote_currency: "USD".into(),
        multiplier: Decimal::ONE,
        tick_size: Decimal::new(1, 2),
        lot_size: Decimal::ONE,
        min_lots: Lots(1),
        max_lots: Lots(1_000_000),
    }
}

fn config(instruments: Arc<Instruments>, settings: &[(&str, i64)], batch: bool) -> LabConfig {
    let setting =
        |(key, value): &(&str, i64)| Setting { key: (*key).to_owned(), value: SettingValue::Integer(*value) };
    LabConfig {
        settings: settings.iter().map(setting).collect(),
        risk: RiskLimits { orders_per_second_max: NonZeroU32::new(1_000).unwrap(), ..RiskLimits::default() },
        batch,
        ..LabConfig::new(instruments, Money::new(100_000.into()))
    }
}

/// A seeded random walk of trades, one a second, in turn over some instruments.
fn walk(seed: u64, count: usize, instruments: u32) -> Vec<Sample> {
    let mut noise = seed;
    let mut prices = vec![100_000_i64; usize::try_from(instruments).unwrap()];
    (0..count)
        .map(|row| {
            noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let index = (noise >> 33) as usize % prices.len();
            prices[index] = (prices[index] + (noise >> 40) as i64 % 101 - 50).max(1_000);
            let tick = Tick {
                instrument: InstrumentId(index as u32),
                seq: row as u64,
                event_time: UnixNanos(1_700_000_000_000_000_000 + row as u64 * 1_000_000_000),
                last_price: PriceTicks(prices[index]),
                last_size: Lots(5),
                volume: Lots(5),
                marks: Marks::TRADE,
                ..Tick::default()
            };
            Sample { tick, bar: None }
        })
        .collect()
}

fn run(lab: &mut Lab, samples: &[Sample]) -> Summary {
    // Windows of an odd length, so that no batch ends where another begins by itself.
    samples.chunks(777).for_each(|window| lab.samples(window).unwrap());
    lab.finish()
}

fn run_plugin(plugin: &Plugin, config: LabConfig, samples: &[Sample]) -> (Summary, bool) {
    let (strategy, meter) = Metered::new(plugin.instantiate().unwrap());
    let mut lab = Lab::new(config, Box::new(strategy), meter, plugin.digest());
    let summary = run(&mut lab, samples);
    (summary, lab.is_void())
}

fn run_native(config: LabConfig, (fast, slow): (u32, u32), samples: &[Sample]) -> Summary {
    let (strategy, meter) = Metered::new(Native::new(fast, slow));
    run(&mut Lab::new(config, Box::new(strategy), meter, Digest::of(b"native")), samples)
}

/// Everything that a run says, besides the fuel: single calls are metered, a batch is not taken apart.
fn told(summary: &Summary) -> String {
    let mut summary = summary.clone();
    summary.usage = Default::default();
    (summary.stats.fuel_total, summary.stats.fuel_max) = (0, 0);
    format!("{summary:?}")
}

fn read(files: &[PathBuf], known: &[Instrument], format: &FeedConfig) -> (Arc<Instruments>, Vec<Sample>) {
    let files: Vec<DataFile> =
        files.iter().map(|path| DataFile { path: path.clone(), symbol: None }).collect();
    let data = Dataset::prepare(&files, known, format).unwrap();
    let samples = data.open().unwrap().map(Result::unwrap).collect();
    (Arc::clone(data.instruments()), samples)
}

#[test]
fn recorded_markets_cross_where_they_are_known_to_whatever_runs_the_strategy() {
    for (name, events, orders, digest) in [
        ("btcusdt_20240809_trades.csv", 10_147, 100, "bf2a3becd9b469f0"),
        ("btcusdt_20240809_quotes.csv", 45_134, 118, "c10c9154f6f7b6d7"),
    ] {
        let Some(path) = recorded(name) else { return };
        let (instruments, samples) = read(&[path], &[], &FeedConfig::default());
        let settings = [("fast", 10), ("slow", 20), ("quantity", 3)];
        let config = |batch| config(Arc::clone(&instruments), &settings, batch);
        let native = run_native(config(false), (10, 20), &samples);
        let (single, _) = run_plugin(&EMA, config(false), &samples);
        let (batched, void) = run_plugin(&EMA, config(true), &samples);
        assert_eq!(
            (single.events, single.stats.intents, single.stats.fills),
            (events, orders, orders),
            "{name}"
        );
        assert!(single.intents_sha256.to_string().starts_with(digest), "{}", single.intents_sha256);
        assert_eq!(told(&native), told(&single), "{name}");
        assert!(!void && batched.usage.fuel_calls() * 3 < batched.usage.calls, "{name} was shown in batches");
        assert_eq!(told(&batched), told(&single), "{name}");
    }
}

#[test]
fn a_packed_capture_gives_the_digests_of_the_tables_made_from_it() {
    let Some(path) = recorded("spot_btcusdt_20240809.gz") else { return };
    for (rows, digest) in [("trades", "bf2a3becd9b469f0"), ("quotes", "c10c9154f6f7b6d7")] {
        let ema = component("ema-cross").display().to_string();
        let arguments = ["test", &ema, "--data", path.to_str().unwrap(), "--rows", rows, "--format", "json"];
        let output = ringfence(&arguments);
        assert!(output.status.success(), "{}", text(&output.stderr));
        assert!(facts(&output)["intents_sha256"].as_str().unwrap().starts_with(digest), "{rows}");
    }
}

/// The rows that calls were about, by the number of the call, and the digest of what a live agent wanted, from its
/// journal.
fn journaled(dir: &Path) -> (BTreeMap<u64, u64>, String) {
    let (mut rows, mut digest) = (BTreeMap::new(), IntentDigest::default());
    journal::read(&dir.join("state/journal"), &RealDisk, &mut |seq, payload| {
        match Entry::decode(seq, payload).unwrap().record {
            Record::Fed { calls } => rows.extend(calls.into_iter().filter_map(|call| match call.input {
                FedInput::Tick(tick) => Some((call.call, tick.seq)),
                FedInput::Bar(_) | FedInput::Event(_) => None,
            })),
            Record::Decided(decision) if decision.origin == Origin::Tick => {
                for decided in &decision.intents {
                    let Action::Submit(order) = decided.action else { panic!("{decided:?}") };
                    digest.note(rows[&decision.call], if order.side == Side::Buy { 'B' } else { 'S' });
                }
            }
            _ => {}
        }
        Ok(())
    })
    .unwrap();
    (rows, digest.finish().to_string())
}

/// The digest of what the component wants when the recorded calls are made again.
fn replayed(dir: &Path, rows: &BTreeMap<u64, u64>) -> String {
    let (mut digest, mut instance, mut after) = (IntentDigest::default(), None, 0);
    for file in RecordingFile::list(&dir.join("state/recordings/agent")).unwrap() {
        let (blocks, damage) = RecordingFile::read(&file.path).unwrap();
        assert!(damage.is_none());
        for Block { stretch, .. } in blocks {
            let instance = instance.get_or_insert_with(|| {
                let mut fresh = EMA.instantiate().unwrap();
                stretch.start(&mut fresh).unwrap();
                fresh
            });
            let again = stretch.retrace(instance, Retrace { after, exact: true, fuel: true }).unwrap();
            assert!(again.difference.is_none(), "{again:?}");
            for (call, intent) in again.intents {
                let OrderIntent::Submit(order) = intent else { panic!("{intent:?}") };
                digest.note(rows[&call], if order.side == Side::Buy { 'B' } else { 'S' });
            }
            after = stretch.last_call();
        }
    }
    digest.finish().to_string()
}

#[test]
fn a_live_host_wants_what_the_lab_wanted() {
    let rig = Rig::new(Plan { ticks: 400, ..Plan::default() });
    assert!(rig.run().status.success());
    let (rows, live) = journaled(rig.dir.path());
    assert_eq!(replayed(rig.dir.path(), &rows), live, "recorded and made again");
    let terms = Instrument { lot_size: Decimal::new(5, 1), ..instrument("TRADES") };
    let (instruments, samples) = read(&[rig.dir.path().join("trades.csv")], &[terms], &FeedConfig::default());
    let settings = [("fast", 2), ("slow", 5), ("quantity", 3)];
    let config = |batch| config(Arc::clone(&instruments), &settings, batch);
    let native = run_native(config(false), (2, 5), &samples);
    let (single, _) = run_plugin(&EMA, config(false), &samples);
    let (batched, _) = run_plugin(&EMA, config(true), &samples);
    assert!(single.stats.fills > 50, "{:?}", single.stats);
    let digests = [native, single, batched].map(|summary| summary.intents_sha256.to_string());
    assert_eq!(digests, [live.clone(), live.clone(), live]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn many_updates_at_once_come_to_the_same_as_one_by_one(
        seed in any::<u64>(),
        count in 1_usize..4_000,
        instruments in 1_u32..3,
        (fast, slow) in (2_i64..10, 11_i64..60),
        quantity in prop_oneof![Just(1_i64), Just(40), Just(90)],
        fee in 0_i64..20,
        latency in prop_oneof![2 => Just(0_u64), 1 => 1_u64..5_000_000_000],
        displayed in any::<bool>(),
        reversion in any::<bool>(),
    ) {
        let samples = walk(seed, count, instruments);
        let table: Vec<_> = ["A", "B"].iter().take(instruments as usize).map(|symbol| instrument(symbol)).collect();
        let table = Arc::new(Instruments::new(table).unwrap());
        let settings: &[(&str, i64)] = if reversion && instruments == 1 {
            &[("window", 20), ("quantity", quantity)]
        } else {
            &[("fast", fast), ("slow", slow), ("quantity", quantity)]
        };
        let plugin = if reversion && instruments == 1 { &REVERSION } else { &EMA };
        let config = |batch| LabConfig {
            model: Model {
                taker_fee_bps: fee.into(),
                maker_fee_bps: fee.into(),
                order_latency_ns: latency,
                reply_latency_ns: latency / 2,
                liquidity: if displayed { Liquidity::Displayed } else { Liquidity::Unlimited },
                queue: Queue::Touch,
                slippage_ticks: 1,
            },
            limits: CoreLimits::default(),
            on_halt: FailAction::Flatten,
            ..config(Arc::clone(&table), settings, batch)
        };
        let (single, _) = run_plugin(plugin, config(false), &samples);
        let (batched, void) = run_plugin(plugin, config(true), &samples);
        prop_assert!(!void);
        prop_assert!(single.books_match, "{:?}", single);
        prop_assert_eq!(told(&batched), told(&single));
    }
}

#[test]
fn a_shutdown_comes_at_the_same_update_in_batches() {
    let table = Arc::new(Instruments::new(vec![instrument("A")]).unwrap());
    let samples = walk(5, 60_000, 1);
    let config = |batch| LabConfig {
        model: Model { taker_fee_bps: 30.into(), ..Model::default() },
        ..config(Arc::clone(&table), &[("fast", 3), ("slow", 12), ("quantity", 60)], batch)
    };
    let (single, _) = run_plugin(&EMA, config(false), &samples);
    let (batched, _) = run_plugin(&EMA, config(true), &samples);
    assert!(single.stopped_at.is_some_and(|event| event > 100), "fees eat a fifth of the cash: {single:?}");
    assert_eq!(told(&batched), told(&single));
}

#[test]
fn a_trap_in_a_batch_voids_the_run_and_the_command_finds_the_update() {
    let faulty = plugin("faulty");
    let table = Arc::new(Instruments::new(vec![instrument("A")]).unwrap());
    let samples = walk(9, 3_000, 1);
    let settings = |batch| LabConfig {
        settings: vec![
            Setting { key: "fault".into(), value: SettingValue::Text("panic".into()) },
            Setting { key: "after".into(), value: SettingValue::Integer(2_000) },
        ],
        ..config(Arc::clone(&table), &[], batch)
    };
    let (single, void) = run_plugin(&faulty, settings(false), &samples);
    assert!(!void && single.halted && single.stats.traps == 1, "{single:?}");
    let Some((event, _)) = single.alerts.iter().find(|(_, alert)| alert.code == "trap_unreachable") else {
        panic!("{:?}", single.alerts)
    };
    assert_eq!(*event, 2_000);
    assert!(run_plugin(&faulty, settings(true), &samples).1, "nobody knows at which update it trapped");

    let rig = Rig::new(Plan { ticks: 400, ..Plan::default() });
    let (file, data) = (component("faulty").display().to_string(), rig.path("trades.csv"));
    let output = ringfence(&["test", &file, "--data", &data, "--set", "after=300", "--format", "json"]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    let facts = facts(&output);
    assert_eq!((&facts["traps"], &facts["events"], &facts["halted"]), (&1.into(), &400.into(), &true.into()));
}

#[test]
fn a_test_says_its_facts_writes_its_intents_and_a_page_of_its_own() {
    let rig = Rig::new(Plan { ticks: 400, ..Plan::default() });
    let (ema, data) = (component("ema-cross").display().to_string(), rig.path("trades.csv"));
    let (lines, page) = (rig.path("intents.jsonl"), rig.path("page.html"));
    let set = ["--set", "fast=2", "--set", "slow=5", "--set", "quantity=3"];
    let run = |more: &[&str]| {
        let mut arguments = vec!["test", ema.as_str(), "--data", data.as_str()];
        arguments.extend(set);
        arguments.extend(more);
        ringfence(&arguments)
    };
    let output = run(&["--format", "json", "--intents", &lines, "--report", &page, "--fees", "10,5"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let facts = facts(&output);
    let names = [
        "events",
        "intents",
        "fills",
        "traps",
        "events_per_second",
        "fuel_p50",
        "fuel_p99",
        "memory_peak_bytes",
        "final_equity",
        "max_drawdown",
        "intents_sha256",
        "total_return",
        "sharpe",
        "sortino",
        "win_rate",
        "profit_factor",
        "exposure",
        "turnover",
        "fees",
        "trades",
        "refused",
        "intents_per_event",
    ];
    for name in names {
        assert!(facts.get(name).is_some(), "{name} is missing in {facts}");
    }
    assert_eq!((&facts["events"], &facts["books_match"]), (&400.into(), &true.into()));
    let written = std::fs::read_to_string(&lines).unwrap();
    assert_eq!(written.lines().count() as u64, facts["intents"].as_u64().unwrap());
    let mut digest = String::new();
    for line in written.lines() {
        let intent: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!(
            (&intent["kind"], &intent["price"], &intent["quantity"]),
            (&"market".into(), &().into(), &"3".into())
        );
        let letter = if intent["side"] == "buy" { 'B' } else { 'S' };
        digest += &format!("{}:{letter};", intent["event"]);
    }
    assert_eq!(facts["intents_sha256"], Digest::of(digest.as_bytes()).to_string());
    let html = std::fs::read_to_string(&page).unwrap();
    assert!(html.starts_with("<!doctype html>") && html.matches("<svg").count() == 4, "{}", html.len());
    assert!(
        !html.contains("http:") && !html.contains("https:") && !html.contains("<script"),
        "it needs no network"
    );

    let shown = text(&run(&[]).stdout);
    for words in
        ["note: TRADES: tick size 1", "deepest drawdown", "fuel a call, p99", "win rate", "intents sha256"]
    {
        assert!(shown.contains(words), "{words} is missing in {shown}");
    }
}

#[test]
fn strict_refuses_what_is_otherwise_skipped_and_named() {
    let rig = Rig::new(Plan { ticks: 50, ..Plan::default() });
    let (ema, data) = (component("ema-cross").display().to_string(), rig.path("trades.csv"));
    let mut rows = std::fs::read_to_string(&data).unwrap();
    rows.push_str("1700000050000,oops,1\n");
    std::fs::write(&data, rows).unwrap();
    let skipped = ringfence(&["test", &ema, "--data", &data]);
    assert!(
        skipped.status.success() && text(&skipped.stdout).contains("trades.csv:52"),
        "{}",
        text(&skipped.stdout)
    );
    let refused = ringfence(&["test", &ema, "--data", &data, "--strict", "--format", "json"]);
    assert_eq!(refused.status.code(), Some(2));
    assert_eq!(facts(&refused)["error"]["code"], "data_strict");
}

#[test]
fn a_comparison_finds_where_two_part_and_what_led_to_it() {
    let rig = Rig::new(Plan { ticks: 400, ..Plan::default() });
    let (ema, data) = (component("ema-cross").display().to_string(), rig.path("trades.csv"));
    let run = |more: &[&str]| {
        let mut arguments = vec![
            "compare",
            ema.as_str(),
            ema.as_str(),
            "--data",
            data.as_str(),
            "--set",
            "fast=2",
            "--set",
            "slow=5",
        ];
        arguments.extend(more);
        ringfence(&arguments)
    };
    let same = run(&["--format", "json"]);
    assert!(same.status.success(), "{}", text(&same.stderr));
    assert_eq!(facts(&same)["same"], true);
    let other = run(&["--format", "json", "--set-b", "slow=7"]);
    assert_eq!(other.status.code(), Some(1), "{}", text(&other.stderr));
    let facts = facts(&other);
    let difference = &facts["first_difference"];
    assert!(difference["a"] != difference["b"], "{difference}");
    let inputs = difference["inputs"].as_array().unwrap();
    let last = inputs.last().unwrap().as_str().unwrap();
    assert!(last.starts_with(&format!("event {},", difference["event"])), "{difference}");
    assert!(facts["a"]["intents_sha256"] != facts["b"]["intents_sha256"]);
    let shown = text(&run(&["--set-b", "slow=7"]).stdout);
    assert!(shown.contains("The first difference") && shown.contains("A holds"), "{shown}");
}
