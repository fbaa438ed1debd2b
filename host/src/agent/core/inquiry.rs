//! Asking the venue what became of an intent that may have been executed and may not be sent again now.
//!
//! That the venue has the order is proof whenever it is said. That it has not is proof only when nothing is
//! on its way any more and the venue has had time to learn of it: two denials, the first asked for later
//! than a request's timeout after the last attempt ended, the second later than `settle_ms` after the first
//! was given, and no attempt in between. Anything else proves nothing, and the next question follows after
//! a random delay. Questions are counted; when they are spent, a person decides.

use super::{Core, Effect};
use crate::market::{MonoNanos, Now, UnixNanos};
use crate::orders::{Action, ExpiredBecause, Intent, IntentKey, Record};
use crate::resilience::{Failure, full_jitter, parse_retry_after};
use crate::venue::{OrderChange, OrderUpdate, Outcome, Reply};
use std::time::Duration;

/// Questions about one intent, since its last attempt.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Inquiry {
    /// Questions so far.
    asked: u32,
    /// Number of the question under way, and when it was asked.
    under_way: Option<(u64, MonoNanos)>,
    /// When the question whose answer is being written was asked, and when it was answered.
    answered: Option<(MonoNanos, MonoNanos)>,
    /// When the venue first denied the intent in a way that counts.
    denied_at: Option<MonoNanos>,
    /// When the venue wants to be asked again at the earliest.
    not_before: MonoNanos,
    /// There will be no further attempt, although some are left: there is no time for one.
    replaces_attempts: bool,
}

impl Inquiry {
    pub(super) fn is_under_way(&self) -> bool {
        self.under_way.is_some()
    }

    pub(super) fn replaces_attempts(&self) -> bool {
        self.replaces_attempts
    }
}

/// What an answer says about an intent.
enum Reading {
    /// Whether it was executed makes no difference any more.
    Moot,
    /// There is no trace of it.
    Denied,
    /// Nothing.
    NoEvidence,
}

impl Core {
    /// Asks instead of making another attempt.
    pub(super) fn ask_from_now_on(&mut self, key: IntentKey, at: MonoNanos) {
        self.inquiries.entry(key).or_default().replaces_attempts = true;
        self.due.insert(key, at);
    }

    /// Asks once more, or gives the intent up when there were enough questions.
    pub(super) fn ask(&mut self, now: Now, key: IntentKey, if_spent: Failure, out: &mut Vec<Effect>) {
        let Some(intent) = self.ledger.intent(&key) else { return };
        let inquiry = self.inquiries.entry(key).or_default();
        if inquiry.asked >= self.config.limits.queries_max {
            self.record_dead_letter(now, key, if_spent, out);
            return;
        }
        self.question += 1;
        inquiry.asked += 1;
        inquiry.under_way = Some((self.question, now.mono));
        out.push(Effect::Query { request: intent.request.clone(), number: self.question });
        self.due.remove(&key);
        self.blocked.remove(&key);
        self.stats.queries += 1;
    }

    pub(super) fn on_queried(
        &mut self,
        now: Now,
        key: IntentKey,
        number: u64,
        reply: Reply,
        out: &mut Vec<Effect>,
    ) {
        let Some(inquiry) = self.inquiries.get_mut(&key) else { return };
        // The answer to a question that was asked before the last attempt says nothing about that attempt.
        let Some((_, asked_at)) = inquiry.under_way.filter(|(waiting, _)| *waiting == number) else { return };
        inquiry.under_way = None;
        inquiry.answered = Some((asked_at, now.mono));
        let asked = reply
            .retry_after
            .and_then(|header| parse_retry_after(&header.value, header.date.as_deref(), now.wall));
        inquiry.not_before = now.mono.after(asked.unwrap_or_default());
        if !self.health.journal_failed {
            self.journal(now, Record::Queried { key, outcome: reply.outcome }, out);
        }
    }

    /// An answer is durable.
    pub(super) fn apply_queried(
        &mut self,
        now: Now,
        at: UnixNanos,
        key: IntentKey,
        outcome: &Outcome,
        out: &mut Vec<Effect>,
    ) {
        let was_closed = self.is_closed(key);
        if self.ledger.queried(key, outcome).is_err() {
            return;
        }
        self.dirty = true;
        if let Outcome::Done { updates } = outcome {
            for update in updates {
                self.apply_update(now, at, update, out);
            }
        }
        let answered = self.inquiries.get_mut(&key).and_then(|inquiry| inquiry.answered.take());
        let Some(intent) = self.ledger.intent(&key) else { return };
        if intent.state.is_terminal() {
            self.forget(key);
            if !was_closed {
                self.answer_letter(key, out);
            }
            return;
        }
        if self.has_pending_news(key) {
            // It may close the intent, and a record that follows it must follow from it.
            self.ask_at(key, now.mono);
            return;
        }
        match self.read(intent, outcome) {
            Reading::Moot => self.record_expired(now, key, ExpiredBecause::Moot, out),
            Reading::Denied => self.take_denial(now, key, answered, out),
            Reading::NoEvidence => self.ask_later(now, key, now.mono),
        }
    }

    fn read(&self, intent: &Intent, outcome: &Outcome) -> Reading {
        match (intent.action, outcome) {
            (Action::Submit(_), Outcome::Unknown) => Reading::Denied,
            (Action::Submit(_), _) => Reading::NoEvidence,
            (Action::Cancel(_) | Action::Amend(_), Outcome::Done { updates }) => {
                self.read_order(intent, updates)
            }
            // The venue knew the order once; that it does not now says nothing about a change of it.
            (Action::Cancel(_) | Action::Amend(_), _) => Reading::NoEvidence,
        }
    }

    /// What the history of an order, which has been applied, says about a cancel or a change of it.
    fn read_order(&self, intent: &Intent, updates: &[OrderUpdate]) -> Reading {
        let Some(order) = self.ledger.working(intent.action.order()) else { return Reading::Moot };
        let Action::Amend(amend) = intent.action else {
            // A venue that tells nothing of the order does not tell that it still works.
            return if updates.is_empty() { Reading::NoEvidence } else { Reading::Denied };
        };
        let as_wanted = order.terms.quantity == amend.quantity
            && amend.limit.is_none_or(|limit| order.terms.kind.limit() == Some(limit));
        // A change names no key: when there was any, it may have been this one, and changed again since.
        let changed = updates.iter().any(|update| matches!(update.change, OrderChange::Amended { .. }));
        match (as_wanted, changed || updates.is_empty()) {
            (true, _) => Reading::Moot,
            (false, true) => Reading::NoEvidence,
            (false, false) => Reading::Denied,
        }
    }

    fn take_denial(
        &mut self,
        now: Now,
        key: IntentKey,
        answered: Option<(MonoNanos, MonoNanos)>,
        out: &mut Vec<Effect>,
    ) {
        let settle = Duration::from_millis(self.config.limits.settle_ms);
        // The venue may still work on an attempt whose answer nobody waited for.
        let ended = self.attempt_ended.get(&key).copied().unwrap_or(self.started);
        let arrived_by = ended.after(self.dialect.profile().request_timeout);
        let (Some((asked_at, answered_at)), Some(inquiry)) = (answered, self.inquiries.get_mut(&key)) else {
            self.ask_later(now, key, now.mono);
            return;
        };
        match inquiry.denied_at {
            Some(first) if asked_at >= first.after(settle) => {
                self.record_expired(now, key, ExpiredBecause::NeverArrived, out);
            }
            None if asked_at > arrived_by => {
                inquiry.denied_at = Some(answered_at);
                self.ask_at(key, answered_at.after(settle).max(now.mono));
            }
            None => self.ask_later(now, key, arrived_by.after(Duration::from_nanos(1))),
            Some(first) => self.ask_at(key, first.after(settle).max(now.mono)),
        }
    }

    /// Asks again after a random delay, which grows with the questions, and not before a moment.
    fn ask_later(&mut self, now: Now, key: IntentKey, earliest: MonoNanos) {
        let asked = self.inquiries.get(&key).map_or(1, |inquiry| inquiry.asked);
        let delay = full_jitter(&self.config.retry, asked, &mut self.random);
        self.ask_at(key, now.mono.after(delay).max(earliest));
    }

    fn ask_at(&mut self, key: IntentKey, at: MonoNanos) {
        let not_before = self.inquiries.get(&key).map_or(at, |inquiry| inquiry.not_before);
        self.due.insert(key, at.max(not_before));
    }
}
