//! An order at the simulated exchange.

use crate::market::{InstrumentId, Lots, PriceTicks, UnixNanos};
use crate::orders::{OrderKind, OrderOptions, Side, TimeInForce};

const DAY_NANOS: u64 = 86_400_000_000_000;

/// The exchange's own number of an order, in the order of arrival.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OrderNumber(pub u64);

/// An order as it arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket {
    /// What to trade.
    pub instrument: InstrumentId,
    /// Which way.
    pub side: Side,
    /// How much, positive.
    pub quantity: Lots,
    /// At what price.
    pub kind: OrderKind,
    /// For how long.
    pub tif: TimeInForce,
    /// Options.
    pub options: OrderOptions,
}

/// A definite no.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// A stable code; the same as the paper venue's.
    pub code: &'static str,
    /// In words.
    pub text: &'static str,
}

/// What is left of an order when it meets the market once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Patience {
    /// It rests.
    Rests,
    /// The rest is cancelled.
    Takes,
    /// All or nothing.
    AllOrNothing,
}

/// An order that works.
#[derive(Clone, Copy, Debug)]
pub(super) struct Order {
    pub number: OrderNumber,
    pub side: Side,
    pub quantity: Lots,
    pub filled: Lots,
    /// The worst price it admits.
    pub limit: Option<PriceTicks>,
    /// The price that still has to be seen before it works.
    pub armed: Option<PriceTicks>,
    pub patience: Patience,
    /// When it ends by itself.
    pub until: Option<UnixNanos>,
    pub post_only: bool,
    pub reduce_only: bool,
    /// What stands before it at its price; `None` when nobody knows.
    pub ahead: Option<Lots>,
}

impl Order {
    /// The order of a ticket whose parts fit each other. `at` is when it arrives.
    pub fn new(number: OrderNumber, ticket: &Ticket, at: UnixNanos) -> Result<Self, Refusal> {
        let (limit, armed) = match ticket.kind {
            OrderKind::Market => (None, None),
            OrderKind::Limit(limit) => (Some(limit), None),
            OrderKind::Stop(trigger) => (None, Some(trigger)),
            OrderKind::StopLimit { trigger, limit } => (Some(limit), Some(trigger)),
        };
        let (patience, until) = match ticket.tif {
            TimeInForce::Ioc => (Patience::Takes, None),
            TimeInForce::Fok => (Patience::AllOrNothing, None),
            TimeInForce::Gtc => (Patience::Rests, None),
            TimeInForce::Day => {
                (Patience::Rests, Some(UnixNanos((at.0 / DAY_NANOS + 1).saturating_mul(DAY_NANOS))))
            }
            TimeInForce::Gtd(until) => (Patience::Rests, Some(until)),
        };
        let plain_limit = limit.is_some() && armed.is_none();
        if ticket.options.post_only && !(plain_limit && patience == Patience::Rests) {
            let text = "post-only is for limit orders that may rest";
            return Err(Refusal { code: "invalid_order", text });
        }
        if ticket.quantity <= Lots::ZERO {
            return Err(Refusal { code: "invalid_quantity", text: "the quantity is not above zero" });
        }
        if [limit, armed].into_iter().flatten().any(|price| price.0 <= 0) {
            return Err(Refusal { code: "invalid_price", text: "a price is not above zero" });
        }
        Ok(Self {
            number,
            side: ticket.side,
            quantity: ticket.quantity,
            filled: Lots::ZERO,
            limit,
            armed,
            patience,
            until,
            post_only: ticket.options.post_only,
            reduce_only: ticket.options.reduce_only,
            ahead: None,
        })
    }

    /// What can still be filled.
    pub const fn leaves(&self) -> Lots {
        Lots(self.quantity.0.saturating_sub(self.filled.0))
    }

    /// Whether the order takes or makes at this price.
    pub fn admits(&self, price: PriceTicks) -> bool {
        self.limit.is_none_or(|limit| at_least_as_good(self.side, price, limit))
    }

    /// Whether this order comes before another of its side: the better price, then the earlier arrival.
    pub fn precedes(&self, other: &Self) -> bool {
        match (self.limit, other.limit) {
            (Some(mine), Some(theirs)) if mine != theirs => at_least_as_good(self.side, theirs, mine),
            _ => true,
        }
    }
}

/// Whether `price` is as good for this side as `limit`, or better.
pub(super) const fn at_least_as_good(side: Side, price: PriceTicks, limit: PriceTicks) -> bool {
    match side {
        Side::Buy => price.0 <= limit.0,
        Side::Sell => price.0 >= limit.0,
    }
}

/// Whether `price` is better for this side than `limit`.
pub(super) const fn better(side: Side, price: PriceTicks, limit: PriceTicks) -> bool {
    price.0 != limit.0 && at_least_as_good(side, price, limit)
}
