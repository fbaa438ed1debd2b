//! What a component may import: one case per interface. The adapter of its version makes links of them.

use super::contract::Mismatch;
use super::text::printable;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fmt;

/// Interfaces of this package in an import's name.
const PREFIX: &str = "ringfence:strategy/";

/// Something that a component can import. None of them reaches beyond the host's own memory: no file, socket,
/// clock or key of the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Grant {
    /// Lines in the host's log, bounded and escaped.
    Log,
    /// Counters, gauges and histograms.
    Metrics,
    /// The time of the call, and timers.
    Clock,
    /// The strategy's own seeded random numbers.
    Random,
    /// Cash, equity, positions and open orders of its agent.
    Account,
    /// Small values that survive a restart.
    Kv,
}

impl Grant {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::Log, Self::Metrics, Self::Clock, Self::Random, Self::Account, Self::Kv];

    /// Its name in a configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Log => "log",
            Self::Metrics => "metrics",
            Self::Clock => "clock",
            Self::Random => "random",
            Self::Account => "account",
            Self::Kv => "kv",
        }
    }

    /// What an import needs; `None` for one that needs nothing (types alone) or that nobody can grant.
    pub(super) fn of_import(name: &str) -> Option<Self> {
        let interface = name.strip_prefix(PREFIX)?.split('@').next()?;
        Self::ALL.into_iter().find(|grant| grant.name() == interface)
    }
}

/// What one component may import. By default everything that is virtual, since it costs the account nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Grants(BTreeSet<Grant>);

impl Default for Grants {
    fn default() -> Self {
        Self::from_iter(Grant::ALL)
    }
}

impl FromIterator<Grant> for Grants {
    fn from_iter<I: IntoIterator<Item = Grant>>(grants: I) -> Self {
        Self(grants.into_iter().collect())
    }
}

impl fmt::Display for Grants {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("nothing");
        }
        for (position, grant) in self.0.iter().enumerate() {
            write!(f, "{}{}", if position == 0 { "" } else { ", " }, grant.name())?;
        }
        Ok(())
    }
}

impl Grants {
    /// Whether it is granted.
    pub fn has(&self, grant: Grant) -> bool {
        self.0.contains(&grant)
    }

    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = Grant> + '_ {
        self.0.iter().copied()
    }

    /// The imports that could be granted and are not.
    pub(super) fn check(&self, imports: &[String]) -> Vec<Mismatch> {
        let missing = imports.iter().filter_map(|name| {
            let grant = Grant::of_import(name).filter(|grant| !self.has(*grant))?;
            Some(Mismatch::NotGranted { interface: printable(name, 128), grant, granted: self.to_string() })
        });
        missing.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_import_needs_the_grant_of_its_name_whatever_its_version() {
        assert_eq!(Grant::of_import("ringfence:strategy/kv@1.0.0"), Some(Grant::Kv));
        assert_eq!(Grant::of_import("ringfence:strategy/kv@1.9.0"), Some(Grant::Kv));
        assert_eq!(Grant::of_import("ringfence:strategy/types@1.0.0"), None);
        assert_eq!(Grant::of_import("wasi:cli/kv@1.0.0"), None);
    }

    #[test]
    fn a_misspelt_grant_is_refused_and_none_are_none() {
        #[derive(Debug, Deserialize)]
        struct Given {
            grants: Grants,
        }
        assert!(toml::from_str::<Given>("grants = [\"kvv\"]").is_err());
        let given: Given = toml::from_str("grants = []").unwrap();
        assert_eq!(given.grants.to_string(), "nothing");
        assert_eq!(Grants::default().to_string(), "log, metrics, clock, random, account, kv");
    }
}
