//! A request that may leave the host.

use crate::venue::{Baseline, Request};
use std::ops::Deref;

/// A request whose decision and attempt are durable. Only the core makes one, when the journal has
/// answered; a venue takes nothing else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sendable {
    request: Request,
    baseline: Option<Baseline>,
}

impl Sendable {
    /// To be called by the core alone, for a journaled attempt.
    pub(crate) const fn journaled(request: Request, baseline: Option<Baseline>) -> Self {
        Self { request, baseline }
    }

    /// What the account showed before the attempt, where the venue needs it; as durable as the attempt.
    pub const fn baseline(&self) -> Option<&Baseline> {
        self.baseline.as_ref()
    }
}

impl Deref for Sendable {
    type Target = Request;

    fn deref(&self) -> &Request {
        &self.request
    }
}
