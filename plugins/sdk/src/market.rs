//! What a strategy sees of the market, and what it is told with every call.

use crate::bindings::ringfence::strategy::types;
use crate::{InstrumentId, Lots, Marks, Mode, PriceTicks};

/// Nanoseconds since the Unix epoch, by the data's clock in a backtest and the host's when live.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixNanos(pub u64);

/// One market update. A price of zero means absent; the methods give those as `None`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tick {
    /// Which instrument.
    pub instrument: InstrumentId,
    /// Number of the update within its feed.
    pub seq: u64,
    /// When it happened, by the source's clock.
    pub event_time: UnixNanos,
    /// Best bid.
    pub bid_price: PriceTicks,
    /// Quantity at the best bid.
    pub bid_size: Lots,
    /// Best ask.
    pub ask_price: PriceTicks,
    /// Quantity at the best ask.
    pub ask_size: Lots,
    /// Price of the last trade.
    pub last_price: PriceTicks,
    /// Quantity of the last trade.
    pub last_size: Lots,
    /// Quantity traded in the interval that the update covers.
    pub volume: Lots,
    /// What the update carries and how far to trust it.
    pub marks: Marks,
}

/// What a strategy is told with every tick, bar and event, about the instrument that the call is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Context {
    /// Time of the call.
    pub now: UnixNanos,
    /// The position, signed.
    pub position: Lots,
    /// Orders that may still be filled.
    pub open_orders: u32,
    /// How many intents the call may return; more is a trap.
    pub intents_left: u32,
    /// What the host lets the strategy do now.
    pub mode: Mode,
}

/// Open, high, low and close of one interval, stamped with its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bar {
    /// Which instrument.
    pub instrument: InstrumentId,
    /// Start of the interval.
    pub start: UnixNanos,
    /// Length of the interval.
    pub seconds: u32,
    /// First price.
    pub open: PriceTicks,
    /// Highest price.
    pub high: PriceTicks,
    /// Lowest price.
    pub low: PriceTicks,
    /// Last price.
    pub close: PriceTicks,
    /// Quantity traded.
    pub volume: Lots,
    /// Number of trades, zero when unknown.
    pub trades: u32,
}

impl UnixNanos {
    /// This moment some seconds later; stays in range.
    pub const fn plus_seconds(self, seconds: u64) -> Self {
        Self(self.0.saturating_add(seconds.saturating_mul(1_000_000_000)))
    }

    /// Nanoseconds since `earlier`, zero when that is later.
    pub const fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl Tick {
    /// How many numbers a row of the batch interface holds.
    pub(crate) const FIELDS: usize = 11;

    /// Price of the last trade.
    #[inline]
    pub const fn last(&self) -> Option<PriceTicks> {
        self.last_price.present()
    }

    /// Best bid.
    #[inline]
    pub const fn bid(&self) -> Option<PriceTicks> {
        self.bid_price.present()
    }

    /// Best ask.
    #[inline]
    pub const fn ask(&self) -> Option<PriceTicks> {
        self.ask_price.present()
    }

    /// A row of the batch interface: the fields in order, unsigned ones reinterpreted.
    #[inline]
    #[expect(clippy::cast_sign_loss, clippy::cast_possible_truncation, reason = "the row reinterprets bits")]
    pub(crate) const fn from_row(row: &[i64; Self::FIELDS]) -> Self {
        let [instrument, seq, time, bid, bid_size, ask, ask_size, last, last_size, volume, marks] = *row;
        Self {
            instrument: InstrumentId(instrument as u32),
            seq: seq as u64,
            event_time: UnixNanos(time as u64),
            bid_price: PriceTicks(bid),
            bid_size: Lots(bid_size),
            ask_price: PriceTicks(ask),
            ask_size: Lots(ask_size),
            last_price: PriceTicks(last),
            last_size: Lots(last_size),
            volume: Lots(volume),
            marks: Marks::from_bits_retain(marks as u8),
        }
    }
}

impl Default for Tick {
    fn default() -> Self {
        Self::from_row(&[0; Self::FIELDS])
    }
}

impl From<types::Tick> for Tick {
    #[inline]
    fn from(tick: types::Tick) -> Self {
        Self {
            instrument: InstrumentId(tick.instrument),
            seq: tick.seq,
            event_time: UnixNanos(tick.event_time),
            bid_price: PriceTicks(tick.bid_price),
            bid_size: Lots(tick.bid_size),
            ask_price: PriceTicks(tick.ask_price),
            ask_size: Lots(tick.ask_size),
            last_price: PriceTicks(tick.last_price),
            last_size: Lots(tick.last_size),
            volume: Lots(tick.volume),
            marks: tick.marks,
        }
    }
}

impl From<types::TickContext> for Context {
    #[inline]
    fn from(context: types::TickContext) -> Self {
        Self {
            now: UnixNanos(context.now),
            position: Lots(context.position),
            open_orders: context.open_orders,
            intents_left: context.intents_left,
            mode: context.mode,
        }
    }
}

impl From<types::Bar> for Bar {
    fn from(bar: types::Bar) -> Self {
        Self {
            instrument: InstrumentId(bar.instrument),
            start: UnixNanos(bar.start),
            seconds: bar.seconds,
            open: PriceTicks(bar.open),
            high: PriceTicks(bar.high),
            low: PriceTicks(bar.low),
            close: PriceTicks(bar.close),
            volume: Lots(bar.volume),
            trades: bar.trades,
        }
    }
}
