//! What an agent has been told and has not taken yet.
//!
//! An agent that waits for its journal, or whose strategy takes its time, takes no events. What the venue's side
//! tells meanwhile has to be bounded: the same word twice is told once, and no more order changes are read than
//! a few pages. They stay at the venue, and are read when the agent goes on.

use crate::agent::core::Event;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Pages of order changes, and words that the venue is lost or back, that may wait for an agent. Of each page one
/// agent's trouble costs the others of the account nothing; beyond that all of them wait for it.
const WAITING_MAX: usize = 8;

/// What waits in an agent's queue.
#[derive(Debug, Default)]
pub struct Backlog {
    pages: AtomicUsize,
    gate: AtomicBool,
    foreign: AtomicBool,
    closed: AtomicBool,
}

impl Backlog {
    /// Counts an event that is about to be queued. Whether it has to be: the same word may wait already.
    pub fn add(&self, event: &Event) -> bool {
        match event {
            Event::GateChanged => !self.gate.swap(true, Ordering::AcqRel),
            Event::Foreign => !self.foreign.swap(true, Ordering::AcqRel),
            Event::Updates { .. } | Event::VenueLost | Event::VenueBack => {
                self.pages.fetch_add(1, Ordering::AcqRel);
                true
            }
            _ => true,
        }
    }

    /// The agent has taken an event out of the queue.
    pub fn take(&self, event: &Event) {
        match event {
            Event::GateChanged => self.gate.store(false, Ordering::Release),
            Event::Foreign => self.foreign.store(false, Ordering::Release),
            Event::Updates { .. } | Event::VenueLost | Event::VenueBack => {
                self.pages.fetch_sub(1, Ordering::AcqRel);
            }
            _ => {}
        }
    }

    /// Whether order changes have to stay at the venue for now.
    pub fn is_full(&self) -> bool {
        !self.closed.load(Ordering::Acquire) && self.pages.load(Ordering::Acquire) >= WAITING_MAX
    }

    /// The agent takes no more events.
    pub fn close(&self) {
        self.closed.store(true, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_word_waits_once_and_may_be_told_again_when_it_was_taken() {
        let backlog = Backlog::default();
        for word in [|| Event::GateChanged, || Event::Foreign] {
            assert!(backlog.add(&word()) && !backlog.add(&word()));
            backlog.take(&word());
            assert!(backlog.add(&word()));
        }
    }

    #[test]
    fn pages_are_bounded_until_they_are_taken_or_the_agent_has_stopped() {
        let backlog = Backlog::default();
        let page = || Event::Updates { cursor: 1, updates: Vec::new() };
        for _ in 0..WAITING_MAX {
            assert!(!backlog.is_full() && backlog.add(&page()));
        }
        assert!(backlog.is_full());
        backlog.take(&page());
        assert!(!backlog.is_full());
        assert!(backlog.add(&Event::VenueLost) && backlog.is_full());
        backlog.close();
        assert!(!backlog.is_full());
    }
}
