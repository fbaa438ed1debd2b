//! Dead letters: what could not be brought to an end, with everything that is known about why.
//!
//! No I/O here: [`super::DeadLetterStore`] keeps them. A letter is dead until an operator asks for a
//! replay or resolves it; a replay that fails makes it dead again, under the same id.

use super::{Class, Classified, Failure};
use crate::market::UnixNanos;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;
use std::time::Duration;
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
    /// It is being replayed.
    Requeued,
    /// It is done with.
    Resolved {
        /// Why, in the words of whoever decided it.
        note: String,
        /// When.
        at: UnixNanos,
    },
}

/// The status without its details, to filter by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[expect(missing_docs, reason = "the names are those of `LetterStatus`")]
pub enum LetterState {
    Dead,
    Requeued,
    Resolved,
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
    /// How often it was replayed.
    pub replay: u32,
    /// What is being done about it.
    pub status: LetterStatus,
    /// Whether it may have been executed, and nobody knows.
    pub ambiguous: bool,
}

/// Why a letter cannot be made or changed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum LetterRefusal {
    /// Text that is no name of a letter.
    #[error("expected a letter's id of 1 to 64 characters A-Z a-z 0-9 - _ . :, found \"{0}\"")]
    Id(String),
    /// It has changed since the operator saw it.
    #[error(
        "letter {id}: expected it dead after {expected} replays, found it {found} after {replay}; look at it \
         again before replaying it"
    )]
    Changed {
        /// Which letter.
        id: LetterId,
        /// The number of replays that the operator saw.
        expected: u32,
        /// Its state now.
        found: LetterState,
        /// Its number of replays now.
        replay: u32,
    },
    /// A call into a strategy cannot be replayed.
    #[error("letter {0} is about a failed call, which cannot be replayed; resolve it with a note")]
    NotReplayable(LetterId),
    /// It is done with.
    #[error("letter {0} is resolved already and does not change any more")]
    Resolved(LetterId),
    /// Nobody says why.
    #[error("letter {0}: expected a note that says why it is resolved, found none")]
    NoNote(LetterId),
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
            Self::Resolved => "resolved",
        })
    }
}

impl LetterStatus {
    /// The status without its details.
    pub fn state(&self) -> LetterState {
        match self {
            Self::Dead => LetterState::Dead,
            Self::Requeued => LetterState::Requeued,
            Self::Resolved { .. } => LetterState::Resolved,
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
            errors: vec![error],
        }
    }

    /// Takes one more failure: the letter is dead again. `attempts` is how many attempts led to it, and
    /// `ambiguous` what is known now.
    ///
    /// # Errors
    /// When the letter is resolved.
    pub fn append_error(
        &mut self,
        error: LetterError,
        attempts: u32,
        ambiguous: bool,
    ) -> Result<(), LetterRefusal> {
        self.unresolved()?;
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

    /// Starts a replay, if the letter is still as the operator saw it: dead, after `expected` replays.
    /// Asked twice, it starts once.
    ///
    /// # Errors
    /// When it has changed, or is about a call.
    pub fn requeue(&mut self, expected: u32) -> Result<(), LetterRefusal> {
        if self.kind == LetterKind::Call {
            return Err(LetterRefusal::NotReplayable(self.id.clone()));
        }
        if self.status != LetterStatus::Dead || self.replay != expected {
            return Err(LetterRefusal::Changed {
                id: self.id.clone(),
                expected,
                found: self.status.state(),
                replay: self.replay,
            });
        }
        self.replay = self.replay.saturating_add(1);
        self.status = LetterStatus::Requeued;
        Ok(())
    }

    /// Ends the letter, with the reason.
    ///
    /// # Errors
    /// When there is no reason, or it is resolved already.
    pub fn resolve(&mut self, note: &str, at: UnixNanos) -> Result<(), LetterRefusal> {
        self.unresolved()?;
        let note = note.trim();
        if note.is_empty() {
            return Err(LetterRefusal::NoNote(self.id.clone()));
        }
        self.status = LetterStatus::Resolved { note: cut(note.to_owned(), Self::NOTE_BYTES_MAX), at };
        Ok(())
    }

    fn unresolved(&self) -> Result<(), LetterRefusal> {
        match self.status {
            LetterStatus::Resolved { .. } => Err(LetterRefusal::Resolved(self.id.clone())),
            LetterStatus::Dead | LetterStatus::Requeued => Ok(()),
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

/// How many letters there are, in each state that matters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LetterCounts {
    /// Waiting for an operator.
    pub dead: u64,
    /// Being replayed.
    pub requeued: u64,
    /// Done with.
    pub resolved: u64,
    /// Not resolved, and perhaps executed.
    pub ambiguous: u64,
    /// First failure of the oldest one that is not resolved.
    pub oldest: Option<UnixNanos>,
}

/// When somebody has to look at the letters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LetterAlertConfig {
    /// More dead letters than this raise an alert. Default 10: a few are a bad hour, more are a fault.
    pub dead_letters_alert_above: u64,
    /// A letter unresolved for longer than this raises an alert. Default 3,600 s: the market that it was
    /// meant for is gone by then.
    pub dead_letter_age_alert_s: u64,
}

impl Default for LetterAlertConfig {
    fn default() -> Self {
        Self { dead_letters_alert_above: 10, dead_letter_age_alert_s: 3_600 }
    }
}

/// Why somebody has to look at the letters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LetterAlert {
    /// One may have been executed, and nobody knows.
    Ambiguous {
        /// How many.
        count: u64,
    },
    /// There are too many.
    Many {
        /// How many.
        dead: u64,
        /// The limit.
        above: u64,
    },
    /// One waits too long.
    Old {
        /// For how long.
        age_s: u64,
        /// The limit.
        above_s: u64,
    },
}

impl fmt::Display for LetterAlert {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ambiguous { count } => write!(
                f,
                "{count} dead letters may have been executed; ask the venue, then replay or resolve them"
            ),
            Self::Many { dead, above } => {
                write!(
                    f,
                    "{dead} dead letters wait for an operator, more than {above}; see ringfence dlq list"
                )
            }
            Self::Old { age_s, above_s } => write!(
                f,
                "the oldest dead letter waits for {age_s} s, more than {above_s}; see ringfence dlq list"
            ),
        }
    }
}

/// What there is to be alarmed about, the worst first.
pub fn letter_alerts(counts: &LetterCounts, now: UnixNanos, config: &LetterAlertConfig) -> Vec<LetterAlert> {
    let above = config.dead_letters_alert_above;
    let above_s = config.dead_letter_age_alert_s;
    let age = counts.oldest.map_or(Duration::ZERO, |oldest| now.since(oldest));
    let ambiguous = (counts.ambiguous > 0).then_some(LetterAlert::Ambiguous { count: counts.ambiguous });
    let many = (counts.dead > above).then_some(LetterAlert::Many { dead: counts.dead, above });
    let old =
        (age > Duration::from_secs(above_s)).then_some(LetterAlert::Old { age_s: age.as_secs(), above_s });
    [ambiguous, many, old].into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resilience::Phase;

    fn error(at: u64) -> LetterError {
        let failure = Failure::new(Class::Network, "timeout", Phase::MaybeSent, format!("number {at}"));
        LetterError { at: UnixNanos(at), failure }
    }

    fn letter(kind: LetterKind) -> DeadLetter {
        DeadLetter::new(NewLetter {
            id: "abc".parse().unwrap(),
            agent: "ema".into(),
            kind,
            payload: vec![1, 2],
            summary: "buy".into(),
            error: error(1),
            attempts: 5,
            ambiguous: true,
        })
    }

    #[test]
    fn the_first_and_last_errors_are_kept() {
        let mut letter = letter(LetterKind::Intent);
        for at in 2..=100 {
            letter.append_error(error(at), 1, false).unwrap();
        }
        let kept: Vec<u64> = letter.errors.iter().map(|e| e.at.0).collect();
        assert_eq!(kept, (1..=32).chain(69..=100).collect::<Vec<_>>());
        assert_eq!((letter.errors_dropped, letter.attempts), (36, 104));
        assert_eq!((letter.first_at, letter.last_at), (UnixNanos(1), UnixNanos(100)));
        assert!(!letter.ambiguous);
    }

    #[test]
    fn a_replay_asked_for_twice_starts_once() {
        let mut letter = letter(LetterKind::Intent);
        letter.requeue(0).unwrap();
        let again = letter.requeue(0).unwrap_err();
        assert!(matches!(again, LetterRefusal::Changed { found: LetterState::Requeued, replay: 1, .. }));
        letter.append_error(error(2), 1, false).unwrap();
        assert!(letter.requeue(0).is_err(), "the click of the first round comes late");
        letter.requeue(1).unwrap();
        assert_eq!((letter.replay, &letter.status), (2, &LetterStatus::Requeued));
    }

    #[test]
    fn a_failed_call_is_never_replayed() {
        let refusal = letter(LetterKind::Call).requeue(0).unwrap_err();
        assert_eq!(refusal, LetterRefusal::NotReplayable("abc".parse().unwrap()));
    }

    #[test]
    fn resolving_needs_a_reason_and_is_final() {
        let mut letter = letter(LetterKind::Intent);
        assert!(matches!(letter.resolve(" \n", UnixNanos(5)), Err(LetterRefusal::NoNote(_))));
        letter.resolve(" seen at the venue ", UnixNanos(5)).unwrap();
        let note = "seen at the venue".to_owned();
        assert_eq!(letter.status, LetterStatus::Resolved { note, at: UnixNanos(5) });
        assert!(letter.resolve("again", UnixNanos(6)).is_err());
        assert!(letter.append_error(error(9), 1, true).is_err());
        assert!(letter.requeue(0).is_err());
    }

    #[test]
    fn alerts_come_above_their_limits_and_ambiguity_at_once() {
        let config = LetterAlertConfig::default();
        let now = UnixNanos(10_000_000_000_000);
        let quiet = LetterCounts { dead: 10, oldest: Some(now), ..LetterCounts::default() };
        assert_eq!(letter_alerts(&quiet, now, &config), []);
        let many = LetterCounts { dead: 11, ..quiet };
        assert_eq!(letter_alerts(&many, now, &config), [LetterAlert::Many { dead: 11, above: 10 }]);
        let old = LetterCounts { oldest: Some(UnixNanos(now.0 - 3_601_000_000_000)), ..quiet };
        assert_eq!(letter_alerts(&old, now, &config), [LetterAlert::Old { age_s: 3_601, above_s: 3_600 }]);
        let ambiguous = LetterCounts { ambiguous: 1, ..quiet };
        assert_eq!(letter_alerts(&ambiguous, now, &config), [LetterAlert::Ambiguous { count: 1 }]);
    }

    #[test]
    fn a_name_that_is_not_safe_everywhere_is_refused() {
        for bad in ["", "a/b", "a b", "é", &"x".repeat(65)] {
            assert!(bad.parse::<LetterId>().is_err(), "{bad}");
        }
        let id: LetterId = "ema:1:tick-7.2_A".parse().unwrap();
        assert_eq!(id.as_str(), "ema:1:tick-7.2_A");
    }
}
