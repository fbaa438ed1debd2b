//! What an account may risk, and how much of that is used up today.

use super::account::Account;
use super::config::Tier;
use super::wire::{self, Reply, iso, number, optional, round};
use rust_decimal::Decimal;
use serde_json::{Value, json};

const DAY_MS: u64 = 86_400_000;

/// The next midnight in UTC.
fn midnight(now_ms: u64) -> String {
    iso((now_ms - now_ms % DAY_MS).saturating_add(DAY_MS))
}

fn loss_today(account: &Account, now_ms: u64) -> Decimal {
    let (net, _) = account.rows.today(now_ms / 1_000);
    net.min(Decimal::ZERO).abs()
}

/// Refuses an open once the losses of the day have reached the account's limit.
pub(super) fn within_daily_loss(account: &Account, now_ms: u64) -> Result<(), Reply> {
    let Some(limit) = account.max_daily_loss_usd else { return Ok(()) };
    let loss = loss_today(account, now_ms);
    if loss < limit {
        return Ok(());
    }
    let limit = number(limit);
    let message = format!("Daily loss limit of ${limit} reached. Trading blocked until UTC midnight.");
    Err(Reply::json(
        403,
        json!({
            "error": "daily_loss_limit_reached",
            "message": message,
            "daily_loss_limit_usd": limit,
            "current_daily_loss_usd": number(round(loss, 2)),
            "resets_at": midnight(now_ms),
            "tip": "Update your limit via POST /v1/trade/risk-settings",
        }),
    ))
}

fn settings(account: &Account) -> Value {
    json!({
        "max_leverage": number(account.max_leverage),
        "max_position_usd": number(account.max_position_usd),
        "max_daily_loss_usd": optional(account.max_daily_loss_usd),
    })
}

/// `GET /v1/trade/risk-settings`.
pub(super) fn view(account: &Account, now_ms: u64) -> Reply {
    let (net, trades) = account.rows.today(now_ms / 1_000);
    let loss = loss_today(account, now_ms);
    let limit = account.max_daily_loss_usd;
    let used = limit.and_then(|limit| loss.checked_div(limit)?.checked_mul(Decimal::ONE_HUNDRED));
    Reply::json(
        200,
        json!({
            "risk_settings": settings(account),
            "today": {
                "net_pnl": number(round(net, 2)),
                "current_loss_usd": number(round(loss, 2)),
                "trade_count": trades,
                "daily_loss_limit_pct_used": optional(used.map(|used| round(used, 2))),
                "trading_blocked": limit.is_some_and(|limit| loss >= limit),
                "resets_at": midnight(now_ms),
            },
            "update_tip": "POST /v1/trade/risk-settings { max_daily_loss_usd: 500 } to set a daily loss limit",
        }),
    )
}

/// `POST /v1/trade/risk-settings`: everything that the body names, or nothing.
pub(super) fn change(account: &mut Account, body: &Value) -> Result<Reply, Reply> {
    let invalid = |message: &str| Reply::error(400, "invalid_value", message);
    // The server asks whether a name is in the body, which throws for anything but an object or a list.
    if !body.is_object() && !body.is_array() {
        return Err(Reply::internal());
    }
    let free = account.tier == Tier::Free;
    let mut changed = Vec::new();
    let mut daily_loss = account.max_daily_loss_usd;
    if let Some(found) = body.get("max_daily_loss_usd") {
        daily_loss = match found.as_f64().filter(|limit| *limit > 0.0).and_then(wire::decimal) {
            None if found.is_null() => None,
            None => {
                return Err(invalid("max_daily_loss_usd must be a positive number or null to disable"));
            }
            limit => limit,
        };
        changed.push(match daily_loss {
            Some(limit) => format!("max_daily_loss_usd: ${}", number(limit)),
            None => "max_daily_loss_usd: disabled (no limit)".into(),
        });
    }
    let mut leverage = account.max_leverage;
    if let Some(found) = body.get("max_leverage") {
        let found = found.as_f64().filter(|found| (1.0..=50.0).contains(found)).and_then(wire::decimal);
        let found = found.ok_or_else(|| invalid("max_leverage must be 1-50"))?;
        leverage = found.min(if free { 20 } else { 50 }.into());
        changed.push(format!("max_leverage: {}x", number(leverage)));
    }
    let mut position = account.max_position_usd;
    if let Some(found) = body.get("max_position_usd") {
        let found = found.as_f64().filter(|found| *found > 0.0);
        let found = found.ok_or_else(|| invalid("max_position_usd must be a positive number"))?;
        let most = Decimal::from(if free { 50_000 } else { 500_000 });
        position = wire::decimal(found).map_or(most, |found| found.min(most));
        changed.push(format!("max_position_usd: ${}", number(position)));
    }
    if changed.is_empty() {
        let message = "Provide at least one of: max_daily_loss_usd, max_leverage, max_position_usd";
        return Err(Reply::error(400, "no_changes", message));
    }
    (account.max_daily_loss_usd, account.max_leverage, account.max_position_usd) =
        (daily_loss, leverage, position);
    Ok(Reply::json(
        200,
        json!({
            "success": true,
            "changed": changed,
            "risk_settings": settings(account),
            "note": "Daily loss limit blocks new trade opens until UTC midnight when limit is reached.",
        }),
    ))
}
