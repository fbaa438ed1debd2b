//! Files of a host that was killed, damaged before it starts again.

use super::super::ChaosRunError;
use super::super::scenario::Stage;
use super::heal;
use crate::orders::journal;
use crate::resilience::RealDisk;
use std::fs;
use std::path::{Path, PathBuf};

/// Files with an ending, oldest first.
fn files(dir: &Path, end: &str) -> Result<Vec<PathBuf>, ChaosRunError> {
    let entries = fs::read_dir(dir).map_err(ChaosRunError::file(dir))?;
    let mut paths: Vec<PathBuf> = entries.filter_map(Result::ok).map(|entry| entry.path()).collect();
    paths.retain(|path| path.extension().is_some_and(|found| found == end));
    paths.sort();
    Ok(paths)
}

fn turn_a_bit(path: &Path) -> Result<(), ChaosRunError> {
    let mut bytes = fs::read(path).map_err(ChaosRunError::file(path))?;
    let middle = bytes.len() / 2;
    if let Some(byte) = bytes.get_mut(middle) {
        *byte ^= 0x10;
    }
    fs::write(path, bytes).map_err(ChaosRunError::file(path))
}

pub(super) fn checkpoints(stage: &mut Stage<'_>) -> Result<(), ChaosRunError> {
    // What is done to the generations, oldest first; a host keeps five.
    type Damage = fn(&[PathBuf]) -> Result<usize, ChaosRunError>;
    fn remove(path: &Path) -> Result<(), ChaosRunError> {
        fs::remove_file(path).map_err(ChaosRunError::file(path))
    }
    let damages: [(&str, Damage); 6] = [
        ("a bit of the newest turned", |files| {
            files.last().map_or(Ok(0), |path| turn_a_bit(path).map(|()| 1))
        }),
        ("the newest deleted", |files| files.last().map_or(Ok(0), |path| remove(path).map(|()| 1))),
        ("the newest emptied", |files| {
            let Some(path) = files.last() else { return Ok(0) };
            fs::write(path, b"").map(|()| 1).map_err(ChaosRunError::file(path))
        }),
        ("all but the oldest with a bit turned", |files| {
            files.iter().skip(1).try_for_each(|path| turn_a_bit(path)).map(|()| files.len().saturating_sub(1))
        }),
        ("all with a bit turned", |files| {
            files.iter().try_for_each(|path| turn_a_bit(path)).map(|()| files.len())
        }),
        ("all deleted", |files| files.iter().try_for_each(|path| remove(path)).map(|()| files.len())),
    ];
    for (what, damage) in damages {
        stage.rig.feed_and_settle(80)?;
        stage.rig.kill();
        let dir = stage.rig.state().join("checkpoints/agent");
        let count = damage(&files(&dir, "ck")?)?;
        stage.rig.injected += count as u64;
        let before = stage.rig.audit()?;
        let started = stage.rig.start();
        stage.checks.expect(
            format!("{what}: the host comes up"),
            started.is_ok() && count > 0,
            started.as_ref().map_or_else(ToString::to_string, |()| format!("{count} files")),
        );
        started?;
        let after = stage.rig.audit()?;
        stage.checks.expect(
            format!("{what}: it remembers what the journal holds"),
            after.intents >= before.intents && after.lost + after.duplicated == 0,
            format!("{} intents, {} before; {}", after.intents, before.intents, after.words.join("; ")),
        );
    }
    heal(stage)
}

pub(super) fn journal_rot(stage: &mut Stage<'_>) -> Result<(), ChaosRunError> {
    stage.rig.feed_and_settle(200)?;
    stage.rig.kill();
    let dir = stage.rig.state().join("journal");
    let Some(segment) = files(&dir, "wal")?.into_iter().next() else {
        stage.checks.expect("there is a journal", false, dir.display().to_string());
        return stage.rig.start();
    };
    let whole = fs::read(&segment).map_err(ChaosRunError::file(&segment))?;
    // Far from the end, so that records follow it and it cannot be a torn tail.
    let mut rotten = whole.clone();
    if let Some(byte) = rotten.get_mut(2_000) {
        *byte ^= 1;
    }
    fs::write(&segment, &rotten).map_err(ChaosRunError::file(&segment))?;
    stage.rig.injected += 1;
    let verdict = journal::verify(&dir, &RealDisk);
    stage.checks.expect("the damage is found", verdict.is_err(), format!("{:?}", verdict.err()));
    let orders = stage.rig.truth()?.orders.len();
    let refused = stage.rig.start();
    stage.rig.kill();
    stage.checks.expect(
        "the host does not trade on it",
        refused.is_err() && stage.rig.truth()?.orders.len() == orders,
        refused.map_or_else(|error| error.to_string(), |()| "it started".to_owned()),
    );
    let left = fs::read(&segment).map_err(ChaosRunError::file(&segment))?;
    stage.checks.expect("the damaged file is left as it is", left == rotten, format!("{} bytes", left.len()));
    fs::write(&segment, &whole).map_err(ChaosRunError::file(&segment))?;
    stage.rig.start()?;
    heal(stage)
}
