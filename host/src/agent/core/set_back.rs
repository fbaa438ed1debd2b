//! How far the clock on the wall has been set back.
//!
//! Records name their moments by that clock, so one that was set back makes what came later look earlier. Where an
//! order has ended after a moment or before it decides what a change of the account is taken for, this is allowed for.

use crate::market::{Now, UnixNanos};
use std::time::Duration;

/// What is known of it from the records and from this run.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct SetBack {
    /// The latest moment of a record.
    newest: UnixNanos,
    /// The furthest that the clock was ahead of the monotonic one in this run, in nanoseconds.
    ahead_ns_max: Option<i128>,
    most: Duration,
}

impl SetBack {
    /// A record of this moment follows those before it.
    pub(super) fn follow(&mut self, at: UnixNanos) {
        self.newest = self.newest.max(at);
        self.most = self.most.max(self.newest.since(at));
    }

    /// What the clocks show now, not before any earlier word of them.
    pub(super) fn look(&mut self, now: Now) {
        let ahead_ns = i128::from(now.wall.0) - i128::from(now.mono.0);
        let ahead_ns_max = self.ahead_ns_max.map_or(ahead_ns, |most| most.max(ahead_ns));
        self.ahead_ns_max = Some(ahead_ns_max);
        let back_ns = u64::try_from(ahead_ns_max - ahead_ns).unwrap_or(u64::MAX);
        self.most = self.most.max(Duration::from_nanos(back_ns)).max(self.newest.since(now.wall));
    }

    /// A moment that is certainly not after what came later than this one.
    pub(super) fn before(&self, moment: UnixNanos) -> UnixNanos {
        let most_ns = u64::try_from(self.most.as_nanos()).unwrap_or(u64::MAX);
        UnixNanos(moment.0.saturating_sub(most_ns))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::market::MonoNanos;

    fn now(mono: u64, wall: u64) -> Now {
        Now { mono: MonoNanos(mono), wall: UnixNanos(wall) }
    }

    #[test]
    fn a_clock_that_only_runs_or_is_set_ahead_sets_nothing_back() {
        let mut clock = SetBack::default();
        clock.follow(UnixNanos(900));
        clock.look(now(0, 1_000));
        clock.look(now(50, 1_050));
        clock.look(now(60, 5_060));
        assert_eq!(clock.before(UnixNanos(700)), UnixNanos(700));
    }

    #[test]
    fn the_furthest_it_was_ever_set_back_counts_in_this_run_between_runs_and_in_the_records() {
        let mut run = SetBack::default();
        run.look(now(0, 1_000));
        run.look(now(50, 750));
        run.look(now(60, 1_060));
        assert_eq!(run.before(UnixNanos(700)), UnixNanos(400));

        let mut between = SetBack::default();
        between.follow(UnixNanos(1_000));
        between.look(now(0, 600));
        assert_eq!(between.before(UnixNanos(700)), UnixNanos(300));

        let mut records = SetBack::default();
        for at in [1_000, 800, 1_500] {
            records.follow(UnixNanos(at));
        }
        records.look(now(0, 1_600));
        assert_eq!(records.before(UnixNanos(700)), UnixNanos(500));
        assert_eq!(records.before(UnixNanos(100)), UnixNanos(0));
    }
}
