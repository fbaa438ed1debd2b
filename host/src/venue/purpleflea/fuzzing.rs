//! Replies that the venue does not mean, for the fuzz target in `host/fuzz` and the property tests.

use super::instruction::Instruction;
use super::wire;
use crate::market::{Instrument, InstrumentKind, Lots};
use rust_decimal::Decimal;

/// Every reader of a reply's body.
pub fn reply(body: &[u8]) {
    read_all(
        body,
        &Instrument {
            symbol: "BTC".into(),
            venue: "flea".into(),
            kind: InstrumentKind::Perpetual,
            quote_currency: "USD".into(),
            multiplier: Decimal::ONE,
            tick_size: Decimal::new(5, 1),
            lot_size: Decimal::new(1, 5),
            min_lots: Lots(1),
            max_lots: Lots(100_000),
        },
    );
}

pub(super) fn read_all(body: &[u8], coin: &Instrument) {
    let _ = wire::closed(body, "pos_1").and_then(|closed| closed.execution(Lots(15), None, coin));
    let _ = wire::limit_placed(body);
    let _ = wire::agreed(body);
    let _ = wire::sizing_price(body);
    let _ = wire::history(body, coin);
    let _ = wire::waiting(body, coin);
    let _ = wire::waiting_state(body, "ord_1");
    let _ = wire::account(body);
    let _ = wire::refusal(body);
    if let Ok(Ok(rows)) = wire::positions(body) {
        let _ = wire::holding(&rows, coin);
    }
    let _ = Instruction::decode(body);
}
