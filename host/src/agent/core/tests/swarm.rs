//! Seeded runs: each seed draws its own faults, delays and deaths, then heals, and the books must agree
//! with the venue's.

use super::answers::QueryFault;
use super::bars::check_bars;
use super::keeper::Keeper;
use super::script::Step;
use super::shrink::{Cut, Quiet, Which};
use super::storage::Storage;
use super::venue::Kind;
use super::weather::{Stream, Weather};
use super::*;
use crate::agent::core::{Candidate, Event, FailAction, Operator, ReconcileStage};
use crate::orders::{Entry, IntentState, Record};
use crate::resilience::Mode;
use std::collections::VecDeque;
use std::num::NonZeroU32;
use std::time::Duration;

const SEEDS: u64 = 400;

/// The seeds of this run: `RINGFENCE_SEEDS=FROM..TO` in the environment, or the first ones.
fn seeds() -> std::ops::Range<u64> {
    let Ok(text) = std::env::var("RINGFENCE_SEEDS") else { return 0..SEEDS };
    let bounds = text.split_once("..").and_then(|(from, to)| Some(from.parse().ok()?..to.parse().ok()?));
    bounds.unwrap_or_else(|| panic!("RINGFENCE_SEEDS is \"{text}\", expected two numbers as 0..5000"))
}

/// Runs every seed. Of those that failed it cuts the first down, unless `RINGFENCE_SHRINK=0`, and says how to run it
/// again.
fn survives(which: Which, test: &str) {
    let fails = |cut: &Cut| std::panic::catch_unwind(|| run_cut(cut)).is_err();
    let failed: Vec<u64> = seeds().filter(|seed| fails(&Cut::whole(which, *seed))).collect();
    if let Some(first) = failed.first() {
        let whole = Cut::whole(which, *first);
        let shrinks = std::env::var("RINGFENCE_SHRINK").is_ok_and(|word| word == "0");
        let cut = if shrinks { whole } else { whole.shrink(fails) };
        panic!(
            "{} seeds failed: {failed:?}; to see one again: RINGFENCE_TRACE=1 RINGFENCE_SEEDS={first}..{} cargo test --release -p ringfence \
             --lib -- agent::core::tests::swarm::{test} --nocapture; the least of it that fails is in {}, which belongs into \
             tests/regressions: {cut:?}",
            failed.len(),
            first + 1,
            cut.keep().display()
        );
    }
}

/// Runs what is left of a seed. Returns the journal, which has to be the same every time.
fn run_cut(cut: &Cut) -> Vec<Entry> {
    match cut.which {
        Which::Keys => run(cut, Kind::Keys),
        Which::ClientIds => run(cut, Kind::ClientIds),
        Which::OpenIds => run(cut, Kind::OpenIds),
        Which::NoIds => run(cut, Kind::NoIds),
        Which::Keeping => run_keeping(cut),
        Which::Exchanging => run_exchanging(cut),
        Which::Sandboxed | Which::Stored => run_keeping(cut),
        Which::Moody => run_exchanging(cut),
    }
}

#[test]
fn whatever_failed_once_does_not_fail_again() {
    for (name, cut) in Cut::kept() {
        let run = std::panic::catch_unwind(|| run_cut(&cut));
        assert!(run.is_ok(), "tests/regressions/{name} fails again: {cut:?}");
    }
}

fn dead_letters(rig: &Rig) -> Vec<crate::orders::IntentKey> {
    let intents = rig.core().ledger().intents().iter();
    intents
        .filter(|(_, intent)| matches!(intent.state, IntentState::DeadLettered { .. }))
        .map(|(key, _)| *key)
        .collect()
}

fn die_and_rise(rig: &mut Rig, weather: &mut Weather) {
    let kept = weather.below(Stream::Deaths, rig.unsynced.len() as u64 + 1) as usize;
    fail_operations(rig, weather, 3);
    rig.kill(kept);
    rig.check_intents();
    // Any of the newest checkpoints may be the one that verifies, or none.
    let lost = weather.below(Stream::Disk, 4) as usize;
    let left = rig.checkpoints.len().saturating_sub(lost);
    let all = weather.happens(Stream::Disk, 10);
    if rig.storage.is_none() {
        rig.checkpoints.truncate(if all { 0 } else { left });
    }
    rig.hold_acks = false;
    if weather.happens(Stream::Deaths, 20) {
        // It may die again while it starts.
        rig.kill_at = Some(rig.effects + 1 + weather.below(Stream::Deaths, 8));
    }
    if weather.happens(Stream::Writes, weather.disk_fails) {
        // Or the disk fails while it starts.
        fail_disk(rig, weather, 8);
    }
    rig.rise(weather);
    rig.run();
}

/// One of the next operations of the disk fails, now and then, or all from then on.
fn fail_operations(rig: &Rig, weather: &mut Weather, below: u64) {
    let fails = weather.happens(Stream::Operations, weather.operations);
    let (within, kind) = (weather.below(Stream::Operations, below), weather.below(Stream::Operations, 3));
    let lasting = weather.below(Stream::Operations, 2) == 0;
    if fails
        && weather.lets(Quiet::Operations)
        && let Some(storage) = &rig.storage
    {
        storage.fail_soon(within, kind, lasting);
    }
}

/// The disk takes no more records after some effects to come.
fn fail_disk(rig: &mut Rig, weather: &mut Weather, below: u64) {
    let after = 1 + weather.below(Stream::Writes, below);
    if weather.lets(Quiet::DiskFailures) {
        rig.disk_fails_at = Some(rig.effects + after);
    }
}

fn turn(rig: &mut Rig, weather: &mut Weather, number: u64) {
    weather.begin(number);
    rig.faults = (0..8).map(|_| weather.fault()).collect();
    rig.clocks = (0..8).map(|_| weather.clock()).collect();
    if weather.happens(Stream::Deaths, weather.kill) {
        // Most deaths fall on the effects around a send.
        let after = 1 + weather.below(Stream::Deaths, 14);
        rig.kill_at = weather.lets(Quiet::Deaths).then_some(rig.effects + after);
    }
    if weather.happens(Stream::Writes, weather.disk_fails) {
        fail_disk(rig, weather, 14);
    }
    fail_operations(rig, weather, 24);
    if weather.happens(Stream::Letters, weather.index_fails) {
        let healthy = weather.below(Stream::Letters, 2) == 0;
        if weather.lets(Quiet::Letters) {
            rig.step(Event::IndexHealth { healthy });
        }
    }
    let turns = weather.happens(Stream::People, weather.observe);
    if turns && !weather.observes {
        // Nobody knows what became of what is sent last.
        let doubts = (0..8).map(|_| weather.doubt()).collect();
        if weather.lets(Quiet::Observing) {
            rig.faults = doubts;
        }
    }
    rig.query_faults = (0..8).map(|_| weather.query_fault()).collect();
    rig.baseline_faults = (0..8).map(|_| weather.query_fault()).collect();
    // Reads of the account fail, take their time, or come from a copy that is behind.
    let read_faults = (0..6).map(|_| weather.query_fault()).collect();
    let holds = weather.happens(Stream::Disk, weather.hold);
    rig.hold_acks = holds && weather.lets(Quiet::HeldAcks);
    rig.checkpoint_fails = weather.happens(Stream::Disk, weather.unsaved) && weather.lets(Quiet::Checkpoints);
    if weather.happens(Stream::Clock, weather.set_clock) {
        // Within the hour after which a closed order may be forgotten.
        let ahead_s = [0, 1_000, -1_000, 5, -5][weather.below(Stream::Clock, 5) as usize];
        if weather.lets(Quiet::Clock) {
            rig.set_clock(ahead_s);
        }
    }
    if weather.happens(Stream::Hours, weather.hours) {
        let ahead_s = [3_600, -3_600, 0][weather.below(Stream::Hours, 3) as usize];
        if weather.lets(Quiet::Hours) {
            rig.set_clock(ahead_s);
        }
    }
    if weather.happens(Stream::Samples, weather.bad_sample) {
        let kind = weather.below(Stream::Samples, 8);
        if weather.lets(Quiet::BadSamples) {
            rig.sample_badly(kind);
        }
    }
    let price = 90 + weather.below(Stream::Market, 21) as i64;
    rig.venue.trade_at(price.clamp(rig.venue.price - 5, rig.venue.price + 5));
    let wanted = weather.intents(rig.venue.price);
    if rig.make.is_some() {
        rig.tick();
    } else {
        let fails = weather.happens(Stream::Plugin, weather.misbehave);
        let failure = weather.misbehaviour();
        let fails = fails && weather.lets(Quiet::Misbehaviour);
        rig.tick_with(if fails { failure } else { Step::Want(wanted) });
    }
    if turns {
        weather.observes ^= true;
    }
    // Also after a start, which knows of no floor.
    rig.operator(Operator::Floor(if weather.observes && weather.lets(Quiet::Observing) {
        Mode::Observation
    } else {
        Mode::Full
    }));
    if rig.core.is_some() && weather.happens(Stream::Venue, weather.reconnect) {
        let lost = weather.happens(Stream::Venue, 40).then(|| weather.below(Stream::Venue, 8_000));
        if weather.lets(Quiet::Reconnects) {
            reconnect(rig, read_faults, lost);
        }
    }
    if weather.happens(Stream::Clock, weather.pause) {
        // The process stands still, and finds everything due at once.
        let pause = Duration::from_millis(weather.below(Stream::Clock, 40_000));
        if weather.lets(Quiet::Pauses) {
            rig.jump(rig.now.mono.after(pause));
        }
    }
    let soon = weather.happens(Stream::Clock, 80);
    let ms = weather.below(Stream::Clock, if soon { 1_500 } else { 40_000 });
    rig.advance(ms);
    if rig.core.is_some() && weather.happens(Stream::Venue, weather.poll) && weather.lets(Quiet::Polls) {
        // Sometimes the venue tells again what it has told before.
        if weather.happens(Stream::Venue, 20) {
            rig.poll_from(0)
        } else {
            rig.poll()
        }
        if rig.hold_acks {
            rig.advance(weather.below(Stream::Venue, 4_000));
        }
    }
    operate(rig, weather);
    if rig.core.is_some() && !weather.components.is_empty() {
        exchange(rig, weather);
    }
    if rig.core.is_some() && holds && weather.happens(Stream::Disk, 70) {
        rig.hold_acks = false;
        rig.ack();
        rig.run();
    }
    if let Some(storage) = &rig.storage {
        storage.check_alone();
    }
    while rig.core.is_none() || rig.stopped {
        die_and_rise(rig, weather);
    }
}

/// The venue comes back, after it was lost for some milliseconds or without a word of that.
fn reconnect(rig: &mut Rig, read_faults: VecDeque<QueryFault>, lost_ms: Option<u64>) {
    rig.read_faults = read_faults;
    if let Some(ms) = lost_ms {
        rig.step(Event::VenueLost);
        rig.run();
        rig.advance(ms);
    }
    if rig.core.is_some() {
        rig.reconnect();
    }
}

/// Dead letters are sent again, or issued anew, each order given twice. Where the venue remembers nothing, a letter
/// is sent again at the operator's word that nothing will come of it any more.
fn operate(rig: &mut Rig, weather: &mut Weather) {
    if rig.core.is_some() && weather.happens(Stream::People, 5) {
        let mut dead = dead_letters(rig);
        dead.retain(|key| rig.venue.kind == Kind::Keys || !rig.is_on_its_way(key));
        if let Some(key) = dead.first().copied() {
            let replay = rig.core().ledger().intent(&key).map_or(0, |intent| intent.replay) + 1;
            rig.operator(Operator::Replay { key, replay });
            rig.operator(Operator::Replay { key, replay });
        }
    }
    if rig.core.is_some() && weather.happens(Stream::People, 8) {
        for key in dead_letters(rig) {
            let replay = rig.core().ledger().intent(&key).map_or(0, |intent| intent.replay) + 1;
            let again = Operator::Reissue { key, replay, note: "again".into(), not_executed: false };
            rig.operator(again.clone());
            if rig.core.is_none() {
                break;
            }
            rig.operator(again);
        }
    }
}

/// Another component takes over, or the one before comes back, or an operator lets a failed one run again.
fn exchange(rig: &mut Rig, weather: &mut Weather) {
    if weather.happens(Stream::Components, 25) {
        let which = weather.below(Stream::Components, weather.components.len() as u64) as usize;
        let plugin = weather.components[which];
        let probation_ticks = weather.below(Stream::Components, 12);
        let mut candidate = match weather.below(Stream::Components, 6) {
            0 => rig.candidate(plugin, 0),
            ticks => rig.shadowed(plugin, ticks),
        };
        if weather.happens(Stream::Components, 50) {
            candidate.shadow = None;
        }
        candidate.fresh = weather.happens(Stream::Components, 10);
        rig.swap(Candidate { probation_ticks, ..candidate });
    }
    if rig.core.is_some() && weather.happens(Stream::Components, 10) {
        rig.operator(Operator::Rollback { number: 7, note: "drawn".into() });
    }
    if rig.core.is_some() && weather.happens(Stream::Components, 10) {
        rig.operator(Operator::ReleaseStrategy { note: "drawn".into() });
    }
}

/// Components that fail now and then and take over from one another, with every death and fault besides.
fn run_exchanging(cut: &Cut) -> Vec<Entry> {
    let (mut weather, seed) = (Weather::new(cut, Kind::Keys), cut.seed);
    let mut rig = Rig::unstarted(Kind::Keys, |config, _| {
        config.record_inputs = true;
        config.degradation.dwell_ms = 1_000;
        config.supervision.strikes_max = (3 + seed as u32 % 40).try_into().unwrap();
        config.supervision.backoff_ms = 200;
        config.on_halt = [FailAction::Hold, FailAction::Cancel, FailAction::Flatten][seed as usize % 3];
    });
    weather.components = vec![
        rig.component("steady", Keeper::fresh),
        rig.component("fragile", Keeper::fragile),
        rig.component(
            "other",
            if weather.lets(Quiet::Misbehaviour) { Keeper::greedy } else { Keeper::fresh },
        ),
    ];
    if cut.which == Which::Moody {
        // Every so many instances of it decide otherwise than the others did.
        let (made, every) = (std::cell::Cell::new(0), 2 + seed % 3);
        let moody = move || {
            made.set(made.get() + 1);
            if made.get() % every == 0 { Keeper::moody() } else { Keeper::fresh() }
        };
        weather.components.push(rig.component("moody", moody));
    }
    rig.config.plugin = match cut.which {
        Which::Moody => weather.components[3],
        _ => weather.components[seed as usize % 3],
    };
    rig.make = Some(Keeper::fresh);
    rig.start();
    rig.run();
    rig.venue.lag = Duration::from_millis(weather.below(Stream::Venue, rig.config.limits.settle_ms));
    let turns = 8 + weather.below(Stream::Clock, 30);
    for number in 1..=turns.min(cut.turns_max) {
        turn(&mut rig, &mut weather, number);
        rig.check_intents();
        let swapped = rig.records().rev().find_map(|record| match record {
            Record::Swapped(swap) => Some(swap.to),
            _ => None,
        });
        let runs = rig.core().config().plugin;
        let writes = !rig.core().wants_samples() || !rig.unsynced.is_empty();
        assert!(writes || runs == swapped.unwrap_or(rig.config.plugin), "another component runs");
    }
    rig.operator(Operator::Floor(Mode::Full));
    rig.heal();
    rig.check_intents();
    rig.check_books();
    let diverged = |code: &String| code.starts_with("replay_");
    assert!(cut.which == Which::Moody || !rig.alerts.iter().any(diverged), "{:?}", rig.alerts);
    // A new instance is on its way when it failed just now.
    rig.advance(120_000);
    if !rig.core().is_halted() && cut.which != Which::Moody {
        rig.check_refeeds();
    }
    rig.check_folds();
    rig.journal
}

#[test]
fn whatever_fails_and_dies_components_take_over_and_come_back_with_nothing_lost() {
    survives(
        Which::Exchanging,
        "whatever_fails_and_dies_components_take_over_and_come_back_with_nothing_lost",
    );
}

/// Returns the journal, which has to be the same for the same seed.
fn run(cut: &Cut, kind: Kind) -> Vec<Entry> {
    let (mut weather, seed) = (Weather::new(cut, kind), cut.seed);
    let mut rig = Rig::at(kind, |config, _| {
        if weather.observe > 0 {
            config.degradation.dwell_ms = 1_000;
        }
        // One that fails is given another chance, however often it does.
        config.supervision.strikes_max = NonZeroU32::MAX;
        config.supervision.backoff_ms = 200;
        config.on_halt = [FailAction::Hold, FailAction::Cancel, FailAction::Flatten][seed as usize % 3];
    });
    if kind == Kind::Keys && seed % 4 == 1 && weather.set_clock == 0 && weather.hours == 0 {
        // The venue forgets keys, and not as soon as the host is told to expect.
        rig.key_window = Duration::from_secs(90);
        rig.venue.keys_kept = Some(Duration::from_secs(150));
    }
    // One without ids tells the ids of its own, and what the account shows is what it has executed.
    rig.venue.terse = seed.is_multiple_of(4) && kind != Kind::NoIds;
    // Behind, but never by as much as the host is told to expect.
    let settle_ms = rig.config.limits.settle_ms;
    let mut lag = || Duration::from_millis(weather.below(Stream::Venue, settle_ms));
    let lags = [lag(), lag(), lag()];
    if kind != Kind::NoIds {
        rig.venue.lag = lags[0];
        if seed % 5 == 3 {
            rig.venue.account_lag = (lags[1], lags[2]);
        }
    }
    let turns = 5 + weather.below(Stream::Clock, 30);
    for number in 1..=turns.min(cut.turns_max) {
        turn(&mut rig, &mut weather, number);
        rig.check_intents();
    }
    rig.operator(Operator::Floor(Mode::Full));
    rig.heal();
    assert!(!rig.alerts.iter().any(|code| code == "denial_refuted"), "an executed intent was denied");
    let false_alarms = ["position_mismatch", "order_vanished"];
    assert!(!rig.alerts.iter().any(|code| false_alarms.contains(&code.as_str())), "{:?}", rig.alerts);
    assert_eq!(rig.core().reconciliation(), ReconcileStage::Reconciled);
    assert!(!rig.stopped && !rig.core().is_halted());
    assert!(!rig.core().has_open_intents(), "intents are still open ten minutes after all healed");
    rig.check_intents();
    rig.check_books();
    rig.check_folds();
    rig.journal
}

/// The same weather over a strategy that keeps state.
fn run_keeping(cut: &Cut) -> Vec<Entry> {
    let (mut weather, seed) = (Weather::new(cut, Kind::Keys), cut.seed);
    let (sandboxed, stored) = (cut.which == Which::Sandboxed, cut.which == Which::Stored);
    let has_bars = !sandboxed && !stored && seed % 2 == 1;
    let mut rig = if sandboxed {
        let mut rig = Rig::unstarted(Kind::Keys, |config, _| {
            config.record_inputs = true;
            (config.plugin, config.settings) = (sandboxed::digest(), sandboxed::settings());
        });
        rig.make = Some(sandboxed::instance);
        rig.start();
        rig.run();
        rig
    } else if stored {
        let mut rig = Rig::unstarted(Kind::Keys, |config, _| config.record_inputs = true);
        rig.make = Some(Keeper::fresh);
        rig.storage = Some(Storage::new(1 + seed as u32 % 2, 1 + seed as u32 % 4));
        rig.start();
        rig.run();
        rig
    } else {
        Rig::keeping(if has_bars { Keeper::of_bars } else { Keeper::fresh })
    };
    rig.venue.terse = seed.is_multiple_of(4);
    rig.venue.lag = Duration::from_millis(weather.below(Stream::Venue, rig.config.limits.settle_ms));
    let turns = 5 + weather.below(Stream::Clock, 30);
    for number in 1..=turns.min(cut.turns_max) {
        turn(&mut rig, &mut weather, number);
        rig.check_intents();
    }
    rig.operator(Operator::Floor(Mode::Full));
    rig.heal();
    rig.check_intents();
    // Before the strategy wants more of a venue that tells only later what became of it.
    rig.check_books();
    let diverged = |code: &String| code.starts_with("replay_");
    assert!(!rig.alerts.iter().any(diverged), "{:?}", rig.alerts);
    rig.check_refeeds();
    if has_bars {
        check_bars(&rig, &[1, 3]);
    }
    rig.check_folds();
    if stored {
        rig.check_stored();
    }
    rig.journal
}

#[test]
fn whatever_fails_and_dies_a_strategy_that_keeps_state_is_rebuilt_to_the_byte() {
    survives(Which::Keeping, "whatever_fails_and_dies_a_strategy_that_keeps_state_is_rebuilt_to_the_byte");
}

#[test]
fn whatever_fails_and_dies_a_component_in_the_sandbox_is_rebuilt_to_the_byte() {
    survives(Which::Sandboxed, "whatever_fails_and_dies_a_component_in_the_sandbox_is_rebuilt_to_the_byte");
    // It does trade.
    let decides = |entry: &Entry| matches!(entry.record, Record::Decided(_));
    assert!(run_cut(&Cut::whole(Which::Sandboxed, 0)).iter().filter(|entry| decides(entry)).count() > 3);
}

#[test]
fn whatever_its_disk_does_a_host_goes_on_from_what_it_was_promised() {
    survives(Which::Stored, "whatever_its_disk_does_a_host_goes_on_from_what_it_was_promised");
}

#[test]
fn whatever_fails_and_dies_a_strategy_that_contradicts_itself_is_not_followed() {
    survives(Which::Moody, "whatever_fails_and_dies_a_strategy_that_contradicts_itself_is_not_followed");
    // It does contradict itself.
    let caught = |entry: &Entry| matches!(&entry.record, Record::Quarantined { failure, .. } if failure.code == "replay_diverged");
    let journals = (0..40).map(|seed| run_cut(&Cut::whole(Which::Moody, seed)));
    let count = journals.filter(|journal| journal.iter().any(caught)).count();
    assert!(count >= 5, "only {count} of 40 seeds show it");
}

#[test]
fn a_seed_always_writes_the_same_journal() {
    let all = [
        Which::Keys,
        Which::ClientIds,
        Which::OpenIds,
        Which::NoIds,
        Which::Keeping,
        Which::Exchanging,
        Which::Sandboxed,
        Which::Stored,
        Which::Moody,
    ];
    for which in all {
        for seed in SEEDS..SEEDS + 5 {
            let cut = Cut::whole(which, seed);
            assert!(run_cut(&cut) == run_cut(&cut), "{cut:?}");
        }
    }
}

#[test]
fn whatever_fails_and_dies_the_books_agree_with_the_venue_once_all_has_healed() {
    survives(Which::Keys, "whatever_fails_and_dies_the_books_agree_with_the_venue_once_all_has_healed");
}

#[test]
fn they_agree_with_one_that_can_only_be_asked_by_id() {
    survives(Which::ClientIds, "they_agree_with_one_that_can_only_be_asked_by_id");
}

#[test]
fn they_agree_with_one_that_protects_the_ids_of_open_orders() {
    survives(Which::OpenIds, "they_agree_with_one_that_protects_the_ids_of_open_orders");
}

#[test]
fn they_agree_with_one_that_knows_no_ids_at_all() {
    survives(Which::NoIds, "they_agree_with_one_that_knows_no_ids_at_all");
}
