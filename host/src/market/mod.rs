//! Market data: instruments, exact prices and quantities, ticks, bars, data checks and feeds.

mod instrument;
mod number;
mod tick;
mod time;

pub use instrument::{Instrument, InstrumentError, InstrumentId, InstrumentKind, Instruments};
pub use number::{Lots, Money, PriceTicks};
pub use tick::{Bar, Marks, Tick};
pub use time::{MonoNanos, Now, UnixNanos};
