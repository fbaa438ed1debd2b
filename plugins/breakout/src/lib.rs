//! Buys when a bar of a minute closes above the range of the bars before it, and sells out when one closes
//! below that range.

use ringfence_sdk::prelude::*;
use std::collections::VecDeque;

/// The strategy.
pub struct Breakout {
    quantity: Lots,
    bars: usize,
    /// Highest and lowest price of each of the last bars, oldest first.
    range: VecDeque<(PriceTicks, PriceTicks)>,
}

impl Breakout {
    /// Where the close of a bar breaks out of the bars before it; nowhere until there are enough of them.
    fn breaks(&self, close: PriceTicks) -> Option<Side> {
        let enough = self.range.len() >= self.bars;
        let high = self.range.iter().map(|(high, _)| *high).max().filter(|_| enough)?;
        let low = self.range.iter().map(|(_, low)| *low).min()?;
        if close > high { Some(Side::Buy) } else { (close < low).then_some(Side::Sell) }
    }
}

impl Strategy for Breakout {
    fn describe() -> Description {
        Description::new(
            "breakout",
            env!("CARGO_PKG_VERSION"),
            "buys closes above a range of bars, sells below",
        )
        .setting(Setting::integer("bars", 1..=1_000).default(20).about("bars of the range"))
        .setting(Setting::integer("quantity", 1..=1_000_000_000).default(1).about("lots of each order"))
        .trades_only()
        .bars(60)
        .state(1..=1)
    }

    fn init(session: &Session) -> Result<Self, Fault> {
        let bars = usize::try_from(session.settings.count("bars")?).unwrap_or(usize::MAX);
        Ok(Self { quantity: session.settings.lots("quantity")?, bars, range: VecDeque::new() })
    }

    fn on_tick(&mut self, _: &Tick, _: &Context, _: &mut Intents) -> Result<(), Fault> {
        Ok(())
    }

    fn on_bar(&mut self, bar: &Bar, context: &Context, intents: &mut Intents) -> Result<(), Fault> {
        let breaks = self.breaks(bar.close).filter(|_| context.open_orders == 0);
        self.range.push_back((bar.high, bar.low));
        if self.range.len() > self.bars {
            self.range.pop_front();
        }
        match breaks {
            Some(Side::Buy) if context.position.is_zero() => {
                intents.submit(Order::market(bar.instrument, Side::Buy, self.quantity));
            }
            Some(Side::Sell) if context.position > Lots::ZERO => {
                intents.submit(Order::market(bar.instrument, Side::Sell, context.position).reduce_only());
            }
            _ => {}
        }
        Ok(())
    }

    fn save(&self) -> Result<Vec<u8>, Fault> {
        let mut state = StateWriter::new();
        state.u32(u32::try_from(self.range.len()).unwrap_or(u32::MAX));
        for (high, low) in &self.range {
            state.i64(high.0).i64(low.0);
        }
        Ok(state.finish())
    }

    fn load(&mut self, _: u32, data: &[u8]) -> Result<(), Fault> {
        let mut state = StateReader::new(data);
        let count = state.count(16)?;
        let mut range = VecDeque::with_capacity(count);
        for _ in 0..count {
            range.push_back((PriceTicks(state.i64()?), PriceTicks(state.i64()?)));
        }
        // A range that is shorter now is that of the newest bars.
        range.drain(..range.len().saturating_sub(self.bars));
        self.range = range;
        state.finish()
    }
}

ringfence_sdk::export!(Breakout);

#[cfg(test)]
mod tests;
