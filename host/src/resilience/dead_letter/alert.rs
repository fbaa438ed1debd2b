//! When somebody has to look at the dead letters: pure, `now` is given.

use crate::market::UnixNanos;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::num::NonZeroU32;
use std::time::Duration;

/// How many letters there are, in each state that matters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LetterCounts {
    /// Waiting for an operator.
    pub dead: u64,
    /// Ordered to be sent again, as they are or as new intents.
    pub requeued: u64,
    /// Done with.
    pub resolved: u64,
    /// Not done with, and perhaps executed.
    pub ambiguous: u64,
    /// First failure of the oldest one that is not done with.
    pub oldest: Option<UnixNanos>,
}

/// When somebody has to look at the letters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LetterAlertConfig {
    /// More dead letters than this raise an alert. Default 10: a few are a bad hour, more are a fault.
    pub dead_letters_alert_above: u64,
    /// A letter not done with for longer than this raises an alert. Default 3,600 s: the market that it was
    /// meant for is gone by then.
    pub dead_letter_age_alert_s: u64,
    /// More letters than this that died within the window raise an alert. Default 3: one intent and what
    /// hangs on it die together; four are a fault that is happening now.
    pub dead_letter_growth_alert_above: u64,
    /// How far back growth is looked for. Default 600 s: long enough to see slow growth, short enough that
    /// an outage that is over does not alarm for the rest of the day.
    pub dead_letter_growth_window_s: u64,
    /// An alert that still holds is raised again after this. Default 3,600 s: a reminder, not noise.
    pub dead_letter_alert_repeat_s: u64,
    /// A database that takes more than this many times what lives in it raises an alert. Default 5: it collects
    /// its garbage by itself, and one that does not any more grows until the disk is full.
    pub dead_letter_disk_ratio_alert_above: u64,
    /// A database up to this size raises none. Default 64 MiB: it writes in segments of half a megabyte, so a small
    /// one is mostly room.
    pub dead_letter_disk_bytes_min: u64,
    /// How often the letters are looked at while nothing happens to them. Default 10,000 ms: age is
    /// counted in minutes, and a look costs no disk.
    pub dead_letter_look_interval_ms: NonZeroU32,
}

impl Default for LetterAlertConfig {
    fn default() -> Self {
        const LOOK: NonZeroU32 = NonZeroU32::new(10_000).unwrap();
        Self {
            dead_letters_alert_above: 10,
            dead_letter_age_alert_s: 3_600,
            dead_letter_growth_alert_above: 3,
            dead_letter_growth_window_s: 600,
            dead_letter_alert_repeat_s: 3_600,
            dead_letter_disk_ratio_alert_above: 5,
            dead_letter_disk_bytes_min: 64 * 1024 * 1024,
            dead_letter_look_interval_ms: LOOK,
        }
    }
}

impl LetterAlertConfig {
    /// Letters that died at this moment or later count as growth.
    pub fn growth_since(&self, now: UnixNanos) -> UnixNanos {
        UnixNanos(now.0.saturating_sub(self.dead_letter_growth_window_s.saturating_mul(1_000_000_000)))
    }
}

/// Why somebody has to look at the letters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LetterAlert {
    /// One may have been executed, and nobody knows.
    Ambiguous {
        /// How many.
        count: u64,
    },
    /// They become more.
    Growing {
        /// How many died within the window.
        count: u64,
        /// The window.
        window_s: u64,
    },
    /// There are too many.
    Many {
        /// How many.
        dead: u64,
        /// The limit.
        above: u64,
    },
    /// One waits too long.
    Old {
        /// For how long.
        age_s: u64,
        /// The limit.
        above_s: u64,
    },
    /// The database takes far more of the disk than lives in it.
    Bloated {
        /// Its size.
        disk_bytes: u64,
        /// What lives in it.
        live_bytes: u64,
    },
}

impl LetterAlert {
    /// A stable name for it.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Ambiguous { .. } => "dead_letters_ambiguous",
            Self::Growing { .. } => "dead_letters_growing",
            Self::Many { .. } => "dead_letters_many",
            Self::Old { .. } => "dead_letters_old",
            Self::Bloated { .. } => "dead_letters_bloated",
        }
    }

    /// How bad it is, in the alert's own unit.
    const fn size(&self) -> u64 {
        match self {
            Self::Ambiguous { count } | Self::Growing { count, .. } => *count,
            Self::Many { dead, .. } => *dead,
            Self::Old { age_s, .. } => *age_s,
            Self::Bloated { disk_bytes, .. } => *disk_bytes,
        }
    }
}

impl fmt::Display for LetterAlert {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let letters = |count: u64| if count == 1 { "dead letter" } else { "dead letters" };
        match self {
            Self::Ambiguous { count } => write!(
                f,
                "{count} {} may have been executed; ask the venue, then replay, re-issue or resolve",
                letters(*count)
            ),
            Self::Growing { count, window_s } => {
                write!(f, "{count} new {} within {window_s} s; look for the cause", letters(*count))
            }
            Self::Many { dead, above } => {
                write!(f, "{dead} {} wait for an operator, more than {above}", letters(*dead))
            }
            Self::Old { age_s, above_s } => {
                write!(f, "the oldest dead letter has waited for {age_s} s, more than {above_s}")
            }
            Self::Bloated { disk_bytes, live_bytes } => write!(
                f,
                "the database of dead letters takes {disk_bytes} bytes for {live_bytes} that live in it; stop the host \
                 and move its folder away, the journal and the next start bring back every letter that is open"
            ),
        }
    }
}

/// What there is to be alarmed about, the worst first. `grown` is how many letters have died since
/// [`LetterAlertConfig::growth_since`].
pub fn letter_alerts(
    counts: &LetterCounts,
    grown: u64,
    now: UnixNanos,
    config: &LetterAlertConfig,
) -> Vec<LetterAlert> {
    let above = config.dead_letters_alert_above;
    let above_s = config.dead_letter_age_alert_s;
    let window_s = config.dead_letter_growth_window_s;
    let age = counts.oldest.map_or(Duration::ZERO, |oldest| now.since(oldest));
    let ambiguous = (counts.ambiguous > 0).then_some(LetterAlert::Ambiguous { count: counts.ambiguous });
    let growing = (grown > config.dead_letter_growth_alert_above)
        .then_some(LetterAlert::Growing { count: grown, window_s });
    let many = (counts.dead > above).then_some(LetterAlert::Many { dead: counts.dead, above });
    let old =
        (age > Duration::from_secs(above_s)).then_some(LetterAlert::Old { age_s: age.as_secs(), above_s });
    [ambiguous, growing, many, old].into_iter().flatten().collect()
}

/// Whether the database takes too much of the disk for what lives in it.
pub fn database_alert(disk_bytes: u64, live_bytes: u64, config: &LetterAlertConfig) -> Option<LetterAlert> {
    let allowed = live_bytes.saturating_mul(config.dead_letter_disk_ratio_alert_above);
    (disk_bytes > allowed.max(config.dead_letter_disk_bytes_min))
        .then_some(LetterAlert::Bloated { disk_bytes, live_bytes })
}

/// Remembers what has been raised, so that an alert is raised when it begins, when it becomes worse and as
/// a reminder, and not at every look.
#[derive(Clone, Debug, Default)]
pub struct LetterWatch {
    /// What held at the last look, with its size at the time it was last raised and that time.
    raised: Vec<(&'static str, u64, UnixNanos)>,
}

impl LetterWatch {
    /// Which of the alerts that hold now are to be raised.
    pub fn look(
        &mut self,
        now: UnixNanos,
        holding: Vec<LetterAlert>,
        config: &LetterAlertConfig,
    ) -> Vec<LetterAlert> {
        let repeat = Duration::from_secs(config.dead_letter_alert_repeat_s);
        let before = std::mem::take(&mut self.raised);
        let mut due = Vec::new();
        for alert in holding {
            let known = before.iter().find(|(code, ..)| *code == alert.code()).copied();
            // An age grows with every look, and a file with every change: that alone is no news.
            let grows = !matches!(alert, LetterAlert::Old { .. } | LetterAlert::Bloated { .. });
            match known {
                Some((code, size, at)) if !(grows && alert.size() > size) && now.since(at) < repeat => {
                    // When there are fewer now, the next one more is news.
                    let size = if grows { size.min(alert.size()) } else { size };
                    self.raised.push((code, size, at));
                }
                _ => {
                    self.raised.push((alert.code(), alert.size(), now));
                    due.push(alert);
                }
            }
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn at(second: u64) -> UnixNanos {
        UnixNanos(second * SECOND)
    }

    #[test]
    fn alerts_come_above_their_limits_and_ambiguity_at_once() {
        let config = LetterAlertConfig::default();
        let now = at(10_000);
        let quiet = LetterCounts { dead: 10, oldest: Some(now), ..LetterCounts::default() };
        assert_eq!(letter_alerts(&quiet, 3, now, &config), []);
        let growing = LetterAlert::Growing { count: 4, window_s: 600 };
        assert_eq!(letter_alerts(&quiet, 4, now, &config), [growing]);
        let many = LetterCounts { dead: 11, ..quiet };
        assert_eq!(letter_alerts(&many, 0, now, &config), [LetterAlert::Many { dead: 11, above: 10 }]);
        let old = LetterCounts { oldest: Some(at(10_000 - 3_601)), ..quiet };
        let alert = LetterAlert::Old { age_s: 3_601, above_s: 3_600 };
        assert_eq!(letter_alerts(&old, 0, now, &config), [alert]);
        let ambiguous = LetterCounts { ambiguous: 1, ..quiet };
        assert_eq!(letter_alerts(&ambiguous, 0, now, &config), [LetterAlert::Ambiguous { count: 1 }]);
    }

    #[test]
    fn a_database_may_take_five_times_what_lives_in_it_and_a_small_one_what_it_likes() {
        let config = LetterAlertConfig { dead_letter_disk_bytes_min: 1_000, ..LetterAlertConfig::default() };
        for (disk_bytes, live_bytes, bloated) in
            [(1_000, 0, false), (1_001, 0, true), (5_000, 1_000, false), (5_001, 1_000, true)]
        {
            let expected = bloated.then_some(LetterAlert::Bloated { disk_bytes, live_bytes });
            assert_eq!(database_alert(disk_bytes, live_bytes, &config), expected);
        }
    }

    #[test]
    fn growth_is_counted_from_the_beginning_of_the_window_also_close_to_the_epoch() {
        let config = LetterAlertConfig::default();
        assert_eq!(config.growth_since(at(1_000)), at(400));
        assert_eq!(config.growth_since(at(10)), at(0));
    }

    #[test]
    fn an_alert_is_raised_when_it_begins_when_it_grows_and_as_a_reminder() {
        let config = LetterAlertConfig::default();
        let mut watch = LetterWatch::default();
        let mut look = |second, count| {
            let holding = (count > 0).then_some(LetterAlert::Ambiguous { count });
            watch.look(at(second), holding.into_iter().collect(), &config).len()
        };
        assert_eq!(look(0, 1), 1, "it begins");
        assert_eq!(look(10, 1), 0);
        assert_eq!(look(20, 2), 1, "it grows");
        assert_eq!(look(30, 1), 0, "one is settled");
        assert_eq!(look(40, 2), 1, "and another comes");
        assert_eq!(look(3_639, 2), 0);
        assert_eq!(look(3_640, 2), 1, "a reminder");
        assert_eq!(look(3_650, 0), 0);
        assert_eq!(look(3_660, 1), 1, "it begins anew");
    }

    #[test]
    fn age_alone_is_raised_once_and_then_as_a_reminder() {
        let config = LetterAlertConfig::default();
        let mut watch = LetterWatch::default();
        let mut look = |age_s| {
            let holding = vec![LetterAlert::Old { age_s, above_s: 3_600 }];
            watch.look(at(age_s), holding, &config).len()
        };
        let raised: usize = (3_601..3_601 + 7_200).step_by(10).map(&mut look).sum();
        assert_eq!(raised, 2);
    }
}
