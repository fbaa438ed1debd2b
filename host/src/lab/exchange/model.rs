//! What the simulated exchange assumes about the market and its own rules.

use crate::market::{Instrument, Lots, Money, PriceTicks};
use rust_decimal::{Decimal, RoundingStrategy};
use serde::{Deserialize, Serialize};

/// Digits of a fee after the point, as the paper venue has them.
const FEE_DIGITS: u32 = 8;

/// How much a market gives at its price.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Liquidity {
    /// Every quantity at the price there is. The default: most data does not say how much was offered, and an
    /// order of a size that matters needs a better model than any data of the best price can give.
    #[default]
    Unlimited,
    /// What was shown: the size of the quote, or of the last trade where there is no quote. What was taken is
    /// gone until the market shows that side again.
    Displayed,
}

/// When an order that rests is filled at its own price.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Queue {
    /// When the market reaches its price, as if nobody waited before it. The most that could be had.
    Touch,
    /// When what was shown at its price before it came has been traded or withdrawn. Who withdraws is assumed to have
    /// stood behind it. Where nothing was shown, as for [`Queue::Through`]. The default.
    #[default]
    Displayed,
    /// When the market trades beyond its price. The least that must be had.
    Through,
}

/// The rules and assumptions of the simulated exchange.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Model {
    /// Fee of an order that rested, in basis points of the notional; negative for a rebate. Default 0: fees
    /// are the account's own, and a wrong guess looks like a result.
    pub maker_fee_bps: Decimal,
    /// Fee of an order that took, in basis points of the notional. Default 0, for the same reason.
    pub taker_fee_bps: Decimal,
    /// Ticks by which an order that takes is filled worse than the price shown, though never beyond its limit.
    /// Default 0: the quote is the price; for data of trades alone, half a spread is a fair choice.
    pub slippage_ticks: u32,
    /// Nanoseconds of data time from the decision to the exchange. Default 0; a home connection takes some
    /// 50,000,000.
    pub order_latency_ns: u64,
    /// Nanoseconds of data time from the exchange back to the strategy. Default 0.
    pub reply_latency_ns: u64,
    /// How much the market gives.
    pub liquidity: Liquidity,
    /// When a resting order is reached.
    pub queue: Queue,
}

impl Model {
    /// What the exchange charges for a fill; `None` when the sum does not fit.
    pub(super) fn fee(&self, notional: Money, maker: bool) -> Option<Money> {
        let bps = if maker { self.maker_fee_bps } else { self.taker_fee_bps };
        if bps.is_zero() {
            return Some(Money::ZERO);
        }
        let fee = notional.abs().decimal().checked_mul(bps)?.checked_mul(Decimal::new(1, 4))?;
        Some(Money::new(fee.round_dp_with_strategy(FEE_DIGITS, RoundingStrategy::MidpointAwayFromZero)))
    }

    /// The value of a fill.
    pub(super) fn notional(instrument: &Instrument, price: PriceTicks, quantity: Lots) -> Option<Money> {
        instrument.notional(price, quantity)
    }

    pub(super) const fn limits_size(&self) -> bool {
        matches!(self.liquidity, Liquidity::Displayed)
    }
}
