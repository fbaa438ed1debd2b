use super::*;

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

proptest! {
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
}
