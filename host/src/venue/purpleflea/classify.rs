//! From what was observed on the wire to what is known about the order: the one table of this venue.
//!
//! The venue wraps an order in one `try` whose `catch` answers `400 trade_failed`, whatever broke: before the
//! exchange was asked, while it was, or after it had filled. So the status proves nothing, and only texts that
//! are known to come from before the fill, or from the exchange's own refusal, are a no. A text that nobody
//! has seen is not.

use super::super::Outcome;
use super::super::observation::{Answer, Observation, excerpt};
use super::wire::{self, Refusal};
use crate::resilience::{Class, Failure, Phase};

/// What a request does at the venue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// It sends an order to the exchange.
    Trades,
    /// It sends an order that closes a position: one that is gone already was perhaps closed by it.
    Closes,
    /// It writes a row at the venue and sends nothing to the exchange.
    Notes,
    /// It takes back a row: one that is gone already was perhaps taken back by it, or executed.
    TakesBack,
}

/// What is known before the body of a success is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Judged {
    /// The venue said yes; this is what it said.
    Success(Vec<u8>),
    /// This is known.
    Known(Outcome),
}

/// Texts behind `trade_failed` and `close_failed` that prove that nothing was executed.
const DEFINITE: [(&str, &str); 8] = [
    ("Market not found:", "market_not_found"),
    ("No price available", "no_price"),
    ("Max leverage for", "leverage_too_high"),
    ("Position size too small", "size_too_small"),
    ("Main dex asset not found", "market_not_found"),
    ("XYZ asset not found", "market_not_found"),
    ("Hyperliquid order rejected:", "exchange_rejected"),
    ("Order error:", "exchange_refused"),
];

/// Codes that the venue gives before it asks the exchange.
const REFUSALS: [&str; 8] = [
    "invalid_request",
    "invalid_size",
    "invalid_side",
    "invalid_leverage",
    "position_too_large",
    "wallet_not_configured",
    "invalid_json",
    "provide position_id",
];

/// What is known after one write.
pub(super) fn judge(effect: Effect, observation: Observation) -> Judged {
    let outcome = match observation {
        Observation::NotSent(error) => Outcome::NotSent(error.failure(Phase::NotSent)),
        Observation::Lost(error) => Outcome::Ambiguous(error.failure(Phase::MaybeSent)),
        Observation::Answered(Answer { status: 200..=299, body: Some(body) }) => {
            return Judged::Success(body);
        }
        Observation::Answered(answer @ Answer { status: 200..=299, body: None }) => {
            Outcome::Ambiguous(answer.too_large(Phase::MaybeSent))
        }
        Observation::Answered(answer) => refused(effect, &answer),
    };
    Judged::Known(outcome)
}

fn refused(effect: Effect, answer: &Answer) -> Outcome {
    let status = answer.status;
    let failure = |code: &str, phase| Failure::new(Class::Api, code.to_owned(), phase, describe(answer));
    let ambiguous = |code: &str| Outcome::Ambiguous(failure(code, Phase::MaybeSent));
    let refused = |code: &str| Outcome::Refused(failure(code, Phase::Done));
    // HTML and the like is of something between us and the venue, which may have passed the order on.
    let Some(refusal) = answer.body.as_deref().and_then(wire::refusal) else {
        return ambiguous(&format!("http_{status}"));
    };
    let code = code(&refusal);
    match (status, refusal.error.as_str()) {
        (401, "unauthorized" | "invalid_key") => refused("unauthorized"),
        (403, "daily_loss_limit_reached") => refused(&code),
        // The venue's own limiter stands before the handler and has its own words; another's 429 is no proof.
        (429, "rate_limited") if refusal.message.starts_with("Too many requests") => {
            Outcome::NotSent(failure("rate_limited", Phase::NotSent))
        }
        (400, error) if REFUSALS.contains(&error) => refused(&code),
        (404, "not_found") if effect != Effect::TakesBack => refused(&code),
        (400, "trade_failed" | "close_failed") => match definite(&refusal.message) {
            Some(code) => refused(code),
            None => ambiguous(&code),
        },
        // What the exchange is not asked for is refused by the venue's own word, except where that word is
        // that something broke.
        (400..=409, error)
            if effect == Effect::Notes && !error.ends_with("_failed") && !error.ends_with("_error") =>
        {
            refused(&code)
        }
        _ => ambiguous(&code),
    }
}

fn definite(message: &str) -> Option<&'static str> {
    let (_, code) = DEFINITE.iter().find(|(prefix, _)| message.starts_with(prefix))?;
    let is_margin = *code == "exchange_refused" && message.contains("Insufficient margin");
    Some(if is_margin { "insufficient_funds" } else { code })
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
            let refusal = answer.body.as_deref().and_then(wire::refusal);
            let code = match (answer.status, &refusal) {
                (401, Some(_)) => "unauthorized".into(),
                (status, _) => format!("http_{status}"),
            };
            Err(Failure::new(Class::Api, code, Phase::Done, describe(&answer)))
        }
    }
}

/// The venue's code, when it can be one of ours.
fn code(refusal: &Refusal) -> String {
    let harmless = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' };
    refusal.error.chars().map(harmless).collect()
}

fn describe(answer: &Answer) -> String {
    let status = answer.status;
    match answer.body.as_deref() {
        None => format!("the venue answered {status} with an oversized body"),
        Some([]) => format!("the venue answered {status}"),
        Some(body) => match wire::refusal(body) {
            Some(Refusal { error, message }) => {
                let (error, message) = (excerpt(error.as_bytes()), excerpt(message.as_bytes()));
                format!("the venue answered {status} {error}: {message}")
            }
            None => format!("the venue answered {status}: {}", excerpt(body)),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::observation::{TransportError, TransportKind};
    use super::*;
    use serde_json::json;

    fn words(judged: Judged) -> String {
        let (word, failure) = match judged {
            Judged::Success(_) => return "success".into(),
            Judged::Known(Outcome::Refused(failure)) => ("refused", failure),
            Judged::Known(Outcome::NotSent(failure)) => ("not-sent", failure),
            Judged::Known(Outcome::Ambiguous(failure)) => ("ambiguous", failure),
            Judged::Known(outcome) => panic!("{outcome:?}"),
        };
        format!("{word} {}", failure.code)
    }

    fn says(effect: Effect, status: u16, body: &str) -> String {
        words(judge(effect, Observation::Answered(Answer { status, body: Some(body.as_bytes().to_vec()) })))
    }

    fn error(effect: Effect, status: u16, error: &str, message: &str) -> String {
        let body = json!({"error": error, "message": message, "_info": {"service": "agent-trading"}});
        says(effect, status, &body.to_string())
    }

    #[test]
    fn every_refusal_before_the_exchange_is_definite() {
        let table = [
            (400, "invalid_request", "Provide coin, side (long/short), size_usd"),
            (400, "invalid_size", "size_usd must be a positive number"),
            (400, "invalid_side", "side must be 'long' or 'short'"),
            (400, "invalid_leverage", "leverage must be a number >= 1"),
            (400, "position_too_large", "Max position size is $10000. Upgrade tier for higher limits."),
            (400, "wallet_not_configured", "Hyperliquid wallet not configured."),
            (400, "invalid_json", "Request body must be valid JSON"),
            (403, "daily_loss_limit_reached", ""),
            (404, "not_found", "POST /v1/trade/open not found"),
        ];
        for (status, code, message) in table {
            assert_eq!(error(Effect::Trades, status, code, message), format!("refused {code}"));
        }
        let provide = says(Effect::Closes, 400, r#"{"error":"provide position_id"}"#);
        assert_eq!(provide, "refused provide_position_id");
        let missing = error(Effect::Trades, 401, "unauthorized", "Provide Authorization: Bearer <api_key>");
        assert_eq!(missing, "refused unauthorized");
        assert_eq!(says(Effect::Trades, 401, r#"{"error":"invalid_key"}"#), "refused unauthorized");
    }

    #[test]
    fn a_failed_trade_is_judged_by_its_words() {
        let table = [
            (
                "Market not found: XYZ. Try GET /v1/markets to see available markets.",
                "refused market_not_found",
            ),
            ("No price available for BTC", "refused no_price"),
            ("Max leverage for BTC is 50x", "refused leverage_too_high"),
            ("Position size too small: 0.00001", "refused size_too_small"),
            ("Main dex asset not found: BTC", "refused market_not_found"),
            ("XYZ asset not found: TSLA", "refused market_not_found"),
            ("Hyperliquid order rejected: {\"status\":\"err\"}", "refused exchange_rejected"),
            ("Order error: Order must have minimum value of $10.", "refused exchange_refused"),
            ("Order error: Insufficient margin to place order.", "refused insufficient_funds"),
            (
                "Order error: Order could not immediately match against any resting orders.",
                "refused exchange_refused",
            ),
            ("Order error: No liquidity available for market order.", "refused exchange_refused"),
            ("Unexpected HL response: {}", "ambiguous trade_failed"),
            ("Order not filled (may have been placed as resting)", "ambiguous trade_failed"),
            ("fetch failed", "ambiguous trade_failed"),
            ("Unexpected token '<', \"<html>\" is not valid JSON", "ambiguous trade_failed"),
            ("SQLITE_BUSY: database is locked", "ambiguous trade_failed"),
            ("a text that nobody has seen", "ambiguous trade_failed"),
            ("an Order error: in the middle", "ambiguous trade_failed"),
            ("", "ambiguous trade_failed"),
        ];
        for (message, expected) in table {
            assert_eq!(error(Effect::Trades, 400, "trade_failed", message), expected, "{message}");
        }
    }

    #[test]
    fn a_close_of_what_is_gone_is_to_be_verified() {
        let close = |status, code: &str, message: &str| error(Effect::Closes, status, code, message);
        assert_eq!(close(404, "position_not_found", ""), "ambiguous position_not_found");
        let gone = "No open position for BTC on Hyperliquid";
        assert_eq!(close(400, "close_failed", gone), "ambiguous close_failed");
        assert_eq!(close(400, "close_failed", "Close order not filled"), "ambiguous close_failed");
        assert_eq!(close(400, "close_failed", "Order error: no"), "refused exchange_refused");
        assert_eq!(close(400, "wallet_not_configured", ""), "refused wallet_not_configured");
    }

    #[test]
    fn only_the_venues_own_limiter_proves_that_nothing_was_done() {
        let own = "Too many requests. Limit: 30 per 60s";
        assert_eq!(error(Effect::Trades, 429, "rate_limited", own), "not-sent rate_limited");
        assert_eq!(error(Effect::Trades, 429, "rate_limited", "slow down"), "ambiguous rate_limited");
        assert_eq!(says(Effect::Trades, 429, "<html>"), "ambiguous http_429");
        assert_eq!(says(Effect::Trades, 429, ""), "ambiguous http_429");
    }

    #[test]
    fn what_is_not_the_venues_own_word_is_no_answer() {
        for status in [301, 400, 401, 403, 404, 408, 409, 413, 422, 500, 502, 503, 504, 999] {
            for body in
                ["", "<html><h1>502 Bad Gateway</h1></html>", "{\"error\":7}", "{\"error\":\"\"}", "[]"]
            {
                for effect in [Effect::Trades, Effect::Closes, Effect::Notes, Effect::TakesBack] {
                    assert_eq!(says(effect, status, body), format!("ambiguous http_{status}"), "{body}");
                }
            }
        }
        assert_eq!(error(Effect::Trades, 500, "internal_error", ""), "ambiguous internal_error");
        assert_eq!(error(Effect::Trades, 400, "something_new", ""), "ambiguous something_new");
        assert_eq!(error(Effect::Trades, 403, "forbidden", ""), "ambiguous forbidden");
        let twice = r#"{"error":"invalid_size","error":"trade_failed"}"#;
        assert_eq!(says(Effect::Trades, 400, twice), "ambiguous http_400", "one of the two is a lie");
    }

    #[test]
    fn a_row_that_is_refused_is_refused_and_one_that_broke_is_not() {
        assert_eq!(error(Effect::Notes, 400, "too_many_pending", ""), "refused too_many_pending");
        assert_eq!(error(Effect::Notes, 404, "position_not_found", ""), "refused position_not_found");
        assert_eq!(error(Effect::Notes, 400, "limit_failed", ""), "ambiguous limit_failed");
        assert_eq!(error(Effect::Notes, 500, "internal_error", ""), "ambiguous internal_error");
        let gone = error(Effect::TakesBack, 404, "order_not_found", "");
        assert_eq!(gone, "ambiguous order_not_found", "it may have been executed");
    }

    #[test]
    fn a_broken_transport_is_judged_by_how_far_the_bytes_came() {
        let error = TransportError { kind: TransportKind::Timeout, detail: "broken".into() };
        assert_eq!(words(judge(Effect::Trades, Observation::Lost(error.clone()))), "ambiguous timeout");
        assert_eq!(words(judge(Effect::Trades, Observation::NotSent(error))), "not-sent timeout");
        let large = Observation::Answered(Answer { status: 200, body: None });
        assert_eq!(words(judge(Effect::Trades, large)), "ambiguous reply_too_large");
    }
}
