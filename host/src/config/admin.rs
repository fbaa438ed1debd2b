//! The section `[admin]`: where the operator's HTTP API listens, who may use it, and how much of it.

use crate::venue::KeySource;
use serde::Deserialize;
use std::net::SocketAddr;
use std::num::{NonZeroU32, NonZeroU64};

/// The admin API. A configuration without the section has none.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdminConfig {
    /// Where it listens; a loopback address. Port 0 takes any free one, which `data_dir/admin.address` then says.
    pub listen: SocketAddr,
    /// Where the token is: `{ env = "NAME" }` or `{ file = "PATH" }`, never the token itself. A file that does not
    /// exist is made with a random token, readable by this user only.
    pub token: KeySource,
    /// Largest body of a request. Default 65,536: settings and a note; a component is named by its path.
    #[serde(default = "body_bytes_max")]
    pub body_bytes_max: u32,
    /// Connections open at a time. Default 32: a handful of operators, scripts and a scraper.
    #[serde(default = "connections_max")]
    pub connections_max: NonZeroU32,
    /// Requests under way at a time, of all connections; one more is answered 503. Default 8: each may look at
    /// every agent, and what an operator asks must not compete with orders.
    #[serde(default = "requests_max")]
    pub requests_max: NonZeroU32,
    /// Time from a connection, or the end of a request on it, to the last header of the next. Default 10,000: a
    /// connection that asks nothing is in the way of one that does.
    #[serde(default = "header_timeout_ms")]
    pub header_timeout_ms: NonZeroU64,
    /// Time from the last header to the answer. Default 10,000: far above what anything here takes; a component
    /// is compiled after the answer.
    #[serde(default = "request_timeout_ms")]
    pub request_timeout_ms: NonZeroU64,
    /// How long an agent may take to answer a look at it before its last report is shown instead. Default 1,000:
    /// ten times the longest call into a strategy.
    #[serde(default = "look_timeout_ms")]
    pub look_timeout_ms: NonZeroU64,
}

const fn body_bytes_max() -> u32 {
    64 << 10
}

const fn connections_max() -> NonZeroU32 {
    const { NonZeroU32::new(32).unwrap() }
}

const fn requests_max() -> NonZeroU32 {
    const { NonZeroU32::new(8).unwrap() }
}

const fn header_timeout_ms() -> NonZeroU64 {
    const { NonZeroU64::new(10_000).unwrap() }
}

const fn request_timeout_ms() -> NonZeroU64 {
    const { NonZeroU64::new(10_000).unwrap() }
}

const fn look_timeout_ms() -> NonZeroU64 {
    const { NonZeroU64::new(1_000).unwrap() }
}

impl AdminConfig {
    /// What is wrong with it: the key, what was found, and what to do.
    pub(super) fn check(&self) -> Result<(), (&'static str, String, String)> {
        if !self.listen.ip().is_loopback() {
            let advice = "the API can replace what trades and has no encryption, so that it listens on loopback \
                          only: use 127.0.0.1 or [::1], and reach it from another machine with ssh -L";
            return Err(("admin.listen", self.listen.to_string(), advice.into()));
        }
        Ok(())
    }
}
