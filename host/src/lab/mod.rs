//! The lab: a strategy over recorded data, before it touches an account.
//!
//! The third shell over [`crate::agent::core`]: the same risk gate, books and modes as live, with the data's own
//! time, a simulated [`exchange`] in place of a venue, and no disk.
//!
//! ```text
//!   data ──► exchange ──► core (risk, modes, books) ──► strategy (sandbox, metered)
//!               ▲                  │
//!               └── orders ◄───────┘
//! ```

mod chart;
mod config;
mod data;
pub mod exchange;
mod meter;
mod performance;
mod run;
mod sweep;
mod tape;
mod venue;
pub mod vet;

pub use chart::{Charts, EquityPoint, PricePoint, Thinned};
pub use config::LabConfig;
pub use data::{DataError, DataFile, Dataset, Quality, Samples};
pub use meter::{Guest, Meter, Metered, Usage};
pub use performance::{PERIODS_MIN, Results};
pub use run::{Lab, Summary};
pub use sweep::{Outcome, Sweep};
pub use tape::{Intent, IntentDigest, IntentLine};
pub use venue::Execution;
