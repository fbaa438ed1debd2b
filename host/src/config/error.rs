//! What can be wrong with a configuration file.

use crate::resilience::{Class, Classified};
use std::path::PathBuf;
use thiserror::Error;

/// Why a configuration is not accepted. Nothing has been started or written then.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("{}: cannot read the configuration: {reason}; give the path of a TOML file", file.display())]
    Read {
        /// Which file.
        file: PathBuf,
        /// What the system says.
        reason: String,
    },
    /// The text is not what a configuration looks like.
    #[error("{}:{line}:{column}: {reason}{hint}\n  {excerpt}", file.display())]
    Syntax {
        /// Which file.
        file: PathBuf,
        /// Line, from 1.
        line: usize,
        /// Column, from 1.
        column: usize,
        /// What the parser says.
        reason: String,
        /// The nearest right key, when one is near.
        hint: String,
        /// The line itself.
        excerpt: String,
    },
    /// The text reads well but contradicts itself.
    #[error("{}: {place}: found {found}; {advice}", file.display())]
    Meaning {
        /// Which file.
        file: PathBuf,
        /// Which key.
        place: String,
        /// Its value.
        found: String,
        /// What to do.
        advice: String,
    },
}

impl Classified for ConfigError {
    fn class(&self) -> Class {
        match self {
            Self::Read { .. } => Class::Resource,
            Self::Syntax { .. } | Self::Meaning { .. } => Class::Data,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Read { .. } => "config_unreadable",
            Self::Syntax { .. } => "config_syntax",
            Self::Meaning { .. } => "config_meaning",
        }
    }
}
