//! `ringfence run`: the agents of a configuration, until the data ends or somebody stops them.

use super::output::{CliError, Output};
use super::report::{Facts, page};
use crate::admin::AdminServer;
use crate::agent::live::{AtStart, Host, RunReport, StartOrder, SystemClock};
use crate::config::Config;
use crate::orders::AgentName;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

#[derive(clap::Args)]
pub(super) struct Args {
    /// The configuration.
    config: PathBuf,
    /// Check everything, start nothing.
    #[arg(long)]
    check: bool,
    /// End the latched shutdown of this agent: its equity of now becomes the new peak.
    #[arg(long, value_name = "AGENT")]
    release: Vec<AgentName>,
    /// Book what the venue's positions of this agent differ by, as trades at the last price, and go on from there:
    /// for after a trade by hand.
    #[arg(long, value_name = "AGENT")]
    adopt_positions: Vec<AgentName>,
    /// Take orders of this agent that the venue has confirmed and does not know any more for gone.
    #[arg(long, value_name = "AGENT")]
    drop_vanished: Vec<AgentName>,
    /// Write the report as an HTML page.
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
}

impl Args {
    fn orders(&self) -> Vec<StartOrder> {
        let given = [
            (&self.release, AtStart::Release),
            (&self.adopt_positions, AtStart::AdoptPositions),
            (&self.drop_vanished, AtStart::DropVanished),
        ];
        let order = |agent: &AgentName, order| StartOrder { agent: agent.clone(), order };
        given.iter().flat_map(|(agents, what)| agents.iter().map(|agent| order(agent, *what))).collect()
    }
}

/// How often a progress bar is drawn, and how late a stop is noticed.
const LOOK: Duration = Duration::from_millis(100);

pub(super) fn run(args: &Args, out: &Output) -> Result<ExitCode, CliError> {
    let config = Config::load(&args.config)?;
    if args.check {
        Host::check(&config)?;
        let agents = config.agent.len();
        out.facts(&serde_json::json!({ "valid": true, "agents": agents }), |out| {
            format!("{} {} with {agents} agents", out.good("valid:"), args.config.display())
        });
        return Ok(ExitCode::SUCCESS);
    }
    let clock = SystemClock::start();
    // First, so that a host that cannot be operated does not start.
    let admin = config.admin.as_ref().map(AdminServer::start).transpose()?;
    let host = Host::start(&config, &args.orders())?;
    if let Some(admin) = &admin {
        admin.serve(host.control(), &config.data_dir)?;
        out.line(format!("admin API on {}", admin.address()));
    }
    let report = watch(host, out, |_| ());
    drop(admin);
    let seconds = clock.now().mono.0 as f64 / 1e9;
    let facts = Facts::new(&report, None, 0, seconds);
    out.facts(&facts, |out| facts.table(out));
    if let Some(path) = &args.report {
        write_page(path, &page("Ringfence run", &facts, &report, None))?;
    }
    Ok(if report.is_orderly() { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

/// Waits for a host with a progress bar. An interrupt stops it in order. `look` is called with the
/// number of samples so far.
pub(super) fn watch(host: Host, out: &Output, mut look: impl FnMut(u64)) -> RunReport {
    let progress = host.progress();
    let total = host.bytes_expected();
    let bar = if out.is_json() || !std::io::stderr().is_terminal() {
        ProgressBar::hidden()
    } else {
        match total {
            Some(total) => ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr()),
            None => ProgressBar::new_spinner(),
        }
    };
    let style = ProgressStyle::with_template("  {bar:30} {percent:>3} %  {elapsed}  {msg}");
    if let (Ok(style), Some(_)) = (style, total) {
        bar.set_style(style);
    }
    host.stop_on_interrupt();
    while !host.wait(LOOK) {
        let samples = progress.samples();
        bar.set_position(progress.bytes());
        bar.set_message(host.modes());
        look(samples);
    }
    bar.finish_and_clear();
    host.join()
}

pub(super) fn write_page(path: &Path, html: &str) -> Result<(), CliError> {
    std::fs::write(path, html)
        .map_err(|error| CliError::system("report", format!("cannot write {}: {error}", path.display())))
}
