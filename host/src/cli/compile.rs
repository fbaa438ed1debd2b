//! `ringfence compile-component`: the compiler that the host starts as a process of its own. Hidden: it limits
//! itself to what it is told, reads a component from its standard input and answers in a form of the host's.

use super::output::CliError;
use crate::plugin::{WorkerConfig, run_worker};
use std::process::ExitCode;

#[derive(clap::Args)]
pub(super) struct Args {
    /// Address space of this process.
    #[arg(long, value_name = "BYTES")]
    memory_bytes_max: u64,
    /// Processor time of this process.
    #[arg(long, value_name = "SECONDS")]
    cpu_s_max: u64,
    /// Stack of a call into the component.
    #[arg(long, value_name = "BYTES")]
    stack_bytes_max: usize,
}

pub(super) fn run(args: &Args) -> Result<ExitCode, CliError> {
    let Args { memory_bytes_max, cpu_s_max, stack_bytes_max } = *args;
    let config = WorkerConfig { memory_bytes_max, cpu_s_max, stack_bytes_max };
    run_worker(config, &mut std::io::stdin().lock(), &mut std::io::stdout().lock())
        .map_err(|error| CliError::system("compiler", error.to_string()))?;
    Ok(ExitCode::SUCCESS)
}
