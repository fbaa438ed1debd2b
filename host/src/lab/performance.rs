//! What came of a run in money: returns, risk and round trips. Statistics, so binary fractions are good enough.

use super::venue::Execution;
use crate::market::{Instruments, UnixNanos};
use crate::orders::Side;
use rust_decimal::prelude::ToPrimitive;
use serde::Serialize;

const SECOND: u64 = 1_000_000_000;
const YEAR_SECONDS: f64 = 365.25 * 86_400.0;

/// Fewer returns than this say nothing about their spread.
pub const PERIODS_MIN: u64 = 30;

/// Lengths over which returns are measured, longest first: the longest that gives enough of them is taken.
const PERIODS: [(&str, u64); 3] =
    [("day", 86_400 * SECOND), ("hour", 3_600 * SECOND), ("minute", 60 * SECOND)];

/// Results in money.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Results {
    /// What the account gained, as a share of the cash at the start.
    pub total_return: f64,
    /// Mean return over its standard deviation, times the square root of the periods a year; `None` for fewer
    /// than 30 periods. The interest on cash is taken for zero.
    pub sharpe: Option<f64>,
    /// The same over the deviation of the losses alone.
    pub sortino: Option<f64>,
    /// The period of both.
    pub period: Option<&'static str>,
    /// How many there were.
    pub periods: u64,
    /// Round trips: from flat to flat, or through zero.
    pub trades: u64,
    /// Share of them that gained, fees included; `None` without any.
    pub win_rate: Option<f64>,
    /// What the winners gained over what the losers lost; `None` when none lost.
    pub profit_factor: Option<f64>,
    /// Share of the time in which something was held.
    pub exposure: f64,
    /// Value of everything bought and sold, in multiples of the cash at the start.
    pub turnover: f64,
}

/// Returns over periods of one length.
#[derive(Clone, Copy, Debug)]
struct Returns {
    length: u64,
    /// The period that the last moment belongs to.
    current: u64,
    before: f64,
    count: u64,
    sum: f64,
    squares: f64,
    losses: f64,
}

impl Returns {
    fn note(&mut self, equity: f64) {
        if self.before > 0.0 {
            let gain = equity / self.before - 1.0;
            self.count += 1;
            self.sum += gain;
            self.squares += gain * gain;
            self.losses += gain.min(0.0).powi(2);
        }
        self.before = equity;
    }
}

/// A position from its opening on.
#[derive(Clone, Copy, Debug, Default)]
struct Trip {
    /// Signed units.
    held: f64,
    /// What they cost, without fees.
    cost: f64,
    /// Gained so far, fees included.
    gained: f64,
}

/// Collects what the results are made of.
#[derive(Debug)]
pub(super) struct Performance {
    cash: f64,
    periods: [Returns; 3],
    /// The next moment at which a period ends.
    next: u64,
    trips: Vec<Trip>,
    trades: u64,
    wins: u64,
    won: f64,
    lost: f64,
    traded: f64,
    first: Option<UnixNanos>,
    last: UnixNanos,
    held_ns: u64,
}

impl Performance {
    pub fn new(cash: f64, instruments: usize) -> Self {
        let returns = |(_, length): (&str, u64)| Returns {
            length,
            current: 0,
            before: cash,
            count: 0,
            sum: 0.0,
            squares: 0.0,
            losses: 0.0,
        };
        Self {
            cash,
            periods: PERIODS.map(returns),
            next: 0,
            trips: vec![Trip::default(); instruments],
            trades: 0,
            wins: 0,
            won: 0.0,
            lost: 0.0,
            traded: 0.0,
            first: None,
            last: UnixNanos(0),
            held_ns: 0,
        }
    }

    /// The moment at which equity is wanted next: when the data comes to it, before it is acted on.
    pub const fn wants_at(&self) -> u64 {
        self.next
    }

    /// The data has come to a moment; `held` says whether something was held up to it.
    #[inline]
    pub fn pass(&mut self, at: UnixNanos, held: bool) {
        if self.first.is_none() {
            self.first = Some(at);
            self.last = at;
        }
        if held {
            self.held_ns = self.held_ns.saturating_add(at.0.saturating_sub(self.last.0));
        }
        self.last = self.last.max(at);
    }

    /// Equity as of the last moment before this one, which begins another period.
    pub fn close_periods(&mut self, at: UnixNanos, equity: Option<f64>) {
        let mut next = u64::MAX;
        for period in &mut self.periods {
            let current = at.0 / period.length;
            if current != period.current {
                if period.current != 0
                    && let Some(equity) = equity
                {
                    period.note(equity);
                }
                period.current = current;
            }
            next = next.min((period.current + 1).saturating_mul(period.length));
        }
        self.next = next;
    }

    pub fn execute(&mut self, instruments: &Instruments, execution: &Execution) {
        let Some(terms) = instruments.get(execution.instrument) else { return };
        let number =
            |value: Option<rust_decimal::Decimal>| value.and_then(|value| value.to_f64()).unwrap_or(0.0);
        let multiplier = number(Some(terms.multiplier));
        let units = number(terms.quantity(execution.quantity)) * multiplier;
        let signed = if execution.side == Side::Buy { units } else { -units };
        let price = number(terms.price(execution.price));
        let fee = number(Some(execution.fee.decimal()));
        self.traded += units * price;
        let index = usize::try_from(execution.instrument.0).unwrap_or(usize::MAX);
        let Some(trip) = self.trips.get_mut(index) else { return };
        let against = trip.held * signed < 0.0;
        let closed = if against { trip.held.abs().min(units) } else { 0.0 };
        let share = if units > 0.0 { closed / units } else { 0.0 };
        if closed > 0.0 {
            let average = trip.cost / trip.held;
            trip.gained += (price - average) * closed * trip.held.signum() - fee * share;
            trip.cost -= average * closed * trip.held.signum();
            trip.held += closed * signed.signum();
            // What a sum of binary fractions leaves of nothing.
            if trip.held.abs() < 1e-9 * units.max(closed) {
                let gained = trip.gained;
                *trip = Trip::default();
                self.trades += 1;
                if gained > 0.0 {
                    self.wins += 1;
                    self.won += gained;
                } else {
                    self.lost -= gained;
                }
            }
        }
        let opened = units - closed;
        if opened > 1e-9 * units {
            trip.held += opened * signed.signum();
            trip.cost += opened * signed.signum() * price;
            trip.gained -= fee * (1.0 - share);
        }
    }

    /// The results, with equity at the end.
    pub fn results(&self, equity: Option<f64>) -> Results {
        let mut periods = self.periods;
        for period in &mut periods {
            if let Some(equity) = equity {
                period.note(equity);
            }
        }
        let first = self.first.unwrap_or_default();
        let span = self.last.0.saturating_sub(first.0) as f64 / SECOND as f64;
        let chosen = periods.iter().zip(PERIODS).find(|(returns, _)| returns.count >= PERIODS_MIN);
        let ratio = |spread: fn(&Returns) -> f64| {
            let (returns, _) = chosen?;
            let count = returns.count as f64;
            let deviation = spread(returns).max(0.0).sqrt();
            let a_year = if span > 0.0 { count * YEAR_SECONDS / span } else { 0.0 };
            (deviation > 0.0).then(|| returns.sum / count / deviation * a_year.sqrt())
        };
        let share = |part: f64, whole: f64| if whole > 0.0 { part / whole } else { 0.0 };
        Results {
            total_return: equity.map_or(0.0, |equity| share(equity - self.cash, self.cash)),
            sharpe: ratio(|returns| {
                let count = returns.count as f64;
                (returns.squares - returns.sum * returns.sum / count) / (count - 1.0)
            }),
            sortino: ratio(|returns| returns.losses / returns.count as f64),
            period: chosen.map(|(_, (name, _))| name),
            periods: chosen.map_or(0, |(returns, _)| returns.count),
            trades: self.trades,
            win_rate: (self.trades > 0).then(|| self.wins as f64 / self.trades as f64),
            profit_factor: (self.lost > 0.0).then(|| self.won / self.lost),
            exposure: share(self.held_ns as f64 / SECOND as f64, span),
            turnover: share(self.traded, self.cash),
        }
    }

    pub const fn first(&self) -> Option<UnixNanos> {
        self.first
    }

    pub const fn last(&self) -> UnixNanos {
        self.last
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::exchange::tests::{ID, instruments};
    use crate::market::{Lots, Money, PriceTicks};
    use rust_decimal::Decimal;

    fn execution(side: Side, lots: i64, ticks: i64, fee: i64) -> Execution {
        Execution {
            at: UnixNanos(0),
            instrument: ID,
            side,
            quantity: Lots(lots),
            price: PriceTicks(ticks),
            fee: Money::new(Decimal::from(fee)),
            maker: false,
        }
    }

    fn near(found: f64, expected: f64) {
        assert!((found - expected).abs() < 1e-9, "{found} instead of {expected}");
    }

    #[test]
    fn a_trip_ends_flat_or_through_zero_and_fees_count() {
        let mut run = Performance::new(1_000.0, 1);
        for (side, lots, ticks, fee) in [
            (Side::Buy, 10, 1_000, 1),
            (Side::Buy, 10, 1_200, 1),
            // 20 at 11.00 on average: gains 20, less 2 in, less half of the fee out.
            (Side::Sell, 40, 1_200, 2),
            // 20 short at 12.00: loses 20, less half of the fee in and all out.
            (Side::Buy, 20, 1_300, 4),
        ] {
            run.execute(&instruments(), &execution(side, lots, ticks, fee));
        }
        let results = run.results(Some(1_000.0));
        assert_eq!((results.trades, results.win_rate), (2, Some(0.5)));
        near(results.profit_factor.unwrap(), 17.0 / 25.0);
        near(results.turnover, (100.0 + 120.0 + 480.0 + 260.0) / 1_000.0);
    }

    #[test]
    fn the_longest_period_with_enough_returns_is_taken_and_fewer_say_nothing() {
        let minute = 60 * SECOND;
        let mut run = Performance::new(100.0, 1);
        let start = 20_000 * 86_400 * SECOND;
        for step in 0..40 {
            let at = UnixNanos(start + step * minute);
            if at.0 >= run.wants_at() {
                run.close_periods(at, Some(100.0 + (step % 2) as f64));
            }
            run.pass(at, step % 2 == 0);
        }
        let results = run.results(Some(101.0));
        assert_eq!((results.period, results.periods), (Some("minute"), 40));
        assert!(results.sharpe.unwrap() > 0.0 && results.sortino.unwrap() > results.sharpe.unwrap());
        near(results.exposure, 19.0 / 39.0);
        assert_eq!(Performance::new(100.0, 1).results(Some(100.0)).sharpe, None);
    }
}
