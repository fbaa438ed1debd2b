//! Sweeps: each combination is what it would be alone, whatever runs beside it.

use super::setup::{component, facts, ringfence, text};
use serde_json::Value;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::Output;
use tempfile::TempDir;

/// Trades of a walk that crosses its averages often.
fn data(dir: &TempDir, rows: u64) -> PathBuf {
    let (mut noise, mut price) = (9_u64, 100_000_i64);
    let mut table = String::from("timestamp,price,quantity\n");
    for row in 0..rows {
        noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        price = (price + (noise >> 40) as i64 % 101 - 50).max(1_000);
        let at = 1_700_000_000_000 + row * 1_000;
        let _ = writeln!(table, "{at},{}.{:02},5", price / 100, price % 100);
    }
    let path = dir.path().join("walk.csv");
    std::fs::write(&path, table).unwrap();
    path
}

fn test(name: &str, data: &std::path::Path, more: &[&str]) -> Output {
    let (component, data) = (component(name).display().to_string(), data.display().to_string());
    let mut arguments = vec!["test", &component, "--data", &data, "--format", "json", "--fees", "2"];
    arguments.extend(more);
    ringfence(&arguments)
}

/// What a run says in both forms.
fn common(run: &Value) -> Value {
    let keys = [
        "final_equity",
        "total_return",
        "max_drawdown",
        "sharpe",
        "sortino",
        "profit_factor",
        "win_rate",
        "trades",
        "fees",
        "intents",
        "orders",
        "fills",
        "traps",
        "faults",
        "mode",
        "stopped_at",
        "books_match",
        "intents_sha256",
    ];
    let told: serde_json::Map<_, _> = keys.iter().map(|key| ((*key).to_owned(), run[*key].clone())).collect();
    told.into()
}

#[test]
fn each_run_of_a_sweep_is_what_it_is_alone_on_one_thread_and_on_several() {
    let dir = TempDir::new().unwrap();
    let data = data(&dir, 6_000);
    let grid = ["--set", "quantity=2", "--set", "fast=3..9:3", "--set", "slow=20,55"];
    let runs = |jobs: &str| {
        let output = test("ema-cross", &data, &[&grid[..], &["--jobs", jobs]].concat());
        assert!(output.status.success(), "{}", text(&output.stderr));
        facts(&output)
    };
    let (one, three) = (runs("1"), runs("3"));
    assert_eq!(one["runs"], three["runs"]);
    assert_eq!((&one["best"], one["runs"].as_array().unwrap().len()), (&three["best"], 6));
    let mut digests = std::collections::BTreeSet::new();
    let combinations = [(3, 20), (3, 55), (6, 20), (6, 55), (9, 20), (9, 55)];
    for (run, (fast, slow)) in one["runs"].as_array().unwrap().iter().zip(combinations) {
        let settings = &run["settings"];
        assert_eq!(
            (&settings["fast"]["integer"], &settings["slow"]["integer"]),
            (&fast.into(), &slow.into())
        );
        let (fast, slow) = (format!("fast={fast}"), format!("slow={slow}"));
        let alone = test("ema-cross", &data, &["--set", "quantity=2", "--set", &fast, "--set", &slow]);
        assert_eq!(common(run), common(&facts(&alone)));
        assert!(run["fills"].as_u64().unwrap() > 50, "{run}");
        digests.insert(run["intents_sha256"].to_string());
    }
    assert_eq!(digests.len(), 6);
}

#[test]
fn the_best_is_the_first_of_the_best_by_what_was_asked_for() {
    let dir = TempDir::new().unwrap();
    let data = data(&dir, 6_000);
    for (by, key, sign) in [
        ("return", "total_return", 1.0),
        ("drawdown", "max_drawdown", -1.0),
        ("profit-factor", "profit_factor", 1.0),
    ] {
        let found =
            facts(&test("ema-cross", &data, &["--set", "fast=3..9:3", "--set", "slow=20,55", "--by", by]));
        let merit = |run: &Value| {
            sign * run[key].as_str().map_or_else(|| run[key].as_f64().unwrap(), |it| it.parse().unwrap())
        };
        let merits: Vec<f64> = found["runs"].as_array().unwrap().iter().map(merit).collect();
        let most = merits.iter().copied().fold(f64::MIN, f64::max);
        let first = merits.iter().position(|merit| *merit == most).unwrap();
        assert_eq!(found["best"], first, "{by}: {merits:?}");
    }
}

#[test]
fn a_run_that_traps_or_does_not_start_is_a_row_and_not_the_end() {
    let dir = TempDir::new().unwrap();
    let data = data(&dir, 2_000);
    // fast below slow is what the component itself asks for.
    let output = test("ema-cross", &data, &["--set", "fast=5,30", "--set", "slow=20"]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    let found = facts(&output);
    assert!(
        found["runs"][0]["error"].is_null() && found["runs"][0]["fills"].as_u64().unwrap() > 10,
        "{found}"
    );
    let error = &found["runs"][1]["error"];
    assert!(error["message"].as_str().unwrap().contains("fast below slow"), "{error}");
    assert_eq!(found["best"], 0);
    // The faulty one traps at a tick of its own choice; the others are not touched.
    let output = test("faulty", &data, &["--set", "after=5,100000"]);
    let found = facts(&output);
    assert_eq!(output.status.code(), Some(1), "{found}");
    assert_eq!((&found["runs"][0]["traps"], &found["runs"][1]["traps"]), (&1.into(), &0.into()), "{found}");
}

#[test]
fn what_is_no_grid_is_refused_with_words() {
    let dir = TempDir::new().unwrap();
    let data = data(&dir, 100);
    for (more, words) in [
        (&["--set", "fast=9..3:1"][..], "ends below it"),
        (
            &["--set", "fast=1..9", "--set", "slow=10..99", "--runs-max", "100"],
            "810 runs were asked for, 100 are allowed",
        ),
        (&["--set", "fast=1..9", "--report", "x.html"], "name one combination"),
        (&["--set", "nonsense=1..3"], "nonsense"),
    ] {
        let output = test("ema-cross", &data, more);
        let said = text(&output.stderr) + &text(&output.stdout);
        assert!(!output.status.success() && said.contains(words), "{more:?}: {said}");
    }
    let (ema, data) = (component("ema-cross").display().to_string(), data.display().to_string());
    let output = ringfence(&["compare", &ema, &ema, "--data", &data, "--set", "fast=1..3"]);
    assert!(!output.status.success() && text(&output.stderr).contains("a comparison is of two runs"));
}
