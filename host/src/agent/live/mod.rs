//! The live shell: clocks, threads, disk and network around the core. It decides nothing.
//!
//! ```text
//!  feed thread ──samples──► agent thread (core + strategy) ──► journal thread (group commit)
//!       ▲                     ▲        │
//!       │ settle              │        ├──► tokio: one HTTP attempt, breaker probe, updates
//!       └──────── pace ◄──────┘        └──► store thread: checkpoints, dead letters
//! ```
//!
//! Strategies run on their own threads and never on a tokio worker: a strategy that spins can delay
//! nothing but itself.

mod build;
mod clock;
mod error;
mod feed;
mod host;
mod link;
mod pace;
mod report;
mod runner;
mod store;

pub use clock::SystemClock;
pub use error::StartError;
pub use feed::FeedProgress;
pub use host::{Host, RunReport, StopHandle};
pub use report::{AgentReport, Curve};
