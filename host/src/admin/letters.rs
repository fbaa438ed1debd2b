//! Dead letters over HTTP.

use super::answer::{Answer, Refused};
use super::letter_facts::facts_of;
use super::server::{Control, Json, Who};
use crate::agent::live::{HostControl, LetterOrder};
use crate::resilience::{Class, LetterAlert};
use axum::extract::{Path, Query};
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Which letters are wanted.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    /// Also those that are closed.
    #[serde(default)]
    all: bool,
    /// At most this many.
    #[serde(default = "hundred")]
    limit: usize,
}

const fn hundred() -> usize {
    100
}

/// A list of letters.
#[derive(Serialize, Deserialize)]
pub(crate) struct LetterList {
    pub alerts: Vec<String>,
    pub letters: Vec<Value>,
    /// Letters that the limit left out.
    pub omitted: usize,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct LetterReplay {
    /// Send it although it may have been executed.
    pub ambiguous: bool,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct LetterReissue {
    pub note: String,
    /// The venue was asked, and has never executed it.
    #[serde(default)]
    pub not_executed: bool,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct LetterNote {
    pub note: String,
}

pub(super) async fn list(Control(control): Control, Query(wanted): Query<Wanted>) -> Result<Answer, Refused> {
    let (alerts, mut letters) = on_disk(move || Ok(control.letters()?)).await?;
    letters.retain(|letter| wanted.all || !letter.status.state().is_closed());
    let omitted = letters.len().saturating_sub(wanted.limit);
    letters.truncate(wanted.limit);
    Ok(Answer::ok(&LetterList {
        alerts: alerts.iter().map(LetterAlert::to_string).collect(),
        letters: letters.iter().map(facts_of).collect(),
        omitted,
    }))
}

pub(super) async fn show(Control(control): Control, Path(id): Path<String>) -> Result<Answer, Refused> {
    let letter = on_disk(move || Ok(control.letter(&id)?)).await?;
    Ok(Answer::ok(&facts_of(&letter)))
}

pub(super) async fn replay(
    Control(control): Control,
    who: Who,
    Path(id): Path<String>,
    Json(LetterReplay { ambiguous }): Json<LetterReplay>,
) -> Result<Answer, Refused> {
    give(control, who, id, LetterOrder::Replay { ambiguous }).await
}

pub(super) async fn reissue(
    Control(control): Control,
    who: Who,
    Path(id): Path<String>,
    Json(LetterReissue { note, not_executed }): Json<LetterReissue>,
) -> Result<Answer, Refused> {
    give(control, who, id, LetterOrder::Reissue { note, not_executed }).await
}

pub(super) async fn resolve(
    Control(control): Control,
    who: Who,
    Path(id): Path<String>,
    Json(LetterNote { note }): Json<LetterNote>,
) -> Result<Answer, Refused> {
    give(control, who, id, LetterOrder::Resolve { note }).await
}

/// Gives the order and answers with the letter; `told` says whether its agent runs here and has heard of it.
async fn give(control: HostControl, who: Who, id: String, order: LetterOrder) -> Result<Answer, Refused> {
    let what = format!("{} dead letter {id}", order.name());
    let done = on_disk(move || Ok(control.order_letter(&id, &order)?)).await;
    let agent = done.as_ref().ok().map(|(letter, _)| letter.agent.clone());
    who.did(&what, agent.as_deref(), &done);
    let (letter, told) = done?;
    let mut facts = facts_of(&letter);
    if let Some(facts) = facts.as_object_mut() {
        facts.insert("told".into(), told.into());
    }
    Ok(Answer::accepted(&facts))
}

/// Does what waits for the disk where nothing else waits for it.
async fn on_disk<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Refused> + Send + 'static,
) -> Result<T, Refused> {
    let failed = |error: tokio::task::JoinError| {
        Refused::new(StatusCode::INTERNAL_SERVER_ERROR, Class::Logic, "internal", error.to_string())
    };
    tokio::task::spawn_blocking(work).await.map_err(failed)?
}
