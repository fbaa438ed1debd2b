//! Seeded runs: each seed draws its own faults, delays and deaths, then heals, and the books must agree
//! with the venue's.

use super::rig::QueryFault;
use super::*;
use crate::agent::core::Operator;
use crate::orders::{AmendOrder, Entry, IntentState};
use crate::random::SplitMix64;
use crate::resilience::Mode;
use std::time::Duration;

const SEEDS: u64 = 300;

/// What one seed does, as rates in a hundred.
struct Weather {
    random: SplitMix64,
    fault: u64,
    /// Which of the faults occur at all.
    faults: u64,
    kill: u64,
    hold: u64,
    poll: u64,
    /// How often an operator lets the agent only observe, or ends that. Then it has to ask.
    observe: u64,
    observes: bool,
    next_order: u64,
}

impl Weather {
    fn new(seed: u64) -> Self {
        let mut random = SplitMix64(seed);
        let mut rate = |most: u64| random.below(most + 1);
        let (fault, kill, hold, poll) = (rate(70), rate(12), rate(40), 10 + rate(80));
        let faults = random.next_u64();
        let observe = if seed % 3 == 1 { 25 } else { 0 };
        Self { random, fault, faults, kill, hold, poll, observe, observes: false, next_order: 1 }
    }

    fn happens(&mut self, percent: u64) -> bool {
        self.random.below(100) < percent
    }

    fn fault(&mut self) -> Fault {
        let delay = Duration::from_millis(1 + self.random.below(8_000));
        let kinds = [
            Fault::NotSent,
            Fault::Dropped,
            Fault::ReplyLost,
            Fault::ExecutedLater(delay),
            Fault::Duplicated,
            Fault::Refused,
            Fault::Unauthorized,
            Fault::Throttled(["0", "2", "70", "junk"][self.random.below(4) as usize]),
            Fault::Slow(delay),
            Fault::Busy(["0", "3", "90"][self.random.below(3) as usize]),
        ];
        let kind = self.random.below(kinds.len() as u64);
        let occurs = self.faults >> kind & 1 == 1 && self.happens(self.fault);
        if occurs { kinds[kind as usize].clone() } else { Fault::Delivered }
    }

    fn doubt(&mut self) -> Fault {
        // Within the timeout of a request, often only just.
        let early_ms = 2_000 << self.random.below(3);
        let delay = Duration::from_millis(10_000 - self.random.below(early_ms));
        match self.random.below(4) {
            0 => Fault::Dropped,
            1 => Fault::ReplyLost,
            _ => Fault::ExecutedLater(delay),
        }
    }

    fn query_fault(&mut self) -> QueryFault {
        match self.happens(self.fault) {
            false => QueryFault::Answered,
            true if self.random.below(2) == 0 => QueryFault::Lost,
            true => QueryFault::Slow(Duration::from_millis(1 + self.random.below(5_000))),
        }
    }

    fn intent(&mut self, price: i64) -> OrderIntent {
        let (id, lots) = (self.next_order, 1 + self.random.below(9) as i64);
        let earlier = OrderId(1 + self.random.below(id));
        let limit = PriceTicks(price - 3 + self.random.below(7) as i64);
        match self.random.below(12) {
            0 | 1 => OrderIntent::Cancel(earlier),
            2 => OrderIntent::Amend(AmendOrder { id: earlier, quantity: Lots(lots), limit: Some(limit) }),
            3 => OrderIntent::CancelAll(X),
            kind => {
                self.next_order += 1;
                let side = if self.random.below(2) == 0 { Side::Buy } else { Side::Sell };
                let kind = if kind < 7 { OrderKind::Market } else { OrderKind::Limit(limit) };
                OrderIntent::Submit(order(id, side, lots, kind))
            }
        }
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
    let kept = weather.random.below(rig.unsynced.len() as u64 + 1) as usize;
    rig.kill(kept);
    rig.check_intents();
    // Any of the newest checkpoints may be the one that verifies, or none.
    let lost = weather.random.below(4) as usize;
    let left = rig.checkpoints.len().saturating_sub(lost);
    if weather.happens(10) {
        rig.checkpoints.clear();
    } else {
        rig.checkpoints.truncate(left);
    }
    rig.hold_acks = false;
    if weather.happens(20) {
        // It may die again while it starts.
        rig.kill_at = Some(rig.effects + 1 + weather.random.below(8));
    }
    rig.start();
    rig.run();
}

fn turn(rig: &mut Rig, weather: &mut Weather) {
    rig.faults = (0..8).map(|_| weather.fault()).collect();
    if weather.happens(weather.kill) {
        // Most deaths fall on the effects around a send.
        rig.kill_at = Some(rig.effects + 1 + weather.random.below(14));
    }
    let turns = weather.happens(weather.observe);
    if turns && !weather.observes {
        // Nobody knows what became of what is sent last.
        rig.faults = (0..8).map(|_| weather.doubt()).collect();
    }
    rig.query_faults = (0..8).map(|_| weather.query_fault()).collect();
    rig.hold_acks = weather.happens(weather.hold);
    let price = 90 + weather.random.below(21) as i64;
    rig.venue.trade_at(price.clamp(rig.venue.price - 5, rig.venue.price + 5));
    let wanted = (0..weather.random.below(4)).map(|_| weather.intent(rig.venue.price)).collect();
    rig.want(wanted);
    if turns {
        weather.observes ^= true;
    }
    // Also after a start, which knows of no floor.
    rig.operator(Operator::Floor(if weather.observes { Mode::Observation } else { Mode::Full }));
    let ms = if weather.happens(80) { weather.random.below(1_500) } else { weather.random.below(40_000) };
    rig.advance(ms);
    if rig.core.is_some() && weather.happens(weather.poll) {
        // Sometimes the venue tells again what it has told before.
        if weather.happens(20) {
            rig.poll_from(0)
        } else {
            rig.poll()
        }
        if rig.hold_acks {
            rig.advance(weather.random.below(4_000));
        }
    }
    if rig.core.is_some() && weather.happens(5) {
        let dead = dead_letters(rig);
        if let Some(key) = dead.first().copied() {
            let replay = rig.core().ledger().intent(&key).map_or(0, |intent| intent.replay) + 1;
            rig.operator(Operator::Replay { key, replay });
            rig.operator(Operator::Replay { key, replay });
        }
    }
    if rig.core.is_some() && rig.hold_acks && weather.happens(70) {
        rig.hold_acks = false;
        rig.ack();
        rig.run();
    }
    while rig.core.is_none() {
        die_and_rise(rig, weather);
    }
}

/// Returns the journal, which has to be the same for the same seed.
fn run(seed: u64) -> Vec<Entry> {
    let mut weather = Weather::new(seed);
    let mut rig = Rig::with(|config, _| {
        if weather.observe > 0 {
            config.degradation.dwell_ms = 1_000;
        }
    });
    rig.venue.terse = seed.is_multiple_of(4);
    // Behind, but never by as much as the host is told to expect.
    rig.venue.lag = Duration::from_millis(weather.random.below(rig.config.limits.settle_ms));
    for _ in 0..5 + weather.random.below(30) {
        turn(&mut rig, &mut weather);
        rig.check_intents();
    }
    rig.operator(Operator::Floor(Mode::Full));
    rig.heal();
    assert!(!rig.alerts.iter().any(|code| code == "denial_refuted"), "an executed intent was denied");
    assert!(!rig.stopped && !rig.core().is_halted());
    assert!(!rig.core().has_open_intents(), "intents are still open ten minutes after all healed");
    rig.check_intents();
    rig.check_books();
    rig.check_folds();
    rig.journal
}

#[test]
fn a_seed_always_writes_the_same_journal() {
    for seed in SEEDS..SEEDS + 5 {
        assert!(run(seed) == run(seed), "seed {seed}");
    }
}

#[test]
fn whatever_fails_and_dies_the_books_agree_with_the_venue_once_all_has_healed() {
    let failed: Vec<u64> =
        (0..SEEDS).filter(|seed| std::panic::catch_unwind(|| run(*seed)).is_err()).collect();
    assert!(failed.is_empty(), "seeds {failed:?} failed; run one with `run(seed)`");
}
