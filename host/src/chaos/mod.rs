//! Real processes under real faults: a venue with its own ledger, a proxy that breaks things, and the host, which is
//! killed, cut off and lied to. What it remembers is then held against the ledger.
//!
//! [`run`] puts any agent under a [`FaultPlan`] and says what became of it. [`Scenario`] names what a host has to
//! survive, each with criteria of its own; `ringfence chaos` runs them.
//!
//! The deterministic simulation of the core finds more, faster (`agent::core::tests::swarm`). This is for what it
//! cannot have: processes, sockets, files, and the time of day.

mod audit;
mod plan;
mod report;
mod rig;
mod scenario;
mod scenarios;

pub use audit::Audit;
pub use plan::{FaultPlan, Outcome, run};
pub use report::{Check, ScenarioReport};
pub use rig::Subject;
pub use scenario::{Scenario, Setting};

use crate::resilience::{Class, Classified};
use std::path::{Path, PathBuf};
use thiserror::Error;

/// Why a scenario could not be carried out. What the host does wrong is a [`Check`] that did not hold.
#[derive(Debug, Error)]
pub enum ChaosRunError {
    /// A file of the scenario.
    #[error("chaos: {path}: {cause}; the temporary folder needs some megabytes of space")]
    File {
        /// Which file.
        path: PathBuf,
        /// What the system says.
        cause: std::io::Error,
    },
    /// A process that does not start or does not say what it should.
    #[error("chaos: {program} {reason}")]
    Process {
        /// Which program.
        program: String,
        /// What is wrong, and what to do.
        reason: String,
    },
    /// The venue or the proxy.
    #[error("chaos: {0}")]
    Proxy(#[from] crate::venue::chaos::ChaosError),
    /// The host or the venue does not answer.
    #[error("chaos: {0}")]
    Silent(String),
    /// The machine does not permit what the scenario needs.
    #[error("chaos: {0}")]
    NotPermitted(String),
}

impl ChaosRunError {
    fn file(path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        |cause| Self::File { path, cause }
    }

    fn process(program: &Path, reason: impl Into<String>) -> Self {
        Self::Process { program: program.display().to_string(), reason: reason.into() }
    }
}

impl Classified for ChaosRunError {
    fn class(&self) -> Class {
        match self {
            Self::Proxy(error) => error.class(),
            Self::Silent(_) => Class::Network,
            Self::File { .. } | Self::Process { .. } | Self::NotPermitted(_) => Class::Resource,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::File { .. } => "chaos_file",
            Self::Process { .. } => "chaos_process",
            Self::Proxy(error) => error.code(),
            Self::Silent(_) => "chaos_silent",
            Self::NotPermitted(_) => "chaos_not_permitted",
        }
    }
}
