//! What the market shows the strategy, and what it must never be shown.

use super::rig::{MS, Rig, UNTRUE};
use super::script::Step;
use crate::agent::core::*;
use crate::market::{Excerpt, FaultKind, Field, Lots, Marks, PriceTicks};

impl Rig {
    /// One tick at the venue's price, a millisecond later.
    pub(super) fn tick(&mut self) {
        self.go_to(MonoNanos(self.now.mono.0 + MS));
        self.seq += 1;
        let tick = Tick {
            instrument: super::X,
            seq: self.seq,
            event_time: self.venue_time(self.now.mono),
            last_price: PriceTicks(self.venue.price),
            volume: Lots(1),
            marks: Marks::TRADE,
            ..Tick::default()
        };
        if self.core.is_some() {
            self.waiting.push_back(tick);
        }
        self.run();
    }

    /// A sample that cannot be true. No strategy is shown one; both kinds of strategy here look.
    pub(super) fn sample_badly(&mut self, kind: u64) {
        let hour_ns = 3_600_000 * MS;
        let good = Tick {
            instrument: super::X,
            seq: UNTRUE,
            event_time: self.now.wall,
            last_price: PriceTicks(self.venue.price),
            volume: Lots(1),
            marks: Marks::TRADE,
            ..Tick::default()
        };
        let bad = match kind {
            0 => Err(FaultKind::NotANumber { field: Field::Price, found: Excerpt::new(b"NaN") }.into()),
            1 => Ok(Tick { last_price: PriceTicks(0), ..good }),
            2 => Ok(Tick { last_price: PriceTicks(-self.venue.price), ..good }),
            3 => Ok(Tick { last_price: PriceTicks(i64::MAX), ..good }),
            4 => Ok(Tick { event_time: UnixNanos(self.now.wall.0 - hour_ns), ..good }),
            5 => Ok(Tick { event_time: UnixNanos(self.now.wall.0 + hour_ns), ..good }),
            6 => Ok(Tick { bid_price: PriceTicks(9), ask_price: PriceTicks(8), ..good }),
            _ => Ok(Tick { instrument: InstrumentId(7), ..good }),
        };
        let Some(before) =
            self.core.as_ref().filter(|_| !self.stopped).map(|core| core.stats().samples_dropped)
        else {
            return;
        };
        self.step(Event::Sample(bad));
        let dropped = self.core.as_ref().map(|core| core.stats().samples_dropped);
        assert!(dropped.is_none_or(|dropped| dropped == before + 1), "a bad sample was taken for a good one");
        self.run();
    }

    /// One tick on which the strategy does this.
    pub(super) fn tick_with(&mut self, step: Step) {
        self.strategy.script().ticks.push_back(step);
        self.tick();
    }

    pub(super) fn want(&mut self, intents: Vec<OrderIntent>) {
        self.tick_with(Step::Want(intents));
    }
}
