//! What changes of orders may make of them before it is known what became of the changes.
//!
//! A change that is on its way, or of which nobody knows whether the venue has it, may be worth more than
//! the order is now. Until its outcome is known, the order counts with the larger of both sizes and with both
//! limits, so that no sum of the risk gate is smaller than what can still come.

use super::Books;
use crate::market::{Lots, PriceTicks};
use crate::orders::{AmendOrder, IntentKey, OrderId};
use serde::{Deserialize, Serialize};

/// One change of an order whose outcome is not known, or is not in the books yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Claim {
    order: OrderId,
    /// The whole quantity that it asks for, what was filled included.
    quantity: Lots,
    limit: Option<PriceTicks>,
    /// Zero until the venue has confirmed it without telling what the order is now; then its place among the
    /// confirmed changes of that order.
    confirmed: u32,
}

impl Books {
    /// A change of an order was decided.
    pub fn claim(&mut self, key: IntentKey, amend: &AmendOrder) {
        let (order, quantity, limit) = (amend.id, amend.quantity, amend.limit);
        self.claims.entry(key).or_insert(Claim { order, quantity, limit, confirmed: 0 });
        self.count_claims(order);
    }

    /// It is known what became of a change, and the order is in the books as it is.
    pub fn release(&mut self, key: &IntentKey) {
        if let Some(claim) = self.claims.remove(key) {
            self.count_claims(claim.order);
        }
    }

    /// The venue has made a change and will tell the order's new terms later, unless it has before.
    pub fn confirm(&mut self, key: &IntentKey) {
        let Some(claim) = self.claims.get(key).copied() else { return };
        if self.shows(&claim) {
            self.release(key);
            return;
        }
        let of_order = self.claims.values().filter(|other| other.order == claim.order);
        let last = of_order.map(|other| other.confirmed).max().unwrap_or(0);
        if let Some(claim) = self.claims.get_mut(key).filter(|claim| claim.confirmed == 0) {
            claim.confirmed = last.saturating_add(1);
        }
    }

    /// The venue has told an order's new terms, which are in the books: a confirmed change that is seen in them
    /// is over, and with it those that were confirmed before.
    pub fn changed(&mut self, order: OrderId) {
        let confirmed = self.claims.values().filter(|claim| claim.order == order && claim.confirmed > 0);
        let seen =
            confirmed.filter(|claim| self.shows(claim)).map(|claim| claim.confirmed).max().unwrap_or(0);
        self.claims.retain(|_, claim| claim.order != order || claim.confirmed == 0 || claim.confirmed > seen);
        self.count_claims(order);
    }

    /// How many changes count beside the orders that they are about.
    pub fn claims(&self) -> usize {
        self.claims.len()
    }

    /// The order is gone: what was confirmed of it will not be told any more.
    pub(super) fn drop_confirmed(&mut self, order: OrderId) {
        self.claims.retain(|_, claim| claim.order != order || claim.confirmed == 0);
    }

    /// Counts the changes of an order in what the order may be.
    pub(super) fn count_claims(&mut self, id: OrderId) {
        let Some(mut order) = self.working.get(&id).copied() else { return };
        (order.may_add, order.limits) = (Lots::ZERO, None);
        for claim in self.claims.values().filter(|claim| claim.order == id) {
            let left = Lots(claim.quantity.0.saturating_sub(order.filled.0));
            order.may_add = order.may_add.max(Lots(left.0.saturating_sub(order.leaves.0)));
            if let Some(limit) = claim.limit {
                let (low, high) = order.limits.unwrap_or((limit, limit));
                order.limits = Some((low.min(limit), high.max(limit)));
            }
        }
        self.working.insert(id, order);
    }

    /// Whether the order is what the change asks for.
    fn shows(&self, claim: &Claim) -> bool {
        self.working.get(&claim.order).is_some_and(|order| {
            order.leaves.0.saturating_add(order.filled.0) == claim.quantity.0
                && claim.limit.is_none_or(|limit| order.limit == Some(limit))
        })
    }
}
