//! The deterministic core of one agent.
//!
//! `step(now, event) -> effects`. The core owns no clock, socket, file, thread or random source; each is an
//! event in or an effect out. The live shell, the lab and the simulation drive the same code.
//!
//! Two rules hold everywhere in here:
//!
//! * A request becomes an [`Effect::Send`] only after its decision and its attempt are durable.
//! * Evidence (an outcome, a fill, a mode change) reaches the strategy, the books and the operator only
//!   after its record is durable.

mod account;
mod attempts;
mod bars;
mod baseline;
mod calls;
mod claims;
mod compare;
mod config;
mod deadline;
mod event;
mod evidence;
mod fed;
mod forgotten;
mod inquiry;
mod kept;
mod last_run;
mod late;
mod lifecycle;
mod lock;
mod modes;
mod news;
mod operator;
mod prices;
mod probation;
mod reconcile;
mod recovery;
mod refeed;
mod refuted;
mod replay;
mod said;
mod set_back;
mod shadow;
mod shell;
mod slots;
mod state;
mod status;
mod stretch;
mod succession;
mod swap;
mod switching;
#[cfg(test)]
mod tests;
mod watch;

pub use config::{CoreConfig, CoreLimits, FailAction, Supervision, TimeSource};
pub use event::{Alert, Effect, Event, Instance, Letter, Operator, Snapshot, Stats};
pub use last_run::LastRun;
pub use reconcile::ReconcileStage;
pub use recovery::{Parts, RecoverError};
pub use state::State;
pub use status::{Status, StrategyStatus, SwapStage};
pub use stretch::{Replayed, Retrace, Retraced, RetracedDifference, Stretch, StretchError};
pub use succession::{Deployment, Succession};
pub use swap::{Candidate, Shadow, ShadowAnswer, ShadowDifference, ShadowReport, SwapEvent, SwapNews};

pub(in crate::agent) use attempts::breaker_verdict;

use crate::market::{InstrumentId, MarketCheck, Money, MonoNanos, Now, PriceTicks, Tick, UnixNanos};
use crate::orders::{Books, Entry, IntentKey, Ledger, OrderIntent, Record, RiskGate, Seen};
use crate::plugin::{Services, StateSnapshot};
use crate::random::SplitMix64;
use crate::resilience::{Admission, Class, Degradation, Failure, Mode, Permit};
use crate::venue::Dialect;
use bars::Bars;
use baseline::Preparation;
use calls::Chain;
use fed::Pending;
use inquiry::Inquiry;
use kept::Kept;
use late::LateLook;
use lifecycle::{Lifecycle, Strikes};
use modes::WindDown;
use news::Untold;
use prices::Prices;
use probation::Probation;
use reconcile::Reconcile;
use refeed::Divergence;
use rust_decimal::Decimal;
use said::Voice;
use set_back::SetBack;
use shadow::ShadowRun;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use watch::Watch;

/// The longest the core waits before it looks at its ages and dwells again.
const HEARTBEAT: Duration = Duration::from_millis(500);

/// One agent: a strategy, its books, its intents and its modes.
pub struct Core {
    config: CoreConfig,
    strategy: Lifecycle,
    strikes: Strikes,
    /// What a new instance is started from.
    kept: Kept,
    /// A candidate beside the strategy.
    shadow: Option<Box<ShadowRun>>,
    /// The component before, while it can come back.
    probation: Option<Probation>,
    dialect: Arc<dyn Dialect>,
    gate: Box<dyn Admission>,
    check: MarketCheck,
    services: Box<Services>,
    ledger: Ledger,
    risk: RiskGate,
    modes: Degradation,
    random: SplitMix64,

    /// Number of the last record emitted.
    number: u64,
    /// Records that are not durable yet, oldest first.
    undurable: VecDeque<Undurable>,
    /// How far the books have followed the records.
    seen: Seen,
    /// Number of the last call into the strategy.
    call: u64,
    /// Calls that are not journaled yet.
    pending: Pending,
    /// Builds the bars that the strategy asks for.
    bars: Bars,
    /// Stretches of calls that are over, for whoever records them.
    recorded: Vec<Stretch>,
    /// Whether the instance has made the calls of a stretch before this one.
    continues: bool,
    /// What it runs and ran before, as its records say.
    succession: Succession,
    /// Prices that are in the books and came with no call that is recorded, not before the last one.
    marked: Vec<(InstrumentId, PriceTicks)>,
    /// The highest order number that the strategy has used.
    last_order: u64,
    /// Number of the venue's last change seen.
    cursor: u64,
    /// Closing orders the host has made so far.
    host_orders: u64,

    /// When this run began.
    started: MonoNanos,
    /// How far the clock on the wall was set back.
    set_back: SetBack,
    /// Attempts under way.
    flying: BTreeMap<IntentKey, Flight>,
    /// When to try an intent next.
    due: BTreeMap<IntentKey, MonoNanos>,
    /// Intents that wait for the gate, the mode or another order rather than for time.
    blocked: BTreeSet<IntentKey>,
    /// When the venue wants to hear of an intent again, until the answer that said so is durable.
    not_before: BTreeMap<IntentKey, MonoNanos>,
    /// When an intent was first due in this run; its deadline counts from here.
    first_due: BTreeMap<IntentKey, MonoNanos>,
    /// What had passed of an intent's time when this run began.
    spent: BTreeMap<IntentKey, Duration>,
    /// When the last attempt of an intent ended in this run.
    attempt_ended: BTreeMap<IntentKey, MonoNanos>,
    /// What the venue is asked about.
    inquiries: BTreeMap<IntentKey, Inquiry>,
    /// Attempts that are being prepared: what the account shows has to be known first.
    preparations: BTreeMap<IntentKey, Preparation>,
    /// Dead letters about which the account is asked.
    watched: BTreeMap<IntentKey, LateLook>,
    /// Holds the books against the venue.
    reconcile: Reconcile,
    /// Asks about working orders.
    watch: Watch,
    /// Whether orders that are gone are taken for gone, by an operator's order.
    drops_vanished: bool,
    /// Whether a person knows that the books cannot be held against the venue now.
    failure_told: bool,
    /// Differences that a person knows of: what the venue holds beyond the books.
    told_off: BTreeMap<InstrumentId, i64>,
    /// Whether a person knows of orders that are none of the host's.
    foreign_told: bool,
    /// Whether a person knows that closed orders are forgotten before their time.
    forgotten_told: bool,
    /// Number of the last question.
    question: u64,
    /// The piece of news that led to what happens now, while the strategy is called or hears what became
    /// of its own intents.
    chain: Option<Chain>,
    /// The same for intents that wait to be sent.
    chains: BTreeMap<IntentKey, Chain>,
    /// Operator's orders that wait for a record about their intent, or for a price.
    held: VecDeque<Operator>,
    /// When each instrument last had a price.
    prices: Prices,

    life: Life,
    wind_down: Option<WindDown>,
    /// Why the host's last closing order was refused, for the person who has to close instead.
    closing_refused: Option<String>,
    /// Whether a person was told that closing has to wait.
    warned_of_doubt: bool,
    /// What is wrong around the agent.
    health: Health,
    /// No better mode than this, by an operator's order.
    floor: Mode,
    faults_in_a_row: u32,
    last_sample: Option<MonoNanos>,
    market_now: UnixNanos,
    dirty: bool,
    checkpoint_in_flight: bool,
    checkpointed_at: Option<MonoNanos>,
    /// The last state that the strategy gave, for when it cannot give one any more.
    saved: Option<StateSnapshot>,
    /// Number of the last call that is in it; zero without one.
    saved_at: u64,
    /// The moment that the strategy was told at its start.
    began: UnixNanos,
    /// The moment that it was told last.
    told: UnixNanos,
    /// How many calls the strategy does not remember.
    forgot: u64,
    /// Set when the strategy did not do again what the journal says that it did.
    diverged: Option<Divergence>,
    /// What an earlier run knew and the strategy has not heard; told at the start.
    untold: Untold,
    /// Number of the last record in the state that this run began with.
    since: u64,
    /// What a person should know about the start.
    findings: Vec<Alert>,
    voice: Voice,
    stats: Stats,
    max_drawdown: Decimal,
    /// The peak of equity moved while nothing was called, so that the journal does not tell it yet.
    peak_unjournaled: bool,
    buffer: Vec<OrderIntent>,
}

/// A record on its way to the disk.
struct Undurable {
    number: u64,
    /// The moment that its entry names. What is applied later is applied as of then, so that the state
    /// does not depend on how long the disk took.
    at: UnixNanos,
    /// What led to it, when it is the strategy's own doing.
    chain: Option<Chain>,
    record: Record,
}

/// An attempt under way.
struct Flight {
    attempt: u32,
    permit: Permit,
    /// Whether its baseline was overtaken before it was sent.
    overtaken: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Life {
    Running,
    Draining { until: MonoNanos },
    Finishing,
    Stopped,
}

#[derive(Clone, Copy, Debug, Default)]
struct Health {
    journal_failed: bool,
    index_failed: bool,
    venue_refuses_key: bool,
    /// Checkpoints that could not be written, since the last that was.
    checkpoint_failures: u32,
}

impl Core {
    /// Takes one event in and appends what has to be done to `out`.
    pub fn step(&mut self, now: Now, event: Event, out: &mut Vec<Effect>) {
        if self.life == Life::Stopped {
            return;
        }
        self.set_back.look(now);
        match event {
            Event::Sample(Ok(tick)) if self.wants_samples() => self.on_tick(now, &tick, out),
            Event::Sample(_) | Event::Dropped => self.stats.samples_dropped += 1,
            Event::Journaled(number) => self.on_journaled(now, number, out),
            Event::JournalFailed(failure) => self.on_journal_failed(&failure, out),
            Event::Replied { key, attempt, reply } => self.on_reply(now, key, attempt, reply, out),
            Event::Queried { key, number, reply } => self.on_queried(now, key, number, reply, out),
            Event::Baselined { key, number, result } => self.on_baselined(now, key, number, result, out),
            Event::Updates { cursor, updates } => self.on_updates(now, cursor, updates, out),
            Event::UpdatesRead { number, outcome } => self.on_updates_read(now, number, outcome, out),
            Event::Positions { number, outcome } => self.on_positions(now, number, outcome, out),
            Event::VenueLost => self.on_venue_lost(),
            Event::VenueBack => self.on_venue_back(now),
            Event::Foreign => self.on_foreign(out),
            Event::Checkpointed(outcome) => self.on_checkpointed(outcome, out),
            Event::IndexHealth { healthy } => self.health.index_failed = !healthy,
            Event::GateChanged => self.unblock(now),
            Event::Wake => self.fire_timers(now, out),
            Event::Operator(order) => self.on_operator(now, order, out),
            Event::Instance { number, outcome } => self.on_instance(now, number, outcome, out),
            Event::Swap(candidate) => self.on_swap(now, *candidate, out),
            Event::Stop => self.on_stop(now, out),
        }
        self.progress_shadow(now, out);
        self.progress_lifecycle(now, out);
        self.take_up_held(now, out);
        self.progress_reconciliation(now, out);
        self.evaluate_mode(now, out);
        self.progress_wind_down(now, out);
        self.dispatch(now, out);
        self.watch_letters(now, out);
        self.maybe_checkpoint(now, out);
        self.maybe_finish(now, out);
        self.journal_old_calls(now, out);
        self.tell_dropped_lines(now, out);
        self.tell_recorded(out);
    }

    /// When the core wants an [`Event::Wake`] at the latest.
    pub fn next_wake(&self, now: Now) -> MonoNanos {
        let heartbeat = now.mono.after(HEARTBEAT).min(self.calls_due().unwrap_or(MonoNanos(u64::MAX)));
        self.due
            .iter()
            .filter(|(key, _)| !self.blocked.contains(*key))
            .map(|(_, at)| *at)
            .chain(self.reconcile.wake(now.mono))
            .chain(self.watch.wake())
            .chain(self.restart_due())
            .fold(heartbeat, MonoNanos::min)
    }

    /// Whether something is under way that a paced replay should wait for: a record that is not durable
    /// yet, an attempt or a question without an answer, or a reconciliation that is about to end.
    pub fn is_busy(&self) -> bool {
        // A dead letter that is watched is not waited for: it may be watched for days.
        let asks = || self.inquiries.values().any(Inquiry::is_under_way) || self.watch.is_busy();
        let reads = || self.preparations.values().any(Preparation::is_under_way);
        let waits = || self.reconcile.is_on_its_way() || matches!(self.strategy, Lifecycle::Starting { .. });
        self.is_writing() || !self.flying.is_empty() || asks() || reads() || waits()
    }

    /// Whether a record that something waits for is not durable yet.
    fn is_writing(&self) -> bool {
        self.undurable.iter().any(|waiting| !matches!(waiting.record, Record::Fed { .. }))
    }

    /// Whether the books have been held against the venue in this run, or an attempt at it has failed.
    pub fn is_ready(&self) -> bool {
        self.reconcile.is_attempted()
    }

    /// How far the books have been held against the venue.
    pub fn reconciliation(&self) -> ReconcileStage {
        self.reconcile.stage()
    }

    /// Whether an intent waits for anything at all.
    pub fn has_open_intents(&self) -> bool {
        self.ledger.open_count() > 0
    }

    /// Whether the agent has finished.
    pub fn is_stopped(&self) -> bool {
        self.life == Life::Stopped
    }

    /// What the host lets the agent do.
    pub fn mode(&self) -> Mode {
        self.modes.mode()
    }

    /// The agent's books.
    pub fn books(&self) -> &Books {
        &self.services.books
    }

    /// The agent's intents and orders.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Cash plus positions at their last prices; `None` while a held position has no price.
    pub fn equity(&self) -> Option<Money> {
        self.services.books.equity(&self.config.instruments)
    }

    /// The deepest fall of equity below its peak so far, as a share of the peak.
    pub fn max_drawdown(&self) -> Decimal {
        self.max_drawdown
    }

    /// Counts since the start.
    pub fn stats(&self) -> Stats {
        self.stats
    }

    /// Samples that were dropped, by fault.
    pub fn data_counts(&self) -> &crate::market::DataCounts {
        self.check.counts()
    }

    /// Number of the venue's last change that the agent has seen.
    pub fn cursor(&self) -> u64 {
        self.cursor
    }

    /// Time as the strategy is told it.
    pub fn market_now(&self) -> UnixNanos {
        self.market_now
    }

    /// The configuration.
    pub fn config(&self) -> &CoreConfig {
        &self.config
    }

    /// Whether the strategy does not run: it failed and waits for a new instance, or is quarantined.
    pub fn is_halted(&self) -> bool {
        self.strategy.is_down()
    }

    /// Takes note that the books have changed otherwise than by the prices that come with calls.
    fn books_moved(&mut self) {
        self.kept.books_moved();
        self.probation_books_moved();
    }

    /// Numbers a record, remembers it until it is durable, and asks for it to be journaled.
    fn journal(&mut self, now: Now, record: Record, out: &mut Vec<Effect>) {
        if matches!(record, Record::Decided(_) | Record::CallFailed { .. } | Record::Swapped(_)) {
            // Whoever reads what a call did finds before it what led to it.
            self.journal_calls(now, out);
        }
        self.number += 1;
        let chain = self.chain.clone();
        self.undurable.push_back(Undurable {
            number: self.number,
            at: now.wall,
            chain,
            record: record.clone(),
        });
        let agent = self.config.name.clone();
        let incarnation = self.config.incarnation;
        let entry = Entry { agent, incarnation, number: self.number, at: now.wall, record };
        out.push(Effect::Journal(entry));
    }

    fn on_journaled(&mut self, now: Now, number: u64, out: &mut Vec<Effect>) {
        while self.undurable.front().is_some_and(|first| first.number <= number) {
            if let Some(Undurable { number, at, chain, record }) = self.undurable.pop_front() {
                self.seen = Seen { record: number, changes: 0 };
                self.chain = chain;
                self.on_durable(now, at, record, out);
                self.chain = None;
            }
        }
    }

    fn on_journal_failed(&mut self, failure: &Failure, out: &mut Vec<Effect>) {
        if std::mem::replace(&mut self.health.journal_failed, true) {
            return;
        }
        // What was not durable may or may not be on the disk. Nothing of it is acted on; the next start
        // reads what is there.
        self.undurable.clear();
        self.alert(
            Class::Resource,
            "journal_failed",
            format!("{failure}; the agent stops, free or repair the disk and start it again"),
            out,
        );
    }

    fn alert(&self, class: Class, code: &str, text: String, out: &mut Vec<Effect>) {
        out.push(Effect::Alert(Alert { class, code: code.to_owned(), text }));
    }

    fn on_tick(&mut self, now: Now, tick: &Tick, out: &mut Vec<Effect>) {
        if self.check.admit(now, tick).is_err() {
            self.stats.samples_dropped += 1;
            return;
        }
        self.stats.ticks += 1;
        self.last_sample = Some(now.mono);
        self.market_now = match self.config.time {
            TimeSource::Wall => now.wall,
            TimeSource::Data => tick.event_time.max(self.market_now),
        };
        self.services.books.mark(tick);
        self.prices.take((now.mono, self.market_now), tick);
        self.note_marked(tick);
        if !self.strategy.is_running() {
            // No call brings this price.
            self.books_moved();
        }
        self.evaluate_mode(now, out);
        self.fire_timers(now, out);
        self.call_on_tick(now, tick, out);
    }
}
