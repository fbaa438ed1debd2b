//! What a venue can do about a request whose outcome nobody knows: it decides whether a retry may be sent
//! and what counts as evidence.

use crate::market::{Lots, UnixNanos};
use crate::venue::Request;
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// How a venue tells one order from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Capability {
    /// It remembers the idempotency key of a request for this long, and executes the same key once. It can
    /// be asked about a key.
    IdempotentKeys {
        /// How long, less a margin.
        window: Duration,
    },
    /// It can be asked about a client order id, but would execute the same id twice.
    QueryByClientId,
    /// It refuses a client order id that one of its open orders has, and can be asked about one. An order
    /// that is filled already does not protect its id.
    UniqueWhileOpen,
    /// It knows no ids of ours. Only what its account holds, and the history of it, say what happened.
    DeltaOnly,
}

impl Capability {
    /// Whether the same request may be sent again while nobody knows what became of it, this long after it
    /// was decided.
    pub fn may_resend(self, age: Duration) -> bool {
        match self {
            Self::IdempotentKeys { window } => age < window,
            Self::QueryByClientId | Self::UniqueWhileOpen | Self::DeltaOnly => false,
        }
    }

    /// Whether the venue's word that it has never seen an intent, given twice and late enough, is proof.
    pub const fn denial_is_proof(self) -> bool {
        !matches!(self, Self::DeltaOnly)
    }

    /// Whether the venue executes the same key once, so that sending it again is a way of asking. Where it
    /// does not, an intent in doubt is sent again only after a proof.
    pub const fn honours_keys(self) -> bool {
        matches!(self, Self::IdempotentKeys { .. })
    }

    /// Whether an instrument may be traded by one agent alone: nothing else says whose a change of the
    /// account is.
    pub const fn needs_own_instrument(self) -> bool {
        matches!(self, Self::DeltaOnly)
    }

    /// Whether an attempt needs a [`Baseline`], and its instrument for itself until the outcome is known.
    pub const fn needs_baseline(self) -> bool {
        matches!(self, Self::DeltaOnly)
    }
}

/// What an account showed in one instrument before an attempt, so that a change can be seen afterwards.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Baseline {
    /// When it was read.
    pub at: UnixNanos,
    /// Signed quantity held, netted by the venue.
    pub position: Lots,
    /// Average price of the position, where the venue tells it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entry_price: Option<Decimal>,
    /// The venue's own id of the position, where it has one.
    pub position_id: Option<String>,
    /// The newest rows of the account's trade history: all that a later row can stand among, and none when
    /// there is no history.
    pub newest_trades: Vec<SeenTrade>,
    /// The venue's own ids of the orders that waited, read only before an order that waits.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub waiting_orders: Vec<String>,
    /// The price by which the venue turns the money of an order into a quantity, where it does that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sizing_price: Option<Decimal>,
}

/// One row of a trade history that was there before an attempt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeenTrade {
    /// The venue's own id of it.
    pub id: String,
    /// Its stamp in seconds by the venue's clock, as far as it says.
    pub at_s: Option<u64>,
}

/// Another order of ours in the instrument of a question, whose part in what has changed is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OtherOrder {
    /// The venue's own id of it, once it has told it.
    pub venue_id: Option<String>,
    /// Signed quantity that was filled.
    pub filled: Lots,
}

/// A question about one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// The request as it was sent.
    pub request: Request,
    /// What the account showed before the last attempt, where the venue needs it.
    pub baseline: Option<Baseline>,
    /// The venue's own id of the order, once it has told it.
    pub venue_id: Option<String>,
    /// When the last attempt began.
    pub sent_at: UnixNanos,
    /// Our other orders in the instrument that work or have ended since the baseline.
    pub others: Vec<OtherOrder>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_remembered_key_may_be_sent_again_unproven() {
        let window = Duration::from_secs(10);
        let keys = Capability::IdempotentKeys { window };
        assert!(keys.may_resend(Duration::from_secs(9)));
        assert!(!keys.may_resend(window));
        for capability in [Capability::QueryByClientId, Capability::UniqueWhileOpen, Capability::DeltaOnly] {
            assert!(!capability.may_resend(Duration::ZERO), "{capability:?}");
        }
    }

    #[test]
    fn a_venue_without_ids_proves_nothing_by_silence() {
        assert!(!Capability::DeltaOnly.denial_is_proof());
        assert!(Capability::DeltaOnly.needs_baseline() && Capability::DeltaOnly.needs_own_instrument());
        assert!(!Capability::DeltaOnly.honours_keys());
        assert!(Capability::QueryByClientId.denial_is_proof());
    }
}
