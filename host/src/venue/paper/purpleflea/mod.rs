//! The paper venue in the dialect of the Purple Flea trading API, with the faults of the real server.
//!
//! The contract is that of the public server source `purple-flea/agent-trading` 3.0.0: its routes, field names, texts
//! and statuses, and what makes it dangerous. An order has no id of the client's; a reply of status 400 may
//! come after the fill; a close flattens the whole coin; prices are up to 30 s old under a fresh time stamp. All of this is
//! there by default. [`FleaFaults`] adds what the network and a bad day add.
//!
//! There are two books, as at the real venue, and they can disagree. The exchange behind the API nets fills by coin;
//! the server's database has a row for each position and knows nothing of what it failed to write. The exchange is the
//! truth: [`FleaTruth`] has its executions, each with the number of the request that caused it.
//!
//! The bodies of limit orders, stop losses and take profits could not be read in the source; their names follow the
//! server's other routes.
//!
//! Nothing here waits: time is a [`PaperClock`] that tests move by hand. Beside the API, `POST /__market` takes ticks,
//! `GET /__truth` gives the ledger, and `GET`, `POST` and `DELETE /__faults` read, set and clear the faults. They need
//! the key of an account.

mod account;
mod clock;
mod config;
mod engine;
mod exchange;
mod faults;
mod markets;
mod positions;
mod prices;
mod rate;
mod request;
mod resting;
mod risk;
mod rows;
mod rule;
mod server;
mod trade;
mod truth;
mod wire;

#[cfg(test)]
mod tests;

pub use clock::PaperClock;
pub use config::{FleaAccount, FleaConfig, Tier};
pub use faults::{FaultError, FleaFault, FleaFaults};
pub use request::FleaRoute;
pub use rows::{PositionRow, RestingKind, RestingRow, RestingStatus, RowStatus, TradeRow};
pub use rule::{FaultRule, When};
pub use server::{FleaHandle, FleaVenue};
pub use truth::{Arrival, FleaAccountTruth, FleaExecution, FleaTruth};
