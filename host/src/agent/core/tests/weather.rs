//! What one seed does: every rate, and every choice of every turn.

use super::answers::QueryFault;
use super::delta::Reads;
use super::script::trap_of;
use super::shrink::{Cut, Quiet, Which};
use super::venue::Kind;
use super::wire::{GARBLED, VenueClock};
use super::*;
use crate::orders::{AmendOrder, Digest};
use crate::plugin::TrapKind;
use crate::random::SplitMix64;
use std::time::Duration;

/// What is decided by chance, each with random numbers of its own.
#[derive(Clone, Copy, Debug)]
pub(super) enum Stream {
    Market,
    Wishes,
    Requests,
    Questions,
    Disk,
    Deaths,
    Venue,
    Clock,
    People,
    Components,
    Writes,
    Samples,
    Plugin,
    Hours,
    Replies,
    Letters,
    Stored,
    Operations,
    Damage,
    Headers,
}

impl Stream {
    const COUNT: usize = 20;
}

/// What one seed does, as rates in a hundred.
///
/// What is left out moves nothing else: every stream begins anew with every turn, and a choice is drawn whether or
/// not anything comes of it.
pub(super) struct Weather {
    kind: Kind,
    seed: u64,
    streams: [SplitMix64; Stream::COUNT],
    fault: u64,
    /// Which of the faults occur at all.
    faults: u64,
    pub(super) kill: u64,
    pub(super) hold: u64,
    /// How often no checkpoint can be written.
    pub(super) unsaved: u64,
    /// How often the process stands still.
    pub(super) pause: u64,
    /// How often the clock on the wall is set.
    pub(super) set_clock: u64,
    /// How often the disk stops taking records.
    pub(super) disk_fails: u64,
    /// How often a sample cannot be true.
    pub(super) bad_sample: u64,
    /// How often the strategy fails.
    pub(super) misbehave: u64,
    /// How often the clock on the wall jumps by an hour.
    pub(super) hours: u64,
    /// How often something answers in the venue's place, or an answer arrives in part.
    garbled: u64,
    /// How often the index of dead letters cannot be written, and how soon it can again.
    pub(super) index_fails: u64,
    /// How often one operation of the disk fails, or all from then on.
    pub(super) operations: u64,
    /// How often something has changed files while the host was down.
    pub(super) damage: u64,
    pub(super) poll: u64,
    /// How often the venue is lost and comes back.
    pub(super) reconnect: u64,
    /// How often an operator lets the agent only observe, or ends that. Then it has to ask.
    pub(super) observe: u64,
    pub(super) observes: bool,
    /// What is drawn and does not happen.
    quiet: Vec<Quiet>,
    /// Components that take over from one another, now and then.
    pub(super) components: Vec<Digest>,
    next_order: u64,
}

impl Weather {
    pub(super) fn new(cut: &Cut, kind: Kind) -> Self {
        let seed = cut.seed;
        let mut random = SplitMix64(seed);
        let mut rate = |most: u64| random.below(most + 1);
        let (fault, kill, hold, poll) = (rate(70), rate(12), rate(40), 10 + rate(80));
        let sometimes = |drawn: u64| drawn.saturating_sub(20);
        let (unsaved, pause, set_clock) = (sometimes(rate(60)), sometimes(rate(30)), sometimes(rate(35)));
        let faults = random.next_u64();
        let mut rate = |most: u64| random.below(most + 1);
        let (disk_fails, bad_sample) = (sometimes(rate(28)), sometimes(rate(50)));
        let (misbehave, hours) = (sometimes(rate(35)), sometimes(rate(27)));
        let (garbled, index_fails) = (sometimes(rate(60)), sometimes(rate(30)));
        let (operations, damage) = (rate(40), rate(60));
        let observe = if seed % 3 == 1 { 25 } else { 0 };
        let reconnect = if seed % 2 == 1 { 30 } else { 0 };
        let mut weather = Self {
            kind,
            seed,
            streams: [const { SplitMix64(0) }; Stream::COUNT],
            fault,
            faults: faults & !cut.without,
            kill,
            hold,
            unsaved,
            pause,
            set_clock,
            disk_fails,
            bad_sample,
            misbehave,
            hours,
            garbled,
            index_fails,
            operations,
            damage,
            poll,
            reconnect,
            observe,
            observes: false,
            quiet: cut.quiet.clone(),
            components: Vec::new(),
            next_order: 1,
        };
        weather.begin(0);
        weather
    }

    /// A turn begins. Zero is what is before the first one.
    pub(super) fn begin(&mut self, turn: u64) {
        for (stream, random) in (1_u64..).zip(&mut self.streams) {
            let own = SplitMix64(self.seed ^ stream << 48).next_u64();
            *random = SplitMix64(own ^ turn);
        }
    }

    pub(super) fn below(&mut self, stream: Stream, bound: u64) -> u64 {
        self.streams[stream as usize].below(bound)
    }

    pub(super) fn happens(&mut self, stream: Stream, percent: u64) -> bool {
        self.below(stream, 100) < percent
    }

    /// Whether what was drawn happens, too.
    pub(super) fn lets(&self, what: Quiet) -> bool {
        !self.quiet.contains(&what)
    }

    fn millis(&mut self, stream: Stream, below: u64) -> Duration {
        Duration::from_millis(1 + self.below(stream, below))
    }

    /// What becomes of an attempt.
    pub(super) fn fault(&mut self) -> Fault {
        let mut delay = self.millis(Stream::Requests, 8_000);
        if self.kind == Kind::NoIds && self.below(Stream::Requests, 2) == 0 {
            // Long after the client gave up.
            delay = Duration::from_secs(1 + self.below(Stream::Requests, 240));
        }
        let kinds = [
            Fault::NotSent,
            Fault::Dropped,
            Fault::ReplyLost,
            Fault::ExecutedLater(delay),
            // That something in between delivers twice is beyond what can be asked of a host, where the venue
            // executes the same request twice.
            if self.kind == Kind::Keys { Fault::Duplicated } else { Fault::Delivered },
            Fault::Refused,
            Fault::Unauthorized,
            Fault::TurnedAway,
            Fault::Throttled(["0", "2", "70", "junk"][self.below(Stream::Requests, 4) as usize]),
            Fault::Slow(delay),
            Fault::Busy(["0", "3", "90"][self.below(Stream::Requests, 3) as usize]),
        ];
        let kind = self.below(Stream::Requests, kinds.len() as u64);
        let (fails, occurs) = (self.happens(Stream::Requests, self.fault), self.faults >> kind & 1 == 1);
        let garbled = self.happens(Stream::Replies, self.garbled);
        let reply = self.below(Stream::Replies, GARBLED.len() as u64) as usize;
        let executed = self.below(Stream::Replies, 2) == 0;
        match fails {
            true if occurs => kinds[kind as usize].clone(),
            false if garbled && self.lets(Quiet::Replies) => Fault::Garbled { reply, executed },
            _ => Fault::Delivered,
        }
    }

    /// How the venue says when it wants to be asked again.
    pub(super) fn clock(&mut self) -> VenueClock {
        let drawn = self.below(Stream::Headers, 6);
        match drawn {
            _ if !self.lets(Quiet::Headers) => VenueClock::Unseen,
            0 => VenueClock::Junk,
            1 => VenueClock::Behind,
            2 => VenueClock::Ahead,
            _ => VenueClock::Unseen,
        }
    }

    /// What becomes of an attempt of which nobody shall know what became of it.
    pub(super) fn doubt(&mut self) -> Fault {
        // Within the timeout of a request, often only just.
        let early_ms = 2_000 << self.below(Stream::People, 3);
        let delay = Duration::from_millis(10_000 - self.below(Stream::People, early_ms));
        match self.below(Stream::People, 4) {
            0 => Fault::Dropped,
            1 => Fault::ReplyLost,
            _ => Fault::ExecutedLater(delay),
        }
    }

    pub(super) fn query_fault(&mut self) -> QueryFault {
        let lost = self.below(Stream::Questions, 2) == 0;
        let shown = self.below(Stream::Questions, 2) == 0;
        let reads = [Reads::Disagreeing, Reads::NoPositions][self.below(Stream::Questions, 2) as usize];
        let delay = self.millis(Stream::Questions, 5_000);
        match self.happens(Stream::Questions, self.fault) {
            false => QueryFault::Answered,
            true if lost => QueryFault::Lost,
            true if self.kind == Kind::NoIds && shown => QueryFault::Shown(reads),
            true => QueryFault::Slow(delay),
        }
    }

    /// What a strategy does that fails.
    pub(super) fn misbehaviour(&mut self) -> Step {
        let fails = |error| Step::Spoil(|services| services.kv_set("spoiled", vec![1]).unwrap(), error);
        match self.below(Stream::Plugin, 5) {
            0 => Step::trap(),
            1 => fails(trap_of(TrapKind::Fuel)),
            2 => fails(trap_of(TrapKind::Memory)),
            3 => Step::fault(),
            _ => Step::Want((0..10_000).map(|id| buy(self.next_order + id, 1)).collect()),
        }
    }

    /// What the strategy wants of one call, at this price.
    pub(super) fn intents(&mut self, price: i64) -> Vec<OrderIntent> {
        (0..self.below(Stream::Wishes, 4)).map(|_| self.intent(price)).collect()
    }

    fn intent(&mut self, price: i64) -> OrderIntent {
        let (id, lots) = (self.next_order, 1 + self.below(Stream::Wishes, 9) as i64);
        let earlier = OrderId(1 + self.below(Stream::Wishes, id));
        let limit = PriceTicks(price - 3 + self.below(Stream::Wishes, 7) as i64);
        match self.below(Stream::Wishes, 12) {
            0 | 1 => OrderIntent::Cancel(earlier),
            2 => OrderIntent::Amend(AmendOrder { id: earlier, quantity: Lots(lots), limit: Some(limit) }),
            3 => OrderIntent::CancelAll(X),
            kind => {
                self.next_order += 1;
                let side = if self.below(Stream::Wishes, 2) == 0 { Side::Buy } else { Side::Sell };
                let kind = if kind < 7 { OrderKind::Market } else { OrderKind::Limit(limit) };
                OrderIntent::Submit(order(id, side, lots, kind))
            }
        }
    }
}

#[test]
fn what_is_left_out_of_a_seed_moves_nothing_else() {
    let mut left_out = 0;
    for seed in 0..40 {
        let whole = Cut::whole(Which::Keys, seed);
        let fewer = Cut { without: 1 << 2, quiet: vec![Quiet::Deaths, Quiet::Clock], ..whole.clone() };
        let (mut whole, mut fewer) = (Weather::new(&whole, Kind::Keys), Weather::new(&fewer, Kind::Keys));
        for turn in 1..20 {
            whole.begin(turn);
            fewer.begin(turn);
            if whole.happens(Stream::Deaths, whole.kill) {
                // However much it takes of its own numbers.
                whole.below(Stream::Deaths, 14);
            }
            for _ in 0..8 {
                match (whole.fault(), fewer.fault()) {
                    (Fault::ReplyLost, found) => {
                        assert_eq!(found, Fault::Delivered);
                        left_out += 1;
                    }
                    (expected, found) => assert_eq!(found, expected),
                }
            }
            assert_eq!(whole.intents(100), fewer.intents(100));
            let drawn = |weather: &mut Weather| {
                [Stream::Market, Stream::Questions, Stream::Disk, Stream::Clock, Stream::Components]
                    .map(|stream| weather.below(stream, 1_000))
            };
            assert_eq!(drawn(&mut whole), drawn(&mut fewer));
        }
    }
    assert!(left_out > 50, "{left_out}");
}
