//! CSV files of bars, trades and quotes.
//!
//! The loop over rows is our own rather than a CSV library's: market data needs no quoting, and without it a
//! row is split and its numbers are read in place, without a copy.

use super::header::{CELLS, Cells, Layout};
use super::lines::{Line, Lines};
use super::rows::RowReader;
use super::steps::Steps;
use super::{FeedConfig, FeedError, RowError, Sample};
use crate::market::{FaultKind, Instrument, InstrumentId};
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
    line_bytes_max: u32,
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
        let rows = RowReader { source: name, layout, id, steps, bar_seconds };
        Ok(Self { lines, rows, row: 0, line_bytes_max, ended: false })
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
                Ok(Some(Line::Text(text))) => break self.rows.read_line(text, self.row),
                Ok(Some(Line::TooLong)) => {
                    break Err(FaultKind::LineTooLong { bytes_max: self.line_bytes_max });
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

impl RowReader {
    #[inline]
    fn read_line(&self, line: &[u8], row: u64) -> Result<Sample, FaultKind> {
        let cells = split(&self.layout, line).ok_or_else(|| self.wrong_columns(line))?;
        self.read(&cells, row)
    }

    #[cold]
    fn wrong_columns(&self, line: &[u8]) -> FaultKind {
        if line.contains(&b'"') {
            return FaultKind::Quoted;
        }
        let found = memchr::memchr_iter(b',', line).count() + 1;
        FaultKind::ColumnCount { expected: self.layout.cell_of_column.len(), found }
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
