use super::*;
use crate::market::{InstrumentId, Lots};
use crate::orders::{
    Action, Decided, Decision, Ledger, NewOrder, OrderId, OrderKind, OrderOptions, Origin, Record, Reissue,
    Side, Slot, TimeInForce, Verdict,
};
use crate::resilience::{DeadLetterStoreConfig, Opened, RealDisk};
use crate::venue::{ByteBody, Outcome, Request, RequestKind};
use std::fs;
use std::path::Path;

fn agent() -> AgentName {
    "agent".parse().unwrap()
}

fn key(call: u64) -> IntentKey {
    Slot { agent: &agent(), incarnation: 1, plugin: Digest::of(b"p"), call, index: 0 }.key()
}

fn id(call: u64) -> LetterId {
    letter_id(key(call)).unwrap()
}

fn at(second: u64) -> UnixNanos {
    UnixNanos(second * 1_000_000_000)
}

fn action(id: u64) -> Action {
    Action::Submit(NewOrder {
        id: OrderId(id),
        instrument: InstrumentId(0),
        side: Side::Buy,
        quantity: Lots(1),
        kind: OrderKind::Market,
        tif: TimeInForce::Ioc,
        options: OrderOptions::default(),
        tag: 0,
    })
}

fn request(call: u64, bytes: usize) -> Request {
    Request { key: key(call), kind: RequestKind::Place, body: ByteBody(vec![b'x'; bytes]) }
}

fn failure(phase: Phase, message: &str) -> Failure {
    Failure::new(Class::Network, "timeout", phase, message)
}

/// What the journal holds of one intent that died, with a body of this size.
fn died(call: u64, bytes: usize, phase: Phase) -> Vec<Record> {
    let verdict = Verdict::Intended(request(call, bytes));
    let decided = Decided { index: 0, key: key(call), action: action(call), verdict };
    let (input, intents) = (Digest::of(b""), vec![decided]);
    let decision = Decision { call, origin: Origin::Tick, input, output: None, intents, memory: None };
    let outcome = match phase {
        Phase::MaybeSent => Outcome::Ambiguous(failure(phase, "no answer")),
        _ => Outcome::NotSent(failure(phase, "no route")),
    };
    vec![
        Record::Decided(decision),
        Record::Submitting { key: key(call), attempt: 1, baseline: None },
        Record::Attempted { key: key(call), attempt: 1, outcome },
        Record::DeadLettered { key: key(call), failure: failure(phase, "given up") },
    ]
}

/// A letter of every kind: dead, in doubt, refused once, being replayed, replayed with a verdict, closed by an
/// operator, issued again, and the child that died too.
fn history() -> Vec<Record> {
    let mut records: Vec<Record> = (1..=7)
        .flat_map(|call| {
            let phase = if call == 2 { Phase::MaybeSent } else { Phase::NotSent };
            died(call, if call == 1 { 9_000 } else { 50 }, phase)
        })
        .collect();
    records.extend([
        Record::ReplayRefused { key: key(3), replay: 1, failure: failure(Phase::NotSent, "too old") },
        Record::Requeued { key: key(4), replay: 1 },
        Record::Requeued { key: key(5), replay: 1 },
        Record::Submitting { key: key(5), attempt: 1, baseline: None },
        Record::Attempted { key: key(5), attempt: 1, outcome: Outcome::Done { updates: Vec::new() } },
        Record::Resolved { key: key(6), note: "done by hand".into() },
        Record::Reissued(Reissue {
            parent: key(7),
            replay: 1,
            note: "again".into(),
            call: 8,
            key: key(8),
            action: action(Ledger::HOST_ORDERS_FROM),
            request: request(8, 50),
        }),
        Record::DeadLettered { key: key(8), failure: failure(Phase::NotSent, "given up") },
    ]);
    records
}

fn ledger() -> Ledger {
    let mut ledger = Ledger::default();
    for (second, record) in (1..).zip(&history()) {
        ledger.fold(at(second), record).unwrap();
    }
    ledger
}

fn open(dir: &Path) -> (Arc<DeadLetterStore>, Opened) {
    let (store, opened) =
        DeadLetterStore::open(dir, DeadLetterStoreConfig::default(), Arc::new(RealDisk)).unwrap();
    (Arc::new(store), opened)
}

/// What an agent offers when it starts.
fn offer(store: &Arc<DeadLetterStore>, ledger: &Ledger) {
    let mut keeper = LetterKeeper::new(Arc::clone(store), LetterAlertConfig::default());
    for (key, intent) in ledger.intents().iter().filter(|(_, intent)| intent.letter.is_some()) {
        let letter = Letter::Intent { key: *key, intent: Box::new(intent.clone()) };
        assert!(keeper.take((&agent(), 1), letter, at(100)));
    }
}

fn all(store: &DeadLetterStore) -> Vec<DeadLetter> {
    store.list(None, 100).unwrap()
}

#[test]
fn the_journal_knows_every_kind_of_letter() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    offer(&store, &ledger());
    let letter = |call| store.get(&id(call)).unwrap().unwrap();
    let is = |call, status: LetterStatus, replay| {
        assert_eq!((letter(call).status, letter(call).replay), (status, replay), "letter {call}");
    };
    is(1, LetterStatus::Dead, 0);
    assert_eq!(letter(1).payload.len(), 9_000);
    is(2, LetterStatus::Dead, 0);
    assert!(letter(2).ambiguous && !letter(1).ambiguous);
    is(3, LetterStatus::Dead, 1);
    assert_eq!(letter(3).errors.last().unwrap().failure.message, "too old");
    is(4, LetterStatus::Requeued, 1);
    let LetterStatus::Resolved { note, .. } = letter(5).status else { panic!("{:?}", letter(5)) };
    assert_eq!((note.as_str(), letter(5).attempts), ("replay 1: the venue has executed it", 2));
    let LetterStatus::Resolved { note, .. } = letter(6).status else { panic!("{:?}", letter(6)) };
    assert_eq!(note, "done by hand");
    let LetterStatus::Reissued { note, child, .. } = letter(7).status else { panic!("{:?}", letter(7)) };
    assert_eq!((note.as_str(), child), ("again", id(8)));
    is(8, LetterStatus::Dead, 0);
    assert_eq!(letter(8).parent, Some(id(7)));
}

/// Flips bytes all over one file.
fn damage(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let step = (bytes.len() / 400).max(1);
    bytes.iter_mut().step_by(step).for_each(|byte| *byte ^= 0x5a);
    fs::write(path, bytes).unwrap();
}

#[test]
fn whichever_file_of_the_database_is_damaged_every_letter_comes_back_as_it_was() {
    let whole = tempfile::tempdir().unwrap();
    let ledger = ledger();
    let (store, _) = open(whole.path());
    offer(&store, &ledger);
    let expected = all(&store);
    drop(store);
    let (store, _) = open(whole.path());
    drop(store);
    let names = |folder: &Path| -> Vec<std::path::PathBuf> {
        fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.is_file())
            .collect()
    };
    let mut files = names(&whole.path().join("db"));
    files.extend(names(&whole.path().join("payloads")));
    assert!(files.len() >= 3, "{files:?}");
    for file in files {
        let dir = tempfile::tempdir().unwrap();
        for folder in ["db", "payloads", "db/blobs"] {
            let from = whole.path().join(folder);
            if from.is_dir() {
                fs::create_dir_all(dir.path().join(folder)).unwrap();
                for path in names(&from) {
                    fs::copy(&path, dir.path().join(folder).join(path.file_name().unwrap())).unwrap();
                }
            }
        }
        let damaged = dir.path().join(file.strip_prefix(whole.path()).unwrap());
        damage(&damaged);
        let (store, _) = open(dir.path());
        offer(&store, &ledger);
        assert_eq!(all(&store), expected, "{}", damaged.display());
    }
}

#[test]
fn a_damaged_content_file_is_seen_and_the_letter_comes_back_from_the_journal() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = ledger();
    let (store, _) = open(dir.path());
    offer(&store, &ledger);
    let expected = all(&store);
    drop(store);
    let payloads = dir.path().join("payloads");
    let file = fs::read_dir(&payloads).unwrap().next().unwrap().unwrap().path();
    let mut content = fs::read(&file).unwrap();
    assert!(content.len() > 9_000);
    content[4_000] ^= 1;
    fs::write(&file, &content).unwrap();
    let (store, opened) = open(dir.path());
    let Opened::Rebuilt { unreadable, .. } = opened else { panic!("{opened:?}") };
    assert_eq!(unreadable, [id(1).to_string()]);
    assert_eq!(store.get(&id(1)), Ok(None), "it is never handed out");
    offer(&store, &ledger);
    assert_eq!(all(&store), expected);
    drop(store);
    assert_eq!(open(dir.path()).1, Opened::Clean);
}

#[test]
fn an_order_that_the_agent_has_not_taken_up_stands() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = ledger();
    let (store, _) = open(dir.path());
    offer(&store, &ledger);
    store.requeue(&id(1), 0).unwrap();
    store.reissue(&id(3), 1, "again", false).unwrap();
    let expected = all(&store);
    offer(&store, &ledger);
    assert_eq!(all(&store), expected);
}

#[test]
fn an_index_that_missed_a_refusal_a_death_or_a_child_hears_of_it_at_the_next_start() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    let mut old = Ledger::default();
    for record in history().iter().take(7 * 4) {
        old.fold(at(1), record).unwrap();
    }
    offer(&store, &old);
    store.requeue(&id(3), 0).unwrap();
    store.requeue(&id(4), 0).unwrap();
    store.requeue(&id(5), 0).unwrap();
    store.reissue(&id(7), 0, "again", false).unwrap();
    offer(&store, &ledger());
    let states: Vec<String> =
        (1..=8).map(|call| store.get(&id(call)).unwrap().unwrap().status.state().to_string()).collect();
    let expected = ["dead", "dead", "dead", "requeued", "resolved", "resolved", "reissued", "dead"];
    assert_eq!(states, expected);
}

#[test]
fn an_order_about_an_intent_that_no_journal_knows_is_answered_once() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    offer(&store, &ledger());
    store.requeue(&id(1), 0).unwrap();
    let mut keeper = LetterKeeper::new(Arc::clone(&store), LetterAlertConfig::default());
    let refusal = failure(Phase::NotSent, "the agent knows no such intent");
    for _ in 0..2 {
        let letter = Letter::Refused { key: key(1), replay: 1, failure: refusal.clone() };
        assert!(keeper.take((&agent(), 1), letter, at(200)));
    }
    let letter = store.get(&id(1)).unwrap().unwrap();
    assert_eq!((letter.status, letter.replay), (LetterStatus::Dead, 1));
    let told = letter.errors.iter().filter(|error| error.failure == refusal).count();
    assert_eq!(told, 1);
}

#[test]
fn alerts_are_raised_for_what_is_there_at_the_start_and_when_it_grows_old() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    offer(&store, &ledger());
    let mut keeper = LetterKeeper::new(store, LetterAlertConfig::default());
    for second in [50, 60, 70, 3_000, 3_700, 3_710] {
        keeper.look(at(second));
    }
    let raised = keeper.into_alerts();
    let raised: Vec<(u64, &str)> =
        raised.iter().map(|(at, alert)| (at.0 / 1_000_000_000, alert.code())).collect();
    let expected = [
        (50, "dead_letters_ambiguous"),
        (50, "dead_letters_growing"),
        (3_700, "dead_letters_ambiguous"),
        (3_700, "dead_letters_old"),
    ];
    assert_eq!(raised, expected);
}
