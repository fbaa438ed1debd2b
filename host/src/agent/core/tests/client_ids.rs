//! Venues that execute the same key twice and can be asked about it: nothing in doubt is sent again without
//! a proof.

use super::answers::QueryFault;
use super::venue::Kind;
use super::*;
use crate::agent::core::Operator;
use crate::orders::{AmendOrder, ExpiredBecause, IntentState, Proof, Record, StrategyEvent};
use crate::resilience::Mode;
use std::time::Duration;

const WITH_IDS: [Kind; 2] = [Kind::ClientIds, Kind::OpenIds];

fn rig(kind: Kind, faults: impl IntoIterator<Item = Fault>) -> Rig {
    let mut rig = Rig::at(kind, |_, _| {});
    rig.faults = faults.into_iter().collect();
    rig
}

fn denials(rig: &Rig) -> usize {
    let denied = |record: &&Record| matches!(record, Record::Denied { proof: Proof::DeniedTwice, .. });
    rig.records().filter(denied).count()
}

#[test]
fn an_order_in_doubt_is_asked_about_and_found() {
    for kind in WITH_IDS {
        let mut rig = rig(kind, [Fault::ReplyLost]);
        rig.want(vec![buy(1, 2)]);
        rig.advance(5_000);
        assert_eq!((rig.placing(1), rig.sent.len(), rig.position()), (IntentState::Acknowledged, 1, 2));
        rig.check_intents();
        rig.check_folds();
    }
}

#[test]
fn an_order_that_was_denied_twice_is_sent_again_under_the_same_key() {
    for kind in WITH_IDS {
        let mut rig = rig(kind, [Fault::Dropped]);
        rig.want(vec![buy(1, 2)]);
        rig.advance(10_000);
        assert_eq!((rig.placing(1), rig.sent.len(), denials(&rig)), (IntentState::Ambiguous, 1, 0));
        rig.advance(20_000);
        assert_eq!((rig.placing(1), rig.sent.len(), denials(&rig)), (IntentState::Acknowledged, 2, 1));
        assert_eq!((rig.venue.executed(&rig.key(1)), rig.position()), (1, 2));
        assert_eq!(rig.sent[0].0, rig.sent[1].0);
        let [(_, first), (_, second)] = rig.queries[rig.queries.len() - 2..] else { panic!() };
        assert!(first.since(rig.sent[0].2) > Duration::from_secs(10), "the request may be on its way");
        assert!(second.since(first) >= Duration::from_millis(rig.config.limits.settle_ms));
        let codes: Vec<_> = rig.intent(1).errors.iter().map(|error| error.failure.code.clone()).collect();
        assert_eq!(codes, ["timeout", "denied"], "the evidence stays");
        rig.check_folds();
    }
}

#[test]
fn an_order_that_arrives_just_in_time_or_is_read_late_is_never_executed_twice() {
    for kind in WITH_IDS {
        for late_ms in (0..10_000).step_by(500) {
            let mut rig = rig(kind, [Fault::ExecutedLater(Duration::from_millis(late_ms + 1))]);
            rig.venue.lag = Duration::from_millis(1_999);
            rig.want(vec![buy(1, 2)]);
            rig.advance(40_000);
            assert_eq!((rig.placing(1), rig.sent.len()), (IntentState::Acknowledged, 1), "{late_ms}");
            rig.check_books();
        }
    }
}

#[test]
fn a_denied_order_that_has_no_time_or_no_attempt_left_expires_as_never_arrived() {
    let never_arrived = IntentState::Expired(ExpiredBecause::NeverArrived);
    for kind in WITH_IDS {
        for (attempts, deadline_ms, sends) in [(2, 300_000, 2), (5, 13_000, 1)] {
            let mut rig = Rig::at(kind, |config, _| {
                config.retry.attempts_max = attempts.try_into().unwrap();
                config.retry.deadline_ms = deadline_ms;
            });
            rig.faults = std::iter::repeat_n(Fault::Dropped, 5).collect();
            rig.want(vec![buy(1, 2)]);
            rig.live(100_000);
            assert_eq!((rig.placing(1), rig.sent.len()), (never_arrived.clone(), sends));
            assert_eq!(rig.heard().last(), Some(&StrategyEvent::Expired(OrderId(1))));
            assert!(!rig.is_working(1) && rig.letters.is_empty());
            rig.check_folds();
        }
    }
}

#[test]
fn a_denied_order_that_the_mode_holds_back_expires_as_never_arrived() {
    let mut rig = rig(Kind::ClientIds, [Fault::Dropped]);
    rig.want(vec![buy(1, 2)]);
    rig.operator(Operator::Floor(Mode::Observation));
    rig.advance(100_000);
    assert_eq!((rig.placing(1), denials(&rig)), (IntentState::Intended, 1));
    rig.advance(250_000);
    assert_eq!(rig.placing(1), IntentState::Expired(ExpiredBecause::NeverArrived));
    assert_eq!((rig.sent.len(), rig.letters.len()), (1, 0));
    rig.check_folds();
}

#[test]
fn a_denied_order_that_the_strategy_took_back_is_open_again_when_it_turns_up() {
    for kind in WITH_IDS {
        let mut rig = rig(kind, [Fault::ExecutedLater(Duration::from_secs(200))]);
        rig.want(vec![bid(1, 2, 95)]);
        rig.operator(Operator::Floor(Mode::ReadOnly));
        // Ticks go on: without them the agent would only observe, and suppress the cancel.
        for _ in 0..4 {
            rig.tick();
            rig.advance(25_000);
        }
        assert_eq!((rig.placing(1), denials(&rig)), (IntentState::Intended, 1));
        rig.want(vec![OrderIntent::Cancel(OrderId(1))]);
        rig.advance(1_000);
        assert_eq!(rig.placing(1), IntentState::Expired(ExpiredBecause::NeverArrived));
        rig.advance(150_000);
        rig.poll();
        assert!(rig.is_working(1), "it rests at the venue: {:?}", rig.placing(1));
        assert!(rig.alerts.iter().any(|code| code == "denial_refuted"), "{:?}", rig.alerts);
        rig.check_folds();
    }
}

#[test]
fn questions_without_an_answer_end_with_a_letter_and_one_attempt() {
    for kind in WITH_IDS {
        let mut rig = rig(kind, [Fault::ReplyLost]);
        rig.queries_lost = true;
        rig.want(vec![buy(1, 2)]);
        rig.advance(400_000);
        assert_eq!(rig.placing(1), IntentState::DeadLettered { ambiguous: true });
        assert_eq!((rig.sent.len(), rig.intent(1).errors[0].failure.code.as_ref()), (1, "reset"));
        // The venue reports by itself what became of it.
        rig.poll();
        assert_eq!((rig.placing(1), rig.position()), (IntentState::Acknowledged, 2));
    }
}

#[test]
fn a_replay_of_an_order_in_doubt_asks_before_it_sends() {
    for (fault, executed_before) in [(Fault::ReplyLost, true), (Fault::Dropped, false)] {
        let mut rig = rig(Kind::ClientIds, [fault]);
        rig.queries_lost = true;
        rig.want(vec![buy(1, 2)]);
        rig.advance(400_000);
        rig.probe();
        rig.queries_lost = false;
        let key = rig.key(1);
        rig.operator(Operator::Replay { key, replay: 1 });
        rig.live(250_000);
        let sends = if executed_before { 1 } else { 2 };
        assert_eq!((rig.placing(1), rig.sent.len(), rig.position()), (IntentState::Acknowledged, sends, 2));
        rig.check_folds();
    }
}

#[test]
fn the_host_dies_between_a_denial_and_the_next_attempt() {
    for kept in [0, 1, usize::MAX] {
        let mut rig = rig(Kind::OpenIds, [Fault::Dropped]);
        rig.want(vec![bid(1, 2, 95)]);
        while denials(&rig) == 0 && rig.sent.len() < 2 {
            rig.hold_acks = rig.queries.len() >= 2;
            rig.advance(100);
            if rig.hold_acks {
                rig.ack();
            }
        }
        rig.kill(kept);
        rig.hold_acks = false;
        rig.start();
        rig.heal();
        assert_eq!((rig.placing(1), rig.venue.executed(&rig.key(1))), (IntentState::Acknowledged, 1));
        rig.check_intents();
        rig.check_folds();
    }
}

#[test]
fn an_attempt_cut_off_by_a_death_is_asked_about() {
    let mut rig = rig(Kind::ClientIds, [Fault::Slow(Duration::from_secs(5))]);
    rig.want(vec![buy(1, 2)]);
    rig.kill(0);
    rig.start();
    rig.run();
    assert_eq!((rig.placing(1), rig.sent.len(), rig.position()), (IntentState::Acknowledged, 1, 2));
    rig.check_books();
}

#[test]
fn a_cancel_in_doubt_is_repeated_only_when_the_order_still_works() {
    for (fault, sends) in [(Fault::ReplyLost, 2), (Fault::Dropped, 3)] {
        let mut rig = rig(Kind::ClientIds, []);
        rig.want(vec![bid(1, 2, 95)]);
        rig.faults = [fault].into();
        rig.want(vec![OrderIntent::Cancel(OrderId(1))]);
        rig.advance(40_000);
        assert_eq!((rig.sent.len(), rig.is_working(1)), (sends, false));
        assert!(rig.heard().contains(&StrategyEvent::Cancelled(OrderId(1))));
        rig.check_intents();
        rig.check_folds();
    }
}

#[test]
fn a_change_in_doubt_is_repeated_only_when_the_order_has_its_old_terms() {
    for (fault, sends) in [(Fault::ReplyLost, 2), (Fault::Dropped, 3)] {
        let mut rig = rig(Kind::ClientIds, []);
        rig.want(vec![bid(1, 5, 95)]);
        rig.faults = [fault].into();
        let change = AmendOrder { id: OrderId(1), quantity: Lots(3), limit: None };
        rig.want(vec![OrderIntent::Amend(change)]);
        rig.advance(40_000);
        assert_eq!(rig.core().books().working()[&OrderId(1)].leaves, Lots(3));
        assert_eq!(rig.sent.len(), sends);
        rig.check_folds();
    }
}

#[test]
fn an_id_that_an_open_order_has_is_asked_about() {
    // Something in between delivers the order twice, and the answer to the second comes back.
    let mut rig = rig(Kind::OpenIds, [Fault::Duplicated]);
    rig.want(vec![bid(1, 2, 95)]);
    assert_eq!(rig.placing(1), IntentState::Ambiguous);
    rig.advance(5_000);
    assert_eq!((rig.placing(1), rig.is_working(1), rig.sent.len()), (IntentState::Acknowledged, true, 1));
    let rejected = rig.heard().iter().any(|event| matches!(event, StrategyEvent::Rejected { .. }));
    assert!(!rejected);
    rig.check_folds();
}

#[test]
fn an_order_that_shows_up_after_its_denial_and_before_the_next_attempt_is_adopted_and_told() {
    let mut rig = rig(Kind::ClientIds, [Fault::ExecutedLater(Duration::from_secs(40))]);
    rig.want(vec![buy(1, 2)]);
    rig.operator(Operator::Floor(Mode::Observation));
    rig.advance(50_000);
    assert_eq!((rig.placing(1), denials(&rig)), (IntentState::Intended, 1));
    rig.poll();
    assert_eq!((rig.placing(1), rig.position()), (IntentState::Acknowledged, 2));
    assert!(rig.alerts.iter().any(|code| code == "denial_refuted"));
    rig.operator(Operator::Floor(Mode::Full));
    rig.live(100_000);
    assert_eq!(rig.sent.len(), 1);
    rig.check_books();
    rig.check_folds();
}

#[test]
fn slow_answers_hold_the_next_attempt_back() {
    let mut rig = rig(Kind::ClientIds, [Fault::Dropped]);
    rig.query_faults = [QueryFault::Slow(Duration::from_secs(100))].into();
    rig.want(vec![buy(1, 2)]);
    rig.live(90_000);
    assert_eq!((rig.sent.len(), rig.queries.len()), (1, 1));
    rig.live(60_000);
    assert_eq!((rig.sent.len(), rig.position()), (2, 2));
}
