//! Holds the host's books against the venue's own ledger.
//!
//! Lost: an intent that the host believes done and the venue does not know, an execution that the host has
//! not booked, or an intent that is still open. Duplicated: a key under which the venue executed more than
//! one placement, or more than was ordered.

use crate::agent::live::{AgentReport, RunReport};
use crate::config::Config;
use crate::market::{Instrument, Money};
use crate::orders::{Action, IntentState};
use crate::venue::paper::{AccountTruth, Truth};
use rust_decimal::Decimal;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// The outcome of the comparison.
#[derive(Debug, Serialize)]
pub(super) struct Settlement {
    /// Orders compared.
    pub orders: u64,
    /// Executions compared.
    pub executions: u64,
    pub lost: u64,
    pub duplicated: u64,
    /// Instruments whose position differs: symbol, host, venue.
    pub positions: Vec<(String, Decimal, Decimal)>,
    /// Fees of the host and of the venue.
    pub fees: (Money, Money),
    /// What cash has changed by, in the books of the host and of the venue: fills at another price show here.
    pub cash: (Money, Money),
    /// What differs, in words, at most [`Settlement::WORDS_MAX`].
    pub differences: Vec<String>,
}

impl Settlement {
    const WORDS_MAX: usize = 20;

    /// Compares the agents' books with the ledger. The account of each venue is named like the venue.
    pub fn new(report: &RunReport, config: &Config, truth: &Truth) -> Self {
        let mut settlement = Self {
            orders: 0,
            executions: 0,
            lost: 0,
            duplicated: 0,
            positions: Vec::new(),
            fees: (Money::ZERO, Money::ZERO),
            cash: (Money::ZERO, Money::ZERO),
            differences: Vec::new(),
        };
        for account in &truth.accounts {
            let trades_here = |name: &str| {
                config.agent.iter().any(|agent| agent.name.as_str() == name && agent.venue == account.name)
            };
            let agents: Vec<&AgentReport> =
                report.agents.iter().filter(|agent| trades_here(agent.name.as_str())).collect();
            settlement.compare_orders(&agents, &config.instrument, account);
            settlement.compare_positions(&agents, &config.instrument, account);
            settlement.compare_cash(&agents, config, account);
        }
        settlement
    }

    fn compare_orders(&mut self, agents: &[&AgentReport], instruments: &[Instrument], truth: &AccountTruth) {
        self.executions += truth.executions.len() as u64;
        let mut executed: BTreeMap<&str, Decimal> = BTreeMap::new();
        for execution in &truth.executions {
            *executed.entry(&execution.key).or_default() += execution.quantity;
        }
        for agent in agents {
            for (key, intent) in agent.ledger.intents() {
                let Action::Submit(terms) = intent.action else { continue };
                let symbol = usize::try_from(terms.instrument.0).ok().and_then(|id| agent.symbols.get(id));
                let lot = symbol.and_then(|symbol| lot_size(instruments, symbol)).unwrap_or_default();
                self.orders += 1;
                let key = key.to_string();
                let at_venue = executed.remove(key.as_str()).unwrap_or_default();
                let filled = agent.ledger.order(terms.id).map_or(0, |order| order.filled.0);
                let booked = Decimal::from(filled) * lot;
                let ordered = Decimal::from(terms.quantity.0) * lot;
                let placed = truth.placements.get(&key).copied().unwrap_or(0);
                if placed > 1 || at_venue > ordered {
                    self.duplicated += 1;
                    self.note(format!("{key}: placed {placed} times, {at_venue} of {ordered} executed"));
                }
                let vanished = intent.state == IntentState::Acknowledged && placed == 0;
                if !intent.state.is_terminal() || vanished || at_venue != booked {
                    self.lost += 1;
                    self.note(format!(
                        "{key}: the host has it {:?} with {booked} filled, the venue placed it {placed} times and \
                         executed {at_venue}",
                        intent.state
                    ));
                }
            }
        }
        for (key, quantity) in executed {
            self.lost += 1;
            self.note(format!("{key}: the venue executed {quantity} that no agent knows of"));
        }
    }

    fn compare_positions(
        &mut self,
        agents: &[&AgentReport],
        instruments: &[Instrument],
        truth: &AccountTruth,
    ) {
        let mut held: BTreeMap<&str, Decimal> = BTreeMap::new();
        for agent in agents {
            for (symbol, (_, holding)) in agent.symbols.iter().zip(agent.books.holdings()) {
                let lot = lot_size(instruments, symbol).unwrap_or_default();
                *held.entry(symbol).or_default() += Decimal::from(holding.quantity.0) * lot;
            }
            self.fees.0 = self.fees.0.checked_add(agent.books.fees()).unwrap_or(self.fees.0);
        }
        self.fees.1 = self.fees.1.checked_add(Money::new(truth.fees)).unwrap_or(self.fees.1);
        let symbols: BTreeSet<&str> =
            held.keys().copied().chain(truth.positions.keys().map(String::as_str)).collect();
        for symbol in symbols {
            let host = held.get(symbol).copied().unwrap_or_default();
            let venue = truth.positions.get(symbol).copied().unwrap_or_default();
            if host != venue {
                self.positions.push((symbol.to_owned(), host, venue));
                self.note(format!("{symbol}: the host holds {host}, the venue {venue}"));
            }
        }
    }

    fn compare_cash(&mut self, agents: &[&AgentReport], config: &Config, truth: &AccountTruth) {
        let started_with = |agent: &AgentReport| {
            config
                .agent
                .iter()
                .find(|config| config.name == agent.name)
                .map_or(Money::ZERO, |config| config.cash)
        };
        let host = agents
            .iter()
            .filter_map(|agent| agent.books.cash().checked_sub(started_with(agent)))
            .fold(Money::ZERO, |sum, change| sum.checked_add(change).unwrap_or(sum));
        let venue = Money::new(truth.cash - truth.cash_at_start);
        if host != venue {
            self.note(format!(
                "{}: cash changed by {host} in the host's books, by {venue} at the venue",
                truth.name
            ));
        }
        self.cash.0 = self.cash.0.checked_add(host).unwrap_or(self.cash.0);
        self.cash.1 = self.cash.1.checked_add(venue).unwrap_or(self.cash.1);
    }

    fn note(&mut self, words: String) {
        if self.differences.len() < Self::WORDS_MAX {
            self.differences.push(words);
        }
    }

    /// Whether everything agrees.
    pub fn balances(&self) -> bool {
        self.lost == 0
            && self.duplicated == 0
            && self.positions.is_empty()
            && self.fees.0 == self.fees.1
            && self.cash.0 == self.cash.1
    }

    /// The outcome in one sentence.
    pub fn sentence(&self) -> String {
        if self.balances() {
            return format!(
                "Books equal the venue's ledger: {} orders, {} executions, lost 0, duplicated 0; positions, fees and cash agree.",
                self.orders, self.executions
            );
        }
        let mut words = format!(
            "Books do NOT equal the venue's ledger: {} orders, {} executions, lost {}, duplicated {}, {} positions differ, fees {} and {}, cash {} and {}.",
            self.orders,
            self.executions,
            self.lost,
            self.duplicated,
            self.positions.len(),
            self.fees.0,
            self.fees.1,
            self.cash.0,
            self.cash.1
        );
        for difference in &self.differences {
            words.push_str("\n  ");
            words.push_str(difference);
        }
        words
    }
}

fn lot_size(instruments: &[Instrument], symbol: &str) -> Option<Decimal> {
    instruments.iter().find(|instrument| instrument.symbol == symbol).map(|instrument| instrument.lot_size)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::core::{Stats, Status, StrategyStatus, SwapStage};
    use crate::agent::live::Curve;
    use crate::market::{DataCounts, InstrumentId, Instruments, Lots, PriceTicks};
    use crate::orders::{
        Books, Decided, Decision, Digest, Ledger, Mode, NewOrder, OrderId, OrderKind, OrderOptions, Origin,
        Side, Slot, TimeInForce, Verdict,
    };
    use crate::venue::paper::{Execution, OrderTruth};
    use crate::venue::{ByteBody, OrderChange, OrderUpdate, Request, RequestKind};
    use std::path::Path;

    fn config() -> Config {
        let text = include_str!("demo.toml").replace("@SEED@", "1");
        Config::parse(&text, Path::new("demo.toml")).unwrap()
    }

    /// One buy of two at 100.00 with a fee of 0.02, on both sides.
    fn agreeing() -> (Config, RunReport, Truth) {
        let config = config();
        let instruments = Instruments::new(config.instrument.clone()).unwrap();
        let name = config.agent[0].name.clone();
        let key = Slot { agent: &name, incarnation: 1, plugin: Digest::of(b"x"), call: 1, index: 0 }.key();
        let terms = NewOrder {
            id: OrderId(1),
            instrument: InstrumentId(0),
            side: Side::Buy,
            quantity: Lots(2),
            kind: OrderKind::Market,
            tif: TimeInForce::Ioc,
            options: OrderOptions::default(),
            tag: 0,
        };
        let request = Request { key, kind: RequestKind::Place, body: ByteBody(Vec::new()) };
        let intended =
            Decided { index: 0, key, action: Action::Submit(terms), verdict: Verdict::Intended(request) };
        let decision = Decision {
            call: 1,
            origin: Origin::Tick,
            input: Digest::of(b""),
            output: None,
            intents: vec![intended],
            memory: None,
        };
        let fee = Money::new("0.02".parse().unwrap());
        let (quantity, price) = (Lots(2), PriceTicks(10_000));
        let change = OrderChange::Filled { quantity, price, leaves: Lots::ZERO, fee, maker: false };
        let (mut ledger, mut books) = (Ledger::default(), Books::new(config.agent[0].cash, 1));
        let at = crate::market::UnixNanos(1);
        ledger.decide(at, &decision).unwrap();
        ledger.update(at, &OrderUpdate { sequence: 1, key, change, venue_id: None }).unwrap();
        books.fill(&instruments, (OrderId(1), InstrumentId(0), Side::Buy), quantity, price, fee).unwrap();
        let agent = AgentReport {
            name,
            symbols: vec!["SPX".into()],
            stats: Stats::default(),
            books,
            ledger,
            data: DataCounts::default(),
            curve: Curve::default(),
            equity: None,
            max_drawdown: Decimal::ZERO,
            reconciliation: crate::agent::core::ReconcileStage::Reconciled,
            mode: Mode::Full,
            modes: Vec::new(),
            alerts: Vec::new(),
            said: Vec::new(),
            halted: false,
            mode_cause: None,
            incarnation: 1,
            status: Status {
                plugin: Digest::of(b"x"),
                settings: Vec::new(),
                strategy: StrategyStatus::Running,
                strikes: 0,
                swap: SwapStage::None,
            },
            open_intents: 0,
            stopped: true,
        };
        let report = RunReport {
            agents: vec![agent],
            gates: BTreeMap::new(),
            samples: 1,
            dead_letters: 0,
            letter_alerts: Vec::new(),
            broken: Vec::new(),
        };
        let two = Decimal::from(2);
        let key = key.to_string();
        let account = AccountTruth {
            name: "ema".into(),
            cash_at_start: Decimal::from(100_000),
            cash: "99799.98".parse().unwrap(),
            fees: "0.02".parse().unwrap(),
            positions: [("SPX".to_owned(), two)].into(),
            orders: vec![OrderTruth {
                key: key.clone(),
                symbol: "SPX".into(),
                side: "buy".into(),
                quantity: two,
                filled: two,
                status: "filled".into(),
            }],
            executions: vec![Execution {
                sequence: 1,
                key: key.clone(),
                symbol: "SPX".into(),
                side: "buy".into(),
                quantity: two,
                price: Decimal::from(100),
                fee: "0.02".parse().unwrap(),
                maker: false,
                at_ns: 1,
            }],
            placements: [(key, 1)].into(),
            repeats: 0,
            running: 0,
        };
        (config, report, Truth { sequence: 1, accounts: vec![account] })
    }

    fn settle(change: impl FnOnce(&mut AccountTruth)) -> Settlement {
        let (config, report, mut truth) = agreeing();
        change(&mut truth.accounts[0]);
        Settlement::new(&report, &config, &truth)
    }

    #[test]
    fn equal_books_balance() {
        let settlement = settle(|_| ());
        assert!(settlement.balances(), "{}", settlement.sentence());
        assert_eq!((settlement.orders, settlement.executions), (1, 1));
    }

    #[test]
    fn an_order_placed_twice_is_a_duplicate() {
        let settlement = settle(|truth| truth.placements.values_mut().for_each(|count| *count = 2));
        assert_eq!((settlement.duplicated, settlement.balances()), (1, false));
    }

    #[test]
    fn an_execution_that_nobody_booked_is_lost() {
        let stranger = settle(|truth| {
            let mut other = truth.executions[0].clone();
            other.key = "another".into();
            truth.executions.push(other);
        });
        assert_eq!((stranger.lost, stranger.balances()), (1, false));
        let vanished = settle(|truth| {
            truth.executions.clear();
            truth.placements.clear();
        });
        assert_eq!((vanished.lost, vanished.balances()), (1, false));
    }

    #[test]
    fn another_position_fee_or_price_is_seen() {
        let position = settle(|truth| {
            truth.positions.insert("SPX".into(), Decimal::from(3));
        });
        assert!(!position.balances() && position.positions.len() == 1);
        assert!(!settle(|truth| truth.fees = Decimal::ONE).balances());
        // A fill at another price changes cash and nothing else.
        assert!(!settle(|truth| truth.cash -= Decimal::ONE).balances());
    }
}
