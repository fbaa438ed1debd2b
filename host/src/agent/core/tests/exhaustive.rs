//! Three ticks of two intents each, and a death before every single effect, and before every pair of effects.

use super::keeper::Keeper;
use super::storage::Storage;
use super::venue::Kind;
use super::*;

fn intents(tick: u64) -> Vec<OrderIntent> {
    let id = tick * 2 + 1;
    match tick {
        0 => vec![buy(id, 3), bid(id + 1, 2, 95)],
        1 => vec![OrderIntent::Cancel(OrderId(2)), buy(id, 1)],
        _ => vec![sell(id, 2), bid(id + 1, 1, 96)],
    }
}

/// What becomes of a run besides its deaths.
#[derive(Clone)]
struct Case {
    kind: Kind,
    /// What becomes of the attempts of the first life.
    fault: Fault,
    /// How many of the unsynced records are on the disk after a death.
    kept: usize,
    checkpoint_lost: bool,
}

/// Runs the script, dying before effect number `kill_at`, and before effect number `again` of the life after that.
/// Returns how often it died.
fn run(case: &Case, kill_at: u64, again: Option<u64>) -> u32 {
    let Case { kind, ref fault, kept, checkpoint_lost } = *case;
    // Where the venue has to be asked, until it was asked often enough.
    let life_ms = if kind == Kind::Keys { 2_000 } else { 100_000 };
    let mut rig = Rig::at(kind, |_, _| {});
    rig.kill_at = Some(rig.effects + kill_at);
    rig.faults = std::iter::repeat_n(fault.clone(), 40).collect();
    for tick in 0..3 {
        rig.want(intents(tick));
    }
    rig.advance(life_ms);
    let mut deaths = 0;
    while rig.core.is_none() {
        deaths += 1;
        rig.kill(kept);
        rig.faults.clear();
        if checkpoint_lost {
            rig.checkpoints.clear();
        }
        rig.kill_at = again.filter(|_| deaths == 1).map(|again| rig.effects + again);
        rig.start();
        rig.run();
        rig.tick();
        if rig.kill_at.is_some() {
            rig.advance(life_ms);
        }
    }
    rig.heal();
    rig.check_intents();
    rig.check_books();
    rig.check_folds();
    assert!(!rig.core().has_open_intents(), "intents are still open");
    deaths
}

const OUTCOMES: [Fault; 4] = [Fault::Dropped, Fault::ReplyLost, Fault::Delivered, Fault::Refused];

fn dies_anywhere(kind: Kind) {
    for fault in OUTCOMES {
        for (kept, checkpoint_lost) in [(0, false), (1, false), (usize::MAX, true)] {
            let case = Case { kind, fault: fault.clone(), kept, checkpoint_lost };
            let mut kill_at = 1;
            while run(&case, kill_at, None) == 1 {
                kill_at += 1;
            }
            assert!(kill_at > 20, "only {kill_at} effects with {fault:?}");
        }
    }
}

/// Two deaths, before every pair of effects.
fn dies_anywhere_twice(kind: Kind) {
    for fault in OUTCOMES {
        let case = Case { kind, fault: fault.clone(), kept: 1, checkpoint_lost: false };
        let (mut kill_at, mut pairs) = (1, 0);
        loop {
            let mut again = 1;
            let deaths = loop {
                let deaths = run(&case, kill_at, Some(again));
                if deaths < 2 {
                    break deaths;
                }
                (again, pairs) = (again + 1, pairs + 1);
            };
            if deaths == 0 {
                break;
            }
            kill_at += 1;
        }
        assert!(pairs > 200, "only {pairs} pairs of effects with {fault:?}");
    }
}

#[test]
fn whenever_the_host_dies_nothing_is_lost_and_nothing_is_executed_twice() {
    dies_anywhere(Kind::Keys);
}

#[test]
fn nor_at_a_venue_that_can_only_be_asked_by_id() {
    dies_anywhere(Kind::ClientIds);
    dies_anywhere(Kind::OpenIds);
}

#[test]
fn nor_at_a_venue_that_knows_no_ids_at_all() {
    dies_anywhere(Kind::NoIds);
}

#[test]
fn nor_when_it_dies_twice_at_any_two_moments() {
    dies_anywhere_twice(Kind::Keys);
}

#[test]
fn nor_twice_at_a_venue_that_can_only_be_asked_by_id() {
    dies_anywhere_twice(Kind::ClientIds);
    dies_anywhere_twice(Kind::OpenIds);
}

#[test]
fn nor_twice_at_a_venue_that_knows_no_ids_at_all() {
    dies_anywhere_twice(Kind::NoIds);
}

/// The same deaths under a strategy that keeps state, and once more while it starts again.
#[test]
fn whenever_the_host_dies_the_strategy_is_rebuilt_to_the_byte() {
    let run = |kill_at: u64, again: Option<u64>, kept: usize| {
        let mut rig = Rig::keeping(Keeper::fresh);
        rig.kill_at = Some(rig.effects + kill_at);
        for tick in 0..20 {
            rig.venue.trade_at(100 + tick % 4);
            rig.tick();
            rig.advance(200);
        }
        let died = rig.core.is_none();
        if died {
            rig.kill(kept);
            rig.kill_at = again.map(|again| rig.effects + again);
            rig.start();
            rig.run();
            if rig.core.is_none() {
                rig.kill(kept);
                rig.start();
                rig.run();
            }
        }
        rig.kill_at = None;
        rig.tick();
        rig.check_intents();
        rig.check_refeeds();
        assert!(!rig.alerts.iter().any(|code| code.starts_with("replay_")), "{:?}", rig.alerts);
        died
    };
    for (again, kept) in [(None, 0), (None, 1), (Some(1), 1), (Some(3), usize::MAX)] {
        let mut kill_at = 1;
        while run(kill_at, again, kept) {
            kill_at += 1;
        }
        assert!(kill_at > 30, "only {kill_at} effects");
    }
}

/// A run over journal and checkpoints in which one operation of the disk fails, or all from then on. Where that ends the
/// host, the power goes with it. Returns whether the disk did not come to that operation.
fn survives_operation(operation: u64, kind: u64, lasting: bool) -> bool {
    let mut rig = Rig::unstarted(Kind::Keys, |_, _| {});
    let storage = Storage::new(1, 2);
    storage.fail_soon(operation, kind, lasting);
    rig.storage = Some(storage);
    rig.start_on_a_failing_disk();
    rig.run();
    for call in 0..3 {
        rig.want(intents(call));
        rig.advance(3_000);
        if rig.stopped {
            rig.kill(usize::MAX);
            rig.storage.as_ref().unwrap().lose_all();
            rig.start();
            rig.run();
        }
    }
    let is_past = rig.storage.as_ref().unwrap().operations() <= operation;
    rig.heal();
    rig.check_intents();
    rig.check_books();
    rig.check_folds();
    rig.check_stored();
    is_past
}

#[test]
fn whichever_operation_of_the_disk_fails_nothing_is_lost_and_nothing_done_twice() {
    for kind in 0..3 {
        for lasting in [false, true] {
            let fails = |operation: &u64| !survives_operation(*operation, kind, lasting);
            let operations = (0..).take_while(fails).count();
            assert!(operations > 60, "only {operations} operations");
        }
    }
}
