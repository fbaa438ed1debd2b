use super::changes::undisturbed;
use super::rig::{Running, digest, piped, said, show, trace, variant};
use crate::setup::{Plan, component, ringfence, text};
use std::path::{Path, PathBuf};

/// A core module is no component; a component that traps in its first call is one.
fn write(running: &Running, name: &str, bytes: &[u8]) -> PathBuf {
    let path = running.rig.dir.path().join(name);
    std::fs::write(&path, bytes).unwrap();
    path
}

/// Swaps that must not happen: what is given, the code, and words of the reason.
fn refused(running: &Running, arguments: &[&str], code: &str, words: &str) {
    let mut all = vec!["swap", "agent"];
    all.extend(arguments);
    all.push("--wait");
    let output = running.told(&all);
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    let told = text(&output.stdout);
    assert!(told.contains("refused, nothing was changed"), "{told}");
    assert!(told.contains(code) && told.contains(words), "{code}, {words}: {told}");
}

#[test]
fn candidates_that_are_not_taken_leave_the_old_one_trading_as_if_nothing_had_been() {
    let mut running = Running::new(Plan::default());
    let good = component("ema-cross");
    running.feed(33);
    running.settle();
    let wrong = "ab".repeat(32);
    refused(&running, &[show(&good), "--sha256", &wrong], "plugin_pin", &wrong);
    let module = write(&running, "module.wasm", b"\0asm\x01\0\0\0");
    refused(&running, &[show(&module)], "plugin_malformed", "module.wasm");
    let cut = write(&running, "cut.wasm", &std::fs::read(&good).unwrap()[..5_000]);
    refused(&running, &[show(&cut)], "plugin_malformed", "cut.wasm");
    running.feed(7);
    running.settle();
    refused(&running, &[show(&good), "--set", "fast=50"], "recover_strategy", "fast below slow");
    refused(&running, &[show(&good), "--set", "colour=red"], "setting", "colour");
    // Averages are no window of prices.
    let other = component("mean-reversion");
    let waiting = running.begin(&["swap", "agent", show(&other), "--only-set", "--wait"]);
    let output = running.feed_through(waiting);
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert!(text(&output.stdout).contains("refused, nothing was changed"), "{}", said(&output));
    let agent = running.agent();
    assert_eq!(agent["component"]["sha256"], digest(&good), "{agent}");
    assert_eq!((&agent["stats"]["swaps"], &agent["stats"]["traps"]), (&0.into(), &0.into()), "{agent}");
    running.feed(60);
    running.settle();
    running.finish();
    assert_eq!(trace(&running.entries()), undisturbed(running.rows));
    // What was only looked at is not kept.
    let kept = std::fs::read_dir(running.rig.path("state/components")).unwrap();
    let kept: Vec<String> = kept.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    assert!(kept.contains(&format!("{}.wasm", digest(&good))), "{kept:?}");
    assert!(!kept.iter().any(|name| name.starts_with(&digest(&module))), "{kept:?}");
}

#[test]
fn a_candidate_that_traps_beside_the_strategy_never_takes_over() {
    let mut running = Running::new(Plan::default());
    running.feed(20);
    running.settle();
    let faulty = component("faulty");
    let waiting = running.begin(&[
        "swap",
        "agent",
        show(&faulty),
        "--only-set",
        "--set",
        "fault=loop",
        "--set",
        "after=2",
        "--fresh",
        "--shadow",
        "20",
        "--wait",
    ]);
    let output = running.feed_through(waiting);
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert!(text(&output.stdout).contains("refused, nothing was changed"), "{}", said(&output));
    let agent = running.agent();
    assert_eq!((&agent["component"]["name"], &agent["stats"]["swaps"]), (&"ema-cross".into(), &0.into()));
    assert_eq!((&agent["strikes"], &agent["strategy"]["state"]), (&0.into(), &"running".into()), "{agent}");
    running.finish();
    assert_eq!(trace(&running.entries()), undisturbed(running.rows));
}

#[test]
fn where_the_configuration_pins_a_component_a_swap_has_to_pin_its_own() {
    let pin = format!("sha256 = \"{}\"", digest(&component("ema-cross")));
    let mut running = Running::start(piped(Plan { agent: &pin, ..Plan::default() }));
    let other = variant(&running.rig, "ema-cross", "second");
    let unpinned = running.command(&["swap", "agent", show(&other)]);
    assert_eq!(unpinned.status.code(), Some(3), "{}", said(&unpinned));
    assert!(text(&unpinned.stderr).contains("--sha256"), "{}", said(&unpinned));
    let wanted = digest(&other);
    let waiting = running.begin(&["swap", "agent", show(&other), "--sha256", &wanted, "--wait"]);
    let pinned = running.feed_through(waiting);
    assert!(pinned.status.success(), "{}", said(&pinned));
    assert_eq!(running.agent()["component"]["sha256"], wanted);
    running.finish();
}

#[test]
fn at_a_venue_elsewhere_neither_a_start_nor_a_swap_takes_a_component_without_its_digest() {
    let rig = piped(Plan::default());
    // Reserved for documentation, so nobody answers; the agent observes.
    let config = std::fs::read_to_string(rig.path("host.toml")).unwrap();
    let own = config.split("base_url = \"").nth(1).unwrap().split('"').next().unwrap().to_owned();
    rig.reconfigure(&own, "https://venue.invalid");
    let unpinned = ringfence(&["run", &rig.path("host.toml"), "--check"]);
    assert_eq!(unpinned.status.code(), Some(2), "{}", said(&unpinned));
    assert!(text(&unpinned.stderr).contains("sha256"), "{}", said(&unpinned));
    let pin = format!("name = \"agent\"\nsha256 = \"{}\"", digest(&component("ema-cross")));
    rig.reconfigure("name = \"agent\"", &pin);
    let mut running = Running::start(rig);
    let other = variant(&running.rig, "ema-cross", "second");
    let refused = running.command(&["swap", "agent", show(&other)]);
    assert_eq!(refused.status.code(), Some(3), "{}", said(&refused));
    assert!(text(&refused.stderr).contains("--sha256"), "{}", said(&refused));
    running.feed(5);
    running.settle();
    assert_eq!(running.agent()["component"]["sha256"], digest(&component("ema-cross")));
    running.kill();
}

#[test]
fn an_order_that_nobody_can_carry_out_says_what_to_do() {
    let mut running = Running::new(Plan::default());
    let nobody = running.command(&["swap", "nobody", show(&component("ema-cross"))]);
    assert_eq!(nobody.status.code(), Some(2), "{}", said(&nobody));
    assert!(text(&nobody.stderr).contains("this host runs agent"), "{}", said(&nobody));
    let missing = running.command(&["swap", "agent", "no/such.wasm"]);
    assert_eq!(missing.status.code(), Some(2), "{}", said(&missing));
    let nothing = running.command(&["rollback", "agent"]);
    assert_eq!(nothing.status.code(), Some(3), "{}", said(&nothing));
    assert!(
        text(&nothing.stderr).contains("nothing is known of a component that ran before"),
        "{}",
        said(&nothing)
    );
    let relative = r#"{ "component": "x.wasm" }"#;
    let (status, body) = running.call("POST", "/v1/agents/agent/swap", Some(relative));
    assert!(status == 400 && body.contains("swap_path"), "{status} {body}");
    let much =
        format!(r#"{{ "component": "{}", "shadow_ticks": 99999999 }}"#, component("ema-cross").display());
    let (status, body) = running.call("POST", "/v1/agents/agent/swap", Some(&much));
    assert!(status == 400 && body.contains("shadow_ticks_max"), "{status} {body}");
    assert!(Path::new(&running.rig.path("state/components")).is_dir());
    running.finish();
}
