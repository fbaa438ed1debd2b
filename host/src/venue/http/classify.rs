//! From what was observed on the wire to what is known about the order: the one table of this venue.

use super::super::observation::{Answer, Observation, Undecodable, excerpt};
use super::super::{OrderUpdate, Outcome, VenueProfile};
use super::wire;
use crate::orders::Ledger;
use crate::resilience::{Class, Failure, Phase};

/// What the request was about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ask {
    /// To place, amend or cancel.
    Order,
    /// To say what became of an order. A query that fails says nothing about the order.
    Query,
}

/// What a status says about an order that was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Done,
    Unauthorized,
    KeyReused,
    Refused,
    TryLater,
    InProgress,
    NobodyKnows,
}

/// The refusals of the contract that come from a look at the order itself, under its key. Whatever else says no
/// with a 4xx, a gateway before the venue or the venue before it looks at keys, refuses this one request, and
/// does not say that an earlier one with the same key was not executed.
const OF_THE_ORDER: &[&str] = &[
    "client_id_mismatch",
    "insufficient_funds",
    "invalid_order",
    "invalid_price",
    "invalid_quantity",
    "no_market",
    "order_closed",
    "reduce_only",
    "unknown_order",
    "unknown_symbol",
    "would_cross",
];

const fn verdict(status: u16) -> Verdict {
    match status {
        200..=299 => Verdict::Done,
        401 | 403 => Verdict::Unauthorized,
        // The venue gave up waiting for the request, or something before it did.
        408 => Verdict::NobodyKnows,
        409 => Verdict::InProgress,
        422 => Verdict::KeyReused,
        429 | 503 => Verdict::TryLater,
        400..=499 => Verdict::Refused,
        // 5xx: the venue, or a gateway before it, broke at an unknown moment. 3xx is not followed, and who
        // answers an order with it is not the venue that the contract is about.
        _ => Verdict::NobodyKnows,
    }
}

/// What is known after one request. `decode` reads the body of a success.
pub(super) fn classify(
    ask: Ask,
    observation: Observation,
    profile: &VenueProfile,
    decode: impl FnOnce(&[u8]) -> Result<Vec<OrderUpdate>, Undecodable>,
) -> Outcome {
    let outcome = match observation {
        Observation::NotSent(error) => Outcome::NotSent(error.failure(Phase::NotSent)),
        Observation::Lost(error) => Outcome::Ambiguous(error.failure(Phase::MaybeSent)),
        Observation::Answered(answer) => answered(ask, &answer, profile, decode),
    };
    match (ask, outcome) {
        // "The query was not sent" is not "the order was not placed", and "you may not ask" is not "no".
        (Ask::Query, Outcome::NotSent(failure) | Outcome::Refused(failure)) => {
            Outcome::Ambiguous(Failure { phase: Phase::MaybeSent, ..failure })
        }
        (_, outcome) => outcome,
    }
}

fn answered(
    ask: Ask,
    answer: &Answer,
    profile: &VenueProfile,
    decode: impl FnOnce(&[u8]) -> Result<Vec<OrderUpdate>, Undecodable>,
) -> Outcome {
    let status = answer.status;
    let refusal = refusal(answer);
    let api = |code: Option<String>, phase| {
        let code = code.unwrap_or_else(|| format!("http_{status}"));
        Failure::new(Class::Api, code, phase, describe(answer))
    };
    match verdict(status) {
        Verdict::Done => match answer.body.as_deref() {
            None => Outcome::Ambiguous(answer.too_large(Phase::MaybeSent)),
            Some(body) => match decode(body) {
                Ok(updates) => Outcome::Done { updates },
                Err(error) => Outcome::Ambiguous(undecodable(status, &error, Phase::MaybeSent)),
            },
        },
        // Only the venue's own words say that it has never seen the key; a 404 of something in between
        // says that something in between does not know the path.
        Verdict::Refused
            if ask == Ask::Query && status == 404 && refusal.as_deref() == Some("unknown_order") =>
        {
            Outcome::Unknown
        }
        Verdict::Unauthorized => Outcome::Refused(api(Some("unauthorized".into()), Phase::Done)),
        Verdict::KeyReused => {
            Outcome::Refused(Failure::new(Class::Logic, Ledger::KEY_REUSED, Phase::Done, describe(answer)))
        }
        // An order has the id: an earlier copy of this request was executed, or is being.
        Verdict::Refused if refusal.as_deref() == Some("duplicate_client_id") => {
            Outcome::Ambiguous(api(refusal, Phase::MaybeSent))
        }
        Verdict::Refused => {
            let judged = refusal.as_deref().is_some_and(|code| OF_THE_ORDER.contains(&code));
            Outcome::Refused(api(refusal, if judged { Phase::Done } else { Phase::MaybeSent }))
        }
        Verdict::TryLater if profile.refusal_is_proof => Outcome::NotSent(api(None, Phase::NotSent)),
        Verdict::InProgress => Outcome::Ambiguous(api(Some("in_progress".into()), Phase::MaybeSent)),
        Verdict::TryLater | Verdict::NobodyKnows => Outcome::Ambiguous(api(None, Phase::MaybeSent)),
    }
}

/// What is known of an order after this reply, or after one that broke off.
#[cfg(test)]
pub(crate) fn outcome_of(
    status: Option<u16>,
    body: Option<String>,
    about: crate::orders::IntentKey,
    instruments: &crate::market::Instruments,
) -> Outcome {
    use super::super::observation::{TransportError, TransportKind};
    let broken = TransportError { kind: TransportKind::Incomplete, detail: "scripted".into() };
    let observation = status.map_or(Observation::Lost(broken), |status| {
        Observation::Answered(Answer { status, body: body.map(String::into_bytes) })
    });
    let profile = super::HttpVenueConfig::default().profile();
    classify(Ask::Order, observation, &profile, |body| wire::order(body, about, instruments))
}

/// The body of a read that succeeded, or why there is none.
pub(super) fn read_body(observation: Observation) -> Result<Vec<u8>, Failure> {
    match observation {
        Observation::NotSent(error) => Err(error.failure(Phase::NotSent)),
        Observation::Lost(error) => Err(error.failure(Phase::MaybeSent)),
        Observation::Answered(Answer { status: 200..=299, body: Some(body) }) => Ok(body),
        Observation::Answered(answer @ Answer { status: 200..=299, .. }) => {
            Err(answer.too_large(Phase::Done))
        }
        Observation::Answered(answer) => {
            let code = match verdict(answer.status) {
                Verdict::Unauthorized => "unauthorized".into(),
                _ => format!("http_{}", answer.status),
            };
            Err(Failure::new(Class::Api, code, Phase::Done, describe(&answer)))
        }
    }
}

/// The failure of a reply that says yes and cannot be read.
pub(super) fn undecodable(status: u16, error: &Undecodable, phase: Phase) -> Failure {
    Failure::new(Class::Data, "reply_undecodable", phase, format!("the venue answered {status}, but {error}"))
}

/// The venue's own code of a refusal.
fn refusal(answer: &Answer) -> Option<String> {
    wire::refusal(answer.body.as_deref()?).map(|(code, _)| code)
}

fn describe(answer: &Answer) -> String {
    let status = answer.status;
    match answer.body.as_deref() {
        None => format!("the venue answered {status} with an oversized body"),
        Some([]) => format!("the venue answered {status}"),
        Some(body) => match wire::refusal(body) {
            Some((code, message)) => format!("the venue answered {status} {code}: {message}"),
            None => format!("the venue answered {status}: {}", excerpt(body)),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::observation::{TransportError, TransportKind};
    use super::super::{HttpCapability, HttpVenueConfig};
    use super::*;

    const REFUSED: &[u8] = br#"{"code":"unknown_order","message":"no such order"}"#;

    /// `ambiguous network timeout`: what is known, the class and the code.
    fn judge(ask: Ask, observation: Observation, refusal_is_proof: bool) -> String {
        let profile = HttpVenueConfig { refusal_is_proof, ..HttpVenueConfig::default() }.profile();
        let decode = |body: &[u8]| match body {
            b"good" => Ok(Vec::new()),
            _ => Err(Undecodable::new("it is not the JSON of an order")),
        };
        let (word, failure) = match classify(ask, observation, &profile, decode) {
            Outcome::Done { .. } => return "done".into(),
            Outcome::Unknown => return "unknown".into(),
            Outcome::Refused(failure) => ("refused", failure),
            Outcome::NotSent(failure) => ("not-sent", failure),
            Outcome::Ambiguous(failure) => ("ambiguous", failure),
        };
        let word = match (word, failure.phase) {
            ("refused", Phase::MaybeSent) => "refused-once",
            (word, phase) => {
                let expected = match word {
                    "refused" => Phase::Done,
                    "not-sent" => Phase::NotSent,
                    _ => Phase::MaybeSent,
                };
                assert_eq!(phase, expected, "{word}");
                word
            }
        };
        format!("{word} {} {}", failure.class, failure.code)
    }

    fn answer(status: u16, body: &[u8]) -> Observation {
        Observation::Answered(Answer { status, body: Some(body.to_vec()) })
    }

    fn broken(kind: TransportKind) -> TransportError {
        TransportError { kind, detail: "broken".into() }
    }

    #[test]
    fn an_order_is_judged_by_the_table() {
        let table: &[(u16, &[u8], &str)] = &[
            (200, b"good", "done"),
            (201, b"good", "done"),
            (200, b"<html>", "ambiguous data reply_undecodable"),
            (204, b"", "ambiguous data reply_undecodable"),
            (301, b"", "ambiguous api http_301"),
            (400, REFUSED, "refused api unknown_order"),
            (400, b"<html>", "refused-once api http_400"),
            (401, b"", "refused api unauthorized"),
            (403, REFUSED, "refused api unauthorized"),
            (404, REFUSED, "refused api unknown_order"),
            (404, b"", "refused-once api http_404"),
            (400, br#"{"code":"invalid_json"}"#, "refused-once api invalid_json"),
            (404, br#"{"code":"no_such_path"}"#, "refused-once api no_such_path"),
            (408, b"", "ambiguous api http_408"),
            (409, b"", "ambiguous api in_progress"),
            (413, b"", "refused-once api http_413"),
            (422, REFUSED, "refused logic key_reused"),
            (429, b"", "ambiguous api http_429"),
            (500, b"", "ambiguous api http_500"),
            (501, b"", "ambiguous api http_501"),
            (502, b"", "ambiguous api http_502"),
            (503, b"", "ambiguous api http_503"),
            (504, b"", "ambiguous api http_504"),
            (999, b"", "ambiguous api http_999"),
        ];
        for (status, body, expected) in table {
            assert_eq!(judge(Ask::Order, answer(*status, body), false), *expected, "{status}");
        }
    }

    #[test]
    fn a_refusal_to_work_is_proof_only_where_the_contract_says_so() {
        assert_eq!(judge(Ask::Order, answer(429, b""), true), "not-sent api http_429");
        assert_eq!(judge(Ask::Order, answer(503, b""), true), "not-sent api http_503");
        assert_eq!(judge(Ask::Order, answer(500, b""), true), "ambiguous api http_500");
        assert_eq!(judge(Ask::Order, answer(504, b""), true), "ambiguous api http_504");
    }

    #[test]
    fn a_broken_transport_is_judged_by_how_far_the_bytes_came() {
        let table = [
            (TransportKind::Build, "logic request_build"),
            (TransportKind::Dns, "network dns"),
            (TransportKind::Connect, "network connect"),
            (TransportKind::Tls, "network tls"),
            (TransportKind::Timeout, "network timeout"),
            (TransportKind::Reset, "network reset"),
            (TransportKind::Incomplete, "network incomplete"),
        ];
        for (kind, expected) in table {
            let not_sent = judge(Ask::Order, Observation::NotSent(broken(kind)), false);
            assert_eq!(not_sent, format!("not-sent {expected}"));
            let lost = judge(Ask::Order, Observation::Lost(broken(kind)), false);
            assert_eq!(lost, format!("ambiguous {expected}"));
        }
    }

    #[test]
    fn an_id_that_an_open_order_has_is_asked_about_and_not_taken_for_a_refusal() {
        let body = br#"{"code":"duplicate_client_id","message":"an open order has it"}"#;
        for capability in
            [HttpCapability::IdempotentKeys, HttpCapability::QueryByClientId, HttpCapability::UniqueWhileOpen]
        {
            let profile = HttpVenueConfig { capability, ..HttpVenueConfig::default() }.profile();
            let decode = |_: &[u8]| Ok(Vec::new());
            let outcome = classify(Ask::Order, answer(400, body), &profile, decode);
            let Outcome::Ambiguous(failure) = outcome else { panic!("{capability:?}: {outcome:?}") };
            assert_eq!((failure.phase, &*failure.code), (Phase::MaybeSent, "duplicate_client_id"));
        }
    }

    #[test]
    fn an_oversized_reply_is_no_reply() {
        let oversized = |status| Observation::Answered(Answer { status, body: None });
        assert_eq!(judge(Ask::Order, oversized(200), false), "ambiguous data reply_too_large");
        assert_eq!(judge(Ask::Order, oversized(400), false), "refused-once api http_400");
    }

    #[test]
    fn only_the_venue_itself_can_say_that_it_does_not_know_an_order() {
        assert_eq!(judge(Ask::Query, answer(404, REFUSED), false), "unknown");
        assert_eq!(judge(Ask::Query, answer(404, b""), false), "ambiguous api http_404");
        assert_eq!(judge(Ask::Query, answer(400, REFUSED), false), "ambiguous api unknown_order");
    }

    #[test]
    fn a_query_that_fails_says_nothing_about_the_order() {
        assert_eq!(judge(Ask::Query, answer(200, b"good"), true), "done");
        assert_eq!(judge(Ask::Query, answer(401, b""), true), "ambiguous api unauthorized");
        assert_eq!(judge(Ask::Query, answer(422, b""), true), "ambiguous logic key_reused");
        assert_eq!(judge(Ask::Query, answer(503, b""), true), "ambiguous api http_503");
        let refused = Observation::NotSent(broken(TransportKind::Connect));
        assert_eq!(judge(Ask::Query, refused, true), "ambiguous network connect");
    }

    #[test]
    fn a_read_gives_its_body_or_a_failure() {
        assert_eq!(read_body(answer(200, b"x")), Ok(b"x".to_vec()));
        let code = |observation| read_body(observation).map_err(|failure| failure.code.into_owned());
        assert_eq!(code(answer(503, b"")), Err("http_503".into()));
        assert_eq!(code(answer(401, b"")), Err("unauthorized".into()));
        assert_eq!(
            code(Observation::Answered(Answer { status: 200, body: None })),
            Err("reply_too_large".into())
        );
        assert_eq!(code(Observation::Lost(broken(TransportKind::Timeout))), Err("timeout".into()));
    }
}
