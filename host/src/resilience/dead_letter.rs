//! Dead letters: what could not be brought to an end, with everything that is known about why.
//!
//! No I/O here: [`super::DeadLetterStore`] keeps them.
//!
//! ```text
//!            ┌──────────── refused, or died again ────────────┐
//!            ▼                                                │
//!  Dead(k) ──┬─ replay ───► Requeued(k+1) ──┬─► its verdict ──┼─► Resolved
//!            ├─ re-issue ─► Reissuing(k+1) ─┴─────────────────┴─► Reissued (a new intent)
//!            └─ resolve ──► Resolved
//! ```
//!
//! `k` counts the operator's orders to send it again. Each of them is a compare-and-swap on the letter, so
//! that an order given twice is carried out once. The journal's word about an intent is the stronger one:
//! [`DeadLetter::supersedes`] says when it replaces what the index has.

mod alert;
#[cfg(test)]
mod tests;

pub use alert::{LetterAlert, LetterAlertConfig, LetterCounts, LetterWatch, database_alert, letter_alerts};

use super::{Class, Classified, Failure};
use crate::market::UnixNanos;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;
use thiserror::Error;

/// The name of a letter: the key of an intent or the id of a call, 1 to 64 characters of
/// `A-Z a-z 0-9 - _ . :`. The same trouble always has the same name, so that it is never kept twice.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct LetterId(String);

/// What a letter is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LetterKind {
    /// An intent that did not reach a verdict; it can be replayed.
    Intent,
    /// A call into a strategy that failed; what it wanted to do is unknown and was not done.
    Call,
}

/// One failure, and when it happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LetterError {
    /// When.
    pub at: UnixNanos,
    /// What.
    pub failure: Failure,
}

/// What is being done about a letter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LetterStatus {
    /// Nothing; it waits for an operator.
    Dead,
    /// It is being replayed, or will be when the host starts.
    Requeued,
    /// A new intent is to be made in its place when the host starts.
    Reissuing {
        /// Why, in the operator's words.
        note: String,
        /// Whether the operator states that the venue has never executed it.
        not_executed: bool,
    },
    /// It is done with.
    Resolved {
        /// Why, in the words of whoever decided it.
        note: String,
        /// When.
        at: UnixNanos,
    },
    /// It is done with: a new intent took its place.
    Reissued {
        /// Why, in the operator's words.
        note: String,
        /// When.
        at: UnixNanos,
        /// The new intent; its letter, should it become one, has this name.
        child: LetterId,
    },
}

/// The status without its details, to filter by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[expect(missing_docs, reason = "the names are those of `LetterStatus`")]
pub enum LetterState {
    Dead,
    Requeued,
    Reissuing,
    Resolved,
    Reissued,
}

/// One letter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadLetter {
    /// Its name.
    pub id: LetterId,
    /// Whose it is.
    pub agent: String,
    /// What it is about.
    pub kind: LetterKind,
    /// The class of the last failure.
    pub class: Class,
    /// What is needed to replay it, exactly as it was.
    #[serde(with = "serde_bytes")]
    pub payload: Vec<u8>,
    /// The same in one line for a person, at most [`DeadLetter::SUMMARY_BYTES_MAX`] bytes.
    pub summary: String,
    /// Failures, oldest first: the first and the last [`DeadLetter::ERRORS_KEPT`] of them.
    pub errors: Vec<LetterError>,
    /// Failures in the middle that were dropped.
    pub errors_dropped: u32,
    /// Attempts in which bytes may have left.
    pub attempts: u32,
    /// The first failure.
    pub first_at: UnixNanos,
    /// The last failure.
    pub last_at: UnixNanos,
    /// Number of the last order to send it again, as it is or as a new intent.
    pub replay: u32,
    /// What is being done about it.
    pub status: LetterStatus,
    /// Whether it may have been executed, and nobody knows.
    pub ambiguous: bool,
    /// The letter in whose place the intent was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<LetterId>,
}

/// Why a letter cannot be made or changed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum LetterRefusal {
    /// Text that is no name of a letter.
    #[error("expected a letter's id of 1 to 64 characters A-Z a-z 0-9 - _ . :, found \"{0}\"")]
    Id(String),
    /// It has changed since the operator saw it.
    #[error(
        "letter {id}: expected it dead after {expected} orders to send it again, found it {found} after \
         {replay}; look at it again (ringfence dlq show {id})"
    )]
    Changed {
        /// Which letter.
        id: LetterId,
        /// The number of orders that the operator saw.
        expected: u32,
        /// Its state now.
        found: LetterState,
        /// Its number of orders now.
        replay: u32,
    },
    /// A call into a strategy cannot be replayed.
    #[error("letter {0} is about a failed call, of which nothing can be sent; resolve it with a note")]
    NotReplayable(LetterId),
    /// It is done with.
    #[error("letter {0} is closed already and does not change any more")]
    Resolved(LetterId),
    /// Nobody says why.
    #[error("letter {0}: expected a note that says why, found none")]
    NoNote(LetterId),
    /// A second order could be executed beside the first.
    #[error(
        "letter {0} may have been executed; ask the venue, and issue it again only with --not-executed if it \
         never was, or resolve it"
    )]
    MaybeExecuted(LetterId),
}

impl Classified for LetterRefusal {
    fn class(&self) -> Class {
        Class::Logic
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Id(_) => "letter_id",
            Self::Changed { .. } => "letter_changed",
            Self::NotReplayable(_) => "letter_not_replayable",
            Self::Resolved(_) => "letter_resolved",
            Self::NoNote(_) => "letter_no_note",
            Self::MaybeExecuted(_) => "letter_ambiguous",
        }
    }
}

impl LetterId {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for LetterId {
    type Error = LetterRefusal;

    fn try_from(id: String) -> Result<Self, LetterRefusal> {
        let allowed = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_' | b'.' | b':');
        if (1..=64).contains(&id.len()) && id.bytes().all(allowed) {
            Ok(Self(id))
        } else {
            Err(LetterRefusal::Id(id.chars().take(80).collect()))
        }
    }
}

impl FromStr for LetterId {
    type Err = LetterRefusal;

    fn from_str(id: &str) -> Result<Self, LetterRefusal> {
        Self::try_from(id.to_owned())
    }
}

impl From<LetterId> for String {
    fn from(id: LetterId) -> Self {
        id.0
    }
}

impl fmt::Display for LetterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for LetterState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Dead => "dead",
            Self::Requeued => "requeued",
            Self::Reissuing => "reissuing",
            Self::Resolved => "resolved",
            Self::Reissued => "reissued",
        })
    }
}

impl LetterState {
    /// Whether nothing more will happen to the letter.
    pub const fn is_closed(self) -> bool {
        matches!(self, Self::Resolved | Self::Reissued)
    }

    /// Whether an operator's order to send it again has not been answered yet.
    pub const fn is_ordered(self) -> bool {
        matches!(self, Self::Requeued | Self::Reissuing)
    }
}

impl LetterStatus {
    /// The status without its details.
    pub fn state(&self) -> LetterState {
        match self {
            Self::Dead => LetterState::Dead,
            Self::Requeued => LetterState::Requeued,
            Self::Reissuing { .. } => LetterState::Reissuing,
            Self::Resolved { .. } => LetterState::Resolved,
            Self::Reissued { .. } => LetterState::Reissued,
        }
    }
}

/// What is known when a letter is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewLetter {
    /// Its name.
    pub id: LetterId,
    /// Whose it is.
    pub agent: String,
    /// What it is about.
    pub kind: LetterKind,
    /// What is needed to replay it.
    pub payload: Vec<u8>,
    /// The same in one line for a person.
    pub summary: String,
    /// The failure that ended it.
    pub error: LetterError,
    /// Attempts in which bytes may have left.
    pub attempts: u32,
    /// Whether it may have been executed, and nobody knows.
    pub ambiguous: bool,
}

impl DeadLetter {
    /// Failures kept at each end: how trouble began and where it stands now say most about it.
    pub const ERRORS_KEPT: usize = 32;
    /// A summary is one line.
    pub const SUMMARY_BYTES_MAX: usize = 512;
    /// A note says why, in a few sentences.
    pub const NOTE_BYTES_MAX: usize = 1_024;

    /// A letter that has just died.
    pub fn new(new: NewLetter) -> Self {
        let NewLetter { id, agent, kind, payload, summary, error, attempts, ambiguous } = new;
        Self {
            id,
            agent,
            kind,
            class: error.failure.class,
            payload,
            summary: cut(summary, Self::SUMMARY_BYTES_MAX),
            errors_dropped: 0,
            attempts,
            first_at: error.at,
            last_at: error.at,
            replay: 0,
            status: LetterStatus::Dead,
            ambiguous,
            parent: None,
            errors: vec![error],
        }
    }

    /// Takes one more failure: the letter is dead again. `attempts` is how many attempts led to it, and
    /// `ambiguous` what is known now.
    ///
    /// # Errors
    /// When the letter is closed.
    pub fn append_error(
        &mut self,
        error: LetterError,
        attempts: u32,
        ambiguous: bool,
    ) -> Result<(), LetterRefusal> {
        self.check_open()?;
        self.class = error.failure.class;
        self.last_at = self.last_at.max(error.at);
        self.attempts = self.attempts.saturating_add(attempts);
        self.ambiguous = ambiguous;
        self.status = LetterStatus::Dead;
        if self.errors.len() >= 2 * Self::ERRORS_KEPT {
            self.errors.remove(Self::ERRORS_KEPT);
            self.errors_dropped = self.errors_dropped.saturating_add(1);
        }
        self.errors.push(error);
        Ok(())
    }

    /// Starts a replay, if the letter is still as the operator saw it: dead, after `expected` orders.
    /// Asked twice, it starts once.
    ///
    /// # Errors
    /// When it has changed, or is about a call.
    pub fn requeue(&mut self, expected: u32) -> Result<(), LetterRefusal> {
        self.check_unchanged(expected)?;
        self.replay = self.replay.saturating_add(1);
        self.status = LetterStatus::Requeued;
        Ok(())
    }

    /// Orders a new intent in its place, if the letter is still as the operator saw it: dead, after
    /// `expected` orders. Asked twice, it is ordered once. One that may have been executed is issued again
    /// only when the operator states that it never was.
    ///
    /// # Errors
    /// When it has changed, is about a call, may have been executed, or there is no reason.
    pub fn reissue(&mut self, expected: u32, note: &str, not_executed: bool) -> Result<(), LetterRefusal> {
        self.check_unchanged(expected)?;
        let note = self.checked_note(note)?;
        if self.ambiguous && !not_executed {
            return Err(LetterRefusal::MaybeExecuted(self.id.clone()));
        }
        self.replay = self.replay.saturating_add(1);
        self.status = LetterStatus::Reissuing { note, not_executed };
        Ok(())
    }

    /// The order of this number was refused: the letter is dead again, with the reason. `false` when that
    /// order is not the one that waits.
    pub fn refuse(&mut self, replay: u32, error: LetterError) -> bool {
        let waits = self.status.state().is_ordered() && self.replay == replay;
        waits && self.append_error(error, 0, self.ambiguous).is_ok()
    }

    /// Ends the letter, with the reason.
    ///
    /// # Errors
    /// When there is no reason, or it is closed already.
    pub fn resolve(&mut self, note: &str, at: UnixNanos) -> Result<(), LetterRefusal> {
        self.check_open()?;
        self.status = LetterStatus::Resolved { note: self.checked_note(note)?, at };
        Ok(())
    }

    /// Whether this letter, as the journal knows it, replaces `known`, as the index has it: when the index
    /// has missed something. An operator's order that the journal does not know yet stands.
    pub fn supersedes(&self, known: &Self) -> bool {
        let (mine, theirs) = (self.status.state(), known.status.state());
        if theirs.is_closed() {
            // A second intent exists; whatever else the letter was closed with says less.
            return mine == LetterState::Reissued && theirs != LetterState::Reissued;
        }
        mine.is_closed() || self.replay > known.replay || (self.replay == known.replay && mine != theirs)
    }

    fn check_open(&self) -> Result<(), LetterRefusal> {
        match self.status.state().is_closed() {
            true => Err(LetterRefusal::Resolved(self.id.clone())),
            false => Ok(()),
        }
    }

    fn check_unchanged(&self, expected: u32) -> Result<(), LetterRefusal> {
        if self.kind == LetterKind::Call {
            return Err(LetterRefusal::NotReplayable(self.id.clone()));
        }
        if self.status == LetterStatus::Dead && self.replay == expected {
            return Ok(());
        }
        let (id, found) = (self.id.clone(), self.status.state());
        Err(LetterRefusal::Changed { id, expected, found, replay: self.replay })
    }

    fn checked_note(&self, note: &str) -> Result<String, LetterRefusal> {
        match note.trim() {
            "" => Err(LetterRefusal::NoNote(self.id.clone())),
            note => Ok(cut(note.to_owned(), Self::NOTE_BYTES_MAX)),
        }
    }
}

fn cut(mut text: String, bytes_max: usize) -> String {
    if text.len() > bytes_max {
        let end = text.floor_char_boundary(bytes_max);
        text.truncate(end);
    }
    text
}
