//! The engine that all strategies of a host share, and the thread that ends calls which take too long.

use super::bindings::FullStrategyPlugin;
use super::contract::Contract;
use super::host::StoreData;
use super::limits::{Budget, SandboxLimits};
use crate::resilience::{Class, Classified};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use thiserror::Error;
use wasmparser::WasmFeatures;
use wasmtime::component::{HasSelf, Linker};
use wasmtime::{Config, Engine, EngineWeak};

/// Frames that a trap's backtrace collects; more are never shown.
const BACKTRACE_FRAMES_MAX: NonZeroUsize = NonZeroUsize::new(16).unwrap();

/// What a component may be made of: WebAssembly 2.0 and the component model, all of it deterministic.
///
/// Left out on purpose: relaxed SIMD and threads (results differ between machines), 64-bit memories (slower,
/// and no strategy needs them), tail calls, exceptions and garbage collection (attack surface), and the
/// asynchronous ABI (a call is one synchronous step of the core).
pub(super) const FEATURES: WasmFeatures = WasmFeatures::WASM2
    .union(WasmFeatures::EXTENDED_CONST)
    .union(WasmFeatures::MULTI_MEMORY)
    .union(WasmFeatures::COMPONENT_MODEL)
    .difference(WasmFeatures::GC_TYPES);

/// Settings of a [`Sandbox`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SandboxConfig {
    /// How often the deadline of running calls is looked at. Default 1,000 µs: one part in a hundred of the
    /// default deadline, at a thousand wake-ups a second.
    pub epoch_tick_us: u32,
    /// How old the ticker's heartbeat may be before calls are refused, because no deadline would end them.
    /// Default 2,000 ms: far beyond what a loaded machine delays a thread.
    pub heartbeat_stale_ms: u32,
    /// Stack of one call. Default 256 KiB, twice what deep recursion in real strategies took; a thread that
    /// calls strategies needs [`SandboxConfig::thread_stack_bytes`].
    pub stack_bytes_max: usize,
}

impl Default for SandboxConfig {
    fn default() -> Self {
        Self { epoch_tick_us: 1_000, heartbeat_stale_ms: 2_000, stack_bytes_max: 256 << 10 }
    }
}

impl SandboxConfig {
    /// Stack that a thread needs to call strategies: theirs and as much as the host's own code can take.
    /// A thread that overflows its own stack ends the process.
    pub fn thread_stack_bytes(&self) -> usize {
        self.stack_bytes_max.saturating_add(2 << 20)
    }

    fn check(&self) -> Result<(), SandboxError> {
        let stack = u64::try_from(self.stack_bytes_max).unwrap_or(u64::MAX);
        let fields = [
            ("epoch_tick_us", u64::from(self.epoch_tick_us), 50, 100_000),
            ("heartbeat_stale_ms", u64::from(self.heartbeat_stale_ms), 1, 600_000),
            ("stack_bytes_max", stack, 16 << 10, 1 << 20),
        ];
        for (field, found, min, max) in fields {
            if !(min..=max).contains(&found) {
                return Err(SandboxError::OutOfRange { field, found, min, max });
            }
        }
        // A heartbeat that is stale between two beats of a healthy ticker would refuse good calls.
        let (found, min) = (self.heartbeat_stale_ms.into(), u64::from(self.epoch_tick_us).div_ceil(100));
        if found < min {
            return Err(SandboxError::OutOfRange { field: "heartbeat_stale_ms", found, min, max: 600_000 });
        }
        Ok(())
    }
}

/// Why there is no sandbox.
#[derive(Debug, Error)]
pub enum SandboxError {
    /// A setting makes no sense.
    #[error("sandbox setting {field} is {found}, give {min} to {max}")]
    OutOfRange {
        /// Which setting.
        field: &'static str,
        /// Its value.
        found: u64,
        /// The least that works.
        min: u64,
        /// The most that works.
        max: u64,
    },
    /// The engine does not run on this machine, or the contract does not link.
    #[error("the WebAssembly engine does not start on this machine: {0}")]
    Engine(String),
    /// The operating system gave no thread for the ticker.
    #[error("the thread that enforces deadlines does not start: {0}")]
    Thread(#[source] std::io::Error),
}

impl Classified for SandboxError {
    fn class(&self) -> Class {
        match self {
            Self::OutOfRange { .. } => Class::Data,
            Self::Engine(_) | Self::Thread(_) => Class::Resource,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::OutOfRange { .. } => "sandbox_setting",
            Self::Engine(_) => "sandbox_engine",
            Self::Thread(_) => "sandbox_thread",
        }
    }
}

/// Loads and runs strategies. Cheap to clone; plugins and instances keep it alive.
#[derive(Clone)]
pub struct Sandbox(Arc<Shared>);

struct Shared {
    engine: Engine,
    linker: Linker<StoreData>,
    contract: Contract,
    config: SandboxConfig,
    ticker: Ticker,
}

impl fmt::Debug for Sandbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sandbox").field("config", &self.0.config).finish_non_exhaustive()
    }
}

impl Sandbox {
    /// Starts an engine and its ticker.
    ///
    /// # Errors
    /// When a setting is out of range, or the engine or its thread does not start.
    pub fn new(config: SandboxConfig) -> Result<Self, SandboxError> {
        config.check()?;
        Self::start(config)
    }

    pub(super) fn start(config: SandboxConfig) -> Result<Self, SandboxError> {
        let failed = |error: wasmtime::Error| SandboxError::Engine(format!("{error:#}"));
        let engine = Engine::new(&engine_config(&config)).map_err(failed)?;
        let mut linker = Linker::new(&engine);
        FullStrategyPlugin::add_to_linker::<_, HasSelf<_>>(&mut linker, |data| data).map_err(failed)?;
        let contract = Contract::v1().map_err(SandboxError::Engine)?;
        let ticker = Ticker::start(engine.weak(), &config).map_err(SandboxError::Thread)?;
        Ok(Self(Arc::new(Shared { engine, linker, contract, config, ticker })))
    }

    /// The settings it was started with.
    pub fn config(&self) -> &SandboxConfig {
        &self.0.config
    }

    pub(super) fn engine(&self) -> &Engine {
        &self.0.engine
    }

    pub(super) fn linker(&self) -> &Linker<StoreData> {
        &self.0.linker
    }

    pub(super) fn contract(&self) -> &Contract {
        &self.0.contract
    }

    pub(super) fn heartbeat(&self) -> &Heartbeat {
        &self.0.ticker.heartbeat
    }

    /// The budget of one tick, bar or event.
    pub(super) fn call_budget(&self, limits: &SandboxLimits) -> Budget {
        Budget {
            fuel: limits.fuel_per_call,
            epoch_ticks: self.epoch_ticks(limits.deadline_ms),
            host_calls: limits.host_calls_per_call_max,
            bytes_returned: limits.bytes_returned_max,
        }
    }

    /// The budget of a call that happens once in a life.
    pub(super) fn setup_budget(&self, limits: &SandboxLimits) -> Budget {
        Budget {
            fuel: limits.fuel_per_setup_call,
            epoch_ticks: self.epoch_ticks(limits.setup_deadline_ms),
            ..self.call_budget(limits)
        }
    }

    /// One more than the deadline takes, for the epoch that has already begun.
    fn epoch_ticks(&self, deadline_ms: u32) -> u64 {
        (u64::from(deadline_ms) * 1_000).div_ceil(self.0.config.epoch_tick_us.into()) + 1
    }
}

fn engine_config(config: &SandboxConfig) -> Config {
    let mut engine = Config::new();
    engine
        .wasm_features(WasmFeatures::all(), false)
        .wasm_features(FEATURES, true)
        // The contract with the author, and the net below it.
        .consume_fuel(true)
        .epoch_interruption(true)
        // The bits of a NaN are the one thing that core WebAssembly leaves to the machine.
        .cranelift_nan_canonicalization(true)
        .max_wasm_stack(config.stack_bytes_max)
        .wasm_backtrace_max_frames(Some(BACKTRACE_FRAMES_MAX))
        // Debug information is parsed from untrusted bytes and tells an operator nothing.
        .debug_info(false);
    engine
}

/// The thread that moves the engine's epoch on. A task on an executor would stand still with it.
struct Ticker {
    heartbeat: Arc<Heartbeat>,
    /// Dropped to stop the thread; nothing is ever sent.
    alive: Option<mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Ticker {
    fn start(engine: EngineWeak, config: &SandboxConfig) -> std::io::Result<Self> {
        let heartbeat = Arc::new(Heartbeat::new(Duration::from_millis(config.heartbeat_stale_ms.into())));
        let period = Duration::from_micros(config.epoch_tick_us.into());
        let (alive, stopped) = mpsc::channel::<()>();
        let thread = std::thread::Builder::new().name("epoch-ticker".into()).spawn({
            let heartbeat = Arc::clone(&heartbeat);
            move || {
                while stopped.recv_timeout(period) == Err(RecvTimeoutError::Timeout) {
                    let Some(engine) = engine.upgrade() else { break };
                    engine.increment_epoch();
                    heartbeat.beat();
                }
            }
        })?;
        Ok(Self { heartbeat, alive: Some(alive), thread: Some(thread) })
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.alive = None;
        if let Some(thread) = self.thread.take() {
            // An error means that it panicked, which ends it as well.
            let _ = thread.join();
        }
    }
}

/// When the ticker was last seen alive.
pub(super) struct Heartbeat {
    started: Instant,
    /// Nanoseconds from `started` to the last beat; also tells one beat from the next.
    last: AtomicU64,
    stale_after: Duration,
}

/// What one instance remembers of the heartbeat between two calls.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pulse {
    checked: u64,
    calls: u32,
}

/// The heartbeat is too old.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stale {
    /// Its age.
    pub age: Duration,
}

impl Heartbeat {
    fn new(stale_after: Duration) -> Self {
        Self { started: now(), last: AtomicU64::new(1), stale_after }
    }

    fn beat(&self) {
        self.last.store(self.nanos(), Ordering::Relaxed);
    }

    pub(super) fn nanos(&self) -> u64 {
        u64::try_from(now().duration_since(self.started).as_nanos()).unwrap_or(u64::MAX)
    }

    /// Whether the ticker lives. Reads the clock on the first call after each beat and on every 64th within
    /// one, since reading it costs a tenth of a call; the calls between are bounded by their fuel.
    #[inline]
    pub(super) fn check(&self, pulse: &mut Pulse) -> Result<(), Stale> {
        let last = self.last.load(Ordering::Relaxed);
        if last == pulse.checked && !pulse.calls.is_multiple_of(64) {
            pulse.calls = pulse.calls.wrapping_add(1);
            return Ok(());
        }
        let age = Duration::from_nanos(self.nanos().saturating_sub(last));
        if age > self.stale_after {
            return Err(Stale { age });
        }
        *pulse = Pulse { checked: last, calls: 1 };
        Ok(())
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the ticker is a shell: its beat is what keeps deadlines honest"
)]
fn now() -> Instant {
    Instant::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_out_of_range_are_refused_with_the_range() {
        let error = Sandbox::new(SandboxConfig { epoch_tick_us: 0, ..SandboxConfig::default() }).unwrap_err();
        assert_eq!(error.to_string(), "sandbox setting epoch_tick_us is 0, give 50 to 100000");
    }

    #[test]
    fn the_ticker_ends_with_the_sandbox() {
        let sandbox = Sandbox::new(SandboxConfig::default()).unwrap();
        let heartbeat = Arc::downgrade(&sandbox.0.ticker.heartbeat);
        let engine = sandbox.engine().weak();
        drop(sandbox);
        assert!(heartbeat.upgrade().is_none(), "the thread still holds the heartbeat");
        assert!(engine.upgrade().is_none(), "the engine is still alive");
    }

    #[test]
    fn a_heartbeat_that_stands_still_becomes_stale() {
        let heartbeat = Heartbeat::new(Duration::from_nanos(1));
        let mut pulse = Pulse::default();
        // The clock moves by itself; a beat from before counts for at most 64 calls.
        let refused = (0..1_000_000).any(|_| heartbeat.check(&mut pulse).is_err());
        assert!(refused);
    }

    #[test]
    fn a_deadline_is_rounded_up_to_whole_ticks_and_never_shortened() {
        let sandbox = Sandbox::new(SandboxConfig { epoch_tick_us: 300, ..SandboxConfig::default() }).unwrap();
        let limits = SandboxLimits { deadline_ms: 1, ..SandboxLimits::default() };
        assert_eq!(sandbox.call_budget(&limits).epoch_ticks, 5);
    }
}
