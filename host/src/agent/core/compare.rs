//! Comparing positions with the venue's, without ever taking a fill on its way for a difference.
//!
//! One look reads the positions, then the updates to the end, and judges each instrument when all of them
//! are booked. While it was under way nothing may have been booked in the instrument and nothing of it may be
//! in doubt: then, if the venue answers from what it knows, positions and books describe the same moment.
//!
//! A venue may answer from a copy that is behind by up to `settle_ms`. So a difference is first a suspicion.
//! It counts when a second look finds one as well that was begun at least that long after the first was
//! judged, that waited as long again between its two reads, and when nothing was booked since the first:
//! whatever either copy was behind by has arrived by then. Anything booked in between starts this anew.

use crate::market::{InstrumentId, Lots, MonoNanos};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// A position that differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Difference {
    pub(super) ours: Lots,
    pub(super) venues: Lots,
    /// When it came to count.
    pub(super) at: MonoNanos,
}

/// What the comparison has to know of the books.
pub(super) trait Held {
    /// Signed quantity in the books.
    fn position(&self, instrument: InstrumentId) -> Lots;
    /// Whether something of the instrument may have been executed that the books do not hold.
    fn in_doubt(&self, instrument: InstrumentId) -> bool;
    /// Whether an order of the instrument may have been filled without a word of it, because the venue tells only
    /// when it is asked, and has answered no question from this moment on. A difference is no more than a suspicion
    /// then.
    fn is_unheard(&self, instrument: InstrumentId, since: MonoNanos) -> bool;
    /// Whether everything that was heard is booked.
    fn is_settled(&self) -> bool;
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    ReadPositions,
    ReadUpdates,
    /// Nothing before this moment.
    At(MonoNanos),
    /// Nothing until something else happens.
    Idle,
}

/// Positions as they were read, and how often the books had moved when they were asked for.
#[derive(Clone, Debug)]
struct Taken {
    held: BTreeMap<InstrumentId, Lots>,
    moves: BTreeMap<InstrumentId, u64>,
}

#[derive(Clone, Debug)]
enum Look {
    /// Not before this moment.
    At(MonoNanos),
    Positions {
        moves: BTreeMap<InstrumentId, u64>,
    },
    Settling {
        taken: Taken,
        until: MonoNanos,
    },
    Updates {
        taken: Taken,
    },
    Judging {
        taken: Taken,
    },
}

#[derive(Clone, Copy, Debug)]
struct Suspicion {
    since: MonoNanos,
    moves: u64,
}

/// The comparison of one agent's positions.
#[derive(Clone, Debug)]
pub(super) struct Compare {
    look: Look,
    /// When the positions of the look under way were asked for.
    asked_at: MonoNanos,
    pending: BTreeSet<InstrumentId>,
    suspects: BTreeMap<InstrumentId, Suspicion>,
    off: BTreeMap<InstrumentId, Difference>,
    /// How often something was booked, by instrument.
    moves: BTreeMap<InstrumentId, u64>,
}

impl Default for Compare {
    fn default() -> Self {
        Self {
            look: Look::At(MonoNanos(0)),
            asked_at: MonoNanos(0),
            pending: BTreeSet::new(),
            suspects: BTreeMap::new(),
            off: BTreeMap::new(),
            moves: BTreeMap::new(),
        }
    }
}

impl Compare {
    /// Compares these anew, beginning now. What is known to differ stays so until a look agrees.
    pub(super) fn begin(&mut self, now: MonoNanos, instruments: impl IntoIterator<Item = InstrumentId>) {
        self.pending.extend(instruments);
        self.suspects.clear();
        self.look = Look::At(now);
    }

    /// Compares once more what differs.
    pub(super) fn again(&mut self, now: MonoNanos) {
        let off: Vec<_> = self.off.keys().copied().collect();
        self.begin(now, off);
    }

    /// Something was booked in an instrument.
    pub(super) fn moved(&mut self, instrument: InstrumentId) {
        *self.moves.entry(instrument).or_default() += 1;
    }

    /// An operator has taken the venue's word for an instrument: it is compared once more.
    pub(super) fn adopted(&mut self, now: MonoNanos, instrument: InstrumentId) {
        self.moved(instrument);
        self.off.remove(&instrument);
        self.begin(now, [instrument]);
    }

    /// What differs, and counts.
    pub(super) fn off(&self) -> &BTreeMap<InstrumentId, Difference> {
        &self.off
    }

    /// Whether a difference was seen that does not count yet.
    pub(super) fn is_suspicious(&self) -> bool {
        !self.suspects.is_empty()
    }

    /// Whether something waits to be compared that can be.
    pub(super) fn has_comparable(&self, books: &impl Held) -> bool {
        self.pending.iter().any(|instrument| !books.in_doubt(*instrument))
    }

    /// Whether a look is between its first read and its judgement.
    pub(super) fn is_looking(&self) -> bool {
        !matches!(self.look, Look::At(_))
    }

    /// What was under way is not waited for any more; the look begins anew at this moment.
    pub(super) fn restart(&mut self, at: MonoNanos) {
        self.look = Look::At(at);
    }

    /// The positions have been asked for.
    fn ask(&mut self, now: MonoNanos) -> Next {
        self.asked_at = now;
        self.look = Look::Positions { moves: self.moves.clone() };
        Next::ReadPositions
    }

    /// The positions were read.
    pub(super) fn on_positions(&mut self, now: MonoNanos, held: Vec<(InstrumentId, Lots)>, settle: Duration) {
        let Look::Positions { moves } = &mut self.look else { return };
        let taken = Taken { held: held.into_iter().collect(), moves: std::mem::take(moves) };
        let until = if self.suspects.is_empty() { now } else { now.after(settle) };
        self.look = Look::Settling { taken, until };
    }

    /// The updates were read to the end.
    pub(super) fn on_updates(&mut self) {
        if let Look::Updates { taken } = &self.look {
            self.look = Look::Judging { taken: taken.clone() };
        }
    }

    /// What to do next. `pause` is how long to wait before the next look at books that moved.
    pub(super) fn advance(
        &mut self,
        now: MonoNanos,
        books: &impl Held,
        settle: Duration,
        pause: Duration,
    ) -> Next {
        match &self.look {
            Look::At(_) if !self.has_comparable(books) => Next::Idle,
            Look::At(at) if *at > now => Next::At(*at),
            // What is about to be booked would spoil the look.
            Look::At(_) if !books.is_settled() => Next::Idle,
            Look::At(_) => self.ask(now),
            Look::Settling { until, .. } if *until > now => Next::At(*until),
            Look::Settling { taken, .. } => {
                self.look = Look::Updates { taken: taken.clone() };
                Next::ReadUpdates
            }
            Look::Judging { taken } if books.is_settled() => {
                let taken = taken.clone();
                self.judge(now, &taken, books, settle);
                self.look = Look::At(now.after(if self.suspects.is_empty() { pause } else { settle }));
                if self.has_comparable(books) { self.next_at(now) } else { Next::Idle }
            }
            Look::Judging { .. } | Look::Positions { .. } | Look::Updates { .. } => Next::Idle,
        }
    }

    fn next_at(&self, now: MonoNanos) -> Next {
        match &self.look {
            Look::At(at) => Next::At((*at).max(now)),
            _ => Next::Idle,
        }
    }

    fn judge(&mut self, now: MonoNanos, taken: &Taken, books: &impl Held, settle: Duration) {
        for instrument in self.pending.clone() {
            let Some(venues) = taken.held.get(&instrument).copied() else {
                // Not to be compared by this agent.
                self.pending.remove(&instrument);
                continue;
            };
            let moves = self.moves.get(&instrument).copied().unwrap_or(0);
            let moved = taken.moves.get(&instrument).copied().unwrap_or(0) != moves;
            if moved || books.in_doubt(instrument) {
                self.suspects.remove(&instrument);
                continue;
            }
            let ours = books.position(instrument);
            if ours == venues {
                self.pending.remove(&instrument);
                self.suspects.remove(&instrument);
                self.off.remove(&instrument);
                continue;
            }
            let suspicion =
                self.suspects.get(&instrument).filter(|suspicion| suspicion.moves == moves).copied();
            let Some(late) = suspicion.map(|first| first.since.after(settle)) else {
                self.suspects.insert(instrument, Suspicion { since: now, moves });
                continue;
            };
            // The pause between the two reads was kept because there was a suspicion when the look began.
            if self.asked_at >= late && !books.is_unheard(instrument, late) {
                self.pending.remove(&instrument);
                self.suspects.remove(&instrument);
                self.off.insert(instrument, Difference { ours, venues, at: now });
            }
        }
    }
}
