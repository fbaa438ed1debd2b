//! A candidate on its way from a file to the core, on a thread of its own.

use super::{SwapProgress, Swaps};
use crate::agent::core::{Candidate, Event, Instance, RecoverError, Shadow};
use crate::agent::live::build::{check_strategy, load_component};
use crate::agent::live::error::StartError;
use crate::orders::{Digest, SwapReason};
use crate::plugin::{CallError, Plugin, Setting, Strategy};
use crate::resilience::{Class, Classified as _, Failure, Phase};
use std::collections::BTreeSet;
use std::num::NonZeroU64;
use std::path::PathBuf;
use std::sync::Arc;

/// What is vetted.
pub(super) struct Vetting {
    pub index: usize,
    pub number: u64,
    pub file: PathBuf,
    pub pin: Option<Digest>,
    pub settings: Vec<Setting>,
    pub shadow_ticks: u64,
    pub probation_ticks: u64,
    pub fresh: bool,
    pub reason: SwapReason,
    pub note: String,
}

impl Vetting {
    /// Begins.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(self, swaps: &Arc<Swaps>) -> std::io::Result<()> {
        let swaps = Arc::clone(swaps);
        swaps.thread("swap")?.spawn(move || {
            let (index, number) = (self.index, self.number);
            if let Err(refusal) = self.run(&swaps) {
                swaps.refuse(index, number, refusal);
            }
            swaps.prune();
        })?;
        Ok(())
    }

    /// The same checks in the same order as at a start.
    fn run(self, swaps: &Arc<Swaps>) -> Result<(), SwapProgress> {
        let agent = swaps.agent(self.index).map_err(|error| SwapProgress::refused(&error))?.0;
        let plugin = load_component(&swaps.config, agent, &swaps.sandbox, &self.file, self.pin)
            .map_err(|error| SwapProgress::refused(&error))?;
        let now = swaps.clock.now();
        check_strategy(&swaps.config, agent, &plugin, self.settings.clone(), now)
            .map_err(|error| SwapProgress::refused(&error))?;
        swaps.kept().wanted.insert(plugin.digest());
        // A restart needs it from the moment at which the switch is durable.
        let kept = swaps.store.keep(&self.file, plugin.digest(), plugin.limits().component_bytes_max);
        let handed = match kept {
            Ok(()) => self.hand_over(swaps, &plugin),
            Err(error) => Err(SwapProgress::refused(&error)),
        };
        swaps.kept().wanted.remove(&plugin.digest());
        handed
    }

    fn hand_over(self, swaps: &Arc<Swaps>, plugin: &Plugin) -> Result<(), SwapProgress> {
        let (agent, of_agent) = swaps.agent(self.index).map_err(|error| SwapProgress::refused(&error))?;
        let fresh = |plugin: &Plugin| -> Result<Box<dyn Strategy>, SwapProgress> {
            let failed = |source: CallError| RecoverError::Strategy { agent: agent.name.clone(), source };
            let instance = plugin.instantiate().map_err(|source| SwapProgress::refused(&failed(source)))?;
            Ok(Box::new(instance))
        };
        let running = of_agent.state().running.plugin;
        let standby = match (self.probation_ticks, running) {
            (0, _) => None,
            _ => Some(fresh(&swaps.plugin(self.index, running)?)?),
        };
        let shadow = match NonZeroU64::new(self.shadow_ticks) {
            Some(ticks) => Some(Shadow { strategy: fresh(plugin)?, ticks }),
            None => None,
        };
        let candidate = Candidate {
            number: self.number,
            strategy: fresh(plugin)?,
            plugin: plugin.digest(),
            settings: self.settings,
            shadow,
            probation_ticks: self.probation_ticks,
            standby,
            fresh: self.fresh,
            reason: self.reason,
            note: self.note,
        };
        swaps.know(plugin);
        swaps.kept().named.insert(plugin.digest());
        let mut state = of_agent.state();
        let waits = |last: &&mut super::SwapView| {
            last.number == self.number && last.progress == SwapProgress::Vetting
        };
        // Given up meanwhile.
        let Some(last) = state.last.as_mut().filter(waits) else { return Ok(()) };
        last.progress = SwapProgress::Handed;
        last.to = Some(swaps.component(plugin.digest()));
        state.plugins.insert(plugin.digest(), plugin.clone());
        if of_agent.handle.answer(Event::Swap(Box::new(candidate))) {
            return Ok(());
        }
        drop(state);
        Err(SwapProgress::refused(&super::SwapError::Stopped { agent: agent.name.clone() }))
    }
}

impl Swaps {
    /// A thread that may call strategies.
    fn thread(&self, name: &str) -> std::io::Result<std::thread::Builder> {
        let stack = self.sandbox.config().thread_stack_bytes();
        Ok(std::thread::Builder::new().name(name.into()).stack_size(stack))
    }

    /// A component that an agent has run or is to run, compiled.
    fn plugin(&self, index: usize, digest: Digest) -> Result<Plugin, SwapProgress> {
        let (agent, of_agent) = self.agent(index).map_err(|error| SwapProgress::refused(&error))?;
        if let Some(plugin) = of_agent.state().plugins.get(&digest) {
            return Ok(plugin.clone());
        }
        let file = self.store.path(digest);
        let loaded =
            load_component(&self.config, agent, &self.sandbox, &file, Some(digest)).map_err(|source| {
                SwapProgress::refused(&StartError::SwappedIn {
                    agent: agent.name.clone(),
                    digest,
                    source: source.into(),
                })
            })?;
        of_agent.state().plugins.insert(digest, loaded.clone());
        Ok(loaded)
    }

    /// Makes a fresh instance of a component for an agent, on a thread of its own: its start code may take its time.
    pub fn instantiate(self: &Arc<Self>, index: usize, number: u64, digest: Digest) {
        let swaps = Arc::clone(self);
        let make = move || {
            let outcome = swaps.instance(index, digest);
            if let Ok((_, of_agent)) = swaps.agent(index) {
                of_agent.handle.answer(Event::Instance { number, outcome });
            }
        };
        if let Err(error) = self.thread("instance").and_then(|thread| thread.spawn(make))
            && let Ok((_, of_agent)) = self.agent(index)
        {
            let failure = Failure::new(Class::Resource, "instance_thread", Phase::NotSent, error.to_string());
            of_agent.handle.answer(Event::Instance { number, outcome: Err(failure) });
        }
    }

    fn instance(&self, index: usize, digest: Digest) -> Result<Instance, Failure> {
        let plugin = self.plugin(index, digest).map_err(|refusal| match refusal {
            SwapProgress::Refused { class, code, message } => {
                Failure::new(class, code, Phase::NotSent, message)
            }
            other => Failure::new(Class::Logic, "instance", Phase::NotSent, other.name()),
        })?;
        let instance = plugin
            .instantiate()
            .map_err(|error| Failure::new(error.class(), error.code(), Phase::NotSent, error.to_string()))?;
        Ok(Instance(Box::new(instance)))
    }

    /// Removes components from the store that no journal names and no agent can fall back to.
    pub fn prune(&self) {
        let mut deployed = BTreeSet::new();
        for agent in &self.agents {
            let state = agent.state();
            let known = [Some(&state.running), state.previous.as_ref(), state.before.as_ref()];
            deployed.extend(known.into_iter().flatten().map(|deployment| deployment.plugin));
        }
        let kept = self.kept();
        deployed.extend(kept.named.iter().chain(&kept.wanted));
        match self.store.prune(&deployed) {
            Ok(0) => {}
            Ok(removed) => tracing::info!(removed, "removed components that nothing names any more"),
            // Nothing is lost by it; the next start tries again.
            Err(error) => tracing::warn!(class = %error.class(), code = error.code(), "{error}"),
        }
    }
}
