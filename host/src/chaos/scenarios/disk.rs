//! A disk that is full.

use super::super::ChaosRunError;
use super::super::scenario::Stage;
use super::heal;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// A disk of two megabytes in a mount namespace of its own, seen through the process that holds it.
pub(in crate::chaos) struct SmallDisk {
    holder: Child,
    pub root: PathBuf,
}

const DISK_BYTES: u64 = 2 << 20;

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

impl SmallDisk {
    /// Mounts it at a folder.
    pub fn mount(at: &Path) -> Result<Self, ChaosRunError> {
        fs::create_dir_all(at).map_err(ChaosRunError::file(at))?;
        let script = format!("mount -t tmpfs -o size={DISK_BYTES} none \"$1\" && echo mounted && exec cat");
        let mut refusals = String::new();
        // As root, and as a user who may be root in a namespace of their own.
        for flags in ["-m", "-rm"] {
            let mut holder = Command::new("unshare")
                .args([flags, "sh", "-c", &script, "sh"])
                .arg(at)
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .map_err(|error| {
                    ChaosRunError::NotPermitted(format!("cannot run unshare: {error}; install util-linux"))
                })?;
            let mut line = String::new();
            if let Some(out) = holder.stdout.take() {
                let _ = BufReader::new(out).read_line(&mut line);
            }
            if line == "mounted\n" {
                let inside = at.strip_prefix("/").unwrap_or(at);
                let root = PathBuf::from(format!("/proc/{}/root", holder.id())).join(inside);
                return Ok(Self { holder, root });
            }
            if let Some(err) = &mut holder.stderr {
                let _ = err.read_to_string(&mut refusals);
            }
            let _ = holder.wait();
        }
        Err(ChaosRunError::NotPermitted(format!(
            "cannot mount a small disk in a namespace of its own: {}; run it as root, or where user namespaces are \
             permitted",
            refusals.trim()
        )))
    }

    fn ballast(&self) -> PathBuf {
        self.root.join("ballast")
    }

    /// Takes all the space that is left.
    fn fill(&self) -> Result<(), ChaosRunError> {
        let ballast = self.ballast();
        let mut size = DISK_BYTES;
        // Writing stops where the disk does; the file keeps what fits.
        while size >= 4_096 {
            let _ = fs::write(&ballast, vec![1; usize::try_from(size).unwrap_or(0)]);
            let kept = fs::metadata(&ballast).map_err(ChaosRunError::file(&ballast))?.len();
            if kept < size {
                return Ok(());
            }
            size = size.saturating_mul(2);
        }
        Ok(())
    }

    fn empty(&self) -> Result<(), ChaosRunError> {
        let ballast = self.ballast();
        fs::remove_file(&ballast).map_err(ChaosRunError::file(&ballast))
    }
}

pub(in crate::chaos) fn on_a_small_disk(stage: &mut Stage<'_>, disk: SmallDisk) -> Result<(), ChaosRunError> {
    stage.rig.start()?;
    stage.rig.feed_and_settle(40)?;
    disk.fill()?;
    stage.rig.injected += 1;
    // Until the segments that were made ahead are full as well.
    stage.rig.until(Duration::from_secs(60), |rig| {
        let _ = rig.feed(20);
        rig.pause(Duration::from_millis(20));
        let stopped =
            rig.view().is_none_or(|view| view.stopped || view.mode == crate::orders::Mode::Shutdown);
        (stopped || !rig.is_alive()).then_some(())
    });
    let said = stage.rig.said();
    let full = said.lines().filter(|line| line.contains("No space left on device"));
    // The recorder may be the first to find out, and goes on without.
    let told = full.max_by_key(|line| line.contains("free some space"));
    stage.checks.expect(
        "it says that the disk is full, and what to do",
        told.is_some_and(|line| line.contains("free some space")),
        told.unwrap_or("nothing"),
    );
    let orders = stage.rig.truth()?.orders.len();
    let _ = stage.rig.feed(40);
    stage.rig.pause(Duration::from_millis(500));
    let later = stage.rig.truth()?.orders.len();
    stage.checks.expect(
        "nothing is sent that could not be written down",
        later == orders,
        format!("{later} orders"),
    );
    stage.rig.kill();
    let audit = stage.rig.audit()?;
    stage.checks.expect(
        "nothing acknowledged is lost",
        audit.lost + audit.duplicated == 0,
        audit.words.join("; "),
    );
    disk.empty()?;
    stage.rig.start()?;
    heal(stage)?;
    stage.rig.keep(Box::new(disk));
    Ok(())
}
