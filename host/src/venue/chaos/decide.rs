//! What happens to the next request: a pure decision from the seed, the plan and the requests before it.

use super::super::message::Purpose;
use super::config::{ChaosConfig, Fault, Plan};
use crate::random::SplitMix64;
use std::time::Duration;

/// What happens to one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Decision {
    pub(super) latency: Duration,
    pub(super) fault: Option<Fault>,
}

/// Decides one request after the other.
#[derive(Clone, Debug)]
pub(super) struct Decider {
    config: ChaosConfig,
    plan: Plan,
    partitioned: bool,
    script_position: usize,
    writes: SplitMix64,
    reads: SplitMix64,
}

impl Decider {
    pub(super) fn new(config: ChaosConfig) -> Self {
        let mut seeds = SplitMix64(config.seed);
        Self {
            writes: SplitMix64(seeds.next_u64()),
            reads: SplitMix64(seeds.next_u64()),
            plan: Plan::default(),
            partitioned: false,
            script_position: 0,
            config,
        }
    }

    pub(super) fn set_plan(&mut self, plan: Plan) {
        self.plan = plan;
        self.script_position = 0;
    }

    pub(super) fn set_partitioned(&mut self, partitioned: bool) {
        self.partitioned = partitioned;
    }

    pub(super) fn refuses(&self) -> bool {
        self.plan == Plan::Refuse
    }

    pub(super) fn decide(&mut self, purpose: Purpose) -> Decision {
        let random = if purpose == Purpose::Write { &mut self.writes } else { &mut self.reads };
        // As many numbers for every request, whatever comes of it: one fault less leaves the others in place.
        let (roll, choice, jitter) = (random.next_u64(), random.next_u64(), random.next_u64());
        if self.partitioned {
            return Decision { latency: Duration::ZERO, fault: Some(Fault::BlackHole) };
        }
        let at_once = |fault| Decision { latency: Duration::ZERO, fault };
        match &self.plan {
            // A connection that was accepted just before has nobody to serve it.
            Plan::Refuse => at_once(Some(Fault::ResetBefore)),
            Plan::Always(fault, scope) => at_once(scope.has(purpose).then(|| fault.clone())),
            Plan::Script(steps, scope) if scope.has(purpose) => {
                let step = steps.get(self.script_position).cloned().flatten();
                self.script_position = self.script_position.saturating_add(1);
                at_once(step)
            }
            Plan::Pass | Plan::Script(..) => at_once(None),
            Plan::Configured => {
                let config = &self.config;
                let jitter = below(jitter, config.latency_jitter_ms.saturating_add(1));
                let latency = Duration::from_millis(config.latency_ms.saturating_add(jitter));
                let fails =
                    config.scope.has(purpose) && below(roll, 1_000) < u64::from(config.failure_permille);
                Decision { latency, fault: if fails { choose(config, choice) } else { None } }
            }
        }
    }
}

fn choose(config: &ChaosConfig, choice: u64) -> Option<Fault> {
    let codes = config.error_codes.len();
    let position = below(choice, (codes + config.faults.len()) as u64) as usize;
    match config.error_codes.get(position) {
        Some(code) => Some(Fault::ErrorBefore(*code)),
        None => config.faults.get(position - codes).cloned(),
    }
}

/// Maps a number that is uniform over all of `u64` to one below `bound`.
fn below(number: u64, bound: u64) -> u64 {
    ((u128::from(number) * u128::from(bound)) >> 64) as u64
}

#[cfg(test)]
mod tests {
    use super::super::config::Scope;
    use super::*;

    fn config() -> ChaosConfig {
        ChaosConfig {
            failure_permille: 300,
            faults: vec![Fault::DropReply, Fault::Truncate],
            latency_ms: 5,
            latency_jitter_ms: 10,
            ..ChaosConfig::default()
        }
    }

    fn purpose(write: bool) -> Purpose {
        if write { Purpose::Write } else { Purpose::Read }
    }

    fn decisions(config: ChaosConfig, requests: &[bool]) -> Vec<Decision> {
        let mut decider = Decider::new(config);
        requests.iter().map(|write| decider.decide(purpose(*write))).collect()
    }

    #[test]
    fn the_same_seed_and_requests_give_the_same_faults() {
        let requests: Vec<bool> = (0..500).map(|i| i % 3 == 0).collect();
        let first = decisions(config(), &requests);
        assert_eq!(first, decisions(config(), &requests));
        assert_ne!(first, decisions(ChaosConfig { seed: 2, ..config() }, &requests));
    }

    #[test]
    fn reads_do_not_move_the_faults_of_writes() {
        let writes = decisions(config(), &[true; 100]);
        let mixed: Vec<bool> = (0..300).map(|i| i % 3 == 0).collect();
        let of_writes = decisions(config(), &mixed).into_iter().zip(&mixed).filter(|(_, write)| **write);
        assert_eq!(of_writes.map(|(decision, _)| decision).collect::<Vec<_>>(), writes);
    }

    #[test]
    fn the_rate_and_the_delay_are_those_configured() {
        let decisions = decisions(config(), &[true; 10_000]);
        let failed = decisions.iter().filter(|decision| decision.fault.is_some()).count();
        assert!((2_800..3_200).contains(&failed), "{failed}");
        let (least, most) = (Duration::from_millis(5), Duration::from_millis(15));
        assert!(decisions.iter().all(|decision| (least..=most).contains(&decision.latency)));
        for fault in [Fault::ErrorBefore(502), Fault::DropReply, Fault::Truncate] {
            let count = decisions.iter().filter(|decision| decision.fault.as_ref() == Some(&fault)).count();
            assert!((400..600).contains(&count), "{fault:?}: {count}");
        }
    }

    #[test]
    fn a_scope_leaves_the_others_alone() {
        let only_writes = ChaosConfig { failure_permille: 1_000, scope: Scope::Writes, ..config() };
        let decisions = decisions(only_writes, &[true, false, true]);
        let failed: Vec<bool> = decisions.iter().map(|decision| decision.fault.is_some()).collect();
        assert_eq!(failed, [true, false, true]);
    }

    #[test]
    fn a_script_is_followed_and_ends() {
        let mut decider = Decider::new(config());
        decider
            .set_plan(Plan::Script(vec![Some(Fault::DropReply), None, Some(Fault::Corrupt)], Scope::Writes));
        let steps = [true, false, true, true, true].map(|write| decider.decide(purpose(write)).fault);
        assert_eq!(steps, [Some(Fault::DropReply), None, None, Some(Fault::Corrupt), None]);
    }

    #[test]
    fn a_partition_lies_over_the_plan_and_gives_it_back() {
        let mut decider = Decider::new(ChaosConfig::default());
        decider.set_plan(Plan::Always(Fault::Duplicate, Scope::All));
        decider.set_partitioned(true);
        assert_eq!(decider.decide(Purpose::Write).fault, Some(Fault::BlackHole));
        decider.set_partitioned(false);
        assert_eq!(decider.decide(Purpose::Write).fault, Some(Fault::Duplicate));
    }

    #[test]
    fn a_configuration_that_makes_no_sense_is_refused() {
        use crate::resilience::Classified as _;
        let check = |config: ChaosConfig| config.check().map_err(|error| error.code());
        assert_eq!(check(config()), Ok(()));
        let base = ChaosConfig::default;
        assert_eq!(check(ChaosConfig { failure_permille: 1_001, ..base() }), Err("chaos_limit"));
        assert_eq!(check(ChaosConfig { error_codes: vec![200], ..base() }), Err("chaos_limit"));
        assert_eq!(check(ChaosConfig { faults: vec![Fault::ErrorAfter(99)], ..base() }), Err("chaos_limit"));
        let no_faults = ChaosConfig { failure_permille: 1, error_codes: Vec::new(), ..base() };
        assert_eq!(check(no_faults), Err("chaos_no_faults"));
        let injection = Fault::TooManyRequests { retry_after: "1\r\nx: y".into() };
        assert!(Plan::Always(injection, Scope::All).check().is_err());
    }

    #[test]
    fn a_configuration_reads_well() {
        let text = r#"
            failure_permille = 50
            scope = "writes"
            faults = ["drop-reply", { delay = 200 }, { too-many-requests = { retry_after = "2" } }]
        "#;
        let config: ChaosConfig = toml::from_str(text).unwrap();
        let limited = Fault::TooManyRequests { retry_after: "2".into() };
        assert_eq!(config.faults, [Fault::DropReply, Fault::Delay(200), limited]);
    }
}
