use super::setup::{Plan, Rig, facts, ringfence, text};
use ringfence::venue::chaos::{Fault, Plan as Chaos, Scope};
use ringfence::venue::paper::Lies;

fn only_letter(rig: &Rig) -> serde_json::Value {
    let listed = facts(&rig.state(&["dlq", "list"]));
    let letters = listed["letters"].as_array().unwrap().clone();
    assert!(!letters.is_empty(), "{listed}");
    letters[0].clone()
}

/// The venue tells of its updates and positions, which lets the agent trade, and takes no order and answers no
/// question about one: attempts are spent, and so are the questions what became of them.
fn rig_with_a_letter() -> Rig {
    let rig = Rig::new(Plan { ticks: 12, ..Plan::default() });
    rig.venue.lie(Lies { orders_fail: true, ..Lies::default() });
    let lose = Chaos::Always(Fault::ErrorBefore(503), Scope::Writes);
    rig.runtime.block_on(rig.proxy.set_plan(lose)).unwrap();
    let output = rig.run();
    assert!(output.status.success(), "{}", text(&output.stderr));
    rig.runtime.block_on(rig.proxy.set_plan(Chaos::Pass)).unwrap();
    rig.venue.lie(Lies::default());
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

/// The configuration is changed like this, the letter is replayed, and the host runs: what became of it.
fn refused_replay(from: &str, to: &str) -> (Rig, serde_json::Value) {
    let rig = rig_with_a_letter();
    let id = only_letter(&rig)["id"].as_str().unwrap().to_owned();
    let replayed = rig.state(&["dlq", "replay", &id, "--ambiguous"]);
    assert!(replayed.status.success(), "{}", text(&replayed.stderr));
    rig.reconfigure(from, to);
    let output = rig.run();
    assert!(output.status.success(), "{}", text(&output.stderr));
    let facts = facts(&output);
    assert!(facts["alerts"]["operator_order_refused"].as_u64() == Some(1), "{facts}");
    assert_eq!(rig.truth().placements.get(&id), None, "it was sent");
    let shown = self::facts(&rig.state(&["dlq", "show", &id]));
    assert_eq!((&shown["status"], &shown["replay"]), (&"dead".into(), &1.into()), "{shown}");
    (rig, shown)
}

fn last_code(letter: &serde_json::Value) -> &str {
    letter["errors"].as_array().unwrap().last().unwrap()["failure"]["code"].as_str().unwrap()
}

#[test]
fn a_replay_without_a_fresh_price_is_refused_when_the_agent_stops() {
    let agent = "name = \"agent\"";
    let (rig, letter) =
        refused_replay(agent, &format!("{agent}\nlimits = {{ replay_price_age_ms_max = 0 }}"));
    assert_eq!(last_code(&letter), "agent_stops", "{letter}");
    // Nothing is wrong with the letter: with a price it is executed, once.
    rig.reconfigure("replay_price_age_ms_max = 0", "replay_price_age_ms_max = 5000");
    let id = letter["id"].as_str().unwrap();
    assert!(rig.state(&["dlq", "replay", id, "--ambiguous"]).status.success());
    assert!(rig.run().status.success());
    assert_eq!(rig.truth().placements.get(id), Some(&1));
    let shown = facts(&rig.state(&["dlq", "show", id]));
    assert_eq!((&shown["state"], &shown["replay"]), (&"resolved".into(), &2.into()), "{shown}");
}

#[test]
fn a_replay_of_an_old_intent_is_refused() {
    let agent = "name = \"agent\"";
    let (_, letter) = refused_replay(agent, &format!("{agent}\nlimits = {{ replay_age_s_max = 0 }}"));
    assert_eq!(last_code(&letter), "replay_too_old", "{letter}");
}

#[test]
fn a_replay_that_the_risk_gate_refuses_stays_a_letter_with_the_code() {
    let risk = "orders_per_second_max = 5000";
    let (_, letter) = refused_replay(risk, &format!("{risk}, order_notional_max = \"1\""));
    assert_eq!(last_code(&letter), "ORDER_NOTIONAL", "{letter}");
}

/// A letter that has been issued again, and the host has run.
fn reissued() -> (Rig, String, String) {
    let rig = rig_with_a_letter();
    let id = only_letter(&rig)["id"].as_str().unwrap().to_owned();
    let silent = rig.state(&["dlq", "reissue", &id, "--note", "the venue has no such order"]);
    assert_eq!(silent.status.code(), Some(2), "it may have been executed: {}", text(&silent.stdout));
    assert!(text(&silent.stderr).contains("--not-executed"), "{}", text(&silent.stderr));
    let order = ["dlq", "reissue", &id, "--note", "the venue has no such order", "--not-executed"];
    let first = rig.state(&order);
    assert!(first.status.success(), "{}", text(&first.stderr));
    assert!(!rig.state(&order).status.success(), "a second click must not issue it twice");
    // The doubt about the others would keep the mode down.
    for other in facts(&rig.state(&["dlq", "list"]))["letters"].as_array().unwrap() {
        if other["id"] != *id {
            let closed = rig.state(&["dlq", "resolve", other["id"].as_str().unwrap(), "--note", "not there"]);
            assert!(closed.status.success(), "{}", text(&closed.stderr));
        }
    }
    // Long enough for the mode to rise once the doubt is ended.
    rig.feed(2_000);
    let output = rig.run();
    assert!(output.status.success(), "{}", text(&output.stderr));
    let shown = facts(&rig.state(&["dlq", "show", &id]));
    assert_eq!(shown["state"], "reissued", "{shown}\n{}", text(&output.stderr));
    let child = shown["child"].as_str().unwrap().to_owned();
    (rig, id, child)
}

#[test]
fn a_letter_that_is_issued_again_is_executed_once_under_a_new_key() {
    let (rig, id, child) = reissued();
    assert_ne!(id, child);
    assert!(!rig.state(&["dlq", "reissue", &id, "--note", "again", "--not-executed"]).status.success());
    assert!(rig.run().status.success());
    rig.assert_nothing_twice();
    let truth = rig.truth();
    assert_eq!((truth.placements.get(&id), truth.placements.get(&child)), (None, Some(&1)));
}

/// Flips bytes all over the files of a folder.
fn damage(folder: &std::path::Path) {
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    for file in files.filter(|path| path.is_file()) {
        let mut bytes = std::fs::read(&file).unwrap();
        let step = (bytes.len() / 400).max(1);
        bytes.iter_mut().step_by(step).for_each(|byte| *byte ^= 0x5a);
        std::fs::write(&file, bytes).unwrap();
    }
}

#[test]
fn letters_come_back_from_the_journal_when_the_database_is_damaged() {
    let (rig, id, child) = reissued();
    let letters = |rig: &Rig| {
        let mut letters = facts(&rig.state(&["dlq", "list", "--all"]))["letters"].clone();
        for letter in letters.as_array_mut().unwrap() {
            // The journal knows when the agent took the operator's word up, a moment after it was given.
            if let Some(resolved) = letter["status"]["resolved"].as_object_mut() {
                assert!(resolved.remove("at").is_some());
            }
        }
        letters
    };
    let before = letters(&rig);
    assert!(before.to_string().contains(&id) && before.to_string().contains(&child), "{before}");
    damage(&rig.dir.path().join("state/dead-letters/db"));
    let output = rig.run();
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("set aside"), "{}", text(&output.stderr));
    assert_eq!(letters(&rig), before);
    rig.assert_nothing_twice();
    let aside = std::fs::read_dir(rig.dir.path().join("state/dead-letters")).unwrap();
    let aside = aside.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert_eq!(aside.filter(|name| name.starts_with("db.corrupt-")).count(), 1, "evidence is kept");
}

#[test]
fn the_list_begins_with_what_there_is_to_be_alarmed_about() {
    let rig = rig_with_a_letter();
    let listed = rig.state(&["dlq", "list"]);
    assert_eq!(listed.status.code(), Some(0));
    let alerts = facts(&listed)["alerts"].clone();
    assert!(alerts[0].as_str().unwrap().contains("may have been executed"), "{alerts}");
    let printed = text(&ringfence(&["dlq", "list", "--data-dir", &rig.path("state")]).stdout);
    assert!(printed.starts_with("attention: "), "{printed}");
    assert!(printed.contains("ambiguous"), "{printed}");
    // And a host that starts with it says so, although nothing new has died.
    let output = rig.run();
    assert!(
        facts(&output)["alerts"]["dead_letters_ambiguous"].as_u64() >= Some(1),
        "{}",
        text(&output.stdout)
    );
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
