//! Buys when the fast moving average of the price crosses above the slow one, sells when it crosses below.
//!
//! The averages are exponential: `e = k * p + (1 - k) * e` with `k = 2 / (n + 1)`, in f64, starting at the
//! first price. A crossing at the price number `slow` or later gives one market order of `quantity` lots.
//! The price is the last trade, or the middle of the quote when a tick carries no trade.

use ringfence_sdk::prelude::*;

/// The strategy.
pub struct EmaCross {
    fast: Period,
    slow: Period,
    quantity: Lots,
    instruments: Vec<(Instrument, Averages)>,
}

/// A number of prices and the weight that it gives to a new one.
#[derive(Clone, Copy)]
struct Period {
    prices: u32,
    weight: f64,
}

/// What is remembered of one instrument.
#[derive(Clone, Copy, Default)]
struct Averages {
    count: u64,
    fast: f64,
    slow: f64,
    above: bool,
}

impl Period {
    fn of(prices: u32) -> Self {
        Self { prices, weight: 2.0 / (f64::from(prices) + 1.0) }
    }

    fn average(self, price: f64, before: f64) -> f64 {
        self.weight * price + (1.0 - self.weight) * before
    }
}

impl Averages {
    /// Takes in one price and says which way the averages crossed, if they did.
    fn update(&mut self, price: f64, fast: Period, slow: Period) -> Option<Side> {
        if self.count == 0 {
            (self.fast, self.slow) = (price, price);
        } else {
            (self.fast, self.slow) = (fast.average(price, self.fast), slow.average(price, self.slow));
        }
        self.count = self.count.saturating_add(1);
        let above = self.fast > self.slow;
        let crossed = self.count >= u64::from(slow.prices) && above != self.above;
        self.above = above;
        crossed.then_some(if above { Side::Buy } else { Side::Sell })
    }
}

impl Strategy for EmaCross {
    fn describe() -> Description {
        Description::new(
            "ema-cross",
            env!("CARGO_PKG_VERSION"),
            "a market order at each crossing of two averages",
        )
        .setting(Setting::integer("fast", 1..=100_000).default(10).about("prices of the fast average"))
        .setting(Setting::integer("slow", 2..=100_000).default(20).about("prices of the slow average"))
        .setting(Setting::integer("quantity", 1..=1_000_000_000).default(1).about("lots of each order"))
        .instruments(1..=64)
        .state(1..=1)
    }

    fn init(session: &Session) -> Result<Self, Fault> {
        let (fast, slow) = (session.settings.count("fast")?, session.settings.count("slow")?);
        if fast >= slow {
            let words = format!("expected fast below slow, found fast {fast} and slow {slow}");
            return Err(Fault::InvalidSettings(words));
        }
        Ok(Self {
            fast: Period::of(fast),
            slow: Period::of(slow),
            quantity: session.settings.lots("quantity")?,
            instruments: session.instruments.iter().map(|i| (i.clone(), Averages::default())).collect(),
        })
    }

    fn on_tick(&mut self, tick: &Tick, _: &Context, intents: &mut Intents) -> Result<(), Fault> {
        let Some((instrument, averages)) = self.instruments.get_mut(tick.instrument.0 as usize) else {
            return Err(Fault::Internal(format!("a tick of an unknown instrument, {}", tick.instrument.0)));
        };
        let Some(price) = instrument.last_or_middle_f64(tick) else { return Ok(()) };
        if let Some(side) = averages.update(price, self.fast, self.slow) {
            intents.submit(Order::market(tick.instrument, side, self.quantity));
        }
        Ok(())
    }

    fn save(&self) -> Result<Vec<u8>, Fault> {
        let mut state = StateWriter::new();
        state
            .u32(self.fast.prices)
            .u32(self.slow.prices)
            .u32(u32::try_from(self.instruments.len()).unwrap_or(0));
        for (_, averages) in &self.instruments {
            state.u64(averages.count).f64(averages.fast).f64(averages.slow).bool(averages.above);
        }
        Ok(state.finish())
    }

    fn load(&mut self, _: u32, data: &[u8]) -> Result<(), Fault> {
        let mut state = StateReader::new(data);
        let (fast, slow) = (state.u32()?, state.u32()?);
        if (fast, slow) != (self.fast.prices, self.slow.prices) {
            // Averages of other lengths would be wrong for a long time; fresh ones are right after `slow` prices.
            ringfence_sdk::info!("averages start anew: saved ones are of {fast} and {slow} prices");
            return Ok(());
        }
        let count = state.count(25)?;
        if count != self.instruments.len() {
            let words = format!("expected {} instruments, found {count}", self.instruments.len());
            return Err(Fault::IncompatibleState(words));
        }
        for (_, averages) in &mut self.instruments {
            *averages = Averages {
                count: state.u64()?,
                fast: state.f64()?,
                slow: state.f64()?,
                above: state.bool()?,
            };
        }
        state.finish()
    }
}

ringfence_sdk::export!(EmaCross);

#[cfg(test)]
mod tests;
