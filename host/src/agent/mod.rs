//! Agents: the deterministic core, and the live shell that drives it.

pub mod core;
pub mod live;
