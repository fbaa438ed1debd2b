//! What a new instance of the strategy is started from: the last saved state, and every call since.
//!
//! A call gets again what it got: the same input and context, the same memory and the same books. The books
//! are kept where they changed otherwise than by the prices that come with the calls.

use super::calls::{check_count, last_wanted};
use super::stretch::{Retrace, Retraced, RetracedDifference};
use crate::market::{Instruments, UnixNanos};
use crate::orders::{
    Answer, Books, Fed, FedInput, OrderId, OrderIntent, StrategyEvent, intents_digest, packed,
};
use crate::plugin::{
    CallError, Memory, ServiceLimits, Services, Session, Setting, StateSnapshot, Strategy, Telemetry,
};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// A moment to start from, and the calls since.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Kept {
    /// The moment that the strategy is told at its start.
    pub(super) began: UnixNanos,
    /// First order number that it has not used.
    pub(super) next_order: u64,
    /// What it saved then.
    pub(super) state: Option<StateSnapshot>,
    /// What it kept with the host then.
    pub(super) memory: Memory,
    /// The books then.
    books: Books,
    /// Calls since, oldest first.
    #[serde(with = "packed")]
    calls: Vec<Fed>,
    /// The books before the call at this position, where they had changed.
    changed: Vec<(usize, Books)>,
    /// How many calls between the moment and the oldest one here are not here.
    pub(super) dropped: u64,
    /// Whether calls here were answered by an instance that knew something else at its start.
    #[serde(default)]
    others: bool,
    /// Whether the books have changed since the last call.
    #[serde(skip)]
    moved: bool,
}

/// Why a strategy that is called again is not what it was.
#[derive(Debug)]
pub(super) enum FeedError {
    /// It does not start.
    Start(CallError),
    /// A call that had succeeded fails, or had another result.
    Call { call: u64, error: CallError },
    /// A call gave something else than it gave.
    Differs { fed: Box<Fed>, found: &'static str },
}

impl FeedError {
    /// In words.
    pub(super) fn explain(&self) -> String {
        match self {
            Self::Start(error) => format!("it does not start: {error}"),
            Self::Call { call, error } => format!("call {call}, given again: {error}"),
            Self::Differs { fed, found } => format!(
                "it was given call {} again and did not do what it did: {found}; it is not deterministic, or a \
                 limit was changed",
                fed.call
            ),
        }
    }
}

/// What calls that were made again wanted. None of it is acted on.
#[derive(Debug, Default)]
pub(super) struct FedAgain {
    /// How many were made.
    pub(super) calls: u64,
    /// The highest order number that they used.
    pub(super) last_order: u64,
    /// Orders that they wanted to place.
    pub(super) orders: Vec<crate::orders::NewOrder>,
}

/// Which of the kept calls are made again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Again {
    /// Those that did not fail, and each has to give what it gave.
    Same,
    /// Those that did not fail.
    Good,
    /// Every one: another component failed in them.
    All,
}

/// What a strategy is told at its start, besides what is kept.
pub(super) struct Terms<'a> {
    pub(super) run_id: u64,
    pub(super) seed: u64,
    pub(super) live: bool,
    pub(super) settings: &'a [Setting],
    pub(super) instruments: &'a Arc<Instruments>,
    /// What it may keep and say.
    pub(super) limits: ServiceLimits,
}

impl Terms<'_> {
    pub(super) fn session(&self, now: UnixNanos, next_order: u64) -> Session {
        Session {
            run_id: self.run_id,
            seed: self.seed,
            now,
            next_order_id: OrderId(next_order),
            instruments: (**self.instruments).clone(),
            settings: self.settings.to_vec(),
            live: self.live,
        }
    }
}

impl Kept {
    pub(super) fn new(
        (began, next_order): (UnixNanos, u64),
        state: Option<StateSnapshot>,
        memory: Memory,
        books: Books,
    ) -> Self {
        Self {
            began,
            next_order,
            state,
            memory,
            books,
            calls: Vec::new(),
            changed: Vec::new(),
            dropped: 0,
            others: false,
            moved: false,
        }
    }

    /// How many calls there are.
    pub(super) fn len(&self) -> usize {
        self.calls.len()
    }

    /// Whether a fresh instance of the same component gives what was given.
    pub(super) const fn is_exact(&self) -> bool {
        self.dropped == 0 && !self.others
    }

    /// Takes note that the calls here were answered by an instance that is not rebuilt.
    pub(super) const fn of_others(&mut self) {
        self.others = true;
    }

    pub(super) fn last_call(&self) -> u64 {
        self.calls.last().map_or(0, |fed| fed.call)
    }

    /// Takes note that the books have changed.
    pub(super) const fn books_moved(&mut self) {
        self.moved = true;
    }

    /// Keeps one call, with the books as it saw them. Beyond `max` the older half is forgotten.
    pub(super) fn push(&mut self, call: Fed, books: &Books, max: usize) {
        if self.calls.len() >= max.max(1) {
            self.forget(self.calls.len().div_ceil(2));
        }
        if std::mem::take(&mut self.moved) {
            self.changed.push((self.calls.len(), books.clone()));
        }
        self.calls.push(call);
    }

    /// Forgets the oldest calls: their effect on the strategy is lost, that on the books is not.
    fn forget(&mut self, count: usize) {
        let later = self.changed.partition_point(|(position, _)| *position < count);
        for (_, books) in self.changed.drain(..later) {
            self.books = books;
        }
        self.changed.iter_mut().for_each(|(position, _)| *position = position.saturating_sub(count));
        for fed in self.calls.drain(..count.min(self.calls.len())) {
            mark(&mut self.books, &fed);
            self.dropped = self.dropped.saturating_add(1);
        }
    }

    /// Forgets every call; so many are not here then.
    pub(super) fn forget_all(&mut self) {
        self.forget(self.calls.len());
    }

    /// The same with only the newest calls, and with the books as they are now.
    pub(super) fn newest(&self, most: usize, books: &Books) -> Self {
        let mut newest = self.clone();
        newest.forget(self.calls.len().saturating_sub(most));
        if newest.moved {
            newest.changed.push((newest.calls.len(), books.clone()));
        }
        newest
    }

    /// Starts a fresh instance and makes the calls again.
    ///
    /// Returns the services with what the strategy keeps with the host after it. What it says is said in
    /// `telemetry` and forgotten: it was said before.
    pub(super) fn revive(
        &self,
        strategy: &mut dyn Strategy,
        terms: &Terms<'_>,
        (next_order, again): (u64, Again),
        telemetry: &mut Telemetry,
    ) -> Result<(Box<Services>, FedAgain), FeedError> {
        let mut services = self.services(terms.instruments, terms.limits);
        std::mem::swap(&mut services.telemetry, telemetry);
        let lines = std::mem::take(&mut services.telemetry.lines);
        let outcome = self
            .start(strategy, terms, next_order, &mut services)
            .map_err(FeedError::Start)
            .and_then(|()| self.feed(strategy, again, &mut services));
        services.telemetry.forget();
        services.telemetry.lines = lines;
        std::mem::swap(&mut services.telemetry, telemetry);
        outcome.map(|fed| (services, fed))
    }

    /// Services as they were at the moment that is kept.
    pub(super) fn services(&self, instruments: &Arc<Instruments>, limits: ServiceLimits) -> Box<Services> {
        let services = Services::restore(self.books.clone(), self.memory.clone(), Arc::clone(instruments));
        Box::new(services.with_limits(limits))
    }

    fn start(
        &self,
        strategy: &mut dyn Strategy,
        terms: &Terms<'_>,
        next_order: u64,
        services: &mut Box<Services>,
    ) -> Result<(), CallError> {
        services.now = self.began;
        strategy.init(&terms.session(self.began, next_order), services)?;
        if let Some(state) = &self.state {
            strategy.load(state, services)?;
        }
        // What a start does to the memory is in it since the first one.
        services.abort();
        Ok(())
    }

    /// Makes the calls again. A timer that fired in one that failed has fired all the same.
    pub(super) fn feed(
        &self,
        strategy: &mut dyn Strategy,
        which: Again,
        services: &mut Box<Services>,
    ) -> Result<FedAgain, FeedError> {
        let mut again = FedAgain::default();
        let mut changed = self.changed.iter().peekable();
        let mut intents = Vec::new();
        for (position, fed) in self.calls.iter().enumerate() {
            if let Some((_, books)) = changed.next_if(|(at, _)| *at == position) {
                services.books = books.clone();
            }
            mark(&mut services.books, fed);
            if let FedInput::Event(StrategyEvent::Timer(id)) = &fed.input {
                services.take_timer(*id);
            }
            if which == Again::All || !matches!(fed.answer, Answer::Failed | Answer::Refused) {
                call(strategy, fed, which == Again::Same, services, &mut intents)?;
                again.take(&intents);
            }
        }
        if let Some((_, books)) = changed.next() {
            services.books = books.clone();
        }
        Ok(again)
    }
}

impl Kept {
    /// Brings a fresh instance to the moment that is kept.
    pub(super) fn begin(&self, strategy: &mut dyn Strategy, terms: &Terms<'_>) -> Result<(), CallError> {
        let mut services = self.services(terms.instruments, terms.limits);
        self.start(strategy, terms, self.next_order, &mut services)
    }

    /// Makes the calls again, and `failing` after them, until one gives something else than it gave.
    pub(super) fn retrace(
        &self,
        strategy: &mut dyn Strategy,
        terms: &Terms<'_>,
        failing: Option<&Fed>,
        how: Retrace,
    ) -> Retraced {
        let mut retraced = Retraced::default();
        let mut services = self.services(terms.instruments, terms.limits);
        let mut changed = self.changed.iter().peekable();
        for (position, fed) in self.calls.iter().chain(failing).enumerate() {
            if let Some((_, books)) = changed.next_if(|(at, _)| *at == position) {
                services.books = books.clone();
            }
            let is_last = failing.is_some_and(|failing| failing.call == fed.call);
            let failed = matches!(fed.answer, Answer::Failed | Answer::Refused);
            if failed && !is_last {
                // Another instance came after it, and was not given it.
                mark(&mut services.books, fed);
                if let FedInput::Event(StrategyEvent::Timer(id)) = &fed.input {
                    services.take_timer(*id);
                }
                continue;
            }
            let result = call_once(strategy, fed, &mut services);
            let fuel = strategy.fuel_used();
            let counts = fed.call > how.after;
            retraced.calls += u64::from(counts);
            retraced.fuel = retraced.fuel.saturating_add(fuel.filter(|_| counts).unwrap_or(0));
            let answer = match &result {
                Ok(intents) if intents.is_empty() => Answer::Quiet,
                Ok(intents) => Answer::Wanted(intents_digest(intents)),
                Err(CallError::Fault(_)) => Answer::Fault,
                Err(_) => Answer::Failed,
            };
            let same_fuel =
                !how.fuel || fed.fuel.is_none_or(|before| fuel.is_none_or(|now| now == before.get()));
            if how.exact && (answer != fed.answer || !same_fuel) {
                retraced.difference = Some(RetracedDifference { fed: fed.clone(), found: result, fuel });
                return retraced;
            }
            match result {
                Ok(intents) => {
                    services.commit();
                    let intents = intents.into_iter().filter(|_| counts);
                    retraced.intents.extend(intents.map(|intent| (fed.call, intent)));
                }
                Err(error) => {
                    services.abort();
                    if answer == Answer::Failed {
                        retraced.failed.push((fed.call, error.to_string()));
                        return retraced;
                    }
                }
            }
        }
        retraced
    }
}

impl FedAgain {
    fn take(&mut self, intents: &[OrderIntent]) {
        self.calls += 1;
        self.last_order = self.last_order.max(last_wanted(intents));
        for intent in intents {
            if let OrderIntent::Submit(order) = intent {
                self.orders.push(*order);
            }
        }
    }
}

/// Prices that come with a call.
fn mark(books: &mut Books, fed: &Fed) {
    for (instrument, price) in fed.marked.iter().copied() {
        books.mark_at(instrument, price);
    }
    if let FedInput::Tick(tick) = &fed.input {
        books.mark(tick);
    }
}

/// Makes one call again, and commits what it did to the memory when it did what it did.
fn call(
    strategy: &mut dyn Strategy,
    fed: &Fed,
    exact: bool,
    services: &mut Box<Services>,
    intents: &mut Vec<OrderIntent>,
) -> Result<(), FeedError> {
    services.now = fed.context.now;
    intents.clear();
    let result = match &fed.input {
        FedInput::Tick(tick) => strategy.on_tick(tick, &fed.context, services, intents),
        FedInput::Bar(bar) => strategy.on_bar(bar, &fed.context, services, intents),
        FedInput::Event(event) => strategy.on_event(event, &fed.context, services, intents),
    };
    let answer = match result.and_then(|()| check_count(&fed.context, intents)) {
        Ok(()) if intents.is_empty() => Answer::Quiet,
        Ok(()) => Answer::Wanted(intents_digest(intents)),
        Err(CallError::Fault(_)) => {
            intents.clear();
            Answer::Fault
        }
        Err(error) => return Err(FeedError::Call { call: fed.call, error }),
    };
    match answer {
        Answer::Fault => services.abort(),
        _ => services.commit(),
    }
    if exact && answer != fed.answer {
        let found = match answer {
            Answer::Quiet => "now it wants nothing",
            Answer::Fault => "now it reports a fault",
            _ => "now it wants something else",
        };
        return Err(FeedError::Differs { fed: Box::new(fed.clone()), found });
    }
    Ok(())
}

/// Makes one call, as [`super::Stretch`] does with the one that failed.
pub(super) fn call_once(
    strategy: &mut dyn Strategy,
    fed: &Fed,
    services: &mut Box<Services>,
) -> Result<Vec<OrderIntent>, CallError> {
    mark(&mut services.books, fed);
    if let FedInput::Event(StrategyEvent::Timer(id)) = &fed.input {
        services.take_timer(*id);
    }
    services.now = fed.context.now;
    let mut intents = Vec::new();
    match &fed.input {
        FedInput::Tick(tick) => strategy.on_tick(tick, &fed.context, services, &mut intents)?,
        FedInput::Bar(bar) => strategy.on_bar(bar, &fed.context, services, &mut intents)?,
        FedInput::Event(event) => strategy.on_event(event, &fed.context, services, &mut intents)?,
    }
    check_count(&fed.context, &intents)?;
    Ok(intents)
}
