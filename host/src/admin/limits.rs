//! How many may ask how much at a time, and for how long.

use super::answer::Refused;
use super::server::Served;
use crate::config::AdminConfig;
use crate::resilience::Class;
use axum::Router;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::Response;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

/// How long requests under way may take when the host ends.
const STOP_GRACE: Duration = Duration::from_secs(2);

/// What is left, and how long things may take.
#[derive(Clone)]
pub(super) struct Limits {
    connections: Arc<Semaphore>,
    requests: Arc<Semaphore>,
    requests_max: u32,
    header_timeout: Duration,
    request_timeout: Duration,
}

impl Limits {
    pub fn new(config: &AdminConfig) -> Self {
        let permits = |max: u32| Arc::new(Semaphore::new(usize::try_from(max).unwrap_or(usize::MAX)));
        Self {
            connections: permits(config.connections_max.get()),
            requests: permits(config.requests_max.get()),
            requests_max: config.requests_max.get(),
            header_timeout: Duration::from_millis(config.header_timeout_ms.get()),
            request_timeout: Duration::from_millis(config.request_timeout_ms.get()),
        }
    }
}

/// Answers one request, when there is room for it and in time.
pub(super) async fn hold(
    State(served): State<Arc<Served>>,
    request: Request,
    next: Next,
) -> Result<Response, Refused> {
    let limits = &served.limits;
    let Ok(_permit) = limits.requests.try_acquire() else {
        let message =
            format!("{} requests are under way (limit admin.requests_max); ask again", limits.requests_max);
        return Err(Refused::new(StatusCode::SERVICE_UNAVAILABLE, Class::Resource, "admin_busy", message));
    };
    tokio::time::timeout(limits.request_timeout, next.run(request)).await.map_err(|_| {
        let message = format!(
            "not answered within {} ms (limit admin.request_timeout_ms); look whether it was done before you ask again",
            limits.request_timeout.as_millis()
        );
        Refused::new(StatusCode::SERVICE_UNAVAILABLE, Class::Resource, "admin_timeout", message)
    })
}

/// Serves connections until told to stop.
pub(super) async fn serve(
    listener: std::net::TcpListener,
    app: Router,
    limits: Limits,
    mut stopping: watch::Receiver<bool>,
) {
    let listener = match TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => {
            tracing::error!(
                class = "resource",
                code = "admin_system",
                "the admin API does not listen: {error}"
            );
            return;
        }
    };
    let mut connections = JoinSet::new();
    loop {
        // Before the connection is taken: what waits in the system's queue costs nothing.
        let permit = tokio::select! {
            permit = Arc::clone(&limits.connections).acquire_owned() => permit,
            _ = stopping.wait_for(|stop| *stop) => break,
        };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stopping.wait_for(|stop| *stop) => break,
        };
        // What has ended is forgotten.
        while connections.try_join_next().is_some() {}
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                // The client has gone, or descriptors have run out, which passes.
                tracing::warn!(
                    class = "resource",
                    code = "admin_accept",
                    "no connection to the admin API: {error}"
                );
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let (app, header_timeout, mut stopping) = (app.clone(), limits.header_timeout, stopping.clone());
        connections.spawn(async move {
            let _permit = permit;
            let mut http = hyper::server::conn::http1::Builder::new();
            http.timer(TokioTimer::new()).header_read_timeout(header_timeout);
            let connection = http.serve_connection(TokioIo::new(stream), TowerToHyperService::new(app));
            let mut connection = std::pin::pin!(connection);
            tokio::select! {
                // A client that breaks off harms itself only.
                _ = connection.as_mut() => return,
                _ = stopping.wait_for(|stop| *stop) => connection.as_mut().graceful_shutdown(),
            }
            let _ = connection.await;
        });
    }
    drop(listener);
    let ended = async { while connections.join_next().await.is_some() {} };
    let _ = tokio::time::timeout(STOP_GRACE, ended).await;
}
