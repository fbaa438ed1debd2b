//! Settings of a strategy, as a configuration, a command line and the API write them.

use crate::plugin::{Setting, SettingValue};
use rust_decimal::Decimal;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// Text that begins with this is an exact decimal.
const DECIMAL: &str = "decimal:";

/// Why a value cannot be a setting.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("setting \"{key}\": {reason}")]
pub struct SettingError {
    /// Which setting.
    pub key: String,
    /// What was expected.
    pub reason: &'static str,
}

const NUMBER: &str = "expected a finite number";
const DIGITS: &str = "expected digits after \"decimal:\", such as \"decimal:0.25\"";
const KIND: &str = "expected true or false, a number or a text";
const WHOLE: &str = "expected a whole number of at most 63 bits";

/// A float is given to the strategy as it is, exact decimals are given as text.
pub(super) fn from_toml(settings: &BTreeMap<String, toml::Value>) -> Result<Vec<Setting>, SettingError> {
    let value = |value: &toml::Value| match value {
        toml::Value::Boolean(value) => Ok(SettingValue::Boolean(*value)),
        toml::Value::Integer(value) => Ok(SettingValue::Integer(*value)),
        toml::Value::Float(value) if value.is_finite() => Ok(SettingValue::Real(*value)),
        toml::Value::Float(_) => Err(NUMBER),
        toml::Value::String(text) => of_text(text),
        _ => Err(KIND),
    };
    (settings.iter()).map(|(key, found)| setting(key, value(found))).collect()
}

/// The same of JSON.
pub(super) fn from_json(settings: &Map<String, Value>) -> Result<Vec<Setting>, SettingError> {
    let value = |value: &Value| match value {
        Value::Bool(value) => Ok(SettingValue::Boolean(*value)),
        Value::Number(number) if number.is_f64() => number.as_f64().map(SettingValue::Real).ok_or(NUMBER),
        Value::Number(number) => number.as_i64().map(SettingValue::Integer).ok_or(WHOLE),
        Value::String(text) => of_text(text),
        _ => Err(KIND),
    };
    let mut settings: Vec<Setting> =
        (settings.iter()).map(|(key, found)| setting(key, value(found))).collect::<Result<_, _>>()?;
    settings.sort_by(|one, other| one.key.cmp(&other.key));
    Ok(settings)
}

/// What [`from_json`] reads.
pub(super) fn to_json(settings: &[Setting]) -> Map<String, Value> {
    let value = |value: &SettingValue| match value {
        SettingValue::Boolean(value) => Value::from(*value),
        SettingValue::Integer(value) => Value::from(*value),
        SettingValue::Real(value) => Value::from(*value),
        SettingValue::Exact(value) => Value::from(format!("{DECIMAL}{value}")),
        SettingValue::Text(text) => Value::from(text.as_str()),
    };
    settings.iter().map(|setting| (setting.key.clone(), value(&setting.value))).collect()
}

fn setting(key: &str, value: Result<SettingValue, &'static str>) -> Result<Setting, SettingError> {
    let key = key.to_owned();
    match value {
        Ok(value) => Ok(Setting { key, value }),
        Err(reason) => Err(SettingError { key, reason }),
    }
}

fn of_text(text: &str) -> Result<SettingValue, &'static str> {
    match text.strip_prefix(DECIMAL) {
        Some(digits) => digits.parse::<Decimal>().map(SettingValue::Exact).map_err(|_| DIGITS),
        None => Ok(SettingValue::Text(text.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn map(value: Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn settings_read_the_same_from_a_configuration_and_from_the_api() {
        let text = "a = true\nb = 7\nc = 0.5\nd = \"decimal:0.25\"\ne = \"words\"\nf = 2.0";
        let toml = from_toml(&toml::from_str(text).unwrap()).unwrap();
        let json = map(json!({"f": 2.0, "e": "words", "d": "decimal:0.25", "c": 0.5, "b": 7, "a": true}));
        assert_eq!(from_json(&json).unwrap(), toml);
        assert_eq!(from_json(&to_json(&toml)).unwrap(), toml, "and survive the way to a client and back");
    }

    #[test]
    fn what_cannot_be_a_setting_is_named() {
        for (value, reason) in
            [(json!([1]), KIND), (json!(null), KIND), (json!("decimal:x"), DIGITS), (json!(u64::MAX), WHOLE)]
        {
            let error = from_json(&map(json!({ "k": value }))).unwrap_err();
            assert_eq!((error.key.as_str(), error.reason), ("k", reason));
        }
        assert_eq!(from_toml(&toml::from_str("k = nan").unwrap()).unwrap_err().reason, NUMBER);
    }
}
