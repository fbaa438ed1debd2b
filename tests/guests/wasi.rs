//! Strategies in Python and JavaScript with WASI left in: everything virtual, nothing of the machine.

use super::rig::{JAVASCRIPT_WASI, PYTHON_WASI, Run, WITH_WASI, generated};
use ringfence::market::UnixNanos;
use ringfence::plugin::{CallError, Compiler, LogLevel, TrapKind};

const NOW: u64 = 1_723_161_600_123_456_789;

fn at_now(mut run: Run) -> Run {
    run.services.now = UnixNanos(NOW);
    run
}

/// What the strategy in Python logs of one attempt.
fn attempt(run: &mut Run, words: &str) -> String {
    let (answer, lines) = run.say(words);
    answer.unwrap_or_else(|error| panic!("{words}: {error}"));
    lines.last().unwrap_or_else(|| panic!("{words}: nothing logged")).1.clone()
}

#[test]
fn components_with_wasi_are_refused_without_the_grant() {
    use ringfence::plugin::{Sandbox, SandboxConfig, SandboxLimits, WasiGrant};
    let sandbox =
        Sandbox::new(SandboxConfig { compiler: Compiler::InProcess, ..SandboxConfig::default() }).unwrap();
    for example in WITH_WASI {
        let limits = SandboxLimits { wasi: WasiGrant::None, ..example.limits() };
        let refused = sandbox.load_file(&super::rig::component(example.name), None, &limits).unwrap_err();
        let refused = refused.to_string();
        for import in ["wasi:clocks/wall-clock", "wasi:cli/environment"] {
            assert!(refused.contains(import), "{}: {refused}", example.name);
        }
    }
}

#[test]
fn two_runs_give_the_same_orders_and_spend_the_same_fuel() {
    let ticks = generated(500);
    for example in WITH_WASI {
        let run = || {
            let mut run = at_now(example.start());
            let orders: Vec<_> = ticks.iter().map(|tick| run.tick(tick).unwrap()).collect();
            let words = if example.name == "wasi-js" { "look" } else { "random" };
            let said = [run.say(words), run.say("clock")];
            (orders, said.map(|(answer, lines)| (answer.unwrap(), lines)), run.fuel)
        };
        let (first, second) = (run(), run());
        assert!(first.2.len() > 500 && first.2.iter().all(|fuel| *fuel > 0));
        assert!(first == second, "{}: {:?} and {:?}", example.name, first.1, second.1);
    }
}

#[test]
fn the_clock_is_that_of_the_tick_and_a_sleep_is_over_at_once() {
    let mut python = at_now(PYTHON_WASI.start());
    assert_eq!(attempt(&mut python, "clock"), format!("clock: {NOW} {NOW}"));
    let mut javascript = at_now(JAVASCRIPT_WASI.start());
    let said = attempt(&mut javascript, "look");
    let expected = "look: 1723161600123 2024-08-09T00:00:00.123Z ";
    assert!(said.starts_with(expected), "expected {expected}, found {said}");
}

#[test]
fn random_numbers_follow_the_seed() {
    let draw = |seed| {
        let (run, answer) = PYTHON_WASI.init(Vec::new(), seed);
        answer.unwrap();
        attempt(&mut at_now(run), "random")
    };
    let first = draw(1);
    assert!(first.starts_with("random: "), "{first}");
    assert_eq!(draw(1), first);
    assert_ne!(draw(2), first);
}

#[test]
fn whatever_touches_the_machine_is_an_error_and_nothing_happens() {
    let mut run = at_now(PYTHON_WASI.start());
    // No folder is open, so no path leads anywhere (44 is ENOENT of WASI), and no socket is made and no name looked
    // up (2 is EACCES).
    for (words, expected) in [
        ("environment", "environment: {} []"),
        ("input", "input: ''"),
        ("read", "read: FileNotFoundError 44"),
        ("write", "write: FileNotFoundError 44"),
        ("list", "list: FileNotFoundError 44"),
        ("socket", "socket: PermissionError 2"),
        ("name", "name: PermissionError 2"),
        ("thread", "thread: RuntimeError: can't start new thread"),
    ] {
        let said = attempt(&mut run, words);
        assert!(said.starts_with(expected), "expected {expected}, found {said}");
    }
    assert!(!std::path::Path::new("wasi-python-was-here").exists());
    // It trades on.
    assert_eq!(run.price(100), []);
}

#[test]
fn prints_are_log_lines_escaped_and_bounded() {
    let mut run = at_now(PYTHON_WASI.start());
    let (answer, lines) = run.say("print");
    answer.unwrap();
    let expected = [
        (LogLevel::Info, "printed \\u{1b}[31mred\\u{1b}[0m".to_owned()),
        (LogLevel::Warn, "warned".to_owned()),
        (LogLevel::Info, "print: done".to_owned()),
    ];
    assert_eq!(lines, expected);
    // Calls into the host are bounded; the log keeps what it keeps and counts the rest.
    let (answer, lines) = run.say("flood");
    let Err(CallError::Trap { kind: TrapKind::HostCalls, .. }) = answer else { panic!("{answer:?}") };
    assert_eq!(lines[0], (LogLevel::Info, "line 0".to_owned()));
    assert!(run.services.telemetry.lines_dropped > 0);
}

#[test]
fn leaving_the_process_ends_the_instance_alone() {
    let mut run = at_now(PYTHON_WASI.start());
    let (answer, _) = run.say("exit");
    let Err(CallError::Trap { kind: TrapKind::Unreachable, detail }) = answer else { panic!("{answer:?}") };
    assert!(detail.contains("exit code"), "{detail}");
    assert!(run.strategy.is_dead());
    assert_eq!(at_now(PYTHON_WASI.start()).price(100), []);
}

#[test]
fn a_folder_that_is_granted_is_read_and_nothing_beside_it() {
    use ringfence::plugin::SandboxLimits;
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("models");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("words.txt"), "buy low").unwrap();
    std::fs::write(dir.path().join("secret.txt"), "sell high").unwrap();
    let limits = SandboxLimits { wasi_read_folder: Some(folder.clone()), ..PYTHON_WASI.limits() };
    let mut run = at_now(PYTHON_WASI.start_with(limits));
    assert_eq!(attempt(&mut run, "data"), "data: ['words.txt'] 'buy low'");
    for (words, expected) in [
        ("change", "change: PermissionError"),
        ("leave", "leave: PermissionError"),
        ("read", "read: FileNotFoundError"),
        ("write", "write: FileNotFoundError"),
    ] {
        let said = attempt(&mut run, words);
        assert!(said.starts_with(expected), "expected {expected}, found {said}");
    }
    assert_eq!(std::fs::read_to_string(folder.join("words.txt")).unwrap(), "buy low");
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 1);
}
