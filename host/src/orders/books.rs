//! An agent's own books: cash, positions and working orders, folded from fills.
//!
//! Cash and quantities are exact. Cost and realised profit use the average-cost method; the division by
//! the position's size is the one place that rounds, to 28 digits, and equity does not depend on it.

mod claims;

use super::{IntentKey, NewOrder, OrderId, Side};
use crate::market::{InstrumentId, Instruments, Lots, Money, PriceTicks, Tick};
use crate::resilience::{Class, Classified};
use claims::Claim;
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use thiserror::Error;

/// A position in one instrument.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holding {
    /// Signed quantity.
    pub quantity: Lots,
    /// What the position cost, signed like the quantity, without fees.
    pub cost: Money,
    /// Profit of what has been closed, without fees.
    pub realized: Money,
    /// Last price seen, for valuation.
    pub mark: Option<PriceTicks>,
}

/// An order that may still be filled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkingOrder {
    /// What it trades.
    pub instrument: InstrumentId,
    /// Which way.
    pub side: Side,
    /// What can still be filled, positive.
    pub leaves: Lots,
    /// The worst price it admits, if it names one.
    pub limit: Option<PriceTicks>,
    /// Whether it can only reduce a position.
    pub reduce_only: bool,
    /// The price that wakes it, if it waits for one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trigger: Option<PriceTicks>,
    /// What has been filled.
    #[serde(default, skip_serializing_if = "is_none")]
    pub filled: Lots,
    /// How much more than `leaves` it may be filled: a change of it is on its way, or may be at the venue.
    #[serde(default, skip_serializing_if = "is_none")]
    pub may_add: Lots,
    /// The lowest and the highest limit that it may have by such a change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<(PriceTicks, PriceTicks)>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_none(quantity: &Lots) -> bool {
    quantity.is_zero()
}

impl WorkingOrder {
    /// An order of which this much can still be filled.
    pub const fn of(terms: &NewOrder, leaves: Lots) -> Self {
        Self {
            instrument: terms.instrument,
            side: terms.side,
            leaves,
            limit: terms.kind.limit(),
            reduce_only: terms.options.reduce_only,
            trigger: terms.kind.trigger(),
            filled: Lots(terms.quantity.0.saturating_sub(leaves.0)),
            may_add: Lots::ZERO,
            limits: None,
        }
    }

    /// The most that can still be filled, whatever becomes of the changes that are on their way.
    pub const fn exposed(&self) -> Lots {
        Lots(self.leaves.0.saturating_add(self.may_add.0))
    }
}

/// Cash, positions and working orders of one agent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Books {
    cash: Money,
    fees: Money,
    holdings: Vec<Holding>,
    working: BTreeMap<OrderId, WorkingOrder>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    claims: BTreeMap<IntentKey, Claim>,
}

/// Why a fill cannot be booked.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum BooksError {
    /// The instrument is not one of this agent's.
    #[error("instrument number {0} is not in these books")]
    UnknownInstrument(u32),
    /// The result needs more than 28 digits or 63 bits.
    #[error("booking {quantity} lots at {price} ticks of {symbol} overflows the books")]
    Overflow {
        /// Which instrument.
        symbol: String,
        /// Signed quantity of the fill.
        quantity: Lots,
        /// Price of the fill.
        price: PriceTicks,
    },
}

impl Classified for BooksError {
    fn class(&self) -> Class {
        Class::State
    }

    fn code(&self) -> &'static str {
        match self {
            Self::UnknownInstrument(_) => "books_unknown_instrument",
            Self::Overflow { .. } => "books_overflow",
        }
    }
}

impl Books {
    /// Flat books with this much cash and room for this many instruments.
    pub fn new(cash: Money, instruments: usize) -> Self {
        Self { cash, holdings: vec![Holding::default(); instruments], ..Self::default() }
    }

    /// Cash in the quote currency.
    pub fn cash(&self) -> Money {
        self.cash
    }

    /// Fees paid so far.
    pub fn fees(&self) -> Money {
        self.fees
    }

    /// The position in an instrument; flat when the instrument is unknown.
    pub fn holding(&self, instrument: InstrumentId) -> Holding {
        self.slot(instrument).copied().unwrap_or_default()
    }

    /// Every position, by instrument id.
    pub fn holdings(&self) -> impl Iterator<Item = (InstrumentId, &Holding)> {
        (0_u32..).map(InstrumentId).zip(&self.holdings)
    }

    /// Signed quantity held.
    pub fn position(&self, instrument: InstrumentId) -> Lots {
        self.slot(instrument).map_or(Lots::ZERO, |holding| holding.quantity)
    }

    /// Orders that may still be filled, by id.
    pub fn working(&self) -> &BTreeMap<OrderId, WorkingOrder> {
        &self.working
    }

    /// Takes note of the last price, for valuation.
    pub fn mark(&mut self, tick: &Tick) {
        if let Some(price) = tick.mark_price() {
            self.mark_at(tick.instrument, price);
        }
    }

    /// Takes note of a last price by itself.
    pub fn mark_at(&mut self, instrument: InstrumentId, price: PriceTicks) {
        if let Some(holding) = self.slot_mut(instrument) {
            holding.mark = Some(price);
        }
    }

    /// An order starts to work, or its terms change.
    pub fn open_order(&mut self, id: OrderId, order: WorkingOrder) {
        self.working.insert(id, order);
        self.count_claims(id);
    }

    /// An order has stopped working. Returns what was left of it.
    pub fn close_order(&mut self, id: OrderId) -> Option<WorkingOrder> {
        self.drop_confirmed(id);
        self.working.remove(&id)
    }

    /// Books one fill of `quantity` (positive) and, when the order is known, reduces what it leaves.
    ///
    /// # Errors
    /// When the instrument is unknown or a sum does not fit; the books are then unchanged.
    pub fn fill(
        &mut self,
        instruments: &Instruments,
        (order, instrument, side): (OrderId, InstrumentId, Side),
        quantity: Lots,
        price: PriceTicks,
        fee: Money,
    ) -> Result<(), BooksError> {
        let unknown = BooksError::UnknownInstrument(instrument.0);
        let terms = instruments.get(instrument).ok_or_else(|| unknown.clone())?;
        let holding = *self.slot(instrument).ok_or(unknown)?;
        let signed = side.signed(quantity);
        let overflow = || BooksError::Overflow { symbol: terms.symbol.clone(), quantity: signed, price };
        let paid = terms.notional(price, signed).ok_or_else(overflow)?;
        let after = holding.after_fill(signed, paid).ok_or_else(overflow)?;
        let cash = self.cash.checked_sub(paid).and_then(|cash| cash.checked_sub(fee)).ok_or_else(overflow)?;
        let fees = self.fees.checked_add(fee).ok_or_else(overflow)?;

        (self.cash, self.fees) = (cash, fees);
        if let Some(slot) = self.slot_mut(instrument) {
            *slot = after;
        }
        if let Some(working) = self.working.get_mut(&order) {
            working.leaves = Lots(working.leaves.0.saturating_sub(quantity.0).max(0));
            working.filled = Lots(working.filled.0.saturating_add(quantity.0));
            self.count_claims(order);
            if self.working.get(&order).is_some_and(|working| working.exposed().is_zero()) {
                self.working.remove(&order);
            }
        }
        Ok(())
    }

    /// Books a position that was found at the venue as a trade at this price, without a fee.
    ///
    /// # Errors
    /// As [`Books::fill`].
    pub fn adopt(
        &mut self,
        instruments: &Instruments,
        instrument: InstrumentId,
        quantity: Lots,
        price: PriceTicks,
    ) -> Result<(), BooksError> {
        let side = if quantity.0 < 0 { Side::Sell } else { Side::Buy };
        let nobodys = OrderId(u64::MAX);
        self.fill(instruments, (nobodys, instrument, side), quantity.abs(), price, Money::ZERO)
    }

    /// Books money that came in or went out without a trade, such as funding.
    ///
    /// # Errors
    /// When the sum does not fit.
    pub fn transfer(&mut self, amount: Money) -> Result<(), BooksError> {
        let overflow =
            BooksError::Overflow { symbol: "cash".into(), quantity: Lots::ZERO, price: PriceTicks(0) };
        self.cash = self.cash.checked_add(amount).ok_or(overflow)?;
        Ok(())
    }

    /// Profit of an open position at its last price; `None` when it has no price or does not fit.
    pub fn unrealized(&self, instruments: &Instruments, instrument: InstrumentId) -> Option<Money> {
        let holding = self.slot(instrument)?;
        self.value(instruments, instrument, holding)?.checked_sub(holding.cost)
    }

    /// Cash plus every position at its last price; `None` while a held position has no price.
    pub fn equity(&self, instruments: &Instruments) -> Option<Money> {
        self.holdings().try_fold(self.cash, |sum, (id, holding)| {
            if holding.quantity.is_zero() {
                return Some(sum);
            }
            sum.checked_add(self.value(instruments, id, holding)?)
        })
    }

    /// Sum of the absolute values of all positions at their last prices; `None` while one has no price.
    pub fn gross_exposure(&self, instruments: &Instruments) -> Option<Money> {
        self.holdings().try_fold(Money::ZERO, |sum, (id, holding)| {
            if holding.quantity.is_zero() {
                return Some(sum);
            }
            sum.checked_add(self.value(instruments, id, holding)?.abs())
        })
    }

    fn value(&self, instruments: &Instruments, id: InstrumentId, holding: &Holding) -> Option<Money> {
        if holding.quantity.is_zero() {
            return Some(Money::ZERO);
        }
        instruments.get(id)?.notional(holding.mark?, holding.quantity)
    }

    fn slot(&self, instrument: InstrumentId) -> Option<&Holding> {
        self.holdings.get(usize::try_from(instrument.0).ok()?)
    }

    fn slot_mut(&mut self, instrument: InstrumentId) -> Option<&mut Holding> {
        self.holdings.get_mut(usize::try_from(instrument.0).ok()?)
    }
}

impl Holding {
    /// What one unit of the position cost on average; `None` when flat.
    pub fn average_price(&self, instruments: &Instruments, instrument: InstrumentId) -> Option<Decimal> {
        let terms = instruments.get(instrument)?;
        let units = terms.quantity(self.quantity)?.checked_mul(terms.multiplier)?;
        self.cost.decimal().checked_div(units).map(|price| price.normalize())
    }

    /// The holding after a fill of `signed` lots worth `paid`; `None` when a number does not fit.
    fn after_fill(self, signed: Lots, paid: Money) -> Option<Self> {
        let quantity = self.quantity.checked_add(signed)?;
        let adds = self.quantity.is_zero() || (self.quantity.0 > 0) == (signed.0 > 0);
        if adds {
            return Some(Self { quantity, cost: self.cost.checked_add(paid)?, ..self });
        }
        let closed = self.quantity.abs().min(signed.abs());
        let share = |whole: Money, of: Lots| {
            if closed == of {
                return Some(whole);
            }
            let scaled = whole.decimal().checked_mul(Decimal::from(closed.0))?;
            scaled.checked_div(Decimal::from(of.0)).map(Money::new)
        };
        let cost_closed = share(self.cost, self.quantity.abs())?;
        let proceeds = share(paid, signed.abs())?;
        // `paid` has the sign of the fill, which is opposite to the position's: profit is what came in
        // (minus `proceeds`) less what the closed part had cost.
        let profit = Money::ZERO.checked_sub(proceeds)?.checked_sub(cost_closed)?;
        let cost = self.cost.checked_sub(cost_closed)?.checked_add(paid.checked_sub(proceeds)?)?;
        Some(Self { quantity, cost, realized: self.realized.checked_add(profit)?, ..self })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::market::{Instrument, InstrumentKind};
    use proptest::prelude::*;

    const ID: InstrumentId = InstrumentId(0);

    fn instruments() -> Instruments {
        Instruments::new(vec![Instrument {
            symbol: "X".into(),
            venue: "test".into(),
            kind: InstrumentKind::Spot,
            quote_currency: "USD".into(),
            multiplier: Decimal::ONE,
            tick_size: Decimal::new(1, 2),
            lot_size: Decimal::new(1, 1),
            min_lots: Lots(1),
            max_lots: Lots(1_000_000),
        }])
        .unwrap()
    }

    fn money(text: &str) -> Money {
        Money::new(text.parse().unwrap())
    }

    fn fill(books: &mut Books, side: Side, lots: i64, ticks: i64) {
        let fee = money("0.1");
        books.fill(&instruments(), (OrderId(1), ID, side), Lots(lots), PriceTicks(ticks), fee).unwrap();
    }

    #[test]
    fn a_round_trip_books_profit_fees_and_cash() {
        let mut books = Books::new(money("1000"), 1);
        fill(&mut books, Side::Buy, 20, 10_000); // 2.0 at 100.00
        fill(&mut books, Side::Buy, 20, 11_000); // 2.0 at 110.00
        assert_eq!(books.holding(ID).average_price(&instruments(), ID), Some("105".parse().unwrap()));
        fill(&mut books, Side::Sell, 30, 12_000); // 3.0 at 120.00
        assert_eq!(books.holding(ID).realized, money("45"));
        assert_eq!(books.position(ID), Lots(10));
        assert_eq!(books.cash(), money("939.7"));
        assert_eq!(books.fees(), money("0.3"));
    }

    #[test]
    fn a_fill_through_zero_opens_the_other_side_at_its_own_price() {
        let mut books = Books::new(money("1000"), 1);
        fill(&mut books, Side::Buy, 10, 10_000);
        fill(&mut books, Side::Sell, 30, 9_000);
        let holding = books.holding(ID);
        assert_eq!(holding.quantity, Lots(-20));
        assert_eq!(holding.realized, money("-10"));
        assert_eq!(holding.cost, money("-180"));
        assert_eq!(holding.average_price(&instruments(), ID), Some("90".parse().unwrap()));
    }

    #[test]
    fn equity_is_unknown_until_a_held_position_has_a_price() {
        let mut books = Books::new(money("1000"), 1);
        assert_eq!(books.equity(&instruments()), Some(money("1000")));
        fill(&mut books, Side::Sell, 10, 10_000);
        assert_eq!(books.equity(&instruments()), None);
        books.mark(&Tick { last_price: PriceTicks(9_000), ..Tick::default() });
        assert_eq!(books.equity(&instruments()), Some(money("1009.9")));
        assert_eq!(books.unrealized(&instruments(), ID), Some(money("10")));
        assert_eq!(books.gross_exposure(&instruments()), Some(money("90")));
    }

    #[test]
    fn a_fill_that_overflows_changes_nothing() {
        let mut books = Books::new(money("1000"), 1);
        let before = books.clone();
        let outcome = books.fill(
            &instruments(),
            (OrderId(1), ID, Side::Buy),
            Lots(i64::MAX),
            PriceTicks(i64::MAX),
            Money::ZERO,
        );
        assert!(matches!(outcome, Err(BooksError::Overflow { .. })), "{outcome:?}");
        assert_eq!(books, before);
    }

    proptest! {
        #[test]
        fn equity_moves_only_by_fees_when_fills_happen_at_the_mark(
            fills in prop::collection::vec((any::<bool>(), 1_i64..1_000), 1..40),
            mark in 1_i64..100_000,
        ) {
            let mut books = Books::new(money("1000"), 1);
            books.mark(&Tick { last_price: PriceTicks(mark), ..Tick::default() });
            for (buy, lots) in fills {
                fill(&mut books, if buy { Side::Buy } else { Side::Sell }, lots, mark);
                let expected = money("1000").checked_sub(books.fees()).unwrap();
                prop_assert_eq!(books.equity(&instruments()), Some(expected));
            }
        }
    }
}
