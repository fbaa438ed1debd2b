//! CSV files of bars, trades and quotes.
//!
//! The loop over rows is our own rather than a CSV library's: market data needs no quoting, and without it a
//! row is split and its numbers are read in place, without a copy.

use super::header::{CELLS, Cells, Layout, RowKind};
use super::lines::{Line, Lines};
use super::steps::{Steps, quoted_or};
use super::{FeedConfig, FeedError, RowError, Sample};
use crate::market::stamp::parse_stamp;
use crate::market::{
    Bar, DataFault, Excerpt, FaultKind, Field, Instrument, InstrumentId, Lots, Marks, Place, PriceTicks,
    Tick, UnixNanos,
};
use std::io::Read;
use std::sync::Arc;

/// A CSV stream as an iterator of samples, in the order of its rows.
///
/// The number of a tick is that of its row, counted from zero without the header; rows that are dropped
/// count, empty lines do not.
#[derive(Debug)]
pub struct CsvFeed<R> {
    pub(super) lines: Lines<R>,
    rows: RowReader,
    row: u64,
    ended: bool,
}

impl<R: Read> CsvFeed<R> {
    /// Reads the header of a stream; `name` stands for it in messages.
    ///
    /// # Errors
    /// When the stream cannot be read, its header is not understood, or the instrument's steps are too fine.
    pub fn new(
        source: R,
        name: Arc<str>,
        instrument: &Instrument,
        id: InstrumentId,
        config: &FeedConfig,
    ) -> Result<Self, FeedError> {
        let line_bytes_max = config.line_bytes_max.get();
        let lines = Lines::new(source, usize::try_from(line_bytes_max).unwrap_or(usize::MAX));
        Self::of_lines(lines, name, instrument, id, config)
    }

    pub(super) fn of_lines(
        mut lines: Lines<R>,
        name: Arc<str>,
        instrument: &Instrument,
        id: InstrumentId,
        config: &FeedConfig,
    ) -> Result<Self, FeedError> {
        let steps = Steps::of(&name, instrument, config.off_step)?;
        let line_bytes_max = config.line_bytes_max.get();
        let layout = read_header(&mut lines, &name, config)?;
        let bar_seconds = config.bar_seconds.map_or(0, std::num::NonZeroU32::get);
        let rows = RowReader { source: name, layout, id, steps, bar_seconds, line_bytes_max };
        Ok(Self { lines, rows, row: 0, ended: false })
    }
}

/// What the first line says of the columns. One that is data already is left to be read.
pub(super) fn read_header<R: Read>(
    lines: &mut Lines<R>,
    name: &Arc<str>,
    config: &FeedConfig,
) -> Result<Layout, FeedError> {
    let header =
        lines.next().map_err(|cause| FeedError::Read { source_name: Arc::clone(name), line: 0, cause })?;
    let header = match header {
        None => return Err(FeedError::Empty { source_name: Arc::clone(name) }),
        Some(Line::TooLong) => {
            let bytes_max = config.line_bytes_max.get();
            return Err(FeedError::HeaderTooLong { source_name: Arc::clone(name), bytes_max });
        }
        Some(Line::Text(header)) => header,
    };
    if let Some(layout) = Layout::of_dump(header, config.format) {
        lines.give_back();
        return Ok(layout);
    }
    Layout::recognise(name, header, config.format)
}

impl<R: Read> Iterator for CsvFeed<R> {
    type Item = Result<Sample, RowError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let outcome = loop {
            match self.lines.next() {
                Ok(Some(Line::Text([]))) => {}
                Ok(Some(Line::Text(text))) => break self.rows.read(text, self.row),
                Ok(Some(Line::TooLong)) => {
                    break Err(FaultKind::LineTooLong { bytes_max: self.rows.line_bytes_max });
                }
                Ok(None) => {
                    self.ended = true;
                    return None;
                }
                Err(cause) => {
                    self.ended = true;
                    let (source_name, line) = (Arc::clone(&self.rows.source), self.lines.number());
                    return Some(Err(FeedError::Read { source_name, line, cause }.into()));
                }
            }
        };
        self.row += 1;
        Some(outcome.map_err(|kind| self.rows.fault(kind, self.lines.number()).into()))
    }
}

impl<R: Read> std::iter::FusedIterator for CsvFeed<R> {}

/// What is fixed for all rows of a file.
#[derive(Debug)]
struct RowReader {
    source: Arc<str>,
    layout: Layout,
    id: InstrumentId,
    steps: Steps,
    bar_seconds: u32,
    line_bytes_max: u32,
}

impl RowReader {
    #[inline]
    fn read(&self, line: &[u8], row: u64) -> Result<Sample, FaultKind> {
        let cells = split(&self.layout, line).ok_or_else(|| self.wrong_columns(line))?;
        let [stamp, ..] = cells;
        let event_time = self.stamp(stamp)?;
        let tick = Tick { instrument: self.id, seq: row, event_time, ..Tick::default() };
        match self.layout.kind {
            RowKind::Trades => self.trade(tick, &cells),
            RowKind::Quotes => self.quote(tick, &cells),
            RowKind::Bars => self.bar(tick, &cells),
        }
    }

    #[cold]
    fn wrong_columns(&self, line: &[u8]) -> FaultKind {
        if line.contains(&b'"') {
            return FaultKind::Quoted;
        }
        let found = memchr::memchr_iter(b',', line).count() + 1;
        FaultKind::ColumnCount { expected: self.layout.cell_of_column.len(), found }
    }

    #[inline]
    fn trade(&self, tick: Tick, cells: &Cells<'_>) -> Result<Sample, FaultKind> {
        let [_, price, quantity, ..] = cells;
        let last_price = self.positive_price(Field::Price, price)?;
        let last_size = self.steps.lots(Field::Quantity, quantity)?;
        if last_size.is_zero() {
            return Err(FaultKind::Zero { field: Field::Quantity });
        }
        let tick = Tick { last_price, last_size, volume: last_size, marks: Marks::TRADE, ..tick };
        Ok(Sample { tick, bar: None })
    }

    /// A side that is empty or zero is absent; a quote without both says nothing.
    #[inline]
    fn quote(&self, tick: Tick, cells: &Cells<'_>) -> Result<Sample, FaultKind> {
        let [_, bid, ask, bid_size, ask_size, ..] = cells;
        let side = |field, text: &[u8]| if text.is_empty() { Ok(0) } else { self.steps.price(field, text) };
        let size =
            |field, text: &[u8]| if text.is_empty() { Ok(Lots::ZERO) } else { self.steps.lots(field, text) };
        let tick = Tick {
            bid_price: PriceTicks(side(Field::BidPrice, bid)?),
            bid_size: size(Field::BidSize, bid_size)?,
            ask_price: PriceTicks(side(Field::AskPrice, ask)?),
            ask_size: size(Field::AskSize, ask_size)?,
            marks: Marks::QUOTE,
            ..tick
        };
        if tick.bid_price.0 == 0 && tick.ask_price.0 == 0 {
            return Err(if bid.is_empty() && ask.is_empty() {
                FaultKind::MissingField { field: Field::BidPrice }
            } else {
                FaultKind::Zero { field: Field::BidPrice }
            });
        }
        Ok(Sample { tick, bar: None })
    }

    #[inline]
    fn bar(&self, tick: Tick, cells: &Cells<'_>) -> Result<Sample, FaultKind> {
        let [_, open, high, low, close, volume, ..] = cells;
        let open = self.positive_price(Field::Open, open)?;
        let high = self.positive_price(Field::High, high)?;
        let low = self.positive_price(Field::Low, low)?;
        let close = self.positive_price(Field::Close, close)?;
        let volume =
            if self.layout.has_volume { self.steps.lots(Field::Volume, volume)? } else { Lots::ZERO };
        if low > open.min(close) || high < open.max(close) {
            return Err(FaultKind::InconsistentBar { open, high, low, close });
        }
        let bar = Bar {
            instrument: self.id,
            start: tick.event_time,
            seconds: self.bar_seconds,
            open,
            high,
            low,
            close,
            volume,
            trades: 0,
        };
        let tick = Tick { last_price: close, volume, marks: Marks::TRADE, ..tick };
        Ok(Sample { tick, bar: Some(bar) })
    }

    #[inline]
    fn stamp(&self, text: &[u8]) -> Result<UnixNanos, FaultKind> {
        parse_stamp(text, self.layout.stamp_unit).map_err(|problem| {
            if text.is_empty() {
                FaultKind::MissingField { field: Field::Timestamp }
            } else {
                quoted_or(text, || FaultKind::BadTimestamp { found: Excerpt::new(text), problem })
            }
        })
    }

    #[inline]
    fn positive_price(&self, field: Field, text: &[u8]) -> Result<PriceTicks, FaultKind> {
        match self.steps.price(field, text)? {
            0 => Err(FaultKind::Zero { field }),
            steps => Ok(PriceTicks(steps)),
        }
    }

    #[cold]
    fn fault(&self, kind: FaultKind, line: u64) -> DataFault {
        DataFault { kind, place: Some(Place { source: Arc::clone(&self.source), line }) }
    }
}

/// The cells of a row; `None` when it has more or fewer columns than the header.
#[inline]
pub(super) fn split<'a>(layout: &Layout, line: &'a [u8]) -> Option<Cells<'a>> {
    let mut cells: Cells<'a> = [&[]; CELLS];
    let mut commas = memchr::memchr_iter(b',', line);
    let mut first = 0;
    let mut complete = true;
    let mut after_last = false;
    for cell in &layout.cell_of_column {
        if after_last {
            complete = false;
            break;
        }
        let end = commas.next().unwrap_or_else(|| {
            after_last = true;
            line.len()
        });
        if let Some(slot) = cells.get_mut(usize::from(*cell)) {
            *slot = line.get(first..end).unwrap_or_default().trim_ascii();
        }
        first = end + 1;
    }
    (complete && after_last).then_some(cells)
}

#[cfg(test)]
pub(in crate::market::feed) mod tests;
