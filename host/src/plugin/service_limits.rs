//! What a strategy may keep with its host, say to it and measure.

use crate::resilience::LimitFault;
use serde::{Deserialize, Serialize};

/// What one strategy may keep, say and measure. Part of the core's limits, because what it keeps decides
/// what it does: a run that is repeated needs the same ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ServiceLimits {
    /// Keys of small durable values. Default 1,024: they are for counters and marks, not for history.
    pub kv_keys_max: usize,
    /// Bytes of one key. Default 128: a name with an instrument in it.
    pub kv_key_bytes_max: usize,
    /// Bytes of one value. Default 16 KiB: larger ones belong into the strategy's state.
    pub kv_value_bytes_max: usize,
    /// Bytes of all keys and values together. Default 64 KiB: they travel in every checkpoint.
    pub kv_bytes_max: usize,
    /// Timers set at a time, and so the most that one tick can fire. Default 64.
    pub timers_max: usize,
    /// Log lines of one call; the others are dropped and counted. Default 256.
    pub log_lines_per_call_max: usize,
    /// Bytes kept of one log line, escapes included; the rest is cut. Default 1,024.
    pub log_line_bytes_max: usize,
    /// Log lines within a second, over all calls; the others are dropped and counted, and one line says how
    /// many. Default 500: a burst that a person may still want to read afterwards.
    pub log_lines_per_second_max: u32,
    /// Bytes of log lines within a second. Default 64 KiB: some gigabytes a day of the worst flood.
    pub log_bytes_per_second_max: usize,
    /// Metrics that may be registered. Default 64: each is a series in somebody's database.
    pub metrics_max: usize,
    /// Bytes of a metric's name. Default 64.
    pub metric_name_bytes_max: usize,
    /// Observations of one call; the others are dropped and counted. Default 1,024.
    pub metric_observations_per_call_max: usize,
}

impl Default for ServiceLimits {
    fn default() -> Self {
        Self {
            kv_keys_max: 1_024,
            kv_key_bytes_max: 128,
            kv_value_bytes_max: 16 << 10,
            kv_bytes_max: 64 << 10,
            timers_max: 64,
            log_lines_per_call_max: 256,
            log_line_bytes_max: 1_024,
            log_lines_per_second_max: 500,
            log_bytes_per_second_max: 64 << 10,
            metrics_max: 64,
            metric_name_bytes_max: 64,
            metric_observations_per_call_max: 1_024,
        }
    }
}

impl ServiceLimits {
    /// Whether every limit limits something and leaves something.
    ///
    /// # Errors
    /// The first limit that is out of range.
    pub fn check(&self) -> Result<(), LimitFault> {
        let lines = self.log_lines_per_second_max;
        LimitFault::unless_within("kv_keys_max", &self.kv_keys_max, &(1..=100_000))?;
        LimitFault::unless_within("kv_key_bytes_max", &self.kv_key_bytes_max, &(1..=4_096))?;
        LimitFault::unless_within("kv_value_bytes_max", &self.kv_value_bytes_max, &(1..=16 << 20))?;
        LimitFault::unless_within("kv_bytes_max", &self.kv_bytes_max, &(1..=64 << 20))?;
        LimitFault::unless_within("timers_max", &self.timers_max, &(1..=10_000))?;
        LimitFault::unless_within("log_lines_per_call_max", &self.log_lines_per_call_max, &(1..=10_000))?;
        LimitFault::unless_within("log_line_bytes_max", &self.log_line_bytes_max, &(64..=64 << 10))?;
        LimitFault::unless_within("log_lines_per_second_max", &lines, &(1..=100_000))?;
        let (bytes, range) = (self.log_bytes_per_second_max, self.log_line_bytes_max..=64 << 20);
        LimitFault::unless_within("log_bytes_per_second_max", &bytes, &range)?;
        LimitFault::unless_within("metrics_max", &self.metrics_max, &(1..=10_000))?;
        LimitFault::unless_within("metric_name_bytes_max", &self.metric_name_bytes_max, &(8..=256))?;
        let observations = self.metric_observations_per_call_max;
        LimitFault::unless_within("metric_observations_per_call_max", &observations, &(1..=1_000_000))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_make_sense_and_nothing_at_all_does_not() {
        assert_eq!(ServiceLimits::default().check(), Ok(()));
        let none = ServiceLimits { timers_max: 0, ..ServiceLimits::default() }.check().unwrap_err();
        assert_eq!(none.to_string(), "timers_max: found 0; give 1 to 10000");
        // A second in which not even one line fits would drop all of them.
        let narrow = ServiceLimits { log_bytes_per_second_max: 100, ..ServiceLimits::default() };
        assert_eq!(narrow.check().unwrap_err().advice, "give 1024 to 67108864");
    }
}
