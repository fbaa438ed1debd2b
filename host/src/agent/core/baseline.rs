//! Reading what the account shows before an attempt, at a venue that knows no ids of ours.
//!
//! Afterwards only a change of the account says what became of the attempt, so it has to be known from
//! where. A baseline that was overtaken, by news of an order or by another request of the same instrument,
//! or that has waited too long, is read anew. One that cannot be read holds the attempt back until the
//! intent's deadline; without it nothing is sent.
//!
//! So does one that does not show what the books have. Nobody but the agent trades its instruments there, so
//! an order was executed twice, or somebody has traded by hand, or the reading is wrong; a close would take
//! the strange part too, and no later change could be told from it. A reading may be behind for a moment, so
//! a person is told once the two have differed for `settle_ms`.

use super::{Core, Effect};
use crate::market::{InstrumentId, MonoNanos, Now};
use crate::orders::IntentKey;
use crate::resilience::{Class, Failure, Phase, full_jitter};
use crate::venue::{Baseline, OrderUpdate};
use std::time::Duration;

/// How far the preparation of an attempt has come.
#[derive(Debug, Default)]
pub(super) struct Preparation {
    stage: Stage,
    /// Reads that failed.
    failed: u32,
    /// Why the last of them did.
    last: Option<Failure>,
    differs: Differs,
}

/// Whether the account shows something else than the books.
#[derive(Debug, Default)]
enum Differs {
    #[default]
    No,
    Since(MonoNanos),
    Told,
}

#[derive(Debug, Default)]
enum Stage {
    /// To be read.
    #[default]
    Wanted,
    /// The question with this number is under way.
    UnderWay(u64),
    /// Read at that moment.
    Ready(Baseline, MonoNanos),
}

impl Preparation {
    pub(super) fn is_under_way(&self) -> bool {
        matches!(self.stage, Stage::UnderWay(_))
    }

    /// Why there is no baseline, when that is the reason that nothing was sent.
    pub(super) fn failure(&self) -> Option<&Failure> {
        self.last.as_ref().filter(|_| !matches!(self.stage, Stage::Ready(..)))
    }
}

impl Core {
    /// Sends an intent with a baseline, or sees to it that there is one.
    pub(super) fn prepare(&mut self, now: Now, key: IntentKey, out: &mut Vec<Effect>) {
        let lasts = self.dialect.profile().request_timeout;
        let Some(intent) = self.ledger.intent(&key) else { return };
        let preparation = self.preparations.entry(key).or_default();
        match &preparation.stage {
            Stage::UnderWay(_) => self.block(now, key),
            Stage::Ready(baseline, at) if now.mono.since(*at) <= lasts => {
                let baseline = baseline.clone();
                self.admit(now, key, Some(baseline), out);
            }
            Stage::Ready(..) | Stage::Wanted => {
                self.question += 1;
                preparation.stage = Stage::UnderWay(self.question);
                out.push(Effect::Baseline { request: intent.request.clone(), number: self.question });
                self.block(now, key);
            }
        }
    }

    pub(super) fn on_baselined(
        &mut self,
        now: Now,
        key: IntentKey,
        number: u64,
        result: Result<Baseline, Failure>,
        out: &mut Vec<Effect>,
    ) {
        let deadline = self.deadline(key, now);
        let settle = Duration::from_millis(self.config.limits.settle_ms);
        let differs = result.as_ref().ok().and_then(|baseline| self.differs(key, baseline));
        // What is being written, or the fill of an order that rests, may be all of it.
        let may_be_news = !self.undurable.is_empty() || self.rests_beside(key);
        let Some(preparation) = self.preparations.get_mut(&key) else { return };
        // Something has overtaken it, or the intent was dropped and taken up again.
        if !matches!(preparation.stage, Stage::UnderWay(waiting) if waiting == number) {
            return;
        }
        let mut alert = None;
        preparation.differs = match (&differs, &preparation.differs) {
            (None, _) if result.is_ok() => Differs::No,
            (Some(_), Differs::No) if !may_be_news => Differs::Since(now.mono),
            (Some(failure), Differs::Since(since)) if now.mono.since(*since) >= settle => {
                alert = Some(failure.message.clone());
                Differs::Told
            }
            _ => std::mem::take(&mut preparation.differs),
        };
        let result = differs.map_or(result, Err);
        let at = match result {
            Ok(baseline) => {
                preparation.stage = Stage::Ready(baseline, now.mono);
                now.mono
            }
            Err(failure) => {
                preparation.stage = Stage::Wanted;
                preparation.failed = preparation.failed.saturating_add(1);
                preparation.last = Some(failure);
                let delay = full_jitter(&self.config.retry, preparation.failed, &mut self.random);
                now.mono.after(delay).min(deadline)
            }
        };
        self.blocked.remove(&key);
        self.due.insert(key, at);
        if let Some(text) = alert {
            let text = format!("agent {}: intent {key} is held back: {text}", self.config.name);
            self.alert(Class::State, "position_mismatch", text, out);
        }
    }

    /// What is wrong when the account shows something else than the books in the instrument of an intent.
    fn differs(&self, key: IntentKey, baseline: &Baseline) -> Option<Failure> {
        let instrument = self.moved_by(&key)?;
        let (books, account) = (self.services.books.position(instrument), baseline.position);
        if books == account {
            return None;
        }
        let symbol = self.config.instruments.get(instrument).map_or("the instrument", |terms| &terms.symbol);
        let text = format!(
            "the account holds {account} lots of {symbol} and the books have {books}; nothing more is sent in it until \
             they agree: look at the history of the account and undo at the venue what is not the agent's"
        );
        Some(Failure::new(Class::State, "position_mismatch", Phase::NotSent, text))
    }

    /// Whether another order of the same instrument rests at the venue.
    fn rests_beside(&self, key: IntentKey) -> bool {
        let instrument = self.moved_by(&key);
        let rests = |placing: &IntentKey| {
            *placing != key && self.ledger.intent(placing).is_some_and(|intent| intent.state.is_terminal())
        };
        let working = self.services.books.working().iter();
        let mut beside = working.filter(|(_, order)| Some(order.instrument) == instrument);
        beside.any(|(id, _)| self.ledger.order(*id).is_some_and(|order| rests(&order.key)))
    }

    /// News of orders has come in. It counts from now on, although it is applied only when it is durable.
    pub(super) fn overtaken_by(&mut self, now: Now, updates: &[OrderUpdate]) {
        for update in updates.iter().filter(|update| self.ledger.is_news(update)).collect::<Vec<_>>() {
            let order = self.ledger.order_of(&update.key);
            if let Some(instrument) = order.map(|(_, order)| order.terms.instrument) {
                self.overtake(now, instrument, update.key);
            }
        }
    }

    /// The account has changed, or may have, in this instrument: what was read of it before does not count.
    /// `by` is the intent that did it.
    pub(super) fn overtake(&mut self, now: Now, instrument: InstrumentId, by: IntentKey) {
        if !self.dialect.profile().capability.needs_baseline() {
            return;
        }
        let affected = |key: &IntentKey| *key != by && self.moved_by(key) == Some(instrument);
        let read: Vec<_> = self.preparations.keys().filter(|key| affected(key)).copied().collect();
        let flying: Vec<_> = self.flying.keys().filter(|key| affected(key)).copied().collect();
        for key in read {
            let Some(preparation) = self.preparations.get_mut(&key) else { continue };
            if !matches!(preparation.stage, Stage::Wanted) {
                preparation.stage = Stage::Wanted;
                self.blocked.remove(&key);
                self.due.insert(key, now.mono);
            }
        }
        for key in flying {
            if let Some(flight) = self.flying.get_mut(&key) {
                flight.overtaken = true;
            }
        }
    }
}
