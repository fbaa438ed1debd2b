//! Prices of the venue's own that are none, or that stand still under a fresh stamp.

use super::super::setup::{facts, text};
use super::rig::{Plan, Rig, alerts};
use ringfence::market::UnixNanos;
use ringfence::venue::paper::MarketTick;
use ringfence::venue::paper::purpleflea::FleaRoute;
use rust_decimal::Decimal;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStderr, Command, Output, Stdio};

/// A host that asks the venue for prices.
struct Life<'a> {
    rig: &'a Rig,
    child: Child,
    stderr: BufReader<ChildStderr>,
    said: String,
    pushed: u64,
}

impl Drop for Life<'_> {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Life<'_> {
    /// Moves the market and waits until the host has asked for the price once more, so many times.
    fn market(&mut self, steps: u64) {
        for _ in 0..steps {
            self.push();
            self.polled(1);
        }
    }

    fn push(&mut self) {
        let wave = [0, 3, 7, 9, 7, 2, -3, -8, -9, -4][(self.pushed % 10) as usize];
        self.pushed += 1;
        let price = |off: i64| Some(Decimal::from(1_000 + wave) + Decimal::new(off, 2));
        let at = UnixNanos(1_700_000_000_000_000_000 + self.pushed);
        let tick = MarketTick { symbol: "TEST".into(), at, last: price(0), bid: price(-1), ask: price(1) };
        self.rig.venue.push_market(&[tick]).unwrap();
    }

    /// Waits for so many more questions for the price.
    fn polled(&mut self, readings: u64) {
        let read = || self.rig.truth().arrived(FleaRoute::MultiPrice);
        let until = read() + readings;
        while read() < until {
            assert!(self.child.try_wait().unwrap().is_none(), "the host ended");
            std::thread::yield_now();
        }
    }

    /// Reads on until the host has said this.
    fn says(&mut self, words: &str) {
        while !self.said.contains(words) {
            let read = self.stderr.read_line(&mut self.said).unwrap();
            assert!(read > 0, "the host ended without {words}: {}", self.said);
        }
    }

    /// Ends the host as a service manager would.
    fn end(mut self) -> Output {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
        let mut stdout = Vec::new();
        self.child.stdout.take().unwrap().read_to_end(&mut stdout).unwrap();
        self.stderr.read_to_string(&mut self.said).unwrap();
        let status = self.child.wait().unwrap();
        Output { status, stdout, stderr: std::mem::take(&mut self.said).into_bytes() }
    }
}

fn rig() -> Rig {
    Rig::new(&Plan {
        feed: "kind = \"venue\"\nvenue = \"flea\"\npoll_ms = 5",
        venue: "price_source = \"cache\"\nprice_frozen_s = 1",
        ..Plan::default()
    })
}

fn start(rig: &Rig) -> Life<'_> {
    let mut child = Command::new(env!("CARGO_BIN_EXE_ringfence"))
        .args(["run", &rig.path("host.toml"), "--format", "json", "--log", "warn"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let stderr = BufReader::new(child.stderr.take().unwrap());
    Life { rig, child, stderr, said: String::new(), pushed: 0 }
}

#[test]
fn prices_that_are_none_reach_no_strategy_and_cause_no_order() {
    for rule in [
        "multi-price:null-price:permille=1000",
        "multi-price:nan-price:permille=1000",
        "multi-price:html-before=502:permille=1000",
        "multi-price:drop-before:permille=1000",
    ] {
        let rig = rig();
        let mut life = start(&rig);
        life.market(30);
        assert!(!rig.account().executions.is_empty(), "{rule}");
        rig.rules(&[rule]);
        life.polled(3);
        let requests = rig.truth().requests.len();
        life.market(20);
        assert!(rig.truth().requests.len() <= requests + 1, "{rule}: it traded on no price");
        rig.rules(&[]);
        life.market(30);
        assert!(rig.truth().requests.len() > requests + 1, "{rule}: it trades again");
        let output = life.end();
        assert!(output.status.success(), "{rule}: {}", text(&output.stderr));
        rig.assert_nothing_twice();
        rig.assert_books_equal(&output);
        rig.assert_key_is_secret(&[&output]);
    }
}

#[test]
fn a_price_that_stands_still_ages_whatever_its_stamp_says() {
    let rig = rig();
    rig.reconfigure("dwell_ms = 20", "feed_age_ms_max = 300, feed_age_ms_leave = 200, dwell_ms = 20");
    let mut life = start(&rig);
    life.market(30);
    let ticked = rig.account().executions.len();
    assert!(ticked > 0);
    // The venue is asked as often as before, and answers with the same price under a new stamp.
    life.says("mode full -> observation because of feed_stale");
    life.market(30);
    let output = life.end();
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(alerts(&output, "feed_stale") > 0, "{}", facts(&output));
    assert!(rig.account().executions.len() > ticked, "it trades again when the price moves");
    rig.assert_nothing_twice();
    rig.assert_books_equal(&output);
}
