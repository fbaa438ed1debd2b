//! The comparison of positions alone, against an account of which reads are behind, fail and overtake fills.

use crate::agent::core::compare::{Compare, Held, Next};
use crate::agent::core::reconcile::{Pauses, Reconcile, ReconcileStage, View, Want};
use crate::market::{InstrumentId, Lots, MonoNanos};
use proptest::prelude::*;
use std::cell::Cell;
use std::time::Duration;

const X: InstrumentId = InstrumentId(0);
const SETTLE_MS: u64 = 2_000;

/// What happens in a step of time.
#[derive(Clone, Debug)]
enum Happens {
    /// The account is filled for this much.
    Fill(i64),
    /// Something is sent of which nobody knows, for this many steps.
    Doubt(u8),
    /// The next answer is a failure.
    ReadFails,
    /// The venue is lost, and is back after the next step.
    Lost,
    Nothing,
}

struct World {
    now: u64,
    /// When the account moved, and by how much.
    fills: Vec<(u64, i64)>,
    /// Fills that the books hold.
    booked: usize,
    doubt: Cell<u8>,
    /// How far each read is behind, in turn: a venue answers from several copies.
    lags: Vec<u64>,
    reads: Cell<usize>,
    /// What was traded by hand, and is in no update.
    by_hand: i64,
    /// When the last question about a working order was asked that the venue has answered, where it has to be asked.
    asked: Option<u64>,
}

impl World {
    fn new(lags: &[u64], by_hand: i64) -> Self {
        let (doubt, reads) = (Cell::new(0), Cell::new(0));
        Self { now: 1, fills: Vec::new(), booked: 0, doubt, lags: lags.to_vec(), reads, by_hand, asked: None }
    }

    fn position(&self) -> i64 {
        self.by_hand + self.fills[..self.shown()].iter().map(|(_, lots)| lots).sum::<i64>()
    }

    fn shown(&self) -> usize {
        let read = self.reads.replace(self.reads.get() + 1);
        let lag = self.lags[read % self.lags.len()];
        self.fills.iter().filter(|(at, _)| at + lag <= self.now).count()
    }
}

impl Held for World {
    fn position(&self, _: InstrumentId) -> Lots {
        Lots(self.fills[..self.booked].iter().map(|(_, lots)| lots).sum())
    }

    fn in_doubt(&self, _: InstrumentId) -> bool {
        self.doubt.get() > 0
    }

    fn is_unheard(&self, _: InstrumentId, since: MonoNanos) -> bool {
        self.asked.is_some_and(|asked| nanos(asked) < since)
    }

    fn is_settled(&self) -> bool {
        true
    }
}

impl View for World {
    fn orders_left(&self) -> bool {
        false
    }

    fn orders_vanished(&self) -> bool {
        false
    }
}

/// A read on its way: what it will answer was decided when the venue looked.
enum Answer {
    Updates(u64, usize),
    Positions(u64, i64),
    Failed(u64),
}

fn nanos(ms: u64) -> MonoNanos {
    MonoNanos(ms * 1_000_000)
}

/// Runs a history, then a minute of quiet. Returns every stage that was passed through.
fn run(history: &[(u64, Happens, u64)], lags: &[u64], by_hand: i64) -> Vec<ReconcileStage> {
    let mut world = World::new(lags, by_hand);
    let pauses = Pauses {
        settle: Duration::from_millis(SETTLE_MS),
        moving: Duration::from_millis(300),
        mismatch: Duration::from_secs(5),
    };
    let mut machine = Reconcile::default();
    machine.begin(nanos(1), [X]);
    let mut under_way: Vec<(u64, Answer)> = Vec::new();
    let (mut stages, mut fails, mut lost) = (Vec::new(), false, false);
    let quiet = std::iter::repeat_n((100, Happens::Nothing, 20), 600);
    for (passed, happens, latency) in history.iter().cloned().chain(quiet) {
        for _ in 0..passed {
            world.now += 1;
            for (_, answer) in under_way.extract_if(.., |(at, _)| *at <= world.now) {
                let now = nanos(world.now);
                match answer {
                    Answer::Updates(number, shown) => {
                        for _ in world.booked..shown {
                            machine.moved(X);
                        }
                        world.booked = world.booked.max(shown);
                        machine.on_updates(number);
                    }
                    Answer::Positions(number, held) => {
                        machine.on_positions(now, number, vec![(X, Lots(held))], pauses.settle);
                    }
                    Answer::Failed(number) => {
                        machine.on_read_failed(number, nanos(world.now + 50));
                    }
                }
            }
            let answer = match machine.advance(nanos(world.now), &world, &pauses) {
                Some(Want::Updates(number) | Want::Positions(number)) if std::mem::take(&mut fails) => {
                    Answer::Failed(number)
                }
                Some(Want::Updates(number)) => Answer::Updates(number, world.shown()),
                Some(Want::Positions(number)) => Answer::Positions(number, world.position()),
                None => {
                    stages.push(machine.stage());
                    continue;
                }
            };
            stages.push(machine.stage());
            under_way.push((world.now + 1 + latency, answer));
        }
        world.doubt.set(world.doubt.get().saturating_sub(1));
        if std::mem::take(&mut lost) {
            let shown = world.shown();
            for _ in world.booked..shown {
                machine.moved(X);
            }
            world.booked = world.booked.max(shown);
            machine.back();
        }
        match happens {
            Happens::Fill(lots) => world.fills.push((world.now, lots)),
            Happens::Doubt(steps) => world.doubt.set(steps),
            Happens::ReadFails => fails = true,
            Happens::Lost => {
                machine.lost();
                lost = true;
            }
            Happens::Nothing => {}
        }
    }
    stages
}

fn history() -> impl Strategy<Value = Vec<(u64, Happens, u64)>> {
    let happens = prop_oneof![
        4 => (-3_i64..=3).prop_map(Happens::Fill),
        1 => (1_u8..6).prop_map(Happens::Doubt),
        1 => Just(Happens::ReadFails),
        1 => Just(Happens::Lost),
        2 => Just(Happens::Nothing),
    ];
    prop::collection::vec((0_u64..1_500, happens, 0_u64..400), 0..40)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn an_honest_venue_is_never_taken_for_one_that_differs(
        history in history(),
        lags in prop::collection::vec(0..SETTLE_MS, 1..8),
    ) {
        let stages = run(&history, &lags, 0);
        prop_assert!(!stages.contains(&ReconcileStage::Mismatch), "{history:?} {lags:?}");
        prop_assert_eq!(stages.last(), Some(&ReconcileStage::Reconciled));
    }

    #[test]
    fn an_account_that_is_off_is_always_found_and_never_taken_for_one_that_agrees(
        history in history(),
        by_hand in prop_oneof![-3_i64..0, 1_i64..=3],
    ) {
        let stages = run(&history, &[0], by_hand);
        prop_assert!(!stages.contains(&ReconcileStage::Reconciled) || history.iter().any(
            // What is in doubt is compared later, and holds up nobody.
            |(_, happens, _)| matches!(happens, Happens::Doubt(_))
        ), "{history:?}");
        prop_assert_eq!(stages.last(), Some(&ReconcileStage::Mismatch), "{:?}", history);
    }
}

#[test]
fn nothing_to_compare_is_nothing_to_do() {
    let next = Compare::default().advance(nanos(1), &World::new(&[0], 0), Duration::ZERO, Duration::ZERO);
    assert_eq!(next, Next::Idle);
}

#[test]
fn a_difference_that_an_unheard_order_may_explain_does_not_count_before_the_venue_was_asked_about_it() {
    let mut world = World::new(&[0], 2);
    let (settle, pause) = (Duration::from_millis(SETTLE_MS), Duration::from_millis(300));
    let mut compare = Compare::default();
    compare.begin(nanos(1), [X]);
    world.asked = Some(1);
    let mut looks = 0;
    let mut pass = |world: &mut World, compare: &mut Compare, until: u64| {
        while world.now < until {
            world.now += 10;
            match compare.advance(nanos(world.now), world, settle, pause) {
                Next::ReadPositions => {
                    looks += 1;
                    compare.on_positions(nanos(world.now), vec![(X, Lots(world.position()))], settle);
                }
                Next::ReadUpdates => compare.on_updates(),
                Next::At(_) | Next::Idle => {}
            }
        }
        looks
    };
    let looks = pass(&mut world, &mut compare, 30_000);
    assert!(compare.off().is_empty() && compare.is_suspicious());
    assert!((3..10).contains(&looks), "{looks} looks in 30 s");
    world.asked = Some(30_000);
    pass(&mut world, &mut compare, 40_000);
    assert_eq!(compare.off().get(&X).map(|off| (off.ours, off.venues)), Some((Lots(0), Lots(2))));
}
