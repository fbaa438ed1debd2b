//! One agent as an operator sees it while it runs.

use super::report::AgentReport;
use super::settings::to_json;
use super::swaps::SwapView;
use crate::agent::core::{Alert, ReconcileStage, Stats, StrategyStatus};
use crate::market::{Instruments, Lots, Money, PriceTicks, UnixNanos};
use crate::orders::{AgentName, Digest, Mode, Side};
use crate::plugin::Plugin;
use crate::resilience::ModeCause;
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Alerts that a look at an agent shows, newest last.
const ALERTS_SHOWN: usize = 20;

/// What one agent is and does.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AgentView {
    /// Its name.
    pub name: AgentName,
    /// The venue that it trades on.
    pub venue: String,
    /// Whether the agent answered in time; otherwise this is its last report.
    pub answered: bool,
    /// Whether it has finished.
    pub stopped: bool,
    /// Its incarnation.
    pub incarnation: u32,
    /// What it trades; the position is the instrument's number.
    pub symbols: Vec<String>,
    /// What runs.
    pub component: ComponentView,
    /// What ran before, and runs again after a rollback.
    pub previous: Option<ComponentView>,
    /// What the strategy is doing.
    pub strategy: StrategyView,
    /// Its failures within the window.
    pub strikes: u32,
    /// The last swap, which may have ended.
    pub swap: Option<SwapView>,
    /// The settings that it runs with.
    pub settings: serde_json::Map<String, serde_json::Value>,
    /// What the host lets it do.
    pub mode: Mode,
    /// Why, when the mode has changed since the start.
    pub mode_cause: Option<ModeCause>,
    /// How far the books have been held against the venue.
    pub reconciliation: ReconcileStage,
    /// Cash plus positions at their last prices; nothing while a held position has no price.
    pub equity: Option<Money>,
    /// Cash in the quote currency.
    pub cash: Money,
    /// Fees paid so far.
    pub fees: Money,
    /// Deepest fall of equity below its peak, as a share of the peak.
    pub max_drawdown: Decimal,
    /// What it holds.
    pub positions: Vec<PositionView>,
    /// Its working orders.
    pub orders: Vec<OrderView>,
    /// Intents that have not come to an end.
    pub open_intents: u64,
    /// Counts since the start of the host.
    pub stats: Stats,
    /// Samples that were dropped, by fault.
    pub dropped: BTreeMap<String, u64>,
    /// What a person should know, newest last.
    pub alerts: Vec<AlertView>,
}

/// What a strategy is doing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StrategyView {
    /// `running`, `backoff`, `starting` or `quarantined`.
    pub state: String,
    /// How it failed, unless it runs.
    pub failure: Option<String>,
}

impl StrategyView {
    fn of(status: &StrategyStatus) -> Self {
        let failure = match status {
            StrategyStatus::Running | StrategyStatus::Starting => None,
            StrategyStatus::Backoff { failure, .. } | StrategyStatus::Quarantined { failure } => {
                Some(failure.to_string())
            }
        };
        Self { state: status.code().to_owned(), failure }
    }

    /// Whether an operator has to release it, or may do so before its pause is over.
    pub fn can_be_released(&self) -> bool {
        self.state == "quarantined" || self.state == "backoff"
    }
}

/// A component.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ComponentView {
    /// SHA-256 of its bytes.
    pub sha256: Digest,
    /// What it calls itself.
    pub name: String,
    /// Its version.
    pub version: String,
}

/// One position.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PositionView {
    /// In what.
    pub symbol: String,
    /// Signed quantity, in lots.
    pub lots: Lots,
    /// Signed quantity, in units.
    pub quantity: Decimal,
    /// What it cost a unit.
    pub average_price: Option<Decimal>,
    /// The last price.
    pub mark: Option<Decimal>,
    /// Profit of what is held.
    pub unrealized: Option<Money>,
    /// Profit of what was closed.
    pub realized: Money,
}

/// One working order.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct OrderView {
    /// Its number.
    pub id: u64,
    /// Of what.
    pub symbol: String,
    /// Which way.
    pub side: Side,
    /// What may still be filled.
    pub leaves: Lots,
    /// The worst price, if it names one.
    pub limit: Option<PriceTicks>,
}

/// What a person should know, with the data's time.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AlertView {
    /// When.
    pub at: UnixNanos,
    /// What.
    #[serde(flatten)]
    pub alert: Alert,
}

impl AgentView {
    pub(super) fn new(
        report: &AgentReport,
        instruments: &Instruments,
        venue: &str,
        (component, previous): (ComponentView, Option<ComponentView>),
        mut swap: Option<SwapView>,
        answered: bool,
    ) -> Self {
        if let Some(swap) = &mut swap {
            swap.refresh(&report.status.swap);
        }
        let books = &report.books;
        let symbol = |id| instruments.get(id).map(|terms| terms.symbol.clone()).unwrap_or_default();
        let positions = books.holdings().filter(|(_, holding)| {
            !holding.quantity.is_zero() || holding.realized != Money::ZERO || holding.mark.is_some()
        });
        let positions = positions.filter_map(|(id, holding)| {
            let terms = instruments.get(id)?;
            let lots = holding.quantity;
            Some(PositionView {
                symbol: terms.symbol.clone(),
                lots,
                quantity: Decimal::from(lots.0).checked_mul(terms.lot_size)?.normalize(),
                average_price: (!lots.is_zero()).then(|| holding.average_price(instruments, id)).flatten(),
                mark: holding.mark.and_then(|mark| terms.price(mark)),
                unrealized: books.unrealized(instruments, id),
                realized: holding.realized,
            })
        });
        let orders = books.working().iter().map(|(id, order)| OrderView {
            id: id.0,
            symbol: symbol(order.instrument),
            side: order.side,
            leaves: order.leaves,
            limit: order.limit,
        });
        let dropped = report.data.iter().filter(|(_, count)| *count > 0);
        let alerts = report.alerts.iter().skip(report.alerts.len().saturating_sub(ALERTS_SHOWN));
        Self {
            name: report.name.clone(),
            venue: venue.to_owned(),
            answered,
            stopped: report.stopped,
            incarnation: report.incarnation,
            symbols: report.symbols.clone(),
            component,
            previous,
            strategy: StrategyView::of(&report.status.strategy),
            strikes: report.status.strikes,
            swap,
            settings: to_json(&report.status.settings),
            mode: report.mode,
            mode_cause: report.mode_cause,
            reconciliation: report.reconciliation,
            equity: report.equity,
            cash: books.cash(),
            fees: books.fees(),
            max_drawdown: report.max_drawdown.round_dp(6).normalize(),
            positions: positions.collect(),
            orders: orders.collect(),
            open_intents: report.open_intents,
            stats: report.stats,
            dropped: dropped.map(|(code, count)| (code.name().to_owned(), count)).collect(),
            alerts: alerts.map(|(at, alert)| AlertView { at: *at, alert: alert.clone() }).collect(),
        }
    }
}

impl ComponentView {
    pub(super) fn of(plugin: &Plugin) -> Self {
        let metadata = plugin.metadata();
        let (name, version) = (metadata.name.clone(), metadata.version.clone());
        Self { sha256: plugin.digest(), name, version }
    }
}
