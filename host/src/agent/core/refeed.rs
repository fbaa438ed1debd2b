//! After a start the strategy is called again with what it was called with since its state was saved.
//!
//! Each call gets what it got: the same input and context, the same memory, and the same books, so the
//! journal is folded up to where it was followed at the time of the call, and no further. What the call
//! wants is not acted on, because the journal holds what was decided; it is compared with what was wanted
//! then. A strategy that wants something else is not in the state in which it decided, and is quarantined.

use super::calls::{answer_of, check_count, last_order_of, last_wanted};
use super::lifecycle::Lifecycle;
use super::news::Untold;
use super::{Alert, Core, Effect, RecoverError};
use crate::market::Now;
use crate::orders::{
    Answer, Applied, Digest, Entry, Fed, FedInput, Origin, Record, Seen, StrategyEvent, Swap, intents_digest,
};
use crate::plugin::{CallError, Pending as Effects, Strategy, TrapKind};
use crate::resilience::{Class, Failure, Phase};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// A call that did not give again what it gave.
#[derive(Debug)]
pub(super) struct Divergence {
    fed: Fed,
    found: String,
    /// Whether the instance knows all that the one knew which did it.
    exact: bool,
}

/// The records after a checkpoint, and how far they are folded.
pub(super) struct Story<'a> {
    entries: &'a [Entry],
    /// Calls to make again, by number.
    calls: BTreeMap<u64, &'a Fed>,
    /// Calls in these records that the checkpoint contains.
    contained: BTreeSet<u64>,
    /// Records before this position are folded, or being booked.
    next: usize,
    /// Decisions before this position are folded: they take effect when they are made, and other records
    /// when they are durable.
    decided: usize,
    booking: Option<Booking<'a>>,
    /// Number of the last call that was made again.
    last_fed: u64,
    /// Whether the calls have to give again what they gave.
    pub(super) exact: bool,
    /// What the start of another component has done to the memory, until the journal comes to that start.
    pub(super) effects: Option<Effects>,
    /// The first decision after which the memory was not what the journal says.
    memory_differs: Option<u64>,
    /// The last swap. What came before it was told to another component, and is not told again.
    pub(super) swap: Option<&'a Swap>,
    /// The instance that is started where the last swap was.
    pub(super) instance: Option<Box<dyn Strategy>>,
    /// Why the strategy is quarantined at the end, if it is: nothing is called then.
    pub(super) quarantine: Option<Failure>,
}

/// A record whose order changes are being booked, one by one.
struct Booking<'a> {
    entry: &'a Entry,
    changes: VecDeque<Applied>,
    booked: u32,
}

impl<'a> Story<'a> {
    /// The records and calls that a core as its checkpoint left it does not contain.
    ///
    /// # Errors
    /// When a record is missing.
    pub(super) fn after(
        core: &Core,
        entries: &'a [Entry],
        exact: bool,
        quarantine: Option<Failure>,
    ) -> Result<Self, RecoverError> {
        let first = entries.partition_point(|entry| entry.number <= core.number);
        let entries = entries.get(first..).unwrap_or_default();
        for (expected, entry) in (core.number.saturating_add(1)..).zip(entries) {
            if entry.number != expected {
                let agent = core.config.name.clone();
                return Err(RecoverError::Gap { agent, expected, found: entry.number });
            }
        }
        let mut story = Self {
            entries,
            calls: BTreeMap::new(),
            contained: BTreeSet::new(),
            next: 0,
            decided: 0,
            booking: None,
            last_fed: 0,
            exact,
            effects: None,
            memory_differs: None,
            swap: None,
            instance: None,
            quarantine,
        };
        let mut decided = BTreeSet::new();
        for entry in entries {
            match &entry.record {
                Record::Fed { calls } => {
                    let (new, contained): (Vec<_>, Vec<_>) =
                        calls.iter().partition(|fed| fed.call > core.call);
                    story.calls.extend(new.into_iter().map(|fed| (fed.call, fed)));
                    story.contained.extend(contained.into_iter().map(|fed| fed.call));
                }
                Record::Started { plugin, forgot, terms, .. } => {
                    let same = *plugin == core.config.plugin && *terms == Some(core.config.terms());
                    story.exact &= same && *forgot == 0;
                }
                Record::Decided(decision) if decision.origin != Origin::Host => {
                    decided.insert(decision.call);
                }
                Record::Restarted { forgot, .. } => story.exact &= *forgot == 0,
                Record::Quarantined { failure, .. } => story.quarantine = Some(failure.clone()),
                Record::Released { .. } => story.quarantine = None,
                Record::Swapped(swap) => {
                    let same = swap.to == core.config.plugin && swap.terms == core.config.terms();
                    story.exact = same && swap.forgot == 0;
                    story.swap = Some(swap);
                    story.quarantine = None;
                }
                _ => {}
            }
        }
        // The host died between the record of a call and that of its decision: none of what it wanted has
        // happened, so it must not remember that it wanted it. Its number is used again.
        let happened = |fed: &Fed| !matches!(fed.answer, Answer::Wanted(_)) || decided.contains(&fed.call);
        story.calls.retain(|_, fed| happened(fed));
        Ok(story)
    }

    /// The first record, when it is the agent's first of all.
    pub(super) fn genesis(&self) -> Option<&'a Entry> {
        self.entries.first().filter(|entry| entry.number == 1)
    }

    /// The component of the agent's first start.
    pub(super) fn first_component(&self) -> Option<Digest> {
        match self.genesis()?.record {
            Record::Started { plugin, .. } => Some(plugin),
            _ => None,
        }
    }

    /// Those of a checkpoint's calls that the process did not live to journal.
    pub(super) fn not_journaled(&self, calls: Vec<Fed>) -> Vec<Fed> {
        calls.into_iter().filter(|fed| !self.contained.contains(&fed.call)).collect()
    }

    /// The highest order number that a strategy has used.
    pub(super) fn last_order(&self) -> u64 {
        let decisions = self.entries.iter().filter_map(|entry| match &entry.record {
            Record::Decided(decision) => Some(last_order_of(decision)),
            _ => None,
        });
        decisions.max().unwrap_or(0)
    }
}

/// The call that a record comes of.
const fn made_by(record: &Record) -> Option<u64> {
    match record {
        Record::Decided(decision) => Some(decision.call),
        Record::Reissued(reissue) => Some(reissue.call),
        Record::CallFailed { call, .. } => Some(*call),
        _ => None,
    }
}

/// Whether a record takes effect at once, and not when it is durable.
const fn follows_at_once(record: &Record) -> bool {
    matches!(record, Record::Decided(_) | Record::Reissued(_) | Record::Quarantined { .. })
}

impl Core {
    /// Makes the recorded calls again, each with the books as they were, and folds the rest.
    pub(super) fn refeed(&mut self, mut story: Story<'_>) -> Result<(), RecoverError> {
        let lines = std::mem::take(&mut self.services.telemetry.lines);
        for (number, fed) in std::mem::take(&mut story.calls) {
            self.fold_decisions(&mut story, number)?;
            self.fold_until(&mut story, fed.seen)?;
            self.feed(&mut story, fed)?;
            self.fold_decisions(&mut story, number.saturating_add(1))?;
        }
        self.fold_decisions(&mut story, u64::MAX)?;
        self.fold_until(&mut story, Seen { record: u64::MAX, changes: u32::MAX })?;
        if let Some(effects) = story.effects.take() {
            self.services.commit_pending(effects);
        }
        if !story.exact {
            self.kept.of_others();
        }
        if let Some(call) = story.memory_differs {
            self.findings.push(self.memory_differs(call));
        }
        if !self.config.record_inputs {
            self.untold = Untold::default();
        }
        self.services.telemetry.forget();
        self.services.telemetry.lines = lines;
        Ok(())
    }

    /// Folds what is left of the records up to a moment.
    pub(super) fn fold_until(&mut self, story: &mut Story<'_>, seen: Seen) -> Result<(), RecoverError> {
        loop {
            if let Some(mut booking) = story.booking.take() {
                let number = booking.entry.number;
                while number < seen.record || booking.booked < seen.changes {
                    let Some(change) = booking.changes.pop_front() else { break };
                    self.fold_change(number, &change)?;
                    booking.booked = booking.booked.saturating_add(1);
                }
                if !booking.changes.is_empty() {
                    story.booking = Some(booking);
                    return Ok(());
                }
                self.finish_fold(story, booking.entry)?;
            }
            let position = story.next;
            let Some(entry) = story.entries.get(position).filter(|entry| entry.number <= seen.record) else {
                return Ok(());
            };
            story.next += 1;
            if position < story.decided && follows_at_once(&entry.record) {
                continue;
            }
            let changes = self.fold_ledger(entry)?.into();
            story.booking = Some(Booking { entry, changes, booked: 0 });
        }
    }

    /// Folds the decisions of the calls before a call.
    fn fold_decisions(&mut self, story: &mut Story<'_>, call: u64) -> Result<(), RecoverError> {
        while let Some(entry) = story.entries.get(story.decided) {
            if made_by(&entry.record).is_some_and(|made_by| made_by >= call) {
                return Ok(());
            }
            if follows_at_once(&entry.record) {
                if matches!(entry.record, Record::Reissued(_)) {
                    // It is made when nothing else waits for the disk.
                    let before = entry.number.saturating_sub(1);
                    self.fold_until(story, Seen { record: before, changes: u32::MAX })?;
                }
                if story.decided >= story.next {
                    self.fold_ledger(entry)?;
                    self.finish_fold(story, entry)?;
                }
            }
            story.decided += 1;
        }
        Ok(())
    }

    fn finish_fold(&mut self, story: &mut Story<'_>, entry: &Entry) -> Result<(), RecoverError> {
        match &entry.record {
            Record::Decided(decision) => {
                self.last_order = self.last_order.max(last_order_of(decision));
                if decision.origin != Origin::Host && decision.call > story.last_fed {
                    // Calls were not recorded then: nobody knows what else the strategy was told.
                    story.exact = false;
                    self.untold.settle(entry.number);
                }
                if let Some(memory) = &decision.memory
                    && !self.services.adopt(memory)
                    && story.exact
                    && self.strategy.is_running()
                {
                    story.memory_differs.get_or_insert(decision.call);
                }
            }
            Record::Started { plugin, .. } if *plugin == self.config.plugin => {
                if let Some(effects) = story.effects.take() {
                    self.services.commit_pending(effects);
                }
            }
            Record::Swapped(swap) if story.swap.is_some_and(|last| std::ptr::eq(last, &raw const **swap)) => {
                self.fold_rest(entry)?;
                let Some(instance) = story.instance.take() else { return Ok(()) };
                let last_order = swap.next_order.saturating_sub(1);
                self.start_strategy(story, instance, last_order, (false, Some(swap.to)))?;
                self.kept.dropped = self.forgot;
                return Ok(());
            }
            _ => {}
        }
        self.fold_rest(entry)
    }

    /// Makes one call again.
    fn feed(&mut self, story: &mut Story<'_>, fed: &Fed) -> Result<(), RecoverError> {
        story.last_fed = fed.call;
        self.call = self.call.max(fed.call);
        (self.market_now, self.told) = (fed.context.now, fed.context.now);
        for (instrument, price) in fed.marked.iter().copied() {
            self.services.books.mark_at(instrument, price);
        }
        self.marked.clear();
        match &fed.input {
            FedInput::Tick(tick) => {
                self.services.books.mark(tick);
                self.bars.add(tick);
            }
            FedInput::Bar(bar) => self.bars.follow(bar),
            FedInput::Event(StrategyEvent::Timer(id)) => self.services.take_timer(*id),
            FedInput::Event(event) => self.untold.told(event),
        }
        self.observe_equity();
        if self.config.record_inputs {
            self.kept.push(fed.clone(), &self.services.books, self.config.limits.calls_kept_max);
        }
        match fed.answer {
            Answer::Failed => self.modes.called(true),
            Answer::Refused => self.faults_in_a_row += 1,
            Answer::Quiet | Answer::Wanted(_) | Answer::Fault => return self.call_again(story, fed),
        }
        Ok(())
    }

    fn call_again(&mut self, story: &mut Story<'_>, fed: &Fed) -> Result<(), RecoverError> {
        let Some(strategy) = self.strategy.running() else {
            // It was another component's, or nothing is called: what is counted is counted all the same.
            match fed.answer {
                Answer::Fault => self.faults_in_a_row += 1,
                _ => self.accept_call(),
            }
            return Ok(());
        };
        self.stats.refed += 1;
        self.services.now = fed.context.now;
        let mut intents = std::mem::take(&mut self.buffer);
        intents.clear();
        let (context, services) = (&fed.context, &mut self.services);
        let result = match &fed.input {
            FedInput::Tick(tick) => strategy.on_tick(tick, context, services, &mut intents),
            FedInput::Bar(bar) => strategy.on_bar(bar, context, services, &mut intents),
            FedInput::Event(event) => strategy.on_event(event, context, services, &mut intents),
        };
        let found = match result.and_then(|()| check_count(context, &intents)) {
            Ok(()) if intents.is_empty() => Ok(Answer::Quiet),
            Ok(()) => Ok(Answer::Wanted(intents_digest(&intents))),
            Err(error) => Err(error),
        };
        if found.is_ok() {
            // It counts on from here, whatever becomes of what it wants. What a call that fails has wanted takes no
            // number.
            self.last_order = self.last_order.max(last_wanted(&intents));
        }
        self.buffer = intents;
        match &found {
            Ok(_) => self.accept_call(),
            Err(CallError::Fault(_)) => {
                self.services.abort();
                self.faults_in_a_row += 1;
            }
            Err(CallError::Trap { kind: TrapKind::Deadline, .. } | CallError::Refused(_)) => {
                // The machine's doing and not the strategy's: the next start may well succeed.
                let source = found.err().unwrap_or(CallError::Dead);
                return Err(RecoverError::Strategy { agent: self.config.name.clone(), source });
            }
            Err(_) => self.services.abort(),
        }
        let answer = match &found {
            Ok(answer) => *answer,
            Err(error) => answer_of(error),
        };
        if answer == Answer::Failed || (story.exact && answer != fed.answer) {
            let found = match found {
                Ok(Answer::Quiet) => "now it wants nothing".to_owned(),
                Ok(_) => "now it wants something else".to_owned(),
                Err(error) => format!("now {error}"),
            };
            self.diverged = Some(Divergence { fed: fed.clone(), found, exact: story.exact });
            self.strategy = Lifecycle::Starting { number: 0 };
            story.exact = false;
        }
        Ok(())
    }

    /// The strategy is not in the state in which it decided: it is stopped before it can decide again.
    pub(super) fn quarantine_diverged(&mut self, now: Now, out: &mut Vec<Effect>) {
        let Some(Divergence { fed, found, exact }) = self.diverged.take() else { return };
        let (code, why) = if exact {
            ("replay_diverged", "it is not deterministic, or a limit was changed")
        } else {
            (
                "strategy_not_rebuilt",
                "another component answered it then, or one that knew more of what came before",
            )
        };
        let text = format!(
            "the strategy was given call {} again after a restart and did not do what the journal says it did: \
             {found}; {why}; released, it goes on from its last saved state without the calls since",
            fed.call
        );
        let failure = Failure::new(Class::Logic, code, Phase::NotSent, text);
        self.give_up_start(now, failure, Some(fed), out);
    }

    pub(super) fn memory_differs(&self, call: u64) -> Alert {
        let text = format!(
            "agent {}: after call {call} was made again, the values, timers or random numbers that the strategy \
             keeps with the host were not what the journal says; the journal's are used; see whether the \
             strategy is deterministic",
            self.config.name
        );
        Alert { class: Class::Logic, code: "replay_memory_diverged".into(), text }
    }
}
