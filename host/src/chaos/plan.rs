//! Any agent under a plan of faults.

use super::rig::Rig;
use super::{Audit, ChaosRunError, Subject};
use crate::orders::Mode;
use crate::venue::chaos::{ChaosConfig, Fault, Plan};
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::time::Duration;

/// What happens to the requests of an agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FaultPlan {
    /// Decides which requests fail. Default 1.
    pub seed: u64,
    /// How many of a thousand fail. Default 200.
    pub failure_permille: u16,
    /// Delay of every request. Default 0.
    pub latency_ms: u64,
    /// Statuses that a failed request is answered with. Default 500, 502, 503, 504.
    pub error_codes: Vec<u16>,
    /// What else can happen to a failed request. Default: nothing else.
    pub faults: Vec<Fault>,
    /// How long it goes on; the market moves ten times a second meanwhile. Default 10,000.
    pub duration_ms: u64,
}

impl Default for FaultPlan {
    fn default() -> Self {
        Self {
            seed: 1,
            failure_permille: 200,
            latency_ms: 0,
            error_codes: vec![500, 502, 503, 504],
            faults: Vec::new(),
            duration_ms: 10_000,
        }
    }
}

/// What became of an agent under a plan.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Outcome {
    /// Faults injected.
    pub injections: u64,
    /// Requests made.
    pub calls: u64,
    /// Of a thousand calls, those that failed.
    pub actual_permille: u64,
    /// The mode after the faults had ended and the data with them.
    pub final_mode: Option<Mode>,
    /// Whether the host ended in order.
    pub orderly: bool,
    /// See [`Audit`].
    pub intents: u64,
    /// See [`Audit`].
    pub lost: u64,
    /// See [`Audit`].
    pub duplicated: u64,
    /// What is lost or there twice, in words.
    pub words: Vec<String>,
}

/// Trades with an agent under a plan, ends the faults and the data, and holds its books against the ledger.
///
/// `dir` is an empty folder, for the configuration, the pipe and the state.
///
/// # Errors
/// When a process does not start, does not answer or does not end.
pub fn run(subject: &Subject, plan: &FaultPlan, dir: &Path) -> Result<Outcome, ChaosRunError> {
    let chaos = ChaosConfig {
        seed: plan.seed,
        failure_permille: plan.failure_permille,
        latency_ms: plan.latency_ms,
        error_codes: plan.error_codes.clone(),
        faults: plan.faults.clone(),
        ..ChaosConfig::default()
    };
    let mut rig = Rig::new(subject, dir, &dir.join("state"), chaos)?;
    rig.start()?;
    let end = rig.seconds() + plan.duration_ms as f64 / 1e3;
    while rig.seconds() < end && rig.is_alive() {
        rig.feed(1)?;
        rig.pause(Duration::from_millis(100));
    }
    let stats = rig.proxy.stats();
    rig.set_plan(Plan::Pass)?;
    let status = close(&mut rig)?;
    let audit = settled(&rig)?;
    let outcome = Outcome {
        injections: stats.injected_total(),
        calls: stats.requests,
        actual_permille: stats.injected_total().saturating_mul(1_000) / stats.requests.max(1),
        final_mode: rig.mode,
        orderly: status == Some(0),
        intents: audit.intents,
        lost: audit.lost + audit.open,
        duplicated: audit.duplicated,
        words: audit.words,
    };
    rig.end();
    Ok(outcome)
}

/// Lets a host that is well again trade some rows, and end.
pub(super) fn close(rig: &mut Rig) -> Result<Option<i32>, ChaosRunError> {
    rig.until(Duration::from_secs(30), |rig| {
        let _ = rig.feed(1);
        rig.pause(Duration::from_millis(50));
        let view = rig.view();
        let well = view.is_some_and(|view| {
            matches!(view.mode, Mode::Full | Mode::Shutdown) || view.strategy.state != "running"
        });
        (well || !rig.is_alive()).then_some(())
    });
    rig.settle();
    rig.finish()
}

/// The journal and the books against the ledger, after the end.
pub(super) fn settled(rig: &Rig) -> Result<Audit, ChaosRunError> {
    let (truth, mut audit) = (rig.truth()?, rig.audit()?);
    let (cash, flat) = rig.books()?;
    audit.compare_books(cash, flat, &truth);
    Ok(audit)
}
