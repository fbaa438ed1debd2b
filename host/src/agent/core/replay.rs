//! Sending a dead letter again: as it is, under its old key, or as a new intent in its place.
//!
//! Neither is a matter of course. The market for which the order was meant may be gone, so it is judged like
//! a new one, when the operator's order is taken up: there is a fresh price, its time is not over, and the
//! risk gate lets it pass in the mode of now, with the order itself not counted against itself. Until there is
//! a price the operator's order waits. What is refused stays a dead letter, with the reason.

use super::{Core, Effect, Letter, Life, Operator};
use crate::market::{InstrumentId, Now, UnixNanos};
use crate::orders::{
    Action, Intent, IntentKey, IntentState, Ledger, Mode, NewOrder, OrderId, Record, Refusal, Reissue,
    RejectReason, RiskCode, RiskView, StrategyEvent, TimeInForce,
};
use crate::resilience::{Class, Failure, Phase, Signals};
use std::time::Duration;

/// How a letter is to be sent again.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Again {
    /// The same bytes under the same key.
    Same,
    /// As a new intent, whose bytes are written anew.
    New,
}

/// Why a letter is not sent again now.
enum Held {
    /// What is missing may come; in words.
    Waits(String),
    /// It will not.
    Refused(Failure),
}

/// What a strategy is told of an order that is issued again.
pub(super) fn reissue_news(parent: &Intent, reissue: &Reissue) -> Vec<(InstrumentId, StrategyEvent)> {
    let mut news = Vec::new();
    let (Action::Submit(old), Action::Submit(new)) = (parent.action, reissue.action) else { return news };
    if parent.maybe_executed() {
        // It was told that nobody knew; of one that certainly was not executed it has heard the end.
        let detail = "never executed, by the operator's word".to_owned();
        let event = StrategyEvent::Rejected { order: old.id, reason: RejectReason::DeadLettered, detail };
        news.push((old.instrument, event));
    }
    let words = format!("order {} stands for order {}, which is issued again", new.id.0, old.id.0);
    news.push((new.instrument, StrategyEvent::Operator(words)));
    news
}

impl Core {
    /// Sends a dead letter again under its old key, or says why not.
    pub(super) fn replay(&mut self, now: Now, order: Operator, out: &mut Vec<Effect>) {
        let Operator::Replay { key, replay } = order else { return };
        let Some(intent) = self.ledger.intent(&key).filter(|intent| is_dead(intent)).cloned() else {
            // Done before: a second click, or a start that finds the order still in the index.
            if !self.ledger.intent(&key).is_some_and(|known| replay <= known.replay && !is_over(known)) {
                self.answer_late_order(now, &order, out);
            }
            return;
        };
        if replay <= intent.replay {
            return;
        }
        match self.judge_again(now, &intent, Again::Same) {
            Ok(_) => self.journal(now, Record::Requeued { key, replay }, out),
            Err(Held::Waits(_)) => self.hold(now, order, out),
            Err(Held::Refused(failure)) => self.refuse(now, &order, failure, out),
        }
    }

    /// Makes a new intent with the terms of a dead letter, or says why not.
    ///
    /// The new order has an id of the host's own range. The old id stays with the old key, so that news of
    /// the old order that comes after all is told apart and booked; a strategy's own counter cannot collide
    /// with it; and the strategy is told which order it stands for before it hears the first news of it.
    pub(super) fn reissue(&mut self, now: Now, order: Operator, out: &mut Vec<Effect>) {
        let Operator::Reissue { key: parent, replay, ref note, not_executed } = order else { return };
        let Some(intent) = self.ledger.intent(&parent).filter(|intent| is_dead(intent)).cloned() else {
            self.answer_late_order(now, &order, out);
            return;
        };
        if replay <= intent.replay {
            return;
        }
        if intent.maybe_executed() && !not_executed {
            let failure = refused(
                "letter_ambiguous",
                "it may have been executed, and nobody states that it was not; issue it again with --not-executed, \
                 or resolve it",
            );
            self.refuse(now, &order, failure, out);
            return;
        }
        let action = match self.judge_again(now, &intent, Again::New) {
            Ok(Action::Submit(terms)) => {
                Action::Submit(NewOrder { id: OrderId(Ledger::HOST_ORDERS_FROM + self.host_orders), ..terms })
            }
            Ok(action) => action,
            Err(Held::Waits(_)) => {
                self.hold(now, order, out);
                return;
            }
            Err(Held::Refused(failure)) => {
                self.refuse(now, &order, failure, out);
                return;
            }
        };
        self.call += 1;
        let key = self.key(0);
        match self.encode(key, &action) {
            Ok(request) => {
                let (note, call) = (note.clone(), self.call);
                self.commit_reissue(now, Reissue { parent, replay, note, call, key, action, request }, out);
            }
            Err(unsendable) => {
                self.refuse(now, &order, refused(unsendable.code, unsendable.detail), out);
            }
        }
    }

    fn commit_reissue(&mut self, now: Now, reissue: Reissue, out: &mut Vec<Effect>) {
        if let Err(error) = self.ledger.reissue(now.wall, &reissue) {
            self.alert(Class::State, "reissue_failed", error.to_string(), out);
            return;
        }
        self.close_in_books(reissue.parent);
        self.settle_claim(reissue.parent);
        self.book_placed(reissue.key, &reissue.action);
        if matches!(reissue.action, Action::Submit(_)) {
            self.host_orders += 1;
            self.stats.orders += 1;
        }
        self.stats.intents += 1;
        self.due.insert(reissue.key, now.mono);
        self.first_due.insert(reissue.key, now.mono);
        self.dirty = true;
        self.journal(now, Record::Reissued(reissue), out);
    }

    /// A re-issue is durable.
    pub(super) fn apply_reissued(&mut self, now: Now, reissue: &Reissue, out: &mut Vec<Effect>) {
        let Some(parent) = self.ledger.intent(&reissue.parent).cloned() else { return };
        let news = reissue_news(&parent, reissue);
        out.push(Effect::Letter(Letter::Intent { key: reissue.parent, intent: Box::new(parent) }));
        for (instrument, event) in news {
            self.tell(now, instrument, &event, out);
        }
    }

    /// That an order was refused is durable.
    pub(super) fn apply_replay_refused(
        &mut self,
        at: UnixNanos,
        key: IntentKey,
        replay: u32,
        failure: &Failure,
        out: &mut Vec<Effect>,
    ) {
        if self.ledger.refuse_replay(at, key, replay, failure).is_err() {
            return;
        }
        self.dirty = true;
        if let Some(intent) = self.ledger.intent(&key).cloned() {
            out.push(Effect::Letter(Letter::Intent { key, intent: Box::new(intent) }));
        }
    }

    /// Whether a dead letter may be sent again now, and in which form the risk gate has approved it. An agent
    /// that stops sends nothing again and waits for nothing.
    fn judge_again(&mut self, now: Now, intent: &Intent, again: Again) -> Result<Action, Held> {
        let judged = self.judge_running(now, intent, again);
        if self.life == Life::Running {
            return judged;
        }
        let text = match judged {
            Err(Held::Refused(failure)) => return Err(Held::Refused(failure)),
            Err(Held::Waits(why)) => format!("the agent stopped while it waited: {why}"),
            Ok(_) => "the agent is stopping".to_owned(),
        };
        Err(Held::Refused(refused("agent_stops", text)))
    }

    fn judge_running(&mut self, now: Now, intent: &Intent, again: Again) -> Result<Action, Held> {
        let (terms, is_cancel) = match intent.action {
            Action::Submit(order) => (Some(order), false),
            Action::Cancel(id) => (self.ledger.working(id).map(|order| order.terms), true),
            Action::Amend(amend) => (self.ledger.working(amend.id).map(|order| order.terms), false),
        };
        let Some(terms) = terms else {
            // The order that it was about is gone. The old key finds that out without sending anything; a
            // new one has nothing to do.
            return match again {
                Again::Same => Ok(intent.action),
                Again::New => Err(Held::Refused(refused(
                    RiskCode::UnknownOrder.name(),
                    format!("order {} does not work any more; resolve the letter", intent.action.order().0),
                ))),
            };
        };
        self.check_age(now, intent, again)?;
        if is_cancel {
            return Ok(intent.action);
        }
        if let TimeInForce::Gtd(until) = terms.tif
            && self.market_now >= until
        {
            let text = format!("it was good until {until}, which has passed; resolve it");
            return Err(Held::Refused(refused("replay_expired", text)));
        }
        let price_age_max = Duration::from_millis(self.config.limits.replay_price_age_ms_max);
        if self.prices.received(now.mono, terms.instrument).is_none_or(|age| age >= price_age_max) {
            let text = format!("there was no price of the last {} ms", price_age_max.as_millis());
            return Err(Held::Waits(text));
        }
        let (mode, may_rise) = self.check_mode(now, intent, &terms, again)?;
        match self.approve_again(now, mode, intent, &terms) {
            Ok(action) => Ok(action),
            // Only the rate of a moment, or a mode that nothing asks for any more.
            Err(Refusal { code: RiskCode::OrderRate, detail }) => Err(Held::Waits(detail)),
            Err(Refusal { code: RiskCode::NotReducing, .. }) if may_rise => {
                Err(Held::Waits(format!("mode is still {mode}")))
            }
            Err(Refusal { code, detail }) => Err(Held::Refused(refused(code.name(), detail))),
        }
    }

    fn check_age(&self, now: Now, intent: &Intent, again: Again) -> Result<(), Held> {
        let age = now.wall.since(intent.decided_at);
        let age_s_max = self.config.limits.replay_age_s_max;
        if again == Again::New || age <= Duration::from_secs(age_s_max) {
            return Ok(());
        }
        let age_s = age.as_secs();
        let text = format!(
            "it was decided {age_s} s ago, at most {age_s_max} are allowed (limit replay_age_s_max); issue it again \
             as a new order, or resolve it"
        );
        Err(Held::Refused(refused("replay_too_old", text)))
    }

    /// The mode in which the letter is judged, and whether nothing but a dwell keeps it that low.
    ///
    /// A letter of which nobody knows whether it was executed is what keeps the agent in read-only mode. This
    /// doubt is not counted when the same key is sent again, or it could never be ended; nor when the
    /// operator has stated that it was never executed, which ends it ([`Core::is_in_doubt`]).
    fn check_mode(
        &self,
        now: Now,
        intent: &Intent,
        terms: &NewOrder,
        again: Again,
    ) -> Result<(Mode, bool), Held> {
        if intent.by_host {
            return Ok((Mode::Full, false));
        }
        let doubtful = intent.maybe_executed();
        let signals = self.signals(now);
        let unresolved_orders = signals.unresolved_orders && !doubtful;
        let asked = self.modes.asks_for(&Signals { unresolved_orders, ..signals });
        let mode = match self.modes.mode() {
            Mode::ReadOnly if doubtful && again == Again::Same => asked,
            mode => mode,
        };
        let may_reduce =
            matches!(intent.action, Action::Submit(_)) && (again == Again::New || terms.options.reduce_only);
        match mode == Mode::Full || (mode == Mode::ReadOnly && may_reduce) {
            true => Ok((mode, asked < mode)),
            false if asked < mode => Err(Held::Waits(format!("mode is still {mode}"))),
            false => Err(Held::Refused(refused(RiskCode::ModeForbids.name(), format!("mode is {mode}")))),
        }
    }

    /// Whether there is a dead letter of which nobody knows whether it was executed. An operator who wants it
    /// issued again has stated that it was not: then the mode may rise while that waits.
    pub(super) fn is_in_doubt(&self) -> bool {
        let is_stated = |key: IntentKey| {
            self.held.iter().any(|order| match order {
                Operator::Reissue { key: about, not_executed, .. } => *about == key && *not_executed,
                _ => false,
            })
        };
        self.ledger.unresolved().any(|key| !is_stated(key))
    }

    /// The risk gate's word, with the order itself not counted against itself.
    fn approve_again(
        &mut self,
        now: Now,
        mode: Mode,
        intent: &Intent,
        terms: &NewOrder,
    ) -> Result<Action, Refusal> {
        let mut without = self.services.books.clone();
        if let Action::Submit(order) = intent.action {
            without.close_order(order.id);
        }
        let instruments = &self.config.instruments;
        let price_age = self.price_age(now, terms.instrument);
        let view = RiskView { now: now.mono, mode, books: &without, instruments, price_age };
        match intent.action {
            Action::Submit(order) if intent.by_host => {
                self.risk.close(&view, &order).map(|approved| Action::Submit(*approved.get()))
            }
            Action::Submit(order) => {
                self.risk.submit(&view, &order, false).map(|approved| Action::Submit(*approved.get()))
            }
            Action::Amend(amend) => {
                self.risk.amend(&view, &amend, Some(terms)).map(|approved| Action::Amend(*approved.get()))
            }
            Action::Cancel(id) => Ok(Action::Cancel(id)),
        }
    }
}

fn refused(code: impl Into<std::borrow::Cow<'static, str>>, text: impl Into<String>) -> Failure {
    Failure::new(Class::State, code, Phase::NotSent, text)
}

const fn is_dead(intent: &Intent) -> bool {
    matches!(intent.state, IntentState::DeadLettered { .. })
}

/// Whether it is known what became of it.
const fn is_over(intent: &Intent) -> bool {
    intent.state.is_terminal() && !is_dead(intent)
}
