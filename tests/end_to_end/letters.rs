use super::setup::{Plan, Rig, facts, text};
use ringfence::venue::chaos::{Fault, Plan as Chaos, Scope};

fn only_letter(rig: &Rig) -> serde_json::Value {
    let listed = facts(&rig.state(&["dlq", "list"]));
    let letters = listed["letters"].as_array().unwrap().clone();
    assert!(!letters.is_empty(), "{listed}");
    letters[0].clone()
}

/// After its first answer, which lets the agent trade, the venue answers nothing: attempts are spent, and so
/// are the questions what became of them.
fn rig_with_a_letter() -> Rig {
    let rig = Rig::new(Plan { ticks: 12, ..Plan::default() });
    let mut steps = vec![Some(Fault::ErrorBefore(503)); 20_000];
    steps[0] = None;
    rig.runtime.block_on(rig.proxy.set_plan(Chaos::Script(steps, Scope::All))).unwrap();
    let output = rig.run();
    assert!(output.status.success(), "{}", text(&output.stderr));
    rig.runtime.block_on(rig.proxy.set_plan(Chaos::Pass)).unwrap();
    rig
}

#[test]
fn an_intent_that_cannot_be_placed_becomes_a_letter_with_every_error() {
    let rig = rig_with_a_letter();
    let letter = only_letter(&rig);
    assert_eq!(letter["kind"], "intent");
    assert!(!letter["errors"].as_array().unwrap().is_empty(), "{letter}");
    let id = letter["id"].as_str().unwrap();
    let shown = facts(&rig.state(&["dlq", "show", id]));
    assert_eq!(shown["attempts"], letter["attempts"]);
    assert!(rig.truth().executions.is_empty());
}

#[test]
fn an_order_that_the_venue_never_had_is_settled_by_asking_and_needs_no_letter() {
    let rig = Rig::new(Plan { ticks: 12, ..Plan::default() });
    let lose = Chaos::Always(Fault::ErrorBefore(502), Scope::Writes);
    rig.runtime.block_on(rig.proxy.set_plan(lose)).unwrap();
    let output = rig.run();
    assert!(output.status.success(), "{}", text(&output.stderr));
    let listed = facts(&rig.state(&["dlq", "list"]));
    assert_eq!(listed["letters"].as_array().map(Vec::len), Some(0), "{listed}");
    assert!(rig.truth().placements.is_empty(), "{:?}", rig.truth().placements);
}

#[test]
fn a_replayed_letter_is_executed_once_under_its_old_key_and_closed() {
    let rig = rig_with_a_letter();
    let id = only_letter(&rig)["id"].as_str().unwrap().to_owned();
    let replayed = rig.state(&["dlq", "replay", &id, "--ambiguous"]);
    assert!(replayed.status.success(), "{}", text(&replayed.stderr));
    let again = rig.state(&["dlq", "replay", &id, "--ambiguous"]);
    assert!(!again.status.success(), "a second click must not send it again");
    let output = rig.run();
    assert!(output.status.success(), "{}", text(&output.stderr));
    rig.assert_nothing_twice();
    assert_eq!(rig.truth().placements.get(&id), Some(&1), "{:?}", rig.truth().placements);
    let shown = facts(&rig.state(&["dlq", "show", &id]));
    assert!(shown["status"]["resolved"].is_object(), "{shown}");
}

#[test]
fn a_letter_is_closed_only_with_a_note() {
    let rig = rig_with_a_letter();
    let id = only_letter(&rig)["id"].as_str().unwrap().to_owned();
    let refused = rig.state(&["dlq", "resolve", &id, "--note", "  "]);
    assert_eq!(refused.status.code(), Some(2), "{}", text(&refused.stderr));
    let closed = rig.state(&["dlq", "resolve", &id, "--note", "the venue has no such order"]);
    assert!(closed.status.success(), "{}", text(&closed.stderr));
    let unknown = rig.state(&["dlq", "show", "no-such-letter"]);
    assert_eq!(unknown.status.code(), Some(2));
    assert!(text(&unknown.stderr).contains("ringfence dlq list"), "{}", text(&unknown.stderr));
}

#[test]
fn while_the_venue_does_not_say_what_happened_the_agent_only_observes() {
    let rig = Rig::new(Plan { ticks: 40, ..Plan::default() });
    let silent = Chaos::Always(Fault::ErrorBefore(503), Scope::Reads);
    rig.runtime.block_on(rig.proxy.set_plan(silent)).unwrap();
    let output = rig.run();
    let facts = facts(&output);
    assert!(facts["agents"][0]["suppressed"].as_u64().unwrap() > 0, "{facts}");
    assert!(rig.truth().orders.is_empty(), "orders on books that may be old: {:?}", rig.truth().orders);
}
