//! Strikes, pauses, quarantine, and what a new instance is given.

use super::keeper::Keeper;
use super::script::trap;
use super::*;
use crate::agent::core::{
    CoreConfig, FailAction, Letter, Operator, State, StrategyStatus, Stretch, Supervision,
};
use crate::orders::{Record, StrategyEvent};
use crate::plugin::{CallError, Fault as StrategyFault, StateSnapshot, TrapKind};
use crate::resilience::{Class, Failure, Mode, Phase};
use std::num::NonZeroU32;
use std::time::Duration;

fn supervised(config: &mut CoreConfig) {
    config.supervision = Supervision { strikes_max: NonZeroU32::new(3).unwrap(), ..Supervision::default() };
    config.degradation.dwell_ms = 1_000;
}

fn rig() -> Rig {
    Rig::with(|config, _| supervised(config))
}

fn release(note: &str) -> Operator {
    Operator::ReleaseStrategy { note: note.into() }
}

fn is_quarantined(rig: &Rig) -> bool {
    matches!(rig.core().status().strategy, StrategyStatus::Quarantined { .. })
}

fn count(rig: &Rig, is: fn(&Record) -> bool) -> usize {
    rig.records().filter(|record| is(record)).count()
}

#[test]
fn a_strategy_that_failed_waits_and_is_started_again() {
    let mut rig = rig();
    rig.want(vec![bid(1, 2, 95)]);
    rig.tick_with(Step::trap());
    let seen = rig.strategy.script().ticks_seen;
    assert!(rig.core().is_halted());
    assert_eq!(rig.core().status().strategy.code(), "backoff");
    assert_eq!(rig.core().mode(), Mode::Observation);
    assert!(rig.venue.resting().is_empty(), "the fail action is to cancel");
    rig.tick();
    assert_eq!(rig.strategy.script().ticks_seen, seen, "nothing is called meanwhile");
    rig.advance(998);
    assert!(rig.instances.is_empty());
    rig.advance(2);
    assert_eq!(rig.instances.len(), 1);
    assert!(!rig.core().is_halted());
    assert_eq!((rig.core().stats().strikes, rig.core().stats().restarts), (1, 1));
    rig.tick();
    assert_eq!(rig.strategy.script().ticks_seen, seen + 1);
    rig.live(40_000);
    assert_eq!(rig.core().mode(), Mode::Full);
    rig.want(vec![buy(5, 1)]);
    assert_eq!(rig.position(), 1, "and it trades again");
    assert_eq!(count(&rig, |record| matches!(record, Record::Restarted { .. })), 1);
    rig.check_intents();
    rig.check_folds();
}

#[test]
fn pauses_double_with_every_strike_up_to_the_longest() {
    let supervision = Supervision { backoff_ms: 1_000, backoff_ms_max: 5_000, ..Supervision::default() };
    let pauses: Vec<u64> = (1..=5).map(|strikes| supervision.backoff(strikes).as_millis() as u64).collect();
    assert_eq!(pauses, [1_000, 2_000, 4_000, 5_000, 5_000]);
    let short = Supervision { backoff_ms_max: 1, ..supervision };
    assert_eq!(short.backoff(3), Duration::from_millis(1_000));
    assert_eq!(supervision.backoff(u32::MAX), Duration::from_millis(5_000));
}

#[test]
fn one_that_fails_too_often_is_quarantined_until_an_operator_says_why_it_may_run() {
    let mut rig = rig();
    for strike in 1..=3 {
        rig.tick_with(Step::trap());
        assert_eq!(is_quarantined(&rig), strike == 3);
        rig.advance(10_000);
    }
    assert_eq!(rig.instances.len(), 2, "two pauses, and then none");
    assert!(rig.alerts.iter().any(|code| code == "strategy_quarantined"));
    // Durable: from a checkpoint, and from the journal alone.
    for checkpoints_kept in [true, false] {
        rig.kill(usize::MAX);
        if !checkpoints_kept {
            rig.checkpoints.clear();
        }
        let seen = rig.strategy.script().ticks_seen;
        rig.start();
        rig.run();
        rig.tick();
        assert!(is_quarantined(&rig));
        assert_eq!(rig.strategy.script().ticks_seen, seen);
        assert_eq!(rig.core().mode(), Mode::Observation);
    }
    rig.alerts.clear();
    rig.operator(release("  "));
    assert!(is_quarantined(&rig));
    assert_eq!(rig.alerts, ["operator_order_refused"]);
    rig.operator(release("the data was bad"));
    assert!(!rig.core().is_halted());
    assert_eq!(rig.core().status().strikes, 0);
    let said =
        rig.records().any(|record| matches!(record, Record::Released { note } if note == "the data was bad"));
    assert!(said);
    rig.tick_with(Step::trap());
    assert!(!is_quarantined(&rig), "earlier strikes are forgotten");
    rig.kill(usize::MAX);
    rig.checkpoints.clear();
    rig.start();
    rig.run();
    assert_eq!((rig.core().is_halted(), rig.core().status().strikes), (false, 1));
    rig.check_intents();
}

#[test]
fn strikes_outside_the_window_do_not_count() {
    let mut rig = rig();
    for _ in 0..6 {
        rig.tick_with(Step::trap());
        rig.advance(301_000);
        assert!(!rig.core().is_halted(), "never three in ten minutes");
    }
    assert_eq!(rig.core().stats().strikes, 6);
}

#[test]
fn strikes_survive_a_restart_of_the_host() {
    for checkpoint_lost in [false, true] {
        let mut rig = rig();
        for _ in 0..2 {
            rig.tick_with(Step::trap());
            rig.advance(5_000);
        }
        rig.kill(usize::MAX);
        if checkpoint_lost {
            rig.checkpoints.clear();
        }
        rig.start();
        rig.run();
        assert_eq!((rig.core().is_halted(), rig.core().status().strikes), (false, 2));
        rig.tick_with(Step::trap());
        assert!(is_quarantined(&rig), "the third of three");
    }
}

#[test]
fn one_strike_is_enough_when_one_is_allowed() {
    let mut rig = Rig::new();
    rig.tick_with(Step::trap());
    assert!(is_quarantined(&rig));
    rig.live(100_000);
    assert!(rig.instances.is_empty());
}

#[test]
fn a_strategy_that_refuses_to_start_again_is_not_asked_again() {
    let refusal = CallError::Fault(StrategyFault::InvalidSettings("no".into()));
    let forgot = CallError::Fault(StrategyFault::IncompatibleState("old".into()));
    for (init, load) in [(Some(refusal), None), (None, Some(forgot))] {
        let mut rig = rig();
        rig.strategy.script().state = Some(StateSnapshot { schema: 1, data: vec![1] });
        rig.want(vec![buy(1, 1)]); // a checkpoint with a state
        rig.tick_with(Step::trap());
        rig.strategy.script().init_error = init;
        rig.strategy.script().load_error = load;
        rig.advance(1_000);
        assert!(is_quarantined(&rig));
        assert!(rig.alerts.iter().any(|code| code == "strategy_refuses_start"), "{:?}", rig.alerts);
        rig.check_intents();
    }
}

#[test]
fn one_that_traps_in_its_start_or_cannot_be_made_has_a_strike_and_another_try() {
    let mut rig = rig();
    rig.instance_faults.push_back(Failure::new(Class::Resource, "no_memory", Phase::NotSent, "scripted"));
    rig.tick_with(Step::trap());
    rig.advance(1_000);
    assert_eq!((rig.core().status().strikes, rig.core().status().strategy.code()), (2, "backoff"));
    rig.advance(2_000);
    assert!(!rig.core().is_halted());
    rig.advance(700_000);
    rig.tick_with(Step::trap());
    rig.strategy.script().init_error =
        Some(CallError::Trap { kind: TrapKind::Deadline, detail: "slow".into() });
    rig.advance(1_000);
    assert_eq!(rig.core().status().strikes, 2);
    rig.strategy.script().init_error = None;
    rig.advance(2_000);
    assert!(!rig.core().is_halted());
    rig.check_intents();
}

#[test]
fn a_new_instance_has_the_last_state_and_every_good_call_since() {
    let mut rig = Rig::keeping(|| Keeper::brittle(31));
    rig.config.supervision = Supervision::default();
    rig.kill(usize::MAX);
    rig.checkpoints.clear();
    rig.journal.clear();
    rig.start();
    rig.run();
    for tick in 0..60 {
        rig.venue.trade_at(100 + tick % 5);
        rig.tick();
        rig.advance(if rig.core().is_halted() { 2_000 } else { 40 });
    }
    let stats = rig.core().stats();
    assert_eq!((stats.strikes, stats.restarts), (1, 1));
    assert!(!rig.alerts.iter().any(|code| code.starts_with("replay_")), "{:?}", rig.alerts);
    assert!(rig.core().services.kv_get("spoiled").is_none());
    // From the first record on, with the calls as they were: the same strategy.
    rig.check_refeeds();
    rig.check_intents();
}

#[test]
fn the_number_of_calls_that_are_kept_is_bounded_and_what_is_left_is_given() {
    let mut rig = Rig::with(|config, _| {
        supervised(config);
        config.record_inputs = true;
        config.limits.calls_kept_max = 10;
    });
    rig.checkpoint_fails = true;
    for _ in 0..25 {
        rig.tick();
    }
    rig.tick_with(Step::trap());
    let seen = rig.strategy.script().ticks_seen;
    rig.advance(1_000);
    assert!(!rig.core().is_halted());
    let again = rig.strategy.script().ticks_seen - seen;
    assert!((5..=10).contains(&again), "{again} calls were made again");
    assert!(rig.records().any(|record| matches!(record, Record::Restarted { forgot, .. } if *forgot > 0)));
}

#[test]
fn one_that_does_not_do_again_what_it_did_is_quarantined() {
    let mut rig = Rig::with(|config, _| {
        supervised(config);
        config.record_inputs = true;
    });
    rig.tick();
    rig.tick_with(Step::trap());
    // The same calls, and another answer.
    rig.strategy.script().answer = Some(|_| vec![buy(7, 1)]);
    rig.strategy.script().ticks.extend(vec![Step::Want(vec![buy(7, 1)]); 9]);
    rig.advance(1_000);
    assert!(is_quarantined(&rig));
    assert!(rig.alerts.iter().any(|code| code == "replay_diverged"), "{:?}", rig.alerts);
    assert!(rig.sent.is_empty());
    // Released, it goes on from its last saved state without those calls.
    rig.strategy.script().answer = None;
    rig.strategy.script().ticks.clear();
    rig.operator(release("repaired"));
    assert!(!rig.core().is_halted(), "{:?}", rig.alerts);
    rig.check_intents();
}

#[test]
fn news_that_came_meanwhile_is_told_to_the_new_instance_once() {
    let mut rig = Rig::with(|config, _| {
        supervised(config);
        config.on_halt = FailAction::Hold;
    });
    rig.want(vec![bid(1, 2, 95)]);
    rig.tick_with(Step::trap());
    rig.take_heard();
    rig.venue.trade_at(95);
    rig.poll();
    assert_eq!((rig.position(), rig.heard().len()), (2, 0));
    rig.advance(1_000);
    let heard = rig.take_heard();
    let fills = heard.iter().filter(|event| matches!(event, StrategyEvent::Filled { .. })).count();
    assert_eq!(fills, 1, "{heard:?}");
    rig.check_books();
}

#[test]
fn the_fail_action_applies_to_every_strike() {
    for (action, resting, position) in
        [(FailAction::Hold, 1, 3), (FailAction::Cancel, 0, 3), (FailAction::Flatten, 0, 0)]
    {
        let mut rig = Rig::with(|config, _| {
            supervised(config);
            config.on_halt = action;
        });
        rig.want(vec![buy(1, 3), bid(2, 2, 91)]);
        rig.tick_with(Step::trap());
        rig.advance(3_000);
        assert!(!rig.core().is_halted());
        rig.live(20_000);
        assert_eq!((rig.venue.resting().len(), rig.venue.position), (resting, position), "{action:?}");
        // What it does after that is its own again.
        rig.live(20_000);
        rig.want(vec![buy(7, 2)]);
        rig.live(20_000);
        assert_eq!(rig.venue.position, position + 2, "{action:?}");
        rig.check_books();
    }
}

#[test]
fn faults_and_traps_are_counted_apart() {
    let mut rig = Rig::with(|config, _| {
        supervised(config);
        config.limits.faults_in_a_row_max = 3;
    });
    for _ in 0..3 {
        rig.tick_with(Step::fault());
    }
    let stats = rig.core().stats();
    assert_eq!((stats.faults, stats.traps, stats.strikes), (3, 0, 1));
    rig.advance(1_000);
    for _ in 0..2 {
        rig.tick_with(Step::fault());
    }
    assert!(!rig.core().is_halted(), "a new instance begins to count anew");
}

#[test]
fn a_call_that_failed_can_be_made_again_offline() {
    let mut rig = Rig::keeping(|| Keeper::brittle(23));
    for tick in 0..30 {
        rig.venue.trade_at(100 + tick % 5);
        rig.tick();
        rig.advance(40);
    }
    let Some(Letter::Call { input, failure, call }) = rig.letters.first() else {
        panic!("{:?}", rig.letters)
    };
    let letter = Stretch::decode(input).unwrap();
    assert_eq!((letter.failed().unwrap().call, failure.code.as_ref()), (*call, "trap_unreachable"));
    let replayed = letter.replay(&mut *Keeper::brittle(23)).unwrap();
    assert_eq!((replayed.left_out, replayed.outcome), (0, Some(Err(trap()))));
    // The repaired one comes to the same call, and does not fail.
    let replayed = letter.replay(&mut *Keeper::fresh()).unwrap();
    assert!(replayed.outcome.unwrap().is_ok());
    // One that decides otherwise is told apart before it.
    if replayed.before > 0 {
        assert!(letter.replay(&mut *Keeper::moody()).is_err());
    }
    assert!(Stretch::decode(&input[..input.len() / 2]).is_err());
}

#[test]
fn a_state_of_an_older_host_that_was_halted_starts() {
    let mut rig = rig();
    rig.want(vec![buy(1, 1)]);
    let newest = rig.checkpoints.last_mut().unwrap();
    let mut value: ciborium::Value = ciborium::from_reader(&newest.payload[..]).unwrap();
    let fields = value.as_map_mut().unwrap();
    let new = ["settings", "configured", "strikes", "quarantine"];
    fields.retain(|(key, _)| !new.contains(&key.as_text().unwrap()));
    for (key, value) in fields.iter_mut() {
        if key.as_text() == Some("halted") {
            *value = true.into();
        }
    }
    newest.payload.clear();
    ciborium::into_writer(&value, &mut newest.payload).unwrap();
    let state = State::decode(&rig.config.name, &newest.payload).unwrap();
    assert!(state.halted && state.settings.is_none());
    rig.kill(usize::MAX);
    rig.start();
    rig.run();
    assert!(!rig.core().is_halted(), "its halt ended with its run");
}

#[test]
fn an_instance_that_nobody_waits_for_is_not_taken() {
    let mut rig = rig();
    rig.hold_instances = true;
    rig.tick_with(Step::trap());
    rig.advance(1_000);
    let (number, plugin) = rig.instances[0];
    let instance = |rig: &Rig| Ok(crate::agent::core::Instance(rig.fresh(plugin)));
    let late = instance(&rig);
    rig.step(crate::agent::core::Event::Instance { number: number + 7, outcome: late });
    assert!(rig.core().is_halted());
    let asked = instance(&rig);
    rig.step(crate::agent::core::Event::Instance { number, outcome: asked });
    assert!(!rig.core().is_halted());
}

#[test]
fn a_timer_that_fired_in_a_call_that_failed_has_fired() {
    let mut rig = Rig::with(|config, _| {
        supervised(config);
        config.record_inputs = true;
    });
    rig.checkpoint_fails = true;
    rig.tick_with(Step::Touch(|services| {
        services.set_timer(7, crate::market::UnixNanos(services.now.0 + 1_000_000));
    }));
    rig.strategy.script().events.push_back(Step::trap());
    rig.advance(10);
    assert!(rig.core().is_halted());
    // What is made again sets it again.
    rig.strategy.script().ticks.push_back(Step::Touch(|services| {
        services.set_timer(7, crate::market::UnixNanos(services.now.0 + 1_000_000));
    }));
    rig.advance(2_000);
    assert!(!rig.core().is_halted());
    assert!(!rig.alerts.iter().any(|code| code == "replay_memory_diverged"), "{:?}", rig.alerts);
    let fired = |event: &&StrategyEvent| matches!(event, StrategyEvent::Timer(7));
    assert_eq!(rig.heard().iter().filter(fired).count(), 1);
}

#[test]
fn timers_that_are_due_when_one_of_them_is_the_end_of_an_instance_wait_for_the_next() {
    let mut rig = rig();
    rig.tick_with(Step::Touch(|services| {
        for id in [7, 8] {
            services.set_timer(id, crate::market::UnixNanos(services.now.0 + 1_000_000));
        }
    }));
    rig.strategy.script().events.push_back(Step::trap());
    rig.advance(10);
    assert!(rig.core().is_halted());
    rig.advance(2_000);
    let fired: Vec<StrategyEvent> =
        rig.heard().into_iter().filter(|event| matches!(event, StrategyEvent::Timer(_))).collect();
    assert_eq!(fired, [StrategyEvent::Timer(7), StrategyEvent::Timer(8)]);
}
