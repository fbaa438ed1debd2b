//! How a component is brought in while an agent runs.

use serde::Deserialize;
use std::num::NonZeroU64;

/// What holds for a swap that does not say otherwise, and how a watched file is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SwapConfig {
    /// Ticks for which a candidate runs beside the strategy before it takes over; what it wants is compared and never
    /// sent. Default 0: an operator who wants to compare says for how long, and a watched file is taken at once.
    pub shadow_ticks: u64,
    /// Ticks after a switch in which the component before comes back by itself when the new one fails. Default
    /// 1,000: long enough that a mistake in what is done on every tick shows.
    pub probation_ticks: u64,
    /// How often a watched file is looked at; it is taken when two looks in a row find the same. Default 500: a
    /// second from saving to vetting, and two reads of a small file meanwhile.
    pub watch_poll_ms: NonZeroU64,
}

impl Default for SwapConfig {
    fn default() -> Self {
        Self {
            shadow_ticks: 0,
            probation_ticks: 1_000,
            watch_poll_ms: const { NonZeroU64::new(500).unwrap() },
        }
    }
}
