//! Venues: what can be asked of one, what it can answer, and what its contract promises.
//!
//! * [`http`]: the venue of kind `http`, one order a `POST` under an idempotency key.
//! * [`paper`]: a real HTTP server with its own matching and its own ledger, which speaks that contract.
//! * [`chaos`]: a proxy on loopback that stands between the two and injects faults.
//! * [`feed`]: prices polled from a venue.

pub mod chaos;
pub mod feed;
pub mod http;
mod number;
mod outcome;
pub mod paper;
mod request;
mod secret;
#[cfg(test)]
mod tests;

pub use outcome::{OrderChange, OrderUpdate, Outcome, Reply, RetryAfterHeader, UpdatesPage};
pub use request::{ByteBody, EncodeError, Operation, PlaceOrder, Request, RequestKind, VenueProfile};
pub use secret::{KeySource, Secret, SecretError};

use crate::orders::Sendable;
use crate::resilience::Failure;
use std::future::Future;
use std::pin::Pin;

/// A future that a venue returns.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The pure half of a venue: writes request bodies and knows the contract. The core calls it.
pub trait Dialect: Send + Sync {
    /// What the venue promises.
    fn profile(&self) -> &VenueProfile;

    /// The exact bytes to send for an operation. They are journaled before they are sent and never written again.
    ///
    /// # Errors
    /// When a number does not fit the venue's format.
    fn encode(&self, operation: &Operation) -> Result<ByteBody, EncodeError>;

    /// The whole request for an operation.
    ///
    /// # Errors
    /// As [`Dialect::encode`].
    fn request(&self, operation: &Operation<'_>) -> Result<Request, EncodeError> {
        let body = self.encode(operation)?;
        let (key, kind) = match operation {
            Operation::Place { key, .. } => (*key, RequestKind::Place),
            Operation::Cancel { key, target } => (*key, RequestKind::Cancel(*target)),
            Operation::Amend { key, target, .. } => (*key, RequestKind::Amend(*target)),
        };
        Ok(Request { key, kind, body })
    }
}

/// The half of a venue that does I/O. The shell calls it; it never retries and never decides.
pub trait Venue: Send + Sync {
    /// Sends one request once, within the profile's timeout, and says what is known afterwards.
    fn send<'a>(&'a self, request: &'a Sendable) -> BoxFuture<'a, Reply>;

    /// Asks what became of an order, by the key it was placed under.
    fn query<'a>(&'a self, request: &'a Request) -> BoxFuture<'a, Reply>;

    /// The changes of the account's orders after a sequence number, oldest first, one page of them.
    fn updates<'a>(&'a self, after: u64) -> BoxFuture<'a, Result<UpdatesPage, Failure>>;

    /// A read that changes nothing and needs the key: the breaker's probe.
    fn probe<'a>(&'a self) -> BoxFuture<'a, Result<(), Failure>>;
}
