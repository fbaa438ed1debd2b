//! What the venue answers when it is asked: about one order, about the account, and what it tells by itself.

use super::delta::Reads;
use super::rig::{Later, Rig};
use super::venue::{Kind, failure};
use crate::agent::core::*;
use crate::market::Lots;
use crate::orders::IntentState;
use crate::resilience::Phase;
use crate::venue::{Outcome, Question, Reply, Request};

/// What becomes of one question on its way.
#[derive(Clone, Debug)]
pub(super) enum QueryFault {
    Answered,
    Lost,
    /// The venue looks at once, and its answer takes this long.
    Slow(Duration),
    /// At a venue without ids: what the account shows contradicts itself.
    Shown(Reads),
}

impl Rig {
    pub(super) fn query(&mut self, question: &Question, number: u64) {
        let (request, key) = (&question.request, question.request.key);
        let intent = self.core().ledger().intent(&key).unwrap();
        let is_known = intent.state == IntentState::Acknowledged;
        assert!(intent.maybe_executed() || is_known, "asked about what is certain: {intent:?}");
        self.queries.push((key, self.now.mono));
        let lost = if self.queries_lost { QueryFault::Lost } else { QueryFault::Answered };
        let known = self.acknowledged();
        let look = |reads: Reads| match self.venue.kind {
            Kind::NoIds => self.venue.query_account(question, &known, reads),
            _ => self.venue.query(request),
        };
        let (wait, outcome) = match self.query_faults.pop_front().unwrap_or(lost) {
            QueryFault::Answered => (Duration::ZERO, look(Reads::Good)),
            QueryFault::Lost => (Duration::ZERO, Outcome::Ambiguous(failure("timeout", Phase::MaybeSent))),
            QueryFault::Slow(wait) => (wait, look(Reads::Good)),
            QueryFault::Shown(reads) => (Duration::ZERO, look(reads)),
        };
        let event =
            Event::Queried { key, number, reply: Reply { outcome, latency: wait, retry_after: None } };
        if wait.is_zero() {
            self.events.push_back(event);
        } else {
            self.later.push((self.now.mono.after(wait), Later::Tell(event)));
        }
    }

    /// Orders whose ids the venue has told, as far as the host remembers.
    fn acknowledged(&self) -> BTreeSet<IntentKey> {
        let intents = self.core().ledger().intents().iter();
        intents.filter(|(_, intent)| intent.state == IntentState::Acknowledged).map(|(key, _)| *key).collect()
    }

    pub(super) fn baseline(&mut self, request: &Request, number: u64) {
        let key = request.key;
        self.baselines.push((key, self.now.mono));
        let at = self.now.wall;
        let look = |reads| self.venue.baseline(at, reads);
        let lost = if self.baselines_lost { QueryFault::Lost } else { QueryFault::Answered };
        let (wait, result) = match self.baseline_faults.pop_front().unwrap_or(lost) {
            QueryFault::Answered => (Duration::ZERO, look(Reads::Good)),
            QueryFault::Lost => (Duration::ZERO, Err(failure("timeout", Phase::NotSent))),
            QueryFault::Slow(wait) => (wait, look(Reads::Good)),
            QueryFault::Shown(reads) => (Duration::ZERO, look(reads)),
        };
        let event = Event::Baselined { key, number, result };
        if wait.is_zero() {
            self.events.push_back(event);
        } else {
            self.later.push((self.now.mono.after(wait), Later::Tell(event)));
        }
    }

    /// Answers a read of the account, now or later, with what the venue shows now.
    fn read(
        &mut self,
        answer: impl FnOnce(Result<Vec<(InstrumentId, Lots)>, Failure>) -> Event,
        before: Option<Event>,
        held: Vec<(InstrumentId, Lots)>,
    ) {
        let lost = if self.reads_lost { QueryFault::Lost } else { QueryFault::Answered };
        let (wait, events) = match self.read_faults.pop_front().unwrap_or(lost) {
            QueryFault::Answered | QueryFault::Shown(_) => {
                (Duration::ZERO, before.into_iter().chain([answer(Ok(held))]))
            }
            QueryFault::Slow(wait) => (wait, before.into_iter().chain([answer(Ok(held))])),
            QueryFault::Lost => {
                let failed = answer(Err(failure("timeout", Phase::MaybeSent)));
                (Duration::ZERO, None.into_iter().chain([failed]))
            }
        };
        for event in events {
            if wait.is_zero() {
                self.events.push_back(event);
            } else {
                self.later.push((self.now.mono.after(wait), Later::Tell(event)));
            }
        }
    }

    /// The venue does not answer for a while, and then does again, with everything that happened meanwhile.
    pub(super) fn reconnect(&mut self) {
        self.poll();
        self.step(Event::VenueBack);
        self.run();
    }

    pub(super) fn read_updates(&mut self, number: u64) {
        self.reads.1 += 1;
        let from = usize::try_from(self.core().cursor()).unwrap();
        let shown = if self.tells() { self.venue.shown() } else { from };
        let read =
            Event::Updates { cursor: shown as u64, updates: self.venue.log[from.min(shown)..shown].to_vec() };
        let answer = |outcome: Result<_, _>| Event::UpdatesRead { number, outcome: outcome.map(|_| ()) };
        self.read(answer, Some(read), Vec::new());
    }

    pub(super) fn read_positions(&mut self, number: u64) {
        self.reads.0 += 1;
        let held = vec![(super::X, Lots(self.venue.shown_position()))];
        self.read(|outcome| Event::Positions { number, outcome }, None, held);
    }

    /// Whether the venue tells of changes by itself; one that knows no ids of ours cannot.
    pub(super) fn tells(&self) -> bool {
        self.reports_changes && self.venue.kind != Kind::NoIds
    }

    pub(super) fn poll_from(&mut self, from: usize) {
        // Without ids of ours, the venue reports only orders whose own ids it has told, and those in full.
        let updates = match self.venue.kind {
            Kind::NoIds => {
                let known = self.acknowledged();
                self.venue.log.iter().filter(|update| known.contains(&update.key)).cloned().collect()
            }
            _ => self.venue.log[from..].to_vec(),
        };
        self.step(Event::Updates { cursor: self.venue.log.len() as u64, updates });
        self.run();
    }

    /// The venue's updates after the core's cursor.
    pub(super) fn poll(&mut self) {
        let Some(core) = self.core.as_ref() else { return };
        let from = usize::try_from(core.cursor()).unwrap();
        self.poll_from(from.min(self.venue.log.len()));
    }
}
