//! How much the host lets an agent do.

use serde::{Deserialize, Serialize};
use std::fmt;

/// What the host lets an agent do, from most to least. The order of the cases is the order of restriction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// Everything the risk gate allows.
    #[default]
    Full,
    /// Cancels and reduce-only orders.
    ReadOnly,
    /// The strategy runs; its intents are journaled as suppressed.
    Observation,
    /// Cancel, close what may be closed, checkpoint, stop. Latched.
    Shutdown,
}

impl Mode {
    /// Every mode, from most to least.
    pub const ALL: [Self; 4] = [Self::Full, Self::ReadOnly, Self::Observation, Self::Shutdown];

    /// The lower-case name used in logs, metrics and files.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::ReadOnly => "read-only",
            Self::Observation => "observation",
            Self::Shutdown => "shutdown",
        }
    }

    /// The mode that allows one step more; full stays full.
    pub const fn one_up(self) -> Self {
        match self {
            Self::Full | Self::ReadOnly => Self::Full,
            Self::Observation => Self::ReadOnly,
            Self::Shutdown => Self::Observation,
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_ordered_by_restriction_and_one_up_is_the_neighbour() {
        for pair in Mode::ALL.windows(2) {
            assert!(pair[0] < pair[1]);
            assert_eq!(pair[1].one_up(), pair[0]);
        }
        assert_eq!(Mode::Full.one_up(), Mode::Full);
    }

    #[test]
    fn the_name_is_the_one_in_files() {
        for mode in Mode::ALL {
            assert_eq!(serde_json::to_string(&mode).unwrap(), format!("\"{mode}\""));
        }
    }
}
