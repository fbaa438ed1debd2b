//! A change of an order counts from its decision until it is known what became of it.

use super::*;
use crate::agent::core::Operator;
use crate::orders::{AmendOrder, ExpiredBecause, IntentState, Verdict};
use crate::resilience::Mode;
use std::time::Duration;

fn amend(id: u64, lots: i64) -> OrderIntent {
    OrderIntent::Amend(AmendOrder { id: OrderId(id), quantity: Lots(lots), limit: None })
}

/// Resting bids of one lot each, at most 100 lots in all.
fn bids(count: u64) -> Rig {
    let mut rig = Rig::with(|config, _| config.risk.position_lots_max = Some(Lots(100)));
    rig.want((1..=count).map(|id| bid(id, 1, 95)).collect());
    assert_eq!(rig.venue.resting().len() as u64, count);
    rig
}

fn refused(rig: &Rig) -> usize {
    let verdicts = rig.verdicts();
    verdicts
        .iter()
        .filter(|verdict| matches!(verdict, Verdict::Refused { code, .. } if code == "POSITION"))
        .count()
}

/// What the venue would hold if everything that rests there were filled.
fn resting_lots(rig: &mut Rig) -> i64 {
    rig.venue.trade_at(90);
    rig.venue.position
}

#[test]
fn changes_of_one_call_are_judged_together() {
    let mut rig = bids(20);
    rig.want((1..=20).map(|id| amend(id, 81)).collect());
    assert_eq!(refused(&rig), 19, "80 more lots fit once");
    assert_eq!(resting_lots(&mut rig), 100);
    rig.poll();
    rig.check_books();
    rig.check_folds();
}

#[test]
fn a_change_counts_before_its_outcome_is_durable_and_the_larger_size_while_it_shrinks() {
    let mut rig = bids(20);
    rig.hold_acks = true;
    rig.want(vec![amend(1, 81)]);
    rig.want(vec![amend(2, 2)]);
    assert_eq!(rig.core().books().working()[&OrderId(1)].exposed(), Lots(81));
    rig.hold_acks = false;
    rig.ack();
    rig.run();
    assert_eq!(refused(&rig), 1);
    // What is taken away is free only when the venue has said so.
    rig.faults = [Fault::Slow(Duration::from_secs(1))].into();
    rig.want(vec![amend(1, 1), amend(3, 81)]);
    assert_eq!(refused(&rig), 2);
    rig.advance(2_000);
    rig.want(vec![amend(3, 81)]);
    assert_eq!((refused(&rig), rig.core().books().claims()), (2, 0));
    assert_eq!(resting_lots(&mut rig), 100);
    rig.poll();
    rig.check_folds();
}

#[test]
fn a_change_in_doubt_counts_until_the_doubt_is_ended_and_over_a_restart() {
    let mut rig = bids(20);
    rig.faults = std::iter::repeat_n(Fault::Dropped, 5).collect();
    rig.queries_lost = true;
    rig.want(vec![amend(1, 81)]);
    rig.live(400_000);
    let (key, _) = rig
        .core()
        .ledger()
        .intents()
        .iter()
        .find(|(_, intent)| intent.state == IntentState::DeadLettered { ambiguous: true })
        .unwrap();
    let key = *key;
    rig.queries_lost = false;
    rig.check_folds();
    for whole in [true, false] {
        rig.kill(0);
        if whole {
            rig.checkpoints.clear();
        }
        rig.start();
        rig.run();
        assert_eq!(rig.core().books().working()[&OrderId(1)].exposed(), Lots(81));
    }
    rig.live(10_000);
    // Read-only, while a letter is in doubt; the sum is judged either way.
    rig.operator(Operator::Resolve { key, note: "the order is as it was".into() });
    assert_eq!(
        (rig.core().books().working()[&OrderId(1)].exposed(), rig.core().books().claims()),
        (Lots(1), 0)
    );
    rig.live(100_000);
    assert_eq!(rig.core().mode(), Mode::Full);
    rig.want(vec![amend(2, 81)]);
    assert_eq!(refused(&rig), 0);
    rig.check_folds();
}

#[test]
fn a_change_that_was_not_made_gives_its_room_back() {
    for (fault, state) in [
        (Fault::Refused, IntentState::Rejected),
        (Fault::NotSent, IntentState::DeadLettered { ambiguous: false }),
        (Fault::Dropped, IntentState::Expired(ExpiredBecause::NeverArrived)),
    ] {
        let mut rig = bids(20);
        rig.faults = std::iter::repeat_n(fault.clone(), 5).collect();
        rig.want(vec![amend(1, 81)]);
        rig.live(200_000);
        let ended = rig.core().ledger().intents().values().any(|intent| intent.state == state);
        assert!(ended, "{fault:?}");
        rig.want(vec![amend(2, 81)]);
        assert_eq!((refused(&rig), rig.core().books().claims()), (0, 0), "{fault:?}");
        rig.check_folds();
    }
}

#[test]
fn a_change_that_the_venue_confirms_without_a_word_counts_until_it_tells_the_terms() {
    let mut rig = bids(20);
    rig.venue.terse = true;
    rig.want(vec![amend(1, 81)]);
    assert_eq!(rig.core().books().working()[&OrderId(1)].exposed(), Lots(81));
    rig.want(vec![amend(2, 2)]);
    assert_eq!(refused(&rig), 1);
    rig.check_folds();
    rig.poll();
    let order = rig.core().books().working()[&OrderId(1)];
    assert_eq!((order.leaves, order.may_add, rig.core().books().claims()), (Lots(81), Lots(0), 0));
    rig.check_folds();
}

#[test]
fn a_fill_while_a_change_is_on_its_way_leaves_what_may_still_come() {
    let mut rig = bids(1);
    rig.faults = [Fault::Slow(Duration::from_secs(1))].into();
    rig.want(vec![amend(1, 81)]);
    let key = rig.key(1);
    // The venue has changed it, and the first word of that is a fill.
    rig.venue.fill(key, 1, 95);
    let fill = rig.venue.log.last().unwrap().clone();
    rig.step(crate::agent::core::Event::Updates { cursor: 0, updates: vec![fill] });
    rig.run();
    assert_eq!(rig.core().books().working()[&OrderId(1)].exposed(), Lots(80));
    rig.advance(2_000);
    rig.poll();
    rig.check_folds();
}
