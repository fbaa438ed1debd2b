//! What a chaos proxy can do to a request, and how often.

use super::super::message::Purpose;
use crate::resilience::{Class, Classified};
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Configuration of a chaos proxy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ChaosConfig {
    /// Port on 127.0.0.1. Default 0: any.
    pub port: u16,
    /// Decides every random choice. Default 1.
    pub seed: u64,
    /// How many of a thousand requests fail. Default 0.
    pub failure_permille: u16,
    /// Delay of every request. Default 0.
    pub latency_ms: u64,
    /// Largest random addition to the delay. Default 0.
    pub latency_jitter_ms: u64,
    /// Statuses that a failed request is answered with instead of being forwarded, each as likely as one of
    /// `faults`. Default 500, 502, 503, 504: what a gateway says when a venue is in trouble.
    pub error_codes: Vec<u16>,
    /// What else can happen to a failed request. Default: nothing else.
    pub faults: Vec<Fault>,
    /// Which requests can fail. Default: all.
    pub scope: Scope,
    /// Connections served at a time; more are reset. Default 256.
    pub connections_max: usize,
    /// Largest head of a request or reply. Default 32 KiB.
    pub head_bytes_max: usize,
    /// Largest body of a request or reply. Default 16 MiB: the whole ledger of a long test fits.
    pub body_bytes_max: usize,
    /// How long connecting to the venue and its reply may take. Default 60,000: longer than any client
    /// waits, so that it is the client's timeout that a test sees.
    pub upstream_timeout_ms: u64,
}

impl Default for ChaosConfig {
    fn default() -> Self {
        Self {
            port: 0,
            seed: 1,
            failure_permille: 0,
            latency_ms: 0,
            latency_jitter_ms: 0,
            error_codes: vec![500, 502, 503, 504],
            faults: Vec::new(),
            scope: Scope::All,
            connections_max: 256,
            head_bytes_max: 32 * 1024,
            body_bytes_max: 16 * 1024 * 1024,
            upstream_timeout_ms: 60_000,
        }
    }
}

/// Which requests a fault is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scope {
    /// All of them.
    #[default]
    All,
    /// Those that change something.
    Writes,
    /// `GET` and `HEAD`.
    Reads,
    /// Those that change something, and questions about one order of a venue of kind `http`.
    Orders,
}

impl Scope {
    /// Whether a request is in the scope.
    pub(in crate::venue) const fn has(self, purpose: Purpose) -> bool {
        match self {
            Self::All => true,
            Self::Writes => matches!(purpose, Purpose::Write),
            Self::Reads => !matches!(purpose, Purpose::Write),
            Self::Orders => !matches!(purpose, Purpose::Read),
        }
    }
}

/// What can happen to one request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fault {
    /// Swallowed: not forwarded, never answered. The client's timeout ends it.
    BlackHole,
    /// The connection is reset and nothing is forwarded.
    ResetBefore,
    /// Forwarded and executed; the connection is reset instead of a reply.
    DropReply,
    /// Forwarded and executed; never answered.
    SwallowReply,
    /// Forwarded after this many milliseconds.
    Delay(u64),
    /// Forwarded at once; answered after this many milliseconds.
    DelayReply(u64),
    /// Answered with this status and not forwarded.
    ErrorBefore(u16),
    /// Forwarded and executed, and then answered with this status.
    ErrorAfter(u16),
    /// Answered with 429 and not forwarded.
    TooManyRequests {
        /// The value of `Retry-After`: seconds, an HTTP date, or nonsense.
        retry_after: String,
    },
    /// Forwarded twice; answered with the second reply.
    Duplicate,
    /// Forwarded and executed; the reply ends in the middle of its body.
    Truncate,
    /// Forwarded and executed; the reply's body is garbage of the right length.
    Corrupt,
    /// Forwarded and executed; the reply comes a byte at a time, this many milliseconds apart.
    Trickle(u64),
    /// Answered with this status and body and not forwarded.
    Answer {
        /// The status.
        status: u16,
        /// The body.
        body: String,
    },
}

impl Fault {
    /// The name used in statistics.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::BlackHole => "black-hole",
            Self::ResetBefore => "reset-before",
            Self::DropReply => "drop-reply",
            Self::SwallowReply => "swallow-reply",
            Self::Delay(_) => "delay",
            Self::DelayReply(_) => "delay-reply",
            Self::ErrorBefore(_) => "error-before",
            Self::ErrorAfter(_) => "error-after",
            Self::TooManyRequests { .. } => "too-many-requests",
            Self::Duplicate => "duplicate",
            Self::Truncate => "truncate",
            Self::Corrupt => "corrupt",
            Self::Trickle(_) => "trickle",
            Self::Answer { .. } => "answer",
        }
    }
}

/// What the proxy does from now on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Plan {
    /// Random failures as configured.
    #[default]
    Configured,
    /// Forward everything at once.
    Pass,
    /// The same fault for every request in the scope; the others pass.
    Always(Fault, Scope),
    /// One step a request in the scope, `None` letting it pass; after the last step everything passes.
    Script(Vec<Option<Fault>>, Scope),
    /// Nobody listens: connections are refused, and idle ones are closed.
    Refuse,
}

/// Why a chaos proxy cannot start or change its plan.
#[derive(Debug, Error)]
pub enum ChaosError {
    /// The port is not free.
    #[error("the chaos proxy cannot listen on 127.0.0.1:{port}: {source}; choose another port, or 0 for any")]
    Bind {
        /// Which port.
        port: u16,
        /// Why.
        source: std::io::Error,
    },
    /// A number is out of range.
    #[error("chaos proxy: {field} is {found}, expected {expected}")]
    Limit {
        /// Which field.
        field: &'static str,
        /// Its value.
        found: u64,
        /// What it may be.
        expected: &'static str,
    },
    /// Requests should fail, and there is no way for them to.
    #[error(
        "chaos proxy: failure_permille is {0}, but error_codes and faults are both empty; give at least one"
    )]
    NoFaults(u16),
    /// It was shut down, or its task died.
    #[error("the chaos proxy is not running any more")]
    Stopped,
}

impl Classified for ChaosError {
    fn class(&self) -> Class {
        match self {
            Self::Bind { .. } => Class::Resource,
            Self::Limit { .. } | Self::NoFaults(_) | Self::Stopped => Class::State,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Bind { .. } => "chaos_bind",
            Self::Limit { .. } => "chaos_limit",
            Self::NoFaults(_) => "chaos_no_faults",
            Self::Stopped => "chaos_stopped",
        }
    }
}

impl ChaosConfig {
    /// Longest delay of one request that makes sense.
    const DELAY_MS_MAX: u64 = 600_000;

    /// Checks the numbers.
    ///
    /// # Errors
    /// The first that is out of range.
    pub fn check(&self) -> Result<(), ChaosError> {
        let limit = |field, found: u64, good, expected| {
            if good { Ok(()) } else { Err(ChaosError::Limit { field, found, expected }) }
        };
        let permille = self.failure_permille;
        limit("failure_permille", permille.into(), permille <= 1_000, "0 to 1000")?;
        if permille > 0 && self.error_codes.is_empty() && self.faults.is_empty() {
            return Err(ChaosError::NoFaults(permille));
        }
        for code in &self.error_codes {
            limit("error_codes", (*code).into(), (400..=599).contains(code), "400 to 599 each")?;
        }
        self.faults.iter().try_for_each(Fault::check)?;
        for (field, found) in [("latency_ms", self.latency_ms), ("latency_jitter_ms", self.latency_jitter_ms)]
        {
            limit(field, found, found <= Self::DELAY_MS_MAX, "at most 600000")?;
        }
        let timeout = self.upstream_timeout_ms;
        limit("upstream_timeout_ms", timeout, (1..=Self::DELAY_MS_MAX).contains(&timeout), "1 to 600000")?;
        for (field, found, least) in [
            ("connections_max", self.connections_max, 1),
            ("head_bytes_max", self.head_bytes_max, 256),
            ("body_bytes_max", self.body_bytes_max, 256),
        ] {
            limit(field, found as u64, (least..=1 << 30).contains(&found), "positive, sizes at least 256")?;
        }
        Ok(())
    }
}

impl Fault {
    fn check(&self) -> Result<(), ChaosError> {
        let limit = |field, found, good, expected| {
            if good { Ok(()) } else { Err(ChaosError::Limit { field, found, expected }) }
        };
        match self {
            Self::ErrorBefore(status) | Self::ErrorAfter(status) | Self::Answer { status, .. } => {
                limit("status of a fault", (*status).into(), (200..=599).contains(status), "200 to 599")
            }
            Self::Delay(ms) | Self::DelayReply(ms) | Self::Trickle(ms) => {
                limit("delay of a fault", *ms, *ms <= ChaosConfig::DELAY_MS_MAX, "at most 600000 ms")
            }
            Self::TooManyRequests { retry_after } => {
                let good = retry_after.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ');
                limit("retry_after of a fault", retry_after.len() as u64, good, "visible ASCII characters")
            }
            Self::BlackHole
            | Self::ResetBefore
            | Self::DropReply
            | Self::SwallowReply
            | Self::Duplicate
            | Self::Truncate
            | Self::Corrupt => Ok(()),
        }
    }
}

impl Plan {
    /// Checks the faults of the plan.
    ///
    /// # Errors
    /// The first that makes no sense.
    pub fn check(&self) -> Result<(), ChaosError> {
        match self {
            Self::Configured | Self::Pass | Self::Refuse => Ok(()),
            Self::Always(fault, _) => fault.check(),
            Self::Script(steps, _) => steps.iter().flatten().try_for_each(Fault::check),
        }
    }
}
