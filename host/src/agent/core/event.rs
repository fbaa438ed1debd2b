//! What goes into the core and what comes out of it.

use super::stretch::Stretch;
use super::swap::{Candidate, SwapNews};
use crate::market::{DataFault, InstrumentId, Lots, Tick};
use crate::orders::{Digest, Entry, IntentKey, Sendable};
use crate::plugin::{LogLine, Strategy};
use crate::resilience::{Class, Failure, Mode};
use crate::venue::{Baseline, OrderUpdate, Question, Reply, Request};
use serde::{Deserialize, Serialize};
use std::fmt;

/// Something that happened. The shell says when; the core decides what follows.
#[derive(Debug)]
pub enum Event {
    /// A market update, or why a sample was none.
    Sample(Result<Tick, DataFault>),
    /// The feed dropped a sample that was none; it is counted.
    Dropped,
    /// Every record up to this number is durable.
    Journaled(u64),
    /// The journal failed. Nothing that was not durable can be trusted to become so.
    JournalFailed(Failure),
    /// An attempt ended.
    Replied {
        /// Which intent.
        key: IntentKey,
        /// Which attempt.
        attempt: u32,
        /// What is known.
        reply: Reply,
    },
    /// A question was answered, or could not be asked; that is an ambiguous reply.
    Queried {
        /// Which intent.
        key: IntentKey,
        /// Which question.
        number: u64,
        /// What is known.
        reply: Reply,
    },
    /// The account was read before an attempt, or could not be.
    Baselined {
        /// Which intent.
        key: IntentKey,
        /// Which question.
        number: u64,
        /// What it shows in the intent's instrument.
        result: Result<Baseline, Failure>,
    },
    /// The venue's own report of order changes, oldest first, complete up to `cursor`.
    Updates {
        /// Number of the last change that the shell has asked for.
        cursor: u64,
        /// The changes.
        updates: Vec<OrderUpdate>,
    },
    /// Updates were read to the end after [`Effect::ReadUpdates`], and handed over before this; or not.
    UpdatesRead {
        /// Which read.
        number: u64,
        /// Whether the venue answered.
        outcome: Result<(), Failure>,
    },
    /// What the account holds, after [`Effect::ReadPositions`].
    Positions {
        /// Which read.
        number: u64,
        /// Every instrument of this agent that can be compared, by the agent's own id. One that agents share
        /// is left out: the account does not say whose a position is.
        outcome: Result<Vec<(InstrumentId, Lots)>, Failure>,
    },
    /// The venue answers no reads.
    VenueLost,
    /// The venue answers again after [`Event::VenueLost`], and has told its updates to the end.
    VenueBack,
    /// The account has orders that are none of the host's.
    Foreign,
    /// The checkpoint of this generation was written, or not.
    Checkpointed(Result<(), Failure>),
    /// The dead-letter index works or has failed.
    IndexHealth {
        /// Whether it works.
        healthy: bool,
    },
    /// The breaker or the limiter may admit again.
    GateChanged,
    /// A moment that the core asked for with [`super::Core::next_wake`] has come.
    Wake,
    /// An operator's order.
    Operator(Operator),
    /// A fresh instance after [`Effect::Instance`], or why there is none.
    Instance {
        /// Which question.
        number: u64,
        /// The instance, not initialised.
        outcome: Result<Instance, Failure>,
    },
    /// A component that is to take the place of the one that runs.
    Swap(Box<Candidate>),
    /// The feed has ended, or the host is stopping: finish in order.
    Stop,
}

/// A fresh instance of a component.
pub struct Instance(pub Box<dyn Strategy>);

impl fmt::Debug for Instance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Instance").field(&self.0.metadata().name).finish()
    }
}

/// What an operator can tell an agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operator {
    /// Send a dead letter again. `replay` is the number of this replay, from the compare-and-swap on the letter.
    Replay {
        /// Which intent.
        key: IntentKey,
        /// How often it will have been sent again.
        replay: u32,
    },
    /// Make a new intent with the terms of a dead letter, which is closed by that.
    Reissue {
        /// Which intent.
        key: IntentKey,
        /// Number of the order, from the compare-and-swap on the letter.
        replay: u32,
        /// Why, in words.
        note: String,
        /// Whether the operator states that the venue has never executed it.
        not_executed: bool,
    },
    /// Close a dead letter.
    Resolve {
        /// Which intent.
        key: IntentKey,
        /// Why, in words.
        note: String,
    },
    /// No better mode than this until another floor is set.
    Floor(Mode),
    /// End a latched shutdown: the equity of now is the new peak, and the agent goes up by its dwells.
    Release,
    /// Take the venue's positions for true: differences are booked as trades at the last price.
    AdoptPositions,
    /// Take orders that the venue does not know any more for gone.
    DropVanished,
    /// Words for the strategy.
    Say(String),
    /// Start the strategy again that is quarantined or waits, and forget its strikes.
    ReleaseStrategy {
        /// Why, in words.
        note: String,
    },
    /// Bring the component back that ran before, in the probation of another. After that the shell brings it as a
    /// [`Candidate`].
    Rollback {
        /// Number of the order, for the answer.
        number: u64,
        /// Why, in words.
        note: String,
    },
    /// Give up a swap that is not made yet.
    AbandonSwap {
        /// The request.
        number: u64,
        /// Why, in words.
        note: String,
    },
}

/// Something that the shell has to do.
#[derive(Debug)]
pub enum Effect {
    /// Append to the journal and answer with [`Event::Journaled`] when it is durable.
    Journal(Entry),
    /// Send once, and answer with [`Event::Replied`].
    Send {
        /// The request; it exists only because its records are durable.
        request: Sendable,
        /// Which attempt.
        attempt: u32,
    },
    /// Ask the venue once what became of a request that may have been executed, and answer with
    /// [`Event::Queried`]. It changes nothing at the venue, so nothing has to be durable first.
    Query {
        /// What is asked.
        question: Question,
        /// Which question.
        number: u64,
    },
    /// Read what the account shows in the instrument of a request that is about to be sent, and answer with
    /// [`Event::Baselined`].
    Baseline {
        /// The request.
        request: Request,
        /// Which question.
        number: u64,
    },
    /// Read the venue's updates to the end, hand them over, then answer with [`Event::UpdatesRead`].
    ReadUpdates {
        /// Which read.
        number: u64,
    },
    /// Read what the account holds and answer with [`Event::Positions`].
    ReadPositions {
        /// Which read.
        number: u64,
    },
    /// Write a checkpoint and answer with [`Event::Checkpointed`].
    Checkpoint(Snapshot),
    /// Change the dead-letter index.
    Letter(Letter),
    /// Calls that were made, for a recording. Nothing waits for it.
    Recorded(Box<Stretch>),
    /// Tell a person.
    Alert(Alert),
    /// The venue reported a fill under a key that this agent does not know. When no other agent of the account
    /// does, a person has to look.
    Unclaimed {
        /// The key.
        key: IntentKey,
        /// The venue's number of the change.
        sequence: u64,
    },
    /// What the strategy logged.
    Said(Vec<LogLine>),
    /// Instantiate this component afresh and answer with [`Event::Instance`].
    Instance {
        /// Which question.
        number: u64,
        /// The component that the agent runs.
        plugin: Digest,
    },
    /// News of a swap.
    Swap(SwapNews),
    /// The agent has finished; no more events are wanted.
    Stopped,
}

/// A checkpoint to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// Number of the last call.
    pub call: u64,
    /// Number of the agent's last record that the state contains.
    pub number: u64,
    /// The component that runs.
    pub plugin: Digest,
    /// The state, canonical CBOR.
    pub payload: Vec<u8>,
}

/// A change of the dead-letter index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Letter {
    /// What the journal knows of an intent that was given up on once: it still is, it is sent again, or it
    /// was closed.
    Intent {
        /// Which intent.
        key: IntentKey,
        /// Its state, with every error.
        intent: Box<crate::orders::Intent>,
    },
    /// An operator's order about an intent that the agent does not know was refused.
    Refused {
        /// Which intent.
        key: IntentKey,
        /// Number of the order.
        replay: u32,
        /// Why.
        failure: Failure,
    },
    /// A call failed; its input is kept so that it can be run again offline.
    Call {
        /// Number of the call.
        call: u64,
        /// What failed.
        failure: Failure,
        /// What is needed to make it again: a [`super::Stretch`], CBOR.
        input: Vec<u8>,
    },
    /// It is known what became of an intent that had been given up on, or an operator closed it.
    Resolved {
        /// Which intent.
        key: IntentKey,
        /// How it is known.
        note: String,
    },
}

/// What a person should know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alert {
    /// What kind of failure.
    pub class: Class,
    /// A stable code.
    pub code: String,
    /// In words: what happened and what to do.
    pub text: String,
}

/// Counts since the agent started. For reports and metrics; no decision depends on them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names say what is counted")]
#[serde(default)]
pub struct Stats {
    pub ticks: u64,
    pub samples_dropped: u64,
    pub calls: u64,
    pub refed: u64,
    pub intents: u64,
    pub orders: u64,
    pub suppressed: u64,
    pub refused: u64,
    pub attempts: u64,
    pub retries: u64,
    pub queries: u64,
    pub fills: u64,
    pub rejected: u64,
    pub expired: u64,
    pub dead_letters: u64,
    pub mode_changes: u64,
    pub traps: u64,
    pub faults: u64,
    pub checkpoints: u64,
    pub fuel_total: u64,
    pub fuel_max: u64,
    pub strikes: u64,
    pub restarts: u64,
    pub quarantines: u64,
    pub swaps: u64,
    pub swaps_refused: u64,
    pub rollbacks: u64,
    pub shadow_calls: u64,
    pub shadow_differences: u64,
    pub log_lines_dropped: u64,
    pub observations_dropped: u64,
}
