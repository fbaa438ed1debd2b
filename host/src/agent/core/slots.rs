//! A slot or a key that was used for something else. Either the strategy is not deterministic, or two hosts work
//! under the agent's name, or its memory is not the one that it had: nothing more is sent of what it wants.

use super::lifecycle::Lifecycle;
use super::{Core, Effect};
use crate::market::Now;
use crate::orders::{Action, Decision, IntentKey, Record};
use crate::resilience::{Class, Failure, Phase};

impl Core {
    /// Takes the orders and changes of a decision that is not taken in out of the books again.
    pub(super) fn unbook(&mut self, decision: &Decision) {
        for decided in &decision.intents {
            let books = &mut self.services.books;
            match decided.action {
                Action::Submit(order) if !self.ledger.is_used(order.id) => {
                    books.close_order(order.id);
                }
                Action::Amend(_) if self.ledger.intent(&decided.key).is_none() => books.release(&decided.key),
                _ => {}
            }
        }
    }

    /// Gives the strategy up. The mode falls before anything else is looked at, so that an attempt whose record is
    /// durable in the same moment does not leave.
    pub(super) fn halt_for_slot(&mut self, now: Now, failure: Failure, out: &mut Vec<Effect>) {
        if self.strategy.is_down() {
            self.alert(failure.class, &failure.code, failure.message.clone(), out);
            self.journal(
                now,
                Record::CallFailed { call: self.call, failure: failure.clone(), halted: true },
                out,
            );
            if !matches!(self.strategy, Lifecycle::Quarantined { .. }) {
                self.quarantine(now, failure, out);
            }
        } else {
            self.give_up_strategy(now, failure, None, out);
        }
        self.evaluate_mode(now, out);
    }

    /// The venue says that the key of an intent was used for another request. What it did under the key nobody
    /// here knows, and it must not be asked: its answer would be about the other request.
    pub(super) fn on_key_reused(
        &mut self,
        now: Now,
        key: IntentKey,
        failure: &Failure,
        out: &mut Vec<Effect>,
    ) {
        self.record_dead_letter(now, key, failure.clone(), out);
        let text = format!(
            "the venue has used the key of intent {key} for another request; see whether another host runs under \
             this agent's name and incarnation: {}",
            failure.message
        );
        self.call += 1;
        let failure = Failure::new(Class::Logic, failure.code.clone(), Phase::Done, text);
        self.halt_for_slot(now, failure, out);
    }
}
