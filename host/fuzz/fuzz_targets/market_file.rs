//! A file of market data: CSV, capture, gz or zip, read to its end or to what breaks it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringfence::market::{FeedConfig, FileFeed, Instrument, InstrumentId, InstrumentKind, Lots, RowError};
use rust_decimal::Decimal;

fuzz_target!(|bytes: &[u8]| {
    let path = std::env::temp_dir().join(format!("ringfence-fuzz-{}", std::process::id()));
    std::fs::write(&path, bytes).expect("a temporary file");
    let instrument = Instrument {
        symbol: "BTCUSDT".into(),
        venue: "lab".into(),
        kind: InstrumentKind::Spot,
        quote_currency: "USDT".into(),
        multiplier: Decimal::ONE,
        tick_size: Decimal::new(1, 2),
        lot_size: Decimal::new(1, 5),
        min_lots: Lots(1),
        max_lots: Lots(100_000_000),
    };
    let Ok(mut feed) = FileFeed::open(&path, &instrument, InstrumentId(0), &FeedConfig::default()) else {
        return;
    };
    while let Some(row) = feed.next() {
        match row {
            // No price that is none reaches a strategy.
            Ok(sample) => assert!(sample.tick.last_price.0 >= 0 && sample.tick.bid_price.0 >= 0),
            Err(RowError::Dropped(_)) => {}
            Err(RowError::Broken(_)) => assert!(feed.next().is_none()),
        }
    }
});
