//! A dead letter as JSON: with its state by name, and a payload that a person can read.

use crate::resilience::{DeadLetter, LetterStatus};
use serde_json::{Value, json};

/// What commands print and the API answers.
pub(crate) fn facts_of(letter: &DeadLetter) -> Value {
    let mut facts = json!(letter);
    if let Some(facts) = facts.as_object_mut() {
        match std::str::from_utf8(&letter.payload) {
            Ok(text) => facts.insert("payload".into(), text.into()),
            Err(_) => {
                facts.remove("payload");
                let bytes = data_encoding::BASE64.encode(&letter.payload);
                facts.insert("payload_base64".into(), bytes.into())
            }
        };
        facts.insert("state".into(), letter.status.state().to_string().into());
        if let LetterStatus::Reissued { child, .. } = &letter.status {
            facts.insert("child".into(), child.as_str().into());
        }
    }
    facts
}

/// The letter that such facts are of.
///
/// # Errors
/// When they are of none; in words.
pub(crate) fn letter_of(mut facts: Value) -> Result<DeadLetter, String> {
    let fields = facts.as_object_mut().ok_or("expected a dead letter, found no object")?;
    let text = fields.get("payload").and_then(Value::as_str).map(|text| text.as_bytes().to_vec());
    let base64 = fields.get("payload_base64").and_then(Value::as_str);
    let payload = match (text, base64) {
        (Some(text), _) => text,
        (None, Some(base64)) => data_encoding::BASE64
            .decode(base64.as_bytes())
            .map_err(|error| format!("the payload of a dead letter: {error}"))?,
        (None, None) => return Err("expected a dead letter with a payload".into()),
    };
    fields.insert("payload".into(), payload.into());
    serde_json::from_value(facts).map_err(|error| format!("a dead letter: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::market::UnixNanos;
    use crate::resilience::{Class, Failure, LetterError, LetterKind, NewLetter, Phase};

    #[test]
    fn a_letter_survives_the_way_over_the_api_whatever_its_payload() {
        for payload in [b"{\"a\":\"\xc3\xa9\"}".to_vec(), vec![0xff, 0, 7], Vec::new()] {
            let failure = Failure::new(Class::Network, "timeout", Phase::MaybeSent, "no answer");
            let letter = DeadLetter::new(NewLetter {
                id: "call-1".parse().unwrap(),
                agent: "a".into(),
                kind: LetterKind::Call,
                payload,
                summary: "call 1".into(),
                error: LetterError { at: UnixNanos(7), failure },
                attempts: 2,
                ambiguous: true,
            });
            assert_eq!(letter_of(facts_of(&letter)), Ok(letter));
        }
        assert!(letter_of(json!({ "id": "x" })).is_err());
        assert!(letter_of(json!(7)).is_err());
    }
}
