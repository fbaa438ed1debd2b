//! What a strategy asks for in one call.

use crate::bindings::ringfence::strategy::types;
use crate::{InstrumentId, Lots, Order, OrderId, PriceTicks};

/// One thing a strategy asked for. The host decides, keys, journals, sends and retries.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Intent {
    /// A new order.
    Submit {
        /// The number it was given.
        id: OrderId,
        /// The order.
        order: Order,
    },
    /// Take a working order back.
    Cancel(OrderId),
    /// Change a working order.
    Amend {
        /// Which order.
        id: OrderId,
        /// Its new quantity.
        quantity: Lots,
        /// Its new limit, or the old one when absent.
        limit: Option<PriceTicks>,
    },
    /// Take back every working order of one instrument.
    CancelAll(InstrumentId),
}

/// Collects what a strategy asks for in one call, and gives orders their numbers.
#[derive(Debug)]
pub struct Intents<'a> {
    list: Vec<Intent>,
    room: u32,
    next_order_id: &'a mut OrderId,
}

impl<'a> Intents<'a> {
    pub(crate) const fn new(room: u32, next_order_id: &'a mut OrderId) -> Self {
        Self { list: Vec::new(), room, next_order_id }
    }

    /// Asks for an order and says which number it got. The number comes back in the events of the order.
    pub fn submit(&mut self, order: Order) -> OrderId {
        let id = *self.next_order_id;
        self.next_order_id.0 = id.0.saturating_add(1);
        self.list.push(Intent::Submit { id, order });
        id
    }

    /// Asks to take an order back. Until an event says so, the order can still be filled.
    pub fn cancel(&mut self, id: OrderId) {
        self.list.push(Intent::Cancel(id));
    }

    /// Asks to change the quantity, and the limit if one is given, of a working order.
    pub fn amend(&mut self, id: OrderId, quantity: Lots, limit: Option<PriceTicks>) {
        self.list.push(Intent::Amend { id, quantity, limit });
    }

    /// Asks to take back every working order of an instrument.
    pub fn cancel_all(&mut self, instrument: impl Into<InstrumentId>) {
        self.list.push(Intent::CancelAll(instrument.into()));
    }

    /// How many more intents this call may return. The host ends a call that returns more.
    pub fn left(&self) -> usize {
        usize::try_from(self.room).unwrap_or(usize::MAX).saturating_sub(self.list.len())
    }

    /// How many were asked for in this call so far.
    pub const fn len(&self) -> usize {
        self.list.len()
    }

    /// Whether nothing was asked for in this call yet.
    pub const fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    pub(crate) fn into_list(self) -> Vec<Intent> {
        self.list
    }
}

impl From<Intent> for types::OrderIntent {
    fn from(intent: Intent) -> Self {
        match intent {
            Intent::Submit { id, order } => Self::Submit(order.with_id(id)),
            Intent::Cancel(id) => Self::Cancel(id.0),
            Intent::Amend { id, quantity, limit } => Self::Amend(types::AmendOrder {
                id: id.0,
                quantity: quantity.0,
                limit: limit.map(|price| price.0),
            }),
            Intent::CancelAll(instrument) => Self::CancelAll(instrument.0),
        }
    }
}
