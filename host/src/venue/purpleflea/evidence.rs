//! What the account says about an order of which nobody knows the outcome.
//!
//! Before every attempt the account is read (the [`Baseline`]), and the host sends nothing else in the coin until
//! the outcome is known. What differs afterwards is then this order, or somebody else who trades on the account.
//! The second is not told apart by guessing: a difference that is not exactly what the order would have made is
//! unclear, and a person decides. No difference is never proof, because the order may still execute.

use super::super::{Baseline, OtherOrder};
use super::baseline::{is_in_window, window_start};
use super::instruction::{Instruction, Terms};
use super::wire::{
    Execution, FEE_ASSUMED, HISTORY_ROWS_MAX, Holding, Trade, Waiting, WaitingState, closed_row,
    lots_of_dollars, ticks,
};
use crate::market::{Instrument, Lots, Money, PriceTicks};
use crate::orders::Side;
use rust_decimal::Decimal;

/// What was read after the attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reads {
    /// The position, read twice from the exchange.
    pub(super) positions: [Holding; 2],
    /// The newest rows of the history, newest first.
    pub(super) trades: Vec<Trade>,
    /// The waiting orders, read only for an order that waits.
    pub(super) waiting: Vec<Waiting>,
}

/// What is asked about.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked<'a> {
    pub(super) instruction: &'a Instruction,
    pub(super) baseline: &'a Baseline,
    /// The venue's own id, once it has told it.
    pub(super) venue_id: Option<&'a str>,
    /// Our other orders in the instrument.
    pub(super) others: &'a [OtherOrder],
    pub(super) instrument: &'a Instrument,
    pub(super) tolerance_permille: u32,
    pub(super) price_off_permille: u32,
}

/// What follows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Finding {
    /// It was executed. `recorded` is whether the venue has a row of it.
    Executed { execution: Execution, recorded: bool },
    /// It waits at the venue under this id.
    Waits(String),
    /// It waited and was taken back.
    TakenBack,
    /// Nothing has changed; it may still be executed.
    Unchanged,
    /// Something has, and it does not fit.
    Unclear(String),
}

/// What the account says.
pub(super) fn evidence(asked: &Asked<'_>, reads: &Reads) -> Finding {
    let Some(terms) = asked.instruction.terms() else {
        return unclear("a cancel leaves no trace of its own in positions or history");
    };
    let [first, second] = &reads.positions;
    if first.lots != second.lots {
        return unclear(format!(
            "two readings of the position disagree: {} lots and {} lots",
            first.lots, second.lots
        ));
    }
    let Some(rows) = rows_of(asked.baseline, &reads.trades) else {
        return unclear(format!(
            "the newest {HISTORY_ROWS_MAX} rows of the history do not reach back to the reading before the attempt"
        ));
    };
    if let (Instruction::Limit { .. }, Some(id)) = (asked.instruction, asked.venue_id)
        && let Some(finding) = named(asked, &rows, &reads.waiting, id)
    {
        return finding;
    }
    let fresh = match Fresh::of(asked, rows, &reads.trades, second.lots, terms.side) {
        Ok(fresh) => fresh,
        Err(words) => return unclear(words),
    };
    let change = Change { terms, moved: fresh.moved, after: second, fresh: &fresh };
    match asked.instruction {
        Instruction::Open { .. } => opened(asked, &change),
        Instruction::Limit { .. } => limited(asked, &change, &reads.waiting),
        Instruction::Close { reference, .. } => reduced(asked, &change, *reference),
        Instruction::StopLoss { trigger_price, .. } | Instruction::TakeProfit { trigger_price, .. } => {
            reduced(asked, &change, ticks(trigger_price.0, asked.instrument).ok())
        }
        Instruction::CancelLimit { .. } => unclear("a cancel has no terms"),
    }
}

/// The rows of the history that came after a baseline, of whatever coin. None when the history does not reach
/// back to it.
pub(super) fn rows_of<'a>(baseline: &Baseline, trades: &'a [Trade]) -> Option<Vec<&'a Trade>> {
    let start = window_start(&baseline.newest_trades);
    let is_whole = trades.len() < HISTORY_ROWS_MAX
        || trades.last().is_some_and(|trade| start.is_some() && !is_in_window(trade, start));
    let is_known = |trade: &Trade| baseline.newest_trades.iter().any(|seen| seen.id == trade.id);
    let rows = trades.iter().filter(|trade| is_in_window(trade, start) && !is_known(trade));
    is_whole.then(|| rows.collect())
}

/// What has happened in the coin since the baseline and is not known to be another order's.
struct Fresh<'a> {
    /// Signed lots.
    moved: Lots,
    ours: Vec<&'a Trade>,
    /// Rows in the other direction.
    others: Vec<&'a Trade>,
    /// When the newest row of the baseline was written.
    newest_before: Option<u64>,
}

impl<'a> Fresh<'a> {
    fn of(
        asked: &Asked<'_>,
        rows: Vec<&'a Trade>,
        trades: &[Trade],
        after: Lots,
        side: Side,
    ) -> Result<Self, &'static str> {
        const OUT_OF_RANGE: &str = "the position is out of range";
        let is_of = |trade: &Trade, order: &OtherOrder| {
            order.venue_id.is_some() && trade.order_id == order.venue_id && trade.side.is_some()
        };
        let mut moved = after.checked_sub(asked.baseline.position).ok_or(OUT_OF_RANGE)?;
        // Fills of orders whose rows cannot be told, by an id that the venue has not told or that is another there.
        let mut nameless = 0;
        for order in asked.others {
            let is_listed = trades.iter().any(|trade| is_of(trade, order));
            let is_new = rows.iter().any(|trade| is_of(trade, order));
            if is_new && order.filled.is_zero() {
                return Err("another order of ours was executed, and how is not known yet");
            }
            if !is_listed && !order.filled.is_zero() {
                nameless += 1;
            }
            // One that is listed and not new was in the baseline.
            if is_new || !is_listed {
                moved = moved.checked_sub(order.filled).ok_or(OUT_OF_RANGE)?;
            }
        }
        let mut rows: Vec<&Trade> = rows
            .into_iter()
            .filter(|trade| trade.side.is_some() && !asked.others.iter().any(|order| is_of(trade, order)))
            .collect();
        if moved.is_zero() && rows.len() <= nameless {
            rows.clear();
        }
        let (ours, others) = rows.into_iter().partition(|trade| trade.side == Some(side));
        Ok(Self {
            moved,
            ours,
            others,
            newest_before: asked.baseline.newest_trades.iter().filter_map(|trade| trade.at_s).max(),
        })
    }

    /// Whether a row is not older by its own stamp either.
    fn is_later(&self, trade: &Trade) -> bool {
        match (trade.created_s, self.newest_before) {
            (Some(created), Some(before)) => created >= before,
            (_, None) => true,
            (None, _) => false,
        }
    }
}

/// What has changed in the coin.
struct Change<'a> {
    terms: Terms<'a>,
    moved: Lots,
    after: &'a Holding,
    fresh: &'a Fresh<'a>,
}

fn opened(asked: &Asked<'_>, change: &Change<'_>) -> Finding {
    let (moved, side) = (change.moved, change.terms.side);
    match change.fresh.ours.as_slice() {
        [] if !change.fresh.others.is_empty() => {
            unclear("the coin was traded in the other direction since, and the order has no row")
        }
        [] if moved.is_zero() => Finding::Unchanged,
        [] => unrecorded(asked, change),
        [row] => {
            let execution = match executed(asked, row) {
                Ok(execution) => execution,
                Err(finding) => return finding,
            };
            let agrees = moved == side.signed(execution.lots);
            let fits = is_whole(asked, execution.lots, row.size_usd, row.price);
            if (fits && (agrees || change.fresh.is_later(row))) || (agrees && is_part(asked, &execution, row))
            {
                return Finding::Executed { execution, recorded: true };
            }
            unclear(format!(
                "the history has one new row of {} lots and the position moved by {moved} lots, which is not what \
                 the order would have done",
                execution.lots
            ))
        }
        rows => unclear(format!("the history has {} new rows that could be the order", rows.len())),
    }
}

/// The position moved and the history has no row: the venue writes its rows after the fill, and may fail to.
fn unrecorded(asked: &Asked<'_>, change: &Change<'_>) -> Finding {
    let (moved, side) = (change.moved, change.terms.side);
    let Some(price) = unrecorded_price(asked, change) else {
        return unclear("the position moved and there is no price for it");
    };
    let dollars = asked.instrument.quantity(moved.abs()).and_then(|quantity| quantity.checked_mul(price));
    let fits = dollars.filter(|dollars| is_whole(asked, moved.abs(), Some(*dollars), Some(price)));
    match (fits, ticks(price, asked.instrument)) {
        (Some(dollars), Ok(price)) if moved.0.is_positive() == (side == Side::Buy) => {
            let fee = Money::new(dollars.checked_mul(FEE_ASSUMED).unwrap_or_default().round_dp(2));
            let execution = Execution { lots: moved.abs(), price, fee, order_id: None };
            Finding::Executed { execution, recorded: false }
        }
        _ => unclear(format!(
            "the position moved by {moved} lots without a row in the history, the order was for {} lots to {}",
            change.terms.lots,
            side.name()
        )),
    }
}

/// At what price a fill without a row was: the exchange's average tells it, unless the fill made the position
/// smaller.
fn unrecorded_price(asked: &Asked<'_>, change: &Change<'_>) -> Option<Decimal> {
    let (before, after) = (asked.baseline.position, change.after.lots);
    let exact = || {
        let entry = change.after.entry?;
        let flipped = before.is_zero() || before.0.is_positive() != after.0.is_positive();
        if flipped {
            return Some(entry);
        }
        let grown = after.abs().checked_sub(before.abs()).filter(|grown| grown.0 > 0)?;
        let paid = Decimal::from(before.abs().0).checked_mul(asked.baseline.entry_price?)?;
        let cost = Decimal::from(after.abs().0).checked_mul(entry)?.checked_sub(paid)?;
        cost.checked_div(grown.0.into()).filter(|price| *price > Decimal::ZERO)
    };
    let exact = if asked.others.is_empty() { exact() } else { None };
    // The venue fills a market order close to the price by which it was sized; the market may have moved since.
    exact.or(asked.baseline.sizing_price).or(change.after.price).or_else(|| own_price(asked))
}

/// An order that waits for its price, or has waited.
fn limited(asked: &Asked<'_>, change: &Change<'_>, waiting: &[Waiting]) -> Finding {
    let Instruction::Limit { size_usd, limit_price, .. } = asked.instruction else {
        return unclear("only a limit order waits");
    };
    if let Some(id) = asked.venue_id {
        return known_limit(asked, change, waiting, id, limit_price.0);
    }
    let same = |order: &&Waiting| {
        order.state == WaitingState::Pending
            && order.side == Some(change.terms.side)
            && order.size_usd == Some(size_usd.0)
            && order.limit_price == Some(limit_price.0)
    };
    let is_new = |order: &&Waiting| !asked.baseline.waiting_orders.contains(&order.id);
    let candidates: Vec<&Waiting> = waiting.iter().filter(same).filter(is_new).collect();
    match candidates.as_slice() {
        [] => opened(asked, change),
        [order] => Finding::Waits(order.id.clone()),
        orders => unclear(format!("{} orders with exactly these terms wait", orders.len())),
    }
}

/// What is said of a waiting order under its own id, whatever else has happened.
fn named(asked: &Asked<'_>, rows: &[&Trade], waiting: &[Waiting], id: &str) -> Option<Finding> {
    if waiting.iter().any(|order| order.id == id && order.state == WaitingState::Pending) {
        return Some(Finding::Waits(id.to_owned()));
    }
    let mut mine = rows.iter().filter(|trade| trade.side.is_some() && trade.order_id.as_deref() == Some(id));
    let (Some(trade), None) = (mine.next(), mine.next()) else { return None };
    let execution = executed(asked, trade);
    Some(
        execution.map_or_else(|finding| finding, |execution| Finding::Executed { execution, recorded: true }),
    )
}

/// An order that waited under an id of the venue and does not any more. Other orders of the coin may have been
/// executed since, so a row with another id counts only when nothing else has happened, at a price that the limit
/// admits.
fn known_limit(
    asked: &Asked<'_>,
    change: &Change<'_>,
    waiting: &[Waiting],
    id: &str,
    limit: Decimal,
) -> Finding {
    let state = waiting.iter().find(|order| order.id == id).map(|order| order.state);
    match (change.fresh.ours.as_slice(), state) {
        ([], Some(WaitingState::Cancelled)) if change.moved.is_zero() => Finding::TakenBack,
        ([], _) if change.moved.is_zero() => Finding::Unchanged,
        ([row], _) => match executed(asked, row) {
            Ok(execution)
                if change.moved == change.terms.side.signed(execution.lots)
                    && is_part(asked, &execution, row)
                    && is_within(limit, row.price, change.terms.side, asked.tolerance_permille) =>
            {
                Finding::Executed { execution, recorded: true }
            }
            Ok(_) => unclear("the order waits no more, and the one new row is not certainly its own"),
            Err(finding) => finding,
        },
        (rows, _) => unclear(format!(
            "the order waits no more, the history has {} new rows without its id, and the position moved by {} lots",
            rows.len(),
            change.moved
        )),
    }
}

/// Whether a price is one that a limit admits. The venue executes it as a market order once the price is there.
fn is_within(limit: Decimal, price: Option<Decimal>, side: Side, tolerance_permille: u32) -> bool {
    let Some(slack) = limit.checked_mul(Decimal::new(tolerance_permille.into(), 3)) else { return false };
    let (Some(price), Some(most), Some(least)) = (price, limit.checked_add(slack), limit.checked_sub(slack))
    else {
        return false;
    };
    match side {
        Side::Buy => price <= most,
        Side::Sell => price >= least,
    }
}

/// An order that closes the whole position of the coin.
fn reduced(asked: &Asked<'_>, change: &Change<'_>, reference: Option<PriceTicks>) -> Finding {
    let before = asked.baseline.position;
    let (moved, side) = (change.moved, change.terms.side);
    let whole = side.signed(change.terms.lots);
    if before != Lots(whole.0.saturating_neg()) {
        return unclear(format!("the account held {before} lots before, not the position to be closed"));
    }
    let (rows, others) = (change.fresh.ours.as_slice(), change.fresh.others.as_slice());
    // The row of a close is that of the position that it names, and where orders in both directions have been netted
    // the venue may name one that was opened the other way.
    let is_close = matches!(asked.instruction, Instruction::Close { .. }) && moved == whole;
    let row = match (rows, others) {
        ([], []) => None,
        ([row], []) => Some(row),
        ([], [row]) if is_close => Some(row),
        _ => return unclear("the coin was traded more than once since, or not by this order"),
    };
    match row {
        None if moved.is_zero() => Finding::Unchanged,
        // Without a row only the whole is what the order would have done.
        None if moved == whole => match reference {
            Some(price) => {
                let dollars = asked.instrument.notional(price, before.abs()).unwrap_or_default();
                let fee = dollars.checked_mul(FEE_ASSUMED).unwrap_or_default().decimal().round_dp(2);
                let fee = Money::new(fee);
                let execution = Execution { lots: before.abs(), price, fee, order_id: None };
                Finding::Executed { execution, recorded: false }
            }
            None => unclear("the position is closed and there is no price for it"),
        },
        Some(row) if moved.0.signum() == whole.0.signum() && closes(asked, moved, row) => {
            let closed = closed_row(row.price, row.size_usd, row.fee);
            let execution = closed
                .and_then(|closed| closed.execution(moved.abs(), row.order_id.clone(), asked.instrument));
            match execution {
                Ok(execution) => Finding::Executed { execution, recorded: true },
                Err(error) => unclear(format!("the row in the history cannot be read: {error}")),
            }
        }
        _ => unclear(format!(
            "the position moved by {moved} lots from {before}, and the history has {} new rows",
            rows.len() + others.len()
        )),
    }
}

/// Whether a row can be that of the closing order. A close is reduce-only. A stop-loss or take-profit is not: the
/// venue sends it as a market order for the dollars of the position, which may be more coin than is held; but
/// only once the price is there.
fn closes(asked: &Asked<'_>, moved: Lots, row: &Trade) -> bool {
    let permille = asked.tolerance_permille;
    match asked.instruction {
        // A limit to buy admits what is lower, as the stop-loss of a long position does, which is sold.
        Instruction::StopLoss { side, trigger_price, .. } => {
            let opposite = if *side == Side::Buy { Side::Sell } else { Side::Buy };
            is_within(trigger_price.0, row.price, opposite, permille)
        }
        Instruction::TakeProfit { side, trigger_price, .. } => {
            is_within(trigger_price.0, row.price, *side, permille)
        }
        _ => moved.abs() <= asked.baseline.position.abs(),
    }
}

/// What a row of the history says was executed.
fn executed(asked: &Asked<'_>, row: &Trade) -> Result<Execution, Finding> {
    let odd = || unclear("a new row in the history has numbers that cannot be");
    let positive = |value: Option<Decimal>| value.filter(|value| *value > Decimal::ZERO);
    let (dollars, price) = positive(row.size_usd).zip(positive(row.price)).ok_or_else(odd)?;
    let lots = lots_of_dollars(dollars, price, asked.instrument).map_err(|_| odd())?;
    let fee = super::wire::fee(row.fee, dollars).map_err(|_| odd())?;
    let price = ticks(price, asked.instrument).map_err(|_| odd())?;
    Ok(Execution { lots, price, fee, order_id: row.order_id.clone() })
}

/// Whether an execution is what the order was for, within the tolerance and one lot. A market order is sized by
/// lots; one that waits is sized by the venue when its price has come, by dollars.
fn is_whole(asked: &Asked<'_>, lots: Lots, dollars: Option<Decimal>, price: Option<Decimal>) -> bool {
    if let Instruction::Open { lots: wanted, .. } = asked.instruction {
        let slack = lots_max(*wanted, asked.tolerance_permille).0.saturating_sub(wanted.0);
        return lots.0.abs_diff(wanted.0) <= slack.unsigned_abs();
    }
    let Some((wanted, slack)) = dollars_and_slack(asked, price) else { return false };
    dollars.and_then(|dollars| dollars.checked_sub(wanted)).is_some_and(|off| off.abs() <= slack)
}

/// Whether an execution is at most what the order can have become.
fn is_part(asked: &Asked<'_>, execution: &Execution, row: &Trade) -> bool {
    if let Instruction::Open { lots, .. } = asked.instruction {
        return execution.lots <= lots_max(*lots, asked.price_off_permille);
    }
    let Some((wanted, slack)) = dollars_and_slack(asked, row.price) else { return false };
    row.size_usd.is_some_and(|dollars| wanted.checked_add(slack).is_some_and(|most| dollars <= most))
}

/// The most lots that an order can have become, when the venue's price was off by so much as it was sized.
pub(super) fn lots_max(wanted: Lots, off_permille: u32) -> Lots {
    let off = wanted.0.saturating_mul(off_permille.into()) / 1_000;
    Lots(wanted.0.saturating_add(off).saturating_add(1))
}

fn dollars_and_slack(asked: &Asked<'_>, price: Option<Decimal>) -> Option<(Decimal, Decimal)> {
    let wanted = asked.instruction.size_usd()?;
    let price = price.or_else(|| own_price(asked))?;
    let share = wanted.checked_mul(Decimal::new(asked.tolerance_permille.into(), 3))?;
    Some((wanted, share.checked_add(asked.instrument.lot_size.checked_mul(price)?)?))
}

/// The price at which the order was decided.
fn own_price(asked: &Asked<'_>) -> Option<Decimal> {
    asked.instruction.decided_price(asked.instrument)
}

fn unclear(words: impl Into<String>) -> Finding {
    Finding::Unclear(words.into())
}
