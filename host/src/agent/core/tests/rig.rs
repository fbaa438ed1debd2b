//! The shell's part of the contract, in memory: a clock, a journal of bytes, checkpoints, a wire with
//! faults. It can kill the core between any two effects and start it again from what was durable.

use super::delta::Reads;
use super::doubts::Doubts;
use super::script::{Scripted, Step};
use super::venue::{Fault, Kind, SimVenue, TestDialect, failure};
use crate::agent::core::*;
use crate::market::{CheckConfig, Instrument, InstrumentKind, Instruments, Lots, Marks, PriceTicks};
use crate::orders::{Action, Digest, IntentState, RiskLimits, StrategyEvent, Verdict};
use crate::plugin::Strategy;
use crate::resilience::{
    BudgetConfig, DegradationConfig, Gate, GateConfig, LimiterConfig, Phase, RetryConfig, SharedGate,
    Verdict as BreakerVerdict,
};
use crate::venue::{Outcome, Question, Reply, Request, RequestKind, RetryAfterHeader};
use std::num::NonZeroU32;

const MS: u64 = 1_000_000;
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
    gate: SharedGate,
    /// Durable records as they are read back from their bytes; record number n is at n - 1.
    pub(super) journal: Vec<Entry>,
    /// Written, and not yet durable.
    pub(super) unsynced: Vec<Vec<u8>>,
    pub(super) checkpoints: Vec<Snapshot>,
    pub(super) checkpoint_fails: bool,
    /// Whether the test says when records become durable.
    pub(super) hold_acks: bool,
    events: VecDeque<Event>,
    /// What happens at a moment to come.
    later: Vec<(MonoNanos, Later)>,
    /// One per attempt; `Delivered` when there are none left.
    pub(super) faults: VecDeque<Fault>,
    /// One per question; an answer comes at once when there are none left.
    pub(super) query_faults: VecDeque<QueryFault>,
    /// One per read of the account before an attempt, likewise.
    pub(super) baseline_faults: VecDeque<QueryFault>,
    /// Baselines that were asked for, and when.
    pub(super) baselines: Vec<(IntentKey, MonoNanos)>,
    doubts: Doubts,
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
    lettered_at: BTreeMap<IntentKey, MonoNanos>,
    /// Calls that were handed over for a recording.
    pub(super) recorded: Vec<Stretch>,
    pub(super) alerts: Vec<String>,
    /// News of swaps.
    pub(super) swaps: Vec<SwapNews>,
    /// Samples that the shell keeps while a switch is being written.
    waiting: VecDeque<Tick>,
    /// Why no new instance can be made, one per question.
    pub(super) instance_faults: VecDeque<Failure>,
    /// Whether the test answers the question for a new instance.
    pub(super) hold_instances: bool,
    /// New instances that were asked for.
    pub(super) instances: Vec<(u64, Digest)>,
    pub(super) stopped: bool,
    /// How far the host's clock is ahead of the venue's.
    ahead_ns: i64,
    pub(super) effects: u64,
    /// The effect before which the core dies.
    pub(super) kill_at: Option<u64>,
    seq: u64,
    /// The mode as it was before the step whose effects are performed.
    mode: Mode,
    /// Whether every event and every effect is printed, as `RINGFENCE_TRACE` in the environment asks for.
    traces: bool,
}

/// What becomes of one question on its way.
#[derive(Clone, Debug)]
pub(super) enum QueryFault {
    Answered,
    Lost,
    /// The venue looks at once, and its answer takes this long.
    Slow(Duration),
    /// At a venue without ids: what the account shows contradicts itself.
    Shown(Reads),
}

enum Later {
    Tell(Event),
    Arrive(Request),
}

/// One line: when, whether it is an event, an effect, or one before which the core died, and the beginning of it.
#[expect(clippy::print_stdout, reason = "somebody asked to see the run")]
fn print_traced(at: MonoNanos, which: char, what: &impl std::fmt::Debug) {
    let line: String = format!("{what:?}").chars().take(400).collect();
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
            checkpoint_fails: false,
            hold_acks: false,
            events: VecDeque::new(),
            later: Vec::new(),
            faults: VecDeque::new(),
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
            ahead_ns: 0,
            effects: 0,
            kill_at: None,
            seq: 0,
            mode: Mode::Full,
            traces: std::env::var_os("RINGFENCE_TRACE").is_some(),
        }
    }

    /// A fresh instance of a component.
    pub(super) fn fresh(&self, plugin: Digest) -> Box<dyn Strategy> {
        match (self.components.get(&plugin), self.make) {
            (Some(make), _) => make(),
            (None, Some(make)) => make(),
            (None, None) => Box::new(self.strategy.clone()),
        }
    }

    /// Lets a component be found by its digest, as a component store does.
    pub(super) fn component(&mut self, name: &str, make: impl Fn() -> Box<dyn Strategy> + 'static) -> Digest {
        let digest = Digest::of(name.as_bytes());
        self.components.insert(digest, std::rc::Rc::new(make));
        digest
    }

    /// A component that shall take over, with everything that a shell brings.
    pub(super) fn candidate(&self, plugin: Digest, probation_ticks: u64) -> Candidate {
        let running = self.core().config().plugin;
        Candidate {
            number: 1,
            strategy: self.fresh(plugin),
            plugin,
            settings: self.core().config().settings.clone(),
            shadow: None,
            probation_ticks,
            standby: Some(self.fresh(running)),
            fresh: false,
            reason: crate::orders::SwapReason::Operator,
            note: "a better one".into(),
        }
    }

    /// The same, beside the running one first.
    pub(super) fn shadowed(&self, plugin: Digest, ticks: u64) -> Candidate {
        let strategy = self.fresh(plugin);
        let shadow = Some(Shadow { strategy, ticks: ticks.try_into().unwrap() });
        Candidate { shadow, ..self.candidate(plugin, 0) }
    }

    pub(super) fn swap(&mut self, candidate: Candidate) {
        self.step(Event::Swap(Box::new(candidate)));
        self.run();
    }

    /// The code of the last refusal of a swap.
    pub(super) fn refused(&self) -> Option<&str> {
        self.swaps.iter().rev().find_map(|news| match &news.event {
            SwapEvent::Refused(failure) => Some(failure.code.as_ref()),
            _ => None,
        })
    }

    fn parts(&self, strategy: Scripted, plugin: Digest) -> Parts {
        let made = self.components.contains_key(&plugin) || self.make.is_some();
        Parts {
            strategy: if made { self.fresh(plugin) } else { Box::new(strategy) },
            dialect: Arc::new(TestDialect::new(self.venue.kind, self.tells())),
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
        let checkpoint = self.checkpoints.last().cloned();
        self.start_from(checkpoint.as_ref());
    }

    pub(super) fn try_recover(
        &self,
        strategy: Scripted,
        checkpoint: Option<&Snapshot>,
    ) -> Result<Core, RecoverError> {
        let state = checkpoint.map(|snapshot| State::decode(&self.config.name, &snapshot.payload).unwrap());
        let mut config = self.config.clone();
        let configured = CoreConfig::configuration(config.plugin, &config.settings);
        config.configured = Some(configured);
        // As a shell does it: what was swapped in runs on.
        if let Some(last) = LastRun::of(state.as_ref(), &self.journal)
            && last.goes_on(configured)
        {
            config.plugin = last.plugin;
            config.settings = last.settings.unwrap_or(config.settings);
        }
        let parts = self.parts(strategy, config.plugin);
        Core::recover(config, parts, state, &self.journal, self.now)
    }

    pub(super) fn start_from(&mut self, checkpoint: Option<&Snapshot>) {
        assert!(self.core.is_none(), "the core still runs");
        self.gate = SharedGate::new(Gate::new(self.gate_config, 1));
        if self.traces {
            let from = checkpoint.map_or(0, |checkpoint| checkpoint.number);
            print_traced(self.now.mono, '-', &("starts from record", from, self.journal.len()));
        }
        let mut core = self.try_recover(self.strategy.clone(), checkpoint).unwrap();
        self.stopped = false;
        let mut out = Vec::new();
        core.start(self.now, &mut out);
        self.core = Some(core);
        self.perform(out);
    }

    /// The process dies: what was not durable is on the disk up to some record, or not at all.
    pub(super) fn kill(&mut self, unsynced_kept: usize) {
        self.core = None;
        self.events.clear();
        self.waiting.clear();
        self.later.retain(|(_, later)| matches!(later, Later::Arrive(_)));
        let mut unsynced = std::mem::take(&mut self.unsynced);
        unsynced.truncate(unsynced_kept);
        self.journal.extend(unsynced.iter().map(|bytes| Entry::decode(0, bytes).unwrap()));
        self.kill_at = None;
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
                if let Event::Journaled(_) = event {
                    self.sync();
                }
                self.step(event);
            }
            let takes = self.core.as_ref().is_some_and(Core::wants_samples);
            let Some(tick) = self.waiting.pop_front_if(|_| takes) else { return };
            self.step(Event::Sample(Ok(tick)));
        }
    }

    fn sync(&mut self) {
        for bytes in std::mem::take(&mut self.unsynced) {
            self.journal.push(Entry::decode(0, &bytes).unwrap());
        }
    }

    /// Makes everything durable, and tells the core.
    pub(super) fn ack(&mut self) {
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
                if !self.hold_acks {
                    self.events.push_back(Event::Journaled(entry.number));
                }
            }
            Effect::Send { request, attempt } => self.send(Request::clone(&request), attempt),
            Effect::Query { question, number } => self.query(&question, number),
            Effect::Baseline { request, number } => self.baseline(&request, number),
            Effect::ReadUpdates { number } => {
                self.reads.1 += 1;
                let from = usize::try_from(self.core().cursor()).unwrap();
                let shown = if self.tells() { self.venue.shown() } else { from };
                let read = Event::Updates {
                    cursor: shown as u64,
                    updates: self.venue.log[from.min(shown)..shown].to_vec(),
                };
                self.read(
                    |outcome| Event::UpdatesRead { number, outcome: outcome.map(|_| ()) },
                    Some(read),
                    Vec::new(),
                );
            }
            Effect::ReadPositions { number } => {
                self.reads.0 += 1;
                let held = vec![(super::X, Lots(self.venue.shown_position()))];
                self.read(|outcome| Event::Positions { number, outcome }, None, held);
            }
            Effect::Checkpoint(snapshot) => {
                let after = self.journal.iter().skip(snapshot.number as usize);
                let is_fed = |entry: &Entry| matches!(entry.record, Record::Fed { .. });
                let durable = snapshot.number <= self.journal.len() as u64 && after.into_iter().all(is_fed);
                assert!(durable, "a checkpoint holds what is durable and no more");
                let outcome = if self.checkpoint_fails {
                    Err(Failure::new(Class::Resource, "disk_full", Phase::Done, "scripted"))
                } else {
                    self.checkpoints.push(snapshot);
                    Ok(())
                };
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

    fn send(&mut self, request: Request, attempt: u32) {
        let about = |record: &&Record| match record {
            Record::Submitting { key, .. } => *key == request.key,
            _ => false,
        };
        let latest = self.records().rev().find(about);
        let durable =
            matches!(latest, Some(Record::Submitting { attempt: durable, .. }) if *durable == attempt);
        assert!(durable, "attempt {attempt} was sent before it was durable");
        self.check_permitted(&request);
        self.check_proven(&request);
        self.sent.push((request.clone(), attempt, self.now.mono));
        let ambiguous = |code: &str| Outcome::Ambiguous(failure(code, Phase::MaybeSent));
        let (mut wait, mut retry_after) = (Duration::ZERO, None);
        let outcome = match self.faults.pop_front().unwrap_or(Fault::Delivered) {
            Fault::Delivered => self.venue.receive(&request, false),
            Fault::NotSent => Outcome::NotSent(failure("connect", Phase::NotSent)),
            Fault::Dropped => ambiguous("timeout"),
            Fault::ReplyLost => {
                let _ = self.venue.receive(&request, false);
                ambiguous("reset")
            }
            Fault::ExecutedLater(after) => {
                self.later.push((self.now.mono.after(after), Later::Arrive(request.clone())));
                ambiguous("timeout")
            }
            Fault::Duplicated => {
                let _ = self.venue.receive(&request, false);
                self.venue.receive(&request, false)
            }
            Fault::Refused => self.venue.receive(&request, true),
            Fault::KeyReused => {
                Outcome::Refused(Failure::new(Class::Logic, "key_reused", Phase::Done, "scripted"))
            }
            Fault::TurnedAway => Outcome::Refused(failure("http_404", Phase::MaybeSent)),
            Fault::Unauthorized => Outcome::Refused(failure("unauthorized", Phase::Done)),
            Fault::Throttled(value) => {
                retry_after = Some(RetryAfterHeader { value: value.into(), date: None });
                Outcome::NotSent(Failure::new(Class::Api, "http_429", Phase::NotSent, "scripted"))
            }
            Fault::Busy(value) => {
                retry_after = Some(RetryAfterHeader { value: value.into(), date: None });
                Outcome::Ambiguous(Failure::new(Class::Api, "in_progress", Phase::MaybeSent, "scripted"))
            }
            Fault::Slow(by) => {
                wait = by;
                self.venue.receive(&request, false)
            }
        };
        let reply = Reply { outcome, latency: wait, retry_after };
        let event = Event::Replied { key: request.key, attempt, reply };
        if wait.is_zero() {
            self.events.push_back(event);
        } else {
            self.later.push((self.now.mono.after(wait), Later::Tell(event)));
        }
    }

    fn query(&mut self, question: &Question, number: u64) {
        let (request, key) = (&question.request, question.request.key);
        let intent = self.core().ledger().intent(&key).unwrap();
        let is_known = intent.state == IntentState::Acknowledged;
        assert!(intent.maybe_executed() || is_known, "asked about what is certain: {intent:?}");
        self.queries.push((key, self.now.mono));
        let lost = if self.queries_lost { QueryFault::Lost } else { QueryFault::Answered };
        let known = self.acknowledged();
        let look = |reads: Reads| match self.venue.kind {
            Kind::NoIds => self.venue.query_account(question, &known, reads),
            _ => self.venue.query(request),
        };
        let (wait, outcome) = match self.query_faults.pop_front().unwrap_or(lost) {
            QueryFault::Answered => (Duration::ZERO, look(Reads::Good)),
            QueryFault::Lost => (Duration::ZERO, Outcome::Ambiguous(failure("timeout", Phase::MaybeSent))),
            QueryFault::Slow(wait) => (wait, look(Reads::Good)),
            QueryFault::Shown(reads) => (Duration::ZERO, look(reads)),
        };
        let event =
            Event::Queried { key, number, reply: Reply { outcome, latency: wait, retry_after: None } };
        if wait.is_zero() {
            self.events.push_back(event);
        } else {
            self.later.push((self.now.mono.after(wait), Later::Tell(event)));
        }
    }

    /// Orders whose ids the venue has told, as far as the host remembers.
    fn acknowledged(&self) -> BTreeSet<IntentKey> {
        let intents = self.core().ledger().intents().iter();
        intents.filter(|(_, intent)| intent.state == IntentState::Acknowledged).map(|(key, _)| *key).collect()
    }

    fn baseline(&mut self, request: &Request, number: u64) {
        let key = request.key;
        self.baselines.push((key, self.now.mono));
        let at = self.venue_time(self.now.mono);
        let look = |reads| self.venue.baseline(at, reads);
        let lost = if self.baselines_lost { QueryFault::Lost } else { QueryFault::Answered };
        let (wait, result) = match self.baseline_faults.pop_front().unwrap_or(lost) {
            QueryFault::Answered => (Duration::ZERO, look(Reads::Good)),
            QueryFault::Lost => (Duration::ZERO, Err(failure("timeout", Phase::NotSent))),
            QueryFault::Slow(wait) => (wait, look(Reads::Good)),
            QueryFault::Shown(reads) => (Duration::ZERO, look(reads)),
        };
        let event = Event::Baselined { key, number, result };
        if wait.is_zero() {
            self.events.push_back(event);
        } else {
            self.later.push((self.now.mono.after(wait), Later::Tell(event)));
        }
    }

    /// I1 at a venue that remembers no keys: nothing is sent while an earlier attempt may have been executed,
    /// and where only the account tells, nothing while that is so of any order.
    fn check_proven(&mut self, request: &Request) {
        if self.venue.kind == Kind::Keys {
            return;
        }
        self.doubts.fold(&self.journal);
        assert_eq!(self.doubts.of(&request.key), 1, "{} was sent again without proof", request.key);
        if self.venue.kind != Kind::NoIds || matches!(request.kind, RequestKind::Cancel(_)) {
            return;
        }
        let ledger = self.core().ledger();
        let moves = |key: &&IntentKey| {
            ledger.intent(key).is_some_and(|intent| !matches!(intent.action, Action::Cancel(_)))
        };
        let others: Vec<_> = self.doubts.keys().filter(moves).filter(|key| **key != request.key).collect();
        assert!(others.is_empty(), "{} was sent while {others:?} are in doubt", request.key);
        assert!(ledger.intent(&request.key).unwrap().baseline.is_some(), "sent without a baseline");
    }

    /// Answers a read of the account, now or later, with what the venue shows now.
    fn read(
        &mut self,
        answer: impl FnOnce(Result<Vec<(InstrumentId, Lots)>, Failure>) -> Event,
        before: Option<Event>,
        held: Vec<(InstrumentId, Lots)>,
    ) {
        let lost = if self.reads_lost { QueryFault::Lost } else { QueryFault::Answered };
        let (wait, events) = match self.read_faults.pop_front().unwrap_or(lost) {
            QueryFault::Answered | QueryFault::Shown(_) => {
                (Duration::ZERO, before.into_iter().chain([answer(Ok(held))]))
            }
            QueryFault::Slow(wait) => (wait, before.into_iter().chain([answer(Ok(held))])),
            QueryFault::Lost => {
                let failed = answer(Err(failure("timeout", Phase::MaybeSent)));
                (Duration::ZERO, None.into_iter().chain([failed]))
            }
        };
        for event in events {
            if wait.is_zero() {
                self.events.push_back(event);
            } else {
                self.later.push((self.now.mono.after(wait), Later::Tell(event)));
            }
        }
    }

    /// The venue does not answer for a while, and then does again, with everything that happened meanwhile.
    pub(super) fn reconnect(&mut self) {
        self.poll();
        self.step(Event::VenueBack);
        self.run();
    }

    /// I14: what leaves is what the mode lets pass.
    fn check_permitted(&self, request: &Request) {
        let intent = self.core().ledger().intent(&request.key).unwrap();
        let asks = intent.maybe_executed() && self.venue.kind == Kind::Keys;
        let permitted = intent.by_host
            || match (self.mode, intent.action) {
                (Mode::Full, _) | (Mode::ReadOnly, Action::Cancel(_)) => true,
                (Mode::ReadOnly, Action::Submit(order)) => order.options.reduce_only || asks,
                (Mode::ReadOnly, Action::Amend(_)) => asks,
                (Mode::Observation | Mode::Shutdown, _) => false,
            };
        assert!(permitted, "{:?} was sent in mode {}", intent.action, self.mode);
    }

    /// An answer that the venue never gave, to an attempt in the air.
    pub(super) fn reply(&mut self, key: IntentKey, attempt: u32, fault: Fault) {
        let outcome = match fault {
            Fault::Refused => Outcome::Refused(failure("refused", Phase::Done)),
            _ => Outcome::Ambiguous(failure("timeout", Phase::MaybeSent)),
        };
        let reply = Reply { outcome, latency: Duration::ZERO, retry_after: None };
        self.step(Event::Replied { key, attempt, reply });
        self.run();
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

    fn go_to(&mut self, mono: MonoNanos) {
        let wall = UnixNanos(self.venue_time(mono).0.saturating_add_signed(self.ahead_ns));
        self.now = Now { mono, wall };
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

    const fn venue_time(&self, mono: MonoNanos) -> UnixNanos {
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

    /// One tick at the venue's price, a millisecond later.
    pub(super) fn tick(&mut self) {
        self.go_to(MonoNanos(self.now.mono.0 + MS));
        self.seq += 1;
        let tick = Tick {
            instrument: super::X,
            seq: self.seq,
            event_time: self.venue_time(self.now.mono),
            last_price: PriceTicks(self.venue.price),
            volume: Lots(1),
            marks: Marks::TRADE,
            ..Tick::default()
        };
        if self.core.is_some() {
            self.waiting.push_back(tick);
        }
        self.run();
    }

    /// One tick on which the strategy does this.
    pub(super) fn tick_with(&mut self, step: Step) {
        self.strategy.script().ticks.push_back(step);
        self.tick();
    }

    pub(super) fn want(&mut self, intents: Vec<OrderIntent>) {
        self.tick_with(Step::Want(intents));
    }

    /// The venue's updates after the core's cursor.
    pub(super) fn poll(&mut self) {
        let Some(core) = self.core.as_ref() else { return };
        let from = usize::try_from(core.cursor()).unwrap();
        self.poll_from(from.min(self.venue.log.len()));
    }

    /// Whether the venue tells of changes by itself; one that knows no ids of ours cannot.
    fn tells(&self) -> bool {
        self.reports_changes && self.venue.kind != Kind::NoIds
    }

    pub(super) fn poll_from(&mut self, from: usize) {
        // Without ids of ours, the venue reports only orders whose own ids it has told, and those in full.
        let updates = match self.venue.kind {
            Kind::NoIds => {
                let known = self.acknowledged();
                self.venue.log.iter().filter(|update| known.contains(&update.key)).cloned().collect()
            }
            _ => self.venue.log[from..].to_vec(),
        };
        self.step(Event::Updates { cursor: self.venue.log.len() as u64, updates });
        self.run();
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

    /// All faults end, and time passes until the host has recovered from what there was.
    pub(super) fn heal(&mut self) {
        self.kill_at = None;
        self.faults.clear();
        self.query_faults.clear();
        self.baseline_faults.clear();
        self.queries_lost = false;
        self.baselines_lost = false;
        self.read_faults.clear();
        self.reads_lost = false;
        self.hold_acks = false;
        self.checkpoint_fails = false;
        self.set_clock(0);
        self.ack();
        self.run();
        let mut quiet = 0;
        for _ in 0..90 {
            self.live(10_000);
            // Longer than the pause between two looks at the account for a dead letter.
            quiet = if self.later.is_empty() { quiet + 1 } else { 0 };
            if self.venue.kind == Kind::Keys {
                self.replay_unresolved();
            } else if quiet % 10 == 9 {
                self.decide_unresolved();
            }
            let caught_up = self.core().cursor() == self.venue.log.len() as u64 && self.later.is_empty();
            if caught_up && !self.core().has_open_intents() && self.core().mode() == Mode::Full {
                break;
            }
        }
    }

    /// An operator sends again what nobody knows the outcome of, now that the venue is well.
    fn replay_unresolved(&mut self) {
        let unresolved = IntentState::DeadLettered { ambiguous: true };
        let intents = self.core().ledger().intents().iter();
        let unresolved: Vec<_> = intents
            .filter(|(_, intent)| intent.state == unresolved)
            .map(|(key, intent)| Operator::Replay { key: *key, replay: intent.replay + 1 })
            .collect();
        for order in unresolved {
            self.operator(order);
        }
    }

    /// An operator looks at the account. What it shows has been adopted by now, so nothing that is left was
    /// executed; unless it became a letter just now and was not looked for since.
    fn decide_unresolved(&mut self) {
        let looked_for = |key: &IntentKey| {
            let since = self.lettered_at.get(key).map(|at| self.now.mono.since(*at));
            since.is_none_or(|since| since > Duration::from_secs(90))
        };
        let unresolved: Vec<_> = self.core().ledger().unresolved().filter(looked_for).collect();
        for key in unresolved {
            let intent = self.core().ledger().intent(&key).unwrap();
            let replay = intent.replay + 1;
            let places = matches!(intent.action, Action::Submit(_));
            assert!(
                !places || self.venue.executed(&key) == 0,
                "an executed order was not adopted: {intent:?}"
            );
            self.operator(match places && replay == 1 {
                true => Operator::Replay { key, replay },
                false => Operator::Resolve { key, note: "the account shows no trace of it".into() },
            });
        }
    }

    /// Time passes in good health: the market moves on, the venue is probed when needed and asked for news.
    pub(super) fn live(&mut self, ms: u64) {
        for _ in 0..ms.div_ceil(10_000) {
            self.tick();
            self.probe();
            self.poll();
            self.advance(10_000);
        }
    }

    pub(super) fn stop(&mut self) {
        self.step(Event::Stop);
        self.run();
    }
}
