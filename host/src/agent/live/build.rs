//! From a configuration to the parts of a host. Each part is checked before the next is touched.

use super::error::StartError;
use super::store::AgentStore;
use crate::agent::core::{Core, CoreConfig, Operator, Parts, RecoverError, State, TimeSource};
use crate::config::{AgentConfig, Config, FeedConfig, FileFeedConfig, VenueConfig};
use crate::market::{FeedConfig as FileFormat, FileFeed, InstrumentError, Instruments, Merge, Now, merge};
use crate::orders::journal::FileJournal;
use crate::orders::{AgentName, Books, Entry, IntentKey, OrderId, Record};
use crate::plugin::{DataNeeds, Plugin, Sandbox, Services, Session, Setting, SettingValue, Strategy};
use crate::resilience::{
    CheckpointStore, Classified, DeadLetter, DeadLetterStore, Failure, Gate, LetterStatus, Loaded, Opened,
    Phase, RealDisk, SharedGate,
};
use crate::venue::Dialect;
use crate::venue::http::{HttpDialect, HttpVenue};
use rust_decimal::Decimal;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// One venue: what the core and the shell need of it.
pub(super) struct BuiltVenue {
    pub name: String,
    pub dialect: Arc<dyn Dialect>,
    pub venue: Arc<HttpVenue>,
    pub gate: SharedGate,
    pub updates_poll: Duration,
}

pub(super) fn load_plugins(config: &Config, sandbox: &Sandbox) -> Result<Vec<Plugin>, StartError> {
    (config.agent.iter())
        .map(|agent| {
            let limits = agent.sandbox.as_ref().unwrap_or(&config.sandbox);
            sandbox
                .load_file(&agent.component, agent.sha256, limits)
                .map_err(|source| StartError::Plugin { agent: agent.name.clone(), source })
        })
        .collect()
}

/// The client that shows recorded data to a paper venue, when the configuration asks for one.
pub(super) fn open_publisher(
    config: &Config,
    instruments: &Instruments,
) -> Result<Option<(HttpVenue, Arc<Instruments>)>, StartError> {
    let FeedConfig::Files { publish_to: Some(publish), .. } = &config.feed else { return Ok(None) };
    let Some(venue) = config.venue.get(&publish.venue) else { return Ok(None) };
    let mut http = venue.http(&publish.venue);
    if let Some(base_url) = &publish.base_url {
        http.base_url.clone_from(base_url);
    }
    let instruments = Arc::new(instruments.clone());
    Ok(Some((HttpVenue::new(&http, Arc::clone(&instruments))?, instruments)))
}

/// Recorded data, ready to be replayed.
pub(super) struct Recorded {
    pub samples: Merge<FileFeed>,
    /// Size of all files together, for a progress bar.
    pub bytes_total: Option<u64>,
}

/// Shows every strategy its settings on a throw-away instance, so that one that refuses them does so before
/// anything is written.
pub(super) fn check_strategies(config: &Config, plugins: &[Plugin], now: Now) -> Result<(), StartError> {
    for (agent, plugin) in config.agent.iter().zip(plugins) {
        let instruments = traded(config, agent)?;
        check_needs(&plugin.metadata().needs, instruments.len())
            .map_err(|reason| StartError::Needs { agent: agent.name.clone(), reason })?;
        let session = Session {
            run_id: config.seed,
            seed: config.seed,
            now: now.wall,
            next_order_id: OrderId(1),
            instruments: instruments.clone(),
            settings: settings(agent)?,
            live: true,
        };
        let books = Books::new(agent.cash, instruments.len());
        let mut services = Box::new(Services::new(books, Arc::new(instruments), config.seed));
        plugin
            .instantiate()
            .and_then(|mut strategy| strategy.init(&session, &mut services))
            .map_err(|source| RecoverError::Strategy { agent: agent.name.clone(), source })?;
    }
    Ok(())
}

/// Whether a strategy can be given what it has to be given. One that waits for what never comes would
/// look as if it worked.
fn check_needs(needs: &DataNeeds, instruments: usize) -> Result<(), String> {
    let (min, max) = (needs.instruments_min, needs.instruments_max);
    if !u32::try_from(instruments).is_ok_and(|count| (min..=max).contains(&count)) {
        return Err(format!("trades {min} to {max} instruments, the configuration gives it {instruments}"));
    }
    if needs.bar_seconds.is_empty() {
        return Ok(());
    }
    Err(format!(
        "asks for bars of {:?} seconds, which this host does not build; let it build them from ticks",
        needs.bar_seconds
    ))
}

/// The instruments of an agent, in its own order.
pub(super) fn traded(config: &Config, agent: &AgentConfig) -> Result<Instruments, InstrumentError> {
    let find = |symbol: &String| config.instrument.iter().find(|instrument| instrument.symbol == *symbol);
    Instruments::new(agent.instruments.iter().filter_map(find).cloned().collect())
}

pub(super) fn open_feed(config: &Config, instruments: &Instruments) -> Result<Option<Recorded>, StartError> {
    let FeedConfig::Files { file, .. } = &config.feed else { return Ok(None) };
    let mut feeds = Vec::new();
    let mut bytes_total = Some(0_u64);
    for FileFeedConfig { path, symbol, off_step } in file {
        let Some(id) = instruments.find(symbol) else { continue };
        let Some(instrument) = instruments.get(id) else { continue };
        let format = FileFormat { off_step: *off_step, ..FileFormat::default() };
        let feed = FileFeed::open(path, instrument, id, &format)?;
        bytes_total = bytes_total.zip(feed.bytes_total()).map(|(sum, bytes)| sum.saturating_add(bytes));
        feeds.push(feed);
    }
    Ok(Some(Recorded { samples: merge(feeds), bytes_total }))
}

pub(super) fn build_venues(
    config: &Config,
    instruments: &Instruments,
) -> Result<Vec<BuiltVenue>, StartError> {
    let instruments = Arc::new(instruments.clone());
    let mut venues = Vec::new();
    for (name, venue) in &config.venue {
        let VenueConfig::Http { gate, updates_poll_ms, .. } = venue;
        let http = venue.http(name);
        venues.push(BuiltVenue {
            name: name.clone(),
            dialect: Arc::new(HttpDialect::new(http.profile())),
            venue: Arc::new(HttpVenue::new(&http, Arc::clone(&instruments))?),
            gate: SharedGate::new(Gate::new(**gate, config.seed)),
            updates_poll: Duration::from_millis((*updates_poll_ms).max(1)),
        });
    }
    Ok(venues)
}

/// The agent's newest good checkpoint, and how many bad ones were set aside.
pub(super) fn load_state(
    config: &Config,
    agent: &AgentConfig,
    plugin: &Plugin,
) -> Result<(Option<State>, AgentStore, usize), StartError> {
    let dir = config.data_dir.join("checkpoints").join(agent.name.as_str());
    let (checkpoints, loaded) =
        CheckpointStore::open(&dir, agent.name.as_str(), config.checkpoints.clone(), Arc::new(RealDisk))?;
    let (state, bad) = match loaded {
        Loaded::FirstRun => (None, 0),
        // Bad ones that an earlier start has set aside count too: this is no first run.
        Loaded::AllBad { set_aside } => (None, set_aside.len().max(1)),
        Loaded::Checkpoint { checkpoint, set_aside } => {
            (Some(State::decode(&agent.name, &checkpoint.payload)?), set_aside.len())
        }
    };
    if bad > 0 {
        tracing::error!(agent = %agent.name, class = "state", code = "checkpoint_corrupt",
            "{bad} damaged checkpoints were set aside in {}", dir.display());
    }
    // A raised incarnation starts anew on purpose; the old state stays on the disk.
    let state = state.filter(|state| state.incarnation >= agent.incarnation);
    let store = AgentStore { incarnation: agent.incarnation, plugin: plugin.digest(), checkpoints };
    Ok((state, store, bad))
}

/// What the journal holds of one agent.
#[derive(Default)]
pub(super) struct Story {
    /// Records that its checkpoint does not contain.
    pub entries: Vec<Entry>,
    /// The incarnation that ran last.
    pub incarnation: Option<u32>,
    /// Number of its last record in the configured incarnation.
    pub last_number: u64,
}

pub(super) type Stories = BTreeMap<AgentName, Story>;

/// Opens the journal and keeps, per agent, the records that its checkpoint does not contain.
pub(super) fn open_journal(
    config: &Config,
    states: &[(Option<State>, usize)],
) -> Result<(FileJournal, Stories), StartError> {
    let mut known: BTreeMap<&AgentName, (u32, u64)> = BTreeMap::new();
    for (agent, (state, _)) in config.agent.iter().zip(states) {
        known.insert(&agent.name, (agent.incarnation, state.as_ref().map_or(0, |state| state.number)));
    }
    let mut stories = Stories::new();
    let dir = config.data_dir.join("journal");
    let opened = FileJournal::open(&dir, config.journal.clone(), Arc::new(RealDisk), &mut |seq, payload| {
        let entry = Entry::decode(seq, payload)
            .map_err(|error| Failure::new(error.class(), error.code(), Phase::Done, error.to_string()))?;
        let Some((incarnation, number)) = known.get(&entry.agent).copied() else { return Ok(()) };
        let story = stories.entry(entry.agent.clone()).or_default();
        if let Record::Started { incarnation: started, .. } = &entry.record {
            story.incarnation = Some(*started);
        }
        // Records of an incarnation that an operator has closed are history.
        if story.incarnation.is_none_or(|started| started >= incarnation) {
            story.last_number = entry.number;
            if entry.number > number {
                story.entries.push(entry);
            }
        }
        Ok(())
    });
    let (journal, summary) = opened?;
    if let Some(torn) = &summary.torn {
        tracing::warn!(
            class = "state",
            code = "journal_torn_tail",
            "{} bytes after record {} were cut: nobody had been told that they are durable",
            torn.bytes,
            torn.seq
        );
    }
    Ok((journal, stories))
}

/// Whether what the disk remembers of an agent can be continued: neither a lost journal nor lost
/// checkpoints are ever taken for a first run.
pub(super) fn check_story(
    agent: &AgentConfig,
    state: Option<&State>,
    bad: usize,
    story: &Story,
) -> Result<(), StartError> {
    let raised = story.incarnation.is_some_and(|last| last < agent.incarnation);
    let from_the_start = story.entries.first().is_some_and(|entry| entry.number == 1);
    if state.is_none() && bad > 0 && !raised && !from_the_start {
        return Err(StartError::NoState { agent: agent.name.clone(), count: bad });
    }
    match state {
        Some(state) if story.last_number < state.number => Err(StartError::JournalBehind {
            agent: agent.name.clone(),
            checkpoint: state.number,
            journal: story.last_number,
        }),
        _ => Ok(()),
    }
}

pub(super) fn open_letters(config: &Config) -> Result<DeadLetterStore, StartError> {
    let dir = config.data_dir.join("dead-letters");
    let (letters, opened) = DeadLetterStore::open(&dir, config.dead_letters.clone(), Arc::new(RealDisk))?;
    match opened {
        Opened::Clean => {}
        Opened::Damaged { letters } => tracing::error!(
            class = "state",
            code = "dead_letters_damaged",
            "{} dead letters were damaged and set aside; those of intents come back from the journal",
            letters.len()
        ),
        Opened::Rebuilt { set_aside } => tracing::error!(
            class = "state",
            code = "dead_letters_rebuilt",
            "the dead-letter database was damaged; it was set aside as {} and is rebuilt from the journal",
            set_aside.display()
        ),
    }
    Ok(letters)
}

/// What an operator has decided about letters while the host was stopped, per agent.
pub(super) fn decided_letters(letters: &DeadLetterStore) -> Result<Vec<(String, Operator)>, StartError> {
    let decided = |letter: DeadLetter| {
        let key: IntentKey = letter.id.as_str().parse().ok()?;
        let order = match letter.status {
            LetterStatus::Dead => return None,
            LetterStatus::Requeued => Operator::Replay { key, replay: letter.replay },
            LetterStatus::Resolved { note, .. } => Operator::Resolve { key, note },
        };
        Some((letter.agent, order))
    };
    Ok(letters.list(None, usize::MAX)?.into_iter().filter_map(decided).collect())
}

pub(super) fn recover(
    config: &Config,
    agent: &AgentConfig,
    plugin: &Plugin,
    venue: &BuiltVenue,
    state: Option<State>,
    entries: &[Entry],
    now: Now,
) -> Result<Core, StartError> {
    let recorded = matches!(config.feed, FeedConfig::Files { .. });
    let core = CoreConfig {
        name: agent.name.clone(),
        incarnation: agent.incarnation,
        plugin: plugin.digest(),
        instruments: Arc::new(traded(config, agent)?),
        settings: settings(agent)?,
        cash: agent.cash,
        seed: config.seed,
        run_id: config.seed,
        live: true,
        time: if recorded { TimeSource::Data } else { TimeSource::Wall },
        risk: agent.risk.clone(),
        retry: agent.retry,
        degradation: agent.degradation,
        limits: agent.limits.clone(),
        on_halt: agent.on_halt,
        on_stop: agent.on_stop,
    };
    let strategy = plugin
        .instantiate()
        .map_err(|source| RecoverError::Strategy { agent: agent.name.clone(), source })?;
    let check = if recorded { config.market.clone().recorded() } else { config.market.clone() };
    let parts = Parts {
        strategy: Box::new(strategy),
        dialect: Arc::clone(&venue.dialect),
        gate: Box::new(venue.gate.clone()),
        check,
    };
    Ok(Core::recover(core, parts, state, entries, now)?)
}

/// TOML values as the strategy gets them: a float is given as it is, exact decimals are given as text.
pub(super) fn settings(agent: &AgentConfig) -> Result<Vec<Setting>, StartError> {
    let wrong = |key: &str, reason: &str| StartError::Setting {
        agent: agent.name.clone(),
        key: key.to_owned(),
        reason: reason.to_owned(),
    };
    (agent.settings.iter())
        .map(|(key, value)| {
            let value = match value {
                toml::Value::Boolean(value) => SettingValue::Boolean(*value),
                toml::Value::Integer(value) => SettingValue::Integer(*value),
                toml::Value::Float(value) if value.is_finite() => SettingValue::Real(*value),
                toml::Value::Float(_) => return Err(wrong(key, "expected a finite number")),
                toml::Value::String(text) => match text.strip_prefix("decimal:") {
                    Some(digits) => SettingValue::Exact(digits.parse::<Decimal>().map_err(|_| {
                        wrong(key, "expected digits after \"decimal:\", such as \"decimal:0.25\"")
                    })?),
                    None => SettingValue::Text(text.clone()),
                },
                _ => return Err(wrong(key, "expected true or false, a number or a text")),
            };
            Ok(Setting { key: key.clone(), value })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_strategy_is_refused_when_it_cannot_be_given_what_it_needs() {
        let needs = DataNeeds { instruments_min: 2, instruments_max: 3, ..DataNeeds::default() };
        assert_eq!(check_needs(&needs, 2), Ok(()));
        assert_eq!(check_needs(&needs, 3), Ok(()));
        assert!(check_needs(&needs, 1).unwrap_err().contains("2 to 3 instruments"));
        assert!(check_needs(&needs, 4).is_err());
        let bars = DataNeeds { bar_seconds: vec![60], ..needs };
        assert!(check_needs(&bars, 2).unwrap_err().contains("bars of [60] seconds"));
    }
}
