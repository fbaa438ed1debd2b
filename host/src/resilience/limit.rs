//! What is wrong with a limit that somebody has configured.

use std::fmt;
use std::ops::RangeInclusive;
use thiserror::Error;

/// A limit that nothing could run with, or that limits nothing.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{field}: found {found}; {advice}")]
pub struct LimitFault {
    /// Which limit.
    pub field: String,
    /// Its value.
    pub found: String,
    /// What to do.
    pub advice: String,
}

impl LimitFault {
    /// Checks one limit against the values that make sense.
    pub(crate) fn unless_within<T: PartialOrd + fmt::Display>(
        field: &str,
        found: &T,
        range: &RangeInclusive<T>,
    ) -> Result<(), Self> {
        if range.contains(found) {
            return Ok(());
        }
        let advice = format!("give {} to {}", range.start(), range.end());
        Err(Self { field: field.to_owned(), found: found.to_string(), advice })
    }

    /// The same fault in a section of other limits.
    #[must_use]
    pub(crate) fn of_section(self, section: &str) -> Self {
        Self { field: format!("{section}.{}", self.field), ..self }
    }
}
