//! Why a sample is dropped, where it came from, and how many were dropped for each reason.

use super::{InstrumentId, PriceTicks, UnixNanos};
use crate::resilience::{Class, Classified};
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize, Serializer};
use std::fmt;
use std::sync::Arc;
use thiserror::Error;

/// The field of a sample that is at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the names are the standard terms of trading")]
pub enum Field {
    Timestamp,
    Price,
    Quantity,
    Open,
    High,
    Low,
    Close,
    Volume,
    BidPrice,
    BidSize,
    AskPrice,
    AskSize,
}

impl Field {
    /// The name used in messages; for files also the first column name that is understood.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Timestamp => "timestamp",
            Self::Price => "price",
            Self::Quantity => "quantity",
            Self::Open => "open",
            Self::High => "high",
            Self::Low => "low",
            Self::Close => "close",
            Self::Volume => "volume",
            Self::BidPrice => "bid",
            Self::BidSize => "bid_size",
            Self::AskPrice => "ask",
            Self::AskSize => "ask_size",
        }
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What stood in the data: escaped, and cut at [`Excerpt::BYTES_MAX`], since data is not trusted to be text.
#[derive(Clone, PartialEq, Eq)]
pub struct Excerpt(Box<str>);

impl Excerpt {
    /// Enough to recognise a value, too little to flood a log.
    pub const BYTES_MAX: usize = 64;

    /// An excerpt of some bytes.
    pub fn new(bytes: &[u8]) -> Self {
        let kept = bytes.get(..Self::BYTES_MAX).unwrap_or(bytes);
        let mut text = kept.escape_ascii().to_string();
        if kept.len() < bytes.len() {
            text.push_str("...");
        }
        Self(text.into())
    }

    /// The excerpt as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Excerpt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Excerpt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// Where a sample stood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The file, as it was given.
    pub source: Arc<str>,
    /// The line, counted from one; the header is line one.
    pub line: u64,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.source, self.line)
    }
}

/// What is wrong with a sample.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum FaultKind {
    /// Text that is no decimal number, NaN among it.
    #[error("{field} is \"{found}\", expected a decimal number")]
    NotANumber {
        /// Which field.
        field: Field,
        /// What stood there.
        found: Excerpt,
    },
    /// An infinity.
    #[error("{field} is \"{found}\", expected a finite number")]
    Infinite {
        /// Which field.
        field: Field,
        /// What stood there.
        found: Excerpt,
    },
    /// Zero where only a positive number makes sense, or no price at all.
    #[error("{field} is zero or rounds to zero, expected a number above zero")]
    Zero {
        /// Which field.
        field: Field,
    },
    /// Below zero.
    #[error("{field} is {found}, expected a number above zero")]
    Negative {
        /// Which field.
        field: Field,
        /// What stood there.
        found: Excerpt,
    },
    /// Between two steps of the instrument.
    #[error(
        "{field} is {found}, which is not a whole multiple of {step}; correct the instrument's step or let the feed round"
    )]
    OffStep {
        /// Which field.
        field: Field,
        /// What stood there.
        found: Excerpt,
        /// The step of the instrument.
        step: Decimal,
    },
    /// More steps than cross the sandbox.
    #[error("{field} is {found}, which is more than 2^62 steps of the instrument")]
    OutOfRange {
        /// Which field.
        field: Field,
        /// What stood there.
        found: Excerpt,
    },
    /// Nothing where something must be.
    #[error("{field} is missing")]
    MissingField {
        /// Which field.
        field: Field,
    },
    /// A timestamp that is none.
    #[error("timestamp is \"{found}\": {problem}")]
    BadTimestamp {
        /// What stood there.
        found: Excerpt,
        /// What is wrong with it and what is understood.
        problem: &'static str,
    },
    /// Another number of columns than the header has.
    #[error("the row has {found} columns and the header {expected}; remove separators inside of values")]
    ColumnCount {
        /// Columns of the header.
        expected: usize,
        /// Columns of the row.
        found: usize,
    },
    /// Double quotes, which this reader does not take apart.
    #[error("the row has double quotes around a value; write values without them")]
    Quoted,
    /// A line without an end in sight.
    #[error("the line is longer than line_bytes_max of {bytes_max} bytes")]
    LineTooLong {
        /// The limit.
        bytes_max: u32,
    },
    /// A line of a capture that is no message of the stream.
    #[error("found \"{found}\", expected nanoseconds and one JSON message of a Binance stream")]
    BadMessage {
        /// What stood there.
        found: Excerpt,
    },
    /// High, low, open and close contradict each other.
    #[error("open {open}, high {high}, low {low} and close {close} (in price ticks) contradict each other")]
    InconsistentBar {
        /// First price.
        open: PriceTicks,
        /// Highest price.
        high: PriceTicks,
        /// Lowest price.
        low: PriceTicks,
        /// Last price.
        close: PriceTicks,
    },
    /// A bid above the ask.
    #[error("bid {bid} is above ask {ask} (in price ticks)")]
    Crossed {
        /// The bid.
        bid: PriceTicks,
        /// The ask.
        ask: PriceTicks,
    },
    /// Too far from the last accepted price.
    #[error(
        "price {found} is more than {permille_max} per mille away from the last accepted {last} (in price ticks)"
    )]
    Jump {
        /// The last accepted price.
        last: PriceTicks,
        /// The price of the sample.
        found: PriceTicks,
        /// The limit.
        permille_max: u32,
    },
    /// Too old when it arrived.
    #[error("the sample is {age_ms} ms old, at most {age_ms_max} ms are allowed")]
    Stale {
        /// Its age.
        age_ms: u64,
        /// The limit.
        age_ms_max: u64,
    },
    /// Stamped later than it can have happened.
    #[error(
        "the sample is stamped {lead_ms} ms ahead of the host's clock, at most {lead_ms_max} ms are allowed"
    )]
    Early {
        /// How far ahead.
        lead_ms: u64,
        /// The limit.
        lead_ms_max: u64,
    },
    /// Older than the last accepted sample.
    #[error("the sample is stamped {found}, not after the last accepted one of {last}")]
    Backward {
        /// Stamp of the last accepted sample.
        last: UnixNanos,
        /// Stamp of this one.
        found: UnixNanos,
    },
    /// Not one of the session's instruments.
    #[error("instrument number {} is not one of this session's", instrument.0)]
    UnknownInstrument {
        /// The number found.
        instrument: InstrumentId,
    },
}

macro_rules! fault_codes {
    ($($variant:ident = $name:literal,)+) => {
        /// The stable name of a [`FaultKind`] without its details, for counting.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum FaultCode { $(#[doc = concat!("See [`FaultKind::", stringify!($variant), "`].")] $variant,)+ }

        impl FaultCode {
            /// Every code, in the order of the cases.
            pub const ALL: [Self; [$($name),+].len()] = [$(Self::$variant),+];

            /// The name used in counts, metrics and files.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }
        }

        impl FaultKind {
            /// The code of this fault.
            pub const fn code(&self) -> FaultCode {
                match self { $(Self::$variant { .. } => FaultCode::$variant,)+ }
            }
        }
    };
}

fault_codes! {
    NotANumber = "not_a_number",
    Infinite = "infinite",
    Zero = "zero",
    Negative = "negative",
    OffStep = "off_step",
    OutOfRange = "out_of_range",
    MissingField = "missing_field",
    BadTimestamp = "bad_timestamp",
    ColumnCount = "column_count",
    Quoted = "quoted",
    LineTooLong = "line_too_long",
    BadMessage = "bad_message",
    InconsistentBar = "inconsistent_bar",
    Crossed = "crossed",
    Jump = "jump",
    Stale = "stale",
    Early = "early",
    Backward = "backward",
    UnknownInstrument = "unknown_instrument",
}

/// A sample that no strategy may see: it is dropped and counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataFault {
    /// What is wrong.
    pub kind: FaultKind,
    /// Where the sample stood, when it came from a file.
    pub place: Option<Place>,
}

impl From<FaultKind> for DataFault {
    fn from(kind: FaultKind) -> Self {
        Self { kind, place: None }
    }
}

impl fmt::Display for DataFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Some(place) => write!(f, "{place}: {}", self.kind),
            None => self.kind.fmt(f),
        }
    }
}

impl std::error::Error for DataFault {}

impl Classified for DataFault {
    fn class(&self) -> Class {
        Class::Data
    }

    fn code(&self) -> &'static str {
        self.kind.code().name()
    }
}

/// How many samples were dropped for each reason. Serializes to a map of the codes that occurred.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DataCounts([u64; FaultCode::ALL.len()]);

impl DataCounts {
    /// Counts one fault.
    pub const fn add(&mut self, code: FaultCode) {
        let count = &mut self.0[code as usize];
        *count = count.saturating_add(1);
    }

    /// Counts everything that `other` counted.
    pub fn merge(&mut self, other: &Self) {
        for (count, more) in self.0.iter_mut().zip(other.0) {
            *count = count.saturating_add(more);
        }
    }

    /// How often one fault occurred.
    pub const fn get(&self, code: FaultCode) -> u64 {
        self.0[code as usize]
    }

    /// How many samples were dropped.
    pub fn total(&self) -> u64 {
        self.0.iter().fold(0, |sum, count| sum.saturating_add(*count))
    }

    /// The faults that occurred, in the order of [`FaultCode::ALL`].
    pub fn iter(&self) -> impl Iterator<Item = (FaultCode, u64)> {
        FaultCode::ALL.into_iter().zip(self.0).filter(|(_, count)| *count > 0)
    }
}

impl Serialize for DataCounts {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter().map(|(code, count)| (code.name(), count)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_counts_in_its_own_place_and_has_its_own_name() {
        let mut counts = DataCounts::default();
        for (position, code) in FaultCode::ALL.into_iter().enumerate() {
            assert_eq!(code as usize, position);
            (0..=position).for_each(|_| counts.add(code));
        }
        let names: std::collections::BTreeSet<_> = FaultCode::ALL.iter().map(|code| code.name()).collect();
        assert_eq!(names.len(), FaultCode::ALL.len());
        assert!(counts.iter().map(|(_, count)| count).eq(1..=FaultCode::ALL.len() as u64));
        let once = counts;
        counts.merge(&once);
        assert_eq!(counts.total(), 2 * once.total());
    }

    #[test]
    fn counts_serialize_to_the_codes_that_occurred() {
        let mut counts = DataCounts::default();
        counts.add(FaultCode::Jump);
        counts.add(FaultCode::Jump);
        counts.add(FaultCode::NotANumber);
        assert_eq!(serde_json::to_string(&counts).unwrap(), r#"{"not_a_number":1,"jump":2}"#);
    }

    #[test]
    fn a_fault_says_where_what_was_found_and_what_was_expected() {
        let fault = DataFault {
            kind: FaultKind::NotANumber { field: Field::Price, found: Excerpt::new(b"1\x1b[0m") },
            place: Some(Place { source: "a.csv".into(), line: 7 }),
        };
        assert_eq!(fault.to_string(), r#"a.csv:7: price is "1\x1b[0m", expected a decimal number"#);
        assert_eq!((fault.code(), fault.class()), ("not_a_number", Class::Data));
    }

    #[test]
    fn an_excerpt_is_cut() {
        let excerpt = Excerpt::new(&[b'9'; 1_000]);
        assert_eq!(excerpt.as_str().len(), Excerpt::BYTES_MAX + 3);
    }
}
