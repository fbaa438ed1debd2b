//! The paper venue's server: routes, keys, start and end.

use super::api::Answer;
use super::config::{PaperConfig, PaperError};
use super::engine::{AccountId, Command, Engine};
use super::lies::Lies;
use super::market::{MarketError, MarketTick};
use super::truth::Truth;
use crate::orders::Digest;
use crate::resilience::Classified as _;
use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, FromRequestParts, Path, Query, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use axum::routing::{get, post};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

/// How long a stopping venue waits for a client that has begun a request and does not end it.
const STOP_GRACE: Duration = Duration::from_secs(5);

/// The paper venue.
#[derive(Clone, Copy, Debug)]
pub struct PaperVenue;

/// A running paper venue. It stops when this is dropped.
#[derive(Debug)]
pub struct PaperHandle {
    address: SocketAddr,
    shared: Arc<Shared>,
    stop: watch::Sender<bool>,
    server: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    engine: Mutex<Engine>,
    /// By the digest of the key, so that looking a key up says nothing about how much of it was right.
    accounts: BTreeMap<Digest, AccountId>,
    process_latency: Duration,
    stopping: watch::Receiver<bool>,
}

impl Shared {
    fn engine(&self) -> MutexGuard<'_, Engine> {
        // The engine is left consistent by whoever panicked: it does not panic between two of its writes.
        self.engine.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl PaperVenue {
    /// Starts a venue on 127.0.0.1, on the current tokio runtime.
    ///
    /// # Errors
    /// When the configuration is wrong, a key is missing, or the port is taken.
    pub async fn start(config: PaperConfig) -> Result<PaperHandle, PaperError> {
        config.check()?;
        let accounts = load_keys(&config)?;
        let port = config.port;
        let bind_failed = |source| PaperError::Bind { port, source };
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await.map_err(bind_failed)?;
        let address = listener.local_addr().map_err(bind_failed)?;
        let (stop, stopping) = watch::channel(false);
        let body_bytes_max = config.body_bytes_max;
        let shared = Arc::new(Shared {
            process_latency: Duration::from_millis(config.process_latency_ms),
            engine: Mutex::new(Engine::new(config)),
            accounts,
            stopping: stopping.clone(),
        });
        let app = router(Arc::clone(&shared), body_bytes_max);
        let server = tokio::spawn(async move {
            let served = axum::serve(listener, app).with_graceful_shutdown(stopped(stopping)).await;
            if let Err(error) = served {
                tracing::error!(%error, "the paper venue stopped");
            }
        });
        Ok(PaperHandle { address, shared, stop, server })
    }
}

fn load_keys(config: &PaperConfig) -> Result<BTreeMap<Digest, AccountId>, PaperError> {
    let mut accounts = BTreeMap::new();
    for (position, account) in config.accounts.iter().enumerate() {
        let name = || account.name.clone();
        let secret = account.key.load().map_err(|source| PaperError::Key { account: name(), source })?;
        let digest = Digest::of(secret.expose().as_bytes());
        if accounts.insert(digest, AccountId(position)).is_some() {
            return Err(PaperError::Twice { what: "the key of account", name: name() });
        }
    }
    Ok(accounts)
}

/// Resolves when the venue is told to stop, or when nobody is left who could tell it.
async fn stopped(mut stopping: watch::Receiver<bool>) {
    let _ = stopping.wait_for(|stop| *stop).await;
}

impl PaperHandle {
    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.address
    }

    /// Its address as the base URL of a venue of kind `http`.
    pub fn base_url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Takes ticks in order, all or none, as `POST /__market` does. Returns the number of the newest update.
    ///
    /// # Errors
    /// When a tick names no instrument of this venue or a price that cannot be.
    pub fn push_market(&self, ticks: &[MarketTick]) -> Result<u64, MarketError> {
        self.shared.engine().push(ticks)
    }

    /// Takes ticks from a channel until it is closed or the venue stops. A list that is refused is logged
    /// and skipped.
    pub fn drive(&self, mut ticks: mpsc::Receiver<Vec<MarketTick>>) {
        let shared = Arc::clone(&self.shared);
        tokio::spawn(async move {
            let stopping = shared.stopping.clone();
            let feed = async {
                while let Some(ticks) = ticks.recv().await {
                    if let Err(error) = shared.engine().push(&ticks) {
                        tracing::warn!(%error, "the paper venue skipped market data");
                    }
                }
            };
            tokio::select! {
                () = feed => (),
                () = stopped(stopping) => (),
            }
        });
    }

    /// Says this from now on, whatever is true.
    pub fn lie(&self, lies: Lies) {
        self.shared.engine().lies = lies;
    }

    /// The whole ledger.
    pub fn truth(&self) -> Truth {
        self.shared.engine().truth()
    }

    /// Stops listening and waits until the requests under way are answered. Those that wait for their
    /// turn are answered 503 and not executed.
    pub async fn shutdown(mut self) {
        let _ = self.stop.send(true);
        if tokio::time::timeout(STOP_GRACE, &mut self.server).await.is_err() {
            self.server.abort();
        }
    }
}

impl Drop for PaperHandle {
    fn drop(&mut self) {
        let _ = self.stop.send(true);
    }
}

fn router(shared: Arc<Shared>, body_bytes_max: usize) -> Router {
    Router::new()
        .route("/api/trade", post(place))
        .route("/api/orders/{client_id}", get(order).delete(cancel))
        .route("/api/orders/{client_id}/amend", post(amend))
        .route("/api/updates", get(updates))
        .route(
            "/api/positions",
            get(|caller: Caller, State(s): Shares| async move { s.engine().positions(caller.0) }),
        )
        .route(
            "/api/account",
            get(|caller: Caller, State(s): Shares| async move { s.engine().account(caller.0) }),
        )
        .route("/api/prices", get(|_: Caller, State(s): Shares| async move { s.engine().prices() }))
        .route("/__market", post(market))
        .route("/__truth", get(|_: Caller, State(s): Shares| async move { Answer::ok(&s.engine().truth()) }))
        .fallback(|| async {
            Answer::refused(404, "no_such_path", "see the list of paths in the documentation")
        })
        .layer(DefaultBodyLimit::max(body_bytes_max))
        .with_state(shared)
}

type Shares = State<Arc<Shared>>;

/// The account whose key a request carries. A handler without one does not know whom it serves.
struct Caller(AccountId);

impl FromRequestParts<Arc<Shared>> for Caller {
    type Rejection = Answer;

    async fn from_request_parts(parts: &mut Parts, shared: &Arc<Shared>) -> Result<Self, Answer> {
        let header = parts.headers.get(header::AUTHORIZATION);
        let key = header.and_then(|value| value.as_bytes().strip_prefix(b"Bearer "));
        let account = key.and_then(|key| shared.accounts.get(&Digest::of(key)));
        account.copied().map(Self).ok_or_else(|| {
            Answer::refused(401, "unauthorized", "send Authorization: Bearer with the key of an account")
        })
    }
}

async fn place(caller: Caller, State(shared): Shares, headers: HeaderMap, body: Bytes) -> Answer {
    change(caller, shared, &headers, Command::Place, body).await
}

async fn amend(
    caller: Caller,
    State(shared): Shares,
    Path(client_id): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Answer {
    change(caller, shared, &headers, Command::Amend(client_id), body).await
}

async fn cancel(
    caller: Caller,
    State(shared): Shares,
    Path(client_id): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Answer {
    change(caller, shared, &headers, Command::Cancel(client_id), body).await
}

async fn order(caller: Caller, State(shared): Shares, Path(client_id): Path<String>) -> Answer {
    shared.engine().order(caller.0, &client_id)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PageQuery {
    #[serde(default)]
    after: u64,
    #[serde(default = "all")]
    limit: usize,
}

fn all() -> usize {
    usize::MAX
}

async fn updates(caller: Caller, State(shared): Shares, Query(page): Query<PageQuery>) -> Answer {
    shared.engine().updates(caller.0, page.after, page.limit)
}

async fn market(_: Caller, State(shared): Shares, body: Bytes) -> Answer {
    #[derive(Serialize)]
    struct Taken {
        ticks: usize,
        sequence: u64,
    }
    let ticks: Vec<MarketTick> = match serde_json::from_slice(&body) {
        Ok(ticks) => ticks,
        Err(error) => return Answer::refused(400, "invalid_json", &error.to_string()),
    };
    match shared.engine().push(&ticks) {
        Ok(sequence) => Answer::ok(&Taken { ticks: ticks.len(), sequence }),
        Err(error) => Answer::refused(400, error.code(), &error.to_string()),
    }
}

async fn change(
    Caller(account): Caller,
    shared: Arc<Shared>,
    headers: &HeaderMap,
    command: Command,
    body: Bytes,
) -> Answer {
    let key = headers.get("idempotency-key").and_then(|key| key.to_str().ok()).unwrap_or_default().to_owned();
    if let Err(answer) = shared.engine().begin(account, &key, fingerprint(&command, &body)) {
        return answer;
    }
    if shared.process_latency.is_zero() {
        return shared.engine().execute(account, &key, &command, &body);
    }
    // A task of its own: a client that goes away while its order waits does not take the order with it.
    let running = tokio::spawn(async move {
        tokio::select! {
            () = tokio::time::sleep(shared.process_latency) => {
                shared.engine().execute(account, &key, &command, &body)
            }
            () = stopped(shared.stopping.clone()) => {
                shared.engine().release(account, &key);
                Answer::refused(503, "stopping", "the venue is stopping; the request was not executed")
            }
        }
    });
    running.await.unwrap_or_else(|_| Answer::refused(500, "internal", "the request broke off"))
}

/// What makes two requests under one key the same request: what they are about, and every byte of the body.
fn fingerprint(command: &Command, body: &[u8]) -> Digest {
    let (name, target) = match command {
        Command::Place => ("place", ""),
        Command::Amend(target) => ("amend", target.as_str()),
        Command::Cancel(target) => ("cancel", target.as_str()),
    };
    let mut text = format!("{name}\0{target}\0").into_bytes();
    text.extend_from_slice(body);
    Digest::of(&text)
}
