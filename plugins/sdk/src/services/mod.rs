//! What the host lends a strategy: log, metrics, clock, random numbers, its books, small durable values.
//!
//! In a component these are the imports of the world. In a native build they are a fake host of the
//! current thread, which [`crate::test::Harness`] sets up.

pub mod account;
pub mod clock;
pub mod kv;
pub mod log;
pub mod metrics;
pub mod random;

#[cfg(target_arch = "wasm32")]
use crate::bindings::ringfence::strategy as backend;
#[cfg(not(target_arch = "wasm32"))]
pub(crate) mod fake;
#[cfg(not(target_arch = "wasm32"))]
use fake as backend;

/// What the SDK knows of the call that is running.
pub(crate) mod call {
    use crate::UnixNanos;
    use std::cell::Cell;

    thread_local! {
        static NOW: Cell<UnixNanos> = const { Cell::new(UnixNanos(0)) };
        static WROTE: Cell<bool> = const { Cell::new(false) };
    }

    /// A call, or a row of a batch, begins.
    #[inline]
    pub(crate) fn begin(now: UnixNanos) {
        NOW.set(now);
        WROTE.set(false);
    }

    /// Time of the call.
    pub(crate) fn now() -> UnixNanos {
        NOW.get()
    }

    /// The call changed something that the host commits or takes back with the call.
    pub(crate) fn write() {
        WROTE.set(true);
    }

    /// Whether the call changed something of the host's.
    #[inline]
    pub(crate) fn wrote() -> bool {
        WROTE.get()
    }
}
