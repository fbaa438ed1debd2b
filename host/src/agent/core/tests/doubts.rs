//! Which attempts may have been executed, by the journal alone: the rule by which a send is judged at a venue
//! that does not remember keys.

use crate::agent::core::Record;
use crate::orders::{Entry, IntentKey};
use crate::venue::Outcome;
use std::collections::{BTreeMap, BTreeSet};

#[derive(Default)]
pub(super) struct Doubts {
    read: usize,
    attempts: u64,
    open: BTreeMap<IntentKey, BTreeSet<u64>>,
    last: BTreeMap<IntentKey, u64>,
}

impl Doubts {
    /// Takes in what has become durable.
    pub(super) fn fold(&mut self, journal: &[Entry]) {
        for entry in &journal[self.read..] {
            match &entry.record {
                Record::Submitting { key, .. } => {
                    self.attempts += 1;
                    self.open.entry(*key).or_default().insert(self.attempts);
                    self.last.insert(*key, self.attempts);
                }
                Record::Attempted { key, outcome: Outcome::NotSent(_) | Outcome::Refused(_), .. } => {
                    let open = self.open.entry(*key).or_default();
                    open.remove(&self.last[key]);
                }
                Record::Attempted { key, outcome: Outcome::Done { .. }, .. }
                | Record::Queried { key, outcome: Outcome::Done { .. } }
                | Record::Denied { key, .. }
                | Record::Expired { key, .. }
                | Record::Resolved { key, .. } => {
                    self.open.remove(key);
                }
                Record::Updated(update) => {
                    self.open.remove(&update.key);
                }
                _ => {}
            }
        }
        self.read = journal.len();
    }

    /// Attempts for an intent that may have been executed, the one under way included.
    pub(super) fn of(&self, key: &IntentKey) -> usize {
        self.open.get(key).map_or(0, BTreeSet::len)
    }

    /// Intents with such attempts.
    pub(super) fn keys(&self) -> impl Iterator<Item = &IntentKey> {
        self.open.iter().filter(|(_, attempts)| !attempts.is_empty()).map(|(key, _)| key)
    }
}
