//! A real component that takes the place of another, in the middle of a run.

use super::state::{Desk, EMA, REVERSION, config, ticks};
use ringfence::agent::core::{Candidate, Shadow, SwapEvent};
use ringfence::orders::{Record, SwapReason};
use ringfence::plugin::{Plugin, Strategy};

const SETTINGS: [(&str, i64); 3] = [("fast", 3), ("slow", 8), ("quantity", 2)];

fn instance(plugin: &Plugin) -> Box<dyn Strategy> {
    Box::new(plugin.instantiate().unwrap())
}

/// A component with the settings of another run, and everything else that a shell brings.
fn candidate(plugin: &Plugin, running: &Plugin, settings: &[(&str, i64)]) -> Candidate {
    Candidate {
        number: 1,
        strategy: instance(plugin),
        plugin: plugin.digest(),
        settings: config(plugin, settings).settings,
        shadow: None,
        probation_ticks: 50,
        standby: Some(instance(running)),
        fresh: false,
        reason: SwapReason::Operator,
        note: "test".into(),
    }
}

/// Prices that cross their averages often, the same every time.
fn steps() -> Vec<i64> {
    (0..400_i64).map(|step| (step * 37 % 23 - 11) * 30 + if step / 9 % 2 == 0 { 120 } else { -120 }).collect()
}

/// Fuel of every tick and the orders that came of it, with a swap to the same component before tick `at`.
fn run(at: Option<u64>, shadow_ticks: Option<u64>) -> (Vec<u64>, Vec<String>) {
    let mut desk = Desk::start(&EMA, config(&EMA, &SETTINGS), None, Vec::new());
    let (mut fuel, mut spent) = (Vec::new(), 0);
    for tick in ticks(&steps(), 100) {
        if at == Some(tick.seq) {
            let shadow = shadow_ticks
                .map(|ticks| Shadow { strategy: instance(&EMA), ticks: ticks.try_into().unwrap() });
            desk.swap(Candidate { shadow, ..candidate(&EMA, &EMA, &SETTINGS) });
        }
        desk.tick(&tick);
        let total = desk.core.stats().fuel_total;
        fuel.push(total - spent);
        spent = total;
    }
    assert!(desk.alerts.is_empty(), "{:?}", desk.alerts);
    assert_eq!(desk.core.stats().swaps, u64::from(at.is_some()), "{:?}", desk.swaps);
    assert_eq!(desk.core.stats().shadow_differences, 0);
    let decided = desk.entries.iter().filter_map(|entry| match &entry.record {
        Record::Decided(decision) => Some(format!("{decision:?}")),
        _ => None,
    });
    (fuel, decided.collect())
}

#[test]
fn a_swap_to_the_same_component_changes_neither_an_intent_nor_the_fuel_of_a_call() {
    let (fuel, decided) = run(None, None);
    assert!(decided.len() > 20, "{} decisions", decided.len());
    assert_eq!(run(None, None), (fuel.clone(), decided.clone()), "the same twice");
    for shadow_ticks in [None, Some(40)] {
        let (with_swap, and_decided) = run(Some(200), shadow_ticks);
        assert_eq!(and_decided, decided);
        let differing: Vec<_> = (1..).zip(fuel.iter().zip(&with_swap)).filter(|(_, (a, b))| a != b).collect();
        assert!(differing.is_empty(), "ticks with another fuel: {differing:?}");
    }
}

#[test]
fn another_component_takes_over_fresh_and_one_that_cannot_load_the_state_does_not() {
    let mut desk = Desk::start(&EMA, config(&EMA, &SETTINGS), None, Vec::new());
    let ticks = ticks(&steps(), 100);
    ticks[..100].iter().for_each(|tick| desk.tick(tick));
    let settings: [(&str, i64); 0] = [];
    desk.swap(candidate(&REVERSION, &EMA, &settings));
    let refused = desk.swaps.iter().any(|event| matches!(event, SwapEvent::Refused(_)));
    if refused {
        assert_eq!(desk.core.config().plugin, EMA.digest());
    }
    ticks[100..150].iter().for_each(|tick| desk.tick(tick));
    desk.swaps.clear();
    if desk.core.config().plugin == EMA.digest() {
        desk.swap(Candidate { fresh: true, ..candidate(&REVERSION, &EMA, &settings) });
    }
    assert_eq!(desk.core.config().plugin, REVERSION.digest(), "{:?}", desk.swaps);
    let calls = desk.core.stats().calls;
    ticks[150..].iter().for_each(|tick| desk.tick(tick));
    assert!(desk.core.stats().calls >= calls + 250 && !desk.core.is_halted());
}
