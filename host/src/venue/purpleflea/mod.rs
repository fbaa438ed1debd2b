//! The venue of kind `purpleflea`: perpetuals of Hyperliquid behind Purple Flea's trading API.
//!
//! | method and path | asks |
//! |---|---|
//! | `POST /v1/trade/open` | a market order, sized in dollars |
//! | `POST /v1/trade/close` | to close the whole position in a coin |
//! | `POST /v1/trade/limit`, `DELETE /v1/trade/limit-orders/{id}` | an order that waits for a price, and to take it back |
//! | `POST /v1/trade/stop-loss`, `/take-profit` | to close the position once a price is reached |
//! | `GET /v1/trade/positions`, `/history`, `/limit-orders` | what the account holds, did and waits for |
//! | `GET /v1/markets/{coin}/orderbook`, `/v1/markets/multi-price` | prices |
//! | `GET /v1/markets/{coin}/price` | the price by which the venue sizes an order |
//! | `GET /v1/auth/account` | whether the account may trade |
//!
//! The venue honours no idempotency key and takes no client order id: a request that is sent twice is two
//! orders. So a request is sent once, and when its outcome is unknown only what the account holds and did since
//! a reading before it can say what happened. That it shows nothing is never proof, because the
//! venue's own calls have no timeout and an order can still execute minutes later.
//!
//! `POST /v1/trade/close-all` is never used: it marks the venue's own rows closed and sends nothing to the
//! exchange, so the positions stay open and unseen.

mod baseline;
mod classify;
mod client;
mod config;
mod dialect;
mod evidence;
#[cfg(any(fuzzing, test))]
pub mod fuzzing;
mod instruction;
mod prices;
#[cfg(test)]
mod tests;
mod wire;

pub use client::{PurpleFleaVenue, WallClock};
pub use config::{ConfigFault, PriceSource, PurpleFleaConfig, is_same_coin};
pub use dialect::PurpleFleaDialect;
