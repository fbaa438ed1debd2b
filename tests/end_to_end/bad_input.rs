use super::setup::{Plan, Rig, component, ringfence, text};
use std::path::Path;

/// One message, a class, no panic, and a code that is not success.
pub fn refused(arguments: &[&str], parts: &[&str]) {
    let output = ringfence(arguments);
    let stderr = text(&output.stderr);
    assert!(matches!(output.status.code(), Some(2..=4)), "{arguments:?}: {:?} {stderr}", output.status);
    assert!(stderr.starts_with("error (") && !stderr.contains("panicked"), "{arguments:?}: {stderr}");
    for part in parts {
        assert!(stderr.contains(part), "{arguments:?}: expected {part:?} in {stderr}");
    }
}

fn write(dir: &Path, name: &str, bytes: &[u8]) -> String {
    let path = dir.join(name);
    std::fs::write(&path, bytes).unwrap();
    path.display().to_string()
}

#[test]
fn a_configuration_that_is_wrong_is_refused_with_its_place() {
    let rig = Rig::new(Plan::default());
    let good = std::fs::read_to_string(rig.path("host.toml")).unwrap();
    let dir = rig.dir.path();
    refused(&["run", &rig.path("none.toml")], &["none.toml", "cannot read"]);
    let text = write(dir, "a.toml", b"data_dir = [");
    refused(&["run", &text], &["a.toml:1:"]);
    let text = write(dir, "b.toml", good.replace("seed = 3", "sead = 3").as_bytes());
    refused(&["run", &text], &["b.toml:3:1", "sead", "did you mean `seed`"]);
    let text = write(dir, "c.toml", good.replace("trades.csv", "gone.csv").as_bytes());
    refused(&["run", &text], &["gone.csv"]);
    let text = write(dir, "d.toml", good.replace("cash = \"100000\"", "cash = \"much\"").as_bytes());
    refused(&["run", &text], &["d.toml:", "cash"]);
    let text = write(dir, "e.toml", good.replace("fast = 2", "fast = 50").as_bytes());
    refused(&["run", &text], &["fast below slow"]);
    let text = write(dir, "f.toml", good.replace("venue.key", "gone.key").as_bytes());
    refused(&["run", &text], &["gone.key"]);
    assert!(!dir.join("state/journal").exists(), "a refused start must leave nothing behind");
    assert!(rig.truth().orders.is_empty());
}

#[test]
fn a_file_that_is_no_component_is_refused_with_the_reason() {
    let dir = tempfile::TempDir::new().unwrap();
    let whole = std::fs::read(component("ema-cross")).unwrap();
    for (name, bytes, reason) in [
        ("empty.wasm", Vec::new(), "empty.wasm"),
        ("text.wasm", b"hello".to_vec(), "text.wasm"),
        ("core.wasm", b"\0asm\x01\0\0\0".to_vec(), "core module"),
        ("half.wasm", whole[..whole.len() / 2].to_vec(), "half.wasm"),
    ] {
        let path = write(dir.path(), name, &bytes);
        refused(&["inspect", &path], &[reason]);
    }
    refused(&["inspect", &dir.path().join("none.wasm").display().to_string()], &["none.wasm"]);
    let pin = "00".repeat(32);
    refused(&["inspect", &component("ema-cross").display().to_string(), "--sha256", &pin], &[&pin]);
}

#[test]
fn bad_rows_are_dropped_and_counted_and_the_strategy_never_sees_them() {
    let rig = Rig::new(Plan { ticks: 50, ..Plan::default() });
    let mut data = std::fs::read_to_string(rig.path("trades.csv")).unwrap();
    for price in ["NaN", "inf", "0", "-5", "1e308", "99999.00", "", "x"] {
        data.push_str(&format!("1700000060000,{price},1\n"));
    }
    data.push_str("1500000000000,1000.00,1\n");
    std::fs::write(rig.path("trades.csv"), data).unwrap();
    let output = rig.run();
    assert!(output.status.success(), "{}", text(&output.stderr));
    let facts = super::setup::facts(&output);
    assert_eq!(facts["dropped"], 9, "{facts}");
}

#[test]
fn operator_commands_on_a_folder_that_is_no_state_say_so() {
    let dir = tempfile::TempDir::new().unwrap();
    let empty = dir.path().display().to_string();
    refused(&["dlq", "list", "--data-dir", &empty], &["dead-letters", "data_dir"]);
    refused(&["checkpoint", "verify", "--data-dir", &empty], &["checkpoints"]);
    refused(&["dlq", "list", "--data-dir", "/no/such/folder"], &["/no/such/folder"]);
    let file = write(dir.path(), "junk.ck", b"junk");
    refused(&["checkpoint", "show", &file], &["junk.ck"]);
}
