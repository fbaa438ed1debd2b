use super::*;
use ringfence_sdk::test::Harness;
use ringfence_sdk::{Intent, OrderKind, RejectReason};

const TIMEOUT: i64 = 3;

/// A run whose window holds 1,000 and a little noise, so that 900 is far below and 1,100 far above.
fn warm() -> Harness<MeanReversion> {
    let mut run = Harness::new().setting("window", 10).setting("timeout", TIMEOUT).setting("quantity", 5);
    run = run.start().unwrap();
    for i in 0..10 {
        assert!(run.trade(1_000 + i % 2).is_empty());
    }
    run
}

fn submitted(intents: &[Intent]) -> (OrderId, Order) {
    match intents {
        [Intent::Submit { id, order }] => (*id, *order),
        other => panic!("expected one order, found {other:?}"),
    }
}

#[test]
fn a_price_far_below_the_mean_is_bid_for_and_far_above_offered() {
    let (_, bid) = submitted(&warm().trade(900));
    assert_eq!((bid.side, bid.quantity, bid.kind), (Side::Buy, Lots(5), OrderKind::Limit(PriceTicks(900))));
    let (_, offer) = submitted(&warm().trade(1_100));
    assert_eq!((offer.side, offer.kind), (Side::Sell, OrderKind::Limit(PriceTicks(1_100))));
}

#[test]
fn with_a_quote_the_order_joins_the_near_side() {
    let (_, bid) = submitted(&warm().quote(899, 903));
    assert_eq!(bid.kind, OrderKind::Limit(PriceTicks(899)));
}

#[test]
fn a_filled_entry_is_closed_when_the_price_is_back() {
    let mut run = warm();
    let (id, _) = submitted(&run.trade(900));
    assert!(run.fill(id, Lots(5), 900).is_empty());
    assert_eq!(run.position(), Lots(5));
    assert!(run.trade(901).is_empty(), "still below the mean");
    let (exit, order) = submitted(&run.trade(1_000));
    assert_eq!((order.side, order.quantity), (Side::Sell, Lots(5)));
    assert!(order.reduce_only);
    run.fill(exit, Lots(5), 1_000);
    assert_eq!(run.position(), Lots::ZERO);
}

#[test]
fn only_what_was_filled_is_closed() {
    let mut run = warm();
    let (id, _) = submitted(&run.trade(900));
    run.fill(id, Lots(2), 900);
    for _ in 0..TIMEOUT - 1 {
        assert!(run.trade(900).is_empty(), "the rest still rests");
    }
    assert_eq!(run.trade(900), [Intent::Cancel(id)]);
    run.event(&Event::Cancelled(id));
    let (_, exit) = submitted(&run.trade(1_000));
    assert_eq!(exit.quantity, Lots(2));
}

#[test]
fn an_order_that_rests_too_long_is_taken_back_once() {
    let mut run = warm();
    let (id, _) = submitted(&run.trade(900));
    let intents: Vec<_> = (0..4 * TIMEOUT).flat_map(|_| run.trade(900)).collect();
    assert_eq!(intents, [Intent::Cancel(id)]);
}

#[test]
fn an_order_that_the_books_lost_does_not_block_for_ever() {
    let mut run = warm();
    let (id, _) = submitted(&run.trade(900));
    let (schema, state) = run.save().unwrap();
    run.event(&Event::Cancelled(id));
    // The restarted instance remembers an order that ended while it was away.
    run.load(schema, &state).unwrap();
    let intents: Vec<_> = (0..40).flat_map(|i| run.trade(if i < 20 { 1_000 + i % 2 } else { 700 })).collect();
    assert_eq!(intents.first(), Some(&Intent::Cancel(id)));
    assert!(intents.iter().any(|intent| matches!(intent, Intent::Submit { .. })), "{intents:?}");
}

#[test]
fn after_a_refusal_it_waits_before_it_asks_again() {
    let mut run = warm();
    let (id, _) = submitted(&run.trade(900));
    run.reject(id, RejectReason::RateLimited);
    let asked: Vec<_> = [800, 600, 1].map(|price| run.trade(price).len()).into();
    assert_eq!(asked, [0, 0, 1], "each price alone is worth an order");
    assert_eq!(run.log().len(), 1);
}

#[test]
fn while_an_outcome_is_unknown_nothing_else_is_sent() {
    let mut run = warm();
    let (id, _) = submitted(&run.trade(900));
    run.event(&Event::Unresolved(id));
    assert!(run.trade(800).is_empty());
}

#[test]
fn modes_below_full_open_nothing_and_read_only_still_closes() {
    let mut run = warm();
    run.mode = Mode::ReadOnly;
    assert!(run.trade(900).is_empty());
    run.mode = Mode::Full;
    let (id, _) = submitted(&run.trade(800));
    run.fill(id, Lots(5), 800);
    run.mode = Mode::ReadOnly;
    assert!(submitted(&run.trade(1_200)).1.reduce_only);
}

#[test]
fn without_room_for_intents_nothing_is_remembered_as_sent() {
    let mut run = warm();
    run.intents_left = 0;
    assert!(run.trade(900).is_empty());
    run.intents_left = 1;
    assert_eq!(run.trade(850).len(), 1);
}

#[test]
fn stopping_takes_back_what_is_out() {
    let mut run = warm();
    assert!(run.stop().is_empty());
    run.trade(900);
    assert_eq!(run.stop(), [Intent::CancelAll(InstrumentId(0))]);
}

#[test]
fn a_quantity_that_the_instrument_does_not_trade_is_refused() {
    let small = Instrument { max_lots: Lots(4), ..ringfence_sdk::test::instrument() };
    let refused = Harness::<MeanReversion>::new().instrument(small).setting("quantity", 5).start().err();
    let words = "quantity: BTCUSDT trades 1 to 4 lots an order, found 5".to_owned();
    assert_eq!(refused, Some(Fault::InvalidSettings(words)));
}

/// A walk with a pull to the middle, from a fixed congruence: the same on every machine.
fn walk(count: usize) -> Vec<i64> {
    let (mut price, mut noise) = (10_000_i64, 7_u64);
    let mut step = move || {
        noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        price += i64::try_from(noise >> 58).unwrap() - 32 + (10_000 - price) / 50;
        price
    };
    (0..count).map(|_| step()).collect()
}

/// Plays a venue that fills whatever the price reaches; gives everything that was asked for.
fn play(swap_at: Option<usize>) -> (Vec<Intent>, Lots) {
    let mut run =
        Harness::<MeanReversion>::new().setting("window", 30).setting("quantity", 5).start().unwrap();
    let (mut asked, mut largest) = (Vec::new(), Lots::ZERO);
    let mut out: Option<(OrderId, Order)> = None;
    for (index, price) in walk(5_000).into_iter().enumerate() {
        if swap_at == Some(index) {
            run.swap().unwrap();
        }
        if let Some((id, order)) = out
            && let OrderKind::Limit(limit) = order.kind
            && (if order.side == Side::Buy { price <= limit.0 } else { price >= limit.0 })
        {
            asked.extend(run.fill(id, order.quantity, limit.0));
            out = None;
        }
        for intent in run.trade(price) {
            match intent {
                Intent::Submit { id, order } => out = Some((id, order)),
                Intent::Cancel(id) => {
                    out = None;
                    asked.extend(run.event(&Event::Cancelled(id)));
                }
                _ => {}
            }
            asked.push(intent);
        }
        largest = largest.max(run.position().abs());
    }
    (asked, largest)
}

#[test]
fn the_position_stays_within_the_quantity_over_a_long_run() {
    let (asked, largest) = play(None);
    assert!(asked.len() > 100, "the walk is worth trading, found {} intents", asked.len());
    assert_eq!(largest, Lots(5));
}

#[test]
fn a_swap_at_any_moment_changes_nothing() {
    let whole = play(None);
    for at in [0, 10, 29, 500, 501, 502, 503, 2_345] {
        assert_eq!(play(Some(at)), whole, "swapped at {at}");
    }
}

#[test]
fn damaged_state_is_refused() {
    let (schema, data) = warm().save().unwrap();
    let mut wrong_kind = data.clone();
    wrong_kind[4] = 9;
    for bytes in [&data[..data.len() - 1], &[&data[..], &[0]].concat(), &wrong_kind] {
        assert!(matches!(warm().load(schema, bytes), Err(Fault::IncompatibleState(_))));
    }
}
