//! The compiler, in a process of its own that can be killed.
//!
//! Compiling is the one thing that a stranger's component makes the host do for which no engine promises an
//! end: memory and time are not linear in the component's size, and a fault in the compiler is a fault of the
//! process it runs in. So the host starts itself once more, with nothing in its environment and no descriptor
//! but three pipes; the child limits itself before it reads anything, compiles, answers and is gone.

mod answer;
mod child;
mod worker;

pub use worker::{WorkerConfig, WorkerError, run_worker};

pub(super) use answer::Answer;

use super::compiled::{Artifact, EngineHash};
use super::engine::SandboxConfig;
use super::text::printable;
use crate::orders::Digest;
use crate::resilience::{Class, Classified};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::sync::Arc;
use thiserror::Error;
use wasmtime::Engine;

/// Where components are compiled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Compiler {
    /// In a child process with limits of its own. The default.
    Child(ChildCompiler),
    /// In this process: a component that makes the compiler run wild takes the host with it. For tests, and for
    /// programs that accept this because they know where their components come from.
    InProcess,
}

impl Default for Compiler {
    fn default() -> Self {
        // The test program of this crate's own units is no compiler, and cargo builds none for it.
        if cfg!(test) { Self::InProcess } else { Self::Child(ChildCompiler::default()) }
    }
}

/// What the compiler's process may use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ChildCompiler {
    /// The program that compiles, called as `PROGRAM compile-component …`. Default: this program, when it is
    /// `ringfence`, else the `ringfence` beside it.
    pub program: Option<PathBuf>,
    /// Wall time of one compilation. Default 60 s: a native strategy takes a fraction of a second, an interpreter
    /// of many megabytes half a minute on a slow machine.
    pub timeout_ms: u32,
    /// Processor time of one compilation, over all threads. Default 120 s: two processors for the whole wall time;
    /// it also ends a compiler whose host was killed.
    pub cpu_s_max: u32,
    /// Address space of the compiler. Default 2 GiB: a native strategy takes a tenth of it, most of which are the
    /// stacks and heaps of one thread a processor.
    pub memory_bytes_max: u64,
    /// Bytes of machine code that are taken. Default 256 MiB: machine code is some times as large as the component.
    pub artifact_bytes_max: u64,
}

impl Default for ChildCompiler {
    fn default() -> Self {
        Self {
            program: None,
            timeout_ms: 60_000,
            cpu_s_max: 120,
            memory_bytes_max: 2 << 30,
            artifact_bytes_max: 256 << 20,
        }
    }
}

/// Why the compiler gave nothing.
#[derive(Debug, Error)]
pub enum CompilerError {
    /// There is no program to start.
    #[error(
        "there is no compiler to start: this program is {program}, and no ringfence lies beside it; name one as \
         compile.program"
    )]
    NoProgram {
        /// This program.
        program: String,
    },
    /// It does not start, or its pipes fail.
    #[error("the compiler {program} does not start: {source}")]
    Start {
        /// Which program.
        program: String,
        /// What the operating system says.
        #[source]
        source: std::io::Error,
    },
    /// It took too long and was killed.
    #[error(
        "compiling was ended after {ms} ms (compile.timeout_ms); a component that takes that long is a compile bomb \
         or belongs on a faster machine"
    )]
    Timeout {
        /// The limit.
        ms: u32,
    },
    /// It used too much processor time.
    #[error("compiling was ended after {s} s of processor time (compile.cpu_s_max)")]
    Cpu {
        /// The limit.
        s: u32,
    },
    /// It had no more memory.
    #[error("compiling takes more than {bytes} bytes of memory (compile.memory_bytes_max): {detail}")]
    Memory {
        /// The limit.
        bytes: u64,
        /// What it said last.
        detail: String,
    },
    /// It made too much machine code.
    #[error("compiling makes more than {bytes} bytes of machine code (compile.artifact_bytes_max)")]
    TooLarge {
        /// The limit.
        bytes: u64,
    },
    /// It panicked.
    #[error("the compiler panics over the component: {detail}")]
    Panic {
        /// What it said last.
        detail: String,
    },
    /// A signal ended it.
    #[error("signal {signal} ended the compiler: {detail}")]
    Killed {
        /// Which signal.
        signal: i32,
        /// What it said last.
        detail: String,
    },
    /// It gave up.
    #[error("the compiler gave up with exit code {code}: {detail}")]
    Failed {
        /// Its exit code.
        code: i32,
        /// What it said last.
        detail: String,
    },
    /// What it says is no answer to what it was asked.
    #[error(
        "{program} is not the compiler of this host: {detail}; compile.program has to be this same version"
    )]
    Foreign {
        /// Which program.
        program: String,
        /// What is wrong with the answer.
        detail: String,
    },
}

impl Classified for CompilerError {
    fn class(&self) -> Class {
        match self {
            Self::NoProgram { .. } | Self::Start { .. } | Self::Foreign { .. } | Self::Failed { .. } => {
                Class::Resource
            }
            Self::Timeout { .. }
            | Self::Cpu { .. }
            | Self::Memory { .. }
            | Self::TooLarge { .. }
            | Self::Panic { .. }
            | Self::Killed { .. } => Class::Data,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::NoProgram { .. } => "compiler_missing",
            Self::Start { .. } => "compiler_start",
            Self::Timeout { .. } => "compile_timeout",
            Self::Cpu { .. } => "compile_cpu",
            Self::Memory { .. } => "compile_memory",
            Self::TooLarge { .. } => "compile_too_large",
            Self::Panic { .. } => "compile_panic",
            Self::Killed { .. } => "compile_killed",
            Self::Failed { .. } => "compile_failed",
            Self::Foreign { .. } => "compiler_foreign",
        }
    }
}

/// Why there is no machine code: the compiler did not do its work, or it did and refuses the component.
#[derive(Debug)]
pub(super) enum Failure {
    Compiler(CompilerError),
    Refused(String),
}

impl Compiler {
    /// The most machine code that is taken from it, and from the cache.
    pub(super) fn artifact_bytes_max(&self) -> u64 {
        match self {
            Self::Child(child) => child.artifact_bytes_max,
            Self::InProcess => ChildCompiler::default().artifact_bytes_max,
        }
    }

    /// Compiles a component for an engine.
    pub(super) fn compile(
        &self,
        engine: &Engine,
        config: &SandboxConfig,
        digest: Digest,
        bytes: &[u8],
    ) -> Result<Artifact, Failure> {
        let refused = |why: String| Failure::Refused(printable(&why, 512));
        match self {
            Self::InProcess => {
                Artifact::compile(engine, bytes).map_err(|error| refused(format!("{error:#}")))
            }
            Self::Child(child) => {
                let job = child::Job {
                    engine: EngineHash::of(engine),
                    component: digest,
                    bytes: Arc::from(bytes),
                    stack_bytes_max: config.stack_bytes_max,
                };
                let answer = child.compile(&job).map_err(Failure::Compiler)?;
                Artifact::answered(answer).map_err(refused)
            }
        }
    }
}
