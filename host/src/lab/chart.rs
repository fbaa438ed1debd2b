//! What a report draws, thinned so that it never holds more than a screen can show.

use super::venue::Execution;
use crate::market::{InstrumentId, UnixNanos};
use crate::orders::Mode;

/// Points in order, of which every so many is kept.
#[derive(Clone, Debug)]
pub struct Thinned<T> {
    points: Vec<T>,
    stride: u64,
    seen: u64,
}

impl<T> Default for Thinned<T> {
    fn default() -> Self {
        Self { points: Vec::new(), stride: 1, seen: 0 }
    }
}

impl<T> Thinned<T> {
    /// More points than this are thinned to half of them.
    pub const POINTS_MAX: usize = 4_096;

    /// Whether the next point is kept.
    pub const fn wants(&self) -> bool {
        self.seen.is_multiple_of(self.stride)
    }

    /// How many points after the next one that is kept are not.
    pub const fn skips(&self) -> u64 {
        match self.seen % self.stride {
            0 => 0,
            beyond => self.stride - beyond,
        }
    }

    /// Counts points that are not kept.
    pub const fn skip(&mut self, points: u64) {
        self.seen += points;
    }

    /// Takes a point.
    pub fn push(&mut self, point: T) {
        if self.wants() {
            if self.points.len() >= Self::POINTS_MAX {
                let mut keep = false;
                self.points.retain(|_| {
                    keep = !keep;
                    keep
                });
                self.stride *= 2;
            }
            if self.wants() {
                self.points.push(point);
            }
        }
        self.seen += 1;
    }

    /// The points that were kept, oldest first.
    pub fn points(&self) -> &[T] {
        &self.points
    }

    /// How many there were.
    pub const fn seen(&self) -> u64 {
        self.seen
    }
}

/// Equity at a moment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EquityPoint {
    /// When.
    pub at: UnixNanos,
    /// How much.
    pub equity: f64,
    /// Share of the peak that is lost.
    pub drawdown: f64,
    /// Fuel of the most expensive update since the point before.
    pub fuel: u64,
}

/// A price at a moment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PricePoint {
    /// When.
    pub at: UnixNanos,
    /// What it was.
    pub price: f64,
}

/// What is drawn of a run.
#[derive(Clone, Debug, Default)]
pub struct Charts {
    /// Equity, drawdown and fuel.
    pub equity: Thinned<EquityPoint>,
    /// Prices by instrument.
    pub prices: Vec<Thinned<PricePoint>>,
    /// What was executed.
    pub executions: Thinned<Execution>,
    /// Every change of mode, at most [`Charts::MODES_MAX`].
    pub modes: Vec<(UnixNanos, Mode)>,
}

impl Charts {
    /// More changes than this nobody reads.
    pub const MODES_MAX: usize = 1_024;

    pub(super) fn new(instruments: usize) -> Self {
        Self { prices: vec![Thinned::default(); instruments], ..Self::default() }
    }

    pub(super) fn price_of(&mut self, instrument: InstrumentId) -> Option<&mut Thinned<PricePoint>> {
        self.prices.get_mut(usize::try_from(instrument.0).ok()?)
    }

    pub(super) fn mode(&mut self, at: UnixNanos, mode: Mode) {
        if self.modes.last().is_none_or(|(_, last)| *last != mode) && self.modes.len() < Self::MODES_MAX {
            self.modes.push((at, mode));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_kept_is_evenly_spread_and_bounded(count in 0_u64..100_000) {
            let mut thinned = Thinned::default();
            (0..count).for_each(|point| thinned.push(point));
            let points = thinned.points();
            prop_assert!(points.len() <= Thinned::<u64>::POINTS_MAX);
            prop_assert!(points.iter().zip(0_u64..).all(|(point, index)| *point == index * thinned.stride), "{:?}", thinned.stride);
            prop_assert_eq!(thinned.seen(), count);
        }
    }
}
