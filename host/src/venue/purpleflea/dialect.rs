//! From an order to an instruction for this venue, or the reason why the venue has no such order.

use super::super::number::Exact;
use super::super::{ByteBody, Dialect, EncodeError, Operation, PlaceOrder, VenueProfile};
use super::instruction::Instruction;
use crate::market::{Instrument, PriceTicks};
use crate::orders::{OrderKind, Side, TimeInForce};
use rust_decimal::Decimal;

/// Writes the instructions of kind `purpleflea`.
#[derive(Clone, Debug)]
pub struct PurpleFleaDialect {
    profile: VenueProfile,
    leverage: u32,
}

impl PurpleFleaDialect {
    /// A dialect for a venue with this contract; every order has this leverage.
    pub fn new(profile: VenueProfile, leverage: u32) -> Self {
        Self { profile, leverage }
    }

    fn place(&self, order: &PlaceOrder) -> Result<Instruction, EncodeError> {
        let refuse = |what| Err(unsupported(order.instrument, what));
        if order.quantity.0 <= 0 {
            return Err(number(order.instrument, "the quantity"));
        }
        if order.instrument.multiplier != Decimal::ONE {
            return refuse("contract with a multiplier, because its sizes are dollars of the coin itself");
        }
        if order.options.post_only {
            return refuse("post-only order, because it executes every order as one that takes");
        }
        match (order.options.reduce_only, order.kind, order.tif) {
            (_, OrderKind::StopLimit { .. }, _) => {
                refuse("stop-limit order; use a stop, which closes at the market")
            }
            (_, OrderKind::Market, TimeInForce::Fok | TimeInForce::Gtd(_)) => refuse(
                "market order that is all or nothing or has a date, because it fills what it can at once",
            ),
            (_, OrderKind::Limit(_) | OrderKind::Stop(_), tif) if tif != TimeInForce::Gtc => {
                refuse("limit or stop order with an end, because one rests there until it is cancelled")
            }
            (false, OrderKind::Stop(_), _) => {
                refuse("stop order that could open a position; mark it reduce-only")
            }
            (false, OrderKind::Market, _) => self.open(order),
            (false, OrderKind::Limit(limit), _) => self.limit(order, limit),
            (true, kind, _) => reduce(order, kind),
        }
    }

    fn open(&self, order: &PlaceOrder) -> Result<Instruction, EncodeError> {
        let reference = order.reference.filter(|price| price.0 > 0).ok_or_else(|| no_price(order))?;
        Ok(Instruction::Open {
            coin: order.instrument.symbol.clone(),
            side: order.side,
            lots: order.quantity,
            size_usd: size_usd(order, reference)?,
            leverage: self.leverage,
        })
    }

    fn limit(&self, order: &PlaceOrder, limit: PriceTicks) -> Result<Instruction, EncodeError> {
        Ok(Instruction::Limit {
            coin: order.instrument.symbol.clone(),
            side: order.side,
            lots: order.quantity,
            size_usd: size_usd(order, limit)?,
            limit_price: price(order.instrument, limit, "the limit price")?,
            leverage: self.leverage,
        })
    }
}

impl Dialect for PurpleFleaDialect {
    fn profile(&self) -> &VenueProfile {
        &self.profile
    }

    fn closes_whole(&self) -> bool {
        true
    }

    fn encode(&self, operation: &Operation) -> Result<ByteBody, EncodeError> {
        let (instruction, symbol) = match operation {
            Operation::Place { order, .. } => (self.place(order)?, order.instrument.symbol.clone()),
            Operation::Amend { instrument, .. } => {
                return Err(unsupported(instrument, "change of an order; cancel it and place another"));
            }
            Operation::Cancel { target, venue_id, .. } => {
                let symbol = format!("order {target}");
                let Some(order_id) = venue_id.filter(|id| is_order_id(id)).map(str::to_owned) else {
                    let what =
                        "cancel of an order to which it has given no id, as of a stop-loss or take-profit";
                    return Err(EncodeError::Unsupported { symbol, what });
                };
                (Instruction::CancelLimit { order_id }, symbol)
            }
        };
        let body = serde_json::to_vec(&instruction);
        body.map(ByteBody).map_err(|_| EncodeError::Number { symbol, what: "the order" })
    }
}

/// An id that can stand in a path as it is.
fn is_order_id(id: &str) -> bool {
    let harmless = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    (1..=64).contains(&id.len()) && id.bytes().all(harmless)
}

/// An order that may only reduce. The venue closes a coin as a whole, whatever size was meant.
fn reduce(order: &PlaceOrder, kind: OrderKind) -> Result<Instruction, EncodeError> {
    let instrument = order.instrument;
    if order.held.is_zero() || order.held.0.is_positive() == (order.side == Side::Buy) {
        return Err(unsupported(instrument, "reduce-only order where there is no position to reduce"));
    }
    if order.held.abs() != order.quantity {
        let what = "reduce-only order for a part of the position, because its close takes the whole coin; order \
                    exactly what is held";
        return Err(unsupported(instrument, what));
    }
    let (coin, side, lots) = (instrument.symbol.clone(), order.side, order.quantity);
    let reference = order.reference.filter(|price| price.0 > 0);
    // For a long position, which is sold, the losing direction is down.
    let loses = |trigger: PriceTicks, market: PriceTicks| match side {
        Side::Sell => trigger < market,
        Side::Buy => trigger > market,
    };
    match kind {
        OrderKind::Stop(trigger) => {
            if !loses(trigger, reference.ok_or_else(|| no_price(order))?) {
                let what = "stop that the price has reached already; use a market order";
                return Err(unsupported(instrument, what));
            }
            let trigger_price = price(instrument, trigger, "the stop price")?;
            Ok(Instruction::StopLoss { coin, side, lots, trigger_price })
        }
        OrderKind::Limit(limit) => {
            let market = reference.ok_or_else(|| no_price(order))?;
            if loses(limit, market) || limit == market {
                let what = "reduce-only limit that the price has reached already; use a market order";
                return Err(unsupported(instrument, what));
            }
            let trigger_price = price(instrument, limit, "the limit price")?;
            Ok(Instruction::TakeProfit { coin, side, lots, trigger_price })
        }
        OrderKind::Market | OrderKind::StopLimit { .. } => {
            Ok(Instruction::Close { coin, side, lots, reference })
        }
    }
}

/// The venue reads numbers as floats, which tell cents apart up to here.
const DOLLARS_MAX: u64 = 90_000_000_000_000;

fn size_usd(order: &PlaceOrder, at: PriceTicks) -> Result<Exact, EncodeError> {
    let value = order.instrument.notional(at, order.quantity).map(|value| value.decimal());
    value
        .filter(|dollars| *dollars <= DOLLARS_MAX.into())
        .map(Exact)
        .ok_or_else(|| number(order.instrument, "the size in dollars"))
}

fn price(instrument: &Instrument, ticks: PriceTicks, what: &'static str) -> Result<Exact, EncodeError> {
    let price = instrument.price(ticks).filter(|_| ticks.0 > 0);
    price.map(Exact).ok_or_else(|| number(instrument, what))
}

fn no_price(order: &PlaceOrder) -> EncodeError {
    unsupported(order.instrument, "order before the first price, because it is sized or judged by one")
}

fn number(instrument: &Instrument, what: &'static str) -> EncodeError {
    EncodeError::Number { symbol: instrument.symbol.clone(), what }
}

fn unsupported(instrument: &Instrument, what: &'static str) -> EncodeError {
    EncodeError::Unsupported { symbol: instrument.symbol.clone(), what }
}

#[cfg(test)]
mod tests {
    use super::super::PurpleFleaConfig;
    use super::*;
    use crate::market::{InstrumentId, Lots, UnixNanos};
    use crate::orders::OrderOptions;
    use crate::venue::KeySource;
    use crate::venue::tests::{instruments, key};

    fn dialect() -> PurpleFleaDialect {
        let config = PurpleFleaConfig::new(KeySource::Env("KEY".into()));
        PurpleFleaDialect::new(config.profile("flea"), 3)
    }

    /// The journaled bytes and the request of an order of 15 lots (0.015) of `BTC`, whose ticks are 0.5.
    fn encode(change: impl FnOnce(&mut PlaceOrder)) -> Result<[String; 2], String> {
        let instruments = instruments();
        let mut order = PlaceOrder {
            instrument: instruments.get(InstrumentId(1)).unwrap(),
            side: Side::Buy,
            quantity: Lots(15),
            kind: OrderKind::Market,
            tif: TimeInForce::Gtc,
            options: OrderOptions::default(),
            reference: Some(PriceTicks(120_001)),
            held: Lots(0),
        };
        change(&mut order);
        let body = dialect().encode(&Operation::Place { key: key(1), order });
        let body = body.map_err(|error| error.to_string())?.0;
        let wire = Instruction::decode(&body).unwrap().wire("pos_1", Exact(Decimal::new(90_015, 2)));
        let wire = format!("{} {} {}", wire.method, wire.path, wire.body);
        Ok([String::from_utf8(body).unwrap(), wire])
    }

    fn closing(order: &mut PlaceOrder, kind: OrderKind) {
        order.options.reduce_only = true;
        order.side = Side::Sell;
        order.held = Lots(15);
        order.kind = kind;
    }

    #[test]
    fn the_bytes_of_every_order_are_frozen() {
        // A change of the first text of a pair makes a journaled order unreadable after an upgrade.
        assert_eq!(
            encode(|_| ()).unwrap(),
            [
                r#"{"do":"open","coin":"BTC","side":"buy","lots":15,"size_usd":"900.0075","leverage":3}"#,
                r#"POST /v1/trade/open {"coin":"BTC","side":"long","size_usd":900.15,"leverage":3}"#,
            ]
        );
        assert_eq!(
            encode(|order| (order.kind, order.side) = (OrderKind::Limit(PriceTicks(110_001)), Side::Sell))
                .unwrap(),
            [
                concat!(
                    r#"{"do":"limit","coin":"BTC","side":"sell","lots":15,"size_usd":"825.0075","#,
                    r#""limit_price":"55000.5","leverage":3}"#
                ),
                concat!(
                    r#"POST /v1/trade/limit {"coin":"BTC","side":"short","size_usd":825.0075,"#,
                    r#""limit_price":55000.5,"leverage":3}"#
                ),
            ]
        );
        assert_eq!(
            encode(|order| closing(order, OrderKind::Market)).unwrap(),
            [
                r#"{"do":"close","coin":"BTC","side":"sell","lots":15,"reference":120001}"#,
                r#"POST /v1/trade/close {"position_id":"pos_1"}"#,
            ]
        );
        assert_eq!(
            encode(|order| closing(order, OrderKind::Stop(PriceTicks(119_999)))).unwrap(),
            [
                r#"{"do":"stop-loss","coin":"BTC","side":"sell","lots":15,"trigger_price":"59999.5"}"#,
                r#"POST /v1/trade/stop-loss {"position_id":"pos_1","trigger_price":59999.5}"#,
            ]
        );
        assert_eq!(
            encode(|order| closing(order, OrderKind::Limit(PriceTicks(130_000)))).unwrap(),
            [
                r#"{"do":"take-profit","coin":"BTC","side":"sell","lots":15,"trigger_price":"65000"}"#,
                r#"POST /v1/trade/take-profit {"position_id":"pos_1","trigger_price":65000}"#,
            ]
        );
    }

    #[test]
    fn a_cancel_names_the_venues_own_id_and_nothing_that_could_be_another_path() {
        let cancel =
            |venue_id| dialect().encode(&Operation::Cancel { key: key(2), target: key(1), venue_id });
        let body = cancel(Some("ord_0123456789abcdef")).unwrap().0;
        assert_eq!(body, br#"{"do":"cancel-limit","order_id":"ord_0123456789abcdef"}"#);
        let wire = Instruction::decode(&body).unwrap().wire("", Exact::default());
        assert_eq!((wire.method.as_str(), wire.body.as_str()), ("DELETE", ""));
        assert_eq!(wire.path, "/v1/trade/limit-orders/ord_0123456789abcdef");
        for venue_id in [None, Some(""), Some("../open"), Some("stop-loss:pos_1"), Some("a b"), Some("a?b")] {
            assert!(cancel(venue_id).is_err(), "{venue_id:?}");
        }
    }

    #[test]
    fn what_the_venue_cannot_do_is_refused_in_words() {
        let limit = OrderKind::Limit(PriceTicks(100_000));
        type Change = Box<dyn Fn(&mut PlaceOrder)>;
        let cases: [(Change, &str); 16] = [
            (Box::new(|order| order.reference = None), "before the first price"),
            (Box::new(|order| order.quantity = Lots(0)), "the quantity"),
            (Box::new(|order| order.quantity = Lots(i64::MAX)), "the size in dollars"),
            (Box::new(|order| order.options.post_only = true), "post-only"),
            (Box::new(|order| order.tif = TimeInForce::Fok), "all or nothing"),
            (Box::new(|order| order.tif = TimeInForce::Gtd(UnixNanos(1))), "has a date"),
            (Box::new(move |order| (order.kind, order.tif) = (limit, TimeInForce::Ioc)), "with an end"),
            (Box::new(|order| order.kind = OrderKind::Stop(PriceTicks(1))), "reduce-only"),
            (
                Box::new(|order| {
                    order.kind = OrderKind::StopLimit { trigger: PriceTicks(1), limit: PriceTicks(1) };
                }),
                "stop-limit",
            ),
            (Box::new(|order| order.options.reduce_only = true), "no position to reduce"),
            (Box::new(|order| (closing(order, OrderKind::Market), order.held = Lots(16)).0), "whole coin"),
            (Box::new(|order| (closing(order, OrderKind::Market), order.held = Lots(-15)).0), "no position"),
            (Box::new(|order| closing(order, OrderKind::Stop(PriceTicks(120_001)))), "reached already"),
            (Box::new(|order| closing(order, OrderKind::Limit(PriceTicks(120_001)))), "reached already"),
            (Box::new(|order| closing(order, OrderKind::Limit(PriceTicks(119_999)))), "reached already"),
            (
                Box::new(|order| {
                    closing(order, OrderKind::Stop(PriceTicks(1)));
                    order.reference = None;
                }),
                "before the first price",
            ),
        ];
        for (change, words) in cases {
            let error = encode(change).unwrap_err();
            assert!(error.contains(words), "{words}: {error}");
        }
        let instruments = instruments();
        let instrument = instruments.get(InstrumentId(1)).unwrap();
        let amend = Operation::Amend {
            key: key(2),
            target: key(1),
            venue_id: None,
            instrument,
            quantity: Lots(1),
            limit: None,
        };
        assert!(dialect().encode(&amend).unwrap_err().to_string().contains("cancel it and place another"));
    }

    #[test]
    fn a_short_position_is_mirrored() {
        let short = |order: &mut PlaceOrder, kind| {
            closing(order, kind);
            (order.side, order.held) = (Side::Buy, Lots(-15));
        };
        assert!(encode(|order| short(order, OrderKind::Market)).unwrap()[0].contains("close"));
        assert!(encode(|order| short(order, OrderKind::Stop(PriceTicks(130_000)))).is_ok());
        assert!(encode(|order| short(order, OrderKind::Stop(PriceTicks(110_000)))).is_err());
        assert!(encode(|order| short(order, OrderKind::Limit(PriceTicks(110_000)))).is_ok());
        assert!(encode(|order| short(order, OrderKind::Limit(PriceTicks(130_000)))).is_err());
    }
}
