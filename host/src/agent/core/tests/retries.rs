//! Attempts: the same key and bytes, what counts, what is known after each, and when it ends.

use super::*;
use crate::agent::core::{Letter, Operator};
use crate::orders::{ExpiredBecause, IntentState, RejectReason, StrategyEvent};
use crate::resilience::Mode;
use std::time::Duration;

fn unresolved(rig: &Rig) -> usize {
    rig.heard().iter().filter(|event| matches!(event, StrategyEvent::Unresolved(_))).count()
}

#[test]
fn every_attempt_carries_the_same_key_and_bytes() {
    let mut rig = Rig::new();
    rig.faults = [Fault::NotSent, Fault::Dropped, Fault::ReplyLost].into();
    rig.want(vec![buy(1, 2)]);
    rig.advance(30_000);
    let attempts: Vec<u32> = rig.sent.iter().map(|(_, attempt, _)| *attempt).collect();
    assert_eq!(attempts, [1, 2, 3, 4]);
    assert!(rig.sent.iter().all(|(request, ..)| *request == rig.sent[0].0));
    assert_eq!((rig.venue.executed(&rig.key(1)), rig.placing(1)), (1, IntentState::Acknowledged));
    rig.check_books();
}

#[test]
fn two_equal_orders_of_one_call_both_execute() {
    let mut rig = Rig::new();
    rig.want(vec![buy(1, 2), buy(2, 2)]);
    assert_eq!(rig.venue.position, 4);
    rig.check_intents();
}

#[test]
fn an_unknown_outcome_is_told_once_and_resolved_by_the_same_key() {
    let mut rig = Rig::new();
    rig.faults = [Fault::ReplyLost, Fault::Dropped].into();
    rig.want(vec![buy(1, 2)]);
    assert_eq!((unresolved(&rig), rig.placing(1), rig.is_working(1)), (1, IntentState::Ambiguous, true));
    rig.advance(30_000);
    assert_eq!((unresolved(&rig), rig.position()), (1, 2));
}

#[test]
fn that_a_later_attempt_was_not_sent_does_not_end_the_ambiguity() {
    let mut rig = Rig::new();
    rig.faults = [Fault::ReplyLost, Fault::NotSent, Fault::NotSent, Fault::NotSent, Fault::NotSent].into();
    rig.queries_lost = true;
    rig.want(vec![buy(1, 2)]);
    rig.advance(400_000);
    assert_eq!(rig.placing(1), IntentState::DeadLettered { ambiguous: true });
    assert!(rig.is_working(1), "its fills may still come");
    assert!(!rig.heard().iter().any(|event| matches!(event, StrategyEvent::Rejected { .. })));
    rig.check_intents();
}

#[test]
fn refused_credentials_do_not_end_the_ambiguity_of_an_earlier_attempt() {
    let mut rig = Rig::new();
    rig.faults = [Fault::ReplyLost, Fault::Unauthorized].into();
    rig.want(vec![buy(1, 2)]);
    while rig.sent.len() < 2 {
        rig.advance(100);
    }
    assert_eq!(rig.placing(1), IntentState::Ambiguous);
    rig.advance(30_000);
    assert_eq!(rig.placing(1), IntentState::Acknowledged);
    rig.check_books();
}

#[test]
fn an_exhausted_intent_becomes_a_dead_letter_and_late_news_resolves_it() {
    let mut rig = Rig::new();
    rig.faults = std::iter::repeat_n(Fault::Dropped, 4).collect();
    rig.faults.push_back(Fault::ExecutedLater(Duration::from_secs(500)));
    rig.queries_lost = true;
    rig.want(vec![buy(1, 2)]);
    rig.advance(400_000);
    assert_eq!(rig.sent.len(), 5);
    let Some(Letter::Intent { intent, .. }) = rig.letters.first() else { panic!("{:?}", rig.letters) };
    assert_eq!((intent.errors.len(), intent.attempts_total), (5, 5));
    rig.advance(200_000);
    rig.poll();
    assert_eq!((rig.placing(1), rig.position()), (IntentState::Acknowledged, 2));
    assert!(matches!(rig.letters.last(), Some(Letter::Resolved { .. })));
    rig.check_books();
    rig.check_folds();
}

#[test]
fn an_intent_that_never_left_is_a_dead_letter_that_was_not_executed() {
    let mut rig = Rig::new();
    rig.faults = std::iter::repeat_n(Fault::NotSent, 5).collect();
    rig.want(vec![buy(1, 2)]);
    rig.advance(60_000);
    assert_eq!(rig.placing(1), IntentState::DeadLettered { ambiguous: false });
    assert!(!rig.is_working(1));
    let told = rig
        .heard()
        .into_iter()
        .any(|event| matches!(event, StrategyEvent::Rejected { reason: RejectReason::DeadLettered, .. }));
    assert!(told);
    rig.check_folds();
}

#[test]
fn a_refusal_is_told_and_takes_the_order_out_of_the_books() {
    let mut rig = Rig::new();
    rig.faults = [Fault::Refused].into();
    rig.want(vec![buy(1, 2)]);
    assert_eq!((rig.placing(1), rig.is_working(1), rig.sent.len()), (IntentState::Rejected, false, 1));
    assert!(matches!(rig.heard()[..], [StrategyEvent::Rejected { reason: RejectReason::Venue, .. }]));
    rig.check_folds();
}

#[test]
fn the_venues_report_is_stronger_than_an_attempt_that_failed_meanwhile() {
    let mut rig = Rig::new();
    rig.faults = [Fault::ReplyLost, Fault::Slow(Duration::from_secs(5))].into();
    rig.want(vec![bid(1, 2, 95)]);
    while rig.sent.len() < 2 {
        rig.advance(50);
    }
    rig.poll(); // accepted, while the second attempt is in the air
    let heard = rig.take_heard().len();
    assert!(heard > 0);
    let key = rig.key(1);
    rig.reply(key, 2, Fault::Refused);
    assert!(rig.is_working(1) && rig.take_heard().is_empty());
    assert_eq!(rig.placing(1), IntentState::Acknowledged);
    rig.check_folds();
}

#[test]
fn refused_credentials_make_the_agent_read_only_until_an_answer_comes() {
    let mut rig = Rig::new();
    rig.want(vec![buy(1, 2)]);
    rig.faults = [Fault::Unauthorized].into();
    rig.want(vec![buy(2, 2)]);
    assert_eq!(rig.core().mode(), Mode::ReadOnly);
    rig.want(vec![buy(3, 2)]);
    assert_eq!(rig.venue.position, 2);
    rig.want(vec![sell(4, 1)]);
    assert_eq!(rig.venue.position, 1, "an order that reduces passes");
    for _ in 0..8 {
        rig.tick();
        rig.advance(10_000);
    }
    assert_eq!(rig.core().mode(), Mode::Full);
}

#[test]
fn retry_after_is_obeyed_in_full_and_zero_is_no_loophole() {
    let cases = [
        (Fault::Throttled("70"), 70_000),
        (Fault::Throttled("0"), 0),
        (Fault::Busy("70"), 70_000),
        (Fault::Busy("0"), 0),
    ];
    for (fault, wait_ms) in cases {
        let mut rig = Rig::new();
        rig.faults = [fault.clone()].into();
        rig.hold_acks = true;
        rig.want(vec![buy(1, 2)]);
        rig.ack();
        rig.run();
        let first = rig.sent[0].2;
        rig.tick(); // the outcome is not durable yet
        assert_eq!(rig.core().ledger().intent(&rig.key(1)).unwrap().attempts, 1);
        rig.hold_acks = false;
        rig.ack();
        for _ in 0..9 {
            rig.tick();
            rig.advance(10_000);
        }
        let waited = rig.sent[1].2.since(first);
        assert!(waited >= Duration::from_millis(wait_ms), "{fault:?}: {waited:?}");
        assert_eq!((rig.sent.len(), rig.position()), (2, 2));
        rig.check_folds();
    }
}

#[test]
fn a_refusal_of_the_breaker_is_no_attempt() {
    let mut rig = Rig::with(|config, gate| {
        config.degradation.dwell_ms = 1;
        gate.write.failures_in_row = 1.try_into().unwrap();
    });
    rig.faults = [Fault::NotSent].into();
    rig.want(vec![buy(1, 2)]);
    for _ in 0..5 {
        rig.tick();
        rig.advance(10_000);
    }
    assert_eq!((rig.sent.len(), rig.intent(1).attempts), (1, 1));
    rig.live(80_000);
    assert_eq!((rig.intent(1).attempts, rig.position()), (2, 2));
}

#[test]
fn an_intent_that_never_left_expires_at_its_deadline() {
    let mut rig = Rig::with(|_, gate| {
        gate.write.failures_in_row = 1.try_into().unwrap();
        gate.limiter.burst_calls = 1.try_into().unwrap();
        gate.limiter.calls_per_second = 1.try_into().unwrap();
    });
    rig.faults = [Fault::Dropped].into();
    rig.queries_lost = true;
    rig.want(vec![buy(1, 2), bid(2, 2, 95)]);
    for _ in 0..64 {
        rig.tick();
        rig.advance(10_000);
    }
    let (dead, expired) =
        (IntentState::DeadLettered { ambiguous: true }, IntentState::Expired(ExpiredBecause::Deadline));
    let states = [rig.placing(1), rig.placing(2)];
    assert!(states.contains(&dead) && states.contains(&expired), "{states:?}");
    rig.check_intents();
    rig.check_folds();
}

#[test]
fn a_key_that_the_venue_may_have_forgotten_is_never_sent_again() {
    for (lost, after) in [
        (true, IntentState::DeadLettered { ambiguous: true }),
        (false, IntentState::Expired(ExpiredBecause::NeverArrived)),
    ] {
        let mut rig = Rig::with(|config, _| config.limits.replay_age_s_max = 30 * 3_600);
        rig.faults = std::iter::repeat_n(Fault::Dropped, 5).collect();
        rig.queries_lost = true;
        rig.want(vec![buy(1, 2)]);
        rig.advance(400_000);
        let (key, sent) = (rig.key(1), rig.sent.len());
        rig.advance(20 * 3_600_000);
        rig.probe();
        rig.queries_lost = lost;
        rig.operator(Operator::Replay { key, replay: 1 });
        rig.live(600_000);
        assert_eq!((rig.sent.len(), rig.placing(1)), (sent, after));
        if lost {
            assert_eq!(rig.intent(1).errors.last().unwrap().failure.code, "key_window");
        }
    }
}

#[test]
fn attempts_are_counted_across_restarts() {
    let mut rig = Rig::new();
    rig.faults = std::iter::repeat_n(Fault::Dropped, 20).collect();
    rig.want(vec![buy(1, 2)]);
    for _ in 0..10 {
        rig.kill(0);
        rig.start();
        rig.run();
    }
    assert_eq!(rig.sent.len(), 5);
    rig.queries_lost = true;
    rig.advance(400_000);
    assert_eq!((rig.sent.len(), rig.placing(1)), (5, IntentState::DeadLettered { ambiguous: true }));
    rig.check_folds();
}

#[test]
fn an_operator_closes_a_dead_letter_and_late_fills_are_still_booked() {
    let mut rig = Rig::new();
    rig.faults = std::iter::repeat_n(Fault::ReplyLost, 5).collect();
    rig.queries_lost = true;
    rig.want(vec![buy(1, 2)]);
    rig.advance(400_000);
    let key = rig.key(1);
    rig.reads_lost = true;
    rig.operator(Operator::Resolve { key, note: "the venue knows nothing".into() });
    assert_eq!((rig.placing(1), rig.is_working(1)), (IntentState::Resolved, false));
    rig.poll();
    assert_eq!((rig.placing(1), rig.position()), (IntentState::Acknowledged, 2));
    rig.check_books();
    rig.check_folds();
}
