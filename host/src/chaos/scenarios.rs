//! The scenarios.

use super::ChaosRunError;
use super::rig::Rig;
use super::scenario::{Ends, Scenario, Stage, Trader};
use crate::orders::Mode;
use crate::random::SplitMix64;
use crate::venue::chaos::{ChaosConfig, Fault, Plan, Scope};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

mod disk;
mod files;

pub(super) use disk::{SmallDisk, on_a_small_disk};

const HEALING: Duration = Duration::from_secs(30);

const fn scenario(
    name: &'static str,
    about: &'static str,
    trader: Trader,
    carry_out: fn(&mut Stage<'_>) -> Result<(), ChaosRunError>,
) -> Scenario {
    Scenario { name, about, trader, carry_out }
}

pub(super) const ALL: &[Scenario] = &[
    scenario(
        "partition",
        "nothing gets through for 30 s: the breakers open, one request a period asks whether that is over, orders wait",
        Trader::Averages,
        partition,
    ),
    scenario(
        "latency",
        "for 15 s every reply to an order comes 5 s late, long after the timeout: asked about, never sent as another",
        Trader::Averages,
        latency,
    ),
    scenario(
        "bad-prices",
        "rows with NaN, infinities, 1e308, zero, nothing, words, and times that were: the strategy sees none of them",
        Trader::Averages,
        bad_prices,
    ),
    scenario("kill", "kill -9, ten times, whenever it happens", Trader::Averages, kill),
    scenario(
        "checkpoints",
        "checkpoints deleted, emptied and with a bit turned, each generation and all of them",
        Trader::Averages,
        files::checkpoints,
    ),
    scenario(
        "journal-rot",
        "a bit of the journal turned: refused, left as it is, and taken again once it is whole",
        Trader::Averages,
        files::journal_rot,
    ),
    scenario(
        "duplicates",
        "every order twice on the wire, then dead letters, each ordered again twice",
        Trader::Averages,
        duplicates,
    ),
    scenario(
        "fill-then-error",
        "the venue executes and answers 400, then 500, then nothing at all",
        Trader::Averages,
        fill_then_error,
    ),
    scenario(
        "rate-limit",
        "429 with Retry-After in seconds, as a date, and as nonsense: nothing is asked before it is over",
        Trader::Averages,
        rate_limit,
    ),
    scenario(
        "clock-jump",
        "the time of the data leaps an hour ahead, and back",
        Trader::Averages,
        clock_jump,
    ),
    scenario("slow-plugin", "a strategy that never returns", Trader::Faulty("loop"), bad_plugin),
    scenario("trapping-plugin", "a strategy that panics in every call", Trader::Faulty("panic"), bad_plugin),
    scenario(
        DISK_FULL,
        "the disk is full in the middle of trading: the agent stops at once, and goes on when there is space",
        Trader::Averages,
        nothing,
    ),
    scenario("everything", "all of it at once, for five minutes", Trader::Averages, everything),
];

const DISK_FULL: &str = "disk-full";

/// Where the host's state goes: a small disk of its own for the scenario that fills it.
pub(super) fn place(scenario: &Scenario, dir: &Path) -> Result<(PathBuf, Option<SmallDisk>), ChaosRunError> {
    if scenario.name == DISK_FULL {
        let disk = SmallDisk::mount(&dir.join("disk"))?;
        let state = disk.root.join("state");
        fs::create_dir_all(&state).map_err(ChaosRunError::file(&state))?;
        return Ok((state, Some(disk)));
    }
    Ok((dir.join("state"), None))
}

/// What one request in five meets when nothing else is planned.
pub(super) fn rough() -> ChaosConfig {
    ChaosConfig {
        failure_permille: 200,
        latency_jitter_ms: 5,
        error_codes: vec![500, 502, 503, 504],
        faults: vec![
            Fault::ResetBefore,
            Fault::DropReply,
            Fault::ErrorAfter(502),
            Fault::Duplicate,
            Fault::Truncate,
            Fault::Corrupt,
            Fault::Delay(100),
            Fault::DelayReply(100),
            Fault::TooManyRequests { retry_after: "0".into() },
        ],
        ..ChaosConfig::default()
    }
}

fn nothing(_: &mut Stage<'_>) -> Result<(), ChaosRunError> {
    Ok(())
}

/// Lets rows flow for a while, and says every mode that was seen.
fn trade_for(rig: &mut Rig, time: Duration) -> Result<Vec<Mode>, ChaosRunError> {
    let end = rig.seconds() + time.as_secs_f64();
    let mut modes = Vec::new();
    while rig.seconds() < end && rig.is_alive() {
        rig.feed(1)?;
        rig.pause(Duration::from_millis(50));
        if let Some(view) = rig.view()
            && !modes.contains(&view.mode)
        {
            modes.push(view.mode);
        }
    }
    Ok(modes)
}

/// Waits, with rows that flow, until the agent may do everything again.
fn heal(stage: &mut Stage<'_>) -> Result<(), ChaosRunError> {
    stage.rig.set_plan(Plan::Pass)?;
    let begun = stage.rig.seconds();
    let healed = stage.rig.until(HEALING, |rig| {
        let _ = rig.feed(1);
        rig.pause(Duration::from_millis(50));
        let view = rig.view()?;
        (view.mode == Mode::Full && view.open_intents == 0).then_some(())
    });
    let seconds = stage.rig.seconds() - begun;
    stage.checks.expect(
        "once it is over, the mode is full and nothing is under way within 30 s",
        healed.is_some(),
        format!("{seconds:.1} s"),
    );
    Ok(())
}

fn partition(stage: &mut Stage<'_>) -> Result<(), ChaosRunError> {
    stage.rig.feed_and_settle(40)?;
    stage.rig.set_plan(Plan::Always(Fault::ResetBefore, Scope::All))?;
    let fallen = stage.rig.until(HEALING, |rig| {
        let _ = rig.feed(1);
        rig.pause(Duration::from_millis(20));
        rig.view().filter(|view| view.mode != Mode::Full)
    });
    stage.checks.expect("the mode falls", fallen.is_some(), fallen.map_or("full", |view| view.mode.name()));
    let (before, begun) = (stage.rig.proxy.stats().requests, stage.rig.seconds());
    let span = stage.span(30);
    let modes = trade_for(&mut stage.rig, span)?;
    let asked = stage.rig.proxy.stats().requests - before;
    // Two breakers that stay open for a second, and what was under way when they opened.
    let most = 2.0 * (stage.rig.seconds() - begun + 1.0) + 10.0;
    stage.checks.expect(
        "no more than one request a second asks whether it is over, for orders and for questions each",
        (asked as f64) <= most,
        format!("{asked} requests, at most {most:.0}"),
    );
    let names: Vec<&str> = modes.iter().map(|mode| mode.name()).collect();
    stage.checks.expect("the mode stays below full", !modes.contains(&Mode::Full), names.join(", "));
    let trips = stage.rig.trips("read").unwrap_or(0) + stage.rig.trips("write").unwrap_or(0);
    stage.checks.expect("a breaker opened", trips > 0, format!("{trips} times"));
    heal_with_letters(stage)
}

fn latency(stage: &mut Stage<'_>) -> Result<(), ChaosRunError> {
    stage.rig.feed_and_settle(20)?;
    stage.rig.set_plan(Plan::Always(Fault::DelayReply(5_000), Scope::Writes))?;
    let span = stage.span(15);
    trade_for(&mut stage.rig, span)?;
    let late = stage.rig.proxy.stats().injected.get("delay-reply").copied().unwrap_or(0);
    stage.checks.expect("orders met the delay", late > 0, format!("{late} of them"));
    heal(stage)?;
    let audit = stage.rig.audit()?;
    stage.checks.expect("none was placed twice", audit.duplicated == 0, audit.words.join("; "));
    Ok(())
}

fn bad_prices(stage: &mut Stage<'_>) -> Result<(), ChaosRunError> {
    const BAD: [&str; 12] = [
        "NaN",
        "inf",
        "-inf",
        "1e308",
        "-1e308",
        "0",
        "-1000.00",
        "",
        "null",
        "\"1000\"",
        "1000.005",
        "99999999.00",
    ];
    stage.rig.feed_and_settle(20)?;
    for price in BAD {
        stage.rig.feed_bad(price)?;
        stage.rig.feed_and_settle(3)?;
    }
    // A row of an hour ago is stale, whatever its price.
    stage.rig.leap(-3_600_000);
    stage.rig.feed(1)?;
    stage.rig.forget_good(1);
    stage.rig.leap(3_600_000);
    stage.rig.feed_and_settle(10)?;
    let (good, seen) = (stage.rig.good(), stage.rig.view().map_or(0, |view| view.stats.ticks));
    stage.checks.expect(
        "the strategy saw the good rows and no other",
        seen == good,
        format!("{seen} of {good}"),
    );
    let odd = |price: rust_decimal::Decimal| price < 900.into() || price > 1_100.into();
    let truth = stage.rig.truth()?;
    let strange = truth.executions.iter().filter(|execution| odd(execution.price)).count();
    stage.checks.expect("nothing traded at such a price", strange == 0, format!("{strange} executions"));
    Ok(())
}

fn kill_and_compare(stage: &mut Stage<'_>, number: u32) -> Result<(), ChaosRunError> {
    stage.rig.kill();
    let audit = stage.rig.audit()?;
    let sound = audit.lost == 0 && audit.duplicated == 0;
    stage.checks.expect(
        format!("after kill {number} the journal equals the ledger"),
        sound,
        audit.words.join("; "),
    );
    stage.rig.start()
}

fn kill(stage: &mut Stage<'_>) -> Result<(), ChaosRunError> {
    let mut random = SplitMix64(stage.setting.seed);
    stage.rig.set_plan(Plan::Configured)?;
    for number in 1..=10 {
        stage.rig.feed(5 + random.below(60))?;
        stage.rig.pause(Duration::from_millis(random.below(300)));
        kill_and_compare(stage, number)?;
    }
    heal(stage)
}

fn duplicates(stage: &mut Stage<'_>) -> Result<(), ChaosRunError> {
    stage.rig.set_plan(Plan::Always(Fault::Duplicate, Scope::Writes))?;
    stage.rig.feed_and_settle(60)?;
    stage.rig.settle();
    let doubled = stage.rig.proxy.stats().injected.get("duplicate").copied().unwrap_or(0);
    let audit = stage.rig.audit()?;
    stage.checks.expect(
        "orders that came twice were placed once",
        doubled > 0 && audit.duplicated == 0,
        format!("{doubled} came twice; {}", audit.words.join("; ")),
    );
    stage.rig.set_plan(Plan::Always(Fault::ErrorBefore(503), Scope::Orders))?;
    stage.rig.until(HEALING, |rig| {
        let _ = rig.feed(1);
        rig.pause(Duration::from_millis(50));
        rig.view().filter(|view| view.stats.dead_letters > 0)
    });
    heal_with_letters(stage)
}

/// Does what an operator does about dead letters, and does it twice: an intent that was given up on in doubt keeps
/// the agent from more than closing, until somebody has said what becomes of it.
fn heal_with_letters(stage: &mut Stage<'_>) -> Result<(), ChaosRunError> {
    stage.rig.set_plan(Plan::Pass)?;
    stage.rig.until(HEALING, |rig| {
        let _ = rig.feed(1);
        rig.pause(Duration::from_millis(50));
        rig.view().filter(|view| matches!(view.mode, Mode::Full | Mode::ReadOnly))
    });
    // The breaker of orders closes a period after that of questions at the latest; until then a replay is refused.
    trade_for(&mut stage.rig, Duration::from_secs(2))?;
    let config = stage.rig.config();
    let (_, listed) = stage.rig.command(&["dlq", "list", "--config", &config])?;
    let letters = listed["letters"].as_array().cloned().unwrap_or_default();
    let ids: Vec<&str> = letters.iter().filter_map(|letter| letter["id"].as_str()).collect();
    stage.checks.expect(
        "what could not be sent waits as a dead letter",
        !ids.is_empty(),
        format!("{}", ids.len()),
    );
    let (mut first, mut second) = (0, 0);
    for id in &ids {
        first += u32::from(stage.rig.command(&["dlq", "replay", id, "--ambiguous", "--config", &config])?.0);
        second += u32::from(stage.rig.command(&["dlq", "replay", id, "--ambiguous", "--config", &config])?.0);
    }
    stage.checks.expect(
        "an order to send a letter again holds once",
        first as usize == ids.len() && second == 0,
        format!("{first} of {} taken, then {second}", ids.len()),
    );
    heal(stage)
}

fn fill_then_error(stage: &mut Stage<'_>) -> Result<(), ChaosRunError> {
    for fault in [Fault::ErrorAfter(400), Fault::ErrorAfter(500), Fault::DropReply, Fault::SwallowReply] {
        stage.rig.feed_and_settle(5)?;
        let name = fault.name();
        let before = stage.rig.proxy.stats().injected.get(name).copied().unwrap_or(0);
        stage.rig.set_plan(Plan::Always(fault, Scope::Writes))?;
        stage.rig.until(HEALING, |rig| {
            let _ = rig.feed(1);
            rig.pause(Duration::from_millis(50));
            (rig.proxy.stats().injected.get(name).copied().unwrap_or(0) > before + 1).then_some(())
        });
        heal(stage)?;
    }
    Ok(())
}

fn rate_limit(stage: &mut Stage<'_>) -> Result<(), ChaosRunError> {
    // A date has whole seconds, so that one three seconds ahead is at least two.
    type Header = fn() -> String;
    let headers: [(Header, f64); 4] = [
        (|| "2".to_owned(), 2.0),
        (|| httpdate_in(3), 2.0),
        (|| "-7".to_owned(), 0.0),
        (|| "soon".to_owned(), 0.0),
    ];
    for (header, seconds) in headers {
        stage.rig.feed_and_settle(10)?;
        let retry_after = header();
        let before = stage.rig.proxy.stats().injected_total();
        let fault = Fault::TooManyRequests { retry_after: retry_after.clone() };
        stage.rig.set_plan(Plan::Script(vec![Some(fault)], Scope::Writes))?;
        let met = stage.rig.until(HEALING, |rig| {
            let _ = rig.feed(1);
            rig.pause(Duration::from_millis(10));
            (rig.proxy.stats().injected_total() > before).then(|| rig.seconds())
        });
        let Some(met) = met else {
            stage.checks.expect(format!("an order met Retry-After: {retry_after}"), false, "none in 30 s");
            continue;
        };
        // One that had been sent already may still arrive.
        stage.rig.pause(Duration::from_millis(100));
        let begun = stage.rig.proxy.stats().requests;
        let _ = stage.rig.feed(5);
        let rest = (met + seconds - 0.2 - stage.rig.seconds()).max(0.0);
        stage.rig.pause(Duration::from_secs_f64(rest));
        let asked = stage.rig.proxy.stats().requests - begun;
        if seconds > 0.0 {
            stage.checks.expect(
                format!("nothing is asked within Retry-After: {retry_after}"),
                asked == 0,
                format!("{asked} requests"),
            );
        }
        heal(stage)?;
    }
    Ok(())
}

fn httpdate_in(seconds: u64) -> String {
    #[expect(clippy::disallowed_methods, reason = "a date for a header of now; nothing is decided by it")]
    let now = std::time::SystemTime::now();
    httpdate::fmt_http_date(now + Duration::from_secs(seconds))
}

fn clock_jump(stage: &mut Stage<'_>) -> Result<(), ChaosRunError> {
    stage.rig.feed_and_settle(30)?;
    stage.rig.leap(3_600_000);
    stage.rig.feed_and_settle(30)?;
    stage.rig.leap(-3_600_000);
    stage.rig.feed(20)?;
    stage.rig.forget_good(20);
    stage.rig.leap(3_600_000);
    stage.rig.feed_and_settle(30)?;
    let (good, seen) = (stage.rig.good(), stage.rig.view().map_or(0, |view| view.stats.ticks));
    stage.checks.expect(
        "the strategy saw what came after the leap ahead, and nothing of an hour ago",
        seen == good,
        format!("{seen} of {good}"),
    );
    heal(stage)
}

fn bad_plugin(stage: &mut Stage<'_>) -> Result<(), ChaosRunError> {
    stage.ends = Ends::WithoutStrategy;
    stage.rig.feed_and_settle(90)?;
    let trapped = stage.rig.until(HEALING, |rig| {
        let _ = rig.feed(1);
        rig.pause(Duration::from_millis(20));
        rig.view().filter(|view| view.stats.traps > 0)
    });
    let traps = trapped.as_ref().map_or(0, |view| view.stats.traps);
    stage.rig.injected += traps;
    stage.checks.expect("the call ends in a trap", traps > 0, format!("{traps} traps"));
    let out = stage.rig.until(HEALING, |rig| {
        let _ = rig.feed(1);
        rig.pause(Duration::from_millis(20));
        rig.view().filter(|view| view.strategy.state != "running")
    });
    stage.checks.expect(
        "it is taken out, and the host goes on",
        out.is_some() && stage.rig.is_alive(),
        out.map_or_else(|| "it runs".to_owned(), |view| view.strategy.state),
    );
    Ok(())
}

/// Orders every dead letter to be sent again.
fn replay_letters(rig: &Rig) -> Result<(), ChaosRunError> {
    let config = rig.config();
    let (_, listed) = rig.command(&["dlq", "list", "--config", &config])?;
    for letter in listed["letters"].as_array().into_iter().flatten() {
        if let Some(id) = letter["id"].as_str() {
            rig.command(&["dlq", "replay", id, "--ambiguous", "--config", &config])?;
        }
    }
    Ok(())
}

fn everything(stage: &mut Stage<'_>) -> Result<(), ChaosRunError> {
    let mut random = SplitMix64(stage.setting.seed ^ 0x0E5E_27E7_41B6);
    let end = stage.rig.seconds() + stage.span(300).as_secs_f64();
    let mut kills = 0;
    while stage.rig.seconds() < end {
        let plan = match random.below(10) {
            0 => Plan::Refuse,
            1 => Plan::Always(Fault::DelayReply(1_000), Scope::Writes),
            2 => Plan::Always(Fault::DropReply, Scope::Writes),
            3 => Plan::Always(Fault::ErrorBefore(503), Scope::All),
            4 => Plan::Always(Fault::Trickle(1), Scope::Reads),
            5 => Plan::Always(Fault::BlackHole, Scope::Orders),
            6 => Plan::Pass,
            _ => Plan::Configured,
        };
        stage.rig.set_plan(plan)?;
        let time = Duration::from_millis(200 + random.below(1_500));
        trade_for(&mut stage.rig, time)?;
        match random.below(6) {
            0 => stage.rig.feed_bad("NaN")?,
            1 => stage.rig.leap(random.below(600_000) as i64),
            2 | 3 => {
                stage.rig.feed(random.below(20))?;
                kills += 1;
                kill_and_compare(stage, kills)?;
            }
            4 => replay_letters(&stage.rig)?,
            _ => {}
        }
    }
    kills += 1;
    kill_and_compare(stage, kills)?;
    stage.checks.expect("it was killed and came back", stage.rig.is_alive(), format!("{kills} times"));
    stage.rig.set_plan(Plan::Pass)?;
    stage.rig.until(HEALING, |rig| {
        let _ = rig.feed(1);
        rig.pause(Duration::from_millis(50));
        rig.view().filter(|view| matches!(view.mode, Mode::Full | Mode::ReadOnly))
    });
    trade_for(&mut stage.rig, Duration::from_secs(2))?;
    replay_letters(&stage.rig)?;
    heal(stage)
}
