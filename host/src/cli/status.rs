//! `ringfence status`: what the agents of a running host are and do.

use super::host::HostArgs;
use super::output::{CliError, Output, columns};
use super::swap::{named, settings, verdict};
use crate::agent::live::{AgentView, SwapProgress};
use crate::market::Money;
use crate::orders::{AgentName, Mode};
use serde::{Deserialize, Serialize};
use std::fmt::Write as _;
use std::process::ExitCode;

/// Working orders of an agent that are shown.
const ORDERS_SHOWN: usize = 10;

#[derive(clap::Args)]
pub(super) struct Args {
    /// Only this agent, with everything about it.
    agent: Option<AgentName>,
    #[command(flatten)]
    host: HostArgs,
}

#[derive(Serialize, Deserialize)]
struct Agents {
    agents: Vec<AgentView>,
}

pub(super) fn run(args: &Args, out: &Output) -> Result<ExitCode, CliError> {
    let host = args.host.connect()?;
    match &args.agent {
        Some(agent) => {
            let view: AgentView = host.get(&format!("/v1/agents/{agent}"))?;
            out.facts(&view, |out| describe(&view, out));
        }
        None => {
            let agents: Agents = host.get("/v1/agents")?;
            out.facts(&agents, |out| table(&agents.agents, out));
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn table(agents: &[AgentView], out: &Output) -> String {
    let heads = ["agent", "component", "strategy", "mode", "equity", "position", "open", "ticks", "swap"];
    let mut rows = vec![heads.map(str::to_owned).to_vec()];
    for agent in agents {
        let held = agent.positions.iter().filter(|position| !position.lots.is_zero());
        let held: Vec<String> =
            held.map(|position| format!("{} {}", position.quantity, position.symbol)).collect();
        rows.push(vec![
            agent.name.to_string(),
            named(&agent.component),
            strategy(agent),
            agent.mode.to_string(),
            money(agent.equity),
            if held.is_empty() { "flat".to_owned() } else { held.join(", ") },
            agent.orders.len().to_string(),
            agent.stats.ticks.to_string(),
            swap(agent),
        ]);
    }
    let mut text = columns(&rows, "", out);
    for agent in agents.iter().filter(|agent| !agent.answered && !agent.stopped) {
        let _ = write!(
            text,
            "\n{} {} did not answer in time: this is its last report",
            out.bad("attention:"),
            agent.name
        );
    }
    for agent in
        agents.iter().filter(|agent| agent.mode == Mode::Shutdown || agent.strategy.can_be_released())
    {
        let _ = write!(
            text,
            "\n{} {} waits for ringfence release {}",
            out.bad("attention:"),
            agent.name,
            agent.name
        );
    }
    text
}

fn strategy(agent: &AgentView) -> String {
    if agent.stopped { "finished".to_owned() } else { agent.strategy.state.clone() }
}

fn swap(agent: &AgentView) -> String {
    match agent.swap.as_ref().map(|swap| &swap.progress) {
        None => "none".to_owned(),
        Some(SwapProgress::Shadowing { ticks_left }) => format!("shadow, {ticks_left} ticks left"),
        Some(SwapProgress::Probation { ticks_left }) => format!("probation, {ticks_left} ticks left"),
        Some(other) => other.name().to_owned(),
    }
}

fn money(amount: Option<Money>) -> String {
    amount.map_or_else(|| "unknown".into(), |amount| format!("{:.2}", amount.decimal()))
}

fn describe(agent: &AgentView, out: &Output) -> String {
    let mut text = out.bold(agent.name.as_str());
    let mut row = |label: &str, value: &str| {
        let _ = write!(text, "\n  {label:<13}{value}");
    };
    row("component", &named(&agent.component));
    row("sha256", &agent.component.sha256.to_string());
    row("settings", &settings(&agent.settings));
    if let Some(previous) = &agent.previous {
        row("before", &named(previous));
    }
    let failure = agent.strategy.failure.as_ref().map(|failure| format!(": {failure}")).unwrap_or_default();
    row("strategy", &format!("{}{failure}", strategy(agent)));
    if agent.strikes > 0 {
        row("strikes", &agent.strikes.to_string());
    }
    let cause = agent.mode_cause.map(|cause| format!(" ({cause})")).unwrap_or_default();
    row("mode", &format!("{}{cause}", agent.mode));
    row("venue", &format!("{}, books and venue {}", agent.venue, agent.reconciliation));
    row(
        "equity",
        &format!(
            "{}, cash {:.2}, fees {:.2}",
            money(agent.equity),
            agent.cash.decimal(),
            agent.fees.decimal()
        ),
    );
    for position in agent.positions.iter().filter(|position| !position.lots.is_zero()) {
        let at = position
            .average_price
            .map(|price| format!(" at {}", price.round_dp(8).normalize()))
            .unwrap_or_default();
        let mark = position.mark.map(|mark| format!(", last price {mark}")).unwrap_or_default();
        row("position", &format!("{} {}{at}{mark}", position.quantity, position.symbol));
    }
    for order in agent.orders.iter().take(ORDERS_SHOWN) {
        let limit = order.limit.map(|limit| format!(" at {limit} ticks")).unwrap_or_default();
        let (side, leaves, symbol) = (order.side.name(), order.leaves, &order.symbol);
        row("order", &format!("{}: {side} {leaves} lots of {symbol}{limit}", order.id));
    }
    if agent.orders.len() > ORDERS_SHOWN {
        row("", &format!("and {} more (--format json has all)", agent.orders.len() - ORDERS_SHOWN));
    }
    let stats = &agent.stats;
    row("open intents", &agent.open_intents.to_string());
    row("ticks", &format!("{}, {} calls, at most {} fuel", stats.ticks, stats.calls, stats.fuel_max));
    row(
        "intents",
        &format!(
            "{}: {} orders, {} fills, {} refused, {} suppressed",
            stats.intents, stats.orders, stats.fills, stats.refused, stats.suppressed
        ),
    );
    row(
        "failures",
        &format!(
            "{} traps, {} faults, {} restarts, {} retries",
            stats.traps, stats.faults, stats.restarts, stats.retries
        ),
    );
    row(
        "swaps",
        &format!("{}, {} refused, {} taken back", stats.swaps, stats.swaps_refused, stats.rollbacks),
    );
    for alert in &agent.alerts {
        row("alert", &format!("{} {}: {}", alert.at, alert.alert.code, alert.alert.text));
    }
    if !agent.answered && !agent.stopped {
        let _ =
            write!(text, "\n{} it did not answer in time: this is its last report", out.bad("attention:"));
    }
    if let Some(swap) = &agent.swap {
        text.push('\n');
        text.push_str(&verdict(swap, &agent.name, &agent.symbols, out));
    }
    text
}
