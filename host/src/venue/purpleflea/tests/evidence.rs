use super::super::evidence::{Asked, Finding, Reads, evidence};
use super::super::instruction::Instruction;
use super::super::wire::{Holding, Trade};
use super::server::{before, btc, close, place};
use crate::market::Lots;
use crate::orders::Side;
use crate::venue::{Baseline, SeenTrade};
use proptest::prelude::*;
use rust_decimal::Decimal;

fn holding(lots: i64) -> Holding {
    Holding { lots: Lots(lots), position_id: None, entry: Some(60_000.into()), price: Some(60_000.into()) }
}

/// A row of so many lots at 60,000. The id is its place; later rows come first.
fn trade(id: &str, side: Side, lots: i64, created_s: u64) -> Trade {
    Trade {
        id: id.into(),
        order_id: Some(format!("ord_{id}")),
        side: Some(side),
        size_usd: Some(Decimal::from(lots * 60)),
        price: Some(60_000.into()),
        fee: Some(Decimal::ONE),
        created_s: Some(created_s),
    }
}

fn find(instruction: &Instruction, baseline: &Baseline, after: [i64; 2], trades: Vec<Trade>) -> Finding {
    let asked = Asked {
        instruction,
        baseline,
        venue_id: None,
        others: &[],
        instrument: &btc(),
        tolerance_permille: 5,
        price_off_permille: 20,
    };
    evidence(&asked, &Reads { positions: after.map(holding), trades, waiting: Vec::new() })
}

fn open(lots: i64) -> Instruction {
    Instruction::decode(&place(lots, |_| ()).body.0).unwrap()
}

/// What was found, in one word.
fn word(finding: &Finding) -> String {
    match finding {
        Finding::Executed { execution, recorded } => {
            format!("{} {}", if *recorded { "recorded" } else { "unrecorded" }, execution.lots)
        }
        Finding::Waits(_) => "waits".into(),
        Finding::TakenBack => "taken back".into(),
        Finding::Unchanged => "unchanged".into(),
        Finding::Unclear(_) => "unclear".into(),
    }
}

#[test]
fn an_open_is_found_by_its_row_or_by_the_position() {
    use Side::{Buy, Sell};
    let old = || trade("old", Buy, 15, 90);
    let mut known = before(0);
    known.newest_trades = vec![SeenTrade { id: "old".into(), at_s: Some(90) }];
    let cases: Vec<(&str, [i64; 2], Vec<Trade>)> = vec![
        ("recorded 15", [15, 15], vec![trade("new", Buy, 15, 100), old()]),
        // The books of the exchange lag behind the row, or somebody traded the other way.
        ("recorded 15", [0, 0], vec![trade("new", Buy, 15, 100), old()]),
        // Rows of one second stand in any order.
        ("recorded 15", [15, 15], vec![trade("new", Buy, 15, 90), old()]),
        ("recorded 15", [15, 15], vec![old(), trade("new", Buy, 15, 90)]),
        // The venue's clock was set back: the position has to agree.
        ("recorded 15", [15, 15], vec![old(), trade("new", Buy, 15, 86)]),
        ("unclear", [0, 0], vec![old(), trade("new", Buy, 15, 86)]),
        ("unchanged", [0, 0], vec![old(), trade("older", Buy, 15, 84)]),
        ("recorded 6", [6, 6], vec![trade("new", Buy, 6, 100), old()]),
        ("unclear", [15, 15], vec![trade("new", Buy, 6, 100), old()]),
        ("unclear", [30, 30], vec![trade("b", Buy, 15, 101), trade("a", Buy, 15, 100), old()]),
        ("unclear", [40, 40], vec![trade("new", Buy, 40, 100), old()]),
        ("unrecorded 15", [15, 15], vec![old()]),
        ("unrecorded 16", [16, 16], vec![old()]),
        ("unclear", [17, 17], vec![old()]),
        ("unclear", [7, 7], vec![old()]),
        ("unclear", [-15, -15], vec![old()]),
        ("unclear", [15, 15], vec![trade("new", Sell, 15, 100), old()]),
        ("unchanged", [0, 0], vec![old()]),
        ("unclear", [0, 15], vec![old()]),
    ];
    for (expected, after, trades) in cases {
        let shown = format!("{after:?} {trades:?}");
        assert_eq!(word(&find(&open(15), &known, after, trades)), expected, "{shown}");
    }
}

#[test]
fn rows_of_other_coins_are_nobodys_business() {
    let mut other = trade("new", Side::Buy, 15, 100);
    other.side = None;
    assert_eq!(find(&open(15), &before(0), [0, 0], vec![other]), Finding::Unchanged);
}

#[test]
fn a_history_that_does_not_reach_back_says_nothing() {
    let full: Vec<Trade> = (0..200).map(|n| trade(&n.to_string(), Side::Buy, 15, 100)).collect();
    assert_eq!(word(&find(&open(15), &before(0), [0, 0], full)), "unclear");
}

#[test]
fn a_close_is_found_when_the_position_is_gone_or_smaller_with_a_row() {
    let close = Instruction::decode(&close(15).body.0).unwrap();
    let row = || vec![trade("new", Side::Sell, 15, 100)];
    let cases = [
        ("recorded 15", [0, 0], row()),
        ("recorded 11", [4, 4], row()),
        ("unrecorded 15", [0, 0], vec![]),
        ("unclear", [4, 4], vec![]),
        ("unclear", [-3, -3], row()),
        ("unclear", [15, 15], row()),
        ("unchanged", [15, 15], vec![]),
        ("unclear", [0, 0], vec![trade("b", Side::Sell, 7, 101), trade("a", Side::Sell, 8, 100)]),
        ("unclear", [15, 0], row()),
        // The row of a position that was opened the other way and netted since.
        ("recorded 15", [0, 0], vec![trade("new", Side::Buy, 15, 100)]),
        ("unclear", [4, 4], vec![trade("new", Side::Buy, 15, 100)]),
        ("unclear", [15, 15], vec![trade("new", Side::Buy, 15, 100)]),
        ("unclear", [0, 0], vec![trade("b", Side::Buy, 15, 101), trade("a", Side::Sell, 15, 100)]),
    ];
    for (expected, after, trades) in cases {
        let shown = format!("{after:?} {trades:?}");
        assert_eq!(word(&find(&close, &before(15), after, trades)), expected, "{shown}");
    }
    assert_eq!(word(&find(&close, &before(16), [0, 0], row())), "unclear", "not the position that was meant");
}

#[test]
fn a_row_with_numbers_that_cannot_be_is_not_adopted() {
    let odd: [fn(&mut Trade); 5] = [
        |trade| trade.size_usd = None,
        |trade| trade.price = None,
        |trade| trade.price = Some(Decimal::NEGATIVE_ONE),
        |trade| trade.fee = Some(Decimal::NEGATIVE_ONE),
        |trade| trade.size_usd = Some(Decimal::new(8_700, 1)),
    ];
    for change in odd {
        let mut row = trade("new", Side::Buy, 15, 100);
        change(&mut row);
        assert_eq!(word(&find(&open(15), &before(0), [15, 15], vec![row.clone()])), "unclear", "{row:?}");
    }
}

fn trades() -> impl Strategy<Value = Vec<Trade>> {
    let row =
        (prop_oneof![Just(None), Just(Some(Side::Buy)), Just(Some(Side::Sell))], 1_i64..40, 80_u64..120);
    proptest::collection::vec(row, 0..4).prop_map(|rows| {
        let named = rows.into_iter().enumerate();
        named
            .map(|(n, (side, lots, at))| Trade { side, ..trade(&n.to_string(), Side::Buy, lots, at) })
            .collect()
    })
}

/// An order, the account around it, and what the history shows.
#[derive(Debug)]
struct Case {
    instruction: Instruction,
    held: i64,
    after: [i64; 2],
    trades: Vec<Trade>,
    /// How many of the rows the baseline has not seen.
    newest: usize,
}

/// Holds what is found against the rules by which it may be.
fn judge(case: Case) -> Result<(), TestCaseError> {
    let Case { instruction, held, after: [after, second], trades, newest } = case;
    let (side, is_close) =
        (instruction.terms().unwrap().side, matches!(instruction, Instruction::Close { .. }));
    let mut baseline = before(held);
    let seen = |trade: &Trade| SeenTrade { id: trade.id.clone(), at_s: trade.created_s };
    baseline.newest_trades = trades.iter().skip(newest).map(seen).collect();
    let start = baseline.newest_trades.iter().filter_map(|trade| trade.at_s).max().unwrap_or(5) - 5;
    let fresh = trades.iter().take(newest).filter(|trade| trade.created_s >= Some(start));
    let (ours, others): (Vec<Side>, Vec<Side>) =
        fresh.filter_map(|trade| trade.side).partition(|found| *found == side);
    match find(&instruction, &baseline, [after, second], trades) {
        Finding::Executed { execution, recorded } => {
            prop_assert!(execution.lots.0 > 0 && execution.price.0 > 0);
            prop_assert_eq!(after, second, "two readings agree");
            let is_what_moved = side.signed(execution.lots).0 == after - held;
            prop_assert!(is_what_moved || (recorded && !is_close), "only the row of an open tells its size");
            if is_close {
                prop_assert!(ours.len() + others.len() <= 1, "nothing else was traded");
                prop_assert_eq!(
                    recorded,
                    ours.len() + others.len() == 1,
                    "a row is the evidence, if there is one"
                );
                // After netting the row may be that of a position of the other direction.
                prop_assert!(others.is_empty() || after == 0, "only the whole is told by such a row");
            } else {
                prop_assert_eq!(recorded, ours.len() == 1, "a row is the evidence, or there is none");
                prop_assert!(recorded || others.is_empty(), "a row of the other direction is not evidence");
            }
        }
        Finding::Unchanged => {
            prop_assert!(after == held && after == second && ours.is_empty() && others.is_empty());
        }
        Finding::Unclear(words) => prop_assert!(!words.is_empty()),
        found => prop_assert!(false, "{:?} of an order that cannot wait", found),
    }
    Ok(())
}

#[test]
fn a_close_by_the_row_of_a_netted_position_keeps_the_rules() {
    let closed = |after| Case {
        instruction: Instruction::decode(&close(1).body.0).unwrap(),
        held: 1,
        after: [after; 2],
        trades: vec![trade("0", Side::Buy, 1, 80)],
        newest: 1,
    };
    let Case { instruction, trades, .. } = closed(0);
    assert_eq!(word(&find(&instruction, &before(1), [0, 0], trades)), "recorded 1");
    judge(closed(0)).unwrap();
    judge(closed(1)).unwrap();
}

proptest! {
    #[test]
    fn nothing_is_adopted_without_a_change_that_fits(
        ordered in prop_oneof![1_i64..40, -40_i64..-1],
        held in -40_i64..40,
        after in -80_i64..80,
        again in prop_oneof![4 => Just(None), 1 => (-80_i64..80).prop_map(Some)],
        trades in trades(),
        newest in 0_usize..5,
        closes in any::<bool>(),
    ) {
        let instruction = if closes && held != 0 {
            Instruction::decode(&close(held).body.0).unwrap()
        } else {
            open(ordered)
        };
        judge(Case { instruction, held, after: [after, again.unwrap_or(after)], trades, newest })?;
    }
}
