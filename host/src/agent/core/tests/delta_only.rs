//! A venue that knows no ids: one order of an instrument at a time, from a baseline until the account or an
//! operator has said what became of it.

use super::answers::QueryFault;
use super::delta::Reads;
use super::venue::Kind;
use super::*;
use crate::agent::core::{FailAction, Letter, Operator};
use crate::market::MonoNanos;
use crate::orders::{ExpiredBecause, IntentState, Record, RejectReason, StrategyEvent, Verdict};
use std::time::Duration;

const UNKNOWN: IntentState = IntentState::DeadLettered { ambiguous: true };

fn rig(faults: impl IntoIterator<Item = Fault>) -> Rig {
    let mut rig = Rig::at(Kind::NoIds, |_, _| {});
    rig.faults = faults.into_iter().collect();
    rig
}

/// Order 1 was sent with this fate, and the questions about it are spent.
fn unknown(fault: Fault) -> Rig {
    let mut rig = rig([fault]);
    rig.queries_lost = true;
    rig.want(vec![buy(1, 2)]);
    rig.live(400_000);
    assert_eq!(rig.placing(1), UNKNOWN);
    rig.queries_lost = false;
    rig
}

fn baseline_of(rig: &Rig, id: u64) -> crate::venue::Baseline {
    let key = rig.key(id);
    let about = |record: &Record| match record {
        Record::Submitting { key: of, baseline, .. } if *of == key => baseline.clone(),
        _ => None,
    };
    rig.records().rev().find_map(about).unwrap()
}

fn notes(rig: &Rig) -> Vec<&str> {
    let note = |letter: &'_ Letter| matches!(letter, Letter::Resolved { .. });
    let letters = rig.letters.iter().filter(|letter| note(letter));
    letters
        .map(|letter| if let Letter::Resolved { note, .. } = letter { note.as_str() } else { "" })
        .collect()
}

#[test]
fn a_fill_that_the_venue_has_no_record_of_is_booked_and_told_to_a_person() {
    for (forgets_ids, told) in [(false, 0), (true, 1)] {
        let mut rig = rig([]);
        rig.venue.forgets_ids = forgets_ids;
        rig.want(vec![buy(1, 2)]);
        assert_eq!(rig.position(), 2);
        assert_eq!(rig.alerts.iter().filter(|code| *code == "fill_unrecorded").count(), told);
    }
}

#[test]
fn an_order_is_sent_with_what_the_account_showed_before_it() {
    let mut rig = rig([]);
    rig.want(vec![buy(1, 2)]);
    rig.want(vec![buy(2, 3)]);
    assert_eq!((rig.position(), rig.baselines.len()), (5, 2));
    assert_eq!(baseline_of(&rig, 1).position, Lots(0));
    let second = baseline_of(&rig, 2);
    assert_eq!((second.position, second.newest_trades[0].id.as_str()), (Lots(2), "1"));
    rig.check_books();
    rig.check_folds();
}

#[test]
fn orders_of_one_instrument_go_one_after_the_other() {
    let mut rig = rig([Fault::Slow(Duration::from_secs(5))]);
    rig.want(vec![buy(1, 2), buy(2, 3), sell(3, 1)]);
    assert_eq!((rig.sent.len(), rig.baselines.len()), (1, 1));
    rig.advance(4_000);
    assert_eq!((rig.sent.len(), rig.baselines.len()), (1, 1), "the others wait, and are not prepared either");
    rig.advance(5_000);
    assert_eq!((rig.sent.len(), rig.position()), (3, 4));
    assert_eq!(baseline_of(&rig, 3).position, Lots(5), "the last baseline is that of after the second");
    rig.check_books();
}

#[test]
fn those_that_wait_for_an_unknown_order_expire_unsent_at_their_own_deadline() {
    let mut rig = rig([Fault::Dropped]);
    rig.queries_lost = true;
    rig.want(vec![buy(1, 2), buy(2, 3)]);
    rig.advance(310_000);
    assert_eq!(rig.placing(1), UNKNOWN);
    assert_eq!(rig.placing(2), IntentState::Expired(ExpiredBecause::Deadline));
    assert_eq!(rig.sent.len(), 1);
    rig.check_folds();
}

#[test]
fn a_cancel_of_another_order_does_not_wait_and_one_of_the_unknown_order_does() {
    let mut rig = rig([]);
    rig.want(vec![bid(1, 2, 95)]);
    rig.faults = [Fault::Dropped].into();
    rig.want(vec![bid(2, 3, 94)]);
    rig.want(vec![OrderIntent::Cancel(OrderId(1)), OrderIntent::Cancel(OrderId(2))]);
    assert!(!rig.is_working(1) && rig.is_working(2), "order 1 was cancelled at once");
    assert_eq!(rig.sent.len(), 3);
    rig.advance(200_000);
    assert_eq!((rig.placing(2), rig.sent.len()), (UNKNOWN, 3));
    rig.check_folds();
}

#[test]
fn an_account_that_cannot_be_read_holds_the_order_back_until_its_deadline() {
    let mut rig = rig([]);
    rig.baselines_lost = true;
    rig.want(vec![buy(1, 2)]);
    rig.live(310_000);
    assert_eq!(rig.placing(1), IntentState::Expired(ExpiredBecause::Deadline));
    assert!(rig.baselines.len() > 5 && rig.sent.is_empty() && !rig.is_working(1));
    let pauses: Vec<_> = rig.baselines.windows(2).map(|pair| pair[1].1.since(pair[0].1)).collect();
    assert!(pauses.iter().any(|pause| *pause > Duration::from_secs(5)), "{pauses:?}");
    assert!(rig.alerts.iter().any(|code| code == "baseline_unread"));
    rig.check_folds();
}

#[test]
fn an_account_that_contradicts_itself_is_read_again() {
    for reads in [Reads::Disagreeing, Reads::NoPositions] {
        let mut rig = rig([]);
        rig.want(vec![buy(1, 2)]);
        rig.baseline_faults = [QueryFault::Shown(reads)].into();
        rig.want(vec![buy(2, 3)]);
        assert_eq!(rig.sent.len(), 1, "{reads:?}");
        rig.advance(5_000);
        assert_eq!((rig.position(), baseline_of(&rig, 2).position), (5, Lots(2)));
    }
}

#[test]
fn a_baseline_that_news_has_overtaken_is_read_anew() {
    let mut rig = rig([]);
    rig.want(vec![bid(1, 2, 95)]);
    rig.baseline_faults = [QueryFault::Slow(Duration::from_secs(2))].into();
    rig.want(vec![buy(2, 3)]);
    rig.advance(1_000);
    rig.venue.fill(rig.key(1), 2, 95);
    rig.poll();
    rig.advance(5_000);
    assert_eq!((rig.baselines.len(), baseline_of(&rig, 2).position), (3, Lots(2)));
    rig.check_books();
}

#[test]
fn a_baseline_that_news_overtakes_while_the_attempt_is_written_is_not_used() {
    let mut rig = rig([]);
    rig.want(vec![bid(1, 2, 95)]);
    rig.hold_acks = true;
    rig.want(vec![buy(2, 3)]);
    rig.venue.fill(rig.key(1), 2, 95);
    rig.poll();
    // The news becomes durable after the attempt's record was written and before it is.
    while rig.sent.len() == 1 && !rig.unsynced.is_empty() {
        rig.ack();
        rig.run();
    }
    rig.hold_acks = false;
    rig.ack();
    rig.run();
    rig.advance(5_000);
    assert_eq!((rig.position(), baseline_of(&rig, 2).position), (5, Lots(2)));
    rig.check_books();
    rig.check_folds();
}

#[test]
fn a_baseline_that_a_cancel_has_overtaken_is_read_anew() {
    let mut rig = rig([]);
    rig.want(vec![bid(1, 2, 95)]);
    rig.baseline_faults = [QueryFault::Slow(Duration::from_secs(2))].into();
    rig.want(vec![buy(2, 3)]);
    rig.want(vec![OrderIntent::Cancel(OrderId(1))]);
    rig.advance(5_000);
    assert_eq!((rig.baselines.len() > 2, rig.position()), (true, 3));
}

#[test]
fn a_baseline_that_waited_too_long_for_the_breaker_is_read_anew() {
    let mut rig = Rig::at(Kind::NoIds, |config, gate| {
        config.degradation.dwell_ms = 1;
        gate.write.failures_in_row = 1.try_into().unwrap();
    });
    rig.faults = [Fault::NotSent].into();
    rig.want(vec![buy(1, 2)]);
    let sent_at = |rig: &Rig| rig.sent.last().map_or(MonoNanos(0), |sent| sent.2);
    for _ in 0..20 {
        rig.live(10_000);
    }
    let last_read = rig.baselines.last().unwrap().1;
    assert_eq!(rig.position(), 2);
    assert!(sent_at(&rig).since(last_read) <= Duration::from_secs(10), "a fresh baseline");
}

#[test]
fn an_attempt_that_was_not_sent_is_tried_again_with_a_new_baseline() {
    let mut rig = rig([Fault::NotSent]);
    rig.want(vec![buy(1, 2)]);
    rig.advance(5_000);
    assert_eq!((rig.sent.len(), rig.baselines.len(), rig.position()), (2, 2, 2));
    assert_eq!(rig.queries.len(), 0);
    rig.check_folds();
}

#[test]
fn an_executed_order_is_found_by_what_the_account_shows() {
    let mut rig = rig([Fault::ReplyLost]);
    rig.want(vec![buy(1, 2)]);
    rig.advance(5_000);
    assert_eq!((rig.placing(1), rig.sent.len(), rig.position()), (IntentState::Acknowledged, 1, 2));
    rig.check_books();
    rig.check_folds();
}

#[test]
fn reads_that_disagree_prove_nothing_and_neither_does_a_missing_position() {
    for reads in [Reads::Disagreeing, Reads::NoPositions] {
        let mut rig = rig([]);
        rig.want(vec![buy(1, 2)]);
        rig.faults = [Fault::ReplyLost].into();
        rig.query_faults = std::iter::repeat_n(QueryFault::Shown(reads), 3).collect();
        rig.want(vec![buy(2, 2)]);
        while rig.queries.len() < 3 {
            rig.advance(100);
        }
        assert_eq!(rig.placing(2), IntentState::Ambiguous, "{reads:?}");
        rig.advance(30_000);
        assert_eq!((rig.placing(2), rig.position()), (IntentState::Acknowledged, 4));
        rig.check_books();
    }
}

#[test]
fn silence_is_never_proof_and_ends_with_a_letter() {
    let mut rig = rig([Fault::Dropped]);
    rig.want(vec![buy(1, 2)]);
    rig.advance(400_000);
    assert_eq!((rig.placing(1), rig.sent.len()), (UNKNOWN, 1));
    let journaled = rig.records().filter(|record| matches!(record, Record::Queried { .. })).count();
    assert_eq!(journaled, rig.config.limits.queries_max as usize, "the watch after it is not journaled");
    assert!(rig.queries.len() > journaled && rig.is_working(1), "it is still looked for");
    rig.check_folds();
}

#[test]
fn an_order_that_executes_minutes_later_is_adopted_and_unlocks_its_instrument() {
    let mut rig = rig([Fault::ExecutedLater(Duration::from_secs(600))]);
    rig.want(vec![buy(1, 2)]);
    rig.live(590_000);
    assert_eq!(rig.placing(1), UNKNOWN);
    rig.live(50_000);
    assert_eq!((rig.placing(1), rig.position(), rig.sent.len()), (IntentState::Acknowledged, 2, 1));
    assert_eq!(notes(&rig), ["the venue has executed it"]);
    rig.live(200_000);
    rig.want(vec![buy(2, 3)]);
    assert_eq!(rig.position(), 5);
    rig.check_books();
    rig.check_folds();
}

#[test]
fn a_letter_is_watched_after_a_restart_too() {
    let mut rig = unknown(Fault::ExecutedLater(Duration::from_secs(900)));
    rig.kill(0);
    rig.start();
    rig.live(650_000);
    assert_eq!((rig.placing(1), rig.position()), (IntentState::Acknowledged, 2));
    rig.check_books();
    rig.check_folds();
}

#[test]
fn a_restart_looks_at_once_and_not_after_the_pause() {
    let mut rig = unknown(Fault::ReplyLost);
    rig.kill(0);
    rig.start();
    rig.advance(100);
    assert_eq!((rig.placing(1), rig.position()), (IntentState::Acknowledged, 2));
    rig.check_books();
}

#[test]
fn the_pause_between_two_looks_is_configured() {
    let mut rig = unknown(Fault::Dropped);
    let before = rig.queries.len();
    rig.advance(300_000);
    assert_eq!(rig.queries.len() - before, 10);
}

#[test]
fn new_orders_of_a_locked_instrument_are_refused_with_a_stable_code() {
    let mut rig = rig([]);
    rig.want(vec![buy(9, 5)]);
    rig.faults = [Fault::Dropped].into();
    rig.queries_lost = true;
    rig.want(vec![buy(1, 2)]);
    rig.live(400_000);
    assert_eq!(rig.placing(1), UNKNOWN);
    rig.want(vec![sell(2, 1)]);
    let Some(Verdict::Refused { code, reason, .. }) = rig.verdicts().pop() else { panic!() };
    assert_eq!((code.as_str(), reason), ("INSTRUMENT_LOCKED", RejectReason::Risk));
    let told = rig.heard().into_iter().any(|event| {
        matches!(event, StrategyEvent::Rejected { order: OrderId(2), detail, .. }
            if detail.starts_with("INSTRUMENT_LOCKED: ") && detail.contains("X is locked"))
    });
    assert!(told);
}

#[test]
fn an_operator_unlocks_by_resolving() {
    let mut rig = unknown(Fault::Dropped);
    let key = rig.key(1);
    rig.operator(Operator::Resolve { key, note: "the account shows no trace of it".into() });
    rig.live(200_000);
    rig.want(vec![buy(2, 3)]);
    assert_eq!((rig.sent.len(), rig.position()), (2, 3));
    rig.check_books();
    rig.check_folds();
}

#[test]
fn a_replay_looks_once_more_and_adopts_what_it_finds() {
    let mut rig = unknown(Fault::ReplyLost);
    let key = rig.key(1);
    let asked = rig.queries.len();
    rig.tick();
    rig.operator(Operator::Replay { key, replay: 1 });
    assert_eq!((rig.placing(1), rig.position()), (IntentState::Acknowledged, 2));
    assert_eq!((rig.sent.len(), rig.queries.len()), (1, asked + 1));
    assert_eq!(notes(&rig), ["replay 1: the venue has executed it"]);
    rig.check_folds();
}

#[test]
fn a_replay_of_what_left_no_trace_is_sent_once_under_a_new_baseline() {
    let mut rig = unknown(Fault::Dropped);
    let key = rig.key(1);
    let (asked, read) = (rig.queries.len(), rig.baselines.len());
    rig.operator(Operator::Replay { key, replay: 1 });
    rig.live(250_000);
    assert_eq!((rig.placing(1), rig.position()), (IntentState::Acknowledged, 2));
    assert_eq!((rig.sent.len(), rig.queries.len()), (2, asked + 1));
    assert_eq!(rig.baselines.len(), read + 1);
    rig.check_books();
    rig.check_folds();
}

#[test]
fn a_replay_that_ends_in_doubt_again_is_a_letter_again_and_not_sent_a_third_time() {
    let mut rig = unknown(Fault::Dropped);
    let key = rig.key(1);
    rig.faults = [Fault::Dropped].into();
    rig.operator(Operator::Replay { key, replay: 1 });
    rig.live(600_000);
    assert_eq!((rig.placing(1), rig.sent.len()), (UNKNOWN, 2));
    rig.check_folds();
}

#[test]
fn a_replay_that_is_refused_or_not_sent_says_nothing_about_the_first_attempt() {
    for fault in [Fault::Refused, Fault::NotSent] {
        let mut rig = unknown(Fault::ExecutedLater(Duration::from_secs(3_000)));
        let key = rig.key(1);
        rig.faults = [fault].into();
        rig.operator(Operator::Replay { key, replay: 1 });
        rig.live(600_000);
        assert_eq!((rig.placing(1), rig.sent.len()), (UNKNOWN, 2));
        rig.live(3_000_000);
        assert_eq!((rig.placing(1), rig.position()), (IntentState::Acknowledged, 2));
        rig.check_books();
        rig.check_folds();
    }
}

#[test]
fn a_replay_that_cannot_be_read_for_is_a_letter_again() {
    let mut rig = unknown(Fault::Dropped);
    let key = rig.key(1);
    rig.queries_lost = true;
    rig.operator(Operator::Replay { key, replay: 1 });
    rig.advance(600_000);
    assert_eq!((rig.placing(1), rig.sent.len()), (UNKNOWN, 1));
}

#[test]
fn a_death_after_the_attempt_was_written_asks_with_the_baseline_of_then() {
    for (fault, state) in [(Fault::ReplyLost, IntentState::Acknowledged), (Fault::Dropped, UNKNOWN)] {
        let mut rig = rig([]);
        rig.want(vec![buy(9, 5)]);
        rig.faults = [fault].into();
        rig.want(vec![buy(1, 2)]);
        rig.kill(0);
        rig.start();
        rig.advance(200_000);
        assert_eq!((rig.placing(1), rig.sent.len()), (state, 2));
        assert_eq!(rig.intent(1).baseline.as_ref().unwrap().position, Lots(5));
        rig.check_folds();
    }
}

#[test]
fn a_death_before_the_attempt_was_written_reads_the_account_anew_and_sends_once() {
    let mut rig = rig([]);
    rig.baseline_faults = [QueryFault::Slow(Duration::from_secs(5))].into();
    rig.want(vec![buy(1, 2)]);
    rig.kill(usize::MAX);
    rig.start();
    rig.run();
    assert_eq!((rig.baselines.len(), rig.sent.len(), rig.position()), (2, 1, 2));
}

#[test]
fn positions_in_a_locked_instrument_are_closed_when_it_is_known_what_is_held() {
    let mut rig = Rig::at(Kind::NoIds, |config, _| config.on_halt = FailAction::Flatten);
    rig.want(vec![buy(9, 5)]);
    rig.faults = [Fault::ExecutedLater(Duration::from_secs(500))].into();
    rig.want(vec![buy(1, 2)]);
    rig.tick_with(Step::trap());
    rig.live(400_000);
    assert_eq!((rig.venue.position, rig.placing(1)), (5, UNKNOWN));
    assert_eq!(rig.alerts.iter().filter(|code| *code == "closing_waits").count(), 1);
    rig.live(150_000);
    assert_eq!((rig.venue.position, rig.position()), (0, 0));
    rig.check_books();
    rig.check_folds();
}

#[test]
fn the_mode_frees_an_instrument_that_was_only_prepared_for() {
    let mut rig = rig([]);
    rig.want(vec![buy(9, 5)]);
    rig.baseline_faults = [QueryFault::Slow(Duration::from_secs(20))].into();
    rig.want(vec![buy(1, 2)]);
    rig.operator(Operator::Floor(crate::resilience::Mode::ReadOnly));
    rig.want(vec![sell(2, 5)]);
    rig.advance(2_000);
    assert_eq!((rig.position(), rig.sent.len()), (0, 2), "an order that reduces goes first");
    rig.advance(30_000);
    assert_eq!(rig.sent.len(), 2, "what was read for the other does not count any more");
}

/// After order 1 the account holds two lots more than the books have.
fn strange() -> Rig {
    let mut rig = rig([]);
    rig.want(vec![buy(1, 2)]);
    rig.venue.by_hand = 2;
    rig
}

fn told(rig: &Rig, code: &str) -> usize {
    rig.alerts.iter().filter(|alert| *alert == code).count()
}

#[test]
fn an_account_that_does_not_show_what_the_books_have_holds_orders_back_and_a_person_is_told() {
    let mut rig = strange();
    rig.want(vec![buy(2, 3)]);
    assert_eq!((rig.sent.len(), told(&rig, "position_mismatch")), (1, 0), "a reading may be behind");
    rig.live(60_000);
    assert_eq!((rig.sent.len(), told(&rig, "position_mismatch")), (1, 1), "told once");
    rig.live(310_000);
    assert_eq!(rig.placing(2), IntentState::Expired(ExpiredBecause::Deadline));
    assert_eq!((rig.sent.len(), told(&rig, "baseline_unread")), (1, 1));
    rig.check_folds();
}

#[test]
fn a_difference_that_is_put_right_at_the_venue_lets_orders_go_on() {
    let mut rig = strange();
    rig.want(vec![buy(2, 3)]);
    rig.live(60_000);
    assert_eq!(rig.sent.len(), 1);
    rig.venue.by_hand = 0;
    rig.live(60_000);
    assert_eq!((rig.position(), told(&rig, "position_mismatch")), (5, 1));
    rig.check_books();
    rig.check_folds();
}

#[test]
fn a_resting_order_whose_fill_is_not_known_yet_holds_orders_back_without_alarm() {
    let mut rig = rig([]);
    rig.want(vec![bid(1, 2, 95)]);
    rig.queries_lost = true;
    rig.venue.fill(rig.key(1), 2, 95);
    rig.want(vec![buy(2, 3)]);
    for _ in 0..6 {
        rig.tick();
        rig.advance(10_000);
    }
    assert_eq!((rig.sent.len(), told(&rig, "position_mismatch")), (1, 0));
    rig.queries_lost = false;
    rig.live(60_000);
    assert_eq!(rig.position(), 5);
    rig.check_books();
}
