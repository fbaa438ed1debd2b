//! The scenarios that a user can run, with disturbances cut short.

use super::setup::{component, facts, ringfence, text, workspace};
use serde_json::Value;
use std::path::Path;
use tempfile::TempDir;

fn chaos(arguments: &[&str]) -> std::process::Output {
    let components = workspace().join("target/components").display().to_string();
    let mut all = vec!["chaos", "--components", &components, "--format", "json"];
    all.extend(arguments);
    ringfence(&all)
}

#[test]
fn every_scenario_is_survived_and_says_what_was_injected() {
    let output = chaos(&["all", "--seconds-max", "3"]);
    let found = facts(&output);
    let not_run: Vec<&Value> = found["not_run"].as_array().unwrap().iter().collect();
    // A machine that permits no small disk says so; the others are there.
    assert!(not_run.iter().all(|row| row[0] == "disk-full"), "{not_run:?}");
    let rows = found["scenarios"].as_array().unwrap();
    let failed: Vec<String> = rows
        .iter()
        .flat_map(|row| {
            let checks = row["checks"].as_array().unwrap().iter().filter(|check| check["held"] == false);
            checks
                .map(move |check| format!("{}: {} ({})", row["name"], check["what"], check["found"]))
                .collect::<Vec<_>>()
        })
        .collect();
    assert_eq!(failed, Vec::<String>::new());
    assert_eq!(rows.len() + not_run.len(), 14);
    assert_eq!(output.status.success(), not_run.is_empty(), "{}", text(&output.stderr));
    for row in rows {
        let (name, number) = (row["name"].as_str().unwrap(), |key: &str| row[key].as_u64().unwrap());
        assert_eq!((number("lost"), number("duplicated")), (0, 0), "{name}");
        assert!(number("calls") > 0 && number("intents") > 3, "{name}: {row}");
        let plugin = name.ends_with("-plugin");
        assert!(number("injected") > 0, "{name} injected nothing");
        assert_eq!(row["final_mode"], if plugin { "observation" } else { "full" }, "{name}");
    }
}

#[test]
fn any_component_can_be_put_under_a_plan() {
    let dir = TempDir::new().unwrap();
    let plan = dir.path().join("plan.toml");
    std::fs::write(
        &plan,
        "failure_permille = 300\nerror_codes = [503]\nfaults = [\"drop-reply\", \"duplicate\"]\n",
    )
    .unwrap();
    let (plan, ema) = (plan.display().to_string(), component("ema-cross").display().to_string());
    let arguments = [
        "--component",
        &ema,
        "--settings",
        "{ fast = 2, slow = 5, quantity = 3 }",
        "--plan",
        &plan,
        "--seconds-max",
        "4",
    ];
    let output = chaos(&arguments);
    assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
    let found = facts(&output);
    assert_eq!((&found["lost"], &found["duplicated"]), (&0.into(), &0.into()));
    assert!(found["injections"].as_u64() > Some(5), "{found}");
    let rate = found["actual_permille"].as_u64().unwrap();
    assert!((150..450).contains(&rate), "{rate} of a thousand failed, about 300 should");
}

#[test]
fn what_is_no_scenario_is_said_with_those_that_are() {
    let output = chaos(&["partitoin"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("partition, latency, bad-prices"), "{}", text(&output.stderr));
    assert!(!Path::new("partitoin").exists());
    let listed = facts(&chaos(&["--list"]));
    assert_eq!(listed.as_array().unwrap().len(), 14);
}
