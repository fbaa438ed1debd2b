//! A paper venue whose clock is moved by hand, a client of it, and the ledger as the judge.

use super::super::{instruments, key};
use crate::market::{Instrument, InstrumentId, Instruments, Lots, Money, PriceTicks, UnixNanos};
use crate::orders::{OrderKind, OrderOptions, Sendable, Side, TimeInForce};
use crate::venue::paper::MarketTick;
use crate::venue::paper::purpleflea::{
    FaultRule, FleaAccount, FleaConfig, FleaExecution, FleaFaults, FleaHandle, FleaRoute, FleaTruth,
    FleaVenue, PaperClock,
};
use crate::venue::purpleflea::{PurpleFleaConfig, PurpleFleaDialect, PurpleFleaVenue};
use crate::venue::{
    Baseline, Dialect as _, KeySource, Operation, OrderChange, OtherOrder, Outcome, PlaceOrder, Question,
    Request, Secret, Venue as _,
};
use rust_decimal::Decimal;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Noon on the first day of 2026.
const NOON_MS: u64 = 1_767_268_800_000;

const KEY: &str = "sk_trade_0123";

pub(super) fn d(text: &str) -> Decimal {
    text.parse().unwrap()
}

/// A venue at 100 for `SPX` and at 60000 for `BTC`, and a client.
pub(super) struct Two {
    pub(super) paper: FleaHandle,
    pub(super) venue: PurpleFleaVenue,
    calls: AtomicU64,
}

/// An order that was sent, or was not, because the account could not be read.
#[derive(Clone, Debug)]
pub(super) struct Sent {
    pub(super) request: Request,
    pub(super) baseline: Option<Baseline>,
    pub(super) outcome: Outcome,
    /// What the client has said of it so far, sends and queries together.
    pub(super) told: Told,
    /// Number of its arrival at the venue, if it arrived.
    pub(super) arrival: Option<u64>,
}

/// What a client has said of one order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) venue_id: Option<String>,
    /// Signed.
    pub(super) lots: Lots,
    pub(super) price: Option<PriceTicks>,
    pub(super) fee: Money,
    pub(super) is_over: bool,
    pub(super) last_sequence: u64,
}

impl Told {
    /// Takes an outcome as the ledger of an agent does: each change once.
    pub(super) fn take(&mut self, outcome: &Outcome, side: Side) {
        let Outcome::Done { updates } = outcome else { return };
        for update in updates {
            if update.sequence <= self.last_sequence {
                continue;
            }
            self.last_sequence = update.sequence;
            if let Some(id) = &update.venue_id {
                self.venue_id = Some(id.clone());
            }
            match &update.change {
                OrderChange::Filled { quantity, price, leaves, fee, .. } => {
                    self.lots = Lots(self.lots.0 + side.signed(*quantity).0);
                    (self.price, self.fee) = (Some(*price), *fee);
                    self.is_over |= leaves.is_zero();
                }
                OrderChange::Cancelled => self.is_over = true,
                _ => {}
            }
        }
    }
}

pub(super) fn table() -> Instruments {
    let here = |(_, instrument): (_, &Instrument)| Instrument { venue: "flea".into(), ..instrument.clone() };
    Instruments::new(instruments().iter().map(here).collect()).unwrap()
}

fn key_source() -> KeySource {
    KeySource::Given(Secret::new(KEY).unwrap())
}

fn dialect() -> PurpleFleaDialect {
    PurpleFleaDialect::new(PurpleFleaConfig::new(key_source()).profile("flea"), 1)
}

impl Two {
    pub(super) async fn start() -> Self {
        Self::with(|_| (), |_| ()).await
    }

    pub(super) async fn with(
        change: impl FnOnce(&mut FleaConfig),
        change_client: impl FnOnce(&mut PurpleFleaConfig),
    ) -> Self {
        let mut config = FleaConfig {
            port: 0,
            accounts: vec![FleaAccount { key: key_source(), ..FleaAccount::default() }],
            instruments: table().iter().map(|(_, instrument)| instrument.clone()).collect(),
            trades_per_minute: 0,
            ..FleaConfig::default()
        };
        change(&mut config);
        let paper = FleaVenue::start(config, PaperClock::stopped_at(NOON_MS)).await.unwrap();
        let mut config = PurpleFleaConfig {
            base_url: paper.base_url(),
            read_again_ms: 0,
            ..PurpleFleaConfig::new(key_source())
        };
        change_client(&mut config);
        let clock = Arc::new(|| UnixNanos(NOON_MS * 1_000_000));
        let venue = PurpleFleaVenue::new("flea", &config, Arc::new(table()), clock).unwrap();
        let two = Self { paper, venue, calls: AtomicU64::new(0) };
        two.last("BTC", "60000");
        two.last("SPX", "100");
        two
    }

    pub(super) fn last(&self, symbol: &str, price: &str) {
        let at = UnixNanos(1);
        let tick = MarketTick { symbol: symbol.into(), at, last: Some(d(price)), bid: None, ask: None };
        self.paper.push_market(&[tick]).unwrap();
    }

    /// Moves a price, and the time far enough that the server has seen it and has looked at what waits.
    pub(super) fn seen(&self, symbol: &str, price: &str) {
        self.last(symbol, price);
        self.paper.advance_ms(30_000);
    }

    pub(super) fn faults(&self, rules: &[&str]) {
        let rules = rules.iter().map(|rule| rule.parse::<FaultRule>().unwrap()).collect();
        self.paper.set_faults(FleaFaults { rules, ..FleaFaults::default() }).unwrap();
    }

    /// An order of lots of `SPX`, decided at 100. Negative lots sell.
    pub(super) fn order(&self, lots: i64, change: impl FnOnce(&mut PlaceOrder)) -> Request {
        self.order_in(table().get(InstrumentId(0)).unwrap(), lots, change)
    }

    pub(super) fn order_in(
        &self,
        instrument: &Instrument,
        lots: i64,
        change: impl FnOnce(&mut PlaceOrder),
    ) -> Request {
        let key = key(self.calls.fetch_add(1, Ordering::SeqCst));
        let mut order = PlaceOrder {
            instrument,
            side: if lots > 0 { Side::Buy } else { Side::Sell },
            quantity: Lots(lots.abs()),
            kind: OrderKind::Market,
            tif: TimeInForce::Gtc,
            options: OrderOptions::default(),
            reference: Some(PriceTicks(10_000)),
            held: Lots(0),
        };
        change(&mut order);
        dialect().request(&Operation::Place { key, order }).unwrap()
    }

    /// An order that closes all that is held of `SPX`: at the market, or once a price is there.
    pub(super) fn exit(&self, held: i64, kind: OrderKind) -> Request {
        self.order(-held, |order| {
            (order.held, order.kind, order.options.reduce_only) = (Lots(held), kind, true);
        })
    }

    pub(super) fn cancel(&self, target: &Sent) -> Request {
        let key = key(self.calls.fetch_add(1, Ordering::SeqCst));
        let venue_id = target.told.venue_id.as_deref();
        dialect().request(&Operation::Cancel { key, target: target.request.key, venue_id }).unwrap()
    }

    /// Sends an order as an agent does: the account is read, then the order goes out once.
    pub(super) async fn send(&self, request: Request) -> Sent {
        let baseline = self.venue.baseline(&request).await.unwrap_or_else(|failure| panic!("{failure}"));
        self.send_after(request, baseline).await
    }

    pub(super) async fn send_after(&self, request: Request, baseline: Baseline) -> Sent {
        let before = self.truth().requests.len();
        let sendable = Sendable::journaled(request.clone(), Some(baseline.clone()));
        let outcome = self.venue.send(&sendable).await.outcome;
        let requests = self.truth().requests;
        let arrival = requests.get(before).map(|arrival| arrival.number);
        let mut sent = Sent { request, baseline: Some(baseline), outcome, told: Told::default(), arrival };
        sent.told.take(&sent.outcome, side(&sent.request));
        self.judge(&sent);
        sent
    }

    /// Sends a market order of `SPX` that has to be filled.
    pub(super) async fn filled(&self, lots: i64) -> Sent {
        let sent = self.send(self.order(lots, |_| ())).await;
        assert_eq!(words(&sent.outcome), format!("done accepted filled {}", lots.abs()));
        sent
    }

    /// Asks what became of an order, while nothing is known of any other.
    pub(super) async fn ask(&self, sent: &mut Sent) -> String {
        self.ask_beside(sent, &[]).await
    }

    /// Asks what became of an order, with what is known of others.
    pub(super) async fn ask_beside(&self, sent: &mut Sent, others: &[&Told]) -> String {
        let other = |told: &&Told| OtherOrder { venue_id: told.venue_id.clone(), filled: told.lots };
        let question = Question {
            request: sent.request.clone(),
            baseline: sent.baseline.clone(),
            venue_id: sent.told.venue_id.clone(),
            sent_at: UnixNanos(NOON_MS * 1_000_000),
            others: others.iter().map(other).collect(),
        };
        sent.outcome = self.venue.query(&question).await.outcome;
        sent.told.take(&sent.outcome, side(&sent.request));
        self.judge(sent);
        words(&sent.outcome)
    }

    pub(super) fn truth(&self) -> FleaTruth {
        self.paper.truth()
    }

    /// What an order has caused, as it happened.
    pub(super) fn executions(&self, sent: &Sent) -> Vec<FleaExecution> {
        let caused = |number| self.truth().caused_by(number).into_iter().cloned().collect();
        sent.arrival.map(caused).unwrap_or_default()
    }

    /// Signed lots of `SPX` that an order has really moved.
    pub(super) fn moved(&self, sent: &Sent) -> i64 {
        let lots = |execution: &FleaExecution| {
            let sign = if execution.side == "buy" { 1 } else { -1 };
            sign * i64::try_from(execution.quantity * Decimal::TEN).unwrap()
        };
        self.executions(sent).iter().map(lots).sum()
    }

    pub(super) fn held(&self) -> i64 {
        i64::try_from(self.truth().accounts[0].position("SPX") * Decimal::TEN).unwrap()
    }

    /// Holds what the client said against what happened: a fill was one, at its price and fee, and what was
    /// refused or not sent was none.
    pub(super) fn judge(&self, sent: &Sent) {
        let executions = self.executions(sent);
        match &sent.outcome {
            Outcome::Refused(_) | Outcome::NotSent(_) => {
                assert!(executions.is_empty(), "{:?} and {executions:?}", sent.outcome);
            }
            _ => {}
        }
        let (told, moved) = (&sent.told, self.moved(sent));
        assert!(told.lots.0.abs() <= moved.abs(), "told {} of {moved} lots: {:?}", told.lots, sent.outcome);
        if let (Some(price), [execution]) = (told.price, executions.as_slice()) {
            // Of a fill that made a position smaller and has no row nobody tells the price: the market's stands for it, as the
            // venue shows it, up to half a minute old.
            let slack = if told.venue_id.is_none() { execution.price * d("0.1") } else { Decimal::ZERO };
            let off = (Decimal::from(price.0) / Decimal::ONE_HUNDRED - execution.price).abs();
            assert!(off <= slack, "told {price} of {execution:?}");
            let off = (told.fee.decimal() - execution.fee).abs();
            assert!(off <= execution.fee * d("0.15") + d("0.01"), "fee {} of {execution:?}", told.fee);
        }
    }

    /// How often a route was asked.
    pub(super) fn arrived(&self, route: FleaRoute) -> u64 {
        self.truth().arrived(route)
    }
}

/// The side of a journaled request; that of a cancel does not matter.
pub(super) fn side(request: &Request) -> Side {
    let sells = String::from_utf8_lossy(&request.body.0).contains(r#""side":"sell""#);
    if sells { Side::Sell } else { Side::Buy }
}

/// The outcome in one line: `done accepted filled 15`, `refused position_changed`.
pub(super) fn words(outcome: &Outcome) -> String {
    let (word, failure) = match outcome {
        Outcome::Unknown => return "unknown".into(),
        Outcome::Done { updates } => {
            let word = |change: &OrderChange| match change {
                OrderChange::Accepted => "accepted".into(),
                OrderChange::Filled { quantity, .. } => format!("filled {quantity}"),
                OrderChange::Cancelled => "cancelled".into(),
                other => format!("{other:?}"),
            };
            let changes: Vec<String> = updates.iter().map(|update| word(&update.change)).collect();
            return format!("done {}", changes.join(" "));
        }
        Outcome::Refused(failure) => ("refused", failure),
        Outcome::NotSent(failure) => ("not-sent", failure),
        Outcome::Ambiguous(failure) => ("ambiguous", failure),
    };
    format!("{word} {}", failure.code)
}
