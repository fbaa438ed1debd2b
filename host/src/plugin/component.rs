//! From bytes to a plugin: checked from cheap to costly, compiled, linked and described.

use super::bindings::exports::ringfence::strategy as exports;
use super::contract::{Exported, Mismatch};
use super::convert::{self, MetadataError};
use super::engine::Sandbox;
use super::host::StoreData;
use super::instance::{ComponentStrategy, Exports, Indices};
use super::limits::SandboxLimits;
use super::scan::{Scan, ScanError};
use super::text::printable;
use super::{CallError, Metadata};
use crate::orders::Digest;
use crate::resilience::{Class, Classified};
use std::fmt;
use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;
use thiserror::Error;
use wasmtime::Engine;
use wasmtime::component::{Component, InstancePre};

/// A component that fits this host: compiled, linked and described. Cheap to clone.
#[derive(Clone)]
pub struct Plugin(Arc<Loaded>);

struct Loaded {
    sandbox: Sandbox,
    limits: SandboxLimits,
    pre: InstancePre<StoreData>,
    indices: Indices,
    digest: Digest,
    size_bytes: u64,
    metadata: Metadata,
    imports: Vec<String>,
    exports: Vec<String>,
    exported: Exported,
}

/// Why a component is not taken. The first field of each says where it came from.
#[derive(Debug, Error)]
pub enum PluginError {
    /// The file cannot be read.
    #[error("{origin}: the component cannot be read: {source}")]
    Read {
        /// Where it came from.
        origin: String,
        /// What the operating system says.
        #[source]
        source: std::io::Error,
    },
    /// It is larger than a component may be.
    #[error("{origin}: the component has more than {max} bytes (limit component_bytes_max)")]
    TooLarge {
        /// Where it came from.
        origin: String,
        /// The cap.
        max: u64,
    },
    /// It is machine code that another engine compiled.
    #[error(
        "{origin}: this is precompiled machine code (.cwasm), which runs unchecked: give the WebAssembly \
         component that it was made from"
    )]
    Precompiled {
        /// Where it came from.
        origin: String,
    },
    /// It is not the component that the configuration names.
    #[error(
        "{origin}: the component's digest is {found}, {expected} is pinned: get the pinned component, or pin \
         this one after looking at it"
    )]
    Pin {
        /// Where it came from.
        origin: String,
        /// The pinned digest.
        expected: Digest,
        /// The digest of the bytes.
        found: Digest,
    },
    /// It is no well-formed component, or too large in some part.
    #[error("{origin}: {source}")]
    Scan {
        /// Where it came from.
        origin: String,
        /// What the walk found.
        #[source]
        source: ScanError,
    },
    /// It does not fit the contract; every difference is listed.
    #[error("{origin}: the component does not fit this host{}", Listed(mismatches))]
    Contract {
        /// Where it came from.
        origin: String,
        /// Every difference.
        mismatches: Vec<Mismatch>,
    },
    /// The compiler refuses it.
    #[error("{origin}: the component does not compile: {detail}")]
    Compile {
        /// Where it came from.
        origin: String,
        /// What the compiler says.
        detail: String,
    },
    /// `describe` failed.
    #[error("{origin}: the component cannot be asked what it is: {source}")]
    Describe {
        /// Where it came from.
        origin: String,
        /// How the call ended.
        #[source]
        source: CallError,
    },
    /// `describe` says something that cannot be.
    #[error("{origin}: the component describes itself in a way that no host can follow: {source}")]
    Metadata {
        /// Where it came from.
        origin: String,
        /// What is wrong.
        #[source]
        source: MetadataError,
    },
}

/// One line per mismatch, so that an author sees all of them at once.
struct Listed<'a>(&'a [Mismatch]);

impl fmt::Display for Listed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|mismatch| write!(f, "\n  - {mismatch}"))
    }
}

impl Classified for PluginError {
    fn class(&self) -> Class {
        match self {
            Self::Read { .. } => Class::Resource,
            Self::TooLarge { .. } | Self::Precompiled { .. } | Self::Scan { .. } | Self::Compile { .. } => {
                Class::Data
            }
            Self::Pin { .. } => Class::State,
            Self::Contract { .. } | Self::Metadata { .. } => Class::Logic,
            Self::Describe { source, .. } => source.class(),
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Read { .. } => "plugin_unreadable",
            Self::TooLarge { .. } => "plugin_too_large",
            Self::Precompiled { .. } => "plugin_precompiled",
            Self::Pin { .. } => "plugin_pin",
            Self::Scan { .. } => "plugin_malformed",
            Self::Contract { .. } => "plugin_contract",
            Self::Compile { .. } => "plugin_compile",
            Self::Describe { .. } => "plugin_describe",
            Self::Metadata { .. } => "plugin_metadata",
        }
    }
}

impl Sandbox {
    /// Checks, compiles and describes a component. `origin` names it in errors.
    ///
    /// # Errors
    /// The first kind of thing that is wrong, from cheap to costly; all differences from the contract together.
    pub fn load(
        &self,
        bytes: &[u8],
        origin: &str,
        pin: Option<Digest>,
        limits: &SandboxLimits,
    ) -> Result<Plugin, PluginError> {
        let origin = || printable(origin, 512);
        let size_bytes = bytes.len() as u64;
        if size_bytes > limits.component_bytes_max {
            return Err(PluginError::TooLarge { origin: origin(), max: limits.component_bytes_max });
        }
        if Engine::detect_precompiled(bytes).is_some() {
            return Err(PluginError::Precompiled { origin: origin() });
        }
        let digest = Digest::of(bytes);
        if let Some(expected) = pin.filter(|expected| *expected != digest) {
            return Err(PluginError::Pin { origin: origin(), expected, found: digest });
        }
        let scan =
            Scan::of(bytes, limits).map_err(|source| PluginError::Scan { origin: origin(), source })?;
        let exported = self
            .contract()
            .check(&scan)
            .map_err(|mismatches| PluginError::Contract { origin: origin(), mismatches })?;

        let refused = |error: wasmtime::Error| PluginError::Compile {
            origin: origin(),
            detail: printable(&format!("{error:#}"), 512),
        };
        let component = Component::from_binary(self.engine(), bytes).map_err(refused)?;
        check_resources(&component, limits)
            .map_err(|source| PluginError::Scan { origin: origin(), source })?;
        let (pre, indices) = self.link(&component, exported).map_err(refused)?;
        let instance = Exports::instantiate(self, limits, &pre, &indices)
            .map_err(|source| PluginError::Describe { origin: origin(), source })?;
        let told = instance
            .describe(self.setup_budget(limits))
            .map_err(|source| PluginError::Describe { origin: origin(), source })?;
        let metadata = convert::metadata(told, exported.bars)
            .map_err(|source| PluginError::Metadata { origin: origin(), source })?;
        Ok(Plugin(Arc::new(Loaded {
            sandbox: self.clone(),
            limits: limits.clone(),
            pre,
            indices,
            digest,
            size_bytes,
            metadata,
            imports: scan.imports.iter().map(|name| printable(name, 128)).collect(),
            exports: scan.exports.iter().map(|name| printable(name, 128)).collect(),
            exported,
        })))
    }

    /// Reads a file once, and checks and compiles those very bytes.
    ///
    /// # Errors
    /// When the file cannot be read or is too large, and those of [`Sandbox::load`].
    pub fn load_file(
        &self,
        path: &Path,
        pin: Option<Digest>,
        limits: &SandboxLimits,
    ) -> Result<Plugin, PluginError> {
        let origin = path.display().to_string();
        let mut bytes = Vec::new();
        // One byte more than allowed tells a file that is too large without reading all of it.
        let read = std::fs::File::open(path)
            .and_then(|file| file.take(limits.component_bytes_max.saturating_add(1)).read_to_end(&mut bytes));
        match read {
            Ok(_) => self.load(&bytes, &origin, pin, limits),
            Err(source) => Err(PluginError::Read { origin: printable(&origin, 512), source }),
        }
    }

    /// Resolves imports and exports once, so that neither an instance nor a call looks up a name.
    fn link(
        &self,
        component: &Component,
        exported: Exported,
    ) -> wasmtime::Result<(InstancePre<StoreData>, Indices)> {
        let pre = self.linker().instantiate_pre(component)?;
        let indices = Indices {
            strategy: exports::strategy::GuestIndices::new(&pre)?,
            state: exported.state.then(|| exports::state::GuestIndices::new(&pre)).transpose()?,
            bars: exported.bars.then(|| exports::bars::GuestIndices::new(&pre)).transpose()?,
            batch: exported.batch.then(|| exports::batch::GuestIndices::new(&pre)).transpose()?,
        };
        Ok((pre, indices))
    }
}

/// Memories and tables that an instance will have, against how many it may have.
fn check_resources(component: &Component, limits: &SandboxLimits) -> Result<(), ScanError> {
    // Absent only for a component that imports core modules, which the contract has excluded.
    let Some(needs) = component.resources_required() else { return Ok(()) };
    let counts = [
        ("memories", needs.num_memories, limits.memories_max, "memories_max"),
        ("tables", needs.num_tables, limits.tables_max, "tables_max"),
    ];
    match counts.into_iter().find(|(_, found, max, _)| found > max) {
        None => Ok(()),
        Some((what, found, max, limit)) => {
            Err(ScanError::TooLarge { what, found: found.into(), max: max.into(), limit })
        }
    }
}

impl Plugin {
    /// SHA-256 of the component's bytes.
    pub fn digest(&self) -> Digest {
        self.0.digest
    }

    /// What the component says about itself. Names and summary are printable; the schema is as it came.
    pub fn metadata(&self) -> &Metadata {
        &self.0.metadata
    }

    /// Names of its imports, printable.
    pub fn imports(&self) -> &[String] {
        &self.0.imports
    }

    /// Names of its exports, printable.
    pub fn exports(&self) -> &[String] {
        &self.0.exports
    }

    /// Version of the contract that the host speaks with it.
    pub fn wit_version(&self) -> &str {
        self.0.sandbox.contract().version()
    }

    /// Whether it keeps state over a swap and a restart.
    pub fn has_state(&self) -> bool {
        self.0.exported.state
    }

    /// Whether it takes bars.
    pub fn has_bars(&self) -> bool {
        self.0.exported.bars
    }

    /// Whether it takes many ticks in one crossing.
    pub fn has_batch(&self) -> bool {
        self.0.exported.batch
    }

    /// Size of the component.
    pub fn size_bytes(&self) -> u64 {
        self.0.size_bytes
    }

    /// The limits it was loaded with, which hold for its instances.
    pub fn limits(&self) -> &SandboxLimits {
        &self.0.limits
    }

    /// A fresh instance with a store of its own.
    ///
    /// # Errors
    /// When its start code traps, or the sandbox refuses the call.
    pub fn instantiate(&self) -> Result<ComponentStrategy, CallError> {
        let loaded = &*self.0;
        let exports = Exports::instantiate(&loaded.sandbox, &loaded.limits, &loaded.pre, &loaded.indices)?;
        Ok(ComponentStrategy::new(self.clone(), exports))
    }

    pub(super) fn sandbox(&self) -> &Sandbox {
        &self.0.sandbox
    }
}

impl fmt::Debug for Plugin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Metadata { name, version, .. } = self.metadata();
        write!(f, "Plugin({name} {version}, {})", self.digest())
    }
}
