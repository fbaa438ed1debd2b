//! What a strategy is put through, step by step, and its form as a file.

use crate::lab::exchange::Model;
use crate::market::{Instrument, Sample, Tick};
use crate::plugin::Setting;
use crate::resilience::{Class, Classified, Mode};
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// One thing that happens.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Step {
    /// A market update.
    Tick(Tick),
    /// No better mode than this until the next floor.
    Floor(Mode),
    /// The exchange refuses this many orders that come next.
    Refuse(u32),
    /// The instance is replaced by a fresh one that loads its state.
    Restart,
    /// The instance is replaced by one that begins anew: its state is lost.
    Forget,
    /// Words from the operator.
    Say(String),
}

/// Steps and what they need around them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Session {
    /// Layout of the file.
    version: u32,
    /// The scenario that made it.
    pub scenario: String,
    /// Seed of the strategy's random numbers.
    pub seed: u64,
    /// Settings of the strategy.
    pub settings: Vec<Setting>,
    /// What is traded.
    pub instruments: Vec<Instrument>,
    /// How orders are filled.
    pub model: Model,
    /// What happens; in a file a line each.
    #[serde(skip)]
    pub steps: Vec<Step>,
}

/// Why a file is no session.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SessionError {
    /// A line is not what it has to be.
    #[error("line {line}: expected {expected}, found {found}")]
    Line {
        /// Counted from one.
        line: usize,
        /// What belongs there.
        expected: &'static str,
        /// What the decoder says.
        found: String,
    },
    /// Another host wrote it.
    #[error(
        "the session has layout {found}, this host reads {}; replay it with the host that wrote it",
        Session::VERSION
    )]
    Version {
        /// Its layout.
        found: u32,
    },
    /// More than any session has.
    #[error("the session has more than {} steps", Session::STEPS_MAX)]
    TooLong,
}

impl Classified for SessionError {
    fn class(&self) -> Class {
        Class::Data
    }

    fn code(&self) -> &'static str {
        "vet_session"
    }
}

impl Session {
    /// Layout written by this host.
    pub const VERSION: u32 = 1;
    /// Steps of a session, far more than a scenario makes.
    pub const STEPS_MAX: usize = 1_000_000;

    /// A session without steps.
    pub fn new(scenario: &str, seed: u64, settings: Vec<Setting>, instruments: Vec<Instrument>) -> Self {
        let (version, scenario) = (Self::VERSION, scenario.to_owned());
        Self { version, scenario, seed, settings, instruments, model: Model::default(), steps: Vec::new() }
    }

    /// The same around other steps.
    pub fn with(&self, steps: Vec<Step>) -> Self {
        Self { steps, ..self.clone() }
    }

    /// As JSON lines: what is around the steps, and then a step a line.
    pub fn encode(&self) -> String {
        // Every type in here can be written; nothing of it is a map with other keys than text.
        let mut text = serde_json::to_string(self).unwrap_or_default();
        for step in &self.steps {
            text.push('\n');
            text.push_str(&serde_json::to_string(step).unwrap_or_default());
        }
        text.push('\n');
        text
    }

    /// Reads what [`Session::encode`] has written.
    ///
    /// # Errors
    /// With the line that is wrong.
    pub fn decode(text: &str) -> Result<Self, SessionError> {
        let mut lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
        let wrong = |line: usize, expected: &'static str, error: &serde_json::Error| SessionError::Line {
            line: line + 1,
            expected,
            found: error.to_string(),
        };
        let (line, head) = lines.next().unwrap_or((0, ""));
        let mut session: Self =
            serde_json::from_str(head).map_err(|error| wrong(line, "the head of a session", &error))?;
        if session.version != Self::VERSION {
            return Err(SessionError::Version { found: session.version });
        }
        for (line, step) in lines {
            if session.steps.len() >= Self::STEPS_MAX {
                return Err(SessionError::TooLong);
            }
            session.steps.push(serde_json::from_str(step).map_err(|error| wrong(line, "a step", &error))?);
        }
        Ok(session)
    }
}

impl From<Tick> for Step {
    fn from(tick: Tick) -> Self {
        Self::Tick(tick)
    }
}

/// A market update without a bar: vetting makes bars of ticks, as live trading does.
pub(super) const fn sample(tick: Tick) -> Sample {
    Sample { tick, bar: None }
}
