//! What must hold of the journal, the books and the venue, whatever has happened.

use super::rig::Rig;
use super::script::Scripted;
use crate::agent::core::*;
use crate::orders::{ExpiredBecause, IntentState, Verdict};
use std::collections::BTreeSet;

impl Rig {
    /// The part of a state that the journal alone determines, as bytes.
    pub(super) fn journaled_state(core: &Core) -> Vec<u8> {
        let state = core.state();
        let holdings: Vec<_> =
            state.books.holdings().map(|(_, held)| (held.quantity, held.cost, held.realized)).collect();
        let (cash, fees, working) = (state.books.cash(), state.books.fees(), state.books.working());
        let mut bytes = Vec::new();
        let claims = state.books.claims();
        let parts = (
            state.number,
            state.host_orders,
            core.mode(),
            &state.ledger,
            cash,
            fees,
            (working, claims),
            holdings,
        );
        ciborium::into_writer(&parts, &mut bytes).unwrap();
        bytes
    }

    /// I7: what runs, a checkpoint with the records after it, and the whole journal say the same.
    pub(super) fn check_folds(&self) {
        assert!(self.unsynced.is_empty());
        let Some(running) = self.core.as_ref() else { return };
        let expected = Self::journaled_state(running);
        let whole = self.try_recover(Scripted::default(), None).unwrap();
        assert_eq!(whole.state().ledger, running.state().ledger, "fold of the whole journal");
        assert!(Self::journaled_state(&whole) == expected, "fold of the whole journal");
        for checkpoint in self.checkpoints.iter().rev().take(3) {
            let core = self.try_recover(Scripted::default(), Some(checkpoint)).unwrap();
            assert!(
                Self::journaled_state(&core) == expected,
                "checkpoint {} and its suffix",
                checkpoint.number
            );
            let state = State::decode(&self.config.name, &checkpoint.payload).unwrap();
            let mut again = Vec::new();
            ciborium::into_writer(&state, &mut again).unwrap();
            assert!(again == checkpoint.payload, "a checkpoint's bytes are canonical");
        }
    }

    /// Books against the venue's own ledger.
    pub(super) fn check_books(&self) {
        let books = self.core().books();
        let cash = Money::new((1_000_000 + self.venue.cash).into());
        assert_eq!(self.position(), self.venue.position, "position");
        assert_eq!(books.cash(), cash, "cash");
        assert_eq!(books.fees(), Money::new(self.venue.fees.into()), "fees");
    }

    /// I1, I2, I4, I5, I6 and I8: what must hold at any moment, of the journal and of the venue.
    pub(super) fn check_intents(&self) {
        for (key, count) in &self.venue.executions {
            assert!(*count <= 1, "{key} was executed {count} times");
        }
        for (key, bodies) in &self.venue.bodies {
            assert_eq!(bodies.len(), 1, "{key} was sent with different bodies");
        }
        let (mut last_call, mut intended, mut parents) = (0, BTreeSet::new(), BTreeSet::new());
        for record in self.records() {
            let call = match record {
                Record::Decided(decision) => decision.call,
                Record::CallFailed { call, .. } => *call,
                Record::Reissued(reissue) => {
                    intended.insert(reissue.key);
                    assert!(parents.insert(reissue.parent), "{} was issued again twice", reissue.parent);
                    reissue.call
                }
                _ => continue,
            };
            assert!(call > last_call, "call {call} after call {last_call}");
            last_call = call;
            if let Record::Decided(decision) = record {
                let wanted =
                    decision.intents.iter().filter(|one| matches!(one.verdict, Verdict::Intended(_)));
                intended.extend(wanted.map(|one| one.key));
            }
        }
        assert!(self.venue.bodies.keys().all(|key| intended.contains(key)), "sent without a decision");
        let Some(core) = self.core.as_ref().filter(|_| self.unsynced.is_empty()) else { return };
        let known: BTreeSet<_> = core.ledger().intents().keys().copied().collect();
        assert_eq!(known, intended, "an intent vanished");
        for (key, intent) in core.ledger().intents() {
            let doubtful = intent.maybe_executed();
            assert!(
                intent.child().is_none() || doubtful || self.venue.executed(key) == 0,
                "{key} was executed and issued again"
            );
            let executed = self.venue.executed(key);
            match intent.state {
                // It says only that there was nothing left to do.
                IntentState::Expired(ExpiredBecause::Moot) => {}
                IntentState::Acknowledged => assert_eq!(executed, 1, "{key} {intent:?}"),
                IntentState::Rejected
                | IntentState::Expired(_)
                | IntentState::DeadLettered { ambiguous: false } => {
                    assert_eq!(executed, 0, "{key} {intent:?}");
                }
                _ => {}
            }
        }
    }
}
