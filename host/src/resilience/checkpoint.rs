//! Checkpoints: an agent's whole memory in one file, several generations of it, none ever trusted unread.
//!
//! A generation is written under another name, synced, read back and verified
//! before it gets its own; the oldest one goes only after that name is durable. What cannot be verified
//! is renamed to `*.corrupt` and kept: a file that nobody can read is still evidence, and it says that
//! this is not a first run.

mod format;
#[cfg(test)]
mod tests;

use super::{Class, Classified, Disk, DiskError};
use format::{decode, encode};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use thiserror::Error;

const PREFIX: &str = "ckpt-";
const SUFFIX: &str = ".ck";
const TEMPORARY_SUFFIX: &str = ".ck.tmp";

/// Limits of the checkpoints of one agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CheckpointConfig {
    /// Generations kept. Default 5: each is a second chance when the one after it has rotted, and the
    /// journal has to reach back to the oldest.
    pub generations_max: NonZeroU32,
    /// Largest payload. Default 64 MiB, far above what books, small values and a strategy's state take;
    /// 1 GiB at most.
    pub payload_bytes_max: u32,
}

impl Default for CheckpointConfig {
    fn default() -> Self {
        const GENERATIONS: NonZeroU32 = NonZeroU32::new(5).unwrap();
        Self { generations_max: GENERATIONS, payload_bytes_max: 64 * 1024 * 1024 }
    }
}

/// Which moment of an agent's life a checkpoint holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckpointPoint {
    /// Number of the last tick that is part of it.
    pub tick: u64,
    /// The agent's last journal record that is part of it, by the number that the journal gave it; those of the
    /// agent after it have to be folded in.
    pub journal_seq: u64,
    /// The agent's incarnation.
    pub incarnation: u32,
    /// SHA-256 of the component whose state it holds.
    pub plugin: [u8; 32],
}

/// What a checkpoint says about itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckpointHeader {
    /// Strictly increasing number of the file.
    pub generation: u64,
    /// Whose it is.
    pub agent: String,
    /// Which moment it holds.
    pub point: CheckpointPoint,
}

/// A checkpoint whose every byte is verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// What it says about itself.
    pub header: CheckpointHeader,
    /// What it holds.
    pub payload: Vec<u8>,
}

/// Why a file is not a checkpoint of this agent.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CheckpointFault {
    /// It is larger than any checkpoint may be.
    #[error("expected at most {bytes_max} bytes, found more")]
    TooLarge {
        /// The limit.
        bytes_max: u64,
    },
    /// It ends too early or goes on too long.
    #[error("expected {expected} bytes, found {found}")]
    Length {
        /// What its header asks for, or the least that a header takes.
        expected: u64,
        /// How long it is.
        found: u64,
    },
    /// It is something else.
    #[error("expected a checkpoint, found a file without its magic number")]
    Magic,
    /// It was written by a host that is newer or older than this one can read.
    #[error("expected checkpoint version {expected}, found {0}", expected = format::VERSION)]
    Version(u32),
    /// Some byte of it is not what was written.
    #[error("expected SHA-256 {expected}, found {found}: the content has changed")]
    Sum {
        /// What the file says.
        expected: String,
        /// What its bytes give.
        found: String,
    },
    /// The agent's name is not text.
    #[error("expected an agent's name, found bytes that are not UTF-8")]
    AgentText,
    /// It belongs to another agent.
    #[error("expected a checkpoint of agent {expected}, found one of {found}")]
    Agent {
        /// Whose are wanted.
        expected: String,
        /// Whose it is.
        found: String,
    },
    /// It has been renamed.
    #[error("expected generation {expected} as its name says, found {found}")]
    Generation {
        /// What its name says.
        expected: u64,
        /// What it says itself.
        found: u64,
    },
}

impl Classified for CheckpointFault {
    fn class(&self) -> Class {
        Class::State
    }

    fn code(&self) -> &'static str {
        match self {
            Self::TooLarge { .. } => "checkpoint_too_large",
            Self::Length { .. } => "checkpoint_length",
            Self::Magic => "checkpoint_magic",
            Self::Version(_) => "checkpoint_version",
            Self::Sum { .. } => "checkpoint_sum",
            Self::AgentText => "checkpoint_agent_text",
            Self::Agent { .. } => "checkpoint_agent",
            Self::Generation { .. } => "checkpoint_generation",
        }
    }
}

/// Why checkpoints cannot be written or read.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CheckpointError {
    /// The disk failed. Reading is not tried with an older file then: what cannot be read now may well be
    /// good.
    #[error("checkpoint: {0}")]
    Disk(#[from] DiskError),
    /// One file is not what it has to be.
    #[error("checkpoint {}: {fault}", path.display())]
    Fault {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        fault: CheckpointFault,
    },
    /// An agent's name is too long.
    #[error("checkpoint: expected an agent's name of 1 to 255 bytes, found {0}")]
    AgentLength(usize),
    /// The agent has too much to remember.
    #[error("checkpoint: expected a payload of at most {bytes_max} bytes, found {bytes}")]
    PayloadTooLarge {
        /// Its size.
        bytes: u64,
        /// The limit.
        bytes_max: u32,
    },
}

impl Classified for CheckpointError {
    fn class(&self) -> Class {
        match self {
            Self::Disk(error) => error.class(),
            Self::Fault { fault, .. } => fault.class(),
            Self::AgentLength(_) | Self::PayloadTooLarge { .. } => Class::Logic,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Disk(error) => error.code(),
            Self::Fault { fault, .. } => fault.code(),
            Self::AgentLength(_) => "checkpoint_agent_length",
            Self::PayloadTooLarge { .. } => "checkpoint_payload_too_large",
        }
    }
}

/// A file that could not be verified, and where it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetAside {
    /// The name that it has now.
    pub path: PathBuf,
    /// What is wrong with it.
    pub fault: CheckpointFault,
}

/// What the disk remembers of an agent. Only the first case is a first run.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub enum Loaded {
    /// There is no checkpoint, and there has never been one.
    FirstRun,
    /// The newest one that verifies.
    Checkpoint {
        /// It.
        checkpoint: Checkpoint,
        /// Newer or older ones that do not verify, newest first.
        set_aside: Vec<SetAside>,
    },
    /// There were some, and none can be used. The journal, or an operator, has to say what was.
    AllBad {
        /// Those found this time, newest first; empty when earlier runs have set them aside already.
        set_aside: Vec<SetAside>,
    },
}

/// The checkpoints of one agent, in a directory of their own. Whoever holds the agent's journal is the
/// only one to write them.
pub struct CheckpointStore {
    dir: PathBuf,
    agent: String,
    config: CheckpointConfig,
    disk: Arc<dyn Disk>,
    next_generation: u64,
    /// Verified generations on the disk, and the last journal record that each includes.
    kept: BTreeMap<u64, u64>,
}

impl CheckpointStore {
    /// Opens or creates the directory, verifies everything in it and returns the newest checkpoint.
    ///
    /// # Errors
    /// When the disk fails or the agent's name is too long.
    pub fn open(
        dir: &Path,
        agent: &str,
        config: CheckpointConfig,
        disk: Arc<dyn Disk>,
    ) -> Result<(Self, Loaded), CheckpointError> {
        if !(1..=usize::from(u8::MAX)).contains(&agent.len()) {
            return Err(CheckpointError::AgentLength(agent.len()));
        }
        disk.create_dir(dir)?;
        let mut names = disk.list(dir)?;
        for name in names.iter().filter(|name| name.starts_with(PREFIX) && name.ends_with(TEMPORARY_SUFFIX)) {
            disk.remove(&dir.join(name))?;
        }
        // A number is never used twice, not even that of a file that was set aside.
        let newest = names.iter().filter_map(|name| generation_at_start(name)).max();
        let mut store = Self {
            dir: dir.to_owned(),
            agent: agent.to_owned(),
            config,
            disk,
            next_generation: newest.map_or(1, |newest| newest.saturating_add(1)),
            kept: BTreeMap::new(),
        };
        let mut generations: Vec<u64> = names.iter().filter_map(|name| generation_of(name)).collect();
        generations.reverse();
        let mut set_aside = Vec::new();
        let mut found = None;
        for generation in generations {
            let path = store.path(generation);
            match store.read_verified(&path, generation)? {
                Ok(checkpoint) => {
                    store.kept.insert(generation, checkpoint.header.point.journal_seq);
                    found.get_or_insert(checkpoint);
                }
                Err(fault) => {
                    let path = store.set_aside(&path, &mut names)?;
                    set_aside.push(SetAside { path, fault });
                }
            }
        }
        if !set_aside.is_empty() {
            store.disk.sync_dir(dir)?;
        }
        let loaded = match found {
            Some(checkpoint) => Loaded::Checkpoint { checkpoint, set_aside },
            None if newest.is_none() => Loaded::FirstRun,
            None => Loaded::AllBad { set_aside },
        };
        Ok((store, loaded))
    }

    /// Writes the next generation and, once it is durable and verified, removes the oldest ones above the
    /// limit. Returns the generation.
    ///
    /// # Errors
    /// When the payload is too large, the disk fails, or what it reads back is not what was written. The
    /// generations before are still there.
    pub fn write(&mut self, point: CheckpointPoint, payload: &[u8]) -> Result<u64, CheckpointError> {
        let bytes_max = self.config.payload_bytes_max.min(PAYLOAD_BYTES_LIMIT);
        if payload.len() as u64 > u64::from(bytes_max) {
            return Err(CheckpointError::PayloadTooLarge { bytes: payload.len() as u64, bytes_max });
        }
        let generation = self.next_generation;
        self.next_generation = generation.saturating_add(1);
        let header = CheckpointHeader { generation, agent: self.agent.clone(), point };
        let bytes = encode(&header, payload);
        let temporary = self.dir.join(format!("{PREFIX}{generation:020}{TEMPORARY_SUFFIX}"));
        if let Err(error) = self.write_named(&temporary, &bytes, generation) {
            // Only tidiness: the next start removes what is left.
            let _ = self.disk.remove(&temporary);
            return Err(error);
        }
        // It has its name, durable or not: from now on the journal has to reach back to it as well.
        self.kept.insert(generation, point.journal_seq);
        self.disk.sync_dir(&self.dir)?;
        self.prune()?;
        Ok(generation)
    }

    /// The journal is needed from this record on, since the oldest verified checkpoint still kept ends with
    /// it; `None` when there is no checkpoint.
    pub fn oldest_journal_seq(&self) -> Option<u64> {
        self.kept.values().min().copied()
    }

    /// Reads every kept generation again. One that does not verify any more counts no longer: it stays on the disk
    /// as evidence, and the next start sets it aside. What was removed is gone for good when this returns.
    ///
    /// # Errors
    /// When the disk fails; what cannot be read now may well be good.
    pub fn verify_kept(&mut self) -> Result<(), CheckpointError> {
        self.disk.sync_dir(&self.dir)?;
        for generation in self.kept.keys().copied().collect::<Vec<_>>() {
            let path = self.path(generation);
            let fault = match self.read_verified(&path, generation) {
                Ok(Ok(_)) => continue,
                Ok(Err(fault)) => fault.to_string(),
                Err(error) if error.kind == ErrorKind::NotFound => "somebody has removed it".to_owned(),
                Err(error) => return Err(error.into()),
            };
            tracing::error!(class = "state", code = "checkpoint_corrupt", agent = %self.agent,
                "checkpoint {} can no longer be used: {fault}", path.display());
            self.kept.remove(&generation);
        }
        Ok(())
    }

    fn write_named(&self, temporary: &Path, bytes: &[u8], generation: u64) -> Result<(), CheckpointError> {
        let mut file = self.disk.create_new(temporary)?;
        file.write_at(0, bytes)?;
        file.sync_data()?;
        if let Err(fault) = self.read_verified(temporary, generation)? {
            return Err(CheckpointError::Fault { path: temporary.to_owned(), fault });
        }
        Ok(self.disk.rename(temporary, &self.path(generation))?)
    }

    fn prune(&mut self) -> Result<(), CheckpointError> {
        let limit = usize::try_from(self.config.generations_max.get()).unwrap_or(usize::MAX);
        while self.kept.len() > limit {
            let Some((&oldest, _)) = self.kept.first_key_value() else { break };
            self.disk.remove(&self.path(oldest))?;
            self.kept.remove(&oldest);
        }
        Ok(())
    }

    fn path(&self, generation: u64) -> PathBuf {
        self.dir.join(format!("{PREFIX}{generation:020}{SUFFIX}"))
    }

    fn read_verified(
        &self,
        path: &Path,
        generation: u64,
    ) -> Result<Result<Checkpoint, CheckpointFault>, DiskError> {
        let checked = read(path, &*self.disk)?.and_then(|checkpoint| {
            let CheckpointHeader { generation: found, agent, .. } = &checkpoint.header;
            if *agent != self.agent {
                return Err(CheckpointFault::Agent { expected: self.agent.clone(), found: agent.clone() });
            }
            if *found != generation {
                return Err(CheckpointFault::Generation { expected: generation, found: *found });
            }
            Ok(checkpoint)
        });
        Ok(checked)
    }

    fn set_aside(&self, path: &Path, names: &mut Vec<String>) -> Result<PathBuf, DiskError> {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let numbered = (2_u64..).map(|n| format!("{name}.corrupt-{n}"));
        let free = std::iter::once(format!("{name}.corrupt")).chain(numbered).find(|n| !names.contains(n));
        let free = free.unwrap_or_default();
        let to = self.dir.join(&free);
        self.disk.rename(path, &to)?;
        names.push(free);
        Ok(to)
    }
}

/// Reads and verifies one checkpoint, whoever it belongs to, and changes nothing.
///
/// # Errors
/// When the file cannot be read or does not verify.
pub fn inspect(path: &Path, disk: &dyn Disk) -> Result<Checkpoint, CheckpointError> {
    read(path, disk)?.map_err(|fault| CheckpointError::Fault { path: path.to_owned(), fault })
}

/// A checkpoint file, and whether it can be trusted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// Which file.
    pub path: PathBuf,
    /// What it says about itself, or what is wrong with it.
    pub result: Result<CheckpointHeader, CheckpointError>,
}

/// Reads and verifies every checkpoint in a directory, oldest first, and changes nothing.
///
/// # Errors
/// When the directory cannot be listed.
pub fn verify(dir: &Path, disk: &dyn Disk) -> Result<Vec<Verified>, CheckpointError> {
    let names = disk.list(dir)?;
    let check = |name: &String| {
        let expected = generation_of(name)?;
        let path = dir.join(name);
        let result = inspect(&path, disk).and_then(|Checkpoint { header, .. }| {
            let found = header.generation;
            let fault = CheckpointFault::Generation { expected, found };
            let error = CheckpointError::Fault { path: path.clone(), fault };
            if found == expected { Ok(header) } else { Err(error) }
        });
        Some(Verified { path, result })
    };
    Ok(names.iter().filter_map(check).collect())
}

/// No payload of any configuration is larger.
const PAYLOAD_BYTES_LIMIT: u32 = 1024 * 1024 * 1024;
/// The same with everything around it.
const FILE_BYTES_MAX: u64 = PAYLOAD_BYTES_LIMIT as u64 + 1_024;

fn read(path: &Path, disk: &dyn Disk) -> Result<Result<Checkpoint, CheckpointFault>, DiskError> {
    match disk.read(path, FILE_BYTES_MAX) {
        Ok(bytes) => Ok(decode(&bytes)),
        Err(error) if error.kind == ErrorKind::FileTooLarge => {
            Ok(Err(CheckpointFault::TooLarge { bytes_max: FILE_BYTES_MAX }))
        }
        Err(error) => Err(error),
    }
}

fn generation_of(name: &str) -> Option<u64> {
    let generation = generation_at_start(name)?;
    (*name == format!("{PREFIX}{generation:020}{SUFFIX}")).then_some(generation)
}

/// The generation of a checkpoint or of one that was set aside. A file that never got its name does not
/// count: a crash during the first write leaves a first run.
fn generation_at_start(name: &str) -> Option<u64> {
    let (digits, rest) = name.strip_prefix(PREFIX)?.split_at_checked(20)?;
    let counts = rest.starts_with(SUFFIX) && rest != TEMPORARY_SUFFIX;
    let counts = counts && digits.bytes().all(|b| b.is_ascii_digit());
    counts.then(|| digits.parse().ok()).flatten()
}
