//! The thread that writes checkpoints and dead letters, so that no agent waits for a slow disk.

use super::clock::SystemClock;
use super::compaction::Compactor;
use super::letters::LetterKeeper;
use crate::agent::core::{Event, Letter, Snapshot};
use crate::market::UnixNanos;
use crate::orders::AgentName;
use crate::resilience::{
    CheckpointError, CheckpointPoint, CheckpointStore, Class, Classified, DeadLetterStore, Failure,
    LetterAlert, LetterAlertConfig, Phase,
};
use crossbeam_channel::{Receiver, Sender, TrySendError, select_biased, tick};
use std::sync::Arc;
use std::time::Duration;

/// Work that may wait. Every agent has at most one checkpoint under way, so this is plenty; what does not
/// fit is answered with a failure and tried again by the core.
const QUEUE_MAX: usize = 4_096;

enum Work {
    Checkpoint { agent: usize, snapshot: Snapshot, journal_seq: u64, answers: Sender<Event> },
    Letter { agent: AgentName, incarnation: u32, letter: Letter, at: UnixNanos, answers: Sender<Event> },
    End,
}

/// Where an agent's checkpoints go.
pub(in crate::agent) struct AgentStore {
    pub incarnation: u32,
    pub checkpoints: CheckpointStore,
    /// The first record of the journal that the agent needs while it has no checkpoint.
    pub first_seq: u64,
}

impl AgentStore {
    /// Writes a checkpoint. `journal_seq` is the journal's number of the last record in it.
    pub fn write(&mut self, snapshot: &Snapshot, journal_seq: u64) -> Result<(), Failure> {
        let point = CheckpointPoint {
            tick: snapshot.call,
            journal_seq,
            incarnation: self.incarnation,
            plugin: *snapshot.plugin.as_bytes(),
        };
        let written = self.checkpoints.write(point, &snapshot.payload);
        let failure = |error: CheckpointError| {
            Failure::new(error.class(), error.code(), Phase::NotSent, error.to_string())
        };
        written.map(|_| ()).map_err(failure)
    }
}

/// Hands work to the store's thread.
#[derive(Clone)]
pub(super) struct StoreHandle {
    queue: Sender<Work>,
}

/// The running thread.
pub(super) struct Store {
    handle: StoreHandle,
    thread: Option<std::thread::JoinHandle<Vec<(UnixNanos, LetterAlert)>>>,
    letters: Arc<DeadLetterStore>,
}

impl StoreHandle {
    /// `journal_seq` is the journal's number of the last record in the snapshot.
    pub fn checkpoint(&self, agent: usize, snapshot: Snapshot, journal_seq: u64, answers: Sender<Event>) {
        self.push(Work::Checkpoint { agent, snapshot, journal_seq, answers });
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
        compactor: Compactor,
        clock: SystemClock,
    ) -> std::io::Result<Self> {
        let (queue, work) = crossbeam_channel::bounded(QUEUE_MAX);
        let looks = tick(Duration::from_millis(u64::from(alerts.dead_letter_look_interval_ms.get())));
        let keeper = LetterKeeper::new(Arc::clone(&letters), alerts);
        let worker = Worker { agents, keeper, compactor, clock };
        let thread =
            std::thread::Builder::new().name("store".into()).spawn(move || worker.run(&work, &looks))?;
        Ok(Self { handle: StoreHandle { queue }, thread: Some(thread), letters })
    }

    pub fn handle(&self) -> StoreHandle {
        self.handle.clone()
    }

    pub fn letters(&self) -> &Arc<DeadLetterStore> {
        &self.letters
    }

    /// Waits until everything is written. Returns the alerts that were raised about dead letters.
    pub fn finish(mut self) -> Vec<(UnixNanos, LetterAlert)> {
        self.end()
    }

    fn end(&mut self) -> Vec<(UnixNanos, LetterAlert)> {
        let _ = self.handle.queue.send(Work::End);
        self.thread.take().and_then(|thread| thread.join().ok()).unwrap_or_default()
    }
}

impl Drop for Store {
    /// The thread has the journal too: it ends before somebody else may open that.
    fn drop(&mut self) {
        self.end();
    }
}

struct Worker {
    agents: Vec<AgentStore>,
    keeper: LetterKeeper,
    compactor: Compactor,
    clock: SystemClock,
}

impl Worker {
    fn run(
        mut self,
        work: &Receiver<Work>,
        looks: &Receiver<std::time::Instant>,
    ) -> Vec<(UnixNanos, LetterAlert)> {
        // What is there already was perhaps never seen by anyone.
        self.keeper.look(self.clock.now().wall);
        loop {
            let work = select_biased! {
                recv(looks) -> _ => {
                    self.keeper.look(self.clock.now().wall);
                    continue;
                }
                recv(work) -> work => work.unwrap_or(Work::End),
            };
            match work {
                Work::Checkpoint { agent, snapshot, journal_seq, answers } => {
                    let outcome = self.checkpoint(agent, &snapshot, journal_seq);
                    let written = outcome.is_ok();
                    let _ = answers.send(Event::Checkpointed(outcome));
                    if written {
                        self.compact();
                    }
                }
                Work::Letter { agent, incarnation, letter, at, answers } => {
                    let healthy = self.keeper.take((&agent, incarnation), letter, at);
                    let _ = answers.send(Event::IndexHealth { healthy });
                }
                Work::End => break,
            }
        }
        self.keeper.into_alerts()
    }

    fn checkpoint(&mut self, agent: usize, snapshot: &Snapshot, journal_seq: u64) -> Result<(), Failure> {
        let missing =
            || Failure::new(Class::Logic, "no_such_agent", Phase::NotSent, format!("agent number {agent}"));
        self.agents.get_mut(agent).ok_or_else(missing)?.write(snapshot, journal_seq)
    }

    /// Nothing waits for this, and nothing is lost when it fails.
    fn compact(&mut self) {
        match self.compactor.run(&mut self.agents) {
            Ok(0) => {}
            Ok(segments) => tracing::info!(segments, "removed journal segments that no checkpoint needs"),
            Err(failure) => tracing::error!(class = %failure.class, code = %failure.code,
                "the journal is not compacted any more until the next start: {failure}"),
        }
    }
}
