//! Strategies: the trait that every kind of strategy implements, what the host lends to it, and the
//! sandbox that runs one as a WebAssembly component.
//!
//! ```text
//!   bytes ─► preflight ─► compile ─► describe ─► schema ─► Plugin ─► ComponentStrategy: Strategy
//!            size, pin,   memory,    under      of the    shared    one store each, budget armed
//!            shape,       cache or   budget     settings            before every entry
//!            contract,    a child
//!            grants       process
//! ```

mod adapters;
mod cache;
mod compiled;
mod compiler;
mod component;
mod contract;
mod engine;
mod grants;
mod instance;
mod intake;
mod limits;
mod metadata;
mod nesting;
mod preflight;
mod rows;
mod scan;
mod schema;
mod service_limits;
mod services;
mod shape;
mod signature;
mod store;
mod strategy;
mod telemetry;
mod text;
mod trap;
mod wasi;

#[cfg(any(fuzzing, test))]
pub mod fuzzing;
#[cfg(test)]
mod tests;

pub use cache::CacheConfig;
pub use compiler::{ChildCompiler, Compiler, CompilerError, WorkerConfig, WorkerError, run_worker};
pub use component::{Plugin, PluginError};
pub use contract::Mismatch;
pub use engine::{Sandbox, SandboxConfig, SandboxError};
pub use grants::{Grant, Grants};
pub use instance::{BatchOutcome, ComponentStrategy};
pub use intake::{CompileStats, CompiledFrom};
pub use limits::{Profile, SandboxLimits};
pub use metadata::MetadataError;
pub use preflight::{Finding, Import, Preflight, Terms};
pub use rows::{ROW_FIELDS, batch_row};
pub use scan::ScanError;
pub use schema::{DescribedSetting, SchemaError, SettingsError, SettingsSchema};
pub use service_limits::ServiceLimits;
pub use services::{Kv, KvError, Memory, Pending, Services};
pub use shape::{Part, Shape};
pub use strategy::{
    CallError, DataNeeds, Fault, Metadata, Session, Setting, SettingValue, StateSnapshot, Strategy,
    TickContext, TrapKind,
};
pub use telemetry::{LogLevel, LogLine, Metric, MetricKind, Telemetry};
pub use wasi::WasiGrant;
