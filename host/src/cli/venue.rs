//! `ringfence venue`: venues to test against.

use super::output::{CliError, Output};
use crate::config::Config;
use crate::venue::KeySource;
use crate::venue::paper::{PaperAccount, PaperConfig, PaperVenue};
use rust_decimal::Decimal;
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(clap::Subcommand)]
pub(super) enum Command {
    /// Serve a paper venue on loopback until interrupted. It trades the instruments of a configuration; its
    /// prices come from whoever replays data with `publish_to`.
    Paper {
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
        /// Fee of an order that takes, in hundredths of a percent of its value.
        #[arg(long, default_value = "1")]
        taker_fee_bps: Decimal,
    },
}

pub(super) fn run(command: &Command, out: &Output) -> Result<ExitCode, CliError> {
    let Command::Paper { config, key_file, port, cash, taker_fee_bps } = command;
    let account =
        PaperAccount { cash: *cash, key: KeySource::File(key_file.clone()), ..PaperAccount::default() };
    let config = PaperConfig {
        port: *port,
        accounts: vec![account],
        instruments: Config::load(config)?.instrument,
        taker_fee_bps: *taker_fee_bps,
        ..PaperConfig::default()
    };
    let runtime = tokio::runtime::Runtime::new()
        .map_err(|error| CliError::system("runtime", format!("cannot start a network runtime: {error}")))?;
    runtime.block_on(async {
        let venue = PaperVenue::start(config).await?;
        let facts = serde_json::json!({ "addr": venue.addr().to_string() });
        out.facts(&facts, |_| format!("paper venue on http://{}, interrupt to stop", venue.addr()));
        if let Err(error) = tokio::signal::ctrl_c().await {
            return Err(CliError::system("signal", format!("cannot wait for an interrupt: {error}")));
        }
        venue.shutdown().await;
        Ok(ExitCode::SUCCESS)
    })
}
