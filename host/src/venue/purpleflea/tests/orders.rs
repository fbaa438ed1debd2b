use super::server::{
    Answer, Server, about, before, cancel, close, history, limit, ok, place, positions, sendable, words,
};
use crate::market::{Lots, Money, PriceTicks};
use crate::orders::{OrderKind, Sendable};
use crate::venue::tests::key;
use crate::venue::{OrderChange, Outcome, Venue as _};
use rust_decimal::Decimal;

const OPEN: &str = "/v1/trade/open";
const CLOSE: &str = "/v1/trade/close";
const POSITIONS: &str = "/v1/trade/positions";
const HISTORY: &str = "/v1/trade/history";

/// A reply to an open of `BTC`, with some fields as given.
fn opened(size_usd: &str, entry_price: &str, fee: &str) -> String {
    format!(
        concat!(
            r#"{{"position_id":"pos_2","order_id":"ord_2","coin":"BTC","ticker":"BTC","category":"crypto","#,
            r#""dex":"main","side":"long","size_usd":{},"entry_price":{},"leverage":1,"max_leverage":50,"#,
            r#""margin_used":900,"liquidation_price":null,"fee":{},"fee_breakdown":{{"hyperliquid":0.32}},"#,
            r#""hl_order_id":7,"execution":"real","status":"open","_info":{{"service":"agent-trading"}}}}"#
        ),
        size_usd, entry_price, fee
    )
}

async fn open_with(answer: Answer) -> Outcome {
    let server = Server::start().await;
    server.on(OPEN, answer);
    server.venue.send(&sendable(place(15, |_| ()), 0)).await.outcome
}

#[tokio::test]
async fn a_filled_open_is_accepted_and_filled_in_lots_and_ticks() {
    let Outcome::Done { updates } = open_with(ok(&opened("900.15", "60010.24", "0.5"))).await else {
        panic!("expected a fill")
    };
    assert_eq!(updates[0].change, OrderChange::Accepted);
    assert_eq!(updates[0].venue_id.as_deref(), Some("ord_2"));
    let filled = OrderChange::Filled {
        quantity: Lots(15),
        price: PriceTicks(120_020),
        leaves: Lots(0),
        fee: Money::new(Decimal::new(5, 1)),
        maker: false,
    };
    assert_eq!((updates[1].sequence, &updates[1].change, updates.len()), (2, &filled, 2));
}

#[tokio::test]
async fn the_rest_of_a_partial_open_is_cancelled() {
    let outcome = open_with(ok(&opened("600.1", "60010", "0.3"))).await;
    assert_eq!(words(&outcome), "done accepted filled 10 cancelled");
}

#[tokio::test]
async fn numbers_that_cannot_be_leave_the_outcome_open() {
    for (size, price, fee) in [
        ("null", "60000", "0.5"),
        ("900", "null", "0.5"),
        ("900", "60000", "null"),
        ("-900", "60000", "0.5"),
        ("0", "60000", "0.5"),
        ("1e308", "60000", "0.5"),
        ("900", "1e308", "0.5"),
        ("900", "1e-300", "0.5"),
        ("900", "60000", "-0.5"),
        ("900", "60000", "901"),
        ("NaN", "60000", "0.5"),
        ("\"900\"", "60000", "0.5"),
        ("870", "60000", "0.5"),
        ("18000", "60000", "0.5"),
    ] {
        let outcome = open_with(ok(&opened(size, price, fee))).await;
        assert_eq!(words(&outcome), "ambiguous reply_undecodable", "{size} {price} {fee}");
    }
}

#[tokio::test]
async fn a_reply_about_something_else_or_with_a_key_twice_is_no_reply() {
    let good = opened("900", "60000", "0.5");
    let twice = good.replace(r#""fee":0.5"#, r#""fee":0.5,"size_usd":600"#);
    for body in [good.replace("\"BTC\"", "\"ETH\""), good.replace("long", "short"), twice, "[]".into()] {
        assert_eq!(words(&open_with(ok(&body)).await), "ambiguous reply_undecodable", "{body}");
    }
}

#[tokio::test]
async fn whatever_breaks_after_the_request_has_left_is_ambiguous() {
    for (answer, expected) in [
        (Answer::Html(502), "ambiguous http_502"),
        (Answer::Html(200), "ambiguous reply_undecodable"),
        (Answer::Json(500, r#"{"error":"internal_error"}"#.into()), "ambiguous internal_error"),
        (Answer::Silence, "ambiguous timeout"),
        (Answer::Truncated, "ambiguous incomplete"),
        (Answer::Hangup, "ambiguous incomplete"),
        (Answer::Redirect, "ambiguous http_307"),
    ] {
        let outcome = open_with(answer.clone()).await;
        assert_eq!(words(&outcome), expected, "{answer:?}");
    }
}

#[tokio::test]
async fn a_write_is_sent_once_on_a_connection_of_its_own_and_names_the_key_of_the_account() {
    let server = Server::start().await;
    server.on(OPEN, ok(&opened("900", "60000", "0.5")));
    for _ in 0..2 {
        assert!(words(&server.venue.send(&sendable(place(15, |_| ()), 0)).await.outcome).starts_with("done"));
    }
    assert_eq!((server.seen().len(), server.connections()), (2, 2));
    let request = &server.seen()[0];
    assert!(request.contains("authorization: Bearer sk_trade_1234"), "{request}");
    assert!(request.ends_with(r#"{"coin":"BTC","side":"long","size_usd":900,"leverage":1}"#), "{request}");
    assert!(!format!("{:?}", server.venue).contains("1234"));
}

#[tokio::test]
async fn a_venue_that_cannot_be_reached_was_sent_nothing() {
    let server = Server::with(|config| config.base_url = "http://127.0.0.1:1".into()).await;
    let outcome = server.venue.send(&sendable(place(15, |_| ()), 0)).await.outcome;
    assert_eq!(words(&outcome), "not-sent connect");
}

const CLOSED: &str = concat!(
    r#"{"position_id":"pos_1","coin":"BTC","ticker":"BTC","side":"long","entry_price":60000,"exit_price":60100,"#,
    r#""size_usd":900,"leverage":1,"pnl":1.5,"pnl_percent":0.17,"fee":0.5,"hl_order_id":8,"execution":"real","#,
    r#""status":"closed","_info":{}}"#
);

#[tokio::test]
async fn a_close_is_believed_when_the_exchange_shows_it() {
    for (after, expected) in [
        (vec![positions(0)], "done accepted filled 15"),
        (vec![positions(4)], "done accepted filled 11 cancelled"),
        (vec![positions(15)], "ambiguous close_unverified"),
        (vec![positions(-3)], "ambiguous close_unverified"),
        (vec![positions(16)], "ambiguous close_unverified"),
        (vec![positions(0), positions(15)], "ambiguous positions_disagree"),
        (vec![Answer::Html(502)], "ambiguous http_502"),
        (vec![ok(r#"{"positions":[],"count":0,"source":"database"}"#)], "ambiguous positions_from_database"),
    ] {
        let server = Server::start().await;
        server.on(CLOSE, ok(CLOSED));
        for answer in after.clone() {
            server.on(POSITIONS, answer);
        }
        let outcome = server.venue.send(&sendable(close(15), 15)).await.outcome;
        assert_eq!(words(&outcome), expected, "{after:?}");
        assert!(server.seen()[0].ends_with(r#"{"position_id":"pos_1"}"#), "{:?}", server.seen());
    }
}

#[tokio::test]
async fn a_close_is_not_sent_when_the_position_is_not_the_one_that_was_meant() {
    let mut nameless = before(15);
    nameless.position_id = None;
    for (baseline, expected) in [
        (Some(before(16)), "refused position_changed"),
        (Some(before(-15)), "refused position_changed"),
        (Some(before(0)), "refused position_changed"),
        (Some(nameless), "refused position_without_id"),
        (None, "refused no_baseline"),
    ] {
        let server = Server::start().await;
        let outcome = server.venue.send(&Sendable::journaled(close(15), baseline)).await.outcome;
        assert_eq!(words(&outcome), expected);
        assert!(server.seen().is_empty(), "nothing was sent");
    }
}

#[tokio::test]
async fn an_order_that_waits_tells_its_id_and_is_cancelled_by_it() {
    let server = Server::start().await;
    server.on("/v1/trade/limit", Answer::Json(201, r#"{"order_id":"ord_0a","status":"pending"}"#.into()));
    server.on("/v1/trade/limit-orders/ord_0a", ok(r#"{"order_id":"ord_0a","status":"cancelled"}"#));
    let Outcome::Done { updates } = server.venue.send(&sendable(limit(15), 0)).await.outcome else {
        panic!("expected an accepted order")
    };
    assert_eq!((updates.len(), updates[0].venue_id.as_deref()), (1, Some("ord_0a")));
    let outcome = server.venue.send(&sendable(cancel("ord_0a"), 0)).await.outcome;
    assert_eq!(words(&outcome), "done cancelled");
    let Outcome::Done { updates } = outcome else { unreachable!() };
    assert_eq!(updates[0].key, key(1), "the change is of the order, not of the cancel");
    assert!(server.seen()[1].starts_with("DELETE /v1/trade/limit-orders/ord_0a "), "{:?}", server.seen());
}

#[tokio::test]
async fn a_stop_loss_names_the_position_that_was_read_before() {
    let server = Server::start().await;
    server.on("/v1/trade/stop-loss", ok(r#"{"position_id":"pos_1","stop_loss":55000,"_info":{}}"#));
    let request = place(-15, |order| {
        (order.held, order.options.reduce_only) = (Lots(15), true);
        order.kind = OrderKind::Stop(PriceTicks(110_000));
    });
    let outcome = server.venue.send(&sendable(request, 15)).await.outcome;
    assert_eq!(words(&outcome), "done accepted");
    let expected = r#"{"position_id":"pos_1","trigger_price":55000}"#;
    assert!(server.seen()[0].ends_with(expected), "{:?}", server.seen());
}

#[tokio::test]
async fn what_became_of_an_open_is_read_from_the_account() {
    let rows: &[(&str, &str, &str)] = &[("t1", "buy", "900")];
    for (first, second, trades, expected) in [
        (positions(15), positions(15), history(rows), "done accepted filled 15"),
        (positions(15), positions(15), history(&[]), "done accepted filled 15"),
        (positions(0), positions(0), history(&[]), "unknown"),
        (positions(0), positions(15), history(rows), "ambiguous evidence_unclear"),
        (positions(40), positions(40), history(&[]), "ambiguous evidence_unclear"),
        (positions(0), positions(0), Answer::Html(504), "ambiguous http_504"),
        (Answer::Silence, positions(0), history(&[]), "ambiguous timeout"),
        (
            ok(r#"{"positions":[{"id":"pos_1","sizeUsd":900}],"count":1,"source":"database"}"#),
            positions(0),
            history(&[]),
            "ambiguous positions_from_database",
        ),
    ] {
        let server = Server::start().await;
        server.on(POSITIONS, first).on(POSITIONS, second).on(HISTORY, trades);
        let outcome = server.venue.query(&about(place(15, |_| ()), 0, None)).await.outcome;
        assert_eq!(words(&outcome), expected);
        assert!(
            server.seen().iter().all(|request| request.starts_with("GET ")),
            "a question changes nothing"
        );
    }
}

#[tokio::test]
async fn an_answer_found_twice_has_the_same_sequence_numbers() {
    let server = Server::start().await;
    server.on(POSITIONS, positions(15)).on(HISTORY, history(&[("t1", "buy", "900")]));
    let question = about(place(15, |_| ()), 0, None);
    let first = server.venue.query(&question).await.outcome;
    assert_eq!(first, server.venue.query(&question).await.outcome);
    let Outcome::Done { updates } = first else { panic!("expected evidence") };
    let sequences: Vec<u64> = updates.iter().map(|update| update.sequence).collect();
    assert_eq!(sequences, [1, 2]);
}

#[tokio::test]
async fn a_waiting_order_is_asked_about_by_its_id() {
    let list = |status: &str| {
        ok(&format!(
            concat!(
                r#"{{"orders":[{{"order_id":"ord_0a","coin":"BTC","side":"long","size_usd":825,"#,
                r#""limit_price":55000,"status":"{}","created_at":1700000001}}]}}"#
            ),
            status
        ))
    };
    for (listed, held, trades, venue_id, expected) in [
        (list("pending"), 0, history(&[]), Some("ord_0a"), "done accepted"),
        (list("pending"), 0, history(&[]), None, "done accepted"),
        (list("cancelled"), 0, history(&[]), Some("ord_0a"), "done accepted cancelled"),
        (list("filled"), 0, history(&[]), Some("ord_0a"), "unknown"),
        (ok(r#"{"orders":[]}"#), 0, history(&[]), Some("ord_0a"), "unknown"),
        (ok(r#"{"orders":[]}"#), 0, history(&[]), None, "unknown"),
        (list("filled"), 15, history(&[("0a", "buy", "900")]), Some("ord_0a"), "done accepted filled 15"),
        // Ours by everything but the id, at a price above the limit: somebody else's, perhaps.
        (list("filled"), 14, history(&[("t9", "buy", "840")]), Some("ord_0a"), "ambiguous evidence_unclear"),
        (Answer::Html(502), 0, history(&[]), Some("ord_0a"), "ambiguous http_502"),
    ] {
        let server = Server::start().await;
        server.on(POSITIONS, positions(held)).on(HISTORY, trades).on("/v1/trade/limit-orders", listed);
        let outcome = server.venue.query(&about(limit(15), 0, venue_id)).await.outcome;
        assert_eq!(words(&outcome), expected, "{venue_id:?} {held}");
    }
}

#[tokio::test]
async fn what_became_of_a_cancel_is_read_from_the_list() {
    let list = |status: &str| {
        ok(&format!(r#"{{"orders":[{{"id":"ord_0a","coin":"BTC","side":"long","status":"{status}"}}]}}"#))
    };
    for (listed, expected) in [
        (list("pending"), "done accepted"),
        (list("cancelled"), "done cancelled"),
        (list("filled"), "unknown"),
        (ok(r#"{"orders":[]}"#), "unknown"),
        (Answer::Html(502), "ambiguous http_502"),
    ] {
        let server = Server::start().await;
        server.on("/v1/trade/limit-orders", listed);
        let outcome = server.venue.query(&about(cancel("ord_0a"), 0, None)).await.outcome;
        assert_eq!(words(&outcome), expected);
    }
}
