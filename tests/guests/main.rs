//! Strategies that are not written in Rust, as components in the real sandbox: the same crossings as the one in
//! Rust, to the byte, whatever the language, with WASI and without.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod crossings;
mod inspect;
mod rig;
mod state;
mod wasi;
