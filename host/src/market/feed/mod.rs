//! Market data from files, streamed: memory does not grow with the file.

mod capture;
mod csv;
mod file;
mod header;
mod lines;
mod merge;
#[cfg(test)]
mod packed_tests;
mod parquet;
#[cfg(test)]
mod real_data;
mod rows;
mod source;
mod steps;
mod survey;

pub use csv::CsvFeed;
pub use file::FileFeed;
pub use merge::{Merge, merge};
pub use survey::Survey;

use super::{Bar, DataFault, Excerpt, OffStep, Tick};
use crate::resilience::{Class, Classified};
use header::RowKind;
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use std::io;
use std::num::NonZeroU32;
use std::sync::Arc;
use thiserror::Error;

/// One row of a feed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// The row as a market update. For a bar, its close as the last price and its volume.
    pub tick: Tick,
    /// The whole bar, when the row is one. Its start is the row's own stamp, and so is the event time of the
    /// tick: a row alone does not say how long its interval was.
    pub bar: Option<Bar>,
}

/// What a feed gives instead of a sample.
#[derive(Debug, Error)]
pub enum RowError {
    /// This row is dropped; the next one follows.
    #[error(transparent)]
    Dropped(#[from] DataFault),
    /// The feed ends here, before its data did. Nothing follows.
    #[error(transparent)]
    Broken(#[from] FeedError),
}

impl Classified for RowError {
    fn class(&self) -> Class {
        match self {
            Self::Dropped(fault) => fault.class(),
            Self::Broken(error) => error.class(),
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Dropped(fault) => fault.code(),
            Self::Broken(error) => error.code(),
        }
    }
}

/// What the rows of a file are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FeedFormat {
    /// What the header says; a header that fits two kinds is refused.
    #[default]
    Auto,
    /// Open, high, low, close and perhaps volume.
    Bars,
    /// Price and quantity.
    Trades,
    /// Bid and ask, perhaps with sizes.
    Quotes,
}

impl FeedFormat {
    const fn admits(self, kind: RowKind) -> bool {
        match self {
            Self::Auto => true,
            Self::Bars => matches!(kind, RowKind::Bars),
            Self::Trades => matches!(kind, RowKind::Trades),
            Self::Quotes => matches!(kind, RowKind::Quotes),
        }
    }
}

/// How a file is read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FeedConfig {
    /// What the rows are. Default `auto`: the header nearly always says it.
    pub format: FeedFormat,
    /// What to do with numbers between two steps of the instrument. Default `refuse`, see
    /// [`OffStep::Refuse`].
    pub off_step: OffStep,
    /// Length of the bars in the file, which rows do not say. Default none: bars carry a length of zero,
    /// unknown.
    pub bar_seconds: Option<NonZeroU32>,
    /// Longest line. Default 16 KiB: a hundred times the longest row of the usual sources, and nothing that a
    /// file without line ends could fill memory with.
    pub line_bytes_max: NonZeroU32,
}

impl Default for FeedConfig {
    fn default() -> Self {
        Self {
            format: FeedFormat::default(),
            off_step: OffStep::default(),
            bar_seconds: None,
            line_bytes_max: NonZeroU32::MIN.saturating_add(16 * 1_024 - 1),
        }
    }
}

/// Why a file cannot be read as market data.
#[derive(Debug, Error)]
pub enum FeedError {
    /// The file cannot be opened.
    #[error("{source_name}: cannot be opened ({cause}); give the path of a readable data file")]
    Open {
        /// Which file.
        source_name: Arc<str>,
        /// What the operating system said.
        cause: io::Error,
    },
    /// The file cannot be read on.
    #[error("{source_name}: reading failed after line {line} ({cause}); rows up to there were read")]
    Read {
        /// Which file.
        source_name: Arc<str>,
        /// The last line that was read.
        line: u64,
        /// What the operating system said.
        cause: io::Error,
    },
    /// The file has nothing in it.
    #[error("{source_name}: the file is empty; {}", header::UNDERSTOOD)]
    Empty {
        /// Which file.
        source_name: Arc<str>,
    },
    /// The first line is longer than a line may be.
    #[error(
        "{source_name}:1: the line is longer than line_bytes_max of {bytes_max} bytes, expected a header; {}",
        header::UNDERSTOOD
    )]
    HeaderTooLong {
        /// Which file.
        source_name: Arc<str>,
        /// The limit.
        bytes_max: u32,
    },
    /// The first line is not a header that is understood.
    #[error("{source_name}:1: found \"{found}\"; {}", header::UNDERSTOOD)]
    UnknownHeader {
        /// Which file.
        source_name: Arc<str>,
        /// What stood there.
        found: Excerpt,
    },
    /// The header could be of two kinds of files.
    #[error("{source_name}:1: the header fits {} and {}; say which by the format of the feed", kinds[0], kinds[1])]
    AmbiguousHeader {
        /// Which file.
        source_name: Arc<str>,
        /// The kinds that it could be.
        kinds: [&'static str; 2],
    },
    /// Day and time stand in two columns.
    #[error("{source_name}:1: date and time are two columns; join them in one column named timestamp")]
    SplitTimestamp {
        /// Which file.
        source_name: Arc<str>,
    },
    /// A column comes twice.
    #[error("{source_name}:1: the column \"{found}\" comes more than once; rename the one that is not meant")]
    DuplicateColumn {
        /// Which file.
        source_name: Arc<str>,
        /// Name of the column.
        found: Excerpt,
    },
    /// The header has double quotes.
    #[error("{source_name}:1: found \"{found}\"; write the file without double quotes")]
    QuotedHeader {
        /// Which file.
        source_name: Arc<str>,
        /// What stood there.
        found: Excerpt,
    },
    /// The archive is not one that can be read.
    #[error("{source_name}: {reason}")]
    Archive {
        /// Which file.
        source_name: Arc<str>,
        /// What is wrong, and what to do.
        reason: String,
    },
    /// A Parquet file is not one that can be read, or ends before its data does.
    #[error("{source_name}: {reason}")]
    Parquet {
        /// Which file.
        source_name: Arc<str>,
        /// What is wrong, and what to do.
        reason: String,
    },
    /// Bars are wanted of a capture, which has trades and quotes.
    #[error(
        "{source_name}: a raw capture holds trades and quotes and no bars; ask for one of those, or for both"
    )]
    NoBars {
        /// Which file.
        source_name: Arc<str>,
    },
    /// The instrument has a step that numbers cannot be counted in.
    #[error(
        "{source_name}: {symbol} has a {field} of {found}; expected a number above zero with at most 15 significant digits"
    )]
    Step {
        /// Which file.
        source_name: Arc<str>,
        /// Which instrument.
        symbol: String,
        /// Which step.
        field: &'static str,
        /// Its value.
        found: Decimal,
    },
}

impl Classified for FeedError {
    fn class(&self) -> Class {
        match self {
            Self::Open { .. } | Self::Read { .. } => Class::Resource,
            Self::Step { .. } => Class::State,
            _ => Class::Data,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Open { .. } => "feed_open",
            Self::Read { .. } => "feed_read",
            Self::Empty { .. } => "feed_empty",
            Self::HeaderTooLong { .. } => "feed_header_too_long",
            Self::UnknownHeader { .. } => "feed_unknown_header",
            Self::AmbiguousHeader { .. } => "feed_ambiguous_header",
            Self::SplitTimestamp { .. } => "feed_split_timestamp",
            Self::DuplicateColumn { .. } => "feed_duplicate_column",
            Self::QuotedHeader { .. } => "feed_quoted_header",
            Self::Archive { .. } => "feed_archive",
            Self::Parquet { .. } => "feed_parquet",
            Self::NoBars { .. } => "feed_no_bars",
            Self::Step { .. } => "feed_step",
        }
    }
}
