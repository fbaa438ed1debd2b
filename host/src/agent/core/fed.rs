//! What the strategy is called with, on its way to the journal.
//!
//! A call that decided nothing waits for company: one record for each would cost more than the call. It is
//! journaled before anything that a later call decides, and otherwise when it is old or one of many. A
//! checkpoint holds the calls that still wait, so that it does not have to wait for them.

use super::{Core, Effect};
use crate::market::{MonoNanos, Now};
use crate::orders::{Fed, FedInput, Record, StrategyEvent};
use std::time::Duration;

/// Bytes of text after which calls wait no longer: far from the largest record that a journal takes.
const TEXT_BYTES_MAX: usize = 64 * 1024;

/// Calls that are not journaled yet.
#[derive(Debug, Default)]
pub(super) struct Pending {
    calls: Vec<Fed>,
    /// Bytes of text in them.
    text_bytes: usize,
    /// When the oldest was made in this run.
    since: Option<MonoNanos>,
}

impl Pending {
    /// Calls that an earlier run could not journal any more.
    pub(super) fn of_checkpoint(calls: Vec<Fed>, now: Now) -> Self {
        let since = (!calls.is_empty()).then_some(now.mono);
        Self { calls, text_bytes: 0, since }
    }
}

impl Core {
    pub(super) fn keep_call(&mut self, now: Now, call: Fed, out: &mut Vec<Effect>) {
        if let FedInput::Event(StrategyEvent::Operator(text) | StrategyEvent::Rejected { detail: text, .. }) =
            &call.input
        {
            self.pending.text_bytes += text.len();
        }
        self.kept.push(call.clone(), &self.services.books, self.config.limits.calls_kept_max);
        self.keep_for_probation(&call);
        self.pending.calls.push(call);
        self.pending.since.get_or_insert(now.mono);
        let many = self.pending.calls.len() >= self.config.limits.fed_calls_max;
        if many || self.pending.text_bytes >= TEXT_BYTES_MAX {
            self.journal_calls(now, out);
        }
    }

    /// Journals the calls that wait, if there are any.
    pub(super) fn journal_calls(&mut self, now: Now, out: &mut Vec<Effect>) {
        if self.pending.calls.is_empty() || self.health.journal_failed {
            return;
        }
        let Pending { mut calls, .. } = std::mem::take(&mut self.pending);
        // More than fits at once only after a checkpoint that held the calls of many records.
        let most = self.config.limits.fed_calls_max.max(1);
        while calls.len() > most {
            let rest = calls.split_off(most);
            self.journal(now, Record::Fed { calls: std::mem::replace(&mut calls, rest) }, out);
        }
        self.journal(now, Record::Fed { calls }, out);
    }

    pub(super) fn journal_old_calls(&mut self, now: Now, out: &mut Vec<Effect>) {
        if self.calls_due().is_some_and(|due| now.mono >= due) {
            self.journal_calls(now, out);
        }
    }

    /// When the calls that wait have waited long enough.
    pub(super) fn calls_due(&self) -> Option<MonoNanos> {
        let age = Duration::from_millis(self.config.limits.fed_ms_max);
        self.pending.since.filter(|_| !self.health.journal_failed).map(|since| since.after(age))
    }

    /// Whether everything that follows from the records so far has happened.
    pub(super) fn all_applied(&self) -> bool {
        self.undurable.iter().all(|waiting| matches!(waiting.record, Record::Fed { .. }))
    }

    /// Number of the last record before those that are not durable yet.
    pub(super) fn applied_number(&self) -> u64 {
        self.undurable.front().map_or(self.number, |first| first.number.saturating_sub(1))
    }

    /// Calls that are in no durable record yet, oldest first.
    pub(super) fn unjournaled_calls(&self) -> Vec<Fed> {
        let written = self.undurable.iter().filter_map(|waiting| match &waiting.record {
            Record::Fed { calls } => Some(calls),
            _ => None,
        });
        written.flatten().chain(&self.pending.calls).cloned().collect()
    }
}
