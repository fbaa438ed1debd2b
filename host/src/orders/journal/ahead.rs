//! The next segment, made on a thread of its own before it is needed, so that no record waits for it.

use super::files::Spare;
use crate::resilience::{Disk, DiskError};
use std::path::Path;
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};

/// How far the file after the current segment is.
#[derive(Default)]
pub(super) struct Ahead {
    thread: Option<JoinHandle<Result<Spare, DiskError>>>,
    /// First record of the segment that a file was begun for, so that a disk which refused one is not
    /// asked again for every record.
    begun_for: Option<u64>,
}

impl Ahead {
    /// Begins to make the file that follows the segment of `first_seq`, once.
    pub fn begin(&mut self, dir: &Path, disk: &Arc<dyn Disk>, first_seq: u64, bytes: u64) {
        if self.begun_for == Some(first_seq) {
            return;
        }
        self.begun_for = Some(first_seq);
        let (dir, disk) = (dir.to_owned(), Arc::clone(disk));
        let thread = Builder::new().name("journal ahead".to_owned());
        // Without a thread the writer makes the file itself when it needs it.
        self.thread = thread.spawn(move || Spare::prepare(&dir, &*disk, first_seq, bytes)).ok();
    }

    /// Waits until nothing is made beside the writer any more.
    #[cfg(test)]
    pub fn settle(&self) {
        while self.thread.as_ref().is_some_and(|thread| !thread.is_finished()) {
            std::thread::yield_now();
        }
    }

    /// The file, if one was begun and the disk took it; waits when it is not finished. A failure here has
    /// cost no record: the writer tries again itself, and what fails then is final.
    pub fn take(&mut self) -> Option<Spare> {
        match self.thread.take()?.join() {
            Ok(Ok(spare)) => Some(spare),
            Ok(Err(error)) => {
                tracing::warn!(class = "resource", code = "journal_ahead", %error,
                    "the next segment of the journal could not be made ahead");
                None
            }
            Err(_) => None,
        }
    }
}
