//! Agents: the deterministic core, and the live shell that drives it.
