use super::*;
use crate::market::{Bar, Instrument, InstrumentKind, Marks, Tick};
use crate::orders::{OrderKind, OrderOptions, TimeInForce};
use rust_decimal::Decimal;

pub(in crate::lab) const ID: InstrumentId = InstrumentId(0);

pub(in crate::lab) fn instruments() -> Arc<Instruments> {
    let instrument = Instrument {
        symbol: "X".into(),
        venue: "lab".into(),
        kind: InstrumentKind::Spot,
        quote_currency: "USD".into(),
        multiplier: Decimal::ONE,
        tick_size: Decimal::new(1, 2),
        lot_size: Decimal::ONE,
        min_lots: Lots(1),
        max_lots: Lots(1_000_000),
    };
    Arc::new(Instruments::new(vec![instrument]).unwrap())
}

fn exchange(model: Model) -> Exchange {
    Exchange::new(instruments(), Money::new(100_000.into()), model)
}

/// Everything at once where the market comes to the price, as the paper venue fills.
fn generous() -> Model {
    Model { queue: Queue::Touch, ..Model::default() }
}

fn displayed() -> Model {
    Model { liquidity: Liquidity::Displayed, ..Model::default() }
}

fn at(seconds: u64) -> UnixNanos {
    UnixNanos(seconds * 1_000_000_000)
}

pub(super) fn trade(seconds: u64, price: i64, size: i64) -> Sample {
    let tick = Tick {
        event_time: at(seconds),
        last_price: PriceTicks(price),
        last_size: Lots(size),
        volume: Lots(size),
        marks: Marks::TRADE,
        ..Tick::default()
    };
    Sample { tick, bar: None }
}

pub(super) fn quote(seconds: u64, (bid, bid_size): (i64, i64), (ask, ask_size): (i64, i64)) -> Sample {
    let tick = Tick {
        event_time: at(seconds),
        bid_price: PriceTicks(bid),
        bid_size: Lots(bid_size),
        ask_price: PriceTicks(ask),
        ask_size: Lots(ask_size),
        marks: Marks::QUOTE,
        ..Tick::default()
    };
    Sample { tick, bar: None }
}

fn bar(seconds: u64, [open, high, low, close]: [i64; 4]) -> Sample {
    let [open, high, low, close] = [open, high, low, close].map(PriceTicks);
    let bar = Bar { instrument: ID, start: at(seconds), open, high, low, close, ..Bar::default() };
    let tick = Tick { event_time: at(seconds), last_price: close, marks: Marks::TRADE, ..Tick::default() };
    Sample { tick, bar: Some(bar) }
}

pub(super) fn ticket(side: Side, quantity: i64, kind: OrderKind, tif: TimeInForce) -> Ticket {
    let options = OrderOptions::default();
    Ticket { instrument: ID, side, quantity: Lots(quantity), kind, tif, options }
}

fn limit(side: Side, quantity: i64, price: i64) -> Ticket {
    ticket(side, quantity, OrderKind::Limit(PriceTicks(price)), TimeInForce::Gtc)
}

fn market(side: Side, quantity: i64) -> Ticket {
    ticket(side, quantity, OrderKind::Market, TimeInForce::Ioc)
}

fn show(exchange: &mut Exchange, sample: &Sample) -> Vec<Report> {
    let mut reports = Vec::new();
    exchange.show(sample, &mut reports);
    reports
}

fn place(exchange: &mut Exchange, ticket: &Ticket) -> Result<Vec<Report>, Refusal> {
    let mut reports = Vec::new();
    exchange.place(UnixNanos(0), ticket, &mut reports).map(|_| reports)
}

/// Quantity, price and whether it rested, of each fill.
fn fills(reports: &[Report]) -> Vec<(i64, i64, bool)> {
    let fill = |report: &Report| match report.change {
        OrderChange::Filled { quantity, price, maker, .. } => Some((quantity.0, price.0, maker)),
        _ => None,
    };
    reports.iter().filter_map(fill).collect()
}

fn ends(reports: &[Report]) -> Option<&OrderChange> {
    reports.last().map(|report| &report.change)
}

#[test]
fn a_market_order_pays_the_other_side_of_the_quote_or_the_last_trade() {
    let mut exchange = exchange(Model { slippage_ticks: 2, ..generous() });
    assert_eq!(place(&mut exchange, &market(Side::Buy, 5)).unwrap_err().code, "no_market");
    show(&mut exchange, &trade(1, 1_000, 3));
    assert_eq!(fills(&place(&mut exchange, &market(Side::Buy, 5)).unwrap()), [(5, 1_002, false)]);
    show(&mut exchange, &quote(2, (990, 1), (1_010, 1)));
    assert_eq!(fills(&place(&mut exchange, &market(Side::Sell, 9)).unwrap()), [(9, 988, false)]);
    assert_eq!(exchange.position(ID), Lots(-4));
    let paid = Money::new(Decimal::new(5 * 1_002 - 9 * 988, 2));
    assert_eq!(exchange.cash(), Money::new(100_000.into()).checked_sub(paid).unwrap());
}

#[test]
fn slippage_stops_at_the_limit() {
    let mut exchange = exchange(Model { slippage_ticks: 5, ..generous() });
    show(&mut exchange, &trade(1, 1_000, 3));
    let reports = place(&mut exchange, &limit(Side::Buy, 5, 1_003)).unwrap();
    assert_eq!(fills(&reports), [(5, 1_003, false)]);
}

#[test]
fn what_is_shown_is_what_can_be_had() {
    let mut exchange = exchange(displayed());
    show(&mut exchange, &quote(1, (990, 7), (1_000, 4)));
    let reports = place(&mut exchange, &market(Side::Buy, 10)).unwrap();
    assert_eq!((fills(&reports), ends(&reports)), (vec![(4, 1_000, false)], Some(&OrderChange::Cancelled)));
    let again = place(&mut exchange, &market(Side::Buy, 10)).unwrap();
    assert_eq!(fills(&again), [], "it was taken");
    show(&mut exchange, &quote(2, (990, 7), (1_000, 3)));
    let resting = place(&mut exchange, &limit(Side::Buy, 10, 1_000)).unwrap();
    assert_eq!(fills(&resting), [(3, 1_000, false)]);
    assert!(!exchange.is_quiet(ID), "the rest of a limit order rests");
    assert_eq!(fills(&show(&mut exchange, &quote(3, (990, 7), (999, 5)))), [(5, 1_000, true)]);
}

#[test]
fn an_immediate_order_never_rests_and_a_whole_one_is_never_partial() {
    let mut exchange = exchange(displayed());
    show(&mut exchange, &quote(1, (990, 7), (1_000, 4)));
    let kind = OrderKind::Limit(PriceTicks(1_000));
    let reports = place(&mut exchange, &ticket(Side::Buy, 5, kind, TimeInForce::Fok)).unwrap();
    assert_eq!((fills(&reports), ends(&reports)), (vec![], Some(&OrderChange::Cancelled)));
    let reports = place(&mut exchange, &ticket(Side::Buy, 5, kind, TimeInForce::Ioc)).unwrap();
    assert_eq!((fills(&reports), ends(&reports)), (vec![(4, 1_000, false)], Some(&OrderChange::Cancelled)));
    let reports = place(&mut exchange, &ticket(Side::Sell, 7, OrderKind::Market, TimeInForce::Fok)).unwrap();
    assert_eq!(fills(&reports), [(7, 990, false)]);
    assert!(exchange.is_empty());
}

#[test]
fn who_came_first_at_the_same_price_is_filled_first_and_a_better_price_before_both() {
    let mut exchange = exchange(Model { queue: Queue::Touch, ..displayed() });
    show(&mut exchange, &trade(1, 1_000, 1));
    for (quantity, price) in [(5, 990), (5, 990), (5, 995)] {
        place(&mut exchange, &limit(Side::Buy, quantity, price)).unwrap();
    }
    let filled = |reports: Vec<Report>| -> Vec<u64> { reports.iter().map(|report| report.order.0).collect() };
    assert_eq!(
        filled(show(&mut exchange, &trade(2, 990, 7))),
        [3, 1],
        "five of the better, two of the first"
    );
    assert_eq!(filled(show(&mut exchange, &trade(3, 990, 100))), [1, 2]);
}

#[test]
fn an_order_waits_behind_what_was_shown_before_it() {
    let mut exchange = exchange(displayed());
    show(&mut exchange, &quote(1, (990, 10), (1_000, 4)));
    place(&mut exchange, &limit(Side::Buy, 5, 990)).unwrap();
    assert_eq!(fills(&show(&mut exchange, &trade(2, 990, 8))), []);
    assert_eq!(
        fills(&show(&mut exchange, &trade(3, 990, 4))),
        [(2, 990, true)],
        "two of four are the others'"
    );
    assert_eq!(fills(&show(&mut exchange, &trade(4, 990, 9))), [(3, 990, true)]);
}

#[test]
fn who_withdraws_stood_behind() {
    let mut exchange = exchange(displayed());
    show(&mut exchange, &quote(1, (990, 10), (1_000, 4)));
    place(&mut exchange, &limit(Side::Buy, 5, 990)).unwrap();
    show(&mut exchange, &quote(2, (990, 3), (1_000, 4)));
    assert_eq!(fills(&show(&mut exchange, &trade(3, 990, 4))), [(1, 990, true)]);
}

#[test]
fn behind_an_unknown_queue_only_a_trade_beyond_the_price_is_certain() {
    let mut exchange = exchange(Model::default());
    show(&mut exchange, &trade(1, 1_000, 1));
    place(&mut exchange, &limit(Side::Buy, 5, 990)).unwrap();
    assert_eq!(fills(&show(&mut exchange, &trade(2, 990, 100))), []);
    assert_eq!(fills(&show(&mut exchange, &trade(3, 989, 1))), [(5, 990, true)]);
}

#[test]
fn through_is_stricter_and_touch_is_looser() {
    for (queue, touched) in [(Queue::Touch, vec![(5, 990, true)]), (Queue::Through, vec![])] {
        let mut exchange = exchange(Model { queue, ..Model::default() });
        show(&mut exchange, &quote(1, (990, 0), (1_000, 4)));
        place(&mut exchange, &limit(Side::Buy, 5, 990)).unwrap();
        assert_eq!(fills(&show(&mut exchange, &trade(2, 990, 100))), touched, "{queue:?}");
    }
}

#[test]
fn a_stop_sleeps_until_a_trade_at_its_trigger_and_then_takes() {
    let mut exchange = exchange(generous());
    show(&mut exchange, &quote(1, (990, 1), (1_000, 1)));
    show(&mut exchange, &trade(1, 995, 1));
    let stop = ticket(Side::Sell, 5, OrderKind::Stop(PriceTicks(980)), TimeInForce::Ioc);
    assert_eq!(place(&mut exchange, &stop).unwrap().len(), 1, "accepted");
    assert_eq!(show(&mut exchange, &quote(2, (970, 1), (971, 1))), [], "no trade yet");
    assert_eq!(fills(&show(&mut exchange, &trade(3, 980, 1))), [(5, 970, false)]);
    let kind = OrderKind::StopLimit { trigger: PriceTicks(1_005), limit: PriceTicks(1_006) };
    place(&mut exchange, &ticket(Side::Buy, 5, kind, TimeInForce::Gtc)).unwrap();
    show(&mut exchange, &quote(4, (1_006, 1), (1_009, 1)));
    assert_eq!(fills(&show(&mut exchange, &trade(4, 1_007, 1))), [], "awake, and its limit is not there");
    assert_eq!(fills(&show(&mut exchange, &quote(5, (1_000, 1), (1_004, 1)))), [(5, 1_006, true)]);
}

#[test]
fn a_bar_reaches_orders_by_its_range_and_stops_by_their_trigger_or_its_open() {
    let mut exchange = exchange(Model::default());
    show(&mut exchange, &bar(1, [1_000, 1_000, 1_000, 1_000]));
    place(&mut exchange, &limit(Side::Buy, 1, 950)).unwrap();
    place(&mut exchange, &ticket(Side::Sell, 2, OrderKind::Stop(PriceTicks(960)), TimeInForce::Gtc)).unwrap();
    place(&mut exchange, &ticket(Side::Buy, 3, OrderKind::Stop(PriceTicks(1_010)), TimeInForce::Gtc))
        .unwrap();
    assert_eq!(show(&mut exchange, &bar(2, [1_000, 1_009, 961, 990])), []);
    assert_eq!(
        fills(&show(&mut exchange, &bar(3, [990, 1_009, 949, 1_000]))),
        [(1, 950, true), (2, 960, false)]
    );
    assert_eq!(fills(&show(&mut exchange, &bar(4, [1_020, 1_030, 1_015, 1_018]))), [(3, 1_020, false)]);
}

#[test]
fn an_order_that_comes_to_rest_within_a_bar_waits_for_the_next() {
    let mut exchange = exchange(generous());
    show(&mut exchange, &bar(1, [1_000, 1_000, 1_000, 1_000]));
    let kind = OrderKind::StopLimit { trigger: PriceTicks(1_010), limit: PriceTicks(1_005) };
    place(&mut exchange, &ticket(Side::Buy, 3, kind, TimeInForce::Gtc)).unwrap();
    assert_eq!(fills(&show(&mut exchange, &bar(2, [1_000, 1_020, 990, 1_015]))), []);
    assert_eq!(fills(&show(&mut exchange, &bar(3, [1_015, 1_015, 1_004, 1_010]))), [(3, 1_005, true)]);
}

#[test]
fn post_only_is_refused_where_it_would_take() {
    let mut exchange = exchange(generous());
    show(&mut exchange, &quote(1, (990, 1), (1_000, 1)));
    let mut post_only = limit(Side::Buy, 5, 1_000);
    post_only.options.post_only = true;
    assert_eq!(place(&mut exchange, &post_only).unwrap_err().code, "would_cross");
    post_only.kind = OrderKind::Limit(PriceTicks(999));
    let number = place(&mut exchange, &post_only).unwrap()[0].order;
    let mut reports = Vec::new();
    let crossing = exchange.amend(number, Lots(5), Some(PriceTicks(1_000)), &mut reports);
    assert_eq!((crossing.unwrap_err().code, reports), ("would_cross", vec![]));
    post_only.tif = TimeInForce::Ioc;
    assert_eq!(place(&mut exchange, &post_only).unwrap_err().code, "invalid_order");
}

#[test]
fn reduce_only_takes_no_more_than_there_is() {
    let mut exchange = exchange(generous());
    show(&mut exchange, &trade(1, 1_000, 1));
    let mut sell = limit(Side::Sell, 8, 1_010);
    sell.options.reduce_only = true;
    assert_eq!(place(&mut exchange, &sell).unwrap_err().code, "reduce_only");
    place(&mut exchange, &market(Side::Buy, 5)).unwrap();
    place(&mut exchange, &sell).unwrap();
    let reports = show(&mut exchange, &trade(2, 1_011, 1));
    assert_eq!((fills(&reports), ends(&reports)), (vec![(5, 1_010, true)], Some(&OrderChange::Cancelled)));
    assert_eq!(exchange.position(ID), Lots::ZERO);
}

#[test]
fn time_ends_what_was_good_for_a_time() {
    let mut exchange = exchange(generous());
    show(&mut exchange, &trade(86_000, 1_000, 1));
    let kind = OrderKind::Limit(PriceTicks(900));
    place(&mut exchange, &ticket(Side::Buy, 1, kind, TimeInForce::Day)).unwrap();
    place(&mut exchange, &ticket(Side::Buy, 2, kind, TimeInForce::Gtd(at(86_100)))).unwrap();
    place(&mut exchange, &ticket(Side::Buy, 3, kind, TimeInForce::Gtc)).unwrap();
    let late = place(&mut exchange, &ticket(Side::Buy, 4, kind, TimeInForce::Gtd(at(86_000)))).unwrap();
    assert_eq!(ends(&late), Some(&OrderChange::Expired));
    let expired = |reports: Vec<Report>| -> Vec<u64> {
        reports
            .iter()
            .filter(|report| report.change == OrderChange::Expired)
            .map(|report| report.order.0)
            .collect()
    };
    assert!(expired(show(&mut exchange, &trade(86_099, 1_000, 1))).is_empty());
    assert_eq!(expired(show(&mut exchange, &trade(86_100, 800, 1))), [2], "before the market reaches it");
    show(&mut exchange, &trade(86_101, 1_000, 1));
    assert_eq!(exchange.position(ID), Lots(4), "the day's and the lasting one were reached");
}

#[test]
fn a_smaller_quantity_keeps_its_place_and_a_larger_one_does_not() {
    let touch = || exchange(Model { queue: Queue::Touch, ..displayed() });
    for (quantity, first) in [(4, 1), (6, 2)] {
        let mut exchange = touch();
        show(&mut exchange, &trade(1, 1_000, 1));
        let number = place(&mut exchange, &limit(Side::Buy, 5, 990)).unwrap()[0].order;
        place(&mut exchange, &limit(Side::Buy, 5, 990)).unwrap();
        let mut reports = Vec::new();
        exchange.amend(number, Lots(quantity), None, &mut reports).unwrap();
        let leaves = Lots(quantity);
        let change = OrderChange::Amended { leaves, limit: Some(PriceTicks(990)) };
        assert_eq!(reports, [Report { order: number, change }]);
        assert_eq!(show(&mut exchange, &trade(2, 990, 1))[0].order.0, first, "{quantity}");
    }
}

#[test]
fn a_change_to_a_price_that_is_there_takes() {
    let mut exchange = exchange(generous());
    show(&mut exchange, &quote(1, (990, 1), (1_000, 1)));
    let number = place(&mut exchange, &limit(Side::Buy, 5, 990)).unwrap()[0].order;
    let mut reports = Vec::new();
    exchange.amend(number, Lots(5), Some(PriceTicks(1_001)), &mut reports).unwrap();
    assert_eq!(fills(&reports), [(5, 1_000, false)]);
    assert_eq!(exchange.cancel(number, &mut reports).unwrap_err().code, "unknown_order");
}

#[test]
fn fees_are_basis_points_of_the_notional_and_a_rebate_is_negative() {
    let model = Model { maker_fee_bps: Decimal::new(-5, 1), taker_fee_bps: 10.into(), ..generous() };
    let mut exchange = exchange(model);
    show(&mut exchange, &quote(1, (990, 1), (1_000, 1)));
    place(&mut exchange, &market(Side::Buy, 100)).unwrap();
    assert_eq!(exchange.fees(), Money::new(Decimal::ONE), "10 bps of 1000.00");
    place(&mut exchange, &limit(Side::Sell, 100, 1_010)).unwrap();
    show(&mut exchange, &quote(2, (1_010, 1), (1_020, 1)));
    assert_eq!(exchange.fees(), Money::new(Decimal::new(9_495, 4)), "less half a point of 1010.00");
}

#[test]
fn a_fill_that_no_ledger_can_hold_is_not_made() {
    let mut exchange = exchange(generous());
    show(&mut exchange, &trade(1, i64::MAX / 2, 1));
    let reports = place(&mut exchange, &market(Side::Buy, i64::MAX)).unwrap();
    assert_eq!((fills(&reports), ends(&reports)), (vec![], Some(&OrderChange::Cancelled)));
    assert_eq!(exchange.cash(), Money::new(100_000.into()));
}
