//! Ringfence runs trading strategies that somebody else wrote.
//!
//! A strategy is a WebAssembly component behind the WIT package `ringfence:strategy`. It sees market
//! data and returns order *intents*; everything that can hurt the account belongs to the host: the
//! clock, the network, the keys, the orders, the retries, the risk limits and the memory of what was
//! sent.
//!
//! ```text
//!   market ──► agent::core (sans-IO) ──► orders ──► resilience ──► venue
//!                 ▲        │                                         │
//!              plugin      └── effects: journal, send, checkpoint ◄──┘
//! ```
//!
//! * [`market`]: instruments, ticks, bars, data checks and feeds.
//! * [`plugin`]: the sandbox that runs one component, and the [`plugin::Strategy`] trait.
//! * [`orders`]: intents, slot keys, risk gate, books, journal.
//! * [`resilience`]: failure taxonomy, breaker, retry, dead letters, checkpoints, degradation.
//! * [`venue`]: what a venue is, the HTTP venue, the paper venue, the chaos proxy.
//! * [`agent`]: the deterministic core that joins them, and the live shell that drives it.
//! * [`admin`]: the operator's HTTP API on a running host.
// One function is excepted, with its reason: it takes in the machine code that our own compiler made.
#![deny(unsafe_code)]

pub mod admin;
pub mod agent;
#[cfg(target_os = "linux")]
pub mod chaos;
pub mod config;
pub mod lab;
pub mod market;
pub mod orders;
pub mod plugin;
pub mod random;
pub mod resilience;
pub mod venue;

#[doc(hidden)]
pub mod cli;
