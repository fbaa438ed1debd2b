//! Three ticks of two intents each, and a death before every single effect.

use super::*;

fn intents(tick: u64) -> Vec<OrderIntent> {
    let id = tick * 2 + 1;
    match tick {
        0 => vec![buy(id, 3), bid(id + 1, 2, 95)],
        1 => vec![OrderIntent::Cancel(OrderId(2)), buy(id, 1)],
        _ => vec![sell(id, 2), bid(id + 1, 1, 96)],
    }
}

/// Runs the script, dying before effect number `kill_at`. Returns whether there was such an effect.
fn run(kill_at: u64, fault: &Fault, kept: usize, checkpoint_lost: bool) -> bool {
    let mut rig = Rig::new();
    rig.kill_at = Some(rig.effects + kill_at);
    rig.faults = std::iter::repeat_n(fault.clone(), 40).collect();
    for tick in 0..3 {
        rig.want(intents(tick));
    }
    rig.advance(2_000);
    let died = rig.core.is_none();
    if died {
        rig.kill(kept);
        rig.faults.clear();
        if checkpoint_lost {
            rig.checkpoints.clear();
        }
        rig.start();
        rig.run();
        rig.tick();
    }
    rig.heal();
    rig.check_intents();
    rig.check_books();
    rig.check_folds();
    assert!(!rig.core().has_open_intents(), "intents are still open");
    died
}

#[test]
fn whenever_the_host_dies_nothing_is_lost_and_nothing_is_executed_twice() {
    for fault in [Fault::Dropped, Fault::ReplyLost, Fault::Delivered, Fault::Refused] {
        for (kept, checkpoint_lost) in [(0, false), (1, false), (usize::MAX, true)] {
            let mut kill_at = 1;
            while run(kill_at, &fault, kept, checkpoint_lost) {
                kill_at += 1;
            }
            assert!(kill_at > 20, "only {kill_at} effects with {fault:?}");
        }
    }
}
