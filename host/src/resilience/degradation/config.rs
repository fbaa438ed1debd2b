//! Thresholds and dwells of degradation.

use crate::market::Money;
use crate::resilience::{Class, Classified, Permille};
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use std::num::NonZeroU8;
use std::time::Duration;
use thiserror::Error;

/// When an agent is allowed less, and when more again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DegradationConfig {
    /// Equity below this is a shutdown. Default none: only the owner of the account knows the amount.
    pub equity_min: Option<Money>,
    /// Drawdown above this is a shutdown. Default 200: a fifth of the account is lost, and a person must
    /// look.
    pub drawdown_max_permille: Permille,
    /// Drawdowns that make the agent read-only. Default none: an early stop is a choice of the strategy's
    /// owner.
    pub drawdown_read_only: Option<DrawdownBand>,
    /// Drawdowns that make the agent observe. Default none, for the same reason.
    pub drawdown_observation: Option<DrawdownBand>,
    /// Age of data beyond which the agent observes. Default 60 000: orders at prices of another minute are
    /// guesses.
    pub feed_age_ms_max: u64,
    /// Age of data from which a stale feed is well again; more than `feed_age_ms_max` means the same as it.
    /// Default 30 000: half, so that a feed at the edge does not flap.
    pub feed_age_ms_leave: u64,
    /// Calls over which traps are counted, at most 64. Default 10.
    pub trap_window_calls: NonZeroU8,
    /// Traps among those calls that make the agent observe. Default 3: one is a bad input, three are a bad
    /// strategy.
    pub traps_max: NonZeroU8,
    /// Time without an ask before the mode goes up by one. Default 60 000: as long as a breaker stays open at
    /// first.
    pub dwell_ms: u64,
    /// The longest dwell, which doubles with every flap; a smaller value than `dwell_ms` means `dwell_ms`.
    /// Default 900 000: recovery stays a matter of minutes.
    pub dwell_ms_max: u64,
    /// A fall within this time after going up is a flap; after it the dwell starts from `dwell_ms` again.
    /// Default 900 000: as long as the longest dwell.
    pub flap_window_ms: u64,
}

impl Default for DegradationConfig {
    fn default() -> Self {
        Self {
            equity_min: None,
            drawdown_max_permille: Permille::of::<200>(),
            drawdown_read_only: None,
            drawdown_observation: None,
            feed_age_ms_max: 60_000,
            feed_age_ms_leave: 30_000,
            trap_window_calls: const { NonZeroU8::new(10).unwrap() },
            traps_max: const { NonZeroU8::new(3).unwrap() },
            dwell_ms: 60_000,
            dwell_ms_max: 900_000,
            flap_window_ms: 900_000,
        }
    }
}

impl DegradationConfig {
    pub(super) fn dwell(&self, flaps: u32) -> Duration {
        let longest = self.dwell_ms_max.max(self.dwell_ms);
        Duration::from_millis(self.dwell_ms.saturating_mul(1 << flaps.min(32)).min(longest))
    }

    pub(super) fn feed_is_stale(&self, age: Duration, was_stale: bool) -> bool {
        let limit_ms =
            if was_stale { self.feed_age_ms_leave.min(self.feed_age_ms_max) } else { self.feed_age_ms_max };
        age > Duration::from_millis(limit_ms)
    }

    pub(super) fn too_many_traps(&self, calls: u64) -> bool {
        let unseen = u64::BITS.saturating_sub(u32::from(self.trap_window_calls.get()));
        (calls << unseen).count_ones() >= u32::from(self.traps_max.get())
    }
}

/// A range of drawdowns that is entered at one value and left below another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "RawBand", into = "RawBand")]
pub struct DrawdownBand {
    enter: Permille,
    leave: Permille,
}

/// A band that would be left before it is entered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error(
    "expected leave_permille at most enter_permille, found leave {} and enter {}; try 40 and 50",
    leave.thousandths(), enter.thousandths()
)]
pub struct BandError {
    /// Where it would be entered.
    pub enter: Permille,
    /// Where it would be left.
    pub leave: Permille,
}

impl Classified for BandError {
    fn class(&self) -> Class {
        Class::Data
    }

    fn code(&self) -> &'static str {
        "config_drawdown_band"
    }
}

impl DrawdownBand {
    /// A band that is entered at `enter` or more and left below `leave`.
    ///
    /// # Errors
    /// When it would be left before it is entered.
    pub fn new(enter: Permille, leave: Permille) -> Result<Self, BandError> {
        if leave <= enter { Ok(Self { enter, leave }) } else { Err(BandError { enter, leave }) }
    }

    pub(super) fn contains(self, drawdown: Decimal, was_inside: bool) -> bool {
        let limit = if was_inside { self.leave } else { self.enter };
        // A band from zero means any loss, not none.
        drawdown >= limit.decimal() && drawdown > Decimal::ZERO
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawBand {
    enter_permille: Permille,
    leave_permille: Permille,
}

impl TryFrom<RawBand> for DrawdownBand {
    type Error = BandError;

    fn try_from(raw: RawBand) -> Result<Self, BandError> {
        Self::new(raw.enter_permille, raw.leave_permille)
    }
}

impl From<DrawdownBand> for RawBand {
    fn from(band: DrawdownBand) -> Self {
        Self { enter_permille: band.enter, leave_permille: band.leave }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_config_reads_from_text_and_names_what_is_wrong() {
        let text =
            "equity_min = \"1000.5\"\ndrawdown_read_only = { enter_permille = 50, leave_permille = 40 }";
        let config: DegradationConfig = toml::from_str(text).unwrap();
        assert_eq!(config.equity_min.unwrap().to_string(), "1000.5");
        assert_eq!(toml::from_str::<DegradationConfig>(&toml::to_string(&config).unwrap()), Ok(config));

        let reversed = "drawdown_read_only = { enter_permille = 40, leave_permille = 50 }";
        let message = toml::from_str::<DegradationConfig>(reversed).unwrap_err().to_string();
        assert!(message.contains("found leave 50 and enter 40"), "{message}");
        assert!(toml::from_str::<DegradationConfig>("drawdown_max_permille = 2000").is_err());
        assert!(toml::from_str::<DegradationConfig>("dwel_ms = 1").is_err());
    }

    #[test]
    fn a_band_is_left_lower_than_it_is_entered() {
        let band = DrawdownBand::new(Permille::of::<50>(), Permille::of::<40>()).unwrap();
        let at = |permille| Decimal::new(permille, 3);
        assert!(!band.contains(at(49), false) && band.contains(at(50), false));
        assert!(band.contains(at(40), true) && !band.contains(at(39), true));
    }

    #[test]
    fn traps_count_only_within_the_window() {
        let config = DegradationConfig::default();
        assert!(config.too_many_traps(0b10_0000_0011));
        assert!(!config.too_many_traps(0b100_0000_0011));
        let widest = DegradationConfig { trap_window_calls: NonZeroU8::MAX, ..config };
        assert!(widest.too_many_traps(1 << 63 | 0b11));
    }

    #[test]
    fn the_dwell_doubles_to_its_longest() {
        let config = DegradationConfig::default();
        let seconds: Vec<_> = [0, 1, 2, 3, 4, 1_000].map(|flaps| config.dwell(flaps).as_secs()).into();
        assert_eq!(seconds, [60, 120, 240, 480, 900, 900]);
    }
}
