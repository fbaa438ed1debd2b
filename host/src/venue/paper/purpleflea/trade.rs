//! Opening and closing: a market order at the exchange, and then the rows of the database.

use super::super::order::Side;
use super::account::Account;
use super::config::Tier;
use super::engine::{Call, World};
use super::exchange::{Fill, Order};
use super::faults::FleaFault;
use super::prices::{Coin, ticker};
use super::risk;
use super::rows::{PositionRow, RowStatus, TradeRow};
use super::wire::{self, Reply, number, round, truthy};
use rust_decimal::{Decimal, RoundingStrategy};
use serde_json::{Value, json};

/// The exchange's fee in hundred-thousandths of the notional.
const EXCHANGE_POINTS: i64 = 35;

/// What better-sqlite3 says when another process writes.
const LOCKED: &str = "SQLITE_BUSY: database is locked";
const DISK_FULL: &str = "SQLITE_FULL: database or disk is full";

const NO_WALLET: &str = "Hyperliquid wallet not configured. Register with hl_wallet_address and hl_signing_key for \
                         real execution.";

/// What to trade.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) coin: String,
    pub(super) side: Side,
    pub(super) size_usd: Decimal,
    pub(super) leverage: Decimal,
}

/// A market order that was filled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Filled {
    pub(super) coin: Coin,
    pub(super) fill: Fill,
    pub(super) size_usd: Decimal,
    pub(super) margin: Decimal,
    pub(super) liquidation: Decimal,
}

/// The fees that the server announces: the exchange's, its own, and both.
pub(super) fn fees(size_usd: Decimal, tier: Tier) -> [Decimal; 3] {
    let part = |points| {
        let fee = size_usd.checked_mul(Decimal::new(points, 5)).unwrap_or_default();
        round(fee, 2)
    };
    [part(EXCHANGE_POINTS), part(tier.fee_points()), part(EXCHANGE_POINTS + tier.fee_points())]
}

pub(super) fn long_or_short(side: Side) -> &'static str {
    if side == Side::Buy { "long" } else { "short" }
}

pub(super) fn buy_or_sell(side: &str) -> Side {
    if side == "long" { Side::Buy } else { Side::Sell }
}

/// What a side of `long` or `short`, dollars and leverage say, or the refusal in the server's words and order.
pub(super) fn wanted(account: &Account, body: &Value) -> Result<Wanted, Reply> {
    let (coin, side, size) = (body.get("coin"), body.get("side"), body.get("size_usd"));
    if body.is_null() {
        return Err(Reply::internal());
    }
    if !truthy(coin) || !truthy(side) || !truthy(size) {
        return Err(Reply::json(
            400,
            json!({
                "error": "invalid_request",
                "message": "Provide coin, side (long/short), size_usd",
                "examples": {
                    "stock": { "coin": "TSLA", "side": "long", "size_usd": 1000, "leverage": 5 },
                    "commodity": { "coin": "GOLD", "side": "short", "size_usd": 500, "leverage": 10 },
                    "crypto": { "coin": "BTC", "side": "long", "size_usd": 5000, "leverage": 3 },
                },
            }),
        ));
    }
    let Some(size) = size.and_then(Value::as_f64).filter(|size| *size > 0.0) else {
        return Err(Reply::error(400, "invalid_size", "size_usd must be a positive number"));
    };
    let side = match side.and_then(Value::as_str) {
        Some("long") => Side::Buy,
        Some("short") => Side::Sell,
        _ => return Err(Reply::error(400, "invalid_side", "side must be 'long' or 'short'")),
    };
    let leverage = leverage(account, body.get("leverage"))?;
    let most = account.max_position_usd;
    let size_usd = wire::decimal(size).filter(|size| *size <= most).ok_or_else(|| {
        let message = format!("Max position size is ${}. Upgrade tier for higher limits.", number(most));
        let body =
            json!({ "error": "position_too_large", "max_position_usd": number(most), "message": message });
        Reply::json(400, body)
    })?;
    // The server finds out about a coin that is no text only when it calls a method of it.
    let coin = coin.and_then(Value::as_str).ok_or_else(|| failed("coin.toUpperCase is not a function"))?;
    Ok(Wanted { coin: coin.to_uppercase(), side, size_usd, leverage })
}

/// The leverage of a body: 5 by default, and silently cut to the account's.
fn leverage(account: &Account, found: Option<&Value>) -> Result<Decimal, Reply> {
    let most = account.max_leverage;
    match found {
        None | Some(Value::Null) => Ok(Decimal::from(5).min(most)),
        Some(found) => match found.as_f64().filter(|leverage| *leverage >= 1.0) {
            Some(leverage) => Ok(wire::decimal(leverage).map_or(most, |leverage| leverage.min(most))),
            None => Err(Reply::error(400, "invalid_leverage", "leverage must be a number >= 1")),
        },
    }
}

fn failed(message: &str) -> Reply {
    Reply::error(400, "trade_failed", message)
}

/// Sends a market order to the exchange. The error is the message that the server would throw.
pub(super) fn market_order(
    account: &mut Account,
    world: &mut World,
    call: Call,
    wanted: &Wanted,
) -> Result<Filled, String> {
    let Wanted { coin, side, size_usd, leverage } = wanted;
    let found = world.prices.resolve(coin).cloned();
    let coin = found
        .ok_or_else(|| format!("Market not found: {coin}. Try GET /v1/markets to see available markets."))?;
    let name = coin.name.as_str();
    let price = world.price(name, call).ok_or_else(|| format!("No price available for {name}"))?;
    if *leverage > Decimal::from(coin.leverage_max) {
        return Err(format!("Max leverage for {name} is {}x", coin.leverage_max));
    }
    let size = size_usd.checked_div(price).unwrap_or_default();
    let size = size.round_dp_with_strategy(coin.digits, RoundingStrategy::MidpointAwayFromZero).normalize();
    if size.is_zero() {
        let least = Decimal::new(1, coin.digits).normalize();
        return Err(format!("Position size too small for {name} (min size: {least} units)"));
    }
    // The real server sets the leverage first and does not look whether that worked.
    account.exchange.set_leverage(name, *leverage);
    let order = order(account, world, call, &coin, *side, size, price);
    let fill = account
        .exchange
        .execute(order, |coin| world.prices.quote(coin))
        .map_err(|text| format!("Order error: {text}"))?;
    let notional = fill.size.checked_mul(fill.price).unwrap_or_default();
    let distance = Decimal::ONE.checked_div(*leverage).unwrap_or_default() - Decimal::new(5, 3);
    let factor = if *side == Side::Buy { Decimal::ONE - distance } else { Decimal::ONE + distance };
    Ok(Filled {
        fill,
        size_usd: round(notional, 2),
        margin: round(notional.checked_div(*leverage).unwrap_or_default(), 2),
        liquidation: round(fill.price.checked_mul(factor).unwrap_or_default(), 8),
        coin,
    })
}

fn order<'a>(
    account: &Account,
    world: &World,
    call: Call,
    coin: &'a Coin,
    side: Side,
    size: Decimal,
    price: Decimal,
) -> Order<'a> {
    let slippage = Decimal::new(world.config.slippage_permille.into(), 3);
    let factor = if side == Side::Buy { Decimal::ONE + slippage } else { Decimal::ONE - slippage };
    Order {
        coin: &coin.name,
        digits: coin.digits,
        side,
        size,
        limit: price.checked_mul(factor).unwrap_or(price),
        reduce_only: false,
        share_permille: match call.fault {
            Some(FleaFault::PartialFill(permille)) => permille,
            _ => 1_000,
        },
        fee_points: EXCHANGE_POINTS + account.tier.fee_points(),
        request: call.request,
        now_ms: world.now_ms,
    }
}

/// Writes an open down, and returns the id of its position.
pub(super) fn record_open(
    account: &mut Account,
    world: &mut World,
    order_id: &str,
    wanted: &Wanted,
    filled: &Filled,
) -> String {
    let position_id = world.ids.uuid("pos");
    let [_, _, fee] = fees(filled.size_usd, account.tier);
    account.rows.positions.push(PositionRow {
        id: position_id.clone(),
        coin: filled.coin.name.clone(),
        side: long_or_short(wanted.side).to_owned(),
        size_usd: filled.size_usd,
        entry_price: filled.fill.price,
        leverage: wanted.leverage,
        margin_used: filled.margin,
        liquidation_price: filled.liquidation,
        unrealized_pnl: Decimal::ZERO,
        status: RowStatus::Open,
        hl_order_id: filled.fill.order_number,
        opened_at: world.now_ms / 1_000,
        closed_at: None,
    });
    record_trade(account, world, order_id, &filled.coin.name, wanted.side, filled, fee, Decimal::ZERO);
    position_id
}

#[expect(clippy::too_many_arguments, reason = "a row has as many columns")]
fn record_trade(
    account: &mut Account,
    world: &mut World,
    order_id: &str,
    coin: &str,
    side: Side,
    filled: &Filled,
    fee: Decimal,
    pnl: Decimal,
) {
    account.rows.trades.push(TradeRow {
        id: world.ids.uuid("trd"),
        order_id: order_id.to_owned(),
        coin: coin.to_owned(),
        side: side.name().to_owned(),
        size_usd: filled.size_usd,
        price: filled.fill.price,
        fee,
        realized_pnl: pnl,
        created_at: world.now_ms / 1_000,
    });
    account.exchange.recorded(filled.fill.order_number, order_id);
    account.count(filled.size_usd, fee, pnl);
}

/// `POST /v1/trade/open`.
pub(super) fn open(
    account: &mut Account,
    world: &mut World,
    call: Call,
    body: &Value,
) -> Result<Reply, Reply> {
    let wanted = wanted(account, body)?;
    risk::within_daily_loss(account, world.now_ms)?;
    if account.wallet.is_none() {
        return Err(Reply::error(400, "wallet_not_configured", NO_WALLET));
    }
    let filled = market_order(account, world, call, &wanted).map_err(|message| failed(&message))?;
    if call.fault == Some(FleaFault::FailAfterFill) {
        return Err(failed(LOCKED));
    }
    let order_id = world.ids.uuid("ord");
    let position_id = record_open(account, world, &order_id, &wanted, &filled);
    if call.fault == Some(FleaFault::FailAfterInsert) {
        return Err(failed(DISK_FULL));
    }
    let [exchange, builder, total] = fees(filled.size_usd, account.tier);
    Ok(Reply::json(
        200,
        json!({
            "position_id": position_id,
            "order_id": order_id,
            "coin": filled.coin.name,
            "ticker": filled.coin.ticker(),
            "category": filled.coin.category,
            "dex": filled.coin.dex(),
            "side": long_or_short(wanted.side),
            "size_usd": number(filled.size_usd),
            "entry_price": number(filled.fill.price),
            "leverage": number(wanted.leverage),
            "max_leverage": filled.coin.leverage_max,
            "margin_used": number(filled.margin),
            "liquidation_price": number(filled.liquidation),
            "fee": number(total),
            "fee_breakdown": { "hyperliquid": number(exchange), "purple_flea_builder": number(builder) },
            "hl_order_id": filled.fill.order_number,
            "execution": "real",
            "status": "open",
        }),
    ))
}

/// `POST /v1/trade/close`: flattens the whole coin and closes the one row.
pub(super) fn close(
    account: &mut Account,
    world: &mut World,
    call: Call,
    body: &Value,
) -> Result<Reply, Reply> {
    if body.is_null() {
        return Err(Reply::internal());
    }
    let id = body.get("position_id");
    if !truthy(id) {
        return Err(Reply::json(400, json!({ "error": "provide position_id" })));
    }
    let row = id.and_then(Value::as_str).and_then(|id| account.rows.open(id)).cloned();
    let Some(row) = row else { return Err(Reply::json(404, json!({ "error": "position_not_found" }))) };
    if account.wallet.is_none() {
        return Err(Reply::error(400, "wallet_not_configured", NO_WALLET));
    }
    let failed = |message: &str| Reply::error(400, "close_failed", message);
    let filled = flatten(account, world, call, &row.coin).map_err(|message| failed(&message))?;
    if call.fault == Some(FleaFault::FailAfterFill) {
        return Err(failed(LOCKED));
    }
    let (ratio, pnl) = record_close(account, world, &row, &filled);
    if call.fault == Some(FleaFault::FailAfterInsert) {
        return Err(failed(DISK_FULL));
    }
    let [_, _, fee] = fees(row.size_usd, account.tier);
    Ok(Reply::json(
        200,
        json!({
            "position_id": row.id,
            "coin": row.coin,
            "ticker": ticker(&row.coin),
            "side": row.side,
            "entry_price": number(row.entry_price),
            "exit_price": number(filled.fill.price),
            "size_usd": number(row.size_usd),
            "leverage": number(row.leverage),
            "pnl": number(pnl),
            "pnl_percent": number(round(ratio.checked_mul(Decimal::ONE_HUNDRED).unwrap_or_default(), 2)),
            "fee": number(fee),
            "hl_order_id": filled.fill.order_number,
            "execution": "real",
            "status": "closed",
        }),
    ))
}

/// Sells or buys back all that the exchange holds of a coin.
fn flatten(account: &mut Account, world: &mut World, call: Call, coin: &str) -> Result<Filled, String> {
    let found = world.prices.resolve(coin).cloned();
    let coin = found.ok_or_else(|| format!("Market not found: {coin}"))?;
    let name = coin.name.as_str();
    let held = account.exchange.holding(name).size;
    if held.is_zero() {
        return Err(format!("No open position for {name} on Hyperliquid"));
    }
    let price = world.price(name, call).ok_or_else(|| format!("No price for {name}"))?;
    let side = if held.is_sign_negative() { Side::Buy } else { Side::Sell };
    let order = Order { reduce_only: true, ..order(account, world, call, &coin, side, held.abs(), price) };
    let fill = account.exchange.execute(order, |coin| world.prices.quote(coin)).map_err(|text| {
        let result = json!({
            "status": "ok",
            "response": { "type": "order", "data": { "statuses": [{ "error": text }] } },
        });
        format!("Close order not filled: {result}")
    })?;
    let size_usd = round(fill.size.checked_mul(fill.price).unwrap_or_default(), 2);
    Ok(Filled { coin, fill, size_usd, margin: Decimal::ZERO, liquidation: Decimal::ZERO })
}

/// Closes a row by its own dollars, whatever the exchange has filled. Returns the change of the price and the profit.
pub(super) fn record_close(
    account: &mut Account,
    world: &mut World,
    row: &PositionRow,
    filled: &Filled,
) -> (Decimal, Decimal) {
    let ratio = filled.fill.price.checked_sub(row.entry_price);
    let ratio = ratio.and_then(|moved| moved.checked_div(row.entry_price)).unwrap_or_default();
    let gained = row.size_usd.checked_mul(ratio).unwrap_or_default();
    let opened = buy_or_sell(&row.side);
    let pnl = round(opened.signed(gained), 2);
    account.rows.close(&row.id, pnl, world.now_ms / 1_000);
    let [_, _, fee] = fees(row.size_usd, account.tier);
    let order_id = world.ids.uuid("ord");
    let closing = if opened == Side::Buy { Side::Sell } else { Side::Buy };
    let as_row = Filled { size_usd: row.size_usd, ..filled.clone() };
    record_trade(account, world, &order_id, &row.coin, closing, &as_row, fee, pnl);
    (ratio, pnl)
}
