//! How a venue of kind `http` is reached.

use super::super::{KeySource, SecretError, VenueProfile};
use crate::resilience::{Class, Classified};
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use std::time::Duration;
use thiserror::Error;

/// Configuration of a venue of kind `http`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HttpVenueConfig {
    /// Name of the venue, as instruments spell it. Default `paper`.
    pub name: String,
    /// Where it is, without `/api`. The default is the paper venue's own default address.
    pub base_url: String,
    /// Where the API key is found. Default: the environment variable `RINGFENCE_VENUE_KEY`.
    pub key: KeySource,
    /// Whether the key may cross a network without encryption. Default no: `http://` is for loopback.
    pub plain_http: bool,
    /// One request, from connect to the last byte of the reply. Default 5,000: longer than a healthy venue
    /// ever takes, short enough that a strategy learns of trouble while it still matters.
    pub request_timeout_ms: u64,
    /// Connecting, TLS included; must be below `request_timeout_ms`, since only a connect that failed by
    /// itself proves that nothing was sent. Default 2,000: three lost SYN packets.
    pub connect_timeout_ms: u64,
    /// How long the venue remembers an idempotency key, minus a margin. Default 72,000 (20 hours): the usual
    /// promise is 24.
    pub key_window_s: u64,
    /// Whether the venue promises that a 429 or 503 means "not executed". Default no: a proxy in between
    /// answers 503 for a venue that has already filled.
    pub refusal_is_proof: bool,
    /// Largest reply that is read. Default 1 MiB: a full page of updates is a fifth of it.
    pub reply_bytes_max: usize,
    /// Changes asked for at a time. Default 500.
    pub updates_page_max: u32,
    /// Connections kept open between requests. Default 8: one for each request under way, more would only
    /// go stale.
    pub idle_connections_max: usize,
}

impl Default for HttpVenueConfig {
    fn default() -> Self {
        Self {
            name: "paper".into(),
            base_url: "http://127.0.0.1:7070".into(),
            key: KeySource::Env("RINGFENCE_VENUE_KEY".into()),
            plain_http: false,
            request_timeout_ms: 5_000,
            connect_timeout_ms: 2_000,
            key_window_s: 72_000,
            refusal_is_proof: false,
            reply_bytes_max: 1024 * 1024,
            updates_page_max: 500,
            idle_connections_max: 8,
        }
    }
}

/// Why a venue of kind `http` cannot be set up.
#[derive(Debug, Error)]
pub enum HttpVenueError {
    /// The address is not one.
    #[error(
        "venue {venue}: base_url \"{found}\" {problem}; give scheme, host and port, as in https://venue.example"
    )]
    BaseUrl {
        /// Which venue.
        venue: String,
        /// The text found.
        found: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The key would cross a network in the clear.
    #[error(
        "venue {venue}: base_url \"{found}\" would send the API key unencrypted to another machine; use https, or set plain_http = true"
    )]
    PlainHttp {
        /// Which venue.
        venue: String,
        /// The address.
        found: String,
    },
    /// A number is out of range.
    #[error("venue {venue}: {field} is {found}, expected {expected}")]
    Limit {
        /// Which venue.
        venue: String,
        /// Which field.
        field: &'static str,
        /// Its value.
        found: u64,
        /// What it may be.
        expected: &'static str,
    },
    /// There is no API key.
    #[error("venue {venue}: {source}")]
    Key {
        /// Which venue.
        venue: String,
        /// Why.
        source: SecretError,
    },
    /// The HTTP client cannot be built.
    #[error(
        "venue {venue}: the HTTP client cannot start ({detail}); for https, check that the system has root certificates"
    )]
    Client {
        /// Which venue.
        venue: String,
        /// What it says.
        detail: String,
    },
}

impl Classified for HttpVenueError {
    fn class(&self) -> Class {
        match self {
            Self::Client { .. } => Class::Resource,
            Self::Key { source, .. } => source.class(),
            Self::BaseUrl { .. } | Self::PlainHttp { .. } | Self::Limit { .. } => Class::State,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::BaseUrl { .. } => "venue_base_url",
            Self::PlainHttp { .. } => "venue_plain_http",
            Self::Limit { .. } => "venue_limit",
            Self::Key { source, .. } => source.code(),
            Self::Client { .. } => "venue_client",
        }
    }
}

impl HttpVenueConfig {
    /// What the venue promises, for the core.
    pub fn profile(&self) -> VenueProfile {
        VenueProfile {
            name: self.name.clone(),
            key_window: Duration::from_secs(self.key_window_s),
            request_timeout: Duration::from_millis(self.request_timeout_ms),
            refusal_is_proof: self.refusal_is_proof,
        }
    }

    /// Checks everything that can be checked without the network.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn check(&self) -> Result<(), HttpVenueError> {
        let expected = |field, found: u64, good, expected| {
            if good {
                return Ok(());
            }
            Err(HttpVenueError::Limit { venue: self.name.clone(), field, found, expected })
        };
        self.check_url()?;
        let (request, connect) = (self.request_timeout_ms, self.connect_timeout_ms);
        expected("request_timeout_ms", request, (1..=600_000).contains(&request), "1 to 600000")?;
        expected(
            "connect_timeout_ms",
            connect,
            (1..request).contains(&connect),
            "1 to request_timeout_ms - 1",
        )?;
        let bytes = self.reply_bytes_max as u64;
        expected("reply_bytes_max", bytes, (1_024..=64 << 20).contains(&bytes), "1024 to 67108864")?;
        let page = u64::from(self.updates_page_max);
        expected("updates_page_max", page, (1..=10_000).contains(&page), "1 to 10000")
    }

    fn check_url(&self) -> Result<(), HttpVenueError> {
        let wrong = |problem| HttpVenueError::BaseUrl {
            venue: self.name.clone(),
            found: self.base_url.clone(),
            problem,
        };
        let url = reqwest::Url::parse(&self.base_url).map_err(|_| wrong("is not a URL"))?;
        if !url.username().is_empty() || url.password().is_some() {
            // Not shown: whoever writes a password here has written it in the wrong place.
            let found = "<hidden>".into();
            let problem = "holds a user name, and keys do not belong in a configuration";
            return Err(HttpVenueError::BaseUrl { venue: self.name.clone(), found, problem });
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(wrong("holds a query or a fragment"));
        }
        let host = url.host_str().ok_or_else(|| wrong("names no host"))?;
        match url.scheme() {
            "https" => Ok(()),
            "http" if self.plain_http || is_loopback(host) => Ok(()),
            "http" => {
                Err(HttpVenueError::PlainHttp { venue: self.name.clone(), found: self.base_url.clone() })
            }
            _ => Err(wrong("is neither http nor https")),
        }
    }
}

fn is_loopback(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || address.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(change: impl FnOnce(&mut HttpVenueConfig)) -> Result<(), &'static str> {
        let mut config = HttpVenueConfig::default();
        change(&mut config);
        config.check().map_err(|error| error.code())
    }

    #[test]
    fn the_defaults_pass() {
        assert_eq!(with(|_| ()), Ok(()));
    }

    #[test]
    fn a_key_is_not_sent_in_the_clear_to_another_machine() {
        for url in ["http://localhost:1", "http://127.0.0.9", "http://[::1]:80", "https://venue.example"] {
            assert_eq!(with(|config| config.base_url = url.into()), Ok(()), "{url}");
        }
        let plain = |config: &mut HttpVenueConfig| config.base_url = "http://venue.example".into();
        assert_eq!(with(plain), Err("venue_plain_http"));
        assert_eq!(with(|config| (plain(config), config.plain_http = true).0), Ok(()));
    }

    #[test]
    fn an_address_that_is_none_is_refused_and_a_password_not_repeated() {
        for url in ["", "venue", "ftp://venue.example", "https://venue.example/?key=1"] {
            assert_eq!(with(|config| config.base_url = url.into()), Err("venue_base_url"), "{url}");
        }
        let config =
            HttpVenueConfig { base_url: "https://me:hunter2@venue.example".into(), ..Default::default() };
        let error = config.check().unwrap_err().to_string();
        assert!(!error.contains("hunter2"), "{error}");
    }

    #[test]
    fn a_connect_may_not_outlast_the_request() {
        assert_eq!(with(|config| config.connect_timeout_ms = 5_000), Err("venue_limit"));
        assert_eq!(with(|config| config.request_timeout_ms = 0), Err("venue_limit"));
        assert_eq!(with(|config| config.reply_bytes_max = 0), Err("venue_limit"));
        assert_eq!(with(|config| config.updates_page_max = 0), Err("venue_limit"));
    }

    #[test]
    fn a_misspelt_field_is_refused() {
        assert!(toml::from_str::<HttpVenueConfig>("request_timeout = 5").is_err());
        let config: HttpVenueConfig = toml::from_str("name = 'x'\nkey = { file = 'key' }").unwrap();
        assert_eq!((config.name.as_str(), config.key), ("x", KeySource::File("key".into())));
    }
}
