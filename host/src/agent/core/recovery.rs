//! Starting: for the first time, from a checkpoint, or from the journal alone.
//!
//! A start after a crash and a start after an orderly stop take the same path: load the newest checkpoint
//! that verifies, fold the records after it while the strategy is called again with what it was called
//! with, treat attempts that were under way as ambiguous.

use super::bars::Bars;
use super::fed::Pending;
use super::kept::Kept;
use super::lifecycle::{Lifecycle, Strikes};
use super::news::{Untold, change_news};
use super::prices::limits_on;
use super::reconcile::Reconcile;
use super::refeed::Story;
use super::said::Voice;
use super::set_back::SetBack;
use super::state::{State, check_belongs};
use super::watch::Watch;
use super::{Core, CoreConfig, Effect, FailAction, Health, Letter, Life, Prices, Stats, TimeSource};
use crate::market::{CheckConfig, MarketCheck, Now};
use crate::orders::{
    AgentName, Applied, Books, BooksError, Digest, Entry, Ledger, LedgerError, Mode, OrderId, Record,
    RiskGate, Seen,
};
use crate::plugin::{CallError, Services, Strategy};
use crate::random::SplitMix64;
use crate::resilience::{Admission, Class, Classified, Degradation};
use crate::venue::Dialect;
use rust_decimal::Decimal;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use thiserror::Error;

/// What a core is put together from.
pub struct Parts {
    /// The strategy, fresh.
    pub strategy: Box<dyn Strategy>,
    /// Writes requests.
    pub dialect: Arc<dyn Dialect>,
    /// Admits attempts.
    pub gate: Box<dyn Admission>,
    /// How market data is checked.
    pub check: CheckConfig,
}

/// Why an agent cannot start.
#[derive(Debug, Error)]
pub enum RecoverError {
    /// The checkpoint's bytes are no state of this version.
    #[error(
        "agent {agent}: the checkpoint holds no state that this host reads: {reason}; start with the host that wrote it"
    )]
    Undecodable {
        /// Which agent.
        agent: AgentName,
        /// What the decoder found.
        reason: String,
    },
    /// The state belongs to something else.
    #[error(
        "agent {agent}: {what} is {found} in the stored state and {configured} in the configuration; restore the configuration, or give the agent another name"
    )]
    Mismatch {
        /// Which agent.
        agent: AgentName,
        /// What differs.
        what: &'static str,
        /// Stored.
        found: String,
        /// Configured.
        configured: String,
    },
    /// Records are missing.
    #[error(
        "agent {agent}: record {expected} is missing from the journal, the next one is {found}; restore the journal, or raise the agent's incarnation to start anew"
    )]
    Gap {
        /// Which agent.
        agent: AgentName,
        /// The number that should follow.
        expected: u64,
        /// The number found.
        found: u64,
    },
    /// A record does not follow from the state.
    #[error("agent {agent}: record {number} of the journal does not fit the state before it: {source}")]
    Ledger {
        /// Which agent.
        agent: AgentName,
        /// Which record.
        number: u64,
        /// Why.
        source: LedgerError,
    },
    /// A fill does not fit the books.
    #[error("agent {agent}: record {number} of the journal cannot be booked: {source}")]
    Books {
        /// Which agent.
        agent: AgentName,
        /// Which record.
        number: u64,
        /// Why.
        source: BooksError,
    },
    /// The strategy does not start.
    #[error("agent {agent}: the strategy does not start: {source}")]
    Strategy {
        /// Which agent.
        agent: AgentName,
        /// Why.
        source: CallError,
    },
}

impl Classified for RecoverError {
    fn class(&self) -> Class {
        match self {
            Self::Strategy { .. } => Class::Logic,
            _ => Class::State,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Undecodable { .. } => "recover_undecodable",
            Self::Mismatch { .. } => "recover_mismatch",
            Self::Gap { .. } => "recover_gap",
            Self::Ledger { .. } => "recover_ledger",
            Self::Books { .. } => "recover_books",
            Self::Strategy { .. } => "recover_strategy",
        }
    }
}

impl Core {
    /// A core in the state that a checkpoint and the records after it describe, and a strategy that has
    /// been initialised and given its saved state.
    ///
    /// # Errors
    /// When the state, the journal and the configuration do not belong together, or the strategy refuses
    /// to start. Nothing has been written or sent then.
    pub fn recover(
        config: CoreConfig,
        parts: Parts,
        checkpoint: Option<State>,
        entries: &[Entry],
        now: Now,
    ) -> Result<Self, RecoverError> {
        let Parts { strategy, dialect, gate, check } = parts;
        let is_first = checkpoint.is_none();
        let state = checkpoint.unwrap_or_else(|| State::first_run(&config));
        state.check_belongs(&config)?;
        let services = Services::restore(state.books, state.memory, Arc::clone(&config.instruments))
            .with_limits(config.limits.services);
        let bars = Bars::new(&strategy.metadata().needs, config.instruments.len(), &state.bars);
        let mut core = Self {
            // It is called from where the story says.
            strategy: Lifecycle::Starting { number: 0 },
            strikes: Strikes::of_checkpoint(state.strikes),
            kept: Kept::new((state.now, 1), None, services.memory().clone(), services.books.clone()),
            shadow: None,
            probation: None,
            dialect,
            gate,
            check: MarketCheck::new(check, config.instruments.len()),
            services: Box::new(services),
            ledger: state.ledger,
            risk: RiskGate::new(limits_on(config.time, &config.risk)),
            modes: Degradation::restore(config.degradation, state.modes),
            random: SplitMix64(config.seed ^ 0x7265_7472_795f_6a69),
            number: state.number,
            seen: Seen { record: state.number, changes: 0 },
            undurable: VecDeque::new(),
            call: state.call,
            pending: Pending::default(),
            bars,
            recorded: Vec::new(),
            continues: false,
            succession: state.succession,
            marked: state.marked,
            last_order: state.last_order,
            cursor: state.cursor,
            host_orders: state.host_orders,
            started: now.mono,
            set_back: SetBack::default(),
            flying: BTreeMap::new(),
            due: BTreeMap::new(),
            blocked: BTreeSet::new(),
            not_before: BTreeMap::new(),
            first_due: BTreeMap::new(),
            spent: BTreeMap::new(),
            attempt_ended: BTreeMap::new(),
            inquiries: BTreeMap::new(),
            preparations: BTreeMap::new(),
            watched: BTreeMap::new(),
            reconcile: Reconcile::not_needed(),
            watch: Watch::default(),
            drops_vanished: false,
            failure_told: false,
            told_off: BTreeMap::new(),
            foreign_told: false,
            forgotten_told: false,
            question: 0,
            chain: None,
            chains: BTreeMap::new(),
            held: VecDeque::new(),
            prices: Prices::new(config.instruments.len()),
            life: Life::Running,
            wind_down: None,
            warned_of_doubt: false,
            closing_refused: None,
            health: Health::default(),
            floor: Mode::Full,
            faults_in_a_row: 0,
            last_sample: None,
            market_now: state.now,
            dirty: true,
            checkpoint_in_flight: false,
            checkpointed_at: None,
            saved: state.strategy,
            saved_at: state.saved_at,
            began: state.now,
            told: state.now,
            forgot: state.call.saturating_sub(state.saved_at),
            diverged: None,
            untold: Untold::of_checkpoint(state.number, state.untold),
            since: state.number,
            findings: Vec::new(),
            voice: Voice::default(),
            stats: Stats::default(),
            max_drawdown: Decimal::ZERO,
            peak_unjournaled: false,
            buffer: Vec::new(),
            config,
        };
        let terms = core.config.terms();
        let exact = state.plugin == core.config.plugin && state.terms == Some(terms) && core.forgot == 0;
        let mut story = Story::after(&core, entries, exact, state.quarantine)?;
        core.pending = Pending::of_checkpoint(story.not_journaled(state.unjournaled), now);
        if is_first {
            core.began = story.genesis().map_or(now.wall, |first| first.at);
            core.told = core.began;
            core.fold_until(&mut story, Seen { record: 1, changes: u32::MAX })?;
        }
        if let Some(failure) = &story.quarantine {
            core.strategy = Lifecycle::Quarantined { failure: failure.clone() };
            core.keep_from_here(core.began, core.next_order());
            core.kept.dropped = core.forgot;
        } else if story.swap.is_some() {
            story.instance = Some(strategy);
        } else {
            let component = if is_first { story.first_component() } else { Some(state.plugin) };
            let last_order = core.next_order().saturating_sub(1);
            core.start_strategy(&mut story, strategy, last_order, (is_first, component))?;
            core.kept.dropped = core.forgot;
        }
        core.refeed(story)?;
        entries.iter().for_each(|entry| core.set_back.follow(entry.at));
        // What was folded is in the journal.
        core.peak_unjournaled = false;
        Ok(core)
    }

    /// Journals the start and takes up what is open. To be called once, before the first event.
    pub fn start(&mut self, now: Now, out: &mut Vec<Effect>) {
        let symbols =
            self.config.instruments.iter().map(|(_, instrument)| instrument.symbol.clone()).collect();
        let record = Record::Started {
            incarnation: self.config.incarnation,
            plugin: self.config.plugin,
            symbols,
            cash: self.config.cash,
            forgot: self.forgot,
            since: self.since,
            terms: Some(self.config.terms()),
            settings: Some(self.config.settings.clone()),
            configured: self.config.configured,
            next_order: self.next_order(),
        };
        self.started = now.mono;
        self.succession.take(&record);
        self.ledger.host_died(now.wall);
        // The first record tells a later start what the strategy was told at its first.
        let wall = if self.number == 0 { self.began } else { now.wall };
        self.journal(Now { wall, ..now }, record, out);
        self.begin_reconciliation(now);
        if let Some(peak) = self.modes.peak() {
            // What was folded may be worth more than at any call that the journal knows.
            self.modes.observe(self.equity());
            self.peak_unjournaled |= self.modes.peak() != Some(peak);
        }
        // The books follow it at once: there is nothing in it that they wait for.
        self.seen = Seen { record: self.number, changes: 0 };
        for alert in std::mem::take(&mut self.findings) {
            out.push(Effect::Alert(alert));
        }
        self.quarantine_diverged(now, out);
        self.tell_quarantined(out);
        let open: Vec<_> = self.ledger.open().collect();
        for key in open {
            self.take_up(now, key);
        }
        // The index may have been rebuilt, or have missed something: whatever the journal knows of letters is
        // offered to it again.
        for (key, intent) in self.ledger.intents() {
            if intent.letter.is_some() {
                let letter = Letter::Intent { key: *key, intent: Box::new(intent.clone()) };
                out.push(Effect::Letter(letter));
            }
        }
        if self.modes.mode() == Mode::Shutdown {
            let text = format!(
                "agent {} was shut down and stays so until an operator releases it",
                self.config.name
            );
            self.alert(Class::State, "shutdown_latched", text, out);
            // The host may have died while it closed the agent's positions.
            self.begin_wind_down(FailAction::Flatten);
        }
        self.last_sample = Some(now.mono);
        if self.config.time == TimeSource::Wall {
            self.market_now = now.wall;
        }
        self.watch_letters_from(now);
        self.tell_untold(now, out);
        self.progress_reconciliation(now, out);
        self.dispatch(now, out);
    }

    /// Folds a record into the ledger. Returns the order changes that the books have to follow.
    pub(super) fn fold_ledger(&mut self, entry: &Entry) -> Result<Vec<Applied>, RecoverError> {
        self.number = self.number.max(entry.number);
        let before = self.subject(&entry.record).cloned();
        let changes = self.ledger.fold(entry.at, &entry.record).map_err(|source| RecoverError::Ledger {
            agent: self.config.name.clone(),
            number: entry.number,
            source,
        })?;
        match entry.record {
            Record::Attempted { key, .. }
            | Record::Expired { key, .. }
            | Record::DeadLettered { key, .. }
            | Record::Resolved { key, .. }
            | Record::Requeued { key, .. } => self.settle_claim(key),
            _ => {}
        }
        self.note_news(entry, before.as_ref());
        Ok(changes)
    }

    pub(super) fn fold_change(&mut self, number: u64, change: &Applied) -> Result<(), RecoverError> {
        let agent = self.config.name.clone();
        self.untold.add(number, change.terms.instrument, change_news(change));
        self.book(change).map_err(|source| RecoverError::Books { agent, number, source })
    }

    /// Folds what a record says besides the ledger and its order changes.
    pub(super) fn fold_rest(&mut self, entry: &Entry) -> Result<(), RecoverError> {
        self.succession.take(&entry.record);
        match &entry.record {
            Record::Started { incarnation, symbols, cash, since, next_order, .. } => {
                self.count_orders(*next_order);
                self.untold.settle(*since);
                check_belongs(&self.config, *incarnation, symbols)?;
                if self.config.live {
                    self.modes.unreconciled();
                }
                if entry.number == 1 {
                    self.services.books = Books::new(*cash, self.config.instruments.len());
                }
            }
            Record::Decided(decision) => {
                self.call = self.call.max(decision.call);
                decision.intents.iter().for_each(|decided| self.book_decided(decided));
                self.host_orders = self.host_orders.max(host_orders_after(decision));
            }
            Record::CallFailed { call, halted, .. } => {
                self.call = self.call.max(*call);
                if *halted {
                    self.count_strike(entry.at);
                    self.faults_in_a_row = 0;
                }
            }
            Record::Restarted { next_order, .. } => {
                self.count_orders(*next_order);
                self.faults_in_a_row = 0;
            }
            Record::Valued { peak } => {
                // A call that did not wait for the record may have raised it further.
                let known = self.modes.peak();
                self.modes.set_peak(known.max(*peak));
            }
            Record::Quarantined { memory, .. } => {
                self.services.adopt(memory);
            }
            Record::Released { .. } => self.strikes.clear(),
            Record::Swapped(swap) => self.take_over(swap),
            Record::Attempted { key, .. }
            | Record::Queried { key, .. }
            | Record::Expired { key, .. }
            | Record::DeadLettered { key, .. }
            | Record::Resolved { key, .. }
            | Record::OrderDropped { key } => {
                self.close_in_books(*key);
            }
            Record::Requeued { key, .. } => self.reopen_order(*key),
            Record::Reissued(reissue) => {
                self.call = self.call.max(reissue.call);
                self.close_in_books(reissue.parent);
                self.settle_claim(reissue.parent);
                self.book_placed(reissue.key, &reissue.action);
                self.host_orders = self.host_orders.max(host_orders_at(reissue.action.order()));
            }
            Record::ModeChanged { from, to, cause } => {
                self.modes.adopt(*to, *cause);
                if *from == Mode::Shutdown {
                    // Only an operator ends a shutdown, and takes the equity of that moment as the new peak.
                    self.modes.reset_peak();
                }
            }
            Record::PositionAdopted { instrument, quantity, price } => {
                self.book_adopted(*instrument, *quantity, *price).map_err(|source| RecoverError::Books {
                    agent: self.config.name.clone(),
                    number: entry.number,
                    source,
                })?;
            }
            Record::Submitting { .. }
            | Record::Denied { .. }
            | Record::Updated(_)
            | Record::ReplayRefused { .. }
            | Record::Fed { .. } => {}
        }
        Ok(())
    }

    /// A strategy has used the order numbers before this one.
    fn count_orders(&mut self, next_order: u64) {
        self.last_order = self.last_order.max(next_order.saturating_sub(1));
    }

    /// Initialises the strategy and gives it its saved state.
    ///
    /// What it does to its memory with the host on the way belongs to its first start, and to the first
    /// start of another component than the one that ran before. At any other start the memory is as it was.
    pub(super) fn start_strategy(
        &mut self,
        story: &mut Story<'_>,
        mut strategy: Box<dyn Strategy>,
        mut last_order: u64,
        (is_first, component): (bool, Option<Digest>),
    ) -> Result<(), RecoverError> {
        if !story.exact {
            // It will not use the same numbers again, so it must not use any of them.
            last_order = last_order.max(story.last_order());
        }
        let next_order = last_order.saturating_add(1);
        let session = self.terms().session(self.began, next_order);
        let mut started = strategy.init(&session, &mut self.services);
        if started.is_ok()
            && let Some(state) = &self.saved
        {
            started = strategy.load(state, &mut self.services);
        }
        started.map_err(|source| RecoverError::Strategy { agent: self.config.name.clone(), source })?;
        self.strategy = Lifecycle::Running(strategy);
        let effects = self.services.set_aside();
        if component.is_some_and(|component| component != self.config.plugin) {
            story.effects = Some(effects);
        } else if is_first {
            self.services.commit_pending(effects);
        }
        self.keep_from_here(self.began, next_order);
        Ok(())
    }

    /// The state as a checkpoint holds it.
    pub fn state(&self) -> State {
        let instruments = &self.config.instruments;
        State {
            version: State::VERSION,
            agent: self.config.name.clone(),
            incarnation: self.config.incarnation,
            plugin: self.config.plugin,
            symbols: instruments.iter().map(|(_, instrument)| instrument.symbol.clone()).collect(),
            number: self.applied_number(),
            call: self.call,
            cursor: self.cursor,
            host_orders: self.host_orders,
            halted: self.strategy.is_down(),
            books: self.services.books.clone(),
            memory: self.services.memory().clone(),
            ledger: self.ledger.clone(),
            modes: self.modes.state(),
            strategy: self.saved.clone(),
            saved_at: self.saved_at,
            last_order: self.last_order,
            now: self.told,
            unjournaled: self.unjournaled_calls(),
            untold: self.untold.left(),
            marked: self.marked.clone(),
            terms: Some(self.config.terms()),
            bars: self.bars.kept().to_vec(),
            settings: Some(self.config.settings.clone()),
            configured: self.config.configured,
            succession: self.succession.clone(),
            strikes: self.strikes.list(),
            quarantine: match &self.strategy {
                Lifecycle::Quarantined { failure } => Some(failure.clone()),
                _ => None,
            },
        }
    }

    pub(super) fn snapshot(&self) -> Result<Vec<u8>, String> {
        let mut payload = Vec::with_capacity(4_096);
        ciborium::into_writer(&self.state(), &mut payload).map_err(|error| error.to_string())?;
        Ok(payload)
    }
}

fn host_orders_after(decision: &crate::orders::Decision) -> u64 {
    decision.intents.iter().map(|decided| host_orders_at(decided.action.order())).max().unwrap_or(0)
}

/// How many orders the host has made when this is one of them.
const fn host_orders_at(id: OrderId) -> u64 {
    match id.0.checked_sub(Ledger::HOST_ORDERS_FROM) {
        Some(before) => before + 1,
        None => 0,
    }
}
