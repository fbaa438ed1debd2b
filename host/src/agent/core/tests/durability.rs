//! Nothing leaves, and nothing is told, before it is durable.

use super::*;
use crate::agent::core::{Effect, Event, Operator};
use crate::orders::{IntentState, Record, StrategyEvent};
use crate::resilience::Mode;
use crate::resilience::{Class, Failure, Phase};
use std::time::Duration;

#[test]
fn nothing_is_sent_before_the_attempt_is_durable() {
    let mut rig = Rig::new();
    rig.hold_acks = true;
    rig.want(vec![buy(1, 2)]);
    rig.advance(5_000);
    assert_eq!(rig.placing(1), IntentState::Submitting);
    assert!(rig.sent.is_empty());
    rig.ack();
    assert_eq!(rig.sent.len(), 1);
}

#[test]
fn an_outcome_reaches_books_and_strategy_only_when_it_is_durable() {
    let mut rig = Rig::new();
    rig.hold_acks = true;
    rig.want(vec![buy(1, 2)]);
    rig.ack();
    rig.run();
    assert_eq!((rig.venue.position, rig.position(), rig.heard().len()), (2, 0, 0));
    rig.ack();
    assert_eq!(rig.position(), 2);
    assert!(matches!(rig.heard()[..], [StrategyEvent::Accepted(_), StrategyEvent::Filled { .. }]));
    rig.check_books();
}

#[test]
fn an_update_of_the_venue_waits_for_its_record_too() {
    let mut rig = Rig::new();
    rig.want(vec![bid(1, 2, 99)]);
    rig.take_heard();
    rig.hold_acks = true;
    rig.venue.trade_at(99);
    rig.poll();
    // The same news again before the first is durable is no second fill.
    rig.poll_from(0);
    assert_eq!((rig.position(), rig.heard().len()), (0, 0));
    rig.ack();
    assert_eq!((rig.position(), rig.heard().len()), (2, 1));
    rig.check_books();
}

#[test]
fn news_that_the_venue_tells_twice_is_booked_once() {
    let mut rig = Rig::new();
    rig.want(vec![bid(1, 2, 99)]);
    rig.venue.trade_at(99);
    rig.poll();
    let records = rig.journal.len();
    rig.poll_from(0);
    assert_eq!(rig.journal.len(), records);
    rig.check_books();
}

#[test]
fn an_answer_that_comes_after_the_venues_report_is_not_booked_again() {
    let mut rig = Rig::new();
    rig.faults.push_back(Fault::Slow(Duration::from_secs(5)));
    rig.want(vec![buy(1, 2)]);
    rig.poll();
    assert_eq!(rig.position(), 2);
    let heard = rig.heard().len();
    rig.advance(6_000);
    assert_eq!((rig.position(), rig.heard().len()), (2, heard));
    rig.check_books();
    rig.check_folds();
}

#[test]
fn a_retry_that_is_due_waits_for_news_that_is_being_written() {
    let mut rig = Rig::new();
    rig.faults.push_back(Fault::ReplyLost);
    rig.want(vec![buy(1, 2)]);
    assert_eq!(rig.placing(1), IntentState::Ambiguous);
    rig.hold_acks = true;
    rig.poll();
    rig.advance(2_000);
    rig.ack();
    rig.run();
    assert_eq!(rig.sent.len(), 1, "the venue had told what became of it");
    assert_eq!(rig.placing(1), IntentState::Acknowledged);
    rig.check_folds();
}

#[test]
fn news_that_is_being_written_keeps_an_exhausted_intent_from_being_given_up() {
    let mut rig = Rig::new();
    rig.faults = std::iter::repeat_n(Fault::ReplyLost, 5).collect();
    rig.want(vec![bid(1, 2, 90)]);
    while rig.sent.len() < 4 {
        rig.advance(500);
    }
    rig.hold_acks = true;
    while rig.core().ledger().intent(&rig.key(1)).unwrap().attempts < 5 {
        rig.advance(500);
    }
    rig.ack();
    rig.run(); // the fifth reply is being written
    rig.poll(); // and so is the venue's report
    rig.ack();
    rig.run();
    rig.ack();
    assert_eq!(rig.placing(1), IntentState::Acknowledged);
    assert!(rig.letters.is_empty());
    rig.check_folds();
}

#[test]
fn the_state_does_not_depend_on_how_long_the_disk_takes() {
    let mut rig = Rig::new();
    rig.hold_acks = true;
    rig.faults.push_back(Fault::Dropped);
    rig.want(vec![buy(1, 2), bid(2, 1, 95)]);
    for _ in 0..6 {
        rig.advance(1_700);
        rig.ack();
        rig.run();
    }
    rig.hold_acks = false;
    rig.advance(10_000);
    rig.ack();
    rig.check_folds();
}

#[test]
fn a_journal_that_fails_stops_the_agent_and_nothing_more_is_sent() {
    let mut rig = Rig::new();
    rig.hold_acks = true;
    rig.want(vec![buy(1, 2)]);
    rig.step(Event::JournalFailed(Failure::new(Class::Resource, "enospc", Phase::Done, "no space left")));
    assert!(rig.stopped && rig.alerts.iter().any(|code| code == "journal_failed"));
    rig.ack();
    rig.tick();
    rig.advance(10_000);
    assert!(rig.sent.is_empty());
    // What was written may be on the disk, and then it counts.
    rig.kill(usize::MAX);
    rig.hold_acks = false;
    rig.start();
    rig.run();
    rig.advance(5_000);
    assert_eq!(rig.venue.position, 2);
    rig.check_intents();
}

#[test]
fn a_checkpoint_waits_until_a_strategy_that_traps_while_saving_is_durably_halted() {
    let mut rig = Rig::new();
    let before = rig.checkpoints.len();
    rig.strategy.script().save_traps = true;
    // The rig refuses a checkpoint of anything that is not durable.
    rig.want(vec![buy(1, 2)]);
    assert!(rig.core().is_halted() && rig.checkpoints.len() > before);
    rig.check_folds();
}

#[test]
fn a_checkpoint_that_fails_is_not_tried_again_without_a_pause() {
    let mut rig = Rig::new();
    rig.checkpoint_fails = true;
    let effects = rig.effects;
    rig.want(vec![buy(1, 2)]);
    assert!(rig.effects - effects < 30, "{} effects", rig.effects - effects);
    assert!(rig.alerts.iter().any(|code| code == "checkpoint_failed"));
    rig.checkpoint_fails = false;
    let before = rig.checkpoints.len();
    rig.advance(31_000);
    assert!(rig.checkpoints.len() > before);
}

#[test]
fn checkpoints_that_keep_failing_are_told_once_and_make_the_agent_read_only_until_one_is_written() {
    let mut rig = Rig::new();
    let told = |rig: &Rig, code: &str| rig.alerts.iter().filter(|told| *told == code).count();
    rig.checkpoint_fails = true;
    rig.want(vec![buy(1, 2)]);
    for _ in 0..3 {
        rig.live(31_000);
    }
    assert_eq!((told(&rig, "checkpoint_failed"), told(&rig, "checkpoints_failed")), (1, 1));
    assert_eq!((rig.core().mode(), told(&rig, "checkpoint_recovered")), (Mode::ReadOnly, 0));
    rig.want(vec![buy(2, 1), sell(3, 1)]);
    assert_eq!(rig.position(), 1, "it may only reduce");

    rig.checkpoint_fails = false;
    rig.live(31_000);
    assert_eq!(told(&rig, "checkpoint_recovered"), 1);
    rig.live(70_000);
    assert_eq!(rig.core().mode(), Mode::Full);
    rig.check_folds();
}

#[test]
fn fewer_failed_checkpoints_in_a_row_than_the_limit_change_no_mode() {
    let mut rig = Rig::with(|config, _| config.limits.checkpoint_failures_max = 1_000.try_into().unwrap());
    rig.checkpoint_fails = true;
    for id in 1..=10 {
        rig.want(vec![buy(id, 1)]);
    }
    assert_eq!((rig.core().mode(), rig.position()), (Mode::Full, 10));
}

#[test]
fn an_operators_double_click_requeues_once() {
    let mut rig = Rig::new();
    rig.faults = std::iter::repeat_n(Fault::NotSent, 5).collect();
    rig.want(vec![buy(1, 2)]);
    rig.advance(60_000);
    let key = rig.key(1);
    assert_eq!(rig.placing(1), IntentState::DeadLettered { ambiguous: false });
    rig.live(300_000);
    rig.tick();
    rig.hold_acks = true;
    rig.operator(Operator::Replay { key, replay: 1 });
    rig.operator(Operator::Replay { key, replay: 1 });
    rig.operator(Operator::Replay { key, replay: 2 });
    rig.operator(Operator::Resolve { key, note: "too late".into() });
    rig.hold_acks = false;
    rig.ack();
    rig.run();
    let requeued = rig.records().filter(|record| matches!(record, Record::Requeued { .. })).count();
    assert_eq!((requeued, rig.intent(1).replay, rig.intent(1).attempts_total), (1, 1, 6));
    rig.operator(Operator::Replay { key, replay: 1 });
    assert_eq!(rig.venue.executed(&key), 1);
    rig.check_books();
    rig.check_folds();
}

#[test]
fn a_stopped_core_does_nothing() {
    let mut rig = Rig::new();
    rig.stop();
    assert!(rig.stopped);
    let mut out: Vec<Effect> = Vec::new();
    let now = rig.now;
    rig.core.as_mut().unwrap().step(now, Event::Wake, &mut out);
    assert!(out.is_empty());
}

#[test]
fn an_answer_that_comes_after_its_order_is_old_does_not_keep_the_host_from_starting() {
    let mut rig = Rig::new();
    rig.faults = [Fault::Slow(Duration::from_secs(8))].into();
    rig.want(vec![buy(1, 2)]);
    // The account tells of the fill before the reply does, and the clock is set an hour ahead.
    rig.poll();
    assert_eq!((rig.position(), rig.is_working(1)), (2, false));
    rig.set_clock(2 * 3_600);
    let before = rig.checkpoints.len();
    rig.operator(Operator::Floor(Mode::Observation));
    assert!(rig.checkpoints.len() > before, "what is old is forgotten with a checkpoint");
    rig.advance(10_000);
    let key = rig.sent[0].0.key;
    assert!(
        rig.records().any(|record| matches!(record, Record::Attempted { key: about, .. } if *about == key))
    );
    for checkpoint in 0..=rig.checkpoints.len() {
        rig.kill(usize::MAX);
        let from = checkpoint.checked_sub(1).map(|index| rig.checkpoints[index].clone());
        rig.start_from(from.as_ref());
        rig.run();
        assert_eq!(rig.position(), 2, "checkpoint {checkpoint}");
    }
}
