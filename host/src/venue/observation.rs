//! What was observed of one HTTP request, before anybody judges it.

use crate::resilience::{Class, Failure, Phase};
use std::fmt;

/// What was observed of one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Observation {
    /// No byte of it can have reached the venue.
    NotSent(TransportError),
    /// Some of it may have, and no whole reply came back.
    Lost(TransportError),
    /// A reply.
    Answered(Answer),
}

/// Where the transport broke.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TransportKind {
    Build,
    Dns,
    Connect,
    Tls,
    Timeout,
    Reset,
    Incomplete,
}

/// Why there is no reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TransportError {
    pub(super) kind: TransportKind,
    pub(super) detail: String,
}

/// A reply as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) status: u16,
    /// `None` when it was larger than the limit.
    pub(super) body: Option<Vec<u8>>,
}

/// Why a body does not mean anything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Undecodable(String);

impl Undecodable {
    pub(super) fn new(what: impl Into<String>) -> Self {
        Self(what.into())
    }
}

impl fmt::Display for Undecodable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Answer {
    /// The failure of a reply that is larger than the limit.
    pub(super) fn too_large(&self, phase: Phase) -> Failure {
        let message = format!("the venue answered {} with more than reply_bytes_max bytes", self.status);
        Failure::new(Class::Data, "reply_too_large", phase, message)
    }
}

impl TransportError {
    /// The failure it is, for a request that came this far.
    pub(super) fn failure(self, phase: Phase) -> Failure {
        let (class, code) = match self.kind {
            TransportKind::Build => (Class::Logic, "request_build"),
            TransportKind::Dns => (Class::Network, "dns"),
            TransportKind::Connect => (Class::Network, "connect"),
            TransportKind::Tls => (Class::Network, "tls"),
            TransportKind::Timeout => (Class::Network, "timeout"),
            TransportKind::Reset => (Class::Network, "reset"),
            TransportKind::Incomplete => (Class::Network, "incomplete"),
        };
        Failure::new(class, code, phase, self.detail)
    }
}

/// The beginning of a text from outside, without what could drive a terminal.
pub(super) fn excerpt(text: &[u8]) -> String {
    let start = text.get(..200).unwrap_or(text);
    String::from_utf8_lossy(start).chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}
