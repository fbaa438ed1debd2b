//! Orders that wait in the server: limits, their cancels, stop-losses and take-profits.

use super::rig::{Sent, Told, Two, d, words};
use crate::market::{Lots, PriceTicks};
use crate::orders::{OrderKind, Side};
use crate::venue::Request;

impl Two {
    fn limit(&self, lots: i64, ticks: i64) -> Request {
        self.order(lots, |order| order.kind = OrderKind::Limit(PriceTicks(ticks)))
    }

    async fn waiting(&self, request: Request) -> Sent {
        let sent = self.send(request).await;
        assert_eq!(words(&sent.outcome), "done accepted");
        sent
    }
}

#[tokio::test]
async fn a_limit_order_waits_until_its_price_and_is_found_by_its_id() {
    for (lots, ticks, price, filled) in [(100, 9_500, "95", 100), (-100, 10_500, "105", 100)] {
        let two = Two::start().await;
        let mut limit = two.waiting(two.limit(lots, ticks)).await;
        assert_eq!(two.ask(&mut limit).await, "done accepted");
        two.seen("SPX", price);
        assert_eq!(two.ask(&mut limit).await, format!("done accepted filled {filled}"));
        assert_eq!((limit.told.lots.0, two.held()), (two.held(), lots));
    }
}

#[tokio::test]
async fn a_limit_order_that_the_market_has_jumped_over_is_told_in_the_lots_that_its_dollars_bought() {
    let two = Two::start().await;
    let mut limit = two.waiting(two.limit(100, 9_500)).await;
    two.seen("SPX", "90");
    assert_eq!(two.ask(&mut limit).await, "done accepted filled 106");
    assert_eq!((limit.told.lots, two.held()), (Lots(106), 106));
}

#[tokio::test]
async fn a_limit_order_whose_reply_is_lost_is_found_among_others_with_its_terms() {
    for (fault, found) in [
        ("drop-after", "done accepted"),
        ("html-after=502", "done accepted"),
        ("slow-loris=60000", "done accepted"),
        ("drop-before", "unknown"),
        ("html-before=502", "unknown"),
    ] {
        let two = Two::with(|_| (), |config| config.request_timeout_ms = 500).await;
        let mut first = two.waiting(two.limit(100, 9_500)).await;
        two.faults(&[&format!("limit:{fault}:next=1")]);
        let mut limit = two.send(two.limit(100, 9_500)).await;
        assert!(words(&limit.outcome).starts_with("ambiguous"), "{fault}");
        assert_eq!(two.ask_beside(&mut limit, &[&first.told]).await, found, "{fault}");
        assert_ne!(limit.told.venue_id, first.told.venue_id, "{fault}");
        two.seen("SPX", "95");
        let told = limit.told.clone();
        assert_eq!(two.ask_beside(&mut first, &[&told]).await, "done accepted filled 100", "{fault}");
        let again = two.ask_beside(&mut limit, &[&first.told]).await;
        assert_eq!(again, found.replace("accepted", "accepted filled 100"), "{fault}");
        assert_eq!(first.told.lots.0 + limit.told.lots.0, two.held(), "{fault}");
    }
}

#[tokio::test]
async fn a_limit_order_that_was_delivered_twice_is_left_to_a_person() {
    let two = Two::start().await;
    two.faults(&["limit:duplicate:next=1"]);
    let request = two.limit(100, 9_500);
    let mut limit = two.waiting(request).await;
    assert_eq!(two.ask(&mut limit).await, "done accepted", "the one that was named");
    limit.told = Told::default();
    assert_eq!(two.ask(&mut limit).await, "ambiguous evidence_unclear", "two, had the reply been lost");
}

#[tokio::test]
async fn a_limit_order_that_executes_late_waits_when_it_is_there() {
    let two = Two::start().await;
    two.faults(&["limit:late=600000:next=1"]);
    let mut limit = two.send(two.limit(100, 9_500)).await;
    assert_eq!(two.ask(&mut limit).await, "unknown");
    two.paper.advance_ms(600_000);
    assert_eq!(two.ask(&mut limit).await, "done accepted");
    two.seen("SPX", "95");
    assert_eq!(two.ask(&mut limit).await, "done accepted filled 100");
}

#[tokio::test]
async fn a_limit_order_filled_by_two_pollers_is_left_to_a_person() {
    let two = Two::start().await;
    two.faults(&["limit:double-fill:next=1"]);
    let mut limit = two.waiting(two.limit(100, 9_500)).await;
    two.seen("SPX", "95");
    assert_eq!((two.ask(&mut limit).await, two.held()), ("ambiguous evidence_unclear".into(), 200));
}

#[tokio::test]
async fn a_limit_order_that_the_server_could_not_execute_has_no_end_that_it_could_prove() {
    let two = Two::with(|config| config.accounts[0].cash = d("1500"), |_| ()).await;
    let mut limit = two.waiting(two.limit(100, 9_500)).await;
    two.filled(100).await;
    two.seen("SPX", "95");
    // Not enough margin for both. The list says failed, as it would had the fill not been written down.
    assert_eq!((two.ask(&mut limit).await, two.held()), ("ambiguous evidence_unclear".into(), 100));
    let open = two.truth().accounts[0].executions[0].order_id.clone();
    let open = Told { venue_id: open, lots: Lots(100), ..Told::default() };
    assert_eq!(two.ask_beside(&mut limit, &[&open]).await, "unknown");
}

#[tokio::test]
async fn an_order_of_more_than_ten_that_wait_is_refused() {
    let two = Two::start().await;
    for _ in 0..10 {
        two.waiting(two.limit(10, 9_000)).await;
    }
    let eleventh = two.send(two.limit(10, 9_000)).await;
    assert_eq!(words(&eleventh.outcome), "refused too_many_orders");
}

#[tokio::test]
async fn a_cancel_takes_the_order_back() {
    let two = Two::start().await;
    let mut limit = two.waiting(two.limit(100, 9_500)).await;
    let cancel = two.send(two.cancel(&limit)).await;
    assert_eq!(words(&cancel.outcome), "done cancelled");
    assert_eq!(two.ask(&mut limit).await, "done accepted cancelled");
    two.seen("SPX", "90");
    assert_eq!((two.ask(&mut limit).await, two.held()), ("done accepted cancelled".into(), 0));
}

#[tokio::test]
async fn a_cancel_that_meets_a_fault_is_found_or_known_not_to_have_worked() {
    for (fault, found, order) in [
        ("drop-after", "done cancelled", "done accepted cancelled"),
        ("html-after=502", "done cancelled", "done accepted cancelled"),
        ("duplicate", "done cancelled", "done accepted cancelled"),
        ("drop-before", "done accepted", "done accepted"),
        ("html-before=504", "done accepted", "done accepted"),
    ] {
        let two = Two::start().await;
        let mut limit = two.waiting(two.limit(100, 9_500)).await;
        two.faults(&[&format!("cancel-limit:{fault}:next=1")]);
        let mut cancel = two.send(two.cancel(&limit)).await;
        assert!(words(&cancel.outcome).starts_with("ambiguous"), "{fault}: {:?}", cancel.outcome);
        assert_eq!(two.ask(&mut cancel).await, found, "{fault}");
        assert_eq!(two.ask(&mut limit).await, order, "{fault}");
    }
}

#[tokio::test]
async fn a_cancel_that_comes_too_late_is_no_cancel() {
    let two = Two::start().await;
    let mut limit = two.waiting(two.limit(100, 9_500)).await;
    let cancel = two.cancel(&limit);
    two.seen("SPX", "95");
    let mut cancel = two.send(cancel).await;
    assert_eq!(words(&cancel.outcome), "ambiguous order_not_found");
    assert_eq!(two.ask(&mut cancel).await, "unknown");
    assert_eq!(two.ask(&mut limit).await, "done accepted filled 100");
}

#[tokio::test]
async fn a_limit_order_that_fills_beside_an_unknown_open_is_not_taken_for_it() {
    for (fault, found) in [("drop-before", "unknown"), ("drop-after", "done accepted filled 100")] {
        let two = Two::start().await;
        let mut limit = two.waiting(two.limit(100, 9_900)).await;
        two.faults(&[&format!("open:{fault}:next=1")]);
        let mut open = two.send(two.order(100, |_| ())).await;
        two.seen("SPX", "99");
        let told = limit.told.clone();
        let early = two.ask_beside(&mut open, &[&told]).await;
        assert!(early == "ambiguous evidence_unclear" || early == found, "{fault}: {early}");
        assert_eq!(two.ask(&mut limit).await, "done accepted filled 100", "{fault}: by its id");
        assert_eq!(two.ask_beside(&mut open, &[&limit.told]).await, found, "{fault}");
        assert_eq!(limit.told.lots.0 + open.told.lots.0, two.held(), "{fault}");
    }
}

#[tokio::test]
async fn an_exit_is_executed_once_its_price_is_there() {
    for (held, kind, price, filled) in [
        (100, OrderKind::Stop(PriceTicks(9_000)), "90", 111),
        (-100, OrderKind::Stop(PriceTicks(11_000)), "110", 91),
        (100, OrderKind::Limit(PriceTicks(11_000)), "110", 91),
        (-100, OrderKind::Limit(PriceTicks(9_000)), "90", 111),
    ] {
        let two = Two::start().await;
        two.filled(held).await;
        let mut exit = two.waiting(two.exit(held, kind)).await;
        assert_eq!(two.ask(&mut exit).await, "done accepted");
        two.seen("SPX", price);
        // A market order for the dollars of the position: more or less than what is held.
        let rest = if filled < 100 { " cancelled" } else { "" };
        assert_eq!(two.ask(&mut exit).await, format!("done accepted filled {filled}{rest}"), "{kind:?}");
        assert_eq!(held + exit.told.lots.0, two.held(), "{kind:?}");
    }
}

#[tokio::test]
async fn an_exit_beside_a_close_does_not_take_its_fill() {
    for kind in [OrderKind::Stop(PriceTicks(9_000)), OrderKind::Limit(PriceTicks(11_000))] {
        let two = Two::start().await;
        let open = two.filled(100).await;
        let mut exit = two.waiting(two.exit(100, kind)).await;
        let close = two.send(two.exit(100, OrderKind::Market)).await;
        assert_eq!(words(&close.outcome), "done accepted filled 100");
        let others = [&open.told, &close.told];
        assert_eq!(two.ask_beside(&mut exit, &others).await, "done accepted", "{kind:?}");
        // Also when nobody could tell the id of the close, or when what is known of it was lost.
        let nameless = Told { venue_id: None, ..close.told.clone() };
        assert_eq!(two.ask_beside(&mut exit, &[&nameless]).await, "done accepted", "{kind:?}");
        assert_eq!(two.ask(&mut exit).await, "ambiguous evidence_unclear", "{kind:?}: not at its price");
        assert_eq!(exit.told.lots, Lots(0));
    }
}

#[tokio::test]
async fn an_exit_whose_reply_is_lost_stays_unknown_until_it_is_executed() {
    let two = Two::start().await;
    two.filled(100).await;
    two.faults(&["stop-loss:drop-after:next=1"]);
    let mut stop = two.send(two.exit(100, OrderKind::Stop(PriceTicks(9_000)))).await;
    assert!(words(&stop.outcome).starts_with("ambiguous"), "{:?}", stop.outcome);
    assert_eq!(two.ask(&mut stop).await, "unknown");
    two.seen("SPX", "90");
    assert_eq!(two.ask(&mut stop).await, "done accepted filled 111");
    assert_eq!(super::rig::side(&stop.request), Side::Sell);
}
