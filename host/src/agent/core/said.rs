//! What the strategy says, on its way to a person: no more than so many lines and bytes a second, and whoever
//! reads it learns how many there would have been.

use super::{Core, Effect};
use crate::market::{MonoNanos, Now};
use crate::plugin::{LogLevel, LogLine, Metric, ServiceLimits};

const SECOND_NS: u64 = 1_000_000_000;

/// How much of what the strategy says may still be passed on.
#[derive(Debug, Default)]
pub(super) struct Voice {
    /// When the current second began; `None` before the first line.
    since: Option<MonoNanos>,
    lines: u32,
    bytes: usize,
    /// Lines dropped that nobody has been told of.
    untold: u64,
    /// Whether somebody was told in the current second.
    told: bool,
}

impl Voice {
    fn renew(&mut self, now: MonoNanos) {
        if self.since.is_none_or(|since| now.0.saturating_sub(since.0) >= SECOND_NS) {
            (self.since, self.lines, self.bytes, self.told) = (Some(now), 0, 0, false);
        }
    }

    /// Cuts `lines` down to what may be passed on, and says how many were dropped when that is news.
    fn pass(
        &mut self,
        now: MonoNanos,
        limits: &ServiceLimits,
        dropped: u64,
        lines: &mut Vec<LogLine>,
    ) -> u64 {
        self.renew(now);
        let mut over = dropped;
        lines.retain(|line| {
            let bytes = self.bytes.saturating_add(line.text.len());
            let fits =
                self.lines < limits.log_lines_per_second_max && bytes <= limits.log_bytes_per_second_max;
            if fits {
                (self.lines, self.bytes) = (self.lines + 1, bytes);
            } else {
                over += 1;
            }
            fits
        });
        self.untold += over;
        if self.untold > 0 && !self.told {
            let text = format!(
                "{} lines of this strategy were dropped (limits log_lines_per_call_max, log_lines_per_second_max, \
                 log_bytes_per_second_max)",
                self.untold
            );
            lines.push(LogLine { level: LogLevel::Warn, text });
            (self.untold, self.told) = (0, true);
        }
        over
    }
}

impl Core {
    /// Passes on what the strategy has said in the call that has just ended.
    #[inline]
    pub(super) fn listen(&mut self, now: Now, out: &mut Vec<Effect>) {
        let telemetry = &mut self.services.telemetry;
        if !telemetry.observations.is_empty() || telemetry.observations_dropped > 0 {
            self.stats.observations_dropped += telemetry.settle();
        }
        if !telemetry.lines.is_empty() || telemetry.lines_dropped > 0 {
            let mut lines = std::mem::take(&mut telemetry.lines);
            let dropped = std::mem::take(&mut telemetry.lines_dropped);
            self.pass_on(now, dropped, &mut lines, out);
        }
    }

    /// Tells of lines that were dropped after the flood is over.
    #[inline]
    pub(super) fn tell_dropped_lines(&mut self, now: Now, out: &mut Vec<Effect>) {
        if self.voice.untold > 0 {
            self.pass_on(now, 0, &mut Vec::new(), out);
        }
    }

    fn pass_on(&mut self, now: Now, dropped: u64, lines: &mut Vec<LogLine>, out: &mut Vec<Effect>) {
        let limits = &self.config.limits.services;
        self.stats.log_lines_dropped += self.voice.pass(now.mono, limits, dropped, lines);
        if !lines.is_empty() {
            out.push(Effect::Said(std::mem::take(lines)));
        }
    }

    /// The strategy's own metrics and what it has observed of them.
    pub fn strategy_metrics(&self) -> &[Metric] {
        self.services.telemetry.metrics()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(count: usize) -> Vec<LogLine> {
        vec![LogLine { level: LogLevel::Info, text: "0123456789".into() }; count]
    }

    fn limits() -> ServiceLimits {
        ServiceLimits {
            log_lines_per_second_max: 3,
            log_bytes_per_second_max: 1_000,
            ..ServiceLimits::default()
        }
    }

    #[test]
    fn a_second_passes_on_so_many_lines_and_says_once_how_many_were_dropped() {
        let mut voice = Voice::default();
        let mut said = lines(5);
        assert_eq!(voice.pass(MonoNanos(0), &limits(), 7, &mut said), 9);
        assert_eq!(said.len(), 4);
        assert!(said[3].text.starts_with("9 lines of this strategy were dropped"), "{said:?}");
        let mut said = lines(2);
        assert_eq!(voice.pass(MonoNanos(SECOND_NS - 1), &limits(), 0, &mut said), 2);
        assert!(said.is_empty(), "nothing more in this second: {said:?}");
        // The next second begins with room, and tells of what it has not told yet.
        let mut said = lines(1);
        assert_eq!(voice.pass(MonoNanos(SECOND_NS), &limits(), 0, &mut said), 0);
        assert_eq!(said.len(), 2);
        assert!(said[1].text.starts_with("2 lines of this strategy were dropped"), "{said:?}");
    }

    #[test]
    fn bytes_are_limited_as_lines_are() {
        let limits = ServiceLimits { log_bytes_per_second_max: 25, ..limits() };
        let mut said = lines(3);
        assert_eq!(Voice::default().pass(MonoNanos(0), &limits, 0, &mut said), 1);
        assert_eq!(said.len(), 3, "two lines and the one that tells of the third");
    }
}
