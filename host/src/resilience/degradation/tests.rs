use super::*;
use crate::resilience::Permille;
use proptest::prelude::*;

fn second(n: u64) -> MonoNanos {
    MonoNanos(n * 1_000_000_000)
}

fn money(amount: i64) -> Money {
    Money::new(Decimal::from(amount))
}

fn equity(amount: i64) -> Signals {
    Signals { equity: Some(money(amount)), ..Signals::default() }
}

fn fresh() -> Degradation {
    Degradation::new(DegradationConfig::default())
}

fn change(from: Mode, to: Mode, cause: ModeCause) -> Option<ModeChange> {
    Some(ModeChange { from, to, cause })
}

const WELL: Signals = Signals {
    equity: None,
    write_breaker_open: false,
    feed_age: None,
    index_failed: false,
    journal_failed: false,
    checkpoints_failed: false,
    venue_auth_failed: false,
    unresolved_orders: false,
    unreconciled: false,
    strategy_halted: false,
    operator_floor: Mode::Full,
};

#[test]
fn every_signal_asks_for_its_mode_with_its_cause() {
    let table = [
        (Signals { journal_failed: true, ..WELL }, Mode::Shutdown, ModeCause::JournalFailed),
        (Signals { index_failed: true, ..WELL }, Mode::Observation, ModeCause::IndexFailed),
        (Signals { strategy_halted: true, ..WELL }, Mode::Observation, ModeCause::StrategyHalted),
        (
            Signals { feed_age: Some(Duration::from_secs(61)), ..WELL },
            Mode::Observation,
            ModeCause::FeedStale,
        ),
        (Signals { checkpoints_failed: true, ..WELL }, Mode::ReadOnly, ModeCause::CheckpointsFailed),
        (Signals { venue_auth_failed: true, ..WELL }, Mode::ReadOnly, ModeCause::VenueAuthFailed),
        (Signals { unresolved_orders: true, ..WELL }, Mode::ReadOnly, ModeCause::UnresolvedOrders),
        (Signals { write_breaker_open: true, ..WELL }, Mode::ReadOnly, ModeCause::WriteBreakerOpen),
        (Signals { unreconciled: true, ..WELL }, Mode::Observation, ModeCause::Unreconciled),
        (Signals { operator_floor: Mode::ReadOnly, ..WELL }, Mode::ReadOnly, ModeCause::Operator),
        (Signals { operator_floor: Mode::Shutdown, ..WELL }, Mode::Shutdown, ModeCause::Operator),
    ];
    for (signals, mode, cause) in table {
        let mut agent = fresh();
        assert_eq!(agent.evaluate(second(0), &WELL), None);
        assert_eq!(agent.evaluate(second(1), &signals), change(Mode::Full, mode, cause), "{signals:?}");
        assert_eq!(agent.evaluate(second(2), &signals), None, "{signals:?}");
    }
}

#[test]
fn the_lowest_mode_asked_for_wins() {
    let signals =
        Signals { write_breaker_open: true, index_failed: true, operator_floor: Mode::ReadOnly, ..WELL };
    let expected = change(Mode::Full, Mode::Observation, ModeCause::IndexFailed);
    assert_eq!(fresh().evaluate(second(0), &signals), expected);
}

#[test]
fn a_feed_of_exactly_the_limit_is_well_and_recovers_only_well_below_it() {
    let mut agent = fresh();
    let feed = |seconds| Signals { feed_age: Some(Duration::from_secs(seconds)), ..WELL };
    assert_eq!(agent.evaluate(second(0), &feed(60)), None);
    assert_eq!(agent.evaluate(second(1), &feed(61)).unwrap().to, Mode::Observation);
    assert_eq!(agent.evaluate(second(2), &feed(45)), None);
    assert_eq!(agent.next_wake(), None);
    assert_eq!(agent.evaluate(second(3), &feed(30)), None);
    assert_eq!(agent.next_wake(), Some(second(63)));
}

#[test]
fn the_mode_goes_up_one_step_after_each_dwell() {
    let mut agent = fresh();
    agent.evaluate(second(0), &Signals { index_failed: true, ..WELL });
    assert_eq!(agent.evaluate(second(10), &WELL), None);
    assert_eq!(agent.evaluate(second(69), &WELL), None);
    let up = agent.evaluate(second(70), &WELL);
    assert_eq!(up, change(Mode::Observation, Mode::ReadOnly, ModeCause::Recovered));
    assert_eq!(agent.evaluate(second(129), &WELL), None);
    let up = agent.evaluate(second(130), &WELL);
    assert_eq!(up, change(Mode::ReadOnly, Mode::Full, ModeCause::Recovered));
    assert_eq!(agent.next_wake(), None);
}

#[test]
fn a_relapse_starts_the_dwell_again() {
    let mut agent = fresh();
    let ill = Signals { write_breaker_open: true, ..WELL };
    agent.evaluate(second(0), &ill);
    agent.evaluate(second(1), &WELL);
    agent.evaluate(second(60), &ill);
    agent.evaluate(second(61), &WELL);
    assert_eq!(agent.evaluate(second(120), &WELL), None);
    assert_eq!(agent.evaluate(second(121), &WELL).unwrap().to, Mode::Full);
}

#[test]
fn the_mode_rises_to_the_operators_floor_and_no_further() {
    let mut agent = fresh();
    let floor = Signals { operator_floor: Mode::ReadOnly, ..WELL };
    agent.evaluate(second(0), &Signals { index_failed: true, ..floor });
    agent.evaluate(second(1), &floor);
    assert_eq!(agent.evaluate(second(61), &floor).unwrap().to, Mode::ReadOnly);
    assert_eq!(agent.evaluate(second(10_000), &floor), None);
}

#[test]
fn each_flap_doubles_the_dwell_and_a_quiet_time_ends_that() {
    let mut agent = fresh();
    let ill = Signals { write_breaker_open: true, ..WELL };
    let mut now = 0;
    for dwell in [60, 120, 240, 480, 900, 900] {
        agent.evaluate(second(now), &ill);
        agent.evaluate(second(now + 1), &WELL);
        assert_eq!(agent.evaluate(second(now + dwell), &WELL), None);
        assert_eq!(agent.evaluate(second(now + dwell + 1), &WELL).unwrap().to, Mode::Full);
        now += dwell + 2;
    }
    now += 901;
    agent.evaluate(second(now), &ill);
    agent.evaluate(second(now), &WELL);
    assert_eq!(agent.evaluate(second(now + 60), &WELL).unwrap().to, Mode::Full);
}

#[test]
fn a_fall_in_two_steps_is_one_flap() {
    let mut agent = fresh();
    let ill = Signals { write_breaker_open: true, ..WELL };
    agent.evaluate(second(0), &ill);
    agent.evaluate(second(0), &WELL);
    agent.evaluate(second(60), &WELL);
    agent.evaluate(second(61), &ill);
    agent.evaluate(second(62), &Signals { index_failed: true, ..WELL });
    agent.evaluate(second(63), &WELL);
    assert_eq!(agent.next_wake(), Some(second(63 + 120)));
}

#[test]
fn a_drawdown_above_a_fifth_shuts_down_and_one_of_a_fifth_does_not() {
    let mut agent = fresh();
    assert_eq!(agent.evaluate(second(0), &equity(1_000)), None);
    assert_eq!(agent.evaluate(second(1), &equity(800)), None);
    assert_eq!(agent.drawdown(), Decimal::new(2, 1));
    let down = agent.evaluate(second(2), &equity(799));
    assert_eq!(down, change(Mode::Full, Mode::Shutdown, ModeCause::Drawdown));
}

#[test]
fn a_drawdown_passes_through_the_bands_and_out_of_them_lower() {
    let config: DegradationConfig = toml::from_str(
        "drawdown_read_only = { enter_permille = 50, leave_permille = 40 }
         drawdown_observation = { enter_permille = 100, leave_permille = 90 }
         drawdown_max_permille = 150
         dwell_ms = 0",
    )
    .unwrap();
    let mut agent = Degradation::new(config);
    let mut after = |amount| {
        agent.evaluate(second(0), &equity(amount));
        agent.mode()
    };
    let modes = [1_000, 951, 950, 901, 900, 909, 911, 959, 961].map(&mut after);
    use Mode::{Full, Observation, ReadOnly};
    let expected = [Full, Full, ReadOnly, ReadOnly, Observation, Observation, ReadOnly, ReadOnly, Full];
    assert_eq!(modes, expected);
    assert_eq!(after(849), Mode::Shutdown);
}

#[test]
fn equity_below_its_minimum_shuts_down() {
    let config = DegradationConfig { equity_min: Some(money(900)), ..DegradationConfig::default() };
    let mut agent = Degradation::new(config);
    assert_eq!(agent.evaluate(second(0), &equity(900)), None);
    let down = agent.evaluate(second(1), &equity(899));
    assert_eq!(down, change(Mode::Full, Mode::Shutdown, ModeCause::EquityBelowMinimum));
}

#[test]
fn a_missing_sample_leaves_peak_and_drawdown_as_they_are() {
    let mut agent = fresh();
    agent.evaluate(second(0), &equity(1_000));
    agent.evaluate(second(1), &equity(900));
    agent.evaluate(second(2), &WELL);
    assert_eq!(agent.peak(), Some(money(1_000)));
    assert_eq!(agent.drawdown(), Decimal::new(1, 1));
}

#[test]
fn shutdown_is_latched_until_the_operator_releases_it() {
    let mut agent = fresh();
    agent.evaluate(second(0), &Signals { journal_failed: true, ..WELL });
    for now in [1, 1_000, 1_000_000] {
        assert_eq!(agent.evaluate(second(now), &WELL), None);
    }
    assert_eq!((agent.mode(), agent.next_wake()), (Mode::Shutdown, None));
    assert_eq!(agent.release(), change(Mode::Shutdown, Mode::Observation, ModeCause::Operator));
    assert_eq!(agent.release(), None);
    assert_eq!(agent.evaluate(second(1_000_001), &WELL), None);
    assert_eq!(agent.evaluate(second(1_000_061), &WELL).unwrap().to, Mode::ReadOnly);
}

#[test]
fn a_release_holds_only_when_the_reason_is_gone() {
    let mut agent = fresh();
    agent.evaluate(second(0), &equity(1_000));
    agent.evaluate(second(1), &equity(700));
    agent.release();
    assert_eq!(agent.evaluate(second(2), &WELL).unwrap().to, Mode::Shutdown);
    agent.release();
    agent.reset_peak();
    assert_eq!(agent.evaluate(second(3), &WELL), None);
    assert_eq!(agent.peak(), Some(money(700)));
}

#[test]
fn deposits_and_withdrawals_are_no_profit_and_no_loss() {
    let mut agent = fresh();
    agent.evaluate(second(0), &equity(1_000));
    agent.evaluate(second(1), &equity(900));
    agent.flow(money(1_000)).unwrap();
    assert_eq!(agent.evaluate(second(2), &WELL), None);
    assert_eq!(agent.evaluate(second(3), &equity(1_900)), None);
    assert_eq!(agent.peak(), Some(money(2_000)));
    agent.flow(money(-1_000)).unwrap();
    assert_eq!(agent.evaluate(second(4), &equity(900)), None);
    assert_eq!(agent.peak(), Some(money(1_000)));
    let too_much = Money::new(Decimal::MAX);
    assert_eq!(agent.flow(too_much), Err(FlowError { amount: too_much, peak: money(1_000) }));
    assert_eq!(agent.peak(), Some(money(1_000)));
}

#[test]
fn an_account_without_a_positive_peak_has_no_drawdown() {
    let mut agent = fresh();
    for amount in [0, -5, 0, -1_000] {
        assert_eq!(agent.evaluate(second(0), &equity(amount)), None);
        assert_eq!(agent.drawdown(), Decimal::ZERO);
    }
}

#[test]
fn a_loss_that_does_not_fit_a_decimal_is_a_drawdown_beyond_any_limit() {
    let mut agent = fresh();
    agent.evaluate(second(0), &Signals { equity: Some(Money::new(Decimal::new(1, 28))), ..WELL });
    let ruin = Signals { equity: Some(Money::new(Decimal::MIN)), ..WELL };
    assert_eq!(agent.evaluate(second(1), &ruin).unwrap().cause, ModeCause::Drawdown);
}

#[test]
fn three_traps_in_ten_calls_make_the_agent_observe_until_they_are_history() {
    let mut agent = fresh();
    for trapped in [true, false, true, false, true] {
        assert_eq!(agent.evaluate(second(0), &WELL), None);
        agent.called(trapped);
    }
    let down = agent.evaluate(second(0), &WELL);
    assert_eq!(down, change(Mode::Full, Mode::Observation, ModeCause::Traps));
    (0..6).for_each(|_| agent.called(false));
    agent.evaluate(second(1), &WELL);
    assert_eq!(agent.evaluate(second(61), &WELL).unwrap().to, Mode::ReadOnly);
}

#[test]
fn a_restart_keeps_the_latch_and_the_peak() {
    let mut agent = fresh();
    agent.evaluate(second(0), &equity(1_000));
    agent.evaluate(second(1), &equity(700));
    let text = serde_json::to_string(&agent.state()).unwrap();
    let mut restored =
        Degradation::restore(DegradationConfig::default(), serde_json::from_str(&text).unwrap());
    assert_eq!(restored.state(), agent.state());
    for now in [0, 1_000] {
        assert_eq!(restored.evaluate(second(now), &WELL), None);
    }
    assert_eq!((restored.mode(), restored.peak()), (Mode::Shutdown, Some(money(1_000))));
}

#[test]
fn the_code_of_a_cause_is_its_name_in_files() {
    let text = serde_json::to_string(&ModeCause::EquityBelowMinimum).unwrap();
    assert_eq!(text, format!("\"{}\"", ModeCause::EquityBelowMinimum));
}

#[test]
fn books_that_agree_with_the_venue_again_need_no_dwell_and_other_signals_keep_theirs() {
    let mut agent = fresh();
    let apart = Signals { unreconciled: true, ..WELL };
    agent.evaluate(second(0), &apart);
    let up = agent.evaluate(second(1), &WELL);
    assert_eq!(up, change(Mode::Observation, Mode::Full, ModeCause::Reconciled));
    // The breaker opens meanwhile; its dwell is its own.
    agent.evaluate(second(2), &apart);
    assert_eq!(agent.evaluate(second(3), &Signals { write_breaker_open: true, ..apart }), None);
    let up = agent.evaluate(second(4), &WELL);
    assert_eq!(up, change(Mode::Observation, Mode::ReadOnly, ModeCause::Reconciled));
    assert_eq!(agent.evaluate(second(63), &WELL), None);
    let up = agent.evaluate(second(64), &WELL);
    assert_eq!(up, change(Mode::ReadOnly, Mode::Full, ModeCause::Recovered));
}

#[test]
fn a_venue_that_comes_and_goes_does_not_lengthen_dwells() {
    let mut agent = fresh();
    for n in 0..50 {
        agent.evaluate(second(2 * n), &Signals { unreconciled: true, ..WELL });
        assert_eq!(agent.mode(), Mode::Observation);
        agent.evaluate(second(2 * n + 1), &WELL);
        assert_eq!(agent.mode(), Mode::Full);
    }
    agent.evaluate(second(100), &Signals { index_failed: true, ..WELL });
    agent.evaluate(second(101), &WELL);
    assert_eq!(agent.evaluate(second(161), &WELL).unwrap().to, Mode::ReadOnly);
}

#[test]
fn a_shutdown_is_not_hidden_by_books_that_do_not_agree() {
    let mut agent = fresh();
    let apart = Signals { unreconciled: true, ..WELL };
    agent.evaluate(second(0), &apart);
    let down = agent.evaluate(second(1), &Signals { journal_failed: true, ..apart });
    assert_eq!(down, change(Mode::Observation, Mode::Shutdown, ModeCause::JournalFailed));
    let down = fresh().evaluate(second(0), &Signals { journal_failed: true, ..apart });
    assert_eq!(down, change(Mode::Full, Mode::Shutdown, ModeCause::JournalFailed));
}

#[test]
fn modes_that_the_journal_holds_give_the_mode_that_was() {
    for last in [&WELL, &Signals { unreconciled: true, ..WELL }] {
        let (mut live, mut folded) = (fresh(), fresh());
        let ill = Signals { unreconciled: true, write_breaker_open: true, ..WELL };
        for (at, signals) in [(0, &WELL), (1, &ill), (2, &Signals { unreconciled: true, ..WELL }), (90, last)]
        {
            if let Some(change) = live.evaluate(second(at), signals) {
                folded.adopt(change.to, change.cause);
            }
            assert_eq!(folded.mode(), live.mode());
        }
    }
}

fn signals() -> impl Strategy<Value = Signals> {
    let modes = prop_oneof![8 => Just(Mode::Full), 1 => Just(Mode::ReadOnly), 1 => Just(Mode::Observation)];
    // Mostly well, so that a sequence also recovers.
    let rare = || prop::bool::weighted(0.08);
    let flags = (rare(), rare(), rare(), rare(), rare(), rare());
    (prop::option::of(850_i64..1_000), 0_u64..80, flags, modes).prop_map(
        |(equity, age, (breaker, index, checkpoints, auth, unresolved, halted), operator_floor)| Signals {
            equity: equity.map(money),
            write_breaker_open: breaker,
            feed_age: Some(Duration::from_secs(age.saturating_sub(15))),
            index_failed: index,
            journal_failed: false,
            checkpoints_failed: checkpoints,
            venue_auth_failed: auth,
            unresolved_orders: unresolved,
            unreconciled: false,
            strategy_halted: halted,
            operator_floor,
        },
    )
}

proptest! {
    #[test]
    fn falls_are_immediate_and_rises_slow_and_single(
        steps in prop::collection::vec((0_u64..120, signals()), 1..150),
    ) {
        let mut agent = fresh();
        let (mut now, mut changed_at, mut peak) = (0, None::<u64>, None);
        for (passed, signals) in steps {
            now += passed;
            let before = agent.mode();
            let change = agent.evaluate(second(now), &signals);
            prop_assert_eq!(change.map_or(before, |change| change.to), agent.mode());
            prop_assert!(agent.mode() >= signals.operator_floor);
            prop_assert!(agent.mode() >= Mode::ReadOnly || !signals.write_breaker_open);
            if let Some(change) = change {
                prop_assert_eq!(change.from, before);
                prop_assert_ne!(change.from, change.to);
                if change.to < change.from {
                    prop_assert_eq!(change.from.one_up(), change.to);
                    prop_assert!(changed_at.is_some_and(|at| now - at >= 60));
                }
                changed_at = Some(now);
            }
            prop_assert!(agent.next_wake().is_none_or(|at| at > second(now)));
            peak = peak.max(signals.equity);
            prop_assert_eq!(agent.peak(), peak);
            prop_assert!(agent.drawdown() >= Decimal::ZERO && agent.drawdown() < Decimal::ONE);
        }
        // Once everything is well, the agent comes back, dwell by dwell.
        for _ in 0..5 {
            now += 900;
            agent.evaluate(second(now), &WELL);
        }
        prop_assert_eq!(agent.mode(), Mode::Full);
    }

    #[test]
    fn no_path_between_two_equities_that_stays_full_changes_the_mode(
        start in 50_000_i64..150_000,
        (low, high) in (40_000_i64..150_000, 40_000_i64..150_000),
        path in prop::collection::vec(0.0_f64..=1.0, 1..50),
        bands in any::<bool>(),
        minimum in prop::option::of(40_000_i64..100_000),
    ) {
        let (low, high) = (low.min(high), low.max(high));
        let band = |enter, leave| {
            let permille = |n| Permille::try_from(n).unwrap();
            bands.then(|| DrawdownBand::new(permille(enter), permille(leave)).unwrap())
        };
        let config = DegradationConfig {
            equity_min: minimum.map(money),
            drawdown_read_only: band(50, 40),
            drawdown_observation: band(100, 80),
            ..DegradationConfig::default()
        };
        let mut agent = Degradation::new(config);
        agent.evaluate(second(0), &equity(start));
        if agent.stays_full(money(low), money(high)) {
            for (step, place) in (1..).zip(path) {
                let there = low + ((high - low) as f64 * place) as i64;
                prop_assert_eq!(agent.evaluate(second(step), &equity(there)), None, "at {}", there);
            }
        } else if agent.mode() == Mode::Full {
            agent.evaluate(second(1), &equity(high));
            agent.evaluate(second(2), &equity(low));
            prop_assert!(agent.mode() != Mode::Full, "the worst path changes it");
        }
    }
}
