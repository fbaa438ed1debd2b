//! Files that are packed, without a header, or captured raw.

use super::csv::tests::instrument;
use super::*;
use crate::market::{FaultCode, Instrument, InstrumentId, Marks};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

const TRADES: &str = "timestamp,price,qty\n1723161601437,10.25,3\n1723161601498,10.5,1\n";

fn open(path: &Path) -> Result<FileFeed, FeedError> {
    FileFeed::open(path, &instrument("0.01", "0.001"), InstrumentId(0), &FeedConfig::default())
}

/// Stamp in milliseconds, price and size of each row.
fn rows(path: &Path) -> Vec<(u64, i64, i64)> {
    let row = |row: Result<Sample, RowError>| {
        let tick = row.unwrap().tick;
        (tick.event_time.0 / 1_000_000, tick.last_price.0, tick.last_size.0)
    };
    open(path).unwrap().map(row).collect()
}

fn write(dir: &TempDir, name: &str, bytes: &[u8]) -> PathBuf {
    let path = dir.path().join(name);
    std::fs::write(&path, bytes).unwrap();
    path
}

fn gz(text: &str) -> Vec<u8> {
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    packed.write_all(text.as_bytes()).unwrap();
    packed.finish().unwrap()
}

/// A zip archive of these members, deflated, written by hand as the format's specification has it.
fn zip(members: &[(&str, &str)]) -> Vec<u8> {
    let (mut archive, mut directory) = (Vec::new(), Vec::new());
    for (name, text) in members {
        let mut deflate = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::default());
        deflate.write_all(text.as_bytes()).unwrap();
        let packed = deflate.finish().unwrap();
        let mut crc = flate2::Crc::new();
        crc.update(text.as_bytes());
        let mut common = Vec::new();
        for half in [20_u16, 0, 8, 0, 0x21] {
            common.extend(half.to_le_bytes());
        }
        for word in [crc.sum(), packed.len() as u32, text.len() as u32] {
            common.extend(word.to_le_bytes());
        }
        common.extend((name.len() as u16).to_le_bytes());
        common.extend(0_u16.to_le_bytes());
        let offset = archive.len() as u32;
        archive.extend(b"PK\x03\x04");
        archive.extend(&common);
        archive.extend(name.as_bytes());
        archive.extend(&packed);
        directory.extend(b"PK\x01\x02\x14\x00");
        directory.extend(&common);
        directory.extend([0; 10]);
        directory.extend(offset.to_le_bytes());
        directory.extend(name.as_bytes());
    }
    let (start, length, count) = (archive.len() as u32, directory.len() as u32, members.len() as u16);
    archive.extend(&directory);
    archive.extend(b"PK\x05\x06\0\0\0\0");
    archive.extend(count.to_le_bytes());
    archive.extend(count.to_le_bytes());
    archive.extend(length.to_le_bytes());
    archive.extend(start.to_le_bytes());
    archive.extend([0, 0]);
    archive
}

const EXPECTED: [(u64, i64, i64); 2] = [(1_723_161_601_437, 1_025, 3_000), (1_723_161_601_498, 1_050, 1_000)];

#[test]
fn a_file_is_read_the_same_however_it_is_packed_and_called() {
    let dir = TempDir::new().unwrap();
    for (name, bytes) in [
        ("a.csv", TRADES.as_bytes().to_vec()),
        ("a.csv.gz", gz(TRADES)),
        ("gz-without-the-name", gz(TRADES)),
        ("a.zip", zip(&[("a.csv", TRADES)])),
    ] {
        let path = write(&dir, name, &bytes);
        assert_eq!(rows(&path), EXPECTED, "{name}");
        let mut feed = open(&path).unwrap();
        feed.by_ref().for_each(drop);
        assert!(feed.bytes_read() <= bytes.len() as u64 && feed.bytes_read() > 0, "{name}");
        assert_eq!(feed.bytes_total(), Some(bytes.len() as u64), "{name}");
    }
    let two_parts =
        [gz("timestamp,price,qty\n1723161601437,10.25,3\n"), gz("1723161601498,10.5,1\n")].concat();
    assert_eq!(rows(&write(&dir, "two.gz", &two_parts)), EXPECTED, "gzip files one after the other are one");
}

#[test]
fn an_archive_that_is_damaged_or_ambiguous_says_so() {
    let dir = TempDir::new().unwrap();
    let several = write(&dir, "several.zip", &zip(&[("a.csv", TRADES), ("b.csv", TRADES)]));
    let error = open(&several).unwrap_err().to_string();
    assert!(error.contains("several.zip: there is more than one file"), "{error}");
    let empty = write(&dir, "empty.zip", &zip(&[]));
    assert!(open(&empty).unwrap_err().to_string().contains("no file in the archive"));

    let mut packed = gz(TRADES);
    packed.truncate(packed.len() - 12);
    let broken = write(&dir, "broken.gz", &packed);
    let last = open(&broken).and_then(|feed| {
        feed.last().unwrap().map(drop).map_err(|error| match error {
            RowError::Broken(error) => error,
            RowError::Dropped(fault) => panic!("{fault}"),
        })
    });
    assert!(matches!(last, Err(FeedError::Read { .. })), "{last:?}");

    let mut wrong = zip(&[("a.csv", TRADES)]);
    let crc = wrong.windows(4).rposition(|bytes| bytes == b"PK\x01\x02").unwrap() + 16;
    wrong[crc] ^= 1;
    let damaged = write(&dir, "wrong.zip", &wrong);
    let last = open(&damaged).unwrap().last().unwrap();
    assert!(last.unwrap_err().to_string().contains("checksum"), "a member is held to its checksum");
}

#[test]
fn the_public_dumps_are_read_with_and_without_their_headers() {
    let dir = TempDir::new().unwrap();
    let kline = "1723161600000,10.00,11.00,9.00,10.50,12.500,1723161659999,130.1,7,6.1,63.2,0\n";
    let header = "open_time,open,high,low,close,volume,close_time,quote_volume,count,taker_buy_volume,taker_buy_quote_volume,ignore\n";
    for (name, text) in [("k.csv", kline.to_owned()), ("kh.csv", format!("{header}{kline}"))] {
        let path = write(&dir, name, text.as_bytes());
        let sample = open(&path).unwrap().next().unwrap().unwrap();
        let bar = sample.bar.unwrap();
        assert_eq!(
            [bar.open.0, bar.high.0, bar.low.0, bar.close.0, bar.volume.0],
            [1_000, 1_100, 900, 1_050, 12_500]
        );
        assert_eq!(sample.tick.event_time.0, 1_723_161_600_000_000_000, "{name}");
    }
    let cases = [
        ("spot aggTrades", "", "26129,10.25,3.000,27781,27781,1723161601437,true,true\n"),
        ("futures aggTrades", "", "26129,10.25,3.000,27781,27781,1723161601437,False\n"),
        ("spot trades in microseconds", "", "28457,10.25,3.000,30.75,1723161601437000,true,true\n"),
        ("futures trades", "", "28457,10.25,3.000,30.75,1723161601437,true\n"),
        (
            "aggTrades with a header",
            "agg_trade_id,price,quantity,first_trade_id,last_trade_id,transact_time,is_buyer_maker\n",
            "26129,10.25,3.000,27781,27781,1723161601437,true\n",
        ),
        (
            "trades with a header",
            "id,price,qty,quote_qty,time,is_buyer_maker\n",
            "2,10.25,3.000,30.75,1723161601437,true\n",
        ),
    ];
    for (name, header, row) in cases {
        let path = write(&dir, "d.csv", format!("{header}{row}{row}").as_bytes());
        assert_eq!(rows(&path), [EXPECTED[0], EXPECTED[0]], "{name}");
    }
}

const CAPTURE: &str = r#"1723161600001692584 {"stream":"xyz@bookTicker","data":{"u":1,"s":"XYZ","b":"10.24","B":"1.5","a":"10.26","A":"2"}}
1723161600101692584 {"stream":"xyz@depth@100ms","data":{"e":"depthUpdate","E":1,"s":"XYZ","U":1,"u":2,"b":[["1","2"]],"a":[]}}
1723161600201692584 {"stream":"xyz@trade","data":{"e":"trade","E":1,"s":"XYZ","t":3,"p":"10.25","q":"0.5","T":1723161601437,"m":true,"M":true}}
1723161600301692584 {"e":"aggTrade","E":1,"s":"XYZ","a":3,"p":"10.26","q":"0.25","f":1,"l":1,"T":1,"m":true}
1723161600401692584 {"stream":"abc@trade","data":{"e":"trade","E":1,"s":"ABC","t":3,"p":"1","q":"1","T":1,"m":true}}
1723161600501692584 {"stream":"xyz@trade","data":{"e":"trade","s":"XYZ","p":"10.251","q":"1"}}
1723161600601692584 {"stream":
"#;

#[test]
fn a_capture_gives_the_quotes_and_trades_of_its_symbol_in_the_order_of_capture() {
    let dir = TempDir::new().unwrap();
    let path = write(&dir, "capture.gz", &gz(CAPTURE));
    let xyz = Instrument { symbol: "xyz".into(), ..instrument("0.01", "0.001") };
    let rows = |config: &FeedConfig| -> Vec<Result<Sample, RowError>> {
        FileFeed::open(&path, &xyz, InstrumentId(0), config).unwrap().collect()
    };
    let all = rows(&FeedConfig::default());
    let ticks: Vec<_> = all.iter().flatten().map(|sample| sample.tick).collect();
    assert_eq!(
        ticks.iter().map(|tick| tick.marks).collect::<Vec<_>>(),
        [Marks::QUOTE, Marks::TRADE, Marks::TRADE]
    );
    assert_eq!((ticks[0].bid_price.0, ticks[0].ask_size.0), (1_024, 2_000));
    assert_eq!((ticks[1].last_price.0, ticks[1].last_size.0), (1_025, 500));
    assert_eq!(ticks[2].event_time.0, 1_723_161_600_301_692_584);
    assert_eq!(ticks.iter().map(|tick| tick.seq).collect::<Vec<_>>(), [0, 1, 2]);
    let faults: Vec<_> = all.iter().filter_map(|row| row.as_ref().err()).map(ToString::to_string).collect();
    assert!(faults[0].contains("capture.gz:6") && faults[1].contains("capture.gz:7"), "{faults:?}");
    assert_eq!(faults.len(), 2);
    for (format, count) in [(FeedFormat::Trades, 2), (FeedFormat::Quotes, 1)] {
        let only = rows(&FeedConfig { format, ..FeedConfig::default() });
        assert_eq!(only.iter().flatten().count(), count, "{format:?}");
    }
    let bars = FeedConfig { format: FeedFormat::Bars, ..FeedConfig::default() };
    assert!(matches!(FileFeed::open(&path, &xyz, InstrumentId(0), &bars), Err(FeedError::NoBars { .. })));
    let survey = Survey::of(&path, &FeedConfig::default()).unwrap();
    assert_eq!((survey.price_decimals, survey.quantity_decimals), (3, 2));
    assert!(survey.symbols.iter().eq(["ABC", "XYZ"]));
}

#[test]
fn what_only_looks_like_a_dump_is_not_taken_for_one() {
    let dir = TempDir::new().unwrap();
    for line in ["1,2,3\n", "1,2,3,4,5\n", "a,2,3,4,5,true\n", "1,2,3,4,5,6,7,8,9,10,11,x\n"] {
        let path = write(&dir, "n.csv", line.as_bytes());
        assert!(matches!(open(&path), Err(FeedError::UnknownHeader { .. })), "{line}");
    }
    assert_eq!(FaultCode::BadMessage.name(), "bad_message");
}
