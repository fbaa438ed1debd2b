//! One gate for every agent of a venue: the venue is down for all of them, and its limit counts all of them.

use super::{Gate, GateStats, Permit, Refusal, RetryKind, Transition, Verdict};
use crate::market::MonoNanos;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// What the core asks of a gate. It decides nothing that a clock or another thread would change between
/// two runs of the same events; in the live host other agents' failures are events like any other.
pub trait Admission: Send {
    /// Admits one write, or says when to ask again. A refusal is not an attempt.
    ///
    /// # Errors
    /// The refusal.
    fn admit_write(&self, now: MonoNanos, retry: RetryKind) -> Result<Permit, Refusal>;

    /// Tells what became of an admitted call.
    fn report(
        &self,
        permit: Permit,
        verdict: Verdict,
        latency: Duration,
        retry_after: Option<Duration>,
        now: MonoNanos,
    ) -> Option<Transition>;

    /// Gives back a permit whose call was never made.
    fn cancel(&self, permit: Permit);

    /// Whether the write breaker is anything but closed.
    fn write_open(&self) -> bool;
}

/// A gate that several threads share. The lock is held for one decision and never across I/O or a call
/// into a strategy.
#[derive(Clone, Debug)]
pub struct SharedGate(Arc<Mutex<Gate>>);

impl SharedGate {
    /// Shares a gate.
    pub fn new(gate: Gate) -> Self {
        Self(Arc::new(Mutex::new(gate)))
    }

    /// Admits one read, or says when to ask again.
    ///
    /// # Errors
    /// The refusal.
    pub fn admit_read(&self, now: MonoNanos) -> Result<Permit, Refusal> {
        self.with(|gate| gate.admit_read(now))
    }

    /// The write breaker's one probe, when it is due.
    pub fn take_probe(&self, now: MonoNanos) -> Option<Permit> {
        self.with(|gate| gate.take_probe(now))
    }

    /// Changes that time alone brings; to be asked until there is none.
    pub fn advance(&self, now: MonoNanos) -> Option<Transition> {
        self.with(|gate| gate.advance(now))
    }

    /// Counters.
    pub fn stats(&self, now: MonoNanos) -> GateStats {
        self.with(|gate| gate.stats(now))
    }

    fn with<T>(&self, work: impl FnOnce(&mut Gate) -> T) -> T {
        // A gate is never left half changed, so a panic elsewhere does not spoil it.
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Admission for SharedGate {
    fn admit_write(&self, now: MonoNanos, retry: RetryKind) -> Result<Permit, Refusal> {
        self.with(|gate| gate.admit_write(now, retry))
    }

    fn report(
        &self,
        permit: Permit,
        verdict: Verdict,
        latency: Duration,
        retry_after: Option<Duration>,
        now: MonoNanos,
    ) -> Option<Transition> {
        self.with(|gate| gate.report(permit, verdict, latency, retry_after, now))
    }

    fn cancel(&self, permit: Permit) {
        self.with(|gate| gate.cancel(permit));
    }

    fn write_open(&self) -> bool {
        self.with(|gate| gate.write_open())
    }
}
