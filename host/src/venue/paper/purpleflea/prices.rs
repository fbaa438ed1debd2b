//! The coins, their market, and the server's cache of their prices.

use super::super::market::{Market, MarketError, MarketTick, Quote};
use super::config::{FleaConfig, size_digits};
use super::faults::FleaFault;
use crate::market::InstrumentKind;
use rust_decimal::Decimal;
use std::collections::BTreeMap;

/// One coin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Coin {
    pub(super) name: String,
    pub(super) category: &'static str,
    /// Digits that sizes are rounded to.
    pub(super) digits: u32,
    pub(super) leverage_max: u32,
}

impl Coin {
    /// The name without its exchange.
    pub(super) fn ticker(&self) -> &str {
        ticker(&self.name)
    }

    pub(super) fn dex(&self) -> &'static str {
        if self.name.starts_with("xyz:") { "xyz" } else { "main" }
    }
}

/// A coin's name without its exchange.
pub(super) fn ticker(name: &str) -> &str {
    name.strip_prefix("xyz:").unwrap_or(name)
}

#[derive(Debug)]
struct Cache {
    at_ms: u64,
    mids: BTreeMap<String, Decimal>,
}

/// What the server knows of the market. It has the prices of all coins from one call and believes them for a while, so
/// a coin may be without a price although it has one by now.
#[derive(Debug)]
pub(super) struct Prices {
    market: Market,
    coins: Vec<Coin>,
    cache: Option<Cache>,
    cache_ms: u64,
}

impl Prices {
    pub(super) fn new(config: &FleaConfig) -> Self {
        let coins = config.instruments.iter().map(|instrument| Coin {
            name: instrument.symbol.clone(),
            category: match instrument.kind {
                InstrumentKind::Equity => "stocks",
                InstrumentKind::Index => "indices",
                InstrumentKind::Other => "commodities",
                _ => "crypto",
            },
            digits: size_digits(instrument).unwrap_or_default(),
            leverage_max: config.market_leverage_max,
        });
        Self {
            market: Market::new(&config.instruments),
            coins: coins.collect(),
            cache: None,
            cache_ms: config.price_cache_ms,
        }
    }

    /// Takes ticks in order, all or none.
    pub(super) fn push(&mut self, ticks: &[MarketTick]) -> Result<(), MarketError> {
        self.market.check(ticks)?;
        ticks.iter().for_each(|tick| self.market.apply(tick));
        Ok(())
    }

    pub(super) fn coins(&self) -> &[Coin] {
        &self.coins
    }

    /// The coin that a name in any case means, with or without its exchange.
    pub(super) fn resolve(&self, name: &str) -> Option<&Coin> {
        let upper = name.to_uppercase();
        let named = |wanted: &str| self.coins.iter().find(|coin| coin.name.to_uppercase() == wanted);
        let bare = upper.strip_prefix("XYZ:").unwrap_or(&upper);
        named(&upper).or_else(|| named(&format!("XYZ:{upper}"))).or_else(|| named(bare))
    }

    /// What a coin trades at now.
    pub(super) fn quote(&self, coin: &str) -> Quote {
        self.market.quote(coin)
    }

    /// What the server takes for the price of a coin.
    pub(super) fn cached(&mut self, coin: &str, now_ms: u64, fault: Option<FleaFault>) -> Option<Decimal> {
        if matches!(fault, Some(FleaFault::NullPrice | FleaFault::NanPrice)) {
            return None;
        }
        let frozen = fault == Some(FleaFault::FrozenPrice);
        let fresh = |cache: &Cache| frozen || now_ms.saturating_sub(cache.at_ms) < self.cache_ms;
        if !self.cache.as_ref().is_some_and(fresh) {
            let mids = self.market.quotes().filter_map(|(name, quote)| Some((name.to_owned(), mid(quote)?)));
            self.cache = Some(Cache { at_ms: now_ms, mids: mids.collect() });
        }
        self.cache.as_ref()?.mids.get(coin).copied()
    }
}

/// The middle of the quote, or the last trade where there is no quote.
fn mid(quote: &Quote) -> Option<Decimal> {
    match (quote.bid, quote.ask) {
        (Some(bid), Some(ask)) => bid.checked_add(ask).map(|sum| super::wire::round(sum / Decimal::TWO, 8)),
        _ => quote.mark(),
    }
}
