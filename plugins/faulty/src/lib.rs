//! A strategy that trades like any other for `after` ticks and then does one thing wrong, at every tick, for
//! as long as the host lets it. It shows what a host must withstand; the setting `fault` says what it does:
//!
//! | `fault` | what happens |
//! |---|---|
//! | `panic` | panics in the middle of a call that has already asked for an order |
//! | `loop` | never returns |
//! | `memory` | takes memory until none is left |
//! | `nan-metric` | reports a metric that is not a number, and trades on |
//! | `flood` | writes 100,000 log lines, then asks for far more orders than the call may return |
//! | `bad-intent` | orders an instrument that does not exist, nothing, and more than there is |
//! | `wrong-tick` | bids a hundred times the price, as if the tick size were another |

use ringfence_sdk::metrics::{self, Metric};
use ringfence_sdk::prelude::*;
use std::hint::black_box;

/// Ticks between two orders, as long as all is well.
const TRADE_EVERY: u32 = 10;
const FLOOD_LINES: u32 = 100_000;
const FLOOD_ORDERS: usize = 10_000;

const FAULTS: &[&str] = &["panic", "loop", "memory", "nan-metric", "flood", "bad-intent", "wrong-tick"];

/// The strategy.
pub struct Faulty {
    mistake: Mistake,
    after: u32,
    quantity: Lots,
    ticks: u32,
    metric: Metric,
}

/// What it does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mistake {
    Panic,
    Loop,
    Memory,
    NanMetric,
    Flood,
    BadIntent,
    WrongTick,
}

impl Mistake {
    fn named(name: &str) -> Option<Self> {
        Some(match name {
            "panic" => Self::Panic,
            "loop" => Self::Loop,
            "memory" => Self::Memory,
            "nan-metric" => Self::NanMetric,
            "flood" => Self::Flood,
            "bad-intent" => Self::BadIntent,
            "wrong-tick" => Self::WrongTick,
            _ => return None,
        })
    }
}

impl Faulty {
    /// Buys and sells in turns, so that it is never more than one order away from flat.
    fn trade(&self, tick: &Tick, context: &Context, intents: &mut Intents) {
        if self.ticks.is_multiple_of(TRADE_EVERY) {
            let side = if context.position > Lots::ZERO { Side::Sell } else { Side::Buy };
            intents.submit(Order::market(tick.instrument, side, self.quantity));
        }
    }

    #[expect(clippy::panic, reason = "what the strategy is for")]
    fn misbehave(&self, tick: &Tick, context: &Context, intents: &mut Intents) {
        match self.mistake {
            Mistake::Panic => {
                intents.submit(Order::market(tick.instrument, Side::Buy, self.quantity));
                panic!("told to panic after {} ticks", self.after);
            }
            Mistake::Loop => loop {
                black_box(self.ticks);
            },
            Mistake::Memory => {
                let mut hoard = Vec::new();
                loop {
                    hoard.push(vec![1_u8; 1 << 20]);
                    black_box(&hoard);
                }
            }
            Mistake::NanMetric => {
                self.metric.observe(f64::NAN);
                self.trade(tick, context, intents);
            }
            Mistake::Flood => {
                for line in 0..FLOOD_LINES {
                    ringfence_sdk::info!("line {line} of a flood");
                }
                for _ in 0..FLOOD_ORDERS {
                    intents.submit(Order::market(tick.instrument, Side::Buy, self.quantity));
                }
            }
            Mistake::BadIntent => {
                intents.submit(Order::market(InstrumentId(u32::MAX), Side::Buy, self.quantity));
                intents.submit(Order::market(tick.instrument, Side::Buy, Lots::ZERO));
                intents.submit(Order::market(tick.instrument, Side::Buy, Lots(i64::MAX)));
            }
            Mistake::WrongTick => {
                let price = tick.last().or(tick.ask()).unwrap_or(PriceTicks(1));
                let wrong = PriceTicks(price.0.saturating_mul(100));
                intents.submit(Order::limit(tick.instrument, Side::Buy, self.quantity, wrong));
            }
        }
    }
}

impl Strategy for Faulty {
    fn describe() -> Description {
        Description::new("faulty", env!("CARGO_PKG_VERSION"), "trades for a while, then does one thing wrong")
            .setting(Setting::one_of("fault", FAULTS).default("panic").about("what it does wrong"))
            .setting(Setting::integer("after", 0..=1_000_000_000).default(100).about("ticks before it does"))
            .setting(Setting::integer("quantity", 1..=1_000_000_000).default(1).about("lots of each order"))
    }

    fn init(session: &Session) -> Result<Self, Fault> {
        let name = session.settings.text("fault")?;
        let mistake = Mistake::named(name).ok_or_else(|| Fault::Internal(format!("no fault \"{name}\"")))?;
        Ok(Self {
            mistake,
            after: session.settings.count("after")?,
            quantity: session.settings.lots("quantity")?,
            ticks: 0,
            metric: metrics::gauge("faulty_gauge"),
        })
    }

    fn on_tick(&mut self, tick: &Tick, context: &Context, intents: &mut Intents) -> Result<(), Fault> {
        self.ticks = self.ticks.saturating_add(1);
        if self.ticks > self.after {
            self.misbehave(tick, context, intents);
        } else {
            self.trade(tick, context, intents);
        }
        Ok(())
    }
}

ringfence_sdk::export!(Faulty);

#[cfg(test)]
mod tests {
    use super::*;
    use ringfence_sdk::test::Harness;
    use ringfence_sdk::{Intent, OrderKind};

    fn started(fault: &str, after: i64) -> Harness<Faulty> {
        Harness::new().setting("fault", fault).setting("after", after).start().unwrap()
    }

    fn orders(intents: &[Intent]) -> Vec<Order> {
        let order = |intent: &Intent| match intent {
            Intent::Submit { order, .. } => Some(*order),
            _ => None,
        };
        intents.iter().filter_map(order).collect()
    }

    #[test]
    fn every_fault_that_can_be_set_is_one_that_it_does() {
        assert!(FAULTS.iter().all(|name| Mistake::named(name).is_some()));
        assert!(Harness::<Faulty>::new().setting("fault", "gentle").start().is_err());
    }

    #[test]
    fn before_the_fault_it_trades_like_any_other() {
        for fault in FAULTS {
            let mut run = started(fault, 40);
            let sides: Vec<_> = (0..40)
                .flat_map(|_| {
                    let intents = run.trade(100);
                    if let [Intent::Submit { id, .. }] = intents[..] {
                        run.fill(id, Lots(1), 100);
                    }
                    orders(&intents)
                })
                .map(|order| order.side)
                .collect();
            assert_eq!(sides, [Side::Buy, Side::Sell, Side::Buy, Side::Sell], "{fault}");
            assert!(run.log().is_empty() && run.observations().is_empty());
        }
    }

    #[test]
    #[should_panic(expected = "told to panic after 2 ticks")]
    fn panic_panics() {
        let mut run = started("panic", 2);
        (0..3).for_each(|_| _ = run.trade(100));
    }

    #[test]
    fn nan_metric_reports_what_is_not_a_number_and_trades_on() {
        let mut run = started("nan-metric", 0);
        let intents: Vec<_> = (0..10).flat_map(|_| run.trade(100)).collect();
        assert_eq!(orders(&intents).len(), 1);
        assert!(run.observations().iter().all(|(_, value)| value.is_nan()));
        assert_eq!(run.observations().len(), 10);
    }

    #[test]
    fn flood_writes_and_asks_far_too_much() {
        let mut run = started("flood", 0);
        assert_eq!(run.trade(100).len(), FLOOD_ORDERS);
        assert_eq!(run.log().len(), FLOOD_LINES as usize);
    }

    #[test]
    fn bad_intent_asks_for_three_impossible_orders() {
        let orders = orders(&started("bad-intent", 0).trade(100));
        assert_eq!(orders.len(), 3);
        assert_eq!(orders[0].instrument, InstrumentId(u32::MAX));
        assert_eq!((orders[1].quantity, orders[2].quantity), (Lots::ZERO, Lots(i64::MAX)));
    }

    #[test]
    fn wrong_tick_bids_a_hundred_times_the_price() {
        let orders = orders(&started("wrong-tick", 0).trade(100));
        assert_eq!(orders[0].kind, OrderKind::Limit(PriceTicks(10_000)));
    }
}
