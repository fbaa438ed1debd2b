use super::segment::{
    End, GENESIS, HEADER_BYTES, Header, MARK_BYTES, MARK_OFFSET, RECORD_OVERHEAD_BYTES, Walk, encode_record,
};
use super::*;
use crate::resilience::{
    Disk, DiskError, DiskFile, DiskOperation, Fault, FaultDisk, FaultKind, Phase, RealDisk,
};
use proptest::prelude::*;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};

type Answer = Receiver<Result<u64, JournalError>>;
type Records = Vec<(u64, Vec<u8>)>;

/// Segments that hold a handful of records, so that a few appends roll over.
fn small() -> JournalConfig {
    JournalConfig {
        segment_bytes_max: u32::try_from(HEADER_BYTES).unwrap() + 256,
        record_bytes_max: 64,
        ..JournalConfig::default()
    }
}

/// One segment with room for everything.
fn roomy() -> JournalConfig {
    JournalConfig { segment_bytes_max: 16_384, record_bytes_max: 1_024, ..JournalConfig::default() }
}

fn open_on(
    dir: &Path,
    config: JournalConfig,
    disk: Arc<dyn Disk>,
) -> Result<(FileJournal, JournalSummary, Records), JournalError> {
    let mut records = Vec::new();
    let (journal, summary) = FileJournal::open(dir, config, disk, &mut |seq, payload| {
        records.push((seq, payload.to_vec()));
        Ok(())
    })?;
    Ok((journal, summary, records))
}

fn open(dir: &Path, config: JournalConfig) -> Result<(FileJournal, JournalSummary, Records), JournalError> {
    open_on(dir, config, Arc::new(RealDisk))
}

fn queue(journal: &FileJournal, payload: &[u8]) -> Result<Answer, JournalError> {
    let (sender, receiver) = channel();
    journal.append(payload.to_vec(), Box::new(move |result| sender.send(result).unwrap_or(())))?;
    Ok(receiver)
}

fn append(journal: &FileJournal, payload: &[u8]) -> Result<u64, JournalError> {
    queue(journal, payload)?.recv().unwrap()
}

fn payload(n: u64) -> Vec<u8> {
    format!("record {n}").into_bytes()
}

fn expected(count: u64) -> Records {
    (1..=count).map(|n| (n, payload(n))).collect()
}

/// A journal of `count` records, each durable before the next was queued, closed in good order.
fn closed(dir: &Path, config: JournalConfig, count: u64) {
    let (journal, ..) = open(dir, config).unwrap();
    for n in 1..=count {
        assert_eq!(append(&journal, &payload(n)), Ok(n));
    }
    journal.close().unwrap();
}

/// The same as a dead process leaves it: everything written, nothing closed.
fn killed(dir: &Path, config: JournalConfig, count: u64) {
    let living = tempfile::tempdir().unwrap();
    let (journal, ..) = open(living.path(), config).unwrap();
    for n in 1..=count {
        assert_eq!(append(&journal, &payload(n)), Ok(n));
    }
    for (name, bytes) in files(living.path()) {
        fs::write(dir.join(name), bytes).unwrap();
    }
}

fn files(dir: &Path) -> Vec<(String, Vec<u8>)> {
    let names = RealDisk.list(dir).unwrap();
    names.into_iter().map(|name| (name.clone(), fs::read(dir.join(name)).unwrap())).collect()
}

fn first_segment(dir: &Path) -> PathBuf {
    dir.join(format!("{:020}.wal", 1))
}

fn record_bytes(n: u64) -> usize {
    RECORD_OVERHEAD_BYTES + payload(n).len()
}

/// Offset of record `n` in a journal whose first segment holds it.
fn record_offset(n: u64) -> usize {
    HEADER_BYTES + (1..n).map(record_bytes).sum::<usize>()
}

#[test]
fn records_come_back_in_order_over_many_segments() {
    let dir = tempfile::tempdir().unwrap();
    closed(dir.path(), small(), 40);
    let (journal, summary, records) = open(dir.path(), small()).unwrap();
    assert_eq!(records, expected(40));
    assert!(summary.segments > 5, "{summary:?}");
    assert_eq!((summary.first_seq, summary.next_seq, summary.torn), (1, 41, None));
    assert_eq!(append(&journal, &payload(41)), Ok(41));
    drop(journal);
    assert_eq!(verify(dir.path(), &RealDisk).unwrap().next_seq, 42);
}

#[test]
fn a_new_journal_is_told_apart_by_having_no_segment() {
    let dir = tempfile::tempdir().unwrap();
    let (_, summary, records) = open(&dir.path().join("deep/journal"), small()).unwrap();
    assert_eq!((summary.segments, summary.next_seq, records), (0, 1, vec![]));
}

#[test]
fn an_empty_payload_is_a_record() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, ..) = open(dir.path(), small()).unwrap();
    assert_eq!(append(&journal, b""), Ok(1));
    drop(journal);
    assert_eq!(open(dir.path(), small()).unwrap().2, vec![(1, vec![])]);
}

#[test]
fn a_last_record_torn_at_any_byte_is_cut_and_kept_aside() {
    let (at, length) = (record_offset(3), record_bytes(3));
    let killed_dir = tempfile::tempdir().unwrap();
    killed(killed_dir.path(), roomy(), 3);
    let whole = fs::read(first_segment(killed_dir.path())).unwrap();
    for kept in 0..length {
        let dir = tempfile::tempdir().unwrap();
        let mut torn = whole.clone();
        torn[at + kept..at + length].fill(0);
        if torn == whole {
            continue;
        }
        fs::write(first_segment(dir.path()), &torn).unwrap();
        let (journal, summary, records) = open(dir.path(), roomy()).unwrap();
        assert_eq!(records, expected(2), "{kept} bytes kept");
        if let Some(found) = summary.torn {
            assert_eq!((found.seq, found.offset), (3, at as u64));
            let aside = fs::read(found.set_aside.unwrap()).unwrap();
            assert_eq!(aside, torn[at..at + aside.len()]);
            assert_eq!(aside.len() as u64, found.bytes);
        } else {
            assert!(torn[at..].iter().all(|byte| *byte == 0), "{kept} bytes kept");
        }
        // What follows stands on clean ground.
        assert_eq!(append(&journal, b"x"), Ok(3));
        drop(journal);
        assert_eq!(open(dir.path(), roomy()).unwrap().2.last(), Some(&(3, b"x".to_vec())));
    }
}

#[test]
fn a_file_cut_at_any_byte_of_the_last_record_opens_and_takes_more() {
    let killed_dir = tempfile::tempdir().unwrap();
    killed(killed_dir.path(), roomy(), 3);
    let whole = fs::read(first_segment(killed_dir.path())).unwrap();
    for kept in 0..record_bytes(3) {
        let dir = tempfile::tempdir().unwrap();
        fs::write(first_segment(dir.path()), &whole[..record_offset(3) + kept]).unwrap();
        let (journal, _, records) = open(dir.path(), roomy()).unwrap();
        assert_eq!(records, expected(2));
        assert_eq!(append(&journal, b"x"), Ok(3));
        drop(journal);
        assert_eq!(verify(dir.path(), &RealDisk).unwrap().next_seq, 4);
    }
}

#[test]
fn every_flipped_bit_of_a_closed_journal_is_detected_and_the_file_left_alone() {
    let source = tempfile::tempdir().unwrap();
    closed(source.path(), roomy(), 4);
    let whole = fs::read(first_segment(source.path())).unwrap();
    let used = record_offset(5);
    let mark = MARK_OFFSET..MARK_OFFSET + MARK_BYTES;
    let dir = tempfile::tempdir().unwrap();
    let path = first_segment(dir.path());
    for at in 0..used {
        let mut bad = whole.clone();
        bad[at] ^= 1 << (at % 8);
        fs::write(&path, &bad).unwrap();
        if mark.contains(&at) {
            let summary = verify(dir.path(), &RealDisk).unwrap();
            assert!(summary.mark_damaged && summary.next_seq == 5, "byte {at}: {summary:?}");
            continue;
        }
        match open(dir.path(), roomy()).err() {
            Some(JournalError::Corrupt { segment, offset, seq, .. }) => {
                assert_eq!(segment, path);
                assert!(offset as usize <= at, "byte {at} reported at {offset}, record {seq}");
            }
            other => panic!("byte {at}: {other:?}"),
        }
        assert_eq!(fs::read(&path).unwrap(), bad, "byte {at}");
    }
}

#[test]
fn a_bad_record_before_durable_ones_is_corruption_even_after_a_crash() {
    let dir = tempfile::tempdir().unwrap();
    killed(dir.path(), roomy(), 4);
    let path = first_segment(dir.path());
    let mut bytes = fs::read(&path).unwrap();
    bytes[record_offset(2) + 20] ^= 1;
    fs::write(&path, &bytes).unwrap();
    let error = open(dir.path(), roomy()).err();
    assert!(matches!(error, Some(JournalError::Corrupt { seq: 2, .. })), "{error:?}");
    assert_eq!(fs::read(&path).unwrap(), bytes);
}

#[test]
fn a_group_torn_in_its_middle_is_a_crash_and_not_corruption() {
    let header = Header { first_seq: 1, chain: GENESIS };
    let mut bytes = header.encode().to_vec();
    let mut chain = GENESIS;
    for (seq, synced) in [(1, 0), (2, 1), (3, 1), (4, 1)] {
        chain = encode_record(&mut bytes, header.checksum(), &chain, seq, synced, &payload(seq));
    }
    bytes.resize(8_192, 0);
    let torn_at = record_offset(3);
    bytes[torn_at..torn_at + record_bytes(3)].fill(0);
    let mut walk = Walk::new(&bytes).unwrap();
    while walk.next_record().is_some() {}
    // Record 4 is whole, but it says itself that only record 1 was durable when it was written.
    assert_eq!(walk.end(false), End::Torn { offset: torn_at as u64 });
}

#[test]
fn a_missing_segment_is_corruption() {
    let source = tempfile::tempdir().unwrap();
    closed(source.path(), small(), 20);
    let names: Vec<String> =
        RealDisk.list(source.path()).unwrap().into_iter().filter(|n| n.ends_with(".wal")).collect();
    assert!(names.len() > 3);
    for gone in &names[1..names.len() - 1] {
        let dir = tempfile::tempdir().unwrap();
        for name in names.iter().filter(|name| *name != gone) {
            fs::copy(source.path().join(name), dir.path().join(name)).unwrap();
        }
        let error = open(dir.path(), small()).err();
        let missing = dir.path().join(gone);
        assert!(
            matches!(&error, Some(JournalError::Corrupt { segment, .. }) if *segment == missing),
            "{error:?}"
        );
    }
}

#[test]
fn a_segment_of_another_journal_is_corruption() {
    let (ours, theirs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    closed(ours.path(), small(), 20);
    let (journal, ..) = open(theirs.path(), small()).unwrap();
    for _ in 0..20 {
        append(&journal, b"12345678").unwrap();
    }
    drop(journal);
    let second = &RealDisk.list(ours.path()).unwrap()[1];
    fs::copy(theirs.path().join(second), ours.path().join(second)).unwrap();
    assert!(matches!(open(ours.path(), small()).err(), Some(JournalError::Corrupt { .. })));
}

#[test]
fn two_hosts_cannot_write_one_journal() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, ..) = open(dir.path(), small()).unwrap();
    let error = open(dir.path(), small()).err().unwrap();
    assert!(matches!(error, JournalError::Lock(_)), "{error}");
    assert_eq!(error.code(), "directory_in_use");
    drop(journal);
    open(dir.path(), small()).unwrap();
}

#[test]
fn reading_changes_nothing_even_when_a_tail_is_torn() {
    let dir = tempfile::tempdir().unwrap();
    killed(dir.path(), roomy(), 3);
    let path = first_segment(dir.path());
    let mut bytes = fs::read(&path).unwrap();
    bytes[record_offset(3) + 30] ^= 1;
    fs::write(&path, bytes).unwrap();
    let before = files(dir.path());
    let mut seen = Vec::new();
    let summary = read(dir.path(), &RealDisk, &mut |seq, bytes| {
        seen.push((seq, bytes.to_vec()));
        Ok(())
    });
    let torn = summary.unwrap().torn.unwrap();
    assert_eq!((torn.seq, torn.set_aside, seen), (3, None, expected(2)));
    assert_eq!(files(dir.path()), before);
}

#[test]
fn a_reader_that_refuses_a_record_says_which() {
    let dir = tempfile::tempdir().unwrap();
    closed(dir.path(), small(), 3);
    let failure = Failure::new(Class::State, "unknown_record", Phase::Done, "kind 9");
    let error = read(dir.path(), &RealDisk, &mut |seq, _| match seq {
        2 => Err(failure.clone()),
        _ => Ok(()),
    });
    assert!(matches!(error, Err(JournalError::Refused { seq: 2, .. })), "{error:?}");
}

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

#[test]
fn limits_are_enforced_before_anything_is_queued() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, ..) = open(dir.path(), small()).unwrap();
    let error = append(&journal, &[0; 65]).unwrap_err();
    assert_eq!(error, JournalError::RecordTooLarge { bytes: 65, bytes_max: 64 });
    assert_eq!(append(&journal, &[0; 64]), Ok(1));
    journal.close().unwrap();
    assert_eq!(append(&journal, b"late"), Err(JournalError::Closed));
    let config = JournalConfig { segment_bytes_max: 4_096, ..small() };
    assert!(matches!(open(dir.path(), config).err(), Some(JournalError::Config { .. })));
}

/// A disk whose syncs wait until they are let through.
struct GatedDisk {
    closed: AtomicBool,
    arrived: Mutex<Sender<()>>,
    gate: Arc<Mutex<Receiver<()>>>,
    syncs: Arc<AtomicUsize>,
}

struct GatedFile {
    inner: Box<dyn DiskFile>,
    gate: Arc<GatedDisk>,
}

#[derive(Clone)]
struct Gated(Arc<GatedDisk>);

impl DiskFile for GatedFile {
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> Result<(), DiskError> {
        self.inner.write_at(offset, bytes)
    }

    fn sync_data(&mut self) -> Result<(), DiskError> {
        if self.gate.closed.load(Ordering::SeqCst) {
            self.gate.syncs.fetch_add(1, Ordering::SeqCst);
            self.gate.arrived.lock().unwrap().send(()).unwrap();
            // The gate is open for good once the test has dropped its end.
            let _ = self.gate.gate.lock().unwrap().recv();
        }
        self.inner.sync_data()
    }
}

impl Disk for Gated {
    fn create_dir(&self, path: &Path) -> Result<(), DiskError> {
        RealDisk.create_dir(path)
    }
    fn create_new(&self, path: &Path) -> Result<Box<dyn DiskFile>, DiskError> {
        Ok(Box::new(GatedFile { inner: RealDisk.create_new(path)?, gate: Arc::clone(&self.0) }))
    }
    fn open(&self, path: &Path) -> Result<Box<dyn DiskFile>, DiskError> {
        Ok(Box::new(GatedFile { inner: RealDisk.open(path)?, gate: Arc::clone(&self.0) }))
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
fn what_queues_up_during_a_sync_shares_the_next_one_and_is_answered_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let (arrived_sender, arrived) = channel();
    let (open_gate, gate) = channel();
    let syncs = Arc::new(AtomicUsize::new(0));
    let disk = Gated(Arc::new(GatedDisk {
        closed: AtomicBool::new(false),
        arrived: Mutex::new(arrived_sender),
        gate: Arc::new(Mutex::new(gate)),
        syncs: Arc::clone(&syncs),
    }));
    let config = JournalConfig { queue_records_max: 50.try_into().unwrap(), ..roomy() };
    let (journal, ..) = open_on(dir.path(), config, Arc::new(disk.clone())).unwrap();
    disk.0.closed.store(true, Ordering::SeqCst);

    let (answers, order) = channel();
    let add = || {
        let answers = answers.clone();
        journal.append(b"x".to_vec(), Box::new(move |result| answers.send(result).unwrap()))
    };
    add().unwrap();
    arrived.recv().unwrap();
    for _ in 0..50 {
        add().unwrap();
    }
    std::thread::scope(|scope| {
        // The queue is full: one more waits for room, and is neither lost nor refused.
        let one_more = scope.spawn(add);
        // Nothing is answered before its sync has returned.
        assert!(order.try_recv().is_err());
        open_gate.send(()).unwrap();
        arrived.recv().unwrap();
        disk.0.closed.store(false, Ordering::SeqCst);
        open_gate.send(()).unwrap();
        one_more.join().unwrap().unwrap();
        let answered: Vec<u64> = order.iter().take(52).map(Result::unwrap).collect();
        assert_eq!(answered, (1..=52).collect::<Vec<_>>());
    });
    assert!((2..=3).contains(&syncs.load(Ordering::SeqCst)));
    drop(open_gate);
    journal.close().unwrap();
}

#[test]
fn closing_waits_for_everything_queued() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, ..) = open(dir.path(), small()).unwrap();
    let answers: Vec<Answer> = (1..=100).map(|n| queue(&journal, &payload(n)).unwrap()).collect();
    journal.close().unwrap();
    for (n, answer) in (1..).zip(answers) {
        assert_eq!(answer.try_recv().unwrap(), Ok(n));
    }
    drop(journal);
    assert_eq!(open(dir.path(), small()).unwrap().2, expected(100));
}

#[test]
fn an_answer_that_panics_harms_nobody_else() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, ..) = open(dir.path(), small()).unwrap();
    journal.append(b"a".to_vec(), Box::new(|_| panic!("a caller's mistake"))).unwrap();
    assert_eq!(append(&journal, b"b"), Ok(2));
}

#[test]
fn a_failed_sync_fails_the_waiters_and_everything_after_and_is_never_tried_again() {
    let dir = tempfile::tempdir().unwrap();
    let disk = FaultDisk::new(Arc::new(RealDisk), None);
    let (journal, ..) = open_on(dir.path(), roomy(), Arc::new(disk.clone())).unwrap();
    assert_eq!(append(&journal, &payload(1)), Ok(1));
    // The write that comes next succeeds and its sync fails; later ones would succeed.
    let fault = Fault { operation: disk.operations() + 1, kind: FaultKind::Io, lasting: false };
    disk.set_fault(Some(fault));
    let error = append(&journal, &payload(2)).unwrap_err();
    assert!(matches!(&error, JournalError::Failed(e) if e.operation == DiskOperation::SyncData), "{error}");
    assert_eq!(error.class(), Class::Resource);
    let operations = disk.operations();
    assert_eq!(append(&journal, &payload(3)), Err(error.clone()));
    assert_eq!(journal.failure(), Some(&error));
    assert_eq!(journal.close(), Err(error));
    assert_eq!(disk.operations(), operations, "nothing touched the disk after the failure");
}

#[test]
fn whichever_operation_fails_what_was_acknowledged_is_there_afterwards() {
    for kind in [FaultKind::Io, FaultKind::Full, FaultKind::ShortWrite] {
        for lasting in [false, true] {
            let mut operation = 0;
            loop {
                let dir = tempfile::tempdir().unwrap();
                let disk = FaultDisk::new(Arc::new(RealDisk), Some(Fault { operation, kind, lasting }));
                let mut acknowledged = 0;
                if let Ok((journal, ..)) = open_on(dir.path(), small(), Arc::new(disk.clone())) {
                    for n in 1..=6 {
                        match append(&journal, &payload(n)) {
                            Ok(seq) => {
                                assert_eq!(seq, n);
                                acknowledged = n;
                            }
                            Err(_) => assert!(append(&journal, &payload(n)).is_err()),
                        }
                    }
                }
                let clean = disk.operations() <= operation;
                let (_, _, records) = open(dir.path(), small()).unwrap();
                let case = format!("{kind:?}, operation {operation}, lasting {lasting}");
                assert!(records.len() as u64 >= acknowledged, "{case}");
                assert_eq!(records, expected(records.len() as u64), "{case}");
                if clean {
                    assert_eq!(acknowledged, 6);
                    break;
                }
                operation += 1;
            }
        }
    }
}

#[test]
fn whichever_operation_fails_while_a_torn_tail_is_cut_the_next_try_succeeds() {
    let source = tempfile::tempdir().unwrap();
    killed(source.path(), roomy(), 3);
    let mut torn = fs::read(first_segment(source.path())).unwrap();
    torn[record_offset(3) + 30] ^= 1;
    for operation in 0.. {
        let dir = tempfile::tempdir().unwrap();
        fs::write(first_segment(dir.path()), &torn).unwrap();
        let fault = Fault { operation, kind: FaultKind::ShortWrite, lasting: true };
        let disk = FaultDisk::new(Arc::new(RealDisk), Some(fault));
        drop(open_on(dir.path(), roomy(), Arc::new(disk.clone())));
        let (_, _, records) = open(dir.path(), roomy()).unwrap();
        assert_eq!(records, expected(2), "operation {operation}");
        let aside = files(dir.path()).into_iter().filter(|(name, _)| name.contains(".torn-"));
        assert!(aside.count() > 0, "operation {operation}");
        if disk.operations() <= operation {
            break;
        }
    }
}

#[test]
fn a_segment_is_synced_before_it_gets_its_name_and_the_name_before_it_is_used() {
    let dir = tempfile::tempdir().unwrap();
    let disk = FaultDisk::new(Arc::new(RealDisk), None);
    let (journal, ..) = open_on(dir.path(), small(), Arc::new(disk.clone())).unwrap();
    append(&journal, b"x").unwrap();
    use DiskOperation::{CreateNew, Open, Rename, SyncData, SyncDir, Write};
    let steps: Vec<DiskOperation> = disk.log().into_iter().map(|(operation, _)| operation).collect();
    let created = steps.iter().position(|step| *step == CreateNew).unwrap();
    let expected = [CreateNew, Write, Write, SyncData, Rename, SyncDir, Open, Write, SyncData];
    assert_eq!(steps[created..], expected);
}

proptest! {
    #[test]
    fn arbitrary_bytes_are_never_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..2_000)) {
        let dir = tempfile::tempdir().unwrap();
        fs::write(first_segment(dir.path()), &bytes).unwrap();
        prop_assert!(verify(dir.path(), &RealDisk).is_err());
    }

    #[test]
    fn arbitrary_bytes_after_durable_records_are_a_torn_tail(
        tail in proptest::collection::vec(any::<u8>(), 1..400),
    ) {
        let header = Header { first_seq: 1, chain: GENESIS };
        let mut bytes = header.encode().to_vec();
        encode_record(&mut bytes, header.checksum(), &GENESIS, 1, 0, b"first");
        let end = bytes.len();
        bytes.extend(&tail);
        let mut walk = Walk::new(&bytes).unwrap();
        prop_assert_eq!(walk.next_record().map(|record| record.seq), Some(1));
        prop_assert!(walk.next_record().is_none());
        let zeros = tail.iter().all(|byte| *byte == 0);
        prop_assert_eq!(walk.end(false), if zeros { End::Clean } else { End::Torn { offset: end as u64 } });
    }

    #[test]
    fn any_payloads_come_back(
        payloads in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..64), 1..20),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let (journal, ..) = open(dir.path(), small()).unwrap();
        let answers: Vec<Answer> = payloads.iter().map(|p| queue(&journal, p).unwrap()).collect();
        for answer in answers {
            prop_assert!(answer.recv().unwrap().is_ok());
        }
        drop(journal);
        let records = open(dir.path(), small()).unwrap().2;
        let read: Vec<Vec<u8>> = records.into_iter().map(|(_, payload)| payload).collect();
        prop_assert_eq!(read, payloads);
    }
}
