//! What is dangerous about the real server without anything going wrong.

use super::*;
use crate::venue::paper::purpleflea::{FleaRoute, RowStatus};

#[tokio::test]
async fn the_same_request_twice_is_two_positions() {
    let rig = Rig::start().await;
    for _ in 0..2 {
        let body = json!({ "coin": "SPX", "side": "long", "size_usd": 1000 }).to_string();
        let request = rig.request("POST", "/v1/trade/open").header("idempotency-key", "k").body(body);
        assert_eq!(rig.send(request).await.0, 200);
    }
    assert_eq!((rig.held("SPX"), rig.truth().arrived(FleaRoute::Open)), (d("20"), 2));
}

#[tokio::test]
async fn a_close_flattens_the_whole_coin_and_the_other_id_is_stuck() {
    let rig = Rig::start().await;
    let first = rig.opened("SPX", "long", 1_000.0).await;
    let second = rig.opened("SPX", "long", 500.0).await;
    let (status, reply) = rig.close(&first).await;
    assert_eq!((status, &reply["size_usd"]), (200, &json!(1000)), "the reply tells of one of them");
    assert_eq!(rig.held("SPX"), d("0"));
    let expected = json!({ "error": "close_failed", "message": "No open position for SPX on Hyperliquid" });
    assert_eq!(rig.close(&second).await, (400, expected));
    assert_eq!(rig.close(&first).await, (404, json!({ "error": "position_not_found" })));
    let rows = rig.truth().accounts.remove(0).rows;
    assert_eq!((rows[0].status, rows[1].status), (RowStatus::Closed, RowStatus::Open));
}

#[tokio::test]
async fn a_close_that_finds_no_price_within_its_band_is_not_filled() {
    let rig = Rig::start().await;
    let id = rig.opened("SPX", "long", 1_000.0).await;
    rig.last("SPX", "90");
    let (status, reply) = rig.close(&id).await;
    let message = reply["message"].as_str().unwrap();
    assert!(message.starts_with("Close order not filled: {"), "{message}");
    assert_eq!((status, rig.held("SPX")), (400, d("10")));
}

#[tokio::test]
async fn opposite_opens_net_at_the_exchange_and_stay_two_rows() {
    let rig = Rig::start().await;
    let first = rig.opened("SPX", "long", 1_000.0).await;
    rig.opened("SPX", "short", 400.0).await;
    let (_, reply) = rig.get("/v1/trade/positions").await;
    assert_eq!((&reply["positions"][0]["size"], &reply["count"]), (&json!(6), &json!(1)));
    assert_eq!(reply["positions"][0]["position_id"], first.as_str());
    assert_eq!(rig.get("/v1/trade/positions?status=all").await.1["count"], 2);
}

#[tokio::test]
async fn close_all_closes_rows_and_nothing_else() {
    let rig = Rig::start().await;
    assert_eq!(rig.post("/v1/trade/close-all", json!({})).await.1["closed"], 0);
    let id = rig.opened("SPX", "long", 1_000.0).await;
    rig.seen("SPX", "120");
    let (status, reply) = rig.post("/v1/trade/close-all", json!({})).await;
    let result = json!({ "position_id": id, "coin": "SPX", "status": "closed", "pnl_usd": 0 });
    assert_eq!((status, &reply["results"], &reply["closed"]), (200, &json!([result]), &json!(1)));
    assert_eq!((rig.held("SPX"), rig.fills()), (d("10"), 1), "nothing was sent");
    let row = rig.truth().accounts.remove(0).rows.remove(0);
    assert_eq!(
        (row.status, row.unrealized_pnl),
        (RowStatus::Closed, d("0")),
        "20 dollars a unit were gained"
    );
    let (_, reply) = rig.get("/v1/trade/positions").await;
    assert_eq!(
        (&reply["positions"][0]["size"], &reply["positions"][0]["position_id"]),
        (&json!(10), &Value::Null)
    );
    assert_eq!(code(&rig.close(&id).await), (404, "position_not_found"), "nor can it be closed now");
}

#[tokio::test]
async fn a_price_is_half_a_minute_old_under_a_fresh_stamp() {
    let rig = Rig::start().await;
    assert_eq!(rig.get("/v1/markets/SPX/price").await.1["price"], 100);
    rig.last("SPX", "200");
    rig.venue.advance_ms(29_999);
    let (_, reply) = rig.get("/v1/markets/SPX/price").await;
    assert_eq!((&reply["price"], &reply["timestamp"]), (&json!(100), &json!(NOON_MS + 29_999)));
    assert_eq!(rig.get("/v1/markets/SPX/orderbook").await.1["mid_price"], 200, "the book is not cached");
    rig.venue.advance_ms(1);
    assert_eq!(rig.get("/v1/markets/SPX/price").await.1["price"], 200);
}

#[tokio::test]
async fn too_much_leverage_is_cut_without_a_word() {
    let rig = Rig::start().await;
    let body = json!({ "coin": "SPX", "side": "long", "size_usd": 1000, "leverage": 50 });
    let (status, reply) = rig.post("/v1/trade/open", body).await;
    assert_eq!((status, &reply["leverage"], &reply["margin_used"]), (200, &json!(10), &json!(100)));
}

#[tokio::test]
async fn the_thirty_first_open_of_a_minute_is_refused_and_says_not_until_when() {
    let rig = Rig::start().await;
    for _ in 0..30 {
        assert_eq!(rig.open("SPX", "long", 10.0).await.0, 200);
    }
    let body = json!({ "coin": "SPX", "side": "long", "size_usd": 10 }).to_string();
    let reply = rig.request("POST", "/v1/trade/open").body(body.clone()).send().await.unwrap();
    assert_eq!(reply.status(), 429);
    assert!(reply.headers().get("retry-after").is_none());
    let expected = json!({ "error": "rate_limited", "message": "Too many requests. Limit: 30 per 60s" });
    assert_eq!(strip(&reply.text().await.unwrap()), expected);
    let other =
        rig.request("POST", "/v1/trade/open").header("x-forwarded-for", "10.0.0.1, 10.0.0.2").body(body);
    assert_eq!(rig.send(other).await.0, 200, "another address");
    assert_eq!(code(&rig.close("pos_1").await).0, 404, "another path");
    rig.venue.advance_ms(60_001);
    assert_eq!(rig.open("SPX", "long", 10.0).await.0, 200);
    assert_eq!(rig.truth().arrived(FleaRoute::Open), 33);
}

#[tokio::test]
async fn an_exit_whose_coin_was_flattened_opens_the_other_way() {
    let rig = Rig::start().await;
    let first = rig.opened("SPX", "long", 1_000.0).await;
    let second = rig.opened("SPX", "long", 1_000.0).await;
    rig.post("/v1/trade/stop-loss", json!({ "position_id": second, "trigger_price": 90 })).await;
    rig.close(&first).await;
    rig.last("SPX", "80");
    rig.venue.advance_ms(30_000);
    assert_eq!(rig.held("SPX"), d("-12.5"), "it is not reduce-only");
}

#[tokio::test]
async fn within_a_second_the_history_shows_the_older_trade_first() {
    let rig = Rig::start().await;
    rig.opened("SPX", "long", 1_000.0).await;
    rig.opened("SPX", "long", 500.0).await;
    assert_eq!(rig.get("/v1/trade/history?limit=1").await.1["trades"][0]["sizeUsd"], 1000);
    rig.venue.advance_ms(1_000);
    rig.opened("SPX", "long", 300.0).await;
    assert_eq!(rig.get("/v1/trade/history?limit=1").await.1["trades"][0]["sizeUsd"], 300);
}
