//! Calls into the strategy, and the decisions that follow from them.

use super::modes::error_failure;
use super::{Core, CoreConfig, Effect, Event, Life, TimeSource};
use crate::market::{InstrumentId, Now, Tick};
use crate::orders::{
    Action, Decided, Decision, Digest, IntentKey, Ledger, Mode, NewOrder, OrderIntent, Origin, Record,
    Refusal, RejectReason, RiskCode, RiskView, Slot, StrategyEvent, Verdict, WorkingOrder, actions,
};
use crate::plugin::{CallError, TickContext, TrapKind};
use crate::resilience::{Class, Classified, Failure, Phase};
use crate::venue::{Operation, PlaceOrder, Request};
use serde::Serialize;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// One piece of news from outside (a tick, an answer of the venue, a timer, an operator's word) and what
/// follows from it by the strategy's own doing: the calls with intents are counted together.
#[derive(Clone, Debug, Default)]
pub(super) struct Chain(Arc<AtomicU32>);

impl Chain {
    /// Counts one call, and says how many there were before it.
    fn count(&self) -> u32 {
        // The core is the only one that counts; the type only has to be shareable and countable.
        self.0.fetch_add(1, Ordering::Relaxed)
    }
}

/// The input of one call, as it is digested and kept with a dead letter.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
enum Input<'a> {
    Tick(&'a Tick),
    Event(&'a StrategyEvent),
    Host(&'static str),
}

impl Input<'_> {
    fn origin(&self) -> Origin {
        match self {
            Self::Tick(_) => Origin::Tick,
            Self::Event(_) => Origin::Event,
            Self::Host(_) => Origin::Host,
        }
    }

    /// Canonical CBOR: field order is fixed by the types and there are no maps.
    fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        // Writing to memory cannot fail, and every type in here is representable.
        let _ = ciborium::into_writer(self, &mut bytes);
        bytes
    }
}

impl Core {
    pub(super) fn call_on_tick(&mut self, now: Now, tick: &Tick, out: &mut Vec<Effect>) {
        self.call(now, tick.instrument, &Input::Tick(tick), out);
    }

    /// Tells the strategy something about its orders or itself.
    pub(super) fn tell(
        &mut self,
        now: Now,
        instrument: InstrumentId,
        event: &StrategyEvent,
        out: &mut Vec<Effect>,
    ) {
        self.call(now, instrument, &Input::Event(event), out);
    }

    pub(super) fn fire_timers(&mut self, now: Now, out: &mut Vec<Effect>) {
        if self.config.time == TimeSource::Wall {
            self.market_now = now.wall;
        }
        // A timer that is set again to a moment in the past must not hold the core in this loop.
        for _ in 0..crate::plugin::Services::TIMERS_MAX {
            let Some(id) = self.services.take_due_timer(self.market_now) else { break };
            self.tell(now, InstrumentId(0), &StrategyEvent::Timer(id), out);
        }
    }

    fn call(&mut self, now: Now, instrument: InstrumentId, input: &Input<'_>, out: &mut Vec<Effect>) {
        if self.life != Life::Running || self.modes.mode() == Mode::Shutdown {
            return;
        }
        let context = self.context(instrument);
        let Some(strategy) = self.strategy.as_mut() else { return };
        self.call += 1;
        self.stats.calls += 1;
        self.services.now = context.now;
        let mut intents = std::mem::take(&mut self.buffer);
        intents.clear();
        let result = match input {
            Input::Tick(tick) => strategy.on_tick(tick, &context, &mut self.services, &mut intents),
            Input::Event(event) => strategy.on_event(event, &context, &mut self.services, &mut intents),
            Input::Host(_) => Ok(()),
        };
        if let Some(fuel) = strategy.fuel_used() {
            self.stats.fuel_total = self.stats.fuel_total.saturating_add(fuel);
            self.stats.fuel_max = self.stats.fuel_max.max(fuel);
        }
        if !self.services.telemetry.lines.is_empty() {
            out.push(Effect::Said(std::mem::take(&mut self.services.telemetry.lines)));
        }
        match result.and_then(|()| self.check_count(intents.len())) {
            Ok(()) if intents.is_empty() => self.accept_call(),
            Ok(()) => {
                let outer = self.chain.clone();
                let chain = outer.clone().unwrap_or_default();
                if chain.count() < self.config.limits.calls_per_event_max {
                    self.accept_call();
                    self.chain = Some(chain);
                    self.decide(now, input, &intents, out);
                    self.chain = outer;
                } else {
                    self.services.abort();
                    self.halt_runaway(now, input, out);
                }
            }
            Err(error) => {
                self.services.abort();
                self.on_call_error(now, input, &error, out);
            }
        }
        self.buffer = intents;
    }

    fn accept_call(&mut self) {
        self.modes.called(false);
        self.services.commit();
        self.faults_in_a_row = 0;
    }

    /// A sandbox enforces this too; here it holds for a strategy of any kind.
    fn check_count(&self, returned: usize) -> Result<(), CallError> {
        let max = self.config.limits.intents_per_call_max;
        if returned as u64 <= u64::from(max) {
            return Ok(());
        }
        let detail = format!("returned {returned} order intents, {max} allowed (limit intents_per_call_max)");
        Err(CallError::Trap { kind: TrapKind::Output, detail })
    }

    /// Without an end to it, every refusal would be answered with another order that is refused.
    fn halt_runaway(&mut self, now: Now, input: &Input<'_>, out: &mut Vec<Effect>) {
        let max = self.config.limits.calls_per_event_max;
        let text = format!(
            "more than {max} calls in a row answered what became of the strategy's own intents with new ones \
             (limit calls_per_event_max)"
        );
        self.stats.traps += 1;
        self.modes.called(true);
        let failure = Failure::new(Class::Logic, "calls_per_event", Phase::NotSent, text);
        self.halt(now, failure, input.bytes(), out);
    }

    fn context(&self, instrument: InstrumentId) -> TickContext {
        let books = &self.services.books;
        let open = books.working().values().filter(|order| order.instrument == instrument).count();
        TickContext {
            now: self.market_now,
            position: books.position(instrument),
            open_orders: u32::try_from(open).unwrap_or(u32::MAX),
            intents_left: self.config.limits.intents_per_call_max,
            mode: self.modes.mode(),
        }
    }

    fn on_call_error(&mut self, now: Now, input: &Input<'_>, error: &CallError, out: &mut Vec<Effect>) {
        let halted = match error {
            CallError::Fault(_) | CallError::Refused(_) => {
                self.stats.faults += 1;
                self.faults_in_a_row += 1;
                self.faults_in_a_row >= self.config.limits.faults_in_a_row_max
            }
            CallError::Trap { .. } | CallError::Dead => {
                self.stats.traps += 1;
                // Counted across restarts: a strategy that traps after every start is not trusted again.
                self.modes.called(true);
                true
            }
        };
        if halted {
            self.halt(now, error_failure(error), input.bytes(), out);
        } else {
            let failure = error_failure(error);
            self.journal(now, Record::CallFailed { call: self.call, failure, halted }, out);
        }
    }

    /// Judges the intents of a call and journals the decision.
    fn decide(&mut self, now: Now, input: &Input<'_>, intents: &[OrderIntent], out: &mut Vec<Effect>) {
        let decided = actions(intents, &self.ledger)
            .into_iter()
            .map(|(index, action)| {
                self.stats.intents += 1;
                let key = self.key(index);
                let (action, verdict) = self.judge(now, key, action, input.origin());
                let decided = Decided { index, key, action, verdict };
                self.book_decided(&decided);
                self.count_decided(&decided);
                decided
            })
            .collect();
        self.commit_decision(now, input, decided, out);
    }

    /// A decision of the host itself: cancels and closing orders while it winds an agent down.
    pub(super) fn decide_by_host(
        &mut self,
        now: Now,
        why: &'static str,
        wanted: &[Action],
        out: &mut Vec<Effect>,
    ) {
        self.call += 1;
        let decided: Vec<Decided> = (0_u32..)
            .zip(wanted)
            .map(|(index, action)| {
                let key = self.key(index);
                let (action, verdict) = self.judge(now, key, *action, Origin::Host);
                let decided = Decided { index, key, action, verdict };
                self.book_decided(&decided);
                self.count_decided(&decided);
                decided
            })
            .collect();
        self.commit_decision(now, &Input::Host(why), decided, out);
    }

    fn commit_decision(&mut self, now: Now, input: &Input<'_>, intents: Vec<Decided>, out: &mut Vec<Effect>) {
        let decision = Decision {
            call: self.call,
            origin: input.origin(),
            input: Digest::of(&input.bytes()),
            intents,
            memory: self.services.take_changed(),
        };
        if let Err(error) = self.ledger.decide(now.wall, &decision) {
            // The same slot with another content: nothing of this call may be sent.
            let failure = Failure::new(error.class(), error.code(), Phase::NotSent, error.to_string());
            self.journal(now, Record::CallFailed { call: self.call, failure, halted: true }, out);
            self.strategy = None;
            self.alert(error.class(), error.code(), error.to_string(), out);
            return;
        }
        for decided in &decision.intents {
            if matches!(decided.verdict, Verdict::Intended(_)) {
                self.due.insert(decided.key, now.mono);
                self.first_due.insert(decided.key, now.mono);
                if let Some(chain) = &self.chain {
                    self.chains.insert(decided.key, chain.clone());
                }
            }
        }
        self.dirty = true;
        self.journal(now, Record::Decided(decision), out);
    }

    fn key(&self, index: u32) -> IntentKey {
        let CoreConfig { name, incarnation, plugin, .. } = &self.config;
        Slot { agent: name, incarnation: *incarnation, plugin: *plugin, call: self.call, index }.key()
    }

    /// What to do about an action. The action comes back as it was approved: in read-only mode an order
    /// that can only reduce is made reduce-only.
    fn judge(&mut self, now: Now, key: IntentKey, action: Action, origin: Origin) -> (Action, Verdict) {
        let mode = self.modes.mode();
        if mode >= Mode::Observation && origin != Origin::Host {
            return (action, Verdict::Suppressed(mode));
        }
        match self.approve(now, key, action, origin) {
            Ok((action, request)) => (action, Verdict::Intended(request)),
            Err(verdict) => (action, verdict),
        }
    }

    fn approve(
        &mut self,
        now: Now,
        key: IntentKey,
        action: Action,
        origin: Origin,
    ) -> Result<(Action, Request), Verdict> {
        let mode = self.modes.mode();
        let instruments = &self.config.instruments;
        let view = RiskView { now: now.mono, mode, books: &self.services.books, instruments };
        let unknown = || Verdict::Refused {
            code: RiskCode::UnknownOrder.name().into(),
            reason: RejectReason::UnknownOrder,
            detail: format!("no order {} is working", action.order().0),
        };
        let (action, operation) = match action {
            Action::Submit(order) if origin == Origin::Host => {
                let approved = *self.risk.close(&view, &order).map_err(refused)?.get();
                (Action::Submit(approved), self.place(key, &approved))
            }
            Action::Submit(order) => {
                // The books know the orders of this very call, the ledger does not yet.
                let used = order.id.0 >= Ledger::HOST_ORDERS_FROM
                    || self.ledger.order(order.id).is_some()
                    || self.services.books.working().contains_key(&order.id);
                let approved = *self.risk.submit(&view, &order, used).map_err(refused)?.get();
                (Action::Submit(approved), self.place(key, &approved))
            }
            Action::Cancel(id) => {
                let order = self.ledger.working(id);
                let approved = *self.risk.cancel(id, order.is_some()).map_err(refused)?.get();
                let target = order.map(|order| Operation::Cancel { key, target: order.key });
                (Action::Cancel(approved), target)
            }
            Action::Amend(amend) => {
                let order = self.ledger.working(amend.id);
                let terms = order.map(|order| &order.terms);
                let approved = *self.risk.amend(&view, &amend, terms).map_err(refused)?.get();
                let operation = order.and_then(|order| {
                    let instrument = self.config.instruments.get(order.terms.instrument)?;
                    let (quantity, limit) = (approved.quantity, approved.limit);
                    Some(Operation::Amend { key, target: order.key, instrument, quantity, limit })
                });
                (Action::Amend(approved), operation)
            }
        };
        let request = self.dialect.request(&operation.ok_or_else(unknown)?).map_err(|error| {
            let detail = error.to_string();
            Verdict::Refused { code: "NOT_ENCODABLE".into(), reason: RejectReason::Invalid, detail }
        })?;
        Ok((action, request))
    }

    fn place(&self, key: IntentKey, order: &NewOrder) -> Option<Operation<'_>> {
        let instrument = self.config.instruments.get(order.instrument)?;
        let reference = self.services.books.holding(order.instrument).mark;
        let order = PlaceOrder {
            instrument,
            side: order.side,
            quantity: order.quantity,
            kind: order.kind,
            tif: order.tif,
            options: order.options,
            reference,
        };
        Some(Operation::Place { key, order })
    }

    /// The books know an order from the moment it is decided, so that the next intent is judged with it.
    pub(super) fn book_decided(&mut self, decided: &Decided) {
        if let (Action::Submit(order), Verdict::Intended(_)) = (&decided.action, &decided.verdict) {
            self.services.books.open_order(order.id, WorkingOrder::of(order, order.quantity));
        }
    }

    fn count_decided(&mut self, decided: &Decided) {
        match (&decided.verdict, &decided.action) {
            (Verdict::Intended(_), Action::Submit(_)) => self.stats.orders += 1,
            (Verdict::Intended(_), _) => {}
            (Verdict::Suppressed(_), _) => self.stats.suppressed += 1,
            (Verdict::Refused { .. }, _) => self.stats.refused += 1,
        }
    }

    /// A strategy learns of a refusal only when it is durable, like of everything else.
    pub(super) fn tell_refusals(&mut self, now: Now, decision: &Decision, out: &mut Vec<Effect>) {
        for decided in &decision.intents {
            let (reason, detail) = match &decided.verdict {
                Verdict::Intended(_) => continue,
                Verdict::Suppressed(mode) => (RejectReason::Mode, format!("suppressed: mode is {mode}")),
                Verdict::Refused { code, reason, detail } => (*reason, format!("{code}: {detail}")),
            };
            let order = decided.action.order();
            let instrument = match decided.action {
                Action::Submit(order) => order.instrument,
                Action::Cancel(_) | Action::Amend(_) => {
                    self.ledger.order(order).map(|order| order.terms.instrument).unwrap_or_default()
                }
            };
            self.tell(now, instrument, &StrategyEvent::Rejected { order, reason, detail }, out);
        }
    }
}

fn refused(refusal: Refusal) -> Verdict {
    let code = refusal.code;
    Verdict::Refused { code: code.name().into(), reason: code.reason(), detail: refusal.detail }
}

impl Event {
    /// Whether the event is a market sample; the shell sheds only those when an agent cannot keep up.
    pub const fn is_sample(&self) -> bool {
        matches!(self, Self::Sample(_))
    }
}
