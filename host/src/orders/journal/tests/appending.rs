use super::*;

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
fn records_that_are_given_together_share_one_sync() {
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
    let (journal, ..) = open_on(dir.path(), roomy(), Arc::new(disk.clone())).unwrap();
    // Syncs are counted from here on, and none waits.
    disk.0.closed.store(true, Ordering::SeqCst);
    drop(open_gate);
    let (answers, order) = channel();
    let records = (1..=3).map(|n| {
        let answers = answers.clone();
        NewRecord { payload: payload(n), done: Box::new(move |result| answers.send(result).unwrap()) }
    });
    journal.append_all(records.collect()).unwrap();
    assert_eq!(order.iter().take(3).collect::<Vec<_>>(), [Ok(1), Ok(2), Ok(3)]);
    assert_eq!(syncs.load(Ordering::SeqCst), 1);
    disk.0.closed.store(false, Ordering::SeqCst);

    let too_large = vec![0; roomy().record_bytes_max as usize + 1];
    let records = [b"fits".to_vec(), too_large].map(|payload| {
        let answers = answers.clone();
        NewRecord { payload, done: Box::new(move |result| answers.send(result).unwrap()) }
    });
    let refused = journal.append_all(records.into_iter().collect()).unwrap_err();
    assert!(matches!(refused, JournalError::RecordTooLarge { .. }), "{refused}");
    drop((arrived, answers));
    journal.close().unwrap();
    assert!(order.iter().next().is_none(), "none of them was written");
    drop(journal);
    assert_eq!(open(dir.path(), roomy()).unwrap().2, expected(3));
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

proptest! {
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
