//! Probations, and the component before that comes back.

use super::keeper::{Keeper, Seen};
use super::script::{Scripted, trap};
use super::swaps::{run, runs, scripted, stateful, swap_records};
use super::*;
use crate::agent::core::{Candidate, Operator, SwapEvent, SwapStage};
use crate::orders::{Digest, Record, StrategyEvent, SwapReason, Verdict};
use crate::resilience::Mode;

#[test]
fn a_probation_that_goes_well_ends_with_the_new_one_for_good() {
    let mut rig = stateful();
    let (new, digest) = scripted(&mut rig, "new");
    rig.swap(rig.candidate(digest, 3));
    assert_eq!(rig.strategy.script().stops, 0);
    for left in (0..3).rev() {
        rig.tick();
        let left_now = match rig.core().status().swap {
            SwapStage::Probation { ticks_left, .. } => ticks_left,
            _ => 0,
        };
        assert_eq!(left_now, left);
    }
    assert!(matches!(rig.swaps.last().unwrap().event, SwapEvent::Committed { plugin } if plugin == digest));
    assert_eq!((rig.strategy.script().stops, new.script().stops), (1, 0));
    rig.operator(Operator::Rollback { number: 9, note: "late".into() });
    assert_eq!(rig.refused(), Some("no_probation"));
}

/// Every instance of two components with the ticks that it was given.
pub(super) fn watched(rig: &mut Rig, traps_at: Option<u64>) -> (Seen, Seen, Digest) {
    let (old, new) = (Seen::default(), Seen::default());
    let (a, b) = (old.clone(), new.clone());
    let first = rig.component("old", move || Keeper::watched(&a, None));
    let second = rig.component("new", move || Keeper::watched(&b, traps_at));
    rig.config.plugin = first;
    (old, new, second)
}

#[test]
fn one_that_fails_in_its_probation_is_replaced_by_the_one_before_which_has_seen_every_tick_once() {
    let mut rig = Rig::unstarted(venue::Kind::Keys, |config, _| config.record_inputs = true);
    let (old, new, second) = watched(&mut rig, Some(31));
    rig.start();
    rig.run();
    let first = runs(&rig);
    run(&mut rig, 0..20);
    rig.swap(rig.candidate(second, 1_000));
    assert_eq!(runs(&rig), second);
    run(&mut rig, 20..50);
    assert_eq!((runs(&rig), rig.core().stats().rollbacks), (first, 1));
    assert_eq!(rig.core().mode(), Mode::Full, "it trades on at once");
    // The instances of the old one: the one that ran, and the one that came back.
    let seen = |seen: &Seen| -> Vec<Vec<u64>> {
        seen.lock().unwrap().iter().filter(|ticks| !ticks.is_empty()).cloned().collect()
    };
    let expected: Vec<Vec<u64>> = vec![(1..=20).collect(), (21..=50).collect()];
    assert_eq!(seen(&old), expected, "no tick lost, none twice");
    assert_eq!(seen(&new), [(21..=31).collect::<Vec<_>>()]);
    let returned = rig.swaps.iter().any(|news| {
        matches!(&news.event, SwapEvent::Returned { to, reason: SwapReason::ProbationFailed, note, .. }
            if *to == first && note.contains("trap_unreachable"))
    });
    assert!(returned, "{:?}", rig.swaps);
    let swaps = swap_records(&rig);
    assert_eq!(swaps.iter().map(|swap| swap.to).collect::<Vec<_>>(), [second, first]);
    assert_eq!(rig.core().status().strikes, 0, "it was not the old one's");
    // Numbers of orders are used once, whoever chose them.
    let mut numbers: Vec<u64> = Vec::new();
    for record in rig.records() {
        if let Record::Decided(decision) = record {
            let submits = decision.intents.iter().filter_map(|one| match (one.action, &one.verdict) {
                (crate::orders::Action::Submit(order), Verdict::Intended(_)) => Some(order.id.0),
                _ => None,
            });
            numbers.extend(submits);
        }
    }
    let count = numbers.len();
    numbers.sort_unstable();
    numbers.dedup();
    assert_eq!(numbers.len(), count);
    let duplicate = rig.records().any(|record| match record {
        Record::Decided(decision) => decision.intents.iter().any(|one| {
            matches!(&one.verdict, Verdict::Refused { reason: crate::orders::RejectReason::DuplicateId, .. })
        }),
        _ => false,
    });
    assert!(!duplicate, "a number was used again");
    rig.poll();
    rig.check_books();
    rig.check_refeeds();
    rig.check_intents();
}

#[test]
fn an_operator_rolls_back_in_the_probation_and_after_it() {
    let mut rig = Rig::unstarted(venue::Kind::Keys, |config, _| config.record_inputs = true);
    let (old, _, second) = watched(&mut rig, None);
    rig.start();
    rig.run();
    let first = runs(&rig);
    run(&mut rig, 0..10);
    rig.swap(rig.candidate(second, 1_000));
    run(&mut rig, 10..20);
    rig.operator(Operator::Rollback { number: 2, note: "worse".into() });
    assert_eq!(runs(&rig), first);
    run(&mut rig, 20..30);
    let ticks: Vec<u64> = old.lock().unwrap().iter().flatten().copied().collect();
    assert_eq!(ticks, (1..=30).collect::<Vec<u64>>());
    // After a probation the one before is a candidate like any other.
    rig.swap(rig.candidate(second, 0));
    run(&mut rig, 30..40);
    rig.swap(Candidate { reason: SwapReason::Rollback, ..rig.candidate(first, 0) });
    run(&mut rig, 40..50);
    assert_eq!(runs(&rig), first);
    assert_eq!(swap_records(&rig).last().unwrap().reason, SwapReason::Rollback);
    rig.poll();
    rig.check_books();
    rig.check_refeeds();
    rig.check_intents();
}

#[test]
fn a_component_without_state_comes_back_as_it_was() {
    let mut rig = Rig::with(|config, _| config.record_inputs = true);
    rig.want(vec![buy(1, 1)]);
    let new = Scripted::default();
    let handle = new.clone();
    let digest = rig.component("stateless", move || Box::new(new.clone()));
    let starts = rig.strategy.script().starts;
    rig.swap(rig.candidate(digest, 100));
    handle.script().ticks.push_back(Step::Want(vec![buy(1 << 40, 1)]));
    rig.tick();
    handle.script().ticks.push_back(Step::trap());
    let seen = rig.strategy.script().ticks_seen;
    rig.strategy.script().ticks.extend([Step::Want(vec![buy(2, 4)]), Step::Want(vec![buy(3, 4)])]);
    rig.take_heard();
    rig.tick();
    assert_eq!(runs(&rig), rig.config.plugin);
    assert_eq!(rig.strategy.script().starts, starts, "the very instance that ran before");
    assert_eq!(rig.strategy.script().ticks_seen, seen + 2, "with the ticks since, also the one that failed");
    assert_eq!(rig.position(), 2, "what it wanted meanwhile is not sent");
    let told = rig.take_heard();
    let refused = told.iter().filter(|event| matches!(event, StrategyEvent::Rejected { .. })).count();
    assert_eq!(refused, 2, "and it is told so: {told:?}");
    assert!(rig.strategy.script().session.is_some());
    rig.want(vec![buy(4, 1)]);
    assert_eq!(rig.position(), 3, "its own numbers are free");
    rig.check_books();
    rig.check_intents();
}

#[test]
fn one_that_cannot_come_back_either_is_struck_and_tried_again() {
    let mut rig = stateful();
    rig.config.supervision = crate::agent::core::Supervision::default();
    rig.kill(usize::MAX);
    rig.start();
    rig.run();
    let first = runs(&rig);
    let (new, digest) = scripted(&mut rig, "new");
    rig.swap(rig.candidate(digest, 100));
    rig.tick();
    rig.strategy.script().init_error = Some(trap());
    new.script().ticks.push_back(Step::trap());
    rig.tick();
    assert_eq!((runs(&rig), rig.core().status().strategy.code()), (first, "backoff"));
    rig.strategy.script().init_error = None;
    rig.advance(1_000);
    assert!(!rig.core().is_halted());
    rig.tick();
    rig.check_intents();
    rig.check_folds();
}
