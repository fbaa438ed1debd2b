//! The live shell: clocks, threads, disk and network around the core. It decides nothing.
//!
//! ```text
//!  feed thread ──samples──► agent thread (core + strategy) ──► journal thread (group commit)
//!       ▲                     ▲        │
//!       │ settle              │        ├──► tokio: one HTTP attempt, breaker probe, updates
//!       └──────── pace ◄──────┘        ├──► store thread: checkpoints, dead letters
//!                     operator, watched file ──► swap thread: compiles and vets a candidate
//! ```
//!
//! Strategies run on their own threads and never on a tokio worker: a strategy that spins can delay
//! nothing but itself.

mod backlog;
mod build;
mod clock;
mod compaction;
mod components;
mod control;
mod deployment;
mod durable;
mod error;
mod feed;
mod host;
mod letter_orders;
mod letters;
mod link;
mod orders;
mod pace;
pub mod recording;
mod report;
mod runner;
mod settings;
mod store;
mod swaps;
mod view;
mod watcher;

#[cfg(test)]
pub(in crate::agent) use build::{Remembered, Stories, check_story, load_state};
pub(crate) use build::{check_pin, settings as strategy_settings};
pub use clock::SystemClock;
#[cfg(test)]
pub(in crate::agent) use compaction::Compactor;
pub use compaction::{JournalHold, journal_holds};
pub use components::ComponentStoreError;
pub use control::{ControlError, HostControl, JournalView, Released};
pub use error::{ComponentError, StartError, Unpinned};
pub use feed::FeedProgress;
pub use host::{Host, RunReport, StopHandle};
pub use letter_orders::{LetterOrder, LetterOrderError, find_letter};
pub use orders::{AtStart, StartOrder};
pub use report::{AgentReport, Curve};
pub use settings::SettingError;
#[cfg(test)]
pub(in crate::agent) use store::AgentStore;
pub use swaps::{Rollback, SwapError, SwapOrder, SwapProgress, SwapView};
pub use view::{AgentView, AlertView, ComponentView, OrderView, PositionView, StrategyView};
