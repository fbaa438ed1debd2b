//! The library that lets one call into the system fail, and how it is told which one.

use super::super::setup::{text, workspace};
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// One call of a program into the system.
#[derive(Clone, Debug)]
pub struct Call {
    /// `open`, `write`, `sync`, `rename`, `remove`, `receive`, or `disk` for any of them but the last.
    pub operation: &'static str,
    /// Part of the file's path, its end when followed by `$`; `socket:` for a connection.
    pub path: &'static str,
    /// Part of the bytes written or received.
    pub text: &'static str,
    /// How many such calls it takes, from 1.
    pub number: u64,
}

/// What happens at a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The process dies before the call.
    KillBefore,
    /// The process dies when half of the bytes are through.
    KillWithin,
    /// The process dies right after the call.
    KillAfter,
    /// The call fails once with a device error.
    Io,
    /// The call, and every one like it from then on, finds the disk full.
    Full,
}

/// A fault at a call, counted from an earlier call on when there is one.
#[derive(Clone, Debug)]
pub struct Rule {
    pub after: Option<Call>,
    pub at: Call,
    pub fault: Fault,
}

impl Call {
    pub const fn new(operation: &'static str, path: &'static str, text: &'static str, number: u64) -> Self {
        Self { operation, path, text, number }
    }

    pub const fn with(self, fault: Fault) -> Rule {
        Rule { after: None, at: self, fault }
    }

    pub const fn then(self, at: Self, fault: Fault) -> Rule {
        Rule { after: Some(self), at, fault }
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{},{},{},{};", self.operation, self.path, self.text, self.number)
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(after) = &self.after {
            after.fmt(f)?;
        }
        let fault = match self.fault {
            Fault::KillBefore => "kill-before",
            Fault::KillWithin => "kill-within",
            Fault::KillAfter => "kill-after",
            Fault::Io => "eio",
            Fault::Full => "enospc",
        };
        write!(f, "{}{fault}", self.at)
    }
}

impl Rule {
    /// Lets a command run into the fault; `log` gets a line for it and for every later call that fits.
    pub fn apply(&self, command: &mut Command, log: &Path) {
        command.env("LD_PRELOAD", library());
        command.env("RINGFENCE_FAULT", self.to_string());
        command.env("RINGFENCE_FAULT_LOG", log);
        // Past the page cache a record of the journal is durable with its write, and has no sync of its own.
        let syncs = |call: &Call| call.operation == "sync" && call.path == ".wal$";
        if self.after.iter().chain([&self.at]).any(syncs) {
            command.env("RINGFENCE_FAULT_CACHED", "1");
        }
    }
}

/// The compiled library; compiled once a run.
fn library() -> &'static Path {
    static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
    LIBRARY.get_or_init(|| {
        let folder = workspace().join("target/soak");
        std::fs::create_dir_all(&folder).unwrap();
        let source = workspace().join("tests/end_to_end/shim/fault.c");
        // Two runs at a time must not write one file.
        let own = folder.join(format!("fault-{}.so", std::process::id()));
        let library = folder.join("fault.so");
        let output = Command::new("cc")
            .args(["-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-Werror", "-o"])
            .args([&own, &source])
            .output()
            .unwrap_or_else(|error| {
                panic!("cannot run cc: {error}; install a C compiler (Debian: apt-get install gcc libc6-dev)")
            });
        assert!(output.status.success(), "cc failed: {}", text(&output.stderr));
        std::fs::rename(&own, &library).unwrap();
        library
    })
}
