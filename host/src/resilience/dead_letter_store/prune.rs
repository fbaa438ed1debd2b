//! Letters that are done with do not stay for ever.

use super::{DeadLetterStore, PAYLOADS, StoreError, file_of};
use crate::market::UnixNanos;
use crate::resilience::LetterId;
use std::time::Duration;

/// Letters that go in one change. Each look removes as many, so that none takes long.
const AT_ONCE: usize = 256;

impl DeadLetterStore {
    /// Removes letters that have been done with for longer than `letter_closed_age_s`, the oldest first, some of
    /// them at a time. Returns how many. A letter that is not done with stays, whatever its age.
    ///
    /// # Errors
    /// When the store has failed.
    pub fn prune(&self, now: UnixNanos) -> Result<usize, StoreError> {
        let age = Duration::from_secs(self.config.letter_closed_age_s);
        self.guarded(|store| {
            let index = &mut *store.index();
            let closed = index.entries.iter().filter_map(|(id, entry)| Some((entry.closed_at?, id)));
            let mut old: Vec<(UnixNanos, LetterId)> =
                closed.filter(|(at, _)| now.since(*at) >= age).map(|(at, id)| (at, id.clone())).collect();
            old.sort();
            old.truncate(AT_ONCE);
            if old.is_empty() {
                return Ok(0);
            }
            let database = store.database()?;
            let (mut tally, mut batch) = (index.sealing.mark.tally, sled::Batch::default());
            let mut files = Vec::new();
            for (_, id) in &old {
                let key = id.as_str().as_bytes();
                if let Some(value) = database.get(key)? {
                    tally.remove(key, &value);
                    files.extend(file_of(&value));
                    batch.remove(key);
                }
            }
            let incomplete = index.sealing.mark.incomplete;
            database.commit(&mut index.sealing, batch, (tally, incomplete), &*store.disk)?;
            for (_, id) in &old {
                index.entries.remove(id);
            }
            // Only now: a letter whose file is gone would be a damaged one. A file is named by its content, which
            // names the letter, so that no other letter has it.
            for file in files {
                store.disk.remove(&store.dir.join(PAYLOADS).join(file))?;
            }
            Ok(old.len())
        })
    }
}
