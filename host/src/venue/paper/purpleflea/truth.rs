//! The whole ledger, for those who check what really happened.

use super::request::FleaRoute;
use super::rows::{PositionRow, RestingRow, TradeRow};
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Everything that arrived and everything that was executed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FleaTruth {
    /// How many requests arrived for each route.
    pub arrived: BTreeMap<FleaRoute, u64>,
    /// The requests that change something, in the order of their arrival.
    pub requests: Vec<Arrival>,
    /// The accounts: those of the configuration, then those that registered.
    pub accounts: Vec<FleaAccountTruth>,
}

/// One request that changes something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Arrival {
    /// Its number, counted from 1 over all routes that change something.
    pub number: u64,
    /// For which route.
    pub route: FleaRoute,
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
    /// The body, as it came.
    pub body: String,
    /// The `Idempotency-Key`, which the server ignores and by which a test tells whose request it was.
    pub key: Option<String>,
    /// The fault that befell it, as in a rule.
    pub fault: Option<String>,
    /// How often it was handled.
    pub handled: u32,
    /// Status of the last reply that was made for it, whether or not it was sent.
    pub status: Option<u16>,
}

/// The ledger of one account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FleaAccountTruth {
    /// Its name; of a registered one the agent's id.
    pub name: String,
    /// Signed size by coin, as the exchange has it; a flat one may be there as zero.
    pub positions: BTreeMap<String, Decimal>,
    /// Cash, profits and what is held, at the last prices.
    pub equity: Option<Decimal>,
    /// Every execution, as it happened.
    pub executions: Vec<FleaExecution>,
    /// The server's rows of positions, which may say something else.
    pub rows: Vec<PositionRow>,
    /// The server's history, oldest first.
    pub trades: Vec<TradeRow>,
    /// Limit orders, stop losses and take profits.
    pub resting: Vec<RestingRow>,
    /// Requests that were given a stored reply.
    pub repeats: u64,
}

/// One execution at the exchange.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FleaExecution {
    /// The exchange's number of the order, counted from 1 for each account.
    pub number: u64,
    /// Number of the request that caused it; of a resting order the one that placed it.
    pub request: Option<u64>,
    /// Order of the server's history that it became; `None` when the server failed to write it down.
    pub order_id: Option<String>,
    /// Which coin.
    pub coin: String,
    /// `buy` or `sell`.
    pub side: String,
    /// In units of the coin, positive.
    pub quantity: Decimal,
    /// At what price.
    pub price: Decimal,
    /// What was charged, exactly.
    pub fee: Decimal,
    /// Whether it could only reduce.
    pub reduce_only: bool,
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
}

impl FleaTruth {
    /// The ledger of an account.
    pub fn account(&self, name: &str) -> Option<&FleaAccountTruth> {
        self.accounts.iter().find(|account| account.name == name)
    }

    /// How many requests arrived for a route.
    pub fn arrived(&self, route: FleaRoute) -> u64 {
        self.arrived.get(&route).copied().unwrap_or_default()
    }

    /// What one request caused.
    pub fn caused_by(&self, request: u64) -> Vec<&FleaExecution> {
        let all = self.accounts.iter().flat_map(|account| &account.executions);
        all.filter(|execution| execution.request == Some(request)).collect()
    }
}

impl FleaAccountTruth {
    /// What the account holds of a coin.
    pub fn position(&self, coin: &str) -> Decimal {
        self.positions.get(coin).copied().unwrap_or_default()
    }
}
