//! The compiler's side: limits itself, reads a component, compiles it, answers, ends.

use super::super::compiled::EngineHash;
use super::super::engine::{SandboxConfig, engine_config};
use super::answer::Answer;
use crate::orders::Digest;
use rlimit::Resource;
use std::io::{self, Read, Write};
use thiserror::Error;
use wasmtime::Engine;

/// What the compiler is called with.
#[derive(Clone, Copy, Debug)]
pub struct WorkerConfig {
    /// Address space.
    pub memory_bytes_max: u64,
    /// Processor time.
    pub cpu_s_max: u64,
    /// Stack of a call, which is one of the engine's settings.
    pub stack_bytes_max: usize,
}

/// Why the compiler ends without an answer.
#[derive(Debug, Error)]
pub enum WorkerError {
    /// Nothing is compiled without limits.
    #[error("cannot limit itself: {0}")]
    Limits(#[source] io::Error),
    /// A pipe broke.
    #[error("cannot {what}: {source}")]
    Pipe {
        /// What it was doing.
        what: &'static str,
        /// What the operating system says.
        #[source]
        source: io::Error,
    },
    /// There is no engine on this machine.
    #[error("the engine does not start: {0}")]
    Engine(String),
}

/// Compiles the component on the input and writes the answer to the output. The limits hold for the whole
/// process, from now on: this is for a process that does nothing else.
///
/// # Errors
/// When there is no answer to be had; a component that is not valid is an answer.
pub fn run_worker(
    config: WorkerConfig,
    input: &mut impl Read,
    output: &mut impl Write,
) -> Result<(), WorkerError> {
    limit(config).map_err(WorkerError::Limits)?;
    let mut component = Vec::new();
    let pipe = |what| move |source| WorkerError::Pipe { what, source };
    input.read_to_end(&mut component).map_err(pipe("read the component"))?;
    // What was received is what is named in the answer.
    let digest = Digest::of(&component);
    let settings = SandboxConfig { stack_bytes_max: config.stack_bytes_max, ..SandboxConfig::default() };
    let engine =
        Engine::new(&engine_config(&settings)).map_err(|error| WorkerError::Engine(format!("{error:#}")))?;
    let compiled = engine.precompile_component(&component).map_err(|error| format!("{error:#}"));
    let outcome = compiled.as_ref().map(Vec::as_slice).map_err(String::as_str);
    let (header, payload) = Answer::encode(outcome, EngineHash::of(&engine), digest);
    let written =
        output.write_all(&header).and_then(|()| output.write_all(payload)).and_then(|()| output.flush());
    written.map_err(pipe("write the answer"))
}

fn limit(config: WorkerConfig) -> io::Result<()> {
    let WorkerConfig { memory_bytes_max, cpu_s_max, .. } = config;
    // The signal of the soft limit says what happened; the hard one a second later cannot be caught.
    Resource::CPU.set(cpu_s_max, cpu_s_max.saturating_add(1))?;
    // A crash leaves no image of a stranger's bytes, and nothing is ever written but pipes.
    Resource::CORE.set(0, 0)?;
    Resource::FSIZE.set(0, 0)?;
    Resource::AS.set(memory_bytes_max, memory_bytes_max)
}
