//! A kill inside `sled::open` that sled 0.34.7 itself does not survive, and the host does.

use super::super::setup::text;
use super::books::{check_after_a_kill, heal};
use super::fault::{Call, Fault};
use super::rig::{LARGE_SEGMENTS, Rig, copy};
use ringfence::venue::chaos::ChaosConfig;
use std::path::{Path, PathBuf};

/// The torn snapshots in the database's folder.
fn torn_snapshots(database: &Path) -> Vec<PathBuf> {
    let names = std::fs::read_dir(database).unwrap().map(|entry| entry.unwrap().path());
    names.filter(|path| path.extension().is_some_and(|end| end == "generating")).collect()
}

#[test]
fn a_kill_inside_sleds_opening_bricks_plain_sled_and_not_the_host() {
    let rig = Rig::new(400, ChaosConfig::default(), LARGE_SEGMENTS);
    // sled writes its log once, and the next opening makes a snapshot of it.
    let written = Call::new("write", "dead-letters/db/db$", "", 1);
    rig.kill_at(&written.then(Call::new("sync", "dead-letters/db/db$", "", 1), Fault::KillAfter)).unwrap();
    rig.kill_at(&Call::new("write", ".generating$", "", 1).with(Fault::KillWithin)).unwrap();
    let database = rig.path("state/dead-letters/db");
    assert_eq!(torn_snapshots(&database).len(), 1);

    let plain = rig.path("plain");
    copy(&database, &plain);
    for _ in 0..2 {
        let opened = sled::open(&plain);
        assert!(
            matches!(opened, Err(sled::Error::Corruption { .. })),
            "sled survives by itself now: {opened:?}; the host's own cleaning may not be needed any more"
        );
    }

    // An operator's command and a host open the same folder as if nothing had been.
    let listed = rig.state(&["dlq", "list"]);
    assert!(listed.status.success(), "{}", text(&listed.stderr));
    assert!(torn_snapshots(&database).is_empty());
    check_after_a_kill(&rig).unwrap();
    heal(&rig).unwrap();
    assert!(!rig.path("state/dead-letters/db.corrupt-1").exists(), "nothing had to be set aside");
}
