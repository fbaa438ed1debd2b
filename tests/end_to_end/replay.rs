//! Recordings: what the live host saw is made again by a command, to the same intents and the same fuel.

use super::hot_swap::rig::{QUIET, Running, digest, said, show, variant};
use super::setup::{Plan, Rig, component, facts, ringfence, text};
use proptest::prelude::*;
use ringfence::agent::live::recording::RecordingFile;
use serde_json::Value;
use std::path::PathBuf;
use std::process::Output;

fn folder(rig: &Rig) -> PathBuf {
    rig.dir.path().join("state/recordings/agent")
}

fn replay(rig: &Rig, more: &[&str]) -> Output {
    let folder = folder(rig).display().to_string();
    let mut arguments = vec!["replay", &folder, "--format", "json"];
    arguments.extend(more);
    ringfence(&arguments)
}

/// What the journal says was called and wanted, up to a call.
fn journaled(rig: &Rig, until: u64) -> (u64, u64) {
    let dump = text(&rig.state(&["journal", "dump"]).stdout);
    let records = dump.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let (mut calls, mut fuel) = (0, 0);
    for record in records {
        for call in record["entry"]["record"]["fed"]["calls"].as_array().into_iter().flatten() {
            if call["call"].as_u64().unwrap() <= until {
                calls += 1;
                fuel += call["fuel"].as_u64().unwrap();
            }
        }
    }
    (calls, fuel)
}

#[test]
fn what_each_example_was_called_with_gives_the_same_intents_and_the_same_fuel_again() {
    for (name, settings) in [
        ("ema-cross", "{ fast = 2, slow = 5, quantity = 3 }"),
        ("mean-reversion", "{ window = 20, quantity = 3 }"),
        ("breakout", "{ bars = 3, quantity = 3 }"),
    ] {
        let rig = Rig::new(Plan { component: name, settings, ..Plan::default() });
        let ran = rig.run();
        assert!(ran.status.success(), "{name}: {}", text(&ran.stderr));
        let output = replay(&rig, &[]);
        let found = facts(&output);
        assert!(output.status.success() && found["identical"] == true, "{name}: {found}");
        let (calls, fuel) = journaled(&rig, u64::MAX);
        assert!(calls >= 400, "{name}: {calls} calls");
        assert_eq!((found["calls"].as_u64(), found["fuel"].as_u64()), (Some(calls), Some(fuel)), "{name}");
        assert_eq!((&found["lost"], &found["inexact"]), (&0.into(), &0.into()));
        // Read again, it says the same.
        assert_eq!(facts(&replay(&rig, &[]))["intents_sha256"], found["intents_sha256"]);
    }
}

#[test]
fn a_recording_goes_on_over_a_swap_a_death_and_a_restart() {
    let mut running = Running::new(Plan::default());
    running.feed(40);
    running.settle();
    let other = variant(&running.rig, "ema-cross", "second");
    let waiting = running.begin(&["swap", "agent", show(&other), "--set", "fast=3", "--wait"]);
    let output = running.feed_through(waiting);
    assert!(output.status.success(), "{}", said(&output));
    running.feed(60);
    running.settle();
    running.kill();
    let killed = facts(&replay(&running.rig, &[]));
    assert_eq!(killed["identical"], true, "{killed}");
    let unwritten = journaled(&running.rig, u64::MAX).0.saturating_sub(killed["calls"].as_u64().unwrap());
    running.start_again("");
    running.feed(30);
    running.settle();
    running.finish();
    let found = facts(&replay(&running.rig, &[]));
    assert_eq!(found["identical"], true, "{found}");
    let components = [digest(&component("ema-cross")), digest(&other)];
    assert_eq!(found["components"], serde_json::json!(components));
    assert!(found["files"].as_u64().unwrap() >= 2 && found["calls"].as_u64() > killed["calls"].as_u64());
    // Nothing waits for a recording: what a death left unwritten is missing when a checkpoint has it already, and is fed
    // again by the journal and recorded then when none has.
    let missing = journaled(&running.rig, u64::MAX).0.checked_sub(found["calls"].as_u64().unwrap());
    assert!(
        missing.is_some_and(|missing| missing <= unwritten),
        "{missing:?} calls of {unwritten} are missing"
    );
    assert!(QUIET.contains("probation_ticks = 0"));
}

#[test]
fn another_component_is_shown_by_the_first_call_in_which_it_differs() {
    let rig = Rig::new(Plan::default());
    assert!(rig.run().status.success());
    let other = component("mean-reversion").display().to_string();
    // It takes other settings.
    let output = replay(&rig, &["--component", &other]);
    assert_eq!(output.status.code(), Some(2), "{}", text(&output.stdout));
    // The one in C wants the same, for less fuel.
    let found = facts(&replay(&rig, &["--component", &component("ema-cross-c").display().to_string()]));
    let recorded = facts(&replay(&rig, &[]));
    assert_eq!((&found["identical"], &found["intents_sha256"]), (&true.into(), &recorded["intents_sha256"]));
    assert!(found["fuel"].as_u64() < recorded["fuel"].as_u64(), "{found}");
    // Other settings want something else, and both are said.
    let output = replay(&rig, &["--set", "quantity=4"]);
    let found = facts(&output);
    assert_eq!(output.status.code(), Some(1), "{found}");
    let difference = &found["first_difference"];
    let words = |key: &str| difference[key].as_str().unwrap().to_owned();
    assert!(words("expected").contains(" 3 lots") && words("found").contains(" 4 lots"), "{difference}");
    assert!(difference["input"]["tick"]["last_price"].is_i64(), "{difference}");
}

#[test]
fn a_call_that_failed_seals_what_led_to_it_and_fails_again_in_the_same_words() {
    let rig = Rig::new(Plan {
        component: "faulty",
        settings: "{ fault = \"panic\", after = 150 }",
        agent: "supervision = { strikes_max = 1 }",
        ..Plan::default()
    });
    let ran = rig.run();
    assert!(text(&ran.stderr).contains("recording_sealed"), "{}", text(&ran.stderr));
    let sealed: Vec<_> =
        RecordingFile::list(&folder(&rig)).unwrap().into_iter().filter(|file| file.sealed).collect();
    assert_eq!(sealed.len(), 1);
    let path = sealed[0].path.display().to_string();
    let output = ringfence(&["replay", &path, "--format", "json"]);
    let found = facts(&output);
    assert!(output.status.success(), "it failed as it had failed: {found}");
    let failed = found["failed_calls"].as_array().unwrap();
    assert!(failed.len() == 1 && failed[0]["error"].as_str().unwrap().contains("unreachable"), "{found}");
    assert!(found["calls"].as_u64().unwrap() >= 150, "{found}");
    let told = text(&ringfence(&["replay", &path]).stdout);
    assert!(told.contains("failed as before") && told.contains("every call gave what it gave"), "{told}");
}

#[test]
fn files_stay_few_and_a_folder_that_cannot_be_written_stops_nobody() {
    let host = "recording = { file_bytes_max = 3000, files_max = 3 }";
    let rig = Rig::new(Plan { host, ..Plan::default() });
    assert!(rig.run().status.success());
    let files = RecordingFile::list(&folder(&rig)).unwrap();
    assert_eq!(files.len(), 3, "{files:?}");
    assert!(files[0].number > 2, "the oldest are gone: {files:?}");
    let found = facts(&replay(&rig, &[]));
    assert_eq!((&found["identical"], &found["resumed"]), (&true.into(), &true.into()), "{found}");

    let rig = Rig::new(Plan::default());
    std::fs::create_dir_all(rig.dir.path().join("state")).unwrap();
    std::fs::write(rig.dir.path().join("state/recordings"), "not a folder").unwrap();
    let ran = rig.run();
    assert!(ran.status.success(), "{}", text(&ran.stderr));
    assert_eq!(text(&ran.stderr).matches("recording_failed").count(), 1, "{}", text(&ran.stderr));
    rig.assert_nothing_twice();

    let rig = Rig::new(Plan { host: "recording = { enabled = false }", ..Plan::default() });
    assert!(rig.run().status.success() && !rig.dir.path().join("state/recordings").exists());
}

#[test]
fn damage_is_said_and_what_comes_before_it_is_good() {
    let rig = Rig::new(Plan::default());
    assert!(rig.run().status.success());
    let path = RecordingFile::list(&folder(&rig)).unwrap().remove(0).path;
    let bytes = std::fs::read(&path).unwrap();
    let whole = facts(&replay(&rig, &[]));
    // Half of the last block: its writer was killed.
    std::fs::write(&path, &bytes[..bytes.len() - 5]).unwrap();
    let cut = facts(&replay(&rig, &[]));
    assert_eq!((&cut["identical"], &cut["damaged"]), (&true.into(), &serde_json::json!([])));
    assert!(cut["calls"].as_u64() < whole["calls"].as_u64());
    let mut flipped = bytes.clone();
    let middle = bytes.len() / 2;
    flipped[middle] ^= 1;
    std::fs::write(&path, &flipped).unwrap();
    let output = replay(&rig, &[]);
    let found = facts(&output);
    assert_eq!(output.status.code(), Some(1), "{found}");
    assert!(found["damaged"][0].as_str().unwrap().contains("what comes before it is good"), "{found}");
    std::fs::write(&path, "timestamp,price\n").unwrap();
    let output = replay(&rig, &[]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("is no recording"), "{}", text(&output.stderr));
    let output = ringfence(&["replay", "no/such/folder"]);
    assert_eq!(output.status.code(), Some(4), "{}", text(&output.stderr));
}

proptest! {
    #[test]
    fn no_bytes_break_the_reader(tail in prop::collection::vec(any::<u8>(), 0..400), known in any::<bool>()) {
        let bytes = if known { [&b"RFREC1\n\0"[..], &tail].concat() } else { tail };
        if let Some((blocks, _)) = RecordingFile::decode(&bytes) {
            prop_assert!(blocks.is_empty(), "a checksum and a stretch by chance");
        }
    }
}
