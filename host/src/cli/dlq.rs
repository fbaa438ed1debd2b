//! `ringfence dlq`: dead letters, for the operator.

use super::StateArgs;
use super::output::{CliError, Output};
use crate::agent::live::SystemClock;
use crate::resilience::{
    DeadLetter, DeadLetterStore, DeadLetterStoreConfig, LetterId, LetterKind, LetterState, LetterStatus,
    RealDisk,
};
use std::fmt::Write;
use std::process::ExitCode;
use std::sync::Arc;

#[derive(clap::Subcommand)]
pub(super) enum Command {
    /// List dead letters.
    List {
        #[command(flatten)]
        state: StateArgs,
        /// Also those that are closed.
        #[arg(long)]
        all: bool,
        /// At most this many.
        #[arg(long, default_value_t = 100)]
        limit: usize,
    },
    /// Show one dead letter with its payload and every error.
    Show {
        #[command(flatten)]
        state: StateArgs,
        /// Its id, as `list` prints it.
        id: String,
    },
    /// Send an intent again under its old key, when the host starts next.
    Replay {
        #[command(flatten)]
        state: StateArgs,
        /// Its id, as `list` prints it.
        id: String,
        /// Send it although it may have been executed: the venue must honour the key.
        #[arg(long)]
        ambiguous: bool,
    },
    /// Close a dead letter for good.
    Resolve {
        #[command(flatten)]
        state: StateArgs,
        /// Its id, as `list` prints it.
        id: String,
        /// What you found and did; kept with the letter.
        #[arg(long)]
        note: String,
    },
}

pub(super) fn run(command: &Command, out: &Output) -> Result<ExitCode, CliError> {
    match command {
        Command::List { state, all, limit } => {
            // A letter that waits for its replay is not closed, so it is shown.
            let mut letters = open(state)?.list(None, usize::MAX)?;
            letters.retain(|letter| *all || letter.status.state() != LetterState::Resolved);
            letters.truncate(*limit);
            out.facts(&serde_json::json!({ "letters": letters }), |out| table(&letters, out));
        }
        Command::Show { state, id } => {
            let letter = find(&open(state)?, id)?;
            out.facts(&letter, |out| describe(&letter, out));
        }
        Command::Replay { state, id, ambiguous } => {
            let store = open(state)?;
            let letter = find(&store, id)?;
            if letter.kind == LetterKind::Call {
                return Err(CliError::input(
                    "call_not_replayable",
                    format!(
                        "{id} is a failed call into a strategy, not an intent: nothing of it can be sent; resolve it"
                    ),
                ));
            }
            if letter.ambiguous && !ambiguous {
                return Err(CliError::input(
                    "letter_ambiguous",
                    format!(
                        "{id} may have been executed; ask the venue first, then replay it with --ambiguous (the key stays \
                         the same) or resolve it"
                    ),
                ));
            }
            let letter = store.requeue(&letter.id, letter.replay)?;
            out.facts(&letter, |_| {
                format!(
                    "{id} will be sent again under its old key when the host starts (replay {})",
                    letter.replay
                )
            });
        }
        Command::Resolve { state, id, note } => {
            let store = open(state)?;
            let letter = find(&store, id)?;
            let letter = store.resolve(&letter.id, note, SystemClock::start().now().wall)?;
            out.facts(&letter, |_| format!("{id} is closed"));
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn open(state: &StateArgs) -> Result<DeadLetterStore, CliError> {
    let dir = state.data_dir()?.join("dead-letters");
    if !dir.is_dir() {
        return Err(CliError::input(
            "no_dead_letters",
            format!("{} does not exist; give the data_dir of a host that has run", dir.display()),
        ));
    }
    Ok(DeadLetterStore::open(&dir, DeadLetterStoreConfig::default(), Arc::new(RealDisk))?.0)
}

fn find(store: &DeadLetterStore, id: &str) -> Result<DeadLetter, CliError> {
    let unknown = || {
        CliError::input(
            "letter_unknown",
            format!("there is no dead letter {id}; see ringfence dlq list --all"),
        )
    };
    let id: LetterId = id
        .parse()
        .map_err(|error: crate::resilience::LetterRefusal| CliError::input("letter_id", error.to_string()))?;
    store.get(&id)?.ok_or_else(unknown)
}

fn table(letters: &[DeadLetter], out: &Output) -> String {
    if letters.is_empty() {
        return "no dead letters".into();
    }
    let mut text = out.bold(&format!(
        "{:<34}{:<18}{:<9}{:>8}  {:<26}{}\n",
        "id", "agent", "class", "attempts", "last", "what"
    ));
    for letter in letters {
        let doubt = match (&letter.status, letter.ambiguous) {
            (LetterStatus::Requeued, _) => " (will be sent again)",
            (LetterStatus::Resolved { .. }, _) => " (closed)",
            (LetterStatus::Dead, true) => " (may have been executed)",
            (LetterStatus::Dead, false) => "",
        };
        let _ = writeln!(
            text,
            "{:<34}{:<18}{:<9}{:>8}  {:<26}{}{doubt}",
            letter.id.as_str(),
            letter.agent,
            letter.class.name(),
            letter.attempts,
            letter.last_at.to_string(),
            letter.summary
        );
    }
    let _ = write!(text, "{} letters", letters.len());
    text
}

fn describe(letter: &DeadLetter, out: &Output) -> String {
    let mut text = out.bold(letter.id.as_str());
    let _ = write!(
        text,
        "\n  agent     {}\n  what      {}\n  class     {}\n  status    {:?}\n  attempts  {} (replayed {} times)\n  first     {}\n  last      {}\n",
        letter.agent,
        letter.summary,
        letter.class,
        letter.status,
        letter.attempts,
        letter.replay,
        letter.first_at,
        letter.last_at
    );
    let payload: String = String::from_utf8_lossy(&letter.payload).chars().take(2_000).collect();
    let _ = writeln!(text, "  payload   {}", payload.escape_debug());
    for error in &letter.errors {
        let _ = writeln!(text, "  {}  {}", error.at, error.failure);
    }
    if letter.ambiguous {
        text.push_str("  it may have been executed: ask the venue before you replay it\n");
    }
    text
}
