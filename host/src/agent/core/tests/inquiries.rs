//! Asking what became of an intent: what is proof, what is not, and that it ends.

use super::answers::QueryFault;
use super::*;
use crate::agent::core::{Event, FailAction, Operator};
use crate::orders::{ExpiredBecause, IntentState, Record, StrategyEvent};
use crate::resilience::Mode;
use std::time::Duration;

const NEVER_ARRIVED: IntentState = IntentState::Expired(ExpiredBecause::NeverArrived);

/// One intent with this fate, and a mode in which nothing is sent.
fn observed(fault: Fault, intent: OrderIntent) -> Rig {
    let mut rig = Rig::new();
    rig.faults = [fault].into();
    rig.want(vec![intent]);
    rig.operator(Operator::Floor(Mode::Observation));
    rig
}

/// All attempts are spent on a venue that never answers one.
fn spent(fault: &Fault) -> Rig {
    let mut rig = Rig::new();
    rig.faults = std::iter::repeat_n(fault.clone(), 5).collect();
    rig.want(vec![buy(1, 2)]);
    while rig.sent.len() < 5 {
        rig.advance(100);
    }
    rig
}

#[test]
fn an_executed_order_is_found_by_asking_when_it_may_not_be_sent_again() {
    let mut rig = observed(Fault::ReplyLost, buy(1, 2));
    rig.advance(5_000);
    assert_eq!((rig.placing(1), rig.position(), rig.sent.len()), (IntentState::Acknowledged, 2, 1));
    assert!(matches!(rig.heard().last(), Some(StrategyEvent::Filled { .. })));
    rig.check_books();
    rig.check_folds();
}

#[test]
fn an_executed_order_is_found_by_asking_when_its_attempts_are_spent() {
    let mut rig = spent(&Fault::ReplyLost);
    rig.advance(1_000);
    assert_eq!((rig.placing(1), rig.position(), rig.letters.len()), (IntentState::Acknowledged, 2, 0));
    rig.check_folds();
}

#[test]
fn two_denials_far_enough_apart_and_after_the_timeout_prove_that_nothing_was_executed() {
    let mut rig = observed(Fault::Dropped, buy(1, 2));
    let sent_at = rig.sent[0].2;
    rig.advance(9_000);
    assert_eq!(rig.placing(1), IntentState::Ambiguous, "the venue may still work on it");
    rig.advance(6_000);
    assert_eq!(rig.placing(1), NEVER_ARRIVED);
    assert!(!rig.intent(1).maybe_executed() && !rig.is_working(1) && !rig.core().has_open_intents());
    assert_eq!(rig.heard().last(), Some(&StrategyEvent::Expired(OrderId(1))));
    let [.., (_, first), (_, second)] = rig.queries[..] else { panic!("{:?}", rig.queries) };
    assert!(first.since(sent_at) > Duration::from_secs(10));
    assert!(second.since(first) >= Duration::from_millis(rig.config.limits.settle_ms));
    assert_eq!((rig.sent.len(), rig.letters.len()), (1, 0));
    rig.check_intents();
    rig.check_folds();
}

#[test]
fn a_venue_whose_reads_lag_is_never_misunderstood() {
    for late_ms in (0..10_000).step_by(250) {
        for lag_ms in [0, 700, 1_999] {
            let late = Duration::from_millis(late_ms + 1);
            let mut rig = observed(Fault::ExecutedLater(late), buy(1, 2));
            rig.venue.lag = Duration::from_millis(lag_ms);
            rig.advance(30_000);
            assert_eq!(rig.placing(1), IntentState::Acknowledged, "{late_ms} {lag_ms}");
            rig.check_books();
        }
    }
}

#[test]
fn questions_without_an_answer_end_and_a_person_has_to_look() {
    let mut rig = observed(Fault::ReplyLost, buy(1, 2));
    rig.queries_lost = true;
    rig.advance(290_000);
    assert_eq!(rig.placing(1), IntentState::DeadLettered { ambiguous: true });
    assert_eq!(rig.queries.len(), rig.config.limits.queries_max as usize);
    assert!(rig.is_working(1), "its fills may still come");
    rig.operator(Operator::Floor(Mode::Full));
    rig.live(200_000);
    assert_eq!(rig.core().mode(), Mode::Full, "the venue told what became of it");
    rig.check_books();
    rig.check_folds();
}

#[test]
fn an_unresolved_dead_letter_keeps_the_agent_read_only() {
    let mut rig = observed(Fault::Dropped, buy(1, 2));
    rig.queries_lost = true;
    rig.advance(290_000);
    rig.operator(Operator::Floor(Mode::Full));
    rig.live(200_000);
    assert_eq!(rig.core().mode(), Mode::ReadOnly);
    let key = rig.key(1);
    rig.operator(Operator::Resolve { key, note: "the venue has no such order".into() });
    rig.live(100_000);
    assert_eq!(rig.core().mode(), Mode::Full);
    rig.check_folds();
}

#[test]
fn a_denial_before_another_attempt_does_not_count() {
    let mut rig = Rig::with(|config, _| config.limits.settle_ms = 200_000);
    rig.faults = [Fault::Dropped, Fault::Dropped].into();
    rig.want(vec![buy(1, 2)]);
    rig.operator(Operator::Floor(Mode::Observation));
    rig.live(30_000);
    assert_eq!(rig.placing(1), IntentState::Ambiguous);
    rig.operator(Operator::Floor(Mode::Full));
    while rig.sent.len() < 2 {
        rig.live(10_000);
    }
    rig.operator(Operator::Floor(Mode::Observation));
    let sent_at = rig.sent[1].2;
    rig.live(280_000);
    assert_eq!((rig.placing(1), rig.sent.len()), (NEVER_ARRIVED, 2));
    let after: Vec<_> =
        rig.queries.iter().filter(|(_, at)| at.since(sent_at) > Duration::from_secs(10)).collect();
    assert!(after.len() >= 2 && after[after.len() - 1].1.since(after[0].1) >= Duration::from_secs(200));
    rig.check_folds();
}

#[test]
fn nothing_is_sent_while_a_question_is_under_way() {
    let mut rig = observed(Fault::Dropped, buy(1, 2));
    rig.query_faults = [QueryFault::Slow(Duration::from_secs(290))].into();
    rig.live(5_000);
    rig.operator(Operator::Floor(Mode::Full));
    rig.live(200_000);
    assert_eq!((rig.core().mode(), rig.sent.len(), rig.queries.len()), (Mode::Full, 1, 1));
    rig.check_folds();
}

#[test]
fn an_answer_counts_only_when_it_is_durable() {
    let mut rig = observed(Fault::ReplyLost, buy(1, 2));
    rig.hold_acks = true;
    rig.advance(5_000);
    assert_eq!((rig.queries.len(), rig.placing(1), rig.position()), (1, IntentState::Ambiguous, 0));
    rig.hold_acks = false;
    rig.ack();
    rig.run();
    assert_eq!((rig.placing(1), rig.position()), (IntentState::Acknowledged, 2));
    rig.check_folds();
}

#[test]
fn news_that_is_being_written_is_waited_for_before_a_denial_counts() {
    let mut rig = observed(Fault::ExecutedLater(Duration::from_secs(30)), buy(1, 2));
    rig.query_faults = std::iter::repeat_n(QueryFault::Lost, 3).collect();
    while rig.records().filter(|record| matches!(record, Record::Queried { .. })).count() < 4 {
        rig.advance(500);
    }
    let denied = rig.placing(1) == IntentState::Ambiguous;
    // The venue breaks its promise and executes it after all, between the second denial and its record.
    rig.hold_acks = true;
    rig.advance(2_500);
    let request = rig.sent[0].0.clone();
    let _ = rig.venue.receive(&request, false);
    rig.poll();
    rig.hold_acks = false;
    rig.ack();
    rig.run();
    assert!(denied && rig.placing(1) == IntentState::Acknowledged, "{:?}", rig.placing(1));
    rig.check_folds();
}

#[test]
fn a_question_under_way_when_the_host_dies_is_asked_again() {
    let mut rig = Rig::new();
    rig.faults = std::iter::repeat_n(Fault::ReplyLost, 5).collect();
    rig.query_faults = [QueryFault::Slow(Duration::from_secs(5))].into();
    rig.want(vec![buy(1, 2)]);
    while rig.queries.is_empty() {
        rig.advance(100);
    }
    rig.kill(0);
    rig.start();
    rig.run();
    assert_eq!((rig.placing(1), rig.sent.len(), rig.queries.len()), (IntentState::Acknowledged, 5, 2));
    rig.check_books();
}

#[test]
fn a_denial_is_not_carried_over_a_death_of_the_host() {
    let mut rig = observed(Fault::Dropped, buy(1, 2));
    rig.advance(11_000);
    rig.kill(0);
    rig.start();
    rig.operator(Operator::Floor(Mode::Observation));
    let asked = rig.queries.len();
    rig.advance(9_000);
    assert_eq!(rig.placing(1), IntentState::Ambiguous);
    rig.live(20_000);
    assert!(rig.queries.len() >= asked + 2);
    assert_eq!(rig.placing(1), NEVER_ARRIVED);
    rig.check_folds();
}

#[test]
fn an_order_that_shows_up_after_it_was_denied_twice_is_open_again() {
    let mut rig = observed(Fault::ExecutedLater(Duration::from_secs(40)), bid(1, 2, 95));
    rig.advance(20_000);
    assert_eq!((rig.placing(1), rig.is_working(1)), (NEVER_ARRIVED, false));
    rig.advance(30_000);
    rig.poll();
    assert_eq!((rig.placing(1), rig.is_working(1)), (IntentState::Acknowledged, true));
    assert!(rig.alerts.iter().any(|code| code == "denial_refuted"));
    rig.check_folds();
    rig.operator(Operator::Floor(Mode::ReadOnly));
    rig.live(200_000);
    rig.want(vec![OrderIntent::Cancel(OrderId(1))]);
    assert!(rig.venue.resting().is_empty() && !rig.is_working(1));
    rig.check_folds();
}

#[test]
fn a_halted_agent_finds_out_by_asking_and_closes_what_it_holds() {
    for (fault, within_ms) in [(Fault::ReplyLost, 10_000), (Fault::Dropped, 20_000)] {
        let mut rig = Rig::with(|config, _| config.on_halt = FailAction::Flatten);
        rig.want(vec![buy(1, 3)]);
        rig.faults = [fault.clone()].into();
        rig.want(vec![buy(2, 4)]);
        rig.tick_with(Step::trap());
        rig.live(within_ms);
        assert_eq!((rig.venue.position, rig.core().has_open_intents()), (0, false), "{fault:?}");
        rig.check_books();
        rig.check_folds();
    }
}

#[test]
fn a_shutdown_ends_as_soon_as_the_venue_has_said_what_became_of_an_order() {
    let mut rig = observed(Fault::ReplyLost, bid(1, 3, 95));
    rig.operator(Operator::Floor(Mode::Shutdown));
    rig.advance(10_000);
    assert!(rig.stopped && rig.venue.resting().is_empty());
    assert!(!rig.alerts.iter().any(|code| code == "stopped_with_open_intents"));
}

#[test]
fn a_cancel_that_may_have_been_executed_is_settled_by_the_state_of_its_order() {
    for (fault, works) in [(Fault::ReplyLost, false), (Fault::Dropped, true)] {
        let mut rig = Rig::new();
        rig.want(vec![bid(1, 2, 95)]);
        rig.faults = [fault].into();
        rig.want(vec![OrderIntent::Cancel(OrderId(1))]);
        rig.operator(Operator::Floor(Mode::Observation));
        rig.advance(20_000);
        assert_eq!((rig.is_working(1), rig.core().has_open_intents(), rig.sent.len()), (works, false, 2));
        let cancelled = rig.heard().contains(&StrategyEvent::Cancelled(OrderId(1)));
        assert_eq!(cancelled, !works);
        rig.check_intents();
        rig.check_folds();
    }
}

#[test]
fn a_change_that_may_have_been_executed_is_settled_by_the_terms_of_its_order() {
    for (fault, lots) in [(Fault::ReplyLost, 3), (Fault::Dropped, 5)] {
        let mut rig = Rig::new();
        rig.want(vec![bid(1, 5, 95)]);
        rig.faults = [fault].into();
        let change = crate::orders::AmendOrder { id: OrderId(1), quantity: Lots(3), limit: None };
        rig.want(vec![OrderIntent::Amend(change)]);
        rig.operator(Operator::Floor(Mode::Observation));
        rig.advance(20_000);
        assert!(!rig.core().has_open_intents());
        assert_eq!(rig.core().books().working()[&OrderId(1)].leaves, Lots(lots));
        rig.check_intents();
        rig.check_folds();
    }
}

#[test]
fn an_answer_to_a_question_that_nobody_asked_is_ignored() {
    let mut rig = observed(Fault::Dropped, buy(1, 2));
    let key = rig.key(1);
    let records = rig.journal.len();
    let outcome = crate::venue::Outcome::Unknown;
    let reply = crate::venue::Reply { outcome, latency: Duration::ZERO, retry_after: None };
    rig.step(Event::Queried { key, number: 77, reply });
    rig.run();
    assert_eq!(rig.journal.len(), records);
}
