//! Venues that execute the same key twice: nothing is lost and nothing executed twice all the same.

use super::recovery::{newest_checkpoint, run_and_kill};
use super::setup::{Plan, Rig, facts, text};
use ringfence::venue::chaos::{ChaosConfig, Fault, Plan as Chaos, Scope};
use ringfence::venue::paper::PaperKeys;

const QUERY: &str = "capability = \"query-by-client-id\"";
const UNIQUE: &str = "capability = \"unique-while-open\"";

/// Everything but a copy of a request that something in between makes by itself: a venue that remembers no
/// keys executes it, whatever its client does.
fn rough() -> ChaosConfig {
    ChaosConfig {
        seed: 23,
        failure_permille: 150,
        faults: vec![
            Fault::ResetBefore,
            Fault::DropReply,
            Fault::ErrorBefore(503),
            Fault::ErrorAfter(502),
            Fault::Truncate,
        ],
        ..ChaosConfig::default()
    }
}

fn plan(keys: PaperKeys, venue: &'static str) -> Plan<'static> {
    Plan {
        keys,
        venue,
        // Reads of this venue are never behind, and a request ends with its connection.
        agent: "on_stop = \"flatten\"\nlimits = { settle_ms = 50, closing_round_ms = 500, queries_max = 40 }",
        ..Plan::default()
    }
}

fn nothing_is_lost_or_doubled(keys: PaperKeys, venue: &'static str) {
    let rig = Rig::new(Plan { ticks: 1_200, chaos: rough(), ..plan(keys, venue) });
    let mut executions = 0;
    for step in [3, 6, 4] {
        executions += step;
        run_and_kill(&rig, executions);
        rig.assert_nothing_twice();
        executions = rig.truth().executions.len();
    }
    let output = rig.run();
    assert!(output.status.success(), "{}", text(&output.stderr));
    rig.assert_nothing_twice();
    let truth = rig.truth();
    let held: Vec<_> = truth.positions.values().filter(|quantity| !quantity.is_zero()).collect();
    assert!(held.is_empty(), "the venue still holds {held:?}: {}", text(&output.stderr));
    let checkpoint = newest_checkpoint(&rig);
    assert_eq!(checkpoint["open_intents"], 0, "{checkpoint}");
    assert_eq!(checkpoint["positions"]["TEST"], 0, "{checkpoint}");
    let cash: rust_decimal::Decimal = checkpoint["cash"].as_str().unwrap().parse().unwrap();
    assert_eq!(cash, truth.cash, "cash of the host and of the venue differ");
}

#[test]
fn a_venue_that_can_only_be_asked_by_id_loses_and_doubles_nothing() {
    nothing_is_lost_or_doubled(PaperKeys::Ignored, QUERY);
}

#[test]
fn a_venue_that_protects_the_ids_of_open_orders_loses_and_doubles_nothing() {
    nothing_is_lost_or_doubled(PaperKeys::UniqueWhileOpen, UNIQUE);
}

#[test]
fn an_order_that_never_arrived_is_sent_again_after_the_venue_has_said_so() {
    let rig = Rig::new(Plan { ticks: 40, ..plan(PaperKeys::Ignored, QUERY) });
    let steps = vec![Some(Fault::ResetBefore)];
    rig.runtime.block_on(rig.proxy.set_plan(Chaos::Script(steps, Scope::Writes))).unwrap();
    let output = rig.run();
    assert!(output.status.success(), "{}", text(&output.stderr));
    rig.assert_nothing_twice();
    let journal = text(&rig.state(&["journal", "dump"]).stdout);
    assert!(journal.contains("denied-twice"), "{journal}");
    let letters = facts(&rig.state(&["dlq", "list"]));
    assert_eq!(letters["letters"].as_array().map(Vec::len), Some(0), "{letters}");
    assert!(!rig.truth().executions.is_empty());
}
