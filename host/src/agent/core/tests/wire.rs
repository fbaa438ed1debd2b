//! The way of an attempt to the venue, and of the answer back.

use super::rig::{Later, Rig};
use super::venue::{Fault, Kind, failure};
use crate::agent::core::*;
use crate::orders::Action;
use crate::resilience::Phase;
use crate::venue::http;
use crate::venue::{Outcome, Reply, Request, RequestKind, RetryAfterHeader};

/// How the venue says when it wants to be asked again.
#[derive(Clone, Copy, Debug, Default)]
pub(super) enum VenueClock {
    /// In seconds.
    #[default]
    Unseen,
    /// Not at all: in words that mean nothing.
    Junk,
    /// As a date, by a clock that is an hour behind, and says so.
    Behind,
    /// The same, an hour ahead.
    Ahead,
}

/// Replies that say nothing of an order, as a status, or none, and a body, or one that is too large. Whatever may say
/// so may have let the request pass, except those that the venue's contract calls refusals.
pub(super) const GARBLED: [(Option<u16>, Option<&str>); 20] = [
    (None, None),
    (Some(200), Some("")),
    (Some(200), Some("<html>maintenance</html>")),
    (Some(200), Some(r#"{"updates":[{"sequence":1,"client_id":"KEY","symbol":"X","change":{"type":"acc"#)),
    (
        Some(200),
        Some(
            r#"{"updates":[{"sequence":1,"client_id":"KEY","symbol":"X","change":{"type":"filled","quantity":"1","price":NaN,"leaves":"0","fee":"0","maker":false}}]}"#,
        ),
    ),
    (
        Some(200),
        Some(
            r#"{"updates":[{"sequence":1,"client_id":"KEY","symbol":"X","change":{"type":"filled","quantity":"1","price":"1e308","leaves":"0","fee":"0","maker":false}}]}"#,
        ),
    ),
    (
        Some(200),
        Some(
            r#"{"updates":[{"sequence":1,"client_id":"KEY","symbol":"X","change":{"type":"filled","quantity":"-1","price":"100","leaves":"0","fee":"0","maker":false}}]}"#,
        ),
    ),
    (
        Some(200),
        Some(
            r#"{"updates":[{"sequence":1,"client_id":"another","symbol":"X","change":{"type":"accepted"}}]}"#,
        ),
    ),
    (Some(200), Some(r#"{"updates":[]}"#)),
    (Some(200), None),
    (Some(204), Some("")),
    (Some(301), Some("")),
    (Some(408), Some("")),
    (Some(409), Some("")),
    (Some(500), Some("")),
    (Some(502), Some("<html>bad gateway</html>")),
    (Some(504), Some("")),
    (Some(400), Some("<html>")),
    (Some(404), Some("")),
    (Some(413), None),
];

impl Rig {
    pub(super) fn send(&mut self, request: Request, attempt: u32) {
        let about = |record: &&Record| match record {
            Record::Submitting { key, .. } => *key == request.key,
            _ => false,
        };
        let latest = self.records().rev().find(about);
        let durable =
            matches!(latest, Some(Record::Submitting { attempt: durable, .. }) if *durable == attempt);
        assert!(durable, "attempt {attempt} was sent before it was durable");
        self.check_permitted(&request);
        self.check_proven(&request);
        let asked = self.asked.remove(&request.key);
        assert!(
            asked.is_none_or(|until| until <= self.now.mono),
            "{} was sent before {asked:?}",
            request.key
        );
        self.sent.push((request.clone(), attempt, self.now.mono));
        let ambiguous = |code: &str| Outcome::Ambiguous(failure(code, Phase::MaybeSent));
        let (mut wait, mut retry_after) = (Duration::ZERO, None);
        let clock = self.clocks.pop_front().unwrap_or_default();
        let outcome = match self.faults.pop_front().unwrap_or(Fault::Delivered) {
            Fault::Delivered => self.venue.receive(&request, false),
            Fault::NotSent => Outcome::NotSent(failure("connect", Phase::NotSent)),
            Fault::Dropped => ambiguous("timeout"),
            Fault::ReplyLost => {
                let _ = self.venue.receive(&request, false);
                ambiguous("reset")
            }
            Fault::ExecutedLater(after) => {
                self.later.push((self.now.mono.after(after), Later::Arrive(request.clone())));
                ambiguous("timeout")
            }
            Fault::Duplicated => {
                let _ = self.venue.receive(&request, false);
                self.venue.receive(&request, false)
            }
            Fault::Refused => self.venue.receive(&request, true),
            Fault::KeyReused => {
                Outcome::Refused(Failure::new(Class::Logic, "key_reused", Phase::Done, "scripted"))
            }
            Fault::TurnedAway => Outcome::Refused(failure("http_404", Phase::MaybeSent)),
            Fault::Unauthorized => Outcome::Refused(failure("unauthorized", Phase::Done)),
            Fault::Throttled(value) => {
                retry_after = Some(self.ask_for_rest(request.key, value, clock));
                Outcome::NotSent(Failure::new(Class::Api, "http_429", Phase::NotSent, "scripted"))
            }
            Fault::Busy(value) => {
                retry_after = Some(self.ask_for_rest(request.key, value, clock));
                Outcome::Ambiguous(Failure::new(Class::Api, "in_progress", Phase::MaybeSent, "scripted"))
            }
            Fault::Garbled { reply, executed } => {
                let (status, body) = GARBLED[reply];
                if executed && !matches!(status, Some(400 | 404 | 413)) {
                    let _ = self.venue.receive(&request, false);
                }
                let body = body.map(|body| body.replace("KEY", &request.key.to_string()));
                http::outcome_of(status, body, request.key, &self.config.instruments)
            }
            Fault::Slow(by) => {
                wait = by;
                self.venue.receive(&request, false)
            }
        };
        let reply = Reply { outcome, latency: wait, retry_after };
        let event = Event::Replied { key: request.key, attempt, reply };
        if wait.is_zero() {
            self.events.push_back(event);
        } else {
            self.later.push((self.now.mono.after(wait), Later::Tell(event)));
        }
    }

    /// The header with which the venue asks to be left alone, by its own clock. I11: it is, for as long as that says.
    fn ask_for_rest(&mut self, key: IntentKey, value: &str, clock: VenueClock) -> RetryAfterHeader {
        let plain = RetryAfterHeader { value: value.into(), date: None };
        let Ok(seconds) = value.parse::<u64>() else { return plain };
        let ahead_s = match clock {
            VenueClock::Junk => return RetryAfterHeader { value: format!("-{value}"), date: None },
            VenueClock::Unseen => None,
            VenueClock::Behind => Some(-3_600),
            VenueClock::Ahead => Some(3_600),
        };
        self.asked.insert(key, self.now.mono.after(Duration::from_secs(seconds)));
        let Some(ahead_s) = ahead_s else { return plain };
        let now_s = (self.venue_time(self.now.mono).0 / 1_000_000_000).saturating_add_signed(ahead_s);
        let date = |s: u64| httpdate::fmt_http_date(std::time::UNIX_EPOCH + Duration::from_secs(s));
        RetryAfterHeader { value: date(now_s + seconds), date: Some(date(now_s)) }
    }

    /// I1 at a venue that remembers no keys: nothing is sent while an earlier attempt may have been executed,
    /// and where only the account tells, nothing while that is so of any order.
    fn check_proven(&mut self, request: &Request) {
        if self.venue.kind == Kind::Keys {
            return;
        }
        self.doubts.fold(&self.journal);
        assert_eq!(self.doubts.of(&request.key), 1, "{} was sent again without proof", request.key);
        if self.venue.kind != Kind::NoIds || matches!(request.kind, RequestKind::Cancel(_)) {
            return;
        }
        let ledger = self.core().ledger();
        let moves = |key: &&IntentKey| {
            ledger.intent(key).is_some_and(|intent| !matches!(intent.action, Action::Cancel(_)))
        };
        let others: Vec<_> = self.doubts.keys().filter(moves).filter(|key| **key != request.key).collect();
        assert!(others.is_empty(), "{} was sent while {others:?} are in doubt", request.key);
        assert!(ledger.intent(&request.key).unwrap().baseline.is_some(), "sent without a baseline");
    }

    /// I14: what leaves is what the mode lets pass.
    fn check_permitted(&self, request: &Request) {
        let intent = self.core().ledger().intent(&request.key).unwrap();
        let asks = intent.maybe_executed() && self.venue.kind == Kind::Keys;
        let permitted = intent.by_host
            || match (self.mode, intent.action) {
                (Mode::Full, _) | (Mode::ReadOnly, Action::Cancel(_)) => true,
                (Mode::ReadOnly, Action::Submit(order)) => order.options.reduce_only || asks,
                (Mode::ReadOnly, Action::Amend(_)) => asks,
                (Mode::Observation | Mode::Shutdown, _) => false,
            };
        assert!(permitted, "{:?} was sent in mode {}", intent.action, self.mode);
    }

    /// An answer that the venue never gave, to an attempt in the air.
    pub(super) fn reply(&mut self, key: IntentKey, attempt: u32, fault: Fault) {
        let outcome = match fault {
            Fault::Refused => Outcome::Refused(failure("refused", Phase::Done)),
            _ => Outcome::Ambiguous(failure("timeout", Phase::MaybeSent)),
        };
        let reply = Reply { outcome, latency: Duration::ZERO, retry_after: None };
        self.step(Event::Replied { key, attempt, reply });
        self.run();
    }
}
