//! `ringfence inspect` on components in other languages.

use super::rig::component;
use serde_json::Value;
use std::process::{Command, Output};

fn inspect(name: &str, options: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringfence"));
    command.arg("inspect").arg(component(name)).args(options).output().unwrap()
}

fn facts(name: &str, options: &[&str]) -> Value {
    let output = inspect(name, &[options, &["--format", "json"]].concat());
    assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn every_language_is_accepted_with_its_profile() {
    for (name, options) in [
        ("ema-cross-c", &[][..]),
        ("ema-cross-js", &["--profile", "managed"]),
        ("ema-cross-python", &["--profile", "managed"]),
    ] {
        let facts = facts(name, options);
        assert_eq!((&facts["name"], &facts["state"]), (&name.into(), &true.into()));
        assert_eq!(facts["wasi_gives"], serde_json::json!({}), "{name}");
    }
}

#[test]
fn a_component_with_an_interpreter_inside_is_too_large_for_the_profile_of_others() {
    let output = inspect("ema-cross-python", &[]);
    assert!(!output.status.success());
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(words.contains("component_bytes_max"), "{words}");
}

#[test]
fn what_wasi_gives_is_shown_import_by_import() {
    let facts = facts("wasi-js", &["--profile", "managed", "--wasi", "virtual"]);
    assert_eq!(facts["wasi"], "virtual");
    let gives = facts["wasi_gives"].as_object().unwrap();
    let clock = gives.iter().find(|(import, _)| import.starts_with("wasi:clocks/wall-clock@"));
    assert_eq!(clock.map(|(_, gives)| gives), Some(&"time of the call".into()));
    let imports = facts["imports"].as_array().unwrap();
    let named = imports.iter().filter(|import| import.as_str().unwrap().starts_with("wasi:")).count();
    assert_eq!(gives.len(), named, "{gives:?}");
    let output =
        inspect("wasi-js", &["--profile", "managed", "--wasi", "virtual", "--wasi-read-folder", "/"]);
    let words = String::from_utf8_lossy(&output.stdout);
    assert!(words.contains("the files in / for reading as /data"), "{words}");
    let output = inspect("wasi-js", &["--profile", "managed"]);
    assert!(!output.status.success());
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(words.contains("wasi:clocks/wall-clock") && words.contains("is not granted"), "{words}");
}
