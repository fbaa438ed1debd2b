//! Strategies: the trait that every kind of strategy implements, and what the host lends to it.

mod services;
mod strategy;

pub use services::{Kv, KvError, LogLevel, LogLine, MetricKind, Services, ServicesState, Telemetry};
pub use strategy::{
    CallError, DataNeeds, Fault, Metadata, Session, Setting, SettingValue, StateSnapshot, Strategy,
    TickContext, TrapKind,
};
