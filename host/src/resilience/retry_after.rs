//! The Retry-After header: how long a venue asks to be left alone (RFC 9110, 10.2.3).

use crate::market::UnixNanos;
use httpdate::HttpDate;
use std::time::{Duration, SystemTime};

/// The longest wait that is believed. Beyond a day the header is a mistake, but still a wish to be left
/// alone.
pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(86_400);

/// Reads a Retry-After header: whole seconds, or a date, which counts from the `Date` header of the same
/// answer when there is a readable one (the venue's clock may differ from ours), else from `now`.
///
/// A date in the past is no wait at all; more than [`RETRY_AFTER_MAX`] is cut to it; anything else (a sign, a
/// fraction, words) is ignored, since a misread wait is worse than our own backoff.
pub fn parse_retry_after(value: &str, date: Option<&str>, now: UnixNanos) -> Option<Duration> {
    let value = value.trim_matches([' ', '\t']);
    let wait = if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        // Only digits: the one way to fail is a number that is too large.
        Duration::from_secs(value.parse().unwrap_or(u64::MAX))
    } else {
        let until = since_epoch(value)?;
        let from = date.and_then(since_epoch).unwrap_or(Duration::from_nanos(now.0));
        until.saturating_sub(from)
    };
    Some(wait.min(RETRY_AFTER_MAX))
}

fn since_epoch(date: &str) -> Option<Duration> {
    let date: HttpDate = date.trim_matches([' ', '\t']).parse().ok()?;
    SystemTime::from(date).duration_since(SystemTime::UNIX_EPOCH).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Sun, 06 Nov 1994 08:49:37 GMT.
    const NOW: UnixNanos = UnixNanos(784_111_777_000_000_000);

    fn seconds(value: &str, date: Option<&str>) -> Option<u64> {
        parse_retry_after(value, date, NOW).map(|wait| wait.as_secs())
    }

    #[test]
    fn whole_seconds_are_taken_as_they_are() {
        assert_eq!(seconds("0", None), Some(0));
        assert_eq!(seconds(" 120\t", None), Some(120));
        assert_eq!(seconds("86400", None), Some(86_400));
    }

    #[test]
    fn an_absurd_wait_is_cut_to_a_day() {
        for value in ["86401", "999999999999999999999999999", "Fri, 31 Dec 9999 23:59:59 GMT"] {
            assert_eq!(seconds(value, None), Some(86_400), "{value}");
        }
    }

    #[test]
    fn junk_is_ignored() {
        for value in
            ["", " ", "-1", "+5", "1.5", "1e3", "0x10", "5s", "soon", "NaN", "٣", "1 2", "Sun, 06 Nov"]
        {
            assert_eq!(seconds(value, None), None, "{value}");
        }
        // 1994-11-07 was a Monday.
        assert_eq!(seconds("Sun, 07 Nov 1994 08:49:37 GMT", None), None);
    }

    #[test]
    fn a_date_counts_from_our_clock_when_the_answer_has_none() {
        assert_eq!(seconds("Sun, 06 Nov 1994 08:50:07 GMT", None), Some(30));
        assert_eq!(seconds("Sun, 06 Nov 1994 08:50:07 GMT", Some("yesterday")), Some(30));
    }

    #[test]
    fn a_date_counts_from_the_venues_clock_when_it_says_it() {
        let skewed = Some("Sun, 06 Nov 1994 08:50:00 GMT");
        assert_eq!(seconds("Sun, 06 Nov 1994 08:50:07 GMT", skewed), Some(7));
    }

    #[test]
    fn a_date_in_the_past_is_no_wait() {
        assert_eq!(seconds("Sun, 06 Nov 1994 08:49:36 GMT", None), Some(0));
        assert_eq!(seconds("Thu, 01 Jan 1970 00:00:00 GMT", None), Some(0));
    }

    proptest! {
        #[test]
        fn no_text_panics_or_gives_more_than_a_day(
            value in ".*", date in prop::option::of(".*"), now in any::<u64>(),
        ) {
            let wait = parse_retry_after(&value, date.as_deref(), UnixNanos(now));
            prop_assert!(wait.is_none_or(|wait| wait <= RETRY_AFTER_MAX));
        }

        #[test]
        fn no_text_like_a_date_panics(
            value in "(Sun|Mon|Sunday|Xxx),? ?[0-9]{2}[ -](Nov|Feb|Xxx)[ -][0-9]{2,4} [0-9:]{8}( GMT)?",
            now in any::<u64>(),
        ) {
            let wait = parse_retry_after(&value, Some(&value), UnixNanos(now));
            prop_assert!(wait.is_none_or(|wait| wait.is_zero()));
        }
    }
}
