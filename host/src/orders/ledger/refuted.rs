//! News of an order that was taken for gone.

use super::{Intent, IntentState, Order};
use crate::orders::record::ExpiredBecause;
use crate::venue::OrderChange;

/// What the venue's own word about an order contradicts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refuted {
    /// Its denial: asked twice, it had never had the order.
    Denial,
    /// An operator's statement that it was never executed, on which it was issued again.
    Reissue,
    /// Its refusal of the order.
    Refusal,
    /// An operator's word that closed the dead letter.
    Resolution,
    /// That the order never left.
    Unsent,
    /// An operator's word that the order is gone.
    Drop,
}

/// Why an order is taken for gone, when it was somebody's word and not the end of the order.
pub(super) fn fate(order: &Order, intent: Option<&Intent>) -> Option<Refuted> {
    if let Some(intent) = intent {
        if intent.is_denied() {
            return Some(Refuted::Denial);
        }
        if intent.state == IntentState::Resolved && intent.child().is_some() {
            return Some(Refuted::Reissue);
        }
    }
    if order.dropped {
        return Some(Refuted::Drop);
    }
    match intent?.state {
        IntentState::Rejected => Some(Refuted::Refusal),
        IntentState::Resolved => Some(Refuted::Resolution),
        IntentState::Expired(ExpiredBecause::Deadline | ExpiredBecause::CancelledUnsent)
        | IntentState::DeadLettered { ambiguous: false } => Some(Refuted::Unsent),
        _ => None,
    }
}

/// What a change of an order contradicts. Whatever it says of one that was denied or issued again does;
/// otherwise only what shows that the order lives, or did when it was thought not to.
pub(super) fn refuted(order: &Order, fate: Option<Refuted>, change: &OrderChange) -> Option<Refuted> {
    let lives =
        matches!(change, OrderChange::Accepted | OrderChange::Filled { .. } | OrderChange::Amended { .. });
    let whatever = matches!(fate, Some(Refuted::Denial | Refuted::Reissue));
    fate.filter(|_| whatever || (lives && order.closed_at.is_some()))
}
