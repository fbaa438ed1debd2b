use super::rig::{Running, Trace, digest, piped, said, show, trace, variant};
use crate::components::recorded;
use crate::setup::{Plan, component, facts, text};
use serde_json::json;
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

/// A host on recorded trades through a pipe. All but the last rows flow while `meanwhile` runs, the last follow it.
fn on_recorded_trades(data: &Path, meanwhile: impl FnOnce(&mut Running)) -> Running {
    // The capture trades in hundred-thousandths.
    let settings = "{ fast = 10, slow = 20, quantity = 1 }";
    let rig = piped(Plan { settings, lot: "0.00001", ..Plan::default() });
    let text = std::fs::read_to_string(data).unwrap();
    let (header, rows) = text.split_once('\n').unwrap();
    let mut running = Running::start_on(rig, header);
    let rows: Vec<&str> = rows.lines().collect();
    let (early, late) = rows.split_at(rows.len() - 400);
    let write = |mut pipe: &File, rows: &[&str]| pipe.write_all((rows.join("\n") + "\n").as_bytes()).unwrap();
    let pipe = running.pipe();
    let flows = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for rows in early.chunks(50) {
                write(&pipe, rows);
                flows.store(true, Ordering::Relaxed);
            }
        });
        while !flows.load(Ordering::Relaxed) {
            std::thread::yield_now();
        }
        meanwhile(&mut running);
    });
    write(&pipe, late);
    // The end of the data is the end of everybody who could write it.
    drop(pipe);
    let facts = running.finish();
    assert_eq!(facts["events"], rows.len(), "{facts}\n{}", running.log());
    assert_eq!((&facts["dropped"], &facts["traps"]), (&0.into(), &0.into()), "{facts}");
    running
}

fn swap_and_wait(running: &Running, path: &Path) {
    let output =
        running.command(&["swap", "agent", show(path), "--probation", "0", "--wait", "--note", "same again"]);
    assert!(output.status.success(), "{}", said(&output));
    assert_eq!(facts(&output)["stage"], "committed");
}

/// Twice the same component, and once one that differs in its digest only: what the strategies wanted is what one that
/// ran all the time wants, tick for tick, and each tick was given to one of them once.
#[test]
fn a_swap_among_flowing_ticks_loses_none_sees_none_twice_and_wants_the_same() {
    let Some(data) = recorded("btcusdt_20240809_trades.csv") else { return };
    let running = on_recorded_trades(&data, |running| {
        swap_and_wait(running, &component("ema-cross"));
        let other = variant(&running.rig, "ema-cross", "other");
        swap_and_wait(running, &other);
        swap_and_wait(running, &component("ema-cross"));
    });
    let entries = running.entries();
    let swaps = entries.iter().filter(|entry| matches!(entry.record, ringfence::orders::Record::Swapped(_)));
    assert_eq!(swaps.count(), 3);
    let trace = trace(&entries);
    let expected: Vec<u64> = (0..10_147).collect();
    assert!(trace.ticks == expected, "{} ticks, not each once and in order", trace.ticks.len());
    let digest: String =
        Sha256::digest(trace.intents.as_bytes()).iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(digest, "bf2a3becd9b469f0", "the crossings of the reference");
    let truth = running.rig.truth();
    assert_eq!((truth.executions.len(), truth.orders.len()), (100, 100));
    running.rig.assert_nothing_twice();
}

/// What the strategy wants in a run without any swap over this many rows. The venue may fill it a tick sooner or
/// later; that is between the two of them.
pub fn undisturbed(rows: usize) -> Trace {
    let mut running = Running::new(Plan::default());
    running.feed(rows);
    running.finish();
    trace(&running.entries())
}

#[test]
fn a_shadow_shows_how_its_intents_differ_and_trades_nothing() {
    let mut running = Running::new(Plan::default());
    running.feed(40);
    running.settle();
    let path = component("ema-cross");
    let settings = ["--set", "fast=3", "--set", "slow=9", "--set", "quantity=3"];
    let mut arguments = vec!["swap", "agent", show(&path), "--shadow", "60", "--probation", "0", "--wait"];
    arguments.extend(settings);
    let mut waiting = running.begin(&arguments);
    let mut stdout = BufReader::new(waiting.stdout.take().unwrap());
    let mut said = String::new();
    // No tick comes before the command has told that the shadow runs.
    while !said.contains("runs beside the strategy for 60 ticks") {
        assert!(stdout.read_line(&mut said).unwrap() > 0, "{said}");
    }
    let output = running.feed_through(waiting);
    stdout.read_to_string(&mut said).unwrap();
    assert!(output.status.success(), "{said}\n{}", text(&output.stderr));
    for words in ["running", "candidate", "intents", "first at call", "done"] {
        assert!(said.contains(words), "{words}: {said}");
    }
    let agent = running.agent();
    let report = &agent["swap"]["shadow"];
    assert_eq!(report["ticks"], 60, "{agent}");
    assert!(report["differing"].as_u64() > Some(0), "other averages cross elsewhere: {report}");
    assert_eq!(agent["settings"], json!({ "fast": 3, "slow": 9, "quantity": 3 }));
    assert_eq!(agent["stats"]["swaps"], 1);
    // Until the switch nothing but the old settings traded.
    let switched = agent["swap"]["switched_after_call"].as_u64().unwrap();
    assert!(switched > 100, "40 ticks and 60 of the shadow: {switched}");
    let paused = agent["swap"]["paused_us"].as_u64().unwrap();
    assert!(paused > 0, "a record has to be durable first");
    let told = format!("with a pause of {}.{:03} ms", paused / 1_000, paused % 1_000);
    assert!(said.contains(&told), "{told}: {said}");
    let before = running.rig.truth().executions.len();
    running.feed(60);
    running.settle();
    assert!(running.rig.truth().executions.len() > before, "the new one trades");
    running.finish();
    let (trace, alike) = (trace(&running.entries()), undisturbed(100));
    assert!(trace.intents.starts_with(&alike.intents), "{trace:?}\n{alike:?}");
    running.rig.assert_nothing_twice();
}

#[test]
fn a_trap_in_the_probation_brings_the_old_one_back_by_itself() {
    let mut running = Running::new(Plan::default());
    running.feed(40);
    running.settle();
    let faulty = component("faulty");
    let waiting = running.begin(&[
        "swap",
        "agent",
        show(&faulty),
        "--only-set",
        "--set",
        "fault=panic",
        "--set",
        "after=3",
        "--fresh",
        "--probation",
        "50",
        "--wait",
        "--format",
        "json",
    ]);
    let output = running.feed_through(waiting);
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    let swap = facts(&output);
    assert_eq!(
        (&swap["stage"], &swap["returned_because"]),
        (&"returned".into(), &"probation-failed".into()),
        "{swap}"
    );
    let agent = running.agent();
    assert_eq!(agent["component"]["name"], "ema-cross", "{agent}");
    assert_eq!(agent["settings"], json!({ "fast": 2, "slow": 5, "quantity": 3 }));
    assert_eq!(agent["strategy"]["state"], "running");
    let before = running.rig.truth().executions.len();
    running.feed(60);
    running.settle();
    assert!(running.rig.truth().executions.len() >= before + 8, "it trades on");
    running.finish();
    running.rig.assert_nothing_twice();
}

#[test]
fn a_rollback_after_the_probation_finds_the_old_component_and_its_settings() {
    let mut running = Running::new(Plan::default());
    running.feed(20);
    running.settle();
    // The file that the agent began with is gone.
    let other = variant(&running.rig, "ema-cross", "second");
    let swap = ["swap", "agent", show(&other), "--set", "fast=3", "--probation", "4", "--wait"];
    let waiting = running.begin(&swap);
    let output = running.feed_through(waiting);
    assert!(output.status.success(), "{}", said(&output));
    std::fs::remove_file(&other).unwrap();
    let agent = running.agent();
    assert_eq!(agent["component"]["sha256"], running.agent()["swap"]["to"]["sha256"]);
    assert_eq!(agent["settings"]["fast"], 3);
    let back = running.command(&["rollback", "agent", "--note", "it was better before"]);
    assert!(back.status.success(), "{}", said(&back));
    let agent = running.feed_until("the old one is back", |running| {
        let agent = running.agent();
        (agent["settings"]["fast"] == 2).then_some(agent)
    });
    assert_eq!(agent["component"]["sha256"], digest(&component("ema-cross")), "{agent}");
    // And the other way round: what was rolled back from is what ran before.
    let again = running.command(&["rollback", "agent", "--note", "or was it"]);
    assert!(again.status.success(), "{}", said(&again));
    running.feed_until("the second is back, from the store", |running| {
        (running.agent()["settings"]["fast"] == 3).then_some(())
    });
    let facts = running.finish();
    assert_eq!(facts["traps"], 0, "{facts}");
    running.rig.assert_nothing_twice();
}

#[test]
fn a_rollback_in_the_probation_and_one_before_the_switch_are_taken() {
    let mut running = Running::new(Plan::default());
    running.feed(20);
    running.settle();
    let other = variant(&running.rig, "ema-cross", "second");
    let began = running.command(&["swap", "agent", show(&other), "--shadow", "1000"]);
    assert!(began.status.success(), "{}", said(&began));
    assert_eq!(facts(&began)["stage"], "shadowing", "no tick has flowed");
    let busy = running.command(&["swap", "agent", show(&other)]);
    assert_eq!(busy.status.code(), Some(3), "{}", said(&busy));
    assert!(text(&busy.stderr).contains("under way"), "{}", said(&busy));
    let given_up = running.command(&["rollback", "agent", "--note", "no"]);
    assert!(given_up.status.success(), "{}", said(&given_up));
    assert_eq!(facts(&given_up)["stage"], "refused");
    assert_eq!(running.agent()["component"]["sha256"], digest(&component("ema-cross")));

    let began = running.command(&["swap", "agent", show(&other), "--probation", "1000"]);
    assert!(began.status.success(), "{}", said(&began));
    running.feed_until("it has taken over", |running| {
        (running.agent()["swap"]["stage"] == "probation").then_some(())
    });
    assert_eq!(running.agent()["component"]["sha256"], digest(&other));
    let back = running.command(&["rollback", "agent", "--note", "no again"]);
    assert!(back.status.success(), "{}", said(&back));
    let swap = facts(&back);
    assert_eq!(
        (&swap["stage"], &swap["returned_because"]),
        (&"returned".into(), &"rollback".into()),
        "{swap}"
    );
    assert_eq!(running.agent()["component"]["sha256"], digest(&component("ema-cross")));
    running.feed(50);
    running.finish();
    assert_eq!(trace(&running.entries()), undisturbed(running.rows), "both are the same strategy");
}

#[test]
fn what_ran_before_begins_anew_when_it_cannot_go_on_with_the_state_of_another() {
    let mut running = Running::new(Plan { component: "mean-reversion", settings: "{}", ..Plan::default() });
    running.feed(20);
    running.settle();
    let other = component("ema-cross");
    let output = running.command(&[
        "swap",
        "agent",
        show(&other),
        "--only-set",
        "--fresh",
        "--probation",
        "0",
        "--wait",
    ]);
    assert!(output.status.success(), "{}", said(&output));
    running.feed(20);
    running.settle();
    let refused = running.command(&["rollback", "agent", "--note", "back", "--wait"]);
    assert_eq!(refused.status.code(), Some(1), "{}", said(&refused));
    assert_eq!(
        facts(&refused)["code"],
        "swap_load_failed",
        "averages are no window of prices: {}",
        said(&refused)
    );
    assert_eq!(running.agent()["component"]["name"], "ema-cross");
    let back = running.command(&["rollback", "agent", "--note", "back", "--fresh"]);
    assert!(back.status.success(), "{}", said(&back));
    running.feed_until("the old one is back", |running| {
        (running.agent()["component"]["name"] == "mean-reversion").then_some(())
    });
    assert_eq!(running.agent()["settings"], json!({}));
    running.feed(30);
    running.settle();
    running.finish();
    running.rig.assert_nothing_twice();
}
