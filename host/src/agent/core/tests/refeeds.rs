//! I7: after a death the strategy is what it was, and so is everything it can see.

use super::checks::state_of;
use super::keeper::Keeper;
use super::rig::Rig;
use super::venue::Kind;
use super::*;
use crate::agent::core::{Core, FailAction, Operator, Snapshot, State};
use crate::market::UnixNanos;
use crate::orders::{Entry, FedInput, Record, StrategyEvent};
use crate::plugin::Strategy;

/// All that has to be the same, as bytes.
fn essence(core: &mut Core, forgets_at: Option<UnixNanos>) -> Vec<(&'static str, Vec<u8>)> {
    fn bytes(part: &impl serde::Serialize) -> Vec<u8> {
        let mut bytes = Vec::new();
        ciborium::into_writer(part, &mut bytes).unwrap();
        bytes
    }
    let Core { strategy, services, .. } = core;
    let saved = strategy.running().map(|strategy| strategy.save(services).unwrap());
    // One that was given what others have answered counts from where that took it.
    let last_order = core.kept.is_exact().then_some(core.last_order);
    let state = state_of(core, forgets_at);
    vec![
        ("strategy", bytes(&saved)),
        ("memory", bytes(&state.memory)),
        ("books", bytes(&state.books)),
        ("ledger", bytes(&state.ledger)),
        ("peak", bytes(&core.modes.peak())),
        ("mode", bytes(&core.mode())),
        ("numbers", bytes(&(state.number, state.call, state.host_orders))),
        ("last order", bytes(&last_order)),
        ("now", bytes(&state.now)),
        ("bars", bytes(&state.bars)),
    ]
}

type Part = (&'static str, Vec<u8>);

fn differing(a: &[Part], b: &[Part]) -> Vec<&'static str> {
    let unknown = |part: &Vec<u8>| part[..] == [0xF6];
    let differ =
        |(a, b): &(&Part, &Part)| a.1 != b.1 && !(a.0 == "last order" && (unknown(&a.1) || unknown(&b.1)));
    a.iter().zip(b).filter(differ).map(|(a, _)| a.0).collect()
}

impl Rig {
    pub(super) fn keeping(make: fn() -> Box<dyn Strategy>) -> Self {
        Self::recording(make, true)
    }

    /// Without a venue to be reconciled with: a start tells the strategy nothing then.
    fn offline(make: fn() -> Box<dyn Strategy>) -> Self {
        Self::recording(make, false)
    }

    fn recording(make: fn() -> Box<dyn Strategy>, live: bool) -> Self {
        let mut rig = Self::unstarted(Kind::Keys, |config, _| {
            config.record_inputs = true;
            config.live = live;
        });
        rig.make = Some(make);
        rig.start();
        rig.run();
        rig
    }

    /// Lets time pass until the journal holds every call.
    pub(super) fn settle(&mut self) {
        self.hold_acks = false;
        self.ack();
        self.run();
        for _ in 0..1_000 {
            if !self.core().marked.is_empty() && !self.core().is_halted() {
                // Prices that the journal has not heard of come with the next call.
                self.tick();
            }
            if self.core().unjournaled_calls().is_empty() && self.unsynced.is_empty() {
                return;
            }
            self.advance(50);
        }
        panic!("the strategy is called without an end");
    }

    fn recovered(&self, checkpoint: Option<&Snapshot>) -> Vec<(&'static str, Vec<u8>)> {
        let mut core = self.try_recover(self.strategy.clone(), checkpoint).unwrap();
        assert!(core.diverged.is_none(), "{:?}", core.diverged);
        assert!(core.findings.is_empty(), "{:?}", core.findings);
        essence(&mut core, self.forgets_at())
    }

    /// What the journal alone says, and each checkpoint with the journal after it, is the same.
    pub(super) fn check_recoveries(&self) {
        let genesis = self.recovered(None);
        for checkpoint in self.checkpoints.iter().rev().take(6) {
            let state = State::decode(&self.config.name, &checkpoint.payload).unwrap();
            let ahead = state.unjournaled.last().is_some_and(|last| {
                let mut calls = self.records().filter_map(|record| match record {
                    Record::Fed { calls } => calls.last(),
                    _ => None,
                });
                calls.next_back().is_none_or(|journaled| journaled.call < last.call)
            });
            if ahead {
                // It remembers ticks that the journal was not given in time.
                continue;
            }
            // One of a quarantine holds the last saved state and not the calls since.
            let forgets = state.quarantine.is_some() && state.saved_at < state.call;
            let found = self.differing(&self.recovered(Some(checkpoint)), &genesis, forgets);
            assert!(found.is_empty(), "checkpoint {} differs in {found:?}", checkpoint.number);
        }
    }

    /// The same, and what runs is that, too.
    pub(super) fn check_refeeds(&mut self) {
        self.settle();
        self.check_recoveries();
        let (genesis, forgets_at) = (self.recovered(None), self.forgets_at());
        let runs = essence(self.core.as_mut().unwrap(), forgets_at);
        let found = self.differing(&runs, &genesis, false);
        assert!(found.is_empty(), "what runs differs in {found:?}");
    }

    /// A strategy that does not know all that the journal knows of it is another one; a start said so.
    fn differing(&self, a: &[Part], b: &[Part], forgets: bool) -> Vec<&'static str> {
        let since_switch = self.records().rev().take_while(|record| !matches!(record, Record::Swapped(_)));
        let forgot = |record: &Record| match record {
            Record::Started { forgot, .. } | Record::Restarted { forgot, .. } => *forgot > 0,
            _ => false,
        };
        let another = forgets || since_switch.into_iter().any(forgot);
        let mut found = differing(a, b);
        found.retain(|part| !another || !["strategy", "memory", "last order"].contains(part));
        found
    }
}

#[test]
fn what_runs_and_what_is_rebuilt_are_the_same_to_the_byte() {
    let mut rig = Rig::keeping(Keeper::fresh);
    for tick in 0..200 {
        rig.venue.trade_at(100 + tick % 7 - tick % 3);
        rig.tick();
        rig.advance(40);
        if tick % 5 == 0 {
            rig.poll();
        }
    }
    rig.check_refeeds();
    assert!(rig.checkpoints.len() > 10 && rig.venue.log.len() > 20);
}

#[test]
fn a_strategy_goes_on_after_a_death_as_if_there_had_been_none() {
    let run = |dies: bool| {
        let mut rig = Rig::offline(Keeper::fresh);
        rig.checkpoint_fails = true;
        for tick in 0..60 {
            rig.venue.trade_at(100 + tick % 5);
            rig.tick();
            rig.settle();
            if dies && tick == 40 {
                rig.kill(usize::MAX);
                rig.start();
                rig.run();
            }
        }
        essence(rig.core.as_mut().unwrap(), None)
    };
    let found = differing(&run(true), &run(false));
    // The start is a record, and decides how far the numbers have got.
    assert!(found.iter().all(|part| ["numbers", "ledger", "last order"].contains(part)), "{found:?}");
}

#[test]
fn calls_that_wait_are_journaled_when_they_are_old_many_or_before_a_decision() {
    let mut rig = Rig::offline(|| Box::new(script::Scripted::default()));
    let fed = |rig: &Rig| {
        let calls = rig.records().filter_map(|record| match record {
            Record::Fed { calls } => Some(calls.len()),
            _ => None,
        });
        calls.collect::<Vec<_>>()
    };
    rig.tick();
    rig.tick();
    assert!(fed(&rig).is_empty());
    rig.advance(499);
    assert_eq!(fed(&rig), [2]);
    for _ in 0..256 {
        rig.tick();
    }
    assert_eq!(fed(&rig), [2, 256]);
}

#[test]
fn what_led_to_a_decision_is_journaled_before_it() {
    let mut rig = Rig::keeping(Keeper::fresh);
    for _ in 0..50 {
        rig.tick();
    }
    let mut fed = 0;
    let mut decisions = 0;
    for record in rig.records() {
        match record {
            Record::Fed { calls } => fed = calls.last().unwrap().call,
            Record::Decided(decision) => {
                assert_eq!(decision.call, fed);
                assert!(decision.output.is_some());
                decisions += 1;
            }
            _ => {}
        }
    }
    assert!(decisions > 5);
}

#[test]
fn a_strategy_that_does_not_do_again_what_it_did_is_quarantined_and_nothing_is_sent() {
    let mut rig = Rig::keeping(Keeper::fresh);
    for _ in 0..40 {
        rig.tick();
    }
    rig.heal();
    rig.settle();
    rig.kill(usize::MAX);
    rig.checkpoints.clear();
    rig.make = Some(Keeper::moody);
    let submitted =
        |rig: &Rig| rig.core().ledger().intents().values().filter(|intent| !intent.by_host).count();
    rig.start();
    rig.run();
    let before = submitted(&rig);
    assert!(rig.core().is_halted());
    assert!(rig.alerts.iter().any(|code| code == "replay_diverged"), "{:?}", rig.alerts);
    for _ in 0..20 {
        rig.tick();
    }
    assert_eq!(submitted(&rig), before);
    rig.check_intents();
    // Starting the host again does not start it; an operator does, and it goes on without those calls.
    rig.advance(40_000);
    rig.kill(usize::MAX);
    rig.alerts.clear();
    rig.start();
    rig.run();
    assert!(rig.core().is_halted(), "{:?}", rig.alerts);
    rig.operator(Operator::ReleaseStrategy { note: "a limit was changed".into() });
    assert!(!rig.core().is_halted(), "{:?}", rig.alerts);
    assert!(rig.records().any(|record| matches!(record, Record::Restarted { forgot, .. } if *forgot > 0)));
    for _ in 0..20 {
        rig.tick();
    }
    rig.settle();
    // Also from the very first record: it is known where the strategy forgot.
    rig.kill(usize::MAX);
    rig.checkpoints.clear();
    rig.start();
    rig.run();
    assert!(!rig.core().is_halted(), "{:?}", rig.alerts);
}

#[test]
fn another_component_that_fails_in_what_there_was_is_quarantined_and_not_called_undeterministic() {
    let mut rig = Rig::keeping(Keeper::fresh);
    for _ in 0..40 {
        rig.tick();
    }
    rig.settle();
    rig.kill(usize::MAX);
    rig.checkpoints.clear();
    rig.make = Some(|| Keeper::brittle(20));
    rig.config.plugin = crate::orders::Digest::of(b"another");
    rig.start();
    rig.run();
    assert!(rig.core().is_halted());
    let told = |code: &str| rig.alerts.iter().any(|alert| alert == code);
    assert!(told("strategy_not_rebuilt") && !told("replay_diverged"), "{:?}", rig.alerts);
}

#[test]
fn another_component_is_fed_what_there_was_and_not_held_to_it() {
    let mut rig = Rig::keeping(Keeper::fresh);
    for _ in 0..40 {
        rig.tick();
    }
    rig.settle();
    rig.kill(usize::MAX);
    rig.checkpoints.clear();
    rig.make = Some(Keeper::moody);
    rig.config.plugin = crate::orders::Digest::of(b"another");
    rig.start();
    rig.run();
    assert!(!rig.core().is_halted() && rig.core().stats().refed > 40, "{:?}", rig.alerts);
    // It counts its orders from where that has taken it, and the next start knows.
    let (next_order, decided) = (rig.core().next_order(), rig.core().ledger().last_strategy_order());
    let started = rig.records().rev().find_map(|record| match record {
        Record::Started { next_order, .. } => Some(*next_order),
        _ => None,
    });
    assert!(started == Some(next_order) && decided.is_some_and(|id| id.0 + 1 < next_order), "{started:?}");
    rig.heal();
    for _ in 0..20 {
        rig.tick();
        rig.settle();
        rig.kill(usize::MAX);
        rig.start();
        rig.run();
        assert!(!rig.core().is_halted(), "{:?}", rig.alerts);
    }
}

#[test]
fn prices_that_came_while_nothing_was_called_are_told_to_the_journal_by_the_next_call() {
    let mut rig = Rig::unstarted(Kind::Keys, |config, _| {
        config.record_inputs = true;
        config.supervision.strikes_max = 9.try_into().unwrap();
        config.supervision.backoff_ms = 2_000;
    });
    rig.make = Some(|| Keeper::brittle(5));
    rig.start();
    rig.run();
    for _ in 0..5 {
        rig.tick();
    }
    assert!(rig.core().is_halted(), "{:?}", rig.alerts);
    rig.venue.trade_at(104);
    rig.tick();
    while rig.core().is_halted() {
        rig.advance(1);
    }
    // What it was told at its new start is not durable; the price is in a checkpoint.
    rig.kill(0);
    rig.start();
    rig.run();
    rig.settle();
    let told = rig.records().any(|record| match record {
        Record::Fed { calls } => calls.iter().any(|fed| fed.marked == [(X, PriceTicks(104))]),
        _ => false,
    });
    assert!(told, "no call brings the price");
    rig.check_refeeds();
}

#[test]
fn a_quarantine_takes_effect_when_it_is_decided_however_late_it_is_durable() {
    let mut rig = Rig::unstarted(Kind::Keys, |config, _| config.record_inputs = true);
    rig.make = Some(|| Keeper::brittle(4));
    rig.start();
    rig.run();
    for _ in 0..3 {
        rig.tick();
    }
    rig.hold_acks = true;
    rig.tick();
    assert!(rig.core().is_halted());
    rig.operator(Operator::ReleaseStrategy { note: "looked at".into() });
    // What it keeps with the host from here on is not what it kept when it was stopped.
    for _ in 0..12 {
        rig.tick();
    }
    assert!(!rig.core().is_halted(), "{:?}", rig.alerts);
    rig.ack();
    rig.run();
    assert!(rig.records().any(|record| matches!(record, Record::Quarantined { .. })));
    rig.check_refeeds();
}

#[test]
fn what_a_call_wanted_that_reported_a_fault_takes_no_number_when_it_is_made_again() {
    let mut rig = Rig::offline(|| Box::new(script::Scripted::default()));
    rig.make = None;
    rig.kill(usize::MAX);
    rig.start();
    rig.run();
    rig.tick_with(Step::fault());
    rig.settle();
    rig.kill(usize::MAX);
    rig.strategy.script().ticks.push_back(Step::fault());
    rig.start();
    rig.run();
    assert_eq!(rig.strategy.script().ticks.len(), 0, "the call was made again");
    assert_eq!(rig.core().last_order, 0);
}

#[test]
fn a_start_after_a_start_that_died_finds_the_same_strategy() {
    let mut rig = Rig::keeping(Keeper::fresh);
    for _ in 0..60 {
        rig.tick();
        rig.advance(30);
    }
    rig.settle();
    rig.kill(usize::MAX);
    let first = rig.recovered(rig.checkpoints.last());
    for effects in 1..12 {
        let newest = rig.checkpoints.last().cloned();
        rig.kill_at = Some(rig.effects + effects);
        rig.start_from(newest.as_ref());
        rig.run();
        rig.kill(0);
    }
    let last = rig.recovered(rig.checkpoints.last());
    let found = differing(&first, &last);
    assert!(!found.contains(&"books"), "{found:?}");
    rig.check_recoveries();
}

#[test]
fn timers_see_the_price_of_the_tick_that_fires_them_again() {
    let mut rig = Rig::keeping(Keeper::fresh);
    for tick in 0..80 {
        rig.venue.trade_at(100 + tick % 6);
        // Timers become due between ticks, and are told with the tick.
        let mono = rig.now.mono;
        rig.jump(mono.after(std::time::Duration::from_millis(900)));
        rig.tick();
    }
    let marked = rig.records().any(|record| match record {
        Record::Fed { calls } => calls.iter().any(|fed| !fed.marked.is_empty()),
        _ => false,
    });
    assert!(marked, "no timer was fired by a tick");
    rig.check_refeeds();
}

#[test]
fn each_fill_of_one_answer_is_told_again_with_the_books_of_its_moment() {
    let mut rig = Rig::keeping(Keeper::fresh);
    rig.venue.terse = false;
    while rig.venue.log.len() < 40 {
        rig.tick();
        rig.advance(20);
    }
    let within = rig.records().any(|record| match record {
        Record::Fed { calls } => calls.iter().any(|fed| fed.seen.changes > 1),
        _ => false,
    });
    assert!(within, "no answer had two changes");
    rig.check_refeeds();
}

#[test]
fn the_peak_of_equity_survives_the_loss_of_every_checkpoint() {
    let mut rig = Rig::keeping(|| Box::new(Buyer::default()));
    rig.tick();
    rig.advance(1_000);
    assert_eq!(rig.position(), 10);
    rig.venue.trade_at(105);
    rig.tick();
    rig.venue.trade_at(101);
    rig.tick();
    rig.settle();
    let peak = rig.core().modes.peak();
    assert!(peak > rig.core().equity());
    rig.kill(usize::MAX);
    rig.checkpoints.clear();
    rig.start();
    assert_eq!(rig.core().modes.peak(), peak);
}

#[test]
fn what_was_said_before_is_not_said_again_and_ticks_are_counted_apart() {
    let mut rig = Rig::keeping(Keeper::fresh);
    for _ in 0..30 {
        rig.tick();
    }
    rig.settle();
    let calls = rig.core().stats().calls;
    rig.kill(usize::MAX);
    rig.checkpoints.clear();
    rig.start();
    let stats = rig.core().stats();
    assert_eq!((stats.refed, stats.ticks, stats.calls), (calls, 0, 0));
    assert!(rig.core().services.telemetry.lines.is_empty());
}

/// Buys ten on its first tick.
#[derive(Default)]
struct Buyer {
    ticks: u64,
    metadata: crate::plugin::Metadata,
}

impl Strategy for Buyer {
    fn metadata(&self) -> &crate::plugin::Metadata {
        &self.metadata
    }

    fn init(
        &mut self,
        _: &crate::plugin::Session,
        _: &mut Box<crate::plugin::Services>,
    ) -> Result<(), crate::plugin::CallError> {
        Ok(())
    }

    fn on_tick(
        &mut self,
        _: &crate::market::Tick,
        _: &crate::plugin::TickContext,
        services: &mut Box<crate::plugin::Services>,
        intents: &mut Vec<OrderIntent>,
    ) -> Result<(), crate::plugin::CallError> {
        self.ticks += 1;
        services.telemetry.log(crate::plugin::LogLevel::Info, "a tick");
        if self.ticks == 1 {
            intents.push(buy(1, 10));
        }
        Ok(())
    }

    fn on_event(
        &mut self,
        _: &StrategyEvent,
        _: &crate::plugin::TickContext,
        _: &mut Box<crate::plugin::Services>,
        _: &mut Vec<OrderIntent>,
    ) -> Result<(), crate::plugin::CallError> {
        Ok(())
    }
}

#[test]
fn a_call_whose_decision_was_not_durable_has_not_happened() {
    let mut rig = Rig::keeping(|| Box::new(Buyer::default()));
    rig.settle();
    rig.hold_acks = true;
    rig.tick();
    // The input reached the disk, and the decision did not.
    let written: Vec<_> = rig.unsynced.iter().map(|bytes| Entry::decode(0, bytes).unwrap().record).collect();
    assert!(matches!(written[..], [Record::Fed { .. }, Record::Decided(_), ..]), "{written:?}");
    rig.kill(1);
    rig.hold_acks = false;
    rig.checkpoints.clear();
    rig.start();
    rig.run();
    rig.tick();
    rig.advance(1_000);
    assert_eq!(rig.position(), 10, "it buys on its first tick, and this is its first");
    rig.check_intents();
    // The number of the call is used again, and only the call that happened counts.
    rig.settle();
    rig.kill(usize::MAX);
    rig.checkpoints.clear();
    rig.start();
    assert!(!rig.core().is_halted() && rig.core().diverged.is_none());
    assert_eq!(rig.position(), 10);
}

#[test]
fn a_fill_that_was_durable_and_not_told_is_told_at_the_next_start_once() {
    let mut rig = Rig::with(|config, _| config.record_inputs = true);
    rig.want(vec![bid(1, 2, 99)]);
    rig.settle();
    rig.take_heard();
    rig.venue.trade_at(99);
    rig.hold_acks = true;
    rig.poll();
    assert!(rig.heard().is_empty());
    // The report is on the disk, and the host dies before it can say so.
    rig.kill(usize::MAX);
    rig.hold_acks = false;
    rig.start();
    rig.run();
    let heard = rig.take_heard();
    let fills = |heard: &[StrategyEvent]| {
        heard.iter().filter(|event| matches!(event, StrategyEvent::Filled { .. })).count()
    };
    assert_eq!((fills(&heard), rig.position()), (1, 2), "{heard:?}");
    rig.settle();
    let told = |rig: &Rig| {
        let calls = rig.records().filter_map(|record| match record {
            Record::Fed { calls } => Some(calls),
            _ => None,
        });
        let is_fill = |input: &FedInput| matches!(input, FedInput::Event(StrategyEvent::Filled { .. }));
        calls.flatten().filter(|fed| is_fill(&fed.input)).count()
    };
    assert_eq!(told(&rig), 1);
    rig.kill(usize::MAX);
    rig.start();
    rig.run();
    rig.settle();
    assert_eq!(told(&rig), 1, "it is told once");
}

#[test]
fn a_fill_that_came_while_the_agent_was_stopping_is_told_at_the_next_start() {
    let mut rig = Rig::unstarted(Kind::Keys, |config, _| {
        config.record_inputs = true;
        config.on_stop = FailAction::Hold;
    });
    rig.start();
    rig.run();
    rig.faults = [Fault::Slow(std::time::Duration::from_secs(2))].into();
    rig.want(vec![buy(1, 2)]);
    rig.stop();
    rig.take_heard();
    rig.advance(5_000);
    assert!(rig.stopped && rig.position() == 2);
    let filled = |rig: &Rig| {
        rig.heard().iter().any(|event| matches!(event, StrategyEvent::Filled { order: OrderId(1), .. }))
    };
    assert!(!filled(&rig), "it is not called any more");
    rig.kill(usize::MAX);
    rig.start();
    rig.run();
    assert!(filled(&rig), "{:?}", rig.heard());
    rig.take_heard();
    rig.settle();
    rig.kill(usize::MAX);
    rig.start();
    rig.run();
    assert!(!filled(&rig), "told once");
}
