//! Runs of a session, and what they show.

use super::session::{Session, Step, sample};
use super::shrink::shrink;
use crate::agent::core::{Core, RecoverError};
use crate::lab::{Intent, Lab, LabConfig, Metered};
use crate::market::{CheckConfig, Instruments, Money};
use crate::orders::RiskLimits;
use crate::plugin::{CallError, Fault, Plugin};
use crate::resilience::{Classified, Failure, Phase};
use rust_decimal::Decimal;
use serde::Serialize;
use std::num::NonZeroU32;
use std::sync::Arc;

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum FindingKind {
    /// A call ended in a trap.
    Trap,
    /// A call used more than it may: fuel, time, memory, calls into the host.
    Budget,
    /// A call said no to a market update or an event.
    Fault,
    /// An order that no host and no venue could take.
    InvalidIntent,
    /// Two runs of the same session differ.
    Nondeterminism,
    /// Many updates in one crossing give something else than one call each.
    Batch,
    /// An instance that has loaded the state wants something else than one that was never stopped.
    State,
    /// A fresh instance does not go on.
    Restart,
}

impl FindingKind {
    /// Its name in files and for people.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Trap => "trap",
            Self::Budget => "budget",
            Self::Fault => "fault",
            Self::InvalidIntent => "invalid-intent",
            Self::Nondeterminism => "nondeterminism",
            Self::Batch => "batch",
            Self::State => "state",
            Self::Restart => "restart",
        }
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What kind of thing.
    pub kind: FindingKind,
    /// The step after which it was seen, from zero.
    pub step: usize,
    /// In words.
    pub detail: String,
}

/// What a session came to.
#[derive(Clone, Debug, Default)]
pub struct Verdict {
    /// Market updates.
    pub ticks: u64,
    /// Intents.
    pub intents: u64,
    /// Those that the risk gate or the mode refused, in their right.
    pub refused: u64,
    /// Why the strategy did not take its settings, which is its right.
    pub declined: Option<String>,
    /// What is wrong; one of a kind.
    pub findings: Vec<Finding>,
}

/// Refusals that no state of an account explains.
const INVALID: [&str; 5] =
    ["UNKNOWN_INSTRUMENT", "DUPLICATE_ORDER_ID", "QUANTITY_OUT_OF_RANGE", "PRICE_NOT_POSITIVE", "OVERFLOW"];

/// Codes of traps that say that a budget is used up.
const BUDGETS: [&str; 6] =
    ["trap_fuel", "trap_deadline", "trap_memory", "trap_stack", "trap_host_calls", "trap_output"];

/// One run.
#[derive(Debug, Default)]
struct Run {
    ticks: u64,
    intents: Vec<Intent>,
    fuel: u64,
    declined: Option<String>,
    findings: Vec<Finding>,
    /// Whether a batch may not have been exact.
    void: bool,
}

impl Run {
    fn has(&mut self, kind: FindingKind, step: usize, detail: String) {
        if self.findings.iter().all(|found| found.kind != kind) {
            self.findings.push(Finding { kind, step, detail });
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Calls {
    OneByOne,
    Batches,
}

/// Runs a session in every way, and shrinks what is found. The sessions that show the findings come in their order.
///
/// # Errors
/// When no instance can be made.
pub fn vet(
    plugin: &Plugin,
    session: &Session,
    shrink_tries_max: usize,
) -> Result<(Verdict, Vec<Session>), CallError> {
    // One that cannot even be instantiated has nothing to show.
    drop(plugin.instantiate()?);
    let verdict = judge(plugin, session);
    let smallest = |finding: &Finding| {
        let fails = |steps: &[Step]| {
            let found = judge(plugin, &session.with(steps.to_vec())).findings;
            found
                .iter()
                .any(|it| it.kind == finding.kind && class_of(&it.detail) == class_of(&finding.detail))
        };
        let until = session.steps.get(..=finding.step).unwrap_or(&session.steps);
        let steps = if fails(until) { until } else { &session.steps };
        session.with(shrink(steps, shrink_tries_max, fails))
    };
    let shown = verdict.findings.iter().map(smallest).collect();
    Ok((verdict, shown))
}

/// The code in front of the words, so that one trap is not shrunk into another.
fn class_of(detail: &str) -> &str {
    detail.split_once(':').map_or(detail, |(code, _)| code)
}

fn judge(plugin: &Plugin, session: &Session) -> Verdict {
    let mut one = run(plugin, session, Calls::OneByOne);
    let again = run(plugin, session, Calls::OneByOne);
    if let Some((step, words)) = difference(&one, &again, "a second run") {
        one.has(FindingKind::Nondeterminism, step, words);
    } else if one.fuel != again.fuel {
        let words = format!("fuel: the first run used {}, the second {}", one.fuel, again.fuel);
        one.has(FindingKind::Nondeterminism, session.steps.len().saturating_sub(1), words);
    }
    let is_plain = session.steps.iter().all(|step| matches!(step, Step::Tick(_)));
    if plugin.has_batch() && is_plain && one.findings.is_empty() {
        let batched = run(plugin, session, Calls::Batches);
        let differs =
            if batched.void { None } else { difference(&one, &batched, "many updates in one call") };
        if let Some((step, words)) = differs {
            one.has(FindingKind::Batch, step, words);
        }
    }
    if plugin.has_state() && one.findings.is_empty() && session.steps.contains(&Step::Restart) {
        // The updates keep their numbers, so that the two can be compared.
        let without = session.steps.iter().filter(|step| **step != Step::Restart).cloned().collect();
        let whole = run(plugin, &session.with(without), Calls::OneByOne);
        if let Some((step, words)) = difference(&whole, &one, "an instance that loaded the state") {
            one.has(FindingKind::State, step, words);
        }
    }
    let refused = one.intents.iter().filter(|intent| intent.refused.is_some()).count();
    Verdict {
        ticks: one.ticks,
        intents: one.intents.len() as u64,
        refused: refused as u64,
        declined: one.declined,
        findings: one.findings,
    }
}

/// The first intent in which two runs part, with the number of its update.
fn difference(one: &Run, other: &Run, who: &str) -> Option<(usize, String)> {
    let count = one.intents.len().max(other.intents.len());
    let index = (0..count).find(|index| one.intents.get(*index) != other.intents.get(*index))?;
    let show = |intent: Option<&Intent>| match intent {
        Some(intent) => format!("to {} at update {}", intent.action, intent.event),
        None => "nothing more".to_owned(),
    };
    let (expected, found) = (one.intents.get(index), other.intents.get(index));
    let at = expected.or(found).map_or(0, |intent| intent.event);
    let words = format!("intents: one call each wants {}, {who} wants {}", show(expected), show(found));
    Some((usize::try_from(at).unwrap_or(usize::MAX), words))
}

fn config(session: &Session, instruments: Arc<Instruments>, calls: Calls) -> LabConfig {
    LabConfig {
        settings: session.settings.clone(),
        seed: session.seed,
        model: session.model.clone(),
        // What a host may be configured to let pass, a strategy has to bear.
        market: CheckConfig {
            jump_permille_max: NonZeroU32::MIN.saturating_add(899),
            crossed_allowed: true,
            ..CheckConfig::default()
        },
        // The account is not what is tried here: it does not run out, and shuts nothing down.
        risk: RiskLimits {
            orders_per_second_max: NonZeroU32::MIN.saturating_add(999),
            ..RiskLimits::default()
        },
        batch: calls == Calls::Batches,
        ..LabConfig::new(instruments, Money::new(Decimal::from(1_000_000_000_000_i64)))
    }
}

fn run(plugin: &Plugin, session: &Session, calls: Calls) -> Run {
    let mut run = Run::default();
    let Ok(instruments) = Instruments::new(session.instruments.clone()) else { return run };
    let instance = match plugin.instantiate() {
        Ok(instance) => instance,
        Err(error) => {
            run.has(FindingKind::Trap, 0, format!("{}: {error}", error.code()));
            return run;
        }
    };
    let (strategy, meter) = Metered::new(instance);
    let config = config(session, Arc::new(instruments), calls);
    let mut lab = Lab::new(config, Box::new(strategy), meter, plugin.digest());
    match calls {
        Calls::OneByOne => run.one_by_one(&mut lab, plugin, &session.steps),
        Calls::Batches => run.in_batches(&mut lab, &session.steps),
    }
    run.void |= lab.is_void();
    let summary = lab.finish();
    run.intents.extend(lab.take_intents());
    run.fuel = summary.stats.fuel_total;
    run
}

/// Updates that are offered together, an odd number, so that no batch ends where a scenario changes its mind.
const WINDOW: usize = 97;

impl Run {
    fn one_by_one(&mut self, lab: &mut Lab, plugin: &Plugin, steps: &[Step]) {
        for (index, step) in steps.iter().enumerate() {
            let before = lab.core().map(Core::stats).unwrap_or_default();
            if let Err(error) = take(lab, plugin, step) {
                self.refused(index, &error);
                return;
            }
            self.ticks += u64::from(matches!(step, Step::Tick(_)));
            let intents = lab.take_intents();
            lab.take_executions();
            for intent in &intents {
                if let Some(code) = intent.refused.as_deref().filter(|code| INVALID.contains(code)) {
                    let detail = format!("{code}: it wants to {}", intent.action);
                    self.has(FindingKind::InvalidIntent, index, detail);
                }
            }
            self.intents.extend(intents);
            let now = lab.core().map(Core::stats).unwrap_or_default();
            let (trapped, faulted) = (now.strikes > before.strikes, now.faults > before.faults);
            if trapped || faulted {
                self.failed(index, lab.take_failed_call(), trapped);
            }
            if trapped {
                return;
            }
        }
    }

    /// Of market updates alone.
    fn in_batches(&mut self, lab: &mut Lab, steps: &[Step]) {
        let updates = steps.iter().filter_map(|step| match step {
            Step::Tick(tick) => Some(sample(*tick)),
            _ => None,
        });
        for window in updates.collect::<Vec<_>>().chunks(WINDOW) {
            if let Err(error) = lab.samples(window) {
                self.refused(0, &Stopped::Start(error));
                return;
            }
            self.intents.extend(lab.take_intents());
            lab.take_executions();
        }
    }
}

/// What stops a run.
enum Stopped {
    Start(RecoverError),
    Swap(Failure),
}

fn take(lab: &mut Lab, plugin: &Plugin, step: &Step) -> Result<(), Stopped> {
    match step {
        Step::Tick(tick) => {
            let sample = sample(*tick);
            if lab.config().batch { lab.samples(&[sample]) } else { lab.sample(&sample) }
                .map_err(Stopped::Start)
        }
        Step::Floor(mode) => {
            lab.floor(*mode);
            Ok(())
        }
        Step::Refuse(count) => {
            lab.refuse_next(*count);
            Ok(())
        }
        Step::Say(words) => {
            lab.say(words);
            Ok(())
        }
        Step::Restart | Step::Forget => {
            let fresh = *step == Step::Forget;
            match replace(lab, plugin, fresh) {
                // It exports a state and has none: a host that starts again begins anew.
                Err(failure) if !fresh && failure.code == "swap_no_state" => replace(lab, plugin, true),
                replaced => replaced,
            }
            .map_err(Stopped::Swap)
        }
    }
}

fn replace(lab: &mut Lab, plugin: &Plugin, fresh: bool) -> Result<(), Failure> {
    let instance = plugin
        .instantiate()
        .map_err(|error| Failure::new(error.class(), error.code(), Phase::NotSent, error.to_string()))?;
    lab.replace(Metered::new(instance), fresh)
}

impl Run {
    fn refused(&mut self, step: usize, stopped: &Stopped) {
        match stopped {
            Stopped::Start(RecoverError::Strategy {
                source: CallError::Fault(Fault::InvalidSettings(words)),
                ..
            }) => self.declined = Some(words.escape_debug().to_string()),
            Stopped::Start(error) => {
                let is_call = matches!(error, RecoverError::Strategy { .. });
                let kind = if is_call { FindingKind::Trap } else { FindingKind::Restart };
                self.has(kind, step, format!("{}: {error}", error.code()));
            }
            Stopped::Swap(failure) => {
                self.has(FindingKind::Restart, step, format!("{}: {}", failure.code, failure.message));
            }
        }
    }

    fn failed(&mut self, step: usize, failure: Option<Failure>, trapped: bool) {
        let Some(failure) = failure else { return };
        let is_budget = trapped && BUDGETS.contains(&&*failure.code);
        let kind = match (trapped, is_budget) {
            (true, true) => FindingKind::Budget,
            (true, false) => FindingKind::Trap,
            (false, _) => FindingKind::Fault,
        };
        self.has(kind, step, format!("{}: {}", failure.code, failure.message));
    }
}
