//! Strategies: the trait that every kind of strategy implements, what the host lends to it, and the
//! sandbox that runs one as a WebAssembly component.
//!
//! ```text
//!   bytes ─► scan ─► contract ─► compile ─► describe ─► Plugin ─► ComponentStrategy: Strategy
//!            size,    every       wasmtime   under       shared    one store each, budget armed
//!            shape    mismatch               budget                before every entry
//! ```

mod bindings;
mod component;
mod contract;
mod convert;
mod engine;
mod host;
mod instance;
mod limits;
mod scan;
mod services;
mod signature;
mod strategy;
mod text;
mod trap;

#[cfg(test)]
mod tests;

pub use component::{Plugin, PluginError};
pub use contract::Mismatch;
pub use convert::{MetadataError, ROW_FIELDS, batch_row};
pub use engine::{Sandbox, SandboxConfig, SandboxError};
pub use instance::{BatchOutcome, ComponentStrategy};
pub use limits::SandboxLimits;
pub use scan::ScanError;
pub use services::{Kv, KvError, LogLevel, LogLine, Memory, MetricKind, Services, Telemetry};
pub use strategy::{
    CallError, DataNeeds, Fault, Metadata, Session, Setting, SettingValue, StateSnapshot, Strategy,
    TickContext, TrapKind,
};
