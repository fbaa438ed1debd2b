//! Runs a strategy natively, under `cargo test`, against a host in a few maps.
//!
//! The harness hands market data and news to one strategy and returns its intents. It fills nothing by
//! itself: a test says what the venue does. Its log, metrics, timers, random numbers and durable values
//! belong to the thread that made it, so use one harness per test.

use crate::bindings::ringfence::strategy::account as wit;
use crate::runner::{Opening, Outcome, Runner};
use crate::services::fake;
use crate::{
    Bar, Context, Decimal, Event, Fault, Fill, Instrument, InstrumentId, InstrumentKind, Intent, Lots, Marks,
    Mode, Order, OrderId, OrderKind, PriceTicks, RejectReason, Rejection, SettingValue, Strategy, Tick,
    UnixNanos, log,
};
use std::collections::BTreeMap;

/// The instrument of a harness that is given no other: spot, ticks of 0.01, lots of 0.00001.
pub fn instrument() -> Instrument {
    let decimal = |coefficient, scale| Decimal::new(coefficient, scale).unwrap_or_default();
    Instrument {
        id: InstrumentId(0),
        symbol: "BTCUSDT".into(),
        venue: "test".into(),
        kind: InstrumentKind::Spot,
        quote_currency: "USDT".into(),
        multiplier: Decimal::whole(1),
        tick_size: decimal(1, 2),
        lot_size: decimal(1, 5),
        min_lots: Lots(1),
        max_lots: Lots(1_000_000_000),
    }
}

/// A strategy and everything around it. Configure it, then [`Harness::start`].
#[derive(Debug)]
pub struct Harness<S> {
    runner: Runner<S>,
    opening: Opening,
    working: BTreeMap<OrderId, (Order, Lots)>,
    positions: BTreeMap<InstrumentId, Lots>,
    seq: u64,
    /// Time of the next call; every tick moves it by a second.
    pub now: UnixNanos,
    /// What the next call is told about the mode.
    pub mode: Mode,
    /// What the next call is told about its room for intents.
    pub intents_left: u32,
}

impl<S: Strategy> Harness<S> {
    /// A harness with [`instrument`] and no settings, in a fresh host.
    pub fn new() -> Self {
        fake::with(|host| *host = fake::Host::new());
        Self {
            runner: Runner::new(),
            opening: Opening {
                run_id: 1,
                seed: 0,
                now: UnixNanos(0),
                next_order_id: OrderId(1),
                instruments: Vec::new(),
                settings: Vec::new(),
                live: false,
            },
            working: BTreeMap::new(),
            positions: BTreeMap::new(),
            seq: 0,
            now: UnixNanos(0),
            mode: Mode::Full,
            intents_left: 64,
        }
    }

    /// Gives a setting.
    pub fn setting(mut self, key: &str, value: impl Into<SettingValue>) -> Self {
        self.opening.settings.push((key.to_owned(), value.into()));
        self
    }

    /// Adds an instrument; its id becomes its position.
    pub fn instrument(mut self, instrument: Instrument) -> Self {
        let id = InstrumentId(u32::try_from(self.opening.instruments.len()).unwrap_or(u32::MAX));
        self.opening.instruments.push(Instrument { id, ..instrument });
        self
    }

    /// Sets the seed of the random numbers.
    pub fn seed(mut self, seed: u64) -> Self {
        self.opening.seed = seed;
        self
    }

    /// Starts the session.
    ///
    /// # Errors
    /// The fault with which the settings or `init` refuse it.
    pub fn start(mut self) -> Result<Self, Fault> {
        if self.opening.instruments.is_empty() {
            self.opening.instruments.push(instrument());
        }
        fake::with(|host| host.random = self.opening.seed);
        self.runner.init(self.opening.clone())?;
        Ok(self)
    }

    /// Replaces the strategy by a new instance that loads what this one saves, as a hot swap does.
    ///
    /// # Errors
    /// The fault with which `save`, `init` or `load` refuses.
    pub fn swap(&mut self) -> Result<(), Fault> {
        let (schema, data) = self.runner.save()?;
        self.runner = Runner::new();
        self.runner.init(Opening { now: self.now, ..self.opening.clone() })?;
        self.runner.load(schema, &data)
    }

    /// One market update.
    ///
    /// # Errors
    /// The strategy's fault.
    pub fn tick(&mut self, tick: Tick) -> Result<Vec<Intent>, Fault> {
        self.seq += 1;
        self.now = self.now.plus_seconds(1);
        let context = self.context(tick.instrument);
        let tick = Tick { seq: self.seq, event_time: self.now, ..tick };
        let intents = self.runner.tick(&tick, &context)?;
        Ok(self.note(intents))
    }

    /// A trade in the first instrument at a price in ticks. A fault gives no intents.
    pub fn trade(&mut self, price: i64) -> Vec<Intent> {
        let tick =
            Tick { last_price: PriceTicks(price), last_size: Lots(1), volume: Lots(1), ..Tick::default() };
        self.tick(Tick { marks: Marks::TRADE, ..tick }).unwrap_or_default()
    }

    /// A quote in the first instrument at prices in ticks. A fault gives no intents.
    pub fn quote(&mut self, bid: i64, ask: i64) -> Vec<Intent> {
        let tick = Tick { bid_price: PriceTicks(bid), ask_price: PriceTicks(ask), ..Tick::default() };
        let tick = Tick { bid_size: Lots(1), ask_size: Lots(1), marks: Marks::QUOTE, ..tick };
        self.tick(tick).unwrap_or_default()
    }

    /// One bar.
    ///
    /// # Errors
    /// The strategy's fault.
    pub fn bar(&mut self, bar: &Bar) -> Result<Vec<Intent>, Fault> {
        let context = self.context(bar.instrument);
        let intents = self.runner.bar(bar, &context)?;
        Ok(self.note(intents))
    }

    /// News, after the harness has changed its own books accordingly. A fault gives no intents.
    pub fn event(&mut self, event: &Event) -> Vec<Intent> {
        let working = event.order().and_then(|id| self.working.get(&id).copied());
        let instrument = match (event, working) {
            (Event::Filled(fill), _) => fill.instrument,
            (Event::Funded(funding), _) => funding.instrument,
            (_, Some((order, _))) => order.instrument,
            _ => InstrumentId(0),
        };
        match event {
            Event::Filled(fill) => {
                let position = self.positions.entry(fill.instrument).or_default();
                *position = position.plus(fill.side.signed(fill.quantity));
                match (fill.leaves.is_zero(), self.working.get_mut(&fill.order)) {
                    (false, Some((_, leaves))) => *leaves = fill.leaves,
                    _ => _ = self.working.remove(&fill.order),
                }
            }
            Event::Cancelled(id) | Event::Expired(id) => _ = self.working.remove(id),
            Event::Rejected(rejection) => _ = self.working.remove(&rejection.order),
            _ => {}
        }
        self.show_books();
        let context = self.context(instrument);
        let intents = self.runner.event(event, &context).unwrap_or_default();
        self.note(intents)
    }

    /// The venue fills a working order, as far as `quantity`, at a price in ticks.
    pub fn fill(&mut self, id: OrderId, quantity: Lots, price: i64) -> Vec<Intent> {
        let Some((order, leaves)) = self.working.get(&id).copied() else { return Vec::new() };
        let quantity = quantity.min(leaves);
        self.event(&Event::Filled(Fill {
            order: id,
            instrument: order.instrument,
            side: order.side,
            quantity,
            price: PriceTicks(price),
            leaves: leaves.minus(quantity),
            fee: Decimal::ZERO,
            maker: matches!(order.kind, OrderKind::Limit(_)),
        }))
    }

    /// The venue or the host refuses an order.
    pub fn reject(&mut self, id: OrderId, reason: RejectReason) -> Vec<Intent> {
        self.event(&Event::Rejected(Rejection { order: id, reason, detail: String::new() }))
    }

    /// Many ticks in one call; see the WIT interface `batch`.
    pub fn batch(&mut self, ticks: &[Tick]) -> (usize, Result<Vec<Intent>, Fault>) {
        let rows: Vec<i64> = ticks.iter().flat_map(row).collect();
        let context = self.context(InstrumentId(0));
        let Outcome { consumed, intents, fault } = self.runner.batch(&rows, &context);
        (consumed, fault.map_or_else(|| Ok(self.note(intents)), Err))
    }

    /// The layout and bytes of the strategy's memory.
    ///
    /// # Errors
    /// The strategy's fault.
    pub fn save(&self) -> Result<(u32, Vec<u8>), Fault> {
        self.runner.save()
    }

    /// Gives memory to the strategy.
    ///
    /// # Errors
    /// The fault with which it refuses.
    pub fn load(&mut self, schema: u32, data: &[u8]) -> Result<(), Fault> {
        self.runner.load(schema, data)
    }

    /// Last words.
    pub fn stop(&mut self) -> Vec<Intent> {
        let intents = self.runner.stop();
        self.note(intents)
    }

    /// The position in the first instrument.
    pub fn position(&self) -> Lots {
        self.positions.get(&InstrumentId(0)).copied().unwrap_or_default()
    }

    /// The orders that may still be filled, oldest first.
    pub fn working(&self) -> Vec<OrderId> {
        self.working.keys().copied().collect()
    }

    /// What was logged so far.
    pub fn log(&self) -> Vec<(log::Level, String)> {
        fake::with(|host| host.lines.clone())
    }

    /// What was observed so far, by the name of the metric.
    pub fn observations(&self) -> Vec<(String, f64)> {
        let name = |host: &fake::Host, id: u32| host.metrics.get(id as usize).cloned().unwrap_or_default();
        fake::with(|host| host.observations.iter().map(|(id, value)| (name(host, *id), *value)).collect())
    }

    /// The timers that are set.
    pub fn timers(&self) -> BTreeMap<u32, UnixNanos> {
        fake::with(|host| host.timers.iter().map(|(id, at)| (*id, UnixNanos(*at))).collect())
    }

    fn context(&self, instrument: InstrumentId) -> Context {
        let open = self.working.values().filter(|(order, _)| order.instrument == instrument).count();
        Context {
            now: self.now,
            position: self.positions.get(&instrument).copied().unwrap_or_default(),
            open_orders: u32::try_from(open).unwrap_or(u32::MAX),
            intents_left: self.intents_left,
            mode: self.mode,
        }
    }

    fn note(&mut self, intents: Vec<Intent>) -> Vec<Intent> {
        for intent in &intents {
            if let Intent::Submit { id, order } = intent {
                self.working.insert(*id, (*order, order.quantity));
                // A new instance must go on where this one stands.
                self.opening.next_order_id = OrderId(id.0.saturating_add(1));
            }
        }
        self.show_books();
        intents
    }

    fn show_books(&self) {
        let zero = Decimal::ZERO.into();
        let holding = |lots: &Lots| wit::Holding {
            quantity: lots.0,
            average_price: zero,
            unrealized: zero,
            realized: zero,
        };
        let working = |id: &OrderId, order: &Order, leaves: &Lots| wit::WorkingOrder {
            id: id.0,
            instrument: order.instrument.0,
            side: order.side,
            leaves: leaves.0,
            limit: match order.kind {
                OrderKind::Limit(limit) | OrderKind::StopLimit { limit, .. } => Some(limit.0),
                OrderKind::Market | OrderKind::Stop(_) => None,
            },
        };
        fake::with(|host| {
            host.holdings = self.positions.iter().map(|(id, lots)| (id.0, holding(lots))).collect();
            host.orders =
                self.working.iter().map(|(id, (order, leaves))| (id.0, working(id, order, leaves))).collect();
        });
    }
}

impl<S: Strategy> Default for Harness<S> {
    fn default() -> Self {
        Self::new()
    }
}

#[expect(clippy::cast_possible_wrap, reason = "the row reinterprets bits")]
fn row(tick: &Tick) -> [i64; Tick::FIELDS] {
    [
        i64::from(tick.instrument.0),
        tick.seq as i64,
        tick.event_time.0 as i64,
        tick.bid_price.0,
        tick.bid_size.0,
        tick.ask_price.0,
        tick.ask_size.0,
        tick.last_price.0,
        tick.last_size.0,
        tick.volume.0,
        i64::from(tick.marks.bits()),
    ]
}
