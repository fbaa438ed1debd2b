//! What holds for every sequence of updates and orders.

use super::tests::{ID, instruments, quote, ticket, trade};
use super::*;
use crate::orders::{OrderKind, TimeInForce};
use proptest::prelude::*;
use std::collections::BTreeMap;

#[derive(Clone, Debug)]
enum Step {
    Trade(i64, i64),
    Quote(i64, i64, i64, i64),
    Place(Ticket),
    Cancel(u64),
    Amend(u64, i64, Option<i64>),
}

fn side() -> impl Strategy<Value = Side> {
    prop_oneof![Just(Side::Buy), Just(Side::Sell)]
}

fn price() -> impl Strategy<Value = i64> {
    95_i64..106
}

fn kind() -> impl Strategy<Value = OrderKind> {
    prop_oneof![
        2 => Just(OrderKind::Market),
        5 => price().prop_map(|limit| OrderKind::Limit(PriceTicks(limit))),
        1 => price().prop_map(|trigger| OrderKind::Stop(PriceTicks(trigger))),
        1 => (price(), price()).prop_map(|(trigger, limit)| OrderKind::StopLimit {
            trigger: PriceTicks(trigger),
            limit: PriceTicks(limit),
        }),
    ]
}

fn tif() -> impl Strategy<Value = TimeInForce> {
    prop_oneof![
        3 => Just(TimeInForce::Gtc),
        1 => Just(TimeInForce::Ioc),
        1 => Just(TimeInForce::Fok),
        1 => Just(TimeInForce::Day),
        1 => (0_u64..200).prop_map(|second| TimeInForce::Gtd(UnixNanos(second * 1_000_000_000))),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let order = (side(), 1_i64..20, kind(), tif(), any::<bool>(), 0_u8..4);
    prop_oneof![
        3 => (price(), 0_i64..30).prop_map(|(price, size)| Step::Trade(price, size)),
        3 => (price(), 0_i64..30, 1_i64..4, 0_i64..30)
            .prop_map(|(bid, bid_size, spread, ask_size)| Step::Quote(bid, bid_size, bid + spread, ask_size)),
        5 => order.prop_map(|(side, quantity, kind, tif, reduce_only, post_only)| {
            let mut ticket = ticket(side, quantity, kind, tif);
            ticket.options.reduce_only = reduce_only;
            ticket.options.post_only = post_only == 0;
            Step::Place(ticket)
        }),
        1 => (1_u64..60).prop_map(Step::Cancel),
        1 => (1_u64..60, 1_i64..20, prop::option::of(price())).prop_map(|(n, q, l)| Step::Amend(n, q, l)),
    ]
}

fn model() -> impl Strategy<Value = Model> {
    let liquidity = prop_oneof![Just(Liquidity::Unlimited), Just(Liquidity::Displayed)];
    let queue = prop_oneof![Just(Queue::Touch), Just(Queue::Displayed), Just(Queue::Through)];
    (liquidity, queue, 0_u32..3).prop_map(|(liquidity, queue, slippage_ticks)| Model {
        liquidity,
        queue,
        slippage_ticks,
        taker_fee_bps: 7.into(),
        maker_fee_bps: 2.into(),
        ..Model::default()
    })
}

/// What is known of an order from the outside.
#[derive(Debug)]
struct Known {
    ticket: Ticket,
    quantity: i64,
    limit: Option<i64>,
    filled: i64,
    ended: bool,
    /// When it arrived or lost its place.
    arrived: usize,
}

fn worst(kind: OrderKind) -> Option<i64> {
    kind.limit().map(|limit| limit.0)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn every_sequence_keeps_the_rules(model in model(), steps in prop::collection::vec(step(), 1..120)) {
        let start = Money::new(1_000_000.into());
        let mut exchange = Exchange::new(instruments(), start, model.clone());
        let mut orders: BTreeMap<u64, Known> = BTreeMap::new();
        let (mut cash, mut fees, mut position) = (start, Money::ZERO, 0_i64);
        let mut reports = Vec::new();
        for (number, step) in steps.iter().enumerate() {
            reports.clear();
            let second = number as u64;
            let shown = match step {
                Step::Trade(price, size) => {
                    exchange.show(&trade(second, *price, *size), &mut reports);
                    Some(*size)
                }
                Step::Quote(bid, bid_size, ask, ask_size) => {
                    exchange.show(&quote(second, (*bid, *bid_size), (*ask, *ask_size)), &mut reports);
                    None
                }
                Step::Place(ticket) => {
                    if let Ok(order) = exchange.place(UnixNanos(second * 1_000_000_000), ticket, &mut reports) {
                        orders.insert(order.0, Known {
                            ticket: *ticket,
                            quantity: ticket.quantity.0,
                            limit: worst(ticket.kind),
                            filled: 0,
                            ended: false,
                            arrived: number,
                        });
                    } else {
                        prop_assert!(reports.is_empty(), "a refusal reports nothing");
                    }
                    None
                }
                Step::Cancel(order) => {
                    let works = orders.get(order).is_some_and(|known| !known.ended);
                    prop_assert_eq!(exchange.cancel(OrderNumber(*order), &mut reports).is_ok(), works);
                    None
                }
                Step::Amend(order, quantity, limit) => {
                    let limit = limit.map(PriceTicks);
                    let amended = exchange.amend(OrderNumber(*order), Lots(*quantity), limit, &mut reports);
                    prop_assert!(amended.is_ok() || reports.is_empty());
                    if let (Ok(()), Some(known)) = (amended, orders.get_mut(order)) {
                        let moved = limit.is_some_and(|limit| known.limit != Some(limit.0)) || *quantity > known.quantity;
                        if moved {
                            known.arrived = number;
                        }
                        known.quantity = *quantity;
                        known.limit = limit.map(|limit| limit.0).or(known.limit);
                    }
                    None
                }
            };
            let before: BTreeMap<u64, i64> =
                orders.iter().filter(|(_, known)| !known.ended).map(|(id, known)| (*id, known.quantity - known.filled)).collect();
            let (mut traded, mut made) = (0, Vec::new());
            for report in &reports {
                let known = orders.get_mut(&report.order.0).unwrap();
                prop_assert!(!known.ended, "news of an order that has ended: {:?}", report);
                match &report.change {
                    OrderChange::Filled { quantity, price, leaves, fee, maker } => {
                        prop_assert!(quantity.0 > 0);
                        known.filled += quantity.0;
                        prop_assert_eq!(leaves.0, known.quantity - known.filled, "what is filled and left is the whole");
                        prop_assert!(leaves.0 >= 0);
                        if let Some(limit) = known.limit {
                            let within = match known.ticket.side {
                                Side::Buy => price.0 <= limit,
                                Side::Sell => price.0 >= limit,
                            };
                            prop_assert!(within, "a fill at {} beyond {}", price.0, limit);
                            prop_assert!(!maker || price.0 == limit, "who rests is filled at its own price");
                        }
                        prop_assert!(!known.ticket.options.post_only || *maker);
                        if known.ticket.tif == TimeInForce::Fok {
                            prop_assert_eq!(leaves.0, 0, "all or nothing");
                        }
                        let signed = known.ticket.side.signed(*quantity).0;
                        if known.ticket.options.reduce_only {
                            prop_assert!(position.signum() == -signed.signum() && signed.abs() <= position.abs());
                        }
                        position += signed;
                        let paid = Money::new(rust_decimal::Decimal::new(price.0 * signed, 2));
                        cash = cash.checked_sub(paid).unwrap().checked_sub(*fee).unwrap();
                        fees = fees.checked_add(*fee).unwrap();
                        known.ended = leaves.0 == 0;
                        if *maker {
                            traded += quantity.0;
                            made.push(report.order.0);
                        }
                    }
                    OrderChange::Cancelled | OrderChange::Expired => known.ended = true,
                    OrderChange::Accepted | OrderChange::Amended { .. } => {}
                    OrderChange::Rejected { .. } => prop_assert!(false, "a refusal is no report"),
                }
            }
            if let (Some(size), Liquidity::Displayed) = (shown, model.liquidity) {
                prop_assert!(size == 0 || traded <= size, "{} were traded, {} of them with us", size, traded);
            }
            // Of two that rest on one side, the worse or later one is filled only after the better has nothing left.
            for made_number in &made {
                let later = &orders[made_number];
                for (other, earlier) in &orders {
                    let same = earlier.ticket.side == later.ticket.side && before.contains_key(other);
                    let plain = |known: &Known| matches!(known.ticket.kind, OrderKind::Limit(_)) && !known.ticket.options.reduce_only;
                    let (Some(mine), Some(theirs)) = (earlier.limit, later.limit) else { continue };
                    let better = match later.ticket.side {
                        Side::Buy => mine > theirs,
                        Side::Sell => mine < theirs,
                    };
                    let first = better || (mine == theirs && earlier.arrived < later.arrived && model.queue == Queue::Touch);
                    if other != made_number && same && plain(earlier) && plain(later) && first {
                        let touched = earlier.ended || made.contains(other);
                        prop_assert!(touched, "order {} was filled before {}: {:?}", made_number, other, reports);
                    }
                }
            }
            for (id, known) in &orders {
                let rests = known.ended || !matches!(known.ticket.tif, TimeInForce::Ioc | TimeInForce::Fok)
                    || matches!(known.ticket.kind, OrderKind::Stop(_) | OrderKind::StopLimit { .. });
                prop_assert!(rests, "immediate order {} rests", id);
            }
            prop_assert_eq!(exchange.position(ID), Lots(position));
            prop_assert_eq!(exchange.cash(), cash);
            prop_assert_eq!(exchange.fees(), fees);
            prop_assert_eq!(exchange.is_empty(), orders.values().all(|known| known.ended));
        }
    }

    #[test]
    fn the_same_sequence_gives_the_same_reports(model in model(), steps in prop::collection::vec(step(), 1..60)) {
        let run = || {
            let mut exchange = Exchange::new(instruments(), Money::ZERO, model.clone());
            let mut reports = Vec::new();
            for (second, step) in (0..).zip(&steps) {
                match step {
                    Step::Trade(price, size) => exchange.show(&trade(second, *price, *size), &mut reports),
                    Step::Quote(bid, bid_size, ask, ask_size) => {
                        exchange.show(&quote(second, (*bid, *bid_size), (*ask, *ask_size)), &mut reports);
                    }
                    Step::Place(ticket) => {
                        let _ = exchange.place(UnixNanos(second * 1_000_000_000), ticket, &mut reports);
                    }
                    Step::Cancel(order) => {
                        let _ = exchange.cancel(OrderNumber(*order), &mut reports);
                    }
                    Step::Amend(order, quantity, limit) => {
                        let limit = limit.map(PriceTicks);
                        let _ = exchange.amend(OrderNumber(*order), Lots(*quantity), limit, &mut reports);
                    }
                }
            }
            (reports, exchange.cash(), exchange.position(ID))
        };
        prop_assert_eq!(run(), run());
    }
}
