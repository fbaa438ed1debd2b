//! Intents that no account should see, through the real core with its risk gate.

use crate::attack::{Strike, attacks};
use crate::desk::{Desk, plugin, without_a_largest_order};
use crate::guest::{FREE, Guest, words};
use ringfence::agent::core::{CoreConfig, Operator};
use ringfence::market::Money;
use ringfence::orders::{Mode, RejectReason, StrategyEvent};
use ringfence::plugin::ServiceLimits;
use std::collections::BTreeSet;
use std::num::NonZeroU32;

const SUBMIT: u32 = 0;
const CANCEL: u32 = 1;
const AMEND: u32 = 2;
const CANCEL_ALL: u32 = 3;
const MARKET: u32 = 0;
const LIMIT: u32 = 1;
const STOP: u32 = 2;
const STOP_LIMIT: u32 = 3;
const SELL: u32 = 1;
const REDUCE_ONLY: u32 = 2;

/// An intent as the twenty words of the canonical ABI.
#[derive(Clone, Copy)]
struct Intent {
    case: u32,
    id: u64,
    instrument: u32,
    side: u32,
    quantity: i64,
    kind: u32,
    price: i64,
    second: i64,
    options: u32,
}

/// A market order for two lots, which is fine.
const ORDER: Intent = Intent {
    case: SUBMIT,
    id: 1,
    instrument: 0,
    side: 0,
    quantity: 2,
    kind: MARKET,
    price: 0,
    second: 0,
    options: 0,
};

impl Intent {
    fn words(&self) -> Vec<u32> {
        let halves = |value: u64| [value as u32, (value >> 32) as u32];
        let [id, quantity, price, second] =
            [self.id, self.quantity.cast_unsigned(), self.price.cast_unsigned(), self.second.cast_unsigned()]
                .map(halves);
        match self.case {
            SUBMIT => {
                let mut words =
                    vec![SUBMIT, 0, id[0], id[1], self.instrument, self.side, quantity[0], quantity[1]];
                words.extend([
                    self.kind,
                    0,
                    price[0],
                    price[1],
                    second[0],
                    second[1],
                    0,
                    0,
                    0,
                    0,
                    self.options,
                    0,
                ]);
                words
            }
            AMEND => {
                let mut words =
                    vec![AMEND, 0, id[0], id[1], quantity[0], quantity[1], u32::from(self.price != 0), 0];
                words.extend([price[0], price[1]]);
                words.extend([0; 10]);
                words
            }
            CANCEL => [vec![CANCEL, 0, id[0], id[1]], vec![0; 16]].concat(),
            _ => [vec![CANCEL_ALL, 0, self.instrument], vec![0; 17]].concat(),
        }
    }
}

/// A guest that returns the same intents from every tick, after `body` has changed them where they lie.
fn returning(intents: &[Intent], body: &str) -> Guest {
    let list: Vec<u32> = intents.iter().flat_map(Intent::words).collect();
    let more = format!(
        "(data (i32.const 256) \"{}\") (data (i32.const {FREE}) \"{}\")",
        words(&[0, FREE, intents.len() as u32]),
        words(&list)
    );
    // What an event brings with it lies where that of the one before lay.
    let event = format!("{FORGET} (i32.const 512)");
    Guest { more, tick: format!("{body} (i32.const 256)"), event, ..Guest::default() }
}

/// A guest that submits this many orders with each tick, each under a number of its own.
fn flooding(count: u32) -> Guest {
    let body = format!(
        "(local $i i32)
         (loop $l
            (i64.store (i32.add (i32.const {}) (i32.mul (local.get $i) (i32.const 80)))
                (i64.add (i64.mul (local.get 1) (i64.const 100)) (i64.extend_i32_u (local.get $i))))
            (local.set $i (i32.add (local.get $i) (i32.const 1)))
            (br_if $l (i32.lt_u (local.get $i) (i32.const {count}))))",
        FREE + 8
    );
    returning(&vec![Intent { kind: LIMIT, price: 990, ..ORDER }; count as usize], &body)
}

/// The distinct codes of what was refused. Nothing of it was sent, and the strategy has heard of each refusal.
fn codes(desk: &Desk) -> String {
    let rejections =
        desk.heard().iter().filter(|event| matches!(event, StrategyEvent::Rejected { .. })).count();
    assert_eq!(rejections, desk.refused.len(), "{:?}", desk.heard());
    assert!(!desk.is_halted(), "{:?}", desk.alerts);
    let codes = BTreeSet::from_iter(desk.refused.iter().map(String::as_str));
    if codes.is_empty() { "harmless".into() } else { Vec::from_iter(codes).join(", ") }
}

/// One tick whose intents are all refused, and none is sent.
fn refused_under(intents: &[Intent], change: fn(&mut CoreConfig)) -> Strike {
    let plugin = plugin(&returning(intents, ""));
    Box::new(move || {
        let mut desk = Desk::start(&plugin, change);
        desk.tick();
        assert_eq!((desk.sent, desk.stats().orders), (0, 0));
        codes(&desk)
    })
}

fn refused(intent: Intent) -> Strike {
    refused_under(&[intent], |_| {})
}

/// Ticks, and what has become of them.
fn after_ticks(guest: &Guest, change: fn(&mut CoreConfig), look: fn(&mut Desk) -> String) -> Strike {
    let plugin = plugin(guest);
    Box::new(move || look(&mut Desk::start(&plugin, change)))
}

attacks! {
    no_lots_at_all: "QUANTITY_OUT_OF_RANGE", Refusal, || refused(Intent { quantity: 0, ..ORDER });
    less_than_no_lots: "QUANTITY_OUT_OF_RANGE", Refusal, || refused(Intent { quantity: -2, ..ORDER });
    fewer_lots_than_there_can_be: "QUANTITY_OUT_OF_RANGE", Refusal, || refused(Intent { quantity: 1, ..ORDER });
    more_lots_than_a_number_holds: "QUANTITY_OUT_OF_RANGE", Refusal, || {
        refused(Intent { quantity: i64::MAX, ..ORDER })
    };
    the_least_number_of_lots: "QUANTITY_OUT_OF_RANGE", Refusal, || refused(Intent { quantity: i64::MIN, ..ORDER });
    the_bits_of_a_nan_as_lots: "QUANTITY_OUT_OF_RANGE", Refusal, || {
        refused(Intent { quantity: f64::NAN.to_bits().cast_signed(), ..ORDER })
    };
    the_bits_of_minus_infinity_as_a_price: "PRICE_NOT_POSITIVE", Refusal, || {
        refused(Intent { kind: LIMIT, price: f64::NEG_INFINITY.to_bits().cast_signed(), ..ORDER })
    };
    a_value_that_no_number_holds: "OVERFLOW", Refusal, || {
        refused_under(&[Intent { quantity: i64::MAX, ..ORDER }], |config| {
            without_a_largest_order(config, "1000000000000");
        })
    };
    a_position_that_no_number_holds: "OVERFLOW", Refusal, || {
        let guest = returning(&[Intent { quantity: i64::MAX / 2, ..ORDER }], COUNTED);
        after_ticks(
            &guest,
            |config| {
                without_a_largest_order(config, "1");
                config.risk.position_lots_max = Some(ringfence::market::Lots(i64::MAX));
            },
            |desk| {
                (0..3).for_each(|_| desk.tick());
                codes(desk)
            },
        )
    };
    a_price_of_zero: "PRICE_NOT_POSITIVE", Refusal, || refused(Intent { kind: LIMIT, price: 0, ..ORDER });
    a_price_below_zero: "PRICE_NOT_POSITIVE", Refusal, || refused(Intent { kind: STOP, price: -1, ..ORDER });
    the_least_price: "PRICE_NOT_POSITIVE", Refusal, || refused(Intent { kind: LIMIT, price: i64::MIN, ..ORDER });
    the_greatest_price: "PRICE_COLLAR", Refusal, || refused(Intent { kind: LIMIT, price: i64::MAX, ..ORDER });
    a_misplaced_decimal_point: "PRICE_COLLAR", Refusal, || refused(Intent { kind: LIMIT, price: 10_000, ..ORDER });
    a_second_price_below_zero: "PRICE_NOT_POSITIVE", Refusal, || {
        refused(Intent { kind: STOP_LIMIT, price: 1_000, second: i64::MIN, ..ORDER })
    };
    an_unknown_instrument: "UNKNOWN_INSTRUMENT", Refusal, || refused(Intent { instrument: u32::MAX, ..ORDER });
    a_number_of_the_hosts_own_orders: "DUPLICATE_ORDER_ID", Refusal, || refused(Intent { id: u64::MAX, ..ORDER });
    one_number_for_all_orders: "DUPLICATE_ORDER_ID", Refusal, || {
        after_ticks(&returning(&[ORDER; 2], ""), |_| {}, |desk| {
            (0..3).for_each(|_| desk.tick());
            assert_eq!((desk.sent, desk.refused.len()), (1, 5));
            codes(desk)
        })
    };
    a_cancel_of_an_unknown_order: "UNKNOWN_ORDER", Refusal, || refused(Intent { case: CANCEL, id: 9, ..ORDER });
    an_amendment_of_an_unknown_order: "UNKNOWN_ORDER", Refusal, || refused(Intent { case: AMEND, id: 9, ..ORDER });
    an_amendment_to_more_than_there_can_be: "QUANTITY_OUT_OF_RANGE", Refusal, || {
        let order = Intent { kind: LIMIT, price: 990, ..ORDER };
        let amend = Intent { case: AMEND, quantity: i64::MAX, ..ORDER };
        // The order goes with the first tick; from then on it is amended.
        let body = format!("(if (i64.gt_u (local.get 1) (i64.const 1)) (then (i32.store (i32.const 260) (i32.const {}))))", FREE + 80);
        let mut guest = returning(&[order, amend], &body);
        guest.more = guest.more.replacen(&words(&[0, FREE, 2]), &words(&[0, FREE, 1]), 1);
        after_ticks(&guest, |_| {}, |desk| {
            (0..2).for_each(|_| desk.tick());
            assert_eq!((desk.sent, desk.refused.len()), (1, 1));
            codes(desk)
        })
    };
    cancelling_all_in_an_unknown_instrument: "harmless", Refusal, || {
        refused(Intent { case: CANCEL_ALL, instrument: u32::MAX, ..ORDER })
    };
    buying_from_itself: "SELF_CROSS", Refusal, || {
        let bid = Intent { kind: LIMIT, price: 1_010, ..ORDER };
        let offer = Intent { id: 2, kind: LIMIT, price: 1_000, side: SELL, ..ORDER };
        after_ticks(&returning(&[bid, offer], ""), |_| {}, |desk| {
            desk.tick();
            assert_eq!(desk.sent, 1);
            codes(desk)
        })
    };
    reducing_what_is_not_there: "NOT_REDUCING", Refusal, || refused(Intent { options: REDUCE_ONLY, ..ORDER });
    an_order_before_there_is_a_price: "NO_PRICE", Refusal, || {
        let guest = returning(&[ORDER], "");
        // It answers a change of the mode, which comes before the first tick.
        let plugin = plugin(&Guest { event: ON_MODE.into(), tick: "(i32.const 512)".into(), ..guest });
        Box::new(move || {
            let mut desk = Desk::start(&plugin, |_| {});
            desk.order(Operator::Floor(Mode::ReadOnly));
            assert_eq!(desk.sent, 0);
            codes(&desk)
        })
    };
    an_order_worth_too_much: "ORDER_NOTIONAL", Refusal, || {
        refused_under(&[Intent { quantity: 1_000, ..ORDER }], |config| {
            config.risk.order_notional_max = Some(Money::new(9_999.into()));
        })
    };
    a_position_that_is_too_large: "POSITION", Refusal, || {
        refused_under(&[Intent { quantity: 1_000, ..ORDER }], |config| {
            config.risk.position_lots_max = Some(ringfence::market::Lots(999));
        })
    };
    more_orders_than_may_work: "OPEN_ORDERS", Rate, || {
        after_ticks(&flooding(20), |_| {}, |desk| {
            (0..10).for_each(|_| desk.tick());
            assert_eq!(desk.sent, 50);
            codes(desk)
        })
    };
    a_flood_of_orders: "INTENT_RATE, ORDER_RATE", Rate, || {
        after_ticks(&flooding(64), |config| config.risk.open_orders_max = 10_000, |desk| {
            desk.step_ms = 10;
            (0..90).for_each(|_| desk.tick());
            assert_eq!(desk.sent, 20);
            // In the next second there are as many again.
            (0..20).for_each(|_| desk.tick());
            assert_eq!(desk.sent, 40);
            codes(desk)
        })
    };
    ten_thousand_intents_in_a_second: "INTENT_RATE, UNKNOWN_ORDER", Rate, || {
        let cancels = vec![Intent { case: CANCEL, id: 9, ..ORDER }; 64];
        after_ticks(&returning(&cancels, ""), |_| {}, |desk| {
            desk.step_ms = 5;
            (0..160).for_each(|_| desk.tick());
            assert_eq!(desk.stats().intents, 10_240);
            assert_eq!(desk.refused.iter().filter(|code| *code == "UNKNOWN_ORDER").count(), 1_000);
            let limited = |event: &&StrategyEvent| {
                matches!(event, StrategyEvent::Rejected { reason: RejectReason::RateLimited, .. })
            };
            assert_eq!(desk.heard().iter().filter(limited).count(), 9_240);
            codes(desk)
        })
    };
    a_flood_of_intents_does_not_close_the_way_out: "INTENT_RATE, UNKNOWN_ORDER", Rate, || {
        // An order that works, then cancels of nothing until no intent is left, then a cancel of the order.
        let guest = returning(
            &[vec![Intent { case: CANCEL, id: 9, ..ORDER }; 63], vec![Intent { kind: LIMIT, price: 990, ..ORDER }]].concat(),
            &format!(
                "(if (i64.gt_u (local.get 1) (i64.const 1)) (then (i32.store (i32.const {}) (i32.const 1))))",
                FREE + 63 * 80
            ),
        );
        after_ticks(&guest, |config| config.risk.intents_per_second_max = NonZeroU32::new(64), |desk| {
            desk.step_ms = 10;
            (0..3).for_each(|_| desk.tick());
            assert!(desk.sent >= 2, "the order and its cancel");
            codes(desk)
        })
    };
    an_order_for_every_refusal: "calls_per_event", Rate, || {
        // It answers whatever it hears with an order that is refused.
        let guest = returning(&[Intent { quantity: 0, ..ORDER }], "");
        let event = format!("{FORGET} (i32.const 256)");
        after_ticks(&Guest { event, ..guest }, |_| {}, |desk| {
            desk.tick();
            assert!(desk.is_halted());
            assert_eq!((desk.sent, desk.refused.len()), (0, 256));
            desk.alerts[0].clone()
        })
    };
    ten_thousand_intents_in_one_call_of_an_agent: "trap_output", Returned, || {
        let mut guest = returning(&[ORDER], "");
        guest.more = guest.more.replacen(&words(&[0, FREE, 1]), &words(&[0, FREE, 10_000]), 1);
        after_ticks(&Guest { pages: 40, ..guest }, |_| {}, |desk| {
            (0..3).for_each(|_| desk.tick());
            assert!(desk.is_halted());
            assert_eq!((desk.sent, desk.stats().intents, desk.stats().traps), (0, 0, 1));
            desk.alerts[0].clone()
        })
    };
    a_trap_after_some_good_intents: "trap_unreachable", Call, || {
        let guest = returning(&[ORDER], "(if (i64.gt_u (local.get 1) (i64.const 2)) (then unreachable))");
        after_ticks(&guest, |_| {}, |desk| {
            (0..5).for_each(|_| desk.tick());
            assert!(desk.is_halted());
            assert_eq!(desk.stats().traps, 1);
            desk.alerts[0].clone()
        })
    };
    a_log_flood_over_many_ticks: "harmless", Services, || {
        let mut guest = returning(&[], "");
        guest.imports = "(import \"ringfence:strategy/log@1.0.0\" \"write\" (func $log (param i32 i32 i32)))".into();
        guest.tick = "(local $i i32) (loop $l (call $log (i32.const 2) (i32.const 1024) (i32.const 7))
                (local.set $i (i32.add (local.get $i) (i32.const 1)))
                (br_if $l (i32.lt_u (local.get $i) (i32.const 400)))) (i32.const 512)".into();
        after_ticks(&guest, |_| {}, |desk| {
            desk.step_ms = 10;
            (0..50).for_each(|_| desk.tick());
            let max = ServiceLimits::default().log_lines_per_second_max as usize;
            let (told, said): (Vec<_>, Vec<_>) = desk.said.iter().partition(|line| line.contains("were dropped"));
            assert_eq!((said.len(), told.len()), (max, 1), "{told:?}");
            assert_eq!(desk.stats().log_lines_dropped, 50 * 400 - max as u64);
            // When the second is over a person learns of the rest, although nothing more is said.
            desk.silence();
            let counted = |line: &String| line.split(' ').next().and_then(|count| count.parse::<u64>().ok());
            let dropped: u64 = desk.said.iter().filter(|line| line.contains("were dropped")).filter_map(counted).sum();
            assert_eq!(dropped, desk.stats().log_lines_dropped);
            codes(desk)
        })
    };
}

/// Submits with a number of its own each time.
const COUNTED: &str = "(i64.store (i32.const 16392) (local.get 1))";

/// Gives back the memory that earlier arguments took.
const FORGET: &str = "(global.set $heap (i32.const 4096))";

/// Returns intents when the mode has changed, and none from other events.
const ON_MODE: &str = "(if (result i32) (i32.eq (local.get 0) (i32.const 9))
    (then (i32.const 256)) (else (i32.const 512)))";
