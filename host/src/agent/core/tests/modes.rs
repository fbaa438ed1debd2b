//! Halts, modes and what is still allowed in each.

use super::*;
use crate::agent::core::{Event, FailAction, Letter, Operator};
use crate::orders::{RejectReason, StrategyEvent, Verdict};
use crate::resilience::{Mode, Permille};

fn mode_refusals(rig: &Rig) -> usize {
    let by_mode = |event: &&StrategyEvent| {
        matches!(event, StrategyEvent::Rejected { reason: RejectReason::Mode | RejectReason::Risk, .. })
    };
    rig.heard().iter().filter(by_mode).count()
}

#[test]
fn a_trap_loses_the_intents_of_its_call_and_halts_the_strategy() {
    let mut rig = Rig::new();
    rig.want(vec![bid(1, 2, 95)]);
    let seen = rig.strategy.script().ticks_seen;
    rig.tick_with(Step::trap());
    assert!(rig.core().is_halted());
    assert_eq!(rig.core().mode(), Mode::Observation);
    assert!(rig.core().ledger().order(OrderId(999)).is_none(), "it wanted that before it trapped");
    let Some(Letter::Call { input, failure, .. }) = rig.letters.first() else { panic!("{:?}", rig.letters) };
    assert!(!input.is_empty() && failure.code == "trap_unreachable");
    assert!(rig.venue.resting().is_empty(), "its working order was cancelled");
    rig.tick();
    assert_eq!(rig.strategy.script().ticks_seen, seen + 1);
    rig.check_intents();
    rig.check_folds();
}

#[test]
fn a_halt_does_to_orders_and_positions_what_is_configured() {
    for (action, resting, position) in
        [(FailAction::Hold, 1, 3), (FailAction::Cancel, 0, 3), (FailAction::Flatten, 0, 0)]
    {
        let mut rig = Rig::with(|config, _| config.on_halt = action);
        rig.want(vec![buy(1, 3), bid(2, 2, 95)]);
        rig.tick_with(Step::trap());
        rig.live(10_000);
        assert_eq!((rig.venue.resting().len(), rig.venue.position), (resting, position), "{action:?}");
        assert!(rig.core().is_halted());
        rig.check_books();
        rig.check_folds();
    }
}

#[test]
fn closing_waits_for_a_venue_that_tells_of_a_cancel_later() {
    let mut rig = Rig::with(|config, _| config.on_halt = FailAction::Flatten);
    rig.venue.terse = true;
    rig.want(vec![buy(1, 3), bid(2, 2, 95)]);
    rig.poll();
    let before = rig.sent.len();
    rig.tick_with(Step::trap());
    rig.advance(1_000);
    assert_eq!(rig.sent.len(), before + 1, "one cancel, not one for every step");
    rig.live(10_000);
    rig.live(10_000);
    assert_eq!((rig.venue.position, rig.position()), (0, 0));
}

#[test]
fn an_order_that_may_exist_does_not_keep_a_certain_position_open() {
    let mut rig = Rig::with(|config, _| config.on_halt = FailAction::Flatten);
    rig.want(vec![buy(1, 3)]);
    rig.faults = std::iter::repeat_n(Fault::Dropped, 5).collect();
    rig.queries_lost = true;
    rig.want(vec![bid(2, 2, 95)]);
    rig.live(400_000); // given up, breaker closed again
    assert_eq!(rig.placing(2), crate::orders::IntentState::DeadLettered { ambiguous: true });
    rig.tick_with(Step::trap());
    rig.live(20_000);
    assert_eq!(rig.venue.position, 0);
    rig.check_books();
}

/// Long 5, and a sell order of 3 of which nobody knows whether it was executed.
fn long_in_doubt(action: FailAction) -> Rig {
    let mut rig = Rig::with(|config, _| (config.on_halt, config.on_stop) = (action, action));
    rig.want(vec![buy(1, 5)]);
    rig.faults = std::iter::repeat_n(Fault::Dropped, 5).collect();
    rig.queries_lost = true;
    rig.want(vec![sell(2, 3)]);
    rig.live(400_000); // given up, breaker closed again
    assert_eq!(rig.placing(2), crate::orders::IntentState::DeadLettered { ambiguous: true });
    rig
}

#[test]
fn an_agent_that_stops_closes_what_is_certain_names_the_doubt_and_does_not_try_in_vain() {
    let mut rig = long_in_doubt(FailAction::Flatten);
    let (begun, decided, sent) = (rig.now.mono, rig.records().count(), rig.sent.len());
    rig.step(Event::Stop);
    rig.run();
    rig.live(1_000);
    assert!(rig.stopped, "stopped after {:?}", rig.now.mono.since(begun));
    assert_eq!((rig.venue.position, rig.position()), (3, 3), "of 5 the doubtful order may have sold 3");
    assert_eq!(rig.sent.len(), sent + 1);
    assert!(rig.records().count() - decided < 8, "rounds were wasted");
    let told = |code: &str| rig.alerts.iter().filter(|told| *told == code).count();
    assert_eq!((told("flatten_in_doubt"), told("flatten_failed")), (1, 0));
    rig.check_folds();
}

#[test]
fn a_halted_agent_closes_the_rest_once_the_doubt_is_ended() {
    let mut rig = long_in_doubt(FailAction::Flatten);
    rig.tick_with(Step::trap());
    rig.live(10_000);
    assert_eq!(rig.venue.position, 3);
    assert_eq!(rig.alerts.iter().filter(|code| *code == "closing_waits").count(), 1);
    rig.operator(Operator::Resolve { key: rig.key(2), note: "never executed".into() });
    rig.live(10_000);
    assert_eq!((rig.venue.position, rig.position()), (0, 0));
    rig.check_books();
    rig.check_folds();
}

#[test]
fn an_agent_that_only_cancels_is_not_held_up_by_a_doubt() {
    let mut rig = long_in_doubt(FailAction::Cancel);
    rig.step(Event::Stop);
    rig.run();
    assert!(rig.stopped && !rig.alerts.iter().any(|code| code == "flatten_in_doubt"));
}

#[test]
fn a_position_above_the_largest_order_is_closed_in_parts() {
    let mut rig = Rig::with(|config, _| config.on_halt = FailAction::Flatten);
    rig.want(vec![buy(1, 1_000), buy(2, 1_000), buy(3, 500)]);
    rig.tick_with(Step::trap());
    rig.live(10_000);
    assert_eq!(rig.venue.position, 0);
    rig.check_books();
    rig.check_folds();
}

#[test]
fn faults_in_a_row_halt_and_a_success_between_them_does_not() {
    let mut rig = Rig::with(|config, _| config.limits.faults_in_a_row_max = 3);
    for _ in 0..2 {
        rig.tick_with(Step::fault());
    }
    rig.tick();
    for _ in 0..2 {
        rig.tick_with(Step::fault());
    }
    assert!(!rig.core().is_halted());
    rig.tick_with(Step::fault());
    assert!(rig.core().is_halted());
    assert!(rig.sent.is_empty());
    rig.check_folds();
}

fn ruined() -> Rig {
    let mut rig = Rig::with(|config, _| {
        config.degradation.drawdown_max_permille = Permille::of::<1>();
        config.degradation.dwell_ms = 20_000;
    });
    rig.want(vec![buy(1, 200), bid(2, 2, 91)]);
    rig.venue.price = 92;
    rig.tick();
    rig
}

#[test]
fn a_drawdown_over_the_limit_cancels_flattens_checkpoints_and_stops() {
    let mut rig = ruined();
    assert_eq!(rig.core().mode(), Mode::Shutdown);
    rig.live(20_000);
    assert!(rig.stopped);
    assert_eq!((rig.venue.position, rig.venue.resting().len()), (0, 0));
    rig.check_books();
    assert_eq!(rig.checkpoints.last().unwrap().number, rig.journal.len() as u64);

    // Latched: the next start does not trade, whatever it has to go by.
    for without in [false, true] {
        rig.kill(0);
        if without {
            rig.checkpoints.clear();
        }
        rig.start();
        rig.run();
        rig.want(vec![buy(10, 1)]);
        assert_eq!((rig.core().mode(), rig.venue.position), (Mode::Shutdown, 0));
        rig.live(10_000);
        assert!(rig.stopped);
    }
}

#[test]
fn a_shutdown_that_died_half_way_is_finished_by_the_next_start() {
    let mut rig = Rig::with(|config, _| config.degradation.drawdown_max_permille = Permille::of::<1>());
    rig.want(vec![buy(1, 200)]);
    rig.venue.price = 92;
    rig.hold_acks = true;
    rig.tick();
    rig.kill(1); // the mode is on the disk, the closing order is not
    rig.hold_acks = false;
    rig.start();
    rig.run();
    assert_eq!(rig.core().mode(), Mode::Shutdown);
    rig.live(20_000);
    assert_eq!((rig.venue.position, rig.stopped), (0, true));
}

#[test]
fn an_operator_releases_a_shutdown_and_the_agent_goes_up_by_its_dwells() {
    let mut rig = ruined();
    rig.live(20_000);
    rig.kill(0);
    rig.start();
    rig.operator(Operator::Release);
    assert_eq!(rig.core().mode(), Mode::Observation);
    rig.live(30_000);
    assert_eq!(rig.core().mode(), Mode::ReadOnly);
    rig.live(20_000);
    assert_eq!(rig.core().mode(), Mode::Full);
    rig.want(vec![buy(10, 1)]);
    assert_eq!(rig.venue.position, 1);
    rig.check_folds();
}

#[test]
fn a_stale_feed_leads_to_observation_in_which_intents_are_suppressed_and_told() {
    let mut rig = Rig::new();
    rig.advance(61_000);
    assert_eq!(rig.core().mode(), Mode::Observation);
    rig.want(vec![buy(1, 2)]);
    assert!(rig.sent.is_empty());
    assert_eq!(rig.verdicts(), [Verdict::Suppressed(Mode::Observation)]);
    assert_eq!(mode_refusals(&rig), 1);
    assert!(rig.heard().contains(&StrategyEvent::ModeChanged(Mode::Observation)));
    rig.live(140_000);
    assert_eq!(rig.core().mode(), Mode::Full);
    rig.want(vec![buy(1, 2)]);
    assert_eq!(rig.venue.position, 2);
}

#[test]
fn read_only_lets_orders_reduce_and_makes_them_reduce_only() {
    let mut rig = Rig::new();
    rig.want(vec![buy(1, 5), bid(2, 1, 95)]);
    rig.operator(Operator::Floor(Mode::ReadOnly));
    rig.want(vec![OrderIntent::Cancel(OrderId(2))]);
    rig.want(vec![buy(3, 1), sell(4, 6), sell(5, 2)]);
    assert_eq!((rig.venue.position, rig.venue.resting().len(), mode_refusals(&rig)), (3, 0, 2));
    let order = rig.core().ledger().order(OrderId(5)).unwrap();
    assert!(order.terms.options.reduce_only);
    let (request, ..) = rig.sent.iter().find(|(request, ..)| request.key == order.key).unwrap();
    assert!(String::from_utf8_lossy(&request.body.0).contains("\"reduce_only\":true"));
    rig.check_books();
}

#[test]
fn an_open_write_breaker_means_read_only_until_a_probe_succeeds_and_a_dwell_has_passed() {
    let mut rig = Rig::new();
    rig.faults = std::iter::repeat_n(Fault::NotSent, 5).collect();
    rig.want((1..=5).map(|id| buy(id, 1)).collect());
    assert_eq!((rig.core().mode(), rig.sent.len()), (Mode::ReadOnly, 5));
    assert!(rig.alerts.iter().any(|code| code == "breaker"));
    for _ in 0..7 {
        rig.tick();
        rig.advance(10_000);
        assert_eq!((rig.sent.len(), rig.core().mode()), (5, Mode::ReadOnly));
    }
    assert!(rig.probe());
    rig.tick();
    assert_eq!(rig.core().mode(), Mode::ReadOnly, "the dwell has not passed");
    rig.live(70_000);
    assert_eq!((rig.core().mode(), rig.venue.position), (Mode::Full, 5));
    rig.check_books();
}

#[test]
fn a_dead_letter_index_that_fails_leads_to_observation() {
    let mut rig = Rig::new();
    rig.step(Event::IndexHealth { healthy: false });
    rig.run();
    assert_eq!(rig.core().mode(), Mode::Observation);
    rig.step(Event::IndexHealth { healthy: true });
    rig.live(150_000);
    assert_eq!(rig.core().mode(), Mode::Full);
}

#[test]
fn an_attempt_whose_record_was_written_while_the_mode_fell_is_not_made() {
    let mut rig = Rig::new();
    rig.hold_acks = true;
    rig.want(vec![buy(1, 2)]);
    rig.operator(Operator::Floor(Mode::Observation));
    rig.hold_acks = false;
    rig.ack();
    rig.advance(20_000);
    assert!(rig.sent.is_empty());
    assert!(!rig.intent(1).maybe_executed());
    rig.operator(Operator::Floor(Mode::Full));
    rig.live(140_000);
    assert_eq!(rig.venue.position, 2);
    rig.check_folds();
}

#[test]
fn an_intent_that_was_decided_before_the_mode_fell_waits_for_it() {
    let mut rig = Rig::new();
    rig.faults = [Fault::NotSent].into();
    rig.want(vec![buy(1, 2)]);
    rig.operator(Operator::Floor(Mode::Observation));
    rig.advance(20_000);
    assert_eq!(rig.sent.len(), 1);
    rig.operator(Operator::Floor(Mode::Full));
    rig.live(140_000);
    assert_eq!(rig.venue.position, 2);
}
