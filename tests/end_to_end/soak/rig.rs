//! A venue in a process of its own, a proxy, a folder, and lives of a host.

use super::super::setup::{Plan, configuration, ringfence, trades};
use super::fault::Rule;
use ringfence::venue::chaos::{
    ChaosConfig, ChaosHandle, ChaosProxy, Fault as Disturbance, Plan as Chaos, Scope,
};
use ringfence::venue::paper::{AccountTruth, Truth};
use serde_json::Value;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// No life takes this long, on whatever machine.
const LIFE_MAX: Duration = Duration::from_secs(60);

/// Segments so small that a life of a second fills several.
pub const SMALL_SEGMENTS: &str =
    "journal = { segment_bytes_max = 32_768, record_bytes_max = 16_384, segments_kept_min = 1 }";

/// Small segments that all stay.
pub const KEPT_SEGMENTS: &str =
    "journal = { segment_bytes_max = 32_768, record_bytes_max = 16_384, compact = false }";

/// Segments that hold every record of a series, so that every key of the ledger can be found.
pub const LARGE_SEGMENTS: &str = "journal = { segment_bytes_max = 2_097_152, record_bytes_max = 262_144 }";

/// Everything around a host.
pub struct Rig {
    pub dir: TempDir,
    pub proxy: ChaosHandle,
    pub runtime: Runtime,
    venue: Venue,
}

/// A paper venue of its own.
struct Venue {
    child: Child,
    address: SocketAddr,
}

impl Drop for Venue {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Venue {
    fn start(dir: &TempDir) -> Self {
        let path = |name: &str| dir.path().join(name).display().to_string();
        let mut child = Command::new(env!("CARGO_BIN_EXE_ringfence"))
            .args(["venue", "paper", "--config", &path("host.toml"), "--key-file", &path("venue.key")])
            .args(["--port", "0", "--format", "json"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let facts: Value = serde_json::from_str(&line).unwrap();
        Self { child, address: facts["addr"].as_str().unwrap().parse().unwrap() }
    }

    fn truth(&self) -> AccountTruth {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(LIFE_MAX)).unwrap();
        write!(
            stream,
            "GET /__truth HTTP/1.1\r\nHost: venue\r\nAuthorization: Bearer soak-key\r\nConnection: close\r\n\r\n"
        )
        .unwrap();
        let mut reply = String::new();
        stream.read_to_string(&mut reply).unwrap();
        let (head, body) = reply.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        let truth: Truth = serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {body}"));
        truth.account("main").unwrap().clone()
    }
}

impl Rig {
    pub fn new(ticks: usize, chaos: ChaosConfig, segments: &str) -> Self {
        let dir = TempDir::new().unwrap();
        std::fs::write(dir.path().join("trades.csv"), trades(ticks)).unwrap();
        std::fs::write(dir.path().join("venue.key"), "soak-key").unwrap();
        let write = |proxy: &str, venue: &str| {
            for (name, agent) in [("host.toml", "on_stop = \"flatten\""), ("hold.toml", "on_stop = \"hold\"")]
            {
                let plan = Plan { host: segments, agent, ..Plan::default() };
                std::fs::write(dir.path().join(name), configuration(&plan, proxy, venue)).unwrap();
            }
        };
        write("http://127.0.0.1:1", "http://127.0.0.1:1");
        let venue = Venue::start(&dir);
        let runtime = Runtime::new().unwrap();
        let proxy = runtime.block_on(ChaosProxy::start(venue.address, chaos)).unwrap();
        write(&proxy.base_url(), &format!("http://{}", venue.address));
        Self { dir, proxy, runtime, venue }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn set_plan(&self, plan: Chaos) {
        self.runtime.block_on(self.proxy.set_plan(plan)).unwrap();
    }

    /// The venue takes no order and says nothing about one; what the account holds can be read.
    pub fn silence(&self) {
        self.set_plan(Chaos::Always(Disturbance::ErrorBefore(503), Scope::Orders));
    }

    pub fn truth(&self) -> AccountTruth {
        self.venue.truth()
    }

    /// A command that reads the state of the host and changes nothing.
    pub fn state(&self, arguments: &[&str]) -> Output {
        let dir = self.path("state").display().to_string();
        let mut all = arguments.to_vec();
        all.extend(["--data-dir", &dir, "--format", "json"]);
        ringfence(&all)
    }

    /// A host that runs into a fault, or into none.
    pub fn host(&self, rule: Option<&Rule>) -> Life {
        self.start("host.toml", rule)
    }

    fn start(&self, config: &str, rule: Option<&Rule>) -> Life {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ringfence"));
        command.arg("run").arg(self.path(config)).args(["--format", "json", "--log", "warn"]);
        command.stdin(Stdio::null());
        command.stdout(File::create(self.path("stdout")).unwrap());
        command.stderr(File::create(self.path("stderr")).unwrap());
        let _ = std::fs::remove_file(self.path("fault.log"));
        if let Some(rule) = rule {
            rule.apply(&mut command, &self.path("fault.log"));
        }
        Life { child: command.spawn().unwrap(), begun: Instant::now() }
    }

    /// What the last life said about its troubles.
    pub fn stderr(&self) -> String {
        std::fs::read_to_string(self.path("stderr")).unwrap()
    }

    /// What the fault's library wrote down during the last life.
    pub fn faults(&self) -> String {
        std::fs::read_to_string(self.path("fault.log")).unwrap_or_default()
    }

    /// Runs a host into a fault that kills it.
    pub fn kill_at(&self, rule: &Rule) -> Result<(), String> {
        let status = self.host(Some(rule)).end();
        self.must_be_killed(status, rule)
    }

    pub fn must_be_killed(&self, status: ExitStatus, by: &impl std::fmt::Display) -> Result<(), String> {
        if status.signal() == Some(9) {
            return Ok(());
        }
        Err(format!("{by}: expected a kill, found {status}: {}", self.stderr()))
    }

    /// Runs a host whose end has to be orderly, and returns its report.
    pub fn run_to_the_end(&self) -> Result<Value, String> {
        self.run_in_order("host.toml")
    }

    /// The same, but what the agent holds is left as it is: an order of which nobody knows what became of it
    /// may stand in the way of closing it.
    pub fn run_without_flattening(&self) -> Result<Value, String> {
        self.run_in_order("hold.toml")
    }

    fn run_in_order(&self, config: &str) -> Result<Value, String> {
        let status = self.start(config, None).end();
        if status.success() {
            return Ok(self.report());
        }
        let stdout = std::fs::read_to_string(self.path("stdout")).unwrap();
        Err(format!("the healed host ended with {status}: {stdout}{}", self.stderr()))
    }

    /// The report of the last life.
    pub fn report(&self) -> Value {
        let stdout = std::fs::read_to_string(self.path("stdout")).unwrap();
        serde_json::from_str(stdout.lines().last().unwrap_or_default()).unwrap_or_default()
    }
}

/// A running host.
pub struct Life {
    pub child: Child,
    begun: Instant,
}

impl Life {
    /// Its status when it has ended. Kills it when it takes longer than any host may.
    pub fn poll(&mut self) -> Option<ExitStatus> {
        let status = self.child.try_wait().unwrap();
        if status.is_none() && self.begun.elapsed() > LIFE_MAX {
            self.child.kill().unwrap();
            self.child.wait().unwrap();
            panic!("the host did not end within {LIFE_MAX:?}");
        }
        status
    }

    pub fn end(mut self) -> ExitStatus {
        loop {
            if let Some(status) = self.poll() {
                return status;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    pub fn kill(mut self) -> ExitStatus {
        let _ = self.child.kill();
        self.child.wait().unwrap()
    }
}

/// Copies a folder.
pub fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &target);
        } else {
            std::fs::copy(&path, &target).unwrap();
        }
    }
}
