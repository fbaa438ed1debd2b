use super::format::{MAGIC, VERSION};
use super::*;
use crate::resilience::{DiskOperation, Fault, FaultDisk, FaultKind, RealDisk};
use proptest::prelude::*;
use sha2::{Digest as _, Sha256};
use std::fs;

fn point(tick: u64) -> CheckpointPoint {
    CheckpointPoint { tick, journal_seq: 10 * tick, incarnation: 1, plugin: [7; 32] }
}

fn open_on(dir: &Path, disk: Arc<dyn Disk>) -> Result<(CheckpointStore, Loaded), CheckpointError> {
    CheckpointStore::open(dir, "ema", CheckpointConfig::default(), disk)
}

fn open(dir: &Path) -> (CheckpointStore, Loaded) {
    open_on(dir, Arc::new(RealDisk)).unwrap()
}

/// A directory with generations 1 to `count`, whose payloads are their numbers.
fn written(count: u64) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, loaded) = open(dir.path());
    assert_eq!(loaded, Loaded::FirstRun);
    for n in 1..=count {
        assert_eq!(store.write(point(n), n.to_string().as_bytes()), Ok(n));
    }
    dir
}

fn file(dir: &Path, generation: u64) -> PathBuf {
    dir.join(format!("ckpt-{generation:020}.ck"))
}

fn names(dir: &Path) -> Vec<String> {
    RealDisk.list(dir).unwrap()
}

/// The generation that was loaded, checked against what was written, and the number set aside.
fn loaded_generation(loaded: &Loaded) -> Option<(u64, usize)> {
    match loaded {
        Loaded::Checkpoint { checkpoint, set_aside } => {
            let generation = checkpoint.header.generation;
            assert_eq!(checkpoint.payload, generation.to_string().as_bytes());
            assert_eq!(checkpoint.header.point, point(generation));
            Some((generation, set_aside.len()))
        }
        Loaded::FirstRun | Loaded::AllBad { .. } => None,
    }
}

#[test]
fn the_newest_generation_is_loaded_and_five_are_kept() {
    let dir = written(8);
    let (store, loaded) = open(dir.path());
    assert_eq!(loaded_generation(&loaded), Some((8, 0)));
    assert_eq!(names(dir.path()).len(), 5);
    assert!(file(dir.path(), 4).exists() && !file(dir.path(), 3).exists());
    assert_eq!(store.oldest_journal_seq(), Some(40));
}

#[test]
fn a_bad_generation_is_set_aside_and_the_one_before_it_loaded() {
    let dir = written(3);
    let bad = b"RINGFCKP but nothing else";
    fs::write(file(dir.path(), 3), bad).unwrap();
    let (mut store, loaded) = open(dir.path());
    assert_eq!(loaded_generation(&loaded), Some((2, 1)));
    assert_eq!(fs::read(dir.path().join(format!("ckpt-{:020}.ck.corrupt", 3))).unwrap(), bad);
    // The number of the bad one is never used again.
    assert_eq!(store.write(point(4), b"4"), Ok(4));
}

#[test]
fn files_set_aside_do_not_overwrite_each_other() {
    let dir = written(1);
    for content in ["first", "second", "third"] {
        fs::write(file(dir.path(), 1), content).unwrap();
        let (_, loaded) = open(dir.path());
        assert!(matches!(loaded, Loaded::AllBad { .. }));
    }
    let mut kept: Vec<String> =
        names(dir.path()).iter().map(|name| fs::read_to_string(dir.path().join(name)).unwrap()).collect();
    kept.sort();
    assert_eq!(kept, ["first", "second", "third"]);
}

#[test]
fn all_bad_is_not_a_first_run_not_even_the_next_time() {
    let dir = written(2);
    for generation in [1, 2] {
        fs::write(file(dir.path(), generation), b"").unwrap();
    }
    let Loaded::AllBad { set_aside } = open(dir.path()).1 else { panic!("zero-length files were loaded") };
    assert_eq!(set_aside.len(), 2);
    assert!(set_aside.iter().all(|bad| bad.path.exists()));
    assert_eq!(open(dir.path()).1, Loaded::AllBad { set_aside: vec![] });
}

#[test]
fn a_checkpoint_of_another_agent_or_under_another_number_is_not_loaded() {
    let dir = written(2);
    fs::copy(file(dir.path(), 2), file(dir.path(), 9)).unwrap();
    let (_, loaded) = open(dir.path());
    assert_eq!(loaded_generation(&loaded), Some((2, 1)));

    let other = CheckpointStore::open(dir.path(), "rsi", CheckpointConfig::default(), Arc::new(RealDisk));
    let Loaded::AllBad { set_aside } = other.unwrap().1 else { panic!("loaded another agent's state") };
    assert!(set_aside.iter().all(|bad| matches!(bad.fault, CheckpointFault::Agent { .. })));
}

#[test]
fn a_newer_version_is_named_as_such() {
    let dir = written(1);
    let mut bytes = fs::read(file(dir.path(), 1)).unwrap();
    bytes[8] = 2;
    fs::write(file(dir.path(), 1), bytes).unwrap();
    let error = inspect(&file(dir.path(), 1), &RealDisk).unwrap_err();
    assert!(matches!(error, CheckpointError::Fault { fault: CheckpointFault::Version(2), .. }), "{error}");
}

#[test]
fn every_flipped_bit_and_every_shorter_file_is_detected() {
    let dir = written(1);
    let whole = fs::read(file(dir.path(), 1)).unwrap();
    assert!(decode(&whole).is_ok());
    for byte in 0..whole.len() {
        for bit in 0..8 {
            let mut bad = whole.clone();
            bad[byte] ^= 1 << bit;
            assert!(decode(&bad).is_err(), "byte {byte}, bit {bit}");
        }
        assert!(decode(&whole[..byte]).is_err(), "cut at {byte}");
    }
    let longer = [whole.as_slice(), &[0]].concat();
    assert!(decode(&longer).is_err());
}

#[test]
fn leftovers_of_a_crash_during_a_write_are_removed_and_leave_a_first_run() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join(format!("ckpt-{:020}.ck.tmp", 1)), b"torn").unwrap();
    let (mut store, loaded) = open(dir.path());
    assert_eq!(loaded, Loaded::FirstRun);
    assert_eq!(names(dir.path()), Vec::<String>::new());
    assert_eq!(store.write(point(1), b"1"), Ok(1));
}

#[test]
fn a_generation_is_synced_read_back_named_and_the_name_synced_before_an_old_one_goes() {
    use DiskOperation::{CreateNew, Read, Remove, Rename, SyncData, SyncDir, Write};
    let dir = written(5);
    let disk = FaultDisk::new(Arc::new(RealDisk), None);
    let (mut store, _) = open_on(dir.path(), Arc::new(disk.clone())).unwrap();
    let before = disk.log().len();
    store.write(point(6), b"6").unwrap();
    let steps: Vec<DiskOperation> = disk.log().into_iter().skip(before).map(|(step, _)| step).collect();
    assert_eq!(steps, [CreateNew, Write, SyncData, Read, Rename, SyncDir, Remove]);
}

#[test]
fn whichever_operation_fails_the_last_acknowledged_generation_or_a_newer_one_is_loaded() {
    for kind in [FaultKind::Io, FaultKind::Full, FaultKind::ShortWrite] {
        for lasting in [false, true] {
            for operation in 0.. {
                let dir = written(6);
                let disk = FaultDisk::new(Arc::new(RealDisk), Some(Fault { operation, kind, lasting }));
                let mut acknowledged = 6;
                if let Ok((mut store, _)) = open_on(dir.path(), Arc::new(disk.clone())) {
                    for tick in 7..=9 {
                        // A payload is the number that the generation is about to get.
                        let next = store.next_generation;
                        assert_eq!(next, tick);
                        if let Ok(written) = store.write(point(next), next.to_string().as_bytes()) {
                            acknowledged = written;
                        }
                    }
                }
                let clean = disk.operations() <= operation;
                let case = format!("{kind:?}, operation {operation}, lasting {lasting}");
                let (generation, bad) = loaded_generation(&open(dir.path()).1).expect(&case);
                assert!(generation >= acknowledged && bad == 0, "{case}: {generation}");
                if clean {
                    assert_eq!(acknowledged, 9);
                    break;
                }
            }
        }
    }
}

#[test]
fn a_file_that_cannot_be_read_is_neither_skipped_nor_set_aside() {
    let dir = written(2);
    let before = names(dir.path());
    for operation in 0.. {
        let fault = Fault { operation, kind: FaultKind::Io, lasting: false };
        let disk = FaultDisk::new(Arc::new(RealDisk), Some(fault));
        let opened = open_on(dir.path(), Arc::new(disk.clone()));
        assert_eq!(names(dir.path()), before);
        if disk.operations() <= operation {
            break;
        }
        assert!(matches!(opened, Err(CheckpointError::Disk(_))));
    }
}

#[test]
fn verifying_names_what_is_wrong_and_changes_nothing() {
    let dir = written(3);
    fs::write(file(dir.path(), 2), b"no checkpoint at all").unwrap();
    let verified = verify(dir.path(), &RealDisk).unwrap();
    let good: Vec<bool> = verified.iter().map(|file| file.result.is_ok()).collect();
    assert_eq!(good, [true, false, true]);
    let text = verified[1].result.as_ref().unwrap_err().to_string();
    assert!(text.contains("00002.ck") && text.contains("without its magic number"), "{text}");
    assert_eq!(names(dir.path()).len(), 3);
}

#[test]
fn a_payload_above_the_limit_is_refused_before_anything_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let config = CheckpointConfig { payload_bytes_max: 4, ..CheckpointConfig::default() };
    let (mut store, _) = CheckpointStore::open(dir.path(), "ema", config, Arc::new(RealDisk)).unwrap();
    let error = store.write(point(1), b"12345").unwrap_err();
    assert_eq!(error, CheckpointError::PayloadTooLarge { bytes: 5, bytes_max: 4 });
    assert_eq!(names(dir.path()), Vec::<String>::new());
}

proptest! {
    #[test]
    fn arbitrary_bytes_are_never_a_checkpoint_and_never_a_panic(
        bytes in proptest::collection::vec(any::<u8>(), 0..400),
        magic in any::<bool>(),
    ) {
        let bytes = if magic { [MAGIC.as_slice(), &VERSION.to_le_bytes(), &bytes].concat() } else { bytes };
        prop_assert!(decode(&bytes).is_err());
    }

    #[test]
    fn whatever_is_written_is_read(
        payload in proptest::collection::vec(any::<u8>(), 0..200),
        agent in "[a-z]{1,64}",
        generation: u64, tick: u64, journal_seq: u64, incarnation: u32,
    ) {
        let point = CheckpointPoint { tick, journal_seq, incarnation, plugin: [9; 32] };
        let header = CheckpointHeader { generation, agent, point };
        let decoded = decode(&encode(&header, &payload)).unwrap();
        prop_assert_eq!(decoded, Checkpoint { header, payload });
    }

    /// A sum can be right although the lengths inside are not, if somebody computes it anew.
    #[test]
    fn lengths_that_do_not_fit_are_detected_under_a_right_sum(
        body in proptest::collection::vec(any::<u8>(), 0..200),
    ) {
        let mut bytes = [MAGIC.as_slice(), &VERSION.to_le_bytes(), &body].concat();
        let sum = Sha256::digest(&bytes);
        bytes.extend_from_slice(&sum);
        if let Ok(checkpoint) = decode(&bytes) {
            prop_assert_eq!(encode(&checkpoint.header, &checkpoint.payload), bytes);
        }
    }
}
