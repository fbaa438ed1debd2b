//! The host is killed again and again, before, in and after its orders: what it remembers and what the account
//! shows is all that the next life has.

use super::super::setup::{facts, text};
use super::rig::{Plan, Rig};
use ringfence::venue::paper::purpleflea::FleaRoute;
use serde_json::Value;
use std::process::{Child, Command, Stdio};

const KILLS: usize = 24;

/// At what moment a life ends.
#[derive(Clone, Copy, Debug)]
enum Moment {
    /// So many executions after it began.
    Executed(usize),
    /// So many requests to trade, one of them perhaps on its way.
    Asked(usize),
    /// So many readings of the account: around a baseline, before an order, or while it is asked what became
    /// of one.
    Read(u64),
    /// The next order is executed, and the reply is held back.
    ReplyHeldBack,
}

impl Moment {
    /// All of them in turn, with numbers that differ from life to life.
    fn of(life: usize) -> Self {
        match life % 4 {
            0 => Self::Executed(1 + life % 3),
            1 => Self::ReplyHeldBack,
            2 => Self::Asked(1 + life % 5),
            _ => Self::Read(1 + (life as u64 * 7) % 23),
        }
    }

    fn passed(self, rig: &Rig) -> usize {
        match self {
            Self::Executed(_) | Self::ReplyHeldBack => rig.account().executions.len(),
            Self::Asked(_) => rig.truth().requests.len(),
            Self::Read(_) => rig.truth().arrived(FleaRoute::Positions) as usize,
        }
    }

    fn steps(self) -> usize {
        match self {
            Self::Executed(steps) | Self::Asked(steps) => steps,
            Self::Read(steps) => steps as usize,
            Self::ReplyHeldBack => 1,
        }
    }
}

/// Replies that are lost after the order, refusals that are none, and a venue that is slow or limits.
const ROUGH: [&str; 8] = [
    "open:drop-after:permille=100",
    "open:fail-after-insert:permille=60",
    "open:html-after=504:permille=60",
    "open:rate-limited:permille=60",
    "open:drop-before:permille=60",
    "positions:database-positions:permille=20",
    "positions:empty-positions:permille=20",
    "history:html-before=502:permille=20",
];

fn start(rig: &Rig) -> Child {
    Command::new(env!("CARGO_BIN_EXE_ringfence"))
        .args(["run", &rig.path("host.toml"), "--format", "json", "--log", "warn"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// Starts a host and kills it at this moment. Whether it lived until then.
fn live_until(rig: &Rig, moment: Moment) -> bool {
    let until = moment.passed(rig) + moment.steps();
    let mut executions = rig.account().executions.len();
    let mut child = start(rig);
    loop {
        let executed = rig.account().executions.len();
        if executed > executions {
            // The venue counts seconds, and the order of what it did in one of them is not told.
            rig.venue.advance_ms(1_000);
            executions = executed;
        }
        if moment.passed(rig) >= until {
            child.kill().unwrap();
            child.wait().unwrap();
            return true;
        }
        if child.try_wait().unwrap().is_some() {
            return false;
        }
        std::thread::yield_now();
    }
}

/// Does what an operator would who looks at the account: an order of which there is no trace is sent again or
/// let go. One that was executed is left for the host to find.
fn decide(rig: &Rig, letters: &[Value], before: usize) -> usize {
    let mut decided = 0;
    for (number, letter) in letters.iter().enumerate() {
        let id = letter["id"].as_str().unwrap();
        let executed = rig.caused().get(id).is_some_and(|caused| !caused.is_empty());
        let order: &[&str] = match (executed, (before + number) % 2) {
            (true, _) => continue,
            (false, 0) if letter["ambiguous"] == true => &["dlq", "replay", id, "--ambiguous"],
            (false, 0) => &["dlq", "replay", id],
            (false, _) => &["dlq", "resolve", id, "--note", "the account shows no trace of it"],
        };
        let output = rig.state(order);
        assert!(output.status.success(), "{order:?}: {}", text(&output.stderr));
        decided += 1;
    }
    decided
}

/// What the host does not know is named by a letter. So is an order that the venue turned away, and whose time was over
/// before the host had lived long enough to try again; nothing else is.
fn undecided(rig: &Rig) -> Vec<Value> {
    let letters = rig.letters();
    for letter in &letters {
        let last = letter["errors"].as_array().and_then(|errors| errors.last()).unwrap();
        let turned_away = last["failure"]["code"] == "rate_limited" && last["failure"]["phase"] == "not-sent";
        assert!(letter["ambiguous"] == true || turned_away, "{letter}");
    }
    letters
}

#[test]
fn a_host_that_is_killed_at_any_moment_executes_nothing_twice_and_its_books_agree_in_the_end() {
    let rig = Rig::new(&Plan { ticks: 150, rules: &ROUGH, ..Plan::default() });
    let (mut kills, mut lives, mut decided) = (0, 0, 0);
    while kills < KILLS {
        lives += 1;
        assert!(lives < 4 * KILLS, "{kills} kills in {lives} lives: {:#?}", rig.letters());
        let moment = Moment::of(lives);
        let rules = match moment {
            Moment::ReplyHeldBack => vec!["open:slow-loris=3000:next=1"],
            _ => ROUGH.to_vec(),
        };
        rig.seeded_rules(lives as u64, &rules);
        if live_until(&rig, moment) {
            kills += 1;
        } else {
            decided += decide(&rig, &undecided(&rig), decided);
        }
        rig.venue.advance_ms(1_000);
        rig.assert_nothing_twice();
    }
    rig.rules(&[]);
    let mut output = rig.run();
    for _ in 0..8 {
        assert!(output.status.success(), "{}", text(&output.stderr));
        let letters = undecided(&rig);
        if letters.is_empty() {
            break;
        }
        decided += decide(&rig, &letters, decided);
        rig.venue.advance_ms(1_000);
        output = rig.run();
    }
    assert!(rig.letters().is_empty(), "{:?}\n{}", rig.letters(), text(&output.stderr));
    rig.assert_nothing_twice();
    rig.assert_books_equal(&output);
    rig.assert_key_is_secret(&[&output]);
    let account = rig.account();
    assert!(account.executions.len() > KILLS, "{} executions", account.executions.len());
    let journal = facts(&rig.state(&["journal", "verify"]));
    assert!(journal["records"].as_u64().unwrap() > 100, "{journal}");
    assert!(decided > 0, "no letter was ever decided");
}
