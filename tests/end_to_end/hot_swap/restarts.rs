use super::rig::{Running, digest, entries, said, show, variant};
use crate::setup::{Plan, Rig, component, facts};
use ringfence::orders::Record;
use serde_json::{Value, json};

/// What the journal says that runs: the component, and the setting that tells the variants apart.
fn journaled(rig: &Rig) -> (String, Value) {
    let mut runs = None;
    for entry in entries(rig) {
        match entry.record {
            Record::Started { plugin, settings, .. } => runs = Some((plugin, settings.unwrap())),
            Record::Swapped(swap) => runs = Some((swap.to, swap.settings)),
            _ => {}
        }
    }
    let (plugin, settings) = runs.unwrap();
    let fast = settings.iter().find(|setting| setting.key == "fast").unwrap();
    (plugin.to_string(), json!(fast.value)["integer"].clone())
}

#[test]
fn a_host_that_is_killed_in_the_middle_of_swaps_runs_what_its_journal_says() {
    let mut running = Running::new(Plan::default());
    let mut seen = std::collections::BTreeSet::new();
    for round in 0..8_u32 {
        let other = variant(&running.rig, "ema-cross", &format!("round-{round}"));
        let fast = format!("fast={}", 2 + round % 3);
        running.feed(10);
        running.settle();
        let mut waiting = running.begin(&["swap", "agent", show(&other), "--set", &fast, "--probation", "5"]);
        // Another moment in each round: before, in and after the vetting, with ticks under way.
        for _ in 0..round {
            running.feed(1);
            running.agent();
        }
        if round % 2 == 1 {
            // The command ends when the host has taken its order.
            waiting.wait().unwrap();
            running.until("the swap is under way or over", |running| {
                (running.agent()["swap"]["stage"] != "vetting").then_some(())
            });
            running.feed(3);
        }
        running.kill();
        let _ = waiting.kill();
        waiting.wait().unwrap();
        // Neither is where it came from any more.
        std::fs::remove_file(&other).unwrap();
        let (component, fast) = journaled(&running.rig);
        running.start_again("");
        let agent = running.agent();
        assert_eq!(
            (&agent["component"]["sha256"], &agent["settings"]["fast"]),
            (&component.clone().into(), &fast),
            "round {round}: {agent}"
        );
        assert_eq!(agent["stats"]["traps"], 0);
        seen.insert(component);
    }
    assert!(seen.len() > 2, "no swap was durable before its host was killed: {seen:?}");
    running.feed(40);
    running.settle();
    let facts = running.finish();
    assert_eq!(facts["traps"], 0, "{facts}");
    running.rig.assert_nothing_twice();
}

/// Swaps to a variant with another setting, for good.
fn swapped() -> (Running, String) {
    swapped_on(Plan::default())
}

fn swapped_on(plan: Plan<'_>) -> (Running, String) {
    let mut running = Running::new(plan);
    running.feed(20);
    running.settle();
    let other = variant(&running.rig, "ema-cross", "second");
    let waiting =
        running.begin(&["swap", "agent", show(&other), "--set", "fast=3", "--wait", "--format", "json"]);
    let output = running.feed_through(waiting);
    assert_eq!(facts(&output)["stage"], "committed", "{}", said(&output));
    let digest = digest(&other);
    std::fs::remove_file(&other).unwrap();
    running.finish();
    (running, digest)
}

#[test]
fn what_was_swapped_in_runs_on_after_a_restart_and_can_be_rolled_back_then() {
    let (mut running, second) = swapped();
    running.start_again("");
    let agent = running.agent();
    assert_eq!(
        (&agent["component"]["sha256"], &agent["settings"]["fast"]),
        (&second.clone().into(), &3.into()),
        "{agent}"
    );
    assert_eq!(agent["previous"]["sha256"], digest(&component("ema-cross")), "{agent}");
    let back = running.command(&["rollback", "agent", "--note", "the old one was better"]);
    assert!(back.status.success(), "{}", said(&back));
    running.feed_until("the old one is back", |running| {
        (running.agent()["settings"]["fast"] == 2).then_some(())
    });
    assert_eq!(running.agent()["component"]["sha256"], digest(&component("ema-cross")));
    running.finish();
    // And that is what the next start runs.
    running.start_again("");
    assert_eq!(running.agent()["settings"]["fast"], 2);
    running.finish();
}

#[test]
fn what_ran_before_is_known_when_the_journal_does_not_say_it_any_more() {
    let host = "journal = { segment_bytes_max = 32_768, record_bytes_max = 16_384, segments_kept_min = 1 }";
    let (mut running, second) = swapped_on(Plan { host, ..Plan::default() });
    running.start_again("");
    // One start of the new component is left, and nothing names the old one.
    running.feed_until("the journal is compacted beyond the switch", |running| {
        let tells = |record: &Record| matches!(record, Record::Swapped(_));
        (!running.entries().iter().any(|entry| tells(&entry.record))).then_some(())
    });
    running.finish();
    running.start_again("");
    let agent = running.agent();
    assert_eq!(agent["component"]["sha256"], second, "{agent}");
    assert_eq!(agent["previous"]["sha256"], digest(&component("ema-cross")), "{agent}");
    let back = running.command(&["rollback", "agent"]);
    assert!(back.status.success(), "{}", said(&back));
    running.feed_until("the old one is back", |running| {
        (running.agent()["settings"]["fast"] == 2).then_some(())
    });
    running.finish();
    running.rig.assert_nothing_twice();
}

#[test]
fn an_edited_configuration_wins_over_what_was_swapped_in() {
    let (mut running, second) = swapped();
    running.rig.reconfigure("fast = 2", "fast = 4");
    running.start_again("");
    let agent = running.agent();
    assert_eq!(agent["settings"]["fast"], 4, "{agent}");
    assert_eq!(agent["component"]["sha256"], digest(&component("ema-cross")), "{agent}");
    let log = running.log();
    assert!(log.contains("configuration_changed") && log.contains(&second), "{log}");
    running.feed(20);
    running.settle();
    running.finish();
    running.rig.assert_nothing_twice();
}

#[test]
fn a_component_that_has_to_go_on_and_is_gone_stops_the_start_with_advice() {
    let (running, second) = swapped();
    let kept = running.rig.path(&format!("state/components/{second}.wasm"));
    let bytes = std::fs::read(&kept).unwrap();
    std::fs::write(&kept, &bytes[..bytes.len() - 1]).unwrap();
    let data = running.rig.path("trades.csv");
    std::fs::remove_file(&data).unwrap();
    running.rig.feed(10);
    let output = running.rig.run();
    assert_eq!(output.status.code(), Some(3), "{}", said(&output));
    let log = crate::setup::text(&output.stderr);
    assert!(log.contains(&second) && log.contains("was swapped in and has to go on"), "{log}");
    // It is there again.
    std::fs::write(&kept, &bytes).unwrap();
    assert!(running.rig.run().status.success());
}
