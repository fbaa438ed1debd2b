//! The numbers of a row in the instrument's own steps.

use super::FeedError;
use super::rows::Cell;
use crate::market::decimal::{NumberFault, StepSize};
use crate::market::{Excerpt, FaultKind, Field, Instrument, Lots, OffStep};
use rust_decimal::Decimal;
use std::sync::Arc;

/// A step of the instrument: for counting, and for messages.
#[derive(Clone, Copy, Debug)]
struct Step {
    size: StepSize,
    decimal: Decimal,
}

/// How numbers of one instrument are counted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Steps {
    price: Step,
    lots: Step,
    off_step: OffStep,
}

impl Steps {
    /// The steps of an instrument; `name` is the file that is read, for messages.
    pub fn of(name: &Arc<str>, instrument: &Instrument, off_step: OffStep) -> Result<Self, FeedError> {
        let step = |field, found| {
            let size = StepSize::new(found).ok_or_else(|| FeedError::Step {
                source_name: Arc::clone(name),
                symbol: instrument.symbol.clone(),
                field,
                found,
            })?;
            Ok::<_, FeedError>(Step { size, decimal: found })
        };
        let (price, lots) =
            (step("tick_size", instrument.tick_size)?, step("lot_size", instrument.lot_size)?);
        Ok(Self { price, lots, off_step })
    }

    /// A price, not below zero.
    #[inline]
    pub fn price(&self, field: Field, cell: &impl Cell) -> Result<i64, FaultKind> {
        self.count(field, cell, self.price)
    }

    /// A quantity, not below zero.
    #[inline]
    pub fn lots(&self, field: Field, cell: &impl Cell) -> Result<Lots, FaultKind> {
        self.count(field, cell, self.lots).map(Lots)
    }

    #[inline]
    fn count(&self, field: Field, cell: &impl Cell, step: Step) -> Result<i64, FaultKind> {
        match cell.count(step.size, self.off_step) {
            Ok(steps) if steps >= 0 => Ok(steps),
            outcome => Err(number_fault(field, &cell.text(), step.decimal, outcome.err())),
        }
    }
}

/// What is wrong with a number; `None` stands for one below zero.
#[cold]
fn number_fault(field: Field, text: &[u8], step: Decimal, fault: Option<NumberFault>) -> FaultKind {
    let found = Excerpt::new(text);
    match fault {
        None => FaultKind::Negative { field, found },
        Some(NumberFault::Empty) => FaultKind::MissingField { field },
        Some(NumberFault::NotANumber) => quoted_or(text, || FaultKind::NotANumber { field, found }),
        Some(NumberFault::Infinite) => FaultKind::Infinite { field, found },
        Some(NumberFault::OffStep) => FaultKind::OffStep { field, found, step },
        Some(NumberFault::OutOfRange) => FaultKind::OutOfRange { field, found },
    }
}

pub(super) fn quoted_or(text: &[u8], otherwise: impl FnOnce() -> FaultKind) -> FaultKind {
    if text.contains(&b'"') { FaultKind::Quoted } else { otherwise() }
}
