use super::*;

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
fn whichever_operation_fails_what_the_next_host_acknowledges_outlives_a_loss_of_power() {
    for lasting in [false, true] {
        for operation in 0.. {
            let dir = tempfile::tempdir().unwrap();
            let memory = MemoryDisk::default();
            let disk = FaultDisk::new(
                Arc::new(memory.clone()),
                Some(Fault { operation, kind: FaultKind::ShortWrite, lasting }),
            );
            let write = |count: u64| {
                let Ok((journal, _, records)) = open_on(dir.path(), small(), Arc::new(disk.clone())) else {
                    return 0;
                };
                let before = records.len() as u64;
                (before + 1..=before + count).take_while(|n| append(&journal, &payload(*n)) == Ok(*n)).count()
            };
            // Enough to fill a segment, so that the name of the next one is among what fails.
            write(6);
            let clean = disk.operations() <= operation;
            disk.set_fault(None);
            let case = format!("operation {operation}, lasting {lasting}");
            assert_eq!(write(2), 2, "{case}");
            let (_, _, before) = open_on(dir.path(), small(), Arc::new(memory.clone())).unwrap();
            memory.lose_all();
            let (_, _, after) = open_on(dir.path(), small(), Arc::new(memory)).unwrap();
            assert_eq!(after, before, "{case}");
            if clean {
                break;
            }
        }
    }
}
