//! What a scenario found.

use serde::Serialize;
use std::collections::BTreeMap;

/// One thing that has to hold, and what was seen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What has to hold.
    pub what: String,
    /// Whether it did.
    pub held: bool,
    /// What was seen.
    pub found: String,
}

/// What a scenario found.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ScenarioReport {
    /// Its name.
    pub name: &'static str,
    /// Whether everything held.
    pub passed: bool,
    /// Faults that were injected: requests that the proxy broke, rows that were no good, kills, damaged files.
    pub injected: u64,
    /// Requests that the host made.
    pub calls: u64,
    /// Intents without an end, ends that the venue contradicts, executions that no book has.
    pub lost: u64,
    /// Keys under which the venue placed more than one order, or executed more than was ordered.
    pub duplicated: u64,
    /// The agent's mode at the end of the last life.
    pub final_mode: String,
    /// How long it took.
    pub seconds: f64,
    /// Intents that the journal holds.
    pub intents: u64,
    /// Faults by kind.
    pub faults: BTreeMap<String, u64>,
    /// What had to hold.
    pub checks: Vec<Check>,
}

/// Collects checks.
#[derive(Debug, Default)]
pub(super) struct Checks(pub Vec<Check>);

impl Checks {
    pub fn expect(&mut self, what: impl Into<String>, held: bool, found: impl Into<String>) {
        self.0.push(Check { what: what.into(), held, found: found.into() });
    }
}
