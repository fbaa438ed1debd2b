//! Stretches of calls: each can be made again by itself, and together they hold every call once.

use super::keeper::Keeper;
use super::*;
use crate::agent::core::{Retrace, Retraced, Stretch};
use crate::orders::{FedInput, Record};
use crate::plugin::Strategy;

/// Ticks with orders, fills and checkpoints among them.
fn live(rig: &mut Rig, ticks: i64) {
    for tick in 0..ticks {
        rig.venue.trade_at(100 + tick % 7 - tick % 3);
        rig.tick();
        rig.advance(40);
        if tick % 5 == 0 {
            rig.poll();
        }
    }
}

const ALL: Retrace = Retrace { after: 0, exact: true, fuel: true };

/// On an instance of its own, from the saved state.
fn alone(stretch: &Stretch, mut strategy: Box<dyn Strategy>, after: u64) -> Retraced {
    stretch.start(&mut *strategy).unwrap();
    stretch.retrace(&mut *strategy, Retrace { after, ..ALL }).unwrap()
}

/// The numbers of the calls that the journal holds.
fn journaled(rig: &Rig) -> Vec<u64> {
    let calls = rig.records().filter_map(|record| match record {
        Record::Fed { calls } => Some(calls.iter().map(|fed| fed.call)),
        _ => None,
    });
    calls.flatten().collect()
}

#[test]
fn stretches_hold_every_call_once_and_give_the_same_again() {
    let mut rig = Rig::keeping(Keeper::fresh);
    live(&mut rig, 120);
    rig.settle();
    assert!(rig.recorded.len() > 5, "a stretch for each saved state");
    let (mut last, mut calls, mut intents) = (0, 0, 0);
    for stretch in &rig.recorded {
        let stretch = Stretch::decode(&stretch.encode()).unwrap();
        let again = alone(&stretch, Keeper::fresh(), last);
        assert!(again.difference.is_none() && again.failed.is_empty(), "{again:?}");
        assert_eq!(again.calls, stretch.calls(), "none was counted before");
        last = stretch.last_call();
        (calls, intents) = (calls + again.calls, intents + again.intents.len());
    }
    let journaled = journaled(&rig);
    let covered = journaled.iter().filter(|call| **call <= last).count() as u64;
    assert_eq!(calls, covered, "of {}", journaled.len());
    assert!(intents > 20, "{intents}");
}

#[test]
fn another_strategy_is_told_by_the_first_call_in_which_it_differs() {
    let mut rig = Rig::keeping(Keeper::fresh);
    live(&mut rig, 60);
    let differences = rig.recorded.iter().filter_map(|stretch| alone(stretch, Keeper::moody(), 0).difference);
    let first = differences.into_iter().next().expect("it wants other things");
    assert!(matches!(first.fed.input, FedInput::Tick(_) | FedInput::Event(_)));
    assert!(rig.recorded.iter().all(|stretch| stretch.calls() > 0));
}

#[test]
fn a_call_that_fails_ends_its_stretch_and_fails_again() {
    let mut rig = Rig::keeping(|| Keeper::brittle(23));
    live(&mut rig, 40);
    let failed: Vec<&Stretch> = rig.recorded.iter().filter(|stretch| stretch.failed().is_some()).collect();
    assert!(!failed.is_empty());
    for stretch in failed {
        let again = alone(stretch, Keeper::brittle(23), 0);
        let [(call, words)] = &again.failed[..] else { panic!("{again:?}") };
        assert_eq!((*call, again.difference.is_none()), (stretch.last_call(), true), "{words}");
        // One that does not fail where the other did is another one.
        let mended = alone(stretch, Keeper::fresh(), 0);
        assert_eq!(mended.difference.unwrap().fed.call, stretch.last_call());
    }
}

#[test]
fn stretches_of_one_instance_are_made_again_on_one_instance() {
    let mut rig = Rig::keeping(Keeper::fresh);
    live(&mut rig, 60);
    let continued: Vec<bool> = rig.recorded.iter().map(Stretch::continues).collect();
    assert!(!continued[0] && continued[1..].iter().all(|it| *it), "{continued:?}");
    let mut instance = Keeper::fresh();
    rig.recorded[0].start(&mut *instance).unwrap();
    for stretch in &rig.recorded {
        let again = stretch.retrace(&mut *instance, ALL).unwrap();
        assert!(again.difference.is_none(), "{again:?}");
    }
    rig.kill(usize::MAX);
    rig.recorded.clear();
    rig.start();
    rig.run();
    live(&mut rig, 20);
    let continued: Vec<bool> = rig.recorded.iter().map(Stretch::continues).collect();
    assert!(!continued[0] && continued[1..].iter().all(|it| *it), "{continued:?}");
}
