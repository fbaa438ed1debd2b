//! What a strategy is told because of a record, and what of that it was not told before the host died.
//!
//! News is told when its record is durable. A host that dies in between, or before the call is journaled,
//! leaves a strategy that has not heard, and might wait for a fill for ever. A start goes through the records
//! with the calls: what was not told is told then, once.

use super::lifecycle::Lifecycle;
use super::replay::reissue_news;
use super::switching::suppressed_news;
use super::{Core, Effect};
use crate::market::{InstrumentId, Now};
use crate::orders::{
    Action, Applied, Decision, Entry, ExpiredBecause, Intent, IntentKey, OrderId, Record, RejectReason,
    StrategyEvent, Verdict,
};
use crate::resilience::Failure;
use crate::venue::{OrderChange, Outcome};
use std::collections::VecDeque;

/// One piece of news, and the record that it comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct News {
    record: u64,
    instrument: InstrumentId,
    event: StrategyEvent,
}

/// News that the strategy has not heard yet, oldest first.
#[derive(Debug, Default)]
pub(super) struct Untold(VecDeque<News>);

impl Untold {
    /// What an orderly stop left, in a state that holds the records up to this one.
    pub(super) fn of_checkpoint(record: u64, left: Vec<(InstrumentId, StrategyEvent)>) -> Self {
        let record = record.saturating_add(1);
        Self(left.into_iter().map(|(instrument, event)| News { record, instrument, event }).collect())
    }

    /// What has not been told, as a state keeps it.
    pub(super) fn left(&self) -> Vec<(InstrumentId, StrategyEvent)> {
        self.0.iter().map(|news| (news.instrument, news.event.clone())).collect()
    }

    /// The strategy has heard this.
    pub(super) fn told(&mut self, event: &StrategyEvent) {
        if let Some(position) = self.0.iter().position(|news| news.event == *event) {
            self.0.remove(position);
        }
    }

    /// A start from a state that holds these records: what was not told before it never will be.
    pub(super) fn settle(&mut self, record: u64) {
        self.0.retain(|news| news.record > record);
    }

    pub(super) fn add(&mut self, record: u64, instrument: InstrumentId, event: StrategyEvent) {
        self.0.push_back(News { record, instrument, event });
    }
}

/// What a strategy is told of a change of its order.
pub(super) fn change_news(applied: &Applied) -> StrategyEvent {
    let order = applied.order;
    match &applied.change {
        OrderChange::Accepted => StrategyEvent::Accepted(order),
        OrderChange::Filled { quantity, price, fee, maker, .. } => StrategyEvent::Filled {
            order,
            instrument: applied.terms.instrument,
            side: applied.terms.side,
            quantity: *quantity,
            price: *price,
            leaves: applied.leaves,
            fee: *fee,
            maker: *maker,
        },
        OrderChange::Amended { .. } => StrategyEvent::Amended(order),
        OrderChange::Cancelled => StrategyEvent::Cancelled(order),
        OrderChange::Expired => StrategyEvent::Expired(order),
        OrderChange::Rejected { detail, .. } => {
            StrategyEvent::Rejected { order, reason: RejectReason::Venue, detail: detail.clone() }
        }
    }
}

/// How a strategy is told of an order that was dropped.
pub(super) const fn expiry_news(why: ExpiredBecause) -> fn(OrderId) -> StrategyEvent {
    match why {
        ExpiredBecause::CancelledUnsent => StrategyEvent::Cancelled,
        _ => StrategyEvent::Expired,
    }
}

pub(super) fn venue_reason(failure: &Failure) -> RejectReason {
    match failure.code.as_ref() {
        "insufficient_funds" => RejectReason::InsufficientFunds,
        "unknown_order" => RejectReason::UnknownOrder,
        "would_cross" => RejectReason::WouldCross,
        _ => RejectReason::Venue,
    }
}

impl Core {
    /// What a strategy is told of the intents in a decision that are not sent.
    pub(super) fn refusal_news(&self, decision: &Decision) -> Vec<(InstrumentId, StrategyEvent)> {
        let mut news = Vec::new();
        for decided in &decision.intents {
            let (reason, detail) = match &decided.verdict {
                Verdict::Intended(_) => continue,
                Verdict::Suppressed(mode) => (RejectReason::Mode, format!("suppressed: mode is {mode}")),
                Verdict::Refused { code, reason, detail } => (*reason, format!("{code}: {detail}")),
            };
            let order = decided.action.order();
            let instrument = match decided.action {
                Action::Submit(order) => order.instrument,
                Action::Cancel(_) | Action::Amend(_) => {
                    self.ledger.order(order).map(|order| order.terms.instrument).unwrap_or_default()
                }
            };
            news.push((instrument, StrategyEvent::Rejected { order, reason, detail }));
        }
        news
    }

    /// What a strategy is told of an intent that was refused or given up on.
    pub(super) fn rejection_news(
        &self,
        key: IntentKey,
        reason: RejectReason,
        detail: &str,
    ) -> Option<(InstrumentId, StrategyEvent)> {
        let order = self.ledger.intent(&key)?.action.order();
        let instrument = self.ledger.order(order).map(|order| order.terms.instrument).unwrap_or_default();
        Some((instrument, StrategyEvent::Rejected { order, reason, detail: detail.to_owned() }))
    }

    /// What a strategy is told of the order that a key placed.
    pub(super) fn order_news(
        &self,
        key: IntentKey,
        event: fn(OrderId) -> StrategyEvent,
    ) -> Option<(InstrumentId, StrategyEvent)> {
        let (id, order) = self.ledger.order_of(&key)?;
        Some((order.terms.instrument, event(id)))
    }

    /// What a record says to the strategy besides its order changes, once it is folded. `before` is the
    /// intent that it is about, as it was.
    pub(super) fn note_news(&mut self, entry: &Entry, before: Option<&Intent>) {
        let news = match &entry.record {
            Record::Decided(decision) => self.refusal_news(decision),
            Record::ModeChanged { to, .. } => vec![(InstrumentId(0), StrategyEvent::ModeChanged(*to))],
            Record::Attempted { key, outcome, .. } if before.is_some_and(|it| !it.state.is_terminal()) => {
                self.outcome_news(*key, outcome, before).into_iter().collect()
            }
            Record::OrderDropped { key } => {
                self.order_news(*key, StrategyEvent::Cancelled).into_iter().collect()
            }
            Record::Reissued(reissue) => {
                let parent = self.ledger.intent(&reissue.parent);
                parent.map(|parent| reissue_news(parent, reissue)).unwrap_or_default()
            }
            Record::Swapped(swap) => suppressed_news(swap),
            Record::Expired { key, why } => self.order_news(*key, expiry_news(*why)).into_iter().collect(),
            Record::DeadLettered { key, failure }
                if self.ledger.intent(key).is_some_and(|intent| !intent.maybe_executed()) =>
            {
                self.rejection_news(*key, RejectReason::DeadLettered, &failure.message).into_iter().collect()
            }
            _ => Vec::new(),
        };
        for (instrument, event) in news {
            self.untold.add(entry.number, instrument, event);
        }
    }

    fn outcome_news(
        &self,
        key: IntentKey,
        outcome: &Outcome,
        before: Option<&Intent>,
    ) -> Option<(InstrumentId, StrategyEvent)> {
        match outcome {
            Outcome::Done { .. } => None,
            Outcome::Refused(failure) if self.is_closed(key) => {
                self.rejection_news(key, venue_reason(failure), &failure.message)
            }
            _ => {
                let is_ambiguous = self.ledger.intent(&key).is_some_and(Intent::maybe_executed);
                let news = is_ambiguous && !before.is_some_and(Intent::maybe_executed);
                news.then(|| self.order_news(key, StrategyEvent::Unresolved))?
            }
        }
    }

    /// The intent that a record is about.
    pub(super) fn subject(&self, record: &Record) -> Option<&Intent> {
        match record {
            Record::Attempted { key, .. } => self.ledger.intent(key),
            _ => None,
        }
    }

    /// Keeps news of an order for the next start of the host or of the strategy.
    pub(super) fn keep_untold(&mut self, instrument: InstrumentId, event: &StrategyEvent) {
        let of_the_moment = matches!(
            event,
            StrategyEvent::Timer(_) | StrategyEvent::ModeChanged(_) | StrategyEvent::Operator(_)
        );
        if !of_the_moment {
            self.untold.add(self.number.saturating_add(1), instrument, event.clone());
        }
    }

    /// Keeps news while nothing is called: until a switch is durable, or there is a new instance.
    pub(super) fn keep_news(&mut self, instrument: InstrumentId, event: &StrategyEvent) {
        match &mut self.strategy {
            Lifecycle::Switching(switch) => switch.news.push((instrument, event.clone())),
            _ => self.keep_untold(instrument, event),
        }
    }

    /// Tells the strategy what an earlier run could not tell it any more.
    pub(super) fn tell_untold(&mut self, now: Now, out: &mut Vec<Effect>) {
        for News { instrument, event, .. } in std::mem::take(&mut self.untold).0 {
            self.tell(now, instrument, &event, out);
        }
    }
}
