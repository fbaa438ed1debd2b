//! API keys: where they come from, and a type that does not print them.

use crate::resilience::{Class, Classified};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::io::Read as _;
use std::path::PathBuf;
use subtle::ConstantTimeEq as _;
use thiserror::Error;

/// An API key. It shows itself to nobody who prints, logs or serialises it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

/// Where an API key is found. A configuration names the place, never the key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KeySource {
    /// An environment variable with this name.
    Env(String),
    /// The first line of this file.
    File(PathBuf),
    /// Handed over by the process that embeds the venue; no configuration file can say this.
    #[serde(skip)]
    Given(Secret),
}

/// Why there is no key. None of the messages holds any part of one.
#[derive(Debug, Error)]
pub enum SecretError {
    /// The environment variable is not set, or is not text.
    #[error(
        "expected the API key in the environment variable {0}, which is not set; export it before the start"
    )]
    NoVariable(String),
    /// The file cannot be read.
    #[error("expected the API key in the file {path}: {source}; create it, readable by this user only")]
    File {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The text cannot be a key.
    #[error(
        "expected an API key of 1 to {} visible ASCII characters, found {found} bytes with {bad} others among them",
        Secret::BYTES_MAX
    )]
    Malformed {
        /// Length of what was found.
        found: usize,
        /// How many bytes cannot be part of a key.
        bad: usize,
    },
}

impl Classified for SecretError {
    fn class(&self) -> Class {
        Class::State
    }

    fn code(&self) -> &'static str {
        match self {
            Self::NoVariable(_) => "key_variable_missing",
            Self::File { .. } => "key_file_unreadable",
            Self::Malformed { .. } => "key_malformed",
        }
    }
}

impl Secret {
    /// Longer than any key in use, short enough for a header.
    pub const BYTES_MAX: usize = 512;

    /// A key from text.
    ///
    /// # Errors
    /// When the text is empty, too long, or holds a character that cannot stand in a header.
    pub fn new(text: impl Into<String>) -> Result<Self, SecretError> {
        let text = text.into();
        let bad = text.bytes().filter(|byte| !byte.is_ascii_graphic()).count();
        if text.is_empty() || text.len() > Self::BYTES_MAX || bad > 0 {
            return Err(SecretError::Malformed { found: text.len(), bad });
        }
        Ok(Self(text))
    }

    pub(crate) fn expose(&self) -> &str {
        &self.0
    }

    /// Whether somebody presents this very key. Takes as long for one that is nearly right as for any other of its
    /// length, so that nobody learns a key by measuring.
    pub fn is(&self, presented: &[u8]) -> bool {
        self.0.as_bytes().ct_eq(presented).into()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<redacted>")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<redacted>")
    }
}

impl fmt::Display for KeySource {
    /// The place, never the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Env(name) => write!(f, "the environment variable {name}"),
            Self::File(path) => write!(f, "the file {}", path.display()),
            Self::Given(_) => f.write_str("the process itself"),
        }
    }
}

impl KeySource {
    /// Fetches the key.
    ///
    /// # Errors
    /// When it is not there or cannot be a key.
    pub fn load(&self) -> Result<Secret, SecretError> {
        match self {
            Self::Env(name) => {
                let text = std::env::var(name).map_err(|_| SecretError::NoVariable(name.clone()))?;
                Secret::new(text.trim())
            }
            Self::File(path) => {
                let mut text = String::new();
                let limit = 4 * Secret::BYTES_MAX as u64;
                std::fs::File::open(path)
                    .and_then(|file| file.take(limit).read_to_string(&mut text))
                    .map_err(|source| SecretError::File { path: path.clone(), source })?;
                Secret::new(text.lines().next().unwrap_or_default().trim())
            }
            Self::Given(secret) => Ok(secret.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_never_shown() {
        let secret = Secret::new("sk_live_1234").unwrap();
        let source = KeySource::Given(secret.clone());
        for text in [format!("{secret}"), format!("{secret:?}"), format!("{source:?}")] {
            assert!(!text.contains("1234"), "{text}");
        }
        assert!(serde_json::to_string(&source).is_err(), "a given key cannot be written down");
        let error = Secret::new("sk live 1234").unwrap_err();
        assert!(!error.to_string().contains("1234"), "{error}");
    }

    #[test]
    fn only_the_very_key_is_the_key() {
        let secret = Secret::new("sk_live_1234").unwrap();
        assert!(secret.is(b"sk_live_1234"));
        for other in ["", "sk_live_1235", "sk_live_123", "sk_live_12345"] {
            assert!(!secret.is(other.as_bytes()), "{other}");
        }
    }

    #[test]
    fn a_key_is_the_first_line_of_its_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        std::fs::write(&path, "abc\n# a comment\n").unwrap();
        assert_eq!(KeySource::File(path).load().unwrap().expose(), "abc");
        let missing = KeySource::File(dir.path().join("none")).load().unwrap_err();
        assert_eq!(missing.code(), "key_file_unreadable");
        let unset = KeySource::Env("RINGFENCE_TEST_NO_SUCH_VARIABLE".into()).load().unwrap_err();
        assert_eq!(unset.code(), "key_variable_missing");
    }

    #[test]
    fn what_cannot_stand_in_a_header_is_no_key() {
        for text in ["", "a b", "a\nb", "ä", &"x".repeat(Secret::BYTES_MAX + 1)] {
            assert_eq!(Secret::new(text).unwrap_err().code(), "key_malformed");
        }
    }

    #[test]
    fn a_configuration_names_the_place() {
        #[derive(Deserialize)]
        struct Config {
            key: KeySource,
        }
        let config: Config = toml::from_str(r#"key = { env = "VENUE_KEY" }"#).unwrap();
        assert_eq!(config.key, KeySource::Env("VENUE_KEY".into()));
        assert!(toml::from_str::<Config>(r#"key = { given = "sk_1234" }"#).is_err());
    }
}
