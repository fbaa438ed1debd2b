//! One walk over a component's bytes before anything is compiled: is it well formed, how large are its
//! parts, and what are its imports and exports. Function bodies are measured here and validated by the
//! compiler later.

use super::engine::FEATURES;
use super::limits::SandboxLimits;
use super::text::printable;
use thiserror::Error;
use wasmparser::types::Types;
use wasmparser::{
    BinaryReaderError, ComponentInstance, Encoding, Instance, Parser, Payload, ValidPayload, Validator,
};

/// Nesting of components: the root, what it is composed of, and the shims of those.
const DEPTH_MAX: usize = 8;

/// What the walk found.
pub(super) struct Scan {
    /// Every type of the component.
    pub types: Types,
    /// Names of its imports.
    pub imports: Vec<String>,
    /// Names of its exports.
    pub exports: Vec<String>,
}

/// Why a walk ended early.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ScanError {
    /// The bytes do not begin like WebAssembly.
    #[error("the bytes are not WebAssembly: expected them to begin with \\0asm")]
    NotWasm,
    /// A core module without the component around it.
    #[error(
        "this is a core module, a component is expected: wrap it with `wasm-tools component new`, or let the \
         Ringfence build do it"
    )]
    CoreModule,
    /// It breaks off.
    #[error("the component breaks off after {0} bytes")]
    Truncated(usize),
    /// It is not valid, or uses a feature that strategies are not given.
    #[error("the component is not valid at byte {offset}: {detail}")]
    Invalid {
        /// Where.
        offset: usize,
        /// What is wrong.
        detail: String,
    },
    /// A part of it is too large.
    #[error("the component has {found} {what}, {max} allowed (limit {limit})")]
    TooLarge {
        /// What is counted.
        what: &'static str,
        /// How many there are.
        found: u64,
        /// How many may be.
        max: u64,
        /// The limit that says so.
        limit: &'static str,
    },
}

/// Counts of one nesting level, the largest of any component on it.
#[derive(Clone, Copy, Default)]
struct Level {
    components: u64,
    core_instances: u64,
}

impl Scan {
    /// Walks the bytes.
    ///
    /// # Errors
    /// When they are no component, are damaged, or some part is larger than the limits allow.
    pub fn of(bytes: &[u8], limits: &SandboxLimits) -> Result<Self, ScanError> {
        check_header(bytes)?;
        let mut validator = Validator::new_with_features(FEATURES);
        let mut walk = Walk::new(limits);
        let mut types = None;
        for payload in Parser::new(0).parse_all(bytes) {
            let payload = payload.map_err(|error| broken(&error, bytes))?;
            walk.measure(&payload).map_err(|error| broken(&error, bytes))?;
            walk.verdict()?;
            if let ValidPayload::End(ended) =
                validator.payload(&payload).map_err(|error| broken(&error, bytes))?
            {
                types = Some(ended);
            }
        }
        let types = types.ok_or(ScanError::Truncated(bytes.len()))?;
        Ok(Self { types, imports: walk.imports, exports: walk.exports })
    }
}

fn check_header(bytes: &[u8]) -> Result<(), ScanError> {
    match bytes {
        [b'\0', b'a', b's', b'm', version @ ..] => match version {
            [0x01, 0, 0, 0, ..] => Err(ScanError::CoreModule),
            [_, _, _, _, ..] => Ok(()),
            _ => Err(ScanError::Truncated(bytes.len())),
        },
        _ => Err(ScanError::NotWasm),
    }
}

fn broken(error: &BinaryReaderError, bytes: &[u8]) -> ScanError {
    // The reader says so when it wants more bytes than there are.
    if error.offset() >= bytes.len() {
        return ScanError::Truncated(bytes.len());
    }
    ScanError::Invalid { offset: error.offset(), detail: printable(error.message(), 256) }
}

struct Walk<'a> {
    limits: &'a SandboxLimits,
    imports: Vec<String>,
    exports: Vec<String>,
    /// What encloses the current payload; components only, since modules hold nothing that is counted here.
    open: Vec<(Encoding, Level)>,
    levels: [Level; DEPTH_MAX],
    functions: u64,
    function_bytes: usize,
    declarations: u64,
    depth: u64,
}

impl<'a> Walk<'a> {
    fn new(limits: &'a SandboxLimits) -> Self {
        Self {
            limits,
            imports: Vec::new(),
            exports: Vec::new(),
            open: Vec::new(),
            levels: [Level::default(); DEPTH_MAX],
            functions: 0,
            function_bytes: 0,
            declarations: 0,
            depth: 0,
        }
    }

    fn measure(&mut self, payload: &Payload<'_>) -> Result<(), BinaryReaderError> {
        match payload {
            Payload::Version { encoding, .. } => {
                self.open.push((*encoding, Level::default()));
                self.depth = self.depth.max(self.open.len() as u64);
            }
            Payload::End(_) => {
                if let Some((_, closed)) = self.open.pop()
                    && let Some(level) = self.levels.get_mut(self.open.len())
                {
                    level.components = level.components.max(closed.components);
                    level.core_instances = level.core_instances.max(closed.core_instances);
                }
            }
            Payload::CodeSectionStart { count, .. } => self.functions += u64::from(*count),
            Payload::CodeSectionEntry(body) => {
                let range = body.range();
                self.function_bytes = self.function_bytes.max(range.end.saturating_sub(range.start));
            }
            Payload::InstanceSection(section) => {
                for instance in section.clone() {
                    if let Instance::Instantiate { .. } = instance? {
                        self.count(|level| &mut level.core_instances);
                    }
                }
            }
            Payload::ComponentInstanceSection(section) => {
                self.declarations += u64::from(section.count());
                for instance in section.clone() {
                    if let ComponentInstance::Instantiate { .. } = instance? {
                        self.count(|level| &mut level.components);
                    }
                }
            }
            Payload::ComponentTypeSection(section) => self.declarations += u64::from(section.count()),
            Payload::ComponentAliasSection(section) => self.declarations += u64::from(section.count()),
            Payload::ComponentCanonicalSection(section) => self.declarations += u64::from(section.count()),
            Payload::ComponentImportSection(section) => {
                self.declarations += u64::from(section.count());
                if self.open.len() == 1 {
                    for import in section.clone() {
                        self.imports.push(import?.name.name.to_owned());
                    }
                }
            }
            Payload::ComponentExportSection(section) => {
                self.declarations += u64::from(section.count());
                if self.open.len() == 1 {
                    for export in section.clone() {
                        self.exports.push(export?.name.name.to_owned());
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn count(&mut self, counter: impl FnOnce(&mut Level) -> &mut u64) {
        if let Some((Encoding::Component, level)) = self.open.last_mut() {
            *counter(level) += 1;
        }
    }

    /// The most core instances that instantiation can make. A component that instantiates another twice, and
    /// that one a third twice, doubles at each level; the compiler unrolls all of it.
    fn core_instances(&self) -> (u64, u64) {
        let open = self.open.iter().map(|(_, level)| *level);
        let mut copies: u64 = 1;
        let (mut components, mut instances) = (1_u64, 0_u64);
        for (closed, open) in self.levels.iter().zip(open.chain(std::iter::repeat(Level::default()))) {
            let each = closed.core_instances.max(open.core_instances);
            instances = instances.saturating_add(copies.saturating_mul(each));
            copies = copies.saturating_mul(closed.components.max(open.components));
            components = components.saturating_add(copies);
        }
        (components, instances)
    }

    fn verdict(&self) -> Result<(), ScanError> {
        let limits = self.limits;
        let (components, instances) = self.core_instances();
        let counts = [
            ("levels of nesting", self.depth, DEPTH_MAX as u64, "fixed"),
            ("functions", self.functions, limits.functions_max.into(), "functions_max"),
            (
                "bytes in one function",
                self.function_bytes as u64,
                limits.function_bytes_max.into(),
                "function_bytes_max",
            ),
            ("declarations", self.declarations, limits.declarations_max.into(), "declarations_max"),
            ("component instances", components, limits.declarations_max.into(), "declarations_max"),
            ("core instances", instances, limits.core_instances_max.into(), "core_instances_max"),
        ];
        for (what, found, max, limit) in counts {
            if found > max {
                return Err(ScanError::TooLarge { what, found, max, limit });
            }
        }
        Ok(())
    }
}
