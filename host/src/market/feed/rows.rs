//! Rows of bars, trades and quotes, whatever their cells are made of.

use super::Sample;
use super::header::{CELLS, Layout, RowKind};
use super::steps::{Steps, quoted_or};
use crate::market::decimal::{NumberFault, StepSize};
use crate::market::stamp::{StampUnit, parse_stamp};
use crate::market::{
    Bar, DataFault, Excerpt, FaultKind, Field, InstrumentId, Lots, Marks, OffStep, Place, PriceTicks, Tick,
    UnixNanos,
};
use std::borrow::Cow;
use std::sync::Arc;

/// One value of a row.
pub(super) trait Cell {
    /// Whether nothing stands there.
    fn is_empty(&self) -> bool;
    /// It as whole steps.
    fn count(&self, step: StepSize, off_step: OffStep) -> Result<i64, NumberFault>;
    /// It as a moment; `unit` is what the column's name says.
    fn stamp(&self, unit: Option<StampUnit>) -> Result<UnixNanos, &'static str>;
    /// It as text, for messages.
    fn text(&self) -> Cow<'_, [u8]>;
}

impl Cell for &[u8] {
    #[inline]
    fn is_empty(&self) -> bool {
        <[u8]>::is_empty(self)
    }

    #[inline]
    fn count(&self, step: StepSize, off_step: OffStep) -> Result<i64, NumberFault> {
        step.parse(self, off_step)
    }

    #[inline]
    fn stamp(&self, unit: Option<StampUnit>) -> Result<UnixNanos, &'static str> {
        parse_stamp(self, unit)
    }

    fn text(&self) -> Cow<'_, [u8]> {
        Cow::Borrowed(self)
    }
}

/// What is fixed for all rows of a file.
#[derive(Debug)]
pub(super) struct RowReader {
    pub source: Arc<str>,
    pub layout: Layout,
    pub id: InstrumentId,
    pub steps: Steps,
    pub bar_seconds: u32,
}

impl RowReader {
    /// Reads the row of this number, counted from zero.
    #[inline]
    pub fn read<C: Cell>(&self, cells: &[C; CELLS], row: u64) -> Result<Sample, FaultKind> {
        let [stamp, ..] = cells;
        let event_time = self.stamp(stamp)?;
        let tick = Tick { instrument: self.id, seq: row, event_time, ..Tick::default() };
        match self.layout.kind {
            RowKind::Trades => self.trade(tick, cells),
            RowKind::Quotes => self.quote(tick, cells),
            RowKind::Bars => self.bar(tick, cells),
        }
    }

    #[inline]
    fn trade<C: Cell>(&self, tick: Tick, cells: &[C; CELLS]) -> Result<Sample, FaultKind> {
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
    fn quote<C: Cell>(&self, tick: Tick, cells: &[C; CELLS]) -> Result<Sample, FaultKind> {
        let [_, bid, ask, bid_size, ask_size, ..] = cells;
        let side = |field, cell: &C| if cell.is_empty() { Ok(0) } else { self.steps.price(field, cell) };
        let size =
            |field, cell: &C| if cell.is_empty() { Ok(Lots::ZERO) } else { self.steps.lots(field, cell) };
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
    fn bar<C: Cell>(&self, tick: Tick, cells: &[C; CELLS]) -> Result<Sample, FaultKind> {
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
    fn stamp(&self, cell: &impl Cell) -> Result<UnixNanos, FaultKind> {
        cell.stamp(self.layout.stamp_unit).map_err(|problem| {
            if cell.is_empty() {
                return FaultKind::MissingField { field: Field::Timestamp };
            }
            let text = cell.text();
            quoted_or(&text, || FaultKind::BadTimestamp { found: Excerpt::new(&text), problem })
        })
    }

    #[inline]
    fn positive_price(&self, field: Field, cell: &impl Cell) -> Result<PriceTicks, FaultKind> {
        match self.steps.price(field, cell)? {
            0 => Err(FaultKind::Zero { field }),
            steps => Ok(PriceTicks(steps)),
        }
    }

    #[cold]
    pub fn fault(&self, kind: FaultKind, line: u64) -> DataFault {
        DataFault { kind, place: Some(Place { source: Arc::clone(&self.source), line }) }
    }
}
