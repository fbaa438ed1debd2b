//! What one strategy may use, and the counters that hold it to that.

use super::WasiGrant;
use super::trap::LimitHit;
use crate::resilience::LimitFault;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::PathBuf;
use wasmtime::ResourceLimiter;

/// Which defaults the limits of a strategy begin with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Profile {
    /// Compiled from Rust, C or another language without a runtime of its own.
    #[default]
    Native,
    /// With an interpreter inside, as Python and JavaScript have: a component of tens of megabytes that starts
    /// for seconds and spends a hundred instructions where a native strategy spends one.
    Managed,
}

impl Profile {
    /// The lower-case name used in the configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Managed => "managed",
        }
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One row per limit: why it is there, its default in the profiles `native` and `managed`, and the values
/// that make sense.
macro_rules! limits {
    ($($(#[doc = $why:literal])* $field:ident: $type:ty = $native:expr, $managed:expr, in $range:expr;)*) => {
        /// What one strategy may use. A configuration names a [`Profile`] and replaces single values of it.
        #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(from = "Replaced")]
        pub struct SandboxLimits {
            /// Where the values come from that the configuration does not give. Default `native`.
            pub profile: Profile,
            /// What of WASI it is granted. Default none: a language without a runtime of its own needs nothing of it.
            pub wasi: WasiGrant,
            /// A folder whose files it may read through WASI, under the name `/data`. Default none: what it orders
            /// then depends on those files, and a replay holds only as long as they stay as they are.
            pub wasi_read_folder: Option<PathBuf>,
            $($(#[doc = $why])* pub $field: $type,)*
        }

        /// Limits as a configuration gives them.
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields, rename = "SandboxLimits")]
        struct Replaced {
            #[serde(default)]
            profile: Profile,
            #[serde(default)]
            wasi: WasiGrant,
            wasi_read_folder: Option<PathBuf>,
            $($field: Option<$type>,)*
        }

        /// Every limit: its name, its defaults, the values that make sense, and why it is there.
        #[cfg(test)]
        fn rows() -> Vec<[String; 3]> {
            let (native, managed) = (SandboxLimits::of(Profile::Native), SandboxLimits::of(Profile::Managed));
            vec![$({
                let range: std::ops::RangeInclusive<$type> = $range;
                let why = concat!($($why),*).trim().to_owned();
                let defaults = format!("{} | {} | {} to {}", native.$field, managed.$field, range.start(), range.end());
                [stringify!($field).to_owned(), defaults, why]
            },)*]
        }

        impl From<Replaced> for SandboxLimits {
            fn from(replaced: Replaced) -> Self {
                let base = Self::of(replaced.profile);
                Self {
                    profile: base.profile,
                    wasi: replaced.wasi,
                    wasi_read_folder: replaced.wasi_read_folder,
                    $($field: replaced.$field.unwrap_or(base.$field),)*
                }
            }
        }

        impl SandboxLimits {
            /// The defaults of a profile.
            pub const fn of(profile: Profile) -> Self {
                let (wasi, wasi_read_folder) = (WasiGrant::None, None);
                match profile {
                    Profile::Native => Self { profile, wasi, wasi_read_folder, $($field: $native,)* },
                    Profile::Managed => Self { profile, wasi, wasi_read_folder, $($field: $managed,)* },
                }
            }

            /// Whether a strategy can run with every limit, and every limit limits something.
            ///
            /// # Errors
            /// The first limit that is out of range.
            pub fn check(&self) -> Result<(), LimitFault> {
                $(LimitFault::unless_within(stringify!($field), &self.$field, &$range)?;)*
                Ok(())
            }
        }
    };
}

limits! {
    /// Instructions of one tick, bar or event. The contract with the author: the same call spends the same
    /// fuel on every machine. Default 10 million, some milliseconds; an indicator needs thousands. Managed: 500
    /// million, since an interpreter spends a hundred on one.
    fuel_per_call: u64 = 10_000_000, 500_000_000, in 1_000..=1_000_000_000_000;
    /// Instructions of a call that happens once in a life: instantiate, describe, init, save, load, stop.
    /// Default 200 million, because settings are parsed and tables are filled there. Managed: 50 billion, since
    /// the interpreter itself starts there.
    fuel_per_setup_call: u64 = 200_000_000, 50_000_000_000, in 1_000..=1_000_000_000_000;
    /// Wall time of one tick, bar or event. A safety net for what fuel does not see; default 100 ms, ten
    /// times what the fuel takes, so that only a starved machine or a fault in the metering reaches it.
    /// Managed: 5 s, in proportion.
    deadline_ms: u32 = 100, 5_000, in 1..=600_000;
    /// Wall time of a call that happens once in a life. Default 5 s, in proportion to its fuel. Managed: 300 s.
    setup_deadline_ms: u32 = 5_000, 300_000, in 1..=600_000;
    /// Linear memory, summed over all memories of the component. Default 16 MiB: a window of a million
    /// prices and room to spare; a thousand strategies still fit a server. Managed: 256 MiB, for the heap of an
    /// interpreter and its libraries.
    memory_bytes_max: usize = 16 << 20, 256 << 20, in 64 << 10..=0xffff_0000;
    /// Linear memories. Default 4: one of the strategy, others for adapters composed into it.
    memories_max: u32 = 4, 8, in 1..=100;
    /// Tables. Default 8: each core module that calls through pointers has one. Managed: 32, since an
    /// interpreter is linked from several modules.
    tables_max: u32 = 8, 32, in 1..=1_000;
    /// Elements of all tables together. Default 20,000: one per function whose address is taken.
    table_elements_max: usize = 20_000, 200_000, in 1..=10_000_000;
    /// Core instances. Default 32: a component built from one module has four. Managed: 500, for the modules
    /// that an interpreter is linked from and their shims; QuickJS with WASI stubbed out has 222.
    core_instances_max: u32 = 32, 500, in 1..=10_000;
    /// Component handles alive at a time. Default 64: the contract has no resources. Managed: 1,024, for the
    /// streams and clocks that a runtime opens and keeps.
    handles_max: u32 = 64, 1_024, in 1..=100_000;
    /// Calls into the host from one call. Default 1,000: more is a loop, not a need. Managed: 10,000, since a
    /// runtime asks the host for more than its strategy does.
    host_calls_per_call_max: u32 = 1_000, 10_000, in 1..=10_000_000;
    /// Bytes that the host copies out of the component, per call and per host call. Default 128 KiB: the
    /// intents of a call at their cap fit twenty times.
    bytes_returned_max: usize = 128 << 10, 1 << 20, in 1 << 10..=64 << 20;
    /// Bytes of a saved state. Default 1 MiB: it travels in every checkpoint.
    state_bytes_max: usize = 1 << 20, 1 << 20, in 1..=64 << 20;
    /// Order intents that one call may return, whatever its context admits. Default 64.
    intents_per_call_max: u32 = 64, 64, in 1..=10_000;
    /// Bytes of the component. Default 4 MiB: native strategies have tens of kilobytes. Managed: 64 MiB, three
    /// times a Python interpreter with its library.
    component_bytes_max: u64 = 4 << 20, 64 << 20, in 1 << 10..=1 << 30;
    /// Functions in all core modules. Default 20,000: bounds the time of compilation.
    functions_max: u32 = 20_000, 200_000, in 1..=1_000_000;
    /// Bytes of the largest function. Default 256 KiB: register allocation is not linear in it. Managed: 4 MiB,
    /// for the loop of an interpreter.
    function_bytes_max: u32 = 256 << 10, 4 << 20, in 1 << 10..=16 << 20;
    /// Loops within each other in one function. Default 200, some times what any source has; the compiler takes
    /// the square of it in time and memory.
    loops_nested_max: u32 = 200, 1_000, in 1..=10_000;
    /// Locals of one function. Default 2,000, some times what compilers make of real strategies: five bytes of a
    /// component declare thousands, and each costs the compiler a value to follow through the function.
    function_locals_max: u32 = 2_000, 10_000, in 1..=50_000;
    /// Parameters of one function. Default 100: the contract's widest call has sixteen.
    function_params_max: u32 = 100, 200, in 16..=1_000;
    /// Parameters of all functions together. Default 60,000, three for each function: a small component of many
    /// wide functions is large once it is compiled.
    params_max: u32 = 60_000, 600_000, in 1..=10_000_000;
    /// Types of all core modules. Default 5,000: compilers make one for each signature that is used.
    types_max: u32 = 5_000, 50_000, in 1..=1_000_000;
    /// Segments that fill memories. Default 10,000: each costs at every start of an instance that has no image.
    data_segments_max: u32 = 10_000, 100_000, in 1..=100_000;
    /// Types, imports, exports and instances that the component declares outside of its core modules, also those
    /// inside of other types. Default 10,000: the full contract needs some hundred, WASI in addition a thousand.
    declarations_max: u32 = 10_000, 20_000, in 100..=1_000_000;
}

impl Default for SandboxLimits {
    fn default() -> Self {
        Self::of(Profile::Native)
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

    #[test]
    fn a_profile_gives_what_the_configuration_does_not() {
        let limits: SandboxLimits = toml::from_str("profile = \"managed\"\nfuel_per_call = 7").unwrap();
        let expected = SandboxLimits { fuel_per_call: 7, ..SandboxLimits::of(Profile::Managed) };
        assert_eq!(limits, expected);
        assert_eq!(limits.memory_bytes_max, 256 << 20);
        assert!(toml::from_str::<SandboxLimits>("profile = \"manged\"").is_err());
        // What is written down whole reads back whole, whatever its profile.
        let again: SandboxLimits = toml::from_str(&toml::to_string(&expected).unwrap()).unwrap();
        assert_eq!(again, expected);
    }

    #[test]
    fn a_limit_of_nothing_and_one_that_limits_nothing_are_faults() {
        for profile in [Profile::Native, Profile::Managed] {
            assert_eq!(SandboxLimits::of(profile).check(), Ok(()));
        }
        let none = SandboxLimits { fuel_per_call: 0, ..SandboxLimits::default() }.check().unwrap_err();
        assert_eq!(none.to_string(), "fuel_per_call: found 0; give 1000 to 1000000000000");
        let all = SandboxLimits { handles_max: u32::MAX, ..SandboxLimits::default() }.check().unwrap_err();
        assert_eq!((all.field.as_str(), all.advice.as_str()), ("handles_max", "give 1 to 100000"));
    }

    #[test]
    fn the_documentation_lists_every_limit() {
        const MARK: &str = "| limit |";
        let rows = rows().into_iter().map(|[name, values, why]| format!("| `{name}` | {values} | {why} |\n"));
        let table = format!(
            "{MARK} `native` | `managed` | values that make sense | why |\n|---|---|---|---|---|\n{}",
            rows.collect::<String>()
        );
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/limits.md");
        let page = std::fs::read_to_string(&path).unwrap();
        let (words, listed) = page.split_at(page.find(MARK).unwrap());
        if std::env::var_os("RINGFENCE_UPDATE_DOCS").is_some() {
            std::fs::write(&path, format!("{words}{table}")).unwrap();
            return;
        }
        assert!(
            listed == table,
            "docs/limits.md is not up to date: run this test with RINGFENCE_UPDATE_DOCS=1"
        );
    }
}
