//! What the venue says, byte for byte: JSON with the server's tail, and the numbers in it.

use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive as _;
use serde_json::{Value, json};
use std::sync::Arc;

/// Stands for a NaN until the reply is written, since a JSON value cannot hold one.
pub(super) const NAN: &str = "\u{1}NaN\u{1}";

/// A reply, as it is sent and as it is stored under its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) content_type: &'static str,
    pub(super) body: Arc<str>,
    pub(super) retry_after_s: Option<u64>,
}

impl Reply {
    /// A JSON reply. The server adds `_info` to every object.
    pub(super) fn json(status: u16, mut body: Value) -> Self {
        if let Some(object) = body.as_object_mut() {
            object.insert(
                "_info".into(),
                json!({
                    "service": "agent-trading",
                    "docs": "https://trading.purpleflea.com/llms.txt",
                    "referral": "GET /v1/gossip for passive income info",
                    "version": "3.0.0",
                }),
            );
        }
        Self::stored(status, body.to_string().replace("\"\\u0001NaN\\u0001\"", "NaN").into())
    }

    /// A JSON reply that is written already.
    pub(super) fn stored(status: u16, body: Arc<str>) -> Self {
        Self { status, content_type: "application/json; charset=UTF-8", body, retry_after_s: None }
    }

    /// A refusal with a code and a text.
    pub(super) fn error(status: u16, code: &str, message: &str) -> Self {
        Self::json(status, json!({ "error": code, "message": message }))
    }

    /// What the server says when its handler throws something that is not about JSON.
    pub(super) fn internal() -> Self {
        Self::error(500, "internal_error", "An unexpected error occurred")
    }

    /// The page of a proxy in front of the server.
    pub(super) fn html(status: u16) -> Self {
        let reason = match status {
            500 => "Internal Server Error",
            502 => "Bad Gateway",
            503 => "Service Temporarily Unavailable",
            504 => "Gateway Time-out",
            _ => "Error",
        };
        let body = format!(
            "<html>\r\n<head><title>{status} {reason}</title></head>\r\n<body>\r\n<center><h1>{status} {reason}</h1>\
             </center>\r\n<hr><center>nginx</center>\r\n</body>\r\n</html>\r\n"
        );
        Self { status, content_type: "text/html", body: body.into(), retry_after_s: None }
    }
}

/// The JSON of a request, as the server's handlers read it.
pub(super) fn parse(body: &[u8]) -> Result<Value, Reply> {
    serde_json::from_slice(body)
        .map_err(|_| Reply::error(400, "invalid_json", "Request body must be valid JSON"))
}

/// What JavaScript takes for true.
pub(super) fn truthy(value: Option<&Value>) -> bool {
    match value {
        None | Some(Value::Null) => false,
        Some(Value::Bool(value)) => *value,
        Some(Value::Number(value)) => value.as_f64().is_some_and(|value| value != 0.0),
        Some(Value::String(value)) => !value.is_empty(),
        Some(Value::Array(_) | Value::Object(_)) => true,
    }
}

/// A decimal as the JSON number that JavaScript writes: whole ones without a point, others through a float.
pub(super) fn number(value: Decimal) -> Value {
    let value = value.normalize();
    if value.scale() == 0
        && let Some(whole) = value.to_i64()
    {
        return whole.into();
    }
    value.to_f64().map_or(Value::Null, Value::from)
}

/// [`number`], or null.
pub(super) fn optional(value: Option<Decimal>) -> Value {
    value.map_or(Value::Null, number)
}

/// A float as the server was sent it; none for what is far beyond money.
pub(super) fn decimal(value: f64) -> Option<Decimal> {
    Decimal::try_from(value).ok()
}

/// Rounds as `Math.round(n * 10^digits) / 10^digits` does, ties towards plus infinity.
pub(super) fn round(value: Decimal, digits: u32) -> Decimal {
    let unit = Decimal::new(1, digits);
    let half = Decimal::new(5, digits + 1);
    let rounded = value.checked_add(half).and_then(|value| {
        let steps = value.checked_div(unit)?.floor();
        steps.checked_mul(unit)
    });
    rounded.unwrap_or(value).normalize()
}

/// A time as JavaScript's `toISOString` writes it.
pub(super) fn iso(unix_ms: u64) -> String {
    let (days, in_day) = (unix_ms / 86_400_000, unix_ms % 86_400_000);
    // Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", civil_from_days, for days since 1970.
    let z = days.saturating_add(719_468);
    let (era, of_era) = (z / 146_097, z % 146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let (hours, minutes) = (in_day / 3_600_000, in_day / 60_000 % 60);
    let (seconds, millis) = (in_day / 1_000 % 60, in_day % 1_000);
    format!("{year:04}-{month:02}-{day:02}T{hours:02}:{minutes:02}:{seconds:02}.{millis:03}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_javascript_does() {
        let text = |number_text: &str| number(number_text.parse().unwrap()).to_string();
        assert_eq!(text("1000.00"), "1000");
        assert_eq!(text("-0.5"), "-0.5");
        assert_eq!(text("0.1"), "0.1");
        assert_eq!(text("60000.5"), "60000.5");
    }

    #[test]
    fn ties_are_rounded_up() {
        let rounded = |text: &str| round(text.parse().unwrap(), 2).to_string();
        assert_eq!(rounded("1.005"), "1.01");
        assert_eq!(rounded("-1.005"), "-1");
        assert_eq!(rounded("-1.006"), "-1.01");
        assert_eq!(round(Decimal::MAX, 8), Decimal::MAX);
    }

    #[test]
    fn times_are_written_as_javascript_does() {
        assert_eq!(iso(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(iso(1_709_164_800_123), "2024-02-29T00:00:00.123Z");
        assert_eq!(iso(1_767_225_599_999), "2025-12-31T23:59:59.999Z");
    }

    #[test]
    fn a_nan_is_written_bare() {
        let reply = Reply::json(200, json!({ "price": NAN }));
        assert!(reply.body.contains(r#""price":NaN"#), "{}", reply.body);
    }
}
