//! Asking about orders that the venue has confirmed and that should still work: all of them once after the
//! venue was lost, and again and again at a venue that reports no changes by itself.
//!
//! An answer is one of three things, and they are never taken for each other. *Found*: what happened to the
//! order is applied, as if the venue had reported it. *Not known*: said twice, with `settle_ms` between them,
//! the order is gone and nobody knows how; its end is not invented, a person decides. Anything else says
//! nothing about the order, and it is asked about again.

use super::{Core, Effect};
use crate::market::{MonoNanos, Now};
use crate::orders::{IntentKey, Record};
use crate::resilience::{Class, Failure, full_jitter};
use crate::venue::{Outcome, Reply};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// What is asked about working orders.
#[derive(Clone, Debug, Default)]
pub(super) struct Watch {
    orders: BTreeMap<IntentKey, Watched>,
    /// Whether as many questions are under way as may be: an answer makes room.
    is_full: bool,
}

#[derive(Clone, Copy, Debug)]
struct Watched {
    /// When to ask next.
    due: MonoNanos,
    /// Number of the question under way, and when it was asked.
    under_way: Option<(u64, MonoNanos)>,
    /// Questions in a row that came to nothing.
    failures: u32,
    /// Whether it was found since the watch began.
    found: bool,
    /// When the venue first said that it does not know it.
    denied_at: Option<MonoNanos>,
    /// Whether it said so again, late enough.
    vanished: bool,
    /// When the venue last said anything about it, or since when it is watched.
    heard_at: MonoNanos,
    /// When the last question was asked to which the venue said anything.
    answered: Option<MonoNanos>,
}

impl Watched {
    const fn due(now: MonoNanos, due: MonoNanos, found: bool) -> Self {
        Self {
            due,
            under_way: None,
            failures: 0,
            found,
            denied_at: None,
            vanished: false,
            heard_at: now,
            answered: None,
        }
    }
}

impl Watch {
    /// Whether an order waits for its first answer.
    pub(super) fn is_waiting(&self) -> bool {
        self.orders.values().any(|order| !order.found && !order.vanished)
    }

    /// Orders of which the venue has said nothing to a question from this moment on.
    pub(super) fn unheard_since(&self, moment: MonoNanos) -> impl Iterator<Item = IntentKey> + '_ {
        let unheard = move |order: &Watched| order.answered.is_none_or(|asked| asked < moment);
        self.orders.iter().filter(move |(_, order)| unheard(order)).map(|(key, _)| *key)
    }

    /// Orders that are gone.
    pub(super) fn vanished(&self) -> impl Iterator<Item = IntentKey> + '_ {
        self.orders.iter().filter(|(_, order)| order.vanished).map(|(key, _)| *key)
    }

    /// Whether a question under this number was asked about this order.
    pub(super) fn asked(&self, key: IntentKey, number: u64) -> bool {
        let under_way = self.orders.get(&key).and_then(|order| order.under_way);
        under_way.is_some_and(|(waiting, _)| waiting == number)
    }

    /// Whether an answer is waited for that something else waits for in turn.
    pub(super) fn is_busy(&self) -> bool {
        self.orders.values().any(|order| order.under_way.is_some() && !order.found && order.failures == 0)
    }

    /// When to ask next, if there is anything to ask.
    pub(super) fn wake(&self) -> Option<MonoNanos> {
        if self.is_full {
            return None;
        }
        let idle = self.orders.values().filter(|order| order.under_way.is_none());
        idle.map(|order| order.due).min()
    }
}

impl Core {
    /// Asks about every working order, whatever was known of it.
    pub(super) fn watch_all(&mut self, now: Now) {
        for key in self.acknowledged() {
            let order = self.watch.orders.entry(key).or_insert(Watched::due(now.mono, now.mono, false));
            *order = Watched { vanished: order.vanished, ..Watched::due(now.mono, now.mono, false) };
        }
    }

    /// Keys of orders that work as far as the books know and that the venue has confirmed. One whose intent is
    /// forgotten cannot be asked about: it came back from the closed ones, by the venue's own report.
    fn acknowledged(&self) -> BTreeSet<IntentKey> {
        let working = self.services.books.working().keys();
        working
            .filter_map(|id| self.ledger.working(*id))
            .filter(|order| self.ledger.is_acknowledged(order) && self.ledger.intent(&order.key).is_some())
            .map(|order| order.key)
            .collect()
    }

    /// Asks about what is due, a bounded number at a time.
    pub(super) fn progress_watch(&mut self, now: Now, out: &mut Vec<Effect>) {
        let polls = self.config.live && !self.dialect.profile().reports_changes;
        self.watch.is_full = false;
        if self.watch.orders.is_empty() && !polls {
            return;
        }
        let acknowledged = self.acknowledged();
        self.watch.orders.retain(|key, _| acknowledged.contains(key));
        if polls {
            let first = now.mono.after(self.poll_interval());
            for key in acknowledged {
                self.watch.orders.entry(key).or_insert(Watched::due(now.mono, first, true));
            }
        }
        let under_way = self.watch.orders.values().filter(|order| order.under_way.is_some()).count();
        let most = usize::try_from(self.config.limits.reconcile_queries_max.max(1)).unwrap_or(usize::MAX);
        let due = |order: &Watched| order.under_way.is_none() && order.due <= now.mono;
        let mut due: Vec<_> =
            self.watch.orders.iter().filter(|(_, o)| due(o)).map(|(key, o)| (o.due, *key)).collect();
        due.sort_unstable();
        let room = most.saturating_sub(under_way);
        self.watch.is_full = due.len() >= room;
        for (_, key) in due.into_iter().take(room) {
            self.ask_about_order(now, key, out);
        }
    }

    fn ask_about_order(&mut self, now: Now, key: IntentKey, out: &mut Vec<Effect>) {
        let Some(question) = self.question_about(key) else { return };
        let Some(watched) = self.watch.orders.get_mut(&key) else { return };
        self.question += 1;
        watched.under_way = Some((self.question, now.mono));
        self.stats.queries += 1;
        out.push(Effect::Query { question, number: self.question });
    }

    pub(super) fn on_watched(&mut self, now: Now, key: IntentKey, reply: Reply, out: &mut Vec<Effect>) {
        let (poll, settle) = (self.poll_interval(), Duration::from_millis(self.config.limits.settle_ms));
        let vanished_poll = Duration::from_millis(self.config.limits.mismatch_poll_ms);
        let Some(watched) = self.watch.orders.get_mut(&key) else { return };
        let Some((_, asked_at)) = watched.under_way.take() else { return };
        match reply.outcome {
            Outcome::Done { updates } => {
                if self.dialect.profile().reports_changes {
                    self.watch.orders.remove(&key);
                } else {
                    let answered = Some(asked_at);
                    *watched = Watched { answered, ..Watched::due(now.mono, now.mono.after(poll), true) };
                }
                for update in updates {
                    self.hear(now, update, out);
                }
            }
            Outcome::Unknown => {
                (watched.failures, watched.heard_at, watched.answered) = (0, now.mono, Some(asked_at));
                match watched.denied_at {
                    None => {
                        watched.denied_at = Some(now.mono);
                        watched.due = now.mono.after(settle);
                    }
                    Some(first) if asked_at < first.after(settle) => watched.due = first.after(settle),
                    Some(_) => {
                        watched.due = now.mono.after(vanished_poll);
                        if !std::mem::replace(&mut watched.vanished, true) {
                            self.alert_vanished(key, out);
                        }
                    }
                }
            }
            Outcome::Refused(failure) | Outcome::NotSent(failure) | Outcome::Ambiguous(failure) => {
                // That the rate limit is reached says nothing about the venue, and there is a next turn soon.
                let limited = failure.code == "rate_limited";
                watched.failures = if limited { 1 } else { watched.failures.saturating_add(1) };
                let failures = watched.failures;
                let waiting = !watched.found;
                let silence = Duration::from_millis(self.config.limits.order_silence_ms_max);
                let is_silent = now.mono.since(watched.heard_at) >= silence;
                let at = now.mono.after(full_jitter(&self.config.retry, failures, &mut self.random));
                if let Some(watched) = self.watch.orders.get_mut(&key) {
                    watched.due = at;
                }
                if waiting && !limited {
                    self.reconcile_failed(now, &failure, out);
                }
                if !waiting && is_silent && !self.reconcile.holds() {
                    // Whatever was answered instead, nobody knows what happens to the order any more.
                    self.reconcile.begin_again(now.mono);
                }
            }
        }
    }

    fn alert_vanished(&self, key: IntentKey, out: &mut Vec<Effect>) {
        let Some((id, order)) = self.ledger.order_of(&key) else { return };
        let symbol = self.config.instruments.get(order.terms.instrument).map(|terms| terms.symbol.as_str());
        let text = format!(
            "agent {}: the venue has confirmed order {} ({key}, {} {} lots of {}, {} filled) and does not know it any \
             more; the agent only observes: find out at the venue what became of it, and start with \
             --drop-vanished {} when it is gone",
            self.config.name,
            id.0,
            order.terms.side.name(),
            order.terms.quantity,
            symbol.unwrap_or("an unknown instrument"),
            order.filled,
            self.config.name,
        );
        self.alert(Class::State, "order_vanished", text, out);
    }

    /// Takes orders that are gone out of the books, at an operator's word.
    pub(super) fn drop_vanished(&mut self, now: Now, out: &mut Vec<Effect>) {
        let vanished = self.watch.vanished().filter(|key| !self.has_pending_news(*key));
        for key in vanished.collect::<Vec<_>>() {
            self.journal(now, Record::OrderDropped { key }, out);
        }
    }

    fn poll_interval(&self) -> Duration {
        Duration::from_millis(self.config.limits.order_poll_ms)
    }

    /// Why the watch could not go on is told with the reconciliation that waits for it.
    fn reconcile_failed(&mut self, now: Now, failure: &Failure, out: &mut Vec<Effect>) {
        if self.reconcile.holds() {
            let at = self.reconcile_retry_at(now);
            self.reconcile.failed(at);
            self.tell_reconcile_failed(failure, out);
            self.unblock(now);
        }
    }
}
