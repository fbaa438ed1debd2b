//! Watching dead letters that may have been executed, at a venue that knows no ids of ours.
//!
//! Such a venue may execute an order minutes after its client gave up, and reports it to nobody. So the
//! account is looked at again and again, slowly, for as long as there is such a letter: what shows up then
//! is adopted and closes the letter. Silence still proves nothing, and is not journaled.

use super::{Core, Effect};
use crate::market::{MonoNanos, Now};
use crate::orders::{IntentKey, Record};
use crate::resilience::parse_retry_after;
use crate::venue::{Outcome, Reply};
use std::time::Duration;

/// One letter that is watched.
#[derive(Clone, Copy, Debug)]
pub(super) struct LateLook {
    next_at: MonoNanos,
    /// Number of the question under way.
    under_way: Option<u64>,
}

impl Core {
    /// Looks at every such letter at once: nobody did while the host was away.
    pub(super) fn watch_letters_from(&mut self, now: Now) {
        let at_once = LateLook { next_at: now.mono, under_way: None };
        self.watched = self.ledger.unresolved().map(|key| (key, at_once)).collect();
    }

    /// Asks about every such letter whose time has come.
    pub(super) fn watch_letters(&mut self, now: Now, out: &mut Vec<Effect>) {
        let watches = self.dialect.profile().capability.needs_baseline();
        if !watches || self.health.journal_failed || self.life == super::Life::Stopped {
            return;
        }
        let letters: Vec<_> = self.ledger.unresolved().collect();
        self.watched.retain(|key, _| letters.contains(key));
        let pause = self.late_fill_poll();
        for key in letters {
            let first = LateLook { next_at: now.mono.after(pause), under_way: None };
            let watch = *self.watched.entry(key).or_insert(first);
            if watch.under_way.is_some() || now.mono < watch.next_at || self.has_pending_news(key) {
                continue;
            }
            let Some(question) = self.question_about(key) else { continue };
            self.question += 1;
            self.stats.queries += 1;
            let under_way = Some(self.question);
            self.watched.insert(key, LateLook { under_way, ..watch });
            out.push(Effect::Query { question, number: self.question });
        }
    }

    /// Takes the answer to a question about a letter. Whether it was one.
    pub(super) fn take_late_answer(
        &mut self,
        now: Now,
        key: IntentKey,
        number: u64,
        reply: &Reply,
        out: &mut Vec<Effect>,
    ) -> bool {
        let pause = self.late_fill_poll();
        let Some(watch) = self.watched.get_mut(&key).filter(|watch| watch.under_way == Some(number)) else {
            return false;
        };
        let asked = reply
            .retry_after
            .as_ref()
            .and_then(|header| parse_retry_after(&header.value, header.date.as_deref(), now.wall));
        let next_at = now.mono.after(asked.unwrap_or_default().max(pause));
        *watch = LateLook { next_at, under_way: None };
        if matches!(reply.outcome, Outcome::Done { .. }) && !self.health.journal_failed {
            self.journal(now, Record::Queried { key, outcome: reply.outcome.clone() }, out);
        }
        true
    }

    fn late_fill_poll(&self) -> Duration {
        Duration::from_millis(self.config.limits.late_fill_poll_ms)
    }
}
