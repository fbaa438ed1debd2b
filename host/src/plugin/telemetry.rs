//! What a strategy says in log lines and metrics: bounded, and harmless on a terminal.

use super::ServiceLimits;
use super::text::printable;
use serde::{Deserialize, Serialize};

/// Severity of a log line; WIT `log.level`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[expect(missing_docs, reason = "the names are the usual ones")]
pub enum LogLevel {
    Trace,
    Debug,
    Info,
    Warn,
    Error,
}

/// One line that a strategy logged, already escaped and cut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    /// Its severity.
    pub level: LogLevel,
    /// Its text.
    pub text: String,
}

/// Kind of a strategy's own metric; WIT `metrics.kind`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[expect(missing_docs, reason = "the names are the usual ones")]
pub enum MetricKind {
    Counter,
    Gauge,
    Histogram,
}

/// A strategy's own metric and what it was observed to be, over all calls so far.
#[derive(Clone, Debug, PartialEq)]
pub struct Metric {
    /// Its name: letters, digits and `_ . : -`, beginning with a letter or `_`.
    pub name: String,
    /// Its kind.
    pub kind: MetricKind,
    /// How many observations there were.
    pub count: u64,
    /// Their sum; what a counter counted.
    pub sum: f64,
    /// The last of them; where a gauge stands.
    pub last: f64,
    /// The least of them.
    pub min: f64,
    /// The greatest of them.
    pub max: f64,
}

/// What a strategy said in log lines and metrics since the core last drained it.
#[derive(Debug, Default)]
pub struct Telemetry {
    /// Lines of this call, oldest first, at most [`ServiceLimits::log_lines_per_call_max`].
    pub lines: Vec<LogLine>,
    /// Lines of this call that did not fit.
    pub lines_dropped: u64,
    /// Registered metrics; the position is the id that the strategy was given.
    metrics: Vec<Metric>,
    /// Observations of this call: metric id and value, at most
    /// [`ServiceLimits::metric_observations_per_call_max`].
    pub observations: Vec<(u32, f64)>,
    /// Observations of this call that did not fit, were not finite or of no metric.
    pub observations_dropped: u64,
    /// Lines below this level are not wanted.
    pub level: Option<LogLevel>,
    limits: ServiceLimits,
}

impl Telemetry {
    /// The id of a metric that was not registered: its observations are dropped and counted.
    pub const NO_METRIC: u32 = u32::MAX;

    pub(super) fn limit(&mut self, limits: ServiceLimits) {
        self.limits = limits;
    }

    /// Takes one line: what drives a terminal is escaped.
    pub fn log(&mut self, level: LogLevel, text: &str) {
        if self.level.is_some_and(|least| level < least) {
            return;
        }
        if self.lines.len() >= self.limits.log_lines_per_call_max {
            self.lines_dropped += 1;
            return;
        }
        self.lines.push(LogLine { level, text: printable(text, self.limits.log_line_bytes_max) });
    }

    /// Registers a metric and returns its id; a name registered before gives the same id. A name that no
    /// database would take, and a metric too many, get [`Telemetry::NO_METRIC`] and a line in the log that
    /// says so.
    pub fn register(&mut self, name: &str, kind: MetricKind) -> u32 {
        let known = self.metrics.iter().position(|metric| metric.name == name && metric.kind == kind);
        let position = known.or_else(|| {
            let (metrics_max, name_bytes_max) = (self.limits.metrics_max, self.limits.metric_name_bytes_max);
            let reason = if !is_metric_name(name) || name.len() > name_bytes_max {
                format!(
                    "a name has up to {name_bytes_max} letters, digits and _ . : -, and begins with a letter or _"
                )
            } else if self.metrics.len() >= metrics_max {
                format!("a strategy has at most {metrics_max} (limit metrics_max)")
            } else {
                let (sum, last, min, max) = (0.0, 0.0, f64::INFINITY, f64::NEG_INFINITY);
                self.metrics.push(Metric { name: name.to_owned(), kind, count: 0, sum, last, min, max });
                return Some(self.metrics.len() - 1);
            };
            let name = printable(name, name_bytes_max);
            self.log(LogLevel::Warn, &format!("metric {name} was not registered: {reason}"));
            None
        });
        position.and_then(|position| u32::try_from(position).ok()).unwrap_or(Self::NO_METRIC)
    }

    /// Takes one observation; what is not finite or not registered is dropped and counted.
    pub fn observe(&mut self, id: u32, value: f64) {
        let registered = usize::try_from(id).is_ok_and(|id| id < self.metrics.len());
        let room = self.observations.len() < self.limits.metric_observations_per_call_max;
        if registered && value.is_finite() && room {
            self.observations.push((id, value));
        } else {
            self.observations_dropped += 1;
        }
    }

    /// The metrics and what was observed of them until the last [`Telemetry::settle`].
    pub fn metrics(&self) -> &[Metric] {
        &self.metrics
    }

    /// Adds the observations of a call to the metrics. Returns how many were dropped.
    pub fn settle(&mut self) -> u64 {
        for (id, value) in self.observations.drain(..) {
            let metric = usize::try_from(id).ok().and_then(|id| self.metrics.get_mut(id));
            let Some(metric) = metric else { continue };
            metric.count += 1;
            // A sum of finite values need not be finite.
            metric.sum = (metric.sum + value).clamp(f64::MIN, f64::MAX);
            metric.last = value;
            metric.min = metric.min.min(value);
            metric.max = metric.max.max(value);
        }
        std::mem::take(&mut self.observations_dropped)
    }

    /// Forgets what was said since the last drain, as if it had not been said: it was said before.
    pub fn forget(&mut self) {
        self.lines.clear();
        self.observations.clear();
        (self.lines_dropped, self.observations_dropped) = (0, 0);
    }
}

fn is_metric_name(name: &str) -> bool {
    let begins = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    begins && name.chars().all(|c| c.is_ascii_alphanumeric() || "_.:-".contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_metric_sums_up_what_was_observed_call_by_call() {
        let mut telemetry = Telemetry::default();
        let id = telemetry.register("spread.bps", MetricKind::Histogram);
        assert_eq!(telemetry.register("spread.bps", MetricKind::Histogram), id);
        for value in [3.0, 1.0, f64::NAN, f64::NEG_INFINITY, 2.0] {
            telemetry.observe(id, value);
        }
        telemetry.observe(7, 1.0);
        assert_eq!(telemetry.settle(), 3);
        let metric = &telemetry.metrics()[0];
        assert_eq!((metric.count, metric.sum, metric.last), (3, 6.0, 2.0));
        assert_eq!((metric.min, metric.max), (1.0, 3.0));
        telemetry.observe(id, f64::MAX);
        telemetry.observe(id, f64::MAX);
        assert_eq!(telemetry.settle(), 0);
        assert!(telemetry.metrics()[0].sum.is_finite());
    }

    #[test]
    fn a_name_that_no_database_takes_is_no_metric_and_the_log_says_so() {
        let mut telemetry = Telemetry::default();
        for name in ["", "9lives", "two words", "a\u{1b}[2J", "a{job=\"x\"}", "ä", &"x".repeat(65)] {
            assert_eq!(telemetry.register(name, MetricKind::Gauge), Telemetry::NO_METRIC, "{name}");
        }
        assert!(telemetry.metrics().is_empty());
        assert_eq!(telemetry.lines.len(), 7);
        assert!(
            telemetry.lines[3].text.starts_with("metric a\\u{1b}[2J was not registered"),
            "{telemetry:?}"
        );
    }

    #[test]
    fn metrics_and_observations_beyond_the_limits_are_dropped_and_counted() {
        let mut telemetry = Telemetry::default();
        telemetry.limit(ServiceLimits {
            metrics_max: 2,
            metric_observations_per_call_max: 3,
            ..ServiceLimits::default()
        });
        let ids = ["a", "b", "c"].map(|name| telemetry.register(name, MetricKind::Counter));
        assert_eq!(ids, [0, 1, Telemetry::NO_METRIC]);
        for _ in 0..5 {
            telemetry.observe(0, 1.0);
        }
        telemetry.observe(Telemetry::NO_METRIC, 1.0);
        assert_eq!(telemetry.settle(), 3);
        assert_eq!(telemetry.metrics()[0].count, 3);
    }
}
