//! The proxy's listener, its control and its statistics.

use super::super::message::MessageError;
use super::super::message::Purpose;
use super::config::{ChaosConfig, ChaosError, Plan};
use super::connection;
use super::decide::{Decider, Decision};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{JoinHandle, JoinSet};

/// Connections that the kernel keeps waiting for us.
const BACKLOG: u32 = 256;

/// The chaos proxy.
#[derive(Clone, Copy, Debug)]
pub struct ChaosProxy;

/// A running chaos proxy. It stops when this is dropped.
#[derive(Debug)]
pub struct ChaosHandle {
    address: SocketAddr,
    shared: Arc<Shared>,
    control: mpsc::Sender<Control>,
    task: JoinHandle<()>,
}

/// What a proxy has done so far.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChaosStats {
    /// Connections accepted.
    pub connections: u64,
    /// Requests read.
    pub requests: u64,
    /// Requests sent on to the venue, duplicates counted twice.
    pub forwarded: u64,
    /// Faults by name.
    pub injected: BTreeMap<String, u64>,
    /// Requests or replies that could not be read, and venues that could not be reached.
    pub unreadable: u64,
    /// Connections turned away because there were too many.
    pub turned_away: u64,
}

impl ChaosStats {
    /// Faults of every kind together.
    pub fn injected_total(&self) -> u64 {
        self.injected.values().sum()
    }
}

#[derive(Debug)]
enum Control {
    Listen(bool, oneshot::Sender<io::Result<()>>),
    Stop,
}

/// What the connections share.
#[derive(Debug)]
pub(super) struct Shared {
    config: ChaosConfig,
    upstream: SocketAddr,
    state: Mutex<State>,
    /// Counts the changes of the plan, to wake connections that wait for one.
    changes: watch::Sender<u64>,
}

#[derive(Debug)]
struct State {
    decider: Decider,
    stats: ChaosStats,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn config(&self) -> &ChaosConfig {
        &self.config
    }

    pub(super) fn upstream(&self) -> SocketAddr {
        self.upstream
    }

    pub(super) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    pub(super) fn refuses(&self) -> bool {
        self.state().decider.refuses()
    }

    /// Decides the next request. `changes` then wakes at the first change of the plan after this decision.
    pub(super) fn decide(&self, purpose: Purpose, changes: &mut watch::Receiver<u64>) -> Decision {
        let mut state = self.state();
        changes.mark_unchanged();
        let decision = state.decider.decide(purpose);
        state.stats.requests += 1;
        if let Some(fault) = &decision.fault {
            *state.stats.injected.entry(fault.name().to_owned()).or_default() += 1;
        }
        decision
    }

    pub(super) fn count_forwarded(&self) {
        self.state().stats.forwarded += 1;
    }

    pub(super) fn count_unreadable(&self, error: &MessageError) {
        tracing::debug!(%error, "chaos proxy");
        self.state().stats.unreadable += 1;
    }

    fn change(&self, change: impl FnOnce(&mut Decider)) {
        // Counted under the lock, so that no decision falls between a change and its count.
        let mut state = self.state();
        change(&mut state.decider);
        self.changes.send_modify(|count| *count = count.wrapping_add(1));
    }
}

impl ChaosProxy {
    /// Starts a proxy on 127.0.0.1 in front of `upstream`, on the current tokio runtime.
    ///
    /// # Errors
    /// When the configuration is wrong or the port is taken.
    pub async fn start(upstream: SocketAddr, config: ChaosConfig) -> Result<ChaosHandle, ChaosError> {
        config.check()?;
        let port = config.port;
        let failed = |source| ChaosError::Bind { port, source };
        // Holds the port while nobody listens, so that refused connections are refused and no other
        // process can take it: a bound socket that does not listen refuses.
        let holder = bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).map_err(failed)?;
        let address = holder.local_addr().map_err(failed)?;
        let listener = bind(address).and_then(|socket| socket.listen(BACKLOG)).map_err(failed)?;
        let shared = Arc::new(Shared {
            upstream,
            state: Mutex::new(State { decider: Decider::new(config.clone()), stats: ChaosStats::default() }),
            changes: watch::Sender::new(0),
            config,
        });
        let (control, commands) = mpsc::channel(8);
        let task = tokio::spawn(run(holder, listener, Arc::clone(&shared), commands));
        Ok(ChaosHandle { address, shared, control, task })
    }
}

fn bind(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    #[cfg(unix)]
    socket.set_reuseport(true)?;
    socket.bind(address)?;
    Ok(socket)
}

async fn run(
    holder: TcpSocket,
    listener: TcpListener,
    shared: Arc<Shared>,
    mut commands: mpsc::Receiver<Control>,
) {
    let mut listener = Some(listener);
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            command = commands.recv() => match command {
                Some(Control::Listen(listen, done)) => {
                    let _ = done.send(set_listening(&holder, &mut listener, listen));
                }
                // Leaving drops the set, which ends every connection.
                Some(Control::Stop) | None => return,
            },
            client = accept(listener.as_ref()) => {
                let room = connections.len() < shared.config.connections_max;
                let mut state = shared.state();
                if room {
                    state.stats.connections += 1;
                    let _ = client.set_nodelay(true);
                    connections.spawn(connection::serve(client, Arc::clone(&shared)));
                } else {
                    state.stats.turned_away += 1;
                }
            }
            Some(_) = connections.join_next() => (),
        }
    }
}

fn set_listening(holder: &TcpSocket, listener: &mut Option<TcpListener>, listen: bool) -> io::Result<()> {
    if !listen {
        *listener = None;
    } else if listener.is_none() {
        *listener = Some(bind(holder.local_addr()?)?.listen(BACKLOG)?);
    }
    Ok(())
}

/// The next client; waits for ever while nobody listens.
async fn accept(listener: Option<&TcpListener>) -> TcpStream {
    let Some(listener) = listener else { return std::future::pending().await };
    loop {
        match listener.accept().await {
            Ok((client, _)) => return client,
            // The client went away before it was accepted, or descriptors ran out: others may do better.
            Err(error) => {
                tracing::debug!(%error, "chaos proxy");
                tokio::task::yield_now().await;
            }
        }
    }
}

impl ChaosHandle {
    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.address
    }

    /// Its address as the base URL of a venue of kind `http`.
    pub fn base_url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Sets what happens to every request from now on. When this returns, it is in force.
    ///
    /// # Errors
    /// When a fault of the plan makes no sense, or the proxy is not running.
    pub async fn set_plan(&self, plan: Plan) -> Result<(), ChaosError> {
        plan.check()?;
        let listen = plan != Plan::Refuse;
        self.shared.change(|decider| decider.set_plan(plan));
        let (done, answer) = oneshot::channel();
        let stopped = |_| ChaosError::Stopped;
        self.control.send(Control::Listen(listen, done)).await.map_err(|_| ChaosError::Stopped)?;
        let listening = answer.await.map_err(stopped)?;
        listening.map_err(|source| ChaosError::Bind { port: self.address.port(), source })
    }

    /// Cuts the network or mends it: while it is cut, every request is swallowed, whatever the plan. Requests
    /// that were swallowed stay lost; their connections are reset when it is mended.
    pub fn partition(&self, partitioned: bool) {
        self.shared.change(|decider| decider.set_partitioned(partitioned));
    }

    /// What it has done so far.
    pub fn stats(&self) -> ChaosStats {
        self.shared.state().stats.clone()
    }

    /// Stops listening and cuts every connection.
    pub async fn shutdown(mut self) {
        let _ = self.control.send(Control::Stop).await;
        // An error means that the task panicked or was aborted; it is gone in both cases.
        let _ = (&mut self.task).await;
    }
}

impl Drop for ChaosHandle {
    fn drop(&mut self) {
        self.task.abort();
    }
}
