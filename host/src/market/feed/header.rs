//! What the columns of a file are, recognised by their names.

use super::{FeedError, FeedFormat};
use crate::market::stamp::StampUnit;
use crate::market::{Excerpt, Field};
use std::sync::Arc;

/// What the rows of a file are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RowKind {
    Bars,
    Trades,
    Quotes,
}

impl RowKind {
    const ALL: [Self; 3] = [Self::Bars, Self::Trades, Self::Quotes];

    const fn name(self) -> &'static str {
        match self {
            Self::Bars => "bars",
            Self::Trades => "trades",
            Self::Quotes => "quotes",
        }
    }

    /// The fields besides the timestamp in the order of their cells, and whether a file must have them.
    const fn fields(self) -> &'static [(Field, bool)] {
        match self {
            Self::Bars => &[
                (Field::Open, true),
                (Field::High, true),
                (Field::Low, true),
                (Field::Close, true),
                (Field::Volume, false),
            ],
            Self::Trades => &[(Field::Price, true), (Field::Quantity, true)],
            Self::Quotes => &[
                (Field::BidPrice, true),
                (Field::AskPrice, true),
                (Field::BidSize, false),
                (Field::AskSize, false),
            ],
        }
    }
}

/// Names of the columns that hold a timestamp, without a suffix of their unit. The first that a file has is
/// read: the source's own clock before the receiver's, and a moment before a day.
const STAMP_NAMES: [&str; 15] = [
    "exch_ts",
    "exchange_time",
    "exchange_timestamp",
    "event_time",
    "transact_time",
    "transaction_time",
    "trade_time",
    "timestamp",
    "datetime",
    "open_time",
    "time",
    "ts",
    "date",
    "local_ts",
    "local_timestamp",
];

const UNIT_SUFFIXES: [(&str, StampUnit); 4] = [
    ("_ns", StampUnit::Nanos),
    ("_us", StampUnit::Micros),
    ("_ms", StampUnit::Millis),
    ("_s", StampUnit::Seconds),
];

/// Names of the columns that hold a field; the first that a file has is read.
const fn names(field: Field) -> &'static [&'static str] {
    match field {
        Field::Timestamp => &STAMP_NAMES,
        Field::Price => &["price", "trade_price"],
        Field::Quantity => &["quantity", "qty", "size", "amount", "trade_size"],
        Field::Open => &["open"],
        Field::High => &["high"],
        Field::Low => &["low"],
        Field::Close => &["close"],
        Field::Volume => &["volume", "vol"],
        Field::BidPrice => &["bid", "bid_price", "best_bid_price", "best_bid"],
        Field::BidSize => {
            &["bid_size", "bid_qty", "bid_quantity", "bid_amount", "best_bid_qty", "best_bid_size"]
        }
        Field::AskPrice => &["ask", "ask_price", "best_ask_price", "best_ask"],
        Field::AskSize => {
            &["ask_size", "ask_qty", "ask_quantity", "ask_amount", "best_ask_qty", "best_ask_size"]
        }
    }
}

/// The headers that are understood, for messages.
pub(super) const UNDERSTOOD: &str = "a header line is needed, with columns separated by commas in any order: bars have timestamp (or date, time, \
     open_time), open, high, low, close and perhaps volume; trades have timestamp, price and quantity (or qty, size, amount); quotes have \
     timestamp, bid and ask (or bid_price, ask_price) and perhaps bid_size and ask_size; other columns are ignored";

/// Where a row holds what: for each column the cell that it goes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    pub(super) kind: RowKind,
    /// Unit of an integer timestamp, where the column's name says it.
    pub(super) stamp_unit: Option<StampUnit>,
    /// For each column of the file the position in [`Cells`]; columns that are ignored share the last one.
    pub(super) cell_of_column: Box<[u8]>,
    /// Whether bars have a volume; without the column it is zero, while an empty cell is a fault.
    pub(super) has_volume: bool,
}

/// Cells of a row: the timestamp, up to five fields, and one that nobody reads.
pub(super) const CELLS: usize = 7;

/// The cell of every column that is ignored.
const IGNORED: u8 = CELLS as u8 - 1;

/// The text of each field of a row; empty where the file has no such column.
pub(super) type Cells<'a> = [&'a [u8]; CELLS];

impl Layout {
    /// Recognises a header line.
    ///
    /// # Errors
    /// When it is not one of the headers that are understood, or could be two of them.
    pub(super) fn recognise(source: &Arc<str>, header: &[u8], format: FeedFormat) -> Result<Self, FeedError> {
        let header = header.strip_prefix(b"\xef\xbb\xbf").unwrap_or(header);
        let source = || Arc::clone(source);
        if header.contains(&b'"') {
            return Err(FeedError::QuotedHeader { source_name: source(), found: Excerpt::new(header) });
        }
        let columns: Vec<String> = header
            .split(|byte| *byte == b',')
            .map(|name| String::from_utf8_lossy(name.trim_ascii()).to_ascii_lowercase())
            .collect();
        let stamp = stamp_column(&columns);
        let has = |field| field_column(&columns, field).is_some();
        let fits = |kind: RowKind| kind.fields().iter().all(|(field, required)| !required || has(*field));
        let mut kinds = RowKind::ALL.into_iter().filter(|kind| format.admits(*kind) && fits(*kind));
        let (Some((stamp, stamp_unit)), Some(kind)) = (stamp, kinds.next()) else {
            return Err(FeedError::UnknownHeader { source_name: source(), found: Excerpt::new(header) });
        };
        if let Some(other) = kinds.next() {
            let kinds = [kind.name(), other.name()];
            return Err(FeedError::AmbiguousHeader { source_name: source(), kinds });
        }
        if ["date", "time"].iter().all(|name| columns.iter().any(|column| column == name))
            && columns.get(stamp).is_some_and(|name| name == "date" || name == "time")
        {
            return Err(FeedError::SplitTimestamp { source_name: source() });
        }
        let mut layout = Self {
            kind,
            stamp_unit,
            cell_of_column: vec![IGNORED; columns.len()].into(),
            has_volume: has(Field::Volume),
        };
        layout.assign(stamp, 0);
        for (cell, (field, _)) in (1..).zip(kind.fields()) {
            if let Some(column) = field_column(&columns, *field) {
                layout.assign(column, cell);
            }
        }
        for (column, name) in columns.iter().enumerate() {
            let used = layout.cell_of_column.get(column).is_some_and(|cell| *cell != IGNORED);
            if used && columns.iter().filter(|other| *other == name).count() > 1 {
                let found = Excerpt::new(name.as_bytes());
                return Err(FeedError::DuplicateColumn { source_name: source(), found });
            }
        }
        Ok(layout)
    }

    /// The layout of a public dump of Binance without a header, if a first line is one: klines, trades or
    /// aggregated trades.
    pub(super) fn of_dump(line: &[u8], format: FeedFormat) -> Option<Self> {
        let columns: Vec<&[u8]> = line.split(|byte| *byte == b',').map(<[u8]>::trim_ascii).collect();
        let is_number = |text: &[u8]| {
            text.first().is_some_and(u8::is_ascii_digit)
                && text.iter().all(|byte| byte.is_ascii_digit() || *byte == b'.')
        };
        let is_flag = |text: &[u8]| text.eq_ignore_ascii_case(b"true") || text.eq_ignore_ascii_case(b"false");
        let numbers = columns.iter().take_while(|text| is_number(text)).count();
        let flags = columns.iter().skip(numbers).take_while(|text| is_flag(text)).count();
        if numbers + flags != columns.len() {
            return None;
        }
        // Positions of the timestamp and of the fields, in the order of their cells.
        let (kind, places): (RowKind, &[usize]) = match (numbers, flags) {
            // open_time, open, high, low, close, volume, close_time, and five that are not read
            (12, 0) => (RowKind::Bars, &[0, 1, 2, 3, 4, 5]),
            // id, price, quantity, first id, last id, time, maker, best match
            (6, 1 | 2) => (RowKind::Trades, &[5, 1, 2]),
            // id, price, quantity, quote quantity, time, maker, best match
            (5, 1 | 2) => (RowKind::Trades, &[4, 1, 2]),
            _ => return None,
        };
        if !format.admits(kind) {
            return None;
        }
        let mut layout = Self {
            kind,
            stamp_unit: None,
            cell_of_column: vec![IGNORED; columns.len()].into(),
            has_volume: kind == RowKind::Bars,
        };
        for (cell, column) in (0..).zip(places) {
            layout.assign(*column, cell);
        }
        Some(layout)
    }

    fn assign(&mut self, column: usize, cell: u8) {
        if let Some(slot) = self.cell_of_column.get_mut(column) {
            *slot = cell;
        }
    }
}

fn field_column(columns: &[String], field: Field) -> Option<usize> {
    names(field).iter().find_map(|name| columns.iter().position(|column| column == name))
}

fn stamp_column(columns: &[String]) -> Option<(usize, Option<StampUnit>)> {
    STAMP_NAMES.iter().find_map(|name| {
        columns.iter().enumerate().find_map(|(position, column)| {
            let unit = match column.strip_prefix(name)? {
                "" => None,
                suffix => Some(UNIT_SUFFIXES.iter().find(|(known, _)| *known == suffix)?.1),
            };
            Some((position, unit))
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recognise(header: &str, format: FeedFormat) -> Result<Layout, FeedError> {
        Layout::recognise(&"x.csv".into(), header.as_bytes(), format)
    }

    #[test]
    fn every_header_form_is_recognised() {
        use RowKind::{Bars, Quotes, Trades};
        let ignored = IGNORED;
        let cases: [(&str, RowKind, Option<StampUnit>, &[u8]); 12] = [
            ("timestamp,open,high,low,close,volume", Bars, None, &[0, 1, 2, 3, 4, 5]),
            ("date,open,high,low,close,adjclose,volume", Bars, None, &[0, 1, 2, 3, 4, ignored, 5]),
            ("Volume, Close ,LOW,High,Open,Time", Bars, None, &[5, 4, 3, 2, 1, 0]),
            ("open_time,open,high,low,close,volume,close_time", Bars, None, &[0, 1, 2, 3, 4, 5, ignored]),
            ("\u{feff}date,open,high,low,close", Bars, None, &[0, 1, 2, 3, 4]),
            (
                "local_ts_ns,exch_ts_ms,trade_id,price,qty,buyer_is_maker",
                Trades,
                Some(StampUnit::Millis),
                &[ignored, 0, ignored, 1, 2, ignored],
            ),
            ("timestamp_s,price,size", Trades, Some(StampUnit::Seconds), &[0, 1, 2]),
            ("ts_us,amount,price", Trades, Some(StampUnit::Micros), &[0, 2, 1]),
            ("date,time,timestamp,price,quantity", Trades, None, &[ignored, ignored, 0, 1, 2]),
            ("timestamp,bid,ask", Quotes, None, &[0, 1, 2]),
            ("datetime,bid_price,bid_size,ask_price,ask_size", Quotes, None, &[0, 1, 3, 2, 4]),
            (
                "local_ts_ns,update_id,bid,bid_qty,ask,ask_qty",
                Quotes,
                Some(StampUnit::Nanos),
                &[0, ignored, 1, 3, 2, 4],
            ),
        ];
        for (header, kind, unit, cells) in cases {
            let layout = recognise(header, FeedFormat::Auto).unwrap();
            assert_eq!((layout.kind, layout.stamp_unit), (kind, unit), "{header}");
            assert_eq!(&*layout.cell_of_column, cells, "{header}");
        }
    }

    #[test]
    fn a_header_that_is_not_understood_names_the_file_and_what_is_understood() {
        for header in [
            "",
            "1723161600,1,2",
            "timestamp;price;qty",
            "open,high,low,close",
            "timestamp,price",
            "timestamp,bid",
        ] {
            let error = recognise(header, FeedFormat::Auto).unwrap_err();
            assert!(matches!(error, FeedError::UnknownHeader { .. }), "{header}: {error}");
            let message = error.to_string();
            assert!(message.contains("x.csv:1") && message.contains("bid_price"), "{message}");
        }
    }

    #[test]
    fn a_header_of_two_kinds_asks_for_the_format_and_obeys_it() {
        let header = "timestamp,price,qty,bid,ask";
        let error = recognise(header, FeedFormat::Auto).unwrap_err();
        assert!(matches!(error, FeedError::AmbiguousHeader { kinds: ["trades", "quotes"], .. }), "{error}");
        assert_eq!(recognise(header, FeedFormat::Quotes).unwrap().kind, RowKind::Quotes);
        assert_eq!(recognise(header, FeedFormat::Trades).unwrap().kind, RowKind::Trades);
        assert!(matches!(recognise(header, FeedFormat::Bars), Err(FeedError::UnknownHeader { .. })));
    }

    #[test]
    fn a_day_and_a_time_in_two_columns_are_refused_rather_than_half_read() {
        let error = recognise("date,time,price,qty", FeedFormat::Auto).unwrap_err();
        assert!(matches!(error, FeedError::SplitTimestamp { .. }), "{error}");
    }

    #[test]
    fn a_column_that_is_used_may_not_come_twice() {
        let error = recognise("timestamp,price,qty,price", FeedFormat::Auto).unwrap_err();
        assert!(matches!(error, FeedError::DuplicateColumn { .. }), "{error}");
        assert!(recognise("timestamp,price,qty,x,x", FeedFormat::Auto).is_ok());
    }

    #[test]
    fn quotes_in_the_header_are_named() {
        let error = recognise("\"timestamp\",\"price\",\"qty\"", FeedFormat::Auto).unwrap_err();
        assert!(matches!(error, FeedError::QuotedHeader { .. }), "{error}");
    }
}
