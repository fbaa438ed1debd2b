//! Machine code of components, kept on the disk between two starts.
//!
//! A file is named after the component and the engine, and sealed under a key that lies beside it: whoever can
//! read the key can run code as this user anyway. No limit of a sandbox is part of the name, since none changes
//! the machine code, and the component's own bytes are checked against the limits before a file is looked for.
//!
//! The cache saves time and nothing else. Whatever is wrong with it is a miss, counted and logged, and never
//! an error: what is stale, damaged, truncated, sealed under another key or in a folder that others can write.

mod folder;

use super::compiled::{Artifact, EngineHash, Label, SEAL_BYTES, SealError};
use crate::orders::Digest;
use folder::{Folder, FolderError};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use thiserror::Error;

/// Where compiled components are kept, and how many.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CacheConfig {
    /// The folder. It is made when it is not there, for this user alone, but nothing above it; one that others can
    /// enter is not used.
    pub dir: PathBuf,
    /// Bytes of all files together; those used longest ago are deleted first. Default 512 MiB: a native strategy
    /// takes a few hundred kilobytes, an interpreter some tens of megabytes.
    pub bytes_max: u64,
    /// Files; 0 keeps none. Default 256: a folder that is listed in no time.
    pub entries_max: u32,
    /// Space that the disk still has after a file was kept; with less, nothing is kept. Default 64 MiB: the journal
    /// and the checkpoints, which lie on the same disk, need the space more than the next start does.
    pub free_bytes_min: u64,
}

impl Default for CacheConfig {
    fn default() -> Self {
        Self { dir: "compiled".into(), bytes_max: 512 << 20, entries_max: 256, free_bytes_min: 64 << 20 }
    }
}

/// Why the cache did not help.
#[derive(Debug, Error)]
pub(super) enum CacheFault {
    #[error(transparent)]
    Folder(#[from] FolderError),
    #[error("{file}: {source}")]
    Seal { file: String, source: SealError },
    #[error("{file}: the engine does not take the code: {detail}")]
    Load { file: String, detail: String },
}

impl CacheFault {
    /// A stable word for the log.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Folder(_) => "compile_cache_folder",
            Self::Seal { .. } => "compile_cache_damaged",
            Self::Load { .. } => "compile_cache_stale",
        }
    }
}

/// The cache of one engine.
#[derive(Clone, Debug)]
pub(super) struct CompileCache {
    config: CacheConfig,
    engine: EngineHash,
    /// No file that is larger is read.
    artifact_bytes_max: u64,
}

impl CompileCache {
    pub fn new(config: CacheConfig, engine: EngineHash, artifact_bytes_max: u64) -> Self {
        Self { config, engine, artifact_bytes_max }
    }

    /// The name of a component's file: its digest and the first half of the engine's hash, all of which is in
    /// the label.
    pub fn file(&self, component: Digest) -> String {
        let engine = self.engine.to_string();
        format!("{component}-{}.code", engine.get(..32).unwrap_or(&engine))
    }

    fn label(&self, component: Digest) -> Label {
        Label { component, engine: self.engine }
    }

    /// What is kept of a component; `None` when there is nothing.
    ///
    /// # Errors
    /// When there is something and it cannot be used.
    pub fn get(&self, component: Digest) -> Result<Option<Artifact>, CacheFault> {
        if self.config.entries_max == 0 {
            return Ok(None);
        }
        let Some(folder) = Folder::open(&self.config.dir)? else { return Ok(None) };
        let Some(key) = folder.key()? else { return Ok(None) };
        let file = self.file(component);
        let bytes_max = self.artifact_bytes_max.saturating_add(SEAL_BYTES);
        let Some(sealed) = folder.read(&file, bytes_max)? else { return Ok(None) };
        match Artifact::unseal(&key, &sealed, &self.label(component)) {
            Ok(artifact) => {
                folder.touch(&file);
                Ok(Some(artifact))
            }
            Err(source) => Err(CacheFault::Seal { file, source }),
        }
    }

    /// Keeps the code of a component. What it replaces, or what a crash leaves behind, is never half a file.
    ///
    /// # Errors
    /// When the folder cannot be used or written.
    pub fn put(&self, component: Digest, artifact: &Artifact) -> Result<Kept, CacheFault> {
        let bytes = u64::try_from(artifact.len()).unwrap_or(u64::MAX).saturating_add(SEAL_BYTES);
        if self.config.entries_max == 0 || bytes > self.config.bytes_max {
            return Ok(Kept::No);
        }
        let Some(folder) = Folder::create(&self.config.dir)? else { return Ok(Kept::Later) };
        if folder.free_bytes()? < bytes.saturating_add(self.config.free_bytes_min) {
            return Ok(Kept::No);
        }
        let key = folder.key_or_new()?;
        let Some(sealed) = artifact.seal(&key, &self.label(component)) else { return Ok(Kept::No) };
        folder.write(&self.file(component), &sealed)?;
        folder.shrink(self.config.bytes_max, self.config.entries_max)?;
        Ok(Kept::Yes)
    }
}

/// What became of code that was to be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kept {
    Yes,
    /// There is no room for it.
    No,
    /// The folder above the cache's own is not there yet, and is not the cache's to make.
    Later,
}

#[cfg(test)]
#[path = "cache/tests.rs"]
mod tests;
