//! Which component an agent runs, with which settings, when a host starts.

use super::build::{check_settings, load_component, settings};
use super::components::ComponentStore;
use super::error::{ComponentError, StartError};
use crate::agent::core::{CoreConfig, Deployment, LastRun};
use crate::config::{AgentConfig, Config};
use crate::orders::{Digest, Record};
use crate::plugin::{Plugin, PluginError, Sandbox, Setting};
use crate::resilience::Classified as _;
use std::path::PathBuf;

/// What a start runs.
pub(super) struct Chosen {
    pub plugin: Plugin,
    pub settings: Vec<Setting>,
    /// Where its component was read.
    pub file: PathBuf,
    /// Digest of what the configuration names, which is the same or another thing.
    pub configured: Option<Digest>,
    /// What ran before the last swap.
    pub previous: Option<Deployment>,
}

impl Chosen {
    pub fn deployment(&self) -> Deployment {
        Deployment { plugin: self.plugin.digest(), settings: self.settings.clone() }
    }
}

/// The components that a record names.
pub(super) fn components_of(record: &Record) -> impl Iterator<Item = Digest> {
    let named = match record {
        Record::Started { plugin, .. } => [Some(*plugin), None],
        Record::Swapped(swap) => [Some(swap.from), Some(swap.to)],
        _ => [None, None],
    };
    named.into_iter().flatten()
}

/// The component that the configuration names, or why it is none. For an agent whose file is watched the latter is
/// no reason not to start: what ran last is kept.
pub(super) type Configured = Result<Plugin, PluginError>;

/// Loads what the configuration names for each agent.
///
/// # Errors
/// When a component is not taken whose file is not watched, or when nothing has run yet that could go on instead.
pub(super) fn load_configured(config: &Config, sandbox: &Sandbox) -> Result<Vec<Configured>, StartError> {
    let first = !ComponentStore::exists(&config.data_dir);
    (config.agent.iter())
        .map(|agent| match load_component(config, agent, sandbox, &agent.component, agent.sha256) {
            Ok(plugin) => Ok(Ok(plugin)),
            Err(ComponentError::Unpinned(unpinned)) => Err(unpinned.into()),
            Err(ComponentError::Plugin(source)) if first || !agent.watch => {
                Err(StartError::Plugin { agent: agent.name.clone(), source })
            }
            Err(ComponentError::Plugin(source)) => Ok(Err(source)),
        })
        .collect()
}

/// Decides between what the configuration names and what ran last. What was swapped in runs on, with its settings, as
/// long as the configuration names what it named at the last start; once that is edited, the configuration wins.
///
/// # Errors
/// When what has to run is not there or is not taken.
pub(super) fn choose(
    config: &Config,
    agent: &AgentConfig,
    sandbox: &Sandbox,
    store: &ComponentStore,
    configured: Configured,
    last: Option<&LastRun>,
) -> Result<Chosen, StartError> {
    let own = settings(agent)?;
    let before = last.and_then(|last| last.previous.clone());
    let ran = last.map(|last| Deployment {
        plugin: last.plugin,
        settings: last.settings.clone().unwrap_or_else(|| own.clone()),
    });
    let kept = |ran: &Deployment, configured| {
        let file = store.path(ran.plugin);
        // Its name is its pin: what has rotted is not taken.
        let plugin = load_component(config, agent, sandbox, &file, Some(ran.plugin)).map_err(|source| {
            StartError::SwappedIn { agent: agent.name.clone(), digest: ran.plugin, source: source.into() }
        })?;
        check_settings(agent, &plugin, &ran.settings)?;
        Ok(Chosen { plugin, settings: ran.settings.clone(), file, configured, previous: before.clone() })
    };
    let plugin = match (configured, last.zip(ran.as_ref())) {
        (Ok(plugin), _) => plugin,
        (Err(error), Some((last, ran))) if store.path(ran.plugin).is_file() => {
            tracing::error!(agent = %agent.name, class = %error.class(), code = error.code(),
                "the watched component is not taken, what ran last goes on: {error}");
            return kept(ran, last.configured);
        }
        (Err(source), _) => return Err(StartError::Plugin { agent: agent.name.clone(), source }),
    };
    let configuration = CoreConfig::configuration(plugin.digest(), &own);
    let mut runs_settings = own;
    if let Some((last, ran)) = last.zip(ran.as_ref()) {
        let named =
            |deployment: &Deployment| CoreConfig::configuration(deployment.plugin, &deployment.settings);
        let swapped_in = last.configured.is_some_and(|configured| configured != named(ran));
        if swapped_in && last.goes_on(configuration) {
            tracing::info!(agent = %agent.name, "component {} was swapped in and goes on", ran.plugin);
            if ran.plugin != plugin.digest() {
                return kept(ran, Some(configuration));
            }
            runs_settings.clone_from(&ran.settings);
        } else if swapped_in && named(ran) != configuration {
            tracing::warn!(agent = %agent.name, class = "state", code = "configuration_changed",
                "the configuration names another component or other settings than at the last start, and wins over \
                 component {}, which was swapped in: {} runs now, with the settings of the configuration",
                ran.plugin, plugin.digest());
        }
    }
    check_settings(agent, &plugin, &runs_settings)?;
    let file = agent.component.clone();
    let runs = Deployment { plugin: plugin.digest(), settings: runs_settings };
    // An edited configuration is another way to let something else run.
    let previous = match ran {
        Some(ran) if ran != runs => Some(ran),
        _ => before,
    };
    let configured = Some(configuration);
    Ok(Chosen { plugin, settings: runs.settings, file, configured, previous })
}
