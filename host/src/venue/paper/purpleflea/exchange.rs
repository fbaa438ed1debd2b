//! The exchange behind the server: it nets by coin, fills at once or not at all, and is what really happened.

use super::super::market::Quote;
use super::super::order::Side;
use super::truth::FleaExecution;
use rust_decimal::{Decimal, RoundingStrategy};
use std::collections::BTreeMap;

/// Smallest order that the exchange takes, in dollars.
const NOTIONAL_MIN: Decimal = Decimal::TEN;

/// The net position in one coin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Holding {
    /// Signed.
    pub(super) size: Decimal,
    /// Average price of what is held.
    pub(super) entry: Decimal,
    pub(super) leverage: Decimal,
}

/// An order that fills at once or is gone.
#[derive(Clone, Copy, Debug)]
pub(super) struct Order<'a> {
    pub(super) coin: &'a str,
    pub(super) digits: u32,
    pub(super) side: Side,
    /// In units of the coin, in steps of its digits.
    pub(super) size: Decimal,
    /// Worst price that it may fill at.
    pub(super) limit: Decimal,
    pub(super) reduce_only: bool,
    /// How many thousandths of it find somebody to trade with.
    pub(super) share_permille: u16,
    /// Fee in hundred-thousandths of the notional.
    pub(super) fee_points: i64,
    /// The request that caused it.
    pub(super) request: Option<u64>,
    pub(super) now_ms: u64,
}

/// What was filled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fill {
    pub(super) order_number: u64,
    pub(super) size: Decimal,
    pub(super) price: Decimal,
}

/// One account at the exchange.
#[derive(Debug)]
pub(super) struct Exchange {
    cash: Decimal,
    /// Profits taken, fees paid.
    result: Decimal,
    holdings: BTreeMap<String, Holding>,
    executions: Vec<FleaExecution>,
    order_number: u64,
}

const TOO_LARGE: &str = "Order has invalid size.";

impl Exchange {
    pub(super) fn new(cash: Decimal) -> Self {
        Self {
            cash,
            result: Decimal::ZERO,
            holdings: BTreeMap::new(),
            executions: Vec::new(),
            order_number: 0,
        }
    }

    pub(super) fn holding(&self, coin: &str) -> Holding {
        self.holdings.get(coin).copied().unwrap_or_default()
    }

    /// The coins that are held.
    pub(super) fn holdings(&self) -> impl Iterator<Item = (&str, Holding)> {
        let held = self.holdings.iter().filter(|(_, holding)| !holding.size.is_zero());
        held.map(|(coin, holding)| (coin.as_str(), *holding))
    }

    pub(super) fn executions(&self) -> &[FleaExecution] {
        &self.executions
    }

    /// Sets what the margin of a coin is computed with.
    pub(super) fn set_leverage(&mut self, coin: &str, leverage: Decimal) {
        self.holdings.entry(coin.to_owned()).or_default().leverage = leverage;
    }

    /// Executes an order against the market, or says why not in the exchange's words.
    pub(super) fn execute(
        &mut self,
        order: Order,
        quotes: impl Fn(&str) -> Quote,
    ) -> Result<Fill, &'static str> {
        if !order.reduce_only && order.size.checked_mul(order.limit).ok_or(TOO_LARGE)? < NOTIONAL_MIN {
            return Err("Order must have minimum value of $10.");
        }
        let quote = quotes(order.coin);
        let price = quote.touch(order.side).ok_or("No liquidity available for market order.")?;
        if !order.side.admits(order.limit, price) {
            return Err("Order could not immediately match against any resting orders.");
        }
        let signed = |size| order.side.signed(size);
        let held = self.holding(order.coin).size;
        let mut size = order.size;
        if order.reduce_only {
            let opposite = held.is_sign_negative() != signed(size).is_sign_negative();
            size = if opposite { size.min(held.abs()) } else { Decimal::ZERO };
        } else if !self.has_margin(order.coin, signed(size), price, &quotes) {
            return Err("Insufficient margin to place order.");
        }
        let share = Decimal::new(order.share_permille.into(), 3);
        let size = size.checked_mul(share).ok_or(TOO_LARGE)?;
        let size = size.round_dp_with_strategy(order.digits, RoundingStrategy::ToZero).normalize();
        if size.is_zero() {
            return Err("Order could not immediately match against any resting orders.");
        }
        let fee = size.checked_mul(price).and_then(|notional| {
            let fee = notional.checked_mul(Decimal::new(order.fee_points, 5))?;
            Some(fee.round_dp_with_strategy(8, RoundingStrategy::AwayFromZero).normalize())
        });
        let fee = fee.ok_or(TOO_LARGE)?;
        self.book(order.coin, signed(size), price, fee).ok_or(TOO_LARGE)?;
        self.order_number = self.order_number.saturating_add(1);
        self.executions.push(FleaExecution {
            number: self.order_number,
            request: order.request,
            order_id: None,
            coin: order.coin.to_owned(),
            side: order.side.name().to_owned(),
            quantity: size,
            price,
            fee,
            reduce_only: order.reduce_only,
            at_ms: order.now_ms,
        });
        Ok(Fill { order_number: self.order_number, size, price })
    }

    /// Notes which row of the server's history an execution has become.
    pub(super) fn recorded(&mut self, number: u64, order_id: &str) {
        if let Some(execution) = self.executions.iter_mut().rfind(|e| e.number == number) {
            execution.order_id = Some(order_id.to_owned());
        }
    }

    /// Cash, profits and what the holdings are worth beyond their entry.
    pub(super) fn equity(&self, quotes: &impl Fn(&str) -> Quote) -> Option<Decimal> {
        let mut equity = self.cash.checked_add(self.result)?;
        for (coin, holding) in self.holdings() {
            let mark = quotes(coin).mark().unwrap_or(holding.entry);
            equity = equity.checked_add(mark.checked_sub(holding.entry)?.checked_mul(holding.size)?)?;
        }
        Some(equity)
    }

    fn has_margin(
        &self,
        coin: &str,
        signed: Decimal,
        price: Decimal,
        quotes: &impl Fn(&str) -> Quote,
    ) -> bool {
        let needed = || {
            let mut needed = Decimal::ZERO;
            let mut held: BTreeMap<&str, Decimal> = self.holdings().map(|(c, h)| (c, h.size)).collect();
            let size = held.entry(coin).or_default();
            let before = *size;
            *size = size.checked_add(signed)?;
            if size.abs() <= before.abs() {
                return Some(Decimal::ZERO);
            }
            for (name, size) in held {
                let mark = if name == coin { Some(price) } else { quotes(name).mark() };
                let holding = self.holding(name);
                let leverage = holding.leverage.max(Decimal::ONE);
                let notional = size.abs().checked_mul(mark.unwrap_or(holding.entry))?;
                needed = needed.checked_add(notional.checked_div(leverage)?)?;
            }
            Some(needed)
        };
        matches!((needed(), self.equity(quotes)), (Some(needed), Some(equity)) if needed.is_zero() || needed <= equity)
    }

    fn book(&mut self, coin: &str, signed: Decimal, price: Decimal, fee: Decimal) -> Option<()> {
        let holding = self.holdings.entry(coin.to_owned()).or_default();
        let (before, entry) = (holding.size, holding.entry);
        let after = before.checked_add(signed)?;
        let adds = before.is_zero() || before.is_sign_negative() == signed.is_sign_negative();
        let (entry, gained) = if adds {
            let paid = before.checked_mul(entry)?.checked_add(signed.checked_mul(price)?)?;
            (paid.checked_div(after)?, Decimal::ZERO)
        } else {
            // What is closed is at most what was held; the rest of a flip is held at the new price.
            let closed = if signed.abs() <= before.abs() { -signed } else { before };
            let gained = price.checked_sub(entry)?.checked_mul(closed)?;
            let flips = !after.is_zero() && after.is_sign_negative() != before.is_sign_negative();
            (if flips { price } else { entry }, gained)
        };
        let result = self.result.checked_add(gained)?.checked_sub(fee)?;
        holding.size = after.normalize();
        holding.entry = if after.is_zero() { Decimal::ZERO } else { entry.normalize() };
        self.result = result;
        Some(())
    }
}
