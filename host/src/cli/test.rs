//! `ringfence test`: a component over recorded data, before it is let near an account.

use super::lab::{LabArgs, Next, Prepared, check_needs, read};
use super::lab_page;
use super::output::{CliError, Output};
use super::run::write_page;
use super::sweep::{self, SweepArgs};
use crate::agent::live::SystemClock;
use crate::lab::{Lab, Metered, PERIODS_MIN, Quality, Results, Summary};
use crate::market::{DataCounts, Money, UnixNanos};
use crate::orders::{Digest, Mode};
use crate::plugin::{Plugin, Sandbox, SandboxConfig};
use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

#[derive(clap::Args)]
pub(super) struct Args {
    /// The component file.
    component: PathBuf,
    /// The digest that it must have.
    #[arg(long, value_name = "HEX")]
    sha256: Option<Digest>,
    #[command(flatten)]
    lab: LabArgs,
    #[command(flatten)]
    sweep: SweepArgs,
    /// Write every intent as a line of JSON.
    #[arg(long, value_name = "FILE")]
    intents: Option<PathBuf>,
    /// Write a page with equity, drawdown, trades and the budget, which opens in any browser without a network.
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
}

/// The facts of a run.
#[derive(Debug, Serialize)]
pub(super) struct Facts {
    pub strategy: String,
    pub component_sha256: Digest,
    pub events: u64,
    pub intents: u64,
    pub orders: u64,
    pub fills: u64,
    pub rejected: u64,
    pub refused: BTreeMap<String, u64>,
    pub intents_per_event: f64,
    pub intents_per_event_max: u64,
    pub traps: u64,
    pub faults: u64,
    pub halted: bool,
    pub mode: Mode,
    pub mode_changes: u64,
    pub stopped_at: Option<u64>,
    pub calls: u64,
    pub fuel_p50: Option<u64>,
    pub fuel_p99: Option<u64>,
    pub fuel_max: u64,
    pub fuel_cap: u64,
    pub memory_peak_bytes: u64,
    pub memory_cap_bytes: u64,
    pub cash: Money,
    pub final_equity: Option<Money>,
    pub max_drawdown: Decimal,
    pub fees: Money,
    pub books_match: bool,
    #[serde(flatten)]
    pub results: Results,
    pub first: Option<UnixNanos>,
    pub last: UnixNanos,
    pub dropped: DataCounts,
    pub quality: Quality,
    pub notes: Vec<String>,
    pub alerts: BTreeMap<String, u64>,
    pub lines: BTreeMap<&'static str, u64>,
    pub intents_sha256: Digest,
    pub seconds: f64,
    pub events_per_second: f64,
}

pub(super) fn run(args: &Args, out: &Output) -> Result<ExitCode, CliError> {
    let sandbox = Sandbox::new(SandboxConfig::default())?;
    let mut prepared = args.lab.prepare()?;
    let plugin = sandbox.load_file(&args.component, args.sha256, &prepared.sandbox)?;
    check_needs(&plugin.metadata().needs, prepared.data.instruments().len())?;
    let axes = args.lab.axes()?;
    if !axes.is_empty() && (args.report.is_some() || args.intents.is_some()) {
        return Err(CliError::input(
            "lab_sweep_files",
            "--report and --intents are about one run, and a setting has several values; name one combination",
        ));
    }
    prepared.lab.charts = args.report.is_some();
    let quality = args.lab.quality(&prepared, out)?;
    if !axes.is_empty() {
        return sweep::run(args.sweep, &axes, (&plugin, &prepared, quality), out);
    }
    let (cash, notes) = (prepared.lab.cash, prepared.data.notes().to_vec());

    let clock = SystemClock::start();
    let mut run = one_run(args, &plugin, &prepared, out)?;
    if run.is_void() {
        // A strategy has trapped among many updates: one call each says at which.
        prepared.lab.batch = false;
        run = one_run(args, &plugin, &prepared, out)?;
    }
    let summary = run.finish();
    let seconds = clock.now().mono.0 as f64 / 1e9;
    let facts = Facts::new(&plugin, cash, summary, quality, notes, seconds);
    if let Some(path) = &args.report {
        write_page(path, &lab_page::page(&facts, run.charts(), prepared.data.instruments()))?;
    }
    out.facts(&facts, |out| facts.table(out));
    Ok(if facts.traps == 0 && !facts.halted && facts.books_match {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(1)
    })
}

fn one_run(args: &Args, plugin: &Plugin, prepared: &Prepared, out: &Output) -> Result<Lab, CliError> {
    let mut intents = args.intents.as_deref().map(Lines::create).transpose()?;
    let (strategy, meter) = Metered::new(plugin.instantiate()?);
    let mut run = Lab::new(prepared.lab.clone(), Box::new(strategy), meter, plugin.digest());
    read(&prepared.data, out, |samples, dropped| {
        dropped.iter().for_each(|fault| run.dropped(fault));
        run.samples(samples)?;
        let found = run.take_intents();
        run.take_executions();
        if let Some(intents) = &mut intents {
            let instruments = &prepared.lab.instruments;
            found.iter().try_for_each(|intent| intents.write(&intent.line(instruments)))?;
        }
        Ok(if run.is_void() { Next::Stop } else { Next::Go })
    })?;
    if let Some(intents) = intents {
        intents.finish()?;
    }
    Ok(run)
}

/// A file of JSON lines.
struct Lines {
    path: PathBuf,
    file: BufWriter<File>,
}

impl Lines {
    fn create(path: &Path) -> Result<Self, CliError> {
        let file = File::create(path).map_err(|error| Self::failed(path, &error))?;
        Ok(Self { path: path.to_owned(), file: BufWriter::new(file) })
    }

    fn write<T: Serialize>(&mut self, line: &T) -> Result<(), CliError> {
        let written = serde_json::to_writer(&mut self.file, line).map_err(std::io::Error::from);
        let written = written.and_then(|()| self.file.write_all(b"\n"));
        written.map_err(|error| Self::failed(&self.path, &error))
    }

    fn finish(mut self) -> Result<(), CliError> {
        self.file.flush().map_err(|error| Self::failed(&self.path, &error))
    }

    fn failed(path: &Path, error: &std::io::Error) -> CliError {
        CliError::system("intents_file", format!("cannot write {}: {error}", path.display()))
    }
}

impl Facts {
    pub fn new(
        plugin: &Plugin,
        cash: Money,
        summary: Summary,
        quality: Quality,
        notes: Vec<String>,
        seconds: f64,
    ) -> Self {
        let stats = summary.stats;
        let mut usage = summary.usage;
        let mut alerts: BTreeMap<String, u64> = BTreeMap::new();
        for (_, alert) in &summary.alerts {
            *alerts.entry(alert.code.clone()).or_default() += 1;
        }
        let metadata = plugin.metadata();
        Self {
            strategy: format!("{} {}", metadata.name, metadata.version),
            component_sha256: plugin.digest(),
            events: summary.events,
            intents: stats.intents,
            orders: stats.orders,
            fills: stats.fills,
            rejected: stats.rejected,
            refused: summary.refused,
            intents_per_event: stats.intents as f64 / summary.events.max(1) as f64,
            intents_per_event_max: summary.intents_per_event_max,
            traps: stats.traps,
            faults: stats.faults,
            halted: summary.halted,
            mode: summary.mode,
            mode_changes: stats.mode_changes,
            stopped_at: summary.stopped_at,
            calls: usage.calls,
            fuel_p50: usage.fuel_p50(),
            fuel_p99: usage.fuel_p99(),
            fuel_max: usage.fuel_max(),
            fuel_cap: plugin.limits().fuel_per_call,
            memory_peak_bytes: usage.memory_peak_bytes,
            memory_cap_bytes: plugin.limits().memory_bytes_max as u64,
            cash,
            final_equity: summary.final_equity,
            max_drawdown: summary.max_drawdown.round_dp(6).normalize(),
            fees: summary.fees,
            books_match: summary.books_match,
            results: summary.results,
            first: summary.first,
            last: summary.last,
            dropped: summary.dropped,
            quality,
            notes,
            alerts,
            lines: summary.lines,
            intents_sha256: summary.intents_sha256,
            seconds: (seconds * 1_000.0).round() / 1_000.0,
            events_per_second: if seconds > 0.0 { (summary.events as f64 / seconds).round() } else { 0.0 },
        }
    }

    /// Label and value of every line, by the block that it belongs to.
    pub fn blocks(&self) -> [(&'static str, Vec<(&'static str, String)>); 2] {
        let results = &self.results;
        let period = results.period.unwrap_or("period");
        let ratio = |value: Option<f64>| match value {
            Some(value) => format!("{value:.2} (a year, by the {period})"),
            None => format!("– (fewer than {PERIODS_MIN} periods with data)"),
        };
        let plain = |value: Option<f64>| value.map_or("–".into(), |value| format!("{value:.2}"));
        let money = vec![
            ("return", format!("{:+.2} %", results.total_return * 100.0)),
            ("equity at the end", self.final_equity.map_or("unknown".into(), two_digits)),
            ("deepest drawdown", format!("{:.2} %", self.max_drawdown.to_f64().unwrap_or(0.0) * 100.0)),
            ("Sharpe", ratio(results.sharpe)),
            ("Sortino", ratio(results.sortino)),
            ("trades, flat to flat", results.trades.to_string()),
            ("win rate", results.win_rate.map_or("–".into(), |rate| format!("{:.1} %", rate * 100.0))),
            ("profit factor", plain(results.profit_factor)),
            ("time in the market", format!("{:.1} %", results.exposure * 100.0)),
            ("turnover", format!("{:.2} times the cash", results.turnover)),
            ("fees", two_digits(self.fees)),
        ];
        let of_cap = |fuel: u64| {
            format!("{fuel} ({:.3} % of the cap)", fuel as f64 * 100.0 / self.fuel_cap.max(1) as f64)
        };
        let refused = match self.refused.is_empty() {
            true => "none".to_owned(),
            false => self
                .refused
                .iter()
                .map(|(code, count)| format!("{code} {count}"))
                .collect::<Vec<_>>()
                .join(", "),
        };
        let sandbox = vec![
            ("fuel a call, p50", self.fuel_p50.map_or("–".into(), of_cap)),
            ("fuel a call, p99", self.fuel_p99.map_or("–".into(), of_cap)),
            ("fuel a call, most", of_cap(self.fuel_max)),
            (
                "memory, most",
                format!("{} KiB of {} KiB", self.memory_peak_bytes / 1_024, self.memory_cap_bytes / 1_024),
            ),
            (
                "intents",
                format!(
                    "{}, {:.4} an event, at most {}",
                    self.intents, self.intents_per_event, self.intents_per_event_max
                ),
            ),
            ("orders, fills", format!("{}, {}", self.orders, self.fills)),
            ("refused intents", refused),
            ("traps, faults", format!("{}, {}", self.traps, self.faults)),
            ("mode at the end", format!("{} ({} changes)", self.mode, self.mode_changes)),
        ];
        [("What it did with the money", money), ("What it did in the sandbox", sandbox)]
    }

    fn table(&self, out: &Output) -> String {
        let mut text = String::new();
        let span = self.first.map_or(String::new(), |first| format!(", {first} to {}", self.last));
        text.push_str(&format!(
            "\n{}  {} events{span}\n",
            out.bold(&self.strategy.escape_debug().to_string()),
            self.events
        ));
        for (title, lines) in self.blocks() {
            text.push_str(&format!("\n{}\n", out.bold(title)));
            for (label, value) in lines {
                text.push_str(&format!("  {label:<22}{value}\n"));
            }
        }
        if !self.alerts.is_empty() {
            let alerts: Vec<String> =
                self.alerts.iter().map(|(code, count)| format!("{code} {count}")).collect();
            text.push_str(&format!("\n  alerts: {}\n", alerts.join(", ")));
        }
        if let Some(event) = self.stopped_at {
            text.push_str(&format!(
                "  {}\n",
                out.bad(&format!("shut down at event {event}; what came after was only counted"))
            ));
        }
        if !self.books_match {
            text.push_str(&format!(
                "  {}\n",
                out.bad("the agent's books and the exchange's account differ: report this")
            ));
        }
        text.push_str(&format!(
            "\n  intents sha256 {}\n  {:.2} s, {:.0} events a second",
            self.intents_sha256, self.seconds, self.events_per_second
        ));
        text
    }
}

fn two_digits(money: Money) -> String {
    format!("{:.2}", money.decimal().round_dp(2))
}
