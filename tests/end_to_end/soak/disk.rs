//! A disk that is full, and a disk that fails.

use super::super::setup::trades;
use super::books::{Fate, Story, heal};
use super::fault::{Call, Fault};
use super::rig::{LARGE_SEGMENTS, Rig, SMALL_SEGMENTS};
use ringfence::venue::chaos::{ChaosConfig, Fault as Disturbance, Plan as Chaos, Scope};
use serde_json::Value;
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A disk of a few hundred kilobytes in a mount namespace of its own, seen through the process that holds it.
struct SmallDisk {
    holder: Child,
    root: PathBuf,
}

const DISK_BYTES: u64 = 1 << 20;

impl SmallDisk {
    /// Mounts it at a folder. `None` when the machine does not permit that and the caller was told to go on.
    fn mount(at: &Path) -> Option<Self> {
        std::fs::create_dir_all(at).unwrap();
        let script = format!(
            "mount -t tmpfs -o size={DISK_BYTES} none '{}' && echo mounted && exec cat",
            at.display()
        );
        let mut refusals = String::new();
        // As root, and as a user who may be root in a namespace of their own.
        for flags in ["-m", "-rm"] {
            let started = Command::new("unshare")
                .args([flags, "sh", "-c", &script])
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn();
            let mut holder = match started {
                Ok(holder) => holder,
                Err(error) => panic!("cannot run unshare: {error}; install util-linux"),
            };
            let mut line = String::new();
            BufReader::new(holder.stdout.take().unwrap()).read_line(&mut line).unwrap();
            if line == "mounted\n" {
                let inside = at.strip_prefix("/").unwrap();
                let root = PathBuf::from(format!("/proc/{}/root", holder.id())).join(inside);
                return Some(Self { holder, root });
            }
            holder.stderr.take().unwrap().read_to_string(&mut refusals).unwrap();
            holder.wait().unwrap();
        }
        assert!(
            std::env::var("RINGFENCE_SKIP_TMPFS").is_ok_and(|skip| skip == "1"),
            "cannot mount a small disk in a namespace of its own: {}; run the tests as root or where user \
             namespaces are permitted, or set RINGFENCE_SKIP_TMPFS=1 to go without the full disk",
            refusals.trim()
        );
        skipped();
        None
    }

    /// Takes all space but this much; zero gives everything back.
    fn fill(&self, left: Option<u64>) {
        let ballast = self.root.join("ballast");
        let _ = std::fs::remove_file(&ballast);
        let Some(left) = left else { return };
        let used: u64 = bytes_below(&self.root);
        std::fs::write(&ballast, vec![1; usize::try_from(DISK_BYTES - used - left).unwrap()]).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

#[expect(clippy::print_stderr, reason = "whoever asked for the test to be left out should see that it was")]
fn skipped() {
    eprintln!("RINGFENCE_SKIP_TMPFS=1: the full disk was NOT tested");
}

fn bytes_below(folder: &Path) -> u64 {
    let mut sum = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        sum += if path.is_dir() { bytes_below(&path) } else { path.metadata().unwrap().blocks() * 512 };
    }
    sum
}

/// Who ran out of space, by what the host said.
fn victims(said: &str) -> BTreeSet<&'static str> {
    let parts =
        [("/journal/", "journal"), ("/checkpoints/", "checkpoint"), ("/dead-letters/", "dead letters")];
    // A segment that could not be made ahead has cost nothing: the writer makes it when it is needed.
    let costs = |line: &&str| !line.contains("could not be made ahead");
    let full = said.lines().filter(|line| line.contains("No space left on device")).filter(costs);
    full.flat_map(|line| parts.iter().filter(|(part, _)| line.contains(part)).map(|(_, name)| *name))
        .collect()
}

#[test]
fn a_full_disk_loses_nothing_and_says_so_and_the_host_starts_again_once_there_is_space() {
    let mut hit = BTreeSet::new();
    // From no space at all to enough for a journal, a database, checkpoints and some segments.
    for kilobytes in [0, 16, 32, 36, 40, 48, 64, 104, 160, 192] {
        let rig = Rig::new(200, ChaosConfig::default(), SMALL_SEGMENTS);
        let Some(disk) = SmallDisk::mount(&rig.path("disk")) else { return };
        std::fs::create_dir(disk.root.join("state")).unwrap();
        std::os::unix::fs::symlink(disk.root.join("state"), rig.path("state")).unwrap();
        disk.fill(Some(kilobytes * 1024));
        let status = rig.host(None).end();
        let (said, report) = (rig.stderr(), rig.report());
        let victims = victims(&said);
        match status.code() {
            // A refused start: one message, and nothing was sent.
            Some(4) => {
                assert!(said.contains("error (resource "), "{kilobytes} KiB: {said}");
                assert!(rig.truth().orders.is_empty(), "{kilobytes} KiB: {:?}", rig.truth().orders);
            }
            Some(1) => {
                assert!(victims.contains("journal"), "{kilobytes} KiB: {said}");
                assert_eq!(report["agents"][0]["mode"], "shutdown", "{kilobytes} KiB: {report}");
                assert!(said.contains("free some space and restart"), "{kilobytes} KiB: {said}");
            }
            // The journal still holds everything that a checkpoint would.
            Some(0) => assert_eq!(victims.iter().collect::<Vec<_>>(), [&"checkpoint"], "{kilobytes} KiB"),
            _ => panic!("{kilobytes} KiB: {status}: {said}"),
        }
        hit.extend(victims);
        disk.fill(None);
        heal(&rig).unwrap_or_else(|failure| panic!("{kilobytes} KiB: {failure}"));
    }
    assert_eq!(hit.into_iter().collect::<Vec<_>>(), ["checkpoint", "dead letters", "journal"]);
}

#[test]
fn a_dead_letter_that_finds_the_disk_full_is_still_in_the_journal_and_comes_back_from_there() {
    let seal = Call::new("write", "dead-letters/seal$", "", 1);
    let in_the_seal = seal.clone().with(Fault::Full);
    // The seal is written first, with the first letter.
    let in_sled = seal.then(Call::new("write", "dead-letters/db/db$", "", 1), Fault::Full);
    for (rule, place) in [(in_the_seal, "/dead-letters/seal"), (in_sled, "/dead-letters/db")] {
        let rig = Rig::new(12, ChaosConfig::default(), LARGE_SEGMENTS);
        rig.silence();
        rig.host(Some(&rule)).end();
        assert!(rig.faults().starts_with("fault\n"), "nothing was written: {}", rig.stderr());
        let said = rig.stderr();
        let full = said.lines().find(|line| line.contains("No space left on device"));
        let told = full.is_some_and(|line| {
            line.contains("disk_full") && line.contains(place) && line.contains("free some space and restart")
        });
        assert!(told && !said.contains("Os {"), "{place}: {said}");
        let dead = Story::read(&rig).unwrap();
        assert!(!dead.keys(Fate::Dead).is_empty(), "{:?}{}{}", dead.intents, rig.stderr(), rig.report());
        // Long enough for the mode to rise, or the replay is refused.
        std::fs::write(rig.path("trades.csv"), trades(400)).unwrap();
        heal(&rig).unwrap_or_else(|failure| panic!("{place}: {failure}"));
    }
}

#[test]
fn a_database_that_finds_the_disk_full_while_it_opens_is_not_taken_for_damaged() {
    for number in 1..=3 {
        let rig = Rig::new(12, ChaosConfig::default(), LARGE_SEGMENTS);
        rig.run_without_flattening().unwrap();
        let rule = Call::new("write", "dead-letters/", "", number).with(Fault::Full);
        rig.host(Some(&rule)).end();
        let said = rig.stderr();
        assert_eq!(rig.faults().is_empty(), !said.contains("disk_full"), "write {number}: {said}");
        assert!(!rig.path("state/dead-letters/db.corrupt-1").exists(), "write {number}: {said}");
        heal(&rig).unwrap_or_else(|failure| panic!("write {number}: {failure}"));
    }
}

#[test]
fn checkpoints_that_find_the_disk_full_are_told_once_and_lower_the_mode() {
    let rig = Rig::new(400, ChaosConfig::default(), LARGE_SEGMENTS);
    let rule = Call::new("write", "/checkpoints/", "", 3).with(Fault::Full);
    assert!(rig.host(Some(&rule)).end().success(), "{}", rig.stderr());
    let alerts = &rig.report()["alerts"];
    assert_eq!((&alerts["checkpoint_failed"], &alerts["checkpoints_failed"]), (&1.into(), &1.into()));
    let tried = rig.faults().lines().count();
    assert!(tried >= 3, "{tried} failures make no row");
    assert_eq!(rig.report()["agents"][0]["mode"], "read-only", "{}", rig.report());
    heal(&rig).unwrap();
}

#[test]
fn a_host_that_flattens_closes_what_is_certain_and_names_the_doubt_without_trying_in_vain() {
    let rig = Rig::new(60, ChaosConfig::default(), LARGE_SEGMENTS);
    // Six orders are answered; of those after them nobody ever hears.
    let mut steps = vec![Some(Disturbance::ErrorAfter(503)); 20_000];
    steps[..8].fill(None);
    rig.set_plan(Chaos::Script(steps, Scope::All));
    rig.run_without_flattening().unwrap();
    rig.set_plan(Chaos::Always(Disturbance::ErrorBefore(503), Scope::Reads));
    let begun = Instant::now();
    let status = rig.host(None).end();
    // Five rounds with their pauses took eight seconds.
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
    // The agent does not know that it is flat, so this is no orderly end.
    assert_eq!(status.code(), Some(1), "{}", rig.stderr());
    let (alerts, said) = (rig.report()["alerts"].clone(), rig.stderr());
    assert_eq!((&alerts["flatten_in_doubt"], &alerts["flatten_failed"]), (&1.into(), &Value::Null), "{said}");
    let named = said.lines().find(|line| line.contains("flatten_in_doubt")).unwrap();
    let story = Story::read(&rig).unwrap();
    assert!(story.keys(Fate::Dead).iter().any(|key| named.contains(key)), "{named}");
    heal(&rig).unwrap();
}

#[test]
fn a_sync_that_fails_is_not_tried_again_and_nothing_is_sent_on_its_word() {
    for number in [2, 3, 7] {
        let rig = Rig::new(400, ChaosConfig::default(), LARGE_SEGMENTS);
        let sync = Call::new("sync", ".wal$", "", 1);
        let rule = Call::new("write", ".wal$", "decided", number).then(sync, Fault::Io);
        let status = rig.host(Some(&rule)).end();
        assert_eq!(status.code(), Some(1), "{}", rig.stderr());
        // The second attempt would succeed, for pages that the system has thrown away.
        assert_eq!(rig.faults(), "fault\n", "the journal was synced again");
        assert_eq!(rig.report()["agents"][0]["mode"], "shutdown", "{}", rig.report());
        assert!(rig.stderr().contains("journal stopped for good: cannot sync"), "{}", rig.stderr());
        let (truth, story) = (rig.truth(), Story::read(&rig).unwrap());
        assert_eq!(truth.orders.len() as u64, number - 1, "{:?}", truth.orders);
        let undurable = story.keys(Fate::Open);
        assert_eq!(undurable.len(), 1, "the decision whose sync failed: {undurable:?}");
        assert!(undurable.iter().all(|key| !truth.placements.contains_key(*key)), "{undurable:?}");
        heal(&rig).unwrap_or_else(|failure| panic!("sync {number}: {failure}"));
    }
}
