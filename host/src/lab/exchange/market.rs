//! What the simulated exchange knows of one instrument's market.

use super::model::Model;
use super::order::{Order, at_least_as_good, better};
use crate::market::{Lots, Marks, PriceTicks, Tick};
use crate::orders::Side;

/// The last that was shown of one instrument. A price of zero is absent.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Market {
    pub last: PriceTicks,
    pub last_size: Lots,
    pub bid: PriceTicks,
    pub bid_size: Lots,
    pub ask: PriceTicks,
    pub ask_size: Lots,
    /// What this account has taken since each side was shown: by buying, by selling.
    taken: (Lots, Lots),
}

impl Market {
    /// Takes an update in. What it leaves out stays as it was.
    #[inline]
    pub fn show(&mut self, tick: &Tick) {
        if tick.last_price.0 > 0 {
            (self.last, self.last_size) = (tick.last_price, tick.last_size);
            if self.ask.0 == 0 {
                self.taken.0 = Lots::ZERO;
            }
            if self.bid.0 == 0 {
                self.taken.1 = Lots::ZERO;
            }
        }
        if tick.marks.has(Marks::QUOTE) {
            (self.bid, self.bid_size) = (tick.bid_price, tick.bid_size);
            (self.ask, self.ask_size) = (tick.ask_price, tick.ask_size);
            self.taken = (Lots::ZERO, Lots::ZERO);
        }
    }

    /// What a taker pays or gets: the other side of the quote, or the last trade where there is no quote.
    pub fn touch(&self, side: Side) -> Option<PriceTicks> {
        let shown = match side {
            Side::Buy => self.ask,
            Side::Sell => self.bid,
        };
        [shown, self.last].into_iter().find(|price| price.0 > 0)
    }

    /// What a stop watches: the last trade, or the side that it would take where there was none.
    pub fn trigger(&self, side: Side) -> Option<PriceTicks> {
        Some(self.last).filter(|price| price.0 > 0).or_else(|| self.touch(side))
    }

    /// How much can be taken at the touch; `None` when as much as anybody wants.
    pub fn offered(&self, side: Side, model: &Model) -> Option<Lots> {
        if !model.limits_size() {
            return None;
        }
        let (shown, size, taken) = match side {
            Side::Buy => (self.ask, self.ask_size, self.taken.0),
            Side::Sell => (self.bid, self.bid_size, self.taken.1),
        };
        let size = if shown.0 > 0 { size } else { self.last_size };
        // Data without sizes limits nothing.
        (size > Lots::ZERO).then(|| Lots(size.0.saturating_sub(taken.0).max(0)))
    }

    pub fn take(&mut self, side: Side, quantity: Lots) {
        let taken = match side {
            Side::Buy => &mut self.taken.0,
            Side::Sell => &mut self.taken.1,
        };
        taken.0 = taken.0.saturating_add(quantity.0);
    }

    /// What stands before a new order at its price.
    pub fn ahead(&self, side: Side, limit: PriceTicks) -> Option<Lots> {
        let (own, size) = self.own_side(side);
        if own.0 == 0 {
            return None;
        }
        if own == limit {
            return Some(size);
        }
        // Better than all that is shown: it is the first there.
        at_least_as_good(side, own, limit).then_some(Lots::ZERO)
    }

    /// What a new quote says about the place of a resting order.
    pub fn advance(&self, order: &mut Order, limit: PriceTicks) {
        let (own, size) = self.own_side(order.side);
        if own.0 > 0 && own == limit {
            order.ahead = Some(order.ahead.map_or(size, |ahead| ahead.min(size)));
        } else if own.0 > 0 && better(order.side, own, limit) {
            order.ahead = Some(Lots::ZERO);
        }
    }

    const fn own_side(&self, side: Side) -> (PriceTicks, Lots) {
        match side {
            Side::Buy => (self.bid, self.bid_size),
            Side::Sell => (self.ask, self.ask_size),
        }
    }
}
