//! Calls into the strategy, and the decisions that follow from them.

use super::modes::error_failure;
use super::{Core, CoreConfig, Effect, Event, Life, TimeSource};
use crate::market::{Bar, InstrumentId, Now, Tick};
use crate::orders::{
    Action, Answer, Decided, Decision, Digest, Fed, FedInput, IntentKey, Ledger, Mode, NewOrder, OrderIntent,
    Origin, Record, Refusal, RejectReason, RiskCode, RiskView, Slot, StrategyEvent, Verdict, WorkingOrder,
    actions, intents_digest,
};
use crate::plugin::{CallError, TickContext, TrapKind};
use crate::resilience::{Class, Classified, Failure, Phase};
use crate::venue::{Operation, PlaceOrder, Request};
use serde::Serialize;
use std::num::NonZeroU64;
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
    Bar(&'a Bar),
    Event(&'a StrategyEvent),
    Host(&'static str),
}

impl Input<'_> {
    fn origin(&self) -> Origin {
        match self {
            Self::Tick(_) => Origin::Tick,
            Self::Bar(_) => Origin::Bar,
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

/// Why there are no bytes for an action.
pub(super) struct Unsendable {
    /// A stable code.
    pub(super) code: &'static str,
    /// The reason as the strategy sees it.
    reason: RejectReason,
    /// In words.
    pub(super) detail: String,
}

impl Core {
    pub(super) fn call_on_tick(&mut self, now: Now, tick: &Tick, out: &mut Vec<Effect>) {
        self.call_on_bars(now, tick, out);
        self.call(now, tick.instrument, &Input::Tick(tick), out);
    }

    pub(super) fn call_on_bar(&mut self, now: Now, bar: &Bar, out: &mut Vec<Effect>) {
        self.call(now, bar.instrument, &Input::Bar(bar), out);
    }

    /// Whether the strategy is given what happens now.
    pub(super) fn is_called(&self) -> bool {
        self.life == Life::Running && self.modes.mode() != Mode::Shutdown && self.strategy.is_running()
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
        // One that fires to nobody would be gone: it stays for the next start.
        if self.life != Life::Running || self.modes.mode() == Mode::Shutdown || !self.strategy.is_running() {
            return;
        }
        // A timer that is set again to a moment in the past must not hold the core in this loop.
        for _ in 0..self.config.limits.services.timers_max {
            if !self.strategy.is_running() {
                break;
            }
            let Some(id) = self.services.take_due_timer(self.market_now) else { break };
            self.tell(now, InstrumentId(0), &StrategyEvent::Timer(id), out);
        }
    }

    fn call(&mut self, now: Now, instrument: InstrumentId, input: &Input<'_>, out: &mut Vec<Effect>) {
        if self.life != Life::Running || self.modes.mode() == Mode::Shutdown {
            if let Input::Event(event) = input {
                self.keep_untold(instrument, event);
            }
            return;
        }
        if !self.strategy.is_running() {
            if let Input::Event(event) = input {
                self.keep_news(instrument, event);
            }
            return;
        }
        if matches!(input, Input::Event(_)) {
            // A tick is valued when it comes; this is news that may have changed what is held.
            self.observe_equity();
        }
        let context = self.context(instrument);
        let Some(strategy) = self.strategy.running() else { return };
        self.call += 1;
        self.stats.calls += 1;
        self.services.now = context.now;
        self.told = context.now;
        let mut intents = std::mem::take(&mut self.buffer);
        intents.clear();
        let result = match input {
            Input::Tick(tick) => strategy.on_tick(tick, &context, &mut self.services, &mut intents),
            Input::Bar(bar) => strategy.on_bar(bar, &context, &mut self.services, &mut intents),
            Input::Event(event) => strategy.on_event(event, &context, &mut self.services, &mut intents),
            Input::Host(_) => Ok(()),
        };
        if let Some(fuel) = strategy.fuel_used() {
            self.stats.fuel_total = self.stats.fuel_total.saturating_add(fuel);
            self.stats.fuel_max = self.stats.fuel_max.max(fuel);
        }
        self.listen(now, out);
        let result = result.and_then(|()| check_count(&context, &intents));
        if self.shadow.is_some()
            && let Some(fed) = self.fed(context, input, Answer::Quiet)
        {
            self.shadow_call(&fed, result.as_ref().map(|()| intents.as_slice()));
        }
        match result {
            Ok(()) if intents.is_empty() => {
                self.accept_call();
                self.remember_call(now, context, input, Answer::Quiet, out);
            }
            Ok(()) => {
                let outer = self.chain.clone();
                let chain = outer.clone().unwrap_or_default();
                if chain.count() < self.config.limits.calls_per_event_max {
                    self.accept_call();
                    let output = intents_digest(&intents);
                    self.remember_call(now, context, input, Answer::Wanted(output), out);
                    self.chain = Some(chain);
                    self.decide(now, input, output, &intents, out);
                    self.chain = outer;
                } else {
                    self.services.abort();
                    let failing = self.fed(context, input, Answer::Failed);
                    self.remember_call(now, context, input, Answer::Failed, out);
                    self.stop_runaway(now, failing, out);
                }
            }
            Err(error) => {
                self.services.abort();
                let failing = self.fed(context, input, answer_of(&error));
                self.remember_call(now, context, input, answer_of(&error), out);
                self.on_call_error(now, failing, &error, out);
            }
        }
        self.buffer = intents;
        if self.probation.is_some() && matches!(input, Input::Tick(_)) {
            self.count_probation(out);
        }
    }

    /// The call at hand, as it is recorded.
    fn fed(&self, context: TickContext, input: &Input<'_>, answer: Answer) -> Option<Fed> {
        let input = match input {
            Input::Tick(tick) => FedInput::Tick(**tick),
            Input::Bar(bar) => FedInput::Bar(**bar),
            Input::Event(event) => FedInput::Event((*event).clone()),
            Input::Host(_) => return None,
        };
        let own = match &input {
            FedInput::Tick(tick) => tick.mark_price().map(|_| tick.instrument),
            FedInput::Bar(_) | FedInput::Event(_) => None,
        };
        let marked = self.marked.iter().filter(|(instrument, _)| Some(*instrument) != own).copied().collect();
        let fuel = self.strategy.instance().and_then(|strategy| strategy.fuel_used());
        let fuel = fuel.filter(|_| answer != Answer::Refused).and_then(NonZeroU64::new);
        Some(Fed { call: self.call, seen: self.seen, marked, context, input, answer, fuel })
    }

    /// Takes note of a price for the call that sees it first.
    pub(super) fn note_marked(&mut self, tick: &Tick) {
        let Some(price) = tick.mark_price().filter(|_| self.config.record_inputs) else { return };
        match self.marked.iter_mut().find(|(instrument, _)| *instrument == tick.instrument) {
            Some((_, before)) => *before = price,
            None => self.marked.push((tick.instrument, price)),
        }
    }

    fn remember_call(
        &mut self,
        now: Now,
        context: TickContext,
        input: &Input<'_>,
        answer: Answer,
        out: &mut Vec<Effect>,
    ) {
        if !self.config.record_inputs {
            return;
        }
        let Some(call) = self.fed(context, input, answer) else { return };
        self.marked.clear();
        self.keep_call(now, call, out);
    }

    pub(super) fn accept_call(&mut self) {
        self.modes.called(false);
        self.services.commit();
        self.faults_in_a_row = 0;
    }

    /// Without an end to it, every refusal would be answered with another order that is refused.
    fn stop_runaway(&mut self, now: Now, failing: Option<Fed>, out: &mut Vec<Effect>) {
        let max = self.config.limits.calls_per_event_max;
        let text = format!(
            "more than {max} calls in a row answered what became of the strategy's own intents with new ones \
             (limit calls_per_event_max)"
        );
        self.stats.traps += 1;
        self.modes.called(true);
        let failure = Failure::new(Class::Logic, "calls_per_event", Phase::NotSent, text);
        self.strike(now, failure, failing, out);
    }

    pub(super) fn context(&self, instrument: InstrumentId) -> TickContext {
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

    fn on_call_error(&mut self, now: Now, failing: Option<Fed>, error: &CallError, out: &mut Vec<Effect>) {
        let failed = match error {
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
        let failure = error_failure(error);
        if failed {
            self.strike(now, failure, failing, out);
        } else {
            self.journal(now, Record::CallFailed { call: self.call, failure, halted: false }, out);
        }
    }

    /// Judges the intents of a call and journals the decision.
    fn decide(
        &mut self,
        now: Now,
        input: &Input<'_>,
        output: Digest,
        intents: &[OrderIntent],
        out: &mut Vec<Effect>,
    ) {
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
        self.commit_decision(now, input, Some(output), decided, out);
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
        self.commit_decision(now, &Input::Host(why), None, decided, out);
    }

    fn commit_decision(
        &mut self,
        now: Now,
        input: &Input<'_>,
        output: Option<Digest>,
        intents: Vec<Decided>,
        out: &mut Vec<Effect>,
    ) {
        let decision = Decision {
            call: self.call,
            origin: input.origin(),
            input: Digest::of(&input.bytes()),
            output,
            intents,
            memory: self.services.take_changed(),
        };
        if let Err(error) = self.ledger.decide(now.wall, &decision) {
            // The same slot with another content: nothing of this call may be sent.
            let failure = Failure::new(error.class(), error.code(), Phase::NotSent, error.to_string());
            self.unbook(&decision);
            self.halt_for_slot(now, failure, out);
            return;
        }
        self.last_order = self.last_order.max(last_order_of(&decision));
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

    pub(super) fn key(&self, index: u32) -> IntentKey {
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
        let approved = self
            .within_rate(now, &action, origin)
            .map_err(refused)
            .and_then(|()| self.approve(now, key, action, origin));
        match approved {
            Ok((action, request)) => (action, Verdict::Intended(request)),
            Err(verdict) => (action, verdict),
        }
    }

    /// How many intents a strategy has a second. The host's own are not counted: they bring an agent to rest.
    fn within_rate(&mut self, now: Now, action: &Action, origin: Origin) -> Result<(), Refusal> {
        match (origin, action) {
            (Origin::Host, _) => Ok(()),
            (_, Action::Cancel(id)) if self.ledger.working(*id).is_some() => self.risk.admit_cancel(now.mono),
            _ => self.risk.admit(now.mono),
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
        let about = match action {
            Action::Submit(order) => Some(order.instrument),
            Action::Amend(amend) => self.ledger.working(amend.id).map(|order| order.terms.instrument),
            Action::Cancel(_) => None,
        };
        let price_age = about.and_then(|instrument| self.price_age(now, instrument));
        let view = RiskView { now: now.mono, mode, books: &self.services.books, instruments, price_age };
        let action = match action {
            Action::Submit(order) if origin == Origin::Host => {
                Action::Submit(*self.risk.close(&view, &order).map_err(refused)?.get())
            }
            Action::Submit(order) => {
                // The books know the orders of this very call, the ledger does not yet.
                let used = order.id.0 >= Ledger::HOST_ORDERS_FROM
                    || self.ledger.is_used(order.id)
                    || self.services.books.working().contains_key(&order.id);
                self.check_unlocked(order.instrument).map_err(refused)?;
                Action::Submit(*self.risk.submit(&view, &order, used).map_err(refused)?.get())
            }
            Action::Cancel(id) => {
                let works = self.ledger.working(id).is_some();
                Action::Cancel(*self.risk.cancel(id, works).map_err(refused)?.get())
            }
            Action::Amend(amend) => {
                let terms = self.ledger.working(amend.id).map(|order| &order.terms);
                terms.map_or(Ok(()), |terms| self.check_unlocked(terms.instrument)).map_err(refused)?;
                Action::Amend(*self.risk.amend(&view, &amend, terms).map_err(refused)?.get())
            }
        };
        let request = self.encode(key, &action).map_err(|unsendable| {
            let Unsendable { code, reason, detail } = unsendable;
            Verdict::Refused { code: code.into(), reason, detail }
        })?;
        Ok((action, request))
    }

    /// The bytes of an action that the risk gate has approved.
    pub(super) fn encode(&self, key: IntentKey, action: &Action) -> Result<Request, Unsendable> {
        let order = self.ledger.working(action.order());
        let operation = match action {
            Action::Submit(order) => self.place(key, order),
            Action::Cancel(_) => order.map(|order| Operation::Cancel {
                key,
                target: order.key,
                venue_id: order.venue_id.as_deref(),
            }),
            Action::Amend(amend) => order.and_then(|order| {
                let instrument = self.config.instruments.get(order.terms.instrument)?;
                let (quantity, limit) = (amend.quantity, amend.limit);
                let venue_id = order.venue_id.as_deref();
                Some(Operation::Amend { key, target: order.key, venue_id, instrument, quantity, limit })
            }),
        };
        let operation = operation.ok_or_else(|| Unsendable {
            code: RiskCode::UnknownOrder.name(),
            reason: RejectReason::UnknownOrder,
            detail: format!("no order {} is working", action.order().0),
        })?;
        self.dialect.request(&operation).map_err(|error| {
            let detail = error.to_string();
            Unsendable { code: "NOT_ENCODABLE", reason: RejectReason::Invalid, detail }
        })
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
            held: self.services.books.position(order.instrument),
        };
        Some(Operation::Place { key, order })
    }

    /// The books know an order from the moment it is decided, so that the next intent is judged with it.
    pub(super) fn book_decided(&mut self, decided: &Decided) {
        if matches!(decided.verdict, Verdict::Intended(_)) {
            self.book_placed(decided.key, &decided.action);
        }
    }

    pub(super) fn book_placed(&mut self, key: IntentKey, action: &Action) {
        match action {
            Action::Submit(order) => {
                self.services.books.open_order(order.id, WorkingOrder::of(order, order.quantity));
                self.books_moved();
            }
            Action::Amend(amend) => {
                self.services.books.claim(key, amend);
                self.books_moved();
            }
            Action::Cancel(_) => {}
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
        for decided in decision.intents.iter().filter(|_| decision.origin == Origin::Host) {
            if let (Action::Submit(_), Verdict::Refused { detail, .. }) = (&decided.action, &decided.verdict)
            {
                self.closing_refused = Some(detail.clone());
            }
        }
        for (instrument, event) in self.refusal_news(decision) {
            self.tell(now, instrument, &event, out);
        }
    }
}

/// The highest order number that a decision of a strategy uses, whatever the host decided about it.
pub(super) fn last_order_of(decision: &Decision) -> u64 {
    let orders = decision.intents.iter().filter_map(|decided| match decided.action {
        Action::Submit(order) => Some(order.id.0),
        Action::Cancel(_) | Action::Amend(_) => None,
    });
    orders.filter(|id| *id < Ledger::HOST_ORDERS_FROM).max().unwrap_or(0)
}

/// The highest order number that a strategy uses in these.
pub(super) fn last_wanted(intents: &[OrderIntent]) -> u64 {
    let orders = intents.iter().filter_map(|intent| match intent {
        OrderIntent::Submit(order) => Some(order.id.0),
        _ => None,
    });
    orders.filter(|id| *id < Ledger::HOST_ORDERS_FROM).max().unwrap_or(0)
}

/// A sandbox enforces this too; here it holds for a strategy of any kind.
pub(super) fn check_count(context: &TickContext, intents: &[OrderIntent]) -> Result<(), CallError> {
    let (returned, max) = (intents.len(), context.intents_left);
    if returned as u64 <= u64::from(max) {
        return Ok(());
    }
    let detail = format!("returned {returned} order intents, {max} allowed (limit intents_per_call_max)");
    Err(CallError::Trap { kind: TrapKind::Output, detail })
}

pub(super) const fn answer_of(error: &CallError) -> Answer {
    match error {
        CallError::Fault(_) => Answer::Fault,
        CallError::Refused(_) => Answer::Refused,
        CallError::Trap { .. } | CallError::Dead => Answer::Failed,
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
