//! A request that may leave the host.

use crate::venue::Request;
use std::ops::Deref;

/// A request whose decision and attempt are durable. Only the core makes one, when the journal has
/// answered; a venue takes nothing else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sendable(Request);

impl Sendable {
    /// To be called by the core alone, for a journaled attempt.
    pub(crate) const fn journaled(request: Request) -> Self {
        Self(request)
    }
}

impl Deref for Sendable {
    type Target = Request;

    fn deref(&self) -> &Request {
        &self.0
    }
}
