//! Reconciliation: the books are held against the venue when the agent starts and whenever the venue was lost.
//!
//! ```text
//!              start                    found or gone for good        agree
//! NotYet ─► Updates ──────────► Orders ─────────────────────► Positions ───► Reconciled
//!   ▲  └──────────────────────────▲                                │  ▲          │
//!   │      back: updates are read │                         differ ▼  │          │ a doubt
//!   └─────────────────────────────┼─── lost, from anywhere ──── Mismatch ◄───────┘ turns bad
//! ```
//!
//! First the updates are read to the end, then every working order is asked about, then positions are
//! compared. Until that has ended well the agent only observes. A read that fails is made again after a
//! random delay that grows; a stage that was passed is not passed again for it.

use super::compare::{Compare, Held, Next};
use crate::market::{InstrumentId, Lots, MonoNanos};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::time::Duration;

/// How far the comparison of an agent's books with its venue has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ReconcileStage {
    /// The venue does not answer.
    #[default]
    NotYet,
    /// What happened while nobody listened is being read.
    Updates,
    /// Working orders are being asked about.
    Orders,
    /// Positions are being compared.
    Positions,
    /// The books agree with the venue.
    Reconciled,
    /// They do not; a person decides.
    Mismatch,
}

impl fmt::Display for ReconcileStage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotYet => "not yet",
            Self::Updates => "updates",
            Self::Orders => "orders",
            Self::Positions => "positions",
            Self::Reconciled => "reconciled",
            Self::Mismatch => "mismatch",
        })
    }
}

/// What the machine has to know of the books and the working orders.
pub(super) trait View: Held {
    /// Whether a working order has not been found, and is not known to be gone, since this began.
    fn orders_left(&self) -> bool;
    /// Whether the venue does not know a working order any more.
    fn orders_vanished(&self) -> bool;
}

/// How long to wait for what.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pauses {
    /// How far the venue's reads may be behind.
    pub(super) settle: Duration,
    /// Before the next look at books that moved during the last.
    pub(super) moving: Duration,
    /// Before the next look at what differs.
    pub(super) mismatch: Duration,
}

/// A read that the machine wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Want {
    Updates(u64),
    Positions(u64),
}

#[derive(Clone, Debug, Default)]
pub(super) struct Reconcile {
    stage: ReconcileStage,
    instruments: Vec<InstrumentId>,
    compare: Compare,
    /// Number of the last read.
    number: u64,
    /// Whether an answer to it is waited for.
    waits: bool,
    failures: u32,
    retry_at: MonoNanos,
    look_again_at: MonoNanos,
    /// Whether the first attempt has ended, in whatever way.
    attempted: bool,
    /// Since when an operator takes the venue's positions for true.
    adopts_since: Option<MonoNanos>,
}

impl Reconcile {
    /// A machine that has nothing to compare with: a backtest is its own venue.
    pub(super) fn not_needed() -> Self {
        Self { stage: ReconcileStage::Reconciled, attempted: true, ..Self::default() }
    }

    /// Begins for the first time, from the updates.
    pub(super) fn begin(&mut self, now: MonoNanos, instruments: impl IntoIterator<Item = InstrumentId>) {
        self.instruments = instruments.into_iter().collect();
        self.attempted = false;
        self.read_updates(now);
    }

    fn read_updates(&mut self, now: MonoNanos) {
        self.stage = ReconcileStage::Updates;
        self.waits = false;
        self.retry_at = now;
    }

    /// Begins from the updates once more: a change of an order must have been missed.
    pub(super) fn begin_again(&mut self, now: MonoNanos) {
        if self.stage != ReconcileStage::NotYet && !self.instruments.is_empty() {
            self.read_updates(now);
        }
    }

    /// The venue does not answer any more.
    pub(super) fn lost(&mut self) {
        self.stage = ReconcileStage::NotYet;
        self.waits = false;
        self.attempted = true;
    }

    /// The venue answers again, and its updates have just been read to the end.
    pub(super) fn back(&mut self) {
        self.stage = ReconcileStage::Orders;
        self.waits = false;
    }

    pub(super) fn stage(&self) -> ReconcileStage {
        self.stage
    }

    pub(super) fn compare(&self) -> &Compare {
        &self.compare
    }

    /// Whether the agent may only observe because of this.
    pub(super) fn holds(&self) -> bool {
        self.stage != ReconcileStage::Reconciled
    }

    /// Whether it is about to end: worth waiting for.
    pub(super) fn is_on_its_way(&self) -> bool {
        let under_way = matches!(
            self.stage,
            ReconcileStage::Updates | ReconcileStage::Orders | ReconcileStage::Positions
        );
        under_way && self.failures == 0 && !self.compare.is_suspicious()
    }

    /// Whether the first attempt has ended, well or not.
    pub(super) fn is_attempted(&self) -> bool {
        self.attempted
    }

    pub(super) fn failures(&self) -> u32 {
        self.failures
    }

    /// A read failed, of the account or about an order. The next one is made at `retry_at`.
    pub(super) fn failed(&mut self, retry_at: MonoNanos) {
        self.failures = self.failures.saturating_add(1);
        self.attempted = true;
        self.retry_at = retry_at;
    }

    /// The read of this number failed. Whether anybody waited for it.
    pub(super) fn on_read_failed(&mut self, number: u64, retry_at: MonoNanos) -> bool {
        if !self.take_answer(number) {
            return false;
        }
        self.compare.restart(retry_at);
        self.failed(retry_at);
        true
    }

    /// The updates were read to the end. Whether working orders are to be asked about now.
    pub(super) fn on_updates(&mut self, number: u64) -> bool {
        if !self.take_answer(number) {
            return false;
        }
        if self.stage == ReconcileStage::Updates {
            self.stage = ReconcileStage::Orders;
            return true;
        }
        self.compare.on_updates();
        self.failures = 0;
        false
    }

    /// The positions were read.
    pub(super) fn on_positions(
        &mut self,
        now: MonoNanos,
        number: u64,
        held: Vec<(InstrumentId, Lots)>,
        settle: Duration,
    ) {
        if self.take_answer(number) {
            self.compare.on_positions(now, held, settle);
        }
    }

    fn take_answer(&mut self, number: u64) -> bool {
        let expected = self.waits && self.number == number;
        self.waits &= !expected;
        expected
    }

    /// Something was booked in an instrument.
    pub(super) fn moved(&mut self, instrument: InstrumentId) {
        self.compare.moved(instrument);
    }

    /// What was in doubt is decided by a person: it is time to look.
    pub(super) fn look_again(&mut self, now: MonoNanos) {
        let instruments = self.instruments.clone();
        self.compare.begin(now, instruments);
        self.waits = false;
    }

    /// An operator takes the venue's positions for true, as the next looks find them.
    pub(super) fn adopt(&mut self, now: MonoNanos) {
        self.adopts_since = Some(now);
        if self.stage == ReconcileStage::Mismatch {
            self.look_again(now);
        }
    }

    /// What an operator takes for true cannot be booked.
    pub(super) fn refuse_adoption(&mut self) {
        self.adopts_since = None;
    }

    /// What an operator takes for true: the instruments, and what the venue holds beyond the books.
    pub(super) fn to_adopt(&self) -> Vec<(InstrumentId, Lots)> {
        let Some(since) = self.adopts_since else { return Vec::new() };
        let decided = self.compare.off().iter().filter(|(_, difference)| difference.at >= since);
        decided
            .filter_map(|(id, difference)| Some((*id, difference.venues.checked_sub(difference.ours)?)))
            .collect()
    }

    /// A difference is booked.
    pub(super) fn adopted(&mut self, now: MonoNanos, instrument: InstrumentId) {
        self.compare.adopted(now, instrument);
        self.waits = false;
    }

    /// When to look at this again, at the latest.
    pub(super) fn wake(&self, now: MonoNanos) -> Option<MonoNanos> {
        (!self.waits && self.retry_at > now).then_some(self.retry_at)
    }

    /// What to read next, if anything.
    pub(super) fn advance(&mut self, now: MonoNanos, view: &impl View, pauses: &Pauses) -> Option<Want> {
        if self.waits {
            return None;
        }
        match self.stage {
            ReconcileStage::NotYet => return None,
            ReconcileStage::Updates => return (self.retry_at <= now).then(|| Want::Updates(self.ask())),
            ReconcileStage::Orders if view.orders_left() => return None,
            ReconcileStage::Orders => {
                self.stage = ReconcileStage::Positions;
                self.look_again(now);
            }
            ReconcileStage::Positions | ReconcileStage::Reconciled | ReconcileStage::Mismatch => {}
        }
        self.look_at_mismatch(now, view, pauses);
        let next = self.compare.advance(now, view, pauses.settle, pauses.moving);
        self.stage = self.verdict(view);
        self.attempted |= matches!(self.stage, ReconcileStage::Reconciled | ReconcileStage::Mismatch);
        if self.stage == ReconcileStage::Reconciled && !self.compare.has_comparable(view) {
            self.adopts_since = None;
        }
        match next {
            Next::ReadPositions => Some(Want::Positions(self.ask())),
            Next::ReadUpdates => Some(Want::Updates(self.ask())),
            Next::At(at) => {
                self.retry_at = at;
                None
            }
            Next::Idle => {
                self.retry_at = if self.holds() { self.look_again_at.max(now) } else { MonoNanos(u64::MAX) };
                None
            }
        }
    }

    /// What differs is compared again from time to time: a person may have put it right at the venue.
    fn look_at_mismatch(&mut self, now: MonoNanos, view: &impl View, pauses: &Pauses) {
        if self.stage != ReconcileStage::Mismatch {
            self.look_again_at = now.after(pauses.mismatch);
        } else if !self.compare.has_comparable(view)
            && !self.compare.is_looking()
            && self.look_again_at <= now
        {
            self.look_again_at = now.after(pauses.mismatch);
            self.compare.again(now);
        }
    }

    fn verdict(&self, view: &impl View) -> ReconcileStage {
        let compares = || self.compare.has_comparable(view) || self.compare.is_looking();
        if !self.compare.off().is_empty() || view.orders_vanished() {
            ReconcileStage::Mismatch
        } else if self.compare.is_suspicious() || (self.holds() && compares()) {
            ReconcileStage::Positions
        } else {
            ReconcileStage::Reconciled
        }
    }

    fn ask(&mut self) -> u64 {
        self.waits = true;
        self.number += 1;
        self.number
    }
}
