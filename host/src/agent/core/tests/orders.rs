//! Cancels, changes and ids of orders.

use super::*;
use crate::orders::{AmendOrder, ExpiredBecause, IntentState, RejectReason, StrategyEvent};
use crate::venue::RequestKind;
use std::time::Duration;

fn amend(id: u64, lots: i64, limit: i64) -> OrderIntent {
    OrderIntent::Amend(AmendOrder { id: OrderId(id), quantity: Lots(lots), limit: Some(PriceTicks(limit)) })
}

fn cancels(rig: &Rig) -> usize {
    rig.sent.iter().filter(|(request, ..)| matches!(request.kind, RequestKind::Cancel(_))).count()
}

#[test]
fn a_partial_fill_books_cash_position_fees_and_what_still_works() {
    let mut rig = Rig::new();
    rig.want(vec![bid(1, 10, 99)]);
    let key = rig.key(1);
    rig.venue.fill(key, 4, 99);
    rig.poll();
    rig.check_books();
    assert_eq!(rig.core().books().working()[&OrderId(1)].leaves, Lots(6));
    rig.venue.fill(key, 6, 98);
    rig.poll();
    rig.check_books();
    assert!(!rig.is_working(1));
    let fills: Vec<_> = rig
        .heard()
        .into_iter()
        .filter_map(|event| match event {
            StrategyEvent::Filled { quantity, price, leaves, .. } => Some((quantity.0, price.0, leaves.0)),
            _ => None,
        })
        .collect();
    assert_eq!(fills, [(4, 99, 6), (6, 98, 0)]);
    rig.check_folds();
}

#[test]
fn a_cancel_takes_a_resting_order_back() {
    let mut rig = Rig::new();
    rig.want(vec![bid(1, 2, 95)]);
    rig.want(vec![OrderIntent::Cancel(OrderId(1))]);
    assert!(rig.venue.resting().is_empty() && !rig.is_working(1));
    assert_eq!(rig.heard().last(), Some(&StrategyEvent::Cancelled(OrderId(1))));
}

#[test]
fn a_cancel_of_an_order_that_never_left_drops_both() {
    let mut rig = Rig::new();
    rig.faults = [Fault::NotSent].into();
    rig.want(vec![bid(1, 2, 95)]);
    rig.want(vec![OrderIntent::Cancel(OrderId(1))]);
    rig.advance(30_000);
    assert_eq!((rig.sent.len(), cancels(&rig)), (1, 0));
    assert_eq!(rig.placing(1), IntentState::Expired(ExpiredBecause::CancelledUnsent));
    assert_eq!(rig.heard(), [StrategyEvent::Cancelled(OrderId(1))]);
    assert!(!rig.core().has_open_intents() && !rig.is_working(1));
    rig.check_folds();
}

#[test]
fn a_cancel_waits_while_nobody_knows_whether_the_order_is_there() {
    let mut rig = Rig::new();
    rig.faults = [Fault::ReplyLost, Fault::Slow(Duration::from_secs(3))].into();
    rig.want(vec![bid(1, 2, 95)]);
    rig.want(vec![OrderIntent::Cancel(OrderId(1))]);
    while rig.sent.len() < 2 {
        rig.advance(100);
        assert_eq!(cancels(&rig), 0);
    }
    rig.advance(2_000);
    assert_eq!(cancels(&rig), 0, "the second attempt is in the air");
    rig.advance(10_000);
    assert_eq!((cancels(&rig), rig.venue.resting().len(), rig.is_working(1)), (1, 0, false));
    rig.check_intents();
}

#[test]
fn a_cancel_of_an_order_that_was_refused_meanwhile_is_moot() {
    let mut rig = Rig::new();
    rig.faults = [Fault::Dropped, Fault::Refused].into();
    rig.want(vec![bid(1, 2, 95)]);
    rig.want(vec![OrderIntent::Cancel(OrderId(1))]);
    rig.advance(30_000);
    assert_eq!((cancels(&rig), rig.core().has_open_intents()), (0, false));
    rig.check_folds();
}

#[test]
fn a_change_reaches_the_venue_the_books_and_the_next_change() {
    let mut rig = Rig::new();
    rig.want(vec![bid(1, 5, 95)]);
    rig.want(vec![amend(1, 3, 96)]);
    let working = rig.core().books().working()[&OrderId(1)];
    assert_eq!((working.leaves, working.limit), (Lots(3), Some(PriceTicks(96))));
    let order = rig.core().ledger().order(OrderId(1)).unwrap();
    assert_eq!(order.terms.kind, OrderKind::Limit(PriceTicks(96)));
    assert_eq!(rig.heard().last(), Some(&StrategyEvent::Amended(OrderId(1))));
    rig.venue.trade_at(96);
    rig.poll();
    assert_eq!(rig.position(), 3);
    rig.check_books();
    rig.check_folds();
}

#[test]
fn a_change_of_an_order_that_has_not_left_waits_and_does_not_drop_it() {
    let mut rig = Rig::new();
    rig.faults = [Fault::NotSent].into();
    rig.want(vec![bid(1, 5, 95)]);
    rig.want(vec![amend(1, 3, 96)]);
    rig.advance(30_000);
    assert_eq!(rig.core().books().working()[&OrderId(1)].leaves, Lots(3));
    assert_eq!(rig.placing(1), IntentState::Acknowledged);
    rig.check_intents();
}

#[test]
fn cancel_all_takes_back_every_order_and_does_not_move_the_slots_after_it() {
    let mut keys = Vec::new();
    for resting in [1, 3] {
        let mut rig = Rig::new();
        rig.want((1..=resting).map(|id| bid(id, 1, 95)).collect());
        rig.want(vec![OrderIntent::CancelAll(X), bid(9, 1, 94)]);
        assert_eq!((cancels(&rig) as u64, rig.venue.resting().len()), (resting, 1));
        let decided = rig.records().find_map(|record| match record {
            crate::orders::Record::Decided(decision) => {
                decision.intents.iter().find(|one| one.action.order() == OrderId(9)).map(|one| one.index)
            }
            _ => None,
        });
        keys.push(decided.unwrap());
        rig.check_intents();
    }
    assert_eq!(keys[0], keys[1]);
}

#[test]
fn an_order_id_is_used_once() {
    let mut rig = Rig::new();
    rig.want(vec![buy(1, 2), buy(1, 3)]);
    rig.want(vec![buy(1, 2)]);
    rig.want(vec![buy(u64::MAX, 2)]);
    assert_eq!((rig.venue.position, rig.sent.len()), (2, 1));
    let refused = rig
        .heard()
        .into_iter()
        .filter(|event| matches!(event, StrategyEvent::Rejected { reason: RejectReason::DuplicateId, .. }))
        .count();
    assert_eq!(refused, 3);
}

#[test]
fn an_order_id_is_not_used_again_after_a_restart() {
    let mut rig = Rig::new();
    rig.want(vec![buy(7, 2)]);
    rig.kill(0);
    rig.start();
    rig.run();
    assert_eq!(rig.strategy.script().session.as_ref().unwrap().next_order_id, OrderId(8));
    rig.want(vec![buy(7, 2)]);
    assert_eq!(rig.venue.position, 2);
}
