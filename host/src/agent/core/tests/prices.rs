//! An order is judged by a price of its own instrument that is not old.

use super::*;
use crate::agent::core::{Event, TimeSource};
use crate::market::{Instrument, Instruments, MonoNanos, Tick, UnixNanos};
use crate::orders::Verdict;
use std::sync::Arc;

const Y: InstrumentId = InstrumentId(1);
const MINUTE_MS: u64 = 60_000;

fn rig(time: TimeSource, age_ms_max: Option<u64>) -> Rig {
    Rig::with(|config, _| {
        let (_, x) = rig::instruments().iter().next().map(|(id, x)| (id, x.clone())).unwrap();
        let y = Instrument { symbol: "Y".into(), ..x.clone() };
        config.instruments = Arc::new(Instruments::new(vec![x, y]).unwrap());
        config.time = time;
        config.risk.price_age_ms_max = age_ms_max;
    })
}

/// A price of `Y` at this time of the data.
fn price_of_y(rig: &mut Rig, seq: u64, event_time: UnixNanos) {
    let tick = Tick { instrument: Y, seq, event_time, last_price: PriceTicks(100), ..Tick::default() };
    rig.step(Event::Sample(Ok(tick)));
    rig.run();
}

fn of_y(id: u64, side: Side) -> OrderIntent {
    OrderIntent::Submit(NewOrder { instrument: Y, ..order(id, side, 2, OrderKind::Market) })
}

/// Whether the last intent was taken, or the code of its refusal.
fn last(rig: &Rig) -> Result<(), String> {
    match rig.verdicts().pop().unwrap() {
        Verdict::Intended(_) => Ok(()),
        Verdict::Refused { code, .. } => Err(code),
        Verdict::Suppressed(mode) => Err(mode.to_string()),
    }
}

/// Time in which only `X` has prices.
fn only_x(rig: &mut Rig, ms: u64) {
    for _ in 0..ms / 10_000 {
        rig.jump(MonoNanos(rig.now.mono.0 + 10_000 * 1_000_000));
        rig.tick();
    }
}

#[test]
fn an_instrument_whose_own_feed_is_dead_is_not_opened_and_may_be_reduced() {
    let mut rig = rig(TimeSource::Wall, None);
    let at = rig.now.wall;
    price_of_y(&mut rig, 1, at);
    rig.want(vec![of_y(1, Side::Buy)]);
    assert_eq!(last(&rig), Ok(()));
    only_x(&mut rig, MINUTE_MS + 10_000);
    rig.want(vec![of_y(2, Side::Buy)]);
    assert_eq!(last(&rig), Err("STALE_PRICE".into()), "X has prices");
    rig.want(vec![buy(3, 2)]);
    assert_eq!(last(&rig), Ok(()), "X may be traded");
    rig.want(vec![of_y(4, Side::Sell)]);
    assert_eq!(last(&rig), Ok(()), "it reduces");
    let at = rig.now.wall;
    price_of_y(&mut rig, 2, at);
    rig.want(vec![of_y(5, Side::Buy)]);
    assert_eq!(last(&rig), Ok(()));
    rig.check_folds();
}

#[test]
fn a_price_of_an_earlier_run_does_not_count() {
    let mut rig = rig(TimeSource::Wall, None);
    let at = rig.now.wall;
    price_of_y(&mut rig, 1, at);
    rig.want(vec![buy(9, 2)]);
    rig.kill(0);
    rig.start();
    rig.run();
    assert!(rig.core().books().holding(Y).mark.is_some(), "the books remember it");
    rig.want(vec![of_y(1, Side::Buy)]);
    assert_eq!(last(&rig), Err("STALE_PRICE".into()));
}

#[test]
fn on_the_clock_of_the_data_an_age_is_judged_only_where_one_is_configured() {
    for (max, expected) in [(None, Ok(())), (Some(MINUTE_MS), Err("STALE_PRICE".to_owned()))] {
        let mut rig = rig(TimeSource::Data, max);
        let at = rig.now.wall;
        price_of_y(&mut rig, 1, at);
        only_x(&mut rig, 600_000);
        rig.want(vec![of_y(1, Side::Buy)]);
        assert_eq!(last(&rig), expected);
    }
}
