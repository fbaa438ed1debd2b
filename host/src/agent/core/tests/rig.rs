//! The shell's part of the contract, in memory: a clock, a journal of bytes, checkpoints, a wire with
//! faults. It can kill the core between any two effects and start it again from what was durable.

use super::answers::QueryFault;
use super::doubts::Doubts;
use super::script::Scripted;
use super::storage::Storage;
use super::venue::{Fault, Kind, SimVenue, TestDialect};
use super::wire::VenueClock;
use crate::agent::core::*;
use crate::market::{CheckConfig, Instrument, InstrumentKind, Instruments, Lots};
use crate::orders::{Digest, IntentState, RiskLimits, StrategyEvent, Verdict};
use crate::plugin::Strategy;
use crate::resilience::{
    BudgetConfig, DegradationConfig, Gate, GateConfig, LimiterConfig, Phase, RetryConfig, SharedGate,
    Verdict as BreakerVerdict,
};
use crate::venue::Request;
use std::num::NonZeroU32;

/// The number of a sample that no strategy may be shown.
pub(super) const UNTRUE: u64 = u64::MAX;

pub(super) const MS: u64 = 1_000_000;
/// Wall time at the start of a test.
const EPOCH: u64 = 1_700_000_000_000 * MS;

/// Makes a fresh instance of a component.
pub(super) type Make = std::rc::Rc<dyn Fn() -> Box<dyn Strategy>>;

pub(super) struct Rig {
    pub(super) config: CoreConfig,
    pub(super) gate_config: GateConfig,
    pub(super) now: Now,
    pub(super) core: Option<Core>,
    pub(super) strategy: Scripted,
    /// Makes the strategy instead, anew at every start.
    pub(super) make: Option<fn() -> Box<dyn Strategy>>,
    /// Makes the strategies of the components that a test swaps in.
    pub(super) components: BTreeMap<Digest, Make>,
    pub(super) venue: SimVenue,
    pub(super) gate: SharedGate,
    /// Durable records as they are read back from their bytes; record number n is at n - 1.
    pub(super) journal: Vec<Entry>,
    /// Written, and not yet durable.
    pub(super) unsynced: Vec<Vec<u8>>,
    pub(super) checkpoints: Vec<Snapshot>,
    /// Where journal and checkpoints really are, in some runs.
    pub(super) storage: Option<Storage>,
    pub(super) checkpoint_fails: bool,
    /// Whether the test says when records become durable.
    pub(super) hold_acks: bool,
    /// The effect from which on nothing can be written any more.
    pub(super) disk_fails_at: Option<u64>,
    /// Whether that has happened to this process.
    disk_failed: bool,
    pub(super) events: VecDeque<Event>,
    /// What happens at a moment to come.
    pub(super) later: Vec<(MonoNanos, Later)>,
    /// One per attempt; `Delivered` when there are none left.
    pub(super) faults: VecDeque<Fault>,
    /// One per attempt: how the venue says when it wants to be asked again.
    pub(super) clocks: VecDeque<VenueClock>,
    /// When each intent that the venue does not want to hear of now may be sent again.
    pub(super) asked: BTreeMap<IntentKey, MonoNanos>,
    /// One per question; an answer comes at once when there are none left.
    pub(super) query_faults: VecDeque<QueryFault>,
    /// One per read of the account before an attempt, likewise.
    pub(super) baseline_faults: VecDeque<QueryFault>,
    /// Baselines that were asked for, and when.
    pub(super) baselines: Vec<(IntentKey, MonoNanos)>,
    pub(super) doubts: Doubts,
    /// Whether the account cannot be read before an attempt.
    pub(super) baselines_lost: bool,
    /// Whether no question gets through.
    pub(super) queries_lost: bool,
    /// One per read of updates or positions; an answer comes at once when there are none left.
    pub(super) read_faults: VecDeque<QueryFault>,
    /// Whether the venue answers no read of updates or positions.
    pub(super) reads_lost: bool,
    /// Reads of the account that were made: of positions, and of updates.
    pub(super) reads: (u64, u64),
    /// Whether the venue tells of changes by itself.
    pub(super) reports_changes: bool,
    /// What was asked about, and when.
    pub(super) queries: Vec<(IntentKey, MonoNanos)>,
    /// Requests as they left, with their attempt.
    pub(super) sent: Vec<(Request, u32, MonoNanos)>,
    pub(super) letters: Vec<Letter>,
    /// When each intent became a letter.
    pub(super) lettered_at: BTreeMap<IntentKey, MonoNanos>,
    /// Calls that were handed over for a recording.
    pub(super) recorded: Vec<Stretch>,
    pub(super) alerts: Vec<String>,
    /// News of swaps.
    pub(super) swaps: Vec<SwapNews>,
    /// Samples that the shell keeps while a switch is being written.
    pub(super) waiting: VecDeque<Tick>,
    /// Why no new instance can be made, one per question.
    pub(super) instance_faults: VecDeque<Failure>,
    /// Whether the test answers the question for a new instance.
    pub(super) hold_instances: bool,
    /// New instances that were asked for.
    pub(super) instances: Vec<(u64, Digest)>,
    pub(super) stopped: bool,
    /// How long the venue is said to remember a key.
    pub(super) key_window: Duration,
    /// The latest moment that the host's clock has shown.
    pub(super) latest_wall: UnixNanos,
    /// How far the host's clock is ahead of the venue's.
    pub(super) ahead_ns: i64,
    pub(super) effects: u64,
    /// The effect before which the core dies.
    pub(super) kill_at: Option<u64>,
    pub(super) seq: u64,
    /// The mode as it was before the step whose effects are performed.
    pub(super) mode: Mode,
    /// Whether every event and every effect is printed, as `RINGFENCE_TRACE` in the environment asks for.
    traces: bool,
}

pub(super) enum Later {
    Tell(Event),
    Arrive(Request),
}

/// One line: when, whether it is an event, an effect, or one before which the core died, and the beginning of it.
#[expect(clippy::print_stdout, reason = "somebody asked to see the run")]
fn print_traced(at: MonoNanos, which: char, what: &impl std::fmt::Debug) {
    let line: String = format!("{what:?}").chars().take(1600).collect();
    println!("{:>12.6} {which} {line}", Duration::from_nanos(at.0).as_secs_f64());
}

pub(super) fn instruments() -> Instruments {
    Instruments::new(vec![Instrument {
        symbol: "X".into(),
        venue: "sim".into(),
        kind: InstrumentKind::Spot,
        quote_currency: "USD".into(),
        multiplier: Decimal::ONE,
        tick_size: Decimal::ONE,
        lot_size: Decimal::ONE,
        min_lots: Lots(1),
        max_lots: Lots(1_000),
    }])
    .unwrap()
}

impl Rig {
    pub(super) fn new() -> Self {
        Self::with(|_, _| {})
    }

    pub(super) fn with(change: impl FnOnce(&mut CoreConfig, &mut GateConfig)) -> Self {
        Self::at(Kind::Keys, change)
    }

    /// Against a venue of this kind.
    pub(super) fn at(kind: Kind, change: impl FnOnce(&mut CoreConfig, &mut GateConfig)) -> Self {
        let mut rig = Self::unstarted(kind, change);
        rig.start();
        rig.run();
        rig.take_heard();
        rig.reads = (0, 0);
        rig
    }

    pub(super) fn unstarted(kind: Kind, change: impl FnOnce(&mut CoreConfig, &mut GateConfig)) -> Self {
        let many = NonZeroU32::new(10_000).unwrap();
        let mut config = CoreConfig {
            name: "agent".parse().unwrap(),
            incarnation: 1,
            plugin: Digest::of(b"component"),
            configured: None,
            instruments: Arc::new(instruments()),
            settings: Vec::new(),
            cash: Money::new(1_000_000.into()),
            seed: 7,
            run_id: 1,
            live: true,
            time: TimeSource::Wall,
            record_inputs: false,
            risk: RiskLimits { orders_per_second_max: many, ..RiskLimits::default() },
            retry: RetryConfig::default(),
            degradation: DegradationConfig::default(),
            limits: CoreLimits::default(),
            on_halt: FailAction::Cancel,
            // A strategy that failed stays down, unless a test wants it back.
            supervision: Supervision { strikes_max: NonZeroU32::MIN, ..Supervision::default() },
            on_stop: FailAction::Cancel,
        };
        let mut gate_config = GateConfig {
            limiter: LimiterConfig { calls_per_second: many, burst_calls: many },
            budget: BudgetConfig { tokens_max: 100_000, ..BudgetConfig::default() },
            ..GateConfig::default()
        };
        change(&mut config, &mut gate_config);
        Self {
            gate: SharedGate::new(Gate::new(gate_config, 1)),
            config,
            gate_config,
            now: Now { mono: MonoNanos(0), wall: UnixNanos(EPOCH) },
            core: None,
            strategy: Scripted::default(),
            make: None,
            components: BTreeMap::new(),
            venue: SimVenue::at(100, kind),
            journal: Vec::new(),
            unsynced: Vec::new(),
            checkpoints: Vec::new(),
            storage: None,
            checkpoint_fails: false,
            hold_acks: false,
            disk_fails_at: None,
            disk_failed: false,
            events: VecDeque::new(),
            later: Vec::new(),
            faults: VecDeque::new(),
            clocks: VecDeque::new(),
            asked: BTreeMap::new(),
            query_faults: VecDeque::new(),
            baseline_faults: VecDeque::new(),
            baselines: Vec::new(),
            doubts: Doubts::default(),
            baselines_lost: false,
            queries_lost: false,
            read_faults: VecDeque::new(),
            reads_lost: false,
            reads: (0, 0),
            reports_changes: true,
            queries: Vec::new(),
            sent: Vec::new(),
            letters: Vec::new(),
            lettered_at: BTreeMap::new(),
            recorded: Vec::new(),
            alerts: Vec::new(),
            swaps: Vec::new(),
            waiting: VecDeque::new(),
            instance_faults: VecDeque::new(),
            hold_instances: false,
            instances: Vec::new(),
            stopped: false,
            key_window: Duration::from_secs(20 * 3_600),
            latest_wall: UnixNanos(EPOCH),
            ahead_ns: 0,
            effects: 0,
            kill_at: None,
            seq: 0,
            mode: Mode::Full,
            traces: std::env::var_os("RINGFENCE_TRACE").is_some(),
        }
    }

    fn parts(&self, strategy: Scripted, plugin: Digest) -> Parts {
        let made = self.components.contains_key(&plugin) || self.make.is_some();
        Parts {
            strategy: if made { self.fresh(plugin) } else { Box::new(strategy) },
            dialect: Arc::new(TestDialect::new(self.venue.kind, self.key_window, self.tells())),
            gate: Box::new(self.gate.clone()),
            check: CheckConfig::default(),
        }
    }

    pub(super) fn core(&self) -> &Core {
        self.core.as_ref().unwrap()
    }

    pub(super) fn records(&self) -> impl DoubleEndedIterator<Item = &Record> {
        self.journal.iter().map(|entry| &entry.record)
    }

    /// Starts from the newest checkpoint and the journal.
    pub(super) fn start(&mut self) {
        if self.storage.is_some() {
            return self.start_stored();
        }
        let checkpoint = self.checkpoints.last().cloned();
        self.start_from(checkpoint.as_ref());
    }

    pub(super) fn try_recover(
        &self,
        strategy: Scripted,
        checkpoint: Option<&Snapshot>,
    ) -> Result<Core, RecoverError> {
        self.recover_from(strategy, self.state_in(checkpoint), &self.journal)
    }

    fn state_in(&self, checkpoint: Option<&Snapshot>) -> Option<State> {
        checkpoint.map(|snapshot| State::decode(&self.config.name, &snapshot.payload).unwrap())
    }

    pub(super) fn recover_from(
        &self,
        strategy: Scripted,
        state: Option<State>,
        entries: &[Entry],
    ) -> Result<Core, RecoverError> {
        let mut config = self.config.clone();
        let configured = CoreConfig::configuration(config.plugin, &config.settings);
        config.configured = Some(configured);
        // As a shell does it: what was swapped in runs on.
        if let Some(last) = LastRun::of(state.as_ref(), entries)
            && last.goes_on(configured)
        {
            config.plugin = last.plugin;
            config.settings = last.settings.unwrap_or(config.settings);
        }
        let parts = self.parts(strategy, config.plugin);
        Core::recover(config, parts, state, entries, self.now)
    }

    pub(super) fn start_from(&mut self, checkpoint: Option<&Snapshot>) {
        self.gate = SharedGate::new(Gate::new(self.gate_config, 1));
        let core = self.try_recover(self.strategy.clone(), checkpoint).unwrap();
        self.start_core(core);
    }

    pub(super) fn start_core(&mut self, mut core: Core) {
        assert!(self.core.is_none(), "the core still runs");
        if self.traces {
            print_traced(self.now.mono, '-', &("starts after record", self.journal.len()));
        }
        self.stopped = false;
        let mut out = Vec::new();
        core.start(self.now, &mut out);
        self.core = Some(core);
        self.perform(out);
    }

    /// The process dies: what was not durable is on the disk up to some record, or not at all.
    pub(super) fn kill(&mut self, unsynced_kept: usize) {
        self.core = None;
        // The host does not remember what it was asked for.
        self.asked.clear();
        self.events.clear();
        self.waiting.clear();
        self.later.retain(|(_, later)| matches!(later, Later::Arrive(_)));
        let mut unsynced = std::mem::take(&mut self.unsynced);
        if let Some(storage) = &mut self.storage {
            storage.die(std::mem::take(&mut unsynced), unsynced_kept);
        }
        unsynced.truncate(unsynced_kept);
        self.journal.extend(unsynced.iter().map(|bytes| Entry::decode(0, bytes).unwrap()));
        self.kill_at = None;
        (self.disk_fails_at, self.disk_failed) = (None, false);
    }

    pub(super) fn step(&mut self, event: Event) {
        let traces = self.traces;
        let Some(core) = self.core.as_mut() else { return };
        if traces {
            print_traced(self.now.mono, '<', &event);
        }
        let mut out = Vec::new();
        self.mode = core.mode();
        core.step(self.now, event, &mut out);
        self.perform(out);
    }

    /// Everything that is ready to happen now.
    pub(super) fn run(&mut self) {
        loop {
            while let Some(event) = self.events.pop_front() {
                if let Event::Journaled(number) = event {
                    self.sync();
                    if number > self.journal.len() as u64 {
                        continue;
                    }
                }
                self.step(event);
            }
            let takes = self.core.as_ref().is_some_and(Core::wants_samples);
            let Some(tick) = self.waiting.pop_front_if(|_| takes) else { return };
            self.step(Event::Sample(Ok(tick)));
        }
    }

    /// The disk is full, or broken: what is not durable by now may be on it or not, and the shell says so once.
    fn fail_disk(&mut self) {
        self.events.retain(|event| !matches!(event, Event::Journaled(_)));
        if !std::mem::replace(&mut self.disk_failed, true) {
            let failure = Failure::new(Class::Resource, "enospc", Phase::Done, "scripted");
            self.events.push_front(Event::JournalFailed(failure));
        }
    }

    fn sync(&mut self) {
        let (durable, failure) = match &mut self.storage {
            Some(_) if self.disk_failed || self.unsynced.is_empty() => return,
            Some(storage) => storage.write(&self.unsynced),
            None => (self.unsynced.len(), None),
        };
        for bytes in self.unsynced.drain(..durable) {
            self.journal.push(Entry::decode(0, &bytes).unwrap());
        }
        if failure.is_some() {
            self.fail_disk();
            if durable > 0 {
                // Those before it were answered before it.
                self.events.push_front(Event::Journaled(self.journal.len() as u64));
            }
        }
    }

    /// Makes everything durable, and tells the core.
    pub(super) fn ack(&mut self) {
        if self.disk_failed {
            return;
        }
        self.sync();
        let number = self.journal.len() as u64;
        self.step(Event::Journaled(number));
    }

    fn perform(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            // A death before it is none: nothing waits for a recording.
            self.effects += u64::from(!matches!(effect, Effect::Recorded(_)));
            if self.kill_at == Some(self.effects) {
                self.core = None;
                if self.traces {
                    print_traced(self.now.mono, '!', &effect);
                }
                return;
            }
            if self.traces {
                print_traced(self.now.mono, '>', &effect);
            }
            self.perform_one(effect);
        }
    }

    fn perform_one(&mut self, effect: Effect) {
        match effect {
            Effect::Journal(entry) => {
                let written = (self.journal.len() + self.unsynced.len()) as u64;
                assert_eq!(entry.number, written + 1, "records are numbered without a gap");
                self.unsynced.push(entry.encode().unwrap());
                if self.disk_fails_at.is_some_and(|at| at <= self.effects) {
                    self.fail_disk();
                } else if !self.hold_acks {
                    self.events.push_back(Event::Journaled(entry.number));
                }
            }
            Effect::Send { request, attempt } => self.send(Request::clone(&request), attempt),
            Effect::Query { question, number } => self.query(&question, number),
            Effect::Baseline { request, number } => self.baseline(&request, number),
            Effect::ReadUpdates { number } => self.read_updates(number),
            Effect::ReadPositions { number } => self.read_positions(number),
            Effect::Checkpoint(snapshot) => {
                let after = self.journal.iter().skip(snapshot.number as usize);
                let is_fed = |entry: &Entry| matches!(entry.record, Record::Fed { .. });
                let durable = snapshot.number <= self.journal.len() as u64 && after.into_iter().all(is_fed);
                assert!(durable, "a checkpoint holds what is durable and no more");
                let outcome = match &mut self.storage {
                    _ if self.checkpoint_fails => {
                        Err(Failure::new(Class::Resource, "disk_full", Phase::Done, "scripted"))
                    }
                    Some(storage) => storage.checkpoint(&snapshot),
                    None => Ok(()),
                };
                if outcome.is_ok() {
                    self.checkpoints.push(snapshot);
                }
                self.events.push_back(Event::Checkpointed(outcome));
            }
            Effect::Letter(letter) => {
                if let Letter::Intent { key, .. } = &letter {
                    self.lettered_at.entry(*key).or_insert(self.now.mono);
                }
                self.letters.push(letter);
            }
            Effect::Recorded(stretch) => self.recorded.push(*stretch),
            Effect::Alert(alert) => self.alerts.push(alert.code),
            Effect::Unclaimed { sequence, .. } => self.alerts.push(format!("unclaimed {sequence}")),
            Effect::Said(_) => {}
            Effect::Instance { number, plugin } => {
                assert_eq!(plugin, self.core().config().plugin, "an instance of the component that runs");
                self.instances.push((number, plugin));
                if !self.hold_instances {
                    let outcome = match self.instance_faults.pop_front() {
                        Some(failure) => Err(failure),
                        None => Ok(Instance(self.fresh(plugin))),
                    };
                    self.events.push_back(Event::Instance { number, outcome });
                }
            }
            Effect::Swap(news) => self.swaps.push(news),
            Effect::Stopped => self.stopped = true,
        }
    }

    /// Lets time pass, and everything happen that falls into it.
    pub(super) fn advance(&mut self, ms: u64) {
        let until = MonoNanos(self.now.mono.0 + ms * MS);
        self.run();
        while self.core.is_some() && !self.stopped && self.now.mono < until {
            let wake = self.core().next_wake(self.now).max(MonoNanos(self.now.mono.0 + 1));
            let next = self.later.iter().map(|(at, _)| *at).fold(wake, MonoNanos::min);
            self.go_to(next.clamp(self.now.mono, until));
            self.step(Event::Wake);
            self.run();
        }
        self.go_to(until.max(self.now.mono));
        self.run();
    }

    pub(super) fn go_to(&mut self, mono: MonoNanos) {
        let wall = UnixNanos(self.venue_time(mono).0.saturating_add_signed(self.ahead_ns));
        self.now = Now { mono, wall };
        self.latest_wall = self.latest_wall.max(wall);
        let (due, later) = std::mem::take(&mut self.later).into_iter().partition(|(at, _)| *at <= mono);
        self.later = later;
        let mut due: Vec<(MonoNanos, Later)> = due;
        due.sort_by_key(|(at, _)| *at);
        for (at, what) in due {
            self.venue.now = at;
            match what {
                Later::Tell(event) => self.events.push_back(event),
                Later::Arrive(request) => {
                    let _ = self.venue.receive(&request, false);
                }
            }
        }
        self.venue.now = mono;
    }

    pub(super) const fn venue_time(&self, mono: MonoNanos) -> UnixNanos {
        UnixNanos(EPOCH + mono.0)
    }

    /// Whether an attempt is still on its way to the venue, which nobody on this side can know.
    pub(super) fn is_on_its_way(&self, key: &IntentKey) -> bool {
        self.later.iter().any(|(_, later)| matches!(later, Later::Arrive(request) if request.key == *key))
    }

    /// Somebody sets the host's clock this many seconds ahead of the venue's.
    pub(super) fn set_clock(&mut self, ahead_s: i64) {
        self.ahead_ns = ahead_s * 1_000_000_000;
        self.go_to(self.now.mono);
    }

    /// Time passes and nobody notices.
    pub(super) fn jump(&mut self, mono: MonoNanos) {
        self.go_to(mono);
    }

    pub(super) fn operator(&mut self, order: Operator) {
        self.step(Event::Operator(order));
        self.run();
    }

    /// The safe read that finds out whether the venue takes orders again succeeds.
    pub(super) fn probe(&mut self) -> bool {
        let Some(permit) = self.gate.take_probe(self.now.mono) else { return false };
        let _ = self.gate.report(permit, BreakerVerdict::Success, Duration::ZERO, None, self.now.mono);
        self.step(Event::GateChanged);
        self.run();
        true
    }

    pub(super) fn heard(&self) -> Vec<StrategyEvent> {
        self.strategy.script().heard.clone()
    }

    /// What the strategy heard since this was last asked.
    pub(super) fn take_heard(&self) -> Vec<StrategyEvent> {
        std::mem::take(&mut self.strategy.script().heard)
    }

    /// State of the intent that placed an order.
    pub(super) fn placing(&self, id: u64) -> IntentState {
        self.intent(id).state.clone()
    }

    pub(super) fn intent(&self, id: u64) -> &crate::orders::Intent {
        self.core().ledger().intent(&self.key(id)).unwrap()
    }

    pub(super) fn key(&self, id: u64) -> IntentKey {
        self.core().ledger().order(crate::orders::OrderId(id)).unwrap().key
    }

    pub(super) fn position(&self) -> i64 {
        self.core().books().position(super::X).0
    }

    pub(super) fn is_working(&self, id: u64) -> bool {
        self.core().books().working().contains_key(&crate::orders::OrderId(id))
    }

    /// Decisions about each intent so far, in order.
    pub(super) fn verdicts(&self) -> Vec<Verdict> {
        let decisions = self.records().filter_map(|record| match record {
            Record::Decided(decision) => Some(&decision.intents),
            _ => None,
        });
        decisions.flatten().map(|decided| decided.verdict.clone()).collect()
    }

    pub(super) fn stop(&mut self) {
        self.step(Event::Stop);
        self.run();
    }
}
