//! A component in the place of another while the host trades: by a command, by a file, and by itself.
//!
//! The data comes through a pipe, so that a test decides when a tick flows: nothing here depends on who is faster.

mod access;
mod changes;
mod letters;
mod refusals;
mod release;
mod restarts;
pub mod rig;
mod watch;
