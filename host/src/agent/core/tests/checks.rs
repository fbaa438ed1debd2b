//! What must hold of the journal, the books and the venue, whatever has happened.

use super::rig::Rig;
use super::script::Scripted;
use crate::agent::core::*;
use crate::market::UnixNanos;
use crate::orders::{Action, Entry, ExpiredBecause, IntentState, Ledger, Verdict};
use std::collections::BTreeSet;

/// A state, without what may have been forgotten.
pub(super) fn state_of(core: &Core, forgets_at: Option<UnixNanos>) -> State {
    let mut state = core.state();
    if let Some(at) = forgets_at {
        state.ledger.prune(at, |_| false);
    }
    state
}

impl Rig {
    /// The part of a state that the journal alone determines, as bytes.
    pub(super) fn journaled_state(&self, core: &Core) -> Vec<u8> {
        let state = state_of(core, self.forgets_at());
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

    /// When the host's clock has jumped by so much that things were forgotten in one life and not in another: a moment
    /// at which all that is closed is.
    pub(super) fn forgets_at(&self) -> Option<UnixNanos> {
        let oldest = self.journal.iter().map(|entry| entry.at).min()?;
        let jumped = self.latest_wall.since(oldest) >= Ledger::WHOLE_AGE;
        jumped.then_some(UnixNanos(self.latest_wall.0 + Ledger::WHOLE_AGE.as_nanos() as u64))
    }

    /// I7: what runs, a checkpoint with the records after it, and the whole journal say the same.
    pub(super) fn check_folds(&self) {
        assert!(self.unsynced.is_empty());
        let Some(running) = self.core.as_ref() else { return };
        let expected = self.journaled_state(running);
        let whole = self.try_recover(Scripted::default(), None).unwrap();
        let ledger = |core: &Core| state_of(core, self.forgets_at()).ledger;
        assert_eq!(ledger(&whole), ledger(running), "fold of the whole journal");
        assert!(self.journaled_state(&whole) == expected, "fold of the whole journal");
        for checkpoint in self.checkpoints.iter().rev().take(3) {
            let core = self.try_recover(Scripted::default(), Some(checkpoint)).unwrap();
            assert!(
                self.journaled_state(&core) == expected,
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
        assert!(known.is_subset(&intended), "intents that nobody decided");
        for key in intended.difference(&known) {
            assert!(self.may_be_forgotten(key), "{key} vanished");
        }
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

    /// Whether an intent may have come to its end more than an hour ago, by a clock that is set back and forth: then
    /// only its tombstone is kept, and of a cancel or a change nothing.
    fn may_be_forgotten(&self, key: &IntentKey) -> bool {
        let (mut decided, mut in_the_air) = (None, false);
        let mut earliest = UnixNanos(u64::MAX);
        for Entry { at, record, .. } in &self.journal {
            match record {
                Record::Decided(decision) => {
                    let about = decision.intents.iter().find(|one| one.key == *key);
                    decided = decided.or(about.map(|one| one.action));
                }
                Record::Reissued(reissue) if reissue.key == *key => decided = Some(reissue.action),
                Record::Submitting { key: about, .. } if about == key => in_the_air = true,
                Record::Attempted { key: about, .. }
                | Record::Queried { key: about, .. }
                | Record::Expired { key: about, .. }
                    if about == key =>
                {
                    in_the_air = false;
                }
                _ => {}
            }
            if decided.is_some() {
                earliest = earliest.min(*at);
            }
        }
        let is_old = self.latest_wall.since(earliest) >= Ledger::WHOLE_AGE;
        let remembered = !matches!(decided, Some(Action::Submit(_))) || self.core().ledger().knows(key);
        let told_of = !in_the_air || self.venue.executed(key) == 1;
        is_old && told_of && remembered && !self.venue.resting().contains(key)
    }
}
