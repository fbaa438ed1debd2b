//! Components that mean harm. Each wastes its own budget and nothing else: an attack here is one small
//! component, the verdict on it is exact, and a neighbour strategy trades on while it runs.
//!
//! `docs/hostile.md` is the list of the attacks, made from these files; a test compares the two.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]
#![allow(clippy::print_stdout, reason = "the suite prints its table")]

mod after;
mod attack;
mod bombs;
mod compile;
mod desk;
mod determinism;
#[path = "../../host/src/plugin/tests/guest.rs"]
mod guest;
mod intents;
mod loops;
mod neighbour;
mod one_core;
mod preflight;
mod services;
mod soak;
mod state;
mod table;
mod values;
mod vet;
