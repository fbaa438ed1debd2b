//! Closed orders as they are remembered for a day.
//!
//! A closed order and what became of its intent are kept whole for a while, and then as one of these: enough to
//! tell late news of it from old news, to book a fill, and to say whose word that refutes. One takes 65 bytes
//! of a checkpoint and about 150 of memory.

use super::{Ledger, Order, Refuted};
use crate::market::{InstrumentId, Lots, UnixNanos};
use crate::orders::{IntentKey, NewOrder, OrderId, OrderKind, OrderOptions, Side, TimeInForce};
use crate::venue::OrderUpdate;
use serde::de::{Error as _, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// What is remembered of a closed order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Tombstone {
    key: IntentKey,
    id: OrderId,
    instrument: InstrumentId,
    side: Side,
    reduce_only: bool,
    accepted: bool,
    fate: Option<Refuted>,
    quantity: Lots,
    filled: Lots,
    closed_at: UnixNanos,
    last_sequence: u64,
}

/// Every closed order that is not kept whole any more.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Tombstones {
    by_id: BTreeMap<OrderId, Tombstone>,
    by_key: BTreeMap<IntentKey, OrderId>,
    /// By when they were closed. When they came here says nothing: the clock may have been set meanwhile.
    oldest_first: BTreeSet<(UnixNanos, OrderId)>,
}

/// Bytes of one, packed.
const BYTES: usize = 65;
/// The layout of the packed form.
const LAYOUT: u8 = 1;

const SELLS: u8 = 1;
const REDUCES: u8 = 1 << 1;
const ACCEPTED: u8 = 1 << 2;
const FATE_SHIFT: u8 = 4;

const FATES: [Option<Refuted>; 7] = [
    None,
    Some(Refuted::Denial),
    Some(Refuted::Reissue),
    Some(Refuted::Refusal),
    Some(Refuted::Resolution),
    Some(Refuted::Unsent),
    Some(Refuted::Drop),
];

impl Tombstones {
    pub(super) fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    pub(super) fn holds_key(&self, key: &IntentKey) -> bool {
        self.by_key.contains_key(key)
    }

    pub(super) fn holds_order(&self, id: OrderId) -> bool {
        self.by_id.contains_key(&id)
    }

    pub(super) fn last_before(&self, id: OrderId) -> Option<OrderId> {
        self.by_id.range(..id).next_back().map(|(id, _)| *id)
    }

    /// Remembers a closed order.
    pub(super) fn put(&mut self, id: OrderId, order: &Order, fate: Option<Refuted>) {
        let Some(closed_at) = order.closed_at else { return };
        let tombstone = Tombstone {
            key: order.key,
            id,
            instrument: order.terms.instrument,
            side: order.terms.side,
            reduce_only: order.terms.options.reduce_only,
            accepted: order.accepted,
            fate,
            quantity: order.terms.quantity,
            filled: order.filled,
            closed_at,
            last_sequence: order.last_sequence,
        };
        self.insert(tombstone);
    }

    fn insert(&mut self, tombstone: Tombstone) {
        if let Some(earlier) = self.by_id.insert(tombstone.id, tombstone) {
            // No id is used twice; should one be, the later order has it.
            self.by_key.remove(&earlier.key);
            self.oldest_first.remove(&(earlier.closed_at, earlier.id));
        }
        self.oldest_first.insert((tombstone.closed_at, tombstone.id));
        self.by_key.insert(tombstone.key, tombstone.id);
    }

    /// Whether a change is news of an order here.
    pub(super) fn is_news(&self, update: &OrderUpdate) -> bool {
        self.of(&update.key).is_some_and(|tombstone| update.sequence > tombstone.last_sequence)
    }

    /// Takes an order back, of which there is news: as it was, besides its price.
    pub(super) fn take(&mut self, key: &IntentKey) -> Option<(OrderId, Order, Option<Refuted>)> {
        let tombstone = *self.of(key)?;
        self.by_key.remove(key);
        self.by_id.remove(&tombstone.id);
        self.oldest_first.remove(&(tombstone.closed_at, tombstone.id));
        let terms = NewOrder {
            id: tombstone.id,
            instrument: tombstone.instrument,
            side: tombstone.side,
            quantity: tombstone.quantity,
            kind: OrderKind::Market,
            tif: TimeInForce::Gtc,
            options: OrderOptions { post_only: false, reduce_only: tombstone.reduce_only },
            tag: 0,
        };
        let order = Order {
            terms,
            key: *key,
            accepted: tombstone.accepted,
            filled: tombstone.filled,
            closed_at: Some(tombstone.closed_at),
            last_sequence: tombstone.last_sequence,
            venue_id: None,
            dropped: tombstone.fate == Some(Refuted::Drop),
        };
        Some((tombstone.id, order, tombstone.fate))
    }

    /// Forgets what is old, and the oldest of what is too many. Whether there were too many.
    pub(super) fn prune(&mut self, now: UnixNanos) -> bool {
        let mut forced = false;
        while let Some((closed_at, id)) = self.oldest_first.first().copied() {
            let old = now.since(closed_at) >= Ledger::TOMBSTONE_AGE;
            let surplus = self.by_id.len() > Ledger::TOMBSTONES_MAX;
            if !old && !surplus {
                break;
            }
            forced |= !old;
            self.oldest_first.pop_first();
            if let Some(tombstone) = self.by_id.remove(&id) {
                self.by_key.remove(&tombstone.key);
            }
        }
        forced
    }

    fn of(&self, key: &IntentKey) -> Option<&Tombstone> {
        self.by_id.get(self.by_key.get(key)?)
    }
}

impl Tombstone {
    fn pack(&self, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(self.key.as_bytes());
        bytes.extend_from_slice(&self.id.0.to_be_bytes());
        bytes.extend_from_slice(&self.instrument.0.to_be_bytes());
        let fate = FATES.iter().position(|fate| *fate == self.fate).unwrap_or_default();
        let mut flags = u8::try_from(fate).unwrap_or_default() << FATE_SHIFT;
        for (is_set, flag) in
            [(self.side == Side::Sell, SELLS), (self.reduce_only, REDUCES), (self.accepted, ACCEPTED)]
        {
            flags |= if is_set { flag } else { 0 };
        }
        bytes.push(flags);
        bytes.extend_from_slice(&self.quantity.0.to_be_bytes());
        bytes.extend_from_slice(&self.filled.0.to_be_bytes());
        bytes.extend_from_slice(&self.closed_at.0.to_be_bytes());
        bytes.extend_from_slice(&self.last_sequence.to_be_bytes());
    }

    fn unpack(bytes: &[u8]) -> Option<Self> {
        fn part<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
            let (part, rest) = bytes.split_first_chunk::<N>()?;
            *bytes = rest;
            Some(*part)
        }
        let mut rest = bytes;
        let key = IntentKey::from_bytes(part(&mut rest)?);
        let id = OrderId(u64::from_be_bytes(part(&mut rest)?));
        let instrument = InstrumentId(u32::from_be_bytes(part(&mut rest)?));
        let [flags] = part(&mut rest)?;
        let quantity = Lots(i64::from_be_bytes(part(&mut rest)?));
        let filled = Lots(i64::from_be_bytes(part(&mut rest)?));
        let closed_at = UnixNanos(u64::from_be_bytes(part(&mut rest)?));
        let last_sequence = u64::from_be_bytes(part(&mut rest)?);
        Some(Self {
            key,
            id,
            instrument,
            side: if flags & SELLS == 0 { Side::Buy } else { Side::Sell },
            reduce_only: flags & REDUCES != 0,
            accepted: flags & ACCEPTED != 0,
            fate: *FATES.get(usize::from(flags >> FATE_SHIFT))?,
            quantity,
            filled,
            closed_at,
            last_sequence,
        })
    }
}

impl Serialize for Tombstones {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut bytes = Vec::with_capacity(1 + self.by_id.len() * BYTES);
        bytes.push(LAYOUT);
        for tombstone in self.oldest_first.iter().filter_map(|(_, id)| self.by_id.get(id)) {
            tombstone.pack(&mut bytes);
        }
        serializer.serialize_bytes(&bytes)
    }
}

impl<'de> Deserialize<'de> for Tombstones {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Packed;

        impl Visitor<'_> for Packed {
            type Value = Tombstones;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "closed orders of {BYTES} bytes each in layout {LAYOUT}")
            }

            fn visit_bytes<E: serde::de::Error>(self, bytes: &[u8]) -> Result<Tombstones, E> {
                let Some((&LAYOUT, packed)) = bytes.split_first() else {
                    return Err(E::custom(format!("expected closed orders in layout {LAYOUT}")));
                };
                let mut tombstones = Tombstones::default();
                for one in packed.chunks(BYTES) {
                    let tombstone = Tombstone::unpack(one);
                    tombstones.insert(tombstone.ok_or_else(|| E::custom("expected a whole closed order"))?);
                }
                Ok(tombstones)
            }

            fn visit_byte_buf<E: serde::de::Error>(self, bytes: Vec<u8>) -> Result<Tombstones, E> {
                self.visit_bytes(&bytes)
            }
        }
        deserializer.deserialize_byte_buf(Packed).map_err(D::Error::custom)
    }
}
