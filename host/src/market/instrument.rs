//! What is traded: identity, steps and limits of an instrument.

use super::{Lots, Money, PriceTicks};
use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Dense number of an instrument within one agent's session; the position in [`Instruments`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct InstrumentId(pub u32);

/// Kinds of instruments; the cases of WIT `instrument-kind`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[expect(missing_docs, reason = "the names are the standard terms of trading")]
pub enum InstrumentKind {
    Spot,
    Perpetual,
    DatedFuture,
    OptionContract,
    Equity,
    Index,
    Other,
}

/// One instrument. `price = ticks * tick_size`, `quantity = lots * lot_size`,
/// `notional = price * quantity * multiplier` in the quote currency.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Instrument {
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

/// Why a number does not fit an instrument, or an instrument makes no sense.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum InstrumentError {
    /// A step or the multiplier is zero or negative.
    #[error("instrument {symbol}: {field} is {found}, it must be above zero")]
    NotPositive {
        /// Which instrument.
        symbol: String,
        /// Which field.
        field: &'static str,
        /// Its value.
        found: Decimal,
    },
    /// The order limits exclude every order.
    #[error(
        "instrument {symbol}: min_lots {min} and max_lots {max} admit no order, give 1 <= min_lots <= max_lots"
    )]
    NoOrderFits {
        /// Which instrument.
        symbol: String,
        /// The lower limit.
        min: Lots,
        /// The upper limit.
        max: Lots,
    },
    /// A price or quantity lies between two steps.
    #[error("{symbol}: {value} is not a whole multiple of {step}")]
    OffStep {
        /// Which instrument.
        symbol: String,
        /// The number found.
        value: Decimal,
        /// The step it must be a multiple of.
        step: Decimal,
    },
    /// A price or quantity needs more than 62 bits of steps.
    #[error("{symbol}: {value} is out of range")]
    OutOfRange {
        /// Which instrument.
        symbol: String,
        /// The number found.
        value: Decimal,
    },
}

/// The widest step count that crosses the sandbox: leaves room for sums without overflow.
pub(super) const STEPS_MAX: i64 = 1 << 62;

impl Instrument {
    /// Checks the instrument itself.
    ///
    /// # Errors
    /// When a step or the multiplier is not positive, or no order fits between the limits.
    pub fn check(&self) -> Result<(), InstrumentError> {
        for (field, found) in
            [("tick_size", self.tick_size), ("lot_size", self.lot_size), ("multiplier", self.multiplier)]
        {
            if found <= Decimal::ZERO {
                return Err(InstrumentError::NotPositive { symbol: self.symbol.clone(), field, found });
            }
        }
        if self.min_lots.0 < 1 || self.min_lots > self.max_lots {
            return Err(InstrumentError::NoOrderFits {
                symbol: self.symbol.clone(),
                min: self.min_lots,
                max: self.max_lots,
            });
        }
        Ok(())
    }

    /// The price of a number of ticks, or `None` when it does not fit.
    pub fn price(&self, ticks: PriceTicks) -> Option<Decimal> {
        Decimal::from(ticks.0).checked_mul(self.tick_size)
    }

    /// The quantity of a number of lots, or `None` when it does not fit.
    pub fn quantity(&self, lots: Lots) -> Option<Decimal> {
        Decimal::from(lots.0).checked_mul(self.lot_size)
    }

    /// The exact number of ticks of a price.
    ///
    /// # Errors
    /// When the price is between two ticks or out of range.
    pub fn price_ticks(&self, price: Decimal) -> Result<PriceTicks, InstrumentError> {
        self.steps(price, self.tick_size).map(PriceTicks)
    }

    /// The exact number of lots of a quantity.
    ///
    /// # Errors
    /// When the quantity is between two lots or out of range.
    pub fn lots(&self, quantity: Decimal) -> Result<Lots, InstrumentError> {
        self.steps(quantity, self.lot_size).map(Lots)
    }

    /// `price * quantity * multiplier` in the quote currency, signed like the quantity; `None` when it does not fit.
    pub fn notional(&self, price: PriceTicks, lots: Lots) -> Option<Money> {
        let value = self.price(price)?.checked_mul(self.quantity(lots)?)?.checked_mul(self.multiplier)?;
        Some(Money::new(value))
    }

    fn steps(&self, value: Decimal, step: Decimal) -> Result<i64, InstrumentError> {
        let out_of_range = || InstrumentError::OutOfRange { symbol: self.symbol.clone(), value };
        let count = value.checked_div(step).ok_or_else(out_of_range)?;
        if count.trunc().checked_mul(step) != Some(value) {
            return Err(InstrumentError::OffStep { symbol: self.symbol.clone(), value, step });
        }
        count.trunc().to_i64().filter(|steps| steps.abs() <= STEPS_MAX).ok_or_else(out_of_range)
    }
}

/// The instruments of one agent; the position of each is its [`InstrumentId`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Instruments(Vec<Instrument>);

impl Instruments {
    /// A table of checked instruments.
    ///
    /// # Errors
    /// The first instrument that does not pass [`Instrument::check`].
    pub fn new(instruments: Vec<Instrument>) -> Result<Self, InstrumentError> {
        instruments.iter().try_for_each(Instrument::check)?;
        Ok(Self(instruments))
    }

    /// The instrument with this id.
    pub fn get(&self, id: InstrumentId) -> Option<&Instrument> {
        self.0.get(usize::try_from(id.0).ok()?)
    }

    /// The id of a symbol.
    pub fn find(&self, symbol: &str) -> Option<InstrumentId> {
        let position = self.0.iter().position(|instrument| instrument.symbol == symbol)?;
        u32::try_from(position).ok().map(InstrumentId)
    }

    /// Every instrument with its id.
    pub fn iter(&self) -> impl Iterator<Item = (InstrumentId, &Instrument)> {
        (0_u32..).map(InstrumentId).zip(&self.0)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
