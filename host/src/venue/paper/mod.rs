//! The paper venue: a real HTTP server with its own matching and its own ledger.
//!
//! It is the oracle of every test of the order path, so it shares no bookkeeping with the host: it counts
//! in decimals of units, not in steps, and believes nothing but the requests it was sent. It matches against
//! the last tick of each instrument, the same requests and ticks giving the same fills every time.
//!
//! Beside the contract of [`super::http`] it answers `POST /__market` (a list of ticks; the reply names
//! the newest update, so that a replay drives the venue in lockstep) and `GET /__truth` (the whole ledger).
//! Both need the key of an account, like everything else.
//!
//! [`purpleflea`] is the same idea for a venue whose contract is worse.

mod account;
mod api;
mod config;
mod engine;
mod keys;
mod lies;
mod market;
mod matching;
mod order;
pub mod purpleflea;
mod server;
mod truth;

pub use config::{PaperAccount, PaperConfig, PaperError, PaperKeys};
pub use lies::{Lies, PositionsLie};
pub use market::{MarketError, MarketTick};
pub use server::{PaperHandle, PaperVenue};
pub use truth::{AccountTruth, Execution, OrderTruth, Truth};
