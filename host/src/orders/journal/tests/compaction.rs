use super::*;

#[test]
fn compaction_removes_whole_segments_below_a_record_and_keeps_the_newest() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, ..) = open(dir.path(), small()).unwrap();
    for n in 1..=20 {
        append(&journal, &payload(n)).unwrap();
    }
    let removed = journal.compact(10).unwrap();
    assert!(removed > 0);
    assert_eq!(journal.compact(10), Ok(0));
    append(&journal, &payload(21)).unwrap();
    drop(journal);
    let (journal, summary, records) = open(dir.path(), small()).unwrap();
    assert!(summary.first_seq <= 10, "{summary:?}");
    assert_eq!(records, expected(21).split_off(usize::try_from(summary.first_seq).unwrap() - 1));
    journal.compact(u64::MAX).unwrap();
    append(&journal, &payload(22)).unwrap();
    drop(journal);
    assert_eq!(verify(dir.path(), &RealDisk).unwrap().next_seq, 23);
}

fn segments(dir: &Path) -> Vec<String> {
    RealDisk.list(dir).unwrap().into_iter().filter(|name| name.ends_with(".wal")).collect()
}

#[test]
fn the_last_segments_stay_and_compaction_can_be_turned_off() {
    let dir = tempfile::tempdir().unwrap();
    let config = JournalConfig { segments_kept_min: 3.try_into().unwrap(), ..small() };
    closed(dir.path(), config.clone(), 20);
    let all = segments(dir.path());
    let (journal, ..) = open(dir.path(), JournalConfig { compact: false, ..config.clone() }).unwrap();
    assert_eq!((journal.compactable(u64::MAX), journal.compact(u64::MAX)), (0, Ok(0)));
    drop(journal);
    let (journal, ..) = open(dir.path(), config).unwrap();
    assert_eq!(journal.compactable(u64::MAX), all.len() - 3);
    assert_eq!(journal.compact(u64::MAX), Ok(all.len() - 3));
    assert_eq!(segments(dir.path()), all[all.len() - 3..]);
}

#[test]
fn each_segment_is_gone_for_good_before_the_next_one_goes() {
    let dir = tempfile::tempdir().unwrap();
    closed(dir.path(), small(), 20);
    let disk = FaultDisk::new(Arc::new(RealDisk), None);
    let (journal, ..) = open_on(dir.path(), small(), Arc::new(disk.clone())).unwrap();
    let before = disk.log().len();
    let removed = journal.compact(12).unwrap();
    let log = disk.log();
    let steps: Vec<DiskOperation> = log[before..].iter().map(|(step, _)| *step).collect();
    assert!(removed > 1, "{removed}");
    assert_eq!(steps, [DiskOperation::Remove, DiskOperation::SyncDir].repeat(removed));
    let names: Vec<&PathBuf> = log[before..].iter().step_by(2).map(|(_, path)| path).collect();
    assert!(names.is_sorted(), "{names:?}");
}

#[test]
fn whichever_operation_of_a_compaction_fails_the_journal_stays_whole_and_goes_on() {
    for kind in [FaultKind::Io, FaultKind::Full] {
        for step in 0.. {
            let dir = tempfile::tempdir().unwrap();
            closed(dir.path(), small(), 20);
            let disk = FaultDisk::new(Arc::new(RealDisk), None);
            let (journal, ..) = open_on(dir.path(), small(), Arc::new(disk.clone())).unwrap();
            let operation = disk.operations() + step;
            disk.set_fault(Some(Fault { operation, kind, lasting: false }));
            let first = journal.compact(12);
            let clean = disk.operations() <= operation;
            assert_eq!(first.is_ok(), clean);
            let operations = disk.operations();
            if !clean {
                assert_eq!(journal.compact(12), first, "it is not tried again");
                assert_eq!(disk.operations(), operations);
            }
            disk.set_fault(None);
            assert_eq!(append(&journal, &payload(21)), Ok(21));
            drop(journal);
            let (_, summary, records) = open(dir.path(), small()).unwrap();
            assert!(summary.first_seq <= 12, "{summary:?}");
            assert_eq!(records, expected(21).split_off(usize::try_from(summary.first_seq).unwrap() - 1));
            if clean {
                break;
            }
        }
    }
}

#[test]
fn a_crash_between_any_two_steps_of_a_compaction_leaves_a_whole_journal() {
    let dir = tempfile::tempdir().unwrap();
    closed(dir.path(), small(), 20);
    let names = segments(dir.path());
    // Each step removes the oldest segment that is left, and is durable before the next.
    for gone in &names[..names.len() - 1] {
        fs::remove_file(dir.path().join(gone)).unwrap();
        let summary = verify(dir.path(), &RealDisk).unwrap();
        assert_eq!(summary.next_seq, 21);
    }
}
