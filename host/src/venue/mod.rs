//! Venues: what can be asked of one, what it can answer, and what its contract promises.
//!
//! * [`http`]: the venue of kind `http`, one order a `POST` under an idempotency key.
//! * [`purpleflea`]: the venue of kind `purpleflea`, which knows neither keys nor ids of ours.
//! * [`paper`]: a real HTTP server with its own matching and its own ledger, which speaks the contract of `http`.
//! * [`chaos`]: a proxy on loopback that stands between the two and injects faults.
//! * [`feed`]: prices polled from a venue.

mod capability;
pub mod chaos;
pub mod feed;
pub mod http;
mod message;
mod number;
mod observation;
mod outcome;
pub mod paper;
pub mod purpleflea;
mod request;
mod secret;
mod setup;
#[cfg(test)]
mod tests;
mod transport;

pub use capability::{Baseline, Capability, OtherOrder, Question, SeenTrade};
pub use outcome::{
    OrderChange, OrderUpdate, Outcome, Readiness, Reply, RetryAfterHeader, UpdatesPage, VenuePosition,
};
pub use request::{ByteBody, EncodeError, Operation, PlaceOrder, Request, RequestKind, VenueProfile};
pub use secret::{KeySource, Secret, SecretError};
pub use setup::VenueSetupError;
pub(crate) use setup::remote_host;

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

    /// Whether a position is closed as a whole or not at all, whatever size an order may have.
    fn closes_whole(&self) -> bool {
        false
    }

    /// The whole request for an operation.
    ///
    /// # Errors
    /// As [`Dialect::encode`].
    fn request(&self, operation: &Operation<'_>) -> Result<Request, EncodeError> {
        let body = self.encode(operation)?;
        let (key, kind) = match operation {
            Operation::Place { key, .. } => (*key, RequestKind::Place),
            Operation::Cancel { key, target, .. } => (*key, RequestKind::Cancel(*target)),
            Operation::Amend { key, target, .. } => (*key, RequestKind::Amend(*target)),
        };
        Ok(Request { key, kind, body })
    }
}

/// The half of a venue that does I/O. The shell calls it; it never retries and never decides.
pub trait Venue: Send + Sync {
    /// Sends one request once, within the profile's timeout, and says what is known afterwards.
    fn send<'a>(&'a self, request: &'a Sendable) -> BoxFuture<'a, Reply>;

    /// Asks what became of a request, by the key it was placed under or by what else the question holds.
    fn query<'a>(&'a self, question: &'a Question) -> BoxFuture<'a, Reply>;

    /// What the account shows in the instrument of a request that is about to be sent. Asked only of a venue
    /// whose [`Capability::needs_baseline`].
    fn baseline<'a>(&'a self, request: &'a Request) -> BoxFuture<'a, Result<Baseline, Failure>>;

    /// What the account holds in the instruments of the venue's table; one that is not listed may be missing.
    fn positions<'a>(&'a self) -> BoxFuture<'a, Result<Vec<VenuePosition>, Failure>>;

    /// The changes of the account's orders after a sequence number, oldest first, one page of them.
    fn updates<'a>(&'a self, after: u64) -> BoxFuture<'a, Result<UpdatesPage, Failure>>;

    /// A read that changes nothing and needs the key: the breaker's probe.
    fn probe<'a>(&'a self) -> BoxFuture<'a, Result<(), Failure>>;

    /// Whether the account can trade as it is configured; asked once, before anything starts. A venue that
    /// does not tell is ready.
    fn readiness<'a>(&'a self) -> BoxFuture<'a, Result<Readiness, Failure>> {
        Box::pin(async { Ok(Readiness::Ready) })
    }
}
