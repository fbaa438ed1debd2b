//! The venue without the network: one request in, one decision out.

use super::super::api::Answer;
use super::super::keys::Begin;
use super::super::market::{MarketError, MarketTick};
use super::account::{Account, Ids, register};
use super::clock::PaperClock;
use super::config::FleaConfig;
use super::faults::{Decider, FaultError, FleaFault, FleaFaults};
use super::prices::Prices;
use super::rate::Limiter;
use super::request::{FleaRoute, Incoming};
use super::rows::RestingKind;
use super::truth::{Arrival, FleaTruth};
use super::wire::{self, Reply};
use super::{markets, positions, resting, risk, trade};
use crate::orders::Digest;
use rust_decimal::Decimal;
use serde_json::json;
use std::collections::BTreeMap;
use std::time::Duration;

/// What every handler may use beside the account.
#[derive(Debug)]
pub(super) struct World {
    pub(super) config: FleaConfig,
    pub(super) prices: Prices,
    pub(super) ids: Ids,
    pub(super) now_ms: u64,
}

impl World {
    /// What the server takes for the price of a coin.
    pub(super) fn price(&mut self, coin: &str, call: Call) -> Option<Decimal> {
        self.prices.cached(coin, self.now_ms, call.fault)
    }
}

/// The request that is handled, and what goes wrong with it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Call {
    /// Its number, for one that changes something.
    pub(super) request: Option<u64>,
    pub(super) fault: Option<FleaFault>,
}

/// What the connection does with a request that was received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Delivery {
    Send(Reply),
    Trickle(Reply, Duration),
    Reset,
}

/// A request whose connection is gone and that will be handled all the same.
#[derive(Debug)]
struct Late {
    due_ms: u64,
    request: Incoming,
    call: Call,
}

#[derive(Debug)]
pub(super) struct Engine {
    world: World,
    clock: PaperClock,
    accounts: Vec<Account>,
    /// By the digest of the key, so that looking a key up says nothing about how much of it was right.
    by_key: BTreeMap<Digest, usize>,
    limiter: Limiter,
    decider: Decider,
    late: Vec<Late>,
    next_poll_ms: u64,
    arrived: BTreeMap<FleaRoute, u64>,
    requests: Vec<Arrival>,
}

impl Engine {
    /// A venue whose accounts have these keys, in the order of the configuration.
    pub(super) fn new(config: FleaConfig, keys: &[Digest], clock: PaperClock) -> Self {
        let mut ids = Ids::new(config.seed);
        let accounts = config.accounts.iter().map(|given| Account::new(given, &config, &mut ids)).collect();
        let now_ms = clock.now_ms();
        Self {
            accounts,
            by_key: keys.iter().enumerate().map(|(index, key)| (*key, index)).collect(),
            limiter: Limiter::default(),
            decider: Decider::new(config.faults.clone()),
            late: Vec::new(),
            next_poll_ms: now_ms.saturating_add(config.resting_poll_ms),
            arrived: BTreeMap::new(),
            requests: Vec::new(),
            world: World { prices: Prices::new(&config), ids, now_ms, config },
            clock,
        }
    }

    /// Whether a key is that of an account.
    pub(super) fn knows(&self, key: Option<&str>) -> bool {
        self.account_of(key).is_some()
    }

    /// Takes ticks in order, all or none.
    pub(super) fn push(&mut self, ticks: &[MarketTick]) -> Result<(), MarketError> {
        self.catch_up();
        self.world.prices.push(ticks)
    }

    pub(super) fn faults(&self) -> &FleaFaults {
        self.decider.faults()
    }

    /// Sets what goes wrong from now on.
    pub(super) fn set_faults(&mut self, faults: FleaFaults) -> Result<(), FaultError> {
        faults.check()?;
        self.decider = Decider::new(faults);
        Ok(())
    }

    pub(super) fn truth(&mut self) -> FleaTruth {
        self.catch_up();
        FleaTruth {
            arrived: self.arrived.clone(),
            requests: self.requests.clone(),
            accounts: self.accounts.iter().map(|account| account.truth(&self.world)).collect(),
        }
    }

    /// Does what has fallen due: late requests, and a look at the resting orders.
    pub(super) fn catch_up(&mut self) {
        let now_ms = self.clock.now_ms();
        self.world.now_ms = now_ms;
        let (due, later) = std::mem::take(&mut self.late).into_iter().partition(|late| late.due_ms <= now_ms);
        self.late = later;
        let mut due: Vec<Late> = due;
        due.sort_by_key(|late| late.due_ms);
        for late in due {
            let _ = self.handle(&late.request, late.call);
        }
        if now_ms >= self.next_poll_ms {
            // However many looks were missed, the market that they would have seen is gone.
            let poll_ms = self.world.config.resting_poll_ms;
            let over = (now_ms - self.next_poll_ms) % poll_ms;
            self.next_poll_ms = (now_ms - over).saturating_add(poll_ms);
            self.accounts.iter_mut().for_each(|account| resting::poll(account, &mut self.world));
        }
    }

    /// Takes a request and says what becomes of its connection.
    pub(super) fn receive(&mut self, request: Incoming) -> Delivery {
        self.catch_up();
        let route = FleaRoute::of(&request.method, &request.path).map(|(route, _)| route);
        let Some(route) = route else {
            return Delivery::Send(self.handle(&request, Call::default()));
        };
        let count = self.arrived.entry(route).or_default();
        *count = count.saturating_add(1);
        if route.writes() && self.requests.len() >= self.world.config.requests_max {
            let message = "this paper venue keeps no more requests; start it again";
            return Delivery::Send(Reply::error(503, "paper_ledger_full", message));
        }
        let fault = self.decider.decide(route);
        let call = Call { request: route.writes().then(|| self.note(route, &request, fault)), fault };
        match fault {
            Some(FleaFault::DropBefore) => Delivery::Reset,
            Some(FleaFault::HtmlBefore(status)) => Delivery::Send(self.answered(call, Reply::html(status))),
            Some(FleaFault::RateLimited) => {
                let most = self.world.config.trades_per_minute.max(1);
                let reply = self.too_many(most, super::rate::WINDOW_MS);
                Delivery::Send(self.answered(call, reply))
            }
            Some(FleaFault::Late(ms)) => {
                let due_ms = self.world.now_ms.saturating_add(ms);
                self.late.push(Late { due_ms, request, call });
                Delivery::Reset
            }
            Some(FleaFault::Duplicate) => {
                let _ = self.handle(&request, call);
                Delivery::Send(self.handle(&request, call))
            }
            Some(FleaFault::DropAfter) => {
                let _ = self.handle(&request, call);
                Delivery::Reset
            }
            Some(FleaFault::HtmlAfter(status)) => {
                let _ = self.handle(&request, call);
                Delivery::Send(self.answered(call, Reply::html(status)))
            }
            Some(FleaFault::SlowLoris(ms)) => {
                Delivery::Trickle(self.handle(&request, call), Duration::from_millis(ms))
            }
            _ => Delivery::Send(self.handle(&request, call)),
        }
    }

    fn note(&mut self, route: FleaRoute, request: &Incoming, fault: Option<FleaFault>) -> u64 {
        let number = self.requests.len() as u64 + 1;
        self.requests.push(Arrival {
            number,
            route,
            at_ms: self.world.now_ms,
            body: String::from_utf8_lossy(&request.body).into_owned(),
            key: request.idempotency_key.clone(),
            fault: fault.map(|fault| fault.to_string()),
            handled: 0,
            status: None,
        });
        number
    }

    fn arrival(&mut self, call: Call) -> Option<&mut Arrival> {
        let index = usize::try_from(call.request?.checked_sub(1)?).ok()?;
        self.requests.get_mut(index)
    }

    fn answered(&mut self, call: Call, reply: Reply) -> Reply {
        if let Some(arrival) = self.arrival(call) {
            arrival.status = Some(reply.status);
        }
        reply
    }

    fn handle(&mut self, request: &Incoming, call: Call) -> Reply {
        if let Some(arrival) = self.arrival(call) {
            arrival.handled = arrival.handled.saturating_add(1);
        }
        let reply = self.limited(request).and_then(|()| self.routed(request, call));
        self.answered(call, reply.unwrap_or_else(|refusal| refusal))
    }

    /// The limiter, which stands before everything else and looks at nothing but path and address.
    fn limited(&mut self, request: &Incoming) -> Result<(), Reply> {
        let config = &self.world.config;
        let most = match request.path.as_str() {
            "/v1/trade/open" | "/v1/trade/close" => config.trades_per_minute,
            "/v1/auth/register" => config.registrations_per_minute,
            _ => return Ok(()),
        };
        let admitted = self.limiter.admit(&request.path, &request.address, most, self.world.now_ms);
        admitted.map_err(|wait_ms| self.too_many(most, wait_ms))
    }

    fn too_many(&self, most: u32, wait_ms: u64) -> Reply {
        let message = format!("Too many requests. Limit: {most} per 60s");
        let reply = Reply::error(429, "rate_limited", &message);
        let retry_after_s = self.decider.faults().send_retry_after.then(|| wait_ms.div_ceil(1_000));
        Reply { retry_after_s, ..reply }
    }

    fn account_of(&self, key: Option<&str>) -> Option<usize> {
        self.by_key.get(&Digest::of(key?.as_bytes())).copied()
    }

    fn routed(&mut self, request: &Incoming, call: Call) -> Result<Reply, Reply> {
        let found = FleaRoute::of(&request.method, &request.path);
        let world = &mut self.world;
        let query = |name: &str| request.parameter(name);
        match &found {
            Some((FleaRoute::Register, _)) => return self.register(request),
            Some((FleaRoute::Markets, _)) => return Ok(markets::list(world, call)),
            Some((FleaRoute::MultiPrice, _)) => {
                return Ok(markets::several(world, call, &query("coins").unwrap_or_default()));
            }
            Some((FleaRoute::Market, coin)) => return Ok(markets::one(world, call, coin)),
            Some((FleaRoute::Price, coin)) => return Ok(markets::price(world, call, coin)),
            Some((FleaRoute::Orderbook, coin)) => return Ok(markets::orderbook(world, call, coin)),
            None if !request.path.starts_with("/v1/trade/") => return Err(not_found(request)),
            _ => (),
        }
        let Some(key) = request.key() else {
            let message = "Provide Authorization: Bearer <api_key>";
            return Err(Reply::error(401, "unauthorized", message));
        };
        let index = self.account_of(Some(key));
        let index = index.ok_or_else(|| Reply::json(401, json!({ "error": "invalid_key" })))?;
        let Some((route, about)) = found else { return Err(not_found(request)) };
        let key = request.idempotency_key.as_deref().filter(|_| route.writes());
        match key.filter(|_| self.decider.faults().honour_keys) {
            None => self.traded(index, route, &about, request, call),
            Some(key) => self.keyed(index, key, route, &about, request, call),
        }
    }

    fn register(&mut self, request: &Incoming) -> Result<Reply, Reply> {
        if self.accounts.len() >= self.world.config.accounts_max {
            return Err(Reply::error(503, "paper_accounts_full", "this paper venue keeps no more accounts"));
        }
        let (account, key, reply) = register(request, &self.world.config, &mut self.world.ids)?;
        self.by_key.insert(Digest::of(key.as_bytes()), self.accounts.len());
        self.accounts.push(account);
        Ok(reply)
    }

    /// As a server would that honours idempotency keys.
    fn keyed(
        &mut self,
        index: usize,
        key: &str,
        route: FleaRoute,
        about: &str,
        request: &Incoming,
        call: Call,
    ) -> Result<Reply, Reply> {
        if !(1..=64).contains(&key.len()) {
            let message = "Idempotency-Key must have 1 to 64 characters";
            return Err(Reply::error(400, "invalid_idempotency_key", message));
        }
        let Some(account) = self.accounts.get_mut(index) else { return Err(Reply::internal()) };
        let text = [route.name().as_bytes(), about.as_bytes(), &request.body].join(&b'\0');
        match account.keys.begin(key, Digest::of(&text)) {
            Begin::New => (),
            Begin::Stored(Answer { status, body }) => {
                account.repeats = account.repeats.saturating_add(1);
                return Ok(Reply::stored(status, body));
            }
            Begin::InProgress => {
                return Err(Reply::error(409, "in_progress", "a request with this key is still running"));
            }
            Begin::Mismatch => {
                return Err(Reply::error(422, "key_reused", "this key was used for another request"));
            }
            Begin::Full => {
                return Err(Reply::error(503, "keys_full", "this venue remembers no more keys"));
            }
        }
        let reply = self.traded(index, route, about, request, call).unwrap_or_else(|refusal| refusal);
        if let Some(account) = self.accounts.get_mut(index) {
            account.keys.finish(key, &Answer { status: reply.status, body: reply.body.clone() });
        }
        Ok(reply)
    }

    /// The routes of an account.
    fn traded(
        &mut self,
        index: usize,
        route: FleaRoute,
        about: &str,
        request: &Incoming,
        call: Call,
    ) -> Result<Reply, Reply> {
        let Some(account) = self.accounts.get_mut(index) else { return Err(Reply::internal()) };
        let world = &mut self.world;
        let all = || request.parameter("status").as_deref() == Some("all");
        let body = || wire::parse(&request.body);
        match route {
            FleaRoute::Open => trade::open(account, world, call, &body()?),
            FleaRoute::Close => trade::close(account, world, call, &body()?),
            FleaRoute::Limit => resting::limit(account, world, call, &body()?),
            FleaRoute::LimitOrders => Ok(resting::list(account, all())),
            FleaRoute::CancelLimit => resting::cancel(account, about),
            FleaRoute::StopLoss => resting::exit(account, world, call, RestingKind::StopLoss, &body()?),
            FleaRoute::TakeProfit => resting::exit(account, world, call, RestingKind::TakeProfit, &body()?),
            FleaRoute::Positions => Ok(positions::positions(account, world, call, all())),
            FleaRoute::History => Ok(positions::history(account, request.parameter("limit").as_deref())),
            FleaRoute::RiskSettings => Ok(risk::view(account, world.now_ms)),
            FleaRoute::SetRiskSettings => risk::change(account, &body()?),
            FleaRoute::CloseAll => Ok(positions::close_all(account, world.now_ms)),
            FleaRoute::Account => Ok(account.view()),
            FleaRoute::Register
            | FleaRoute::Markets
            | FleaRoute::MultiPrice
            | FleaRoute::Market
            | FleaRoute::Price
            | FleaRoute::Orderbook => Err(not_found(request)),
        }
    }
}

fn not_found(request: &Incoming) -> Reply {
    let message = format!("{} {} not found", request.method, request.path);
    let body =
        json!({ "error": "not_found", "message": message, "docs": "/v1/docs", "openapi": "/openapi.json" });
    Reply::json(404, body)
}
