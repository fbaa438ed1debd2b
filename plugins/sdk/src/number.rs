//! Exact prices, quantities and decimals.

use crate::bindings::ringfence::strategy::types;
use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

/// A price as a whole number of an instrument's tick size. Zero in a tick means absent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PriceTicks(pub i64);

/// A quantity as a whole number of an instrument's lot size: signed for a position, positive for an order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lots(pub i64);

/// Which step a number between two steps becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rounding {
    /// The step below: what a buyer offers when he must not pay more.
    Down,
    /// The step above: what a seller asks when he must not get less.
    Up,
    /// The closer step; halfway, the even one.
    Nearest,
}

/// `coefficient * 10^-scale`, exact. Two decimals are equal when their values are.
#[derive(Clone, Copy, Debug, Default)]
pub struct Decimal {
    coefficient: i64,
    scale: u8,
}

/// Text or parts that are no [`Decimal`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecimalError(String);

impl PriceTicks {
    /// The price some ticks higher, or lower when negative; stays in range.
    pub const fn offset(self, ticks: i64) -> Self {
        Self(self.0.saturating_add(ticks))
    }

    /// Ticks from `other` up to this price, negative when this is the lower one.
    pub const fn distance(self, other: Self) -> i64 {
        self.0.saturating_sub(other.0)
    }

    /// The price itself, or `None` for the zero that means absent.
    pub const fn present(self) -> Option<Self> {
        if self.0 > 0 { Some(self) } else { None }
    }
}

impl Lots {
    /// No quantity, or a flat position.
    pub const ZERO: Self = Self(0);

    /// Whether this is no quantity at all.
    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }

    /// The quantity without its sign.
    pub const fn abs(self) -> Self {
        Self(self.0.saturating_abs())
    }

    /// The sum; stays in range.
    pub const fn plus(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    /// The difference; stays in range.
    pub const fn minus(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl Decimal {
    /// Digits after the point that a decimal can have.
    pub const SCALE_MAX: u8 = 18;
    /// Nothing.
    pub const ZERO: Self = Self::whole(0);

    /// `coefficient * 10^-scale`.
    ///
    /// # Errors
    /// When `scale` is above [`Decimal::SCALE_MAX`].
    pub fn new(coefficient: i64, scale: u8) -> Result<Self, DecimalError> {
        if scale <= Self::SCALE_MAX {
            Ok(Self { coefficient, scale })
        } else {
            Err(DecimalError(format!("expected a scale of at most {}, found {scale}", Self::SCALE_MAX)))
        }
    }

    /// A whole number.
    pub const fn whole(number: i64) -> Self {
        Self { coefficient: number, scale: 0 }
    }

    /// The digits without the point.
    pub const fn coefficient(self) -> i64 {
        self.coefficient
    }

    /// How many of the digits stand after the point.
    pub const fn scale(self) -> u8 {
        self.scale
    }

    /// The closest f64, for indicators; the same as parsing the decimal's text up to 15 digits.
    #[inline]
    pub fn to_f64(self) -> f64 {
        self.coefficient as f64 / self.divisor() as f64
    }

    /// The product with a whole number, or `None` when it does not fit.
    pub fn checked_mul(self, factor: i64) -> Option<Self> {
        Some(Self { coefficient: self.coefficient.checked_mul(factor)?, scale: self.scale })
    }

    /// The sum, or `None` when it does not fit.
    pub fn checked_add(self, other: Self) -> Option<Self> {
        self.combine(other, i128::checked_add)
    }

    /// The difference, or `None` when it does not fit.
    pub fn checked_sub(self, other: Self) -> Option<Self> {
        self.combine(other, i128::checked_sub)
    }

    /// `10^scale`, exact both as an integer and as an f64.
    #[inline]
    pub(crate) const fn divisor(self) -> i64 {
        // On the path of every tick, where `pow` would loop.
        const POWERS: [i64; 19] = {
            let mut powers = [1; 19];
            let mut scale = 1;
            while scale < powers.len() {
                powers[scale] = powers[scale - 1] * 10;
                scale += 1;
            }
            powers
        };
        POWERS[self.scale as usize]
    }

    /// The coefficient at a scale of 18: comparable, and always in range of an i128.
    fn widest(self) -> i128 {
        i128::from(self.coefficient) * 10_i128.pow(u32::from(Self::SCALE_MAX - self.scale))
    }

    fn combine(self, other: Self, with: fn(i128, i128) -> Option<i128>) -> Option<Self> {
        let scale = self.scale.max(other.scale);
        let at = |d: Self| i128::from(d.coefficient) * 10_i128.pow(u32::from(scale - d.scale));
        Some(Self { coefficient: with(at(self), at(other))?.try_into().ok()?, scale })
    }
}

impl PartialEq for Decimal {
    fn eq(&self, other: &Self) -> bool {
        self.widest() == other.widest()
    }
}

impl Eq for Decimal {}

impl PartialOrd for Decimal {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Decimal {
    fn cmp(&self, other: &Self) -> Ordering {
        self.widest().cmp(&other.widest())
    }
}

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (digits, scale) = (self.coefficient.unsigned_abs(), usize::from(self.scale));
        let divisor = self.divisor().unsigned_abs();
        let sign = if self.coefficient < 0 { "-" } else { "" };
        match scale {
            0 => write!(f, "{sign}{digits}"),
            _ => write!(f, "{sign}{}.{:0scale$}", digits / divisor, digits % divisor),
        }
    }
}

impl FromStr for Decimal {
    type Err = DecimalError;

    fn from_str(text: &str) -> Result<Self, DecimalError> {
        let refuse = || {
            DecimalError(format!("expected a decimal such as 12.5 of at most 18 digits, found \"{text}\""))
        };
        let unsigned = text.strip_prefix('-').unwrap_or(text);
        let (whole, fraction) = unsigned.split_once('.').unwrap_or((unsigned, "0"));
        let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        if !digits(whole) || !digits(fraction) {
            return Err(refuse());
        }
        let fraction = fraction.trim_end_matches('0');
        let sign = if unsigned.len() < text.len() { "-" } else { "" };
        let coefficient = format!("{sign}{whole}{fraction}").parse().map_err(|_| refuse())?;
        let scale = u8::try_from(fraction.len()).map_err(|_| refuse())?;
        Self::new(coefficient, scale).map_err(|_| refuse())
    }
}

impl fmt::Display for DecimalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for DecimalError {}

impl From<types::Decimal> for Decimal {
    fn from(decimal: types::Decimal) -> Self {
        // The contract bounds the scale; a host that breaks it must not make a strategy panic.
        Self { coefficient: decimal.coefficient, scale: decimal.scale.min(Self::SCALE_MAX) }
    }
}

impl From<Decimal> for types::Decimal {
    fn from(decimal: Decimal) -> Self {
        Self { coefficient: decimal.coefficient, scale: decimal.scale }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn decimal(text: &str) -> Decimal {
        text.parse().unwrap()
    }

    #[test]
    fn decimals_print_and_parse_exactly() {
        for text in ["0", "-0.05", "61685.99", "0.000000000000000001", "-9223372036854775808"] {
            assert_eq!(decimal(text).to_string(), text);
        }
        assert_eq!(decimal("1.500"), Decimal::new(15, 1).unwrap());
        assert_eq!(decimal("61685.99").to_f64(), 61685.99);
    }

    #[test]
    fn text_that_is_no_decimal_is_refused_with_what_was_found() {
        for text in ["", "-", ".5", "5.", "1e5", "+1", "--1", "1.2.3", "NaN", "0.0000000000000000001"] {
            let error = text.parse::<Decimal>().unwrap_err().to_string();
            assert!(error.contains(&format!("found \"{text}\"")), "{error}");
        }
        assert!(Decimal::new(1, 19).is_err());
    }

    #[test]
    fn sums_keep_the_finer_scale_and_refuse_to_overflow() {
        assert_eq!(decimal("0.1").checked_add(decimal("0.25")), Some(decimal("0.35")));
        assert_eq!(decimal("1").checked_sub(decimal("1.5")), Some(decimal("-0.5")));
        assert_eq!(Decimal::whole(i64::MAX).checked_add(decimal("0.1")), None);
        assert_eq!(Decimal::whole(i64::MAX).checked_mul(2), None);
    }

    proptest! {
        #[test]
        fn any_decimal_survives_its_text(coefficient: i64, scale in 0_u8..=18) {
            let one = Decimal::new(coefficient, scale).unwrap();
            prop_assert_eq!(decimal(&one.to_string()), one);
        }

        #[test]
        fn decimals_order_like_their_values(a: i32, b: i32, scale in 0_u8..=9) {
            let (x, y) = (Decimal::new(i64::from(a), scale).unwrap(), Decimal::new(i64::from(b), scale).unwrap());
            prop_assert_eq!(x.cmp(&y), a.cmp(&b));
            let wider = Decimal::new(i64::from(a) * 1_000, scale + 3).unwrap();
            prop_assert_eq!(x, wider);
        }
    }
}
