//! All ends well: faults stop, and an operator sees to what is left.

use super::rig::Rig;
use super::venue::Kind;
use crate::agent::core::*;
use crate::orders::{Action, IntentState};
use std::time::Duration;

impl Rig {
    /// All faults end, and time passes until the host has recovered from what there was.
    pub(super) fn heal(&mut self) {
        self.kill_at = None;
        self.disk_fails_at = None;
        if let Some(storage) = &self.storage {
            storage.heal();
        }
        self.faults.clear();
        self.query_faults.clear();
        self.baseline_faults.clear();
        self.queries_lost = false;
        self.baselines_lost = false;
        self.read_faults.clear();
        self.reads_lost = false;
        self.hold_acks = false;
        self.checkpoint_fails = false;
        self.set_clock(0);
        self.ack();
        self.step(Event::IndexHealth { healthy: true });
        self.run();
        let mut quiet = 0;
        for _ in 0..90 {
            self.live(10_000);
            // Longer than the pause between two looks at the account for a dead letter.
            quiet = if self.later.is_empty() { quiet + 1 } else { 0 };
            if self.venue.kind == Kind::Keys {
                self.replay_unresolved();
            } else if quiet % 10 == 9 {
                self.decide_unresolved();
            }
            let caught_up = self.core().cursor() == self.venue.log.len() as u64 && self.later.is_empty();
            if caught_up && !self.core().has_open_intents() && self.core().mode() == Mode::Full {
                break;
            }
        }
    }

    /// An operator sends again what nobody knows the outcome of, now that the venue is well.
    fn replay_unresolved(&mut self) {
        let unresolved = IntentState::DeadLettered { ambiguous: true };
        let intents = self.core().ledger().intents().iter();
        let unresolved: Vec<_> = intents
            .filter(|(_, intent)| intent.state == unresolved)
            .map(|(key, intent)| Operator::Replay { key: *key, replay: intent.replay + 1 })
            .collect();
        for order in unresolved {
            self.operator(order);
        }
    }

    /// An operator looks at the account. What it shows has been adopted by now, so nothing that is left was
    /// executed; unless it became a letter just now and was not looked for since.
    fn decide_unresolved(&mut self) {
        let looked_for = |key: &IntentKey| {
            let since = self.lettered_at.get(key).map(|at| self.now.mono.since(*at));
            since.is_none_or(|since| since > Duration::from_secs(90))
        };
        let unresolved: Vec<_> = self.core().ledger().unresolved().filter(looked_for).collect();
        for key in unresolved {
            let intent = self.core().ledger().intent(&key).unwrap();
            let replay = intent.replay + 1;
            let places = matches!(intent.action, Action::Submit(_));
            assert!(
                !places || self.venue.executed(&key) == 0,
                "an executed order was not adopted: {intent:?}"
            );
            self.operator(match places && replay == 1 {
                true => Operator::Replay { key, replay },
                false => Operator::Resolve { key, note: "the account shows no trace of it".into() },
            });
        }
    }

    /// Time passes in good health: the market moves on, the venue is probed when needed and asked for news.
    pub(super) fn live(&mut self, ms: u64) {
        for _ in 0..ms.div_ceil(10_000) {
            self.tick();
            self.probe();
            self.poll();
            self.advance(10_000);
        }
    }
}
