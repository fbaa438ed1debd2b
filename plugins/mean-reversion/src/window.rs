//! The last prices and their mean and deviation.

use ringfence_sdk::prelude::*;
use std::collections::VecDeque;

/// Half ticks beyond which the exact sums of the longest window would not fit 127 bits. No market is there.
const PRICE_MAX: i64 = 1 << 50;

/// Prices are counted in half ticks, in which the middle of a quote is a whole number. The sums are exact, so
/// a price leaves them as it entered and no error gathers.
pub(crate) struct Window {
    length: usize,
    prices: VecDeque<i64>,
    sum: i128,
    sum_of_squares: i128,
}

impl Window {
    /// Room for `length` prices.
    pub(crate) fn new(length: u32) -> Self {
        let length = length as usize;
        Self { length, prices: VecDeque::with_capacity(length), sum: 0, sum_of_squares: 0 }
    }

    /// The price of a tick in half ticks: the last trade, or the middle of the quote.
    pub(crate) fn price_of(tick: &Tick) -> Option<i64> {
        let price = match (tick.last(), tick.bid(), tick.ask()) {
            (Some(last), ..) => last.0.checked_mul(2),
            (None, Some(bid), Some(ask)) => bid.0.checked_add(ask.0),
            _ => None,
        };
        price.filter(|price| *price < PRICE_MAX)
    }

    /// Takes in a price; the oldest leaves when there is no room.
    pub(crate) fn push(&mut self, price: i64) {
        if self.prices.len() == self.length
            && let Some(oldest) = self.prices.pop_front()
        {
            self.sum -= i128::from(oldest);
            self.sum_of_squares -= i128::from(oldest) * i128::from(oldest);
        }
        self.prices.push_back(price);
        self.sum += i128::from(price);
        self.sum_of_squares += i128::from(price) * i128::from(price);
    }

    /// How many standard deviations the newest price is above the mean; `None` until the window is full and
    /// as long as all prices in it are the same.
    pub(crate) fn deviation(&self) -> Option<f64> {
        let newest = self.prices.back().filter(|_| self.prices.len() == self.length)?;
        let count = self.length as i128;
        // count^2 * variance, exact: the difference of two large numbers is where f64 would lose everything.
        let spread = count * self.sum_of_squares - self.sum * self.sum;
        let distance = count * i128::from(*newest) - self.sum;
        (spread > 0).then(|| distance as f64 / (spread as f64).sqrt())
    }

    pub(crate) fn save(&self, state: &mut StateWriter) {
        state.u32(u32::try_from(self.prices.len()).unwrap_or(0));
        for price in &self.prices {
            state.i64(*price);
        }
    }

    /// Takes over saved prices, the newest of them when the window is shorter now.
    pub(crate) fn load(&mut self, state: &mut StateReader<'_>) -> Result<(), Fault> {
        *self = Self { prices: VecDeque::with_capacity(self.length), sum: 0, sum_of_squares: 0, ..*self };
        for _ in 0..state.count(8)? {
            let price = state.i64()?;
            if !(1..PRICE_MAX).contains(&price) {
                let words = format!("expected a price of 1 to {PRICE_MAX} half ticks, found {price}");
                return Err(Fault::IncompatibleState(words));
            }
            self.push(price);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(prices: &[i64]) -> Window {
        let mut window = Window::new(4);
        prices.iter().for_each(|price| window.push(*price));
        window
    }

    #[test]
    fn deviation_is_that_of_the_window_only() {
        // 2, 4, 4, 6: mean 4, variance 2.
        let deviation = filled(&[1_000_000, -5, 2, 4, 4, 6]).deviation().unwrap();
        assert!((deviation - 2.0_f64.sqrt()).abs() < 1e-15, "{deviation}");
    }

    #[test]
    fn a_window_that_is_not_full_or_does_not_move_has_no_deviation() {
        assert_eq!(filled(&[1, 2, 3]).deviation(), None);
        assert_eq!(filled(&[7, 7, 7, 7]).deviation(), None);
    }

    #[test]
    fn prices_that_no_sum_can_hold_are_left_out_and_refused_in_state() {
        let tick = |last| Tick { last_price: PriceTicks(last), ..Tick::default() };
        assert_eq!(Window::price_of(&tick(i64::MAX)), None);
        assert_eq!(Window::price_of(&tick(PRICE_MAX)), None);
        let mut longest = Window::new(5_000);
        (0..5_000).for_each(|_| longest.push(PRICE_MAX - 1));
        longest.push(1);
        assert!(longest.deviation().is_some_and(|deviation| deviation < -70.0));
        let state = StateWriter::new().u32(1).i64(PRICE_MAX).finish();
        assert!(Window::new(4).load(&mut StateReader::new(&state)).is_err());
    }

    #[test]
    fn a_million_large_prices_leave_no_error_behind() {
        let large = |i: i64| (1 << 40) + i * 7_919 % 1_000_003;
        let mut window = Window::new(4);
        (0..1_000_000).for_each(|i| window.push(large(i)));
        let fresh: Vec<_> = (999_996..1_000_000).map(large).collect();
        assert_eq!(window.deviation(), filled(&fresh).deviation());
    }
}
