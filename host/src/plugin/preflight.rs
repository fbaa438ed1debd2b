//! Everything about a component that can be found without compiling or running it, reported at once.

use super::adapters::Adapter;
use super::component::PluginError;
use super::contract::{Exported, Mismatch};
use super::engine::Sandbox;
use super::grants::{Grant, Grants};
use super::limits::SandboxLimits;
use super::scan::{Scan, ScanError};
use super::shape::Shape;
use super::text::printable;
use crate::orders::Digest;
use crate::resilience::{Class, Classified};
use serde::Serialize;
use std::sync::Arc;
use thiserror::Error;
use wasmtime::Engine;

/// What a component is taken under.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Terms {
    /// The digest that it must have.
    pub pin: Option<Digest>,
    /// What it may import.
    pub grants: Grants,
    /// What it may use.
    pub limits: SandboxLimits,
}

/// One thing that is wrong with a component.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Finding {
    /// It is larger than a component may be.
    #[error("the component has more than {max} bytes (limit component_bytes_max)")]
    TooLarge {
        /// The cap.
        max: u64,
    },
    /// It is machine code that another engine compiled.
    #[error(
        "this is precompiled machine code (.cwasm), which runs unchecked: give the WebAssembly component that it was \
         made from"
    )]
    Precompiled,
    /// It is not the component that the configuration names.
    #[error(
        "the component's digest is {found}, {expected} is pinned: get the pinned component, or pin this one after \
         looking at it"
    )]
    Pin {
        /// The pinned digest.
        expected: Digest,
        /// The digest of the bytes.
        found: Digest,
    },
    /// It is no well-formed component, or too large in some part.
    #[error(transparent)]
    Scan(ScanError),
    /// It does not fit the contract or imports what it is not granted.
    #[error("{0}")]
    Mismatch(Mismatch),
}

impl Classified for Finding {
    fn class(&self) -> Class {
        match self {
            Self::TooLarge { .. } | Self::Precompiled | Self::Scan(_) => Class::Data,
            Self::Pin { .. } => Class::State,
            Self::Mismatch(_) => Class::Logic,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::TooLarge { .. } => "plugin_too_large",
            Self::Precompiled => "plugin_precompiled",
            Self::Pin { .. } => "plugin_pin",
            Self::Scan(_) => "plugin_malformed",
            Self::Mismatch(_) => "plugin_contract",
        }
    }
}

/// One import of a component.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Import {
    /// Its name, printable.
    pub name: String,
    /// What it needs of this package; `None` when it needs nothing, or is of another package.
    pub grant: Option<Grant>,
    /// Whether this host would link it.
    pub granted: bool,
    /// What the virtual WASI answers, for an import of it that is granted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gives: Option<&'static str>,
}

/// What a look at the bytes has shown.
pub struct Preflight {
    /// SHA-256 of the bytes; `None` when they are too many to look at.
    pub digest: Option<Digest>,
    /// How many bytes there are; one more than allowed when there are too many.
    pub size_bytes: u64,
    /// How large its parts are; `None` when it is no component.
    pub shape: Option<Shape>,
    /// What it imports.
    pub imports: Vec<Import>,
    /// Names of its exports, printable.
    pub exports: Vec<String>,
    /// Everything that is wrong, from cheap to costly; empty for a component that may be compiled.
    pub findings: Vec<Finding>,
    /// The adapter of its version, and which parts of it there are.
    pub(super) fits: Option<(Arc<dyn Adapter>, Exported)>,
}

impl Sandbox {
    /// Looks at a component without compiling or running any of it.
    pub fn preflight(&self, bytes: &[u8], terms: &Terms) -> Preflight {
        let Terms { pin, grants, limits } = terms;
        let mut seen = Preflight {
            digest: None,
            size_bytes: bytes.len() as u64,
            shape: None,
            imports: Vec::new(),
            exports: Vec::new(),
            findings: Vec::new(),
            fits: None,
        };
        if seen.size_bytes > limits.component_bytes_max {
            seen.findings.push(Finding::TooLarge { max: limits.component_bytes_max });
            return seen;
        }
        let found = Digest::of(bytes);
        seen.digest = Some(found);
        if let Some(expected) = pin.filter(|expected| *expected != found) {
            seen.findings.push(Finding::Pin { expected, found });
        }
        if Engine::detect_precompiled(bytes).is_some() {
            seen.findings.push(Finding::Precompiled);
            return seen;
        }
        let scan = match Scan::of(bytes, limits) {
            Ok(scan) => scan,
            Err(error) => {
                seen.findings.push(Finding::Scan(error));
                return seen;
            }
        };
        seen.shape = Some(scan.shape);
        seen.findings.extend(scan.too_large.iter().cloned().map(Finding::Scan));
        let mut mismatches = grants.check(&scan.imports);
        match self.adapters().choose(&scan, limits.wasi) {
            Ok(fits) => seen.fits = Some(fits),
            Err(more) => mismatches.extend(more),
        }
        let refused = |name: &str| mismatches.iter().any(|mismatch| mismatch.subject() == name);
        seen.imports = (scan.imports.iter())
            .map(|name| {
                let (grant, gives) = (Grant::of_import(name), limits.wasi.gives(name));
                let name = printable(name, 128);
                Import { granted: !refused(&name), name, grant, gives }
            })
            .collect();
        seen.exports = scan.exports.iter().map(|name| printable(name, 128)).collect();
        seen.findings.extend(mismatches.into_iter().map(Finding::Mismatch));
        seen
    }
}

impl Preflight {
    /// What the findings mean for whoever wanted to load the component; `None` when there are none. One finding,
    /// and mismatches alone, have cases of their own.
    pub(super) fn refusal(&self, origin: &str) -> Option<PluginError> {
        let origin = printable(origin, 512);
        let mismatches: Vec<Mismatch> = (self.findings.iter())
            .filter_map(|finding| match finding {
                Finding::Mismatch(mismatch) => Some(mismatch.clone()),
                _ => None,
            })
            .collect();
        if !mismatches.is_empty() && mismatches.len() == self.findings.len() {
            return Some(PluginError::Contract { origin, mismatches });
        }
        match self.findings.as_slice() {
            [] => None,
            [Finding::TooLarge { max }] => Some(PluginError::TooLarge { origin, max: *max }),
            [Finding::Precompiled] => Some(PluginError::Precompiled { origin }),
            [Finding::Pin { expected, found }] => {
                Some(PluginError::Pin { origin, expected: *expected, found: *found })
            }
            [Finding::Scan(source)] => Some(PluginError::Scan { origin, source: source.clone() }),
            several => Some(PluginError::Several { origin, findings: several.to_vec() }),
        }
    }
}
