//! What the account shows before an attempt.

use super::super::{Baseline, Request, SeenTrade};
use super::client::{PurpleFleaVenue, disagreement};
use super::instruction::Instruction;
use super::prices::path_segment;
use super::wire::{self, HISTORY_ROWS_MAX, Trade};
use crate::market::{Instrument, Lots, UnixNanos};
use crate::resilience::{Class, Failure, Phase};
use rust_decimal::Decimal;

/// How far the venue's clock may be set back without a later row being taken for an earlier one. Longer steps
/// are rare, and then the position still shows the fill.
const CLOCK_STEP_S: u64 = 5;

/// From which second on a row may be later than those that were seen. The venue counts whole seconds, in which
/// rows stand in any order.
pub(super) fn window_start(seen: &[SeenTrade]) -> Option<u64> {
    let newest = seen.iter().filter_map(|trade| trade.at_s).max()?;
    Some(newest.saturating_sub(CLOCK_STEP_S))
}

/// Whether a row can be later than what was seen from `start` on.
pub(super) fn is_in_window(trade: &Trade, start: Option<u64>) -> bool {
    match (trade.created_s, start) {
        (Some(created), Some(start)) => created >= start,
        _ => true,
    }
}

/// The rows that a later one can stand among; none when there are more of them than the venue lists.
fn newest(trades: &[Trade]) -> Option<Vec<SeenTrade>> {
    let seen = |trade: &Trade| SeenTrade { id: trade.id.clone(), at_s: trade.created_s };
    let all: Vec<SeenTrade> = trades.iter().map(seen).collect();
    let start = window_start(&all);
    let rows: Vec<SeenTrade> = trades.iter().filter(|trade| is_in_window(trade, start)).map(seen).collect();
    (rows.len() < HISTORY_ROWS_MAX).then_some(rows)
}

/// A baseline of nothing, for what changes no position.
const fn nothing(at: UnixNanos) -> Baseline {
    Baseline {
        at,
        position: Lots::ZERO,
        entry_price: None,
        position_id: None,
        newest_trades: Vec::new(),
        waiting_orders: Vec::new(),
        sizing_price: None,
    }
}

impl PurpleFleaVenue {
    pub(super) async fn read_baseline(&self, request: &Request) -> Result<Baseline, Failure> {
        let at = (self.clock)();
        let (instruction, instrument) = self.asked(request)?;
        let Some(instrument) = instrument else { return Ok(nothing(at)) };
        // Around the position, so that a fill between the two readings is not seen in one of them only.
        let before = self.newest_trades(instrument).await?;
        let waiting_orders = match instruction {
            Instruction::Limit { .. } => {
                let waiting = self.waiting(instrument).await?;
                waiting.into_iter().map(|order| order.id).collect()
            }
            _ => Vec::new(),
        };
        let holding = self.settled_holding(instrument).await?;
        let after = self.newest_trades(instrument).await?;
        if before != after {
            return Err(disagreement(instrument));
        }
        // Last, because the venue asks the market for a new one every 30 seconds.
        let sizing_price = match &instruction {
            Instruction::Open { .. } => Some(self.sizing_price(&instruction, instrument).await?),
            _ => None,
        };
        Ok(Baseline {
            at,
            position: holding.lots,
            entry_price: holding.entry,
            position_id: holding.position_id,
            newest_trades: after,
            waiting_orders,
            sizing_price,
        })
    }

    async fn newest_trades(&self, instrument: &Instrument) -> Result<Vec<SeenTrade>, Failure> {
        newest(&self.history(instrument).await?).ok_or_else(|| {
            let text = format!(
                "the account traded {HISTORY_ROWS_MAX} times within seconds, more than the venue lists, so that a \
                 new row could not be told; somebody else trades on it"
            );
            Failure::new(Class::Data, "history_crowded", Phase::Done, text)
        })
    }

    /// The price by which the venue will turn the dollars of an order into coin: that of its cache. An order that
    /// is sized by any other is executed in another size than was decided.
    async fn sizing_price(
        &self,
        instruction: &Instruction,
        instrument: &Instrument,
    ) -> Result<Decimal, Failure> {
        let path = format!("/v1/markets/{}/price", path_segment(&instrument.symbol));
        let price = self.read(&path, wire::sizing_price).await?;
        let decided = instruction.decided_price(instrument);
        let off_max = Decimal::new(self.config.price_off_permille_max.into(), 3);
        let off = decided.and_then(|decided| price.checked_sub(decided)?.checked_div(decided));
        if off.is_some_and(|off| off.abs() <= off_max) {
            return Ok(price);
        }
        let text = format!(
            "the venue sizes orders in {} by a price of {price}, and this one was decided at {}: more apart than \
             price_off_permille_max = {}; it waits until they agree",
            instrument.symbol,
            decided.unwrap_or_default().normalize(),
            self.config.price_off_permille_max
        );
        Err(Failure::new(Class::Data, "price_disagrees", Phase::NotSent, text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(id: u64, created_s: Option<u64>) -> Trade {
        Trade {
            id: id.to_string(),
            order_id: None,
            side: None,
            size_usd: None,
            price: None,
            fee: None,
            created_s,
        }
    }

    #[test]
    fn every_row_of_the_newest_seconds_is_remembered_whatever_its_place() {
        let ids = |rows: &[Trade]| newest(rows).map(|seen| seen.into_iter().map(|row| row.id).collect());
        let rows = [row(1, Some(100)), row(2, Some(100)), row(3, Some(95)), row(4, Some(94)), row(5, None)];
        let expected: Option<Vec<String>> = Some(vec!["1".into(), "2".into(), "3".into(), "5".into()]);
        assert_eq!(ids(&rows), expected);
        assert_eq!(ids(&[]), Some(Vec::new()));
    }

    #[test]
    fn more_rows_than_the_venue_lists_are_no_baseline() {
        let rows: Vec<Trade> = (0..200).map(|id| row(id, Some(100))).collect();
        assert_eq!(newest(&rows), None);
        assert_eq!(newest(rows.get(..199).unwrap()).map(|seen| seen.len()), Some(199));
    }
}
