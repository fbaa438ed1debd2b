//! A paper venue in the dialect of Purple Flea, a folder, and the binary.

use super::super::setup::{component, facts, ringfence, text, trades};
use ringfence::config::Config;
use ringfence::venue::KeySource;
use ringfence::venue::paper::purpleflea::{
    FleaAccount, FleaAccountTruth, FleaConfig, FleaExecution, FleaFaults, FleaHandle, FleaTruth, FleaVenue,
    PaperClock,
};
use rust_decimal::Decimal;
use serde_json::Value;
use std::collections::BTreeMap;
use std::process::Output;
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// No key that a person would have, and no text that occurs by itself.
pub const KEY: &str = "sk_trade_0f1e2d3c4b5a69788796a5b4c3d2e1f00f1e2d3c4b5a6978";

/// What differs between rigs.
pub struct Plan<'a> {
    pub component: &'a str,
    pub settings: &'a str,
    pub ticks: usize,
    /// Between two looks of the venue at its resting orders.
    pub resting_poll_ms: u64,
    /// What goes wrong from the start.
    pub rules: &'a [&'a str],
    /// Whether a wallet is connected to the account.
    pub wallet: bool,
    /// More keys of the venue's section.
    pub venue: &'a str,
    /// The section `[feed]`, instead of a replay of the trades.
    pub feed: &'a str,
    /// More keys of the agent.
    pub agent: &'a str,
    /// More sections.
    pub more: &'a str,
}

impl Default for Plan<'_> {
    fn default() -> Self {
        Self {
            component: "ema-cross",
            settings: "{ fast = 2, slow = 5, quantity = 3 }",
            ticks: 60,
            resting_poll_ms: 20,
            rules: &[],
            wallet: true,
            venue: "",
            feed: "",
            agent: "on_stop = \"hold\"",
            more: "",
        }
    }
}

/// One host, set up but not started, and its venue.
pub struct Rig {
    pub dir: TempDir,
    pub venue: FleaHandle,
    _runtime: Runtime,
}

impl Rig {
    pub fn new(plan: &Plan<'_>) -> Self {
        let dir = TempDir::new().unwrap();
        std::fs::write(dir.path().join("trades.csv"), trades(plan.ticks)).unwrap();
        std::fs::write(dir.path().join("venue.key"), KEY).unwrap();
        let runtime = Runtime::new().unwrap();
        let parsed = configuration(plan, "http://127.0.0.1:1");
        let parsed = Config::parse(&parsed, &dir.path().join("host.toml")).unwrap();
        let account = FleaAccount {
            key: KeySource::File(dir.path().join("venue.key")),
            wallet: plan.wallet,
            ..FleaAccount::default()
        };
        let config = FleaConfig {
            port: 0,
            accounts: vec![account],
            instruments: parsed.instrument,
            price_cache_ms: 0,
            resting_poll_ms: plan.resting_poll_ms,
            trades_per_minute: 0,
            faults: faults(plan.rules),
            ..FleaConfig::default()
        };
        let venue = runtime.block_on(FleaVenue::start(config, PaperClock::system())).unwrap();
        std::fs::write(dir.path().join("host.toml"), configuration(plan, &venue.base_url())).unwrap();
        Self { dir, venue, _runtime: runtime }
    }

    pub fn path(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }

    pub fn run(&self) -> Output {
        ringfence(&["run", &self.path("host.toml"), "--format", "json", "--log", "warn"])
    }

    /// Sets what goes wrong from now on.
    pub fn rules(&self, rules: &[&str]) {
        self.seeded_rules(7, rules);
    }

    /// Likewise; the seed decides which requests the rules with permille befall.
    pub fn seeded_rules(&self, seed: u64, rules: &[&str]) {
        self.venue.set_faults(FleaFaults { seed, ..faults(rules) }).unwrap();
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

    /// The dead letters that are open.
    pub fn letters(&self) -> Vec<Value> {
        facts(&self.state(&["dlq", "list"]))["letters"].as_array().unwrap().clone()
    }

    pub fn truth(&self) -> FleaTruth {
        self.venue.truth()
    }

    pub fn account(&self) -> FleaAccountTruth {
        self.truth().account("main").unwrap().clone()
    }

    /// What each intent caused: the executions of all requests that carried its key.
    pub fn caused(&self) -> BTreeMap<String, Vec<FleaExecution>> {
        let truth = self.truth();
        let mut caused: BTreeMap<String, Vec<FleaExecution>> = BTreeMap::new();
        for request in &truth.requests {
            let key = request.key.clone().expect("every request of the host carries the key of its intent");
            caused.entry(key).or_default().extend(truth.caused_by(request.number).into_iter().cloned());
        }
        caused
    }

    /// Nothing was executed twice, whatever happened.
    pub fn assert_nothing_twice(&self) {
        for (key, executions) in self.caused() {
            assert!(executions.len() <= 1, "{key} was executed {} times: {executions:?}", executions.len());
        }
    }

    /// The newest checkpoint: what the host believes.
    pub fn books(&self) -> Value {
        let verified = facts(&self.state(&["checkpoint", "verify"]));
        assert_eq!(verified["damaged"], 0, "{verified}");
        let last = verified["checkpoints"].as_array().unwrap().last().unwrap()["file"].clone();
        facts(&ringfence(&["checkpoint", "show", last.as_str().unwrap(), "--format", "json"]))
    }

    /// Position, cash and fees of the host are those of the venue, and no intent is open.
    pub fn assert_books_equal(&self, output: &Output) {
        let (books, account) = (self.books(), self.account());
        let stderr = text(&output.stderr);
        let lots = Decimal::from(books["positions"]["TEST"].as_i64().unwrap());
        assert_eq!(lots * Decimal::new(1, 1), account.position("TEST"), "{books}\n{stderr}");
        let fees: Decimal = account.executions.iter().map(|execution| fee(&account, execution)).sum();
        let spent: Decimal = account.executions.iter().map(signed_notional).sum();
        let cash: Decimal = books["cash"].as_str().unwrap().parse().unwrap();
        let off = (cash - (Decimal::from(100_000) - spent - fees)).abs();
        let closes = account.executions.iter().filter(|execution| execution.reduce_only).count();
        assert!(
            off <= Decimal::new(1, 2) * Decimal::from(closes),
            "off by {off}: {books}\n{account:#?}\n{stderr}"
        );
        assert_eq!(books["open_intents"], 0, "{books}\n{stderr}");
    }

    /// The key is nowhere but in its own file.
    pub fn assert_key_is_secret(&self, outputs: &[&Output]) {
        let holds = |bytes: &[u8]| bytes.windows(KEY.len()).any(|window| window == KEY.as_bytes());
        for output in outputs {
            assert!(!holds(&output.stdout) && !holds(&output.stderr), "{}", text(&output.stderr));
        }
        let mut folders = vec![self.dir.path().to_owned()];
        let mut files = 0;
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else if path.file_name().is_some_and(|name| name != "venue.key") {
                    files += 1;
                    assert!(!holds(&std::fs::read(&path).unwrap()), "{}", path.display());
                }
            }
        }
        assert!(files > 5, "the state was looked through");
    }
}

/// How often a run has told a person this.
pub fn alerts(output: &Output, code: &str) -> u64 {
    facts(output)["alerts"][code].as_u64().unwrap_or(0)
}

fn faults(rules: &[&str]) -> FleaFaults {
    let rules = rules.iter().map(|rule| rule.parse().unwrap()).collect();
    FleaFaults { rules, ..FleaFaults::default() }
}

fn signed_notional(execution: &FleaExecution) -> Decimal {
    let notional = execution.quantity * execution.price;
    if execution.side == "buy" { notional } else { -notional }
}

/// The fee of an open as the venue's history has it, to the cent; one of which it has no row is charged all the
/// same. That of a close is in the history for the dollars of the row it closed, so the books have its part, which
/// is within a cent of what the exchange charged.
fn fee(account: &FleaAccountTruth, execution: &FleaExecution) -> Decimal {
    if execution.reduce_only {
        return execution.fee;
    }
    let row = account.trades.iter().find(|row| Some(&row.order_id) == execution.order_id.as_ref());
    row.map_or_else(|| execution.fee.round_dp(2), |row| row.fee)
}

fn configuration(plan: &Plan<'_>, venue: &str) -> String {
    let replay = format!(
        "kind = \"files\"\npace = \"lockstep\"\npublish_to = {{ venue = \"flea\", base_url = \"{venue}\" }}\n\
         settle_ms_max = 2000\nfile = [{{ path = \"trades.csv\", symbol = \"TEST\" }}]"
    );
    format!(
        r#"
data_dir = "state"
seed = 3

[venue.flea]
kind = "purpleflea"
base_url = "{venue}"
key = {{ file = "venue.key" }}
request_timeout_ms = 400
connect_timeout_ms = 200
read_again_ms = 2
{}
gate.limiter = {{ calls_per_second = 5000, burst_calls = 5000 }}
gate.write = {{ open_ms = 40, open_ms_max = 80, probe_deadline_ms = 500 }}
gate.read = {{ open_ms = 40, open_ms_max = 80, probe_deadline_ms = 500 }}

[[instrument]]
symbol = "TEST"
venue = "flea"
kind = "perpetual"
quote_currency = "USD"
multiplier = "1"
tick_size = "0.01"
lot_size = "0.1"
min_lots = 1
max_lots = 1000

[feed]
{}

[[agent]]
name = "agent"
component = "{}"
venue = "flea"
instruments = ["TEST"]
cash = "100000"
settings = {}
risk = {{ orders_per_second_max = 5000 }}
retry = {{ base_ms = 10, cap_ms = 40, deadline_ms = 4000, attempt_ms_min = 5 }}
degradation = {{ dwell_ms = 20, dwell_ms_max = 40 }}
limits = {{ settle_ms = 50, closing_round_ms = 100, late_fill_poll_ms = 100, drain_ms_max = 6000 }}
{}

{}
"#,
        plan.venue,
        if plan.feed.is_empty() { &replay } else { plan.feed },
        component(plan.component).display(),
        plan.settings,
        plan.agent,
        plan.more,
    )
}
