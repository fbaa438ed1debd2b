use super::*;
use crate::market::{
    Bar, FaultCode, FeedFormat, FileFeed, InstrumentKind, Lots, Marks, OffStep, PriceTicks, Tick, UnixNanos,
};
use proptest::prelude::*;
use rust_decimal::Decimal;
use std::io;

pub(in crate::market::feed) fn instrument(tick_size: &str, lot_size: &str) -> Instrument {
    Instrument {
        symbol: "X".into(),
        venue: "test".into(),
        kind: InstrumentKind::Spot,
        quote_currency: "USD".into(),
        multiplier: Decimal::ONE,
        tick_size: tick_size.parse().unwrap(),
        lot_size: lot_size.parse().unwrap(),
        min_lots: Lots(1),
        max_lots: Lots(i64::MAX),
    }
}

fn feed<'a>(text: &'a [u8], config: &FeedConfig) -> CsvFeed<&'a [u8]> {
    let instrument = instrument("0.01", "0.001");
    CsvFeed::new(text, "x.csv".into(), &instrument, InstrumentId(3), config).unwrap()
}

fn read(text: &str) -> Vec<Result<Sample, RowError>> {
    feed(text.as_bytes(), &FeedConfig::default()).collect()
}

/// The only row of a file as a tick.
fn only(text: &str) -> Sample {
    let mut rows = read(text);
    assert_eq!(rows.len(), 1);
    rows.remove(0).unwrap()
}

/// The code and line of every row that was dropped.
fn faults(text: &str) -> Vec<(FaultCode, u64)> {
    let dropped = |row: Result<Sample, RowError>| match row {
        Err(RowError::Dropped(fault)) => Some((fault.kind.code(), fault.place.unwrap().line)),
        Err(RowError::Broken(error)) => panic!("{error}"),
        Ok(_) => None,
    };
    read(text).into_iter().filter_map(dropped).collect()
}

#[test]
fn a_trade_becomes_a_tick() {
    let expected = Tick {
        instrument: InstrumentId(3),
        seq: 0,
        event_time: UnixNanos(1_723_161_601_437_000_000),
        last_price: PriceTicks(6_168_599),
        last_size: Lots(170),
        volume: Lots(170),
        marks: Marks::TRADE,
        ..Tick::default()
    };
    let sample = only("id,timestamp,price,qty\n7,1723161601437,61685.99000000,0.17000000\n");
    assert_eq!(sample, Sample { tick: expected, bar: None });
}

#[test]
fn a_quote_becomes_a_tick_and_a_side_may_be_absent() {
    let quote = |row: &str| only(&format!("timestamp,bid,bid_size,ask,ask_size\n{row}")).tick;
    let both = quote("1,99.5,1.5,100,2");
    let sides = |tick: Tick| (tick.bid_price.0, tick.bid_size.0, tick.ask_price.0, tick.ask_size.0);
    assert_eq!((sides(both), both.marks), ((9_950, 1_500, 10_000, 2_000), Marks::QUOTE));
    assert_eq!(sides(quote("1,,,100,2")), (0, 0, 10_000, 2_000));
    assert_eq!(sides(quote("1,99.5,1.5,0,0")), (9_950, 1_500, 0, 0));
    let without_sizes = only("timestamp,bid_price,ask_price\n1,99.5,100").tick;
    assert_eq!(sides(without_sizes), (9_950, 0, 10_000, 0));
}

#[test]
fn a_bar_becomes_a_tick_of_its_close_and_the_bar() {
    let text = "date,open,high,low,close,volume\n2000-01-03,10,12.5,9,11,3";
    let config = FeedConfig { bar_seconds: std::num::NonZeroU32::new(86_400), ..FeedConfig::default() };
    let sample = feed(text.as_bytes(), &config).next().unwrap().unwrap();
    let start = UnixNanos(946_857_600_000_000_000);
    let prices = [1_000, 1_250, 900, 1_100].map(PriceTicks);
    let [open, high, low, close] = prices;
    let bar = Bar {
        instrument: InstrumentId(3),
        start,
        seconds: 86_400,
        open,
        high,
        low,
        close,
        volume: Lots(3_000),
        trades: 0,
    };
    assert_eq!(sample.bar, Some(bar));
    let tick = sample.tick;
    assert_eq!(
        (tick.event_time, tick.last_price, tick.volume, tick.marks),
        (start, close, Lots(3_000), Marks::TRADE)
    );
    assert_eq!(only("date,open,high,low,close\n2000-01-03,10,12.5,9,11").tick.volume, Lots::ZERO);
}

#[test]
fn numbers_of_rows_count_dropped_rows_and_not_empty_lines() {
    let rows = read("timestamp,price,qty\r\n1,1,1\r\n\r\n2,bad,1\r\n3,1,1");
    let seqs: Vec<_> = rows.iter().map(|row| row.as_ref().ok().map(|sample| sample.tick.seq)).collect();
    assert_eq!(seqs, [Some(0), None, Some(2)]);
    assert_eq!(
        rows[1].as_ref().unwrap_err().to_string(),
        "x.csv:4: price is \"bad\", expected a decimal number"
    );
}

#[test]
fn every_fault_of_a_trade_is_named_with_its_line() {
    use FaultCode::*;
    let cases = [
        ("1,NaN,1", NotANumber),
        ("1,nan,1", NotANumber),
        ("1,null,1", NotANumber),
        ("1,0x10,1", NotANumber),
        ("1,inf,1", Infinite),
        ("1,1,-Infinity", Infinite),
        ("1,0.00,1", Zero),
        ("1,-0,1", Zero),
        ("1,1,0", Zero),
        ("1,-1,1", Negative),
        ("1,1,-0.5", Negative),
        ("1,1.005,1", OffStep),
        ("1,1,0.0001", OffStep),
        ("1,1e308,1", OutOfRange),
        ("1,1,999999999999999999999", OutOfRange),
        ("1,,1", MissingField),
        ("1,1,", MissingField),
        (",1,1", MissingField),
        ("soon,1,1", BadTimestamp),
        ("2023-02-30,1,1", BadTimestamp),
        ("1,1", ColumnCount),
        ("1,1,1,1", ColumnCount),
        ("1,1,1,", ColumnCount),
        ("\"1\",1,1", Quoted),
        ("1,\"1,5\",1", Quoted),
        ("1,1,\"1\"", Quoted),
    ];
    for (row, code) in cases {
        let text = format!("timestamp,price,qty\n1,1,1\n{row}\n2,1,1\n");
        assert_eq!(faults(&text), [(code, 3)], "{row}");
        assert_eq!(read(&text).len(), 3, "{row}");
    }
}

#[test]
fn every_fault_of_a_quote_or_bar_is_named_with_its_line() {
    use FaultCode::*;
    for (row, code) in [("1,0,0", Zero), ("1,,", MissingField), ("1,-1,2", Negative), ("1,1,NaN", NotANumber)]
    {
        assert_eq!(faults(&format!("timestamp,bid,ask\n{row}")), [(code, 2)], "{row}");
    }
    let cases = [
        ("1,10,9,8,9,1", InconsistentBar),
        ("1,10,12,11,12,1", InconsistentBar),
        ("1,10,8,12,10,1", InconsistentBar),
        ("1,0,12,9,11,1", Zero),
        ("1,10,12,9,11,-1", Negative),
        ("1,10,12,9,11,", MissingField),
        ("1,10,12,9,,1", MissingField),
        ("1,10,12,inf,11,1", Infinite),
    ];
    for (row, code) in cases {
        assert_eq!(faults(&format!("timestamp,open,high,low,close,volume\n{row}")), [(code, 2)], "{row}");
    }
}

#[test]
fn a_line_above_the_limit_is_dropped_and_the_next_one_read() {
    let text = format!("timestamp,price,qty\n1,1,{}\n2,1,1\n", "1".repeat(20_000));
    assert_eq!(faults(&text), [(FaultCode::LineTooLong, 2)]);
    assert_eq!(read(&text).len(), 2);
}

#[test]
fn off_step_numbers_are_rounded_when_the_config_says_so() {
    let config = FeedConfig { off_step: OffStep::RoundHalfEven, ..FeedConfig::default() };
    let text = b"timestamp,price,qty\n1,1455.219971,1\n2,1.005,1\n3,0.004,1\n4,1,0.0005\n";
    let rows: Vec<_> = feed(text, &config).collect();
    let price = |row: usize| rows[row].as_ref().unwrap().tick.last_price.0;
    assert_eq!((price(0), price(1)), (145_522, 100));
    for row in [2, 3] {
        let error = rows[row].as_ref().unwrap_err();
        assert!(error.to_string().ends_with("rounds to zero, expected a number above zero"), "{error}");
    }
}

#[test]
fn a_feed_that_breaks_off_says_so_and_ends() {
    struct Failing(bool);
    impl Read for Failing {
        fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
            if std::mem::replace(&mut self.0, true) {
                return Err(io::Error::other("the disk is gone"));
            }
            (&mut &b"timestamp,price,qty\n1,1,1\n2,"[..]).read(out)
        }
    }
    let instrument = instrument("1", "1");
    let feed =
        CsvFeed::new(Failing(false), "x.csv".into(), &instrument, InstrumentId(0), &FeedConfig::default());
    let rows: Vec<_> = feed.unwrap().collect();
    assert!(rows[0].is_ok());
    let message = rows[1].as_ref().unwrap_err().to_string();
    assert!(message.starts_with("x.csv: reading failed after line 2 (the disk is gone)"), "{message}");
    assert_eq!(rows.len(), 2);
}

#[test]
fn files_that_cannot_be_data_are_refused_before_the_first_row() {
    let open = |text: &str, tick_size: &str| {
        let instrument = instrument(tick_size, "1");
        CsvFeed::new(text.as_bytes(), "x.csv".into(), &instrument, InstrumentId(0), &FeedConfig::default())
            .unwrap_err()
    };
    assert!(matches!(open("", "1"), FeedError::Empty { .. }));
    assert!(matches!(open("PK\x03\x04\0\0", "1"), FeedError::UnknownHeader { .. }));
    assert!(matches!(open(&"x".repeat(20_000), "1"), FeedError::HeaderTooLong { .. }));
    assert!(matches!(open("timestamp,price,qty", "1.234567890123456789"), FeedError::Step { .. }));
}

#[test]
fn a_missing_file_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("none.csv");
    let error =
        FileFeed::open(&path, &instrument("1", "1"), InstrumentId(0), &FeedConfig::default()).unwrap_err();
    assert!(error.to_string().starts_with(&path.display().to_string()), "{error}");
    let error = FileFeed::open(folder.path(), &instrument("1", "1"), InstrumentId(0), &FeedConfig::default());
    assert!(error.is_err(), "a folder is no file");
}

#[test]
fn a_file_knows_its_length_and_how_much_of_it_was_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("trades.csv");
    std::fs::write(&path, "timestamp,price,qty\n1,1,1\n").unwrap();
    let mut feed =
        FileFeed::open(&path, &instrument("1", "1"), InstrumentId(0), &FeedConfig::default()).unwrap();
    assert_eq!(feed.by_ref().filter(Result::is_ok).count(), 1);
    assert_eq!((feed.bytes_read(), feed.bytes_total()), (26, Some(26)));
}

#[test]
fn an_unknown_setting_is_refused_and_none_means_the_defaults() {
    assert_eq!(toml::from_str::<FeedConfig>("").unwrap(), FeedConfig::default());
    let set = "format = \"quotes\"\noff_step = \"round-half-even\"\nbar_seconds = 60\nline_bytes_max = 100";
    assert_eq!(toml::from_str::<FeedConfig>(set).unwrap().format, FeedFormat::Quotes);
    assert!(toml::from_str::<FeedConfig>("offstep = \"refuse\"").is_err());
}

proptest! {
    #[test]
    fn any_bytes_are_rows_or_faults(text in prop::collection::vec(any::<u8>(), 0..400), kind in 0_usize..3) {
        let header = ["timestamp,price,qty\n", "time,bid,ask,ask_size\n", "date,open,high,low,close,volume\n"][kind];
        let bytes = [header.as_bytes(), &text].concat();
        for sample in feed(&bytes, &FeedConfig::default()).flatten() {
            prop_assert!(sample.tick.mark_price().is_some());
        }
        let _ = CsvFeed::new(&text[..], "x".into(), &instrument("1", "1"), InstrumentId(0), &FeedConfig::default());
    }

    #[test]
    fn written_trades_read_back(rows in prop::collection::vec((0_u64..1 << 50, 1_i64..1 << 50, 1_i64..1 << 50), 0..50)) {
        let mut text = String::from("qty,timestamp_ns,price\n");
        for (time, price, lots) in &rows {
            text += &format!("{},{time},{}\n", Decimal::new(*lots, 3), Decimal::new(*price, 2));
        }
        let read: Vec<_> = read(&text)
            .into_iter()
            .map(|row| row.unwrap().tick)
            .map(|tick| (tick.event_time.0, tick.last_price.0, tick.last_size.0))
            .collect();
        prop_assert_eq!(read, rows);
    }
}
