//! Fills whose order an agent does not know: another agent of the account may.

use std::collections::BTreeMap;

/// Fills that are not claimed by every agent that has been asked. One that somebody knows stays until it is
/// pushed out: nobody says that he knows it.
const PENDING_MAX: usize = 4_096;
/// Fills that a person is told of in one run. More of them have one cause.
const TOLD_MAX: u32 = 16;

/// How many agents do not know a fill.
#[derive(Debug, Default)]
pub struct Unclaimed {
    pending: BTreeMap<u64, usize>,
    told: u32,
}

impl Unclaimed {
    /// One of so many agents does not know the fill with this number. Whether a person has to be told.
    pub fn add(&mut self, sequence: u64, agents: usize) -> bool {
        let count = self.pending.entry(sequence).or_default();
        *count += 1;
        if *count < agents {
            if self.pending.len() > PENDING_MAX {
                self.pending.pop_first();
            }
            return false;
        }
        self.pending.remove(&sequence);
        self.told = self.told.saturating_add(1);
        self.told <= TOLD_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fill_is_nobodys_when_no_agent_knows_it() {
        let mut unclaimed = Unclaimed::default();
        assert!(unclaimed.add(1, 1));
        assert!(!unclaimed.add(2, 2));
        assert!(!unclaimed.add(3, 2));
        assert!(unclaimed.add(2, 2));
        assert_eq!(unclaimed.pending.len(), 1, "somebody knows the third");
    }

    #[test]
    fn what_is_pending_and_what_is_told_is_bounded() {
        let mut unclaimed = Unclaimed::default();
        for sequence in 0..3 * PENDING_MAX as u64 {
            assert!(!unclaimed.add(sequence, 2));
        }
        assert_eq!(unclaimed.pending.len(), PENDING_MAX);
        let told = (0..100).filter(|sequence| Unclaimed::default().add(*sequence, 1)).count();
        assert_eq!(told, 100);
        let mut one = Unclaimed::default();
        assert_eq!((0..100).filter(|sequence| one.add(*sequence, 1)).count(), TOLD_MAX as usize);
    }
}
