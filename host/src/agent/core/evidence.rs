//! From a durable record to what follows from it: books, dead letters, and what the strategy is told.

use super::{Core, Effect, Letter};
use crate::market::{InstrumentId, Now, UnixNanos};
use crate::orders::{
    Applied, ExpiredBecause, Intent, IntentKey, IntentState, Record, RejectReason, StrategyEvent,
    WorkingOrder,
};
use crate::resilience::{Class, Classified, Failure};
use crate::venue::{OrderChange, OrderUpdate, Outcome};

impl Core {
    /// A record is durable: now, and not before, it may be acted on. `at` is the moment its entry names.
    pub(super) fn on_durable(&mut self, now: Now, at: UnixNanos, record: Record, out: &mut Vec<Effect>) {
        match record {
            Record::Submitting { key, attempt } => {
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
                if self.ledger.requeue(key, replay).is_ok() {
                    // When its last attempt ended may be forgotten; it was not later than this.
                    self.attempt_ended.insert(key, now.mono);
                    self.reopen_order(key);
                    self.due.insert(key, now.mono);
                    self.first_due.insert(key, now.mono);
                    self.dirty = true;
                }
            }
            Record::Resolved { key, note } => {
                if self.ledger.resolve(at, key).is_ok() {
                    self.close_in_books(key);
                    out.push(Effect::Letter(Letter::Resolved { key, note }));
                    self.dirty = true;
                }
            }
            Record::ModeChanged { to, .. } => {
                self.tell(now, InstrumentId(0), &StrategyEvent::ModeChanged(to), out);
            }
            Record::CallFailed { .. } | Record::Started { .. } => {}
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
            // The venue's own report of the order came first, and says more than this attempt.
            _ if was_closed => self.forget(key),
            Outcome::Refused(failure) if self.is_closed(key) => {
                self.stats.rejected += 1;
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
        self.answer_letter(key, out);
        if self.close_in_books(key) {
            let event = match why {
                ExpiredBecause::CancelledUnsent => StrategyEvent::Cancelled,
                _ => StrategyEvent::Expired,
            };
            self.tell_order(now, key, event, out);
        }
    }

    fn apply_dead_letter(&mut self, now: Now, key: IntentKey, failure: &Failure, out: &mut Vec<Effect>) {
        self.stats.dead_letters += 1;
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
        for update in updates {
            let pending = self.undurable.iter().any(|waiting| match &waiting.record {
                Record::Updated(known) => known.key == update.key && known.sequence == update.sequence,
                _ => false,
            });
            if !pending && self.ledger.is_news(&update) {
                self.journal(now, Record::Updated(update), out);
            }
        }
        self.cursor = self.cursor.max(cursor);
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
        self.dirty = true;
        if let Err(error) = self.book(&applied) {
            self.alert(error.class(), error.code(), error.to_string(), out);
        }
        if applied.was_dead {
            let note = format!("the venue reported {}", change_name(&applied.change));
            out.push(Effect::Letter(Letter::Resolved { key: update.key, note }));
        } else if !was_closed {
            self.answer_letter(update.key, out);
        }
        if applied.was_denied {
            let text = format!(
                "agent {}: the venue reported {} of intent {}, which it had denied twice; raise settle_ms above \
                 the delay of its reads",
                self.config.name,
                change_name(&applied.change),
                update.key
            );
            self.alert(Class::Data, "denial_refuted", text, out);
        }
        let order = applied.order;
        let event = match applied.change {
            OrderChange::Accepted => StrategyEvent::Accepted(order),
            OrderChange::Filled { quantity, price, fee, maker, .. } => {
                self.stats.fills += 1;
                StrategyEvent::Filled {
                    order,
                    instrument: applied.terms.instrument,
                    side: applied.terms.side,
                    quantity,
                    price,
                    leaves: applied.leaves,
                    fee,
                    maker,
                }
            }
            OrderChange::Amended { .. } => StrategyEvent::Amended(order),
            OrderChange::Cancelled => StrategyEvent::Cancelled(order),
            OrderChange::Expired => StrategyEvent::Expired(order),
            OrderChange::Rejected { detail, .. } => {
                self.stats.rejected += 1;
                StrategyEvent::Rejected { order, reason: RejectReason::Venue, detail }
            }
        };
        self.tell(now, applied.terms.instrument, &event, out);
    }

    /// Makes the books follow a change of an order. Also used when the journal is folded.
    pub(super) fn book(&mut self, applied: &Applied) -> Result<(), crate::orders::BooksError> {
        if applied.was_denied {
            let working = WorkingOrder::of(&applied.terms, applied.leaves);
            self.services.books.open_order(applied.order, working);
        }
        let books = &mut self.services.books;
        if let OrderChange::Filled { quantity, price, fee, .. } = &applied.change {
            let terms = (applied.order, applied.terms.instrument, applied.terms.side);
            books.fill(&self.config.instruments, terms, *quantity, *price, *fee)?;
        }
        if applied.closed {
            books.close_order(applied.order);
        } else if let OrderChange::Amended { limit, .. } = &applied.change
            && let Some(mut working) = books.working().get(&applied.order).copied()
        {
            working.leaves = applied.leaves;
            working.limit = limit.or(working.limit);
            books.open_order(applied.order, working);
        }
        Ok(())
    }

    /// Takes the order that a key placed out of the books when nothing more can happen to it.
    pub(super) fn close_in_books(&mut self, key: IntentKey) -> bool {
        let closed = self.ledger.order_of(&key).filter(|(_, order)| order.closed_at.is_some());
        let Some((id, _)) = closed else { return false };
        self.services.books.close_order(id);
        true
    }

    /// Puts the order of a requeued intent back into the books.
    pub(super) fn reopen_order(&mut self, key: IntentKey) {
        let Some((id, order)) = self.ledger.order_of(&key).filter(|(_, order)| order.closed_at.is_none())
        else {
            return;
        };
        let leaves = crate::market::Lots(order.terms.quantity.0.saturating_sub(order.filled.0));
        let working = WorkingOrder::of(&order.terms, leaves);
        self.services.books.open_order(id, working);
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
        let Some(order) = self.ledger.intent(&key).map(|intent| intent.action.order()) else { return };
        let instrument = self.ledger.order(order).map(|order| order.terms.instrument).unwrap_or_default();
        let event = StrategyEvent::Rejected { order, reason, detail: detail.to_owned() };
        self.tell(now, instrument, &event, out);
    }

    fn tell_order(
        &mut self,
        now: Now,
        key: IntentKey,
        event: fn(crate::orders::OrderId) -> StrategyEvent,
        out: &mut Vec<Effect>,
    ) {
        let Some((id, instrument)) =
            self.ledger.order_of(&key).map(|(id, order)| (id, order.terms.instrument))
        else {
            return;
        };
        self.tell(now, instrument, &event(id), out);
    }
}

fn venue_reason(failure: &Failure) -> RejectReason {
    match failure.code.as_ref() {
        "insufficient_funds" => RejectReason::InsufficientFunds,
        "unknown_order" => RejectReason::UnknownOrder,
        "would_cross" => RejectReason::WouldCross,
        _ => RejectReason::Venue,
    }
}

fn change_name(change: &OrderChange) -> &'static str {
    match change {
        OrderChange::Accepted => "that it has the order",
        OrderChange::Filled { .. } => "a fill",
        OrderChange::Amended { .. } => "a change of the order",
        OrderChange::Cancelled => "that the order was cancelled",
        OrderChange::Expired => "that the order expired",
        OrderChange::Rejected { .. } => "that it refused the order",
    }
}
