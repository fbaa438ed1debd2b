//! Bars for a strategy that asks for them, built from the ticks that it is given and from nothing else.
//!
//! A bar is handed over with the tick that ends it: the first tick of a later interval. Timers that this tick
//! made due come first, then the bars, the shortest first, then the tick. All are told the time and the price
//! of that tick. An interval without ticks has no bar, and after a gap one tick ends the bar from before it.
//! The first bar after a start of the feed covers what was seen of its interval.
//!
//! Each bar is a call, journaled like any other. A start finds the builders in the checkpoint and lets them
//! follow the calls after it: a tick that the journal holds is in its bar, one that it does not hold is not,
//! and a bar that was handed over is over. So none comes twice, and one that was on its way comes with the
//! next tick.

use super::{Core, Effect};
use crate::market::{Bar, BarBuilder, BarPrice, InstrumentId, Now, Tick};
use crate::plugin::DataNeeds;
use std::collections::BTreeSet;
use std::num::NonZeroU32;

/// One builder per instrument and length, the lengths of one instrument side by side, shortest first.
#[derive(Debug)]
pub(super) struct Bars {
    builders: Vec<BarBuilder>,
    lengths: usize,
}

impl Bars {
    /// The builders that a strategy needs, each as it was kept if it was.
    pub(super) fn new(needs: &DataNeeds, instruments: usize, kept: &[BarBuilder]) -> Self {
        // A strategy that reads trades means their prices, also where it reads quotes besides.
        let price = if needs.trades { BarPrice::Trade } else { BarPrice::Mid };
        let lengths: BTreeSet<NonZeroU32> =
            needs.bar_seconds.iter().filter_map(|seconds| NonZeroU32::new(*seconds)).collect();
        let ids = (0_u32..).map(InstrumentId).take(instruments);
        let fresh =
            ids.flat_map(|id| lengths.iter().map(move |seconds| BarBuilder::new(id, *seconds, price)));
        let as_kept =
            |fresh: BarBuilder| kept.iter().find(|kept| kept.is_like(&fresh)).cloned().unwrap_or(fresh);
        Self { builders: fresh.map(as_kept).collect(), lengths: lengths.len() }
    }

    /// The builders as a record holds them.
    pub(super) fn of_record(builders: Vec<BarBuilder>, instruments: usize) -> Self {
        let lengths = builders.len().checked_div(instruments).unwrap_or(0);
        Self { builders, lengths }
    }

    /// The builders for another component: those that it needs too go on.
    pub(super) fn for_another(&self, needs: &DataNeeds, instruments: usize) -> Vec<BarBuilder> {
        Self::new(needs, instruments, &self.builders).builders
    }

    /// The builders as a checkpoint keeps them.
    pub(super) fn kept(&self) -> &[BarBuilder] {
        &self.builders
    }

    /// A bar that a tick completes, and that was not handed out yet.
    pub(super) fn complete(&mut self, tick: &Tick) -> Option<Bar> {
        self.of(tick.instrument).iter_mut().find_map(|builder| builder.complete(tick))
    }

    /// The strategy is given a tick.
    pub(super) fn add(&mut self, tick: &Tick) {
        self.of(tick.instrument).iter_mut().for_each(|builder| builder.add(tick));
    }

    /// The strategy was given a bar before the host died.
    pub(super) fn follow(&mut self, bar: &Bar) {
        self.of(bar.instrument).iter_mut().for_each(|builder| builder.follow(bar));
    }

    fn of(&mut self, instrument: InstrumentId) -> &mut [BarBuilder] {
        let first = usize::try_from(instrument.0).ok().and_then(|id| id.checked_mul(self.lengths));
        let range = first.and_then(|first| Some(first..first.checked_add(self.lengths)?));
        range.and_then(|range| self.builders.get_mut(range)).unwrap_or_default()
    }
}

impl Core {
    /// Hands over the bars that a tick completes. One that halts the strategy is its last.
    pub(super) fn call_on_bars(&mut self, now: Now, tick: &Tick, out: &mut Vec<Effect>) {
        while self.is_called()
            && let Some(bar) = self.bars.complete(tick)
        {
            self.call_on_bar(now, &bar, out);
        }
        if self.is_called() {
            self.bars.add(tick);
        }
    }
}
