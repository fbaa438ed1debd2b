//! The thread that writes checkpoints and dead letters, so that no agent waits for a slow disk.

use crate::agent::core::{Event, Letter, Snapshot};
use crate::market::UnixNanos;
use crate::orders::{AgentName, Digest, FailedAttempt, Intent};
use crate::resilience::{
    CheckpointPoint, CheckpointStore, Class, Classified, DeadLetter, DeadLetterStore, Failure,
    LetterAlertConfig, LetterError, LetterId, LetterKind, LetterState, LetterStatus, NewLetter, Phase,
    StoreError, letter_alerts,
};
use crossbeam_channel::{Receiver, Sender, TrySendError};
use std::sync::Arc;

/// Work that may wait. Every agent has at most one checkpoint under way, so this is plenty; what does not
/// fit is answered with a failure and tried again by the core.
const QUEUE_MAX: usize = 4_096;

enum Work {
    Checkpoint { agent: usize, snapshot: Snapshot, answers: Sender<Event> },
    Letter { agent: AgentName, incarnation: u32, letter: Letter, at: UnixNanos, answers: Sender<Event> },
    End,
}

/// Where an agent's checkpoints go.
pub(super) struct AgentStore {
    pub incarnation: u32,
    pub plugin: Digest,
    pub checkpoints: CheckpointStore,
}

/// Hands work to the store's thread.
#[derive(Clone)]
pub(super) struct StoreHandle {
    queue: Sender<Work>,
}

/// The running thread.
pub(super) struct Store {
    handle: StoreHandle,
    thread: Option<std::thread::JoinHandle<()>>,
    letters: Arc<DeadLetterStore>,
}

impl StoreHandle {
    pub fn checkpoint(&self, agent: usize, snapshot: Snapshot, answers: Sender<Event>) {
        self.push(Work::Checkpoint { agent, snapshot, answers });
    }

    pub fn letter(
        &self,
        (agent, incarnation): (&AgentName, u32),
        letter: Letter,
        at: UnixNanos,
        answers: Sender<Event>,
    ) {
        self.push(Work::Letter { agent: agent.clone(), incarnation, letter, at, answers });
    }

    fn push(&self, work: Work) {
        let Err(TrySendError::Full(work) | TrySendError::Disconnected(work)) = self.queue.try_send(work)
        else {
            return;
        };
        match work {
            Work::Checkpoint { answers, .. } => {
                let failure = Failure::new(
                    Class::Resource,
                    "store_queue_full",
                    Phase::NotSent,
                    "the disk does not keep up",
                );
                let _ = answers.send(Event::Checkpointed(Err(failure)));
            }
            // The journal has it; the index is rebuilt from there at the next start.
            Work::Letter { answers, .. } => {
                let _ = answers.send(Event::IndexHealth { healthy: false });
            }
            Work::End => {}
        }
    }
}

impl Store {
    /// Starts the thread.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(
        agents: Vec<AgentStore>,
        letters: Arc<DeadLetterStore>,
        alerts: LetterAlertConfig,
    ) -> std::io::Result<Self> {
        let (queue, work) = crossbeam_channel::bounded(QUEUE_MAX);
        let worker = Worker { agents, letters: Arc::clone(&letters), alerts, alerted: 0 };
        let thread = std::thread::Builder::new().name("store".into()).spawn(move || worker.run(&work))?;
        Ok(Self { handle: StoreHandle { queue }, thread: Some(thread), letters })
    }

    pub fn handle(&self) -> StoreHandle {
        self.handle.clone()
    }

    pub fn letters(&self) -> &Arc<DeadLetterStore> {
        &self.letters
    }

    /// Waits until everything is written.
    pub fn finish(mut self) {
        let _ = self.handle.queue.send(Work::End);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Worker {
    agents: Vec<AgentStore>,
    letters: Arc<DeadLetterStore>,
    alerts: LetterAlertConfig,
    /// Open letters at the last alert, so that one alert is raised per growth and not per letter.
    alerted: u64,
}

impl Worker {
    fn run(mut self, work: &Receiver<Work>) {
        for work in work {
            match work {
                Work::Checkpoint { agent, snapshot, answers } => {
                    let outcome = self.checkpoint(agent, &snapshot);
                    let _ = answers.send(Event::Checkpointed(outcome));
                }
                Work::Letter { agent, incarnation, letter, at, answers } => {
                    let healthy = self.letter((&agent, incarnation), letter, at);
                    let _ = answers.send(Event::IndexHealth { healthy });
                }
                Work::End => break,
            }
        }
    }

    fn checkpoint(&mut self, agent: usize, snapshot: &Snapshot) -> Result<(), Failure> {
        let missing =
            || Failure::new(Class::Logic, "no_such_agent", Phase::NotSent, format!("agent number {agent}"));
        let store = self.agents.get_mut(agent).ok_or_else(missing)?;
        let point = CheckpointPoint {
            tick: snapshot.call,
            journal_seq: snapshot.number,
            incarnation: store.incarnation,
            plugin: *store.plugin.as_bytes(),
        };
        match store.checkpoints.write(point, &snapshot.payload) {
            Ok(_) => Ok(()),
            Err(error) => Err(Failure::new(error.class(), error.code(), Phase::NotSent, error.to_string())),
        }
    }

    /// Whether the index took it.
    fn letter(&mut self, agent: (&AgentName, u32), letter: Letter, at: UnixNanos) -> bool {
        if let Err(error) = self.try_letter(agent, letter, at) {
            tracing::error!(class = %error.class(), code = error.code(), "{error}");
            return self.letters.failure().is_none();
        }
        let counts = self.letters.counts();
        if counts.dead > self.alerted {
            for alert in letter_alerts(&counts, at, &self.alerts) {
                tracing::error!(class = "state", code = "dead_letters", "{alert}");
            }
        }
        self.alerted = counts.dead;
        true
    }

    fn try_letter(
        &self,
        (agent, incarnation): (&AgentName, u32),
        letter: Letter,
        at: UnixNanos,
    ) -> Result<(), StoreError> {
        match letter {
            Letter::Intent { key, intent } => {
                let Ok(id) = key.to_string().parse::<LetterId>() else { return Ok(()) };
                let letter = intent_letter(agent, id.clone(), &intent);
                if self.letters.put_if_absent(&letter)? {
                    return Ok(());
                }
                // It died again after a replay. A letter that is merely offered again at a start is not touched.
                let known = self.letters.get(&id)?;
                let died_again = known.is_some_and(|known| {
                    known.status == LetterStatus::Requeued && known.replay == intent.replay
                });
                if died_again && let Some(error) = letter.errors.last().cloned() {
                    self.letters.append_error(&id, error, intent.attempts, letter.ambiguous)?;
                }
            }
            Letter::Call { call, failure, input } => {
                // Two agents whose names begin alike, or two lives of one agent, have letters of their own.
                let owner = Digest::of(format!("{agent}/{incarnation}").as_bytes()).to_string();
                let id = format!("call-{:.16}-{call}", owner);
                let Ok(id) = id.parse::<LetterId>() else { return Ok(()) };
                let letter = DeadLetter::new(NewLetter {
                    id,
                    agent: agent.to_string(),
                    kind: LetterKind::Call,
                    payload: input,
                    summary: format!("call {call} into the strategy"),
                    error: LetterError { at, failure },
                    attempts: 1,
                    ambiguous: false,
                });
                self.letters.put_if_absent(&letter)?;
            }
            Letter::Resolved { key, note } => {
                let Ok(id) = key.to_string().parse::<LetterId>() else { return Ok(()) };
                let open = self
                    .letters
                    .get(&id)?
                    .is_some_and(|letter| letter.status.state() != LetterState::Resolved);
                if open {
                    self.letters.resolve(&id, &note, at)?;
                }
            }
        }
        Ok(())
    }
}

fn intent_letter(agent: &AgentName, id: LetterId, intent: &Intent) -> DeadLetter {
    let unexplained = FailedAttempt {
        at: intent.last_at,
        failure: Failure::new(
            Class::Network,
            "exhausted",
            Phase::MaybeSent,
            "given up without a failed attempt",
        ),
    };
    let (first, rest) = match intent.errors.split_first() {
        Some((first, rest)) => (first, rest),
        None => (&unexplained, [].as_slice()),
    };
    let as_error = |attempt: &FailedAttempt| LetterError { at: attempt.at, failure: attempt.failure.clone() };
    let mut letter = DeadLetter::new(NewLetter {
        id,
        agent: agent.to_string(),
        kind: LetterKind::Intent,
        payload: intent.request.body.0.clone(),
        summary: intent.action.to_string(),
        error: as_error(first),
        attempts: intent.attempts_total,
        ambiguous: intent.maybe_executed(),
    });
    for error in rest {
        // A new letter is not resolved, so it takes every error.
        let _ = letter.append_error(as_error(error), 0, intent.maybe_executed());
    }
    letter.replay = intent.replay;
    letter
}
