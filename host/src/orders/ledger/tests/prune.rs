//! What is forgotten when.

use super::*;
use crate::market::Money;

const HOUR_S: u64 = 3_600;

fn filled(call: u64, sequence: u64, leaves: i64) -> OrderUpdate {
    let change = OrderChange::Filled {
        quantity: Lots(10 - leaves),
        price: PriceTicks(100),
        leaves: Lots(leaves),
        fee: Money::ZERO,
        maker: false,
    };
    OrderUpdate { sequence, key: key(call), change, venue_id: None }
}

fn bytes(ledger: &Ledger) -> Vec<u8> {
    let mut bytes = Vec::new();
    ciborium::into_writer(ledger, &mut bytes).unwrap();
    bytes
}

/// An order of this call that was filled at this time.
fn order_filled(ledger: &mut Ledger, call: u64, second: u64) {
    ledger.decide(at(second), &decision(call, submit(call), 0)).unwrap();
    ledger.submitting(at(second), key(call), None).unwrap();
    ledger.attempted(at(second), key(call), &Outcome::Done { updates: Vec::new() }).unwrap();
    ledger.update(at(second), &filled(call, call, 0)).unwrap();
}

#[test]
fn none_is_forgotten_that_may_be_sent_again() {
    let mut ledger = ledger();
    ledger.decide(at(1), &decision(2, submit(2), 0)).unwrap();
    ledger.decide(at(1), &decision(3, Action::Cancel(OrderId(2)), 0)).unwrap();
    ledger.dead_letter(at(2), key(1), &failed(Phase::NotSent)).unwrap();
    ledger.expire(at(2), key(2), ExpiredBecause::Deadline).unwrap();
    ledger.expire(at(2), key(3), ExpiredBecause::Moot).unwrap();
    let _ = ledger.prune(at(HOUR_S), |_| false);
    assert_eq!(ledger.intents().len(), 3);
    let _ = ledger.prune(at(HOUR_S + 2), |_| false);
    assert_eq!(ledger.intents().keys().copied().collect::<Vec<_>>(), [key(1)]);
    let _ = ledger.prune(at(100 * HOUR_S), |_| false);
    assert_eq!(ledger.intents().keys().copied().collect::<Vec<_>>(), [key(1)]);
    // Sent again, its fills find their order.
    ledger.requeue(at(3), key(1), 1).unwrap();
    let update = OrderUpdate { sequence: 1, key: key(1), change: OrderChange::Accepted, venue_id: None };
    assert!(ledger.update(at(100 * HOUR_S), &update).is_some());
}

#[test]
fn none_is_forgotten_that_somebody_waits_to_hear_of() {
    let mut ledger = ledger();
    order_filled(&mut ledger, 2, 1);
    ledger.decide(at(1), &decision(3, Action::Cancel(OrderId(2)), 0)).unwrap();
    ledger.expire(at(2), key(3), ExpiredBecause::Moot).unwrap();
    let _ = ledger.prune(at(2 * HOUR_S), |waits| [key(2), key(3)].contains(waits));
    assert!(ledger.order(OrderId(2)).is_some());
    ledger.attempted(at(2 * HOUR_S), key(2), &Outcome::Done { updates: Vec::new() }).unwrap();
    let _ = ledger.prune(at(2 * HOUR_S), |waits| *waits == key(3));
    assert!(ledger.order(OrderId(2)).is_none() && ledger.intent(&key(3)).is_some());
    let _ = ledger.prune(at(2 * HOUR_S), |_| false);
    assert!(ledger.intent(&key(3)).is_none());
}

#[test]
fn a_closed_order_is_known_for_a_day_and_its_late_fill_is_booked() {
    for (hours, known) in [(2, true), (23, true), (25, false)] {
        let mut ledger = Ledger::default();
        order_filled(&mut ledger, 1, 1);
        assert!(!ledger.prune(at(hours * HOUR_S), |_| false), "nothing was forced");
        assert!(ledger.order(OrderId(1)).is_none() && ledger.intents().is_empty(), "it is not kept whole");
        let again: Ledger = ciborium::from_reader(bytes(&ledger).as_slice()).unwrap();
        assert_eq!(again, ledger);
        assert_eq!((ledger.knows(&key(1)), ledger.is_used(OrderId(1))), (known, known), "{hours}");
        assert!(!ledger.is_news(&filled(1, 1, 0)), "it was told before");
        assert_eq!(ledger.is_news(&filled(1, 2, 0)), known);
        let applied = ledger.update(at(hours * HOUR_S), &filled(1, 2, 0));
        assert_eq!(applied.as_ref().map(|applied| applied.order), known.then_some(OrderId(1)));
        if let Some(applied) = applied {
            assert_eq!((applied.terms.instrument, applied.terms.side), (InstrumentId(0), Side::Buy));
            assert!(applied.closed && applied.refuted.is_none());
            assert!(!ledger.is_news(&filled(1, 2, 0)), "once");
        }
    }
}

#[test]
fn a_key_that_is_remembered_is_not_used_again() {
    let mut ledger = Ledger::default();
    order_filled(&mut ledger, 1, 1);
    let _ = ledger.prune(at(2 * HOUR_S), |_| false);
    let before = ledger.clone();
    assert_eq!(
        ledger.decide(at(2 * HOUR_S), &decision(1, submit(7), 1)),
        Err(LedgerError::SlotReused(key(1)))
    );
    assert_eq!(ledger, before);
    assert_eq!(ledger.last_strategy_order(), Some(OrderId(1)));
}

#[test]
fn what_an_order_was_taken_for_is_remembered_with_it() {
    let mut ledger = ledger();
    ledger.submitting(at(1), key(1), None).unwrap();
    ledger.attempted(at(1), key(1), &Outcome::Refused(failed(Phase::Done))).unwrap();
    let _ = ledger.prune(at(2 * HOUR_S), |_| false);
    assert!(ledger.order(OrderId(1)).is_none());
    let applied = ledger.update(at(2 * HOUR_S), &filled(1, 1, 4)).unwrap();
    assert_eq!((applied.refuted, applied.closed, applied.leaves), (Some(Refuted::Refusal), false, Lots(4)));
    assert!(ledger.working(OrderId(1)).is_some(), "it lives, and counts again");
}

#[test]
fn a_day_of_two_orders_a_second_is_remembered() {
    let mut ledger = Ledger::default();
    let (day_s, per_s) = (24 * HOUR_S, 2);
    for call in 1..day_s * per_s {
        order_filled(&mut ledger, call, call / per_s);
        if call % 500 == 0 {
            assert!(!ledger.prune(at(call / per_s), |_| false), "forced after {call}");
        }
    }
    assert!(ledger.knows(&key(1)) && ledger.is_news(&filled(1, u64::MAX, 0)));
    let state = bytes(&ledger).len();
    assert!(state < 13_500_000, "{state}");
}

#[test]
fn the_oldest_are_forgotten_when_there_are_too_many_and_it_says_so() {
    let mut ledger = Ledger::default();
    let most = (Ledger::TOMBSTONES_MAX + Ledger::WHOLE_MAX) as u64;
    let mut forced = 0;
    for call in 1..=most + 1_000 {
        order_filled(&mut ledger, call, 1);
        if call % 500 == 0 {
            let now = ledger.prune(at(2), |_| false);
            assert_eq!(now, call > most, "{call}");
            forced += usize::from(now);
        }
    }
    assert_eq!(forced, 2);
    let kept = (1..=most + 1_000).filter(|call| ledger.knows(&key(*call))).count();
    assert_eq!(kept as u64, most);
}

#[test]
fn a_strategy_that_changes_its_quotes_for_hours_keeps_a_small_state() {
    let mut ledger = Ledger::default();
    ledger.decide(at(1), &decision(1, submit(1), 0)).unwrap();
    ledger.update(at(1), &OrderUpdate { change: OrderChange::Accepted, ..filled(1, 1, 0) }).unwrap();
    let amends = 200_000;
    for call in 2..2 + amends {
        let second = call / 20;
        let amend = AmendOrder { id: OrderId(1), quantity: Lots(10), limit: Some(PriceTicks(100)) };
        ledger.decide(at(second), &decision(call, Action::Amend(amend), 0)).unwrap();
        ledger.submitting(at(second), key(call), None).unwrap();
        ledger.attempted(at(second), key(call), &Outcome::Done { updates: Vec::new() }).unwrap();
        if call % 500 == 0 {
            let _ = ledger.prune(at(second), |_| false);
        }
    }
    let _ = ledger.prune(at(amends / 20), |_| false);
    let state = bytes(&ledger).len();
    assert!(state < 1 << 20, "{state}");
    assert!(ledger.working(OrderId(1)).is_some());
    let _ = ledger.prune(at(amends / 20 + HOUR_S), |_| false);
    assert_eq!(ledger.intents().len(), 1, "only the order's own");
}

#[test]
fn none_of_an_instrument_is_forgotten_while_only_the_account_can_tell_what_became_of_an_order_in_it() {
    let mut ledger = Ledger::default();
    ledger.decide(at(2 * HOUR_S), &decision(1, submit(1), 0)).unwrap();
    ledger.submitting(at(2 * HOUR_S), key(1), Some(baseline(2 * HOUR_S))).unwrap();
    // By a clock that was set back.
    order_filled(&mut ledger, 2, HOUR_S);
    let _ = ledger.prune(at(3 * HOUR_S), |_| false);
    assert!(ledger.order(OrderId(2)).is_some());
    ledger.attempted(at(3 * HOUR_S), key(1), &Outcome::Refused(failed(Phase::Done))).unwrap();
    let _ = ledger.prune(at(3 * HOUR_S), |_| false);
    assert!(ledger.order(OrderId(2)).is_none());
}
