//! The same with one core for everything, where a thread that spins takes the time of all others.

use crate::attack::{SANDBOX, limits, tick, verdict};
use crate::guest::Guest;
use crate::neighbour::Neighbour;
use ringfence::plugin::SandboxLimits;
use std::process::{Command, Output};

/// Set in the processes that run on one core.
const CONFINED: &str = "RINGFENCE_HOSTILE_ONE_CORE";

/// Runs this test program again on the first core alone.
fn on_one_core(arguments: &[&str]) -> Output {
    Command::new("taskset")
        .args(["-c", "0"])
        .arg(std::env::current_exe().unwrap())
        .args(arguments)
        .env(CONFINED, "1")
        .output()
        .unwrap_or_else(|error| {
            panic!("taskset: {error}; install it, on Debian with `apt-get install util-linux`")
        })
}

fn passed(output: &Output) -> String {
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    said
}

#[test]
fn the_whole_suite_holds_on_one_core() {
    if std::env::var_os(CONFINED).is_some() {
        return;
    }
    // What runs in a process of its own is left out here: it would only run once more.
    let said = passed(&on_one_core(&["--skip", "one_core::", "--skip", "soak::"]));
    let ran = said.lines().filter(|line| line.starts_with("test ") && line.ends_with("... ok")).count();
    assert!(ran >= crate::table::attacks().count(), "{ran} tests ran:\n{said}");
}

#[test]
fn guests_that_spin_on_one_core_stop_neither_their_neighbour_nor_the_ticker() {
    if std::env::var_os(CONFINED).is_none() {
        let name = "one_core::guests_that_spin_on_one_core_stop_neither_their_neighbour_nor_the_ticker";
        let said = passed(&on_one_core(&["--exact", name]));
        assert!(said.contains("1 passed"), "{said}");
        return;
    }
    let endless = SandboxLimits { fuel_per_call: u64::MAX, deadline_ms: 50, ..limits() };
    let guest = Guest { tick: "(loop $l (br $l)) unreachable".into(), ..Guest::default() };
    let plugin = SANDBOX.load(&guest.build(), "spinner", None, &endless).unwrap();
    let neighbour = Neighbour::start();
    let before = neighbour.ticks();
    let spinners: Vec<_> = (0..4)
        .map(|_| {
            let plugin = plugin.clone();
            // Nothing but the ticker can end it: that it ends is the proof that the ticker ran.
            std::thread::spawn(move || verdict(&tick(&mut plugin.instantiate().unwrap())))
        })
        .collect();
    for spinner in spinners {
        assert_eq!(spinner.join().unwrap(), "trap_deadline");
    }
    assert!(neighbour.ticks() >= before + 2, "the neighbour stood still");
    neighbour.leave();
}
