//! What the host lends to a strategy for the length of one call: books, small durable values, random
//! numbers, timers, log and metrics.
//!
//! The core owns the [`Services`]. A component's store takes them over by swapping one pointer and gives
//! them back after the call, so that host functions read the agent's own books without a lock or a copy.
//! Writes become visible with [`Services::commit`] only, which the core calls when the call succeeded.

use super::{ServiceLimits, Telemetry};
use crate::market::{Instruments, UnixNanos};
use crate::orders::Books;
use crate::random::SplitMix64;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;
use thiserror::Error;

/// Why a small durable value was not taken; WIT `kv-error`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum KvError {
    /// All values together would be too large.
    #[error("the quota is used up (limits kv_keys_max and kv_bytes_max)")]
    Quota,
    /// This key or value is too large.
    #[error("the key or value is too large (limits kv_key_bytes_max and kv_value_bytes_max)")]
    TooLarge,
}

/// Small durable values, private to one agent. They are part of its checkpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Kv {
    entries: BTreeMap<String, serde_bytes::ByteBuf>,
}

impl Kv {
    fn bytes(&self) -> usize {
        self.entries.iter().map(|(key, value)| key.len() + value.len()).sum()
    }
}

/// What a call changed, kept apart until the call has succeeded.
#[derive(Debug, Default)]
pub struct Pending {
    kv: BTreeMap<String, Option<serde_bytes::ByteBuf>>,
    /// Once the call has written: what the values would take if nothing that it replaces were given back.
    kv_use: Option<KvUse>,
    timers: BTreeMap<u32, Option<UnixNanos>>,
    random: Option<SplitMix64>,
}

/// A bound on what the values take together, kept as a sum because a call may write thousands of times.
#[derive(Clone, Copy, Debug)]
struct KvUse {
    keys: usize,
    bytes: usize,
}

/// Everything that a strategy's host functions read and write.
#[derive(Debug)]
pub struct Services {
    /// The agent's books, as of this call.
    pub books: Books,
    /// What the agent may trade.
    pub instruments: Arc<Instruments>,
    /// Time of the call.
    pub now: UnixNanos,
    /// Log lines and metrics; not undone when a call fails, since they say why.
    pub telemetry: Telemetry,
    limits: ServiceLimits,
    memory: Memory,
    pending: Pending,
    changed: bool,
}

/// What a strategy keeps with the host: survives a restart, and a failed call does not change it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    /// Small durable values.
    pub kv: Kv,
    /// Where the random stream stands.
    pub random: SplitMix64,
    /// Timers that are set.
    pub timers: BTreeMap<u32, UnixNanos>,
}

impl Services {
    /// Fresh services.
    pub fn new(books: Books, instruments: Arc<Instruments>, seed: u64) -> Self {
        let memory = Memory { kv: Kv::default(), random: SplitMix64(seed), timers: BTreeMap::new() };
        Self::restore(books, memory, instruments)
    }

    /// Services as an earlier run left them.
    pub fn restore(books: Books, memory: Memory, instruments: Arc<Instruments>) -> Self {
        Self {
            books,
            instruments,
            now: UnixNanos(0),
            telemetry: Telemetry::default(),
            limits: ServiceLimits::default(),
            memory,
            pending: Pending::default(),
            changed: false,
        }
    }

    /// Services with nothing in them, to stand in a store between two calls.
    pub fn vacant() -> Self {
        Self::new(Books::default(), Arc::default(), 0)
    }

    /// The same with other limits than the default ones.
    #[must_use]
    pub fn with_limits(mut self, limits: ServiceLimits) -> Self {
        self.telemetry.limit(limits);
        self.limits = limits;
        self
    }

    /// What a strategy may keep, say and measure.
    pub fn limits(&self) -> &ServiceLimits {
        &self.limits
    }

    /// What the strategy keeps with the host.
    pub fn memory(&self) -> &Memory {
        &self.memory
    }

    /// The memory, when a call has changed it since this was last asked.
    pub fn take_changed(&mut self) -> Option<Memory> {
        std::mem::take(&mut self.changed).then(|| self.memory.clone())
    }

    /// Takes over the memory after a call from the journal. Whether it is what is remembered here.
    pub fn adopt(&mut self, journaled: &Memory) -> bool {
        self.changed = false;
        let same = self.memory == *journaled;
        if !same {
            self.memory = journaled.clone();
        }
        same
    }

    /// A small durable value, as this call sees it.
    pub fn kv_get(&self, key: &str) -> Option<&[u8]> {
        match self.pending.kv.get(key) {
            Some(change) => change.as_ref().map(|value| value.as_slice()),
            None => self.memory.kv.entries.get(key).map(|value| value.as_slice()),
        }
    }

    /// Sets a small durable value when the call succeeds.
    ///
    /// # Errors
    /// When the key or value is too large, or the quota would be exceeded.
    pub fn kv_set(&mut self, key: &str, value: Vec<u8>) -> Result<(), KvError> {
        let limits = &self.limits;
        if key.len() > limits.kv_key_bytes_max || value.len() > limits.kv_value_bytes_max {
            return Err(KvError::TooLarge);
        }
        let kept = &self.memory.kv;
        let mut used = *self
            .pending
            .kv_use
            .get_or_insert_with(|| KvUse { keys: kept.entries.len(), bytes: kept.bytes() });
        // A value that replaces another of an earlier call counts twice until the call is over: a bound that is
        // never exceeded needs no exact sum.
        match self.pending.kv.get(key) {
            Some(written) => used.bytes -= written.as_ref().map_or(0, |value| key.len() + value.len()),
            None => used.keys += usize::from(!kept.entries.contains_key(key)),
        }
        used.bytes += key.len() + value.len();
        if used.bytes > limits.kv_bytes_max || used.keys > limits.kv_keys_max {
            return Err(KvError::Quota);
        }
        self.pending.kv_use = Some(used);
        self.pending.kv.insert(key.to_owned(), Some(value.into()));
        Ok(())
    }

    /// Deletes a small durable value when the call succeeds.
    ///
    /// # Errors
    /// When the key is too large.
    pub fn kv_delete(&mut self, key: &str) -> Result<(), KvError> {
        if key.len() > self.limits.kv_key_bytes_max {
            return Err(KvError::TooLarge);
        }
        if let Some(written) = self.pending.kv.get_mut(key) {
            let bytes = written.take().map_or(0, |value| key.len() + value.len());
            if let Some(used) = &mut self.pending.kv_use {
                used.bytes -= bytes;
            }
        } else if self.memory.kv.entries.contains_key(key) {
            // Only what is there has to be remembered as gone, so that the memory of it is bounded too.
            self.pending.kv.insert(key.to_owned(), None);
        }
        Ok(())
    }

    /// The next number of the strategy's random stream.
    pub fn random_next(&mut self) -> u64 {
        self.pending.random.get_or_insert(self.memory.random).next_u64()
    }

    /// Sets a timer when the call succeeds. Returns whether there was room for it.
    pub fn set_timer(&mut self, id: u32, at: UnixNanos) -> bool {
        let known = self.memory.timers.contains_key(&id) || self.pending.timers.contains_key(&id);
        let room = known || self.memory.timers.len() + self.pending.timers.len() < self.limits.timers_max;
        if room {
            self.pending.timers.insert(id, Some(at));
        }
        room
    }

    /// Cancels a timer when the call succeeds.
    pub fn cancel_timer(&mut self, id: u32) {
        // A timer that was never set needs no cancelling, which bounds what has to be remembered.
        if self.memory.timers.contains_key(&id) || self.pending.timers.contains_key(&id) {
            self.pending.timers.insert(id, None);
        }
    }

    /// The earliest timer that is set.
    pub fn next_timer(&self) -> Option<(u32, UnixNanos)> {
        self.memory.timers.iter().map(|(id, at)| (*id, *at)).min_by_key(|(id, at)| (*at, *id))
    }

    /// Takes out the earliest timer that is due.
    pub fn take_due_timer(&mut self, now: UnixNanos) -> Option<u32> {
        let (id, at) = self.next_timer()?;
        (at <= now).then(|| {
            self.memory.timers.remove(&id);
            self.changed = true;
            id
        })
    }

    /// Takes out a timer that was due.
    pub fn take_timer(&mut self, id: u32) {
        self.changed |= self.memory.timers.remove(&id).is_some();
    }

    /// Takes out what a call changed, to be made permanent later or not at all.
    pub fn set_aside(&mut self) -> Pending {
        std::mem::take(&mut self.pending)
    }

    /// Makes changes permanent that were set aside.
    pub fn commit_pending(&mut self, pending: Pending) {
        self.pending = pending;
        self.commit();
    }

    /// Makes the changes of a successful call permanent.
    pub fn commit(&mut self) {
        self.changed |=
            self.pending.random.is_some() || !self.pending.kv.is_empty() || !self.pending.timers.is_empty();
        if let Some(random) = self.pending.random.take() {
            self.memory.random = random;
        }
        for (key, change) in std::mem::take(&mut self.pending.kv) {
            match change {
                Some(value) => self.memory.kv.entries.insert(key, value),
                None => self.memory.kv.entries.remove(&key),
            };
        }
        self.pending.kv_use = None;
        for (id, at) in std::mem::take(&mut self.pending.timers) {
            match at {
                Some(at) => self.memory.timers.insert(id, at),
                None => self.memory.timers.remove(&id),
            };
        }
    }

    /// Forgets the changes of a failed call.
    pub fn abort(&mut self) {
        self.pending = Pending::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn services(limits: ServiceLimits) -> Services {
        Services::new(Books::default(), Arc::default(), 1).with_limits(limits)
    }

    #[test]
    fn values_are_bounded_by_size_number_and_sum() {
        let limits = ServiceLimits {
            kv_keys_max: 3,
            kv_key_bytes_max: 4,
            kv_value_bytes_max: 8,
            kv_bytes_max: 20,
            ..ServiceLimits::default()
        };
        let mut services = services(limits);
        assert_eq!(services.kv_set("12345", vec![]), Err(KvError::TooLarge));
        assert_eq!(services.kv_set("a", vec![0; 9]), Err(KvError::TooLarge));
        assert_eq!(services.kv_delete("12345"), Err(KvError::TooLarge));
        assert_eq!(services.kv_set("a", vec![0; 8]), Ok(()));
        assert_eq!(services.kv_set("b", vec![0; 8]), Ok(()));
        assert_eq!(services.kv_set("c", vec![0; 8]), Err(KvError::Quota));
        // Writing the same again in one call takes no more room, and deleting gives it back.
        assert_eq!(services.kv_set("b", vec![0; 8]), Ok(()));
        assert_eq!(services.kv_delete("b"), Ok(()));
        assert_eq!(services.kv_set("c", vec![0; 8]), Ok(()));
        services.commit();
        assert_eq!(services.kv_get("b"), None);
        assert_eq!(services.kv_set("d", vec![]), Ok(()));
        assert_eq!(services.kv_set("e", vec![]), Err(KvError::Quota), "four keys");
    }

    #[test]
    fn what_a_call_deletes_or_cancels_is_remembered_only_where_there_is_something() {
        let mut services = services(ServiceLimits::default());
        for id in 0..10_000 {
            services.kv_delete(&id.to_string()).unwrap();
            services.cancel_timer(id);
        }
        assert!(services.pending.kv.is_empty() && services.pending.timers.is_empty());
    }

    #[test]
    fn timers_are_bounded_and_the_same_one_is_set_again_for_nothing() {
        let mut services = services(ServiceLimits { timers_max: 2, ..ServiceLimits::default() });
        for _ in 0..1_000 {
            assert!(services.set_timer(1, UnixNanos(1)) && services.set_timer(2, UnixNanos(2)));
            assert!(!services.set_timer(3, UnixNanos(3)));
        }
        assert_eq!(services.pending.timers.len(), 2);
        services.cancel_timer(1);
        services.commit();
        assert_eq!(services.next_timer(), Some((2, UnixNanos(2))));
    }

    proptest::proptest! {
        #[test]
        fn the_quota_holds_whatever_is_written(
            calls in proptest::collection::vec(
                proptest::collection::vec((0_u8..8, proptest::option::of(0_usize..9)), 0..20), 0..8)
        ) {
            let limits = ServiceLimits { kv_keys_max: 5, kv_bytes_max: 30, ..ServiceLimits::default() };
            let mut services = services(limits);
            for call in calls {
                for (key, value) in call {
                    let key = key.to_string();
                    match value {
                        Some(length) => { let _ = services.kv_set(&key, vec![0; length]); }
                        None => services.kv_delete(&key).unwrap(),
                    }
                }
                services.commit();
                proptest::prop_assert!(services.memory.kv.bytes() <= 30);
                proptest::prop_assert!(services.memory.kv.entries.len() <= 5);
            }
        }
    }
}
