//! One walk over a component's bytes before anything is compiled: is it well formed, how large are its
//! parts, and what are its imports and exports. Function bodies are measured here and validated by the
//! compiler later.

use super::engine::FEATURES;
use super::limits::SandboxLimits;
use super::nesting;
use super::shape::Shape;
use super::text::printable;
use thiserror::Error;
use wasmparser::types::Types;
use wasmparser::{
    BinaryReaderError, CanonicalFunction, CanonicalOption, ComponentInstance, ComponentType,
    ComponentTypeDeclaration, CompositeInnerType, Encoding, FunctionBody, Import, Instance,
    InstanceTypeDeclaration, Parser, Payload, TypeRef, ValidPayload, Validator,
};

/// Nesting of components: the root, what it is composed of, and the shims of those.
const DEPTH_MAX: usize = 8;

/// Types that are written inside of others, in one section. The parser descends for each level, some three
/// kilobytes of stack, without a bound of its own, and a thread that overflows its stack ends the process. A
/// world written as a type needs one per interface.
const NESTED_TYPES_MAX: u64 = 200;

/// What the walk found.
pub(super) struct Scan {
    /// Every type of the component.
    pub types: Types,
    /// Names of its imports.
    pub imports: Vec<String>,
    /// Names of its exports.
    pub exports: Vec<String>,
    /// How large its parts are.
    pub shape: Shape,
    /// The parts that are too large; all of them, since none of them endangers the walk.
    pub too_large: Vec<ScanError>,
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
    /// It uses the asynchronous ABI.
    #[error(
        "the component uses the asynchronous ABI at byte {offset}; a call of a strategy is one synchronous step: \
         build it without async functions, streams, futures and threads"
    )]
    Asynchronous {
        /// Where.
        offset: usize,
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
    /// When they are no component, are damaged, use the asynchronous ABI, or have a part so large that the walk
    /// itself would suffer. Other parts that are too large are listed in the result.
    pub fn of(bytes: &[u8], limits: &SandboxLimits) -> Result<Self, ScanError> {
        check_header(bytes)?;
        let mut validator = Validator::new_with_features(FEATURES);
        let mut walk = Walk::new(limits);
        let mut types = None;
        for payload in Parser::new(0).parse_all(bytes) {
            let payload = payload.map_err(|error| broken(&error, bytes))?;
            check_nesting(&payload, bytes)?;
            walk.measure(&payload).map_err(|error| broken(&error, bytes))?;
            walk.verdict()?;
            if let ValidPayload::End(ended) =
                validator.payload(&payload).map_err(|error| broken(&error, bytes))?
            {
                types = Some(ended);
            }
        }
        let types = types.ok_or(ScanError::Truncated(bytes.len()))?;
        let (_, core_instances) = walk.core_instances();
        let shape = Shape { declarations: walk.declarations, core_instances, ..walk.shape };
        let too_large = shape.too_large(limits);
        Ok(Self { types, imports: walk.imports, exports: walk.exports, shape, too_large })
    }
}

/// An upper bound of how deep the reader of types would descend: a type inside of another begins with the
/// kind of declaration `0x01` and the kind of type `0x41` (component) or `0x42` (instance).
fn check_nesting(payload: &Payload<'_>, bytes: &[u8]) -> Result<(), ScanError> {
    let Payload::ComponentTypeSection(section) = payload else { return Ok(()) };
    let section = bytes.get(section.range()).unwrap_or_default();
    let found = section.windows(2).filter(|pair| matches!(pair, [0x01, 0x41 | 0x42])).count() as u64;
    if found <= NESTED_TYPES_MAX {
        return Ok(());
    }
    Err(ScanError::TooLarge { what: "types inside of types", found, max: NESTED_TYPES_MAX, limit: "fixed" })
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
    /// What encloses the current payload.
    open: Vec<(Encoding, Level)>,
    levels: [Level; DEPTH_MAX],
    shape: Shape,
    /// Parameters of the function types of the module that is open.
    params: Vec<u64>,
    declarations: u64,
    depth: u64,
    /// Where the asynchronous ABI was seen first.
    asynchronous: Option<usize>,
}

impl<'a> Walk<'a> {
    fn new(limits: &'a SandboxLimits) -> Self {
        Self {
            limits,
            imports: Vec::new(),
            exports: Vec::new(),
            open: Vec::new(),
            levels: [Level::default(); DEPTH_MAX],
            shape: Shape::default(),
            params: Vec::new(),
            declarations: 0,
            depth: 0,
            asynchronous: None,
        }
    }

    fn measure(&mut self, payload: &Payload<'_>) -> Result<(), BinaryReaderError> {
        match payload {
            Payload::Version { encoding, .. } => {
                self.open.push((*encoding, Level::default()));
                self.depth = self.depth.max(self.open.len() as u64);
                self.params.clear();
                Ok(())
            }
            Payload::End(_) => {
                if let Some((_, closed)) = self.open.pop()
                    && let Some(level) = self.levels.get_mut(self.open.len())
                {
                    level.components = level.components.max(closed.components);
                    level.core_instances = level.core_instances.max(closed.core_instances);
                }
                Ok(())
            }
            _ if self.open.last().is_some_and(|(encoding, _)| *encoding == Encoding::Module) => {
                self.measure_module(payload)
            }
            _ => self.measure_component(payload),
        }
    }

    fn measure_module(&mut self, payload: &Payload<'_>) -> Result<(), BinaryReaderError> {
        let shape = &mut self.shape;
        match payload {
            Payload::TypeSection(section) => {
                for group in section.clone() {
                    for ty in group?.into_types() {
                        shape.types += 1;
                        let params = match &ty.composite_type.inner {
                            CompositeInnerType::Func(function) => function.params().len() as u64,
                            _ => 0,
                        };
                        shape.function_params = shape.function_params.max(params);
                        self.params.push(params);
                    }
                }
            }
            Payload::ImportSection(section) => {
                for import in section.clone().into_imports() {
                    if let Import { ty: TypeRef::Func(ty), .. } = import? {
                        shape.params += params_of(&self.params, ty);
                    }
                }
            }
            Payload::FunctionSection(section) => {
                shape.functions += u64::from(section.count());
                for ty in section.clone() {
                    shape.params += params_of(&self.params, ty?);
                }
            }
            Payload::TableSection(section) => shape.tables += u64::from(section.count()),
            Payload::MemorySection(section) => shape.memories += u64::from(section.count()),
            Payload::ElementSection(section) => {
                for element in section.clone() {
                    shape.elements += match element?.items {
                        wasmparser::ElementItems::Functions(items) => u64::from(items.count()),
                        wasmparser::ElementItems::Expressions(_, items) => u64::from(items.count()),
                    };
                }
            }
            Payload::DataSection(section) => {
                for data in section.clone() {
                    shape.data_segments += 1;
                    shape.data_bytes += data?.data.len() as u64;
                }
            }
            Payload::CodeSectionEntry(body) => {
                let range = body.range();
                shape.function_bytes = shape.function_bytes.max(range.end.saturating_sub(range.start) as u64);
                shape.function_locals = shape.function_locals.max(locals(body)?);
                shape.loops_nested = shape.loops_nested.max(nesting::loops(body)?);
            }
            _ => {}
        }
        Ok(())
    }

    fn measure_component(&mut self, payload: &Payload<'_>) -> Result<(), BinaryReaderError> {
        match payload {
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
            Payload::ComponentTypeSection(section) => {
                self.declarations += u64::from(section.count());
                for ty in section.clone().into_iter_with_offsets() {
                    let (offset, ty) = ty?;
                    self.declarations += declared(&ty);
                    if is_asynchronous(&ty) {
                        self.asynchronous.get_or_insert(offset);
                    }
                }
            }
            Payload::ComponentAliasSection(section) => self.declarations += u64::from(section.count()),
            Payload::ComponentCanonicalSection(section) => {
                self.declarations += u64::from(section.count());
                for function in section.clone().into_iter_with_offsets() {
                    let (offset, function) = function?;
                    if !is_synchronous(&function) {
                        self.asynchronous.get_or_insert(offset);
                    }
                }
            }
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

    /// The most component and core instances that instantiation can make. A component that instantiates
    /// another twice, and that one a third twice, doubles at each level; the compiler unrolls all of it.
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

    /// What ends the walk at once, because what follows would cost more than the file is large.
    fn verdict(&self) -> Result<(), ScanError> {
        if let Some(offset) = self.asynchronous {
            return Err(ScanError::Asynchronous { offset });
        }
        let limits = self.limits;
        let (components, instances) = self.core_instances();
        let counts = [
            ("levels of nesting", self.depth, DEPTH_MAX as u64, "fixed"),
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

/// Parameters of the type with this index; an index that does not exist is the validator's to refuse.
fn params_of(params: &[u64], ty: u32) -> u64 {
    usize::try_from(ty).ok().and_then(|ty| params.get(ty)).copied().unwrap_or(0)
}

/// Locals that a function declares. They are written as runs, so that five bytes declare thousands.
fn locals(body: &FunctionBody<'_>) -> Result<u64, BinaryReaderError> {
    let mut sum = 0_u64;
    for run in body.get_locals_reader()? {
        sum += u64::from(run?.0);
    }
    Ok(sum)
}

/// Declarations inside of a type. The reader has bounded its depth.
fn declared(ty: &ComponentType<'_>) -> u64 {
    match ty {
        ComponentType::Component(declarations) => {
            let inner = declarations.iter().map(|declaration| match declaration {
                ComponentTypeDeclaration::Type(ty) => 1 + declared(ty),
                _ => 1,
            });
            inner.sum()
        }
        ComponentType::Instance(declarations) => {
            let inner = declarations.iter().map(|declaration| match declaration {
                InstanceTypeDeclaration::Type(ty) => 1 + declared(ty),
                _ => 1,
            });
            inner.sum()
        }
        _ => 0,
    }
}

/// Whether a type is, or holds, an asynchronous function.
fn is_asynchronous(ty: &ComponentType<'_>) -> bool {
    match ty {
        ComponentType::Func(function) => function.async_,
        ComponentType::Component(declarations) => declarations.iter().any(
            |declaration| matches!(declaration, ComponentTypeDeclaration::Type(ty) if is_asynchronous(ty)),
        ),
        ComponentType::Instance(declarations) => declarations.iter().any(
            |declaration| matches!(declaration, InstanceTypeDeclaration::Type(ty) if is_asynchronous(ty)),
        ),
        _ => false,
    }
}

/// Whether a canonical function belongs to the synchronous ABI; what is not known here does not.
fn is_synchronous(function: &CanonicalFunction) -> bool {
    match function {
        CanonicalFunction::Lift { options, .. } | CanonicalFunction::Lower { options, .. } => !options
            .iter()
            .any(|option| matches!(option, CanonicalOption::Async | CanonicalOption::Callback(_))),
        CanonicalFunction::ResourceNew { .. }
        | CanonicalFunction::ResourceDrop { .. }
        | CanonicalFunction::ResourceRep { .. } => true,
        _ => false,
    }
}
