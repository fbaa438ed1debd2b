//! The venue itself: which request goes where.

use super::super::feed::{PriceRow, PriceSource};
use super::super::observation::Undecodable;
use super::super::setup::VenueSetupError;
use super::super::transport::{Exchange, Roots, Transport};
use super::super::{
    Baseline, BoxFuture, Question, Reply, Request, RequestKind, UpdatesPage, Venue, VenuePosition,
    VenueProfile,
};
use super::classify::{self, Ask};
use super::config::HttpVenueConfig;
use super::wire;
use crate::market::{Instruments, Money};
use crate::orders::{IntentKey, Sendable};
use crate::resilience::{Class, Failure, Phase};
use crate::venue::paper::MarketTick;
use reqwest::Method;
use std::sync::Arc;

/// Cash and equity as the venue reports them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AccountState {
    /// Cash.
    pub cash: Money,
    /// Fees charged so far.
    pub fees: Money,
    /// Cash and positions at the venue's last prices; `None` while one of them has no price.
    pub equity: Option<Money>,
    /// Newest change of an order that is included.
    pub sequence: u64,
}

/// A venue of kind `http`. It sends each request once and says what is known; the core decides what follows.
#[derive(Debug)]
pub struct HttpVenue {
    transport: Transport,
    profile: VenueProfile,
    updates_page_max: u32,
    instruments: Arc<Instruments>,
}

impl HttpVenue {
    /// A venue from its configuration, with the instruments that it trades. Fetches the key; sends nothing.
    ///
    /// # Errors
    /// When the configuration is wrong, the key is missing, or the HTTP client cannot start.
    pub fn new(config: &HttpVenueConfig, instruments: Arc<Instruments>) -> Result<Self, VenueSetupError> {
        config.check()?;
        let key = config
            .key
            .load()
            .map_err(|source| VenueSetupError::Key { venue: config.name.clone(), source })?;
        Ok(Self {
            transport: Transport::new(&config.transport(), &key, Roots::of(&config.base_url))?,
            profile: config.profile(),
            updates_page_max: config.updates_page_max,
            instruments,
        })
    }

    /// What the venue promises.
    pub fn profile(&self) -> &VenueProfile {
        &self.profile
    }

    /// Cash and equity.
    ///
    /// # Errors
    /// When there is no reply, or none that can be read.
    pub async fn account(&self) -> Result<AccountState, Failure> {
        self.read("/api/account", wire::account).await
    }

    /// Shows market data to a paper venue, which alone takes it. Returns the number of its newest order change.
    ///
    /// # Errors
    /// When there is no reply, or the venue refuses.
    pub async fn publish(&self, ticks: &[MarketTick]) -> Result<u64, Failure> {
        #[derive(serde::Deserialize)]
        struct Shown {
            sequence: u64,
        }
        let body = serde_json::to_vec(ticks).map_err(|error| {
            Failure::new(Class::Logic, "market_encode", Phase::NotSent, error.to_string())
        })?;
        let exchange = self.transport.post("/__market", body).await;
        let body = classify::read_body(exchange.observation)?;
        let shown: Shown = serde_json::from_slice(&body)
            .map_err(|error| Failure::new(Class::Data, "market_reply", Phase::Done, error.to_string()))?;
        Ok(shown.sequence)
    }

    async fn read<T>(
        &self,
        path: &str,
        decode: impl FnOnce(&[u8]) -> Result<T, Undecodable>,
    ) -> Result<T, Failure> {
        let body = classify::read_body(self.transport.read(path).await.observation)?;
        decode(&body).map_err(|error| classify::undecodable(200, &error, Phase::Done))
    }

    fn reply(&self, ask: Ask, exchange: Exchange, about: IntentKey) -> Reply {
        let decode = |body: &[u8]| wire::order(body, about, &self.instruments);
        Reply {
            outcome: classify::classify(ask, exchange.observation, &self.profile, decode),
            latency: exchange.latency,
            retry_after: exchange.retry_after,
        }
    }
}

impl PriceSource for HttpVenue {
    fn instruments(&self) -> &Arc<Instruments> {
        &self.instruments
    }

    fn prices(&self) -> BoxFuture<'_, Result<Vec<PriceRow>, Failure>> {
        Box::pin(self.read("/api/prices", wire::prices))
    }
}

impl Venue for HttpVenue {
    fn send<'a>(&'a self, request: &'a Sendable) -> BoxFuture<'a, Reply> {
        Box::pin(async move {
            let (method, path, about) = match request.kind {
                RequestKind::Place => (Method::POST, "/api/trade".to_owned(), request.key),
                RequestKind::Cancel(target) => (Method::DELETE, format!("/api/orders/{target}"), target),
                RequestKind::Amend(target) => (Method::POST, format!("/api/orders/{target}/amend"), target),
            };
            let exchange = self.transport.write(method, &path, request.key, &request.body.0).await;
            self.reply(Ask::Order, exchange, about)
        })
    }

    fn query<'a>(&'a self, question: &'a Question) -> BoxFuture<'a, Reply> {
        Box::pin(async move {
            let about = match question.request.kind {
                RequestKind::Place => question.request.key,
                RequestKind::Cancel(target) | RequestKind::Amend(target) => target,
            };
            let exchange = self.transport.read(&format!("/api/orders/{about}")).await;
            self.reply(Ask::Query, exchange, about)
        })
    }

    fn baseline<'a>(&'a self, _: &'a Request) -> BoxFuture<'a, Result<Baseline, Failure>> {
        let text = "a venue that can be asked by key needs no baseline; this is a defect of the host";
        let failure = Failure::new(Class::Logic, "no_baseline", Phase::NotSent, text);
        Box::pin(async move { Err(failure) })
    }

    fn positions<'a>(&'a self) -> BoxFuture<'a, Result<Vec<VenuePosition>, Failure>> {
        Box::pin(self.read("/api/positions", |body| wire::positions(body, &self.instruments)))
    }

    fn updates<'a>(&'a self, after: u64) -> BoxFuture<'a, Result<UpdatesPage, Failure>> {
        Box::pin(async move {
            let path = format!("/api/updates?after={after}&limit={}", self.updates_page_max);
            self.read(&path, |body| wire::page(body, after, &self.instruments)).await
        })
    }

    fn probe<'a>(&'a self) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(async move { self.account().await.map(drop) })
    }
}
