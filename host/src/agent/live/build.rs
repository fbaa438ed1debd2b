//! From a configuration to the parts of a host. Each part is checked before the next is touched.

use super::clock::SystemClock;
use super::deployment::{Chosen, Configured, components_of};
use super::error::{ComponentError, StartError, Unpinned};
use super::letter_orders::word_about;
use super::settings::from_toml;
use super::store::AgentStore;
use crate::agent::core::{Core, CoreConfig, Operator, Parts, RecoverError, State, TimeSource};
use crate::config::{AgentConfig, Config, FeedConfig, FileFeedConfig, VenueConfig};
use crate::market::{FeedConfig as FileFormat, FileFeed, InstrumentError, Instruments, Merge, Now, merge};
use crate::orders::journal::{FileJournal, JournalSummary};
use crate::orders::{AgentName, Books, Digest, Entry, IntentState, OrderId};
use crate::plugin::{DataNeeds, Plugin, Sandbox, Services, Session, Setting, Strategy, Terms};
use crate::resilience::{
    CheckpointStore, Classified, DeadLetter, DeadLetterStore, Disk, Failure, Gate, Loaded, Opened, Phase,
    RealDisk, SharedGate,
};
use crate::venue::feed::PriceSource;
use crate::venue::http::{HttpDialect, HttpVenue};
use crate::venue::purpleflea::{PurpleFleaDialect, PurpleFleaVenue};
use crate::venue::{Dialect, Readiness, Venue};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// One venue: what the core and the shell need of it.
pub(super) struct BuiltVenue {
    pub name: String,
    pub dialect: Arc<dyn Dialect>,
    pub venue: Arc<dyn Venue>,
    pub prices: Arc<dyn PriceSource>,
    pub gate: SharedGate,
    pub updates_poll: Duration,
    pub updates_silence_max: Duration,
}

/// Where real money may be at stake, an operator says which component it is, so that a file that is replaced does
/// not trade.
pub(crate) fn check_pin(
    config: &Config,
    agent: &AgentConfig,
    pin: Option<Digest>,
    digest: impl FnOnce() -> Digest,
) -> Result<(), Box<Unpinned>> {
    match (config.venue.get(&agent.venue).and_then(VenueConfig::remote_host), pin) {
        (Some(host), None) => Err(Box::new(Unpinned {
            agent: agent.name.clone(),
            venue: agent.venue.clone(),
            host,
            component: agent.component.clone(),
            digest: digest(),
        })),
        _ => Ok(()),
    }
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

/// Loads a component as an agent has it: with the agent's limits and grants, and a digest that it must have. The one
/// way in, at a start and at a swap.
pub(super) fn load_component(
    config: &Config,
    agent: &AgentConfig,
    sandbox: &Sandbox,
    file: &Path,
    pin: Option<Digest>,
) -> Result<Plugin, ComponentError> {
    let terms = Terms { pin, ..config.terms(agent) };
    let bytes = Sandbox::read(file, &terms.limits)?;
    // Of a file that is too large, which is refused for that, not all has been read.
    if bytes.len() as u64 <= terms.limits.component_bytes_max {
        check_pin(config, agent, pin, || Digest::of(&bytes))?;
    }
    Ok(sandbox.admit(&bytes, &file.display().to_string(), &terms)?)
}

/// Holds settings against the schema of the component that is to run with them.
pub(super) fn check_settings(
    agent: &AgentConfig,
    plugin: &Plugin,
    settings: &[Setting],
) -> Result<(), StartError> {
    plugin
        .check_settings(settings)
        .map_err(|source| StartError::Settings { agent: agent.name.clone(), source })
}

/// Shows every component that the configuration names its settings.
pub(super) fn check_strategies(
    config: &Config,
    configured: &[Configured],
    now: Now,
) -> Result<(), StartError> {
    for (agent, plugin) in config.agent.iter().zip(configured) {
        if let Ok(plugin) = plugin {
            check_strategy(config, agent, plugin, settings(agent)?, now)?;
        }
    }
    Ok(())
}

/// Shows a strategy its settings on a throw-away instance, so that one that refuses them does so before anything is
/// written or changed.
pub(super) fn check_strategy(
    config: &Config,
    agent: &AgentConfig,
    plugin: &Plugin,
    settings: Vec<Setting>,
    now: Now,
) -> Result<(), StartError> {
    let instruments = traded(config, agent)?;
    check_needs(&plugin.metadata().needs, instruments.len())
        .map_err(|reason| StartError::Needs { agent: agent.name.clone(), reason })?;
    check_settings(agent, plugin, &settings)?;
    let session = Session {
        run_id: config.seed,
        seed: config.seed,
        now: now.wall,
        next_order_id: OrderId(1),
        instruments: instruments.clone(),
        settings,
        live: true,
    };
    let books = Books::new(agent.cash, instruments.len());
    let services = Services::new(books, Arc::new(instruments), config.seed);
    let mut services = Box::new(services.with_limits(agent.limits.services));
    plugin
        .instantiate()
        .and_then(|mut strategy| strategy.init(&session, &mut services))
        .map_err(|source| RecoverError::Strategy { agent: agent.name.clone(), source })?;
    Ok(())
}

/// Whether a strategy can be given what it has to be given. One that waits for what never comes would
/// look as if it worked.
fn check_needs(needs: &DataNeeds, instruments: usize) -> Result<(), String> {
    let (min, max) = (needs.instruments_min, needs.instruments_max);
    if !u32::try_from(instruments).is_ok_and(|count| (min..=max).contains(&count)) {
        return Err(format!("trades {min} to {max} instruments, the configuration gives it {instruments}"));
    }
    Ok(())
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
    clock: SystemClock,
) -> Result<Vec<BuiltVenue>, StartError> {
    let instruments = Arc::new(instruments.clone());
    (config.venue.iter())
        .map(|(name, venue)| build_venue(name, venue, &instruments, config.seed, clock))
        .collect()
}

fn build_venue(
    name: &str,
    config: &VenueConfig,
    instruments: &Arc<Instruments>,
    seed: u64,
    clock: SystemClock,
) -> Result<BuiltVenue, StartError> {
    let instruments = Arc::clone(instruments);
    match config {
        VenueConfig::Http { gate, updates_poll_ms, updates_silence_ms_max, .. } => {
            let updates = (*updates_poll_ms, *updates_silence_ms_max);
            let http = config.http(name);
            let dialect = Arc::new(HttpDialect::new(http.profile()));
            let venue = Arc::new(HttpVenue::new(&http, instruments)?);
            Ok(BuiltVenue::new(name, dialect, venue, Gate::new(**gate, seed), updates))
        }
        VenueConfig::PurpleFlea(flea) => {
            let dialect = Arc::new(PurpleFleaDialect::new(flea.profile(name), flea.leverage));
            let clock = Arc::new(move || clock.now().wall);
            let venue = Arc::new(PurpleFleaVenue::new(name, flea, instruments, clock)?);
            // There are no updates to miss: orders are asked about, and the core counts how long in vain.
            let updates = (flea.updates_poll_ms, u64::MAX);
            Ok(BuiltVenue::new(name, dialect, venue, Gate::new(*flea.gate, seed), updates))
        }
    }
}

impl BuiltVenue {
    fn new(
        name: &str,
        dialect: Arc<dyn Dialect>,
        venue: Arc<impl Venue + PriceSource + 'static>,
        gate: Gate,
        (updates_poll_ms, updates_silence_ms_max): (u64, u64),
    ) -> Self {
        Self {
            name: name.to_owned(),
            dialect,
            prices: Arc::clone(&venue) as Arc<dyn PriceSource>,
            venue,
            gate: SharedGate::new(gate),
            updates_poll: Duration::from_millis(updates_poll_ms.max(1)),
            updates_silence_max: Duration::from_millis(updates_silence_ms_max),
        }
    }
}

/// Asks every venue that agents trade on whether their account can trade. One that does not answer now is
/// only warned about: it may answer in a minute, and a host that does not start watches no positions. Until it
/// does, orders fail one by one, as they would had it gone away later.
pub(super) async fn check_accounts(config: &Config, venues: &[BuiltVenue]) -> Result<(), StartError> {
    for built in venues.iter().filter(|built| config.agent.iter().any(|agent| agent.venue == built.name)) {
        match built.venue.readiness().await {
            Ok(Readiness::Ready) => {}
            Ok(Readiness::Refused(reason)) => {
                return Err(StartError::NotTradeable { venue: built.name.clone(), reason });
            }
            Err(failure) => tracing::warn!(venue = %built.name, class = %failure.class, code = %failure.code,
                "cannot check the account: {failure}"),
        }
    }
    Ok(())
}

/// What the checkpoints remember of an agent.
pub(in crate::agent) struct Remembered {
    /// The newest one that verifies, and the last record of the journal in it.
    pub state: Option<(State, u64)>,
    /// How many do not.
    pub bad: usize,
}

/// The agent's newest good checkpoint, and where the next one goes.
pub(in crate::agent) fn load_state(
    config: &Config,
    agent: &AgentConfig,
    disk: Arc<dyn Disk>,
) -> Result<(Remembered, AgentStore), StartError> {
    let dir = config.data_dir.join("checkpoints").join(agent.name.as_str());
    let (checkpoints, loaded) =
        CheckpointStore::open(&dir, agent.name.as_str(), config.checkpoints.clone(), disk)?;
    let (state, bad) = match loaded {
        Loaded::FirstRun => (None, 0),
        // Bad ones that an earlier start has set aside count too: this is no first run.
        Loaded::AllBad { set_aside } => (None, set_aside.len().max(1)),
        Loaded::Checkpoint { checkpoint, set_aside } => {
            let state = State::decode(&agent.name, &checkpoint.payload)?;
            (Some((state, checkpoint.header.point.journal_seq)), set_aside.len())
        }
    };
    if bad > 0 {
        tracing::error!(agent = %agent.name, class = "state", code = "checkpoint_corrupt",
            "{bad} damaged checkpoints were set aside in {}", dir.display());
    }
    // A raised incarnation starts anew on purpose; the old state stays on the disk.
    let state = state.filter(|(state, _)| state.incarnation >= agent.incarnation);
    let store = AgentStore { incarnation: agent.incarnation, checkpoints, first_seq: 0 };
    Ok((Remembered { state, bad }, store))
}

/// What the journal holds of one agent.
#[derive(Default)]
pub(in crate::agent) struct Story {
    /// Records that its checkpoint does not contain.
    pub entries: Vec<Entry>,
    /// The incarnation that ran last.
    pub incarnation: Option<u32>,
    /// Number of its last record in the configured incarnation.
    pub last_number: u64,
    /// The journal's number of that record.
    pub last_seq: u64,
}

/// What the journal holds.
#[derive(Default)]
pub(in crate::agent) struct Stories {
    /// By configured agent.
    pub by_agent: BTreeMap<AgentName, Story>,
    /// The first record of every agent, whether it is configured or not.
    pub first_seqs: BTreeMap<AgentName, u64>,
    /// Every component that a record names, of any agent.
    pub components: BTreeSet<Digest>,
}

/// Opens the journal and keeps, per agent, the records that its checkpoint does not contain.
pub(super) fn open_journal(
    config: &Config,
    remembered: &[Remembered],
) -> Result<(FileJournal, JournalSummary, Stories), StartError> {
    let mut stories = Stories::default();
    let dir = config.data_dir.join("journal");
    let mut visit = stories.gather(config, remembered);
    let opened = FileJournal::open(&dir, config.journal.clone(), Arc::new(RealDisk), &mut visit);
    drop(visit);
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
    Ok((journal, summary, stories))
}

impl Stories {
    /// Keeps, per agent, the records that its checkpoint does not contain.
    pub fn gather(
        &mut self,
        config: &Config,
        remembered: &[Remembered],
    ) -> impl FnMut(u64, &[u8]) -> Result<(), Failure> {
        let mut known: BTreeMap<AgentName, (u32, u64)> = BTreeMap::new();
        for (agent, Remembered { state, .. }) in config.agent.iter().zip(remembered) {
            known.insert(
                agent.name.clone(),
                (agent.incarnation, state.as_ref().map_or(0, |(state, _)| state.number)),
            );
        }
        let Self { by_agent: stories, first_seqs, components } = self;
        move |seq, payload| {
            let entry = Entry::decode(seq, payload)
                .map_err(|error| Failure::new(error.class(), error.code(), Phase::Done, error.to_string()))?;
            first_seqs.entry(entry.agent.clone()).or_insert(seq);
            components.extend(components_of(&entry.record));
            let Some((incarnation, number)) = known.get(&entry.agent).copied() else { return Ok(()) };
            let story = stories.entry(entry.agent.clone()).or_default();
            story.incarnation = Some(entry.incarnation);
            // Records of an incarnation that an operator has closed are history.
            if entry.incarnation >= incarnation {
                (story.last_number, story.last_seq) = (entry.number, seq);
                if entry.number > number {
                    story.entries.push(entry);
                }
            }
            Ok(())
        }
    }
}

/// Whether what the disk remembers of an agent can be continued: neither a lost journal nor lost
/// checkpoints are ever taken for a first run.
pub(in crate::agent) fn check_story(
    agent: &AgentConfig,
    remembered: &Remembered,
    story: &Story,
    journal: &JournalSummary,
) -> Result<(), StartError> {
    let name = || agent.name.clone();
    let Some((state, journal_seq)) = &remembered.state else {
        let raised = story.incarnation.is_some_and(|last| last < agent.incarnation);
        let from_the_start = story.entries.first().is_some_and(|entry| entry.number == 1);
        let ran_before = remembered.bad > 0 || !story.entries.is_empty();
        return if ran_before && !raised && !from_the_start {
            Err(StartError::NoState { agent: name(), count: remembered.bad, start: journal.first_seq })
        } else {
            Ok(())
        };
    };
    if journal.first_seq > *journal_seq {
        let (needed, start) = (*journal_seq, journal.first_seq);
        return Err(StartError::JournalStart { agent: name(), needed, start });
    }
    if story.last_number < state.number || story.last_seq < *journal_seq {
        let (checkpoint, last) = (*journal_seq, journal.next_seq.saturating_sub(1));
        return Err(StartError::JournalBehind { agent: name(), checkpoint, journal: last });
    }
    Ok(())
}

pub(super) fn open_letters(config: &Config) -> Result<DeadLetterStore, StartError> {
    let dir = config.data_dir.join("dead-letters");
    let (letters, opened) = DeadLetterStore::open(&dir, config.dead_letters.clone(), Arc::new(RealDisk))?;
    if let Opened::Rebuilt { set_aside, reason, kept, unreadable } = opened {
        tracing::error!(
            class = "state",
            code = "dead_letters_rebuilt",
            "the dead-letter database is damaged: {reason}; it was set aside as {}, a new one begins with the {kept} \
             letters that can be read, and those of intents come back from the journal",
            set_aside.display()
        );
        if !unreadable.is_empty() {
            tracing::error!(
                class = "state",
                code = "dead_letter_damaged",
                "dead letters that could not be read: {}",
                unreadable.join(", ")
            );
        }
    }
    Ok(letters)
}

/// What an operator has decided about letters while the host was stopped, per agent.
pub(super) fn decided_letters(letters: &DeadLetterStore) -> Result<Vec<(String, Operator)>, StartError> {
    let decided = |letter: DeadLetter| Some((letter.agent.clone(), word_about(&letter)?));
    Ok(letters.list(None, usize::MAX)?.into_iter().filter_map(decided).collect())
}

/// Whether the agent has to hear of an order. That a letter was closed is news only while the agent has not
/// closed it itself, which it may have forgotten since.
pub(super) fn is_news(core: &Core, order: &Operator) -> bool {
    let Operator::Resolve { key, .. } = order else { return true };
    let state = core.ledger().intent(key).map(|intent| &intent.state);
    state.is_some_and(|state| !state.is_terminal() || matches!(state, IntentState::DeadLettered { .. }))
}

pub(super) fn recover(
    config: &Config,
    agent: &AgentConfig,
    runs: &Chosen,
    venue: &BuiltVenue,
    state: Option<State>,
    entries: &[Entry],
    now: Now,
) -> Result<Core, StartError> {
    let recorded = matches!(config.feed, FeedConfig::Files { .. });
    let core = CoreConfig {
        name: agent.name.clone(),
        incarnation: agent.incarnation,
        plugin: runs.plugin.digest(),
        configured: runs.configured,
        instruments: Arc::new(traded(config, agent)?),
        settings: runs.settings.clone(),
        cash: agent.cash,
        seed: config.seed,
        run_id: config.seed,
        live: true,
        record_inputs: true,
        time: if recorded { TimeSource::Data } else { TimeSource::Wall },
        risk: agent.risk.clone(),
        retry: agent.retry,
        degradation: agent.degradation,
        limits: agent.limits.clone(),
        on_halt: agent.on_halt,
        supervision: agent.supervision,
        on_stop: agent.on_stop,
    };
    let strategy = runs
        .plugin
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

/// The settings that the configuration gives an agent.
pub(crate) fn settings(agent: &AgentConfig) -> Result<Vec<Setting>, StartError> {
    from_toml(&agent.settings).map_err(|source| StartError::Setting { agent: agent.name.clone(), source })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::orders::{Mode, Record};

    #[test]
    fn a_strategy_is_refused_when_it_cannot_be_given_what_it_needs() {
        let needs = DataNeeds { instruments_min: 2, instruments_max: 3, ..DataNeeds::default() };
        assert_eq!(check_needs(&needs, 2), Ok(()));
        assert_eq!(check_needs(&needs, 3), Ok(()));
        assert!(check_needs(&needs, 1).unwrap_err().contains("2 to 3 instruments"));
        assert!(check_needs(&needs, 4).is_err());
        let bars = DataNeeds { bar_seconds: vec![60], ..needs };
        assert_eq!(check_needs(&bars, 2), Ok(()));
    }

    fn agent() -> AgentConfig {
        let text = "name = \"ema\"\ncomponent = \"x\"\nvenue = \"v\"\ninstruments = [\"A\"]\ncash = \"1\"";
        toml::from_str(text).unwrap()
    }

    fn journal(first_seq: u64) -> JournalSummary {
        JournalSummary { segments: 1, first_seq, next_seq: 100, torn: None, mark_damaged: false }
    }

    fn entry(incarnation: u32, number: u64) -> Entry {
        let cause = crate::resilience::ModeCause::Operator;
        let record = Record::ModeChanged { from: Mode::Full, to: Mode::ReadOnly, cause };
        Entry { agent: agent().name, incarnation, number, at: crate::market::UnixNanos(0), record }
    }

    fn story(incarnation: u32, entries: Vec<Entry>) -> Story {
        let last_number = entries.last().map_or(0, |entry| entry.number);
        Story { entries, incarnation: Some(incarnation), last_number, last_seq: 99 }
    }

    #[test]
    fn a_compacted_journal_without_a_checkpoint_is_no_first_run() {
        let nothing = || Remembered { state: None, bad: 0 };
        let left = || story(1, vec![entry(1, 50), entry(1, 51)]);
        for bad in [0, 2] {
            let remembered = Remembered { state: None, bad };
            let refused = check_story(&agent(), &remembered, &left(), &journal(40)).unwrap_err();
            assert!(matches!(refused, StartError::NoState { start: 40, .. }), "{refused}");
            assert!(refused.to_string().contains("raise its incarnation"), "{refused}");
        }
        // From the first record on everything can be rebuilt, and a new agent has no records at all.
        check_story(&agent(), &nothing(), &story(1, vec![entry(1, 1)]), &journal(1)).unwrap();
        check_story(&agent(), &nothing(), &Story::default(), &journal(40)).unwrap();
        // The operator has followed the advice.
        let raised = AgentConfig { incarnation: 2, ..agent() };
        check_story(&raised, &nothing(), &story(1, Vec::new()), &journal(40)).unwrap();
    }
}
