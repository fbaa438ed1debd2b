//! The agent's side of the reconciliation: what the machine asks for becomes effects, what is heard goes into
//! it, and what it finds is told and booked.

use super::compare::{Difference, Held};
use super::reconcile::{Pauses, ReconcileStage, View, Want};
use super::watch::Watch;
use super::{Core, Effect, Undurable};
use crate::market::{InstrumentId, Lots, MonoNanos, Now, PriceTicks, UnixNanos};
use crate::orders::{Books, BooksError, IntentKey, Ledger, Record, StrategyEvent};
use crate::resilience::{Class, Classified, Failure, full_jitter};
use std::collections::VecDeque;
use std::time::Duration;

/// The books as the comparison sees them.
struct Standing<'a> {
    books: &'a Books,
    ledger: &'a Ledger,
    watch: &'a Watch,
    undurable: &'a VecDeque<Undurable>,
}

impl Held for Standing<'_> {
    fn position(&self, instrument: InstrumentId) -> Lots {
        self.books.position(instrument)
    }

    fn in_doubt(&self, instrument: InstrumentId) -> bool {
        self.ledger.in_doubt().any(|order| order.instrument == instrument)
    }

    fn is_unheard(&self, instrument: InstrumentId, since: MonoNanos) -> bool {
        let of = |key: IntentKey| self.ledger.order_of(&key).map(|(_, order)| order.terms.instrument);
        self.watch.unheard_since(since).any(|key| of(key) == Some(instrument))
    }

    fn is_settled(&self) -> bool {
        let books_something = |waiting: &Undurable| {
            matches!(
                waiting.record,
                Record::Updated(_)
                    | Record::Attempted { .. }
                    | Record::Queried { .. }
                    | Record::PositionAdopted { .. }
            )
        };
        !self.undurable.iter().any(books_something)
    }
}

impl View for Standing<'_> {
    fn orders_left(&self) -> bool {
        self.watch.is_waiting()
    }

    fn orders_vanished(&self) -> bool {
        self.watch.vanished().next().is_some()
    }
}

impl Core {
    /// The agent starts: its books are held against the venue before anything is sent.
    pub(super) fn begin_reconciliation(&mut self, now: Now) {
        if self.config.live {
            self.modes.unreconciled();
            self.reconcile.begin(now.mono, self.config.instruments.iter().map(|(id, _)| id));
        }
    }

    pub(super) fn on_venue_lost(&mut self) {
        if self.config.live {
            self.reconcile.lost();
        }
    }

    pub(super) fn on_venue_back(&mut self, now: Now) {
        if self.config.live {
            self.reconcile.back();
            self.watch_all(now);
        }
    }

    pub(super) fn on_foreign(&mut self, out: &mut Vec<Effect>) {
        if !std::mem::replace(&mut self.foreign_told, true) {
            let text = format!(
                "agent {}: its account has orders that are none of the host's, by hand or by another program; give \
                 the agent an account of its own, or expect positions to differ",
                self.config.name
            );
            self.alert(Class::State, "foreign_orders", text, out);
        }
    }

    pub(super) fn on_updates_read(
        &mut self,
        now: Now,
        number: u64,
        outcome: Result<(), Failure>,
        out: &mut Vec<Effect>,
    ) {
        match outcome {
            Ok(()) if self.reconcile.on_updates(number) => self.watch_all(now),
            Ok(()) => {}
            Err(failure) => self.on_read_failed(now, number, &failure, out),
        }
    }

    pub(super) fn on_positions(
        &mut self,
        now: Now,
        number: u64,
        outcome: Result<Vec<(InstrumentId, Lots)>, Failure>,
        out: &mut Vec<Effect>,
    ) {
        let settle = Duration::from_millis(self.config.limits.settle_ms);
        match outcome {
            Ok(held) => self.reconcile.on_positions(now.mono, number, held, settle),
            Err(failure) => self.on_read_failed(now, number, &failure, out),
        }
    }

    fn on_read_failed(&mut self, now: Now, number: u64, failure: &Failure, out: &mut Vec<Effect>) {
        let at = self.reconcile_retry_at(now);
        if self.reconcile.on_read_failed(number, at) {
            self.tell_reconcile_failed(failure, out);
            // What waited for this to end soon does not wait any longer.
            self.unblock(now);
        }
    }

    pub(super) fn reconcile_retry_at(&mut self, now: Now) -> MonoNanos {
        let failures = self.reconcile.failures().saturating_add(1);
        now.mono.after(full_jitter(&self.config.retry, failures, &mut self.random))
    }

    /// Says once why it does not go on, and not again before it has gone on.
    pub(super) fn tell_reconcile_failed(&mut self, failure: &Failure, out: &mut Vec<Effect>) {
        if !self.reconcile.holds() || std::mem::replace(&mut self.failure_told, true) {
            return;
        }
        let text = format!(
            "agent {}: the books cannot be held against the venue ({}): {failure}; the agent only observes, the host \
             goes on trying",
            self.config.name,
            self.reconcile.stage(),
        );
        self.alert(failure.class, "reconcile_failed", text, out);
    }

    /// Lets the machine go on, and tells what it has found.
    pub(super) fn progress_reconciliation(&mut self, now: Now, out: &mut Vec<Effect>) {
        if self.health.journal_failed {
            return;
        }
        self.progress_watch(now, out);
        let before = self.reconcile.stage();
        let limits = &self.config.limits;
        let pauses = Pauses {
            settle: Duration::from_millis(limits.settle_ms),
            moving: Duration::from_millis(limits.order_poll_ms),
            mismatch: Duration::from_millis(limits.mismatch_poll_ms),
        };
        let view = Standing {
            books: &self.services.books,
            ledger: &self.ledger,
            watch: &self.watch,
            undurable: &self.undurable,
        };
        match self.reconcile.advance(now.mono, &view, &pauses) {
            Some(Want::Updates(number)) => out.push(Effect::ReadUpdates { number }),
            Some(Want::Positions(number)) => out.push(Effect::ReadPositions { number }),
            None => {}
        }
        self.tell_differences(out);
        self.adopt_positions(now, out);
        if self.drops_vanished {
            self.drop_vanished(now, out);
        }
        let stage = self.reconcile.stage();
        if stage != before && stage == ReconcileStage::Reconciled {
            self.failure_told = false;
            self.drops_vanished = false;
        }
        if stage != before {
            self.unblock(now);
        }
    }

    fn tell_differences(&mut self, out: &mut Vec<Effect>) {
        let off = self.reconcile.compare().off();
        self.told_off.retain(|instrument, _| off.contains_key(instrument));
        let difference = |d: &Difference| d.venues.0.saturating_sub(d.ours.0);
        let news: Vec<(InstrumentId, Difference)> = off
            .iter()
            .filter(|(id, found)| self.told_off.get(id) != Some(&difference(found)))
            .map(|(id, found)| (*id, *found))
            .collect();
        for (instrument, found) in news {
            self.told_off.insert(instrument, difference(&found));
            let symbol = self.config.instruments.get(instrument).map(|terms| terms.symbol.as_str());
            let (name, ours, venues) = (&self.config.name, found.ours, found.venues);
            let text = format!(
                "agent {name}: position in {}: {ours} lots in the books, {venues} lots at the venue, seen twice; the \
                 agent only observes: trade the difference away at the venue, or start with --adopt-positions {name} \
                 to take the venue's position for true",
                symbol.unwrap_or("an unknown instrument"),
            );
            self.alert(Class::State, "position_mismatch", text, out);
        }
    }

    /// Books what an operator takes for true. An instrument without a price waits for its first.
    fn adopt_positions(&mut self, now: Now, out: &mut Vec<Effect>) {
        for (instrument, quantity) in self.reconcile.to_adopt() {
            let is_written = self.undurable.iter().any(|waiting| {
                matches!(waiting.record, Record::PositionAdopted { instrument: known, .. } if known == instrument)
            });
            let Some(price) = self.services.books.holding(instrument).mark.filter(|_| !is_written) else {
                continue;
            };
            self.journal(now, Record::PositionAdopted { instrument, quantity, price }, out);
        }
    }

    /// An adoption is durable.
    pub(super) fn apply_adopted(
        &mut self,
        now: Now,
        (instrument, quantity, price): (InstrumentId, Lots, PriceTicks),
        out: &mut Vec<Effect>,
    ) {
        if let Err(error) = self.book_adopted(instrument, quantity, price) {
            self.reconcile.refuse_adoption();
            self.alert(error.class(), error.code(), error.to_string(), out);
            return;
        }
        self.dirty = true;
        self.reconcile.adopted(now.mono, instrument);
    }

    /// Also used when the journal is folded.
    pub(super) fn book_adopted(
        &mut self,
        instrument: InstrumentId,
        quantity: Lots,
        price: PriceTicks,
    ) -> Result<(), BooksError> {
        self.books_moved();
        self.services.books.adopt(&self.config.instruments, instrument, quantity, price)
    }

    /// An operator's word that an order is gone is durable.
    pub(super) fn apply_dropped(&mut self, now: Now, at: UnixNanos, key: IntentKey, out: &mut Vec<Effect>) {
        let Some((id, instrument)) =
            self.ledger.order_of(&key).map(|(id, order)| (id, order.terms.instrument))
        else {
            return;
        };
        self.ledger.drop_order(at, key);
        self.close_in_books(key);
        self.dirty = true;
        self.tell(now, instrument, &StrategyEvent::Cancelled(id), out);
    }
}
