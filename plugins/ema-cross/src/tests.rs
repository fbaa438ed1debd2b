use super::*;
use ringfence_sdk::test::Harness;
use sha2::{Digest as _, Sha256};
use std::fmt::Write as _;
use std::path::PathBuf;

fn started() -> Harness<EmaCross> {
    Harness::new().start().unwrap()
}

/// `{index}:{B|S};` of the intents of one tick.
fn note(log: &mut String, index: usize, intents: &[ringfence_sdk::Intent]) {
    for intent in intents {
        let ringfence_sdk::Intent::Submit { order, .. } = intent else { panic!("unexpected {intent:?}") };
        assert_eq!(order.kind, ringfence_sdk::OrderKind::Market);
        write!(log, "{index}:{};", if order.side == Side::Buy { 'B' } else { 'S' }).unwrap();
    }
}

/// A wave with noise, from a fixed linear congruence.
fn prices(count: usize) -> Vec<i64> {
    let mut noise = 12_345_u64;
    let mut next = move || {
        noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        i64::try_from(noise >> 54).unwrap()
    };
    (0..count).map(|i| 1_000_000 + (i as i64 / 40 % 2 * 2 - 1) * 300 + next()).collect()
}

fn orders(run: &mut Harness<EmaCross>, prices: &[i64]) -> String {
    let mut log = String::new();
    for (index, price) in prices.iter().enumerate() {
        note(&mut log, index, &run.trade(*price));
    }
    log
}

#[test]
fn orders_alternate_and_carry_the_quantity() {
    let mut run = Harness::<EmaCross>::new().setting("quantity", 7).start().unwrap();
    let mut sides = Vec::new();
    for price in prices(2_000) {
        for intent in run.trade(price) {
            let ringfence_sdk::Intent::Submit { order, .. } = intent else { panic!("unexpected {intent:?}") };
            assert_eq!(order.quantity, Lots(7));
            sides.push(order.side);
        }
    }
    assert!(sides.len() > 20, "the wave crosses often, found {}", sides.len());
    assert!(sides.windows(2).all(|pair| pair[0] != pair[1]));
}

#[test]
fn a_crossing_counts_from_the_price_number_slow_on() {
    let mut run = started();
    for price in 101..120 {
        assert!(run.trade(price).is_empty());
    }
    assert_eq!(run.trade(1).len(), 1);
}

#[test]
fn a_swap_in_the_middle_changes_nothing() {
    let feed = prices(2_000);
    let whole = orders(&mut started(), &feed);
    for at in [0, 1, 19, 20, 777, 1_999] {
        let mut run = started();
        let mut parts = orders(&mut run, &feed[..at]);
        run.swap().unwrap();
        for (index, price) in feed.iter().enumerate().skip(at) {
            note(&mut parts, index, &run.trade(*price));
        }
        assert_eq!(parts, whole, "swapped at {at}");
    }
}

#[test]
fn state_of_other_periods_starts_the_averages_anew() {
    let mut other = Harness::<EmaCross>::new().setting("fast", 5).start().unwrap();
    orders(&mut other, &prices(100));
    let (schema, data) = other.save().unwrap();
    let mut run = started();
    let fresh = run.save().unwrap();
    run.load(schema, &data).unwrap();
    assert_eq!(run.save().unwrap(), fresh);
}

#[test]
fn damaged_state_is_refused() {
    let (schema, data) = started().save().unwrap();
    for bytes in [&data[..data.len() - 1], &[&data[..], &[0]].concat(), &data[..7]] {
        assert!(matches!(started().load(schema, bytes), Err(Fault::IncompatibleState(_))));
    }
}

#[test]
fn a_fast_average_that_is_not_faster_is_refused() {
    let refused = Harness::<EmaCross>::new().setting("fast", 20).start().err();
    let words = "expected fast below slow, found fast 20 and slow 20".to_owned();
    assert_eq!(refused, Some(Fault::InvalidSettings(words)));
}

#[test]
fn a_tick_without_a_price_is_passed_over() {
    let mut run = started();
    let before = run.save().unwrap();
    assert_eq!(run.tick(Tick::default()), Ok(Vec::new()));
    assert!(run.quote(100, 0).is_empty());
    assert_eq!(run.save().unwrap(), before);
}

/// The rows of a file of real market data. It is no part of the repository, so a machine without it says so;
/// the tests above hold the definition there.
fn real_data(file: &str) -> Option<Vec<Vec<String>>> {
    let beside_the_clone = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data");
    let folder = std::env::var_os("RINGFENCE_DATA_DIR").map_or_else(beside_the_clone, PathBuf::from);
    let path = folder.join(file);
    let Ok(text) = std::fs::read_to_string(&path) else {
        // Past the capture of the test runner, which would hide it.
        let words =
            format!("not compared with real data: {} is not there; set RINGFENCE_DATA_DIR\n", path.display());
        std::io::Write::write_all(&mut std::io::stderr(), words.as_bytes()).unwrap();
        return None;
    };
    Some(text.lines().skip(1).map(|line| line.split(',').map(ToOwned::to_owned).collect()).collect())
}

fn ticks_of(price: &str) -> i64 {
    let price: Decimal = price.parse().unwrap();
    price.coefficient() * 10_i64.pow(2 - u32::from(price.scale()))
}

fn digest(log: &str) -> String {
    Sha256::digest(log).iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn real_trades_give_the_published_hundred_orders() {
    let Some(rows) = real_data("btcusdt_20240809_trades.csv") else { return };
    let prices: Vec<_> = rows.iter().map(|row| ticks_of(&row[3])).collect();
    assert_eq!(prices.len(), 10_147);
    let log = orders(&mut started(), &prices);
    assert_eq!((log.matches('B').count(), log.matches('S').count()), (50, 50));
    assert_eq!(digest(&log), "bf2a3becd9b469f0");
}

#[test]
fn real_quotes_give_the_published_hundred_and_eighteen_orders() {
    let Some(rows) = real_data("btcusdt_20240809_quotes.csv") else { return };
    assert_eq!(rows.len(), 45_134);
    let (mut run, mut log) = (started(), String::new());
    for (index, row) in rows.iter().enumerate() {
        note(&mut log, index, &run.quote(ticks_of(&row[2]), ticks_of(&row[4])));
    }
    assert_eq!((log.matches('B').count(), log.matches('S').count()), (59, 59));
    assert_eq!(digest(&log), "c10c9154f6f7b6d7");
}
