//! What a strategy asks for; the host's own model of WIT `order-intent`.

use crate::market::{InstrumentId, Lots, PriceTicks, UnixNanos};
use serde::{Deserialize, Serialize};

/// Chosen by the strategy, unique per agent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct OrderId(pub u64);

/// Buy or sell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[expect(missing_docs, reason = "the names are the standard terms of trading")]
pub enum Side {
    Buy,
    Sell,
}

impl Side {
    /// `buy` or `sell`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Buy => "buy",
            Self::Sell => "sell",
        }
    }

    /// The quantity with the sign of its effect on a position.
    pub const fn signed(self, quantity: Lots) -> Lots {
        match self {
            Self::Buy => quantity,
            Self::Sell => Lots(quantity.0.saturating_neg()),
        }
    }
}

/// How long an order may rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TimeInForce {
    /// Until it is filled or cancelled.
    Gtc,
    /// What can be filled at once; the rest is cancelled.
    Ioc,
    /// All at once or nothing.
    Fok,
    /// Until the end of the trading day.
    Day,
    /// Until this moment.
    Gtd(UnixNanos),
}

/// The price condition of an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OrderKind {
    /// At the best price there is.
    Market,
    /// At this price or better.
    Limit(PriceTicks),
    /// A market order once the price has reached this trigger.
    Stop(PriceTicks),
    /// A limit order once the price has reached the trigger.
    StopLimit {
        /// The price that wakes it.
        trigger: PriceTicks,
        /// The price that it then asks for.
        limit: PriceTicks,
    },
}

impl OrderKind {
    /// The worst price the order admits, if it names one.
    pub const fn limit(self) -> Option<PriceTicks> {
        match self {
            Self::Limit(limit) | Self::StopLimit { limit, .. } => Some(limit),
            Self::Market | Self::Stop(_) => None,
        }
    }

    /// The price that wakes the order, if it waits for one.
    pub const fn trigger(self) -> Option<PriceTicks> {
        match self {
            Self::Stop(trigger) | Self::StopLimit { trigger, .. } => Some(trigger),
            Self::Market | Self::Limit(_) => None,
        }
    }

    /// The same condition with another limit, when one is given.
    pub const fn with_limit(self, limit: Option<PriceTicks>) -> Self {
        match (self, limit) {
            (kind, None) => kind,
            (Self::Market | Self::Limit(_), Some(limit)) => Self::Limit(limit),
            (Self::Stop(trigger) | Self::StopLimit { trigger, .. }, Some(limit)) => {
                Self::StopLimit { trigger, limit }
            }
        }
    }
}

/// Options of an order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct OrderOptions {
    /// Refuse rather than take liquidity.
    pub post_only: bool,
    /// Never open or flip a position.
    pub reduce_only: bool,
}

/// A new order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct NewOrder {
    /// The strategy's number for it.
    pub id: OrderId,
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
    /// The strategy's own mark, returned in reports.
    pub tag: u32,
}

/// A change of a working order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct AmendOrder {
    /// Which order.
    pub id: OrderId,
    /// The new quantity, positive.
    pub quantity: Lots,
    /// The new limit price, or the old one when absent.
    pub limit: Option<PriceTicks>,
}

/// What a strategy asks for. The host decides, keys, journals, sends and retries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OrderIntent {
    /// A new order.
    Submit(NewOrder),
    /// Take a working order back.
    Cancel(OrderId),
    /// Change a working order.
    Amend(AmendOrder),
    /// Take back every working order of one instrument.
    CancelAll(InstrumentId),
}
