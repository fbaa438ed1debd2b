//! Which records of the journal are still needed, by whom, and the removal of the others.
//!
//! A checkpoint makes the records that it contains superfluous, but only the oldest of those kept decides:
//! each generation is there for the day when the ones after it cannot be read, and the journal has to go on
//! from there. An agent without any holds the journal at its first record.

#[cfg(test)]
mod tests;

use super::store::AgentStore;
use crate::orders::AgentName;
use crate::orders::journal::FileJournal;
use crate::resilience::{
    CheckpointError, Classified, Disk, DiskError, DiskOperation, Failure, Phase, checkpoint,
};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

/// From which record on an agent needs the journal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct JournalHold {
    /// Which agent.
    pub agent: AgentName,
    /// The first record that it needs; the one that its oldest checkpoint ends with, or its first.
    pub from_seq: u64,
    /// The oldest generation that verifies; `None` when no checkpoint does.
    pub generation: Option<u64>,
}

/// Reads what the checkpoints below `data_dir` say about the journal and changes nothing. `first_seqs` has the
/// first record of every agent in the journal; agents in `left_out` are not looked at. The one that holds the
/// journal most comes first.
///
/// # Errors
/// When a folder cannot be listed or a file cannot be read. One that can be read and does not verify holds nothing.
pub fn journal_holds(
    data_dir: &Path,
    first_seqs: &BTreeMap<AgentName, u64>,
    left_out: &BTreeSet<AgentName>,
    disk: &dyn Disk,
) -> Result<Vec<JournalHold>, CheckpointError> {
    let root = data_dir.join("checkpoints");
    let mut agents: BTreeSet<AgentName> = first_seqs.keys().cloned().collect();
    agents.extend(folders(&root)?);
    let mut holds = Vec::new();
    for agent in agents.into_iter().filter(|agent| !left_out.contains(agent)) {
        let oldest = oldest_verified(&root.join(agent.as_str()), &agent, disk)?;
        let first = first_seqs.get(&agent).map(|seq| (*seq, None));
        if let Some((from_seq, generation)) = oldest.or(first) {
            holds.push(JournalHold { agent, from_seq, generation });
        }
    }
    holds.sort_by_key(|hold| hold.from_seq);
    Ok(holds)
}

fn folders(root: &Path) -> Result<Vec<AgentName>, DiskError> {
    let entries = match std::fs::read_dir(root) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(DiskError::new(DiskOperation::List, root, &error)),
    };
    // What is no agent's name was not made by a host.
    Ok(entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect())
}

fn oldest_verified(
    dir: &Path,
    agent: &AgentName,
    disk: &dyn Disk,
) -> Result<Option<(u64, Option<u64>)>, CheckpointError> {
    let verified = match checkpoint::verify(dir, disk) {
        Err(CheckpointError::Disk(error)) if error.kind == ErrorKind::NotFound => return Ok(None),
        verified => verified?,
    };
    let mut oldest = None;
    for file in verified {
        match file.result {
            Ok(header) if header.agent == agent.as_str() => {
                let found = (header.point.journal_seq, Some(header.generation));
                oldest = Some(oldest.map_or(found, |oldest: (u64, Option<u64>)| oldest.min(found)));
            }
            Ok(_) | Err(CheckpointError::Fault { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(oldest)
}

/// Frees what no checkpoint needs any more.
pub(in crate::agent) struct Compactor {
    journal: Arc<FileJournal>,
    /// Where agents hold the journal that do not run here. Nobody writes their checkpoints meanwhile.
    others: Option<u64>,
    stopped: bool,
}

impl Compactor {
    /// `others` are the holds of the agents that do not run here and may come back.
    pub fn new(journal: Arc<FileJournal>, others: &[JournalHold]) -> Self {
        Self { journal, others: others.iter().map(|hold| hold.from_seq).min(), stopped: false }
    }

    /// Removes the segments that hold only what every kept checkpoint of every agent contains. Before anything
    /// goes, each of those checkpoints is read again: one that has rotted meanwhile is no reason to let go of what
    /// the others need.
    ///
    /// # Errors
    /// When the disk fails. Then nothing more is removed before the next start; the journal works on.
    pub fn run(&mut self, agents: &mut [AgentStore]) -> Result<usize, Failure> {
        if self.stopped || self.journal.compactable(self.needed_from(agents)) == 0 {
            return Ok(0);
        }
        let removed = self.remove(agents);
        self.stopped = removed.is_err();
        removed
    }

    fn remove(&self, agents: &mut [AgentStore]) -> Result<usize, Failure> {
        for agent in &mut *agents {
            agent.checkpoints.verify_kept().map_err(|error| failure(&error))?;
        }
        let below = self.needed_from(agents);
        self.journal.compact(below).map_err(|error| failure(&error))
    }

    /// The lowest record that anybody needs.
    fn needed_from(&self, agents: &[AgentStore]) -> u64 {
        let held =
            agents.iter().map(|agent| agent.checkpoints.oldest_journal_seq().unwrap_or(agent.first_seq));
        held.chain(self.others).min().unwrap_or(0)
    }
}

fn failure<E: Classified + std::fmt::Display>(error: &E) -> Failure {
    Failure::new(error.class(), error.code(), Phase::NotSent, error.to_string())
}
