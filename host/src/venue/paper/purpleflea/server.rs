//! The server: connections in, the engine's decisions out.
//!
//! It speaks HTTP/1.1 itself, since no framework lets a handler reset its connection or send a reply a byte at a time.

use super::super::config::PaperError;
use super::super::market::{MarketError, MarketTick};
use super::clock::PaperClock;
use super::config::FleaConfig;
use super::engine::{Delivery, Engine};
use super::faults::{FaultError, FleaFaults};
use super::request::Incoming;
use super::truth::FleaTruth;
use super::wire::Reply;
use crate::orders::Digest;
use crate::resilience::Classified as _;
use crate::venue::message::{self, Kind, Limits, Message, MessageError};
use serde::Serialize;
use serde_json::json;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};

/// How often a venue with a running clock looks whether something is due.
const TICK: Duration = Duration::from_millis(50);

/// The paper venue in the dialect of Purple Flea.
#[derive(Clone, Copy, Debug)]
pub struct FleaVenue;

/// A running venue. It stops when this is dropped.
#[derive(Debug)]
pub struct FleaHandle {
    address: SocketAddr,
    clock: PaperClock,
    shared: Arc<Shared>,
    stop: watch::Sender<bool>,
    server: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    engine: Mutex<Engine>,
    limits: Limits,
}

impl Shared {
    fn engine(&self) -> MutexGuard<'_, Engine> {
        // The engine is left consistent by whoever panicked: it does not panic between two of its writes.
        self.engine.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl FleaVenue {
    /// Starts a venue on 127.0.0.1, on the current tokio runtime.
    ///
    /// # Errors
    /// When the configuration is wrong, a key is missing, or the port is taken.
    pub async fn start(config: FleaConfig, clock: PaperClock) -> Result<FleaHandle, PaperError> {
        config.check()?;
        config.faults.check()?;
        let keys = load_keys(&config)?;
        let port = config.port;
        let bind_failed = |source| PaperError::Bind { port, source };
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await.map_err(bind_failed)?;
        let address = listener.local_addr().map_err(bind_failed)?;
        let (stop, stopping) = watch::channel(false);
        let limits = Limits { head_bytes_max: config.head_bytes_max, body_bytes_max: config.body_bytes_max };
        let connections_max = config.connections_max;
        let engine = Mutex::new(Engine::new(config, &keys, clock.clone()));
        let shared = Arc::new(Shared { engine, limits });
        let serving = serve(listener, Arc::clone(&shared), connections_max, clock.runs(), stopping);
        Ok(FleaHandle { address, clock, shared, stop, server: tokio::spawn(serving) })
    }
}

fn load_keys(config: &FleaConfig) -> Result<Vec<Digest>, PaperError> {
    let mut keys = Vec::new();
    for account in &config.accounts {
        let name = || account.name.clone();
        let secret = account.key.load().map_err(|source| PaperError::Key { account: name(), source })?;
        let digest = Digest::of(secret.expose().as_bytes());
        if keys.contains(&digest) {
            return Err(PaperError::Twice { what: "the key of account", name: name() });
        }
        keys.push(digest);
    }
    Ok(keys)
}

impl FleaHandle {
    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.address
    }

    /// Its address as the base URL of a client.
    pub fn base_url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The time that the venue lives in.
    pub fn clock(&self) -> &PaperClock {
        &self.clock
    }

    /// Moves the clock forward and does what falls due: late requests, and a look at the resting orders.
    pub fn advance_ms(&self, ms: u64) {
        self.clock.advance_ms(ms);
        self.shared.engine().catch_up();
    }

    /// Takes ticks in order, all or none, as `POST /__market` does. The server's cache may not show them yet.
    ///
    /// # Errors
    /// When a tick names no coin of this venue or a price that cannot be.
    pub fn push_market(&self, ticks: &[MarketTick]) -> Result<(), MarketError> {
        self.shared.engine().push(ticks)
    }

    /// Takes ticks from a channel until it is closed or the venue stops. A list that is refused is logged and skipped.
    pub fn drive(&self, mut ticks: mpsc::Receiver<Vec<MarketTick>>) {
        let (shared, stopping) = (Arc::clone(&self.shared), self.stop.subscribe());
        tokio::spawn(async move {
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

    /// The faults as they are now; rules for the next requests count down.
    pub fn faults(&self) -> FleaFaults {
        self.shared.engine().faults().clone()
    }

    /// Sets what goes wrong from the next request on.
    ///
    /// # Errors
    /// When a rule makes no sense; the faults stay as they were.
    pub fn set_faults(&self, faults: FleaFaults) -> Result<(), FaultError> {
        self.shared.engine().set_faults(faults)
    }

    /// The whole ledger.
    pub fn truth(&self) -> FleaTruth {
        self.shared.engine().truth()
    }

    /// Stops listening and cuts every connection. What was received is handled.
    pub async fn shutdown(mut self) {
        let _ = self.stop.send(true);
        // An error means that the task panicked or was aborted; it is gone in both cases.
        let _ = (&mut self.server).await;
    }
}

impl Drop for FleaHandle {
    fn drop(&mut self) {
        let _ = self.stop.send(true);
    }
}

/// Resolves when the venue is told to stop, or when nobody is left who could tell it.
async fn stopped(mut stopping: watch::Receiver<bool>) {
    let _ = stopping.wait_for(|stop| *stop).await;
}

async fn serve(
    listener: TcpListener,
    shared: Arc<Shared>,
    connections_max: usize,
    clock_runs: bool,
    stopping: watch::Receiver<bool>,
) {
    let permits = Arc::new(Semaphore::new(connections_max));
    // Dropped with this function, and with it every connection.
    let mut connections = JoinSet::new();
    let mut tick = tokio::time::interval(TICK);
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((client, _)) => match Arc::clone(&permits).try_acquire_owned() {
                    Ok(permit) => {
                        let shared = Arc::clone(&shared);
                        connections.spawn(async move {
                            connection(client, &shared).await;
                            drop(permit);
                        });
                    }
                    Err(_) => reset(client),
                },
                // The client went away before it was accepted, or descriptors ran out: others may do better.
                Err(error) => {
                    tracing::debug!(%error, "paper venue");
                    tokio::task::yield_now().await;
                }
            },
            _ = connections.join_next(), if !connections.is_empty() => (),
            _ = tick.tick(), if clock_runs => shared.engine().catch_up(),
            () = stopped(stopping.clone()) => return,
        }
    }
}

async fn connection(mut client: TcpStream, shared: &Shared) {
    let mut buffer = Vec::new();
    loop {
        let (reply, last) = match message::read(&mut client, &mut buffer, Kind::Request, shared.limits).await
        {
            Ok(None) | Err(MessageError::Io(_) | MessageError::Incomplete) => return,
            Err(MessageError::Unsupported) => {
                let message = "this paper venue reads HTTP/1.1 with a content-length";
                (Delivery::Send(Reply::error(400, "bad_request", message)), true)
            }
            Err(MessageError::TooLarge) => {
                let message = "the request is larger than this paper venue takes";
                (Delivery::Send(Reply::error(413, "payload_too_large", message)), true)
            }
            Ok(Some(request)) => (receive(shared, &request), request.last),
        };
        let sent = match &reply {
            Delivery::Reset => return reset(client),
            Delivery::Send(reply) => client.write_all(&bytes(reply, last)).await,
            Delivery::Trickle(reply, over) => trickle(&mut client, &bytes(reply, last), *over).await,
        };
        if sent.is_err() || last {
            return;
        }
    }
}

fn receive(shared: &Shared, message: &Message) -> Delivery {
    match incoming(message) {
        Some(request) if request.path.starts_with("/__") => Delivery::Send(control(shared, &request)),
        Some(request) => shared.engine().receive(request),
        None => Delivery::Send(Reply::error(400, "bad_request", "the request cannot be read")),
    }
}

fn incoming(message: &Message) -> Option<Incoming> {
    let mut headers = [httparse::EMPTY_HEADER; message::HEADERS_MAX];
    let mut request = httparse::Request::new(&mut headers);
    request.parse(&message.bytes).ok()?;
    let header = |name: &str| {
        let found = request.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name))?;
        Some(String::from_utf8_lossy(found.value).trim().to_owned())
    };
    let (path, query) = request.path?.split_once('?').unwrap_or((request.path?, ""));
    let forwarded =
        header("x-forwarded-for").and_then(|list| Some(list.split(',').next()?.trim().to_owned()));
    Some(Incoming {
        method: request.method?.to_owned(),
        path: path.to_owned(),
        query: query.to_owned(),
        authorization: header("authorization"),
        idempotency_key: header("idempotency-key"),
        address: forwarded
            .filter(|address| !address.is_empty())
            .or_else(|| header("x-real-ip"))
            .unwrap_or_else(|| "unknown".into()),
        body: message.bytes.get(message.body()).unwrap_or_default().to_vec(),
    })
}

/// What is not part of the API: market data, the truth and the faults.
fn control(shared: &Shared, request: &Incoming) -> Reply {
    let mut engine = shared.engine();
    if !engine.knows(request.key()) {
        let message = "send Authorization: Bearer with the key of an account";
        return Reply::error(401, "unauthorized", message);
    }
    let invalid = |error: serde_json::Error| Reply::error(400, "invalid_json", &error.to_string());
    match (request.method.as_str(), request.path.as_str()) {
        ("POST", "/__market") => match serde_json::from_slice::<Vec<MarketTick>>(&request.body) {
            Err(error) => invalid(error),
            Ok(ticks) => match engine.push(&ticks) {
                Ok(()) => plain(&json!({ "ticks": ticks.len(), "sequence": 0 })),
                Err(error) => Reply::error(400, error.code(), &error.to_string()),
            },
        },
        ("GET", "/__truth") => plain(&engine.truth()),
        ("GET", "/__faults") => plain(engine.faults()),
        ("POST", "/__faults") => match serde_json::from_slice(&request.body) {
            Err(error) => invalid(error),
            Ok(faults) => match engine.set_faults(faults) {
                Ok(()) => plain(engine.faults()),
                Err(error) => Reply::error(400, error.code(), &error.to_string()),
            },
        },
        ("DELETE", "/__faults") => match engine.set_faults(FleaFaults::default()) {
            Ok(()) => plain(engine.faults()),
            Err(error) => Reply::error(400, error.code(), &error.to_string()),
        },
        _ => Reply::error(404, "no_such_path", "expected /__market, /__truth or /__faults"),
    }
}

/// JSON without the server's tail: what is not part of the API is read back as it was written.
fn plain(body: &impl Serialize) -> Reply {
    match serde_json::to_string(body) {
        Ok(body) => Reply::stored(200, body.into()),
        Err(error) => Reply::error(500, "internal", &error.to_string()),
    }
}

/// A reply on the wire. Beside what HTTP needs it has the content type and no other header.
fn bytes(reply: &Reply, last: bool) -> Vec<u8> {
    let Reply { status, content_type, body, retry_after_s } = reply;
    let reason = axum::http::StatusCode::from_u16(*status).ok().and_then(|status| status.canonical_reason());
    let mut head =
        format!("HTTP/1.1 {status} {}\r\ncontent-type: {content_type}\r\n", reason.unwrap_or("Unknown"));
    if let Some(seconds) = retry_after_s {
        head.push_str(&format!("retry-after: {seconds}\r\n"));
    }
    if last {
        head.push_str("connection: close\r\n");
    }
    head.push_str(&format!("content-length: {}\r\n\r\n{body}", body.len()));
    head.into_bytes()
}

/// Sends a byte at a time, so that no read of the client ever waits long enough to fail.
async fn trickle(client: &mut TcpStream, bytes: &[u8], over: Duration) -> std::io::Result<()> {
    let pause = over / u32::try_from(bytes.len()).unwrap_or(u32::MAX).max(1);
    for byte in bytes {
        client.write_all(std::slice::from_ref(byte)).await?;
        tokio::time::sleep(pause).await;
    }
    Ok(())
}

/// Closes with a reset: the client sees an error and not an end.
fn reset(client: TcpStream) {
    // Without the option the connection ends in order, which a client also takes for a broken reply.
    let _ = client.set_zero_linger();
}
