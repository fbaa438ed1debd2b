//! The market check: what a strategy never sees.
//!
//! One small state per instrument, no clock and no allocation. Readers turn text into ticks and refuse what
//! is no number; this check refuses what cannot be true given what was seen before, and given the time.

use super::fault::{DataCounts, DataFault, Excerpt, FaultKind, Field};
use super::instrument::STEPS_MAX;
use super::{Marks, Now, PriceTicks, Tick, UnixNanos};
use serde::{Deserialize, Serialize};
use std::num::{NonZeroU32, NonZeroU64};

/// What the market check lets pass.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CheckConfig {
    /// Largest move between two accepted prices. Default 200 per mille: the deepest of the market-wide
    /// circuit breakers of the US exchanges halts trading at a fall of 20 %, so a larger step in one sample
    /// is a broken feed far more often than a market.
    pub jump_permille_max: NonZeroU32,
    /// Samples in a row that must agree with a jump, each within `jump_permille_max` of the one before, until
    /// the new level is believed. Default 3: one wrong print is common and three that agree are not, yet a
    /// real gap costs three samples and does not silence the feed for ever.
    pub jump_confirmations: NonZeroU32,
    /// Oldest sample that passes, against the wall clock; `None` for recorded data. Default 60 s, the age at
    /// which the agent stops trading on a feed altogether.
    pub sample_age_ms_max: Option<NonZeroU64>,
    /// How far ahead of the wall clock a sample may be stamped; `None` for recorded data. Default 5 s, more
    /// than two synchronised clocks ever differ. Without this limit one stamp from the future would make
    /// every later sample look backward.
    pub sample_lead_ms_max: Option<NonZeroU64>,
    /// Whether a sample may carry the stamp of the one before. Default true: venues stamp in milliseconds and
    /// print several trades in one.
    pub equal_time_allowed: bool,
    /// Whether a bid may be above the ask. Default false: the book of one venue cannot be crossed. Set it for
    /// quotes put together from several venues.
    pub crossed_allowed: bool,
}

impl Default for CheckConfig {
    fn default() -> Self {
        Self {
            jump_permille_max: NonZeroU32::MIN.saturating_add(199),
            jump_confirmations: NonZeroU32::MIN.saturating_add(2),
            sample_age_ms_max: NonZeroU64::new(60_000),
            sample_lead_ms_max: NonZeroU64::new(5_000),
            equal_time_allowed: true,
            crossed_allowed: false,
        }
    }
}

impl CheckConfig {
    /// The same check for data that was recorded earlier: the wall clock says nothing about its age.
    pub fn recorded(self) -> Self {
        Self { sample_age_ms_max: None, sample_lead_ms_max: None, ..self }
    }
}

/// What is remembered of one instrument.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    /// Stamp and price of the last accepted sample.
    accepted: Option<(UnixNanos, PriceTicks)>,
    /// The last price of a run that jumped away from the accepted one, and how many agreed with it since.
    jumped: Option<(PriceTicks, u32)>,
}

/// Lets samples pass that can be true, and counts the others by fault.
#[derive(Clone, Debug)]
pub struct MarketCheck {
    config: CheckConfig,
    seen: Vec<Seen>,
    counts: DataCounts,
}

impl MarketCheck {
    /// A check of as many instruments as the session has.
    pub fn new(config: CheckConfig, instrument_count: usize) -> Self {
        Self { config, seen: vec![Seen::default(); instrument_count], counts: DataCounts::default() }
    }

    /// Decides whether a strategy may see this sample. What is refused is counted and changes nothing else,
    /// except that it may confirm a jump.
    ///
    /// # Errors
    /// Why the sample is dropped.
    #[inline]
    pub fn admit(&mut self, now: Now, tick: &Tick) -> Result<(), DataFault> {
        match self.decide(now, tick) {
            Ok(()) => Ok(()),
            Err(kind) => {
                self.counts.add(kind.code());
                Err(kind.into())
            }
        }
    }

    /// Counts a fault that was found before a sample became a tick.
    pub fn count(&mut self, fault: &DataFault) {
        self.counts.add(fault.kind.code());
    }

    /// What was dropped so far.
    pub const fn counts(&self) -> &DataCounts {
        &self.counts
    }

    #[inline]
    fn decide(&mut self, now: Now, tick: &Tick) -> Result<(), FaultKind> {
        let position = usize::try_from(tick.instrument.0).unwrap_or(usize::MAX);
        let Some(seen) = self.seen.get_mut(position) else {
            return Err(FaultKind::UnknownInstrument { instrument: tick.instrument });
        };
        let price = values(tick)?;
        let crossed = tick.bid_price > tick.ask_price && tick.ask_price.0 > 0;
        if crossed && !self.config.crossed_allowed {
            return Err(FaultKind::Crossed { bid: tick.bid_price, ask: tick.ask_price });
        }
        age(&self.config, now.wall, tick.event_time)?;
        if let Some((last_time, last_price)) = seen.accepted {
            let backward = tick.event_time < last_time
                || (tick.event_time == last_time && !self.config.equal_time_allowed);
            if backward {
                return Err(FaultKind::Backward { last: last_time, found: tick.event_time });
            }
            jump(&self.config, seen, last_price, price)?;
        }
        *seen = Seen { accepted: Some((tick.event_time, price)), jumped: None };
        Ok(())
    }
}

/// The price of a tick whose numbers make sense on their own.
#[inline]
fn values(tick: &Tick) -> Result<PriceTicks, FaultKind> {
    // One test for the usual case: a sign or a top bit in any of them shows in all of them together.
    let together = tick.bid_price.0
        | tick.ask_price.0
        | tick.last_price.0
        | tick.bid_size.0
        | tick.ask_size.0
        | tick.last_size.0
        | tick.volume.0;
    if !(0..STEPS_MAX).contains(&together) {
        range(tick)?;
    }
    if tick.marks.has(Marks::TRADE) && tick.last_price.0 == 0 {
        return Err(FaultKind::Zero { field: Field::Price });
    }
    tick.mark_price().ok_or(FaultKind::Zero { field: Field::Price })
}

#[cold]
fn range(tick: &Tick) -> Result<(), FaultKind> {
    let fields = [
        (Field::BidPrice, tick.bid_price.0),
        (Field::AskPrice, tick.ask_price.0),
        (Field::Price, tick.last_price.0),
        (Field::BidSize, tick.bid_size.0),
        (Field::AskSize, tick.ask_size.0),
        (Field::Quantity, tick.last_size.0),
        (Field::Volume, tick.volume.0),
    ];
    for (field, steps) in fields {
        let found = || Excerpt::new(steps.to_string().as_bytes());
        if steps < 0 {
            return Err(FaultKind::Negative { field, found: found() });
        }
        if steps > STEPS_MAX {
            return Err(FaultKind::OutOfRange { field, found: found() });
        }
    }
    Ok(())
}

#[inline]
fn age(config: &CheckConfig, wall: UnixNanos, event_time: UnixNanos) -> Result<(), FaultKind> {
    const MILLI_NANOS: u64 = 1_000_000;
    if let Some(limit) = config.sample_age_ms_max {
        let age_ms = wall.0.saturating_sub(event_time.0) / MILLI_NANOS;
        if age_ms > limit.get() {
            return Err(FaultKind::Stale { age_ms, age_ms_max: limit.get() });
        }
    }
    if let Some(limit) = config.sample_lead_ms_max {
        let lead_ms = event_time.0.saturating_sub(wall.0) / MILLI_NANOS;
        if lead_ms > limit.get() {
            return Err(FaultKind::Early { lead_ms, lead_ms_max: limit.get() });
        }
    }
    Ok(())
}

#[inline]
fn jump(config: &CheckConfig, seen: &mut Seen, last: PriceTicks, price: PriceTicks) -> Result<(), FaultKind> {
    let permille_max = config.jump_permille_max.get();
    if within(last, price, permille_max) {
        return Ok(());
    }
    let agreed = match seen.jumped {
        Some((level, agreed)) if within(level, price, permille_max) => agreed.saturating_add(1),
        _ => 0,
    };
    if agreed >= config.jump_confirmations.get() {
        return Ok(());
    }
    seen.jumped = Some((price, agreed));
    Err(FaultKind::Jump { last, found: price, permille_max })
}

/// Whether `price` is at most so many thousandths of `from` away from it.
#[inline]
fn within(from: PriceTicks, price: PriceTicks, permille_max: u32) -> bool {
    u128::from(price.0.abs_diff(from.0)) * 1_000
        <= u128::from(from.0.unsigned_abs()) * u128::from(permille_max)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::market::{FaultCode, InstrumentId, Lots, MonoNanos};
    use proptest::prelude::*;

    const SECOND: u64 = 1_000_000_000;

    fn at(seconds: u64) -> Now {
        Now { mono: MonoNanos(0), wall: UnixNanos(seconds * SECOND) }
    }

    fn trade(seconds: u64, price: i64) -> Tick {
        Tick {
            event_time: UnixNanos(seconds * SECOND),
            last_price: PriceTicks(price),
            last_size: Lots(1),
            marks: Marks::TRADE,
            ..Tick::default()
        }
    }

    fn quote(seconds: u64, bid: i64, ask: i64) -> Tick {
        Tick {
            event_time: UnixNanos(seconds * SECOND),
            bid_price: PriceTicks(bid),
            ask_price: PriceTicks(ask),
            marks: Marks::QUOTE,
            ..Tick::default()
        }
    }

    fn recorded() -> MarketCheck {
        MarketCheck::new(CheckConfig::default().recorded(), 1)
    }

    fn code(check: &mut MarketCheck, tick: &Tick) -> Option<FaultCode> {
        check.admit(at(0), tick).err().map(|fault| fault.kind.code())
    }

    #[test]
    fn a_plausible_stream_passes_whole() {
        let mut check = recorded();
        for second in 1..1_000 {
            let tick = trade(second, 10_000 + i64::try_from(second % 7).unwrap() * 100);
            assert_eq!(check.admit(at(0), &tick), Ok(()));
        }
        assert_eq!(check.counts().total(), 0);
    }

    #[test]
    fn time_may_stand_still_only_if_the_config_says_so_and_never_goes_back() {
        let mut check = recorded();
        assert_eq!(code(&mut check, &trade(10, 100)), None);
        assert_eq!(code(&mut check, &trade(10, 100)), None);
        assert_eq!(code(&mut check, &trade(9, 100)), Some(FaultCode::Backward));
        assert_eq!(code(&mut check, &trade(10, 100)), None);

        let config = CheckConfig { equal_time_allowed: false, ..CheckConfig::default() };
        let mut check = MarketCheck::new(config.recorded(), 1);
        assert_eq!(code(&mut check, &trade(10, 100)), None);
        assert_eq!(code(&mut check, &trade(10, 100)), Some(FaultCode::Backward));
        assert_eq!(code(&mut check, &trade(11, 100)), None);
    }

    #[test]
    fn a_lone_jump_is_dropped_and_forgotten() {
        let mut check = recorded();
        assert_eq!(code(&mut check, &trade(1, 1_000)), None);
        for second in 2..20 {
            assert_eq!(code(&mut check, &trade(second, 1_201)), Some(FaultCode::Jump));
            assert_eq!(code(&mut check, &trade(second, 799)), Some(FaultCode::Jump));
            assert_eq!(code(&mut check, &trade(second, 1_000)), None);
        }
        assert_eq!(code(&mut check, &trade(20, 1_200)), None, "the limit itself is allowed");
    }

    #[test]
    fn a_new_level_is_believed_after_its_confirmations() {
        let mut check = recorded();
        assert_eq!(code(&mut check, &trade(1, 1_000)), None);
        for price in [2_000, 2_010, 1_990] {
            assert_eq!(code(&mut check, &trade(2, price)), Some(FaultCode::Jump), "{price}");
        }
        assert_eq!(code(&mut check, &trade(3, 2_005)), None);
        assert_eq!(code(&mut check, &trade(4, 2_100)), None);
        assert_eq!(
            code(&mut check, &trade(5, 1_000)),
            Some(FaultCode::Jump),
            "the old level is the jump now"
        );
    }

    #[test]
    fn samples_that_jump_to_different_levels_confirm_nothing() {
        let mut check = recorded();
        assert_eq!(code(&mut check, &trade(1, 1_000)), None);
        for (second, price) in (2..).zip([2_000, 4_000, 2_000, 4_000, 500, 9_000, 2_000, 4_000]) {
            assert_eq!(code(&mut check, &trade(second, price)), Some(FaultCode::Jump), "{price}");
        }
        assert_eq!(check.counts().get(FaultCode::Jump), 8);
    }

    #[test]
    fn old_and_future_samples_are_dropped_against_the_wall_clock_only() {
        let mut check = MarketCheck::new(CheckConfig::default(), 1);
        let fault = |check: &mut MarketCheck, now, tick: &Tick| {
            check.admit(now, tick).err().map(|fault| fault.kind.code())
        };
        assert_eq!(fault(&mut check, at(1_061), &trade(1_000, 100)), Some(FaultCode::Stale));
        assert_eq!(fault(&mut check, at(994), &trade(1_000, 100)), Some(FaultCode::Early));
        assert_eq!(fault(&mut check, at(995), &trade(1_000, 100)), None);
        assert_eq!(fault(&mut check, at(1_060), &trade(1_000, 100)), None);
        assert_eq!(code(&mut recorded(), &trade(1_000, 100)), None, "recorded data has no age");
    }

    #[test]
    fn numbers_that_are_no_prices_or_sizes_are_dropped() {
        let mut check = recorded();
        assert_eq!(code(&mut check, &Tick::default()), Some(FaultCode::Zero));
        assert_eq!(code(&mut check, &trade(1, 0)), Some(FaultCode::Zero));
        assert_eq!(
            code(&mut check, &Tick { marks: Marks::TRADE, ..quote(1, 10, 11) }),
            Some(FaultCode::Zero),
            "a trade without a price"
        );
        assert_eq!(code(&mut check, &trade(1, -5)), Some(FaultCode::Negative));
        assert_eq!(code(&mut check, &trade(1, i64::MIN)), Some(FaultCode::Negative));
        assert_eq!(code(&mut check, &Tick { volume: Lots(-1), ..trade(1, 5) }), Some(FaultCode::Negative));
        assert_eq!(code(&mut check, &trade(1, STEPS_MAX + 1)), Some(FaultCode::OutOfRange));
        assert_eq!(code(&mut check, &trade(1, STEPS_MAX)), None);
    }

    #[test]
    fn quotes_may_be_locked_or_one_sided_and_crossed_only_if_the_config_says_so() {
        let mut check = recorded();
        assert_eq!(code(&mut check, &quote(1, 100, 100)), None);
        assert_eq!(code(&mut check, &quote(2, 100, 0)), None);
        assert_eq!(code(&mut check, &quote(3, 0, 101)), None);
        assert_eq!(code(&mut check, &quote(4, 101, 100)), Some(FaultCode::Crossed));
        let config = CheckConfig { crossed_allowed: true, ..CheckConfig::default() };
        assert_eq!(code(&mut MarketCheck::new(config.recorded(), 1), &quote(4, 101, 100)), None);
    }

    #[test]
    fn instruments_are_judged_apart_and_must_be_known() {
        let mut check = MarketCheck::new(CheckConfig::default().recorded(), 2);
        let other = |seconds, price| Tick { instrument: InstrumentId(1), ..trade(seconds, price) };
        assert_eq!(code(&mut check, &trade(10, 100)), None);
        assert_eq!(code(&mut check, &other(5, 90_000)), None);
        assert_eq!(code(&mut check, &trade(11, 101)), None);
        let unknown = Tick { instrument: InstrumentId(2), ..trade(12, 100) };
        assert_eq!(code(&mut check, &unknown), Some(FaultCode::UnknownInstrument));
    }

    #[test]
    fn an_unknown_setting_is_refused_and_none_means_the_defaults() {
        assert_eq!(toml::from_str::<CheckConfig>("").unwrap(), CheckConfig::default());
        assert!(toml::from_str::<CheckConfig>("jump_permile_max = 3").is_err());
        assert!(toml::from_str::<CheckConfig>("jump_permille_max = 0").is_err());
    }

    proptest! {
        #[test]
        fn whatever_comes_what_passes_is_ordered_and_priced(
            samples in prop::collection::vec((0_u64..50, any::<i64>(), any::<i64>(), any::<i64>(), 0_u8..4), 1..100),
        ) {
            let mut check = recorded();
            let (mut last, mut passed) = (0, 0);
            for (seconds, bid, ask, price, marks) in &samples {
                let tick = Tick {
                    last_price: PriceTicks(*price),
                    marks: Marks(*marks),
                    ..quote(*seconds, *bid, *ask)
                };
                if check.admit(at(0), &tick).is_ok() {
                    prop_assert!(*seconds >= last && tick.mark_price().is_some());
                    prop_assert!(*bid >= 0 && *ask >= 0 && *price >= 0);
                    last = *seconds;
                    passed += 1;
                }
            }
            prop_assert_eq!(check.counts().total() + passed, samples.len() as u64);
        }

        #[test]
        fn a_feed_is_never_silent_for_ever_after_a_gap(level in 1_i64..1_000_000, steps in prop::collection::vec(-50_i64..50, 4)) {
            let mut check = recorded();
            prop_assert!(check.admit(at(0), &trade(1, 1_000_000_000)).is_ok());
            let mut outcome = Ok(());
            for (second, step) in (2..).zip(steps) {
                outcome = check.admit(at(0), &trade(second, level * 1_000 + step * level));
            }
            prop_assert_eq!(outcome, Ok(()));
        }
    }
}
