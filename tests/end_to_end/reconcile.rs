//! The books are held against the venue: after a death, after a trade by hand, and while the venue is silent.

use super::setup::{Plan, Rig, facts, ringfence, text};
use ringfence::market::UnixNanos;
use ringfence::venue::chaos::{Fault, Plan as Chaos, Scope};
use ringfence::venue::paper::{Lies, MarketTick, PositionsLie};
use rust_decimal::Decimal;
use serde_json::Value;
use std::process::{Command, Output, Stdio};

/// A strategy that crosses every few ticks; reads that are behind by no more than a moment.
fn rig(agent: &str) -> Rig {
    let limits = "limits = { settle_ms = 50, mismatch_poll_ms = 200 }";
    Rig::new(Plan { ticks: 300, agent: &format!("{limits}\n{agent}"), ..Plan::default() })
}

fn run(rig: &Rig, more: &[&str]) -> Output {
    let config = rig.path("host.toml");
    let mut arguments = vec!["run", config.as_str(), "--format", "json", "--log", "warn"];
    arguments.extend(more);
    ringfence(&arguments)
}

fn agent(output: &Output) -> Value {
    facts(output)["agents"][0].clone()
}

fn alerts(output: &Output, code: &str) -> u64 {
    facts(output)["alerts"][code].as_u64().unwrap_or(0)
}

fn checkpoint(rig: &Rig) -> Value {
    let verified = facts(&rig.state(&["checkpoint", "verify"]));
    let last = verified["checkpoints"].as_array().unwrap().last().unwrap()["file"].clone();
    facts(&ringfence(&["checkpoint", "show", last.as_str().unwrap(), "--format", "json"]))
}

fn off_by(lots: i64) -> Lies {
    Lies { positions: PositionsLie::OffBy(Decimal::from(lots)), ..Lies::default() }
}

#[test]
fn orders_that_filled_while_the_host_was_dead_are_in_the_books_before_it_trades() {
    let rig = rig("on_stop = \"flatten\"");
    // Replies are lost, so that the host dies without knowing what its orders did.
    rig.runtime.block_on(rig.proxy.set_plan(Chaos::Always(Fault::DropReply, Scope::Writes))).unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_ringfence"))
        .args(["run", &rig.path("host.toml"), "--format", "json"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    while rig.truth().executions.is_empty() && child.try_wait().unwrap().is_none() {
        std::thread::yield_now();
    }
    let _ = child.kill();
    child.wait().unwrap();
    assert!(!rig.truth().executions.is_empty());
    // The market moves on while nobody listens.
    let at = UnixNanos(1_700_000_900_000 * 1_000_000);
    let last = Some(Decimal::from(990));
    let tick = MarketTick { symbol: "TEST".into(), at, last, bid: None, ask: None };
    rig.venue.push_market(&[tick]).unwrap();
    rig.runtime.block_on(rig.proxy.set_plan(Chaos::Pass)).unwrap();
    let output = run(&rig, &[]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(agent(&output)["reconciliation"], "reconciled");
    assert_eq!(alerts(&output, "position_mismatch"), 0, "{}", text(&output.stderr));
    rig.assert_nothing_twice();
    let cash: Decimal = checkpoint(&rig)["cash"].as_str().unwrap().parse().unwrap();
    assert_eq!(cash, rig.truth().cash);
}

#[test]
fn after_a_trade_by_hand_the_agent_observes_until_a_person_takes_the_position_over() {
    let rig = rig("on_stop = \"hold\"");
    let first = run(&rig, &[]);
    assert!(first.status.success(), "{}", text(&first.stderr));
    let orders = rig.truth().orders.len();
    assert!(orders > 0);
    rig.venue.lie(off_by(2));
    let second = run(&rig, &[]);
    assert!(second.status.success(), "a mismatch ends in order: {}", text(&second.stderr));
    let agent = agent(&second);
    assert_eq!((&agent["mode"], &agent["reconciliation"]), (&"observation".into(), &"mismatch".into()));
    assert!(agent["suppressed"].as_u64().unwrap() > 0, "{agent}");
    assert_eq!(alerts(&second, "position_mismatch"), 1, "{}", text(&second.stderr));
    assert!(text(&second.stderr).contains("--adopt-positions agent"), "{}", text(&second.stderr));
    assert_eq!(rig.truth().orders.len(), orders, "it traded on books that do not agree");
    let nobody = run(&rig, &["--adopt-positions", "nobody"]);
    assert!(text(&nobody.stderr).contains("--adopt-positions nobody: "), "{}", text(&nobody.stderr));
    let third = run(&rig, &["--adopt-positions", "agent"]);
    assert!(third.status.success(), "{}", text(&third.stderr));
    assert_eq!(self::agent(&third)["reconciliation"], "reconciled", "{}", text(&third.stderr));
    assert!(rig.truth().orders.len() > orders, "it trades again");
    let dumped = text(&rig.state(&["journal", "dump"]).stdout);
    let adopted: Vec<&str> = dumped.lines().filter(|line| line.contains("position-adopted")).collect();
    // Two units are four lots.
    assert!(matches!(adopted[..], [line] if line.contains("\"quantity\":4")), "{adopted:?}");
}

#[test]
fn positions_that_cannot_be_read_or_are_denied_keep_the_agent_from_trading() {
    let rig = rig("on_stop = \"hold\"");
    let fails = Lies { positions: PositionsLie::Fails, ..Lies::default() };
    rig.venue.lie(fails);
    let output = run(&rig, &[]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(agent(&output)["mode"], "observation");
    assert_eq!(alerts(&output, "reconcile_failed"), 1, "{}", text(&output.stderr));
    assert!(rig.truth().orders.is_empty());
    rig.venue.lie(off_by(2));
    let output = run(&rig, &["--adopt-positions", "agent"]);
    assert_eq!(agent(&output)["reconciliation"], "reconciled", "{}", text(&output.stderr));
    // An empty list is no less of a claim than another.
    rig.venue.lie(Lies { positions: PositionsLie::Empty, ..Lies::default() });
    let output = run(&rig, &[]);
    assert_eq!(agent(&output)["reconciliation"], "mismatch", "{}", text(&output.stderr));
}

#[test]
fn a_venue_whose_updates_fail_for_a_while_is_reconciled_with_when_they_work_again() {
    let rig = rig("on_stop = \"flatten\"");
    rig.venue.lie(Lies { updates_fail: true, ..Lies::default() });
    let output = run(&rig, &[]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(agent(&output)["mode"], "observation");
    assert!(rig.truth().orders.is_empty(), "{:?}", rig.truth().orders);
    rig.venue.lie(Lies::default());
    let output = run(&rig, &[]);
    assert_eq!(agent(&output)["reconciliation"], "reconciled", "{}", text(&output.stderr));
    assert!(!rig.truth().orders.is_empty());
    rig.assert_nothing_twice();
}
