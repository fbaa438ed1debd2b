//! How old the last price of each instrument is.

use super::{Core, TimeSource};
use crate::market::{InstrumentId, MonoNanos, Now, Tick, UnixNanos};
use crate::orders::RiskLimits;
use std::time::Duration;

/// The price age at which an instrument may still be traded on the wall clock, unless another is configured.
const PRICE_AGE_MS_MAX: u64 = 60_000;

/// When each instrument last had a price in this run: by the host's clock and by the one that the strategy is
/// told.
pub(super) struct Prices(Vec<Option<(MonoNanos, UnixNanos)>>);

impl Prices {
    pub(super) fn new(instruments: usize) -> Self {
        Self(vec![None; instruments])
    }

    /// Takes an admitted sample in.
    pub(super) fn take(&mut self, at: (MonoNanos, UnixNanos), tick: &Tick) {
        let place = usize::try_from(tick.instrument.0).ok().and_then(|place| self.0.get_mut(place));
        if let Some(last) = place
            && tick.mark_price().is_some()
        {
            *last = Some(at);
        }
    }

    /// For how long the host has had no price of an instrument.
    pub(super) fn received(&self, now: MonoNanos, instrument: InstrumentId) -> Option<Duration> {
        self.last(instrument).map(|(received, _)| now.since(received))
    }

    fn last(&self, instrument: InstrumentId) -> Option<(MonoNanos, UnixNanos)> {
        self.0.get(usize::try_from(instrument.0).ok()?).copied().flatten()
    }
}

impl Core {
    /// How old the last price of an instrument is, by the clock that the strategy is told.
    pub(super) fn price_age(&self, now: Now, instrument: InstrumentId) -> Option<Duration> {
        match self.config.time {
            TimeSource::Wall => self.prices.received(now.mono, instrument),
            TimeSource::Data => self.prices.last(instrument).map(|(_, told)| self.market_now.since(told)),
        }
    }
}

/// The limits as the gate holds them, on the clock that the strategy is told.
pub(super) fn limits_on(time: TimeSource, limits: &RiskLimits) -> RiskLimits {
    let default_ms = (time == TimeSource::Wall).then_some(PRICE_AGE_MS_MAX);
    RiskLimits { price_age_ms_max: limits.price_age_ms_max.or(default_ms), ..limits.clone() }
}
