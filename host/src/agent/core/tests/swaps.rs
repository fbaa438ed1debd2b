//! One component in the place of another, while it trades.

use super::keeper::Keeper;
use super::probations::watched;
use super::script::{Scripted, trap};
use super::*;
use crate::agent::core::{
    Candidate, CoreConfig, Event, LastRun, Operator, ShadowAnswer, State, StrategyStatus, SwapEvent,
    SwapStage,
};
use crate::orders::{Digest, Record, StrategyEvent, Swap, SwapReason};
use crate::plugin::{CallError, Fault as StrategyFault, Setting, SettingValue, StateSnapshot};

/// A rig that records, with a strategy that keeps everything, after so many ticks.
pub(super) fn trading(ticks: i64) -> Rig {
    let mut rig = Rig::keeping(Keeper::fresh);
    run(&mut rig, 0..ticks);
    rig
}

pub(super) fn run(rig: &mut Rig, ticks: std::ops::Range<i64>) {
    for tick in ticks {
        rig.venue.trade_at(100 + tick % 7 - tick % 3);
        rig.tick();
        rig.advance(40);
        if tick % 5 == 0 {
            rig.poll();
        }
    }
}

pub(super) fn swap_records(rig: &Rig) -> Vec<Swap> {
    let swaps = rig.records().filter_map(|record| match record {
        Record::Swapped(swap) => Some((**swap).clone()),
        _ => None,
    });
    swaps.collect()
}

pub(super) fn runs(rig: &Rig) -> Digest {
    rig.core().config().plugin
}

/// Everything that was decided, without the keys, which name the component.
fn decided(rig: &Rig) -> Vec<String> {
    let decisions = rig.records().filter_map(|record| match record {
        Record::Decided(decision) => Some(decision),
        _ => None,
    });
    let all = decisions.map(|decision| {
        let actions: Vec<_> = decision.intents.iter().map(|one| (one.index, one.action)).collect();
        format!("{} {:?} {actions:?}", decision.call, decision.output)
    });
    all.collect()
}

/// A scripted component with a state, in a rig that finds it by its digest.
pub(super) fn scripted(rig: &mut Rig, name: &str) -> (Scripted, Digest) {
    let component = Scripted::keeping(1, 1);
    let handle = component.clone();
    let digest = rig.component(name, move || Box::new(component.clone()));
    (handle, digest)
}

/// A rig with a scripted strategy that keeps a state.
pub(super) fn stateful() -> Rig {
    let mut rig = Rig::unstarted(venue::Kind::Keys, |config, _| config.record_inputs = true);
    rig.strategy = Scripted::keeping(1, 1);
    rig.start();
    rig.run();
    rig
}

#[test]
fn a_swap_to_the_same_component_changes_nothing_that_is_decided() {
    let plain = trading(120);
    for shadow_ticks in [0, 20] {
        let mut rig = trading(60);
        let same = runs(&rig);
        let candidate = match shadow_ticks {
            0 => rig.candidate(same, 0),
            ticks => rig.shadowed(same, ticks),
        };
        rig.swap(candidate);
        run(&mut rig, 60..120);
        assert_eq!(rig.core().stats().swaps, 1, "{:?}", rig.swaps);
        assert_eq!(decided(&rig), decided(&plain));
        assert_eq!(rig.core().stats().shadow_differences, 0);
        let fuel = |rig: &Rig| rig.core().stats().fuel_total;
        assert_eq!(fuel(&rig), fuel(&plain));
        rig.check_refeeds();
        rig.poll();
        rig.check_books();
        rig.check_intents();
    }
}

#[test]
fn the_new_component_has_the_state_the_settings_and_everything_that_is_the_hosts() {
    let mut rig = stateful();
    rig.want(vec![buy(1, 3), bid(2, 2, 95)]);
    rig.tick_with(Step::Touch(|services| {
        services.kv_set("k", b"v".to_vec()).unwrap();
        services.set_timer(7, crate::market::UnixNanos(services.now.0 + 5_000_000_000));
    }));
    let (new, digest) = scripted(&mut rig, "new");
    rig.strategy.script().state = Some(StateSnapshot { schema: 1, data: b"of now".to_vec() });
    let settings = vec![Setting { key: "fast".into(), value: SettingValue::Integer(3) }];
    let before = runs(&rig);
    rig.swap(Candidate { settings: settings.clone(), ..rig.candidate(digest, 0) });
    assert_eq!(runs(&rig), digest);
    let session = new.script().session.clone().unwrap();
    assert_eq!((session.next_order_id, &session.settings), (OrderId(3), &settings));
    assert_eq!(new.script().loaded.as_ref().unwrap().data, b"of now");
    assert_eq!(rig.strategy.script().stops, 1, "the old one has its last words");
    let events: Vec<_> = rig.swaps.iter().map(|news| &news.event).collect();
    assert!(
        matches!(events[..], [SwapEvent::Switched { from, to, .. }, SwapEvent::Committed { .. }]
            if *from == before && *to == digest),
        "{events:?}"
    );
    // Orders, positions, values and timers are where they were.
    assert_eq!((rig.position(), rig.is_working(2)), (3, true));
    assert_eq!(rig.core().services.kv_get("k"), Some(&b"v"[..]));
    new.script().ticks.push_back(Step::Want(vec![OrderIntent::Cancel(OrderId(2)), buy(3, 1)]));
    rig.tick();
    assert_eq!((rig.position(), rig.is_working(2)), (4, false));
    rig.advance(6_000);
    assert!(new.script().heard.contains(&StrategyEvent::Timer(7)));
    let [swap] = &swap_records(&rig)[..] else { panic!() };
    assert_eq!(
        (swap.from, swap.to, swap.reason, swap.note.as_str()),
        (before, digest, SwapReason::Operator, "a better one")
    );
    rig.check_books();
    rig.check_intents();
    rig.check_folds();
    // A start finds it, with its settings, from the journal and from every checkpoint.
    for checkpoint in [None, rig.checkpoints.last().cloned()] {
        let state = checkpoint.as_ref().map(|it| State::decode(&rig.config.name, &it.payload).unwrap());
        let last = LastRun::of(state.as_ref(), &rig.journal).unwrap();
        assert_eq!((last.plugin, last.settings.as_ref()), (digest, Some(&settings)));
        assert!(last.goes_on(CoreConfig::configuration(rig.config.plugin, &rig.config.settings)));
        // And what may come back, also where the checkpoint is all that is left.
        assert_eq!(last.previous.as_ref().map(|it| it.plugin), Some(before));
        assert!(last.components().any(|it| it == before));
        if let Some(state) = &state {
            let alone = LastRun::of(Some(state), &[]).unwrap();
            assert_eq!((&alone.previous, alone.plugin), (&last.previous, digest));
        }
        assert!(
            !last.goes_on(CoreConfig::configuration(digest, &settings)),
            "the operator changed the configuration"
        );
    }
    let starts = new.script().starts;
    rig.kill(usize::MAX);
    rig.checkpoints.clear();
    rig.start();
    rig.run();
    assert_eq!((runs(&rig), new.script().starts), (digest, starts + 1));
    assert_eq!(rig.core().config().settings, settings);
    assert_eq!(new.script().loaded.as_ref().unwrap().data, b"of now");
}

#[test]
fn keys_after_a_swap_name_the_new_component() {
    let mut rig = stateful();
    rig.want(vec![buy(1, 1)]);
    let (new, digest) = scripted(&mut rig, "new");
    rig.swap(rig.candidate(digest, 0));
    new.script().ticks.push_back(Step::Want(vec![buy(2, 1)]));
    rig.tick();
    let decision = rig.records().rev().find_map(|record| match record {
        Record::Decided(decision) => Some(decision.clone()),
        _ => None,
    });
    let decision = decision.unwrap();
    let slot = crate::orders::Slot {
        agent: &rig.config.name,
        incarnation: 1,
        plugin: digest,
        call: decision.call,
        index: decision.intents[0].index,
    };
    assert_eq!(decision.intents[0].key, slot.key());
}

/// Nothing is changed by this: the old one trades on, and the journal knows of nothing.
fn is_refused(mut rig: Rig, change: impl FnOnce(&mut Rig, Digest) -> Candidate, code: &str) {
    let (_, digest) = scripted(&mut rig, "new");
    let (before, number) = (runs(&rig), rig.journal.len());
    let candidate = change(&mut rig, digest);
    rig.swap(candidate);
    rig.tick();
    rig.tick();
    assert_eq!(rig.refused(), Some(code), "{:?}", rig.swaps);
    assert_eq!((runs(&rig), rig.core().stats().swaps), (before, 0));
    assert!(swap_records(&rig).is_empty());
    assert!(!rig.core().is_halted());
    rig.want(vec![buy(77, 1)]);
    assert_eq!(rig.position(), 1, "it trades on");
    assert!(rig.journal.len() > number);
    assert!(rig.core().services.kv_get("new").is_none());
    rig.check_intents();
    rig.check_folds();
}

fn other(rig: &mut Rig, strategy: Scripted) -> Candidate {
    let digest = rig.component("other", move || Box::new(strategy.clone()));
    rig.candidate(digest, 0)
}

#[test]
fn whatever_the_candidate_does_wrong_the_old_one_trades_on() {
    let fault = |fault| CallError::Fault(fault);
    let deadline = CallError::Trap { kind: crate::plugin::TrapKind::Deadline, detail: "slow".into() };
    for error in [fault(StrategyFault::InvalidSettings("no".into())), trap(), deadline.clone()] {
        is_refused(
            stateful(),
            |rig, _| {
                let bad = Scripted::keeping(1, 1);
                bad.script().init_error = Some(error);
                other(rig, bad)
            },
            "swap_init_failed",
        );
    }
    for error in [fault(StrategyFault::IncompatibleState("no".into())), trap(), deadline] {
        is_refused(
            stateful(),
            |rig, _| {
                let bad = Scripted::keeping(1, 1);
                bad.script().load_error = Some(error);
                other(rig, bad)
            },
            "swap_load_failed",
        );
    }
    for (schema, oldest) in [(3, 2), (0, 0)] {
        is_refused(stateful(), |rig, _| other(rig, Scripted::keeping(schema, oldest)), "swap_schema");
    }
    // One that keeps no state would lose the old one's, and one that keeps some cannot go on with none.
    is_refused(stateful(), |rig, _| other(rig, Scripted::default()), "swap_state_lost");
    is_refused(Rig::new(), |rig, _| other(rig, Scripted::keeping(1, 1)), "swap_no_state");
    is_refused(
        stateful(),
        |rig, digest| {
            let data = vec![0; rig.config.limits.swap_record_bytes_max + 1];
            rig.strategy.script().state = Some(StateSnapshot { schema: 1, data });
            rig.candidate(digest, 0)
        },
        "swap_state_too_large",
    );
    is_refused(
        stateful(),
        |rig, digest| Candidate { standby: None, ..rig.candidate(digest, 5) },
        "swap_no_standby",
    );
    is_refused(
        stateful(),
        |rig, digest| {
            let most = rig.config.limits.probation_ticks_max;
            rig.candidate(digest, most + 1)
        },
        "swap_limits",
    );
    is_refused(
        stateful(),
        |rig, digest| {
            let most = rig.config.limits.shadow_ticks_max;
            rig.shadowed(digest, most + 1)
        },
        "swap_limits",
    );
    is_refused(
        stateful(),
        |rig, _| {
            let bad = Scripted::keeping(1, 1);
            bad.script().ticks.push_back(Step::trap());
            let digest = rig.component("other", move || Box::new(bad.clone()));
            rig.shadowed(digest, 5)
        },
        "swap_shadow_failed",
    );
}

#[test]
fn a_component_without_state_takes_over_from_one_without_and_from_any_with_the_option_fresh() {
    let mut rig = Rig::new();
    let new = Scripted::default();
    let handle = new.clone();
    let digest = rig.component("stateless", move || Box::new(new.clone()));
    rig.swap(rig.candidate(digest, 0));
    assert_eq!((runs(&rig), handle.script().starts), (digest, 1));

    let mut rig = stateful();
    let (new, digest) = scripted(&mut rig, "new");
    rig.swap(Candidate { fresh: true, ..rig.candidate(digest, 0) });
    assert_eq!((runs(&rig), new.script().loaded.clone()), (digest, None));
}

#[test]
fn a_running_strategy_that_fails_while_it_saves_is_struck_and_its_candidate_can_be_brought_again() {
    let mut rig = stateful();
    rig.config.supervision = crate::agent::core::Supervision::default();
    rig.want(vec![buy(1, 1)]);
    let (new, digest) = scripted(&mut rig, "new");
    rig.strategy.script().save_traps = true;
    rig.swap(rig.candidate(digest, 0));
    assert_eq!(rig.refused(), Some("swap_running_failed"));
    assert!(rig.core().is_halted());
    // It takes the place of a strategy that does not run, with the last state that was saved.
    rig.swap(rig.candidate(digest, 3));
    assert_eq!(runs(&rig), digest);
    assert!(!rig.core().is_halted());
    assert!(new.script().loaded.is_some());
    assert!(
        rig.swaps.iter().any(|news| matches!(news.event, SwapEvent::Committed { .. })),
        "nothing can come back"
    );
    rig.check_intents();
}

#[test]
fn a_repaired_component_ends_a_quarantine() {
    let mut rig = Rig::new();
    rig.tick_with(Step::trap());
    assert!(matches!(rig.core().status().strategy, StrategyStatus::Quarantined { .. }));
    let new = Scripted::default();
    let handle = new.clone();
    let digest = rig.component("repaired", move || Box::new(new.clone()));
    rig.swap(rig.candidate(digest, 0));
    rig.tick();
    assert!(!rig.core().is_halted());
    assert_eq!(handle.script().ticks_seen, 1);
    rig.kill(usize::MAX);
    rig.start();
    rig.run();
    assert_eq!((runs(&rig), rig.core().is_halted()), (digest, false));
}

#[test]
fn nothing_is_called_and_no_sample_is_taken_before_a_switch_is_durable() {
    let mut rig = stateful();
    rig.want(vec![bid(1, 2, 95)]);
    let (new, digest) = scripted(&mut rig, "new");
    let old_ticks = rig.strategy.script().ticks_seen;
    rig.hold_acks = true;
    rig.swap(rig.candidate(digest, 0));
    assert!(!rig.core().wants_samples());
    assert!(matches!(rig.core().status().swap, SwapStage::Switching { .. }));
    rig.tick();
    rig.tick();
    rig.venue.trade_at(95);
    rig.poll();
    rig.operator(Operator::Say("hello".into()));
    rig.advance(30_000);
    assert_eq!(rig.strategy.script().ticks_seen, old_ticks);
    let called = |script: &Scripted| {
        let script = script.script();
        (script.ticks_seen, script.heard.len())
    };
    assert_eq!(called(&new), (0, 0));
    // A shell that hands a sample over all the same loses it, and it is counted.
    let dropped = rig.core().stats().samples_dropped;
    rig.step(Event::Sample(Ok(crate::market::Tick::default())));
    assert_eq!(rig.core().stats().samples_dropped, dropped + 1);
    rig.hold_acks = false;
    rig.ack();
    rig.run();
    assert_eq!((runs(&rig), new.script().ticks_seen), (digest, 2), "and then every one of them, once");
    let heard = new.script().heard.clone();
    assert!(heard.contains(&StrategyEvent::Operator("hello".into())), "{heard:?}");
    assert_eq!(heard.iter().filter(|event| matches!(event, StrategyEvent::Filled { .. })).count(), 1);
    rig.poll();
    rig.check_books();
    rig.check_intents();
}

#[test]
fn a_shadow_is_given_what_the_strategy_is_given_and_its_difference_is_told() {
    let mut rig = stateful();
    let (new, digest) = scripted(&mut rig, "new");
    rig.swap(rig.shadowed(digest, 3));
    assert!(matches!(rig.swaps[0].event, SwapEvent::Shadowing));
    assert_eq!(rig.swaps.len(), 1);
    // The first call is the same, the second differs, the third is a fault of one of them.
    new.script().ticks.extend([Step::Want(vec![buy(1, 1)]), Step::Want(vec![buy(9, 5)]), Step::fault()]);
    rig.want(vec![buy(1, 1)]);
    rig.tick_with(Step::Touch(|services| services.kv_set("old", vec![1]).unwrap()));
    let SwapStage::Shadowing { ticks_left, report, .. } = rig.core().status().swap else { panic!() };
    assert_eq!((ticks_left, report.differing), (1, 1));
    assert_eq!(runs(&rig), rig.config.plugin);
    rig.tick();
    let shadowed = rig.swaps.iter().find_map(|news| match &news.event {
        SwapEvent::Shadowed(report) => Some(report.clone()),
        _ => None,
    });
    let report = shadowed.unwrap();
    assert_eq!((report.ticks, report.differing), (3, 2));
    assert_eq!((report.intents_running, report.intents_candidate), (1, 2));
    let first = report.first.unwrap();
    assert_eq!(first.running, ShadowAnswer::Wanted(Vec::new()));
    assert_eq!(first.candidate, ShadowAnswer::Wanted(vec![buy(9, 5)]));
    assert_eq!(runs(&rig), digest, "and then it takes over");
    assert_eq!(rig.position(), 1, "nothing that it wanted was sent");
    assert!(new.script().heard.iter().any(|event| matches!(event, StrategyEvent::Filled { .. })));
    assert_eq!(rig.core().stats().shadow_differences, 2);
    rig.check_books();
    rig.check_intents();
    rig.check_folds();
}

#[test]
fn a_swap_can_be_abandoned_before_the_switch_and_not_after_it() {
    let mut rig = stateful();
    let (_, digest) = scripted(&mut rig, "new");
    rig.swap(rig.shadowed(digest, 3));
    let busy = rig.candidate(digest, 0);
    rig.swap(Candidate { number: 2, ..busy });
    assert_eq!(rig.refused(), Some("swap_busy"));
    rig.operator(Operator::AbandonSwap { number: 1, note: "no".into() });
    assert_eq!(rig.refused(), Some("swap_abandoned"));
    for _ in 0..5 {
        rig.tick();
    }
    assert_eq!(runs(&rig), rig.config.plugin);
    rig.operator(Operator::AbandonSwap { number: 1, note: "no".into() });
    assert_eq!(rig.refused(), Some("no_such_swap"));
}

#[test]
fn a_stop_ends_a_shadow_and_a_probation() {
    let mut rig = stateful();
    let (_, digest) = scripted(&mut rig, "new");
    rig.swap(rig.shadowed(digest, 50));
    rig.stop();
    rig.advance(1_000);
    assert!(rig.stopped);
    assert_eq!(rig.refused(), Some("swap_agent_stops"));
    let mut rig = stateful();
    let (new, digest) = scripted(&mut rig, "new");
    rig.swap(rig.candidate(digest, 50));
    rig.stop();
    rig.advance(1_000);
    assert!(rig.stopped);
    assert_eq!(new.script().stops, 1);
    assert!(matches!(rig.swaps.last().unwrap().event, SwapEvent::Committed { .. }));
    rig.kill(usize::MAX);
    rig.start();
    rig.run();
    assert_eq!(runs(&rig), digest);
}

#[test]
fn another_component_in_the_configuration_takes_over_from_one_that_was_swapped_in() {
    let mut rig = trading(20);
    let other = rig.component("other", Keeper::fresh);
    rig.swap(rig.candidate(other, 0));
    run(&mut rig, 20..30);
    rig.settle();
    rig.kill(usize::MAX);
    let third = rig.component("third", Keeper::fresh);
    rig.config.plugin = third;
    for cleared in [false, true] {
        if cleared {
            rig.checkpoints.clear();
        }
        rig.start();
        rig.run();
        assert_eq!(runs(&rig), third);
        run(&mut rig, 30..40);
        rig.check_intents();
        rig.settle();
        rig.kill(usize::MAX);
    }
    rig.start();
    rig.run();
    rig.check_refeeds();
}

/// A script through a swap or a return, dying before effect number `kill_at`.
fn dies_in_a_swap(kill_at: u64, kept: usize, checkpoint_lost: bool, traps_at: Option<u64>) -> bool {
    let mut rig = Rig::unstarted(venue::Kind::Keys, |config, _| config.record_inputs = true);
    let (_, _, second) = watched(&mut rig, traps_at);
    rig.start();
    rig.run();
    let first = runs(&rig);
    run(&mut rig, 0..8);
    rig.settle();
    rig.kill_at = Some(rig.effects + kill_at);
    let candidate = rig.candidate(second, if traps_at.is_some() { 100 } else { 0 });
    rig.swap(candidate);
    for tick in 8..14 {
        rig.venue.trade_at(100 + tick % 7);
        rig.tick();
        if rig.core.is_some() {
            rig.advance(40);
        }
    }
    let died = rig.core.is_none();
    if died {
        rig.kill(kept);
        if checkpoint_lost {
            rig.checkpoints.clear();
        }
        rig.start();
        rig.run();
    }
    rig.kill_at = None;
    // The one component that runs is the one of the last durable record.
    let last = swap_records(&rig).last().map_or(first, |swap| swap.to);
    assert_eq!(runs(&rig), last);
    assert!(!rig.alerts.iter().any(|code| code.starts_with("replay_")), "{:?}", rig.alerts);
    run(&mut rig, 14..20);
    rig.heal();
    rig.poll();
    rig.check_intents();
    rig.check_books();
    if !rig.core().is_halted() {
        rig.check_refeeds();
    }
    died
}

#[test]
fn whenever_the_host_dies_in_a_swap_or_a_return_one_component_runs_and_nothing_is_executed_twice() {
    for traps_at in [None, Some(11)] {
        for (kept, checkpoint_lost) in [(0, false), (1, false), (usize::MAX, true)] {
            let mut kill_at = 1;
            while dies_in_a_swap(kill_at, kept, checkpoint_lost, traps_at) {
                kill_at += 1;
            }
            assert!(kill_at > 15, "only {kill_at} effects");
        }
    }
}
