//! The failure taxonomy: six classes, and how far a request had come when it failed.

use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::fmt;

/// What kind of thing failed. The class decides whether a retry can help and what else happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Class {
    /// DNS, connect, TLS, timeout, reset.
    Network,
    /// The venue answered, and the answer was no.
    Api,
    /// A sample or document that cannot be true: NaN, stale, bad JSON.
    Data,
    /// A strategy or the host did what it must not: trap, budget spent, invalid intent.
    Logic,
    /// Something stored is corrupt, missing or of another version.
    State,
    /// Disk, memory, descriptors or a queue ran out.
    Resource,
}

impl Class {
    /// Every class.
    pub const ALL: [Self; 6] =
        [Self::Network, Self::Api, Self::Data, Self::Logic, Self::State, Self::Resource];

    /// The lower-case name used in logs, metrics and files.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Network => "network",
            Self::Api => "api",
            Self::Data => "data",
            Self::Logic => "logic",
            Self::State => "state",
            Self::Resource => "resource",
        }
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How far a request had come when it failed. Only [`Phase::NotSent`] proves that nothing happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// No byte of the request can have reached the other side, or the other side proved that it did nothing.
    NotSent,
    /// It may have been executed.
    MaybeSent,
    /// The other side answered definitely.
    Done,
}

/// One failure, as it is kept in the journal and in dead letters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// What kind of thing failed.
    pub class: Class,
    /// A stable name, such as `timeout` or `http_503`.
    pub code: Cow<'static, str>,
    /// How far the request had come.
    pub phase: Phase,
    /// What was found, at most [`Failure::MESSAGE_BYTES_MAX`] bytes.
    pub message: String,
}

impl Failure {
    /// A message is evidence for a person, not a place to store a page of HTML.
    pub const MESSAGE_BYTES_MAX: usize = 512;

    /// A failure whose message is cut at [`Failure::MESSAGE_BYTES_MAX`] bytes.
    pub fn new(
        class: Class,
        code: impl Into<Cow<'static, str>>,
        phase: Phase,
        message: impl Into<String>,
    ) -> Self {
        let mut message = message.into();
        if message.len() > Self::MESSAGE_BYTES_MAX {
            let mut end = Self::MESSAGE_BYTES_MAX;
            while !message.is_char_boundary(end) {
                end -= 1;
            }
            message.truncate(end);
        }
        Self { class, code: code.into(), phase, message }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} failure {}: {}", self.class, self.code, self.message)
    }
}

/// An error that knows its class and has a stable code.
pub trait Classified: std::error::Error {
    /// What kind of thing failed.
    fn class(&self) -> Class;
    /// A stable name for it.
    fn code(&self) -> &'static str;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_message_is_cut_at_a_character() {
        let failure = Failure::new(Class::Api, "http_500", Phase::MaybeSent, "é".repeat(600));
        assert!(failure.message.len() <= Failure::MESSAGE_BYTES_MAX);
        assert!(failure.message.chars().all(|c| c == 'é'));
    }
}
