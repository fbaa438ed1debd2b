mod prune;

use super::*;
use crate::market::{Money, PriceTicks};
use crate::orders::{
    AmendOrder, Decided, Digest, OrderKind, OrderOptions, Proof, Reissue, Side, Slot, TimeInForce,
};
use crate::venue::{ByteBody, RequestKind};
use proptest::prelude::*;

fn key(call: u64) -> IntentKey {
    let agent = "a".parse().unwrap();
    Slot { agent: &agent, incarnation: 1, plugin: Digest::of(b"p"), call, index: 0 }.key()
}

fn decision(call: u64, action: Action, body: u8) -> Decision {
    let request = Request { key: key(call), kind: RequestKind::Place, body: ByteBody(vec![body]) };
    let decided = Decided { index: 0, key: key(call), action, verdict: Verdict::Intended(request) };
    let input = Digest::of(b"input");
    Decision { call, origin: Origin::Tick, input, output: None, intents: vec![decided], memory: None }
}

fn reissue(parent: IntentKey, call: u64) -> Reissue {
    let request = Request { key: key(call), kind: RequestKind::Place, body: ByteBody(vec![0]) };
    let action = submit(Ledger::HOST_ORDERS_FROM + call);
    Reissue { parent, replay: 1, note: "again".into(), call, key: key(call), action, request }
}

fn submit(id: u64) -> Action {
    Action::Submit(NewOrder {
        id: OrderId(id),
        instrument: InstrumentId(0),
        side: Side::Buy,
        quantity: Lots(10),
        kind: OrderKind::Limit(PriceTicks(100)),
        tif: TimeInForce::Gtc,
        options: OrderOptions::default(),
        tag: 0,
    })
}

fn failed(phase: Phase) -> Failure {
    Failure::new(Class::Network, "timeout", phase, "test")
}

fn at(second: u64) -> UnixNanos {
    UnixNanos(second * 1_000_000_000)
}

fn ledger() -> Ledger {
    let mut ledger = Ledger::default();
    ledger.decide(at(1), &decision(1, submit(1), 0)).unwrap();
    ledger
}

fn state(ledger: &Ledger) -> &IntentState {
    &ledger.intent(&key(1)).unwrap().state
}

#[test]
fn the_same_slot_with_other_content_is_refused_and_with_the_same_it_is_nothing() {
    let mut ledger = ledger();
    let before = ledger.clone();
    assert_eq!(ledger.decide(at(2), &decision(1, submit(1), 0)), Ok(()));
    assert_eq!(ledger, before);
    assert_eq!(ledger.decide(at(2), &decision(1, submit(1), 9)), Err(LedgerError::SlotReused(key(1))));
}

#[test]
fn a_decision_with_one_slot_that_was_used_is_not_taken_in_at_all() {
    let mut ledger = ledger();
    let before = ledger.clone();
    let mut both = decision(2, submit(2), 0);
    both.intents.extend(decision(1, submit(3), 9).intents);
    assert_eq!(ledger.decide(at(2), &both), Err(LedgerError::SlotReused(key(1))));
    assert_eq!(ledger, before);
    let mut twice = decision(2, submit(2), 0);
    twice.intents.extend(decision(2, submit(2), 1).intents);
    assert_eq!(ledger.decide(at(2), &twice), Err(LedgerError::SlotReused(key(2))));
    assert_eq!(ledger, before);
}

#[test]
fn ambiguity_outlives_the_bounded_list_of_errors() {
    let mut ledger = ledger();
    for attempt in 0..200 {
        ledger.submitting(at(2), key(1), None).unwrap();
        let outcome = match attempt {
            40 => Outcome::Ambiguous(failed(Phase::MaybeSent)),
            _ => Outcome::NotSent(failed(Phase::NotSent)),
        };
        ledger.attempted(at(3), key(1), &outcome).unwrap();
    }
    assert_eq!(state(&ledger), &IntentState::Ambiguous);
    assert_eq!(ledger.intent(&key(1)).unwrap().errors.len(), Ledger::ERRORS_PER_INTENT_MAX);
    assert!(ledger.expire(at(4), key(1), ExpiredBecause::Deadline).is_err());
    ledger.dead_letter(at(4), key(1), &failed(Phase::NotSent)).unwrap();
    assert_eq!(state(&ledger), &IntentState::DeadLettered { ambiguous: true });
}

#[test]
fn a_query_that_finds_nothing_proves_nothing() {
    let mut ledger = ledger();
    ledger.submitting(at(2), key(1), None).unwrap();
    ledger.attempted(at(2), key(1), &Outcome::Unknown).unwrap();
    ledger.submitting(at(3), key(1), None).unwrap();
    ledger.attempted(at(3), key(1), &Outcome::NotSent(failed(Phase::NotSent))).unwrap();
    assert_eq!(state(&ledger), &IntentState::Ambiguous);
}

#[test]
fn only_the_venues_denial_ends_the_ambiguity_and_its_own_word_takes_the_denial_back() {
    let mut ledger = ledger();
    ledger.submitting(at(2), key(1), None).unwrap();
    ledger.attempted(at(2), key(1), &Outcome::Ambiguous(failed(Phase::MaybeSent))).unwrap();
    for why in [ExpiredBecause::Deadline, ExpiredBecause::CancelledUnsent, ExpiredBecause::Moot] {
        assert!(ledger.expire(at(3), key(1), why).is_err(), "{why:?}");
    }
    ledger.queried(key(1), &Outcome::Unknown).unwrap();
    assert_eq!(state(&ledger), &IntentState::Ambiguous);
    ledger.expire(at(3), key(1), ExpiredBecause::NeverArrived).unwrap();
    assert!(ledger.working(OrderId(1)).is_none() && !ledger.intent(&key(1)).unwrap().maybe_executed());
    let update = OrderUpdate { sequence: 1, key: key(1), change: OrderChange::Accepted, venue_id: None };
    assert!(ledger.update(at(4), &update).unwrap().refuted.is_some());
    assert!(ledger.working(OrderId(1)).is_some());
}

fn baseline(second: u64) -> Baseline {
    Baseline {
        at: at(second),
        position: Lots(0),
        entry_price: None,
        position_id: None,
        newest_trades: Vec::new(),
        waiting_orders: Vec::new(),
        sizing_price: None,
    }
}

fn doubtful() -> Ledger {
    let mut ledger = ledger();
    ledger.submitting(at(2), key(1), None).unwrap();
    ledger.attempted(at(2), key(1), &Outcome::Ambiguous(failed(Phase::MaybeSent))).unwrap();
    ledger
}

#[test]
fn a_denied_intent_may_be_sent_again_with_its_evidence_and_one_that_is_certain_cannot_be_denied() {
    let mut ledger = doubtful();
    ledger.deny(at(3), key(1), Proof::DeniedTwice).unwrap();
    let intent = ledger.intent(&key(1)).unwrap();
    assert_eq!((&intent.state, intent.maybe_executed(), intent.attempts), (&IntentState::Intended, false, 1));
    assert!(intent.is_denied() && ledger.working(OrderId(1)).is_some());
    let codes: Vec<_> = intent.errors.iter().map(|error| error.failure.code.as_ref()).collect();
    assert_eq!(codes, ["timeout", "denied"]);
    assert!(ledger.deny(at(4), key(1), Proof::DeniedTwice).is_err());
    ledger.submitting(at(5), key(1), None).unwrap();
    assert!(!ledger.intent(&key(1)).unwrap().is_denied(), "an attempt was made since");
}

#[test]
fn an_order_that_shows_up_between_its_denial_and_the_next_attempt_refutes_the_denial() {
    let mut ledger = doubtful();
    ledger.deny(at(3), key(1), Proof::DeniedTwice).unwrap();
    let update = OrderUpdate { sequence: 1, key: key(1), change: OrderChange::Accepted, venue_id: None };
    assert!(ledger.update(at(4), &update).unwrap().refuted.is_some());
    assert_eq!(state(&ledger), &IntentState::Acknowledged);
}

#[test]
fn the_other_orders_are_those_of_the_instrument_that_work_or_have_ended_since() {
    let mut ledger = Ledger::default();
    for call in 1..=4 {
        ledger.decide(at(1), &decision(call, submit(call), 0)).unwrap();
    }
    let news = |call, sequence, change, venue_id: Option<&str>| OrderUpdate {
        sequence,
        key: key(call),
        change,
        venue_id: venue_id.map(str::to_owned),
    };
    let fill = || OrderChange::Filled {
        quantity: Lots(10),
        price: PriceTicks(100),
        leaves: Lots(0),
        fee: Money::ZERO,
        maker: false,
    };
    ledger.update(at(2), &news(1, 1, fill(), Some("old"))).unwrap();
    ledger.update(at(4), &news(2, 1, fill(), None)).unwrap();
    ledger.update(at(4), &news(3, 1, OrderChange::Accepted, Some("works"))).unwrap();
    let other = |venue_id: Option<&str>, filled| OtherOrder {
        venue_id: venue_id.map(str::to_owned),
        filled: Lots(filled),
    };
    let nameless = other(None, 10);
    assert_eq!(ledger.others(OrderId(4), at(3)), [nameless.clone(), other(Some("works"), 0)]);
    let only = [nameless];
    assert_eq!(ledger.others(OrderId(3), at(3)), only, "not itself");
    assert_eq!(ledger.others(OrderId(3), at(4)), only, "one that ended at that moment");
    assert_eq!(ledger.others(OrderId(3), at(5)), []);
    assert_eq!(ledger.others(OrderId(9), at(3)), []);
}

#[test]
fn an_operators_replay_is_no_evidence() {
    let mut ledger = doubtful();
    ledger.deny(at(3), key(1), Proof::Replayed).unwrap();
    assert_eq!(state(&ledger), &IntentState::Intended);
    assert!(ledger.intent(&key(1)).unwrap().maybe_executed());
    ledger.submitting(at(4), key(1), Some(baseline(4))).unwrap();
    // A venue without ids refuses this attempt, and says nothing about the one before.
    ledger.attempted(at(5), key(1), &Outcome::Refused(failed(Phase::Done))).unwrap();
    assert_eq!(state(&ledger), &IntentState::Ambiguous);
}

#[test]
fn a_dead_letter_that_the_venue_turns_out_to_have_executed_is_acknowledged() {
    let mut ledger = doubtful();
    ledger.dead_letter(at(3), key(1), &failed(Phase::MaybeSent)).unwrap();
    assert_eq!(ledger.unresolved().collect::<Vec<_>>(), [key(1)]);
    ledger.queried(key(1), &Outcome::Done { updates: Vec::new() }).unwrap();
    assert_eq!((state(&ledger), ledger.unresolved().next().is_some()), (&IntentState::Acknowledged, false));
}

#[test]
fn only_a_dead_letter_is_requeued_or_resolved() {
    let mut ledger = ledger();
    assert!(ledger.requeue(at(3), key(1), 1).is_err() && ledger.resolve(at(2), key(1), "done").is_err());
    ledger.dead_letter(at(2), key(1), &failed(Phase::NotSent)).unwrap();
    ledger.resolve(at(3), key(1), "done").unwrap();
    assert!(ledger.requeue(at(3), key(1), 1).is_err());
    assert!(ledger.working(OrderId(1)).is_none());
    assert_eq!(ledger.open_count(), 0);
}

#[test]
fn a_dead_letter_is_issued_again_once_and_is_closed_by_that() {
    let mut ledger = ledger();
    assert!(ledger.reissue(at(2), &reissue(key(1), 7)).is_err(), "it is not dead");
    ledger.dead_letter(at(2), key(1), &failed(Phase::NotSent)).unwrap();
    ledger.reissue(at(3), &reissue(key(1), 7)).unwrap();
    let parent = ledger.intent(&key(1)).unwrap();
    assert_eq!((&parent.state, parent.child(), parent.replay), (&IntentState::Resolved, Some(key(7)), 1));
    let child = ledger.intent(&key(7)).unwrap();
    assert_eq!((&child.state, child.parent), (&IntentState::Intended, Some(key(1))));
    let before = ledger.clone();
    assert!(ledger.reissue(at(4), &reissue(key(1), 8)).is_err(), "a second time");
    assert_eq!(ledger, before);
}

#[test]
fn a_slot_that_was_used_is_not_used_for_a_letter_that_is_issued_again() {
    let mut ledger = ledger();
    ledger.decide(at(1), &decision(2, submit(2), 0)).unwrap();
    ledger.dead_letter(at(2), key(1), &failed(Phase::NotSent)).unwrap();
    let before = ledger.clone();
    assert_eq!(ledger.reissue(at(3), &reissue(key(1), 2)), Err(LedgerError::SlotReused(key(2))));
    assert_eq!(ledger, before);
}

fn any_failure() -> impl Strategy<Value = Failure> {
    prop_oneof![Just(Phase::NotSent), Just(Phase::MaybeSent), Just(Phase::Done)].prop_map(failed)
}

fn any_change() -> impl Strategy<Value = OrderChange> {
    let number = || prop_oneof![any::<i64>(), 0_i64..12];
    prop_oneof![
        Just(OrderChange::Accepted),
        (number(), number(), number()).prop_map(|(quantity, price, leaves)| OrderChange::Filled {
            quantity: Lots(quantity),
            price: PriceTicks(price),
            leaves: Lots(leaves),
            fee: Money::ZERO,
            maker: false,
        }),
        (number(), prop::option::of(number())).prop_map(|(leaves, limit)| OrderChange::Amended {
            leaves: Lots(leaves),
            limit: limit.map(PriceTicks)
        }),
        Just(OrderChange::Cancelled),
        Just(OrderChange::Expired),
        Just(OrderChange::Rejected { code: "no".into(), detail: String::new() }),
    ]
}

fn any_update() -> impl Strategy<Value = OrderUpdate> {
    (0_u64..20, 1_u64..5, any_change()).prop_map(|(sequence, call, change)| OrderUpdate {
        sequence,
        key: key(call),
        change,
        venue_id: None,
    })
}

fn any_outcome() -> impl Strategy<Value = Outcome> {
    prop_oneof![
        prop::collection::vec(any_update(), 0..3).prop_map(|updates| Outcome::Done { updates }),
        any_failure().prop_map(Outcome::Refused),
        any_failure().prop_map(Outcome::NotSent),
        any_failure().prop_map(Outcome::Ambiguous),
        Just(Outcome::Unknown),
    ]
}

fn any_record() -> impl Strategy<Value = Record> {
    let calls = || (1_u64..5).prop_map(key);
    let action = (0..3, 1_u64..4).prop_map(|(kind, id)| match kind {
        0 => Action::Cancel(OrderId(id)),
        1 => Action::Amend(AmendOrder { id: OrderId(id), quantity: Lots(1), limit: None }),
        _ => submit(id),
    });
    prop_oneof![
        (1_u64..5, action, 0_u8..2)
            .prop_map(|(call, action, body)| Record::Decided(decision(call, action, body))),
        (calls(), any::<u32>()).prop_map(|(key, attempt)| Record::Submitting {
            key,
            attempt,
            baseline: None
        }),
        (calls(), any_outcome()).prop_map(|(key, outcome)| Record::Attempted { key, attempt: 1, outcome }),
        (calls(), any_outcome()).prop_map(|(key, outcome)| Record::Queried { key, outcome }),
        any_update().prop_map(Record::Updated),
        calls().prop_map(|key| Record::Expired { key, why: ExpiredBecause::Moot }),
        calls().prop_map(|key| Record::Expired { key, why: ExpiredBecause::NeverArrived }),
        calls().prop_map(|key| Record::Denied { key, proof: Proof::DeniedTwice }),
        calls().prop_map(|key| Record::Denied { key, proof: Proof::Replayed }),
        (calls(), any_failure()).prop_map(|(key, failure)| Record::DeadLettered { key, failure }),
        (calls(), any::<u32>()).prop_map(|(key, replay)| Record::Requeued { key, replay }),
        calls().prop_map(|key| Record::Resolved { key, note: String::new() }),
        (calls(), any_failure()).prop_map(|(key, failure)| Record::ReplayRefused { key, replay: 1, failure }),
        (calls(), 1_u64..9).prop_map(|(parent, call)| Record::Reissued(reissue(parent, call))),
        Just(Record::Started {
            incarnation: 1,
            plugin: Digest::of(b"p"),
            symbols: Vec::new(),
            cash: Money::ZERO,
            forgot: 0,
            since: 0,
            terms: None,
            settings: None,
            configured: None,
            next_order: 0,
        }),
    ]
}

proptest! {
    #[test]
    fn no_record_panics_and_a_closed_intent_stays_closed_but_for_the_venue_and_the_operator(
        records in prop::collection::vec((any_record(), any::<u32>()), 1..60),
    ) {
        let mut ledger = Ledger::default();
        for (record, second) in records {
            let before = ledger.clone();
            let outcome = ledger.fold(at(u64::from(second)), &record);
            for (key, intent) in before.intents() {
                let after = ledger.intent(key).unwrap();
                let denied = matches!(
                    record,
                    Record::Expired { why: ExpiredBecause::NeverArrived, .. }
                        | Record::Denied { proof: Proof::DeniedTwice, .. }
                );
                let forgotten = intent.maybe_executed() && !after.maybe_executed();
                prop_assert!(!forgotten || denied, "ambiguity was forgotten");
                if !intent.state.is_terminal() || intent.state == after.state {
                    continue;
                }
                let explained = match &record {
                    Record::Updated(_) => true,
                    Record::Attempted { outcome: Outcome::Done { .. }, .. } => true,
                    Record::Queried { outcome: Outcome::Done { .. }, .. } => true,
                    Record::Requeued { .. } | Record::Resolved { .. } | Record::Reissued(_) => {
                        matches!(intent.state, IntentState::DeadLettered { .. })
                    }
                    _ => false,
                };
                prop_assert!(explained, "{:?} became {:?} by {record:?}", intent.state, after.state);
            }
            if outcome.is_err() {
                prop_assert_eq!(&before, &ledger, "a record that does not fit changes nothing");
            }
            let open = ledger.intents().iter().filter(|(_, intent)| !intent.state.is_terminal());
            prop_assert_eq!(open.count(), ledger.open_count());
            let unresolved = IntentState::DeadLettered { ambiguous: true };
            let unresolved = ledger.intents().values().any(|intent| intent.state == unresolved);
            prop_assert_eq!(unresolved, ledger.unresolved().next().is_some());
            if second % 7 == 0 {
                let _ = ledger.prune(at(u64::from(second)), |_| false);
            }
        }
    }
}
