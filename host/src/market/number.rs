//! Exact numbers: prices in ticks, quantities in lots, money in decimals.
//!
//! None of them has an operator that can wrap, lose digits or panic: arithmetic is checked and
//! returns `None` when the result does not fit.

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use std::fmt;

/// A price as a whole number of an instrument's tick size. Zero means absent in a tick.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PriceTicks(pub i64);

/// A quantity as a whole number of an instrument's lot size. Signed for positions, positive for orders.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Lots(pub i64);

impl Lots {
    /// No quantity, or a flat position.
    pub const ZERO: Self = Self(0);

    /// The sum, or `None` when it does not fit.
    pub fn checked_add(self, other: Self) -> Option<Self> {
        self.0.checked_add(other.0).map(Self)
    }

    /// The difference, or `None` when it does not fit.
    pub fn checked_sub(self, other: Self) -> Option<Self> {
        self.0.checked_sub(other.0).map(Self)
    }

    /// The quantity without its sign; `i64::MIN` saturates.
    pub fn abs(self) -> Self {
        Self(self.0.saturating_abs())
    }

    /// Whether this is no quantity at all.
    pub fn is_zero(self) -> bool {
        self.0 == 0
    }
}

/// An amount of money, exact to 28 digits.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Money(Decimal);

impl Money {
    /// Nothing.
    pub const ZERO: Self = Self(Decimal::ZERO);

    /// An amount from a decimal, without trailing zeros so that equal amounts print equally.
    pub fn new(amount: Decimal) -> Self {
        Self(amount.normalize())
    }

    /// The amount as a decimal.
    pub fn decimal(self) -> Decimal {
        self.0
    }

    /// The sum, or `None` when it does not fit.
    pub fn checked_add(self, other: Self) -> Option<Self> {
        self.0.checked_add(other.0).map(Self::new)
    }

    /// The difference, or `None` when it does not fit.
    pub fn checked_sub(self, other: Self) -> Option<Self> {
        self.0.checked_sub(other.0).map(Self::new)
    }

    /// The product with a plain number, or `None` when it does not fit.
    pub fn checked_mul(self, factor: Decimal) -> Option<Self> {
        self.0.checked_mul(factor).map(Self::new)
    }

    /// The ratio of two amounts, or `None` when the divisor is zero or the result does not fit.
    pub fn checked_ratio(self, other: Self) -> Option<Decimal> {
        self.0.checked_div(other.0)
    }

    /// Whether the amount is below zero.
    pub fn is_negative(self) -> bool {
        self.0.is_sign_negative() && !self.0.is_zero()
    }

    /// The amount without its sign.
    pub fn abs(self) -> Self {
        Self(self.0.abs())
    }
}

impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl fmt::Display for PriceTicks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Lots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
