//! Time and timers. In the lab time is that of the data; there is no other clock.

use super::{backend, call};
use crate::UnixNanos;

/// Time of the tick, bar or event that is being handled; between those, of the last one.
pub fn now() -> UnixNanos {
    call::now()
}

/// Asks for [`crate::Event::Timer`] with this id at a moment. A timer of the same id is replaced.
pub fn set_timer(id: u32, at: UnixNanos) {
    call::write();
    backend::clock::set_timer(id, at.0);
}

/// Takes a timer back.
pub fn cancel_timer(id: u32) {
    call::write();
    backend::clock::cancel_timer(id);
}
