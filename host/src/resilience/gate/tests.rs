use super::*;
use crate::resilience::BreakerState;
use proptest::prelude::*;

const FAST: Duration = Duration::from_millis(50);

fn second(n: u64) -> MonoNanos {
    MonoNanos(n * 1_000_000_000)
}

fn gate() -> Gate {
    Gate::new(GateConfig::default(), 11)
}

fn report(gate: &mut Gate, permit: Permit, verdict: Verdict, now: MonoNanos) -> Option<Transition> {
    gate.report(permit, verdict, FAST, None, now)
}

/// Fails five writes at second zero, and returns when the probe is due.
fn tripped() -> (Gate, MonoNanos) {
    let mut gate = gate();
    for _ in 0..5 {
        let permit = gate.admit_write(second(0), RetryKind::First).unwrap();
        report(&mut gate, permit, Verdict::Failure, second(0));
    }
    let wake = gate.next_wake(second(0)).unwrap();
    (gate, wake)
}

#[test]
fn a_gate_can_be_shared_between_threads() {
    fn shared<T: Send + Sync>() {}
    shared::<std::sync::Arc<std::sync::Mutex<Gate>>>();
}

#[test]
fn an_open_write_breaker_refuses_writes_and_lets_reads_pass() {
    let (mut gate, wake) = tripped();
    assert!(gate.write_open());
    let refusal = gate.admit_write(second(1), RetryKind::First).unwrap_err();
    assert_eq!(refusal, Refusal { retry_at: wake, reason: RefusalReason::BreakerOpen });
    let permit = gate.admit_read(second(1)).unwrap();
    assert_eq!(report(&mut gate, permit, Verdict::Success, second(1)), None);
}

#[test]
fn what_the_breaker_refuses_takes_nothing_from_the_limit() {
    let (mut gate, _) = tripped();
    (0..100).for_each(|_| drop(gate.admit_write(second(0), RetryKind::First)));
    // Five of the burst of ten went to the failed writes.
    let reads = (0..100).take_while(|_| gate.admit_read(second(0)).is_ok()).count();
    assert_eq!(reads, 5);
    assert_eq!(gate.stats(second(0)).write.rejected, 100);
}

#[test]
fn a_safe_probe_closes_the_write_breaker() {
    let (mut gate, wake) = tripped();
    assert!(gate.take_probe(MonoNanos(wake.0 - 1)).is_none());
    let half_open = gate.advance(wake).unwrap();
    assert_eq!((half_open.traffic, half_open.to), (Traffic::Write, BreakerState::HalfOpen));
    assert_eq!(gate.advance(wake), None);
    let probe = gate.take_probe(wake).unwrap();
    assert!(gate.take_probe(wake).is_none());
    assert!(gate.write_open());
    let closed = report(&mut gate, probe, Verdict::Success, wake).unwrap();
    assert_eq!((closed.traffic, closed.to, closed.trips), (Traffic::Write, BreakerState::Closed, 1));
    assert!(!gate.write_open());
    assert_eq!(gate.next_wake(wake), None);
}

#[test]
fn the_probe_waits_for_the_pause_that_the_venue_asked_for_without_a_busy_loop() {
    let (mut gate, wake) = tripped();
    let read = gate.admit_read(second(1)).unwrap();
    gate.report(read, Verdict::Excluded, FAST, Some(Duration::from_secs(300)), second(1));
    assert!(gate.take_probe(wake).is_none());
    assert_eq!(gate.next_wake(wake), Some(second(301)));
    assert!(gate.take_probe(second(301)).is_some());
}

#[test]
fn a_retry_after_silences_all_calls() {
    let mut gate = gate();
    let permit = gate.admit_write(second(0), RetryKind::First).unwrap();
    gate.report(permit, Verdict::Excluded, FAST, Some(Duration::from_secs(30)), second(0));
    let expected = Refusal { retry_at: second(30), reason: RefusalReason::RateLimited };
    assert_eq!(gate.admit_read(second(29)).unwrap_err(), expected);
    assert_eq!(gate.admit_write(second(29), RetryKind::First).unwrap_err(), expected);
    assert!(gate.admit_write(second(30), RetryKind::First).is_ok());
    assert_eq!(gate.stats(second(30)).rate_limited, 2);
}

#[test]
fn retries_are_refused_when_the_budget_is_spent_and_first_attempts_are_not() {
    let config: GateConfig = toml::from_str("[budget]\ntokens_max = 10").unwrap();
    let mut gate = Gate::new(config, 0);
    assert!(gate.admit_write(second(0), RetryKind::AfterTimeout).is_ok());
    let refusal = gate.admit_write(second(0), RetryKind::Again).unwrap_err();
    assert_eq!(refusal, Refusal { retry_at: second(5), reason: RefusalReason::BudgetSpent });
    assert!(gate.admit_write(second(0), RetryKind::First).is_ok());
    assert_eq!(gate.stats(second(0)).budget_refused, 1);
}

#[test]
fn a_retry_that_the_limit_refuses_costs_no_budget() {
    let mut gate = gate();
    (0..10).for_each(|_| drop(gate.admit_write(second(0), RetryKind::First)));
    let refusal = gate.admit_write(second(0), RetryKind::Again).unwrap_err();
    assert_eq!(refusal.reason, RefusalReason::RateLimited);
    assert_eq!(gate.stats(second(0)).budget_tokens, 100);
}

#[test]
fn only_a_write_that_succeeds_refills_the_budget() {
    let mut gate = gate();
    let write = gate.admit_write(second(0), RetryKind::Again).unwrap();
    let read = gate.admit_read(second(0)).unwrap();
    report(&mut gate, read, Verdict::Success, second(0));
    assert_eq!(gate.stats(second(0)).budget_tokens, 95);
    report(&mut gate, write, Verdict::Success, second(0));
    assert_eq!(gate.stats(second(0)).budget_tokens, 96);
}

#[test]
fn a_read_probe_that_the_limit_refuses_is_given_back() {
    let mut gate = gate();
    for _ in 0..5 {
        let permit = gate.admit_read(second(0)).unwrap();
        report(&mut gate, permit, Verdict::Failure, second(0));
    }
    let wake = gate.next_wake(second(0)).unwrap();
    let write = gate.admit_write(second(0), RetryKind::First).unwrap();
    gate.report(write, Verdict::Excluded, FAST, Some(Duration::from_secs(70)), second(0));
    assert_eq!(gate.admit_read(wake).unwrap_err().reason, RefusalReason::RateLimited);
    // Long before the deadline of a probe that had been kept.
    assert!(gate.admit_read(second(70)).unwrap().is_probe());
}

#[test]
fn the_operator_can_stop_writes() {
    let mut gate = gate();
    gate.force_open_writes(second(0));
    assert!(gate.admit_write(second(0), RetryKind::First).is_err());
    assert_eq!(gate.next_wake(second(0)), None);
    gate.release_writes(second(1));
    assert_eq!(gate.next_wake(second(2)), Some(second(2)));
    assert!(gate.take_probe(second(2)).is_some());
}

#[test]
fn refusals_say_why_and_when_and_stats_serialise() {
    let (mut gate, _) = tripped();
    let refusal = gate.admit_write(second(0), RetryKind::First).unwrap_err();
    assert!(refusal.to_string().contains("breaker_open"), "{refusal}");
    let stats = serde_json::to_value(gate.stats(second(0))).unwrap();
    assert_eq!(stats["write"]["trips"], 1);
    assert_eq!(stats["write_state"], "open");
}

proptest! {
    #[test]
    fn a_driver_that_follows_the_wakes_makes_one_probe_a_period_and_recovers(
        outage_s in 60_u64..2_000, seed in any::<u64>(), wait_s in prop::option::of(0_u64..200),
    ) {
        let mut gate = Gate::new(GateConfig::default(), seed);
        for _ in 0..5 {
            let permit = gate.admit_write(second(0), RetryKind::First).unwrap();
            report(&mut gate, permit, Verdict::Failure, second(0));
        }
        let (mut now, mut wakes, mut probes) = (second(0), 0, Vec::new());
        while gate.write_open() {
            wakes += 1;
            prop_assert!(wakes < 200, "busy loop at {now:?}");
            now = gate.next_wake(now).unwrap();
            while gate.advance(now).is_some() {}
            if let Some(probe) = gate.take_probe(now) {
                probes.push(now);
                let (verdict, wait) = if now < second(outage_s) {
                    (Verdict::Failure, wait_s.map(Duration::from_secs))
                } else {
                    (Verdict::Success, None)
                };
                gate.report(probe, verdict, FAST, wait, now);
            }
        }
        for pair in probes.windows(2) {
            let least = Duration::from_secs(wait_s.unwrap_or(0).max(60));
            prop_assert!(pair[1].since(pair[0]) >= least);
        }
        prop_assert!(now < second(outage_s + 201));
    }
}
