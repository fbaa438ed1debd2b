//! How long a running agent stands still while another component takes over.
//!
//! `cargo bench -p ringfence --bench swap`. The real program with one agent, `ema-cross` in the sandbox, a tick every
//! millisecond through a pipe, orders to a paper venue over HTTP, the journal synced on the disk that the build is on.
//! Two components that differ in their bytes take over from each other again and again, with the state carried over.

#![expect(clippy::unwrap_used, reason = "a benchmark that cannot run has nothing to say")]
#![expect(clippy::print_stdout, reason = "it prints a table")]
#![expect(clippy::panic, reason = "a benchmark that cannot run has nothing to say")]
#![expect(clippy::disallowed_methods, reason = "ticks come at a rate")]

use ringfence::config::Config;
use ringfence::venue::KeySource;
use ringfence::venue::paper::{PaperAccount, PaperConfig, PaperVenue};
use serde_json::{Value, json};
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use tempfile::TempDir;

const SWAPS: usize = 200;
const TICK: Duration = Duration::from_millis(1);
/// A section of no meaning, which makes another component of the same code.
const SECTION: [u8; 6] = [0, 4, 3, b'b', b'i', b's'];

fn target() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../target")
}

fn configuration(component: &Path, venue: &str) -> String {
    format!(
        r#"
data_dir = "state"

[admin]
listen = "127.0.0.1:0"
token = {{ file = "admin.token" }}

[venue.main]
kind = "http"
base_url = "{venue}"
key = {{ file = "venue.key" }}
gate.limiter = {{ calls_per_second = 1000000, burst_calls = 1000000 }}

[[instrument]]
symbol = "TEST"
venue = "main"
kind = "spot"
quote_currency = "USD"
multiplier = "1"
tick_size = "0.01"
lot_size = "0.5"
min_lots = 1
max_lots = 1000

[feed]
kind = "files"
pace = "lockstep"
publish_to = {{ venue = "main" }}
file = [{{ path = "trades.csv", symbol = "TEST" }}]

[[agent]]
name = "agent"
component = "{}"
venue = "main"
instruments = ["TEST"]
cash = "1000000"
settings = {{ fast = 20, slow = 50, quantity = 1 }}
swap = {{ probation_ticks = 0 }}
"#,
        component.display()
    )
}

/// One call of the admin API.
fn call(dir: &Path, method: &str, path: &str, body: &str) -> Option<Value> {
    let address = std::fs::read_to_string(dir.join("state/admin.address")).ok()?;
    let token = std::fs::read_to_string(dir.join("admin.token")).unwrap();
    let mut stream = TcpStream::connect(address.trim()).ok()?;
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nAuthorization: Bearer {}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        address.trim(),
        token.trim(),
        body.len()
    );
    stream.write_all(request.as_bytes()).ok()?;
    let mut reply = String::new();
    stream.read_to_string(&mut reply).ok()?;
    let (head, body) = reply.split_once("\r\n\r\n")?;
    (head.split(' ').nth(1)?.starts_with('2')).then(|| serde_json::from_str(body).unwrap())
}

/// Asks until there is an answer. One that never comes is a failure of the benchmark.
fn until<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(60) {
        if let Some(found) = ask() {
            return found;
        }
        thread::sleep(TICK);
    }
    panic!("never: {what}");
}

/// A row a tick until told to end. The number of rows.
fn flow(mut pipe: File, ends: &AtomicBool) -> u64 {
    let (mut row, began) = (0_u32, Instant::now());
    while !ends.load(Ordering::Relaxed) {
        let wave = i64::from(row % 200) - 100;
        let at = 1_700_000_000_000 + u64::from(row);
        writeln!(pipe, "{at},{}.00,1", 1_000 + wave.abs()).unwrap();
        row += 1;
        thread::sleep((TICK * row).saturating_sub(began.elapsed()));
    }
    row.into()
}

/// Swaps back and forth. The pauses in microseconds, sorted.
fn swap(dir: &Path, components: &[PathBuf; 2]) -> Vec<u64> {
    let agent = || call(dir, "GET", "/v1/agents/agent", "");
    until("the agent trades", || agent().filter(|agent| agent["stats"]["ticks"].as_u64() > Some(100)));
    let mut pauses = Vec::with_capacity(SWAPS);
    for number in 1..=SWAPS {
        let order = json!({ "component": components[number % 2] }).to_string();
        call(dir, "POST", "/v1/agents/agent/swap", &order).unwrap();
        let done = until("the swap is done", || {
            let swap = agent()?["swap"].clone();
            assert_ne!(swap["stage"], "refused", "{swap}");
            (swap["number"] == number && swap["stage"] == "committed").then_some(swap)
        });
        pauses.push(done["paused_us"].as_u64().unwrap());
    }
    pauses.sort_unstable();
    pauses
}

fn main() {
    // The harness of the test command calls it with other arguments than that of the benchmarks.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let folder = TempDir::new_in(target()).unwrap();
    let dir = folder.path();
    let one = target().join("components/ema-cross.wasm");
    assert!(one.is_file(), "{} is missing: run `make components`", one.display());
    let other = dir.join("other.wasm");
    std::fs::write(&other, [std::fs::read(&one).unwrap(), SECTION.to_vec()].concat()).unwrap();
    std::fs::write(dir.join("venue.key"), "bench-key").unwrap();

    let runtime = tokio::runtime::Runtime::new().unwrap();
    let at = dir.join("host.toml");
    let parsed = Config::parse(&configuration(&one, "http://127.0.0.1:1"), &at).unwrap();
    let key = KeySource::File(dir.join("venue.key"));
    let paper = PaperConfig {
        port: 0,
        accounts: vec![PaperAccount { name: "main".into(), key, ..PaperAccount::default() }],
        instruments: parsed.instrument,
        ..PaperConfig::default()
    };
    let venue = runtime.block_on(PaperVenue::start(paper)).unwrap();
    std::fs::write(&at, configuration(&one, &venue.base_url())).unwrap();
    assert!(Command::new("mkfifo").arg(dir.join("trades.csv")).status().unwrap().success());
    let mut pipe = File::options().read(true).write(true).open(dir.join("trades.csv")).unwrap();
    pipe.write_all(b"timestamp,price,quantity\n").unwrap();

    let mut host = Command::new(env!("CARGO_BIN_EXE_ringfence"))
        .args(["run", &at.display().to_string(), "--format", "json"])
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let ends = AtomicBool::new(false);
    let (rows, pauses, ticks) = thread::scope(|scope| {
        let flows = scope.spawn(|| flow(pipe, &ends));
        let pauses = swap(dir, &[one.clone(), other.clone()]);
        let ticks = call(dir, "GET", "/v1/agents/agent", "").unwrap()["stats"]["ticks"].clone();
        ends.store(true, Ordering::Relaxed);
        (flows.join().unwrap(), pauses, ticks)
    });
    assert!(host.wait().unwrap().success());
    runtime.block_on(venue.shutdown());
    let at = |percent: usize| pauses[(pauses.len() * percent / 100).min(pauses.len() - 1)];
    println!("{} swaps among {ticks} of {rows} ticks, one a millisecond", pauses.len());
    println!("| pause | µs |\n|---|---|");
    println!("| median | {} |\n| p99 | {} |\n| longest | {} |", at(50), at(99), at(100));
}
