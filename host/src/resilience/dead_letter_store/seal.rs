//! The seal: what the database must hold, said by a small file beside it.
//!
//! sled 0.34.7 takes a record of its log that it cannot read for the end of the log. A flipped bit, or a loss
//! of power on a disk that lies, so turns the database into an older one that is whole in itself. Only
//! somebody else can tell, so every change has a number, and with the number of letters and a digest of them
//! it is written in two places: into the database, in the batch of the change itself, and into this file.
//!
//! The file comes first and is synced before the database is touched. So a kill between the two leaves a
//! database that is one change behind, and nothing else leaves one. Afterwards the change is marked as
//! settled, which need not be synced: lost, it only means that being one behind is not noticed.
//!
//! Two slots take turns, so that a torn write leaves the change before it. They are a page apart, since a
//! disk writes no less than a sector.

use super::StoreError;
use crate::resilience::{Disk, DiskFile};
use sha2::{Digest as _, Sha256};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// The name of the file.
pub(super) const SEAL: &str = "seal";
/// The key of a mark in the database; no letter's name begins like this.
pub(super) const MARK_KEY: &[u8] = b"\0mark";

const SLOT_BYTES: u64 = 4_096;
const MAGIC: [u8; 4] = *b"RFSL";
const VERSION: u8 = 1;
const MARK_BYTES: usize = 4 + 1 + 1 + 1 + 1 + 8 + 8 + 32 + 4;

/// A set of letters, as a number and a digest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub letters: u64,
    digest: [u8; 32],
}

impl Tally {
    pub fn add(&mut self, key: &[u8], value: &[u8]) {
        self.letters = self.letters.saturating_add(1);
        self.mix(key, value);
    }

    pub fn remove(&mut self, key: &[u8], value: &[u8]) {
        self.letters = self.letters.saturating_sub(1);
        self.mix(key, value);
    }

    /// Taking the same letter twice takes it back, so one change needs no look at the other letters.
    fn mix(&mut self, key: &[u8], value: &[u8]) {
        let mut hash = Sha256::new();
        hash.update((key.len() as u64).to_le_bytes());
        hash.update(key);
        hash.update(value);
        self.digest.iter_mut().zip(hash.finalize()).for_each(|(sum, byte)| *sum ^= byte);
    }
}

/// What the database holds after one change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Mark {
    /// Number of the change; zero for a database without one.
    pub change: u64,
    pub tally: Tally,
    /// Whether letters were lost that the journal has not given back yet.
    pub incomplete: bool,
}

impl Mark {
    pub fn encode(&self, settled: bool) -> [u8; MARK_BYTES] {
        let mut bytes = [0; MARK_BYTES];
        let flags = [VERSION, u8::from(settled), u8::from(self.incomplete), 0];
        let (change, letters) = (self.change.to_le_bytes(), self.tally.letters.to_le_bytes());
        let parts: [&[u8]; 5] = [&MAGIC, &flags, &change, &letters, &self.tally.digest];
        let content = parts.into_iter().flatten();
        bytes.iter_mut().zip(content).for_each(|(byte, content)| *byte = *content);
        if let Some((content, sum)) = bytes.split_last_chunk_mut::<4>() {
            *sum = crc32c::crc32c(content).to_le_bytes();
        }
        bytes
    }

    /// A mark, and whether it is settled; `None` when the bytes are none.
    pub fn decode(bytes: &[u8]) -> Option<(Self, bool)> {
        let bytes = bytes.first_chunk::<MARK_BYTES>()?;
        let (content, sum) = bytes.split_last_chunk::<4>()?;
        let (magic, rest) = content.split_first_chunk::<4>()?;
        let ([version, settled, incomplete, _], rest) = rest.split_first_chunk::<4>()?;
        let (change, rest) = rest.split_first_chunk::<8>()?;
        let (letters, digest) = rest.split_first_chunk::<8>()?;
        let verifies = crc32c::crc32c(content).to_le_bytes() == *sum;
        if *magic != MAGIC || *version != VERSION || !verifies {
            return None;
        }
        let tally = Tally { letters: u64::from_le_bytes(*letters), digest: *digest.first_chunk()? };
        let mark = Self { change: u64::from_le_bytes(*change), tally, incomplete: *incomplete != 0 };
        Some((mark, *settled != 0))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Slot {
    Empty,
    /// Torn or rotten.
    Bad,
    Good(Mark, bool),
}

impl Slot {
    fn read(bytes: &[u8]) -> Self {
        if bytes.iter().all(|byte| *byte == 0) {
            return Self::Empty;
        }
        Mark::decode(bytes).map_or(Self::Bad, |(mark, settled)| Self::Good(mark, settled))
    }
}

/// What the file says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Said {
    newest: Option<(Mark, bool)>,
    /// Slots that are torn or rotten.
    pub bad: usize,
}

/// What a database and its seal are to each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The database holds what it must.
    Whole(Mark),
    /// Letters of a host that knew no seal.
    Unsealed,
    /// It does not; why.
    Lost(String),
}

impl Said {
    /// Whether the file does not say yet that this change is settled, and should.
    pub fn lacks(&self, mark: &Mark) -> bool {
        mark.change > 0
            && self.newest.is_none_or(|(newest, settled)| {
                newest.change < mark.change || (newest.change == mark.change && !settled)
            })
    }

    /// The number that no change had yet, whatever the damage.
    pub fn unused_change(&self, stored: Option<&Mark>) -> u64 {
        let said = self.newest.map_or(0, |(mark, _)| mark.change);
        // Two above, so that what is set aside is never taken for one change behind.
        said.max(stored.map_or(0, |mark| mark.change)).saturating_add(2)
    }

    /// Judges a database by the mark that is stored in it and by what was found in it.
    pub fn judge(&self, stored: Option<&Mark>, found: &Tally) -> Verdict {
        if let Some(mark) = stored
            && mark.tally != *found
        {
            let (sealed, found) = (mark.tally.letters, found.letters);
            return Verdict::Lost(format!(
                "expected the {sealed} letters of its last change, found {found} that are not those"
            ));
        }
        let change = stored.map_or(0, |mark| mark.change);
        let Some((mark, settled)) = self.newest else {
            return match stored {
                None if self.bad < 2 && *found == Tally::default() => Verdict::Whole(Mark::default()),
                None if self.bad < 2 => Verdict::Unsealed,
                // Killed while the very first change was settled.
                Some(mark) if self.bad == 1 && change == 1 => Verdict::Whole(*mark),
                _ => Verdict::Lost(format!("expected a seal of its change {change}, found none")),
            };
        };
        let behind = !settled && mark.change.checked_sub(1) == Some(change);
        match stored {
            Some(stored) if *stored == mark => Verdict::Whole(mark),
            Some(stored) if behind => Verdict::Whole(*stored),
            // Killed before the first change, or before the letters of an older host were taken over.
            None if behind && *found == Tally::default() => Verdict::Whole(Mark::default()),
            None if behind && *found == mark.tally => Verdict::Unsealed,
            // A slot is torn, and it can only be that of this change.
            Some(stored) if self.bad == 1 && mark.change.checked_add(1) == Some(change) => {
                Verdict::Whole(*stored)
            }
            _ => Verdict::Lost(format!(
                "expected change {} with {} letters, found change {change} with {}",
                mark.change, mark.tally.letters, found.letters
            )),
        }
    }
}

/// The file, open for writing.
pub(super) struct Seal {
    path: PathBuf,
    file: Option<Box<dyn DiskFile>>,
}

impl Seal {
    /// Reads the file in `dir`, if there is one.
    pub fn read(dir: &Path, disk: &dyn Disk) -> Result<Said, StoreError> {
        let page = usize::try_from(SLOT_BYTES).unwrap_or(usize::MAX);
        let bytes = match disk.read(&dir.join(SEAL), 2 * SLOT_BYTES) {
            Ok(bytes) => bytes,
            Err(error) if error.kind == ErrorKind::NotFound => Vec::new(),
            // Whatever it is, it is no seal of ours.
            Err(error) if error.kind == ErrorKind::FileTooLarge => [u8::MAX; 2].repeat(page),
            Err(error) => return Err(error.into()),
        };
        let (first, second) = bytes.split_at(page.min(bytes.len()));
        let slots = [Slot::read(first), Slot::read(second)];
        let good = |slot: &Slot| match slot {
            Slot::Good(mark, settled) => Some((*mark, *settled)),
            Slot::Empty | Slot::Bad => None,
        };
        Ok(Said {
            newest: slots.iter().filter_map(good).max_by_key(|(mark, _)| mark.change),
            bad: slots.iter().filter(|slot| **slot == Slot::Bad).count(),
        })
    }

    /// A seal in `dir` that nothing is written to before the first change.
    pub fn at(dir: &Path) -> Self {
        Self { path: dir.join(SEAL), file: None }
    }

    /// Says, durably, that this change is about to be made.
    pub fn announce(&mut self, mark: &Mark, disk: &dyn Disk) -> Result<(), StoreError> {
        let is_first = self.file.is_none();
        if is_first {
            self.open(disk)?;
        }
        self.write(mark, false)?;
        if let Some(file) = &mut self.file {
            file.sync_data()?;
        }
        // Whoever made it may not have lived to make its name durable.
        if is_first && let Some(dir) = self.path.parent() {
            disk.sync_dir(dir)?;
        }
        Ok(())
    }

    /// Says that the database has this change durably.
    pub fn settle(&mut self, mark: &Mark, disk: &dyn Disk) -> Result<(), StoreError> {
        if self.file.is_none() {
            self.open(disk)?;
        }
        self.write(mark, true)
    }

    fn open(&mut self, disk: &dyn Disk) -> Result<(), StoreError> {
        self.file = Some(match disk.open(&self.path) {
            Err(error) if error.kind == ErrorKind::NotFound => disk.create_new(&self.path)?,
            opened => opened?,
        });
        Ok(())
    }

    fn write(&mut self, mark: &Mark, settled: bool) -> Result<(), StoreError> {
        let Some(file) = &mut self.file else { return Ok(()) };
        Ok(file.write_at(mark.change % 2 * SLOT_BYTES, &mark.encode(settled))?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resilience::{Fault, FaultDisk, FaultKind, MemoryDisk, RealDisk};
    use proptest::prelude::*;
    use std::sync::Arc;

    fn mark(change: u64) -> Mark {
        let mut tally = Tally::default();
        for letter in 0..change {
            tally.add(&letter.to_le_bytes(), b"value");
        }
        Mark { change, tally, incomplete: false }
    }

    #[test]
    fn every_flipped_bit_of_a_mark_is_found() {
        let bytes = mark(3).encode(true);
        assert_eq!(Mark::decode(&bytes), Some((mark(3), true)));
        for at in 0..bytes.len() * 8 {
            let mut bad = bytes;
            bad[at / 8] ^= 1 << (at % 8);
            assert_eq!(Mark::decode(&bad), None, "bit {at}");
        }
    }

    #[test]
    fn what_was_announced_outlives_a_loss_of_power_even_if_an_earlier_try_had_failed() {
        for operation in 0..6 {
            let (dir, disk) = (Path::new("/letters"), MemoryDisk::default());
            disk.create_dir(dir).unwrap();
            let fault = Fault { operation, kind: FaultKind::Io, lasting: true };
            let failing = FaultDisk::new(Arc::new(disk.clone()), Some(fault));
            let _ = Seal::at(dir).announce(&mark(1), &failing);
            Seal::at(dir).announce(&mark(2), &disk).unwrap();
            disk.lose_all();
            let said = Seal::read(dir, &disk).unwrap();
            assert_eq!(said.newest, Some((mark(2), false)), "operation {operation}");
        }
    }

    proptest! {
        /// The last change may have been killed before it was settled, and one slot may be torn.
        #[test]
        fn only_the_last_change_may_be_missing_and_only_while_it_is_not_settled(
            changes in 1_u64..6,
            settled in any::<bool>(),
            database in 0_u64..7,
            torn in any::<bool>(),
        ) {
            let dir = tempfile::tempdir().unwrap();
            let mut seal = Seal::at(dir.path());
            for change in 1..=changes {
                seal.announce(&mark(change), &RealDisk).unwrap();
                if change < changes || settled {
                    seal.settle(&mark(change), &RealDisk).unwrap();
                }
            }
            if torn {
                let path = dir.path().join(SEAL);
                let mut bytes = std::fs::read(&path).unwrap();
                bytes[usize::try_from(changes % 2 * SLOT_BYTES).unwrap() + 9] ^= 0xff;
                std::fs::write(path, bytes).unwrap();
            }
            let said = Seal::read(dir.path(), &RealDisk).unwrap();
            let stored = (database > 0).then(|| mark(database));
            let verdict = said.judge(stored.as_ref(), &mark(database).tally);
            let whole = if torn {
                // The slot of the last change says nothing; the one before it was settled.
                database == changes || database + 1 == changes
            } else {
                database == changes || (!settled && database + 1 == changes)
            };
            prop_assert_eq!(matches!(verdict, Verdict::Whole(_)), whole, "{:?}", verdict);
        }

        #[test]
        fn a_database_with_other_letters_than_its_mark_says_has_lost_some(
            change in 1_u64..6,
            found in 0_u64..6,
        ) {
            let dir = tempfile::tempdir().unwrap();
            Seal::at(dir.path()).announce(&mark(change), &RealDisk).unwrap();
            let said = Seal::read(dir.path(), &RealDisk).unwrap();
            let verdict = said.judge(Some(&mark(change)), &mark(found).tally);
            prop_assert_eq!(matches!(verdict, Verdict::Whole(_)), change == found, "{:?}", verdict);
        }
    }
}
