//! One data file, whatever is in it and however it is packed.

use super::capture::{CaptureFeed, is_capture};
use super::csv::CsvFeed;
use super::lines::{Line, Lines};
use super::parquet::ParquetFeed;
use super::source::Source;
use super::steps::Steps;
use super::{FeedConfig, FeedError, FeedFormat, RowError, Sample};
use crate::market::{Instrument, InstrumentId, Marks};
use std::path::Path;
use std::sync::Arc;

/// A data file: CSV of bars, trades or quotes, a public dump of Binance without a header, or a raw capture of its
/// stream, each plain, packed by gzip, or the one file of a zip archive; or Parquet of bars, trades or quotes.
#[derive(Debug)]
pub struct FileFeed {
    rows: Rows,
    bytes_total: Option<u64>,
}

#[derive(Debug)]
enum Rows {
    Csv(CsvFeed<Source>),
    Capture(CaptureFeed<Source>),
    Parquet(Box<ParquetFeed>),
}

impl FileFeed {
    /// Opens a file and recognises what is in it.
    ///
    /// # Errors
    /// When the file cannot be read, its first line is not understood, or the instrument's steps are too fine.
    pub fn open(
        path: &Path,
        instrument: &Instrument,
        id: InstrumentId,
        config: &FeedConfig,
    ) -> Result<Self, FeedError> {
        let name: Arc<str> = path.display().to_string().into();
        if let Some(feed) = ParquetFeed::open(path, &name, instrument, id, config)? {
            let bytes_total = Some(feed.total());
            return Ok(Self { rows: Rows::Parquet(Box::new(feed)), bytes_total });
        }
        let (lines, capture) = open_lines(path, &name, config)?;
        let bytes_total = lines.source().total();
        let rows = if capture {
            let steps = Steps::of(&name, instrument, config.off_step)?;
            let only = match config.format {
                FeedFormat::Auto => None,
                FeedFormat::Trades => Some(Marks::TRADE),
                FeedFormat::Quotes => Some(Marks::QUOTE),
                FeedFormat::Bars => return Err(FeedError::NoBars { source_name: name }),
            };
            let what = (instrument.symbol.as_str(), id);
            Rows::Capture(CaptureFeed::new(lines, name, what, steps, only, config.line_bytes_max.get()))
        } else {
            Rows::Csv(CsvFeed::of_lines(lines, name, instrument, id, config)?)
        };
        Ok(Self { rows, bytes_total })
    }

    /// Bytes of the file read so far, for a progress bar.
    pub fn bytes_read(&self) -> u64 {
        match &self.rows {
            Rows::Csv(feed) => feed.lines.source().taken(),
            Rows::Capture(feed) => feed.lines.source().taken(),
            Rows::Parquet(feed) => feed.taken(),
        }
    }

    /// Length of the file when it was opened; `None` for a pipe.
    pub const fn bytes_total(&self) -> Option<u64> {
        self.bytes_total
    }
}

/// The lines of a file from its first on, and whether it is a capture.
pub(super) fn open_lines(
    path: &Path,
    name: &Arc<str>,
    config: &FeedConfig,
) -> Result<(Lines<Source>, bool), FeedError> {
    let line_bytes_max = usize::try_from(config.line_bytes_max.get()).unwrap_or(usize::MAX);
    let mut lines = Lines::new(Source::open(path, name)?, line_bytes_max);
    let first =
        lines.next().map_err(|cause| FeedError::Read { source_name: Arc::clone(name), line: 0, cause })?;
    let capture = match first {
        None => return Err(FeedError::Empty { source_name: Arc::clone(name) }),
        Some(Line::TooLong) => {
            let bytes_max = config.line_bytes_max.get();
            return Err(FeedError::HeaderTooLong { source_name: Arc::clone(name), bytes_max });
        }
        Some(Line::Text(line)) => is_capture(line),
    };
    lines.give_back();
    Ok((lines, capture))
}

impl Iterator for FileFeed {
    type Item = Result<Sample, RowError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        match &mut self.rows {
            Rows::Csv(feed) => feed.next(),
            Rows::Capture(feed) => feed.next(),
            Rows::Parquet(feed) => feed.next(),
        }
    }
}

impl std::iter::FusedIterator for FileFeed {}
