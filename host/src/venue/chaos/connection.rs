//! One client connection: requests come in, the decider says what happens to each.

use super::super::message::{self, Kind, Limits, Message, MessageError};
use super::config::{ChaosConfig, Fault};
use super::decide::Decision;
use super::proxy::Shared;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

/// How a connection goes on after a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    /// The next request may come.
    Next,
    /// Closed in order.
    Close,
    /// Reset, so that the client sees an error and not an end.
    Reset,
}

/// The connection to the venue, kept between the requests of one client connection.
#[derive(Debug)]
struct Upstream {
    address: SocketAddr,
    limits: Limits,
    patience: Duration,
    connection: Option<(TcpStream, Vec<u8>)>,
}

/// Serves one client until one of them goes, or a fault ends it.
pub(super) async fn serve(mut client: TcpStream, shared: Arc<Shared>) {
    let mut changes = shared.changes();
    let config = shared.config();
    let limits = limits(config);
    let mut upstream = Upstream {
        address: shared.upstream(),
        limits,
        patience: Duration::from_millis(config.upstream_timeout_ms),
        connection: None,
    };
    let mut buffer = Vec::new();
    loop {
        let request = tokio::select! {
            request = message::read(&mut client, &mut buffer, Kind::Request, limits) => request,
            () = refused(&shared, &mut changes) => return,
        };
        let request = match request {
            Ok(Some(request)) => request,
            Ok(None) => return,
            Err(error) => {
                shared.count_unreadable(&error);
                return reset(client);
            }
        };
        let decision = shared.decide(request.purpose, &mut changes);
        let then = handle(&mut client, &request, decision, &mut upstream, &shared, &mut changes).await;
        match then {
            Then::Next if request.last => return,
            Then::Next => (),
            Then::Close => return,
            Then::Reset => return reset(client),
        }
    }
}

fn limits(config: &ChaosConfig) -> Limits {
    Limits { head_bytes_max: config.head_bytes_max, body_bytes_max: config.body_bytes_max }
}

/// Resolves when the plan is to refuse connections; never while it is not.
async fn refused(shared: &Shared, changes: &mut watch::Receiver<u64>) {
    loop {
        if shared.refuses() {
            return;
        }
        if changes.changed().await.is_err() {
            return std::future::pending().await;
        }
    }
}

async fn handle(
    client: &mut TcpStream,
    request: &Message,
    decision: Decision,
    upstream: &mut Upstream,
    shared: &Shared,
    changes: &mut watch::Receiver<u64>,
) -> Then {
    sleep_for(decision.latency).await;
    // Whatever is not forwarded comes first; after this match the request reaches the venue.
    match &decision.fault {
        Some(Fault::BlackHole) => return hold(client, changes).await,
        Some(Fault::ResetBefore) => return Then::Reset,
        Some(Fault::ErrorBefore(status)) => return answer(client, *status, None, INJECTED).await,
        Some(Fault::TooManyRequests { retry_after }) => {
            return answer(client, 429, Some(retry_after), INJECTED).await;
        }
        Some(Fault::Answer { status, body }) => return answer(client, *status, None, body).await,
        Some(Fault::Delay(ms)) => sleep_for(Duration::from_millis(*ms)).await,
        _ => (),
    }
    let mut copies = if decision.fault == Some(Fault::Duplicate) { 2 } else { 1 };
    let mut reply = loop {
        let reply = match upstream.forward(&request.bytes, shared).await {
            Ok(reply) => reply,
            Err(error) => {
                // Nobody can know here whether the venue has executed, so the client must not be told.
                shared.count_unreadable(&error);
                return Then::Reset;
            }
        };
        copies -= 1;
        if copies == 0 {
            break reply;
        }
    };
    let body = reply.body();
    match &decision.fault {
        Some(Fault::DropReply) => Then::Reset,
        Some(Fault::SwallowReply) => hold(client, changes).await,
        Some(Fault::ErrorAfter(status)) => answer(client, *status, None, INJECTED).await,
        Some(Fault::Truncate) => {
            let end = body.start + body.len() / 2;
            let half = reply.bytes.get(..end).unwrap_or(&reply.bytes);
            send(client, half).await;
            Then::Close
        }
        Some(Fault::Corrupt) => {
            if let Some(body) = reply.bytes.get_mut(body) {
                body.iter_mut().step_by(7).for_each(|byte| *byte = b'#');
            }
            send(client, &reply.bytes).await
        }
        Some(Fault::Trickle(ms)) => {
            for byte in &reply.bytes {
                if send(client, std::slice::from_ref(byte)).await != Then::Next {
                    return Then::Close;
                }
                sleep_for(Duration::from_millis(*ms)).await;
            }
            Then::Next
        }
        Some(Fault::DelayReply(ms)) => {
            sleep_for(Duration::from_millis(*ms)).await;
            send(client, &reply.bytes).await
        }
        _ => send(client, &reply.bytes).await,
    }
}

const INJECTED: &str = r#"{"code":"injected","message":"the chaos proxy says so"}"#;

async fn sleep_for(delay: Duration) {
    if !delay.is_zero() {
        sleep(delay).await;
    }
}

async fn send(client: &mut TcpStream, bytes: &[u8]) -> Then {
    match client.write_all(bytes).await {
        Ok(()) => Then::Next,
        Err(_) => Then::Close,
    }
}

async fn answer(client: &mut TcpStream, status: u16, retry_after: Option<&str>, body: &str) -> Then {
    let mut text = format!("HTTP/1.1 {status} Injected\r\ncontent-type: application/json\r\n");
    if let Some(value) = retry_after {
        let _ = write!(text, "retry-after: {value}\r\n");
    }
    let _ = write!(text, "content-length: {}\r\n\r\n{body}", body.len());
    send(client, text.as_bytes()).await
}

/// Says nothing until the client gives up or the plan changes, then cuts the connection.
async fn hold(client: &mut TcpStream, changes: &mut watch::Receiver<u64>) -> Then {
    let mut ignored = [0; 1_024];
    loop {
        tokio::select! {
            read = client.read(&mut ignored) => if matches!(read, Ok(0) | Err(_)) {
                return Then::Close;
            },
            _ = changes.changed() => return Then::Reset,
        }
    }
}

/// Closes with a reset: the client sees an error, and what the kernel still holds for it is lost.
fn reset(client: TcpStream) {
    // Without the option the connection ends in order, which a client also takes for a broken reply.
    let _ = client.set_zero_linger();
}

impl Upstream {
    async fn forward(&mut self, request: &[u8], shared: &Shared) -> Result<Message, MessageError> {
        let patience = self.patience;
        let late = |_| MessageError::Io(std::io::ErrorKind::TimedOut.into());
        timeout(patience, self.exchange(request, shared)).await.map_err(late)?
    }

    async fn exchange(&mut self, request: &[u8], shared: &Shared) -> Result<Message, MessageError> {
        let (mut stream, mut buffer) = match self.connection.take().filter(|(stream, _)| is_open(stream)) {
            Some(connection) => connection,
            None => (TcpStream::connect(self.address).await?, Vec::new()),
        };
        stream.write_all(request).await?;
        shared.count_forwarded();
        let reply = message::read(&mut stream, &mut buffer, Kind::Reply, self.limits).await?;
        let reply = reply.ok_or(MessageError::Incomplete)?;
        if !reply.last {
            self.connection = Some((stream, buffer));
        }
        Ok(reply)
    }
}

/// Whether the other side has not closed an idle connection. Anything to read on one means that it is useless.
fn is_open(stream: &TcpStream) -> bool {
    let mut byte = [0];
    matches!(stream.try_read(&mut byte), Err(error) if error.kind() == std::io::ErrorKind::WouldBlock)
}
