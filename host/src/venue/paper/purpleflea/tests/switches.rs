//! Each thing that can go wrong, and what the ledger says about it.

use super::*;
use crate::resilience::Classified as _;
use crate::venue::paper::purpleflea::{FleaFault, FleaRoute, RowStatus};

impl Rig {
    /// Sends an open and gives its status, or none where the connection broke.
    async fn try_open(&self) -> Option<u16> {
        let body = json!({ "coin": "SPX", "side": "long", "size_usd": 1000 }).to_string();
        let reply = self.request("POST", "/v1/trade/open").body(body).send().await.ok()?;
        Some(reply.status().as_u16())
    }

    /// How many executions the newest request has caused.
    fn caused(&self) -> usize {
        let truth = self.truth();
        truth.caused_by(truth.requests.len() as u64).len()
    }

    fn rows(&self) -> (usize, usize) {
        let account = self.truth().accounts.remove(0);
        (account.rows.len(), account.trades.len())
    }
}

#[tokio::test]
async fn a_reply_is_dropped_before_or_after_the_fill() {
    let rig = Rig::start().await;
    rig.faults(&["open:drop-before:next=1", "open:drop-after:next=1"]);
    assert_eq!((rig.try_open().await, rig.caused(), rig.rows()), (None, 0, (0, 0)));
    assert_eq!((rig.try_open().await, rig.caused(), rig.rows()), (None, 1, (1, 1)));
    assert_eq!((rig.try_open().await, rig.caused()), (Some(200), 1));
    let truth = rig.truth();
    let seen: Vec<_> = truth.requests.iter().map(|r| (r.fault.as_deref(), r.handled, r.status)).collect();
    assert_eq!(
        seen,
        [(Some("drop-before"), 0, None), (Some("drop-after"), 1, Some(200)), (None, 1, Some(200))]
    );
}

#[tokio::test]
async fn the_database_fails_after_the_fill_or_after_the_insert() {
    let rig = Rig::start().await;
    rig.faults(&["open:fail-after-fill:next=1", "open:fail-after-insert:next=1"]);
    let reply = rig.open("SPX", "long", 1_000.0).await;
    let expected = json!({ "error": "trade_failed", "message": "SQLITE_BUSY: database is locked" });
    assert_eq!((reply, rig.caused(), rig.rows()), ((400, expected), 1, (0, 0)));
    let (_, positions) = rig.get("/v1/trade/positions").await;
    assert_eq!((&positions["positions"][0]["position_id"], &positions["count"]), (&Value::Null, &json!(1)));
    assert_eq!(rig.truth().accounts[0].executions[0].order_id, None, "never written down");
    let reply = rig.open("SPX", "long", 1_000.0).await;
    assert_eq!(code(&reply), (400, "trade_failed"));
    assert!(reply.1["message"].as_str().unwrap().starts_with("SQLITE_FULL"));
    assert_eq!((rig.caused(), rig.rows()), (1, (1, 1)));
}

#[tokio::test]
async fn the_database_fails_after_a_close_was_filled() {
    let rig = Rig::start().await;
    let id = rig.opened("SPX", "long", 1_000.0).await;
    rig.faults(&["close:fail-after-fill:next=1"]);
    assert_eq!(code(&rig.close(&id).await), (400, "close_failed"));
    let account = rig.truth().accounts.remove(0);
    assert_eq!((account.position("SPX"), account.rows[0].status), (d("0"), RowStatus::Open));
}

#[tokio::test]
async fn a_proxy_answers_with_a_page_before_or_after_the_fill() {
    let rig = Rig::start().await;
    rig.faults(&["open:html-before=502:next=1", "open:html-after=504:next=1"]);
    for (status, fills) in [(502, 0), (504, 1)] {
        let body = json!({ "coin": "SPX", "side": "long", "size_usd": 1000 }).to_string();
        let reply = rig.request("POST", "/v1/trade/open").body(body).send().await.unwrap();
        assert_eq!((reply.status().as_u16(), rig.fills()), (status, fills));
        assert_eq!(reply.headers()["content-type"], "text/html");
        let text = reply.text().await.unwrap();
        assert!(text.starts_with("<html>") && text.contains(&status.to_string()), "{text}");
    }
}

#[tokio::test]
async fn a_burst_of_429_executes_nothing() {
    let rig = Rig::start().await;
    rig.faults(&["open:rate-limited:next=3"]);
    for _ in 0..3 {
        let expected = json!({ "error": "rate_limited", "message": "Too many requests. Limit: 30 per 60s" });
        assert_eq!(rig.open("SPX", "long", 1_000.0).await, (429, expected));
    }
    assert_eq!((rig.try_open().await, rig.fills()), (Some(200), 1));
}

#[tokio::test]
async fn a_429_says_when_to_come_back_if_it_is_told_to() {
    let rig = Rig::with(|config| {
        config.trades_per_minute = 1;
        config.faults.send_retry_after = true;
    })
    .await;
    rig.try_open().await;
    rig.venue.advance_ms(10_000);
    let reply = rig.request("POST", "/v1/trade/open").body("{}").send().await.unwrap();
    assert_eq!(reply.headers()["retry-after"], "51", "50 s and the millisecond after them");
}

#[tokio::test]
async fn a_trickling_reply_outlasts_the_client() {
    let rig = Rig::start().await;
    rig.faults(&["open:slow-loris=3600000:next=1", "positions:slow-loris=20:next=1"]);
    let body = json!({ "coin": "SPX", "side": "long", "size_usd": 1000 }).to_string();
    let request = rig.request("POST", "/v1/trade/open").body(body).timeout(Duration::from_millis(100));
    assert!(request.send().await.is_err_and(|error| error.is_timeout()));
    assert_eq!(rig.caused(), 1);
    assert_eq!(rig.get("/v1/trade/positions").await.1["count"], 1, "a patient client gets all of it");
}

#[tokio::test]
async fn positions_fall_back_to_the_database_without_a_word() {
    let rig = Rig::start().await;
    let id = rig.opened("SPX", "long", 1_000.0).await;
    rig.faults(&["positions:database-positions:next=1"]);
    let (status, reply) = rig.get("/v1/trade/positions").await;
    assert_eq!((status, &reply["source"], &reply["count"]), (200, &json!("database"), &json!(1)));
    assert_eq!((&reply["positions"][0]["id"], &reply["positions"][0]["sizeUsd"]), (&json!(id), &json!(1000)));
    assert_eq!(rig.get("/v1/trade/positions").await.1["source"], "hyperliquid");
}

#[tokio::test]
async fn positions_are_empty_although_something_is_held() {
    let rig = Rig::start().await;
    rig.opened("SPX", "long", 1_000.0).await;
    rig.faults(&["positions:empty-positions:next=1"]);
    let expected = json!({ "positions": [], "count": 0, "source": "hyperliquid" });
    assert_eq!(rig.get("/v1/trade/positions").await, (200, expected));
    assert_eq!(rig.get("/v1/trade/positions").await.1["count"], 1);
}

#[tokio::test]
async fn prices_are_null_or_no_json_or_frozen() {
    let rig = Rig::start().await;
    rig.faults(&["price:null-price:next=1", "price:nan-price:next=1", "price:frozen-price:next=1"]);
    assert_eq!(rig.get("/v1/markets/SPX/price").await.1["price"], Value::Null);
    let text = rig.request("GET", "/v1/markets/SPX/price").send().await.unwrap().text().await.unwrap();
    assert!(text.contains(r#""price":NaN,"#) && serde_json::from_str::<Value>(&text).is_err(), "{text}");
    rig.get("/v1/markets/multi-price?coins=SPX").await;
    rig.seen("SPX", "200");
    let (_, reply) = rig.get("/v1/markets/SPX/price").await;
    assert_eq!((&reply["price"], &reply["timestamp"]), (&json!(100), &json!(NOON_MS + 30_000)));
    assert_eq!(rig.get("/v1/markets/SPX/price").await.1["price"], 200);
    rig.faults(&["orderbook:null-price:next=1", "open:null-price:next=1"]);
    assert_eq!(rig.get("/v1/markets/SPX/orderbook").await.1["mid_price"], Value::Null);
    let (_, reply) = rig.open("SPX", "long", 1_000.0).await;
    assert_eq!(reply["message"], "No price available for SPX");
}

#[tokio::test]
async fn an_open_fills_in_part() {
    let rig = Rig::start().await;
    rig.faults(&["open:partial-fill=450:next=1", "open:partial-fill=0:next=1"]);
    let (status, reply) = rig.open("SPX", "long", 1_010.0).await;
    assert_eq!((status, &reply["size_usd"], rig.held("SPX")), (200, &json!(450), d("4.5")));
    let (status, reply) = rig.open("SPX", "long", 1_000.0).await;
    let text = "Order error: Order could not immediately match against any resting orders.";
    assert_eq!((status, reply["message"].as_str()), (400, Some(text)));
}

#[tokio::test]
async fn a_close_that_fills_in_part_leaves_what_nobody_can_close() {
    let rig = Rig::start().await;
    let id = rig.opened("SPX", "long", 1_000.0).await;
    rig.faults(&["close:partial-fill=400:next=1"]);
    let (status, reply) = rig.close(&id).await;
    assert_eq!((status, &reply["status"], &reply["size_usd"]), (200, &json!("closed"), &json!(1000)));
    let (_, reply) = rig.get("/v1/trade/positions").await;
    let left = &reply["positions"][0];
    assert_eq!((&left["size"], &left["position_id"]), (&json!(6), &Value::Null));
    assert_eq!(code(&rig.close(&id).await), (404, "position_not_found"));
    assert_eq!(rig.truth().accounts[0].rows[0].status, RowStatus::Closed);
}

#[tokio::test]
async fn a_request_is_delivered_twice() {
    let rig = Rig::start().await;
    rig.faults(&["open:duplicate:next=1"]);
    let id = rig.opened("SPX", "long", 1_000.0).await;
    assert_eq!((rig.caused(), rig.held("SPX"), rig.rows()), (2, d("20"), (2, 2)));
    let truth = rig.truth();
    assert_eq!((truth.arrived(FleaRoute::Open), truth.requests[0].handled), (1, 2));
    assert_eq!(truth.accounts[0].rows[1].id, id, "the second reply");
}

#[tokio::test]
async fn an_order_executes_long_after_its_connection_is_gone() {
    let rig = Rig::start().await;
    rig.faults(&["open:late=600000:next=1"]);
    assert_eq!(rig.try_open().await, None);
    rig.venue.advance_ms(599_999);
    assert_eq!((rig.caused(), rig.rows()), (0, (0, 0)));
    rig.last("SPX", "110");
    rig.venue.advance_ms(1);
    let truth = rig.truth();
    let late = truth.caused_by(1);
    // Nobody has asked for a price before, so that the cache is as new as the order.
    assert_eq!((late.len(), late[0].price, late[0].at_ms), (1, d("110"), NOON_MS + 600_000));
    assert_eq!(truth.requests[0].status, Some(200));
}

#[tokio::test]
async fn two_pollers_fill_one_limit_order() {
    let rig = Rig::start().await;
    rig.faults(&["limit:double-fill:next=1"]);
    let body = json!({ "coin": "SPX", "side": "long", "size_usd": 1000, "limit_price": 100 });
    rig.post("/v1/trade/limit", body).await;
    rig.venue.advance_ms(30_000);
    assert_eq!((rig.caused(), rig.held("SPX")), (2, d("20")));
}

#[tokio::test]
async fn keys_are_honoured_if_it_is_told_to() {
    let rig = Rig::with(|config| config.faults.honour_keys = true).await;
    let open = |key: &str, size: u32| {
        let body = json!({ "coin": "SPX", "side": "long", "size_usd": size }).to_string();
        rig.send(rig.request("POST", "/v1/trade/open").header("idempotency-key", key).body(body))
    };
    let first = open("a", 1_000).await;
    assert_eq!(open("a", 1_000).await, first);
    assert_eq!(code(&open("a", 900).await), (422, "key_reused"));
    assert_eq!(code(&open(&"x".repeat(65), 900).await), (400, "invalid_idempotency_key"));
    assert_eq!((rig.fills(), rig.truth().accounts[0].repeats), (1, 1));
    assert_eq!(open("b", 1_000).await.0, 200);
    assert_eq!(rig.fills(), 2);
}

#[tokio::test]
async fn faults_are_set_read_and_cleared_over_http() {
    let rig = Rig::start().await;
    let control = |method: &str, body: &str| rig.request(method, "/__faults").body(body.to_owned()).send();
    let text =
        r#"{"seed":7,"rules":["open:drop-after:next=2"],"honour_keys":false,"send_retry_after":false}"#;
    let reply = control("POST", text).await.unwrap();
    assert_eq!((reply.status().as_u16(), reply.text().await.unwrap().as_str()), (200, text));
    assert_eq!(rig.try_open().await, None);
    assert_eq!(control("GET", "").await.unwrap().text().await.unwrap(), text.replace("next=2", "next=1"));
    let refused = control("POST", r#"{"rules":["open:drop:next=2"]}"#).await.unwrap();
    assert_eq!(refused.status(), 400);
    assert!(refused.text().await.unwrap().contains("no fault drop"));
    assert_eq!(rig.venue.faults().rules.len(), 1, "a refused list changes nothing");
    control("DELETE", "").await.unwrap();
    assert_eq!((rig.try_open().await, rig.venue.faults()), (Some(200), FleaFaults::default()));
}

#[tokio::test]
async fn market_data_and_the_truth_go_over_http() {
    let rig = Rig::start().await;
    let ticks = r#"[{"symbol":"SPX","at_ns":2,"last":"101"}]"#;
    let reply = rig.request("POST", "/__market").body(ticks).send().await.unwrap();
    let taken: Value = serde_json::from_str(&reply.text().await.unwrap()).unwrap();
    assert_eq!(taken, json!({ "ticks": 1, "sequence": 0 }), "no tail: it is not part of the API");
    rig.opened("SPX", "long", 1_010.0).await;
    let reply = rig.request("GET", "/__truth").send().await.unwrap();
    let truth: FleaTruth = serde_json::from_str(&reply.text().await.unwrap()).unwrap();
    assert_eq!(truth, rig.truth());
    assert_eq!(truth.caused_by(1)[0].price, d("101"));
    let bad = r#"[{"symbol":"SPX","at_ns":2,"last":"-1"}]"#;
    assert_eq!(code(&rig.send(rig.request("POST", "/__market").body(bad)).await), (400, "bad_price"));
}

#[tokio::test]
async fn a_fault_that_cannot_happen_is_refused() {
    let rig = Rig::start().await;
    let rule = FaultRule::next(FleaRoute::Open, FleaFault::EmptyPositions, 1);
    let error = rig.venue.set_faults(FleaFaults { rules: vec![rule], ..FleaFaults::default() }).unwrap_err();
    assert!(error.to_string().contains("only to positions"), "{error}");
}

#[tokio::test]
async fn a_venue_that_cannot_work_does_not_start() {
    let start = |change: fn(&mut FleaConfig)| async move {
        let mut config = config();
        change(&mut config);
        FleaVenue::start(config, PaperClock::stopped_at(0)).await.map(drop).unwrap_err()
    };
    let error = start(|config| config.instruments[0].lot_size = d("0.25")).await;
    assert!(error.to_string().contains("lot_size is 0.25, expected a power of ten"), "{error}");
    let error = start(|config| config.accounts.push(config.accounts[0].clone())).await;
    assert_eq!(error.code(), "paper_twice");
    let error = start(|config| config.accounts[0].max_leverage = 51).await;
    assert_eq!(error.code(), "paper_limit");
    let error = start(|config| {
        config.faults.rules = vec![FaultRule::next(FleaRoute::Open, FleaFault::HtmlAfter(200), 1)];
    })
    .await;
    assert_eq!(error.code(), "paper_fault");
}

#[tokio::test]
async fn a_full_ledger_takes_no_more_orders() {
    let rig = Rig::with(|config| config.requests_max = 1).await;
    assert_eq!(rig.try_open().await, Some(200));
    assert_eq!(code(&rig.open("SPX", "long", 1_000.0).await), (503, "paper_ledger_full"));
    assert_eq!((rig.fills(), rig.get("/v1/trade/positions").await.0), (1, 200));
}
