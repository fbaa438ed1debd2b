//! Why the engine ended a call: from its error to a [`TrapKind`] and a line of evidence.

use super::text::printable;
use super::{CallError, TrapKind};
use thiserror::Error;
use wasmtime::{Trap, WasmBacktrace};

/// A line of evidence in a dead letter or a log, not a stack dump.
const DETAIL_BYTES_MAX: usize = 512;
/// Frames of the guest that are named, innermost first.
const FRAMES_MAX: usize = 8;

/// A limit of ours that ended a call, thrown through the engine as an error.
#[derive(Debug, Error)]
pub(super) enum LimitHit {
    #[error("{requested} bytes of linear memory requested, {max} allowed (limit memory_bytes_max)")]
    Memory { requested: usize, max: usize },
    #[error("{requested} table elements requested, {max} allowed (limit table_elements_max)")]
    TableElements { requested: usize, max: usize },
    #[error("the host has no memory for it: {0}")]
    HostMemory(String),
    #[error("more than {max} calls into the host (limit host_calls_per_call_max)")]
    HostCalls { max: u32 },
    #[error("returned {returned} order intents, {max} allowed")]
    Intents { returned: usize, max: u32 },
    #[error("consumed {consumed} of {given} rows, at least one and at most all expected")]
    Rows { consumed: u32, given: u32 },
    #[error("saved a state of schema {found}, but says that it saves schema {announced}")]
    Schema { found: u32, announced: u32 },
    #[error("the host's {0} does not fit a decimal of 63 bits")]
    Number(&'static str),
    #[error("asked WASI for {0}, which no strategy needs")]
    Wasi(&'static str),
    #[error("ended itself with exit code {code}; the log has its last words")]
    Exit { code: u8 },
}

/// The verdict on a call that the engine ended.
pub(super) fn triage(error: &wasmtime::Error) -> CallError {
    let backtrace = error.downcast_ref::<WasmBacktrace>();
    let inside_guest = backtrace.is_some_and(|trace| !trace.frames().is_empty());
    let kind = if let Some(hit) = error.downcast_ref::<LimitHit>() {
        kind_of_limit(hit)
    } else if let Some(trap) = error.downcast_ref::<Trap>() {
        kind_of_trap(*trap)
    } else if inside_guest {
        // The arguments of a host call could not be read: bad UTF-8, a list beyond the memory or the byte cap.
        TrapKind::HostCalls
    } else {
        // The same for what a call returned, or where it told the host to put the arguments.
        TrapKind::Output
    };
    let mut detail = error.root_cause().to_string();
    for (position, frame) in backtrace.iter().flat_map(|trace| trace.frames()).take(FRAMES_MAX).enumerate() {
        detail.push_str(if position == 0 { ", in " } else { " < " });
        match frame.func_name() {
            Some(name) => detail.push_str(&printable(name, 96)),
            None => detail.push_str(&format!("function {}", frame.func_index())),
        }
    }
    CallError::Trap { kind, detail: printable(&detail, DETAIL_BYTES_MAX) }
}

fn kind_of_limit(hit: &LimitHit) -> TrapKind {
    match hit {
        LimitHit::Memory { .. } | LimitHit::TableElements { .. } | LimitHit::HostMemory(_) => {
            TrapKind::Memory
        }
        LimitHit::HostCalls { .. } | LimitHit::Wasi(_) => TrapKind::HostCalls,
        LimitHit::Exit { .. } => TrapKind::Unreachable,
        LimitHit::Intents { .. } | LimitHit::Rows { .. } | LimitHit::Schema { .. } => TrapKind::Output,
        LimitHit::Number(_) => TrapKind::Other,
    }
}

fn kind_of_trap(trap: Trap) -> TrapKind {
    match trap {
        Trap::OutOfFuel => TrapKind::Fuel,
        Trap::Interrupt => TrapKind::Deadline,
        Trap::StackOverflow => TrapKind::Stack,
        Trap::MemoryOutOfBounds
        | Trap::TableOutOfBounds
        | Trap::HeapMisaligned
        | Trap::ArrayOutOfBounds
        | Trap::AllocationTooLarge => TrapKind::Memory,
        Trap::UnreachableCodeReached
        | Trap::IntegerOverflow
        | Trap::IntegerDivisionByZero
        | Trap::BadConversionToInteger
        | Trap::IndirectCallToNull
        | Trap::BadSignature
        | Trap::NullReference
        | Trap::CastFailure => TrapKind::Unreachable,
        // From a post-return function, where the contract forbids it.
        Trap::CannotLeaveComponent => TrapKind::HostCalls,
        Trap::StringOutOfBounds
        | Trap::ListOutOfBounds
        | Trap::InvalidDiscriminant
        | Trap::InvalidChar
        | Trap::UnalignedPointer => TrapKind::Output,
        // The enum is open: a later engine may have more.
        _ => TrapKind::Other,
    }
}
