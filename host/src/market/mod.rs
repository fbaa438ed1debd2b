//! Market data: instruments, exact prices and quantities, ticks, bars, data checks and feeds.
//!
//! A feed turns what somebody recorded or sent into [`Tick`]s and drops what is no number; [`MarketCheck`]
//! drops what cannot be true. Both say why with a [`DataFault`], and [`DataCounts`] keeps the score.

mod bars;
mod check;
mod decimal;
mod fault;
mod feed;
mod instrument;
mod number;
mod stamp;
mod tick;
mod time;

pub use bars::{BarBuilder, BarPrice};
pub use check::{CheckConfig, MarketCheck};
pub use decimal::{DecimalText, NumberFault, OffStep, StepSize, parse_decimal};
pub use fault::{DataCounts, DataFault, Excerpt, FaultCode, FaultKind, Field, Place};
pub use feed::{
    CsvFeed, FeedConfig, FeedError, FeedFormat, FileFeed, Merge, RowError, Sample, Survey, merge,
};
pub use instrument::{Instrument, InstrumentError, InstrumentId, InstrumentKind, Instruments};
pub use number::{Lots, Money, PriceTicks};
pub use tick::{Bar, Marks, Tick};
pub use time::{MonoNanos, Now, UnixNanos};
