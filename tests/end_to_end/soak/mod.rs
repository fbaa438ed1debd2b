//! The order path, and everything that can end it: a kill at each boundary, a full disk, a sync that fails, a
//! bit that flips.
//!
//! The host is the binary as it is shipped. Its faults come from outside: a library that is loaded in front of
//! the C library ([`fault`]), a proxy in front of the venue, a small disk, and signals. The venue is a process
//! of its own with a ledger of its own, and what the host remembers is read with its own read-only commands as
//! JSON ([`books`]), never from the program that was killed.
//!
//! `make soak` runs the kills for long; see `docs/soak.md`.

#![expect(
    clippy::disallowed_methods,
    reason = "another process tells neither when it ends nor when it is half-way"
)]

mod books;
mod boundary;
mod disk;
mod fault;
mod kills;
mod rig;
mod rot;
mod sled_trap;
