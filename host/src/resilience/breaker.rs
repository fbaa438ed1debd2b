//! Circuit breaker: stops calling a venue that fails, and asks it with one call at a time whether it is back.
//!
//! ```text
//!            failures in a row, or a share of the window
//!   Closed ─────────────────────────────────────────────► Open
//!     ▲                                                   │  ▲
//!     │                                    open time over │  │ probe failed, excluded or lost
//!     │                                                   ▼  │
//!     └──────────────────── probe succeeded ───────────── HalfOpen
//! ```
//!
//! Every change of state starts a new generation, and a permit remembers the generation it was given in: a
//! call that ends after the state has changed says nothing about the new state. The one probe has a
//! deadline, so that a call whose verdict never comes cannot hold the breaker half-open.
//!
//! The window counts calls as well as time: at one to fifty calls a minute, time alone would judge by one
//! call, and a count alone by yesterday's.

mod window;

#[cfg(test)]
mod tests;

use super::{Class, Failure, Permille};
use crate::market::MonoNanos;
use crate::random::SplitMix64;
use serde::{Deserialize, Serialize};
use std::num::{NonZeroU16, NonZeroU32, NonZeroU64};
use std::time::Duration;
use window::Window;

/// Limits of one breaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BreakerConfig {
    /// Failures in a row that open it. Default 5: fewer is an ordinary hiccup of a public API.
    pub failures_in_row: NonZeroU32,
    /// First time it stays open. Default 60 000: most outages of a venue that are not restarts last minutes.
    pub open_ms: NonZeroU64,
    /// Longest time it stays open by its own backoff; a smaller value than `open_ms` means `open_ms`. Default
    /// 120 000: a longer silence would be longer than the outage it waits for. A venue's Retry-After may
    /// exceed it.
    pub open_ms_max: NonZeroU64,
    /// Random share added to the open time. Default 100: hosts that saw the same outage come back apart. It
    /// is only ever added, so that at least the configured time passes.
    pub open_jitter_permille: Permille,
    /// Time closed after which the next opening is a first one again. Default 300 000: two backoff periods.
    pub reset_ms: u64,
    /// Age beyond which a call no longer counts. Default 60 000: the state of the venue now, not an hour ago.
    pub window_ms: NonZeroU64,
    /// Most calls that count. Default 64: enough for a share to mean something, and a bound on memory.
    pub window_calls_max: NonZeroU16,
    /// Fewest calls for a share to count; more than `window_calls_max` means `window_calls_max`. Default 8:
    /// of fewer calls, half is chance.
    pub calls_min: NonZeroU16,
    /// Share of failures that opens it. Default 500: half of all orders failing is an outage.
    pub failure_share_permille: Permille,
    /// Share of slow calls that opens it. Default 800: a venue that is nearly always slow is about to fail.
    pub slow_share_permille: Permille,
    /// Latency from which a call is slow. Default 3 000: the market has moved on by then.
    pub slow_call_ms: u64,
    /// Time in which the probe must be reported. Default 30 000: must exceed the venue's request timeout, or
    /// every probe is lost.
    pub probe_deadline_ms: NonZeroU64,
}

impl Default for BreakerConfig {
    fn default() -> Self {
        Self {
            failures_in_row: const { NonZeroU32::new(5).unwrap() },
            open_ms: const { NonZeroU64::new(60_000).unwrap() },
            open_ms_max: const { NonZeroU64::new(120_000).unwrap() },
            open_jitter_permille: Permille::of::<100>(),
            reset_ms: 300_000,
            window_ms: const { NonZeroU64::new(60_000).unwrap() },
            window_calls_max: const { NonZeroU16::new(64).unwrap() },
            calls_min: const { NonZeroU16::new(8).unwrap() },
            failure_share_permille: Permille::of::<500>(),
            slow_share_permille: Permille::of::<800>(),
            slow_call_ms: 3_000,
            probe_deadline_ms: const { NonZeroU64::new(30_000).unwrap() },
        }
    }
}

impl BreakerConfig {
    /// How long the opening stays open after `openings` earlier ones in a row.
    fn open_time(&self, openings: u32, random: &mut SplitMix64) -> Duration {
        let longest = self.open_ms_max.max(self.open_ms).get();
        let doubled = self.open_ms.get().saturating_mul(1 << openings.min(32)).min(longest);
        let jitter_max = u128::from(doubled) * u128::from(self.open_jitter_permille.thousandths()) / 1_000;
        // At most `doubled`, since a share is at most the whole.
        let jitter_max = u64::try_from(jitter_max).unwrap_or(doubled);
        let jitter = random.below(jitter_max.saturating_add(1));
        Duration::from_millis(doubled.saturating_add(jitter))
    }
}

/// What a breaker guards; decides who makes its probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Traffic {
    /// Calls that change something. No order is ever used to find out whether the venue is back: ordinary
    /// calls are refused while half-open, and [`Breaker::take_probe`] hands out the permit for a safe read.
    Write,
    /// Calls that change nothing. The next ordinary call is the probe.
    Read,
}

/// What one call says about the venue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// It is alive: it answered, be it with a definite no.
    Success,
    /// It is not well.
    Failure,
    /// Nothing: it throttled us, or the call ended for a reason of our own.
    Excluded,
}

/// What an HTTP status says about the venue.
///
/// A 401 is a success here: the venue is alive. That it shuts us out is another signal.
pub const fn verdict_of_status(status: u16) -> Verdict {
    match status {
        429 => Verdict::Excluded,
        500..=599 => Verdict::Failure,
        _ => Verdict::Success,
    }
}

/// What a failed call says about the venue.
///
/// An answer that cannot be read (class `data`, or an `api` code that starts with `undecodable`) is a failure
/// of the venue; an `api` code `http_NNN` is judged by its status; any other `api` code is a definite answer.
/// Failures of our own (`logic`, `state`, `resource`) say nothing.
pub fn verdict_of(failure: &Failure) -> Verdict {
    match failure.class {
        Class::Network | Class::Data => Verdict::Failure,
        Class::Logic | Class::State | Class::Resource => Verdict::Excluded,
        Class::Api if failure.code.starts_with("undecodable") => Verdict::Failure,
        Class::Api => {
            let status = failure.code.strip_prefix("http_").and_then(|status| status.parse().ok());
            status.map_or(Verdict::Success, verdict_of_status)
        }
    }
}

/// Leave to make one call. Give it back by [`Breaker::report`], or by [`Breaker::cancel`] when nothing was
/// sent.
#[derive(Debug)]
#[must_use = "a probe that is neither reported nor cancelled blocks the breaker until its deadline"]
pub struct Permit {
    traffic: Traffic,
    generation: u64,
    probe: bool,
}

impl Permit {
    /// Whether this call decides if the breaker closes.
    pub fn is_probe(&self) -> bool {
        self.probe
    }

    /// The breaker it belongs to.
    pub fn traffic(&self) -> Traffic {
        self.traffic
    }
}

/// Why a breaker refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RefusedBecause {
    /// The venue failed too often.
    Open,
    /// The venue is being probed, by somebody else or by a safe read.
    HalfOpen,
    /// The operator opened it.
    ForcedOpen,
}

/// A refusal: nothing was sent, and no attempt was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Not worth asking before; a transition to closed is a reason to ask earlier.
    pub retry_at: MonoNanos,
    /// Why.
    pub why: RefusedBecause,
}

/// What a breaker is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BreakerState {
    /// Calls pass.
    Closed,
    /// No call passes.
    Open,
    /// One probe may pass.
    HalfOpen,
    /// No call passes until the operator says so.
    ForcedOpen,
}

/// One change of state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transition {
    /// Which breaker.
    pub traffic: Traffic,
    /// The state before.
    pub from: BreakerState,
    /// The state after.
    pub to: BreakerState,
    /// When.
    pub at: MonoNanos,
    /// How often the breaker has opened out of closed so far.
    pub trips: u64,
}

impl std::fmt::Display for Transition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let traffic = match self.traffic {
            Traffic::Write => "write",
            Traffic::Read => "read",
        };
        write!(f, "{traffic} breaker {} -> {}, trip {}", self.from.name(), self.to.name(), self.trips)
    }
}

impl BreakerState {
    /// The lower-case name used in logs, metrics and files.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half-open",
            Self::ForcedOpen => "forced-open",
        }
    }
}

/// What a breaker has counted since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct BreakerStats {
    /// Times it opened out of closed.
    pub trips: u64,
    /// Probes that did not succeed, lost ones included.
    pub probes_failed: u64,
    /// Calls refused.
    pub rejected: u64,
    /// Calls that succeeded.
    pub successes: u64,
    /// Calls that failed.
    pub failures: u64,
    /// Calls that said nothing.
    pub excluded: u64,
    /// Calls at or above the slow latency, whatever their verdict.
    pub slow: u64,
    /// Calls that ended in another generation than they began in.
    pub late: u64,
}

#[derive(Debug)]
enum State {
    Closed { since: MonoNanos, window: Window },
    Open { until: MonoNanos },
    HalfOpen { since: MonoNanos, probe_deadline: Option<MonoNanos> },
    ForcedOpen,
}

/// A circuit breaker for one kind of traffic to one venue.
#[derive(Debug)]
pub struct Breaker {
    config: BreakerConfig,
    traffic: Traffic,
    state: State,
    generation: u64,
    /// Openings in a row, for the backoff.
    openings: u32,
    stats: BreakerStats,
}

impl Breaker {
    /// A closed breaker.
    pub fn new(config: BreakerConfig, traffic: Traffic) -> Self {
        let state = State::Closed { since: MonoNanos(0), window: Window::new(&config) };
        Self { config, traffic, state, generation: 0, openings: 0, stats: BreakerStats::default() }
    }

    /// What the breaker is doing at this moment. A probe that is lost shows as open until
    /// [`Breaker::advance`].
    pub fn state(&self, now: MonoNanos) -> BreakerState {
        match self.state {
            State::Closed { .. } => BreakerState::Closed,
            State::Open { until } if now < until => BreakerState::Open,
            State::HalfOpen { probe_deadline: Some(deadline), .. } if deadline <= now => BreakerState::Open,
            State::Open { .. } | State::HalfOpen { .. } => BreakerState::HalfOpen,
            State::ForcedOpen => BreakerState::ForcedOpen,
        }
    }

    /// Whether ordinary calls pass.
    pub fn is_closed(&self) -> bool {
        matches!(self.state, State::Closed { .. })
    }

    /// What has been counted.
    pub fn stats(&self) -> BreakerStats {
        self.stats
    }

    /// The moment at which time alone changes something, or at which a probe is waited for. Not later than
    /// now means: take the probe.
    pub fn wake_at(&self) -> Option<MonoNanos> {
        match (&self.state, self.traffic) {
            (State::Open { until }, _) => Some(*until),
            (State::HalfOpen { probe_deadline: Some(deadline), .. }, _) => Some(*deadline),
            (State::HalfOpen { probe_deadline: None, since }, Traffic::Write) => Some(*since),
            (State::HalfOpen { .. } | State::Closed { .. } | State::ForcedOpen, _) => None,
        }
    }

    /// Applies what time alone changes: an open time that is over, a probe that is lost. At most one change a
    /// call; the others do it first by themselves.
    pub fn advance(&mut self, now: MonoNanos, random: &mut SplitMix64) -> Option<Transition> {
        match self.state {
            State::Open { until } if until <= now => {
                Some(self.enter(State::HalfOpen { since: now, probe_deadline: None }, now))
            }
            // The next open time counts from the deadline, so that it does not depend on when somebody
            // looked.
            State::HalfOpen { probe_deadline: Some(deadline), .. } if deadline <= now => {
                self.stats.probes_failed += 1;
                Some(self.open(deadline, None, now, random))
            }
            _ => None,
        }
    }

    /// Asks for leave to make one ordinary call.
    ///
    /// # Errors
    /// A [`Refused`], which is not an attempt and not a failure.
    pub fn admit(&mut self, now: MonoNanos, random: &mut SplitMix64) -> Result<Permit, Refused> {
        while self.advance(now, random).is_some() {}
        let refused = match (&self.state, self.traffic) {
            (State::Closed { .. }, _) => return Ok(self.permit(false)),
            (State::HalfOpen { probe_deadline: None, .. }, Traffic::Read) => return Ok(self.probe(now)),
            (State::Open { until }, _) => Refused { retry_at: *until, why: RefusedBecause::Open },
            (State::HalfOpen { probe_deadline, .. }, _) => {
                let retry_at = probe_deadline.unwrap_or(now.after(self.probe_deadline()));
                Refused { retry_at, why: RefusedBecause::HalfOpen }
            }
            (State::ForcedOpen, _) => {
                let retry_at = now.after(Duration::from_millis(self.config.open_ms.get()));
                Refused { retry_at, why: RefusedBecause::ForcedOpen }
            }
        };
        self.stats.rejected += 1;
        Err(refused)
    }

    /// Whether the probe of a write breaker may be taken now.
    pub fn probe_due(&self, now: MonoNanos) -> bool {
        self.traffic == Traffic::Write
            && match self.state {
                State::Open { until } => until <= now,
                State::HalfOpen { probe_deadline, .. } => probe_deadline.is_none(),
                State::Closed { .. } | State::ForcedOpen => false,
            }
    }

    /// Hands out the one probe of a half-open write breaker; it must be spent on a call that changes nothing.
    pub fn take_probe(&mut self, now: MonoNanos, random: &mut SplitMix64) -> Option<Permit> {
        while self.advance(now, random).is_some() {}
        self.probe_due(now).then(|| self.probe(now))
    }

    /// Gives a permit back because nothing was sent. A probe may then be taken again at once.
    pub fn cancel(&mut self, permit: Permit) {
        if permit.probe
            && permit.generation == self.generation
            && let State::HalfOpen { probe_deadline, .. } = &mut self.state
        {
            *probe_deadline = None;
        }
    }

    /// Takes the verdict on one call. A verdict from another generation is counted and changes nothing.
    pub fn report(
        &mut self,
        permit: Permit,
        verdict: Verdict,
        latency: Duration,
        retry_after: Option<Duration>,
        now: MonoNanos,
        random: &mut SplitMix64,
    ) -> Option<Transition> {
        // A probe that is reported after its deadline is lost, whoever notices first.
        let overdue = self.advance(now, random);
        let slow = latency >= Duration::from_millis(self.config.slow_call_ms);
        self.count(verdict, slow);
        if permit.generation != self.generation {
            self.stats.late += 1;
            return overdue;
        }
        match (&mut self.state, verdict) {
            (State::Closed { .. }, Verdict::Excluded) => None,
            (State::Closed { since, window }, Verdict::Success | Verdict::Failure) => {
                let failed = verdict == Verdict::Failure;
                if !window.record(&self.config, now, failed, slow) {
                    return None;
                }
                if now.since(*since) >= Duration::from_millis(self.config.reset_ms) {
                    self.openings = 0;
                }
                self.stats.trips += 1;
                Some(self.open(now, retry_after, now, random))
            }
            (State::HalfOpen { .. }, Verdict::Success) => {
                let window = Window::new(&self.config);
                Some(self.enter(State::Closed { since: now, window }, now))
            }
            (State::HalfOpen { .. }, Verdict::Failure) => {
                self.stats.probes_failed += 1;
                Some(self.open(now, retry_after, now, random))
            }
            // No evidence of a failure, so no longer backoff; but not a second probe in the same period
            // either.
            (State::HalfOpen { .. }, Verdict::Excluded) => {
                self.stats.probes_failed += 1;
                let wait = self.config.open_time(0, random).max(retry_after.unwrap_or_default());
                Some(self.enter(State::Open { until: now.after(wait) }, now))
            }
            (State::Open { .. } | State::ForcedOpen, _) => None,
        }
    }

    /// Opens it until [`Breaker::release`], at the operator's word.
    pub fn force_open(&mut self, now: MonoNanos) -> Option<Transition> {
        (!matches!(self.state, State::ForcedOpen)).then(|| self.enter(State::ForcedOpen, now))
    }

    /// Takes back [`Breaker::force_open`]: a probe then decides whether it closes.
    pub fn release(&mut self, now: MonoNanos) -> Option<Transition> {
        matches!(self.state, State::ForcedOpen)
            .then(|| self.enter(State::HalfOpen { since: now, probe_deadline: None }, now))
    }

    fn permit(&self, probe: bool) -> Permit {
        Permit { traffic: self.traffic, generation: self.generation, probe }
    }

    fn probe(&mut self, now: MonoNanos) -> Permit {
        let deadline = now.after(self.probe_deadline());
        if let State::HalfOpen { probe_deadline, .. } = &mut self.state {
            *probe_deadline = Some(deadline);
        }
        self.permit(true)
    }

    fn probe_deadline(&self) -> Duration {
        Duration::from_millis(self.config.probe_deadline_ms.get())
    }

    fn open(
        &mut self,
        start: MonoNanos,
        retry_after: Option<Duration>,
        now: MonoNanos,
        random: &mut SplitMix64,
    ) -> Transition {
        let wait = self.config.open_time(self.openings, random).max(retry_after.unwrap_or_default());
        self.openings = self.openings.saturating_add(1);
        self.enter(State::Open { until: start.after(wait) }, now)
    }

    fn enter(&mut self, state: State, now: MonoNanos) -> Transition {
        let from = self.name();
        self.state = state;
        self.generation += 1;
        Transition { traffic: self.traffic, from, to: self.name(), at: now, trips: self.stats.trips }
    }

    /// The state that is stored, whatever time has made of it since.
    fn name(&self) -> BreakerState {
        match self.state {
            State::Closed { .. } => BreakerState::Closed,
            State::Open { .. } => BreakerState::Open,
            State::HalfOpen { .. } => BreakerState::HalfOpen,
            State::ForcedOpen => BreakerState::ForcedOpen,
        }
    }

    fn count(&mut self, verdict: Verdict, slow: bool) {
        match verdict {
            Verdict::Success => self.stats.successes += 1,
            Verdict::Failure => self.stats.failures += 1,
            Verdict::Excluded => self.stats.excluded += 1,
        }
        self.stats.slow += u64::from(slow);
    }
}
