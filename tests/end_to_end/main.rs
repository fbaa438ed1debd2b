//! The real binary, real components, real HTTP on loopback, real files.
//!
//! The paper venue and the chaos proxy run in the test's own process, so that a test reads the venue's
//! ledger without asking the program under test; `soak` gives the venue a process of its own.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod author;
mod bad_input;
mod capabilities;
mod chaos;
mod commands;
mod compiler;
mod components;
mod demo;
mod determinism;
mod fixtures;
mod hot_swap;
mod intake;
mod lab;
mod letters;
mod parity;
mod purpleflea;
mod reconcile;
mod recovery;
mod replay;
mod setup;
mod soak;
mod state;
mod swap;
mod sweep;
mod vet;
