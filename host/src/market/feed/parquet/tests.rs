//! Parquet against CSV of the same rows.

use super::super::{FeedConfig, FeedError, FileFeed, RowError, Sample, Survey};
use crate::market::{Instrument, InstrumentId, InstrumentKind, Lots};
use crate::resilience::{Class, Classified as _};
use parquet::basic::{BrotliLevel, Compression, GzipLevel, ZstdLevel};
use parquet::column::writer::ColumnWriter;
use parquet::data_type::{ByteArray, FixedLenByteArray};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use proptest::prelude::*;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tempfile::TempDir;

/// A column: how the schema has it, and its values.
struct Col {
    schema: String,
    values: Values,
}

enum Values {
    I32(Vec<Option<i32>>),
    I64(Vec<Option<i64>>),
    F32(Vec<Option<f32>>),
    F64(Vec<Option<f64>>),
    Text(Vec<Option<String>>),
    Fixed(Vec<Option<i128>>),
}

impl Values {
    fn rows(&self) -> usize {
        match self {
            Self::I32(values) => values.len(),
            Self::I64(values) => values.len(),
            Self::F32(values) => values.len(),
            Self::F64(values) => values.len(),
            Self::Text(values) => values.len(),
            Self::Fixed(values) => values.len(),
        }
    }
}

fn col(schema: &str, values: Values) -> Col {
    Col { schema: schema.to_owned(), values }
}

fn instrument() -> Instrument {
    Instrument {
        symbol: "X".into(),
        venue: "test".into(),
        kind: InstrumentKind::Spot,
        quote_currency: "USD".into(),
        multiplier: "1".parse().unwrap(),
        tick_size: "0.01".parse().unwrap(),
        lot_size: "0.001".parse().unwrap(),
        min_lots: Lots(1),
        max_lots: Lots(i64::MAX),
    }
}

/// Writes the rows in groups of `group` rows.
fn write(path: &Path, columns: &[Col], group: usize, compression: Compression) {
    let end = |schema: &str| if schema.ends_with('}') { "" } else { ";" };
    let fields: String =
        columns.iter().map(|column| format!("{}{}", column.schema, end(&column.schema))).collect();
    let schema = Arc::new(parse_message_type(&format!("message rows {{ {fields} }}")).unwrap());
    let properties =
        WriterProperties::builder().set_compression(compression).set_data_page_row_count_limit(100);
    let file = File::create(path).unwrap();
    let mut writer = SerializedFileWriter::new(file, schema, Arc::new(properties.build())).unwrap();
    let rows = columns[0].values.rows();
    for start in (0..rows).step_by(group.max(1)) {
        let end = rows.min(start + group);
        let mut group = writer.next_row_group().unwrap();
        for column in columns {
            let mut open = group.next_column().unwrap().unwrap();
            macro_rules! put {
                ($writer:ident, $values:ident, $convert:expr) => {{
                    let part = &$values[start..end];
                    let levels: Vec<i16> = part.iter().map(|value| i16::from(value.is_some())).collect();
                    let there: Vec<_> = part.iter().flatten().map($convert).collect();
                    let levels = column.schema.starts_with("optional").then_some(&levels[..]);
                    $writer.write_batch(&there, levels, None).unwrap();
                }};
            }
            match (open.untyped(), &column.values) {
                (ColumnWriter::Int32ColumnWriter(to), Values::I32(values)) => {
                    put!(to, values, |value| *value)
                }
                (ColumnWriter::Int64ColumnWriter(to), Values::I64(values)) => {
                    put!(to, values, |value| *value)
                }
                (ColumnWriter::FloatColumnWriter(to), Values::F32(values)) => {
                    put!(to, values, |value| *value)
                }
                (ColumnWriter::DoubleColumnWriter(to), Values::F64(values)) => {
                    put!(to, values, |value| *value)
                }
                (ColumnWriter::ByteArrayColumnWriter(to), Values::Text(values)) => {
                    put!(to, values, |value| ByteArray::from(value.as_str()))
                }
                (ColumnWriter::FixedLenByteArrayColumnWriter(to), Values::Fixed(values)) => {
                    put!(to, values, |value: &i128| FixedLenByteArray::from(value.to_be_bytes().to_vec()))
                }
                _ => panic!("{} has values of another type", column.schema),
            }
            open.close().unwrap();
        }
        group.close().unwrap();
    }
    writer.close().unwrap();
}

/// What a file gives: samples, and codes of what was dropped.
fn read(path: &Path, config: &FeedConfig) -> Result<Vec<Result<Sample, String>>, FeedError> {
    let feed = FileFeed::open(path, &instrument(), InstrumentId(0), config)?;
    feed.map(|row| match row {
        Ok(sample) => Ok(Ok(sample)),
        Err(RowError::Dropped(fault)) => Ok(Err(format!("{} {}", fault.code(), fault.kind))),
        Err(RowError::Broken(error)) => Err(error),
    })
    .collect()
}

fn csv(dir: &TempDir, text: &str) -> PathBuf {
    let path = dir.path().join("rows.csv");
    std::fs::write(&path, text).unwrap();
    path
}

const START: i64 = 1_723_161_600_000_000_000;

/// Prices and quantities of trades, some of them no good.
fn trades(rows: usize) -> (String, Vec<i64>, Vec<String>, Vec<String>) {
    let mut text = String::from("ts_ns,price,qty\n");
    let (mut stamps, mut prices, mut quantities) = (Vec::new(), Vec::new(), Vec::new());
    for row in 0..rows {
        let stamp = START + row as i64 * 1_000_000_000;
        let price = match row % 50 {
            7 => "0".to_owned(),
            11 => "-1.5".to_owned(),
            13 => "61685.995".to_owned(),
            _ => format!("{}.{:02}", 61_685 + row % 7, row * 37 % 100),
        };
        let quantity = if row % 50 == 17 { "0".to_owned() } else { format!("0.{:03}", 1 + row % 999) };
        text.push_str(&format!("{stamp},{price},{quantity}\n"));
        stamps.push(stamp);
        prices.push(price);
        quantities.push(quantity);
    }
    (text, stamps, prices, quantities)
}

fn doubles(texts: &[String]) -> Values {
    Values::F64(texts.iter().map(|text| text.parse().ok()).collect())
}

fn scaled(texts: &[String], scale: u32) -> Vec<i128> {
    let exact = |text: &String| {
        let mut decimal: rust_decimal::Decimal = text.parse().unwrap();
        decimal.rescale(scale);
        decimal.mantissa()
    };
    texts.iter().map(exact).collect()
}

#[test]
fn trades_are_the_same_as_in_csv_however_their_numbers_are_kept() {
    let dir = TempDir::new().unwrap();
    let (text, stamps, prices, quantities) = trades(20_000);
    let expected = read(&csv(&dir, &text), &FeedConfig::default()).unwrap();
    assert!(expected.iter().filter(|row| row.is_err()).count() > 1_000);

    let nanos = || Values::I64(stamps.iter().copied().map(Some).collect());
    let texts = |texts: &[String]| Values::Text(texts.iter().cloned().map(Some).collect());
    let whole = |texts: &[String]| {
        Values::I64(scaled(texts, 4).iter().map(|digits| i64::try_from(*digits).ok()).collect())
    };
    let short = |texts: &[String]| {
        Values::I32(scaled(texts, 3).iter().map(|digits| i32::try_from(*digits).ok()).collect())
    };
    let wide = |texts: &[String]| Values::Fixed(scaled(texts, 10).into_iter().map(Some).collect());
    let kinds = [
        vec![
            col("required int64 ts_ns", nanos()),
            col("required double price", doubles(&prices)),
            col("required double qty", doubles(&quantities)),
        ],
        vec![
            col("optional int64 timestamp (timestamp(nanos,true))", nanos()),
            col("optional int64 price (decimal(18,4))", whole(&prices)),
            col("optional int32 qty (decimal(9,3))", short(&quantities)),
        ],
        vec![
            col("required fixed_len_byte_array(16) price (decimal(38,10))", wide(&prices)),
            col("required binary size (string)", texts(&quantities)),
            col("required int64 event_time (timestamp(nanos,false))", nanos()),
        ],
    ];
    let compressions = [
        Compression::SNAPPY,
        Compression::ZSTD(ZstdLevel::default()),
        Compression::GZIP(GzipLevel::default()),
        Compression::LZ4_RAW,
        Compression::BROTLI(BrotliLevel::default()),
        Compression::UNCOMPRESSED,
    ];
    for (number, columns) in kinds.iter().enumerate() {
        for (group, compression) in [777, 9_000, 20_000].into_iter().zip(compressions.iter().skip(number)) {
            let path = dir.path().join("rows.parquet");
            write(&path, columns, group, *compression);
            let found = read(&path, &FeedConfig::default()).unwrap();
            assert_eq!(found.len(), expected.len());
            for (row, (found, expected)) in found.iter().zip(&expected).enumerate() {
                let same = match (found, expected) {
                    (Ok(found), Ok(expected)) => found == expected,
                    // A decimal has zeros at its end that the text has not.
                    (Err(found), Err(expected)) => found.split(' ').next() == expected.split(' ').next(),
                    _ => false,
                };
                assert!(same, "row {row} of kind {number}, {compression}: {found:?}, expected {expected:?}");
            }
        }
    }
}

#[test]
fn quotes_and_bars_with_nothing_in_some_cells() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("rows.parquet");
    let millis = || Values::I64((0..4).map(|row| Some(START / 1_000_000 + row)).collect());
    let quotes = [
        col("required int64 timestamp (timestamp(millis,true))", millis()),
        col("optional double bid", Values::F64(vec![Some(1.25), None, None, Some(f64::NAN)])),
        col("optional float ask", Values::F32(vec![Some(1.3), Some(1.3), None, Some(1.0)])),
        col("optional double bid_size", Values::F64(vec![Some(0.001), None, None, None])),
    ];
    write(&path, &quotes, 2, Compression::SNAPPY);
    let text = format!(
        "ts_ms,bid,ask,bid_size\n{0},1.25,1.3,0.001\n{1},,1.3,\n{2},,,\n{3},NaN,1,\n",
        START / 1_000_000,
        START / 1_000_000 + 1,
        START / 1_000_000 + 2,
        START / 1_000_000 + 3
    );
    let config = FeedConfig::default();
    assert_eq!(read(&path, &config).unwrap(), read(&csv(&dir, &text), &config).unwrap());

    let prices = |first: f64| Values::F64((0..4).map(|row| Some(first + f64::from(row))).collect());
    let bars = [
        col("required int32 date (date)", Values::I32((0..4).map(|day| Some(19_944 + day)).collect())),
        col("required double open", prices(10.5)),
        col("required double high", Values::F64(vec![Some(20.0), Some(5.0), Some(20.0), Some(20.0)])),
        col("required double low", prices(9.25)),
        col("required double close", prices(11.0)),
        col("required int64 volume (integer(64,false))", Values::I64(vec![Some(931_800_000); 4])),
    ];
    write(&path, &bars, 4, Compression::SNAPPY);
    let text = "date,open,high,low,close,volume\n2024-08-09,10.5,20,9.25,11,931800000\n2024-08-10,11.5,5,10.25,12,931800000\n\
                2024-08-11,12.5,20,11.25,13,931800000\n2024-08-12,13.5,20,12.25,14,931800000\n";
    let found = read(&path, &config).unwrap();
    assert_eq!(found, read(&csv(&dir, text), &config).unwrap());
    assert_eq!(found.iter().filter(|row| row.is_ok()).count(), 3);
}

#[test]
fn steps_are_derived_as_from_csv() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("rows.parquet");
    let (text, stamps, prices, quantities) = trades(2_000);
    let nanos = || Values::I64(stamps.iter().copied().map(Some).collect());
    let columns = [
        col("required int64 ts_ns", nanos()),
        col("required double price", doubles(&prices)),
        col("required double qty", doubles(&quantities)),
    ];
    write(&path, &columns, 500, Compression::SNAPPY);
    let config = FeedConfig::default();
    let survey = Survey::of(&path, &config).unwrap();
    assert_eq!(survey, Survey::of(&csv(&dir, &text), &config).unwrap());
    assert_eq!((survey.price_decimals, survey.quantity_decimals), (3, 3));
}

#[test]
fn what_cannot_be_read_is_said_by_name() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("rows.parquet");
    let stamp = || col("required int64 ts_ns", Values::I64(vec![Some(START)]));
    let price = |schema: &str| col(schema, Values::I64(vec![Some(1)]));
    let refusal = |columns: &[Col]| {
        write(&path, columns, 1, Compression::SNAPPY);
        let error = read(&path, &FeedConfig::default()).unwrap_err();
        assert_eq!(error.class(), Class::Data);
        error.to_string()
    };
    let words =
        refusal(&[stamp(), price("required int64 price (time(nanos,true))"), price("required int64 qty")]);
    assert!(words.contains("the column \"price\" holds"), "{words}");
    // More decimals than any number here has: what writes one out must not be asked to.
    let endless = col("required binary price (decimal(100000,99999))", Values::Text(vec![Some("7".into())]));
    let words = refusal(&[stamp(), endless, price("required int64 qty")]);
    assert!(words.contains("the column \"price\" holds"), "{words}");
    let words = refusal(&[stamp(), price("required int64 cost"), price("required int64 qty")]);
    assert!(words.contains("found \"ts_ns,cost,qty\""), "{words}");
    // A column of the right name inside of a group is not the price.
    let nested = price("required group inner { required int64 price; }");
    let words = refusal(&[stamp(), nested, price("required int64 qty")]);
    assert!(words.contains("ts_ns,_,qty"), "{words}");
}

fn sound() -> Vec<u8> {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("rows.parquet");
    let (_, stamps, prices, quantities) = trades(300);
    let columns = [
        col("required int64 ts_ns", Values::I64(stamps.iter().copied().map(Some).collect())),
        col("optional double price", doubles(&prices)),
        col("optional binary qty (string)", Values::Text(quantities.into_iter().map(Some).collect())),
    ];
    write(&path, &columns, 100, Compression::SNAPPY);
    std::fs::read(path).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]
    #[test]
    fn damage_never_panics_and_never_gives_more_rows_than_there_were(
        flips in proptest::collection::vec((any::<proptest::sample::Index>(), 1_u8..), 0..4),
        cut in proptest::option::of(any::<proptest::sample::Index>()),
    ) {
        let mut bytes = sound();
        for (at, mask) in &flips {
            let at = at.index(bytes.len());
            bytes[at] ^= mask;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("rows.parquet");
        std::fs::write(&path, &bytes).unwrap();
        let _ = Survey::of(&path, &FeedConfig::default());
        let Ok(feed) = FileFeed::open(&path, &instrument(), InstrumentId(0), &FeedConfig::default()) else { return Ok(()) };
        let mut rows = 0;
        for row in feed.take(10_000) {
            rows += 1;
            if matches!(row, Err(RowError::Broken(_))) {
                break;
            }
        }
        prop_assert!(rows < 10_000);
        if flips.is_empty() && cut.is_none() {
            prop_assert_eq!(rows, 300);
        }
    }
}
