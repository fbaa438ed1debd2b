//! Lets a replay wait for its agents: the data's time stands still while an order is on its way.

use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

/// How far each agent has come.
#[derive(Debug)]
pub struct Pace {
    agents: Mutex<Vec<Progress>>,
    changed: Condvar,
}

/// One agent's progress.
#[derive(Clone, Copy, Debug, Default)]
struct Progress {
    /// Events that the feed has handed over.
    given: u64,
    /// Events that the agent has worked off.
    taken: u64,
    /// Whether an order or a record of it is on its way.
    busy: bool,
    /// Whether its books have been held against the venue, or an attempt at it has failed.
    ready: bool,
    stopped: bool,
}

impl Pace {
    /// For this many agents.
    pub fn new(agents: usize) -> Self {
        Self { agents: Mutex::new(vec![Progress::default(); agents]), changed: Condvar::new() }
    }

    /// The feed is about to hand an event to an agent.
    pub fn give(&self, agent: usize) {
        self.change(agent, |progress| progress.given += 1);
    }

    /// The agent has worked off `taken` of the feed's events.
    pub fn take(&self, agent: usize, taken: u64, busy: bool) {
        self.change(agent, |progress| {
            progress.taken += taken;
            progress.busy = busy;
        });
    }

    /// The agent may be given its first sample.
    pub fn ready(&self, agent: usize) {
        self.change(agent, |progress| progress.ready = true);
    }

    /// Waits until every agent may be given its first sample, or has stopped.
    pub fn wait_ready(&self) {
        let agents = self.agents.lock().unwrap_or_else(PoisonError::into_inner);
        let waits = |agent: &Progress| !agent.ready && !agent.stopped;
        drop(self.changed.wait_while(agents, |agents| agents.iter().any(waits)));
    }

    /// Whether every agent may be given its first sample, or has stopped.
    pub fn is_ready(&self) -> bool {
        let agents = self.agents.lock().unwrap_or_else(PoisonError::into_inner);
        agents.iter().all(|agent| agent.ready || agent.stopped)
    }

    /// The agent takes no more events.
    pub fn stop(&self, agent: usize) {
        self.change(agent, |progress| progress.stopped = true);
    }

    /// Whether every agent has stopped.
    pub fn all_stopped(&self) -> bool {
        self.agents.lock().unwrap_or_else(PoisonError::into_inner).iter().all(|agent| agent.stopped)
    }

    /// Waits until every agent has stopped, at most this long. Whether they have.
    pub fn wait_stopped(&self, at_most: Duration) -> bool {
        let agents = self.agents.lock().unwrap_or_else(PoisonError::into_inner);
        let running = |agents: &mut Vec<Progress>| agents.iter().any(|agent| !agent.stopped);
        match self.changed.wait_timeout_while(agents, at_most, running) {
            Ok((agents, _)) => agents.iter().all(|agent| agent.stopped),
            Err(poisoned) => poisoned.into_inner().0.iter().all(|agent| agent.stopped),
        }
    }

    /// Waits until every agent has worked off what it was given and has nothing on its way, or until
    /// `busy_max` has passed: an order that waits for a venue must not hold the data for ever.
    pub fn settle(&self, busy_max: Duration) {
        let agents = self.agents.lock().unwrap_or_else(PoisonError::into_inner);
        let behind = |agent: &Progress| !agent.stopped && (agent.taken < agent.given || agent.busy);
        let waited = self.changed.wait_timeout_while(agents, busy_max, |agents| agents.iter().any(behind));
        drop(waited);
    }

    fn change(&self, agent: usize, change: impl FnOnce(&mut Progress)) {
        let mut agents = self.agents.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(progress) = agents.get_mut(agent) {
            change(progress);
        }
        drop(agents);
        self.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settling_waits_for_the_slowest_agent_and_ignores_stopped_ones() {
        let pace = Pace::new(2);
        pace.give(0);
        pace.give(1);
        pace.stop(1);
        std::thread::scope(|scope| {
            scope.spawn(|| pace.take(0, 1, false));
            pace.settle(Duration::from_secs(60));
        });
        assert!(!pace.all_stopped());
        pace.stop(0);
        assert!(pace.all_stopped());
    }

    #[test]
    fn the_first_sample_waits_for_agents_that_have_not_stopped() {
        let pace = Pace::new(2);
        pace.stop(1);
        std::thread::scope(|scope| {
            scope.spawn(|| pace.ready(0));
            pace.wait_ready();
        });
    }

    #[test]
    fn settling_gives_up_on_a_busy_agent_after_its_time() {
        let pace = Pace::new(1);
        pace.take(0, 0, true);
        pace.settle(Duration::from_millis(1));
    }
}
