//! The host's journal and newest checkpoint against the venue's ledger.

use crate::orders::{Entry, IntentKey, Record, Verdict, journal};
use crate::resilience::RealDisk;
use crate::venue::paper::AccountTruth;
use crate::venue::{Outcome, Request, RequestKind};
use rust_decimal::Decimal;
use std::collections::BTreeMap;
use std::path::Path;

/// What the journal says became of an intent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Open,
    Done,
    NotExecuted,
    Dead,
}

#[derive(Clone, Copy, Debug)]
struct Intent {
    fate: Fate,
    places: bool,
    submitted: bool,
}

/// What is lost or there twice, in words.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Audit {
    /// Intents that the journal holds.
    pub intents: u64,
    /// Of them, those that nothing final is known of. After an orderly end there are none.
    pub open: u64,
    /// Of them, those that wait for an operator.
    pub dead: u64,
    /// Ends that the ledger contradicts, and orders of the ledger that were never decided, or sent before they were.
    pub lost: u64,
    /// Keys of more than one order, and orders of which more was executed than ordered.
    pub duplicated: u64,
    /// Each of them, at most twenty.
    pub words: Vec<String>,
}

impl Audit {
    const WORDS_MAX: usize = 20;

    /// Reads the journal in a folder of state, which must hold all records since the first, and compares.
    ///
    /// # Errors
    /// When the journal is damaged, or has a record that this program does not read.
    pub fn of(state: &Path, truth: &AccountTruth) -> Result<Self, String> {
        let dir = state.join("journal");
        let (mut intents, mut unreadable) = (BTreeMap::new(), None);
        // A host that died early may not have come to its first record.
        if dir.is_dir() {
            journal::read(&dir, &RealDisk, &mut |seq, payload| {
                match Entry::decode(seq, payload) {
                    Ok(entry) => fold(&mut intents, entry.record),
                    Err(error) => unreadable = Some(format!("record {seq} of the journal: {error}")),
                }
                Ok(())
            })
            .map_err(|error| error.to_string())?;
        }
        if let Some(words) = unreadable {
            return Err(words);
        }
        let mut audit = Self::default();
        audit.compare(&intents, truth);
        Ok(audit)
    }

    fn compare(&mut self, intents: &BTreeMap<IntentKey, Intent>, truth: &AccountTruth) {
        let of = |fate| intents.values().filter(|intent| intent.fate == fate).count() as u64;
        (self.intents, self.open, self.dead) = (intents.len() as u64, of(Fate::Open), of(Fate::Dead));
        for (text, count) in &truth.placements {
            if *count > 1 {
                self.duplicated += 1;
                self.note(format!("{text} was placed {count} times"));
            }
            match text.parse::<IntentKey>().ok().and_then(|key| intents.get(&key)) {
                None => self.lose(format!("{text} was sent and is not in the journal")),
                Some(intent) if !intent.submitted => {
                    self.lose(format!("{text} was sent before its attempt was journaled"));
                }
                Some(intent) if intent.fate == Fate::NotExecuted => {
                    self.lose(format!("{text} is at the venue; the journal says that it never was"));
                }
                Some(_) => {}
            }
        }
        for (key, intent) in intents {
            let there = truth.placements.contains_key(&key.to_string());
            if intent.places && intent.fate == Fate::Done && !there {
                self.lose(format!("{key} is done in the journal; the venue never had it"));
            }
        }
        let mut executed: BTreeMap<&str, Decimal> = BTreeMap::new();
        for execution in &truth.executions {
            *executed.entry(execution.key.as_str()).or_default() += execution.quantity;
        }
        for order in &truth.orders {
            let quantity = executed.get(order.key.as_str()).copied().unwrap_or_default();
            if quantity > order.quantity {
                self.duplicated += 1;
                self.note(format!("{}: {quantity} of {} was executed", order.key, order.quantity));
            }
        }
    }

    /// Takes the books of the newest checkpoint for what the host believes in the end.
    pub fn compare_books(&mut self, cash: Option<Decimal>, flat: bool, truth: &AccountTruth) {
        let held = truth.positions.values().any(|quantity| !quantity.is_zero());
        if cash != Some(truth.cash) || flat == held {
            let found = cash.map_or_else(|| "unknown".to_owned(), |cash| cash.to_string());
            let words = format!(
                "the books say cash {found} and {}, the venue {} and {}",
                if flat { "flat" } else { "a position" },
                truth.cash,
                if held { "a position" } else { "flat" }
            );
            self.lose(words);
        }
    }

    fn lose(&mut self, words: String) {
        self.lost += 1;
        self.note(words);
    }

    fn note(&mut self, words: String) {
        if self.words.len() < Self::WORDS_MAX {
            self.words.push(words);
        }
    }
}

fn fold(intents: &mut BTreeMap<IntentKey, Intent>, record: Record) {
    let fresh = |request: &Request| {
        let places = request.kind == RequestKind::Place;
        Intent { fate: Fate::Open, places, submitted: false }
    };
    let (key, fate) = match record {
        Record::Decided(decision) => {
            for decided in decision.intents {
                if let Verdict::Intended(request) = &decided.verdict {
                    intents.insert(decided.key, fresh(request));
                }
            }
            return;
        }
        Record::Reissued(reissue) => {
            intents.insert(reissue.key, fresh(&reissue.request));
            (reissue.parent, Fate::NotExecuted)
        }
        Record::Submitting { key, .. } => {
            if let Some(intent) = intents.get_mut(&key) {
                intent.submitted = true;
            }
            return;
        }
        Record::Attempted { key, outcome, .. } => match outcome {
            Outcome::Done { .. } => (key, Fate::Done),
            Outcome::Refused(_) => (key, Fate::NotExecuted),
            _ => return,
        },
        Record::Queried { key, outcome: Outcome::Done { .. } } => (key, Fate::Done),
        Record::Updated(update) => (update.key, Fate::Done),
        Record::Expired { key, .. } => (key, Fate::NotExecuted),
        Record::DeadLettered { key, .. } => (key, Fate::Dead),
        Record::Requeued { key, .. } => (key, Fate::Open),
        Record::Resolved { key, .. } => (key, Fate::NotExecuted),
        _ => return,
    };
    if let Some(intent) = intents.get_mut(&key) {
        intent.fate = fate;
    }
}
