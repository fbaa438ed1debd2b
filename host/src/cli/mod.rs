//! The command line: one file per command, and what they share.

mod author;
#[cfg(target_os = "linux")]
mod chaos;
mod checkpoint;
mod compare;
mod compile;
mod demo;
mod dlq;
mod grid;
mod host;
mod inspect;
mod journal;
mod lab;
mod lab_page;
mod output;
mod replay;
mod report;
mod run;
mod settle;
mod status;
mod swap;
mod sweep;
mod test;
mod venue;
mod vet;

use clap::{Parser, Subcommand};
use output::{CliError, Format, Output};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Runs trading strategies that somebody else wrote: sandboxed, with an order path that loses and repeats nothing.
#[derive(Parser)]
#[command(name = "ringfence", version, max_term_width = 100)]
struct Cli {
    /// How facts are printed; with json the last line of the output is one JSON object.
    #[arg(long, value_enum, default_value_t = Format::Text, global = true)]
    format: Format,
    /// What is logged to standard error, such as `warn` or `ringfence=debug,strategy=info`. Without it: warnings
    /// of the host, what operators change, and errors of strategies; for the demo, which has plenty of both, nothing.
    #[arg(long, global = true, value_name = "FILTER")]
    log: Option<String>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run three agents, one of them faulty, through injected failures on 20 years of daily bars, and check the books.
    Demo(demo::Args),
    /// Run the agents of a configuration.
    Run(run::Args),
    /// Run a component over recorded data, with a simulated exchange, the risk gate and the modes of live trading.
    Test(test::Args),
    /// Try a component on what markets and hosts do to it: gaps, crossed quotes, refusals, restarts, settings at bounds.
    Vet(vet::Args),
    /// Run two components over the same data and show where they part, and what came of each.
    Compare(compare::Args),
    /// Make the calls of a recording again, and hold the component, or another one, to what it did.
    Replay(replay::Args),
    /// Make a folder with a strategy, its tests and its CI.
    New(author::NewArgs),
    /// Build the component of a strategy's folder; the compiler is found, or fetched the first time.
    Build(author::BuildArgs),
    /// Show what a component is, what it needs, and whether this host takes it.
    Inspect(inspect::Args),
    /// Let another component take over in a running agent, with its state, at a tick boundary.
    Swap(swap::SwapArgs),
    /// Bring the component back that ran before the last swap.
    Rollback(swap::RollbackArgs),
    /// End a latched shutdown or a quarantine of a running agent.
    Release(swap::ReleaseArgs),
    /// Show what the agents of a running host are and do.
    Status(status::Args),
    /// Look at dead letters, send them again, or close them, whether the host runs or not.
    #[command(subcommand)]
    Dlq(dlq::Command),
    /// Look at checkpoint files.
    #[command(subcommand)]
    Checkpoint(checkpoint::Command),
    /// Look at the journal.
    #[command(subcommand)]
    Journal(journal::Command),
    /// Put a host, a venue and a proxy that breaks things through what a host has to survive, as real processes.
    #[cfg(target_os = "linux")]
    Chaos(chaos::Args),
    /// Venues to test against.
    #[command(subcommand)]
    Venue(venue::Command),
    /// Compile a component for the host that started this process.
    #[command(hide = true)]
    CompileComponent(compile::Args),
}

/// Where the state of a host is: a configuration, or the folder itself.
#[derive(clap::Args)]
#[group(required = true, multiple = false)]
struct StateArgs {
    /// Configuration whose `data_dir` is meant.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The data folder itself.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
}

impl StateArgs {
    fn data_dir(&self) -> Result<PathBuf, CliError> {
        let dir = match (&self.data_dir, &self.config) {
            (Some(dir), _) => dir.clone(),
            (None, Some(config)) => crate::config::Config::load(config)?.data_dir,
            (None, None) => PathBuf::from("."),
        };
        if dir.is_dir() {
            return Ok(dir);
        }
        Err(CliError::input(
            "no_data_dir",
            format!("{} is no folder; give the data_dir of a host that has run", dir.display()),
        ))
    }
}

/// The folder with the example strategies.
fn components_folder(given: &Path) -> Result<PathBuf, CliError> {
    std::fs::canonicalize(given).map_err(|error| {
        let text =
            format!("{}: {error}; build the example strategies with `make components`", given.display());
        CliError::input("no_components", text)
    })
}

/// Runs the command line.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let out = Output::new(cli.format);
    let quiet = matches!(cli.command, Command::Demo(_));
    let filter = cli.log.as_deref().unwrap_or(if quiet { "off" } else { "warn,audit=info,strategy=error" });
    if let Err(error) = output::start_log(filter) {
        return out.fail(&error);
    }
    let outcome = match cli.command {
        Command::Demo(args) => demo::run(&args, &out),
        Command::Run(args) => run::run(&args, &out),
        Command::Test(args) => test::run(&args, &out),
        Command::Vet(args) => vet::run(&args, &out),
        Command::Compare(args) => compare::run(&args, &out),
        Command::Replay(args) => replay::run(&args, &out),
        Command::New(args) => author::new(&args, &out),
        Command::Build(args) => author::build(&args, &out),
        Command::Inspect(args) => inspect::run(&args, &out),
        Command::Swap(args) => swap::swap(&args, &out),
        Command::Rollback(args) => swap::rollback(&args, &out),
        Command::Release(args) => swap::release(&args, &out),
        Command::Status(args) => status::run(&args, &out),
        Command::Dlq(command) => dlq::run(&command, &out),
        Command::Checkpoint(command) => checkpoint::run(&command, &out),
        Command::Journal(command) => journal::run(&command, &out),
        #[cfg(target_os = "linux")]
        Command::Chaos(args) => chaos::run(&args, &out),
        Command::Venue(command) => venue::run(&command, &out),
        Command::CompileComponent(args) => compile::run(&args),
    };
    match outcome {
        Ok(code) => code,
        Err(error) => out.fail(&error),
    }
}
