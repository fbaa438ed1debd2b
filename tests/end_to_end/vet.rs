//! Vetting: what is sound passes, what is not is found where it should be and shown again by what was saved.

use super::setup::{component, facts, ringfence, text};
use serde_json::Value;
use std::path::Path;
use std::process::Output;
use tempfile::TempDir;

fn vet(name: &str, out: &Path, more: &[&str]) -> Output {
    let (component, out) = (component(name).display().to_string(), out.display().to_string());
    let mut arguments = vec!["vet", &component, "--out", &out, "--format", "json"];
    arguments.extend(more);
    ringfence(&arguments)
}

fn kinds(facts: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let rows = facts["scenarios"].as_array().unwrap().iter();
    rows.flat_map(|row| {
        let name = text(&row["name"]);
        row["failures"]
            .as_array()
            .unwrap()
            .iter()
            .map(move |it| (name.clone(), text(&it["kind"])))
            .collect::<Vec<_>>()
    })
    .collect()
}

#[test]
fn the_examples_pass_and_order_something_on_the_way() {
    let dir = TempDir::new().unwrap();
    for name in ["ema-cross", "mean-reversion", "breakout", "ema-cross-c"] {
        let out = dir.path().join(name);
        let output = vet(name, &out, &["--sessions", "8", "--seed", "5"]);
        let found = facts(&output);
        assert!(output.status.success(), "{name}: {:?}\n{found}", kinds(&found));
        assert_eq!(found["passed"], true);
        let rows = found["scenarios"].as_array().unwrap();
        assert!(rows.len() > 25, "{name}");
        let trading = rows.iter().filter(|row| row["intents"].as_u64().unwrap() > 5).count();
        assert!(trading > 3, "{name} orders in {trading} scenarios only");
        assert!(!out.exists(), "nothing failed, and nothing is written");
    }
}

#[test]
fn a_seed_decides_everything() {
    let dir = TempDir::new().unwrap();
    let told = |seed: &str| {
        let mut found = facts(&vet("ema-cross", dir.path(), &["--sessions", "3", "--seed", seed]));
        found["seconds"] = Value::Null;
        found
    };
    assert_eq!(told("7"), told("7"));
    assert_ne!(told("7")["scenarios"], told("8")["scenarios"]);
}

#[test]
fn each_fault_is_found_for_what_it_is_and_shown_again_by_few_steps() {
    for (fault, kind, words) in [
        ("panic", "trap", "unreachable"),
        ("loop", "budget", "trap_fuel"),
        ("memory", "budget", "trap_"),
        ("flood", "budget", "trap_host_calls"),
        ("bad-intent", "invalid-intent", "instrument 4294967295"),
    ] {
        let dir = TempDir::new().unwrap();
        let set = format!("fault={fault}");
        let arguments = ["--set", &set, "--set", "after=30", "--only", "calm"];
        let output = vet("faulty", dir.path(), &arguments);
        let found = facts(&output);
        assert_eq!(output.status.code(), Some(1), "{fault}: {found}");
        assert_eq!(kinds(&found), [("calm".to_owned(), kind.to_owned())]);
        let failure = &found["scenarios"][0]["failures"][0];
        assert!(failure["detail"].as_str().unwrap().contains(words), "{failure}");
        // It takes thirty ticks to come to it, and one more.
        assert_eq!(
            (failure["at_event"].as_u64(), failure["steps"].as_u64()),
            (Some(30), Some(31)),
            "{failure}"
        );
        let saved = failure["saved"].as_str().unwrap();
        let command = failure["command"].as_str().unwrap();
        assert!(command.starts_with("ringfence vet ") && command.ends_with(saved), "{command}");
        let again: Vec<&str> = command.split(' ').skip(1).chain(["--format", "json"]).collect();
        let output = ringfence(&again);
        assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
        assert_eq!(kinds(&facts(&output)), [("calm".to_owned(), kind.to_owned())]);
    }
}

#[test]
fn one_that_forgets_is_told_from_one_that_goes_on() {
    // It counts its ticks and saves nothing of that.
    let dir = TempDir::new().unwrap();
    let output =
        vet("faulty", dir.path(), &["--set", "after=100000", "--set", "fault=panic", "--only", "restarts"]);
    assert_eq!(kinds(&facts(&output)), [("restarts".to_owned(), "state".to_owned())], "{}", facts(&output));
    let output = vet("faulty", dir.path(), &["--set", "after=100000", "--only", "lost-state"]);
    assert!(output.status.success(), "what is lost may be forgotten: {}", facts(&output));
}

#[test]
fn what_cannot_be_vetted_is_refused_with_words() {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("not.session");
    std::fs::write(&file, "{\"version\":1}\n").unwrap();
    let file = file.display().to_string();
    for (more, words) in [
        (&["--only", "nonsense"][..], "no scenario has \"nonsense\""),
        (&["--replay", &file], "expected the head of a session"),
        (&["--replay", "no/such/file"], "no/such/file"),
        (&["--set", "fast"], "expected KEY=VALUE"),
    ] {
        let output = vet("ema-cross", dir.path(), more);
        assert_eq!(output.status.code(), Some(2), "{more:?}");
        assert!(text(&output.stderr).contains(words), "{more:?}: {}", text(&output.stderr));
    }
    // By its schema, and by what it says itself.
    for (set, words) in [("fast=0", "from 1 to 100000"), ("fast=50", "expected fast below slow")] {
        let output = vet("ema-cross", dir.path(), &["--set", set, "--only", "calm"]);
        assert_eq!(output.status.code(), Some(2), "{}", text(&output.stdout));
        assert!(text(&output.stderr).contains(words), "{}", text(&output.stderr));
    }
}
