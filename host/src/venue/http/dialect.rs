//! The request bodies of kind `http`. The bytes of an intent never change, so the field order is part of the code.

use super::super::number::Exact;
use super::super::{ByteBody, Dialect, EncodeError, Operation, PlaceOrder, VenueProfile};
use crate::market::{Instrument, Lots, PriceTicks};
use crate::orders::{IntentKey, OrderKind, TimeInForce};
use serde::Serialize;

/// Writes the bodies of kind `http`.
#[derive(Clone, Debug)]
pub struct HttpDialect {
    profile: VenueProfile,
}

impl HttpDialect {
    /// A dialect for a venue with this contract.
    pub fn new(profile: VenueProfile) -> Self {
        Self { profile }
    }
}

#[derive(Serialize)]
struct PlaceBody<'a> {
    client_id: IntentKey,
    symbol: &'a str,
    side: &'static str,
    r#type: &'static str,
    quantity: Exact,
    #[serde(skip_serializing_if = "Option::is_none")]
    limit_price: Option<Exact>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stop_price: Option<Exact>,
    time_in_force: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at_ns: Option<u64>,
    post_only: bool,
    reduce_only: bool,
}

#[derive(Serialize)]
struct AmendBody {
    quantity: Exact,
    #[serde(skip_serializing_if = "Option::is_none")]
    limit_price: Option<Exact>,
}

impl Dialect for HttpDialect {
    fn profile(&self) -> &VenueProfile {
        &self.profile
    }

    fn encode(&self, operation: &Operation) -> Result<ByteBody, EncodeError> {
        match operation {
            Operation::Place { key, order } => place(*key, order),
            Operation::Cancel { .. } => Ok(ByteBody(Vec::new())),
            Operation::Amend { instrument, quantity, limit, .. } => json(
                instrument,
                &AmendBody {
                    quantity: units(instrument, *quantity)?,
                    limit_price: limit
                        .map(|limit| price(instrument, limit, "the limit price"))
                        .transpose()?,
                },
            ),
        }
    }
}

fn place(key: IntentKey, order: &PlaceOrder) -> Result<ByteBody, EncodeError> {
    let instrument = order.instrument;
    let limit = |ticks| price(instrument, ticks, "the limit price").map(Some);
    let stop = |ticks| price(instrument, ticks, "the stop price").map(Some);
    let (kind, limit_price, stop_price) = match order.kind {
        OrderKind::Market => ("market", None, None),
        OrderKind::Limit(ticks) => ("limit", limit(ticks)?, None),
        OrderKind::Stop(ticks) => ("stop", None, stop(ticks)?),
        OrderKind::StopLimit { trigger, limit: ticks } => ("stop-limit", limit(ticks)?, stop(trigger)?),
    };
    let (time_in_force, expires_at_ns) = match order.tif {
        TimeInForce::Gtc => ("gtc", None),
        TimeInForce::Ioc => ("ioc", None),
        TimeInForce::Fok => ("fok", None),
        TimeInForce::Day => ("day", None),
        TimeInForce::Gtd(at) => ("gtd", Some(at.0)),
    };
    let body = PlaceBody {
        client_id: key,
        symbol: &instrument.symbol,
        side: order.side.name(),
        r#type: kind,
        quantity: units(instrument, order.quantity)?,
        limit_price,
        stop_price,
        time_in_force,
        expires_at_ns,
        post_only: order.options.post_only,
        reduce_only: order.options.reduce_only,
    };
    json(instrument, &body)
}

fn units(instrument: &Instrument, lots: Lots) -> Result<Exact, EncodeError> {
    let units = instrument.quantity(lots).filter(|_| lots.0 > 0);
    units.map(Exact).ok_or_else(|| number(instrument, "the quantity"))
}

fn price(instrument: &Instrument, ticks: PriceTicks, what: &'static str) -> Result<Exact, EncodeError> {
    instrument.price(ticks).map(Exact).ok_or_else(|| number(instrument, what))
}

fn number(instrument: &Instrument, what: &'static str) -> EncodeError {
    EncodeError::Number { symbol: instrument.symbol.clone(), what }
}

fn json(instrument: &Instrument, body: &impl Serialize) -> Result<ByteBody, EncodeError> {
    serde_json::to_vec(body).map(ByteBody).map_err(|_| number(instrument, "the order"))
}

#[cfg(test)]
mod tests {
    use super::super::HttpVenueConfig;
    use super::*;
    use crate::market::UnixNanos;
    use crate::orders::{OrderOptions, Side};
    use crate::venue::tests::{instruments, key};

    fn encode(operation: &Operation) -> Result<String, EncodeError> {
        let dialect = HttpDialect::new(HttpVenueConfig::default().profile());
        dialect.encode(operation).map(|body| String::from_utf8(body.0).unwrap())
    }

    #[test]
    fn the_bytes_of_an_order_are_frozen() {
        // A change of this text makes a request that is sent again after an upgrade another request.
        let instruments = instruments();
        let (_, instrument) = instruments.iter().next().unwrap();
        let order = PlaceOrder {
            instrument,
            side: Side::Sell,
            quantity: Lots(15),
            kind: OrderKind::StopLimit { trigger: PriceTicks(10_050), limit: PriceTicks(10_000) },
            tif: TimeInForce::Gtd(UnixNanos(7)),
            options: OrderOptions { post_only: false, reduce_only: true },
            reference: None,
            held: Lots(0),
        };
        let text = encode(&Operation::Place { key: key(1), order: order.clone() }).unwrap();
        let expected = format!(
            concat!(
                r#"{{"client_id":"{}","symbol":"SPX","side":"sell","type":"stop-limit","quantity":"1.5","#,
                r#""limit_price":"100","stop_price":"100.5","time_in_force":"gtd","expires_at_ns":7,"#,
                r#""post_only":false,"reduce_only":true}}"#
            ),
            key(1)
        );
        assert_eq!(text, expected);
        let market = PlaceOrder { kind: OrderKind::Market, tif: TimeInForce::Gtc, ..order };
        let text = encode(&Operation::Place { key: key(1), order: market }).unwrap();
        assert!(!text.contains("price") && !text.contains("expires"), "{text}");
    }

    #[test]
    fn an_amendment_names_only_what_changes_and_a_cancel_has_no_body() {
        let instruments = instruments();
        let (_, instrument) = instruments.iter().next().unwrap();
        let amend = |limit| Operation::Amend {
            key: key(2),
            target: key(1),
            venue_id: None,
            instrument,
            quantity: Lots(20),
            limit,
        };
        assert_eq!(encode(&amend(None)).unwrap(), r#"{"quantity":"2"}"#);
        let text = encode(&amend(Some(PriceTicks(9_925)))).unwrap();
        assert_eq!(text, r#"{"quantity":"2","limit_price":"99.25"}"#);
        assert_eq!(encode(&Operation::Cancel { key: key(3), target: key(1), venue_id: None }).unwrap(), "");
    }

    #[test]
    fn an_order_for_nothing_is_not_written() {
        let instruments = instruments();
        let (_, instrument) = instruments.iter().next().unwrap();
        let amend = Operation::Amend {
            key: key(2),
            target: key(1),
            venue_id: None,
            instrument,
            quantity: Lots(0),
            limit: None,
        };
        assert!(matches!(encode(&amend), Err(EncodeError::Number { what: "the quantity", .. })));
    }
}
