//! The engine that all strategies of a host share, and the thread that ends calls which take too long.

use super::adapters::{Adapter, Adapters};
use super::cache::{CacheConfig, CompileCache};
use super::compiled::EngineHash;
use super::compiler::Compiler;
use super::grants::Grants;
use super::intake::Intake;
use super::limits::{Budget, SandboxLimits};
use super::store::StoreData;
use super::wasi::{self, WasiGrant};
use crate::resilience::{Class, Classified, LimitFault};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use thiserror::Error;
use wasmparser::WasmFeatures;
use wasmtime::component::Linker;
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
    /// Stack of one call. Default 256 KiB, twice what deep recursion in real strategies took; an interpreter
    /// inside a component may need more. A thread that calls strategies needs
    /// [`SandboxConfig::thread_stack_bytes`].
    pub stack_bytes_max: usize,
    /// Where components are compiled. Default: in a child process. A configuration has its own section for it.
    #[serde(skip)]
    pub compiler: Compiler,
    /// Where compiled components are kept. Default: nowhere, since a library has no folder of its own. A
    /// configuration has its own section for it.
    #[serde(skip)]
    pub cache: Option<CacheConfig>,
}

impl Default for SandboxConfig {
    fn default() -> Self {
        Self {
            epoch_tick_us: 1_000,
            heartbeat_stale_ms: 2_000,
            stack_bytes_max: 256 << 10,
            compiler: Compiler::default(),
            cache: None,
        }
    }
}

impl SandboxConfig {
    /// Stack that a thread needs to call strategies: theirs and as much as the host's own code can take.
    /// A thread that overflows its own stack ends the process.
    pub fn thread_stack_bytes(&self) -> usize {
        self.stack_bytes_max.saturating_add(4 << 20)
    }

    /// Whether an engine can run with these settings.
    ///
    /// # Errors
    /// The first setting that is out of range.
    pub fn check(&self) -> Result<(), LimitFault> {
        // A heartbeat that is stale between two beats of a healthy ticker would refuse good calls.
        let beat_ms_min = self.epoch_tick_us.div_ceil(100).max(1);
        LimitFault::unless_within("epoch_tick_us", &self.epoch_tick_us, &(50..=100_000))?;
        LimitFault::unless_within("heartbeat_stale_ms", &self.heartbeat_stale_ms, &(beat_ms_min..=600_000))?;
        LimitFault::unless_within("stack_bytes_max", &self.stack_bytes_max, &(16 << 10..=4 << 20))
    }
}

/// Why there is no sandbox.
#[derive(Debug, Error)]
pub enum SandboxError {
    /// A setting makes no sense.
    #[error("sandbox setting {0}")]
    OutOfRange(#[from] LimitFault),
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
            Self::OutOfRange(_) => Class::Data,
            Self::Engine(_) | Self::Thread(_) => Class::Resource,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::OutOfRange(_) => "sandbox_setting",
            Self::Engine(_) => "sandbox_engine",
            Self::Thread(_) => "sandbox_thread",
        }
    }
}

fn linker_of(
    engine: &Engine,
    adapter: &dyn Adapter,
    grants: &Grants,
    wasi: WasiGrant,
) -> wasmtime::Result<Linker<StoreData>> {
    let mut linker = Linker::new(engine);
    adapter.link_imports(grants, &mut linker)?;
    match wasi {
        WasiGrant::None => {}
        WasiGrant::Virtual => wasi::add_to_linker(&mut linker)?,
    }
    Ok(linker)
}

/// Loads and runs strategies. Cheap to clone; plugins and instances keep it alive.
#[derive(Clone)]
pub struct Sandbox(Arc<Shared>);

struct Shared {
    engine: Engine,
    adapters: Adapters,
    intake: Intake,
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
        Self::with(config, Adapters::all().map_err(SandboxError::Engine)?)
    }

    /// One that takes components of these versions.
    pub(super) fn with(config: SandboxConfig, adapters: Adapters) -> Result<Self, SandboxError> {
        let failed = |error: wasmtime::Error| SandboxError::Engine(format!("{error:#}"));
        let engine = Engine::new(&engine_config(&config)).map_err(failed)?;
        // Everything that can be granted links, or nothing starts.
        for adapter in adapters.iter() {
            linker_of(&engine, adapter, &Grants::default(), WasiGrant::Virtual).map_err(failed)?;
        }
        let cache = config.cache.as_ref().map(|cache| {
            CompileCache::new(cache.clone(), EngineHash::of(&engine), config.compiler.artifact_bytes_max())
        });
        let intake = Intake::new(cache);
        let ticker = Ticker::start(engine.weak(), &config).map_err(SandboxError::Thread)?;
        Ok(Self(Arc::new(Shared { engine, intake, adapters, config, ticker })))
    }

    /// The settings it was started with.
    pub fn config(&self) -> &SandboxConfig {
        &self.0.config
    }

    pub(super) fn engine(&self) -> &Engine {
        &self.0.engine
    }

    /// A linker that offers what is granted and nothing else.
    pub(super) fn linker(
        &self,
        adapter: &dyn Adapter,
        grants: &Grants,
        wasi: WasiGrant,
    ) -> wasmtime::Result<Linker<StoreData>> {
        linker_of(&self.0.engine, adapter, grants, wasi)
    }

    pub(super) fn intake(&self) -> &Intake {
        &self.0.intake
    }

    pub(super) fn adapters(&self) -> &Adapters {
        &self.0.adapters
    }

    pub(super) fn heartbeat(&self) -> &Heartbeat {
        &self.0.ticker.heartbeat
    }

    /// Ends the thread that enforces deadlines, as a fault would.
    #[cfg(test)]
    pub(super) fn stop_ticker(&self) {
        self.0.ticker.stop();
        while self.0.ticker.thread.as_ref().is_some_and(|thread| !thread.is_finished()) {
            std::thread::yield_now();
        }
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

pub(super) fn engine_config(config: &SandboxConfig) -> Config {
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
    alive: Mutex<Option<mpsc::Sender<()>>>,
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
        Ok(Self { heartbeat, alive: Mutex::new(Some(alive)), thread: Some(thread) })
    }

    fn stop(&self) {
        *self.alive.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.stop();
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
        assert_eq!(error.to_string(), "sandbox setting epoch_tick_us: found 0; give 50 to 100000");
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
