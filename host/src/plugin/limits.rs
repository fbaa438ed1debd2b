//! What one strategy may use, and the counters that hold it to that.

use super::trap::LimitHit;
use serde::{Deserialize, Serialize};
use wasmtime::ResourceLimiter;

/// What one strategy may use. The defaults are those of the profile `native`: a strategy compiled from
/// Rust, C or another language without a runtime of its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SandboxLimits {
    /// Instructions of one tick, bar or event. The contract with the author: the same call spends the same
    /// fuel on every machine. Default 10 million, some milliseconds; an indicator needs thousands.
    pub fuel_per_call: u64,
    /// Instructions of a call that happens once in a life: instantiate, describe, init, save, load, stop.
    /// Default 200 million, because settings are parsed and tables are filled there.
    pub fuel_per_setup_call: u64,
    /// Wall time of one tick, bar or event. A safety net for what fuel does not see; default 100 ms, ten
    /// times what the fuel takes, so that only a starved machine or a fault in the metering reaches it.
    pub deadline_ms: u32,
    /// Wall time of a call that happens once in a life. Default 5 s, in proportion to its fuel.
    pub setup_deadline_ms: u32,
    /// Linear memory, summed over all memories of the component. Default 16 MiB: a window of a million
    /// prices and room to spare; a thousand strategies still fit a server.
    pub memory_bytes_max: usize,
    /// Linear memories. Default 4: one of the strategy, others for adapters composed into it.
    pub memories_max: u32,
    /// Tables. Default 8: each core module that calls through pointers has one.
    pub tables_max: u32,
    /// Elements of all tables together. Default 20,000: one per function whose address is taken.
    pub table_elements_max: usize,
    /// Core instances. Default 32: a component built from one module has four.
    pub core_instances_max: u32,
    /// Component handles alive at a time. Default 64: the contract has no resources.
    pub handles_max: u32,
    /// Calls into the host from one call. Default 1,000: more is a loop, not a need.
    pub host_calls_per_call_max: u32,
    /// Bytes that the host copies out of the component, per call and per host call. Default 128 KiB: the
    /// intents of a call at their cap fit twenty times.
    pub bytes_returned_max: usize,
    /// Bytes of a saved state. Default 1 MiB: it travels in every checkpoint.
    pub state_bytes_max: usize,
    /// Order intents that one call may return, whatever its context admits. Default 64.
    pub intents_per_call_max: u32,
    /// Bytes of the component. Default 4 MiB: native strategies have tens of kilobytes.
    pub component_bytes_max: u64,
    /// Functions in all core modules. Default 20,000: bounds the time of compilation.
    pub functions_max: u32,
    /// Bytes of the largest function. Default 256 KiB: register allocation is not linear in it.
    pub function_bytes_max: u32,
    /// Types, imports, exports and instances that the component declares outside of its core modules, each.
    /// Default 2,000: the full contract needs about a hundred.
    pub declarations_max: u32,
}

impl Default for SandboxLimits {
    fn default() -> Self {
        Self {
            fuel_per_call: 10_000_000,
            fuel_per_setup_call: 200_000_000,
            deadline_ms: 100,
            setup_deadline_ms: 5_000,
            memory_bytes_max: 16 << 20,
            memories_max: 4,
            tables_max: 8,
            table_elements_max: 20_000,
            core_instances_max: 32,
            handles_max: 64,
            host_calls_per_call_max: 1_000,
            bytes_returned_max: 128 << 10,
            state_bytes_max: 1 << 20,
            intents_per_call_max: 64,
            component_bytes_max: 4 << 20,
            functions_max: 20_000,
            function_bytes_max: 256 << 10,
            declarations_max: 2_000,
        }
    }
}

/// What one entry into the component may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Budget {
    /// Instructions.
    pub fuel: u64,
    /// Ticks of the engine's epoch.
    pub epoch_ticks: u64,
    /// Calls into the host.
    pub host_calls: u32,
    /// Bytes copied out of the component.
    pub bytes_returned: usize,
}

impl Budget {
    /// The budget of `calls` calls in one crossing. The sum of epochs must not wrap, hence the cap.
    pub fn times(self, calls: u32) -> Self {
        Self {
            fuel: self.fuel.saturating_mul(calls.into()),
            epoch_ticks: self.epoch_ticks.saturating_mul(calls.into()).min(1 << 40),
            host_calls: self.host_calls.saturating_mul(calls),
            ..self
        }
    }
}

/// Counts memory and table elements over a whole store and traps at the cap.
///
/// A refusal that the guest could see (`memory.grow` returning -1) would let the same component behave
/// differently under different caps; a trap ends it in the same place.
#[derive(Debug)]
pub(super) struct Limiter {
    memory_bytes: usize,
    memory_bytes_max: usize,
    table_elements: usize,
    table_elements_max: usize,
    instances_max: usize,
    memories_max: usize,
    tables_max: usize,
}

impl Limiter {
    /// Counters at zero.
    pub fn new(limits: &SandboxLimits) -> Self {
        let count = |limit: u32| usize::try_from(limit).unwrap_or(usize::MAX);
        Self {
            memory_bytes: 0,
            memory_bytes_max: limits.memory_bytes_max,
            table_elements: 0,
            table_elements_max: limits.table_elements_max,
            instances_max: count(limits.core_instances_max),
            memories_max: count(limits.memories_max),
            tables_max: count(limits.tables_max),
        }
    }

    /// Linear memory in use.
    pub fn memory_bytes(&self) -> usize {
        self.memory_bytes
    }
}

/// The sum after one of its parts grows, or the sum that would have been too large.
fn grown(sum: usize, current: usize, desired: usize, max: usize) -> Result<usize, usize> {
    let after = sum.saturating_sub(current).saturating_add(desired);
    if after <= max { Ok(after) } else { Err(after) }
}

impl ResourceLimiter for Limiter {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        if maximum.is_some_and(|maximum| desired > maximum) {
            // The component's own declaration says no, as the specification has it.
            return Ok(false);
        }
        let max = self.memory_bytes_max;
        self.memory_bytes = grown(self.memory_bytes, current, desired, max)
            .map_err(|requested| LimitHit::Memory { requested, max })?;
        Ok(true)
    }

    fn memory_grow_failed(&mut self, error: wasmtime::Error) -> wasmtime::Result<()> {
        Err(LimitHit::HostMemory(error.to_string()).into())
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        if maximum.is_some_and(|maximum| desired > maximum) {
            return Ok(false);
        }
        let max = self.table_elements_max;
        self.table_elements = grown(self.table_elements, current, desired, max)
            .map_err(|requested| LimitHit::TableElements { requested, max })?;
        Ok(true)
    }

    fn table_grow_failed(&mut self, error: wasmtime::Error) -> wasmtime::Result<()> {
        Err(LimitHit::HostMemory(error.to_string()).into())
    }

    fn instances(&self) -> usize {
        self.instances_max
    }

    fn tables(&self) -> usize {
        self.tables_max
    }

    fn memories(&self) -> usize {
        self.memories_max
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_summed_over_all_memories() {
        let mut limiter = Limiter::new(&SandboxLimits { memory_bytes_max: 300, ..SandboxLimits::default() });
        assert!(limiter.memory_growing(0, 100, None).unwrap());
        assert!(limiter.memory_growing(0, 100, None).unwrap());
        assert!(limiter.memory_growing(100, 200, None).unwrap());
        assert_eq!(limiter.memory_bytes(), 300);
        let error = limiter.memory_growing(100, 101, None).unwrap_err();
        assert!(
            matches!(error.downcast_ref(), Some(LimitHit::Memory { requested: 301, max: 300 })),
            "{error:?}"
        );
    }

    #[test]
    fn growth_beyond_the_components_own_maximum_is_refused_and_not_counted() {
        let mut limiter = Limiter::new(&SandboxLimits::default());
        assert!(!limiter.memory_growing(0, 200, Some(100)).unwrap());
        assert!(!limiter.table_growing(0, 200, Some(100)).unwrap());
        assert_eq!(limiter.memory_bytes(), 0);
    }

    #[test]
    fn a_misspelt_limit_is_refused() {
        assert!(toml::from_str::<SandboxLimits>("fuel_per_cal = 1").is_err());
        let limits: SandboxLimits = toml::from_str("fuel_per_call = 1").unwrap();
        assert_eq!(limits, SandboxLimits { fuel_per_call: 1, ..SandboxLimits::default() });
    }
}
