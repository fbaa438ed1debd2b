//! Components that only vetting catches: they harm nobody, and do not do what they seem to do.

use crate::attack::{SANDBOX, limits};
use crate::guest::{FREE, Guest, ZEROS, words};
use crate::loops::Optional;
use ringfence::lab::vet::{FindingKind, Session, Step, scenarios, vet};
use ringfence::plugin::Plugin;

/// Where the list of one cancel lies.
const CANCELS: u32 = 256;
/// Where the answer of a batch is put together.
const OUTCOME: u32 = 600;

/// Where an empty state of schema 1 lies.
const STATE: u32 = 700;

/// Cancels an order that it never had at every seventh update.
fn guest(run: &str) -> Guest {
    let cancel = [vec![1, 0, 9, 0], vec![0; 16]].concat();
    let data = format!(
        "(data (i32.const {CANCELS}) \"{}\") (data (i32.const {FREE}) \"{}\") (data (i32.const {STATE}) \"{}\")",
        words(&[0, FREE, 1]),
        words(&cancel),
        words(&[0, 1, FREE, 0])
    );
    let save = format!("(i32.const {STATE})");
    let tick = format!(
        "(if (result i32) (i64.eqz (i64.rem_u (local.get 1) (i64.const 7)))
            (then (i32.const {CANCELS})) (else (i32.const {ZEROS})))"
    );
    Guest { tick, ..Optional { run, save: &save, more: &data, ..Optional::default() }.guest() }
}

fn vetted(guest: &Guest, scenario: &str) -> (Plugin, Vec<FindingKind>, Vec<Session>) {
    let plugin = SANDBOX.load(&guest.build(), "vetted", None, &limits()).unwrap();
    let all = scenarios(&plugin, &[], 3, 0);
    let session = all.into_iter().find(|it| it.name == scenario).unwrap().session;
    let (verdict, shown) = vet(&plugin, &session, 400).unwrap();
    assert!(verdict.ticks > 100 && verdict.intents > 20, "{verdict:?}");
    (plugin, verdict.findings.iter().map(|it| it.kind).collect(), shown)
}

#[test]
fn one_that_wants_something_else_in_batches_is_caught_with_few_updates() {
    // It takes note of every row and wants nothing.
    let silent = format!(
        "(i32.store (i32.const {OUTCOME}) (i32.div_u (local.get 1) (i32.const 11))) (i32.const {OUTCOME})"
    );
    let (plugin, found, shown) = vetted(&guest(&silent), "calm");
    assert_eq!(found, [FindingKind::Batch]);
    let [session] = &shown[..] else { panic!("{shown:?}") };
    assert!(session.steps.len() < 100, "{} steps", session.steps.len());
    // What was saved shows the same again.
    let again = Session::decode(&session.encode()).unwrap();
    let (verdict, _) = vet(&plugin, &again, 0).unwrap();
    assert_eq!(verdict.findings.len(), 1, "{verdict:?}");
}

#[test]
fn one_that_keeps_nothing_and_depends_on_nothing_is_not_held_to_have_forgotten() {
    // Its answers depend on the update alone, so a restart changes nothing.
    let (_, found, _) = vetted(&guest(&format!("(i32.const {OUTCOME})")), "restarts");
    assert_eq!(found, []);
}

#[test]
fn steps_of_every_kind_are_read_back() {
    let mut session = Session::new("all", 1, Vec::new(), Vec::new());
    session.steps = vec![
        Step::Restart,
        Step::Forget,
        Step::Refuse(2),
        Step::Say("words \" and \n more".into()),
        Step::Floor(ringfence::orders::Mode::ReadOnly),
    ];
    assert_eq!(Session::decode(&session.encode()), Ok(session.clone()));
    let text = session.encode();
    for cut in 0..text.len() {
        if text.is_char_boundary(cut) {
            let _ = Session::decode(&text[..cut]);
        }
    }
    assert!(Session::decode("").unwrap_err().to_string().contains("line 1"));
    assert!(
        Session::decode(&text.replace("\"version\":1", "\"version\":9"))
            .unwrap_err()
            .to_string()
            .contains("layout 9")
    );
    assert!(Session::decode(&format!("{text}{{}}\n")).unwrap_err().to_string().contains("expected a step"));
}

#[test]
fn one_that_cannot_even_save_is_caught() {
    // The contract's schema is 1, and it says 0.
    let guest = Guest { ..Optional::default().guest() };
    let plugin = SANDBOX.load(&guest.build(), "vetted", None, &limits()).unwrap();
    let session = scenarios(&plugin, &[], 3, 0).remove(0).session;
    let (verdict, shown) = vet(&plugin, &session, 400).unwrap();
    let [finding] = &verdict.findings[..] else { panic!("{verdict:?}") };
    assert!(finding.kind == FindingKind::Budget && finding.detail.contains("schema 0"), "{finding:?}");
    assert_eq!(shown[0].steps.len(), 1);
}
