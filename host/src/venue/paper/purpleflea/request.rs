//! One request as the venue sees it, and which route it is for.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// The routes that the venue answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[expect(missing_docs, reason = "each is the route of its name")]
pub enum FleaRoute {
    Register,
    Account,
    Markets,
    MultiPrice,
    Market,
    Price,
    Orderbook,
    Open,
    Close,
    Limit,
    LimitOrders,
    CancelLimit,
    StopLoss,
    TakeProfit,
    Positions,
    History,
    RiskSettings,
    SetRiskSettings,
    CloseAll,
}

impl FleaRoute {
    /// All of them.
    pub const ALL: [Self; 19] = [
        Self::Register,
        Self::Account,
        Self::Markets,
        Self::MultiPrice,
        Self::Market,
        Self::Price,
        Self::Orderbook,
        Self::Open,
        Self::Close,
        Self::Limit,
        Self::LimitOrders,
        Self::CancelLimit,
        Self::StopLoss,
        Self::TakeProfit,
        Self::Positions,
        Self::History,
        Self::RiskSettings,
        Self::SetRiskSettings,
        Self::CloseAll,
    ];

    /// Its name in configurations.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Register => "register",
            Self::Account => "account",
            Self::Markets => "markets",
            Self::MultiPrice => "multi-price",
            Self::Market => "market",
            Self::Price => "price",
            Self::Orderbook => "orderbook",
            Self::Open => "open",
            Self::Close => "close",
            Self::Limit => "limit",
            Self::LimitOrders => "limit-orders",
            Self::CancelLimit => "cancel-limit",
            Self::StopLoss => "stop-loss",
            Self::TakeProfit => "take-profit",
            Self::Positions => "positions",
            Self::History => "history",
            Self::RiskSettings => "risk-settings",
            Self::SetRiskSettings => "set-risk-settings",
            Self::CloseAll => "close-all",
        }
    }

    /// Whether it changes something.
    pub const fn writes(self) -> bool {
        matches!(
            self,
            Self::Register
                | Self::Open
                | Self::Close
                | Self::Limit
                | Self::CancelLimit
                | Self::StopLoss
                | Self::TakeProfit
                | Self::SetRiskSettings
                | Self::CloseAll
        )
    }

    /// The route of a method and a path, and what the path holds: a coin or an order.
    pub(super) fn of(method: &str, path: &str) -> Option<(Self, String)> {
        let rest = path.strip_prefix("/v1/")?;
        let parts: Vec<&str> = rest.split('/').collect();
        let whole = |route| Some((route, String::new()));
        match (method, parts.as_slice()) {
            ("POST", ["auth", "register"]) => whole(Self::Register),
            ("GET", ["auth", "account"]) => whole(Self::Account),
            ("GET", ["markets"]) => whole(Self::Markets),
            ("GET", ["markets", "multi-price"]) => whole(Self::MultiPrice),
            ("GET", ["markets", coin]) => Some((Self::Market, unescape(coin))),
            ("GET", ["markets", coin, "price"]) => Some((Self::Price, unescape(coin))),
            ("GET", ["markets", coin, "orderbook"]) => Some((Self::Orderbook, unescape(coin))),
            ("POST", ["trade", "open"]) => whole(Self::Open),
            ("POST", ["trade", "close"]) => whole(Self::Close),
            ("POST", ["trade", "limit"]) => whole(Self::Limit),
            ("GET", ["trade", "limit-orders"]) => whole(Self::LimitOrders),
            ("DELETE", ["trade", "limit-orders", id]) => Some((Self::CancelLimit, unescape(id))),
            ("POST", ["trade", "stop-loss"]) => whole(Self::StopLoss),
            ("POST", ["trade", "take-profit"]) => whole(Self::TakeProfit),
            ("GET", ["trade", "positions"]) => whole(Self::Positions),
            ("GET", ["trade", "history"]) => whole(Self::History),
            ("GET", ["trade", "risk-settings"]) => whole(Self::RiskSettings),
            ("POST", ["trade", "risk-settings"]) => whole(Self::SetRiskSettings),
            ("POST", ["trade", "close-all"]) => whole(Self::CloseAll),
            _ => None,
        }
    }
}

impl fmt::Display for FleaRoute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for FleaRoute {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        Self::ALL.into_iter().find(|route| route.name() == text).ok_or(())
    }
}

/// One request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Incoming {
    pub(super) method: String,
    /// Without the query.
    pub(super) path: String,
    pub(super) query: String,
    pub(super) authorization: Option<String>,
    pub(super) idempotency_key: Option<String>,
    /// What the limiter takes for the client's address: the headers of the proxy, which nobody checks.
    pub(super) address: String,
    pub(super) body: Vec<u8>,
}

impl Incoming {
    /// The key after `Bearer `, which has to be written exactly so.
    pub(super) fn key(&self) -> Option<&str> {
        self.authorization.as_deref()?.strip_prefix("Bearer ")
    }

    /// The first value of a name in the query.
    pub(super) fn parameter(&self, name: &str) -> Option<String> {
        let mut pairs = self.query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        pairs.find(|(found, _)| *found == name).map(|(_, value)| unescape(&value.replace('+', " ")))
    }
}

/// Undoes percent encoding; what is not valid stays as it is.
fn unescape(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        let decoded =
            tail.get(..2).and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
        match (first, decoded) {
            (b'%', Some(byte)) => {
                bytes.push(byte);
                rest = tail.get(2..).unwrap_or_default();
            }
            _ => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8(bytes).unwrap_or_else(|_| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_names_a_route_and_what_it_is_about() {
        let of = |method, path| FleaRoute::of(method, path);
        assert_eq!(of("GET", "/v1/markets/xyz%3ATSLA/price"), Some((FleaRoute::Price, "xyz:TSLA".into())));
        assert_eq!(of("GET", "/v1/markets/multi-price"), Some((FleaRoute::MultiPrice, String::new())));
        assert_eq!(of("POST", "/trade/open"), None);
        assert_eq!(of("GET", "/v1/trade/open"), None);
        for route in FleaRoute::ALL {
            assert_eq!(route.name().parse(), Ok(route));
        }
    }

    #[test]
    fn a_query_is_read_by_name() {
        let request = Incoming { query: "a=1&coins=BTC%2CETH&b".into(), ..Incoming::default() };
        assert_eq!(request.parameter("coins").as_deref(), Some("BTC,ETH"));
        assert_eq!(request.parameter("b").as_deref(), Some(""));
        assert_eq!(request.parameter("c"), None);
        assert_eq!(unescape("%zz%4"), "%zz%4");
    }
}
