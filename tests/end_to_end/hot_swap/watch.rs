use super::changes::undisturbed;
use super::rig::{Running, digest, piped, trace, variant};
use crate::setup::{Plan, component};
use std::path::PathBuf;

/// A host that watches a file of its own.
fn watched() -> (Running, PathBuf) {
    let rig = piped(Plan { agent: "watch = true", ..Plan::default() });
    let path = rig.dir.path().join("strategy.wasm");
    std::fs::copy(component("ema-cross"), &path).unwrap();
    rig.reconfigure(&component("ema-cross").display().to_string(), &path.display().to_string());
    (Running::start(rig), path)
}

#[test]
fn a_changed_file_takes_over_by_itself_and_goes_on_after_a_restart() {
    let (mut running, path) = watched();
    running.feed(20);
    running.settle();
    let other = variant(&running.rig, "ema-cross", "second");
    let wanted = digest(&other);
    std::fs::rename(&other, &path).unwrap();
    running.feed_until("the changed file has taken over", |running| {
        (running.agent()["component"]["sha256"] == wanted).then_some(())
    });
    assert_eq!(running.agent()["swap"]["reason"], "file");
    running.feed(30);
    running.settle();
    running.kill();
    running.start_again("");
    assert_eq!(running.agent()["component"]["sha256"], wanted);
    running.finish();
}

#[test]
fn a_file_that_is_not_taken_is_reported_once_and_the_old_one_trades_on() {
    let (mut running, path) = watched();
    running.feed(20);
    running.settle();
    let refusals =
        |running: &Running| running.log().matches("is not taken, and what ran before trades on").count();
    // In place, as an editor or a copy does it, in two halves.
    let bytes = std::fs::read(component("mean-reversion")).unwrap();
    std::fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    std::fs::write(&path, &bytes).unwrap();
    // It has other settings.
    running.feed_until("the whole of it is refused", |running| {
        running.log().contains("setting \"fast\" is not known").then_some(())
    });
    let settled = refusals(&running);
    assert!((1..=2).contains(&settled), "the whole, and at most one half before it: {}", running.log());
    // The next looks find nothing new; the swap back to what runs is a change again.
    let other = variant(&running.rig, "ema-cross", "second");
    let wanted = digest(&other);
    running.feed(10);
    running.settle();
    assert_eq!(refusals(&running), settled, "{}", running.log());
    let agent = running.agent();
    assert_eq!(agent["component"]["sha256"], digest(&component("ema-cross")), "{agent}");
    assert!(
        agent["alerts"]
            .as_array()
            .unwrap()
            .iter()
            .any(|alert| alert["text"].as_str().unwrap().contains("is not taken")),
        "{agent}"
    );
    std::fs::rename(&other, &path).unwrap();
    running.feed_until("a good one is taken after a bad one", |running| {
        (running.agent()["component"]["sha256"] == wanted).then_some(())
    });
    running.finish();
    assert_eq!(trace(&running.entries()), undisturbed(running.rows));
}

#[test]
fn a_watched_file_that_is_broken_at_a_start_leaves_what_ran_last() {
    let (mut running, path) = watched();
    running.feed(20);
    running.settle();
    running.finish();
    std::fs::write(&path, b"half a compo").unwrap();
    running.start_again("");
    let agent = running.agent();
    assert_eq!(agent["component"]["sha256"], digest(&component("ema-cross")), "{agent}");
    assert!(running.log().contains("what ran last goes on"), "{}", running.log());
    running.feed(20);
    running.settle();
    running.finish();
    running.rig.assert_nothing_twice();
}
