//! What a venue can answer, and what is known when it does not.

use crate::market::{InstrumentId, Lots, Money, PriceTicks};
use crate::orders::IntentKey;
use crate::resilience::Failure;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// One change of an order, as the venue reports it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderUpdate {
    /// The venue's number of the change, strictly increasing per account. The same change always has the same number.
    pub sequence: u64,
    /// The key under which the order was placed.
    pub key: IntentKey,
    /// What changed.
    pub change: OrderChange,
    /// The venue's own id of the order, where a later cancel or question has to name it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub venue_id: Option<String>,
}

/// A position as the venue reports it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VenuePosition {
    /// In which instrument of the venue's table.
    pub instrument: InstrumentId,
    /// Signed quantity.
    pub quantity: Lots,
}

/// What can happen to an order at a venue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OrderChange {
    /// The venue has it.
    Accepted,
    /// Some or all of it was executed.
    Filled {
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
    /// Its terms are now these.
    Amended {
        /// What still works.
        leaves: Lots,
        /// Its limit.
        limit: Option<PriceTicks>,
    },
    /// It is gone; what was not filled will not be.
    Cancelled,
    /// It ran out of time.
    Expired,
    /// The venue refused it.
    Rejected {
        /// The venue's code.
        code: String,
        /// The venue's words.
        detail: String,
    },
}

/// What is known after one request or query. The type keeps "nobody knows" apart from "no".
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[must_use]
pub enum Outcome {
    /// The venue did what was asked. `updates` is everything that happened to the order so far, oldest first.
    Done {
        /// Changes of the order.
        updates: Vec<OrderUpdate>,
    },
    /// The answer was no, definitely: what was sent was not done and will not be. In phase
    /// [`Phase::Done`](crate::resilience::Phase::Done) the venue has judged what the key stands for; in any other
    /// phase this one request was turned away, by the venue or by something before it, which says nothing about
    /// an earlier request with the same key.
    Refused(Failure),
    /// It provably was not done; it may be sent again.
    NotSent(Failure),
    /// Nobody knows. Only the venue can say, by a query or by the same key sent again.
    Ambiguous(Failure),
    /// A query only: the venue has never seen this key.
    Unknown,
}

/// One answer, with what the resilience policies need to know about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// What is known.
    pub outcome: Outcome,
    /// From the first byte out to the last byte in, or to giving up.
    pub latency: Duration,
    /// How long the venue asks to be left alone, in its own words.
    pub retry_after: Option<RetryAfterHeader>,
}

/// A `Retry-After` header as the venue sent it. What it means is decided by a policy that knows the time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RetryAfterHeader {
    /// Its value: seconds, an HTTP date, or anything else that a venue may say.
    pub value: String,
    /// The reply's `Date`, against which a date in `value` is measured, since the venue's clock may be off.
    pub date: Option<String>,
}

/// Whether an account can trade.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// It can, as far as the venue tells.
    Ready,
    /// It cannot: why, and what to do.
    Refused(String),
}

/// One page of the changes of an account's orders.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpdatesPage {
    /// The changes, oldest first.
    pub updates: Vec<OrderUpdate>,
    /// Everything up to this sequence number is in this page or an earlier one; ask after it next time.
    pub through: u64,
    /// Whether the venue has more.
    pub more: bool,
    /// Changes left out because the order has no key of ours or an instrument of ours: somebody else
    /// trades on the same account.
    pub foreign: u64,
}
