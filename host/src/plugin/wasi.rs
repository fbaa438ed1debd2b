//! WASI for components that insist on it: everything that it names is there, and nothing of the machine is.
//!
//! Languages with a runtime of their own import WASI whether a strategy uses it or not. The virtual WASI here
//! answers from the [`Services`] of the call: both clocks show the time of the tick, random bytes come from
//! the strategy's own seeded stream, what is printed becomes log lines. There is no network, no environment, no
//! argument and no input, and there are no files but those of a folder that the operator opens for reading.
//!
//! Nothing waits. Time stands still during a call, so a sleep is over at once, and no stream is ever busy:
//! that keeps a component from holding up the agent's thread inside the host, where no deadline reaches it,
//! and keeps the engine out of any asynchronous runtime.

mod network;
mod stream;

use super::store::StoreData;
use super::text::printable;
use super::trap::LimitHit;
use super::{LogLevel, Services};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::future::Future;
use std::mem;
use std::path::Path;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use wasmtime::Result;
use wasmtime::component::{HasSelf, Linker, Resource, ResourceTable};
use wasmtime_wasi::filesystem::{
    Descriptor, WasiFilesystem, WasiFilesystemCtx, WasiFilesystemCtxView, WasiFilesystemView as _,
};
use wasmtime_wasi::p2::bindings::sync::filesystem::types as filesystem_types;
use wasmtime_wasi::p2::bindings::sync::io::{poll, streams};
use wasmtime_wasi::p2::bindings::sync::sockets::{tcp, udp, udp_create_socket};
use wasmtime_wasi::p2::bindings::{cli, clocks, filesystem, random, sockets};
use wasmtime_wasi::p2::{
    DynInputStream, DynOutputStream, DynPollable, Pollable, StreamError, StreamResult, pipe, subscribe,
};
use wasmtime_wasi::sockets::{WasiSockets, WasiSocketsCtx, WasiSocketsCtxView};
use wasmtime_wasi::{FsPerms, WasiCtx, WasiCtxView, WasiView};

/// What of WASI a component may use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WasiGrant {
    /// Nothing: a component that imports WASI is refused before it is compiled.
    #[default]
    None,
    /// The virtual one: time of the tick, seeded random numbers, prints to the log, and an error for
    /// everything else.
    Virtual,
}

/// The interfaces of the virtual WASI, with what each of them gives.
const OFFERED: [(&str, &str); 27] = [
    ("wasi:cli/environment", "no variables and no arguments"),
    ("wasi:cli/exit", "ends the instance like a trap"),
    ("wasi:cli/stderr", "lines of the strategy's log, as warnings"),
    ("wasi:cli/stdin", "closed"),
    ("wasi:cli/stdout", "lines of the strategy's log"),
    ("wasi:cli/terminal-input", "no terminal"),
    ("wasi:cli/terminal-output", "no terminal"),
    ("wasi:cli/terminal-stderr", "no terminal"),
    ("wasi:cli/terminal-stdin", "no terminal"),
    ("wasi:cli/terminal-stdout", "no terminal"),
    ("wasi:clocks/monotonic-clock", "time of the call; a wait is over at once"),
    ("wasi:clocks/wall-clock", "time of the call"),
    ("wasi:filesystem/preopens", "no folder, or the one that is granted"),
    ("wasi:filesystem/types", "no file, or those of the folder that is granted, for reading"),
    ("wasi:io/error", "words about an error"),
    ("wasi:io/poll", "everything is ready"),
    ("wasi:io/streams", "output to the log, input closed"),
    ("wasi:random/insecure", "the strategy's seeded random numbers"),
    ("wasi:random/insecure-seed", "the strategy's seeded random numbers"),
    ("wasi:random/random", "the strategy's seeded random numbers"),
    ("wasi:sockets/instance-network", "no network"),
    ("wasi:sockets/ip-name-lookup", "access denied"),
    ("wasi:sockets/network", "no network"),
    ("wasi:sockets/tcp", "no sockets"),
    ("wasi:sockets/tcp-create-socket", "access denied"),
    ("wasi:sockets/udp", "no sockets"),
    ("wasi:sockets/udp-create-socket", "access denied"),
];

/// Where a component finds the folder that it may read.
const FOLDER: &str = "/data";
/// Bytes of one write to an output stream: what WASI itself allows for one blocking write.
const WRITE_BYTES_MAX: usize = 4_096;
/// Bytes of a printed line; what is longer goes on in the next.
const LINE_BYTES_MAX: usize = 1_024;
/// Random bytes of one host call. A runtime seeds its hash tables with some dozens.
const RANDOM_BYTES_MAX: u64 = 4_096;

impl WasiGrant {
    /// The name in the configuration and on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Virtual => "virtual",
        }
    }

    /// What an import of WASI gets, or nothing when it is not granted.
    pub fn gives(self, import: &str) -> Option<&'static str> {
        let (interface, version) = import.split_once('@')?;
        // The 0.2 versions differ in functions that were added; the linker looks at those.
        let known = semver::Version::parse(version).ok().filter(|it| (it.major, it.minor) == (0, 2));
        match (self, known) {
            (Self::Virtual, Some(_)) => {
                OFFERED.iter().find(|(name, _)| *name == interface).map(|(_, gives)| *gives)
            }
            _ => None,
        }
    }
}

impl std::str::FromStr for WasiGrant {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        match text {
            "none" => Ok(Self::None),
            "virtual" => Ok(Self::Virtual),
            other => Err(format!("expected none or virtual, found {other}")),
        }
    }
}

/// What the store of one instance keeps for WASI.
pub(super) struct WasiState {
    /// Streams and pollables that the component holds.
    table: ResourceTable,
    /// Open output streams by handle, and the level of their lines.
    outputs: BTreeMap<u32, LogLevel>,
    /// Text after the last line break, by the level of its stream.
    unfinished: BTreeMap<LogLevel, Vec<u8>>,
    /// The latest time shown: a monotonic clock does not go back, whatever the feed does.
    latest: u64,
    /// The folder that it may read; empty unless one is granted, and then no path leads anywhere.
    files: WasiFilesystemCtx,
    /// Lent instead of `table` when no call into the host is left, so that what is asked of a file traps.
    spent: ResourceTable,
    /// Empty, so that no address is allowed.
    sockets: WasiSocketsCtx,
}

impl WasiState {
    /// Nothing open. `handles_max` bounds what the component may hold at a time.
    pub fn new(handles_max: usize, files: WasiFilesystemCtx) -> Self {
        let mut table = ResourceTable::new();
        table.set_max_capacity(handles_max);
        Self {
            table,
            outputs: BTreeMap::new(),
            unfinished: BTreeMap::new(),
            latest: 0,
            files,
            spent: ResourceTable::new(),
            sockets: WasiSocketsCtx::default(),
        }
    }

    /// Logs what was printed without a line break after it: the call is over.
    pub fn finish_lines(&mut self, services: &mut Services) {
        for (level, rest) in mem::take(&mut self.unfinished) {
            log_line(services, level, &rest);
        }
    }

    fn print(&mut self, services: &mut Services, level: LogLevel, bytes: &[u8]) {
        let mut text = self.unfinished.remove(&level).unwrap_or_default();
        text.extend_from_slice(bytes);
        let mut rest = text.as_slice();
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let (line, after) = rest.split_at(end);
            log_line(services, level, line);
            rest = after.get(1..).unwrap_or_default();
        }
        while let Some((line, after)) = rest.split_at_checked(LINE_BYTES_MAX) {
            log_line(services, level, line);
            rest = after;
        }
        if !rest.is_empty() {
            self.unfinished.insert(level, rest.to_vec());
        }
    }

    fn ready(&mut self) -> Result<Resource<DynPollable>> {
        let at_once = self.table.push(AtOnce)?;
        subscribe(&mut self.table, at_once)
    }
}

fn log_line(services: &mut Services, level: LogLevel, line: &[u8]) {
    let text = String::from_utf8_lossy(line);
    let text = text.strip_suffix('\r').unwrap_or(&text);
    services.telemetry.log(level, &printable(text, LINE_BYTES_MAX));
}

/// Opens a folder for reading, once for all instances of a component.
///
/// # Errors
/// When there is no such folder, or it cannot be read.
pub(super) fn open_folder(path: &Path) -> Result<WasiFilesystemCtx> {
    /// What the folder is made in and taken out of.
    struct Maker {
        ctx: WasiCtx,
        table: ResourceTable,
    }

    impl WasiView for Maker {
        fn ctx(&mut self) -> WasiCtxView<'_> {
            WasiCtxView { ctx: &mut self.ctx, table: &mut self.table }
        }
    }

    let mut builder = WasiCtx::builder();
    // Files are read on the agent's own thread, as everything is.
    builder.allow_blocking_current_thread(true);
    builder.preopened_dir(path, FOLDER, FsPerms::ReadOnly)?;
    Ok(Maker { ctx: builder.build(), table: ResourceTable::new() }.filesystem().ctx.clone())
}

/// The value of a future that never waits: files are read at once, and everything else is ready.
fn at_once<T>(future: impl Future<Output = StreamResult<T>>) -> StreamResult<T> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => Err(StreamError::Trap(LimitHit::Wasi("a read that waits").into())),
    }
}

/// Something to wait for that has already happened.
struct AtOnce;

#[wasmtime_wasi::async_trait]
impl Pollable for AtOnce {
    async fn ready(&mut self) {}
}

/// Adds the virtual WASI to a linker.
pub(super) fn add_to_linker(l: &mut Linker<StoreData>) -> Result<()> {
    type Own = HasSelf<StoreData>;
    let network = sockets::network::LinkOptions::default();
    cli::environment::add_to_linker::<_, Own>(l, |data| data)?;
    cli::exit::add_to_linker::<_, Own>(l, |data| data)?;
    cli::stderr::add_to_linker::<_, Own>(l, |data| data)?;
    cli::stdin::add_to_linker::<_, Own>(l, |data| data)?;
    cli::stdout::add_to_linker::<_, Own>(l, |data| data)?;
    cli::terminal_input::add_to_linker::<_, Own>(l, |data| data)?;
    cli::terminal_output::add_to_linker::<_, Own>(l, |data| data)?;
    cli::terminal_stderr::add_to_linker::<_, Own>(l, |data| data)?;
    cli::terminal_stdin::add_to_linker::<_, Own>(l, |data| data)?;
    cli::terminal_stdout::add_to_linker::<_, Own>(l, |data| data)?;
    clocks::monotonic_clock::add_to_linker::<_, Own>(l, |data| data)?;
    clocks::wall_clock::add_to_linker::<_, Own>(l, |data| data)?;
    filesystem::preopens::add_to_linker::<_, Own>(l, |data| data)?;
    filesystem_types::add_to_linker::<_, WasiFilesystem>(l, StoreData::files)?;
    wasmtime_wasi::p2::bindings::io::error::add_to_linker::<_, Table>(l, |data| &mut data.wasi().table)?;
    poll::add_to_linker::<_, Own>(l, |data| data)?;
    streams::add_to_linker::<_, Own>(l, |data| data)?;
    random::insecure::add_to_linker::<_, Own>(l, |data| data)?;
    random::insecure_seed::add_to_linker::<_, Own>(l, |data| data)?;
    random::random::add_to_linker::<_, Own>(l, |data| data)?;
    sockets::instance_network::add_to_linker::<_, WasiSockets>(l, StoreData::sockets)?;
    sockets::ip_name_lookup::add_to_linker::<_, Own>(l, |data| data)?;
    sockets::network::add_to_linker::<_, Own>(l, &network, |data| data)?;
    sockets::tcp_create_socket::add_to_linker::<_, Own>(l, |data| data)?;
    tcp::add_to_linker::<_, WasiSockets>(l, StoreData::sockets)?;
    udp::add_to_linker::<_, WasiSockets>(l, StoreData::sockets)?;
    udp_create_socket::add_to_linker::<_, Own>(l, |data| data)
}

/// Lends the table alone, for the one interface that needs nothing else.
struct Table;

impl wasmtime::component::HasData for Table {
    type Data<'a> = &'a mut ResourceTable;
}

impl StoreData {
    /// Only components that were granted WASI are linked with what calls this; any other gets a table that
    /// takes nothing.
    fn wasi(&mut self) -> &mut WasiState {
        self.wasi.get_or_insert_with(|| Box::new(WasiState::new(0, WasiFilesystemCtx::default())))
    }

    /// The same, at the price of one host call.
    fn wasi_call(&mut self) -> Result<&mut WasiState> {
        self.call()?;
        Ok(self.wasi())
    }

    fn files(&mut self) -> WasiFilesystemCtxView<'_> {
        let spent = self.call().is_err();
        let WasiState { files, table, spent: nothing, .. } = self.wasi();
        WasiFilesystemCtxView { ctx: files, table: if spent { nothing } else { table } }
    }

    fn input(&mut self, stream: &Resource<DynInputStream>) -> StreamResult<&mut DynInputStream> {
        Ok(self.wasi_call().map_err(StreamError::Trap)?.table.get_mut(stream)?)
    }

    fn sockets(&mut self) -> WasiSocketsCtxView<'_> {
        let WasiState { sockets, table, .. } = self.wasi();
        WasiSocketsCtxView { ctx: sockets, table }
    }

    fn open_output(&mut self, level: LogLevel) -> Result<Resource<DynOutputStream>> {
        let wasi = self.wasi_call()?;
        let stream: DynOutputStream = Box::new(pipe::SinkOutputStream);
        let stream = wasi.table.push(stream)?;
        wasi.outputs.insert(stream.rep(), level);
        Ok(stream)
    }

    fn write_output(&mut self, stream: &Resource<DynOutputStream>, bytes: &[u8]) -> StreamResult<()> {
        self.wasi_call().map_err(StreamError::Trap)?.table.get(stream)?;
        if bytes.len() > WRITE_BYTES_MAX {
            return Err(StreamError::Trap(LimitHit::Wasi("a write of more than 4096 bytes").into()));
        }
        let Self { wasi: Some(wasi), services, .. } = self else { return Err(StreamError::Closed) };
        let level = wasi.outputs.get(&stream.rep()).copied().unwrap_or(LogLevel::Info);
        wasi.print(services, level, bytes);
        Ok(())
    }

    fn write_zeroes_to(&mut self, stream: &Resource<DynOutputStream>, len: u64) -> StreamResult<()> {
        let len = usize::try_from(len).unwrap_or(usize::MAX).min(WRITE_BYTES_MAX + 1);
        self.write_output(stream, &vec![0; len])
    }

    fn random_bytes(&mut self, len: u64) -> Result<Vec<u8>> {
        let services = self.call()?;
        if len > RANDOM_BYTES_MAX {
            return Err(LimitHit::Wasi("more than 4096 random bytes at once").into());
        }
        let len = usize::try_from(len).unwrap_or(0);
        let mut bytes = Vec::with_capacity(len.next_multiple_of(8));
        while bytes.len() < len {
            bytes.extend_from_slice(&services.random_next().to_le_bytes());
        }
        bytes.truncate(len);
        Ok(bytes)
    }
}

impl cli::environment::Host for StoreData {
    fn get_environment(&mut self) -> Result<Vec<(String, String)>> {
        self.call()?;
        Ok(Vec::new())
    }

    fn get_arguments(&mut self) -> Result<Vec<String>> {
        self.call()?;
        Ok(Vec::new())
    }

    fn initial_cwd(&mut self) -> Result<Option<String>> {
        self.call()?;
        Ok(None)
    }
}

impl cli::exit::Host for StoreData {
    fn exit(&mut self, status: std::result::Result<(), ()>) -> Result<()> {
        Err(LimitHit::Exit { code: u8::from(status.is_err()) }.into())
    }

    fn exit_with_code(&mut self, code: u8) -> Result<()> {
        Err(LimitHit::Exit { code }.into())
    }
}

impl cli::stdin::Host for StoreData {
    fn get_stdin(&mut self) -> Result<Resource<DynInputStream>> {
        let stream: DynInputStream = Box::new(pipe::ClosedInputStream);
        Ok(self.wasi_call()?.table.push(stream)?)
    }
}

impl cli::stdout::Host for StoreData {
    fn get_stdout(&mut self) -> Result<Resource<DynOutputStream>> {
        self.open_output(LogLevel::Info)
    }
}

impl cli::stderr::Host for StoreData {
    fn get_stderr(&mut self) -> Result<Resource<DynOutputStream>> {
        self.open_output(LogLevel::Warn)
    }
}

impl cli::terminal_input::Host for StoreData {}
impl cli::terminal_input::HostTerminalInput for StoreData {
    fn drop(&mut self, terminal: Resource<cli::terminal_input::TerminalInput>) -> Result<()> {
        self.wasi_call()?.table.delete(terminal)?;
        Ok(())
    }
}

impl cli::terminal_output::Host for StoreData {}
impl cli::terminal_output::HostTerminalOutput for StoreData {
    fn drop(&mut self, terminal: Resource<cli::terminal_output::TerminalOutput>) -> Result<()> {
        self.wasi_call()?.table.delete(terminal)?;
        Ok(())
    }
}

impl cli::terminal_stdin::Host for StoreData {
    fn get_terminal_stdin(&mut self) -> Result<Option<Resource<cli::terminal_input::TerminalInput>>> {
        self.call()?;
        Ok(None)
    }
}

impl cli::terminal_stdout::Host for StoreData {
    fn get_terminal_stdout(&mut self) -> Result<Option<Resource<cli::terminal_output::TerminalOutput>>> {
        self.call()?;
        Ok(None)
    }
}

impl cli::terminal_stderr::Host for StoreData {
    fn get_terminal_stderr(&mut self) -> Result<Option<Resource<cli::terminal_output::TerminalOutput>>> {
        self.call()?;
        Ok(None)
    }
}

impl clocks::wall_clock::Host for StoreData {
    fn now(&mut self) -> Result<clocks::wall_clock::Datetime> {
        let now = std::time::Duration::from_nanos(self.call()?.now.0);
        Ok(clocks::wall_clock::Datetime { seconds: now.as_secs(), nanoseconds: now.subsec_nanos() })
    }

    fn resolution(&mut self) -> Result<clocks::wall_clock::Datetime> {
        self.call()?;
        Ok(clocks::wall_clock::Datetime { seconds: 0, nanoseconds: 1 })
    }
}

impl clocks::monotonic_clock::Host for StoreData {
    fn now(&mut self) -> Result<u64> {
        let now = self.call()?.now.0;
        let wasi = self.wasi();
        wasi.latest = wasi.latest.max(now);
        Ok(wasi.latest)
    }

    fn resolution(&mut self) -> Result<u64> {
        self.call()?;
        Ok(1)
    }

    fn subscribe_instant(&mut self, _: u64) -> Result<Resource<DynPollable>> {
        self.wasi_call()?.ready()
    }

    fn subscribe_duration(&mut self, _: u64) -> Result<Resource<DynPollable>> {
        self.wasi_call()?.ready()
    }
}

impl random::random::Host for StoreData {
    fn get_random_bytes(&mut self, len: u64) -> Result<Vec<u8>> {
        self.random_bytes(len)
    }

    fn get_random_u64(&mut self) -> Result<u64> {
        Ok(self.call()?.random_next())
    }
}

impl random::insecure::Host for StoreData {
    fn get_insecure_random_bytes(&mut self, len: u64) -> Result<Vec<u8>> {
        self.random_bytes(len)
    }

    fn get_insecure_random_u64(&mut self) -> Result<u64> {
        Ok(self.call()?.random_next())
    }
}

impl random::insecure_seed::Host for StoreData {
    fn insecure_seed(&mut self) -> Result<(u64, u64)> {
        let services = self.call()?;
        Ok((services.random_next(), services.random_next()))
    }
}

impl filesystem::preopens::Host for StoreData {
    fn get_directories(&mut self) -> Result<Vec<(Resource<Descriptor>, String)>> {
        filesystem::preopens::Host::get_directories(&mut self.files())
    }
}

impl poll::Host for StoreData {
    fn poll(&mut self, list: Vec<Resource<DynPollable>>) -> Result<Vec<u32>> {
        let wasi = self.wasi_call()?;
        if list.is_empty() {
            return Err(LimitHit::Wasi("a poll of nothing").into());
        }
        list.iter()
            .zip(0..)
            .map(|(pollable, index)| wasi.table.get(pollable).map(|_| index))
            .collect::<std::result::Result<_, _>>()
            .map_err(Into::into)
    }
}

impl poll::HostPollable for StoreData {
    fn ready(&mut self, pollable: Resource<DynPollable>) -> Result<bool> {
        self.wasi_call()?.table.get(&pollable)?;
        Ok(true)
    }

    fn block(&mut self, pollable: Resource<DynPollable>) -> Result<()> {
        self.wasi_call()?.table.get(&pollable)?;
        Ok(())
    }

    fn drop(&mut self, pollable: Resource<DynPollable>) -> Result<()> {
        poll::HostPollable::drop(&mut self.wasi_call()?.table, pollable)
    }
}
