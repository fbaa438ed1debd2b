//! The venue over real HTTP on loopback, with a clock that is moved by hand.

mod property;
mod routes;
mod switches;
mod traps;

use super::{FaultRule, FleaAccount, FleaConfig, FleaFaults, FleaHandle, FleaTruth, FleaVenue, PaperClock};
use crate::market::UnixNanos;
use crate::venue::paper::MarketTick;
use crate::venue::tests::instruments;
use crate::venue::{KeySource, Secret};
use rust_decimal::Decimal;
use serde_json::{Value, json};
use std::time::Duration;

/// Noon on the first day of 2026.
const NOON_MS: u64 = 1_767_268_800_000;

const KEY: &str = "sk_trade_0123";

fn d(text: &str) -> Decimal {
    text.parse().unwrap()
}

/// A venue at 60000 for `BTC` and at 100 for `SPX`, and a client.
struct Rig {
    venue: FleaHandle,
    http: reqwest::Client,
}

fn client() -> reqwest::Client {
    // An error means that another test was here first.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::new()
}

fn config() -> FleaConfig {
    let key = KeySource::Given(Secret::new(KEY).unwrap());
    FleaConfig {
        port: 0,
        accounts: vec![FleaAccount { key, ..FleaAccount::default() }],
        instruments: instruments().iter().map(|(_, instrument)| instrument.clone()).collect(),
        ..FleaConfig::default()
    }
}

impl Rig {
    async fn start() -> Self {
        Self::with(|_| ()).await
    }

    async fn with(change: impl FnOnce(&mut FleaConfig)) -> Self {
        let mut config = config();
        change(&mut config);
        let venue = FleaVenue::start(config, PaperClock::stopped_at(NOON_MS)).await.unwrap();
        let rig = Self { venue, http: client() };
        rig.last("BTC", "60000");
        rig.last("SPX", "100");
        rig
    }

    fn last(&self, symbol: &str, price: &str) {
        let tick = MarketTick {
            symbol: symbol.into(),
            at: UnixNanos(1),
            last: Some(d(price)),
            bid: None,
            ask: None,
        };
        self.venue.push_market(&[tick]).unwrap();
    }

    /// Moves a price, and the time far enough that the server has seen it.
    fn seen(&self, symbol: &str, price: &str) {
        self.last(symbol, price);
        self.venue.advance_ms(30_000);
    }

    fn faults(&self, rules: &[&str]) {
        let rules = rules.iter().map(|rule| rule.parse::<FaultRule>().unwrap()).collect();
        self.venue.set_faults(FleaFaults { rules, ..FleaFaults::default() }).unwrap();
    }

    fn request(&self, method: &str, path: &str) -> reqwest::RequestBuilder {
        let url = format!("{}{path}", self.venue.base_url());
        self.http.request(method.parse().unwrap(), url).bearer_auth(KEY).timeout(Duration::from_secs(20))
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> (u16, Value) {
        let reply = request.send().await.unwrap();
        let status = reply.status().as_u16();
        (status, strip(&reply.text().await.unwrap()))
    }

    async fn get(&self, path: &str) -> (u16, Value) {
        self.send(self.request("GET", path)).await
    }

    async fn post(&self, path: &str, body: Value) -> (u16, Value) {
        self.send(self.request("POST", path).body(body.to_string())).await
    }

    async fn open(&self, coin: &str, side: &str, size_usd: f64) -> (u16, Value) {
        self.post("/v1/trade/open", json!({ "coin": coin, "side": side, "size_usd": size_usd })).await
    }

    async fn opened(&self, coin: &str, side: &str, size_usd: f64) -> String {
        let (status, reply) = self.open(coin, side, size_usd).await;
        assert_eq!(status, 200, "{reply}");
        reply["position_id"].as_str().unwrap().to_owned()
    }

    async fn close(&self, position_id: &str) -> (u16, Value) {
        self.post("/v1/trade/close", json!({ "position_id": position_id })).await
    }

    fn truth(&self) -> FleaTruth {
        self.venue.truth()
    }

    fn held(&self, coin: &str) -> Decimal {
        self.truth().accounts[0].position(coin)
    }

    fn fills(&self) -> usize {
        self.truth().accounts[0].executions.len()
    }
}

/// A reply without the tail that every object has to have.
fn strip(text: &str) -> Value {
    let mut reply: Value = serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"));
    let info = reply.as_object_mut().unwrap().remove("_info");
    let expected = json!({
        "service": "agent-trading",
        "docs": "https://trading.purpleflea.com/llms.txt",
        "referral": "GET /v1/gossip for passive income info",
        "version": "3.0.0",
    });
    assert_eq!(info, Some(expected), "{text}");
    reply
}

/// Takes a random id out of a reply, after a look at its form.
fn take_id(reply: &mut Value, name: &str, prefix: &str, length: usize) -> String {
    let id = reply.as_object_mut().unwrap().remove(name).unwrap_or_default();
    let id = id.as_str().unwrap_or_else(|| panic!("{name} of {reply}")).to_owned();
    assert!(id.starts_with(prefix) && id.len() == prefix.len() + length, "{name}: {id}");
    id
}

/// The error code of a refusal.
fn code(reply: &(u16, Value)) -> (u16, &str) {
    (reply.0, reply.1["error"].as_str().unwrap_or_default())
}
