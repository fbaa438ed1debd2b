//! What is forgotten, and when, so that a state stays small however long the agent runs.

use super::{Intent, IntentState, Ledger, Order, fate};
use crate::market::{InstrumentId, UnixNanos};
use crate::orders::record::Action;
use crate::orders::{IntentKey, OrderId};
use std::collections::BTreeSet;
use std::time::Duration;

impl Ledger {
    /// How long a closed order is remembered, so that news that comes late is not taken for another order's.
    pub const TOMBSTONE_AGE: Duration = Duration::from_secs(24 * 3_600);
    /// How many closed orders are remembered at most, whatever their age: 30 MB of memory and 13 MB of a
    /// checkpoint, which is a day at more than two orders a second.
    pub const TOMBSTONES_MAX: usize = 200_000;
    /// How long a closed order is kept whole, and a cancel or change that has come to its end: for operators, and
    /// for the questions about other orders that may still be open.
    pub const WHOLE_AGE: Duration = Duration::from_secs(3_600);
    /// How many closed orders are kept whole at most, and how many such cancels and changes.
    pub const WHOLE_MAX: usize = 1_000;

    /// Forgets what is old or too much, but nothing that may still be sent again, and no intent that the host
    /// `waits` to hear of: what it hears is a record about it. Whether closed orders were forgotten before their time.
    ///
    /// Keys are not used again for that: a slot has the number of its call, and calls are numbered on from the
    /// state and the journal.
    pub fn prune(&mut self, now: UnixNanos, waits: impl Fn(&IntentKey) -> bool) -> bool {
        self.bury(now, &waits);
        let forced = self.tombstones.prune(now);
        let is_done = |intent: &Intent| is_done_change(intent) && !is_fresh_letter(intent, now);
        let done = self.intents.iter().filter(|(key, intent)| is_done(intent) && !waits(key));
        let mut done: Vec<(UnixNanos, IntentKey)> =
            done.map(|(key, intent)| (intent.last_at, *key)).collect();
        done.sort_unstable();
        let surplus = done.len().saturating_sub(Self::WHOLE_MAX);
        let is_old = |at: UnixNanos| now.since(at) >= Self::WHOLE_AGE;
        for (position, (at, key)) in done.into_iter().enumerate() {
            if position >= surplus && !is_old(at) {
                break;
            }
            self.intents.remove(&key);
        }
        forced
    }

    /// Moves closed orders that are old or too many to the tombstones, and forgets their intents.
    fn bury(&mut self, now: UnixNanos, waits: impl Fn(&IntentKey) -> bool) {
        let doubts = self.doubts();
        let (intents, tombstones) = (&self.intents, &mut self.tombstones);
        let stays = |order: &Order| {
            let placing = intents.get(&order.key);
            let open = placing.is_some_and(|intent| {
                !intent.state.is_terminal() || matches!(intent.state, IntentState::DeadLettered { .. })
            });
            let letter = placing.is_some_and(|intent| is_fresh_letter(intent, now));
            // What the account shows of it must not be taken for the order in doubt. Whether it was closed before
            // that one's baseline cannot be told by a clock that may have been set back since.
            open || letter || waits(&order.key) || doubts.contains(&order.terms.instrument)
        };
        let closed = self.orders.iter().filter_map(|(id, order)| Some((order, order.closed_at?, *id)));
        let mut closed: Vec<(UnixNanos, OrderId)> =
            closed.filter(|(order, _, _)| !stays(order)).map(|(_, at, id)| (at, id)).collect();
        closed.sort_unstable();
        let surplus = closed.len().saturating_sub(Self::WHOLE_MAX);
        for (position, (at, id)) in closed.into_iter().enumerate() {
            if position >= surplus && now.since(at) < Self::WHOLE_AGE {
                break;
            }
            if let Some(order) = self.orders.remove(&id) {
                self.by_key.remove(&order.key);
                tombstones.put(id, &order, fate(&order, self.intents.get(&order.key)));
                self.intents.remove(&order.key);
            }
        }
    }

    /// The order that an intent placed cannot be filled any more.
    pub(super) fn close_placed(&mut self, at: UnixNanos, key: IntentKey) {
        if let Some(order) = self.placed_by(key) {
            order.closed_at.get_or_insert(at);
        }
    }

    /// Instruments with an intent that only changes of the account can tell of.
    fn doubts(&self) -> BTreeSet<InstrumentId> {
        let keys = self.open.iter().chain(&self.unresolved);
        let intents = keys.filter_map(|key| self.intents.get(key));
        let doubt = |intent: &Intent| {
            let order = self.orders.get(&intent.action.order())?;
            intent.baseline.as_ref().map(|_| order.terms.instrument)
        };
        intents.filter_map(doubt).collect()
    }
}

/// Whether an intent is a cancel or a change to which nothing more happens.
fn is_done_change(intent: &Intent) -> bool {
    let is_dead = matches!(intent.state, IntentState::DeadLettered { .. });
    !matches!(intent.action, Action::Submit(_)) && intent.state.is_terminal() && !is_dead
}

/// Whether an intent was a dead letter within the last day: a start tells the index what became of it, should the
/// index have missed it.
fn is_fresh_letter(intent: &Intent, now: UnixNanos) -> bool {
    intent.letter.is_some() && now.since(intent.last_at) < Ledger::TOMBSTONE_AGE
}
