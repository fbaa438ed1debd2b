//! Where an agent's durable records are in the journal, for its checkpoints.

use std::collections::VecDeque;

/// The last durable records of one agent: their own numbers, and the journal's.
#[derive(Debug)]
pub(super) struct Durable(VecDeque<(u64, u64)>);

impl Durable {
    /// Records remembered. A checkpoint names one of the last few: only records of calls may follow it. One
    /// that is older than all of these holds more of the journal than it would have to.
    const RECORDS_MAX: usize = 1_024;

    /// What is durable at the start.
    pub fn starting(number: u64, seq: u64) -> Self {
        Self(VecDeque::from([(number, seq)]))
    }

    /// One more record is durable.
    pub fn push(&mut self, number: u64, seq: u64) {
        if self.0.len() >= Self::RECORDS_MAX {
            self.0.remove(1);
        }
        self.0.push_back((number, seq));
    }

    /// The journal's number of the last durable record.
    pub fn last_seq(&self) -> u64 {
        self.0.back().map_or(0, |(_, seq)| *seq)
    }

    /// The journal's number of a record, or of an earlier one that is still known. `None` when the record is
    /// not durable. Earlier records are forgotten.
    pub fn seq_of(&mut self, number: u64) -> Option<u64> {
        if self.0.back().is_none_or(|(last, _)| *last < number) {
            return None;
        }
        while self.0.get(1).is_some_and(|(next, _)| *next <= number) {
            self.0.pop_front();
        }
        self.0.front().filter(|(first, _)| *first <= number).map(|(_, seq)| *seq)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_found_and_those_before_it_are_forgotten() {
        let mut durable = Durable::starting(3, 10);
        durable.push(4, 12);
        durable.push(5, 17);
        assert_eq!(durable.seq_of(4), Some(12));
        assert_eq!(durable.seq_of(6), None, "it is not durable");
        assert_eq!(durable.seq_of(5), Some(17));
        assert_eq!(durable.seq_of(4), None, "a checkpoint never goes back");
    }

    #[test]
    fn a_record_that_was_dropped_from_memory_is_named_by_an_earlier_one() {
        let mut durable = Durable::starting(0, 0);
        for number in 1..=2_000 {
            durable.push(number, number * 2);
        }
        assert_eq!(durable.seq_of(500), Some(0));
        assert_eq!(durable.seq_of(2_000), Some(4_000));
    }
}
