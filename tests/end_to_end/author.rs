//! A new author: from nothing to a component that is tested and vetted, in every language, with the program alone.

use super::setup::{facts, ringfence, text, workspace};
use std::path::Path;
use std::process::{Command, Output};
use tempfile::TempDir;

/// The compilers that `make components` has found or fetched, so that none is fetched twice.
fn with_compilers(command: &mut Command, cache: &Path) -> Output {
    let built = |name: &str| {
        let path = workspace().join("target").join(name);
        assert!(path.exists(), "{} is missing: run `make components`", path.display());
        path
    };
    command
        .env("RINGFENCE", env!("CARGO_BIN_EXE_ringfence"))
        .env("RINGFENCE_CACHE_DIR", cache)
        .env("RINGFENCE_WASM_DIR", built("wasm-toolchain"))
        .env("RINGFENCE_GUESTS_DIR", built("guests"))
        .env("RINGFENCE_PLUGIN_TOOLS", built("release/ringfence-plugin-tools"))
        .env_remove("CARGO_TARGET_DIR")
        .env_remove("RUSTC")
        .output()
        .unwrap()
}

fn made_and_checked(language: &str, tests_say: &str) {
    let dir = TempDir::new().unwrap();
    let folder = dir.path().join("my-own");
    let output = ringfence(&[
        "new",
        "my-own",
        "--lang",
        language,
        "--dir",
        &folder.display().to_string(),
        "--format",
        "json",
    ]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(facts(&output)["files"].as_array().unwrap().len() >= 8);

    let check = |what: &str| {
        let output = with_compilers(&mut Command::new(folder.join("check.sh")), &dir.path().join("cache"));
        (output.status.success(), format!("{what}\n{}\n{}", text(&output.stdout), text(&output.stderr)))
    };
    let (passed, words) = check("as it was made");
    assert!(passed, "{words}");
    assert!(words.contains(tests_say), "its own tests did not run: {words}");
    assert!(words.contains("intents sha256") && words.contains("passed "), "{words}");
    assert!(folder.join("build/my-own.wasm").is_file());

    let output = ringfence(&[
        "inspect",
        &folder.join("build/my-own.wasm").display().to_string(),
        "--profile",
        "managed",
    ]);
    assert!(text(&output.stdout).contains("my-own"), "{}", text(&output.stdout));

    // An author's mistake is the author's to read.
    let source = ["src/lib.rs", "strategy.py", "strategy.js", "strategy.c"].map(|name| folder.join(name));
    let source = source.iter().find(|path| path.is_file()).unwrap();
    let broken = std::fs::read_to_string(source).unwrap() + "\n)(\n";
    std::fs::write(source, broken).unwrap();
    let (passed, words) = check("with a mistake in it");
    assert!(!passed && words.contains("was not built"), "{words}");
}

#[test]
fn a_strategy_in_rust() {
    made_and_checked("rust", "4 passed");
}

#[test]
fn a_strategy_in_python() {
    made_and_checked("python", "Ran 3 tests");
}

#[test]
fn a_strategy_in_javascript() {
    made_and_checked("js", "pass 3");
}

#[test]
fn a_strategy_in_c() {
    made_and_checked("c", "all tests pass");
}

#[test]
fn what_cannot_be_made_or_built_is_said() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().display().to_string();
    let output = ringfence(&["new", "My_Own", "--dir", &path]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("is no name for a strategy"), "{}", text(&output.stderr));
    let output =
        with_compilers(Command::new(env!("CARGO_BIN_EXE_ringfence")).args(["build", &path]), dir.path());
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("neither Cargo.toml nor guest.env"), "{}", text(&output.stderr));
}
