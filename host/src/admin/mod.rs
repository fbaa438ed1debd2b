//! The operator's HTTP API on a running host: state, metrics, dead letters, and swapping what trades.
//!
//! It listens on loopback only and asks for a token, which is never in a configuration or a log. It has a thread of
//! its own: what an operator or a scraper asks never competes with an order for one of the host's.
//!
//! | | |
//! |---|---|
//! | `GET /healthz` | the process answers; no token |
//! | `GET /readyz` | every agent's books have been held against its venue; no token |
//! | `GET /metrics` | Prometheus text |
//! | `GET /v1/agents`, `GET /v1/agents/{name}` | what the agents are and do |
//! | `POST /v1/agents/{name}/swap`, `/rollback`, `/release`, `/floor`, `/say` | orders to one agent |
//! | `GET /v1/dlq`, `GET /v1/dlq/{id}` | dead letters |
//! | `POST /v1/dlq/{id}/replay`, `/reissue`, `/resolve` | orders about one of them |
//! | `POST /v1/stop` | finish in order |
//!
//! An error is `{"error": {"class", "code", "message"}}`.

mod agents;
mod answer;
mod letter_facts;
mod letters;
mod limits;
mod metrics;
mod server;
mod token;

pub(crate) use agents::{NoteBody, RollbackBody};
pub(crate) use letter_facts::{facts_of, letter_of};
pub(crate) use letters::{LetterList, LetterNote, LetterReissue, LetterReplay};
pub use server::{AdminError, AdminServer};
pub(crate) use token::{ADDRESS_FILE, load as load_token};
