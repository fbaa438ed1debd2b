//! Arbitrary replies: none makes the client panic, and none that the venue did not mean becomes a fill.

use super::super::classify::{Effect, Judged, judge};
use super::super::evidence::lots_max;
use super::super::fuzzing::read_all;
use super::super::instruction::Instruction;
use super::super::wire;
use super::server::{btc, place};
use crate::market::Lots;
use crate::venue::Outcome;
use crate::venue::observation::{Answer, Observation};
use proptest::prelude::*;

/// Whether any reader takes the bytes for an execution of an open of 15 lots.
fn is_fill(body: &[u8]) -> bool {
    let open = Instruction::decode(&place(15, |_| ()).body.0).unwrap();
    let terms = open.terms().unwrap();
    wire::opened(body, terms, &btc(), (lots_max(terms.lots, 20), 60_000.into())).is_ok()
}

fn read_everything(body: &[u8]) {
    read_all(body, &btc());
}

proptest! {
    #[test]
    fn arbitrary_bytes_are_never_a_fill(
        status in 100_u16..700,
        body in proptest::collection::vec(any::<u8>(), 0..300),
    ) {
        prop_assert!(!is_fill(&body));
        read_everything(&body);
        for effect in [Effect::Trades, Effect::Closes, Effect::Notes, Effect::TakesBack] {
            let observed = Observation::Answered(Answer { status, body: Some(body.clone()) });
            match judge(effect, observed) {
                Judged::Success(_) => prop_assert!((200..300).contains(&status)),
                Judged::Known(outcome) => {
                    prop_assert!(matches!(outcome, Outcome::Ambiguous(_)), "{outcome:?}");
                }
            }
        }
    }

    #[test]
    fn no_number_makes_the_readers_panic(size in "-?[0-9]{1,40}(\\.[0-9]{1,40})?([eE]-?[0-9]{1,4})?", price in "-?[0-9]{1,20}(\\.[0-9]{1,20})?([eE]-?[0-9]{1,4})?") {
        let open = format!(
            r#"{{"order_id":"o","coin":"BTC","side":"long","size_usd":{size},"entry_price":{price},"fee":0}}"#
        );
        if is_fill(open.as_bytes()) {
            let (size, price) = (size.parse::<f64>().unwrap(), price.parse::<f64>().unwrap());
            prop_assert!(size <= 1_935.0 && (30_000.0..=120_000.0).contains(&price));
        }
        let position = format!(
            r#"{{"positions":[{{"position_id":null,"coin":"BTC","side":"short","size":{size},"entry_price":{price}}}],"source":"hyperliquid"}}"#
        );
        read_everything(position.as_bytes());
        let close = format!(r#"{{"position_id":"pos_1","exit_price":{price},"size_usd":{size},"fee":{size}}}"#);
        read_everything(close.as_bytes());
    }

    #[test]
    fn no_size_makes_the_bound_overflow(lots in 0..i64::MAX, off in any::<u32>()) {
        prop_assert!(lots_max(Lots(lots), off).0 > lots);
    }
}
