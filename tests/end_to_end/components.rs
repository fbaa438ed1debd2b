use super::setup::{Plan, Rig, component, facts, ringfence, text, workspace};
use ringfence::market::{
    FeedConfig, FileFeed, Instrument, InstrumentId, InstrumentKind, Instruments, Lots, UnixNanos,
};
use ringfence::orders::{Books, Mode, OrderId, OrderIntent};
use ringfence::plugin::{
    Compiler, Sandbox, SandboxConfig, SandboxLimits, Services, Session, Setting, SettingValue, Strategy,
    TickContext,
};
use sha2::{Digest, Sha256};
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Arc;

#[test]
fn every_example_is_accepted_and_imports_nothing_but_the_contract() {
    for name in ["ema-cross", "mean-reversion", "breakout", "faulty"] {
        let path = component(name).display().to_string();
        let output = ringfence(&["inspect", &path, "--format", "json"]);
        assert!(output.status.success(), "{}", text(&output.stderr));
        let facts = facts(&output);
        assert_eq!(facts["name"], name);
        for import in facts["imports"].as_array().unwrap() {
            let import = import.as_str().unwrap();
            assert!(import.starts_with("ringfence:strategy/"), "{name} imports {import}");
        }
    }
}

pub fn recorded(file: &str) -> Option<PathBuf> {
    let dir = std::env::var_os("RINGFENCE_DATA_DIR")
        .map_or_else(|| workspace().join("../shared/data"), PathBuf::from);
    let path = dir.join(file);
    if path.is_file() {
        return Some(path);
    }
    // Written past the test runner's capture: a test that did not run says so.
    let words = "is absent; set RINGFENCE_DATA_DIR to the folder of the recorded data";
    let _ = writeln!(std::io::stderr(), "NOT RUN: {} {words}", path.display());
    None
}

/// The crossings of the 10/20 averages as `index:side;`, from the sandboxed component.
fn crossings(file: &std::path::Path, tick_size: &str) -> (usize, usize, String) {
    let instrument = Instrument {
        symbol: "BTCUSDT".into(),
        venue: "test".into(),
        kind: InstrumentKind::Spot,
        quote_currency: "USDT".into(),
        multiplier: "1".parse().unwrap(),
        tick_size: tick_size.parse().unwrap(),
        lot_size: "0.00001".parse().unwrap(),
        min_lots: Lots(1),
        max_lots: Lots(1_000_000_000),
    };
    let feed = FileFeed::open(file, &instrument, InstrumentId(0), &FeedConfig::default()).unwrap();
    let sandbox =
        Sandbox::new(SandboxConfig { compiler: Compiler::InProcess, ..SandboxConfig::default() }).unwrap();
    let plugin = sandbox.load_file(&component("ema-cross"), None, &SandboxLimits::default()).unwrap();
    let mut strategy = plugin.instantiate().unwrap();
    let instruments = Instruments::new(vec![instrument]).unwrap();
    let mut services = Box::new(Services::new(Books::default(), Arc::new(instruments.clone()), 1));
    let number = |key: &str, value| Setting { key: key.into(), value: SettingValue::Integer(value) };
    let session = Session {
        run_id: 1,
        seed: 1,
        now: UnixNanos(0),
        next_order_id: OrderId(1),
        instruments,
        settings: vec![number("fast", 10), number("slow", 20), number("quantity", 1)],
        live: false,
    };
    strategy.init(&session, &mut services).unwrap();
    let (mut buys, mut sells, mut trace) = (0, 0, String::new());
    let mut intents = Vec::new();
    for (index, sample) in feed.enumerate() {
        let tick = sample.unwrap().tick;
        let context = TickContext {
            now: tick.event_time,
            position: Lots::ZERO,
            open_orders: 0,
            intents_left: 16,
            mode: Mode::Full,
        };
        intents.clear();
        strategy.on_tick(&tick, &context, &mut services, &mut intents).unwrap();
        services.commit();
        for intent in &intents {
            let OrderIntent::Submit(order) = intent else { panic!("{intent:?}") };
            let buy = order.side == ringfence::orders::Side::Buy;
            *(if buy { &mut buys } else { &mut sells }) += 1;
            trace.push_str(&format!("{index}:{};", if buy { 'B' } else { 'S' }));
        }
    }
    let digest = Sha256::digest(trace.as_bytes());
    (buys, sells, digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect())
}

#[test]
fn the_sandboxed_averages_cross_on_real_trades_where_the_reference_says() {
    let Some(path) = recorded("btcusdt_20240809_trades.csv") else { return };
    assert_eq!(crossings(&path, "0.01"), (50, 50, "bf2a3becd9b469f0".into()));
}

#[test]
fn the_sandboxed_averages_cross_on_real_quotes_where_the_reference_says() {
    let Some(path) = recorded("btcusdt_20240809_quotes.csv") else { return };
    assert_eq!(crossings(&path, "0.01"), (59, 59, "c10c9154f6f7b6d7".into()));
}

#[test]
fn each_fault_of_the_faulty_strategy_ends_in_its_own_verdict_and_the_host_goes_on() {
    // Filling memory costs fuel, so the memory cap is reached only with a budget that is larger than usual.
    let patient = "sandbox = { fuel_per_call = 20000000000, deadline_ms = 20000 }";
    for (fault, code, sandbox) in [
        ("panic", "trap_unreachable", ""),
        ("loop", "trap_fuel", ""),
        ("memory", "trap_memory", patient),
        ("flood", "trap_host_calls", ""),
    ] {
        let agent = &format!("supervision = {{ strikes_max = 1 }}\n{sandbox}");
        let settings = format!("{{ fault = \"{fault}\", after = 30 }}");
        let rig =
            Rig::new(Plan { component: "faulty", settings: &settings, ticks: 60, agent, ..Plan::default() });
        let output = rig.run();
        assert_eq!(output.status.code(), Some(1), "{fault}: {}", text(&output.stderr));
        let facts = facts(&output);
        assert_eq!((&facts["events"], &facts["traps"]), (&60.into(), &1.into()), "{fault}: {facts}");
        assert_eq!(facts["agents"][0]["halted"], true);
        let letters = self::facts(&rig.state(&["dlq", "list"]));
        let letter = &letters["letters"][0];
        assert_eq!(letter["kind"], "call", "{fault}: {letters}");
        let found = letter["errors"][0]["failure"]["code"].as_str().unwrap();
        assert_eq!(found, code, "{fault}");
        rig.assert_nothing_twice();
    }
}

#[test]
fn bad_intents_are_refused_with_a_code_and_the_strategy_goes_on() {
    let settings = "{ fault = \"bad-intent\", after = 30 }";
    let rig = Rig::new(Plan { component: "faulty", settings, ticks: 60, ..Plan::default() });
    let output = rig.run();
    let facts = facts(&output);
    assert_eq!(facts["traps"], 0, "{facts}");
    assert!(facts["agents"][0]["refused"].as_u64().unwrap() >= 30, "{facts}");
}

#[test]
fn a_strategy_in_javascript_with_wasi_trades_like_the_one_in_rust() {
    let run = |component, agent| {
        let rig = Rig::new(Plan { component, agent, ticks: 200, ..Plan::default() });
        let output = rig.run();
        assert!(output.status.success(), "{component}: {}", text(&output.stderr));
        rig.assert_nothing_twice();
        let orders = rig.truth().orders;
        orders.into_iter().map(|order| (order.side, order.quantity)).collect::<Vec<_>>()
    };
    let rust = run("ema-cross", "");
    assert!(rust.len() > 20, "the prices cross often: {rust:?}");
    assert_eq!(run("wasi-js", "sandbox = { profile = \"managed\", wasi = \"virtual\" }"), rust);
}
