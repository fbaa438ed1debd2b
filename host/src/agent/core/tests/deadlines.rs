//! What an earlier run decided is not sent at any age.

use super::*;
use crate::agent::core::{FailAction, Operator};
use crate::market::MonoNanos;
use crate::orders::{AmendOrder, ExpiredBecause, IntentState, Record};
use std::time::Duration;

const HOURS_MS: u64 = 2 * 3_600_000;

/// The host dies and starts again this much later.
fn away(rig: &mut Rig, ms: u64) {
    rig.kill(usize::MAX);
    rig.jump(MonoNanos(rig.now.mono.0 + ms * 1_000_000));
    rig.start();
    rig.run();
}

/// Nothing of what is decided gets beyond the journal.
fn decided(intents: Vec<OrderIntent>) -> Rig {
    let mut rig = Rig::new();
    rig.want(vec![bid(1, 2, 95)]);
    rig.hold_acks = true;
    rig.want(intents);
    rig.hold_acks = false;
    rig
}

#[test]
fn an_order_that_never_left_is_dropped_when_its_time_ran_out_while_the_host_was_away() {
    let amend = OrderIntent::Amend(AmendOrder { id: OrderId(1), quantity: Lots(5), limit: None });
    let mut rig = decided(vec![buy(2, 2), amend]);
    // What was decided is durable, that an attempt was to be made is not.
    rig.unsynced.truncate(1);
    let sent = rig.sent.len();
    away(&mut rig, HOURS_MS);
    rig.live(60_000);
    assert_eq!(rig.placing(2), IntentState::Expired(ExpiredBecause::Deadline));
    assert_eq!((rig.sent.len(), rig.is_working(2), rig.core().has_open_intents()), (sent, false, false));
    assert_eq!(rig.core().books().working()[&OrderId(1)].exposed(), Lots(2));
    let dropped = |record: &&Record| matches!(record, Record::Expired { why: ExpiredBecause::Deadline, .. });
    assert_eq!(rig.records().filter(dropped).count(), 2, "the order and the change");
}

#[test]
fn an_order_keeps_what_is_left_of_its_time_over_any_number_of_restarts() {
    let mut rig = decided(vec![buy(2, 2)]);
    rig.unsynced.truncate(1);
    let before = rig.sent.len();
    for _ in 0..3 {
        // The books are not compared in this run, so nothing is sent.
        rig.reads_lost = true;
        away(&mut rig, 90_000);
    }
    assert_eq!(rig.placing(2), IntentState::Intended);
    away(&mut rig, 60_000);
    assert_eq!(
        rig.placing(2),
        IntentState::Expired(ExpiredBecause::Deadline),
        "270 s and 60 s are over 300 s"
    );
    assert_eq!(rig.sent.len(), before);
}

#[test]
fn an_order_of_a_moment_ago_is_still_sent() {
    let mut rig = decided(vec![buy(2, 2)]);
    rig.unsynced.truncate(1);
    away(&mut rig, 1_000);
    rig.live(10_000);
    assert_eq!((rig.placing(2), rig.venue.position), (IntentState::Acknowledged, 2));
    rig.check_books();
}

#[test]
fn a_cancel_is_sent_at_any_age() {
    let mut rig = decided(vec![OrderIntent::Cancel(OrderId(1))]);
    rig.unsynced.truncate(1);
    away(&mut rig, HOURS_MS);
    rig.live(10_000);
    assert!(rig.venue.resting().is_empty() && !rig.is_working(1));
}

#[test]
fn one_in_doubt_is_asked_about_and_not_sent_again() {
    for (fault, state, position) in [
        (Fault::Dropped, IntentState::Expired(ExpiredBecause::NeverArrived), 0),
        (Fault::ReplyLost, IntentState::Acknowledged, 2),
    ] {
        let mut rig = Rig::new();
        rig.faults = [fault].into();
        rig.want(vec![buy(1, 2)]);
        assert_eq!(rig.placing(1), IntentState::Ambiguous);
        away(&mut rig, HOURS_MS);
        rig.live(60_000);
        assert_eq!((rig.placing(1), rig.venue.position), (state, position));
        assert_eq!(rig.sent.len(), 1, "the venue would execute what never arrived");
        rig.check_books();
        rig.check_folds();
    }
}

#[test]
fn an_attempt_under_way_when_the_host_died_is_asked_about_too() {
    let mut rig = Rig::new();
    rig.faults = [Fault::Slow(Duration::from_secs(5))].into();
    rig.want(vec![buy(1, 2)]);
    away(&mut rig, HOURS_MS);
    rig.live(60_000);
    assert_eq!((rig.placing(1), rig.sent.len(), rig.venue.position), (IntentState::Acknowledged, 1, 2));
    rig.check_books();
}

#[test]
fn a_closing_order_of_the_host_is_made_anew_and_not_sent_hours_late() {
    let mut rig = Rig::with(|config, _| {
        config.on_halt = FailAction::Flatten;
        config.on_stop = FailAction::Flatten;
    });
    rig.want(vec![buy(1, 3)]);
    rig.hold_acks = true;
    rig.stop();
    rig.advance(1);
    let closes = rig.unsynced.len();
    assert!(closes > 0);
    rig.unsynced.truncate(1);
    rig.hold_acks = false;
    let closing = |rig: &Rig| {
        let hosts = rig.core().ledger().intents().values().filter(|intent| intent.by_host);
        hosts.map(|intent| intent.state.clone()).collect::<Vec<_>>()
    };
    let sent = rig.sent.len();
    away(&mut rig, HOURS_MS);
    rig.live(20_000);
    assert_eq!(closing(&rig), [IntentState::Expired(ExpiredBecause::Deadline)]);
    assert_eq!((rig.sent.len(), rig.venue.position), (sent, 3));
    rig.stop();
    rig.live(10_000);
    assert_eq!((rig.venue.position, rig.position()), (0, 0));
}

#[test]
fn an_operators_order_to_send_it_again_gives_it_its_time_anew() {
    let mut rig = Rig::new();
    rig.faults = std::iter::repeat_n(Fault::NotSent, 5).collect();
    rig.want(vec![buy(1, 2)]);
    rig.live(60_000);
    let key = rig.key(1);
    assert_eq!(rig.placing(1), IntentState::DeadLettered { ambiguous: false });
    rig.advance(1_200_000);
    rig.live(200_000);
    rig.hold_acks = true;
    rig.tick();
    rig.operator(Operator::Replay { key, replay: 1 });
    let requeued = rig.unsynced.iter().position(|bytes| {
        matches!(crate::orders::Entry::decode(0, bytes).unwrap().record, Record::Requeued { .. })
    });
    rig.unsynced.truncate(requeued.expect("it was taken up") + 1);
    rig.hold_acks = false;
    away(&mut rig, 1_000);
    rig.live(20_000);
    assert_eq!((rig.placing(1), rig.venue.position), (IntentState::Acknowledged, 2));
    rig.check_folds();
}
