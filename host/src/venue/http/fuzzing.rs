//! Replies that no venue means, for the fuzz target in `host/fuzz`.

use super::wire;
use crate::market::{Instrument, InstrumentKind, Instruments, Lots};
use crate::orders::IntentKey;
use rust_decimal::Decimal;

/// Every reader of a reply's body: what is taken for changes of an order is in order and its own.
pub fn reply(body: &[u8]) {
    let instrument = Instrument {
        symbol: "BTCUSDT".into(),
        venue: "main".into(),
        kind: InstrumentKind::Spot,
        quote_currency: "USDT".into(),
        multiplier: Decimal::ONE,
        tick_size: Decimal::new(1, 2),
        lot_size: Decimal::new(1, 5),
        min_lots: Lots(1),
        max_lots: Lots(100_000_000),
    };
    let Ok(instruments) = Instruments::new(vec![instrument]) else { return };
    let key = IntentKey::from_bytes([0; 20]);
    if let Ok(updates) = wire::order(body, key, &instruments) {
        assert!(!updates.is_empty() && updates.iter().all(|update| update.key == key));
        assert!(updates.is_sorted_by(|one, next| one.sequence < next.sequence));
    }
    if let Ok(page) = wire::page(body, 7, &instruments) {
        assert!(page.updates.iter().all(|update| (8..=page.through).contains(&update.sequence)));
    }
    let _ = wire::positions(body, &instruments);
    let _ = wire::account(body);
    let _ = wire::prices(body);
    let _ = wire::refusal(body);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn no_body_breaks_a_reader(body in prop::collection::vec(any::<u8>(), 0..300)) {
            reply(&body);
        }

        #[test]
        fn nor_does_one_that_looks_like_a_reply(sequence in any::<u64>(), through in any::<u64>(), number in "-?[0-9]{1,40}(\\.[0-9]{1,40})?") {
            let change = format!(r#"{{"type":"filled","quantity":"{number}","price":"{number}","leaves":"0","fee":"{number}","maker":true}}"#);
            let update = format!(r#"{{"sequence":{sequence},"client_id":"{}","symbol":"BTCUSDT","change":{change}}}"#, IntentKey::from_bytes([0; 20]));
            reply(format!(r#"{{"updates":[{update},{update}],"through":{through},"more":false}}"#).as_bytes());
            reply(format!(r#"{{"positions":[{{"symbol":"BTCUSDT","quantity":"{number}"}}]}}"#).as_bytes());
        }
    }
}
