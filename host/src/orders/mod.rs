//! Orders: what a strategy asks for, the key of each intent, and the books.

mod books;
mod event;
mod intent;
pub mod journal;
mod key;

pub use books::{Books, BooksError, Holding, WorkingOrder};
pub use event::{Mode, RejectReason, StrategyEvent};
pub use intent::{AmendOrder, NewOrder, OrderId, OrderIntent, OrderKind, OrderOptions, Side, TimeInForce};
pub use key::{AgentName, Digest, IntentKey, KeyError, Slot};
