//! The chaos proxy: a real HTTP proxy on loopback that stands between the host and a venue and breaks things.
//!
//! What it does to a request is decided by a seed and by the order of the requests, reads and writes apart, so
//! that a poll more or less does not move the faults of the orders. A [`Plan`] can be set at any time.

mod config;
mod connection;
mod decide;
mod proxy;

pub use config::{ChaosConfig, ChaosError, Fault, Plan, Scope};
pub use proxy::{ChaosHandle, ChaosProxy, ChaosStats};
