//! Kills a host at every boundary, again and again, and looks at what is left.
//!
//! `SOAK_KILLS` (default 60), `SOAK_SEED` (default 1) and `SOAK_BOUNDARY` (default: all) say how often, where
//! and at which of the calls that fit. Which calls are chosen depends on nothing but the seed and the boundary;
//! what the proxy does to a request depends on the order of requests as well.

use super::super::setup::workspace;
use super::books::{Fate, Story, check_after_a_kill, heal};
use super::boundary::{ALL, Before, Boundary, Kill};
use super::rig::Rig;
use ringfence::random::SplitMix64;
use ringfence::venue::chaos::{ChaosConfig, Fault as Disturbance, Plan as Chaos, Scope};
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::os::unix::process::ExitStatusExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitStatus;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Lives of one data folder, before it is healed and its books are closed.
const KILLS_PER_FOLDER: u64 = 6;

/// What a boundary's kills came to.
#[derive(Clone, Copy, Default)]
struct Tally {
    kills: u64,
    /// Kills whose folder was healed and whose books then equalled the ledger.
    survived: u64,
    /// Kills that only prepare the one in question.
    prepared: u64,
    folders: u64,
    intents: u64,
}

fn number(name: &str, default: u64) -> u64 {
    match std::env::var(name) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{name}: expected a number, found {text:?}")),
        Err(_) => default,
    }
}

#[test]
fn a_host_killed_at_any_boundary_loses_nothing_repeats_nothing_and_its_books_equal_the_ledger() {
    let (kills, seed) = (number("SOAK_KILLS", 60), number("SOAK_SEED", 1));
    let only = std::env::var("SOAK_BOUNDARY").ok();
    let chosen: Vec<(usize, &Boundary)> =
        (ALL.iter().enumerate()).filter(|(_, b)| only.as_ref().is_none_or(|only| *only == b.name)).collect();
    assert!(!chosen.is_empty(), "SOAK_BOUNDARY: expected one of {:?}", names());
    let each = kills.div_ceil(ALL.len() as u64).max(2);
    let begun = Instant::now();
    let next = AtomicUsize::new(0);
    let done: Mutex<Vec<(usize, Result<Tally, String>)>> = Mutex::default();
    let workers = std::thread::available_parallelism().map_or(1, usize::from).min(4);
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                while let Some((index, boundary)) = chosen.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let seed = SplitMix64(seed ^ ((*index as u64 + 1) << 40)).next_u64();
                    let run = AssertUnwindSafe(|| run_boundary(boundary, each, seed));
                    let outcome = catch_unwind(run).unwrap_or_else(|_| Err("a panic, see above".into()));
                    done.lock().unwrap().push((*index, outcome));
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap();
    done.sort_by_key(|(index, _)| *index);
    let mut table = format!("{:<44}{:>7}{:>10}{:>9}\n", "boundary", "kills", "survived", "intents");
    let (mut total, mut failures) = (Tally::default(), String::new());
    for (index, outcome) in done {
        let name = ALL[index].name;
        let tally = outcome.unwrap_or_else(|failure| {
            let _ = writeln!(
                failures,
                "{name}: {failure}\n  repeat it with: SOAK_BOUNDARY={name:?} SOAK_KILLS={kills} SOAK_SEED={seed} make soak"
            );
            Tally::default()
        });
        let _ = writeln!(table, "{name:<44}{:>7}{:>10}{:>9}", tally.kills, tally.survived, tally.intents);
        total.kills += tally.kills;
        total.survived += tally.survived;
        total.prepared += tally.prepared;
        total.folders += tally.folders;
        total.intents += tally.intents;
    }
    let line = serde_json::json!({
        "seed": seed,
        "boundaries": chosen.len(),
        "kills": total.kills,
        "survived": total.survived,
        "preparing_kills": total.prepared,
        "folders": total.folders,
        "intents": total.intents,
        "lost": if failures.is_empty() { Some(0) } else { None },
        "duplicated": if failures.is_empty() { Some(0) } else { None },
        "seconds": begun.elapsed().as_secs(),
    });
    print(&format!("{table}\n{line}\n"));
    std::fs::write(workspace().join("target/soak/result.json"), format!("{line}\n")).unwrap();
    assert!(failures.is_empty(), "\n{failures}");
    assert_eq!(total.kills, total.survived);
}

#[expect(clippy::print_stdout, reason = "the table is what `make soak` is run for")]
fn print(text: &str) {
    println!("\n{text}");
}

fn names() -> Vec<&'static str> {
    ALL.iter().map(|boundary| boundary.name).collect()
}

fn run_boundary(boundary: &Boundary, kills: u64, seed: u64) -> Result<Tally, String> {
    let mut random = SplitMix64(seed);
    let mut tally = Tally::default();
    while tally.kills < kills {
        let fresh = !matches!((boundary.before)(), Before::Nothing | Before::Life(_));
        let here = if fresh { 1 } else { KILLS_PER_FOLDER.min(kills - tally.kills) };
        let rig = Rig::new(400, rough(random.next_u64()), boundary.segments);
        for life in 0..here {
            prepare(&rig, &(boundary.before)(), &mut tally)?;
            let kill = (boundary.kill)(&mut random);
            end_a_life(&rig, &kill).and_then(|()| check_after_a_kill(&rig)).map_err(|failure| {
                format!("kill {} (life {life} of its folder): {failure}", tally.kills + 1)
            })?;
            tally.kills += 1;
        }
        tally.intents += heal(&rig).map_err(|failure| format!("after {} kills: {failure}", tally.kills))?;
        tally.survived += here;
        tally.folders += 1;
    }
    Ok(tally)
}

/// A venue that fails often enough for most lives to have something under way, and never so that a request
/// hangs: lives are short.
fn rough(seed: u64) -> ChaosConfig {
    ChaosConfig {
        seed,
        failure_permille: 80,
        error_codes: vec![503],
        faults: vec![
            Disturbance::ResetBefore,
            Disturbance::DropReply,
            Disturbance::ErrorAfter(502),
            Disturbance::Duplicate,
            Disturbance::Truncate,
        ],
        ..ChaosConfig::default()
    }
}

fn prepare(rig: &Rig, before: &Before, tally: &mut Tally) -> Result<(), String> {
    match before {
        Before::Nothing | Before::Fresh => Ok(()),
        Before::Life(rule) | Before::FreshLife(rule) => {
            tally.prepared += 1;
            rig.kill_at(rule)
        }
        Before::Silence => {
            rig.silence();
            Ok(())
        }
    }
}

fn end_a_life(rig: &Rig, kill: &Kill) -> Result<(), String> {
    match kill {
        Kill::At(rule) => rig.kill_at(rule),
        Kill::FillWithheld(passed) => {
            let status = kill_with_a_fill_withheld(rig, *passed)?;
            rig.must_be_killed(status, &"a fill whose reply is withheld")
        }
        Kill::Random(after) => {
            let mut after = *after;
            loop {
                let life = rig.host(None);
                std::thread::sleep(after);
                if life.kill().signal().is_some() {
                    return Ok(());
                }
                // It had come to its end by itself, which is no kill.
                after /= 2;
            }
        }
    }
}

/// Kills the host while it waits for the reply to an order that the venue has executed.
fn kill_with_a_fill_withheld(rig: &Rig, passed: usize) -> Result<ExitStatus, String> {
    let withheld = || rig.proxy.stats().injected.get("swallow-reply").copied().unwrap_or(0);
    // The host asks for updates too, and may hear of the fill that way before the line is cut.
    for _ in 0..10 {
        let before = withheld();
        let mut steps = vec![None; passed];
        steps.push(Some(Disturbance::SwallowReply));
        rig.set_plan(Chaos::Script(steps, Scope::Writes));
        let mut life = rig.host(None);
        while withheld() == before {
            if let Some(status) = life.poll() {
                return Err(format!("expected a reply to withhold, found {status}: {}", rig.stderr()));
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        rig.proxy.partition(true);
        let unheard = unheard_fills(rig)?;
        let status = life.kill();
        rig.proxy.partition(false);
        rig.set_plan(Chaos::Configured);
        if !unheard.is_empty() && unheard == unheard_fills(rig)? {
            return Ok(status);
        }
    }
    Err("the host heard of every fill before it was killed".into())
}

/// Orders that the venue has executed and the journal does not know to be.
fn unheard_fills(rig: &Rig) -> Result<BTreeSet<String>, String> {
    let (truth, story) = (rig.truth(), Story::read(rig)?);
    let open = story.keys(Fate::Open);
    Ok(truth.executions.into_iter().map(|fill| fill.key).filter(|key| open.contains(key.as_str())).collect())
}
