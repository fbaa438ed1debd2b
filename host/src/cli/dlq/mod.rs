//! `ringfence dlq`: dead letters, for the operator.

mod source;

use super::StateArgs;
use super::output::{CliError, Output, columns};
use crate::admin::facts_of;
use crate::agent::live::{LetterOrder, SystemClock};
use crate::market::UnixNanos;
use crate::resilience::{DeadLetter, LetterError, LetterKind, LetterStatus};
use serde::Serialize;
use source::{Letters, Ordered};
use std::fmt::Write;
use std::process::ExitCode;

#[derive(clap::Subcommand)]
pub(super) enum Command {
    /// List dead letters, with what there is to be alarmed about first.
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
    /// Send an intent again under its old key, now or when the host starts next. It is sent only if it is not too
    /// old, there is a fresh price, and the risk gate lets it pass then; otherwise it stays a dead letter,
    /// with the reason.
    Replay {
        #[command(flatten)]
        state: StateArgs,
        /// Its id, as `list` prints it.
        id: String,
        /// Send it although it may have been executed: the venue must honour the key.
        #[arg(long)]
        ambiguous: bool,
    },
    /// Make a new intent with the same terms under a new key, now or when the host starts next, and close the
    /// letter. It needs a fresh price and passes the risk gate like any other; if it does not, the letter
    /// stays, with the reason.
    Reissue {
        #[command(flatten)]
        state: StateArgs,
        /// Its id, as `list` prints it.
        id: String,
        /// Why; kept with the letter.
        #[arg(long)]
        note: String,
        /// You have asked the venue, and it has never executed the intent. If that is wrong, both are executed.
        #[arg(long)]
        not_executed: bool,
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

/// What `list` prints.
#[derive(Serialize)]
struct Listed {
    alerts: Vec<String>,
    #[serde(serialize_with = "facts_of_all")]
    letters: Vec<DeadLetter>,
    /// Letters that `--limit` left out.
    omitted: usize,
}

fn facts_of_all<S: serde::Serializer>(letters: &[DeadLetter], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(letters.iter().map(facts_of))
}

pub(super) fn run(command: &Command, out: &Output) -> Result<ExitCode, CliError> {
    match command {
        Command::List { state, all, limit } => {
            let listed = Letters::open(state)?.list(*all, *limit)?;
            let now = SystemClock::start().now().wall;
            out.facts(&listed, |out| table(&listed, now, out));
        }
        Command::Show { state, id } => {
            let letter = Letters::open(state)?.find(id)?;
            let now = SystemClock::start().now().wall;
            out.facts(&facts_of(&letter), |out| describe(&letter, now, out));
        }
        Command::Replay { state, id, ambiguous } => {
            let order = LetterOrder::Replay { ambiguous: *ambiguous };
            let Ordered { letter, facts, when } = Letters::open(state)?.give(id, &order)?;
            out.facts(&facts, |_| {
                format!(
                    "{id} is sent again under its old key {when} (order {}), if it is not too old, there is a fresh \
                     price and the risk gate lets it pass; ringfence dlq show {id} says what became of it",
                    letter.replay
                )
            });
        }
        Command::Reissue { state, id, note, not_executed } => {
            let order = LetterOrder::Reissue { note: note.clone(), not_executed: *not_executed };
            let Ordered { letter, facts, when } = Letters::open(state)?.give(id, &order)?;
            out.facts(&facts, |_| {
                format!(
                    "{id} is issued again as a new intent {when} (order {}), if there is a fresh price and the risk \
                     gate lets it pass; ringfence dlq show {id} says what became of it",
                    letter.replay
                )
            });
        }
        Command::Resolve { state, id, note } => {
            let order = LetterOrder::Resolve { note: note.clone() };
            let Ordered { facts, .. } = Letters::open(state)?.give(id, &order)?;
            out.facts(&facts, |_| format!("{id} is closed"));
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn table(listed: &Listed, now: UnixNanos, out: &Output) -> String {
    let mut text = String::new();
    for alert in &listed.alerts {
        let _ = writeln!(text, "{} {alert}", out.bad("attention:"));
    }
    if listed.letters.is_empty() {
        text.push_str("no dead letters");
        return text;
    }
    let heads = ["id", "agent", "state", "failure", "tries", "age", "what"];
    let mut rows = vec![heads.map(str::to_owned).to_vec()];
    for letter in &listed.letters {
        rows.push(vec![
            letter.id.to_string(),
            letter.agent.clone(),
            state(letter).to_owned(),
            letter.errors.last().map(|error| error.failure.code.to_string()).unwrap_or_default(),
            letter.attempts.to_string(),
            age(letter.first_at, now),
            what(letter),
        ]);
    }
    text.push_str(&columns(&rows, "", out));
    text.push('\n');
    let count = listed.letters.len();
    let _ = write!(text, "{count} {}", if count == 1 { "letter" } else { "letters" });
    if listed.omitted > 0 {
        let _ = write!(text, ", {} more (--limit)", listed.omitted);
    }
    text
}

/// The state in one or two words, with the doubt that matters more than the state.
fn state(letter: &DeadLetter) -> &'static str {
    match letter.status {
        LetterStatus::Dead if letter.ambiguous => "ambiguous",
        LetterStatus::Dead => "dead",
        LetterStatus::Requeued => "to be replayed",
        LetterStatus::Reissuing { .. } => "to be re-issued",
        LetterStatus::Resolved { .. } => "closed",
        LetterStatus::Reissued { .. } => "re-issued",
    }
}

fn what(letter: &DeadLetter) -> String {
    let mut text = letter.summary.clone();
    if let Some(parent) = &letter.parent {
        let _ = write!(text, " (re-issue of {parent})");
    }
    if let LetterStatus::Reissued { child, .. } = &letter.status {
        let _ = write!(text, " (now {child})");
    }
    text
}

/// How long ago, in the largest unit that says enough.
fn age(at: UnixNanos, now: UnixNanos) -> String {
    match now.since(at).as_secs() {
        seconds @ 0..120 => format!("{seconds} s"),
        seconds @ 120..7_200 => format!("{} min", seconds / 60),
        seconds @ 7_200..172_800 => format!("{} h", seconds / 3_600),
        seconds => format!("{} d", seconds / 86_400),
    }
}

fn describe(letter: &DeadLetter, now: UnixNanos, out: &Output) -> String {
    let mut text = out.bold(letter.id.as_str());
    let mut row = |label: &str, value: &str| {
        let _ = write!(text, "\n  {label:<15}{value}");
    };
    row("agent", &letter.agent);
    row("what", &letter.summary);
    row("state", &explain(letter));
    row("attempts", &letter.attempts.to_string());
    if letter.kind == LetterKind::Intent {
        row("sent again", &format!("ordered {} times", letter.replay));
    }
    row("first failure", &format!("{} ({} ago)", letter.first_at, age(letter.first_at, now)));
    row("last failure", &format!("{} ({} ago)", letter.last_at, age(letter.last_at, now)));
    if let Some(parent) = &letter.parent {
        row("re-issue of", parent.as_str());
    }
    if let LetterStatus::Reissued { child, .. } = &letter.status {
        row("re-issued as", child.as_str());
    }
    row("payload", &payload(letter));
    text.push_str("\n  errors");
    let half = DeadLetter::ERRORS_KEPT.min(letter.errors.len());
    for (number, LetterError { at, failure }) in letter.errors.iter().enumerate() {
        if letter.errors_dropped > 0 && number == half {
            let _ = write!(text, "\n    … {} more in between", letter.errors_dropped);
        }
        let _ = write!(text, "\n    {at}  {failure}");
    }
    if let Some(advice) = advice(letter) {
        let _ = write!(text, "\n{advice}");
    }
    text
}

/// The request as text, when it is text.
fn payload(letter: &DeadLetter) -> String {
    const CHARACTERS_MAX: usize = 2_000;
    let bytes = letter.payload.len();
    match std::str::from_utf8(&letter.payload) {
        Ok(body) if body.chars().count() <= CHARACTERS_MAX => body.escape_debug().to_string(),
        Ok(body) => {
            let start: String = body.chars().take(CHARACTERS_MAX).collect();
            format!("{}… ({bytes} bytes; --format json has all)", start.escape_debug())
        }
        Err(_) => format!("{bytes} bytes that are no text (--format json has them)"),
    }
}

fn explain(letter: &DeadLetter) -> String {
    match &letter.status {
        LetterStatus::Dead if letter.ambiguous => "dead, and may have been executed: nobody knows".to_owned(),
        LetterStatus::Dead => "dead, and was not executed".to_owned(),
        LetterStatus::Requeued => {
            "to be sent again under its old key, by the host that runs or starts".to_owned()
        }
        LetterStatus::Reissuing { note, not_executed } => {
            let stated = if *not_executed { ", stated as never executed" } else { "" };
            format!("to be issued again as a new intent, by the host that runs or starts{stated}: {note}")
        }
        LetterStatus::Resolved { note, at } => format!("closed {at}: {note}"),
        LetterStatus::Reissued { note, at, .. } => format!("issued again {at}: {note}"),
    }
}

/// What an operator can do about a dead letter.
fn advice(letter: &DeadLetter) -> Option<String> {
    let id = &letter.id;
    if letter.status != LetterStatus::Dead {
        return None;
    }
    Some(match letter.kind {
        LetterKind::Call => format!("nothing of it was sent; then: ringfence dlq resolve {id} --note …"),
        LetterKind::Intent if letter.ambiguous => format!(
            "ask the venue first; then one of\n  ringfence dlq replay {id} --ambiguous        the same key again\n  \
             ringfence dlq reissue {id} --not-executed --note …   a new order\n  ringfence dlq resolve {id} --note …"
        ),
        LetterKind::Intent => format!(
            "one of\n  ringfence dlq replay {id}                    the same key again\n  \
             ringfence dlq reissue {id} --note …          a new order\n  ringfence dlq resolve {id} --note …"
        ),
    })
}
