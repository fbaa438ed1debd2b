//! `ringfence swap`, `rollback` and `release`: what an operator does about the component of a running agent.

use super::host::{HostArgs, HostClient};
use super::output::{CliError, Output, columns};
use crate::admin::{NoteBody, RollbackBody};
use crate::agent::core::{ShadowAnswer, ShadowReport};
use crate::agent::live::{AgentView, ComponentView, Released, SwapOrder, SwapProgress, SwapView};
use crate::market::InstrumentId;
use crate::orders::{AgentName, Digest, OrderIntent, OrderKind, SwapReason};
use serde_json::{Map, Value};
use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// How often the host is asked how far a swap has come.
const LOOK: Duration = Duration::from_millis(100);

/// Intents of a first difference that are shown.
const INTENTS_SHOWN: usize = 8;

#[derive(clap::Args)]
pub(super) struct SwapArgs {
    /// The agent.
    agent: AgentName,
    /// The component that is to take over.
    component: PathBuf,
    #[command(flatten)]
    host: HostArgs,
    /// A setting that differs from those in force, such as `fast=12`; may be given more than once.
    #[arg(long, value_name = "KEY=VALUE", value_parser = setting)]
    set: Vec<(String, Value)>,
    /// Only the settings of `--set`, none of those in force.
    #[arg(long)]
    only_set: bool,
    /// The digest that the component must have, as `ringfence inspect` prints it.
    #[arg(long, value_name = "HEX")]
    sha256: Option<Digest>,
    /// Ticks for which it runs beside the strategy first, with the difference in intents shown at the end.
    #[arg(long, value_name = "TICKS")]
    shadow: Option<u64>,
    /// Ticks in which the component before comes back by itself when this one fails.
    #[arg(long, value_name = "TICKS")]
    probation: Option<u64>,
    /// Begin without the state of the component before.
    #[arg(long)]
    fresh: bool,
    /// Why; kept in the journal.
    #[arg(long, default_value = "")]
    note: String,
    /// Wait until the swap is over, its probation included; otherwise until the agent has it.
    #[arg(long)]
    wait: bool,
}

#[derive(clap::Args)]
pub(super) struct RollbackArgs {
    /// The agent.
    agent: AgentName,
    #[command(flatten)]
    host: HostArgs,
    /// Why; kept in the journal.
    #[arg(long, default_value = "")]
    note: String,
    /// Begin without a state, when what ran before cannot go on with that of what runs now.
    #[arg(long)]
    fresh: bool,
    /// Wait until the component before runs again, and its probation is over.
    #[arg(long)]
    wait: bool,
}

#[derive(clap::Args)]
pub(super) struct ReleaseArgs {
    /// The agent.
    agent: AgentName,
    #[command(flatten)]
    host: HostArgs,
    /// Why; kept in the journal.
    #[arg(long)]
    note: String,
}

/// A setting as TOML has it; what is no TOML is text.
fn setting(text: &str) -> Result<(String, Value), String> {
    let (key, value) = text.split_once('=').ok_or("expected KEY=VALUE, such as fast=12")?;
    let (key, value) = (key.trim(), value.trim());
    if key.is_empty() {
        return Err("expected a key before the =".into());
    }
    let parsed = toml::from_str::<BareValue>(&format!("value = {value}"));
    let value = match parsed {
        Ok(BareValue { value: toml::Value::Boolean(value) }) => Value::from(value),
        Ok(BareValue { value: toml::Value::Integer(value) }) => Value::from(value),
        Ok(BareValue { value: toml::Value::Float(value) }) if value.is_finite() => Value::from(value),
        Ok(BareValue { value: toml::Value::String(text) }) => Value::from(text),
        _ => Value::from(value),
    };
    Ok((key.to_owned(), value))
}

#[derive(serde::Deserialize)]
struct BareValue {
    value: toml::Value,
}

pub(super) fn swap(args: &SwapArgs, out: &Output) -> Result<ExitCode, CliError> {
    let host = args.host.connect()?;
    // The host has a folder of its own.
    let component = std::fs::canonicalize(&args.component).map_err(|error| {
        CliError::input(
            "component",
            format!("{}: {error}; give the path of a component", args.component.display()),
        )
    })?;
    let set: Map<String, Value> = args.set.iter().cloned().collect();
    let order = SwapOrder {
        component,
        sha256: args.sha256,
        settings: args.only_set.then(Map::new),
        set,
        shadow_ticks: args.shadow,
        probation_ticks: args.probation,
        fresh: args.fresh,
        note: args.note.clone(),
    };
    let begun: SwapView = host.post(&format!("/v1/agents/{}/swap", args.agent), &order)?;
    let swap = follow(&host, &args.agent, begun, args.wait, out)?;
    let failed = match &swap.progress {
        SwapProgress::Refused { .. } => true,
        // An operator who has taken it back meanwhile knows.
        SwapProgress::Returned { returned_because, .. } => *returned_because == SwapReason::ProbationFailed,
        _ => false,
    };
    Ok(if failed { ExitCode::from(1) } else { ExitCode::SUCCESS })
}

pub(super) fn rollback(args: &RollbackArgs, out: &Output) -> Result<ExitCode, CliError> {
    let host = args.host.connect()?;
    let path = format!("/v1/agents/{}", args.agent);
    let before: AgentView = host.get(&path)?;
    let body = RollbackBody { note: args.note.clone(), fresh: args.fresh };
    let done: Value = host.post(&format!("{path}/rollback"), &body)?;
    let begun = done.get("swap").map(|swap| serde_json::from_value(swap.clone()));
    let taken_back = match (begun, before.swap) {
        (Some(Ok(begun)), _) => {
            let swap = follow(&host, &args.agent, begun, args.wait, out)?;
            !matches!(swap.progress, SwapProgress::Refused { .. } | SwapProgress::Returned { .. })
        }
        // The swap before is taken back, and its end is what happens.
        (None, Some(swap)) => {
            let swap = follow(&host, &args.agent, swap, true, out)?;
            swap.reason == SwapReason::Rollback || swap.progress != SwapProgress::Committed
        }
        (Some(Err(_)), _) | (None, None) => {
            return Err(CliError::system(
                "no_answer",
                "the host does not say what it does; see ringfence status",
            ));
        }
    };
    Ok(if taken_back { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

pub(super) fn release(args: &ReleaseArgs, out: &Output) -> Result<ExitCode, CliError> {
    let host = args.host.connect()?;
    let body = NoteBody { note: args.note.clone() };
    let released: Released = host.post(&format!("/v1/agents/{}/release", args.agent), &body)?;
    out.facts(&released, |out| {
        let mut text = String::new();
        if released.shutdown {
            let _ = writeln!(
                text,
                "{} the shutdown of {} is over; it goes up by its dwells",
                out.good("released:"),
                args.agent
            );
        }
        if released.strategy {
            let _ = writeln!(
                text,
                "{} the strategy of {} is started again, its strikes are forgotten",
                out.good("released:"),
                args.agent
            );
        }
        text.truncate(text.trim_end().len());
        text
    });
    Ok(ExitCode::SUCCESS)
}

/// Shows how far a swap comes, and what became of it.
fn follow(
    host: &HostClient,
    agent: &AgentName,
    mut swap: SwapView,
    to_the_end: bool,
    out: &Output,
) -> Result<SwapView, CliError> {
    let path = format!("/v1/agents/{agent}");
    let (mut said, mut symbols) = (String::new(), Vec::new());
    loop {
        let step = step(&swap);
        // Ticks that are left change all the time; a line for each change would be a flood.
        if step != said {
            out.line(format!("swap {} of {agent}: {step}", swap.number));
            said = step;
        }
        let on_its_way = match swap.progress {
            SwapProgress::Vetting | SwapProgress::Handed => true,
            _ => to_the_end,
        };
        if swap.progress.is_over() || !on_its_way {
            break;
        }
        host.pause(LOOK);
        let view: AgentView = host.get(&path)?;
        symbols = view.symbols;
        match view.swap {
            // A rollback that came a moment after the probation is a swap of its own.
            Some(next) if next.number == swap.number || next.reason == SwapReason::Rollback => swap = next,
            // Another one has begun, so that this one is over; its end is in the journal.
            _ => break,
        }
        if view.stopped && !swap.progress.is_over() {
            out.line(format!("agent {agent} has finished before the swap was over"));
            break;
        }
    }
    out.facts(&swap, |out| verdict(&swap, agent, &symbols, out));
    Ok(swap)
}

/// The step at hand, in words that change only when the step does.
fn step(swap: &SwapView) -> String {
    let to = swap.to.as_ref().map(named).unwrap_or_default();
    match &swap.progress {
        SwapProgress::Vetting => format!("vetting {}", swap.file),
        SwapProgress::Handed => format!("{to} is vetted"),
        SwapProgress::Shadowing { .. } => {
            format!("{to} runs beside the strategy for {} ticks", swap.shadow_ticks)
        }
        SwapProgress::Switching => "switching".to_owned(),
        SwapProgress::Probation { .. } => {
            format!("{to} has taken over, on probation for {} ticks", swap.probation_ticks)
        }
        SwapProgress::Committed => format!("{to} stays"),
        SwapProgress::Returned { .. } => format!("{} is back", named(&swap.from)),
        SwapProgress::Refused { .. } => "refused, nothing was changed".to_owned(),
    }
}

/// A component in a few words.
pub(super) fn named(component: &ComponentView) -> String {
    let digest = component.sha256.to_string();
    let digest = digest.get(..12).unwrap_or(&digest);
    if component.name.is_empty() {
        return digest.to_owned();
    }
    format!("{} {} ({digest})", component.name, component.version)
}

/// Settings in one line.
pub(super) fn settings(settings: &Map<String, Value>) -> String {
    if settings.is_empty() {
        return "none".to_owned();
    }
    let one = |(key, value): (&String, &Value)| match value {
        Value::String(text) => format!("{key} = {text:?}"),
        value => format!("{key} = {value}"),
    };
    settings.iter().map(one).collect::<Vec<_>>().join(", ")
}

/// The whole swap, for a person.
pub(super) fn verdict(swap: &SwapView, agent: &AgentName, symbols: &[String], out: &Output) -> String {
    let mut text = String::new();
    let head = match &swap.progress {
        SwapProgress::Committed => out.good("done"),
        SwapProgress::Returned { .. } => out.bad("taken back"),
        SwapProgress::Refused { .. } => out.bad("refused"),
        other => other.name().to_owned(),
    };
    let _ = write!(text, "\nswap {} of {agent}: {head}", swap.number);
    let mut row = |label: &str, value: &str| {
        let _ = write!(text, "\n  {label:<11}{value}");
    };
    row("before", &named(&swap.from));
    row("candidate", &swap.to.as_ref().map_or_else(|| swap.file.clone(), named));
    row("settings", &settings(&swap.settings));
    if let Some(call) = swap.switched_after_call {
        let paused = swap.paused_us.unwrap_or_default();
        row(
            "switched",
            &format!("after call {call}, with a pause of {}.{:03} ms", paused / 1_000, paused % 1_000),
        );
    }
    match &swap.progress {
        SwapProgress::Shadowing { ticks_left } => row("shadow", &format!("{ticks_left} ticks left")),
        SwapProgress::Probation { ticks_left } => row("probation", &format!("{ticks_left} ticks left")),
        SwapProgress::Returned { returned_note, .. } => row("because", returned_note),
        SwapProgress::Refused { class, code, message } => {
            row("because", &format!("({class} {code}) {message}"))
        }
        SwapProgress::Vetting | SwapProgress::Handed | SwapProgress::Switching | SwapProgress::Committed => {}
    }
    if !swap.note.is_empty() {
        row("note", &swap.note);
    }
    if let Some(report) = &swap.shadow {
        text.push_str(&shadow(report, symbols, out));
    }
    text
}

/// What the candidate did beside the strategy.
fn shadow(report: &ShadowReport, symbols: &[String], out: &Output) -> String {
    let mut text = format!(
        "\n\n  beside the strategy for {} ticks and {} calls: {}",
        report.ticks,
        report.calls,
        match report.differing {
            0 => out.good("the same intents"),
            1 => "1 call was answered differently".to_owned(),
            calls => format!("{calls} calls were answered differently"),
        }
    );
    let mut rows = vec![["", "running", "candidate"].map(str::to_owned).to_vec()];
    rows.push(vec![
        "intents".into(),
        report.intents_running.to_string(),
        report.intents_candidate.to_string(),
    ]);
    if let Some(first) = &report.first {
        let (running, candidate) = (answer(&first.running, symbols), answer(&first.candidate, symbols));
        for line in 0..running.len().max(candidate.len()) {
            let label = if line == 0 { format!("first at call {}", first.call) } else { String::new() };
            let cell = |side: &[String]| side.get(line).cloned().unwrap_or_default();
            rows.push(vec![label, cell(&running), cell(&candidate)]);
        }
    }
    text.push_str("\n\n");
    text.push_str(&columns(&rows, "  ", out));
    text
}

fn answer(answer: &ShadowAnswer, symbols: &[String]) -> Vec<String> {
    match answer {
        ShadowAnswer::Wanted(intents) if intents.is_empty() => vec!["nothing".to_owned()],
        ShadowAnswer::Wanted(intents) => {
            let mut lines: Vec<String> =
                intents.iter().take(INTENTS_SHOWN).map(|wanted| intent(wanted, symbols)).collect();
            if intents.len() > INTENTS_SHOWN {
                lines.push(format!("and {} more", intents.len() - INTENTS_SHOWN));
            }
            lines
        }
        ShadowAnswer::Failed(reason) => vec![format!("failed: {reason}")],
    }
}

fn intent(intent: &OrderIntent, symbols: &[String]) -> String {
    let symbol = |id: InstrumentId| {
        let known = usize::try_from(id.0).ok().and_then(|id| symbols.get(id));
        known.map_or_else(|| format!("instrument {}", id.0), Clone::clone)
    };
    match intent {
        OrderIntent::Submit(order) => {
            let kind = match order.kind {
                OrderKind::Market => "at the market".to_owned(),
                OrderKind::Limit(limit) => format!("limit {limit}"),
                OrderKind::Stop(trigger) => format!("stop {trigger}"),
                OrderKind::StopLimit { trigger, limit } => format!("stop {trigger} limit {limit}"),
            };
            format!("{} {} lots of {}, {kind}", order.side.name(), order.quantity, symbol(order.instrument))
        }
        OrderIntent::Cancel(id) => format!("cancel order {}", id.0),
        OrderIntent::Amend(amend) => format!("amend order {} to {} lots", amend.id.0, amend.quantity),
        OrderIntent::CancelAll(instrument) => format!("cancel all of {}", symbol(*instrument)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_setting_is_what_a_configuration_would_make_of_it() {
        for (text, key, value) in [
            ("fast=12", "fast", json!(12)),
            ("ratio = 0.5", "ratio", json!(0.5)),
            ("on=true", "on", json!(true)),
            ("size=decimal:0.25", "size", json!("decimal:0.25")),
            ("name=\"12\"", "name", json!("12")),
            ("name=two words", "name", json!("two words")),
            ("url=a=b", "url", json!("a=b")),
            ("list=[1]", "list", json!("[1]")),
        ] {
            assert_eq!(setting(text), Ok((key.to_owned(), value)), "{text}");
        }
        assert!(setting("fast").is_err() && setting("=1").is_err());
    }

    #[test]
    fn a_difference_is_shown_side_by_side() {
        let first = crate::agent::core::ShadowDifference {
            call: 34,
            running: ShadowAnswer::Wanted(vec![OrderIntent::Cancel(crate::orders::OrderId(7))]),
            candidate: ShadowAnswer::Wanted(Vec::new()),
        };
        let report = ShadowReport {
            ticks: 100,
            calls: 112,
            differing: 2,
            intents_running: 12,
            intents_candidate: 9,
            first: Some(first),
        };
        let text = shadow(&report, &[], &Output::plain());
        let lines: Vec<&str> = text.lines().filter(|line| !line.is_empty()).collect();
        assert_eq!(
            lines,
            [
                "  beside the strategy for 100 ticks and 112 calls: 2 calls were answered differently",
                "                    running         candidate",
                "  intents           12              9",
                "  first at call 34  cancel order 7  nothing",
            ]
        );
    }
}
