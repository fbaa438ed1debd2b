//! `ringfence journal`: what was decided, sent and heard, for the operator. Nothing is changed.

use super::StateArgs;
use super::output::{CliError, Output};
use crate::orders::Entry;
use crate::orders::journal;
use crate::resilience::{Classified, Failure, Phase, RealDisk};
use std::process::ExitCode;

#[derive(clap::Subcommand)]
pub(super) enum Command {
    /// Check every record's length, checksum, chain and content; ends with 3 when the journal is damaged.
    Verify {
        #[command(flatten)]
        state: StateArgs,
    },
    /// Print every record as one JSON object a line.
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
            let dir = state.data_dir()?.join("journal");
            let mut records = 0_u64;
            let summary = journal::read(&dir, &RealDisk, &mut |seq, payload| {
                decode(seq, payload)?;
                records += 1;
                Ok(())
            })?;
            let torn = summary.torn.as_ref().map(|torn| torn.bytes);
            let facts = serde_json::json!({
                "segments": summary.segments,
                "records": records,
                "first_seq": summary.first_seq,
                "next_seq": summary.next_seq,
                "torn_bytes": torn,
            });
            out.facts(&facts, |out| {
                let tail = match torn {
                    Some(bytes) => format!(", and a torn tail of {bytes} bytes that nobody was promised"),
                    None => String::new(),
                };
                format!("{} {records} records in {} segments{tail}", out.good("good:"), summary.segments)
            });
        }
        Command::Dump { state, agent } => {
            let dir = state.data_dir()?.join("journal");
            journal::read(&dir, &RealDisk, &mut |seq, payload| {
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

fn decode(seq: u64, payload: &[u8]) -> Result<Entry, Failure> {
    Entry::decode(seq, payload)
        .map_err(|error| Failure::new(error.class(), error.code(), Phase::Done, error.to_string()))
}
