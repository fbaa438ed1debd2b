//! The data of a run: which files, which instruments, and what is wrong with them.

use crate::market::{
    CheckConfig, DataCounts, FeedConfig, FeedError, FileFeed, Instrument, InstrumentError, InstrumentId,
    InstrumentKind, Instruments, Lots, MarketCheck, Merge, Now, RowError, Sample, Survey, Tick, UnixNanos,
    merge,
};
use crate::resilience::{Class, Classified};
use rust_decimal::Decimal;
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use thiserror::Error;

/// A data file and what it is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataFile {
    /// Where it is.
    pub path: PathBuf,
    /// Its symbol; else the one that the rows name, or the beginning of the file's name.
    pub symbol: Option<String>,
}

/// The data of a run.
#[derive(Clone, Debug)]
pub struct Dataset {
    files: Vec<(PathBuf, InstrumentId)>,
    instruments: Arc<Instruments>,
    format: FeedConfig,
    /// What was derived from the data, in words.
    notes: Vec<String>,
    from: Option<UnixNanos>,
    to: Option<UnixNanos>,
}

/// Why data cannot be used.
#[derive(Debug, Error)]
pub enum DataError {
    /// A file cannot be read.
    #[error(transparent)]
    Feed(#[from] FeedError),
    /// Terms make no sense.
    #[error(transparent)]
    Instrument(#[from] InstrumentError),
    /// A capture of several symbols, and nobody said which is meant.
    #[error("{}: the capture holds {found}; say which is meant, as --instrument SYMBOL", path.display())]
    Symbol {
        /// Which file.
        path: PathBuf,
        /// The symbols.
        found: String,
    },
    /// Rows are bad, and that was not to be.
    #[error(
        "{count} rows cannot be used, and --strict wants none: {first}; repair the data, or leave --strict out"
    )]
    Strict {
        /// How many.
        count: u64,
        /// The first of them.
        first: String,
    },
    /// Nothing is left.
    #[error("there is no usable row{between} in the data; look at the quality report")]
    Nothing {
        /// Between which moments.
        between: String,
    },
}

impl Classified for DataError {
    fn class(&self) -> Class {
        match self {
            Self::Feed(error) => error.class(),
            _ => Class::Data,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Feed(error) => error.code(),
            Self::Instrument(_) => "data_instrument",
            Self::Symbol { .. } => "data_symbol",
            Self::Strict { .. } => "data_strict",
            Self::Nothing { .. } => "data_nothing",
        }
    }
}

impl Dataset {
    /// Looks at files and finds out what is traded in them. Terms that are not among `known` are derived from the
    /// numbers that a file holds, and noted.
    ///
    /// # Errors
    /// When a file cannot be read, or it is not clear what it is about.
    pub fn prepare(files: &[DataFile], known: &[Instrument], format: &FeedConfig) -> Result<Self, DataError> {
        let mut instruments: Vec<Instrument> = Vec::new();
        let mut derived: BTreeMap<String, Survey> = BTreeMap::new();
        let mut found = Vec::new();
        for file in files {
            let named = file.symbol.clone();
            let is_known = |symbol: &str| known.iter().any(|instrument| instrument.symbol == symbol);
            let (symbol, survey) = match named {
                Some(symbol) if is_known(&symbol) => (symbol, None),
                named => {
                    let survey = Survey::of(&file.path, format)?;
                    let symbol = match named {
                        Some(symbol) => symbol,
                        None => symbol_of(&file.path, &survey)?,
                    };
                    let survey = Some(survey).filter(|_| !is_known(&symbol));
                    (symbol, survey)
                }
            };
            if let Some(survey) = survey {
                derived.entry(symbol.clone()).or_default().join(&survey);
            }
            found.push((file.path.clone(), symbol));
        }
        let mut notes = Vec::new();
        let mut numbered = Vec::new();
        for (path, symbol) in found {
            let position = instruments.iter().position(|instrument| instrument.symbol == symbol);
            let position = position.unwrap_or_else(|| {
                let given = known.iter().find(|instrument| instrument.symbol == symbol).cloned();
                instruments.push(given.unwrap_or_else(|| {
                    let survey = derived.get(&symbol).cloned().unwrap_or_default();
                    let instrument = derive_terms(&symbol, &survey);
                    notes.push(format!(
                        "{symbol}: tick size {} and lot size {} are derived from the decimals in the data",
                        instrument.tick_size, instrument.lot_size
                    ));
                    instrument
                }));
                instruments.len() - 1
            });
            numbered.push((path, InstrumentId(u32::try_from(position).unwrap_or(u32::MAX))));
        }
        let instruments = Arc::new(Instruments::new(instruments)?);
        Ok(Self { files: numbered, instruments, format: format.clone(), notes, from: None, to: None })
    }

    /// The same data from a moment on and before another.
    pub fn between(self, from: Option<UnixNanos>, to: Option<UnixNanos>) -> Self {
        Self { from, to, ..self }
    }

    /// What is traded in it.
    pub const fn instruments(&self) -> &Arc<Instruments> {
        &self.instruments
    }

    /// What was derived from the data, in words.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Opens the files, merged by time.
    ///
    /// # Errors
    /// When a file cannot be opened or its first line is not understood.
    pub fn open(&self) -> Result<Samples, FeedError> {
        let open = |(path, id): &(PathBuf, InstrumentId)| {
            let instrument = self
                .instruments
                .get(*id)
                .ok_or_else(|| FeedError::Empty { source_name: path.display().to_string().into() })?;
            FileFeed::open(path, instrument, *id, &self.format)
        };
        let feeds = self.files.iter().map(open).collect::<Result<Vec<_>, _>>()?;
        let bytes_total = feeds.iter().map(FileFeed::bytes_total).sum();
        Ok(Samples { rows: merge(feeds), from: self.from, to: self.to, bytes_total })
    }

    /// Reads all of it once and says what is wrong.
    ///
    /// # Errors
    /// When a file cannot be read to its end, or nothing in it can be used.
    pub fn quality(&self, check: &CheckConfig) -> Result<Quality, DataError> {
        let mut quality = Quality::default();
        let mut streams = vec![Stream::default(); self.instruments.len()];
        let mut check = MarketCheck::new(check.clone().recorded(), self.instruments.len());
        for row in self.open()? {
            match row {
                Ok(sample) => {
                    quality.rows += 1;
                    let fault = check.admit(Now::default(), &sample.tick).err();
                    let index = usize::try_from(sample.tick.instrument.0).unwrap_or(usize::MAX);
                    if let Some(stream) = streams.get_mut(index) {
                        stream.take(&sample.tick, &mut quality);
                    }
                    if let Some(fault) = fault {
                        let symbol = self.instruments.get(sample.tick.instrument);
                        let symbol = symbol.map_or("?", |instrument| instrument.symbol.as_str());
                        quality.bad(fault.kind.code(), || {
                            format!("{symbol} at {}: {fault}", sample.tick.event_time)
                        });
                    }
                }
                Err(RowError::Dropped(fault)) => quality.bad(fault.kind.code(), || fault.to_string()),
                Err(RowError::Broken(error)) => return Err(error.into()),
            }
        }
        for (index, stream) in streams.iter().enumerate() {
            let id = InstrumentId(u32::try_from(index).unwrap_or(u32::MAX));
            let symbol = self.instruments.get(id).map_or_else(String::new, |terms| terms.symbol.clone());
            stream.finish(&symbol, &mut quality);
        }
        if quality.rows == 0 {
            let moment =
                |moment: Option<UnixNanos>| moment.map_or("the beginning".into(), |at| at.to_string());
            let between = match (self.from, self.to) {
                (None, None) => String::new(),
                (from, to) => {
                    format!(" from {} to {}", moment(from), to.map_or("the end".into(), |to| to.to_string()))
                }
            };
            return Err(DataError::Nothing { between });
        }
        Ok(quality)
    }
}

/// The rows of a run in the order of time.
#[derive(Debug)]
pub struct Samples {
    rows: Merge<FileFeed>,
    from: Option<UnixNanos>,
    to: Option<UnixNanos>,
    bytes_total: Option<u64>,
}

impl Samples {
    /// Bytes read so far, for a progress bar.
    pub fn bytes_read(&self) -> u64 {
        self.rows.bytes_read()
    }

    /// Bytes of all files; `None` when one is a pipe.
    pub const fn bytes_total(&self) -> Option<u64> {
        self.bytes_total
    }
}

impl Iterator for Samples {
    type Item = Result<Sample, RowError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let row = self.rows.next()?;
            let Ok(sample) = &row else { return Some(row) };
            let at = sample.tick.event_time;
            if self.to.is_some_and(|to| at >= to) {
                // Within a file that goes back in time, a later row may still belong.
                continue;
            }
            if self.from.is_none_or(|from| at >= from) {
                return Some(row);
            }
        }
    }
}

/// What is wrong with data.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Quality {
    /// Rows that were read.
    pub rows: u64,
    /// Rows that no strategy sees, by fault: what is no number, what goes back in time, what jumps too far.
    pub dropped: DataCounts,
    /// The first of them, in words.
    pub examples: Vec<String>,
    /// Rows that say the same as the one before, at the same moment.
    pub duplicates: u64,
    /// Rows that are older than the one before.
    pub backward: u64,
    /// Pauses of more than a second that are more than a hundred times as long as usual.
    pub gaps: u64,
    /// The longest pauses, in words.
    pub longest: Vec<String>,
}

impl Quality {
    /// Bad rows shown in words.
    pub const EXAMPLES_MAX: usize = 5;

    fn bad(&mut self, code: crate::market::FaultCode, words: impl FnOnce() -> String) {
        self.dropped.add(code);
        if self.examples.len() < Self::EXAMPLES_MAX {
            self.examples.push(words());
        }
    }

    /// Refuses data of which a row cannot be used.
    ///
    /// # Errors
    /// How many, and the first.
    pub fn strict(&self) -> Result<(), DataError> {
        match self.dropped.total() {
            0 => Ok(()),
            count => {
                Err(DataError::Strict { count, first: self.examples.first().cloned().unwrap_or_default() })
            }
        }
    }
}

/// One instrument, row after row.
#[derive(Clone, Debug)]
struct Stream {
    last: Option<Tick>,
    /// Pauses by the power of two that they reach.
    pauses: [u64; 64],
    /// The longest of them: its nanoseconds and when it began.
    longest: (u64, UnixNanos),
}

impl Default for Stream {
    fn default() -> Self {
        Self { last: None, pauses: [0; 64], longest: (0, UnixNanos(0)) }
    }
}

impl Stream {
    /// A pause is a gap when it is this many powers of two above the usual one.
    const GAP_POWERS: usize = 7;
    /// A second, as a power of two of nanoseconds.
    const SECOND_POWER: usize = 30;

    #[inline]
    fn take(&mut self, tick: &Tick, quality: &mut Quality) {
        let Some(last) = self.last.replace(*tick) else { return };
        if tick.event_time < last.event_time {
            quality.backward += 1;
            return;
        }
        if *tick == (Tick { seq: tick.seq, ..last }) {
            quality.duplicates += 1;
        }
        let pause = tick.event_time.0 - last.event_time.0;
        let power = usize::try_from(pause.max(1).ilog2()).unwrap_or(0);
        if let Some(count) = self.pauses.get_mut(power) {
            *count += 1;
        }
        if pause > self.longest.0 {
            self.longest = (pause, last.event_time);
        }
    }

    fn finish(&self, symbol: &str, quality: &mut Quality) {
        let total: u64 = self.pauses.iter().sum();
        let mut seen = 0;
        let usual = self.pauses.iter().position(|count| {
            seen += count;
            seen * 2 > total
        });
        let Some(usual) = usual else { return };
        let least = (usual + Self::GAP_POWERS).max(Self::SECOND_POWER);
        let gaps: u64 = self.pauses.iter().skip(least).sum();
        quality.gaps += gaps;
        if gaps > 0 {
            let (pause, from) = self.longest;
            quality.longest.push(format!("{symbol}: {:.1} s from {from}", pause as f64 / 1e9));
        }
    }
}

/// The symbol of a file: what its rows say, or its name up to the first mark: `btcusdt_20240809_trades.csv`.
fn symbol_of(path: &Path, survey: &Survey) -> Result<String, DataError> {
    let mut symbols = survey.symbols.iter();
    if let Some(symbol) = symbols.next() {
        if symbols.next().is_some() {
            let found = survey.symbols.iter().cloned().collect::<Vec<_>>().join(", ");
            return Err(DataError::Symbol { path: path.to_owned(), found });
        }
        return Ok(symbol.clone());
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let symbol: String = name.chars().take_while(|c| c.is_ascii_alphanumeric()).collect();
    Ok(if symbol.is_empty() { "DATA".into() } else { symbol.to_ascii_uppercase() })
}

fn derive_terms(symbol: &str, survey: &Survey) -> Instrument {
    const CURRENCIES: [&str; 6] = ["USDT", "USDC", "USD", "EUR", "GBP", "BTC"];
    let currency =
        CURRENCIES.into_iter().find(|currency| symbol.len() > currency.len() && symbol.ends_with(currency));
    Instrument {
        symbol: symbol.to_owned(),
        venue: "lab".into(),
        kind: InstrumentKind::Other,
        quote_currency: currency.unwrap_or("USD").into(),
        multiplier: Decimal::ONE,
        tick_size: Decimal::new(1, survey.price_decimals),
        lot_size: Decimal::new(1, survey.quantity_decimals),
        min_lots: Lots(1),
        // Beyond every size that data can be about, and far from the end of the numbers.
        max_lots: Lots(1_000_000_000_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tempfile::TempDir;

    fn prepare(dir: &TempDir, files: &[(&str, &str)], known: &[Instrument]) -> Result<Dataset, DataError> {
        let files: Vec<DataFile> = files
            .iter()
            .map(|(name, text)| {
                let path = dir.path().join(name);
                std::fs::write(&path, text).unwrap();
                DataFile { path, symbol: None }
            })
            .collect();
        Dataset::prepare(&files, known, &FeedConfig::default())
    }

    #[test]
    fn terms_come_from_the_decimals_of_every_file_of_an_instrument() {
        let dir = TempDir::new().unwrap();
        let files = [
            ("abcusdt-1.csv", "time,price,qty\n1000000000000,10.5,1\n"),
            ("xyz.csv", "time,price,qty\n1000000000001,7,0.01\n"),
            ("abcusdt_2.csv", "time,price,qty\n1000000000002,10.25,3\n"),
        ];
        let data = prepare(&dir, &files, &[]).unwrap();
        let terms: Vec<_> = data
            .instruments()
            .iter()
            .map(|(_, it)| (it.symbol.as_str(), it.tick_size.to_string(), it.lot_size.to_string()))
            .collect();
        assert_eq!(
            terms,
            [("ABCUSDT", "0.01".to_owned(), "1".to_owned()), ("XYZ", "1".to_owned(), "0.01".to_owned())]
        );
        assert_eq!(data.notes().len(), 2);
        let order: Vec<u32> = data.open().unwrap().map(|row| row.unwrap().tick.instrument.0).collect();
        assert_eq!(order, [0, 1, 0], "merged by time");
        let known: Vec<Instrument> = data.instruments().iter().map(|(_, terms)| terms.clone()).collect();
        assert!(prepare(&dir, &files, &known).unwrap().notes().is_empty(), "given terms are not derived");
    }

    #[test]
    fn what_is_wrong_is_counted_and_named_and_strict_refuses_it() {
        let dir = TempDir::new().unwrap();
        let mut text = "time,price,qty\n".to_owned();
        for second in 0..50 {
            text += &format!("{},100,1\n", 1_000_000_000 + second);
        }
        text +=
            "1000000049,100,1\n1000000040,100,1\n1000000050,1000,1\n1000000051,oops,1\n1000009000,100,1\n";
        let data = prepare(&dir, &[("a.csv", &text)], &[]).unwrap();
        let quality = data.quality(&CheckConfig::default()).unwrap();
        assert_eq!((quality.rows, quality.duplicates, quality.backward, quality.gaps), (54, 1, 1, 1));
        assert_eq!(quality.dropped.total(), 3, "backward, jump, no number: {:?}", quality.examples);
        assert!(quality.examples.iter().any(|words| words.contains("a.csv:55")), "{:?}", quality.examples);
        assert!(matches!(quality.strict(), Err(DataError::Strict { count: 3, .. })));
        let later = data
            .between(Some(UnixNanos(1_000_000_010_000_000_000)), Some(UnixNanos(1_000_000_020_000_000_000)));
        let quality = later.quality(&CheckConfig::default()).unwrap();
        assert_eq!((quality.rows, quality.dropped.total()), (10, 1), "a row without a moment is in no range");
        let none = later.between(Some(UnixNanos(1)), Some(UnixNanos(2)));
        assert!(matches!(none.quality(&CheckConfig::default()), Err(DataError::Nothing { .. })));
    }
}
