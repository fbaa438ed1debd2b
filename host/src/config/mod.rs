//! The configuration file: everything a host is told, checked before anything starts.

mod admin;
mod error;
mod parse;
mod sharing;
mod swap;
#[cfg(test)]
mod tests;

pub use admin::AdminConfig;
pub use error::ConfigError;
pub use swap::SwapConfig;

use crate::agent::core::{CoreLimits, FailAction, Supervision};
use crate::agent::live::recording::RecordingConfig;
use crate::market::{CheckConfig, Instrument, Money, OffStep};
use crate::orders::journal::JournalConfig;
use crate::orders::{AgentName, Digest, RiskLimits};
use crate::plugin::{
    CacheConfig, ChildCompiler, Compiler, Grants, SandboxConfig, SandboxLimits, Terms, WasiGrant,
};
use crate::resilience::{
    CheckpointConfig, DeadLetterStoreConfig, DegradationConfig, GateConfig, LetterAlertConfig, LimitFault,
    RetryConfig,
};
use crate::venue::http::{HttpCapability, HttpVenueConfig};
use crate::venue::purpleflea::{ConfigFault, PurpleFleaConfig, is_same_coin};
use crate::venue::{Capability, KeySource, remote_host};
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
    /// Recordings of what strategies are called with.
    #[serde(default)]
    pub recording: RecordingConfig,
    /// The dead-letter store.
    #[serde(default)]
    pub dead_letters: DeadLetterStoreConfig,
    /// When dead letters raise an alert.
    #[serde(default)]
    pub dead_letter_alerts: LetterAlertConfig,
    /// The operator's HTTP API.
    pub admin: Option<AdminConfig>,
    /// Limits of every component, unless an agent has its own.
    #[serde(default)]
    pub sandbox: SandboxLimits,
    /// The engine that all components share.
    #[serde(default)]
    pub engine: SandboxConfig,
    /// What the process that compiles components may use.
    #[serde(default)]
    pub compile: ChildCompiler,
    /// Where compiled components are kept. Default: the folder `compiled` of `data_dir`.
    #[serde(default)]
    pub compile_cache: CacheConfig,
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

/// Reads another file of TOML with the same care: its errors name the line, the value and the nearest right key.
///
/// # Errors
/// When it cannot be read or is not what `T` looks like.
pub(crate) fn read_toml<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T, ConfigError> {
    parse::decode(&parse::read(path)?, path)
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
        /// What the venue does with the key of a request: `idempotent-keys`, `query-by-client-id` or
        /// `unique-while-open`.
        #[serde(default)]
        capability: HttpCapability,
        /// How long a venue with idempotent keys remembers them. 20 h: the usual 24 h with a margin.
        key_window_s: Option<u64>,
        /// Whether a 429 or 503 proves that nothing was executed. Off: a proxy in between may say so after the fact.
        #[serde(default)]
        refusal_is_proof: bool,
        /// How often order changes are asked for.
        #[serde(default = "one_second")]
        updates_poll_ms: u64,
        /// Time without a complete read of the order changes after which the agents only observe, whatever the
        /// venue answers instead: a 404, a 429 and a proxy's page of HTML are no fills either. Default 30,000:
        /// three requests that time out, and longer than any pause that a healthy venue asks for.
        #[serde(default = "thirty_seconds")]
        updates_silence_ms_max: u64,
        /// Breakers, limiter and retry budget.
        #[serde(default)]
        gate: Box<GateConfig>,
    },
    /// Purple Flea's trading API, which knows neither idempotency keys nor client order ids.
    #[serde(rename = "purpleflea")]
    PurpleFlea(Box<PurpleFleaConfig>),
}

impl VenueConfig {
    /// What a client of kind `http` at this venue's address and with its key is configured with. A paper venue
    /// takes market data that way, whichever contract it speaks.
    pub fn http(&self, name: &str) -> HttpVenueConfig {
        let http = |base_url: &str, key: &KeySource, request_timeout_ms: u64| HttpVenueConfig {
            name: name.to_owned(),
            base_url: base_url.to_owned(),
            key: key.clone(),
            request_timeout_ms,
            connect_timeout_ms: HttpVenueConfig::default().connect_timeout_ms.min(request_timeout_ms / 2),
            ..HttpVenueConfig::default()
        };
        match self {
            Self::Http {
                base_url,
                key,
                request_timeout_ms,
                capability,
                key_window_s,
                refusal_is_proof,
                ..
            } => HttpVenueConfig {
                capability: *capability,
                key_window_s: key_window_s.unwrap_or(HttpVenueConfig::default().key_window_s),
                refusal_is_proof: *refusal_is_proof,
                ..http(base_url, key, *request_timeout_ms)
            },
            Self::PurpleFlea(config) => http(&config.base_url, &config.key, config.request_timeout_ms),
        }
    }

    /// Where real money may be at stake: the host of a venue that is not on this machine. A venue on loopback is a
    /// rehearsal; nobody can tell what is behind any other address, so each counts as the real thing.
    pub fn remote_host(&self) -> Option<String> {
        match self {
            Self::Http { base_url, .. } => remote_host(base_url),
            Self::PurpleFlea(config) => remote_host(&config.base_url),
        }
    }

    const fn key_mut(&mut self) -> &mut KeySource {
        match self {
            Self::Http { key, .. } => key,
            Self::PurpleFlea(config) => &mut config.key,
        }
    }

    /// What the venue promises about one order.
    pub fn capability(&self, name: &str) -> Capability {
        match self {
            Self::Http { .. } => self.http(name).capability(),
            Self::PurpleFlea(config) => config.profile(name).capability,
        }
    }
}

const fn thirty_seconds() -> u64 {
    30_000
}

const fn ten_seconds() -> u64 {
    10_000
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
    /// The component's digest; another component is refused. Needed where real money may be at stake: see
    /// [`VenueConfig::remote_host`].
    pub sha256: Option<Digest>,
    /// Whether a changed component file is swapped in by itself.
    #[serde(default)]
    pub watch: bool,
    /// How a component is brought in while the agent runs.
    #[serde(default)]
    pub swap: SwapConfig,
    /// What the component may import. Default: everything virtual, which is all that a strategy of the SDK can.
    #[serde(default)]
    pub grants: Grants,
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
    /// Limits of the component, in place of all of the host's: what it does not give is its profile's.
    pub sandbox: Option<SandboxLimits>,
    /// Limits of the agent itself.
    #[serde(default)]
    pub limits: CoreLimits,
    /// What happens to orders and positions when the strategy fails.
    #[serde(default)]
    pub on_halt: FailAction,
    /// When a strategy that failed is started again, and when not any more.
    #[serde(default)]
    pub supervision: Supervision,
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
        let mut config: Self = parse::decode(text, path)?;
        config.resolve_paths(path.parent().unwrap_or(Path::new(".")));
        config.check(path)?;
        Ok(config)
    }

    /// Coins are counted, priced and closed by their venue alone, so an agent there trades only what is listed
    /// for it. Returns what was found and what to do.
    fn check_home(&self, agent: &AgentConfig, symbol: &str) -> Result<(), (String, String)> {
        let Some(VenueConfig::PurpleFlea(_)) = self.venue.get(&agent.venue) else { return Ok(()) };
        match self.instrument.iter().find(|instrument| instrument.symbol == symbol) {
            Some(instrument) if instrument.venue != agent.venue => Err((
                format!("{symbol}, whose venue is {}", instrument.venue),
                format!("set venue = \"{}\" in the instrument", agent.venue),
            )),
            _ => Ok(()),
        }
    }

    /// The sandbox of this configuration.
    pub fn sandbox_config(&self) -> SandboxConfig {
        SandboxConfig {
            compiler: Compiler::Child(self.compile.clone()),
            cache: Some(self.compile_cache.clone()),
            ..self.engine.clone()
        }
    }

    /// What the component of an agent is taken under.
    pub fn terms(&self, agent: &AgentConfig) -> Terms {
        let limits = agent.sandbox.as_ref().unwrap_or(&self.sandbox).clone();
        Terms { pin: agent.sha256, grants: agent.grants.clone(), limits }
    }

    fn resolve_paths(&mut self, base: &Path) {
        let resolve = |path: &mut PathBuf| *path = base.join(&*path);
        resolve(&mut self.data_dir);
        // The cache belongs to the state unless it is told another place.
        self.compile_cache.dir = if self.compile_cache.dir == CacheConfig::default().dir {
            self.data_dir.join(&self.compile_cache.dir)
        } else {
            base.join(&self.compile_cache.dir)
        };
        if let Some(program) = &mut self.compile.program {
            resolve(program);
        }
        if let FeedConfig::Files { file, .. } = &mut self.feed {
            file.iter_mut().for_each(|file| resolve(&mut file.path));
        }
        for agent in &mut self.agent {
            resolve(&mut agent.component);
            agent.sandbox.iter_mut().filter_map(|it| it.wasi_read_folder.as_mut()).for_each(resolve);
        }
        let token = self.admin.as_mut().map(|admin| &mut admin.token);
        for key in self.venue.values_mut().map(VenueConfig::key_mut).chain(token) {
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
        let fault = |place: &str, fault: ConfigFault| {
            wrong(format!("{place}, {}", fault.field), &fault.found, fault.advice)
        };
        if self.sandbox.wasi != WasiGrant::None || self.sandbox.wasi_read_folder.is_some() {
            let advice =
                "every agent would have it; write it into the sandbox of the agent that needs it".into();
            return Err(wrong("sandbox.wasi".into(), self.sandbox.wasi.name(), advice));
        }
        for agent in &self.agent {
            let Some(SandboxLimits { wasi: WasiGrant::None, wasi_read_folder: Some(folder), .. }) =
                &agent.sandbox
            else {
                continue;
            };
            let place = format!("agent \"{}\", sandbox.wasi_read_folder", agent.name);
            let advice =
                "a folder is read through WASI: set wasi = \"virtual\" as well, or leave it out".into();
            return Err(wrong(place, &folder.display().to_string(), advice));
        }
        let beyond = |place: String, LimitFault { field, found, advice }: LimitFault| {
            wrong(format!("{place}.{field}"), &found, advice)
        };
        self.engine.check().map_err(|fault| beyond("engine".into(), fault))?;
        self.sandbox.check().map_err(|fault| beyond("sandbox".into(), fault))?;
        for agent in &self.agent {
            let place = |section: &str| format!("agent \"{}\", {section}", agent.name);
            let limits = agent.sandbox.iter().try_for_each(SandboxLimits::check);
            limits.map_err(|fault| beyond(place("sandbox"), fault))?;
            agent.limits.check().map_err(|fault| beyond(place("limits"), fault))?;
            agent.risk.check().map_err(|fault| beyond(place("risk"), fault))?;
        }
        if let Some(admin) = &self.admin {
            admin.check().map_err(|(place, found, advice)| wrong(place.into(), &found, advice))?;
        }
        for (name, venue) in &self.venue {
            if let VenueConfig::PurpleFlea(config) = venue {
                config.check(name).map_err(|error| fault(&format!("venue \"{name}\""), error))?;
            }
        }
        for instrument in &self.instrument {
            let place = format!("instrument \"{}\"", instrument.symbol);
            instrument
                .check()
                .map_err(|error| wrong(place.clone(), &error.to_string(), "correct it".into()))?;
            if matches!(self.venue.get(&instrument.venue), Some(VenueConfig::PurpleFlea(_))) {
                PurpleFleaConfig::check_instrument(instrument).map_err(|error| fault(&place, error))?;
                let twin = self.instrument.iter().take_while(|earlier| earlier.symbol != instrument.symbol);
                let mut twin = twin.filter(|earlier| earlier.venue == instrument.venue);
                if let Some(twin) = twin.find(|twin| is_same_coin(&twin.symbol, &instrument.symbol)) {
                    let advice =
                        format!("the venue takes it and {} for the same coin; keep one", twin.symbol);
                    return Err(wrong(format!("{place}, symbol"), &instrument.symbol, advice));
                }
            }
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
            if self.journal.retired_agents.contains(&agent.name) {
                let advice = "take it off this list, or remove its [[agent]] section".into();
                return Err(wrong("journal.retired_agents".into(), name, advice));
            }
            known(format!("agent \"{name}\", venue"), &agent.venue, &venues)?;
            if agent.watch && agent.sha256.is_some() {
                let advice = "a pinned component does not change; take out one of watch and sha256".into();
                return Err(wrong(format!("agent \"{name}\", watch"), "true beside sha256", advice));
            }
            if agent.watch
                && let Some(host) = self.venue.get(&agent.venue).and_then(VenueConfig::remote_host)
            {
                let advice = "a file that is replaced must not trade by itself where real money may be at stake: take out \
                              watch, pin the component with sha256, and swap with ringfence swap"
                    .to_owned();
                let found = format!("true with a venue at {host}");
                return Err(wrong(format!("agent \"{name}\", watch"), &found, advice));
            }
            if agent.instruments.is_empty() {
                let advice = format!("name at least one of {}", symbols.join(", "));
                return Err(wrong(format!("agent \"{name}\", instruments"), "an empty list", advice));
            }
            for symbol in &agent.instruments {
                known(format!("agent \"{name}\", instruments"), symbol, &symbols)?;
                self.check_home(agent, symbol).map_err(|(found, advice)| {
                    wrong(format!("agent \"{name}\", instruments"), &found, advice)
                })?;
            }
        }
        for (name, venue) in &self.venue {
            let VenueConfig::Http { capability, key_window_s: Some(seconds), .. } = venue else { continue };
            if *capability != HttpCapability::IdempotentKeys {
                let place = format!("venue.{name}.key_window_s");
                let advice = "it belongs to capability = \"idempotent-keys\"; leave it out".into();
                return Err(wrong(place, &seconds.to_string(), advice));
            }
        }
        let owns = |name: &str| {
            self.venue.get(name).is_some_and(|venue| venue.capability(name).needs_own_instrument())
        };
        if let Some(shared) = sharing::find(&self.agent, owns) {
            return Err(wrong(shared.place(), &shared.symbol, shared.advice()));
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
