//! What an author of strategies gets from the program alone: a new project, and its component.

mod build;
mod language;
mod new;
mod sdk;
mod toolchain;

pub(super) use build::{Args as BuildArgs, build};
pub(super) use new::{Args as NewArgs, new};

use super::output::CliError;
use std::fs;
use std::path::Path;

/// Writes a file and the folders above it.
fn write(path: &Path, text: &str) -> Result<(), CliError> {
    let failed = |error: std::io::Error| {
        CliError::system(
            "cannot_write",
            format!("{}: {error}; is the disk full or read-only?", path.display()),
        )
    };
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(failed)?;
    }
    fs::write(path, text).map_err(failed)?;
    #[cfg(unix)]
    if text.starts_with("#!") {
        use std::os::unix::fs::PermissionsExt as _;
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).map_err(failed)?;
    }
    Ok(())
}
