//! Bringing other components in while agents trade: the part with threads and files around the core's swap.
//!
//! ```text
//!  operator, watched file ──► vetting (a thread of its own) ──► Event::Swap ──► core ──► Effect::Swap: news
//!                              load, keep, check settings                        └─► Effect::Instance: a fresh one
//! ```
//!
//! One swap an agent at a time, from the order to its end. What is under way never touches the agent's thread
//! before the candidate is compiled, vetted and durable in the component store.

mod order;
mod progress;
mod vetting;

pub use order::{SwapError, SwapOrder};
pub use progress::{SwapProgress, SwapView};

use super::clock::SystemClock;
use super::components::ComponentStore;
use super::report::AgentReport;
use super::runner::AgentHandle;
use super::settings::{from_json, to_json};
use super::view::ComponentView;
use crate::agent::core::{Alert, Deployment, Event, Operator, SwapEvent, SwapNews};
use crate::config::{AgentConfig, Config, VenueConfig};
use crate::market::UnixNanos;
use crate::orders::{Digest, SwapReason};
use crate::plugin::{Plugin, Sandbox};
use crate::resilience::Class;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Target of the lines that say what changed and who changed it.
pub(super) const AUDIT: &str = "audit";

/// The swaps of a host's agents.
pub(super) struct Swaps {
    sandbox: Sandbox,
    config: Config,
    store: ComponentStore,
    clock: SystemClock,
    agents: Vec<AgentSwaps>,
    /// Number of the last request.
    number: AtomicU64,
    /// What is known of components.
    components: Mutex<BTreeMap<Digest, ComponentView>>,
    kept: Mutex<Kept>,
}

/// What has to stay in the component store, besides what an agent can fall back to. An agent's thread never waits for
/// this: it is locked while files are removed.
struct Kept {
    /// What a journal names, or will name when the core takes it.
    named: BTreeSet<Digest>,
    /// What is being vetted.
    wanted: BTreeSet<Digest>,
}

/// One agent's.
struct AgentSwaps {
    handle: AgentHandle,
    report: Arc<Mutex<AgentReport>>,
    state: Mutex<State>,
}

/// What is known of one agent's components.
struct State {
    running: Deployment,
    /// What ran before the last switch.
    previous: Option<Deployment>,
    /// Those that may be instantiated.
    plugins: BTreeMap<Digest, Plugin>,
    /// The last swap, which may have ended.
    last: Option<SwapView>,
    /// What was before the switch that may still be taken back.
    before: Option<Deployment>,
    /// A rollback that the core was asked for, the operator's words, and whether to begin without a state should it
    /// have to come from the store.
    rollback: Option<(u64, String, bool)>,
}

/// What an agent starts with.
pub(super) struct Running {
    pub plugin: Plugin,
    pub deployment: Deployment,
    pub previous: Option<Deployment>,
    pub handle: AgentHandle,
    pub report: Arc<Mutex<AgentReport>>,
}

impl Swaps {
    pub fn new(
        sandbox: Sandbox,
        config: Config,
        store: ComponentStore,
        clock: SystemClock,
        named: BTreeSet<Digest>,
        running: Vec<Running>,
    ) -> Self {
        let components =
            running.iter().map(|agent| (agent.plugin.digest(), ComponentView::of(&agent.plugin)));
        let components = Mutex::new(components.collect());
        let agents = running.into_iter().map(|agent| AgentSwaps {
            handle: agent.handle,
            report: agent.report,
            state: Mutex::new(State {
                running: agent.deployment,
                previous: agent.previous,
                plugins: BTreeMap::from([(agent.plugin.digest(), agent.plugin)]),
                last: None,
                before: None,
                rollback: None,
            }),
        });
        let agents = agents.collect();
        let number = AtomicU64::new(0);
        let kept = Mutex::new(Kept { named, wanted: BTreeSet::new() });
        Self { sandbox, config, store, clock, agents, number, components, kept }
    }

    /// Begins a swap, on a thread of its own.
    pub fn begin(
        self: &Arc<Self>,
        index: usize,
        order: SwapOrder,
        reason: SwapReason,
    ) -> Result<SwapView, SwapError> {
        let (agent, swaps) = self.agent(index)?;
        self.check(agent, &order, reason)?;
        let mut state = swaps.state();
        state.check_free(agent)?;
        let mut wanted = order.settings.unwrap_or_else(|| to_json(&state.running.settings));
        wanted.extend(order.set);
        let settings =
            from_json(&wanted).map_err(|source| SwapError::Setting { agent: agent.name.clone(), source })?;
        let view = SwapView {
            number: self.next_number(),
            reason,
            file: order.component.display().to_string(),
            from: self.component(state.running.plugin),
            to: None,
            settings: to_json(&settings),
            shadow_ticks: order.shadow_ticks.unwrap_or(agent.swap.shadow_ticks),
            probation_ticks: order.probation_ticks.unwrap_or(agent.swap.probation_ticks),
            note: order.note,
            progress: SwapProgress::Vetting,
            shadow: None,
            switched_after_call: None,
            paused_us: None,
        };
        let vetting = vetting::Vetting {
            index,
            number: view.number,
            file: order.component,
            pin: order.sha256,
            settings,
            shadow_ticks: view.shadow_ticks,
            probation_ticks: view.probation_ticks,
            fresh: order.fresh,
            reason,
            note: view.note.clone(),
        };
        vetting
            .start(self)
            .map_err(|error| SwapError::Thread { agent: agent.name.clone(), reason: error.to_string() })?;
        tracing::info!(target: AUDIT, agent = %agent.name, swap = view.number, "vetting {}", view.file.escape_debug());
        state.last = Some(view.clone());
        Ok(view)
    }

    fn check(&self, agent: &AgentConfig, order: &SwapOrder, reason: SwapReason) -> Result<(), SwapError> {
        let name = || agent.name.clone();
        if !order.component.is_absolute() && reason == SwapReason::Operator {
            let found = order.component.display().to_string();
            return Err(SwapError::Relative { agent: name(), found });
        }
        let real_money = self.config.venue.get(&agent.venue).and_then(VenueConfig::remote_host).is_some();
        let why = match (agent.sha256, real_money) {
            (Some(_), _) => Some("the configuration pins its component"),
            (None, true) => Some("its venue is not on this machine and real money may be at stake"),
            (None, false) => None,
        };
        if let (Some(why), None) = (why, order.sha256) {
            let bytes = Sandbox::read(&order.component, &self.config.terms(agent).limits);
            let digest = bytes.map_or_else(|_| "HEX".to_owned(), |bytes| Digest::of(&bytes).to_string());
            return Err(SwapError::Unpinned { agent: name(), why, digest });
        }
        let limits = &agent.limits;
        let counts = [
            ("shadow_ticks", order.shadow_ticks, limits.shadow_ticks_max, "shadow_ticks_max"),
            ("probation_ticks", order.probation_ticks, limits.probation_ticks_max, "probation_ticks_max"),
        ];
        for (what, found, max, limit) in counts {
            if let Some(found) = found.filter(|found| *found > max) {
                return Err(SwapError::TooMany { agent: name(), what, found, max, limit });
            }
        }
        Ok(())
    }

    /// Takes a swap back: gives it up while nothing is switched, or brings the component back that ran before, from
    /// memory during a probation and from the store after it.
    ///
    /// `fresh` lets what comes from the store begin without a state, when it cannot go on with that of what runs now.
    pub fn rollback(
        self: &Arc<Self>,
        index: usize,
        note: String,
        fresh: bool,
    ) -> Result<Rollback, SwapError> {
        let (agent, swaps) = self.agent(index)?;
        let mut state = swaps.state();
        let under_way = state.last.as_ref().filter(|last| !last.progress.is_over());
        let order = match under_way.map(|last| (last.number, &last.progress)) {
            None => {
                drop(state);
                return self.bring_back(index, note, fresh).map(|swap| Rollback::Begun(Box::new(swap)));
            }
            Some((_, SwapProgress::Probation { .. })) => {
                let number = self.next_number();
                state.rollback = Some((number, note.clone(), fresh));
                Operator::Rollback { number, note }
            }
            // It is not the agent's yet: vetting finds that nobody waits for it.
            Some((_, SwapProgress::Vetting)) => {
                if let Some(last) = &mut state.last {
                    last.progress = SwapProgress::abandoned(&note);
                }
                return Ok(Rollback::Abandoned);
            }
            Some((number, _)) => {
                state.rollback = Some((number, note.clone(), fresh));
                Operator::AbandonSwap { number, note }
            }
        };
        let abandons = matches!(order, Operator::AbandonSwap { .. });
        if !swaps.handle.answer(Event::Operator(order)) {
            return Err(SwapError::Stopped { agent: agent.name.clone() });
        }
        Ok(if abandons { Rollback::Abandoned } else { Rollback::Ordered })
    }

    /// Swaps to what ran before the last switch.
    fn bring_back(self: &Arc<Self>, index: usize, note: String, fresh: bool) -> Result<SwapView, SwapError> {
        let (agent, swaps) = self.agent(index)?;
        let previous = swaps.state().previous.clone();
        let previous = previous.ok_or_else(|| SwapError::NothingBefore { agent: agent.name.clone() })?;
        let order = SwapOrder {
            component: self.store.path(previous.plugin),
            sha256: Some(previous.plugin),
            settings: Some(to_json(&previous.settings)),
            set: serde_json::Map::new(),
            shadow_ticks: Some(0),
            probation_ticks: None,
            fresh,
            note,
        };
        self.begin(index, order, SwapReason::Rollback)
    }

    /// Takes the news of a swap in that the core tells.
    pub fn take(self: &Arc<Self>, index: usize, SwapNews { number, event }: &SwapNews) {
        let Ok((agent, swaps)) = self.agent(index) else { return };
        let mut state = swaps.state();
        log(agent, *number, event);
        if let SwapEvent::Refused(failure) = event
            && let Some((_, note, fresh)) = state.rollback.take_if(|(rollback, ..)| rollback == number)
        {
            match &*failure.code {
                // The probation has ended between the order and its arrival.
                "no_probation" => {
                    drop(state);
                    if let Err(error) = self.bring_back(index, note, fresh) {
                        tracing::error!(target: AUDIT, agent = %agent.name, "the rollback does not begin: {error}");
                    }
                    return;
                }
                // It was to be given up, and has taken over meanwhile.
                "no_such_swap" => {
                    let number = self.next_number();
                    state.rollback = Some((number, note.clone(), fresh));
                    swaps.handle.answer(Event::Operator(Operator::Rollback { number, note }));
                    return;
                }
                // It is given up.
                _ => {}
            }
        }
        let Some(mut last) = state.last.take_if(|last| last.number == *number) else { return };
        last.take(event);
        match event {
            SwapEvent::Switched { to, .. } => {
                let settings = from_json(&last.settings).unwrap_or_default();
                let before = std::mem::replace(&mut state.running, Deployment { plugin: *to, settings });
                state.before = state.previous.replace(before);
            }
            SwapEvent::Returned { .. } => {
                let before = state.before.take();
                if let Some(back) = std::mem::replace(&mut state.previous, before) {
                    state.running = back;
                }
            }
            SwapEvent::Shadowing
            | SwapEvent::Shadowed(_)
            | SwapEvent::Refused(_)
            | SwapEvent::Committed { .. } => {}
        }
        if last.progress.is_over() {
            state.before = None;
            state.rollback = None;
            let running = state.running.plugin;
            state.plugins.retain(|digest, _| *digest == running);
        }
        if last.reason == SwapReason::File {
            swaps.tell_refused(agent, &last);
        }
        state.last = Some(last);
    }

    /// A candidate that the shell itself refuses.
    fn refuse(&self, index: usize, number: u64, refusal: SwapProgress) {
        let Ok((agent, swaps)) = self.agent(index) else { return };
        let mut state = swaps.state();
        let Some(last) = state.last.as_mut().filter(|last| last.number == number && !last.progress.is_over())
        else {
            return;
        };
        if let SwapProgress::Refused { code, message, .. } = &refusal {
            tracing::warn!(target: AUDIT, agent = %agent.name, swap = number, %code, "refused: {message}");
        }
        last.progress = refusal;
        if last.reason == SwapReason::File {
            swaps.tell_refused(agent, last);
        }
        let running = state.running.plugin;
        state.plugins.retain(|digest, _| *digest == running);
    }

    /// The last swap of an agent, and what is to run when it is rolled back.
    pub fn last(&self, index: usize) -> (Option<SwapView>, Option<ComponentView>) {
        let Some(swaps) = self.agents.get(index) else { return (None, None) };
        let state = swaps.state();
        let previous = state.previous.as_ref().map(|previous| self.component(previous.plugin));
        (state.last.clone(), previous)
    }

    /// What is known of a component.
    pub fn component(&self, digest: Digest) -> ComponentView {
        let known = self.components.lock().unwrap_or_else(PoisonError::into_inner);
        let unknown = || ComponentView { sha256: digest, name: String::new(), version: String::new() };
        known.get(&digest).cloned().unwrap_or_else(unknown)
    }

    fn know(&self, plugin: &Plugin) {
        let mut known = self.components.lock().unwrap_or_else(PoisonError::into_inner);
        known.insert(plugin.digest(), ComponentView::of(plugin));
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn agent(&self, index: usize) -> Result<(&AgentConfig, &AgentSwaps), SwapError> {
        self.config.agent.get(index).zip(self.agents.get(index)).ok_or(SwapError::NoSuchAgent { index })
    }

    fn next_number(&self) -> u64 {
        self.number.fetch_add(1, Ordering::Relaxed) + 1
    }
}

/// What a rollback does.
pub enum Rollback {
    /// Nothing had been switched; the swap is given up.
    Abandoned,
    /// The component before comes back from its probation.
    Ordered,
    /// It is brought back as a swap.
    Begun(Box<SwapView>),
}

impl AgentSwaps {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Nobody waits for the end of a swap to a watched file, so that a person is told of a bad one.
    fn tell_refused(&self, agent: &AgentConfig, swap: &SwapView) {
        let (class, code, text) = match &swap.progress {
            SwapProgress::Refused { class, code, message } => (*class, code.clone(), message.clone()),
            SwapProgress::Returned { returned_note, .. } => {
                (Class::Logic, "swap_returned".to_owned(), returned_note.clone())
            }
            _ => return,
        };
        let text = format!(
            "agent {}: the changed file {} is not taken, and what ran before trades on: {text}",
            agent.name, swap.file
        );
        tracing::error!(%class, %code, "{text}");
        let mut report = self.report.lock().unwrap_or_else(PoisonError::into_inner);
        let at = report.curve.points().last().map_or(UnixNanos(0), |(at, _)| *at);
        report.alert(at, Alert { class, code, text });
    }
}

fn log(agent: &AgentConfig, number: u64, event: &SwapEvent) {
    let agent = &agent.name;
    match event {
        SwapEvent::Shadowing => {
            tracing::info!(target: AUDIT, %agent, swap = number, "runs beside the strategy")
        }
        SwapEvent::Shadowed(report) => tracing::info!(target: AUDIT, %agent, swap = number,
            "the shadow ended: {} of {} calls differ", report.differing, report.calls),
        SwapEvent::Switched { from, to, call, probation_ticks, .. } => {
            tracing::info!(target: AUDIT, %agent, swap = number,
            "{to} runs in place of {from} after call {call}, on probation for {probation_ticks} ticks")
        }
        SwapEvent::Committed { plugin } => {
            tracing::info!(target: AUDIT, %agent, swap = number, "{plugin} stays");
        }
        SwapEvent::Returned { from, to, note, fed, .. } => {
            tracing::warn!(target: AUDIT, %agent, swap = number,
            "{to} is back in place of {from}, and was given {fed} calls again: {note}")
        }
        SwapEvent::Refused(failure) => {
            tracing::warn!(target: AUDIT, %agent, swap = number, "refused: {failure}");
        }
    }
}

impl State {
    fn check_free(&self, agent: &AgentConfig) -> Result<(), SwapError> {
        match &self.last {
            Some(last) if !last.progress.is_over() => Err(SwapError::UnderWay {
                agent: agent.name.clone(),
                number: last.number,
                stage: last.progress.name(),
            }),
            _ => Ok(()),
        }
    }
}
