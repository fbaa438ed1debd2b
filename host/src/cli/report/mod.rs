//! The report of a run: numbers for machines, a table for people, and a page with charts.

mod chart;
mod page;

pub(super) use chart::{Band, Chart, Dot, Mark, Series, escape};
pub(super) use page::{STYLE, page};

use super::output::Output;
use super::settle::Settlement;
use crate::agent::core::ReconcileStage;
use crate::agent::live::{AgentReport, RunReport};
use crate::market::Money;
use crate::orders::Mode;
use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive;
use serde::Serialize;
use std::collections::BTreeMap;

/// The facts of a run.
#[derive(Debug, Serialize)]
pub(super) struct Facts {
    pub events: u64,
    pub dropped: u64,
    pub intents: u64,
    pub orders: u64,
    pub fills: u64,
    pub attempts: u64,
    pub retries: u64,
    pub breaker_trips: u64,
    pub mode_changes: u64,
    pub dead_letters: u64,
    pub traps: u64,
    pub checkpoints: u64,
    pub lost: Option<u64>,
    pub duplicated: Option<u64>,
    pub books_match: Option<bool>,
    pub final_equity: Option<Money>,
    pub max_drawdown: Decimal,
    pub injected: u64,
    pub seconds: f64,
    pub events_per_second: f64,
    /// What a person should know, by code.
    pub alerts: BTreeMap<String, u64>,
    /// What went wrong with the host itself.
    pub broken: Vec<String>,
    pub agents: Vec<AgentFacts>,
}

/// The facts of one agent.
#[derive(Debug, Serialize)]
pub(super) struct AgentFacts {
    pub name: String,
    pub mode: Mode,
    pub reconciliation: ReconcileStage,
    pub halted: bool,
    pub intents: u64,
    pub orders: u64,
    pub fills: u64,
    pub refused: u64,
    pub suppressed: u64,
    pub attempts: u64,
    pub retries: u64,
    pub rejected: u64,
    pub dead_letters: u64,
    pub traps: u64,
    pub strikes: u64,
    pub restarts: u64,
    pub swaps: u64,
    pub rollbacks: u64,
    pub mode_changes: u64,
    pub fees: Money,
    pub equity: Option<Money>,
    pub max_drawdown: Decimal,
    pub fuel_per_call: u64,
    pub fuel_max: u64,
    pub dropped: BTreeMap<String, u64>,
}

impl Facts {
    pub fn new(report: &RunReport, settlement: Option<&Settlement>, injected: u64, seconds: f64) -> Self {
        let sum = |of: fn(&AgentReport) -> u64| report.agents.iter().map(of).sum::<u64>();
        let equity =
            report.agents.iter().try_fold(Money::ZERO, |total, agent| total.checked_add(agent.equity?));
        let trips = report.gates.values().map(|gate| gate.write.trips + gate.read.trips).sum();
        let deepest = report.agents.iter().map(|agent| agent.max_drawdown).max().unwrap_or_default();
        let events = report.samples;
        Self {
            events,
            dropped: sum(|agent| agent.stats.samples_dropped),
            intents: sum(|agent| agent.stats.intents),
            orders: sum(|agent| agent.stats.orders),
            fills: sum(|agent| agent.stats.fills),
            attempts: sum(|agent| agent.stats.attempts),
            retries: sum(|agent| agent.stats.retries),
            breaker_trips: trips,
            mode_changes: sum(|agent| agent.stats.mode_changes),
            dead_letters: sum(|agent| agent.stats.dead_letters),
            traps: sum(|agent| agent.stats.traps),
            checkpoints: sum(|agent| agent.stats.checkpoints),
            lost: settlement.map(|settlement| settlement.lost),
            duplicated: settlement.map(|settlement| settlement.duplicated),
            books_match: settlement.map(Settlement::balances),
            final_equity: equity,
            max_drawdown: deepest.round_dp(6).normalize(),
            injected,
            seconds: (seconds * 1_000.0).round() / 1_000.0,
            events_per_second: if seconds > 0.0 { (events as f64 / seconds).round() } else { 0.0 },
            alerts: count_alerts(report),
            broken: report.broken.clone(),
            agents: report.agents.iter().map(AgentFacts::new).collect(),
        }
    }

    /// A table for people.
    pub fn table(&self, out: &Output) -> String {
        let mut rows = vec![["".to_owned(), "total".to_owned()].to_vec()];
        for agent in &self.agents {
            rows[0].push(agent.name.clone());
        }
        let mut row = |label: &str, total: String, of: &dyn Fn(&AgentFacts) -> String| {
            let mut cells = vec![label.to_owned(), total];
            cells.extend(self.agents.iter().map(of));
            rows.push(cells);
        };
        row("events", self.events.to_string(), &|_| String::new());
        row("intents", self.intents.to_string(), &|agent| agent.intents.to_string());
        row("orders", self.orders.to_string(), &|agent| agent.orders.to_string());
        row("fills", self.fills.to_string(), &|agent| agent.fills.to_string());
        row("refused by the risk gate", total(self, |a| a.refused), &|agent| agent.refused.to_string());
        row("suppressed by mode", total(self, |a| a.suppressed), &|agent| agent.suppressed.to_string());
        row("attempts", self.attempts.to_string(), &|agent| agent.attempts.to_string());
        row("retries", self.retries.to_string(), &|agent| agent.retries.to_string());
        row("dead letters", self.dead_letters.to_string(), &|agent| agent.dead_letters.to_string());
        row("traps", self.traps.to_string(), &|agent| agent.traps.to_string());
        row("mode changes", self.mode_changes.to_string(), &|agent| agent.mode_changes.to_string());
        row("mode at the end", String::new(), &|agent| agent.mode.to_string());
        row("books and venue", String::new(), &|agent| agent.reconciliation.to_string());
        row("equity at the end", money(self.final_equity), &|agent| money(agent.equity));
        row("deepest drawdown", percent(self.max_drawdown), &|agent| percent(agent.max_drawdown));
        row("fuel a call (max)", String::new(), &|agent| {
            format!("{} ({})", agent.fuel_per_call, agent.fuel_max)
        });
        let widths: Vec<usize> = (0..rows[0].len())
            .map(|column| rows.iter().filter_map(|row| row.get(column)).map(String::len).max().unwrap_or(0))
            .collect();
        let mut text = String::new();
        for (number, row) in rows.iter().enumerate() {
            let mut line = String::new();
            for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
                if column == 0 {
                    line.push_str(&format!("  {cell:<width$}"));
                } else {
                    line.push_str(&format!("  {cell:>width$}"));
                }
            }
            text.push_str(&if number == 0 { out.bold(&line) } else { line });
            text.push('\n');
        }
        text.push_str(&format!(
            "\n  breaker trips {}, checkpoints {}, samples dropped {}, {:.1} s, {:.0} events a second",
            self.breaker_trips, self.checkpoints, self.dropped, self.seconds, self.events_per_second
        ));
        if self.injected > 0 {
            text.push_str(&format!("\n  failures injected {}", self.injected));
        }
        if !self.alerts.is_empty() {
            let alerts: Vec<String> =
                self.alerts.iter().map(|(code, count)| format!("{code} {count}")).collect();
            text.push_str(&format!("\n  alerts: {}", alerts.join(", ")));
        }
        for broken in &self.broken {
            text.push_str(&format!("\n  {}", out.bad(broken)));
        }
        text
    }
}

impl AgentFacts {
    fn new(agent: &AgentReport) -> Self {
        let stats = agent.stats;
        Self {
            name: agent.name.to_string(),
            mode: agent.mode,
            reconciliation: agent.reconciliation,
            halted: agent.halted,
            intents: stats.intents,
            orders: stats.orders,
            fills: stats.fills,
            refused: stats.refused,
            suppressed: stats.suppressed,
            attempts: stats.attempts,
            retries: stats.retries,
            rejected: stats.rejected,
            dead_letters: stats.dead_letters,
            traps: stats.traps,
            strikes: stats.strikes,
            restarts: stats.restarts,
            swaps: stats.swaps,
            rollbacks: stats.rollbacks,
            mode_changes: stats.mode_changes,
            fees: agent.books.fees(),
            equity: agent.equity,
            max_drawdown: agent.max_drawdown.round_dp(6).normalize(),
            fuel_per_call: stats.fuel_total.checked_div(stats.calls).unwrap_or(0),
            fuel_max: stats.fuel_max,
            dropped: agent
                .data
                .iter()
                .filter(|(_, count)| *count > 0)
                .map(|(code, count)| (code.name().to_owned(), count))
                .collect(),
        }
    }
}

fn count_alerts(report: &RunReport) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    for (_, alert) in report.agents.iter().flat_map(|agent| &agent.alerts) {
        *counts.entry(alert.code.clone()).or_default() += 1;
    }
    for (_, alert) in &report.letter_alerts {
        *counts.entry(alert.code().to_owned()).or_default() += 1;
    }
    counts
}

fn total(facts: &Facts, of: fn(&AgentFacts) -> u64) -> String {
    facts.agents.iter().map(of).sum::<u64>().to_string()
}

fn money(amount: Option<Money>) -> String {
    amount.map_or_else(|| "unknown".into(), |amount| format!("{:.2}", amount.decimal()))
}

fn percent(share: Decimal) -> String {
    format!("{:.1} %", share.to_f64().unwrap_or_default() * 100.0)
}
