//! The order path on a real disk: the journal against the least that durability costs, intents through the
//! live shell, and recovery.
//!
//! `cargo bench -p ringfence --bench order_path`; everything is written below `target/`, on the disk that the
//! build is on, because a temporary folder may be memory and a sync there costs nothing.

#![expect(clippy::unwrap_used, reason = "a benchmark that cannot run has nothing to say")]
#![expect(clippy::print_stdout, reason = "latencies are printed beside the harness's own table")]

use divan::{Bencher, counter::ItemsCount};
use ringfence::agent::core::{
    Core, CoreConfig, CoreLimits, Effect, Event, FailAction, Parts, Supervision, TimeSource,
};
use ringfence::agent::live::Host;
use ringfence::config::Config;
use ringfence::market::{CheckConfig, Instruments, Lots, Money, MonoNanos, Now, PriceTicks, Tick, UnixNanos};
use ringfence::orders::journal::{FileJournal, Journal, JournalConfig, Visit, read};
use ringfence::orders::{Digest, Entry, IntentKey, Record, RiskLimits};
use ringfence::plugin::{Compiler, Plugin, Sandbox, SandboxConfig, SandboxLimits, Setting, SettingValue};
use ringfence::resilience::{
    DegradationConfig, Gate, GateConfig, LimiterConfig, RealDisk, RetryConfig, SharedGate,
};
use ringfence::venue::http::{HttpDialect, HttpVenueConfig};
use ringfence::venue::paper::{PaperAccount, PaperConfig, PaperVenue};
use ringfence::venue::{KeySource, OrderChange, OrderUpdate, Outcome, Reply};
use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;
use std::fs::File;
use std::io::Write as _;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// What a decision with one intent takes.
const RECORD: [u8; 400] = [7; 400];

fn main() {
    divan::main();
}

fn target() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../target")
}

/// A folder on the disk that the build is on.
fn folder() -> TempDir {
    TempDir::new_in(target()).unwrap()
}

/// Rounds of floor and journal one after the other. What else the machine does then meets both alike.
const ROUNDS: usize = 5;
const THREADS: [u32; 3] = [1, 8, 64];

/// Records a second of one writer that appends to a growing file and syncs it each time.
fn floor() -> f64 {
    const RECORDS: u32 = 2_000;
    let dir = folder();
    let mut file = File::create(dir.path().join("plain")).unwrap();
    let began = now();
    for _ in 0..RECORDS {
        file.write_all(&RECORD).unwrap();
        file.sync_data().unwrap();
    }
    f64::from(RECORDS) / began.elapsed().as_secs_f64()
}

/// Records a second of threads that each wait until their record is durable before they append the next.
fn journal(threads: u32) -> f64 {
    let dir = folder();
    let config = JournalConfig::default();
    let (journal, _) = FileJournal::open(dir.path(), config, Arc::new(RealDisk), &mut |_, _| Ok(())).unwrap();
    let records = if threads == 1 { 2_000 } else { 64_000 / threads };
    let began = now();
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let (answer, answers) = mpsc::channel();
                for _ in 0..records {
                    let answer = answer.clone();
                    let done = Box::new(move |outcome| answer.send(outcome).unwrap_or_default());
                    journal.append(RECORD.to_vec(), done).unwrap();
                    answers.recv().unwrap().unwrap();
                }
            });
        }
    });
    f64::from(threads * records) / began.elapsed().as_secs_f64()
}

/// `median (least to most)`.
fn spread(mut values: Vec<f64>, digits: usize) -> String {
    values.sort_by(f64::total_cmp);
    let [least, .., most] = values[..] else { return String::new() };
    format!("{:.digits$} ({least:.digits$} to {most:.digits$})", values[values.len() / 2])
}

/// The journal against the floor, in interleaved rounds; each ratio is that of its round.
#[divan::bench(sample_count = 1, sample_size = 1)]
fn journal_against_the_floor(bencher: Bencher<'_, '_>) {
    bencher.bench_local(|| {
        let rounds: Vec<(f64, [f64; 3])> = (0..ROUNDS).map(|_| (floor(), THREADS.map(journal))).collect();
        let floors = rounds.iter().map(|(floor, _)| *floor).collect();
        println!("\n  {ROUNDS} rounds: records a second, and against the floor of the same round");
        println!("  floor       {}", spread(floors, 0));
        for (column, threads) in THREADS.iter().enumerate() {
            let rates = rounds.iter().map(|(_, rates)| rates[column]).collect();
            let ratios = rounds.iter().map(|(floor, rates)| rates[column] / floor).collect();
            println!("  {threads:>2} threads  {}, {}", spread(rates, 0), spread(ratios, 2));
        }
    });
}

/// The longest waits of one writer over many rolls to the next segment.
#[divan::bench(sample_count = 3, sample_size = 1)]
fn journal_around_rolls(bencher: Bencher<'_, '_>) {
    const RECORDS: u32 = 1_000;
    const BYTES: usize = 64 * 1024;
    bencher.counter(ItemsCount::new(RECORDS)).bench_local(|| {
        let dir = folder();
        let opened =
            FileJournal::open(dir.path(), JournalConfig::default(), Arc::new(RealDisk), &mut |_, _| Ok(()));
        let (journal, _) = opened.unwrap();
        let mut waits: Vec<Duration> = (0..RECORDS)
            .map(|_| {
                let (answer, answers) = mpsc::channel();
                let done = Box::new(move |outcome| answer.send(outcome).unwrap_or_default());
                let record = vec![7; BYTES];
                let began = now();
                journal.append(record, done).unwrap();
                answers.recv().unwrap().unwrap();
                began.elapsed()
            })
            .collect();
        waits.sort();
        println!(
            "  64 KiB commits: median {:?}, worst three {:?}",
            waits[waits.len() / 2],
            &waits[waits.len() - 3..]
        );
    });
}

#[expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
fn now() -> Instant {
    Instant::now()
}

const TICKS: usize = 200;

/// Prices that rise and fall, so that averages over two and five of them cross every few ticks.
fn trades() -> String {
    let mut text = String::from("timestamp,price,quantity\n");
    for row in 0..TICKS {
        let wave = [0, 3, 7, 9, 7, 2, -3, -8, -9, -4][row % 10];
        writeln!(text, "{},{}.00,1", 1_700_000_000_000_u64 + row as u64 * 1_000, 1_000 + wave).unwrap();
    }
    text
}

fn configuration(agents: usize, venue: &str) -> String {
    let component = target().join("components/ema-cross.wasm");
    assert!(component.is_file(), "{} is missing: run `make components`", component.display());
    let mut text = format!(
        r#"
data_dir = "state"

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
"#
    );
    for agent in 0..agents {
        write!(
            text,
            r#"
[[agent]]
name = "agent-{agent}"
component = "{}"
venue = "main"
instruments = ["TEST"]
cash = "1000000"
settings = {{ fast = 2, slow = 5, quantity = 1 }}
risk = {{ orders_per_second_max = 100000 }}
"#,
            component.display()
        )
        .unwrap();
    }
    text
}

/// From the record of an intent to the record of the venue's answer, as the journal has them.
fn latencies(journal: &Path) -> Vec<Duration> {
    let mut decided: BTreeMap<IntentKey, UnixNanos> = BTreeMap::new();
    let mut latencies = Vec::new();
    read(journal, &RealDisk, &mut |seq, payload| {
        let entry = Entry::decode(seq, payload).unwrap();
        match entry.record {
            Record::Decided(decision) => {
                decided.extend(decision.intents.iter().map(|intent| (intent.key, entry.at)));
            }
            Record::Attempted { key, .. } => {
                latencies.extend(decided.remove(&key).map(|at| entry.at.since(at)));
            }
            _ => {}
        }
        Ok(())
    })
    .unwrap();
    latencies.sort();
    latencies
}

/// Every agent in a thread of its own with `ema-cross` in the sandbox, one loopback paper venue over HTTP, one
/// journal. The data waits until every agent's order is answered, so the agents' orders come in bursts.
#[divan::bench(args = [1, 8, 64], sample_count = 3, sample_size = 1)]
fn intents(bencher: Bencher<'_, '_>, agents: usize) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    bencher.bench_local(|| {
        let dir = folder();
        std::fs::write(dir.path().join("trades.csv"), trades()).unwrap();
        std::fs::write(dir.path().join("venue.key"), "bench-key").unwrap();
        let at = dir.path().join("host.toml");
        let config = Config::parse(&configuration(agents, "http://127.0.0.1:1"), &at).unwrap();
        let key = KeySource::File(dir.path().join("venue.key"));
        let paper = PaperConfig {
            port: 0,
            accounts: vec![PaperAccount { name: "main".into(), key, ..PaperAccount::default() }],
            instruments: config.instrument,
            ..PaperConfig::default()
        };
        let venue = runtime.block_on(PaperVenue::start(paper)).unwrap();
        let config = Config::parse(&configuration(agents, &venue.base_url()), &at).unwrap();
        let host = Host::start(&config, &[]).unwrap();
        let began = now();
        let report = host.join();
        let took = began.elapsed();
        runtime.block_on(venue.shutdown());
        assert!(report.broken.is_empty(), "{report:?}");
        let latencies = latencies(&dir.path().join("state/journal"));
        let (count, last) = (latencies.len(), latencies.len() - 1);
        println!(
            "  {agents} agents: {count} intents, {:.0} a second, from intent to reply p50 {:?}, p99 {:?}",
            count as f64 / took.as_secs_f64(),
            latencies[count / 2],
            latencies[(count * 99 / 100).min(last)],
        );
        count
    });
}

const RECOVERED: u64 = 100_000;

fn agent_config() -> CoreConfig {
    let setting = |key: &str, value| Setting { key: key.into(), value: SettingValue::Integer(value) };
    let many = NonZeroU32::new(1_000_000).unwrap();
    let config = Config::parse(&configuration(1, "http://127.0.0.1:1"), Path::new("host.toml")).unwrap();
    CoreConfig {
        name: "bench".parse().unwrap(),
        incarnation: 1,
        plugin: Digest::of(b"bench"),
        configured: None,
        instruments: Arc::new(Instruments::new(config.instrument).unwrap()),
        settings: vec![setting("fast", 2), setting("slow", 5), setting("quantity", 1)],
        cash: Money::new(1_000_000.into()),
        seed: 1,
        run_id: 1,
        live: true,
        time: TimeSource::Data,
        record_inputs: true,
        risk: RiskLimits { orders_per_second_max: many, ..RiskLimits::default() },
        retry: RetryConfig::default(),
        degradation: DegradationConfig::default(),
        limits: CoreLimits::default(),
        on_halt: FailAction::Hold,
        supervision: Supervision::default(),
        on_stop: FailAction::Hold,
    }
}

fn parts(plugin: &Plugin) -> Parts {
    let many = NonZeroU32::new(1_000_000).unwrap();
    let limiter = LimiterConfig { calls_per_second: many, burst_calls: many };
    Parts {
        strategy: Box::new(plugin.instantiate().unwrap()),
        dialect: Arc::new(HttpDialect::new(HttpVenueConfig::default().profile())),
        gate: Box::new(SharedGate::new(Gate::new(GateConfig { limiter, ..GateConfig::default() }, 1))),
        check: CheckConfig::default().recorded(),
    }
}

/// What a real core journals while every order is filled at once: three records an order.
fn write_journal(journal: &FileJournal, plugin: &Plugin) {
    let mut core = Core::recover(agent_config(), parts(plugin), None, &[], Now::default()).unwrap();
    let (mut effects, mut written, mut sequence, mut row) = (Vec::new(), 0, 0, 0_u64);
    core.start(Now::default(), &mut effects);
    while written < RECOVERED {
        let wave = [0, 3, 7, 9, 7, 2, -3, -8, -9, -4][usize::try_from(row % 10).unwrap()];
        let last_price = PriceTicks(100_000 + 100 * wave);
        let at = UnixNanos(1_700_000_000_000_000_000 + row * 1_000_000_000);
        let tick = Tick { event_time: at, seq: row, last_price, ..Tick::default() };
        let now = Now { mono: MonoNanos(row * 1_000_000_000), wall: at };
        core.step(now, Event::Sample(Ok(tick)), &mut effects);
        let mut queue: VecDeque<Effect> = effects.drain(..).collect();
        while let Some(effect) = queue.pop_front() {
            let event = match effect {
                Effect::Journal(entry) if written < RECOVERED => {
                    written += 1;
                    journal.append(entry.encode().unwrap(), Box::new(|_| ())).unwrap();
                    Event::Journaled(entry.number)
                }
                Effect::Send { request, attempt } => {
                    sequence += 1;
                    let change = OrderChange::Filled {
                        quantity: Lots(1),
                        price: last_price,
                        leaves: Lots::ZERO,
                        fee: Money::ZERO,
                        maker: false,
                    };
                    let updates = vec![OrderUpdate { sequence, key: request.key, change, venue_id: None }];
                    let reply = Reply {
                        outcome: Outcome::Done { updates },
                        latency: Duration::ZERO,
                        retry_after: None,
                    };
                    Event::Replied { key: request.key, attempt, reply }
                }
                // A checkpoint that is never answered stays the only one: encoding thousands is not what is measured.
                _ => continue,
            };
            core.step(now, event, &mut effects);
            queue.extend(effects.drain(..));
        }
        row += 1;
    }
}

/// Opening a journal, which verifies it, and folding it into a core.
#[divan::bench(sample_count = 5, sample_size = 1)]
fn recovery(bencher: Bencher<'_, '_>) {
    let dir = folder();
    let journal_dir = dir.path().join("journal");
    let open = |visit: Visit<'_>| {
        FileJournal::open(&journal_dir, JournalConfig::default(), Arc::new(RealDisk), visit).unwrap().0
    };
    let sandbox =
        Sandbox::new(SandboxConfig { compiler: Compiler::InProcess, ..SandboxConfig::default() }).unwrap();
    let file = target().join("components/ema-cross.wasm");
    let plugin = sandbox.load_file(&file, None, &SandboxLimits::default()).unwrap();
    let journal = open(&mut |_, _| Ok(()));
    write_journal(&journal, &plugin);
    journal.close().unwrap();
    drop(journal);
    bencher.counter(ItemsCount::new(RECOVERED)).bench_local(|| {
        let mut entries = Vec::new();
        let journal = open(&mut |seq, payload| {
            entries.push(Entry::decode(seq, payload).unwrap());
            Ok(())
        });
        let core = Core::recover(agent_config(), parts(&plugin), None, &entries, Now::default()).unwrap();
        assert_eq!(core.state().number, RECOVERED);
        drop(journal);
    });
}
