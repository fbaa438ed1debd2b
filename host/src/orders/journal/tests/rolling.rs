use super::*;

#[test]
fn a_segment_is_synced_before_it_gets_its_name_and_the_name_before_it_is_used() {
    let dir = tempfile::tempdir().unwrap();
    let disk = FaultDisk::new(Arc::new(RealDisk), None);
    let (journal, ..) = open_on(dir.path(), small(), Arc::new(disk.clone())).unwrap();
    append(&journal, b"x").unwrap();
    use DiskOperation::{CreateNew, Open, Rename, SyncData, SyncDir, Write};
    // The file for the next segment is begun meanwhile.
    let own = disk.log().into_iter().filter(|(_, path)| !path.to_str().unwrap().contains("after-"));
    let steps: Vec<DiskOperation> = own.map(|(operation, _)| operation).collect();
    let created = steps.iter().position(|step| *step == CreateNew).unwrap();
    let expected = [CreateNew, Write, SyncData, Write, SyncData, Rename, SyncDir, Open, Write, SyncData];
    assert_eq!(steps[created..], expected);
}

/// The steps on files that are made ahead, and those on the segments that they become.
fn steps_after_opening(disk: &FaultDisk, records: u64) -> Vec<(DiskOperation, String)> {
    let dir = tempfile::tempdir().unwrap();
    let (journal, ..) = open_on(dir.path(), small(), Arc::new(disk.clone())).unwrap();
    let before = disk.log().len();
    for n in 1..=records {
        append(&journal, &payload(n)).unwrap();
    }
    drop(journal);
    let name = |path: PathBuf| path.file_name().unwrap().to_str().unwrap().to_owned();
    disk.log().into_iter().skip(before).map(|(step, path)| (step, name(path))).collect()
}

#[test]
fn a_roll_takes_the_file_that_was_made_ahead_and_writes_no_zeros_itself() {
    let disk = FaultDisk::new(Arc::new(RealDisk), None);
    let steps = steps_after_opening(&disk, 8);
    let created: Vec<&String> =
        steps.iter().filter(|(step, _)| *step == DiskOperation::CreateNew).map(|(_, name)| name).collect();
    assert!(created.len() > 1 && created.iter().all(|name| name.starts_with("after-")), "{created:?}");
    let renamed = steps.iter().find(|(step, _)| *step == DiskOperation::Rename).unwrap();
    assert_eq!(renamed.1, format!("after-{:020}.wal.tmp", 1));
    let synced =
        |(step, name): &(DiskOperation, String)| *step == DiskOperation::SyncData && *name == renamed.1;
    // The zeros before the header, and the header before the name.
    assert_eq!(steps.iter().take_while(|step| *step != renamed).filter(|step| synced(step)).count(), 2);
}

#[test]
fn a_file_made_ahead_and_not_needed_is_gone_after_closing_and_after_a_crash() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, ..) = open(dir.path(), small()).unwrap();
    append(&journal, b"x").unwrap();
    journal.close().unwrap();
    drop(journal);
    let left =
        || RealDisk.list(dir.path()).unwrap().into_iter().filter(|name| name.ends_with(".tmp")).count();
    assert_eq!(left(), 0);
    // Whatever a crash leaves of it, and whatever the disk does to it, holds nothing that was promised.
    let leftover = dir.path().join(format!("after-{:020}.wal.tmp", 1));
    fs::write(&leftover, [0xff; 300]).unwrap();
    let (journal, _, records) = open(dir.path(), small()).unwrap();
    assert_eq!((left(), records), (0, vec![(1, b"x".to_vec())]));
    drop(journal);
}

/// A disk on which files that are made ahead cannot be created.
struct NothingAhead;

impl Disk for NothingAhead {
    fn create_dir(&self, path: &Path) -> Result<(), DiskError> {
        RealDisk.create_dir(path)
    }
    fn create_new(&self, path: &Path) -> Result<Box<dyn DiskFile>, DiskError> {
        let name = path.file_name().unwrap().to_str().unwrap();
        if name.starts_with("after-") {
            let full = std::io::Error::from(std::io::ErrorKind::StorageFull);
            return Err(DiskError::new(DiskOperation::CreateNew, path, &full));
        }
        RealDisk.create_new(path)
    }
    fn open(&self, path: &Path) -> Result<Box<dyn DiskFile>, DiskError> {
        RealDisk.open(path)
    }
    fn read(&self, path: &Path, bytes_max: u64) -> Result<Vec<u8>, DiskError> {
        RealDisk.read(path, bytes_max)
    }
    fn list(&self, dir: &Path) -> Result<Vec<String>, DiskError> {
        RealDisk.list(dir)
    }
    fn rename(&self, from: &Path, to: &Path) -> Result<(), DiskError> {
        RealDisk.rename(from, to)
    }
    fn remove(&self, path: &Path) -> Result<(), DiskError> {
        RealDisk.remove(path)
    }
    fn sync_dir(&self, dir: &Path) -> Result<(), DiskError> {
        RealDisk.sync_dir(dir)
    }
}

#[test]
fn a_disk_that_refuses_the_file_ahead_costs_time_and_no_record() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, ..) = open_on(dir.path(), small(), Arc::new(NothingAhead)).unwrap();
    for n in 1..=20 {
        assert_eq!(append(&journal, &payload(n)), Ok(n));
    }
    drop(journal);
    assert_eq!(open(dir.path(), small()).unwrap().2, expected(20));
}

#[test]
fn a_bit_that_flips_in_a_file_made_ahead_is_never_taken_for_a_record() {
    let dir = tempfile::tempdir().unwrap();
    killed(dir.path(), roomy(), 3);
    let path = first_segment(dir.path());
    let whole = fs::read(&path).unwrap();
    for at in [record_offset(4), record_offset(4) + 700, whole.len() - 1] {
        let mut bad = whole.clone();
        bad[at] ^= 1;
        fs::write(&path, &bad).unwrap();
        let (journal, summary, records) = open(dir.path(), roomy()).unwrap();
        assert_eq!(records, expected(3), "byte {at}");
        let aside = fs::read(summary.torn.unwrap().set_aside.unwrap()).unwrap();
        assert_eq!(aside.last(), Some(&bad[at]), "what was found is kept");
        drop(journal);
    }
}
