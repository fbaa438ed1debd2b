//! Shares as whole thousandths, so that a threshold compares exactly.

use super::{Class, Classified};
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use std::fmt;
use thiserror::Error;

/// A share of a whole in thousandths, 0 to 1000.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u16", into = "u16")]
pub struct Permille(u16);

/// A number of thousandths that is more than the whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("expected a share of 0 to 1000 thousandths, found {0}; 20 % is 200")]
pub struct PermilleError(pub u16);

impl Classified for PermilleError {
    fn class(&self) -> Class {
        Class::Data
    }

    fn code(&self) -> &'static str {
        "config_permille"
    }
}

impl Permille {
    /// A share that is known when this is compiled; more than the whole does not compile.
    pub const fn of<const THOUSANDTHS: u16>() -> Self {
        const { assert!(THOUSANDTHS <= 1_000) };
        Self(THOUSANDTHS)
    }

    /// The share as a decimal, 0 to 1.
    pub fn decimal(self) -> Decimal {
        Decimal::new(i64::from(self.0), 3)
    }

    /// The number of thousandths.
    pub const fn thousandths(self) -> u16 {
        self.0
    }

    /// Whether `part` of `whole` is this share or more. Nothing of something never is, so that a
    /// threshold of zero means "any at all".
    pub fn is_reached_by(self, part: u64, whole: u64) -> bool {
        part > 0 && u128::from(part) * 1_000 >= u128::from(whole) * u128::from(self.0)
    }
}

impl TryFrom<u16> for Permille {
    type Error = PermilleError;

    fn try_from(thousandths: u16) -> Result<Self, PermilleError> {
        if thousandths <= 1_000 { Ok(Self(thousandths)) } else { Err(PermilleError(thousandths)) }
    }
}

impl From<Permille> for u16 {
    fn from(share: Permille) -> Self {
        share.0
    }
}

impl fmt::Display for Permille {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}‰", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_than_the_whole_is_refused_with_what_was_found() {
        assert_eq!(Permille::try_from(1_000), Ok(Permille(1_000)));
        assert_eq!(Permille::try_from(1_001), Err(PermilleError(1_001)));
        let message = serde_json::from_str::<Permille>("2000").unwrap_err().to_string();
        assert!(message.contains("found 2000"), "{message}");
    }

    #[test]
    fn a_share_is_reached_exactly_at_its_value() {
        let half = Permille::of::<500>();
        assert!(half.is_reached_by(4, 8));
        assert!(!half.is_reached_by(3, 8));
        assert!(!Permille::of::<0>().is_reached_by(0, 8));
        assert!(Permille::of::<0>().is_reached_by(1, 1_000_000));
        assert_eq!(half.decimal(), "0.5".parse().unwrap());
    }
}
