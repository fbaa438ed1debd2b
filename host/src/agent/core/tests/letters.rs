//! Dead letters: what an operator orders about them, and what the index hears in return.

use super::*;
use crate::agent::core::{CoreConfig, Letter, Operator};
use crate::orders::{IntentState, Record};
use crate::resilience::GateConfig;

/// A dead letter of order 1 after five attempts with this fate, and a price.
pub(super) fn dead(fault: &Fault) -> Rig {
    dead_with(fault, buy(1, 2), |_, _| {})
}

pub(super) fn dead_with(
    fault: &Fault,
    intent: OrderIntent,
    change: impl FnOnce(&mut CoreConfig, &mut GateConfig),
) -> Rig {
    let mut rig = Rig::with(change);
    rig.faults = std::iter::repeat_n(fault.clone(), 5).collect();
    rig.queries_lost = true;
    rig.want(vec![intent]);
    rig.live(400_000);
    rig.queries_lost = false;
    rig.tick();
    assert!(matches!(rig.placing(1), IntentState::DeadLettered { .. }));
    rig.letters.clear();
    rig.alerts.clear();
    rig
}

pub(super) fn replay(rig: &mut Rig, replay: u32) {
    let key = rig.key(1);
    rig.operator(Operator::Replay { key, replay });
}

fn note(letter: &Letter) -> Option<&str> {
    match letter {
        Letter::Resolved { note, .. } => Some(note),
        Letter::Intent { .. } | Letter::Refused { .. } | Letter::Call { .. } => None,
    }
}

pub(super) fn notes(rig: &Rig) -> Vec<&str> {
    rig.letters.iter().filter_map(note).collect()
}

pub(super) fn refusals(rig: &Rig) -> usize {
    rig.alerts.iter().filter(|code| *code == "operator_order_refused").count()
}

#[test]
fn the_verdict_on_an_intent_that_was_sent_again_closes_its_letter_and_says_what_happened() {
    let cases = [
        (Fault::Delivered, "replay 1: the venue has executed it"),
        (Fault::Refused, "replay 1: the venue refused it: api failure refused: scripted"),
        (Fault::ReplyLost, "replay 1: the venue has executed it"),
    ];
    for (fault, note) in cases {
        let mut rig = dead(&Fault::NotSent);
        rig.faults = [fault].into();
        replay(&mut rig, 1);
        rig.live(20_000);
        assert_eq!(notes(&rig), [note]);
        rig.check_folds();
    }
}

#[test]
fn a_denial_of_an_intent_that_was_sent_again_closes_its_letter() {
    let mut rig = dead(&Fault::Dropped);
    rig.faults = std::iter::repeat_n(Fault::Dropped, 5).collect();
    replay(&mut rig, 1);
    rig.live(100_000);
    assert_eq!(notes(&rig), ["replay 1: it was dropped: the venue was asked twice and has never had it"]);
    rig.check_folds();
}

#[test]
fn the_venues_own_report_closes_the_letter_of_an_intent_that_was_sent_again_once() {
    let mut rig = dead(&Fault::NotSent);
    rig.faults = [Fault::ReplyLost].into();
    replay(&mut rig, 1);
    rig.poll();
    rig.live(20_000);
    assert_eq!(notes(&rig), ["replay 1: the venue has executed it"]);
}

#[test]
fn an_intent_that_dies_again_is_a_letter_again() {
    let mut rig = dead(&Fault::NotSent);
    rig.faults = std::iter::repeat_n(Fault::NotSent, 5).collect();
    replay(&mut rig, 1);
    rig.live(300_000);
    assert!(matches!(&rig.letters[..], [Letter::Intent { intent, .. }] if intent.replay == 1));
    rig.faults.clear();
    replay(&mut rig, 2);
    rig.live(20_000);
    assert_eq!(notes(&rig), ["replay 2: the venue has executed it"]);
}

#[test]
fn an_order_about_an_intent_waits_for_the_news_that_is_being_written() {
    for wants_replay in [true, false] {
        let mut rig = Rig::new();
        rig.faults = std::iter::repeat_n(Fault::ReplyLost, 5).collect();
        rig.queries_lost = true;
        rig.want(vec![buy(1, 2)]);
        rig.advance(400_000);
        assert_eq!(rig.placing(1), IntentState::DeadLettered { ambiguous: true });
        rig.hold_acks = true;
        rig.poll();
        let key = rig.key(1);
        rig.operator(match wants_replay {
            true => Operator::Replay { key, replay: 1 },
            false => Operator::Resolve { key, note: "the venue has it".into() },
        });
        rig.hold_acks = false;
        rig.ack();
        rig.run();
        assert_eq!((rig.placing(1), rig.position()), (IntentState::Acknowledged, 2));
        assert_eq!(notes(&rig).last(), Some(&"the venue has executed it"));
        let about = |record: &&Record| matches!(record, Record::Requeued { .. } | Record::Resolved { .. });
        assert_eq!((rig.records().filter(about).count(), refusals(&rig)), (0, 0));
        rig.check_folds();
    }
}

#[test]
fn two_orders_about_one_letter_are_carried_out_in_turn_or_answered() {
    let mut rig = dead(&Fault::NotSent);
    let key = rig.key(1);
    rig.faults = std::iter::repeat_n(Fault::NotSent, 5).collect();
    rig.hold_acks = true;
    replay(&mut rig, 1);
    rig.operator(Operator::Resolve { key, note: "too late".into() });
    assert_eq!((refusals(&rig), notes(&rig).len()), (0, 0));
    rig.hold_acks = false;
    rig.ack();
    rig.run();
    assert_eq!(refusals(&rig), 1, "it is being sent again, and the operator hears of it");
    let resolved = rig.records().any(|record| matches!(record, Record::Resolved { .. }));
    assert!(!resolved);
    rig.check_folds();
}

#[test]
fn orders_that_wait_are_bounded_and_none_is_lost_in_silence() {
    let few = |config: &mut CoreConfig, _: &mut GateConfig| config.limits.operator_orders_held_max = 64;
    let mut rig = dead_with(&Fault::NotSent, buy(1, 2), few);
    let key = rig.key(1);
    rig.hold_acks = true;
    replay(&mut rig, 1);
    for number in 0..100 {
        rig.operator(Operator::Resolve { key, note: number.to_string() });
    }
    assert_eq!(refusals(&rig), 36);
    rig.hold_acks = false;
    rig.ack();
    rig.run();
    assert_eq!(refusals(&rig) + notes(&rig).len(), 101, "one answer each, and the verdict");
}

#[test]
fn an_order_about_an_intent_that_the_agent_does_not_know_is_answered() {
    let mut rig = Rig::new();
    rig.want(vec![buy(1, 2)]);
    let mut other = Rig::with(|config, _| config.incarnation = 2);
    other.want(vec![buy(1, 2)]);
    let key = other.key(1);
    rig.operator(Operator::Replay { key, replay: 1 });
    rig.operator(Operator::Resolve { key, note: "gone".into() });
    assert_eq!(refusals(&rig), 2);
}

#[test]
fn an_index_that_missed_the_verdict_hears_it_when_the_order_comes_again() {
    let mut rig = dead(&Fault::NotSent);
    replay(&mut rig, 1);
    rig.kill(0);
    rig.letters.clear();
    rig.start();
    rig.run();
    replay(&mut rig, 1);
    assert_eq!(notes(&rig), ["replay 1: the venue has executed it"]);
    assert_eq!((rig.venue.executed(&rig.key(1)), rig.position()), (1, 2));
}
