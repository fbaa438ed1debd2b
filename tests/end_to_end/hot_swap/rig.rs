//! A host that runs while the test goes on: its data, its commands, its API and its journal.

use crate::setup::{Plan, Rig, component, facts, ringfence, text};
use ringfence::orders::journal;
use ringfence::orders::{Action, Entry, FedInput, Origin, Record, Side};
use ringfence::resilience::RealDisk;
use serde_json::Value;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

/// The section that the commands need.
pub const ADMIN: &str = "[admin]\nlisten = \"127.0.0.1:0\"\ntoken = { file = \"admin.token\" }\n";

/// A swap in these tests is on probation only when the test says so.
pub const QUIET: &str = "swap = { probation_ticks = 0, watch_poll_ms = 5 }\n";

/// How long a test waits for what does not come.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(300);

/// A host that runs, with the writing end of its data.
pub struct Running {
    pub rig: Rig,
    child: Option<Child>,
    pipe: Option<File>,
    /// Rows written so far.
    pub rows: usize,
    /// Rows of those that the host of now was not there for.
    before: usize,
    log: PathBuf,
    /// The first line of the data.
    header: String,
}

/// A rig whose data comes through a pipe, and whose host has an admin API.
pub fn piped(plan: Plan<'_>) -> Rig {
    let host = format!("{}\n{ADMIN}", plan.host);
    let agent = format!("{}\n{QUIET}", plan.agent);
    let rig = Rig::new(Plan { host: &host, agent: &agent, ..plan });
    let data = rig.path("trades.csv");
    std::fs::remove_file(&data).unwrap();
    assert!(Command::new("mkfifo").arg(&data).status().unwrap().success());
    rig
}

impl Running {
    pub fn new(plan: Plan<'_>) -> Self {
        Self::start(piped(plan))
    }

    /// Starts the host of a rig that was made by [`piped`], and waits until it can be operated.
    pub fn start(rig: Rig) -> Self {
        Self::start_on(rig, "timestamp,price,quantity")
    }

    /// The same for data with another first line, of which the test writes the rows.
    pub fn start_on(rig: Rig, header: &str) -> Self {
        let (log, header) = (rig.dir.path().join("host.log"), format!("{header}\n"));
        let mut running = Self { log, header, rig, child: None, pipe: None, rows: 0, before: 0 };
        running.start_again("");
        running
    }

    /// Starts the host again after it was killed; its data begins anew, with rows that follow those before.
    pub fn start_again(&mut self, more: &str) {
        assert!(self.child.is_none(), "it runs");
        self.before = self.rows;
        let _ = std::fs::remove_file(self.rig.path("state/admin.address"));
        // Open for both, so that opening waits for nobody.
        let mut pipe = File::options().read(true).write(true).open(self.rig.path("trades.csv")).unwrap();
        pipe.write_all(self.header.as_bytes()).unwrap();
        let log = File::options().create(true).append(true).open(&self.log).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_ringfence"));
        command.args(["run", &self.rig.path("host.toml"), "--format", "json", "--log", "warn,audit=info"]);
        command.args(more.split_whitespace());
        let child = command.stdout(Stdio::piped()).stderr(log).spawn().unwrap();
        (self.child, self.pipe) = (Some(child), Some(pipe));
        self.until("the host can be operated", |running| {
            running.is_alive();
            Path::new(&running.rig.path("state/admin.address")).is_file().then_some(())
        });
        self.until("its agents have started", |running| {
            running.is_alive();
            (running.call("GET", "/v1/agents/agent", None).0 != 503).then_some(())
        });
    }

    fn is_alive(&mut self) {
        if let Some(status) = self.child.as_mut().and_then(|child| child.try_wait().unwrap()) {
            panic!("the host has ended: {status}\n{}", self.log());
        }
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Asks again and again. The limit is there for a host that will never say so, and far above what a loaded machine
    /// takes.
    #[expect(
        clippy::disallowed_methods,
        reason = "the only clock of these tests ends one that would never end"
    )]
    pub fn until<T>(&mut self, what: &str, mut ask: impl FnMut(&mut Self) -> Option<T>) -> T {
        let began = std::time::Instant::now();
        while began.elapsed() < PATIENCE {
            if let Some(found) = ask(self) {
                return found;
            }
            std::thread::yield_now();
        }
        panic!("never: {what}\n{}", self.log());
    }

    /// Writes this many more rows of a wave that crosses its averages every few rows.
    pub fn feed(&mut self, rows: usize) {
        let mut text = String::new();
        for row in self.rows..self.rows + rows {
            let wave = [0, 3, 7, 9, 7, 2, -3, -8, -9, -4][row % 10];
            let _ = writeln!(text, "{},{}.00,1", 1_700_000_000_000_u64 + row as u64 * 1_000, 1_000 + wave);
        }
        self.rows += rows;
        self.pipe.as_mut().unwrap().write_all(text.as_bytes()).unwrap();
    }

    /// Writes rows one by one until it is so: ticks flow while something happens.
    pub fn feed_until<T>(&mut self, what: &str, mut ask: impl FnMut(&mut Self) -> Option<T>) -> T {
        self.until(what, |running| {
            let found = ask(running);
            if found.is_none() {
                running.feed(1);
                running.settle();
            }
            found
        })
    }

    /// Waits until the agent has seen every row.
    pub fn settle(&mut self) {
        let rows = (self.rows - self.before) as u64;
        self.until("the agent has seen its data", |running| {
            running.is_alive();
            let agent = running.agent();
            let seen = &agent["stats"];
            let taken = seen["ticks"].as_u64()? + seen["samples_dropped"].as_u64()?;
            (taken >= rows).then_some(())
        });
    }

    /// The raw writing end, for a test that has its own data.
    pub fn pipe(&self) -> File {
        self.pipe.as_ref().unwrap().try_clone().unwrap()
    }

    /// What the API says of the agent.
    pub fn agent(&mut self) -> Value {
        let (status, body) = self.call("GET", "/v1/agents/agent", None);
        assert_eq!(status, 200, "{body}");
        serde_json::from_str(&body).unwrap()
    }

    pub fn token(&self) -> String {
        std::fs::read_to_string(self.rig.path("admin.token")).unwrap().trim().to_owned()
    }

    pub fn address(&self) -> String {
        std::fs::read_to_string(self.rig.path("state/admin.address")).unwrap().trim().to_owned()
    }

    pub fn call(&self, method: &str, path: &str, body: Option<&str>) -> (u16, String) {
        call(&self.address(), Some(&self.token()), method, path, body)
    }

    /// One of the commands that speak with the host, with its facts as JSON.
    pub fn command(&self, arguments: &[&str]) -> Output {
        let config = self.rig.path("host.toml");
        let mut all = arguments.to_vec();
        all.extend(["--config", &config, "--format", "json"]);
        ringfence(&all)
    }

    /// The same for people.
    pub fn told(&self, arguments: &[&str]) -> Output {
        let config = self.rig.path("host.toml");
        let mut all = arguments.to_vec();
        all.extend(["--config", &config]);
        ringfence(&all)
    }

    /// Starts a command that waits for what the test has yet to do.
    pub fn begin(&self, arguments: &[&str]) -> Child {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ringfence"));
        command.args(arguments).args(["--config", &self.rig.path("host.toml")]);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// Feeds rows until a command has ended.
    pub fn feed_through(&mut self, mut command: Child) -> Output {
        self.feed_until("the command has ended", |_| command.try_wait().unwrap());
        command.wait_with_output().unwrap()
    }

    pub fn kill(&mut self) {
        let mut child = self.child.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        self.pipe = None;
    }

    /// Ends the data and waits for the end of the host. Its facts.
    pub fn finish(&mut self) -> Value {
        self.pipe = None;
        let output = self.child.take().unwrap().wait_with_output().unwrap();
        assert!(output.status.code().is_some_and(|code| code <= 1), "{}\n{}", output.status, self.log());
        facts(&output)
    }

    /// Everything that the journal holds, oldest first.
    pub fn entries(&self) -> Vec<Entry> {
        entries(&self.rig)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

pub fn entries(rig: &Rig) -> Vec<Entry> {
    let mut entries = Vec::new();
    let dir = PathBuf::from(rig.path("state/journal"));
    journal::read(&dir, &RealDisk, &mut |seq, payload| {
        entries.push(Entry::decode(seq, payload).unwrap());
        Ok(())
    })
    .unwrap();
    entries
}

/// The ticks that strategies were given, in order, and what was wanted at which of them.
#[derive(Debug, PartialEq)]
pub struct Trace {
    /// Numbers of the rows.
    pub ticks: Vec<u64>,
    /// `index:side;` for every order that a tick led to.
    pub intents: String,
}

pub fn trace(entries: &[Entry]) -> Trace {
    let mut trace = Trace { ticks: Vec::new(), intents: String::new() };
    let mut calls = std::collections::BTreeMap::new();
    for entry in entries {
        match &entry.record {
            Record::Fed { calls: fed } => {
                for call in fed {
                    if let FedInput::Tick(tick) = &call.input {
                        calls.insert(call.call, trace.ticks.len());
                        trace.ticks.push(tick.seq);
                    }
                }
            }
            Record::Decided(decision) if decision.origin == Origin::Tick => {
                for decided in &decision.intents {
                    let Action::Submit(order) = decided.action else { continue };
                    let side = if order.side == Side::Buy { 'B' } else { 'S' };
                    let _ = write!(trace.intents, "{}:{side};", calls[&decision.call]);
                }
            }
            _ => {}
        }
    }
    trace
}

/// One exchange with an HTTP server, by hand: nothing of the program under test is used.
pub fn call(
    address: &str,
    token: Option<&str>,
    method: &str,
    path: &str,
    body: Option<&str>,
) -> (u16, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    let body = body.unwrap_or_default();
    let token = token.map(|token| format!("Authorization: Bearer {token}\r\n")).unwrap_or_default();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n{token}Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).unwrap();
    let mut reply = String::new();
    stream.read_to_string(&mut reply).unwrap();
    let (head, body) = reply.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {reply:?}"));
    let status = head.split_whitespace().nth(1).unwrap().parse().unwrap();
    (status, body.to_owned())
}

/// The same strategy with other bytes, and so with another digest: a section that no engine reads is added.
pub fn variant(rig: &Rig, name: &str, tag: &str) -> PathBuf {
    let mut bytes = std::fs::read(component(name)).unwrap();
    let section = format!("{}{tag}", char::from(u8::try_from(tag.len()).unwrap()));
    bytes.push(0);
    bytes.push(u8::try_from(section.len()).unwrap());
    bytes.extend_from_slice(section.as_bytes());
    let path = rig.dir.path().join(format!("{name}-{tag}.wasm"));
    std::fs::write(&path, bytes).unwrap();
    path
}

pub fn digest(path: &Path) -> String {
    ringfence::orders::Digest::of(&std::fs::read(path).unwrap()).to_string()
}

pub fn show(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// What a command printed, when it did not do what it should have.
pub fn said(output: &Output) -> String {
    format!("{}\n{}\n{}", output.status, text(&output.stdout), text(&output.stderr))
}
