//! What the core of one agent is configured with.

use crate::market::{Instruments, Money};
use crate::orders::{AgentName, Digest, RiskLimits};
use crate::plugin::{ServiceLimits, Setting};
use crate::resilience::{DegradationConfig, LimitFault, RetryConfig};
use serde::{Deserialize, Serialize};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

/// What happens to an agent's orders and positions when its strategy is halted or the agent stops.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FailAction {
    /// Nothing: orders rest, positions stay.
    Hold,
    /// Cancel working orders. The default: an order that nobody watches is a risk, a position may be a plan.
    #[default]
    Cancel,
    /// Cancel working orders and close positions at the market.
    Flatten,
}

/// Which clock a strategy is told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TimeSource {
    /// The wall clock: for data that happens now.
    #[default]
    Wall,
    /// The stamps of the data: for recorded data, whatever the speed of its replay.
    Data,
}

/// When a strategy that failed is started again, and when not any more. A failure is a trap, a call beyond its
/// deadline, an instance that cannot be made, a runaway or too many faults in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Supervision {
    /// Failures within the window that quarantine the strategy; 1 means at the first. Default 5: with the default
    /// delays that is half a minute of trying, which bridges a bad stretch of data, and no more than a person
    /// wants to read of the same failure.
    pub strikes_max: NonZeroU32,
    /// The window in which failures are counted. Default 600: a strategy that fails once an hour is of use, one
    /// that fails every other minute is not.
    pub strike_window_s: u64,
    /// The pause before the first new instance; it doubles with every strike in the window. Default 1,000: what
    /// a call died of is over by then, or is not going to be.
    pub backoff_ms: u64,
    /// The longest pause; a smaller value than `backoff_ms` means `backoff_ms`. Default 60,000: as long as a
    /// mode waits before it rises, so that a new instance does not wait for both.
    pub backoff_ms_max: u64,
}

impl Default for Supervision {
    fn default() -> Self {
        Self {
            strikes_max: NonZeroU32::MIN.saturating_add(4),
            strike_window_s: 600,
            backoff_ms: 1_000,
            backoff_ms_max: 60_000,
        }
    }
}

impl Supervision {
    /// The pause after this many strikes within the window.
    pub(super) fn backoff(&self, strikes: u32) -> Duration {
        let doubled = self.backoff_ms.saturating_mul(1 << strikes.saturating_sub(1).min(32));
        Duration::from_millis(doubled.min(self.backoff_ms_max.max(self.backoff_ms)))
    }
}

/// Limits of the core itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CoreLimits {
    /// Intents that one call may return. 64 lets a strategy replace a whole ladder of quotes at once.
    pub intents_per_call_max: u32,
    /// Calls with intents that may follow from one piece of news: the call that hears it, the calls that hear
    /// what became of its intents on the spot, and so on. 256 is four answers to every intent of the largest
    /// call; a strategy that goes beyond answers every refusal with another refused order, and would fill
    /// the journal for ever.
    pub calls_per_event_max: u32,
    /// Explained refusals in a row after which a strategy is halted: it is not going to recover.
    pub faults_in_a_row_max: u32,
    /// Age of the newest checkpoint at which another is written although nothing changed.
    pub checkpoint_interval_ms: u64,
    /// Checkpoints that may fail in a row before the agent is read-only. Default 3: one may be a hiccup. Without
    /// checkpoints the journal cannot be compacted, and a disk that refuses them will soon refuse the journal too.
    pub checkpoint_failures_max: NonZeroU32,
    /// How long a stopping agent waits for its open intents before it leaves them to the next start.
    pub drain_ms_max: u64,
    /// How far apart two denials of the venue must be to count as proof that an intent never arrived.
    /// Default 2,000: a venue may be eventually consistent, and answer reads from a copy that is this far
    /// behind its orders.
    pub settle_ms: u64,
    /// Time between two rounds of cancels or closing orders while an agent is wound down. Default 2,000:
    /// longer than the interval at which a venue without a stream is asked for its updates.
    pub closing_round_ms: u64,
    /// Questions about one intent in a row before it becomes a dead letter. Default 8: with the default
    /// delays of the retries that bridges an outage of about a minute, and a proof takes at most three.
    pub queries_max: u32,
    /// Age of the last price at which a dead letter is still sent again, or issued again. Default 5,000: a few
    /// samples of a live feed; without one nobody can say what the order would cost.
    pub replay_price_age_ms_max: u64,
    /// Age of an intent, since it was decided, at which it is still sent again. Default 3,600: what was
    /// decided on an older market is a new decision, and is issued again instead.
    pub replay_age_s_max: u64,
    /// Orders of an operator that may wait, for a price or for the disk. Default 1,024: every letter of a
    /// bad outage at once.
    pub operator_orders_held_max: u32,
    /// Time between two looks at the account for a dead letter that may have been executed, at a venue that
    /// knows no ids of ours. Default 30,000: such a venue has been seen to execute minutes late, and a
    /// position that nobody watches should not go unseen for longer than that; two reads a minute spend
    /// nothing of a venue's limits.
    pub late_fill_poll_ms: u64,
    /// Questions about working orders under way at a time. Default 8: as many as a venue of kind `http` keeps
    /// connections open.
    pub reconcile_queries_max: u32,
    /// How often a working order is asked about at a venue that reports no changes by itself. Default 1,000:
    /// a fill is known as soon as an update would be at a venue that is polled for them.
    pub order_poll_ms: u64,
    /// Time for which such a venue may answer no question about a working order before the agent only observes and
    /// its books are held against the venue again. Default 30,000: a few questions that time out.
    pub order_silence_ms_max: u64,
    /// How often positions that differ from the books, and orders that the venue does not know any more, are
    /// looked at again. Default 10,000: soon enough after a person has put it right at the venue.
    pub mismatch_poll_ms: u64,
    /// Bytes of saved strategy state that a checkpoint takes.
    pub state_bytes_max: usize,
    /// Calls into the strategy that one record holds. Default 256: their record is a few kilobytes, so that
    /// its frame and its share of a sync cost less per tick than the tick itself.
    pub fed_calls_max: usize,
    /// Age at which calls are journaled that decided nothing. Default 500: what the loss of the process or of
    /// power may make a strategy forget of ticks that it only looked at; one that decides is never behind.
    pub fed_ms_max: u64,
    /// Calls since the last saved state that are kept in memory, to be given to a new instance. Default 65,536: a
    /// minute at a thousand ticks a second, twice the age of the newest checkpoint, in about ten megabytes.
    /// Beyond it the oldest are forgotten; a strategy that saves no state is given what is left.
    pub calls_kept_max: usize,
    /// Calls that a dead letter of a failed call holds, besides that call. Default 4,096: a letter of a megabyte
    /// at the most.
    pub letter_calls_max: usize,
    /// Bytes of the record of a swap: the state that is handed over, the settings, and what the strategy keeps with
    /// the host. Default 786,432: three quarters of the largest record that a journal takes by default.
    pub swap_record_bytes_max: usize,
    /// Ticks for which a candidate may run beside the strategy. Default 1,000,000: a day of a busy instrument;
    /// while it runs the agent spends twice the time on every call.
    pub shadow_ticks_max: u64,
    /// Ticks of probation at the most. Default 1,000,000: the component before stays in memory for as long. A
    /// probation also ends after `calls_kept_max` calls, because those are what is given to a component that
    /// comes back.
    pub probation_ticks_max: u64,
    /// What the strategy may keep, say and measure.
    pub services: ServiceLimits,
}

impl Default for CoreLimits {
    fn default() -> Self {
        Self {
            intents_per_call_max: 64,
            calls_per_event_max: 256,
            faults_in_a_row_max: 10,
            checkpoint_interval_ms: 30_000,
            checkpoint_failures_max: NonZeroU32::MIN.saturating_add(2),
            drain_ms_max: 30_000,
            settle_ms: 2_000,
            closing_round_ms: 2_000,
            queries_max: 8,
            replay_price_age_ms_max: 5_000,
            replay_age_s_max: 3_600,
            operator_orders_held_max: 1_024,
            late_fill_poll_ms: 30_000,
            reconcile_queries_max: 8,
            order_poll_ms: 1_000,
            order_silence_ms_max: 30_000,
            mismatch_poll_ms: 10_000,
            state_bytes_max: 1 << 20,
            fed_calls_max: 256,
            fed_ms_max: 500,
            calls_kept_max: 65_536,
            letter_calls_max: 4_096,
            swap_record_bytes_max: 768 * 1024,
            shadow_ticks_max: 1_000_000,
            probation_ticks_max: 1_000_000,
            services: ServiceLimits::default(),
        }
    }
}

impl CoreLimits {
    /// Whether every limit limits something and leaves something.
    ///
    /// # Errors
    /// The first limit that is out of range.
    pub fn check(&self) -> Result<(), LimitFault> {
        const HOUR_MS: u64 = 3_600_000;
        let within = LimitFault::unless_within::<u64>;
        LimitFault::unless_within("intents_per_call_max", &self.intents_per_call_max, &(1..=10_000))?;
        LimitFault::unless_within("calls_per_event_max", &self.calls_per_event_max, &(1..=100_000))?;
        LimitFault::unless_within("faults_in_a_row_max", &self.faults_in_a_row_max, &(1..=1_000_000))?;
        within("checkpoint_interval_ms", &self.checkpoint_interval_ms, &(1..=24 * HOUR_MS))?;
        within("drain_ms_max", &self.drain_ms_max, &(1..=HOUR_MS))?;
        within("settle_ms", &self.settle_ms, &(1..=HOUR_MS))?;
        within("closing_round_ms", &self.closing_round_ms, &(1..=HOUR_MS))?;
        LimitFault::unless_within("queries_max", &self.queries_max, &(1..=1_000))?;
        // Zero of these two says that nothing is sent again.
        within("replay_price_age_ms_max", &self.replay_price_age_ms_max, &(0..=24 * HOUR_MS))?;
        within("replay_age_s_max", &self.replay_age_s_max, &(0..=365 * 86_400))?;
        let held = self.operator_orders_held_max;
        LimitFault::unless_within("operator_orders_held_max", &held, &(1..=1_000_000))?;
        within("late_fill_poll_ms", &self.late_fill_poll_ms, &(1..=24 * HOUR_MS))?;
        LimitFault::unless_within("reconcile_queries_max", &self.reconcile_queries_max, &(1..=1_000))?;
        within("order_poll_ms", &self.order_poll_ms, &(1..=HOUR_MS))?;
        within("mismatch_poll_ms", &self.mismatch_poll_ms, &(1..=24 * HOUR_MS))?;
        LimitFault::unless_within("state_bytes_max", &self.state_bytes_max, &(1..=64 << 20))?;
        LimitFault::unless_within("fed_calls_max", &self.fed_calls_max, &(1..=1_000_000))?;
        within("fed_ms_max", &self.fed_ms_max, &(1..=HOUR_MS))?;
        self.services.check().map_err(|fault| fault.of_section("services"))
    }
}

/// Everything that decides what the core of one agent does, besides the events it is given.
#[derive(Clone, Debug)]
pub struct CoreConfig {
    /// Its name; part of every key.
    pub name: AgentName,
    /// Raised by an operator when the agent's memory was lost; part of every key.
    pub incarnation: u32,
    /// Digest of the component that runs; part of every key. A swap changes it, and `settings`.
    pub plugin: Digest,
    /// Digest of what the configuration names, see [`CoreConfig::configuration`]. A component that was swapped in
    /// runs on after a restart while this stays the same. `None` where there are no restarts.
    pub configured: Option<Digest>,
    /// What it may trade.
    pub instruments: Arc<Instruments>,
    /// Settings of the strategy.
    pub settings: Vec<Setting>,
    /// Cash when it runs for the first time.
    pub cash: Money,
    /// Seed of the strategy's random numbers and of the retry jitter.
    pub seed: u64,
    /// Number of the run, told to the strategy.
    pub run_id: u64,
    /// Whether orders go to a venue, told to the strategy.
    pub live: bool,
    /// Which clock is "now" for the strategy.
    pub time: TimeSource,
    /// Whether what the strategy is called with is journaled, so that a restart can call it again. A host
    /// that trades wants it; one that can begin its data again does not need it.
    pub record_inputs: bool,
    /// The risk gate.
    pub risk: RiskLimits,
    /// Retries.
    pub retry: RetryConfig,
    /// Modes.
    pub degradation: DegradationConfig,
    /// Limits of the core itself.
    pub limits: CoreLimits,
    /// When the strategy fails.
    pub on_halt: FailAction,
    /// When it is started again.
    pub supervision: Supervision,
    /// When the agent stops in order.
    pub on_stop: FailAction,
}

impl CoreConfig {
    /// Digest of a component and its settings, as a configuration names them.
    pub fn configuration(plugin: Digest, settings: &[Setting]) -> Digest {
        let mut bytes = Vec::new();
        // Writing to memory cannot fail, and every type in here is representable.
        let _ = ciborium::into_writer(&(plugin, settings), &mut bytes);
        Digest::of(&bytes)
    }

    /// Digest of what the strategy is initialised with, besides the moment and its first order's number.
    pub(super) fn terms(&self) -> Digest {
        self.terms_with(&self.settings)
    }

    /// The same for other settings.
    pub(super) fn terms_with(&self, settings: &[Setting]) -> Digest {
        let instruments: Vec<_> = self.instruments.iter().map(|(_, instrument)| instrument).collect();
        let mut bytes = Vec::new();
        // Writing to memory cannot fail, and every type in here is representable.
        let _ =
            ciborium::into_writer(&(self.run_id, self.seed, self.live, settings, &instruments), &mut bytes);
        Digest::of(&bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_make_sense_and_limits_of_nothing_do_not() {
        assert_eq!(CoreLimits::default().check(), Ok(()));
        let none = CoreLimits { intents_per_call_max: 0, ..CoreLimits::default() }.check().unwrap_err();
        assert_eq!(none.to_string(), "intents_per_call_max: found 0; give 1 to 10000");
        let ever = CoreLimits { drain_ms_max: u64::MAX, ..CoreLimits::default() }.check().unwrap_err();
        assert_eq!(ever.field, "drain_ms_max");
        let services = ServiceLimits { metrics_max: 0, ..ServiceLimits::default() };
        assert!(CoreLimits { services, ..CoreLimits::default() }.check().is_err());
    }
}
