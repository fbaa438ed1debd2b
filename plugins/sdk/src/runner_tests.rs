use super::*;
use crate::test::Harness;
use crate::{
    Description, Lots, Order, PriceTicks, Setting, Side, StateReader, StateWriter, clock, kv, random,
};
use proptest::collection::vec;
use proptest::{prop_assert, prop_assert_eq, proptest};

/// Does what the last digit of the price says, and counts its calls.
#[derive(Debug)]
struct Obedient {
    calls: u64,
    draws: u64,
}

impl Strategy for Obedient {
    fn describe() -> Description {
        Description::new("obedient", "1.0.0", "does what the price says")
            .setting(Setting::integer("quantity", 1..=9).default(1))
            .state(2..=3)
    }

    fn init(_: &Session) -> Result<Self, Fault> {
        Ok(Self { calls: 0, draws: 0 })
    }

    fn on_tick(&mut self, tick: &Tick, context: &Context, intents: &mut Intents) -> Result<(), Fault> {
        self.calls += 1;
        assert_eq!(clock::now(), context.now, "the clock is that of the call");
        match tick.last_price.0 % 10 {
            1 => _ = intents.submit(Order::market(tick.instrument, Side::Buy, Lots(1))),
            2 => return Err(Fault::Internal("as told".into())),
            7 => {
                intents.submit(Order::market(tick.instrument, Side::Buy, Lots(1)));
                return Err(Fault::Internal("after an order".into()));
            }
            3 => clock::set_timer(1, context.now.plus_seconds(5)),
            4 => kv::set("key", &self.calls.to_le_bytes()).unwrap_or_default(),
            5 => self.draws = random::next(),
            6 => crate::info!("call {}", self.calls),
            _ => {}
        }
        Ok(())
    }

    fn save(&self) -> Result<Vec<u8>, Fault> {
        Ok(StateWriter::new().u64(self.calls).u64(self.draws).finish())
    }

    fn load(&mut self, schema: u32, data: &[u8]) -> Result<(), Fault> {
        let mut reader = StateReader::new(data);
        self.calls = reader.u64()?;
        self.draws = if schema == 2 { 0 } else { reader.u64()? };
        reader.finish()
    }
}

fn started() -> Harness<Obedient> {
    Harness::new().start().unwrap()
}

fn ticks(prices: &[i64]) -> Vec<Tick> {
    let tick = |(index, price): (usize, &i64)| Tick {
        seq: index as u64 + 1,
        event_time: UnixNanos((index as u64 + 1) * 1_000_000_000),
        last_price: PriceTicks(*price),
        ..Tick::default()
    };
    prices.iter().enumerate().map(tick).collect()
}

#[test]
fn orders_of_a_call_that_fails_take_no_number() {
    let context = Context {
        now: UnixNanos(0),
        position: Lots::ZERO,
        open_orders: 0,
        intents_left: 9,
        mode: crate::Mode::Full,
    };
    let mut runner = Runner::<Obedient>::new();
    let opening = Opening {
        run_id: 1,
        seed: 1,
        now: UnixNanos(0),
        next_order_id: OrderId(5),
        instruments: Vec::new(),
        settings: Vec::new(),
        live: false,
    };
    runner.init(opening).unwrap();
    let prices = ticks(&[17, 11]);
    assert!(runner.tick(&prices[0], &context).is_err());
    let intents = runner.tick(&prices[1], &context).unwrap();
    assert!(matches!(intents[..], [Intent::Submit { id: OrderId(5), .. }]), "{intents:?}");
}

#[test]
fn a_call_before_init_is_refused_and_not_a_panic() {
    let context = Context {
        now: UnixNanos(0),
        position: Lots::ZERO,
        open_orders: 0,
        intents_left: 1,
        mode: crate::Mode::Full,
    };
    let mut runner = Runner::<Obedient>::new();
    assert_eq!(runner.tick(&Tick::default(), &context), Err(Fault::NotReady));
    assert_eq!(runner.save(), Err(Fault::NotReady));
    assert_eq!(runner.load(3, &[]), Err(Fault::NotReady));
    assert_eq!(runner.batch(&[0; 11], &context).fault, Some(Fault::NotReady));
    assert!(runner.stop().is_empty());
}

#[test]
fn order_numbers_start_where_the_session_says_and_never_repeat() {
    let mut run = started();
    let ids: Vec<_> = (0..3).map(|_| run.trade(11)).collect();
    let id = |intents: &[Intent]| match intents {
        [Intent::Submit { id, .. }] => id.0,
        other => panic!("expected one order, found {other:?}"),
    };
    assert_eq!(ids.iter().map(|intents| id(intents)).collect::<Vec<_>>(), [1, 2, 3]);
    run.swap().unwrap();
    assert_eq!(id(&run.trade(11)), 4);
}

#[test]
fn settings_that_do_not_fit_are_refused_before_init() {
    let refused = Harness::<Obedient>::new().setting("quantity", 10).start().unwrap_err();
    assert_eq!(
        refused,
        Fault::InvalidSettings("quantity: expected a whole number from 1 to 9, found 10".into())
    );
}

#[test]
fn state_outside_the_declared_schemas_is_refused_with_both_numbers() {
    let mut run = started();
    run.load(2, &7_u64.to_le_bytes()).unwrap();
    let refused = run.load(4, &[]).unwrap_err();
    assert_eq!(refused, Fault::IncompatibleState("obedient loads state of schema 2 to 3, found 4".into()));
    assert!(matches!(run.load(3, &[1, 2]), Err(Fault::IncompatibleState(_))));
}

#[test]
fn a_batch_stops_after_the_row_that_the_host_has_to_see() {
    for (digit, what) in [(1, "an intent"), (2, "a fault"), (3, "a timer"), (4, "a write"), (5, "a draw")] {
        let (consumed, _) = started().batch(&ticks(&[10, 10, 10 + digit, 10]));
        assert_eq!(consumed, 3, "{what}");
    }
    let (consumed, result) = started().batch(&ticks(&[10, 16, 10, 10]));
    assert_eq!((consumed, result), (4, Ok(Vec::new())), "a log line does not stop a batch");
}

#[test]
fn a_batch_that_is_cut_off_in_a_row_is_refused_before_anything_runs() {
    let context = Context {
        now: UnixNanos(0),
        position: Lots::ZERO,
        open_orders: 0,
        intents_left: 1,
        mode: crate::Mode::Full,
    };
    let outcome = Runner::<Obedient>::new().batch(&[0; 12], &context);
    assert_eq!(outcome.consumed, 0);
    assert!(matches!(outcome.fault, Some(Fault::Internal(words)) if words.contains("1 left over")));
}

proptest! {
    #[test]
    fn a_batch_gives_what_single_ticks_give(prices in vec(10_i64..20, 0..60)) {
        let feed = ticks(&prices);
        let mut single = started();
        let expected: Vec<_> = feed.iter().map(|tick| single.tick(*tick)).collect();
        let expected_state = single.save().unwrap();
        let expected_timers = single.timers();

        let mut batched = started();
        let mut given = Vec::new();
        let mut rest = feed.as_slice();
        while !rest.is_empty() {
            let (consumed, result) = batched.batch(rest);
            prop_assert!(consumed > 0);
            given.extend((1..consumed).map(|_| Ok(Vec::new())));
            given.push(result);
            rest = &rest[consumed..];
        }
        prop_assert_eq!(given, expected);
        prop_assert_eq!(batched.save().unwrap(), expected_state);
        prop_assert_eq!(batched.timers(), expected_timers);
    }
}
