//! A venue on a good day, and the close that takes the whole coin.

use super::super::setup::{facts, text};
use super::rig::{Plan, Rig, alerts};
use ringfence::venue::paper::purpleflea::FleaRoute;
use rust_decimal::Decimal;

#[test]
fn a_strategy_trades_and_the_books_are_the_venues_to_the_cent() {
    let rig = Rig::new(&Plan { agent: "on_stop = \"flatten\"", ..Plan::default() });
    let output = rig.run();
    assert!(output.status.success(), "{}", text(&output.stderr));
    let account = rig.account();
    assert!(account.executions.len() > 8, "{account:?}");
    assert!(rig.truth().arrived(FleaRoute::Close) <= 1);
    assert_eq!(rig.truth().arrived(FleaRoute::CloseAll), 0, "it sends nothing to the exchange");
    rig.assert_nothing_twice();
    rig.assert_books_equal(&output);
    assert!(rig.letters().is_empty());
    assert_eq!(facts(&output)["alerts"], serde_json::json!({}));
    rig.assert_key_is_secret(&[&output]);
}

/// A run that holds a position, and the next that has to close it on its way out.
fn to_close(rules: &[&str]) -> Rig {
    let rig = Rig::new(&Plan { ticks: 7, ..Plan::default() });
    assert!(rig.run().status.success());
    assert!(!rig.account().position("TEST").is_zero());
    rig.reconfigure("on_stop = \"hold\"", "on_stop = \"flatten\"");
    rig.feed(1);
    // The venue counts seconds, and the order of what it did in one of them is not told.
    rig.venue.advance_ms(2_000);
    rig.rules(rules);
    rig
}

#[test]
fn a_host_that_stops_closes_the_coin_whatever_becomes_of_the_reply() {
    for rule in [
        "close:drop-after:next=1",
        "close:fail-after-fill:next=1",
        "close:fail-after-insert:next=1",
        "close:html-after=504:next=1",
        "close:slow-loris=31000:next=1",
        "close:rate-limited:next=2",
        "close:duplicate:next=1",
        "positions:database-positions:next=2",
    ] {
        let rig = to_close(&[rule]);
        let output = rig.run();
        assert!(output.status.success(), "{rule}: {}", text(&output.stderr));
        assert!(rig.account().position("TEST").is_zero(), "{rule}: {}", text(&output.stderr));
        assert_eq!(rig.truth().arrived(FleaRoute::CloseAll), 0, "it sends nothing to the exchange");
        rig.assert_nothing_twice();
        rig.assert_books_equal(&output);
        assert!(rig.letters().is_empty(), "{rule}: {:?}", rig.letters());
    }
}

#[test]
fn what_a_close_left_is_booked_and_named_and_the_exit_code_says_so() {
    let rig = to_close(&["close:partial-fill=500:next=1"]);
    let output = rig.run();
    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    rig.assert_nothing_twice();
    let left = rig.account().position("TEST").abs();
    assert_eq!(left, Decimal::new(2, 1), "one lot of three was filled");
    assert_eq!(rig.books()["positions"]["TEST"].as_i64().unwrap().abs(), 2);
    assert_eq!(alerts(&output, "flatten_failed"), 1, "{stderr}");
    assert!(stderr.contains("2 lots of TEST"), "{stderr}");
    assert!(stderr.contains("has no id for the position"), "{stderr}");
}

#[test]
fn a_close_that_is_lost_is_asked_about_and_named() {
    let rig = to_close(&["close:drop-before:next=1"]);
    let output = rig.run();
    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert_eq!(rig.letters().len(), 1, "{stderr}");
    assert_eq!(alerts(&output, "closing_waits"), 1, "{stderr}");
    assert_eq!(alerts(&output, "flatten_in_doubt"), 1, "{stderr}");
    assert!(stderr.contains("TEST -3 lots"), "{stderr}");
    // Nothing of it arrived: a person looks, says so, and the next start closes.
    let id = rig.letters()[0]["id"].as_str().unwrap().to_owned();
    assert!(rig.state(&["dlq", "resolve", &id, "--note", "the position is as it was"]).status.success());
    let output = rig.run();
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(rig.account().position("TEST").is_zero());
    rig.assert_nothing_twice();
    rig.assert_books_equal(&output);
}

/// Short by one order and long by the next, which the exchange nets and the venue's rows do not: the id of the long
/// position is that of the short row, and its close is in the history as a purchase.
#[test]
fn a_close_that_the_venue_books_on_an_older_row_of_the_other_side_is_found() {
    let rig = Rig::new(&Plan { ticks: 7, ..Plan::default() });
    assert!(rig.run().status.success());
    assert!(rig.account().position("TEST").is_sign_negative());
    rig.reconfigure("quantity = 3", "quantity = 6");
    rig.reconfigure("on_stop = \"hold\"", "on_stop = \"flatten\"");
    rig.feed(4);
    rig.rules(&["close:drop-after:next=1"]);
    let output = rig.run();
    assert!(output.status.success(), "{}", text(&output.stderr));
    let account = rig.account();
    let (row, execution) = (account.trades.last().unwrap(), account.executions.last().unwrap());
    assert_eq!((row.side.as_str(), execution.side.as_str()), ("buy", "sell"));
    assert!(account.position("TEST").is_zero() && rig.letters().is_empty());
    rig.assert_books_equal(&output);
}
