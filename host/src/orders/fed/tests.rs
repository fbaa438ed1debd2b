use super::pack::{pack, unpack};
use super::*;
use crate::market::{Lots, Marks, UnixNanos};
use crate::orders::{Mode, OrderId, RejectReason};
use proptest::prelude::*;

fn context() -> impl Strategy<Value = TickContext> {
    let mode =
        prop_oneof![Just(Mode::Full), Just(Mode::ReadOnly), Just(Mode::Observation), Just(Mode::Shutdown)];
    (any::<u64>(), any::<i64>(), any::<u32>(), any::<u32>(), mode).prop_map(
        |(now, position, open_orders, intents_left, mode)| TickContext {
            now: UnixNanos(now),
            position: Lots(position),
            open_orders,
            intents_left,
            mode,
        },
    )
}

fn input() -> impl Strategy<Value = FedInput> {
    let tick = (0_u32..3, any::<[u64; 2]>(), any::<[i64; 7]>(), any::<u8>()).prop_map(
        |(instrument, [seq, at], [a, b, c, d, e, f, g], marks)| {
            FedInput::Tick(Tick {
                instrument: InstrumentId(instrument),
                seq,
                event_time: UnixNanos(at),
                bid_price: PriceTicks(a),
                bid_size: Lots(b),
                ask_price: PriceTicks(c),
                ask_size: Lots(d),
                last_price: PriceTicks(e),
                last_size: Lots(f),
                volume: Lots(g),
                marks: Marks(marks),
            })
        },
    );
    let event = prop_oneof![
        any::<u64>().prop_map(|id| StrategyEvent::Accepted(OrderId(id))),
        any::<u32>().prop_map(StrategyEvent::Timer),
        (any::<u64>(), ".{0,40}").prop_map(|(id, detail)| StrategyEvent::Rejected {
            order: OrderId(id),
            reason: RejectReason::Risk,
            detail
        }),
    ];
    let bar = (any::<[u32; 3]>(), any::<u64>(), any::<[i64; 5]>()).prop_map(
        |([instrument, seconds, trades], start, [open, high, low, close, volume])| {
            FedInput::Bar(Bar {
                instrument: InstrumentId(instrument),
                start: UnixNanos(start),
                seconds,
                open: PriceTicks(open),
                high: PriceTicks(high),
                low: PriceTicks(low),
                close: PriceTicks(close),
                volume: Lots(volume),
                trades,
            })
        },
    );
    prop_oneof![3 => tick, 1 => bar, 1 => event.prop_map(FedInput::Event)]
}

fn call() -> impl Strategy<Value = Fed> {
    let answer = prop_oneof![
        Just(Answer::Quiet),
        any::<[u8; 32]>().prop_map(|bytes| Answer::Wanted(Digest::from_bytes(bytes))),
        Just(Answer::Fault),
        Just(Answer::Refused),
        Just(Answer::Failed),
    ];
    let marked = prop::collection::vec((any::<u32>(), any::<i64>()), 0..4);
    let fuel = any::<u64>().prop_map(NonZeroU64::new);
    (any::<u64>(), any::<(u64, u32)>(), marked, context(), input(), answer, fuel).prop_map(
        |(call, (record, changes), marked, context, input, answer, fuel)| Fed {
            call,
            seen: Seen { record, changes },
            marked: marked.into_iter().map(|(id, price)| (InstrumentId(id), PriceTicks(price))).collect(),
            context,
            input,
            answer,
            fuel,
        },
    )
}

proptest! {
    #[test]
    fn calls_are_read_back_as_they_were_packed(calls in prop::collection::vec(call(), 0..20)) {
        prop_assert_eq!(unpack(&pack(&calls)), Ok(calls));
    }

    #[test]
    fn any_bytes_are_read_or_refused_without_a_panic(mut bytes: Vec<u8>) {
        let _ = unpack(&bytes);
        for layout in [1, 2, 3] {
            bytes.insert(0, layout);
            let _ = unpack(&bytes);
        }
    }

    #[test]
    fn packed_calls_that_are_cut_off_are_refused_or_end_at_a_call(
        calls in prop::collection::vec(call(), 1..6),
        share in 0.0..1.0_f64,
    ) {
        let bytes = pack(&calls);
        let kept = (bytes.len() as f64 * share) as usize;
        if let Ok(read) = unpack(&bytes[..kept]) {
            prop_assert!(calls.starts_with(&read));
        }
    }
}

/// Quotes and trades of one market, a few times a second, at prices and sizes of a large venue.
fn market(ticks: u64) -> Vec<Fed> {
    let mut random = crate::random::SplitMix64(5);
    let (mut price, mut now) = (6_120_000_i64, 1_723_161_600_000_000_000_u64);
    let mut small = |below: u64| random.below(below).cast_signed();
    let call = |number| {
        price += small(41) - 20;
        now += 1_000_000 * (1 + small(400).cast_unsigned());
        let tick = Tick {
            seq: number,
            event_time: UnixNanos(now),
            bid_price: PriceTicks(price - 1),
            bid_size: Lots(small(400_000)),
            ask_price: PriceTicks(price),
            ask_size: Lots(small(400_000)),
            last_price: PriceTicks(price),
            last_size: Lots(small(90_000)),
            volume: Lots(small(90_000)),
            marks: Marks::TRADE.with(Marks::QUOTE),
            ..Tick::default()
        };
        let context = TickContext {
            // The host's clock, a moment after the venue's.
            now: UnixNanos(now + 3_000_000 + small(900_000).cast_unsigned()),
            position: Lots(5),
            open_orders: 1,
            intents_left: 64,
            mode: Mode::Full,
        };
        let (seen, input) = (Seen { record: 4, changes: 1 }, FedInput::Tick(tick));
        let fuel = NonZeroU64::new((260 + small(2) * 9).cast_unsigned());
        Fed { call: number, seen, marked: Vec::new(), context, input, answer: Answer::Quiet, fuel }
    };
    (1..=ticks).map(call).collect()
}

#[test]
fn a_tick_takes_a_few_bytes() {
    let calls = market(256);
    let bytes = pack(&calls).len();
    assert!(bytes < calls.len() * 30, "{bytes} bytes for {} ticks", calls.len());
}

#[test]
fn another_layout_is_named() {
    assert_eq!(
        unpack(&[9]).unwrap_err().to_string(),
        "expected calls packed in layout 1 to 3, found layout 9"
    );
    assert_eq!(unpack(&[]).unwrap_err().to_string(), "expected more bytes after byte 0 of the packed calls");
}

/// A tick and a timer as the first release wrote them.
const LAYOUT_1: [&[u8]; 3] = [
    // A tick of the first instrument, whose every other field is new, and its context.
    &[1, 0x02, 8, 1, 0, 0xC2, 0x07, 0xD0, 0x0F, 100, 4, 4, 2, 10, 10, 1, 64, 0],
    // A timer, with a price that was marked, and intents.
    &[0x3F, 2, 0, 102, 8, 0xA1, 0x65, b't', b'i', b'm', b'e', b'r', 3],
    &[7; 32],
];

#[test]
fn calls_of_the_first_layout_are_read() {
    let context = TickContext {
        now: UnixNanos(1_005),
        position: Lots(5),
        open_orders: 1,
        intents_left: 64,
        mode: Mode::Full,
    };
    let tick = Tick {
        seq: 1,
        event_time: UnixNanos(1_000),
        last_price: PriceTicks(50),
        last_size: Lots(2),
        volume: Lots(2),
        marks: Marks::TRADE,
        ..Tick::default()
    };
    let first = Fed {
        call: 1,
        seen: Seen { record: 4, changes: 1 },
        marked: Vec::new(),
        context,
        input: FedInput::Tick(tick),
        answer: Answer::Quiet,
        fuel: None,
    };
    let second = Fed {
        call: 2,
        marked: vec![(InstrumentId(0), PriceTicks(51))],
        context: TickContext { now: UnixNanos(1_006), ..context },
        input: FedInput::Event(StrategyEvent::Timer(3)),
        answer: Answer::Wanted(Digest::from_bytes([7; 32])),
        ..first.clone()
    };
    assert_eq!(unpack(&LAYOUT_1.concat()), Ok(vec![first, second]));
}
