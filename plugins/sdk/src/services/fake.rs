//! A host in a few maps, for native tests: same functions as the imports, one host per thread.

use crate::bindings::ringfence::strategy::types::Decimal;
use crate::bindings::ringfence::strategy::{
    account as wit, kv as wit_kv, log as wit_log, metrics as wit_metrics,
};
use std::cell::RefCell;
use std::collections::BTreeMap;

/// What a strategy can reach of the fake host of its thread.
#[derive(Clone, Debug)]
pub(crate) struct Host {
    pub(crate) lines: Vec<(wit_log::Level, String)>,
    pub(crate) metrics: Vec<String>,
    pub(crate) observations: Vec<(u32, f64)>,
    pub(crate) timers: BTreeMap<u32, u64>,
    pub(crate) random: u64,
    pub(crate) kv: BTreeMap<String, Vec<u8>>,
    pub(crate) cash: Decimal,
    pub(crate) equity: Decimal,
    pub(crate) holdings: BTreeMap<u32, wit::Holding>,
    pub(crate) orders: BTreeMap<u64, wit::WorkingOrder>,
}

impl Host {
    pub(crate) const fn new() -> Self {
        let zero = Decimal { coefficient: 0, scale: 0 };
        Self {
            lines: Vec::new(),
            metrics: Vec::new(),
            observations: Vec::new(),
            timers: BTreeMap::new(),
            random: 0,
            kv: BTreeMap::new(),
            cash: zero,
            equity: zero,
            holdings: BTreeMap::new(),
            orders: BTreeMap::new(),
        }
    }
}

thread_local! {
    static HOST: RefCell<Host> = const { RefCell::new(Host::new()) };
}

pub(crate) fn with<R>(run: impl FnOnce(&mut Host) -> R) -> R {
    HOST.with_borrow_mut(run)
}

pub(crate) mod log {
    use super::{wit_log::Level, with};

    pub(crate) fn enabled(_: Level) -> bool {
        true
    }

    pub(crate) fn write(at: Level, message: &str) {
        with(|host| host.lines.push((at, message.to_owned())));
    }
}

pub(crate) mod metrics {
    use super::{wit_metrics::Kind, with};

    pub(crate) fn register(name: &str, _: Kind) -> u32 {
        with(|host| {
            let known = host.metrics.iter().position(|metric| metric == name);
            let id = known.unwrap_or_else(|| {
                host.metrics.push(name.to_owned());
                host.metrics.len() - 1
            });
            u32::try_from(id).unwrap_or(u32::MAX)
        })
    }

    pub(crate) fn observe(id: u32, value: f64) {
        with(|host| host.observations.push((id, value)));
    }
}

pub(crate) mod clock {
    use super::with;

    pub(crate) fn set_timer(id: u32, at: u64) {
        with(|host| host.timers.insert(id, at));
    }

    pub(crate) fn cancel_timer(id: u32) {
        with(|host| host.timers.remove(&id));
    }
}

pub(crate) mod random {
    use super::with;

    /// SplitMix64 (Steele, Lea and Flood 2014), the generator of the real host.
    pub(crate) fn next() -> u64 {
        with(|host| {
            host.random = host.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut mixed = host.random;
            mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            mixed ^ (mixed >> 31)
        })
    }
}

pub(crate) mod account {
    use super::{Decimal, wit, with};

    pub(crate) fn cash() -> Decimal {
        with(|host| host.cash)
    }

    pub(crate) fn equity() -> Decimal {
        with(|host| host.equity)
    }

    pub(crate) fn position(instrument: u32) -> wit::Holding {
        let zero = Decimal { coefficient: 0, scale: 0 };
        let flat = wit::Holding { quantity: 0, average_price: zero, unrealized: zero, realized: zero };
        with(|host| host.holdings.get(&instrument).copied().unwrap_or(flat))
    }

    pub(crate) fn open_orders(instrument: u32) -> Vec<wit::WorkingOrder> {
        with(|host| host.orders.values().filter(|order| order.instrument == instrument).copied().collect())
    }
}

pub(crate) mod kv {
    use super::{wit_kv::KvError, with};

    /// The real host's caps on one key and one value.
    const KEY_BYTES_MAX: usize = 128;
    const VALUE_BYTES_MAX: usize = 16 * 1024;

    pub(crate) fn get(key: &str) -> Option<Vec<u8>> {
        with(|host| host.kv.get(key).cloned())
    }

    pub(crate) fn set(key: &str, value: &[u8]) -> Result<(), KvError> {
        if key.len() > KEY_BYTES_MAX || value.len() > VALUE_BYTES_MAX {
            return Err(KvError::TooLarge);
        }
        with(|host| host.kv.insert(key.to_owned(), value.to_owned()));
        Ok(())
    }

    pub(crate) fn delete(key: &str) -> Result<(), KvError> {
        if key.len() > KEY_BYTES_MAX {
            return Err(KvError::TooLarge);
        }
        with(|host| host.kv.remove(key));
        Ok(())
    }
}
