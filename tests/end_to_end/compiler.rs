//! The host's side of compiling, against programs that are no compiler, or one that somebody came between.
//!
//! These start processes, and so are not among the library's own tests: a process that was just started holds for
//! a moment what this one has locked, which tests of the journal's lock would notice.

use super::setup::component;
use ringfence::plugin::{
    ChildCompiler, Compiler, CompilerError, Plugin, PluginError, Sandbox, SandboxConfig, SandboxLimits,
};
use ringfence::resilience::Classified;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use tempfile::TempDir;

const REAL: &str = env!("CARGO_BIN_EXE_ringfence");

struct Fake {
    dir: TempDir,
    compiler: ChildCompiler,
}

impl Fake {
    /// A program that runs this script: `$here` is its folder, `$real` the real compiler.
    fn new(script: &str) -> Self {
        let dir = TempDir::new().unwrap();
        let here = dir.path().display();
        let program = dir.path().join("compiler");
        let text = format!("#!/bin/sh\nhere='{here}' real='{REAL}'\necho $$ > \"$here/pid\"\n{script}\n");
        std::fs::write(&program, text).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o700)).unwrap();
        // Far beyond what a script takes on any machine; those that hang set their own.
        let compiler = ChildCompiler {
            program: Some(program),
            timeout_ms: 600_000,
            cpu_s_max: 600,
            ..ChildCompiler::default()
        };
        Self { dir, compiler }
    }

    fn load(&self) -> Result<Plugin, PluginError> {
        let compiler = Compiler::Child(self.compiler.clone());
        let sandbox = Sandbox::new(SandboxConfig { compiler, ..SandboxConfig::default() }).unwrap();
        loop {
            match sandbox.load_file(&component("ema-cross"), None, &SandboxLimits::default()) {
                // Another test's child may hold the script open for writing between its fork and its exec.
                Err(PluginError::Compiler { source: CompilerError::Start { source, .. }, .. })
                    if source.kind() == std::io::ErrorKind::ExecutableFileBusy => {}
                outcome => return outcome,
            }
        }
    }

    fn refused(&self) -> PluginError {
        let error = self.load().unwrap_err();
        self.assert_gone();
        error
    }

    fn seen(&self, name: &str) -> String {
        std::fs::read_to_string(self.dir.path().join(name)).unwrap()
    }

    /// The child has been killed and buried, if it came as far as telling its number.
    fn assert_gone(&self) {
        if let Ok(pid) = std::fs::read_to_string(self.dir.path().join("pid"))
            && !pid.trim().is_empty()
        {
            assert!(!Path::new("/proc").join(pid.trim()).exists(), "process {pid} is still there");
        }
    }
}

#[test]
fn the_child_is_given_the_component_its_limits_and_nothing_else() {
    let fake = Fake::new(
        "/usr/bin/env > \"$here/env\"; echo \"$@\" > \"$here/arguments\"; pwd > \"$here/folder\"
         for fd in /proc/$$/fd/*; do readlink $fd; done > \"$here/descriptors\"
         tee \"$here/component\" | \"$real\" \"$@\"",
    );
    // Open to children, as a descriptor is that came from this process's own parent.
    let leak = std::fs::File::create(fake.dir.path().join("leak")).unwrap();
    rustix::io::fcntl_setfd(&leak, rustix::io::FdFlags::empty()).unwrap();
    fake.load().unwrap();
    // What a shell adds by itself.
    let own = ["PWD=", "SHLVL=", "_=", "OLDPWD="];
    let env = fake.seen("env");
    let leaked: Vec<&str> = env.lines().filter(|line| !own.iter().any(|own| line.starts_with(own))).collect();
    assert_eq!(leaked, Vec::<&str>::new());
    let arguments =
        "compile-component --memory-bytes-max 2147483648 --cpu-s-max 600 --stack-bytes-max 262144";
    assert_eq!((fake.seen("arguments").trim(), fake.seen("folder").trim()), (arguments, "/"));
    let given = std::fs::read(fake.dir.path().join("component")).unwrap();
    assert_eq!(given, std::fs::read(component("ema-cross")).unwrap());
    // The shell itself holds its script and the file it writes to.
    let descriptors = fake.seen("descriptors");
    let foreign: Vec<&str> = (descriptors.lines())
        .filter(|it| !it.starts_with("pipe:") && !it.ends_with("/compiler") && !it.ends_with("/descriptors"))
        .collect();
    assert_eq!(foreign, Vec::<&str>::new());
    drop(leak);
}

#[test]
fn one_that_hangs_is_killed_and_buried() {
    for script in ["exec sleep 1000", "cat > /dev/null; exec sleep 1000", "exec > /dev/null; exec sleep 1000"]
    {
        let mut fake = Fake::new(script);
        fake.compiler.timeout_ms = 300;
        assert_eq!(fake.refused().code(), "compile_timeout", "{script}");
    }
}

#[test]
fn one_that_closes_its_output_and_stays_is_killed_at_once() {
    let code = Fake::new("exec 1>&- 2>&-; exec sleep 1000").refused().code();
    assert!(["compile_killed", "compiler_foreign"].contains(&code), "{code}");
}

#[test]
fn one_that_a_signal_ends_is_told_apart() {
    for (signal, code) in [(9, "compile_killed"), (11, "compile_killed"), (24, "compile_cpu")] {
        assert_eq!(Fake::new(&format!("kill -{signal} $$; sleep 1000")).refused().code(), code);
    }
    let error =
        Fake::new("echo 'memory allocation of 99 bytes failed' >&2; kill -6 $$; sleep 1000").refused();
    assert_eq!(error.code(), "compile_memory");
    assert!(error.to_string().contains("compile.memory_bytes_max"), "{error}");
    let error = Fake::new("echo 'stack overflow' >&2; kill -6 $$; sleep 1000").refused();
    assert!(error.to_string().ends_with("signal 6 ended the compiler: stack overflow"), "{error}");
}

#[test]
fn one_that_panics_or_gives_up_is_told_with_its_last_words() {
    let error = Fake::new("printf 'thread main panicked\\033[2J' >&2; exit 101").refused();
    assert_eq!(error.code(), "compile_panic");
    assert!(error.to_string().ends_with("thread main panicked\\u{1b}[2J"), "{error}");
    let error = Fake::new("exit 3").refused();
    assert_eq!(error.code(), "compile_failed");
    assert!(error.to_string().ends_with("exit code 3: it said nothing"), "{error}");
}

#[test]
fn words_without_end_do_not_hold_it_up_and_are_cut() {
    let error = Fake::new("head -c 1000000 /dev/zero | tr '\\0' x >&2; exit 1").refused();
    assert!(error.to_string().len() < 1_000, "{error}");
}

#[test]
fn garbage_is_no_answer() {
    for script in ["echo hello", "true", "head -c 5000 /dev/urandom"] {
        let error = Fake::new(&format!("cat > /dev/null; {script}")).refused();
        assert_eq!(error.code(), "compiler_foreign", "{script}: {error}");
    }
}

#[test]
fn an_answer_that_was_cut_lengthened_or_belongs_to_another_question_is_none() {
    let other = component("mean-reversion").display().to_string();
    for (script, words) in [
        ("\"$real\" \"$@\" | head -c 1000".to_owned(), "breaks off"),
        ("\"$real\" \"$@\"; echo".to_owned(), "no answer"),
        (format!("\"$real\" \"$@\" < '{other}'"), "it compiled something else"),
    ] {
        let error = Fake::new(&script).refused();
        assert_eq!(error.code(), "compiler_foreign", "{script}: {error}");
        assert!(error.to_string().contains(words), "{error}");
    }
}

#[test]
fn more_machine_code_than_allowed_is_not_read() {
    let mut fake = Fake::new("cat > /dev/null; exec cat /dev/zero");
    fake.compiler.artifact_bytes_max = 1 << 20;
    assert_eq!(fake.refused().code(), "compile_too_large");
}

#[test]
fn a_program_that_is_not_there_is_named() {
    let mut fake = Fake::new("true");
    fake.compiler.program = Some("/nowhere/ringfence".into());
    let error = fake.load().unwrap_err();
    assert_eq!(error.code(), "compiler_start");
    assert!(error.to_string().contains("/nowhere/ringfence"), "{error}");
}
