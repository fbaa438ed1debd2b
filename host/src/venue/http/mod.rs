//! The venue of kind `http`: JSON over HTTP, one idempotency key an intent.
//!
//! | method and path | asks |
//! |---|---|
//! | `POST /api/trade` | a new order; the `Idempotency-Key` is also the client order id |
//! | `POST /api/orders/{client_id}/amend` | other terms for a working order |
//! | `DELETE /api/orders/{client_id}` | to take a working order back |
//! | `GET /api/orders/{client_id}` | what became of an order |
//! | `GET /api/updates?after=N&limit=M` | the changes of all orders after a sequence number |
//! | `GET /api/positions`, `/api/account`, `/api/prices` | positions, cash and equity, last prices |
//!
//! Every request carries `Authorization: Bearer <key>`. Prices, quantities and money are strings that
//! hold decimal numbers in units. A refusal is `{"code": "...", "message": "..."}`.

mod classify;
mod client;
mod config;
mod dialect;
#[cfg(any(fuzzing, test))]
pub mod fuzzing;
mod wire;

#[cfg(test)]
pub(crate) use classify::outcome_of;
pub use client::{AccountState, HttpVenue};
pub use config::{HttpCapability, HttpVenueConfig};
pub use dialect::HttpDialect;
