//! Where dead letters are: in the files of a host that does not run, or behind the admin API of one that does.

use super::super::StateArgs;
use super::super::host::HostClient;
use super::super::output::CliError;
use super::Listed;
use crate::admin::{LetterList, LetterNote, LetterReissue, LetterReplay, facts_of, letter_of};
use crate::agent::live::{LetterOrder, SystemClock, find_letter};
use crate::config::Config;
use crate::resilience::{
    Class, DeadLetter, DeadLetterStore, DeadLetterStoreConfig, LetterAlert, LetterAlertConfig, LockError,
    RealDisk, StoreError,
};
use serde_json::Value;
use std::sync::Arc;

/// Dead letters, wherever they are.
pub(super) enum Letters {
    /// Nobody else has them.
    Files(Box<DeadLetterStore>, LetterAlertConfig),
    /// A running host has them.
    Host(HostClient),
}

/// What became of an order.
pub(super) struct Ordered {
    pub letter: DeadLetter,
    /// What is printed for machines.
    pub facts: Value,
    /// When the agent hears of it.
    pub when: &'static str,
}

impl Letters {
    pub fn open(state: &StateArgs) -> Result<Self, CliError> {
        let dir = state.data_dir()?.join("dead-letters");
        if !dir.is_dir() {
            return Err(CliError::input(
                "no_dead_letters",
                format!("{} does not exist; give the data_dir of a host that has run", dir.display()),
            ));
        }
        // When the host would raise an alert; its defaults, when only the folder is given.
        let config =
            state.config.as_ref().map(|file| Config::load(file).map(|config| (config, file))).transpose()?;
        let alerts = config
            .as_ref()
            .map_or_else(LetterAlertConfig::default, |(config, _)| config.dead_letter_alerts.clone());
        match DeadLetterStore::open_whole(&dir, DeadLetterStoreConfig::default(), Arc::new(RealDisk)) {
            Ok(store) => Ok(Self::Files(Box::new(store), alerts)),
            Err(error @ StoreError::Lock(LockError::InUse(_))) => match config {
                Some((config, file)) if config.admin.is_some() => {
                    Ok(Self::Host(HostClient::new(&config, file)?))
                }
                Some(_) => Err(CliError::from(error).advise(
                    "or give the running host an [admin] section, over which this command then reaches it",
                )),
                None => Err(CliError::from(error)
                    .advise("or give its configuration with --config, when that has an [admin] section")),
            },
            Err(error) => Err(error.into()),
        }
    }

    pub fn list(&self, all: bool, limit: usize) -> Result<Listed, CliError> {
        match self {
            Self::Files(store, alerts) => {
                // A letter that waits for its replay is not closed, so it is shown.
                let mut letters = store.list(None, usize::MAX)?;
                letters.retain(|letter| all || !letter.status.state().is_closed());
                let omitted = letters.len().saturating_sub(limit);
                letters.truncate(limit);
                let alerts = store.alerts(SystemClock::start().now().wall, alerts);
                Ok(Listed { alerts: alerts.iter().map(LetterAlert::to_string).collect(), letters, omitted })
            }
            Self::Host(host) => {
                let list: LetterList = host.get(&format!("/v1/dlq?all={all}&limit={limit}"))?;
                let letters = list.letters.into_iter().map(letter).collect::<Result<_, _>>()?;
                Ok(Listed { alerts: list.alerts, letters, omitted: list.omitted })
            }
        }
    }

    pub fn find(&self, id: &str) -> Result<DeadLetter, CliError> {
        match self {
            Self::Files(store, _) => Ok(find_letter(store, id)?),
            Self::Host(host) => letter(host.get(&path(id)?)?),
        }
    }

    pub fn give(&self, id: &str, order: &LetterOrder) -> Result<Ordered, CliError> {
        match self {
            Self::Files(store, _) => {
                let letter = order.give(store, id, SystemClock::start().now().wall)?;
                Ok(Ordered { facts: facts_of(&letter), letter, when: "when the host starts" })
            }
            Self::Host(host) => {
                let path = format!("{}/{}", path(id)?, order.name());
                let facts: Value = match order.clone() {
                    LetterOrder::Replay { ambiguous } => host.post(&path, &LetterReplay { ambiguous }),
                    LetterOrder::Reissue { note, not_executed } => {
                        host.post(&path, &LetterReissue { note, not_executed })
                    }
                    LetterOrder::Resolve { note } => host.post(&path, &LetterNote { note }),
                }?;
                let told = facts.get("told").and_then(Value::as_bool) == Some(true);
                let when = if told { "now" } else { "when its agent runs again" };
                Ok(Ordered { letter: letter(facts.clone())?, facts, when })
            }
        }
    }
}

/// The path of a letter; what cannot be a name must not become another path.
fn path(id: &str) -> Result<String, CliError> {
    let id: crate::resilience::LetterId = id
        .parse()
        .map_err(|error: crate::resilience::LetterRefusal| CliError::input("letter_id", error.to_string()))?;
    Ok(format!("/v1/dlq/{id}"))
}

fn letter(facts: Value) -> Result<DeadLetter, CliError> {
    letter_of(facts).map_err(|reason| CliError::of(Class::Api, "no_answer", format!("expected {reason}")))
}
