//! The state of every intent, as a fold of the journal.
//!
//! ```text
//! Intended ─► Submitting(n) ─┬► Acknowledged
//!    │             ▲         ├► Rejected
//!    │             ├─ retry ─┼─ NotSent
//!    │             └─ same ──┴─ Ambiguous ─► (an update of the venue says what happened)
//!    │                key           ├► Intended again (asked twice, the venue has never had it)
//!    │                              ├► Expired (the same, and it is not tried again)
//!    ├► Expired                     └► DeadLettered ─┬► Intended again (requeued)
//!    └► DeadLettered                                 └► Resolved (by itself, or by a new intent)
//! ```

mod denial;
mod error;
mod letters;
mod prune;
mod refuted;
mod state;
#[cfg(test)]
mod tests;
mod tombstones;

pub use error::LedgerError;
pub use refuted::Refuted;
pub use state::{FailedAttempt, Intent, IntentState, LetterMark};

use super::record::{Action, Decision, ExpiredBecause, Origin, Record, Verdict};
use super::{IntentKey, NewOrder, OrderId, OrderIntent};
use crate::market::{InstrumentId, Lots, UnixNanos};
use crate::resilience::{Class, Failure, Phase};
use crate::venue::{Baseline, OrderChange, OrderUpdate, OtherOrder, Outcome, Request};
use refuted::{fate, refuted};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use tombstones::Tombstones;

/// One order of the strategy, from the first intent to the tombstone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// Its terms as approved.
    pub terms: NewOrder,
    /// The key of the intent that placed it.
    pub key: IntentKey,
    /// Whether the venue has confirmed it.
    pub accepted: bool,
    /// How much was filled.
    pub filled: Lots,
    /// Set when nothing more can happen; kept as a tombstone so that late news is recognised.
    pub closed_at: Option<UnixNanos>,
    /// Number of the venue's last change that was applied.
    pub last_sequence: u64,
    /// The venue's own id of it, once it has told it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub venue_id: Option<String>,
    /// Whether an operator has taken it for gone.
    #[serde(default, skip_serializing_if = "is_false")]
    pub dropped: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
const fn is_false(flag: &bool) -> bool {
    !*flag
}

/// Every intent and order of one agent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ledger {
    intents: BTreeMap<IntentKey, Intent>,
    orders: BTreeMap<OrderId, Order>,
    by_key: BTreeMap<IntentKey, OrderId>,
    open: BTreeSet<IntentKey>,
    /// Dead letters that may have been executed.
    unresolved: BTreeSet<IntentKey>,
    /// Closed orders that are not in `orders` any more.
    #[serde(default, skip_serializing_if = "Tombstones::is_empty")]
    tombstones: Tombstones,
}

/// A change of an order that was applied for the first time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// Which order.
    pub order: OrderId,
    /// Its terms.
    pub terms: NewOrder,
    /// What changed.
    pub change: OrderChange,
    /// What still works after it.
    pub leaves: Lots,
    /// Whether nothing more can happen to the order.
    pub closed: bool,
    /// Whether the intent had been given up on before.
    pub was_dead: bool,
    /// What the change contradicts: the order was closed, and is open again.
    pub refuted: Option<Refuted>,
}

impl Ledger {
    /// Code of a refusal of our credentials.
    pub const UNAUTHORIZED: &'static str = "unauthorized";
    /// Code of a refusal because the key was used for another request.
    pub const KEY_REUSED: &'static str = "key_reused";
    /// Errors kept per intent: enough to see how it began and how it ended.
    pub const ERRORS_PER_INTENT_MAX: usize = 64;

    /// An intent.
    pub fn intent(&self, key: &IntentKey) -> Option<&Intent> {
        self.intents.get(key)
    }

    /// Every intent.
    pub fn intents(&self) -> &BTreeMap<IntentKey, Intent> {
        &self.intents
    }

    /// Keys of intents to which something must still happen.
    pub fn open(&self) -> impl Iterator<Item = IntentKey> + '_ {
        self.open.iter().copied()
    }

    /// How many intents are open.
    pub fn open_count(&self) -> usize {
        self.open.len()
    }

    /// Intents that were given up on and of which nobody knows whether they were executed.
    pub fn unresolved(&self) -> impl Iterator<Item = IntentKey> + '_ {
        self.unresolved.iter().copied()
    }

    /// Orders that the venue may have executed without saying so: attempts under way, attempts without an
    /// answer, and those that were given up on.
    pub fn in_doubt(&self) -> impl Iterator<Item = &NewOrder> {
        let unsure = |intent: &&Intent| intent.maybe_executed || intent.state == IntentState::Submitting;
        let placed = |intent: &Intent| Some(&self.orders.get(&intent.action.order())?.terms);
        let keys = self.open.iter().chain(&self.unresolved);
        keys.filter_map(|key| self.intents.get(key)).filter(unsure).filter_map(placed)
    }

    /// Whether the venue has confirmed an order that may still be filled.
    pub fn is_acknowledged(&self, order: &Order) -> bool {
        let placing = self.intents.get(&order.key).map(|intent| &intent.state);
        order.closed_at.is_none() && (order.accepted || placing == Some(&IntentState::Acknowledged))
    }

    /// An order, also a closed one that is still remembered.
    pub fn order(&self, id: OrderId) -> Option<&Order> {
        self.orders.get(&id)
    }

    /// The other orders in the instrument of an order that work, or that have not ended before a moment, as far as
    /// they can be found in an account: those with an id of the venue or a fill.
    pub fn others(&self, id: OrderId, since: UnixNanos) -> Vec<OtherOrder> {
        let Some(instrument) = self.orders.get(&id).map(|order| order.terms.instrument) else {
            return Vec::new();
        };
        let others = self.orders.iter().filter(|(other, order)| {
            **other != id
                && order.terms.instrument == instrument
                && order.closed_at.is_none_or(|closed| closed >= since)
                && (order.venue_id.is_some() || !order.filled.is_zero())
        });
        let part = |(_, order): (_, &Order)| OtherOrder {
            venue_id: order.venue_id.clone(),
            filled: order.terms.side.signed(order.filled),
        };
        others.map(part).collect()
    }

    /// An order that may still be filled.
    pub fn working(&self, id: OrderId) -> Option<&Order> {
        self.orders.get(&id).filter(|order| order.closed_at.is_none())
    }

    /// The order that an intent's key placed.
    pub fn order_of(&self, key: &IntentKey) -> Option<(OrderId, &Order)> {
        let id = *self.by_key.get(key)?;
        Some((id, self.orders.get(&id)?))
    }

    /// The highest order id that a strategy has used.
    pub fn last_strategy_order(&self) -> Option<OrderId> {
        let end = OrderId(Self::HOST_ORDERS_FROM);
        let kept = self.orders.range(..end).next_back().map(|(id, _)| *id);
        kept.max(self.tombstones.last_before(end))
    }

    /// Whether an order's id was used, as far back as closed orders are remembered.
    pub fn is_used(&self, id: OrderId) -> bool {
        self.orders.contains_key(&id) || self.tombstones.holds_order(id)
    }

    /// Whether an order was placed under this key, as far back as closed orders are remembered.
    pub fn knows(&self, key: &IntentKey) -> bool {
        self.by_key.contains_key(key) || self.tombstones.holds_key(key)
    }

    /// Ids from here on are the host's own, so that its closing orders cannot collide with a strategy's.
    pub const HOST_ORDERS_FROM: u64 = 1 << 63;

    /// Takes a decision in. The same slot with the same content again changes nothing.
    ///
    /// # Errors
    /// When a slot comes again with another content; then nothing of the decision is taken in.
    pub fn decide(&mut self, at: UnixNanos, decision: &Decision) -> Result<(), LedgerError> {
        let wanted = || {
            decision.intents.iter().filter_map(|decided| match &decided.verdict {
                Verdict::Intended(request) => Some((decided, request)),
                Verdict::Suppressed(_) | Verdict::Refused { .. } => None,
            })
        };
        let mut slots = BTreeMap::new();
        for (decided, request) in wanted() {
            let known = self.intents.get(&decided.key).map(|intent| &intent.request);
            let known = known.or_else(|| slots.insert(decided.key, request));
            if known.is_some_and(|known| known != request) || self.tombstones.holds_key(&decided.key) {
                return Err(LedgerError::SlotReused(decided.key));
            }
        }
        for (decided, request) in wanted() {
            if !self.intents.contains_key(&decided.key) {
                let by_host = decision.origin == Origin::Host;
                let slot = (decision.call, decided.index);
                self.insert(at, (decided.key, decided.action, request), slot, by_host);
            }
        }
        Ok(())
    }

    fn insert(
        &mut self,
        at: UnixNanos,
        (key, action, request): (IntentKey, Action, &Request),
        (call, index): (u64, u32),
        by_host: bool,
    ) {
        if let Action::Submit(terms) = action {
            let order = Order {
                terms,
                key,
                accepted: false,
                filled: Lots::ZERO,
                closed_at: None,
                last_sequence: 0,
                venue_id: None,
                dropped: false,
            };
            self.orders.insert(terms.id, order);
            self.by_key.insert(key, terms.id);
        }
        let intent = Intent {
            action,
            call,
            index,
            by_host,
            request: request.clone(),
            state: IntentState::Intended,
            attempts: 0,
            attempts_total: 0,
            replay: 0,
            decided_at: at,
            last_at: at,
            baseline: None,
            maybe_executed: false,
            errors: Vec::new(),
            errors_dropped: 0,
            letter: None,
            parent: None,
            requeued_at: None,
        };
        self.intents.insert(key, intent);
        self.open.insert(key);
    }

    /// An attempt is about to be made.
    ///
    /// # Errors
    /// When the intent is unknown or closed.
    pub fn submitting(
        &mut self,
        at: UnixNanos,
        key: IntentKey,
        baseline: Option<Baseline>,
    ) -> Result<(), LedgerError> {
        let intent = self.open_intent(key, "submitting")?;
        intent.state = IntentState::Submitting;
        intent.attempts = intent.attempts.saturating_add(1);
        intent.attempts_total = intent.attempts_total.saturating_add(1);
        intent.last_at = at;
        intent.baseline = baseline;
        Ok(())
    }

    /// An attempt ended. Order changes in the outcome are applied by [`Ledger::update`].
    ///
    /// An intent that an update has closed in the meantime stays closed: the venue's own word is stronger
    /// than an attempt that failed.
    ///
    /// # Errors
    /// When the intent is unknown.
    pub fn attempted(&mut self, at: UnixNanos, key: IntentKey, outcome: &Outcome) -> Result<(), LedgerError> {
        let intent = self.intents.get_mut(&key).ok_or(LedgerError::UnknownIntent(key))?;
        let (state, failure) = match outcome {
            Outcome::Done { .. } => (IntentState::Acknowledged, None),
            // The venue looks at credentials before it looks at the key: that it shuts us out now does not
            // say that an earlier attempt was not executed. Nor does what somebody before the venue says.
            // A venue that needs a baseline knows no keys at all: it refuses this attempt and no other.
            Outcome::Refused(failure)
                if intent.maybe_executed()
                    && (failure.code == Self::UNAUTHORIZED
                        || failure.phase != Phase::Done
                        || intent.baseline.is_some()) =>
            {
                (IntentState::Ambiguous, Some(failure))
            }
            // The venue has executed something under the key, and it was not this.
            Outcome::Refused(failure) if failure.code == Self::KEY_REUSED => {
                (IntentState::Ambiguous, Some(failure))
            }
            Outcome::Refused(failure) => (IntentState::Rejected, Some(failure)),
            // A key that may have been executed once stays ambiguous: that this attempt did nothing
            // says nothing about the earlier one.
            Outcome::NotSent(failure) if intent.maybe_executed() => (IntentState::Ambiguous, Some(failure)),
            Outcome::NotSent(failure) => (IntentState::Intended, Some(failure)),
            Outcome::Ambiguous(failure) => (IntentState::Ambiguous, Some(failure)),
            // One negative answer is no proof: the venue may learn of the order later.
            Outcome::Unknown => (IntentState::Ambiguous, None),
        };
        if let Some(failure) = failure {
            intent.note(at, failure);
        }
        intent.maybe_executed |= state == IntentState::Ambiguous;
        if !intent.state.is_terminal() || state == IntentState::Acknowledged {
            let rejected = state == IntentState::Rejected;
            intent.state = state;
            self.settle(key);
            if rejected {
                self.close_placed(at, key);
            }
        }
        Ok(())
    }

    /// Whether the venue's change of an order is news, and not one that was applied before.
    pub fn is_news(&self, update: &OrderUpdate) -> bool {
        let of_order = self.order_of(&update.key);
        of_order.is_some_and(|(_, order)| update.sequence > order.last_sequence)
            || self.tombstones.is_news(update)
    }

    /// Applies a change that the venue reported, once. Returns what changed, or `None` for old news and
    /// for orders of somebody else.
    pub fn update(&mut self, at: UnixNanos, update: &OrderUpdate) -> Option<Applied> {
        let buried = self.unbury(update);
        let id = *self.by_key.get(&update.key)?;
        let order = self.orders.get_mut(&id)?;
        if update.sequence <= order.last_sequence {
            return None;
        }
        order.last_sequence = update.sequence;
        if let Some(venue_id) = &update.venue_id {
            order.venue_id = Some(venue_id.clone());
        }
        let fate = buried.or_else(|| fate(order, self.intents.get(&update.key)));
        let refuted = refuted(order, fate, &update.change);
        if refuted.is_some() {
            // It does exist: it can be filled, and has to be cancelled like any other.
            order.closed_at = None;
            order.dropped = false;
        }
        let mut rejected = false;
        match &update.change {
            OrderChange::Accepted => order.accepted = true,
            OrderChange::Filled { quantity, leaves, .. } => {
                order.accepted = true;
                order.filled = Lots(order.filled.0.saturating_add(quantity.0));
                if leaves.is_zero() {
                    order.closed_at.get_or_insert(at);
                }
            }
            OrderChange::Amended { leaves, limit } => {
                order.terms.quantity = Lots(order.filled.0.saturating_add(leaves.0));
                order.terms.kind = order.terms.kind.with_limit(*limit);
            }
            OrderChange::Cancelled | OrderChange::Expired => {
                order.closed_at.get_or_insert(at);
            }
            OrderChange::Rejected { .. } => {
                rejected = true;
                order.closed_at.get_or_insert(at);
            }
        }
        let leaves = Lots(order.terms.quantity.0.saturating_sub(order.filled.0).max(0));
        let (terms, closed) = (order.terms, order.closed_at.is_some());
        let mut was_dead = false;
        if let Some(intent) = self.intents.get_mut(&update.key) {
            was_dead = matches!(intent.state, IntentState::DeadLettered { .. });
            intent.state = if rejected { IntentState::Rejected } else { IntentState::Acknowledged };
            self.settle(update.key);
        }
        Some(Applied { order: id, terms, change: update.change.clone(), leaves, closed, was_dead, refuted })
    }

    /// Brings an order back of which there is news. Returns what the news may contradict.
    fn unbury(&mut self, update: &OrderUpdate) -> Option<Refuted> {
        if !self.tombstones.is_news(update) {
            return None;
        }
        let (id, order, fate) = self.tombstones.take(&update.key)?;
        if self.orders.contains_key(&id) {
            return None;
        }
        self.by_key.insert(update.key, id);
        self.orders.insert(id, order);
        fate
    }

    /// An intent is dropped: it provably never left, the venue has denied it, or it is moot. Only a cancel
    /// or a change whose work is done otherwise is moot although it may have been executed: whether it was
    /// makes no difference any more.
    ///
    /// # Errors
    /// When it is unknown, closed, or may have been executed and the reason does not cover that.
    pub fn expire(&mut self, at: UnixNanos, key: IntentKey, why: ExpiredBecause) -> Result<(), LedgerError> {
        let intent = self.open_intent(key, "expired")?;
        let places = matches!(intent.action, Action::Submit(_));
        let covered = match why {
            ExpiredBecause::NeverArrived => true,
            ExpiredBecause::Moot => !places || !intent.maybe_executed(),
            _ => !intent.maybe_executed(),
        };
        if !covered {
            let state = intent.state.name();
            return Err(LedgerError::Transition { key, state, wanted: "expired" });
        }
        intent.state = IntentState::Expired(why);
        intent.maybe_executed &= why != ExpiredBecause::NeverArrived;
        self.settle(key);
        self.close_placed(at, key);
        Ok(())
    }

    /// The venue was asked about an intent. Only its word that it has the order changes anything here: what
    /// a denial is worth depends on when it was given, and that is said by [`Ledger::deny`] and
    /// [`Ledger::expire`]. Order changes in the outcome are applied by [`Ledger::update`].
    ///
    /// # Errors
    /// When the intent is unknown.
    pub fn queried(&mut self, key: IntentKey, outcome: &Outcome) -> Result<(), LedgerError> {
        let intent = self.intents.get_mut(&key).ok_or(LedgerError::UnknownIntent(key))?;
        let has_it = matches!((outcome, intent.action), (Outcome::Done { .. }, Action::Submit(_)));
        let unresolved = intent.state == IntentState::DeadLettered { ambiguous: true };
        if has_it && (unresolved || !intent.state.is_terminal()) {
            intent.state = IntentState::Acknowledged;
            self.settle(key);
        }
        Ok(())
    }

    /// An operator takes the order that a key placed for gone. Should the venue tell of it all the same, it is
    /// open again.
    pub fn drop_order(&mut self, at: UnixNanos, key: IntentKey) {
        if let Some(order) = self.placed_by(key).filter(|order| order.closed_at.is_none()) {
            (order.closed_at, order.dropped) = (Some(at), true);
        }
    }

    /// After a restart: an attempt that was under way may have been executed.
    pub fn host_died(&mut self, at: UnixNanos) {
        let failure = Failure::new(
            Class::State,
            "host_died",
            Phase::MaybeSent,
            "the host stopped while the attempt was under way",
        );
        for key in &self.open {
            if let Some(intent) = self.intents.get_mut(key)
                && intent.state == IntentState::Submitting
            {
                intent.state = IntentState::Ambiguous;
                intent.maybe_executed = true;
                intent.note(at, &failure);
            }
        }
    }

    /// Orders of an instrument that may still be filled, by id.
    pub fn working_on(&self, instrument: InstrumentId) -> Vec<OrderId> {
        let works = |order: &Order| order.closed_at.is_none() && order.terms.instrument == instrument;
        self.orders.iter().filter(|(_, order)| works(order)).map(|(id, _)| *id).collect()
    }

    /// Folds one record. Returns the order changes that the books have to follow.
    ///
    /// # Errors
    /// When the record does not follow from the state.
    pub fn fold(&mut self, at: UnixNanos, record: &Record) -> Result<Vec<Applied>, LedgerError> {
        match record {
            Record::Decided(decision) => self.decide(at, decision)?,
            Record::Submitting { key, baseline, .. } => self.submitting(at, *key, baseline.clone())?,
            Record::Attempted { key, outcome, .. } => {
                self.attempted(at, *key, outcome)?;
                if let Outcome::Done { updates } = outcome {
                    return Ok(updates.iter().filter_map(|update| self.update(at, update)).collect());
                }
            }
            Record::Queried { key, outcome } => {
                self.queried(*key, outcome)?;
                if let Outcome::Done { updates } = outcome {
                    return Ok(updates.iter().filter_map(|update| self.update(at, update)).collect());
                }
            }
            Record::Updated(update) => return Ok(self.update(at, update).into_iter().collect()),
            Record::Expired { key, why } => self.expire(at, *key, *why)?,
            Record::Denied { key, proof } => self.deny(at, *key, *proof)?,
            Record::DeadLettered { key, failure } => self.dead_letter(at, *key, failure)?,
            Record::Requeued { key, replay } => self.requeue(at, *key, *replay)?,
            Record::Resolved { key, note } => self.resolve(at, *key, note)?,
            Record::OrderDropped { key } => self.drop_order(at, *key),
            Record::Reissued(reissue) => self.reissue(at, reissue)?,
            Record::ReplayRefused { key, replay, failure } => {
                self.refuse_replay(at, *key, *replay, failure)?;
            }
            Record::Started { .. } => self.host_died(at),
            Record::Fed { .. }
            | Record::ModeChanged { .. }
            | Record::CallFailed { .. }
            | Record::Restarted { .. }
            | Record::Quarantined { .. }
            | Record::Released { .. }
            | Record::Swapped(_)
            | Record::Valued { .. }
            | Record::PositionAdopted { .. } => {}
        }
        Ok(Vec::new())
    }

    fn open_intent(&mut self, key: IntentKey, wanted: &'static str) -> Result<&mut Intent, LedgerError> {
        let intent = self.intents.get_mut(&key).ok_or(LedgerError::UnknownIntent(key))?;
        if intent.state.is_terminal() {
            return Err(LedgerError::Transition { key, state: intent.state.name(), wanted });
        }
        Ok(intent)
    }

    fn placed_by(&mut self, key: IntentKey) -> Option<&mut Order> {
        let id = self.by_key.get(&key)?;
        self.orders.get_mut(id)
    }

    /// Files an intent under what its state asks for.
    fn settle(&mut self, key: IntentKey) {
        let Some(intent) = self.intents.get(&key) else { return };
        let file = |set: &mut BTreeSet<IntentKey>, belongs: bool| match belongs {
            true => set.insert(key),
            false => set.remove(&key),
        };
        file(&mut self.open, !intent.state.is_terminal());
        file(&mut self.unresolved, intent.state == IntentState::DeadLettered { ambiguous: true });
    }
}

/// Takes cancel-all apart: one action per order, with the index that names its slot.
///
/// The index is the position in the call's list times 65,536 plus the position within a cancel-all, so
/// that how many orders a cancel-all finds does not move the slots of the intents after it.
pub fn actions(intents: &[OrderIntent], ledger: &Ledger) -> Vec<(u32, Action)> {
    const PART_BITS: u32 = 16;
    let mut actions = Vec::with_capacity(intents.len());
    for (position, intent) in (0_u32..1 << PART_BITS).zip(intents) {
        let base = position << PART_BITS;
        match *intent {
            OrderIntent::Submit(order) => actions.push((base, Action::Submit(order))),
            OrderIntent::Cancel(id) => actions.push((base, Action::Cancel(id))),
            OrderIntent::Amend(amend) => actions.push((base, Action::Amend(amend))),
            OrderIntent::CancelAll(instrument) => {
                let parts = (0_u32..1 << PART_BITS).zip(ledger.working_on(instrument));
                actions.extend(parts.map(|(part, id)| (base | part, Action::Cancel(id))));
            }
        }
    }
    actions
}
