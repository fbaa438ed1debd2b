//! One run: the core, driven by recorded data in the data's own time.
//!
//! A market update first reaches the exchange, then the core, and then whatever arrives at that very moment: what
//! the exchange did is known no earlier than the update that made it happen. Records are durable at once. The first
//! checkpoint is on its way until the run ends, so that the core never asks for another.

mod acts;
mod ahead;

use super::chart::{Charts, EquityPoint, PricePoint};
use super::config::LabConfig;
use super::exchange::Exchange;
use super::meter::{Meter, Usage};
use super::performance::{Performance, Results};
use super::tape::{Intent, IntentDigest, intents_of};
use super::venue::{Execution, LabDialect, LabVenue};
use crate::agent::core::{Alert, Core, Effect, Event, Parts, RecoverError, Stats, SwapEvent};
use crate::market::{
    DataCounts, DataFault, InstrumentId, Instruments, Money, MonoNanos, Now, Sample, UnixNanos,
};
use crate::orders::{AgentName, Digest, Mode, Record};
use crate::plugin::{LogLevel, LogLine, Strategy};
use crate::resilience::{Class, Failure, Gate, GateConfig, LimiterConfig, Phase, SharedGate};
use crate::venue::{Outcome, Reply};
use ahead::Batch;
use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive;
use std::collections::{BTreeMap, VecDeque};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

/// What a run has done.
#[derive(Clone, Debug)]
pub struct Summary {
    /// Market updates read, the ones that the check dropped among them.
    pub events: u64,
    /// What the core counted.
    pub stats: Stats,
    /// Updates that the market check dropped, by fault.
    pub dropped: DataCounts,
    /// Intents that were not sent, by code.
    pub refused: BTreeMap<String, u64>,
    /// Most intents of one market update.
    pub intents_per_event_max: u64,
    /// What the strategy used.
    pub usage: Usage,
    /// Cash and positions at the last prices; `None` while a held position has no price.
    pub final_equity: Option<Money>,
    /// The deepest fall of equity below its peak, as a share of the peak, seen at every update.
    pub max_drawdown: Decimal,
    /// What the exchange charged.
    pub fees: Money,
    /// Whether the agent's books and the exchange's own account agree.
    pub books_match: bool,
    /// Results in money.
    pub results: Results,
    /// Digest of the intents.
    pub intents_sha256: Digest,
    /// Mode at the end.
    pub mode: Mode,
    /// Whether the strategy was halted.
    pub halted: bool,
    /// The update after which the agent had shut down; the ones after it were only counted.
    pub stopped_at: Option<u64>,
    /// Span of the data.
    pub first: Option<UnixNanos>,
    /// Its end.
    pub last: UnixNanos,
    /// What a person should know, oldest first, at most [`Lab::ALERTS_MAX`].
    pub alerts: Vec<(u64, Alert)>,
    /// Lines that the strategy logged, by severity.
    pub lines: BTreeMap<&'static str, u64>,
}

/// A strategy in the lab.
pub struct Lab {
    config: LabConfig,
    state: State,
    venue: LabVenue,
    meter: Meter,
    plugin: Digest,
    performance: Performance,
    charts: Charts,
    digest: IntentDigest,
    /// Number of the next update.
    event: u64,
    began: UnixNanos,
    now: Now,
    intents: Vec<Intent>,
    executions: Vec<Execution>,
    refused: BTreeMap<String, u64>,
    intents_per_event_max: u64,
    alerts: Vec<(u64, Alert)>,
    lines: BTreeMap<&'static str, u64>,
    checkpoint_waits: bool,
    /// Orders of the core when closed ones were forgotten last.
    forgotten_at: u64,
    stopped_at: Option<u64>,
    /// Fuel before the update at hand, and most of one update since the last point of the chart.
    fuel_before: u64,
    fuel_peak: u64,
    /// Why the last replacement of the instance was refused.
    swap_refused: Option<Failure>,
    failed_call: Option<Failure>,
    batch: Batch,
    effects: Vec<Effect>,
    queue: VecDeque<Effect>,
}

/// Before the first update nobody knows when the run begins.
enum State {
    Waiting(Option<Box<dyn Strategy>>),
    Running(Box<Core>),
}

impl Lab {
    /// Alerts kept: the first ones explain the others.
    pub const ALERTS_MAX: usize = 256;
    /// Orders after which closed ones are forgotten, as a checkpoint does live. As many as cost little to keep.
    const ORDERS_KEPT: u64 = 1_024;
    /// Steps that the end of a run may take: every one answers something that the core waits for.
    const CLOSING_STEPS_MAX: u32 = 100_000;

    /// A run that has seen nothing yet. `meter` is the one of the strategy.
    pub fn new(config: LabConfig, strategy: Box<dyn Strategy>, meter: Meter, plugin: Digest) -> Self {
        let instruments = Arc::clone(&config.instruments);
        let count = instruments.len();
        let exchange = Exchange::new(instruments, config.cash, config.model.clone());
        let config_batch = config.batch && !config.charts && meter.takes_batches();
        Self {
            performance: Performance::new(config.cash.decimal().to_f64().unwrap_or(0.0), count),
            charts: Charts::new(count),
            state: State::Waiting(Some(strategy)),
            venue: LabVenue::new(exchange),
            meter,
            plugin,
            config,
            digest: IntentDigest::default(),
            event: 0,
            began: UnixNanos(0),
            now: Now::default(),
            intents: Vec::new(),
            executions: Vec::new(),
            refused: BTreeMap::new(),
            intents_per_event_max: 0,
            alerts: Vec::new(),
            lines: BTreeMap::new(),
            checkpoint_waits: false,
            forgotten_at: 0,
            stopped_at: None,
            fuel_before: 0,
            fuel_peak: 0,
            swap_refused: None,
            failed_call: None,
            batch: Batch::new(config_batch),
            effects: Vec::new(),
            queue: VecDeque::new(),
        }
    }

    /// What it is configured with.
    pub const fn config(&self) -> &LabConfig {
        &self.config
    }

    /// What is drawn of it, when that was asked for.
    pub const fn charts(&self) -> &Charts {
        &self.charts
    }

    /// The intents since this was last called, oldest first.
    pub fn take_intents(&mut self) -> Vec<Intent> {
        std::mem::take(&mut self.intents)
    }

    /// What was executed since this was last called, oldest first.
    pub fn take_executions(&mut self) -> Vec<Execution> {
        std::mem::take(&mut self.executions)
    }

    /// Market updates so far.
    pub const fn events(&self) -> u64 {
        self.event
    }

    /// The core, once the run has begun.
    pub fn core(&self) -> Option<&Core> {
        match &self.state {
            State::Running(core) => Some(core),
            State::Waiting(_) => None,
        }
    }

    /// Shows one market update.
    ///
    /// # Errors
    /// When the strategy does not start.
    pub fn sample(&mut self, sample: &Sample) -> Result<(), RecoverError> {
        let at = sample.tick.event_time;
        if let State::Waiting(strategy) = &mut self.state {
            let strategy = strategy.take();
            self.begin(strategy, at)?;
        }
        if self.is_stopped() {
            self.event += 1;
            return Ok(());
        }
        self.deliver_before(at);
        if at.0 >= self.performance.wants_at() {
            let equity = self.equity();
            self.performance.close_periods(at, equity);
        }
        let held = is_holding(&self.venue, &self.config.instruments);
        self.performance.pass(at, held);
        self.pass_time(at);
        self.venue.show(sample);
        self.step(Event::Sample(Ok(sample.tick)));
        // What arrives at this very moment arrives after the update.
        self.deliver_before(UnixNanos(at.0.saturating_add(1)));
        self.after_event(sample);
        Ok(())
    }

    /// The reader dropped a row; it is counted.
    pub fn dropped(&mut self, _: &DataFault) {
        if matches!(self.state, State::Running(_)) {
            self.step(Event::Dropped);
        }
    }

    fn begin(&mut self, strategy: Option<Box<dyn Strategy>>, at: UnixNanos) -> Result<(), RecoverError> {
        let name = AgentName::try_from("lab".to_owned()).ok();
        let (Some(strategy), Some(name)) = (strategy, name) else { return Ok(()) };
        self.began = at;
        self.now = Now { mono: MonoNanos(0), wall: at };
        let many = NonZeroU32::MAX;
        let limiter = LimiterConfig { calls_per_second: many, burst_calls: many };
        let gate = SharedGate::new(Gate::new(GateConfig { limiter, ..GateConfig::default() }, 1));
        let parts = Parts {
            strategy,
            dialect: Arc::new(LabDialect::new(Arc::clone(&self.config.instruments))),
            gate: Box::new(gate),
            check: self.config.market.clone().recorded(),
        };
        let mut core = Core::recover(self.config.core(self.plugin, name), parts, None, &[], self.now)?;
        core.start(self.now, &mut self.effects);
        self.charts.mode(at, core.mode());
        self.state = State::Running(Box::new(core));
        self.carry_out();
        Ok(())
    }

    fn is_stopped(&self) -> bool {
        self.core().is_some_and(Core::is_stopped)
    }

    fn equity(&self) -> Option<f64> {
        match self.core() {
            Some(core) => core.equity()?.decimal().to_f64(),
            None => self.config.cash.decimal().to_f64(),
        }
    }

    /// Time only moves on.
    fn pass_time(&mut self, at: UnixNanos) {
        if at > self.now.wall {
            self.now = Now { mono: MonoNanos(at.0.saturating_sub(self.began.0)), wall: at };
        }
    }

    /// What arrives at the exchange or at the host before a moment.
    fn deliver_before(&mut self, before: UnixNanos) {
        while let Some((at, event)) = self.venue.next_before(before) {
            self.pass_time(at);
            self.step(event);
        }
    }

    fn step(&mut self, event: Event) {
        if let State::Running(core) = &mut self.state {
            core.step(self.now, event, &mut self.effects);
            self.carry_out();
        }
    }

    /// Carries out what the core wants, in order, and answers at once what can be answered.
    fn carry_out(&mut self) {
        loop {
            self.queue.extend(self.effects.drain(..));
            let Some(effect) = self.queue.pop_front() else { return };
            let answer = self.carry_out_one(effect);
            if let (Some(event), State::Running(core)) = (answer, &mut self.state) {
                core.step(self.now, event, &mut self.effects);
            }
        }
    }

    fn carry_out_one(&mut self, effect: Effect) -> Option<Event> {
        match effect {
            Effect::Journal(entry) => {
                if let Record::Decided(decision) = &entry.record {
                    let event = self.event;
                    for intent in intents_of(decision, event, self.now.wall) {
                        self.digest.note(event, intent.letter());
                        if let Some(code) = &intent.refused {
                            *self.refused.entry(code.to_string()).or_default() += 1;
                        }
                        self.intents.push(intent);
                    }
                }
                if let Record::CallFailed { failure, .. } = &entry.record {
                    self.failed_call = Some(failure.clone());
                }
                Some(Event::Journaled(entry.number))
            }
            Effect::Send { request, attempt } => self.venue.send(self.now.wall, request, attempt),
            Effect::Checkpoint(_) => {
                self.checkpoint_waits = true;
                None
            }
            Effect::Query { question, number } => {
                let outcome = Outcome::Ambiguous(nothing_to_ask());
                let reply = Reply { outcome, latency: Duration::ZERO, retry_after: None };
                Some(Event::Queried { key: question.request.key, number, reply })
            }
            Effect::Baseline { request, number } => {
                Some(Event::Baselined { key: request.key, number, result: Err(nothing_to_ask()) })
            }
            Effect::ReadUpdates { number } => Some(Event::UpdatesRead { number, outcome: Ok(()) }),
            Effect::ReadPositions { number } => {
                let ids = (0_u32..).map(InstrumentId).take(self.config.instruments.len());
                let held = ids.map(|id| (id, self.venue.exchange().position(id))).collect();
                Some(Event::Positions { number, outcome: Ok(held) })
            }
            Effect::Alert(alert) => {
                tracing::warn!(class = %alert.class, code = %alert.code, "{}", alert.text);
                if self.alerts.len() < Self::ALERTS_MAX {
                    self.alerts.push((self.event, alert));
                }
                None
            }
            Effect::Said(lines) => {
                self.hear(&lines);
                None
            }
            Effect::Instance { number, .. } => {
                let text = "the lab starts no strategy again that has failed";
                let failure = Failure::new(Class::Logic, "lab_instance", Phase::NotSent, text);
                Some(Event::Instance { number, outcome: Err(failure) })
            }
            Effect::Swap(news) => {
                if let SwapEvent::Refused(failure) = news.event {
                    self.swap_refused = Some(failure);
                }
                None
            }
            Effect::Letter(_) | Effect::Recorded(_) | Effect::Unclaimed { .. } | Effect::Stopped => None,
        }
    }

    fn hear(&mut self, lines: &[LogLine]) {
        for LogLine { level, text } in lines {
            let name = match level {
                LogLevel::Trace => "trace",
                LogLevel::Debug => "debug",
                LogLevel::Info => "info",
                LogLevel::Warn => "warn",
                LogLevel::Error => "error",
            };
            *self.lines.entry(name).or_default() += 1;
            let event = self.event;
            match level {
                LogLevel::Error => tracing::error!(target: "strategy", event, "{text}"),
                LogLevel::Warn => tracing::warn!(target: "strategy", event, "{text}"),
                LogLevel::Info => tracing::info!(target: "strategy", event, "{text}"),
                LogLevel::Debug => tracing::debug!(target: "strategy", event, "{text}"),
                LogLevel::Trace => tracing::trace!(target: "strategy", event, "{text}"),
            }
        }
    }

    /// What is due once an update has had all its consequences.
    fn after_event(&mut self, sample: &Sample) {
        let at = self.now.wall;
        let asked = self.intents.iter().rev().take_while(|intent| intent.event == self.event).count();
        self.intents_per_event_max = self.intents_per_event_max.max(asked as u64);
        for execution in self.venue.executions.drain(..) {
            self.performance.execute(&self.config.instruments, &execution);
            if self.config.charts {
                self.charts.executions.push(execution);
            }
            self.executions.push(execution);
        }
        let State::Running(core) = &mut self.state else { return };
        let mode = core.mode();
        self.charts.mode(at, mode);
        if core.stats().orders.saturating_sub(self.forgotten_at) >= Self::ORDERS_KEPT {
            self.forgotten_at = core.stats().orders;
            core.forget_closed(self.now);
        }
        if self.config.charts {
            self.draw(sample);
        }
        if self.checkpoint_waits && mode == Mode::Shutdown {
            // An agent that shuts down waits for it.
            self.checkpoint_waits = false;
            self.step(Event::Checkpointed(Ok(())));
        }
        if self.is_stopped() {
            self.stopped_at = Some(self.event);
        }
        self.event += 1;
    }

    fn draw(&mut self, sample: &Sample) {
        let at = self.now.wall;
        let fuel = self.core().map_or(0, |core| core.stats().fuel_total);
        self.fuel_peak = self.fuel_peak.max(fuel.saturating_sub(self.fuel_before));
        self.fuel_before = fuel;
        if self.charts.equity.wants() {
            let (equity, fuel) = (self.equity(), std::mem::take(&mut self.fuel_peak));
            let drawdown = self.core().map_or(0.0, |core| core.drawdown().to_f64().unwrap_or(0.0));
            if let Some(equity) = equity {
                self.charts.equity.push(EquityPoint { at, equity, drawdown, fuel });
            }
        } else {
            self.charts.equity.skip(1);
        }
        let instrument = sample.tick.instrument;
        let price = sample.tick.mark_price().zip(self.config.instruments.get(instrument));
        let price = price.and_then(|(price, terms)| terms.price(price)?.to_f64());
        if let (Some(price), Some(line)) = (price, self.charts.price_of(instrument)) {
            line.push(PricePoint { at, price });
        }
    }

    /// The data has ended: what is under way arrives, the strategy has its last words, and the run is counted.
    pub fn finish(&mut self) -> Summary {
        let equity = self.core().map_or(Some(self.config.cash), Core::equity);
        self.deliver_before(UnixNanos(u64::MAX));
        let equity = self.core().map_or(equity, Core::equity);
        self.step(Event::Stop);
        for _ in 0..Self::CLOSING_STEPS_MAX {
            if std::mem::take(&mut self.checkpoint_waits) {
                self.step(Event::Checkpointed(Ok(())));
            }
            self.deliver_before(UnixNanos(u64::MAX));
            let Some(core) = self.core().filter(|core| !core.is_stopped()) else { break };
            let wake = core.next_wake(self.now);
            let wait = wake.0.saturating_sub(self.now.mono.0);
            self.now = Now { mono: wake, wall: UnixNanos(self.now.wall.0.saturating_add(wait)) };
            self.step(Event::Wake);
        }
        for execution in self.venue.executions.drain(..) {
            self.performance.execute(&self.config.instruments, &execution);
            self.executions.push(execution);
        }
        self.summary(equity)
    }

    fn summary(&self, final_equity: Option<Money>) -> Summary {
        let core = self.core();
        let exchange = self.venue.exchange();
        let books_match = core.is_none_or(|core| {
            let books = core.books();
            let mut ids = (0_u32..).map(InstrumentId).take(self.config.instruments.len());
            books.cash() == exchange.cash()
                && books.fees() == exchange.fees()
                && ids.all(|id| books.position(id) == exchange.position(id))
        });
        let equity = final_equity.and_then(|equity| equity.decimal().to_f64());
        Summary {
            events: self.event,
            stats: core.map(Core::stats).unwrap_or_default(),
            dropped: core.map(|core| *core.data_counts()).unwrap_or_default(),
            refused: self.refused.clone(),
            intents_per_event_max: self.intents_per_event_max,
            usage: self.meter.usage(),
            final_equity,
            max_drawdown: core.map(Core::max_drawdown).unwrap_or_default(),
            fees: exchange.fees(),
            books_match,
            results: self.performance.results(equity),
            intents_sha256: self.digest.finish(),
            mode: core.map_or(Mode::Full, Core::mode),
            halted: core.is_some_and(Core::is_halted),
            stopped_at: self.stopped_at,
            first: self.performance.first(),
            last: self.performance.last(),
            alerts: self.alerts.clone(),
            lines: self.lines.clone(),
        }
    }
}

fn is_holding(venue: &LabVenue, instruments: &Instruments) -> bool {
    let mut ids = (0_u32..).map(InstrumentId).take(instruments.len());
    ids.any(|id| !venue.exchange().position(id).is_zero())
}

fn nothing_to_ask() -> Failure {
    let text = "the lab's venue loses nothing, so there is nothing to ask it about";
    Failure::new(Class::Logic, "lab_question", Phase::NotSent, text)
}
