use super::rig::{ADMIN, Running, said};
use crate::setup::{Plan, facts, text};
use ringfence::venue::chaos::{Fault, Plan as Chaos, Scope};
use ringfence::venue::paper::Lies;

/// A host that runs and has given up on an order.
fn with_a_letter() -> (Running, String) {
    let mut running = Running::new(Plan::default());
    running.rig.venue.lie(Lies { orders_fail: true, ..Lies::default() });
    let lose = Chaos::Always(Fault::ErrorBefore(503), Scope::Writes);
    running.rig.runtime.block_on(running.rig.proxy.set_plan(lose)).unwrap();
    running.feed(12);
    let id = running.until("an order is given up on", |running| {
        let (status, body) = running.call("GET", "/v1/dlq", None);
        assert_eq!(status, 200, "{body}");
        let list: serde_json::Value = serde_json::from_str(&body).unwrap();
        Some(list["letters"][0]["id"].as_str()?.to_owned())
    });
    running.rig.runtime.block_on(running.rig.proxy.set_plan(Chaos::Pass)).unwrap();
    running.rig.venue.lie(Lies::default());
    (running, id)
}

#[test]
fn dead_letters_are_looked_at_and_sent_again_while_the_host_runs() {
    let (mut running, id) = with_a_letter();
    let listed = running.told(&["dlq", "list"]);
    assert!(listed.status.success() && text(&listed.stdout).contains(&id), "{}", said(&listed));
    let shown = running.command(&["dlq", "show", &id]);
    assert_eq!(facts(&shown)["id"], *id, "{}", said(&shown));
    assert!(facts(&shown)["payload"].as_str().unwrap().contains("TEST"), "{}", said(&shown));
    let doubt = running.command(&["dlq", "replay", &id]);
    if facts(&shown)["ambiguous"] == true {
        assert_eq!(doubt.status.code(), Some(2), "{}", said(&doubt));
        assert!(text(&doubt.stderr).contains("--ambiguous"), "{}", said(&doubt));
    }
    let replayed = running.told(&["dlq", "replay", &id, "--ambiguous"]);
    assert!(replayed.status.success() && text(&replayed.stdout).contains(" now "), "{}", said(&replayed));
    assert!(!running.command(&["dlq", "replay", &id, "--ambiguous"]).status.success(), "twice is once");
    // At a fresh price, and without a restart.
    running.feed_until("the letter is executed", |running| {
        running.rig.truth().placements.contains_key(&id).then_some(())
    });
    running.until("the letter is closed", |running| {
        (facts(&running.command(&["dlq", "show", &id]))["state"] == "resolved").then_some(())
    });
    running.finish();
    running.rig.assert_nothing_twice();
    assert_eq!(running.rig.truth().placements.get(&id), Some(&1));
}

#[test]
fn a_letter_is_closed_while_the_host_runs_and_only_with_a_note() {
    let (mut running, id) = with_a_letter();
    let silent = running.command(&["dlq", "resolve", &id, "--note", " "]);
    assert_eq!(silent.status.code(), Some(2), "{}", said(&silent));
    let closed = running.command(&["dlq", "resolve", &id, "--note", "not there"]);
    assert!(closed.status.success(), "{}", said(&closed));
    assert!(running.log().contains("resolve dead letter"), "{}", running.log());
    let unknown = running.command(&["dlq", "show", "no-such-letter"]);
    assert_eq!(unknown.status.code(), Some(2), "{}", said(&unknown));
    assert!(text(&unknown.stderr).contains("ringfence dlq list"), "{}", said(&unknown));
    running.finish();
    // The files say the same when nobody has them.
    let shown = running.command(&["dlq", "show", &id]);
    assert_eq!(facts(&shown)["state"], "resolved", "{}", said(&shown));
}

#[test]
fn a_host_that_cannot_be_spoken_with_keeps_its_letters_to_itself() {
    let mut running = Running::new(Plan::default());
    let by_folder = running.rig.state(&["dlq", "list"]);
    assert_eq!(by_folder.status.code(), Some(4), "{}", said(&by_folder));
    assert!(text(&by_folder.stderr).contains("--config"), "{}", said(&by_folder));
    let mute = std::fs::read_to_string(running.rig.path("host.toml")).unwrap().replace(ADMIN, "");
    std::fs::write(running.rig.path("mute.toml"), mute).unwrap();
    let output = crate::setup::ringfence(&["dlq", "list", "--config", &running.rig.path("mute.toml")]);
    assert_eq!(output.status.code(), Some(4), "{}", said(&output));
    assert!(text(&output.stderr).contains("[admin]"), "{}", said(&output));
    running.finish();
}
