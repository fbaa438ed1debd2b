//! Degradation: how much an agent may do, as the lowest mode that any signal asks for.
//!
//! Down at once, to whatever is asked. Up by one mode at a time, after nothing has asked for less than the
//! mode above for a dwell, which doubles when the agent falls back soon after going up. Shutdown is latched:
//! only the operator ends it. A threshold that is left has a lower value than the one that is entered, so
//! that a value close to it does not make the mode flap.
//!
//! One signal has no dwell: while the books have not been compared with the venue the agent at most observes,
//! and a comparison that ends well lets it go on at once. It is evidence that all is well, which a dwell can
//! only guess at, and it is had again after every short loss of the venue. The other signals go on underneath,
//! with their own dwells, so a venue that comes and goes neither shortens nor lengthens those.

mod config;

#[cfg(test)]
mod tests;

pub use config::{BandError, DegradationConfig, DrawdownBand};

use super::{Class, Classified, Mode};
use crate::market::{Money, MonoNanos};
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::time::Duration;
use thiserror::Error;

/// What is known about an agent at one moment. The default is an agent with nothing wrong and nothing known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Signals {
    /// Equity, or `None` when a price is missing: the sample is skipped and the last one stands.
    pub equity: Option<Money>,
    /// Whether the write breaker of the agent's venue refuses orders.
    pub write_breaker_open: bool,
    /// Age of the latest data, counted from the start of the feed before the first; `None` when the agent has
    /// no feed.
    pub feed_age: Option<Duration>,
    /// Whether the database of dead letters and indexes failed. It can be rebuilt, but not while orders are
    /// sent.
    pub index_failed: bool,
    /// Whether a write or sync of the journal failed. Nothing that follows could be remembered.
    pub journal_failed: bool,
    /// Whether too many checkpoints in a row could not be written. The journal holds everything, and grows.
    pub checkpoints_failed: bool,
    /// Whether the venue refuses our credentials.
    pub venue_auth_failed: bool,
    /// Whether there is an order of which nobody knows what became of it.
    pub unresolved_orders: bool,
    /// Whether the books have not been compared with the venue since it was lost last, or differ from it.
    pub unreconciled: bool,
    /// Whether the strategy was halted by its supervisor.
    pub strategy_halted: bool,
    /// The most that the operator allows.
    pub operator_floor: Mode,
}

/// Why a mode changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ModeCause {
    /// A write or sync of the journal failed.
    JournalFailed,
    /// Equity is below its minimum.
    EquityBelowMinimum,
    /// Equity is too far below its peak.
    Drawdown,
    /// The operator said so.
    Operator,
    /// The index database failed.
    IndexFailed,
    /// The strategy was halted.
    StrategyHalted,
    /// The strategy trapped too often.
    Traps,
    /// The data is too old.
    FeedStale,
    /// Checkpoints cannot be written.
    CheckpointsFailed,
    /// The venue refuses our credentials.
    VenueAuthFailed,
    /// Nobody knows what became of an order.
    UnresolvedOrders,
    /// The venue's write breaker is not closed.
    WriteBreakerOpen,
    /// The books have not been compared with the venue, or differ from it.
    Unreconciled,
    /// The books agree with the venue.
    Reconciled,
    /// Nothing has asked for less than the new mode for a dwell.
    Recovered,
}

impl ModeCause {
    /// A stable name used in logs, metrics and files.
    pub const fn code(self) -> &'static str {
        match self {
            Self::JournalFailed => "journal_failed",
            Self::EquityBelowMinimum => "equity_below_minimum",
            Self::Drawdown => "drawdown",
            Self::Operator => "operator",
            Self::IndexFailed => "index_failed",
            Self::StrategyHalted => "strategy_halted",
            Self::Traps => "traps",
            Self::FeedStale => "feed_stale",
            Self::CheckpointsFailed => "checkpoints_failed",
            Self::VenueAuthFailed => "venue_auth_failed",
            Self::UnresolvedOrders => "unresolved_orders",
            Self::WriteBreakerOpen => "write_breaker_open",
            Self::Unreconciled => "unreconciled",
            Self::Reconciled => "reconciled",
            Self::Recovered => "recovered",
        }
    }
}

impl fmt::Display for ModeCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

/// One change of mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModeChange {
    /// The mode before.
    pub from: Mode,
    /// The mode after.
    pub to: Mode,
    /// Why.
    pub cause: ModeCause,
}

/// A deposit or withdrawal that the peak cannot take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("a flow of {amount} does not fit the equity peak of {peak}; check the amount, the peak is unchanged")]
pub struct FlowError {
    /// What came in, or went out when negative.
    pub amount: Money,
    /// The peak before.
    pub peak: Money,
}

impl Classified for FlowError {
    fn class(&self) -> Class {
        Class::Data
    }

    fn code(&self) -> &'static str {
        "flow_overflow"
    }
}

/// The part that a checkpoint keeps. Times are not part of it: the monotonic clock starts anew, and so does a
/// dwell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DegradationState {
    /// What every signal but `unreconciled` leads to.
    mode: Mode,
    #[serde(default)]
    unreconciled: bool,
    peak: Option<Money>,
    equity: Option<Money>,
    /// Times in a row that the agent fell back soon after going up.
    flaps: u32,
    /// The last calls, newest in the lowest bit; a set bit is a trap.
    traps: u64,
    in_read_only_band: bool,
    in_observation_band: bool,
    feed_stale: bool,
}

impl DegradationState {
    fn lost(&self) -> Decimal {
        let (Some(peak), Some(equity)) = (self.peak, self.equity) else { return Decimal::ZERO };
        if peak <= Money::ZERO || equity >= peak {
            return Decimal::ZERO;
        }
        // What does not fit is a loss of more than any threshold.
        peak.checked_sub(equity).and_then(|lost| lost.checked_ratio(peak)).unwrap_or(Decimal::MAX)
    }
}

/// Decides the mode of one agent.
#[derive(Clone, Debug)]
pub struct Degradation {
    config: DegradationConfig,
    state: DegradationState,
    /// Since when nothing asks for less than the mode above.
    healthy_since: Option<MonoNanos>,
    /// When the agent went up last, unless it has fallen since.
    went_up_at: Option<MonoNanos>,
    /// The share of the peak that is lost. A division costs more than all the rest of an evaluation, and equity is
    /// asked about more often than it moves.
    lost: Decimal,
}

impl Degradation {
    /// An agent in full mode without a peak.
    pub fn new(config: DegradationConfig) -> Self {
        Self::restore(config, DegradationState::default())
    }

    /// An agent as a checkpoint left it: same mode, same peak, a latched shutdown still latched.
    pub fn restore(config: DegradationConfig, state: DegradationState) -> Self {
        let lost = state.lost();
        Self { config, state, healthy_since: None, went_up_at: None, lost }
    }

    /// What a checkpoint keeps.
    pub fn state(&self) -> DegradationState {
        self.state
    }

    /// What the agent may do.
    pub fn mode(&self) -> Mode {
        let most = if self.state.unreconciled { Mode::Observation } else { Mode::Full };
        self.state.mode.max(most)
    }

    /// The highest equity seen, moved by deposits and withdrawals; `None` before the first sample.
    pub fn peak(&self) -> Option<Money> {
        self.state.peak
    }

    /// The share of the peak that is lost, as of the last equity known: `(peak - equity) / peak`, and zero
    /// while there is no positive peak to lose from.
    pub const fn drawdown(&self) -> Decimal {
        self.lost
    }

    /// When the mode may go up, if nothing changes until then: evaluate again.
    pub fn next_wake(&self) -> Option<MonoNanos> {
        self.healthy_since.map(|since| since.after(self.dwell()))
    }

    /// Takes note of one call into the strategy.
    pub fn called(&mut self, trapped: bool) {
        self.state.traps = self.state.traps << 1 | u64::from(trapped);
    }

    /// Takes note of money that came in (or went out, when negative) without being earned. Call it after the
    /// last sample of equity without it and before the first with it.
    ///
    /// # Errors
    /// When the sum does not fit; nothing is changed.
    pub fn flow(&mut self, amount: Money) -> Result<(), FlowError> {
        // Before the first sample there is nothing to move: it will contain the flow.
        let (Some(peak), Some(equity)) = (self.state.peak, self.state.equity) else { return Ok(()) };
        let moved = peak.checked_add(amount).zip(equity.checked_add(amount));
        let (peak, equity) = moved.ok_or(FlowError { amount, peak })?;
        self.value(Some(peak), Some(equity));
        Ok(())
    }

    /// Takes the last equity known as the new peak, at the operator's word.
    pub fn reset_peak(&mut self) {
        self.value(self.state.equity, self.state.equity);
    }

    /// Takes over a peak that the journal holds, after a restart.
    pub fn set_peak(&mut self, peak: Option<Money>) {
        self.value(peak, self.state.equity);
    }

    /// Ends a latched shutdown at the operator's word: the agent observes, and goes up from there by its
    /// dwells. When something still asks for a shutdown, the next evaluation latches it again; see
    /// [`Degradation::reset_peak`].
    pub fn release(&mut self) -> Option<ModeChange> {
        (self.state.mode == Mode::Shutdown).then(|| self.change(Mode::Observation, ModeCause::Operator))
    }

    /// Takes over a mode that the journal holds, after a restart. Its dwell begins anew.
    pub fn adopt(&mut self, mode: Mode, cause: ModeCause) {
        if cause == ModeCause::Unreconciled {
            self.state.unreconciled = true;
            return;
        }
        self.state.unreconciled = false;
        self.state.mode = mode;
        self.healthy_since = None;
    }

    /// The agent starts: what its books say has to be compared with the venue first.
    pub fn unreconciled(&mut self) {
        self.state.unreconciled = true;
    }

    /// Takes note of the equity of a moment between two evaluations, or of one before a restart.
    pub fn observe(&mut self, equity: Option<Money>) {
        self.take_equity(equity);
    }

    /// Takes what is known now, and decides the mode.
    pub fn evaluate(&mut self, now: MonoNanos, signals: &Signals) -> Option<ModeChange> {
        let (from, was_unreconciled) = (self.mode(), self.state.unreconciled);
        self.state.unreconciled = signals.unreconciled;
        let below = self.evaluate_below(now, signals);
        let to = self.mode();
        if to == from {
            return None;
        }
        let cause = match below.filter(|change| change.to == to) {
            Some(change) if to > from || !was_unreconciled => change.cause,
            _ if to > from => ModeCause::Unreconciled,
            _ => ModeCause::Reconciled,
        };
        Some(ModeChange { from, to, cause })
    }

    /// The mode that every signal but `unreconciled` leads to.
    fn evaluate_below(&mut self, now: MonoNanos, signals: &Signals) -> Option<ModeChange> {
        self.take_equity(signals.equity);
        self.cross_thresholds(signals.feed_age);
        let (asked, cause) = self.asked(signals);
        let mode = self.state.mode;
        if mode == Mode::Shutdown {
            return None;
        }
        if asked > mode {
            self.count_flap(now);
            return Some(self.change(asked, cause));
        }
        if asked == mode {
            self.healthy_since = None;
            return None;
        }
        let since = *self.healthy_since.get_or_insert(now);
        if now.since(since) < self.dwell() {
            return None;
        }
        let change = self.change(mode.one_up(), ModeCause::Recovered);
        self.went_up_at = Some(now);
        // The next step up has a dwell of its own, which begins here.
        self.healthy_since = (asked < change.to).then_some(now);
        Some(change)
    }

    /// The mode that these signals ask for, as of the last evaluation's equity and feed; the mode itself may
    /// still be lower, until a dwell is over.
    pub fn asks_for(&self, signals: &Signals) -> Mode {
        self.asked(signals).0
    }

    /// Whether an agent in full mode stays there while its equity moves between these two, in whatever order, and
    /// nothing else asks for less.
    pub fn stays_full(&self, low: Money, high: Money) -> bool {
        // The best first and the worst after it is the deepest fall that there can be.
        let mut worst = self.clone();
        worst.take_equity(Some(high));
        worst.take_equity(Some(low));
        worst.cross_thresholds(None);
        let signals = Signals::default();
        self.mode() == Mode::Full && !self.state.feed_stale && worst.asks_for(&signals) == Mode::Full
    }

    fn take_equity(&mut self, equity: Option<Money>) {
        let peak = self.state.peak.max(equity);
        if equity.is_some() && (peak, equity) != (self.state.peak, self.state.equity) {
            self.value(peak, equity);
        }
    }

    fn value(&mut self, peak: Option<Money>, equity: Option<Money>) {
        (self.state.peak, self.state.equity) = (peak, equity);
        self.lost = self.state.lost();
    }

    fn cross_thresholds(&mut self, feed_age: Option<Duration>) {
        let drawdown = self.drawdown();
        let (config, state) = (&self.config, &mut self.state);
        let inside =
            |band: &Option<DrawdownBand>, was: bool| band.is_some_and(|band| band.contains(drawdown, was));
        state.in_read_only_band = inside(&config.drawdown_read_only, state.in_read_only_band);
        state.in_observation_band = inside(&config.drawdown_observation, state.in_observation_band);
        state.feed_stale = feed_age.is_some_and(|age| config.feed_is_stale(age, state.feed_stale));
    }

    /// The lowest mode that is asked for, and by what; the first of several, gravest first.
    fn asked(&self, signals: &Signals) -> (Mode, ModeCause) {
        let (config, state) = (&self.config, &self.state);
        let below_minimum = state.equity.zip(config.equity_min).is_some_and(|(equity, min)| equity < min);
        let lost_too_much = self.drawdown() > config.drawdown_max_permille.decimal();
        let asks = [
            (signals.journal_failed, Mode::Shutdown, ModeCause::JournalFailed),
            (below_minimum, Mode::Shutdown, ModeCause::EquityBelowMinimum),
            (lost_too_much, Mode::Shutdown, ModeCause::Drawdown),
            (true, signals.operator_floor, ModeCause::Operator),
            (signals.index_failed, Mode::Observation, ModeCause::IndexFailed),
            (signals.strategy_halted, Mode::Observation, ModeCause::StrategyHalted),
            (config.too_many_traps(state.traps), Mode::Observation, ModeCause::Traps),
            (state.feed_stale, Mode::Observation, ModeCause::FeedStale),
            (state.in_observation_band, Mode::Observation, ModeCause::Drawdown),
            (signals.checkpoints_failed, Mode::ReadOnly, ModeCause::CheckpointsFailed),
            (signals.venue_auth_failed, Mode::ReadOnly, ModeCause::VenueAuthFailed),
            (signals.unresolved_orders, Mode::ReadOnly, ModeCause::UnresolvedOrders),
            (signals.write_breaker_open, Mode::ReadOnly, ModeCause::WriteBreakerOpen),
            (state.in_read_only_band, Mode::ReadOnly, ModeCause::Drawdown),
        ];
        let none = (Mode::Full, ModeCause::Recovered);
        asks.into_iter()
            .filter(|(active, ..)| *active)
            .fold(none, |lowest, (_, mode, cause)| if mode > lowest.0 { (mode, cause) } else { lowest })
    }

    fn count_flap(&mut self, now: MonoNanos) {
        let window = Duration::from_millis(self.config.flap_window_ms);
        match self.went_up_at.take() {
            Some(up) if now.since(up) <= window => self.state.flaps = self.state.flaps.saturating_add(1),
            Some(_) => self.state.flaps = 0,
            // It only falls further, or it was restarted: not a new flap, and not a sign of health.
            None => {}
        }
    }

    fn dwell(&self) -> Duration {
        self.config.dwell(self.state.flaps)
    }

    fn change(&mut self, to: Mode, cause: ModeCause) -> ModeChange {
        let from = std::mem::replace(&mut self.state.mode, to);
        self.healthy_since = None;
        ModeChange { from, to, cause }
    }
}
