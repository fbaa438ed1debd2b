//! The venue client, the chaos proxy and the paper venue together, over real HTTP on loopback.

use crate::market::{Instrument, InstrumentKind, Instruments, Lots};
use crate::orders::{AgentName, Digest, IntentKey, Slot};
use rust_decimal::Decimal;

/// `SPX` with steps of 0.01 and 0.1, `BTC` with steps of 0.5 and 0.001.
pub(in crate::venue) fn instruments() -> Instruments {
    let instrument = |symbol: &str, tick_size, lot_size| Instrument {
        symbol: symbol.into(),
        venue: "paper".into(),
        kind: InstrumentKind::Index,
        quote_currency: "USD".into(),
        multiplier: Decimal::ONE,
        tick_size,
        lot_size,
        min_lots: Lots(1),
        max_lots: Lots(1_000_000),
    };
    let spx = instrument("SPX", Decimal::new(1, 2), Decimal::new(1, 1));
    let btc = instrument("BTC", Decimal::new(5, 1), Decimal::new(1, 3));
    Instruments::new(vec![spx, btc]).unwrap()
}

/// The key of the intent in slot `call`.
pub(in crate::venue) fn key(call: u64) -> IntentKey {
    let agent: AgentName = "tester".parse().unwrap();
    Slot { agent: &agent, incarnation: 1, plugin: Digest::of(b"plugin"), call, index: 0 }.key()
}

mod orders;
mod proxy;
mod purpleflea;
mod setup;
