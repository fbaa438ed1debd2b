use super::*;

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
fn every_flipped_byte_of_every_segment_is_detected_and_every_file_left_alone() {
    let source = tempfile::tempdir().unwrap();
    closed(source.path(), small(), 12);
    let whole = files(source.path());
    let segments = whole.iter().filter(|(name, _)| name.ends_with(".wal"));
    for (name, bytes) in segments.clone() {
        let dir = tempfile::tempdir().unwrap();
        for (name, bytes) in segments.clone() {
            fs::write(dir.path().join(name), bytes).unwrap();
        }
        let last = Some(name) == segments.clone().map(|(name, _)| name).next_back();
        // Most of a header is zeros; every seventh of them stands for the others.
        for at in (0..bytes.len()).filter(|at| bytes[*at] != 0 || at % 7 == 0) {
            let mut bad = bytes.clone();
            bad[at] ^= 1 << (at % 8);
            fs::write(dir.path().join(name), &bad).unwrap();
            let found = verify(dir.path(), &RealDisk);
            let noticed = match &found {
                Ok(summary) => summary.mark_damaged || (last && summary.torn.is_some()),
                Err(error) => matches!(error, JournalError::Corrupt { .. }),
            };
            assert!(noticed, "{name}, byte {at}: {found:?}");
            if let Ok(summary) = found {
                assert_eq!(summary.next_seq, 13, "{name}, byte {at}");
            }
            assert_eq!(fs::read(dir.path().join(name)).unwrap(), bad, "{name}, byte {at}");
        }
    }
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

proptest! {
    #[test]
    fn arbitrary_bytes_are_never_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..2_000)) {
        let dir = tempfile::tempdir().unwrap();
        fs::write(first_segment(dir.path()), &bytes).unwrap();
        prop_assert!(verify(dir.path(), &RealDisk).is_err());
    }
}
