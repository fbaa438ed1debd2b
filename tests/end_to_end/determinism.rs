//! The same component, data and seed give the same calls, intents and fuel, in another process and folder.

use super::setup::{Plan, Rig, text, trades};
use serde_json::Value;

/// Every call in the journal of a rig's host.
fn calls(rig: &Rig) -> Vec<Value> {
    let dump = text(&rig.state(&["journal", "dump"]).stdout);
    let records = dump.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let calls = records.filter_map(|record| record["entry"]["record"]["fed"]["calls"].as_array().cloned());
    calls.flatten().collect()
}

/// What came of each tick: its number, the answer with the digest of the intents, and the fuel.
fn answers(rig: &Rig) -> Vec<(u64, Value, u64)> {
    let of_ticks = calls(rig).into_iter().filter_map(|call| {
        let seq = call["input"]["tick"]["seq"].as_u64()?;
        Some((seq, call["answer"].clone(), call["fuel"].as_u64().unwrap()))
    });
    of_ticks.collect()
}

#[test]
fn two_processes_want_the_same_for_the_same_fuel() {
    let run = |settings| {
        let rig = Rig::new(Plan { settings, ticks: 300, ..Plan::default() });
        let output = rig.run();
        assert!(output.status.success(), "{}", text(&output.stderr));
        answers(&rig)
    };
    let settings = "{ fast = 2, slow = 5, quantity = 3 }";
    let (one, other) = (run(settings), run(settings));
    assert_eq!(one, other);
    assert_eq!(one.len(), 300);
    let wanted = one.iter().filter(|(_, answer, _)| answer["wanted"].is_string()).count();
    let fuels: std::collections::BTreeSet<u64> = one.iter().map(|(_, _, fuel)| *fuel).collect();
    assert!(wanted > 20 && fuels.len() > 1, "{wanted} intents, fuel {fuels:?}");
    assert_ne!(one, run("{ fast = 2, slow = 6, quantity = 3 }"), "other settings want something else");
}

fn bars(rig: &Rig) -> Vec<Value> {
    let bars = calls(rig).into_iter().filter_map(|call| {
        let bar = call["input"]["bar"].clone();
        bar.is_object().then_some(bar)
    });
    bars.collect()
}

#[test]
fn bars_are_those_of_the_ticks_also_over_a_restart_within_one() {
    let plan = || Plan { component: "breakout", settings: "{ bars = 2, quantity = 3 }", ..Plan::default() };
    let whole = Rig::new(plan());
    let output = whole.run();
    assert!(output.status.success(), "{}", text(&output.stderr));
    // 400 ticks a second apart, from 20 s into a minute on.
    let found = bars(&whole);
    let volumes: Vec<_> = found.iter().map(|bar| bar["volume"].as_u64().unwrap()).collect();
    assert_eq!(volumes, [80, 120, 120, 120, 120, 120], "two lots a tick");
    assert_eq!((&found[1]["high"], &found[1]["low"]), (&100_900.into(), &99_100.into()));
    assert_eq!((&found[1]["seconds"], &found[1]["trades"]), (&60.into(), &60.into()));

    let rig = Rig::new(plan());
    let all = trades(400);
    let (header, lines) = all.split_once('\n').unwrap();
    let lines: Vec<_> = lines.lines().collect();
    for part in lines.chunks(133) {
        std::fs::write(rig.dir.path().join("trades.csv"), format!("{header}\n{}\n", part.join("\n")))
            .unwrap();
        let output = rig.run();
        assert!(output.status.success(), "{}", text(&output.stderr));
    }
    assert_eq!(bars(&rig), found);
}
