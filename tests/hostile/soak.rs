//! Instances come and go, many of them by a trap, and leave nothing behind.

use crate::attack::{load, tick, verdict};
use crate::guest::Guest;
use std::process::Command;

/// Set in the process that does nothing else.
const ALONE: &str = "RINGFENCE_HOSTILE_SOAK";

/// Resident memory of this process.
fn resident_bytes() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: u64 = statm.split(' ').nth(1).unwrap().parse().unwrap();
    pages * 4_096
}

#[test]
fn a_hundred_thousand_instances_leave_no_memory_behind() {
    if std::env::var_os(ALONE).is_none() {
        // Other tests of this process take and give memory as well.
        let name = "soak::a_hundred_thousand_instances_leave_no_memory_behind";
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", name, "--nocapture"])
            .env(ALONE, "1")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
        assert!(said.contains("1 passed"), "{said}");
        return;
    }
    let healthy = load(&Guest::default());
    let trapping = load(&Guest { tick: "unreachable".into(), ..Guest::default() });
    let growing = load(&Guest {
        tick: "(loop $l (drop (memory.grow (i32.const 64))) (br $l)) unreachable".into(),
        ..Guest::default()
    });
    let failing_start = {
        let more = "(global $n (mut i32) (i32.const 0)) (table 100 funcref)".into();
        load(&Guest { more, ..Guest::default() })
    };
    let cycle = |number: u32| match number % 10 {
        0 => assert_eq!(verdict(&tick(&mut trapping.instantiate().unwrap())), "trap_unreachable"),
        5 => assert_eq!(verdict(&tick(&mut growing.instantiate().unwrap())), "trap_memory"),
        7 => drop(failing_start.instantiate().unwrap()),
        _ => assert_eq!(verdict(&tick(&mut healthy.instantiate().unwrap())), "harmless"),
    };
    // The allocator reaches what it keeps for itself.
    (0..10_000).for_each(cycle);
    let before = resident_bytes();
    (0..100_000).for_each(cycle);
    let grown = resident_bytes().saturating_sub(before);
    println!("resident: {before} bytes, {grown} more after 100,000 instances");
    // A leak of a hundredth of an instance's store would be more than this.
    assert!(grown < 2 << 20, "{grown} bytes more after 100,000 instances");
}
