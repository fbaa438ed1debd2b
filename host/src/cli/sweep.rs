//! `ringfence test` with settings of several values: a run for each combination, and which is best.

use super::grid::Axis;
use super::grid::{combinations, show};
use super::lab::{Prepared, progress, set_all};
use super::output::{CliError, Output, columns};
use crate::lab::{LabConfig, Outcome, Quality, Summary, Sweep};
use crate::market::Money;
use crate::orders::{Digest, Mode};
use crate::plugin::{Plugin, Setting, SettingValue};
use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive;
use serde::Serialize;
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::process::ExitCode;

/// What makes one run better than another.
#[derive(Clone, Copy, Debug, Default, Serialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(super) enum By {
    /// The Sharpe ratio.
    #[default]
    Sharpe,
    /// The return.
    Return,
    /// The least deep drawdown.
    Drawdown,
    /// What winners gained over what losers lost.
    ProfitFactor,
}

#[derive(Clone, Copy, Debug, clap::Args)]
pub(super) struct SweepArgs {
    /// Threads that run strategies when settings have several values. Default: one a core.
    #[arg(long, value_name = "COUNT")]
    jobs: Option<NonZeroUsize>,
    /// Runs that are allowed when settings have several values.
    #[arg(long, value_name = "COUNT", default_value_t = 10_000)]
    runs_max: u64,
    /// What the best of them is judged by.
    #[arg(long, value_enum, default_value_t = By::Sharpe)]
    by: By,
}

/// The facts of a sweep.
#[derive(Serialize)]
struct Facts {
    strategy: String,
    component_sha256: Digest,
    events: u64,
    quality: Quality,
    jobs: usize,
    by: By,
    /// Position of the best among the runs.
    best: Option<usize>,
    runs: Vec<Row>,
    seconds: f64,
    /// Of all runs together.
    events_per_second: f64,
}

#[derive(Serialize)]
struct Row {
    settings: BTreeMap<String, SettingValue>,
    #[serde(flatten)]
    end: End,
}

#[derive(Serialize)]
#[serde(untagged)]
enum End {
    Done(Box<Done>),
    Failed { error: Refusal },
}

#[derive(Serialize)]
struct Refusal {
    class: crate::resilience::Class,
    code: String,
    message: String,
}

#[derive(Serialize)]
struct Done {
    final_equity: Option<Money>,
    total_return: f64,
    max_drawdown: Decimal,
    sharpe: Option<f64>,
    sortino: Option<f64>,
    profit_factor: Option<f64>,
    win_rate: Option<f64>,
    trades: u64,
    fees: Money,
    intents: u64,
    orders: u64,
    fills: u64,
    refused: u64,
    traps: u64,
    faults: u64,
    halted: bool,
    fuel_p99: Option<u64>,
    mode: Mode,
    stopped_at: Option<u64>,
    books_match: bool,
    intents_sha256: Digest,
}

impl Done {
    fn new(mut summary: Summary) -> Self {
        let (stats, results) = (summary.stats, summary.results);
        Self {
            final_equity: summary.final_equity,
            total_return: results.total_return,
            max_drawdown: summary.max_drawdown.round_dp(6).normalize(),
            sharpe: results.sharpe,
            sortino: results.sortino,
            profit_factor: results.profit_factor,
            win_rate: results.win_rate,
            trades: results.trades,
            fees: summary.fees,
            intents: stats.intents,
            orders: stats.orders,
            fills: stats.fills,
            refused: summary.refused.values().sum(),
            traps: stats.traps,
            faults: stats.faults,
            halted: summary.halted,
            fuel_p99: summary.usage.fuel_p99(),
            mode: summary.mode,
            stopped_at: summary.stopped_at,
            books_match: summary.books_match,
            intents_sha256: summary.intents_sha256,
        }
    }

    fn is_sound(&self) -> bool {
        self.traps == 0 && !self.halted && self.books_match
    }

    /// Higher is better.
    fn merit(&self, by: By) -> Option<f64> {
        match by {
            By::Sharpe => self.sharpe,
            By::Return => Some(self.total_return),
            By::Drawdown => self.max_drawdown.to_f64().map(|deep| -deep),
            By::ProfitFactor => self.profit_factor,
        }
    }
}

pub(super) fn run(
    args: SweepArgs,
    axes: &[Axis],
    (plugin, prepared, quality): (&Plugin, &Prepared, Quality),
    out: &Output,
) -> Result<ExitCode, CliError> {
    let points = combinations(axes, args.runs_max)?;
    let jobs = args.jobs.or_else(|| std::thread::available_parallelism().ok()).unwrap_or(NonZeroUsize::MIN);
    let configs: Vec<LabConfig> = (points.iter())
        .map(|point| {
            let settings = set_all(prepared.lab.settings.clone(), point);
            LabConfig { settings, ..prepared.lab.clone() }
        })
        .collect();
    let passes = Sweep::passes(configs.len()) as u64;
    let total = prepared.data.open()?.bytes_total().map(|bytes| bytes.saturating_mul(passes));
    let bar = progress(total, out);
    let clock = crate::agent::live::SystemClock::start();
    let sweep = Sweep { data: &prepared.data, plugin, jobs };
    let outcomes = sweep.run(&configs, &mut |bytes| bar.set_position(bytes))?;
    bar.finish_and_clear();
    let seconds = clock.now().mono.0 as f64 / 1e9;

    let events = outcomes.iter().map(events_of).max().unwrap_or(0);
    let together: u64 = outcomes.iter().map(events_of).sum();
    let runs: Vec<Row> =
        points.iter().zip(outcomes).map(|(point, outcome)| Row::new(point, outcome)).collect();
    let metadata = plugin.metadata();
    let facts = Facts {
        strategy: format!("{} {}", metadata.name, metadata.version),
        component_sha256: plugin.digest(),
        events,
        quality,
        jobs: jobs.get(),
        by: args.by,
        best: best(&runs, args.by),
        seconds: (seconds * 1_000.0).round() / 1_000.0,
        events_per_second: if seconds > 0.0 { (together as f64 / seconds).round() } else { 0.0 },
        runs,
    };
    out.facts(&facts, |out| facts.table(axes, out));
    let sound = facts.runs.iter().all(|row| matches!(&row.end, End::Done(done) if done.is_sound()));
    Ok(if sound { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

fn events_of(outcome: &Outcome) -> u64 {
    match outcome {
        Outcome::Done(summary) => summary.events,
        Outcome::Failed(_) => 0,
    }
}

/// The first of the best, among those without a trap.
fn best(runs: &[Row], by: By) -> Option<usize> {
    let merit = |(index, row): (usize, &Row)| match &row.end {
        End::Done(done) if done.is_sound() => Some((index, done.merit(by)?)),
        _ => None,
    };
    let better = |best: (usize, f64), next: (usize, f64)| {
        if next.1.total_cmp(&best.1) == Ordering::Greater { next } else { best }
    };
    runs.iter().enumerate().filter_map(merit).reduce(better).map(|(index, _)| index)
}

impl Row {
    fn new(point: &[Setting], outcome: Outcome) -> Self {
        let settings = point.iter().map(|it| (it.key.clone(), it.value.clone())).collect();
        let end = match outcome {
            Outcome::Done(summary) => End::Done(Box::new(Done::new(*summary))),
            Outcome::Failed(failure) => End::Failed {
                error: Refusal {
                    class: failure.class,
                    code: failure.code.to_string(),
                    message: failure.message.to_string(),
                },
            },
        };
        Self { settings, end }
    }
}

/// Columns behind the settings.
const RESULTS: [&str; 10] = [
    "return %",
    "drawdown %",
    "Sharpe",
    "trades",
    "fees",
    "orders",
    "refused",
    "traps",
    "fuel p99",
    "intents",
];
/// Reasons shown to a person: the first ones explain the others.
const FAILED_SHOWN: usize = 5;

impl Facts {
    fn table(&self, axes: &[Axis], out: &Output) -> String {
        let title =
            format!("{}  {} runs of {} events", self.strategy.escape_debug(), self.runs.len(), self.events);
        let mut head: Vec<String> = axes.iter().map(|axis| axis.key.escape_debug().to_string()).collect();
        head.extend(RESULTS.map(str::to_owned));
        let (mut rows, mut failed) = (vec![head], Vec::new());
        for (index, row) in self.runs.iter().enumerate() {
            let mut cells: Vec<String> =
                axes.iter().map(|axis| row.settings.get(&axis.key).map(show).unwrap_or_default()).collect();
            match &row.end {
                End::Done(done) => cells.extend(done.cells()),
                End::Failed { error } => {
                    cells.extend((0..RESULTS.len()).map(|_| "–".to_owned()));
                    let point = cells.iter().take(axes.len()).cloned().collect::<Vec<_>>().join(" ");
                    failed.push(format!("  {point}: {} ({})", error.message, error.code));
                }
            }
            if self.best == Some(index) {
                cells.push("← best".into());
            }
            rows.push(cells);
        }
        let more = failed.len().saturating_sub(FAILED_SHOWN);
        failed.truncate(FAILED_SHOWN);
        if more > 0 {
            failed.push(format!("  and {more} more; --format json has them all"));
        }
        let failed = match failed.is_empty() {
            true => String::new(),
            false => format!("\n\n  did not start\n  {}", failed.join("\n  ")),
        };
        let by = match self.by {
            By::Sharpe => "Sharpe",
            By::Return => "return",
            By::Drawdown => "drawdown",
            By::ProfitFactor => "profit factor",
        };
        let best = match self.best {
            Some(_) => format!(
                "best by {by}; of many runs the best is partly luck: try it on data that chose nothing"
            ),
            None => format!("none can be judged by {by}"),
        };
        format!(
            "\n{}\n\n{}{failed}\n\n  {best}\n  {:.2} s on {} threads, {:.0} events a second",
            out.bold(&title),
            columns(&rows, "  ", out),
            self.seconds,
            self.jobs,
            self.events_per_second
        )
    }
}

impl Done {
    fn cells(&self) -> Vec<String> {
        let ratio = |value: Option<f64>| value.map_or("–".to_owned(), |value| format!("{value:.2}"));
        vec![
            format!("{:+.2}", self.total_return * 100.0),
            format!("{:.2}", self.max_drawdown.to_f64().unwrap_or(0.0) * 100.0),
            ratio(self.sharpe),
            self.trades.to_string(),
            format!("{:.2}", self.fees.decimal().round_dp(2)),
            self.orders.to_string(),
            self.refused.to_string(),
            self.traps.to_string(),
            self.fuel_p99.map_or("–".to_owned(), |fuel| fuel.to_string()),
            self.intents_sha256.to_string().chars().take(12).collect(),
        ]
    }
}
