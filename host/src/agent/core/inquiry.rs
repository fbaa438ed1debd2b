//! Asking the venue what became of an intent that may have been executed and may not be sent again now.
//!
//! That the venue has the order is proof whenever it is said. That it has not is proof only when nothing is
//! on its way any more and the venue has had time to learn of it: two denials, the first asked for later
//! than a request's timeout after the last attempt ended, the second later than `settle_ms` after the first
//! was given, and no attempt in between. Anything else proves nothing, and the next question follows after
//! a random delay. Questions are counted; when they are spent, a person decides.
//!
//! A venue that remembers keys is asked only when there will be no further attempt, so its denial ends the
//! intent. One that does not is asked before every further attempt, and its denial is what allows that. The
//! silence of one that knows no ids at all proves nothing, however often it is heard.

use super::{Core, Effect};
use crate::market::{MonoNanos, Now, UnixNanos};
use crate::orders::{Action, ExpiredBecause, Intent, IntentKey, IntentState, Proof, Record};
use crate::resilience::{Attempts, Failure, RetryDecision, full_jitter, parse_retry_after};
use crate::venue::{OrderChange, OrderUpdate, Outcome, Question, Reply};
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
        let Some(question) = self.question_about(key) else { return };
        let inquiry = self.inquiries.entry(key).or_default();
        if inquiry.asked >= self.config.limits.queries_max {
            self.record_dead_letter(now, key, if_spent, out);
            return;
        }
        self.question += 1;
        inquiry.asked += 1;
        inquiry.under_way = Some((self.question, now.mono));
        out.push(Effect::Query { question, number: self.question });
        self.due.remove(&key);
        self.blocked.remove(&key);
        self.stats.queries += 1;
    }

    pub(super) fn question_about(&self, key: IntentKey) -> Option<Question> {
        let intent = self.ledger.intent(&key)?;
        let id = intent.action.order();
        let order = self.ledger.order(id);
        let since = intent.baseline.as_ref().map(|baseline| self.set_back.before(baseline.at));
        Some(Question {
            request: intent.request.clone(),
            baseline: intent.baseline.clone(),
            venue_id: order.and_then(|order| order.venue_id.clone()),
            sent_at: intent.last_at,
            others: since.map(|since| self.ledger.others(id, since)).unwrap_or_default(),
        })
    }

    pub(super) fn on_queried(
        &mut self,
        now: Now,
        key: IntentKey,
        number: u64,
        reply: Reply,
        out: &mut Vec<Effect>,
    ) {
        if let Outcome::Done { updates } = &reply.outcome {
            self.overtaken_by(now, updates);
        }
        if self.watch.asked(key, number) {
            self.on_watched(now, key, reply, out);
            return;
        }
        if self.take_late_answer(now, key, number, &reply, out) {
            return;
        }
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
        let was_unresolved = self.ledger.unresolved().any(|letter| letter == key);
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
            } else if was_unresolved {
                self.close_letter(key, out);
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
        if !self.denial_is_proof(key) {
            if self.is_replayed(now, key) {
                self.record_denied(now, key, Proof::Replayed, now.mono, out);
            } else {
                self.ask_later(now, key, now.mono);
            }
            return;
        }
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
                self.conclude_denied(now, key, out);
            }
            None if asked_at > arrived_by => {
                inquiry.denied_at = Some(answered_at);
                self.ask_at(key, answered_at.after(settle).max(now.mono));
            }
            None => self.ask_later(now, key, arrived_by.after(Duration::from_nanos(1))),
            Some(first) => self.ask_at(key, first.after(settle).max(now.mono)),
        }
    }

    /// Whether what the venue does not show it does not have. A resting order of its own list it does show,
    /// whatever it knows of our ids, so that a cancel which did nothing is seen anywhere.
    fn denial_is_proof(&self, key: IntentKey) -> bool {
        let cancels = |intent: &Intent| matches!(intent.action, Action::Cancel(_));
        self.dialect.profile().capability.denial_is_proof() || self.ledger.intent(&key).is_some_and(cancels)
    }

    /// Whether an operator has ordered it to be sent again, and that was not done yet.
    fn is_replayed(&self, now: Now, key: IntentKey) -> bool {
        let waits = |intent: &Intent| {
            intent.replay > 0 && intent.attempts == 0 && intent.state == IntentState::Ambiguous
        };
        self.ledger.intent(&key).is_some_and(waits) && now.mono < self.deadline(key, now)
    }

    /// It is proven that the venue has never had it.
    fn conclude_denied(&mut self, now: Now, key: IntentKey, out: &mut Vec<Effect>) {
        let Some(intent) = self.ledger.intent(&key) else { return };
        let ends = self.dialect.profile().capability.honours_keys()
            || self.inquiries.get(&key).is_some_and(Inquiry::replaces_attempts);
        let first_at = self.first_due.get(&key).copied().unwrap_or(now.mono);
        let not_before = self.inquiries.get(&key).map(|inquiry| inquiry.not_before);
        let made = Attempts { made: intent.attempts, first_at, retry_after: None, not_before };
        match self.retries_of(key).decide(&made, now.mono, &mut self.random) {
            RetryDecision::At(at) if !ends => self.record_denied(now, key, Proof::DeniedTwice, at, out),
            _ => self.record_expired(now, key, ExpiredBecause::NeverArrived, out),
        }
    }

    fn record_denied(
        &mut self,
        now: Now,
        key: IntentKey,
        proof: Proof,
        at: MonoNanos,
        out: &mut Vec<Effect>,
    ) {
        // Applied at once, like all that the core concludes by itself; the next attempt cannot be durable
        // before this record is.
        if self.ledger.deny(now.wall, key, proof).is_ok() {
            self.inquiries.remove(&key);
            self.due.insert(key, at);
            self.dirty = true;
            self.journal(now, Record::Denied { key, proof }, out);
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
