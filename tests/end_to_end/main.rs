//! The real binary, real components, real HTTP on loopback, real files.
//!
//! The paper venue and the chaos proxy run in the test's own process, so that a test reads the venue's
//! ledger without asking the program under test.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod bad_input;
mod commands;
mod components;
mod demo;
mod letters;
mod recovery;
mod setup;
