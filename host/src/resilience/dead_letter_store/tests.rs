use super::*;
use crate::resilience::{
    Failure, Fault, FaultDisk, FaultKind, LetterKind, LetterStatus, NewLetter, Phase, RealDisk,
};
use std::fs;

fn error(at: u64, message: &str) -> LetterError {
    let failure = Failure::new(Class::Network, "timeout", Phase::MaybeSent, message);
    LetterError { at: UnixNanos(at), failure }
}

fn id(n: u64) -> LetterId {
    format!("letter-{n}").parse().unwrap()
}

fn letter(n: u64, payload: Vec<u8>) -> DeadLetter {
    DeadLetter::new(NewLetter {
        id: id(n),
        agent: "ema".into(),
        kind: LetterKind::Intent,
        payload,
        summary: format!("number {n}"),
        error: error(n, "no answer"),
        attempts: 5,
        ambiguous: n.is_multiple_of(2),
    })
}

fn small(n: u64) -> DeadLetter {
    letter(n, b"payload".to_vec())
}

fn large(n: u64) -> DeadLetter {
    letter(n, vec![u8::try_from(n).unwrap(); 10_000])
}

fn open_on(dir: &Path, disk: Arc<dyn Disk>) -> Result<(DeadLetterStore, Opened), StoreError> {
    DeadLetterStore::open(dir, DeadLetterStoreConfig::default(), disk)
}

fn open(dir: &Path) -> (DeadLetterStore, Opened) {
    open_on(dir, Arc::new(RealDisk)).unwrap()
}

fn names(dir: &Path) -> Vec<String> {
    RealDisk.list(dir).unwrap()
}

#[test]
fn letters_of_every_size_survive_closing() {
    let dir = tempfile::tempdir().unwrap();
    let (store, opened) = open(dir.path());
    assert_eq!(opened, Opened::Clean);
    for letter in [small(1), large(2)] {
        assert_eq!(store.put_if_absent(&letter), Ok(true));
    }
    drop(store);
    let (store, opened) = open(dir.path());
    assert_eq!(opened, Opened::Clean);
    assert_eq!(store.list(None, 10), Ok(vec![small(1), large(2)]));
    assert_eq!(names(&dir.path().join(PAYLOADS)).len(), 1);
}

#[test]
fn what_is_there_is_not_replaced_by_putting_it_again() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    store.put_if_absent(&small(1)).unwrap();
    let requeued = store.requeue(&id(1), 0).unwrap();
    assert_eq!(store.put_if_absent(&small(1)), Ok(false));
    assert_eq!(store.get(&id(1)), Ok(Some(requeued)));
}

#[test]
fn of_two_replays_one_wins_and_the_change_survives() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    store.put_if_absent(&small(1)).unwrap();
    let results: Vec<bool> = std::thread::scope(|scope| {
        let asked: Vec<_> = (0..8).map(|_| scope.spawn(|| store.requeue(&id(1), 0).is_ok())).collect();
        asked.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(results.iter().filter(|won| **won).count(), 1);
    drop(store);
    let letter = open(dir.path()).0.get(&id(1)).unwrap().unwrap();
    assert_eq!((letter.replay, letter.status), (1, LetterStatus::Requeued));
}

#[test]
fn a_letter_that_grows_moves_to_a_file_and_leaves_no_old_one_behind() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    store.put_if_absent(&small(1)).unwrap();
    for at in 2..=20 {
        store.append_error(&id(1), error(at, &"x".repeat(400)), 1, true).unwrap();
    }
    assert_eq!(names(&dir.path().join(PAYLOADS)).len(), 1);
    let before = store.get(&id(1)).unwrap().unwrap();
    assert_eq!((before.errors.len(), before.attempts), (20, 24));
    drop(store);
    assert_eq!(open(dir.path()).0.get(&id(1)), Ok(Some(before)));
}

#[test]
fn counts_follow_every_change_and_are_the_same_after_opening() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    for n in 1..=5 {
        store.put_if_absent(&small(n)).unwrap();
    }
    store.resolve(&id(1), "not needed", UnixNanos(9)).unwrap();
    store.requeue(&id(2), 0).unwrap();
    let counts = store.counts();
    let oldest = Some(UnixNanos(2));
    assert_eq!(counts, LetterCounts { dead: 3, requeued: 1, resolved: 1, ambiguous: 2, oldest });
    let dead: Vec<LetterId> =
        store.list(Some(LetterState::Dead), 2).unwrap().into_iter().map(|letter| letter.id).collect();
    assert_eq!(dead, [id(3), id(4)]);
    drop(store);
    assert_eq!(open(dir.path()).0.counts(), counts);
}

#[test]
fn refusals_say_why_and_change_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let config = DeadLetterStoreConfig { letter_bytes_max: 1_000, ..DeadLetterStoreConfig::default() };
    let (store, _) = DeadLetterStore::open(dir.path(), config, Arc::new(RealDisk)).unwrap();
    assert_eq!(store.requeue(&id(1), 0), Err(StoreError::NotFound(id(1))));
    assert!(matches!(store.put_if_absent(&large(1)), Err(StoreError::TooLarge { .. })));
    store.put_if_absent(&small(2)).unwrap();
    assert!(matches!(store.resolve(&id(2), "", UnixNanos(1)), Err(StoreError::Refused(_))));
    assert_eq!(store.get(&id(2)), Ok(Some(small(2))));
    assert_eq!(store.failure(), None);
}

#[test]
fn two_hosts_cannot_have_one_store() {
    let dir = tempfile::tempdir().unwrap();
    let (_store, _) = open(dir.path());
    let refused = open_on(dir.path(), Arc::new(RealDisk)).err().unwrap();
    assert_eq!(refused.code(), "directory_in_use");
}

/// sled takes a snapshot that it was killed while writing for the newest one and refuses it for ever.
#[test]
fn a_kill_while_sled_was_opening_does_not_brick_the_store() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    store.put_if_absent(&small(1)).unwrap();
    drop(store);
    let torn = dir.path().join(DATABASE).join("snap.0000000000000FFF.generating");
    fs::write(&torn, b"the first bytes of a snapshot, cut off by a kill").unwrap();

    let plain = sled::Config::new().path(dir.path().join(DATABASE)).open();
    assert!(matches!(plain, Err(sled::Error::Corruption { .. })), "sled survives by itself now: {plain:?}");

    let (store, opened) = open(dir.path());
    assert_eq!(opened, Opened::Clean);
    assert_eq!(store.get(&id(1)), Ok(Some(small(1))));
    assert!(!torn.exists());
}

#[test]
fn a_database_that_cannot_be_opened_is_set_aside_whole_and_can_be_filled_again() {
    let dir = tempfile::tempdir().unwrap();
    for round in 1..=2 {
        let (store, _) = open(dir.path());
        store.put_if_absent(&large(1)).unwrap();
        drop(store);
        let snapshot = dir.path().join(DATABASE).join("snap.FFFFFFFFFFFFFFF0");
        fs::write(snapshot, b"a finished snapshot that has rotted").unwrap();
        let (store, opened) = open(dir.path());
        let aside = dir.path().join(format!("{DATABASE}.corrupt-{round}"));
        assert_eq!(opened, Opened::Rebuilt { set_aside: aside.clone() });
        assert!(aside.join("db").exists());
        assert_eq!(names(&dir.path().join(format!("{PAYLOADS}.corrupt-{round}"))).len(), 1);
        assert_eq!(store.counts(), LetterCounts::default());
        assert_eq!(store.put_if_absent(&large(1)), Ok(true));
        assert_eq!(store.get(&id(1)), Ok(Some(large(1))));
    }
}

#[test]
fn a_damaged_letter_is_set_aside_alone_and_can_be_put_again() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    for letter in [small(1), large(2), small(3)] {
        store.put_if_absent(&letter).unwrap();
    }
    let tree = &store.database().unwrap().letters;
    let mut value = tree.get("letter-1").unwrap().unwrap().to_vec();
    *value.last_mut().unwrap() ^= 1;
    tree.insert("letter-1", value).unwrap();
    let payloads = dir.path().join(PAYLOADS);
    let file = payloads.join(&names(&payloads)[0]);
    let mut content = fs::read(&file).unwrap();
    content[5_000] ^= 1;
    fs::write(&file, &content).unwrap();
    // Neither is ever handed out.
    assert!(matches!(store.get(&id(1)), Err(StoreError::Letter { .. })));
    assert!(matches!(store.get(&id(2)), Err(StoreError::Letter { .. })));
    drop(store);

    let (store, opened) = open(dir.path());
    assert_eq!(opened, Opened::Damaged { letters: vec!["letter-1".into(), "letter-2".into()] });
    assert_eq!(store.list(None, 10), Ok(vec![small(3)]));
    assert_eq!(store.database().unwrap().db.open_tree("damaged").unwrap().len(), 2);
    for letter in [small(1), large(2)] {
        assert_eq!(store.put_if_absent(&letter), Ok(true));
    }
    drop(store);
    let (store, opened) = open(dir.path());
    assert_eq!(opened, Opened::Clean);
    assert_eq!(store.counts().dead, 3);
    let kept: Vec<String> = names(&payloads).into_iter().filter(|name| name.contains(".corrupt-")).collect();
    assert_eq!(fs::read(payloads.join(&kept[0])).unwrap(), content);
}

#[test]
fn files_that_no_letter_needs_are_removed_at_opening() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()));
    let payloads = dir.path().join(PAYLOADS);
    fs::write(payloads.join("a".repeat(64)), b"orphan").unwrap();
    fs::write(payloads.join(format!("{}.tmp", "b".repeat(64))), b"torn").unwrap();
    fs::write(payloads.join("notes.txt"), b"somebody else's").unwrap();
    drop(open(dir.path()));
    assert_eq!(names(&payloads), ["notes.txt"]);
}

#[test]
fn whichever_file_operation_fails_what_was_acknowledged_is_there_and_the_failure_sticks() {
    for operation in 0.. {
        let dir = tempfile::tempdir().unwrap();
        let fault = Fault { operation, kind: FaultKind::ShortWrite, lasting: false };
        let disk = FaultDisk::new(Arc::new(RealDisk), Some(fault));
        let mut acknowledged = Vec::new();
        if let Ok((store, _)) = open_on(dir.path(), Arc::new(disk.clone())) {
            for n in 1..=2 {
                match store.put_if_absent(&large(n)) {
                    Ok(new) => acknowledged.push((n, new)),
                    Err(error) => {
                        assert_eq!(error.class(), Class::Resource);
                        assert_eq!(store.failure(), Some(&error));
                        assert_eq!(store.put_if_absent(&small(9)), Err(error));
                    }
                }
            }
        }
        let clean = disk.operations() <= operation;
        let (store, opened) = open(dir.path());
        assert_eq!(opened, Opened::Clean, "operation {operation}");
        for (n, _) in &acknowledged {
            assert_eq!(store.get(&id(*n)), Ok(Some(large(*n))), "operation {operation}");
        }
        if clean {
            assert_eq!(acknowledged, [(1, true), (2, true)]);
            break;
        }
    }
}
