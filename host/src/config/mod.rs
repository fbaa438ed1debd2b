//! The configuration file: everything a host is told, checked before anything starts.

mod error;
mod parse;
#[cfg(test)]
mod tests;

pub use error::ConfigError;

use crate::agent::core::{CoreLimits, FailAction};
use crate::market::{CheckConfig, Instrument, Money, OffStep};
use crate::orders::journal::JournalConfig;
use crate::orders::{AgentName, Digest, RiskLimits};
use crate::plugin::SandboxLimits;
use crate::resilience::{
    CheckpointConfig, DeadLetterStoreConfig, DegradationConfig, GateConfig, LetterAlertConfig, RetryConfig,
};
use crate::venue::KeySource;
use crate::venue::http::HttpVenueConfig;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// A whole configuration. Relative paths are relative to the file's own folder.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where state is kept: journal, checkpoints, dead letters.
    pub data_dir: PathBuf,
    /// Number of this run, told to the strategies. Also the seed of everything random.
    #[serde(default)]
    pub seed: u64,
    /// The journal.
    #[serde(default)]
    pub journal: JournalConfig,
    /// Checkpoints.
    #[serde(default)]
    pub checkpoints: CheckpointConfig,
    /// The dead-letter store.
    #[serde(default)]
    pub dead_letters: DeadLetterStoreConfig,
    /// When dead letters raise an alert.
    #[serde(default)]
    pub dead_letter_alerts: LetterAlertConfig,
    /// Limits of every component, unless an agent has its own.
    #[serde(default)]
    pub sandbox: SandboxLimits,
    /// Data checks.
    #[serde(default)]
    pub market: CheckConfig,
    /// Venues by name.
    pub venue: BTreeMap<String, VenueConfig>,
    /// What can be traded.
    pub instrument: Vec<Instrument>,
    /// Where market data comes from.
    pub feed: FeedConfig,
    /// The agents.
    pub agent: Vec<AgentConfig>,
}

/// One venue.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, tag = "kind", rename_all = "kebab-case")]
pub enum VenueConfig {
    /// The simple contract: `POST {base_url}/api/trade` with a bearer key and an idempotency key.
    Http {
        /// Where it is.
        base_url: String,
        /// Where the key is: `{ env = "NAME" }` or `{ file = "PATH" }`, never the key itself.
        key: KeySource,
        /// One request, from connect to the last byte. 10 s: longer than a slow venue, shorter than a person's patience.
        #[serde(default = "ten_seconds")]
        request_timeout_ms: u64,
        /// How long the venue remembers keys. 20 h: the usual 24 h with a margin.
        #[serde(default = "twenty_hours")]
        key_window_s: u64,
        /// Whether a 429 or 503 proves that nothing was executed. Off: a proxy in between may say so after the fact.
        #[serde(default)]
        refusal_is_proof: bool,
        /// How often order changes are asked for.
        #[serde(default = "one_second")]
        updates_poll_ms: u64,
        /// Breakers, limiter and retry budget.
        #[serde(default)]
        gate: Box<GateConfig>,
    },
}

impl VenueConfig {
    /// What the client of this venue is configured with.
    pub fn http(&self, name: &str) -> HttpVenueConfig {
        let Self::Http { base_url, key, request_timeout_ms, key_window_s, refusal_is_proof, .. } = self;
        HttpVenueConfig {
            name: name.to_owned(),
            base_url: base_url.clone(),
            key: key.clone(),
            request_timeout_ms: *request_timeout_ms,
            connect_timeout_ms: HttpVenueConfig::default().connect_timeout_ms.min(request_timeout_ms / 2),
            key_window_s: *key_window_s,
            refusal_is_proof: *refusal_is_proof,
            ..HttpVenueConfig::default()
        }
    }
}

const fn ten_seconds() -> u64 {
    10_000
}

const fn twenty_hours() -> u64 {
    72_000
}

const fn one_second() -> u64 {
    1_000
}

/// Where market data comes from.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, tag = "kind", rename_all = "kebab-case")]
pub enum FeedConfig {
    /// Recorded data, merged by time.
    Files {
        /// The files.
        file: Vec<FileFeedConfig>,
        /// How fast.
        #[serde(default)]
        pace: Pace,
        /// Paper venue that is shown every sample before the agents are, so that it matches against the
        /// same data.
        publish_to: Option<PublishConfig>,
        /// Longest time that the data waits for an order on its way. An order that waits for a venue must
        /// not hold the data for ever.
        #[serde(default = "settle")]
        settle_ms_max: u64,
    },
    /// The prices of a venue, polled.
    Venue {
        /// Which venue.
        venue: String,
        /// How often.
        #[serde(default = "one_second")]
        poll_ms: u64,
    },
}

const fn settle() -> u64 {
    250
}

/// The paper venue that recorded data is shown to.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PublishConfig {
    /// Name of the venue, whose key is used.
    pub venue: String,
    /// Its own address, when orders go through something in between.
    pub base_url: Option<String>,
}

/// One data file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileFeedConfig {
    /// Where it is.
    pub path: PathBuf,
    /// What it is about.
    pub symbol: String,
    /// What happens to prices between two ticks.
    #[serde(default)]
    pub off_step: OffStep,
}

/// How fast recorded data is replayed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub enum Pace {
    /// As fast as the agents can follow: the data's time stands still while an order is on its way.
    #[default]
    Lockstep,
    /// This many times as fast as it happened.
    Speed(u32),
}

/// One agent.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AgentConfig {
    /// Its name, part of every key: an agent that is renamed is another agent.
    pub name: AgentName,
    /// The component file.
    pub component: PathBuf,
    /// The component's digest; another component is refused.
    pub sha256: Option<Digest>,
    /// Where it trades.
    pub venue: String,
    /// Symbols it may trade.
    pub instruments: Vec<String>,
    /// Cash when it runs for the first time.
    pub cash: Money,
    /// Raised by an operator when the agent's memory was lost.
    #[serde(default = "first_incarnation")]
    pub incarnation: u32,
    /// Settings of the strategy.
    #[serde(default)]
    pub settings: BTreeMap<String, toml::Value>,
    /// The risk gate.
    #[serde(default)]
    pub risk: RiskLimits,
    /// Retries.
    #[serde(default)]
    pub retry: RetryConfig,
    /// Modes.
    #[serde(default)]
    pub degradation: DegradationConfig,
    /// Limits of the component.
    pub sandbox: Option<SandboxLimits>,
    /// Limits of the agent itself.
    #[serde(default)]
    pub limits: CoreLimits,
    /// What happens to orders and positions when the strategy is halted.
    #[serde(default)]
    pub on_halt: FailAction,
    /// What happens to orders and positions when the agent stops in order.
    #[serde(default)]
    pub on_stop: FailAction,
}

const fn first_incarnation() -> u32 {
    1
}

impl Config {
    /// Largest configuration file that is read.
    pub const BYTES_MAX: u64 = 1 << 20;

    /// Reads and checks a configuration file.
    ///
    /// # Errors
    /// When the file cannot be read, is not TOML, has unknown or missing keys, or contradicts itself. The
    /// error names the file, the line where there is one, what was found and what to do.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = parse::read(path)?;
        Self::parse(&text, path)
    }

    /// Checks the text of a configuration file at `path`.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn parse(text: &str, path: &Path) -> Result<Self, ConfigError> {
        let mut config = parse::decode(text, path)?;
        config.resolve_paths(path.parent().unwrap_or(Path::new(".")));
        config.check(path)?;
        Ok(config)
    }

    fn resolve_paths(&mut self, base: &Path) {
        let resolve = |path: &mut PathBuf| *path = base.join(&*path);
        resolve(&mut self.data_dir);
        if let FeedConfig::Files { file, .. } = &mut self.feed {
            file.iter_mut().for_each(|file| resolve(&mut file.path));
        }
        for agent in &mut self.agent {
            resolve(&mut agent.component);
        }
        for VenueConfig::Http { key, .. } in self.venue.values_mut() {
            if let KeySource::File(file) = key {
                resolve(file);
            }
        }
    }

    fn check(&self, path: &Path) -> Result<(), ConfigError> {
        let wrong = |place: String, found: &str, advice: String| ConfigError::Meaning {
            file: path.to_owned(),
            place,
            found: found.to_owned(),
            advice,
        };
        for instrument in &self.instrument {
            let place = format!("instrument \"{}\"", instrument.symbol);
            instrument.check().map_err(|error| wrong(place, &error.to_string(), "correct it".into()))?;
        }
        let symbols: Vec<&str> =
            self.instrument.iter().map(|instrument| instrument.symbol.as_str()).collect();
        let venues: Vec<&str> = self.venue.keys().map(String::as_str).collect();
        let known = |place: String, name: &str, all: &[&str]| {
            if all.contains(&name) {
                return Ok(());
            }
            Err(wrong(place, name, parse::did_you_mean(name, all)))
        };
        let mut names: Vec<&str> = Vec::new();
        if self.agent.is_empty() {
            return Err(wrong("agent".into(), "no agent", "add an [[agent]] section".into()));
        }
        for agent in &self.agent {
            let name = agent.name.as_str();
            if names.contains(&name) {
                return Err(wrong("agent.name".into(), name, "give every agent its own name".into()));
            }
            names.push(name);
            known(format!("agent \"{name}\", venue"), &agent.venue, &venues)?;
            if agent.instruments.is_empty() {
                let advice = format!("name at least one of {}", symbols.join(", "));
                return Err(wrong(format!("agent \"{name}\", instruments"), "an empty list", advice));
            }
            for symbol in &agent.instruments {
                known(format!("agent \"{name}\", instruments"), symbol, &symbols)?;
            }
        }
        match &self.feed {
            FeedConfig::Files { file, publish_to, .. } => {
                if file.is_empty() {
                    return Err(wrong("feed.file".into(), "no file", "name at least one data file".into()));
                }
                for file in file {
                    known(format!("feed file {}, symbol", file.path.display()), &file.symbol, &symbols)?;
                }
                for (agent, symbol) in (self.agent.iter())
                    .flat_map(|agent| agent.instruments.iter().map(move |symbol| (agent, symbol)))
                {
                    if !file.iter().any(|file| file.symbol == *symbol) {
                        let place = format!("agent \"{}\", instruments", agent.name);
                        let advice = "name a data file for it under feed.file".into();
                        return Err(wrong(place, &format!("{symbol}, which has no data"), advice));
                    }
                }
                let names = publish_to.iter().map(|publish| &publish.venue);
                names.into_iter().try_for_each(|name| known("feed.publish_to.venue".into(), name, &venues))
            }
            FeedConfig::Venue { venue, .. } => known("feed.venue".into(), venue, &venues),
        }
    }
}
