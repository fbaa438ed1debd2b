//! One bit that flips in any file of a data folder.

use super::super::setup::{facts, text};
use super::rig::{KEPT_SEGMENTS, Rig, copy};
use ringfence::random::SplitMix64;
use ringfence::venue::chaos::{ChaosConfig, Plan as Chaos};
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Where the mark of a segment stands: how far its records are known to be durable. The records say it too.
const MARK: std::ops::Range<usize> = 56..68;

/// Bits flipped in each file, spread over all of it.
const FLIPS: usize = 32;

/// A data folder with segments and checkpoints, with letters when the venue was silent, and a copy of it.
struct Folder {
    rig: Rig,
    pristine: PathBuf,
}

impl Folder {
    fn new(silent: bool) -> Self {
        let rig = Rig::new(200, ChaosConfig::default(), KEPT_SEGMENTS);
        if silent {
            rig.silence();
        }
        for _ in 0..2 {
            rig.run_without_flattening().unwrap();
        }
        rig.set_plan(Chaos::Pass);
        let pristine = rig.path("pristine");
        copy(&rig.path("state"), &pristine);
        Self { rig, pristine }
    }

    fn files(&self, folder: &str) -> Vec<PathBuf> {
        let mut files: Vec<PathBuf> = std::fs::read_dir(self.pristine.join(folder))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.is_file() && path.metadata().unwrap().len() > 0)
            .map(|path| path.strip_prefix(&self.pristine).unwrap().to_owned())
            .collect();
        files.sort();
        files
    }

    fn restore(&self) {
        std::fs::remove_dir_all(self.rig.path("state")).unwrap();
        copy(&self.pristine, &self.rig.path("state"));
    }

    /// The file with one bit flipped, as it now is on the disk.
    fn flip(&self, file: &Path, offset: usize, random: &mut SplitMix64) -> Vec<u8> {
        let mut bytes = std::fs::read(self.pristine.join(file)).unwrap();
        bytes[offset] ^= 1 << random.below(8);
        std::fs::write(self.rig.path("state").join(file), &bytes).unwrap();
        bytes
    }

    fn dump(&self) -> Vec<u8> {
        let output = self.rig.state(&["journal", "dump"]);
        assert!(output.status.success(), "{}", text(&output.stderr));
        output.stdout
    }

    fn letters(&self) -> Value {
        facts(&self.rig.state(&["dlq", "list", "--all"]))["letters"].clone()
    }

    /// Whether anything below the folder was set aside, and the damaged bytes are among it.
    fn evidence(&self, folder: &str, damaged: &[u8]) -> bool {
        let corrupt = |path: &Path| path.to_string_lossy().contains(".corrupt");
        files_below(&self.rig.path("state").join(folder))
            .iter()
            .any(|path| corrupt(path) && std::fs::read(path).unwrap() == damaged)
    }
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let paths = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    paths.flat_map(|path| if path.is_dir() { files_below(&path) } else { vec![path] }).collect()
}

/// Offsets all over the bytes that are used, the first and the last of them included.
fn offsets(bytes: &[u8]) -> Vec<usize> {
    let used: Vec<usize> = (0..bytes.len()).filter(|offset| bytes[*offset] != 0).collect();
    let last = used.len() - 1;
    let mut offsets: Vec<usize> = (0..FLIPS).map(|step| used[last * step / (FLIPS - 1)]).collect();
    offsets.dedup();
    offsets
}

fn used_bytes(bytes: &[u8]) -> usize {
    bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1)
}

#[test]
fn a_flipped_bit_in_the_journal_is_found_refused_and_left_as_it_is() {
    let folder = Folder::new(false);
    let before = folder.dump();
    let segments: Vec<PathBuf> = folder
        .files("journal")
        .into_iter()
        .filter(|file| file.extension().is_some_and(|e| e == "wal"))
        .collect();
    assert!(segments.len() > 2, "{segments:?}");
    let mut random = SplitMix64(1);
    for (number, file) in segments.iter().enumerate() {
        let pristine = std::fs::read(folder.pristine.join(file)).unwrap();
        let last = number + 1 == segments.len();
        // Bytes that were written, and zeros behind them.
        let mut chosen = offsets(&pristine);
        let used = used_bytes(&pristine);
        // A record may end in zeros itself.
        chosen.extend([(used + 64).min(pristine.len() - 1), pristine.len() - 1]);
        for (turn, offset) in chosen.into_iter().enumerate() {
            let damaged = folder.flip(file, offset, &mut random);
            let place = format!("{} at {offset} of {used}", file.display());
            let verified = folder.rig.state(&["journal", "verify"]);
            if MARK.contains(&offset) || (last && offset >= used) {
                // Said twice, or promised to nobody: nothing is lost, and nothing else is read.
                assert!(verified.status.success(), "{place}: {}", text(&verified.stderr));
                assert!(folder.dump() == before, "{place}: another story was read");
            } else {
                assert_eq!(verified.status.code(), Some(3), "{place}: {}", text(&verified.stdout));
                assert!(text(&verified.stderr).contains("journal is corrupt"), "{}", text(&verified.stderr));
                // Every eighth with a start as well, which takes longer.
                if turn % 8 == 0 {
                    let status = folder.rig.host(None).end();
                    assert_eq!(status.code(), Some(3), "{place}: {}", folder.rig.stderr());
                    assert!(folder.rig.stderr().contains("left as it is"), "{}", folder.rig.stderr());
                }
                let now = std::fs::read(folder.rig.path("state").join(file)).unwrap();
                assert!(now == damaged, "{place}: the evidence was changed");
            }
            std::fs::copy(folder.pristine.join(file), folder.rig.path("state").join(file)).unwrap();
        }
    }
}

#[test]
fn a_flipped_bit_in_a_checkpoint_is_found_and_the_file_is_set_aside_and_kept() {
    let folder = Folder::new(false);
    let mut random = SplitMix64(2);
    let files = folder.files("checkpoints/agent");
    assert!(files.len() > 3, "{files:?}");
    for file in files {
        let pristine = std::fs::read(folder.pristine.join(&file)).unwrap();
        for (turn, offset) in offsets(&pristine).into_iter().enumerate() {
            let damaged = folder.flip(&file, offset, &mut random);
            let verified = folder.rig.state(&["checkpoint", "verify"]);
            assert_eq!(verified.status.code(), Some(3), "{} at {offset}", file.display());
            assert_eq!(facts(&verified)["damaged"], 1);
            if turn % 16 == 0 {
                folder.rig.run_without_flattening().unwrap();
                assert!(folder.rig.stderr().contains("checkpoint_corrupt"), "{}", folder.rig.stderr());
                assert!(folder.evidence("checkpoints", &damaged), "{} at {offset}", file.display());
                folder.restore();
            } else {
                std::fs::copy(folder.pristine.join(&file), folder.rig.path("state").join(&file)).unwrap();
            }
        }
    }
}

/// sled cuts its log at the first record that it cannot read, and says nothing; the seal beside it does. A flip
/// in bytes that sled does not need any more changes nothing, and is the only one that nobody hears of.
#[test]
fn a_flipped_bit_under_the_dead_letters_is_said_and_every_letter_is_back_after_the_next_start() {
    let folder = Folder::new(true);
    let before = folder.letters();
    let count = before.as_array().unwrap().len();
    assert!(count > 0);
    folder.restore();
    let mut random = SplitMix64(3);
    let files = folder.files("dead-letters/db");
    let mut said = 0;
    for (number, file) in files.iter().enumerate() {
        let pristine = std::fs::read(folder.pristine.join(file)).unwrap();
        for offset in offsets(&pristine).into_iter().step_by(4) {
            folder.flip(file, offset, &mut random);
            let place = format!("{} ({number}) at {offset}", file.display());
            let output = folder.rig.state(&["dlq", "list", "--all"]);
            let is_damaged = !output.status.success();
            if is_damaged {
                assert_eq!(output.status.code(), Some(3), "{place}: {}", text(&output.stderr));
                assert_eq!(facts(&output)["error"]["code"], "dead_letters_damaged", "{place}");
            } else {
                assert_eq!(told(&facts(&output)["letters"]), told(&before), "{place}: and nobody said so");
            }
            // The venue still does not say what became of them, or they would be closed.
            folder.rig.silence();
            folder.rig.run_without_flattening().unwrap_or_else(|failure| panic!("{place}: {failure}"));
            let stderr = folder.rig.stderr();
            assert!(
                stderr.contains(&format!("{count} dead letters may have been executed")),
                "{place}: {stderr}"
            );
            assert_eq!(stderr.contains("dead_letters_rebuilt"), is_damaged, "{place}: {stderr}");
            // Not byte by byte: sled writes to its file before it refuses it.
            let aside = folder.rig.path("state/dead-letters/db.corrupt-1");
            assert_eq!(aside.join(file.file_name().unwrap()).exists(), is_damaged, "{place}");
            assert_eq!(told(&folder.letters()), told(&before), "{place}: gone after the host has stopped");
            said += usize::from(is_damaged);
            folder.restore();
        }
    }
    assert!(said > 0);
}

/// What the letters are about, with their errors.
fn told(letters: &Value) -> BTreeSet<(String, String)> {
    let all = letters.as_array().into_iter().flatten();
    all.map(|letter| (letter["id"].to_string(), letter["errors"].to_string())).collect()
}
