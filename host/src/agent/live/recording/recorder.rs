//! The thread that writes recordings.

use super::RecordingConfig;
use super::file::{RecordingFile, encode, head};
use crate::agent::core::Stretch;
use crate::orders::AgentName;
use crossbeam_channel::{Receiver, Sender, TrySendError};
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Stretches that may wait for the disk. There is one at most for every checkpoint, so a queue that is full means a
/// disk that stands still.
const QUEUE_MAX: usize = 256;

/// Hands stretches to the recorder's thread.
#[derive(Clone)]
pub(in crate::agent::live) struct RecorderHandle {
    queue: Option<Sender<(usize, Box<Stretch>)>>,
    lost: Arc<[AtomicU64]>,
    total: Arc<AtomicU64>,
}

impl RecorderHandle {
    /// Hands over a stretch of an agent; what finds no room is lost and counted.
    pub fn record(&self, agent: usize, stretch: Box<Stretch>) {
        let Some(queue) = &self.queue else { return };
        if let Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) = queue.try_send((agent, stretch)) {
            self.lose(agent);
        }
    }

    fn lose(&self, agent: usize) {
        self.total.fetch_add(1, Ordering::Relaxed);
        if let Some(lost) = self.lost.get(agent) {
            lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// The running thread.
pub(in crate::agent::live) struct Recorder {
    handle: RecorderHandle,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Recorder {
    /// Starts it for these agents, if anything is recorded.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(config: &RecordingConfig, data_dir: &Path, agents: &[AgentName]) -> std::io::Result<Self> {
        let lost: Arc<[AtomicU64]> = agents.iter().map(|_| AtomicU64::new(0)).collect();
        let mut handle = RecorderHandle { queue: None, lost, total: Arc::default() };
        if !config.enabled {
            return Ok(Self { handle, thread: None });
        }
        let (sender, receiver) = crossbeam_channel::bounded(QUEUE_MAX);
        let tracks = agents.iter().map(|agent| Track::new(config, data_dir, agent)).collect();
        let own = handle.clone();
        let thread = std::thread::Builder::new()
            .name("recorder".into())
            .spawn(move || write(tracks, &receiver, &own))?;
        handle.queue = Some(sender);
        Ok(Self { handle, thread: Some(thread) })
    }

    /// Counts the stretches that were not written. It holds nothing up.
    pub fn lost(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.handle.total)
    }

    pub fn handle(&self) -> RecorderHandle {
        self.handle.clone()
    }

    /// Waits until everything that was handed over is written. Every other handle must be gone.
    pub fn finish(mut self) {
        self.handle.queue = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn write(mut tracks: Vec<Track>, queue: &Receiver<(usize, Box<Stretch>)>, handle: &RecorderHandle) {
    while let Ok((agent, stretch)) = queue.recv() {
        let (Some(track), Some(lost)) = (tracks.get_mut(agent), handle.lost.get(agent)) else { continue };
        let before = lost.swap(0, Ordering::Relaxed);
        if let Err(error) = track.write(&stretch, u32::try_from(before).unwrap_or(u32::MAX)) {
            lost.fetch_add(before, Ordering::Relaxed);
            handle.lose(agent);
            track.complain(&error);
        }
    }
}

/// The files of one agent.
struct Track {
    agent: String,
    dir: PathBuf,
    config: RecordingConfig,
    /// The file that is written, and its bytes so far.
    open: Option<(RecordingFile, File, u64)>,
    complained: bool,
}

impl Track {
    fn new(config: &RecordingConfig, data_dir: &Path, agent: &AgentName) -> Self {
        let dir = data_dir.join("recordings").join(agent.as_str());
        Self { agent: agent.to_string(), dir, config: config.clone(), open: None, complained: false }
    }

    fn write(&mut self, stretch: &Stretch, lost: u32) -> Result<(), std::io::Error> {
        let block = encode(stretch, lost)
            .ok_or_else(|| std::io::Error::other("a stretch is too large for a block"))?;
        let (file, mut open, bytes) = match self.open.take() {
            Some(open) => open,
            None => self.begin()?,
        };
        // A file to which half a block was written is left behind: nothing is read beyond that.
        open.write_all(&block)?;
        let bytes = bytes.saturating_add(block.len() as u64);
        if stretch.failed().is_some() {
            let sealed = RecordingFile::new(&self.dir, file.number, true);
            std::fs::rename(&file.path, &sealed.path)?;
            tracing::warn!(agent = %self.agent, class = "logic", code = "recording_sealed",
                "what led to the call that failed is in {}; ringfence replay makes it again", sealed.path.display());
        } else if bytes < self.config.file_bytes_max.get() {
            self.open = Some((file, open, bytes));
        }
        self.complained = false;
        Ok(())
    }

    /// The next file; the oldest ones go.
    fn begin(&self) -> Result<(RecordingFile, File, u64), std::io::Error> {
        std::fs::create_dir_all(&self.dir)?;
        let files = RecordingFile::list(&self.dir).map_err(std::io::Error::other)?;
        let number = files.last().map_or(1, |file| file.number.saturating_add(1));
        for (sealed, max) in
            [(false, self.config.files_max.get() - 1), (true, self.config.trap_files_max.get())]
        {
            let mut kind: Vec<&RecordingFile> = files.iter().filter(|file| file.sealed == sealed).collect();
            kind.truncate(kind.len().saturating_sub(usize::try_from(max).unwrap_or(usize::MAX)));
            for file in kind {
                std::fs::remove_file(&file.path)?;
            }
        }
        let file = RecordingFile::new(&self.dir, number, false);
        let mut open = File::options().write(true).create_new(true).open(&file.path)?;
        open.write_all(head())?;
        Ok((file, open, head().len() as u64))
    }

    /// Once until it works again.
    fn complain(&mut self, error: &std::io::Error) {
        if !std::mem::replace(&mut self.complained, true) {
            tracing::warn!(agent = %self.agent, class = "resource", code = "recording_failed",
                "{}: {error}; calls are not recorded, and everything else goes on", self.dir.display());
        }
    }
}
