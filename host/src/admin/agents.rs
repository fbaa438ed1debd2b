//! Agents over HTTP: looking at them, and giving them orders.

use super::answer::{Answer, Refused};
use super::server::{Control, Json, Served, Who};
use crate::agent::core::Operator;
use crate::agent::live::{Rollback, SwapOrder};
use crate::orders::Mode;
use crate::resilience::Class;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::sync::Arc;

/// Characters of a note or of words to a strategy: a paragraph. They are in the journal for good.
const WORDS_MAX: usize = 1_024;

/// Why something is done.
#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct NoteBody {
    pub note: String,
}

/// What ran before shall come back.
#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RollbackBody {
    pub note: String,
    /// Begin without a state, when it comes from the store.
    pub fresh: bool,
}

/// No better mode than this.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FloorBody {
    pub mode: Mode,
}

/// Words for the strategy.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SayBody {
    pub words: String,
}

pub(super) async fn list(Control(control): Control, State(served): State<Arc<Served>>) -> Answer {
    let agents = control.views(served.look_timeout).await;
    Answer::ok(&json!({ "agents": agents }))
}

pub(super) async fn show(
    Control(control): Control,
    State(served): State<Arc<Served>>,
    Path(name): Path<String>,
) -> Result<Answer, Refused> {
    Ok(Answer::ok(&control.view(&name, served.look_timeout).await?))
}

pub(super) async fn swap(
    Control(control): Control,
    who: Who,
    Path(name): Path<String>,
    Json(order): Json<SwapOrder>,
) -> Result<Answer, Refused> {
    let what = because(&format!("swap to {}", order.component.display()), &order.note);
    let begun = match check_words("note", &order.note) {
        Ok(()) => control.swap(&name, order).map_err(Refused::from),
        Err(refused) => Err(refused),
    };
    who.did(&what, Some(&name), &begun);
    Ok(Answer::accepted(&begun?))
}

pub(super) async fn rollback(
    Control(control): Control,
    who: Who,
    Path(name): Path<String>,
    Json(RollbackBody { note, fresh }): Json<RollbackBody>,
) -> Result<Answer, Refused> {
    let what = because("rollback", &note);
    let done = match check_words("note", &note) {
        Ok(()) => control.rollback(&name, note, fresh).map_err(Refused::from),
        Err(refused) => Err(refused),
    };
    who.did(&what, Some(&name), &done);
    Ok(Answer::accepted(&match done? {
        Rollback::Abandoned => json!({ "rollback": "abandoned" }),
        Rollback::Ordered => json!({ "rollback": "ordered" }),
        Rollback::Begun(swap) => json!({ "rollback": "begun", "swap": swap }),
    }))
}

pub(super) async fn release(
    Control(control): Control,
    State(served): State<Arc<Served>>,
    who: Who,
    Path(name): Path<String>,
    Json(NoteBody { note }): Json<NoteBody>,
) -> Result<Answer, Refused> {
    let what = because("release", &note);
    let done = match check_note(&note) {
        Ok(()) => control.release(&name, note, served.look_timeout).await.map_err(Refused::from),
        Err(refused) => Err(refused),
    };
    who.did(&what, Some(&name), &done);
    Ok(Answer::accepted(&done?))
}

pub(super) async fn floor(
    Control(control): Control,
    who: Who,
    Path(name): Path<String>,
    Json(FloorBody { mode }): Json<FloorBody>,
) -> Result<Answer, Refused> {
    let done = control.order(&name, Operator::Floor(mode)).map_err(Refused::from);
    who.did(&format!("floor {mode}"), Some(&name), &done);
    done?;
    Ok(Answer::accepted(&json!({ "floor": mode })))
}

pub(super) async fn say(
    Control(control): Control,
    who: Who,
    Path(name): Path<String>,
    Json(SayBody { words }): Json<SayBody>,
) -> Result<Answer, Refused> {
    let what = format!("say {words:?}");
    let done = match check_words("words", &words) {
        Ok(()) => control.order(&name, Operator::Say(words)).map_err(Refused::from),
        Err(refused) => Err(refused),
    };
    who.did(&what, Some(&name), &done);
    done?;
    Ok(Answer::accepted(&json!({ "said": true })))
}

/// What is done, and why, when that is said.
fn because(what: &str, note: &str) -> String {
    if note.is_empty() { what.to_owned() } else { format!("{what}: {note}") }
}

fn check_note(note: &str) -> Result<(), Refused> {
    if note.trim().is_empty() {
        let message = "expected a note that says why; the next person reads it";
        return Err(Refused::new(StatusCode::BAD_REQUEST, Class::Data, "note_missing", message));
    }
    check_words("note", note)
}

fn check_words(what: &str, words: &str) -> Result<(), Refused> {
    let found = words.chars().count();
    if found <= WORDS_MAX && !words.contains(|c: char| c.is_control()) {
        return Ok(());
    }
    let message = format!("{what}: expected at most {WORDS_MAX} characters on one line, found {found}");
    Err(Refused::new(StatusCode::BAD_REQUEST, Class::Data, "words", message))
}
