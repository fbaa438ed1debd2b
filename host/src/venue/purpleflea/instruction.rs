//! What an intent asks of this venue, as it is journaled, and the request that follows from it.
//!
//! The body that the core journals is the instruction and not yet the venue's own JSON: a close names a
//! position that is only known when the account is read before the attempt, and the evidence afterwards needs
//! lots, which the venue never sees. The request is a pure function of the instruction and that reading.

use super::super::number::Exact;
use crate::market::{Instrument, Lots, PriceTicks};
use crate::orders::Side;
use reqwest::Method;
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

/// What is asked. The field order is part of the journaled bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case", deny_unknown_fields)]
pub(super) enum Instruction {
    /// A market order. Its dollars are what it was worth when it was decided.
    Open { coin: String, side: Side, lots: Lots, size_usd: Exact, leverage: u32 },
    /// To close the whole position. `side` is the side of the closing trade.
    Close { coin: String, side: Side, lots: Lots, reference: Option<PriceTicks> },
    /// An order that waits for a price.
    Limit { coin: String, side: Side, lots: Lots, size_usd: Exact, limit_price: Exact, leverage: u32 },
    /// To close the whole position once the price has turned against it.
    StopLoss { coin: String, side: Side, lots: Lots, trigger_price: Exact },
    /// To close the whole position once the price has come.
    TakeProfit { coin: String, side: Side, lots: Lots, trigger_price: Exact },
    /// To take a waiting order back.
    CancelLimit { order_id: String },
}

/// A request as the venue gets it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct WireRequest {
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) body: String,
}

/// The terms that all orders have.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terms<'a> {
    pub(super) coin: &'a str,
    pub(super) side: Side,
    pub(super) lots: Lots,
}

impl Instruction {
    /// Reads a journaled body.
    pub(super) fn decode(body: &[u8]) -> Option<Self> {
        serde_json::from_slice(body).ok()
    }

    /// The terms of the order; a cancel has none.
    pub(super) fn terms(&self) -> Option<Terms<'_>> {
        match self {
            Self::Open { coin, side, lots, .. }
            | Self::Close { coin, side, lots, .. }
            | Self::Limit { coin, side, lots, .. }
            | Self::StopLoss { coin, side, lots, .. }
            | Self::TakeProfit { coin, side, lots, .. } => Some(Terms { coin, side: *side, lots: *lots }),
            Self::CancelLimit { .. } => None,
        }
    }

    /// Whether the request names the position that the account held before it.
    pub(super) const fn needs_position(&self) -> bool {
        matches!(self, Self::Close { .. } | Self::StopLoss { .. } | Self::TakeProfit { .. })
    }

    /// The request. `size_usd` replaces the dollars of a market order. Numbers are written by hand because a
    /// JSON writer would send them through a float.
    pub(super) fn wire(&self, position_id: &str, size_usd: Exact) -> WireRequest {
        let text = |text: &str| serde_json::Value::from(text).to_string();
        let number = |number: &Exact| number.0.normalize().to_string();
        let post = |path: &str, body: String| WireRequest { method: Method::POST, path: path.into(), body };
        match self {
            Self::Open { coin, side, leverage, .. } => {
                let (coin, side, size) = (text(coin), direction(*side), number(&size_usd));
                let body =
                    format!(r#"{{"coin":{coin},"side":"{side}","size_usd":{size},"leverage":{leverage}}}"#);
                post("/v1/trade/open", body)
            }
            Self::Limit { coin, side, size_usd, limit_price, leverage, .. } => {
                let (coin, side, size) = (text(coin), direction(*side), number(size_usd));
                let limit = number(limit_price);
                let body = format!(
                    r#"{{"coin":{coin},"side":"{side}","size_usd":{size},"limit_price":{limit},"leverage":{leverage}}}"#
                );
                post("/v1/trade/limit", body)
            }
            Self::Close { .. } => {
                post("/v1/trade/close", format!(r#"{{"position_id":{}}}"#, text(position_id)))
            }
            Self::StopLoss { trigger_price, .. } => {
                post("/v1/trade/stop-loss", trigger(&text(position_id), &number(trigger_price)))
            }
            Self::TakeProfit { trigger_price, .. } => {
                post("/v1/trade/take-profit", trigger(&text(position_id), &number(trigger_price)))
            }
            Self::CancelLimit { order_id } => WireRequest {
                method: Method::DELETE,
                path: format!("/v1/trade/limit-orders/{order_id}"),
                body: String::new(),
            },
        }
    }

    /// What the order was worth in dollars when it was decided, where it has a size of its own.
    pub(super) fn size_usd(&self) -> Option<Decimal> {
        match self {
            Self::Open { size_usd, .. } | Self::Limit { size_usd, .. } => Some(size_usd.0),
            _ => None,
        }
    }

    /// The price at which an order with a size of its own was decided.
    pub(super) fn decided_price(&self, instrument: &Instrument) -> Option<Decimal> {
        self.size_usd()?.checked_div(instrument.quantity(self.terms()?.lots)?)
    }
}

/// The venue's word for a side.
pub(super) const fn direction(side: Side) -> &'static str {
    match side {
        Side::Buy => "long",
        Side::Sell => "short",
    }
}

fn trigger(position_id: &str, price: &str) -> String {
    format!(r#"{{"position_id":{position_id},"trigger_price":{price}}}"#)
}
