//! A venue, a proxy and a client, connected.

use super::{instruments, key};
use crate::market::{InstrumentId, Lots, PriceTicks, UnixNanos};
use crate::orders::{IntentKey, OrderKind, OrderOptions, Sendable, Side, TimeInForce};
use crate::venue::chaos::{ChaosConfig, ChaosHandle, ChaosProxy, Fault, Plan, Scope};
use crate::venue::http::{HttpDialect, HttpVenue, HttpVenueConfig};
use crate::venue::paper::{MarketTick, PaperAccount, PaperConfig, PaperHandle, PaperVenue};
use crate::venue::{
    Dialect as _, KeySource, Operation, OrderChange, Outcome, PlaceOrder, Question, Request, RequestKind,
    Secret,
};
use std::sync::Arc;

/// A venue at 100 for `SPX`, a proxy that passes everything, a client behind it.
pub(super) struct Three {
    pub(super) paper: PaperHandle,
    pub(super) proxy: ChaosHandle,
    pub(super) venue: HttpVenue,
}

pub(super) fn given(key: &str) -> KeySource {
    KeySource::Given(Secret::new(key).unwrap())
}

pub(super) fn paper_config() -> PaperConfig {
    PaperConfig {
        port: 0,
        accounts: vec![PaperAccount { key: given("test-key"), ..PaperAccount::default() }],
        instruments: instruments().iter().map(|(_, instrument)| instrument.clone()).collect(),
        ..PaperConfig::default()
    }
}

pub(super) fn client(base_url: String, change: impl FnOnce(&mut HttpVenueConfig)) -> HttpVenue {
    let mut config = HttpVenueConfig { base_url, key: given("test-key"), ..HttpVenueConfig::default() };
    change(&mut config);
    HttpVenue::new(&config, Arc::new(instruments())).unwrap()
}

impl Three {
    pub(super) async fn start() -> Self {
        Self::with(paper_config(), |_| ()).await
    }

    pub(super) async fn with(paper: PaperConfig, change: impl FnOnce(&mut HttpVenueConfig)) -> Self {
        let paper = PaperVenue::start(paper).await.unwrap();
        let proxy = ChaosProxy::start(paper.addr(), ChaosConfig::default()).await.unwrap();
        let venue = client(proxy.base_url(), change);
        let three = Self { paper, proxy, venue };
        three.last(100);
        three
    }

    /// Trades `SPX` at a price, and returns the number of the newest update.
    pub(super) fn last(&self, price: i64) -> u64 {
        let tick = MarketTick {
            symbol: "SPX".into(),
            at: UnixNanos(1),
            last: Some(price.into()),
            bid: None,
            ask: None,
        };
        self.paper.push_market(&[tick]).unwrap()
    }

    pub(super) async fn fault(&self, fault: Fault) {
        self.proxy.set_plan(Plan::Always(fault, Scope::All)).await.unwrap();
    }

    pub(super) async fn pass(&self) {
        self.proxy.set_plan(Plan::Pass).await.unwrap();
    }

    /// How many orders were executed under a key, and how many requests the venue answered from its memory.
    pub(super) fn executed(&self, key: IntentKey) -> usize {
        let truth = self.paper.truth();
        truth.accounts[0].executions.iter().filter(|execution| execution.key == key.to_string()).count()
    }
}

/// A market buy of `lots` lots of `SPX` under key `call`.
pub(super) fn market(call: u64, lots: i64) -> Sendable {
    order(call, lots, OrderKind::Market)
}

pub(super) fn limit(call: u64, lots: i64, ticks: i64) -> Sendable {
    order(call, lots, OrderKind::Limit(PriceTicks(ticks)))
}

fn order(call: u64, lots: i64, kind: OrderKind) -> Sendable {
    let instruments = instruments();
    let order = PlaceOrder {
        instrument: instruments.get(InstrumentId(0)).unwrap(),
        side: Side::Buy,
        quantity: Lots(lots),
        kind,
        tif: TimeInForce::Gtc,
        options: OrderOptions::default(),
        reference: None,
        held: Lots(0),
    };
    let operation = Operation::Place { key: key(call), order };
    encode(&operation, key(call), RequestKind::Place)
}

pub(super) fn cancel(call: u64, target: u64) -> Sendable {
    let operation = Operation::Cancel { key: key(call), target: key(target), venue_id: None };
    encode(&operation, key(call), RequestKind::Cancel(key(target)))
}

pub(super) fn amend(call: u64, target: u64, lots: i64) -> Sendable {
    let instruments = instruments();
    let instrument = instruments.get(InstrumentId(0)).unwrap();
    let operation = Operation::Amend {
        key: key(call),
        target: key(target),
        venue_id: None,
        instrument,
        quantity: Lots(lots),
        limit: None,
    };
    encode(&operation, key(call), RequestKind::Amend(key(target)))
}

fn encode(operation: &Operation, key: IntentKey, kind: RequestKind) -> Sendable {
    let body = HttpDialect::new(HttpVenueConfig::default().profile()).encode(operation).unwrap();
    Sendable::journaled(Request { key, kind, body }, None)
}

/// A question about a request that was sent.
pub(super) fn about(request: &Sendable) -> Question {
    Question {
        request: Request::clone(request),
        baseline: None,
        venue_id: None,
        sent_at: UnixNanos(0),
        others: Vec::new(),
    }
}

/// The outcome in one line: `done accepted filled`, `refused api no_market`.
pub(super) fn words(outcome: &Outcome) -> String {
    let (word, failure) = match outcome {
        Outcome::Unknown => return "unknown".into(),
        Outcome::Done { updates } => {
            let word = |change: &OrderChange| match change {
                OrderChange::Accepted => "accepted",
                OrderChange::Filled { .. } => "filled",
                OrderChange::Amended { .. } => "amended",
                OrderChange::Cancelled => "cancelled",
                OrderChange::Expired => "expired",
                OrderChange::Rejected { .. } => "rejected",
            };
            let changes: Vec<&str> = updates.iter().map(|update| word(&update.change)).collect();
            return format!("done {}", changes.join(" "));
        }
        Outcome::Refused(failure) => ("refused", failure),
        Outcome::NotSent(failure) => ("not-sent", failure),
        Outcome::Ambiguous(failure) => ("ambiguous", failure),
    };
    format!("{word} {} {}", failure.class, failure.code)
}
