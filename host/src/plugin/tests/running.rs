//! Components that behave: what crosses the sandbox, both ways.

use super::guest::{FREE, Guest, words};
use super::*;
use crate::market::{Bar, InstrumentId, PriceTicks};
use crate::orders::{NewOrder, OrderId, OrderKind, OrderOptions, Side, StrategyEvent, TimeInForce};
use crate::plugin::BatchOutcome;

#[test]
fn an_order_arrives_as_the_strategy_wrote_it() {
    let order = [
        0,
        0, // submit
        42,
        0, // id
        3,
        1, // instrument, side sell
        9,
        0, // quantity
        1,
        0,
        0xffff_fffe,
        0xffff_ffff,
        0,
        0, // limit -2
        4,
        0,
        77,
        0, // good till 77
        3,
        5, // post only and reduce only, tag
    ];
    let more = format!(
        "(data (i32.const 256) \"{}\") (data (i32.const {FREE}) \"{}\")",
        words(&[0, FREE, 1]),
        words(&order)
    );
    let intents = tick(&mut run(&Guest { more, tick: "i32.const 256".into(), ..Guest::default() }));
    let expected = NewOrder {
        id: OrderId(42),
        instrument: InstrumentId(3),
        side: Side::Sell,
        quantity: Lots(9),
        kind: OrderKind::Limit(PriceTicks(-2)),
        tif: TimeInForce::Gtd(UnixNanos(77)),
        options: OrderOptions { post_only: true, reduce_only: true },
        tag: 5,
    };
    assert_eq!(intents, Ok(vec![OrderIntent::Submit(expected)]));
}

#[test]
fn the_sixteen_values_of_a_tick_arrive_in_order() {
    let values = [1_i64, 2, 3, 4, 5, 6, 7, 8, 9, 10, 31, 12, 13, 14, 15, 2];
    for (index, expected) in values.into_iter().enumerate() {
        let narrow = matches!(index, 0 | 10 | 13 | 14 | 15);
        let value = if narrow {
            format!("(local.get {index})")
        } else {
            format!("(i32.wrap_i64 (local.get {index}))")
        };
        // As many intents as the value says; all of them are zeros.
        let tick = format!("(i32.store (i32.const 264) {value}) (i32.const 256)");
        let more = format!("(data (i32.const 256) \"{}\")", words(&[0, FREE, 0]));
        let mut strategy = run(&Guest { more, tick, ..Guest::default() });
        let sent = Tick {
            instrument: InstrumentId(1),
            seq: 2,
            event_time: UnixNanos(3),
            bid_price: PriceTicks(4),
            bid_size: Lots(5),
            ask_price: PriceTicks(6),
            ask_size: Lots(7),
            last_price: PriceTicks(8),
            last_size: Lots(9),
            volume: Lots(10),
            marks: crate::market::Marks(31),
        };
        let context = TickContext {
            now: UnixNanos(12),
            position: Lots(13),
            open_orders: 14,
            intents_left: if index == 14 { 15 } else { 64 },
            mode: Mode::Observation,
        };
        let mut intents = Vec::new();
        strategy.on_tick(&sent, &context, &mut services(), &mut intents).unwrap_or_else(|error| {
            assert_eq!(index, 14, "value {index}: {error}");
        });
        assert_eq!(intents.len() as i64, expected, "value {index}");
    }
}

#[test]
fn a_fault_is_an_answer_and_not_the_end() {
    let more = format!("(data (i32.const 256) \"{}\")", words(&[1, 3, guest::NAME, 7]));
    let mut strategy = run(&Guest { more, tick: "i32.const 256".into(), ..Guest::default() });
    let fault = Err(CallError::Fault(Fault::Internal("healthy".into())));
    assert_eq!(tick(&mut strategy), fault);
    assert_eq!(tick(&mut strategy), fault);
    assert!(!strategy.is_dead());
}

#[test]
fn writes_are_left_for_the_core_to_commit() {
    let imports = "(import \"ringfence:strategy/kv@1.0.0\" \"set\" (func $set (param i32 i32 i32 i32 i32)))
        (import \"ringfence:strategy/random@1.0.0\" \"next\" (func $next (result i64)))"
        .into();
    let tick = "(call $set (i32.const 1024) (i32.const 7) (i32.const 1040) (i32.const 5) (i32.const 300))
        (drop (call $next)) (i32.const 512)"
        .into();
    let mut strategy = run(&Guest { imports, tick, ..Guest::default() });
    let mut lent = services();
    let untouched = lent.memory().clone();
    strategy.on_tick(&Tick::default(), &context(), &mut lent, &mut Vec::new()).unwrap();
    assert_eq!(*lent.memory(), untouched);
    lent.commit();
    assert_eq!(lent.kv_get("healthy"), Some(b"1.0.0".as_slice()));
    assert_ne!(lent.memory().random, untouched.random);
}

#[test]
fn the_same_call_spends_the_same_fuel_in_every_instance() {
    let plugin = load(&Guest::default()).unwrap();
    let fuel = |calls: usize| {
        let mut strategy = plugin.instantiate().unwrap();
        let spent = (0..calls).map(|_| {
            tick(&mut strategy).unwrap();
            strategy.fuel_used().unwrap()
        });
        spent.collect::<Vec<_>>()
    };
    assert_eq!(fuel(3), fuel(3));
    assert!(fuel(1).iter().all(|spent| (1..100).contains(spent)));
}

#[test]
fn every_call_has_the_whole_budget() {
    let mut strategy = run(&Guest::default());
    tick(&mut strategy).unwrap();
    let spent = strategy.fuel_used().unwrap();
    let bytes = Guest::default().build();
    let with_fuel = |fuel_per_call| {
        let limits = SandboxLimits { fuel_per_call, ..limits() };
        SANDBOX.load(&bytes, "test", None, &limits).unwrap().instantiate().unwrap()
    };
    // The engine ends a call when nothing is left, hence one more than it spends.
    let mut strategy = with_fuel(spent + 1);
    for _ in 0..100 {
        assert_eq!(tick(&mut strategy), Ok(vec![]));
    }
    assert_eq!(kind(tick(&mut with_fuel(spent))), TrapKind::Fuel);
}

#[test]
fn memory_in_use_is_what_the_instance_has() {
    assert_eq!(run(&Guest::default()).memory_bytes(), 2 * 65_536);
}

#[test]
fn a_session_that_cannot_be_expressed_is_refused_and_the_instance_lives() {
    let mut strategy = run(&Guest::default());
    let mut session = Session {
        run_id: 1,
        seed: 1,
        now: UnixNanos(0),
        next_order_id: OrderId(1),
        instruments: Instruments::default(),
        settings: vec![Setting { key: "x".into(), value: SettingValue::Exact(rust_decimal::Decimal::MAX) }],
        live: false,
    };
    let refused = strategy.init(&session, &mut services());
    assert!(matches!(&refused, Err(CallError::Refused(why)) if why.contains("setting x")), "{refused:?}");
    session.settings.clear();
    assert_eq!(strategy.init(&session, &mut services()), Ok(()));
}

fn full() -> Guest {
    let more = format!(
        "(data (i32.const 256) \"{}\")
         (global $kept (mut i32) (i32.const 0))
         (func (export \"ringfence:strategy/state@1.0.0#save\") (result i32) (i32.const 256))
         (func (export \"ringfence:strategy/state@1.0.0#load\") (param i32 i32 i32) (result i32)
            (global.set $kept (i32.load8_u (local.get 1))) (i32.const 512))
         (func (export \"ringfence:strategy/bars@1.0.0#on-bar\")
            (param i32 i64 i32 i64 i64 i64 i64 i64 i32 i64 i64 i32 i32 i32) (result i32)
            (i32.store (i32.const 324) (i32.const {FREE}))
            (i32.store (i32.const 328) (global.get $kept)) (i32.const 320))
         (func (export \"ringfence:strategy/batch@1.0.0#run\")
            (param i32 i32 i64 i64 i32 i32 i32) (result i32)
            (i32.store (i32.const 384) (i32.wrap_i64 (i64.load offset=8 (local.get 0)))) (i32.const 384))",
        words(&[0, 1, guest::NAME, 7])
    );
    Guest { world: "full-strategy-plugin", more, ..Guest::default() }
}

#[test]
fn state_bars_and_batch_are_found_and_called() {
    let plugin = load(&full()).unwrap();
    assert!(plugin.has_state() && plugin.has_bars() && plugin.has_batch());
    let mut strategy = plugin.instantiate().unwrap();
    let saved = strategy.save(&mut services()).unwrap();
    assert_eq!(saved, Some(StateSnapshot { schema: 1, data: b"healthy".to_vec() }));
    let state = StateSnapshot { schema: 1, data: vec![2] };
    strategy.load(&state, &mut services()).unwrap();
    let mut intents = Vec::new();
    strategy.on_bar(&Bar::default(), &context(), &mut services(), &mut intents).unwrap();
    assert_eq!(intents.len(), 2, "the loaded state decides");
}

#[test]
fn a_batch_consumes_at_least_one_row_and_no_more_than_there_are() {
    let plugin = load(&full()).unwrap();
    // The guest says that it consumed as many rows as the first row's `seq`.
    let run = |seq: u64, rows: usize| {
        let mut strategy = plugin.instantiate().unwrap();
        let rows = batch_row(&Tick { seq, ..Tick::default() }).repeat(rows);
        strategy.run_batch(&rows, &context(), &mut services(), &mut Vec::new())
    };
    assert_eq!(run(2, 3), Ok(BatchOutcome { consumed: 2, fault: None }));
    assert_eq!(run(1, 0), Ok(BatchOutcome::default()));
    assert_eq!(kind(run(4, 3)), TrapKind::Output);
    assert_eq!(kind(run(0, 3)), TrapKind::Output);
    let mut strategy = plugin.instantiate().unwrap();
    let odd = strategy.run_batch(&[0; 12], &context(), &mut services(), &mut Vec::new());
    assert!(matches!(odd, Err(CallError::Refused(_))), "{odd:?}");
}

#[test]
fn a_strategy_without_the_optional_interfaces_ignores_what_they_are_for() {
    let mut strategy = run(&Guest::default());
    assert_eq!(strategy.save(&mut services()), Ok(None));
    assert_eq!(strategy.on_bar(&Bar::default(), &context(), &mut services(), &mut Vec::new()), Ok(()));
    let batch = strategy.run_batch(&[0; 11], &context(), &mut services(), &mut Vec::new());
    assert!(matches!(batch, Err(CallError::Refused(_))), "{batch:?}");
}

#[test]
fn every_kind_of_event_crosses() {
    let mut strategy = run(&Guest::default());
    let (order, instrument) = (OrderId(1), InstrumentId(0));
    let events = [
        StrategyEvent::Accepted(order),
        StrategyEvent::Filled {
            order,
            instrument,
            side: Side::Buy,
            quantity: Lots(1),
            price: PriceTicks(1),
            leaves: Lots(0),
            fee: crate::market::Money::ZERO,
            maker: true,
        },
        StrategyEvent::Rejected { order, reason: crate::orders::RejectReason::Risk, detail: "no".into() },
        StrategyEvent::Funded { instrument, amount: crate::market::Money::ZERO },
        StrategyEvent::Timer(3),
        StrategyEvent::ModeChanged(Mode::ReadOnly),
        StrategyEvent::Operator("hello".into()),
    ];
    for event in events {
        assert_eq!(
            strategy.on_event(&event, &context(), &mut services(), &mut Vec::new()),
            Ok(()),
            "{event:?}"
        );
    }
    assert_eq!(strategy.stop(&mut services(), &mut Vec::new()), Ok(()));
}
