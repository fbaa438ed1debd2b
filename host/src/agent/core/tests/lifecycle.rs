//! Starting, stopping, and what a strategy keeps with the host.

use super::*;
use crate::agent::core::{FailAction, Operator, RecoverError, TimeSource};
use crate::market::{Money, UnixNanos};
use crate::orders::{Record, StrategyEvent};
use crate::plugin::{CallError, Fault as StrategyFault, Services, StateSnapshot};
use crate::resilience::Class;

#[test]
fn an_orderly_stop_does_to_orders_and_positions_what_is_configured() {
    for (action, resting, position) in
        [(FailAction::Hold, 1, 3), (FailAction::Cancel, 0, 3), (FailAction::Flatten, 0, 0)]
    {
        let mut rig = Rig::with(|config, _| config.on_stop = action);
        rig.want(vec![buy(1, 3), bid(2, 2, 95)]);
        rig.stop();
        rig.advance(1_000);
        assert!(rig.stopped, "{action:?}");
        assert_eq!((rig.venue.resting().len(), rig.venue.position), (resting, position), "{action:?}");
        assert_eq!(rig.strategy.script().stops, 1);
        assert_eq!(rig.checkpoints.last().unwrap().number, rig.journal.len() as u64);
        rig.check_books();
        rig.check_folds();
    }
}

#[test]
fn an_order_that_turns_out_to_work_while_the_agent_stops_is_cancelled() {
    let mut rig = Rig::new();
    rig.faults = [Fault::ReplyLost].into();
    rig.want(vec![bid(1, 2, 95)]);
    rig.stop();
    assert!(!rig.stopped);
    rig.advance(20_000);
    assert_eq!((rig.stopped, rig.venue.resting().len()), (true, 0));
}

#[test]
fn a_stop_that_takes_too_long_leaves_its_intents_to_the_next_start() {
    let mut rig = Rig::with(|config, _| config.limits.drain_ms_max = 1_000);
    rig.faults = std::iter::repeat_n(Fault::ReplyLost, 4).collect();
    rig.want(vec![buy(1, 2)]);
    rig.stop();
    rig.advance(1_500);
    assert!(rig.stopped && rig.alerts.iter().any(|code| code == "stopped_with_open_intents"));
    rig.kill(0);
    rig.start();
    rig.heal();
    assert_eq!(rig.position(), 2);
    rig.check_books();
    rig.check_intents();
}

#[test]
fn what_a_call_does_to_its_memory_counts_only_when_the_call_succeeds() {
    fn touch(services: &mut Services) {
        services.kv_set("k", vec![1]).unwrap();
        services.random_next();
        services.set_timer(1, UnixNanos(u64::MAX));
    }
    let mut rig = Rig::new();
    let before = rig.core().state().memory;
    rig.tick_with(Step::Spoil(touch, CallError::Fault(StrategyFault::NotReady)));
    assert_eq!(rig.core().state().memory, before);
    rig.tick_with(Step::Touch(touch));
    let after = rig.core().state().memory;
    assert!(after.kv != before.kv && after.random != before.random && after.timers.len() == 1);
    // It travels with the next decision, and a start from the journal alone has it.
    rig.want(vec![buy(1, 1)]);
    rig.kill(0);
    rig.checkpoints.clear();
    rig.start();
    assert_eq!(rig.core().state().memory, after);
}

#[test]
fn a_timer_comes_once_at_its_time() {
    let mut rig = Rig::new();
    rig.tick_with(Step::Touch(|services| {
        let at = services.now.after(std::time::Duration::from_secs(3));
        services.set_timer(5, at);
    }));
    rig.advance(2_900);
    assert!(rig.heard().is_empty());
    rig.advance(1_000);
    rig.advance(10_000);
    assert_eq!(rig.heard(), [StrategyEvent::Timer(5)]);
}

#[test]
fn a_timer_by_the_datas_clock_waits_for_the_data() {
    let mut rig = Rig::with(|config, _| config.time = TimeSource::Data);
    rig.tick_with(Step::Touch(|services| {
        services.set_timer(5, services.now.after(std::time::Duration::from_secs(3)));
    }));
    rig.advance(10_000);
    assert!(rig.heard().is_empty());
    rig.tick();
    assert_eq!(rig.heard(), [StrategyEvent::Timer(5)]);
}

#[test]
fn a_strategys_state_is_loaded_by_the_next_start() {
    let state = StateSnapshot { schema: 3, data: vec![1, 2, 3] };
    let mut rig = Rig::new();
    rig.strategy.script().state = Some(state.clone());
    rig.want(vec![buy(1, 1)]);
    rig.kill(0);
    rig.start();
    assert_eq!(rig.strategy.script().loaded, Some(state));
}

#[test]
fn words_of_the_operator_reach_the_strategy_and_its_answer_is_traded() {
    let mut rig = Rig::new();
    rig.tick();
    rig.strategy.script().events.push_back(Step::Want(vec![buy(1, 2)]));
    rig.operator(Operator::Say("go".into()));
    assert_eq!(rig.venue.position, 2);
    assert_eq!(rig.heard()[0], StrategyEvent::Operator("go".into()));
}

#[test]
fn an_attempt_under_way_when_the_host_died_is_ambiguous_and_its_key_is_sent_again() {
    let mut rig = Rig::new();
    rig.faults = [Fault::Slow(std::time::Duration::from_secs(5))].into();
    // Else the updates would tell of it before it is sent again.
    rig.venue.account_lag.0 = std::time::Duration::from_secs(60);
    rig.want(vec![buy(1, 2)]);
    let key = rig.key(1);
    rig.kill(0);
    rig.start();
    assert!(rig.intent(1).maybe_executed());
    assert_eq!(rig.intent(1).errors[0].failure.code, "host_died");
    rig.run();
    assert_eq!((rig.venue.executed(&key), rig.position(), rig.sent.len()), (1, 2, 2));
    rig.check_books();
}

fn refusal(rig: &Rig) -> String {
    let error = rig.try_recover(script::Scripted::default(), rig.checkpoints.last());
    error.err().map(|error| error.to_string()).unwrap_or_default()
}

#[test]
fn a_start_refuses_a_journal_that_lacks_a_record() {
    let mut rig = Rig::new();
    rig.want(vec![buy(1, 2)]);
    rig.checkpoints.clear();
    rig.journal.remove(2);
    let text = refusal(&rig);
    assert!(text.contains("record 3 is missing"), "{text}");
}

#[test]
fn a_start_refuses_other_instruments_and_a_lower_incarnation_with_and_without_a_checkpoint() {
    for with_checkpoint in [true, false] {
        let mut rig = Rig::with(|config, _| config.incarnation = 4);
        rig.want(vec![buy(1, 2)]);
        if !with_checkpoint {
            rig.checkpoints.clear();
        }
        rig.config.incarnation = 3;
        assert!(refusal(&rig).contains("the incarnation is 4"), "{}", refusal(&rig));
        rig.config.incarnation = 4;
        rig.config.instruments = std::sync::Arc::default();
        assert!(refusal(&rig).contains("the list of instruments is X"), "{}", refusal(&rig));
    }
}

#[test]
fn a_later_change_of_the_configured_cash_does_not_move_the_books() {
    let mut rig = Rig::new();
    rig.want(vec![buy(1, 2)]);
    rig.kill(0);
    rig.checkpoints.clear();
    rig.config.cash = Money::ZERO;
    rig.start();
    rig.run();
    rig.check_books();
}

#[test]
fn a_strategy_that_traps_after_every_start_is_only_observed() {
    let mut rig = Rig::new();
    for _ in 0..3 {
        rig.tick_with(Step::trap());
        rig.advance(31_000);
        rig.kill(0);
        rig.start();
        rig.run();
    }
    rig.live(140_000);
    assert_ne!(rig.core().mode(), crate::resilience::Mode::Full);
}

#[test]
fn a_payload_that_is_no_state_is_refused_with_its_class() {
    let name = "agent".parse().unwrap();
    let error = crate::agent::core::State::decode(&name, b"junk").unwrap_err();
    assert!(matches!(error, RecoverError::Undecodable { .. }));
    assert_eq!(crate::resilience::Classified::class(&error), Class::State);
}

#[test]
fn every_start_is_journaled() {
    let mut rig = Rig::new();
    rig.kill(0);
    rig.start();
    rig.run();
    let starts = rig.records().filter(|record| matches!(record, Record::Started { .. })).count();
    assert_eq!(starts, 2);
}
