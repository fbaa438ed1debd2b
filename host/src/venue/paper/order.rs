//! An order of the paper venue, from the request's JSON to its last state.

use super::super::number::Exact;
use super::market::is_multiple;
use crate::market::{Instrument, UnixNanos};
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

const NANOS_A_DAY: u64 = 86_400_000_000_000;

/// Buy or sell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Side {
    Buy,
    Sell,
}

impl Side {
    /// `quantity` with the sign of its effect on a position.
    pub(super) fn signed(self, quantity: Decimal) -> Decimal {
        match self {
            Self::Buy => quantity,
            Self::Sell => -quantity,
        }
    }

    /// Whether `price` is as good as `limit` or better for this side.
    pub(super) fn admits(self, limit: Decimal, price: Decimal) -> bool {
        match self {
            Self::Buy => price <= limit,
            Self::Sell => price >= limit,
        }
    }

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Buy => "buy",
            Self::Sell => "sell",
        }
    }
}

/// How long an order may rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lifetime {
    Cancelled,
    Immediate,
    AllOrNothing,
    Until(UnixNanos),
}

/// Where an order is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Status {
    Working,
    Filled,
    Cancelled,
    Expired,
    Rejected,
}

impl Status {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Working => "working",
            Self::Filled => "filled",
            Self::Cancelled => "cancelled",
            Self::Expired => "expired",
            Self::Rejected => "rejected",
        }
    }
}

/// A definite no.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) code: &'static str,
    pub(super) message: String,
}

impl Refusal {
    pub(super) fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}

/// The body of `POST /api/trade`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Ticket {
    pub(super) client_id: Option<String>,
    pub(super) symbol: String,
    side: Side,
    r#type: Type,
    quantity: Exact,
    limit_price: Option<Exact>,
    stop_price: Option<Exact>,
    #[serde(default)]
    time_in_force: TimeInForce,
    expires_at_ns: Option<u64>,
    #[serde(default)]
    post_only: bool,
    #[serde(default)]
    reduce_only: bool,
}

/// The body of `POST /api/orders/{client_id}/amend`.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Amendment {
    pub(super) quantity: Exact,
    pub(super) limit_price: Option<Exact>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Type {
    Market,
    Limit,
    Stop,
    StopLimit,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum TimeInForce {
    #[default]
    Gtc,
    Ioc,
    Fok,
    Day,
    Gtd,
}

/// An order as the ledger keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Order {
    pub(super) client_id: String,
    pub(super) symbol: String,
    pub(super) side: Side,
    pub(super) quantity: Decimal,
    pub(super) filled: Decimal,
    pub(super) limit: Option<Decimal>,
    /// The price that still has to be seen before the order works.
    pub(super) armed: Option<Decimal>,
    pub(super) lifetime: Lifetime,
    pub(super) post_only: bool,
    pub(super) reduce_only: bool,
    pub(super) status: Status,
    /// Positions in the account's list of updates.
    pub(super) updates: Vec<usize>,
}

impl Order {
    /// What can still be filled.
    pub(super) fn leaves(&self) -> Decimal {
        self.quantity - self.filled
    }

    pub(super) fn is_working(&self) -> bool {
        self.status == Status::Working
    }
}

impl Ticket {
    /// The order of a ticket whose fields fit each other, which says nothing yet about the instrument.
    pub(super) fn order(self, client_id: String, clock: UnixNanos) -> Result<Order, Refusal> {
        let odd = |message: &str| Err(Refusal::new("invalid_order", message));
        let (limit, stop) = (self.limit_price.map(|p| p.0), self.stop_price.map(|p| p.0));
        let (limit, armed) = match (self.r#type, limit, stop) {
            (Type::Market, None, None) => (None, None),
            (Type::Limit, Some(limit), None) => (Some(limit), None),
            (Type::Stop, None, Some(stop)) => (None, Some(stop)),
            (Type::StopLimit, Some(limit), Some(stop)) => (Some(limit), Some(stop)),
            _ => {
                return odd(
                    "limit_price belongs to limit and stop-limit, stop_price to stop and stop-limit, and both are needed there",
                );
            }
        };
        let lifetime = match (self.time_in_force, self.expires_at_ns) {
            (TimeInForce::Gtc, None) => Lifetime::Cancelled,
            (TimeInForce::Ioc, None) => Lifetime::Immediate,
            (TimeInForce::Fok, None) => Lifetime::AllOrNothing,
            (TimeInForce::Day, None) => {
                Lifetime::Until(UnixNanos((clock.0 / NANOS_A_DAY + 1).saturating_mul(NANOS_A_DAY)))
            }
            (TimeInForce::Gtd, Some(at)) => Lifetime::Until(UnixNanos(at)),
            _ => return odd("expires_at_ns belongs to gtd, and gtd needs it"),
        };
        let rests = matches!(lifetime, Lifetime::Cancelled | Lifetime::Until(_));
        if self.post_only && !(self.r#type == Type::Limit && rests) {
            return odd("post_only is for limit orders that may rest");
        }
        Ok(Order {
            client_id,
            symbol: self.symbol,
            side: self.side,
            quantity: self.quantity.0,
            filled: Decimal::ZERO,
            limit,
            armed,
            lifetime,
            post_only: self.post_only,
            reduce_only: self.reduce_only,
            status: Status::Working,
            updates: Vec::new(),
        })
    }
}

/// Whether quantity and prices fit the instrument.
pub(super) fn check_terms(
    instrument: &Instrument,
    quantity: Decimal,
    prices: [Option<Decimal>; 2],
) -> Result<(), Refusal> {
    let lot = instrument.lot_size;
    let bound = |lots: i64| Decimal::from(lots).checked_mul(lot).unwrap_or(Decimal::MAX);
    let (least, most) = (bound(instrument.min_lots.0), bound(instrument.max_lots.0));
    if quantity < least || quantity > most || !is_multiple(quantity, lot) {
        return Err(Refusal::new(
            "invalid_quantity",
            format!("quantity {quantity} is not a multiple of {lot} from {least} to {most}"),
        ));
    }
    let tick = instrument.tick_size;
    let bad = |price: &Decimal| *price <= Decimal::ZERO || !is_multiple(*price, tick);
    match prices.into_iter().flatten().find(bad) {
        Some(price) => {
            Err(Refusal::new("invalid_price", format!("price {price} is not a positive multiple of {tick}")))
        }
        None => Ok(()),
    }
}

/// Whether a text can be a client order id or an idempotency key: 1 to 64 of `A-Z a-z 0-9 _ -`.
pub(super) fn is_key(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    (1..=64).contains(&text.len()) && text.bytes().all(allowed)
}
