//! The sandbox and components that behave; those that mean harm have a suite of their own, `tests/hostile`.

mod guest;
mod intake;
mod majors;
mod minors;
mod preflight;
mod running;
mod semver;
mod ticker;
mod wasi;

use super::*;
use crate::market::{Instruments, Lots, Tick, UnixNanos};
use crate::orders::{Books, Mode, OrderIntent};
use guest::Guest;
use std::sync::{Arc, LazyLock};

/// One sandbox for all tests, as one host has one for all strategies.
static SANDBOX: LazyLock<Sandbox> = LazyLock::new(|| Sandbox::new(SandboxConfig::default()).unwrap());

/// Fuel decides alone: the deadline is far beyond what any test takes on any machine.
fn limits() -> SandboxLimits {
    SandboxLimits { deadline_ms: 600_000, setup_deadline_ms: 600_000, ..SandboxLimits::default() }
}

fn services() -> Box<Services> {
    Box::new(Services::new(Books::default(), Arc::new(Instruments::default()), 7))
}

fn context() -> TickContext {
    TickContext {
        now: UnixNanos(1),
        position: Lots(0),
        open_orders: 0,
        intents_left: u32::MAX,
        mode: Mode::Full,
    }
}

fn load(guest: &Guest) -> Result<Plugin, PluginError> {
    SANDBOX.load(&guest.build(), "test", None, &limits())
}

fn run(guest: &Guest) -> ComponentStrategy {
    load(guest).unwrap().instantiate().unwrap()
}

fn tick(strategy: &mut ComponentStrategy) -> Result<Vec<OrderIntent>, CallError> {
    let mut intents = Vec::new();
    strategy.on_tick(&Tick::default(), &context(), &mut services(), &mut intents)?;
    Ok(intents)
}

/// Runs an attack with a neighbour beside it that ticks before and after.
fn beside_a_neighbour<R>(attack: impl FnOnce() -> R) -> R {
    let mut neighbour = run(&Guest::default());
    assert_eq!(tick(&mut neighbour), Ok(vec![]));
    let result = attack();
    assert_eq!(tick(&mut neighbour), Ok(vec![]));
    result
}

/// The kind of trap that ended a call.
fn kind<R: std::fmt::Debug>(result: Result<R, CallError>) -> TrapKind {
    match result {
        Err(CallError::Trap { kind, .. }) => kind,
        other => panic!("expected a trap, found {other:?}"),
    }
}
