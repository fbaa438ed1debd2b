#![doc = include_str!("../../README.md")]

#[allow(missing_docs, unused_qualifications, unsafe_op_in_unsafe_fn, clippy::all, clippy::pedantic)]
#[allow(clippy::allow_attributes_without_reason, clippy::unwrap_used, clippy::panic, reason = "generated")]
#[doc(hidden)]
pub mod bindings;
#[doc(hidden)]
pub mod component;
mod describe;
mod event;
mod instrument;
mod intents;
mod market;
mod number;
mod order;
mod runner;
mod services;
mod settings;
mod state;
mod strategy;
#[cfg(not(target_arch = "wasm32"))]
pub mod test;

pub use bindings::ringfence::strategy::types::{
    Fault, InstrumentKind, Mode, RejectReason, Side, TickMarks as Marks, TimeInForce,
};
pub use describe::Description;
pub use event::{Event, Fill, Funding, Rejection};
pub use instrument::{Instrument, InstrumentId};
pub use intents::{Intent, Intents};
pub use market::{Bar, Context, Tick, UnixNanos};
pub use number::{Decimal, DecimalError, Lots, PriceTicks, Rounding};
pub use order::{Order, OrderId, OrderKind};
pub use services::{account, clock, kv, log, metrics, random};
pub use settings::{Setting, SettingValue, Settings};
pub use state::{StateReader, StateWriter};
pub use strategy::{Session, Strategy};

/// What a strategy's file needs, in one line.
pub mod prelude {
    pub use crate::{
        Bar, Context, Decimal, Description, Event, Fault, Instrument, InstrumentId, Intents, Lots, Mode,
        Order, OrderId, PriceTicks, Rounding, Session, Setting, Side, StateReader, StateWriter, Strategy,
        Tick, UnixNanos,
    };
}
