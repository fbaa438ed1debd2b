//! Market orders and closes, when nothing goes wrong beyond what is normal at this venue.

use super::rig::{Two, d, words};
use crate::market::{InstrumentId, Lots, PriceTicks};
use crate::orders::OrderKind;
use crate::venue::paper::purpleflea::FleaRoute;
use crate::venue::{Readiness, Venue as _};

#[tokio::test]
async fn a_long_and_a_short_are_opened_and_closed() {
    for lots in [100, -100] {
        let two = Two::start().await;
        let open = two.filled(lots).await;
        assert_eq!((two.held(), two.moved(&open)), (lots, lots));
        assert_eq!(open.told.venue_id, two.executions(&open)[0].order_id);
        two.seen("SPX", "101");
        let close = two.send(two.exit(lots, OrderKind::Market)).await;
        assert_eq!(words(&close.outcome), "done accepted filled 100");
        assert_eq!((two.held(), close.told.price), (0, Some(PriceTicks(10_100))));
        assert_eq!(close.told.venue_id, two.executions(&close)[0].order_id, "its reply does not tell it");
        assert_eq!((two.arrived(FleaRoute::Open), two.arrived(FleaRoute::CloseAll)), (1, 0));
    }
}

#[tokio::test]
async fn a_second_question_about_a_filled_order_gives_the_same_answer() {
    let two = Two::start().await;
    let mut open = two.filled(100).await;
    let told = open.told.clone();
    assert_eq!(two.ask(&mut open).await, "done accepted filled 100");
    let mut close = two.send(two.exit(100, OrderKind::Market)).await;
    assert_eq!(two.ask(&mut close).await, "done accepted filled 100");
    assert_eq!(open.told, told);
}

#[tokio::test]
async fn the_lots_of_an_order_do_not_depend_on_how_old_the_price_of_the_venue_is() {
    let two = Two::start().await;
    let open = two.filled(1_000).await;
    // The cache keeps 100 while the market has moved: within the band of the venue the order fills.
    for (ticks, lots) in [(10_040, -990), (9_960, 990), (10_190, -980), (9_810, 980)] {
        two.last("SPX", &format!("{}.{:02}", ticks / 100, ticks % 100));
        let sent = two.send(two.order(lots, |order| order.reference = Some(PriceTicks(ticks)))).await;
        assert_eq!(words(&sent.outcome), format!("done accepted filled {}", lots.abs()), "at {ticks}");
        assert_eq!(two.moved(&sent), lots, "at {ticks}");
    }
    assert_eq!(two.moved(&open), 1_000);
}

#[tokio::test]
async fn an_order_decided_at_another_price_than_the_venue_has_waits() {
    let two = Two::start().await;
    let late = |ticks| two.order(100, |order| order.reference = Some(PriceTicks(ticks)));
    for ticks in [10_300, 9_700] {
        let failure = two.venue.baseline(&late(ticks)).await.unwrap_err();
        assert_eq!(failure.code, "price_disagrees", "{failure}");
    }
    two.seen("SPX", "103");
    assert!(two.venue.baseline(&late(10_300)).await.is_ok(), "the cache has followed");
}

#[tokio::test]
async fn a_market_that_has_run_away_from_the_price_of_the_venue_fills_nothing() {
    let two = Two::start().await;
    two.filled(10).await;
    two.last("SPX", "101");
    let sent = two.send(two.order(100, |_| ())).await;
    assert_eq!(words(&sent.outcome), "refused exchange_refused");
    two.last("SPX", "90");
    let mut close = two.send(two.exit(10, OrderKind::Market)).await;
    assert_eq!(words(&close.outcome), "ambiguous close_failed", "its words prove nothing");
    assert_eq!((two.ask(&mut close).await, two.held()), ("unknown".into(), 10));
}

#[tokio::test]
async fn a_part_that_was_filled_is_told_and_the_rest_is_cancelled() {
    let two = Two::start().await;
    two.faults(&["open:partial-fill=455:next=1", "open:partial-fill=0:next=1"]);
    let mut part = two.send(two.order(100, |_| ())).await;
    assert_eq!(words(&part.outcome), "done accepted filled 45 cancelled");
    assert_eq!(two.ask(&mut part).await, "done accepted filled 45 cancelled");
    let none = two.send(two.order(100, |_| ())).await;
    assert_eq!(words(&none.outcome), "refused exchange_refused");
}

#[tokio::test]
async fn what_a_partial_close_leaves_is_told_and_cannot_be_closed_by_id() {
    let two = Two::start().await;
    two.filled(100).await;
    two.faults(&["close:partial-fill=400:next=1"]);
    let mut close = two.send(two.exit(100, OrderKind::Market)).await;
    assert_eq!(words(&close.outcome), "done accepted filled 40 cancelled");
    assert_eq!(two.ask(&mut close).await, "done accepted filled 40 cancelled");
    let again = two.send(two.exit(60, OrderKind::Market)).await;
    assert_eq!(words(&again.outcome), "refused position_without_id");
    assert_eq!((two.held(), two.arrived(FleaRoute::Close)), (60, 1));
    // An order the other way takes it back.
    two.filled(-60).await;
    assert_eq!(two.held(), 0);
}

#[tokio::test]
async fn two_opens_of_a_coin_are_closed_as_one() {
    let two = Two::start().await;
    two.filled(100).await;
    two.filled(50).await;
    let close = two.send(two.exit(150, OrderKind::Market)).await;
    assert_eq!(words(&close.outcome), "done accepted filled 150");
    assert_eq!((two.held(), two.arrived(FleaRoute::Close)), (0, 1));
    // The second row still says open, and nothing is held.
    let again = two.venue.baseline(&two.exit(150, OrderKind::Market)).await.unwrap();
    assert_eq!((again.position, again.position_id), (Lots(0), None));
}

#[tokio::test]
async fn a_close_of_what_is_not_held_any_more_is_not_sent() {
    let two = Two::start().await;
    two.filled(100).await;
    two.filled(-40).await;
    let close = two.send(two.exit(100, OrderKind::Market)).await;
    assert_eq!(words(&close.outcome), "refused position_changed");
    assert_eq!((two.held(), two.arrived(FleaRoute::Close)), (60, 0));
}

#[tokio::test]
async fn what_a_close_all_says_is_not_believed() {
    let two = Two::start().await;
    two.filled(100).await;
    // Somebody else's hand: the client never does this.
    let url = format!("{}/v1/trade/close-all", two.paper.base_url());
    let reply = reqwest::Client::new().post(url).bearer_auth("sk_trade_0123").body("{}").send().await;
    assert_eq!(reply.unwrap().status(), 200);
    let positions = two.venue.positions().await.unwrap();
    assert_eq!((positions[0].instrument, positions[0].quantity), (InstrumentId(0), Lots(100)));
    let close = two.send(two.exit(100, OrderKind::Market)).await;
    assert_eq!(words(&close.outcome), "refused position_without_id");
}

#[tokio::test]
async fn every_definite_refusal_of_the_venue_is_one() {
    let two = Two::start().await;
    let sent = two.send(two.order(100_001, |_| ())).await;
    assert_eq!(words(&sent.outcome), "refused position_too_large");
    let small = two.send(two.order(1, |_| ())).await;
    assert_eq!(words(&small.outcome), "done accepted filled 1", "exactly the least");
    two.last("SPX", "99");
    two.paper.advance_ms(30_000);
    let small = two.send(two.order(1, |_| ())).await;
    assert_eq!(words(&small.outcome), "refused exchange_refused", "9.90 dollars are below the least");
    let poor = Two::with(|config| config.accounts[0].cash = d("50"), |_| ()).await;
    let sent = poor.send(poor.order(100, |_| ())).await;
    assert_eq!(words(&sent.outcome), "refused insufficient_funds");
}

#[tokio::test]
async fn an_account_is_ready_or_says_why_not() {
    let two = Two::start().await;
    assert_eq!(two.venue.readiness().await.unwrap(), Readiness::Ready);
    two.venue.probe().await.unwrap();
    let refused = async |two: Two| match two.venue.readiness().await.unwrap() {
        Readiness::Refused(words) => words,
        Readiness::Ready => panic!("expected a refusal"),
    };
    let bare = Two::with(|config| config.accounts[0].wallet = false, |_| ()).await;
    assert!(refused(bare).await.contains("no wallet is connected"));
    let low = Two::with(|config| config.accounts[0].max_leverage = 2, |config| config.leverage = 3).await;
    assert!(refused(low).await.contains("leverage = 3 is above"));
    let other = crate::venue::KeySource::Given(crate::venue::Secret::new("sk_trade_other").unwrap());
    let stranger = Two::with(|_| (), |config| config.key = other).await;
    assert!(refused(stranger).await.contains("does not know the API key"));
}
