//! Prices polled from a venue.

use super::BoxFuture;
use super::number::Exact;
use crate::market::{Instrument, InstrumentId, Instruments, Marks, PriceTicks, Tick, UnixNanos};
use crate::resilience::{Class, Failure, Phase};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Interval, MissedTickBehavior};

/// Configuration of a polled price feed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PriceFeedConfig {
    /// Time between two polls; at least 1. Default 1,000: prices of venues with such an interface are rarely newer.
    pub interval_ms: u64,
}

impl Default for PriceFeedConfig {
    fn default() -> Self {
        Self { interval_ms: 1_000 }
    }
}

/// What one poll gave.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Prices {
    /// One tick for each instrument whose price is new.
    pub ticks: Vec<Tick>,
    /// One data failure for each row that cannot be true; it is dropped, the others are not.
    pub dropped: Vec<Failure>,
}

/// One row of a venue's prices, with the numbers as they came: one bad price must not hide the others.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct PriceRow {
    /// Which instrument.
    pub symbol: String,
    /// Number of the price, per instrument; the same price again has the same number and time.
    pub sequence: u64,
    /// When it was made, in nanoseconds since the epoch.
    pub at_ns: u64,
    /// Last price: a decimal in a string, or null.
    #[serde(default)]
    pub last: Value,
    /// Best bid, likewise.
    #[serde(default)]
    pub bid: Value,
    /// Best ask, likewise.
    #[serde(default)]
    pub ask: Value,
}

/// A venue that can be asked for its prices.
pub trait PriceSource: Send + Sync {
    /// The instruments that it converts for.
    fn instruments(&self) -> &Arc<Instruments>;

    /// The rows of the prices, unchecked.
    fn prices(&self) -> BoxFuture<'_, Result<Vec<PriceRow>, Failure>>;
}

/// Prices polled from a venue.
pub struct PriceFeed {
    venue: Arc<dyn PriceSource>,
    interval: Interval,
    changes: PriceChanges,
}

impl PriceFeed {
    /// A feed that polls from its first [`PriceFeed::next`] on.
    pub fn new(venue: Arc<dyn PriceSource>, config: PriceFeedConfig) -> Self {
        let mut interval = tokio::time::interval(Duration::from_millis(config.interval_ms.max(1)));
        // After a slow reply the next poll waits its full time; a burst would bring nothing new.
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let changes = PriceChanges::new(Arc::clone(venue.instruments()));
        Self { venue, interval, changes }
    }

    /// Waits until the next poll is due and does it. Can be cancelled at any time without losing a price.
    ///
    /// # Errors
    /// When there is no reply, or none that can be read.
    pub async fn next(&mut self) -> Result<Prices, Failure> {
        self.interval.tick().await;
        self.poll().await
    }

    /// Polls now.
    ///
    /// # Errors
    /// When there is no reply, or none that can be read.
    pub async fn poll(&mut self) -> Result<Prices, Failure> {
        let rows = self.venue.prices().await?;
        Ok(self.changes.take(rows))
    }
}

/// Finds what is new in the rows of a poll.
#[derive(Debug)]
struct PriceChanges {
    instruments: Arc<Instruments>,
    /// Number and time of the row seen last.
    seen: BTreeMap<InstrumentId, (u64, u64)>,
}

impl PriceChanges {
    fn new(instruments: Arc<Instruments>) -> Self {
        Self { instruments, seen: BTreeMap::new() }
    }

    fn take(&mut self, rows: Vec<PriceRow>) -> Prices {
        let mut prices = Prices::default();
        for row in rows {
            let Some(id) = self.instruments.find(&row.symbol) else { continue };
            let stamp = (row.sequence, row.at_ns);
            if self.seen.insert(id, stamp) == Some(stamp) {
                continue;
            }
            let Some(instrument) = self.instruments.get(id) else { continue };
            match tick(id, instrument, &row) {
                Ok(tick) => prices.ticks.push(tick),
                Err(failure) => prices.dropped.push(failure),
            }
        }
        prices
    }
}

fn tick(id: InstrumentId, instrument: &Instrument, row: &PriceRow) -> Result<Tick, Failure> {
    let price = |name: &'static str, value: &Value| price(instrument, name, value);
    let (last, bid, ask) = (price("last", &row.last)?, price("bid", &row.bid)?, price("ask", &row.ask)?);
    if last.or(bid).or(ask).is_none() {
        return Err(bad(instrument, "a row without any price".into()));
    }
    let mut marks = Marks::SNAPSHOT;
    if last.is_some() {
        marks = marks.with(Marks::TRADE);
    }
    if bid.or(ask).is_some() {
        marks = marks.with(Marks::QUOTE);
    }
    Ok(Tick {
        instrument: id,
        seq: row.sequence,
        event_time: UnixNanos(row.at_ns),
        bid_price: bid.unwrap_or_default(),
        ask_price: ask.unwrap_or_default(),
        last_price: last.unwrap_or_default(),
        marks,
        ..Tick::default()
    })
}

fn price(instrument: &Instrument, name: &str, value: &Value) -> Result<Option<PriceTicks>, Failure> {
    let text = match value {
        Value::Null => return Ok(None),
        Value::String(text) => text,
        other => return Err(bad(instrument, format!("{name} {}", other.to_string().escape_default()))),
    };
    let shown = || format!("{name} \"{}\"", text.chars().take(64).collect::<String>().escape_default());
    let exact = Exact::parse(text).ok_or_else(|| bad(instrument, shown()))?;
    match instrument.price_ticks(exact.0) {
        Ok(ticks) if ticks.0 > 0 => Ok(Some(ticks)),
        // Zero means absent in a tick; a venue that says it means a price that cannot be.
        Ok(_) | Err(_) => Err(bad(instrument, shown())),
    }
}

fn bad(instrument: &Instrument, found: String) -> Failure {
    let message = format!(
        "prices of {}: expected positive multiples of {} in strings, found {found}; the row was dropped",
        instrument.symbol, instrument.tick_size
    );
    Failure::new(Class::Data, "bad_price", Phase::Done, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::venue::tests::instruments;
    use serde_json::json;

    fn row(sequence: u64, at_ns: u64, last: Value) -> PriceRow {
        serde_json::from_value(json!({"symbol": "SPX", "sequence": sequence, "at_ns": at_ns, "last": last}))
            .unwrap()
    }

    #[test]
    fn only_what_is_new_becomes_a_tick() {
        let mut changes = PriceChanges::new(Arc::new(instruments()));
        let first = changes.take(vec![row(1, 10, json!("100.25"))]);
        assert_eq!(first.ticks[0].last_price, PriceTicks(10_025));
        assert_eq!(first.ticks[0].marks, Marks::TRADE.with(Marks::SNAPSHOT));
        assert_eq!(changes.take(vec![row(1, 10, json!("100.25"))]), Prices::default());
        assert_eq!(changes.take(vec![row(2, 10, json!("100.25"))]).ticks.len(), 1, "same time, next number");
        assert_eq!(
            changes.take(vec![row(1, 5, json!("100"))]).ticks.len(),
            1,
            "backward data is for the checks"
        );
    }

    #[test]
    fn a_price_that_cannot_be_drops_its_row_and_no_other() {
        let odd = [
            json!("NaN"),
            json!("0"),
            json!("-1"),
            json!("1e308"),
            json!("100.001"),
            json!(""),
            json!(100.25),
            json!(true),
            json!("\u{1b}[2J"),
            Value::Null,
        ];
        for value in odd {
            let mut changes = PriceChanges::new(Arc::new(instruments()));
            let mut good = row(1, 10, json!("5000"));
            good.symbol = "BTC".into();
            let prices = changes.take(vec![row(1, 10, value.clone()), good]);
            assert_eq!((prices.ticks.len(), prices.dropped.len()), (1, 1), "{value}");
            let failure = &prices.dropped[0];
            assert_eq!((failure.class, failure.code.as_ref()), (Class::Data, "bad_price"));
            assert!(failure.message.chars().all(|c| !c.is_control()), "{failure}");
        }
    }
}
