//! The index of dead letters, as the store's thread keeps it, and the alerts about it.

#[cfg(test)]
mod tests;

use crate::agent::core::{Core, Letter};
use crate::market::UnixNanos;
use crate::orders::{AgentName, Digest, FailedAttempt, Intent, IntentKey, IntentState, LetterMark};
use crate::resilience::{
    Class, Classified, DeadLetter, DeadLetterStore, Failure, LetterAlert, LetterAlertConfig, LetterError,
    LetterId, LetterKind, LetterStatus, LetterWatch, NewLetter, Phase, StoreError,
};
use std::sync::Arc;

/// Alerts kept for the report; the newest are the ones that explain the end.
const ALERTS_KEPT: usize = 64;

/// Brings what the agents say about dead letters into the index.
pub(super) struct LetterKeeper {
    letters: Arc<DeadLetterStore>,
    config: LetterAlertConfig,
    watch: LetterWatch,
    raised: Vec<(UnixNanos, LetterAlert)>,
}

impl LetterKeeper {
    pub fn new(letters: Arc<DeadLetterStore>, config: LetterAlertConfig) -> Self {
        Self { letters, config, watch: LetterWatch::default(), raised: Vec::new() }
    }

    /// Takes one change in. Whether the index works.
    pub fn take(&mut self, agent: (&AgentName, u32), letter: Letter, now: UnixNanos) -> bool {
        if let Err(error) = self.try_take(agent, letter, now) {
            tracing::error!(class = %error.class(), code = error.code(), "{error}");
            return self.letters.failure().is_none();
        }
        self.look(now);
        true
    }

    /// Raises what there is to be alarmed about, and lets go of what has long been done with. To be called also
    /// when nothing happens: age grows by itself.
    pub fn look(&mut self, now: UnixNanos) {
        match self.letters.prune(now) {
            Ok(0) => {}
            Ok(letters) => tracing::info!(letters, "removed dead letters that have long been done with"),
            Err(error) => tracing::error!(class = %error.class(), code = error.code(), "{error}"),
        }
        let holding = self.letters.alerts(now, &self.config);
        for alert in self.watch.look(now, holding, &self.config) {
            tracing::error!(class = "state", code = alert.code(), "{alert}; see ringfence dlq list");
            if self.raised.len() >= ALERTS_KEPT {
                self.raised.remove(0);
            }
            self.raised.push((now, alert));
        }
    }

    /// The alerts that were raised, oldest first.
    pub fn into_alerts(self) -> Vec<(UnixNanos, LetterAlert)> {
        self.raised
    }

    fn try_take(
        &self,
        (agent, incarnation): (&AgentName, u32),
        letter: Letter,
        at: UnixNanos,
    ) -> Result<(), StoreError> {
        match letter {
            Letter::Intent { key, intent } => {
                if let Some(letter) = intent_letter(agent, key, &intent) {
                    self.letters.restore(&letter)?;
                }
            }
            Letter::Call { call, failure, input } => {
                // Two agents whose names begin alike, or two lives of one agent, have letters of their own.
                let owner = Digest::of(format!("{agent}/{incarnation}").as_bytes()).to_string();
                let id = format!("call-{:.16}-{call}", owner);
                let Ok(id) = id.parse::<LetterId>() else { return Ok(()) };
                let letter = DeadLetter::new(NewLetter {
                    id,
                    agent: agent.to_string(),
                    kind: LetterKind::Call,
                    payload: input,
                    summary: format!("call {call} into the strategy"),
                    error: LetterError { at, failure },
                    attempts: 1,
                    ambiguous: false,
                });
                self.letters.put_if_absent(&letter)?;
            }
            Letter::Refused { key, replay, failure } => {
                if let Some(id) = self.open_letter(key)? {
                    self.letters.refuse(&id, replay, LetterError { at, failure })?;
                }
            }
            Letter::Resolved { key, note } => {
                if let Some(id) = self.open_letter(key)? {
                    self.letters.resolve(&id, &note, at)?;
                }
            }
        }
        Ok(())
    }

    fn open_letter(&self, key: IntentKey) -> Result<Option<LetterId>, StoreError> {
        let Some(id) = letter_id(key) else { return Ok(None) };
        let letter = self.letters.get(&id)?;
        Ok(letter.filter(|letter| !letter.status.state().is_closed()).map(|letter| letter.id))
    }
}

/// Gives a store that lost letters everything that the journals of these agents know of letters, before anybody
/// is told how many there are. Letters of agents that are not configured any more come back only with them.
pub(super) fn refill(letters: &DeadLetterStore, agents: &[Core]) -> Result<(), StoreError> {
    if letters.is_complete() {
        return Ok(());
    }
    for agent in agents {
        let known = agent.ledger().intents().iter().filter(|(_, intent)| intent.letter.is_some());
        for letter in known.filter_map(|(key, intent)| intent_letter(&agent.config().name, *key, intent)) {
            letters.restore(&letter)?;
        }
    }
    letters.set_complete()
}

/// A key is always a letter's name: 32 characters of base 32.
fn letter_id(key: IntentKey) -> Option<LetterId> {
    key.to_string().parse().ok()
}

/// The letter of an intent as the journal knows it, whatever has become of it.
fn intent_letter(agent: &AgentName, key: IntentKey, intent: &Intent) -> Option<DeadLetter> {
    let unexplained = FailedAttempt {
        at: intent.last_at,
        failure: Failure::new(
            Class::Network,
            "exhausted",
            Phase::MaybeSent,
            "given up without a failed attempt",
        ),
    };
    let (first, rest) = match intent.errors.split_first() {
        Some((first, rest)) => (first, rest),
        None => (&unexplained, [].as_slice()),
    };
    let as_error = |attempt: &FailedAttempt| LetterError { at: attempt.at, failure: attempt.failure.clone() };
    let mut letter = DeadLetter::new(NewLetter {
        id: letter_id(key)?,
        agent: agent.to_string(),
        kind: LetterKind::Intent,
        payload: intent.request.body.0.clone(),
        summary: intent.action.to_string(),
        error: as_error(first),
        attempts: intent.attempts_total,
        ambiguous: intent.maybe_executed(),
    });
    for error in rest {
        // A new letter is dead, so it takes every error.
        let _ = letter.append_error(as_error(error), 0, intent.maybe_executed());
    }
    letter.errors_dropped = intent.errors_dropped;
    letter.replay = intent.replay;
    letter.parent = intent.parent.and_then(letter_id);
    letter.status = status(intent)?;
    Some(letter)
}

fn status(intent: &Intent) -> Option<LetterStatus> {
    Some(match (&intent.letter, &intent.state) {
        (Some(LetterMark::Reissued { note, at, child }), _) => {
            LetterStatus::Reissued { note: note.clone(), at: *at, child: letter_id(*child)? }
        }
        (Some(LetterMark::Resolved { note, at }), IntentState::Resolved) => {
            LetterStatus::Resolved { note: note.clone(), at: *at }
        }
        (_, IntentState::DeadLettered { .. }) => LetterStatus::Dead,
        _ => match intent.verdict() {
            Some(note) => LetterStatus::Resolved { note, at: intent.last_at },
            None => LetterStatus::Requeued,
        },
    })
}
