//! What the host tells a strategy; the host's own model of WIT `event`.

use super::{OrderId, Side};
use crate::market::{InstrumentId, Lots, Money, PriceTicks};
use crate::resilience::Mode;
use serde::{Deserialize, Serialize};

/// Why an intent was refused; the cases of WIT `reject-reason`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[expect(missing_docs, reason = "the names are those of the WIT enum, which documents them")]
pub enum RejectReason {
    Risk,
    Mode,
    Venue,
    InsufficientFunds,
    DuplicateId,
    UnknownOrder,
    UnknownInstrument,
    WouldCross,
    RateLimited,
    Invalid,
    DeadLettered,
    Other,
}

/// What the host tells a strategy about its orders and itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StrategyEvent {
    /// The venue has the order.
    Accepted(OrderId),
    /// The venue has the change.
    Amended(OrderId),
    /// Some or all of an order was executed.
    Filled {
        /// Which order.
        order: OrderId,
        /// Its instrument.
        instrument: InstrumentId,
        /// Its side.
        side: Side,
        /// How much, positive.
        quantity: Lots,
        /// At what price.
        price: PriceTicks,
        /// How much still works.
        leaves: Lots,
        /// What the venue charged; negative for a rebate.
        fee: Money,
        /// Whether it rested before.
        maker: bool,
    },
    /// The order is gone; what was not filled will not be.
    Cancelled(OrderId),
    /// The order ran out of time, or the host dropped it before it was sent.
    Expired(OrderId),
    /// The order or the intent was refused.
    Rejected {
        /// Which order.
        order: OrderId,
        /// Why.
        reason: RejectReason,
        /// In words.
        detail: String,
    },
    /// Sent, and nobody knows yet what became of it; another event will say.
    Unresolved(OrderId),
    /// A funding payment; negative when paid.
    Funded {
        /// For which instrument.
        instrument: InstrumentId,
        /// How much.
        amount: Money,
    },
    /// A timer that the strategy set has come.
    Timer(u32),
    /// The host's mode for this agent changed.
    ModeChanged(Mode),
    /// Words from the operator of the host.
    Operator(String),
}
