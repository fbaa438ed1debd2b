//! From bytes to a plugin: checked from cheap to costly, compiled, linked and described.

use super::adapters::Linked;
use super::compiler::{CompilerError, Failure};
use super::contract::{Exported, Mismatch};
use super::engine::Sandbox;
use super::grants::Grants;
use super::instance::{ComponentStrategy, Instance};
use super::intake::{Compiled, CompiledFrom};
use super::limits::SandboxLimits;
use super::metadata::MetadataError;
use super::preflight::{Finding, Terms};
use super::scan::ScanError;
use super::schema::{SchemaError, SettingsError, SettingsSchema};
use super::shape::Shape;
use super::text::printable;
use super::wasi;
use super::{CallError, Metadata, Setting};
use crate::orders::Digest;
use crate::resilience::{Class, Classified};
use std::fmt;
use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;
use thiserror::Error;
use wasmtime::component::Component;
use wasmtime_wasi::filesystem::WasiFilesystemCtx;

/// A component that fits this host: compiled, linked and described. Cheap to clone.
#[derive(Clone)]
pub struct Plugin(Arc<Loaded>);

struct Loaded {
    sandbox: Sandbox,
    limits: SandboxLimits,
    grants: Grants,
    /// The folder that instances may read.
    files: WasiFilesystemCtx,
    /// Held for the next agent that runs the same component.
    _compiled: Arc<Compiled>,
    compiled_from: CompiledFrom,
    linked: Box<dyn Linked>,
    wit_version: String,
    digest: Digest,
    size_bytes: u64,
    shape: Shape,
    metadata: Metadata,
    schema: SettingsSchema,
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
    /// Several things are wrong with it at once; every one is listed.
    #[error("{origin}: the component is refused for {} reasons{}", findings.len(), Listed(findings))]
    Several {
        /// Where it came from.
        origin: String,
        /// Everything that was found, from cheap to costly.
        findings: Vec<Finding>,
    },
    /// The compiler did not do its work.
    #[error("{origin}: {source}")]
    Compiler {
        /// Where it came from.
        origin: String,
        /// How it ended.
        #[source]
        source: CompilerError,
    },
    /// The compiler refuses it.
    #[error("{origin}: the component does not compile: {detail}")]
    Compile {
        /// Where it came from.
        origin: String,
        /// What the compiler says.
        detail: String,
    },
    /// The folder that it is granted cannot be opened.
    #[error("{origin}: the folder {folder} (wasi_read_folder) cannot be read: {detail}")]
    Folder {
        /// Where it came from.
        origin: String,
        /// The folder.
        folder: String,
        /// What the operating system says.
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
    /// The schema of its settings is not taken.
    #[error("{origin}: the component's schema of its settings is refused: {source}")]
    Schema {
        /// Where it came from.
        origin: String,
        /// What is wrong.
        #[source]
        source: SchemaError,
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

/// One line per mismatch or finding, so that an author sees all of them at once.
struct Listed<'a, T>(&'a [T]);

impl<T: fmt::Display> fmt::Display for Listed<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|one| write!(f, "\n  - {one}"))
    }
}

impl Classified for PluginError {
    fn class(&self) -> Class {
        match self {
            Self::Read { .. } | Self::Folder { .. } => Class::Resource,
            Self::TooLarge { .. } | Self::Precompiled { .. } | Self::Scan { .. } | Self::Compile { .. } => {
                Class::Data
            }
            Self::Pin { .. } => Class::State,
            Self::Contract { .. } | Self::Metadata { .. } | Self::Schema { .. } => Class::Logic,
            Self::Several { findings, .. } => findings.first().map_or(Class::Data, Classified::class),
            Self::Compiler { source, .. } => source.class(),
            Self::Describe { source, .. } => source.class(),
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Read { .. } => "plugin_unreadable",
            Self::Folder { .. } => "plugin_folder",
            Self::TooLarge { .. } => "plugin_too_large",
            Self::Precompiled { .. } => "plugin_precompiled",
            Self::Pin { .. } => "plugin_pin",
            Self::Scan { .. } => "plugin_malformed",
            Self::Contract { .. } => "plugin_contract",
            // The cheapest of them, so that one more mistake does not change the code of the first.
            Self::Several { findings, .. } => findings.first().map_or("plugin_refused", Classified::code),
            Self::Compiler { source, .. } => source.code(),
            Self::Compile { .. } => "plugin_compile",
            Self::Describe { .. } => "plugin_describe",
            Self::Schema { .. } => "plugin_schema",
            Self::Metadata { .. } => "plugin_metadata",
        }
    }
}

impl Sandbox {
    /// Checks, compiles and describes a component that may import everything virtual. `origin` names it in
    /// errors.
    ///
    /// # Errors
    /// As [`Sandbox::admit`].
    pub fn load(
        &self,
        bytes: &[u8],
        origin: &str,
        pin: Option<Digest>,
        limits: &SandboxLimits,
    ) -> Result<Plugin, PluginError> {
        self.admit(bytes, origin, &Terms { pin, grants: Grants::default(), limits: limits.clone() })
    }

    /// Reads a file once, and checks and compiles those very bytes.
    ///
    /// # Errors
    /// When the file cannot be read or is too large, and those of [`Sandbox::admit`].
    pub fn load_file(
        &self,
        path: &Path,
        pin: Option<Digest>,
        limits: &SandboxLimits,
    ) -> Result<Plugin, PluginError> {
        self.admit_file(path, &Terms { pin, grants: Grants::default(), limits: limits.clone() })
    }

    /// Checks, compiles and describes a component. `origin` names it in errors.
    ///
    /// # Errors
    /// Everything that can be found without running any of it, in one list; then whatever the compiler, a
    /// throw-away instance and its own description add.
    pub fn admit(&self, bytes: &[u8], origin: &str, terms: &Terms) -> Result<Plugin, PluginError> {
        let seen = self.preflight(bytes, terms);
        if let Some(refusal) = seen.refusal(origin) {
            return Err(refusal);
        }
        let origin = || printable(origin, 512);
        let Terms { grants, limits, .. } = terms;
        let (Some(digest), Some(shape), Some((adapter, exported))) = (seen.digest, seen.shape, seen.fits)
        else {
            // A look that finds nothing wrong has seen all three.
            return Err(PluginError::Several { origin: origin(), findings: seen.findings });
        };
        let refused = |error: wasmtime::Error| PluginError::Compile {
            origin: origin(),
            detail: printable(&format!("{error:#}"), 512),
        };
        let (compiled, compiled_from) = self.compiled(digest, bytes).map_err(|failure| match failure {
            Failure::Compiler(source) => PluginError::Compiler { origin: origin(), source },
            Failure::Refused(detail) => PluginError::Compile { origin: origin(), detail },
        })?;
        check_resources(&compiled.component, limits)
            .map_err(|source| PluginError::Scan { origin: origin(), source })?;
        let pre = self
            .linker(&*adapter, grants, limits.wasi)
            .and_then(|linker| linker.instantiate_pre(&compiled.component))
            .map_err(refused)?;
        let linked = adapter.link(pre, exported).map_err(refused)?;
        let files = match &limits.wasi_read_folder {
            Some(path) => wasi::open_folder(path).map_err(|error| PluginError::Folder {
                origin: origin(),
                folder: path.display().to_string(),
                detail: error.to_string(),
            })?,
            None => WasiFilesystemCtx::default(),
        };
        let instance = Instance::new(self, limits, &files, &*linked)
            .map_err(|source| PluginError::Describe { origin: origin(), source })?;
        let metadata = instance
            .describe(self.setup_budget(limits))
            .map_err(|source| PluginError::Describe { origin: origin(), source })?
            .map_err(|source| PluginError::Metadata { origin: origin(), source })?;
        let schema = SettingsSchema::parse(&metadata.settings_schema)
            .map_err(|source| PluginError::Schema { origin: origin(), source })?;
        tracing::info!(component = %digest, name = %metadata.name, version = %metadata.version,
            code_from = %compiled_from, "component taken in");
        Ok(Plugin(Arc::new(Loaded {
            sandbox: self.clone(),
            limits: limits.clone(),
            grants: grants.clone(),
            _compiled: compiled,
            compiled_from,
            files,
            linked,
            wit_version: adapter.contract().version().to_owned(),
            digest,
            size_bytes: seen.size_bytes,
            shape,
            metadata,
            schema,
            imports: seen.imports.into_iter().map(|import| import.name).collect(),
            exports: seen.exports,
            exported,
        })))
    }

    /// Reads a file once, and checks and compiles those very bytes under `terms`.
    ///
    /// # Errors
    /// When the file cannot be read or is too large, and those of [`Sandbox::admit`].
    pub fn admit_file(&self, path: &Path, terms: &Terms) -> Result<Plugin, PluginError> {
        let bytes = Self::read(path, &terms.limits)?;
        self.admit(&bytes, &path.display().to_string(), terms)
    }

    /// The bytes of a component; of a file that is too large, one more than allowed.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn read(path: &Path, limits: &SandboxLimits) -> Result<Vec<u8>, PluginError> {
        let mut bytes = Vec::new();
        let read = std::fs::File::open(path)
            .and_then(|file| file.take(limits.component_bytes_max.saturating_add(1)).read_to_end(&mut bytes));
        match read {
            Ok(_) => Ok(bytes),
            Err(source) => {
                let origin = printable(&path.display().to_string(), 512);
                Err(PluginError::Read { origin, source })
            }
        }
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
        &self.0.wit_version
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

    /// How large its parts are.
    pub fn shape(&self) -> &Shape {
        &self.0.shape
    }

    /// What it may import.
    pub fn grants(&self) -> &Grants {
        &self.0.grants
    }

    /// Where its machine code came from.
    pub fn compiled_from(&self) -> CompiledFrom {
        self.0.compiled_from
    }

    /// The schema of its settings.
    pub fn settings_schema(&self) -> &SettingsSchema {
        &self.0.schema
    }

    /// Holds settings against its own schema, before `init` sees them.
    ///
    /// # Errors
    /// With everything that does not fit.
    pub fn check_settings(&self, settings: &[Setting]) -> Result<(), SettingsError> {
        self.0.schema.check(settings)
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
        let Loaded { sandbox, limits, files, linked, .. } = loaded;
        let instance = Instance::new(sandbox, limits, files, &**linked)?;
        Ok(ComponentStrategy::new(self.clone(), instance))
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
