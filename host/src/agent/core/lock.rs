//! An instrument for one intent at a time, at a venue that knows no ids of ours.
//!
//! What changes in the account can be told from one unknown order only when there is no second. So an intent
//! has its instrument for itself from its baseline until its outcome is known; the others wait, and their
//! deadlines count. While nobody knows the outcome, which may be until an operator says it, no new order
//! of the instrument is accepted. A cancel moves no position and does not wait.

use super::{Core, Effect};
use crate::market::{InstrumentId, Lots, Now};
use crate::orders::{Action, Holding, Intent, IntentKey, IntentState, Refusal, RiskCode, Side};
use crate::resilience::Class;
use std::collections::BTreeSet;

/// Intents that one alert names; an operator finds the others with `ringfence dlq list`.
const INTENTS_NAMED_MAX: usize = 8;

impl Core {
    /// The instrument in which an intent may change a position by itself.
    pub(super) fn moved_by(&self, key: &IntentKey) -> Option<InstrumentId> {
        match self.ledger.intent(key)?.action {
            Action::Submit(order) => Some(order.instrument),
            Action::Amend(amend) => Some(self.ledger.order(amend.id)?.terms.instrument),
            Action::Cancel(_) => None,
        }
    }

    /// Whether an attempt for this intent needs a baseline, and its instrument for itself.
    pub(super) fn needs_baseline(&self, intent: &Intent) -> bool {
        let venue = self.dialect.profile().capability.needs_baseline();
        venue && !matches!(intent.action, Action::Cancel(_))
    }

    /// The intents that have instruments for themselves.
    fn holders(&self) -> impl Iterator<Item = (IntentKey, InstrumentId)> + '_ {
        let wanted = self.dialect.profile().capability.needs_baseline();
        let open = self.ledger.open().filter(|key| {
            let in_doubt =
                |intent: &Intent| intent.maybe_executed() || intent.state == IntentState::Submitting;
            self.preparations.contains_key(key) || self.ledger.intent(key).is_some_and(in_doubt)
        });
        let all = open.chain(self.ledger.unresolved());
        all.filter(move |_| wanted).filter_map(|key| Some((key, self.moved_by(&key)?)))
    }

    /// Whether another intent has the instrument of this one.
    pub(super) fn is_locked_for(&self, key: IntentKey) -> bool {
        let Some(instrument) = self.moved_by(&key) else { return false };
        self.holders().any(|(holder, held)| holder != key && held == instrument)
    }

    /// Instruments in which nobody knows what is held: an intent may have been executed.
    pub(super) fn instruments_in_doubt(&self) -> BTreeSet<InstrumentId> {
        let in_doubt = |key: &IntentKey| self.ledger.intent(key).is_some_and(Intent::maybe_executed);
        self.holders().filter(|(key, _)| in_doubt(key)).map(|(_, instrument)| instrument).collect()
    }

    /// Refuses new orders in an instrument with a dead letter that may have been executed.
    pub(super) fn check_unlocked(&self, instrument: InstrumentId) -> Result<(), Refusal> {
        if !self.dialect.profile().capability.needs_baseline() {
            return Ok(());
        }
        let Some(letter) = self.ledger.unresolved().find(|key| self.moved_by(key) == Some(instrument)) else {
            return Ok(());
        };
        let symbol = self.config.instruments.get(instrument).map_or("the instrument", |terms| &terms.symbol);
        let detail = format!(
            "nobody knows whether intent {letter} was executed; {symbol} is locked until its dead letter is resolved"
        );
        Err(Refusal { code: RiskCode::InstrumentLocked, detail })
    }

    /// An intent does not go on for now: the instrument is free for another.
    pub(super) fn give_way(&mut self, now: Now, key: IntentKey) {
        if self.preparations.remove(&key).is_some() {
            self.unblock(now);
        }
    }

    /// What is certainly held and may be closed. Doubtful orders on the closing side may have closed their part
    /// already: to close that part again could open a position on the other side, which nobody would watch. An
    /// order that may have added to a position leaves what is booked of it certain.
    pub(super) fn certain_holdings(&self) -> Vec<(InstrumentId, Lots)> {
        let locked = self.instruments_in_doubt();
        let certain = |(id, holding): (InstrumentId, &Holding)| {
            let held = holding.quantity;
            let closing = if held.0 > 0 { Side::Sell } else { Side::Buy };
            let taken = (self.services.books.working().iter())
                .filter(|(_, order)| order.instrument == id && order.side == closing)
                .filter(|(order, _)| self.is_doubtful(**order))
                .try_fold(Lots::ZERO, |sum, (_, order)| sum.checked_add(order.exposed()));
            let free = held.abs().checked_sub(taken?)?;
            let free = if held.0 > 0 { free } else { Lots(free.0.saturating_neg()) };
            let is_certain = !locked.contains(&id) && free.0.signum() == held.0.signum();
            (is_certain && !free.is_zero()).then_some((id, free))
        };
        self.services.books.holdings().filter_map(certain).collect()
    }

    /// Instruments in which nobody knows whether an order was executed, at any venue.
    pub(super) fn doubted_instruments(&self) -> BTreeSet<InstrumentId> {
        let working = self.services.books.working().iter();
        let doubted = working.filter(|(id, _)| self.is_doubtful(**id)).map(|(_, order)| order.instrument);
        doubted.chain(self.instruments_in_doubt()).collect()
    }

    /// Tells a person, once, that closing waits until it is known what is held.
    pub(super) fn warn_of_doubt(&mut self, doubted: &BTreeSet<InstrumentId>, out: &mut Vec<Effect>) {
        // One that is still asked about may become known at any moment.
        if self.ledger.unresolved().next().is_none() || std::mem::replace(&mut self.warned_of_doubt, true) {
            return;
        }
        let text = format!(
            "agent {}: what may be held in {} is not closed while nobody knows what became of an order there; look at \
             the account, then replay or resolve the dead letter",
            self.config.name,
            self.symbols(doubted)
        );
        self.alert(Class::State, "closing_waits", text, out);
    }

    /// Names what was left when the agent stopped.
    pub(super) fn tell_doubt(&self, doubted: &BTreeSet<InstrumentId>, out: &mut Vec<Effect>) {
        let intents: Vec<String> = self
            .ledger
            .unresolved()
            .filter(|key| self.moved_by(key).is_some_and(|id| doubted.contains(&id)))
            .filter_map(|key| Some(format!("{key} ({})", self.ledger.intent(&key)?.action)))
            .collect();
        let more = match intents.len().saturating_sub(INTENTS_NAMED_MAX) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let booked = |id: &InstrumentId| {
            let symbol = &self.config.instruments.get(*id)?.symbol;
            Some(format!("{symbol} {} lots", self.services.books.position(*id)))
        };
        let text = format!(
            "agent {}: stopped without knowing whether it is flat: nobody knows what became of {}{more}, and the books \
             without them show {}; what was certain is closed; look at the account, close what is left there, then \
             resolve the dead letters",
            self.config.name,
            intents.iter().take(INTENTS_NAMED_MAX).map(String::as_str).collect::<Vec<_>>().join(", "),
            doubted.iter().filter_map(booked).collect::<Vec<_>>().join(", ")
        );
        self.alert(Class::State, "flatten_in_doubt", text, out);
    }

    fn symbols(&self, ids: &BTreeSet<InstrumentId>) -> String {
        let symbol = |id: &InstrumentId| Some(self.config.instruments.get(*id)?.symbol.as_str());
        ids.iter().filter_map(symbol).collect::<Vec<_>>().join(", ")
    }
}
