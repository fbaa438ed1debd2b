//! The same orders as the strategy in Rust.

use super::rig::{
    C, Example, JAVASCRIPT, OTHERS, PYTHON, RUST, generated, instrument, integer, recorded, trade,
};
use ringfence::market::{FeedConfig, FileFeed, InstrumentId, Lots, Tick};
use ringfence::orders::Side;
use ringfence::plugin::{CallError, Fault};
use sha2::{Digest, Sha256};

/// `index:side;` of every order.
fn trace(example: &Example, ticks: &[Tick]) -> String {
    let mut run = example.start();
    let mut trace = String::new();
    for (index, tick) in ticks.iter().enumerate() {
        for order in run.tick(tick).unwrap_or_else(|error| panic!("{}: {error}", example.name)) {
            trace.push_str(&format!("{index}:{};", if order.side == Side::Buy { 'B' } else { 'S' }));
        }
    }
    trace
}

fn digest(trace: &str) -> String {
    Sha256::digest(trace).iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

fn recorded_ticks(file: &str) -> Option<Vec<Tick>> {
    let feed =
        FileFeed::open(&recorded(file)?, &instrument(), InstrumentId(0), &FeedConfig::default()).unwrap();
    Some(feed.map(|sample| sample.unwrap().tick).collect())
}

#[test]
fn every_language_crosses_on_real_trades_where_the_reference_says() {
    let Some(ticks) = recorded_ticks("btcusdt_20240809_trades.csv") else { return };
    assert_eq!(ticks.len(), 10_147);
    for example in OTHERS {
        let trace = trace(example, &ticks);
        assert_eq!((trace.matches('B').count(), trace.matches('S').count()), (50, 50), "{}", example.name);
        assert_eq!(digest(&trace), "bf2a3becd9b469f0", "{}", example.name);
    }
}

#[test]
fn every_language_crosses_on_real_quotes_where_the_reference_says() {
    let Some(ticks) = recorded_ticks("btcusdt_20240809_quotes.csv") else { return };
    assert_eq!(ticks.len(), 45_134);
    for example in OTHERS {
        let trace = trace(example, &ticks);
        assert_eq!((trace.matches('B').count(), trace.matches('S').count()), (59, 59), "{}", example.name);
        assert_eq!(digest(&trace), "c10c9154f6f7b6d7", "{}", example.name);
    }
}

#[test]
fn every_language_gives_the_orders_of_rust_on_generated_data() {
    let ticks = generated(4_000);
    let orders = |example: &Example| {
        let mut run = example.start();
        ticks.iter().map(|tick| run.tick(tick).unwrap()).collect::<Vec<_>>()
    };
    let rust = orders(&RUST);
    let crossings = rust.iter().filter(|orders| !orders.is_empty()).count();
    assert!(crossings > 50, "the wave crosses often, found {crossings}");
    for example in OTHERS {
        assert!(orders(example) == rust, "{} gives other orders than Rust", example.name);
    }
}

#[test]
fn every_language_describes_itself_like_rust() {
    let rust = RUST.plugin().metadata();
    let schema = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
    for example in [&C, &JAVASCRIPT, &PYTHON] {
        let metadata = example.plugin().metadata();
        assert_eq!(metadata.name, example.name);
        assert_eq!(metadata.summary, rust.summary);
        assert_eq!(metadata.version, rust.version);
        assert_eq!(metadata.needs, rust.needs, "{}", example.name);
        assert_eq!(schema(&metadata.settings_schema), schema(&rust.settings_schema), "{}", example.name);
        let foreign: Vec<_> =
            example.plugin().imports().iter().filter(|it| !it.starts_with("ringfence:strategy/")).collect();
        assert!(foreign.is_empty(), "{} imports {foreign:?}", example.name);
    }
}

#[test]
fn every_language_uses_its_settings_and_refuses_bad_ones() {
    for example in OTHERS {
        let name = example.name;
        let settings = vec![integer("fast", 2), integer("slow", 5), integer("quantity", 7)];
        let (mut run, answer) = example.init(settings, 1);
        answer.unwrap();
        let orders: Vec<_> = [10, 11, 12, 13, 14].into_iter().flat_map(|price| run.price(price)).collect();
        assert_eq!(
            orders.iter().map(|order| order.quantity).collect::<Vec<_>>(),
            [],
            "{name}: above from the start"
        );
        assert_eq!(run.price(1).iter().map(|order| order.quantity).collect::<Vec<_>>(), [Lots(7)], "{name}");
        for settings in [
            vec![integer("fast", 20)],
            vec![integer("quantity", 0)],
            vec![integer("slow", 100_001)],
            vec![integer("speed", 1)],
        ] {
            let (_, answer) = example.init(settings.clone(), 1);
            let refused = matches!(&answer, Err(CallError::Fault(Fault::InvalidSettings(_))));
            assert!(refused, "{name} with {settings:?}: {answer:?}");
        }
        let (mut run, answer) = example.init(Vec::new(), 1);
        answer.unwrap();
        assert!(run.price(1).is_empty(), "{name} has defaults");
    }
}

#[test]
fn every_language_answers_what_it_cannot_do_with_a_fault_and_lives_on() {
    for example in OTHERS {
        let mut run = example.start();
        let unknown = Tick { instrument: InstrumentId(9), ..trade(5) };
        let answer = run.tick(&unknown);
        let expected = "a tick of an unknown instrument, 9".to_owned();
        assert_eq!(answer, Err(CallError::Fault(Fault::Internal(expected))), "{}", example.name);
        assert_eq!(run.price(5), [], "{}", example.name);
    }
}
