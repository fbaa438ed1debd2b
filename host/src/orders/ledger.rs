//! The state of every intent, as a fold of the journal.
//!
//! ```text
//! Intended ─► Submitting(n) ─┬► Acknowledged
//!    │             ▲         ├► Rejected
//!    │             ├─ retry ─┼─ NotSent
//!    │             └─ same ──┴─ Ambiguous ─► (an update of the venue says what happened)
//!    │                key           ├► Expired (asked twice, the venue has never had it)
//!    ├► Suppressed, Expired         └► DeadLettered ─┬► Intended again (requeued)
//!    └► DeadLettered                                 └► Resolved
//! ```

mod state;
#[cfg(test)]
mod tests;

pub use state::{FailedAttempt, Intent, IntentState};

use super::record::{Action, Decided, Decision, ExpiredBecause, Origin, Record, Verdict};
use super::{IntentKey, NewOrder, OrderId, OrderIntent};
use crate::market::{InstrumentId, Lots, UnixNanos};
use crate::resilience::{Class, Classified, Failure, Phase};
use crate::venue::{OrderChange, OrderUpdate, Outcome, Request};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use thiserror::Error;

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
}

/// A record that does not follow from the state: the journal and the state do not belong together.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum LedgerError {
    /// No such intent.
    #[error(
        "the journal speaks of intent {0}, which was never decided; the journal is incomplete, verify it"
    )]
    UnknownIntent(IntentKey),
    /// Not possible in this state.
    #[error(
        "intent {key} is {state} and cannot become {wanted}; stop the agent and reconcile with the venue"
    )]
    Transition {
        /// Which intent.
        key: IntentKey,
        /// Where it stands.
        state: &'static str,
        /// What the record says.
        wanted: &'static str,
    },
    /// The same slot decided twice with different content.
    #[error("intent {0} was decided before with another content: the strategy is not deterministic")]
    SlotReused(IntentKey),
}

impl Classified for LedgerError {
    fn class(&self) -> Class {
        match self {
            Self::SlotReused(_) => Class::Logic,
            Self::UnknownIntent(_) | Self::Transition { .. } => Class::State,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::UnknownIntent(_) => "ledger_unknown_intent",
            Self::Transition { .. } => "ledger_transition",
            Self::SlotReused(_) => "slot_reused",
        }
    }
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
    /// Whether the venue had denied the order before, twice: the order was closed and is open again.
    pub was_denied: bool,
}

impl Ledger {
    /// Code of a refusal of our credentials.
    pub const UNAUTHORIZED: &'static str = "unauthorized";
    /// Errors kept per intent: enough to see how it began and how it ended.
    pub const ERRORS_PER_INTENT_MAX: usize = 64;
    /// How long a closed order is remembered, so that news that comes late is not taken for another order's.
    pub const TOMBSTONE_AGE: Duration = Duration::from_secs(24 * 3_600);
    /// How many closed orders are remembered at most, whatever their age.
    pub const TOMBSTONES_MAX: usize = 20_000;

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

    /// Whether an intent was given up on of which nobody knows whether it was executed.
    pub fn has_unresolved(&self) -> bool {
        !self.unresolved.is_empty()
    }

    /// An order, also a closed one that is still remembered.
    pub fn order(&self, id: OrderId) -> Option<&Order> {
        self.orders.get(&id)
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
        self.orders.range(..OrderId(Self::HOST_ORDERS_FROM)).next_back().map(|(id, _)| *id)
    }

    /// Ids from here on are the host's own, so that its closing orders cannot collide with a strategy's.
    pub const HOST_ORDERS_FROM: u64 = 1 << 63;

    /// Takes a decision in. The same slot with the same content again changes nothing.
    ///
    /// # Errors
    /// When a slot comes again with another content.
    pub fn decide(&mut self, at: UnixNanos, decision: &Decision) -> Result<(), LedgerError> {
        for decided in &decision.intents {
            let Verdict::Intended(request) = &decided.verdict else { continue };
            if let Some(known) = self.intents.get(&decided.key) {
                if known.request == *request {
                    continue;
                }
                return Err(LedgerError::SlotReused(decided.key));
            }
            self.insert(at, decision, decided, request);
        }
        Ok(())
    }

    fn insert(&mut self, at: UnixNanos, decision: &Decision, decided: &Decided, request: &Request) {
        if let Action::Submit(terms) = decided.action {
            let order = Order {
                terms,
                key: decided.key,
                accepted: false,
                filled: Lots::ZERO,
                closed_at: None,
                last_sequence: 0,
            };
            self.orders.insert(terms.id, order);
            self.by_key.insert(decided.key, terms.id);
        }
        let intent = Intent {
            action: decided.action,
            call: decision.call,
            index: decided.index,
            by_host: decision.origin == Origin::Host,
            request: request.clone(),
            state: IntentState::Intended,
            attempts: 0,
            attempts_total: 0,
            replay: 0,
            decided_at: at,
            last_at: at,
            maybe_executed: false,
            errors: Vec::new(),
        };
        self.intents.insert(decided.key, intent);
        self.open.insert(decided.key);
    }

    /// An attempt is about to be made.
    ///
    /// # Errors
    /// When the intent is unknown or closed.
    pub fn submitting(&mut self, at: UnixNanos, key: IntentKey) -> Result<(), LedgerError> {
        let intent = self.open_intent(key, "submitting")?;
        intent.state = IntentState::Submitting;
        intent.attempts = intent.attempts.saturating_add(1);
        intent.attempts_total = intent.attempts_total.saturating_add(1);
        intent.last_at = at;
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
            // say that an earlier attempt was not executed.
            Outcome::Refused(failure) if intent.maybe_executed() && failure.code == Self::UNAUTHORIZED => {
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
            if rejected && let Some(order) = self.placed_by(key) {
                order.closed_at.get_or_insert(at);
            }
        }
        Ok(())
    }

    /// Whether the venue's change of an order is news, and not one that was applied before.
    pub fn is_news(&self, update: &OrderUpdate) -> bool {
        self.order_of(&update.key).is_some_and(|(_, order)| update.sequence > order.last_sequence)
    }

    /// Applies a change that the venue reported, once. Returns what changed, or `None` for old news and
    /// for orders of somebody else.
    pub fn update(&mut self, at: UnixNanos, update: &OrderUpdate) -> Option<Applied> {
        let id = *self.by_key.get(&update.key)?;
        let order = self.orders.get_mut(&id)?;
        if update.sequence <= order.last_sequence {
            return None;
        }
        order.last_sequence = update.sequence;
        let denied = IntentState::Expired(ExpiredBecause::NeverArrived);
        let was_denied = self.intents.get(&update.key).is_some_and(|intent| intent.state == denied);
        if was_denied {
            // It does exist: it can be filled, and has to be cancelled like any other.
            order.closed_at = None;
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
        Some(Applied {
            order: id,
            terms,
            change: update.change.clone(),
            leaves,
            closed,
            was_dead,
            was_denied,
        })
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
        if let Some(order) = self.placed_by(key) {
            order.closed_at.get_or_insert(at);
        }
        Ok(())
    }

    /// The venue was asked about an intent. Only its word that it has the order changes anything here: what
    /// a denial is worth depends on when it was given, and that is decided by [`Ledger::expire`]. Order
    /// changes in the outcome are applied by [`Ledger::update`].
    ///
    /// # Errors
    /// When the intent is unknown.
    pub fn queried(&mut self, key: IntentKey, outcome: &Outcome) -> Result<(), LedgerError> {
        let intent = self.intents.get_mut(&key).ok_or(LedgerError::UnknownIntent(key))?;
        let has_it = matches!((outcome, intent.action), (Outcome::Done { .. }, Action::Submit(_)));
        if has_it && !intent.state.is_terminal() {
            intent.state = IntentState::Acknowledged;
            self.settle(key);
        }
        Ok(())
    }

    /// An intent is given up on.
    ///
    /// # Errors
    /// When it is unknown or closed.
    pub fn dead_letter(
        &mut self,
        at: UnixNanos,
        key: IntentKey,
        failure: &Failure,
    ) -> Result<(), LedgerError> {
        let intent = self.open_intent(key, "dead-lettered")?;
        let ambiguous = intent.maybe_executed();
        intent.state = IntentState::DeadLettered { ambiguous };
        // The failure is usually that of the last attempt, which is noted already.
        if intent.errors.last().is_none_or(|last| last.failure != *failure) {
            intent.note(at, failure);
        }
        self.settle(key);
        // While it may have been executed the order stays open: its fills may still come.
        if !ambiguous && let Some(order) = self.placed_by(key) {
            order.closed_at.get_or_insert(at);
        }
        Ok(())
    }

    /// An operator sends a dead letter again, under its old key.
    ///
    /// # Errors
    /// When it is unknown or not a dead letter.
    pub fn requeue(&mut self, key: IntentKey, replay: u32) -> Result<(), LedgerError> {
        let intent = self.intents.get_mut(&key).ok_or(LedgerError::UnknownIntent(key))?;
        let IntentState::DeadLettered { ambiguous } = intent.state else {
            return Err(LedgerError::Transition { key, state: intent.state.name(), wanted: "requeued" });
        };
        intent.state = if ambiguous { IntentState::Ambiguous } else { IntentState::Intended };
        intent.attempts = 0;
        intent.replay = replay;
        self.settle(key);
        if let Some(order) = self.placed_by(key) {
            order.closed_at = None;
        }
        Ok(())
    }

    /// An operator closes a dead letter.
    ///
    /// # Errors
    /// When it is unknown or not a dead letter.
    pub fn resolve(&mut self, at: UnixNanos, key: IntentKey) -> Result<(), LedgerError> {
        let intent = self.intents.get_mut(&key).ok_or(LedgerError::UnknownIntent(key))?;
        if !matches!(intent.state, IntentState::DeadLettered { .. }) {
            return Err(LedgerError::Transition { key, state: intent.state.name(), wanted: "resolved" });
        }
        intent.state = IntentState::Resolved;
        self.settle(key);
        if let Some(order) = self.placed_by(key) {
            order.closed_at.get_or_insert(at);
        }
        Ok(())
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

    /// Forgets closed orders that are old or too many, but none whose intent may still be sent again.
    pub fn prune(&mut self, now: UnixNanos) {
        let intents = &self.intents;
        let is_dead = |order: &Order| {
            let placing = intents.get(&order.key).map(|intent| &intent.state);
            matches!(placing, Some(IntentState::DeadLettered { .. }))
        };
        let closed = self.orders.iter().filter(|(_, order)| !is_dead(order));
        let mut closed: Vec<(UnixNanos, OrderId)> =
            closed.filter_map(|(id, order)| Some((order.closed_at?, *id))).collect();
        closed.sort_unstable();
        let surplus = closed.len().saturating_sub(Self::TOMBSTONES_MAX);
        for (position, (at, id)) in closed.into_iter().enumerate() {
            if position >= surplus && now.since(at) < Self::TOMBSTONE_AGE {
                break;
            }
            if let Some(order) = self.orders.remove(&id) {
                self.by_key.remove(&order.key);
            }
        }
        let orders = &self.orders;
        self.intents.retain(|_, intent| {
            !intent.state.is_terminal()
                || matches!(intent.state, IntentState::DeadLettered { .. })
                || orders.contains_key(&intent.action.order())
        });
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
            Record::Submitting { key, .. } => self.submitting(at, *key)?,
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
            Record::DeadLettered { key, failure } => self.dead_letter(at, *key, failure)?,
            Record::Requeued { key, replay } => self.requeue(*key, *replay)?,
            Record::Resolved { key, .. } => self.resolve(at, *key)?,
            Record::Started { .. } => self.host_died(at),
            Record::ModeChanged { .. } | Record::CallFailed { .. } => {}
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
