//! What the host remembers, read from outside, held against the venue's ledger.

use super::super::setup::{facts, ringfence, text};
use super::rig::Rig;
use ringfence::venue::chaos::Plan as Chaos;
use ringfence::venue::paper::AccountTruth;
use rust_decimal::Decimal;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// What the journal says became of an intent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Nothing final.
    Open,
    /// The venue has it.
    Done,
    /// The venue never had it, or said no.
    NotExecuted,
    /// It waits for an operator.
    Dead,
}

/// An intent that the host decided to send.
#[derive(Clone, Copy, Debug)]
pub struct Intent {
    pub fate: Fate,
    places: bool,
    submitted: bool,
}

/// The journal, folded by its intents.
#[derive(Default)]
pub struct Story {
    pub intents: BTreeMap<String, Intent>,
    /// Whether it begins with the first record: what was compacted away cannot be held against the ledger.
    whole: bool,
}

impl Story {
    /// Reads the journal with `ringfence journal dump`.
    pub fn read(rig: &Rig) -> Result<Self, String> {
        // A host that died early may not have come to its first record.
        if !has_journal(rig) {
            return Ok(Self { whole: true, ..Self::default() });
        }
        let output = rig.state(&["journal", "dump"]);
        if !output.status.success() {
            return Err(format!("journal dump: {}", text(&output.stderr)));
        }
        let mut story = Self::default();
        for line in text(&output.stdout).lines() {
            let line: Value = serde_json::from_str(line).map_err(|error| format!("{error}: {line}"))?;
            story.whole |= line["seq"] == 1;
            story.fold(&line["entry"]["record"]);
        }
        Ok(story)
    }

    fn fold(&mut self, record: &Value) {
        let Some((kind, record)) = record.as_object().and_then(|record| record.iter().next()) else { return };
        for intent in record["intents"].as_array().into_iter().flatten() {
            let Some(request) = intent["verdict"].get("intended") else { continue };
            let places = request["kind"] == "place";
            let key = intent["key"].as_str().unwrap().to_owned();
            let known = self.intents.insert(key, Intent { fate: Fate::Open, places, submitted: false });
            assert!(known.is_none(), "an intent was decided twice: {intent}");
        }
        let Some(intent) = record["key"].as_str().and_then(|key| self.intents.get_mut(key)) else { return };
        let outcome = &record["outcome"];
        match kind.as_str() {
            "submitting" => intent.submitted = true,
            "attempted" | "queried" if outcome.get("done").is_some() => intent.fate = Fate::Done,
            "attempted" if outcome.get("refused").is_some() => intent.fate = Fate::NotExecuted,
            "updated" => intent.fate = Fate::Done,
            "expired" => intent.fate = Fate::NotExecuted,
            "dead-lettered" => intent.fate = Fate::Dead,
            "requeued" => intent.fate = Fate::Open,
            _ => {}
        }
    }

    /// Keys of one fate.
    pub fn keys(&self, fate: Fate) -> BTreeSet<&str> {
        let of = self.intents.iter().filter(|(_, intent)| intent.fate == fate);
        of.map(|(key, _)| key.as_str()).collect()
    }
}

/// What must hold at every moment, however the last life ended.
pub fn check_after_a_kill(rig: &Rig) -> Result<Story, String> {
    let (truth, story) = (rig.truth(), Story::read(rig)?);
    check_ledger(&truth, &story)?;
    if has_journal(rig) {
        let verified = rig.state(&["journal", "verify"]);
        if !verified.status.success() {
            return Err(format!("journal verify: {}", text(&verified.stderr)));
        }
    }
    if rig.path("state/checkpoints").exists() {
        let verified = rig.state(&["checkpoint", "verify"]);
        if !verified.status.success() {
            return Err(format!("checkpoint verify: {}", text(&verified.stdout)));
        }
    }
    Ok(story)
}

fn has_journal(rig: &Rig) -> bool {
    let Ok(names) = std::fs::read_dir(rig.path("state/journal")) else { return false };
    names.filter_map(Result::ok).any(|entry| entry.path().extension().is_some_and(|end| end == "wal"))
}

/// The letters that wait for an operator.
pub fn letters(rig: &Rig) -> BTreeSet<String> {
    let listed = facts(&rig.state(&["dlq", "list"]));
    let ids = listed["letters"].as_array().into_iter().flatten().map(|letter| letter["id"].as_str());
    ids.flatten().map(str::to_owned).collect()
}

/// Ends what the kills have left: the venue is well, an operator sends again what had been given up on, and the
/// host runs to its end. Then nothing may be lost or twice. Returns how many intents the journal holds.
pub fn heal(rig: &Rig) -> Result<u64, String> {
    rig.set_plan(Chaos::Pass);
    if !Story::read(rig)?.keys(Fate::Dead).is_empty() {
        rig.run_without_flattening()?;
        let (story, letters) = (check_after_a_kill(rig)?, letters(rig));
        let dead: BTreeSet<String> = story.keys(Fate::Dead).into_iter().map(str::to_owned).collect();
        if letters != dead {
            return Err(format!("letters {letters:?}, dead in the journal {dead:?}"));
        }
        for letter in &letters {
            let replayed = rig.state(&["dlq", "replay", letter, "--ambiguous"]);
            if !replayed.status.success() {
                return Err(format!("replay of {letter}: {}", text(&replayed.stderr)));
            }
        }
    }
    let report = rig.run_to_the_end()?;
    check_after_healing(rig, &report)
}

fn check_ledger(truth: &AccountTruth, story: &Story) -> Result<(), String> {
    for (key, count) in &truth.placements {
        let Some(intent) = story.intents.get(key) else {
            if !story.whole {
                continue;
            }
            return Err(format!("{key} was sent and is not in the journal"));
        };
        if *count > 1 {
            return Err(format!("{key} was placed {count} times"));
        }
        if !intent.submitted {
            return Err(format!("{key} was sent before its attempt was journaled"));
        }
        if intent.fate == Fate::NotExecuted {
            return Err(format!("{key} is at the venue; the journal says that it never was"));
        }
    }
    for (key, intent) in &story.intents {
        if intent.places && intent.fate == Fate::Done && !truth.placements.contains_key(key) {
            return Err(format!("{key} is done in the journal; the venue never had it"));
        }
    }
    let mut executed: BTreeMap<&str, Decimal> = BTreeMap::new();
    for execution in &truth.executions {
        *executed.entry(execution.key.as_str()).or_default() += execution.quantity;
    }
    for order in &truth.orders {
        let quantity = executed.get(order.key.as_str()).copied().unwrap_or_default();
        if order.filled > order.quantity || order.filled != quantity {
            return Err(format!("{order:?} was executed for {quantity}"));
        }
    }
    Ok(())
}

fn check_after_healing(rig: &Rig, report: &Value) -> Result<u64, String> {
    let story = check_after_a_kill(rig)?;
    let open = story.keys(Fate::Open);
    if !open.is_empty() {
        return Err(format!("lost {}: {open:?} have no end", open.len()));
    }
    let letters = letters(rig);
    if !letters.is_empty() || !story.keys(Fate::Dead).is_empty() {
        return Err(format!(
            "letters after a replay: {letters:?}, in the journal {:?}",
            story.keys(Fate::Dead)
        ));
    }
    let (truth, checkpoint) = (rig.truth(), newest_checkpoint(rig)?);
    let decimal = |value: &Value| value.as_str().and_then(|text| text.parse::<Decimal>().ok());
    let held = truth.positions.values().find(|quantity| !quantity.is_zero());
    let books = [
        ("open intents", checkpoint["open_intents"] == 0),
        ("working orders", checkpoint["working_orders"] == 0),
        ("cash", decimal(&checkpoint["cash"]) == Some(truth.cash)),
        ("fees", decimal(&report["agents"][0]["fees"]) == Some(truth.fees)),
        ("positions", checkpoint["positions"]["TEST"] == 0 && held.is_none()),
    ];
    for (what, agrees) in books {
        if !agrees {
            return Err(format!(
                "{what} differ: checkpoint {checkpoint}, report {report}, ledger: cash {}, fees {}, positions {:?}",
                truth.cash, truth.fees, truth.positions
            ));
        }
    }
    Ok(story.intents.len() as u64)
}

fn newest_checkpoint(rig: &Rig) -> Result<Value, String> {
    let verified = facts(&rig.state(&["checkpoint", "verify"]));
    let newest = verified["checkpoints"].as_array().and_then(|all| all.last()).map(|row| &row["file"]);
    let Some(file) = newest.and_then(Value::as_str) else { return Err(format!("no checkpoint: {verified}")) };
    Ok(facts(&ringfence(&["checkpoint", "show", file, "--format", "json"])))
}
