//! The risk gate: the last word before an intent is journaled. Pure, and every refusal has a stable code.
//!
//! An order that has not passed cannot be sent, because only [`RiskGate`] makes an [`Approved`].

#[cfg(test)]
mod tests;

use super::{AmendOrder, Books, Mode, NewOrder, OrderId, OrderKind, RejectReason, Side, WorkingOrder};
use crate::market::{Instrument, InstrumentId, Instruments, Lots, Money, MonoNanos, PriceTicks};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::num::NonZeroU32;

/// What an agent may do at most. An absent limit is not checked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RiskLimits {
    /// Value of one order in the quote currency.
    pub order_notional_max: Option<Money>,
    /// Absolute position in one instrument, in lots, counting every working order as filled.
    pub position_lots_max: Option<Lots>,
    /// Absolute value of all positions together in the quote currency, the new order included.
    pub gross_exposure_max: Option<Money>,
    /// How far a limit or trigger may lie from the last price, in thousandths of it. 100 stops the
    /// misplaced decimal point and lets every honest limit pass.
    pub price_collar_permille: u32,
    /// New orders within any second. 20 is more than a strategy on minute data needs and less than a
    /// venue's own limit; a runaway strategy is stopped here and not by the venue.
    pub orders_per_second_max: NonZeroU32,
    /// Orders that may work at a time. 50 bounds what has to be cancelled when the agent is stopped.
    pub open_orders_max: u32,
}

impl Default for RiskLimits {
    fn default() -> Self {
        Self {
            order_notional_max: None,
            position_lots_max: None,
            gross_exposure_max: None,
            price_collar_permille: 100,
            orders_per_second_max: NonZeroU32::MIN.saturating_add(19),
            open_orders_max: 50,
        }
    }
}

/// An order that passed the gate. Nothing else can be encoded for a venue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Approved<T>(T);

impl<T> Approved<T> {
    /// What was approved.
    pub const fn get(&self) -> &T {
        &self.0
    }
}

/// Why an intent was refused. The codes are stable; the README and the metrics use them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "each case is described where it is raised and by its code")]
pub enum RiskCode {
    ModeForbids,
    UnknownInstrument,
    UnknownOrder,
    DuplicateOrderId,
    QuantityOutOfRange,
    PriceNotPositive,
    NoPrice,
    PriceCollar,
    OrderNotional,
    Position,
    GrossExposure,
    OrderRate,
    OpenOrders,
    SelfCross,
    NotReducing,
    Overflow,
}

impl RiskCode {
    /// The code as text.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ModeForbids => "MODE_FORBIDS",
            Self::UnknownInstrument => "UNKNOWN_INSTRUMENT",
            Self::UnknownOrder => "UNKNOWN_ORDER",
            Self::DuplicateOrderId => "DUPLICATE_ORDER_ID",
            Self::QuantityOutOfRange => "QUANTITY_OUT_OF_RANGE",
            Self::PriceNotPositive => "PRICE_NOT_POSITIVE",
            Self::NoPrice => "NO_PRICE",
            Self::PriceCollar => "PRICE_COLLAR",
            Self::OrderNotional => "ORDER_NOTIONAL",
            Self::Position => "POSITION",
            Self::GrossExposure => "GROSS_EXPOSURE",
            Self::OrderRate => "ORDER_RATE",
            Self::OpenOrders => "OPEN_ORDERS",
            Self::SelfCross => "SELF_CROSS",
            Self::NotReducing => "NOT_REDUCING",
            Self::Overflow => "OVERFLOW",
        }
    }

    /// The reason as the strategy sees it.
    pub const fn reason(self) -> RejectReason {
        match self {
            Self::ModeForbids => RejectReason::Mode,
            Self::UnknownInstrument => RejectReason::UnknownInstrument,
            Self::UnknownOrder => RejectReason::UnknownOrder,
            Self::DuplicateOrderId => RejectReason::DuplicateId,
            Self::QuantityOutOfRange | Self::PriceNotPositive | Self::Overflow => RejectReason::Invalid,
            Self::OrderRate => RejectReason::RateLimited,
            Self::SelfCross => RejectReason::WouldCross,
            Self::NoPrice
            | Self::PriceCollar
            | Self::OrderNotional
            | Self::Position
            | Self::GrossExposure
            | Self::OpenOrders
            | Self::NotReducing => RejectReason::Risk,
        }
    }
}

/// A refusal: code and the numbers behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Which rule.
    pub code: RiskCode,
    /// Found and allowed, in words.
    pub detail: String,
}

fn refuse<T>(code: RiskCode, detail: String) -> Result<T, Refusal> {
    Err(Refusal { code, detail })
}

/// What the gate looks at, besides the order itself.
#[derive(Clone, Copy, Debug)]
pub struct RiskView<'a> {
    /// Time.
    pub now: MonoNanos,
    /// What the host lets the agent do.
    pub mode: Mode,
    /// The agent's books.
    pub books: &'a Books,
    /// Its instruments.
    pub instruments: &'a Instruments,
}

/// The gate of one agent.
#[derive(Clone, Debug)]
pub struct RiskGate {
    limits: RiskLimits,
    /// Times of the latest new orders, oldest first, at most `orders_per_second_max`.
    recent: VecDeque<MonoNanos>,
}

impl RiskGate {
    /// A gate with these limits.
    pub fn new(limits: RiskLimits) -> Self {
        Self { limits, recent: VecDeque::new() }
    }

    /// Judges a new order. In read-only mode an order that can only reduce passes and is made reduce-only.
    ///
    /// # Errors
    /// The first rule that the order breaks.
    pub fn submit(
        &mut self,
        view: &RiskView<'_>,
        order: &NewOrder,
        id_is_used: bool,
    ) -> Result<Approved<NewOrder>, Refusal> {
        let mut order = *order;
        if view.mode >= Mode::Observation {
            return refuse(RiskCode::ModeForbids, format!("mode is {}", view.mode));
        }
        if id_is_used {
            return refuse(RiskCode::DuplicateOrderId, format!("order id {} was used before", order.id.0));
        }
        let instrument = known_instrument(view, order.instrument)?;
        let quantity = order.quantity;
        if quantity < instrument.min_lots || quantity > instrument.max_lots {
            let (min, max) = (instrument.min_lots, instrument.max_lots);
            return refuse(
                RiskCode::QuantityOutOfRange,
                format!("quantity is {quantity} lots, {} takes {min} to {max}", instrument.symbol),
            );
        }
        self.check_prices(view, instrument, &order)?;
        if order.options.reduce_only || view.mode == Mode::ReadOnly {
            check_reduces(view, &order)?;
            order.options.reduce_only = true;
        } else {
            self.check_exposure(view, instrument, &order)?;
        }
        check_self_cross(view, &order)?;
        self.check_count(view)?;
        self.take_rate(view.now)?;
        Ok(Approved(order))
    }

    /// Judges a closing order of the host itself: it must reduce, and no mode or rate holds it back.
    ///
    /// # Errors
    /// When the instrument is unknown or the order would not reduce.
    pub fn close(&self, view: &RiskView<'_>, order: &NewOrder) -> Result<Approved<NewOrder>, Refusal> {
        known_instrument(view, order.instrument)?;
        check_reduces(view, order)?;
        let mut order = *order;
        order.options.reduce_only = true;
        Ok(Approved(order))
    }

    /// Judges a cancel. Every mode allows it; only an unknown order is refused.
    ///
    /// # Errors
    /// When no such order works.
    pub fn cancel(&self, id: OrderId, works: bool) -> Result<Approved<OrderId>, Refusal> {
        if !works {
            return refuse(RiskCode::UnknownOrder, format!("no order {} is working", id.0));
        }
        Ok(Approved(id))
    }

    /// Judges a change of a working order: as a new order of the new size in place of the old one.
    ///
    /// # Errors
    /// The first rule that the changed order breaks.
    pub fn amend(
        &mut self,
        view: &RiskView<'_>,
        amend: &AmendOrder,
        order: Option<&NewOrder>,
    ) -> Result<Approved<AmendOrder>, Refusal> {
        let Some(order) = order else {
            return refuse(RiskCode::UnknownOrder, format!("no order {} is working", amend.id.0));
        };
        let mut without = view.books.clone();
        without.close_order(amend.id);
        // A limit is judged also where the order had none: it goes to the venue either way.
        let kind = order.kind.with_limit(amend.limit);
        let changed = NewOrder { quantity: amend.quantity, kind, ..*order };
        let view = RiskView { books: &without, ..*view };
        self.submit(&view, &changed, false).map(|_| Approved(*amend))
    }

    fn check_prices(
        &self,
        view: &RiskView<'_>,
        instrument: &Instrument,
        order: &NewOrder,
    ) -> Result<(), Refusal> {
        let (first, second) = match order.kind {
            OrderKind::Market => (None, None),
            OrderKind::Limit(price) | OrderKind::Stop(price) => (Some(price), None),
            OrderKind::StopLimit { trigger, limit } => (Some(trigger), Some(limit)),
        };
        let Some(mark) = view.books.holding(order.instrument).mark else {
            return refuse(RiskCode::NoPrice, format!("{} has no price yet", instrument.symbol));
        };
        for price in [first, second].into_iter().flatten() {
            if price.0 <= 0 {
                return refuse(RiskCode::PriceNotPositive, format!("price is {price} ticks"));
            }
            let distance = i128::from(price.0) - i128::from(mark.0);
            let allowed = i128::from(mark.0) * i128::from(self.limits.price_collar_permille) / 1_000;
            if distance.abs() > allowed {
                return refuse(
                    RiskCode::PriceCollar,
                    format!("price {price} is more than {allowed} ticks from the last price {mark}"),
                );
            }
        }
        Ok(())
    }

    fn check_exposure(
        &self,
        view: &RiskView<'_>,
        instrument: &Instrument,
        order: &NewOrder,
    ) -> Result<(), Refusal> {
        let overflow =
            |what: &str| Refusal { code: RiskCode::Overflow, detail: format!("{what} does not fit") };
        let price = worst_price(view, order).unwrap_or_default();
        let notional =
            instrument.notional(price, order.quantity).ok_or_else(|| overflow("the order's value"))?;
        if let Some(max) = self.limits.order_notional_max
            && notional > max
        {
            return refuse(RiskCode::OrderNotional, format!("order is worth {notional}, at most {max}"));
        }
        if let Some(max) = self.limits.position_lots_max {
            let reached = worst_position(view, order).ok_or_else(|| overflow("the position"))?;
            if reached.abs() > max {
                return refuse(
                    RiskCode::Position,
                    format!("position could reach {reached} lots, at most {max}"),
                );
            }
        }
        if let Some(max) = self.limits.gross_exposure_max {
            let gross = gross_with_working(view).ok_or_else(|| overflow("the exposure"))?;
            // An order that only reduces cannot raise the exposure; it must pass even above the limit.
            let raises = check_reduces(view, order).is_err();
            let reached = gross.checked_add(notional).ok_or_else(|| overflow("the exposure"))?;
            if raises && reached > max {
                return refuse(
                    RiskCode::GrossExposure,
                    format!("exposure could reach {reached}, at most {max}"),
                );
            }
        }
        Ok(())
    }

    fn check_count(&self, view: &RiskView<'_>) -> Result<(), Refusal> {
        let working = view.books.working().len();
        let max = self.limits.open_orders_max;
        if u32::try_from(working).is_ok_and(|working| working < max) {
            return Ok(());
        }
        refuse(RiskCode::OpenOrders, format!("{working} orders are working, at most {max}"))
    }

    fn take_rate(&mut self, now: MonoNanos) -> Result<(), Refusal> {
        const SECOND_NS: u64 = 1_000_000_000;
        let max = self.limits.orders_per_second_max.get();
        while self.recent.front().is_some_and(|at| now.0.saturating_sub(at.0) >= SECOND_NS) {
            self.recent.pop_front();
        }
        if u32::try_from(self.recent.len()).is_ok_and(|count| count < max) {
            self.recent.push_back(now);
            return Ok(());
        }
        refuse(RiskCode::OrderRate, format!("{max} orders within the last second, no more are allowed"))
    }
}

fn known_instrument<'a>(view: &RiskView<'a>, id: InstrumentId) -> Result<&'a Instrument, Refusal> {
    view.instruments.get(id).ok_or_else(|| Refusal {
        code: RiskCode::UnknownInstrument,
        detail: format!("instrument {} is not one of this agent's {}", id.0, view.instruments.len()),
    })
}

/// The price to value an order at: the worst it admits, else the last price.
fn worst_price(view: &RiskView<'_>, order: &NewOrder) -> Option<PriceTicks> {
    let mark = view.books.holding(order.instrument).mark;
    match (order.kind.limit(), mark) {
        (Some(limit), Some(mark)) if order.side == Side::Sell => Some(limit.max(mark)),
        (Some(limit), _) => Some(limit),
        (None, mark) => mark,
    }
}

fn working_on(books: &Books, instrument: InstrumentId, side: Side) -> impl Iterator<Item = &WorkingOrder> {
    books.working().values().filter(move |order| order.instrument == instrument && order.side == side)
}

/// The position if this order and every working order on its side were filled.
fn worst_position(view: &RiskView<'_>, order: &NewOrder) -> Option<Lots> {
    let position = view.books.position(order.instrument);
    let reached = position.checked_add(order.side.signed(order.quantity))?;
    working_on(view.books, order.instrument, order.side)
        .try_fold(reached, |sum, working| sum.checked_add(working.side.signed(working.leaves)))
}

/// Value of all positions plus every working order that may add to one.
fn gross_with_working(view: &RiskView<'_>) -> Option<Money> {
    let gross = view.books.gross_exposure(view.instruments)?;
    view.books.working().values().filter(|order| !order.reduce_only).try_fold(gross, |sum, order| {
        let price = order.limit.or(view.books.holding(order.instrument).mark)?;
        let instrument = view.instruments.get(order.instrument)?;
        sum.checked_add(instrument.notional(price, order.leaves)?)
    })
}

/// An order reduces when it is against the position and no larger than what working orders leave of it.
fn check_reduces(view: &RiskView<'_>, order: &NewOrder) -> Result<(), Refusal> {
    let position = view.books.position(order.instrument);
    let against = match order.side {
        Side::Buy => position.0 < 0,
        Side::Sell => position.0 > 0,
    };
    let taken = working_on(view.books, order.instrument, order.side)
        .try_fold(Lots::ZERO, |sum, working| sum.checked_add(working.leaves));
    let free = taken.and_then(|taken| position.abs().checked_sub(taken)).unwrap_or(Lots::ZERO);
    if against && order.quantity <= free {
        return Ok(());
    }
    let side = order.side.name();
    refuse(
        RiskCode::NotReducing,
        format!(
            "{side} {} lots does not reduce a position of {position} of which {free} are free",
            order.quantity
        ),
    )
}

/// An order must not trade with another order of the same agent.
fn check_self_cross(view: &RiskView<'_>, order: &NewOrder) -> Result<(), Refusal> {
    let other_side = match order.side {
        Side::Buy => Side::Sell,
        Side::Sell => Side::Buy,
    };
    let crosses = |resting: PriceTicks| match (order.side, order.kind.limit()) {
        // A stop becomes a market order only later; what rests then is not known now.
        (_, None) => matches!(order.kind, OrderKind::Market),
        (Side::Buy, Some(limit)) => limit >= resting,
        (Side::Sell, Some(limit)) => limit <= resting,
    };
    let hit = working_on(view.books, order.instrument, other_side)
        .filter_map(|working| working.limit)
        .find(|resting| crosses(*resting));
    match hit {
        Some(resting) => refuse(
            RiskCode::SelfCross,
            format!("it would trade with the agent's own {} order at {resting}", other_side.name()),
        ),
        None => Ok(()),
    }
}
