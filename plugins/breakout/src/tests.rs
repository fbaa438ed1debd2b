use super::*;
use ringfence_sdk::Intent;
use ringfence_sdk::test::Harness;

fn started(bars: i64) -> Harness<Breakout> {
    Harness::new().setting("bars", bars).setting("quantity", 4).start().unwrap()
}

fn bar(run: &mut Harness<Breakout>, high: i64, low: i64, close: i64) -> Vec<Intent> {
    let (high, low, close) = (PriceTicks(high), PriceTicks(low), PriceTicks(close));
    run.bar(&Bar { seconds: 60, open: close, high, low, close, ..Bar::default() }).unwrap()
}

fn only(intents: &[Intent]) -> Order {
    let [Intent::Submit { order, .. }] = intents else { panic!("expected one order, found {intents:?}") };
    *order
}

#[test]
fn a_close_above_the_range_is_bought_and_one_below_it_sold() {
    let mut run = started(2);
    assert!(bar(&mut run, 10, 8, 9).is_empty());
    assert!(bar(&mut run, 99, 7, 50).is_empty(), "a range of one bar is none");
    assert!(bar(&mut run, 99, 9, 99).is_empty(), "not above the highest");
    let bought = only(&bar(&mut run, 105, 90, 100));
    assert_eq!((bought.side, bought.quantity), (Side::Buy, Lots(4)));
    assert!(bar(&mut run, 200, 95, 200).is_empty(), "an order is out");
    run.fill(OrderId(1), Lots(4), 100);
    assert!(bar(&mut run, 300, 95, 300).is_empty(), "bought already");
    assert!(bar(&mut run, 300, 95, 95).is_empty(), "not below the lowest");
    let sold = only(&bar(&mut run, 100, 94, 94));
    assert_eq!((sold.side, sold.quantity, sold.reduce_only), (Side::Sell, Lots(4), true));
}

#[test]
fn ticks_alone_do_nothing() {
    let mut run = started(1);
    assert!([5, 50, 500, 1].into_iter().all(|price| run.trade(price).is_empty()));
}

#[test]
fn the_range_is_kept_over_a_swap() {
    let mut run = started(2);
    bar(&mut run, 10, 8, 9);
    bar(&mut run, 12, 8, 9);
    run.swap().unwrap();
    assert!(bar(&mut run, 12, 8, 12).is_empty());
    assert_eq!(only(&bar(&mut run, 13, 8, 13)).side, Side::Buy);
}

#[test]
fn a_shorter_range_takes_the_newest_bars() {
    let mut run = started(3);
    for high in [90, 10, 11] {
        bar(&mut run, high, 5, 6);
    }
    let (schema, data) = run.save().unwrap();
    let mut shorter = started(2);
    shorter.load(schema, &data).unwrap();
    assert_eq!(only(&bar(&mut shorter, 12, 8, 12)).side, Side::Buy);
}
