//! A venue, a proxy, a folder, and the binary.

use ringfence::config::Config;
use ringfence::venue::KeySource;
use ringfence::venue::chaos::{ChaosConfig, ChaosHandle, ChaosProxy};
use ringfence::venue::paper::{AccountTruth, PaperAccount, PaperConfig, PaperHandle, PaperKeys, PaperVenue};
use serde_json::Value;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use tempfile::TempDir;
use tokio::runtime::Runtime;

pub fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// A built example strategy. A missing one is a failure that says how to get it.
pub fn component(name: &str) -> PathBuf {
    let path = workspace().join("target/components").join(format!("{name}.wasm"));
    assert!(path.is_file(), "{} is missing: run `make components`", path.display());
    path
}

pub fn ringfence(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ringfence")).args(arguments).output().unwrap()
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The JSON object in the last line of the output.
pub fn facts(output: &Output) -> Value {
    let stdout = text(&output.stdout);
    let last = stdout.lines().last().unwrap_or_else(|| panic!("no output; {}", text(&output.stderr)));
    serde_json::from_str(last).unwrap_or_else(|error| panic!("{error}: {stdout}\n{}", text(&output.stderr)))
}

/// One host, set up but not started: a folder with a configuration and data, a venue and a proxy.
pub struct Rig {
    pub dir: TempDir,
    pub venue: PaperHandle,
    pub proxy: ChaosHandle,
    pub runtime: Runtime,
}

/// What differs between rigs.
pub struct Plan<'a> {
    pub component: &'a str,
    pub settings: &'a str,
    pub ticks: usize,
    pub chaos: ChaosConfig,
    /// More keys of the agent.
    pub agent: &'a str,
    /// More keys of the venue's section.
    pub venue: &'a str,
    /// What the venue does with idempotency keys.
    pub keys: PaperKeys,
    /// More keys of the host.
    pub host: &'a str,
    /// Size of a lot, for the host and the venue.
    pub lot: &'a str,
}

impl Default for Plan<'_> {
    fn default() -> Self {
        Self {
            component: "ema-cross",
            settings: "{ fast = 2, slow = 5, quantity = 3 }",
            ticks: 400,
            chaos: ChaosConfig::default(),
            agent: "",
            venue: "",
            keys: PaperKeys::Honoured,
            host: "",
            lot: "0.5",
        }
    }
}

impl Rig {
    pub fn new(plan: Plan<'_>) -> Self {
        let dir = TempDir::new().unwrap();
        std::fs::write(dir.path().join("trades.csv"), trades(plan.ticks)).unwrap();
        std::fs::write(dir.path().join("venue.key"), "end-to-end-key").unwrap();
        let runtime = Runtime::new().unwrap();
        let config = configuration(&plan, "http://127.0.0.1:1", "http://127.0.0.1:1");
        let config = Config::parse(&config, &dir.path().join("host.toml")).unwrap();
        let (venue, proxy) = runtime.block_on(async {
            let account = PaperAccount {
                name: "main".into(),
                key: KeySource::File(dir.path().join("venue.key")),
                ..PaperAccount::default()
            };
            let paper = PaperConfig {
                port: 0,
                accounts: vec![account],
                instruments: config.instrument,
                keys: plan.keys,
                ..PaperConfig::default()
            };
            let venue = PaperVenue::start(paper).await.unwrap();
            let proxy = ChaosProxy::start(venue.addr(), plan.chaos.clone()).await.unwrap();
            (venue, proxy)
        });
        let text = configuration(&plan, &proxy.base_url(), &venue.base_url());
        std::fs::write(dir.path().join("host.toml"), text).unwrap();
        Self { dir, venue, proxy, runtime }
    }

    pub fn path(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }

    pub fn run(&self) -> Output {
        ringfence(&["run", &self.path("host.toml"), "--format", "json", "--log", "warn"])
    }

    /// Writes the configuration anew, as an operator would between two runs.
    pub fn reconfigure(&self, from: &str, to: &str) {
        let path = self.path("host.toml");
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{from} is not in the configuration");
        std::fs::write(&path, text.replace(from, to)).unwrap();
    }

    /// Replaces the data by this many ticks.
    pub fn feed(&self, ticks: usize) {
        std::fs::write(self.dir.path().join("trades.csv"), trades(ticks)).unwrap();
    }

    /// A command that reads the state of this rig's host.
    pub fn state(&self, arguments: &[&str]) -> Output {
        let mut all = arguments.to_vec();
        let dir = self.path("state");
        all.extend(["--data-dir", &dir, "--format", "json"]);
        ringfence(&all)
    }

    pub fn truth(&self) -> AccountTruth {
        self.venue.truth().account("main").unwrap().clone()
    }

    /// Nothing was executed twice, whatever happened.
    pub fn assert_nothing_twice(&self) {
        let truth = self.truth();
        for (key, count) in &truth.placements {
            assert!(*count <= 1, "{key} was placed {count} times");
        }
        for order in &truth.orders {
            assert!(order.filled <= order.quantity, "{order:?}");
        }
    }
}

/// Prices that rise and fall, so that averages cross every few ticks.
pub fn trades(count: usize) -> String {
    let mut text = String::from("timestamp,price,quantity\n");
    for row in 0..count {
        let wave = [0, 3, 7, 9, 7, 2, -3, -8, -9, -4][row % 10];
        let _ = writeln!(text, "{},{}.00,1", 1_700_000_000_000_u64 + row as u64 * 1_000, 1_000 + wave);
    }
    text
}

pub fn configuration(plan: &Plan<'_>, proxy: &str, venue: &str) -> String {
    format!(
        r#"
data_dir = "state"
seed = 3
{}

[venue.main]
kind = "http"
base_url = "{proxy}"
key = {{ file = "venue.key" }}
request_timeout_ms = 400
updates_poll_ms = 50
{}
gate.limiter = {{ calls_per_second = 5000, burst_calls = 5000 }}
gate.write = {{ open_ms = 40, open_ms_max = 80, probe_deadline_ms = 500 }}
gate.read = {{ open_ms = 40, open_ms_max = 80, probe_deadline_ms = 500 }}

[[instrument]]
symbol = "TEST"
venue = "main"
kind = "spot"
quote_currency = "USD"
multiplier = "1"
tick_size = "0.01"
lot_size = "{}"
min_lots = 1
max_lots = 1000

[feed]
kind = "files"
pace = "lockstep"
publish_to = {{ venue = "main", base_url = "{venue}" }}
settle_ms_max = 20
file = [{{ path = "trades.csv", symbol = "TEST" }}]

[[agent]]
name = "agent"
component = "{}"
venue = "main"
instruments = ["TEST"]
cash = "100000"
settings = {}
risk = {{ orders_per_second_max = 5000 }}
retry = {{ base_ms = 10, cap_ms = 40, deadline_ms = 4000, attempt_ms_min = 5 }}
degradation = {{ dwell_ms = 20, dwell_ms_max = 40 }}
{}
"#,
        plan.host,
        plan.venue,
        plan.lot,
        component(plan.component).display(),
        plan.settings,
        plan.agent
    )
}
