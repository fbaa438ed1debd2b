//! What the server says that an account holds and has traded: the exchange's view, or its own.

use super::account::Account;
use super::engine::{Call, World};
use super::faults::FleaFault;
use super::prices::ticker;
use super::rows::{PositionRow, RowStatus, TradeRow};
use super::trade::buy_or_sell;
use super::wire::{NAN, Reply, iso, number, optional, round};
use rust_decimal::Decimal;
use serde_json::{Value, json};

/// Rows in a list of all positions.
const ALL_MAX: usize = 50;

/// Rows of the history that are given at most, and without a wish.
const HISTORY_MAX: i64 = 200;
const HISTORY_DEFAULT: i64 = 50;

/// `GET /v1/trade/positions`, with `?status=all` or without.
pub(super) fn positions(account: &Account, world: &mut World, call: Call, all: bool) -> Reply {
    let (positions, source) = if all {
        let mut rows: Vec<&PositionRow> = account.rows.positions.iter().collect();
        rows.sort_by_key(|row| std::cmp::Reverse(row.opened_at));
        let rows = rows.into_iter().take(ALL_MAX);
        (rows.map(|row| database_row(account, world, call, row)).collect::<Vec<_>>(), "database")
    } else if account.wallet.is_none() || call.fault == Some(FleaFault::DatabasePositions) {
        let rows = account.rows.positions.iter().filter(|row| row.status == RowStatus::Open);
        (rows.map(|row| database_row(account, world, call, row)).collect(), "database")
    } else if call.fault == Some(FleaFault::EmptyPositions) {
        (Vec::new(), "hyperliquid")
    } else {
        let held: Vec<String> = account.exchange.holdings().map(|(coin, _)| coin.to_owned()).collect();
        (held.iter().map(|coin| exchange_row(account, world, call, coin)).collect(), "hyperliquid")
    };
    Reply::json(200, json!({ "count": positions.len(), "positions": positions, "source": source }))
}

/// A price as a reply shows it.
pub(super) fn shown(world: &mut World, call: Call, coin: &str) -> Value {
    if call.fault == Some(FleaFault::NanPrice) { NAN.into() } else { optional(world.price(coin, call)) }
}

/// One coin as the exchange has it, with the id of the oldest open row that the server has for it.
fn exchange_row(account: &Account, world: &mut World, call: Call, coin: &str) -> Value {
    let holding = account.exchange.holding(coin);
    let (size, entry, leverage) = (holding.size, holding.entry, holding.leverage.max(Decimal::ONE));
    let mark = world.prices.quote(coin).mark().unwrap_or(entry);
    let margin = size.abs().checked_mul(mark).and_then(|value| value.checked_div(leverage));
    let margin = margin.unwrap_or_default();
    let pnl = mark.checked_sub(entry).and_then(|moved| moved.checked_mul(size)).unwrap_or_default();
    let long = !size.is_sign_negative();
    let distance = Decimal::ONE.checked_div(leverage).unwrap_or_default() - Decimal::new(5, 3);
    let factor = if long { Decimal::ONE - distance } else { Decimal::ONE + distance };
    let liquidation = entry.checked_mul(factor).filter(|price| *price > Decimal::ZERO);
    json!({
        "position_id": account.rows.first_open(coin).map(|row| row.id.as_str()),
        "coin": coin,
        "ticker": ticker(coin),
        "side": if long { "long" } else { "short" },
        "size": number(size.abs()),
        "size_usd": number(round(size.abs().checked_mul(entry).unwrap_or_default(), 2)),
        "entry_price": number(round(entry, 8)),
        "current_price": shown(world, call, coin),
        "leverage": number(leverage),
        "margin_used": number(round(margin, 6)),
        "liquidation_price": optional(liquidation.map(|price| round(price, 8))),
        "unrealized_pnl": number(round(pnl, 6)),
        // The exchange gives this one as text, and the server passes it on.
        "return_on_equity": round(pnl.checked_div(margin).unwrap_or_default(), 10).to_string(),
        "source": "hyperliquid",
    })
}

/// One row as the database has it: in camel case, with what the server adds.
fn database_row(account: &Account, world: &mut World, call: Call, row: &PositionRow) -> Value {
    let price = world.price(&row.coin, call);
    let moved = price.and_then(|price| price.checked_sub(row.entry_price)?.checked_div(row.entry_price));
    let gained = moved.and_then(|moved| moved.checked_mul(row.size_usd)).unwrap_or_default();
    let open = row.status == RowStatus::Open;
    let pnl = if open { round(buy_or_sell(&row.side).signed(gained), 2) } else { row.unrealized_pnl };
    json!({
        "id": row.id,
        "agentId": account.id,
        "coin": row.coin,
        "side": row.side,
        "sizeUsd": number(row.size_usd),
        "entryPrice": number(row.entry_price),
        "leverage": number(row.leverage),
        "marginUsed": number(row.margin_used),
        "liquidationPrice": number(row.liquidation_price),
        "unrealizedPnl": number(row.unrealized_pnl),
        "status": row.status.name(),
        "hlOrderId": row.hl_order_id.to_string(),
        "openedAt": row.opened_at,
        "closedAt": row.closed_at,
        "ticker": ticker(&row.coin),
        "current_price": shown(world, call, &row.coin),
        "unrealized_pnl": number(pnl),
    })
}

/// `GET /v1/trade/history`. Newest second first; within one second the older row comes first, since the database sorts
/// by whole seconds.
pub(super) fn history(account: &Account, limit: Option<&str>) -> Reply {
    let limit = limit.map_or(HISTORY_DEFAULT, |text| match whole_number(text) {
        Some(0) | None => HISTORY_DEFAULT,
        Some(limit) => limit.min(HISTORY_MAX),
    });
    let mut rows: Vec<&TradeRow> = account.rows.trades.iter().collect();
    rows.sort_by_key(|row| std::cmp::Reverse(row.created_at));
    // A negative limit is none to the database.
    rows.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
    let trades: Vec<Value> = rows
        .into_iter()
        .map(|row| {
            json!({
                "id": row.id,
                "agentId": account.id,
                "orderId": row.order_id,
                "coin": row.coin,
                "side": row.side,
                "sizeUsd": number(row.size_usd),
                "price": number(row.price),
                "fee": number(row.fee),
                "realizedPnl": number(row.realized_pnl),
                "createdAt": row.created_at,
            })
        })
        .collect();
    Reply::json(200, json!({ "count": trades.len(), "trades": trades }))
}

/// What JavaScript's `parseInt` makes of a text.
fn whole_number(text: &str) -> Option<i64> {
    let text = text.trim_start();
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let end = digits.bytes().take_while(u8::is_ascii_digit).count();
    let digits = digits.get(..end).filter(|digits| !digits.is_empty())?;
    let number = digits.parse::<i64>().unwrap_or(i64::MAX);
    Some(if negative { -number } else { number })
}

/// `POST /v1/trade/close-all`: closes the rows, with no profit. Nothing is sent to the exchange, which holds what it held.
pub(super) fn close_all(account: &mut Account, now_ms: u64) -> Reply {
    let open = account.rows.positions.iter().filter(|row| row.status == RowStatus::Open);
    let open: Vec<(String, String)> = open.map(|row| (row.id.clone(), row.coin.clone())).collect();
    if open.is_empty() {
        return Reply::json(200, json!({ "message": "No open positions to close.", "closed": 0 }));
    }
    let mut results = Vec::new();
    for (id, coin) in open {
        account.rows.close(&id, Decimal::ZERO, now_ms / 1_000);
        results.push(json!({ "position_id": id, "coin": coin, "status": "closed", "pnl_usd": 0 }));
    }
    let note = "DB positions marked closed. For real Hyperliquid execution, positions are closed via the individual \
                POST /v1/trade/close endpoint.";
    Reply::json(
        200,
        json!({
            "message": format!("Close-all executed: {} positions closed.", results.len()),
            "closed": results.len(),
            "errors": 0,
            "results": results,
            "note": note,
            "updated": iso(now_ms),
        }),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_read_as_javascript_does() {
        let cases =
            [("10", Some(10)), (" 7x", Some(7)), ("-5", Some(-5)), ("x", None), ("", None), ("-", None)];
        for (text, expected) in cases {
            assert_eq!(whole_number(text), expected, "{text:?}");
        }
        assert_eq!(whole_number("99999999999999999999"), Some(i64::MAX));
    }
}
