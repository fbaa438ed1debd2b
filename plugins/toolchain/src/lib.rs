//! What the author's side needs now and then and no plugin and no host contains: the generators of bindings for
//! Rust and C and the step from a core module to a component.
//!
//! Bindings are checked in, since generating them in each plugin's build compiles a large macro first:
//! a plugin then builds in about two seconds instead of a minute. The test of this crate holds the file to
//! what the WIT says.

mod bindings;
mod component;

pub use bindings::{BINDINGS_FILE, WIT_FOLDER, generate_bindings, generate_c_bindings};
pub use component::componentize;

use std::path::PathBuf;
use thiserror::Error;

/// Why a tool gave up.
#[derive(Debug, Error)]
pub enum ToolError {
    /// A file could not be read or written.
    #[error("{path}: {source}")]
    File {
        /// Which file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The WIT does not parse, or lacks the world.
    #[error("{path}: expected a WIT package with the world {world}, found: {reason}")]
    Wit {
        /// The folder of the package.
        path: PathBuf,
        /// The world that was asked for.
        world: String,
        /// What the parser says.
        reason: String,
    },
    /// The generator wrote no file, or more than one.
    #[error("expected the generator to write one Rust file of text, it wrote {0}")]
    Generator(String),
    /// The module is no core module built with the SDK.
    #[error("{path}: expected a core module built with ringfence-sdk, found: {reason}")]
    Module {
        /// Which module.
        path: PathBuf,
        /// What the encoder says.
        reason: String,
    },
}

impl ToolError {
    /// A file error with its path.
    pub fn file(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        |source| Self::File { path, source }
    }
}
