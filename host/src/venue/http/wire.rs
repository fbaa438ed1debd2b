//! The replies of kind `http`, and what they mean in the steps of our instruments.

use super::super::feed::PriceRow;
use super::super::number::Exact;
use super::super::observation::{Undecodable, excerpt};
use super::super::{OrderChange, OrderUpdate, UpdatesPage, VenuePosition};
use super::client::AccountState;
use crate::market::{Instrument, Instruments, Lots, Money, PriceTicks};
use crate::orders::IntentKey;
use serde::Deserialize;

#[derive(Deserialize)]
struct OrderReply {
    updates: Vec<Update>,
}

#[derive(Deserialize)]
struct PageReply {
    updates: Vec<Update>,
    through: u64,
    more: bool,
}

#[derive(Deserialize)]
struct Update {
    sequence: u64,
    client_id: String,
    symbol: String,
    change: Change,
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
enum Change {
    Accepted,
    Filled { quantity: Exact, price: Exact, leaves: Exact, fee: Exact, maker: bool },
    Amended { leaves: Exact, limit_price: Option<Exact> },
    Cancelled,
    Expired,
    Rejected { code: String, message: String },
}

#[derive(Deserialize)]
struct Refusal {
    code: String,
    #[serde(default)]
    message: String,
}

#[derive(Deserialize)]
struct PositionsReply {
    positions: Vec<Position>,
}

#[derive(Deserialize)]
struct Position {
    symbol: String,
    quantity: Exact,
}

#[derive(Deserialize)]
struct AccountReply {
    cash: Exact,
    fees: Exact,
    equity: Option<Exact>,
    sequence: u64,
}

#[derive(Deserialize)]
struct PricesReply {
    prices: Vec<PriceRow>,
}

/// The changes of the one order that the request was about, all of them, oldest first.
pub(super) fn order(
    body: &[u8],
    expected: IntentKey,
    instruments: &Instruments,
) -> Result<Vec<OrderUpdate>, Undecodable> {
    let reply: OrderReply = json(body)?;
    if reply.updates.is_empty() {
        return Err(Undecodable::new("it names no update of the order"));
    }
    let mut updates = Vec::with_capacity(reply.updates.len());
    for update in reply.updates {
        if update.client_id.parse() != Ok(expected) {
            let found = excerpt(update.client_id.as_bytes());
            return Err(Undecodable::new(format!("it speaks of order {found} instead of {expected}")));
        }
        let instrument = find(instruments, &update.symbol).ok_or_else(|| {
            let symbol = excerpt(update.symbol.as_bytes());
            Undecodable::new(format!("it names instrument {symbol}, which is not configured"))
        })?;
        updates.push(convert(update.sequence, expected, update.change, instrument)?);
    }
    ascending(&updates)?;
    Ok(updates)
}

/// One page of changes. Orders that are not ours, by key or by instrument, are counted and left out.
pub(super) fn page(body: &[u8], after: u64, instruments: &Instruments) -> Result<UpdatesPage, Undecodable> {
    let reply: PageReply = json(body)?;
    let mut page = UpdatesPage { through: reply.through, more: reply.more, ..UpdatesPage::default() };
    let mut last = after;
    for update in reply.updates {
        if update.sequence <= last || update.sequence > reply.through {
            return Err(Undecodable::new(format!(
                "update {} does not lie between {last} and {}",
                update.sequence, reply.through
            )));
        }
        last = update.sequence;
        match (update.client_id.parse::<IntentKey>(), find(instruments, &update.symbol)) {
            (Ok(key), Some(instrument)) => {
                page.updates.push(convert(update.sequence, key, update.change, instrument)?);
            }
            _ => page.foreign += 1,
        }
    }
    if page.through < after || (page.more && page.through == after) {
        return Err(Undecodable::new(format!(
            "it ends at update {} and was asked for those after {after}",
            page.through
        )));
    }
    Ok(page)
}

/// The positions in our instruments.
pub(super) fn positions(body: &[u8], instruments: &Instruments) -> Result<Vec<VenuePosition>, Undecodable> {
    let reply: PositionsReply = json(body)?;
    let mut positions = Vec::with_capacity(reply.positions.len());
    for position in reply.positions {
        let Some(id) = instruments.find(&position.symbol) else { continue };
        let Some(instrument) = instruments.get(id) else { continue };
        let quantity = lots(instrument, position.quantity)?;
        positions.push(VenuePosition { instrument: id, quantity });
    }
    Ok(positions)
}

/// Cash and equity.
pub(super) fn account(body: &[u8]) -> Result<AccountState, Undecodable> {
    let reply: AccountReply = json(body)?;
    Ok(AccountState {
        cash: Money::new(reply.cash.0),
        fees: Money::new(reply.fees.0),
        equity: reply.equity.map(|equity| Money::new(equity.0)),
        sequence: reply.sequence,
    })
}

/// The rows of the prices.
pub(super) fn prices(body: &[u8]) -> Result<Vec<PriceRow>, Undecodable> {
    json::<PricesReply>(body).map(|reply| reply.prices)
}

/// Code and message of a refusal, when the body is one. The code comes back lower-case and harmless.
pub(super) fn refusal(body: &[u8]) -> Option<(String, String)> {
    let Refusal { code, message } = serde_json::from_slice(body).ok()?;
    let harmless = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    if code.is_empty() || code.len() > 64 || !code.chars().all(harmless) {
        return None;
    }
    Some((code.to_ascii_lowercase(), excerpt(message.as_bytes())))
}

fn json<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, Undecodable> {
    serde_json::from_slice(body).map_err(|error| {
        Undecodable::new(format!("its body does not fit the contract ({error}): {}", excerpt(body)))
    })
}

fn find<'a>(instruments: &'a Instruments, symbol: &str) -> Option<&'a Instrument> {
    instruments.get(instruments.find(symbol)?)
}

fn ascending(updates: &[OrderUpdate]) -> Result<(), Undecodable> {
    if updates.is_sorted_by(|a, b| a.sequence < b.sequence) {
        return Ok(());
    }
    Err(Undecodable::new("its updates are not in the order of their sequence numbers"))
}

fn convert(
    sequence: u64,
    key: IntentKey,
    change: Change,
    instrument: &Instrument,
) -> Result<OrderUpdate, Undecodable> {
    let change = match change {
        Change::Accepted => OrderChange::Accepted,
        Change::Filled { quantity, price: paid, leaves, fee, maker } => OrderChange::Filled {
            quantity: lots(instrument, quantity).and_then(|lots| positive(lots, lots.0))?,
            price: price(instrument, paid)?,
            leaves: lots(instrument, leaves).and_then(|lots| positive(lots, lots.0.saturating_add(1)))?,
            fee: Money::new(fee.0),
            maker,
        },
        Change::Amended { leaves, limit_price } => OrderChange::Amended {
            leaves: lots(instrument, leaves).and_then(|lots| positive(lots, lots.0.saturating_add(1)))?,
            limit: limit_price.map(|limit| price(instrument, limit)).transpose()?,
        },
        Change::Cancelled => OrderChange::Cancelled,
        Change::Expired => OrderChange::Expired,
        Change::Rejected { code, message } => {
            OrderChange::Rejected { code: excerpt(code.as_bytes()), detail: excerpt(message.as_bytes()) }
        }
    };
    Ok(OrderUpdate { sequence, key, change, venue_id: None })
}

fn lots(instrument: &Instrument, quantity: Exact) -> Result<Lots, Undecodable> {
    instrument.lots(quantity.0).map_err(|error| Undecodable::new(format!("a quantity does not fit: {error}")))
}

fn price(instrument: &Instrument, price: Exact) -> Result<PriceTicks, Undecodable> {
    let ticks = instrument
        .price_ticks(price.0)
        .map_err(|error| Undecodable::new(format!("a price does not fit: {error}")))?;
    positive(ticks, ticks.0)
}

fn positive<T>(value: T, size: i64) -> Result<T, Undecodable> {
    if size > 0 { Ok(value) } else { Err(Undecodable::new("a price or quantity is zero or negative")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::venue::tests::{instruments, key};
    use proptest::prelude::*;

    fn update(sequence: u64, client_id: &str, symbol: &str, change: &str) -> String {
        format!(
            r#"{{"sequence":{sequence},"client_id":"{client_id}","symbol":"{symbol}","change":{change}}}"#
        )
    }

    fn fill(quantity: &str, price: &str) -> String {
        format!(
            r#"{{"type":"filled","quantity":"{quantity}","price":"{price}","leaves":"0","fee":"-0.01","maker":true}}"#
        )
    }

    fn reply(updates: &[String]) -> Vec<u8> {
        format!(r#"{{"updates":[{}]}}"#, updates.join(",")).into_bytes()
    }

    #[test]
    fn units_become_steps() {
        let id = key(1).to_string();
        let body = reply(&[
            update(3, &id, "SPX", r#"{"type":"accepted"}"#),
            update(4, &id, "SPX", &fill("1.5", "100.25")),
        ]);
        let updates = order(&body, key(1), &instruments()).unwrap();
        let expected = OrderChange::Filled {
            quantity: Lots(15),
            price: PriceTicks(10_025),
            leaves: Lots(0),
            fee: Money::new((-1).into()).checked_mul(rust_decimal::Decimal::new(1, 2)).unwrap(),
            maker: true,
        };
        assert_eq!(updates[1], OrderUpdate { sequence: 4, key: key(1), change: expected, venue_id: None });
    }

    #[test]
    fn a_reply_that_does_not_add_up_is_no_reply() {
        let (id, other) = (key(1).to_string(), key(2).to_string());
        let accepted = r#"{"type":"accepted"}"#;
        let cases = [
            reply(&[]),
            reply(&[update(1, &other, "SPX", accepted)]),
            reply(&[update(1, &id, "NDX", accepted)]),
            reply(&[update(2, &id, "SPX", accepted), update(2, &id, "SPX", accepted)]),
            reply(&[update(1, &id, "SPX", &fill("0", "100"))]),
            reply(&[update(1, &id, "SPX", &fill("-1", "100"))]),
            reply(&[update(1, &id, "SPX", &fill("0.05", "100"))]),
            reply(&[update(1, &id, "SPX", &fill("1", "100.001"))]),
            reply(&[update(1, &id, "SPX", &fill("1", "0"))]),
            reply(&[update(1, &id, "SPX", &fill("1", "NaN"))]),
            reply(&[update(1, &id, "SPX", &fill("1", "1e308"))]),
            reply(&[update(1, &id, "SPX", r#"{"type":"teleported"}"#)]),
            b"{\"updates\":[".to_vec(),
            b"null".to_vec(),
        ];
        for body in cases {
            let text = String::from_utf8_lossy(&body).into_owned();
            assert!(order(&body, key(1), &instruments()).is_err(), "{text}");
        }
    }

    #[test]
    fn orders_of_others_are_counted_and_the_cursor_moves_past_them() {
        let accepted = r#"{"type":"accepted"}"#;
        let rows = [
            update(5, "somebody-else", "SPX", accepted),
            update(6, &key(1).to_string(), "NDX", accepted),
            update(7, &key(1).to_string(), "SPX", accepted),
        ];
        let body = format!(r#"{{"updates":[{}],"through":9,"more":false}}"#, rows.join(","));
        let page = page(body.as_bytes(), 4, &instruments()).unwrap();
        assert_eq!((page.updates.len(), page.foreign, page.through), (1, 2, 9));
    }

    #[test]
    fn a_page_outside_what_was_asked_is_refused() {
        let row = update(5, &key(1).to_string(), "SPX", r#"{"type":"accepted"}"#);
        let body = |through, more| format!(r#"{{"updates":[{row}],"through":{through},"more":{more}}}"#);
        assert!(page(body(5, false).as_bytes(), 4, &instruments()).is_ok());
        assert!(page(body(5, false).as_bytes(), 5, &instruments()).is_err(), "seen before");
        assert!(page(body(4, false).as_bytes(), 3, &instruments()).is_err(), "beyond the end");
        let empty = r#"{"updates":[],"through":4,"more":true}"#;
        assert!(page(empty.as_bytes(), 4, &instruments()).is_err(), "would be asked for ever");
    }

    #[test]
    fn a_refusal_cannot_smuggle_anything_in() {
        assert_eq!(
            refusal(br#"{"code":"No_Funds","message":"a\u001b[31mb"}"#),
            Some(("no_funds".into(), "a [31mb".into()))
        );
        for body in [r#"{"code":""}"#, r#"{"code":"a b"}"#, r#"{"code":7}"#, "<html>", ""] {
            assert_eq!(refusal(body.as_bytes()), None, "{body}");
        }
    }

    proptest! {
        #[test]
        fn no_body_makes_the_decoder_panic(body in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = order(&body, key(1), &instruments());
            let _ = page(&body, 0, &instruments());
            let _ = refusal(&body);
        }

        #[test]
        fn no_number_makes_the_decoder_panic(quantity in "[-0-9.eE]{0,40}", price in "[-0-9.eE]{0,40}") {
            let body = reply(&[update(1, &key(1).to_string(), "SPX", &fill(&quantity, &price))]);
            let _ = order(&body, key(1), &instruments());
        }
    }
}
