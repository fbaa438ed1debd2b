//! What a component has to pass, with the real compiler in its real process.

use super::bad_input::refused;
use super::setup::{Plan, Rig, component, facts, ringfence, text};
use ringfence::orders::Digest;
use ringfence::plugin::{
    CacheConfig, ChildCompiler, CompiledFrom, Compiler, Plugin, PluginError, Sandbox, SandboxConfig,
    SandboxLimits,
};
use ringfence::resilience::Classified;
use std::fmt::Write as _;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

fn compiler() -> ChildCompiler {
    ChildCompiler {
        program: Some(env!("CARGO_BIN_EXE_ringfence").into()),
        // Far beyond what a loaded machine takes.
        timeout_ms: 600_000,
        cpu_s_max: 600,
        ..ChildCompiler::default()
    }
}

fn sandbox(compiler: ChildCompiler, cache: Option<&Path>) -> Sandbox {
    let cache = cache.map(|dir| CacheConfig { dir: dir.to_owned(), ..CacheConfig::default() });
    let compiler = Compiler::Child(compiler);
    Sandbox::new(SandboxConfig { compiler, cache, ..SandboxConfig::default() }).unwrap()
}

fn load(sandbox: &Sandbox, path: &Path) -> Result<Plugin, PluginError> {
    sandbox.load_file(path, None, &SandboxLimits::default())
}

/// The real compiler behind a script that writes down the number of its process.
struct Watched {
    dir: TempDir,
}

impl Watched {
    fn new() -> Self {
        let dir = TempDir::new().unwrap();
        let program = dir.path().join("compiler");
        let real = env!("CARGO_BIN_EXE_ringfence");
        let script = format!("#!/bin/sh\necho $$ > '{}/pid'\nexec '{real}' \"$@\"\n", dir.path().display());
        std::fs::write(&program, script).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o700)).unwrap();
        Self { dir }
    }

    fn compiler(&self) -> ChildCompiler {
        ChildCompiler { program: Some(self.dir.path().join("compiler")), ..compiler() }
    }

    fn assert_gone(&self) {
        let pid = std::fs::read_to_string(self.dir.path().join("pid")).unwrap();
        assert!(!Path::new("/proc").join(pid.trim()).exists(), "the compiler {pid} is still there");
    }
}

/// A strategy, as far as a look at its outside tells, with so much code in it that compiling takes long. The code
/// is appended to a good component as one more module, which nothing instantiates.
fn bomb(dir: &Path) -> PathBuf {
    let mut body = String::new();
    for round in 0..3_000 {
        let _ = write!(
            body,
            "(local.set $a (i64.add (i64.mul (local.get $a) (local.get $b)) (i64.const {round})))
             (if (i64.lt_s (local.get $a) (local.get $c)) (then (local.set $b (i64.rotl (local.get $c) (local.get $a)))))"
        );
    }
    let function =
        format!("(func (param $a i64) (result i64) (local $b i64) (local $c i64) {body} local.get $b)");
    let module = wat::parse_str(format!("(module {})", function.repeat(45))).unwrap();
    let mut bytes = std::fs::read(component("ema-cross")).unwrap();
    bytes.push(0x01);
    let mut length = module.len();
    while length >= 0x80 {
        bytes.push((length & 0x7f) as u8 | 0x80);
        length >>= 7;
    }
    bytes.push(length as u8);
    bytes.extend(module);
    let path = dir.join("bomb.wasm");
    std::fs::write(&path, bytes).unwrap();
    path
}

#[test]
fn a_component_is_compiled_in_a_process_of_its_own_that_is_gone_afterwards() {
    let watched = Watched::new();
    let plugin = load(&sandbox(watched.compiler(), None), &component("ema-cross")).unwrap();
    assert_eq!(
        (plugin.compiled_from(), plugin.metadata().name.as_str()),
        (CompiledFrom::Compiler, "ema-cross")
    );
    plugin.instantiate().unwrap();
    watched.assert_gone();
}

#[test]
fn a_compile_bomb_ends_by_each_of_the_limits_and_leaves_no_process_behind() {
    let dir = TempDir::new().unwrap();
    let bomb = bomb(dir.path());
    let usual = || Watched::new();
    for (limit, codes) in [
        ("timeout", &["compile_timeout"][..]),
        ("cpu", &["compile_cpu"]),
        // Where it runs out decides how the compiler says so.
        ("memory", &["compile_memory", "compile_panic", "compile_killed", "compile_failed"]),
        ("code", &["compile_too_large"]),
    ] {
        let watched = usual();
        let mut compiler = watched.compiler();
        let mut path = bomb.clone();
        match limit {
            "timeout" => compiler.timeout_ms = 300,
            "cpu" => compiler.cpu_s_max = 1,
            "memory" => compiler.memory_bytes_max = 64 << 20,
            _ => {
                path = component("ema-cross");
                compiler.artifact_bytes_max = 1_000;
            }
        }
        let error = load(&sandbox(compiler, None), &path).unwrap_err();
        assert!(codes.contains(&error.code()), "{limit}: {} {error}", error.code());
        if watched.dir.path().join("pid").exists() {
            watched.assert_gone();
        }
    }
}

#[test]
fn a_compiler_of_another_program_is_not_believed() {
    let foreign = ChildCompiler { program: Some("/bin/cat".into()), ..compiler() };
    let error = load(&sandbox(foreign, None), &component("ema-cross")).unwrap_err();
    assert!(matches!(error, PluginError::Compiler { .. }), "{error}");
}

#[test]
fn the_compiler_refuses_to_work_without_its_limits() {
    let output = ringfence(&["compile-component"]);
    assert_eq!(output.status.code(), Some(2), "{}", text(&output.stderr));
    let help = text(&ringfence(&["--help"]).stdout);
    assert!(!help.contains("compile-component"), "{help}");
}

#[test]
fn a_host_keeps_compiled_components_beside_its_state_and_the_next_start_takes_them() {
    let rig = Rig::new(Plan { ticks: 40, ..Plan::default() });
    let run = || {
        let output = ringfence(&["run", &rig.path("host.toml"), "--log", "ringfence=info"]);
        assert!(output.status.success(), "{}", text(&output.stderr));
        text(&output.stderr)
    };
    assert!(run().contains("code_from=compiler"));
    let folder = rig.dir.path().join("state/compiled");
    assert_eq!(std::fs::metadata(&folder).unwrap().permissions().mode() & 0o777, 0o700);
    assert!(run().contains("code_from=cache"));
    // Somebody else could have written there: nothing of it is used, and the host runs all the same.
    std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o777)).unwrap();
    let log = run();
    assert!(log.contains("code_from=compiler") && log.contains("compile_cache_folder"), "{log}");
}

#[test]
fn a_cache_that_was_tampered_with_is_compiled_anew() {
    let dir = TempDir::new().unwrap();
    let cache = dir.path().join("compiled");
    load(&sandbox(compiler(), Some(&cache)), &component("ema-cross")).unwrap();
    let file = std::fs::read_dir(&cache)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.extension().is_some_and(|it| it == "code"))
        .unwrap();
    let good = std::fs::read(&file).unwrap();
    // Header, start, middle and end of the code, seal.
    for at in [0, 20, 60, 79, 80, good.len() / 2, good.len() - 33, good.len() - 1] {
        let mut bad = good.clone();
        bad[at] ^= 0x10;
        std::fs::write(&file, bad).unwrap();
        let host = sandbox(compiler(), Some(&cache));
        assert_eq!(load(&host, &component("ema-cross")).unwrap().compiled_from(), CompiledFrom::Compiler);
        assert_eq!(host.compile_stats().cache_faults, 1, "byte {at}");
    }
    let host = sandbox(compiler(), Some(&cache));
    assert_eq!(load(&host, &component("ema-cross")).unwrap().compiled_from(), CompiledFrom::Cache);
}

#[test]
fn where_real_money_may_be_at_stake_the_component_has_to_be_pinned() {
    let rig = Rig::new(Plan::default());
    let good = std::fs::read_to_string(rig.path("host.toml")).unwrap();
    let proxy = good.lines().find(|line| line.starts_with("base_url = ")).unwrap().to_owned();
    let remote = good.replace(&proxy, "base_url = \"https://venue.example\"");
    let digest = Digest::of(&std::fs::read(component("ema-cross")).unwrap()).to_string();
    let check = |text: &str| {
        std::fs::write(rig.path("remote.toml"), text).unwrap();
        ringfence(&["run", &rig.path("remote.toml"), "--check"])
    };
    let unpinned = check(&remote);
    assert_eq!(unpinned.status.code(), Some(2));
    let words = text(&unpinned.stderr);
    let line = format!("sha256 = \"{digest}\"");
    assert!(words.contains("plugin_unpinned") && words.contains("venue.example"), "{words}");
    // The line that is asked for can be copied as it is.
    assert!(words.lines().any(|it| it.trim() == line), "{words}");
    let eyes = ringfence(&["inspect", "--config", &rig.path("remote.toml"), "--format", "json"]);
    assert_eq!(eyes.status.code(), Some(2));
    assert_eq!(facts(&eyes)["findings"][0]["code"], "plugin_unpinned");
    let pinned = check(&remote.replace("name = \"agent\"", &format!("name = \"agent\"\n{line}")));
    assert!(pinned.status.success(), "{}", text(&pinned.stderr));
    let other = format!("sha256 = \"{}\"", "ab".repeat(32));
    let wrong = check(&remote.replace("name = \"agent\"", &format!("name = \"agent\"\n{other}")));
    assert_eq!(wrong.status.code(), Some(3));
    assert!(text(&wrong.stderr).contains("plugin_pin"), "{}", text(&wrong.stderr));
    assert!(check(&good).status.success(), "a rehearsal on this machine needs no pin");
}

#[test]
fn settings_are_held_against_the_schema_before_the_strategy_sees_them() {
    let settings = "{ fsat = 2, slow = 0, quantity = 3 }";
    let rig = Rig::new(Plan { settings, ..Plan::default() });
    refused(
        &["run", &rig.path("host.toml"), "--check"],
        &[
            "setting \"fsat\" is not known: did you mean \"fast\"?",
            "setting \"slow\" is 0: give a whole number from",
        ],
    );
}

#[test]
fn what_is_not_granted_is_refused_and_inspect_looks_with_the_agents_eyes() {
    let rig = Rig::new(Plan {
        component: "faulty",
        settings: "{ fault = \"loop\", after = 30 }",
        agent: "grants = []",
        ..Plan::default()
    });
    let path = component("faulty").display().to_string();
    let imports = facts(&ringfence(&["inspect", &path, "--format", "json"]));
    let log = "ringfence:strategy/log@1.0.0";
    assert!(imports["imports"].as_array().unwrap().iter().any(|import| import == log), "{imports}");
    refused(&["run", &rig.path("host.toml"), "--check"], &["plugin_contract", log, "grants"]);
    let look = ["inspect", "--config", &rig.path("host.toml"), "--format", "json"];
    let output = ringfence(&look);
    assert_eq!(output.status.code(), Some(2));
    let seen = facts(&output);
    assert_eq!(
        (&seen["taken"], &seen["error"]["code"]),
        (&false.into(), &"plugin_contract".into()),
        "{seen}"
    );
    assert!(seen["mismatches"].as_array().unwrap().iter().any(|it| it["grant"] == "log"), "{seen}");
}

#[test]
fn inspect_shows_what_there_is_and_its_exit_code_tells() {
    let path = component("ema-cross").display().to_string();
    let output = ringfence(&["inspect", &path]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let page = text(&output.stdout);
    for part in [
        "ema-cross 0.",
        "sha256",
        "of 4,194,304 bytes",
        "granted",
        "memories 1 of 4",
        "fast",
        "this host takes it",
    ] {
        assert!(page.contains(part), "{part}: {page}");
    }
    let seen = facts(&ringfence(&["inspect", &path, "--format", "json"]));
    assert_eq!(seen["taken"], true, "{seen}");
    assert_eq!(seen["parts"].as_array().unwrap().len(), 14);
    assert!(seen["settings"].as_array().unwrap().iter().any(|it| it["key"] == "fast"), "{seen}");
    let pin = "00".repeat(32);
    let output = ringfence(&["inspect", &path, "--sha256", &pin, "--format", "json"]);
    assert_eq!(output.status.code(), Some(3));
    assert_eq!(facts(&output)["findings"][0]["code"], "plugin_pin");
}
