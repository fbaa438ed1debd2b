//! What an agent runs, and what it ran before: a checkpoint holds it, because the journal that says it is compacted.

use crate::orders::{Digest, Record, Swap};
use crate::plugin::Setting;
use serde::{Deserialize, Serialize};

/// A component and the settings that it runs with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Deployment {
    /// The component.
    pub plugin: Digest,
    /// Its settings.
    pub settings: Vec<Setting>,
}

/// The fold of an agent's starts and switches.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Succession {
    current: Option<Deployment>,
    /// What ran before the last switch.
    previous: Option<Deployment>,
    /// What ran before that, while the last switch may be taken back.
    before: Option<Deployment>,
    /// The request of the last switch in this run.
    request: Option<u64>,
}

impl Succession {
    /// Takes in one more record.
    pub fn take(&mut self, record: &Record) {
        match record {
            Record::Started { plugin, settings: Some(settings), .. } => {
                let started = Deployment { plugin: *plugin, settings: settings.clone() };
                if self.current.as_ref().is_some_and(|current| *current != started) {
                    self.previous = self.current.take();
                }
                (self.current, self.request) = (Some(started), None);
            }
            Record::Started { .. } => *self = Self::default(),
            Record::Swapped(swap) => self.take_swap(swap),
            _ => {}
        }
    }

    /// Takes in a switch.
    pub fn take_swap(&mut self, swap: &Swap) {
        let now = Deployment { plugin: swap.to, settings: swap.settings.clone() };
        if self.request == Some(swap.request) {
            // The same request again: what it had brought in has left.
            self.previous = self.before.take();
        } else {
            self.before = std::mem::replace(&mut self.previous, self.current.take());
        }
        (self.current, self.request) = (Some(now), Some(swap.request));
    }

    /// What ran before the last switch, or before the configuration was edited.
    pub fn previous(&self) -> Option<&Deployment> {
        self.previous.as_ref()
    }

    /// The components that may come back.
    pub fn components(&self) -> impl Iterator<Item = Digest> {
        [&self.current, &self.previous, &self.before].into_iter().flatten().map(|named| named.plugin)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::market::{Money, UnixNanos};
    use crate::orders::SwapReason;
    use crate::plugin::SettingValue;

    fn deployment(name: &str, fast: i64) -> Deployment {
        let settings = vec![Setting { key: "fast".into(), value: SettingValue::Integer(fast) }];
        Deployment { plugin: Digest::of(name.as_bytes()), settings }
    }

    fn started(runs: &Deployment) -> Record {
        Record::Started {
            incarnation: 1,
            plugin: runs.plugin,
            symbols: Vec::new(),
            cash: Money::ZERO,
            forgot: 0,
            since: 0,
            terms: None,
            settings: Some(runs.settings.clone()),
            configured: None,
            next_order: 0,
        }
    }

    fn swapped(from: &Deployment, to: &Deployment, request: u64) -> Record {
        Record::Swapped(Box::new(Swap {
            from: from.plugin,
            to: to.plugin,
            settings: to.settings.clone(),
            terms: Digest::of(b""),
            call: 1,
            now: UnixNanos(0),
            next_order: 1,
            state: None,
            forgot: 0,
            memory: crate::plugin::Services::vacant().memory().clone(),
            suppressed: Vec::new(),
            bars: Vec::new(),
            reason: SwapReason::Operator,
            request,
            note: String::new(),
        }))
    }

    fn previous(records: &[Record]) -> Option<Deployment> {
        let mut succession = Succession::default();
        for record in records {
            succession.take(record);
            // A checkpoint between any two records changes nothing.
            let mut bytes = Vec::new();
            ciborium::into_writer(&succession, &mut bytes).unwrap();
            succession = ciborium::from_reader(&bytes[..]).unwrap();
        }
        succession.previous().cloned()
    }

    #[test]
    fn what_ran_before_the_last_switch_is_known_over_restarts() {
        let (a, b, c) = (deployment("a", 1), deployment("b", 1), deployment("a", 2));
        assert_eq!(previous(&[started(&a)]), None);
        let twice = [started(&a), swapped(&a, &b, 1), started(&b), started(&b)];
        assert_eq!(previous(&twice), Some(a.clone()), "a restart changes nothing");
        assert_eq!(previous(&[started(&a), swapped(&a, &b, 1), swapped(&b, &c, 2)]), Some(b.clone()));
        assert_eq!(previous(&[started(&a), started(&c)]), Some(a.clone()), "an edited configuration");
        // Requests are numbered anew in every run.
        assert_eq!(previous(&[started(&a), swapped(&a, &b, 1), started(&b), swapped(&b, &c, 1)]), Some(b));
    }

    #[test]
    fn one_that_came_back_in_the_probation_has_before_it_what_it_had() {
        let (a, b, c) = (deployment("a", 1), deployment("b", 1), deployment("c", 1));
        let first = [started(&a), swapped(&a, &b, 1), swapped(&b, &a, 1)];
        assert_eq!(previous(&first), None);
        let second = [started(&a), swapped(&a, &b, 1), swapped(&b, &c, 2), swapped(&c, &b, 2)];
        assert_eq!(previous(&second), Some(a));
    }
}
