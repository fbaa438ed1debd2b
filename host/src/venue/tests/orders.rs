//! What the client knows after each answer of a healthy venue.

use super::key;
use super::setup::{Three, about, amend, cancel, client, given, limit, market, paper_config, words};
use crate::market::{InstrumentId, Lots, Money, PriceTicks};
use crate::venue::feed::{PriceFeed, PriceFeedConfig};
use crate::venue::paper::{MarketTick, PaperAccount, PaperConfig, PaperVenue};
use crate::venue::{OrderChange, Outcome, Venue as _, VenuePosition};
use std::sync::Arc;

#[tokio::test]
async fn an_order_is_done_in_steps_of_its_instrument() {
    let three = Three::start().await;
    let reply = three.venue.send(&market(1, 15)).await;
    let Outcome::Done { updates } = &reply.outcome else { panic!("{reply:?}") };
    assert_eq!(updates[0].change, OrderChange::Accepted);
    let OrderChange::Filled { quantity, price, leaves, .. } = updates[1].change else { panic!("{reply:?}") };
    assert_eq!((quantity, price, leaves), (Lots(15), PriceTicks(10_000), Lots(0)));
    assert_eq!(updates[1].key, key(1));
    let held = VenuePosition { instrument: InstrumentId(0), quantity: Lots(15) };
    assert_eq!(three.venue.positions().await.unwrap(), [held]);
    let account = three.venue.account().await.unwrap();
    assert_eq!(account.cash.checked_add(account.fees), Some(Money::new(99_850.into())));
    assert_eq!(
        account.equity.and_then(|equity| equity.checked_add(account.fees)),
        Some(Money::new(100_000.into()))
    );
    three.paper.shutdown().await;
}

#[tokio::test]
async fn the_same_request_three_times_executes_once() {
    let three = Three::start().await;
    let first = three.venue.send(&market(1, 10)).await.outcome;
    three.last(105);
    for _ in 0..2 {
        assert_eq!(three.venue.send(&market(1, 10)).await.outcome, first);
    }
    assert_eq!(three.executed(key(1)), 1);
    let account = three.paper.truth().accounts.remove(0);
    assert_eq!((account.placements[&key(1).to_string()], account.repeats), (1, 2));
}

#[tokio::test]
async fn equal_orders_under_two_keys_both_execute() {
    let three = Three::start().await;
    let _ = three.venue.send(&market(1, 10)).await;
    let _ = three.venue.send(&market(2, 10)).await;
    assert_eq!((three.executed(key(1)), three.executed(key(2))), (1, 1));
}

#[tokio::test]
async fn another_payload_under_a_used_key_is_our_own_error() {
    let three = Three::start().await;
    let _ = three.venue.send(&market(1, 10)).await;
    assert_eq!(words(&three.venue.send(&market(1, 11)).await.outcome), "refused logic key_reused");
    assert_eq!(three.executed(key(1)), 1);
}

#[tokio::test]
async fn a_request_whose_first_copy_still_runs_is_ambiguous() {
    let slow = PaperConfig { process_latency_ms: 3_600_000, ..paper_config() };
    let Three { paper, proxy, venue } = Three::with(slow, |_| ()).await;
    let venue = Arc::new(venue);
    let first = tokio::spawn({
        let venue = Arc::clone(&venue);
        async move { venue.send(&market(1, 10)).await }
    });
    while paper.truth().accounts[0].running == 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(words(&venue.send(&market(1, 10)).await.outcome), "ambiguous api in_progress");
    paper.shutdown().await;
    let stopped = first.await.unwrap();
    assert_eq!(words(&stopped.outcome), "ambiguous api http_503");
    drop(proxy);
}

#[tokio::test]
async fn a_refusal_is_final_and_carries_the_venues_code() {
    let three = Three::start().await;
    let reply = three.venue.send(&limit(1, 2_000_000, 10_000)).await;
    assert_eq!(words(&reply.outcome), "refused api invalid_quantity");
    assert_eq!(
        words(&three.venue.query(&about(&limit(1, 2_000_000, 10_000))).await.outcome),
        "done rejected"
    );
}

#[tokio::test]
async fn a_wrong_key_is_unauthorized_everywhere() {
    let three = Three::start().await;
    let stranger = client(three.paper.base_url(), |config| config.key = given("another-key"));
    assert_eq!(words(&stranger.send(&market(1, 10)).await.outcome), "refused api unauthorized");
    assert_eq!(words(&stranger.query(&about(&market(1, 10))).await.outcome), "ambiguous api unauthorized");
    assert_eq!(stranger.probe().await.unwrap_err().code, "unauthorized");
    assert_eq!(stranger.updates(0).await.unwrap_err().code, "unauthorized");
    for path in ["/__truth", "/api/prices"] {
        let reply = reqwest::get(format!("{}{path}", three.paper.base_url())).await.unwrap();
        assert_eq!(reply.status(), 401, "{path}");
    }
    assert!(three.paper.truth().accounts[0].orders.is_empty());
}

#[tokio::test]
async fn a_query_tells_a_known_order_from_an_unknown_one() {
    let three = Three::start().await;
    assert_eq!(three.venue.query(&about(&market(1, 10))).await.outcome, Outcome::Unknown);
    let _ = three.venue.send(&limit(1, 10, 9_900)).await;
    assert_eq!(words(&three.venue.query(&about(&limit(1, 10, 9_900))).await.outcome), "done accepted");
    three.last(99);
    assert_eq!(words(&three.venue.query(&about(&limit(1, 10, 9_900))).await.outcome), "done accepted filled");
}

#[tokio::test]
async fn a_path_that_is_not_the_venues_is_not_an_unknown_order() {
    let three = Three::start().await;
    let lost = client(format!("{}/elsewhere", three.paper.base_url()), |_| ());
    assert_eq!(words(&lost.query(&about(&market(1, 10))).await.outcome), "ambiguous api no_such_path");
    assert_eq!(words(&lost.send(&market(1, 10)).await.outcome), "refused api no_such_path");
}

#[tokio::test]
async fn an_order_is_amended_and_cancelled() {
    let three = Three::start().await;
    let _ = three.venue.send(&limit(1, 10, 9_900)).await;
    assert_eq!(words(&three.venue.send(&amend(2, 1, 20)).await.outcome), "done accepted amended");
    assert_eq!(words(&three.venue.send(&cancel(3, 1)).await.outcome), "done accepted amended cancelled");
    assert_eq!(words(&three.venue.send(&cancel(3, 1)).await.outcome), "done accepted amended cancelled");
    assert_eq!(words(&three.venue.send(&cancel(4, 1)).await.outcome), "refused api order_closed");
    assert_eq!(words(&three.venue.send(&cancel(5, 9)).await.outcome), "refused api unknown_order");
}

#[tokio::test]
async fn updates_arrive_in_pages_and_in_order() {
    let three = Three::with(paper_config(), |config| config.updates_page_max = 2).await;
    for call in 1..=3 {
        let _ = three.venue.send(&limit(call, 10, 9_900)).await;
    }
    let newest = three.last(99);
    let (mut after, mut sequences) = (0, Vec::new());
    loop {
        let page = three.venue.updates(after).await.unwrap();
        assert!(page.updates.len() <= 2);
        sequences.extend(page.updates.iter().map(|update| update.sequence));
        after = page.through;
        if !page.more {
            break;
        }
    }
    assert_eq!((sequences, after), ((1..=6).collect(), newest));
    assert!(three.venue.updates(after).await.unwrap().updates.is_empty());
}

#[tokio::test]
async fn a_body_beyond_the_limit_is_refused() {
    let three = Three::with(PaperConfig { body_bytes_max: 64, ..paper_config() }, |_| ()).await;
    assert_eq!(words(&three.venue.send(&market(1, 10)).await.outcome), "refused api http_413");
    assert!(three.paper.truth().accounts[0].orders.is_empty());
}

#[tokio::test]
async fn the_feed_gives_each_price_once() {
    let Three { paper, proxy, venue } = Three::start().await;
    let mut feed = PriceFeed::new(Arc::new(venue), PriceFeedConfig::default());
    let prices = feed.next().await.unwrap();
    assert_eq!((prices.ticks.len(), prices.ticks[0].last_price), (1, PriceTicks(10_000)));
    assert!(feed.poll().await.unwrap().ticks.is_empty());
    let quote = MarketTick {
        symbol: "BTC".into(),
        at: crate::market::UnixNanos(7),
        last: None,
        bid: Some("60000.5".parse().unwrap()),
        ask: Some("60001".parse().unwrap()),
    };
    paper.push_market(&[quote]).unwrap();
    let tick = feed.poll().await.unwrap().ticks[0];
    assert_eq!((tick.instrument, tick.event_time.0), (InstrumentId(1), 7));
    assert_eq!((tick.bid_price, tick.ask_price), (PriceTicks(120_001), PriceTicks(120_002)));
    proxy.shutdown().await;
}

#[tokio::test]
async fn market_data_over_http_drives_the_venue_in_lockstep() {
    let three = Three::start().await;
    let _ = three.venue.send(&limit(1, 10, 9_900)).await;
    let http = reqwest::Client::new();
    let push = |ticks: &'static str| {
        let url = format!("{}/__market", three.paper.base_url());
        http.post(url).bearer_auth("test-key").body(ticks).send()
    };
    let reply = push(r#"[{"symbol":"SPX","at_ns":2,"last":"99"}]"#).await.unwrap();
    assert_eq!(reply.text().await.unwrap(), r#"{"ticks":1,"sequence":2}"#);
    assert_eq!(three.executed(key(1)), 1);
    let reply = push(r#"[{"symbol":"SPX","at_ns":2,"last":"-1"}]"#).await.unwrap();
    assert_eq!(reply.status(), 400);
    assert!(reply.text().await.unwrap().contains("bad_price"));
}

#[tokio::test]
async fn a_channel_drives_the_venue() {
    let three = Three::start().await;
    let _ = three.venue.send(&limit(1, 10, 9_900)).await;
    let (ticks, receiver) = tokio::sync::mpsc::channel(1);
    three.paper.drive(receiver);
    let tick = |symbol: &str| MarketTick {
        symbol: symbol.into(),
        at: crate::market::UnixNanos(2),
        last: Some(99.into()),
        bid: None,
        ask: None,
    };
    ticks.send(vec![tick("unknown")]).await.unwrap();
    ticks.send(vec![tick("SPX")]).await.unwrap();
    while three.executed(key(1)) == 0 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_venue_that_cannot_work_does_not_start() {
    use crate::resilience::Classified as _;
    let three = Three::start().await;
    let taken = PaperConfig { port: three.paper.addr().port(), ..paper_config() };
    let twin = PaperAccount { name: "twin".into(), key: given("test-key"), ..PaperAccount::default() };
    let twins = PaperConfig { accounts: vec![twin, paper_config().accounts.remove(0)], ..paper_config() };
    let nothing = PaperConfig { instruments: Vec::new(), ..paper_config() };
    let crumbs = PaperConfig { fill_quantity_max: Some("0.05".parse().unwrap()), ..paper_config() };
    for (config, code) in
        [(taken, "paper_bind"), (twins, "paper_twice"), (nothing, "paper_limit"), (crumbs, "paper_limit")]
    {
        assert_eq!(PaperVenue::start(config).await.unwrap_err().code(), code);
    }
}
