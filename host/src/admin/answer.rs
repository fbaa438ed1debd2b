//! Answers and refusals as JSON.

use crate::resilience::{Class, Classified};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};

/// A good answer.
pub(super) struct Answer(Response);

/// A refusal: what kind of thing is wrong, its stable name, and what to do.
#[derive(Clone, Debug)]
pub(super) struct Refused {
    status: StatusCode,
    error: ErrorBody,
}

/// The body of a refusal.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct ErrorBody {
    pub class: Class,
    pub code: String,
    pub message: String,
}

#[derive(Serialize)]
struct Body<'a> {
    error: &'a ErrorBody,
}

impl Answer {
    pub fn ok(body: &impl Serialize) -> Self {
        Self(json(StatusCode::OK, body))
    }

    /// Taken, and not done yet.
    pub fn accepted(body: &impl Serialize) -> Self {
        Self(json(StatusCode::ACCEPTED, body))
    }
}

impl Refused {
    pub fn new(status: StatusCode, class: Class, code: &str, message: impl Into<String>) -> Self {
        Self { status, error: ErrorBody { class, code: code.to_owned(), message: message.into() } }
    }

    pub fn code(&self) -> &str {
        &self.error.code
    }

    pub fn message(&self) -> &str {
        &self.error.message
    }
}

impl<E: Classified> From<E> for Refused {
    fn from(error: E) -> Self {
        let status = match (error.class(), error.code()) {
            (_, "no_such_agent" | "letter_unknown") => StatusCode::NOT_FOUND,
            (Class::State, _) => StatusCode::CONFLICT,
            (Class::Data | Class::Logic, _) => StatusCode::BAD_REQUEST,
            (Class::Resource | Class::Network | Class::Api, _) => StatusCode::SERVICE_UNAVAILABLE,
        };
        Self::new(status, error.class(), error.code(), error.to_string())
    }
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        self.0
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        json(self.status, &Body { error: &self.error })
    }
}

fn json(status: StatusCode, body: &impl Serialize) -> Response {
    match serde_json::to_vec(body) {
        Ok(body) => (status, [(header::CONTENT_TYPE, "application/json")], body).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}
