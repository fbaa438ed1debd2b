//! The server: a thread of its own, who may use it, and its routes.

use super::answer::{Answer, Refused};
use super::limits::{self, Limits};
use super::{agents, letters, metrics, token};
use crate::agent::live::HostControl;
use crate::config::AdminConfig;
use crate::resilience::{Class, Classified};
use crate::venue::{Secret, SecretError};
use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, FromRequest, FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use axum::routing::{get, post};
use serde::de::DeserializeOwned;
use serde_json::json;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::Duration;
use thiserror::Error;
use tokio::sync::watch;

/// Why there is no admin API. Nothing has been started then.
#[derive(Debug, Error)]
pub enum AdminError {
    /// Somebody else listens there, or nobody can.
    #[error(
        "admin.listen: cannot listen on {address}: {error}; when another host runs there, stop it or choose another port"
    )]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Why.
        error: std::io::Error,
    },
    /// There is no token.
    #[error("admin.token: {place}: {error}")]
    Token {
        /// Where it was looked for.
        place: String,
        /// Why.
        error: SecretError,
    },
    /// A token cannot be made.
    #[error(
        "admin.token: cannot make {}: {error}; make its folder, or write a token of your own into it", path.display()
    )]
    MakeToken {
        /// Which file.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// The system gives no thread, or no way to wait for connections.
    #[error("cannot start the admin API: {0}")]
    System(std::io::Error),
    /// Nobody could find the API.
    #[error("cannot write {}: {error}; make room, or let this user write there", path.display())]
    Address {
        /// Which file.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
}

impl Classified for AdminError {
    fn class(&self) -> Class {
        match self {
            Self::Listen { .. } | Self::MakeToken { .. } | Self::System(_) | Self::Address { .. } => {
                Class::Resource
            }
            Self::Token { error, .. } => error.class(),
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Listen { .. } => "admin_listen",
            Self::Token { error, .. } => error.code(),
            Self::MakeToken { .. } => "admin_token",
            Self::System(_) => "admin_system",
            Self::Address { .. } => "admin_address",
        }
    }
}

/// What every request works with.
pub(super) struct Served {
    /// Nothing until the host has started.
    control: OnceLock<HostControl>,
    token: Secret,
    /// Who somebody is that has the token: the place where it is found.
    who: String,
    pub limits: Limits,
    pub look_timeout: Duration,
}

/// A listening admin API. It ends when this is dropped.
pub struct AdminServer {
    address: SocketAddr,
    served: Arc<Served>,
    stop: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
    address_file: OnceLock<PathBuf>,
}

impl AdminServer {
    /// Starts to listen. Until [`AdminServer::serve`] it says of itself that the host is starting.
    ///
    /// # Errors
    /// When the address is taken, or the token is missing and cannot be made.
    pub fn start(config: &AdminConfig) -> Result<Self, AdminError> {
        let listen = |error| AdminError::Listen { address: config.listen, error };
        // Before the token: a second host on the same configuration makes none.
        let listener = std::net::TcpListener::bind(config.listen).map_err(listen)?;
        listener.set_nonblocking(true).map_err(listen)?;
        let address = listener.local_addr().map_err(listen)?;
        let served = Arc::new(Served {
            control: OnceLock::new(),
            token: token::load_or_make(&config.token)?,
            who: config.token.to_string(),
            limits: Limits::new(config),
            look_timeout: Duration::from_millis(config.look_timeout_ms.get()),
        });
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(AdminError::System)?;
        let (stop, stopping) = watch::channel(false);
        let app = router(Arc::clone(&served), usize::try_from(config.body_bytes_max).unwrap_or(usize::MAX));
        let limits = served.limits.clone();
        let serve = move || runtime.block_on(limits::serve(listener, app, limits, stopping));
        let thread =
            std::thread::Builder::new().name("admin".into()).spawn(serve).map_err(AdminError::System)?;
        Ok(Self { address, served, stop, thread: Some(thread), address_file: OnceLock::new() })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves a host, and says in its data folder where.
    ///
    /// # Errors
    /// When that cannot be written.
    pub fn serve(&self, control: HostControl, data_dir: &Path) -> Result<(), AdminError> {
        let path = data_dir.join(token::ADDRESS_FILE);
        let unnamed = path.with_extension("new");
        // Whoever reads it finds all of it.
        std::fs::write(&unnamed, format!("{}\n", self.address))
            .and_then(|()| std::fs::rename(&unnamed, &path))
            .map_err(|error| AdminError::Address { path: path.clone(), error })?;
        let _ = self.address_file.set(path);
        let _ = self.served.control.set(control);
        Ok(())
    }
}

impl Drop for AdminServer {
    fn drop(&mut self) {
        let _ = self.stop.send(true);
        if let Some(path) = self.address_file.get() {
            let _ = std::fs::remove_file(path);
        }
        if let Some(thread) = self.thread.take() {
            // A panic there has ended it as well.
            let _ = thread.join();
        }
    }
}

fn router(served: Arc<Served>, body_bytes_max: usize) -> Router {
    let with_token = Router::new()
        .route("/metrics", get(metrics::show))
        .route("/v1/agents", get(agents::list))
        .route("/v1/agents/{name}", get(agents::show))
        .route("/v1/agents/{name}/swap", post(agents::swap))
        .route("/v1/agents/{name}/rollback", post(agents::rollback))
        .route("/v1/agents/{name}/release", post(agents::release))
        .route("/v1/agents/{name}/floor", post(agents::floor))
        .route("/v1/agents/{name}/say", post(agents::say))
        .route("/v1/dlq", get(letters::list))
        .route("/v1/dlq/{id}", get(letters::show))
        .route("/v1/dlq/{id}/replay", post(letters::replay))
        .route("/v1/dlq/{id}/reissue", post(letters::reissue))
        .route("/v1/dlq/{id}/resolve", post(letters::resolve))
        .route("/v1/stop", post(stop))
        .route_layer(from_fn_with_state(Arc::clone(&served), check_token));
    Router::new()
        .route("/healthz", get(|| async { Answer::ok(&json!({ "ok": true })) }))
        .route("/readyz", get(ready))
        .merge(with_token)
        .fallback(|| async {
            Refused::new(
                StatusCode::NOT_FOUND,
                Class::Data,
                "no_such_path",
                "see the list of paths in the documentation",
            )
        })
        .method_not_allowed_fallback(|| async {
            let advice = "what changes something is POST, what only looks is GET";
            Refused::new(StatusCode::METHOD_NOT_ALLOWED, Class::Data, "wrong_method", advice)
        })
        .layer(DefaultBodyLimit::max(body_bytes_max))
        .layer(from_fn_with_state(Arc::clone(&served), limits::hold))
        .with_state(served)
}

async fn check_token(
    State(served): State<Arc<Served>>,
    request: Request,
    next: Next,
) -> Result<Response, Refused> {
    let given = request.headers().get(header::AUTHORIZATION).map(header::HeaderValue::as_bytes);
    let token = given.and_then(|given| given.strip_prefix(b"Bearer "));
    if token.is_some_and(|token| served.token.is(token)) {
        return Ok(next.run(request).await);
    }
    let found = if given.is_some() { "another one was sent" } else { "none was sent" };
    tracing::warn!(
        class = "api",
        code = "admin_unauthorized",
        path = request.uri().path(),
        "a request without the token: {found}"
    );
    let message = format!(
        "expected Authorization: Bearer with the token of this host, and {found}; it is in {}",
        served.who
    );
    Err(Refused::new(StatusCode::UNAUTHORIZED, Class::Api, "unauthorized", message))
}

async fn ready(Control(control): Control) -> Result<Answer, Refused> {
    if control.is_ready() {
        return Ok(Answer::ok(&json!({ "ready": true })));
    }
    let message = "agents still hold their books against their venues; ask again";
    Err(Refused::new(StatusCode::SERVICE_UNAVAILABLE, Class::Network, "not_ready", message))
}

async fn stop(Control(control): Control, who: Who) -> Answer {
    control.stop();
    who.did("stop the host", None, &Ok(()));
    Answer::accepted(&json!({ "stopping": true }))
}

/// The host, once it has started.
pub(super) struct Control(pub HostControl);

impl FromRequestParts<Arc<Served>> for Control {
    type Rejection = Refused;

    async fn from_request_parts(_: &mut Parts, served: &Arc<Served>) -> Result<Self, Refused> {
        served.control.get().cloned().map(Self).ok_or_else(|| {
            let message = "the host is starting; ask again";
            Refused::new(StatusCode::SERVICE_UNAVAILABLE, Class::State, "starting", message)
        })
    }
}

/// Who asks. What they change is logged under this name, with its outcome.
pub(super) struct Who(String);

impl FromRequestParts<Arc<Served>> for Who {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(_: &mut Parts, served: &Arc<Served>) -> Result<Self, Self::Rejection> {
        Ok(Self(served.who.clone()))
    }
}

/// Target of the lines that say who changed what.
const AUDIT: &str = "audit";

impl Who {
    /// Says in the log what somebody did, or could not do.
    pub fn did<T>(&self, what: &str, agent: Option<&str>, outcome: &Result<T, Refused>) {
        let (agent, who) = (agent.unwrap_or("-").escape_debug(), &self.0);
        // What they write must not look like another line.
        let what = what.escape_debug();
        match outcome {
            Ok(_) => tracing::info!(target: AUDIT, %agent, "{what}: taken, with the token in {who}"),
            Err(refused) => tracing::warn!(target: AUDIT, %agent, code = refused.code(),
                "{what}: refused, with the token in {who}: {}", refused.message().escape_debug()),
        }
    }
}

/// The body of a request, as JSON. None at all is an empty object.
pub(super) struct Json<T>(pub T);

impl<T: DeserializeOwned> FromRequest<Arc<Served>> for Json<T> {
    type Rejection = Refused;

    async fn from_request(request: Request, served: &Arc<Served>) -> Result<Self, Refused> {
        let bytes = Bytes::from_request(request, served).await.map_err(|rejection| {
            Refused::new(rejection.status(), Class::Data, "body", rejection.body_text())
        })?;
        let bytes: &[u8] = if bytes.is_empty() { b"{}" } else { &bytes };
        serde_json::from_slice(bytes)
            .map(Self)
            .map_err(|error| Refused::new(StatusCode::BAD_REQUEST, Class::Data, "body", error.to_string()))
    }
}
