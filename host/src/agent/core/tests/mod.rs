//! The core under test: one [`rig::Rig`] drives it through every shell's part of the contract, against a
//! venue whose ledger shares nothing with the host but the wire types.

mod answers;
mod bars;
mod candidates;
mod checks;
mod claims;
mod client_ids;
mod compare;
mod deadlines;
mod delta;
mod delta_only;
mod doubts;
mod durability;
mod exhaustive;
mod healing;
mod inquiries;
mod keeper;
mod letters;
mod lifecycle;
mod modes;
mod orders;
mod prices;
mod probations;
mod reconcile;
mod recordings;
mod refeeds;
mod refuted;
mod reissues;
mod replays;
mod retries;
mod rig;
mod runaway;
mod samples;
mod sandboxed;
mod script;
mod shrink;
mod slots;
mod storage;
mod supervision;
mod swaps;
mod swarm;
mod venue;
mod weather;
mod wire;

use crate::market::{InstrumentId, Lots, PriceTicks};
use crate::orders::{NewOrder, OrderId, OrderIntent, OrderKind, OrderOptions, Side, TimeInForce};
use rig::Rig;
use script::Step;
use venue::Fault;

const X: InstrumentId = InstrumentId(0);

fn order(id: u64, side: Side, lots: i64, kind: OrderKind) -> NewOrder {
    NewOrder {
        id: OrderId(id),
        instrument: X,
        side,
        quantity: Lots(lots),
        kind,
        tif: TimeInForce::Gtc,
        options: OrderOptions::default(),
        tag: 0,
    }
}

fn buy(id: u64, lots: i64) -> OrderIntent {
    OrderIntent::Submit(order(id, Side::Buy, lots, OrderKind::Market))
}

fn sell(id: u64, lots: i64) -> OrderIntent {
    OrderIntent::Submit(order(id, Side::Sell, lots, OrderKind::Market))
}

fn bid(id: u64, lots: i64, price: i64) -> OrderIntent {
    OrderIntent::Submit(order(id, Side::Buy, lots, OrderKind::Limit(PriceTicks(price))))
}
