//! What the host does with a venue beside sending orders: the breaker's probe, asking for order changes,
//! asking about one order, and reading what the account shows before one.

#[cfg(test)]
mod tests;
mod unclaimed;

pub(super) use unclaimed::Unclaimed;

use super::clock::SystemClock;
use super::pace::Pace;
use super::runner::AgentHandle;
use crate::agent::core::{Alert, Event, breaker_verdict};
use crate::market::{InstrumentId, Lots, MonoNanos};
use crate::orders::IntentKey;
use crate::resilience::{
    Admission, BreakerState, Class, Classified, Failure, Phase, SharedGate, Verdict, parse_retry_after,
    verdict_of,
};
use crate::venue::{Baseline, BoxFuture, Outcome, Question, Reply, Request, Venue};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::Duration;
use tokio::sync::Mutex;

/// How often an open breaker is looked at. A probe is due once a breaker period, so this only rounds it.
const PROBE_LOOK_MS: u64 = 20;

/// An agent that trades on a venue.
pub(super) struct Member {
    /// Its number in the pace.
    pub index: usize,
    pub handle: AgentHandle,
    /// The instruments that it alone trades here: the id in the venue's table, and the agent's own. What
    /// agents share is not compared, because the account does not say whose a position is.
    pub compared: Vec<(InstrumentId, InstrumentId)>,
}

/// One venue and the agents that trade on it.
pub(super) struct Link {
    pub name: String,
    pub venue: Arc<dyn Venue>,
    pub gate: SharedGate,
    pub clock: SystemClock,
    /// The agents that trade here.
    pub agents: Vec<Member>,
    pub pace: Arc<Pace>,
    /// Number of the last change that every agent has been given.
    pub cursor: AtomicU64,
    /// Whether the agents were told that the venue answers no reads.
    pub lost: AtomicBool,
    /// Held while updates are read, so that every agent is given them once and in order.
    pub reading: Mutex<()>,
    pub updates_poll: Duration,
    /// How long the updates may not have been read to the end.
    pub silence_max: Duration,
    /// When they were last, or when the host started.
    pub heard_at: AtomicU64,
    /// Fills that agents do not know.
    pub unclaimed: std::sync::Mutex<Unclaimed>,
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

    /// An agent does not know the order of a fill. An alert, when none of them does.
    pub fn disclaim(&self, key: IntentKey, sequence: u64) -> Option<Alert> {
        let mut unclaimed = self.unclaimed.lock().unwrap_or_else(PoisonError::into_inner);
        unclaimed.add(sequence, self.agents.len()).then(|| Alert {
            class: Class::State,
            code: "unclaimed_fill".into(),
            text: format!(
                "venue {}: it reports a fill under key {key}, which no agent of this host knows: of an order that is \
                 forgotten, or of another host's; look at the position, it is in no agent's books",
                self.name
            ),
        })
    }

    fn tell(&self, event: fn() -> Event) {
        for agent in &self.agents {
            agent.handle.tell(event());
        }
    }

    /// A read of the updates failed. One that fails alone is made up for by the next, since changes are numbered
    /// and none can be missed in between. While the breaker refuses reads, and when none has come to its end for
    /// too long, nobody knows what happens to orders: the breaker takes a 4xx for a sign of life, but it tells of
    /// no fill.
    fn read_failed(&self, failure: &Failure, now: MonoNanos) {
        let silence = now.since(MonoNanos(self.heard_at.load(Ordering::Acquire)));
        let is_silent = silence >= self.silence_max;
        // That the rate limit is reached, or that an agent is behind, says nothing about the venue.
        let is_ours = matches!(failure.code.as_ref(), "rate_limited" | "agent_behind");
        let is_down = !is_ours && self.gate.stats(now).read_state != BreakerState::Closed;
        if (is_silent || is_down) && !self.lost.swap(true, Ordering::AcqRel) {
            let silence_ms = silence.as_millis();
            tracing::warn!(venue = %self.name, class = %failure.class, code = "venue_lost", silence_ms,
                "the venue does not tell what becomes of orders, its agents only observe: {failure}");
            self.tell(|| Event::VenueLost);
        }
    }

    /// The updates were read to the end: after a loss the agents hold their books against the venue again.
    fn read_to_the_end(&self, now: MonoNanos) {
        self.heard_at.fetch_max(now.0, Ordering::AcqRel);
        if self.lost.swap(false, Ordering::AcqRel) {
            self.tell(|| Event::VenueBack);
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
        self.tell(|| Event::GateChanged);
    }

    /// Makes one read through the breaker.
    async fn read<'a, T>(
        &'a self,
        ask: impl FnOnce(&'a dyn Venue) -> BoxFuture<'a, Result<T, Failure>>,
    ) -> Result<T, Failure> {
        let started = self.clock.now();
        let permit = self.gate.admit_read(started.mono).map_err(|refusal| {
            Failure::new(refusal.class(), refusal.code(), Phase::NotSent, refusal.to_string())
        })?;
        let outcome = ask(self.venue.as_ref()).await;
        let now = self.clock.now();
        let verdict = match &outcome {
            Ok(_) => Verdict::Success,
            Err(failure) => verdict_of(failure),
        };
        let transition = self.gate.report(permit, verdict, now.mono.since(started.mono), None, now.mono);
        if let Some(transition) = transition {
            tracing::warn!(venue = %self.name, class = "network", code = "breaker", "{transition}");
        }
        outcome
    }

    /// Asks for what changed since the last time and hands it to every agent.
    ///
    /// # Errors
    /// When the read breaker refuses or the venue does not answer.
    pub async fn poll_updates(&self) -> Result<u64, Failure> {
        self.poll_updates_by(|| self.clock.now().mono).await
    }

    /// The same, with the time told.
    async fn poll_updates_by(&self, now: impl Fn() -> MonoNanos) -> Result<u64, Failure> {
        let _turn = self.reading.lock().await;
        let outcome = self.read_updates().await;
        match &outcome {
            Ok(_) => self.read_to_the_end(now()),
            Err(failure) => self.read_failed(failure, now()),
        }
        outcome
    }

    async fn read_updates(&self) -> Result<u64, Failure> {
        loop {
            if let Some(agent) = self.agents.iter().find(|agent| agent.handle.backlog.is_full()) {
                let text =
                    format!("agent number {} does not take what the venue has told before", agent.index);
                return Err(Failure::new(Class::Resource, "agent_behind", Phase::NotSent, text));
            }
            let after = self.cursor.load(Ordering::Acquire);
            let page = self.read(|venue| venue.updates(after)).await?;
            if page.foreign > 0 {
                self.tell(|| Event::Foreign);
            }
            let cursor = page.through.max(after);
            if cursor > after {
                for agent in &self.agents {
                    // Counted, so that a paced feed waits until the agent has seen them.
                    self.pace.give(agent.index);
                    if !agent.handle.tell(Event::Updates { cursor, updates: page.updates.clone() }) {
                        self.pace.stop(agent.index);
                    }
                }
                self.cursor.fetch_max(cursor, Ordering::AcqRel);
            }
            // A venue that promises more without going on must not hold us here.
            if !page.more || cursor == after {
                return Ok(cursor);
            }
        }
    }

    /// What the account holds in the instruments that an agent can compare, by the agent's own ids.
    ///
    /// # Errors
    /// When the read breaker refuses or the venue does not answer.
    pub async fn positions_of(&self, index: usize) -> Result<Vec<(InstrumentId, Lots)>, Failure> {
        let positions = self.read(|venue| venue.positions()).await?;
        let held = |at_venue: InstrumentId| {
            let mut listed = positions.iter().filter(|position| position.instrument == at_venue);
            listed.try_fold(Lots::ZERO, |sum, position| sum.checked_add(position.quantity))
        };
        let compared = self.agents.iter().filter(|agent| agent.index == index);
        compared
            .flat_map(|agent| &agent.compared)
            .map(|(at_venue, own)| {
                let quantity = held(*at_venue).ok_or_else(|| {
                    let text = "positions of one instrument do not add up to a number that fits";
                    Failure::new(Class::Data, "positions_overflow", Phase::Done, text)
                })?;
                Ok((*own, quantity))
            })
            .collect()
    }
}

/// Asks the venue once what became of a request. A question that the read breaker or the limiter does not
/// admit is answered like one that got lost: nothing is known.
pub(super) async fn query(
    venue: &dyn Venue,
    gate: &SharedGate,
    clock: SystemClock,
    question: &Question,
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
    let reply = venue.query(question).await;
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

/// Reads once what the account shows in the instrument of a request that is about to be sent.
///
/// # Errors
/// When the read breaker or the limiter refuses, or the venue does not say.
pub(super) async fn baseline(
    venue: &dyn Venue,
    gate: &SharedGate,
    clock: SystemClock,
    request: &Request,
) -> Result<Baseline, Failure> {
    let started = clock.now().mono;
    let permit = gate.admit_read(started).map_err(|refusal| {
        Failure::new(refusal.class(), refusal.code(), Phase::NotSent, refusal.to_string())
    })?;
    let result = venue.baseline(request).await;
    let now = clock.now().mono;
    let verdict = match &result {
        Ok(_) => Verdict::Success,
        Err(failure) => verdict_of(failure),
    };
    if let Some(transition) = gate.report(permit, verdict, now.since(started), None, now) {
        tracing::warn!(class = "network", code = "breaker", "{transition}");
    }
    result
}
