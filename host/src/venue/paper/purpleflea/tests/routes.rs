//! Each route, field by field.

use super::*;
use crate::venue::paper::purpleflea::{RowStatus, Tier};

const UUID: usize = 36;

#[tokio::test]
async fn an_open_says_what_was_filled() {
    let rig = Rig::start().await;
    let body = json!({ "coin": "btc", "side": "long", "size_usd": 999.5, "leverage": 5 });
    let (status, mut reply) = rig.post("/v1/trade/open", body).await;
    take_id(&mut reply, "position_id", "pos_", UUID);
    take_id(&mut reply, "order_id", "ord_", UUID);
    // 999.5 / 60000 is 0.01665…, and 0.017 with three digits.
    let expected = json!({
        "coin": "BTC", "ticker": "BTC", "category": "indices", "dex": "main", "side": "long", "size_usd": 1020,
        "entry_price": 60000, "leverage": 5, "max_leverage": 40, "margin_used": 204, "liquidation_price": 48300,
        "fee": 0.56, "fee_breakdown": { "hyperliquid": 0.36, "purple_flea_builder": 0.2 }, "hl_order_id": 1,
        "execution": "real", "status": "open",
    });
    assert_eq!((status, reply), (200, expected));
    assert_eq!(rig.held("BTC"), d("0.017"));
    let execution = rig.truth().accounts[0].executions[0].clone();
    assert_eq!((execution.quantity, execution.price, execution.fee), (d("0.017"), d("60000"), d("0.561")));
    assert_eq!(execution.request, Some(1));
}

#[tokio::test]
async fn a_short_and_the_tiers_are_computed_their_own_way() {
    for (tier, total) in [(Tier::Free, "0.55"), (Tier::Pro, "0.45"), (Tier::Whale, "0.35")] {
        let rig = Rig::with(|config| config.accounts[0].tier = tier).await;
        let (_, reply) = rig.open("SPX", "short", 1_000.0).await;
        assert_eq!(reply["fee"].to_string(), total, "{tier:?}");
        assert_eq!((&reply["side"], &reply["liquidation_price"]), (&json!("short"), &json!(119.5)));
        assert_eq!(rig.held("SPX"), d("-10"));
    }
}

#[tokio::test]
async fn a_close_says_what_the_row_gained() {
    let rig = Rig::start().await;
    let id = rig.opened("SPX", "long", 1_000.0).await;
    rig.seen("SPX", "110");
    let (status, reply) = rig.close(&id).await;
    let expected = json!({
        "position_id": id, "coin": "SPX", "ticker": "SPX", "side": "long", "entry_price": 100, "exit_price": 110,
        "size_usd": 1000, "leverage": 5, "pnl": 100, "pnl_percent": 10, "fee": 0.55, "hl_order_id": 2,
        "execution": "real", "status": "closed",
    });
    assert_eq!((status, reply), (200, expected));
    assert_eq!(rig.held("SPX"), d("0"));
    let equity = rig.truth().accounts[0].equity;
    assert_eq!(equity, Some(d("100098.845")), "100 gained, 0.55 and 0.605 paid");
}

#[tokio::test]
async fn refusals_have_the_texts_of_the_server() {
    let rig = Rig::with(|config| config.trades_per_minute = 0).await;
    let open = |body: Value| rig.post("/v1/trade/open", body);
    let good = || json!({ "coin": "BTC", "side": "long", "size_usd": 1000 });
    let with = |name: &str, value: Value| {
        let mut body = good();
        body[name] = value;
        body
    };
    for (body, status, code, message) in [
        (json!({}), 400, "invalid_request", "Provide coin, side (long/short), size_usd"),
        (json!([]), 400, "invalid_request", "Provide coin, side (long/short), size_usd"),
        (with("size_usd", json!(0)), 400, "invalid_request", "Provide coin, side (long/short), size_usd"),
        (with("size_usd", json!(-1)), 400, "invalid_size", "size_usd must be a positive number"),
        (with("size_usd", json!("1000")), 400, "invalid_size", "size_usd must be a positive number"),
        (with("side", json!("buy")), 400, "invalid_side", "side must be 'long' or 'short'"),
        (with("leverage", json!(0.5)), 400, "invalid_leverage", "leverage must be a number >= 1"),
        (with("leverage", json!("5")), 400, "invalid_leverage", "leverage must be a number >= 1"),
        (
            with("size_usd", json!(10_001)),
            400,
            "position_too_large",
            "Max position size is $10000. Upgrade tier for higher limits.",
        ),
        (with("size_usd", json!(1e308)), 400, "position_too_large", "Max position size is $10000."),
        (
            with("coin", json!("FOO")),
            400,
            "trade_failed",
            "Market not found: FOO. Try GET /v1/markets to see",
        ),
        (with("coin", json!(7)), 400, "trade_failed", "coin.toUpperCase is not a function"),
        (
            with("size_usd", json!(1)),
            400,
            "trade_failed",
            "Position size too small for BTC (min size: 0.001 units)",
        ),
        (Value::Null, 500, "internal_error", "An unexpected error occurred"),
    ] {
        let shown = body.to_string();
        let reply = open(body).await;
        assert_eq!(super::code(&reply), (status, code), "{shown}");
        let found = reply.1["message"].as_str().unwrap();
        assert!(found.starts_with(message), "{shown}: {found}");
    }
    let reply = rig.send(rig.request("POST", "/v1/trade/open").body("{")).await;
    let expected = json!({ "error": "invalid_json", "message": "Request body must be valid JSON" });
    assert_eq!(reply, (400, expected));
    assert_eq!(rig.fills(), 0);
}

#[tokio::test]
async fn what_the_exchange_refuses_is_a_failed_trade_in_its_words() {
    let rig = Rig::with(|config| config.accounts[0].cash = d("100")).await;
    let (status, reply) = rig.open("BTC", "long", 6_000.0).await;
    assert_eq!(
        (status, reply["message"].as_str()),
        (400, Some("Order error: Insufficient margin to place order."))
    );
    rig.last("BTC", "61000");
    let (_, reply) = rig.open("BTC", "long", 300.0).await;
    let text = "Order error: Order could not immediately match against any resting orders.";
    assert_eq!(reply["message"], text, "the cached price is more than half a percent away");
    rig.seen("SPX", "90");
    let (_, reply) = rig.open("SPX", "long", 9.0).await;
    assert_eq!(reply["message"], "Order error: Order must have minimum value of $10.");
    let rig = Rig::with(|config| config.market_leverage_max = 3).await;
    let (_, reply) = rig.open("BTC", "long", 300.0).await;
    assert_eq!(reply["message"], "Max leverage for BTC is 3x");
}

#[tokio::test]
async fn a_coin_without_a_price_is_not_traded() {
    let venue = FleaVenue::start(config(), PaperClock::stopped_at(NOON_MS)).await.unwrap();
    let rig = Rig { venue, http: client() };
    let (_, reply) = rig.open("BTC", "long", 300.0).await;
    assert_eq!(reply["message"], "No price available for BTC");
    assert_eq!(rig.get("/v1/markets/BTC/price").await.1["price"], Value::Null);
    assert_eq!(code(&rig.get("/v1/markets/BTC/orderbook").await), (503, "orderbook_error"));
}

#[tokio::test]
async fn closes_are_refused_in_the_words_of_the_server() {
    let rig = Rig::with(|config| config.accounts[0].wallet = false).await;
    assert_eq!(
        rig.post("/v1/trade/close", json!({})).await,
        (400, json!({ "error": "provide position_id" }))
    );
    assert_eq!(rig.close("pos_1").await, (404, json!({ "error": "position_not_found" })));
    let reply = rig.open("BTC", "long", 1_000.0).await;
    assert_eq!(code(&reply), (400, "wallet_not_configured"));
    assert!(reply.1["message"].as_str().unwrap().starts_with("Hyperliquid wallet not configured."));
    assert_eq!(rig.get("/v1/trade/positions").await.1["source"], "database");
}

#[tokio::test]
async fn keys_and_paths_are_checked_in_the_order_of_the_server() {
    let rig = Rig::start().await;
    let bare = |path: &str| rig.http.get(format!("{}{path}", rig.venue.base_url()));
    let unauthorized =
        json!({ "error": "unauthorized", "message": "Provide Authorization: Bearer <api_key>" });
    assert_eq!(rig.send(bare("/v1/trade/positions")).await, (401, unauthorized.clone()));
    assert_eq!(rig.send(bare("/v1/trade/nothing")).await, (401, unauthorized.clone()));
    assert_eq!(
        rig.send(bare("/v1/trade/positions").header("authorization", "bearer x")).await,
        (401, unauthorized)
    );
    let wrong = bare("/v1/auth/account").bearer_auth("sk_trade_wrong");
    assert_eq!(rig.send(wrong).await, (401, json!({ "error": "invalid_key" })));
    let expected = json!({
        "error": "not_found", "message": "GET /v1/nothing not found", "docs": "/v1/docs", "openapi": "/openapi.json",
    });
    assert_eq!(rig.send(bare("/v1/nothing")).await, (404, expected));
    assert_eq!(code(&rig.get("/v1/trade/nothing").await), (404, "not_found"));
    assert_eq!(code(&rig.send(bare("/__truth")).await), (401, "unauthorized"));
}

#[tokio::test]
async fn a_reply_has_its_content_type_and_no_other_header() {
    let rig = Rig::start().await;
    let reply = rig.request("GET", "/v1/auth/account").send().await.unwrap();
    let names: Vec<&str> = reply.headers().keys().map(reqwest::header::HeaderName::as_str).collect();
    assert_eq!(names, ["content-type", "content-length"]);
    assert_eq!(reply.headers()["content-type"], "application/json; charset=UTF-8");
}

#[tokio::test]
async fn an_account_registers_and_trades() {
    let rig = Rig::start().await;
    let (status, mut reply) = rig.post("/v1/auth/register", json!({})).await;
    let id = take_id(&mut reply, "agent_id", "ag_", 12);
    let key = take_id(&mut reply, "api_key", "sk_trade_", 48);
    take_id(&mut reply, "referral_code", "ref_", 8);
    let address = take_id(&mut reply, "deposit_address", "0x", 40);
    let wallet = json!({
        "address": address, "generated": true, "signing_key_stored": true, "builder_fee_approved": false,
        "execution": "real", "onboarding": "Fund this address on Hyperliquid to start trading",
    });
    assert_eq!((status, reply), (201, json!({ "tier": "free", "hl_wallet": wallet })));
    let body = json!({ "coin": "BTC", "side": "long", "size_usd": 1000 });
    let url = format!("{}/v1/trade/open", rig.venue.base_url());
    let (status, _) = rig.send(rig.http.post(url).bearer_auth(&key).body(body.to_string())).await;
    assert_eq!(status, 200);
    assert_eq!(rig.truth().account(&id).unwrap().position("BTC"), d("0.017"));
    assert_eq!(rig.held("BTC"), d("0"), "the other account has not traded");
    for (body, expected) in [
        (json!({ "hl_wallet_address": "0x12" }), "invalid_wallet"),
        (json!({ "hl_signing_key": "0x12" }), "invalid_signing_key"),
    ] {
        assert_eq!(code(&rig.post("/v1/auth/register", body).await), (400, expected));
    }
}

#[tokio::test]
async fn an_account_shows_its_limits_and_sums() {
    let rig = Rig::start().await;
    let id = rig.opened("SPX", "long", 1_000.0).await;
    rig.close(&id).await;
    let (_, mut reply) = rig.get("/v1/auth/account").await;
    take_id(&mut reply, "agent_id", "ag_", 12);
    take_id(&mut reply, "referral_code", "ref_", 8);
    take_id(&mut reply["hl_wallet"], "address", "0x", 40);
    let expected = json!({
        "tier": "free", "max_leverage": 10, "max_position_usd": 10000, "total_volume": 2000,
        "total_fees_paid": 1.1, "total_pnl": 0,
        "hl_wallet": {
            "connected": true, "generated": false, "signing_key_stored": true, "builder_fee_approved": true,
            "execution": "real",
        },
    });
    assert_eq!(reply, expected);
}

#[tokio::test]
async fn markets_are_public() {
    let rig = Rig::start().await;
    let get = |path: &str| rig.send(rig.http.get(format!("{}{path}", rig.venue.base_url())));
    let (_, reply) = get("/v1/markets").await;
    assert_eq!(
        (&reply["total_markets"], &reply["rwa_markets"], &reply["crypto_markets"]),
        (&json!(2), &json!(2), &json!(0))
    );
    let spx = json!({
        "coin": "SPX", "display_name": "SPX", "price": 100, "max_leverage": 40, "category": "indices", "dex": "main",
    });
    assert_eq!(reply["categories"]["indices"]["markets"][0], spx);
    assert!(reply["categories"]["crypto"].get("markets").is_none(), "crypto is only counted");
    let (_, reply) = get("/v1/markets/multi-price?coins=btc,%20ETH,SPX").await;
    let btc =
        json!({ "coin": "BTC", "ticker": "BTC", "price": 60000, "category": "indices", "max_leverage": 40 });
    assert_eq!(
        (&reply["prices"][0], &reply["not_found"], &reply["count"]),
        (&btc, &json!(["ETH"]), &json!(2))
    );
    assert_eq!(reply["timestamp"], "2026-01-01T12:00:00.000Z");
    assert_eq!(code(&get("/v1/markets/multi-price").await), (400, "missing_coins"));
    let (_, reply) = get("/v1/markets/spx").await;
    let fees = json!({ "size_usd": 1000, "hlFee": 0.35, "ourFee": 0.2, "totalFee": 0.55 });
    assert_eq!((&reply["price"], &reply["fee_examples"][1]), (&json!(100), &fees));
    assert_eq!(code(&get("/v1/markets/foo").await), (404, "market_not_found"));
    let price = json!({ "coin": "SPX", "ticker": "SPX", "price": 100, "timestamp": NOON_MS });
    assert_eq!(get("/v1/markets/SPX/price").await, (200, price));
    assert_eq!(get("/v1/markets/foo/price").await, (404, json!({ "error": "no_price", "coin": "FOO" })));
    let (_, reply) = get("/v1/markets/SPX/orderbook?depth=5").await;
    let level = json!({ "price": 100, "size": 10, "total": 10, "notional": 1000 });
    assert_eq!((&reply["mid_price"], &reply["bids"][0], &reply["asks"][0]), (&json!(100), &level, &level));
    assert_eq!(code(&get("/v1/markets/foo/orderbook").await), (404, "market_not_found"));
}

#[tokio::test]
async fn positions_come_from_the_exchange() {
    let rig = Rig::start().await;
    let id = rig.opened("SPX", "short", 1_000.0).await;
    rig.seen("SPX", "90");
    let (_, reply) = rig.get("/v1/trade/positions").await;
    let expected = json!({
        "positions": [{
            "position_id": id, "coin": "SPX", "ticker": "SPX", "side": "short", "size": 10, "size_usd": 1000,
            "entry_price": 100, "current_price": 90, "leverage": 5, "margin_used": 180, "liquidation_price": 119.5,
            "unrealized_pnl": 100, "return_on_equity": "0.5555555556", "source": "hyperliquid",
        }],
        "count": 1,
        "source": "hyperliquid",
    });
    assert_eq!(reply, expected);
    let (_, reply) = rig.get("/v1/trade/positions?status=all").await;
    let mut row = reply["positions"][0].clone();
    take_id(&mut row, "agentId", "ag_", 12);
    let expected = json!({
        "id": id, "coin": "SPX", "side": "short", "sizeUsd": 1000, "entryPrice": 100, "leverage": 5,
        "marginUsed": 200, "liquidationPrice": 119.5, "unrealizedPnl": 0, "status": "open", "hlOrderId": "1",
        "openedAt": NOON_MS / 1_000, "closedAt": null, "ticker": "SPX", "current_price": 90, "unrealized_pnl": 100,
    });
    assert_eq!((row, &reply["source"]), (expected, &json!("database")));
}

#[tokio::test]
async fn the_history_is_newest_first_and_limited() {
    let rig = Rig::start().await;
    let id = rig.opened("SPX", "long", 1_000.0).await;
    rig.seen("SPX", "110");
    rig.close(&id).await;
    let (_, reply) = rig.get("/v1/trade/history").await;
    let mut trade = reply["trades"][0].clone();
    take_id(&mut trade, "id", "trd_", UUID);
    take_id(&mut trade, "orderId", "ord_", UUID);
    take_id(&mut trade, "agentId", "ag_", 12);
    let expected = json!({
        "coin": "SPX", "side": "sell", "sizeUsd": 1000, "price": 110, "fee": 0.55, "realizedPnl": 100,
        "createdAt": NOON_MS / 1_000 + 30,
    });
    assert_eq!((trade, &reply["count"]), (expected, &json!(2)));
    for (query, count) in [("?limit=1", 1), ("?limit=x", 2), ("?limit=0", 2), ("?limit=-1", 2)] {
        let (_, reply) = rig.get(&format!("/v1/trade/history{query}")).await;
        assert_eq!(reply["count"], count, "{query}");
    }
}

#[tokio::test]
async fn a_limit_order_waits_for_its_price_and_the_next_look() {
    let rig = Rig::start().await;
    let body = json!({ "coin": "SPX", "side": "long", "size_usd": 950, "limit_price": 95, "leverage": 2 });
    let (status, mut reply) = rig.post("/v1/trade/limit", body).await;
    let id = take_id(&mut reply, "order_id", "ord_", 16);
    let expected = json!({
        "status": "pending", "coin": "SPX", "side": "long", "size_usd": 950, "limit_price": 95, "leverage": 2,
        "created_at": "2026-01-01T12:00:00.000Z",
    });
    assert_eq!((status, reply), (201, expected));
    assert_eq!(rig.get("/v1/trade/limit-orders").await.1["orders"][0]["order_id"], id.as_str());
    rig.venue.advance_ms(30_000);
    assert_eq!(rig.fills(), 0, "the price is not there");
    rig.last("SPX", "94");
    rig.venue.advance_ms(29_999);
    assert_eq!(rig.fills(), 0, "nobody has looked yet");
    rig.venue.advance_ms(1);
    let truth = rig.truth();
    let account = &truth.accounts[0];
    // 950 dollars at 94 are 10.1: it was sent as a market order.
    assert_eq!((account.position("SPX"), account.executions[0].price), (d("10.1"), d("94")));
    assert_eq!(account.executions[0].request, Some(1), "the request that placed it");
    assert_eq!(account.trades[0].order_id, id);
    assert_eq!(rig.get("/v1/trade/limit-orders").await.1["count"], 0);
    assert_eq!(rig.get("/v1/trade/limit-orders?status=all").await.1["orders"][0]["status"], "filled");
}

#[tokio::test]
async fn a_limit_order_is_cancelled_once_and_ten_are_enough() {
    let rig = Rig::start().await;
    let body = json!({ "coin": "SPX", "side": "short", "size_usd": 500, "limit_price": 120 });
    let (_, reply) = rig.post("/v1/trade/limit", body.clone()).await;
    let path = format!("/v1/trade/limit-orders/{}", reply["order_id"].as_str().unwrap());
    assert_eq!(rig.send(rig.request("DELETE", &path)).await.1["status"], "cancelled");
    assert_eq!(code(&rig.send(rig.request("DELETE", &path)).await), (404, "order_not_found"));
    for _ in 0..10 {
        assert_eq!(rig.post("/v1/trade/limit", body.clone()).await.0, 201);
    }
    assert_eq!(code(&rig.post("/v1/trade/limit", body.clone()).await), (400, "too_many_orders"));
    for (name, value, expected) in [
        ("limit_price", json!(0), (400, "invalid_price")),
        ("coin", json!("FOO"), (404, "market_not_found")),
        ("size_usd", json!(-1), (400, "invalid_size")),
    ] {
        let mut body = body.clone();
        body[name] = value;
        assert_eq!(code(&rig.post("/v1/trade/limit", body).await), expected);
    }
}

#[tokio::test]
async fn exits_wait_for_their_trigger() {
    let rig = Rig::start().await;
    for (route, trigger, price) in [("stop-loss", 90, "89"), ("take-profit", 110, "111")] {
        rig.seen("SPX", "100");
        let id = rig.opened("SPX", "long", 1_000.0).await;
        let body = json!({ "position_id": id, "trigger_price": trigger });
        let (status, mut reply) = rig.post(&format!("/v1/trade/{route}"), body).await;
        take_id(&mut reply, "order_id", "ord_", 16);
        let kind = route.replace('-', "_");
        assert_eq!((status, &reply["type"], &reply["status"]), (201, &json!(kind), &json!("pending")));
        rig.venue.advance_ms(30_000);
        assert!(rig.held("SPX") > d("8"), "the trigger is not reached");
        rig.last("SPX", price);
        rig.venue.advance_ms(30_000);
        let rows = rig.truth().accounts.remove(0).rows;
        assert_eq!(rows.last().unwrap().status, RowStatus::Closed, "{route}");
    }
    let unknown = json!({ "position_id": "pos_1", "trigger_price": 1 });
    assert_eq!(code(&rig.post("/v1/trade/stop-loss", unknown).await), (404, "position_not_found"));
    assert_eq!(code(&rig.post("/v1/trade/stop-loss", json!({})).await), (400, "invalid_request"));
}

#[tokio::test]
async fn risk_settings_are_read_and_changed() {
    let rig = Rig::start().await;
    let (_, reply) = rig.get("/v1/trade/risk-settings").await;
    let settings = json!({ "max_leverage": 10, "max_position_usd": 10000, "max_daily_loss_usd": null });
    assert_eq!(reply["risk_settings"], settings);
    assert_eq!(reply["today"]["resets_at"], "2026-01-02T00:00:00.000Z");
    let body = json!({ "max_daily_loss_usd": 500, "max_leverage": 50, "max_position_usd": 1e9 });
    let (status, reply) = rig.post("/v1/trade/risk-settings", body).await;
    let changed = json!(["max_daily_loss_usd: $500", "max_leverage: 20x", "max_position_usd: $50000"]);
    assert_eq!((status, &reply["success"], &reply["changed"]), (200, &json!(true), &changed));
    for (body, expected) in [
        (json!({}), "no_changes"),
        (json!({ "max_leverage": 51 }), "invalid_value"),
        (json!({ "max_daily_loss_usd": 0 }), "invalid_value"),
        (json!({ "max_position_usd": "1" }), "invalid_value"),
    ] {
        assert_eq!(code(&rig.post("/v1/trade/risk-settings", body).await), (400, expected));
    }
    let (_, reply) = rig.post("/v1/trade/risk-settings", json!({ "max_daily_loss_usd": null })).await;
    assert_eq!(reply["risk_settings"]["max_daily_loss_usd"], Value::Null);
}

#[tokio::test]
async fn a_day_of_losses_blocks_opens_until_midnight() {
    let rig = Rig::start().await;
    rig.post("/v1/trade/risk-settings", json!({ "max_daily_loss_usd": 50 })).await;
    let id = rig.opened("SPX", "long", 1_000.0).await;
    rig.seen("SPX", "95");
    rig.close(&id).await;
    let reply = rig.open("SPX", "long", 1_000.0).await;
    let expected = json!({
        "error": "daily_loss_limit_reached",
        "message": "Daily loss limit of $50 reached. Trading blocked until UTC midnight.",
        "daily_loss_limit_usd": 50, "current_daily_loss_usd": 51.1, "resets_at": "2026-01-02T00:00:00.000Z",
        "tip": "Update your limit via POST /v1/trade/risk-settings",
    });
    assert_eq!(reply, (403, expected));
    rig.venue.advance_ms(43_200_000);
    assert_eq!(rig.open("SPX", "long", 1_000.0).await.0, 200);
}
