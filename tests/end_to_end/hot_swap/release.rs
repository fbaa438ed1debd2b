use super::rig::{Running, said};
use crate::setup::{Plan, facts, text};

#[test]
fn a_quarantine_is_ended_without_a_restart() {
    let mut running = Running::new(Plan {
        component: "faulty",
        settings: "{ fault = \"panic\", after = 15 }",
        agent: "supervision = { strikes_max = 1 }",
        ..Plan::default()
    });
    let early = running.command(&["release", "agent", "--note", "nothing is wrong"]);
    assert_eq!(early.status.code(), Some(3), "{}", said(&early));
    assert!(text(&early.stderr).contains("nothing to release"), "{}", said(&early));
    running.feed(16);
    let state = |running: &mut Running| running.agent()["strategy"]["state"].as_str().unwrap().to_owned();
    running.until("the strategy is quarantined", |running| (state(running) == "quarantined").then_some(()));
    let status = running.told(&["status"]);
    let told = text(&status.stdout);
    assert!(told.contains("quarantined") && told.contains("ringfence release agent"), "{told}");
    let one = text(&running.told(&["status", "agent"]).stdout);
    assert!(one.contains("told to panic after 15 ticks") || one.contains("trap_unreachable"), "{one}");
    let silent = running.command(&["release", "agent", "--note", " "]);
    assert_eq!(silent.status.code(), Some(2), "{}", said(&silent));
    let released = running.command(&["release", "agent", "--note", "a fluke"]);
    assert!(released.status.success(), "{}", said(&released));
    assert_eq!(facts(&released)["strategy"], true);
    running.until("the strategy runs again", |running| (state(running) == "running").then_some(()));
    assert!(running.log().contains("release: a fluke: taken"), "{}", running.log());
    let agent = running.agent();
    assert_eq!((&agent["strikes"], &agent["stats"]["quarantines"]), (&0.into(), &1.into()), "{agent}");
    running.finish();
    running.rig.assert_nothing_twice();
}

#[test]
fn a_shutdown_by_the_api_is_latched_and_released_at_the_next_start() {
    let mut running = Running::new(Plan::default());
    running.feed(10);
    running.settle();
    let (status, body) = running.call("POST", "/v1/agents/agent/floor", Some("{\"mode\":\"shutdown\"}"));
    assert_eq!(status, 202, "{body}");
    let facts = running.finish();
    assert_eq!(facts["agents"][0]["mode"], "shutdown", "{facts}");
    let before = running.rig.truth().executions.len();
    running.start_again("--release agent");
    running.feed_until("the mode is full", |running| (running.agent()["mode"] == "full").then_some(()));
    running.feed(60);
    let facts = running.finish();
    assert_eq!(facts["agents"][0]["mode"], "full", "{facts}");
    assert!(running.rig.truth().executions.len() > before, "it trades again");
    running.rig.assert_nothing_twice();
}

#[test]
fn a_floor_holds_the_mode_down_until_it_is_lifted() {
    let mut running = Running::new(Plan::default());
    running.feed(10);
    running.settle();
    let floor = |running: &Running, mode: &str| {
        let (status, body) =
            running.call("POST", "/v1/agents/agent/floor", Some(&format!("{{\"mode\":\"{mode}\"}}")));
        assert_eq!(status, 202, "{body}");
    };
    floor(&running, "observation");
    running
        .until("the agent only observes", |running| (running.agent()["mode"] == "observation").then_some(()));
    assert_eq!(running.agent()["mode_cause"], "operator");
    let before = running.agent()["stats"]["orders"].clone();
    running.feed(30);
    running.settle();
    let agent = running.agent();
    assert!(agent["stats"]["suppressed"].as_u64() > Some(0), "{agent}");
    assert_eq!(agent["stats"]["orders"], before, "{agent}");
    floor(&running, "full");
    running.until("it is back", |running| (running.agent()["mode"] == "full").then_some(()));
    assert!(!running.call("POST", "/v1/agents/agent/floor", Some("{\"mode\":\"fast\"}")).1.is_empty());
    running.finish();
}
