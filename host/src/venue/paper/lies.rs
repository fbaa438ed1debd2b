//! What a paper venue can be told to say wrongly, so that a test sees who believes it. Its ledger stays true.

use rust_decimal::Decimal;
use std::collections::BTreeSet;

/// What the venue says wrongly, to every account. The default is the truth.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lies {
    /// What it says of positions.
    pub positions: PositionsLie,
    /// Whether it answers no request for updates.
    pub updates_fail: bool,
    /// Whether it answers no question about an order.
    pub orders_fail: bool,
    /// Client ids of orders that it says it has never had.
    pub vanished: BTreeSet<String>,
}

/// What the venue says of positions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum PositionsLie {
    /// What they are.
    #[default]
    Truth,
    /// Nothing: it answers 500.
    Fails,
    /// That there are none.
    Empty,
    /// That every instrument holds this much more, as after a trade by hand that is in no update.
    OffBy(Decimal),
}
