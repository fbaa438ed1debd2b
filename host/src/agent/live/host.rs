//! A host: everything that a configuration names, put together, started, and stopped in order.

use super::build::{
    BuiltVenue, Recorded, Stories, build_venues, check_accounts, check_story, check_strategies,
    decided_letters, is_news, load_state, open_feed, open_journal, open_letters, open_publisher, recover,
};
use super::clock::SystemClock;
use super::compaction::{Compactor, journal_holds};
use super::components::ComponentStore;
use super::control::{Controlled, HostControl, Shared};
use super::deployment::{choose, load_configured};
use super::durable::Durable;
use super::error::{StartError, system};
use super::feed::{FeedProgress, FeedRunner, Publisher, Route};
use super::letters::refill;
use super::link::{Link, Member};
use super::orders::StartOrder;
use super::pace::Pace;
use super::recording::Recorder;
use super::report::AgentReport;
use super::runner::{AgentHandle, Queues, Runner, open_queues};
use super::store::Store;
use super::swaps::{Running, Swaps};
use super::watcher::Watcher;
use crate::agent::core::{Core, Event, LastRun, Operator};
use crate::config::{Config, FeedConfig};
use crate::market::{InstrumentId, Instruments, UnixNanos};
use crate::orders::Mode;
use crate::orders::journal::{FileJournal, Journal};
use crate::plugin::Sandbox;
use crate::resilience::{Classified, DirLock, Disk, GateStats, LetterAlert, LetterAlertConfig, RealDisk};
use crate::venue::feed::{PriceFeed, PriceFeedConfig};
use crate::venue::http::HttpVenue;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

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
    /// Alerts about dead letters, oldest first.
    pub letter_alerts: Vec<(UnixNanos, LetterAlert)>,
    /// What went wrong with the host itself, in words; an agent's own troubles are in its report.
    pub broken: Vec<String>,
}

impl RunReport {
    /// Whether everything went as it should: nothing broke, no strategy failed, nothing was left behind.
    pub fn is_orderly(&self) -> bool {
        const GRAVE: [&str; 4] =
            ["journal_failed", "flatten_failed", "flatten_in_doubt", "stopped_with_open_intents"];
        let grave =
            |agent: &AgentReport| agent.alerts.iter().any(|(_, alert)| GRAVE.contains(&alert.code.as_str()));
        self.broken.is_empty()
            && !self.agents.iter().any(|agent| {
                agent.halted || agent.stats.strikes > 0 || agent.mode == Mode::Shutdown || grave(agent)
            })
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
    recorder: Recorder,
    links: Vec<Arc<Link>>,
    threads: Vec<JoinHandle<()>>,
    reports: Vec<Arc<Mutex<AgentReport>>>,
    handles: Vec<AgentHandle>,
    /// What an operator sees of the agents, once they run.
    controlled: Arc<[Controlled]>,
    swaps: Arc<Swaps>,
    watcher: Option<Watcher>,
    letter_alerts: LetterAlertConfig,
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
    /// Starts everything that the configuration names. What an operator `orders` reaches each agent before
    /// everything else.
    ///
    /// # Errors
    /// When anything is missing, damaged or does not belong together; see [`StartError`].
    pub fn start(config: &Config, orders: &[StartOrder]) -> Result<Self, StartError> {
        let clock = SystemClock::start();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .map_err(|error| system("start the network runtime", &error))?;
        // Everything that can be wrong without touching state comes first.
        let instruments = Instruments::new(config.instrument.clone())?;
        let sandbox = Sandbox::new(config.sandbox_config())?;
        let configured = load_configured(config, &sandbox)?;
        let samples = open_feed(config, &instruments)?;
        let venues = build_venues(config, &instruments, clock)?;
        check_strategies(config, &configured, clock.now())?;
        let publisher = open_publisher(config, &instruments)?;
        let unknown = |order: &&StartOrder| config.agent.iter().all(|agent| agent.name != order.agent);
        if let Some(StartOrder { agent, order }) = orders.iter().find(unknown) {
            return Err(StartError::NoSuchAgent { flag: order.flag(), agent: agent.clone() });
        }
        runtime.block_on(check_accounts(config, &venues))?;

        RealDisk.create_dir(&config.data_dir).map_err(|error| StartError::System {
            what: format!("cannot create {}", config.data_dir.display()),
            reason: error.message,
        })?;
        // Held before anything below is touched: opening already tidies up.
        let lock = DirLock::acquire(&config.data_dir)?;
        sandbox.keep_compiled();
        let mut remembered = Vec::new();
        let mut stores = Vec::new();
        for agent in &config.agent {
            let (state, store) = load_state(config, agent, Arc::new(RealDisk))?;
            remembered.push(state);
            stores.push(store);
        }
        let (journal, summary, found) = open_journal(config, &remembered)?;
        let Stories { by_agent: mut stories, first_seqs, mut components } = found;
        let journal = Arc::new(journal);
        for (agent, store) in config.agent.iter().zip(&mut stores) {
            store.first_seq = first_seqs.get(&agent.name).copied().unwrap_or(summary.next_seq);
        }
        let kept = ComponentStore::new(&config.data_dir, Arc::new(RealDisk));
        let mut chosen = Vec::new();
        for ((agent, configured), remembered) in config.agent.iter().zip(configured).zip(&remembered) {
            let story = stories.entry(agent.name.clone()).or_default();
            let last = LastRun::of(remembered.state.as_ref().map(|(state, _)| state), &story.entries);
            let runs = choose(config, agent, &sandbox, &kept, configured, last.as_ref())?;
            components.extend(last.iter().flat_map(LastRun::components));
            components.insert(runs.plugin.digest());
            chosen.push(runs);
        }
        let left_out = (config.agent.iter().map(|agent| &agent.name))
            .chain(&config.journal.retired_agents)
            .cloned()
            .collect();
        let others = journal_holds(&config.data_dir, &first_seqs, &left_out, &RealDisk)?;
        let compactor = Compactor::new(Arc::clone(&journal), &others);
        let letters = open_letters(config)?;
        let decided = decided_letters(&letters)?;
        let alerts = config.dead_letter_alerts.clone();
        let store = Store::start(stores, Arc::new(letters), alerts, compactor, clock)
            .map_err(|error| system("start the store", &error))?;

        let names: Vec<_> = config.agent.iter().map(|agent| agent.name.clone()).collect();
        let recorder = Recorder::start(&config.recording, &config.data_dir, &names)
            .map_err(|error| system("start the recorder", &error))?;

        let mut agents = Vec::new();
        let mut durable = Vec::new();
        for ((agent, runs), remembered) in config.agent.iter().zip(&chosen).zip(remembered) {
            let story = stories.remove(&agent.name).unwrap_or_default();
            check_story(agent, &remembered, &story, &summary)?;
            let built = venues.iter().find(|venue| venue.name == agent.venue);
            let Some(built) = built else { continue };
            // An agent without records needs nothing of the journal that is there.
            let seq =
                if story.last_number == 0 { summary.next_seq.saturating_sub(1) } else { story.last_seq };
            durable.push(Durable::starting(story.last_number, seq));
            let state = remembered.state.map(|(state, _)| state);
            agents.push(recover(config, agent, runs, built, state, &story.entries, clock.now())?);
            // What runs can be brought back, whatever becomes of its file.
            kept.keep(&runs.file, runs.plugin.digest(), runs.plugin.limits().component_bytes_max)?;
        }
        refill(store.letters(), &agents)?;
        let (handles, receivers) = open_queues(agents.len());
        let reports: Vec<_> =
            agents.iter().map(|core| Arc::new(Mutex::new(AgentReport::new(core)))).collect();
        let running = chosen.into_iter().zip(handles.iter().zip(&reports)).map(|(runs, (handle, report))| {
            let (handle, report) = (handle.clone(), Arc::clone(report));
            Running {
                deployment: runs.deployment(),
                previous: runs.previous,
                plugin: runs.plugin,
                handle,
                report,
            }
        });
        let swaps = Swaps::new(sandbox, config.clone(), kept, clock, components, running.collect());
        swaps.prune();
        let mut host = Self {
            runtime,
            journal,
            store,
            recorder,
            links: Vec::new(),
            threads: Vec::new(),
            reports,
            handles,
            controlled: Arc::new([]),
            swaps: Arc::new(swaps),
            watcher: None,
            letter_alerts: config.dead_letter_alerts.clone(),
            pace: Arc::new(Pace::new(config.agent.len())),
            progress: Arc::default(),
            feed: None,
            clock,
            bytes_total: samples.as_ref().and_then(|samples| samples.bytes_total),
            broken: Vec::new(),
            _lock: lock,
        };
        // The operator's word comes before everything else in an agent's queue.
        for StartOrder { agent, order } in orders {
            host.tell(config, agent.as_str(), (*order).into());
        }
        for (name, order) in decided {
            let core = agents.iter().find(|core| core.config().name.as_str() == name);
            if core.is_some_and(|core| !is_news(core, &order)) {
                continue;
            }
            host.tell(config, &name, order);
        }
        let agents = agents.into_iter().zip(durable).collect();
        host.connect(config, &venues, agents, receivers, clock)?;
        host.watcher =
            Watcher::start(config, &host.swaps).map_err(|error| system("watch the components", &error))?;
        host.start_feed(config, &venues, samples, publisher, clock)?;
        Ok(host)
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

    /// Starts the agents' threads and the tasks of their venues. With each core comes its last durable record: its
    /// own number, and the journal's.
    fn connect(
        &mut self,
        config: &Config,
        venues: &[BuiltVenue],
        agents: Vec<(Core, Durable)>,
        receivers: Vec<Queues>,
        clock: SystemClock,
    ) -> Result<(), StartError> {
        for built in venues {
            let on_venue: Vec<usize> = (0..agents.len())
                .filter(|i| config.agent.get(*i).is_some_and(|a| a.venue == built.name))
                .collect();
            // The agent that has seen least decides where to begin; the others recognise what they know.
            let cursor = on_venue
                .iter()
                .filter_map(|i| agents.get(*i))
                .map(|(core, _)| core.cursor())
                .min()
                .unwrap_or(0);
            let link = Arc::new(Link {
                name: built.name.clone(),
                venue: Arc::clone(&built.venue),
                gate: built.gate.clone(),
                clock,
                agents: on_venue.iter().filter_map(|i| self.member(config, built, *i)).collect(),
                pace: Arc::clone(&self.pace),
                cursor: AtomicU64::new(cursor),
                lost: AtomicBool::new(false),
                reading: tokio::sync::Mutex::new(()),
                updates_poll: built.updates_poll,
                silence_max: built.updates_silence_max,
                heard_at: AtomicU64::new(clock.now().mono.0),
                unclaimed: Mutex::default(),
            });
            self.runtime.spawn(Arc::clone(&link).run());
            self.links.push(link);
        }
        let mut controlled = Vec::new();
        for (index, ((core, durable), queues)) in agents.into_iter().zip(receivers).enumerate() {
            let venue =
                config.agent.get(index).and_then(|agent| venues.iter().find(|v| v.name == agent.venue));
            let link = venue.and_then(|venue| self.links.iter().find(|link| link.name == venue.name));
            let (Some(venue), Some(link), Some((handle, report))) =
                (venue, link, self.handles.get(index).zip(self.reports.get(index)))
            else {
                continue;
            };
            let name = core.config().name.to_string();
            let durable = Arc::new(Mutex::new(durable));
            controlled.push(Controlled {
                index,
                name: core.config().name.clone(),
                venue: venue.name.clone(),
                instruments: Arc::clone(&core.config().instruments),
                handle: handle.clone(),
                report: Arc::clone(report),
                durable: Arc::clone(&durable),
            });
            let runner = Runner {
                index,
                core,
                clock,
                samples: queues.samples,
                answers: queues.answers,
                looks: queues.looks,
                handle: handle.clone(),
                journal: Arc::clone(&self.journal) as Arc<dyn Journal>,
                venue: Arc::clone(&venue.venue),
                gate: venue.gate.clone(),
                link: Arc::clone(link),
                runtime: self.runtime.handle().clone(),
                store: self.store.handle(),
                recorder: self.recorder.handle(),
                pace: Arc::clone(&self.pace),
                report: Arc::clone(report),
                durable,
                swaps: Arc::clone(&self.swaps),
                journal_broken: false,
                unwritten: Vec::new(),
            };
            let thread = std::thread::Builder::new()
                .name(format!("agent {name}"))
                .stack_size(config.engine.thread_stack_bytes())
                .spawn(move || runner.run())
                .map_err(|error| system("start an agent's thread", &error))?;
            self.threads.push(thread);
        }
        self.controlled = controlled.into();
        Ok(())
    }

    /// An agent on a venue, with the instruments that no other agent trades on the same account.
    fn member(&self, config: &Config, built: &BuiltVenue, index: usize) -> Option<Member> {
        let (agent, handle) = (config.agent.get(index)?, self.handles.get(index)?.clone());
        let shares = |symbol: &String| {
            let others = config.agent.iter().enumerate().filter(|(other, _)| *other != index);
            others
                .into_iter()
                .any(|(_, other)| other.venue == built.name && other.instruments.contains(symbol))
        };
        let mut compared = Vec::new();
        for (own, symbol) in (0_u32..).map(InstrumentId).zip(&agent.instruments) {
            if shares(symbol) {
                tracing::warn!(agent = %agent.name, class = "state", code = "shared_instrument",
                    "{symbol} is traded by several agents on the account of venue {}: their positions cannot be \
                     held against it; give each agent a venue section with a key of its own", built.name);
            } else if let Some(at_venue) =
                config.instrument.iter().position(|instrument| instrument.symbol == *symbol)
            {
                compared.push((InstrumentId(u32::try_from(at_venue).ok()?), own));
            }
        }
        Some(Member { index, handle, compared })
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
                let prices = PriceFeed::new(Arc::clone(&built.prices), polling);
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

    /// Lets an operator see and do things while the host runs.
    pub fn control(&self) -> HostControl {
        HostControl::new(Shared {
            agents: Arc::clone(&self.controlled),
            links: self.links.clone(),
            journal: Arc::clone(&self.journal),
            letters: Arc::clone(self.store.letters()),
            letter_alerts: self.letter_alerts.clone(),
            stop: self.stop_handle(),
            pace: Arc::clone(&self.pace),
            clock: self.clock,
            swaps: Arc::clone(&self.swaps),
            recordings_lost: self.recorder.lost(),
        })
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
        let mut settings = config.sandbox_config();
        // What is not there yet is not made for a look.
        settings.cache = settings.cache.filter(|cache| cache.dir.is_dir());
        let sandbox = Sandbox::new(settings)?;
        let configured = load_configured(config, &sandbox)?;
        for (agent, loaded) in config.agent.iter().zip(&configured) {
            if let Err(source) = loaded {
                tracing::warn!(agent = %agent.name, class = %source.class(), code = source.code(),
                    "the watched component is not taken, and what ran last would go on: {source}");
            }
        }
        open_feed(config, &instruments)?;
        let clock = SystemClock::start();
        build_venues(config, &instruments, clock)?;
        open_publisher(config, &instruments)?;
        check_strategies(config, &configured, clock.now())
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
        self.watcher = None;
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
        self.recorder.finish();
        let letter_alerts = self.store.finish();
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
        let samples = self.progress.samples();
        RunReport { agents, gates, samples, dead_letters, letter_alerts, broken }
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
