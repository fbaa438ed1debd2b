//! The public routes: what can be traded, and at what price.

use super::config::Tier;
use super::engine::{Call, World};
use super::faults::FleaFault;
use super::positions::shown;
use super::prices::{Coin, ticker};
use super::trade::fees;
use super::wire::{NAN, Reply, iso, number, optional, round};
use rust_decimal::Decimal;
use serde_json::{Map, Value, json};

/// Coins in one call for several prices; more are ignored.
const COINS_MAX: usize = 20;

const CATEGORIES: [(&str, &str); 4] = [
    ("stocks", "US & global equities via HIP-3/XYZ"),
    ("commodities", "Precious metals, energy, industrial"),
    ("indices", "Market indices"),
    ("forex", "Currency pairs"),
];

/// `GET /v1/markets`: all but the crypto coins, which are only counted.
pub(super) fn list(world: &mut World, call: Call) -> Reply {
    let coins = world.prices.coins().to_vec();
    let mut categories = Map::new();
    for (category, note) in CATEGORIES {
        let found = coins.iter().filter(|coin| coin.category == category);
        let markets: Vec<Value> = found
            .map(|coin| {
                json!({
                    "coin": coin.name,
                    "display_name": coin.ticker(),
                    "price": shown(world, call, &coin.name),
                    "max_leverage": coin.leverage_max,
                    "category": coin.category,
                    "dex": coin.dex(),
                })
            })
            .collect();
        let entry = json!({ "count": markets.len(), "markets": markets, "note": note });
        categories.insert(category.into(), entry);
    }
    let crypto = coins.iter().filter(|coin| coin.category == "crypto").count();
    let note = format!("{crypto} perpetual contracts (use ?include_crypto=true to list)");
    categories.insert("crypto".into(), json!({ "count": crypto, "note": note }));
    Reply::json(
        200,
        json!({
            "total_markets": coins.len(),
            "crypto_markets": crypto,
            "rwa_markets": coins.len() - crypto,
            "categories": categories,
        }),
    )
}

/// `GET /v1/markets/multi-price?coins=BTC,ETH`.
pub(super) fn several(world: &mut World, call: Call, coins: &str) -> Reply {
    if coins.is_empty() {
        return Reply::json(
            400,
            json!({
                "error": "missing_coins",
                "message": "Provide ?coins=BTC,ETH,SOL (comma-separated, max 20)",
                "example": "GET /v1/markets/multi-price?coins=BTC,ETH,SOL,TSLA,GOLD",
            }),
        );
    }
    let (mut prices, mut unknown) = (Vec::new(), Vec::new());
    for name in coins.split(',').take(COINS_MAX) {
        let name = name.trim().to_uppercase();
        let Some(coin) = world.prices.resolve(&name).cloned() else {
            unknown.push(name);
            continue;
        };
        prices.push(json!({
            "coin": coin.name,
            "ticker": coin.ticker(),
            "price": shown(world, call, &coin.name),
            "category": coin.category,
            "max_leverage": coin.leverage_max,
        }));
    }
    let mut body = json!({ "count": prices.len(), "prices": prices, "timestamp": iso(world.now_ms) });
    if let (Some(object), false) = (body.as_object_mut(), unknown.is_empty()) {
        object.insert("not_found".into(), unknown.into());
    }
    Reply::json(200, body)
}

/// `GET /v1/markets/:coin`.
pub(super) fn one(world: &mut World, call: Call, name: &str) -> Reply {
    let Some(coin) = world.prices.resolve(name).cloned() else {
        let (coin, suggestion) = (name.to_uppercase(), "GET /v1/markets for all available");
        return Reply::json(
            404,
            json!({ "error": "market_not_found", "coin": coin, "suggestion": suggestion }),
        );
    };
    let examples: Vec<Value> = [100, 1_000, 10_000]
        .into_iter()
        .map(|size| {
            let [exchange, builder, total] = fees(size.into(), Tier::Free).map(number);
            json!({ "size_usd": size, "hlFee": exchange, "ourFee": builder, "totalFee": total })
        })
        .collect();
    let example = |side: &str| {
        let (coin, leverage) = (coin.ticker(), coin.leverage_max.min(5));
        format!(
            "POST /v1/trade/open {{ \"coin\": \"{coin}\", \"side\": \"{side}\", \"size_usd\": 1000, \"leverage\": \
             {leverage} }}"
        )
    };
    Reply::json(
        200,
        json!({
            "coin": coin.name,
            "ticker": coin.ticker(),
            "price": shown(world, call, &coin.name),
            "max_leverage": coin.leverage_max,
            "category": coin.category,
            "dex": coin.dex(),
            "fee_examples": examples,
            "trade_example": { "long": example("long"), "short": example("short") },
        }),
    )
}

/// `GET /v1/markets/:coin/price`: a price of the cache under the time of now.
pub(super) fn price(world: &mut World, call: Call, name: &str) -> Reply {
    let Some(coin) = world.prices.resolve(name).cloned() else {
        return Reply::json(404, json!({ "error": "no_price", "coin": name.to_uppercase() }));
    };
    let price = shown(world, call, &coin.name);
    let (name, ticker) = (coin.name.as_str(), ticker(&coin.name));
    Reply::json(200, json!({ "coin": name, "ticker": ticker, "price": price, "timestamp": world.now_ms }))
}

/// `GET /v1/markets/:coin/orderbook`: from the exchange, not from the cache. The paper market has one level a side.
pub(super) fn orderbook(world: &mut World, call: Call, name: &str) -> Reply {
    let Some(coin) = world.prices.resolve(name).cloned() else {
        return Reply::json(404, json!({ "error": "market_not_found", "coin": name.to_uppercase() }));
    };
    let quote = world.prices.quote(&coin.name);
    let (Some(bid), Some(ask)) = (quote.bid.or(quote.last), quote.ask.or(quote.last)) else {
        let message = format!("No order book available for {}", coin.name);
        return Reply::error(503, "orderbook_error", &message);
    };
    let mid = round(bid.checked_add(ask).unwrap_or_default() / Decimal::TWO, 8);
    let spread = round(ask.saturating_sub(bid), 8);
    let percent = spread.checked_div(mid).and_then(|share| share.checked_mul(Decimal::ONE_HUNDRED));
    let mid = match call.fault {
        Some(FleaFault::NanPrice) => NAN.into(),
        Some(FleaFault::NullPrice) => Value::Null,
        Some(FleaFault::FrozenPrice) => optional(world.price(&coin.name, call)),
        _ => number(mid),
    };
    Reply::json(
        200,
        json!({
            "coin": coin.name,
            "ticker": coin.ticker(),
            "mid_price": mid,
            "spread": number(spread),
            "spread_pct": number(round(percent.unwrap_or_default(), 8)),
            "bids": [level(&coin, bid)],
            "asks": [level(&coin, ask)],
            "timestamp": iso(world.now_ms),
        }),
    )
}

/// A level of the book: what a thousand dollars buy, since the ticks of a paper market say no size.
fn level(coin: &Coin, price: Decimal) -> Value {
    let size = Decimal::ONE_THOUSAND.checked_div(price).unwrap_or_default().round_dp(coin.digits);
    let notional = size.checked_mul(price).unwrap_or_default();
    json!({
        "price": number(price),
        "size": number(size),
        "total": number(size),
        "notional": number(round(notional, 2)),
    })
}
