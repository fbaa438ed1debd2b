//! One value of a column, as exact as it stands there.

use crate::market::decimal::{NumberFault, StepSize};
use crate::market::feed::rows::Cell;
use crate::market::feed::survey::decimals;
use crate::market::stamp::{StampUnit, count_stamp, day_stamp, parse_stamp};
use crate::market::{OffStep, UnixNanos};
use std::borrow::Cow;
use std::fmt::Write as _;

/// A value. A binary fraction stands for the shortest decimal that is nearest to it: the one that was written.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Value<'a> {
    Null,
    Text(&'a [u8]),
    /// `digits / 10^scale`.
    Decimal {
        digits: i64,
        scale: i32,
    },
    /// The same of a number that may not fit: big-endian two's complement, at most 16 bytes.
    Wide {
        digits: &'a [u8],
        scale: i32,
    },
    Double(f64),
    Single(f32),
    Moment(i64, StampUnit),
    /// Days since the epoch.
    Day(i32),
}

/// Up to 15 digits, a double has one decimal alone that is nearest to it, and whole numbers below 2^53 and powers
/// of ten up to 10^22 are doubles themselves, so that their quotient is rounded once.
const EXACT_DIGITS: f64 = 1e15;
const TENS: [f64; 16] =
    [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15];

/// The whole number that is `value * 10^scale`, if the shortest decimal of `value` has no more decimals.
#[inline]
fn scaled(value: f64, scale: i64) -> Option<u64> {
    let tens = TENS.get(usize::try_from(scale).ok()?)?;
    // Cutting after half is a rounding that needs no call; whether it was the right one, the quotient says.
    let whole = (value * tens + 0.5) as u64;
    let exact = whole as f64;
    (exact < EXACT_DIGITS && value >= 0.0 && exact / tens == value).then_some(whole)
}

/// The number in some big-endian bytes; those before the last sixteen must say nothing but its sign.
fn wide(bytes: &[u8]) -> i128 {
    let sign = if bytes.first().is_some_and(|byte| byte & 0x80 != 0) { -1 } else { 0 };
    bytes.iter().fold(sign, |digits, byte| digits << 8 | i128::from(*byte))
}

/// `digits / 10^scale` as it is written.
fn written(digits: i128, scale: i32) -> String {
    let Some(scale) = usize::try_from(scale).ok().filter(|scale| *scale > 0) else {
        return digits.to_string();
    };
    let sign = if digits < 0 { "-" } else { "" };
    let digits = format!("{:0width$}", digits.unsigned_abs(), width = scale.saturating_add(1));
    let (whole, fraction) = digits.split_at(digits.len() - scale);
    format!("{sign}{whole}.{fraction}")
}

impl Value<'_> {
    /// Decimals that it has, or `so_far` when they are fewer.
    #[inline]
    pub fn decimals(&self, so_far: u32) -> u32 {
        match self {
            Self::Double(value) if scaled(*value, so_far.into()).is_some() => so_far,
            Self::Decimal { digits, scale } => {
                let (mut digits, mut scale) = (*digits, *scale);
                while i64::from(scale) > i64::from(so_far) && digits % 10 == 0 {
                    digits /= 10;
                    scale -= 1;
                }
                so_far.max(u32::try_from(scale).unwrap_or(0))
            }
            _ => so_far.max(decimals(&self.text())),
        }
    }
}

impl Cell for Value<'_> {
    #[inline]
    fn is_empty(&self) -> bool {
        matches!(self, Self::Null | Self::Text([]))
    }

    #[inline]
    fn count(&self, step: StepSize, off_step: OffStep) -> Result<i64, NumberFault> {
        match self {
            Self::Text(text) => step.parse(text, off_step),
            Self::Decimal { digits, scale } => step.count_scaled((*digits).into(), (*scale).into(), off_step),
            Self::Wide { digits, scale } => step.count_scaled(wide(digits), (*scale).into(), off_step),
            Self::Double(value) => match scaled(*value, step.scale()) {
                Some(digits) => step.count_scaled(digits.into(), step.scale(), off_step),
                None => step.parse(&self.text(), off_step),
            },
            Self::Null | Self::Single(_) | Self::Moment(..) | Self::Day(_) => {
                step.parse(&self.text(), off_step)
            }
        }
    }

    #[inline]
    fn stamp(&self, unit: Option<StampUnit>) -> Result<UnixNanos, &'static str> {
        match self {
            Self::Moment(number, unit) => count_stamp(*number, *unit),
            Self::Day(day) => day_stamp(*day),
            Self::Decimal { digits, scale: 0 } => match unit {
                Some(unit) => count_stamp(*digits, unit),
                None => parse_stamp(&self.text(), None),
            },
            other => parse_stamp(&other.text(), unit),
        }
    }

    fn text(&self) -> Cow<'_, [u8]> {
        let mut text = String::new();
        let _ = match self {
            Self::Null => Ok(()),
            Self::Text(text) => return Cow::Borrowed(text),
            Self::Decimal { digits, scale } => {
                return Cow::Owned(written((*digits).into(), *scale).into_bytes());
            }
            Self::Wide { digits, scale } => return Cow::Owned(written(wide(digits), *scale).into_bytes()),
            Self::Double(value) => write!(text, "{value}"),
            Self::Single(value) => write!(text, "{value}"),
            Self::Moment(number, _) => write!(text, "{number}"),
            Self::Day(day) => write!(text, "day {day}"),
        };
        Cow::Owned(text.into_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn step(text: &str) -> StepSize {
        StepSize::new(text.parse().unwrap()).unwrap()
    }

    proptest! {
        #[test]
        fn a_double_counts_as_the_decimal_that_it_was_written_from(
            digits in 0_u64..2_000_000_000_000_000_000,
            scale in 0_u32..13,
            tick in prop_oneof![Just("0.01"), Just("0.5"), Just("0.00000001"), Just("0.25"), Just("5"), Just("0.003")],
            round in any::<bool>(),
        ) {
            let off_step = if round { OffStep::RoundHalfEven } else { OffStep::Refuse };
            let written = rust_decimal::Decimal::new(i64::try_from(digits).unwrap(), scale);
            let double: f64 = written.to_string().parse().unwrap();
            let text = double.to_string();
            prop_assert_eq!(
                Value::Double(double).count(step(tick), off_step),
                step(tick).parse(text.as_bytes(), off_step)
            );
            let decimal = Value::Decimal { digits: i64::try_from(digits).unwrap(), scale: scale.try_into().unwrap() };
            prop_assert_eq!(decimal.count(step(tick), off_step), step(tick).parse(written.to_string().as_bytes(), off_step));
            prop_assert_eq!(decimal.text().into_owned(), written.to_string().into_bytes());
            prop_assert_eq!(Value::Double(double).decimals(0), decimals(text.as_bytes()));
            prop_assert_eq!(decimal.decimals(0), decimals(written.to_string().as_bytes()));
        }

        #[test]
        fn no_value_panics(bits in any::<u64>(), digits in any::<i128>(), scale in -1_i32..50, day in any::<i32>()) {
            let single = f32::from_bits((bits >> 32) as u32);
            let values = [
                Value::Double(f64::from_bits(bits)),
                Value::Single(single),
                Value::Decimal { digits: digits as i64, scale },
                Value::Wide { digits: &digits.to_be_bytes(), scale },
                Value::Day(day),
                Value::Moment(bits as i64, StampUnit::Millis),
                Value::Null,
            ];
            for value in values {
                let _ = value.count(step("0.01"), OffStep::RoundHalfEven);
                let _ = (value.stamp(None), value.stamp(Some(StampUnit::Seconds)), value.decimals(3), value.text());
            }
        }
    }
}
