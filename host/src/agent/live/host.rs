//! A host: everything that a configuration names, put together, started, and stopped in order.

use super::build::{
    BuiltVenue, Recorded, build_venues, check_story, check_strategies, decided_letters, load_plugins,
    load_state, open_feed, open_journal, open_letters, open_publisher, recover,
};
use super::clock::SystemClock;
use super::error::{StartError, system};
use super::feed::{FeedProgress, FeedRunner, Publisher, Route};
use super::link::Link;
use super::pace::Pace;
use super::report::AgentReport;
use super::runner::{AgentHandle, Runner};
use super::store::Store;
use crate::agent::core::{Core, Event, Operator};
use crate::config::{Config, FeedConfig};
use crate::market::{InstrumentId, Instruments};
use crate::orders::journal::{FileJournal, Journal};
use crate::orders::{AgentName, Mode};
use crate::plugin::{Sandbox, SandboxConfig};
use crate::resilience::{Classified, DirLock, GateStats};
use crate::venue::Venue;
use crate::venue::feed::{PriceFeed, PriceFeedConfig};
use crate::venue::http::HttpVenue;
use crossbeam_channel::Receiver;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// Samples that may wait for one agent; a feed that is faster waits too.
const SAMPLES_QUEUED_MAX: usize = 1_024;

/// The receiving ends of an agent's queues: samples and answers.
type Queues = (Receiver<Event>, Receiver<Event>);

/// What a whole run has done.
#[derive(Debug)]
pub struct RunReport {
    /// One report per agent, in the order of the configuration.
    pub agents: Vec<AgentReport>,
    /// Breakers and limiters, by venue.
    pub gates: BTreeMap<String, GateStats>,
    /// Samples that the feed handed over.
    pub samples: u64,
    /// Open dead letters at the end.
    pub dead_letters: u64,
    /// What went wrong with the host itself, in words; an agent's own troubles are in its report.
    pub broken: Vec<String>,
}

impl RunReport {
    /// Whether everything went as it should: nothing broke, no strategy was halted, nothing was left behind.
    pub fn is_orderly(&self) -> bool {
        const GRAVE: [&str; 3] = ["journal_failed", "flatten_failed", "stopped_with_open_intents"];
        let grave =
            |agent: &AgentReport| agent.alerts.iter().any(|(_, alert)| GRAVE.contains(&alert.code.as_str()));
        self.broken.is_empty()
            && !self.agents.iter().any(|agent| agent.halted || agent.mode == Mode::Shutdown || grave(agent))
    }
}

/// Stops a running host from another thread.
#[derive(Clone)]
pub struct StopHandle {
    progress: Arc<FeedProgress>,
    agents: Vec<AgentHandle>,
}

impl StopHandle {
    /// Asks the feed and every agent to finish in order.
    pub fn stop(&self) {
        self.progress.stop();
        for agent in &self.agents {
            agent.answer(Event::Stop);
        }
    }
}

/// A started host.
pub struct Host {
    runtime: tokio::runtime::Runtime,
    journal: Arc<FileJournal>,
    store: Store,
    links: Vec<Arc<Link>>,
    threads: Vec<JoinHandle<()>>,
    reports: Vec<Arc<Mutex<AgentReport>>>,
    handles: Vec<AgentHandle>,
    pace: Arc<Pace>,
    progress: Arc<FeedProgress>,
    feed: Option<JoinHandle<()>>,
    clock: SystemClock,
    bytes_total: Option<u64>,
    /// What went wrong with the host itself, in words.
    broken: Vec<String>,
    _lock: DirLock,
}

impl Host {
    /// Starts everything that the configuration names. Agents in `release` are freed of a latched shutdown
    /// before they do anything else.
    ///
    /// # Errors
    /// When anything is missing, damaged or does not belong together; see [`StartError`].
    pub fn start(config: &Config, release: &[AgentName]) -> Result<Self, StartError> {
        let clock = SystemClock::start();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .map_err(|error| system("start the network runtime", &error))?;
        // Everything that can be wrong without touching state comes first.
        let instruments = Instruments::new(config.instrument.clone())?;
        let sandbox = Sandbox::new(SandboxConfig::default())?;
        let plugins = load_plugins(config, &sandbox)?;
        let samples = open_feed(config, &instruments)?;
        let venues = build_venues(config, &instruments)?;
        check_strategies(config, &plugins, clock.now())?;
        let publisher = open_publisher(config, &instruments)?;
        if let Some(unknown) =
            release.iter().find(|name| config.agent.iter().all(|agent| agent.name != **name))
        {
            return Err(StartError::NoSuchAgent(unknown.clone()));
        }

        std::fs::create_dir_all(&config.data_dir)
            .map_err(|error| system(&format!("create {}", config.data_dir.display()), &error))?;
        // Held before anything below is touched: opening already tidies up.
        let lock = DirLock::acquire(&config.data_dir)?;
        let mut states = Vec::new();
        let mut stores = Vec::new();
        for (agent, plugin) in config.agent.iter().zip(&plugins) {
            let (state, store, bad) = load_state(config, agent, plugin)?;
            states.push((state, bad));
            stores.push(store);
        }
        let (journal, mut stories) = open_journal(config, &states)?;
        let letters = open_letters(config)?;
        let decided = decided_letters(&letters)?;
        let store = Store::start(stores, Arc::new(letters), config.dead_letter_alerts.clone())
            .map_err(|error| system("start the store", &error))?;

        let pace = Arc::new(Pace::new(config.agent.len()));
        let mut host = Self {
            runtime,
            journal: Arc::new(journal),
            store,
            links: Vec::new(),
            threads: Vec::new(),
            reports: Vec::new(),
            handles: Vec::new(),
            pace,
            progress: Arc::default(),
            feed: None,
            clock,
            bytes_total: samples.as_ref().and_then(|samples| samples.bytes_total),
            broken: Vec::new(),
            _lock: lock,
        };
        let mut agents = Vec::new();
        for ((agent, plugin), (state, bad)) in config.agent.iter().zip(&plugins).zip(states) {
            let story = stories.remove(&agent.name).unwrap_or_default();
            check_story(agent, state.as_ref(), bad, &story)?;
            let built = venues.iter().find(|venue| venue.name == agent.venue);
            let Some(built) = built else { continue };
            agents.push(recover(config, agent, plugin, built, state, &story.entries, clock.now())?);
        }
        let receivers = host.open_queues(agents.len());
        // The operator's word comes before everything else in an agent's queue.
        for name in release {
            host.tell(config, name.as_str(), Operator::Release);
        }
        for (name, order) in decided {
            host.tell(config, &name, order);
        }
        host.connect(config, &venues, agents, receivers, clock)?;
        host.start_feed(config, &venues, samples, publisher, clock)?;
        Ok(host)
    }

    fn open_queues(&mut self, agents: usize) -> Vec<Queues> {
        let mut receivers = Vec::new();
        for _ in 0..agents {
            let (samples, samples_in) = crossbeam_channel::bounded(SAMPLES_QUEUED_MAX);
            let (answers, answers_in) = crossbeam_channel::unbounded();
            self.handles.push(AgentHandle { samples, answers });
            receivers.push((samples_in, answers_in));
        }
        receivers
    }

    fn tell(&self, config: &Config, agent: &str, order: Operator) {
        let position = config.agent.iter().position(|config| config.name.as_str() == agent);
        match position.and_then(|position| self.handles.get(position)) {
            Some(handle) => {
                handle.answer(Event::Operator(order));
            }
            None => tracing::warn!(
                class = "state",
                code = "letter_of_nobody",
                "a decided dead letter belongs to agent {agent}, which the configuration does not have: {order:?}"
            ),
        }
    }

    /// Starts the agents' threads and the tasks of their venues.
    fn connect(
        &mut self,
        config: &Config,
        venues: &[BuiltVenue],
        agents: Vec<Core>,
        receivers: Vec<Queues>,
        clock: SystemClock,
    ) -> Result<(), StartError> {
        for built in venues {
            let on_venue: Vec<usize> = (0..agents.len())
                .filter(|i| config.agent.get(*i).is_some_and(|a| a.venue == built.name))
                .collect();
            // The agent that has seen least decides where to begin; the others recognise what they know.
            let cursor = on_venue.iter().filter_map(|i| agents.get(*i)).map(Core::cursor).min().unwrap_or(0);
            let link = Arc::new(Link {
                name: built.name.clone(),
                venue: Arc::clone(&built.venue) as Arc<dyn Venue>,
                gate: built.gate.clone(),
                clock,
                agents: on_venue.iter().filter_map(|i| Some((*i, self.handles.get(*i)?.clone()))).collect(),
                pace: Arc::clone(&self.pace),
                cursor: AtomicU64::new(cursor),
                reconciled: AtomicBool::new(true),
                updates_poll: built.updates_poll,
            });
            // Before the first tick: what happened while the host was away. While the venue does not say,
            // agents only observe; the link asks again.
            if let Err(failure) = self.runtime.block_on(link.poll_updates()) {
                tracing::warn!(venue = %built.name, class = %failure.class, code = %failure.code,
                    "cannot reconcile yet, the agents only observe: {failure}");
                link.hold_back();
            }
            self.runtime.spawn(Arc::clone(&link).run());
            self.links.push(link);
        }
        for (index, (core, (samples, answers))) in agents.into_iter().zip(receivers).enumerate() {
            let venue =
                config.agent.get(index).and_then(|agent| venues.iter().find(|v| v.name == agent.venue));
            let (Some(venue), Some(handle)) = (venue, self.handles.get(index)) else { continue };
            let report = Arc::new(Mutex::new(AgentReport::new(&core)));
            self.reports.push(Arc::clone(&report));
            let name = core.config().name.to_string();
            let runner = Runner {
                index,
                core,
                clock,
                samples,
                answers,
                handle: handle.clone(),
                journal: Arc::clone(&self.journal) as Arc<dyn Journal>,
                venue: Arc::clone(&venue.venue) as Arc<dyn Venue>,
                gate: venue.gate.clone(),
                runtime: self.runtime.handle().clone(),
                store: self.store.handle(),
                pace: Arc::clone(&self.pace),
                report,
                journal_broken: false,
            };
            let thread = std::thread::Builder::new()
                .name(format!("agent {name}"))
                // wasm may use up to half a mebibyte of it; the rest is the host's.
                .stack_size(4 << 20)
                .spawn(move || runner.run())
                .map_err(|error| system("start an agent's thread", &error))?;
            self.threads.push(thread);
        }
        Ok(())
    }

    fn start_feed(
        &mut self,
        config: &Config,
        venues: &[BuiltVenue],
        samples: Option<Recorded>,
        publisher: Option<(HttpVenue, Arc<Instruments>)>,
        clock: SystemClock,
    ) -> Result<(), StartError> {
        let routes =
            (config.instrument.iter()).map(|instrument| self.routes_of(config, &instrument.symbol)).collect();
        let mut runner = FeedRunner {
            routes,
            pace: Arc::clone(&self.pace),
            progress: Arc::clone(&self.progress),
            clock,
            runtime: self.runtime.handle().clone(),
            publish: None,
            settle_max: Duration::from_millis(250),
        };
        let handles = self.handles.clone();
        // Behind the last sample, so that every sample is seen before the end.
        let finish = move || {
            for handle in &handles {
                handle.sample(Event::Stop);
            }
        };
        let builder = std::thread::Builder::new().name("feed".into());
        let thread = match (&config.feed, samples) {
            (FeedConfig::Files { pace, settle_ms_max, .. }, Some(samples)) => {
                runner.settle_max = Duration::from_millis(*settle_ms_max);
                let links = self.links.clone();
                runner.publish =
                    publisher.map(|(market, instruments)| Publisher { market, instruments, links });
                let pace = *pace;
                builder.spawn(move || {
                    runner.replay(samples.samples, pace);
                    finish();
                })
            }
            (FeedConfig::Venue { venue, poll_ms }, _) => {
                let built = venues.iter().find(|built| built.name == *venue);
                let Some(built) = built else { return Ok(()) };
                let polling = PriceFeedConfig { interval_ms: *poll_ms };
                let guard = self.runtime.enter();
                let prices = PriceFeed::new(Arc::clone(&built.venue), polling);
                drop(guard);
                builder.spawn(move || {
                    runner.live(prices);
                    finish();
                })
            }
            (FeedConfig::Files { .. }, None) => return Ok(()),
        };
        self.feed = Some(thread.map_err(|error| system("start the feed", &error))?);
        Ok(())
    }

    fn routes_of(&self, config: &Config, symbol: &str) -> Vec<Route> {
        let mut routes = Vec::new();
        for (index, (agent, handle)) in config.agent.iter().zip(&self.handles).enumerate() {
            let position = agent.instruments.iter().position(|name| name == symbol);
            if let Some(position) = position.and_then(|position| u32::try_from(position).ok()) {
                let instrument = InstrumentId(position);
                routes.push(Route { agent: index, handle: handle.clone(), instrument });
            }
        }
        routes
    }

    /// How far the feed has come.
    pub fn progress(&self) -> Arc<FeedProgress> {
        Arc::clone(&self.progress)
    }

    /// Stops the host from another thread.
    pub fn stop_handle(&self) -> StopHandle {
        StopHandle { progress: Arc::clone(&self.progress), agents: self.handles.clone() }
    }

    /// Checks everything that a start would check, and starts nothing.
    ///
    /// # Errors
    /// As [`Host::start`], without what the state on the disk could add.
    pub fn check(config: &Config) -> Result<(), StartError> {
        let instruments = Instruments::new(config.instrument.clone())?;
        let sandbox = Sandbox::new(SandboxConfig::default())?;
        let plugins = load_plugins(config, &sandbox)?;
        open_feed(config, &instruments)?;
        build_venues(config, &instruments)?;
        open_publisher(config, &instruments)?;
        check_strategies(config, &plugins, SystemClock::start().now())
    }

    /// Size of the recorded data, for a progress bar; `None` for live data.
    pub fn bytes_expected(&self) -> Option<u64> {
        self.bytes_total
    }

    /// The mode of every agent, for a progress bar.
    pub fn modes(&self) -> String {
        let mode = |report: &Arc<Mutex<AgentReport>>| {
            let report = report.lock().unwrap_or_else(PoisonError::into_inner);
            format!("{} {}", report.name, report.mode)
        };
        self.reports.iter().map(mode).collect::<Vec<_>>().join(", ")
    }

    /// Stops the host in order when the process is interrupted.
    pub fn stop_on_interrupt(&self) {
        let stop = self.stop_handle();
        self.runtime.spawn(async move {
            interrupted().await;
            tracing::warn!("interrupted: finishing in order, interrupt again to stop at once");
            stop.stop();
            interrupted().await;
            // What is durable is on the disk already; the next start takes it up.
            std::process::exit(130);
        });
    }

    /// Waits until every agent has stopped, at most this long. Whether they have.
    pub fn wait(&self, at_most: Duration) -> bool {
        self.pace.wait_stopped(at_most)
    }

    /// The reports so far, one per agent.
    pub fn reports(&self) -> Vec<Arc<Mutex<AgentReport>>> {
        self.reports.clone()
    }

    /// Waits until the feed has ended and every agent has finished, then closes everything in order.
    pub fn join(mut self) -> RunReport {
        for thread in self.threads.drain(..) {
            // A panic of an agent's thread is a bug of the host; its journal is intact, so the others go on.
            if thread.join().is_err() {
                self.broken.push("an agent's thread panicked; its journal is intact, report the bug".into());
                tracing::error!(class = "logic", code = "agent_panicked", "an agent's thread panicked");
            }
        }
        self.progress.stop();
        if self.feed.take().is_some_and(|feed| feed.join().is_err()) {
            self.broken.push("the feed's thread panicked; report the bug".into());
        }
        if self.progress.is_broken() {
            self.broken.push("the data could not be read to its end; see the log".into());
        }
        let gates = self
            .links
            .iter()
            .map(|link| (link.name.clone(), link.gate.stats(self.clock.now().mono)))
            .collect();
        let letters = Arc::clone(self.store.letters());
        self.store.finish();
        let dead_letters = letters.counts().dead;
        if let Err(error) = self.journal.close() {
            tracing::error!(class = %error.class(), code = error.code(), "{error}");
            self.broken.push(error.to_string());
        }
        self.runtime.shutdown_timeout(Duration::from_secs(1));
        let agents = (self.reports.iter())
            .map(|report| report.lock().unwrap_or_else(PoisonError::into_inner).clone())
            .collect();
        let broken = self.broken;
        RunReport { agents, gates, samples: self.progress.samples(), dead_letters, broken }
    }
}

/// Waits for an interrupt from the terminal or a request to end from a service manager.
async fn interrupted() {
    let terminate = async {
        match tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
            Ok(mut terminate) => {
                terminate.recv().await;
            }
            // Without a handler the system ends the process, which is what was asked for.
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        outcome = tokio::signal::ctrl_c() => {
            if outcome.is_err() {
                std::future::pending::<()>().await;
            }
        }
        () = terminate => {}
    }
}
