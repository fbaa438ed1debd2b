//! Prices of this venue.
//!
//! The venue never says how old a price is: its cache is up to 30 seconds old and stamped with the time of the
//! question, and behind a book that stands still there may be an exchange that does not answer. So a price is
//! stamped when it is read, and one that has not moved for `price_frozen_s` keeps the stamp of then: no new tick
//! comes of it, the feed's age grows, and the agents do what their configuration says about old data.

use super::super::BoxFuture;
use super::super::feed::{PriceRow, PriceSource as Source};
use super::super::observation::Undecodable;
use super::client::PurpleFleaVenue;
use super::config::PriceSource;
use super::wire;
use crate::market::{Instrument, Instruments};
use crate::resilience::Failure;
use rust_decimal::{Decimal, RoundingStrategy};
use serde::Deserialize;
use serde_json::{Number, Value};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Coins in one question to the cache.
const COINS_MAX: usize = 20;

/// When each price moved last.
#[derive(Debug, Default)]
pub(super) struct Watch(Mutex<BTreeMap<String, Seen>>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Seen {
    price: [Value; 3],
    moved_ns: u64,
    /// What the last row was stamped with.
    stamp: (u64, u64),
}

/// Bid, ask and last price of a coin, as numbers or null.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Quote {
    bid: Option<Number>,
    ask: Option<Number>,
    last: Option<Number>,
}

#[derive(Deserialize)]
struct Level {
    price: Option<Number>,
}

#[derive(Deserialize)]
struct BookReply {
    mid_price: Option<Number>,
    bids: Vec<Level>,
    asks: Vec<Level>,
}

#[derive(Deserialize)]
struct MultiPriceReply {
    prices: Vec<CoinPrice>,
}

#[derive(Deserialize)]
struct CoinPrice {
    coin: String,
    ticker: Option<String>,
    price: Option<Number>,
}

impl Source for PurpleFleaVenue {
    fn instruments(&self) -> &Arc<Instruments> {
        &self.instruments
    }

    fn prices(&self) -> BoxFuture<'_, Result<Vec<PriceRow>, Failure>> {
        Box::pin(async move {
            let traded: Vec<&Instrument> =
                self.instruments.iter().map(|(_, found)| found).filter(|found| self.trades(found)).collect();
            let quotes = match self.config.price_source {
                PriceSource::Orderbook => self.books(&traded).await?,
                PriceSource::Cache => self.cached(&traded).await?,
            };
            let frozen_ns = self.config.price_frozen_s.saturating_mul(1_000_000_000);
            let now_ns = (self.clock)().0;
            let row = |(instrument, quote): (&Instrument, Quote)| {
                self.watch.row(instrument, &quote, now_ns, frozen_ns)
            };
            Ok(quotes.into_iter().map(row).collect())
        })
    }
}

impl PurpleFleaVenue {
    /// One coin after the other. One without a book has no price; only when none has is there no reply.
    async fn books<'a>(&self, traded: &[&'a Instrument]) -> Result<Vec<(&'a Instrument, Quote)>, Failure> {
        let mut quotes = Vec::new();
        let mut broken = None;
        for instrument in traded {
            let coin = path_segment(&instrument.symbol);
            match self.read(&format!("/v1/markets/{coin}/orderbook?depth=1"), book).await {
                Ok(quote) => quotes.push((*instrument, quote)),
                Err(failure) => {
                    broken = Some(failure);
                    quotes.push((*instrument, Quote::default()));
                }
            }
        }
        match broken {
            Some(failure) if quotes.iter().all(|(_, quote)| *quote == Quote::default()) => Err(failure),
            _ => Ok(quotes),
        }
    }

    async fn cached<'a>(&self, traded: &[&'a Instrument]) -> Result<Vec<(&'a Instrument, Quote)>, Failure> {
        let mut quotes = Vec::new();
        for coins in traded.chunks(COINS_MAX) {
            let names: Vec<String> = coins.iter().map(|coin| path_segment(&coin.symbol)).collect();
            let path = format!("/v1/markets/multi-price?coins={}", names.join(","));
            let reply = self.read(&path, multi_price).await?;
            for instrument in coins {
                let is = |name: &str| name.eq_ignore_ascii_case(&instrument.symbol);
                let row = reply.prices.iter().find(|row| is(&row.coin));
                let row =
                    row.or_else(|| reply.prices.iter().find(|row| row.ticker.as_deref().is_some_and(is)));
                let last = row.and_then(|row| row.price.clone());
                quotes.push((*instrument, Quote { last, ..Quote::default() }));
            }
        }
        Ok(quotes)
    }
}

impl Watch {
    /// A row of the feed. One that has stood still for too long repeats its last stamp.
    fn row(&self, instrument: &Instrument, quote: &Quote, now_ns: u64, frozen_ns: u64) -> PriceRow {
        // Away from the middle, so that nobody sees a better quote than there is.
        let bid = on_step(instrument, quote.bid.as_ref(), RoundingStrategy::ToNegativeInfinity);
        let ask = on_step(instrument, quote.ask.as_ref(), RoundingStrategy::ToPositiveInfinity);
        let last = on_step(instrument, quote.last.as_ref(), RoundingStrategy::MidpointAwayFromZero);
        let price = [bid, ask, last];
        let is_absent = price.iter().all(Value::is_null);
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let seen = all.entry(instrument.symbol.clone()).or_insert_with(|| Seen {
            price: price.clone(),
            moved_ns: now_ns,
            stamp: (0, 0),
        });
        // A book that is missing for a moment has not moved.
        if seen.price != price && !is_absent {
            (seen.price, seen.moved_ns) = (price.clone(), now_ns);
        }
        if is_absent || now_ns.saturating_sub(seen.moved_ns) < frozen_ns {
            seen.stamp = (seen.stamp.0.saturating_add(1), now_ns);
        }
        let (sequence, at_ns) = seen.stamp;
        drop(all);
        let [bid, ask, last] = price;
        PriceRow { symbol: instrument.symbol.clone(), sequence, at_ns, last, bid, ask }
    }
}

/// A price on a step of the instrument, as the feed reads it. What can be no price is passed on as it is, for
/// the feed to drop and count.
fn on_step(instrument: &Instrument, price: Option<&Number>, strategy: RoundingStrategy) -> Value {
    let Some(number) = price else { return Value::Null };
    let step = instrument.tick_size;
    let on_step = wire::decimal(number)
        .and_then(|price| price.checked_div(step))
        .and_then(|ticks| ticks.round_dp_with_strategy(0, strategy).checked_mul(step))
        .filter(|price| *price > Decimal::ZERO);
    on_step
        .map_or_else(|| Value::Number(number.clone()), |price| Value::String(price.normalize().to_string()))
}

fn book(body: &[u8]) -> Result<Quote, Undecodable> {
    let reply: BookReply = json(body)?;
    let best = |levels: Vec<Level>| levels.into_iter().next().and_then(|level| level.price);
    Ok(Quote { bid: best(reply.bids), ask: best(reply.asks), last: reply.mid_price })
}

fn multi_price(body: &[u8]) -> Result<MultiPriceReply, Undecodable> {
    json(body)
}

fn json<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, Undecodable> {
    serde_json::from_slice(body)
        .map_err(|error| Undecodable::new(format!("its body does not fit the contract ({error})")))
}

/// A symbol as a part of a path or a query, whatever is in it.
pub(super) fn path_segment(symbol: &str) -> String {
    let escape = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b':' => char::from(byte).to_string(),
        byte => format!("%{byte:02X}"),
    };
    symbol.bytes().map(escape).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::market::InstrumentId;
    use crate::venue::tests::instruments;
    use serde_json::json;

    const SECOND: u64 = 1_000_000_000;

    fn quote(last: &Value) -> Quote {
        Quote { last: last.as_number().cloned(), ..Quote::default() }
    }

    #[test]
    fn a_price_that_stands_still_for_too_long_gives_nothing_new() {
        let (watch, instruments) = (Watch::default(), instruments());
        let btc = instruments.get(InstrumentId(1)).unwrap();
        let stamp = |price: i64, at_s: u64| {
            let row = watch.row(btc, &quote(&json!(price)), at_s * SECOND, 60 * SECOND);
            (row.sequence, row.at_ns / SECOND)
        };
        assert_eq!(stamp(60_000, 100), (1, 100));
        assert_eq!(stamp(60_000, 159), (2, 159), "unchanged and not yet frozen");
        assert_eq!(stamp(60_000, 160), (2, 159), "frozen: nothing new");
        assert_eq!(stamp(60_000, 500), (2, 159));
        assert_eq!(stamp(60_001, 501), (3, 501), "it moves again");
    }

    #[test]
    fn quotes_are_put_on_a_step_away_from_the_middle() {
        let instruments = instruments();
        let btc = instruments.get(InstrumentId(1)).unwrap();
        let number = |value: Value| value.as_number().cloned();
        let quote =
            Quote { bid: number(json!(60000.7)), ask: number(json!(60000.8)), last: number(json!(60000.75)) };
        let row = Watch::default().row(btc, &quote, SECOND, SECOND);
        assert_eq!((row.bid, row.ask, row.last), (json!("60000.5"), json!("60001"), json!("60001")));
    }

    #[test]
    fn what_can_be_no_price_is_left_for_the_feed_to_drop() {
        let instruments = instruments();
        let btc = instruments.get(InstrumentId(1)).unwrap();
        for value in [json!(0), json!(-1), json!(1e308), json!(1e-300)] {
            let row = Watch::default().row(btc, &quote(&value), SECOND, SECOND);
            assert!(row.last.is_number(), "{value}: the feed takes prices in strings only");
        }
        assert_eq!(Watch::default().row(btc, &quote(&Value::Null), 1, 1).last, Value::Null);
    }

    #[test]
    fn a_symbol_cannot_leave_its_place_in_the_path() {
        assert_eq!(path_segment("xyz:TSLA"), "xyz:TSLA");
        assert_eq!(path_segment("../a?b#c d"), "..%2Fa%3Fb%23c%20d");
    }
}
