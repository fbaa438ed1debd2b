//! Every fault of the venue in turn: at most one execution of an intent by the host's doing, none without the
//! books or a dead letter that names it, and what a person is told.

use super::super::setup::{facts, text};
use super::rig::{Plan, Rig, alerts};
use std::process::Output;

/// What becomes of the order that the fault befalls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// It is executed once, and the host finds out.
    Booked,
    /// It never is, and nobody can prove that: a person decides.
    Letter,
    /// The venue said no, and meant it.
    Refused,
}

/// A run in which this befalls the first order, from a flat or from a held position.
fn befalls(rules: &[&str], from_held: bool) -> (Rig, Output) {
    befalls_in(60, rules, from_held)
}

fn befalls_in(ticks: usize, rules: &[&str], from_held: bool) -> (Rig, Output) {
    let rig = Rig::new(&Plan { ticks: if from_held { 7 } else { ticks }, ..Plan::default() });
    if from_held {
        assert!(rig.run().status.success());
        assert!(!rig.account().position("TEST").is_zero());
        rig.feed(ticks);
    }
    rig.rules(rules);
    let output = rig.run();
    (rig, output)
}

fn check(rule: &str, fate: Fate) {
    check_in(60, rule, fate);
}

fn check_in(ticks: usize, rule: &str, fate: Fate) {
    for from_held in [false, true] {
        let (rig, output) = befalls_in(ticks, &[rule], from_held);
        let context = format!("{rule}, from held {from_held}: {}", text(&output.stderr));
        assert!(output.status.success(), "{context}");
        assert_eq!(rig.venue.faults().rules[0].to_string().split(":next").nth(1), Some("=0"), "{context}");
        rig.assert_nothing_twice();
        rig.assert_books_equal(&output);
        let letters = rig.letters();
        let letter = fate == Fate::Letter;
        assert_eq!(letters.len(), usize::from(letter), "{context}\n{letters:?}");
        assert_eq!(alerts(&output, "dead_letter"), u64::from(letter), "{context}");
        let opens = rig.account().executions.len();
        if letter {
            let key = letters[0]["id"].as_str().unwrap();
            assert_eq!(letters[0]["ambiguous"], true, "{context}");
            assert_eq!(rig.caused()[key], [], "{context}");
            assert_eq!(opens, usize::from(from_held), "the coin is locked: {context}");
        } else {
            assert!(opens > 8, "the agent traded on: {context}");
        }
        let rejected = facts(&output)["agents"][0]["rejected"].as_u64().unwrap();
        assert_eq!(rejected, u64::from(fate == Fate::Refused), "{context}");
    }
}

#[test]
fn a_request_that_never_arrives_is_not_sent_again_and_becomes_a_letter() {
    check("open:drop-before:next=1", Fate::Letter);
}

#[test]
fn an_order_whose_reply_is_lost_is_found_in_the_account() {
    check("open:drop-after:next=1", Fate::Booked);
}

#[test]
fn a_refusal_after_the_fill_without_a_row_is_no_refusal() {
    check("open:fail-after-fill:next=1", Fate::Booked);
}

#[test]
fn a_refusal_after_the_fill_with_a_row_is_no_refusal() {
    check("open:fail-after-insert:next=1", Fate::Booked);
}

#[test]
fn a_proxys_page_before_the_order_proves_nothing() {
    check("open:html-before=502:next=1", Fate::Letter);
}

#[test]
fn a_proxys_page_after_the_order_proves_nothing() {
    check("open:html-after=504:next=1", Fate::Booked);
}

#[test]
fn the_venues_own_limiter_is_waited_for_and_the_order_sent_once() {
    check("open:rate-limited:next=3", Fate::Booked);
}

#[test]
fn a_reply_that_comes_a_byte_at_a_time_is_not_waited_for() {
    check("open:slow-loris=31000:next=1", Fate::Booked);
}

#[test]
fn a_price_that_the_venue_does_not_have_is_a_refusal() {
    check("open:null-price:next=1", Fate::Refused);
}

#[test]
fn an_order_that_is_filled_in_part_is_booked_in_part() {
    check("open:partial-fill=500:next=1", Fate::Booked);
}

#[test]
fn an_order_that_nobody_trades_with_is_refused() {
    check("open:partial-fill=0:next=1", Fate::Refused);
}

#[test]
fn readings_that_fail_for_a_while_hold_orders_back_for_a_while() {
    for rule in [
        "positions:database-positions:next=3",
        "positions:empty-positions:next=1",
        "positions:empty-positions:next=2",
        "positions:drop-after:next=2",
        "positions:html-before=502:next=3",
        "positions:nan-price:next=2",
        "positions:null-price:next=4",
        "history:html-after=504:next=2",
        "history:slow-loris=31000:next=1",
    ] {
        // What is decided while the account cannot be read is only observed, and the data goes on meanwhile.
        check_in(400, rule, Fate::Booked);
    }
}

#[test]
fn an_account_that_can_never_be_read_keeps_everything_from_being_sent() {
    for rule in ["positions:database-positions:permille=1000", "history:html-before=502:permille=1000"] {
        let (rig, output) = befalls(&[rule], false);
        assert!(output.status.success(), "{rule}: {}", text(&output.stderr));
        assert!(rig.truth().requests.is_empty(), "{rule}: {:?}", rig.truth().requests);
        let told = ["baseline_unread", "reconcile_failed"].map(|code| alerts(&output, code));
        assert!(told.iter().sum::<u64>() > 0, "{rule}: {}", text(&output.stdout));
        rig.assert_books_equal(&output);
    }
}

#[test]
fn an_account_that_seems_empty_is_not_believed_over_the_books() {
    let (rig, output) = befalls(&["positions:empty-positions:permille=1000"], true);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(rig.account().executions.len(), 1, "only the first life traded: {}", text(&output.stderr));
    assert_eq!(alerts(&output, "position_mismatch"), 1, "{}", text(&output.stderr));
    rig.assert_books_equal(&output);
    rig.rules(&[]);
    let output = rig.run();
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(rig.account().executions.len() > 8, "it trades again: {}", text(&output.stderr));
    rig.assert_books_equal(&output);
}

/// The host sends once and is told of one execution; the other shows when the account is read next.
#[test]
fn a_request_that_is_delivered_twice_is_noticed_and_nothing_is_sent_on_top_of_it() {
    for from_held in [false, true] {
        let (rig, output) = befalls(&["open:duplicate:next=1"], from_held);
        assert!(output.status.success(), "{}", text(&output.stderr));
        let doubled: Vec<_> = rig.caused().into_values().filter(|caused| caused.len() != 1).collect();
        assert!(matches!(&doubled[..], [twice] if twice.len() == 2), "{doubled:?}");
        assert_eq!(rig.account().executions.len(), if from_held { 3 } else { 2 });
        assert!(alerts(&output, "position_mismatch") > 0, "{}", text(&output.stderr));
        assert!(alerts(&output, "baseline_unread") > 0, "{}", text(&output.stdout));
        let stderr = text(&output.stderr);
        assert!(stderr.contains("lots of TEST and the books have"), "{stderr}");
        // The next start finds the same, and says so again.
        let output = rig.run();
        assert!(alerts(&output, "position_mismatch") > 0, "{}", text(&output.stderr));
        assert_eq!(rig.account().executions.len(), if from_held { 3 } else { 2 });
    }
}

#[test]
fn an_order_that_is_executed_minutes_later_is_adopted_before_anything_else_is_sent() {
    let (rig, output) = befalls(&["open:late=180000:next=1"], false);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let letters = rig.letters();
    let id = letters[0]["id"].as_str().unwrap().to_owned();
    assert_eq!((letters.len(), rig.account().executions.len()), (1, 0), "{letters:?}");
    rig.venue.advance_ms(180_000);
    assert_eq!(rig.account().executions.len(), 1);
    let output = rig.run();
    assert!(output.status.success(), "{}", text(&output.stderr));
    let shown = facts(&rig.state(&["dlq", "show", &id]));
    assert_eq!(shown["state"], "resolved", "{shown}");
    rig.assert_nothing_twice();
    rig.assert_books_equal(&output);
    assert!(rig.account().executions.len() > 1, "it trades again: {}", text(&output.stderr));
}

#[test]
fn a_limit_that_two_pollers_fill_does_not_pass_unseen() {
    let rig = Rig::new(&Plan {
        component: "mean-reversion",
        settings: "{ window = 5, band = 0.5, quantity = 3, timeout = 8 }",
        ticks: 200,
        // A quick machine takes the order back before a slower look at it.
        resting_poll_ms: 1,
        rules: &["limit:double-fill:permille=1000"],
        ..Plan::default()
    });
    let output = rig.run();
    assert!(output.status.success(), "{}", text(&output.stderr));
    let account = rig.account();
    assert_eq!(account.executions.len(), 2, "nothing was ordered on top of it: {account:?}");
    let told = ["dead_letter", "position_mismatch", "baseline_unread"].map(|code| alerts(&output, code));
    assert!(told.iter().sum::<u64>() > 0, "{}", text(&output.stdout));
}
