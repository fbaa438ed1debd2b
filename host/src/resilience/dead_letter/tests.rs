use super::*;
use crate::resilience::Phase;
use proptest::prelude::*;

fn error(at: u64) -> LetterError {
    let failure = Failure::new(Class::Network, "timeout", Phase::MaybeSent, format!("number {at}"));
    LetterError { at: UnixNanos(at), failure }
}

fn letter(kind: LetterKind) -> DeadLetter {
    DeadLetter::new(NewLetter {
        id: "abc".parse().unwrap(),
        agent: "ema".into(),
        kind,
        payload: vec![1, 2],
        summary: "buy".into(),
        error: error(1),
        attempts: 5,
        ambiguous: true,
    })
}

#[test]
fn the_first_and_last_errors_are_kept() {
    let mut letter = letter(LetterKind::Intent);
    for at in 2..=100 {
        letter.append_error(error(at), 1, false).unwrap();
    }
    let kept: Vec<u64> = letter.errors.iter().map(|e| e.at.0).collect();
    assert_eq!(kept, (1..=32).chain(69..=100).collect::<Vec<_>>());
    assert_eq!((letter.errors_dropped, letter.attempts), (36, 104));
    assert_eq!((letter.first_at, letter.last_at), (UnixNanos(1), UnixNanos(100)));
    assert!(!letter.ambiguous);
}

#[test]
fn a_replay_asked_for_twice_starts_once() {
    let mut letter = letter(LetterKind::Intent);
    letter.requeue(0).unwrap();
    let again = letter.requeue(0).unwrap_err();
    assert!(matches!(again, LetterRefusal::Changed { found: LetterState::Requeued, replay: 1, .. }));
    letter.append_error(error(2), 1, false).unwrap();
    assert!(letter.requeue(0).is_err(), "the click of the first round comes late");
    letter.requeue(1).unwrap();
    assert_eq!((letter.replay, &letter.status), (2, &LetterStatus::Requeued));
}

#[test]
fn a_failed_call_is_never_replayed() {
    let refusal = letter(LetterKind::Call).requeue(0).unwrap_err();
    assert_eq!(refusal, LetterRefusal::NotReplayable("abc".parse().unwrap()));
}

#[test]
fn resolving_needs_a_reason_and_is_final() {
    let mut letter = letter(LetterKind::Intent);
    assert!(matches!(letter.resolve(" \n", UnixNanos(5)), Err(LetterRefusal::NoNote(_))));
    letter.resolve(" seen at the venue ", UnixNanos(5)).unwrap();
    let note = "seen at the venue".to_owned();
    assert_eq!(letter.status, LetterStatus::Resolved { note, at: UnixNanos(5) });
    assert!(letter.resolve("again", UnixNanos(6)).is_err());
    assert!(letter.append_error(error(9), 1, true).is_err());
    assert!(letter.requeue(0).is_err());
}

#[test]
fn a_name_that_is_not_safe_everywhere_is_refused() {
    for bad in ["", "a/b", "a b", "é", &"x".repeat(65)] {
        assert!(bad.parse::<LetterId>().is_err(), "{bad}");
    }
    let id: LetterId = "ema:1:tick-7.2_A".parse().unwrap();
    assert_eq!(id.as_str(), "ema:1:tick-7.2_A");
}

#[test]
fn issuing_again_needs_a_reason_and_a_statement_about_what_may_have_been_executed() {
    let mut letter = letter(LetterKind::Intent);
    assert!(matches!(letter.reissue(0, " ", true), Err(LetterRefusal::NoNote(_))));
    assert!(matches!(letter.reissue(0, "again", false), Err(LetterRefusal::MaybeExecuted(_))));
    assert_eq!((letter.replay, &letter.status), (0, &LetterStatus::Dead));
    letter.reissue(0, " again ", true).unwrap();
    let status = LetterStatus::Reissuing { note: "again".into(), not_executed: true };
    assert_eq!((letter.replay, &letter.status), (1, &status));
    assert!(letter.reissue(0, "again", true).is_err(), "the second click");
    assert!(letter.requeue(1).is_err(), "it is on its way to be a new intent");
    assert!(DeadLetter { kind: LetterKind::Call, ..letter }.reissue(1, "again", true).is_err());
}

#[test]
fn a_refused_order_makes_the_letter_dead_again_once_and_keeps_its_number() {
    let mut letter = letter(LetterKind::Intent);
    assert!(!letter.refuse(0, error(2)), "nothing was ordered");
    letter.requeue(0).unwrap();
    assert!(!letter.refuse(2, error(2)), "another order");
    assert!(letter.refuse(1, error(2)));
    assert!(!letter.refuse(1, error(2)));
    assert_eq!((letter.replay, &letter.status, letter.errors.len()), (1, &LetterStatus::Dead, 2));
    assert_eq!((letter.attempts, letter.ambiguous), (5, true), "nothing was sent");
}

fn status() -> impl Strategy<Value = LetterStatus> {
    let note = || "note".to_owned();
    prop_oneof![
        Just(LetterStatus::Dead),
        Just(LetterStatus::Requeued),
        Just(LetterStatus::Reissuing { note: note(), not_executed: true }),
        Just(LetterStatus::Resolved { note: note(), at: UnixNanos(9) }),
        Just(LetterStatus::Reissued { note: note(), at: UnixNanos(9), child: "child".parse().unwrap() }),
    ]
}

fn any_letter() -> impl Strategy<Value = DeadLetter> {
    (status(), 0_u32..4).prop_map(|(status, replay)| DeadLetter {
        status,
        replay,
        ..letter(LetterKind::Intent)
    })
}

proptest! {
    #[test]
    fn what_the_journal_knows_is_taken_once_and_never_reopens_a_closed_letter(
        journal in any_letter(),
        index in any_letter(),
    ) {
        prop_assert!(!journal.supersedes(&journal));
        if journal.supersedes(&index) {
            prop_assert!(journal.status.state().is_closed() || !index.status.state().is_closed());
        }
        if index.status.state().is_ordered() && index.replay > journal.replay {
            let taken = journal.supersedes(&index);
            prop_assert_eq!(taken, journal.status.state().is_closed(), "an order that is not answered stands");
        }
    }
}
