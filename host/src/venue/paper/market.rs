//! What the venue knows of the market: the last tick of each instrument.

use super::super::number::Exact;
use super::order::Side;
use crate::market::{Instrument, UnixNanos};
use crate::resilience::{Class, Classified};
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use thiserror::Error;

/// One market update for the paper venue. What it leaves out stays as it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MarketTick {
    /// Which instrument.
    pub symbol: String,
    /// When it happened.
    pub at: UnixNanos,
    /// Price of the last trade.
    pub last: Option<Decimal>,
    /// Best bid.
    pub bid: Option<Decimal>,
    /// Best ask.
    pub ask: Option<Decimal>,
}

/// A [`MarketTick`] in JSON.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire {
    symbol: String,
    at_ns: u64,
    #[serde(default)]
    last: Option<Exact>,
    #[serde(default)]
    bid: Option<Exact>,
    #[serde(default)]
    ask: Option<Exact>,
}

impl Serialize for MarketTick {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let exact = |price: Option<Decimal>| price.map(Exact);
        Wire {
            symbol: self.symbol.clone(),
            at_ns: self.at.0,
            last: exact(self.last),
            bid: exact(self.bid),
            ask: exact(self.ask),
        }
        .serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for MarketTick {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Wire { symbol, at_ns, last, bid, ask } = Wire::deserialize(deserializer)?;
        let price = |exact: Option<Exact>| exact.map(|exact| exact.0);
        Ok(Self { symbol, at: UnixNanos(at_ns), last: price(last), bid: price(bid), ask: price(ask) })
    }
}

/// Why a list of ticks was not taken. None of it was.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum MarketError {
    /// The venue does not trade it.
    #[error("tick {index}: the paper venue has no instrument {symbol}")]
    UnknownSymbol {
        /// Position in the list.
        index: usize,
        /// The symbol found.
        symbol: String,
    },
    /// A price that cannot be.
    #[error("tick {index}: {symbol} at {price} is not a positive multiple of {tick_size}")]
    Price {
        /// Position in the list.
        index: usize,
        /// Which instrument.
        symbol: String,
        /// The price found.
        price: Decimal,
        /// The instrument's price step.
        tick_size: Decimal,
    },
    /// No price at all.
    #[error("tick {index}: {symbol} has neither last, bid nor ask")]
    Empty {
        /// Position in the list.
        index: usize,
        /// Which instrument.
        symbol: String,
    },
}

impl Classified for MarketError {
    fn class(&self) -> Class {
        Class::Data
    }

    fn code(&self) -> &'static str {
        match self {
            Self::UnknownSymbol { .. } => "unknown_symbol",
            Self::Price { .. } => "bad_price",
            Self::Empty { .. } => "empty_tick",
        }
    }
}

/// The last that is known of one instrument.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Quote {
    pub(super) last: Option<Decimal>,
    pub(super) bid: Option<Decimal>,
    pub(super) ask: Option<Decimal>,
    pub(super) at: UnixNanos,
    pub(super) sequence: u64,
}

impl Quote {
    /// What a taker pays or gets: the other side of the quote, or the last trade where there is no quote.
    pub(super) fn touch(&self, side: Side) -> Option<Decimal> {
        match side {
            Side::Buy => self.ask.or(self.last),
            Side::Sell => self.bid.or(self.last),
        }
    }

    /// What a stop watches: the last trade, or the side that it would take where there was none.
    pub(super) fn trigger(&self, side: Side) -> Option<Decimal> {
        self.last.or_else(|| self.touch(side))
    }

    /// What a position is worth: the last trade, or the worse side of the quote.
    pub(super) fn mark(&self) -> Option<Decimal> {
        self.last.or(self.bid).or(self.ask)
    }
}

/// The instruments and their last ticks.
#[derive(Debug)]
pub(super) struct Market {
    instruments: BTreeMap<String, Instrument>,
    quotes: BTreeMap<String, Quote>,
    clock: UnixNanos,
}

impl Market {
    pub(super) fn new(instruments: &[Instrument]) -> Self {
        let instruments = instruments.iter().map(|i| (i.symbol.clone(), i.clone())).collect();
        Self { instruments, quotes: BTreeMap::new(), clock: UnixNanos(0) }
    }

    pub(super) fn instrument(&self, symbol: &str) -> Option<&Instrument> {
        self.instruments.get(symbol)
    }

    pub(super) fn quote(&self, symbol: &str) -> Quote {
        self.quotes.get(symbol).copied().unwrap_or_default()
    }

    pub(super) fn quotes(&self) -> impl Iterator<Item = (&str, &Quote)> {
        self.quotes.iter().map(|(symbol, quote)| (symbol.as_str(), quote))
    }

    /// The newest time that a tick has carried; the venue has no other clock.
    pub(super) fn clock(&self) -> UnixNanos {
        self.clock
    }

    pub(super) fn check(&self, ticks: &[MarketTick]) -> Result<(), MarketError> {
        for (index, tick) in ticks.iter().enumerate() {
            let symbol = || tick.symbol.clone();
            let instrument = self
                .instrument(&tick.symbol)
                .ok_or_else(|| MarketError::UnknownSymbol { index, symbol: symbol() })?;
            let tick_size = instrument.tick_size;
            let mut prices = [tick.last, tick.bid, tick.ask].into_iter().flatten().peekable();
            if prices.peek().is_none() {
                return Err(MarketError::Empty { index, symbol: symbol() });
            }
            if let Some(price) =
                prices.find(|price| *price <= Decimal::ZERO || !is_multiple(*price, tick_size))
            {
                return Err(MarketError::Price { index, symbol: symbol(), price, tick_size });
            }
        }
        Ok(())
    }

    pub(super) fn apply(&mut self, tick: &MarketTick) {
        self.clock = self.clock.max(tick.at);
        let quote = self.quotes.entry(tick.symbol.clone()).or_default();
        *quote = Quote {
            last: tick.last.or(quote.last),
            bid: tick.bid.or(quote.bid),
            ask: tick.ask.or(quote.ask),
            at: tick.at,
            sequence: quote.sequence.saturating_add(1),
        };
    }
}

/// Whether a number is a whole multiple of a positive step.
pub(super) fn is_multiple(number: Decimal, step: Decimal) -> bool {
    number.checked_rem(step).is_some_and(|rest| rest.is_zero())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tick_changes_only_what_it_names() {
        let mut market = Market::new(&[]);
        let tick = |last: Option<i64>, bid: Option<i64>| MarketTick {
            symbol: "SPX".into(),
            at: UnixNanos(5),
            last: last.map(Decimal::from),
            bid: bid.map(Decimal::from),
            ask: None,
        };
        market.apply(&tick(Some(100), None));
        market.apply(&tick(None, Some(99)));
        let quote = market.quote("SPX");
        assert_eq!((quote.last, quote.bid, quote.sequence), (Some(100.into()), Some(99.into()), 2));
        assert_eq!(quote.touch(Side::Buy), Some(100.into()), "no ask: the last trade");
        assert_eq!(quote.touch(Side::Sell), Some(99.into()));
    }

    #[test]
    fn a_tick_is_written_and_read_alike() {
        let text = r#"{"symbol":"SPX","at_ns":5,"last":"100.25","bid":null,"ask":null}"#;
        let tick: MarketTick = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&tick).unwrap(), text);
        assert!(serde_json::from_str::<MarketTick>(r#"{"symbol":"SPX","at_ns":5,"last":100.25}"#).is_err());
    }
}
