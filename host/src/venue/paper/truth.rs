//! The whole ledger, for those who check the host's books against it.

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Everything that the venue has executed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Truth {
    /// Number of the newest change of any order.
    pub sequence: u64,
    /// The accounts, as configured.
    pub accounts: Vec<AccountTruth>,
}

/// The ledger of one account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountTruth {
    /// Its name.
    pub name: String,
    /// Cash at the start.
    pub cash_at_start: Decimal,
    /// Cash now, fees paid.
    pub cash: Decimal,
    /// Fees charged.
    pub fees: Decimal,
    /// Signed quantity by symbol; a flat position may be there as zero.
    pub positions: BTreeMap<String, Decimal>,
    /// Every order, as it came.
    pub orders: Vec<OrderTruth>,
    /// Every execution, as it happened.
    pub executions: Vec<Execution>,
    /// How often an order was really placed under each idempotency key. More than one is a duplicate.
    pub placements: BTreeMap<String, u64>,
    /// Requests that were given a stored reply.
    pub repeats: u64,
    /// Requests that are running.
    pub running: u64,
}

/// One order of the ledger.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderTruth {
    /// The idempotency key that it was placed under; also its client id.
    pub key: String,
    /// Which instrument.
    pub symbol: String,
    /// `buy` or `sell`.
    pub side: String,
    /// How much was asked for.
    pub quantity: Decimal,
    /// How much was executed.
    pub filled: Decimal,
    /// `working`, `filled`, `cancelled`, `expired` or `rejected`.
    pub status: String,
}

/// One execution of the ledger.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Execution {
    /// Number of the update that reported it.
    pub sequence: u64,
    /// Key of the order.
    pub key: String,
    /// Which instrument.
    pub symbol: String,
    /// `buy` or `sell`.
    pub side: String,
    /// How much, positive.
    pub quantity: Decimal,
    /// At what price.
    pub price: Decimal,
    /// What was charged; negative for a rebate.
    pub fee: Decimal,
    /// Whether the order rested before.
    pub maker: bool,
    /// Time of the tick that it was matched against.
    pub at_ns: u64,
}

impl Truth {
    /// The ledger of an account.
    pub fn account(&self, name: &str) -> Option<&AccountTruth> {
        self.accounts.iter().find(|account| account.name == name)
    }

    /// Keys under which more than one order was placed.
    pub fn duplicated(&self) -> usize {
        self.accounts
            .iter()
            .flat_map(|account| account.placements.values())
            .filter(|count| **count > 1)
            .count()
    }
}
