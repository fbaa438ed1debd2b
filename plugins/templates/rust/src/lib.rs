//! Buys when the price makes a new high, sells when it has fallen back from the high by `drop` ticks.

use ringfence_sdk::prelude::*;

/// The strategy. Its fields live as long as the instance; `save` and `load` carry them over a restart or a swap.
pub struct NewHigh {
    quantity: Lots,
    drop: i64,
    high: Option<PriceTicks>,
}

impl Strategy for NewHigh {
    fn describe() -> Description {
        Description::new("@NAME@", env!("CARGO_PKG_VERSION"), "buys new highs, sells when they fade")
            .setting(Setting::integer("quantity", 1..=1_000).default(1).about("lots of each order"))
            .setting(Setting::integer("drop", 1..=100_000).default(50).about("ticks below the high to sell at"))
            .state(1..=1)
    }

    fn init(session: &Session) -> Result<Self, Fault> {
        let settings = &session.settings;
        Ok(Self { quantity: settings.lots("quantity")?, drop: settings.integer("drop")?, high: None })
    }

    fn on_tick(&mut self, tick: &Tick, context: &Context, intents: &mut Intents) -> Result<(), Fault> {
        let Some(price) = tick.last() else { return Ok(()) };
        let high = self.high.unwrap_or(price);
        self.high = Some(high.max(price));
        if context.open_orders > 0 {
            return Ok(());
        }
        if context.position.is_zero() && price > high {
            intents.submit(Order::market(tick.instrument, Side::Buy, self.quantity));
        } else if context.position > Lots::ZERO && price.distance(high) <= -self.drop {
            intents.submit(Order::market(tick.instrument, Side::Sell, context.position).reduce_only());
        }
        Ok(())
    }

    fn save(&self) -> Result<Vec<u8>, Fault> {
        let mut state = StateWriter::new();
        state.bool(self.high.is_some()).i64(self.high.map_or(0, |high| high.0));
        Ok(state.finish())
    }

    fn load(&mut self, _schema: u32, data: &[u8]) -> Result<(), Fault> {
        let mut state = StateReader::new(data);
        let (known, high) = (state.bool()?, state.i64()?);
        state.finish()?;
        self.high = known.then_some(PriceTicks(high));
        Ok(())
    }
}

ringfence_sdk::export!(NewHigh);

#[cfg(test)]
mod tests;
