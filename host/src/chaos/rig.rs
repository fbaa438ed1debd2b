//! A venue and a host as processes, a proxy between them, and a pipe for the market.

use super::{Audit, ChaosRunError};
use crate::admin::ADDRESS_FILE;
use crate::agent::live::{AgentView, SystemClock};
use crate::orders::Mode;
use crate::venue::chaos::{ChaosConfig, ChaosHandle, ChaosProxy, Plan};
use crate::venue::paper::{AccountTruth, Truth};
use rust_decimal::Decimal;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::any::Any;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, ErrorKind, Write as _};
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;
use tokio::runtime::Runtime;

/// No answer takes this long, on whatever machine.
const PATIENCE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(5);

/// What is put under test.
#[derive(Clone, Debug)]
pub struct Subject {
    /// The `ringfence` program, which is host and venue.
    pub program: PathBuf,
    /// The component.
    pub component: PathBuf,
    /// Its settings, as in a configuration: `{ fast = 2, slow = 5 }`.
    pub settings: String,
}

/// Everything around a host.
pub(super) struct Rig {
    subject: Subject,
    dir: PathBuf,
    state: PathBuf,
    pub runtime: Runtime,
    pub proxy: ChaosHandle,
    http: reqwest::Client,
    clock: SystemClock,
    venue: Process,
    venue_address: SocketAddr,
    host: Option<Process>,
    pipe: Option<File>,
    /// Time of the last row, in milliseconds.
    now_ms: u64,
    /// Rows so far, and rows of this life that are good.
    rows: u64,
    good: u64,
    /// Faults that the proxy does not count.
    pub injected: u64,
    /// The last mode that was seen.
    pub mode: Option<Mode>,
    /// What has to outlive the host.
    kept: Option<Box<dyn Any>>,
}

/// A child that does not outlive the scenario.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Rig {
    /// Starts venue and proxy in a folder that is there and empty. `state` is where the host keeps its memory.
    pub fn new(
        subject: &Subject,
        dir: &Path,
        state: &Path,
        chaos: ChaosConfig,
    ) -> Result<Self, ChaosRunError> {
        let runtime = Runtime::new().map_err(ChaosRunError::file(dir))?;
        // An error means that one is installed already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder().timeout(PATIENCE).no_proxy().tls_certs_only([]).build();
        let http = http.map_err(|error| ChaosRunError::Silent(error.to_string()))?;
        let write =
            |name: &str, text: &str| fs::write(dir.join(name), text).map_err(ChaosRunError::file(dir));
        write("venue.key", "chaos-key")?;
        let rows = dir.join("rows.csv");
        let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
        rustix::fs::mkfifoat(rustix::fs::CWD, &rows, mode)
            .map_err(|error| ChaosRunError::file(&rows)(error.into()))?;
        let nowhere = "http://127.0.0.1:1";
        write("host.toml", &configuration(subject, chaos.seed, state, nowhere, nowhere))?;
        let (venue, venue_address) = start_venue(subject, dir)?;
        let seed = chaos.seed;
        let proxy = runtime.block_on(ChaosProxy::start(venue_address, chaos))?;
        let base = format!("http://{venue_address}");
        write("host.toml", &configuration(subject, seed, state, &proxy.base_url(), &base))?;
        Ok(Self {
            subject: subject.clone(),
            dir: dir.to_owned(),
            state: state.to_owned(),
            runtime,
            proxy,
            http,
            clock: SystemClock::start(),
            venue,
            venue_address,
            host: None,
            pipe: None,
            now_ms: 1_700_000_000_000,
            rows: 0,
            good: 0,
            injected: 0,
            mode: None,
            kept: None,
        })
    }

    /// Holds on to something until the end.
    pub fn keep(&mut self, what: Box<dyn Any>) {
        self.kept = Some(what);
    }

    pub fn state(&self) -> &Path {
        &self.state
    }

    pub fn seconds(&self) -> f64 {
        self.clock.now().mono.0 as f64 / 1e9
    }

    pub fn pause(&self, time: Duration) {
        self.runtime.block_on(async { tokio::time::sleep(time).await });
    }

    pub fn set_plan(&self, plan: Plan) -> Result<(), ChaosRunError> {
        Ok(self.runtime.block_on(self.proxy.set_plan(plan))?)
    }

    /// Asks until there is an answer; `None` when there was none in time.
    pub fn until<T>(&mut self, time: Duration, mut ask: impl FnMut(&mut Self) -> Option<T>) -> Option<T> {
        let end = self.seconds() + time.as_secs_f64();
        loop {
            if let Some(found) = ask(self) {
                return Some(found);
            }
            if self.seconds() > end {
                return None;
            }
            self.pause(POLL);
        }
    }

    /// Starts the host, or starts it again; its data begins anew, with rows that follow those before.
    pub fn start(&mut self) -> Result<(), ChaosRunError> {
        let _ = fs::remove_file(self.state.join(ADDRESS_FILE));
        let rows = self.dir.join("rows.csv");
        // Open for both, so that opening waits for nobody; without waiting, so that a host that is stuck holds
        // nobody up.
        let flags = rustix::fs::OFlags::NONBLOCK.bits() as i32;
        let pipe = File::options()
            .read(true)
            .write(true)
            .custom_flags(flags)
            .open(&rows)
            .map_err(ChaosRunError::file(&rows))?;
        self.pipe = Some(pipe);
        self.good = 0;
        self.write("timestamp,price,quantity\n")?;
        let log = self.dir.join("host.log");
        let log = File::options().create(true).append(true).open(&log).map_err(ChaosRunError::file(&log))?;
        let out = self.dir.join("host.json");
        let out = File::create(&out).map_err(ChaosRunError::file(&out))?;
        let child = Command::new(&self.subject.program)
            .arg("run")
            .arg(self.dir.join("host.toml"))
            .args(["--format", "json", "--log", "warn"])
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(log)
            .spawn()
            .map_err(|error| {
                ChaosRunError::process(&self.subject.program, format!("does not start: {error}"))
            })?;
        self.host = Some(Process(child));
        let up = self.until(PATIENCE, |rig| {
            if rig.ended().is_some() {
                return Some(false);
            }
            rig.view().map(|_| true)
        });
        match up {
            Some(true) => Ok(()),
            _ => Err(ChaosRunError::process(
                &self.subject.program,
                format!("does not come up: {}", self.last_words()),
            )),
        }
    }

    /// What the host said last.
    pub fn last_words(&self) -> String {
        let said = fs::read_to_string(self.dir.join("host.log")).unwrap_or_default();
        let lines: Vec<&str> = said.lines().rev().take(3).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join(" | ")
    }

    pub fn said(&self) -> String {
        fs::read_to_string(self.dir.join("host.log")).unwrap_or_default()
    }

    fn ended(&mut self) -> Option<ExitStatus> {
        self.host.as_mut().and_then(|host| host.0.try_wait().ok().flatten())
    }

    pub fn is_alive(&mut self) -> bool {
        self.host.is_some() && self.ended().is_none()
    }

    /// Kills it where it stands.
    pub fn kill(&mut self) {
        self.injected += 1;
        self.host = None;
        self.pipe = None;
    }

    fn write(&mut self, text: &str) -> Result<(), ChaosRunError> {
        let mut rest = text.as_bytes();
        let path = self.dir.join("rows.csv");
        let mut full = 0_u32;
        while !rest.is_empty() {
            let Some(pipe) = &mut self.pipe else { return Ok(()) };
            match pipe.write(rest) {
                Ok(count) => rest = rest.get(count..).unwrap_or_default(),
                Err(error) if error.kind() == ErrorKind::WouldBlock && full < 12_000 => {
                    full += 1;
                    self.pause(POLL);
                }
                Err(error) => return Err(ChaosRunError::file(&path)(error)),
            }
        }
        Ok(())
    }

    /// Rows of a wave that crosses its averages every few of them, a second apart.
    pub fn feed(&mut self, rows: u64) -> Result<(), ChaosRunError> {
        let mut text = String::new();
        for _ in 0..rows {
            let wave = [0, 3, 7, 9, 7, 2, -3, -8, -9, -4][(self.rows % 10) as usize];
            self.now_ms += 1_000;
            self.rows += 1;
            let _ = writeln!(text, "{},{}.00,1", self.now_ms, 1_000 + wave);
        }
        self.good += rows;
        self.write(&text)
    }

    /// The same, and then waits until the strategy has seen them. Says whether it has.
    pub fn feed_and_settle(&mut self, rows: u64) -> Result<bool, ChaosRunError> {
        self.feed(rows)?;
        Ok(self.settle())
    }

    /// Waits until the strategy has seen every good row of this life, or will see no more of them: a host may have
    /// taken it out. Says whether it has.
    pub fn settle(&mut self) -> bool {
        let good = self.good;
        let mut since = (0, self.seconds());
        let seen = self.until(PATIENCE, |rig| {
            if rig.ended().is_some() {
                return Some(false);
            }
            let stats = rig.view()?.stats;
            if stats.ticks >= good {
                return Some(true);
            }
            let (taken, now) = (stats.ticks + stats.samples_dropped, rig.seconds());
            if taken != since.0 {
                since = (taken, now);
            }
            (taken >= good && now > since.1 + 1.0).then_some(false)
        });
        seen.unwrap_or(false)
    }

    /// A row that is no good: its price, or its whole text after the time.
    pub fn feed_bad(&mut self, price: &str) -> Result<(), ChaosRunError> {
        self.injected += 1;
        let row = format!("{},{price},1\n", self.now_ms);
        self.write(&row)
    }

    /// Lets the data's clock leap.
    pub fn leap(&mut self, by_ms: i64) {
        self.injected += 1;
        self.now_ms = self.now_ms.saturating_add_signed(by_ms);
    }

    /// Good rows of this life.
    pub fn good(&self) -> u64 {
        self.good
    }

    /// Rows that were written and must not be seen.
    pub fn forget_good(&mut self, rows: u64) {
        self.good -= rows;
    }

    /// What the host says of its agent.
    pub fn view(&mut self) -> Option<AgentView> {
        let address = fs::read_to_string(self.state.join(ADDRESS_FILE)).ok()?;
        let token = fs::read_to_string(self.dir.join("admin.token")).ok()?;
        let url = format!("http://{}/v1/agents/agent", address.trim());
        let view: AgentView = self.get(&url, token.trim()).ok()?;
        self.mode = Some(view.mode);
        Some(view)
    }

    /// How often the breaker of a kind of traffic has opened.
    pub fn trips(&self, traffic: &str) -> Option<u64> {
        let address = fs::read_to_string(self.state.join(ADDRESS_FILE)).ok()?;
        let token = fs::read_to_string(self.dir.join("admin.token")).ok()?;
        let text = self.runtime.block_on(async {
            let request =
                self.http.get(format!("http://{}/metrics", address.trim())).bearer_auth(token.trim());
            request.send().await.ok()?.text().await.ok()
        })?;
        let mut lines = text.lines().filter(|line| line.starts_with("ringfence_breaker_trips_total"));
        let line = lines.find(|line| line.contains(&format!("\"{traffic}\"")))?;
        line.rsplit(' ').next()?.parse().ok()
    }

    fn get<T: DeserializeOwned>(&self, url: &str, token: &str) -> Result<T, ChaosRunError> {
        let silent = |error: reqwest::Error| ChaosRunError::Silent(error.to_string());
        self.runtime.block_on(async {
            let reply = self.http.get(url).bearer_auth(token).send().await.map_err(silent)?;
            let bytes = reply.error_for_status().map_err(silent)?.bytes().await.map_err(silent)?;
            serde_json::from_slice(&bytes).map_err(|error| ChaosRunError::Silent(format!("{url}: {error}")))
        })
    }

    /// The venue's own ledger.
    pub fn truth(&self) -> Result<AccountTruth, ChaosRunError> {
        let truth: Truth = self.get(&format!("http://{}/__truth", self.venue_address), "chaos-key")?;
        let account = truth.account("main").cloned();
        account.ok_or_else(|| ChaosRunError::Silent("the venue has no account main".to_owned()))
    }

    /// The journal against the ledger, now.
    pub fn audit(&self) -> Result<Audit, ChaosRunError> {
        let truth = self.truth()?;
        Audit::of(&self.state, &truth).map_err(|words| ChaosRunError::process(&self.subject.program, words))
    }

    /// Runs another command of the program; its status and the facts in its last line.
    pub fn command(&self, arguments: &[&str]) -> Result<(bool, Value), ChaosRunError> {
        let output = Command::new(&self.subject.program)
            .args(arguments)
            .args(["--format", "json"])
            .stdin(Stdio::null())
            .output()
            .map_err(|error| {
                ChaosRunError::process(&self.subject.program, format!("does not start: {error}"))
            })?;
        let text = String::from_utf8_lossy(&output.stdout);
        let facts = text.lines().last().and_then(|line| serde_json::from_str(line).ok());
        Ok((output.status.success(), facts.unwrap_or_default()))
    }

    pub fn config(&self) -> String {
        self.dir.join("host.toml").display().to_string()
    }

    /// Ends the data and waits for the host to close its positions and end.
    pub fn finish(&mut self) -> Result<Option<i32>, ChaosRunError> {
        self.pipe = None;
        let status = self.until(PATIENCE, Self::ended);
        let Some(status) = status else {
            return Err(ChaosRunError::process(&self.subject.program, "does not end when its data does"));
        };
        self.host = None;
        let said = fs::read_to_string(self.dir.join("host.json")).unwrap_or_default();
        let facts: Value =
            said.lines().last().and_then(|line| serde_json::from_str(line).ok()).unwrap_or_default();
        if let Ok(mode) = serde_json::from_value(facts["agents"][0]["mode"].clone()) {
            self.mode = Some(mode);
        }
        Ok(status.code())
    }

    /// Cash of the newest checkpoint, and whether it is flat.
    pub fn books(&self) -> Result<(Option<Decimal>, bool), ChaosRunError> {
        let state = self.state.display().to_string();
        let (_, verified) = self.command(&["checkpoint", "verify", "--data-dir", &state])?;
        let newest = verified["checkpoints"].as_array().and_then(|all| all.last());
        let Some(file) = newest.and_then(|row| row["file"].as_str()) else { return Ok((None, true)) };
        let (_, shown) = self.command(&["checkpoint", "show", file])?;
        let cash = shown["cash"].as_str().and_then(|text| text.parse().ok());
        let held = shown["positions"].as_object().into_iter().flat_map(|positions| positions.values());
        Ok((cash, held.into_iter().all(|lots| lots == 0)))
    }

    /// Ends what was started, and says nothing of it.
    pub fn end(mut self) {
        self.host = None;
        let Self { runtime, proxy, .. } = self;
        runtime.block_on(proxy.shutdown());
    }

    /// Whether the venue is still there; it is never to blame.
    pub fn venue_runs(&mut self) -> bool {
        self.venue.0.try_wait().is_ok_and(|status| status.is_none())
    }
}

fn configuration(subject: &Subject, seed: u64, state: &Path, proxy: &str, venue: &str) -> String {
    include_str!("chaos.toml")
        .replace("@STATE@", &state.display().to_string())
        .replace("@SEED@", &seed.to_string())
        .replace("@PROXY@", proxy)
        .replace("@VENUE@", venue)
        .replace("@COMPONENT@", &toml::Value::String(subject.component.display().to_string()).to_string())
        .replace("@SETTINGS@", &subject.settings)
}

fn start_venue(subject: &Subject, dir: &Path) -> Result<(Process, SocketAddr), ChaosRunError> {
    let failed = |reason: String| ChaosRunError::process(&subject.program, reason);
    let child = Command::new(&subject.program)
        .args(["venue", "paper", "--config"])
        .arg(dir.join("host.toml"))
        .arg("--key-file")
        .arg(dir.join("venue.key"))
        .args(["--port", "0", "--format", "json"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| failed(format!("does not start: {error}")))?;
    let mut venue = Process(child);
    let mut line = String::new();
    if let Some(out) = venue.0.stdout.take() {
        BufReader::new(out).read_line(&mut line).map_err(|error| failed(format!("says nothing: {error}")))?;
    }
    let facts: Value = serde_json::from_str(&line).unwrap_or_default();
    let address = facts["addr"].as_str().and_then(|text| text.parse().ok());
    let address = address.ok_or_else(|| failed(format!("gives no venue, it said \"{}\"", line.trim())))?;
    Ok((venue, address))
}
