//! The client of a venue without ids: what can be told of one order from two reads of the account.

use super::venue::{SimVenue, failure};
use crate::market::{Lots, UnixNanos};
use crate::orders::IntentKey;
use crate::resilience::{Failure, Phase};
use crate::venue::{Baseline, OrderChange, Outcome, Question, RequestKind, SeenTrade};
use std::collections::BTreeSet;

/// What is wrong with one pair of reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reads {
    Good,
    /// One of them was answered from an older copy.
    Disagreeing,
    /// The list of positions came without any.
    NoPositions,
}

/// One row of the account's history: signed lots, and what no client sees, whose order it was.
struct Row {
    key: IntentKey,
    signed: i64,
}

impl SimVenue {
    fn rows(&self) -> Vec<Row> {
        let row = |update: &crate::venue::OrderUpdate| match update.change {
            OrderChange::Filled { quantity, .. } => {
                let sign = if self.buys[&update.key] { 1 } else { -1 };
                Some(Row { key: update.key, signed: sign * quantity.0 })
            }
            _ => None,
        };
        self.log.iter().filter_map(row).collect()
    }

    fn position_shown(&self, reads: Reads) -> i64 {
        if reads == Reads::NoPositions { 0 } else { self.position + self.by_hand }
    }

    pub(super) fn baseline(&self, at: UnixNanos, reads: Reads) -> Result<Baseline, Failure> {
        let rows = self.rows();
        let position = self.position_shown(reads);
        let summed: i64 = rows.iter().map(|row| row.signed).sum();
        if reads == Reads::Disagreeing || position != summed + self.by_hand {
            return Err(failure("reads_disagree", Phase::MaybeSent));
        }
        let newest = (!rows.is_empty()).then(|| SeenTrade { id: rows.len().to_string(), at_s: None });
        Ok(Baseline {
            at,
            position: Lots(position),
            entry_price: None,
            position_id: None,
            newest_trades: newest.into_iter().collect(),
            waiting_orders: Vec::new(),
            sizing_price: None,
        })
    }

    /// `known` are the orders whose ids the venue has told.
    pub(super) fn query_account(
        &self,
        question: &Question,
        known: &BTreeSet<IntentKey>,
        reads: Reads,
    ) -> Outcome {
        let history = |key: &IntentKey| Outcome::Done {
            updates: self.log.iter().filter(|update| update.key == *key).cloned().collect(),
        };
        if let RequestKind::Cancel(target) | RequestKind::Amend(target) = &question.request.kind {
            return history(target);
        }
        if known.contains(&question.request.key) {
            return history(&question.request.key);
        }
        let disagree = || Outcome::Ambiguous(failure("reads_disagree", Phase::MaybeSent));
        if reads == Reads::Disagreeing {
            return disagree();
        }
        let baseline = question.baseline.as_ref().expect("a question about an order without a baseline");
        let from = baseline.newest_trades.first().map_or(0, |row| row.id.parse().unwrap());
        let rows = self.rows();
        for row in
            rows[from..].iter().filter(|row| known.contains(&row.key) && row.key != question.request.key)
        {
            let id = format!("ord_{}", row.key);
            let told = question.others.iter().any(|other| other.venue_id.as_ref() == Some(&id));
            assert!(told, "{} was filled since the baseline and is not among the others", row.key);
        }
        let sum = |ours: bool| -> i64 {
            let rows = rows[from..].iter().filter(|row| known.contains(&row.key) == ours);
            rows.map(|row| row.signed).sum()
        };
        let unexplained = self.position_shown(reads) - baseline.position.0 - sum(true);
        if unexplained != sum(false) {
            return disagree();
        }
        let traded = rows[from..].iter().map(|row| row.key);
        let strange: BTreeSet<_> = traded.chain(self.resting()).filter(|key| !known.contains(key)).collect();
        if strange.is_empty() {
            return Outcome::Unknown;
        }
        let key = question.request.key;
        assert_eq!(strange, BTreeSet::from([key]), "one order's change was taken for another's");
        history(&key)
    }
}
