//! What can be asked of a venue.

use crate::market::{Instrument, Lots, PriceTicks};
use crate::orders::{IntentKey, OrderKind, OrderOptions, Side, TimeInForce};
use crate::resilience::{Class, Classified};
use crate::venue::Capability;
use serde::{Deserialize, Serialize};
use std::time::Duration;
use thiserror::Error;

/// The exact bytes of a request body.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ByteBody(#[serde(with = "serde_bytes")] pub Vec<u8>);

/// A new order, in the instrument's own steps.
#[derive(Clone, Debug, PartialEq)]
pub struct PlaceOrder<'a> {
    /// The terms of the instrument.
    pub instrument: &'a Instrument,
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
    /// The last price the host saw, for venues that size orders in money.
    pub reference: Option<PriceTicks>,
    /// Signed quantity that the agent holds, for venues that close positions by another request than they open them.
    pub held: Lots,
}

/// One operation on a venue. `key` is the intent's own; `target` is the key of the order it is about.
#[derive(Clone, Debug, PartialEq)]
pub enum Operation<'a> {
    /// Place a new order under `key`.
    Place {
        /// The intent's key; also the client order id.
        key: IntentKey,
        /// The order.
        order: PlaceOrder<'a>,
    },
    /// Take back the order placed under `target`.
    Cancel {
        /// The intent's key.
        key: IntentKey,
        /// The order's key.
        target: IntentKey,
        /// The venue's own id of the order, once it has told it.
        venue_id: Option<&'a str>,
    },
    /// Change the order placed under `target`.
    Amend {
        /// The intent's key.
        key: IntentKey,
        /// The order's key.
        target: IntentKey,
        /// The venue's own id of the order, once it has told it.
        venue_id: Option<&'a str>,
        /// Terms of the instrument.
        instrument: &'a Instrument,
        /// New total quantity, positive.
        quantity: Lots,
        /// New limit price, or the old one.
        limit: Option<PriceTicks>,
    },
}

/// What kind of operation a request carries, with what is needed to send it again after a restart.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RequestKind {
    /// A new order.
    Place,
    /// A cancel of the order with this key.
    Cancel(IntentKey),
    /// A change of the order with this key.
    Amend(IntentKey),
}

/// One request, ready to send: the same bytes under the same key every time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// The idempotency key.
    pub key: IntentKey,
    /// What it asks.
    pub kind: RequestKind,
    /// The exact body.
    pub body: ByteBody,
}

/// What a venue's contract promises, and the limits of talking to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VenueProfile {
    /// Its name, as instruments and configurations spell it.
    pub name: String,
    /// How it tells one order from another.
    pub capability: Capability,
    /// One request, from connect to the last byte of the reply.
    pub request_timeout: Duration,
    /// Whether a 429 or 503 proves that nothing was executed.
    pub refusal_is_proof: bool,
    /// Whether it reports changes of orders by itself. Where it does not, working orders are asked about.
    pub reports_changes: bool,
}

/// Why an operation cannot be written in a venue's format.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum EncodeError {
    /// A number does not fit.
    #[error("{symbol}: {what} does not fit the venue's number format")]
    Number {
        /// Which instrument.
        symbol: String,
        /// Which number.
        what: &'static str,
    },
    /// The venue has no such order type.
    #[error("{symbol}: the venue takes no {what}")]
    Unsupported {
        /// Which instrument.
        symbol: String,
        /// What was asked for.
        what: &'static str,
    },
}

impl Classified for EncodeError {
    fn class(&self) -> Class {
        Class::Logic
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Number { .. } => "encode_number",
            Self::Unsupported { .. } => "encode_unsupported",
        }
    }
}
