//! What the host does with a venue beside sending orders: the breaker's probe, asking for order changes,
//! and asking about one order.

use super::clock::SystemClock;
use super::pace::Pace;
use super::runner::AgentHandle;
use crate::agent::core::{Event, Operator, breaker_verdict};
use crate::orders::Mode;
use crate::resilience::{
    Admission, Classified, Failure, Phase, SharedGate, Verdict, parse_retry_after, verdict_of,
};
use crate::venue::{Outcome, Reply, Request, Venue};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// How often an open breaker is looked at. A probe is due once a breaker period, so this only rounds it.
const PROBE_LOOK_MS: u64 = 20;

/// One venue and the agents that trade on it.
pub(super) struct Link {
    pub name: String,
    pub venue: Arc<dyn Venue>,
    pub gate: SharedGate,
    pub clock: SystemClock,
    /// The agents that trade here, with their numbers in the pace.
    pub agents: Vec<(usize, AgentHandle)>,
    pub pace: Arc<Pace>,
    /// Number of the last change that every agent has been given.
    pub cursor: AtomicU64,
    /// Whether the venue has told what happened while the host was away. Until then agents only observe.
    pub reconciled: AtomicBool,
    pub updates_poll: Duration,
}

impl Link {
    /// Probes an open breaker and asks for updates until cancelled.
    pub async fn run(self: Arc<Self>) {
        let mut probe = tokio::time::interval(Duration::from_millis(PROBE_LOOK_MS));
        let mut poll = tokio::time::interval(self.updates_poll);
        poll.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = probe.tick() => self.probe().await,
                _ = poll.tick() => {
                    // A failure is counted by the read breaker and tried again at the next turn.
                    let _ = self.poll_updates().await;
                }
            }
        }
    }

    /// The venue has told everything: agents that were held back may go on.
    fn reconcile(&self) {
        if !self.reconciled.swap(true, Ordering::AcqRel) {
            for (_, agent) in &self.agents {
                agent.answer(Event::Operator(Operator::Floor(Mode::Full)));
            }
        }
    }

    /// Holds the agents back until the venue has told what happened while the host was away.
    pub fn hold_back(&self) {
        self.reconciled.store(false, Ordering::Release);
        for (_, agent) in &self.agents {
            agent.answer(Event::Operator(Operator::Floor(Mode::Observation)));
        }
    }

    async fn probe(&self) {
        let Some(permit) = self.gate.take_probe(self.clock.now().mono) else { return };
        let started = self.clock.now();
        let outcome = self.venue.probe().await;
        let now = self.clock.now();
        let verdict = match &outcome {
            Ok(()) => Verdict::Success,
            Err(failure) => verdict_of(failure),
        };
        let transition = self.gate.report(permit, verdict, now.mono.since(started.mono), None, now.mono);
        if let Some(transition) = transition {
            tracing::warn!(venue = %self.name, class = "network", code = "breaker", "{transition}");
        }
        for (_, agent) in &self.agents {
            agent.answer(Event::GateChanged);
        }
    }

    /// Asks for what changed since the last time and hands it to every agent.
    ///
    /// # Errors
    /// When the read breaker refuses or the venue does not answer.
    pub async fn poll_updates(&self) -> Result<u64, Failure> {
        loop {
            let started = self.clock.now();
            let permit = self.gate.admit_read(started.mono).map_err(|refusal| {
                Failure::new(refusal.class(), refusal.code(), Phase::NotSent, refusal.to_string())
            })?;
            let after = self.cursor.load(Ordering::Acquire);
            let outcome = self.venue.updates(after).await;
            let now = self.clock.now();
            let verdict = match &outcome {
                Ok(_) => Verdict::Success,
                Err(failure) => verdict_of(failure),
            };
            let transition = self.gate.report(permit, verdict, now.mono.since(started.mono), None, now.mono);
            if let Some(transition) = transition {
                tracing::warn!(venue = %self.name, class = "network", code = "breaker", "{transition}");
            }
            let page = outcome?;
            let cursor = page.through.max(after);
            if cursor > after {
                for (index, agent) in &self.agents {
                    // Counted, so that a paced feed waits until the agent has seen them.
                    self.pace.give(*index);
                    if !agent.answer(Event::Updates { cursor, updates: page.updates.clone() }) {
                        self.pace.stop(*index);
                    }
                }
                self.cursor.fetch_max(cursor, Ordering::AcqRel);
            }
            // A venue that promises more without going on must not hold us here.
            if !page.more || cursor == after {
                self.reconcile();
                return Ok(cursor);
            }
        }
    }
}

/// Asks the venue once what became of a request. A question that the read breaker or the limiter does not
/// admit is answered like one that got lost: nothing is known.
pub(super) async fn query(
    venue: &dyn Venue,
    gate: &SharedGate,
    clock: SystemClock,
    request: &Request,
) -> Reply {
    let permit = match gate.admit_read(clock.now().mono) {
        Ok(permit) => permit,
        Err(refusal) => {
            let failure =
                Failure::new(refusal.class(), refusal.code(), Phase::MaybeSent, refusal.to_string());
            let outcome = Outcome::Ambiguous(failure);
            return Reply { outcome, latency: Duration::ZERO, retry_after: None };
        }
    };
    let reply = venue.query(request).await;
    let now = clock.now();
    let asked = reply
        .retry_after
        .as_ref()
        .and_then(|header| parse_retry_after(&header.value, header.date.as_deref(), now.wall));
    let verdict = breaker_verdict(&reply.outcome);
    if let Some(transition) = gate.report(permit, verdict, reply.latency, asked, now.mono) {
        tracing::warn!(class = "network", code = "breaker", "{transition}");
    }
    reply
}
