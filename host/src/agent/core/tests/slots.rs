//! A slot or a key that was used for something else halts the strategy.

use super::*;
use crate::agent::core::Operator;
use crate::agent::core::{FailAction, Letter};
use crate::orders::{IntentState, Record};
use crate::resilience::Mode;

/// The agent comes to a slot that it has used before.
fn reused(action: FailAction) -> Rig {
    let mut rig = Rig::with(|config, _| config.on_halt = action);
    rig.want(vec![bid(1, 2, 95)]);
    let used = rig.core().ledger().intent(&rig.key(1)).unwrap().call;
    rig.core.as_mut().unwrap().call = used - 1;
    rig.want(vec![bid(2, 3, 95), bid(3, 1, 95)]);
    rig
}

#[test]
fn a_slot_that_comes_again_with_another_content_halts_the_strategy() {
    let mut rig = reused(FailAction::Cancel);
    assert!(rig.core().is_halted());
    assert_eq!(rig.core().mode(), Mode::Observation);
    for id in [2, 3] {
        assert!(!rig.is_working(id) && rig.core().ledger().order(OrderId(id)).is_none());
    }
    let Some(Letter::Call { failure, input, .. }) = rig.letters.first() else { panic!("{:?}", rig.letters) };
    assert_eq!((failure.code.as_ref(), input.is_empty()), ("slot_reused", false));
    assert!(rig.alerts.iter().any(|code| code == "slot_reused"));
    let failed = |record: &&Record| matches!(record, Record::CallFailed { halted: true, .. });
    assert_eq!(rig.records().filter(failed).count(), 1);
    rig.live(10_000);
    assert!(rig.venue.resting().is_empty(), "what worked was cancelled, as configured");
}

#[test]
fn what_a_reused_slot_wanted_leaves_no_trace() {
    let rig = reused(FailAction::Hold);
    assert_eq!(rig.venue.bodies.len(), 1);
    assert_eq!(rig.core().books().working().len(), 1);
    rig.check_folds();
}

#[test]
fn a_key_that_the_venue_has_used_for_something_else_halts_the_strategy() {
    for earlier in [None, Some(Fault::Dropped)] {
        let mut rig = Rig::with(|config, _| config.on_halt = FailAction::Hold);
        rig.faults = earlier.clone().into_iter().chain([Fault::KeyReused]).collect();
        rig.want(vec![buy(1, 2)]);
        rig.live(60_000);
        assert_eq!(rig.placing(1), IntentState::DeadLettered { ambiguous: true });
        assert!(rig.core().is_halted() && rig.is_working(1), "it may have been executed");
        assert_eq!(rig.core().mode(), Mode::Observation);
        assert!(rig.letters.iter().any(|letter| {
            matches!(letter, Letter::Intent { intent, .. } if intent.errors.last().unwrap().failure.code == "key_reused")
        }));
        let told = |code: &str| rig.alerts.iter().filter(|told| *told == code).count();
        assert_eq!((told("key_reused"), told("dead_letter")), (1, 1));
        assert!(rig.queries.iter().all(|(key, _)| *key != rig.key(1)), "the answer would be another's");
        rig.check_folds();
    }
}

#[test]
fn a_reused_key_stops_attempts_that_are_durable_in_the_same_moment() {
    let mut rig = Rig::with(|config, _| config.on_halt = FailAction::Hold);
    rig.hold_acks = true;
    rig.faults = [Fault::KeyReused].into();
    rig.want(vec![buy(1, 2)]);
    rig.ack();
    rig.run();
    rig.want(vec![buy(2, 2)]);
    rig.hold_acks = false;
    rig.ack();
    rig.live(10_000);
    assert_eq!((rig.sent.len(), rig.venue.position), (1, 0));
    rig.check_folds();
}

#[test]
fn a_letter_of_a_reused_key_is_not_sent_again() {
    let mut rig = Rig::with(|config, _| config.on_halt = FailAction::Hold);
    rig.faults = [Fault::KeyReused].into();
    rig.want(vec![buy(1, 2)]);
    rig.kill(usize::MAX);
    rig.start();
    rig.live(200_000);
    let (key, sent) = (rig.key(1), rig.sent.len());
    assert!(rig.core().is_halted(), "a start does not end a quarantine");
    rig.operator(Operator::ReleaseStrategy { note: "looked at".into() });
    rig.live(200_000);
    assert!(!rig.core().is_halted());
    rig.operator(Operator::Replay { key, replay: 1 });
    rig.live(10_000);
    assert_eq!((rig.sent.len(), rig.placing(1)), (sent, IntentState::DeadLettered { ambiguous: true }));
    rig.check_folds();
}
