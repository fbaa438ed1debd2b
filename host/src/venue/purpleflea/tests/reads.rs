use super::server::{Answer, Server, close, history, limit, ok, place, positions, sendable};
use crate::market::{InstrumentId, Lots};
use crate::venue::feed::{PriceFeed, PriceFeedConfig, PriceSource as _};
use crate::venue::purpleflea::PriceSource;
use crate::venue::{Readiness, SeenTrade, Venue as _};
use serde_json::json;
use std::sync::Arc;

const POSITIONS: &str = "/v1/trade/positions";
const HISTORY: &str = "/v1/trade/history";
const PRICE: &str = "/v1/markets/BTC/price";
const DATABASE: &str =
    r#"{"positions":[{"id":"pos_1","coin":"BTC","sizeUsd":900}],"count":1,"source":"database"}"#;

#[tokio::test]
async fn a_baseline_is_the_exchanges_count_the_newest_rows_and_the_price_of_the_venue() {
    let server = Server::start().await;
    server.on(PRICE, ok(r#"{"coin":"BTC","ticker":"BTC","price":60100,"timestamp":1}"#));
    server.on(POSITIONS, positions(-15)).on(HISTORY, history(&[("t7", "sell", "900")]));
    let baseline = server.venue.baseline(&place(15, |_| ())).await.unwrap();
    assert_eq!((baseline.position, baseline.position_id.as_deref()), (Lots(-15), Some("pos_1")));
    assert_eq!(baseline.newest_trades, [SeenTrade { id: "t7".into(), at_s: Some(1_700_000_000) }]);
    assert_eq!(baseline.sizing_price, Some(60_100.into()));
}

#[tokio::test]
async fn an_order_is_not_sized_by_a_price_that_is_none_or_another_than_it_was_decided_at() {
    for (price, expected) in [
        ("61201", "price_disagrees"),
        ("58799", "price_disagrees"),
        ("6", "price_disagrees"),
        ("null", "reply_undecodable"),
        ("NaN", "reply_undecodable"),
        ("0", "reply_undecodable"),
        ("-60000", "reply_undecodable"),
        ("\"60000\"", "reply_undecodable"),
    ] {
        let server = Server::start().await;
        server.on(POSITIONS, positions(15)).on(HISTORY, history(&[]));
        server.on(PRICE, ok(&format!(r#"{{"coin":"BTC","price":{price},"timestamp":1}}"#)));
        let failure = server.venue.baseline(&place(15, |_| ())).await.unwrap_err();
        assert_eq!(failure.code, expected, "{price}: {failure}");
    }
}

#[tokio::test]
async fn a_close_has_no_size_and_needs_no_price() {
    let server = Server::start().await;
    server.on(POSITIONS, positions(15)).on(HISTORY, history(&[]));
    assert_eq!(server.venue.baseline(&close(15)).await.unwrap().sizing_price, None);
}

#[tokio::test]
async fn the_orders_that_wait_are_part_of_what_was_before_another() {
    let server = Server::start().await;
    server.on(POSITIONS, positions(15)).on(HISTORY, history(&[]));
    let row = r#"{"order_id":"ord_0a","coin":"BTC","side":"long","status":"pending"}"#;
    server.on("/v1/trade/limit-orders", ok(&format!(r#"{{"orders":[{row}]}}"#)));
    assert_eq!(server.venue.baseline(&limit(15)).await.unwrap().waiting_orders, ["ord_0a"]);
}

#[tokio::test]
async fn a_baseline_that_could_be_wrong_is_not_given() {
    for (first, second, rows, expected) in [
        (ok(DATABASE), positions(0), history(&[]), "positions_from_database"),
        (positions(0), positions(15), history(&[]), "positions_disagree"),
        (positions(0), ok(DATABASE), history(&[]), "positions_from_database"),
        (
            ok(r#"{"positions":[],"count":1,"source":"hyperliquid"}"#),
            positions(0),
            history(&[]),
            "reply_undecodable",
        ),
        (ok(r#"{"positions":{},"source":"hyperliquid"}"#), positions(0), history(&[]), "reply_undecodable"),
        (Answer::Html(200), positions(0), history(&[]), "reply_undecodable"),
        (positions(15), positions(15), Answer::Html(502), "http_502"),
    ] {
        let server = Server::start().await;
        server.on(POSITIONS, first).on(POSITIONS, second).on(HISTORY, rows);
        let failure = server.venue.baseline(&place(15, |_| ())).await.unwrap_err();
        assert_eq!(failure.code, expected, "{failure}");
    }
    let server = Server::start().await;
    server.on(POSITIONS, positions(15));
    server.on(HISTORY, history(&[])).on(HISTORY, history(&[("t1", "buy", "900")]));
    let failure = server.venue.baseline(&place(15, |_| ())).await.unwrap_err();
    assert_eq!(failure.code, "positions_disagree", "a fill came in between");
}

#[tokio::test]
async fn an_account_without_positions_is_read_twice() {
    let server = Server::start().await;
    server.on(POSITIONS, positions(0));
    let positions = server.venue.positions().await.unwrap();
    assert!(positions.iter().all(|position| position.quantity.is_zero()));
    assert_eq!((positions.len(), server.seen().len()), (2, 2));
}

#[tokio::test]
async fn positions_are_in_lots_by_the_hosts_own_table() {
    let server = Server::start().await;
    server.on(
        POSITIONS,
        ok(concat!(
            r#"{"positions":[{"position_id":null,"coin":"xyz:SPX","side":"short","size":1.5,"entry_price":1},"#,
            r#"{"position_id":null,"coin":"DOGE","side":"long","size":7,"entry_price":null}],"#,
            r#""count":2,"source":"hyperliquid"}"#
        )),
    );
    let positions = server.venue.positions().await.unwrap();
    assert_eq!((positions[0].instrument, positions[0].quantity), (InstrumentId(0), Lots(-15)));
    assert_eq!(positions[1].quantity, Lots(0));
}

#[tokio::test]
async fn a_position_that_is_no_number_of_lots_is_a_failure() {
    for size in ["0.0155", "null", "-0.015", "1e308", "\"0.015\"", "0"] {
        let server = Server::start().await;
        let body = format!(
            r#"{{"positions":[{{"position_id":null,"coin":"BTC","side":"long","size":{size}}}],"source":"hyperliquid"}}"#
        );
        server.on(POSITIONS, ok(&body));
        assert_eq!(server.venue.positions().await.unwrap_err().code, "reply_undecodable", "{size}");
    }
}

#[tokio::test]
async fn an_account_that_cannot_trade_is_refused_in_words() {
    let account = |leverage: u32, dollars: u32, connected: bool, signing: bool| {
        ok(&json!({"agent_id": "ag_1", "tier": "free", "max_leverage": leverage, "max_position_usd": dollars,
            "hl_wallet": {"address": "0x1", "connected": connected, "signing_key_stored": signing,
                "execution": "not available"}})
        .to_string())
    };
    for (answer, expected) in [
        (account(10, 10_000, true, true), None),
        (account(10, 10_000, false, true), Some("no wallet is connected")),
        (account(10, 10_000, true, false), Some("no signing key")),
        (account(2, 10_000, true, true), Some("leverage = 3")),
        (account(10, 0, true, true), Some("largest position is 0")),
        (Answer::Json(401, r#"{"error":"invalid_key"}"#.into()), Some("does not know the API key")),
    ] {
        let server = Server::with(|config| config.leverage = 3).await;
        server.on("/v1/auth/account", answer);
        match (server.venue.readiness().await.unwrap(), expected) {
            (Readiness::Ready, None) => {}
            (Readiness::Refused(words), Some(expected)) => assert!(words.contains(expected), "{words}"),
            (found, expected) => panic!("{found:?} instead of {expected:?}"),
        }
    }
    let server = Server::start().await;
    server.on("/v1/auth/account", Answer::Html(502));
    assert!(server.venue.readiness().await.is_err(), "a gateway's error says nothing about the account");
}

#[tokio::test]
async fn prices_come_from_the_books_and_one_bad_one_hides_no_other() {
    let server = Server::start().await;
    server.on("/v1/markets/SPX/orderbook", Answer::Json(503, r#"{"error":"orderbook_error"}"#.into()));
    server.on(
        "/v1/markets/BTC/orderbook",
        ok(r#"{"coin":"BTC","mid_price":60000,"bids":[{"price":59999.5,"size":1}],"asks":[{"price":60000.5}],"_info":{}}"#),
    );
    let mut feed = PriceFeed::new(Arc::new(server.venue), PriceFeedConfig::default());
    let prices = feed.poll().await.unwrap();
    assert_eq!((prices.ticks.len(), prices.dropped.len()), (1, 1));
    let tick = prices.ticks[0];
    assert_eq!((tick.bid_price.0, tick.ask_price.0, tick.last_price.0), (119_999, 120_001, 120_000));
}

#[tokio::test]
async fn no_book_at_all_is_no_reply() {
    let server = Server::start().await;
    server.on("/v1/markets/SPX/orderbook", Answer::Html(502));
    assert!(server.venue.prices().await.is_err());
}

#[tokio::test]
async fn the_cache_is_asked_for_all_coins_at_once_and_a_null_is_dropped() {
    let server = Server::with(|config| config.price_source = PriceSource::Cache).await;
    server.on(
        "/v1/markets/multi-price",
        ok(r#"{"prices":[{"coin":"xyz:SPX","ticker":"SPX","price":100.25},{"coin":"BTC","ticker":"BTC","price":null}],"count":2}"#),
    );
    let rows = server.venue.prices().await.unwrap();
    assert_eq!((rows[0].last.clone(), rows[1].last.clone()), (json!("100.25"), json!(null)));
    assert!(server.seen()[0].contains("multi-price?coins=SPX,BTC "), "{:?}", server.seen());
    assert_eq!(server.seen().len(), 1);
}

#[tokio::test]
async fn a_reading_after_a_write_does_not_use_its_connection() {
    let server = Server::start().await;
    server.on(POSITIONS, positions(15)).on(HISTORY, history(&[])).on(PRICE, ok(r#"{"price":60000}"#));
    server.on("/v1/trade/open", Answer::Hangup);
    let _ = server.venue.baseline(&place(15, |_| ())).await.unwrap();
    let reads = server.connections();
    let _ = server.venue.send(&sendable(place(15, |_| ()), 15)).await;
    assert_eq!((reads, server.connections()), (1, 2), "reads share one, a write has its own");
}
