//! One agent's own thread: it takes events, steps the core, and carries out the effects.

use super::backlog::Backlog;
use super::clock::SystemClock;
use super::durable::Durable;
use super::link::{self, Link};
use super::pace::Pace;
use super::recording::RecorderHandle;
use super::report::AgentReport;
use super::store::StoreHandle;
use super::swaps::Swaps;
use crate::agent::core::{Core, Effect, Event};
use crate::orders::journal::{Done, Journal, NewRecord};
use crate::orders::{Entry, Record};
use crate::plugin::LogLevel;
use crate::resilience::{Class, Failure, Phase, SharedGate};
use crate::venue::Venue;
use crossbeam_channel::{Receiver, Sender, select_biased};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

/// Target of what strategies log, so that a filter can tell them from the host.
const STRATEGY_LOG: &str = "strategy";

/// Samples that may wait for one agent; a feed that is faster waits too.
const SAMPLES_QUEUED_MAX: usize = 1_024;

/// Looks that may wait for one agent; whoever finds no room is shown the last report.
const LOOKS_QUEUED_MAX: usize = 64;

/// The receiving ends of an agent's queues.
pub(super) struct Queues {
    pub samples: Receiver<Event>,
    pub answers: Receiver<Event>,
    pub looks: Receiver<Look>,
}

/// Where to send an agent its events.
///
/// Samples go through a bounded queue. Answers go through an unbounded one that is bounded by the requests that
/// the agent itself has made, so that neither the journal nor a venue ever waits for an agent, and by
/// [`Backlog`] for what comes without being asked for.
#[derive(Clone, Debug)]
pub struct AgentHandle {
    pub(super) samples: Sender<Event>,
    pub(super) answers: Sender<Event>,
    pub(super) backlog: Arc<Backlog>,
    pub(super) looks: Sender<Look>,
}

/// Wants the agent's report brought up to date, and to be told when it is.
pub(super) type Look = tokio::sync::oneshot::Sender<()>;

impl AgentHandle {
    /// Hands over a sample; waits while the queue is full. `false` when the agent has stopped.
    pub fn sample(&self, event: Event) -> bool {
        self.samples.send(event).is_ok()
    }

    /// Hands over an answer or an order. `false` when the agent has stopped.
    pub fn answer(&self, event: Event) -> bool {
        self.answers.send(event).is_ok()
    }

    /// Hands over what the venue's side tells without being asked by this agent. `false` when it has stopped.
    pub fn tell(&self, event: Event) -> bool {
        !self.backlog.add(&event) || self.answers.send(event).is_ok()
    }
}

/// The queues of this many agents: where to send, and where the agents receive.
pub(super) fn open_queues(agents: usize) -> (Vec<AgentHandle>, Vec<Queues>) {
    let one = |_| {
        let (samples, samples_in) = crossbeam_channel::bounded(SAMPLES_QUEUED_MAX);
        let (answers, answers_in) = crossbeam_channel::unbounded();
        let (looks, looks_in) = crossbeam_channel::bounded(LOOKS_QUEUED_MAX);
        let queues = Queues { samples: samples_in, answers: answers_in, looks: looks_in };
        (AgentHandle { samples, answers, looks, backlog: Arc::default() }, queues)
    };
    (0..agents).map(one).unzip()
}

/// Everything that an agent's thread works with.
pub(super) struct Runner {
    pub index: usize,
    pub core: Core,
    pub clock: SystemClock,
    pub samples: Receiver<Event>,
    pub answers: Receiver<Event>,
    pub looks: Receiver<Look>,
    pub handle: AgentHandle,
    pub journal: Arc<dyn Journal>,
    pub venue: Arc<dyn Venue>,
    /// Admits questions; the core's own half admits attempts.
    pub gate: SharedGate,
    pub link: Arc<Link>,
    pub runtime: tokio::runtime::Handle,
    pub store: StoreHandle,
    pub recorder: RecorderHandle,
    pub pace: Arc<Pace>,
    pub report: Arc<Mutex<AgentReport>>,
    /// Where its durable records are in the journal.
    pub durable: Arc<Mutex<Durable>>,
    /// Brings other components, and fresh instances.
    pub swaps: Arc<Swaps>,
    /// Set when a record could not be queued: a later one must not reach the disk without it.
    pub journal_broken: bool,
    /// Records of this step that others follow.
    pub unwritten: Vec<NewRecord>,
}

/// Tells the feed and the host that the agent takes no more events, however its thread ends.
struct EndOfThread(Arc<Pace>, usize, Arc<Backlog>);

impl Drop for EndOfThread {
    fn drop(&mut self) {
        self.2.close();
        self.0.stop(self.1);
    }
}

impl Runner {
    /// Runs until the core has stopped.
    pub fn run(mut self) {
        let backlog = Arc::clone(&self.handle.backlog);
        let _end = EndOfThread(Arc::clone(&self.pace), self.index, Arc::clone(&backlog));
        let mut effects = Vec::new();
        self.core.start(self.clock.now(), &mut effects);
        self.carry_out(&mut effects);
        let (started, mut ready) = (self.clock.now().mono, false);
        let no_samples = crossbeam_channel::never();
        while !self.core.is_stopped() {
            let wake = self.clock.instant(self.core.next_wake(self.clock.now()));
            // While a switch is being written samples stay where they are, so that none is lost.
            let samples = if self.core.wants_samples() { &self.samples } else { &no_samples };
            // Answers first: what is known about orders should be known before the next tick is judged.
            let (event, from_feed) = select_biased! {
                recv(self.answers) -> event => (event.unwrap_or(Event::Stop), false),
                // Its own handle keeps the queue open.
                recv(self.looks) -> look => {
                    self.show(look);
                    continue;
                }
                recv(samples) -> event => (event.unwrap_or(Event::Stop), true),
                default(wake.saturating_duration_since(self.clock.instant(self.clock.now().mono))) =>
                    (Event::Wake, false),
            };
            backlog.take(&event);
            let sampled = event.is_sample();
            let counted = from_feed || matches!(event, Event::Updates { .. });
            self.core.step(self.clock.now(), event, &mut effects);
            self.carry_out(&mut effects);
            if sampled {
                self.sample_equity();
            }
            self.pace.take(self.index, u64::from(counted), self.core.is_busy());
            if !ready && self.core.is_ready() {
                ready = true;
                self.pace.ready(self.index);
                let took_us = self.clock.now().mono.since(started).as_micros();
                let (agent, stage) = (&self.core.config().name, self.core.reconciliation());
                tracing::info!(%agent, %stage, took_us, "first look at the venue ended");
            }
        }
        self.report.lock().unwrap_or_else(PoisonError::into_inner).finish(&self.core);
    }

    fn show(&self, look: Result<Look, crossbeam_channel::RecvError>) {
        self.report.lock().unwrap_or_else(PoisonError::into_inner).look(&self.core);
        if let Ok(look) = look {
            // Whoever looked may have given up.
            let _ = look.send(());
        }
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
            let more = matches!(queue.front(), Some(Effect::Journal(_)));
            if let Some(event) = self.carry_out_one(effect, more) {
                self.core.step(self.clock.now(), event, effects);
                queue.extend(effects.drain(..));
            }
        }
    }

    /// Queues a record, together with those before it once no more follow: one sync is enough for all of them.
    fn journal(&mut self, entry: Entry, more: bool) -> Option<Event> {
        if let Record::ModeChanged { cause, .. } = entry.record {
            self.report.lock().unwrap_or_else(PoisonError::into_inner).mode_cause = Some(cause);
        }
        let encoded = entry.encode().map(|payload| {
            let done = self.when_durable(entry.number);
            self.unwritten.push(NewRecord { payload, done });
        });
        if encoded.is_ok() && more {
            return None;
        }
        // What was encoded before one that cannot be is whole without it.
        let appended = self.journal.append_all(std::mem::take(&mut self.unwritten));
        let failure = encoded.err().map(|error| error.to_string());
        let failure = failure.or_else(|| appended.err().map(|error| error.to_string()));
        self.journal_broken = failure.is_some();
        failure.map(|failure| journal_failed(&failure))
    }

    fn when_durable(&self, number: u64) -> Done {
        let (answers, durable) = (self.handle.answers.clone(), Arc::clone(&self.durable));
        Box::new(move |outcome: Result<u64, _>| {
            let event = match outcome {
                Ok(seq) => {
                    durable.lock().unwrap_or_else(PoisonError::into_inner).push(number, seq);
                    Event::Journaled(number)
                }
                Err(error) => journal_failed(&format!("{error}")),
            };
            // An agent that has stopped does not listen any more.
            let _ = answers.send(event);
        })
    }

    /// Returns an event when the effect failed on the spot. `more`: the next effect is a record too.
    fn carry_out_one(&mut self, effect: Effect, more: bool) -> Option<Event> {
        match effect {
            Effect::Journal(_) if self.journal_broken => None,
            Effect::Journal(entry) => self.journal(entry, more),
            Effect::Send { request, attempt } => {
                let (venue, answers) = (Arc::clone(&self.venue), self.handle.answers.clone());
                self.runtime.spawn(async move {
                    let key = request.key;
                    let reply = venue.send(&request).await;
                    let _ = answers.send(Event::Replied { key, attempt, reply });
                });
                None
            }
            Effect::Query { question, number } => {
                let (venue, gate) = (Arc::clone(&self.venue), self.gate.clone());
                let (clock, answers) = (self.clock, self.handle.answers.clone());
                self.runtime.spawn(async move {
                    let reply = link::query(venue.as_ref(), &gate, clock, &question).await;
                    let _ = answers.send(Event::Queried { key: question.request.key, number, reply });
                });
                None
            }
            Effect::Baseline { request, number } => {
                let (venue, gate) = (Arc::clone(&self.venue), self.gate.clone());
                let (clock, answers) = (self.clock, self.handle.answers.clone());
                self.runtime.spawn(async move {
                    let result = link::baseline(venue.as_ref(), &gate, clock, &request).await;
                    let _ = answers.send(Event::Baselined { key: request.key, number, result });
                });
                None
            }
            Effect::ReadUpdates { number } => {
                let (link, answers) = (Arc::clone(&self.link), self.handle.answers.clone());
                self.runtime.spawn(async move {
                    let outcome = link.poll_updates().await.map(drop);
                    let _ = answers.send(Event::UpdatesRead { number, outcome });
                });
                None
            }
            Effect::ReadPositions { number } => {
                let (link, answers) = (Arc::clone(&self.link), self.handle.answers.clone());
                let index = self.index;
                self.runtime.spawn(async move {
                    let outcome = link.positions_of(index).await;
                    let _ = answers.send(Event::Positions { number, outcome });
                });
                None
            }
            Effect::Checkpoint(snapshot) => {
                let number = snapshot.number;
                let seq = self.durable.lock().unwrap_or_else(PoisonError::into_inner).seq_of(number);
                let Some(seq) = seq else {
                    let text = format!("it contains record {number}, which is not durable");
                    let failure = Failure::new(Class::Logic, "checkpoint_not_durable", Phase::NotSent, text);
                    return Some(Event::Checkpointed(Err(failure)));
                };
                self.store.checkpoint(self.index, snapshot, seq, self.handle.answers.clone());
                None
            }
            Effect::Letter(letter) => {
                let name = &self.core.config().name;
                let incarnation = self.core.config().incarnation;
                let now = self.clock.now().wall;
                self.store.letter((name, incarnation), letter, now, self.handle.answers.clone());
                None
            }
            Effect::Recorded(stretch) => {
                self.recorder.record(self.index, stretch);
                None
            }
            Effect::Alert(alert) => {
                tracing::warn!(class = %alert.class, code = %alert.code, "{}", alert.text);
                let at = self.core.market_now();
                self.report.lock().unwrap_or_else(PoisonError::into_inner).alert(at, alert);
                None
            }
            Effect::Unclaimed { key, sequence } => {
                let alert = self.link.disclaim(key, sequence)?;
                self.carry_out_one(Effect::Alert(alert), false)
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
            Effect::Instance { number, plugin } => {
                self.swaps.instantiate(self.index, number, plugin);
                None
            }
            Effect::Swap(news) => {
                self.swaps.take(self.index, &news);
                None
            }
            Effect::Stopped => None,
        }
    }
}

fn journal_failed(reason: &str) -> Event {
    Event::JournalFailed(Failure::new(Class::Resource, "journal", Phase::NotSent, reason))
}
