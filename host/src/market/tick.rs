//! One market update, and one bar, as a strategy sees them.

use super::{InstrumentId, Lots, PriceTicks, UnixNanos};
use serde::{Deserialize, Serialize};

/// What a tick carries and how far to trust it; the bits of WIT `tick-marks`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Marks(pub u8);

impl Marks {
    /// A trade happened.
    pub const TRADE: Self = Self(1);
    /// The best quote changed.
    pub const QUOTE: Self = Self(1 << 1);
    /// A full picture, not a change.
    pub const SNAPSHOT: Self = Self(1 << 2);
    /// Older than the feed allows; the host did not drop it because the configuration says so.
    pub const STALE: Self = Self(1 << 3);
    /// Printed in an auction.
    pub const AUCTION: Self = Self(1 << 4);

    /// Both sets of marks.
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether every mark of `other` is set.
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

/// One market update. A price of zero means absent. Same fields and order as WIT `tick`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
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
    /// What the update carries.
    pub marks: Marks,
}

impl Tick {
    /// The price to value a position at: the last trade, else the middle of the quote (rounded down),
    /// else whichever side there is. `None` when the tick carries no price.
    pub fn mark_price(&self) -> Option<PriceTicks> {
        let present = |price: PriceTicks| (price.0 > 0).then_some(price);
        present(self.last_price).or_else(|| match (present(self.bid_price), present(self.ask_price)) {
            (Some(bid), Some(ask)) => Some(PriceTicks(bid.0.midpoint(ask.0))),
            (bid, ask) => bid.or(ask),
        })
    }
}

/// Open, high, low and close of one interval, stamped with its start. Same fields as WIT `bar`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
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
