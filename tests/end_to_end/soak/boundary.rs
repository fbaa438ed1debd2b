//! The moments at which a host is killed.

use super::fault::{Call, Fault, Rule};
use super::rig::{LARGE_SEGMENTS, SMALL_SEGMENTS};
use ringfence::random::SplitMix64;
use std::time::Duration;

/// How one life is ended.
pub enum Kill {
    /// At a call into the system.
    At(Rule),
    /// When the venue has executed an order and the proxy keeps the reply, after so many that it let pass.
    FillWithheld(usize),
    /// From outside, so long after the start.
    Random(Duration),
}

/// What comes before the life that is killed.
pub enum Before {
    /// The lives before it, in the same folder.
    Nothing,
    /// A folder that no host has seen.
    Fresh,
    /// A life of its own, killed at this call, in the same folder.
    Life(Rule),
    /// A fresh folder, and then such a life.
    FreshLife(Rule),
    /// A fresh folder, and a venue that takes no order and answers no question about one.
    Silence,
}

/// One boundary.
pub struct Boundary {
    pub name: &'static str,
    pub before: fn() -> Before,
    /// Which call it is this time: the number is drawn.
    pub kill: fn(&mut SplitMix64) -> Kill,
    pub segments: &'static str,
}

/// A record of the journal.
fn record(kind: &'static str, random: &mut SplitMix64) -> Call {
    Call::new("write", ".wal$", kind, 2 + random.below(9))
}

const NEXT_SYNC: Call = Call::new("sync", ".wal$", "", 1);

fn request(random: &mut SplitMix64) -> Call {
    Call::new("write", "socket:", "POST /api/trade", 1 + random.below(10))
}

fn checkpoint(operation: &'static str, path: &'static str, random: &mut SplitMix64) -> Call {
    Call::new(operation, path, "", 1 + random.below(10))
}

fn nothing() -> Before {
    Before::Nothing
}

/// A request is under way: what became of it is what the next start has to find out.
fn interrupted() -> Before {
    Before::Life(Call::new("write", "socket:", "POST /api/trade", 3).with(Fault::KillAfter))
}

/// sled has written to its log, so the next opening makes a snapshot of it.
fn with_a_database() -> Before {
    let written = Call::new("write", "dead-letters/db/db$", "", 1);
    Before::FreshLife(written.then(Call::new("sync", "dead-letters/db/db$", "", 1), Fault::KillAfter))
}

const fn at(name: &'static str, kill: fn(&mut SplitMix64) -> Kill) -> Boundary {
    Boundary { name, before: nothing, kill, segments: LARGE_SEGMENTS }
}

const fn prepared(name: &'static str, before: fn() -> Before, kill: fn(&mut SplitMix64) -> Kill) -> Boundary {
    Boundary { name, before, kill, segments: LARGE_SEGMENTS }
}

const fn rolling(name: &'static str, kill: fn(&mut SplitMix64) -> Kill) -> Boundary {
    Boundary { name, before: nothing, kill, segments: SMALL_SEGMENTS }
}

/// All of them, in the order in which an intent comes by.
pub const ALL: &[Boundary] = &[
    at("decision: before it is written", |r| Kill::At(record("decided", r).with(Fault::KillBefore))),
    at("decision: half written", |r| Kill::At(record("decided", r).with(Fault::KillWithin))),
    at("decision: written, not synced", |r| {
        Kill::At(record("decided", r).then(NEXT_SYNC, Fault::KillBefore))
    }),
    at("decision: synced, not sent", |r| Kill::At(record("decided", r).then(NEXT_SYNC, Fault::KillAfter))),
    at("decision: written past the cache, not sent", |r| {
        Kill::At(record("decided", r).with(Fault::KillAfter))
    }),
    at("request: before its first byte", |r| Kill::At(request(r).with(Fault::KillBefore))),
    at("request: half of it sent", |r| Kill::At(request(r).with(Fault::KillWithin))),
    at("request: sent", |r| Kill::At(request(r).with(Fault::KillAfter))),
    at("fill: at the venue, reply withheld", |r| Kill::FillWithheld(r.below(8) as usize)),
    at("reply: received", |r| {
        let reply = Call::new("receive", "socket:", "\"status\":\"", 1 + r.below(10));
        Kill::At(reply.with(Fault::KillAfter))
    }),
    at("outcome: before it is written", |r| Kill::At(record("attempted", r).with(Fault::KillBefore))),
    at("outcome: half written", |r| Kill::At(record("attempted", r).with(Fault::KillWithin))),
    at("outcome: written, not synced", |r| {
        Kill::At(record("attempted", r).then(NEXT_SYNC, Fault::KillBefore))
    }),
    at("outcome: synced", |r| Kill::At(record("attempted", r).then(NEXT_SYNC, Fault::KillAfter))),
    at("checkpoint: half written", |r| Kill::At(checkpoint("write", ".ck.tmp$", r).with(Fault::KillWithin))),
    at("checkpoint: before its sync", |r| {
        Kill::At(checkpoint("sync", ".ck.tmp$", r).with(Fault::KillBefore))
    }),
    at("checkpoint: before its rename", |r| {
        Kill::At(checkpoint("rename", ".ck.tmp$", r).with(Fault::KillBefore))
    }),
    at("checkpoint: renamed, folder not synced", |r| {
        Kill::At(checkpoint("sync", "checkpoints/agent$", r).with(Fault::KillBefore))
    }),
    at("checkpoint: folder synced", |r| {
        Kill::At(checkpoint("sync", "checkpoints/agent$", r).with(Fault::KillAfter))
    }),
    at("checkpoint: before an old one goes", |r| {
        Kill::At(checkpoint("remove", ".ck$", r).with(Fault::KillBefore))
    }),
    rolling("journal roll: new segment half written", |r| {
        Kill::At(Call::new("write", ".wal.tmp$", "", 1 + r.below(6)).with(Fault::KillWithin))
    }),
    rolling("journal roll: before the rename", |r| {
        Kill::At(Call::new("rename", ".wal.tmp$", "", 1 + r.below(3)).with(Fault::KillBefore))
    }),
    rolling("journal roll: renamed, folder not synced", |r| {
        Kill::At(Call::new("sync", "state/journal$", "", 1 + r.below(3)).with(Fault::KillBefore))
    }),
    rolling("compaction: before a segment goes", |r| {
        Kill::At(Call::new("remove", ".wal$", "", 1 + r.below(3)).with(Fault::KillBefore))
    }),
    rolling("compaction: segment gone, folder not synced", |r| {
        let gone = Call::new("remove", ".wal$", "", 1 + r.below(3));
        Kill::At(gone.then(Call::new("sync", "state/journal$", "", 1), Fault::KillBefore))
    }),
    prepared(
        "dead letter: written, not synced",
        || Before::Silence,
        |_| Kill::At(Call::new("write", ".wal$", "dead-lettered", 1).then(NEXT_SYNC, Fault::KillBefore)),
    ),
    prepared(
        "dead letter: synced, not in sled",
        || Before::Silence,
        |_| Kill::At(Call::new("write", ".wal$", "dead-lettered", 1).then(NEXT_SYNC, Fault::KillAfter)),
    ),
    prepared(
        "first start: any disk operation",
        || Before::Fresh,
        |r| Kill::At(Call::new("disk", "/state", "", 1 + r.below(55)).with(Fault::KillBefore)),
    ),
    prepared("recovery: any disk operation", interrupted, |r| {
        Kill::At(Call::new("disk", "/state", "", 1 + r.below(55)).with(Fault::KillBefore))
    }),
    prepared("sled open: any disk operation", with_a_database, |r| {
        let fault = [Fault::KillBefore, Fault::KillAfter][r.below(2) as usize];
        Kill::At(Call::new("disk", "dead-letters", "", 1 + r.below(16)).with(fault))
    }),
    prepared("sled open: snapshot half written", with_a_database, |r| {
        Kill::At(Call::new("write", ".generating$", "", 1 + r.below(3)).with(Fault::KillWithin))
    }),
    prepared("sled open: before the snapshot's rename", with_a_database, |_| {
        Kill::At(Call::new("rename", ".generating$", "", 1).with(Fault::KillBefore))
    }),
    at("random moment", |r| Kill::Random(Duration::from_micros(20_000 + r.below(480_000)))),
];
