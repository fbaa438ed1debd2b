//! `ringfence build`: the component of a strategy's folder.

use super::toolchain::Toolchain;
use crate::cli::output::{CliError, Output};
use crate::orders::Digest;
use serde_json::json;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

#[derive(clap::Args)]
pub(in crate::cli) struct Args {
    /// The folder of the strategy: a crate that uses the SDK, or one with guest.env.
    #[arg(default_value = ".")]
    folder: PathBuf,
    /// Where the component goes. Default: the folder build of the strategy.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Where the Rust compiler for components comes from: auto, rustup or debian.
    #[arg(long, value_name = "ROUTE", value_parser = ["auto", "rustup", "debian"])]
    route: Option<String>,
}

pub(in crate::cli) fn build(args: &Args, out: &Output) -> Result<ExitCode, CliError> {
    let folder = fs::canonicalize(&args.folder).map_err(|error| {
        CliError::input(
            "no_folder",
            format!("{}: {error}; name the folder of a strategy", args.folder.display()),
        )
    })?;
    if !folder.join("Cargo.toml").is_file() && !folder.join("guest.env").is_file() {
        let words = format!(
            "{} has neither Cargo.toml nor guest.env; `ringfence new NAME` makes a folder that has",
            folder.display()
        );
        return Err(CliError::input("no_strategy", words));
    }
    let toolchain = Toolchain::unpack()?;
    let into = args.out.clone().unwrap_or_else(|| folder.join("build"));
    let mut script = Command::new("bash");
    script.arg(toolchain.root.join("plugins/build.sh")).arg("--out").arg(&into);
    if let Some(route) = &args.route {
        script.arg("--route").arg(route);
    }
    script
        .arg(&folder)
        .env("RINGFENCE_WASM_DIR", &toolchain.wasm)
        .env("RINGFENCE_GUESTS_DIR", &toolchain.guests)
        .env("RINGFENCE_BINDINGS_DIR", into.join("bindings"))
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    let status = script.status().map_err(|error| {
        CliError::system(
            "no_bash",
            format!("bash does not start: {error}; the compilers are found by scripts for it"),
        )
    })?;
    if !status.success() {
        let words = format!("{} was not built; what is wrong with it stands above", folder.display());
        return Err(CliError::input("build_failed", words));
    }
    let component = component(&folder, &into)?;
    let bytes = fs::read(&component)
        .map_err(|error| CliError::system("cannot_read", format!("{}: {error}", component.display())))?;
    let digest = Digest::of(&bytes);
    out.facts(&json!({"component": component, "bytes": bytes.len(), "sha256": digest}), |_| {
        format!("{}  {} bytes\nsha256 {digest}", component.display(), bytes.len())
    });
    Ok(ExitCode::SUCCESS)
}

/// The script names it after the folder.
fn component(folder: &Path, into: &Path) -> Result<PathBuf, CliError> {
    let name = folder.file_name().ok_or_else(|| {
        CliError::input("no_name", format!("{} has no name to call the component by", folder.display()))
    })?;
    let mut name = name.to_owned();
    name.push(".wasm");
    Ok(into.join(name))
}
