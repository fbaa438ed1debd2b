//! The one trait through which the core calls a strategy, whatever it is made of: a sandboxed
//! component, native Rust in a test, or a script in the simulation.

use super::Services;
use crate::market::{Bar, Instruments, Lots, Tick, UnixNanos};
use crate::orders::{Mode, OrderId, OrderIntent, StrategyEvent};
use crate::resilience::{Class, Classified};
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// What a strategy has to be given; WIT `data-needs`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DataNeeds {
    /// Fewest instruments it works with.
    pub instruments_min: u32,
    /// Most instruments it works with.
    pub instruments_max: u32,
    /// Whether it reads trades.
    pub trades: bool,
    /// Whether it reads quotes.
    pub quotes: bool,
    /// Lengths of the bars it wants.
    pub bar_seconds: Vec<u32>,
}

/// What a strategy says about itself; WIT `metadata`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Metadata {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// One line about it.
    pub summary: String,
    /// JSON Schema of the settings that `init` accepts.
    pub settings_schema: String,
    /// Schema of the state that `save` writes.
    pub state_schema: u32,
    /// Oldest schema that `load` accepts.
    pub oldest_loadable_state: u32,
    /// What it has to be given.
    pub needs: DataNeeds,
}

/// The value of a setting; WIT `setting-value`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[expect(missing_docs, reason = "the names are those of the WIT variant")]
pub enum SettingValue {
    Boolean(bool),
    Integer(i64),
    Exact(Decimal),
    Real(f64),
    Text(String),
}

/// One setting of a strategy.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Setting {
    /// Its name.
    pub key: String,
    /// Its value.
    pub value: SettingValue,
}

/// What a strategy is told once, before its first tick; WIT `session`.
#[derive(Clone, Debug, PartialEq)]
pub struct Session {
    /// Number of this run.
    pub run_id: u64,
    /// Seed of the strategy's random numbers.
    pub seed: u64,
    /// Time at the start.
    pub now: UnixNanos,
    /// First order id that has not been used.
    pub next_order_id: OrderId,
    /// What it may trade; the position is the instrument's id.
    pub instruments: Instruments,
    /// Its settings.
    pub settings: Vec<Setting>,
    /// Whether orders go to a venue.
    pub live: bool,
}

/// What a strategy is told with every call; WIT `tick-context`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct TickContext {
    /// Time of the call.
    pub now: UnixNanos,
    /// Position in the instrument that the call is about.
    pub position: Lots,
    /// Working orders in that instrument.
    pub open_orders: u32,
    /// How many intents the call may return.
    pub intents_left: u32,
    /// What the host lets the agent do.
    pub mode: Mode,
}

/// State that survives a swap and a restart; WIT `state.snapshot`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateSnapshot {
    /// Schema of the bytes.
    pub schema: u32,
    /// The bytes, opaque to the host.
    #[serde(with = "serde_bytes")]
    pub data: Vec<u8>,
}

/// A refusal that a strategy explained; WIT `fault`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Error)]
#[serde(rename_all = "kebab-case")]
pub enum Fault {
    /// The settings are not acceptable.
    #[error("invalid settings: {0}")]
    InvalidSettings(String),
    /// The saved state is not acceptable.
    #[error("incompatible state: {0}")]
    IncompatibleState(String),
    /// Not before something else has happened.
    #[error("not ready")]
    NotReady,
    /// Anything else.
    #[error("internal: {0}")]
    Internal(String),
}

/// Why the sandbox ended a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TrapKind {
    /// The instruction budget of the call is spent.
    Fuel,
    /// The time budget of the call is spent.
    Deadline,
    /// A memory or table grew beyond its cap, or was accessed out of bounds.
    Memory,
    /// The stack is exhausted.
    Stack,
    /// Too many, or forbidden, calls into the host.
    HostCalls,
    /// It returned more than a call may return, or what is no value of the contract.
    Output,
    /// The component panicked or executed an invalid instruction.
    Unreachable,
    /// Anything else that the engine reports.
    Other,
}

impl TrapKind {
    /// The lower-case name used in logs, metrics and files.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Fuel => "fuel",
            Self::Deadline => "deadline",
            Self::Memory => "memory",
            Self::Stack => "stack",
            Self::HostCalls => "host-calls",
            Self::Output => "output",
            Self::Unreachable => "unreachable",
            Self::Other => "other",
        }
    }
}

/// Why a call into a strategy gave no intents. All of them lose every intent of that call, and none was sent.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CallError {
    /// The strategy said no. It can be called again.
    #[error("the strategy reported a fault: {0}")]
    Fault(#[from] Fault),
    /// The sandbox ended the call. The instance is dead and must be replaced.
    #[error("the strategy trapped ({}): {detail}", kind.name())]
    Trap {
        /// Why.
        kind: TrapKind,
        /// What the engine reports, and where in the guest.
        detail: String,
    },
    /// The instance trapped before and was not replaced.
    #[error("the strategy instance is dead since an earlier trap")]
    Dead,
    /// The host did not make the call: it cannot end one that takes too long, or has no way to say what it
    /// has to say. The strategy is as it was.
    #[error("the sandbox refused the call: {0}")]
    Refused(String),
}

impl Classified for CallError {
    fn class(&self) -> Class {
        match self {
            Self::Fault(_) | Self::Trap { .. } | Self::Dead => Class::Logic,
            Self::Refused(_) => Class::Resource,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Fault(_) => "strategy_fault",
            Self::Trap { kind, .. } => match kind {
                TrapKind::Fuel => "trap_fuel",
                TrapKind::Deadline => "trap_deadline",
                TrapKind::Memory => "trap_memory",
                TrapKind::Stack => "trap_stack",
                TrapKind::HostCalls => "trap_host_calls",
                TrapKind::Output => "trap_output",
                TrapKind::Unreachable => "trap_unreachable",
                TrapKind::Other => "trap_other",
            },
            Self::Dead => "strategy_dead",
            Self::Refused(_) => "strategy_call_refused",
        }
    }
}

/// A strategy, called inline by the core on the agent's own thread.
///
/// Every call that returns intents appends them to `intents`, which the caller hands over empty. After an
/// error the caller ignores `intents` and the changes to `services`.
pub trait Strategy: Send {
    /// What the strategy says about itself.
    fn metadata(&self) -> &Metadata;

    /// Called once, first.
    ///
    /// # Errors
    /// See [`CallError`].
    fn init(&mut self, session: &Session, services: &mut Box<Services>) -> Result<(), CallError>;

    /// One market update.
    ///
    /// # Errors
    /// See [`CallError`].
    fn on_tick(
        &mut self,
        tick: &Tick,
        context: &TickContext,
        services: &mut Box<Services>,
        intents: &mut Vec<OrderIntent>,
    ) -> Result<(), CallError>;

    /// News about an order, a timer, the mode or the operator.
    ///
    /// # Errors
    /// See [`CallError`].
    fn on_event(
        &mut self,
        event: &StrategyEvent,
        context: &TickContext,
        services: &mut Box<Services>,
        intents: &mut Vec<OrderIntent>,
    ) -> Result<(), CallError>;

    /// A complete bar of a length that the metadata asks for. Strategies without bars ignore it.
    ///
    /// # Errors
    /// See [`CallError`].
    fn on_bar(
        &mut self,
        bar: &Bar,
        context: &TickContext,
        services: &mut Box<Services>,
        intents: &mut Vec<OrderIntent>,
    ) -> Result<(), CallError> {
        let _ = (bar, context, services, intents);
        Ok(())
    }

    /// Whether [`Strategy::save`] gives a state and [`Strategy::load`] takes one.
    fn keeps_state(&self) -> bool {
        false
    }

    /// State to survive a restart; `None` when the strategy keeps none.
    ///
    /// # Errors
    /// See [`CallError`].
    fn save(&mut self, services: &mut Box<Services>) -> Result<Option<StateSnapshot>, CallError> {
        let _ = services;
        Ok(None)
    }

    /// State that an earlier instance saved.
    ///
    /// # Errors
    /// See [`CallError`].
    fn load(&mut self, state: &StateSnapshot, services: &mut Box<Services>) -> Result<(), CallError> {
        let _ = (state, services);
        Ok(())
    }

    /// Last words before removal.
    ///
    /// # Errors
    /// See [`CallError`].
    fn stop(
        &mut self,
        services: &mut Box<Services>,
        intents: &mut Vec<OrderIntent>,
    ) -> Result<(), CallError> {
        let _ = (services, intents);
        Ok(())
    }

    /// Fuel that the last call used, where it is metered.
    fn fuel_used(&self) -> Option<u64> {
        None
    }
}
