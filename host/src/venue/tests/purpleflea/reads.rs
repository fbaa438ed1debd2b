//! Prices and positions.

use super::rig::{Two, d, table, words};
use crate::market::{InstrumentId, Lots, PriceTicks, UnixNanos};
use crate::orders::Sendable;
use crate::venue::Venue as _;
use crate::venue::feed::{PriceFeed, PriceFeedConfig, PriceSource as _};
use crate::venue::paper::MarketTick;
use crate::venue::paper::purpleflea::FleaRoute;
use crate::venue::purpleflea::PriceSource;
use serde_json::json;
use std::sync::Arc;

#[tokio::test]
async fn prices_come_from_the_books_as_they_are_now() {
    let two = Two::start().await;
    let quote = MarketTick {
        symbol: "BTC".into(),
        at: UnixNanos(2),
        last: None,
        bid: Some(d("60000.5")),
        ask: Some(d("60002")),
    };
    two.paper.push_market(&[quote]).unwrap();
    let Two { paper, venue, .. } = two;
    let mut feed = PriceFeed::new(Arc::new(venue), PriceFeedConfig::default());
    let prices = feed.poll().await.unwrap();
    assert_eq!((prices.ticks.len(), prices.dropped.len()), (2, 0));
    let btc = prices.ticks.iter().find(|tick| tick.instrument == InstrumentId(1)).unwrap();
    assert_eq!((btc.bid_price.0, btc.ask_price.0), (120_001, 120_004));
    assert_eq!(paper.truth().arrived(FleaRoute::Orderbook), 2);
}

#[tokio::test]
async fn prices_of_the_cache_come_in_one_call_and_lag() {
    let two = Two::with(|_| (), |config| config.price_source = PriceSource::Cache).await;
    let last = async || two.venue.prices().await.unwrap().into_iter().map(|row| row.last).collect::<Vec<_>>();
    assert_eq!(last().await, [json!("100"), json!("60000")]);
    two.last("SPX", "105");
    assert_eq!(last().await, [json!("100"), json!("60000")]);
    two.paper.advance_ms(30_000);
    assert_eq!(last().await, [json!("105"), json!("60000")]);
    assert_eq!(two.arrived(FleaRoute::MultiPrice), 3);
}

#[tokio::test]
async fn a_price_that_is_none_never_becomes_a_tick() {
    for (source, route) in [(PriceSource::Orderbook, "orderbook"), (PriceSource::Cache, "multi-price")] {
        for (fault, ticks) in [("null-price", 0), ("nan-price", 0), ("html-before=502", 0), ("drop-after", 0)]
        {
            let two = Two::with(|_| (), |config| config.price_source = source).await;
            two.faults(&[&format!("{route}:{fault}:next=2")]);
            let rows = two.venue.prices().await;
            let good = |last: &serde_json::Value| last.is_string();
            let found = rows.map_or(0, |rows| rows.iter().filter(|row| good(&row.last)).count());
            assert_eq!(found, ticks, "{route} {fault}");
        }
    }
}

#[tokio::test]
async fn a_price_that_is_frozen_is_no_new_one() {
    let two = Two::with(|_| (), |config| config.price_source = PriceSource::Cache).await;
    let first = two.venue.prices().await.unwrap();
    two.faults(&["multi-price:frozen-price:next=1"]);
    two.last("SPX", "105");
    two.paper.advance_ms(60_000);
    let frozen = two.venue.prices().await.unwrap();
    assert_eq!(frozen[0].last, first[0].last, "however old, under a fresh stamp");
}

#[tokio::test]
async fn positions_are_those_of_the_exchange_for_the_whole_table() {
    let two = Two::start().await;
    two.filled(100).await;
    let table = table();
    let request = two.order_in(table.get(InstrumentId(1)).unwrap(), -15, |order| {
        order.reference = Some(PriceTicks(120_000));
    });
    let baseline = two.venue.baseline(&request).await.unwrap();
    let outcome = two.venue.send(&Sendable::journaled(request, Some(baseline))).await.outcome;
    assert_eq!(words(&outcome), "done accepted filled 15");
    let positions = two.venue.positions().await.unwrap();
    let lots: Vec<Lots> = positions.iter().map(|position| position.quantity).collect();
    assert_eq!(lots, [Lots(100), Lots(-15)]);
}

#[tokio::test]
async fn positions_that_are_not_the_exchanges_are_no_answer() {
    let two = Two::start().await;
    two.filled(100).await;
    two.faults(&["positions:database-positions:next=1", "positions:empty-positions:next=1"]);
    assert_eq!(two.venue.positions().await.unwrap_err().code, "positions_from_database");
    assert_eq!(two.venue.positions().await.unwrap_err().code, "positions_disagree");
    assert_eq!(two.venue.positions().await.unwrap()[0].quantity, Lots(100));
}
