use super::*;
use crate::resilience::Phase;
use proptest::prelude::*;

const FAST: Duration = Duration::from_millis(50);

fn second(n: u64) -> MonoNanos {
    MonoNanos(n * 1_000_000_000)
}

/// A breaker with its own random stream, so that tests read as calls.
struct Bench {
    breaker: Breaker,
    random: SplitMix64,
}

impl Bench {
    fn new(traffic: Traffic) -> Self {
        Self { breaker: Breaker::new(BreakerConfig::default(), traffic), random: SplitMix64(3) }
    }

    fn admit(&mut self, now: MonoNanos) -> Result<Permit, Refused> {
        self.breaker.admit(now, &mut self.random)
    }

    fn report(&mut self, permit: Permit, verdict: Verdict, now: MonoNanos) -> Option<Transition> {
        self.breaker.report(permit, verdict, FAST, None, now, &mut self.random)
    }

    fn call(&mut self, verdict: Verdict, now: MonoNanos) -> Option<Transition> {
        let permit = self.admit(now).unwrap();
        self.report(permit, verdict, now)
    }

    fn fail(&mut self, times: u32, now: MonoNanos) {
        for _ in 0..times {
            self.call(Verdict::Failure, now);
        }
    }

    fn probe(&mut self, now: MonoNanos) -> Option<Permit> {
        self.breaker.take_probe(now, &mut self.random)
    }

    /// Opens it at second zero and returns when it may be probed.
    fn opened(traffic: Traffic) -> (Self, MonoNanos) {
        let mut bench = Self::new(traffic);
        bench.fail(5, second(0));
        let until = bench.admit(second(0)).unwrap_err().retry_at;
        (bench, until)
    }
}

// Closed.

#[test]
fn five_failures_in_a_row_open_it() {
    let mut bench = Bench::new(Traffic::Write);
    for _ in 0..4 {
        assert_eq!(bench.call(Verdict::Failure, second(1)), None);
    }
    let transition = bench.call(Verdict::Failure, second(1)).unwrap();
    let expected = Transition {
        traffic: Traffic::Write,
        from: BreakerState::Closed,
        to: BreakerState::Open,
        at: second(1),
        trips: 1,
    };
    assert_eq!(transition, expected);
    assert_eq!(bench.admit(second(1)).unwrap_err().why, RefusedBecause::Open);
}

#[test]
fn a_success_between_breaks_the_row_and_an_excluded_call_does_not() {
    use Verdict::{Excluded, Failure, Success};
    let mut bench = Bench::new(Traffic::Write);
    let verdicts =
        [Failure, Failure, Failure, Failure, Success, Failure, Failure, Excluded, Failure, Failure];
    // Far apart, so that no share of the window is reached.
    for (n, verdict) in (0..).zip(verdicts) {
        assert_eq!(bench.call(verdict, second(n * 100)), None, "{n}");
    }
    assert!(bench.call(Failure, second(1_000)).is_some());
}

#[test]
fn half_of_at_least_eight_calls_open_it() {
    let mut bench = Bench::new(Traffic::Read);
    for n in 0..7 {
        let verdict = if n % 2 == 0 { Verdict::Failure } else { Verdict::Success };
        assert_eq!(bench.call(verdict, second(n)), None, "{n}");
    }
    assert!(bench.call(Verdict::Success, second(7)).is_some());
}

#[test]
fn calls_that_are_nearly_all_slow_open_it() {
    let mut bench = Bench::new(Traffic::Read);
    let mut transitions = Vec::new();
    for n in 0..8 {
        let permit = bench.admit(second(n)).unwrap();
        let latency = if n == 0 { FAST } else { Duration::from_millis(3_000) };
        let random = &mut bench.random;
        transitions.extend(bench.breaker.report(permit, Verdict::Success, latency, None, second(n), random));
    }
    assert_eq!(transitions.len(), 1);
    assert_eq!((bench.breaker.stats().slow, bench.breaker.stats().successes), (7, 8));
}

// Open.

#[test]
fn it_stays_open_for_at_least_the_configured_time_and_little_more() {
    for seed in 0..200 {
        let mut random = SplitMix64(seed);
        let wait = BreakerConfig::default().open_time(0, &mut random);
        assert!((60_000..=66_000).contains(&wait.as_millis()), "{wait:?}");
    }
}

#[test]
fn every_opening_doubles_the_time_up_to_the_cap() {
    let config = BreakerConfig {
        open_jitter_permille: Permille::of::<0>(),
        open_ms_max: NonZeroU64::new(200_000).unwrap(),
        ..BreakerConfig::default()
    };
    let times = [0, 1, 2, 1_000].map(|openings| config.open_time(openings, &mut SplitMix64(0)).as_secs());
    assert_eq!(times, [60, 120, 200, 200]);
    let small = BreakerConfig { open_ms_max: NonZeroU64::MIN, ..config };
    assert_eq!(small.open_time(5, &mut SplitMix64(0)).as_secs(), 60);
    let wide =
        BreakerConfig { open_ms: NonZeroU64::MAX, open_jitter_permille: Permille::of::<1_000>(), ..config };
    assert_eq!(wide.open_time(9, &mut SplitMix64(0)).as_millis(), u128::from(u64::MAX));
}

#[test]
fn a_retry_after_that_is_longer_than_the_open_time_is_obeyed() {
    let mut bench = Bench::new(Traffic::Write);
    bench.fail(4, second(0));
    let permit = bench.admit(second(0)).unwrap();
    let wait = Some(Duration::from_secs(600));
    bench.breaker.report(permit, Verdict::Failure, FAST, wait, second(0), &mut bench.random);
    assert_eq!(bench.admit(second(1)).unwrap_err().retry_at, second(600));
}

#[test]
fn a_call_that_was_admitted_before_the_trip_says_nothing_after_it() {
    let mut bench = Bench::new(Traffic::Read);
    let early = bench.admit(second(0)).unwrap();
    let other = bench.admit(second(0)).unwrap();
    bench.fail(5, second(0));
    let until = bench.admit(second(0)).unwrap_err().retry_at;
    assert_eq!(bench.report(early, Verdict::Success, second(1)), None);
    let probe = bench.admit(until).unwrap();
    assert_eq!(bench.report(other, Verdict::Failure, until), None);
    assert_eq!(bench.report(probe, Verdict::Success, until).unwrap().to, BreakerState::Closed);
    assert_eq!(bench.breaker.stats().late, 2);
}

// Half-open.

#[test]
fn one_read_is_the_probe_and_the_others_wait_for_it() {
    let (mut bench, until) = Bench::opened(Traffic::Read);
    assert_eq!(bench.breaker.state(MonoNanos(until.0 - 1)), BreakerState::Open);
    assert_eq!(bench.breaker.state(until), BreakerState::HalfOpen);
    assert!(bench.admit(MonoNanos(until.0 - 1)).is_err());
    let probe = bench.admit(until).unwrap();
    assert!(probe.is_probe());
    let refused = bench.admit(until).unwrap_err();
    let deadline = until.after(Duration::from_secs(30));
    assert_eq!(refused, Refused { retry_at: deadline, why: RefusedBecause::HalfOpen });
    assert_eq!(bench.report(probe, Verdict::Success, until).unwrap().to, BreakerState::Closed);
    assert!(bench.admit(until).is_ok());
}

#[test]
fn no_write_is_ever_a_probe() {
    let (mut bench, until) = Bench::opened(Traffic::Write);
    assert_eq!(bench.breaker.wake_at(), Some(until));
    assert!(bench.probe(MonoNanos(until.0 - 1)).is_none());
    assert_eq!(bench.admit(until).unwrap_err().why, RefusedBecause::HalfOpen);
    let probe = bench.probe(until).unwrap();
    assert!(bench.probe(until).is_none());
    assert!(bench.admit(until).is_err());
    assert_eq!(bench.report(probe, Verdict::Success, until).unwrap().to, BreakerState::Closed);
    assert!(!bench.admit(until).unwrap().is_probe());
}

#[test]
fn a_failed_probe_opens_it_for_longer() {
    let (mut bench, until) = Bench::opened(Traffic::Write);
    let probe = bench.probe(until).unwrap();
    assert_eq!(bench.report(probe, Verdict::Failure, until).unwrap().to, BreakerState::Open);
    let open = bench.breaker.wake_at().unwrap().since(until);
    assert!((120..=132).contains(&open.as_secs()), "{open:?}");
    assert_eq!((bench.breaker.stats().trips, bench.breaker.stats().probes_failed), (1, 1));
}

#[test]
fn an_excluded_probe_neither_strands_it_nor_lengthens_the_backoff() {
    let (mut bench, mut until) = Bench::opened(Traffic::Write);
    for _ in 0..3 {
        let probe = bench.probe(until).unwrap();
        assert_eq!(bench.report(probe, Verdict::Excluded, until).unwrap().to, BreakerState::Open);
        let next = bench.breaker.wake_at().unwrap();
        assert!((60..=66).contains(&next.since(until).as_secs()));
        until = next;
    }
}

#[test]
fn a_probe_that_is_never_reported_is_lost_at_its_deadline() {
    let (mut bench, until) = Bench::opened(Traffic::Write);
    let probe = bench.probe(until).unwrap();
    let deadline = until.after(Duration::from_secs(30));
    assert_eq!(bench.breaker.wake_at(), Some(deadline));
    let transition = bench.breaker.advance(deadline, &mut bench.random).unwrap();
    assert_eq!((transition.from, transition.to), (BreakerState::HalfOpen, BreakerState::Open));
    assert_eq!(bench.report(probe, Verdict::Success, deadline), None);
    assert!(bench.breaker.wake_at().unwrap() >= deadline.after(Duration::from_secs(120)));
}

#[test]
fn a_probe_reported_after_its_deadline_is_lost_even_if_nobody_looked() {
    let (mut bench, until) = Bench::opened(Traffic::Read);
    let probe = bench.admit(until).unwrap();
    let late = until.after(Duration::from_secs(31));
    assert_eq!(bench.report(probe, Verdict::Success, late).unwrap().to, BreakerState::Open);
}

#[test]
fn a_cancelled_probe_can_be_taken_again_at_once() {
    let (mut bench, until) = Bench::opened(Traffic::Write);
    let probe = bench.probe(until).unwrap();
    bench.breaker.cancel(probe);
    assert_eq!(bench.breaker.wake_at(), Some(until));
    assert!(bench.probe(until).is_some());
}

#[test]
fn five_quiet_minutes_end_the_backoff_and_less_do_not() {
    for (quiet, least, most) in [(299, 120, 132), (300, 60, 66)] {
        let (mut bench, until) = Bench::opened(Traffic::Read);
        bench.call(Verdict::Success, until);
        let again = until.after(Duration::from_secs(quiet));
        bench.fail(5, again);
        let open = bench.breaker.wake_at().unwrap().since(again).as_secs();
        assert!((least..=most).contains(&open), "{quiet}: {open}");
    }
}

// Forced open.

#[test]
fn the_operator_opens_it_and_a_probe_decides_after_the_release() {
    let mut bench = Bench::new(Traffic::Write);
    let early = bench.admit(second(0)).unwrap();
    assert_eq!(bench.breaker.force_open(second(0)).unwrap().to, BreakerState::ForcedOpen);
    assert_eq!(bench.breaker.force_open(second(0)), None);
    assert_eq!(bench.report(early, Verdict::Success, second(1)), None);
    assert_eq!(bench.admit(second(1_000_000)).unwrap_err().why, RefusedBecause::ForcedOpen);
    assert!(bench.probe(second(1_000_000)).is_none());
    assert_eq!(bench.breaker.wake_at(), None);
    assert_eq!(bench.breaker.release(second(2_000_000)).unwrap().to, BreakerState::HalfOpen);
    assert_eq!(bench.breaker.release(second(2_000_000)), None);
    let probe = bench.probe(second(2_000_000)).unwrap();
    assert_eq!(bench.report(probe, Verdict::Success, second(2_000_000)).unwrap().to, BreakerState::Closed);
}

// Verdicts.

#[test]
fn failures_are_judged_by_what_they_say_about_the_venue() {
    let verdict = |class, code: &'static str| verdict_of(&Failure::new(class, code, Phase::MaybeSent, ""));
    assert_eq!(verdict(Class::Network, "timeout"), Verdict::Failure);
    assert_eq!(verdict(Class::Data, "bad_json"), Verdict::Failure);
    assert_eq!(verdict(Class::Api, "undecodable"), Verdict::Failure);
    for (code, expected) in [
        ("http_500", Verdict::Failure),
        ("http_503", Verdict::Failure),
        ("http_599", Verdict::Failure),
        ("http_429", Verdict::Excluded),
        ("http_400", Verdict::Success),
        ("http_401", Verdict::Success),
        ("http_409", Verdict::Success),
        ("http_422", Verdict::Success),
        ("insufficient_funds", Verdict::Success),
    ] {
        assert_eq!(verdict(Class::Api, code), expected, "{code}");
    }
    for class in [Class::Logic, Class::State, Class::Resource] {
        assert_eq!(verdict(class, "ours"), Verdict::Excluded);
    }
}

#[derive(Clone, Copy, Debug)]
enum Event {
    Admit,
    TakeProbe,
    Report(usize, Verdict, Option<u64>),
    Cancel(usize),
    Leak(usize),
    Force,
    Release,
    Advance,
}

fn event() -> impl Strategy<Value = Event> {
    let verdict = prop_oneof![
        3 => Just(Verdict::Failure), 1 => Just(Verdict::Success), 1 => Just(Verdict::Excluded)
    ];
    prop_oneof![
        8 => Just(Event::Admit),
        3 => Just(Event::TakeProbe),
        8 => (any::<usize>(), verdict, prop::option::weighted(0.1, 0_u64..500))
            .prop_map(|(which, verdict, wait)| Event::Report(which, verdict, wait)),
        1 => any::<usize>().prop_map(Event::Cancel),
        1 => any::<usize>().prop_map(Event::Leak),
        1 => Just(Event::Force),
        2 => Just(Event::Release),
        2 => Just(Event::Advance),
    ]
}

proptest! {
    #[test]
    fn no_sequence_breaks_the_promises(
        write in any::<bool>(),
        events in prop::collection::vec((0_u64..40, event()), 1..300),
    ) {
        let traffic = if write { Traffic::Write } else { Traffic::Read };
        let mut bench = Bench::new(traffic);
        let mut permits: Vec<Permit> = Vec::new();
        let mut now = MonoNanos(0);
        let mut probe_deadline = None::<MonoNanos>;
        for (passed, event) in events {
            now = now.after(Duration::from_secs(passed));
            let before = bench.breaker.state(now);
            let wake = bench.breaker.wake_at();
            let generation = bench.breaker.generation;
            let mut taken = None;
            match event {
                Event::Admit => taken = bench.admit(now).ok(),
                Event::TakeProbe => taken = bench.probe(now),
                Event::Report(which, verdict, wait) if !permits.is_empty() => {
                    let permit = permits.swap_remove(which % permits.len());
                    let current = permit.generation == generation;
                    let wait = wait.map(Duration::from_secs);
                    let transition =
                        bench.breaker.report(permit, verdict, FAST, wait, now, &mut bench.random);
                    // Only a verdict of this generation, or time, moves it.
                    let by_time = wake.is_some_and(|at| at <= now);
                    prop_assert!(transition.is_none() || current || by_time);
                }
                Event::Cancel(which) if !permits.is_empty() => {
                    bench.breaker.cancel(permits.swap_remove(which % permits.len()));
                }
                Event::Leak(which) if !permits.is_empty() => {
                    drop(permits.swap_remove(which % permits.len()));
                }
                Event::Force => _ = bench.breaker.force_open(now),
                Event::Release => _ = bench.breaker.release(now),
                Event::Advance => _ = bench.breaker.advance(now, &mut bench.random),
                Event::Report(..) | Event::Cancel(_) | Event::Leak(_) => {}
            }
            if let Some(permit) = taken {
                // Never while open, never a write to find out, never a second probe.
                match before {
                    BreakerState::Closed => prop_assert!(!permit.is_probe()),
                    BreakerState::HalfOpen => {
                        prop_assert!(permit.is_probe());
                        prop_assert!(!write || matches!(event, Event::TakeProbe));
                    }
                    // A probe that was lost long ago, seen only now: its open time is over as well.
                    BreakerState::Open => {
                        let lost = probe_deadline.filter(|at| *at <= now);
                        prop_assert!(lost.is_some_and(|at| now.since(at) >= Duration::from_secs(60)));
                    }
                    BreakerState::ForcedOpen => prop_assert!(false, "admitted while forced open"),
                }
                let live = permits.iter().filter(|p| p.probe && p.generation == bench.breaker.generation);
                prop_assert!(!permit.is_probe() || live.count() == 0);
                if permit.is_probe() {
                    probe_deadline = bench.breaker.wake_at();
                }
                permits.push(permit);
            }
        }
        // Whatever happened, time, a release and a good probe close it.
        bench.breaker.release(now);
        let mut rounds = 0;
        while !bench.breaker.is_closed() {
            rounds += 1;
            prop_assert!(rounds < 4, "still {:?}", bench.breaker);
            now = now.max(bench.breaker.wake_at().unwrap_or(now));
            let probe = if write { bench.probe(now) } else { bench.admit(now).ok() };
            if let Some(probe) = probe {
                bench.report(probe, Verdict::Success, now);
            }
        }
    }
}
