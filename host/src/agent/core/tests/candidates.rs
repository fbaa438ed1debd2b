//! Components that a test swaps in, with everything that a shell brings along.

use super::rig::Rig;
use crate::agent::core::*;
use crate::orders::Digest;
use crate::plugin::Strategy;

impl Rig {
    /// A fresh instance of a component.
    pub(super) fn fresh(&self, plugin: Digest) -> Box<dyn Strategy> {
        match (self.components.get(&plugin), self.make) {
            (Some(make), _) => make(),
            (None, Some(make)) => make(),
            (None, None) => Box::new(self.strategy.clone()),
        }
    }

    /// Lets a component be found by its digest, as a component store does.
    pub(super) fn component(&mut self, name: &str, make: impl Fn() -> Box<dyn Strategy> + 'static) -> Digest {
        let digest = Digest::of(name.as_bytes());
        self.components.insert(digest, std::rc::Rc::new(make));
        digest
    }

    /// A component that shall take over, with everything that a shell brings.
    pub(super) fn candidate(&self, plugin: Digest, probation_ticks: u64) -> Candidate {
        let running = self.core().config().plugin;
        Candidate {
            number: 1,
            strategy: self.fresh(plugin),
            plugin,
            settings: self.core().config().settings.clone(),
            shadow: None,
            probation_ticks,
            standby: Some(self.fresh(running)),
            fresh: false,
            reason: crate::orders::SwapReason::Operator,
            note: "a better one".into(),
        }
    }

    /// The same, beside the running one first.
    pub(super) fn shadowed(&self, plugin: Digest, ticks: u64) -> Candidate {
        let strategy = self.fresh(plugin);
        let shadow = Some(Shadow { strategy, ticks: ticks.try_into().unwrap() });
        Candidate { shadow, ..self.candidate(plugin, 0) }
    }

    pub(super) fn swap(&mut self, candidate: Candidate) {
        self.step(Event::Swap(Box::new(candidate)));
        self.run();
    }

    /// The code of the last refusal of a swap.
    pub(super) fn refused(&self) -> Option<&str> {
        self.swaps.iter().rev().find_map(|news| match &news.event {
            SwapEvent::Refused(failure) => Some(failure.code.as_ref()),
            _ => None,
        })
    }
}
