//! How large the parts of a component are, against how large they may be.

use super::limits::SandboxLimits;
use super::scan::ScanError;
use serde::Serialize;

/// How large the parts of a component are, summed over all of its core modules unless it says otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Shape {
    /// Functions.
    pub functions: u64,
    /// Bytes of the largest function.
    pub function_bytes: u64,
    /// Loops within each other in the function where they are deepest.
    pub loops_nested: u64,
    /// Locals of the function that declares most.
    pub function_locals: u64,
    /// Parameters of the function type that has most.
    pub function_params: u64,
    /// Parameters of all functions together.
    pub params: u64,
    /// Core types.
    pub types: u64,
    /// Memories.
    pub memories: u64,
    /// Tables.
    pub tables: u64,
    /// Elements that tables are filled with.
    pub elements: u64,
    /// Segments that memories are filled with.
    pub data_segments: u64,
    /// Bytes of those segments.
    pub data_bytes: u64,
    /// Types, imports, exports and instances outside of the core modules.
    pub declarations: u64,
    /// The most core instances that one instance of the component is made of.
    pub core_instances: u64,
}

/// One part of a component and its cap.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Part {
    /// What is counted.
    pub what: &'static str,
    /// How many there are.
    pub found: u64,
    /// How many may be.
    pub max: u64,
    /// The limit that says so.
    pub limit: &'static str,
}

impl Shape {
    /// Every part with its cap.
    pub fn parts(&self, limits: &SandboxLimits) -> [Part; 14] {
        let bytes = |limit: usize| u64::try_from(limit).unwrap_or(u64::MAX);
        let part = |what, found, max, limit| Part { what, found, max, limit };
        [
            part("functions", self.functions, limits.functions_max.into(), "functions_max"),
            part(
                "bytes in one function",
                self.function_bytes,
                limits.function_bytes_max.into(),
                "function_bytes_max",
            ),
            part(
                "loops within each other",
                self.loops_nested,
                limits.loops_nested_max.into(),
                "loops_nested_max",
            ),
            part(
                "locals in one function",
                self.function_locals,
                limits.function_locals_max.into(),
                "function_locals_max",
            ),
            part(
                "parameters of one function",
                self.function_params,
                limits.function_params_max.into(),
                "function_params_max",
            ),
            part("parameters of all functions", self.params, limits.params_max.into(), "params_max"),
            part("core types", self.types, limits.types_max.into(), "types_max"),
            part("memories", self.memories, limits.memories_max.into(), "memories_max"),
            part("tables", self.tables, limits.tables_max.into(), "tables_max"),
            part(
                "elements for its tables",
                self.elements,
                bytes(limits.table_elements_max),
                "table_elements_max",
            ),
            part("data segments", self.data_segments, limits.data_segments_max.into(), "data_segments_max"),
            part("bytes of data", self.data_bytes, bytes(limits.memory_bytes_max), "memory_bytes_max"),
            part("declarations", self.declarations, limits.declarations_max.into(), "declarations_max"),
            part(
                "core instances",
                self.core_instances,
                limits.core_instances_max.into(),
                "core_instances_max",
            ),
        ]
    }

    /// The parts that are too large.
    pub(super) fn too_large(&self, limits: &SandboxLimits) -> Vec<ScanError> {
        let parts = self.parts(limits).into_iter().filter(|part| part.found > part.max);
        parts
            .map(|Part { what, found, max, limit }| ScanError::TooLarge { what, found, max, limit })
            .collect()
    }
}
