//! Which component an agent runs, as its checkpoint and its journal say, before there is a core.

use super::State;
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
}

impl LastRun {
    /// The fold of a checkpoint and the agent's records; records that the checkpoint contains may be among
    /// them. `None` for an agent that never ran.
    pub fn of(checkpoint: Option<&State>, entries: &[Entry]) -> Option<Self> {
        let mut last = checkpoint.map(|state| Self {
            plugin: state.plugin,
            settings: state.settings.clone(),
            configured: state.configured,
        });
        let contained = checkpoint.map_or(0, |state| state.number);
        for entry in entries.iter().filter(|entry| entry.number > contained) {
            match &entry.record {
                Record::Started { plugin, settings, configured, .. } => {
                    let (plugin, settings, configured) = (*plugin, settings.clone(), *configured);
                    last = Some(Self { plugin, settings, configured });
                }
                Record::Swapped(swap) => {
                    let configured = last.as_ref().and_then(|last| last.configured);
                    last = Some(Self { plugin: swap.to, settings: Some(swap.settings.clone()), configured });
                }
                _ => {}
            }
        }
        last
    }

    /// Whether an agent that is configured with this goes on with what ran last. When the configuration names
    /// something else than it did at the last start, the operator wants that.
    pub fn goes_on(&self, configuration: Digest) -> bool {
        self.configured == Some(configuration)
    }
}
