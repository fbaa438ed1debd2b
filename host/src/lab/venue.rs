//! The lab's venue: the simulated exchange behind the same requests and replies as any other.
//!
//! The core writes bodies and hears outcomes as it does live. What differs is that nothing is lost: a reply comes
//! when the latency of the model says, and always.

use super::exchange::{Exchange, OrderNumber, Refusal, Report, Ticket};
use crate::agent::core::Event;
use crate::market::{InstrumentId, Instruments, Lots, Money, PriceTicks, Sample, Tick, UnixNanos};
use crate::orders::{IntentKey, OrderKind, OrderOptions, Sendable, Side, TimeInForce};
use crate::resilience::{Class, Failure, Phase};
use crate::venue::{
    ByteBody, Capability, Dialect, EncodeError, Operation, OrderChange, OrderUpdate, Outcome, PlaceOrder,
    Reply, RequestKind, VenueProfile,
};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

/// Bytes of an order: numbers in a fixed order, least significant byte first.
const PLACE_BYTES: usize = 48;
const AMEND_BYTES: usize = 17;

/// Writes the bodies of the lab's venue.
#[derive(Debug)]
pub(super) struct LabDialect {
    profile: VenueProfile,
    instruments: Arc<Instruments>,
}

impl LabDialect {
    pub fn new(instruments: Arc<Instruments>) -> Self {
        let profile = VenueProfile {
            name: "lab".into(),
            // Nothing is ever in doubt here, so that no window ends.
            capability: Capability::IdempotentKeys { window: Duration::MAX },
            request_timeout: Duration::MAX,
            refusal_is_proof: true,
            reports_changes: true,
        };
        Self { profile, instruments }
    }
}

impl Dialect for LabDialect {
    fn profile(&self) -> &VenueProfile {
        &self.profile
    }

    fn encode(&self, operation: &Operation) -> Result<ByteBody, EncodeError> {
        Ok(ByteBody(match operation {
            Operation::Place { order, .. } => {
                let symbol = &order.instrument.symbol;
                let id = self.instruments.find(symbol).ok_or_else(|| EncodeError::Unsupported {
                    symbol: symbol.clone(),
                    what: "order in an instrument that is not the lab's",
                })?;
                place_body(id, order)
            }
            Operation::Cancel { .. } => Vec::new(),
            Operation::Amend { quantity, limit, .. } => {
                let mut body = Vec::with_capacity(AMEND_BYTES);
                body.extend(quantity.0.to_le_bytes());
                body.push(u8::from(limit.is_some()));
                body.extend(limit.unwrap_or_default().0.to_le_bytes());
                body
            }
        }))
    }
}

fn place_body(id: InstrumentId, order: &PlaceOrder<'_>) -> Vec<u8> {
    let (kind, first, second) = match order.kind {
        OrderKind::Market => (0_u8, 0, 0),
        OrderKind::Limit(limit) => (1, limit.0, 0),
        OrderKind::Stop(trigger) => (2, trigger.0, 0),
        OrderKind::StopLimit { trigger, limit } => (3, trigger.0, limit.0),
    };
    let (tif, until) = match order.tif {
        TimeInForce::Gtc => (0_u8, 0),
        TimeInForce::Ioc => (1, 0),
        TimeInForce::Fok => (2, 0),
        TimeInForce::Day => (3, 0),
        TimeInForce::Gtd(until) => (4, until.0),
    };
    let side = u8::from(order.side == Side::Sell);
    let options = u8::from(order.options.post_only) | u8::from(order.options.reduce_only) << 1;
    let mut body = Vec::with_capacity(PLACE_BYTES);
    body.extend([side, kind, tif, options]);
    body.extend(id.0.to_le_bytes());
    body.extend(order.quantity.0.to_le_bytes());
    body.extend(first.to_le_bytes());
    body.extend(second.to_le_bytes());
    body.extend(until.to_le_bytes());
    body
}

/// Reads a number off the front of a body.
fn number<const N: usize>(body: &mut &[u8]) -> Option<[u8; N]> {
    let (number, rest) = body.split_first_chunk::<N>()?;
    *body = rest;
    Some(*number)
}

fn read_place(mut body: &[u8]) -> Option<Ticket> {
    let body = &mut body;
    let [side, kind, tif, options] = number::<4>(body)?;
    let instrument = InstrumentId(u32::from_le_bytes(number(body)?));
    let quantity = Lots(i64::from_le_bytes(number(body)?));
    let first = PriceTicks(i64::from_le_bytes(number(body)?));
    let second = PriceTicks(i64::from_le_bytes(number(body)?));
    let until = UnixNanos(u64::from_le_bytes(number(body)?));
    let kind = match kind {
        0 => OrderKind::Market,
        1 => OrderKind::Limit(first),
        2 => OrderKind::Stop(first),
        3 => OrderKind::StopLimit { trigger: first, limit: second },
        _ => return None,
    };
    let tif = match tif {
        0 => TimeInForce::Gtc,
        1 => TimeInForce::Ioc,
        2 => TimeInForce::Fok,
        3 => TimeInForce::Day,
        4 => TimeInForce::Gtd(until),
        _ => return None,
    };
    let side = if side == 0 { Side::Buy } else { Side::Sell };
    let options = OrderOptions { post_only: options & 1 != 0, reduce_only: options & 2 != 0 };
    Some(Ticket { instrument, side, quantity, kind, tif, options })
}

fn read_amend(mut body: &[u8]) -> Option<(Lots, Option<PriceTicks>)> {
    let body = &mut body;
    let quantity = Lots(i64::from_le_bytes(number(body)?));
    let [named] = number::<1>(body)?;
    let limit = PriceTicks(i64::from_le_bytes(number(body)?));
    Some((quantity, (named != 0).then_some(limit)))
}

/// One execution, for the accounts of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Execution {
    /// When, by the data.
    pub at: UnixNanos,
    /// In what.
    pub instrument: InstrumentId,
    /// Which way.
    pub side: Side,
    /// How much.
    pub quantity: Lots,
    /// At what price.
    pub price: PriceTicks,
    /// What the exchange charged.
    pub fee: Money,
    /// Whether the order rested before.
    pub maker: bool,
}

/// An order that works, as far as the venue has to know it.
#[derive(Clone, Copy, Debug)]
struct Placed {
    key: IntentKey,
    instrument: InstrumentId,
    side: Side,
}

/// The exchange, the way there and the way back.
#[derive(Debug)]
pub(super) struct LabVenue {
    exchange: Exchange,
    by_key: BTreeMap<IntentKey, OrderNumber>,
    by_number: BTreeMap<OrderNumber, Placed>,
    sequence: u64,
    /// Requests on their way, with the moment of their arrival.
    under_way: VecDeque<(UnixNanos, Sendable, u32)>,
    /// News on its way back, with the moment of its arrival.
    news: VecDeque<(UnixNanos, Event)>,
    reports: Vec<Report>,
    /// Orders that are refused before any other is looked at.
    refusals: u32,
    /// What was executed since it was last taken out.
    pub executions: Vec<Execution>,
}

impl LabVenue {
    pub fn new(exchange: Exchange) -> Self {
        Self {
            exchange,
            by_key: BTreeMap::new(),
            by_number: BTreeMap::new(),
            sequence: 0,
            under_way: VecDeque::new(),
            news: VecDeque::new(),
            reports: Vec::new(),
            refusals: 0,
            executions: Vec::new(),
        }
    }

    /// Lets the exchange refuse this many orders that come next.
    pub const fn refuse_next(&mut self, count: u32) {
        self.refusals = count;
    }

    pub const fn exchange(&self) -> &Exchange {
        &self.exchange
    }

    /// Whether a market update can have a consequence here besides the market's own.
    pub fn is_quiet(&self) -> bool {
        self.exchange.is_empty() && self.under_way.is_empty() && self.news.is_empty()
    }

    /// The market has moved while nothing works and nothing is under way.
    #[inline]
    pub fn show_quiet(&mut self, tick: &Tick) {
        self.exchange.show_quiet(tick);
    }

    /// The market has moved.
    pub fn show(&mut self, sample: &Sample) {
        self.exchange.show(sample, &mut self.reports);
        if self.reports.is_empty() {
            return;
        }
        let at = self.exchange.clock();
        let updates = self.take_reports(at);
        let told = at.after(self.reply_latency());
        self.news.push_back((told, Event::Updates { cursor: self.sequence, updates }));
    }

    /// A request leaves the host. Without latency its reply is there at once.
    pub fn send(&mut self, now: UnixNanos, request: Sendable, attempt: u32) -> Option<Event> {
        let latency = self.exchange.model().order_latency_ns;
        if latency > 0 {
            let arrives = now.after(Duration::from_nanos(latency));
            self.under_way.push_back((arrives, request, attempt));
            return None;
        }
        let reply = self.execute(now, &request, attempt);
        // News that is older must be heard before.
        if self.exchange.model().reply_latency_ns == 0 && self.news.is_empty() {
            return Some(reply);
        }
        self.news.push_back((now.after(self.reply_latency()), reply));
        None
    }

    /// The next thing that arrives somewhere before a moment: requests at the exchange are executed on the way, news for the
    /// host is handed over with the moment of its arrival.
    pub fn next_before(&mut self, before: UnixNanos) -> Option<(UnixNanos, Event)> {
        loop {
            let request = self.under_way.front().map(|(at, ..)| *at).filter(|at| *at < before);
            let news = self.news.front().map(|(at, _)| *at).filter(|at| *at < before);
            match (request, news) {
                (Some(request), news) if news.is_none_or(|news| request <= news) => {
                    let (at, request, attempt) = self.under_way.pop_front()?;
                    let reply = self.execute(at, &request, attempt);
                    self.news.push_back((at.after(self.reply_latency()), reply));
                }
                (_, Some(_)) => return self.news.pop_front(),
                _ => return None,
            }
        }
    }

    fn reply_latency(&self) -> Duration {
        Duration::from_nanos(self.exchange.model().reply_latency_ns)
    }

    fn execute(&mut self, at: UnixNanos, request: &Sendable, attempt: u32) -> Event {
        let outcome = match self.run(at, request) {
            Ok(()) => Outcome::Done { updates: self.take_reports(at) },
            Err(refusal) => {
                self.reports.clear();
                Outcome::Refused(Failure::new(Class::Api, refusal.code, Phase::Done, refusal.text))
            }
        };
        let model = self.exchange.model();
        let latency = Duration::from_nanos(model.order_latency_ns.saturating_add(model.reply_latency_ns));
        let reply = Reply { outcome, latency, retry_after: None };
        Event::Replied { key: request.key, attempt, reply }
    }

    fn run(&mut self, at: UnixNanos, request: &Sendable) -> Result<(), Refusal> {
        const MALFORMED: Refusal = Refusal { code: "malformed", text: "the lab does not read this body" };
        const UNKNOWN: Refusal = Refusal { code: "unknown_order", text: "no such order works" };
        match request.kind {
            RequestKind::Place if self.refusals > 0 => {
                self.refusals -= 1;
                Err(Refusal { code: "rejected", text: "the exchange takes no orders at this moment" })
            }
            RequestKind::Place => {
                let ticket = read_place(&request.body.0).ok_or(MALFORMED)?;
                let number = self.exchange.place(at, &ticket, &mut self.reports)?;
                let placed = Placed { key: request.key, instrument: ticket.instrument, side: ticket.side };
                self.by_key.insert(request.key, number);
                self.by_number.insert(number, placed);
                Ok(())
            }
            RequestKind::Cancel(target) => {
                let number = *self.by_key.get(&target).ok_or(UNKNOWN)?;
                self.exchange.cancel(number, &mut self.reports)
            }
            RequestKind::Amend(target) => {
                let (quantity, limit) = read_amend(&request.body.0).ok_or(MALFORMED)?;
                let number = *self.by_key.get(&target).ok_or(UNKNOWN)?;
                self.exchange.amend(number, quantity, limit, &mut self.reports)
            }
        }
    }

    /// The exchange's reports as updates of our orders. An order that has ended is forgotten.
    fn take_reports(&mut self, at: UnixNanos) -> Vec<OrderUpdate> {
        let mut updates = Vec::with_capacity(self.reports.len());
        for Report { order, change } in self.reports.drain(..) {
            let Some(placed) = self.by_number.get(&order).copied() else { continue };
            let ended = match &change {
                OrderChange::Filled { quantity, price, leaves, fee, maker } => {
                    self.executions.push(Execution {
                        at,
                        instrument: placed.instrument,
                        side: placed.side,
                        quantity: *quantity,
                        price: *price,
                        fee: *fee,
                        maker: *maker,
                    });
                    leaves.is_zero()
                }
                OrderChange::Cancelled | OrderChange::Expired | OrderChange::Rejected { .. } => true,
                OrderChange::Accepted | OrderChange::Amended { .. } => false,
            };
            if ended {
                self.by_number.remove(&order);
                self.by_key.remove(&placed.key);
            }
            self.sequence = self.sequence.saturating_add(1);
            updates.push(OrderUpdate { sequence: self.sequence, key: placed.key, change, venue_id: None });
        }
        updates
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn kinds() -> impl Strategy<Value = OrderKind> {
        let price = || any::<i64>().prop_map(PriceTicks);
        prop_oneof![
            Just(OrderKind::Market),
            price().prop_map(OrderKind::Limit),
            price().prop_map(OrderKind::Stop),
            (price(), price()).prop_map(|(trigger, limit)| OrderKind::StopLimit { trigger, limit }),
        ]
    }

    fn tifs() -> impl Strategy<Value = TimeInForce> {
        prop_oneof![
            Just(TimeInForce::Gtc),
            Just(TimeInForce::Ioc),
            Just(TimeInForce::Fok),
            Just(TimeInForce::Day),
            any::<u64>().prop_map(|until| TimeInForce::Gtd(UnixNanos(until))),
        ]
    }

    proptest! {
        #[test]
        fn an_order_is_read_as_it_was_written(
            kind in kinds(),
            tif in tifs(),
            quantity in any::<i64>(),
            sell in any::<bool>(),
            post_only in any::<bool>(),
            reduce_only in any::<bool>(),
        ) {
            let instruments = crate::lab::exchange::tests::instruments();
            let instrument = instruments.get(InstrumentId(0)).unwrap();
            let order = PlaceOrder {
                instrument,
                side: if sell { Side::Sell } else { Side::Buy },
                quantity: Lots(quantity),
                kind,
                tif,
                options: OrderOptions { post_only, reduce_only },
                reference: None,
                held: Lots::ZERO,
            };
            let ticket = read_place(&place_body(InstrumentId(3), &order)).unwrap();
            prop_assert_eq!((ticket.instrument, ticket.side), (InstrumentId(3), order.side));
            prop_assert_eq!((ticket.quantity, ticket.kind, ticket.tif, ticket.options), (order.quantity, kind, tif, order.options));
        }

        #[test]
        fn no_bytes_make_the_reader_panic(body in prop::collection::vec(any::<u8>(), 0..60)) {
            let _ = (read_place(&body), read_amend(&body));
        }
    }
}
