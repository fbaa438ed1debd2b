//! A server on loopback that answers by script, and requests to send to it.

use super::super::{PurpleFleaConfig, PurpleFleaDialect, PurpleFleaVenue};
use crate::market::{Instrument, InstrumentId, Instruments, Lots, PriceTicks, UnixNanos};
use crate::orders::{OrderKind, OrderOptions, Sendable, Side, TimeInForce};
use crate::venue::tests::{instruments, key};
use crate::venue::{
    Baseline, Dialect as _, KeySource, Operation, OrderChange, Outcome, PlaceOrder, Question, Request,
    RequestKind, Secret,
};
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// What the server does with one request.
#[derive(Clone, Debug)]
pub(super) enum Answer {
    Json(u16, String),
    Html(u16),
    /// Reads the request, says nothing, and keeps the connection.
    Silence,
    /// Promises more bytes than it sends.
    Truncated,
    /// Reads the request and closes.
    Hangup,
    Redirect,
}

pub(super) fn ok(body: &str) -> Answer {
    Answer::Json(200, body.to_owned())
}

/// A server with a queue of answers for each path, the last of which is repeated.
pub(super) struct Server {
    pub(super) venue: PurpleFleaVenue,
    script: Arc<Mutex<Script>>,
}

#[derive(Default)]
struct Script {
    answers: BTreeMap<String, VecDeque<Answer>>,
    /// First line, headers and body of every request, as they came.
    seen: Vec<String>,
    connections: usize,
}

impl Server {
    pub(super) async fn start() -> Self {
        Self::with(|_| ()).await
    }

    pub(super) async fn with(change: impl FnOnce(&mut PurpleFleaConfig)) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let script: Arc<Mutex<Script>> = Arc::default();
        let shared = Arc::clone(&script);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                shared.lock().unwrap().connections += 1;
                tokio::spawn(serve(stream, Arc::clone(&shared)));
            }
        });
        let mut config = PurpleFleaConfig {
            base_url: format!("http://{address}"),
            read_again_ms: 0,
            request_timeout_ms: 300,
            connect_timeout_ms: 200,
            ..PurpleFleaConfig::new(KeySource::Given(Secret::new("sk_trade_1234").unwrap()))
        };
        change(&mut config);
        let clock = Arc::new(|| UnixNanos(1_700_000_000_000_000_000));
        let venue = PurpleFleaVenue::new("flea", &config, Arc::new(table()), clock).unwrap();
        Self { venue, script }
    }

    /// Puts an answer behind those that a path already has.
    pub(super) fn on(&self, path: &str, answer: Answer) -> &Self {
        self.script.lock().unwrap().answers.entry(path.to_owned()).or_default().push_back(answer);
        self
    }

    pub(super) fn seen(&self) -> Vec<String> {
        self.script.lock().unwrap().seen.clone()
    }

    pub(super) fn connections(&self) -> usize {
        self.script.lock().unwrap().connections
    }
}

async fn serve(mut stream: TcpStream, script: Arc<Mutex<Script>>) {
    loop {
        let Some(request) = receive(&mut stream).await else { return };
        let path = request.split(' ').nth(1).unwrap_or_default();
        let path = path.split('?').next().unwrap_or_default().to_owned();
        let answer = {
            let mut script = script.lock().unwrap();
            script.seen.push(request);
            let answers = script.answers.get_mut(&path);
            answers.and_then(|queue| if queue.len() > 1 { queue.pop_front() } else { queue.front().cloned() })
        };
        let not_found = r#"{"error":"not_found","message":"no such path"}"#;
        let text = match answer.unwrap_or(Answer::Json(404, not_found.into())) {
            Answer::Json(status, body) => reply(status, "application/json", &body),
            Answer::Html(status) => reply(status, "text/html", "<html><h1>Bad Gateway</h1></html>"),
            Answer::Redirect => {
                "HTTP/1.1 307 x\r\nlocation: /v1/elsewhere\r\ncontent-length: 0\r\n\r\n".into()
            }
            Answer::Truncated => "HTTP/1.1 200 OK\r\ncontent-length: 900\r\n\r\n{\"position_id\":".into(),
            Answer::Hangup => return,
            Answer::Silence => {
                tokio::time::sleep(Duration::from_secs(60)).await;
                return;
            }
        };
        let is_whole = !text.contains("content-length: 900");
        if stream.write_all(text.as_bytes()).await.is_err() || !is_whole {
            return;
        }
    }
}

fn reply(status: u16, kind: &str, body: &str) -> String {
    format!("HTTP/1.1 {status} x\r\ncontent-type: {kind}\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

async fn receive(stream: &mut TcpStream) -> Option<String> {
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            if body.len() >= length.and_then(|length| length.parse().ok()).unwrap_or(0) {
                return Some(text);
            }
        }
        let mut part = [0; 4_096];
        match stream.read(&mut part).await {
            Ok(0) | Err(_) => return None,
            Ok(count) => bytes.extend_from_slice(part.get(..count)?),
        }
    }
}

/// `SPX` with steps of 0.01 and 0.1, `BTC` with steps of 0.5 and 0.001, both traded at the venue.
pub(super) fn table() -> Instruments {
    let here = |(_, instrument): (_, &Instrument)| Instrument { venue: "flea".into(), ..instrument.clone() };
    Instruments::new(instruments().iter().map(here).collect()).unwrap()
}

pub(super) fn btc() -> Instrument {
    table().get(InstrumentId(1)).unwrap().clone()
}

/// An order of lots of `BTC`, sized at 60,000. Negative lots sell.
pub(super) fn place(lots: i64, change: impl FnOnce(&mut PlaceOrder)) -> Request {
    let instrument = btc();
    let mut order = PlaceOrder {
        instrument: &instrument,
        side: if lots > 0 { Side::Buy } else { Side::Sell },
        quantity: Lots(lots.abs()),
        kind: OrderKind::Market,
        tif: TimeInForce::Gtc,
        options: OrderOptions::default(),
        reference: Some(PriceTicks(120_000)),
        held: Lots(0),
    };
    change(&mut order);
    let config = PurpleFleaConfig::new(KeySource::Env("KEY".into()));
    let dialect = PurpleFleaDialect::new(config.profile("flea"), 1);
    let body = dialect.encode(&Operation::Place { key: key(1), order }).unwrap();
    Request { key: key(1), kind: RequestKind::Place, body }
}

/// A close of a whole position.
pub(super) fn close(held: i64) -> Request {
    place(-held, |order| (order.held, order.options.reduce_only) = (Lots(held), true))
}

/// A limit order at 55,000.
pub(super) fn limit(lots: i64) -> Request {
    place(lots, |order| order.kind = OrderKind::Limit(PriceTicks(110_000)))
}

pub(super) fn cancel(order_id: &str) -> Request {
    let config = PurpleFleaConfig::new(KeySource::Env("KEY".into()));
    let dialect = PurpleFleaDialect::new(config.profile("flea"), 1);
    let operation = Operation::Cancel { key: key(2), target: key(1), venue_id: Some(order_id) };
    let body = dialect.encode(&operation).unwrap();
    Request { key: key(2), kind: RequestKind::Cancel(key(1)), body }
}

pub(super) fn before(lots: i64) -> Baseline {
    let position_id = (lots != 0).then(|| "pos_1".to_owned());
    Baseline {
        at: UnixNanos(1),
        position: Lots(lots),
        entry_price: None,
        position_id,
        newest_trades: Vec::new(),
        waiting_orders: Vec::new(),
        sizing_price: Some(60_000.into()),
    }
}

pub(super) fn sendable(request: Request, held: i64) -> Sendable {
    Sendable::journaled(request, Some(before(held)))
}

pub(super) fn about(request: Request, held: i64, venue_id: Option<&str>) -> Question {
    Question {
        request,
        baseline: Some(before(held)),
        venue_id: venue_id.map(str::to_owned),
        sent_at: UnixNanos(1_700_000_000_000_000_000),
        others: Vec::new(),
    }
}

/// Positions as the exchange has them: lots of `BTC`, or none.
pub(super) fn positions(lots: i64) -> Answer {
    if lots == 0 {
        return ok(
            r#"{"positions":[],"count":0,"source":"hyperliquid","_info":{"service":"agent-trading"}}"#,
        );
    }
    let (side, size) = (if lots > 0 { "long" } else { "short" }, lots.abs());
    ok(&format!(
        concat!(
            r#"{{"positions":[{{"position_id":"pos_1","coin":"BTC","ticker":"BTC","side":"{}","size":{}.{:03},"#,
            r#""size_usd":1,"entry_price":60010.25,"current_price":60000,"leverage":1,"source":"hyperliquid"}}],"#,
            r#""count":1,"source":"hyperliquid","_info":{{}}}}"#
        ),
        side,
        size / 1_000,
        size % 1_000
    ))
}

/// The history with rows of `BTC`: id, side, dollars.
pub(super) fn history(rows: &[(&str, &str, &str)]) -> Answer {
    let row = |(id, side, dollars): &(&str, &str, &str)| {
        format!(
            concat!(
                r#"{{"id":"{}","agentId":"ag_1","orderId":"ord_{}","coin":"BTC","side":"{}","sizeUsd":{},"#,
                r#""price":60000,"fee":0.5,"realizedPnl":null,"createdAt":1700000000}}"#
            ),
            id, id, side, dollars
        )
    };
    let all: Vec<String> = rows.iter().map(row).collect();
    ok(&format!(r#"{{"trades":[{}],"count":{},"_info":{{}}}}"#, all.join(","), rows.len()))
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
