//! What goes into the core and what comes out of it.

use crate::market::{DataFault, Tick};
use crate::orders::{Entry, IntentKey, Sendable};
use crate::plugin::LogLine;
use crate::resilience::{Class, Failure, Mode};
use crate::venue::{OrderUpdate, Reply, Request};
use serde::{Deserialize, Serialize};

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
    /// The venue's own report of order changes, oldest first, complete up to `cursor`.
    Updates {
        /// Number of the last change that the shell has asked for.
        cursor: u64,
        /// The changes.
        updates: Vec<OrderUpdate>,
    },
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
    /// The feed has ended, or the host is stopping: finish in order.
    Stop,
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
    /// Words for the strategy.
    Say(String),
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
        /// The request as it was sent.
        request: Request,
        /// Which question.
        number: u64,
    },
    /// Write a checkpoint and answer with [`Event::Checkpointed`].
    Checkpoint(Snapshot),
    /// Change the dead-letter index.
    Letter(Letter),
    /// Tell a person.
    Alert(Alert),
    /// What the strategy logged.
    Said(Vec<LogLine>),
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
    /// The state, canonical CBOR.
    pub payload: Vec<u8>,
}

/// A change of the dead-letter index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Letter {
    /// An intent was given up on.
    Intent {
        /// Which intent.
        key: IntentKey,
        /// Its state, with every error.
        intent: Box<crate::orders::Intent>,
    },
    /// A call failed; its input is kept so that it can be run again offline.
    Call {
        /// Number of the call.
        call: u64,
        /// What failed.
        failure: Failure,
        /// The input, canonical CBOR.
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
pub struct Stats {
    pub ticks: u64,
    pub samples_dropped: u64,
    pub calls: u64,
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
}
