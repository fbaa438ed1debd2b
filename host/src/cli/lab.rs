//! What the commands of the lab share: data, instruments, the exchange's model and the strategy's settings.

use super::grid::Axis;
use super::inspect::profile;
use super::output::{CliError, Output};
use crate::agent::core::{CoreLimits, FailAction};
use crate::config::read_toml;
use crate::lab::exchange::{Liquidity, Model, Queue};
use crate::lab::{DataFile, Dataset, LabConfig, Quality};
use crate::market::{
    CheckConfig, DataFault, FeedConfig, FeedFormat, Instrument, Money, OffStep, RowError, Sample, UnixNanos,
};
use crate::orders::RiskLimits;
use crate::plugin::{DataNeeds, Profile, SandboxLimits, Setting, SettingValue};
use crate::resilience::DegradationConfig;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use rust_decimal::Decimal;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::sync::Arc;

#[derive(clap::Args)]
pub(super) struct LabArgs {
    /// Data files, merged by time: CSV of bars, trades or quotes, dumps of Binance with or without a header, raw
    /// captures, each plain, gz or zip; or Parquet of bars, trades or quotes. `SYMBOL=FILE` says what a file is about;
    /// else its rows or its name do.
    #[arg(long, value_name = "[SYMBOL=]FILE", num_args = 1.., required = true)]
    data: Vec<String>,
    /// Symbols of the data files in their order; one alone is that of all.
    #[arg(long, value_name = "SYMBOL", num_args = 1..)]
    instrument: Vec<String>,
    /// TOML with what the flags do not say: [[instrument]] terms as in a host's configuration, and [risk],
    /// [degradation], [limits], [market], [sandbox], [model], [settings], cash, seed and on_halt.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// A setting of the strategy. For `test` it may have several values, as 5..50:5 or 5,10,20: each combination runs.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    settings: Vec<String>,
    /// Only rows from this moment on: a date, RFC 3339, or a number since 1970.
    #[arg(long, value_name = "MOMENT", value_parser = moment)]
    from: Option<UnixNanos>,
    /// Only rows before this moment.
    #[arg(long, value_name = "MOMENT", value_parser = moment)]
    to: Option<UnixNanos>,
    /// What the rows of the files are, where they are several things at once.
    #[arg(long, value_enum)]
    rows: Option<Rows>,
    /// Round prices and quantities between two steps to the nearest, instead of dropping their rows.
    #[arg(long)]
    round: bool,
    /// Cash at the start. Default 100000.
    #[arg(long, value_name = "AMOUNT")]
    cash: Option<Decimal>,
    /// Fee in basis points of the notional: of every order, or of the ones that take and the ones that rest.
    #[arg(long, value_name = "BPS[,BPS]", value_parser = fees)]
    fees: Option<(Decimal, Decimal)>,
    /// Ticks by which an order that takes is filled worse than the price shown.
    #[arg(long, value_name = "TICKS")]
    slippage: Option<u32>,
    /// Data time from the strategy to the exchange and back, as 50ms: the same both ways, or one each.
    #[arg(long, value_name = "TIME[,TIME]", value_parser = latency)]
    latency: Option<(u64, u64)>,
    /// When an order that rests is filled at its own price.
    #[arg(long, value_enum)]
    queue: Option<QueueArg>,
    /// How much the market gives at its price.
    #[arg(long, value_enum)]
    liquidity: Option<LiquidityArg>,
    /// Seed of the strategy's random numbers.
    #[arg(long)]
    seed: Option<u64>,
    /// Refuse data with rows that cannot be used, instead of skipping and counting them.
    #[arg(long)]
    strict: bool,
    /// Whose limits the component is held to, instead of [sandbox] of the file: those of a compiled strategy, or of
    /// one with an interpreter inside.
    #[arg(long, value_name = "PROFILE", value_parser = profile())]
    profile: Option<Profile>,
    /// Call the strategy once for every row. Without it many rows are shown in one crossing where that comes to the
    /// same, which is faster.
    #[arg(long)]
    single: bool,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Rows {
    Bars,
    Trades,
    Quotes,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum QueueArg {
    /// When the market comes to its price.
    Touch,
    /// When what was shown before it at its price is gone; the default.
    Displayed,
    /// When the market trades beyond its price.
    Through,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum LiquidityArg {
    /// Every quantity; the default.
    Unlimited,
    /// The sizes in the data.
    Displayed,
}

/// The file of `--config`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct LabFile {
    instrument: Vec<Instrument>,
    cash: Option<Money>,
    seed: Option<u64>,
    settings: BTreeMap<String, toml::Value>,
    risk: RiskLimits,
    degradation: DegradationConfig,
    limits: CoreLimits,
    market: CheckConfig,
    sandbox: SandboxLimits,
    model: Model,
    on_halt: FailAction,
}

/// What the arguments come to.
pub(super) struct Prepared {
    pub data: Dataset,
    pub lab: LabConfig,
    pub sandbox: SandboxLimits,
}

impl LabArgs {
    /// The settings that have several values.
    pub fn axes(&self) -> Result<Vec<Axis>, CliError> {
        let mut axes: Vec<Axis> = Vec::new();
        for text in &self.settings {
            let Some(axis) = Axis::parse(text)? else { continue };
            axes.retain(|earlier| earlier.key != axis.key);
            axes.push(axis);
        }
        Ok(axes)
    }

    /// Without the settings that have several values.
    pub fn prepare(&self) -> Result<Prepared, CliError> {
        let mut single = Vec::new();
        for text in &self.settings {
            if Axis::parse(text)?.is_none() {
                single.push(text.clone());
            }
        }
        let file: LabFile = match &self.config {
            Some(path) => read_toml(path)?,
            None => LabFile::default(),
        };
        file.instrument.iter().try_for_each(Instrument::check).map_err(|error| {
            CliError::input("lab_instrument", format!("{error}; correct it in the file of --config"))
        })?;
        let format = FeedConfig {
            format: match self.rows {
                None => FeedFormat::Auto,
                Some(Rows::Bars) => FeedFormat::Bars,
                Some(Rows::Trades) => FeedFormat::Trades,
                Some(Rows::Quotes) => FeedFormat::Quotes,
            },
            off_step: if self.round { OffStep::RoundHalfEven } else { OffStep::Refuse },
            ..FeedConfig::default()
        };
        let data = Dataset::prepare(&self.files()?, &file.instrument, &format)?.between(self.from, self.to);
        let cash = self.cash.map(Money::new).or(file.cash);
        let lab = LabConfig {
            settings: settings(&file.settings, &single)?,
            seed: self.seed.or(file.seed).unwrap_or(0),
            risk: file.risk,
            degradation: file.degradation,
            limits: file.limits,
            market: file.market,
            on_halt: file.on_halt,
            model: self.model(file.model),
            batch: !self.single,
            ..LabConfig::new(
                Arc::clone(data.instruments()),
                cash.unwrap_or_else(|| Money::new(Decimal::from(100_000))),
            )
        };
        let sandbox = self.profile.map_or(file.sandbox, SandboxLimits::of);
        Ok(Prepared { data, lab, sandbox })
    }

    /// Looks through the data once, and says what is wrong with it.
    pub fn quality(&self, prepared: &Prepared, out: &Output) -> Result<Quality, CliError> {
        let quality = prepared.data.quality(&prepared.lab.market)?;
        for note in prepared.data.notes() {
            out.line(format!("note: {note}"));
        }
        out.line(format!(
            "data: {} rows; {} unusable, {} repeated, {} backward in time, {} gaps",
            quality.rows,
            quality.dropped.total(),
            quality.duplicates,
            quality.backward,
            quality.gaps
        ));
        for (code, count) in quality.dropped.iter() {
            out.line(format!("  {count} {}", code.name()));
        }
        for words in quality.examples.iter().chain(&quality.longest) {
            out.line(format!("  {words}"));
        }
        if self.strict {
            quality.strict()?;
        }
        Ok(quality)
    }

    fn model(&self, mut model: Model) -> Model {
        if let Some((taker, maker)) = self.fees {
            (model.taker_fee_bps, model.maker_fee_bps) = (taker, maker);
        }
        if let Some((there, back)) = self.latency {
            (model.order_latency_ns, model.reply_latency_ns) = (there, back);
        }
        model.slippage_ticks = self.slippage.unwrap_or(model.slippage_ticks);
        if let Some(queue) = self.queue {
            model.queue = match queue {
                QueueArg::Touch => Queue::Touch,
                QueueArg::Displayed => Queue::Displayed,
                QueueArg::Through => Queue::Through,
            };
        }
        if let Some(liquidity) = self.liquidity {
            model.liquidity = match liquidity {
                LiquidityArg::Unlimited => Liquidity::Unlimited,
                LiquidityArg::Displayed => Liquidity::Displayed,
            };
        }
        model
    }

    fn files(&self) -> Result<Vec<DataFile>, CliError> {
        let given = &self.instrument;
        if given.len() > 1 && given.len() != self.data.len() {
            let (files, symbols) = (self.data.len(), given.len());
            return Err(CliError::input(
                "lab_instrument_count",
                format!(
                    "{symbols} symbols for {files} data files; give one for all, or one each in their order"
                ),
            ));
        }
        let file = |(index, text): (usize, &String)| {
            let own = text.split_once('=').filter(|(symbol, _)| {
                !symbol.is_empty() && !symbol.contains(['/', '\\', '.']) && !PathBuf::from(text).exists()
            });
            let listed = given.get(if given.len() == 1 { 0 } else { index }).cloned();
            match own {
                Some((symbol, path)) => DataFile { path: path.into(), symbol: Some(symbol.to_owned()) },
                None => DataFile { path: text.into(), symbol: listed },
            }
        };
        Ok(self.data.iter().enumerate().map(file).collect())
    }
}

/// Rows that are handed over together: as many as the largest crossing takes.
const ROWS_MAX: usize = 1_024;

/// Reads data to its end and hands it over, some rows at a time, each with the rows that were dropped before it.
pub(super) fn read(
    data: &Dataset,
    out: &Output,
    mut take: impl FnMut(&[Sample], &[DataFault]) -> Result<Next, CliError>,
) -> Result<(), CliError> {
    let mut samples = data.open()?;
    let bar = progress(samples.bytes_total(), out);
    let (mut rows, mut dropped) = (Vec::with_capacity(ROWS_MAX), Vec::new());
    loop {
        let row = samples.next();
        let ended = row.is_none();
        match row {
            Some(Ok(sample)) => rows.push(sample),
            Some(Err(RowError::Dropped(fault))) => dropped.push(fault),
            Some(Err(RowError::Broken(error))) => return Err(error.into()),
            None => {}
        }
        if ended || rows.len() >= ROWS_MAX || dropped.len() >= ROWS_MAX {
            let next = take(&rows, &dropped)?;
            rows.clear();
            dropped.clear();
            bar.set_position(samples.bytes_read());
            if ended || next == Next::Stop {
                bar.finish_and_clear();
                return Ok(());
            }
        }
    }
}

/// Whether reading goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    Go,
    Stop,
}

pub(super) fn progress(total: Option<u64>, out: &Output) -> ProgressBar {
    if out.is_json() || !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::with_draw_target(total, ProgressDrawTarget::stderr());
    if let Ok(style) = ProgressStyle::with_template("  {bar:30} {percent:>3} %  {elapsed}") {
        bar.set_style(style);
    }
    bar
}

/// Whether the data has what a strategy needs.
pub(super) fn check_needs(needs: &DataNeeds, instruments: usize) -> Result<(), CliError> {
    let fits = |least: u32, most: u32| {
        u32::try_from(instruments).is_ok_and(|count| count >= least && (most == 0 || count <= most))
    };
    if fits(needs.instruments_min, needs.instruments_max) {
        return Ok(());
    }
    Err(CliError::input(
        "lab_needs",
        format!(
            "the strategy works with {} to {} instruments and the data has {instruments}; give other data",
            needs.instruments_min, needs.instruments_max
        ),
    ))
}

/// Settings with others in place of the same keys.
pub(super) fn set(settings: Vec<Setting>, flags: &[String]) -> Result<Vec<Setting>, CliError> {
    Ok(set_all(settings, &self::settings(&BTreeMap::new(), flags)?))
}

pub(super) fn set_all(mut settings: Vec<Setting>, others: &[Setting]) -> Vec<Setting> {
    settings.retain(|setting| others.iter().all(|other| other.key != setting.key));
    settings.extend_from_slice(others);
    settings
}

fn settings(file: &BTreeMap<String, toml::Value>, flags: &[String]) -> Result<Vec<Setting>, CliError> {
    let mut settings = file.clone();
    for text in flags {
        let (key, value) = text.split_once('=').ok_or_else(|| {
            CliError::input("lab_setting", format!("--set {text}: expected KEY=VALUE, such as fast=10"))
        })?;
        // What is no value of TOML is the text that it is.
        let value = toml::from_str::<BTreeMap<String, toml::Value>>(&format!("value = {value}"))
            .ok()
            .and_then(|mut table| table.remove("value"))
            .unwrap_or_else(|| toml::Value::String(value.to_owned()));
        settings.insert(key.to_owned(), value);
    }
    let value = |(key, value): (&String, &toml::Value)| {
        let wrong = |reason: &str| CliError::input("lab_setting", format!("setting {key}: {reason}"));
        let value =
            match value {
                toml::Value::Boolean(value) => SettingValue::Boolean(*value),
                toml::Value::Integer(value) => SettingValue::Integer(*value),
                toml::Value::Float(value) if value.is_finite() => SettingValue::Real(*value),
                toml::Value::String(text) => match text.strip_prefix("decimal:") {
                    Some(digits) => SettingValue::Exact(digits.parse::<Decimal>().map_err(|_| {
                        wrong("expected digits after \"decimal:\", such as \"decimal:0.25\"")
                    })?),
                    None => SettingValue::Text(text.clone()),
                },
                _ => return Err(wrong("expected true or false, a finite number or a text")),
            };
        Ok(Setting { key: key.clone(), value })
    };
    settings.iter().map(value).collect()
}

fn moment(text: &str) -> Result<UnixNanos, String> {
    text.parse().map_err(str::to_owned)
}

fn fees(text: &str) -> Result<(Decimal, Decimal), String> {
    let bps = |text: &str| {
        let found = text.trim().parse::<Decimal>().ok().filter(|bps| bps.abs() <= Decimal::from(1_000));
        found.ok_or_else(|| format!("\"{text}\" is no number of basis points up to 1000, such as 7.5"))
    };
    match text.split_once(',') {
        None => bps(text).map(|both| (both, both)),
        Some((taker, maker)) => Ok((bps(taker)?, bps(maker)?)),
    }
}

fn latency(text: &str) -> Result<(u64, u64), String> {
    match text.split_once(',') {
        None => nanos(text).map(|both| (both, both)),
        Some((there, back)) => Ok((nanos(there)?, nanos(back)?)),
    }
}

fn nanos(text: &str) -> Result<u64, String> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let factor = match unit {
        "ns" => Some(1),
        "us" => Some(1_000),
        "ms" => Some(1_000_000),
        "s" => Some(1_000_000_000),
        _ => None,
    };
    let number =
        number.parse::<u64>().ok().zip(factor).and_then(|(number, factor)| number.checked_mul(factor));
    number.ok_or_else(|| format!("\"{text}\" is no time, expected digits and ns, us, ms or s, such as 50ms"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_fees_say_their_unit_and_both_ways() {
        assert_eq!(latency("50ms"), Ok((50_000_000, 50_000_000)));
        assert_eq!(latency("3us,2s"), Ok((3_000, 2_000_000_000)));
        for wrong in ["50", "ms", "1h", "-1ms", "99999999999s"] {
            assert!(latency(wrong).is_err(), "{wrong}");
        }
        assert_eq!(fees("7.5"), Ok((Decimal::new(75, 1), Decimal::new(75, 1))));
        assert_eq!(fees("10,-2"), Ok((Decimal::TEN, Decimal::from(-2))));
        assert!(fees("ten").is_err() && fees("20000").is_err());
    }

    #[test]
    fn a_flag_overrides_the_file_and_is_read_like_it() {
        let file = BTreeMap::from([("fast".to_owned(), toml::Value::Integer(5))]);
        let flags =
            ["fast=10", "band=2.5", "name=abc", "on=true", "exact=\"decimal:0.1\""].map(str::to_owned);
        let found = settings(&file, &flags).unwrap();
        let value = |key: &str| found.iter().find(|setting| setting.key == key).unwrap().value.clone();
        assert_eq!(value("fast"), SettingValue::Integer(10));
        assert_eq!(value("band"), SettingValue::Real(2.5));
        assert_eq!(value("name"), SettingValue::Text("abc".into()));
        assert_eq!(value("on"), SettingValue::Boolean(true));
        assert_eq!(value("exact"), SettingValue::Exact(Decimal::new(1, 1)));
        assert!(settings(&file, &["fast".to_owned()]).is_err());
    }
}
