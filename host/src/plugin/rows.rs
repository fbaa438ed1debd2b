//! Ticks as the rows of a batch.

use crate::market::Tick;

/// Fields of one row of a batch; those of `tick` in order.
pub const ROW_FIELDS: usize = 11;

/// One tick as a row of a batch: the fields in order, unsigned values reinterpreted.
pub fn batch_row(tick: &Tick) -> [i64; ROW_FIELDS] {
    [
        i64::from(tick.instrument.0),
        tick.seq.cast_signed(),
        tick.event_time.0.cast_signed(),
        tick.bid_price.0,
        tick.bid_size.0,
        tick.ask_price.0,
        tick.ask_size.0,
        tick.last_price.0,
        tick.last_size.0,
        tick.volume.0,
        i64::from(tick.marks.0),
    ]
}
