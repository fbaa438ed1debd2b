//! Orders that wait in the server: limits, stop losses and take profits, looked at every 30 seconds.

use super::super::order::Side;
use super::account::Account;
use super::engine::{Call, World};
use super::faults::FleaFault;
use super::rows::{RestingKind, RestingRow, RestingStatus};
use super::trade::{self, Wanted, buy_or_sell, long_or_short};
use super::wire::{self, Reply, iso, number};
use serde_json::{Value, json};

/// `POST /v1/trade/limit`.
pub(super) fn limit(
    account: &mut Account,
    world: &mut World,
    call: Call,
    body: &Value,
) -> Result<Reply, Reply> {
    let wanted = trade::wanted(account, body)?;
    let price = body.get("limit_price").and_then(Value::as_f64).and_then(wire::decimal);
    let Some(price) = price.filter(|price| price.is_sign_positive() && !price.is_zero()) else {
        return Err(Reply::error(400, "invalid_price", "limit_price must be a positive number"));
    };
    let Some(coin) = world.prices.resolve(&wanted.coin).cloned() else {
        let body = json!({ "error": "market_not_found", "coin": wanted.coin });
        return Err(Reply::json(404, body));
    };
    let most = world.config.pending_limits_max;
    if account.rows.pending_limits() >= most {
        let message = format!("Max {most} pending limit orders. Cancel one first.");
        return Err(Reply::error(400, "too_many_orders", &message));
    }
    let row = RestingRow {
        id: format!("ord_{}", world.ids.hex(8)),
        kind: RestingKind::Limit,
        coin: coin.name,
        side: long_or_short(wanted.side).to_owned(),
        size_usd: wanted.size_usd,
        price,
        leverage: wanted.leverage,
        position_id: None,
        status: RestingStatus::Pending,
        request: call.request,
        pollers: if call.fault == Some(FleaFault::DoubleFill) { 2 } else { 1 },
        created_at: world.now_ms / 1_000,
    };
    let reply = Reply::json(201, view(&row));
    account.rows.resting.push(row);
    Ok(reply)
}

/// `POST /v1/trade/stop-loss` and `/take-profit`.
pub(super) fn exit(
    account: &mut Account,
    world: &mut World,
    call: Call,
    kind: RestingKind,
    body: &Value,
) -> Result<Reply, Reply> {
    if body.is_null() {
        return Err(Reply::internal());
    }
    let price = body.get("trigger_price").and_then(Value::as_f64).and_then(wire::decimal);
    let (Some(id), Some(price)) = (body.get("position_id").and_then(Value::as_str), price) else {
        return Err(Reply::error(400, "invalid_request", "Provide position_id, trigger_price"));
    };
    if price.is_sign_negative() || price.is_zero() {
        return Err(Reply::error(400, "invalid_price", "trigger_price must be a positive number"));
    }
    let Some(position) = account.rows.open(id) else {
        return Err(Reply::json(404, json!({ "error": "position_not_found" })));
    };
    let row = RestingRow {
        id: format!("ord_{}", world.ids.hex(8)),
        kind,
        coin: position.coin.clone(),
        side: position.side.clone(),
        size_usd: position.size_usd,
        price,
        leverage: position.leverage,
        position_id: Some(position.id.clone()),
        status: RestingStatus::Pending,
        request: call.request,
        pollers: 1,
        created_at: world.now_ms / 1_000,
    };
    let reply = Reply::json(201, view(&row));
    account.rows.resting.push(row);
    Ok(reply)
}

/// `GET /v1/trade/limit-orders`: those that are pending, or all of them.
pub(super) fn list(account: &Account, all: bool) -> Reply {
    let listed =
        |row: &&RestingRow| row.kind == RestingKind::Limit && (all || row.status == RestingStatus::Pending);
    let orders: Vec<Value> = account.rows.resting.iter().filter(listed).map(view).collect();
    Reply::json(200, json!({ "count": orders.len(), "orders": orders }))
}

/// `DELETE /v1/trade/limit-orders/:id`.
pub(super) fn cancel(account: &mut Account, id: &str) -> Result<Reply, Reply> {
    let pending = |row: &&mut RestingRow| {
        row.kind == RestingKind::Limit && row.id == id && row.status == RestingStatus::Pending
    };
    let Some(row) = account.rows.resting.iter_mut().find(pending) else {
        return Err(Reply::json(404, json!({ "error": "order_not_found" })));
    };
    row.status = RestingStatus::Cancelled;
    Ok(Reply::json(200, json!({ "order_id": id, "status": "cancelled" })))
}

fn view(row: &RestingRow) -> Value {
    let (price, side) = (number(row.price), row.side.as_str());
    let mut view = json!({
        "order_id": row.id,
        "status": row.status.name(),
        "coin": row.coin,
        "side": side,
        "size_usd": number(row.size_usd),
        "created_at": iso(row.created_at.saturating_mul(1_000)),
    });
    if let Some(object) = view.as_object_mut() {
        match &row.position_id {
            None => {
                object.insert("limit_price".into(), price);
                object.insert("leverage".into(), number(row.leverage));
            }
            Some(position) => {
                object.insert("type".into(), row.kind.name().into());
                object.insert("position_id".into(), position.as_str().into());
                object.insert("trigger_price".into(), price);
            }
        }
    }
    view
}

/// One look of the server at all that waits. The orders are sent as market orders; an exit's is not reduce-only, so it
/// opens the other way when the position is gone.
pub(super) fn poll(account: &mut Account, world: &mut World) {
    for index in 0..account.rows.resting.len() {
        let Some(row) = account.rows.resting.get(index).filter(|row| row.status == RestingStatus::Pending)
        else {
            continue;
        };
        let row = row.clone();
        let gone = row.position_id.as_deref().is_some_and(|id| account.rows.open(id).is_none());
        let status = if gone {
            RestingStatus::Cancelled
        } else if is_reached(&row, world) {
            fill(account, world, &row)
        } else {
            continue;
        };
        if let Some(row) = account.rows.resting.get_mut(index) {
            row.status = status;
        }
    }
}

fn is_reached(row: &RestingRow, world: &mut World) -> bool {
    let Some(price) = world.price(&row.coin, Call::default()) else { return false };
    match (row.kind, buy_or_sell(&row.side)) {
        (RestingKind::Limit | RestingKind::StopLoss, Side::Buy) | (RestingKind::TakeProfit, Side::Sell) => {
            price <= row.price
        }
        (RestingKind::Limit | RestingKind::StopLoss, Side::Sell) | (RestingKind::TakeProfit, Side::Buy) => {
            price >= row.price
        }
    }
}

fn fill(account: &mut Account, world: &mut World, row: &RestingRow) -> RestingStatus {
    let call = Call { request: row.request, fault: None };
    let side = buy_or_sell(&row.side);
    let opposite = if side == Side::Buy { Side::Sell } else { Side::Buy };
    let is_exit = row.position_id.is_some();
    let wanted = Wanted {
        coin: row.coin.clone(),
        side: if is_exit { opposite } else { side },
        size_usd: row.size_usd,
        leverage: row.leverage,
    };
    let mut status = RestingStatus::Failed;
    for _ in 0..row.pollers {
        let Ok(filled) = trade::market_order(account, world, call, &wanted) else { continue };
        status = RestingStatus::Filled;
        match row.position_id.as_deref().and_then(|id| account.rows.open(id)).cloned() {
            Some(position) => {
                trade::record_close(account, world, &position, &filled);
            }
            None => {
                trade::record_open(account, world, &row.id, &wanted, &filled);
            }
        }
    }
    status
}
