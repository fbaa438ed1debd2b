//! New intents in place of dead letters.

use super::letters::{dead, dead_with, notes, refusals};
use super::*;
use crate::agent::core::{Letter, Operator};
use crate::orders::{IntentKey, IntentState, Ledger, Record, RejectReason, StrategyEvent};
use crate::resilience::Mode;

const FIRST: u64 = Ledger::HOST_ORDERS_FROM;

fn again(key: IntentKey, replay: u32, not_executed: bool) -> Operator {
    Operator::Reissue { key, replay, note: "the market is back".into(), not_executed }
}

fn reissue(rig: &mut Rig, replay: u32, not_executed: bool) {
    let key = rig.key(1);
    rig.operator(again(key, replay, not_executed));
}

fn reissued(rig: &Rig) -> usize {
    rig.records().filter(|record| matches!(record, Record::Reissued(_))).count()
}

#[test]
fn the_letter_is_closed_and_a_new_intent_under_a_new_key_is_executed_once() {
    let mut rig = dead(&Fault::NotSent);
    let old = rig.key(1);
    rig.take_heard();
    reissue(&mut rig, 1, false);
    reissue(&mut rig, 1, false);
    reissue(&mut rig, 2, false);
    let new = rig.key(FIRST);
    assert_ne!(old, new);
    assert_eq!((rig.venue.executed(&old), rig.venue.executed(&new), rig.position()), (0, 1, 2));
    let (parent, child) = (rig.intent(1).clone(), rig.intent(FIRST));
    assert_eq!((&parent.state, parent.child()), (&IntentState::Resolved, Some(new)));
    assert_eq!((child.parent, &child.state), (Some(old), &IntentState::Acknowledged));
    let told = rig.letters.iter().rev().find(|letter| matches!(letter, Letter::Intent { .. }));
    assert_eq!(told, Some(&Letter::Intent { key: old, intent: Box::new(parent) }));
    let words = "order 9223372036854775808 stands for order 1, which is issued again".to_owned();
    let heard = rig.take_heard();
    assert_eq!(heard[0], StrategyEvent::Operator(words), "before any news of the new order");
    assert!(matches!(heard[1], StrategyEvent::Accepted(OrderId(FIRST))), "{heard:?}");
    rig.check_intents();
    rig.check_books();
    rig.check_folds();
}

#[test]
fn what_may_have_been_executed_is_issued_again_only_when_the_operator_says_that_it_was_not() {
    let mut rig = dead(&Fault::Dropped);
    reissue(&mut rig, 1, false);
    assert_eq!((reissued(&rig), refusals(&rig)), (0, 1));
    assert_eq!(rig.intent(1).errors.last().unwrap().failure.code, "letter_ambiguous");
    assert_eq!(rig.placing(1), IntentState::DeadLettered { ambiguous: true });
    reissue(&mut rig, 2, true);
    assert_eq!((reissued(&rig), rig.core().mode()), (0, Mode::ReadOnly));
    // The operator's word ends the doubt; the mode rises, and only then is it sent, at a price of then.
    rig.live(70_000);
    assert_eq!((reissued(&rig), rig.position(), rig.is_working(1)), (1, 2, false));
    assert_eq!(rig.core().ledger().unresolved().count(), 0);
    let mut heard = rig.take_heard();
    heard.retain(|event| !matches!(event, StrategyEvent::ModeChanged(_) | StrategyEvent::Unresolved(_)));
    let is_end = |event: &StrategyEvent| {
        matches!(event, StrategyEvent::Rejected { order: OrderId(1), reason: RejectReason::DeadLettered, .. })
    };
    assert!(is_end(&heard[0]), "it had been told that nobody knows: {heard:?}");
    rig.check_books();
    rig.check_folds();
}

#[test]
fn an_operator_who_was_wrong_is_told_and_both_orders_are_booked() {
    let mut rig = Rig::new();
    rig.faults = std::iter::repeat_n(Fault::ReplyLost, 5).collect();
    rig.queries_lost = true;
    rig.want(vec![buy(1, 2)]);
    // The venue's own report is not heard.
    rig.advance(400_000);
    rig.tick();
    rig.probe();
    rig.advance(500);
    let key = rig.key(1);
    rig.operator(again(key, 1, true));
    for _ in 0..30 {
        rig.tick();
        rig.probe();
        rig.advance(5_000);
    }
    assert_eq!(reissued(&rig), 1);
    rig.poll();
    assert!(rig.alerts.iter().any(|code| code == "reissue_refuted"), "{:?}", rig.alerts);
    assert_eq!((rig.position(), rig.venue.position), (4, 4));
    rig.check_books();
    rig.check_folds();
}

#[test]
fn a_new_intent_needs_a_fresh_price_and_is_not_too_late_by_its_age() {
    let mut rig = dead(&Fault::NotSent);
    rig.live(4_000_000);
    reissue(&mut rig, 1, false);
    assert_eq!((reissued(&rig), refusals(&rig)), (0, 0));
    rig.tick();
    assert_eq!((reissued(&rig), rig.position()), (1, 2));
}

#[test]
fn what_the_risk_gate_refuses_stays_a_letter_and_can_be_issued_again_later() {
    let mut rig = dead(&Fault::NotSent);
    rig.operator(Operator::Floor(Mode::Observation));
    reissue(&mut rig, 1, false);
    assert_eq!((reissued(&rig), refusals(&rig)), (0, 1));
    assert_eq!(rig.intent(1).errors.last().unwrap().failure.code, "MODE_FORBIDS");
    assert!(matches!(rig.placing(1), IntentState::DeadLettered { .. }));
    rig.operator(Operator::Floor(Mode::Full));
    rig.live(300_000);
    rig.tick();
    reissue(&mut rig, 2, false);
    assert_eq!((reissued(&rig), rig.position()), (1, 2));
    rig.check_folds();
}

#[test]
fn in_read_only_mode_a_new_intent_is_written_as_reduce_only() {
    let mut rig = Rig::new();
    rig.want(vec![buy(7, 2)]);
    rig.faults = std::iter::repeat_n(Fault::NotSent, 5).collect();
    rig.want(vec![sell(1, 2)]);
    rig.live(400_000);
    rig.tick();
    rig.operator(Operator::Floor(Mode::ReadOnly));
    reissue(&mut rig, 1, false);
    assert_eq!((reissued(&rig), rig.position()), (1, 0));
    assert!(
        matches!(rig.intent(FIRST).action, crate::orders::Action::Submit(order) if order.options.reduce_only)
    );
}

#[test]
fn a_resting_order_that_was_issued_again_is_cancelled_when_the_agent_stops() {
    let mut rig = dead_with(&Fault::NotSent, bid(1, 2, 95), |_, _| {});
    reissue(&mut rig, 1, false);
    assert!(rig.is_working(FIRST));
    rig.stop();
    rig.advance(60_000);
    assert!(rig.stopped);
    assert!(rig.venue.resting().is_empty());
}

#[test]
fn a_strategy_can_cancel_what_was_issued_again() {
    let mut rig = dead_with(&Fault::NotSent, bid(1, 2, 95), |_, _| {});
    reissue(&mut rig, 1, false);
    rig.want(vec![OrderIntent::Cancel(OrderId(FIRST))]);
    assert!(!rig.is_working(FIRST));
    assert!(rig.venue.resting().is_empty());
}

#[test]
fn a_dead_child_is_a_letter_with_a_parent_and_can_be_issued_again_itself() {
    let mut rig = dead(&Fault::NotSent);
    let parent = rig.key(1);
    rig.faults = std::iter::repeat_n(Fault::NotSent, 5).collect();
    reissue(&mut rig, 1, false);
    rig.live(300_000);
    rig.tick();
    let child = rig.key(FIRST);
    let is_child = |letter: &&Letter| matches!(letter, Letter::Intent { key, .. } if *key == child);
    let Some(Letter::Intent { intent, .. }) = rig.letters.iter().find(is_child) else { panic!("no letter") };
    assert_eq!(intent.parent, Some(parent));
    rig.operator(again(child, 1, false));
    assert_eq!((reissued(&rig), rig.position()), (2, 2));
    assert_eq!(rig.intent(FIRST + 1).parent, Some(child));
    rig.check_intents();
    rig.check_folds();
}

/// Dies before every effect of a re-issue, with what was written lost or kept.
#[test]
fn whenever_the_host_dies_a_letter_is_issued_again_exactly_once() {
    for at in 1.. {
        let mut died = false;
        for kept in 0..3 {
            let mut rig = dead(&Fault::NotSent);
            rig.kill_at = Some(rig.effects + at);
            reissue(&mut rig, 1, false);
            died = rig.core.is_none();
            rig.kill_at = None;
            if died {
                rig.kill(kept);
                rig.start();
                rig.run();
                rig.tick();
            }
            // The index has the order as long as nobody has told it otherwise.
            reissue(&mut rig, 1, false);
            rig.live(20_000);
            assert_eq!(
                (reissued(&rig), rig.position()),
                (1, 2),
                "died before effect {at}, {kept} records kept"
            );
            assert_eq!(rig.venue.executions.values().sum::<u32>(), 1);
            rig.check_intents();
            rig.check_books();
            rig.check_folds();
        }
        if !died {
            break;
        }
    }
}

#[test]
fn a_letter_whose_verdict_came_first_is_closed_with_it_and_not_issued_again() {
    let mut rig = Rig::new();
    rig.faults = std::iter::repeat_n(Fault::ReplyLost, 5).collect();
    rig.queries_lost = true;
    rig.want(vec![buy(1, 2)]);
    rig.advance(400_000);
    rig.poll();
    rig.letters.clear();
    reissue(&mut rig, 1, true);
    assert_eq!((reissued(&rig), notes(&rig)), (0, vec!["the venue has executed it"]));
}

#[test]
fn an_order_about_an_unknown_intent_is_refused_to_the_index_too() {
    let mut rig = Rig::new();
    let mut other = Rig::with(|config, _| config.incarnation = 2);
    other.want(vec![buy(1, 2)]);
    rig.operator(again(other.key(1), 3, true));
    assert_eq!(refusals(&rig), 1);
    assert!(matches!(&rig.letters[..], [Letter::Refused { replay: 3, .. }]));
}

#[test]
fn a_cancel_can_be_issued_again_while_its_order_works() {
    let mut rig = Rig::new();
    rig.want(vec![bid(1, 2, 95)]);
    rig.faults = std::iter::repeat_n(Fault::NotSent, 5).collect();
    rig.want(vec![OrderIntent::Cancel(OrderId(1))]);
    rig.live(400_000);
    let intents = rig.core().ledger().intents().iter();
    let dead = intents.filter(|(_, intent)| matches!(intent.state, IntentState::DeadLettered { .. }));
    let key = dead.map(|(key, _)| *key).next().unwrap();
    rig.operator(again(key, 1, false));
    assert_eq!((reissued(&rig), rig.is_working(1)), (1, false));
    assert!(rig.venue.resting().is_empty());
    rig.check_folds();
}
