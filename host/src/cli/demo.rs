//! `ringfence demo`: the main job with no question asked.
//!
//! A paper venue and a chaos proxy on loopback, 20 years of daily bars of the S&P 500, three sandboxed
//! agents of which one is faulty, and failures that a seed decides. At the end the host's books are held
//! against the venue's own ledger.

use super::components_folder;
use super::output::{CliError, Output};
use super::report::{Facts, page};
use super::run::{watch, write_page};
use super::settle::Settlement;
use crate::agent::live::{Host, SystemClock};
use crate::config::Config;
use crate::market::Instrument;
use crate::resilience::DirLock;
use crate::venue::KeySource;
use crate::venue::chaos::{ChaosConfig, ChaosHandle, ChaosProxy, Fault, Plan, Scope};
use crate::venue::paper::{PaperAccount, PaperConfig, PaperHandle, PaperVenue};
use rust_decimal::Decimal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

#[derive(clap::Args)]
pub(super) struct Args {
    /// Where the report, the configuration and the state go. What an earlier demo left there is replaced.
    #[arg(long, default_value = "target/demo", value_name = "DIR")]
    out: PathBuf,
    /// Where the components are.
    #[arg(long, default_value = "target/components", value_name = "DIR")]
    components: PathBuf,
    /// Decides which failures happen.
    #[arg(long, default_value_t = 7)]
    seed: u64,
    /// No failures at all.
    #[arg(long)]
    calm: bool,
}

/// Says that a folder belongs to the demo.
const MARKER: &str = ".ringfence-demo";

const BARS: &[u8] = include_bytes!("../../data/sp500-2000.csv");
/// One account an agent, named like its venue in `demo.toml`; the key of each is its name and the word key.
const ACCOUNTS: [&str; 3] = ["ema", "reversion", "faulty"];

/// What happens when: the plan that holds from a number of events on.
const SCHEDULE: [(u64, Weather); 7] = [
    (0, Weather::Rough),
    (1_400, Weather::Partition),
    (1_550, Weather::Rough),
    (2_800, Weather::Errors),
    (2_900, Weather::Rough),
    (3_900, Weather::LostReplies),
    (4_000, Weather::Rough),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Weather {
    /// One request in eight fails in some way.
    Rough,
    /// Nothing gets through.
    Partition,
    /// Every order is answered with 503.
    Errors,
    /// Orders are executed and every reply is lost: the ambiguous case.
    LostReplies,
}

pub(super) fn run(args: &Args, out: &Output) -> Result<ExitCode, CliError> {
    let clock = SystemClock::start();
    prepare(&args.out)?;
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().map_err(
            |error| CliError::system("runtime", format!("cannot start a network runtime: {error}")),
        )?;
    // The venue trades what the configuration names; the addresses come when the servers are there.
    let instruments =
        Config::parse(include_str!("demo.toml").replace("@SEED@", "0").as_str(), Path::new("demo.toml"))?
            .instrument;
    let (venue, proxy) = runtime.block_on(start_servers(args, instruments.clone()))?;
    out.line("Ringfence demo: 3 sandboxed strategies, a paper venue, a chaos proxy between them.");

    let path = write_config(args, &venue, &proxy)?;
    let host = Host::start(&Config::load(&path)?, &[])?;
    let mut weather = None;
    let report = watch(host, out, |samples| {
        let current = SCHEDULE.iter().rev().find(|(from, _)| samples >= *from).map(|(_, weather)| *weather);
        if !args.calm && current != weather {
            weather = current;
            runtime.block_on(current.unwrap_or(Weather::Rough).apply(&proxy));
        }
    });
    let config = Config::load(&path)?;
    let settlement = Settlement::new(&report, &config, &venue.truth());
    let injected = proxy.stats().injected_total();
    let facts = Facts::new(&report, Some(&settlement), injected, clock.now().mono.0 as f64 / 1e9);
    let report_path = args.out.join("report.html");
    write_page(&report_path, &page("Ringfence demo", &facts, &report, Some(&settlement)))?;
    runtime.block_on(async {
        proxy.shutdown().await;
        venue.shutdown().await;
    });

    let balanced = settlement.balances();
    out.facts(&facts, |out| {
        let sentence = settlement.sentence();
        let verdict = if balanced { out.good(&sentence) } else { out.bad(&sentence) };
        format!(
            "\n{}\n\n{verdict}\n\n  report  {}\n  state   {} (try: ringfence dlq list --data-dir {})",
            facts.table(out),
            report_path.display(),
            args.out.join("state").display(),
            args.out.join("state").display(),
        )
    });
    Ok(if balanced { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

/// A demo starts from nothing: state of an earlier one would be recovered, which is another story.
fn prepare(dir: &Path) -> Result<(), CliError> {
    let failed = |error: std::io::Error| {
        CliError::system(
            "demo_folder",
            format!("cannot prepare {}: {error}; choose another with --out", dir.display()),
        )
    };
    let (state, marker) = (dir.join("state"), dir.join(MARKER));
    if state.exists() {
        // Somebody's real state could be called the same.
        if !marker.is_file() {
            return Err(CliError::input(
                "not_a_demo_folder",
                format!(
                    "{} holds state that no demo has made; choose another folder with --out",
                    dir.display()
                ),
            ));
        }
        let lock = DirLock::acquire(&state)?;
        std::fs::remove_dir_all(&state).map_err(failed)?;
        drop(lock);
    }
    std::fs::create_dir_all(dir).map_err(failed)?;
    std::fs::write(marker, "made by ringfence demo; what is in this folder is replaced by the next one\n")
        .map_err(failed)?;
    std::fs::write(dir.join("sp500-2000.csv"), BARS).map_err(failed)?;
    let write_key = |name: &&str| std::fs::write(dir.join(format!("{name}.key")), format!("{name}-key"));
    ACCOUNTS.iter().try_for_each(write_key).map_err(failed)
}

async fn start_servers(
    args: &Args,
    instruments: Vec<Instrument>,
) -> Result<(PaperHandle, ChaosHandle), CliError> {
    let account = |name: &str| PaperAccount {
        name: name.into(),
        cash: Decimal::from(100_000),
        key: KeySource::File(args.out.join(format!("{name}.key"))),
    };
    let accounts = ACCOUNTS.iter().map(|name| account(name)).collect();
    let config = PaperConfig { port: 0, accounts, instruments, ..PaperConfig::default() };
    let venue = PaperVenue::start(config).await?;
    let config = ChaosConfig {
        seed: args.seed,
        failure_permille: if args.calm { 0 } else { 120 },
        latency_jitter_ms: if args.calm { 0 } else { 2 },
        faults: vec![
            Fault::ResetBefore,
            Fault::DropReply,
            Fault::ErrorBefore(503),
            Fault::ErrorAfter(502),
            Fault::TooManyRequests { retry_after: "0".into() },
            Fault::Duplicate,
            Fault::Truncate,
            Fault::Corrupt,
        ],
        ..ChaosConfig::default()
    };
    let proxy = ChaosProxy::start(venue.addr(), config).await?;
    Ok((venue, proxy))
}

impl Weather {
    async fn apply(self, proxy: &ChaosHandle) {
        let plan = match self {
            Self::Rough => Plan::Configured,
            Self::Partition => Plan::Refuse,
            Self::Errors => Plan::Always(Fault::ErrorBefore(503), Scope::Writes),
            Self::LostReplies => Plan::Always(Fault::DropReply, Scope::Writes),
        };
        // A proxy that is gone injects nothing any more; the run itself shows that.
        let _ = proxy.set_plan(plan).await;
    }
}

/// The configuration is written to a file and read back like anybody's, so that it can be looked at and changed.
fn write_config(args: &Args, venue: &PaperHandle, proxy: &ChaosHandle) -> Result<PathBuf, CliError> {
    let components = components_folder(&args.components)?;
    let text = include_str!("demo.toml")
        .replace("@SEED@", &args.seed.to_string())
        .replace("@PROXY@", &format!("http://{}", proxy.addr()))
        .replace("@VENUE@", &format!("http://{}", venue.addr()))
        .replace("@COMPONENTS@", &components.display().to_string());
    let path = args.out.join("demo.toml");
    std::fs::write(&path, text).map_err(|error| {
        CliError::system("demo_config", format!("cannot write {}: {error}", path.display()))
    })?;
    Ok(path)
}
