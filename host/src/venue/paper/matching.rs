//! The matching rules: one order against one quote, as a pure decision.

use super::market::Quote;
use super::order::{Lifetime, Order, Side};
use rust_decimal::Decimal;

/// What happens to an order now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Decision {
    /// Its trigger has been reached.
    pub(super) triggered: bool,
    /// What is executed.
    pub(super) fill: Option<Fill>,
    /// Whether what is left goes on working.
    pub(super) rests: bool,
}

/// One execution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fill {
    pub(super) quantity: Decimal,
    pub(super) price: Decimal,
    pub(super) maker: bool,
}

/// Whether a post-only order would take.
pub(super) fn would_cross(side: Side, limit: Option<Decimal>, quote: &Quote) -> bool {
    quote.touch(side).zip(limit).is_some_and(|(touch, limit)| side.admits(limit, touch))
}

/// Judges a working order. `arriving` says that it has just come or been amended, so that it takes at the
/// touch; later it makes, at its own limit. `position` is the account's, for orders that may only reduce it.
pub(super) fn decide(
    order: &Order,
    quote: &Quote,
    position: Decimal,
    fill_quantity_max: Option<Decimal>,
    arriving: bool,
) -> Decision {
    let wait = Decision { triggered: false, fill: None, rests: true };
    let triggered = match order.armed {
        None => false,
        Some(trigger) => {
            let reached = quote.trigger(order.side).is_some_and(|price| match order.side {
                Side::Buy => price >= trigger,
                Side::Sell => price <= trigger,
            });
            if !reached {
                return wait;
            }
            true
        }
    };
    let patient = matches!(order.lifetime, Lifetime::Cancelled | Lifetime::Until(_));
    let unfilled = Decision { triggered, fill: None, rests: patient };

    let room = if order.reduce_only { reducible(order.side, position) } else { order.leaves() };
    if room.is_zero() {
        return Decision { rests: false, ..unfilled };
    }
    let Some(touch) = quote.touch(order.side) else { return unfilled };
    if order.limit.is_some_and(|limit| !order.side.admits(limit, touch)) {
        return unfilled;
    }
    let mut quantity = order.leaves().min(room);
    if let Some(most) = fill_quantity_max {
        quantity = quantity.min(most);
    }
    if order.lifetime == Lifetime::AllOrNothing && quantity < order.leaves() {
        return unfilled;
    }
    let maker = !arriving && !triggered && order.limit.is_some();
    let price = order.limit.filter(|_| maker).unwrap_or(touch);
    let done = quantity == order.leaves() || (order.reduce_only && quantity == room);
    Decision { triggered, fill: Some(Fill { quantity, price, maker }), rests: patient && !done }
}

/// How much of a position an order of this side could take away.
pub(super) fn reducible(side: Side, position: Decimal) -> Decimal {
    side.signed(-position).max(Decimal::ZERO)
}

#[cfg(test)]
mod tests {
    use super::super::order::Status;
    use super::*;
    use crate::market::UnixNanos;

    fn d(number: i64) -> Decimal {
        Decimal::from(number)
    }

    fn order(side: Side, limit: Option<i64>) -> Order {
        Order {
            client_id: "a".into(),
            symbol: "SPX".into(),
            side,
            quantity: d(10),
            filled: d(0),
            limit: limit.map(d),
            armed: None,
            lifetime: Lifetime::Cancelled,
            post_only: false,
            reduce_only: false,
            status: Status::Working,
            updates: Vec::new(),
        }
    }

    /// 99 at 101, last 100.
    fn quote() -> Quote {
        Quote { last: Some(d(100)), bid: Some(d(99)), ask: Some(d(101)), at: UnixNanos(0), sequence: 1 }
    }

    fn fill(decision: Decision) -> Option<(Decimal, Decimal, bool)> {
        decision.fill.map(|fill| (fill.quantity, fill.price, fill.maker))
    }

    #[test]
    fn a_market_order_takes_the_other_side() {
        let buy = decide(&order(Side::Buy, None), &quote(), d(0), None, true);
        assert_eq!((fill(buy), buy.rests), (Some((d(10), d(101), false)), false));
        let sell = decide(&order(Side::Sell, None), &quote(), d(0), None, true);
        assert_eq!(fill(sell), Some((d(10), d(99), false)));
    }

    #[test]
    fn a_limit_takes_at_the_touch_and_makes_at_its_own_price() {
        let order = order(Side::Buy, Some(102));
        assert_eq!(fill(decide(&order, &quote(), d(0), None, true)), Some((d(10), d(101), false)));
        assert_eq!(fill(decide(&order, &quote(), d(0), None, false)), Some((d(10), d(102), true)));
    }

    #[test]
    fn a_limit_that_is_not_reached_rests_unless_it_is_immediate() {
        let mut order = order(Side::Sell, Some(100));
        assert_eq!(
            decide(&order, &quote(), d(0), None, true),
            Decision { triggered: false, fill: None, rests: true }
        );
        for lifetime in [Lifetime::Immediate, Lifetime::AllOrNothing] {
            order.lifetime = lifetime;
            let decision = decide(&order, &quote(), d(0), None, true);
            assert_eq!((decision.fill, decision.rests), (None, false));
        }
    }

    #[test]
    fn a_limited_market_fills_in_parts() {
        let mut order = order(Side::Buy, None);
        let decision = decide(&order, &quote(), d(0), Some(d(4)), true);
        assert_eq!((fill(decision), decision.rests), (Some((d(4), d(101), false)), true));
        order.filled = d(8);
        let decision = decide(&order, &quote(), d(0), Some(d(4)), false);
        assert_eq!((fill(decision), decision.rests), (Some((d(2), d(101), false)), false));
        order.filled = d(0);
        order.lifetime = Lifetime::Immediate;
        let decision = decide(&order, &quote(), d(0), Some(d(4)), true);
        assert_eq!((fill(decision), decision.rests), (Some((d(4), d(101), false)), false));
        order.lifetime = Lifetime::AllOrNothing;
        let decision = decide(&order, &quote(), d(0), Some(d(4)), true);
        assert_eq!((fill(decision), decision.rests), (None, false));
    }

    #[test]
    fn a_stop_sleeps_until_its_trigger_and_then_takes() {
        let mut stop = order(Side::Sell, None);
        stop.armed = Some(d(98));
        assert_eq!(
            decide(&stop, &quote(), d(0), None, true),
            Decision { triggered: false, fill: None, rests: true }
        );
        let fallen = Quote { last: Some(d(98)), bid: Some(d(97)), ..quote() };
        let decision = decide(&stop, &fallen, d(0), None, false);
        assert_eq!((decision.triggered, fill(decision)), (true, Some((d(10), d(97), false))));
        stop.limit = Some(d(98));
        let decision = decide(&stop, &fallen, d(0), None, false);
        assert_eq!((decision.triggered, decision.fill, decision.rests), (true, None, true));
    }

    #[test]
    fn an_immediate_stop_waits_for_its_trigger() {
        let mut stop = order(Side::Buy, None);
        (stop.armed, stop.lifetime) = (Some(d(105)), Lifetime::Immediate);
        assert!(decide(&stop, &quote(), d(0), None, true).rests);
    }

    #[test]
    fn reduce_only_never_opens_or_flips() {
        let mut order = order(Side::Sell, None);
        order.reduce_only = true;
        for (position, expected) in [(0, None), (-5, None), (4, Some(4)), (20, Some(10))] {
            let decision = decide(&order, &quote(), d(position), None, true);
            assert_eq!(decision.fill.map(|fill| fill.quantity), expected.map(d), "{position}");
            assert!(!decision.rests);
        }
        order.lifetime = Lifetime::AllOrNothing;
        assert_eq!(decide(&order, &quote(), d(4), None, true).fill, None);
    }

    #[test]
    fn an_empty_market_fills_nothing() {
        let empty = Quote::default();
        assert!(decide(&order(Side::Buy, None), &empty, d(0), None, true).rests);
        assert!(!would_cross(Side::Buy, Some(d(1)), &empty));
        assert!(
            would_cross(Side::Buy, Some(d(101)), &quote()) && !would_cross(Side::Buy, Some(d(100)), &quote())
        );
    }
}
