//! Orders: what a strategy asks for, the key of each intent, the risk gate, the books and the journal.

mod books;
mod event;
mod fed;
mod intent;
pub mod journal;
mod key;
mod ledger;
mod record;
mod risk;
mod sendable;
mod swap;

pub use crate::resilience::Mode;
pub use books::{Books, BooksError, Holding, WorkingOrder};
pub use event::{RejectReason, StrategyEvent};
pub(crate) use fed::packed;
pub use fed::{Answer, Fed, FedInput, Seen, intents_digest};
pub use intent::{AmendOrder, NewOrder, OrderId, OrderIntent, OrderKind, OrderOptions, Side, TimeInForce};
pub use key::{AgentName, Digest, IntentKey, KeyError, Slot};
pub use ledger::{
    Applied, FailedAttempt, Intent, IntentState, Ledger, LedgerError, LetterMark, Order, Refuted, actions,
};
pub use record::{
    Action, Decided, Decision, Entry, ExpiredBecause, Origin, Proof, Record, RecordError, Reissue, Verdict,
};
pub use risk::{Approved, Refusal, RiskCode, RiskGate, RiskLimits, RiskView};
pub use sendable::Sendable;
pub use swap::{Swap, SwapReason};
