//! Each fault of the venue, what the client says of an order that meets it, and what it finds out afterwards.

use super::rig::{Sent, Two, words};
use crate::market::Lots;
use crate::orders::OrderKind;
use crate::venue::Venue as _;
use crate::venue::paper::purpleflea::FleaRoute;

/// What was said at once, how often it was executed, and what a question found.
async fn meets(two: &Two, fault: &str, sent: impl AsyncFnOnce(&Two) -> Sent) -> (String, usize, String) {
    two.faults(&[fault]);
    let mut sent = sent(two).await;
    let said = words(&sent.outcome);
    let executed = two.executions(&sent).len();
    let found = two.ask(&mut sent).await;
    let told = sent.told.lots.0.abs();
    if found.starts_with("done") {
        assert_eq!(told, two.moved(&sent).abs(), "{fault}: all of it was told");
    }
    (said, executed, found)
}

#[tokio::test]
async fn an_open_that_meets_a_fault_is_found_or_stays_unknown() {
    let done = "done accepted filled 100";
    for (fault, said, executed, found) in [
        ("drop-before", "ambiguous incomplete", 0, "unknown"),
        ("drop-after", "ambiguous incomplete", 1, done),
        ("html-before=502", "ambiguous http_502", 0, "unknown"),
        ("html-before=503", "ambiguous http_503", 0, "unknown"),
        ("html-after=502", "ambiguous http_502", 1, done),
        ("html-after=504", "ambiguous http_504", 1, done),
        ("fail-after-fill", "ambiguous trade_failed", 1, done),
        ("fail-after-insert", "ambiguous trade_failed", 1, done),
        ("rate-limited", "not-sent rate_limited", 0, "unknown"),
        ("null-price", "refused no_price", 0, "unknown"),
        ("nan-price", "refused no_price", 0, "unknown"),
        ("frozen-price", done, 1, done),
        ("partial-fill=500", "done accepted filled 50 cancelled", 1, "done accepted filled 50 cancelled"),
        ("slow-loris=60000", "ambiguous timeout", 1, done),
        // Delivered twice: one was told, and the question sees two and which is ours nobody knows.
        ("duplicate", done, 2, "ambiguous evidence_unclear"),
    ] {
        for lots in [100, -100] {
            let two = Two::with(|_| (), |config| config.request_timeout_ms = 500).await;
            let open = async |two: &Two| two.send(two.order(lots, |_| ())).await;
            let met = meets(&two, &format!("open:{fault}:next=1"), open).await;
            let reset = |said: &str| said.replace("ambiguous reset", "ambiguous incomplete");
            assert_eq!((reset(&met.0), met.1, met.2), (said.into(), executed, found.into()), "{fault}");
        }
    }
}

#[tokio::test]
async fn an_open_on_top_of_a_position_is_found_alike() {
    let done = "done accepted filled 100";
    for fault in ["drop-after", "fail-after-fill", "fail-after-insert", "html-after=502"] {
        for (held, lots) in [(50, 100), (-50, 100), (50, -100), (-50, -100)] {
            let two = Two::start().await;
            two.filled(held).await;
            two.seen("SPX", "100.5");
            let open = async |two: &Two| two.send(two.order(lots, |_| ())).await;
            let (_, executed, found) = meets(&two, &format!("open:{fault}:next=1"), open).await;
            assert_eq!((executed, found.as_str()), (1, done), "{fault} of {lots} on top of {held}");
        }
    }
}

#[tokio::test]
async fn a_close_that_meets_a_fault_is_found_or_stays_unknown() {
    let done = "done accepted filled 100";
    for (fault, said, executed, found) in [
        ("drop-before", "ambiguous incomplete", 0, "unknown"),
        ("drop-after", "ambiguous incomplete", 1, done),
        ("html-before=502", "ambiguous http_502", 0, "unknown"),
        ("html-after=502", "ambiguous http_502", 1, done),
        ("fail-after-fill", "ambiguous close_failed", 1, done),
        ("fail-after-insert", "ambiguous close_failed", 1, done),
        ("rate-limited", "not-sent rate_limited", 0, "unknown"),
        ("null-price", "ambiguous close_failed", 0, "unknown"),
        ("partial-fill=0", "ambiguous close_failed", 0, "unknown"),
        ("partial-fill=300", "done accepted filled 30 cancelled", 1, "done accepted filled 30 cancelled"),
        ("slow-loris=60000", "ambiguous timeout", 1, done),
        // The second finds the row closed: 404, after the first has closed it.
        ("duplicate", "ambiguous position_not_found", 1, done),
    ] {
        for held in [100, -100] {
            let two = Two::with(|_| (), |config| config.request_timeout_ms = 500).await;
            two.filled(held).await;
            let close = async |two: &Two| two.send(two.exit(held, OrderKind::Market)).await;
            let met = meets(&two, &format!("close:{fault}:next=1"), close).await;
            let reset = |said: &str| said.replace("ambiguous reset", "ambiguous incomplete");
            assert_eq!((reset(&met.0), met.1, met.2), (said.into(), executed, found.into()), "{fault}");
        }
    }
}

#[tokio::test]
async fn an_open_that_was_cheaper_than_the_venue_thought_is_found_alike() {
    for fault in ["drop-after", "fail-after-fill", "fail-after-insert"] {
        let two = Two::start().await;
        two.filled(10).await;
        two.last("SPX", "97");
        let open = async |two: &Two| two.send(two.order(100, |_| ())).await;
        let met = meets(&two, &format!("open:{fault}:next=1"), open).await;
        assert_eq!((met.1, met.2.as_str()), (1, "done accepted filled 100"), "{fault}");
    }
}

#[tokio::test]
async fn an_order_that_executes_late_is_unknown_until_it_does() {
    for held in [0, 40] {
        let two = Two::start().await;
        if held > 0 {
            two.filled(held).await;
        }
        two.faults(&["open:late=600000:next=1"]);
        let mut open = two.send(two.order(100, |_| ())).await;
        assert!(words(&open.outcome).starts_with("ambiguous"), "{:?}", open.outcome);
        for _ in 0..3 {
            assert_eq!(two.ask(&mut open).await, "unknown");
            two.paper.advance_ms(100_000);
        }
        two.last("SPX", "101");
        two.paper.advance_ms(300_000);
        assert_eq!(two.executions(&open).len(), 1);
        assert_eq!(
            two.ask(&mut open).await,
            "done accepted filled 99 cancelled",
            "by then the same dollars are 99 lots"
        );
    }
}

#[tokio::test]
async fn a_close_that_executes_late_is_unknown_until_it_does() {
    let two = Two::start().await;
    two.filled(100).await;
    two.faults(&["close:late=600000:next=1"]);
    let mut close = two.send(two.exit(100, OrderKind::Market)).await;
    assert_eq!(two.ask(&mut close).await, "unknown");
    two.paper.advance_ms(600_000);
    assert_eq!((two.ask(&mut close).await, two.held()), ("done accepted filled 100".into(), 0));
}

#[tokio::test]
async fn a_row_of_the_same_second_as_the_newest_before_is_not_missed() {
    let two = Two::start().await;
    // All of it in one second of a clock that stands still: the history shows the older rows first.
    for _ in 0..3 {
        two.filled(100).await;
    }
    two.faults(&["open:drop-after:next=1"]);
    let mut open = two.send(two.order(100, |_| ())).await;
    assert_eq!(two.ask(&mut open).await, "done accepted filled 100");
    assert_eq!(open.told.venue_id, two.executions(&open)[0].order_id, "its own row and no other");
}

#[tokio::test]
async fn a_burst_of_429_sends_nothing_and_ends() {
    let two = Two::with(|config| config.trades_per_minute = 1, |_| ()).await;
    two.filled(100).await;
    for _ in 0..3 {
        let sent = two.send(two.order(100, |_| ())).await;
        assert_eq!(words(&sent.outcome), "not-sent rate_limited");
    }
    two.paper.advance_ms(60_001);
    two.filled(100).await;
    assert_eq!(two.held(), 200);
}

#[tokio::test]
async fn a_question_that_meets_a_fault_says_nothing_about_the_order() {
    for (fault, expected) in [
        ("positions:database-positions:next=1", "ambiguous positions_from_database"),
        ("positions:empty-positions:next=1", "ambiguous evidence_unclear"),
        ("positions:html-before=502:next=1", "ambiguous http_502"),
        ("positions:drop-before:next=1", "ambiguous incomplete"),
        ("positions:slow-loris=60000:next=1", "ambiguous timeout"),
        ("positions:nan-price:next=1", "ambiguous reply_undecodable"),
        ("history:html-before=504:next=1", "ambiguous http_504"),
        ("history:drop-after:next=1", "ambiguous incomplete"),
        ("history:rate-limited:next=1", "ambiguous http_429"),
    ] {
        let two = Two::with(|_| (), |config| config.request_timeout_ms = 500).await;
        two.filled(50).await;
        two.faults(&["open:drop-after:next=1"]);
        let mut open = two.send(two.order(100, |_| ())).await;
        two.faults(&[fault]);
        let found = two.ask(&mut open).await.replace("ambiguous reset", "ambiguous incomplete");
        assert_eq!(found, expected, "{fault}");
        assert_eq!(two.ask(&mut open).await, "done accepted filled 100", "healed after {fault}");
    }
}

#[tokio::test]
async fn a_list_that_is_empty_twice_hides_no_fill_of_which_there_is_a_row() {
    let two = Two::start().await;
    two.filled(50).await;
    two.faults(&["open:drop-after:next=1"]);
    let mut open = two.send(two.order(100, |_| ())).await;
    two.faults(&["positions:empty-positions:next=2"]);
    assert_eq!(two.ask(&mut open).await, "done accepted filled 100", "the row is proof");
    let two = Two::start().await;
    two.filled(50).await;
    two.faults(&["open:drop-before:next=1"]);
    let mut open = two.send(two.order(100, |_| ())).await;
    two.faults(&["positions:empty-positions:next=2"]);
    assert_eq!(two.ask(&mut open).await, "ambiguous evidence_unclear", "50 lots cannot be gone");
    assert_eq!(two.ask(&mut open).await, "unknown");
}

#[tokio::test]
async fn a_baseline_that_meets_a_fault_is_not_given_and_nothing_is_sent() {
    for (fault, code) in [
        ("positions:database-positions:next=1", "positions_from_database"),
        ("positions:html-before=502:next=1", "http_502"),
        ("positions:nan-price:next=1", "reply_undecodable"),
        ("history:html-after=502:next=1", "http_502"),
        ("price:null-price:next=1", "reply_undecodable"),
        ("price:nan-price:next=1", "reply_undecodable"),
        ("price:html-before=503:next=1", "http_503"),
    ] {
        let two = Two::start().await;
        two.filled(50).await;
        two.faults(&[fault]);
        let failure = two.venue.baseline(&two.order(100, |_| ())).await.unwrap_err();
        assert_eq!((failure.code.as_ref(), two.arrived(FleaRoute::Open)), (code, 1), "{fault}");
    }
    let two = Two::start().await;
    two.filled(50).await;
    two.faults(&["positions:empty-positions:next=1"]);
    let failure = two.venue.baseline(&two.order(100, |_| ())).await.unwrap_err();
    assert_eq!(failure.code, "positions_disagree", "nothing, and then something");
}

#[tokio::test]
async fn a_close_whose_confirmation_fails_is_found_afterwards() {
    for fault in ["database-positions", "html-before=502", "empty-positions"] {
        let two = Two::start().await;
        two.filled(100).await;
        let request = two.exit(100, OrderKind::Market);
        let baseline = two.venue.baseline(&request).await.unwrap();
        two.faults(&[&format!("positions:{fault}:next=1")]);
        let mut close = two.send_after(request, baseline).await;
        let said = words(&close.outcome);
        assert!(said.starts_with("ambiguous") || fault == "empty-positions", "{fault}: {said}");
        assert_eq!(two.ask(&mut close).await, "done accepted filled 100", "{fault}");
    }
}

#[tokio::test]
async fn a_fill_that_a_duplicate_has_made_shows_in_the_positions() {
    let two = Two::start().await;
    two.faults(&["open:duplicate:next=1"]);
    let open = two.send(two.order(100, |_| ())).await;
    assert_eq!((open.told.lots, two.held()), (Lots(100), 200));
    assert_eq!(two.venue.positions().await.unwrap()[0].quantity, Lots(200));
}
