//! Timestamps of data files: what people write, to nanoseconds since the epoch.

use super::UnixNanos;
use super::time::{civil_from_days, days_from_civil};

/// Unit of an integer timestamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StampUnit {
    Seconds,
    Millis,
    Micros,
    Nanos,
}

impl StampUnit {
    const fn nanos(self) -> u64 {
        match self {
            Self::Seconds => 1_000_000_000,
            Self::Millis => 1_000_000,
            Self::Micros => 1_000,
            Self::Nanos => 1,
        }
    }

    /// The only unit in which a number is a moment between 1973 and 5138.
    const fn of_magnitude(number: u64) -> Self {
        match number {
            0..100_000_000_000 => Self::Seconds,
            100_000_000_000..100_000_000_000_000 => Self::Millis,
            100_000_000_000_000..100_000_000_000_000_000 => Self::Micros,
            _ => Self::Nanos,
        }
    }
}

const FORMS: &str = "expected RFC 3339 (2024-08-09T02:00:00.123Z), a date (2024-08-09, 20240809 or Aug 9 2024), or seconds, \
                     milliseconds, microseconds or nanoseconds since 1970";
const NO_SUCH_DAY: &str = "there is no such day in the calendar";
const NO_SUCH_TIME: &str = "there is no such time of day, expected HH:MM:SS with an optional fraction";
const BAD_ZONE: &str = "expected Z or an offset such as +02:00 after the time";
const BEFORE_EPOCH: &str = "moments before 1970 cannot be represented";
const AFTER_RANGE: &str = "moments after 2554 cannot be represented";

const DAY_SECONDS: u64 = 86_400;
const SECOND_NANOS: u64 = 1_000_000_000;

/// Reads a timestamp. Text without an offset is taken as UTC. A number is in `unit` where that is known,
/// else its magnitude decides.
///
/// # Errors
/// What is wrong with the text and what is understood.
#[inline]
pub(super) fn parse_stamp(text: &[u8], unit: Option<StampUnit>) -> Result<UnixNanos, &'static str> {
    match digits(text) {
        Some(number) => integer(number, text.len(), unit),
        None => written(text, unit),
    }
}

/// A moment that is a number already, as binary formats have it.
///
/// # Errors
/// When it cannot be represented.
#[inline]
pub(super) fn count_stamp(number: i64, unit: StampUnit) -> Result<UnixNanos, &'static str> {
    let number = u64::try_from(number).map_err(|_| BEFORE_EPOCH)?;
    number.checked_mul(unit.nanos()).map(UnixNanos).ok_or(AFTER_RANGE)
}

/// Midnight of a day since the epoch.
///
/// # Errors
/// When it cannot be represented.
pub(super) fn day_stamp(day: i32) -> Result<UnixNanos, &'static str> {
    count_stamp(i64::from(day) * DAY_SECONDS as i64, StampUnit::Seconds)
}

impl std::str::FromStr for UnixNanos {
    type Err = &'static str;

    /// Reads a moment in any of the forms that data files have.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse_stamp(text.as_bytes(), None)
    }
}

fn integer(number: u64, length: usize, unit: Option<StampUnit>) -> Result<UnixNanos, &'static str> {
    // Eight digits would be seconds of the early 1970s; nobody's data is from then, but dates look like this.
    if length == 8
        && unit.is_none()
        && let Ok(days) = day(number / 10_000, number / 100 % 100, number % 100)
    {
        return moment(days, 0, 0);
    }
    let unit = unit.unwrap_or(StampUnit::of_magnitude(number));
    number.checked_mul(unit.nanos()).map(UnixNanos).ok_or(AFTER_RANGE)
}

fn written(text: &[u8], unit: Option<StampUnit>) -> Result<UnixNanos, &'static str> {
    match text {
        [y1, y2, y3, y4, b'-', m1, m2, b'-', d1, d2, rest @ ..] => {
            let number = |text: &[u8]| digits(text).ok_or(FORMS);
            let days = day(number(&[*y1, *y2, *y3, *y4])?, number(&[*m1, *m2])?, number(&[*d1, *d2])?)?;
            match rest {
                [] => moment(days, 0, 0),
                [b'T' | b't' | b' ', time @ ..] => time_of_day(days, time),
                _ => Err(FORMS),
            }
        }
        [b'-', rest @ ..] if digits(rest).is_some() => Err(BEFORE_EPOCH),
        [first, ..] if first.is_ascii_alphabetic() => month_day_year(text),
        _ => fractional(text, unit),
    }
}

/// `1723161600.437`: a whole number of some unit and a fraction of it; what is below a nanosecond is cut.
fn fractional(text: &[u8], unit: Option<StampUnit>) -> Result<UnixNanos, &'static str> {
    let point = memchr::memchr(b'.', text).ok_or(FORMS)?;
    let (whole, fraction) =
        (text.get(..point).unwrap_or_default(), text.get(point + 1..).unwrap_or_default());
    let whole = digits(whole).ok_or(FORMS)?;
    let unit = unit.unwrap_or(StampUnit::of_magnitude(whole)).nanos();
    let billionths = fraction_nanos(fraction).ok_or(FORMS)?;
    let part = u128::from(billionths) * u128::from(unit) / u128::from(SECOND_NANOS);
    let nanos = u128::from(whole) * u128::from(unit) + part;
    u64::try_from(nanos).map(UnixNanos).map_err(|_| AFTER_RANGE)
}

/// `Jan 2 2006`.
fn month_day_year(text: &[u8]) -> Result<UnixNanos, &'static str> {
    const MONTHS: &[u8; 36] = b"janfebmaraprmayjunjulaugsepoctnovdec";
    let mut words = text.split(|byte| *byte == b' ').filter(|word| !word.is_empty());
    let (Some(name), Some(date), Some(year), None) = (words.next(), words.next(), words.next(), words.next())
    else {
        return Err(FORMS);
    };
    let month = MONTHS.chunks(3).zip(1..).find(|(month, _)| month.eq_ignore_ascii_case(name));
    let (_, month) = month.ok_or(FORMS)?;
    moment(day(digits(year).ok_or(FORMS)?, month, digits(date).ok_or(FORMS)?)?, 0, 0)
}

fn time_of_day(days: u64, text: &[u8]) -> Result<UnixNanos, &'static str> {
    let [h1, h2, b':', m1, m2, rest @ ..] = text else { return Err(NO_SUCH_TIME) };
    let (hour, minute) = (below(&[*h1, *h2], 24)?, below(&[*m1, *m2], 60)?);
    let (second, rest) = match rest {
        // A leap second is the first moment of the next minute: Unix time has no other place for it.
        [b':', s1, s2, rest @ ..] => (below(&[*s1, *s2], 61)?, rest),
        _ => (0, rest),
    };
    let (nanos, rest) = match rest {
        [b'.', rest @ ..] => {
            let length = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
            let (fraction, rest) = rest.split_at_checked(length).ok_or(NO_SUCH_TIME)?;
            (fraction_nanos(fraction).ok_or(NO_SUCH_TIME)?, rest)
        }
        _ => (0, rest),
    };
    let local = hour * 3_600 + minute * 60 + second;
    let (east, offset) = match rest {
        [] | [b'Z' | b'z'] => (true, 0),
        [sign @ (b'+' | b'-'), h1, h2, b':', m1, m2] | [sign @ (b'+' | b'-'), h1, h2, m1, m2] => {
            let (hours, minutes) = (below(&[*h1, *h2], 24), below(&[*m1, *m2], 60));
            (*sign == b'+', hours.map_err(|_| BAD_ZONE)? * 3_600 + minutes.map_err(|_| BAD_ZONE)? * 60)
        }
        [sign @ (b'+' | b'-'), h1, h2] => {
            (*sign == b'+', below(&[*h1, *h2], 24).map_err(|_| BAD_ZONE)? * 3_600)
        }
        _ => return Err(BAD_ZONE),
    };
    let seconds = days * DAY_SECONDS + local;
    let seconds = if east { seconds.checked_sub(offset).ok_or(BEFORE_EPOCH)? } else { seconds + offset };
    moment(0, seconds, nanos)
}

/// The number that a text of 1 to 19 digits is.
#[inline]
fn digits(text: &[u8]) -> Option<u64> {
    if text.is_empty() || text.len() > 19 {
        return None;
    }
    let mut number: u64 = 0;
    for byte in text {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        // 19 digits fit 64 bits, so neither step can wrap.
        number = number.wrapping_mul(10).wrapping_add(u64::from(digit));
    }
    Some(number)
}

fn below(text: &[u8], bound: u64) -> Result<u64, &'static str> {
    digits(text).filter(|number| *number < bound).ok_or(NO_SUCH_TIME)
}

/// Billionths that the digits after a point stand for; digits after the ninth are cut.
fn fraction_nanos(text: &[u8]) -> Option<u64> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(
        text.iter()
            .chain([b'0'; 9].iter())
            .take(9)
            .fold(0, |nanos, byte| nanos * 10 + u64::from(byte - b'0')),
    )
}

/// Days since 1970-01-01 of a date of the calendar.
fn day(year: u64, month: u64, date: u64) -> Result<u64, &'static str> {
    if year > 9_999 || !(1..=12).contains(&month) || !(1..=31).contains(&date) {
        return Err(NO_SUCH_DAY);
    }
    if year < 1_970 {
        return Err(BEFORE_EPOCH);
    }
    let days = days_from_civil(year, month, date).ok_or(BEFORE_EPOCH)?;
    // The 31st of a month of 30 days comes back as the first of the next one.
    if civil_from_days(days) == (year, month, date) { Ok(days) } else { Err(NO_SUCH_DAY) }
}

fn moment(days: u64, seconds: u64, nanos: u64) -> Result<UnixNanos, &'static str> {
    let seconds = days * DAY_SECONDS + seconds;
    let nanos = seconds.checked_mul(SECOND_NANOS).and_then(|whole| whole.checked_add(nanos));
    nanos.map(UnixNanos).ok_or(AFTER_RANGE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(text: &str) -> Result<String, &'static str> {
        parse_stamp(text.as_bytes(), None).map(|stamp| stamp.to_string())
    }

    #[test]
    fn every_written_form_is_read_as_utc() {
        for (text, expected) in [
            ("2024-08-09T02:00:01.437Z", "2024-08-09T02:00:01.437Z"),
            ("2024-08-09t02:00:01z", "2024-08-09T02:00:01.000Z"),
            ("2024-08-09 02:00:01.4371234567", "2024-08-09T02:00:01.437Z"),
            ("2024-08-09T02:00", "2024-08-09T02:00:00.000Z"),
            ("2024-08-09T02:00:01+02:00", "2024-08-09T00:00:01.000Z"),
            ("2024-08-09 02:00:01-0530", "2024-08-09T07:30:01.000Z"),
            ("2024-08-09 02:00:01+00", "2024-08-09T02:00:01.000Z"),
            ("2016-12-31T23:59:60Z", "2017-01-01T00:00:00.000Z"),
            ("2000-01-03", "2000-01-03T00:00:00.000Z"),
            ("20200417", "2020-04-17T00:00:00.000Z"),
            ("Jan 1 2000", "2000-01-01T00:00:00.000Z"),
            ("dec 31 2009", "2009-12-31T00:00:00.000Z"),
            ("2000-02-29", "2000-02-29T00:00:00.000Z"),
        ] {
            assert_eq!(read(text).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn a_number_is_read_in_the_unit_of_its_magnitude() {
        let expected = Ok(UnixNanos(1_723_161_601_000_000_000));
        for text in [
            "1723161601",
            "1723161601000",
            "1723161601000000",
            "1723161601000000000",
            "1723161601.0",
            "1723161601000.000",
        ] {
            assert_eq!(parse_stamp(text.as_bytes(), None), expected, "{text}");
        }
        assert_eq!(parse_stamp(b"1723161601.437285", None), Ok(UnixNanos(1_723_161_601_437_285_000)));
        assert_eq!(parse_stamp(b"1723161601437.5", None), Ok(UnixNanos(1_723_161_601_437_500_000)));
    }

    #[test]
    fn a_known_unit_overrides_the_magnitude() {
        assert_eq!(parse_stamp(b"5", Some(StampUnit::Millis)), Ok(UnixNanos(5_000_000)));
        assert_eq!(parse_stamp(b"20200417", Some(StampUnit::Nanos)), Ok(UnixNanos(20_200_417)));
    }

    #[test]
    fn what_is_no_moment_says_why() {
        for (text, problem) in [
            ("2023-02-29", NO_SUCH_DAY),
            ("2023-04-31T00:00:00Z", NO_SUCH_DAY),
            ("2023-13-01", NO_SUCH_DAY),
            ("2023-01-01T24:00:00Z", NO_SUCH_TIME),
            ("2023-01-01T00:00:61Z", NO_SUCH_TIME),
            ("2023-01-01T00:00:00.Z", NO_SUCH_TIME),
            ("2023-01-01T00:00:00 CET", BAD_ZONE),
            ("1950-01-03", BEFORE_EPOCH),
            ("1970-01-01T00:00:00+01:00", BEFORE_EPOCH),
            ("-1", BEFORE_EPOCH),
            ("9999-12-31", AFTER_RANGE),
            ("08/09/2024", FORMS),
            ("1.72316E+12", FORMS),
            ("Foo 1 2000", FORMS),
            ("yesterday", FORMS),
            ("", FORMS),
        ] {
            assert_eq!(parse_stamp(text.as_bytes(), None), Err(problem), "{text}");
        }
        assert_eq!(parse_stamp(b"9999999999999999999", Some(StampUnit::Seconds)), Err(AFTER_RANGE));
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_moment_or_a_problem(text in prop::collection::vec(any::<u8>(), 0..40)) {
            let _ = parse_stamp(&text, None);
        }

        #[test]
        fn text_like_stamps_never_panics(text in "[0-9]{4}-[0-9]{2}-[0-9]{2}[T ]?[0-9:.Z+-]{0,20}") {
            let _ = parse_stamp(text.as_bytes(), None);
        }

        #[test]
        fn a_printed_stamp_reads_back(millis in 0_u64..18_446_744_073_709) {
            let stamp = UnixNanos(millis * 1_000_000);
            prop_assert_eq!(parse_stamp(stamp.to_string().as_bytes(), None), Ok(stamp));
        }
    }
}
