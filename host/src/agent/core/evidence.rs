//! From a durable record to what follows from it: books, dead letters, and what the strategy is told.

use super::news::{change_news, expiry_news, venue_reason};
use super::{Core, Effect, Letter};
use crate::market::{InstrumentId, Lots, Now, UnixNanos};
use crate::orders::{
    Action, Applied, ExpiredBecause, Intent, IntentKey, IntentState, Ledger, OrderId, Record, RejectReason,
    StrategyEvent, WorkingOrder,
};
use crate::resilience::{Class, Classified, Failure};
use crate::venue::{OrderChange, OrderUpdate, Outcome};

impl Core {
    /// A record is durable: now, and not before, it may be acted on. `at` is the moment its entry names.
    pub(super) fn on_durable(&mut self, now: Now, at: UnixNanos, record: Record, out: &mut Vec<Effect>) {
        match record {
            Record::Submitting { key, attempt, .. } => {
                self.send(now, key, attempt, out);
                return;
            }
            Record::Decided(decision) => self.tell_refusals(now, &decision, out),
            Record::Attempted { key, outcome, .. } => self.apply_outcome(now, at, key, &outcome, out),
            Record::Queried { key, outcome } => self.apply_queried(now, at, key, &outcome, out),
            Record::Updated(update) => self.apply_update(now, at, &update, out),
            Record::Expired { key, why } => self.apply_expired(now, key, why, out),
            Record::DeadLettered { key, failure } => self.apply_dead_letter(now, key, &failure, out),
            Record::Requeued { key, replay } => {
                if self.ledger.requeue(at, key, replay).is_ok() {
                    // When its last attempt ended may be forgotten; it was not later than this.
                    self.attempt_ended.insert(key, now.mono);
                    self.reopen_order(key);
                    self.settle_claim(key);
                    self.due.insert(key, now.mono);
                    self.first_due.insert(key, now.mono);
                    self.spent.remove(&key);
                    self.dirty = true;
                }
            }
            Record::Resolved { key, note } => {
                if self.ledger.resolve(at, key, &note).is_ok() {
                    self.close_in_books(key);
                    self.settle_claim(key);
                    out.push(Effect::Letter(Letter::Resolved { key, note }));
                    self.dirty = true;
                    // What an operator says became of it shows in the position.
                    self.reconcile.look_again(now.mono);
                }
            }
            Record::Reissued(reissue) => self.apply_reissued(now, &reissue, out),
            Record::ReplayRefused { key, replay, failure } => {
                self.apply_replay_refused(at, key, replay, &failure, out);
            }
            Record::PositionAdopted { instrument, quantity, price } => {
                self.apply_adopted(now, (instrument, quantity, price), out);
            }
            Record::OrderDropped { key } => self.apply_dropped(now, at, key, out),
            Record::ModeChanged { to, .. } => {
                self.tell(now, InstrumentId(0), &StrategyEvent::ModeChanged(to), out);
            }
            // Applied when it was made; the attempt that follows it is durable only after it.
            Record::Denied { .. }
            | Record::CallFailed { .. }
            | Record::Started { .. }
            | Record::Restarted { .. }
            | Record::Valued { .. }
            | Record::Quarantined { .. }
            | Record::Released { .. } => {}
            Record::Swapped(_) => self.complete_switch(now, out),
            // Nothing waits for it, and nothing follows from it.
            Record::Fed { .. } => return,
        }
        // Something may have waited for exactly this.
        self.unblock(now);
    }

    fn apply_outcome(
        &mut self,
        now: Now,
        at: UnixNanos,
        key: IntentKey,
        outcome: &Outcome,
        out: &mut Vec<Effect>,
    ) {
        let before = self.ledger.intent(&key);
        let was_closed = before.is_none_or(|intent| intent.state.is_terminal());
        let was_ambiguous = before.is_some_and(Intent::maybe_executed);
        if self.ledger.attempted(at, key, outcome).is_err() {
            return;
        }
        self.dirty = true;
        self.settle_claim(key);
        let not_before = self.not_before.remove(&key);
        match outcome {
            Outcome::Done { updates } => {
                for update in updates {
                    self.apply_update(now, at, update, out);
                }
                self.forget(key);
                if !was_closed {
                    self.answer_letter(key, out);
                }
            }
            Outcome::Refused(failure) if failure.code == Ledger::KEY_REUSED => {
                self.on_key_reused(now, key, failure, out);
            }
            // The venue's own report of the order came first, and says more than this attempt.
            _ if was_closed => self.forget(key),
            Outcome::Refused(failure) if self.is_closed(key) => {
                self.stats.rejected += 1;
                let closes = |intent: &Intent| intent.by_host && matches!(intent.action, Action::Submit(_));
                if self.ledger.intent(&key).is_some_and(closes) {
                    self.closing_refused = Some(failure.message.clone());
                }
                self.forget(key);
                self.answer_letter(key, out);
                self.tell_rejected(now, key, venue_reason(failure), &failure.message, out);
            }
            Outcome::Refused(_) | Outcome::NotSent(_) | Outcome::Ambiguous(_) | Outcome::Unknown => {
                let is_ambiguous = self.ledger.intent(&key).is_some_and(Intent::maybe_executed);
                if is_ambiguous && !was_ambiguous {
                    self.tell_order(now, key, StrategyEvent::Unresolved, out);
                }
                self.plan_retry(now, key, not_before, out);
            }
        }
    }

    pub(super) fn is_closed(&self, key: IntentKey) -> bool {
        self.ledger.intent(&key).is_none_or(|intent| intent.state.is_terminal())
    }

    fn apply_expired(&mut self, now: Now, key: IntentKey, why: ExpiredBecause, out: &mut Vec<Effect>) {
        self.stats.expired += 1;
        self.settle_claim(key);
        self.answer_letter(key, out);
        if self.close_in_books(key) {
            self.tell_order(now, key, expiry_news(why), out);
        }
    }

    fn apply_dead_letter(&mut self, now: Now, key: IntentKey, failure: &Failure, out: &mut Vec<Effect>) {
        self.stats.dead_letters += 1;
        self.settle_claim(key);
        let Some(intent) = self.ledger.intent(&key).cloned() else { return };
        let IntentState::DeadLettered { ambiguous } = intent.state else { return };
        out.push(Effect::Letter(Letter::Intent { key, intent: Box::new(intent) }));
        let advice = if ambiguous {
            "it may have been executed: ask the venue before it is replayed or resolved"
        } else {
            "it was not executed: replay or resolve it"
        };
        let text = format!("agent {}: intent {key} was given up on: {failure}; {advice}", self.config.name);
        self.alert(failure.class, "dead_letter", text, out);
        if !ambiguous {
            self.close_in_books(key);
            self.tell_rejected(now, key, RejectReason::DeadLettered, &failure.message, out);
        }
    }

    pub(super) fn on_updates(
        &mut self,
        now: Now,
        cursor: u64,
        updates: Vec<OrderUpdate>,
        out: &mut Vec<Effect>,
    ) {
        if self.health.journal_failed {
            return;
        }
        self.overtaken_by(now, &updates);
        for update in updates {
            self.disclaim(&update, out);
            self.hear(now, update, out);
        }
        self.cursor = self.cursor.max(cursor);
    }

    /// The venue has told of a change: it is journaled when it is news, however it came.
    pub(super) fn hear(&mut self, now: Now, update: OrderUpdate, out: &mut Vec<Effect>) {
        let pending = self.undurable.iter().any(|waiting| match &waiting.record {
            Record::Updated(known) => known.key == update.key && known.sequence == update.sequence,
            _ => false,
        });
        if !pending && !self.health.journal_failed && self.ledger.is_news(&update) {
            self.journal(now, Record::Updated(update), out);
        }
    }

    pub(super) fn apply_update(
        &mut self,
        now: Now,
        at: UnixNanos,
        update: &OrderUpdate,
        out: &mut Vec<Effect>,
    ) {
        let was_closed = self.is_closed(update.key);
        let Some(applied) = self.ledger.update(at, update) else { return };
        self.seen.changes += 1;
        self.dirty = true;
        if let Err(error) = self.book(&applied) {
            self.alert(error.class(), error.code(), error.to_string(), out);
        }
        if let OrderChange::Filled { leaves, .. } = &applied.change {
            self.reconcile.moved(applied.terms.instrument);
            if *leaves != applied.leaves && !applied.closed {
                // A change before this one was missed.
                self.reconcile.begin_again(now.mono);
            }
        }
        if applied.was_dead {
            let note = format!("the venue reported {}", change_name(&applied.change));
            out.push(Effect::Letter(Letter::Resolved { key: update.key, note }));
        } else if !was_closed {
            self.answer_letter(update.key, out);
        }
        if let Some(refuted) = applied.refuted {
            self.tell_refuted(update.key, &applied.change, refuted, out);
        }
        match applied.change {
            OrderChange::Filled { .. } => {
                self.stats.fills += 1;
                self.warn_if_unrecorded(applied.order, out);
            }
            OrderChange::Rejected { .. } => self.stats.rejected += 1,
            _ => {}
        }
        let event = change_news(&applied);
        self.tell(now, applied.terms.instrument, &event, out);
    }

    /// Tells a person of a fill that a venue without ids of ours shows in the account and has no record of: it
    /// is in the books, with a fee that is assumed, and the venue may refuse to close it.
    fn warn_if_unrecorded(&self, id: OrderId, out: &mut Vec<Effect>) {
        let Some(order) = self.ledger.order(id).filter(|order| order.venue_id.is_none()) else { return };
        if !self.dialect.profile().capability.needs_baseline() {
            return;
        }
        let symbol = self.config.instruments.get(order.terms.instrument).map(|terms| terms.symbol.as_str());
        let text = format!(
            "agent {}: the position in {} shows the fill of intent {}, and the venue has no record of it; its fee \
             is assumed, and it may have no id to close it by: look at the account",
            self.config.name,
            symbol.unwrap_or("an unknown instrument"),
            order.key
        );
        self.alert(Class::State, "fill_unrecorded", text, out);
    }

    /// Makes the books follow a change of an order. Also used when the journal is folded.
    pub(super) fn book(&mut self, applied: &Applied) -> Result<(), crate::orders::BooksError> {
        self.books_moved();
        if applied.refuted.is_some() {
            // As it was before the fill that is booked next.
            let filled = match &applied.change {
                OrderChange::Filled { quantity, .. } => *quantity,
                _ => Lots::ZERO,
            };
            let leaves = Lots(applied.leaves.0.saturating_add(filled.0));
            self.services.books.open_order(applied.order, WorkingOrder::of(&applied.terms, leaves));
        }
        let books = &mut self.services.books;
        if let OrderChange::Filled { quantity, price, fee, .. } = &applied.change {
            let terms = (applied.order, applied.terms.instrument, applied.terms.side);
            books.fill(&self.config.instruments, terms, *quantity, *price, *fee)?;
        }
        if applied.closed {
            books.close_order(applied.order);
        } else if let OrderChange::Amended { .. } = &applied.change {
            books.open_order(applied.order, WorkingOrder::of(&applied.terms, applied.leaves));
            books.changed(applied.order);
        }
        Ok(())
    }

    /// Takes the order that a key placed out of the books when nothing more can happen to it.
    pub(super) fn close_in_books(&mut self, key: IntentKey) -> bool {
        let closed = self.ledger.order_of(&key).filter(|(_, order)| order.closed_at.is_some());
        let Some((id, _)) = closed else { return false };
        self.services.books.close_order(id);
        self.books_moved();
        true
    }

    /// Puts the order of a requeued intent back into the books.
    pub(super) fn reopen_order(&mut self, key: IntentKey) {
        let Some((id, order)) = self.ledger.order_of(&key).filter(|(_, order)| order.closed_at.is_none())
        else {
            return;
        };
        let leaves = Lots(order.terms.quantity.0.saturating_sub(order.filled.0));
        let working = WorkingOrder::of(&order.terms, leaves);
        self.services.books.open_order(id, working);
        self.books_moved();
    }

    fn tell_rejected(
        &mut self,
        now: Now,
        key: IntentKey,
        reason: RejectReason,
        detail: &str,
        out: &mut Vec<Effect>,
    ) {
        self.close_in_books(key);
        if let Some((instrument, event)) = self.rejection_news(key, reason, detail) {
            self.tell(now, instrument, &event, out);
        }
    }

    fn tell_order(
        &mut self,
        now: Now,
        key: IntentKey,
        event: fn(OrderId) -> StrategyEvent,
        out: &mut Vec<Effect>,
    ) {
        if let Some((instrument, event)) = self.order_news(key, event) {
            self.tell(now, instrument, &event, out);
        }
    }
}

pub(super) fn change_name(change: &OrderChange) -> &'static str {
    match change {
        OrderChange::Accepted => "that it has the order",
        OrderChange::Filled { .. } => "a fill",
        OrderChange::Amended { .. } => "a change of the order",
        OrderChange::Cancelled => "that the order was cancelled",
        OrderChange::Expired => "that the order expired",
        OrderChange::Rejected { .. } => "that it refused the order",
    }
}
