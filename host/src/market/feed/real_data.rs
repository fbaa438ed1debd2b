//! The reader on real files: the bars that come with the repository, and a capture that is kept beside it.

use super::csv::tests::instrument;
use super::*;
use crate::market::{CheckConfig, Instrument, InstrumentId, Lots, MarketCheck, Now, PriceTicks, UnixNanos};
use sha2::{Digest as _, Sha256};
use std::io::Write as _;
use std::path::{Path, PathBuf};

fn open(path: &Path, instrument: &Instrument, off_step: OffStep) -> FileFeed {
    let config = FeedConfig { off_step, ..FeedConfig::default() };
    FileFeed::open(path, instrument, InstrumentId(0), &config).unwrap()
}

/// Reads a whole file through the market check; every row must pass.
fn ticks(path: &Path, instrument: &Instrument, off_step: OffStep) -> Vec<Tick> {
    let mut check = MarketCheck::new(CheckConfig::default().recorded(), 1);
    let feed = open(path, instrument, off_step);
    let ticks = feed.map(|row| row.unwrap().tick).inspect(|tick| check.admit(Now::default(), tick).unwrap());
    ticks.collect()
}

/// A capture outside of the repository. Says so when it is not there, past the output that tests keep to
/// themselves.
fn capture(name: &str) -> Option<PathBuf> {
    let folder = std::env::var_os("RINGFENCE_DATA_DIR")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data"), PathBuf::from);
    let path = folder.join(name);
    if path.is_file() {
        return Some(path);
    }
    let _ = writeln!(
        io::stderr(),
        "NOT RUN: the test on {name} needs that file in the folder that RINGFENCE_DATA_DIR names, looked for {}",
        path.display()
    );
    None
}

/// Averages over 10 and 20 events, seeded with the first; one order at each crossing from the 20th event on.
/// The digest of `{event}:{B|S};` for each order, and how many there were of each side.
fn crossings(prices: impl Iterator<Item = f64>) -> (String, usize, usize) {
    let weight = |length: f64| 2.0 / (length + 1.0);
    let mut averages = None;
    let mut was_above = None;
    let mut orders = String::new();
    for (event, price) in prices.enumerate() {
        let (mut fast, mut slow) = averages.unwrap_or((price, price));
        if event > 0 {
            fast = weight(10.0) * price + (1.0 - weight(10.0)) * fast;
            slow = weight(20.0) * price + (1.0 - weight(20.0)) * slow;
        }
        averages = Some((fast, slow));
        if event + 1 >= 20 {
            let above = fast > slow;
            if was_above.is_some_and(|was| was != above) {
                orders += &format!("{event}:{};", if above { 'B' } else { 'S' });
            }
            was_above = Some(above);
        }
    }
    let digest = data_encoding::HEXLOWER.encode(&Sha256::digest(orders.as_bytes()));
    (digest[..16].to_owned(), orders.matches('B').count(), orders.matches('S').count())
}

fn hundredths(price: PriceTicks) -> f64 {
    price.0 as f64 / 100.0
}

#[test]
fn the_averages_of_the_captured_trades_cross_where_they_are_known_to() {
    let Some(path) = capture("btcusdt_20240809_trades.csv") else { return };
    let ticks = ticks(&path, &instrument("0.01", "0.00001"), OffStep::Refuse);
    assert_eq!(ticks.len(), 10_147);
    assert_eq!(
        ticks[0].event_time,
        UnixNanos(1_723_161_601_437_000_000),
        "the exchange's clock, not the receiver's"
    );
    let prices = ticks.iter().map(|tick| hundredths(tick.last_price));
    assert_eq!(crossings(prices), ("bf2a3becd9b469f0".to_owned(), 50, 50));
}

#[test]
fn the_averages_of_the_captured_mids_cross_where_they_are_known_to() {
    let Some(path) = capture("btcusdt_20240809_quotes.csv") else { return };
    let ticks = ticks(&path, &instrument("0.01", "0.00001"), OffStep::Refuse);
    assert_eq!(ticks.len(), 45_134);
    let prices =
        ticks.iter().map(|tick| f64::midpoint(hundredths(tick.bid_price), hundredths(tick.ask_price)));
    assert_eq!(crossings(prices), ("c10c9154f6f7b6d7".to_owned(), 59, 59));
}

#[test]
fn the_bars_that_come_along_are_all_read() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/sp500-2000.csv");
    let index = instrument("0.01", "1");
    assert!(
        open(&path, &index, OffStep::Refuse).next().unwrap().is_err(),
        "the prices have floating-point noise"
    );
    let ticks = ticks(&path, &index, OffStep::RoundHalfEven);
    assert_eq!(ticks.len(), 5_105);
    let bars: Vec<Bar> =
        open(&path, &index, OffStep::RoundHalfEven).map(|row| row.unwrap().bar.unwrap()).collect();
    let bar = |date: &str, [open, high, low, close]: [i64; 4], volume| {
        let found = bars.iter().find(|bar| bar.start.to_string().starts_with(date)).unwrap();
        let expected = [open, high, low, close].map(PriceTicks);
        assert_eq!(
            ([found.open, found.high, found.low, found.close], found.volume),
            (expected, Lots(volume)),
            "{date}"
        );
    };
    bar("2000-01-03", [146_925, 147_800, 143_836, 145_522], 931_800_000);
    bar("2020-04-17", [284_243, 287_922, 283_088, 287_456], 5_792_140_000);
    assert_eq!(bars[0].start.to_string(), "2000-01-03T00:00:00.000Z");
    assert_eq!(bars[5_104].start.to_string(), "2020-04-17T00:00:00.000Z");
}

#[test]
fn the_bars_that_come_along_are_the_file_that_the_note_describes() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("data");
    let digest = Sha256::digest(std::fs::read(folder.join("sp500-2000.csv")).unwrap());
    let note = std::fs::read_to_string(folder.join("NOTE.md")).unwrap();
    assert!(note.contains(&data_encoding::HEXLOWER.encode(&digest)), "the digest in NOTE.md is another one");
}
