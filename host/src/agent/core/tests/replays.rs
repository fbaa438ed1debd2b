//! What has to hold before a dead letter is sent again under its old key.

use super::letters::{dead, dead_with, notes, refusals, replay};
use super::*;
use crate::agent::core::{CoreConfig, Event, Letter, Operator};
use crate::market::UnixNanos;
use crate::orders::{IntentState, Record, RiskLimits};
use crate::resilience::{GateConfig, Mode};

/// Why the last order about order 1 was refused.
fn reason(rig: &Rig) -> String {
    assert_eq!(refusals(rig), 1, "the operator hears of it once");
    let intent = rig.intent(1);
    assert!(matches!(intent.state, IntentState::DeadLettered { .. }), "it stays a dead letter");
    let told = rig.letters.iter().rev().find_map(|letter| match letter {
        Letter::Intent { intent, .. } => Some(intent.as_ref()),
        _ => None,
    });
    assert_eq!(told, Some(intent), "the index hears what the journal says");
    intent.errors.last().unwrap().failure.code.to_string()
}

fn requeued(rig: &Rig) -> usize {
    rig.records().filter(|record| matches!(record, Record::Requeued { .. })).count()
}

#[test]
fn without_a_fresh_price_the_order_waits_for_one() {
    let mut rig = dead(&Fault::NotSent);
    rig.advance(5_000);
    replay(&mut rig, 1);
    rig.advance(2_000);
    assert_eq!((requeued(&rig), refusals(&rig)), (0, 0));
    rig.tick();
    assert_eq!((requeued(&rig), notes(&rig)), (1, vec!["replay 1: the venue has executed it"]));
    rig.check_folds();
}

#[test]
fn a_price_just_below_its_limit_of_age_is_fresh() {
    let mut rig = dead(&Fault::NotSent);
    rig.advance(4_999);
    replay(&mut rig, 1);
    assert_eq!(requeued(&rig), 1);
}

#[test]
fn an_order_that_still_waits_when_the_agent_stops_is_refused_and_its_number_is_spent() {
    let mut rig = dead(&Fault::NotSent);
    rig.advance(5_000);
    replay(&mut rig, 1);
    rig.stop();
    rig.advance(60_000);
    assert!(rig.stopped);
    assert_eq!(reason(&rig), "agent_stops");
    rig.check_folds();
    rig.kill(0);
    rig.start();
    rig.tick();
    rig.alerts.clear();
    replay(&mut rig, 1);
    assert_eq!((requeued(&rig), refusals(&rig)), (0, 0), "an index that has not heard of it yet");
    replay(&mut rig, 2);
    assert_eq!(requeued(&rig), 1);
}

#[test]
fn an_intent_that_was_decided_too_long_ago_is_not_sent_again() {
    let mut rig = dead(&Fault::NotSent);
    rig.live(3_300_000);
    rig.tick();
    replay(&mut rig, 1);
    assert_eq!((reason(&rig).as_str(), requeued(&rig)), ("replay_too_old", 0));
    rig.check_folds();
}

#[test]
fn an_order_whose_own_time_is_over_is_not_sent_again() {
    let until = UnixNanos(1_700_000_300_000_000_000);
    let order = NewOrder { tif: TimeInForce::Gtd(until), ..order(1, Side::Buy, 2, OrderKind::Market) };
    let mut rig = dead_with(&Fault::NotSent, OrderIntent::Submit(order), |_, _| {});
    replay(&mut rig, 1);
    assert_eq!((reason(&rig).as_str(), requeued(&rig)), ("replay_expired", 0));
}

#[test]
fn a_limit_that_the_market_has_left_is_not_sent_again() {
    let mut rig = dead_with(&Fault::NotSent, bid(1, 2, 95), |_, _| {});
    for price in [105, 115] {
        rig.venue.trade_at(price);
        rig.tick();
    }
    replay(&mut rig, 1);
    assert_eq!((reason(&rig).as_str(), requeued(&rig)), ("PRICE_COLLAR", 0));
    rig.check_folds();
}

#[test]
fn the_order_itself_is_not_counted_against_itself() {
    // In doubt, it is still in the books: twice of it would be above every limit.
    let tight = |config: &mut CoreConfig, _: &mut GateConfig| {
        let risk = config.risk.clone();
        config.risk = RiskLimits { position_lots_max: Some(Lots(2)), open_orders_max: 1, ..risk };
    };
    for fault in [Fault::NotSent, Fault::Dropped] {
        let mut rig = dead_with(&fault, buy(1, 2), tight);
        replay(&mut rig, 1);
        rig.live(20_000);
        assert_eq!(notes(&rig), ["replay 1: the venue has executed it"], "{fault:?}");
        rig.check_books();
        rig.check_folds();
    }
}

#[test]
fn what_was_ordered_since_counts_against_it() {
    let tight = |config: &mut CoreConfig, _: &mut GateConfig| {
        config.risk.position_lots_max = Some(Lots(2));
    };
    let mut rig = dead_with(&Fault::NotSent, buy(1, 2), tight);
    rig.want(vec![buy(2, 2)]);
    replay(&mut rig, 1);
    assert_eq!((reason(&rig).as_str(), rig.position()), ("POSITION", 2));
    rig.check_books();
}

#[test]
fn an_agent_that_only_observes_sends_nothing_again() {
    for fault in [Fault::NotSent, Fault::Dropped] {
        let mut rig = dead(&fault);
        rig.operator(Operator::Floor(Mode::Observation));
        replay(&mut rig, 1);
        assert_eq!((reason(&rig).as_str(), requeued(&rig)), ("MODE_FORBIDS", 0));
    }
}

#[test]
fn read_only_lets_pass_only_what_was_written_as_reduce_only() {
    let mut rig = dead(&Fault::NotSent);
    rig.operator(Operator::Floor(Mode::ReadOnly));
    replay(&mut rig, 1);
    assert_eq!(reason(&rig), "MODE_FORBIDS");

    let mut closing = order(1, Side::Sell, 2, OrderKind::Market);
    closing.options.reduce_only = true;
    let mut rig = Rig::new();
    rig.want(vec![buy(7, 2)]);
    rig.faults = std::iter::repeat_n(Fault::NotSent, 5).collect();
    rig.want(vec![OrderIntent::Submit(closing)]);
    rig.live(400_000);
    rig.tick();
    rig.operator(Operator::Floor(Mode::ReadOnly));
    replay(&mut rig, 1);
    assert_eq!((rig.placing(1), rig.position()), (IntentState::Acknowledged, 0));
}

#[test]
fn an_order_waits_while_nothing_but_the_dwell_keeps_the_mode_down() {
    let mut rig = dead(&Fault::NotSent);
    rig.operator(Operator::Floor(Mode::ReadOnly));
    rig.operator(Operator::Floor(Mode::Full));
    assert_eq!(rig.core().mode(), Mode::ReadOnly);
    replay(&mut rig, 1);
    assert_eq!((requeued(&rig), refusals(&rig)), (0, 0));
    rig.live(300_000);
    assert_eq!((rig.core().mode(), requeued(&rig)), (Mode::Full, 1));
}

#[test]
fn an_order_above_the_rate_of_a_moment_waits_for_the_next() {
    let one = |config: &mut CoreConfig, _: &mut GateConfig| {
        config.risk.orders_per_second_max = std::num::NonZeroU32::MIN;
    };
    let mut rig = dead_with(&Fault::NotSent, buy(1, 2), one);
    rig.want(vec![buy(2, 1)]);
    replay(&mut rig, 1);
    assert_eq!((requeued(&rig), refusals(&rig)), (0, 0));
    rig.advance(1_500);
    assert_eq!((requeued(&rig), rig.position()), (1, 3));
}

/// A resting order whose cancel has died.
fn dead_cancel() -> Rig {
    let mut rig = Rig::new();
    rig.want(vec![bid(1, 2, 95)]);
    rig.faults = std::iter::repeat_n(Fault::NotSent, 5).collect();
    rig.want(vec![OrderIntent::Cancel(OrderId(1))]);
    rig.live(400_000);
    rig.alerts.clear();
    rig.letters.clear();
    rig
}

fn dead_key(rig: &Rig) -> crate::orders::IntentKey {
    let intents = rig.core().ledger().intents().iter();
    let mut dead = intents.filter(|(_, intent)| matches!(intent.state, IntentState::DeadLettered { .. }));
    *dead.next().unwrap().0
}

#[test]
fn a_cancel_needs_no_price_but_must_not_be_old() {
    let mut rig = dead_cancel();
    let key = dead_key(&rig);
    rig.advance(20_000);
    rig.operator(Operator::Replay { key, replay: 1 });
    assert!(!rig.is_working(1));
    assert!(rig.venue.resting().is_empty());

    let mut rig = dead_cancel();
    let key = dead_key(&rig);
    rig.live(3_300_000);
    rig.operator(Operator::Replay { key, replay: 1 });
    assert_eq!((refusals(&rig), rig.is_working(1)), (1, true));
}

#[test]
fn a_cancel_of_an_order_that_is_gone_is_closed_whatever_its_age() {
    let mut rig = dead_cancel();
    let key = dead_key(&rig);
    rig.venue.trade_at(95);
    rig.live(3_600_000);
    let sent = rig.sent.len();
    rig.operator(Operator::Replay { key, replay: 1 });
    assert_eq!(rig.sent.len(), sent);
    assert_eq!(notes(&rig), ["replay 1: it was dropped: there was nothing left that it could do"]);
}

#[test]
fn a_refusal_survives_a_death_at_any_moment_and_is_told_to_the_index_once_more() {
    for kept in [0, 1] {
        let mut rig = dead(&Fault::NotSent);
        rig.operator(Operator::Floor(Mode::Observation));
        rig.hold_acks = true;
        replay(&mut rig, 1);
        rig.kill(kept);
        rig.hold_acks = false;
        rig.letters.clear();
        rig.start();
        rig.run();
        assert!(matches!(&rig.letters[..], [Letter::Intent { intent, .. }] if intent.replay == kept as u32));
        // The index still has the order when it has not heard of the refusal.
        replay(&mut rig, 1);
        rig.live(300_000);
        assert_eq!(requeued(&rig), 1 - kept);
        rig.check_folds();
    }
}

#[test]
fn a_sample_without_a_price_is_no_price() {
    let mut rig = dead(&Fault::NotSent);
    rig.advance(5_000);
    replay(&mut rig, 1);
    rig.step(Event::Dropped);
    rig.run();
    assert_eq!(requeued(&rig), 0);
}
