//! Several feeds as one, in the order of time.

use super::{FileFeed, RowError, Sample};
use crate::market::{InstrumentId, UnixNanos};
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Samples of several feeds by event time; at the same time by instrument, then in the order in which the
/// feeds were given. The order within a feed stays as it is.
#[derive(Debug)]
pub struct Merge<F> {
    feeds: Vec<F>,
    /// The next sample of each feed that has one.
    heads: Vec<Option<Sample>>,
    order: BinaryHeap<Reverse<(UnixNanos, InstrumentId, usize)>>,
    /// Feeds whose next sample is not known yet.
    wanted: Vec<usize>,
    ended: bool,
}

/// Merges feeds by event time. A dropped row is given out as soon as it is met; a broken feed ends the whole,
/// because without its data the others would be told at the wrong time.
pub fn merge<F: Iterator<Item = Result<Sample, RowError>>>(feeds: Vec<F>) -> Merge<F> {
    let count = feeds.len();
    // The last one is asked first, so that faults come in the order of the feeds.
    let wanted = (0..count).rev().collect();
    Merge { feeds, heads: vec![None; count], order: BinaryHeap::with_capacity(count), wanted, ended: false }
}

impl Merge<FileFeed> {
    /// Bytes read so far from all files, for a progress bar.
    pub fn bytes_read(&self) -> u64 {
        self.feeds.iter().map(FileFeed::bytes_read).sum()
    }
}

impl<F: Iterator<Item = Result<Sample, RowError>>> Iterator for Merge<F> {
    type Item = Result<Sample, RowError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        while let Some(index) = self.wanted.last().copied() {
            match self.feeds.get_mut(index).and_then(Iterator::next) {
                Some(Ok(sample)) => {
                    self.order.push(Reverse((sample.tick.event_time, sample.tick.instrument, index)));
                    if let Some(head) = self.heads.get_mut(index) {
                        *head = Some(sample);
                    }
                    self.wanted.pop();
                }
                Some(Err(error)) => {
                    self.ended = matches!(error, RowError::Broken(_));
                    return Some(Err(error));
                }
                None => {
                    self.wanted.pop();
                }
            }
        }
        let Some(Reverse((_, _, index))) = self.order.pop() else {
            self.ended = true;
            return None;
        };
        self.wanted.push(index);
        self.heads.get_mut(index).and_then(Option::take).map(Ok)
    }
}

impl<F: Iterator<Item = Result<Sample, RowError>>> std::iter::FusedIterator for Merge<F> {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::market::{DataFault, FaultKind, FeedError, Field, Tick};
    use proptest::prelude::*;

    fn sample(instrument: u32, time: u64, seq: u64) -> Sample {
        let tick = Tick {
            instrument: InstrumentId(instrument),
            event_time: UnixNanos(time),
            seq,
            ..Tick::default()
        };
        Sample { tick, bar: None }
    }

    fn fault() -> RowError {
        RowError::Dropped(DataFault::from(FaultKind::Zero { field: Field::Price }))
    }

    fn order(feeds: Vec<Vec<Result<Sample, RowError>>>) -> Vec<Option<(u64, u32, u64)>> {
        let row = |row: Result<Sample, RowError>| {
            row.ok().map(|s| (s.tick.event_time.0, s.tick.instrument.0, s.tick.seq))
        };
        merge(feeds.into_iter().map(Vec::into_iter).collect()).map(row).collect()
    }

    #[test]
    fn ties_go_by_instrument_and_then_by_feed() {
        let feeds = vec![
            vec![Ok(sample(1, 5, 0)), Ok(sample(1, 7, 1))],
            vec![Ok(sample(0, 5, 10)), Ok(sample(0, 5, 11)), Ok(sample(0, 6, 12))],
            vec![Ok(sample(0, 5, 20))],
        ];
        let expected = [(5, 0, 10), (5, 0, 11), (5, 0, 20), (5, 1, 0), (6, 0, 12), (7, 1, 1)];
        assert_eq!(order(feeds), expected.map(Some));
    }

    #[test]
    fn a_dropped_row_is_passed_on_and_its_feed_goes_on() {
        let feeds = vec![
            vec![Ok(sample(0, 1, 0)), Err(fault()), Err(fault()), Ok(sample(0, 3, 3))],
            vec![Ok(sample(1, 2, 0))],
        ];
        assert_eq!(order(feeds), [Some((1, 0, 0)), None, None, Some((2, 1, 0)), Some((3, 0, 3))]);
    }

    #[test]
    fn a_broken_feed_ends_the_whole() {
        let broken = || RowError::Broken(FeedError::Empty { source_name: "x".into() });
        let feeds = vec![vec![Ok(sample(0, 1, 0)), Err(broken())], vec![Ok(sample(1, 2, 0))]];
        assert_eq!(order(feeds), [Some((1, 0, 0)), None]);
    }

    proptest! {
        #[test]
        fn merging_is_a_stable_sort(lengths in prop::collection::vec(prop::collection::vec(0_u64..4, 0..20), 0..5)) {
            let mut all = Vec::new();
            let mut feeds = Vec::new();
            for (index, steps) in (0_u32..).zip(lengths) {
                let mut time = 0;
                let mut feed = Vec::new();
                for (seq, step) in (0..).zip(steps) {
                    time += step;
                    // Two feeds of each instrument.
                    all.push((time, index / 2, index, seq));
                    feed.push(Ok(sample(index / 2, time, seq)));
                }
                feeds.push(feed);
            }
            all.sort();
            let expected: Vec<_> = all.into_iter().map(|(time, id, _, seq)| Some((time, id, seq))).collect();
            prop_assert_eq!(order(feeds), expected);
        }
    }
}
