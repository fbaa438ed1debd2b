//! What somebody before the venue says is no verdict, and what the venue says of an order outweighs all else.

use super::*;
use crate::agent::core::{Event, Operator};
use crate::orders::{IntentKey, IntentState};
use crate::venue::{OrderChange, OrderUpdate};
use std::time::Duration;

/// The venue tells of a change by itself.
fn report(rig: &mut Rig, key: IntentKey, change: OrderChange) {
    let sequence = rig.venue.log.len() as u64 + 100;
    let update = OrderUpdate { sequence, key, change, venue_id: None };
    rig.step(Event::Updates { cursor: 0, updates: vec![update] });
    rig.run();
}

fn told(rig: &Rig, code: &str) -> usize {
    rig.alerts.iter().filter(|told| *told == code).count()
}

#[test]
fn a_gateways_refusal_of_a_retry_is_no_verdict() {
    let mut rig = Rig::new();
    rig.faults = [Fault::ReplyLost, Fault::TurnedAway].into();
    rig.want(vec![buy(1, 2)]);
    while rig.sent.len() < 2 {
        rig.advance(100);
    }
    assert_eq!((rig.placing(1), rig.is_working(1)), (IntentState::Ambiguous, true));
    rig.advance(60_000);
    assert_eq!((rig.placing(1), rig.position()), (IntentState::Acknowledged, 2));
    rig.check_books();
    rig.check_folds();
}

#[test]
fn a_gateways_refusal_of_the_first_attempt_is_final() {
    let mut rig = Rig::new();
    rig.faults = [Fault::TurnedAway].into();
    rig.want(vec![buy(1, 2)]);
    assert_eq!((rig.placing(1), rig.is_working(1), rig.sent.len()), (IntentState::Rejected, false, 1));
    rig.check_folds();
}

#[test]
fn an_order_that_was_refused_and_lives_counts_again() {
    let mut rig = Rig::with(|config, _| config.risk.position_lots_max = Some(Lots(10)));
    rig.faults = [Fault::TurnedAway].into();
    rig.want(vec![bid(1, 8, 95)]);
    let key = rig.key(1);
    assert!(!rig.is_working(1));
    report(&mut rig, key, OrderChange::Accepted);
    assert_eq!((rig.placing(1), rig.is_working(1)), (IntentState::Acknowledged, true));
    assert_eq!(told(&rig, "refusal_refuted"), 1);
    rig.want(vec![bid(2, 3, 95)]);
    assert!(rig.core().ledger().order(OrderId(2)).is_none(), "8 and 3 are more than 10");
    rig.check_folds();
}

#[test]
fn an_order_whose_letter_was_resolved_and_lives_counts_again() {
    let mut rig = Rig::new();
    rig.faults = std::iter::repeat_n(Fault::Dropped, 5).collect();
    rig.queries_lost = true;
    rig.want(vec![bid(1, 8, 95)]);
    rig.live(400_000);
    let key = rig.key(1);
    rig.operator(Operator::Resolve { key, note: "never executed".into() });
    assert!(!rig.is_working(1));
    report(&mut rig, key, OrderChange::Accepted);
    assert_eq!((rig.placing(1), rig.is_working(1)), (IntentState::Acknowledged, true));
    assert_eq!(told(&rig, "resolution_refuted"), 1);
    rig.check_folds();
}

#[test]
fn a_fill_of_a_refused_order_leaves_the_rest_of_it_working() {
    let mut rig = Rig::new();
    rig.faults = [Fault::TurnedAway].into();
    rig.want(vec![bid(1, 8, 95)]);
    let key = rig.key(1);
    let (quantity, leaves) = (Lots(3), Lots(5));
    let fee = crate::market::Money::ZERO;
    report(&mut rig, key, OrderChange::Filled { quantity, price: PriceTicks(95), leaves, fee, maker: true });
    assert_eq!((rig.position(), rig.core().books().working()[&OrderId(1)].leaves), (3, Lots(5)));
    rig.check_folds();
}

#[test]
fn a_refusal_that_the_venue_repeats_is_no_news() {
    let mut rig = Rig::new();
    rig.faults = [Fault::Refused].into();
    rig.want(vec![bid(1, 8, 95)]);
    let key = rig.key(1);
    report(&mut rig, key, OrderChange::Rejected { code: "refused".into(), detail: String::new() });
    assert_eq!((rig.placing(1), rig.is_working(1), rig.alerts.len()), (IntentState::Rejected, false, 0));
}

#[test]
fn a_slow_answer_of_the_venue_after_a_gateways_refusal_is_booked() {
    let mut rig = Rig::new();
    rig.faults = [Fault::ExecutedLater(Duration::from_secs(8)), Fault::TurnedAway].into();
    rig.want(vec![buy(1, 2)]);
    rig.advance(60_000);
    assert_eq!(rig.placing(1), IntentState::Acknowledged);
    rig.check_intents();
    rig.check_books();
}

#[test]
fn a_fill_under_a_key_that_the_agent_does_not_know_is_handed_on_once() {
    let mut rig = Rig::new();
    rig.want(vec![buy(1, 2)]);
    let own = rig.venue.log.last().unwrap().clone();
    let bytes = [7; 20];
    let other = OrderUpdate { key: IntentKey::from_bytes(bytes), sequence: 9, ..own.clone() };
    let accepted = OrderUpdate { change: OrderChange::Accepted, sequence: 8, ..other.clone() };
    for _ in 0..2 {
        let updates = vec![own.clone(), accepted.clone(), other.clone()];
        rig.step(Event::Updates { cursor: 9, updates });
        rig.run();
    }
    assert_eq!(rig.alerts, ["unclaimed 9"]);
}
