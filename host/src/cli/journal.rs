//! `ringfence journal`: what was decided, sent and heard, for the operator. Nothing is changed.

use super::StateArgs;
use super::output::{CliError, Output};
use crate::agent::live::{JournalHold, journal_holds};
use crate::orders::Entry;
use crate::orders::journal::{self, JournalSummary};
use crate::resilience::{Classified, Failure, Phase, RealDisk};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::ExitCode;

#[derive(clap::Subcommand)]
pub(super) enum Command {
    /// Check every record's length, checksum, chain and content, and say where the journal starts and why; ends with 3
    /// when it is damaged.
    Verify {
        #[command(flatten)]
        state: StateArgs,
    },
    /// Print where the journal starts and why, and then every record, as one JSON object a line.
    Dump {
        #[command(flatten)]
        state: StateArgs,
        /// Only records of this agent.
        #[arg(long)]
        agent: Option<String>,
    },
}

pub(super) fn run(command: &Command, out: &Output) -> Result<ExitCode, CliError> {
    match command {
        Command::Verify { state } => {
            let data_dir = state.data_dir()?;
            let Overview { records, summary, held_by } = overview(&data_dir)?;
            let torn = summary.torn.as_ref().map(|torn| torn.bytes);
            let facts = serde_json::json!({
                "segments": summary.segments,
                "records": records,
                "first_seq": summary.first_seq,
                "next_seq": summary.next_seq,
                "held_by": held_by,
                "torn_bytes": torn,
            });
            out.facts(&facts, |out| {
                let tail = match torn {
                    Some(bytes) => format!(", and a torn tail of {bytes} bytes that nobody was promised"),
                    None => String::new(),
                };
                let good = out.good("good:");
                let start = start_in_words(summary.first_seq, held_by.as_ref());
                format!("{good} {records} records in {} segments{tail}\n{start}", summary.segments)
            });
        }
        Command::Dump { state, agent } => {
            let data_dir = state.data_dir()?;
            let Overview { summary, held_by, .. } = overview(&data_dir)?;
            out.record(&serde_json::json!({ "first_seq": summary.first_seq, "held_by": held_by }));
            journal::read(&data_dir.join("journal"), &RealDisk, &mut |seq, payload| {
                let entry = decode(seq, payload)?;
                if agent.as_ref().is_none_or(|agent| agent == entry.agent.as_str()) {
                    out.record(&serde_json::json!({ "seq": seq, "entry": entry }));
                }
                Ok(())
            })?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

struct Overview {
    records: u64,
    summary: JournalSummary,
    /// Who needs the oldest record.
    held_by: Option<JournalHold>,
}

fn overview(data_dir: &Path) -> Result<Overview, CliError> {
    let mut records = 0_u64;
    let mut first_seqs = BTreeMap::new();
    let summary = journal::read(&data_dir.join("journal"), &RealDisk, &mut |seq, payload| {
        let entry = decode(seq, payload)?;
        first_seqs.entry(entry.agent).or_insert(seq);
        records += 1;
        Ok(())
    })?;
    let held_by = journal_holds(data_dir, &first_seqs, &BTreeSet::new(), &RealDisk)?.into_iter().next();
    Ok(Overview { records, summary, held_by })
}

/// Where the journal starts, and why not later.
fn start_in_words(first_seq: u64, held_by: Option<&JournalHold>) -> String {
    let held = match held_by {
        None => "nobody needs it".to_owned(),
        Some(JournalHold { agent, from_seq, generation: Some(generation) }) => {
            format!(
                "agent {agent} needs it from record {from_seq} on, where its checkpoint {generation} ends"
            )
        }
        Some(JournalHold { agent, from_seq, generation: None }) => {
            format!("agent {agent} needs it from record {from_seq} on, because no checkpoint of it verifies")
        }
    };
    format!(
        "starts with record {first_seq}: {held}; whole segments are removed, and the last few always stay"
    )
}

fn decode(seq: u64, payload: &[u8]) -> Result<Entry, Failure> {
    Entry::decode(seq, payload)
        .map_err(|error| Failure::new(error.class(), error.code(), Phase::Done, error.to_string()))
}
