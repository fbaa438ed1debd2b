//! Watched component files: a changed one is swapped in by itself.
//!
//! A file is looked at and not listened to: a look finds what was saved over a network file system, renamed into place
//! or restored with an old date as well, and needs nothing of the system.

use super::swaps::{SwapError, SwapOrder, Swaps};
use crate::config::Config;
use crate::orders::{Digest, SwapReason};
use crate::resilience::Classified as _;
use crossbeam_channel::{Receiver, Sender, bounded};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

/// The thread that looks at the files. It ends when this is dropped.
pub(super) struct Watcher {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// One file, and what was found when it was looked at.
struct Watched {
    /// The agent's position in the configuration.
    index: usize,
    path: PathBuf,
    bytes_max: u64,
    every: Duration,
    /// When the next look is due, counted from the start.
    due: Duration,
    eye: Eye,
}

/// What a look at a file finds without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    modified: Option<SystemTime>,
    bytes: u64,
}

/// What is remembered of the looks at one file.
#[derive(Debug)]
struct Eye {
    /// Content that was dealt with: it runs, or was refused, or was there at the start.
    known: Digest,
    /// What was found at the last look.
    last: Option<Found>,
}

/// What a look has found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Found {
    stamp: Stamp,
    content: Digest,
    /// Whether the look before found the same. Then the content is that of the stamp: a date is too coarse to tell two
    /// changes apart that come at the same moment, and not those that come a look apart.
    twice: bool,
}

impl Eye {
    /// Takes in what a look found; `read` reads the file. Returns content that nobody has dealt with, once two looks
    /// in a row have found the same.
    fn look(&mut self, stamp: Option<Stamp>, read: impl FnOnce() -> Option<Digest>) -> Option<Digest> {
        let before = self.last.take();
        // A file that is not there is being replaced.
        let stamp = stamp?;
        let before = before.filter(|before| before.stamp == stamp);
        if before.is_some_and(|before| before.twice && before.content == self.known) {
            self.last = before;
            return None;
        }
        // One that cannot be read is as good as not there.
        let content = read()?;
        let twice = before.is_some_and(|before| before.content == content);
        self.last = Some(Found { stamp, content, twice });
        (twice && content != self.known).then_some(content)
    }

    /// The content was dealt with.
    fn settle(&mut self, content: Digest) {
        self.known = content;
    }
}

impl Watcher {
    /// Starts to look, when there is anything to look at.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(config: &Config, swaps: &Arc<Swaps>) -> std::io::Result<Option<Self>> {
        let watched = config.agent.iter().enumerate().filter(|(_, agent)| agent.watch);
        let mut watched: Vec<Watched> = watched
            .map(|(index, agent)| {
                let bytes_max = agent.sandbox.as_ref().unwrap_or(&config.sandbox).component_bytes_max;
                Watched {
                    index,
                    path: agent.component.clone(),
                    bytes_max,
                    every: Duration::from_millis(agent.swap.watch_poll_ms.get()),
                    due: Duration::ZERO,
                    // What is there at the start was dealt with by the start.
                    eye: Eye {
                        known: digest_of(&agent.component, bytes_max).unwrap_or(Digest::of(b"")),
                        last: None,
                    },
                }
            })
            .collect();
        if watched.is_empty() {
            return Ok(None);
        }
        let (stop, stopped) = bounded::<()>(0);
        let swaps = Arc::clone(swaps);
        let thread = std::thread::Builder::new()
            .name("component-watch".into())
            .spawn(move || run(&mut watched, &swaps, &stopped))?;
        Ok(Some(Self { stop: Some(stop), thread: Some(thread) }))
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            // A panic there has ended it as well.
            let _ = thread.join();
        }
    }
}

fn run(watched: &mut [Watched], swaps: &Arc<Swaps>, stopped: &Receiver<()>) {
    let mut passed = Duration::ZERO;
    loop {
        let next = watched.iter().map(|file| file.due).min().unwrap_or(passed);
        let wait = next.saturating_sub(passed);
        // Nothing is ever sent; the end of the sender is the end of this.
        if stopped.recv_timeout(wait) != Err(crossbeam_channel::RecvTimeoutError::Timeout) {
            return;
        }
        passed = next;
        for file in watched.iter_mut().filter(|file| file.due <= passed) {
            file.due = passed.saturating_add(file.every);
            file.look(swaps);
        }
    }
}

impl Watched {
    fn look(&mut self, swaps: &Arc<Swaps>) {
        let stamp = std::fs::metadata(&self.path)
            .ok()
            .filter(std::fs::Metadata::is_file)
            .map(|found| Stamp { modified: found.modified().ok(), bytes: found.len() });
        let Some(content) = self.eye.look(stamp, || digest_of(&self.path, self.bytes_max)) else { return };
        let order = SwapOrder {
            component: self.path.clone(),
            sha256: Some(content),
            settings: None,
            set: serde_json::Map::new(),
            shadow_ticks: None,
            probation_ticks: None,
            fresh: false,
            note: "the watched file changed".to_owned(),
        };
        match swaps.begin(self.index, order, SwapReason::File) {
            Ok(_) => self.eye.settle(content),
            // It is taken when that one has ended.
            Err(SwapError::UnderWay { .. } | SwapError::Thread { .. }) => {}
            Err(error) => {
                tracing::error!(class = %error.class(), code = error.code(), "the changed file is not taken: {error}");
                self.eye.settle(content);
            }
        }
    }
}

/// The digest of a file's content; that of a file which is too large is the digest of as much as tells so.
fn digest_of(path: &Path, bytes_max: u64) -> Option<Digest> {
    use std::io::Read as _;
    let mut bytes = Vec::new();
    std::fs::File::open(path).ok()?.take(bytes_max.saturating_add(1)).read_to_end(&mut bytes).ok()?;
    Some(Digest::of(&bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp(bytes: u64) -> Option<Stamp> {
        Some(Stamp { modified: None, bytes })
    }

    fn content(text: &str) -> Digest {
        Digest::of(text.as_bytes())
    }

    fn eye() -> Eye {
        Eye { known: content("old"), last: None }
    }

    fn unread() -> Option<Digest> {
        panic!("the file was read although nothing has changed")
    }

    #[test]
    fn what_is_known_is_read_twice_and_never_taken() {
        let mut eye = eye();
        assert_eq!(eye.look(stamp(3), || Some(content("old"))), None);
        assert_eq!(eye.look(stamp(3), || Some(content("old"))), None);
        for _ in 0..5 {
            assert_eq!(eye.look(stamp(3), unread), None);
        }
    }

    #[test]
    fn a_change_is_taken_when_two_looks_find_the_same() {
        let mut eye = eye();
        let new = content("new");
        assert_eq!(eye.look(stamp(3), || Some(new)), None, "it may be half-written");
        assert_eq!(eye.look(stamp(3), || Some(new)), Some(new));
        eye.settle(new);
        assert_eq!(eye.look(stamp(3), unread), None);
        // An old content is a new one again.
        let old = content("old");
        assert_eq!(eye.look(stamp(4), || Some(old)), None);
        assert_eq!(eye.look(stamp(4), || Some(old)), Some(old));
    }

    #[test]
    fn a_change_at_the_very_moment_of_a_look_is_seen_at_the_next() {
        let mut eye = eye();
        assert_eq!(eye.look(stamp(3), || Some(content("old"))), None);
        // Same size and date.
        let new = content("new");
        assert_eq!(eye.look(stamp(3), || Some(new)), None);
        assert_eq!(eye.look(stamp(3), || Some(new)), Some(new));
    }

    #[test]
    fn one_that_goes_on_changing_is_not_taken() {
        let mut eye = eye();
        for bytes in 0..10 {
            // The same size and date with another content count as a change, too.
            let half = content(&bytes.to_string());
            assert_eq!(eye.look(stamp(bytes / 2), || Some(half)), None);
        }
    }

    #[test]
    fn one_that_is_gone_in_between_begins_anew() {
        let mut eye = eye();
        let new = content("new");
        assert_eq!(eye.look(stamp(3), || Some(new)), None);
        assert_eq!(eye.look(None, unread), None);
        assert_eq!(eye.look(stamp(3), || None), None, "it cannot be read");
        assert_eq!(eye.look(stamp(3), || Some(new)), None);
        assert_eq!(eye.look(stamp(3), || Some(new)), Some(new));
    }

    #[test]
    fn one_that_cannot_be_taken_now_is_offered_again() {
        let mut eye = eye();
        let new = content("new");
        eye.look(stamp(3), || Some(new));
        assert_eq!(eye.look(stamp(3), || Some(new)), Some(new));
        assert_eq!(eye.look(stamp(3), || Some(new)), Some(new), "nobody has dealt with it");
    }
}
