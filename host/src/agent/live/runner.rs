//! One agent's own thread: it takes events, steps the core, and carries out the effects.

use super::clock::SystemClock;
use super::link;
use super::pace::Pace;
use super::report::AgentReport;
use super::store::StoreHandle;
use crate::agent::core::{Core, Effect, Event};
use crate::orders::journal::Journal;
use crate::plugin::LogLevel;
use crate::resilience::{Class, Failure, Phase, SharedGate};
use crate::venue::Venue;
use crossbeam_channel::{Receiver, Sender, select_biased};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

/// Target of what strategies log, so that a filter can tell them from the host.
const STRATEGY_LOG: &str = "strategy";

/// Where to send an agent its events.
///
/// Samples go through a bounded queue. Answers go through an unbounded one that is bounded by the
/// requests that the agent itself has made, so that neither the journal nor a venue ever waits for an agent.
#[derive(Clone, Debug)]
pub struct AgentHandle {
    pub(super) samples: Sender<Event>,
    pub(super) answers: Sender<Event>,
}

impl AgentHandle {
    /// Hands over a sample; waits while the queue is full. `false` when the agent has stopped.
    pub fn sample(&self, event: Event) -> bool {
        self.samples.send(event).is_ok()
    }

    /// Hands over an answer or an order. `false` when the agent has stopped.
    pub fn answer(&self, event: Event) -> bool {
        self.answers.send(event).is_ok()
    }
}

/// Everything that an agent's thread works with.
pub(super) struct Runner {
    pub index: usize,
    pub core: Core,
    pub clock: SystemClock,
    pub samples: Receiver<Event>,
    pub answers: Receiver<Event>,
    pub handle: AgentHandle,
    pub journal: Arc<dyn Journal>,
    pub venue: Arc<dyn Venue>,
    /// Admits questions; the core's own half admits attempts.
    pub gate: SharedGate,
    pub runtime: tokio::runtime::Handle,
    pub store: StoreHandle,
    pub pace: Arc<Pace>,
    pub report: Arc<Mutex<AgentReport>>,
    /// Set when a record could not be queued: a later one must not reach the disk without it.
    pub journal_broken: bool,
}

/// Tells the feed and the host that the agent takes no more events, however its thread ends.
struct EndOfThread(Arc<Pace>, usize);

impl Drop for EndOfThread {
    fn drop(&mut self) {
        self.0.stop(self.1);
    }
}

impl Runner {
    /// Runs until the core has stopped.
    pub fn run(mut self) {
        let _end = EndOfThread(Arc::clone(&self.pace), self.index);
        let mut effects = Vec::new();
        self.core.start(self.clock.now(), &mut effects);
        self.carry_out(&mut effects);
        while !self.core.is_stopped() {
            let wake = self.clock.instant(self.core.next_wake(self.clock.now()));
            // Answers first: what is known about orders should be known before the next tick is judged.
            let (event, from_feed) = select_biased! {
                recv(self.answers) -> event => (event.unwrap_or(Event::Stop), false),
                recv(self.samples) -> event => (event.unwrap_or(Event::Stop), true),
                default(wake.saturating_duration_since(self.clock.instant(self.clock.now().mono))) =>
                    (Event::Wake, false),
            };
            let sampled = event.is_sample();
            let counted = from_feed || matches!(event, Event::Updates { .. });
            self.core.step(self.clock.now(), event, &mut effects);
            self.carry_out(&mut effects);
            if sampled {
                self.sample_equity();
            }
            self.pace.take(self.index, u64::from(counted), self.core.is_busy());
        }
        self.report.lock().unwrap_or_else(PoisonError::into_inner).finish(&self.core);
    }

    fn sample_equity(&self) {
        let mut report = self.report.lock().unwrap_or_else(PoisonError::into_inner);
        report.refresh(&self.core);
        if let Some(equity) = report.equity {
            report.curve.push(self.core.market_now(), equity);
        }
    }

    fn carry_out(&mut self, effects: &mut Vec<Effect>) {
        let mut queue: VecDeque<Effect> = effects.drain(..).collect();
        while let Some(effect) = queue.pop_front() {
            if let Some(event) = self.carry_out_one(effect) {
                self.core.step(self.clock.now(), event, effects);
                queue.extend(effects.drain(..));
            }
        }
    }

    /// Returns an event when the effect failed on the spot.
    fn carry_out_one(&mut self, effect: Effect) -> Option<Event> {
        match effect {
            Effect::Journal(_) if self.journal_broken => None,
            Effect::Journal(entry) => {
                let payload = match entry.encode() {
                    Ok(payload) => payload,
                    Err(error) => {
                        self.journal_broken = true;
                        return Some(journal_failed(&error.to_string()));
                    }
                };
                let (number, answers) = (entry.number, self.handle.answers.clone());
                let done = Box::new(move |outcome: Result<u64, _>| {
                    let event = match outcome {
                        Ok(_) => Event::Journaled(number),
                        Err(error) => journal_failed(&format!("{error}")),
                    };
                    // An agent that has stopped does not listen any more.
                    let _ = answers.send(event);
                });
                let appended = self.journal.append(payload, done);
                self.journal_broken = appended.is_err();
                appended.err().map(|error| journal_failed(&error.to_string()))
            }
            Effect::Send { request, attempt } => {
                let (venue, answers) = (Arc::clone(&self.venue), self.handle.answers.clone());
                self.runtime.spawn(async move {
                    let key = request.key;
                    let reply = venue.send(&request).await;
                    let _ = answers.send(Event::Replied { key, attempt, reply });
                });
                None
            }
            Effect::Query { request, number } => {
                let (venue, gate) = (Arc::clone(&self.venue), self.gate.clone());
                let (clock, answers) = (self.clock, self.handle.answers.clone());
                self.runtime.spawn(async move {
                    let reply = link::query(venue.as_ref(), &gate, clock, &request).await;
                    let _ = answers.send(Event::Queried { key: request.key, number, reply });
                });
                None
            }
            Effect::Checkpoint(snapshot) => {
                self.store.checkpoint(self.index, snapshot, self.handle.answers.clone());
                None
            }
            Effect::Letter(letter) => {
                let name = &self.core.config().name;
                let incarnation = self.core.config().incarnation;
                let now = self.clock.now().wall;
                self.store.letter((name, incarnation), letter, now, self.handle.answers.clone());
                None
            }
            Effect::Alert(alert) => {
                tracing::warn!(class = %alert.class, code = %alert.code, "{}", alert.text);
                let at = self.core.market_now();
                self.report.lock().unwrap_or_else(PoisonError::into_inner).alert(at, alert);
                None
            }
            Effect::Said(lines) => {
                let agent = self.core.config().name.as_str();
                let mut report = self.report.lock().unwrap_or_else(PoisonError::into_inner);
                for line in lines {
                    let text = &line.text;
                    match line.level {
                        LogLevel::Error => tracing::error!(target: STRATEGY_LOG, agent, "{text}"),
                        LogLevel::Warn => tracing::warn!(target: STRATEGY_LOG, agent, "{text}"),
                        LogLevel::Info => tracing::info!(target: STRATEGY_LOG, agent, "{text}"),
                        LogLevel::Debug => tracing::debug!(target: STRATEGY_LOG, agent, "{text}"),
                        LogLevel::Trace => tracing::trace!(target: STRATEGY_LOG, agent, "{text}"),
                    }
                    report.say(line.level, line.text);
                }
                None
            }
            Effect::Stopped => None,
        }
    }
}

fn journal_failed(reason: &str) -> Event {
    Event::JournalFailed(Failure::new(Class::Resource, "journal", Phase::NotSent, reason))
}
