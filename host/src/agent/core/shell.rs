//! What a shell without a disk needs of the core, besides events and effects.
//!
//! The lab shows a strategy many updates in one crossing. Between two decisions nothing but marks and counters
//! changes, as long as nothing waits and no equity on the way asks for another mode: [`Core::idle_context`] and
//! [`Core::stays_full`] prove that beforehand, and [`Core::pass`] does the rest. The update that a strategy answers
//! with an intent always takes the ordinary step.

use super::{Core, TimeSource};
use crate::market::{InstrumentId, MarketCheck, Now, PriceTicks, Tick};
use crate::orders::Mode;
use crate::plugin::TickContext;
use rust_decimal::Decimal;

impl Core {
    /// Forgets closed orders that are old or too many. A checkpoint does it too; this is for a shell that takes
    /// none.
    pub fn forget_closed(&mut self, now: Now) {
        let _ = self.prune_ledger(now);
    }

    /// An attempt or a question in the air is answered, however long ago the order was closed otherwise.
    pub(super) fn prune_ledger(&mut self, now: Now) -> bool {
        let Self { ledger, flying, inquiries, preparations, watched, .. } = self;
        ledger.prune(now.wall, |key| {
            flying.contains_key(key)
                || inquiries.contains_key(key)
                || preparations.contains_key(key)
                || watched.contains_key(key)
        })
    }

    /// The share of the peak of equity that is lost now.
    pub fn drawdown(&self) -> Decimal {
        self.modes.drawdown()
    }

    /// What the strategy would be told with the next updates of an instrument, if nothing can happen between them:
    /// no record, attempt or question is under way, no timer is set, nothing is wound down, and the mode is full.
    pub fn idle_context(&self, instrument: InstrumentId) -> Option<TickContext> {
        let runs = self.is_called() && self.modes.mode() == Mode::Full;
        // Each tick may end a bar, a shadow or a probation.
        let counts = !self.bars.kept().is_empty() || self.shadow.is_some() || self.probation.is_some();
        let waits = !self.undurable.is_empty()
            || !self.flying.is_empty()
            || !self.due.is_empty()
            || !self.held.is_empty()
            || !self.inquiries.is_empty()
            || !self.preparations.is_empty()
            || !self.watched.is_empty()
            || self.ledger.open_count() > 0
            || self.wind_down.is_some();
        let asks = self.reconcile.holds() || self.watch.is_busy() || self.gate.write_open();
        let acts =
            self.services.next_timer().is_some() || self.faults_in_a_row > 0 || !self.checkpoint_in_flight;
        let recorded = self.config.record_inputs || self.config.time != TimeSource::Data;
        let idle = runs && !counts && !waits && !asks && !acts && !recorded;
        idle.then(|| self.context(instrument))
    }

    /// Whether the mode stays full while the price of an instrument moves between these two, in whatever order.
    pub fn stays_full(&mut self, instrument: InstrumentId, low: PriceTicks, high: PriceTicks) -> bool {
        if self.services.books.position(instrument).is_zero() {
            return self.equity().is_none_or(|equity| self.modes.stays_full(equity, equity));
        }
        let before = self.services.books.holding(instrument).mark;
        let mut at = |price| {
            self.services.books.mark_at(instrument, price);
            self.services.books.equity(&self.config.instruments)
        };
        let ends = at(low).zip(at(high));
        if let Some(before) = before {
            self.services.books.mark_at(instrument, before);
        }
        let Some((one, other)) = ends.filter(|_| before.is_some()) else { return false };
        self.modes.stays_full(one.min(other), one.max(other))
    }

    /// The market check as it stands, to find out how it will judge updates that are still to be shown.
    pub fn market_check(&self) -> &MarketCheck {
        &self.check
    }

    /// Takes note of updates of one instrument that the strategy has seen and answered with nothing. All of them
    /// have passed the market check, which stands as `check` afterwards; they were told [`Core::idle_context`], and
    /// [`Core::stays_full`] holds between their prices. `now` is the moment of the last.
    pub fn pass(&mut self, now: Now, ticks: impl Iterator<Item = Tick> + Clone, check: MarketCheck) {
        let Some(last) = ticks.clone().last() else { return };
        let count = ticks.clone().count() as u64;
        self.check = check;
        self.stats.ticks += count;
        self.stats.calls += count;
        self.call += count;
        self.last_sample = Some(now.mono);
        self.market_now = self.market_now.max(last.event_time);
        self.told = self.market_now;
        self.services.now = self.market_now;
        // The window of calls in which traps are counted is no longer than this.
        (0..count.min(u64::from(u64::BITS))).for_each(|_| self.modes.called(false));
        self.prices.take((now.mono, self.market_now), &last);
        self.value(last.instrument, ticks.filter_map(|tick| tick.mark_price()));
        self.note_marked(&last);
    }

    /// Follows equity over the prices of one instrument, as if it was looked at after each of them.
    fn value(&mut self, instrument: InstrumentId, prices: impl Iterator<Item = PriceTicks> + Clone) {
        let Some(last) = prices.clone().last() else { return };
        if !self.services.books.position(instrument).is_zero() {
            let lowest = prices.clone().min().unwrap_or(last);
            let highest = prices.clone().max().unwrap_or(last);
            let mut at = |price| {
                self.services.books.mark_at(instrument, price);
                self.services.books.equity(&self.config.instruments)
            };
            let best = at(lowest).max(at(highest));
            if best.is_none() || best > self.modes.peak() {
                // A new peak: what was lost from it depends on what came after.
                for price in prices {
                    self.services.books.mark_at(instrument, price);
                    self.observe_equity();
                }
                return;
            }
            // Equity is linear in the price, so that one of the two is the worst moment.
            for price in [lowest, highest] {
                self.services.books.mark_at(instrument, price);
                self.observe_equity();
            }
        }
        self.services.books.mark_at(instrument, last);
        self.observe_equity();
    }
}
