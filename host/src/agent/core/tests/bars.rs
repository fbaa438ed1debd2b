//! Bars: each complete one once, before the tick that ends it, whatever dies in between.

use super::keeper::Keeper;
use super::script::trap;
use super::*;
use crate::agent::core::bars::Bars;
use crate::market::{Bar, Marks, Tick, UnixNanos};
use crate::orders::{Answer, Fed, FedInput, Origin, Record, StrategyEvent};
use crate::plugin::{CallError, DataNeeds, Metadata, Services, Session, Strategy, TickContext};
use std::collections::{BTreeMap, BTreeSet};

const SECOND: u64 = 1_000_000_000;

/// The calls that happened, by number: a later one of a number is what became of it, and one that wanted
/// something without a decision has not happened.
fn happened(rig: &Rig) -> Vec<Fed> {
    let mut calls = BTreeMap::new();
    let mut decided = BTreeSet::new();
    for record in rig.records() {
        match record {
            Record::Fed { calls: fed } => calls.extend(fed.iter().map(|fed| (fed.call, fed.clone()))),
            Record::Decided(decision) => _ = decided.insert(decision.call),
            _ => {}
        }
    }
    calls.retain(|call, fed| !matches!(fed.answer, Answer::Wanted(_)) || decided.contains(call));
    calls.into_values().collect()
}

/// The bars of the ticks among these calls, by arithmetic that shares nothing with the builder. The last is not
/// complete.
fn bars_of_ticks(calls: &[Fed], seconds: u32) -> Vec<Bar> {
    let length = u64::from(seconds) * SECOND;
    let mut intervals: BTreeMap<u64, Vec<Tick>> = BTreeMap::new();
    for fed in calls {
        if let FedInput::Tick(tick) = &fed.input {
            intervals.entry(tick.event_time.0 / length).or_default().push(*tick);
        }
    }
    let bar = |(interval, ticks): (u64, Vec<Tick>)| {
        let prices = || ticks.iter().map(|tick| tick.last_price);
        Bar {
            instrument: X,
            start: UnixNanos(interval * length),
            seconds,
            open: prices().next().unwrap(),
            high: prices().max().unwrap(),
            low: prices().min().unwrap(),
            close: prices().next_back().unwrap(),
            volume: Lots(ticks.len() as i64),
            trades: 0,
        }
    };
    intervals.into_iter().map(bar).collect()
}

/// How many bars there were; each was handed out once, complete, and right before the tick that ends it.
pub(super) fn check_bars(rig: &Rig, lengths: &[u32]) -> usize {
    let calls = happened(rig);
    let mut count = 0;
    for seconds in lengths {
        let heard = calls.iter().filter_map(|fed| match &fed.input {
            FedInput::Bar(bar) if bar.seconds == *seconds => Some(*bar),
            _ => None,
        });
        let heard: Vec<Bar> = heard.collect();
        let mut expected = bars_of_ticks(&calls, *seconds);
        expected.pop();
        assert_eq!(heard, expected, "bars of {seconds} s");
        count += heard.len();
    }
    for (place, fed) in calls.iter().enumerate() {
        let FedInput::Bar(bar) = &fed.input else { continue };
        let end = bar.start.0 + u64::from(bar.seconds) * SECOND;
        let earlier = calls[..place].iter().filter_map(|fed| match &fed.input {
            FedInput::Tick(tick) => Some(tick.event_time.0),
            _ => None,
        });
        assert!(earlier.max().is_none_or(|last| last < end), "a tick came before the bar that it ends");
    }
    count
}

fn run(rig: &mut Rig, ticks: u64) {
    for tick in 0..ticks {
        rig.venue.trade_at(100 + (tick % 7) as i64 - (tick % 3) as i64);
        rig.tick();
        rig.advance(230);
        if tick % 4 == 0 {
            rig.poll();
        }
    }
}

#[test]
fn each_complete_bar_is_given_once_before_the_tick_that_ends_it() {
    let mut rig = Rig::keeping(Keeper::of_bars);
    run(&mut rig, 120);
    rig.settle();
    let count = check_bars(&rig, &[1, 3]);
    assert!(count > 30, "{count} bars");
    let of_bars = rig.records().filter(|record| match record {
        Record::Decided(decision) => decision.origin == Origin::Bar,
        _ => false,
    });
    assert!(of_bars.count() > 5, "bars are decided on");
    rig.check_refeeds();
}

#[test]
fn timers_come_first_then_the_shortest_bar_and_the_tick_last() {
    let mut rig = Rig::keeping(Keeper::of_bars);
    rig.settle();
    for tick in 0..200 {
        rig.venue.trade_at(100 + tick % 6);
        let mono = rig.now.mono;
        rig.jump(mono.after(std::time::Duration::from_millis(700)));
        rig.tick();
    }
    rig.settle();
    let calls = happened(&rig);
    let mut orders = BTreeSet::new();
    // What was told at the same moment as a tick.
    for moment in calls.chunk_by(|a, b| a.context.now == b.context.now) {
        let kinds: Vec<&str> = moment
            .iter()
            .filter_map(|fed| match &fed.input {
                FedInput::Tick(_) => Some("tick"),
                FedInput::Bar(bar) if bar.seconds == 1 => Some("short"),
                FedInput::Bar(_) => Some("long"),
                FedInput::Event(StrategyEvent::Timer(_)) => Some("timer"),
                FedInput::Event(_) => None,
            })
            .collect();
        let before_tick: Vec<&str> = kinds.iter().take_while(|kind| **kind != "tick").copied().collect();
        orders.insert(before_tick.into_iter().filter(|kind| *kind != "tick").collect::<Vec<_>>());
    }
    for order in &orders {
        let place = |kind| order.iter().position(|other| *other == kind);
        let (short, long) = (place("short"), place("long"));
        assert!(long.is_none() || short.is_some_and(|short| Some(short) < long), "{order:?}");
        let last_timer = order.iter().rposition(|kind| *kind == "timer");
        assert!(short.is_none() || last_timer < short, "{order:?}");
    }
    assert!(orders.iter().any(|order| order.ends_with(&["timer", "short", "long"])), "{orders:?}");
    rig.check_refeeds();
}

#[test]
fn a_bar_comes_once_and_whole_wherever_the_host_dies() {
    // Once through, to know how many effects there are; then a death at each of them.
    let build = || {
        let mut rig = Rig::keeping(Keeper::of_bars);
        run(&mut rig, 9);
        rig
    };
    let (before, mut alive) = (build().effects, build());
    run(&mut alive, 9);
    let effects = alive.effects - before;
    assert!(effects > 40, "{effects}");
    for at in 1..=effects {
        for kept in [0, 1, 2] {
            let mut rig = build();
            rig.kill_at = Some(before + at);
            run(&mut rig, 9);
            rig.kill(kept);
            rig.start();
            rig.run();
            assert!(rig.core().diverged.is_none() && !rig.core().is_halted(), "{:?}", rig.alerts);
            run(&mut rig, 20);
            rig.settle();
            assert!(check_bars(&rig, &[1, 3]) > 5, "death at effect {at}, {kept} records kept");
        }
    }
}

#[test]
fn a_death_between_a_bar_and_its_tick_neither_repeats_nor_loses_it() {
    let mut rig = Rig::keeping(|| Box::new(Watcher::wanting()));
    rig.settle();
    rig.tick();
    rig.settle();
    rig.checkpoints.clear();
    rig.hold_acks = true;
    let later = rig.now.mono.after(std::time::Duration::from_secs(2));
    rig.jump(later);
    rig.tick();
    // The bar and its decision are on the disk, and the tick after it is not.
    let kept = rig.unsynced.len();
    assert!(kept > 1);
    rig.kill(kept);
    rig.hold_acks = false;
    let fed =
        |rig: &Rig| happened(rig).iter().map(|fed| matches!(fed.input, FedInput::Bar(_))).collect::<Vec<_>>();
    assert_eq!(fed(&rig).last(), Some(&true), "the journal ends with the bar");
    rig.start();
    rig.run();
    rig.tick();
    rig.settle();
    assert_eq!(check_bars(&rig, &[1]), 1);
}

#[test]
fn a_bar_that_halts_the_strategy_is_its_last_call() {
    let mut rig = Rig::keeping(|| Box::new(Watcher::trapping()));
    rig.settle();
    rig.tick();
    rig.settle();
    rig.advance(2_000);
    rig.tick();
    rig.settle();
    assert!(rig.core().is_halted());
    let calls = happened(&rig);
    let last = calls.last().unwrap();
    assert!(matches!(last.input, FedInput::Bar(_)) && last.answer == Answer::Failed, "{last:?}");
    let letter = rig.letters.iter().any(|letter| matches!(letter, crate::agent::core::Letter::Call { .. }));
    assert!(letter, "what it trapped on is kept");
    rig.settle();
    let live = rig.core().state().bars;
    rig.kill(usize::MAX);
    rig.checkpoints.clear();
    rig.start();
    assert_eq!(rig.core().state().bars, live);
}

#[test]
fn a_state_without_bars_is_written_as_it_always_was() {
    let mut rig = Rig::keeping(Keeper::fresh);
    run(&mut rig, 10);
    rig.settle();
    let mut bytes = Vec::new();
    ciborium::into_writer(&rig.core().state(), &mut bytes).unwrap();
    let state: ciborium::Value = ciborium::from_reader(&bytes[..]).unwrap();
    let keys: Vec<_> = state.as_map().unwrap().iter().map(|(key, _)| key.as_text().unwrap()).collect();
    assert!(keys.contains(&"terms") && !keys.contains(&"bars"), "{keys:?}");
}

#[test]
fn each_instrument_and_length_has_a_builder_and_what_was_kept_goes_on() {
    let needs =
        |trades, seconds: &[u32]| DataNeeds { trades, bar_seconds: seconds.to_vec(), ..DataNeeds::default() };
    let tick = |instrument, second: u64| Tick {
        instrument: InstrumentId(instrument),
        event_time: UnixNanos(second * SECOND),
        last_price: PriceTicks(10),
        bid_price: PriceTicks(20),
        ask_price: PriceTicks(30),
        marks: Marks::TRADE.with(Marks::QUOTE),
        ..Tick::default()
    };
    let mut bars = Bars::new(&needs(true, &[60, 5, 60]), 2, &[]);
    assert_eq!(bars.kept().len(), 4);
    bars.add(&tick(1, 1));
    bars.add(&tick(7, 1));
    assert_eq!(bars.complete(&tick(0, 100)), None);
    let mut again = Bars::new(&needs(true, &[5, 10]), 2, bars.kept());
    let bar = again.complete(&tick(1, 100)).unwrap();
    assert_eq!((bar.instrument, bar.seconds, bar.close), (InstrumentId(1), 5, PriceTicks(10)));
    assert_eq!(again.complete(&tick(1, 100)), None, "bars of another length begin anew");
    let mut mids = Bars::new(&needs(false, &[5]), 2, bars.kept());
    mids.add(&tick(1, 100));
    let bar = mids.complete(&tick(1, 200)).unwrap();
    assert_eq!(bar.close, PriceTicks(25), "who reads no trades gets bars of the middle of quotes");
}

/// Asks for bars of a second, and wants something on each or traps on the first.
struct Watcher {
    traps: bool,
    metadata: Metadata,
}

impl Watcher {
    fn wanting() -> Self {
        let needs = DataNeeds { trades: true, bar_seconds: vec![1], ..DataNeeds::default() };
        Self { traps: false, metadata: Metadata { needs, ..Metadata::default() } }
    }

    fn trapping() -> Self {
        Self { traps: true, ..Self::wanting() }
    }
}

impl Strategy for Watcher {
    fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    fn init(&mut self, _: &Session, _: &mut Box<Services>) -> Result<(), CallError> {
        Ok(())
    }

    fn on_tick(
        &mut self,
        _: &Tick,
        _: &TickContext,
        _: &mut Box<Services>,
        _: &mut Vec<OrderIntent>,
    ) -> Result<(), CallError> {
        Ok(())
    }

    fn on_event(
        &mut self,
        _: &StrategyEvent,
        _: &TickContext,
        _: &mut Box<Services>,
        _: &mut Vec<OrderIntent>,
    ) -> Result<(), CallError> {
        Ok(())
    }

    fn on_bar(
        &mut self,
        _: &Bar,
        _: &TickContext,
        _: &mut Box<Services>,
        intents: &mut Vec<OrderIntent>,
    ) -> Result<(), CallError> {
        if self.traps {
            return Err(trap());
        }
        intents.push(buy(1, 1));
        Ok(())
    }
}
