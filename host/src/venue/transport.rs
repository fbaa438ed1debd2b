//! One HTTP exchange with reqwest, observed and not judged. Every venue over HTTP uses it.

use super::observation::{Answer, Observation, TransportError, TransportKind, excerpt};
use super::setup::VenueSetupError;
use super::{RetryAfterHeader, Secret};
use crate::orders::IntentKey;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, DATE, HeaderMap, HeaderValue, RETRY_AFTER};
use reqwest::{Method, Response};
use std::error::Error;
use std::time::Duration;
use tokio::time::Instant;

const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// A client for one venue and one key.
#[derive(Debug)]
pub(super) struct Transport {
    client: reqwest::Client,
    base: String,
    reply_bytes_max: usize,
}

/// Where a client connects to, and its limits.
#[derive(Clone, Copy, Debug)]
pub(super) struct TransportConfig<'a> {
    /// Name of the venue, for messages.
    pub(super) venue: &'a str,
    pub(super) base_url: &'a str,
    pub(super) request_timeout_ms: u64,
    pub(super) connect_timeout_ms: u64,
    pub(super) reply_bytes_max: usize,
    pub(super) idle_connections_max: usize,
}

/// What happened, how long it took, and how long the venue asks to be left alone.
#[derive(Debug)]
pub(super) struct Exchange {
    pub(super) observation: Observation,
    pub(super) latency: Duration,
    pub(super) retry_after: Option<RetryAfterHeader>,
}

/// Whom TLS trusts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Roots {
    /// The root certificates of the system.
    System,
    /// Nobody: for plain HTTP, which must not fail on a machine without certificates.
    Nobody,
}

impl Roots {
    pub(super) fn of(base_url: &str) -> Self {
        if base_url.starts_with("https") { Self::System } else { Self::Nobody }
    }
}

impl Transport {
    pub(super) fn new(
        config: &TransportConfig<'_>,
        key: &Secret,
        roots: Roots,
    ) -> Result<Self, VenueSetupError> {
        let failed = |detail: String| VenueSetupError::Client { venue: config.venue.to_owned(), detail };
        let mut bearer = HeaderValue::try_from(format!("Bearer {}", key.expose()))
            .map_err(|_| failed("the API key does not fit a header".into()))?;
        bearer.set_sensitive(true);
        // An error means that the embedding program has chosen a provider already; that one is used.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut builder = reqwest::Client::builder()
            .default_headers(HeaderMap::from_iter([(AUTHORIZATION, bearer)]))
            .timeout(Duration::from_millis(config.request_timeout_ms))
            .connect_timeout(Duration::from_millis(config.connect_timeout_ms))
            .pool_max_idle_per_host(config.idle_connections_max)
            // The core retries, and nobody else: a second send below it would be one that no journal saw. What
            // cannot be switched off is that hyper takes a request which it has not begun to write from a
            // pooled connection that just closed to a new one; no byte of it is ever sent twice.
            .retry(reqwest::retry::never())
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy();
        if roots == Roots::Nobody {
            builder = builder.tls_certs_only([]);
        }
        let client = builder.build().map_err(|error| failed(describe(error)))?;
        let base = config.base_url.trim_end_matches('/').to_owned();
        Ok(Self { client, base, reply_bytes_max: config.reply_bytes_max })
    }

    pub(super) async fn read(&self, path: &str) -> Exchange {
        self.exchange(self.client.request(Method::GET, self.url(path))).await
    }

    /// A write that needs no key, since doing it twice changes nothing.
    pub(super) async fn post(&self, path: &str, body: Vec<u8>) -> Exchange {
        let request = self.client.request(Method::POST, self.url(path));
        self.exchange(request.header(CONTENT_TYPE, "application/json").body(body)).await
    }

    pub(super) async fn write(&self, method: Method, path: &str, key: IntentKey, body: &[u8]) -> Exchange {
        let mut request =
            self.client.request(method, self.url(path)).header(IDEMPOTENCY_KEY, key.to_string());
        if !body.is_empty() {
            request = request.header(CONTENT_TYPE, "application/json").body(body.to_vec());
        }
        self.exchange(request).await
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    async fn exchange(&self, request: reqwest::RequestBuilder) -> Exchange {
        let started = Instant::now();
        let (observation, retry_after) = match request.send().await {
            Ok(response) => {
                let retry_after = retry_after(response.headers());
                (self.receive(response).await, retry_after)
            }
            Err(error) => (observe(error), None),
        };
        Exchange { observation, latency: started.elapsed(), retry_after }
    }

    async fn receive(&self, mut response: Response) -> Observation {
        let status = response.status().as_u16();
        let mut body = Vec::new();
        loop {
            match response.chunk().await {
                Ok(Some(chunk)) if body.len() + chunk.len() > self.reply_bytes_max => {
                    return Observation::Answered(Answer { status, body: None });
                }
                Ok(Some(chunk)) => body.extend_from_slice(&chunk),
                Ok(None) => return Observation::Answered(Answer { status, body: Some(body) }),
                Err(error) => return Observation::Lost(lost(error)),
            }
        }
    }
}

/// Whether an error that came instead of a reply proves that nothing was sent.
fn observe(error: reqwest::Error) -> Observation {
    let kind = if error.is_builder() {
        TransportKind::Build
    } else if !error.is_connect() {
        return Observation::Lost(lost(error));
    } else if error.is_dns() {
        TransportKind::Dns
    } else if causes(&error).any(is_tls) {
        TransportKind::Tls
    } else {
        TransportKind::Connect
    };
    Observation::NotSent(TransportError { kind, detail: describe(error) })
}

fn lost(error: reqwest::Error) -> TransportError {
    let reset = |io: &std::io::Error| {
        use std::io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset};
        matches!(io.kind(), ConnectionReset | ConnectionAborted | BrokenPipe)
    };
    let kind = if error.is_timeout() {
        TransportKind::Timeout
    } else if causes(&error).filter_map(|cause| cause.downcast_ref()).any(reset) {
        TransportKind::Reset
    } else {
        TransportKind::Incomplete
    };
    TransportError { kind, detail: describe(error) }
}

/// The causes of an error, also those that an `io::Error` carries without naming them as its source.
fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |error| {
        let error: &'a (dyn Error + 'static) = *error;
        let carried = error.downcast_ref::<std::io::Error>().and_then(|io| io.get_ref());
        carried.map(|inner| inner as &(dyn Error + 'static)).or_else(|| error.source())
    })
    .take(16)
}

fn is_tls(error: &(dyn Error + 'static)) -> bool {
    error.is::<rustls::Error>()
}

/// The error and its causes in one line, without the URL, which repeats the configuration.
fn describe(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut text = String::new();
    for cause in causes(&error) {
        let words = cause.to_string();
        if !text.contains(&words) {
            let separator = if text.is_empty() { "" } else { ": " };
            text.push_str(separator);
            text.push_str(&excerpt(words.as_bytes()));
        }
    }
    text
}

fn retry_after(headers: &HeaderMap) -> Option<RetryAfterHeader> {
    let text = |name| headers.get(name).map(|value| excerpt(value.as_bytes()));
    Some(RetryAfterHeader { value: text(RETRY_AFTER)?, date: text(DATE) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::venue::http::HttpVenueConfig;
    use tokio::io::AsyncWriteExt as _;
    use tokio::net::TcpListener;

    async fn ask(base_url: String, roots: Roots) -> Observation {
        let config = HttpVenueConfig { base_url, reply_bytes_max: 1_024, ..HttpVenueConfig::default() };
        let transport = Transport::new(&config.transport(), &Secret::new("key").unwrap(), roots).unwrap();
        transport.read("/").await.observation
    }

    /// A server that says one thing to whoever connects, whatever is asked.
    async fn server(says: &'static [u8]) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 4_096];
            let _ = tokio::io::AsyncReadExt::read(&mut stream, &mut request).await;
            stream.write_all(says).await.unwrap();
            stream.shutdown().await.unwrap();
        });
        address.to_string()
    }

    #[tokio::test]
    async fn a_server_that_speaks_no_tls_was_sent_nothing() {
        let address = server(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
        let observation = ask(format!("https://{address}"), Roots::Nobody).await;
        let Observation::NotSent(error) = observation else { panic!("{observation:?}") };
        assert_eq!(error.kind, TransportKind::Tls, "{}", error.detail);
    }

    #[tokio::test]
    async fn a_name_that_does_not_resolve_was_sent_nothing() {
        // Too long for a name, so that no resolver has to be reached to know it.
        let name = ["a".repeat(60).as_str(); 5].join(".");
        let observation = ask(format!("http://{name}.invalid"), Roots::Nobody).await;
        let Observation::NotSent(error) = observation else { panic!("{observation:?}") };
        assert_eq!(error.kind, TransportKind::Dns, "{}", error.detail);
    }

    #[tokio::test]
    async fn a_connect_that_times_out_was_sent_nothing() {
        // A listener that accepts nobody and whose queue is full ignores whoever else comes.
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let listener = socket.listen(1).unwrap();
        let address = listener.local_addr().unwrap();
        let mut queue = Vec::new();
        while let Ok(stream) =
            tokio::time::timeout(Duration::from_millis(100), tokio::net::TcpStream::connect(address)).await
        {
            queue.push(stream.unwrap());
        }
        let config = HttpVenueConfig {
            base_url: format!("http://{address}"),
            connect_timeout_ms: 100,
            ..HttpVenueConfig::default()
        };
        let transport =
            Transport::new(&config.transport(), &Secret::new("key").unwrap(), Roots::Nobody).unwrap();
        let observation = transport.read("/").await.observation;
        let Observation::NotSent(error) = observation else { panic!("{observation:?}") };
        assert_eq!(error.kind, TransportKind::Connect, "{}", error.detail);
    }

    #[test]
    fn a_client_does_not_show_its_key() {
        let key = Secret::new("sk_live_1234").unwrap();
        let transport = Transport::new(&HttpVenueConfig::default().transport(), &key, Roots::Nobody).unwrap();
        assert!(!format!("{transport:?}").contains("1234"));
    }

    #[tokio::test]
    async fn a_redirect_is_not_followed() {
        let address =
            server(b"HTTP/1.1 307 x\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n").await;
        let observation = ask(format!("http://{address}"), Roots::Nobody).await;
        assert_eq!(observation, Observation::Answered(Answer { status: 307, body: Some(Vec::new()) }));
    }

    #[tokio::test]
    async fn a_reply_beyond_the_limit_is_not_kept() {
        let reply: &'static str =
            Box::leak(format!("HTTP/1.1 200 OK\r\ncontent-length: 2000\r\n\r\n{}", "x".repeat(2_000)).into());
        let observation = ask(format!("http://{}", server(reply.as_bytes()).await), Roots::Nobody).await;
        assert_eq!(observation, Observation::Answered(Answer { status: 200, body: None }));
    }

    #[tokio::test]
    async fn an_answer_that_is_not_http_is_lost() {
        let observation = ask(format!("http://{}", server(b"hello\r\n\r\n").await), Roots::Nobody).await;
        assert!(matches!(observation, Observation::Lost(_)), "{observation:?}");
    }
}
