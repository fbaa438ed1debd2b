//! The packed form of a list of calls.
//!
//! ```text
//!   version u8, then per call:
//!   flags u8   bit 0 no tick, 1 number is the last plus one, 2 same `seen` as before, 3 same position, open
//!              orders, room and mode as before, 4 prices were marked; bits 5 to 7 the answer
//!   [number]  [seen: record, changes]  now  [position, open orders, room, mode]  [marked: count, instrument and
//!              price of each]
//!   tick: a mask of the fields that differ from the instrument's last tick, and their differences
//!   event: length and CBOR; a bar: zero, which is no length of an event, and its fields
//!   [digest: 32 bytes]
//!   fuel, the difference to the call before it; zero where it is not metered
//! ```
//!
//! Layout 1 has no fuel and no bars, layouts 1 and 2 have one marked price and no count; they are read for ever.
//!
//! Numbers are LEB128, differences zigzag: wrapping, so that every value can be written and read back.

use super::{Answer, Fed, FedInput, Seen};
use crate::market::{Bar, InstrumentId, Lots, Marks, PriceTicks, Tick, UnixNanos};
use crate::orders::{Digest, Mode};
use crate::plugin::TickContext;
use std::collections::BTreeMap;
use std::num::NonZeroU64;
use thiserror::Error;

const VERSION: u8 = 3;
/// The layout before more than one price could be marked.
const ONE_MARKED: u8 = 2;
/// The layout before the fuel of each call was written.
const WITHOUT_FUEL: u8 = 1;

const NO_TICK: u8 = 1;
const NEXT: u8 = 1 << 1;
const SAME_SEEN: u8 = 1 << 2;
const SAME_CONTEXT: u8 = 1 << 3;
const MARKED: u8 = 1 << 4;
const ANSWER_SHIFT: u32 = 5;

/// Fields of a tick besides its instrument.
const FIELDS: usize = 10;

/// Bytes that are no list of calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(super) enum PackError {
    #[error("expected calls packed in layout {WITHOUT_FUEL} to {VERSION}, found layout {0}")]
    Version(u8),
    #[error("expected more bytes after byte {0} of the packed calls")]
    Short(usize),
    #[error("expected {what} at byte {at} of the packed calls, found something else")]
    Value { what: &'static str, at: usize },
}

/// What the next call is written relative to.
struct Before {
    call: u64,
    seen: Seen,
    context: TickContext,
    fuel: u64,
    ticks: BTreeMap<InstrumentId, Tick>,
}

impl Default for Before {
    fn default() -> Self {
        let context = TickContext {
            now: UnixNanos(0),
            position: Lots::ZERO,
            open_orders: 0,
            intents_left: 0,
            mode: Mode::Full,
        };
        Self { call: 0, seen: Seen::default(), context, fuel: 0, ticks: BTreeMap::new() }
    }
}

impl Before {
    /// An instrument's last tick; before its first one, one at the time of the last call.
    fn tick(&self, instrument: InstrumentId) -> Tick {
        let first = Tick { instrument, event_time: self.context.now, ..Tick::default() };
        self.ticks.get(&instrument).copied().unwrap_or(first)
    }

    fn has_same_context(&self, context: &TickContext) -> bool {
        TickContext { now: context.now, ..self.context } == *context
    }

    fn follow(&mut self, call: &Fed) {
        (self.call, self.seen, self.context) = (call.call, call.seen, call.context);
        self.fuel = fuel_number(call.fuel);
        if let FedInput::Tick(tick) = &call.input {
            self.ticks.insert(tick.instrument, *tick);
        }
    }
}

pub(super) fn pack(calls: &[Fed]) -> Vec<u8> {
    let mut out = Writer(Vec::with_capacity(1 + calls.len() * 24));
    out.0.push(VERSION);
    let mut before = Before::default();
    for call in calls {
        out.call(call, &before);
        before.follow(call);
    }
    out.0
}

pub(super) fn unpack(bytes: &[u8]) -> Result<Vec<Fed>, PackError> {
    let mut from = Reader { bytes, at: 0, layout: VERSION };
    match from.byte()? {
        layout @ WITHOUT_FUEL..=VERSION => from.layout = layout,
        other => return Err(PackError::Version(other)),
    }
    let (mut calls, mut before) = (Vec::new(), Before::default());
    while from.at < bytes.len() {
        let call = from.call(&before)?;
        before.follow(&call);
        calls.push(call);
    }
    Ok(calls)
}

/// The fields of a tick as the bits that are compared and written.
fn fields(tick: &Tick) -> [u64; FIELDS] {
    let signed = |value: i64| value.cast_unsigned();
    [
        tick.seq,
        tick.event_time.0,
        signed(tick.bid_price.0),
        signed(tick.bid_size.0),
        signed(tick.ask_price.0),
        signed(tick.ask_size.0),
        signed(tick.last_price.0),
        signed(tick.last_size.0),
        signed(tick.volume.0),
        u64::from(tick.marks.0),
    ]
}

/// What a tick is expected to be after another: the next one, and otherwise the same.
fn expected(before: &Tick) -> [u64; FIELDS] {
    let mut fields = fields(before);
    fields[0] = fields[0].wrapping_add(1);
    fields
}

struct Writer(Vec<u8>);

impl Writer {
    fn call(&mut self, call: &Fed, before: &Before) {
        let no_tick = !matches!(call.input, FedInput::Tick(_));
        let flag = |set: bool, bit: u8| if set { bit } else { 0 };
        let next = call.call == before.call.wrapping_add(1);
        let same_seen = call.seen == before.seen;
        let same_context = before.has_same_context(&call.context);
        let answer: u8 = match call.answer {
            Answer::Quiet => 0,
            Answer::Wanted(_) => 1,
            Answer::Fault => 2,
            Answer::Refused => 3,
            Answer::Failed => 4,
        };
        self.0.push(
            flag(no_tick, NO_TICK)
                | flag(next, NEXT)
                | flag(same_seen, SAME_SEEN)
                | flag(same_context, SAME_CONTEXT)
                | flag(!call.marked.is_empty(), MARKED)
                | answer << ANSWER_SHIFT,
        );
        if !next {
            self.number(call.call);
        }
        if !same_seen {
            self.difference(call.seen.record, before.seen.record);
            self.number(u64::from(call.seen.changes));
        }
        match &call.input {
            FedInput::Tick(tick) => {
                self.tick(tick, before);
                self.difference(call.context.now.0, tick.event_time.0);
            }
            FedInput::Bar(_) | FedInput::Event(_) => {
                self.difference(call.context.now.0, before.context.now.0);
            }
        }
        if !same_context {
            self.difference(call.context.position.0.cast_unsigned(), 0);
            self.number(u64::from(call.context.open_orders));
            self.number(u64::from(call.context.intents_left));
            self.0.push(mode_number(call.context.mode));
        }
        if !call.marked.is_empty() {
            self.number(call.marked.len() as u64);
        }
        for (instrument, price) in &call.marked {
            self.number(u64::from(instrument.0));
            self.difference(price.0.cast_unsigned(), 0);
        }
        match &call.input {
            FedInput::Tick(_) => {}
            FedInput::Bar(bar) => self.bar(bar, call.context.now),
            FedInput::Event(event) => {
                let mut bytes = Vec::new();
                // Writing to memory cannot fail, and every event is representable.
                let _ = ciborium::into_writer(event, &mut bytes);
                self.number(bytes.len() as u64);
                self.0.extend_from_slice(&bytes);
            }
        }
        if let Answer::Wanted(digest) = call.answer {
            self.0.extend_from_slice(digest.as_bytes());
        }
        self.difference(fuel_number(call.fuel), before.fuel);
    }

    fn bar(&mut self, bar: &Bar, now: UnixNanos) {
        self.number(0);
        self.number(u64::from(bar.instrument.0));
        self.difference(bar.start.0, now.0);
        self.number(u64::from(bar.seconds));
        let mut before = 0;
        for price in [bar.open, bar.high, bar.low, bar.close] {
            let price = price.0.cast_unsigned();
            self.difference(price, before);
            before = price;
        }
        self.difference(bar.volume.0.cast_unsigned(), 0);
        self.number(u64::from(bar.trades));
    }

    fn tick(&mut self, tick: &Tick, before: &Before) {
        self.number(u64::from(tick.instrument.0));
        let pairs = fields(tick).into_iter().zip(expected(&before.tick(tick.instrument)));
        let pairs: Vec<(u64, u64)> = pairs.collect();
        let differs = pairs.iter().zip(0_u32..).filter(|((new, old), _)| new != old);
        self.number(differs.fold(0, |mask, (_, bit)| mask | 1 << bit));
        for (new, old) in pairs.into_iter().filter(|(new, old)| new != old) {
            self.difference(new, old);
        }
    }

    fn number(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value.to_le_bytes()[0] | 0x80);
            value >>= 7;
        }
        self.0.push(value.to_le_bytes()[0]);
    }

    fn difference(&mut self, new: u64, old: u64) {
        let difference = new.wrapping_sub(old).cast_signed();
        self.number((difference << 1 ^ difference >> 63).cast_unsigned());
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    layout: u8,
}

impl Reader<'_> {
    fn call(&mut self, before: &Before) -> Result<Fed, PackError> {
        let flags = self.byte()?;
        let has = |bit: u8| flags & bit != 0;
        let call = if has(NEXT) { before.call.wrapping_add(1) } else { self.number()? };
        let seen = if has(SAME_SEEN) {
            before.seen
        } else {
            Seen { record: self.sum(before.seen.record)?, changes: self.narrow("a count of changes")? }
        };
        let tick = if has(NO_TICK) { None } else { Some(self.tick(before)?) };
        let base = tick.map_or(before.context.now, |tick| tick.event_time);
        let now = UnixNanos(self.sum(base.0)?);
        let context = if has(SAME_CONTEXT) {
            TickContext { now, ..before.context }
        } else {
            TickContext {
                now,
                position: Lots(self.sum(0)?.cast_signed()),
                open_orders: self.narrow("a count of orders")?,
                intents_left: self.narrow("a count of intents")?,
                mode: self.mode()?,
            }
        };
        let marked = match (has(MARKED), self.layout) {
            (false, _) => 0,
            (true, WITHOUT_FUEL | ONE_MARKED) => 1,
            (true, _) => self.number()?,
        };
        let marked = (0..marked).map(|_| {
            let instrument = InstrumentId(self.narrow("an instrument")?);
            Ok((instrument, PriceTicks(self.sum(0)?.cast_signed())))
        });
        let marked = marked.collect::<Result<Vec<_>, PackError>>()?;
        let input = match tick {
            Some(tick) => FedInput::Tick(tick),
            None => self.bar_or_event(now)?,
        };
        let answer = match flags >> ANSWER_SHIFT {
            0 => Answer::Quiet,
            1 => Answer::Wanted(self.digest()?),
            2 => Answer::Fault,
            3 => Answer::Refused,
            4 => Answer::Failed,
            _ => return Err(self.wrong("an answer")),
        };
        let fuel = if self.layout > WITHOUT_FUEL { NonZeroU64::new(self.sum(before.fuel)?) } else { None };
        Ok(Fed { call, seen, marked, context, input, answer, fuel })
    }

    fn tick(&mut self, before: &Before) -> Result<Tick, PackError> {
        let instrument = InstrumentId(self.narrow("an instrument")?);
        let mut fields = expected(&before.tick(instrument));
        let mask = self.number()?;
        if mask >> FIELDS != 0 {
            return Err(self.wrong("a mask of a tick's fields"));
        }
        for (field, bit) in fields.iter_mut().zip(0_u32..) {
            if mask >> bit & 1 == 1 {
                *field = self.sum(*field)?;
            }
        }
        let [seq, at, bid, bid_size, ask, ask_size, last, last_size, volume, marks] = fields;
        let price = |bits: u64| PriceTicks(bits.cast_signed());
        let lots = |bits: u64| Lots(bits.cast_signed());
        Ok(Tick {
            instrument,
            seq,
            event_time: UnixNanos(at),
            bid_price: price(bid),
            bid_size: lots(bid_size),
            ask_price: price(ask),
            ask_size: lots(ask_size),
            last_price: price(last),
            last_size: lots(last_size),
            volume: lots(volume),
            marks: Marks(u8::try_from(marks).map_err(|_| self.wrong("the marks of a tick"))?),
        })
    }

    fn bar_or_event(&mut self, now: UnixNanos) -> Result<FedInput, PackError> {
        let length = self.narrow("the length of an event")?;
        if length == 0 {
            return self.bar(now).map(FedInput::Bar);
        }
        let bytes = self.take(usize::try_from(length).unwrap_or(usize::MAX))?;
        let event = ciborium::from_reader(bytes);
        event.map(FedInput::Event).map_err(|_| self.wrong("an event"))
    }

    fn bar(&mut self, now: UnixNanos) -> Result<Bar, PackError> {
        let instrument = InstrumentId(self.narrow("an instrument")?);
        let start = UnixNanos(self.sum(now.0)?);
        let seconds = self.narrow("the length of a bar")?;
        let mut before = 0;
        let mut prices = [PriceTicks(0); 4];
        for price in &mut prices {
            before = self.sum(before)?;
            *price = PriceTicks(before.cast_signed());
        }
        let [open, high, low, close] = prices;
        let volume = Lots(self.sum(0)?.cast_signed());
        let trades = self.narrow("a count of trades")?;
        Ok(Bar { instrument, start, seconds, open, high, low, close, volume, trades })
    }

    fn digest(&mut self) -> Result<Digest, PackError> {
        let bytes = self.take(32)?.first_chunk().copied();
        bytes.map(Digest::from_bytes).ok_or_else(|| self.wrong("a digest"))
    }

    fn mode(&mut self) -> Result<Mode, PackError> {
        let number = self.byte()?;
        let modes = [Mode::Full, Mode::ReadOnly, Mode::Observation, Mode::Shutdown];
        modes.into_iter().find(|mode| mode_number(*mode) == number).ok_or_else(|| self.wrong("a mode"))
    }

    fn byte(&mut self) -> Result<u8, PackError> {
        let byte = *self.bytes.get(self.at).ok_or(PackError::Short(self.at))?;
        self.at += 1;
        Ok(byte)
    }

    fn take(&mut self, length: usize) -> Result<&[u8], PackError> {
        let short = PackError::Short(self.at);
        let end = self.at.checked_add(length).ok_or(short)?;
        let bytes = self.bytes.get(self.at..end).ok_or(short)?;
        self.at = end;
        Ok(bytes)
    }

    fn number(&mut self) -> Result<u64, PackError> {
        let mut value = 0_u64;
        for shift in (0..u64::BITS).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7F);
            value |= bits << shift;
            if bits << shift >> shift != bits {
                return Err(self.wrong("a number of 64 bits"));
            }
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(self.wrong("a number of 64 bits"))
    }

    fn narrow(&mut self, what: &'static str) -> Result<u32, PackError> {
        u32::try_from(self.number()?).map_err(|_| self.wrong(what))
    }

    fn sum(&mut self, old: u64) -> Result<u64, PackError> {
        let zigzag = self.number()?;
        let difference = (zigzag >> 1) ^ (zigzag & 1).wrapping_neg();
        Ok(old.wrapping_add(difference))
    }

    fn wrong(&self, what: &'static str) -> PackError {
        PackError::Value { what, at: self.at }
    }
}

/// Zero stands for a call that is not metered: one that is uses some.
fn fuel_number(fuel: Option<NonZeroU64>) -> u64 {
    fuel.map_or(0, NonZeroU64::get)
}

const fn mode_number(mode: Mode) -> u8 {
    match mode {
        Mode::Full => 0,
        Mode::ReadOnly => 1,
        Mode::Observation => 2,
        Mode::Shutdown => 3,
    }
}
