//! Starting: for the first time, from a checkpoint, or from the journal alone.
//!
//! A start after a crash and a start after an orderly stop take the same path: load the newest checkpoint
//! that verifies, fold the records after it, treat attempts that were under way as ambiguous.

use super::{Core, CoreConfig, Effect, FailAction, Health, Letter, Life, Stats};
use crate::market::{CheckConfig, MarketCheck, Now, UnixNanos};
use crate::orders::{
    AgentName, Books, BooksError, Digest, Entry, IntentState, Ledger, LedgerError, Mode, OrderId, Record,
    RiskGate,
};
use crate::plugin::{CallError, Memory, Services, Session, StateSnapshot, Strategy};
use crate::random::SplitMix64;
use crate::resilience::{Admission, Class, Classified, Degradation, DegradationState};
use crate::venue::Dialect;
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use thiserror::Error;

/// What a checkpoint holds. Maps are sorted and money is text, so equal states are equal bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// Version of this layout.
    pub version: u32,
    /// Whose state.
    pub agent: AgentName,
    /// The incarnation it ran under.
    pub incarnation: u32,
    /// The component that ran last.
    pub plugin: Digest,
    /// Symbols in the order of their instrument ids.
    pub symbols: Vec<String>,
    /// Number of the last record that the state contains.
    pub number: u64,
    /// Number of the last call into the strategy.
    pub call: u64,
    /// Number of the venue's last change seen.
    pub cursor: u64,
    /// Closing orders the host has made.
    pub host_orders: u64,
    /// Whether the strategy was halted.
    pub halted: bool,
    /// Cash and positions.
    pub books: Books,
    /// What the strategy keeps with the host.
    pub memory: Memory,
    /// Intents and orders.
    pub ledger: Ledger,
    /// Modes, with the peak of equity.
    pub modes: DegradationState,
    /// The strategy's own state.
    pub strategy: Option<StateSnapshot>,
}

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

impl State {
    /// Layout written by this host.
    pub const VERSION: u32 = 1;

    /// The state that a checkpoint's payload holds.
    ///
    /// # Errors
    /// When the bytes are no state of this version.
    pub fn decode(agent: &AgentName, payload: &[u8]) -> Result<Self, RecoverError> {
        let undecodable = |reason: String| RecoverError::Undecodable { agent: agent.clone(), reason };
        let state: Self = ciborium::from_reader(payload).map_err(|error| undecodable(error.to_string()))?;
        if state.version != Self::VERSION {
            return Err(undecodable(format!("layout {} instead of {}", state.version, Self::VERSION)));
        }
        Ok(state)
    }

    fn first_run(config: &CoreConfig) -> Self {
        let instruments = &config.instruments;
        Self {
            version: Self::VERSION,
            agent: config.name.clone(),
            incarnation: config.incarnation,
            plugin: config.plugin,
            symbols: instruments.iter().map(|(_, instrument)| instrument.symbol.clone()).collect(),
            number: 0,
            call: 0,
            cursor: 0,
            host_orders: 0,
            halted: false,
            books: Books::new(config.cash, instruments.len()),
            memory: Services::new(Books::default(), Arc::clone(instruments), config.seed).memory().clone(),
            ledger: Ledger::default(),
            modes: DegradationState::default(),
            strategy: None,
        }
    }

    fn check_belongs(&self, config: &CoreConfig) -> Result<(), RecoverError> {
        if self.agent != config.name {
            return Err(mismatch(config, "the agent", self.agent.to_string(), config.name.to_string()));
        }
        check_belongs(config, self.incarnation, &self.symbols)
    }
}

fn mismatch(config: &CoreConfig, what: &'static str, found: String, configured: String) -> RecoverError {
    RecoverError::Mismatch { agent: config.name.clone(), what, found, configured }
}

/// Instrument ids are positions, so another order of symbols would book fills on the wrong instrument; a
/// lower incarnation would use old keys again.
fn check_belongs(config: &CoreConfig, incarnation: u32, symbols: &[String]) -> Result<(), RecoverError> {
    let configured: Vec<_> =
        config.instruments.iter().map(|(_, instrument)| instrument.symbol.as_str()).collect();
    if symbols != configured {
        return Err(mismatch(config, "the list of instruments", symbols.join(","), configured.join(",")));
    }
    if incarnation > config.incarnation {
        let (found, configured) = (incarnation.to_string(), config.incarnation.to_string());
        return Err(mismatch(config, "the incarnation", found, configured));
    }
    Ok(())
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
        let state = checkpoint.unwrap_or_else(|| State::first_run(&config));
        state.check_belongs(&config)?;
        let services = Services::restore(state.books, state.memory, Arc::clone(&config.instruments));
        let mut core = Self {
            strategy: Some(strategy),
            dialect,
            gate,
            check: MarketCheck::new(check, config.instruments.len()),
            services: Box::new(services),
            ledger: state.ledger,
            risk: RiskGate::new(config.risk.clone()),
            modes: Degradation::restore(config.degradation, state.modes),
            random: SplitMix64(config.seed ^ 0x7265_7472_795f_6a69),
            number: state.number,
            undurable: VecDeque::new(),
            call: state.call,
            cursor: state.cursor,
            host_orders: state.host_orders,
            started: now.mono,
            flying: BTreeMap::new(),
            due: BTreeMap::new(),
            blocked: BTreeSet::new(),
            not_before: BTreeMap::new(),
            first_due: BTreeMap::new(),
            attempt_ended: BTreeMap::new(),
            inquiries: BTreeMap::new(),
            question: 0,
            chain: None,
            chains: BTreeMap::new(),
            held: VecDeque::new(),
            life: Life::Running,
            wind_down: None,
            health: Health::default(),
            floor: Mode::Full,
            faults_in_a_row: 0,
            last_sample: None,
            market_now: UnixNanos(0),
            dirty: true,
            checkpoint_in_flight: false,
            checkpointed_at: None,
            saved: state.strategy,
            stats: Stats::default(),
            max_drawdown: Decimal::ZERO,
            buffer: Vec::new(),
            config,
        };
        for entry in entries.iter().filter(|entry| entry.number > state.number) {
            core.fold(entry)?;
        }
        core.start_strategy(now)?;
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
        };
        self.started = now.mono;
        self.ledger.host_died(now.wall);
        self.journal(now, record, out);
        let open: Vec<_> = self.ledger.open().collect();
        for key in open {
            self.due.insert(key, now.mono);
            self.first_due.insert(key, now.mono);
        }
        // The index may have been rebuilt: whatever the journal knows as dead is offered to it again.
        for (key, intent) in self.ledger.intents() {
            if matches!(intent.state, IntentState::DeadLettered { .. }) {
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
        self.dispatch(now, out);
    }

    fn fold(&mut self, entry: &Entry) -> Result<(), RecoverError> {
        let agent = || self.config.name.clone();
        if entry.number != self.number + 1 {
            return Err(RecoverError::Gap { agent: agent(), expected: self.number + 1, found: entry.number });
        }
        self.number = entry.number;
        let applied = self.ledger.fold(entry.at, &entry.record).map_err(|source| RecoverError::Ledger {
            agent: agent(),
            number: entry.number,
            source,
        })?;
        for change in applied {
            self.book(&change).map_err(|source| RecoverError::Books {
                agent: self.config.name.clone(),
                number: entry.number,
                source,
            })?;
        }
        match &entry.record {
            Record::Started { incarnation, symbols, cash, .. } => {
                check_belongs(&self.config, *incarnation, symbols)?;
                if entry.number == 1 {
                    self.services.books = Books::new(*cash, self.config.instruments.len());
                }
            }
            Record::Decided(decision) => {
                self.call = self.call.max(decision.call);
                decision.intents.iter().for_each(|decided| self.book_decided(decided));
                if let Some(memory) = &decision.memory {
                    self.services.set_memory(memory.clone());
                }
                self.host_orders = self.host_orders.max(host_orders_after(decision));
            }
            Record::CallFailed { call, .. } => self.call = self.call.max(*call),
            Record::Attempted { key, .. }
            | Record::Queried { key, .. }
            | Record::Expired { key, .. }
            | Record::DeadLettered { key, .. }
            | Record::Resolved { key, .. } => {
                self.close_in_books(*key);
            }
            Record::Requeued { key, .. } => self.reopen_order(*key),
            Record::ModeChanged { to, .. } => self.modes.adopt(*to),
            Record::Submitting { .. } | Record::Updated(_) => {}
        }
        Ok(())
    }

    fn start_strategy(&mut self, now: Now) -> Result<(), RecoverError> {
        let next = self.ledger.last_strategy_order().map_or(1, |id| id.0.saturating_add(1));
        let session = Session {
            run_id: self.config.run_id,
            seed: self.config.seed,
            now: now.wall,
            next_order_id: OrderId(next),
            instruments: (*self.config.instruments).clone(),
            settings: self.config.settings.clone(),
            live: self.config.live,
        };
        let Some(strategy) = self.strategy.as_mut() else { return Ok(()) };
        let mut started = strategy.init(&session, &mut self.services);
        if started.is_ok()
            && let Some(state) = &self.saved
        {
            started = strategy.load(state, &mut self.services);
        }
        match started {
            Ok(()) => {
                self.services.commit();
                Ok(())
            }
            Err(source) => Err(RecoverError::Strategy { agent: self.config.name.clone(), source }),
        }
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
            number: self.number,
            call: self.call,
            cursor: self.cursor,
            host_orders: self.host_orders,
            halted: self.strategy.is_none(),
            books: self.services.books.clone(),
            memory: self.services.memory().clone(),
            ledger: self.ledger.clone(),
            modes: self.modes.state(),
            strategy: self.saved.clone(),
        }
    }

    pub(super) fn snapshot(&self) -> Result<Vec<u8>, String> {
        let mut payload = Vec::with_capacity(4_096);
        ciborium::into_writer(&self.state(), &mut payload).map_err(|error| error.to_string())?;
        Ok(payload)
    }
}

fn host_orders_after(decision: &crate::orders::Decision) -> u64 {
    let ids = decision.intents.iter().map(|decided| decided.action.order().0);
    ids.filter(|id| *id >= Ledger::HOST_ORDERS_FROM)
        .map(|id| id - Ledger::HOST_ORDERS_FROM + 1)
        .max()
        .unwrap_or(0)
}
