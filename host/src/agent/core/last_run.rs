//! Which component an agent runs, as its checkpoint and its journal say, before there is a core.

use super::State;
use super::succession::{Deployment, Succession};
use crate::orders::{Digest, Entry, Record};
use crate::plugin::Setting;

/// What ran last.
#[derive(Clone, Debug, PartialEq)]
pub struct LastRun {
    /// The component.
    pub plugin: Digest,
    /// Its settings; `None` for those of the configuration it was started with.
    pub settings: Option<Vec<Setting>>,
    /// Digest of what the configuration named at the last start, see [`super::CoreConfig::configuration`];
    /// `None` when a host wrote it that did not know swaps.
    pub configured: Option<Digest>,
    /// What ran before the last switch, or before the configuration was edited.
    pub previous: Option<Deployment>,
    /// The components that may come back.
    components: Vec<Digest>,
}

impl LastRun {
    /// The fold of a checkpoint and the agent's records; records that the checkpoint contains may be among
    /// them. `None` for an agent that never ran.
    pub fn of(checkpoint: Option<&State>, entries: &[Entry]) -> Option<Self> {
        let run = |plugin, settings, configured| Self {
            plugin,
            settings,
            configured,
            previous: None,
            components: vec![plugin],
        };
        let mut last = checkpoint.map(|state| run(state.plugin, state.settings.clone(), state.configured));
        let mut succession = checkpoint.map_or_else(Succession::default, |state| state.succession.clone());
        let contained = checkpoint.map_or(0, |state| state.number);
        for entry in entries.iter().filter(|entry| entry.number > contained) {
            succession.take(&entry.record);
            match &entry.record {
                Record::Started { plugin, settings, configured, .. } => {
                    last = Some(run(*plugin, settings.clone(), *configured));
                }
                Record::Swapped(swap) => {
                    let configured = last.as_ref().and_then(|last| last.configured);
                    last = Some(run(swap.to, Some(swap.settings.clone()), configured));
                }
                _ => {}
            }
        }
        last.map(|mut last| {
            last.previous = succession.previous().cloned();
            last.components.extend(succession.components());
            last
        })
    }

    /// The components that may be asked for again: what ran last, and what ran before it.
    pub fn components(&self) -> impl Iterator<Item = Digest> + use<'_> {
        self.components.iter().copied()
    }

    /// Whether an agent that is configured with this goes on with what ran last. When the configuration names
    /// something else than it did at the last start, the operator wants that.
    pub fn goes_on(&self, configuration: Digest) -> bool {
        self.configured == Some(configuration)
    }
}
