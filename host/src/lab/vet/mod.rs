//! How a strategy behaves on what markets and hosts do to it.
//!
//! A [`Scenario`] makes [`Session`]s: market updates, and between them what befalls an agent. A session is run on the
//! lab, that is on the core of live trading, more than once: one call an update, the same again, in batches where the
//! component takes them, and without the restarts in it. What is found is shrunk to few steps that still show it.

mod market;
mod session;
mod shrink;
mod trial;

pub use market::{Scenario, scenarios};
pub use session::{Session, SessionError, Step};
pub use shrink::shrink;
pub use trial::{Finding, FindingKind, Verdict, vet};
