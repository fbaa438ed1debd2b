//! How fast market data becomes ticks: the CSV reader against the least that any reader must do, which is to find
//! the line ends; and the market check by itself.
//!
//! `cargo bench -p ringfence --bench market`
#![expect(clippy::expect_used, reason = "a benchmark of bad input would measure nothing")]

use divan::counter::{BytesCount, ItemsCount};
use divan::{Bencher, black_box};
use parquet::basic::Compression;
use parquet::column::writer::ColumnWriter;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use ringfence::market::{
    CheckConfig, CsvFeed, FeedConfig, FileFeed, Instrument, InstrumentId, InstrumentKind, Lots, MarketCheck,
    Marks, Now, PriceTicks, Tick, UnixNanos,
};
use ringfence::random::SplitMix64;
use rust_decimal::Decimal;
use std::fmt::Write as _;
use std::fs::File;
use std::path::Path;
use std::sync::{Arc, LazyLock};

const FILE_BYTES: usize = 64 * 1024 * 1024;
const EVENTS: usize = 1_000_000;

static TRADES: LazyLock<Vec<u8>> = LazyLock::new(|| {
    file("timestamp,trade_id,price,qty,buyer_is_maker", |text, row, random| {
        let (price, lots) = (6_000_000 + random.below(100_000), 1 + random.below(1_000_000));
        let time = 1_723_161_600_000 + row * 29;
        write!(
            text,
            "{time},{},{}.{:02}000000,{}.{:05}000,{}",
            3_735_693_016 + row,
            price / 100,
            price % 100,
            lots / 100_000,
            lots % 100_000,
            random.below(2)
        )
    })
});

static QUOTES: LazyLock<Vec<u8>> = LazyLock::new(|| {
    file("timestamp,bid,bid_qty,ask,ask_qty", |text, row, random| {
        let (price, lots) = (6_000_000 + random.below(100_000), 1 + random.below(99_999));
        let (whole, cents) = (price / 100, price % 100);
        let time = 1_723_161_600_000_000_000 + row * 6_647_123;
        write!(text, "{time},{whole}.{cents:02},0.{lots:05},{}.{cents:02},1.{lots:05}", whole + 1)
    })
});

static BARS: LazyLock<Vec<u8>> = LazyLock::new(|| {
    file("date,open,high,low,close,volume", |text, row, random| {
        let (open, close) = (1_000 + random.below(2_000), 1_000 + random.below(2_000));
        let (high, low) = (open.max(close) + 1, open.min(close) - 1);
        let stamp = UnixNanos((946_857_600 + row * 60) * 1_000_000_000);
        write!(text, "{stamp},{open}.25,{high}.50,{low}.75,{close}.00,{}", random.below(1_000_000_000))
    })
});

type WriteRow = fn(&mut String, u64, &mut SplitMix64) -> std::fmt::Result;

fn file(header: &str, write_row: WriteRow) -> Vec<u8> {
    let mut random = SplitMix64(1);
    let mut text = String::with_capacity(FILE_BYTES + 1_024);
    text.push_str(header);
    let mut row = 0;
    while text.len() < FILE_BYTES {
        text.push('\n');
        write_row(&mut text, row, &mut random).expect("a string takes everything");
        row += 1;
    }
    text.into_bytes()
}

fn instrument() -> Instrument {
    Instrument {
        symbol: "BTCUSDT".into(),
        venue: "bench".into(),
        kind: InstrumentKind::Spot,
        quote_currency: "USDT".into(),
        multiplier: Decimal::ONE,
        tick_size: Decimal::new(1, 2),
        lot_size: Decimal::new(1, 5),
        min_lots: Lots(1),
        max_lots: Lots(i64::MAX),
    }
}

fn parse(bencher: Bencher<'_, '_>, file: &'static [u8]) {
    let (instrument, config) = (instrument(), FeedConfig::default());
    bencher.counter(BytesCount::of_slice(file)).bench(|| {
        let feed = CsvFeed::new(file, "bench".into(), &instrument, InstrumentId(0), &config);
        let mut count = 0_u64;
        for row in feed.expect("the header is understood") {
            black_box(&row.expect("every row is good").tick);
            count += 1;
        }
        count
    });
}

#[divan::bench]
fn trades(bencher: Bencher<'_, '_>) {
    parse(bencher, &TRADES);
}

#[divan::bench]
fn quotes(bencher: Bencher<'_, '_>) {
    parse(bencher, &QUOTES);
}

#[divan::bench]
fn bars(bencher: Bencher<'_, '_>) {
    parse(bencher, &BARS);
}

/// The same trades in a file, as rows a second: Parquet has fewer bytes for them.
#[divan::bench(args = [Kept::Csv, Kept::ParquetDoubles, Kept::ParquetDecimals])]
fn rows_of_trades(bencher: Bencher<'_, '_>, kept: Kept) {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let path = dir.path().join("BTCUSDT");
    let rows = kept.write(&path);
    let (instrument, config) = (instrument(), FeedConfig::default());
    bencher.counter(ItemsCount::new(rows)).bench(|| {
        let feed =
            FileFeed::open(&path, &instrument, InstrumentId(0), &config).expect("the columns are understood");
        let good = feed.filter(|row| black_box(row).is_ok()).count();
        assert_eq!(good, rows);
    });
}

/// How a file keeps its rows.
#[derive(Clone, Copy, Debug)]
enum Kept {
    Csv,
    /// As most programs write them.
    ParquetDoubles,
    ParquetDecimals,
}

impl Kept {
    /// Writes [`TRADES`]; says how many rows there are.
    fn write(self, path: &Path) -> usize {
        let text = std::str::from_utf8(&TRADES).expect("digits");
        let rows: Vec<Vec<&str>> = text.lines().skip(1).map(|line| line.split(',').collect()).collect();
        let schema = match self {
            Self::Csv => {
                std::fs::write(path, text).expect("room on the disk");
                return rows.len();
            }
            Self::ParquetDoubles => "required double price; required double qty;",
            Self::ParquetDecimals => {
                "required int64 price (decimal(18,8)); required int64 qty (decimal(18,8));"
            }
        };
        let schema =
            format!("message rows {{ required int64 timestamp (timestamp(millis,true)); {schema} }}");
        let schema = parse_message_type(&schema).expect("a schema");
        let properties = WriterProperties::builder().set_compression(Compression::SNAPPY).build();
        let file = File::create(path).expect("a file");
        let mut writer =
            SerializedFileWriter::new(file, Arc::new(schema), Arc::new(properties)).expect("a writer");
        for part in rows.chunks(1_000_000) {
            let mut group = writer.next_row_group().expect("a row group");
            for column in [0, 2, 3] {
                let mut open = group.next_column().expect("a column").expect("another one");
                match open.untyped() {
                    ColumnWriter::DoubleColumnWriter(to) => {
                        let values: Vec<f64> =
                            part.iter().map(|row| row[column].parse().expect("a number")).collect();
                        to.write_batch(&values, None, None).expect("room on the disk");
                    }
                    ColumnWriter::Int64ColumnWriter(to) => {
                        let whole = |text: &str| text.replace('.', "").parse().expect("a number");
                        let values: Vec<i64> = part.iter().map(|row| whole(row[column])).collect();
                        to.write_batch(&values, None, None).expect("room on the disk");
                    }
                    _ => unreachable!("the schema has no other columns"),
                }
                open.close().expect("room on the disk");
            }
            group.close().expect("room on the disk");
        }
        writer.close().expect("room on the disk");
        rows.len()
    }
}

#[divan::bench]
fn baseline_lines_of_trades(bencher: Bencher<'_, '_>) {
    let file: &[u8] = &TRADES;
    bencher.counter(BytesCount::of_slice(file)).bench(|| memchr::memchr_iter(b'\n', black_box(file)).count());
}

#[divan::bench]
fn baseline_each_line_of_trades(bencher: Bencher<'_, '_>) {
    let file: &[u8] = &TRADES;
    bencher.counter(BytesCount::of_slice(file)).bench(|| {
        let mut first = 0;
        for end in memchr::memchr_iter(b'\n', black_box(file)) {
            black_box(file.get(first..end));
            first = end + 1;
        }
    });
}

#[divan::bench]
fn check(bencher: Bencher<'_, '_>) {
    let mut random = SplitMix64(1);
    let ticks: Vec<Tick> = (0..EVENTS as u64)
        .map(|event| Tick {
            event_time: UnixNanos(event),
            last_price: PriceTicks(1_000_000 + random.below(1_000) as i64),
            last_size: Lots(1),
            marks: Marks::TRADE,
            ..Tick::default()
        })
        .collect();
    bencher.counter(ItemsCount::new(EVENTS)).bench(|| {
        let mut check = MarketCheck::new(CheckConfig::default(), 1);
        for tick in &ticks {
            check.admit(Now::default(), black_box(tick)).expect("every tick is plausible");
        }
        check
    });
}

fn main() {
    divan::main();
}
