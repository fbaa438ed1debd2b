//! Holding the books against the venue: each step of it, what is proof, and who decides.

use super::answers::QueryFault;
use super::venue::Kind;
use super::*;
use crate::agent::core::{Event, Operator, ReconcileStage};
use crate::market::Money;
use crate::orders::{Record, StrategyEvent, Verdict};
use crate::resilience::{Mode, ModeCause};
use std::time::Duration;

/// A start whose reads meet these faults.
fn started(faults: impl IntoIterator<Item = QueryFault>) -> Rig {
    let mut rig = Rig::new();
    rig.kill(usize::MAX);
    rig.read_faults = faults.into_iter().collect();
    rig.start();
    rig.run();
    rig
}

fn alerts(rig: &Rig, code: &str) -> usize {
    rig.alerts.iter().filter(|alert| *alert == code).count()
}

fn stage(rig: &Rig) -> (ReconcileStage, Mode) {
    (rig.core().reconciliation(), rig.core().mode())
}

const AGREED: (ReconcileStage, Mode) = (ReconcileStage::Reconciled, Mode::Full);
const APART: (ReconcileStage, Mode) = (ReconcileStage::Mismatch, Mode::Observation);

#[test]
fn a_start_reads_updates_and_positions_once_and_then_trades() {
    let rig = started([]);
    assert_eq!((stage(&rig), rig.reads), (AGREED, (1, 2)));
    let changes: Vec<_> =
        rig.records().filter(|record| matches!(record, Record::ModeChanged { .. })).cloned().collect();
    let up = Record::ModeChanged { from: Mode::Observation, to: Mode::Full, cause: ModeCause::Reconciled };
    assert_eq!(changes, [up.clone(), up], "one a start");
    assert!(rig.alerts.is_empty(), "{:?}", rig.alerts);
    rig.check_folds();
}

#[test]
fn until_the_first_attempt_has_ended_the_agent_is_not_ready_and_sends_nothing() {
    let slow = QueryFault::Slow(Duration::from_secs(3));
    let mut rig = started([slow.clone(), slow.clone(), slow]);
    for expected in [ReconcileStage::Updates, ReconcileStage::Positions, ReconcileStage::Positions] {
        assert_eq!(stage(&rig), (expected, Mode::Observation));
        assert!(!rig.core().is_ready());
        rig.want(vec![buy(1, 1)]);
        assert!(matches!(rig.verdicts().last(), Some(Verdict::Suppressed(Mode::Observation))));
        rig.advance(3_000);
    }
    assert_eq!(stage(&rig), AGREED);
    assert!(rig.core().is_ready());
    rig.want(vec![buy(1, 1)]);
    assert_eq!(rig.venue.position, 1);
}

#[test]
fn an_agent_whose_venue_does_not_answer_observes_says_so_once_and_goes_on_trying() {
    let mut rig = Rig::new();
    rig.kill(usize::MAX);
    rig.reads_lost = true;
    rig.reads = (0, 0);
    rig.start();
    rig.run();
    assert!(rig.core().is_ready(), "ticks may flow");
    rig.live(600_000);
    assert_eq!(stage(&rig), (ReconcileStage::Updates, Mode::Observation));
    assert_eq!(alerts(&rig, "reconcile_failed"), 1);
    let tries = rig.reads.1;
    // Ten minutes of full jitter with a cap of one minute: half of it on average.
    assert!((12..60).contains(&tries), "{tries} reads");
    rig.reads_lost = false;
    rig.live(60_000);
    assert_eq!(stage(&rig), AGREED);
}

#[test]
fn a_venue_that_comes_back_is_compared_with_before_the_agent_trades_again() {
    let mut rig = Rig::new();
    rig.want(vec![bid(1, 2, 95)]);
    rig.step(Event::VenueLost);
    rig.run();
    assert_eq!(stage(&rig), (ReconcileStage::NotYet, Mode::Observation));
    rig.want(vec![buy(2, 1)]);
    assert_eq!(rig.sent.len(), 1);
    rig.venue.trade_at(94);
    rig.reads = (0, 0);
    rig.queries.clear();
    rig.query_faults = [QueryFault::Slow(Duration::from_millis(50))].into();
    rig.step(Event::VenueBack);
    rig.run();
    assert_eq!(stage(&rig), (ReconcileStage::Orders, Mode::Observation), "its order is asked about");
    rig.advance(100);
    assert_eq!((stage(&rig), rig.position(), rig.queries.len()), (AGREED, 2, 1));
    assert_eq!(rig.reads, (1, 1));
    rig.want(vec![buy(2, 1)]);
    rig.poll();
    rig.check_books();
    rig.check_folds();
}

#[test]
fn a_short_loss_of_the_venue_costs_no_dwell_but_other_signals_keep_theirs() {
    let mut rig = Rig::new();
    rig.step(Event::IndexHealth { healthy: false });
    rig.step(Event::VenueLost);
    rig.step(Event::IndexHealth { healthy: true });
    rig.reconnect();
    assert_eq!(stage(&rig), (ReconcileStage::Reconciled, Mode::Observation));
    rig.live(140_000);
    assert_eq!(rig.core().mode(), Mode::Full);
    rig.step(Event::VenueLost);
    rig.reconnect();
    assert_eq!(stage(&rig), AGREED);
}

#[test]
fn an_operators_own_floor_outlasts_a_reconciliation() {
    let mut rig = Rig::new();
    rig.operator(Operator::Floor(Mode::Observation));
    rig.step(Event::VenueLost);
    rig.reconnect();
    rig.live(200_000);
    assert_eq!(stage(&rig), (ReconcileStage::Reconciled, Mode::Observation));
}

#[test]
fn orders_are_asked_about_a_bounded_number_at_a_time() {
    let mut rig = Rig::with(|config, _| config.limits.reconcile_queries_max = 3);
    rig.want((1..=10).map(|id| bid(id, 1, 90)).collect());
    rig.query_faults = (0..10).map(|_| QueryFault::Slow(Duration::from_secs(1))).collect();
    rig.reconnect();
    for round in [3, 6, 9, 10] {
        assert_eq!(rig.queries.len(), round);
        assert_eq!(rig.core().reconciliation(), ReconcileStage::Orders);
        rig.advance(1_000);
    }
    assert_eq!(stage(&rig), AGREED);
}

#[test]
fn an_answer_that_says_nothing_is_not_taken_for_a_vanished_order() {
    let mut rig = Rig::new();
    rig.want(vec![bid(1, 2, 95)]);
    rig.queries_lost = true;
    rig.reconnect();
    rig.advance(30_000);
    assert_eq!((alerts(&rig, "order_vanished"), alerts(&rig, "reconcile_failed")), (0, 1));
    assert_eq!(stage(&rig), (ReconcileStage::Orders, Mode::Observation));
    assert!(rig.is_working(1));
    rig.queries_lost = false;
    rig.live(60_000);
    assert_eq!(stage(&rig), AGREED);
}

#[test]
fn one_denial_of_a_confirmed_order_is_no_proof() {
    let mut rig = Rig::new();
    rig.want(vec![bid(1, 2, 95)]);
    let key = rig.key(1);
    rig.venue.forgotten.insert(key);
    rig.reconnect();
    rig.advance(1_000);
    rig.venue.forgotten.clear();
    rig.advance(1_100);
    assert_eq!((stage(&rig), alerts(&rig, "order_vanished")), (AGREED, 0));
}

#[test]
fn an_order_that_the_venue_denies_twice_is_for_a_person_to_decide() {
    let mut rig = Rig::new();
    rig.want(vec![bid(1, 2, 95)]);
    let key = rig.key(1);
    rig.venue.forgotten.insert(key);
    rig.reconnect();
    rig.advance(1_999);
    assert_eq!(alerts(&rig, "order_vanished"), 0);
    rig.live(120_000);
    assert_eq!((stage(&rig), alerts(&rig, "order_vanished")), (APART, 1));
    assert!(rig.is_working(1), "its end is not invented");
    let ended = |event: &StrategyEvent| matches!(event, StrategyEvent::Cancelled(_));
    assert!(!rig.heard().iter().any(ended));
    rig.operator(Operator::DropVanished);
    rig.advance(1_000);
    assert_eq!((stage(&rig), rig.is_working(1)), (AGREED, false));
    assert!(rig.heard().iter().any(ended));
    rig.check_folds();
    // It was there after all: what it did is still booked.
    rig.venue.trade_at(95);
    rig.poll();
    assert_eq!(rig.position(), 2);
    rig.check_books();
    rig.check_folds();
}

#[test]
fn an_order_that_is_found_again_ends_the_observation() {
    let mut rig = Rig::new();
    rig.want(vec![bid(1, 2, 95)]);
    let key = rig.key(1);
    rig.venue.forgotten.insert(key);
    rig.reconnect();
    rig.advance(5_000);
    assert_eq!(stage(&rig), APART);
    rig.venue.forgotten.clear();
    rig.live(20_000);
    assert_eq!(stage(&rig), AGREED);
}

#[test]
fn at_a_venue_that_reports_nothing_working_orders_are_polled() {
    let mut rig = Rig::new();
    rig.kill(usize::MAX);
    rig.reports_changes = false;
    rig.start();
    rig.run();
    rig.want(vec![bid(1, 2, 95), bid(2, 1, 90)]);
    rig.queries.clear();
    rig.advance(5_500);
    assert_eq!(rig.queries.len(), 10, "two orders, every second");
    rig.venue.trade_at(94);
    rig.advance(1_000);
    assert_eq!((rig.position(), rig.is_working(1), rig.is_working(2)), (2, false, true));
    let key = rig.key(2);
    rig.venue.forgotten.insert(key);
    rig.advance(5_000);
    assert_eq!((stage(&rig), alerts(&rig, "order_vanished")), (APART, 1));
    rig.check_folds();
}

#[test]
fn a_position_that_differs_counts_when_it_was_seen_twice_and_is_told_once() {
    let mut rig = Rig::new();
    rig.want(vec![buy(1, 3)]);
    rig.venue.by_hand(-1);
    rig.reconnect();
    assert_eq!(stage(&rig), (ReconcileStage::Positions, Mode::Observation));
    rig.advance(3_900);
    assert_eq!(
        (rig.core().reconciliation(), alerts(&rig, "position_mismatch")),
        (ReconcileStage::Positions, 0)
    );
    rig.advance(200);
    assert_eq!((stage(&rig), alerts(&rig, "position_mismatch")), (APART, 1));
    rig.live(120_000);
    assert_eq!((stage(&rig), alerts(&rig, "position_mismatch")), (APART, 1));
    rig.venue.by_hand(-1);
    rig.live(40_000);
    assert_eq!(alerts(&rig, "position_mismatch"), 2, "another difference is news");
    rig.venue.by_hand(2);
    rig.live(40_000);
    assert_eq!(stage(&rig), AGREED, "put right at the venue");
    rig.venue.cash -= 6; // what the hand has lost between
    rig.want(vec![buy(2, 1)]);
    assert_eq!(rig.position(), 4);
}

#[test]
fn an_adopted_difference_is_booked_at_the_last_price_and_leaves_equity_as_it_is() {
    let mut rig = Rig::new();
    rig.want(vec![buy(1, 3)]);
    rig.venue.by_hand(4);
    rig.reconnect();
    rig.live(20_000);
    assert_eq!(stage(&rig), APART);
    let equity = rig.core().equity();
    rig.operator(Operator::AdoptPositions);
    rig.live(20_000);
    assert_eq!((stage(&rig), rig.position(), rig.core().equity()), (AGREED, 7, equity));
    let adopted = Record::PositionAdopted { instrument: X, quantity: Lots(4), price: PriceTicks(100) };
    assert_eq!(rig.records().filter(|record| **record == adopted).count(), 1);
    rig.check_books();
    rig.check_folds();
    rig.want(vec![sell(2, 7)]);
    assert_eq!(rig.venue.position, 0);
}

#[test]
fn an_adoption_at_a_start_waits_for_the_first_price_and_ends_with_the_reconciliation() {
    let mut rig = Rig::new();
    rig.kill(0);
    (rig.journal, rig.checkpoints) = (Vec::new(), Vec::new());
    rig.venue.by_hand(2);
    rig.start();
    rig.operator(Operator::AdoptPositions);
    rig.advance(20_000);
    assert_eq!((stage(&rig), rig.position()), (APART, 0));
    rig.tick();
    rig.advance(1_000);
    assert_eq!((stage(&rig), rig.position()), (AGREED, 2));
    rig.check_books();
    rig.check_folds();
    rig.venue.by_hand(1);
    rig.reconnect();
    rig.live(20_000);
    assert_eq!((stage(&rig), rig.position()), (APART, 2), "it was for that once");
}

#[test]
fn an_order_of_which_nobody_knows_does_not_hold_up_the_agent_and_is_compared_when_it_is_known() {
    let mut rig = Rig::new();
    rig.faults = std::iter::repeat_n(Fault::ReplyLost, 5).collect();
    rig.queries_lost = true;
    rig.want(vec![buy(1, 2)]);
    rig.reads = (0, 0);
    rig.step(Event::VenueBack);
    rig.run();
    assert_eq!((rig.core().reconciliation(), rig.reads), (ReconcileStage::Reconciled, (0, 0)));
    assert_eq!(alerts(&rig, "position_mismatch"), 0);
    rig.venue.by_hand(1);
    rig.poll();
    rig.advance(10_000);
    assert_eq!((stage(&rig), rig.position()), (APART, 2));
}

#[test]
fn a_fill_that_does_not_follow_from_the_one_before_begins_a_reconciliation() {
    let mut rig = Rig::new();
    rig.want(vec![bid(1, 5, 95)]);
    let key = rig.key(1);
    rig.venue.fill(key, 1, 95);
    rig.venue.fill(key, 1, 95);
    let second = rig.venue.log.last().cloned().unwrap();
    rig.reads = (0, 0);
    rig.step(Event::Updates { cursor: 3, updates: vec![second] });
    rig.run();
    assert_eq!(rig.reads.1 + rig.reads.0, 3, "updates, positions, updates");
    rig.live(20_000);
    assert_eq!((stage(&rig), alerts(&rig, "position_mismatch")), (APART, 1));
}

#[test]
fn orders_of_somebody_else_on_the_account_are_told_once() {
    let mut rig = Rig::new();
    rig.step(Event::Foreign);
    rig.step(Event::Foreign);
    assert_eq!(alerts(&rig, "foreign_orders"), 1);
}

#[test]
fn a_latched_shutdown_closes_positions_only_after_the_first_attempt() {
    let mut rig = Rig::new();
    rig.want(vec![buy(1, 3)]);
    rig.hold_acks = true;
    rig.operator(Operator::Floor(Mode::Shutdown));
    rig.kill(1); // the mode is on the disk, the closing order is not
    rig.hold_acks = false;
    let sent = rig.sent.len();
    rig.read_faults = [QueryFault::Slow(Duration::from_secs(5))].into();
    rig.start();
    rig.run();
    rig.advance(4_000);
    assert_eq!((rig.core().mode(), rig.sent.len()), (Mode::Shutdown, sent));
    rig.live(20_000);
    assert_eq!((rig.venue.position, rig.stopped), (0, true));
}

#[test]
fn a_mismatch_survives_a_stop_in_order() {
    let mut rig = Rig::new();
    rig.want(vec![buy(1, 3)]);
    rig.venue.by_hand(1);
    rig.reconnect();
    rig.live(20_000);
    rig.stop();
    rig.advance(40_000);
    assert!(rig.stopped);
    rig.core = None;
    rig.start();
    rig.live(20_000);
    assert_eq!((stage(&rig), rig.position()), (APART, 3));
    assert_eq!(rig.core().books().cash(), Money::new((1_000_000 - 301).into()));
}

#[test]
fn an_order_that_cannot_be_asked_about_for_too_long_stops_the_agent_until_it_can() {
    let mut rig = Rig::unstarted(Kind::Keys, |_, _| {});
    rig.reports_changes = false;
    rig.start();
    rig.run();
    rig.want(vec![bid(1, 2, 95)]);
    rig.live(20_000);
    assert_eq!(rig.core().mode(), Mode::Full);
    rig.queries_lost = true;
    rig.live(20_000);
    assert_eq!(rig.core().mode(), Mode::Full, "a hiccup");
    rig.live(40_000);
    assert_eq!(rig.core().mode(), Mode::Observation);
    assert!(rig.alerts.iter().any(|code| code == "reconcile_failed"), "{:?}", rig.alerts);
    rig.queries_lost = false;
    rig.live(120_000);
    assert_eq!(rig.core().mode(), Mode::Full);
    rig.check_books();
}
