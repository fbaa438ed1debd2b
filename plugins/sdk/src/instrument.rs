//! What is traded, and the way between its steps and plain numbers.

use crate::bindings::ringfence::strategy::types;
use crate::{Decimal, InstrumentKind, Lots, PriceTicks, Rounding, Tick};

/// Dense number of an instrument, valid in one instance of a strategy: the position in `session.instruments`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InstrumentId(pub u32);

/// An instrument: `price = ticks * tick_size`, `quantity = lots * lot_size`.
#[derive(Clone, Debug, PartialEq)]
pub struct Instrument {
    /// Its number in ticks and orders.
    pub id: InstrumentId,
    /// Name at the venue.
    pub symbol: String,
    /// Name of the venue.
    pub venue: String,
    /// Kind of contract.
    pub kind: InstrumentKind,
    /// Currency of prices and money.
    pub quote_currency: String,
    /// Value of one unit of quantity at a price of one.
    pub multiplier: Decimal,
    /// Smallest price step.
    pub tick_size: Decimal,
    /// Smallest quantity step.
    pub lot_size: Decimal,
    /// Smallest order.
    pub min_lots: Lots,
    /// Largest order.
    pub max_lots: Lots,
}

impl Instrument {
    /// The price of a number of ticks as f64, for indicators. It is the f64 closest to the exact price as
    /// long as that has at most 15 digits.
    #[inline]
    pub fn price_f64(&self, ticks: PriceTicks) -> f64 {
        steps_f64(ticks.0, self.tick_size)
    }

    /// The quantity of a number of lots as f64.
    #[inline]
    pub fn quantity_f64(&self, lots: Lots) -> f64 {
        steps_f64(lots.0, self.lot_size)
    }

    /// The price that a tick shows, as f64: the last trade, or the middle of the quote when there is none.
    #[inline]
    pub fn last_or_middle_f64(&self, tick: &Tick) -> Option<f64> {
        tick.last().map(|last| self.price_f64(last)).or_else(|| {
            let (bid, ask) = (tick.bid()?, tick.ask()?);
            Some((self.price_f64(bid) + self.price_f64(ask)) / 2.0)
        })
    }

    /// The exact price of a number of ticks, or `None` when it does not fit.
    pub fn price(&self, ticks: PriceTicks) -> Option<Decimal> {
        self.tick_size.checked_mul(ticks.0)
    }

    /// The exact quantity of a number of lots, or `None` when it does not fit.
    pub fn quantity(&self, lots: Lots) -> Option<Decimal> {
        self.lot_size.checked_mul(lots.0)
    }

    /// A calculated price as a price that can be ordered at. `None` when it is not a positive finite number.
    ///
    /// A number within a billionth of a step counts as that step, so that the noise of f64 arithmetic does
    /// not move a price by a whole tick.
    pub fn round_to_tick(&self, price: f64, rounding: Rounding) -> Option<PriceTicks> {
        round_to_step(price, self.tick_size, rounding).map(PriceTicks)
    }

    /// A calculated quantity as an order's lots, cut to the largest order. `None` when it is not a positive
    /// finite number or below the smallest order.
    pub fn round_to_lots(&self, quantity: f64, rounding: Rounding) -> Option<Lots> {
        let lots = Lots(round_to_step(quantity, self.lot_size, rounding)?).min(self.max_lots);
        (lots >= self.min_lots).then_some(lots)
    }
}

#[inline]
fn steps_f64(steps: i64, step: Decimal) -> f64 {
    // One rounding, in the division: the product is exact below 2^53 and so is the power of ten.
    (steps as f64 * step.coefficient() as f64) / step.divisor() as f64
}

fn round_to_step(value: f64, step: Decimal, rounding: Rounding) -> Option<i64> {
    // Beyond 2^53 neighbouring f64 are more than a step apart.
    const EXACT_MAX: f64 = 9_007_199_254_740_992.0;
    let steps = value * step.divisor() as f64 / step.coefficient() as f64;
    let nearest = steps.round_ties_even();
    let rounded = if (steps - nearest).abs() <= 1e-9 * nearest.abs().max(1.0) {
        nearest
    } else {
        match rounding {
            Rounding::Down => steps.floor(),
            Rounding::Up => steps.ceil(),
            Rounding::Nearest => nearest,
        }
    };
    ((1.0..EXACT_MAX).contains(&rounded)).then_some(rounded as i64)
}

impl From<&Instrument> for InstrumentId {
    fn from(instrument: &Instrument) -> Self {
        instrument.id
    }
}

impl From<types::Instrument> for Instrument {
    fn from(instrument: types::Instrument) -> Self {
        Self {
            id: InstrumentId(instrument.id),
            symbol: instrument.symbol,
            venue: instrument.venue,
            kind: instrument.kind,
            quote_currency: instrument.quote_currency,
            multiplier: instrument.multiplier.into(),
            tick_size: instrument.tick_size.into(),
            lot_size: instrument.lot_size.into(),
            min_lots: Lots(instrument.min_lots),
            max_lots: Lots(instrument.max_lots),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test::instrument;
    use proptest::prelude::*;

    #[test]
    fn a_price_is_the_closest_f64_to_its_decimal() {
        // 6168599 * 0.01 in f64 is 61685.990000000005.
        assert_eq!(instrument().price_f64(PriceTicks(6_168_599)), 61_685.99);
    }

    #[test]
    fn noise_of_f64_does_not_move_a_price_by_a_tick() {
        let instrument = instrument();
        let noisy = 0.1 + 0.2;
        for rounding in [Rounding::Down, Rounding::Up, Rounding::Nearest] {
            assert_eq!(instrument.round_to_tick(noisy, rounding), Some(PriceTicks(30)));
        }
    }

    #[test]
    fn a_price_between_two_ticks_rounds_as_asked() {
        let rounded = |rounding| instrument().round_to_tick(10.016, rounding);
        assert_eq!(rounded(Rounding::Down), Some(PriceTicks(1_001)));
        assert_eq!(rounded(Rounding::Up), Some(PriceTicks(1_002)));
        assert_eq!(rounded(Rounding::Nearest), Some(PriceTicks(1_002)));
    }

    #[test]
    fn what_is_no_price_or_quantity_gives_none() {
        for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 0.0, -1.0, 1e300] {
            assert_eq!(instrument().round_to_tick(bad, Rounding::Nearest), None, "{bad}");
            assert_eq!(instrument().round_to_lots(bad, Rounding::Nearest), None, "{bad}");
        }
        let limits = Instrument { min_lots: Lots(5), max_lots: Lots(9), ..instrument() };
        assert_eq!(limits.round_to_lots(0.000_04, Rounding::Down), None);
        assert_eq!(limits.round_to_lots(1.0, Rounding::Down), Some(Lots(9)));
    }

    proptest! {
        #[test]
        fn any_price_on_a_tick_comes_back_from_f64(ticks in 1_i64..1_000_000_000_000) {
            let instrument = instrument();
            let price = instrument.price_f64(PriceTicks(ticks));
            for rounding in [Rounding::Down, Rounding::Up, Rounding::Nearest] {
                prop_assert_eq!(instrument.round_to_tick(price, rounding), Some(PriceTicks(ticks)));
            }
        }
    }
}
