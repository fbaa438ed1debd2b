//! `ringfence venue`: venues to test against.

use super::output::{CliError, Output};
use crate::config::Config;
use crate::market::Instrument;
use crate::venue::KeySource;
use crate::venue::paper::purpleflea::{
    FaultRule, FleaAccount, FleaConfig, FleaFaults, FleaVenue, PaperClock, Tier,
};
use crate::venue::paper::{PaperAccount, PaperConfig, PaperKeys, PaperVenue};
use rust_decimal::Decimal;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(clap::Subcommand)]
pub(super) enum Command {
    /// Serve a paper venue on loopback until interrupted. It trades the instruments of a configuration; its
    /// prices come from whoever replays data with `publish_to`.
    Paper(Box<Paper>),
}

#[derive(clap::Args)]
pub(super) struct Paper {
    /// Configuration that names the instruments.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// File that holds the key that clients must present.
    #[arg(long, value_name = "FILE")]
    key_file: PathBuf,
    /// Port on 127.0.0.1; 0 takes any.
    #[arg(long, default_value_t = 7070)]
    port: u16,
    /// Cash of the account.
    #[arg(long, default_value = "100000")]
    cash: Decimal,
    /// Which API it speaks.
    #[arg(long, value_enum, default_value_t = Dialect::Http)]
    dialect: Dialect,
    /// Fee of an order that takes, in hundredths of a percent of its value; 1 unless given. Dialect http.
    #[arg(long, value_name = "BPS")]
    taker_fee_bps: Option<Decimal>,
    /// What becomes of a repeated idempotency key, honoured unless given; the venue's `capability` in the
    /// configuration of a host has to say the same. Dialect http.
    #[arg(long, value_enum)]
    keys: Option<PaperKeys>,
    #[command(flatten)]
    flea: Flea,
}

/// APIs that a paper venue can speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Dialect {
    /// The simple contract of venues of kind `http`: every order under an idempotency key.
    Http,
    /// The trading API of Purple Flea, with what makes it dangerous: no keys, 400 after a fill, old prices.
    #[value(name = "purpleflea")]
    PurpleFlea,
}

#[derive(clap::Args)]
#[command(next_help_heading = "Dialect purpleflea")]
struct Flea {
    /// What goes wrong, as ROUTE:FAULT[=VALUE]:next=N or …:permille=N, such as open:drop-after:next=1 or
    /// any:html-after=502:permille=20. Can be given several times; the first that applies decides.
    #[arg(long, value_name = "RULE")]
    fault: Vec<FaultRule>,
    /// Decides which requests the rules with permille befall; 1 unless given.
    #[arg(long, value_name = "NUMBER")]
    fault_seed: Option<u64>,
    /// Answer a repeated Idempotency-Key with the stored reply, which the real server does not.
    #[arg(long)]
    honour_keys: bool,
    /// Say in a 429 when to come back, which the real server does not.
    #[arg(long)]
    send_retry_after: bool,
    /// Fee tier of the account; free unless given.
    #[arg(long, value_enum)]
    tier: Option<TierArg>,
    /// How long prices are believed, in milliseconds; 30000 unless given. Less for data replayed fast.
    #[arg(long, value_name = "MS")]
    price_cache_ms: Option<u64>,
    /// How often limit orders are looked at, in milliseconds; 30000 unless given.
    #[arg(long, value_name = "MS")]
    resting_poll_ms: Option<u64>,
    /// Opens, and closes, from one address a minute, 0 for no limit; 30 unless given.
    #[arg(long, value_name = "NUMBER")]
    trades_per_minute: Option<u32>,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum TierArg {
    Free,
    Pro,
    Whale,
}

impl From<TierArg> for Tier {
    fn from(tier: TierArg) -> Self {
        match tier {
            TierArg::Free => Self::Free,
            TierArg::Pro => Self::Pro,
            TierArg::Whale => Self::Whale,
        }
    }
}

impl Flea {
    /// The first flag that was given, if any was.
    fn given(&self) -> Option<&'static str> {
        let flags = [
            ("--fault", !self.fault.is_empty()),
            ("--fault-seed", self.fault_seed.is_some()),
            ("--honour-keys", self.honour_keys),
            ("--send-retry-after", self.send_retry_after),
            ("--tier", self.tier.is_some()),
            ("--price-cache-ms", self.price_cache_ms.is_some()),
            ("--resting-poll-ms", self.resting_poll_ms.is_some()),
            ("--trades-per-minute", self.trades_per_minute.is_some()),
        ];
        flags.into_iter().find(|(_, given)| *given).map(|(flag, _)| flag)
    }
}

impl Paper {
    fn key(&self) -> KeySource {
        KeySource::File(self.key_file.clone())
    }

    fn http(&self, instruments: Vec<Instrument>) -> Result<PaperConfig, CliError> {
        if let Some(flag) = self.flea.given() {
            return Err(wrong_dialect(flag, "purpleflea"));
        }
        let defaults = PaperConfig::default();
        let account = PaperAccount { cash: self.cash, key: self.key(), ..PaperAccount::default() };
        Ok(PaperConfig {
            port: self.port,
            accounts: vec![account],
            instruments,
            taker_fee_bps: self.taker_fee_bps.unwrap_or(defaults.taker_fee_bps),
            keys: self.keys.unwrap_or(defaults.keys),
            ..defaults
        })
    }

    fn purpleflea(&self, instruments: Vec<Instrument>) -> Result<FleaConfig, CliError> {
        if self.taker_fee_bps.is_some() {
            return Err(wrong_dialect("--taker-fee-bps", "http"));
        }
        if self.keys.is_some() {
            return Err(wrong_dialect("--keys", "http"));
        }
        let (flea, defaults) = (&self.flea, FleaConfig::default());
        let account = FleaAccount {
            cash: self.cash,
            key: self.key(),
            tier: flea.tier.map(Tier::from).unwrap_or_default(),
            ..FleaAccount::default()
        };
        Ok(FleaConfig {
            port: self.port,
            accounts: vec![account],
            instruments,
            price_cache_ms: flea.price_cache_ms.unwrap_or(defaults.price_cache_ms),
            resting_poll_ms: flea.resting_poll_ms.unwrap_or(defaults.resting_poll_ms),
            trades_per_minute: flea.trades_per_minute.unwrap_or(defaults.trades_per_minute),
            faults: FleaFaults {
                seed: flea.fault_seed.unwrap_or(defaults.faults.seed),
                rules: flea.fault.clone(),
                honour_keys: flea.honour_keys,
                send_retry_after: flea.send_retry_after,
            },
            ..defaults
        })
    }
}

fn wrong_dialect(flag: &str, dialect: &str) -> CliError {
    let message = format!("{flag} is for --dialect {dialect}; give that dialect, or leave {flag} out");
    CliError::input("wrong_dialect", message)
}

pub(super) fn run(command: &Command, out: &Output) -> Result<ExitCode, CliError> {
    let Command::Paper(paper) = command;
    let instruments = Config::load(&paper.config)?.instrument;
    let runtime = tokio::runtime::Runtime::new()
        .map_err(|error| CliError::system("runtime", format!("cannot start a network runtime: {error}")))?;
    runtime.block_on(async {
        match paper.dialect {
            Dialect::Http => {
                let venue = PaperVenue::start(paper.http(instruments)?).await?;
                started(out, venue.addr(), "http", "paper venue");
                interrupted().await?;
                venue.shutdown().await;
            }
            Dialect::PurpleFlea => {
                let config = paper.purpleflea(instruments)?;
                let what = match config.faults.rules.len() {
                    0 => "paper venue in the dialect of Purple Flea".to_owned(),
                    1 => "paper venue in the dialect of Purple Flea with a fault".to_owned(),
                    rules => format!("paper venue in the dialect of Purple Flea with {rules} faults"),
                };
                let venue = FleaVenue::start(config, PaperClock::system()).await?;
                started(out, venue.addr(), "purpleflea", &what);
                interrupted().await?;
                venue.shutdown().await;
            }
        }
        Ok(ExitCode::SUCCESS)
    })
}

fn started(out: &Output, addr: SocketAddr, dialect: &str, what: &str) {
    let facts = serde_json::json!({ "addr": addr.to_string(), "dialect": dialect });
    out.facts(&facts, |_| format!("{what} on http://{addr}, interrupt to stop"));
}

async fn interrupted() -> Result<(), CliError> {
    let signal = tokio::signal::ctrl_c().await;
    signal.map_err(|error| CliError::system("signal", format!("cannot wait for an interrupt: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser as _;

    #[derive(clap::Parser)]
    struct Cli {
        #[command(subcommand)]
        command: Command,
    }

    fn parse(flags: &[&str]) -> Result<Box<Paper>, clap::Error> {
        let fixed = ["venue", "paper", "--config", "host.toml", "--key-file", "venue.key"];
        let cli = Cli::try_parse_from(fixed.iter().chain(flags))?;
        let Command::Paper(paper) = cli.command;
        Ok(paper)
    }

    fn words<T>(result: Result<T, CliError>) -> String {
        result.err().map(|error| error.to_string()).unwrap_or_default()
    }

    #[test]
    fn the_dialect_is_the_simple_contract_unless_it_is_asked_for() {
        let paper = parse(&[]).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(paper.dialect, Dialect::Http);
        let config = paper.http(Vec::new()).unwrap();
        assert_eq!((config.port, config.taker_fee_bps), (7070, Decimal::ONE));
    }

    #[test]
    fn every_switch_reaches_the_venue() {
        let flags = [
            ["--dialect", "purpleflea"].as_slice(),
            &["--fault", "open:drop-after:next=1", "--fault", "any:html-after=502:permille=20"],
            &["--fault-seed", "7", "--honour-keys", "--send-retry-after", "--tier", "pro", "--cash", "5"],
            &["--price-cache-ms", "0", "--resting-poll-ms", "10", "--trades-per-minute", "0"],
        ]
        .concat();
        let paper = parse(&flags).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(paper.dialect, Dialect::PurpleFlea);
        let config = paper.purpleflea(Vec::new()).unwrap();
        let rules: Vec<String> = config.faults.rules.iter().map(ToString::to_string).collect();
        assert_eq!(rules, ["open:drop-after:next=1", "any:html-after=502:permille=20"]);
        assert!(config.faults.honour_keys && config.faults.send_retry_after);
        assert_eq!((config.faults.seed, config.accounts[0].tier), (7, Tier::Pro));
        assert_eq!((config.price_cache_ms, config.resting_poll_ms, config.trades_per_minute), (0, 10, 0));
        assert_eq!(config.accounts[0].cash, Decimal::from(5));
    }

    #[test]
    fn flags_of_the_other_dialect_and_bad_rules_are_refused_in_words() {
        let error = parse(&["--honour-keys"]).unwrap_or_else(|error| panic!("{error}")).http(Vec::new());
        let error = words(error);
        assert!(error.contains("--honour-keys is for --dialect purpleflea"), "{error}");
        let paper = parse(&["--taker-fee-bps", "2"]).unwrap_or_else(|error| panic!("{error}"));
        let error = words(paper.purpleflea(Vec::new()));
        assert!(error.contains("--taker-fee-bps is for --dialect http"), "{error}");
        let Err(error) = parse(&["--fault", "oben:drop-after:next=1"]) else { panic!("expected a refusal") };
        assert!(error.to_string().contains("nearest is open"), "{error}");
    }
}
