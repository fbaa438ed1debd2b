//! The simulated exchange: one account, whole ticks and lots, no clock and no chance of its own.
//!
//! It is shown the market and given orders, and reports what happens to them. The same sequence gives the same
//! reports, to the last fee. Orders of one account do not trade with each other: the market is the other side.
//!
//! A market order fills at the other side of the quote, or at the last trade where the data has no quotes; what
//! cannot be filled is cancelled. A limit order takes at the market's price and rests at its own. Stops watch the
//! last trade. Within a bar, a resting order is reached by the bar's low or high, and a stop fills at its trigger
//! or at an open beyond it; in which order a bar touched two prices nobody knows, so an order that comes to rest
//! within a bar is filled by the next one at the earliest.

mod book;
mod market;
mod model;
mod order;
#[cfg(test)]
mod properties;
#[cfg(test)]
pub(in crate::lab) mod tests;

pub use model::{Liquidity, Model, Queue};
pub use order::{OrderNumber, Refusal, Ticket};

use crate::market::{InstrumentId, Instruments, Lots, Money, PriceTicks, Sample, Tick, UnixNanos};
use crate::orders::Side;
use crate::venue::OrderChange;
use book::Book;
use order::{Order, at_least_as_good};
use std::sync::Arc;

/// Something that happened to an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Which order.
    pub order: OrderNumber,
    /// What happened.
    pub change: OrderChange,
}

/// The exchange.
#[derive(Debug)]
pub struct Exchange {
    model: Model,
    instruments: Arc<Instruments>,
    books: Vec<Book>,
    positions: Vec<Lots>,
    cash: Money,
    fees: Money,
    clock: UnixNanos,
    last: OrderNumber,
    /// When the next order may end by itself.
    next_expiry: Option<UnixNanos>,
}

/// The account as one book sees it.
struct Ledger<'a> {
    model: &'a Model,
    instruments: &'a Instruments,
    instrument: InstrumentId,
    position: &'a mut Lots,
    cash: &'a mut Money,
    fees: &'a mut Money,
}

impl Ledger<'_> {
    /// How much of the position an order of this side could take away.
    fn reducible(&self, side: Side) -> Lots {
        Lots(side.signed(*self.position).0.saturating_neg().max(0))
    }

    /// Books a fill and returns its fee; `None`, and nothing is changed, when a sum does not fit.
    fn book(&mut self, side: Side, quantity: Lots, price: PriceTicks, maker: bool) -> Option<Money> {
        let terms = self.instruments.get(self.instrument)?;
        let signed = side.signed(quantity);
        let paid = Model::notional(terms, price, signed)?;
        let fee = self.model.fee(paid, maker)?;
        let position = self.position.checked_add(signed)?;
        let cash = self.cash.checked_sub(paid)?.checked_sub(fee)?;
        let fees = self.fees.checked_add(fee)?;
        (*self.position, *self.cash, *self.fees) = (position, cash, fees);
        Some(fee)
    }
}

impl Exchange {
    /// An exchange with an account of this much cash.
    pub fn new(instruments: Arc<Instruments>, cash: Money, model: Model) -> Self {
        let count = instruments.len();
        Self {
            model,
            books: (0..count).map(|_| Book::default()).collect(),
            positions: vec![Lots::ZERO; count],
            instruments,
            cash,
            fees: Money::ZERO,
            clock: UnixNanos(0),
            last: OrderNumber(0),
            next_expiry: None,
        }
    }

    /// The rules and assumptions.
    pub const fn model(&self) -> &Model {
        &self.model
    }

    /// The newest time that the market has shown.
    pub const fn clock(&self) -> UnixNanos {
        self.clock
    }

    /// The account's cash.
    pub const fn cash(&self) -> Money {
        self.cash
    }

    /// What it paid in fees.
    pub const fn fees(&self) -> Money {
        self.fees
    }

    /// What it holds of an instrument, signed.
    pub fn position(&self, instrument: InstrumentId) -> Lots {
        index(instrument).and_then(|index| self.positions.get(index)).copied().unwrap_or_default()
    }

    /// Whether no order of an instrument works, so that the market of it can move without a report.
    pub fn is_quiet(&self, instrument: InstrumentId) -> bool {
        index(instrument).and_then(|index| self.books.get(index)).is_none_or(Book::is_empty)
    }

    /// Whether no order works at all.
    pub fn is_empty(&self) -> bool {
        self.books.iter().all(Book::is_empty)
    }

    /// The market has moved; `reports` gets what follows for the orders that work.
    #[inline]
    pub fn show(&mut self, sample: &Sample, reports: &mut Vec<Report>) {
        let tick = &sample.tick;
        self.clock = self.clock.max(tick.event_time);
        if self.next_expiry.is_some_and(|at| at <= self.clock) {
            self.expire(reports);
        }
        let Some((book, mut ledger)) = self.at(tick.instrument) else { return };
        let model = ledger.model;
        book.show(sample, model, &mut ledger, reports);
    }

    /// The market has moved while no order works: nothing can follow.
    #[inline]
    pub fn show_quiet(&mut self, tick: &Tick) {
        self.clock = self.clock.max(tick.event_time);
        if let Some(book) = index(tick.instrument).and_then(|index| self.books.get_mut(index)) {
            book.market.show(tick);
        }
    }

    fn expire(&mut self, reports: &mut Vec<Report>) {
        for book in &mut self.books {
            book.expire(self.clock, reports);
        }
        self.next_expiry = self.books.iter().flat_map(Book::orders).filter_map(|order| order.until).min();
    }

    /// Takes an order at a moment. Returns its number; the reports begin with its acceptance.
    ///
    /// # Errors
    /// When the exchange does not take it; nothing is changed then.
    pub fn place(
        &mut self,
        at: UnixNanos,
        ticket: &Ticket,
        reports: &mut Vec<Report>,
    ) -> Result<OrderNumber, Refusal> {
        let at = at.max(self.clock);
        let number = OrderNumber(self.last.0.saturating_add(1));
        let order = Order::new(number, ticket, at)?;
        let Some((book, mut ledger)) = self.at(ticket.instrument) else {
            return Err(Refusal { code: "unknown_symbol", text: "the exchange has no such instrument" });
        };
        check_arrival(&order, book, &ledger)?;
        let model = ledger.model;
        reports.push(Report { order: number, change: OrderChange::Accepted });
        if order.until.is_some_and(|until| until <= at) {
            reports.push(Report { order: number, change: OrderChange::Expired });
        } else {
            book.arrive(order, model, &mut ledger, reports);
            self.next_expiry = [self.next_expiry, order.until].into_iter().flatten().min();
        }
        self.last = number;
        Ok(number)
    }

    /// Takes a working order back.
    ///
    /// # Errors
    /// When it does not work.
    pub fn cancel(&mut self, number: OrderNumber, reports: &mut Vec<Report>) -> Result<(), Refusal> {
        let removed = self.books.iter_mut().find_map(|book| book.remove(number));
        removed.ok_or(CLOSED)?;
        reports.push(Report { order: number, change: OrderChange::Cancelled });
        Ok(())
    }

    /// Changes a working order. A smaller quantity at the same price keeps its place; anything else is a new
    /// arrival.
    ///
    /// # Errors
    /// When it does not work, or the change makes no sense; nothing is changed then.
    pub fn amend(
        &mut self,
        number: OrderNumber,
        quantity: Lots,
        limit: Option<PriceTicks>,
        reports: &mut Vec<Report>,
    ) -> Result<(), Refusal> {
        let position = self.books.iter().position(|book| book.find(number).is_some()).ok_or(CLOSED)?;
        let instrument = u32::try_from(position).map(InstrumentId).map_err(|_| CLOSED)?;
        let (book, mut ledger) = self.at(instrument).ok_or(CLOSED)?;
        let old = *book.find(number).ok_or(CLOSED)?;
        let mut order = old;
        if limit.is_some() && old.limit.is_none() {
            return Err(Refusal { code: "invalid_order", text: "the order has no limit to change" });
        }
        order.limit = limit.or(old.limit);
        order.quantity = quantity;
        if quantity <= old.filled {
            return Err(Refusal { code: "invalid_quantity", text: "that much is filled already" });
        }
        if order.limit.is_some_and(|limit| limit.0 <= 0) {
            return Err(Refusal { code: "invalid_price", text: "a price is not above zero" });
        }
        check_crossing(&order, book)?;
        let model = ledger.model;
        let change = OrderChange::Amended { leaves: order.leaves(), limit: order.limit };
        reports.push(Report { order: number, change });
        if order.limit == old.limit && order.quantity <= old.quantity {
            book.replace(order);
        } else {
            book.remove(number);
            book.arrive(order, model, &mut ledger, reports);
        }
        Ok(())
    }

    fn at(&mut self, instrument: InstrumentId) -> Option<(&mut Book, Ledger<'_>)> {
        let index = index(instrument)?;
        let ledger = Ledger {
            model: &self.model,
            instruments: &self.instruments,
            instrument,
            position: self.positions.get_mut(index)?,
            cash: &mut self.cash,
            fees: &mut self.fees,
        };
        Some((self.books.get_mut(index)?, ledger))
    }
}

const CLOSED: Refusal = Refusal { code: "unknown_order", text: "no such order works" };

fn index(instrument: InstrumentId) -> Option<usize> {
    usize::try_from(instrument.0).ok()
}

fn check_arrival(order: &Order, book: &Book, ledger: &Ledger<'_>) -> Result<(), Refusal> {
    let plain_market = order.limit.is_none() && order.armed.is_none();
    if plain_market && book.market.touch(order.side).is_none() {
        return Err(Refusal { code: "no_market", text: "there is no price yet" });
    }
    check_crossing(order, book)?;
    if order.reduce_only && order.armed.is_none() && ledger.reducible(order.side).is_zero() {
        return Err(Refusal {
            code: "reduce_only",
            text: "there is no position that the order would reduce",
        });
    }
    Ok(())
}

fn check_crossing(order: &Order, book: &Book) -> Result<(), Refusal> {
    let crosses = || {
        let touch = book.market.touch(order.side);
        touch.zip(order.limit).is_some_and(|(touch, limit)| at_least_as_good(order.side, touch, limit))
    };
    if order.post_only && crosses() {
        return Err(Refusal { code: "would_cross", text: "a post-only order would take" });
    }
    Ok(())
}
