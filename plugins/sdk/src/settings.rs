//! Settings: declared once in `describe`, checked before a strategy sees them, then simply read.

use crate::bindings::ringfence::strategy::types;
use crate::{Decimal, Fault, Lots};
use std::fmt::Write as _;
use std::ops::RangeInclusive;

/// The value of a setting.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "the names are those of the WIT variant")]
pub enum SettingValue {
    Boolean(bool),
    Integer(i64),
    Exact(Decimal),
    Real(f64),
    Text(String),
}

/// The declaration of one setting. Without a default it is required.
#[derive(Clone, Debug)]
pub struct Setting {
    key: &'static str,
    about: &'static str,
    domain: Domain,
    default: Option<SettingValue>,
}

/// What values a setting takes.
#[derive(Clone, Debug)]
enum Domain {
    Boolean,
    Integer(RangeInclusive<i64>),
    Exact(RangeInclusive<Decimal>),
    Real(RangeInclusive<f64>),
    Text,
    OneOf(&'static [&'static str]),
}

/// The settings of a session: every declared one has a value of its domain.
#[derive(Clone, Debug, Default)]
pub struct Settings(Vec<(&'static str, SettingValue)>);

impl Setting {
    /// A truth value.
    pub const fn boolean(key: &'static str) -> Self {
        Self::of(key, Domain::Boolean)
    }

    /// A whole number within bounds.
    pub const fn integer(key: &'static str, bounds: RangeInclusive<i64>) -> Self {
        Self::of(key, Domain::Integer(bounds))
    }

    /// An exact decimal within bounds: a price or an amount of money.
    pub const fn exact(key: &'static str, bounds: RangeInclusive<Decimal>) -> Self {
        Self::of(key, Domain::Exact(bounds))
    }

    /// A number for statistics, within bounds. Neither NaN nor an infinity is within any.
    pub const fn real(key: &'static str, bounds: RangeInclusive<f64>) -> Self {
        Self::of(key, Domain::Real(bounds))
    }

    /// Any text.
    pub const fn text(key: &'static str) -> Self {
        Self::of(key, Domain::Text)
    }

    /// One of some words.
    pub const fn one_of(key: &'static str, words: &'static [&'static str]) -> Self {
        Self::of(key, Domain::OneOf(words))
    }

    /// The value when the configuration gives none. It is checked like a given one.
    pub fn default(self, value: impl Into<SettingValue>) -> Self {
        Self { default: Some(value.into()), ..self }
    }

    /// One line for the reader of a configuration.
    pub const fn about(mut self, words: &'static str) -> Self {
        self.about = words;
        self
    }

    const fn of(key: &'static str, domain: Domain) -> Self {
        Self { key, about: "", domain, default: None }
    }

    /// The value in the form that the domain reads, or what was expected.
    fn admit(&self, value: SettingValue) -> Result<SettingValue, String> {
        let expected = match (&self.domain, value) {
            (Domain::Boolean, SettingValue::Boolean(value)) => return Ok(SettingValue::Boolean(value)),
            (Domain::Boolean, other) => format!("true or false, found {other}"),
            (Domain::Integer(bounds), SettingValue::Integer(value)) if bounds.contains(&value) => {
                return Ok(SettingValue::Integer(value));
            }
            (Domain::Integer(bounds), other) => {
                format!("a whole number from {} to {}, found {other}", bounds.start(), bounds.end())
            }
            (Domain::Exact(bounds), other) => match other.as_exact() {
                Some(value) if bounds.contains(&value) => return Ok(SettingValue::Exact(value)),
                _ => format!("a decimal from {} to {}, found {other}", bounds.start(), bounds.end()),
            },
            (Domain::Real(bounds), other) => match other.as_real() {
                Some(value) if bounds.contains(&value) => return Ok(SettingValue::Real(value)),
                _ => format!("a number from {} to {}, found {other}", bounds.start(), bounds.end()),
            },
            (Domain::Text, SettingValue::Text(value)) => return Ok(SettingValue::Text(value)),
            (Domain::Text, other) => format!("text, found {other}"),
            (Domain::OneOf(words), SettingValue::Text(value)) if words.contains(&value.as_str()) => {
                return Ok(SettingValue::Text(value));
            }
            (Domain::OneOf(words), other) => format!("one of {}, found {other}", words.join(", ")),
        };
        Err(format!("{}: expected {expected}", self.key))
    }
}

impl Settings {
    /// Matches what the configuration gives with what the strategy declares.
    ///
    /// # Errors
    /// Every problem there is, in one message.
    pub(crate) fn check(declared: Vec<Setting>, given: Vec<(String, SettingValue)>) -> Result<Self, Fault> {
        let mut problems = Vec::new();
        let mut values: Vec<(&'static str, SettingValue)> = Vec::new();
        let known: Vec<_> = declared.iter().map(|setting| setting.key).collect();
        let mut given: Vec<_> = given.into_iter().map(Some).collect();
        for setting in &declared {
            let mut found =
                given.iter_mut().filter(|g| g.as_ref().is_some_and(|(key, _)| key == setting.key));
            let first = found.next().and_then(Option::take).map(|(_, value)| value);
            if found.any(|again| again.take().is_some()) {
                problems.push(format!("{}: expected one value, found several", setting.key));
            }
            match first.or_else(|| setting.default.clone()).map(|value| setting.admit(value)) {
                Some(Ok(value)) => values.push((setting.key, value)),
                Some(Err(problem)) => problems.push(problem),
                None => problems.push(format!("{}: is required and has no default", setting.key)),
            }
        }
        for (key, _) in given.into_iter().flatten() {
            problems.push(match known.len() {
                0 => format!("{key}: is not a setting of this strategy, which has none"),
                _ => format!("{key}: is not a setting of this strategy, which has {}", known.join(", ")),
            });
        }
        if problems.is_empty() { Ok(Self(values)) } else { Err(Fault::InvalidSettings(problems.join("; "))) }
    }

    /// The value of a setting declared with [`Setting::boolean`].
    ///
    /// # Errors
    /// When it was not declared so: a mistake of the strategy's author.
    pub fn boolean(&self, key: &str) -> Result<bool, Fault> {
        match self.value(key)? {
            SettingValue::Boolean(value) => Ok(*value),
            _ => Err(declared_otherwise(key, "boolean")),
        }
    }

    /// The value of a setting declared with [`Setting::integer`].
    ///
    /// # Errors
    /// When it was not declared so: a mistake of the strategy's author.
    pub fn integer(&self, key: &str) -> Result<i64, Fault> {
        match self.value(key)? {
            SettingValue::Integer(value) => Ok(*value),
            _ => Err(declared_otherwise(key, "integer")),
        }
    }

    /// The value of a setting declared with [`Setting::integer`] as a count.
    ///
    /// # Errors
    /// When it was not declared so, or its bounds let a negative or too large number through.
    pub fn count(&self, key: &str) -> Result<u32, Fault> {
        self.integer(key)?.try_into().map_err(|_| declared_otherwise(key, "integer from 0 to 4294967295"))
    }

    /// The value of a setting declared with [`Setting::integer`] as lots.
    ///
    /// # Errors
    /// When it was not declared so: a mistake of the strategy's author.
    pub fn lots(&self, key: &str) -> Result<Lots, Fault> {
        self.integer(key).map(Lots)
    }

    /// The value of a setting declared with [`Setting::exact`].
    ///
    /// # Errors
    /// When it was not declared so: a mistake of the strategy's author.
    pub fn exact(&self, key: &str) -> Result<Decimal, Fault> {
        match self.value(key)? {
            SettingValue::Exact(value) => Ok(*value),
            _ => Err(declared_otherwise(key, "exact")),
        }
    }

    /// The value of a setting declared with [`Setting::real`].
    ///
    /// # Errors
    /// When it was not declared so: a mistake of the strategy's author.
    pub fn real(&self, key: &str) -> Result<f64, Fault> {
        match self.value(key)? {
            SettingValue::Real(value) => Ok(*value),
            _ => Err(declared_otherwise(key, "real")),
        }
    }

    /// The value of a setting declared with [`Setting::text`] or [`Setting::one_of`].
    ///
    /// # Errors
    /// When it was not declared so: a mistake of the strategy's author.
    pub fn text(&self, key: &str) -> Result<&str, Fault> {
        match self.value(key)? {
            SettingValue::Text(value) => Ok(value),
            _ => Err(declared_otherwise(key, "text")),
        }
    }

    fn value(&self, key: &str) -> Result<&SettingValue, Fault> {
        let found = self.0.iter().find(|(known, _)| *known == key);
        found.map(|(_, value)| value).ok_or_else(|| declared_otherwise(key, "setting"))
    }
}

fn declared_otherwise(key: &str, what: &str) -> Fault {
    Fault::Internal(format!("init reads the {what} \"{key}\", which describe does not declare so"))
}

impl SettingValue {
    fn as_exact(&self) -> Option<Decimal> {
        match self {
            Self::Integer(value) => Some(Decimal::whole(*value)),
            Self::Exact(value) => Some(*value),
            // A configuration file has no decimals; the shortest text of its f64 is what its author wrote.
            Self::Real(value) => value.to_string().parse().ok(),
            Self::Text(value) => value.parse().ok(),
            Self::Boolean(_) => None,
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "a setting for statistics")]
    fn as_real(&self) -> Option<f64> {
        match self {
            Self::Integer(value) => Some(*value as f64),
            Self::Exact(value) => Some(value.to_f64()),
            Self::Real(value) => Some(*value),
            Self::Boolean(_) | Self::Text(_) => None,
        }
    }
}

impl std::fmt::Display for SettingValue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Boolean(value) => write!(f, "{value}"),
            Self::Integer(value) => write!(f, "{value}"),
            Self::Exact(value) => write!(f, "{value}"),
            Self::Real(value) => write!(f, "{value}"),
            Self::Text(value) => write!(f, "\"{}\"", value.chars().take(60).collect::<String>()),
        }
    }
}

macro_rules! setting_values {
    ($($from:ty => $case:ident),*) => {$(
        impl From<$from> for SettingValue {
            fn from(value: $from) -> Self {
                Self::$case(value.into())
            }
        }
    )*};
}
setting_values!(bool => Boolean, i32 => Integer, i64 => Integer, Decimal => Exact, f64 => Real, &str => Text, String => Text);

impl From<types::SettingValue> for SettingValue {
    fn from(value: types::SettingValue) -> Self {
        match value {
            types::SettingValue::Boolean(value) => Self::Boolean(value),
            types::SettingValue::Integer(value) => Self::Integer(value),
            types::SettingValue::Exact(value) => Self::Exact(value.into()),
            types::SettingValue::Real(value) => Self::Real(value),
            types::SettingValue::Text(value) => Self::Text(value),
        }
    }
}

/// JSON Schema (draft 2020-12) of some settings.
pub(crate) fn json_schema(settings: &[Setting]) -> String {
    let properties: Vec<_> =
        settings.iter().map(|setting| format!("{}:{}", json_text(setting.key), property(setting))).collect();
    let required: Vec<_> =
        settings.iter().filter(|s| s.default.is_none()).map(|setting| json_text(setting.key)).collect();
    format!(
        "{{\"type\":\"object\",\"additionalProperties\":false,\"properties\":{{{}}},\"required\":[{}]}}",
        properties.join(","),
        required.join(",")
    )
}

fn property(setting: &Setting) -> String {
    let range = |kind: &str, low: &dyn std::fmt::Display, high: &dyn std::fmt::Display| {
        format!("\"type\":\"{kind}\",\"minimum\":{low},\"maximum\":{high}")
    };
    let mut text = match &setting.domain {
        Domain::Boolean => "\"type\":\"boolean\"".to_owned(),
        Domain::Integer(bounds) => range("integer", bounds.start(), bounds.end()),
        Domain::Exact(bounds) => range("number", bounds.start(), bounds.end()),
        Domain::Real(bounds) => range("number", bounds.start(), bounds.end()),
        Domain::Text => "\"type\":\"string\"".to_owned(),
        Domain::OneOf(words) => {
            let words: Vec<_> = words.iter().map(|word| json_text(word)).collect();
            format!("\"type\":\"string\",\"enum\":[{}]", words.join(","))
        }
    };
    if !setting.about.is_empty() {
        let _ = write!(text, ",\"description\":{}", json_text(setting.about));
    }
    match &setting.default {
        Some(SettingValue::Text(value)) => _ = write!(text, ",\"default\":{}", json_text(value)),
        Some(value) => _ = write!(text, ",\"default\":{value}"),
        None => {}
    }
    format!("{{{text}}}")
}

fn json_text(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c.is_control() => _ = write!(quoted, "\\u{:04x}", u32::from(c)),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
#[path = "settings_tests.rs"]
mod tests;
