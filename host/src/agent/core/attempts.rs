//! From a journaled intent to a known outcome: when to try, what to make of an answer, when to give up.

use super::{Core, Effect, Flight, Inquiry};
use crate::market::{MonoNanos, Now};
use crate::orders::{Action, ExpiredBecause, Intent, IntentKey, IntentState, Ledger, Mode, Record, Sendable};
use crate::resilience::{
    Attempts, Class, Exhausted, Failure, Phase, RetryDecision, RetryKind, Verdict as BreakerVerdict,
    parse_retry_after, verdict_of,
};
use crate::venue::{Outcome, Reply};
use std::time::Duration;

/// What may be done about an intent now.
enum Readiness {
    Send,
    /// Wait for something other than time.
    Blocked,
    /// Drop it: it provably never left.
    Drop(ExpiredBecause),
    /// Drop it and the order that it would take back: neither ever left.
    DropBoth(IntentKey),
    /// It may have been executed and is not sent again now: ask. The failure is what it is given up for
    /// when no answer helps.
    Ask(Failure),
    /// Give it up.
    GiveUp(Failure),
}

impl Core {
    /// Tries every intent that is due, in the order in which they were decided: an order that closes a
    /// position is not overtaken by one that was decided after it.
    pub(super) fn dispatch(&mut self, now: Now, out: &mut Vec<Effect>) {
        if self.health.journal_failed || self.due.is_empty() {
            return;
        }
        let slot = |key: &IntentKey| self.ledger.intent(key).map(Intent::slot).unwrap_or_default();
        let due = self.due.iter().filter(|(_, at)| **at <= now.mono);
        let mut due: Vec<_> = due.map(|(key, _)| (slot(key), *key)).collect();
        due.sort_unstable();
        for (_, key) in due {
            self.try_intent(now, key, out);
        }
    }

    fn try_intent(&mut self, now: Now, key: IntentKey, out: &mut Vec<Effect>) {
        let Some(intent) = self.ledger.intent(&key) else {
            self.forget(key);
            return;
        };
        let asks = self.inquiries.get(&key).is_some_and(Inquiry::is_under_way);
        if intent.state.is_terminal() || self.flying.contains_key(&key) || asks {
            self.due.remove(&key);
            return;
        }
        match self.readiness(now, key, intent) {
            Readiness::Send => self.admit(now, key, out),
            Readiness::Blocked => {
                // Its deadline still counts.
                self.blocked.insert(key);
                self.due.insert(key, self.deadline(key, now));
            }
            Readiness::Drop(why) => self.record_expired(now, key, why, out),
            Readiness::DropBoth(placed) => {
                // What the strategy answers follows from the call that took the order back.
                self.chain = self.chains.get(&key).cloned();
                self.record_expired(now, placed, ExpiredBecause::CancelledUnsent, out);
                self.record_expired(now, key, ExpiredBecause::Moot, out);
                self.chain = None;
            }
            Readiness::Ask(failure) => self.ask(now, key, failure, out),
            Readiness::GiveUp(failure) => self.record_dead_letter(now, key, failure, out),
        }
    }

    fn readiness(&self, now: Now, key: IntentKey, intent: &Intent) -> Readiness {
        if self.has_pending_news(key) {
            // What is being written may close the intent; a record that follows it must follow from it.
            return Readiness::Blocked;
        }
        let target = match intent.action {
            Action::Submit(_) => None,
            Action::Cancel(id) | Action::Amend(crate::orders::AmendOrder { id, .. }) => {
                // The order is gone: whatever became of the attempts, there is nothing left to do.
                let Some(order) = self.ledger.working(id) else {
                    return Readiness::Drop(ExpiredBecause::Moot);
                };
                Some(order)
            }
        };
        let expired = now.mono >= self.deadline(key, now);
        // One that an operator sent again goes back to the operator.
        if expired && !intent.maybe_executed() && intent.attempts_total == 0 {
            return Readiness::Drop(ExpiredBecause::Deadline);
        }
        if let Some(failure) = self.sent_no_more(now, key, intent, expired) {
            return match intent.maybe_executed() {
                true => Readiness::Ask(failure),
                false => Readiness::GiveUp(failure),
            };
        }
        if let Some(order) = target {
            let placing = self.ledger.intent(&order.key);
            match placing.map(|placing| (&placing.state, placing.maybe_executed())) {
                Some((IntentState::Intended, false)) if !self.flying.contains_key(&order.key) => {
                    // Not even the order's own record may be durable yet; then it waits for that. A change
                    // waits until the order that it changes has been sent.
                    let takes_back = matches!(intent.action, Action::Cancel(_));
                    return match takes_back && !self.is_undurable(order.key) {
                        true => Readiness::DropBoth(order.key),
                        false => Readiness::Blocked,
                    };
                }
                // Nobody knows whether the order is there. A cancel that the venue refuses now could be
                // followed by the order itself.
                Some((IntentState::Submitting | IntentState::Ambiguous | IntentState::Intended, _)) => {
                    return Readiness::Blocked;
                }
                _ => {}
            }
        }
        match (self.mode_permits(intent), intent.maybe_executed()) {
            (true, _) => Readiness::Send,
            (false, false) => Readiness::Blocked,
            (false, true) => Readiness::Ask(last_failure(intent)),
        }
    }

    /// Why the intent is not sent again, whatever the mode.
    fn sent_no_more(&self, now: Now, key: IntentKey, intent: &Intent, expired: bool) -> Option<Failure> {
        let asks_only = self.inquiries.get(&key).is_some_and(Inquiry::replaces_attempts);
        if expired || asks_only || intent.attempts >= self.config.retry.attempts_max.get() {
            return Some(last_failure(intent));
        }
        let age = now.wall.since(intent.decided_at);
        (intent.maybe_executed() && age >= self.dialect.profile().key_window).then(|| {
            Failure::new(
                Class::State,
                "key_window",
                Phase::MaybeSent,
                "the venue may have forgotten the key, so the same key could execute twice; ask the venue, then resolve",
            )
        })
    }

    /// Modes are looked at before every attempt, not only when the intent was decided.
    fn mode_permits(&self, intent: &Intent) -> bool {
        if intent.by_host {
            return true;
        }
        match self.modes.mode() {
            Mode::Full => true,
            Mode::ReadOnly => match intent.action {
                Action::Submit(order) => order.options.reduce_only || intent.maybe_executed(),
                Action::Cancel(_) => true,
                Action::Amend(_) => intent.maybe_executed(),
            },
            Mode::Observation | Mode::Shutdown => false,
        }
    }

    fn is_undurable(&self, key: IntentKey) -> bool {
        self.undurable.iter().any(|waiting| match &waiting.record {
            Record::Decided(decision) => decision.intents.iter().any(|decided| decided.key == key),
            _ => false,
        })
    }

    /// Whether a record that will change the intent, and has not yet, is on its way to the disk.
    pub(super) fn has_pending_news(&self, key: IntentKey) -> bool {
        self.undurable.iter().any(|waiting| match &waiting.record {
            Record::Attempted { key: about, .. }
            | Record::Queried { key: about, .. }
            | Record::Requeued { key: about, .. }
            | Record::Resolved { key: about, .. } => *about == key,
            Record::Updated(update) => update.key == key,
            _ => false,
        })
    }

    fn deadline(&self, key: IntentKey, now: Now) -> MonoNanos {
        let first = self.first_due.get(&key).copied().unwrap_or(now.mono);
        first.after(Duration::from_millis(self.config.retry.deadline_ms))
    }

    fn admit(&mut self, now: Now, key: IntentKey, out: &mut Vec<Effect>) {
        let Some(intent) = self.ledger.intent(&key) else { return };
        let attempt = intent.attempts.saturating_add(1);
        let kind = match intent.errors.last() {
            None => RetryKind::First,
            Some(_) if intent.attempts == 0 => RetryKind::First,
            Some(error) if error.failure.code == "timeout" => RetryKind::AfterTimeout,
            Some(_) => RetryKind::Again,
        };
        match self.gate.admit_write(now.mono, kind) {
            Err(refusal) => {
                // Not an attempt: nothing is counted, nothing is journaled.
                self.due.insert(key, refusal.retry_at.min(self.deadline(key, now)));
                self.blocked.insert(key);
            }
            Ok(permit) => {
                self.due.remove(&key);
                self.blocked.remove(&key);
                self.stats.attempts += 1;
                self.stats.retries += u64::from(attempt > 1);
                self.flying.insert(key, Flight { attempt, permit });
                // What was asked before says nothing about this attempt.
                self.inquiries.remove(&key);
                if self.ledger.submitting(now.wall, key).is_ok() {
                    self.journal(now, Record::Submitting { key, attempt }, out);
                }
            }
        }
    }

    /// Something that intents may have waited for has happened.
    pub(super) fn unblock(&mut self, now: Now) {
        for key in std::mem::take(&mut self.blocked) {
            if let Some(at) = self.due.get_mut(&key) {
                *at = now.mono;
            }
        }
    }

    pub(super) fn forget(&mut self, key: IntentKey) {
        self.due.remove(&key);
        self.blocked.remove(&key);
        self.first_due.remove(&key);
        self.not_before.remove(&key);
        self.attempt_ended.remove(&key);
        self.inquiries.remove(&key);
        self.chains.remove(&key);
    }

    pub(super) fn send(&mut self, now: Now, key: IntentKey, attempt: u32, out: &mut Vec<Effect>) {
        let Some(intent) = self.ledger.intent(&key) else { return };
        if self.flying.get(&key).is_none_or(|flight| flight.attempt != attempt) {
            return;
        }
        if intent.state.is_terminal() {
            // News of the order came while the record was written: there is nothing left to ask for.
            if let Some(flight) = self.flying.remove(&key) {
                self.gate.cancel(flight.permit);
            }
            return;
        }
        if !self.mode_permits(intent) {
            // The mode fell while the record was written.
            if let Some(flight) = self.flying.remove(&key) {
                self.gate.cancel(flight.permit);
            }
            let text = format!("mode is {}", self.modes.mode());
            let outcome = Outcome::NotSent(Failure::new(Class::State, "mode_fell", Phase::NotSent, text));
            self.journal(now, Record::Attempted { key, attempt, outcome }, out);
            return;
        }
        let request = Sendable::journaled(intent.request.clone());
        out.push(Effect::Send { request, attempt });
    }

    pub(super) fn on_reply(
        &mut self,
        now: Now,
        key: IntentKey,
        attempt: u32,
        reply: Reply,
        out: &mut Vec<Effect>,
    ) {
        if self.flying.get(&key).is_none_or(|flight| flight.attempt != attempt) {
            return;
        }
        let Some(flight) = self.flying.remove(&key) else { return };
        self.attempt_ended.insert(key, now.mono);
        let asked = reply
            .retry_after
            .as_ref()
            .and_then(|header| parse_retry_after(&header.value, header.date.as_deref(), now.wall));
        let verdict = breaker_verdict(&reply.outcome);
        let transition = self.gate.report(flight.permit, verdict, reply.latency, asked, now.mono);
        if let Some(transition) = transition {
            self.alert(Class::Network, "breaker", transition.to_string(), out);
        }
        self.health.venue_refuses_key = match &reply.outcome {
            Outcome::Refused(failure) => failure.code == Ledger::UNAUTHORIZED,
            Outcome::Done { .. } => false,
            _ => self.health.venue_refuses_key,
        };
        if let Some(asked) = asked {
            self.not_before.insert(key, now.mono.after(asked));
        }
        if self.health.journal_failed {
            return;
        }
        self.journal(now, Record::Attempted { key, attempt, outcome: reply.outcome }, out);
    }

    pub(super) fn plan_retry(
        &mut self,
        now: Now,
        key: IntentKey,
        not_before: Option<MonoNanos>,
        out: &mut Vec<Effect>,
    ) {
        let Some(intent) = self.ledger.intent(&key) else { return };
        if intent.state.is_terminal() {
            self.forget(key);
            return;
        }
        let attempts = intent.attempts;
        let first = self.first_due.get(&key).copied().unwrap_or(now.mono);
        let made = Attempts { made: attempts, first_at: first, retry_after: None, not_before };
        let decision = self.config.retry.decide(&made, now.mono, &mut self.random);
        match decision {
            RetryDecision::At(at) => {
                self.due.insert(key, at);
            }
            RetryDecision::Exhausted(_) if intent.maybe_executed() => {
                self.ask_from_now_on(key, not_before.unwrap_or_default().max(now.mono));
            }
            RetryDecision::Exhausted(why) if self.has_pending_news(key) => {
                // The news decides; if it does not, the intent is given up when it is looked at next.
                let at = match why {
                    Exhausted::AttemptsSpent => now.mono,
                    Exhausted::Deadline => self.deadline(key, now),
                };
                self.due.insert(key, at);
            }
            RetryDecision::Exhausted(why) => {
                let last = intent.errors.last().map(|error| error.failure.clone());
                let failure = last.unwrap_or_else(|| {
                    Failure::new(Class::Network, "exhausted", Phase::MaybeSent, why.to_string())
                });
                self.record_dead_letter(now, key, failure, out);
            }
        }
    }

    pub(super) fn record_expired(
        &mut self,
        now: Now,
        key: IntentKey,
        why: ExpiredBecause,
        out: &mut Vec<Effect>,
    ) {
        // Applied at once: an intent that is being dropped must not be sent in the meantime.
        if self.ledger.expire(now.wall, key, why).is_ok() {
            self.forget(key);
            self.dirty = true;
            self.journal(now, Record::Expired { key, why }, out);
        }
    }

    pub(super) fn record_dead_letter(
        &mut self,
        now: Now,
        key: IntentKey,
        failure: Failure,
        out: &mut Vec<Effect>,
    ) {
        if self.ledger.dead_letter(now.wall, key, &failure).is_ok() {
            self.forget(key);
            self.dirty = true;
            self.journal(now, Record::DeadLettered { key, failure }, out);
        }
    }
}

/// The failure that is told when an intent is given up on.
fn last_failure(intent: &Intent) -> Failure {
    let last = intent.errors.last().map(|error| error.failure.clone());
    last.unwrap_or_else(|| {
        Failure::new(Class::Network, "deadline", Phase::NotSent, "the intent's time ran out")
    })
}

/// What an answer says about the venue's health.
pub(in crate::agent) fn breaker_verdict(outcome: &Outcome) -> BreakerVerdict {
    match outcome {
        Outcome::Done { .. } | Outcome::Unknown => BreakerVerdict::Success,
        Outcome::Refused(failure) | Outcome::NotSent(failure) | Outcome::Ambiguous(failure) => {
            verdict_of(failure)
        }
    }
}
