//! `ringfence checkpoint`: checkpoint files, for the operator. Nothing is changed.

use super::StateArgs;
use super::output::{CliError, Output};
use crate::agent::core::State;
use crate::orders::{AgentName, Digest};
use crate::resilience::checkpoint::{inspect, verify};
use crate::resilience::{Classified, RealDisk};
use serde::Serialize;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

#[derive(clap::Subcommand)]
pub(super) enum Command {
    /// Show what one checkpoint file holds.
    Show {
        /// The file.
        file: PathBuf,
    },
    /// Check every checkpoint of every agent; ends with 3 when one is damaged.
    Verify {
        #[command(flatten)]
        state: StateArgs,
    },
}

#[derive(Serialize)]
struct Row {
    file: String,
    agent: Option<String>,
    generation: Option<u64>,
    journal_seq: Option<u64>,
    error: Option<String>,
}

pub(super) fn run(command: &Command, out: &Output) -> Result<ExitCode, CliError> {
    match command {
        Command::Show { file } => show(file, out),
        Command::Verify { state } => verify_all(&state.data_dir()?, out),
    }
}

fn show(file: &Path, out: &Output) -> Result<ExitCode, CliError> {
    let checkpoint = inspect(file, &RealDisk)?;
    let header = &checkpoint.header;
    let agent: AgentName =
        header.agent.parse().map_err(|error| CliError::input("agent_name", format!("{error}")))?;
    let state = State::decode(&agent, &checkpoint.payload)?;
    let facts = serde_json::json!({
        "agent": header.agent,
        "generation": header.generation,
        "call": header.point.tick,
        "record": state.number,
        "journal_seq": header.point.journal_seq,
        "incarnation": header.point.incarnation,
        "plugin": Digest::from_bytes(header.point.plugin).to_string(),
        "bytes": checkpoint.payload.len(),
        "cash": state.books.cash(),
        "positions": positions(&state),
        "working_orders": state.books.working().len(),
        "open_intents": state.ledger.open_count(),
        "strategy_state_bytes": state.strategy.as_ref().map(|snapshot| snapshot.data.len()),
    });
    out.facts(&facts, |out| {
        let mut text = out.bold(&file.display().to_string());
        for (key, value) in facts.as_object().into_iter().flatten() {
            let _ = write!(text, "\n  {key:<22}{value}");
        }
        text
    });
    Ok(ExitCode::SUCCESS)
}

fn positions(state: &State) -> serde_json::Value {
    let held = state.books.holdings().zip(&state.symbols);
    held.map(|((_, holding), symbol)| (symbol.clone(), serde_json::json!(holding.quantity)))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

fn verify_all(data_dir: &Path, out: &Output) -> Result<ExitCode, CliError> {
    let root = data_dir.join("checkpoints");
    let unreadable = |error: std::io::Error| {
        CliError::input("no_checkpoints", format!("cannot read {}: {error}", root.display()))
    };
    let mut rows = Vec::new();
    let mut folders: Vec<PathBuf> = std::fs::read_dir(&root)
        .map_err(unreadable)?
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| path.is_dir())
        .collect();
    folders.sort();
    for folder in folders {
        for verified in verify(&folder, &RealDisk)? {
            let file = verified.path.display().to_string();
            rows.push(match verified.result {
                Ok(header) => Row {
                    file,
                    agent: Some(header.agent),
                    generation: Some(header.generation),
                    journal_seq: Some(header.point.journal_seq),
                    error: None,
                },
                Err(error) => Row {
                    file,
                    agent: None,
                    generation: None,
                    journal_seq: None,
                    error: Some(format!("{} ({})", error, error.code())),
                },
            });
        }
    }
    let damaged = rows.iter().filter(|row| row.error.is_some()).count();
    out.facts(&serde_json::json!({ "checkpoints": rows, "damaged": damaged }), |out| {
        let mut text = String::new();
        for row in &rows {
            let verdict = match &row.error {
                None => out.good("good"),
                Some(error) => format!("{} {error}", out.bad("damaged")),
            };
            let record =
                row.journal_seq.map_or_else(String::new, |seq| format!("up to journal record {seq}"));
            let _ = writeln!(text, "{}  {verdict}  {record}", row.file);
        }
        let _ = write!(text, "{} checkpoints, {damaged} damaged", rows.len());
        text
    });
    Ok(if damaged == 0 { ExitCode::SUCCESS } else { ExitCode::from(3) })
}
