//! The real core around a component: its disk and its venue answer at once and accept everything, so that what
//! is refused was refused by the host.

use crate::guest::Guest;
use ringfence::agent::core::{
    Core, CoreConfig, CoreLimits, Effect, Event, FailAction, Operator, Parts, Stats, Supervision, TimeSource,
};
use ringfence::market::{
    Bar, CheckConfig, Instrument, InstrumentKind, Instruments, Lots, Money, MonoNanos, Now, PriceTicks, Tick,
    UnixNanos,
};
use ringfence::orders::{OrderIntent, Record, RiskLimits, StrategyEvent, Verdict};
use ringfence::plugin::{
    CallError, ComponentStrategy, Metadata, Plugin, Services, Session, StateSnapshot, Strategy, TickContext,
};
use ringfence::resilience::{DegradationConfig, Gate, GateConfig, LimiterConfig, RetryConfig, SharedGate};
use ringfence::venue::http::{HttpDialect, HttpVenueConfig};
use ringfence::venue::{OrderChange, OrderUpdate, Outcome, Reply, RequestKind};
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// The last price of every tick.
pub const PRICE: i64 = 1_000;

/// A component with an ear at its door.
struct Heard {
    strategy: ComponentStrategy,
    events: Arc<Mutex<Vec<StrategyEvent>>>,
}

impl Strategy for Heard {
    fn metadata(&self) -> &Metadata {
        self.strategy.metadata()
    }

    fn init(&mut self, session: &Session, services: &mut Box<Services>) -> Result<(), CallError> {
        self.strategy.init(session, services)
    }

    fn on_tick(
        &mut self,
        tick: &Tick,
        context: &TickContext,
        services: &mut Box<Services>,
        intents: &mut Vec<OrderIntent>,
    ) -> Result<(), CallError> {
        self.strategy.on_tick(tick, context, services, intents)
    }

    fn on_event(
        &mut self,
        event: &StrategyEvent,
        context: &TickContext,
        services: &mut Box<Services>,
        intents: &mut Vec<OrderIntent>,
    ) -> Result<(), CallError> {
        self.events.lock().unwrap().push(event.clone());
        self.strategy.on_event(event, context, services, intents)
    }

    fn on_bar(
        &mut self,
        bar: &Bar,
        context: &TickContext,
        services: &mut Box<Services>,
        intents: &mut Vec<OrderIntent>,
    ) -> Result<(), CallError> {
        self.strategy.on_bar(bar, context, services, intents)
    }

    fn save(&mut self, services: &mut Box<Services>) -> Result<Option<StateSnapshot>, CallError> {
        self.strategy.save(services)
    }

    fn load(&mut self, state: &StateSnapshot, services: &mut Box<Services>) -> Result<(), CallError> {
        self.strategy.load(state, services)
    }

    fn stop(
        &mut self,
        services: &mut Box<Services>,
        intents: &mut Vec<OrderIntent>,
    ) -> Result<(), CallError> {
        self.strategy.stop(services, intents)
    }

    fn fuel_used(&self) -> Option<u64> {
        self.strategy.fuel_used()
    }
}

/// One agent at its desk.
pub struct Desk {
    core: Core,
    events: Arc<Mutex<Vec<StrategyEvent>>>,
    /// Codes of the refusals, in order.
    pub refused: Vec<String>,
    /// Requests that went to the venue.
    pub sent: usize,
    /// Codes of the alerts, in order.
    pub alerts: Vec<String>,
    /// Lines that a person would have read.
    pub said: Vec<String>,
    /// Time between two ticks. Two seconds, so that no rate is reached unless it is meant to be.
    pub step_ms: u64,
    sequence: u64,
    ticks: u64,
}

fn instrument() -> Instrument {
    Instrument {
        symbol: "X".into(),
        venue: "test".into(),
        kind: InstrumentKind::Spot,
        quote_currency: "USD".into(),
        multiplier: "1".parse().unwrap(),
        tick_size: "0.01".parse().unwrap(),
        lot_size: "1".parse().unwrap(),
        min_lots: Lots(2),
        max_lots: Lots(1_000),
    }
}

/// What the agents here are configured with: the defaults, and one instrument.
pub fn config(plugin: &Plugin) -> CoreConfig {
    CoreConfig {
        name: "hostile".parse().unwrap(),
        incarnation: 1,
        plugin: plugin.digest(),
        configured: None,
        instruments: Arc::new(Instruments::new(vec![instrument()]).unwrap()),
        settings: Vec::new(),
        cash: Money::new(1_000_000.into()),
        seed: 1,
        run_id: 1,
        live: false,
        time: TimeSource::Data,
        record_inputs: false,
        risk: RiskLimits::default(),
        retry: RetryConfig::default(),
        degradation: DegradationConfig::default(),
        supervision: Supervision::default(),
        limits: CoreLimits::default(),
        on_halt: FailAction::Hold,
        on_stop: FailAction::Hold,
    }
}

/// An instrument of which there can be any number of lots, one of them worth this much at a price of one.
pub fn without_a_largest_order(config: &mut CoreConfig, multiplier: &str) {
    let multiplier = multiplier.parse().unwrap();
    let any = Instrument { max_lots: Lots(i64::MAX), multiplier, ..instrument() };
    config.instruments = Arc::new(Instruments::new(vec![any]).unwrap());
}

impl Desk {
    /// Loads the guest and starts an agent with it.
    pub fn start(plugin: &Plugin, change: impl FnOnce(&mut CoreConfig)) -> Self {
        let events = Arc::<Mutex<Vec<StrategyEvent>>>::default();
        let strategy = Heard { strategy: plugin.instantiate().unwrap(), events: Arc::clone(&events) };
        let mut config = config(plugin);
        change(&mut config);
        let many = NonZeroU32::new(1_000_000).unwrap();
        let limiter = LimiterConfig { calls_per_second: many, burst_calls: many };
        let gate = SharedGate::new(Gate::new(GateConfig { limiter, ..GateConfig::default() }, 1));
        let parts = Parts {
            strategy: Box::new(strategy),
            dialect: Arc::new(HttpDialect::new(HttpVenueConfig::default().profile())),
            gate: Box::new(gate),
            check: CheckConfig::default().recorded(),
        };
        let now = Now { mono: MonoNanos(0), wall: UnixNanos(1) };
        let core = Core::recover(config, parts, None, &[], now).unwrap();
        let mut desk = Self {
            core,
            events,
            refused: Vec::new(),
            sent: 0,
            alerts: Vec::new(),
            said: Vec::new(),
            step_ms: 2_000,
            sequence: 0,
            ticks: 0,
        };
        let mut effects = Vec::new();
        desk.core.start(now, &mut effects);
        desk.perform(now, effects);
        desk
    }

    /// One tick at [`PRICE`], and everything that follows from it.
    pub fn tick(&mut self) {
        self.ticks += 1;
        let nanos = self.ticks * self.step_ms * 1_000_000;
        let now = Now { mono: MonoNanos(nanos), wall: UnixNanos(nanos) };
        let tick = Tick {
            seq: self.ticks,
            event_time: now.wall,
            last_price: PriceTicks(PRICE),
            last_size: Lots(1),
            marks: ringfence::market::Marks::TRADE,
            ..Tick::default()
        };
        let mut effects = Vec::new();
        self.core.step(now, Event::Sample(Ok(tick)), &mut effects);
        self.perform(now, effects);
    }

    /// An order of the operator, at the time of the last tick.
    pub fn order(&mut self, order: Operator) {
        self.happen(0, Event::Operator(order));
    }

    /// A while in which nothing happens.
    pub fn silence(&mut self) {
        self.happen(1_500, Event::Wake);
    }

    fn happen(&mut self, later_ms: u64, event: Event) {
        let nanos = (self.ticks * self.step_ms + later_ms) * 1_000_000;
        let now = Now { mono: MonoNanos(nanos), wall: UnixNanos(nanos) };
        let mut effects = Vec::new();
        self.core.step(now, event, &mut effects);
        self.perform(now, effects);
    }

    /// Events that the strategy has heard.
    pub fn heard(&self) -> Vec<StrategyEvent> {
        self.events.lock().unwrap().clone()
    }

    pub fn is_halted(&self) -> bool {
        self.core.is_halted()
    }

    pub fn stats(&self) -> Stats {
        self.core.stats()
    }

    fn perform(&mut self, now: Now, mut effects: Vec<Effect>) {
        while !effects.is_empty() {
            let event = match effects.remove(0) {
                Effect::Journal(entry) => {
                    if let Record::Decided(decision) = &entry.record {
                        for decided in &decision.intents {
                            if let Verdict::Refused { code, .. } = &decided.verdict {
                                self.refused.push(code.to_string());
                            }
                        }
                    }
                    Event::Journaled(entry.number)
                }
                Effect::Send { request, attempt } => {
                    self.sent += 1;
                    self.sequence += 1;
                    let updates = match request.kind {
                        RequestKind::Place => vec![OrderUpdate {
                            sequence: self.sequence,
                            key: request.key,
                            change: OrderChange::Accepted,
                            venue_id: None,
                        }],
                        _ => Vec::new(),
                    };
                    let outcome = Outcome::Done { updates };
                    let reply = Reply { outcome, latency: Duration::ZERO, retry_after: None };
                    Event::Replied { key: request.key, attempt, reply }
                }
                Effect::Checkpoint(_) => Event::Checkpointed(Ok(())),
                Effect::Alert(alert) => {
                    self.alerts.push(alert.code);
                    continue;
                }
                Effect::Said(lines) => {
                    self.said.extend(lines.into_iter().map(|line| line.text));
                    continue;
                }
                _ => continue,
            };
            self.core.step(now, event, &mut effects);
        }
    }
}

/// The component of a guest.
pub fn plugin(guest: &Guest) -> Plugin {
    crate::attack::load(guest)
}
