//! Orders and how to build them.

use crate::bindings::ringfence::strategy::types;
use crate::{InstrumentId, Lots, PriceTicks, Side, TimeInForce, UnixNanos};

/// The number of an order, unique for its strategy across restarts and swaps. [`crate::Intents::submit`]
/// gives it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OrderId(pub u64);

/// The price condition of an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OrderKind {
    /// At the best price there is.
    Market,
    /// At this price or better.
    Limit(PriceTicks),
    /// A market order once the price has reached this trigger.
    Stop(PriceTicks),
    /// A limit order once the price has reached the trigger.
    StopLimit {
        /// The price that wakes it.
        trigger: PriceTicks,
        /// The price that it then asks for.
        limit: PriceTicks,
    },
}

/// An order to submit: made by one of the four constructors, then refined. Without more it rests until it
/// is filled or cancelled.
///
/// ```
/// use ringfence_sdk::prelude::*;
///
/// let bid = Order::limit(InstrumentId(0), Side::Buy, Lots(5), PriceTicks(6_168_599)).post_only().tag(7);
/// let exit = Order::market(InstrumentId(0), Side::Sell, Lots(5)).reduce_only();
/// # let _ = (bid, exit);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
#[must_use = "an order does nothing until it is given to `intents.submit`"]
pub struct Order {
    /// What to trade.
    pub instrument: InstrumentId,
    /// Which way.
    pub side: Side,
    /// How much, positive.
    pub quantity: Lots,
    /// At what price.
    pub kind: OrderKind,
    /// For how long.
    pub time_in_force: TimeInForce,
    /// Whether to refuse rather than take liquidity.
    pub post_only: bool,
    /// Whether never to open or flip a position.
    pub reduce_only: bool,
    /// The strategy's own mark, returned in reports.
    pub tag: u32,
}

impl Order {
    /// An order at the best price there is. The sign of `quantity` does not matter: `side` says the way.
    pub fn market(instrument: impl Into<InstrumentId>, side: Side, quantity: Lots) -> Self {
        Self::of(instrument.into(), side, quantity, OrderKind::Market)
    }

    /// An order at `price` or better.
    pub fn limit(instrument: impl Into<InstrumentId>, side: Side, quantity: Lots, price: PriceTicks) -> Self {
        Self::of(instrument.into(), side, quantity, OrderKind::Limit(price))
    }

    /// A market order once the price has reached `trigger`.
    pub fn stop(
        instrument: impl Into<InstrumentId>,
        side: Side,
        quantity: Lots,
        trigger: PriceTicks,
    ) -> Self {
        Self::of(instrument.into(), side, quantity, OrderKind::Stop(trigger))
    }

    /// A limit order at `limit` once the price has reached `trigger`.
    pub fn stop_limit(
        instrument: impl Into<InstrumentId>,
        side: Side,
        quantity: Lots,
        trigger: PriceTicks,
        limit: PriceTicks,
    ) -> Self {
        Self::of(instrument.into(), side, quantity, OrderKind::StopLimit { trigger, limit })
    }

    /// Fills what can be filled at once and cancels the rest.
    pub const fn ioc(self) -> Self {
        Self { time_in_force: TimeInForce::Ioc, ..self }
    }

    /// Fills all at once or nothing.
    pub const fn fok(self) -> Self {
        Self { time_in_force: TimeInForce::Fok, ..self }
    }

    /// Rests until the end of the trading day.
    pub const fn day(self) -> Self {
        Self { time_in_force: TimeInForce::Day, ..self }
    }

    /// Rests until a moment.
    pub const fn until(self, moment: UnixNanos) -> Self {
        Self { time_in_force: TimeInForce::Gtd(moment.0), ..self }
    }

    /// Is refused rather than take liquidity.
    pub const fn post_only(self) -> Self {
        Self { post_only: true, ..self }
    }

    /// Never opens or flips a position. The only kind of order that the mode read-only lets through.
    pub const fn reduce_only(self) -> Self {
        Self { reduce_only: true, ..self }
    }

    /// Carries the strategy's own mark.
    pub const fn tag(self, tag: u32) -> Self {
        Self { tag, ..self }
    }

    const fn of(instrument: InstrumentId, side: Side, quantity: Lots, kind: OrderKind) -> Self {
        Self {
            instrument,
            side,
            quantity: quantity.abs(),
            kind,
            time_in_force: TimeInForce::Gtc,
            post_only: false,
            reduce_only: false,
            tag: 0,
        }
    }

    pub(crate) fn with_id(self, id: OrderId) -> types::NewOrder {
        let mut options = types::OrderOptions::empty();
        options.set(types::OrderOptions::POST_ONLY, self.post_only);
        options.set(types::OrderOptions::REDUCE_ONLY, self.reduce_only);
        types::NewOrder {
            id: id.0,
            instrument: self.instrument.0,
            side: self.side,
            quantity: self.quantity.0,
            kind: match self.kind {
                OrderKind::Market => types::OrderKind::Market,
                OrderKind::Limit(price) => types::OrderKind::Limit(price.0),
                OrderKind::Stop(trigger) => types::OrderKind::Stop(trigger.0),
                OrderKind::StopLimit { trigger, limit } => {
                    types::OrderKind::StopLimit(types::StopLimit { trigger: trigger.0, limit: limit.0 })
                }
            },
            tif: self.time_in_force,
            options,
            tag: self.tag,
        }
    }
}

impl Side {
    /// The other side.
    pub const fn opposite(self) -> Self {
        match self {
            Self::Buy => Self::Sell,
            Self::Sell => Self::Buy,
        }
    }

    /// The quantity with the sign of its effect on a position.
    pub const fn signed(self, quantity: Lots) -> Lots {
        match self {
            Self::Buy => quantity,
            Self::Sell => Lots(quantity.0.saturating_neg()),
        }
    }
}
