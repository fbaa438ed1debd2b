//! Decimal text to whole steps of an instrument, exactly: no floating point in between.

use super::instrument::STEPS_MAX;
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

/// What to do with a number between two steps of the instrument.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OffStep {
    /// Drop the sample. The default, because such a number usually means that the instrument's step is wrong,
    /// and rounding would hide it.
    #[default]
    Refuse,
    /// Take the nearest step, the even one from the middle. For sources whose prices went through binary
    /// floating point, such as 1455.219971 for 1455.22.
    RoundHalfEven,
}

/// Why text is not a number of steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NumberFault {
    /// No text.
    Empty,
    /// Not a decimal number; NaN among it.
    NotANumber,
    /// An infinity.
    Infinite,
    /// Between two steps, and the policy is to refuse that.
    OffStep,
    /// More than 2^62 steps.
    OutOfRange,
}

/// A decimal number as it was written: `digits / 10^scale`, with a sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DecimalText {
    negative: bool,
    digits: u128,
    scale: i64,
    /// Whether digits other than zero followed the [`DIGITS_MAX`] that were kept.
    truncated: bool,
}

/// Significant digits that are kept; the most that always fit 128 bits. Of the rest it only matters
/// whether all are zero.
const DIGITS_MAX: u32 = 38;

/// Length of text whose digits always fit 64 bits.
const SHORT_BYTES_MAX: usize = 19;

/// An exponent beyond this changes nothing any more; it keeps sums of exponents far from overflow.
const EXPONENT_MAX: i64 = 1_000_000;

/// Reads decimal text: an optional sign, digits with at most one point, an optional exponent.
///
/// # Errors
/// When the text is empty, an infinity, or anything else that is not a number.
#[inline]
pub fn parse_decimal(text: &[u8]) -> Result<DecimalText, NumberFault> {
    match parse_short(text) {
        Some((digits, scale)) => {
            Ok(DecimalText { negative: false, digits: digits.into(), scale, truncated: false })
        }
        None => parse_long(text),
    }
}

/// Digits and at most one point, without a sign: nearly every number there is.
#[inline]
fn parse_short(text: &[u8]) -> Option<(u64, i64)> {
    if text.len() > SHORT_BYTES_MAX {
        return None;
    }
    let mut digits: u64 = 0;
    let mut digit_count = 0_usize;
    let mut whole_count = None;
    for byte in text {
        let digit = byte.wrapping_sub(b'0');
        if digit < 10 {
            // 19 digits fit 64 bits, so neither step can wrap.
            digits = digits.wrapping_mul(10).wrapping_add(u64::from(digit));
            digit_count += 1;
        } else if *byte == b'.' && whole_count.is_none() {
            whole_count = Some(digit_count);
        } else {
            return None;
        }
    }
    let fraction_count = digit_count - whole_count.unwrap_or(digit_count);
    (digit_count > 0).then_some((digits, fraction_count as i64))
}

#[cold]
fn parse_long(text: &[u8]) -> Result<DecimalText, NumberFault> {
    let (negative, unsigned) = match text {
        [] => return Err(NumberFault::Empty),
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, text),
    };
    if unsigned.eq_ignore_ascii_case(b"inf") || unsigned.eq_ignore_ascii_case(b"infinity") {
        return Err(NumberFault::Infinite);
    }
    let mut number = DecimalText { negative, digits: 0, scale: 0, truncated: false };
    let (mut kept, mut any_digit, mut after_point) = (0_u32, false, false);
    let mut rest = unsigned.iter();
    while let Some(byte) = rest.next() {
        match byte {
            b'0'..=b'9' => {
                any_digit = true;
                let digit = u128::from(byte - b'0');
                if kept < DIGITS_MAX {
                    number.digits = number.digits * 10 + digit;
                    number.scale += i64::from(after_point);
                    kept += u32::from(number.digits > 0);
                } else {
                    number.truncated |= digit > 0;
                    number.scale -= i64::from(!after_point);
                }
            }
            b'.' if !after_point => after_point = true,
            b'e' | b'E' if any_digit => {
                number.scale -= parse_exponent(rest.as_slice()).ok_or(NumberFault::NotANumber)?;
                return Ok(number);
            }
            _ => return Err(NumberFault::NotANumber),
        }
    }
    if any_digit { Ok(number) } else { Err(NumberFault::NotANumber) }
}

fn parse_exponent(text: &[u8]) -> Option<i64> {
    let (sign, digits) = match text {
        [b'-', rest @ ..] => (-1, rest),
        [b'+', rest @ ..] => (1, rest),
        _ => (1, text),
    };
    if digits.is_empty() {
        return None;
    }
    digits
        .iter()
        .try_fold(0_i64, |value, byte| {
            byte.is_ascii_digit().then(|| (value * 10 + i64::from(byte - b'0')).min(EXPONENT_MAX))
        })
        .map(|value| sign * value)
}

/// The step of a price or a quantity, taken apart once so that counting steps is integer arithmetic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StepSize {
    unit: u64,
    scale: i64,
}

impl StepSize {
    /// The largest number that a step may be, without its point: leaves the room that exact counting needs.
    const UNIT_MAX: u64 = 1_000_000_000_000_000;

    /// Takes a step apart; `None` when it is not positive or has more than 15 significant digits.
    pub fn new(step: Decimal) -> Option<Self> {
        let step = step.normalize();
        let unit = u64::try_from(step.mantissa()).ok()?;
        (1..=Self::UNIT_MAX).contains(&unit).then_some(Self { unit, scale: step.scale().into() })
    }

    /// The number of steps in some text.
    ///
    /// # Errors
    /// When the text is not a number, or the number does not fit the step.
    #[inline]
    pub fn parse(self, text: &[u8], off_step: OffStep) -> Result<i64, NumberFault> {
        if let Some((digits, scale)) = parse_short(text)
            && let Some(steps) = self.count_short(digits, scale)
        {
            return Ok(steps);
        }
        self.count(&parse_long(text)?, off_step)
    }

    /// The number of steps in `digits / 10^scale`.
    ///
    /// # Errors
    /// When the number does not fit the step.
    #[inline]
    pub fn count_scaled(self, digits: i128, scale: i64, off_step: OffStep) -> Result<i64, NumberFault> {
        if let Ok(short) = u64::try_from(digits)
            && let Some(steps) = self.count_short(short, scale)
        {
            return Ok(steps);
        }
        let negative = digits < 0;
        self.count(
            &DecimalText { negative, digits: digits.unsigned_abs(), scale, truncated: false },
            off_step,
        )
    }

    /// Decimals that a number of steps has.
    #[inline]
    pub const fn scale(self) -> i64 {
        self.scale
    }

    /// The count where all of it fits 64 bits and nothing is left over.
    #[inline]
    fn count_short(self, digits: u64, scale: i64) -> Option<i64> {
        let power = POWERS.get(usize::try_from(scale.abs_diff(self.scale)).ok()?)?;
        let (numerator, divisor) = if scale <= self.scale {
            (digits.checked_mul(*power)?, self.unit)
        } else {
            (digits, self.unit.checked_mul(*power)?)
        };
        // The usual case of binary formats, and a division costs as much as all the rest.
        if divisor == 1 {
            return i64::try_from(numerator).ok().filter(|steps| *steps <= STEPS_MAX);
        }
        if numerator % divisor != 0 {
            return None;
        }
        i64::try_from(numerator / divisor).ok().filter(|steps| *steps <= STEPS_MAX)
    }

    /// The number of steps in a number.
    ///
    /// # Errors
    /// When the number is out of range, or between two steps and `off_step` refuses that.
    pub fn count(self, number: &DecimalText, off_step: OffStep) -> Result<i64, NumberFault> {
        if number.digits == 0 {
            return Ok(0);
        }
        let unit = u128::from(self.unit);
        let shift = self.scale - number.scale;
        let power = u32::try_from(shift.unsigned_abs()).ok().and_then(|shift| 10_u128.checked_pow(shift));
        let (numerator, divisor) = if shift >= 0 {
            // What does not fit 128 bits is beyond 2^62 steps of any unit up to `UNIT_MAX`.
            let scaled = power.and_then(|power| number.digits.checked_mul(power));
            (scaled.ok_or(NumberFault::OutOfRange)?, unit)
        } else {
            match power.and_then(|power| unit.checked_mul(power)) {
                Some(divisor) => (number.digits, divisor),
                // The step is more than twice the number.
                None if off_step == OffStep::Refuse => return Err(NumberFault::OffStep),
                None => return Ok(0),
            }
        };
        let (whole, left) = (numerator / divisor, numerator % divisor);
        let exact = left == 0 && !number.truncated;
        if !exact && off_step == OffStep::Refuse && whole <= STEPS_MAX as u128 {
            return Err(NumberFault::OffStep);
        }
        // Truncated digits are less than one unit of `left`, and a divisor above `unit` is even: they decide
        // in the middle only. With a divisor of `unit`, a number that was truncated is out of range.
        let up = match left.cmp(&(divisor - left)) {
            std::cmp::Ordering::Less => false,
            std::cmp::Ordering::Equal => number.truncated || whole % 2 == 1,
            std::cmp::Ordering::Greater => true,
        };
        let steps = i64::try_from(whole + u128::from(up)).ok().filter(|steps| *steps <= STEPS_MAX);
        let steps = steps.ok_or(NumberFault::OutOfRange)?;
        Ok(if number.negative { -steps } else { steps })
    }
}

const POWERS: [u64; 20] = {
    let mut powers = [1; 20];
    let mut exponent = 1;
    while exponent < powers.len() {
        powers[exponent] = powers[exponent - 1] * 10;
        exponent += 1;
    }
    powers
};

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn steps(text: &str, step: &str, off_step: OffStep) -> Result<i64, NumberFault> {
        StepSize::new(step.parse().unwrap()).unwrap().parse(text.as_bytes(), off_step)
    }

    #[test]
    fn numbers_become_exact_steps() {
        for (text, step, expected) in [
            ("61685.99000000", "0.01", 6_168_599),
            ("0.00017000", "0.00001", 17),
            ("5000", "0.25", 20_000),
            ("5000.75", "0.25", 20_003),
            ("931800000", "100", 9_318_000),
            ("1e3", "0.5", 2_000),
            ("1.5E-3", "0.0005", 3),
            ("+7", "1", 7),
            (".5", "0.5", 1),
            ("5.", "0.5", 10),
            ("-0", "1", 0),
            ("-0.0e99", "1", 0),
            ("-12.5", "0.5", -25),
            ("00000000000000000000000000000000000000000000000000042", "1", 42),
            ("0.10000000000000000000000000000000000000000000000000000", "0.1", 1),
            ("4611686018427387904", "1", 1 << 62),
        ] {
            assert_eq!(steps(text, step, OffStep::Refuse), Ok(expected), "{text} in steps of {step}");
        }
    }

    #[test]
    fn what_is_no_number_is_named() {
        for text in [
            "nan", "NaN", "-nan", "abc", ".", "-", "+", "1.2.3", "1e", "1e+", "e5", "1_000", "0x10", "1 2",
            "--1",
        ] {
            assert_eq!(steps(text, "1", OffStep::RoundHalfEven), Err(NumberFault::NotANumber), "{text}");
        }
        for text in ["inf", "-Inf", "+INFINITY"] {
            assert_eq!(steps(text, "1", OffStep::RoundHalfEven), Err(NumberFault::Infinite), "{text}");
        }
        assert_eq!(steps("", "1", OffStep::RoundHalfEven), Err(NumberFault::Empty));
    }

    #[test]
    fn what_is_too_large_is_out_of_range_and_not_wrapped() {
        for text in
            ["1e308", "4611686018427387905", "99999999999999999999999999999999999999999999", "1e999999999999"]
        {
            for off_step in [OffStep::Refuse, OffStep::RoundHalfEven] {
                assert_eq!(steps(text, "1", off_step), Err(NumberFault::OutOfRange), "{text}");
            }
        }
    }

    #[test]
    fn off_step_numbers_are_refused_or_rounded_half_to_even() {
        for (text, step, rounded) in [
            ("1455.219971", "0.01", 145_522),
            ("0.125", "0.01", 12),
            ("0.135", "0.01", 14),
            ("0.12500000000000000000000000000000000000000000000001", "0.01", 13),
            ("1.3", "0.5", 3),
            ("-0.135", "0.01", -14),
            ("1e-40", "1", 0),
            ("1e-999999999999", "1", 0),
            ("0.1000000000000000055511151231257827021181583404541015625", "0.1", 1),
        ] {
            assert_eq!(steps(text, step, OffStep::Refuse), Err(NumberFault::OffStep), "{text}");
            assert_eq!(steps(text, step, OffStep::RoundHalfEven), Ok(rounded), "{text}");
        }
    }

    #[test]
    fn a_step_that_cannot_be_counted_exactly_is_refused() {
        for step in ["0", "-1", "1234567890.123456"] {
            assert_eq!(StepSize::new(step.parse().unwrap()), None, "{step}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_number_or_a_fault(text in prop::collection::vec(any::<u8>(), 0..80)) {
            let step = StepSize::new(Decimal::new(1, 2)).unwrap();
            let _ = step.parse(&text, OffStep::RoundHalfEven);
            let _ = parse_decimal(&text);
        }

        #[test]
        fn text_of_number_characters_never_panics(text in "[-+]?[0-9.eE+-]{0,60}") {
            for (unit, scale) in [(1, 0), (25, 2), (1, 28), (999_999_999_999_999, 3)] {
                let step = StepSize::new(Decimal::new(unit, scale)).unwrap();
                let _ = step.parse(text.as_bytes(), OffStep::RoundHalfEven);
            }
        }

        #[test]
        fn every_multiple_of_a_step_survives_being_written(count in -STEPS_MAX..=STEPS_MAX, unit in 1_i64..1_000, scale in 0_u32..9, zeros in 0_usize..30) {
            let step = Decimal::new(unit, scale);
            let value = Decimal::from_i128_with_scale(i128::from(count) * i128::from(unit), scale);
            let mut text = value.to_string();
            if scale > 0 {
                text.push_str(&"0".repeat(zeros));
            }
            prop_assert_eq!(StepSize::new(step).unwrap().parse(text.as_bytes(), OffStep::Refuse), Ok(count), "{}", text);
        }

        #[test]
        fn rounding_agrees_with_decimal_arithmetic(digits in 0_i64..1_000_000_000, scale in 0_u32..12, step_scale in 0_u32..6) {
            let value = Decimal::new(digits, scale);
            let expected = value.round_dp(step_scale); // banker's rounding
            let step = Decimal::new(1, step_scale);
            let expected = (expected / step).trunc().try_into().unwrap();
            let found = StepSize::new(step).unwrap().parse(value.to_string().as_bytes(), OffStep::RoundHalfEven);
            prop_assert_eq!(found, Ok(expected), "{}", value);
        }
    }
}
