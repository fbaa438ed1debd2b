use super::*;
use crate::resilience::{
    Failure, Fault, FaultDisk, FaultKind, LetterKind, LetterStatus, NewLetter, Phase, RealDisk,
};
use proptest::prelude::*;
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

    // A process that another test starts right now has the files open, lock included, until it runs its program.
    let plain = loop {
        match sled::Config::new().path(dir.path().join(DATABASE)).open() {
            Err(sled::Error::Io(error)) if error.to_string().contains("acquire lock") => {
                std::thread::yield_now()
            }
            outcome => break outcome,
        }
    };
    assert!(matches!(plain, Err(sled::Error::Corruption { .. })), "sled survives by itself now: {plain:?}");

    let (store, opened) = open(dir.path());
    assert_eq!(opened, Opened::Clean);
    assert_eq!(store.get(&id(1)), Ok(Some(small(1))));
    assert!(!torn.exists());
}

#[test]
fn a_database_that_is_still_being_let_go_of_is_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    open(dir.path()).0.put_if_absent(&small(1)).unwrap();
    let holder = fs::File::open(dir.path().join(DATABASE).join("db")).unwrap();
    holder.lock().unwrap();

    let hasty = DeadLetterStoreConfig { open_timeout_ms: 50, ..DeadLetterStoreConfig::default() };
    let refused = DeadLetterStore::open(dir.path(), hasty, Arc::new(RealDisk)).map(|_| ());
    assert!(matches!(refused, Err(StoreError::OpenTimeout { .. })), "{refused:?}");
    holder.unlock().unwrap();
    assert_eq!(open(dir.path()).0.get(&id(1)), Ok(Some(small(1))));
}

fn rebuilt(opened: Opened) -> (PathBuf, u64, Vec<String>) {
    let Opened::Rebuilt { set_aside, kept, unreadable, .. } = opened else { panic!("{opened:?}") };
    (set_aside, kept, unreadable)
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
        let refused = open_whole(dir.path()).err().unwrap();
        assert_eq!((refused.class(), refused.code()), (Class::State, "dead_letters_damaged"));

        let (store, opened) = open(dir.path());
        let aside = dir.path().join(format!("{DATABASE}.corrupt-{round}"));
        assert_eq!(rebuilt(opened), (aside.clone(), 0, Vec::new()));
        assert!(aside.join("db").exists());
        let payloads = names(&dir.path().join(PAYLOADS));
        assert!(payloads.iter().any(|name| name.ends_with(&format!(".corrupt-{round}"))), "{payloads:?}");
        assert_eq!(store.counts(), LetterCounts::default());
        assert_eq!(store.put_if_absent(&large(1)), Ok(true));
        assert_eq!(store.get(&id(1)), Ok(Some(large(1))));
    }
}

#[test]
fn letters_that_do_not_verify_are_never_handed_out_and_the_others_stay() {
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
    assert!(matches!(store.get(&id(1)), Err(StoreError::Letter { .. })));
    assert!(matches!(store.get(&id(2)), Err(StoreError::Letter { .. })));
    drop(store);

    let (store, opened) = open(dir.path());
    let (_, kept, unreadable) = rebuilt(opened);
    assert_eq!((kept, unreadable), (1, vec!["letter-1".into(), "letter-2".into()]));
    assert_eq!(store.list(None, 10), Ok(vec![small(3)]));
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

/// The folder as it was after the first letter, with everything else as it is after the third.
fn behind(what: &[&str]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    store.put_if_absent(&small(1)).unwrap();
    drop(store);
    let old = tempfile::tempdir().unwrap();
    copy(dir.path(), old.path());
    let (store, _) = open(dir.path());
    store.put_if_absent(&large(2)).unwrap();
    store.put_if_absent(&small(3)).unwrap();
    drop(store);
    for name in what {
        let (from, to) = (old.path().join(name), dir.path().join(name));
        if to.is_dir() {
            fs::remove_dir_all(&to).unwrap();
            copy(&from, &to);
        } else {
            fs::copy(from, to).unwrap();
        }
    }
    dir
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &target);
        } else {
            fs::copy(&path, &target).unwrap();
        }
    }
}

fn open_whole(dir: &Path) -> Result<DeadLetterStore, StoreError> {
    DeadLetterStore::open_whole(dir, DeadLetterStoreConfig::default(), Arc::new(RealDisk))
}

#[test]
fn a_database_that_forgot_changes_is_refused_to_an_operator_until_a_host_has_filled_it_again() {
    let dir = behind(&[DATABASE]);
    for _ in 0..2 {
        let refused = open_whole(dir.path()).err().unwrap();
        assert_eq!((refused.class(), refused.code()), (Class::State, "dead_letters_damaged"));
        assert!(refused.to_string().contains("expected change 3 with 3 letters, found change 1 with 1"));
    }
    let (store, opened) = open(dir.path());
    assert_eq!(rebuilt(opened).1, 1, "what can be read is kept");
    assert_eq!(store.list(None, 10), Ok(vec![small(1)]));
    drop(store);

    // The host was killed before its journal had given the others back.
    assert_eq!(open_whole(dir.path()).err().map(|error| error.code()), Some("dead_letters_damaged"));
    let (store, opened) = open(dir.path());
    assert_eq!((opened, store.is_complete()), (Opened::Clean, false));
    for letter in [small(1), large(2), small(3)] {
        store.restore(&letter).unwrap();
    }
    store.set_complete().unwrap();
    drop(store);
    assert_eq!(open_whole(dir.path()).unwrap().list(None, 10), Ok(vec![small(1), large(2), small(3)]));
}

#[test]
fn a_database_whose_seal_is_gone_old_or_rotten_is_not_trusted() {
    for old in [false, true] {
        let dir = behind(if old { &[seal::SEAL] } else { &[] });
        if !old {
            fs::remove_file(dir.path().join(seal::SEAL)).unwrap();
        }
        assert_eq!(open_whole(dir.path()).err().map(|error| error.code()), Some("dead_letters_damaged"));
        assert_eq!(rebuilt(open(dir.path()).1).1, 3);
        assert_eq!(open(dir.path()).1, Opened::Clean);
    }
}

#[test]
fn a_flipped_bit_in_the_seal_costs_nothing_while_its_other_half_is_there() {
    let dir = behind(&[]);
    let path = dir.path().join(seal::SEAL);
    let sealed = fs::read(&path).unwrap();
    for at in (0..sealed.len()).filter(|at| sealed[*at] != 0) {
        let mut bytes = sealed.clone();
        bytes[at] ^= 1;
        fs::write(&path, bytes).unwrap();
        let store = open_whole(dir.path()).unwrap();
        assert_eq!(store.counts().dead, 3, "byte {at}");
    }
    fs::write(&path, vec![7; 8_192]).unwrap();
    assert!(open_whole(dir.path()).is_err());
}

#[test]
fn letters_of_a_host_that_knew_no_seal_are_taken_over_once() {
    let dir = behind(&[]);
    let old = || {
        fs::remove_file(dir.path().join(seal::SEAL)).unwrap();
        let db = sled::open(dir.path().join(DATABASE)).unwrap();
        db.open_tree("letters").unwrap().remove(seal::MARK_KEY).unwrap();
    };
    old();
    assert_eq!(open_whole(dir.path()).unwrap().counts().dead, 3);
    fs::remove_file(dir.path().join(seal::SEAL)).unwrap();
    assert_eq!(rebuilt(open(dir.path()).1).1, 3, "the second time it is a loss");
}

#[test]
fn a_kill_between_the_seal_and_the_database_is_no_damage_and_a_loss_of_the_last_change_is() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    store.put_if_absent(&small(1)).unwrap();
    let before = tempfile::tempdir().unwrap();
    drop(store);
    copy(&dir.path().join(DATABASE), before.path());
    let (store, _) = open(dir.path());
    store.put_if_absent(&small(2)).unwrap();
    drop(store);
    fs::remove_dir_all(dir.path().join(DATABASE)).unwrap();
    copy(before.path(), &dir.path().join(DATABASE));
    // The second change was settled, so that a database without it has lost it.
    assert!(open_whole(dir.path()).is_err());

    let mut announced = fs::read(dir.path().join(seal::SEAL)).unwrap();
    let (mark, settled) = seal::Mark::decode(&announced).unwrap();
    assert_eq!((mark.change, settled), (2, true));
    announced[..60].copy_from_slice(&mark.encode(false));
    fs::write(dir.path().join(seal::SEAL), announced).unwrap();
    let (store, opened) = open(dir.path());
    assert_eq!((opened, store.list(None, 10)), (Opened::Clean, Ok(vec![small(1)])));
    store.put_if_absent(&small(3)).unwrap();
    drop(store);
    assert_eq!(open(dir.path()).1, Opened::Clean);
}

#[test]
fn a_rebuilding_that_is_cut_off_anywhere_is_finished_by_the_next_start() {
    for operation in 0.. {
        let dir = behind(&[DATABASE]);
        let fault = Fault { operation, kind: FaultKind::Full, lasting: true };
        let disk = FaultDisk::new(Arc::new(RealDisk), Some(fault));
        let done = open_on(dir.path(), Arc::new(disk)).map(drop);
        assert!(done.as_ref().err().is_none_or(|error| error.code() == "disk_full"), "{done:?}");
        let (store, _) = open(dir.path());
        assert_eq!(store.list(None, 10), Ok(vec![small(1)]), "operation {operation}");
        assert!(!store.is_complete(), "operation {operation}");
        drop(store);
        assert_eq!(open(dir.path()).1, Opened::Clean);
        if done.is_ok() {
            break;
        }
    }
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

#[test]
fn of_two_orders_to_issue_a_letter_again_one_wins_and_the_change_survives() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    store.put_if_absent(&small(1)).unwrap();
    let results: Vec<bool> = std::thread::scope(|scope| {
        let again = || store.reissue(&id(1), 0, "again", false).is_ok();
        let asked: Vec<_> = (0..8).map(|_| scope.spawn(again)).collect();
        asked.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(results.iter().filter(|won| **won).count(), 1);
    drop(store);
    let letter = open(dir.path()).0.get(&id(1)).unwrap().unwrap();
    let status = LetterStatus::Reissuing { note: "again".into(), not_executed: false };
    assert_eq!((letter.replay, letter.status), (1, status));
}

#[test]
fn alerts_count_what_died_within_the_window_and_age_by_the_time_that_is_passed_in() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    let second = |second: u64| UnixNanos(second * 1_000_000_000);
    for n in [1, 3, 5, 7] {
        let mut letter = small(n);
        (letter.first_at, letter.last_at) = (second(1_000), second(1_000));
        store.put_if_absent(&letter).unwrap();
    }
    let config = LetterAlertConfig::default();
    let codes = |now| {
        let alerts = store.alerts(second(now), &config);
        alerts.iter().map(LetterAlert::code).collect::<Vec<_>>()
    };
    assert_eq!(codes(1_600), ["dead_letters_growing"]);
    assert_eq!(codes(1_601), [""; 0]);
    assert_eq!(codes(4_601), ["dead_letters_old"]);
    for n in [1, 3, 5, 7] {
        store.resolve(&id(n), "seen", second(4_602)).unwrap();
    }
    assert_eq!(codes(4_602), [""; 0]);
    store.put_if_absent(&DeadLetter { last_at: second(1), ..small(2) }).unwrap();
    assert_eq!(codes(2), ["dead_letters_ambiguous"]);
}

#[test]
fn letters_that_have_long_been_done_with_go_and_the_seal_agrees() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    let day = |day: u64| UnixNanos(day * 24 * 3_600 * 1_000_000_000);
    for n in 1..=4 {
        store.put_if_absent(&if n % 2 == 0 { large(n) } else { small(n) }).unwrap();
    }
    for n in 1..=3 {
        store.resolve(&id(n), "seen", day(n)).unwrap();
    }
    assert_eq!(store.prune(day(30)), Ok(0));
    assert_eq!(store.prune(day(32)), Ok(2), "of the first and the second day");
    assert_eq!((store.prune(day(32)), store.counts().resolved, store.counts().dead), (Ok(0), 1, 1));
    assert_eq!(store.prune(day(10_000)), Ok(1), "one that waits for an operator stays");
    assert_eq!(names(&dir.path().join(PAYLOADS)).len(), 1, "the payload of the fourth");
    drop(store);
    let (store, opened) = open(dir.path());
    assert_eq!(opened, Opened::Clean);
    assert_eq!(store.list(None, 10), Ok(vec![large(4)]));
}

#[test]
fn a_kill_while_letters_go_leaves_all_of_them_or_none() {
    for at in 0.. {
        let dir = tempfile::tempdir().unwrap();
        let day = |day: u64| UnixNanos(day * 24 * 3_600 * 1_000_000_000);
        let (store, _) = open(dir.path());
        for n in 1..=3 {
            store.put_if_absent(&large(n)).unwrap();
            store.resolve(&id(n), "seen", day(n)).unwrap();
        }
        drop(store);
        let disk = FaultDisk::new(Arc::new(RealDisk), None);
        let (store, _) = open_on(dir.path(), Arc::new(disk.clone())).unwrap();
        let operation = disk.operations() + at;
        disk.set_fault(Some(Fault { operation, kind: FaultKind::Io, lasting: true }));
        let pruned = store.prune(day(100));
        let done = disk.operations() <= operation;
        drop(store);
        let (store, _) = open(dir.path());
        let left = store.list(None, 10).unwrap().len();
        assert!(left == 0 || left == 3, "{left} are left when operation {at} fails: {pruned:?}");
        if done {
            assert_eq!((pruned, left), (Ok(3), 0));
            break;
        }
    }
}

/// One order, answer or verdict, from an operator or an agent.
#[derive(Clone, Debug)]
enum Step {
    Requeue(u32),
    Reissue(u32, bool),
    Refuse(u32),
    Resolve,
    /// What a journal says: state and number.
    Restore(LetterStatus, u32),
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    let reissued = LetterStatus::Reissued { note: "again".into(), at: UnixNanos(9), child: id(99) };
    let status = prop_oneof![Just(LetterStatus::Dead), Just(LetterStatus::Requeued), Just(reissued)];
    prop_oneof![
        3 => (0_u32..4).prop_map(Step::Requeue),
        3 => (0_u32..4, any::<bool>()).prop_map(|(number, stated)| Step::Reissue(number, stated)),
        3 => (0_u32..4).prop_map(Step::Refuse),
        1 => Just(Step::Resolve),
        2 => (status, 0_u32..4).prop_map(|(status, number)| Step::Restore(status, number)),
        1 => Just(Step::Reopen),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn every_order_is_a_compare_and_swap_and_nothing_leaves_a_closed_letter(
        steps in proptest::collection::vec(step(), 1..24),
        ambiguous in any::<bool>(),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let mut store = open(dir.path()).0;
        store.put_if_absent(&DeadLetter { ambiguous, ..small(1) }).unwrap();
        for step in steps {
            let before = store.get(&id(1)).unwrap().unwrap();
            let is_dead = before.status == LetterStatus::Dead;
            let done = match &step {
                Step::Requeue(number) => {
                    let won = store.requeue(&id(1), *number).is_ok();
                    prop_assert_eq!(won, is_dead && before.replay == *number);
                    won
                }
                Step::Reissue(number, stated) => {
                    let won = store.reissue(&id(1), *number, "again", *stated).is_ok();
                    prop_assert_eq!(won, is_dead && before.replay == *number && (*stated || !ambiguous));
                    won
                }
                Step::Refuse(number) => {
                    let after = store.refuse(&id(1), *number, error(5, "no")).unwrap();
                    let waited = before.status.state().is_ordered() && before.replay == *number;
                    prop_assert_eq!(after.errors.len(), before.errors.len() + usize::from(waited));
                    waited
                }
                Step::Resolve => {
                    let won = store.resolve(&id(1), "done", UnixNanos(7)).is_ok();
                    prop_assert_eq!(won, !before.status.state().is_closed());
                    won
                }
                Step::Restore(status, replay) => {
                    let journal = DeadLetter { status: status.clone(), replay: *replay, ambiguous, ..small(1) };
                    let taken = store.restore(&journal).unwrap();
                    prop_assert!(!store.restore(&journal).unwrap(), "twice");
                    taken
                }
                Step::Reopen => {
                    drop(store);
                    store = open(dir.path()).0;
                    false
                }
            };
            let after = store.get(&id(1)).unwrap().unwrap();
            if !done {
                prop_assert_eq!(&after, &before, "{:?} was refused and changed something", step);
            }
            if before.status.state().is_closed() && done {
                prop_assert_eq!(after.status.state(), LetterState::Reissued, "{:?}", step);
            }
            let counts = store.counts();
            prop_assert_eq!(counts.dead + counts.requeued + counts.resolved, 1);
            prop_assert_eq!(counts.ambiguous, u64::from(ambiguous && !after.status.state().is_closed()));
        }
    }
}
