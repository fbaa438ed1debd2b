use super::*;
use crate::market::{InstrumentKind, Tick};
use crate::orders::{OrderOptions, TimeInForce};
use proptest::prelude::*;
use rust_decimal::Decimal;

const X: InstrumentId = InstrumentId(0);

struct Desk {
    books: Books,
    instruments: Instruments,
    limits: RiskLimits,
    mode: Mode,
    price_age: Option<Duration>,
}

impl Desk {
    /// One instrument at 1,000 ticks of 1, orders of 1 to 100 lots of 1, no limits but the defaults.
    fn new() -> Self {
        let instruments = Instruments::new(vec![Instrument {
            symbol: "X".into(),
            venue: "v".into(),
            kind: InstrumentKind::Spot,
            quote_currency: "USD".into(),
            multiplier: Decimal::ONE,
            tick_size: Decimal::ONE,
            lot_size: Decimal::ONE,
            min_lots: Lots(2),
            max_lots: Lots(100),
        }]);
        let mut books = Books::new(Money::ZERO, 1);
        books.mark(&Tick { last_price: PriceTicks(1_000), ..Tick::default() });
        Self {
            books,
            instruments: instruments.unwrap(),
            limits: RiskLimits::default(),
            mode: Mode::Full,
            price_age: Some(Duration::ZERO),
        }
    }

    fn view(&self) -> RiskView<'_> {
        RiskView {
            now: MonoNanos(5_000_000_000),
            mode: self.mode,
            books: &self.books,
            instruments: &self.instruments,
            price_age: self.price_age,
        }
    }

    fn submit(&self, order: &NewOrder) -> Result<NewOrder, RiskCode> {
        let mut gate = RiskGate::new(self.limits.clone());
        gate.submit(&self.view(), order, false)
            .map(|approved| *approved.get())
            .map_err(|refusal| refusal.code)
    }

    fn hold(&mut self, side: Side, lots: i64) {
        let (price, fee) = (PriceTicks(1_000), Money::ZERO);
        self.books.fill(&self.instruments, (OrderId(0), X, side), Lots(lots), price, fee).unwrap();
    }

    fn work(&mut self, id: u64, side: Side, lots: i64, limit: Option<i64>) {
        let kind = limit.map_or(OrderKind::Market, |limit| OrderKind::Limit(PriceTicks(limit)));
        self.books.open_order(OrderId(id), WorkingOrder::of(&order(side, lots, kind), Lots(lots)));
    }
}

fn order(side: Side, lots: i64, kind: OrderKind) -> NewOrder {
    NewOrder {
        id: OrderId(1),
        instrument: X,
        side,
        quantity: Lots(lots),
        kind,
        tif: TimeInForce::Gtc,
        options: OrderOptions::default(),
        tag: 0,
    }
}

fn market(side: Side, lots: i64) -> NewOrder {
    order(side, lots, OrderKind::Market)
}

fn limit(side: Side, lots: i64, price: i64) -> NewOrder {
    order(side, lots, OrderKind::Limit(PriceTicks(price)))
}

/// The first passes and the second does not, for this reason.
fn boundary(desk: &Desk, passes: &NewOrder, fails: &NewOrder, code: RiskCode) {
    assert!(desk.submit(passes).is_ok(), "{passes:?}: {:?}", desk.submit(passes));
    assert_eq!(desk.submit(fails), Err(code), "{fails:?}");
}

#[test]
fn a_quantity_lies_between_the_instruments_limits() {
    let desk = Desk::new();
    for (passes, fails) in [(2, 1), (100, 101)] {
        let [passes, fails] = [passes, fails].map(|lots| market(Side::Buy, lots));
        boundary(&desk, &passes, &fails, RiskCode::QuantityOutOfRange);
    }
}

#[test]
fn a_price_is_positive_and_within_the_collar() {
    let desk = Desk::new();
    boundary(&desk, &limit(Side::Buy, 2, 900), &limit(Side::Buy, 2, 899), RiskCode::PriceCollar);
    boundary(&desk, &limit(Side::Sell, 2, 1_100), &limit(Side::Sell, 2, 1_101), RiskCode::PriceCollar);
    let stop = |trigger, limit| {
        order(Side::Buy, 2, OrderKind::StopLimit { trigger: PriceTicks(trigger), limit: PriceTicks(limit) })
    };
    boundary(&desk, &stop(1_100, 1_100), &stop(1_100, 1_101), RiskCode::PriceCollar);
    boundary(&desk, &stop(1_100, 1_100), &stop(1_101, 1_100), RiskCode::PriceCollar);
    let wide = Desk { limits: RiskLimits { price_collar_permille: 5_000, ..RiskLimits::default() }, ..desk };
    boundary(&wide, &limit(Side::Buy, 2, 1), &limit(Side::Buy, 2, 0), RiskCode::PriceNotPositive);
}

#[test]
fn an_order_needs_a_price_to_be_judged_by() {
    let desk = Desk { books: Books::new(Money::ZERO, 1), ..Desk::new() };
    assert_eq!(desk.submit(&limit(Side::Buy, 2, 1_000)), Err(RiskCode::NoPrice));
}

#[test]
fn an_old_price_lets_only_reductions_pass() {
    let mut desk = Desk::new();
    desk.hold(Side::Buy, 10);
    desk.price_age = None;
    assert!(desk.submit(&market(Side::Buy, 2)).is_ok(), "without a limit");
    desk.limits.price_age_ms_max = Some(1_000);
    for (age_ms, passes) in [(Some(1_000), true), (Some(1_001), false), (None, false)] {
        desk.price_age = age_ms.map(Duration::from_millis);
        let opens = desk.submit(&market(Side::Buy, 2)).map(|order| order.options.reduce_only);
        assert_eq!(opens, if passes { Ok(false) } else { Err(RiskCode::StalePrice) }, "{age_ms:?}");
        assert_eq!(desk.submit(&market(Side::Sell, 11)).is_ok(), passes, "it would turn the position");
        let reduces = desk.submit(&market(Side::Sell, 10)).unwrap();
        assert_eq!(reduces.options.reduce_only, !passes, "it cannot become more than a reduction");
        assert!(RiskGate::new(desk.limits.clone()).close(&desk.view(), &market(Side::Sell, 10)).is_ok());
    }
}

#[test]
fn an_order_is_worth_no_more_than_allowed() {
    let mut desk = Desk::new();
    desk.limits.order_notional_max = Some(Money::new(5_000.into()));
    boundary(&desk, &market(Side::Buy, 5), &market(Side::Buy, 6), RiskCode::OrderNotional);
    boundary(&desk, &limit(Side::Buy, 5, 1_000), &limit(Side::Buy, 5, 1_001), RiskCode::OrderNotional);
    // A sell is worth at least the last price, however low its limit.
    boundary(&desk, &limit(Side::Sell, 5, 901), &limit(Side::Sell, 6, 901), RiskCode::OrderNotional);
}

/// Every kind of order at a last price of 1,000, and the highest price at which it may trade.
fn kinds() -> Vec<(Side, OrderKind, i64)> {
    let [below, above] = [950, 1_050].map(PriceTicks);
    let stop_limit = |trigger, limit| OrderKind::StopLimit { trigger, limit };
    vec![
        (Side::Buy, OrderKind::Market, 1_000),
        (Side::Sell, OrderKind::Market, 1_000),
        (Side::Buy, OrderKind::Limit(below), 950),
        (Side::Buy, OrderKind::Limit(above), 1_050),
        (Side::Sell, OrderKind::Limit(below), 1_000),
        (Side::Sell, OrderKind::Limit(above), 1_050),
        (Side::Buy, OrderKind::Stop(above), 1_050),
        (Side::Buy, OrderKind::Stop(below), 1_000),
        (Side::Sell, OrderKind::Stop(below), 1_000),
        (Side::Sell, OrderKind::Stop(above), 1_050),
        (Side::Buy, stop_limit(above, below), 950),
        (Side::Buy, stop_limit(below, above), 1_050),
        (Side::Sell, stop_limit(below, below), 1_000),
        (Side::Sell, stop_limit(above, below), 1_050),
    ]
}

#[test]
fn every_kind_of_order_is_worth_the_highest_price_at_which_it_may_trade() {
    for (side, kind, price) in kinds() {
        let mut desk = Desk::new();
        let subject = order(side, 5, kind);
        desk.limits.order_notional_max = Some(Money::new((5 * price).into()));
        assert!(desk.submit(&subject).is_ok(), "{subject:?}");
        desk.limits.order_notional_max = Some(Money::new((5 * price - 1).into()));
        assert_eq!(desk.submit(&subject), Err(RiskCode::OrderNotional), "{subject:?}");
        desk.limits.order_notional_max = None;
        desk.limits.gross_exposure_max = Some(Money::new((5 * price).into()));
        assert!(desk.submit(&subject).is_ok(), "{subject:?}");
        desk.limits.gross_exposure_max = Some(Money::new((5 * price - 1).into()));
        assert_eq!(desk.submit(&subject), Err(RiskCode::GrossExposure), "{subject:?}");
    }
}

#[test]
fn every_kind_of_working_order_counts_in_the_exposure_at_that_price() {
    for (side, kind, price) in kinds() {
        let mut desk = Desk::new();
        desk.books.open_order(OrderId(9), WorkingOrder::of(&order(side, 5, kind), Lots(5)));
        // One that cannot trade with it, at the last price.
        let mut next = market(side, 2);
        next.id = OrderId(2);
        desk.limits.gross_exposure_max = Some(Money::new((5 * price + 2_000).into()));
        assert!(desk.submit(&next).is_ok(), "{side:?} {kind:?}");
        desk.limits.gross_exposure_max = Some(Money::new((5 * price + 1_999).into()));
        assert_eq!(desk.submit(&next), Err(RiskCode::GrossExposure), "{side:?} {kind:?}");
    }
}

#[test]
fn a_position_counts_every_working_order_of_the_side_as_filled() {
    let mut desk = Desk::new();
    desk.limits.position_lots_max = Some(Lots(20));
    desk.hold(Side::Buy, 5);
    desk.work(9, Side::Buy, 7, Some(950));
    boundary(&desk, &market(Side::Buy, 8), &market(Side::Buy, 9), RiskCode::Position);
    desk.books.close_order(OrderId(9));
    boundary(&desk, &market(Side::Sell, 25), &market(Side::Sell, 26), RiskCode::Position);
}

#[test]
fn gross_exposure_counts_positions_and_working_orders_and_lets_reductions_pass() {
    let mut desk = Desk::new();
    desk.limits.gross_exposure_max = Some(Money::new(20_000.into()));
    desk.hold(Side::Buy, 10);
    desk.work(9, Side::Buy, 5, Some(1_000));
    boundary(&desk, &market(Side::Buy, 5), &market(Side::Buy, 6), RiskCode::GrossExposure);
    desk.books.close_order(OrderId(9));
    assert!(desk.submit(&market(Side::Sell, 10)).is_ok(), "it only reduces");
    assert_eq!(desk.submit(&market(Side::Sell, 11)), Err(RiskCode::GrossExposure));
}

#[test]
fn orders_per_second_are_bounded_in_every_second() {
    let desk = Desk::new();
    let mut gate = RiskGate::new(RiskLimits {
        orders_per_second_max: NonZeroU32::MIN.saturating_add(1),
        ..RiskLimits::default()
    });
    let mut at = |nanos| {
        let view = RiskView { now: MonoNanos(nanos), ..desk.view() };
        gate.submit(&view, &market(Side::Buy, 2), false).map(|_| ()).map_err(|refusal| refusal.code)
    };
    assert_eq!((at(0), at(1)), (Ok(()), Ok(())));
    assert_eq!(at(999_999_999), Err(RiskCode::OrderRate));
    assert_eq!((at(1_000_000_000), at(1_000_000_000)), (Ok(()), Err(RiskCode::OrderRate)));
}

#[test]
fn intents_per_second_are_bounded_and_cancels_have_their_own() {
    let two = NonZeroU32::MIN.saturating_add(1);
    let mut gate = RiskGate::new(RiskLimits { intents_per_second_max: Some(two), ..RiskLimits::default() });
    let code = |judged: Result<(), Refusal>| judged.map_err(|refusal| refusal.code);
    assert_eq!((code(gate.admit(MonoNanos(0))), code(gate.admit(MonoNanos(0)))), (Ok(()), Ok(())));
    assert_eq!(code(gate.admit(MonoNanos(999_999_999))), Err(RiskCode::IntentRate));
    assert_eq!(code(gate.admit_cancel(MonoNanos(999_999_999))), Ok(()), "the way out stays open");
    assert_eq!(code(gate.admit(MonoNanos(1_000_000_000))), Ok(()));
    assert_eq!(code(gate.admit_cancel(MonoNanos(1_000_000_000))), Ok(()));
    assert_eq!(code(gate.admit_cancel(MonoNanos(1_000_000_000))), Err(RiskCode::IntentRate));
    // Without a number of its own it follows that of the orders.
    let mut gate = RiskGate::new(RiskLimits { orders_per_second_max: two, ..RiskLimits::default() });
    let admitted = (0..200).filter(|_| gate.admit(MonoNanos(5)).is_ok()).count();
    assert_eq!(admitted, 100);
}

#[test]
fn working_orders_are_bounded() {
    let mut desk = Desk::new();
    desk.limits.open_orders_max = 2;
    desk.work(7, Side::Buy, 2, Some(950));
    assert!(desk.submit(&market(Side::Buy, 2)).is_ok());
    desk.work(8, Side::Buy, 2, Some(950));
    assert_eq!(desk.submit(&market(Side::Buy, 2)), Err(RiskCode::OpenOrders));
}

#[test]
fn an_order_does_not_trade_with_the_agents_own() {
    let mut desk = Desk::new();
    desk.work(7, Side::Sell, 2, Some(1_010));
    boundary(&desk, &limit(Side::Buy, 2, 1_009), &limit(Side::Buy, 2, 1_010), RiskCode::SelfCross);
    assert_eq!(desk.submit(&market(Side::Buy, 2)), Err(RiskCode::SelfCross));
    assert!(desk.submit(&market(Side::Sell, 2)).is_ok());
    desk.work(8, Side::Buy, 2, Some(990));
    boundary(&desk, &limit(Side::Sell, 2, 991), &limit(Side::Sell, 2, 990), RiskCode::SelfCross);
}

#[test]
fn a_reducing_order_takes_no_more_than_working_orders_leave() {
    let mut desk = Desk::new();
    desk.mode = Mode::ReadOnly;
    desk.hold(Side::Buy, 10);
    desk.work(9, Side::Sell, 4, Some(1_050));
    boundary(&desk, &market(Side::Sell, 6), &market(Side::Sell, 7), RiskCode::NotReducing);
    assert_eq!(desk.submit(&market(Side::Buy, 2)), Err(RiskCode::NotReducing));
    assert!(desk.submit(&market(Side::Sell, 6)).unwrap().options.reduce_only);
    desk.mode = Mode::Full;
    assert!(!desk.submit(&market(Side::Sell, 7)).unwrap().options.reduce_only);
}

#[test]
fn modes_below_read_only_take_no_order_and_every_mode_takes_a_cancel() {
    for (mode, passes) in
        [(Mode::Full, true), (Mode::ReadOnly, true), (Mode::Observation, false), (Mode::Shutdown, false)]
    {
        let mut desk = Desk::new();
        desk.hold(Side::Buy, 10);
        desk.mode = mode;
        let outcome = desk.submit(&market(Side::Sell, 5)).map(|_| ());
        assert_eq!(outcome, if passes { Ok(()) } else { Err(RiskCode::ModeForbids) });
        let gate = RiskGate::new(desk.limits.clone());
        assert!(gate.cancel(OrderId(1), true).is_ok());
        assert!(gate.close(&desk.view(), &market(Side::Sell, 10)).is_ok());
        let more = gate.close(&desk.view(), &market(Side::Sell, 11)).unwrap_err();
        assert_eq!(more.code, RiskCode::NotReducing);
    }
}

#[test]
fn unknown_instruments_and_orders_and_used_ids_are_refused() {
    let desk = Desk::new();
    let mut gate = RiskGate::new(desk.limits.clone());
    let elsewhere = NewOrder { instrument: InstrumentId(1), ..market(Side::Buy, 2) };
    assert_eq!(desk.submit(&elsewhere), Err(RiskCode::UnknownInstrument));
    let used = gate.submit(&desk.view(), &market(Side::Buy, 2), true).unwrap_err();
    assert_eq!(used.code, RiskCode::DuplicateOrderId);
    assert_eq!(gate.cancel(OrderId(1), false).unwrap_err().code, RiskCode::UnknownOrder);
    let amend = AmendOrder { id: OrderId(1), quantity: Lots(2), limit: None };
    assert_eq!(gate.amend(&desk.view(), &amend, None).unwrap_err().code, RiskCode::UnknownOrder);
}

#[test]
fn a_change_is_judged_as_the_order_it_makes_without_the_one_it_replaces() {
    let mut desk = Desk::new();
    desk.limits.position_lots_max = Some(Lots(20));
    desk.work(1, Side::Buy, 15, Some(950));
    let working = limit(Side::Buy, 15, 950);
    let amend = |lots, price: Option<i64>, order: &NewOrder| {
        let amend = AmendOrder { id: OrderId(1), quantity: Lots(lots), limit: price.map(PriceTicks) };
        let mut gate = RiskGate::new(desk.limits.clone());
        gate.amend(&desk.view(), &amend, Some(order)).map(|_| ()).map_err(|refusal| refusal.code)
    };
    assert_eq!(amend(20, None, &working), Ok(()));
    assert_eq!(amend(21, None, &working), Err(RiskCode::Position));
    assert_eq!(amend(20, Some(899), &working), Err(RiskCode::PriceCollar));
    // A limit is judged also where the order had none.
    for kind in [OrderKind::Market, OrderKind::Stop(PriceTicks(1_000))] {
        let other = order(Side::Buy, 15, kind);
        assert_eq!(amend(15, Some(i64::MAX), &other), Err(RiskCode::PriceCollar));
    }
}

#[test]
fn a_value_that_does_not_fit_is_refused() {
    let mut desk = Desk::new();
    let instrument = Instrument {
        max_lots: Lots(i64::MAX),
        tick_size: Decimal::from(1_000_000_000_u64),
        ..desk.instruments.get(X).unwrap().clone()
    };
    desk.instruments = Instruments::new(vec![instrument]).unwrap();
    assert!(desk.submit(&market(Side::Buy, 100)).is_ok());
    let huge = Tick { last_price: PriceTicks(i64::MAX), ..Tick::default() };
    desk.books.mark(&huge);
    assert_eq!(desk.submit(&market(Side::Buy, i64::MAX)), Err(RiskCode::Overflow));
    assert_eq!(desk.submit(&market(Side::Sell, i64::MAX)), Err(RiskCode::Overflow));
}

#[test]
fn codes_are_distinct_and_upper_case() {
    let codes = [
        RiskCode::ModeForbids,
        RiskCode::UnknownInstrument,
        RiskCode::UnknownOrder,
        RiskCode::DuplicateOrderId,
        RiskCode::QuantityOutOfRange,
        RiskCode::PriceNotPositive,
        RiskCode::NoPrice,
        RiskCode::StalePrice,
        RiskCode::PriceCollar,
        RiskCode::OrderNotional,
        RiskCode::Position,
        RiskCode::GrossExposure,
        RiskCode::OrderRate,
        RiskCode::IntentRate,
        RiskCode::OpenOrders,
        RiskCode::SelfCross,
        RiskCode::NotReducing,
        RiskCode::Overflow,
    ];
    let names: std::collections::BTreeSet<_> = codes.iter().map(|code| code.name()).collect();
    assert_eq!(names.len(), codes.len());
    assert!(names.iter().all(|name| name.chars().all(|c| c.is_ascii_uppercase() || c == '_')));
}

fn any_number() -> impl Strategy<Value = i64> {
    prop_oneof![any::<i64>(), Just(i64::MAX), Just(i64::MIN), Just(0), 1_i64..2_000]
}

fn any_order() -> impl Strategy<Value = NewOrder> {
    let kind = (0..4, any_number(), any_number()).prop_map(|(kind, a, b)| match kind {
        0 => OrderKind::Market,
        1 => OrderKind::Limit(PriceTicks(a)),
        2 => OrderKind::Stop(PriceTicks(a)),
        _ => OrderKind::StopLimit { trigger: PriceTicks(a), limit: PriceTicks(b) },
    });
    let flags = any::<(bool, bool, bool)>();
    (any::<u64>(), 0_u32..2, flags, any_number(), kind).prop_map(|(id, instrument, flags, lots, kind)| {
        let (buy, post_only, reduce_only) = flags;
        NewOrder {
            id: OrderId(id),
            instrument: InstrumentId(instrument),
            side: if buy { Side::Buy } else { Side::Sell },
            quantity: Lots(lots),
            kind,
            tif: TimeInForce::Gtc,
            options: OrderOptions { post_only, reduce_only },
            tag: 0,
        }
    })
}

proptest! {
    #[test]
    fn no_order_panics_whatever_the_books_and_limits_are(
        orders in prop::collection::vec((any_order(), any::<u64>()), 1..12),
        mark in 1_i64..=i64::MAX, held in 1_i64..=i64::MAX, max_lots in 2_i64..=i64::MAX, position in any_number(),
        notional in any_number(), collar in any::<u32>(), mode in 0_usize..4,
    ) {
        let mut desk = Desk::new();
        let instrument = Instrument { max_lots: Lots(max_lots), ..desk.instruments.get(X).unwrap().clone() };
        desk.instruments = Instruments::new(vec![instrument]).unwrap_or(desk.instruments);
        let fill = (OrderId(0), X, Side::Buy);
        let _ = desk.books.fill(&desk.instruments, fill, Lots(held), PriceTicks(1), Money::ZERO);
        desk.books.mark(&Tick { last_price: PriceTicks(mark), ..Tick::default() });
        let money = Money::new(notional.into());
        desk.limits = RiskLimits {
            order_notional_max: Some(money),
            position_lots_max: Some(Lots(position)),
            gross_exposure_max: Some(money),
            price_collar_permille: collar,
            ..RiskLimits::default()
        };
        desk.mode = Mode::ALL[mode];
        let mut gate = RiskGate::new(desk.limits.clone());
        for (order, now) in orders {
            let view = RiskView { now: MonoNanos(now), ..desk.view() };
            let _ = gate.close(&view, &order);
            let amend = AmendOrder { id: order.id, quantity: order.quantity, limit: order.kind.limit() };
            let _ = gate.amend(&view, &amend, Some(&order));
            if let Ok(approved) = gate.submit(&view, &order, false) {
                let approved = *approved.get();
                prop_assert!(approved.quantity >= Lots(2) && approved.quantity <= Lots(max_lots));
                prop_assert!(approved.kind.limit().is_none_or(|limit| limit.0 > 0));
                let working = WorkingOrder::of(&approved, approved.quantity);
                desk.books.open_order(approved.id, working);
            }
        }
    }
}
