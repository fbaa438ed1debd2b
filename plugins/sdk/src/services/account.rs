//! The host's own books, as of this call.
//!
//! A component that reads them is called tick by tick in a backtest, since they move with every price; the
//! position and the number of open orders are in [`crate::Context`] already and cost nothing.

use super::backend;
use crate::{Decimal, InstrumentId, Lots, OrderId, PriceTicks, Side};

/// A position.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Holding {
    /// Signed quantity.
    pub quantity: Lots,
    /// Average price it was opened at.
    pub average_price: Decimal,
    /// Profit at the last price.
    pub unrealized: Decimal,
    /// Profit of what was closed.
    pub realized: Decimal,
}

/// An order that may still be filled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WorkingOrder {
    /// Its number.
    pub id: OrderId,
    /// What it trades.
    pub instrument: InstrumentId,
    /// Which way.
    pub side: Side,
    /// How much can still be filled.
    pub leaves: Lots,
    /// The worst price it admits, if it names one.
    pub limit: Option<PriceTicks>,
}

/// Money that is not in a position.
pub fn cash() -> Decimal {
    backend::account::cash().into()
}

/// Money with every position at its last price.
pub fn equity() -> Decimal {
    backend::account::equity().into()
}

/// The position in an instrument.
pub fn position(instrument: impl Into<InstrumentId>) -> Holding {
    let holding = backend::account::position(instrument.into().0);
    Holding {
        quantity: Lots(holding.quantity),
        average_price: holding.average_price.into(),
        unrealized: holding.unrealized.into(),
        realized: holding.realized.into(),
    }
}

/// The orders in an instrument that may still be filled.
pub fn open_orders(instrument: impl Into<InstrumentId>) -> Vec<WorkingOrder> {
    let orders = backend::account::open_orders(instrument.into().0).into_iter();
    let order = |order: crate::bindings::ringfence::strategy::account::WorkingOrder| WorkingOrder {
        id: OrderId(order.id),
        instrument: InstrumentId(order.instrument),
        side: order.side,
        leaves: Lots(order.leaves),
        limit: order.limit.map(PriceTicks),
    };
    orders.map(order).collect()
}
