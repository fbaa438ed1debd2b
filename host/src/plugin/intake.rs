//! From checked bytes to a compiled component: what runs already, what the disk has kept, and the compiler.

use super::cache::{CacheFault, CompileCache, Kept};
use super::compiled::Artifact;
use super::compiler::Failure;
use super::engine::Sandbox;
use crate::orders::Digest;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use wasmtime::component::Component;

/// Where a compiled component came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum CompiledFrom {
    /// From the compiler.
    Compiler,
    /// From the cache on the disk.
    Cache,
    /// From another agent of this host that runs the same component.
    Memory,
}

impl fmt::Display for CompiledFrom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Compiler => "compiler",
            Self::Cache => "cache",
            Self::Memory => "memory",
        })
    }
}

/// How often components came from where.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct CompileStats {
    /// The compiler made them.
    pub compiled: u64,
    /// Another agent had them.
    pub shared: u64,
    /// The cache had them.
    pub cache_hits: u64,
    /// The cache was asked and did not have them, or not in a state to be used.
    pub cache_misses: u64,
    /// Of those, how many there were in a state that could not be used: damaged, stale, or open to others.
    pub cache_faults: u64,
    /// The cache could not keep them.
    pub cache_put_faults: u64,
}

/// A compiled component, shared by everything that runs it.
pub(super) struct Compiled {
    pub component: Component,
}

/// One component: what is left of its compiled form, behind a lock that is held while it is compiled, so that
/// two agents that start at once compile it once.
type Slot = Arc<Mutex<Weak<Compiled>>>;

/// What a sandbox remembers of the components it has taken in.
pub(super) struct Intake {
    cache: Option<CompileCache>,
    slots: Mutex<BTreeMap<Digest, Slot>>,
    /// Code that is to be kept once there is a place for it.
    waiting: Mutex<BTreeMap<Digest, Artifact>>,
    counts: Counts,
}

#[derive(Default)]
struct Counts {
    compiled: AtomicU64,
    shared: AtomicU64,
    cache_hits: AtomicU64,
    cache_misses: AtomicU64,
    cache_faults: AtomicU64,
    cache_put_faults: AtomicU64,
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

impl Intake {
    pub fn new(cache: Option<CompileCache>) -> Self {
        Self { cache, slots: Mutex::default(), waiting: Mutex::default(), counts: Counts::default() }
    }

    fn slot(&self, digest: Digest) -> Slot {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        // Components that nobody runs any more and nobody is loading.
        slots.retain(|_, slot| {
            Arc::strong_count(slot) > 1
                || slot.lock().unwrap_or_else(PoisonError::into_inner).strong_count() > 0
        });
        Arc::clone(slots.entry(digest).or_default())
    }

    /// What the cache has, if it can be used.
    fn cached(&self, sandbox: &Sandbox, digest: Digest) -> Option<Component> {
        let cache = self.cache.as_ref()?;
        let found = cache.get(digest).and_then(|artifact| {
            let load = artifact.map(|artifact| artifact.load(sandbox.engine()));
            load.transpose()
                .map_err(|error| CacheFault::Load { file: cache.file(digest), detail: format!("{error:#}") })
        });
        match found {
            Ok(Some(component)) => {
                count(&self.counts.cache_hits);
                return Some(component);
            }
            Ok(None) => {}
            Err(fault) => {
                count(&self.counts.cache_faults);
                tracing::warn!(class = "state", code = fault.code(), component = %digest,
                    "a compiled component is not used and compiled anew: {fault}");
            }
        }
        count(&self.counts.cache_misses);
        None
    }
}

impl Intake {
    /// Keeps code for the next start, if that is possible.
    fn keep(&self, digest: Digest, artifact: Artifact) {
        let Some(cache) = &self.cache else { return };
        match cache.put(digest, &artifact) {
            Ok(Kept::Yes | Kept::No) => {}
            Ok(Kept::Later) => {
                let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
                waiting.insert(digest, artifact);
            }
            Err(fault) => {
                count(&self.counts.cache_put_faults);
                tracing::warn!(class = "resource", code = fault.code(), component = %digest,
                    "a compiled component is not kept for the next start: {fault}");
            }
        }
    }
}

impl Sandbox {
    /// The compiled form of a component that has been checked.
    pub(super) fn compiled(
        &self,
        digest: Digest,
        bytes: &[u8],
    ) -> Result<(Arc<Compiled>, CompiledFrom), Failure> {
        let intake = self.intake();
        let slot = intake.slot(digest);
        // A thread that panicked while it compiled has left what was there before.
        let mut held = slot.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(compiled) = held.upgrade() {
            count(&intake.counts.shared);
            return Ok((compiled, CompiledFrom::Memory));
        }
        let (component, from) = match intake.cached(self, digest) {
            Some(component) => (component, CompiledFrom::Cache),
            None => (self.compile(digest, bytes)?, CompiledFrom::Compiler),
        };
        let compiled = Arc::new(Compiled { component });
        *held = Arc::downgrade(&compiled);
        Ok((compiled, from))
    }

    fn compile(&self, digest: Digest, bytes: &[u8]) -> Result<Component, Failure> {
        let intake = self.intake();
        let config = self.config();
        let artifact = config.compiler.compile(self.engine(), config, digest, bytes)?;
        let component =
            artifact.load(self.engine()).map_err(|error| Failure::Refused(format!("{error:#}")))?;
        count(&intake.counts.compiled);
        intake.keep(digest, artifact);
        Ok(component)
    }

    /// Keeps what was compiled before the folder above the cache was there. A host calls it once it has made its
    /// own folder: a start that is refused leaves nothing behind.
    pub fn keep_compiled(&self) {
        let intake = self.intake();
        let waiting = std::mem::take(&mut *intake.waiting.lock().unwrap_or_else(PoisonError::into_inner));
        waiting.into_iter().for_each(|(digest, artifact)| intake.keep(digest, artifact));
    }

    /// How often components were compiled, shared, and found in the cache.
    pub fn compile_stats(&self) -> CompileStats {
        let counts = &self.intake().counts;
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        CompileStats {
            compiled: read(&counts.compiled),
            shared: read(&counts.shared),
            cache_hits: read(&counts.cache_hits),
            cache_misses: read(&counts.cache_misses),
            cache_faults: read(&counts.cache_faults),
            cache_put_faults: read(&counts.cache_put_faults),
        }
    }
}
