//! Bets on a return to the mean: bids when the price is far below its average, offers when it is far above,
//! and closes when it is back.
//!
//! Average and standard deviation are those of the last `window` prices, kept as exact integer sums, so that
//! nothing drifts however long it runs. It has at most one order out at a time, a limit order that it takes
//! back after `timeout` ticks, and its position never exceeds `quantity` lots either way.

use ringfence_sdk::prelude::*;

mod window;
use window::Window;

/// What an order was sent for; returned in reports as its tag.
const TAG_ENTRY: u32 = 1;
const TAG_EXIT: u32 = 2;

/// The strategy.
pub struct MeanReversion {
    instrument: Instrument,
    band: f64,
    quantity: Lots,
    timeout: u32,
    window: Window,
    order: OrderState,
    /// Ticks to wait after a refusal, so that a venue that says no is not asked at every tick.
    pause: u32,
}

/// The one order that may be out, with the ticks since its last step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum OrderState {
    None,
    Working { id: OrderId, age: u32 },
    Cancelling { id: OrderId, age: u32 },
}

impl MeanReversion {
    /// The order to send at this price, if any: back to flat beyond the mean, away from it outside the band.
    fn wanted(&self, tick: &Tick, context: &Context) -> Option<Order> {
        let deviation = self.window.deviation()?;
        if !context.position.is_zero() {
            let side = if context.position > Lots::ZERO { Side::Sell } else { Side::Buy };
            let reverted = if side == Side::Sell { deviation >= 0.0 } else { deviation <= 0.0 };
            let price = price_for(side, tick)?;
            let order = Order::limit(&self.instrument, side, context.position, price);
            return reverted.then_some(order.reduce_only().tag(TAG_EXIT));
        }
        let side = if deviation <= -self.band {
            Side::Buy
        } else if deviation >= self.band {
            Side::Sell
        } else {
            return None;
        };
        let price = price_for(side, tick)?;
        Some(Order::limit(&self.instrument, side, self.quantity, price).tag(TAG_ENTRY))
    }

    /// Ages the order that is out; says whether it is time to take it back.
    fn age_order(&mut self, context: &Context) -> Option<OrderId> {
        match &mut self.order {
            OrderState::None => None,
            OrderState::Working { id, age } => {
                *age = age.saturating_add(1);
                let id = *id;
                if *age < self.timeout {
                    return None;
                }
                self.order = OrderState::Cancelling { id, age: 0 };
                Some(id)
            }
            OrderState::Cancelling { age, .. } => {
                *age = age.saturating_add(1);
                // News of its end can be lost with a restart; the host's books then say that it is gone.
                if *age >= self.timeout && context.open_orders == 0 {
                    self.order = OrderState::None;
                }
                None
            }
        }
    }

    fn is_out(&self, id: OrderId) -> bool {
        match self.order {
            OrderState::None => false,
            OrderState::Working { id: out, .. } | OrderState::Cancelling { id: out, .. } => out == id,
        }
    }
}

/// A price that waits for the market rather than chase it: the near side of the quote, or the last trade.
fn price_for(side: Side, tick: &Tick) -> Option<PriceTicks> {
    match side {
        Side::Buy => tick.bid().or(tick.last()),
        Side::Sell => tick.ask().or(tick.last()),
    }
}

impl Strategy for MeanReversion {
    fn describe() -> Description {
        Description::new(
            "mean-reversion",
            env!("CARGO_PKG_VERSION"),
            "limit orders against moves away from the mean",
        )
        .setting(Setting::integer("window", 5..=5_000).default(50).about("prices that make up the mean"))
        .setting(
            Setting::real("band", 0.1..=20.0)
                .default(2.0)
                .about("standard deviations from the mean to enter at"),
        )
        .setting(
            Setting::integer("quantity", 1..=1_000_000_000)
                .default(1)
                .about("lots of an entry, and the largest position"),
        )
        .setting(
            Setting::integer("timeout", 1..=1_000_000)
                .default(20)
                .about("ticks until a resting order is taken back"),
        )
        .state(1..=1)
    }

    fn init(session: &Session) -> Result<Self, Fault> {
        let settings = &session.settings;
        let instrument = session.instrument()?.clone();
        let quantity = settings.lots("quantity")?;
        if quantity < instrument.min_lots || quantity > instrument.max_lots {
            return Err(Fault::InvalidSettings(format!(
                "quantity: {} trades {} to {} lots an order, found {}",
                instrument.symbol, instrument.min_lots.0, instrument.max_lots.0, quantity.0
            )));
        }
        Ok(Self {
            instrument,
            band: settings.real("band")?,
            quantity,
            timeout: settings.count("timeout")?,
            window: Window::new(settings.count("window")?),
            order: OrderState::None,
            pause: 0,
        })
    }

    fn on_tick(&mut self, tick: &Tick, context: &Context, intents: &mut Intents) -> Result<(), Fault> {
        let Some(price) = Window::price_of(tick) else { return Ok(()) };
        self.window.push(price);
        self.pause = self.pause.saturating_sub(1);
        if let Some(id) = self.age_order(context) {
            intents.cancel(id);
        }
        // The books count orders that an earlier instance left behind, which this one knows nothing of.
        let free = self.order == OrderState::None && context.open_orders == 0 && self.pause == 0;
        if !free || intents.left() == 0 {
            return Ok(());
        }
        if let Some(order) = self.wanted(tick, context) {
            let allowed = match context.mode {
                Mode::Full => true,
                Mode::ReadOnly => order.reduce_only,
                Mode::Observation | Mode::Shutdown => false,
            };
            if allowed {
                self.order = OrderState::Working { id: intents.submit(order), age: 0 };
            }
        }
        Ok(())
    }

    fn on_event(&mut self, event: &Event, context: &Context, _: &mut Intents) -> Result<(), Fault> {
        if !event.order().is_some_and(|id| self.is_out(id)) {
            return Ok(());
        }
        match event {
            Event::Filled(fill) if fill.leaves.is_zero() => self.order = OrderState::None,
            Event::Cancelled(_) | Event::Expired(_) => self.order = OrderState::None,
            Event::Rejected(rejection) => {
                self.pause = self.timeout;
                // What was refused may have been the cancel of an order that is still there.
                self.order = match context.open_orders {
                    0 => OrderState::None,
                    _ => OrderState::Working { id: rejection.order, age: 0 },
                };
                ringfence_sdk::warn!("refused ({:?}): {}", rejection.reason, rejection.detail);
            }
            // Of an order that nobody knows about another event will tell; until then nothing else is sent.
            _ => {}
        }
        Ok(())
    }

    fn save(&self) -> Result<Vec<u8>, Fault> {
        let mut state = StateWriter::new();
        let (kind, id, age) = match self.order {
            OrderState::None => (0, 0, 0),
            OrderState::Working { id, age } => (1, id.0, age),
            OrderState::Cancelling { id, age } => (2, id.0, age),
        };
        state.u32(self.pause).u8(kind).u64(id).u32(age);
        self.window.save(&mut state);
        Ok(state.finish())
    }

    fn load(&mut self, _: u32, data: &[u8]) -> Result<(), Fault> {
        let mut state = StateReader::new(data);
        self.pause = state.u32()?;
        let (kind, id, age) = (state.u8()?, OrderId(state.u64()?), state.u32()?);
        self.order = match kind {
            0 => OrderState::None,
            1 => OrderState::Working { id, age },
            2 => OrderState::Cancelling { id, age },
            other => {
                let words = format!("expected an order state of 0, 1 or 2, found {other}");
                return Err(Fault::IncompatibleState(words));
            }
        };
        self.window.load(&mut state)?;
        state.finish()
    }

    fn stop(&mut self, intents: &mut Intents) {
        if self.order != OrderState::None {
            intents.cancel_all(&self.instrument);
        }
    }
}

ringfence_sdk::export!(MeanReversion);

#[cfg(test)]
mod tests;
