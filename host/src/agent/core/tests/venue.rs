//! An independent venue: its own idempotency map, matching, cash and positions in plain integers.

use crate::market::{Lots, Money, MonoNanos, PriceTicks};
use crate::orders::{IntentKey, OrderKind, Side};
use crate::resilience::{Class, Failure, Phase};
use crate::venue::{
    ByteBody, Capability, Dialect, EncodeError, Operation, OrderChange, OrderUpdate, Outcome, Request,
    VenueProfile,
};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// What becomes of one attempt on its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    Delivered,
    /// Connection refused: proven not sent.
    NotSent,
    /// Lost on the way out, and nobody here can tell.
    Dropped,
    /// Executed, and the answer was lost.
    ReplyLost,
    /// Timed out here, and executed by the venue this much later.
    ExecutedLater(Duration),
    /// Delivered twice by something in between.
    Duplicated,
    /// The venue says no.
    Refused,
    /// Something before the venue says no.
    TurnedAway,
    /// The venue has used the key for another request.
    KeyReused,
    /// The venue refuses the credentials.
    Unauthorized,
    /// 429 with this Retry-After.
    Throttled(&'static str),
    /// The venue is still at it, and wants to be asked again after this.
    Busy(&'static str),
    /// Executed; the answer takes this long.
    Slow(Duration),
    /// This one of [`super::wire::GARBLED`] comes back, whether the request was executed or not.
    Garbled {
        reply: usize,
        executed: bool,
    },
}

/// The one format of this venue.
#[derive(Clone, Debug, Serialize, Deserialize)]
enum Body {
    Place { buy: bool, lots: i64, limit: Option<i64>, rests: bool, reduce_only: bool },
    Cancel { target: IntentKey },
    Amend { target: IntentKey, lots: i64, limit: Option<i64> },
}

/// What the venue knows an order by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Kind {
    #[default]
    Keys,
    ClientIds,
    OpenIds,
    NoIds,
}

impl Kind {
    pub(super) fn capability(self) -> Capability {
        match self {
            Self::Keys => Capability::IdempotentKeys { window: Duration::from_secs(20 * 3_600) },
            Self::ClientIds => Capability::QueryByClientId,
            Self::OpenIds => Capability::UniqueWhileOpen,
            Self::NoIds => Capability::DeltaOnly,
        }
    }
}

pub(super) struct TestDialect(VenueProfile);

impl TestDialect {
    pub(super) fn new(kind: Kind, key_window: Duration, reports_changes: bool) -> Self {
        let capability = match kind.capability() {
            Capability::IdempotentKeys { .. } => Capability::IdempotentKeys { window: key_window },
            other => other,
        };
        Self(VenueProfile {
            name: "sim".into(),
            capability,
            request_timeout: Duration::from_secs(10),
            refusal_is_proof: true,
            reports_changes,
        })
    }
}

impl Dialect for TestDialect {
    fn profile(&self) -> &VenueProfile {
        &self.0
    }

    fn encode(&self, operation: &Operation<'_>) -> Result<ByteBody, EncodeError> {
        let body = match operation {
            Operation::Place { order, .. } => Body::Place {
                buy: order.side == Side::Buy,
                lots: order.quantity.0,
                limit: order.kind.limit().map(|limit| limit.0),
                rests: order.kind != OrderKind::Market,
                reduce_only: order.options.reduce_only,
            },
            Operation::Cancel { target, .. } => Body::Cancel { target: *target },
            Operation::Amend { target, quantity, limit, .. } => {
                Body::Amend { target: *target, lots: quantity.0, limit: limit.map(|limit| limit.0) }
            }
        };
        Ok(ByteBody(serde_json::to_vec(&body).unwrap()))
    }
}

#[derive(Clone, Debug)]
struct Resting {
    buy: bool,
    leaves: i64,
    filled: i64,
    limit: i64,
}

#[derive(Clone, Debug)]
enum Answer {
    Done,
    Refused(&'static str),
}

#[derive(Clone, Debug, Default)]
pub(super) struct SimVenue {
    pub(super) kind: Kind,
    /// Executes without a record that it could name.
    pub(super) forgets_ids: bool,
    pub(super) price: i64,
    pub(super) position: i64,
    /// What somebody else has traded on the account.
    pub(super) by_hand: i64,
    pub(super) cash: i64,
    pub(super) fees: i64,
    /// How often each key was executed: the invariant that everything else serves.
    pub(super) executions: BTreeMap<IntentKey, u32>,
    /// Every body ever received under a key.
    pub(super) bodies: BTreeMap<IntentKey, BTreeSet<Vec<u8>>>,
    /// Changes, oldest first; the sequence number is the position plus one.
    pub(super) log: Vec<OrderUpdate>,
    /// Which way each order goes.
    pub(super) buys: BTreeMap<IntentKey, bool>,
    answers: BTreeMap<IntentKey, Answer>,
    resting: BTreeMap<IntentKey, Resting>,
    /// The time of whoever drives it.
    pub(super) now: MonoNanos,
    /// How far its reads are behind its orders.
    pub(super) lag: Duration,
    /// When each key was executed, and when each change was logged.
    executed_at: BTreeMap<IntentKey, MonoNanos>,
    logged_at: Vec<MonoNanos>,
    /// What moved the position, and when.
    moves: Vec<(MonoNanos, i64)>,
    /// How long it remembers a key.
    pub(super) keys_kept: Option<Duration>,
    /// Orders that it has forgotten.
    pub(super) forgotten: BTreeSet<IntentKey>,
    /// How far its updates and positions are behind, each on its own.
    pub(super) account_lag: (Duration, Duration),
    /// Whether an answer tells only that the request was taken; what became of the order is in the log.
    pub(super) terse: bool,
}

impl SimVenue {
    pub(super) fn at(price: i64, kind: Kind) -> Self {
        Self { price, kind, ..Self::default() }
    }

    /// Takes one request as it arrives, and answers as the wire would.
    pub(super) fn receive(&mut self, request: &Request, refuse: bool) -> Outcome {
        self.bodies.entry(request.key).or_default().insert(request.body.0.clone());
        if self.kind == Kind::OpenIds && self.resting.contains_key(&request.key) {
            // As the client reads the venue's refusal of an id that an open order has.
            return Outcome::Ambiguous(failure("duplicate_client_id", Phase::MaybeSent));
        }
        if let Some(kept) = self.keys_kept
            && self.executed_at.get(&request.key).is_some_and(|at| at.after(kept) <= self.now)
        {
            self.answers.remove(&request.key);
        }
        // Only where keys are remembered is the same request not executed again.
        if self.kind != Kind::Keys || !self.answers.contains_key(&request.key) {
            let answer = if refuse { Answer::Refused("refused") } else { self.execute(request) };
            self.answers.insert(request.key, answer);
        }
        match &self.answers[&request.key] {
            Answer::Done => Outcome::Done { updates: self.history(request) },
            Answer::Refused(code) => Outcome::Refused(failure(code, Phase::Done)),
        }
    }

    /// Answers what became of a request, from a copy that is some time behind.
    pub(super) fn query(&self, request: &Request) -> Outcome {
        let about = match serde_json::from_slice(&request.body.0).unwrap() {
            Body::Place { .. } => request.key,
            Body::Cancel { target } | Body::Amend { target, .. } => target,
        };
        let shows = |at: &MonoNanos| at.after(self.lag) <= self.now;
        if self.forgotten.contains(&about) || !self.executed_at.get(&about).is_some_and(shows) {
            return Outcome::Unknown;
        }
        let shown = self.logged_at.iter().filter(|at| shows(at)).count();
        let known = if self.terse { 0 } else { shown };
        let updates = self.log[..known].iter().filter(|update| update.key == about).cloned().collect();
        Outcome::Done { updates }
    }

    fn history(&self, request: &Request) -> Vec<OrderUpdate> {
        let key = match serde_json::from_slice(&request.body.0).unwrap() {
            Body::Place { .. } => request.key,
            Body::Cancel { target } | Body::Amend { target, .. } => target,
        };
        let known = if self.terse { 0 } else { self.log.len() };
        self.log[..known].iter().filter(|update| update.key == key).cloned().collect()
    }

    fn execute(&mut self, request: &Request) -> Answer {
        match serde_json::from_slice(&request.body.0).unwrap() {
            Body::Place { buy, lots, limit, rests, reduce_only } => {
                let reduces = if buy { self.position <= -lots } else { self.position >= lots };
                if reduce_only && !reduces {
                    return Answer::Refused("not_reducing");
                }
                self.buys.insert(request.key, buy);
                self.report(request.key, OrderChange::Accepted);
                let limit = limit.unwrap_or(self.price);
                self.resting.insert(request.key, Resting { buy, leaves: lots, filled: 0, limit });
                let crosses = if buy { limit >= self.price } else { limit <= self.price };
                if !rests || crosses {
                    self.fill(request.key, lots, self.price);
                }
            }
            Body::Cancel { target } => {
                if self.resting.remove(&target).is_none() {
                    return Answer::Refused("unknown_order");
                }
                self.report(target, OrderChange::Cancelled);
            }
            Body::Amend { target, lots, limit } => {
                let Some(resting) = self.resting.get_mut(&target).filter(|resting| lots > resting.filled)
                else {
                    return Answer::Refused("unknown_order");
                };
                resting.leaves = lots - resting.filled;
                resting.limit = limit.unwrap_or(resting.limit);
                let change = OrderChange::Amended {
                    leaves: Lots(resting.leaves),
                    limit: Some(PriceTicks(resting.limit)),
                };
                self.report(target, change);
            }
        }
        *self.executions.entry(request.key).or_default() += 1;
        self.executed_at.insert(request.key, self.now);
        Answer::Done
    }

    /// Fills some of a resting order; each fill costs a fee of one.
    pub(super) fn fill(&mut self, key: IntentKey, lots: i64, price: i64) {
        let Some(resting) = self.resting.get_mut(&key) else { return };
        let lots = lots.min(resting.leaves);
        resting.leaves -= lots;
        resting.filled += lots;
        let (buy, leaves) = (resting.buy, resting.leaves);
        if leaves == 0 {
            self.resting.remove(&key);
        }
        let signed = if buy { lots } else { -lots };
        self.position += signed;
        self.moves.push((self.now, signed));
        self.cash -= signed * price + 1;
        self.fees += 1;
        let fee = Money::new(1.into());
        let (quantity, price, leaves) = (Lots(lots), PriceTicks(price), Lots(leaves));
        self.report(key, OrderChange::Filled { quantity, price, leaves, fee, maker: false });
    }

    /// The market moves, and fills what it crosses.
    pub(super) fn trade_at(&mut self, price: i64) {
        self.price = price;
        let crossed: Vec<_> = self
            .resting
            .iter()
            .filter(|(_, resting)| if resting.buy { resting.limit >= price } else { resting.limit <= price })
            .map(|(key, resting)| (*key, resting.leaves, resting.limit))
            .collect();
        for (key, leaves, limit) in crossed {
            self.fill(key, leaves, limit);
        }
    }

    /// Somebody trades on the account by hand, at the market and without a fee.
    pub(super) fn by_hand(&mut self, lots: i64) {
        self.position += lots;
        self.cash -= lots * self.price;
        self.moves.push((self.now, lots));
    }

    /// How much of the log a read of the updates shows now.
    pub(super) fn shown(&self) -> usize {
        self.logged_at.iter().filter(|at| at.after(self.account_lag.0) <= self.now).count()
    }

    /// What a read of the positions shows now.
    pub(super) fn shown_position(&self) -> i64 {
        let shown = self.moves.iter().filter(|(at, _)| at.after(self.account_lag.1) <= self.now);
        shown.map(|(_, lots)| lots).sum()
    }

    pub(super) fn resting(&self) -> Vec<IntentKey> {
        self.resting.keys().copied().collect()
    }

    pub(super) fn executed(&self, key: &IntentKey) -> u32 {
        self.executions.get(key).copied().unwrap_or(0)
    }

    fn report(&mut self, key: IntentKey, change: OrderChange) {
        let sequence = self.log.len() as u64 + 1;
        self.logged_at.push(self.now);
        let venue_id = (self.kind == Kind::NoIds && !self.forgets_ids).then(|| format!("ord_{key}"));
        self.log.push(OrderUpdate { sequence, key, change, venue_id });
    }
}

pub(super) fn failure(code: &str, phase: Phase) -> Failure {
    let class = if phase == Phase::Done { Class::Api } else { Class::Network };
    Failure::new(class, code.to_owned(), phase, "scripted")
}
