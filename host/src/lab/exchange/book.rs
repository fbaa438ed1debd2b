//! The orders of one instrument and how they meet the market.
//!
//! Within one update: the market moves, then resting orders are reached by it, best price and earliest arrival
//! first, then stops whose trigger has been seen take at what is there.

use super::market::Market;
use super::model::{Model, Queue};
use super::order::{Order, OrderNumber, Patience, at_least_as_good, better};
use super::{Ledger, Report};
use crate::market::{Bar, Lots, Marks, PriceTicks, Sample, UnixNanos};
use crate::orders::Side;
use crate::venue::OrderChange;

/// One instrument.
#[derive(Debug, Default)]
pub(super) struct Book {
    pub market: Market,
    /// Resting orders, best first; stops that sleep are in `stops`.
    buys: Vec<Order>,
    sells: Vec<Order>,
    /// Stops that sleep, in the order of arrival.
    stops: Vec<Order>,
}

/// How an update reaches the orders of one side that rest.
#[derive(Clone, Copy, Debug)]
struct Reach {
    /// The price that the market came to.
    price: PriceTicks,
    /// What was traded or offered there; `None` when nobody knows.
    size: Option<Lots>,
    /// Whether it was a trade, which serves who stands before as well.
    trade: bool,
}

impl Book {
    pub fn is_empty(&self) -> bool {
        self.buys.is_empty() && self.sells.is_empty() && self.stops.is_empty()
    }

    pub fn orders(&self) -> impl Iterator<Item = &Order> {
        self.buys.iter().chain(&self.sells).chain(&self.stops)
    }

    pub fn find(&self, number: OrderNumber) -> Option<&Order> {
        self.orders().find(|order| order.number == number)
    }

    pub fn remove(&mut self, number: OrderNumber) -> Option<Order> {
        for list in [&mut self.buys, &mut self.sells, &mut self.stops] {
            if let Some(position) = list.iter().position(|order| order.number == number) {
                return Some(list.remove(position));
            }
        }
        None
    }

    /// An order has arrived, or has lost its place: it takes what it can, and rests or not.
    pub fn arrive(
        &mut self,
        mut order: Order,
        model: &Model,
        ledger: &mut Ledger,
        reports: &mut Vec<Report>,
    ) {
        if let Some(trigger) = order.armed {
            if !self
                .market
                .trigger(order.side)
                .is_some_and(|seen| at_least_as_good(other(order.side), seen, trigger))
            {
                self.stops.push(order);
                return;
            }
            order.armed = None;
        }
        let touch = self.market.touch(order.side);
        self.take(&mut order, touch, model, ledger, reports);
        self.settle(order, ledger, reports);
    }

    /// Fills an order at a price, as far as price, size and position admit.
    fn take(
        &mut self,
        order: &mut Order,
        price: Option<PriceTicks>,
        model: &Model,
        ledger: &mut Ledger,
        reports: &mut Vec<Report>,
    ) {
        let Some(price) = price.filter(|price| order.admits(*price)) else { return };
        let mut quantity = order.leaves();
        if order.reduce_only {
            quantity = quantity.min(ledger.reducible(order.side));
        }
        if let Some(offered) = self.market.offered(order.side, model) {
            quantity = quantity.min(offered);
        }
        if order.patience == Patience::AllOrNothing && quantity < order.leaves() {
            return;
        }
        let slip = i64::from(model.slippage_ticks);
        let slipped = match order.side {
            Side::Buy => PriceTicks(price.0.saturating_add(slip)),
            Side::Sell => PriceTicks(price.0.saturating_sub(slip).max(1)),
        };
        let price = order.limit.filter(|_| !order.admits(slipped)).unwrap_or(slipped);
        if fill(order, quantity, price, false, ledger, reports) {
            self.market.take(order.side, quantity);
        }
    }

    /// What becomes of an order after it has met the market.
    fn settle(&mut self, mut order: Order, ledger: &Ledger<'_>, reports: &mut Vec<Report>) {
        if order.leaves().is_zero() {
            return;
        }
        let spent = order.reduce_only && ledger.reducible(order.side).is_zero();
        let Some(limit) = order.limit.filter(|_| order.patience == Patience::Rests && !spent) else {
            reports.push(Report { order: order.number, change: OrderChange::Cancelled });
            return;
        };
        order.ahead = self.market.ahead(order.side, limit);
        let side = match order.side {
            Side::Buy => &mut self.buys,
            Side::Sell => &mut self.sells,
        };
        let position = side.partition_point(|resting| resting.precedes(&order));
        side.insert(position, order);
    }

    /// Changes an order that keeps its place.
    pub fn replace(&mut self, order: Order) {
        let lists = [&mut self.buys, &mut self.sells, &mut self.stops];
        if let Some(slot) = lists.into_iter().flatten().find(|resting| resting.number == order.number) {
            *slot = order;
        }
    }

    /// The market has moved.
    pub fn show(&mut self, sample: &Sample, model: &Model, ledger: &mut Ledger, reports: &mut Vec<Report>) {
        self.market.show(&sample.tick);
        if self.is_empty() {
            return;
        }
        // One trade serves both sides, if orders of this account should stand on both.
        let mut traded = Lots::ZERO;
        for side in [Side::Buy, Side::Sell] {
            self.reach_side(side, sample, &mut traded, model, ledger, reports);
        }
        self.wake_stops(sample.bar.as_ref(), model, ledger, reports);
    }

    fn reach_side(
        &mut self,
        side: Side,
        sample: &Sample,
        traded: &mut Lots,
        model: &Model,
        ledger: &mut Ledger,
        reports: &mut Vec<Report>,
    ) {
        let tick = &sample.tick;
        let market = self.market;
        let list = match side {
            Side::Buy => &mut self.buys,
            Side::Sell => &mut self.sells,
        };
        if list.is_empty() {
            return;
        }
        let known = |size: Lots| (size > Lots::ZERO).then_some(size);
        if tick.marks.has(Marks::QUOTE) {
            for order in list.iter_mut() {
                if let Some(limit) = order.limit {
                    market.advance(order, limit);
                }
            }
            let (price, size) = match side {
                Side::Buy => (market.ask, market.ask_size),
                Side::Sell => (market.bid, market.bid_size),
            };
            if price.0 > 0 {
                let quote = Reach { price, size: known(size), trade: false };
                let mut taken = Lots::ZERO;
                reach(list, quote, &mut taken, model, ledger, reports);
                self.market.take(side, taken);
            }
        }
        if let Some(bar) = sample.bar {
            let price = match side {
                Side::Buy => bar.low,
                Side::Sell => bar.high,
            };
            reach(
                list,
                Reach { price, size: known(bar.volume), trade: true },
                traded,
                model,
                ledger,
                reports,
            );
        } else if tick.last_price.0 > 0 {
            let size = known(tick.last_size);
            reach(list, Reach { price: tick.last_price, size, trade: true }, traded, model, ledger, reports);
        }
    }

    /// Stops whose trigger was seen take, in the order of arrival.
    fn wake_stops(
        &mut self,
        bar: Option<&Bar>,
        model: &Model,
        ledger: &mut Ledger,
        reports: &mut Vec<Report>,
    ) {
        let mut position = 0;
        while let Some(order) = self.stops.get(position) {
            let side = order.side;
            let seen = match (bar, side) {
                (Some(bar), Side::Buy) => Some(bar.high),
                (Some(bar), Side::Sell) => Some(bar.low),
                (None, _) => self.market.trigger(side),
            };
            let Some(trigger) = order
                .armed
                .filter(|trigger| seen.is_some_and(|seen| at_least_as_good(other(side), seen, *trigger)))
            else {
                position += 1;
                continue;
            };
            let mut order = self.stops.remove(position);
            order.armed = None;
            let price = match (bar, side) {
                // Within a bar the price passes the trigger, unless the bar begins beyond it.
                (Some(bar), Side::Buy) => Some(bar.open.max(trigger)),
                (Some(bar), Side::Sell) => Some(bar.open.min(trigger)),
                (None, side) => self.market.touch(side),
            };
            self.take(&mut order, price, model, ledger, reports);
            self.settle(order, ledger, reports);
        }
    }

    /// Orders whose time has come.
    pub fn expire(&mut self, now: UnixNanos, reports: &mut Vec<Report>) {
        let mut due: Vec<OrderNumber> = Vec::new();
        for list in [&mut self.buys, &mut self.sells, &mut self.stops] {
            list.retain(|order| {
                let over = order.until.is_some_and(|until| until <= now);
                if over {
                    due.push(order.number);
                }
                !over
            });
        }
        due.sort_unstable();
        reports.extend(due.into_iter().map(|order| Report { order, change: OrderChange::Expired }));
    }
}

/// Fills the resting orders of one side that an update has reached, best first. `filled` is what it has filled
/// already.
fn reach(
    list: &mut Vec<Order>,
    reach: Reach,
    filled: &mut Lots,
    model: &Model,
    ledger: &mut Ledger,
    reports: &mut Vec<Report>,
) {
    let mut position = 0;
    while let Some(order) = list.get_mut(position) {
        let Some(limit) = order.limit.filter(|limit| at_least_as_good(order.side, reach.price, *limit))
        else {
            break;
        };
        let mut quantity = room(order, limit, reach, *filled, model);
        if order.reduce_only {
            let reducible = ledger.reducible(order.side);
            if reducible.is_zero() {
                let number = order.number;
                list.remove(position);
                reports.push(Report { order: number, change: OrderChange::Cancelled });
                continue;
            }
            quantity = quantity.min(reducible);
        }
        if !quantity.is_zero() && fill(order, quantity, limit, true, ledger, reports) {
            filled.0 = filled.0.saturating_add(quantity.0);
        }
        if order.leaves().is_zero() {
            list.remove(position);
        } else if order.reduce_only && ledger.reducible(order.side).is_zero() {
            let number = order.number;
            list.remove(position);
            reports.push(Report { order: number, change: OrderChange::Cancelled });
        } else {
            position += 1;
        }
    }
}

/// How much of a resting order an update fills, with what it has filled before this order already.
fn room(order: &mut Order, limit: PriceTicks, reach: Reach, filled: Lots, model: &Model) -> Lots {
    let through = better(order.side, reach.price, limit);
    // A quote that crosses the order offers at a price that the order would have taken.
    let certain = through || !reach.trade || model.queue == Queue::Touch;
    let before = match (certain, model.queue, order.ahead) {
        (true, ..) => Lots::ZERO,
        (false, Queue::Displayed, Some(ahead)) => ahead,
        (false, ..) => return Lots::ZERO,
    };
    let Some(size) = reach.size else {
        // Nobody knows how much was traded: it serves the one who stands first.
        return if before.is_zero() { order.leaves() } else { Lots::ZERO };
    };
    order.ahead = if certain { Some(Lots::ZERO) } else { Some(Lots(before.0.saturating_sub(size.0).max(0))) };
    let free = Lots(size.0.saturating_sub(before.0).saturating_sub(filled.0).max(0));
    match model.limits_size() {
        true => free.min(order.leaves()),
        false if before.is_zero() || !free.is_zero() => order.leaves(),
        false => Lots::ZERO,
    }
}

/// Books a fill and reports it. One whose sums do not fit the books is not made.
fn fill(
    order: &mut Order,
    quantity: Lots,
    price: PriceTicks,
    maker: bool,
    ledger: &mut Ledger,
    reports: &mut Vec<Report>,
) -> bool {
    if quantity <= Lots::ZERO {
        return false;
    }
    let Some(fee) = ledger.book(order.side, quantity, price, maker) else { return false };
    order.filled.0 = order.filled.0.saturating_add(quantity.0);
    let leaves = order.leaves();
    reports.push(Report {
        order: order.number,
        change: OrderChange::Filled { quantity, price, leaves, fee, maker },
    });
    true
}

const fn other(side: Side) -> Side {
    match side {
        Side::Buy => Side::Sell,
        Side::Sell => Side::Buy,
    }
}
