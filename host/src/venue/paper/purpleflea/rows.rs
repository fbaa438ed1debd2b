//! The server's database: positions, trades and resting orders, as it writes them down.

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

/// State of a position's row. It says what the server wrote, not what the exchange holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[expect(missing_docs, reason = "the names say it")]
pub enum RowStatus {
    Open,
    Closed,
}

impl RowStatus {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Closed => "closed",
        }
    }
}

/// One row for each open that the server managed to write down.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PositionRow {
    /// `pos_…`.
    pub id: String,
    /// Which coin.
    pub coin: String,
    /// `long` or `short`.
    pub side: String,
    /// Filled dollars.
    pub size_usd: Decimal,
    /// Average price.
    pub entry_price: Decimal,
    /// After the silent cut.
    pub leverage: Decimal,
    /// Dollars by leverage.
    pub margin_used: Decimal,
    /// As the server estimates it.
    pub liquidation_price: Decimal,
    /// Zero until the row is closed; then its profit, or zero after a close-all.
    pub unrealized_pnl: Decimal,
    /// Whether the server believes that it is open.
    pub status: RowStatus,
    /// The exchange's number of the order.
    pub hl_order_id: u64,
    /// In seconds since 1970.
    pub opened_at: u64,
    /// In seconds since 1970.
    pub closed_at: Option<u64>,
}

/// One row of the history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TradeRow {
    /// `trd_…`.
    pub id: String,
    /// `ord_…`.
    pub order_id: String,
    /// Which coin.
    pub coin: String,
    /// `buy` or `sell`.
    pub side: String,
    /// Filled dollars of an open; of a close those of its row, whatever was filled.
    pub size_usd: Decimal,
    /// Average price.
    pub price: Decimal,
    /// What the server says that it costs.
    pub fee: Decimal,
    /// Profit of a close by its row's dollars; zero for an open.
    pub realized_pnl: Decimal,
    /// In seconds since 1970.
    pub created_at: u64,
}

/// Kinds of resting orders.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the names are the standard terms of trading")]
pub enum RestingKind {
    Limit,
    StopLoss,
    TakeProfit,
}

impl RestingKind {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Limit => "limit",
            Self::StopLoss => "stop_loss",
            Self::TakeProfit => "take_profit",
        }
    }
}

/// State of a resting order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[expect(missing_docs, reason = "the names say it")]
pub enum RestingStatus {
    Pending,
    Filled,
    Cancelled,
    Failed,
}

impl RestingStatus {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Filled => "filled",
            Self::Cancelled => "cancelled",
            Self::Failed => "failed",
        }
    }
}

/// An order that waits in the server, not at the exchange.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestingRow {
    /// `ord_…`.
    pub id: String,
    /// What it waits for.
    pub kind: RestingKind,
    /// Which coin.
    pub coin: String,
    /// `long` or `short`: of the order, or of the position that an exit ends.
    pub side: String,
    /// Dollars that it will trade.
    pub size_usd: Decimal,
    /// Price that it waits for.
    pub price: Decimal,
    /// Of the position to be.
    pub leverage: Decimal,
    /// Position that an exit ends.
    pub position_id: Option<String>,
    /// Where it stands.
    pub status: RestingStatus,
    /// Number of the request that placed it.
    pub request: Option<u64>,
    /// How many pollers fill it, none of which claims it.
    pub pollers: u8,
    /// In seconds since 1970.
    pub created_at: u64,
}

/// The tables of one account.
#[derive(Debug, Default)]
pub(super) struct Rows {
    pub(super) positions: Vec<PositionRow>,
    pub(super) trades: Vec<TradeRow>,
    pub(super) resting: Vec<RestingRow>,
}

impl Rows {
    /// The open row with an id.
    pub(super) fn open(&self, id: &str) -> Option<&PositionRow> {
        self.positions.iter().find(|row| row.id == id && row.status == RowStatus::Open)
    }

    /// The oldest open row of a coin: the one whose id the server shows for the whole coin.
    pub(super) fn first_open(&self, coin: &str) -> Option<&PositionRow> {
        self.positions.iter().find(|row| row.coin == coin && row.status == RowStatus::Open)
    }

    pub(super) fn close(&mut self, id: &str, pnl: Decimal, at_s: u64) {
        let row = self.positions.iter_mut().find(|row| row.id == id && row.status == RowStatus::Open);
        if let Some(row) = row {
            (row.status, row.unrealized_pnl, row.closed_at) = (RowStatus::Closed, pnl, Some(at_s));
        }
    }

    pub(super) fn pending_limits(&self) -> usize {
        let pending =
            |row: &&RestingRow| row.kind == RestingKind::Limit && row.status == RestingStatus::Pending;
        self.resting.iter().filter(pending).count()
    }

    /// Profits less fees since midnight, and how many trades.
    pub(super) fn today(&self, now_s: u64) -> (Decimal, usize) {
        let midnight = now_s - now_s % 86_400;
        let trades = || self.trades.iter().filter(move |trade| trade.created_at >= midnight);
        let net = trades().fold(Decimal::ZERO, |sum, trade| {
            sum.saturating_add(trade.realized_pnl.saturating_sub(trade.fee))
        });
        (net, trades().count())
    }
}
