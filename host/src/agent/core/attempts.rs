//! From a journaled intent to a known outcome: when to try, what to make of an answer, when to give up.

use super::{Core, Effect, Flight, Inquiry};
use crate::market::{MonoNanos, Now};
use crate::orders::{Action, ExpiredBecause, Intent, IntentKey, IntentState, Ledger, Mode, Record, Sendable};
use crate::resilience::{
    Attempts, Class, Exhausted, Failure, Phase, RetryDecision, RetryKind, Verdict as BreakerVerdict,
    parse_retry_after, verdict_of,
};
use crate::venue::{Baseline, Capability, Outcome, Reply};

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
            Readiness::Send if self.needs_baseline(intent) => self.prepare(now, key, out),
            Readiness::Send => self.admit(now, key, None, out),
            Readiness::Blocked => {
                self.block(now, key);
                self.give_way(now, key);
            }
            Readiness::Drop(why) => self.record_expired(now, key, why, out),
            Readiness::DropBoth(placed) => {
                // What the strategy answers follows from the call that took the order back.
                self.chain = self.chains.get(&key).cloned();
                // An order that the venue has denied did leave once: should it turn up, it is open again.
                let denied = self.ledger.intent(&placed).is_some_and(Intent::is_denied);
                let why = if denied { ExpiredBecause::NeverArrived } else { ExpiredBecause::CancelledUnsent };
                self.record_expired(now, placed, why, out);
                self.record_expired(now, key, ExpiredBecause::Moot, out);
                self.chain = None;
            }
            Readiness::Ask(failure) => self.ask(now, key, failure, out),
            Readiness::GiveUp(failure) => self.record_dead_letter(now, key, failure, out),
        }
    }

    /// Waits for something other than time. Its deadline still counts.
    pub(super) fn block(&mut self, now: Now, key: IntentKey) {
        self.blocked.insert(key);
        self.due.insert(key, self.deadline(key, now));
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
        if expired && intent.is_denied() {
            return Readiness::Drop(ExpiredBecause::NeverArrived);
        }
        if let Some(failure) = reused(intent) {
            // What the venue has under the key is not this, so that asking would adopt another's order.
            return Readiness::GiveUp(failure.clone());
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
                    // What is being written may say that the order is at the venue after all.
                    let settled = !self.is_undurable(order.key) && !self.has_pending_news(order.key);
                    return match takes_back && settled {
                        true => Readiness::DropBoth(order.key),
                        false => Readiness::Blocked,
                    };
                }
                // Nobody knows whether the order is there. A cancel that the venue refuses now could be
                // followed by the order itself.
                Some((IntentState::Submitting | IntentState::Ambiguous | IntentState::Intended, _)) => {
                    return Readiness::Blocked;
                }
                // Where the venue cannot be asked by key, there is nothing that it could be told to cancel.
                Some((IntentState::DeadLettered { ambiguous: true }, _))
                    if self.dialect.profile().capability.needs_baseline() =>
                {
                    return Readiness::Blocked;
                }
                _ => {}
            }
        }
        // One that an operator has sent again waits like any other; nothing of it is there to ask about.
        let in_doubt = intent.state == IntentState::Ambiguous;
        match (self.mode_permits(intent), in_doubt) {
            (true, _) if self.is_locked_for(key) => Readiness::Blocked,
            (true, _) => Readiness::Send,
            (false, false) => Readiness::Blocked,
            // It may be sent again in a moment, which says more than a question.
            (false, true) if self.reconcile.is_on_its_way() => Readiness::Blocked,
            (false, true) => Readiness::Ask(last_failure(intent)),
        }
    }

    /// Why the intent is not sent again, whatever the mode.
    fn sent_no_more(&self, now: Now, key: IntentKey, intent: &Intent, expired: bool) -> Option<Failure> {
        let asks_only = self.inquiries.get(&key).is_some_and(Inquiry::replaces_attempts);
        if expired || asks_only || intent.attempts >= self.config.retry.attempts_max.get() {
            return Some(last_failure(intent));
        }
        let (age, capability) = (now.wall.since(intent.decided_at), self.dialect.profile().capability);
        if intent.state != IntentState::Ambiguous || capability.may_resend(age) {
            return None;
        }
        Some(match capability {
            Capability::IdempotentKeys { .. } => Failure::new(
                Class::State,
                "key_window",
                Phase::MaybeSent,
                "the venue may have forgotten the key, so the same key could execute twice; ask the venue, then resolve",
            ),
            Capability::QueryByClientId | Capability::UniqueWhileOpen | Capability::DeltaOnly => {
                last_failure(intent)
            }
        })
    }

    /// Modes are looked at before every attempt, not only when the intent was decided.
    fn mode_permits(&self, intent: &Intent) -> bool {
        // A closing order of an earlier run may be one too many by now; the venue is read first.
        if intent.by_host {
            return self.is_ready() || !matches!(intent.action, Action::Submit(_));
        }
        // Where keys are remembered, the same key again is a way of asking, and adds no risk.
        let asks = intent.maybe_executed() && self.dialect.profile().capability.honours_keys();
        match self.modes.mode() {
            Mode::Full => true,
            Mode::ReadOnly => match intent.action {
                Action::Submit(order) => order.options.reduce_only || asks,
                Action::Cancel(_) => true,
                Action::Amend(_) => asks,
            },
            Mode::Observation | Mode::Shutdown => false,
        }
    }

    fn is_undurable(&self, key: IntentKey) -> bool {
        self.undurable.iter().any(|waiting| match &waiting.record {
            Record::Decided(decision) => decision.intents.iter().any(|decided| decided.key == key),
            Record::Reissued(reissue) => reissue.key == key,
            _ => false,
        })
    }

    /// Whether a record that will change the intent, and has not yet, is on its way to the disk.
    pub(super) fn has_pending_news(&self, key: IntentKey) -> bool {
        self.undurable.iter().any(|waiting| match &waiting.record {
            Record::Attempted { key: about, .. }
            | Record::Queried { key: about, .. }
            | Record::Requeued { key: about, .. }
            | Record::ReplayRefused { key: about, .. }
            | Record::Resolved { key: about, .. }
            | Record::OrderDropped { key: about } => *about == key,
            Record::Reissued(reissue) => reissue.parent == key,
            Record::Updated(update) => update.key == key,
            _ => false,
        })
    }

    pub(super) fn admit(
        &mut self,
        now: Now,
        key: IntentKey,
        baseline: Option<Baseline>,
        out: &mut Vec<Effect>,
    ) {
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
                self.preparations.remove(&key);
                self.stats.attempts += 1;
                self.stats.retries += u64::from(attempt > 1);
                self.flying.insert(key, Flight { attempt, permit, overtaken: false });
                // What was asked before says nothing about this attempt.
                self.inquiries.remove(&key);
                if self.ledger.submitting(now.wall, key, baseline.clone()).is_ok() {
                    self.journal(now, Record::Submitting { key, attempt, baseline }, out);
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
        self.spent.remove(&key);
        self.not_before.remove(&key);
        self.attempt_ended.remove(&key);
        self.inquiries.remove(&key);
        self.preparations.remove(&key);
        self.chains.remove(&key);
    }

    pub(super) fn send(&mut self, now: Now, key: IntentKey, attempt: u32, out: &mut Vec<Effect>) {
        let Some(intent) = self.ledger.intent(&key) else { return };
        let Some(flight) = self.flying.get(&key).filter(|flight| flight.attempt == attempt) else { return };
        let overtaken = flight.overtaken && self.needs_baseline(intent);
        if intent.state.is_terminal() {
            // News of the order came while the record was written: there is nothing left to ask for.
            if let Some(flight) = self.flying.remove(&key) {
                self.gate.cancel(flight.permit);
            }
            return;
        }
        // What has changed while the record was written.
        let hindrance = match (self.mode_permits(intent), overtaken) {
            (false, _) => Some(("mode_fell", format!("mode is {}", self.modes.mode()))),
            (true, true) => Some(("baseline_overtaken", "the account has changed since it was read".into())),
            (true, false) => None,
        };
        if let Some((code, text)) = hindrance {
            if let Some(flight) = self.flying.remove(&key) {
                self.gate.cancel(flight.permit);
            }
            let outcome = Outcome::NotSent(Failure::new(Class::State, code, Phase::NotSent, text));
            self.journal(now, Record::Attempted { key, attempt, outcome }, out);
            return;
        }
        let request = Sendable::journaled(intent.request.clone(), intent.baseline.clone());
        let about = self.ledger.order(intent.action.order()).map(|order| order.terms.instrument);
        out.push(Effect::Send { request, attempt });
        if let Some(instrument) = about {
            self.overtake(now, instrument, key);
        }
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
        if let Outcome::Done { updates } = &reply.outcome {
            self.overtaken_by(now, updates);
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
        let decision = self.retries_of(key).decide(&made, now.mono, &mut self.random);
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
        let unread = self.preparations.get(&key).and_then(|preparation| preparation.failure()).cloned();
        // Applied at once: an intent that is being dropped must not be sent in the meantime.
        if self.ledger.expire(now.wall, key, why).is_ok() {
            if let Some(failure) = unread {
                let name = &self.config.name;
                let text = format!(
                    "agent {name}: intent {key} was not sent, because the account could not be read before it: {failure}"
                );
                self.alert(failure.class, "baseline_unread", text, out);
            }
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

/// The venue's word that the key was used for another request.
fn reused(intent: &Intent) -> Option<&Failure> {
    let mut failures = intent.errors.iter().map(|error| &error.failure);
    failures.find(|failure| failure.code == Ledger::KEY_REUSED)
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
