//! A version of the WIT as the host understands it, and every way in which a component can differ from it.
//!
//! The contract is decoded from the very text that the bindings were generated from, so the two cannot
//! drift apart. Types are compared in step, walking the contract's side: that side is small and finite,
//! whatever a stranger's types look like.

use super::WasiGrant;
use super::grants::Grant;
use super::limits::SandboxLimits;
use super::scan::Scan;
use super::signature::{Difference, Pair};
use super::text::printable;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;
use wasmparser::component_types::{
    ComponentAnyTypeId, ComponentEntityType, ComponentFuncTypeId, ComponentItem, ComponentTypeId,
};
use wasmparser::types::Types;

/// The package that strategies are written against.
const PACKAGE: &str = "ringfence:strategy";
/// The interface that every strategy exports.
const REQUIRED: &str = "strategy";
/// Interfaces that a strategy may export, in the order of [`Exported`].
const OPTIONAL: [&str; 3] = ["state", "bars", "batch"];
/// Names are shown to people.
const NAME_BYTES_MAX: usize = 128;

/// One difference between a component and what this host offers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "mismatch", rename_all = "kebab-case")]
pub enum Mismatch {
    /// The component is written against another major version.
    Major {
        /// The interface as the component names it.
        interface: String,
        /// The major version that this host takes.
        takes: u64,
        /// The newest version of that major that this host knows.
        newest: String,
    },
    /// An interface that every strategy exports is not there.
    MissingInterface {
        /// The interface with its version.
        interface: String,
    },
    /// A function of an interface is not there.
    MissingFunction {
        /// The interface as the component names it.
        interface: String,
        /// The function.
        function: String,
    },
    /// A function has other parameters or another result.
    Signature {
        /// The interface as the component names it.
        interface: String,
        /// The function and the part of its type that differs.
        place: String,
        /// What the contract says.
        expected: String,
        /// What the component has.
        found: String,
    },
    /// The component imports an interface of this package that this host does not have.
    UnknownInterface {
        /// The interface as the component names it.
        interface: String,
        /// The newest version that this host knows.
        newest: String,
    },
    /// The component imports a function that this host does not have.
    UnknownFunction {
        /// The interface as the component names it.
        interface: String,
        /// The function.
        function: String,
        /// The newest version that this host knows.
        newest: String,
    },
    /// The component imports an interface that this host has and the configuration does not grant.
    NotGranted {
        /// The interface as the component names it.
        interface: String,
        /// What would have to be granted.
        grant: Grant,
        /// What is granted.
        granted: String,
    },
    /// The component imports something that is not part of this package at all.
    ForeignImport {
        /// Its name.
        name: String,
    },
    /// An import or export has the right name and is not an interface.
    NotAnInterface {
        /// Its name.
        name: String,
    },
}

impl Mismatch {
    /// The import or export that it is about, printable.
    pub(super) fn subject(&self) -> &str {
        match self {
            Self::Major { interface, .. }
            | Self::MissingInterface { interface }
            | Self::MissingFunction { interface, .. }
            | Self::Signature { interface, .. }
            | Self::UnknownInterface { interface, .. }
            | Self::UnknownFunction { interface, .. }
            | Self::NotGranted { interface, .. } => interface,
            Self::ForeignImport { name } | Self::NotAnInterface { name } => name,
        }
    }
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Major { interface, takes, newest } => write!(
                f,
                "{interface} is of another major version: this host takes {PACKAGE}@{takes} up to {newest}; \
                 rebuild with an SDK {takes}.x, or run it on a host that takes the other version"
            ),
            Self::MissingInterface { interface } => {
                write!(f, "the export {interface} is missing: every strategy has it, the SDK writes it")
            }
            Self::MissingFunction { interface, function } => {
                write!(f, "the export {interface} lacks the function {function}")
            }
            Self::Signature { interface, place, expected, found } => {
                write!(f, "{interface}, {place}: expected {expected}, found {found}")
            }
            Self::UnknownInterface { interface, newest } => write!(
                f,
                "the import {interface} is not offered by this host, which knows {PACKAGE} up to {newest}; {}",
                takers(interface, newest)
            ),
            Self::UnknownFunction { interface, function, newest } => write!(
                f,
                "the import {interface} asks for the function {function}, which this host does not offer: \
                 it knows {PACKAGE} up to {newest}; {}",
                takers(interface, newest)
            ),
            Self::NotGranted { interface, grant, granted } => write!(
                f,
                "the import {interface} is not granted, only {granted}: add \"{}\" to the agent's grants, or build \
                 the strategy without it",
                grant.name()
            ),
            Self::ForeignImport { name } if name.starts_with("wasi:") => write!(
                f,
                "the import {name} is not granted: a strategy has no files, sockets, clocks or arguments; \
                 build for wasm32-unknown-unknown, stub WASI out, or grant the virtual one (wasi = \"virtual\")"
            ),
            Self::ForeignImport { name } => {
                write!(f, "the import {name} is not offered: a strategy imports {PACKAGE} only")
            }
            Self::NotAnInterface { name } => write!(f, "{name} is not an interface"),
        }
    }
}

/// What a component that fits exports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Exported {
    pub state: bool,
    pub bars: bool,
    pub batch: bool,
}

/// The functions of one interface.
type Functions = BTreeMap<String, ComponentFuncTypeId>;
/// One side of the contract, by the interface's name without package and version.
type Interfaces = BTreeMap<String, Functions>;

/// One major version of the WIT, decoded.
pub(super) struct Contract {
    types: Types,
    imports: Interfaces,
    exports: Interfaces,
    major: u64,
    newest: String,
}

impl Contract {
    /// Decodes the world that an adapter's bindings carry.
    ///
    /// # Errors
    /// When the embedded text is not a world of this package, which only a broken build can cause.
    pub fn decode(world_bytes: &[u8]) -> Result<Self, String> {
        let scan = Scan::of(world_bytes, &SandboxLimits::default())
            .map_err(|error| format!("the embedded contract is not valid: {error}"))?;
        let (imports, exports, newest) =
            world(&scan).ok_or("the embedded contract is not one world of one package with a version")?;
        let major = major_of(&newest).ok_or("the embedded contract has no major version")?;
        Ok(Self { types: scan.types, imports, exports, major, newest })
    }

    /// The version of the contract.
    pub fn version(&self) -> &str {
        &self.newest
    }

    /// The major version of the contract.
    pub fn major(&self) -> u64 {
        self.major
    }

    /// Whether a component exports a strategy of this version.
    pub fn is_meant_by(&self, scan: &Scan) -> bool {
        let names = scan.exports.iter().filter_map(|name| Name::parse(name));
        let mut strategies = names.filter(|name| name.package == PACKAGE && name.interface == REQUIRED);
        strategies.any(|name| self.is_of_major(&name))
    }

    /// Every difference between a component and the contract, and what it exports if there is none.
    ///
    /// Imports of WASI that are granted are looked at by the linker, which knows their functions.
    pub fn check(&self, scan: &Scan, wasi: WasiGrant) -> Result<Exported, Vec<Mismatch>> {
        let mut mismatches = Vec::new();
        for name in scan.imports.iter().filter(|name| wasi.gives(name).is_none()) {
            self.check_import(scan, name, &mut mismatches);
        }
        let mut exported = [false; OPTIONAL.len()];
        let mut required = false;
        for name in &scan.exports {
            let Some(interface) = Name::parse(name).filter(|parsed| parsed.package == PACKAGE) else {
                // Exports that the host never calls do no harm.
                continue;
            };
            let optional = OPTIONAL.iter().position(|known| *known == interface.interface);
            if interface.interface != REQUIRED && optional.is_none() {
                continue;
            }
            if !self.is_of_major(&interface) {
                mismatches.push(self.other_major(name));
                // Said once: its absence in the right version is the same mistake.
                required |= interface.interface == REQUIRED;
                continue;
            }
            required |= interface.interface == REQUIRED;
            if let Some(flag) = optional.and_then(|position| exported.get_mut(position)) {
                *flag = true;
            }
            self.check_export(scan, name, interface.interface, &mut mismatches);
        }
        if !required {
            let interface = format!("{PACKAGE}/{REQUIRED}@{}", self.newest);
            mismatches.push(Mismatch::MissingInterface { interface });
        }
        let [state, bars, batch] = exported;
        if mismatches.is_empty() { Ok(Exported { state, bars, batch }) } else { Err(mismatches) }
    }

    fn check_import(&self, scan: &Scan, name: &str, mismatches: &mut Vec<Mismatch>) {
        let Some(interface) = Name::parse(name).filter(|parsed| parsed.package == PACKAGE) else {
            mismatches.push(Mismatch::ForeignImport { name: shown(name) });
            return;
        };
        if !self.is_of_major(&interface) {
            mismatches.push(self.other_major(name));
            return;
        }
        let item = scan.types.as_ref().component_item_for_import(name);
        let Some(functions) = item.and_then(|item| functions(&scan.types, item)) else {
            mismatches.push(Mismatch::NotAnInterface { name: shown(name) });
            return;
        };
        let Some(offered) = self.imports.get(interface.interface) else {
            let newest = self.newest.clone();
            mismatches.push(Mismatch::UnknownInterface { interface: shown(name), newest });
            return;
        };
        for (function, found) in functions {
            match offered.get(&function) {
                Some(expected) => self.compare(&scan.types, name, &function, *expected, found, mismatches),
                None => mismatches.push(Mismatch::UnknownFunction {
                    interface: shown(name),
                    function: shown(&function),
                    newest: self.newest.clone(),
                }),
            }
        }
    }

    fn check_export(&self, scan: &Scan, name: &str, interface: &str, mismatches: &mut Vec<Mismatch>) {
        let item = scan.types.as_ref().component_item_for_export(name);
        let Some(functions) = item.and_then(|item| functions(&scan.types, item)) else {
            mismatches.push(Mismatch::NotAnInterface { name: shown(name) });
            return;
        };
        for (function, expected) in self.exports.get(interface).into_iter().flatten() {
            match functions.get(function) {
                Some(found) => self.compare(&scan.types, name, function, *expected, *found, mismatches),
                None => mismatches
                    .push(Mismatch::MissingFunction { interface: shown(name), function: function.clone() }),
            }
        }
    }

    fn compare(
        &self,
        types: &Types,
        interface: &str,
        function: &str,
        expected: ComponentFuncTypeId,
        found: ComponentFuncTypeId,
        mismatches: &mut Vec<Mismatch>,
    ) {
        let pair = Pair { expected: &self.types, found: types };
        if let Err(difference) = pair.functions(function, expected, found) {
            let Difference { place, expected, found } = *difference;
            mismatches.push(Mismatch::Signature { interface: shown(interface), place, expected, found });
        }
    }

    fn is_of_major(&self, name: &Name<'_>) -> bool {
        name.version.and_then(major_of) == Some(self.major)
    }

    fn other_major(&self, name: &str) -> Mismatch {
        Mismatch::Major { interface: shown(name), takes: self.major, newest: self.newest.clone() }
    }
}

/// `package/interface@version`.
struct Name<'a> {
    package: &'a str,
    interface: &'a str,
    version: Option<&'a str>,
}

impl<'a> Name<'a> {
    fn parse(name: &'a str) -> Option<Self> {
        let (path, version) = match name.split_once('@') {
            Some((path, version)) => (path, Some(version)),
            None => (name, None),
        };
        let (package, interface) = path.split_once('/')?;
        Some(Self { package, interface, version })
    }
}

/// Which hosts would take an import that this one does not have.
fn takers(interface: &str, newest: &str) -> String {
    let wanted = Name::parse(interface).and_then(|name| semver::Version::parse(name.version?).ok());
    let newest = semver::Version::parse(newest).ok();
    match wanted.zip(newest) {
        Some((wanted, newest)) if wanted > newest => {
            format!(
                "a host that knows {PACKAGE} {wanted} takes it, or build it with an SDK of {newest} or earlier"
            )
        }
        _ => {
            "no host has it in that version: build it against the published text, or with the SDK".to_owned()
        }
    }
}

fn major_of(version: &str) -> Option<u64> {
    semver::Version::parse(version).ok().map(|version| version.major)
}

fn shown(name: &str) -> String {
    printable(name, NAME_BYTES_MAX)
}

/// Both sides and the version of the one world that an encoded WIT package describes: a component that
/// exports a component type that exports the world.
fn world(scan: &Scan) -> Option<(Interfaces, Interfaces, String)> {
    let types = &scan.types;
    let package = types.as_ref().component_item_for_export(scan.exports.first()?)?;
    let (name, item) = types[component_type(package)?].exports.iter().next()?;
    let world = &types[component_type(item)?];
    let version = Name::parse(name)?.version?.to_owned();
    Some((interfaces(types, world.imports.iter()), interfaces(types, world.exports.iter()), version))
}

fn component_type(item: &ComponentItem) -> Option<ComponentTypeId> {
    match item.ty {
        ComponentEntityType::Component(id)
        | ComponentEntityType::Type { referenced: ComponentAnyTypeId::Component(id), .. } => Some(id),
        _ => None,
    }
}

fn interfaces<'a>(types: &Types, items: impl Iterator<Item = (&'a String, &'a ComponentItem)>) -> Interfaces {
    let named = items
        .filter_map(|(name, item)| Some((Name::parse(name)?.interface.to_owned(), functions(types, item)?)));
    named.collect()
}

/// The functions of an interface; `None` when the item is not one.
fn functions(types: &Types, item: &ComponentItem) -> Option<Functions> {
    let ComponentEntityType::Instance(id) = item.ty else { return None };
    let functions = types[id].exports.iter().filter_map(|(name, item)| match item.ty {
        ComponentEntityType::Func(id) => Some((name.clone(), id)),
        _ => None,
    });
    Some(functions.collect())
}
