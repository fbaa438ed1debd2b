//! News about orders, timers, the mode and the operator.

use crate::bindings::ringfence::strategy::types;
use crate::{Decimal, InstrumentId, Lots, Mode, OrderId, PriceTicks, RejectReason, Side};

/// A piece of news. Of an order, `Filled` with no leaves, `Cancelled`, `Expired` and `Rejected` are the last.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// The venue has the order.
    Accepted(OrderId),
    /// The venue changed the order.
    Amended(OrderId),
    /// The order, or a part of it, was filled.
    Filled(Fill),
    /// The order was taken back.
    Cancelled(OrderId),
    /// The order's time ran out.
    Expired(OrderId),
    /// The order, or the change asked of it, was refused.
    Rejected(Rejection),
    /// It was sent, and nobody knows yet what became of it; another event will say.
    Unresolved(OrderId),
    /// Funding was paid or received.
    Funded(Funding),
    /// A timer set with [`crate::clock::set_timer`] ran out.
    Timer(u32),
    /// The host changed what the strategy may do.
    ModeChanged(Mode),
    /// Words from the operator of the host.
    Operator(String),
}

/// A fill, or a part of one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Fill {
    /// Which order.
    pub order: OrderId,
    /// What was traded.
    pub instrument: InstrumentId,
    /// Which way.
    pub side: Side,
    /// How much of it this time, positive.
    pub quantity: Lots,
    /// At what price.
    pub price: PriceTicks,
    /// How much of the order can still be filled.
    pub leaves: Lots,
    /// What it cost, in the quote currency.
    pub fee: Decimal,
    /// Whether the order was resting.
    pub maker: bool,
}

/// A refusal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// Which order.
    pub order: OrderId,
    /// Why, for the strategy.
    pub reason: RejectReason,
    /// Why, for a reader.
    pub detail: String,
}

/// Funding of a perpetual contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Funding {
    /// For which position.
    pub instrument: InstrumentId,
    /// How much, positive when received.
    pub amount: Decimal,
}

impl Event {
    /// The order that the news is about, if it is about one.
    pub const fn order(&self) -> Option<OrderId> {
        match self {
            Self::Accepted(id)
            | Self::Amended(id)
            | Self::Cancelled(id)
            | Self::Expired(id)
            | Self::Unresolved(id) => Some(*id),
            Self::Filled(fill) => Some(fill.order),
            Self::Rejected(rejection) => Some(rejection.order),
            Self::Funded(_) | Self::Timer(_) | Self::ModeChanged(_) | Self::Operator(_) => None,
        }
    }
}

impl From<types::Event> for Event {
    fn from(event: types::Event) -> Self {
        match event {
            types::Event::Accepted(id) => Self::Accepted(OrderId(id)),
            types::Event::Amended(id) => Self::Amended(OrderId(id)),
            types::Event::Filled(fill) => Self::Filled(Fill {
                order: OrderId(fill.order),
                instrument: InstrumentId(fill.instrument),
                side: fill.side,
                quantity: Lots(fill.quantity),
                price: PriceTicks(fill.price),
                leaves: Lots(fill.leaves),
                fee: fill.fee.into(),
                maker: fill.maker,
            }),
            types::Event::Cancelled(id) => Self::Cancelled(OrderId(id)),
            types::Event::Expired(id) => Self::Expired(OrderId(id)),
            types::Event::Rejected(rejection) => Self::Rejected(Rejection {
                order: OrderId(rejection.order),
                reason: rejection.reason,
                detail: rejection.detail,
            }),
            types::Event::Unresolved(id) => Self::Unresolved(OrderId(id)),
            types::Event::Funded(funding) => Self::Funded(Funding {
                instrument: InstrumentId(funding.instrument),
                amount: funding.amount.into(),
            }),
            types::Event::Timer(id) => Self::Timer(id),
            types::Event::ModeChanged(mode) => Self::ModeChanged(mode),
            types::Event::Operator(words) => Self::Operator(words),
        }
    }
}
