use super::setup::{Plan, Rig, facts, ringfence, text};
use ringfence::venue::chaos::{ChaosConfig, Fault};
use std::io::Read;
use std::process::{Command, Stdio};

fn rough() -> ChaosConfig {
    ChaosConfig {
        seed: 11,
        failure_permille: 150,
        faults: vec![
            Fault::ResetBefore,
            Fault::DropReply,
            Fault::ErrorBefore(503),
            Fault::ErrorAfter(502),
            Fault::Duplicate,
            Fault::Truncate,
        ],
        ..ChaosConfig::default()
    }
}

/// Starts a host and kills it once the venue has executed this many orders.
pub fn run_and_kill(rig: &Rig, executions: usize) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_ringfence"))
        .args(["run", &rig.path("host.toml"), "--format", "json"])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    loop {
        if rig.truth().executions.len() >= executions {
            child.kill().unwrap();
            child.wait().unwrap();
            return;
        }
        if let Some(status) = child.try_wait().unwrap() {
            let mut stderr = String::new();
            child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
            panic!("the host ended before it was killed: {status}, {stderr}");
        }
        std::thread::yield_now();
    }
}

#[test]
fn a_host_that_is_killed_again_and_again_executes_nothing_twice_and_its_books_agree() {
    let rig =
        Rig::new(Plan { ticks: 600, chaos: rough(), agent: "on_stop = \"flatten\"", ..Plan::default() });
    let mut executions = 0;
    for step in [3, 7, 5, 9, 4, 6] {
        executions += step;
        run_and_kill(&rig, executions);
        rig.assert_nothing_twice();
        executions = rig.truth().executions.len();
    }
    let output = rig.run();
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(!text(&output.stderr).contains("replay_"), "{}", text(&output.stderr));
    rig.assert_nothing_twice();
    let facts = facts(&output);
    let truth = rig.truth();
    let held: Vec<_> = truth.positions.values().filter(|quantity| !quantity.is_zero()).collect();
    assert!(
        held.is_empty(),
        "the agent flattened by its own books, the venue still holds {held:?}: {facts}\n{}",
        text(&output.stderr)
    );
    let checkpoint = newest_checkpoint(&rig);
    assert_eq!(checkpoint["positions"]["TEST"], 0, "{checkpoint}");
    assert_eq!(checkpoint["open_intents"], 0, "{checkpoint}");
    let cash: rust_decimal::Decimal = checkpoint["cash"].as_str().unwrap().parse().unwrap();
    assert_eq!(cash, truth.cash, "cash of the host and of the venue differ");
    let journal = self::facts(&rig.state(&["journal", "verify"]));
    assert!(journal["records"].as_u64().unwrap() > 100, "{journal}");
}

pub fn newest_checkpoint(rig: &Rig) -> serde_json::Value {
    let verified = facts(&rig.state(&["checkpoint", "verify"]));
    assert_eq!(verified["damaged"], 0, "{verified}");
    let last = verified["checkpoints"].as_array().unwrap().last().unwrap()["file"].clone();
    facts(&ringfence(&["checkpoint", "show", last.as_str().unwrap(), "--format", "json"]))
}

#[test]
fn a_damaged_checkpoint_is_set_aside_and_the_journal_fills_the_gap() {
    let rig = Rig::new(Plan::default());
    assert!(rig.run().status.success());
    let before = newest_checkpoint(&rig);
    let folder = rig.dir.path().join("state/checkpoints/agent");
    let mut files: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(files.len() > 1, "{files:?}");
    for (number, file) in files.iter().enumerate() {
        let mut bytes = std::fs::read(file).unwrap();
        let middle = bytes.len() / 2 + number;
        bytes[middle] ^= 1;
        std::fs::write(file, bytes).unwrap();
    }
    let verified = rig.state(&["checkpoint", "verify"]);
    assert_eq!(verified.status.code(), Some(3), "{}", text(&verified.stdout));
    // All generations are bad: the journal reaches back to the first record and rebuilds everything.
    let output = rig.run();
    assert!(output.status.success(), "{}", text(&output.stderr));
    rig.assert_nothing_twice();
    let kept = std::fs::read_dir(&folder).unwrap().filter(|entry| {
        entry.as_ref().unwrap().path().extension().is_some_and(|extension| extension == "corrupt")
    });
    assert_eq!(kept.count(), files.len(), "evidence is kept");
    let after = newest_checkpoint(&rig);
    assert!(after["record"].as_u64() > before["record"].as_u64(), "{before} {after}");
    let cash: rust_decimal::Decimal = after["cash"].as_str().unwrap().parse().unwrap();
    assert_eq!(cash, rig.truth().cash);
}

#[test]
fn a_damaged_journal_is_refused_and_left_as_it_is() {
    let rig = Rig::new(Plan { ticks: 60, ..Plan::default() });
    assert!(rig.run().status.success());
    let folder = rig.dir.path().join("state/journal");
    let segment = std::fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.extension().is_some_and(|extension| extension == "wal"))
        .unwrap();
    let mut bytes = std::fs::read(&segment).unwrap();
    bytes[5_000] ^= 4;
    std::fs::write(&segment, &bytes).unwrap();
    let output = rig.run();
    assert_eq!(output.status.code(), Some(3), "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("journal is corrupt"), "{}", text(&output.stderr));
    assert_eq!(std::fs::read(&segment).unwrap(), bytes, "the damaged file is evidence");
    assert_eq!(rig.state(&["journal", "verify"]).status.code(), Some(3));
}

#[test]
fn two_hosts_cannot_share_a_data_folder() {
    let rig = Rig::new(Plan { ticks: 60, ..Plan::default() });
    assert!(rig.run().status.success());
    let lock = std::fs::File::options().write(true).open(rig.dir.path().join("state/journal/LOCK")).unwrap();
    lock.lock().unwrap();
    let output = rig.run();
    assert!(!output.status.success());
    assert!(text(&output.stderr).contains("in use by another process"), "{}", text(&output.stderr));
}
