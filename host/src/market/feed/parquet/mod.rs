//! Parquet files of bars, trades and quotes.
//!
//! Columns are recognised by the same names as those of CSV, and a value means the same: a price of 61685.99 is
//! as many ticks whether it stands there as text, as a decimal, or as the binary fraction nearest to it. Columns
//! are read side by side, some thousand rows at a time, and those that nobody asks for are not read at all.

mod column;
mod file;
#[cfg(test)]
mod tests;
mod value;

use self::column::Column;
use self::file::{Counted, is_parquet};
use self::value::Value;
use super::header::{CELLS, Layout, RowKind};
use super::rows::{Cell as _, RowReader};
use super::steps::Steps;
use super::{FeedConfig, FeedError, RowError, Sample, Survey};
use crate::market::{Instrument, InstrumentId};
use ::parquet::file::metadata::ParquetMetaData;
use ::parquet::file::reader::{FileReader, SerializedFileReader};
use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Rows that are unpacked at a time: enough that the work on a batch is far above that of beginning one, and
/// 64 KiB a column.
const BATCH_ROWS: usize = 8_192;

/// A Parquet file, open, with its columns recognised.
struct Table {
    reader: SerializedFileReader<Counted>,
    layout: Layout,
    columns: Vec<Column>,
    groups: usize,
    /// The next row group.
    group: usize,
    /// Rows of the batch, and how many of them were given out.
    batch: usize,
    at: usize,
    /// Rows of the open group that were not read yet.
    group_rows: usize,
    name: Arc<str>,
    taken: Arc<AtomicU64>,
    total: u64,
}

impl std::fmt::Debug for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Table")
            .field("layout", &self.layout)
            .field("group", &self.group)
            .finish_non_exhaustive()
    }
}

impl Table {
    /// Opens a file if it is one of this format.
    fn open(path: &Path, name: &Arc<str>, config: &FeedConfig) -> Result<Option<Self>, FeedError> {
        let failed = |cause| FeedError::Open { source_name: Arc::clone(name), cause };
        let file = File::open(path).map_err(failed)?;
        if !is_parquet(&file).map_err(failed)? {
            return Ok(None);
        }
        let total = file.metadata().map_err(failed)?.len();
        let taken = Arc::new(AtomicU64::new(0));
        let counted = Counted::new(file, total, Arc::clone(&taken));
        let reader = guarded(name, || SerializedFileReader::new(counted))?;
        let (layout, columns) = recognise(reader.metadata(), name, config)?;
        let groups = reader.num_row_groups();
        let name = Arc::clone(name);
        let table = Self {
            reader,
            layout,
            columns,
            groups,
            group: 0,
            batch: 0,
            at: 0,
            group_rows: 0,
            name,
            taken,
            total,
        };
        Ok(Some(table))
    }

    /// The cells of the next row; `None` after the last one.
    #[inline]
    fn next(&mut self) -> Result<Option<[Value<'_>; CELLS]>, FeedError> {
        if self.at == self.batch && !self.fill()? {
            return Ok(None);
        }
        let row = self.at;
        self.at += 1;
        let mut cells = [const { Value::Null }; CELLS];
        for column in &self.columns {
            if let Some(cell) = cells.get_mut(column.cell()) {
                *cell = column.value(row);
            }
        }
        Ok(Some(cells))
    }

    /// Reads the next batch; says whether there was one.
    #[cold]
    fn fill(&mut self) -> Result<bool, FeedError> {
        while self.group_rows == 0 {
            if self.group == self.groups {
                return Ok(false);
            }
            let (reader, columns, group) = (&self.reader, &mut self.columns, self.group);
            let rows = guarded(&self.name, || {
                let group = reader.get_row_group(group)?;
                for column in columns {
                    column.begin(group.get_column_reader(column.index())?)?;
                }
                Ok(group.metadata().num_rows())
            })?;
            self.group += 1;
            self.group_rows = usize::try_from(rows)
                .map_err(|_| broken(&self.name, format!("row group {} has {rows} rows", self.group)))?;
        }
        let rows = self.group_rows.min(BATCH_ROWS);
        let columns = &mut self.columns;
        let short = guarded(&self.name, || {
            let mut short = None;
            for column in columns {
                let found = column.fill(rows)?;
                if found != rows {
                    short = Some((column.index(), found));
                }
            }
            Ok(short)
        })?;
        if let Some((column, found)) = short {
            let words = format!(
                "column {column} ends in row group {}: expected {rows} more rows, found {found}; the file is damaged",
                self.group
            );
            return Err(broken(&self.name, words));
        }
        (self.batch, self.at) = (rows, 0);
        self.group_rows -= rows;
        Ok(true)
    }
}

/// The columns that are read, and what they hold.
fn recognise(
    metadata: &ParquetMetaData,
    name: &Arc<str>,
    config: &FeedConfig,
) -> Result<(Layout, Vec<Column>), FeedError> {
    let schema = metadata.file_metadata().schema_descr();
    // Nested columns keep their place, under a name that nothing is called.
    let names: Vec<String> = schema
        .columns()
        .iter()
        .map(|column| match column.path().parts() {
            [name] if column.max_rep_level() == 0 && column.max_def_level() <= 1 => {
                name.replace([',', '"'], "_")
            }
            _ => String::from("_"),
        })
        .collect();
    let layout = Layout::recognise(name, names.join(",").as_bytes(), config.format)?;
    let mut columns = Vec::new();
    for (index, cell) in layout.cell_of_column.iter().enumerate() {
        let Some(kind) = schema.columns().get(index).filter(|_| usize::from(*cell) + 1 < CELLS) else {
            continue;
        };
        columns.push(Column::new(index, usize::from(*cell), kind).map_err(|words| broken(name, words))?);
    }
    Ok((layout, columns))
}

/// Runs the library, which may panic on a file that is damaged on purpose.
fn guarded<T>(name: &Arc<str>, work: impl FnOnce() -> ::parquet::errors::Result<T>) -> Result<T, FeedError> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(error)) => Err(broken(name, format!("no Parquet that can be read: {error}"))),
        Err(_) => {
            Err(broken(name, "no Parquet that can be read: the reader gave up on it; the file is damaged"))
        }
    }
}

#[cold]
fn broken(name: &Arc<str>, reason: impl Into<String>) -> FeedError {
    FeedError::Parquet { source_name: Arc::clone(name), reason: reason.into() }
}

/// A Parquet file as an iterator of samples, in the order of its rows.
#[derive(Debug)]
pub(super) struct ParquetFeed {
    table: Table,
    rows: RowReader,
    row: u64,
    ended: bool,
}

impl ParquetFeed {
    /// Opens a file if it is one of this format.
    pub fn open(
        path: &Path,
        name: &Arc<str>,
        instrument: &Instrument,
        id: InstrumentId,
        config: &FeedConfig,
    ) -> Result<Option<Self>, FeedError> {
        let Some(table) = Table::open(path, name, config)? else { return Ok(None) };
        let rows = RowReader {
            source: Arc::clone(name),
            layout: table.layout.clone(),
            id,
            steps: Steps::of(name, instrument, config.off_step)?,
            bar_seconds: config.bar_seconds.map_or(0, std::num::NonZeroU32::get),
        };
        Ok(Some(Self { table, rows, row: 0, ended: false }))
    }

    /// Bytes of the file read so far.
    pub fn taken(&self) -> u64 {
        self.table.taken.load(Ordering::Relaxed)
    }

    /// Length of the file when it was opened.
    pub const fn total(&self) -> u64 {
        self.table.total
    }
}

impl Iterator for ParquetFeed {
    type Item = Result<Sample, RowError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let cells = match self.table.next() {
            Ok(Some(cells)) => cells,
            Ok(None) => {
                self.ended = true;
                return None;
            }
            Err(error) => {
                self.ended = true;
                return Some(Err(error.into()));
            }
        };
        let row = self.row;
        self.row += 1;
        Some(self.rows.read(&cells, row).map_err(|kind| self.rows.fault(kind, row + 1).into()))
    }
}

/// What a look through a whole file says of its instrument; `None` when it is of another format.
pub(super) fn survey(path: &Path, name: &Arc<str>, config: &FeedConfig) -> Result<Option<Survey>, FeedError> {
    let Some(mut table) = Table::open(path, name, config)? else { return Ok(None) };
    let kind = table.layout.kind;
    let mut survey = Survey::default();
    while let Some([_, a, b, c, d, e, _]) = table.next()? {
        match kind {
            RowKind::Trades => survey.take_values(&[&a], &[&b]),
            RowKind::Quotes => survey.take_values(&[&a, &b], &[&c, &d]),
            RowKind::Bars => survey.take_values(&[&a, &b, &c, &d], &[&e]),
        }
    }
    Ok(Some(survey))
}

impl Survey {
    #[inline]
    fn take_values(&mut self, prices: &[&Value<'_>], quantities: &[&Value<'_>]) {
        let finest = |so_far: u32, values: &[&Value<'_>]| {
            values
                .iter()
                .filter(|value| !value.is_empty())
                .fold(so_far, |so_far, value| value.decimals(so_far).min(Self::DECIMALS_MAX))
        };
        self.price_decimals = finest(self.price_decimals, prices);
        self.quantity_decimals = finest(self.quantity_decimals, quantities);
    }
}
