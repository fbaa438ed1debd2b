//! What the host lends to a strategy for the length of one call: books, small durable values, random
//! numbers, timers, log and metrics.
//!
//! The core owns the [`Services`]. A component's store takes them over by swapping one pointer and gives
//! them back after the call, so that host functions read the agent's own books without a lock or a copy.
//! Writes become visible with [`Services::commit`] only, which the core calls when the call succeeded.

use crate::market::{Instruments, UnixNanos};
use crate::orders::Books;
use crate::random::SplitMix64;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;
use thiserror::Error;

/// Severity of a log line; WIT `log.level`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[expect(missing_docs, reason = "the names are the usual ones")]
pub enum LogLevel {
    Trace,
    Debug,
    Info,
    Warn,
    Error,
}

/// One line that a strategy logged, already escaped and cut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    /// Its severity.
    pub level: LogLevel,
    /// Its text.
    pub text: String,
}

/// Kind of a strategy's own metric; WIT `metrics.kind`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[expect(missing_docs, reason = "the names are the usual ones")]
pub enum MetricKind {
    Counter,
    Gauge,
    Histogram,
}

/// What a strategy said in log lines and metrics since the core last drained it.
#[derive(Debug, Default)]
pub struct Telemetry {
    /// Lines, oldest first, at most [`Telemetry::LINES_MAX`].
    pub lines: Vec<LogLine>,
    /// Lines that did not fit.
    pub lines_dropped: u64,
    /// Registered metrics; the position is the id that the strategy was given.
    pub metrics: Vec<(String, MetricKind)>,
    /// Observations since the last drain: metric id and value, at most [`Telemetry::OBSERVATIONS_MAX`].
    pub observations: Vec<(u32, f64)>,
    /// Observations that did not fit or were not finite.
    pub observations_dropped: u64,
    /// Lines below this level are not wanted.
    pub level: Option<LogLevel>,
}

impl Telemetry {
    /// A strategy that logs more than this between two drains is flooding.
    pub const LINES_MAX: usize = 256;
    /// Bytes kept of one line; the rest is cut.
    pub const LINE_BYTES_MAX: usize = 1_024;
    /// Metrics that one strategy may register.
    pub const METRICS_MAX: usize = 64;
    /// Observations kept between two drains.
    pub const OBSERVATIONS_MAX: usize = 1_024;

    /// Takes one line: control characters are escaped, so that a strategy cannot drive a terminal.
    pub fn log(&mut self, level: LogLevel, text: &str) {
        if self.level.is_some_and(|least| level < least) {
            return;
        }
        if self.lines.len() >= Self::LINES_MAX {
            self.lines_dropped += 1;
            return;
        }
        let mut line = String::with_capacity(text.len().min(Self::LINE_BYTES_MAX));
        for c in text.chars() {
            if line.len() >= Self::LINE_BYTES_MAX {
                break;
            }
            if c.is_control() {
                line.extend(c.escape_default());
            } else {
                line.push(c);
            }
        }
        self.lines.push(LogLine { level, text: line });
    }

    /// Registers a metric and returns its id; a name registered before gives the same id. Beyond
    /// [`Telemetry::METRICS_MAX`] the id is `u32::MAX`, whose observations are dropped and counted.
    pub fn register(&mut self, name: &str, kind: MetricKind) -> u32 {
        let known = self.metrics.iter().position(|(n, k)| n == name && *k == kind);
        let position = known.unwrap_or_else(|| {
            if self.metrics.len() < Self::METRICS_MAX {
                self.metrics.push((name.chars().take(64).collect(), kind));
                self.metrics.len() - 1
            } else {
                usize::MAX
            }
        });
        u32::try_from(position).unwrap_or(u32::MAX)
    }

    /// Takes one observation; what is not finite or not registered is dropped and counted.
    pub fn observe(&mut self, id: u32, value: f64) {
        let registered = usize::try_from(id).is_ok_and(|id| id < self.metrics.len());
        if registered && value.is_finite() && self.observations.len() < Self::OBSERVATIONS_MAX {
            self.observations.push((id, value));
        } else {
            self.observations_dropped += 1;
        }
    }
}

/// Why a small durable value was not taken; WIT `kv-error`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum KvError {
    /// All values together would be too large.
    #[error("the quota of {} bytes is used up", Kv::BYTES_MAX)]
    Quota,
    /// This key or value is too large.
    #[error("a key takes at most {} bytes and a value {}", Kv::KEY_BYTES_MAX, Kv::VALUE_BYTES_MAX)]
    TooLarge,
}

/// Small durable values, private to one agent. They are part of its checkpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Kv {
    entries: BTreeMap<String, serde_bytes::ByteBuf>,
}

impl Kv {
    /// Everything together; it travels in every checkpoint.
    pub const BYTES_MAX: usize = 64 * 1024;
    /// One value.
    pub const VALUE_BYTES_MAX: usize = 16 * 1024;
    /// One key.
    pub const KEY_BYTES_MAX: usize = 128;

    fn bytes(&self) -> usize {
        self.entries.iter().map(|(key, value)| key.len() + value.len()).sum()
    }
}

/// What a call changed, kept apart until the call has succeeded.
#[derive(Debug, Default)]
struct Pending {
    kv: BTreeMap<String, Option<serde_bytes::ByteBuf>>,
    timers: Vec<(u32, Option<UnixNanos>)>,
    random: Option<SplitMix64>,
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
    /// Timers that one strategy may have set at a time.
    pub const TIMERS_MAX: usize = 64;

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
            memory,
            pending: Pending::default(),
            changed: false,
        }
    }

    /// Services with nothing in them, to stand in a store between two calls.
    pub fn vacant() -> Self {
        Self::new(Books::default(), Arc::default(), 0)
    }

    /// What the strategy keeps with the host.
    pub fn memory(&self) -> &Memory {
        &self.memory
    }

    /// The memory, when a call has changed it since this was last asked.
    pub fn take_changed(&mut self) -> Option<Memory> {
        std::mem::take(&mut self.changed).then(|| self.memory.clone())
    }

    /// Puts back a memory from the journal.
    pub fn set_memory(&mut self, memory: Memory) {
        self.memory = memory;
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
        if key.len() > Kv::KEY_BYTES_MAX || value.len() > Kv::VALUE_BYTES_MAX {
            return Err(KvError::TooLarge);
        }
        let pending: usize = self
            .pending
            .kv
            .iter()
            .filter(|(k, _)| *k != key)
            .map(|(k, v)| k.len() + v.as_ref().map_or(0, |v| v.len()))
            .sum();
        // Counts a value that replaces another twice: a bound that is never exceeded needs no exact sum.
        if self.memory.kv.bytes() + pending + key.len() + value.len() > Kv::BYTES_MAX {
            return Err(KvError::Quota);
        }
        self.pending.kv.insert(key.to_owned(), Some(value.into()));
        Ok(())
    }

    /// Deletes a small durable value when the call succeeds.
    ///
    /// # Errors
    /// When the key is too large.
    pub fn kv_delete(&mut self, key: &str) -> Result<(), KvError> {
        if key.len() > Kv::KEY_BYTES_MAX {
            return Err(KvError::TooLarge);
        }
        self.pending.kv.insert(key.to_owned(), None);
        Ok(())
    }

    /// The next number of the strategy's random stream.
    pub fn random_next(&mut self) -> u64 {
        self.pending.random.get_or_insert(self.memory.random).next_u64()
    }

    /// Sets a timer when the call succeeds. Returns whether there was room for it.
    pub fn set_timer(&mut self, id: u32, at: UnixNanos) -> bool {
        let room = self.memory.timers.contains_key(&id)
            || self.memory.timers.len() + self.pending.timers.len() < Self::TIMERS_MAX;
        if room {
            self.pending.timers.push((id, Some(at)));
        }
        room
    }

    /// Cancels a timer when the call succeeds. Returns whether there was room to remember it.
    pub fn cancel_timer(&mut self, id: u32) -> bool {
        let room = self.pending.timers.len() < 2 * Self::TIMERS_MAX;
        if room {
            self.pending.timers.push((id, None));
        }
        room
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
        for (id, at) in self.pending.timers.drain(..) {
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
