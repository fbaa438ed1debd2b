//! The risk gate: the last word before an intent is journaled. Pure, and every refusal has a stable code.
//!
//! An order that has not passed cannot be sent, because only [`RiskGate`] makes an [`Approved`].

#[cfg(test)]
mod tests;

use super::{AmendOrder, Books, Mode, NewOrder, OrderId, OrderKind, RejectReason, Side, WorkingOrder};
use crate::market::{Instrument, InstrumentId, Instruments, Lots, Money, MonoNanos, PriceTicks};
use crate::resilience::LimitFault;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::num::NonZeroU32;
use std::time::Duration;

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
    /// Age of the last price of an instrument, by the clock that the agent is told, at which it may still be
    /// traded, other than to reduce a position: what an order is worth, and whether its limit is a slip, is
    /// judged by that price. Without one here it is 60,000 on the wall clock, as long as a feed may be silent
    /// before the agent only observes; on the clock of the data there is none, since a price is as old there as
    /// the data make it. A price of an earlier run is of no age and does not count.
    pub price_age_ms_max: Option<u64>,
    /// New orders within any second. 20 is more than a strategy on minute data needs and less than a
    /// venue's own limit; a runaway strategy is stopped here and not by the venue.
    pub orders_per_second_max: NonZeroU32,
    /// Intents of any kind within any second, those included that another rule refuses. Without it fifty times
    /// the orders: a strategy amends and cancels more than it submits, and one that goes beyond would fill the
    /// journal with refusals. Cancels of working orders have as much again for themselves, so that nothing
    /// that a strategy submits keeps it from getting out.
    pub intents_per_second_max: Option<NonZeroU32>,
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
            price_age_ms_max: None,
            orders_per_second_max: NonZeroU32::MIN.saturating_add(19),
            intents_per_second_max: None,
            open_orders_max: 50,
        }
    }
}

impl RiskLimits {
    /// Whether every limit limits something and leaves something.
    ///
    /// # Errors
    /// The first limit that is out of range.
    pub fn check(&self) -> Result<(), LimitFault> {
        LimitFault::unless_within("price_collar_permille", &self.price_collar_permille, &(1..=1_000_000))?;
        let orders = self.orders_per_second_max.get();
        LimitFault::unless_within("orders_per_second_max", &orders, &(1..=100_000))?;
        let intents = self.intents_per_second_max().get();
        LimitFault::unless_within("intents_per_second_max", &intents, &(1..=5_000_000))?;
        LimitFault::unless_within("open_orders_max", &self.open_orders_max, &(1..=100_000))
    }

    fn intents_per_second_max(&self) -> NonZeroU32 {
        const INTENTS_PER_ORDER: NonZeroU32 = NonZeroU32::new(50).unwrap();
        let default = || self.orders_per_second_max.saturating_mul(INTENTS_PER_ORDER);
        self.intents_per_second_max.unwrap_or_else(default)
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
    StalePrice,
    PriceCollar,
    OrderNotional,
    Position,
    GrossExposure,
    OrderRate,
    IntentRate,
    OpenOrders,
    SelfCross,
    NotReducing,
    InstrumentLocked,
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
            Self::StalePrice => "STALE_PRICE",
            Self::PriceCollar => "PRICE_COLLAR",
            Self::OrderNotional => "ORDER_NOTIONAL",
            Self::Position => "POSITION",
            Self::GrossExposure => "GROSS_EXPOSURE",
            Self::OrderRate => "ORDER_RATE",
            Self::IntentRate => "INTENT_RATE",
            Self::OpenOrders => "OPEN_ORDERS",
            Self::SelfCross => "SELF_CROSS",
            Self::NotReducing => "NOT_REDUCING",
            Self::InstrumentLocked => "INSTRUMENT_LOCKED",
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
            Self::OrderRate | Self::IntentRate => RejectReason::RateLimited,
            Self::SelfCross => RejectReason::WouldCross,
            Self::NoPrice
            | Self::StalePrice
            | Self::PriceCollar
            | Self::OrderNotional
            | Self::Position
            | Self::GrossExposure
            | Self::OpenOrders
            | Self::NotReducing
            | Self::InstrumentLocked => RejectReason::Risk,
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
    /// Age of the last price of the order's instrument; `None` when this run has had none.
    pub price_age: Option<Duration>,
}

/// The gate of one agent.
#[derive(Clone, Debug)]
pub struct RiskGate {
    limits: RiskLimits,
    orders: Rate,
    intents: Rate,
    cancels: Rate,
}

/// So many within any second.
#[derive(Clone, Debug)]
struct Rate {
    max: NonZeroU32,
    /// When the latest were, oldest first, at most `max`.
    recent: VecDeque<MonoNanos>,
}

impl Rate {
    const fn new(max: NonZeroU32) -> Self {
        Self { max, recent: VecDeque::new() }
    }

    /// Counts one more, if there is room for it.
    fn take(&mut self, now: MonoNanos) -> bool {
        const SECOND_NS: u64 = 1_000_000_000;
        while self.recent.front().is_some_and(|at| now.0.saturating_sub(at.0) >= SECOND_NS) {
            self.recent.pop_front();
        }
        let room = u32::try_from(self.recent.len()).is_ok_and(|count| count < self.max.get());
        if room {
            self.recent.push_back(now);
        }
        room
    }
}

impl RiskGate {
    /// A gate with these limits.
    pub fn new(limits: RiskLimits) -> Self {
        let intents = limits.intents_per_second_max();
        Self {
            orders: Rate::new(limits.orders_per_second_max),
            intents: Rate::new(intents),
            cancels: Rate::new(intents),
            limits,
        }
    }

    /// Judges, before everything else, whether the strategy has had all intents of this second.
    ///
    /// # Errors
    /// When it has.
    pub fn admit(&mut self, now: MonoNanos) -> Result<(), Refusal> {
        Self::rated(&mut self.intents, now, "intents")
    }

    /// The same for a cancel of a working order.
    ///
    /// # Errors
    /// When the strategy has had all cancels of this second.
    pub fn admit_cancel(&mut self, now: MonoNanos) -> Result<(), Refusal> {
        Self::rated(&mut self.cancels, now, "cancels")
    }

    fn rated(rate: &mut Rate, now: MonoNanos, what: &str) -> Result<(), Refusal> {
        if rate.take(now) {
            return Ok(());
        }
        let max = rate.max;
        refuse(RiskCode::IntentRate, format!("{max} {what} within the last second, no more are allowed"))
    }

    /// Judges a new order. In read-only mode, and without a fresh price, an order that can only reduce passes and
    /// is made reduce-only.
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
        if !order.options.reduce_only
            && view.mode != Mode::ReadOnly
            && let Err(refusal) = self.check_age(view, instrument)
        {
            check_reduces(view, &order).map_err(|_| refusal)?;
            order.options.reduce_only = true;
        }
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

    fn check_age(&self, view: &RiskView<'_>, instrument: &Instrument) -> Result<(), Refusal> {
        let Some(max_ms) = self.limits.price_age_ms_max else { return Ok(()) };
        let symbol = &instrument.symbol;
        match view.price_age {
            Some(age) if age <= Duration::from_millis(max_ms) => Ok(()),
            Some(age) => refuse(
                RiskCode::StalePrice,
                format!("the last price of {symbol} is {} ms old, at most {max_ms}", age.as_millis()),
            ),
            None => refuse(RiskCode::StalePrice, format!("{symbol} has had no price since the host started")),
        }
    }

    fn check_exposure(
        &self,
        view: &RiskView<'_>,
        instrument: &Instrument,
        order: &NewOrder,
    ) -> Result<(), Refusal> {
        let overflow =
            |what: &str| Refusal { code: RiskCode::Overflow, detail: format!("{what} does not fit") };
        let mark = view.books.holding(order.instrument).mark;
        let price = highest_price(order.side, order.kind.limit(), order.kind.trigger(), mark);
        let price = price.unwrap_or_default();
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
        if self.orders.take(now) {
            return Ok(());
        }
        let max = self.limits.orders_per_second_max;
        refuse(RiskCode::OrderRate, format!("{max} orders within the last second, no more are allowed"))
    }
}

fn known_instrument<'a>(view: &RiskView<'a>, id: InstrumentId) -> Result<&'a Instrument, Refusal> {
    view.instruments.get(id).ok_or_else(|| Refusal {
        code: RiskCode::UnknownInstrument,
        detail: format!("instrument {} is not one of this agent's {}", id.0, view.instruments.len()),
    })
}

/// The price to value an order at: the highest at which it may trade. A buy pays its limit at the most. Any
/// other order trades at the market, as it is now or once it has come to the trigger, and a sell's limit is only
/// the least that it asks for.
fn highest_price(
    side: Side,
    limit: Option<PriceTicks>,
    trigger: Option<PriceTicks>,
    mark: Option<PriceTicks>,
) -> Option<PriceTicks> {
    match (side, limit) {
        (Side::Buy, Some(limit)) => Some(limit),
        _ => limit.max(trigger).max(mark),
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
        .try_fold(reached, |sum, working| sum.checked_add(working.side.signed(working.exposed())))
}

/// Value of all positions plus every working order that may add to one.
fn gross_with_working(view: &RiskView<'_>) -> Option<Money> {
    let gross = view.books.gross_exposure(view.instruments)?;
    view.books.working().values().filter(|order| !order.reduce_only).try_fold(gross, |sum, order| {
        let limit = order.limits.map(|(_, high)| high).max(order.limit);
        let mark = view.books.holding(order.instrument).mark;
        let price = highest_price(order.side, limit, order.trigger, mark)?;
        let instrument = view.instruments.get(order.instrument)?;
        sum.checked_add(instrument.notional(price, order.exposed())?)
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
        .try_fold(Lots::ZERO, |sum, working| sum.checked_add(working.exposed()));
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
        .flat_map(|working| {
            let changed = working.limits.map(|(low, high)| if other_side == Side::Buy { high } else { low });
            working.limit.into_iter().chain(changed)
        })
        .find(|resting| crosses(*resting));
    match hit {
        Some(resting) => refuse(
            RiskCode::SelfCross,
            format!("it would trade with the agent's own {} order at {resting}", other_side.name()),
        ),
        None => Ok(()),
    }
}
