//! Fewer steps that show the same.

use super::session::Step;

/// Takes steps away as long as what is left still fails, in ever smaller pieces; at most `tries_max` questions are
/// asked. What is given back fails, and is no longer than what was given.
///
/// Zeller and Hildebrandt, "Simplifying and isolating failure-inducing input" (2002): `ddmin`.
pub fn shrink(steps: &[Step], tries_max: usize, mut fails: impl FnMut(&[Step]) -> bool) -> Vec<Step> {
    let (mut kept, mut pieces, mut tries) = (steps.to_vec(), 2_usize, 0_usize);
    while kept.len() > 1 && tries < tries_max {
        let size = kept.len().div_ceil(pieces);
        let mut start = 0;
        let mut smaller = None;
        while start < kept.len() && tries < tries_max {
            let without: Vec<Step> = kept
                .iter()
                .enumerate()
                .filter(|(at, _)| !(start..start + size).contains(at))
                .map(|(_, it)| it.clone())
                .collect();
            tries += 1;
            if fails(&without) {
                smaller = Some(without);
                break;
            }
            start += size;
        }
        match smaller {
            Some(without) => {
                kept = without;
                pieces = (pieces - 1).max(2);
            }
            None if size == 1 => break,
            None => pieces = (pieces * 2).min(kept.len()),
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn steps(count: u32) -> Vec<Step> {
        (0..count).map(Step::Refuse).collect()
    }

    proptest! {
        #[test]
        fn what_is_left_fails_and_nothing_of_it_can_go(
            count in 1_u32..120,
            needed in prop::collection::btree_set(0_u32..120, 1..5),
        ) {
            let needed: Vec<Step> = needed.into_iter().filter(|it| *it < count).map(Step::Refuse).collect();
            let fails = |steps: &[Step]| needed.iter().all(|it| steps.contains(it));
            let found = shrink(&steps(count), 100_000, fails);
            prop_assert!(fails(&found));
            prop_assert!(found.len() <= needed.len().max(1), "{found:?}");
        }

        #[test]
        fn however_few_questions_are_asked_what_is_left_fails(count in 1_u32..200, needed in 0_u32..200, tries in 0_usize..40) {
            let needed = Step::Refuse(needed.min(count - 1));
            let asked = std::cell::Cell::new(0);
            let found = shrink(&steps(count), tries, |steps| {
                asked.set(asked.get() + 1);
                steps.contains(&needed)
            });
            prop_assert!(found.contains(&needed) && found.len() <= count as usize && asked.get() <= tries);
        }
    }
}
