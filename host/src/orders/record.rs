//! What the journal holds: every decision before it is acted on, and every piece of evidence before
//! anyone sees it. An agent's state is the fold of its records.

use super::{AgentName, Digest, Fed, IntentKey, NewOrder, OrderId, RejectReason, Swap, packed};
use crate::market::{InstrumentId, Lots, Money, PriceTicks, UnixNanos};
use crate::plugin::{Memory, Setting};
use crate::resilience::{Class, Classified, Failure, Mode, ModeCause};
use crate::venue::{Baseline, OrderUpdate, Outcome, Request};
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// One record in the journal. Numbers are dense per agent, so that a missing record cannot hide.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// Whose record.
    pub agent: AgentName,
    /// The agent's incarnation. Every record says so, because the one that the incarnation began with may have
    /// been compacted away.
    pub incarnation: u32,
    /// Its number among the records of the incarnation, from 1.
    pub number: u64,
    /// When it was made.
    pub at: UnixNanos,
    /// What it says.
    pub record: Record,
}

/// What one record says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Record {
    /// The agent started to run this component. The first record of an agent, and one for every restart.
    Started {
        /// Raised by an operator when the agent's memory was lost.
        incarnation: u32,
        /// The component.
        plugin: Digest,
        /// Symbols in the order of their instrument ids.
        symbols: Vec<String>,
        /// Cash of an agent that never ran before.
        cash: Money,
        /// How many of the calls before this start the strategy does not remember, because an earlier
        /// instance was halted, or keeps no state, before its state could be saved.
        #[serde(default, skip_serializing_if = "is_zero")]
        forgot: u64,
        /// Number of the last record in the state that it began with: what those say is not told again.
        #[serde(default, skip_serializing_if = "is_zero")]
        since: u64,
        /// Digest of what the strategy is initialised with: settings, instruments and seed.
        #[serde(default)]
        terms: Option<Digest>,
        /// The settings; none in a record of a host that did not keep them.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        settings: Option<Vec<Setting>>,
        /// Digest of what the configuration named, which may be another component than the one that ran.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        configured: Option<Digest>,
        /// First order number that the strategy has not used. It may be beyond those in the journal: what it wants
        /// when it is given calls again that another one has answered is not acted on, and counts all the same.
        /// Zero in a record of a host that did not say.
        #[serde(default, skip_serializing_if = "is_zero")]
        next_order: u64,
    },
    /// What the strategy was called with, oldest first: every call since the last such record. Comes before
    /// the record of what the last of them decided.
    Fed {
        /// The calls.
        #[serde(with = "packed")]
        calls: Vec<Fed>,
    },
    /// One call decided something.
    Decided(Decision),
    /// An attempt is about to be made. Durable before the first byte leaves.
    Submitting {
        /// Which intent.
        key: IntentKey,
        /// Which attempt, from 1.
        attempt: u32,
        /// What the account showed before it, where the venue needs it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        baseline: Option<Baseline>,
    },
    /// What is known after an attempt. Durable before the strategy or an operator sees it.
    Attempted {
        /// Which intent.
        key: IntentKey,
        /// Which attempt.
        attempt: u32,
        /// What is known.
        outcome: Outcome,
    },
    /// What the venue said when it was asked about an intent of which nobody knew what became of it. Durable
    /// before it counts as evidence.
    Queried {
        /// Which intent.
        key: IntentKey,
        /// What is known.
        outcome: Outcome,
    },
    /// The venue reported a change of an order by itself.
    Updated(OrderUpdate),
    /// An intent was dropped that was not executed, or that has nothing left to do.
    Expired {
        /// Which intent.
        key: IntentKey,
        /// Why.
        why: ExpiredBecause,
    },
    /// An intent that may have been executed is sent again under its old key, since nothing of it is there.
    Denied {
        /// Which intent.
        key: IntentKey,
        /// How that is known.
        proof: Proof,
    },
    /// An intent was given up on and waits for an operator.
    DeadLettered {
        /// Which intent.
        key: IntentKey,
        /// Why.
        failure: Failure,
    },
    /// An operator sends an intent again, under its old key.
    Requeued {
        /// Which intent.
        key: IntentKey,
        /// How often it has been sent again, this time included.
        replay: u32,
    },
    /// An operator closed a dead letter.
    Resolved {
        /// Which intent.
        key: IntentKey,
        /// The operator's words.
        note: String,
    },
    /// A new intent took the place of a dead letter, by an operator's order. One record says both, so that
    /// no crash can come between them.
    Reissued(Reissue),
    /// An operator's order to send a dead letter again, as it is or as a new intent, was refused. The
    /// letter stays one.
    ReplayRefused {
        /// Which intent.
        key: IntentKey,
        /// Number of the order.
        replay: u32,
        /// Why.
        failure: Failure,
    },
    /// An operator took the venue's position for true: the difference to the books is booked as a trade at
    /// the last price, without a fee, so that equity stays as it is.
    PositionAdopted {
        /// In which instrument.
        instrument: InstrumentId,
        /// What the venue holds beyond the books, signed.
        quantity: Lots,
        /// The last price of the instrument.
        price: PriceTicks,
    },
    /// An operator took an order for gone that the venue did not know any more.
    OrderDropped {
        /// The key under which it was placed.
        key: IntentKey,
    },
    /// The mode changed.
    ModeChanged {
        /// From.
        from: Mode,
        /// To.
        to: Mode,
        /// Why.
        cause: ModeCause,
    },
    /// A call into the strategy failed; its intents were discarded.
    CallFailed {
        /// Number of the call.
        call: u64,
        /// What failed.
        failure: Failure,
        /// Whether the instance was dropped for it, which is a strike against the strategy.
        halted: bool,
    },
    /// A new instance took the place of one that failed.
    Restarted {
        /// How many of the calls before this it does not remember.
        #[serde(default, skip_serializing_if = "is_zero")]
        forgot: u64,
        /// First order number that it has not used, as in [`Record::Started`].
        #[serde(default, skip_serializing_if = "is_zero")]
        next_order: u64,
    },
    /// The strategy failed too often, or cannot be started: it is not started again before an operator says so.
    Quarantined {
        /// Why.
        failure: Failure,
        /// What the strategy keeps with the host.
        memory: Memory,
    },
    /// An operator ended a quarantine, or a pause before a new instance. Strikes before this do not count.
    Released {
        /// The operator's words.
        note: String,
    },
    /// Another component took over.
    Swapped(Box<Swap>),
    /// The peak of equity moved while no strategy was called, so that no call holds the prices that moved it.
    /// Stands before whatever builds on it: a checkpoint, a new instance, another component.
    Valued {
        /// The peak as it is now; none before the first value.
        peak: Option<Money>,
    },
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
const fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// Why an intent was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ExpiredBecause {
    /// Its time ran out.
    Deadline,
    /// The strategy took it back before it was sent.
    CancelledUnsent,
    /// There is nothing left that it could act on.
    Moot,
    /// The venue was asked twice, long enough after the last attempt, and has never had it.
    NeverArrived,
}

impl ExpiredBecause {
    /// In words.
    pub const fn explain(self) -> &'static str {
        match self {
            Self::Deadline => "its time ran out before it was sent",
            Self::CancelledUnsent => "the strategy took it back before it was sent",
            Self::Moot => "there was nothing left that it could do",
            Self::NeverArrived => "the venue was asked twice and has never had it",
        }
    }
}

/// What lets an intent be sent again at a venue that does not remember keys, when nobody knew what became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Proof {
    /// The venue was asked twice, long enough after the last attempt, and has never had it.
    DeniedTwice,
    /// No proof but an operator's word: it was ordered to be sent again, and the account, looked at once more,
    /// shows no trace of it. It still may have been executed.
    Replayed,
}

/// What led to a decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Origin {
    /// A market update.
    Tick,
    /// A bar.
    Bar,
    /// An order event, a timer or a mode change.
    Event,
    /// The host itself: closing what a halted or stopped agent leaves.
    Host,
}

/// One call that decided something: the digests of its input and output, all of its intents, and the state
/// after.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    /// Number of the call.
    pub call: u64,
    /// What led to it.
    pub origin: Origin,
    /// SHA-256 of the canonical input.
    pub input: Digest,
    /// Digest of what the call returned, before the host judged it; none for a decision of the host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<Digest>,
    /// Every intent, in order.
    pub intents: Vec<Decided>,
    /// The strategy's durable memory after the call, when it changed since the last record that held it.
    pub memory: Option<Memory>,
}

/// One intent and what the host decided about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decided {
    /// Position among the intents of the call, times 65,536, plus the position within a cancel-all.
    pub index: u32,
    /// Its key.
    pub key: IntentKey,
    /// What it does.
    pub action: Action,
    /// What the host decided.
    pub verdict: Verdict,
}

/// A new intent with the terms of a dead letter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reissue {
    /// The dead letter, which is closed by this.
    pub parent: IntentKey,
    /// Number of the order, from the compare-and-swap on the letter.
    pub replay: u32,
    /// The operator's words.
    pub note: String,
    /// Number of the call, which no call into the strategy has.
    pub call: u64,
    /// The new key.
    pub key: IntentKey,
    /// What it does.
    pub action: Action,
    /// The bytes to send under the new key.
    pub request: Request,
}

/// What an intent does, after cancel-all has been taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// Place an order.
    Submit(NewOrder),
    /// Take an order back.
    Cancel(OrderId),
    /// Change an order.
    Amend(super::AmendOrder),
}

impl Action {
    /// The order that the action is about.
    pub const fn order(&self) -> OrderId {
        match self {
            Self::Submit(order) => order.id,
            Self::Cancel(id) => *id,
            Self::Amend(amend) => amend.id,
        }
    }
}

impl std::fmt::Display for Action {
    /// One line for an operator.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Submit(order) => {
                let (side, lots, id) = (order.side.name(), order.quantity, order.id.0);
                write!(f, "{side} {lots} lots of instrument {}, order {id}", order.instrument.0)?;
                match order.kind.limit() {
                    Some(limit) => write!(f, ", limit {limit} ticks"),
                    None => Ok(()),
                }
            }
            Self::Cancel(id) => write!(f, "cancel order {}", id.0),
            Self::Amend(amend) => write!(f, "amend order {} to {} lots", amend.id.0, amend.quantity),
        }
    }
}

/// What the host decided about an intent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// To be sent: these bytes under this key.
    Intended(Request),
    /// Not sent, because the mode only observes.
    Suppressed(Mode),
    /// Refused by the risk gate.
    Refused {
        /// A stable code.
        code: String,
        /// The reason as the strategy sees it.
        reason: RejectReason,
        /// In words.
        detail: String,
    },
}

/// Bytes in the journal that are no record of this version.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error(
    "journal record {seq}: {reason}; it was written by another version of the host, or the journal is not one of ours"
)]
pub struct RecordError {
    /// Number of the record in the journal.
    pub seq: u64,
    /// What the decoder found.
    pub reason: String,
}

impl Classified for RecordError {
    fn class(&self) -> Class {
        Class::State
    }

    fn code(&self) -> &'static str {
        "record_undecodable"
    }
}

impl Entry {
    /// The bytes that the journal stores (CBOR, RFC 8949).
    ///
    /// # Errors
    /// When a value cannot be represented, which no value made by the core is.
    pub fn encode(&self) -> Result<Vec<u8>, RecordError> {
        let mut bytes = Vec::with_capacity(256);
        ciborium::into_writer(self, &mut bytes)
            .map_err(|error| RecordError { seq: 0, reason: error.to_string() })?;
        Ok(bytes)
    }

    /// The entry that some journaled bytes hold.
    ///
    /// # Errors
    /// When the bytes are not an entry.
    pub fn decode(seq: u64, bytes: &[u8]) -> Result<Self, RecordError> {
        ciborium::from_reader(bytes).map_err(|error| RecordError { seq, reason: error.to_string() })
    }
}
