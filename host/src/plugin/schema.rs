//! The JSON Schema that a component gives for its settings, and the settings held against it.
//!
//! The schema is a stranger's text. It is measured before the validator sees it: its size, its depth, the work
//! that one validation takes when every reference is followed, and where its references lead. Nothing is ever
//! fetched.

use super::text::{nearest, printable};
use super::{Setting, SettingValue};
use crate::resilience::{Class, Classified};
use boon::{Compiler, ErrorKind, InstanceToken, SchemaIndex, Schemas, UrlLoader, ValidationError};
use serde::Serialize;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use thiserror::Error;

/// Bytes of a schema: some hundred settings, each with a line about it.
const BYTES_MAX: usize = 64 << 10;
/// Nesting, references followed. Settings are flat: three levels describe them, combinators take some more.
const DEPTH_MAX: u32 = 32;
/// Subschemas that one validation visits, references followed. A few references that double at each level would
/// otherwise take for ever.
const CHECKS_MAX: u64 = 10_000;
/// Regular expressions; each may take ten megabytes once it is compiled.
const PATTERNS_MAX: u32 = 16;
/// Different references.
const REFERENCES_MAX: usize = 64;
/// Bytes of a stranger's text in a message.
const SHOWN_BYTES_MAX: usize = 160;
/// Where the schema pretends to be, so that references inside of it resolve. The name exists nowhere.
const PLACE: &str = "https://settings.invalid/schema";

/// Why a component's schema of its settings is not taken.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SchemaError {
    /// It is too long.
    #[error("it has {found} bytes, {BYTES_MAX} allowed")]
    TooLong {
        /// Its length.
        found: usize,
    },
    /// It is no JSON.
    #[error("it is no JSON: {0}; a component without settings gives {{}}")]
    NotJson(String),
    /// It is nested too deeply.
    #[error("it is nested more than {DEPTH_MAX} levels deep, and settings are flat")]
    TooDeep,
    /// One validation would take too long.
    #[error("one look at the settings would take more than {CHECKS_MAX} checks, its references followed")]
    TooMuchWork,
    /// It has too many regular expressions.
    #[error("it has more than {PATTERNS_MAX} regular expressions")]
    TooManyPatterns,
    /// It has too many references.
    #[error("it has more than {REFERENCES_MAX} different references")]
    TooManyReferences,
    /// A reference leads out of it.
    #[error(
        "its {keyword} {reference:?} leads out of it, and nothing is fetched: give a \"#/…\" inside of it"
    )]
    Remote {
        /// Which keyword.
        keyword: &'static str,
        /// Where it leads.
        reference: String,
    },
    /// A reference leads nowhere, or round in a circle.
    #[error("its reference {reference:?} {problem}")]
    Reference {
        /// Where it leads.
        reference: String,
        /// What is wrong with that.
        problem: &'static str,
    },
    /// It uses a keyword that no flat settings need.
    #[error("it uses {0}, which this host does not follow")]
    Keyword(&'static str),
    /// It is not a schema.
    #[error("it is not a valid JSON Schema: {0}")]
    Broken(String),
}

/// A schema of settings that has been found harmless and valid.
#[derive(Clone, Debug, PartialEq)]
pub struct SettingsSchema(Value);

/// One setting as the schema describes it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DescribedSetting {
    /// Its name, printable.
    pub key: String,
    /// Whether it has to be given.
    pub required: bool,
    /// What is allowed, in words.
    pub allowed: String,
    /// What it is when it is not given: its JSON, printable.
    pub default: Option<String>,
    /// What it is for, printable.
    pub about: String,
}

/// Settings that do not fit the schema; every one of them.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub struct SettingsError {
    /// What is wrong, one line each.
    pub problems: Vec<String>,
}

impl fmt::Display for SettingsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the settings do not fit what the component takes")?;
        self.problems.iter().try_for_each(|problem| write!(f, "\n  - {problem}"))
    }
}

impl Classified for SettingsError {
    fn class(&self) -> Class {
        Class::Data
    }

    fn code(&self) -> &'static str {
        "setting"
    }
}

impl SettingsSchema {
    /// Takes a component's own text.
    ///
    /// # Errors
    /// When it is too large in some way, leads out of itself, or is no schema.
    pub fn parse(text: &str) -> Result<Self, SchemaError> {
        if text.len() > BYTES_MAX {
            return Err(SchemaError::TooLong { found: text.len() });
        }
        let value: Value =
            serde_json::from_str(text).map_err(|error| SchemaError::NotJson(shown(&error.to_string())))?;
        Measure { root: &value, references: BTreeMap::new(), patterns: 0 }.run()?;
        let schema = Self(value);
        schema.with_validator(|_, _| ())?;
        Ok(schema)
    }

    /// The schema itself.
    pub fn json(&self) -> &Value {
        &self.0
    }

    /// The settings that it names, in the order of their names.
    pub fn settings(&self) -> Vec<DescribedSetting> {
        let required = self.0.get("required").and_then(Value::as_array);
        let is_required = |key: &String| required.is_some_and(|keys| keys.iter().any(|it| it == key));
        let described = self.properties().into_iter().flatten().map(|(key, property)| DescribedSetting {
            key: shown(key),
            required: is_required(key),
            allowed: allowed(property),
            default: property.get("default").map(|value| shown(&value.to_string())),
            about: property.get("description").and_then(Value::as_str).map(shown).unwrap_or_default(),
        });
        described.collect()
    }

    /// Holds settings against it.
    ///
    /// # Errors
    /// With everything that is wrong: the setting, its value, what is allowed, and the nearest right key.
    pub fn check(&self, settings: &[Setting]) -> Result<(), SettingsError> {
        let given: Map<String, Value> =
            settings.iter().map(|setting| (setting.key.clone(), json(&setting.value))).collect();
        let given = Value::Object(given);
        let outcome = self.with_validator(|schemas, index| match schemas.validate(&given, index) {
            Ok(()) => Vec::new(),
            Err(error) => {
                let mut problems = Vec::new();
                self.explain(&error, &given, &mut problems);
                // Two branches of a schema may say the same about one setting.
                problems.sort();
                problems.dedup();
                problems
            }
        });
        match outcome {
            Ok(problems) if problems.is_empty() => Ok(()),
            Ok(problems) => Err(SettingsError { problems }),
            Err(error) => Err(SettingsError { problems: vec![error.to_string()] }),
        }
    }

    /// Compiles the schema for one use. A validator that panics over a stranger's schema ends as an error.
    fn with_validator<R>(&self, body: impl FnOnce(&Schemas, SchemaIndex) -> R) -> Result<R, SchemaError> {
        let attempt = catch_unwind(AssertUnwindSafe(|| {
            let mut schemas = Schemas::new();
            let mut compiler = Compiler::new();
            compiler.use_loader(Box::new(Nothing));
            compiler.add_resource(PLACE, self.0.clone()).map_err(|error| broken(&error))?;
            let index = compiler.compile(PLACE, &mut schemas).map_err(|error| broken(&error))?;
            Ok(body(&schemas, index))
        }));
        attempt.unwrap_or_else(|_| Err(SchemaError::Broken("the validator fails over it".into())))
    }

    fn properties(&self) -> Option<&Map<String, Value>> {
        self.0.get("properties").and_then(Value::as_object)
    }

    fn explain(&self, error: &ValidationError<'_, '_>, given: &Value, problems: &mut Vec<String>) {
        let setting = error.instance_location.tokens.first().and_then(|token| match token {
            InstanceToken::Prop(key) => Some(key.as_ref()),
            InstanceToken::Item(_) => None,
        });
        match (&error.kind, setting) {
            (ErrorKind::AdditionalProperties { got }, None) => {
                problems.extend(got.iter().map(|key| self.unknown(key)));
            }
            (ErrorKind::Required { want }, None) => {
                problems.extend(want.iter().map(|key| {
                    format!("setting \"{}\" is missing: give {}", shown(key), self.allowed_for(key))
                }));
            }
            (_, Some(key)) => {
                let found = given.get(key).map(|value| shown(&value.to_string())).unwrap_or_default();
                let near = if self.properties().is_some_and(|known| known.contains_key(key)) {
                    format!("give {}", self.allowed_for(key))
                } else {
                    shown(&error.kind.to_string())
                };
                problems.push(format!("setting \"{}\" is {found}: {near}", shown(key)));
            }
            (_, None) if error.causes.is_empty() => {
                problems.push(format!("the settings together: {}", shown(&error.kind.to_string())));
            }
            (_, None) => error.causes.iter().for_each(|cause| self.explain(cause, given, problems)),
        }
    }

    fn unknown(&self, key: &str) -> String {
        let known: Vec<&str> =
            self.properties().into_iter().flat_map(|known| known.keys().map(String::as_str)).collect();
        let advice = match nearest(key, &known) {
            Some(near) => format!("did you mean \"{}\"?", shown(near)),
            None if known.is_empty() => "the component takes none".into(),
            None => format!("the component takes {}", shown(&known.join(", "))),
        };
        format!("setting \"{}\" is not known: {advice}", shown(key))
    }

    fn allowed_for(&self, key: &str) -> String {
        let property = self.properties().and_then(|known| known.get(key));
        property.map_or_else(|| "what the schema asks for".into(), allowed)
    }
}

/// Nothing is loaded from anywhere.
struct Nothing;

impl UrlLoader for Nothing {
    fn load(&self, url: &str) -> Result<Value, Box<dyn std::error::Error>> {
        Err(format!("{url} is not part of the schema, and nothing is fetched").into())
    }
}

fn broken(error: &boon::CompileError) -> SchemaError {
    SchemaError::Broken(shown(&format!("{error:#}")))
}

fn shown(text: &str) -> String {
    printable(text, SHOWN_BYTES_MAX)
}

/// A setting as JSON. A decimal is compared as the nearest float; the component itself compares it exactly.
fn json(value: &SettingValue) -> Value {
    match value {
        SettingValue::Boolean(value) => Value::from(*value),
        SettingValue::Integer(value) => Value::from(*value),
        SettingValue::Exact(value) => value.to_string().parse::<f64>().map_or(Value::Null, Value::from),
        SettingValue::Real(value) => Value::from(*value),
        SettingValue::Text(value) => Value::from(value.as_str()),
    }
}

/// What a setting may be, in words, as far as words are short.
fn allowed(property: &Value) -> String {
    if let Some(words) = property.get("enum").and_then(Value::as_array) {
        let words: Vec<String> = words.iter().map(Value::to_string).collect();
        return format!("one of {}", shown(&words.join(", ")));
    }
    if let Some(value) = property.get("const") {
        return shown(&value.to_string());
    }
    let kind = match property.get("type") {
        Some(Value::String(kind)) => match kind.as_str() {
            "boolean" => "true or false".to_owned(),
            "integer" => "a whole number".into(),
            "number" => "a number".into(),
            "string" => "a text".into(),
            other => shown(other),
        },
        Some(Value::Array(kinds)) => {
            shown(&kinds.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" or "))
        }
        _ => "what the schema asks for".into(),
    };
    let bound = |keyword: &str| property.get(keyword).map(|value| shown(&value.to_string()));
    let range = match (bound("minimum"), bound("maximum")) {
        (Some(low), Some(high)) => format!(" from {low} to {high}"),
        (Some(low), None) => format!(" of at least {low}"),
        (None, Some(high)) => format!(" of at most {high}"),
        (None, None) => String::new(),
    };
    let more = [
        ("exclusiveMinimum", "above"),
        ("exclusiveMaximum", "below"),
        ("multipleOf", "in steps of"),
        ("minLength", "with a length of at least"),
        ("maxLength", "with a length of at most"),
        ("pattern", "that matches"),
    ];
    let more = more.iter().filter_map(|(keyword, words)| Some(format!(" {words} {}", bound(keyword)?)));
    format!("{kind}{range}{}", more.collect::<String>())
}

/// Keywords whose values are named subschemas.
const NAMED: [&str; 5] = ["properties", "$defs", "definitions", "patternProperties", "dependentSchemas"];
/// Keywords whose values are data.
const DATA: [&str; 5] = ["enum", "const", "default", "examples", "required"];
/// Keywords that move the base of references or resolve them while validating.
const REFUSED: [&str; 7] =
    ["$dynamicRef", "$recursiveRef", "$anchor", "$dynamicAnchor", "$recursiveAnchor", "$vocabulary", "id"];

/// Work and depth of a part of a schema.
#[derive(Clone, Copy)]
struct Cost {
    checks: u64,
    depth: u32,
}

/// What a validator would have to do, computed without doing it.
struct Measure<'a> {
    root: &'a Value,
    /// Costs of references; `None` while one is being followed.
    references: BTreeMap<&'a str, Option<Cost>>,
    patterns: u32,
}

impl<'a> Measure<'a> {
    fn run(mut self) -> Result<(), SchemaError> {
        self.references.insert("#", None);
        self.schema(self.root, 0).map(|_| ())
    }

    fn schema(&mut self, value: &'a Value, level: u32) -> Result<Cost, SchemaError> {
        let mut sum = Cost { checks: 1, depth: 0 };
        if level > DEPTH_MAX {
            return Err(SchemaError::TooDeep);
        }
        match value {
            Value::Object(keywords) => {
                for (keyword, value) in keywords {
                    self.keyword(keyword, value, level, &mut sum)?;
                }
            }
            Value::Array(parts) => {
                for part in parts {
                    sum.add(self.schema(part, level + 1)?)?;
                }
            }
            _ => {}
        }
        Ok(sum)
    }

    fn keyword(
        &mut self,
        keyword: &'a str,
        value: &'a Value,
        level: u32,
        sum: &mut Cost,
    ) -> Result<(), SchemaError> {
        if let Some(refused) = REFUSED.into_iter().find(|refused| *refused == keyword) {
            return Err(SchemaError::Keyword(refused));
        }
        if DATA.contains(&keyword) {
            return Ok(());
        }
        if keyword == "$id" && level > 0 {
            return Err(SchemaError::Keyword("$id below its root"));
        }
        if keyword == "pattern" {
            self.count_patterns(1)?;
        }
        match value {
            Value::Object(named) if NAMED.contains(&keyword) => {
                if keyword == "patternProperties" {
                    self.count_patterns(u32::try_from(named.len()).unwrap_or(u32::MAX))?;
                }
                for part in named.values() {
                    sum.add(self.schema(part, level + 2)?)?;
                }
                Ok(())
            }
            Value::String(reference) if keyword == "$ref" => sum.add(self.reference(reference, level)?),
            value => sum.add(self.schema(value, level + 1)?),
        }
    }

    fn reference(&mut self, reference: &'a str, level: u32) -> Result<Cost, SchemaError> {
        let wrong = |problem| SchemaError::Reference { reference: shown(reference), problem };
        match self.references.get(reference) {
            Some(Some(cost)) => return Ok(*cost),
            Some(None) => return Err(wrong("leads back to itself")),
            None => {}
        }
        let Some(pointer) = reference.strip_prefix('#').filter(|it| it.is_empty() || it.starts_with('/'))
        else {
            return Err(SchemaError::Remote { keyword: "$ref", reference: shown(reference) });
        };
        if pointer.contains('%') {
            return Err(wrong("is percent-encoded; write it plainly"));
        }
        if self.references.len() > REFERENCES_MAX {
            return Err(SchemaError::TooManyReferences);
        }
        let target = self.root.pointer(pointer).ok_or_else(|| wrong("leads nowhere"))?;
        self.references.insert(reference, None);
        let cost = self.schema(target, level + 1)?;
        self.references.insert(reference, Some(cost));
        Ok(cost)
    }

    fn count_patterns(&mut self, count: u32) -> Result<(), SchemaError> {
        self.patterns = self.patterns.saturating_add(count);
        if self.patterns > PATTERNS_MAX { Err(SchemaError::TooManyPatterns) } else { Ok(()) }
    }
}

impl Cost {
    /// Adds a part; its own depth counts from where it is.
    fn add(&mut self, part: Self) -> Result<(), SchemaError> {
        self.checks = self.checks.saturating_add(part.checks);
        self.depth = self.depth.max(part.depth.saturating_add(1));
        if self.depth > DEPTH_MAX {
            return Err(SchemaError::TooDeep);
        }
        if self.checks > CHECKS_MAX { Err(SchemaError::TooMuchWork) } else { Ok(()) }
    }
}

#[cfg(test)]
#[path = "schema_tests.rs"]
mod tests;
