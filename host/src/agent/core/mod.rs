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

mod attempts;
mod calls;
mod config;
mod event;
mod evidence;
mod inquiry;
mod modes;
mod operator;
mod recovery;
#[cfg(test)]
mod tests;

pub use config::{CoreConfig, CoreLimits, FailAction, TimeSource};
pub use event::{Alert, Effect, Event, Letter, Operator, Snapshot, Stats};
pub use recovery::{Parts, RecoverError, State};

pub(in crate::agent) use attempts::breaker_verdict;

use crate::market::{MarketCheck, Money, MonoNanos, Now, Tick, UnixNanos};
use crate::orders::{Books, Entry, IntentKey, Ledger, OrderIntent, Record, RiskGate};
use crate::plugin::{Services, StateSnapshot, Strategy};
use crate::random::SplitMix64;
use crate::resilience::{Admission, Class, Degradation, Failure, Mode, Permit};
use crate::venue::Dialect;
use calls::Chain;
use inquiry::Inquiry;
use modes::WindDown;
use rust_decimal::Decimal;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

/// The longest the core waits before it looks at its ages and dwells again.
const HEARTBEAT: Duration = Duration::from_millis(500);

/// One agent: a strategy, its books, its intents and its modes.
pub struct Core {
    config: CoreConfig,
    /// `None` once the strategy is halted.
    strategy: Option<Box<dyn Strategy>>,
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
    /// Number of the last call into the strategy.
    call: u64,
    /// Number of the venue's last change seen.
    cursor: u64,
    /// Closing orders the host has made so far.
    host_orders: u64,

    /// When this run began.
    started: MonoNanos,
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
    /// When the last attempt of an intent ended in this run.
    attempt_ended: BTreeMap<IntentKey, MonoNanos>,
    /// What the venue is asked about.
    inquiries: BTreeMap<IntentKey, Inquiry>,
    /// Number of the last question.
    question: u64,
    /// The piece of news that led to what happens now, while the strategy is called or hears what became
    /// of its own intents.
    chain: Option<Chain>,
    /// The same for intents that wait to be sent.
    chains: BTreeMap<IntentKey, Chain>,
    /// Operator's orders that wait for a record about their intent.
    held: VecDeque<Operator>,

    life: Life,
    wind_down: Option<WindDown>,
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
    stats: Stats,
    max_drawdown: Decimal,
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
}

impl Core {
    /// Takes one event in and appends what has to be done to `out`.
    pub fn step(&mut self, now: Now, event: Event, out: &mut Vec<Effect>) {
        if self.life == Life::Stopped {
            return;
        }
        match event {
            Event::Sample(Ok(tick)) => self.on_tick(now, &tick, out),
            Event::Sample(Err(_)) | Event::Dropped => self.stats.samples_dropped += 1,
            Event::Journaled(number) => self.on_journaled(now, number, out),
            Event::JournalFailed(failure) => self.on_journal_failed(&failure, out),
            Event::Replied { key, attempt, reply } => self.on_reply(now, key, attempt, reply, out),
            Event::Queried { key, number, reply } => self.on_queried(now, key, number, reply, out),
            Event::Updates { cursor, updates } => self.on_updates(now, cursor, updates, out),
            Event::Checkpointed(outcome) => self.on_checkpointed(outcome, out),
            Event::IndexHealth { healthy } => self.health.index_failed = !healthy,
            Event::GateChanged => self.unblock(now),
            Event::Wake => self.fire_timers(now, out),
            Event::Operator(order) => self.on_operator(now, order, out),
            Event::Stop => self.on_stop(now, out),
        }
        self.take_up_held(now, out);
        self.evaluate_mode(now, out);
        self.progress_wind_down(now, out);
        self.dispatch(now, out);
        self.maybe_checkpoint(now, out);
        self.maybe_finish(now, out);
    }

    /// When the core wants an [`Event::Wake`] at the latest.
    pub fn next_wake(&self, now: Now) -> MonoNanos {
        let heartbeat = now.mono.after(HEARTBEAT);
        self.due
            .iter()
            .filter(|(key, _)| !self.blocked.contains(*key))
            .map(|(_, at)| *at)
            .fold(heartbeat, MonoNanos::min)
    }

    /// Whether something is under way that a paced replay should wait for: a record that is not durable
    /// yet, or an attempt or a question without an answer.
    pub fn is_busy(&self) -> bool {
        let asks = || self.inquiries.values().any(Inquiry::is_under_way);
        !self.undurable.is_empty() || !self.flying.is_empty() || asks()
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

    /// Whether the strategy has been halted.
    pub fn is_halted(&self) -> bool {
        self.strategy.is_none()
    }

    /// Numbers a record, remembers it until it is durable, and asks for it to be journaled.
    fn journal(&mut self, now: Now, record: Record, out: &mut Vec<Effect>) {
        self.number += 1;
        let chain = self.chain.clone();
        self.undurable.push_back(Undurable {
            number: self.number,
            at: now.wall,
            chain,
            record: record.clone(),
        });
        let entry = Entry { agent: self.config.name.clone(), number: self.number, at: now.wall, record };
        out.push(Effect::Journal(entry));
    }

    fn on_journaled(&mut self, now: Now, number: u64, out: &mut Vec<Effect>) {
        while self.undurable.front().is_some_and(|first| first.number <= number) {
            if let Some(Undurable { at, chain, record, .. }) = self.undurable.pop_front() {
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
        self.evaluate_mode(now, out);
        self.fire_timers(now, out);
        self.call_on_tick(now, tick, out);
    }
}
