//! A strategy that wants too much at once, or never stops wanting; and the order in which wishes leave.

use super::*;
use crate::agent::core::Letter;
use crate::orders::StrategyEvent;
use crate::resilience::Mode;

fn halted_because(rig: &Rig, code: &str) {
    assert!(rig.core().is_halted());
    assert_eq!(rig.core().mode(), Mode::Observation);
    let Some(Letter::Call { failure, input, .. }) = rig.letters.first() else { panic!("{:?}", rig.letters) };
    assert_eq!(failure.code, code);
    assert!(!input.is_empty());
    rig.check_intents();
    rig.check_folds();
}

#[test]
fn more_intents_than_a_call_may_return_are_discarded_and_halt_the_strategy() {
    let mut rig = Rig::with(|config, _| config.limits.intents_per_call_max = 3);
    rig.want((1..=3).map(|id| buy(id, 1)).collect());
    assert_eq!(rig.sent.len(), 3);
    rig.want((4..=7).map(|id| buy(id, 1)).collect());
    assert_eq!(rig.sent.len(), 3);
    assert!(rig.core().ledger().order(OrderId(4)).is_none());
    halted_because(&rig, "trap_output");
}

/// Refused by the risk gate: more than the largest order.
fn too_large(_: &StrategyEvent) -> Vec<OrderIntent> {
    vec![buy(1, 5_000)]
}

#[test]
fn a_strategy_that_answers_every_refusal_with_another_refused_order_is_halted() {
    let mut rig = Rig::new();
    rig.strategy.script().answer = Some(too_large);
    rig.want(vec![buy(1, 5_000)]);
    assert_eq!(rig.core().stats().refused, u64::from(rig.config.limits.calls_per_event_max));
    assert!(rig.sent.is_empty());
    halted_because(&rig, "calls_per_event");
}

#[test]
fn many_answers_to_one_refusal_do_not_multiply() {
    let mut rig = Rig::new();
    rig.strategy.script().answer = Some(|_| (1..=60).map(|_| buy(1, 5_000)).collect());
    rig.want(vec![buy(1, 5_000)]);
    assert!(rig.core().stats().calls < 60 * 300);
    halted_because(&rig, "calls_per_event");
}

#[test]
fn a_strategy_that_takes_every_order_back_before_it_leaves_is_halted() {
    let mut rig = Rig::with(|_, gate| {
        gate.limiter.burst_calls = 1.try_into().unwrap();
        gate.limiter.calls_per_second = 1.try_into().unwrap();
    });
    rig.want(vec![buy(1, 1)]);
    // A cancel needs an order that was decided before, so the refusal of another one is what leads to it.
    rig.strategy.script().answer = Some(|event| match event {
        StrategyEvent::Cancelled(OrderId(id)) => vec![bid(id + 1, 1, 95), buy(id + 10_001, 5_000)],
        StrategyEvent::Rejected { order, .. } => vec![OrderIntent::Cancel(OrderId(order.0 - 10_000))],
        _ => Vec::new(),
    });
    rig.want(vec![bid(2, 1, 95), buy(10_002, 5_000)]);
    assert_eq!(rig.sent.len(), 1);
    halted_because(&rig, "calls_per_event");
}

#[test]
fn an_answer_to_each_of_many_pieces_of_news_is_no_runaway() {
    let mut rig = Rig::new();
    rig.want((1..=50).map(|id| bid(id, 20, 95)).collect());
    rig.strategy.script().answer = Some(|event| match event {
        StrategyEvent::Filled { .. } => vec![buy(1, 5_000)],
        _ => Vec::new(),
    });
    for key in (1..=50).map(|id| rig.key(id)).collect::<Vec<_>>() {
        for _ in 0..10 {
            rig.venue.fill(key, 1, 95);
        }
    }
    rig.poll(); // five hundred fills in one event
    assert_eq!(rig.core().stats().refused, 500);
    for _ in 0..500 {
        rig.want(vec![buy(1, 5_000)]);
    }
    assert!(!rig.core().is_halted());
    rig.check_books();
}

/// Orders as the venue received them first.
fn arrived(rig: &Rig) -> Vec<OrderId> {
    let order = |key| rig.core().ledger().order_of(key).map(|(id, _)| id);
    rig.sent.iter().filter_map(|(request, ..)| order(&request.key)).collect()
}

#[test]
fn intents_leave_in_the_order_in_which_they_were_decided() {
    let ids: Vec<OrderId> = (1..=20).map(OrderId).collect();
    let mut rig = Rig::new();
    rig.want((1..=20).map(|id| bid(id, 1, 95)).collect());
    assert_eq!(arrived(&rig), ids);

    // Also when the rate limit holds them back, and when the host dies in between.
    for dies in [false, true] {
        let mut rig = Rig::with(|_, gate| {
            gate.limiter.burst_calls = 1.try_into().unwrap();
            gate.limiter.calls_per_second = 1.try_into().unwrap();
        });
        rig.want((1..=4).map(|id| bid(id, 1, 95)).collect());
        rig.want((5..=8).map(|id| bid(id, 1, 95)).collect());
        assert_eq!(arrived(&rig), ids[..1]);
        if dies {
            rig.kill(0);
            rig.start();
            rig.run();
        }
        rig.live(20_000);
        assert_eq!(arrived(&rig), ids[..8]);
    }
}
