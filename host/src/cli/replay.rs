//! `ringfence replay`: what an agent was called with, once more.

use super::lab::set;
use super::output::{CliError, Output};
use crate::agent::core::{Retrace, Retraced, RetracedDifference, Stretch};
use crate::agent::live::recording::RecordingFile;
use crate::config::Config;
use crate::orders::{Action, Answer, Digest, FedInput, OrderIntent, intents_digest};
use crate::plugin::{ComponentStrategy, Plugin, Profile, Sandbox, SandboxConfig, SandboxLimits, Terms};
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

#[derive(clap::Args)]
pub(super) struct Args {
    /// A file of a recording, or the folder of an agent: `data_dir/recordings/AGENT`.
    recording: PathBuf,
    /// Another component in place of the recorded one; what it does differently is shown.
    #[arg(long, value_name = "FILE")]
    component: Option<PathBuf>,
    /// A setting in place of the recorded one; what it does differently is shown.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    settings: Vec<String>,
    /// Configuration with the agent's limits and grants. Without it they are those of the profile.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The profile of the limits.
    #[arg(long, value_name = "PROFILE", default_value = "native", value_parser = super::inspect::profile(), conflicts_with = "config")]
    profile: Profile,
}

#[derive(Serialize)]
struct Facts {
    agent: String,
    components: Vec<Digest>,
    files: usize,
    stretches: u64,
    calls: u64,
    intents: u64,
    /// Over what every call wanted, in order.
    intents_sha256: Digest,
    fuel: u64,
    /// Whether every call gave what it gave.
    identical: bool,
    first_difference: Option<Difference>,
    /// Calls that failed, as they had failed.
    failed_calls: Vec<FailedCall>,
    /// Stretches that were never written, because the disk did not keep up.
    lost: u64,
    /// Stretches that begin in the middle: their calls are made, and not held to anything.
    inexact: u64,
    damaged: Vec<String>,
    /// Whether the oldest file begins in the middle of an instance's life: then it goes on from its saved state, and
    /// what it remembered besides is not known.
    resumed: bool,
    /// The last call that is counted.
    #[serde(skip)]
    last_call: u64,
}

#[derive(Serialize)]
struct FailedCall {
    call: u64,
    error: String,
}

#[derive(Serialize)]
struct Difference {
    call: u64,
    input: FedInput,
    expected: String,
    found: String,
    fuel_expected: Option<u64>,
    fuel_found: Option<u64>,
}

pub(super) fn run(args: &Args, out: &Output) -> Result<ExitCode, CliError> {
    let files = files(&args.recording)?;
    let mut bench = Bench::new(args)?;
    let mut facts = Facts {
        agent: String::new(),
        components: Vec::new(),
        files: files.len(),
        stretches: 0,
        calls: 0,
        intents: 0,
        intents_sha256: Digest::of(b""),
        fuel: 0,
        identical: true,
        first_difference: None,
        failed_calls: Vec::new(),
        lost: 0,
        inexact: 0,
        damaged: Vec::new(),
        resumed: false,
        last_call: 0,
    };
    let mut wanted: Vec<u8> = Vec::new();
    for path in &files {
        let (blocks, damage) = RecordingFile::read(path)?;
        facts.damaged.extend(damage.map(|damage| format!("{}: {damage}", path.display())));
        for block in blocks {
            facts.lost += u64::from(block.lost);
            if facts.first_difference.is_none() {
                facts.add(&mut bench, block.stretch, &mut wanted)?;
            }
        }
    }
    if facts.stretches == 0 {
        let text = format!(
            "{} holds no calls yet; a host writes them when a strategy saves its state, and when it stops",
            args.recording.display()
        );
        return Err(CliError::input("recording_empty", text));
    }
    facts.intents_sha256 = Digest::of(&wanted);
    facts.identical = facts.first_difference.is_none() && facts.damaged.is_empty();
    out.facts(&facts, |out| facts.table(out));
    Ok(if facts.identical { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

/// The files that are meant, oldest first. What a call that failed has sealed is read where it belongs.
fn files(path: &Path) -> Result<Vec<PathBuf>, CliError> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let files: Vec<PathBuf> = RecordingFile::list(path)?.into_iter().map(|file| file.path).collect();
    if files.is_empty() {
        let text = format!(
            "{} has no recording in it; give data_dir/recordings/AGENT, or a file of it",
            path.display()
        );
        return Err(CliError::input("recording_missing", text));
    }
    Ok(files)
}

/// The components that the calls are made on.
struct Bench<'a> {
    args: &'a Args,
    sandbox: Sandbox,
    config: Option<Config>,
    loaded: BTreeMap<Digest, Plugin>,
    /// The instance that has made the calls so far.
    running: Option<ComponentStrategy>,
}

impl<'a> Bench<'a> {
    fn new(args: &'a Args) -> Result<Self, CliError> {
        let config = args.config.as_deref().map(Config::load).transpose()?;
        let sandbox = config.as_ref().map_or_else(SandboxConfig::default, Config::sandbox_config);
        Ok(Self { args, sandbox: Sandbox::new(sandbox)?, config, loaded: BTreeMap::new(), running: None })
    }

    /// What a stretch is made on: the component that is asked for, or the recorded one.
    fn plugin(&mut self, stretch: &Stretch) -> Result<Plugin, CliError> {
        if let Some(file) = &self.args.component {
            let file = file.clone();
            return self.load(stretch, &file, None);
        }
        self.recorded(stretch)?.ok_or_else(|| {
            CliError::input(
                "recording_component",
                format!(
                    "component {} is not in the folder `components` beside the recordings; give its file with --component",
                    stretch.plugin
                ),
            )
        })
    }

    /// The component that was recorded, where the host's own store still has it.
    fn recorded(&mut self, stretch: &Stretch) -> Result<Option<Plugin>, CliError> {
        let name = format!("{}.wasm", stretch.plugin);
        let beside = |folder: &Path| Some(folder.parent()?.parent()?.join("components").join(&name));
        let recording =
            std::path::absolute(&self.args.recording).unwrap_or_else(|_| self.args.recording.clone());
        let folder = if recording.is_dir() { Some(recording.as_path()) } else { recording.parent() };
        match folder.and_then(beside).filter(|file| file.is_file()) {
            Some(file) => self.load(stretch, &file, Some(stretch.plugin)).map(Some),
            None => Ok(None),
        }
    }

    fn load(&mut self, stretch: &Stretch, file: &Path, pin: Option<Digest>) -> Result<Plugin, CliError> {
        let known = pin.unwrap_or_else(|| Digest::of(file.as_os_str().as_encoded_bytes()));
        if let Some(plugin) = self.loaded.get(&known) {
            return Ok(plugin.clone());
        }
        let agent = self.config.as_ref().and_then(|config| {
            config.agent.iter().find(|agent| agent.name == stretch.agent).map(|agent| config.terms(agent))
        });
        let terms = match agent {
            Some(terms) => Terms { pin, ..terms },
            None => Terms { pin, limits: SandboxLimits::of(self.args.profile), ..Terms::default() },
        };
        let bytes = Sandbox::read(file, &terms.limits)?;
        let plugin = self.sandbox.admit(&bytes, &file.display().to_string(), &terms)?;
        self.loaded.insert(known, plugin.clone());
        Ok(plugin)
    }
}

impl Facts {
    fn add(&mut self, bench: &mut Bench<'_>, stretch: Stretch, wanted: &mut Vec<u8>) -> Result<(), CliError> {
        let plugin = bench.plugin(&stretch)?;
        self.agent = stretch.agent.to_string();
        if !self.components.contains(&plugin.digest()) {
            self.components.push(plugin.digest());
        }
        self.stretches += 1;
        self.inexact += u64::from(stretch.left_out() > 0);
        let same = plugin.digest() == stretch.plugin && bench.args.settings.is_empty();
        let mut given = stretch.clone();
        given.settings = set(given.settings, &bench.args.settings)?;
        let how = Retrace { after: self.last_call, exact: true, fuel: same };
        let mut instance = match bench.running.take().filter(|_| stretch.continues()) {
            Some(running) => running,
            None => {
                self.resumed |= self.stretches == 1 && stretch.continues();
                plugin.check_settings(&given.settings)?;
                let mut fresh = plugin.instantiate()?;
                given.start(&mut fresh)?;
                fresh
            }
        };
        let retraced = given.retrace(&mut instance, how)?;
        // After a call that failed the next stretch begins where this one began.
        self.last_call = self.last_call.max(stretch.last_call());
        self.calls += retraced.calls;
        self.fuel += retraced.fuel;
        for (call, intent) in &retraced.intents {
            self.intents += 1;
            wanted.extend(call.to_le_bytes());
            wanted.extend(intents_digest(std::slice::from_ref(intent)).as_bytes());
        }
        if retraced.failed.is_empty() {
            bench.running = Some(instance);
        }
        self.failed_calls.extend(retraced.failed.into_iter().map(|(call, error)| FailedCall { call, error }));
        if let Some(difference) = retraced.difference {
            // What it had wanted is a digest; the component that wanted it can say it in words.
            let before = match bench.recorded(&stretch)? {
                Some(recorded) if !same => {
                    let mut instance = recorded.instantiate()?;
                    stretch.start(&mut instance)?;
                    Some(stretch.retrace(&mut instance, Retrace { after: 0, exact: false, fuel: false })?)
                }
                _ => None,
            };
            self.first_difference = Some(Difference::new(difference, before.as_ref()));
        }
        Ok(())
    }

    fn table(&self, out: &Output) -> String {
        let mut text = format!(
            "\n{}  {} calls of {} stretches in {} files\n",
            out.bold(&self.agent),
            self.calls,
            self.stretches,
            self.files
        );
        let mut row = |name: &str, value: String| text.push_str(&format!("  {name:<18}{value}\n"));
        row("intents", self.intents.to_string());
        row("intents sha256", self.intents_sha256.to_string());
        row("fuel", self.fuel.to_string());
        if self.lost > 0 {
            row("never written", format!("{} stretches: the disk did not keep up", self.lost));
        }
        if self.inexact > 0 {
            row("in the middle", format!("{} stretches begin without what came before them", self.inexact));
        }
        for failed in &self.failed_calls {
            row("failed as before", format!("call {}: {}", failed.call, failed.error.escape_debug()));
        }
        for damaged in &self.damaged {
            row("damaged", out.bad(damaged));
        }
        if self.resumed {
            row("begins", "with a saved state: the files before it are gone".to_owned());
        }
        match &self.first_difference {
            None => text.push_str(&format!("\n  {}", out.good("every call gave what it gave"))),
            Some(difference) => {
                text.push_str(&format!("\n  {} at call {}\n", out.bad("first difference"), difference.call));
                text.push_str(&format!("    called with  {}\n", input_in_words(&difference.input)));
                text.push_str(&format!("    it wanted    {}\n", difference.expected));
                text.push_str(&format!("    now it wants {}", difference.found));
                if difference.fuel_expected != difference.fuel_found {
                    let fuel = |fuel: Option<u64>| fuel.map_or("unknown".to_owned(), |fuel| fuel.to_string());
                    text.push_str(&format!(
                        "\n    fuel         {}, now {}",
                        fuel(difference.fuel_expected),
                        fuel(difference.fuel_found)
                    ));
                }
            }
        }
        text
    }
}

impl Difference {
    fn new(difference: RetracedDifference, recorded: Option<&Retraced>) -> Self {
        let RetracedDifference { fed, found, fuel } = difference;
        let expected = match fed.answer {
            Answer::Quiet => "nothing".to_owned(),
            Answer::Fault => "nothing, and reported a fault".to_owned(),
            Answer::Refused => "nothing: the sandbox did not make the call".to_owned(),
            Answer::Failed => "nothing: the call failed".to_owned(),
            Answer::Wanted(digest) => {
                let intents = recorded.into_iter().flat_map(|recorded| &recorded.intents);
                let of_call: Vec<OrderIntent> =
                    intents.filter(|(call, _)| *call == fed.call).map(|(_, intent)| *intent).collect();
                match of_call.is_empty() {
                    true => format!("something with the digest {digest}"),
                    false => in_words(&of_call),
                }
            }
        };
        let found = match found {
            Ok(intents) => in_words(&intents),
            Err(error) => format!("nothing: {error}").escape_debug().to_string(),
        };
        let fuel_expected = fed.fuel.map(std::num::NonZeroU64::get);
        Self { call: fed.call, input: fed.input, expected, found, fuel_expected, fuel_found: fuel }
    }
}

fn in_words(intents: &[OrderIntent]) -> String {
    if intents.is_empty() {
        return "nothing".to_owned();
    }
    intents.iter().map(intent_in_words).collect::<Vec<_>>().join(", ")
}

fn intent_in_words(intent: &OrderIntent) -> String {
    match intent {
        OrderIntent::Submit(order) => Action::Submit(*order).to_string(),
        OrderIntent::Cancel(order) => Action::Cancel(*order).to_string(),
        OrderIntent::Amend(amend) => Action::Amend(*amend).to_string(),
        OrderIntent::CancelAll(instrument) => format!("cancel all orders of instrument {}", instrument.0),
    }
}

fn input_in_words(input: &FedInput) -> String {
    match input {
        FedInput::Tick(tick) => format!(
            "update {} of instrument {} at {}: last {}, bid {}, ask {} (ticks)",
            tick.seq,
            tick.instrument.0,
            tick.event_time,
            tick.last_price.0,
            tick.bid_price.0,
            tick.ask_price.0
        ),
        FedInput::Bar(bar) => format!("the bar of instrument {} from {}", bar.instrument.0, bar.start),
        FedInput::Event(event) => format!("{event:?}").escape_debug().to_string(),
    }
}
