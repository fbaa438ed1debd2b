//! `ringfence compare`: two components over the same data, to the first difference in what they want.

use super::lab::{LabArgs, Next, Prepared, check_needs, read, set};
use super::output::{CliError, Output};
use super::test::Facts;
use crate::agent::live::SystemClock;
use crate::lab::{Execution, Intent, Lab, Metered};
use crate::market::{Instruments, Lots, Marks, Sample, Tick};
use crate::plugin::{Plugin, Sandbox, SandboxConfig};
use rust_decimal::Decimal;
use serde::Serialize;
use std::collections::VecDeque;
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(clap::Args)]
pub(super) struct Args {
    /// The one component file.
    a: PathBuf,
    /// The other; the same file again compares settings.
    b: PathBuf,
    #[command(flatten)]
    lab: LabArgs,
    /// A setting of the other alone.
    #[arg(long = "set-b", value_name = "KEY=VALUE")]
    settings_b: Vec<String>,
}

/// Updates shown before the one at which the two part.
const INPUTS_SHOWN: usize = 5;

/// Both runs, held against each other.
#[derive(Debug, Serialize)]
struct Comparison {
    same: bool,
    first_difference: Option<Difference>,
    a: Facts,
    b: Facts,
}

/// Where they part, and what led to it.
#[derive(Debug, Serialize)]
struct Difference {
    event: u64,
    a: Option<String>,
    b: Option<String>,
    inputs: Vec<String>,
    a_holds: String,
    b_holds: String,
}

pub(super) fn run(args: &Args, out: &Output) -> Result<ExitCode, CliError> {
    let sandbox = Sandbox::new(SandboxConfig::default())?;
    if let Some(axis) = args.lab.axes()?.first() {
        let text =
            format!("--set {} has several values, and a comparison is of two runs; name one", axis.key);
        return Err(CliError::input("lab_sweep_compare", text));
    }
    let mut prepared = args.lab.prepare()?;
    let load = |path| sandbox.load_file(path, None, &prepared.sandbox);
    let plugins = [load(&args.a)?, load(&args.b)?];
    for plugin in &plugins {
        check_needs(&plugin.metadata().needs, prepared.data.instruments().len())?;
    }
    let quality = args.lab.quality(&prepared, out)?;
    let clock = SystemClock::start();
    let mut both = Both::of(&plugins, &prepared, &args.settings_b)?;
    both.read(&prepared, out)?;
    if both.labs.iter().any(Lab::is_void) {
        // One has trapped among many updates: one call each says at which.
        prepared.lab.batch = false;
        both = Both::of(&plugins, &prepared, &args.settings_b)?;
        both.read(&prepared, out)?;
    }
    let (cash, notes) = (prepared.lab.cash, prepared.data.notes());
    let summaries = both.labs.each_mut().map(Lab::finish);
    let difference = both.first.take();
    let seconds = clock.now().mono.0 as f64 / 1e9;
    let [one, other] = summaries;
    let facts = |plugin: &Plugin, summary| {
        Facts::new(plugin, cash, summary, quality.clone(), notes.to_vec(), seconds)
    };
    let [plugin_a, plugin_b] = &plugins;
    let (a, b) = (facts(plugin_a, one), facts(plugin_b, other));
    let same = difference.is_none() && a.intents_sha256 == b.intents_sha256;
    let comparison = Comparison { same, first_difference: difference, a, b };
    out.facts(&comparison, |out| comparison.table(out));
    Ok(if same { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

/// Two runs over the same rows.
struct Both {
    labs: [Lab; 2],
    /// Intents that wait for the other's.
    waiting: [VecDeque<Intent>; 2],
    first: Option<Difference>,
    /// What each holds, by instrument, before the rows at hand, and what each has traded in them.
    held: [Vec<Lots>; 2],
    executed: [Vec<Execution>; 2],
    /// Rows before those at hand.
    before: Vec<Sample>,
    /// Number of the first row at hand.
    from: u64,
}

impl Both {
    fn of(plugins: &[Plugin; 2], prepared: &Prepared, settings_b: &[String]) -> Result<Self, CliError> {
        let lab = |plugin: &Plugin, more: &[String]| -> Result<Lab, CliError> {
            let mut config = prepared.lab.clone();
            config.settings = set(config.settings, more)?;
            let (strategy, meter) = Metered::new(plugin.instantiate()?);
            Ok(Lab::new(config, Box::new(strategy), meter, plugin.digest()))
        };
        let [a, b] = plugins;
        let labs = [lab(a, &[])?, lab(b, settings_b)?];
        let flat = vec![Lots::ZERO; prepared.lab.instruments.len()];
        Ok(Self {
            labs,
            waiting: [VecDeque::new(), VecDeque::new()],
            first: None,
            held: [flat.clone(), flat],
            executed: [Vec::new(), Vec::new()],
            before: Vec::new(),
            from: 0,
        })
    }

    fn read(&mut self, prepared: &Prepared, out: &Output) -> Result<(), CliError> {
        read(&prepared.data, out, |samples, dropped| {
            let parts = self.waiting.iter_mut().zip(&mut self.executed);
            for (lab, (waiting, executed)) in self.labs.iter_mut().zip(parts) {
                dropped.iter().for_each(|fault| lab.dropped(fault));
                lab.samples(samples)?;
                waiting.extend(lab.take_intents());
                *executed = lab.take_executions();
            }
            self.hold(samples, &prepared.lab.instruments);
            for (held, executed) in self.held.iter_mut().zip(&self.executed) {
                book(held, executed);
            }
            self.from += samples.len() as u64;
            let kept = samples.len().min(INPUTS_SHOWN);
            self.before = samples.get(samples.len() - kept..).unwrap_or_default().to_vec();
            Ok(if self.labs.iter().any(Lab::is_void) { Next::Stop } else { Next::Go })
        })
    }

    /// Holds what both have wanted so far against each other, until they part.
    fn hold(&mut self, samples: &[Sample], instruments: &Instruments) {
        while self.first.is_none() {
            let [a, b] = &mut self.waiting;
            let (event, one, other) = match (a.front(), b.front()) {
                (None, None) => return,
                (Some(one), Some(other)) if one.event == other.event && one.action == other.action => {
                    a.pop_front();
                    b.pop_front();
                    continue;
                }
                (Some(one), Some(other)) if one.event == other.event => (one.event, Some(one), Some(other)),
                (Some(one), other) if other.is_none_or(|other| one.event < other.event) => {
                    (one.event, Some(one), None)
                }
                (_, other) => (other.map_or(0, |other| other.event), None, other),
            };
            let (one, other) = (one.map(ToString::to_string), other.map(ToString::to_string));
            let at =
                usize::try_from(event.saturating_sub(self.from)).ok().and_then(|index| samples.get(index));
            let at = at.map(|sample| sample.tick.event_time);
            let holds = |held: &[Lots], executed: &[Execution]| {
                let before = executed.partition_point(|execution| at.is_none_or(|at| execution.at < at));
                let mut held = held.to_vec();
                book(&mut held, executed.get(..before).unwrap_or_default());
                holdings(&held, instruments)
            };
            let ([held_a, held_b], [executed_a, executed_b]) = (&self.held, &self.executed);
            let (a_holds, b_holds) = (holds(held_a, executed_a), holds(held_b, executed_b));
            let rows = self.before.iter().chain(samples);
            let first = self.from.saturating_sub(self.before.len() as u64);
            let inputs = (first..)
                .zip(rows)
                .filter(|(number, _)| *number <= event && number + INPUTS_SHOWN as u64 > event)
                .map(|(number, sample)| row(number, &sample.tick, instruments))
                .collect();
            self.first = Some(Difference { event, a: one, b: other, inputs, a_holds, b_holds });
        }
        // What comes after the first difference follows from it.
        self.waiting.iter_mut().for_each(VecDeque::clear);
    }
}

fn book(held: &mut [Lots], executed: &[Execution]) {
    for execution in executed {
        let index = usize::try_from(execution.instrument.0).unwrap_or(usize::MAX);
        if let Some(lots) = held.get_mut(index) {
            *lots = lots.checked_add(execution.side.signed(execution.quantity)).unwrap_or(*lots);
        }
    }
}

fn holdings(held: &[Lots], instruments: &Instruments) -> String {
    let held = instruments.iter().zip(held).filter(|(_, lots)| !lots.is_zero());
    let words: Vec<String> =
        held.map(|((_, terms), lots)| format!("{lots} lots of {}", terms.symbol)).collect();
    if words.is_empty() { "nothing".into() } else { words.join(", ") }
}

fn row(number: u64, tick: &Tick, instruments: &Instruments) -> String {
    let terms = instruments.get(tick.instrument);
    let price = |ticks| {
        let price = terms.and_then(|terms| terms.price(ticks));
        price.map_or("–".into(), |price: Decimal| price.normalize().to_string())
    };
    let symbol = terms.map_or("?", |terms| terms.symbol.as_str());
    let what = if tick.marks.has(Marks::QUOTE) {
        format!(
            "bid {} for {}, ask {} for {}",
            price(tick.bid_price),
            tick.bid_size,
            price(tick.ask_price),
            tick.ask_size
        )
    } else {
        format!("trade at {}, {} lots", price(tick.last_price), tick.last_size.0.max(tick.volume.0))
    };
    format!("event {number}, {}: {symbol} {what}", tick.event_time)
}

impl Comparison {
    fn table(&self, out: &Output) -> String {
        let mut text = match &self.first_difference {
            None if self.same => {
                format!("\n{} {} intents, in every event alike\n", out.good("The same:"), self.a.intents)
            }
            None => format!("\n{}\n", out.bad("The intents differ.")),
            Some(difference) => {
                let wants = |intent: &Option<String>| intent.clone().unwrap_or_else(|| "nothing".into());
                let inputs: Vec<String> =
                    difference.inputs.iter().map(|input| format!("    {input}")).collect();
                format!(
                    "\n{} at event {}\n  A wants  {}\n  B wants  {}\n  A holds  {}\n  B holds  {}\n  after\n{}\n",
                    out.bad("The first difference"),
                    difference.event,
                    wants(&difference.a),
                    wants(&difference.b),
                    difference.a_holds,
                    difference.b_holds,
                    inputs.join("\n")
                )
            }
        };
        for ((title, a), (_, b)) in self.a.blocks().into_iter().zip(self.b.blocks()) {
            text.push_str(&format!("\n{}\n", out.bold(title)));
            for ((label, one), (_, other)) in a.into_iter().zip(b) {
                let mark = if one == other { ' ' } else { '*' };
                text.push_str(&format!("{mark} {label:<22}{one:<44}{other}\n"));
            }
        }
        text.push_str(&format!(
            "\n  A {}  {}\n  B {}  {}",
            self.a.strategy.escape_debug(),
            self.a.intents_sha256,
            self.b.strategy.escape_debug(),
            self.b.intents_sha256
        ));
        text
    }
}
