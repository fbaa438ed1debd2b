//! Ticks to bars.

use super::{Bar, InstrumentId, Marks, PriceTicks, Tick, UnixNanos};
use serde::{Deserialize, Serialize};
use std::num::NonZeroU32;

/// Which price of a tick goes into a bar.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BarPrice {
    /// The last trade; quotes are passed over.
    #[default]
    Trade,
    /// The middle of a quote with both sides, rounded down; trades are passed over.
    Mid,
}

/// Builds the bars of one instrument and one length, aligned to the epoch.
///
/// A bar is complete when the first tick of a later interval arrives, since nothing else proves that no tick
/// of its own is still to come. An interval without ticks has no bar.
///
/// It is itself what a checkpoint keeps of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BarBuilder {
    instrument: InstrumentId,
    seconds: NonZeroU32,
    price: BarPrice,
    /// No bar that starts earlier is made any more.
    from: UnixNanos,
    current: Option<Bar>,
}

impl BarBuilder {
    /// A builder that has seen nothing yet.
    pub const fn new(instrument: InstrumentId, seconds: NonZeroU32, price: BarPrice) -> Self {
        Self { instrument, seconds, price, from: UnixNanos(0), current: None }
    }

    /// Takes a tick, and returns the bar before it when this tick begins another interval.
    ///
    /// Ticks of other instruments, without the price that is asked for, or older than the current bar change
    /// nothing. Sums that do not fit saturate.
    pub fn push(&mut self, tick: &Tick) -> Option<Bar> {
        let complete = self.complete(tick);
        self.add(tick);
        complete
    }

    /// The bar that this tick completes. It is handed out once, and the tick is in no bar yet.
    pub fn complete(&mut self, tick: &Tick) -> Option<Bar> {
        let (start, _) = self.place(tick)?;
        let bar = self.current.take_if(|bar| bar.start < start)?;
        self.from = self.end(&bar);
        Some(bar)
    }

    /// Takes note that a bar was handed out, by another builder of the same bars.
    pub fn follow(&mut self, bar: &Bar) {
        if self.makes(bar) {
            self.from = self.from.max(self.end(bar));
            self.current = self.current.filter(|current| current.start >= self.from);
        }
    }

    /// Puts a tick into its bar. A bar that it completes must have been taken before, or it is gone.
    pub fn add(&mut self, tick: &Tick) {
        let Some((start, price)) = self.place(tick).filter(|(start, _)| *start >= self.from) else { return };
        match &mut self.current {
            Some(bar) if bar.start == start => {
                bar.high = bar.high.max(price);
                bar.low = bar.low.min(price);
                bar.close = price;
                bar.volume.0 = bar.volume.0.saturating_add(tick.volume.0);
                bar.trades = bar.trades.saturating_add(trades(tick));
            }
            current => {
                self.from = start;
                *current = Some(Bar {
                    instrument: self.instrument,
                    start,
                    seconds: self.seconds.get(),
                    open: price,
                    high: price,
                    low: price,
                    close: price,
                    volume: tick.volume,
                    trades: trades(tick),
                });
            }
        }
    }

    /// The bar that is not complete yet, for the end of the data.
    pub const fn finish(self) -> Option<Bar> {
        self.current
    }

    /// Whether both make the same bars of the same prices.
    pub fn is_like(&self, other: &Self) -> bool {
        (self.instrument, self.seconds, self.price) == (other.instrument, other.seconds, other.price)
    }

    fn makes(&self, bar: &Bar) -> bool {
        (self.instrument, self.seconds.get()) == (bar.instrument, bar.seconds)
    }

    fn nanos(&self) -> u64 {
        u64::from(self.seconds.get()) * 1_000_000_000
    }

    fn end(&self, bar: &Bar) -> UnixNanos {
        UnixNanos(bar.start.0.saturating_add(self.nanos()))
    }

    /// Start of the interval that a tick belongs to, and its price; `None` when it is in no bar of this
    /// builder.
    fn place(&self, tick: &Tick) -> Option<(UnixNanos, PriceTicks)> {
        let price = self.price_of(tick).filter(|_| tick.instrument == self.instrument)?;
        Some((UnixNanos(tick.event_time.0 - tick.event_time.0 % self.nanos()), price))
    }

    fn price_of(&self, tick: &Tick) -> Option<PriceTicks> {
        let (bid, ask, last) = (tick.bid_price.0, tick.ask_price.0, tick.last_price);
        match self.price {
            BarPrice::Trade => (tick.marks.has(Marks::TRADE) && last.0 > 0).then_some(last),
            BarPrice::Mid => {
                (tick.marks.has(Marks::QUOTE) && bid > 0 && ask > 0).then(|| PriceTicks(bid.midpoint(ask)))
            }
        }
    }
}

/// A tick with the size of a trade is one trade; without, it stands for a number that nobody knows.
fn trades(tick: &Tick) -> u32 {
    u32::from(tick.marks.has(Marks::TRADE) && !tick.last_size.is_zero())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::market::Lots;
    use proptest::prelude::*;

    fn builder(seconds: u32, price: BarPrice) -> BarBuilder {
        BarBuilder::new(InstrumentId(0), NonZeroU32::new(seconds).unwrap(), price)
    }

    fn trade(millis: u64, price: i64, size: i64) -> Tick {
        Tick {
            event_time: UnixNanos(millis * 1_000_000),
            last_price: PriceTicks(price),
            last_size: Lots(size),
            volume: Lots(size),
            marks: Marks::TRADE,
            ..Tick::default()
        }
    }

    fn bar(start_seconds: u64, prices: [i64; 4], volume: i64, trades: u32) -> Bar {
        let [open, high, low, close] = prices.map(PriceTicks);
        let start = UnixNanos(start_seconds * 1_000_000_000);
        Bar {
            instrument: InstrumentId(0),
            start,
            seconds: 60,
            open,
            high,
            low,
            close,
            volume: Lots(volume),
            trades,
        }
    }

    #[test]
    fn a_bar_is_complete_when_the_next_interval_begins() {
        let mut bars = builder(60, BarPrice::Trade);
        assert_eq!(bars.push(&trade(61_000, 10, 1)), None);
        assert_eq!(bars.push(&trade(80_000, 14, 2)), None);
        assert_eq!(bars.push(&trade(119_999, 9, 3)), None);
        assert_eq!(bars.push(&trade(120_000, 11, 4)), Some(bar(60, [10, 14, 9, 9], 6, 3)));
        assert_eq!(bars.push(&trade(600_000, 12, 5)), Some(bar(120, [11, 11, 11, 11], 4, 1)));
        assert_eq!(bars.finish(), Some(bar(600, [12, 12, 12, 12], 5, 1)));
    }

    #[test]
    fn ticks_that_do_not_belong_change_nothing() {
        let mut bars = builder(60, BarPrice::Trade);
        assert_eq!(bars.push(&trade(61_000, 10, 1)), None);
        assert_eq!(bars.push(&trade(59_000, 99, 1)), None, "late");
        assert_eq!(bars.push(&Tick { instrument: InstrumentId(1), ..trade(300_000, 99, 1) }), None);
        assert_eq!(bars.push(&Tick { marks: Marks::QUOTE, ..trade(300_000, 99, 1) }), None);
        assert_eq!(bars.push(&trade(300_000, 0, 1)), None);
        assert_eq!(bars.finish(), Some(bar(60, [10, 10, 10, 10], 1, 1)));
    }

    #[test]
    fn mids_need_both_sides() {
        let quote = |bid, ask| Tick {
            bid_price: PriceTicks(bid),
            ask_price: PriceTicks(ask),
            marks: Marks::QUOTE,
            event_time: UnixNanos(60_000_000_000),
            ..Tick::default()
        };
        let mut bars = builder(60, BarPrice::Mid);
        for tick in [quote(10, 0), quote(0, 10), quote(10, 13), trade(60_000, 99, 1)] {
            assert_eq!(bars.push(&tick), None);
        }
        assert_eq!(bars.finish(), Some(bar(60, [11, 11, 11, 11], 0, 0)));
    }

    #[test]
    fn a_bar_is_handed_out_once_whatever_follows() {
        let mut bars = builder(60, BarPrice::Trade);
        bars.add(&trade(61_000, 10, 1));
        let late = trade(119_000, 99, 1);
        assert_eq!(bars.complete(&late), None);
        let next = trade(120_000, 11, 1);
        let first = bars.complete(&next);
        assert_eq!(first, Some(bar(60, [10; 4], 1, 1)));
        assert_eq!(bars.complete(&next), None);
        bars.add(&late);
        assert_eq!(bars.current, None, "its interval is over");
        bars.add(&next);
        assert_eq!(bars.push(&trade(180_000, 12, 1)), Some(bar(120, [11; 4], 1, 1)));
    }

    #[test]
    fn a_builder_that_follows_another_hands_out_what_is_left() {
        let mut one = builder(60, BarPrice::Trade);
        let mut other = one.clone();
        for tick in [trade(61_000, 10, 1), trade(62_000, 11, 1)] {
            one.add(&tick);
            other.add(&tick);
        }
        let next = trade(120_000, 12, 1);
        other.follow(&one.complete(&next).unwrap());
        assert_eq!(one, other);
        other.follow(&Bar { seconds: 300, start: UnixNanos(u64::MAX), ..Bar::default() });
        other.follow(&Bar {
            seconds: 60,
            instrument: InstrumentId(1),
            start: next.event_time,
            ..Bar::default()
        });
        assert_eq!(one, other, "bars of others");
        assert_eq!(other.complete(&next), None);
    }

    proptest! {
        #[test]
        fn every_trade_is_in_exactly_one_bar(
            ticks in prop::collection::vec((0_u64..5_000, 1_i64..1_000, 1_i64..100), 1..200),
            seconds in 1_u32..100,
        ) {
            let mut millis = 0;
            let mut bars = Vec::new();
            let mut builder = builder(seconds, BarPrice::Trade);
            let total: i64 = ticks.iter().map(|(_, _, size)| size).sum();
            let count = ticks.len();
            for (step, price, size) in ticks {
                millis += step;
                bars.extend(builder.push(&trade(millis, price, size)));
            }
            bars.extend(builder.finish());
            prop_assert_eq!(bars.iter().map(|bar| bar.volume.0).sum::<i64>(), total);
            prop_assert_eq!(bars.iter().map(|bar| bar.trades as usize).sum::<usize>(), count);
            prop_assert!(bars.is_sorted_by(|a, b| a.start < b.start));
            for bar in bars {
                prop_assert_eq!(bar.start.seconds() % u64::from(seconds), 0);
                prop_assert!(bar.low <= bar.open.min(bar.close) && bar.high >= bar.open.max(bar.close));
            }
        }
    }
}
