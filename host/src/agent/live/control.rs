//! What an operator can see and do while a host runs. The admin API is this over HTTP.

use super::clock::SystemClock;
use super::durable::Durable;
use super::host::StopHandle;
use super::letter_orders::{LetterOrder, LetterOrderError, find_letter, word_about};
use super::link::Link;
use super::pace::Pace;
use super::report::AgentReport;
use super::runner::AgentHandle;
use super::swaps::{Rollback, SwapError, SwapOrder, SwapView, Swaps};
use super::view::AgentView;
use crate::agent::core::{Event, Operator};
use crate::market::Instruments;
use crate::orders::journal::FileJournal;
use crate::orders::{AgentName, Mode, SwapReason};
use crate::resilience::{
    Class, Classified, DeadLetter, DeadLetterStore, GateStats, LetterAlert, LetterAlertConfig, LetterCounts,
    StoreError,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use thiserror::Error;
use tokio::sync::oneshot;

/// A running host, for whoever operates it. Cheap to clone.
#[derive(Clone)]
pub struct HostControl(Arc<Shared>);

/// What the control works with.
pub(super) struct Shared {
    pub agents: Arc<[Controlled]>,
    pub links: Vec<Arc<Link>>,
    pub journal: Arc<FileJournal>,
    pub letters: Arc<DeadLetterStore>,
    pub letter_alerts: LetterAlertConfig,
    pub stop: StopHandle,
    pub pace: Arc<Pace>,
    pub clock: SystemClock,
    pub swaps: Arc<Swaps>,
    pub recordings_lost: Arc<AtomicU64>,
}

/// One agent.
pub(super) struct Controlled {
    /// Its position in the configuration.
    pub index: usize,
    pub name: AgentName,
    pub venue: String,
    pub instruments: Arc<Instruments>,
    pub handle: AgentHandle,
    pub report: Arc<Mutex<AgentReport>>,
    pub durable: Arc<Mutex<Durable>>,
}

/// Why an operator's order is not taken.
#[derive(Debug, Error)]
#[expect(missing_docs, reason = "each case carries an error that describes itself")]
pub enum ControlError {
    #[error("there is no agent {agent}; this host runs {}", known.join(", "))]
    NoSuchAgent { agent: String, known: Vec<String> },
    #[error("agent {agent} has finished; start the host again")]
    Stopped { agent: AgentName },
    #[error(transparent)]
    Letter(#[from] LetterOrderError),
    #[error(transparent)]
    Swap(#[from] SwapError),
    #[error(
        "agent {agent} was shut down and has finished; start the host again with ringfence run --release {agent}"
    )]
    ShutDown { agent: AgentName },
    #[error("agent {agent} is not shut down, and its strategy is {strategy}: there is nothing to release")]
    NothingToRelease { agent: AgentName, strategy: String },
}

/// What a release ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Released {
    /// A latched shutdown of the agent.
    pub shutdown: bool,
    /// A quarantine of its strategy, or the pause before a new instance.
    pub strategy: bool,
}

impl Classified for ControlError {
    fn class(&self) -> Class {
        match self {
            Self::NoSuchAgent { .. } => Class::Data,
            Self::Stopped { .. } | Self::ShutDown { .. } | Self::NothingToRelease { .. } => Class::State,
            Self::Letter(error) => error.class(),
            Self::Swap(error) => error.class(),
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::NoSuchAgent { .. } => "no_such_agent",
            Self::Stopped { .. } => "agent_stopped",
            Self::ShutDown { .. } => "agent_shut_down",
            Self::NothingToRelease { .. } => "nothing_to_release",
            Self::Letter(error) => error.code(),
            Self::Swap(error) => error.code(),
        }
    }
}

/// Where the journal stands.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct JournalView {
    /// Files.
    pub segments: u64,
    /// The first record that is still there.
    pub first_record: u64,
    /// The last record of any agent that is durable.
    pub last_record: u64,
    /// Why nothing can be written any more, if so.
    pub failure: Option<String>,
}

impl HostControl {
    pub(super) fn new(shared: Shared) -> Self {
        Self(Arc::new(shared))
    }

    /// The agents' names, in the order of the configuration.
    pub fn names(&self) -> impl Iterator<Item = &AgentName> {
        self.0.agents.iter().map(|agent| &agent.name)
    }

    /// Looks at one agent.
    ///
    /// # Errors
    /// When there is no such agent. One that does not answer in time is shown as its last report has it.
    pub async fn view(&self, agent: &str, at_most: Duration) -> Result<AgentView, ControlError> {
        let agent = self.find(agent)?;
        Ok(self.see(agent, agent.ask(), at_most).await)
    }

    /// Looks at every agent, at the same time.
    pub async fn views(&self, at_most: Duration) -> Vec<AgentView> {
        let asked: Vec<_> = self.0.agents.iter().map(|agent| (agent, agent.ask())).collect();
        let mut views = Vec::with_capacity(asked.len());
        // The agents work on their answers while the first is waited for; one that hangs costs its own time only
        // once, since the others have answered meanwhile.
        for (agent, answer) in asked {
            views.push(self.see(agent, answer, at_most).await);
        }
        views
    }

    async fn see(
        &self,
        agent: &Controlled,
        answer: Option<oneshot::Receiver<()>>,
        at_most: Duration,
    ) -> AgentView {
        let answered = match answer {
            Some(answer) => matches!(tokio::time::timeout(at_most, answer).await, Ok(Ok(()))),
            None => false,
        };
        // Before the report: the agent's thread takes both, in the other order.
        let (swap, previous) = self.0.swaps.last(agent.index);
        let report = agent.report();
        let component = self.0.swaps.component(report.status.plugin);
        AgentView::new(&report, &agent.instruments, &agent.venue, (component, previous), swap, answered)
    }

    /// Begins to swap an agent's component for another. What becomes of it is shown by [`HostControl::view`].
    ///
    /// # Errors
    /// When there is no such agent, or the order cannot be carried out whatever the component is.
    pub fn swap(&self, agent: &str, order: SwapOrder) -> Result<SwapView, ControlError> {
        let agent = self.find(agent)?;
        if agent.report().stopped {
            return Err(ControlError::Stopped { agent: agent.name.clone() });
        }
        Ok(self.0.swaps.begin(agent.index, order, SwapReason::Operator)?)
    }

    /// Takes a swap back, or brings back what ran before the last one; `fresh` lets that begin without a state.
    ///
    /// # Errors
    /// When there is no such agent, or nothing that ran before.
    pub fn rollback(&self, agent: &str, note: String, fresh: bool) -> Result<Rollback, ControlError> {
        let agent = self.find(agent)?;
        if agent.report().stopped {
            return Err(ControlError::Stopped { agent: agent.name.clone() });
        }
        Ok(self.0.swaps.rollback(agent.index, note, fresh)?)
    }

    /// Ends a latched shutdown, a quarantine, or the pause before a new instance; says which.
    ///
    /// # Errors
    /// When there is no such agent, or nothing of it holds.
    pub async fn release(
        &self,
        agent: &str,
        note: String,
        at_most: Duration,
    ) -> Result<Released, ControlError> {
        let view = self.view(agent, at_most).await?;
        if view.stopped && view.mode == Mode::Shutdown {
            return Err(ControlError::ShutDown { agent: view.name });
        }
        let released =
            Released { shutdown: view.mode == Mode::Shutdown, strategy: view.strategy.can_be_released() };
        if !released.shutdown && !released.strategy {
            return Err(ControlError::NothingToRelease { agent: view.name, strategy: view.strategy.state });
        }
        if released.shutdown {
            self.order(agent, Operator::Release)?;
        }
        if released.strategy {
            self.order(agent, Operator::ReleaseStrategy { note })?;
        }
        Ok(released)
    }

    /// Gives an agent an order.
    ///
    /// # Errors
    /// When there is no such agent, or it has finished.
    pub fn order(&self, agent: &str, order: Operator) -> Result<(), ControlError> {
        let agent = self.find(agent)?;
        if agent.tell(Event::Operator(order)) {
            Ok(())
        } else {
            Err(ControlError::Stopped { agent: agent.name.clone() })
        }
    }

    /// Breakers and limiters, by venue.
    pub fn gates(&self) -> BTreeMap<String, GateStats> {
        let now = self.0.clock.now().mono;
        self.0.links.iter().map(|link| (link.name.clone(), link.gate.stats(now))).collect()
    }

    /// Where the journal stands.
    pub fn journal(&self) -> JournalView {
        let last =
            |agent: &Controlled| agent.durable.lock().unwrap_or_else(PoisonError::into_inner).last_seq();
        let (segments, first_record) = self.0.journal.extent();
        JournalView {
            segments,
            first_record,
            last_record: self.0.agents.iter().map(last).max().unwrap_or(0),
            failure: self.0.journal.failure().map(ToString::to_string),
        }
    }

    /// Whether every agent has held its books against its venue, or has tried to.
    pub fn is_ready(&self) -> bool {
        self.0.pace.is_ready()
    }

    /// Asks the feed and every agent to finish in order.
    pub fn stop(&self) {
        self.0.stop.stop();
    }

    /// How many dead letters there are.
    pub fn letter_counts(&self) -> LetterCounts {
        self.0.letters.counts()
    }

    /// Stretches of calls that no recording holds, because the disk did not keep up.
    pub fn recordings_lost(&self) -> u64 {
        self.0.recordings_lost.load(Ordering::Relaxed)
    }

    /// Every dead letter, and what there is to be alarmed about. Reads the disk.
    ///
    /// # Errors
    /// When the store fails.
    pub fn letters(&self) -> Result<(Vec<LetterAlert>, Vec<DeadLetter>), StoreError> {
        let alerts = self.0.letters.alerts(self.0.clock.now().wall, &self.0.letter_alerts);
        Ok((alerts, self.0.letters.list(None, usize::MAX)?))
    }

    /// One dead letter. Reads the disk.
    ///
    /// # Errors
    /// When there is none of this name, or the store fails.
    pub fn letter(&self, id: &str) -> Result<DeadLetter, ControlError> {
        Ok(find_letter(&self.0.letters, id)?)
    }

    /// Gives an order about a dead letter, and says whether its agent has been told: one that does not run here finds
    /// the order at its next start. Waits for the disk.
    ///
    /// # Errors
    /// When the letter does not allow it, or the store fails.
    pub fn order_letter(&self, id: &str, order: &LetterOrder) -> Result<(DeadLetter, bool), ControlError> {
        let letter = order.give(&self.0.letters, id, self.0.clock.now().wall)?;
        let word = word_about(&letter);
        let told = match (self.find(&letter.agent), word) {
            (Ok(agent), Some(word)) => agent.tell(Event::Operator(word)),
            _ => false,
        };
        Ok((letter, told))
    }

    fn find(&self, agent: &str) -> Result<&Controlled, ControlError> {
        let found = self.0.agents.iter().find(|known| known.name.as_str() == agent);
        found.ok_or_else(|| ControlError::NoSuchAgent {
            agent: agent.escape_debug().to_string(),
            known: self.names().map(ToString::to_string).collect(),
        })
    }
}

impl Controlled {
    fn report(&self) -> MutexGuard<'_, AgentReport> {
        self.report.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands an event over. Whether the agent still takes any.
    fn tell(&self, event: Event) -> bool {
        // The end of the thread closes the queue a moment after the core has stopped.
        !self.report().stopped && self.handle.answer(event)
    }

    /// Asks the agent to bring its report up to date; nothing when it takes no questions.
    fn ask(&self) -> Option<oneshot::Receiver<()>> {
        let (look, answer) = oneshot::channel();
        self.handle.looks.try_send(look).ok()?;
        Some(answer)
    }
}
